"""Publish, download and serve through `mlflow server` on PostgreSQL, with proxied artifacts."""

import hashlib
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_tracking import (
    FIDELITY,
    NETWORKS,
    STAGES,
    publish_project,
    run_python,
    write_lock,
    write_network,
    write_reports,
)

from facesr.errors import RegistryError
from facesr.tracking import champion, download, projection, registration

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(r"ignore:::mlflow\.")]


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A PostgreSQL server on loopback, as an address for SQLAlchemy."""
    tools = find_postgres()
    # PostgreSQL refuses to run as root, and pytest's folders are the caller's alone.
    account = {"user": "nobody"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="facesr-postgres.") as folder:
        if account:
            nobody = pwd.getpwnam(account["user"])
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        data, password = Path(folder, "data"), Path(folder, "password")
        password.write_text("hunter2\n")
        password.chmod(0o644)
        subprocess.run(
            [
                *(tools / "initdb", "--pgdata", data, "--username", "facesr", "--no-sync"),
                *("--auth", "scram-sha-256", "--pwfile", password, "--encoding", "UTF8"),
            ],
            cwd=folder,
            check=True,
            capture_output=True,
            **account,
        )
        port = free_port()
        server = subprocess.Popen(
            [
                *(tools / "postgres", "-D", data, "-p", str(port), "-k", folder),
                *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"),
            ],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **account,
        )
        try:
            wait_until(lambda: accepts(port), "PostgreSQL")
            yield f"postgresql+psycopg://facesr:hunter2@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def find_postgres() -> Path:
    """The folder of PostgreSQL's programs, installed where that is possible."""
    pytest.importorskip("psycopg", reason="psycopg is missing: pip install 'facesr[server]'")
    if not (found := programs()) and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(
            ["apt-get", "install", "--yes", "--quiet", "postgresql"],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            timeout=300,
            check=False,
            capture_output=True,
        )
        found = programs()
    if not found:
        pytest.skip("no PostgreSQL here, and apt-get install postgresql does not give it")
    return found


def programs() -> Path | None:
    folders = [Path(name).resolve().parent for name in filter(None, [shutil.which("initdb")])]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").is_file()), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(ready: Callable[[], bool], name: str) -> None:
    give_up = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < give_up, f"{name} does not answer"
        time.sleep(0.2)


class Server:
    """`mlflow server`, which can be killed and started again."""

    def __init__(self, database: str, folder: Path) -> None:
        self.database, self.folder, self.port = database, folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                    *("--backend-store-uri", self.database, "--artifacts-destination"),
                    *(str(self.folder / "artifacts"), "--host", "127.0.0.1"),
                    *("--port", str(self.port)),
                ],
                # The server is started through the name `uvicorn`.
                env={
                    **os.environ,
                    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                },
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self.is_healthy, "mlflow server")

    def is_healthy(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            return urllib.request.urlopen(f"{self.uri}/health", timeout=2).status == 200
        except OSError:
            return False

    def kill(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(database, tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    """A project whose store is the server."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    # A server that has just started takes longer than three seconds on a computer at work.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    root = tmp_path / "project"
    (root / "models").mkdir(parents=True)
    write_network(root / NETWORKS[0], scale=1, seed=0)
    write_network(root / NETWORKS[1], scale=2, seed=0)
    write_network(root / FIDELITY, scale=1, seed=1)
    write_reports(root / "reports")
    write_lock(root)
    return root


def parents(client: Any) -> list[Any]:
    experiment = client.get_experiment_by_name("facesr").experiment_id
    finished = "tags.`dvc.pipeline_key` LIKE '%' and attributes.status = 'FINISHED'"
    return list(client.search_runs([experiment], finished))


def test_a_server_killed_twice_during_publish_holds_everything_after_the_next_run(
    project: Path, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    for module, name in ((projection, "read_curves"), (registration, "_input_example")):
        with monkeypatch.context() as patch:
            original = getattr(module, name)

            def kill_first(*arguments: Any, original: Any = original) -> Any:
                if not arguments or arguments[0].name == "train_gan":
                    server.kill()
                return original(*arguments)

            patch.setattr(module, name, kill_first)
            with pytest.raises(RegistryError, match=r"MLflow at http://.* Start the server") as e:
                publish_project(project)
            assert "\n" not in str(e.value)
        assert server.process.poll() is not None, str(e.value)
        server.start()

    published = publish_project(project)

    client = MlflowClient(tracking_uri=server.uri)
    [parent] = parents(client)
    own = {
        run.info.run_name
        for run in client.search_runs(
            [parent.info.experiment_id],
            f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' and "
            "attributes.status = 'FINISHED'",
        )
    }
    linked = {tag.removeprefix("dvc.reused.") for tag in parent.data.tags if "reused" in tag}
    assert own | linked == set(STAGES)
    assert (published.model_version, published.champion) == (1, 1)
    assert len(client.search_model_versions("name = 'facesr'")) == 1
    again = publish_project(project)
    assert (again.created_runs, again.created_version) == (0, False)
    assert not (project / "mlflow.db").exists()

    # Neither the artifacts' folder nor the project's is reached but through the server.
    weights = download(project, "facesr@champion")
    assert not weights.is_relative_to(server.folder)
    md5 = hashlib.md5(weights.read_bytes()).hexdigest()
    assert md5 == champion(project).tags["dvc.md5"]

    script = (
        "import io, json, mlflow, pandas\n"
        "from PIL import Image\n"
        "file = io.BytesIO(); Image.new('RGB', (8, 8), 'grey').save(file, 'PNG')\n"
        "model = mlflow.pyfunc.load_model('models:/facesr@champion')\n"
        "[row] = model.predict(pandas.DataFrame({'image': [file.getvalue()]}),"
        " params={'size': 24}).to_dict(orient='records')\n"
        "print(json.dumps([Image.open(io.BytesIO(row['image'])).size, row['error']]))"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    answer = run_python(script, cwd=elsewhere, MLFLOW_TRACKING_URI=server.uri)
    assert json.loads(answer.splitlines()[-1]) == [[24, 24], ""]


def test_a_wrong_password_of_the_database_is_reported_in_one_line_without_it(
    project: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.database.replace("hunter2", "hunter3"))
    with pytest.raises(RegistryError, match="password authentication failed") as caught:
        publish_project(project)
    assert "\n" not in str(caught.value)
    assert "hunter" not in str(caught.value)
