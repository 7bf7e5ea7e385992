"""Seconds and peak memory of enhancing: ours, the study's design, and enlargement without learning.

    python -m benchmarks.enhance [--seconds 25] [--only NAME ...]

`study` is the study's up-sampler by itself, fastai's U-Net on VGG16 at 512 px in float32; `paper`
has its generator before it. Networks are those of params.yaml with random weights, but for the
starter's: neither time nor memory depends on what they have learned, the distance between bfloat16
and float32 does.

Every row is measured in processes of its own, whose largest resident set is the peak; importing
PyTorch and encoding the result as JPEG are part of it. After `--seconds` the tiles of the large
image go past the network: the time of all is extrapolated from those done and marked with ~,
while the rest of the way, and with it the peak, is the true one.
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
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

FACE = (128, 128, 4.0)
"""Height, width, enlargement."""
PHOTOGRAPH = (3000, 4000, 2.0)
IMAGES = {"face": FACE, "photograph": PHOTOGRAPH}
METHODS: dict[str, tuple[str, list[str]]] = {
    # Profile and its networks, in the order in which an image passes them.
    "bicubic": ("", []),
    "lanczos": ("", []),
    "small": ("small", ["generator"]),
    "starter": ("starter", ["generator"]),
    "best": ("best", ["generator"]),
    "study": ("paper", ["upsampler"]),
    "paper": ("paper", ["generator", "upsampler"]),
}
REPEATS = 5
# What takes so many seconds needs no second run.
PATIENCE = 4.0
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
COLUMNS = (
    "method",
    "weights",
    "arithmetic",
    "bfloat16 against float32, dB",
    "128 → 512, s",
    "on one thread, s",
    "peak, MB",
    "12 megapixels x2, s",
    "peak, MB",
)
_clock = time.perf_counter

Row = dict[str, Any]


def main() -> None:
    """Print a Markdown table of the methods, and one of the targets."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=25, help="for a large image")
    parser.add_argument("--only", nargs="*", default=list(METHODS), choices=METHODS)
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
        global _clock
        _clock = CLOCKS[parsed.clock]
        print(json.dumps(measure(*parsed.child, limit=parsed.seconds, threads=parsed.threads)))
        return
    print(f"{parsed.threads} threads, {parsed.clock} seconds\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)
    rows: dict[tuple[str, str], Row] = {}
    for method in parsed.only:
        networks = METHODS[method][1]
        for precision in ("float32", "auto") if networks and method != "study" else ("float32",):
            row = _ask(parsed, method, precision, "face")
            # Where bfloat16 is not taken the second row would repeat the first.
            if precision == "float32" or row["arithmetic"] != "float32":
                row |= _ask(parsed, method, precision, "photograph")
            rows[method, row["arithmetic"]] = row
            print(f"| {' | '.join(_cells(method, row))} |", flush=True)
    _print_targets(rows)


def _ask(parsed: argparse.Namespace, method: str, precision: str, image: str) -> Row:
    """Measure in a process of its own."""
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.enhance"),
            *("--seconds", str(parsed.seconds), "--threads", str(parsed.threads)),
            *("--clock", parsed.clock, "--child", method, precision, image),
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    values: Row = json.loads(answer.stdout.splitlines()[-1])
    return values


def _cells(method: str, row: Row) -> list[str]:
    weights = {"starter": "trained"}.get(method, "random") if METHODS[method][1] else ""
    large = f"{row['photograph.seconds']:.1f}" if "photograph.seconds" in row else "as above"
    if row.get("photograph.tiles"):
        large = f"~{row['photograph.seconds']:.0f} ({row['photograph.tiles']} tiles)"
    agreement = f"{row['agreement']:.1f}" if row.get("agreement") else ""
    return [
        method,
        weights,
        row["arithmetic"],
        agreement,
        f"{row['face.seconds']:.3f}",
        f"{row['face.one_thread']:.3f}",
        f"{row['face.megabytes']:.0f}",
        large,
        f"{row['photograph.megabytes']:.0f}" if "photograph.megabytes" in row else "as above",
    ]


def _print_targets(rows: dict[tuple[str, str], Row]) -> None:
    """Print those targets whose rows were measured."""
    times: dict[str, float] = {}
    for (method, _), row in rows.items():
        times[method] = min(times.get(method, float("inf")), row["face.seconds"])
    ours = [row for (method, _), row in rows.items() if method not in ("paper", "study")]
    memory = max((row.get("photograph.megabytes", 0) for row in ours), default=0)
    print("\n| target, on two cores | wanted | measured |\n|---|---|---|")
    if "small" in times:
        print(f"| small, 128 → 512 | ≤ 0.15 s | {times['small']:.3f} s |")
    if "best" in times:
        print(f"| best, 128 → 512 | ≤ 0.5 s | {times['best']:.3f} s |")
    if "best" in times and "study" in times:
        ratio = times["study"] / times["best"]
        print(f"| the study's up-sampler over best | ≥ 25 | {ratio:.1f} |")
    print(f"| 12 megapixels x2, the largest of ours | < 3000 MB | {memory:.0f} MB |")


def measure(method: str, precision: str, image: str, *, limit: float, threads: int) -> Row:
    """Enhance one image in this process."""
    import torch

    from facesr import images
    from facesr.enhance.agreement import measure_agreement
    from facesr.enhance.enhancer import EnhanceOptions
    from facesr.images import photos

    torch.set_num_threads(threads)
    height, width, scale = IMAGES[image]
    noise = torch.rand(3, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    photo = photos.Photo(images.resize(noise, (height, width), "bicubic").clamp(0, 1))
    target = (round(height * scale), round(width * scale))
    values: Row = {"arithmetic": "float32"}
    run: Callable[..., Any]
    limits: list[_Limited] = []
    if METHODS[method][1]:
        enhancer, limits = _enhancer(method, precision)
        values["arithmetic"] = str(enhancer.find_dtype()).removeprefix("torch.")

        def run(**options: Any) -> None:
            enhanced, _ = enhancer.enhance_photo(photo, EnhanceOptions(scale=scale), **options)
            photos.encode(enhanced, file_format="jpeg")
    else:

        def run(**options: Any) -> None:
            enlarged = images.resize(photo.colour, target, method).clamp(0, 1)  # type: ignore[arg-type]
            photos.encode(photos.Photo(enlarged), file_format="jpeg")

    if image == "photograph":
        values |= _timed_up_to(run, limits, limit)
    else:
        values["face.seconds"] = _median(run)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    values[f"{image}.megabytes"] = peak
    if image == "face":
        torch.set_num_threads(1)
        values["face.one_thread"] = _median(run)
        if limits and precision == "auto":
            values["agreement"] = measure_agreement(limits, enhancer.device)
    return values


class _Limited(nn.Module):
    """A network until the time is up; after that, enlargement that costs next to nothing."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.scale, self.multiple = int(module.scale), int(module.multiple)  # type: ignore[arg-type]
        self.end = float("inf")

    def forward(self, x: Tensor) -> Tensor:
        if _clock() > self.end:
            return F.interpolate(x, scale_factor=self.scale)
        restored: Tensor = self.module(x)
        return restored


def _enhancer(method: str, precision: str) -> tuple[Any, list[_Limited]]:
    import torch

    from facesr import choice
    from facesr.enhance.enhancer import Enhancer
    from facesr.models import build
    from facesr.models.checkpoints import Network
    from facesr.profiles import load_profile

    if method == "starter":
        networks = choice.load(choice.STARTER, root=Path(), device="cpu").networks
    else:
        profile, parts = METHODS[method]
        params = load_profile(profile)
        sizes = params.sizes
        scales = {"generator": sizes.generator_scale, "upsampler": sizes.upsampler_scale}
        networks = []
        for part in parts:
            network = getattr(params, f"train_{part}").network.model_dump()
            architecture = {**network, "scale": scales[part]}
            torch.manual_seed(0)
            module = build(architecture)
            with torch.no_grad():
                for layer in module.modules():
                    if isinstance(layer, nn.Conv2d) and not layer.weight.any():
                        layer.weight.normal_(std=0.002)
            networks.append(Network(architecture, module))
    limited = [network._replace(module=_Limited(network.module)) for network in networks]
    enhancer = Enhancer(limited, "cpu", precision=precision)  # type: ignore[arg-type]
    return enhancer, [network.module for network in limited]  # type: ignore[misc]


def _timed(run: Callable[[], None]) -> float:
    start = _clock()
    run()
    return _clock() - start


def _median(run: Callable[[], None]) -> float:
    first = _timed(run)
    if first > PATIENCE:
        return first
    # The first run warms up.
    return statistics.median(_timed(run) for _ in range(REPEATS))


def _timed_up_to(run: Callable[..., None], limits: list[_Limited], limit: float) -> Row:
    """Seconds of the whole, extrapolated from the tiles that were done in time."""
    start = _clock()
    for network in limits:
        network.end = start + limit
    in_time = (0, 0.0)
    tiles, last = 0, start

    def on_progress(done: int, total: int) -> None:
        nonlocal in_time, tiles, last
        tiles, last = total, _clock()
        # A tile that began in time is done in full.
        if not in_time[0] or in_time[1] <= limit:
            in_time = (done, last - start)

    run(**({"on_progress": on_progress} if limits else {}))
    end = _clock()
    done, seconds = in_time
    if done == tiles:
        return {"photograph.seconds": end - start}
    expected = seconds / done * tiles + (end - last)
    return {"photograph.seconds": expected, "photograph.tiles": f"{done} of {tiles}"}


if __name__ == "__main__":
    main()
