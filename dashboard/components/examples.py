"""Example faces, drawn by program, so that they show no real person."""

from functools import cache

from session import InputImage

# Names and the numbers of portraits that `sources.generated` draws; odd ones are portraits.
NAMES = {"Face 1": 3, "Face 2": 7, "Face 3": 11}
SEED, ORIGINAL_SIDE, SIDE = 7, 512, 96


@cache
def original(name: str) -> bytes:
    """Return the large image of an example, as PNG."""
    from facesr import drawing, images

    return images.encode_png(drawing.draw(SEED, NAMES[name], ORIGINAL_SIDE))


@cache
def load(name: str) -> InputImage:
    """Return an example, reduced to a small image."""
    from facesr import images

    small = images.resize(images.read(original(name)), (SIDE, SIDE), "bicubic").clamp(0, 1)
    return InputImage(f"{name.lower().replace(' ', '_')}.png", images.encode_png(small))
