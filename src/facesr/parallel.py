"""Equal work on many items, on all cores, in order."""

import multiprocessing
import os
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# Starting a second process costs as much as this many images.
ITEMS_PER_PROCESS = 32


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def map_in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], *, workers: int | None = None
) -> Generator[Result, None, None]:
    """Apply `function` to every item and yield the results in the order of the items.

    Memory is constant: the work is at most one portion ahead of the caller.

    Args:
        function: Can be pickled, as its items and results.
        workers: Processes; None takes one for each core, fewer for little work.
    """
    if workers is None:
        workers = min(cores(), len(items) // ITEMS_PER_PROCESS)
    if workers < 2:
        yield from map(function, items)
        return
    # Forked children would inherit PyTorch's threads and locks.
    context = multiprocessing.get_context("spawn")
    portion = workers * ITEMS_PER_PROCESS
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_process) as pool:
        try:
            ahead = pool.map(function, items[:portion], chunksize=4)
            for start in range(portion, len(items) + portion, portion):
                # The next portion is queued before this one is handed out, so that nobody waits.
                now = ahead
                ahead = pool.map(function, items[start : start + portion], chunksize=4)
                yield from now
        finally:
            # Nobody waits for what is queued and will not be asked for.
            pool.shutdown(cancel_futures=True)


def _start_process() -> None:
    # Each process has a core of its own; more threads would only wait for each other.
    import torch

    torch.set_num_threads(1)
    if not sys.warnoptions:
        # Libraries warn programmers; `cli.run` hides it in the first process.
        warnings.simplefilter("ignore")
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A pool whose first process was killed would wait for work for ever.
    parent = multiprocessing.parent_process()
    assert parent is not None, "runs in the processes of a pool only"
    parent.join()
    os._exit(1)


def map_in_threads(
    function: Callable[[Item], Result], items: Sequence[Item]
) -> Generator[Result, None, None]:
    """Apply `function` in threads, in order, for work that waits or releases Python's lock."""
    with ThreadPoolExecutor(cores()) as pool:
        yield from pool.map(function, items)
