"""Downloads that can be killed at any moment: parallel, resumed, verified, patient.

A file lies under `.NAME.part` until size and md5 are right, and is renamed then. What is under its
own name is whole; what is not goes on where it stopped, through HTTP ranges (RFC 9110, section 14).
The part is locked while it is written: of two processes that want one file, one waits.
"""

import hashlib
import itertools
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import requests
from tqdm import tqdm

from facesr.download import answers
from facesr.download.answers import PermanentError, TemporaryError
from facesr.errors import DataError
from facesr.files import written_whole

try:
    import fcntl
except ImportError:  # Windows has no such locks; two processes must not share a folder there.
    fcntl = None  # type: ignore[assignment]

CHUNK = 1 << 16  # bytes
LONGEST_WAIT = 300.0  # seconds; a host that asks for more is asked again too early
# A host that fails so many files will fail the others too.
MOST_FAILURES = 10
HASH_SUFFIX = ".sha256"


class RemoteFile(NamedTuple):
    """What to download, and how to know it."""

    url: str
    path: Path
    size: int | None
    """In bytes; None where nobody has published it."""
    md5: str | None
    """None trusts the first download, writes its SHA-256 beside it and refuses a change."""


def download(
    files: Sequence[RemoteFile],
    *,
    label: str,
    workers: int = 8,
    attempts: int = 7,
    timeout_seconds: float = 30.0,
    back_off_seconds: float = 1.0,
) -> None:
    """Makes every file be there, whole.

    Args:
        files: Files that are there already and fit are left alone.
        label: For the progress bar.
        workers: Files at the same time.
        attempts: For each file; every attempt goes on where the last one stopped.
        timeout_seconds: Without an answer or another byte.
        back_off_seconds: Before the second attempt; doubles each time, with jitter of a half.

    Raises:
        DataError: The disk is too small, the folder cannot be written, or files could not be had;
            the message tells how many, and why the first could not. Running again goes on.
    """
    _Downloader(label, workers, attempts, timeout_seconds, back_off_seconds).run(files)


class _Downloader:
    def __init__(
        self, label: str, workers: int, attempts: int, timeout: float, back_off: float
    ) -> None:
        self.label = label
        self.workers = workers
        self.attempts = attempts
        self.timeout = timeout
        self.back_off = back_off
        self.local = threading.local()
        self.stopped = threading.Event()
        # Of time.monotonic(): a host that says "later" says so to all threads.
        self.not_before = 0.0

    def run(self, files: Sequence[RemoteFile]) -> None:
        missing = self._missing(files)
        if not missing:
            return
        try:
            for folder in {file.path.parent for file in missing}:
                folder.mkdir(parents=True, exist_ok=True)
            self._check_disk(missing)
        except OSError as error:
            raise _unwritable(missing[0].path.parent, error) from error
        total = sum(file.size for file in missing if file.size) or None
        failures: list[tuple[RemoteFile, str]] = []
        with (
            tqdm(
                total=total,
                initial=min(total or 0, sum(_part_size(file) for file in missing)),
                unit="B",
                unit_scale=True,
                desc=self.label,
                disable=None,
            ) as bar,
            ThreadPoolExecutor(self.workers) as pool,
        ):
            futures = {pool.submit(self._fetch, file, bar.update): file for file in missing}
            try:
                for done in as_completed(futures):
                    try:
                        done.result()
                    except PermanentError as fault:
                        failures.append((futures[done], str(fault)))
                    if len(failures) == MOST_FAILURES:
                        break
            except OSError as error:
                raise _unwritable(futures[done].path.parent, error) from error
            finally:
                self.stopped.set()
                pool.shutdown(wait=True, cancel_futures=True)
        if failures:
            file, reason = failures[0]
            more = f" {len(failures) - 1} more failed." if len(failures) > 1 else ""
            raise DataError(
                f"{file.path.name} could not be had from {file.url}: {reason}.{more} Run again to "
                "go on; or wait, name a mirror (url) or a local copy (path) in params.yaml."
            )

    def _missing(self, files: Sequence[RemoteFile]) -> list[RemoteFile]:
        with ThreadPoolExecutor(self.workers) as pool:
            checked = tqdm(
                pool.map(_is_whole, files),
                total=len(files),
                unit="file",
                desc="verify",
                disable=True if len(files) < 2 else None,
            )
            return [file for file, whole in zip(files, checked, strict=True) if not whole]

    def _check_disk(self, missing: Sequence[RemoteFile]) -> None:
        needed = sum(max(0, (file.size or 0) - _part_size(file)) for file in missing)
        folder = missing[0].path.parent
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise DataError(
                f"{len(missing)} files of {needed / 1e9:.2f} GB are to be downloaded and the disk "
                f"of {folder} has {free / 1e9:.2f} GB left. Free some space, or lower count in "
                "params.yaml."
            )

    def _fetch(self, file: RemoteFile, advance: Callable[[int], object]) -> None:
        with self._locked(file) as is_missing:
            if is_missing:
                self._try(file, advance)

    @contextmanager
    def _locked(self, file: RemoteFile) -> Iterator[bool]:
        """Yield whether the file is still missing, once nobody else downloads it."""
        part = _part(file)
        while not self.stopped.is_set():
            descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                if _lock(descriptor) and _is_at(descriptor, part):
                    yield not _is_whole(file)
                    return
            finally:
                if not _part_size(file) and _lock(descriptor) and _is_at(descriptor, part):
                    part.unlink()
                os.close(descriptor)
            self.stopped.wait(0.1)
        yield False

    def _try(self, file: RemoteFile, advance: Callable[[int], object]) -> None:
        reason = "the download was stopped"
        for attempt in range(self.attempts):
            if self.stopped.is_set():
                return None
            try:
                return self._attempt(file, file.url, advance, may_confirm=True)
            except (TemporaryError, requests.RequestException) as fault:
                reason = answers.what_fault(fault)
                wait = self.back_off * 2**attempt * random.uniform(0.5, 1.5)
                after = getattr(fault, "after", None)
                if after is not None:
                    wait = min(after, LONGEST_WAIT)
                    self.not_before = max(self.not_before, time.monotonic() + wait)
            if attempt + 1 < self.attempts:
                self.stopped.wait(max(wait, self.not_before - time.monotonic()))
        raise PermanentError(f"{reason} ({self.attempts} attempts)")

    def _attempt(
        self, file: RemoteFile, url: str, advance: Callable[[int], object], *, may_confirm: bool
    ) -> None:
        part = _part(file)
        have = _part_size(file)
        if have and have == file.size:
            return _accept(file, advance)
        headers = {"Accept-Encoding": "identity"}
        validator = _validator(file)
        if have and file.md5 is None and not validator:
            # Without a checksum, nothing would tell that the rest belongs to another version.
            os.truncate(part, 0)
            advance(-have)
            have = 0
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        with self._session().get(
            url, headers=headers, stream=True, timeout=self.timeout
        ) as response:
            if response.status_code == 416:
                # The host has no such byte: the part is longer than the file.
                advance(-have)
                os.truncate(part, 0)
                raise TemporaryError("the host does not go on where the download stopped", 0)
            answers.check_status(response)
            chunks = response.iter_content(CHUNK)
            first = next(chunks, b"")
            if answers.is_page(response, first):
                page = answers.read_page(first, chunks)
                confirmed = answers.confirmation(page, str(response.url)) if may_confirm else None
                if not confirmed:
                    raise PermanentError(answers.what_page(page))
            else:
                confirmed = None
                offset = answers.offset(response)
                if offset not in (0, have):
                    raise TemporaryError("the host goes on at another place than it was asked for")
                if offset != have:
                    # The host ignores ranges, or has another version now.
                    advance(-have)
                    have = 0
                if file.md5 is None:
                    answers.check_length(response)
                    with written_whole(_validator_file(file)) as beside:
                        beside.write_text(answers.validator(response))
                with part.open("ab" if have else "wb") as target:
                    for chunk in itertools.chain([first], chunks):
                        if self.stopped.is_set():
                            return None
                        target.write(chunk)
                        advance(len(chunk))
        if confirmed:
            return self._attempt(file, confirmed, advance, may_confirm=False)
        return _accept(file, advance)

    def _session(self) -> requests.Session:
        if not hasattr(self.local, "session"):
            self.local.session = requests.Session()
            self.local.session.headers["User-Agent"] = "facesr"
        session: requests.Session = self.local.session
        return session


