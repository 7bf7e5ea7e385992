"""Live runs: a training can be looked at in MLflow while it goes on.

A process of its own (`facesr.tracking.live_writer`) reads the report that the training writes
anyway, and copies what is new to the server. The training itself knows nothing of it: no step waits
for a server, and none that dies can end or change a training.

A live run is only for the time being. `publish` writes the run of the finished stage from dvc.lock
as ever, takes over the system metrics, which no report holds, and deletes the live runs of the same
training. The key in training.json, an out of DVC, says which these are, on any computer.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from logging import getLogger
from pathlib import Path
from typing import Any

from facesr.config import Params
from facesr.errors import Stopped
from facesr.tracking.lockfile import STAGE_KEY, key_of
from facesr.tracking.provenance import environment, write_environment
from facesr.tracking.runs import Runs
from facesr.tracking.store import shown, tracking_uri

logger = getLogger(__name__)

LIVE = "live"
TRAINING_KEY = "training.key"
SYSTEM = "system/"
# Written by the training when it starts, see facesr.training.monitor.
TRAINING = "training.json"
# For what is left to send when the training has ended; what does not arrive, `publish` brings.
PATIENCE = 30  # s


@contextmanager
def live_run(root: Path, report: Path, params: Params) -> Iterator[Path]:
    """Shows a training in MLflow while the block lasts, where MLFLOW_TRACKING_URI names a server.

    At its end the report gets provenance.json: which revision, device and versions have trained.

    Args:
        root: The project's root.
        report: Gets the training's curves and samples; its name is that of the stage.
        params: Of the pipeline.

    Yields:
        The report.
    """
    # Of several processes that share a training, the first writes the report.
    if os.environ.get("RANK", "0") != "0":
        yield report
        return
    uri = tracking_uri(root)
    found = environment(root)
    if not uri.startswith(("http://", "https://")):
        yield report
        write_environment(report, found)
        return
    sections = ("sizes", "training", report.name)
    task = {
        "root": str(root.resolve()),
        "report": str(report.resolve()),
        "began": time.time(),
        "profile": params.profile,
        "environment": found,
        "params": params.model_dump(mode="json", include={"training_seed", *sections}),
    }
    writer = subprocess.Popen(
        [sys.executable, "-m", "facesr.tracking.live_writer"],
        stdin=subprocess.PIPE,
        text=True,
        # Ctrl-C is for the training, which then says how it ended.
        start_new_session=True,
    )
    assert writer.stdin is not None
    writer.stdin.write(json.dumps(task) + "\n")
    writer.stdin.flush()
    status = "FAILED"
    try:
        yield report
        write_environment(report, found)
        status = "FINISHED"
    except Stopped:
        status = "KILLED"
        raise
    finally:
        # It is gone where something went wrong in it, which it has said.
        with suppress(BrokenPipeError):
            writer.stdin.write(status + "\n")
            writer.stdin.close()
        try:
            writer.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            writer.kill()
            writer.wait()
            logger.warning(
                "%s: MLflow at %s is slow; `publish` brings what is missing.",
                report.name,
                shown(uri),
            )


def training_key(report: Path) -> str:
    """What a training follows from, by its report; "" where there is none."""
    try:
        return str(json.loads((report / TRAINING).read_text(encoding="utf-8"))["key"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def settle(runs: Runs, stages: Mapping[str, Mapping[str, Any]], reports: Path) -> None:
    """Deletes the live runs of every training whose run is written, and keeps their system metrics.

    Args:
        runs: Of the experiment.
        stages: The entries of dvc.lock.
        reports: One folder per stage.
    """
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
