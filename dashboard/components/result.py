"""One result: before and after, download, comparison with an original."""

from typing import TYPE_CHECKING, Any

import streamlit as st

import intake
import service
from components.divider import divider
from components.download import download_button
from downloads import Download
from session import Result, work

if TYPE_CHECKING:
    from torch import Tensor

SLIDER, SIDE_BY_SIDE, DIFFERENCE = "Slider", "Side by side", "Difference"
BEFORE: dict[service.Method, str] = {"bicubic": "Bicubic", "nearest": "Pixels"}
# The difference of most results would be black to the eye.
AMPLIFIED = 4


def show(result: Result, *, blend: float, file_format: service.Format, saves_all: bool) -> None:
    """Draw a result.

    Args:
        blend: Share of the model's image in the displayed and downloaded result.
        saves_all: True if no unsaved work is left after the download.
    """
    enhanced = result.enhanced
    before, after = enhanced.input_size, enhanced.output_size
    st.markdown(
        f"**{intake.plain(result.name)}**: {before[0]} x {before[1]} → {after[0]} x {after[1]} px, "
        f"{enhanced.seconds:.1f} s, {enhanced.label}"
    )
    if enhanced.note:
        st.warning(enhanced.note.markdown)
    if enhanced.remark:
        st.info(enhanced.remark)
    left, right = st.columns(2)
    view = left.segmented_control(
        "View", [SLIDER, SIDE_BY_SIDE, DIFFERENCE], default=SLIDER, required=True, key="view"
    )
    method: service.Method = right.segmented_control(
        "Before as",
        list(BEFORE),
        default="bicubic",
        required=True,
        format_func=BEFORE.__getitem__,
        key="before",
    )
    if view == DIFFERENCE:
        _show_difference(result, method, blend)
    else:
        _show_pair(result, method, blend, side_by_side=view == SIDE_BY_SIDE)
    st.caption(
        "Details are estimated by a model and can differ from the real face. "
        "Do not use for identification."
    )
    _buttons(result, blend, file_format, saves_all)
    with st.expander("Check against an original (optional)"):
        _check(result, blend)


def download(result: Result, blend: float, file_format: service.Format) -> bytes:
    """Encode the file of the download button, once; called at the download."""
    result.is_saved = True
    return result.once(
        ("download", blend, file_format),
        lambda: service.encode(result.enhanced, file_format, blend=blend),
    )


def _show_pair(result: Result, method: service.Method, blend: float, *, side_by_side: bool) -> None:
    source = result.enhanced
    before = result.once(
        ("before", method), lambda: service.data_uri(service.enlarged(source, method))
    )
    after = result.once(("after", blend), lambda: service.data_uri(service.blended(source, blend)))
    before_label = f"Input ({BEFORE[method].lower()})"
    after_label = "Enhanced" if result.enhanced.number else result.enhanced.label
    if not side_by_side:
        divider(
            before,
            after,
            key="divider",
            before_label=before_label,
            after_label=after_label,
            size=result.enhanced.output_size,
            subject=result.name,
        )
        return
    for column, address, label in zip(
        st.columns(2), (before, after), (before_label, after_label), strict=True
    ):
        column.image(address, caption=label, width="stretch", alt=f"{label}, {result.name}")


def _show_difference(result: Result, method: service.Method, blend: float) -> None:
    def draw() -> str:
        change = service.blended(result.enhanced, blend) - service.enlarged(result.enhanced, method)
        return service.data_uri((change.abs() * AMPLIFIED).clamp(0, 1))

    st.image(
        result.once(("difference", method, blend), draw),
        caption=f"What the model changed, {AMPLIFIED} times amplified; black is unchanged.",
        alt=f"Difference to the input, {result.name}",
    )


def _buttons(result: Result, blend: float, file_format: service.Format, saves_all: bool) -> None:
    enhanced = result.enhanced
    with st.container(horizontal=True):
        download_button(
            f"Download {file_format.upper()}",
            Download(
                service.file_name(result.name, enhanced, file_format),
                f"image/{file_format}",
                lambda: download(result, blend, file_format),
            ),
            key="download",
            saves_all=saves_all,
            primary=True,
        )
        if st.button("Remove", key="remove"):
            work().remove(result)
            st.rerun()
        if enhanced.page:
            st.link_button("Training run in MLflow", enhanced.page)
    st.caption(f"Made by {intake.plain(enhanced.model)}; the file says so in its metadata.")


def _check(result: Result, blend: float) -> None:
    st.write(
        "Hand in the large image that this small one was made from, and see how close the "
        "result comes to it."
    )
    file = st.file_uploader(
        "Original",
        type=["jpg", "jpeg", "png", "webp"],
        max_upload_size=intake.MAX_BYTES // intake.MEGABYTE,
        key=f"original_{result.key}",
    )
    if file is None:
        return
    try:
        rows = compare_to_original(result.enhanced, file.getvalue(), blend)
        if note := intake.check(file.getvalue()).note:
            st.info(note)
    except intake.RefusedError as refusal:
        st.error(f"**{intake.plain(file.name)}** was not compared. {refusal}")
        return
    st.dataframe(rows, hide_index=True, alt="Metrics against the original")


def compare_to_original(
    enhanced: service.Enhanced, data: bytes, blend: float
) -> list[dict[str, Any]]:
    """Measure bicubic and model against a reduced original, or raise RefusedError."""
    from facesr import images

    width, height = enhanced.output_size
    original = intake.decode(data)
    own_height, own_width = original.shape[-2:]
    if own_width < width or own_height < height:
        raise intake.RefusedError(
            "too_small",
            f"It is {own_width} x {own_height}, smaller than the result of {width} x {height}.",
        )
    if abs(own_width * height - own_height * width) > max(own_width, own_height):
        raise intake.RefusedError(
            "other_proportions",
            f"It is {own_width} x {own_height} and has other proportions than the result of "
            f"{width} x {height}.",
        )
    hr = images.resize(original, (height, width), "lanczos").clamp(0, 1)
    rows: dict[str, Tensor] = {
        "Bicubic": service.enlarged(enhanced),
        enhanced.label: service.blended(enhanced, blend),
    }
    return [{"Method": name, **service.distances(sr, hr)} for name, sr in rows.items()]
