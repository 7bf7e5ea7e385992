"""A training is seen in MLflow while it runs, and runs the same whatever becomes of the server."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from conftest import ROOT, outs, run_stage

from facesr import tracking
from facesr.config import load_params
from facesr.errors import Stopped
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
        wait_for(self._answers, 120)

    def _answers(self):
        # The first question to the store takes longer than the patience of those who are tested.
        question = f"{self.uri}/api/2.0/mlflow/experiments/get?experiment_id=0"
        try:
            with urllib.request.urlopen(question, timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False

    def send(self, number):
        os.killpg(self.process.pid, number)

    def kill(self):
        self.send(signal.SIGKILL)
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
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def call_at_step(monkeypatch, step, action):
    count = Monitor.count

    def count_and_act(self, count_seen, **values):
        if self.step == step:
            action()
        return count(self, count_seen, **values)

    monkeypatch.setattr(Monitor, "count", count_and_act)


def test_a_training_is_seen_while_it_runs_and_ends_the_same(
    server, project, trained, monkeypatch, caplog
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
    assert caplog.messages == []


def assert_one_line(messages):
    [line] = messages
    assert line.startswith("train_gan goes on without being watched. MLflow at http")
    assert "hunter2" not in line


def test_a_server_that_is_not_there_costs_a_line_and_no_bit(project, trained, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://anna:hunter2@127.0.0.1:{free_port()}")
    run_stage("train_gan", project, monkeypatch)

    assert outs("train_gan", project) == outs("train_gan", trained)
    assert_one_line(caplog.messages)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_that_dies_or_hangs_costs_a_line_and_seconds_and_no_bit(
    project, trained, tmp_path, monkeypatch, caplog, number
):
    (tmp_path / "server").mkdir()
    own = Server(tmp_path / "server")
    began = 0.0

    def look_and_stop():
        nonlocal began
        wait_for(lambda: [run for run in own.runs() if run.data.metrics], 60)
        own.send(number)
        began = time.monotonic()

    call_at_step(monkeypatch, 3, look_and_stop)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", own.uri)
    try:
        run_stage("train_gan", project, monkeypatch)
    finally:
        own.kill()

    assert time.monotonic() - began < 40
    assert outs("train_gan", project) == outs("train_gan", trained)
    assert_one_line(caplog.messages)


def test_a_process_ends_although_the_server_never_answers(project):
    script = (
        "from pathlib import Path; from facesr import tracking\n"
        "from facesr.config import load_params\n"
        "with tracking.live_run(Path(), Path('reports/train_gan'), load_params()) as report:\n"
        "    report.mkdir()\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        uri = f"http://anna:hunter2@127.0.0.1:{hanging.getsockname()[1]}"
        # MLflow's own patience is that of 7 requests of 120 s.
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "MLFLOW_TRACKING_URI": uri},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert_one_line(done.stderr.splitlines())


def test_a_stopped_training_leaves_a_killed_run_with_what_it_wrote(server, project, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    report = project / "reports/train_critic"

    def stop():
        with tracking.live_run(project, report, load_params()):
            (report / "curves.csv").write_text("step,loss\n7,0.5\n")
            raise Stopped("stopped", status=143)

    with pytest.raises(Stopped):
        stop()
    [run] = [run for run in server.runs() if run.info.status == "KILLED"]
    assert run.info.run_name == "train_critic (live)"
    # What lay there from the training before is not taken for this one's.
    assert run.data.metrics["loss"] == 0.5
    assert "valid.accuracy" not in run.data.metrics
