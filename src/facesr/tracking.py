"""MLflow as a projection of dvc.lock: runs, the registered model, its aliases.

DVC restores files without running code, so a stage that logs its own runs leaves none when it comes
from the cache. Here the last stage reads what DVC has settled, dvc.lock and the report files, and
makes MLflow agree: one parent run per state of the pipeline, one nested run per state of a stage,
one model version per distinct weights. Doing it again adds nothing; deleting the database and doing
it again rebuilds all of it.

MLflow takes seconds to import, so every function imports it for itself.
"""

import csv
import hashlib
import json
import math
import os
import re
import sqlite3
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from logging import getLogger
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from facesr.config import read_yaml
from facesr.errors import DataError, RegistryError

logger = getLogger(__name__)

EXPERIMENT = "facesr"
MODEL = "facesr"
CHAMPION = "champion"
WEIGHTS = "weights.safetensors"

_PIPELINE_KEY = "dvc.pipeline_key"
_STAGE_KEY = "dvc.stage_key"
_EVALUATION = "evaluation.key"
_VERSION = "model.version"

# What the registered model needs to run elsewhere; facesr itself travels as source code.
_PACKAGES = (
    "fastai",
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "pydantic",
    "pytorch-msssim",
    "pyyaml",
    "safetensors",
    "torch",
    "torchvision",
    "tqdm",
)


@dataclass(frozen=True)
class Published:
    """What MLflow holds of the present state of the pipeline."""

    parent_run_id: str
    created_runs: int
    """Runs written this time, the parent among them; 0 when all was there."""
    model_version: int
    created_version: bool
    champion: int
    """The version that the alias `champion` names."""


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of the registered model."""

    number: int
    run_id: str
    """The parent run that registered it."""
    tags: Mapping[str, str]
    """Profile, revision, md5 of weights and evaluation set, keys into dvc.lock."""
    weights: str
    """URI of its weights.safetensors in the artifact store."""


def tracking_uri(root: Path) -> str:
    """Returns MLFLOW_TRACKING_URI where it is set, else the SQLite database `root`/mlflow.db.

    MLflow's own default is relative to the working directory; this one is absolute.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{_database(root).as_posix()}"


def publish(
    root: Path,
    *,
    lock: Path,
    reports: Path,
    metrics: Path,
    networks: Sequence[Path],
    profile: str,
    seed: int,
) -> Published:
    """Makes MLflow agree with dvc.lock and the report files.

    A state counts as published once its parent run is FINISHED, which is the last thing written; a
    run that was interrupted stays FAILED or RUNNING and the next call writes a new one.

    Args:
        root: The project's root; the other paths are relative to it.
        lock: dvc.lock.
        reports: One folder per stage. Its CSV files with a column `step` become curves, its
            pictures and pages artifacts.
        metrics: JSON of nested numbers.
        networks: Weights in the order in which the enhancer chains them.
        profile: The active profile.
        seed: The seed of the whole pipeline.

    Raises:
        DataError: A file is missing or damaged.
        RegistryError: The MLflow store does not answer or refuses.
    """
    stages = _read_lock(root / lock)
    key = _key(stages)
    published = _recorded_in_sqlite(root, key)
    if not published:
        numbers = _read_metrics(root / metrics)
        client, experiment_id = _connect(root, create=True)
        projection = _Projection(
            client=client,
            experiment_id=experiment_id,
            root=root,
            reports=root / reports,
            stages=stages,
            networks=networks,
            metrics_path=metrics,
            metrics=numbers,
            tags=_provenance(root, (lock, reports), profile, seed),
            profile=profile,
        )
        with _as_registry_error(root):
            published = projection.write(key)
    logger.info(
        "MLflow: %d new runs, %s version %d, %s is version %d",
        published.created_runs,
        MODEL,
        published.model_version,
        CHAMPION,
        published.champion,
    )
    return published


def champion(root: Path) -> RegisteredVersion:
    """Returns the version that serves, as `find_version(root, "facesr@champion")`."""
    return find_version(root, f"{MODEL}@{CHAMPION}")


