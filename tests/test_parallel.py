import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from facesr.parallel import map_in_processes, map_in_threads

POOL = """
import os, sys, time
from facesr.parallel import map_in_processes

def work(item):
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    list(map_in_processes(work, range(8), workers=2))
"""


def test_results_come_in_the_order_of_the_items():
    items = list(range(100))
    assert list(map_in_processes(str, items, workers=1)) == [str(item) for item in items]
    assert list(map_in_threads(str, items)) == [str(item) for item in items]


def note(path):
    path.touch()
    time.sleep(0.02)


def test_a_consumer_that_stops_does_not_wait_for_what_is_queued(tmp_path):
    results = map_in_processes(note, [tmp_path / str(number) for number in range(128)], workers=2)
    next(results)
    results.close()
    # Two processes had begun a chunk of four each, and the next ones were handed to them.
    assert len(list(tmp_path.iterdir())) < 64


def test_the_processes_end_when_the_first_one_is_killed(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    source = str(Path(__file__).parents[1] / "src")
    with subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": source},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as first:
        worker = int(first.stdout.readline())
        first.send_signal(signal.SIGKILL)
    until = time.monotonic() + 30
    while time.monotonic() < until and Path(f"/proc/{worker}").exists():
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
