"""Optional packages and their extras."""

import importlib
from typing import Any

from facesr.errors import ParamsError

EXTRAS = {
    **dict.fromkeys(("dvc", "fastai", "gdown", "matplotlib", "mlflow"), "train"),
    **dict.fromkeys(("pytorch_msssim", "requests", "ruamel", "scipy", "skimage"), "train"),
    "av": "video",
    "dlib": "faces",
    **dict.fromkeys(("imagecodecs", "tifffile"), "sixteen-bit"),
    **dict.fromkeys(("pyarrow", "ray"), "cluster"),
    "psycopg": "server",
    "streamlit": "dashboard",
}


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
