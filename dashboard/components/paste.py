"""Ctrl+V: a picture from the clipboard."""

import base64
import binascii
from collections.abc import Callable
from typing import Any

import streamlit as st

import intake
from session import Picture

_paste = st.components.v2.component(
    "paste_picture",
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
        "picture", { name: file.name || "pasted.png", data: reader.result.split(",")[1] });
      reader.readAsDataURL(file);
      return;
    }
  };
  document.addEventListener("paste", paste);
  return () => document.removeEventListener("paste", paste);
}
""",
)


def paste(*, key: str, on_picture: Callable[[], None]) -> Any:
    """Listens on the whole page; `pasted` gives the picture inside the callback."""
    return _paste(
        key=key,
        data={
            "hint": "Or press Ctrl+V to paste a picture.",
            "max_bytes": intake.MAX_BYTES,
            "too_big": f"That picture is larger than {intake.MAX_BYTES // intake.MEGABYTE} MB.",
        },
        on_picture_change=on_picture,
    )


def pasted(key: str) -> Picture | None:
    """What was pasted; None where the browser sent something else."""
    picture: Any = getattr(st.session_state.get(key), "picture", None)
    try:
        return Picture(str(picture["name"]), base64.b64decode(picture["data"], validate=True))
    except (TypeError, KeyError, binascii.Error, ValueError):
        return None
