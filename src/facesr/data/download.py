"""Download of a set of files: several at a time, each verified before it gets its name.

Correct files are not downloaded again: an interrupted set continues with the missing ones.
"""

import hashlib
import re
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import requests
from tqdm import tqdm
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from facesr.errors import DataError
from facesr.files import as_write_error, atomic_write, digest

WORKERS = 8  # files at the same time; a session of requests keeps up to ten connections
TIMEOUT = 30.0  # seconds without an answer or another byte
# Seven attempts for each file, at most five minutes apart whatever the host asks for.
RETRY = Retry(6, backoff_factor=1, backoff_max=60, backoff_jitter=1, retry_after_max=300)
# 403 is how Google Drive answers too many requests.
PASSING = (403, 408, 425, 429, 500, 502, 503, 504)
DRIVE_REFUSES = r"drive\.google\.com\S* (the host answers 4(03|29)|a web page)"
MOST_FAILURES = 10  # a host that fails so many files fails the others too


class RemoteFile(NamedTuple):
    """File to download; size (bytes) and md5 are None if nobody has published them."""

    url: str
    path: Path
    size: int | None
    md5: str | None


def download(files: Sequence[RemoteFile], *, folder: Path, label: str) -> None:
    """Download the files that are missing or wrong.

    Args:
        files: Files with paths in `folder`.
        folder: Place for users' copies of files that a host refuses.

    Raises:
        DataError: The disk is too small or cannot be written, or downloads failed; the message has
            their number and the first reason.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        right = tqdm(pool.map(_is_right, files), "verify", len(files), disable=None)
        missing = [file for file, is_right in zip(files, right, strict=True) if not is_right]
    if not missing:
        return
    needed = sum(file.size or 0 for file in missing)
    failures: list[str] = []
    stopped = threading.Event()
    with as_write_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if needed > (free := shutil.disk_usage(folder).free):
            raise DataError(
                f"{len(missing)} files of {needed / 1e9:.2f} GB are missing in {folder}, and its "
                f"disk has {free / 1e9:.2f} GB left. Free some, or lower count in params.yaml."
            )
        with (
            tqdm(desc=label, total=needed or None, unit="B", unit_scale=True, disable=None) as bar,
            requests.Session() as session,
            ThreadPoolExecutor(WORKERS) as pool,
        ):
            session.headers.update({"User-Agent": "facesr", "Accept-Encoding": "identity"})
            running = [pool.submit(_fetch, file, session, bar, stopped) for file in missing]
            try:
                for done in as_completed(running):
                    if failure := done.result():
                        failures.append(failure)
                    if len(failures) == MOST_FAILURES:
                        break
            finally:
                stopped.set()
                pool.shutdown(cancel_futures=True)
    if failures:
        more = f" {len(failures) - 1} more failed." if len(failures) > 1 else ""
        refused = re.search(DRIVE_REFUSES, " ".join(failures))
        drive = " Google Drive refuses mass downloads." if refused else ""
        raise DataError(
            f"{failures[0]}.{more}{drive} Run again to fetch only what is missing, put a copy into "
            f"{folder}, or name a mirror (url) in params.yaml."
        )


def _is_right(file: RemoteFile) -> bool:
    if not file.path.is_file() or file.size not in (None, file.path.stat().st_size):
        return False
    return file.md5 is None or digest(file.path, "md5") == file.md5


def _fetch(file: RemoteFile, session: Any, bar: Any, stopped: threading.Event) -> str:
    """Download a file; return the reason of a failure, or ""."""
    retry = RETRY
    while not stopped.is_set():
        try:
            _attempt(file, session, bar, stopped)
            break
        except requests.RequestException as error:
            # An error in an address is a ValueError too.
            lasts, answer = isinstance(error, ValueError), error.response
            if answer is not None:
                answer.close()
                lasts = answer.status_code not in PASSING
            if lasts or not retry.total:
                broken = isinstance(error, requests.exceptions.ChunkedEncodingError)
                reason = "the connection broke off in the middle" if broken else error
                source = f"{file.path.name} could not be downloaded from {file.url}"
                return f"{source}: {reason} (attempt {len(retry.history) + 1})"
            retry = retry.increment("GET", file.url, error=error)
            wait = retry.get_backoff_time()
            if answer is not None:
                with suppress(InvalidHeader):
                    wait = retry.get_retry_after(answer) or wait
            stopped.wait(wait)
    return ""


def _attempt(file: RemoteFile, session: Any, bar: Any, stopped: threading.Event) -> None:
    md5, size = hashlib.md5(), 0
    try:
        with _open(session, file.url) as response, atomic_write(file.path) as part:
            with part.open("wb") as target:
                for chunk in response.iter_content(1 << 16):
                    if stopped.is_set():
                        raise requests.RequestException("stopped")
                    size += target.write(chunk)
                    bar.update(len(chunk))
                    md5.update(chunk)
            if file.md5 not in (None, md5.hexdigest()):
                raise requests.RequestException(f"its md5 is {md5.hexdigest()}, not {file.md5}")
    except BaseException:
        bar.update(-size)
        raise


def _open(session: Any, url: str, *, may_confirm: bool = True) -> Any:
    """Return the response with the file; confirm Google Drive's question about viruses."""
    response = session.get(url, stream=True, timeout=TIMEOUT)
    is_page = "text/html" in response.headers.get("Content-Type", "")
    page = response.text if is_page else ""
    title = " ".join("".join(re.findall(r"<title>(.*?)</title>", page, re.DOTALL)).split())
    if response.status_code >= 400:
        about = f"the host answers {response.status_code} {response.reason} {title}".rstrip()
        raise requests.HTTPError(about, response=response)
    if is_page and may_confirm:
        from gdown.download import get_url_from_gdrive_confirmation
        from gdown.exceptions import FileURLRetrievalError

        with suppress(FileURLRetrievalError):
            return _open(session, get_url_from_gdrive_confirmation(page), may_confirm=False)
    if is_page:
        raise requests.HTTPError(f"a web page arrives instead ({title})", response=response)
    return response
