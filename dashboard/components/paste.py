"""Images pasted from the clipboard with Ctrl+V."""

import base64
import binascii
from collections.abc import Callable
from typing import Any

import streamlit as st

import intake
from session import InputImage

_paste = st.components.v2.component(
    "paste_image",
    html='<p class="hint" role="status"></p>',
    css=".hint { margin: 0; color: var(--st-text-color); font-size: .875rem }",
    js="""
export default function ({ data, parentElement, setTriggerValue }) {
  const hint = parentElement.querySelector(".hint");
  hint.textContent = data.hint;
  const paste = (event) => {
    for (const item of event.clipboardData?.items ?? []) {
      const file = item.type.startsWith("image/") ? item.getAsFile() : null;
      if (!file) continue;
      event.preventDefault();
      if (file.size > data.max_bytes) { hint.textContent = data.too_big; return; }
      const reader = new FileReader();
      reader.onload = () => setTriggerValue(
        "image", { name: file.name || "pasted.png", data: reader.result.split(",")[1] });
      reader.readAsDataURL(file);
      return;
    }
  };
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}
""",
)


def paste(*, key: str, on_image: Callable[[], None]) -> Any:
    """Listen on the whole page; `pasted` returns the image inside the callback."""
    return _paste(
        key=key,
        data={
            "hint": "Or press Ctrl+V to paste an image.",
            "max_bytes": intake.MAX_BYTES,
            "too_big": f"That image is larger than {intake.MAX_BYTES // intake.MEGABYTE} MB.",
        },
        on_image_change=on_image,
    )


def pasted(key: str) -> InputImage | None:
    """Return the pasted image; None if the browser sent something else."""
    image: Any = getattr(st.session_state.get(key), "image", None)
    try:
        return InputImage(str(image["name"]), base64.b64decode(image["data"], validate=True))
    except (TypeError, KeyError, binascii.Error, ValueError):
        return None
