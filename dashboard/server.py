"""Web server of the page, and of the HTTP API if it is on."""

import sys
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
from facesr.errors import ParamsError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PAGE_HEALTH = "/_stcore/health"
HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"same-origin"),
)


class SafeHeaders:
    """Headers against guessed content types, foreign frames and referrers."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Add the headers to every answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
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


try:
    _api = api.application()
except ParamsError as error:
    sys.exit(f"error: {error}")

app = st.App(
    "app.py",
    middleware=[
        Middleware(SafeHeaders),
        # Streamlit itself holds only its web sockets to the setting.
        Middleware(KnownHosts, list(st.get_option("server.allowedHosts")) or ["*"]),
        Middleware(Beside, _api, api.owns),
        Middleware(Beside, request_response(downloads.answer), downloads.owns),
    ],
)
