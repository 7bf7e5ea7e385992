import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facesr import batch, images
from facesr.batch import Job, Options, plan
from facesr.enhancer import Enhancer
from facesr.errors import DataError, ParamsError

X2 = Options(enhance={"scale": 2})


def write_pictures(folder, names, side=8):
    for seed, name in enumerate(names):
        generator = torch.Generator().manual_seed(seed)
        images.write(folder / name, torch.rand(3, side, side, generator=generator))


def targets(jobs, output):
    return sorted(job.target.relative_to(output).as_posix() for job in jobs)


def run(jobs, options=X2, **arguments):
    return list(batch.run(Enhancer.bicubic(), jobs, options, **arguments))


def test_a_folder_keeps_its_tree(tmp_path):
    write_pictures(tmp_path / "in", ["a.png", "deep/er/b.png", "c.PNG"])
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    jobs = plan([str(tmp_path / "in")], tmp_path / "out")
    assert targets(jobs, tmp_path / "out") == ["a.png", "c.PNG", "deep/er/b.png"]


def test_several_folders_keep_their_names(tmp_path):
    write_pictures(tmp_path, ["one/a.png", "two/a.png", "b.png"])
    inputs = [str(tmp_path / name) for name in ("one", "two", "b.png")]
    jobs = plan(inputs, tmp_path / "out")
    assert targets(jobs, tmp_path / "out") == ["b.png", "one/a.png", "two/a.png"]


def test_a_pattern_is_expanded_and_a_picture_named_twice_is_enhanced_once(tmp_path):
    write_pictures(tmp_path / "in", ["a1.png", "a2.png", "b.png"])
    inputs = [str(tmp_path / "in" / "a*.png"), str(tmp_path / "in" / "a1.png")]
    assert targets(plan(inputs, tmp_path / "out"), tmp_path / "out") == ["a1.png", "a2.png"]


def test_another_format_changes_the_ending_and_no_two_results_share_a_name(tmp_path):
    write_pictures(tmp_path / "in", ["a.png", "a.gif", "b.jpg"])
    jobs = plan([str(tmp_path / "in")], tmp_path / "out", "webp")
    assert targets(jobs, tmp_path / "out") == ["a.png.webp", "a.webp", "b.webp"]


@pytest.mark.parametrize(
    ("inputs", "output", "error", "message"),
    [
        (["in"], "in/out", ParamsError, "lies inside of"),
        (["in"], "in", ParamsError, "lies inside of"),
        (["in/a.png"], "in", ParamsError, "written onto itself"),
        (["in/a.png"], "in/a.png", ParamsError, "written onto itself"),
        (["in/a.png", "in/b.png"], "out.png", ParamsError, "do not fit into"),
        (["missing"], "out", DataError, "does not exist"),
        (["in/z*.png"], "out", DataError, "no picture there"),
        (["empty"], "out", DataError, "no picture there"),
        (["in/a.png", "other/a.png"], "out", None, ""),
        (["in/a.png", "other/a.png", "third/a.png"], "out", ParamsError, "would both be written"),
    ],
)
def test_paths_that_make_no_sense_are_refused(
    tmp_path, monkeypatch, inputs, output, error, message
):
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path, ["in/a.png", "in/b.png", "other/a.png", "third/a.png"])
    Path("empty").mkdir()
    if error is None:
        assert len(plan(inputs, Path(output))) == 2
        return
    with pytest.raises(error, match=message):
        plan(inputs, Path(output))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_told(tmp_path):
    (tmp_path / "in").mkdir(mode=0o000)
    with pytest.raises(DataError, match="cannot be read"):
        plan([str(tmp_path / "in")], tmp_path / "out")


