"""MLflow's own pages: where they are, and serving them from the embedded store."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from facesr.errors import RegistryError
from facesr.tracking.listing import pages_of
from facesr.tracking.store import connect, shown, tracking_uri

_PATIENCE_SECONDS = 120


@contextmanager
def served_pages(root: Path, port: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serves MLflow's pages for as long as the block runs, unless a server does so already.

    Args:
        root: The project's root.
        port: On 127.0.0.1.

    Yields:
        The address of the page that compares all runs of the experiment; and a function that waits
        until the server ends or Ctrl-C.

    Raises:
        RegistryError: Nothing is published, or the server does not start.
    """
    _, experiment = connect(root, create=False)
    if not experiment:
        raise RegistryError(f"{shown(tracking_uri(root))} holds no experiment. Run: dvc repro")
    if tracking_uri(root).startswith("http"):
        yield _comparison(pages_of(root), experiment), lambda: None
        return
    base = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(port), "--backend-store-uri", tracking_uri(root)),
        ],
        env={
            # Its workers serve evaluations by language models, which nothing here asks for.
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            **os.environ,
            # The server starts uvicorn by its name.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        },
        cwd=root,
    )

    def wait() -> None:
        with suppress(KeyboardInterrupt):
            server.wait()

    try:
        _wait_for(server, base)
        yield _comparison(base, experiment), wait
    finally:
        server.terminate()
        server.wait()


def _comparison(base: str, experiment: str) -> str:
    return f"{base}/#/experiments/{experiment}/runs?compareRunsMode=CHART"


def _wait_for(server: "subprocess.Popen[bytes]", base: str) -> None:
    import requests

    give_up = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < give_up and server.poll() is None:
        with suppress(requests.RequestException):
            if requests.get(f"{base}/health", timeout=1).ok:
                return
        time.sleep(0.2)
    raise RegistryError(f"MLflow's server does not answer at {base}. Is the port taken? See above.")
