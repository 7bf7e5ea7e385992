"""Enhancement of one image for page and HTTP API."""

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

import intake
import serving
from facesr import __version__, names
from facesr.errors import CheckpointError, DataError, ParamsError, RegistryError
from gate import Gate
from intake import RefusedError

if TYPE_CHECKING:
    from torch import Tensor

    from facesr.enhance.enhancer import Enhancer
    from facesr.enhance.enhancer import Result as EnhancerResult

Size = Literal[512, 1024, 2048]
SIZES: tuple[Size, ...] = get_args(Size)
Format = Literal["png", "jpeg", "webp"]
FORMATS: tuple[Format, ...] = get_args(Format)
Faces = Literal["off", "also", "only"]
Method = Literal["bicubic", "nearest"]
OnQueue = Callable[[int], None]
OnProgress = Callable[[int, int], None]


class Settings(BaseModel):
    """Settings of an enhancement."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    size: int = SIZES[0]
    """Longer side of the result in pixels."""
    model: str = serving.CHAMPION
    """`facesr@champion`, `facesr/3` or `bicubic`."""
    strength: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0
    """0 is faithful, 1 crisp; for models with two sets of weights."""
    faces: Faces = "off"
    """Restoration of single faces, also beside the whole image, or only, with bicubic around them.
    """


@dataclass(frozen=True)
class Enhanced:
    """Result as encoded bytes; pixels would fill the memory."""

    source: bytes
    """Input file."""
    png: bytes
    """The result."""
    input_size: tuple[int, int]
    """Width and height in pixels."""
    output_size: tuple[int, int]
    seconds: float
    label: str
    """Name of the model for people."""
    model: str
    """Name of the model with the hash of its weights."""
    number: int | None
    page: str
    settings: Settings
    note: serving.Note | None = None
    remark: str = ""
    """Further message on the result."""


@cache
def shared_gate() -> Gate:
    """Return the only queue of the model; U-Nets with hooks cannot run in parallel."""
    return Gate()


def plan(header: intake.Header, size: int) -> tuple[int, int]:
    """Return a result's width and height; raise RefusedError if the image is as large already."""
    longer = max(header.width, header.height)
    if longer >= size:
        raise RefusedError(
            "already_larger",
            f"It is {header.width} x {header.height}, already larger than {size} x {size}. "
            "Choose a larger size.",
        )
    factor = size / longer
    return max(1, round(header.width * factor)), max(1, round(header.height * factor))


def enhance(
    data: bytes,
    settings: Settings,
    *,
    on_queue: OnQueue = lambda _: None,
    on_progress: OnProgress | None = None,
    ticket: object = None,
) -> Enhanced:
    """Check, decode and enhance one image.

    Args:
        on_queue: Called with the number of requests ahead; may raise to give the place up.
        on_progress: Called with (tiles done, tiles in total); may raise likewise.
        ticket: Place in the queue, from `Gate.enter`; None takes one.

    Raises:
        RefusedError: The image is refused, the model cannot serve, or the queue is full.
    """
    header = intake.check(data)
    plan(header, settings.size)
    enhanced = shared_gate().run(
        lambda: _enhance(data, settings, on_progress), on_queue=on_queue, ticket=ticket
    )
    return replace(enhanced, remark=" ".join(filter(None, (header.note, enhanced.remark))))


def _enhance(data: bytes, settings: Settings, on_progress: OnProgress | None) -> Enhanced:
    try:
        loaded = serving.shared().choose(settings.model)
    except CheckpointError as error:
        raise RefusedError(
            "no_model", f"The model could not be loaded (code {serving.BROKEN_WEIGHTS}). {error}"
        ) from error
    except RegistryError as error:
        raise RefusedError("no_model", str(error)) from error
    try:
        image = intake.decode(data)
        result, remark = _restore(loaded.enhancer, image, settings, on_progress)
    except ParamsError as error:
        raise RefusedError("bad_setting", str(error)) from error
    except DataError as error:
        # The smallest tile is too large.
        raise _no_memory(settings.size) from error
    except (MemoryError, RuntimeError) as error:
        from facesr.devices import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        raise _no_memory(settings.size) from error
    if _is_empty(result.image, image):
        raise RefusedError("empty_result", "The model returned an empty image.")
    height, width = result.input_size
    return Enhanced(
        source=data,
        png=_encode(result.image, "png", _software(result.model, settings, 1.0)),
        input_size=(width, height),
        output_size=(result.output_size[1], result.output_size[0]),
        seconds=result.seconds,
        label=loaded.label,
        model=result.model,
        number=loaded.number,
        page=loaded.page,
        settings=settings,
        note=loaded.note,
        remark=remark,
    )


