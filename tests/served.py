"""A project with a registry, and the page served from it, for browsers and programs."""

import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tiny import network

from facesr import tracking
from facesr.models.checkpoints import save_networks
from facesr.tracking import store

ROOT = Path(__file__).parents[1]
CHROMIUM = next(
    (
        path
        for path in (Path("/usr/bin/chromium"), Path("/usr/bin/chromium-browser"))
        if path.exists()
    ),
    None,
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


def register(project: Path, number: int) -> None:
    """Add a version with a tiny network to the project's own MLflow store."""
    client, experiment = store.connect(project, create=True)
    folder = project / "mlruns" / f"version{number}"
    weights = folder / "artifacts" / tracking.WEIGHTS
    weights.parent.mkdir(parents=True)
    save_networks(weights, [network(seed=number, scale=4)])
    run = client.create_run(experiment, run_name="repro", tags={"dvc.pipeline_key": str(number)})
    for metric, value in (("psnr", 28.0 + number), ("psnr_gain", 1.0 + number)):
        client.log_metric(run.info.run_id, f"faces/{metric}", value)
    client.set_terminated(run.info.run_id)
    if number == 1:
        client.create_registered_model(tracking.MODEL)
    client.create_model_version(
        tracking.MODEL,
        folder.as_uri(),
        run.info.run_id,
        tags={"dvc.md5": hashlib.md5(weights.read_bytes()).hexdigest()},
    )


def make_champion(project: Path, number: int) -> None:
    """Move the alias."""
    client, _ = store.connect(project, create=False)
    client.set_registered_model_alias(tracking.MODEL, tracking.CHAMPION, str(number))


@contextmanager
def serve(
    project: Path, *, log: Path | None = None, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run the server in a project; return its address and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # A project that is only looked at gets no file.
    output = (log or project) / "server.log"
    log_file = output.open("w")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "server.py")),
            *("--server.port", str(port)),
        ],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **environment},
        stdout=log_file,
        stderr=subprocess.STDOUT,
    )
    log_file.close()
    address, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
    try:
        while True:
            try:
                with urllib.request.urlopen(f"{address}/_stcore/health", timeout=2) as answer:
                    if answer.read() == b"ok":
                        break
            except OSError:
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < end, "the server does not start"
                time.sleep(0.1)
        yield address, process
    finally:
        process.terminate()
        process.wait(20)
