"""Example faces: test people of `samples/london`, whom no default model has seen."""

from functools import cache
from pathlib import Path

from session import InputImage

ATTRIBUTION = (
    "Faces: DeBruine and Jones (2017), "
    "[Face Research Lab London Set](https://doi.org/10.6084/m9.figshare.5047666.v5), "
    "[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/); cut and reduced."
)
SIDE = 96

_FOLDER = Path(__file__).parents[2] / "samples" / "london"
NAMES = {
    "Face 1": "014_neutral.jpg",
    "Face 2": "082_neutral.jpg",
    "Face 3": "087_neutral.jpg",
}


def original(name: str) -> bytes:
    """Return the large image behind an example, as a file."""
    return (_FOLDER / NAMES[name]).read_bytes()


@cache
def load(name: str) -> InputImage:
    """Return an example, reduced to a small image."""
    from facesr import images

    small = images.resize(images.read(original(name)), (SIDE, SIDE), "bicubic").clamp(0, 1)
    return InputImage(f"{name.lower().replace(' ', '_')}.png", images.encode_png(small))
