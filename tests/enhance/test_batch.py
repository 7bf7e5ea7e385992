import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facesr import images
from facesr.enhance import batch
from facesr.enhance.batch import Options
from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.enhance.jobs import Job, plan
from facesr.errors import DataError, ParamsError

X2 = Options(enhance=EnhanceOptions(scale=2))


def write_images(folder, names, side=8):
    for seed, name in enumerate(names):
        generator = torch.Generator().manual_seed(seed)
        images.write(folder / name, torch.rand(3, side, side, generator=generator))


def targets(jobs, output):
    return sorted(job.target.relative_to(output).as_posix() for job in jobs)


def run(jobs, options=X2, **arguments):
    return list(batch.run(Enhancer.bicubic(), jobs, options, **arguments))


def test_a_folder_keeps_its_tree(tmp_path):
    write_images(tmp_path / "in", ["a.png", "deep/er/b.png", "c.PNG"])
    (tmp_path / "in" / "notes.txt").write_text("no image")
    jobs = plan([str(tmp_path / "in")], tmp_path / "out")
    assert targets(jobs, tmp_path / "out") == ["a.png", "c.PNG", "deep/er/b.png"]


def test_several_folders_keep_their_names(tmp_path):
    write_images(tmp_path, ["one/a.png", "two/a.png", "b.png"])
    inputs = [str(tmp_path / name) for name in ("one", "two", "b.png")]
    jobs = plan(inputs, tmp_path / "out")
    assert targets(jobs, tmp_path / "out") == ["b.png", "one/a.png", "two/a.png"]


def test_a_pattern_is_expanded_and_an_image_named_twice_is_enhanced_once(tmp_path):
    write_images(tmp_path / "in", ["a1.png", "a2.png", "b.png"])
    inputs = [str(tmp_path / "in" / "a*.png"), str(tmp_path / "in" / "a1.png")]
    assert targets(plan(inputs, tmp_path / "out"), tmp_path / "out") == ["a1.png", "a2.png"]


@pytest.mark.parametrize(
    ("file_format", "names"),
    [
        ("webp", {"a.png": "a.png.webp", "a.gif": "a.gif.webp", "a.webp": "a.webp"}),
        (None, {"a.png": "a.png", "a.gif": "a.gif.png", "a.jfif": "a.jfif", "a.mpo": "a.mpo.jpg"}),
    ],
)
def test_the_name_of_a_result_does_not_depend_on_what_lies_beside(tmp_path, file_format, names):
    for name, expected in names.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / name).touch()
        alone = plan([str(tmp_path / "in" / name)], tmp_path / "out", file_format)
        assert targets(alone, tmp_path / "out") == [expected]
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / "all" / name).touch()
    together = plan([str(tmp_path / "all")], tmp_path / "out", file_format)
    assert targets(together, tmp_path / "out") == sorted(names.values())


def test_what_a_folder_holds_beside_its_images_is_named_by_kind(tmp_path, caplog):
    folder = tmp_path / "in"
    write_images(folder, ["a.png", "linked/b.png", ".hidden/c.png"])
    many = [f"{number}.txt" for number in range(5)]
    for name in ("a.jfif", "b.JPE", "one.HEIC", "two.heic", "notes", ".d.png", *many):
        (folder / name).touch()
    (tmp_path / "elsewhere").mkdir()
    (folder / "album").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "pipe.png")
    jobs = plan([str(folder)], tmp_path / "out")
    assert targets(jobs, tmp_path / "out") == ["a.jfif", "a.png", "b.JPE", "linked/b.png"]
    [message] = caplog.messages
    assert message.startswith(f"{folder}: 12 passed over: ")
    for part in (
        ".heic (one.HEIC, two.heic)",
        "; .txt (0.txt, 1.txt, 2.txt and 2 more)",
        "; hidden (.hidden, .d.png)",
        "; link to a folder (album)",
        "; named pipe (pipe.png)",
        "; without an ending (notes). JPEG, PNG",
    ):
        assert part in message


