"""HTTP API beside the page: an image in, an image out.

FACESR_API=1 switches it on with FACESR_API_TOKEN, or the content of FACESR_API_TOKEN_FILE, required
in every request; FACESR_API=open serves everybody who reaches the server.
"""

import hmac
import logging
import os
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, BeforeValidator
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import intake
import service
import serving
from facesr import __version__, paths
from facesr.errors import ParamsError

logger = logging.getLogger(__name__)

SWITCH, TOKEN = "FACESR_API", "FACESR_API_TOKEN"
TOKEN_FILE = f"{TOKEN}_FILE"
PREFIX, VERSION = "/api", "/api/v1"
HEALTH = f"{VERSION}/health"
RETRY_SECONDS = 5
TYPES = sorted(f"image/{name}" for name in service.FORMATS)
# Not registered, and sent by many programs.
OTHER_NAMES = ["image/jpg", "application/octet-stream"]

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

_IMAGE = {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in TYPES}}

router = APIRouter(prefix=VERSION)


class Wanted(service.Settings):
    """Query of an enhancement."""

    size: Annotated[
        service.Size, BeforeValidator(lambda text: int(text) if str(text).isdecimal() else text)
    ] = service.SIZES[0]
    """Longer side of the result in pixels."""
    format: service.Format = "png"
    """Format of the result."""


class Problem(BaseModel):
    """Error as a code for programs and a sentence for people."""

    error: str
    message: str


def application() -> FastAPI:
    """Build the API for every path below PREFIX; raise ParamsError if its access is not set."""
    switch, token = os.environ.get(SWITCH, ""), _token()
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
    is_on = switch in ("1", "open")
    app = FastAPI(
        title="facesr",
        version=__version__,
        description="Makes small face images larger and sharper. Details are estimated by a model "
        "and can differ from the real face: not for identification.",
        openapi_url=f"{VERSION}/openapi.json" if is_on else None,
        # These pages load scripts from another host.
        docs_url=None,
        redoc_url=None,
        # A redirect would name the host as the server sees it, not as a proxy before it does.
        redirect_slashes=False,
        exception_handlers=dict.fromkeys(
            (
                intake.RefusedError,
                RequestValidationError,
                HTTPException,
                ClientDisconnect,
                # Starlette raises any other again, so that the server logs it.
                Exception,
            ),
            _answer,
        ),
    )
    if is_on:
        app.include_router(router, dependencies=[_guard(token)] if token else [])
        app.get(HEALTH)(health)
        app.head(HEALTH, include_in_schema=False)(health)
    return app


def owns(path: str) -> bool:
    """Return whether a path belongs to the API."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def problem(code: str, sentence: str, status: int | None = None) -> JSONResponse:
    """Return the response to an error."""
    headers = {
        "busy": {"Retry-After": str(RETRY_SECONDS)},
        "unauthorised": {"WWW-Authenticate": "Bearer"},
    }
    return JSONResponse(
        Problem(error=code, message=sentence).model_dump(),
        status or STATUS.get(code, DEFAULT_STATUS),
        headers.get(code),
    )


async def _answer(request: Request, error: Exception) -> Response:
    match error:
        case intake.RefusedError():
            return problem(error.code, str(error))
        case RequestValidationError():
            first = error.errors()[0]
            return problem("bad_setting", f"{str(first['loc'][-1])[:40]}: {first['msg']}.")
        case ClientDisconnect():
            return Response(status_code=499)
        case HTTPException(status_code=405):
            # FastAPI names the methods of the first of several routes.
            allowed = "POST" if error.headers == {"Allow": "POST"} else "GET, HEAD"
            answer = problem("wrong_method", f"Send {allowed}, not {request.method}.", 405)
            answer.headers["Allow"] = allowed
            return answer
        case HTTPException():
            sentence = f"The API is switched off. Start the server with {SWITCH}=1 and {TOKEN}."
            if described := request.app.openapi_url:
                sentence = f"There is no {request.url.path}. {described} describes what there is."
            return problem("not_found", sentence, error.status_code)
    return problem("failed", "This is a fault of the server; its log says more.", 500)


def _token() -> str:
    path = os.environ.get(TOKEN_FILE)
    if not path:
        return os.environ.get(TOKEN, "").strip()
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{TOKEN_FILE} names {path}, which cannot be read. Check it.") from error


def _guard(token: str) -> Any:
    bearer = HTTPBearer(auto_error=False)

    async def check(given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> None:
        # Starlette decodes headers as Latin-1.
        sent = given.credentials.strip().encode("latin-1") if given else b""
        if not hmac.compare_digest(sent, token.encode()):
            raise intake.RefusedError(
                "unauthorised", "Send the header: Authorization: Bearer TOKEN"
            )

    return Depends(check)


@router.post(
    "/enhance",
    response_class=Response,
    responses={
        200: _IMAGE,
        **{status: {"model": Problem} for status in (*STATUS.values(), DEFAULT_STATUS)},
    },
    openapi_extra={"requestBody": {"required": True, **_IMAGE}},
)
async def enhance(request: Request, wanted: Annotated[Wanted, Query()]) -> Response:
    """Enhance one image, which is the whole body.

    X-Model-Name, X-Model-Version, X-Model-Id, X-Input-Size and Server-Timing describe the work;
    X-Remark says that the file holds more images, or that no face was found.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and kind not in (*TYPES, *OTHER_NAMES):
        raise intake.RefusedError("unsupported_type", f"Send {', '.join(TYPES)}, not {kind}.")
    data = await _body(request)
    gate = service.shared_gate()
    # Before a thread is asked for: with all of them taken, a full queue would not be said.
    ticket = gate.enter()
    try:
        return await run_in_threadpool(_enhanced, data, wanted, ticket)
    finally:
        gate.leave(ticket)


def _enhanced(data: bytes, wanted: Wanted, ticket: object) -> Response:
    enhanced = service.enhance(data, wanted, ticket=ticket)
    logger.info(
        "api: %s -> %s in %.2f s", enhanced.input_size, enhanced.output_size, enhanced.seconds
    )
    return Response(
        service.encode(enhanced, wanted.format),
        media_type=f"image/{wanted.format}",
        headers=_headers(enhanced),
    )


@router.head("/model", include_in_schema=False)
@router.get("/model", responses={401: {"model": Problem}})
def model() -> dict[str, Any]:
    """Return the model that serves, its quality, and the limits."""
    catalogue = serving.shared().catalogue()
    version, note = catalogue.champion, serving.stand_in_note(catalogue)
    return {
        "name": "facesr" if version else serving.stand_in_label(),
        "version": version.number if version else None,
        "aliases": list(version.aliases) if version else [],
        "state": catalogue.state,
        "note": note and str(note),
        "run": version.page if version else None,
        "metrics": {
            name: {faces: psnr(version, faces=faces) for faces in paths.EVALUATION_SETS}
            for name, psnr in (("model", serving.quality), ("bicubic", serving.bicubic_psnr))
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


async def health() -> dict[str, Any]:
    """Return that the server answers, and whether a model is loaded."""
    return {"status": "ok", "model_loaded": serving.shared().is_warm}


async def _body(request: Request) -> bytes:
    """Read the image; too large ones are refused by their header, or while they are read."""
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
        "X-Remark": enhanced.remark,
        "X-Model-Note": str(enhanced.note or ""),
    }
    return {
        name: value.encode("latin-1", "replace").decode("latin-1")
        for name, value in headers.items()
        if value or name == "X-Model-Version"
    }
