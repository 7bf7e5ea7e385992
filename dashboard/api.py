"""The HTTP API beside the page: a picture in, a picture out.

Off unless FACESR_API is set: to 1, and every request carries FACESR_API_TOKEN; or to `open`, and
everybody who reaches the server is served.
"""

import asyncio
import hmac
import logging
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import intake
import service
import serving
from facesr import __version__
from facesr.errors import ParamsError

logger = logging.getLogger(__name__)

SWITCH, TOKEN = "FACESR_API", "FACESR_API_TOKEN"
PREFIX, VERSION = "/api", "/api/v1"
HEALTH = f"{VERSION}/health"
RETRY_SECONDS = 5
TYPES = {f"image/{name}" for name in service.FORMATS}
# Not registered, and sent by many programs.
OTHER_NAMES = {"image/jpg", "application/octet-stream"}

# HTTP status of each code.
STATUS = {
    "unauthorised": 401,
    "too_big": 413,
    "unsupported_type": 415,
    "busy": 429,
    "no_model": 503,
    "no_memory": 503,
}
DEFAULT_STATUS = 422

Endpoint = Callable[[Request], Awaitable[Response]]


def application() -> Starlette:
    """Builds what answers every path below PREFIX, in JSON whatever is wrong.

    Raises:
        ParamsError: The environment does not say who may use the API.
    """
    switch, token = os.environ.get(SWITCH, ""), os.environ.get(TOKEN, "").strip()
    if switch not in ("", "0", "1", "open"):
        raise ParamsError(f"{SWITCH} is {switch!r}. Set it to 1 or open, or unset it.")
    if switch == "1" and not token:
        raise ParamsError(
            f"{SWITCH}=1 needs a token. Set {TOKEN} to a long random word, or {SWITCH}=open to "
            "serve everybody who reaches this server."
        )
    if switch == "open" and token:
        raise ParamsError(
            f"{SWITCH}=open asks for no token, and {TOKEN} is set. Set {SWITCH}=1, or unset it."
        )
    app = Starlette(
        routes=routes(token) if switch in ("1", "open") else [],
        exception_handlers={HTTPException: _refusal, Exception: _failure},
    )
    # A redirect would name the host as the server sees it, which behind a proxy is not its name.
    app.router.redirect_slashes = False
    return app


def routes(token: str) -> list[Route]:
    """Gives the API's routes; an empty token is not asked for."""
    return [
        Route(f"{VERSION}/enhance", guarded(enhance, token), methods=["POST"]),
        Route(f"{VERSION}/model", guarded(model, token), methods=["GET"]),
        Route(HEALTH, health, methods=["GET"]),
        Route(f"{VERSION}/openapi.json", openapi, methods=["GET"]),
    ]


def owns(path: str) -> bool:
    """Returns whether a path is the API's to answer."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def problem(code: str, sentence: str, status: int | None = None) -> JSONResponse:
    """An answer that says what is wrong."""
    headers = {
        "busy": {"Retry-After": str(RETRY_SECONDS)},
        "unauthorised": {"WWW-Authenticate": "Bearer"},
    }
    return JSONResponse(
        {"error": code, "message": sentence},
        status or STATUS.get(code, DEFAULT_STATUS),
        headers.get(code),
    )


async def _refusal(request: Request, error: Exception) -> Response:
    """Answers a path or a method that does not exist."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {})["Allow"]
        answer = problem("wrong_method", f"Send {allowed}, not {request.method}.", 405)
        answer.headers["Allow"] = allowed
        return answer
    sentence = f"There is no {request.url.path}. {VERSION}/openapi.json describes what there is."
    if not request.app.routes:
        sentence = f"The API is switched off. Start the server with {SWITCH}=1 and {TOKEN}."
    return problem("not_found", sentence, error.status_code)


async def _failure(request: Request, error: Exception) -> Response:
    # Starlette raises the error again, so that the server logs it.
    return problem("failed", "This is a fault of the server; its log says more.", 500)


def guarded(endpoint: Endpoint, token: str) -> Endpoint:
    """Asks for the token, unless it is empty."""

    async def answer(request: Request) -> Response:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Starlette decodes headers as Latin-1.
        is_right = hmac.compare_digest(given.strip().encode("latin-1"), token.encode())
        if token and not (scheme.lower() == "bearer" and is_right):
            return problem("unauthorised", "Send the header: Authorization: Bearer TOKEN")
        return await endpoint(request)

    return answer


