"""A button that saves a file without running the page again."""

import streamlit as st

from downloads import Download
from session import work

_download = st.components.v2.component(
    "download",
    html="<a></a>",
    css="""
a {
  display: inline-flex; align-items: center; min-height: 2.5rem; padding: 0 .75rem;
  box-sizing: border-box; border-radius: var(--st-button-radius); text-decoration: none;
  border: 1px solid var(--st-border-color);
  color: var(--st-text-color); font: .875rem var(--st-font);
}
a.primary {
  background: var(--st-primary-color); border-color: var(--st-primary-color); color: #fff;
}
a:hover { filter: brightness(.92); }
a:focus-visible { outline: 3px solid var(--st-primary-color); outline-offset: 2px; }
""",
    js="""
export default function ({ data, parentElement }) {
  const link = parentElement.querySelector("a");
  Object.assign(link, { href: data.address, download: data.name, textContent: data.label });
  link.className = data.primary ? "primary" : "";
  // The server runs nothing for a download, so the question of `leaving` is taken back here.
  link.onclick = () => { if (data.saves_all) window.onbeforeunload = null; };
}
""",
)


def download_button(
    label: str, file: Download, *, key: str, saves_all: bool, primary: bool = False
) -> None:
    """Draw the button for `file`; `saves_all` if no unsaved work is left after the download."""
    work().offered.append(file)
    _download(
        key=key,
        data={
            "address": file.address,
            "name": file.name,
            "label": label,
            "saves_all": saves_all,
            "primary": primary,
        },
        width="content",
    )
