"""Downloads of visitors, each with an address that nobody can guess.

Streamlit deletes a file that its download button makes on a click as soon as two other runs have
ended, so with several visitors the browser gets status 404 (`media_file_manager.execute_deferred`).
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote
from weakref import WeakValueDictionary

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response


@dataclass(eq=False)
class Download:
    """File that is made when the browser asks for it.

    Its owner keeps the object: without it, the address answers 404.
    """

    name: str
    kind: str
    """Media type."""
    make: Callable[[], bytes]
    token: str = field(default_factory=secrets.token_urlsafe)

    def __post_init__(self) -> None:
        _offered[self.token] = self

    @property
    def address(self) -> str:
        """Path on this server."""
        return prefix() + self.token


_offered: WeakValueDictionary[str, Download] = WeakValueDictionary()


def prefix() -> str:
    """Return the beginning of every address."""
    base = st.get_option("server.baseUrlPath").strip("/")
    return f"/{base}/download/" if base else "/download/"


def owns(path: str) -> bool:
    """Return whether a path belongs to a download."""
    return path.startswith(prefix())


async def answer(request: Request) -> Response:
    """Send a file; an ASGI application by `request_response`."""
    found = _offered.get(request.url.path.removeprefix(prefix()))
    if found is None:
        return PlainTextResponse("This file is gone. Enhance the image again.", 404)
    data = await run_in_threadpool(found.make)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.name)}",
        "Cache-Control": "no-store",
    }
    return Response(data, media_type=found.kind, headers=headers)
