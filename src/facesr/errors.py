"""Errors that a user can fix; the command prints their message without a traceback.

FaceSRError
├── ParamsError       params.yaml or an option does not fit
├── DataError         images, pairs or reports are missing, damaged or do not belong together
├── CheckpointError   weights are missing, damaged or of another network
├── TrainingError     a training went wrong: its numbers exploded, or memory ran out
└── RegistryError     MLflow does not answer, or does not hold what was asked for
    └── NotRegisteredError   it answers, and holds no such version
        └── NoChampionError   it holds versions, none of which serves

Every message says what is wrong, where, and what to do next; `import_extra` names the extra of a
missing package.
"""

import importlib
from typing import Any

EXTRAS = {
    **dict.fromkeys(("dvc", "fastai", "gdown", "lpips", "matplotlib", "mlflow"), "train"),
    **dict.fromkeys(("pytorch_msssim", "requests", "ruamel", "scipy", "skimage"), "train"),
    "av": "video",
    "dlib": "faces",
    **dict.fromkeys(("imagecodecs", "tifffile"), "sixteen-bit"),
    **dict.fromkeys(("pyarrow", "ray"), "cluster"),
    "psycopg": "server",
    "streamlit": "dashboard",
}


class FaceSRError(Exception):
    """Error that the user of facesr can fix."""


class ParamsError(FaceSRError):
    """A parameter is unknown, missing, of the wrong type or contradicts another."""


class DataError(FaceSRError):
    """Images, pairs or reports are missing, damaged or do not belong together."""


class CheckpointError(FaceSRError):
    """Weights are missing, damaged or belong to another network."""


class TrainingError(FaceSRError):
    """A loss is not finite or diverges, or the device's memory is exhausted."""


class RegistryError(FaceSRError):
    """The MLflow store does not answer, or does not hold what was asked for."""


class Stopped(Exception):  # noqa: N818  not an error
    """A training has saved its state and stops on request.

    Attributes:
        status: The process's exit status, 128 and the signal's number.
    """

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotRegisteredError(RegistryError):
    """The MLflow store answers, and holds no such version."""


class NoChampionError(NotRegisteredError):
    """Versions are registered and none is champion.

    Attributes:
        number: The challenger, else the newest version.
    """

    def __init__(self, message: str, *, number: int) -> None:
        super().__init__(message)
        self.number = number


def import_extra(module: str) -> Any:
    """Return an optional package's module; raise ParamsError if it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error) from error


def missing(error: ModuleNotFoundError) -> ParamsError:
    """Return the error that names the extra of a package; raise `error` if there is none."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRAS:
        raise error
    extra = EXTRAS[package]
    return ParamsError(f"{package} is not installed. Run: pip install 'facesr[{extra}]'")