def _restore(
    enhancer: "Enhancer", image: "Tensor", settings: Settings, on_progress: OnProgress | None
) -> tuple["EnhancerResult", str]:
    """Return the result and a message."""
    from facesr.enhance.enhancer import EnhanceOptions

    if settings.faces != "off" and not enhancer.networks:
        raise RefusedError("bad_setting", "Bicubic restores no faces. Take the whole image.")
    options = EnhanceOptions(size=settings.size, strength=settings.strength, faces=settings.faces)
    result = enhancer.enhance(image, options, on_progress=on_progress)
    has_missed = settings.faces != "off" and not result.faces
    return result, "No face was found; the whole image was enhanced." if has_missed else ""


def encode(enhanced: Enhanced, file_format: Format = "png", *, blend: float = 1.0) -> bytes:
    """Encode the model's image, a share `blend` of the mix with bicubic, with its provenance."""
    if file_format == "png" and blend == 1:
        return enhanced.png
    software = _software(enhanced.model, enhanced.settings, blend)
    return _encode(blended(enhanced, blend), file_format, software)


def blended(enhanced: Enhanced, blend: float) -> "Tensor":
    """Mix the result with the bicubic enlargement, (3, H, W) in [0, 1]."""
    from facesr import images

    after = images.read(enhanced.png)
    if blend == 1:
        return after
    return after * blend + enlarged(enhanced) * (1 - blend)


def enlarged(enhanced: Enhanced, method: Method = "bicubic") -> "Tensor":
    """Return the input at the size of the result, (3, H, W) in [0, 1]."""
    from facesr import images

    width, height = enhanced.output_size
    return images.resize(intake.decode(enhanced.source), (height, width), method).clamp(0, 1)


def file_name(name: str, enhanced: Enhanced, file_format: Format, number: int = 0) -> str:
    """Return a download's name, `kid_512.png`; with a number for archives of several."""
    ending = "jpg" if file_format == "jpeg" else file_format
    count = f"{number:02d}_" if number else ""
    return f"{count}{intake.stem(name)}_{max(enhanced.output_size)}.{ending}"


def distances(result: "Tensor", original: "Tensor") -> dict[str, float]:
    """Return the metrics of a result, as 8-bit values, by label."""
    from facesr import images, metrics

    values = metrics.measure(images.round_to_8bit(result)[None], original[None], ("psnr", "ssim"))
    return {names.LABELS[name]: round(float(value), 4) for name, value in values.items()}


def data_uri(image: "Tensor") -> str:
    """Encode an image for the page: exactly up to 1024 px, as JPEG above."""
    import base64

    from facesr import images

    if max(image.shape[-2:]) <= 1024:
        kind, data = "png", images.encode_png(image)
    else:
        kind, data = "jpeg", images.encode_jpeg(image, quality=95, chroma_halved=False)
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def as_zip(files: list[tuple[str, bytes]]) -> bytes:
    """Pack files without compressing images a second time."""
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return buffer.getvalue()


def _encode(image: "Tensor", file_format: Format, software: str) -> bytes:
    from facesr.images import photos

    return photos.encode(
        photos.Photo(image), file_format=file_format, keep_metadata=False, software=software
    )


def _software(model: str, settings: Settings, blend: float) -> str:
    faces = "" if settings.faces == "off" else f"; faces {settings.faces}"
    return (
        f"facesr {__version__}; model {model}; size {settings.size}; "
        f"strength {settings.strength:g}; blend {blend:g}{faces}"
    )


def _is_empty(result: "Tensor", image: "Tensor") -> bool:
    import torch

    if not torch.isfinite(result).all():
        return True
    return bool(result.max() == result.min() and image.max() != image.min())


def _no_memory(size: int) -> RefusedError:
    smaller = [other for other in SIZES if other < size]
    advice = f"Try {smaller[-1]} x {smaller[-1]}." if smaller else "Try a smaller image, or wait."
    return RefusedError("no_memory", f"There was not enough memory for {size} x {size}. {advice}")
