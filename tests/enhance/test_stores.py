"""Images under addresses: the same results as from and to folders."""

import sys
import urllib.request
from pathlib import Path, PurePath

import pytest
import torch

from facesr import images
from facesr.enhance import batch
from facesr.enhance.batch import Options
from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.enhance.jobs import plan
from facesr.enhance.stores import StorePath, parse
from facesr.errors import DataError, ParamsError

pytest.importorskip("pyarrow")
X2 = Options(enhance=EnhanceOptions(scale=2))


def write_images(folder, names, side=8):
    for seed, name in enumerate(names):
        generator = torch.Generator().manual_seed(seed)
        images.write(folder / name, torch.rand(3, side, side, generator=generator))


def run(jobs, options=X2):
    return list(batch.run(Enhancer.bicubic(), jobs, options))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_address_gives_the_bytes_of_a_folder_and_names_the_damaged(tmp_path):
    write_images(tmp_path / "in", ["a.png", "deep/b c.png"])
    (tmp_path / "in" / "bad.png").write_text("no image")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    run(plan([str(tmp_path / "in")], tmp_path / "here"))
    address = (tmp_path / "in").as_uri()
    jobs = plan([address], parse((tmp_path / "there").as_uri()))
    outcomes = {outcome.job.source.name: outcome for outcome in run(jobs)}
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert len(contents(tmp_path / "there")) == 2
    assert outcomes["bad.png"].error.startswith(f"{address}/bad.png is not an image")
    again = {outcome.job.source.name: outcome.status for outcome in run(jobs)}
    assert again == {"a.png": "skipped", "b c.png": "skipped", "bad.png": "failed"}


def test_one_image_under_an_address_goes_to_a_file(tmp_path):
    write_images(tmp_path, ["a.png"])
    [job] = plan([(tmp_path / "a.png").as_uri()], tmp_path / "b.png")
    assert run([job])[0].status == "enhanced"
    assert images.read(tmp_path / "b.png").shape == (3, 16, 16)


@pytest.mark.parametrize(
    ("name", "output", "error", "message"),
    [
        ("missing", "out", DataError, "missing does not exist"),
        ("in", "in/out", ParamsError, "lies inside of"),
        ("empty", "out", DataError, "no image there"),
        ("in/a.png", "in", ParamsError, "written onto itself"),
    ],
)
def test_addresses_that_make_no_sense_are_refused(tmp_path, name, output, error, message):
    write_images(tmp_path / "in", ["a.png"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=message):
        plan([f"{tmp_path.as_uri()}/{name}"], parse(f"{tmp_path.as_uri()}/{output}"))


def test_an_address_of_no_known_store_is_reported():
    with pytest.raises(DataError, match="gopher://host/a cannot be reached"):
        plan(["gopher://host/a"], Path("out"))


def test_without_pyarrow_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.fs", None)
    with pytest.raises(ParamsError, match=r"facesr\[cluster\]"):
        plan(["s3://bucket/a"], Path("out"))


def test_messages_hold_no_credentials():
    path = StorePath("s3://key:secret@bucket/in?endpoint_override=http://127.0.0.1:1") / PurePath(
        "a.png"
    )
    assert str(path) == "s3://bucket/in/a.png"
    assert path.address == "s3://key:secret@bucket/in/a.png?endpoint_override=http://127.0.0.1:1"


def test_images_go_from_bucket_to_bucket(tmp_path):
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer(
        "127.0.0.1", 0, verbose=False
    )
    server.start()
    try:
        host, port = server.get_host_and_port()
        creation = urllib.request.Request(f"http://{host}:{port}/photographs", method="PUT")
        urllib.request.urlopen(creation).close()
        bucket = parse(
            "s3://key:secret@photographs"
            f"?endpoint_override={host}:{port}&scheme=http&region=us-east-1"
        )
        write_images(tmp_path / "in", ["a.png", "deep/b.png"])
        uploaded = plan([str(tmp_path / "in")], bucket / PurePath("in"))
        for job in uploaded:
            batch.stores.write(job.target, job.source.read_bytes())
        jobs = plan([(bucket / PurePath("in")).address], bucket / PurePath("out"))
        assert [outcome.status for outcome in run(jobs)] == ["enhanced", "enhanced"]
        assert [outcome.status for outcome in run(jobs)] == ["skipped", "skipped"]
        run(plan([str(tmp_path / "in")], tmp_path / "here"))
        assert {str(job.target): job.target.read_bytes() for job in jobs} == {
            f"s3://photographs/out/{name}": content
            for name, content in contents(tmp_path / "here").items()
        }
        with pytest.raises(DataError, match="s3://photographs/missing does not exist"):
            plan([(bucket / PurePath("missing")).address], tmp_path / "out")
    finally:
        server.stop()
