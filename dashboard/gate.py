"""Bounded queue of visitors in front of one model."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from intake import RefusedError

T = TypeVar("T")


class Gate:
    """Queue that lets `slots` callers work at a time, first come, first served."""

    def __init__(
        self, *, slots: int = 1, max_waiting: int = 8, timeout_seconds: float = 60
    ) -> None:
        self.slots = slots
        self.max_waiting = max_waiting
        self.timeout_seconds = timeout_seconds
        self._changed = threading.Condition()
        self._line: list[object] = []

    def __len__(self) -> int:
        """Return the number of callers that work or wait."""
        return len(self._line)

    def enter(self) -> object:
        """Take the last place, for `run` or `leave`; raise RefusedError if the queue is full."""
        ticket = object()
        with self._changed:
            if len(self._line) >= self.slots + self.max_waiting:
                raise _busy()
            self._line.append(ticket)
        return ticket

    def leave(self, ticket: object) -> None:
        """Give a place up; do nothing if it is given up already."""
        with self._changed:
            if ticket in self._line:
                self._line.remove(ticket)
                self._changed.notify_all()

    def run(
        self,
        work: Callable[[], T],
        *,
        on_queue: Callable[[int], None] = lambda _: None,
        ticket: object = None,
    ) -> T:
        """Wait for a slot, work, and free the slot.

        Args:
            on_queue: Called four times a second with the number of requests ahead. It may raise,
                which gives the place up: a visitor left or pressed Cancel.
            ticket: Place in the queue, from `enter`; None takes one.

        Raises:
            RefusedError: The queue is full, or no slot became free in time.
        """
        ticket = ticket or self.enter()
        try:
            self._wait(ticket, on_queue)
            return work()
        finally:
            self.leave(ticket)

    def _wait(self, ticket: object, on_queue: Callable[[int], None]) -> None:
        end = time.monotonic() + self.timeout_seconds
        while True:
            with self._changed:
                ahead = self._line.index(ticket) - self.slots + 1
                if ahead <= 0:
                    return
            # Outside the lock: it may draw, and it may raise.
            on_queue(ahead)
            if time.monotonic() > end:
                raise _busy()
            with self._changed:
                if self._line.index(ticket) >= self.slots:
                    self._changed.wait(0.25)


def _busy() -> RefusedError:
    return RefusedError("busy", "Too many people are using this now. Try again in a moment.")