def find_version(root: Path, reference: str) -> RegisteredVersion:
    """Looks up a version of the registered model.

    Args:
        root: The project's root.
        reference: `facesr@champion` (any alias) or `facesr/3` (a number).

    Raises:
        RegistryError: The reference is malformed or names nothing, or the store does not answer.
    """
    parts = re.fullmatch(rf"(?:models:/)?{MODEL}(?:@([\w.-]+)|/(\d+))", reference)
    if not parts:
        raise RegistryError(
            f"{reference} does not name a model version. Write {MODEL}@{CHAMPION} or {MODEL}/3."
        )
    alias, number = parts.groups()
    uri = tracking_uri(root)
    missing = RegistryError(f"{reference} is not registered in {_shown(uri)}. Run: dvc repro")
    if _is_embedded(root) and not _database(root).exists():
        # Asking MLflow would create the database.
        raise missing
    client, _ = _connect(root, create=False)
    from mlflow.exceptions import MlflowException

    try:
        found = (
            client.get_model_version_by_alias(MODEL, alias)
            if alias
            else client.get_model_version(MODEL, number)
        )
        # `models:/` addresses would be resolved against MLflow's global store, not this one.
        folder = client.get_model_version_download_uri(MODEL, found.version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise missing from None
        raise _registry_error(uri, error) from error
    return RegisteredVersion(
        number=int(found.version),
        run_id=found.run_id or "",
        tags=dict(found.tags),
        weights=f"{folder}/artifacts/{WEIGHTS}",
    )


def download(root: Path, reference: str) -> Path:
    """Fetches the weights of a version without executing any code that is stored with it.

    Args:
        root: The project's root.
        reference: As in `find_version`.

    Returns:
        weights.safetensors: in the artifact store itself where that is a local folder, else a copy
        in a temporary folder.

    Raises:
        RegistryError: As `find_version`; or the version has lost its weights.
    """
    found = find_version(root, reference)
    from mlflow.artifacts import download_artifacts

    try:
        with _as_registry_error(root):
            return Path(
                download_artifacts(artifact_uri=found.weights, tracking_uri=tracking_uri(root))
            )
    except RegistryError as error:
        raise RegistryError(
            f"The weights of {reference} are not in the artifact store ({error.__cause__}). "
            "Delete that version in MLflow and run: dvc repro"
        ) from error


def _database(root: Path) -> Path:
    return root.resolve() / "mlflow.db"


def _artifacts(root: Path) -> str:
    return (root.resolve() / "mlruns").as_uri()


def _is_embedded(root: Path) -> bool:
    return tracking_uri(root) == f"sqlite:///{_database(root).as_posix()}"


def _connect(root: Path, *, create: bool) -> tuple[Any, str]:
    """Sets MLflow up for this process and returns a client and the experiment's id.

    Without `create`, a missing experiment has the id "".
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    # Left by an outer run, it would make that run the target of everything logged here
    # (https://github.com/mlflow/mlflow/issues/15713).
    os.environ.pop("MLFLOW_RUN_ID", None)
    uri = tracking_uri(root)
    # MLflow lets through the errors of requests, SQLAlchemy and Alembic, which have no common
    # class, and any of them means the same here.
    try:
        with _without_own_warnings():
            from mlflow import MlflowClient

            if create and _is_embedded(root):
                _create_database(_database(root))
            # Only the first request is impatient: an upload of weights may take minutes.
            with _unless_set("MLFLOW_HTTP_REQUEST_TIMEOUT", "3"):
                client = MlflowClient(tracking_uri=uri)
                experiment = client.get_experiment_by_name(EXPERIMENT)
            if experiment is None and create:
                location = _artifacts(root) if _is_embedded(root) else None
                return client, client.create_experiment(EXPERIMENT, location)
    except Exception as error:
        raise _registry_error(uri, error) from error
    if experiment is None:
        return client, ""
    if experiment.lifecycle_stage != "active":
        raise RegistryError(
            f"Experiment {EXPERIMENT} in {_shown(uri)} is deleted. "
            f"Run: mlflow experiments restore --experiment-id {experiment.experiment_id}"
        )
    if _is_embedded(root) and experiment.artifact_location != _artifacts(root):
        # The database holds absolute paths (https://github.com/mlflow/mlflow/issues/3144).
        raise RegistryError(
            f"{_shown(uri)} was written in another folder, {experiment.artifact_location}, and its "
            "artifacts cannot be found from here. Move it away and run: dvc repro"
        )
    return client, experiment.experiment_id


def _create_database(database: Path) -> None:
    # Built beside and put in place whole: two processes that build one database break it, and so
    # does one that is stopped halfway.
    if database.exists():
        return
    from mlflow import MlflowClient

    with tempfile.TemporaryDirectory(
        dir=database.parent, prefix=".mlflow.", ignore_cleanup_errors=True
    ) as folder:
        part = Path(folder) / database.name
        MlflowClient(tracking_uri=f"sqlite:///{part.as_posix()}").search_experiments(max_results=1)
        try:
            os.link(part, database)
        except FileExistsError:
            logger.info("%s was built by another process meanwhile", database)
        except OSError:
            # A file system without hard links.
            part.replace(database)


def _recorded_in_sqlite(root: Path, key: str) -> Published | None:
    """Finds a state that is published in full, by reading MLflow's tables directly.

    MLflow takes 3 s to import and open, this 10 ms, and an unchanged pipeline asks nothing more.
    Any surprise in the tables means "not found", and MLflow itself is asked.
    """
    if not _is_embedded(root):
        return None
    query = """
        SELECT runs.run_uuid, model_versions.version, aliases.version
        FROM runs
        JOIN experiments USING (experiment_id)
        JOIN tags AS state ON state.run_uuid = runs.run_uuid AND state.key = ?
        JOIN tags AS made ON made.run_uuid = runs.run_uuid AND made.key = ?
        JOIN model_versions
            ON model_versions.name = ? AND model_versions.version = CAST(made.value AS INTEGER)
        JOIN registered_model_aliases AS aliases ON aliases.name = ? AND aliases.alias = ?
        WHERE state.value = ? AND runs.status = 'FINISHED' AND runs.lifecycle_stage = 'active'
            AND experiments.name = ? AND experiments.lifecycle_stage = 'active'
            AND experiments.artifact_location = ?
            AND model_versions.current_stage <> 'Deleted_Internal'
        ORDER BY runs.start_time DESC
    """
    values = (_PIPELINE_KEY, _VERSION, MODEL, MODEL, CHAMPION, key, EXPERIMENT, _artifacts(root))
    try:
        with closing(sqlite3.connect(f"{_database(root).as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute(query, values).fetchone()
    except sqlite3.Error:
        return None
    if row is None:
        return None
    return Published(
        parent_run_id=row[0],
        created_runs=0,
        model_version=row[1],
        created_version=False,
        champion=row[2],
    )


@contextmanager
def _unless_set(variable: str, value: str) -> Iterator[None]:
    if variable in os.environ:
        yield
        return
    os.environ[variable] = value
    try:
        yield
    finally:
        del os.environ[variable]


@contextmanager
def _global_store(uri: str) -> Iterator[None]:
    # The SQLite registry looks up a logged model through MLflow's global URI, whatever its client
    # was given; and setting that URI writes the environment.
    import mlflow

    before = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before


@contextmanager
def _without_own_warnings() -> Iterator[None]:
    """Hides warnings about MLflow's own code, which nobody here can mend."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"mlflow\.")
        yield


@contextmanager
def _as_registry_error(root: Path) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        with _without_own_warnings():
            yield
    # Requests' errors are OSErrors, and so is a full disk.
    except (MlflowException, OSError) as error:
        raise _registry_error(tracking_uri(root), error) from error


def _registry_error(uri: str, error: Exception) -> RegistryError:
    reason = (str(error).splitlines() or [""])[0][:200]
    if uri.startswith("http"):
        advice = "Start the server, or unset MLFLOW_TRACKING_URI to use the project's mlflow.db."
    elif "MLFLOW_TRACKING_URI" in os.environ:
        advice = "Check MLFLOW_TRACKING_URI, or unset it to use the project's mlflow.db."
    else:
        advice = "Run: dvc repro; if the file is damaged, move it away first and it is built anew."
    return RegistryError(
        f"MLflow at {_shown(uri)} failed ({type(error).__name__}: "
        f"{reason.replace(uri, _shown(uri))}). {advice}"
    )


def _shown(uri: str) -> str:
    """The URI without user name and password."""
    address = urlsplit(uri).netloc
    return uri.replace(address, address.rpartition("@")[2]) if address else uri


@dataclass(frozen=True)
class _Projection:
    """One state of the pipeline and the experiment that it is written to."""

    client: Any
    experiment_id: str
    root: Path
    reports: Path
    stages: Mapping[str, Mapping[str, Any]]
    networks: Sequence[Path]
    metrics_path: Path
    metrics: Sequence[tuple[str, float, int]]
    tags: Mapping[str, str]
    """Of every run."""
    profile: str

    def write(self, key: str) -> Published:
        parent = self._find_run(_PIPELINE_KEY, key)
        if parent:
            run_id, created = parent.info.run_id, 0
            version, is_new = self._registered_by(parent)
        else:
            name = os.environ.get("DVC_EXP_NAME") or "repro"
            with self._open_run(name, {_PIPELINE_KEY: key, **self._evaluation_tags()}) as run_id:
                created = 1 + sum(
                    self._link_or_write(stage, entry, run_id)
                    for stage, entry in self.stages.items()
                )
                version, is_new = self._register(run_id)
                self._write_summary(run_id, version)
        alias = self._ensure_champion(version)
        return Published(
            parent_run_id=run_id,
            created_runs=created,
            model_version=int(version.version),
            created_version=is_new,
            champion=alias,
        )

    def _find_run(self, tag: str, value: str) -> Any:
        runs = self.client.search_runs(
            [self.experiment_id],
            f"tags.`{tag}` = '{value}' and attributes.status = 'FINISHED'",
            max_results=1,
        )
        return runs[0] if runs else None

    @contextmanager
    def _open_run(self, name: str, tags: Mapping[str, str]) -> Iterator[str]:
        # The client, unlike mlflow.start_run, adds no tags with the user's name and local paths.
        run = self.client.create_run(self.experiment_id, run_name=name, tags={**self.tags, **tags})
        run_id: str = run.info.run_id
        try:
            yield run_id
        except BaseException:
            with suppress(Exception):
                self.client.set_terminated(run_id, "FAILED")
            raise
        self.client.set_terminated(run_id, "FINISHED")

    def _link_or_write(self, stage: str, entry: Mapping[str, Any], parent_run_id: str) -> bool:
        """Returns whether a run was written; else the parent points to the one that exists."""
        key = _key(entry)
        if known := self._find_run(_STAGE_KEY, key):
            self.client.set_tag(parent_run_id, f"dvc.reused.{stage}", known.info.run_id)
            return False
        tags = {
            "mlflow.parentRunId": parent_run_id,
            "dvc.stage": stage,
            _STAGE_KEY: key,
            **_md5_tags(_md5s(entry, "outs")),
        }
        with self._open_run(stage, tags) as run_id:
            self._log_params(run_id, _params(entry, self.profile))
            self._log_inputs(run_id, _data(entry), _purpose(stage))
            self._log_metrics(run_id, _read_curves(self.reports / stage))
            if entry is self._stage_writing(self.metrics_path):
                self._log_metrics(run_id, self.metrics)
            self._log_files(run_id, self.reports / stage)
        return True

    def _write_summary(self, run_id: str, version: Any) -> None:
        """Gives the parent what experiments are compared by: all parameters and the metrics."""
        params: dict[str, str] = {}
        for entry in self.stages.values():
            params |= _params(entry, self.profile)
        self._log_params(run_id, params)
        evaluation = _data(self._stage_writing(self.metrics_path))
        self._log_inputs(run_id, evaluation, "evaluation")
        self._log_metrics(run_id, self.metrics, model_id=_model_id(version))
        for name in ("dvc.yaml", "dvc.lock", "params.yaml", "requirements.lock"):
            if (self.root / name).is_file():
                self.client.log_artifact(run_id, str(self.root / name))
        self.client.set_tag(run_id, _VERSION, version.version)

    def _log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        for block in _blocks((Param(*item) for item in params.items()), 100):
            self.client.log_batch(run_id, params=block, synchronous=True)

    def _log_metrics(
        self,
        run_id: str,
        metrics: Iterable[tuple[str, float, int]],
        model_id: str | None = None,
    ) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entities = (
            Metric(_metric_name(name), value, now, step, model_id=model_id)
            for name, value, step in metrics
        )
        for block in _blocks(entities, 1000):
            self.client.log_batch(run_id, metrics=block, synchronous=True)

    def _log_inputs(self, run_id: str, data: Mapping[str, str], purpose: str) -> None:
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

    def _log_files(self, run_id: str, folder: Path) -> None:
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.name.startswith("."):
                continue
            inside = path.relative_to(folder).parent.as_posix()
            step = re.fullmatch(r"step(\d+)\.png", path.name)
            if step and path.parent.name == "samples":
                self._log_step_image(run_id, path, inside, int(step[1]))
            else:
                self.client.log_artifact(run_id, str(path), None if inside == "." else inside)

    def _log_step_image(self, run_id: str, path: Path, key: str, step: int) -> None:
        # Under a fixed key MLflow shows a slider over the steps.
        from PIL import Image

        with Image.open(path) as picture:
            self.client.log_image(run_id, picture, key=key, step=step, synchronous=True)

    def _stage_writing(self, path: Path) -> Mapping[str, Any]:
        """Returns the lock entry of the stage whose out `path` is."""
        for entry in self.stages.values():
            if path.as_posix() in _md5s(entry, "outs"):
                return entry
        raise DataError(f"dvc.lock names no stage that writes {path}. Run: dvc repro")

    def _evaluation_tags(self) -> dict[str, str]:
        """What the metrics were measured on; only equal sets can be compared."""
        data = _data(self._stage_writing(self.metrics_path))
        return {_EVALUATION: _key(data), **_md5_tags(data)}

    def _registered_by(self, parent: Any) -> tuple[Any, bool]:
        number = parent.data.tags.get(_VERSION, "")
        found = self._find_version(f"version_number = {number}") if number else None
        if found:
            return found, False
        version, is_new = self._register(parent.info.run_id)
        self.client.set_tag(parent.info.run_id, _VERSION, version.version)
        return version, is_new

    def _find_version(self, condition: str) -> Any:
        found = self.client.search_model_versions(f"name = '{MODEL}' and {condition}")
        return max(found, key=lambda version: int(version.version), default=None)

    def _register(self, run_id: str) -> tuple[Any, bool]:
        """Returns the version with these weights and whether it had to be made."""
        sources = _md5_tags(
            {
                path.as_posix(): _md5s(self._stage_writing(path), "outs")[path.as_posix()]
                for path in self.networks
            }
        )
        found = self._find_version(
            " and ".join(f"tags.`{tag}` = '{md5}'" for tag, md5 in sources.items())
        )
        if found:
            return self._measured_again(found), False
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder, WEIGHTS)
            config = Path(folder, "config.json")
            # Loads PyTorch, which nothing else here needs.
            from facesr.enhancer import Enhancer

            enhancer = Enhancer.from_files([self.root / path for path in self.networks], "cpu")
            enhancer.save(weights)
            config.write_text(
                json.dumps(enhancer.describe(), indent=2, sort_keys=True) + "\n", encoding="utf-8"
            )
            md5 = _file_md5(weights)
            found = self._find_version(f"tags.`dvc.md5` = '{md5}'")
            if found:
                return self._measured_again(found), False
            tags = {"dvc.md5": md5, **sources, **self._version_tags()}
            return self._create_version(run_id, weights, config, tags), True

    def _create_version(
        self, run_id: str, weights: Path, config: Path, tags: Mapping[str, str]
    ) -> Any:
        import mlflow
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException

        logged = self.client.create_logged_model(
            self.experiment_id, name="enhancer", source_run_id=run_id, tags=dict(tags)
        )
        status = "FAILED"
        try:
            with tempfile.TemporaryDirectory() as folder:
                # mlflow.pyfunc.log_model would do the same with a run that is active for the whole
                # process, and it closes that run.
                mlflow.pyfunc.save_model(
                    folder,
                    mlflow_model=mlflow.models.Model(
                        artifact_path=logged.artifact_location,
                        run_id=run_id,
                        model_uuid=logged.model_id,
                        model_id=logged.model_id,
                    ),
                    python_model=str(Path(__file__).with_name("registered_model.py")),
                    artifacts={"weights": str(weights), "config": str(config)},
                    code_paths=[str(Path(__file__).parent)],
                    signature=_signature(),
                    input_example=_input_example(),
                    pip_requirements=[
                        f"{name}=={installed}" for name, installed in _versions(_PACKAGES).items()
                    ],
                )
                self.client.log_model_artifacts(logged.model_id, folder)
            self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
            status = "READY"
        finally:
            self.client.finalize_logged_model(logged.model_id, status)
        # From the second version on it is there.
        with suppress(MlflowException):
            self.client.create_registered_model(
                MODEL, description="Face super-resolution: picture in, enlarged picture out."
            )
        with _global_store(tracking_uri(self.root)):
            return self.client.create_model_version(
                MODEL,
                source=f"models:/{logged.model_id}",
                run_id=run_id,
                tags=dict(tags),
                model_id=logged.model_id,
            )

    def _version_tags(self) -> dict[str, str]:
        trained = self._stage_writing(self.networks[-1])
        return {**self.tags, _STAGE_KEY: _key(trained), **self._evaluation_tags()}

    def _measured_again(self, version: Any) -> Any:
        # Same weights, newer evaluation: the tags name the set that the newest metrics are of.
        for tag, value in self._evaluation_tags().items():
            if version.tags.get(tag) != value:
                self.client.set_model_version_tag(MODEL, version.version, tag, value)
        return version

    def _ensure_champion(self, version: Any) -> int:
        aliases = self.client.get_registered_model(MODEL).aliases
        if CHAMPION not in aliases:
            self.client.set_registered_model_alias(MODEL, CHAMPION, version.version)
            return int(version.version)
        return int(aliases[CHAMPION])