def _part(file: RemoteFile) -> Path:
    return file.path.with_name(f".{file.path.name}.part")


def _part_size(file: RemoteFile) -> int:
    try:
        return _part(file).stat().st_size
    except FileNotFoundError:
        return 0


def _lock(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file still has that name: another process may have renamed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _is_whole(file: RemoteFile) -> bool:
    if not file.path.is_file():
        return False
    if file.md5 is not None:
        return file.size in (None, file.path.stat().st_size) and (
            file_digest(file.path, "md5") == file.md5
        )
    known = _hash_file(file)
    return known.is_file() and known.read_text().strip() == file_digest(file.path, "sha256")


def _accept(file: RemoteFile, advance: Callable[[int], object]) -> None:
    part = _part(file)
    size = part.stat().st_size
    if file.size is not None and size < file.size:
        raise TemporaryError(f"{size} of {file.size} bytes came")
    fault = ""
    if file.size is not None and size > file.size:
        fault = f"{size} bytes came, {file.size} belong to it"
    elif file.md5 is not None and (md5 := file_digest(part, "md5")) != file.md5:
        fault = f"what comes has the md5 {md5}, not {file.md5}"
    if fault:
        os.truncate(part, 0)
        advance(-size)
        raise TemporaryError(fault)
    _validator_file(file).unlink(missing_ok=True)
    if file.md5 is None:
        known, sha256 = _hash_file(file), file_digest(part, "sha256")
        if known.is_file() and known.read_text().strip() != sha256:
            os.truncate(part, 0)
            raise PermanentError(
                f"it has changed since the first download (SHA-256 {sha256}, {known.name} says "
                "otherwise); delete that file if you trust the new one"
            )
        with written_whole(known) as beside:
            beside.write_text(f"{sha256}\n")
    part.replace(file.path)


def _validator_file(file: RemoteFile) -> Path:
    return file.path.with_name(f".{file.path.name}.version")


def _validator(file: RemoteFile) -> str:
    path = _validator_file(file)
    return path.read_text() if path.is_file() else ""


def _hash_file(file: RemoteFile) -> Path:
    return file.path.with_name(file.path.name + HASH_SUFFIX)


def file_digest(path: Path, algorithm: str) -> str:
    """Hashes a file; returns hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _unwritable(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"{folder} cannot be written ({error.strerror or error}). Free some space, or name another "
        "folder (path) in params.yaml; what has come so far is kept."
    )
