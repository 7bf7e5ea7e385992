"""`make mlflow` serves MLflow's pages, and leaves nothing behind when it is ended."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from facesr.tracking.store import create_database

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(r"ignore:::mlflow\.")]
ROOT = Path(__file__).parents[2]


def test_the_pages_answer_and_end_with_make(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    create_database(tmp_path / "mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The environment is ready, however old it is.
    command = ["make", "--old-file", ".venv/.ready", "mlflow", f"MLFLOW_PORT={port}"]
    environment = {name: v for name, v in os.environ.items() if not name.startswith("MLFLOW_")}
    with (tmp_path / "log").open("wb") as log:
        make = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        wait_until_it_answers(port, make, tmp_path / "log")
        started = psutil.Process(make.pid).children(recursive=True)
        # MLflow's command and one worker.
        assert len(started) == 2
    finally:
        make.send_signal(signal.SIGTERM)
    make.wait(20)
    _, left = psutil.wait_procs(started, timeout=20)
    assert not left
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def wait_until_it_answers(port, make, log):
    end = time.monotonic() + 120
    while True:
        assert make.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
            return
        except OSError:
            time.sleep(0.5)