def test_what_a_system_leaves_in_folders_is_passed_over_without_a_word(tmp_path, caplog):
    folder = tmp_path / "in"
    write_images(folder, ["a.png", "__MACOSX/a.png", "@eaDir/a.png", "deep/b.png"])
    for name in ("._a.png", "deep/._b.png", ".DS_Store", "Thumbs.db", "Desktop.ini"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    jobs = plan([str(folder)], tmp_path / "out")
    assert targets(jobs, tmp_path / "out") == ["a.png", "deep/b.png"]
    assert not caplog.messages


def test_a_named_pipe_is_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png is a named pipe"):
        plan([str(tmp_path / "a.png")], tmp_path / "out")


@pytest.mark.parametrize("name", ["x.bmp", "x.gif", "x.jfif", "x.avif", "x.mp4", "x.HEIC", "x.2"])
def test_a_file_that_is_not_written_is_refused_and_a_folder_may_have_its_name(tmp_path, name):
    write_images(tmp_path, ["a.png"])
    output, inputs = tmp_path / name, [str(tmp_path / "a.png")]
    with pytest.raises(ParamsError, match=r"must end in \.jpg"):
        plan(inputs, output)
    assert plan(inputs, output, is_folder=True)[0].target == output / "a.png"
    output.mkdir()
    assert plan(inputs, output)[0].target == output / "a.png"


def test_a_folder_of_results_may_have_dots_in_its_name(tmp_path):
    write_images(tmp_path / "in", ["a.png"])
    [job] = plan([str(tmp_path / "in")], tmp_path / "holiday.2020")
    assert job.target == tmp_path / "holiday.2020" / "a.png"
    with pytest.raises(ParamsError, match="must end in"):
        plan([str(tmp_path / "in")], tmp_path / "x.bmp")


@pytest.mark.parametrize(
    ("inputs", "output", "error", "message"),
    [
        (["in"], "in/out", ParamsError, "lies inside of"),
        (["in"], "in", ParamsError, "lies inside of"),
        (["in/a.png"], "in", ParamsError, "written onto itself"),
        (["in/a.png"], "in/a.png", ParamsError, "written onto itself"),
        (["in/a.png", "in/b.png"], "out.png", ParamsError, "do not fit into"),
        (["missing"], "out", DataError, "does not exist"),
        (["in/z*.png"], "out", DataError, "no image there"),
        (["empty"], "out", DataError, "no image there"),
        (["in/a.png", "other/a.png"], "out", ParamsError, "would both be written"),
        (["in/a.png", "in/b.png"], "note", ParamsError, "is not a folder"),
    ],
)
def test_paths_that_make_no_sense_are_refused(
    tmp_path, monkeypatch, inputs, output, error, message
):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path, ["in/a.png", "in/b.png", "other/a.png"])
    Path("empty").mkdir()
    Path("note").touch()
    with pytest.raises(error, match=message):
        plan(inputs, Path(output))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_is_reported(tmp_path):
    (tmp_path / "in").mkdir(mode=0o000)
    with pytest.raises(DataError, match="cannot be read"):
        plan([str(tmp_path / "in")], tmp_path / "out")


@pytest.mark.parametrize("workers", [1, 3])
def test_bad_files_are_reported_and_stop_no_other(tmp_path, workers):
    write_images(tmp_path / "in", ["a.png", "b.png", "c.png"])
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


def test_an_internal_error_is_reported_as_that_images_failure(tmp_path, monkeypatch):
    write_images(tmp_path / "in", ["a.png", "b.png"])
    right = Enhancer.enhance_photo

    def broken(self, photo, *options, **others):
        if photo.colour[0, 0, 0] == images.read(tmp_path / "in" / "a.png")[0, 0, 0]:
            raise ZeroDivisionError("oops")
        return right(self, photo, *options, **others)

    monkeypatch.setattr(Enhancer, "enhance_photo", broken)
    outcomes = run(plan([str(tmp_path / "in")], tmp_path / "out"))
    assert sorted(outcome.status for outcome in outcomes) == ["enhanced", "failed"]
    assert "ZeroDivisionError: oops" in "".join(outcome.error for outcome in outcomes)