def _read_lock(path: Path) -> dict[str, Any]:
    """Returns the entries of dvc.lock without that of `publish` itself."""
    if not path.is_file():
        raise DataError(f"{path} does not exist. Run: dvc repro")
    content = read_yaml(path)
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict) or not all(isinstance(e, dict) for e in stages.values()):
        raise DataError(f"{path} lists no stages. Delete it and run: dvc repro")
    return {name: entry for name, entry in stages.items() if name != "publish"}


def _read_metrics(path: Path) -> list[tuple[str, float, int]]:
    """Returns the finite numbers of a nested JSON file under dotted names, at step 0."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Run: dvc repro evaluate") from None
    except ValueError as error:
        raise DataError(f"{path} is damaged ({error}). Run: dvc repro -f evaluate") from None
    return [
        (name, float(value), 0)
        for name, value in _flatten(content)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    ]


def _read_curves(folder: Path) -> Iterator[tuple[str, float, int]]:
    """Yields metric, value and step from the CSV files that have a column `step`."""
    for path in sorted(folder.glob("*.csv")):
        series = "" if path.stem == "curves" else f"{path.stem}."
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = csv.DictReader(file)
                if "step" not in (rows.fieldnames or ()):
                    continue
                for row in rows:
                    step = _number(row.pop("step"))
                    for column, cell in row.items():
                        value = _number(cell)
                        if step is not None and value is not None:
                            yield f"{series}{column}", value, int(step)
        except (UnicodeDecodeError, csv.Error) as error:
            raise DataError(
                f"{path} is damaged ({error}). Run: dvc repro -f {folder.name}"
            ) from None


def _number(cell: object) -> float | None:
    """Reads a cell; None where it holds no finite number."""
    try:
        value = float(str(cell))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _params(entry: Mapping[str, Any], profile: str) -> dict[str, str]:
    """The parameters of a stage as MLflow shows them: `train_gan.batch_size`, `seed`."""
    longest = 6000  # characters; MLflow refuses more
    found = {}
    for values in entry.get("params", {}).values():
        for name, value in _flatten(values):
            text = value if isinstance(value, str) else json.dumps(value)
            if len(text) > longest:
                text = f"{text[: longest - 1]}…"
            found[name.removeprefix(f"profiles.{profile}.")] = text
    return found


def _flatten(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yields leaves under dotted names; a list of plain values is a leaf."""
    if isinstance(value, dict):
        items: Iterable[tuple[object, object]] = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = enumerate(value)
    else:
        yield prefix, value
        return
    for name, item in items:
        yield from _flatten(item, f"{prefix}.{name}" if prefix else str(name))


