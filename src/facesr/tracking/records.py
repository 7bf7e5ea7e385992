"""Reads what `publish` wrote: a state of the pipeline by version, run or experiment."""

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from facesr.errors import NoChampionError, NotRegisteredError, RegistryError
from facesr.stats import Table, read_table
from facesr.tracking import history
from facesr.tracking.lockfile import (
    ALSO,
    EVALUATION_RUN,
    PIPELINE_KEY,
    params_of_all,
    parse_lock,
)
from facesr.tracking.runs import SCORES, Runs
from facesr.tracking.store import (
    EXPERIMENT,
    MODEL,
    as_registry_error,
    connect,
    database_file,
    is_embedded,
    shown,
    tracking_uri,
)
from facesr.tracking.versions import RegisteredVersion, find_version

_LOCK = "dvc.lock"


@dataclass(frozen=True)
class Record:
    """A published state of the pipeline."""

    name: str
    """Name as given by the caller."""
    run_id: str
    """Id of the parent run."""
    tags: Mapping[str, str]
    params: Mapping[str, str]
    """Values of `train_gan.batch_size`, `training_seed` and so on."""
    metrics: Mapping[str, float]
    stages: Mapping[str, str]
    """Run ids by stage, including runs of earlier states."""
    version: RegisteredVersion
    """Version that this state registered or found again."""
    aliases: tuple[str, ...]
    """Aliases of the version."""


def read_record(root: Path, name: str) -> Record:
    """Return a published state.

    Args:
        name: A version (`3`, `facesr/3`, `facesr@champion`, `champion`), a parent run's id, or the
            name of a DVC experiment.

    Raises:
        RegistryError: It names nothing, or a run of another project or of a stage, or the store
            does not answer.
    """
    # A run's id may consist of digits too, of 32 of them.
    is_number = name.isdecimal() and len(name) < 10
    version = None
    if is_number or re.match(rf"(models:/)?{MODEL}[@/]", name):
        version = find_version(root, name)
    elif re.fullmatch(r"(?![0-9a-f]{32}$)[\w.-]+", name):
        try:
            version = find_version(root, f"{MODEL}@{name}")
        except NoChampionError:
            raise
        except NotRegisteredError:
            pass
    if version:
        return _read(root, name, version.tags.get(EVALUATION_RUN, version.run_id), version)
    return _read(root, name, _find_run_id(root, name), None)


def read_artifact(root: Path, run_id: str, path: str) -> str | None:
    """Return a text artifact of a run; None if there is none."""
    client, experiment_id = connect(root, create=False)
    with as_registry_error(root):
        return Runs(client, experiment_id, {}).read_text(run_id, path)


def read_scores(root: Path, record: Record) -> Table:
    """Return the metrics by image of a state; raise RegistryError if they are lost."""
    text = read_artifact(root, record.run_id, SCORES)
    if text is None:
        raise RegistryError(f"{record.name} has lost its metrics by image. Run: dvc repro")
    return read_table(text)


def read_card(root: Path, name: str) -> str:
    """Return a version's model card as Markdown; raise RegistryError if it has none."""
    record = read_record(root, name)
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    with tempfile.TemporaryDirectory() as folder:
        try:
            file = download_artifacts(
                artifact_uri=record.version.card, dst_path=folder, tracking_uri=tracking_uri(root)
            )
            return Path(file).read_text(encoding="utf-8")
        except (MlflowException, OSError) as error:
            # MLflow's message has several lines.
            reason = " ".join(str(error).split())
            raise RegistryError(
                f"{MODEL}/{record.version.number} has no model card ({reason}). Run: dvc repro"
            ) from None


def _find_run_id(root: Path, name: str) -> str:
    uri = tracking_uri(root)
    missing = RegistryError(
        f"{name} is no version, parent run or experiment in {shown(uri)}. "
        "Versions and experiments are listed by: facesr versions"
    )
    if is_embedded(root) and not database_file(root).exists():
        raise missing
    client, experiment_id = connect(root, create=False)
    from mlflow.exceptions import MlflowException

    with as_registry_error(root):
        if re.fullmatch(r"[0-9a-f]{32}", name):
            try:
                run = client.get_run(name)
            except MlflowException:
                raise missing from None
            if run.info.experiment_id != experiment_id:
                raise RegistryError(
                    f"Run {name} belongs to another experiment than {EXPERIMENT}. Name a run of "
                    "this project."
                )
            return str(run.data.tags.get("mlflow.parentRunId", name))
        if not experiment_id or not re.fullmatch(r"[\w.-]+", name):
            raise missing
        asked = [("dvc.exp_name", name), (f"{ALSO}{name}", "true")]
        # One that was pulled has its name in Git only.
        asked += [(PIPELINE_KEY, key) for key in history.keys_of(root, name)]
        runs = [
            run
            for tag, value in asked
            for run in client.search_runs(
                [experiment_id],
                f"tags.`{tag}` = '{value}' and tags.`{PIPELINE_KEY}` LIKE '%' "
                "and attributes.status = 'FINISHED'",
                max_results=1,
            )
        ]
    if not runs:
        raise missing
    return str(runs[0].info.run_id)


def _read(root: Path, name: str, run_id: str, version: RegisteredVersion | None) -> Record:
    client, experiment_id = connect(root, create=False)
    from mlflow.exceptions import MlflowException

    with as_registry_error(root):
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            raise RegistryError(
                f"The run of {name} is gone ({error.message}). Run: dvc repro"
            ) from None
        number = version.number if version else run.data.tags.get("model.version")
        if not number or run.info.status != "FINISHED":
            raise RegistryError(f"Run {name} was not finished. Run: dvc repro")
        found = version or find_version(root, f"{MODEL}/{number}")
        children = client.search_runs(
            [experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'", max_results=1000
        )
        stages = {
            tag.removeprefix("dvc.reused."): value
            for tag, value in run.data.tags.items()
            if tag.startswith("dvc.reused.")
        } | {child.data.tags["dvc.stage"]: child.info.run_id for child in children}
        aliases = client.get_registered_model(MODEL).aliases
        # The run itself has only those that differ from its profile.
        lock = Runs(client, experiment_id, {}).read_text(run_id, _LOCK)
    params = params_of_all(parse_lock(lock, Path(_LOCK))) if lock else dict(run.data.params)
    return Record(
        name=name,
        run_id=run_id,
        tags=dict(run.data.tags),
        params=params,
        metrics=dict(run.data.metrics),
        stages=stages,
        version=found,
        aliases=tuple(sorted(a for a, number in aliases.items() if int(number) == found.number)),
    )
