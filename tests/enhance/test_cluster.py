"""Images on a cluster: the same bytes as on one machine, and nothing is lost with a worker."""

import sys

import pytest
import torch
from tiny import network

from facesr import images
from facesr.enhance import batch, cluster
from facesr.enhance.batch import Options
from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.enhance.jobs import plan
from facesr.errors import ParamsError

X2 = Options(enhance=EnhanceOptions(scale=2))


def write_images(folder, count, side=24):
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        images.write(folder / f"{seed:03d}.png", torch.rand(3, side, side, generator=generator))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_without_ray_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ParamsError, match=r"facesr\[cluster\]"):
        list(cluster.run(Enhancer.bicubic(), [], X2, address="local"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_workers_give_the_same_bytes_as_the_local_path_and_one_dies(tmp_path):
    pytest.importorskip("ray")
    write_images(tmp_path / "in", 24)
    (tmp_path / "in" / "bad.png").write_text("no image")
    enhancer = Enhancer([network()], "cpu", model="tiny")
    here = plan([str(tmp_path / "in")], tmp_path / "here")
    list(batch.run(enhancer, here, X2))
    there = plan([(tmp_path / "in").as_uri()], tmp_path / "there")
    outcomes = []
    killed = False
    for outcome in cluster.run(enhancer, there, X2, address="local", workers=2):
        outcomes.append(outcome)
        if not killed and outcome.status == "enhanced":
            killed = kill_a_worker()
    assert killed
    assert contents(tmp_path / "here") == contents(tmp_path / "there")
    assert len(contents(tmp_path / "there")) == 24
    assert sorted(str(outcome.job.source) for outcome in outcomes) == sorted(
        str(job.source) for job in there
    )
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    assert ["not an image" in outcome.error for outcome in failed] == [True]


def kill_a_worker() -> bool:
    """End the process of one of this session's Ray workers."""
    import psutil

    for process in psutil.Process().children(recursive=True):
        if "_Worker" in " ".join(process.cmdline()) + process.name():
            process.kill()
            return True
    return False
