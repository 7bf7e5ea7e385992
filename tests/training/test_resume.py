"""A training that is stopped, at any moment, ends with the bits of an unbroken one."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
import torch
from conftest import ROOT, STAGES, make_project, outs, run_stage

from facesr import cli, images
from facesr.data import packs
from facesr.errors import CheckpointError, Stopped, TrainingError
from facesr.losses import content
from facesr.training import monitor, restore
from facesr.training.resume import Checkpoints, key_of, random_state, set_random_state


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def project(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "project")
    return tmp_path / "project"


def remove_outs(name, root):
    """As DVC does before it runs a stage."""
    for path in outs(name, root):
        (root / path).unlink()
    shutil.rmtree(root / "reports" / name, ignore_errors=True)


def test_phases_and_a_frozen_encoder_survive_as_well(tmp_path, monkeypatch):
    phase = {"crop_size": 8, "batch_size": 6, "epochs": 1, "learning_rate": 1.0e-3}
    root = make_project(
        tmp_path,
        train_generator__phases=[
            {**phase, "encoder_learning_rate": 0.0},
            {**phase, "crop_size": 16, "epochs": 2, "encoder_learning_rate": 1.0e-4},
        ],
    )
    run_stage("train_generator", root, monkeypatch)
    die_again_and_again("train_generator", root, monkeypatch)


@pytest.mark.parametrize("name", STAGES)
def test_a_training_that_dies_again_and_again_ends_with_the_same_bits(name, project, monkeypatch):
    die_again_and_again(name, project, monkeypatch)


@pytest.mark.parametrize(
    "name", [pytest.param("train_generator", marks=pytest.mark.slow), "train_gan"]
)
def test_channels_that_lie_last_survive_as_well(name, tmp_path, monkeypatch):
    # In bfloat16 the weights' memory is ordered otherwise, and the optimizer's has to follow.
    root = make_project(tmp_path, training__precision="bfloat16")
    for stage in STAGES[: STAGES.index(name) + 1]:
        run_stage(stage, root, monkeypatch)
    die_again_and_again(name, root, monkeypatch)


def die_again_and_again(name, project, monkeypatch):
    """Let a training die after every checkpoint, and compare it with what stands there."""
    unbroken = outs(name, project)
    save = Checkpoints.save
    deaths = 0

    def save_and_die(self, state):
        save(self, state)
        raise Killed

    while True:
        remove_outs(name, project)
        monkeypatch.setattr(Checkpoints, "save", save_and_die)
        try:
            run_stage(name, project, monkeypatch)
        except Killed:
            deaths += 1
        else:
            break
    assert deaths >= 4
    assert outs(name, project) == unbroken
    assert not (project / ".ckpt" / name).exists()


@pytest.mark.parametrize("name", ["train_generator", "train_gan"])
def test_a_signal_saves_and_names_the_way_on(name, project, monkeypatch, capsys):
    unbroken = outs(name, project)
    remove_outs(name, project)
    count = monitor.Monitor.count

    def count_and_signal(self, contents, **losses):
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return count(self, contents, **losses)

    with monkeypatch.context() as patch:
        patch.setattr(monitor.Monitor, "count", count_and_signal)
        with pytest.raises(Stopped, match=r"saved after step 3 of 6.*goes on") as stopped:
            run_stage(name, project, monkeypatch)
    assert stopped.value.status == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    run_stage(name, project, monkeypatch)
    assert outs(name, project) == unbroken


@pytest.mark.parametrize("name", ["train_generator", "train_gan"])
def test_a_signal_after_the_last_step_ends_the_training_at_the_next_image(
    name, project, monkeypatch
):
    # Saves by the clock never come due here: the last step is saved whatever the clock says.
    project_params = project / "params.yaml"
    text = project_params.read_text()
    assert "checkpoint_minutes: 0.0" in text
    project_params.write_text(text.replace("checkpoint_minutes: 0.0", "checkpoint_minutes: 60.0"))
    unbroken = outs(name, project)
    remove_outs(name, project)
    restored = []

    def signal_and_round(image):
        restored.append(image)
        os.kill(os.getpid(), signal.SIGTERM)
        return images.to_uint8(image)

    own_images = types.SimpleNamespace(from_uint8=images.from_uint8, to_uint8=signal_and_round)

    with monkeypatch.context() as patch:
        patch.setattr(restore, "images", own_images)
        with pytest.raises(Stopped, match=r"saved after step 6 of 6.*goes on") as stopped:
            run_stage(name, project, monkeypatch)
    assert stopped.value.status == 128 + signal.SIGTERM
    assert len(restored) == 1
    with monkeypatch.context() as patch:
        patch.setattr(monitor.Monitor, "count", None)  # no step is done again
        run_stage(name, project, monkeypatch)
    assert outs(name, project) == unbroken


def test_the_frame_turns_a_stop_into_a_line_and_a_status(capsys):
    def main():
        raise Stopped("train_gan: stopped and saved", status=130)

    with pytest.raises(SystemExit) as ended:
        cli.run(main)
    assert ended.value.code == 130
    assert capsys.readouterr().err == "train_gan: stopped and saved\n"


def start(name, root):
    # Sums over threads round differently: as many as the unbroken training in this process had.
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": threads}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", f"stages.{name}"],
        cwd=root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def kill_at_a_random_moment(process, root, name, rng):
    """Sends SIGKILL during the training; returns whether it hit."""
    while process.poll() is None and not list((root / ".ckpt" / name).glob("*/last.pt")):
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 0.25))
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def check_kills(name, root, times):
    unbroken = outs(name, root)
    rng = random.Random(name)
    hits = 0
    for _ in range(times):
        remove_outs(name, root)
        hits += kill_at_a_random_moment(start(name, root), root, name, rng)
    process = start(name, root)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    assert hits
    assert outs(name, root) == unbroken


def test_kill_minus_nine_costs_nothing(project):
    check_kills("train_gan", project, times=2)


@pytest.mark.slow
@pytest.mark.parametrize("name", STAGES)
def test_ten_times_kill_minus_nine_cost_nothing(name, project):
    check_kills(name, project, times=10)


def interrupted(name, project, monkeypatch):
    """Leave a checkpoint and return its file."""

    def die(self, state):
        resume_save(self, state)
        raise Killed

    resume_save = Checkpoints.save
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", die)
        with pytest.raises(Killed):
            run_stage(name, project, monkeypatch)
    (file,) = (project / ".ckpt" / name).glob("*/last.pt")
    return file


def test_a_half_written_checkpoint_is_one_clear_line(project, monkeypatch):
    file = interrupted("train_gan", project, monkeypatch)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"is damaged.*delete .*\.ckpt/train_gan") as error:
        run_stage("train_gan", project, monkeypatch)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_other_parameters_is_left_alone(project, monkeypatch, caplog):
    file = interrupted("train_gan", project, monkeypatch)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("batches: 6", "batches: 4"))
    caplog.set_level("INFO")
    run_stage("train_gan", project, monkeypatch)
    assert file.exists()
    assert "is of other parameters or images; it stays" in caplog.text


def test_a_checkpoint_in_the_wrong_folder_is_refused(project, monkeypatch):
    file = interrupted("train_gan", project, monkeypatch)
    other = Checkpoints(project / ".ckpt" / "train_gan", "0123456789abcdef")
    other.save(Checkpoints(file.parents[1], file.parent.name).load())
    other.file.replace(file)
    with pytest.raises(CheckpointError, match="is of other parameters, another profile"):
        run_stage("train_gan", project, monkeypatch)


def test_a_checkpoint_of_another_architecture_is_one_clear_line(project, monkeypatch):
    file = interrupted("train_gan", project, monkeypatch)
    checkpoints = Checkpoints(file.parents[1], file.parent.name)
    saved = checkpoints.load()
    del saved["training"]["generator"]["head.0.weight"]
    checkpoints.save(saved)
    with pytest.raises(CheckpointError, match=r"does not fit this training \(.*head\.0\.weight"):
        run_stage("train_gan", project, monkeypatch)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(project, monkeypatch):
    calls = 0

    def broken(sr, hr):
        nonlocal calls
        calls += 1
        return (sr - hr).abs().mean() * (float("nan") if calls == 3 else 1.0)

    monkeypatch.setitem(content.PIXEL_TERMS, "l1", broken)
    remove_outs("train_generator", project)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 3 of 6.*step 2 stays"):
        run_stage("train_generator", project, monkeypatch)
    (file,) = (project / ".ckpt" / "train_generator").glob("*/last.pt")
    saved = Checkpoints(file.parents[1], file.parent.name).load()
    assert saved["step"] == 2
    assert all(t.isfinite().all() for t in saved["training"]["network"].values())


def test_a_diverging_loss_stops(project, monkeypatch):
    calls = 0

    def exploding(sr, hr):
        nonlocal calls
        calls += 1
        return (sr - hr).abs().mean() * 100.0**calls

    monkeypatch.setitem(content.PIXEL_TERMS, "l1", exploding)
    with pytest.raises(TrainingError, match=r"the loss is .* at step 2 of 6"):
        run_stage("train_generator", project, monkeypatch)


def test_every_state_comes_back_as_it_was(tmp_path):
    state = {
        "numbers": [1, 2.5, None, True, "text", float("inf")],
        "nested": {3: {"exp_avg": torch.randn(2, 3)}, "betas": (0.9, (0.99, torch.arange(3)))},
    }
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(state)
    back = checkpoints.load()
    assert back["numbers"] == state["numbers"]
    assert torch.equal(back["nested"][3]["exp_avg"], state["nested"][3]["exp_avg"])
    assert back["nested"]["betas"][0] == 0.9
    assert torch.equal(back["nested"]["betas"][1][1], torch.arange(3))
    checkpoints.delete()
    assert not tmp_path.exists()


class Code:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a checkpoint was run')",)


def test_a_checkpoint_that_holds_code_is_refused_and_runs_none(tmp_path):
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save({"step": Code()})
    with pytest.raises(CheckpointError, match="is damaged"):
        checkpoints.load()


def test_random_generators_go_on_where_they_stood(tmp_path):
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save(random_state())
    first = random.random(), np.random.rand(), torch.rand(1).item()
    set_random_state(checkpoints.load())
    assert (random.random(), np.random.rand(), torch.rand(1).item()) == first


def test_the_key_follows_values_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    key = key_of({"x": 1}, [tmp_path])
    assert key == key_of({"x": 1}, [tmp_path])
    assert key != key_of({"x": 2}, [tmp_path])
    (tmp_path / "a").write_text("2")
    assert key != key_of({"x": 1}, [tmp_path])


def write_pack(folder, seed=0, changed=None):
    """Four images; one value of them is another where `changed` names its position."""
    contents = np.random.default_rng(seed).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8)
    if changed is not None:
        contents.reshape(-1)[changed] ^= 1
    with packs.new_pack(folder, "abcd", [8]) as part:
        for position, image in enumerate(contents):
            packs.write(part, 8, position, image)
    return folder


@pytest.fixture
def unreadable(monkeypatch):
    """Images must not be read."""

    def refuse(images):
        raise AssertionError("the images were read")

    monkeypatch.setattr(packs, "_digests_of", refuse)


def test_the_key_of_a_pack_needs_no_image_and_notices_a_single_value(tmp_path, unreadable):
    key = key_of({}, [write_pack(tmp_path / "one")])
    assert key == key_of({}, [write_pack(tmp_path / "same")])
    assert key != key_of({}, [write_pack(tmp_path / "last", changed=-1)])
    assert key != key_of({}, [write_pack(tmp_path / "first", changed=0)])


def test_the_key_notices_an_array_that_was_changed_in_its_place(tmp_path):
    folder = write_pack(tmp_path / "pack")
    key = key_of({}, [folder])
    content = bytearray((folder / "8.npy").read_bytes())
    content[-1] ^= 1
    (folder / "8.npy").write_bytes(content)
    for _ in range(2):
        assert key != key_of({}, [folder])
    content[-1] ^= 1
    (folder / "8.npy").write_bytes(content)
    assert key == key_of({}, [folder])


@pytest.mark.parametrize("last", ["8.npy", "8.digests"])
def test_a_copy_of_the_images_keeps_the_key_in_any_order_of_copying(last, tmp_path, monkeypatch):
    key = key_of({}, [write_pack(tmp_path / "pack")])
    copy = tmp_path / "copy"
    copy.mkdir()
    for place, name in enumerate(sorted(["8.npy", "8.digests", "stems.txt"], key=last.__eq__)):
        shutil.copyfile(tmp_path / "pack" / name, copy / name)
        os.utime(copy / name, (place, place))
    assert key == key_of({}, [copy])
    # What was found is noted: from now on no image is read.
    monkeypatch.setattr(packs, "_digests_of", None)
    assert key == key_of({}, [copy])


def test_linked_images_keep_the_key(tmp_path, unreadable):
    key = key_of({}, [write_pack(tmp_path / "pack")])
    linked = tmp_path / "linked"
    linked.mkdir()
    for file in (tmp_path / "pack").iterdir():
        file.chmod(0o444)
        os.link(file, linked / file.name)
    assert key == key_of({}, [linked])


def test_images_that_were_written_without_digests_have_the_same_key(tmp_path):
    key = key_of({}, [write_pack(tmp_path / "pack")])
    contents = packs.read_pack(tmp_path / "pack").numpy()
    with packs.new_pack(tmp_path / "at once", "abcd", [8]) as part:
        packs.writable(part, 8)[:] = contents
    assert key == key_of({}, [tmp_path / "at once"])
    (tmp_path / "at once/8.digests").unlink()  # Packs had none once.
    assert key == key_of({}, [tmp_path / "at once"])


def test_the_generators_images_bring_their_digests_to_the_next_training(trained, unreadable):
    for split in ("train", "valid"):
        (array,) = (trained / "data/generated/generator" / split).glob("*.npy")
        assert len(packs.fingerprint(array)) == 16 * len(packs.read_stems(array.parent))