@cache
def _threads() -> ThreadPoolExecutor:
    # Apart from asyncio's own, which has a few only and answers /model. Twice the places: whoever
    # encodes a result has left the queue.
    gate = service.shared_gate()
    return ThreadPoolExecutor(2 * (gate.slots + gate.max_waiting), "enhance")


async def enhance(request: Request) -> Response:
    """POST /api/v1/enhance: the body is the picture itself."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind not in TYPES | OTHER_NAMES:
        return problem("unsupported_type", f"Send {', '.join(sorted(TYPES))}, not {kind}.")
    gate = service.shared_gate()
    try:
        settings, file_format = _settings(request)
        data = await _body(request)
        # Before a thread is asked for: with all of them taken, a full queue would not be said.
        ticket = gate.enter()
        try:
            enhanced, content = await asyncio.get_running_loop().run_in_executor(
                _threads(), _enhanced, data, settings, file_format, ticket
            )
        finally:
            gate.leave(ticket)
    except intake.RefusedError as error:
        return problem(error.code, str(error))
    except ClientDisconnect:
        return Response(status_code=499)
    logger.info(
        "api: %s -> %s in %.2f s", enhanced.input_size, enhanced.output_size, enhanced.seconds
    )
    return Response(content, media_type=f"image/{file_format}", headers=_headers(enhanced))


def _enhanced(
    data: bytes, settings: service.Settings, file_format: service.Format, ticket: object
) -> tuple[service.Enhanced, bytes]:
    enhanced = service.enhance(data, settings, ticket=ticket)
    return enhanced, service.encode(enhanced, file_format)


async def model(request: Request) -> Response:
    """GET /api/v1/model: what serves, how good it is, and the limits."""
    catalogue = await asyncio.to_thread(serving.shared().catalogue)
    version, note = catalogue.champion, serving.stand_in_note(catalogue)
    return JSONResponse(
        {
            "name": "facesr" if version else serving.stand_in_label(),
            "version": version.number if version else None,
            "aliases": list(version.aliases) if version else [],
            "state": catalogue.state,
            "note": note and f"{note.title}: {note.text}",
            "run": version.page if version else None,
            "metrics": {
                name: {
                    faces: serving.quality(version, method, faces=faces)
                    for faces in ("faces", "selfies")
                }
                for name, method in (("model", serving.METHOD), ("bicubic", serving.BICUBIC))
            }
            if version
            else {},
            "limits": {
                "bytes": intake.MAX_BYTES,
                "pixels": intake.MAX_PIXELS,
                "longest_side": intake.MAX_SIDE,
                "shortest_side": intake.MIN_SIDE,
                "sizes": list(service.SIZES),
            },
        }
    )


async def health(request: Request) -> Response:
    """GET /api/v1/health: whether the server answers, and whether a model is loaded."""
    return JSONResponse({"status": "ok", "model_loaded": serving.shared().is_warm})


async def openapi(request: Request) -> Response:
    """GET /api/v1/openapi.json: this API for programs."""
    return JSONResponse(DESCRIPTION)


def _settings(request: Request) -> tuple[service.Settings, service.Format]:
    query = request.query_params
    unknown = set(query) - {"size", "format", "model", "strength", "faces"}
    if unknown:
        raise intake.RefusedError("bad_setting", f"Unknown: {', '.join(sorted(unknown))[:100]}.")
    try:
        size = int(query.get("size", service.SIZES[0]))
        strength = float(query.get("strength", 1))
    except ValueError:
        raise intake.RefusedError("bad_setting", "size and strength are numbers.") from None
    if size not in service.SIZES:
        sizes = ", ".join(map(str, service.SIZES))
        raise intake.RefusedError("bad_setting", f"size must be one of {sizes}.")
    if not 0 <= strength <= 1:
        raise intake.RefusedError("bad_setting", "strength must lie between 0 and 1.")
    file_format = query.get("format", "png")
    if file_format not in service.FORMATS:
        formats = ", ".join(service.FORMATS)
        raise intake.RefusedError("bad_setting", f"format must be one of {formats}.")
    faces = query.get("faces", service.FACES[0])
    if faces not in service.FACES:
        choices = ", ".join(service.FACES)
        raise intake.RefusedError("bad_setting", f"faces must be one of {choices}.")
    settings = service.Settings(
        size=size, model=query.get("model", serving.CHAMPION), strength=strength, faces=faces
    )
    return settings, file_format


async def _body(request: Request) -> bytes:
    """Reads the picture; what is too big is refused by its header, or as soon as it is."""
    too_big = intake.RefusedError(
        "too_big", f"The limit is {intake.MAX_BYTES // intake.MEGABYTE} MB."
    )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > intake.MAX_BYTES:
        raise too_big
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > intake.MAX_BYTES:
            raise too_big
    return bytes(data)


def _headers(enhanced: service.Enhanced) -> dict[str, str]:
    width, height = enhanced.input_size
    headers = {
        "X-Model-Name": enhanced.label,
        "X-Model-Version": str(enhanced.number or ""),
        "X-Model-Id": enhanced.model,
        "X-Input-Size": f"{width}x{height}",
        "Server-Timing": f"model;dur={enhanced.seconds * 1000:.0f}",
        "Cache-Control": "no-store",
    }
    if enhanced.remark:
        headers["X-Remark"] = enhanced.remark
    if enhanced.note:
        headers["X-Model-Note"] = f"{enhanced.note.title}: {enhanced.note.text}"
    return {
        name: value.encode("latin-1", "replace").decode("latin-1")
        for name, value in headers.items()
    }


def _problem_schema(sentence: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": sentence, "content": {"application/json": {"schema": schema}}}


def _parameter(name: str, sentence: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": sentence, "schema": schema}


_BINARY = {"schema": {"type": "string", "format": "binary"}}
DESCRIPTION: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {
        "title": "facesr",
        "version": __version__,
        "description": "Makes small face pictures larger and sharper. Details are estimated by a "
        "model and can differ from the real face: not for identification.",
    },
    "security": [{}, {"token": []}],
    "paths": {
        "/api/v1/enhance": {
            "post": {
                "summary": "Enhance one picture",
                "parameters": [
                    _parameter(
                        "size",
                        "Longer side of the result in pixels.",
                        {"type": "integer", "enum": list(service.SIZES), "default": 512},
                    ),
                    _parameter(
                        "format",
                        "Of the result.",
                        {"type": "string", "enum": list(service.FORMATS), "default": "png"},
                    ),
                    _parameter(
                        "model",
                        "facesr@champion, facesr/3 or bicubic.",
                        {"type": "string", "default": serving.CHAMPION},
                    ),
                    _parameter(
                        "strength",
                        "0 faithful, 1 crisp; models with two sets of weights only.",
                        {"type": "number", "minimum": 0, "maximum": 1, "default": 1},
                    ),
                    _parameter(
                        "faces",
                        "Whether faces are looked for and restored on their own: also beside the "
                        "whole picture, or only they, with bicubic around them.",
                        {"type": "string", "enum": list(service.FACES), "default": "off"},
                    ),
                ],
                "requestBody": {
                    "required": True,
                    "content": {kind: _BINARY for kind in sorted(TYPES)},
                },
                "responses": {
                    "200": {
                        "description": "The picture; X-Model-Name, X-Model-Version, X-Model-Id, "
                        "X-Input-Size and Server-Timing say how it came about, X-Remark what else "
                        "to know: that the file holds more images, that no face was found.",
                        "content": {kind: _BINARY for kind in sorted(TYPES)},
                    },
                    "401": _problem_schema("The token is missing or wrong."),
                    "413": _problem_schema("The body is larger than 10 MB."),
                    "415": _problem_schema("The body is of another type."),
                    "422": _problem_schema("The picture or a setting is not taken."),
                    "429": _problem_schema("Too many wait; Retry-After says for how long."),
                    "503": _problem_schema("No such model can be loaded, or memory ran out."),
                },
            }
        },
        "/api/v1/model": {
            "get": {
                "summary": "The model that serves, its quality, the limits",
                "responses": {"200": {"description": "JSON."}},
            }
        },
        "/api/v1/health": {
            "get": {
                "summary": "Whether the server answers and a model is loaded",
                "security": [{}],
                "responses": {"200": {"description": "JSON."}},
            }
        },
    },
    "components": {
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        "schemas": {
            "Problem": {
                "type": "object",
                "required": ["error", "message"],
                "properties": {"error": {"type": "string"}, "message": {"type": "string"}},
            }
        },
    },
}