def _md5s(entry: Mapping[str, Any], kind: Literal["deps", "outs"]) -> dict[str, str]:
    """Path and md5 of what a stage reads or writes; empty where DVC knows the file otherwise."""
    return {item["path"]: str(item.get("md5", "")) for item in entry.get(kind, ())}


def _data(entry: Mapping[str, Any]) -> dict[str, str]:
    """Path and md5 of the pictures that a stage reads."""
    return {path: md5 for path, md5 in _md5s(entry, "deps").items() if path.startswith("data/")}


def _md5_tags(md5s: Mapping[str, str]) -> dict[str, str]:
    return {f"dvc.md5.{path}": md5 for path, md5 in md5s.items()}


def _purpose(stage: str) -> str:
    if stage.startswith("train_"):
        return "training"
    return "evaluation" if stage == "evaluate" else "preparation"


def _provenance(root: Path, results: Sequence[Path], profile: str, seed: int) -> dict[str, str]:
    """Where a run comes from; what is unknown is left out.

    A working tree is dirty when anything but `results`, which the pipeline writes itself, differs
    from its revision. Device and versions are those of the computer that publishes.
    """
    unchanged = ["--", ".", *(f":(exclude){path.as_posix()}" for path in results)]
    revision = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain", "--untracked-files=no", *unchanged)
    tags = {
        "git.rev": revision,
        "git.dirty": str(bool(status)).lower() if revision else "",
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.exp_baseline_rev": os.environ.get("DVC_EXP_BASELINE_REV", ""),
        "profile": profile,
        "seed": str(seed),
        "device": _device(),
        **_versions(("fastai", "torch", "torchvision")),
    }
    return {tag: value for tag, value in tags.items() if value}


