"""Starts Python as torchrun does."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def launch_two(*command, folder):
    """Run Python twice as torchrun does, on processors."""
    places = (ROOT / "src", ROOT, ROOT / "tests", ROOT / "tests/training")
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, places)),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONWARNINGS": "ignore",
    }
    return subprocess.run(
        (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
        + command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
