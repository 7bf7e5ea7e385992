"""Arguments, streams and logs of every command."""

import ast
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

import facesr
from facesr import cli, images

SOURCE = Path(facesr.__file__).parent


def start(arguments, *, shell="", **options):
    """Run the command in a process of its own; `shell` stands behind it, such as a redirection."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    line = f'"{sys.executable}" -m facesr.cli {arguments} {shell}'
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        env={**environment, "PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        timeout=120,
        **options,
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    for number in range(5):
        images.write(tmp_path / "in" / f"{number}.png", torch.full((3, 8, 8), 0.5))
    return tmp_path


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert not stopped.value.code
    assert capsys.readouterr().out == f"facesr {facesr.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("burst a.png b.png -o c.png --scale 0", "--scale must be finite and 2 or more, not 0"),
        ("burst a.png b.png -o c.jpg --quality 0", "--quality must be between 1 and 100, not 0"),
        ("burst a.png b.png -o c.png --quality 90", "PNG and TIFF lose nothing"),
        ("burst a.png b.png -o c.png --strength 2", "--strength must be between 0 and 1, not 2"),
        ("burst a.png b.png -o c.bmp", "c.bmp must end in .jpg"),
        ("burst a.png b.png -o .", "must end in .jpg"),
        ("burst in in -o c.png", "in is not a file"),
        ("compare 1 2 --html x.html --images 0", "--images must be at least 1, not 0"),
        ("compare 1 2 --images 3", "Give --html too"),
        ("find-rate train_generator -o x.png --steps 0", "--steps must be at least 6, not 0"),
        ("find-rate train_generator -o x.png --lowest 0", "--lowest must be finite and above"),
        ("find-rate train_generator -o x.png --lowest 2", "--lowest must be below --highest"),
        ("lineage --image abc --json", "--json describes one version"),
        ("scoreboard --root in", "scoreboard.yaml does not exist here"),
        ("scoreboard --root in -o in/out", "in/out lies in in: the results would be measured too"),
        ("scoreboard --root .", ".scoreboard lies in .: the results would be measured too"),
        ("scoreboard bicubic", "required: --root"),
        ("verify ''", "must not be empty"),
        ("data check", "There is no data/faces and no data/selfies here"),
        ("enhance in -o out --nothing", "unrecognized arguments: --nothing. See: facesr --help"),
        ("", "required: COMMAND. See: facesr --help"),
    ],
)
def test_a_senseless_argument_is_refused_in_one_line(folder, capsys, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        cli.main([argument.strip("'") for argument in arguments.split()])
    [line] = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 1
    assert line.startswith("error: ")
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "shell", "status", "message"),
    [
        ("enhance in -o out --model bicubic --json", "| true", 141, ""),
        ("--help", "| true", 141, ""),
        ("enhance - -o out.png --model bicubic", "<&-", 1, "Standard input is closed"),
        ("enhance - -o - --model bicubic", "< in/0.png >&-", 1, "Standard output is closed"),
        ("enhance - -o - --model bicubic", "< in/0.png > /dev/full", 1, "No space left"),
        ("enhance in -o out --model bicubic", "> /dev/full", 1, "No space left"),
        ("enhance in -o out --model bicubic", "<&- >&- 2>&-", 0, ""),
        ("enhance none -o out --model bicubic", "2>&-", 1, ""),
    ],
)
def test_closed_and_full_streams_end_in_one_line_at_most(folder, arguments, shell, status, message):
    ended = start(arguments, shell=shell)
    errors = ended.stderr.decode()
    assert ended.returncode == status, errors
    assert len(errors.splitlines()) == bool(message)
    assert message in errors
    assert b"error" not in ended.stdout
    for path in Path("out").glob("*"):
        assert images.read(path).shape == (3, 32, 32)


def test_what_the_disk_refuses_is_one_line(folder, capsys):
    Path("note").touch()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["enhance", "in", "-o", "out", "--model", "bicubic", "--report", "note/r.csv"])
    [line] = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 1
    assert line.startswith("error: ")
    assert "note" in line


def test_warnings_of_libraries_do_not_reach_the_user(capsys, monkeypatch):
    monkeypatch.setattr(sys, "warnoptions", [])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        cli.run(lambda: warnings.warn("a library's own", UserWarning, stacklevel=1))
        assert capsys.readouterr().err == ""


def test_no_bar_is_drawn_where_there_is_no_terminal():
    bars = [
        (path, call)
        for path in SOURCE.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "tqdm"
    ]
    assert len(bars) > 15
    for path, call in bars:
        disable = [keyword.value for keyword in call.keywords if keyword.arg == "disable"]
        constants = [
            node.value
            for value in disable
            for node in ast.walk(value)
            if isinstance(node, ast.Constant)
        ]
        assert None in constants, f"{path}:{call.lineno} needs disable=None"
