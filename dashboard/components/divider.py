"""Two images in one frame behind a divider, with zoom, for mouse, touch and keyboard.

The frame holds a native range input, which keyboards and screen readers support. A zoom is a CSS
scale about an origin; the browser clips before it scales, hence `clip` below.
"""

from pathlib import Path
from typing import Any

import streamlit as st

_HERE = Path(__file__).parent
_divider = st.components.v2.component(
    "compare_divider",
    html=(_HERE / "divider.html").read_text(encoding="utf-8"),
    css=(_HERE / "divider.css").read_text(encoding="utf-8"),
    js=(_HERE / "divider.js").read_text(encoding="utf-8"),
)


def divider(
    before: str,
    after: str,
    *,
    key: str,
    before_label: str,
    after_label: str,
    size: tuple[int, int],
    subject: str = "",
) -> Any:
    """Draw the frame; divider and zoom keep their position when the images change.

    Args:
        before: Address or data URI of the left image.
        after: Address or data URI of the right image, which has the same size.
        size: Width and height in pixels; small images are shown at most twice as large.
        subject: Content of both, for screen readers.
    """
    about = f", {subject}" if subject else ""
    return _divider(
        key=key,
        data={
            "before": before,
            "after": after,
            "before_label": before_label,
            "after_label": after_label,
            "before_alt": f"{before_label}{about}",
            "after_alt": f"{after_label}{about}",
            "ratio": f"{size[0]} / {size[1]}",
            # An image taller than the window would hide the divider.
            "width": f"min(100%, {min(2 * size[0], 768)}px, {80 * size[0] / size[1]:.1f}vh)",
        },
    )
