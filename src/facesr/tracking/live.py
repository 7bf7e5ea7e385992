"""Live runs: MLflow shows a training while it goes on.

A thread reads the report that the training writes anyway, and copies new rows to the server. The
training does not wait for the server, and a server that fails or hangs cannot change it.

A live run is temporary. `publish` writes the run of the finished stage from dvc.lock, takes over
the system metrics, which no report holds, and deletes the live runs of the same training. The key
in training.json, an out of DVC, identifies them on any computer.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging import CRITICAL, getLogger
from pathlib import Path
from threading import Event, Thread
from typing import Any

from facesr.config import Params
from facesr.errors import FaceSRError, Stopped
from facesr.tracking.lockfile import STAGE_KEY, key_of, params_of
from facesr.tracking.provenance import environment, experiment_tags, write_environment
from facesr.tracking.report_files import read_curves
from facesr.tracking.runs import Runs
from facesr.tracking.store import (
    as_registry_error,
    connect,
    impatience,
    import_client,
    tracking_uri,
)

logger = getLogger(__name__)

LIVE = "live"
TRAINING_KEY = "training.key"
SYSTEM = "system/"
# Written by the training when it starts, see facesr.training.monitor.
TRAINING = "training.json"
LOOK_EVERY = 2.0  # s
# For what is left to send when the training has ended; what does not arrive, `publish` brings.
PATIENCE = 30  # s
# The system's clock for files is coarser than that for programs.
CLOCK = 0.1  # s


@contextmanager
def live_run(root: Path, report: Path, params: Params) -> Iterator[Path]:
    """Show a training in MLflow while the block lasts, if MLFLOW_TRACKING_URI names a server.

    At the end, provenance.json with revision, device, versions and times is written to the report.
    """
    # Of several processes that share a training, the first writes the report.
    if os.environ.get("RANK", "0") != "0":
        yield report
        return
    found, began = environment(root), time.time()
    if not tracking_uri(root).startswith(("http://", "https://")):
        yield report
        write_environment(report, found, began)
        return
    # Here, since two threads that import at the same time may see unfinished modules.
    import_client()
    copier = _Copier(root, report, params, found)
    copier.start()
    status = "FAILED"
    try:
        yield report
        write_environment(report, found, began)
        status = "FINISHED"
    except Stopped:
        status = "KILLED"
        raise
    finally:
        copier.end(status)


class _Copier(Thread):
    """Thread that copies one report to one run; after a failure it sends the rest later."""

    def __init__(self, root: Path, report: Path, params: Params, found: Mapping[str, str]) -> None:
        # A process does not wait for a daemon thread.
        super().__init__(daemon=True)
        self._root, self._report, self._params = root, report, params
        self._found = found
        self._began = time.time()
        self._status = ""
        self._is_over = Event()
        self._runs: Runs | None = None
        self._run_id = ""
        self._system: Any = None
        self._sent: set[object] = set()

    def end(self, status: str) -> None:
        """Send the rest and end the run, for `PATIENCE` at most."""
        self._status = status
        self._is_over.set()
        self.join(PATIENCE)
        if self.is_alive():
            logger.warning("MLflow is slow; `publish` brings what %s lacks.", self._report.name)

    def run(self) -> None:
        """Copy the report until the training has ended; log the first failure."""
        status, failed = "", False
        with impatience:
            while not status:
                if self._is_over.wait(LOOK_EVERY):
                    status = self._status
                    if self._system:
                        self._system.finish()
                try:
                    with as_registry_error(self._root):
                        self._copy(status)
                except FaceSRError as error:
                    if not failed:
                        logger.warning(
                            "%s goes on without being watched. %s", self._report.name, error
                        )
                    failed = True

    def _copy(self, status: str) -> None:
        """Send new rows and samples, and end the run if there is a status."""
        runs = self._runs or self._open()
        key = self._report / TRAINING
        if key not in self._sent and self._is_own(key):
            runs.client.set_tag(self._run_id, TRAINING_KEY, training_key(self._report))
            self._sent.add(key)
        rows = read_curves(self._report, self._is_own)
        new = [row for row in rows if (row[0], row[2]) not in self._sent]
        runs.log_metrics(self._run_id, new)
        self._sent.update((name, step) for name, _, step in new)
        for path in sorted(self._report.glob("samples/step*.png")):
            if path not in self._sent and self._is_own(path):
                runs.log_file(self._run_id, self._report, path)
                self._sent.add(path)
        if status:
            runs.client.set_terminated(self._run_id, status)

    def _open(self) -> Runs:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        stage = self._report.name
        client, experiment_id = connect(self._root, create=True)
        names = list(filter(None, [os.environ.get("DVC_EXP_NAME")]))
        tags = {**experiment_tags(self._params.profile, names), **self._found}
        run = client.create_run(
            experiment_id,
            run_name=f"{stage} (live)",
            tags={**tags, LIVE: "true", "dvc.stage": stage},
        )
        self._run_id, runs = run.info.run_id, Runs(client, experiment_id, tags)
        # It would report every request that fails.
        getLogger("mlflow.system_metrics").setLevel(CRITICAL)
        self._system = SystemMetricsMonitor(self._run_id, tracking_uri=tracking_uri(self._root))
        self._system.start()
        self._runs = runs
        values = self._params.model_dump(
            mode="json", include={"training_seed", "sizes", "training", stage}
        )
        runs.log_params(self._run_id, params_of({"params": {"params.yaml": values}}))
        return runs

    def _is_own(self, path: Path) -> bool:
        """Return whether a file belongs to this training and not to an earlier one."""
        return path.is_file() and path.stat().st_mtime > self._began - CLOCK


def training_key(report: Path) -> str:
    """Return the key that identifies a training, from its report; "" if there is none."""
    try:
        return str(json.loads((report / TRAINING).read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def settle(runs: Runs, stages: Mapping[str, Mapping[str, Any]], reports: Path) -> None:
    """Delete the live runs of finished trainings, whose system metrics their runs take over."""
    found = runs.client.search_runs(
        [runs.experiment_id], f"tags.`{LIVE}` = 'true'", order_by=["attributes.start_time ASC"]
    )
    for stage, entry in stages.items() if found else ():
        key = training_key(reports / stage)
        own = [
            run
            for run in found
            if key and (run.data.tags["dvc.stage"], run.data.tags.get(TRAINING_KEY)) == (stage, key)
        ]
        record = runs.find(STAGE_KEY, key_of(entry)) if own else None
        if record is None:
            continue
        if not any(name.startswith(SYSTEM) for name in record.data.metrics):
            _copy_system_metrics(runs, own, record.info.run_id)
        for run in own:
            runs.client.delete_run(run.info.run_id)


def _copy_system_metrics(runs: Runs, sources: Sequence[Any], run_id: str) -> None:
    from mlflow.entities import Metric

    steps: dict[str, int] = {}
    # A training that was interrupted has several live runs, each of which counts from 0 on.
    for source in sources:
        for name in source.data.metrics:
            if not name.startswith(SYSTEM):
                continue
            history = sorted(
                runs.client.get_metric_history(source.info.run_id, name),
                key=lambda one: (one.step, one.timestamp),
            )
            first = steps.get(name, 0)
            runs.log_entities(
                run_id,
                (
                    Metric(name, one.value, one.timestamp, first + count)
                    for count, one in enumerate(history)
                ),
            )
            steps[name] = first + len(history)
