"""One slot, a bounded queue, and no place that stays taken."""

import threading
import time

import pytest
from conftest import wait_until

from gate import Gate
from intake import RefusedError
from serving import Serving


class LeftError(Exception):
    """A visitor who goes away."""


def visitors(gate, count, release):
    """Let visitors queue one after the other; return each one's positions, and how each ended."""
    positions = [[] for _ in range(count)]
    ended = [""] * count

    def visit(number):
        try:
            ended[number] = gate.run(
                lambda: release.wait(20) and "done", on_queue=positions[number].append
            )
        except RefusedError:
            ended[number] = "busy"

    threads = []
    for number in range(count):
        threads.append(threading.Thread(target=visit, args=(number,)))
        threads[-1].start()
        wait_until(lambda n=number: len(gate) > n or ended[n] == "busy")
    return positions, ended, threads


def test_five_visitors_queue_in_their_order_and_the_rest_is_turned_away():
    gate, release = Gate(max_waiting=2), threading.Event()
    positions, ended, threads = visitors(gate, 5, release)
    wait_until(lambda: bool(positions[1]) and bool(positions[2]))
    assert positions[0] == []
    assert positions[1][0] == 1
    assert positions[2][0] == 2
    assert ended[3:] == ["busy", "busy"]
    release.set()
    for thread in threads:
        thread.join()
    assert ended[:3] == ["done"] * 3
    assert len(gate) == 0


def test_a_visitor_who_leaves_lets_the_next_move_up():
    gate, release = Gate(), threading.Event()
    _, _, threads = visitors(gate, 1, release)

    def leave(_):
        raise LeftError

    with pytest.raises(LeftError):
        gate.run(lambda: None, on_queue=leave)
    assert len(gate) == 1
    release.set()
    threads[0].join()


def test_an_exception_frees_the_slot():
    gate = Gate()
    with pytest.raises(ZeroDivisionError):
        gate.run(lambda: 1 / 0)
    assert gate.run(lambda: "free") == "free"


def test_a_wait_that_lasts_too_long_ends():
    gate, release = Gate(timeout_seconds=0), threading.Event()
    _, _, threads = visitors(gate, 1, release)
    with pytest.raises(RefusedError, match="Too many people"):
        gate.run(lambda: None)
    release.set()
    threads[0].join()


def test_a_page_that_asks_for_the_model_thrice_waits_once(project, registry, monkeypatch):
    asked, release = [], threading.Event()

    def slow(root):
        asked.append(root)
        release.wait(20)
        return []

    monkeypatch.setattr("facesr.tracking.list_versions", slow)
    serving = Serving(project)
    assert serving.peek(wait_seconds=0.3) is None
    start = time.monotonic()
    assert [serving.peek(wait_seconds=0.3) for _ in range(20)] == [None] * 20
    assert time.monotonic() - start < 3
    release.set()
    assert serving.peek(wait_seconds=20).state == "empty"
    assert len(asked) == 1
