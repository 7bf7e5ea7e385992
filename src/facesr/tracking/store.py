"""MLflow's store: where it is, how it is opened, how its errors are reported."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from logging import CRITICAL, getLogger
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import urlsplit

from facesr.errors import RegistryError

logger = getLogger(__name__)

EXPERIMENT = "facesr"
MODEL = "facesr"
CHAMPION = "champion"
CHALLENGER = "challenger"
WEIGHTS = "weights.safetensors"

# Signs of a fault in the words of SQLite, the operating system, requests and MLflow; what to say
# of it, where the words are long; and what to do.
_FAULTS = (
    (
        ("no space left", "disk is full", "disk quota exceeded"),
        "",
        "Free some space and run: dvc repro",
    ),
    (
        ("readonly database", "unable to open database file"),
        "the database cannot be written to",
        "Give yourself the right to write there and run: dvc repro",
    ),
    (
        ("out-of-date database schema", "can't locate revision"),
        "another version of MLflow wrote it",
        "Run: mlflow db upgrade {uri}; or move mlflow.db and mlruns away and run dvc repro, which "
        "builds them again.",
    ),
    (
        ("permission denied", "read-only file system"),
        "",
        "Give yourself the right to write there and run: dvc repro",
    ),
    (
        ("certificate_verify_failed",),
        "its certificate is not one that this computer trusts",
        "Set MLFLOW_TRACKING_SERVER_CERT_PATH to the certificate, or correct MLFLOW_TRACKING_URI.",
    ),
    (
        ("error code 401", "error code 403"),
        "it refuses this user",
        "Check user name and password: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD.",
    ),
)


def tracking_uri(root: Path) -> str:
    """Return MLFLOW_TRACKING_URI where it is set, else the SQLite database `root`/mlflow.db.

    MLflow's own default is relative to the working directory; this one is absolute.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{database_file(root).as_posix()}"


def database_file(root: Path) -> Path:
    """Return the file of the embedded store, which all experiments share."""
    return home(root) / "mlflow.db"


def artifact_location(root: Path) -> str:
    """Return the folder of the embedded store's artifacts."""
    return (home(root) / "mlruns").as_uri()


def home(root: Path) -> Path:
    """Return the project's root, also for an experiment in a folder of its own inside it."""
    # `dvc exp run --temp` and `--queue` run in PROJECT/.dvc/tmp/exps/NAME and delete it afterwards.
    here = root.resolve()
    for folder in here.parents:
        if folder.parts[-3:] == (".dvc", "tmp", "exps"):
            return folder.parents[2]
    return here


def is_embedded(root: Path) -> bool:
    """Return whether the store is the project's own file."""
    return tracking_uri(root) == f"sqlite:///{database_file(root).as_posix()}"


def import_client() -> Any:
    """Return MLflow's client, imported with the settings of this project."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    return MlflowClient


def connect(root: Path, *, create: bool) -> tuple[Any, str]:
    """Return a client and the experiment's id, "" for a missing one that is not to be created."""
    # Left by an outer run, it would make that run the target of everything logged here
    # (https://github.com/mlflow/mlflow/issues/15713).
    os.environ.pop("MLFLOW_RUN_ID", None)
    # About its own code; for the whole process, as threads share the filters.
    warnings.filterwarnings("ignore", module=r"mlflow\.")
    uri = tracking_uri(root)
    # MLflow lets through the errors of requests, SQLAlchemy and Alembic, which have no common
    # class, and any of them means the same here.
    try:
        client_class = import_client()
        # MLflow would print the trace of an error that is reported here in one line.
        getLogger("mlflow.store.db.utils").setLevel(CRITICAL)
        if create and is_embedded(root):
            create_database(database_file(root))
        # Only the first request is impatient: an upload of weights may take minutes.
        with impatience:
            client = client_class(tracking_uri=uri)
            experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None and create:
            experiment = _create_experiment(root, client)
    except Exception as error:
        raise registry_error(uri, error) from error
    if experiment is None:
        return client, ""
    if experiment.lifecycle_stage != "active":
        raise RegistryError(
            f"Experiment {EXPERIMENT} in {shown(uri)} is deleted. "
            f"Run: mlflow experiments restore --experiment-id {experiment.experiment_id}"
        )
    if is_embedded(root) and experiment.artifact_location != artifact_location(root):
        # The database holds absolute paths (https://github.com/mlflow/mlflow/issues/3144).
        raise RegistryError(
            f"{shown(uri)} was written in another folder, {experiment.artifact_location}, and its "
            "artifacts cannot be found from here. Move mlflow.db and mlruns away and run dvc "
            "repro, which builds them again."
        )
    return client, experiment.experiment_id


def _create_experiment(root: Path, client: Any) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        client.create_experiment(EXPERIMENT, artifact_location(root) if is_embedded(root) else None)
    except MlflowException as error:
        # Two workers on a new store; the other was faster.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    return client.get_experiment_by_name(EXPERIMENT)


def create_database(database: Path) -> None:
    """Create an empty MLflow database if there is none."""
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


class _Impatience:
    """Short time-outs for MLflow's first request, unless the user has set them.

    MLflow reads them from the environment, which all threads share: the first to enter sets them,
    the last to leave restores them. Once a server has answered, a request is tried twice.
    """

    RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
    SHORT: ClassVar = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "3", RETRIES: "0"}

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._own: dict[str, str] = {}
        self._answered = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._own = {name: v for name, v in self.SHORT.items() if name not in os.environ}
                os.environ.update(self._own)
            self._inside += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            self._answered = self._answered or kind is None
            if not self._inside:
                for name in self._own:
                    os.environ.pop(name, None)
                if self._answered:
                    os.environ.setdefault(self.RETRIES, "1")


impatience = _Impatience()


@contextmanager
def global_store(uri: str) -> Iterator[None]:
    """Set MLflow's global URI for the block."""
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
def as_registry_error(root: Path) -> Iterator[None]:
    """Turn every failure of the store into a RegistryError."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    # Requests' errors are OSErrors, and so is a full disk.
    except (MlflowException, OSError) as error:
        raise registry_error(tracking_uri(root), error) from error


def registry_error(uri: str, error: Exception) -> RegistryError:
    """Return an error with one line: what failed and what to do."""
    reason = (str(error).splitlines() or [""])[0][:200]
    causes = str(error).lower()
    known = [
        (what, advice) for signs, what, advice in _FAULTS if any(one in causes for one in signs)
    ]
    if known:
        what, advice = known[0]
        reason, advice = what or reason, advice.format(uri=shown(uri))
    elif uri.startswith("http"):
        advice = "Start the server, or unset MLFLOW_TRACKING_URI to use the project's mlflow.db."
    elif "MLFLOW_TRACKING_URI" in os.environ:
        advice = "Check MLFLOW_TRACKING_URI, or unset it to use the project's mlflow.db."
    else:
        advice = "If the file is damaged, move it away and run dvc repro, which builds it again."
    return RegistryError(
        f"MLflow at {shown(uri)} failed ({type(error).__name__}: "
        f"{reason.replace(uri, shown(uri))}). {advice}"
    )


def shown(uri: str) -> str:
    """Return the URI without user name and password."""
    address = urlsplit(uri).netloc
    return uri.replace(address, address.rpartition("@")[2]) if address else uri
