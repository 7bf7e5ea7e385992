"""The process beside a training that copies its report to MLflow; see `facesr.tracking.live`.

It reads a task and, when the training has ended, a status from its standard input. Whatever was not
sent is sent at the next look, so that a server may be started late or again; at the first failure
it says so in one line.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from time import time
from typing import Any

from facesr.errors import FaceSRError
from facesr.tracking.live import LIVE, TRAINING, TRAINING_KEY, training_key
from facesr.tracking.lockfile import params_of
from facesr.tracking.provenance import experiment_tags
from facesr.tracking.report_files import read_curves
from facesr.tracking.runs import Runs
from facesr.tracking.store import as_registry_error, connect, tracking_uri

logger = logging.getLogger(__name__)

LOOK_EVERY = 2.0  # s
# A sample sheet that is younger may not be whole yet.
SETTLED_AFTER = 1.0  # s
# The system's clock for files is coarser than that for programs.
CLOCK = 0.1  # s


class LiveWriter:
    """Copies one report to one run."""

    def __init__(self, task: dict[str, Any]) -> None:
        """Takes the task over.

        Args:
            task: root, report, began (s since 1970), profile, environment, params of the
                sections.
        """
        self.task = task
        self.root = Path(task["root"])
        self.report = Path(task["report"])
        self._opened: tuple[Runs, str] | None = None
        self._system: Any = None
        self._numbers: set[tuple[str, int]] = set()
        self._samples: set[Path] = set()
        self._has_key = False

    def copy(self, status: str) -> None:
        """Sends what is new, and ends the run where there is a status.

        Raises:
            RegistryError: The server does not answer or refuses.
        """
        try:
            with as_registry_error(self.root):
                runs, run_id = self._open()
                new = list(self._new_numbers())
                runs.log_metrics(run_id, new)
                self._numbers |= {(name, step) for name, _, step in new}
                for path in self._new_samples(are_whole=bool(status)):
                    runs.log_file(run_id, self.report, path)
                    self._samples.add(path)
                self._watch_system(run_id)
                if status:
                    self._leave_system()
                    runs.client.set_terminated(run_id, status)
        except FaceSRError:
            self._leave_system()
            raise

    def _open(self) -> tuple[Runs, str]:
        if not self._opened:
            task, stage = self.task, self.report.name
            client, experiment_id = connect(self.root, create=True)
            names = list(filter(None, [os.environ.get("DVC_EXP_NAME")]))
            tags = {**experiment_tags(task["profile"], names), **task["environment"]}
            run = client.create_run(
                experiment_id,
                run_name=f"{stage} (live)",
                tags={**tags, LIVE: "true", "dvc.stage": stage},
            )
            self._opened = Runs(client, experiment_id, tags), run.info.run_id
            entry = {"params": {"params.yaml": task["params"]}}
            self._opened[0].log_params(run.info.run_id, params_of(entry))
        runs, run_id = self._opened
        if not self._has_key and self._is_own(self.report / TRAINING):
            runs.client.set_tag(run_id, TRAINING_KEY, training_key(self.report))
            self._has_key = True
        return self._opened

    def _is_own(self, path: Path) -> bool:
        """Whether a file is of this training and not of one before."""
        return path.is_file() and path.stat().st_mtime > self.task["began"] - CLOCK

    def _new_numbers(self) -> Iterator[tuple[str, float, int]]:
        for name, value, step in read_curves(self.report, self._is_own):
            if (name, step) not in self._numbers:
                yield name, value, step

    def _new_samples(self, *, are_whole: bool) -> Iterator[Path]:
        for path in sorted(self.report.glob("samples/step*.png")):
            settled = are_whole or path.stat().st_mtime < time() - SETTLED_AFTER
            if path not in self._samples and settled and self._is_own(path):
                yield path

    def _watch_system(self, run_id: str) -> None:
        if self._system:
            return
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        # Of the whole computer, the training with it.
        self._system = SystemMetricsMonitor(
            run_id, resume_logging=True, tracking_uri=tracking_uri(self.root)
        )
        self._system.start()

    def _leave_system(self) -> None:
        if self._system:
            self._system.finish()
            self._system = None


def main() -> None:
    """Copies until the training has ended."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    # MLflow would tell of every failed request; one line stands for all of them.
    os.environ["MLFLOW_LOGGING_LEVEL"] = "CRITICAL"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    task = json.loads(sys.stdin.readline())
    words: Queue[str] = Queue()
    # The end of the input without a word: the training was killed.
    Thread(target=lambda: words.put(sys.stdin.readline().strip() or "KILLED"), daemon=True).start()
    writer = LiveWriter(task)
    failed = False
    status = ""
    while not status:
        try:
            writer.copy("")
        except FaceSRError as error:
            if not failed:
                stage = writer.report.name
                logger.warning("%s goes on without being watched. %s", stage, error)
            failed = True
        try:
            status = words.get(timeout=LOOK_EVERY)
        except Empty:
            continue
    try:
        writer.copy(status)
    except FaceSRError as error:
        if not failed:
            logger.warning("%s: the end of the live run is missing. %s", writer.report.name, error)


if __name__ == "__main__":
    main()
