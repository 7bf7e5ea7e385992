"""Comparison of two models on one image."""

from typing import TYPE_CHECKING

import streamlit as st

import evaluated
import intake
import service
import serving
from components import examples
from components.divider import divider
from facesr import names

if TYPE_CHECKING:
    from torch import Tensor

SCALE, LARGEST = 4, 512
ORIGINAL = "original"
CROP = 96


def main() -> None:
    """Draw the page."""
    st.title("Compare models")
    st.write(
        f"An image is made {SCALE} times smaller; each model enlarges it again, and the original "
        "shows how close it comes."
    )
    original = ask_original()
    catalogue = serving.shared().peek(wait_seconds=10)
    options = choices(catalogue)
    if note := serving.stand_in_note(catalogue):
        st.info(note.markdown)
    elif catalogue and len(catalogue.versions) == 1:
        st.info("Only one model is registered. Comparing it with bicubic.")
    left, right = st.columns(2)
    names = list(options)
    first = left.selectbox("Left", names, format_func=options.__getitem__, key="left")
    second = right.selectbox(
        "Right", names, index=min(2, len(names) - 1), format_func=options.__getitem__, key="right"
    )
    if original is None:
        st.stop()
    image, small = original
    with st.spinner("Enhancing ..."):
        shown = {name: made(image, small, name) for name in dict.fromkeys((first, second))}
    for name, outcome in shown.items():
        if isinstance(outcome, str):
            st.error(f"{options[name]}: {outcome}")
    if any(isinstance(outcome, str) for outcome in shown.values()):
        st.stop()
    show_pair(image, (first, second), shown, options)
    show_metrics(image, small, shown, options)
    if st.toggle("The same crop from every version", key="crops"):
        show_crops(image, small, options)


def choices(catalogue: serving.Catalogue | None) -> dict[str, str]:
    """Return the choices for either side."""
    options = {serving.BICUBIC: "Input (bicubic)", ORIGINAL: "Original"}
    champion = catalogue.champion if catalogue else None
    if champion is None and serving.stand_in_label() != serving.NO_MODEL:
        options[serving.CHAMPION] = serving.stand_in_label()
    # The third entry is the one that is shown unasked.
    versions = sorted(catalogue.versions if catalogue else (), key=lambda v: v != champion)
    return options | {f"facesr/{v.number}": serving.name(v) for v in versions}


def ask_original() -> tuple[bytes, bytes] | None:
    """Return the original and its reduced image, as PNG; None if it is refused."""
    left, right = st.columns(2)
    name = left.pills(
        "Example", list(examples.NAMES), default="Face 1", required=True, key="example"
    )
    file = right.file_uploader(
        "Or your own image",
        type=["jpg", "jpeg", "png", "webp"],
        max_upload_size=intake.MAX_BYTES // intake.MEGABYTE,
        key="own",
    )
    if file is None:
        left.caption(examples.ATTRIBUTION)
        return prepare(examples.original(name))
    try:
        prepared = prepare(file.getvalue())
        if note := intake.check(file.getvalue()).note:
            right.info(note)
        return prepared
    except intake.RefusedError as refusal:
        st.error(f"**{intake.plain(file.name)}** cannot be compared. {refusal}")
        return None


@st.cache_data(max_entries=8, show_spinner=False)
def prepare(data: bytes) -> tuple[bytes, bytes]:
    """Cut an original to sides that the scale divides, and reduce it, or raise RefusedError."""
    from facesr import images

    image = intake.decode(data)
    height, width = image.shape[-2:]
    if min(height, width) < SCALE * intake.MIN_SIDE:
        raise intake.RefusedError(
            "too_small",
            f"It is {width} x {height}; the smallest side must be at least "
            f"{SCALE * intake.MIN_SIDE} pixels.",
        )
    factor = min(1.0, LARGEST / max(height, width))
    size = tuple(max(SCALE, int(side * factor) // SCALE * SCALE) for side in (height, width))
    hr = images.resize(image, (size[0], size[1]), "lanczos").clamp(0, 1)
    lr = images.resize(hr, (size[0] // SCALE, size[1] // SCALE), "bicubic").clamp(0, 1)
    return images.encode_png(hr), images.encode_png(lr)


def made(original: bytes, small: bytes, name: str) -> service.Enhanced | bytes | str:
    """Return one side: the original's bytes, a result, or the reason of a failure."""
    if name == ORIGINAL:
        return original
    header = intake.check(original)
    return evaluated.enhanced(small, max(header.width, header.height), name)


def pixels(outcome: service.Enhanced | bytes | str) -> "Tensor":
    """Return the image of one side, (3, H, W) in [0, 1]."""
    from facesr import images

    assert not isinstance(outcome, str)
    return images.read(outcome if isinstance(outcome, bytes) else outcome.png)


def show_pair(
    original: bytes,
    names: tuple[str, str],
    shown: dict[str, service.Enhanced | bytes | str],
    options: dict[str, str],
) -> None:
    """Draw both sides in one frame; divider and zoom keep their position."""
    header = intake.check(original)
    left, right = (service.data_uri(pixels(shown[name])) for name in names)
    divider(
        left,
        right,
        key="compare",
        before_label=options[names[0]],
        after_label=options[names[1]],
        size=(header.width, header.height),
    )


def show_metrics(
    original: bytes,
    small: bytes,
    shown: dict[str, service.Enhanced | bytes | str],
    options: dict[str, str],
) -> None:
    """Draw distances to the original and times, with bicubic in every table."""
    rows = []
    for name in dict.fromkeys((serving.BICUBIC, *shown)):
        outcome = shown.get(name) or made(original, small, name)
        if name == ORIGINAL or not isinstance(outcome, service.Enhanced):
            continue
        rows.append(
            {
                "method": options[name],
                **measured(outcome.png, original),
                "seconds": round(outcome.seconds, 2),
            }
        )
    st.dataframe(rows, hide_index=True, alt="Metrics against the original")


@st.cache_data(max_entries=64, show_spinner=False)
def measured(png: bytes, original: bytes) -> dict[str, float]:
    """Return distances of a result to the original."""
    from facesr import images

    return service.distances(images.read(png), images.read(original))


def show_crops(original: bytes, small: bytes, options: dict[str, str]) -> None:
    """Draw one part of the image in every choice, at the same zoom."""
    header = intake.check(original)
    place = st.slider("Place from top to bottom", 0, 100, 45, 5, format="%d %%", key="place")
    side = min(CROP, header.width, header.height)
    top = (header.height - side) * place // 100
    left = (header.width - side) // 2
    with st.container(horizontal=True):
        for name, label in options.items():
            with st.spinner(f"{label} ..."):
                outcome = made(original, small, name)
            if isinstance(outcome, str):
                st.write(f"{label}: {outcome}")
                continue
            crop = pixels(outcome)[:, top : top + side, left : left + side]
            caption = label
            if isinstance(outcome, service.Enhanced):
                psnr = measured(outcome.png, original)[names.LABELS["psnr"]]
                caption = f"{label}, {psnr:.2f} dB, {outcome.seconds:.1f} s"
            st.image(service.data_uri(crop), caption=caption, width=192, alt=f"Crop, {label}")


main()
