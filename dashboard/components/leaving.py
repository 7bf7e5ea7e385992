"""The browser's question before a reload or a closed tab loses work."""

import streamlit as st

_leaving = st.components.v2.component(
    "ask_before_leaving",
    html="",
    js="""
export default function ({ data }) {
  // One handler at most: Streamlit calls this again for new data, and cleans up at the end only.
  window.onbeforeunload = data.ask ? (event) => event.preventDefault() : null;
  return () => { window.onbeforeunload = null; };
}
""",
)


def ask_before_leaving(*, key: str, ask: bool) -> None:
    """Make the browser ask, in its own words, before a page with unsaved work is left."""
    _leaving(key=key, data={"ask": ask})
