"""Cost of ten thousand and seventy thousand files, from a folder to packs and in DVC.

Run: make bench-data, on an idle computer. Each part runs in a process of its own, whose memory is
its own. `--files` and `--dvc-files` make a shorter run.
"""

import argparse
import hashlib
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.data import fetch_source, pairs, timed, write_source
from facesr.config import Sizes, load_params
from facesr.data.manifest import Entry, check_folder, read_manifest, write_manifest
from facesr.reports import markdown_table


def main() -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="of the run end to end")
    parser.add_argument("--dvc-files", type=int, nargs="*", default=[1_600, 70_000])
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        end_to_end(root, [max(1, parsed.files // 10), parsed.files])
        many_files(root, parsed.dvc_files)


def alone(part: Callable[..., dict[str, float]], *arguments: Any) -> dict[str, float]:
    """Return the numbers of a part, measured in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = pool.submit(part, *arguments).result()
        (process,) = pool._processes
        return {**found, "memory": peak_memory(process)}


def peak_memory(process: int) -> float:
    """MB that a process held at most; 0 where it is gone."""
    # Not getrusage: its number begins with that of the process which started this one.
    with suppress(OSError):
        status = Path(f"/proc/{process}/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+)", status):
            return int(found[1]) / 1024
    return 0.0


class Workers(threading.Thread):
    """Watches the memory of the processes that this one starts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0.0
        self.start()

    def run(self) -> None:
        """Look four times a second."""
        while True:
            for child in multiprocessing.active_children():
                self.peak = max(self.peak, peak_memory(child.pid or 0))
            time.sleep(0.25)


def end_to_end(root: Path, counts: list[int]) -> None:
    """Many files of 128 px from a folder to packs."""
    rows = []
    for count in counts:
        found = alone(run_end_to_end, root, count)
        rows.append(
            [
                f"{count}",
                *(f"{found[name]:.1f}" for name in ("write", "fetch", "pairs")),
                f"{count / (found['fetch'] + found['pairs']):.3g}",
                *(f"{found[name]:.0f}" for name in ("memory", "worker")),
            ]
        )
    header = [
        *("files of 128 px, all cores", "written, s", "fetched, s", "pairs, s", "images/s"),
        *("peak memory, MB", "of a worker, MB"),
    ]
    print(f"\n{markdown_table(header, rows)}", flush=True)


def run_end_to_end(root: Path, count: int) -> dict[str, float]:
    """A part of its own."""
    params = load_params(any_device=True)
    workers = Workers()
    writing = timed(lambda: write_source(root, count, 128))
    fetching = timed(lambda: fetch_source(root, params, count, 128))
    sizes = Sizes(hr_size=128, generator_size=128, lr_size=32)
    source = root / f"faces{count}"
    pairing = timed(lambda: pairs(root, params, source, sizes, None))
    return {"write": writing, "fetch": fetching, "pairs": pairing, "worker": workers.peak}


def many_files(root: Path, counts: list[int]) -> None:
    """What every `dvc repro` and the manifest cost at full size."""
    rows = []
    for count in counts:
        folder = root / f"dvc{count}"
        first, again = dvc(folder, count)
        found = alone(run_manifest, folder / "data/faces")
        rows.append(
            [
                *(f"{count}", f"{first:.1f}", f"{again:.1f}"),
                *(f"{found[name]:.2f}" for name in ("write", "read", "check")),
                f"{found['memory']:.0f}",
            ]
        )
    header = [
        *("files of 804 bytes", "first dvc repro, s", "nothing to do, s", "manifest written, s"),
        *("read, s", "facesr data check, s", "peak memory of these three, MB"),
    ]
    print(f"\n{markdown_table(header, rows)}", flush=True)


def run_manifest(place: Path) -> dict[str, float]:
    """A part of its own."""
    entries = [
        Entry(
            path.name,
            "train",
            f"ffhq:{path.stem}",
            "1024",
            hashlib.sha256(path.read_bytes()).hexdigest(),
            "CC BY 2.0",
            f"Somebody, https://example.org/photos/{path.stem}",
            attributes='{"country": "Iceland"}',
        )
        for path in sorted(place.glob("*.png"))
    ]
    writing = timed(lambda: write_manifest(place, entries))
    entries.clear()
    reading = timed(lambda: read_manifest(place))
    found: list[int] = []
    checking = timed(lambda: found.append(len(check_folder(place)[1])))
    assert found == [0], "every file is there and fits"
    return {"write": writing, "read": reading, "check": checking}


def dvc(root: Path, count: int) -> tuple[float, float]:
    """Seconds of `dvc repro` with a folder of small files between two stages: first, and again."""
    root.mkdir()
    (root / "make.py").write_text(
        "import os\nos.makedirs('data/faces')\n"
        f"for i in range({count}):\n"
        "    with open(f'data/faces/{i:06d}.png', 'wb') as file:\n"
        "        file.write(os.urandom(800) + i.to_bytes(4, 'big'))\n"
    )
    (root / "use.py").write_text("open('data/pairs', 'w').write('done')\n")
    (root / "dvc.yaml").write_text(
        f"stages:\n  make:\n    cmd: {sys.executable} make.py\n    deps: [make.py]\n"
        f"    outs: [data/faces]\n  use:\n    cmd: {sys.executable} use.py\n"
        "    deps: [use.py, data/faces]\n    outs: [data/pairs]\n"
    )
    environment = {
        **os.environ,
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(root / "site"),
        "DVC_GLOBAL_CONFIG_DIR": str(root / "config"),
    }
    run = partial(subprocess.run, cwd=root, env=environment, check=True, capture_output=True)
    run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"])
    run([sys.executable, "-m", "dvc", "config", "cache.type", "hardlink,symlink,copy"])
    repro = partial(run, [sys.executable, "-m", "dvc", "repro", "--quiet"])
    return timed(repro), min(timed(repro), timed(repro))


if __name__ == "__main__":
    main()
