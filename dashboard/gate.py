"""One model, many visitors: a bounded, visible queue in front of it."""

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from intake import RefusedError

T = TypeVar("T")


class Gate:
    """Lets `slots` callers work at a time; the others wait in the order in which they came."""

    def __init__(
        self, *, slots: int = 1, max_waiting: int = 8, timeout_seconds: float = 60
    ) -> None:
        self.slots = slots
        self.max_waiting = max_waiting
        self.timeout_seconds = timeout_seconds
        self._changed = threading.Condition()
        self._line: list[object] = []

    def __len__(self) -> int:
        """How many callers work or wait."""
        return len(self._line)

    def enter(self) -> object:
        """Take the last place of the queue at once; `run` or `leave` gives it back.

        Raises:
            RefusedError: Too many wait.
        """
        ticket = object()
        with self._changed:
            if len(self._line) >= self.slots + self.max_waiting:
                raise _busy()
            self._line.append(ticket)
        return ticket

    def leave(self, ticket: object) -> None:
        """Give a place back, where it is not given back already."""
        with self._changed:
            if ticket in self._line:
                self._line.remove(ticket)
                self._changed.notify_all()

    def run(
        self,
        work: Callable[[], T],
        *,
        tell: Callable[[int], None] = lambda _: None,
        ticket: object = None,
    ) -> T:
        """Wait for a slot, works, and frees the slot however it ends.

        Args:
            tell: Called four times a second with the number of requests ahead. It may raise, which
                gives the place up: a visitor who left or pressed Cancel.
            ticket: The place in the queue, from `enter`; None takes one.

        Raises:
            RefusedError: Too many wait, or the slot did not come free in time.
        """
        ticket = ticket or self.enter()
        try:
            self._wait(ticket, tell)
            return work()
        finally:
            self.leave(ticket)

    def _wait(self, ticket: object, tell: Callable[[int], None]) -> None:
        end = time.monotonic() + self.timeout_seconds
        while True:
            with self._changed:
                ahead = self._line.index(ticket) - self.slots + 1
                if ahead <= 0:
                    return
            # Outside the lock: it may draw, and it may raise.
            tell(ahead)
            if time.monotonic() > end:
                raise _busy()
            with self._changed:
                if self._line.index(ticket) >= self.slots:
                    self._changed.wait(0.25)


def _busy() -> RefusedError:
    return RefusedError("busy", "Too many people are using this now. Try again in a moment.")