@pytest.mark.parametrize("workers", [1, 3])
def test_bad_files_are_told_and_stop_no_other(tmp_path, workers):
    write_pictures(tmp_path / "in", ["a.png", "b.png", "c.png"])
    whole = (tmp_path / "in" / "b.png").read_bytes()
    (tmp_path / "in" / "cut.png").write_bytes(whole[:60])
    (tmp_path / "in" / "empty.png").touch()
    (tmp_path / "in" / "text.jpg").write_text("hello")
    jobs = plan([str(tmp_path / "in")], tmp_path / "out")
    outcomes = {outcome.job.source.name: outcome for outcome in run(jobs, workers=workers)}
    failed = {name for name, outcome in outcomes.items() if outcome.status == "failed"}
    assert failed == {"cut.png", "empty.png", "text.jpg"}
    assert all(name in outcomes[name].error for name in failed)
    made = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert made == ["a.png", "b.png", "c.png"]
    assert images.read(tmp_path / "out" / "a.png").shape == (3, 16, 16)


def test_a_fault_of_ours_is_told_as_that_picture_s_failure(tmp_path, monkeypatch):
    write_pictures(tmp_path / "in", ["a.png", "b.png"])
    right = Enhancer.enhance_photo

    def broken(self, photo, **options):
        if photo.colour[0, 0, 0] == images.read(tmp_path / "in" / "a.png")[0, 0, 0]:
            raise ZeroDivisionError("oops")
        return right(self, photo, **options)

    monkeypatch.setattr(Enhancer, "enhance_photo", broken)
    outcomes = run(plan([str(tmp_path / "in")], tmp_path / "out"))
    assert sorted(outcome.status for outcome in outcomes) == ["enhanced", "failed"]
    assert "ZeroDivisionError: oops" in "".join(outcome.error for outcome in outcomes)


def test_what_is_there_is_left_alone_unless_overwriting_is_asked_for(tmp_path):
    write_pictures(tmp_path / "in", ["a.png", "b.png"])
    jobs = plan([str(tmp_path / "in")], tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    assert sorted(outcome.status for outcome in run(jobs)) == ["enhanced", "skipped"]
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
    again = run(jobs, Options(enhance={"scale": 2}, overwrite=True))
    assert [outcome.status for outcome in again] == ["enhanced", "enhanced"]


def test_a_result_that_cannot_be_written_is_told(tmp_path):
    write_pictures(tmp_path / "in", ["a.png"])
    (tmp_path / "file").touch()
    [outcome] = run([Job(tmp_path / "in" / "a.png", tmp_path / "file" / "a.png")])
    assert outcome.status == "failed"
    assert "cannot be written" in outcome.error


def test_listening_no_longer_breaks_off_and_leaves_nothing_half_written(tmp_path):
    write_pictures(tmp_path / "in", [f"{number}.png" for number in range(40)])
    jobs = plan([str(tmp_path / "in")], tmp_path / "out")
    outcomes = batch.run(Enhancer.bicubic(), jobs, X2, workers=2)
    next(outcomes)
    outcomes.close()
    made = list((tmp_path / "out").iterdir())
    assert len(made) < 40
    assert all(images.read(path).shape == (3, 16, 16) for path in made)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("facesr")]
    rest = run(jobs)
    assert sum(outcome.status == "skipped" for outcome in rest) == len(made)
    assert len(list((tmp_path / "out").iterdir())) == 40


def test_the_outcome_tells_brightness_and_clipping(tmp_path):
    images.write(tmp_path / "white.png", torch.ones(3, 8, 8))
    images.write(tmp_path / "grey.png", torch.full((3, 8, 8), 0.5))
    jobs = [Job(tmp_path / f"{name}.png", tmp_path / f"{name}2.png") for name in ("white", "grey")]
    outcomes = {outcome.job: outcome for outcome in run(jobs)}  # in the order in which they end
    white, grey = (outcomes[job] for job in jobs)
    assert (white.clipped_fraction, white.input_clipped_fraction) == (1, 1)
    assert (grey.clipped_fraction, grey.luma_shift) == (0, pytest.approx(0, abs=1e-3))
    assert (grey.input_size, grey.output_size, grey.model) == ((8, 8), (16, 16), "bicubic")


def test_what_lies_beneath_transparent_pixels_counts_for_nothing(tmp_path):
    # A white square, and black that nobody sees.
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[4:12, 4:12] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    [outcome] = run([Job(tmp_path / "a.png", tmp_path / "b.png")])
    assert outcome.luma_shift == pytest.approx(0, abs=0.1)
    assert outcome.input_clipped_fraction == 1
