"""What a host's answer means: the file, a part of it, later, never, or a page for people."""

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html.parser import HTMLParser
from urllib.parse import urlencode, urljoin

import requests

# A page longer than this is no answer about quotas.
LONGEST_PAGE = 1 << 20  # bytes


class TemporaryError(Exception):
    """Worth another attempt, after `after` seconds where the host says so."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class PermanentError(Exception):
    """Another attempt would give the same."""


def check_status(response: requests.Response) -> None:
    """Raises for any status but success."""
    status = response.status_code
    if status in (408, 425, 429) or status >= 500:
        raise TemporaryError(
            f"the host answers {status} {response.reason}",
            _retry_after(response.headers.get("Retry-After", "")),
        )
    if status not in (200, 206):
        raise PermanentError(f"the host answers {status} {response.reason}")


def _retry_after(text: str) -> float | None:
    """Seconds or a date (RFC 9110, section 10.2.3)."""
    if text.strip().isdigit():
        return float(text)
    with suppress(ValueError):
        when = parsedate_to_datetime(text)
        return max(0.0, (when - datetime.now(UTC)).total_seconds())
    return None


def offset(response: requests.Response) -> int:
    """The position in the file from which the answer goes on."""
    if response.status_code != 206:
        return 0
    found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    if not found:
        raise TemporaryError("the host does not say which part it sends")
    return int(found[1])


def check_length(response: requests.Response) -> None:
    """Raises where an answer that is cut off would look like a whole one."""
    chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    if not chunked and "Content-Length" not in response.headers:
        raise PermanentError("the host does not say how long it is, and nobody has a checksum")


def validator(response: requests.Response) -> str:
    """What names this version of the file in `If-Range` (RFC 9110, section 13.1.5), or nothing."""
    tag = response.headers.get("ETag", "")
    return "" if tag.startswith("W/") else tag


def is_page(response: requests.Response, first: bytes) -> bool:
    """Tells a web page from the file, whatever the status."""
    start = first[:512].lstrip().lower()
    return "text/html" in response.headers.get("Content-Type", "") or start.startswith(
        (b"<!doctype html", b"<html")
    )


def read_page(first: bytes, chunks: Iterator[bytes]) -> str:
    """The text of a page, or its beginning."""
    page = first
    for chunk in chunks:
        page += chunk
        if len(page) > LONGEST_PAGE:
            break
    return page.decode("utf-8", errors="replace")


def confirmation(page: str, address: str) -> str | None:
    """The address behind Google Drive's question whether to skip the virus scan, if it is that."""
    parsed = _Page(page)
    for link in parsed.links:
        if "export=download" in link:
            return urljoin(address, link)
    if "confirm" in parsed.inputs and parsed.action:
        return f"{urljoin(address, parsed.action)}?{urlencode(parsed.inputs)}"
    return None


def what_fault(fault: Exception) -> str:
    """Says in words why an attempt failed."""
    if isinstance(fault, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off in the middle"
    return str(fault) or type(fault).__name__


def what_page(page: str) -> str:
    """Says in words what a page is."""
    title = " ".join(_Page(page).title.split())
    if "quota exceeded" in page.lower() or "too many users" in page.lower():
        return f"the host's quota for it is used up for today (page: {title or 'no title'})"
    return f"a web page came instead (title: {title or 'none'})"


class _Page(HTMLParser):
    """Links and forms of a page, and its title."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.action = ""
        self.inputs: dict[str, str] = {}
        self.title = ""
        self._in_title = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "a":
            self.links.append(values.get("href", ""))
        elif tag == "form":
            self.action = values.get("action", "")
        elif tag == "input" and values.get("name"):
            self.inputs[values["name"]] = values.get("value", "")
        self._in_title = tag == "title"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title += data
            self._in_title = False
