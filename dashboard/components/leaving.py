"""The browser's question before a reload, or a closed tab, loses work."""

from collections.abc import Sequence

import streamlit as st

_leaving = st.components.v2.component(
    "ask_before_leaving",
    html="",
    js="""
export default function ({ data }) {
  // One handler at most: Streamlit calls this again for new data, and cleans up at the end only.
  window.onbeforeunload = data.ask ? (event) => event.preventDefault() : null;
  // A download runs nothing again on the server: what it saves is noticed here.
  document.onclick = (event) => {
    if (data.saved_by.some((key) => event.target.closest(`.st-key-${key} button`)))
      window.onbeforeunload = null;
  };
  return () => { window.onbeforeunload = document.onclick = null; };
}
""",
)


def ask_before_leaving(*, key: str, ask: bool, saved_by: Sequence[str]) -> None:
    """Make the browser ask, in its own words, before a page with unsaved work is left.

    Args:
        key: Of the component.
        ask: Whether there is unsaved work.
        saved_by: Keys of the download buttons after which there is none left.
    """
    _leaving(key=key, data={"ask": ask, "saved_by": list(saved_by)})
