"""Choice of an Enhancer by name, or of the best available one."""

import logging
import os
from importlib.resources import files
from pathlib import Path

from facesr.devices import pick_device
from facesr.enhance.enhancer import Enhancer
from facesr.errors import CheckpointError, NoChampionError, NotRegisteredError
from facesr.names import MODEL_VARIABLE, Precision

logger = logging.getLogger(__name__)

BICUBIC = "bicubic"
CHAMPION = "facesr@champion"
STARTER = "starter"
# Package data: a network trained on generated images only, for who has no registry.
_STARTER_FILE = Path(str(files("facesr"))) / "starter" / "starter.safetensors"


def load(
    model: str | None, *, root: Path, device: str = "auto", precision: Precision = "auto"
) -> Enhancer:
    """Load the Enhancer of a name.

    Args:
        model: `facesr@champion` (any alias), `facesr/3`, the path of a weights file, `starter` or
            `bicubic`; None takes the best available one.

    Raises:
        RegistryError: The version is not registered, or the registry does not answer.
        CheckpointError: The file does not exist or is damaged.
        ParamsError: There is no such device.
    """
    pick_device(device)  # validate the name even when no network is loaded
    if model is None:
        return load_default(root=root, device=device, precision=precision)
    if model == BICUBIC:
        return Enhancer.bicubic()
    if model == STARTER or _names_file(model):
        path = find_file(model, root=root)
        return Enhancer.from_checkpoint(path, device=device, precision=precision)
    return from_registry(model, root=root, device=device, precision=precision)


def find_file(model: str, *, root: Path) -> Path:
    """Return the weights file of a model, as `load` takes it, except for `bicubic`."""
    if model == STARTER and not _STARTER_FILE.is_file():
        raise CheckpointError("This installation brings no starter network. Choose another model.")
    if model == STARTER:
        return _STARTER_FILE
    if not _names_file(model):
        from facesr.tracking import download

        return download(root, model)
    if not Path(model).is_file():
        raise CheckpointError(f"{model} does not exist. Check the path of the weights.")
    return Path(model)


def _names_file(model: str) -> bool:
    return model.endswith(".safetensors") or Path(model).is_file()


def from_registry(
    reference: str, *, root: Path, device: str = "auto", precision: Precision = "auto"
) -> Enhancer:
    """Load a version, `facesr@ALIAS` or `facesr/3`, from `root`'s store, or raise as `load`."""
    # MLflow is slow to import and not needed for a file.
    from facesr.tracking import MODEL, download, find_version

    version = find_version(root, reference)
    path = download(root, version)
    name = f"{MODEL}/{version.number}"
    return Enhancer.from_checkpoint(path, name=name, device=device, precision=precision)


def load_default(*, root: Path, device: str = "auto", precision: Precision = "auto") -> Enhancer:
    """Load FACESR_MODEL's model, else champion, starter or bicubic; log which; raise as `load`."""
    if named := os.environ.get(MODEL_VARIABLE):
        return load(named, root=root, device=device, precision=precision)
    try:
        return from_registry(CHAMPION, root=root, device=device, precision=precision)
    except NoChampionError as error:
        logger.info("%s", error)
    except NotRegisteredError:
        # A registry that does not answer is another matter, and no reason to serve less unasked.
        pass
    if _STARTER_FILE.is_file():
        logger.info("no %s is registered here: the starter network is used", CHAMPION)
        return load(STARTER, root=root, device=device, precision=precision)
    logger.info("no %s is registered here: enlarged by bicubic, without a network", CHAMPION)
    return Enhancer.bicubic()
