"""Writes and finds MLflow runs through a client, without MLflow's global state."""

import json
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from facesr.names import metric_name

# Of a parent run's artifacts: what the gate and comparisons read.
SCORES_FOLDER = "evaluation"
SCORES = f"{SCORES_FOLDER}/per_image.csv"
CARD = "card.md"
# Shown by MLflow as a run's description.
NOTE = "mlflow.note.content"
# Of a fetching stage's artifacts: which images there were, and under which licence.
MANIFESTS_FOLDER = "manifests"

Times = tuple[int, int]
"""Beginning and end in ms since 1970."""


@dataclass(frozen=True)
class Runs:
    """The runs of one experiment."""

    client: Any
    experiment_id: str
    tags: Mapping[str, str]
    """Tags of every run that is opened."""

    def find(self, tag: str, value: str) -> Any:
        """Return a finished run with this tag, else None."""
        runs = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'",
            max_results=1,
        )
        return runs[0] if runs else None

    @contextmanager
    def open(self, name: str, tags: Mapping[str, str], times: Times | None = None) -> Iterator[str]:
        """Create a run, return its id, and end it as FINISHED, or FAILED after an error.

        Args:
            times: Of what the run records; None takes those of this block.
        """
        began, ended = times or (None, None)
        # The client, unlike mlflow.start_run, adds no tags with the user's name and local paths.
        run = self.client.create_run(
            self.experiment_id, began, run_name=name, tags={**self.tags, **tags}
        )
        run_id: str = run.info.run_id
        try:
            yield run_id
        except BaseException:
            with suppress(Exception):
                self.client.set_terminated(run_id, "FAILED")
            raise
        self.client.set_terminated(run_id, "FINISHED", ended)

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Log parameters."""
        from mlflow.entities import Param

        for block in _blocks((Param(*item) for item in params.items()), 100):
            self.client.log_batch(run_id, params=block, synchronous=True)

    def log_metrics(
        self,
        run_id: str,
        metrics: Iterable[tuple[str, float, int]],
        *,
        model_id: str | None = None,
        times: Times | None = None,
    ) -> None:
        """Log name, value and step of metrics, also to a logged model if one is named.

        Args:
            times: When the training began and when it reached the last step; steps between them get
                times in proportion. None takes the present.
        """
        from mlflow.entities import Metric

        rows = list(metrics)
        now = int(time.time() * 1000)
        began, ended = times or (now, now)
        last = max((step for *_, step in rows), default=0) or 1
        self.log_entities(
            run_id,
            (
                Metric(
                    metric_name(name),
                    value,
                    began + (ended - began) * step // last,
                    step,
                    model_id=model_id,
                )
                for name, value, step in rows
            ),
        )

    def log_entities(self, run_id: str, metrics: Iterable[Any]) -> None:
        """Log MLflow's metrics with their own times."""
        for block in _blocks(metrics, 1000):
            self.client.log_batch(run_id, metrics=block, synchronous=True)

    def log_inputs(self, run_id: str, data: Mapping[str, str], purpose: str) -> None:
        """Log paths and md5s as data sets that a run has read."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                # MLflow keeps 36 characters of a digest; an md5 has 32, a folder's adds ".dir".
                Dataset(path, md5[:36], "dvc", json.dumps({"path": path, "md5": md5})),
                [InputTag("mlflow.data.context", purpose)],
            )
            for path, md5 in data.items()
        ]
        if inputs:
            self.client.log_inputs(run_id, inputs)

    def log_files(self, run_id: str, folder: Path) -> None:
        """Log a folder's files."""
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                self.log_file(run_id, folder, path)

    def log_image(self, run_id: str, path: Path, key: str, step: int = 0) -> None:
        """Log an image; MLflow shows those of one key side by side across runs."""
        from PIL import Image

        with Image.open(path) as image:
            self.client.log_image(run_id, image, key=key, step=step, synchronous=True)

    def log_file(self, run_id: str, folder: Path, path: Path) -> None:
        """Log a file of a folder; samples/stepN.png becomes an image with a step."""
        inside = path.relative_to(folder).parent.as_posix()
        step = re.fullmatch(r"step(\d+)\.png", path.name)
        if step and path.parent.name == "samples":
            # Under a fixed key MLflow shows a slider over the steps.
            self.log_image(run_id, path, inside, int(step[1]))
        else:
            self.client.log_artifact(run_id, str(path), None if inside == "." else inside)

    def read_text(self, run_id: str, path: str) -> str | None:
        """Return a text artifact of a run; None if the run or the file is gone."""
        from mlflow.exceptions import MlflowException

        with tempfile.TemporaryDirectory() as folder:
            try:
                file = self.client.download_artifacts(run_id, path, folder)
                return Path(file).read_text(encoding="utf-8")
            except (MlflowException, OSError):
                return None


def _blocks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
