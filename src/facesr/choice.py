"""Which Enhancer a person means, and which one there is where nothing is said."""

import logging
from importlib.resources import files
from pathlib import Path

from facesr.devices import pick_device
from facesr.enhancer import Enhancer
from facesr.errors import CheckpointError, NoChampionError, NotRegisteredError
from facesr.precision import Precision

logger = logging.getLogger(__name__)

BICUBIC = "bicubic"
CHAMPION = "facesr@champion"
STARTER = "starter"
# Package data: a network trained on generated pictures only, for who has no registry.
_STARTER_FILE = Path(str(files("facesr"))) / "starter" / "starter.safetensors"


def load(
    model: str | None, *, root: Path, device: str = "auto", precision: Precision = "auto"
) -> Enhancer:
    """Loads the Enhancer that a person has named.

    Args:
        model: `facesr@champion` (any alias), `facesr/3`, the path of a weights file, `starter` or
            `bicubic`; None takes the best that is there.
        root: The project's root, whose registry is asked.
        device: As in `Enhancer`.
        precision: As in `Enhancer`.

    Raises:
        RegistryError: The version is not registered, or the registry does not answer.
        CheckpointError: The file does not exist or is damaged.
        ParamsError: There is no such device.
    """
    pick_device(device)  # a slip is told whatever the model
    if model is None:
        return load_default(root=root, device=device, precision=precision)
    if model == BICUBIC:
        return Enhancer.bicubic()
    if model == STARTER:
        return _starter(device, precision)
    if model.endswith(".safetensors") or Path(model).is_file():
        if not Path(model).is_file():
            raise CheckpointError(f"{model} does not exist. Check the path of the weights.")
        return Enhancer.from_checkpoint(model, device=device, precision=precision)
    return Enhancer.from_registry(model, root=root, device=device, precision=precision)


def find_file(model: str, *, root: Path) -> Path:
    """Return the weights file of a model, as `load` takes it; `bicubic` has none.

    Raises:
        RegistryError: As `load`.
        CheckpointError: The file does not exist.
    """
    if model == STARTER:
        return _STARTER_FILE
    if model.endswith(".safetensors") or Path(model).is_file():
        if not Path(model).is_file():
            raise CheckpointError(f"{model} does not exist. Check the path of the weights.")
        return Path(model)
    from facesr.tracking import download

    return download(root, model)


def load_default(*, root: Path, device: str = "auto", precision: Precision = "auto") -> Enhancer:
    """Loads the champion; else the starter that the package brings; else bicubic. Logs which.

    Raises:
        RegistryError: A registry that was set up does not answer.
        ParamsError: There is no such device.
    """
    try:
        return Enhancer.from_registry(CHAMPION, root=root, device=device, precision=precision)
    except NoChampionError as error:
        logger.info("%s", error)
    except NotRegisteredError:
        # A registry that does not answer is another matter, and no reason to serve less unasked.
        pass
    if _STARTER_FILE.is_file():
        logger.info("no %s is registered here: the starter network is used", CHAMPION)
        return _starter(device, precision)
    logger.info("no %s is registered here: enlarged by bicubic, without a network", CHAMPION)
    return Enhancer.bicubic()


def _starter(device: str, precision: Precision) -> Enhancer:
    if not _STARTER_FILE.is_file():
        raise CheckpointError("This installation brings no starter network. Choose another model.")
    return Enhancer.from_checkpoint(_STARTER_FILE, device=device, precision=precision)
