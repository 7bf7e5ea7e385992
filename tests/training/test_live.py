"""A training is seen in MLflow while it runs, and runs the same whatever becomes of the server."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import ROOT, outs, run_stage

from facesr.training.monitor import Monitor

pytestmark = pytest.mark.filterwarnings(r"ignore:::mlflow\.")


class Server:
    """`mlflow server` on loopback, with SQLite and artifacts in a folder."""

    def __init__(self, folder):
        port = free_port()
        self.uri = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
            + ["--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/server.db"]
            + ["--artifacts-destination", str(folder / "artifacts")],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._answers, 60)

    def _answers(self):
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    def kill(self):
        os.killpg(self.process.pid, 9)
        self.process.wait()

    def client(self):
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri)

    def runs(self):
        client = self.client()
        experiment = client.get_experiment_by_name("facesr")
        return client.search_runs([experiment.experiment_id]) if experiment else []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.2)
    return value


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("server"))
    yield started
    started.kill()


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "project")
    shutil.rmtree(tmp_path / "project/reports/train_gan")
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    return tmp_path / "project"


def call_at_step(monkeypatch, step, action):
    count = Monitor.count

    def count_and_act(self, pictures, **values):
        if self.step == step:
            action()
        return count(self, pictures, **values)

    monkeypatch.setattr(Monitor, "count", count_and_act)


def test_a_training_is_seen_while_it_runs_and_ends_the_same(
    server, project, trained, monkeypatch, capfd
):
    seen = []

    def look():
        wanted = {
            "generator_loss",
            "gradients.generator_gradient",
            "system/cpu_utilization_percentage",
        }
        seen.extend(
            wait_for(lambda: [run for run in server.runs() if wanted <= set(run.data.metrics)], 60)
        )

    call_at_step(monkeypatch, 5, look)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    run_stage("train_gan", project, monkeypatch)

    [early] = seen
    assert early.info.status == "RUNNING"
    [run] = server.runs()
    assert (run.info.run_name, run.info.status) == ("train_gan (live)", "FINISHED")
    assert run.data.tags["live"] == "true"
    assert run.data.tags["training.key"]
    assert run.data.params["train_gan.batch_size"]
    rows = (project / "reports/train_gan/probabilities.csv").read_text().splitlines()[1:]
    history = server.client().get_metric_history(run.info.run_id, "probabilities.original")
    assert [(one.step, one.value) for one in history] == [
        (int(row.split(",")[0]), float(row.split(",")[1])) for row in rows
    ]
    sheets = len(list((project / "reports/train_gan/samples").glob("step*.png")))
    images = [file.path for file in server.client().list_artifacts(run.info.run_id, "images")]
    assert len([path for path in images if path.endswith(".png")]) == sheets
    assert outs("train_gan", project) == outs("train_gan", trained)
    assert "error" not in capfd.readouterr().err.lower()


def test_a_server_that_dies_costs_a_line_and_no_bit(project, trained, tmp_path, monkeypatch, capfd):
    (tmp_path / "server").mkdir()
    own = Server(tmp_path / "server")
    lines = []

    def hear():
        lines.append(capfd.readouterr().err)
        return "".join(lines)

    def look_and_kill():
        wait_for(lambda: [run for run in own.runs() if run.data.metrics], 60)
        own.kill()

    call_at_step(monkeypatch, 3, look_and_kill)
    # The writer may have sent all that there was: it fails at the row that has come since.
    call_at_step(monkeypatch, 5, lambda: wait_for(lambda: "MLflow" in hear(), 60))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own.uri)
    run_stage("train_gan", project, monkeypatch)

    assert outs("train_gan", project) == outs("train_gan", trained)
    told = hear()
    assert told.count("train_gan goes on without being watched. MLflow at http") == 1
    assert told.count("MLflow") == 1
    assert "Traceback" not in told


def test_a_server_that_is_not_there_costs_a_line_and_no_bit(project, trained, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://anna:hunter2@127.0.0.1:{free_port()}")
    run_stage("train_gan", project, monkeypatch)

    assert outs("train_gan", project) == outs("train_gan", trained)
    told = capfd.readouterr().err
    assert told.count("MLflow at http") == 1
    assert "hunter2" not in told
    assert "Traceback" not in told


def test_a_killed_training_leaves_a_killed_run_with_what_it_wrote(server, project):
    script = (
        "import os; from pathlib import Path; from facesr import tracking\n"
        "from facesr.config import load_params\n"
        "with tracking.live_run(Path(), Path('reports/train_critic'), load_params()) as report:\n"
        "    Path(report, 'curves.csv').write_text('step,loss\\n7,0.5\\n')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": server.uri}
    subprocess.run([sys.executable, "-c", script], cwd=project, env=environment, check=False)

    def ended():
        return [run for run in server.runs() if run.info.status == "KILLED"]

    [run] = wait_for(ended, 60)
    assert run.info.run_name == "train_critic (live)"
    # What lay there from the training before is not taken for this one's.
    assert run.data.metrics["loss"] == 0.5
    assert "valid.accuracy" not in run.data.metrics
