import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import network

from facesr import images
from facesr.cli import main
from facesr.models.checkpoints import save_networks

SOURCE = Path(images.__file__).parents[2]


def write_images(folder, names, side=8):
    for seed, name in enumerate(names):
        generator = torch.Generator().manual_seed(seed)
        images.write(folder / name, torch.rand(3, side, side, generator=generator))


def enhance(*arguments, status=0):
    if status:
        with pytest.raises(SystemExit) as stopped:
            main(["enhance", *map(str, arguments)])
        assert stopped.value.code == status
    else:
        main(["enhance", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _empty_project(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def start(*arguments, **options):
    code = "import sys; from facesr.cli import main; main(sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-c", code, "enhance", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def receive_ctrl_c():
    # A test suite in the background of a shell ignores SIGINT, and its children would too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_folder_comes_out_enlarged_with_the_model_in_its_metadata(capsys):
    write_images(Path("in"), ["a.png", "deep/b.png"])
    enhance("in", "-o", "out", "--scale", 3, "--model", "bicubic")
    assert images.read(Path("out/deep/b.png")).shape == (3, 24, 24)
    with Image.open("out/a.png") as image:
        assert image.getexif()[0x0131].startswith("facesr ")
        assert image.getexif()[0x0131].endswith("bicubic")
    assert "2 enhanced, 0 already there, 0 failed" in capsys.readouterr().out


def test_bicubic_waits_for_no_package_that_it_does_not_use():
    write_images(Path("in"), ["a.png"])
    code = (
        "import sys; from facesr.cli import main; main(sys.argv[1:]); "
        "print(sorted({'fastai', 'mlflow', 'ray', 'torchvision', 'av'} & set(sys.modules)))"
    )
    arguments = ("enhance", "in", "-o", "out", "--model", "bicubic")
    answer = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.splitlines()[-1] == "[]"


def test_without_a_registry_the_command_says_what_it_takes_instead(capsys, caplog):
    write_images(Path("in"), ["a.png"])
    with caplog.at_level("INFO"):
        enhance("in", "-o", "out")
    assert "no facesr@champion is registered here" in caplog.text
    assert images.read(Path("out/a.png")).shape == (3, 32, 32)


def test_json_report_and_sheet_cover_every_image(capsys):
    write_images(Path("in"), ["a.png", "b.png"])
    Path("in/bad.png").write_text("no image")
    arguments = ("--json", "--report", "report.csv", "--sheet", "sheet.png")
    enhance("in", "-o", "out", "--model", "bicubic", *arguments, status=1)
    *reports, summary = map(json.loads, capsys.readouterr().out.splitlines())
    assert summary["summary"] == {"enhanced": 2, "skipped": 0, "failed": 1}
    assert {Path(each["image"]).name: each["status"] for each in reports} == {
        "a.png": "enhanced",
        "b.png": "enhanced",
        "bad.png": "failed",
    }
    with Path("report.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["output_size"] for row in rows] == ["32x32", "32x32"]
    assert all(abs(float(row["luma_shift"])) < 1 for row in rows)
    with Image.open("sheet.png") as sheet:
        assert sheet.size[1] > 2 * 512


def test_an_image_passes_a_pipe():
    write_images(Path("in"), ["a.png"])
    data = Path("in/a.png").read_bytes()
    with start(
        "-", "-o", "-", "--model", "bicubic", "--format", "webp", stdin=subprocess.PIPE
    ) as process:
        output, errors = process.communicate(data)
    assert process.returncode == 0, errors
    with Image.open(io.BytesIO(output)) as image:
        assert (image.format, image.size) == ("WEBP", (32, 32))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.png", "-o", "out"), "missing.png does not exist"),
        (("in", "-o", "in/out"), "lies inside of"),
        (("in", "-o", "out", "--model", "facesr/7"), "facesr/7 is not registered"),
        (("in", "-o", "out", "--model", "facesr@rival"), "facesr@rival is not registered"),
        (("in", "-o", "out", "--model", "other"), "does not name a model version"),
        (("in", "-o", "out", "--model", "x.safetensors"), "x.safetensors does not exist"),
        (("in", "-o", "out", "--device", "quantum", "--model", "bicubic"), "no device quantum"),
        (("in", "-o", "out", "--jobs", "0"), "--jobs must be at least 1"),
        (("in", "-o", "out", "--quality", "0"), "--quality must be between 1 and 100"),
        (("in", "-o", "out", "--scale", "0"), "--scale must be finite and above zero, not 0"),
        (("in", "-o", "out", "--scale", "-2"), "--scale must be finite and above zero, not -2"),
        (("in", "-o", "out", "--scale", "nan"), "--scale must be finite"),
        (("in", "-o", "out", "--scale", "inf"), "--scale must be finite"),
        (("in", "-o", "out", "--size", "0"), "--size must be at least 1, not 0"),
        (("in", "-o", "out", "--tile", "0"), "--tile must be at least 1"),
        (("in", "-o", "out", "--tile", "big"), "--tile must be a whole number, not 'big'"),
        (("in", "-o", "out", "--max-pixels", "0"), "--max-pixels must be at least 1"),
        (("in", "-o", "out", "--back-projections", "-1"), "--back-projections must be at least 0"),
        (("in", "-o", "out", "--strength", "1.5"), "--strength must be between 0 and 1, not 1.5"),
        (("in", "-o", "out", "--strength", "nan"), "--strength must be between 0 and 1"),
        (("in", "-o", ""), "-o/--output must not be empty"),
        (("", "-o", "out"), "must not be empty"),
        (("in",), "required: -o/--output. See: facesr enhance --help"),
        (("in", "-o", "out.bmp"), "out.bmp must end in .jpg"),
        (("in/a.png", "-o", "out.png", "--format", "jpeg"), "out.png is no jpeg file"),
        (("in/a.png", "-o", "out.png", "--quality", "80"), "--quality: PNG and TIFF lose nothing"),
        (("in", "-o", "out", "--format", "tiff", "--quality", "80"), "PNG and TIFF lose nothing"),
        (("in", "-o", "out", "--quality", "80"), "--quality: PNG and TIFF lose nothing"),
        (("in", "-o", "out", "--background", "model"), "--faces is not given"),
        (("in", "-o", "out", "--keep-gps", "--metadata", "strip"), "--metadata strip leaves"),
        (("in", "-o", "out", "--sheet", "s.jpg"), "s.jpg must end in .png"),
        (("in", "-o", "out", "--report", "in"), "in is not a report of facesr enhance"),
        (("in", "-o", "out", "--ray", "local", "--sheet", "s.png"), "--sheet: no images come"),
        (("-", "-o", "-", "--json", "--jobs", "4"), "--json, --jobs: of no effect for one image"),
        (("-", "-o", "out.png", "--report", "r.csv"), "--report: of no effect for one image"),
        (("-", "-o", "out.png", "--sheet", "s.png"), "--sheet: of no effect for one image"),
        (("-", "-o", "in", "--force"), "in must end in .jpg"),
        (("-", "-o", "out.bmp"), "out.bmp must end in .jpg"),
        (("-", "-o", "out.png", "--format", "webp"), "out.png is no webp file"),
        (("clip.mp4", "-o", "out.mp4", "--quality", "30"), "are for images, not for a video"),
        (("clip.mp4", "-o", "out.mp4", "--format", "png", "--jobs", "3"), "--jobs, --format"),
        (("in", "-", "-o", "out"), "must be the only input"),
        (("in", "-o", "-"), "give - as the input too"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(capsys, arguments, message):
    write_images(Path("in"), ["a.png"])
    enhance(*arguments, status=1)
    captured = capsys.readouterr().err
    assert message in captured
    assert len(captured.splitlines()) == 1
    assert captured.startswith("error: ")
    assert not list(Path().glob("[!i]*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-pixels", "50"), "more than 50"),
        (("--max-pixels", "500"), "more than 500"),
        (("--size", "100000"), "more than 200000000"),
    ],
)
def test_an_image_that_is_refused_is_named(capsys, caplog, options, message):
    write_images(Path("in"), ["a.png"])
    enhance("in", "-o", "out", "--model", "bicubic", *options, status=1)
    assert message in caplog.text
    assert f"failed: {Path('in/a.png')}" in caplog.text
    assert "1 of 1 images could not be enhanced" in capsys.readouterr().err
    assert not list(Path("out").glob("*"))


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_run_that_was_killed_goes_on_and_names_the_damaged(count):
    write_images(Path("in"), [f"{number % 7}/{number:04}.png" for number in range(count)], 48)
    damaged = sorted(Path("in").rglob("*.png"))[:: count // 20][:20]
    for position, path in enumerate(damaged):
        whole = path.read_bytes()
        path.write_bytes([b"", b"no image", whole[: len(whole) // 2]][position % 3])
    arguments = ("in", "-o", "out", "--scale", 4, "--model", "bicubic", "--jobs", 2)
    with start(*arguments) as process:
        while sum(1 for _ in Path("out").rglob("*.png")) < count // 3:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert sum(1 for _ in Path("out").rglob("[!.]*.png")) < count - 20

    with start(*arguments) as process:
        output, errors = process.communicate()
    assert process.returncode == 1
    made = sorted(Path("out").rglob("[!.]*.png"))
    assert len(made) == count - 20
    for path in made:
        source = images.read(Path("in") / path.relative_to("out"))
        expected = images.resize(source, (192, 192), "bicubic").clamp(0, 1)
        assert torch.equal(images.to_uint8(images.read(path)), images.to_uint8(expected))
    assert all(str(path) in errors.decode() for path in damaged)
    assert "20 failed" in output.decode()


def test_ctrl_c_stops_at_once_and_leaves_no_half_image():
    write_images(Path("in"), [f"{number}.png" for number in range(400)], 64)
    arguments = ("in", "-o", "out", "--scale", 8, "--model", "bicubic", "--report", "report.csv")
    with start(*arguments, preexec_fn=receive_ctrl_c) as process:
        while sum(1 for _ in Path("out").rglob("[!.]*.png")) < 3:
            assert process.poll() is None
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors.decode()
    for path in Path("out").iterdir():
        assert images.read(path).shape == (3, 512, 512)
    assert set(read_report().values()) == {"512x512"}


def read_report(name="report.csv"):
    with Path(name).open(newline="") as file:
        return {Path(row["image"]).name: row["output_size"] for row in csv.DictReader(file)}


def test_the_report_of_a_run_that_goes_on_has_the_rows_of_all_images():
    write_images(Path("in"), ["a.png"])
    arguments = ("in", "-o", "out", "--model", "bicubic", "--report", "report.csv")
    enhance(*arguments)
    write_images(Path("in"), ["a.png", "b.png"])
    enhance(*arguments)
    enhance(*arguments)
    assert read_report() == {"a.png": "32x32", "b.png": "32x32"}
    enhance(*arguments, "--force", "--scale", 2)
    assert read_report() == {"a.png": "16x16", "b.png": "16x16"}
    enhance(*arguments[:-1], "second.csv")
    assert read_report("second.csv") == {"a.png": "", "b.png": ""}


def test_a_table_of_somebody_else_is_not_taken_for_a_report(capsys):
    write_images(Path("in"), ["a.png"])
    Path("report.csv").write_text("name,price\nbread,3\n")
    enhance("in", "-o", "out", "--model", "bicubic", "--report", "report.csv", status=1)
    assert "not a report of facesr enhance" in capsys.readouterr().err
    assert Path("report.csv").read_text() == "name,price\nbread,3\n"


def test_half_a_line_of_a_killed_run_does_not_spoil_the_report():
    write_images(Path("in"), ["a.png"])
    arguments = ("in", "-o", "out", "--model", "bicubic", "--report", "report.csv")
    enhance(*arguments)
    with Path("report.csv").open("a") as file:
        file.write("in/b.png,out/b")
    write_images(Path("in"), ["a.png", "b.png"])
    enhance(*arguments)
    assert read_report() == {"a.png": "32x32", "b.png": "32x32"}


def test_results_of_other_options_are_reported_in_the_summary_and_kept(capsys):
    write_images(Path("in"), ["a.png", "b.png"])
    arguments = ("in", "-o", "out", "--model", "bicubic", "--scale")
    enhance(*arguments, 2)
    os.utime("in/b.png", (4e9, 4e9))
    enhance(*arguments, 4)
    assert (
        "2 already there (1 older than their image, 1 made with other options: --force makes "
        "them again)" in capsys.readouterr().out
    )
    assert images.read(Path("out/a.png")).shape == (3, 16, 16)


def test_quiet_prints_nothing_but_what_goes_wrong(capsys):
    write_images(Path("in"), ["a.png"])
    enhance("in", "-o", "out", "--model", "bicubic", "--quiet")
    assert capsys.readouterr() == ("", "")


def test_a_strength_that_the_model_does_not_have_is_reported_once(capsys, caplog):
    write_images(Path("in"), ["a.png", "b.png"])
    save_networks(Path("one.safetensors"), [network()])
    enhance("in", "-o", "out", "--model", "one.safetensors", "--strength", 0.5, status=1)
    assert "holds one set of weights only" in capsys.readouterr().err
    assert not caplog.text
    assert not Path("out").exists()


def test_in_a_log_there_is_no_bar():
    write_images(Path("in"), ["a.png", "b.png"])
    with start("in", "-o", "out", "--model", "bicubic") as process:
        _, errors = process.communicate()
    assert (process.returncode, errors) == (0, b"")