def _git(root: Path, *arguments: str) -> str:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=30
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _device() -> str:
    """Names the GPU without loading PyTorch, which takes seconds."""
    try:
        names = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        names = []
    return ", ".join(sorted({name.strip() for name in names if name.strip()})) or "cpu"


def _versions(packages: Iterable[str]) -> dict[str, str]:
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            # A build label such as +cpu cannot be asked of the package index.
            found[package] = version(package).partition("+")[0]
    return found


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema([ColSpec(DataType.binary, "image"), ColSpec(DataType.string, "error")]),
        params=ParamSchema([ParamSpec("size", DataType.integer, 512)]),
    )


def _input_example() -> Any:
    import torch
    from pandas import DataFrame

    from facesr import images

    return DataFrame({"image": [images.encode_png(torch.full((3, 8, 8), 0.5))]})


def _model_id(version: Any) -> str:
    # MLflow leaves `version.model_id` empty outside Databricks.
    return str(version.source).rpartition("/")[2]


def _metric_name(name: str) -> str:
    """Replaces what MLflow refuses in a name."""
    return re.sub(r"[^\w\-. :/]", "_", name)


def _key(entry: Mapping[str, Any]) -> str:
    """A short name for a state: equal exactly when commands, parameters and md5s are."""
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()[:16]


def _file_md5(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist. Run: dvc repro") from None


def _blocks(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
