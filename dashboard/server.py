"""Web server of the page, and of the HTTP API if it is on."""

import os
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import request_response

import api
import downloads
import serving
from facesr.errors import FaceSRError, ParamsError
from facesr.names import MODEL_VARIABLE
from facesr.tracking import PAGES_VARIABLE

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PAGE_HEALTH = "/_stcore/health"
HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"same-origin"))
ALLOWED_HOSTS = list(st.get_option("server.allowedHosts")) or ["*"]
FRAMES_VARIABLE = "FACESR_FRAMED_BY"
_HOST = r"[\w.*:-]+"


class SafeHeaders:
    """Headers against guessed content types, referrers, and frames of sites that are not named."""

    def __init__(self, app: Any, framed_by: str) -> None:
        self.app = app
        rule = (
            (b"content-security-policy", f"frame-ancestors 'self' {framed_by}".encode())
            if framed_by
            else (b"x-frame-options", b"SAMEORIGIN")
        )
        self.headers = (*HEADERS, rule)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Add the headers to every answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self.headers]
            await send(message)

        await self.app(scope, receive, send_with_headers)


class KnownHosts:
    """Filter that answers only to known host names.

    Health checks may use every name: load balancers ask by address.
    """

    def __init__(self, app: Any, names: Sequence[str]) -> None:
        self.app = app
        self.names = [name.lower() for name in names]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        path = scope.get("path", "")
        is_asked = scope["type"] in ("http", "websocket") and path not in (PAGE_HEALTH, api.HEALTH)
        app = self._refusal(path) if is_asked and not self._is_known(scope) else self.app
        await app(scope, receive, send)

    def _is_known(self, scope: Message) -> bool:
        try:
            host = urlsplit("//" + Headers(scope=scope).get("host", "")).hostname or ""
        except ValueError:
            return False
        return any(
            host == name or (name[:1] == "*" and host.endswith(name[1:])) for name in self.names
        )

    def _refusal(self, path: str) -> Response:
        sentence = "This server is not known by that name. Name it in server.allowedHosts."
        return (
            api.problem("unknown_host", sentence, 400)
            if api.owns(path)
            else PlainTextResponse(sentence, 400)
        )


class Beside:
    """Application that owns some paths, and the page for all others.

    As a route of the page it would get error texts from Streamlit's middleware.
    """

    def __init__(self, app: Any, other: Any, owns: Callable[[str], bool]) -> None:
        self.app = app
        self.other = other
        self.owns = owns

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        is_owned = scope["type"] == "http" and self.owns(scope["path"])
        await (self.other if is_owned else self.app)(scope, receive, send)


def check_environment() -> None:
    """Raise ParamsError where the first visitor would get an error, or a link that leads nowhere.

    Without a folder for temporary files torch cannot be imported.
    """
    site = rf"https?://{_HOST}"
    for variable, form in (
        (FRAMES_VARIABLE, f"{site}( {site})*"),
        (PAGES_VARIABLE, rf"{site}(/\S*)?"),
    ):
        value = os.environ.get(variable, "")
        if value and not re.fullmatch(form, value, re.ASCII):
            raise ParamsError(f"{variable} is {value!r}. Set it to https://NAME, or unset it.")
    for name in ALLOWED_HOSTS:
        if not re.fullmatch(_HOST, name, re.ASCII):
            raise ParamsError(
                f"server.allowedHosts holds {name!r}, which is no host name. In the environment "
                "variable, put spaces between the names."
            )
    try:
        tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ParamsError(
            "No folder for temporary files can be written to. Mount one at /tmp, or name one in "
            "TMPDIR."
        ) from error


try:
    check_environment()
    _api = api.application()
    if _model := os.environ.get(MODEL_VARIABLE):
        serving.shared().fix(_model)
except FaceSRError as error:
    sys.exit(f"error: {error}")

app = st.App(
    "app.py",
    middleware=[
        Middleware(SafeHeaders, os.environ.get(FRAMES_VARIABLE, "")),
        # Streamlit itself holds only its web sockets to the setting.
        Middleware(KnownHosts, ALLOWED_HOSTS),
        Middleware(Beside, _api, api.owns),
        Middleware(Beside, request_response(downloads.answer), downloads.owns),
    ],
)