def test_what_is_there_is_left_alone_unless_overwriting_is_asked_for(tmp_path):
    write_images(tmp_path / "in", ["a.png", "b.png"])
    jobs = plan([str(tmp_path / "in")], tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    assert sorted(outcome.status for outcome in run(jobs)) == ["enhanced", "skipped"]
    assert (tmp_path / "out" / "a.png").read_bytes() == b"mine"
    again = run(jobs, Options(enhance=EnhanceOptions(scale=2), overwrite=True))
    assert [outcome.status for outcome in again] == ["enhanced", "enhanced"]


def test_a_result_that_cannot_be_written_is_reported(tmp_path):
    write_images(tmp_path / "in", ["a.png"])
    (tmp_path / "file").touch()
    [outcome] = run([Job(tmp_path / "in" / "a.png", tmp_path / "file" / "a.png")])
    assert outcome.status == "failed"
    assert "cannot be written" in outcome.error
    assert str(tmp_path / "in" / "a.png") in outcome.error


def test_a_link_to_nothing_is_an_image_that_does_not_exist(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").symlink_to("gone.png")
    [outcome] = run(plan([str(tmp_path / "in")], tmp_path / "out"))
    assert outcome.error.startswith(f"{tmp_path / 'in' / 'a.png'} does not exist")


def test_a_failure_names_its_image_whatever_failed(tmp_path):
    write_images(tmp_path, ["a.png"])
    options = [{"scale": -1}, {"scale": 1e6}, {"scale": 1, "strength": 2}]
    for enhance in options:
        [outcome] = run(
            [Job(tmp_path / "a.png", tmp_path / "b.png")],
            Options(enhance=EnhanceOptions(**enhance)),
        )
        assert outcome.error.startswith(f"{tmp_path / 'a.png'}: ")


def test_a_result_keeps_the_modification_time_of_its_image(tmp_path):
    write_images(tmp_path, ["a.png"])
    os.utime(tmp_path / "a.png", (1e9, 1e9))
    run([Job(tmp_path / "a.png", tmp_path / "b.png")])
    assert (tmp_path / "b.png").stat().st_mtime == 1e9


def test_a_result_that_is_older_or_of_other_options_is_left_alone_and_reported(tmp_path):
    write_images(tmp_path, ["a.png"])
    job = Job(tmp_path / "a.png", tmp_path / "b.png")
    run([job])
    assert run([job])[0].stale == ""
    others = [
        {"scale": 3},
        {"scale": 2, "strength": 0.5},
        {"scale": 2, "colour": "none"},
        {"size": 16},
        {"scale": 2, "faces": "only"},
    ]
    made = job.target.read_bytes()
    for other in others:
        [outcome] = run([job], Options(EnhanceOptions(**other)))
        assert (outcome.status, outcome.stale) == ("skipped", "options")
    # A file system may have rounded the result's time down.
    os.utime(job.source, ns=(0, 1_000_000_001_500_000_000))
    os.utime(job.target, ns=(0, 1_000_000_000_000_000_000))
    assert run([job])[0].stale == ""
    os.utime(job.source, ns=(0, 1_000_000_000_500_000_500))
    os.utime(job.target, ns=(0, 1_000_000_000_500_000_400))
    assert run([job])[0].stale == "older"
    assert job.target.read_bytes() == made
    job.target.write_bytes(b"mine")
    os.utime(job.source, (1e9, 1e9))
    assert run([job])[0].stale == ""


def test_listening_no_longer_breaks_off_and_leaves_nothing_half_written(tmp_path):
    write_images(tmp_path / "in", [f"{number}.png" for number in range(40)])
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


def test_the_outcome_has_brightness_and_clipping(tmp_path):
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
