"""State of one visitor: waiting images, results, and the queue."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

import streamlit as st

import intake
import service
from downloads import Download

T = TypeVar("T")

# Of one visitor, as encoded bytes: the oldest results give way.
MAX_RESULTS = 40
MAX_RESULT_BYTES = 150 * intake.MEGABYTE


class InputImage(NamedTuple):
    """File from a visitor."""

    name: str
    data: bytes

    @property
    def key(self) -> str:
        """Key of name and content."""
        return hashlib.sha256(self.name.encode() + b"\0" + self.data).hexdigest()[:16]


class Job(NamedTuple):
    """Image in the queue."""

    image: InputImage
    settings: service.Settings


@dataclass
class Result:
    """Enhanced image and its drawings."""

    name: str
    key: str
    enhanced: service.Enhanced
    drawn: dict[tuple[object, ...], Any] = field(default_factory=dict)
    """Encoded images by content, so that a rerun encodes nothing again."""
    is_saved: bool = False
    """True after a download."""

    def once(self, what: tuple[object, ...], draw: Callable[[], T], *, most: int = 8) -> T:
        """Return a cached drawing, or draw it."""
        if what not in self.drawn:
            while len(self.drawn) >= most:
                del self.drawn[next(iter(self.drawn))]
            self.drawn[what] = draw()
        drawn: T = self.drawn[what]
        return drawn


class Failure(NamedTuple):
    """Image that was not enhanced, with the reason."""

    name: str
    sentence: str


@dataclass
class Work:
    """A visitor's queue and results in Streamlit's session."""

    extra: list[InputImage] = field(default_factory=list)
    """Pasted images."""
    queue: list[Job] = field(default_factory=list)
    total: int = 0
    """Images of the present batch."""
    finished: int = 0
    seconds: float = 0
    """Time spent on the finished ones."""
    results: list[Result] = field(default_factory=list)
    """Results, the newest first."""
    failures: list[Failure] = field(default_factory=list)
    dropped: int = 0
    """Number of deleted old results."""
    offered: deque[Download] = field(default_factory=lambda: deque(maxlen=4))
    """Downloads of the present page and of the one before the last run."""
    uploader: int = 0
    """Part of the uploader's key: a new one empties it."""

    def start(self, given: Iterable[InputImage], settings: service.Settings) -> int:
        """Queue images without result for these settings; return their number."""
        # A stand-in's result is made again once the chosen model is there.
        final = [r for r in self.results if r.enhanced.note is None]
        done = {(r.key, r.enhanced.settings) for r in final}
        self.queue = [Job(image, settings) for image in given if (image.key, settings) not in done]
        self.total, self.finished, self.seconds = len(self.queue), 0, 0.0
        self.failures, self.dropped = [], 0
        return len(self.queue)

    def cancel(self) -> None:
        """Empty the queue; finished results stay."""
        self.queue = []

    @property
    def is_unsaved(self) -> bool:
        """True if a reload would lose a result or a queue."""
        return bool(self.queue) or any(not result.is_saved for result in self.results)

    def next(self) -> Job | None:
        """Return the next image, which stays in the queue until it is `done`."""
        return self.queue[0] if self.queue else None

    def done(self, job: Job, outcome: service.Enhanced | str, started: float) -> None:
        """Record an image's result or the reason of a failure."""
        self.finished += 1
        self.seconds += time.monotonic() - started
        if isinstance(outcome, str):
            self.failures.append(Failure(job.image.name, outcome))
        else:
            self.results.insert(0, Result(job.image.name, job.image.key, outcome))
            while len(self.results) > MAX_RESULTS or (
                len(self.results) > 1
                and sum(len(r.enhanced.source) + len(r.enhanced.png) for r in self.results)
                > MAX_RESULT_BYTES
            ):
                self.results.pop()
                self.dropped += 1
        if self.queue and self.queue[0] == job:
            self.queue.pop(0)

    def remove(self, result: Result) -> None:
        """Forget a result, also what can be downloaded of it."""
        self.results.remove(result)
        self.offered.clear()

    def clear(self) -> None:
        """Forget every image."""
        self.extra, self.queue, self.results, self.failures = [], [], [], []
        self.offered.clear()
        self.total = self.finished = self.dropped = 0
        self.uploader += 1


def work() -> Work:
    """Return the present visitor's state."""
    if "work" not in st.session_state:
        st.session_state["work"] = Work()
    found: Work = st.session_state["work"]
    return found
