"""Seconds and peak memory of enhancing: ours, the study's design, and enlargement without learning.

    python -m benchmarks.enhance [--seconds 60] [--only NAME ...] [--threads 1 --clock cpu]

Every row is measured in a process of its own, whose largest resident set is the peak; importing
PyTorch is part of it. Networks are those of params.yaml with random weights: neither time nor
memory depends on what they have learned. A large picture is broken off after `--seconds`; what it
would take is then told from the tiles that were done, and marked with ~.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

FACE = (128, 128, 4.0)
"""Height, width, enlargement."""
PHOTOGRAPH = (3000, 4000, 2.0)
PICTURES = {"face": FACE, "photograph": PHOTOGRAPH}
METHODS = {
    "bicubic": [],
    "lanczos": [],
    "small": ["generator"],
    "best": ["generator"],
    "paper": ["generator", "upsampler"],
}
REPEATS = 5
PATIENCE = 20.0
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
_clock = time.perf_counter


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="for a large picture")
    parser.add_argument("--only", nargs="*", default=list(METHODS), choices=METHODS)
    parser.add_argument("--precision", nargs="*", default=["float32", "auto"])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="cpu counts what the process used, which means something on a busy computer too",
    )
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.child:
        import torch

        torch.set_num_threads(parsed.threads)
        global _clock
        _clock = CLOCKS[parsed.clock]
        print(json.dumps(measure(*parsed.child, limit=parsed.seconds)))
        return
    print(f"{parsed.threads} threads, {parsed.clock} seconds\n")
    print("| method | arithmetic | 128 → 512, s | peak, MB | 12 megapixels x2, s | peak, MB |")
    print("|---|---|---|---|---|---|")
    for method in parsed.only:
        for precision in parsed.precision if METHODS[method] else ["float32"]:
            row = [method, precision]
            for picture in PICTURES:
                answer = subprocess.run(
                    [
                        *(sys.executable, "-m", "benchmarks.enhance"),
                        *("--seconds", str(parsed.seconds), "--threads", str(parsed.threads)),
                        *("--clock", parsed.clock, "--child", method, precision, picture),
                    ],
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if answer.returncode:
                    row += ["failed", answer.stderr.splitlines()[-1][:60]]
                    continue
                values = json.loads(answer.stdout.splitlines()[-1])
                row[1] = values["arithmetic"]
                row += [values["seconds"], values["megabytes"]]
            print(f"| {' | '.join(row)} |", flush=True)


def measure(method: str, precision: str, picture: str, *, limit: float) -> dict[str, str]:
    """Enhances one picture in this process."""
    import torch

    from facesr import images, photos

    height, width, scale = PICTURES[picture]
    noise = torch.rand(3, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    photo = photos.Photo(images.resize(noise, (height, width), "bicubic").clamp(0, 1))
    target = (round(height * scale), round(width * scale))
    arithmetic = "float32"
    run: Callable[..., Any]
    if METHODS[method]:
        enhancer = _enhancer(method, precision)
        arithmetic = str(enhancer._find_dtype()).removeprefix("torch.")

        def run(**options: Any) -> None:
            enhanced, _ = enhancer.enhance_photo(photo, scale=scale, **options)
            photos.encode(enhanced, file_format="jpeg")
    else:

        def run(**options: Any) -> None:
            enlarged = images.resize(photo.colour, target, method).clamp(0, 1)  # type: ignore[arg-type]
            photos.encode(photos.Photo(enlarged), file_format="jpeg")

    if picture == "face":
        times = [_timed(run)]
        # The first run warms up; a slow method is not worth many more.
        while len(times) < 2 or (len(times) <= REPEATS and sum(times) < PATIENCE):
            times.append(_timed(run))
        seconds = f"{statistics.median(times[1:]):.3f}"
    else:
        seconds = _timed_up_to(run, limit)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "megabytes": f"{peak:.0f}", "arithmetic": arithmetic}


def _enhancer(profile: str, precision: str) -> Any:
    import torch
    from torch import nn

    from facesr.checkpoints import Network
    from facesr.config import PARAMS_FILE, read_yaml
    from facesr.enhancer import Enhancer
    from facesr.models import build

    values = read_yaml(PARAMS_FILE)["profiles"][profile]
    sides = values["sizes"]
    scales = {
        "generator": sides["generator_size"] // sides["lr_size"],
        "upsampler": sides["hr_size"] // sides["generator_size"],
    }
    networks = []
    for part in METHODS[profile]:
        architecture = {**values[f"train_{part}"]["network"], "scale": scales[part]}
        torch.manual_seed(0)
        module = build(architecture)
        with torch.no_grad():
            for layer in module.modules():
                if isinstance(layer, nn.Conv2d) and not layer.weight.any():
                    layer.weight.normal_(std=0.002)
        networks.append(Network(architecture, module))
    return Enhancer(networks, precision=precision)  # type: ignore[arg-type]


def _timed(run: Callable[[], None]) -> float:
    start = _clock()
    run()
    return _clock() - start


class _Enough(Exception):  # noqa: N818  no error: the time is up
    pass


def _timed_up_to(run: Callable[..., None], limit: float) -> str:
    start = _clock()
    reached = (0, 1)

    def on_progress(done: int, total: int) -> None:
        nonlocal reached
        reached = (done, total)
        if _clock() - start > limit and done < total:
            raise _Enough

    try:
        run(on_progress=on_progress)
    except _Enough:
        done, total = reached
        return f"~{(_clock() - start) * total / done:.0f} ({done} of {total} tiles)"
    return f"{_clock() - start:.1f}"


if __name__ == "__main__":
    main()
