"""The HTTP API beside the page: a picture in, a picture out.

Off unless FACESR_API=1. Where the server listens to other computers, FACESR_API_TOKEN has to be set
and every request to carry it.
"""

import asyncio
import hmac
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import intake
import service
import serving
from facesr import __version__
from gate import Busy

logger = logging.getLogger(__name__)

SWITCH, TOKEN = "FACESR_API", "FACESR_API_TOKEN"
RETRY_SECONDS = 5
LOOPBACK = ("127.0.0.1", "::1", "localhost")
TYPES = {f"image/{name}" for name in service.FORMATS}

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


def routes() -> list[Route]:
    """The API's routes; none where it is switched off."""
    if os.environ.get(SWITCH) != "1":
        return []
    return [
        Route("/api/v1/enhance", guarded(enhance), methods=["POST"]),
        Route("/api/v1/model", guarded(model), methods=["GET"]),
        Route("/api/v1/health", health, methods=["GET"]),
        Route("/api/v1/openapi.json", openapi, methods=["GET"]),
    ]


def problem(code: str, sentence: str) -> JSONResponse:
    """An answer that says what is wrong."""
    headers = {"Retry-After": str(RETRY_SECONDS)} if code == "busy" else None
    return JSONResponse(
        {"error": code, "message": sentence}, STATUS.get(code, DEFAULT_STATUS), headers
    )


def guarded(
    endpoint: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Asks for the token where one is set, and where others could come in without one."""

    async def answer(request: Request) -> Response:
        token = os.environ.get(TOKEN, "")
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        is_local = (request.scope.get("server") or ("",))[0] in LOOPBACK
        if not token and not is_local:
            return problem("unauthorised", f"Set {TOKEN} before others may use the API.")
        if token and not hmac.compare_digest(token.encode(), given.encode()):
            return problem("unauthorised", "Send the header: Authorization: Bearer TOKEN")
        return await endpoint(request)

    return answer


async def enhance(request: Request) -> Response:
    """POST /api/v1/enhance: the body is the picture itself."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind not in TYPES and kind != "application/octet-stream":
        return problem("unsupported_type", f"Send {', '.join(sorted(TYPES))}, not {kind}.")
    try:
        settings, file_format = _settings(request)
        data = await _body(request)
        enhanced = await asyncio.to_thread(
            service.enhance,
            data,
            settings,
            serving=serving.shared(),
            gate=service.shared_gate(),
        )
        content = await asyncio.to_thread(service.encode, enhanced, file_format)
    except (intake.PictureError, service.ServiceError) as error:
        return problem(error.code, str(error))
    except Busy:
        return problem("busy", "Too many requests are waiting. Try again in a moment.")
    except ClientDisconnect:
        return Response(status_code=499)
    logger.info(
        "api: %s -> %s in %.2f s", enhanced.input_size, enhanced.output_size, enhanced.seconds
    )
    return Response(content, media_type=f"image/{file_format}", headers=_headers(enhanced))


async def model(request: Request) -> Response:
    """GET /api/v1/model: what serves, how good it is, and the limits."""
    catalogue = await asyncio.to_thread(serving.shared().catalogue)
    version = catalogue.champion
    return JSONResponse(
        {
            "name": "facesr" if version else serving.stand_in_label(),
            "version": version.number if version else None,
            "aliases": list(version.aliases) if version else [],
            "state": catalogue.state,
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
        raise service.ServiceError("bad_setting", f"Unknown: {', '.join(sorted(unknown))[:100]}.")
    try:
        size = int(query.get("size", service.SIZES[0]))
        strength = float(query.get("strength", 1))
    except ValueError:
        raise service.ServiceError("bad_setting", "size and strength are numbers.") from None
    if size not in service.SIZES:
        sizes = ", ".join(map(str, service.SIZES))
        raise service.ServiceError("bad_setting", f"size must be one of {sizes}.")
    if not 0 <= strength <= 1:
        raise service.ServiceError("bad_setting", "strength must lie between 0 and 1.")
    file_format = query.get("format", "png")
    if file_format not in service.FORMATS:
        formats = ", ".join(service.FORMATS)
        raise service.ServiceError("bad_setting", f"format must be one of {formats}.")
    faces = query.get("faces", service.FACES[0])
    if faces not in service.FACES:
        choices = ", ".join(service.FACES)
        raise service.ServiceError("bad_setting", f"faces must be one of {choices}.")
    settings = service.Settings(
        size=size, model=query.get("model", serving.CHAMPION), strength=strength, faces=faces
    )
    return settings, file_format


async def _body(request: Request) -> bytes:
    """Reads the picture; what is too big is refused by its header, or as soon as it is."""
    too_big = intake.PictureError(
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


def _failure(sentence: str) -> dict[str, Any]:
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
                        "X-Input-Size and Server-Timing say how it came about.",
                        "content": {kind: _BINARY for kind in sorted(TYPES)},
                    },
                    "401": _failure("The token is missing or wrong."),
                    "413": _failure("The body is larger than 10 MB."),
                    "415": _failure("The body is of another type."),
                    "422": _failure("The picture or a setting is not taken."),
                    "429": _failure("Too many wait; Retry-After says for how long."),
                    "503": _failure("No such model can be loaded, or memory ran out."),
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
