"""Measures the page: time to the first page and to a result, memory, many visitors by the API.

    python -m benchmarks.dashboard PROJECT [SECONDS]

PROJECT is a folder in which `dvc repro` has registered a model.
"""

import collections
import io
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
from PIL import Image
from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "browser"))

import served  # noqa: E402

VISITORS, SECONDS, IMAGES = 10, 120.0, 50


def memory(pid: int) -> float:
    """Resident memory of a process in MB."""
    return float(psutil.Process(pid).memory_info().rss) / 2**20


def image(seed: int) -> bytes:
    """128 px of coloured noise, another for every seed."""
    buffer = io.BytesIO()
    base = Image.effect_noise((16, 16), 60).convert("RGB").resize((128, 128))
    base.putpixel((0, 0), (seed % 256, seed // 256 % 256, 0))
    base.save(buffer, "PNG")
    return buffer.getvalue()


def ask(address: str, data: bytes) -> tuple[int, bytes]:
    """One request; status and body."""
    request = urllib.request.Request(
        f"{address}/api/v1/enhance", data, {"Content-Type": "image/png"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, b""


def visit_often(address: str, seconds: float) -> collections.Counter[str]:
    """Let visitors ask again and again; each gets its own image back, whatever others ask."""
    counts: collections.Counter[str] = collections.Counter()
    lock, end = threading.Lock(), time.monotonic() + seconds

    def visitor(number: int) -> None:
        own, expected = image(1000 + number), b""
        while time.monotonic() < end:
            status, body = ask(address, own)
            if status == 200 and not expected:
                expected = body
            wrong = status == 200 and body != expected
            with lock:
                counts["another's image" if wrong else str(status)] += 1
            if status == 429:
                time.sleep(1)

    threads = [threading.Thread(target=visitor, args=(n,)) for n in range(VISITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


def main() -> None:
    """Print every figure as it is measured, as rows of one Markdown table."""
    project = Path(sys.argv[1])
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS

    def row(what: str, measured: str) -> None:
        print(f"| {what} | {measured} |", flush=True)

    row("what", "measured")
    row("---", "---:")
    with (
        tempfile.TemporaryDirectory() as log,
        served.serve(project, log=Path(log), FACESR_API="1") as (address, process),
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=str(served.CHROMIUM), args=served.FLAGS)
        row("memory idle", f"{memory(process.pid):.0f} MB")
        for name in ("cold", "warm"):
            page = browser.new_context().new_page()
            page.set_default_timeout(120_000)
            start = time.perf_counter()
            page.goto(address)
            page.get_by_test_id("stFileUploaderDropzoneInput").wait_for(state="attached")
            row(f"first page, {name}", f"{time.perf_counter() - start:.2f} s")
        page.get_by_text("champion").first.wait_for()
        for number in range(1, 4):
            name = f"{number}.png"
            file = {"name": name, "mimeType": "image/png", "buffer": image(number)}
            plural = "" if number == 1 else "s"
            start = time.perf_counter()
            page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files([file])
            page.get_by_role("button", name=f"Enhance {number} image{plural}").click()
            page.get_by_text(f"{name}: 128 x 128 → 512 x 512 px, ").wait_for()
            row(f"upload to result {number}, 128 → 512", f"{time.perf_counter() - start:.2f} s")
            if number == 1:
                row("memory after one image", f"{memory(process.pid):.0f} MB")
        browser.close()
        start = time.perf_counter()
        for number in range(IMAGES):
            ask(address, image(number))
        row("an image by the API", f"{(time.perf_counter() - start) / IMAGES:.2f} s")
        row(f"memory after {IMAGES} more", f"{memory(process.pid):.0f} MB")
        counts = visit_often(address, seconds)
        row(
            f"{VISITORS} visitors for {seconds:.0f} s",
            ", ".join(f"{name}: {number}" for name, number in sorted(counts.items())),
        )
        row("memory afterwards", f"{memory(process.pid):.0f} MB")


if __name__ == "__main__":
    main()
