"""kill -9 of `dvc repro`, in the middle of every training, costs nothing.

python -m pytest -m slow tests/test_kills.py -s
"""

import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from test_stages import Project

STAGES = ("train_generator", "train_critic", "train_gan", "train_upsampler")
KILLS = 10


def start(project, stage):
    # DVC and the stage are one group of processes, which ends as one.
    return subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", stage],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill_in_training(project, stage, rng):
    """Kill the group at a random moment after it has taken up the training; return whether it hit.

    A checkpoint is saved after every step, so that a file newer than the start is a step of this
    process.
    """
    folder = project.root / ".ckpt" / stage
    began = time.time()
    process = start(project, stage)
    while process.poll() is None:
        if any(one.stat().st_mtime > began for one in folder.glob("*/last.pt")):
            break
        time.sleep(0.005)
    time.sleep(rng.uniform(0, 0.1))
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_ten_kills_of_each_training_and_dvc_repro_end_with_the_same_bits(tmp_path):
    unbroken = Project(tmp_path / "unbroken")
    broken = Project(tmp_path / "broken")
    for project in (unbroken, broken):
        # More steps than kills, in all trainings.
        for stage in ("train_generator", "train_upsampler"):
            project.set(f"{stage}.crops_per_pair", 12)
        project.set("train_critic.epochs", 12)
        project.set("train_gan.batches", 40)
    unbroken.run(sys.executable, "-m", "dvc", "repro", "train_upsampler")
    rng = random.Random(0)
    for stage in STAGES:
        broken.run(sys.executable, "-m", "dvc", "repro", *upstream(stage))
        hits = sum(kill_in_training(broken, stage, rng) for _ in range(KILLS))
        # DVC itself asks nothing about the checkpoint, and removes none.
        assert list((broken.root / ".ckpt" / stage).glob("*/last.pt"))
        output = broken.run(sys.executable, "-m", "dvc", "repro", stage)
        went_on = re.search(r"goes on after step (\d+) of (\d+)", output)
        assert went_on, output
        print(f"{stage}: {hits} of {KILLS} hit, {went_on.group()}")  # noqa: T201
        assert hits == KILLS
        assert not (broken.root / ".ckpt" / stage).exists()
    assert broken.weights() == unbroken.weights()
    assert "ckpt" not in broken.run("git", "status", "--porcelain", "--untracked-files=all")


def upstream(stage):
    """What has to be there before a stage."""
    position = STAGES.index(stage)
    return [STAGES[position - 1]] if position else ["degrade"]
