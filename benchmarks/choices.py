"""Repeats the tables of docs/experiments.md on which the Enhancer's and Adam's defaults rest.

    python -m benchmarks.choices colour FACES [--model starter] [--names 'lon_*']
    python -m benchmarks.choices tiles FACES
    python -m benchmarks.choices burst
    python -m benchmarks.choices sizes FACES --trained-at 48
    python -m benchmarks.choices detectors FACES BACKGROUNDS
    python -m benchmarks.choices gradients FACES

FACES is a folder of portraits of 512 px, BACKGROUNDS one of larger pictures such as Set14. Every
table is one of Markdown; PSNR in dB over R, G and B. The numbers are those of the model: `starter`
where nothing else is named.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import skimage.data
import torch
from torch import Tensor
from tqdm import tqdm

from facesr import burst, choice, colour, images, metrics, tiles
from facesr.enhancer import Enhancer
from facesr.faces import find_faces
from facesr.losses.content import PIXEL_TERMS

SCALE = 4
CELLS = (4, 8, 16)
TINT = (1.03, 0.015)
# Down and right in pixels of a shot.
SHIFTS = ((0.0, 0.0), (0.5, 0.25), (-1.25, 0.75), (2.3, -1.6), (0.25, -0.5), (-0.7, -0.2))
CROPS = (24, 36, 48, 72, 96, 144, 192)
PASTED = (48, 64, 192)
GRADIENT_BATCH = 4
GRADIENT_SHARES = (0.1, 0.5, 0.9)


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    tables = parser.add_subparsers(dest="table", required=True)
    for name, table in TABLES.items():
        own = tables.add_parser(name)
        own.set_defaults(table=table)
        if name == "burst":
            continue
        own.add_argument("faces", type=Path)
        own.add_argument("--names", default="lon_*", help="of the faces, a pattern")
        own.add_argument("--count", type=int, default=12)
        own.add_argument("--model", default="starter")
        own.add_argument("--trained-at", type=int, default=48, help="side of a face in pixels")
        if name == "detectors":
            own.add_argument("backgrounds", type=Path)
    parsed = parser.parse_args()
    for row in parsed.table(parsed):
        print(f"| {' | '.join(row)} |", flush=True)


def _heading(*cells: str) -> Iterator[list[str]]:
    yield list(cells)
    yield ["---"] * len(cells)


def _faces(parsed: argparse.Namespace, size: int) -> list[Tensor]:
    paths = sorted(parsed.faces.glob(parsed.names))[: parsed.count]
    return [images.read_square(path, size) for path in paths]


def _enhancer(parsed: argparse.Namespace) -> Enhancer:
    return choice.load(parsed.model, root=Path.cwd(), precision="float32")


def _psnr(first: Tensor, second: Tensor) -> float:
    return float(metrics.psnr(first[None], second[None]))


def _jpeg(picture: Tensor, quality: int) -> Tensor:
    return images.read(images.encode_jpeg(picture, quality=quality, chroma_halved=True))


def colour_table(parsed: argparse.Namespace) -> Iterator[list[str]]:
    """What holding the colours costs, and what it repairs where a network brightens."""
    enhancer = _enhancer(parsed)
    hrs = _faces(parsed, 512)
    fixes: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"none": lambda sr, lr: sr}
    for cell in CELLS:
        fixes[f"wavelet, {cell} px"] = lambda sr, lr, cell=cell: _wavelet(sr, lr, cell)  # type: ignore[misc]
    fixes["AdaIN"] = lambda sr, lr: colour.fix_colour(sr, lr, "adain")
    tinted = {f"tinted, {name}": fix for name, fix in fixes.items()}
    yield from _heading("input", "bicubic", *fixes, *tinted)
    for name, degrade in (
        ("clean", images.round_to_8bit),
        ("JPEG 60", lambda lr: _jpeg(lr, 60)),
    ):
        values: dict[str, list[float]] = {}
        for hr in tqdm(hrs, unit="face", leave=False):
            lr = degrade(images.resize(hr, (512 // SCALE, 512 // SCALE), "bicubic").clamp(0, 1))
            sr = enhancer.enhance(lr, scale=SCALE, colour="none").image
            brighter = (sr * TINT[0] + TINT[1]).clamp(0, 1)
            plain = Enhancer.bicubic().enhance(lr, scale=SCALE).image
            values.setdefault("bicubic", []).append(_psnr(plain, hr))
            for given, group in ((sr, fixes), (brighter, tinted)):
                for fix_name, fix in group.items():
                    values.setdefault(fix_name, []).append(_psnr(fix(given.clone(), lr), hr))
        yield [name, *(f"{np.mean(each):.3f}" for each in values.values())]


def _wavelet(sr: Tensor, lr: Tensor, cell: int) -> Tensor:
    usual = colour.CELL
    try:
        colour.CELL = cell
        return colour.fix_colour(sr, lr, "wavelet")
    finally:
        colour.CELL = usual


def tiles_table(parsed: argparse.Namespace) -> Iterator[list[str]]:
    """How far tiles are from the whole, and bfloat16 from float32."""
    enhancer = _enhancer(parsed)
    picture = images.resize(_faces(parsed, 512)[0], (400, 360), "lanczos").clamp(0, 1)
    modules = [network.module for network in enhancer.networks]
    yield from _heading("scale", "compared", "PSNR, dB", "largest difference, grey levels")

    def run(scale: float, tile: int, dtype: torch.dtype = torch.float32) -> Tensor:
        target = (round(400 * scale), round(360 * scale))
        return tiles.Tiler(modules, enhancer.device, tile=tile, dtype=dtype).run(picture, target)

    for scale in (4.0, 5.3):
        whole = run(scale, 1024)
        others = {f"tiles of {side} px": run(scale, side) for side in (256, 128, 64)}
        others["bfloat16"] = run(scale, 1024, torch.bfloat16)
        for name, other in others.items():
            difference = 255 * float((other - whole).abs().max())
            yield [f"{scale:g}", name, f"{_psnr(other, whole):.1f}", f"{difference:.2f}"]


def burst_table(parsed: argparse.Namespace) -> Iterator[list[str]]:
    """How shots are best fused: medians and means, and how many corrections."""
    scene = images.from_uint8(torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1))
    scene = scene[:, :300, 80:380]
    truth = scene[:, 22:278, 22:278]
    kinds = {"median": 0.0, "mean": 1.0, "limited to 0.04 from the median": 0.04}
    cases = [(noise, covered) for noise in (0.01, 0.02) for covered in (False, True)]
    yield from _heading(
        "mean of shots",
        "corrections",
        *(f"noise {noise:.0%}{', one shot covered' * covered}" for noise, covered in cases),
    )
    usual = burst.LARGEST_DEVIATION, burst.CORRECTIONS
    try:
        for kind, deviation in kinds.items():
            for corrections in (5, 8, 12):
                burst.LARGEST_DEVIATION, burst.CORRECTIONS = deviation, corrections
                fused = [burst.fuse(_shoot(scene, *case), SHIFTS, 2) for case in cases]
                values = [_psnr(each[:, 8:-8, 8:-8], truth[:, 8:-8, 8:-8]) for each in fused]
                yield [kind, str(corrections), *(f"{value:.2f}" for value in values)]
    finally:
        burst.LARGEST_DEVIATION, burst.CORRECTIONS = usual


def _shoot(scene: Tensor, noise: float, covered: bool) -> list[Tensor]:
    rng = np.random.default_rng(0)
    shots = []
    for down, right in SHIFTS:
        top, left = 22 + 2 * down, 22 + 2 * right
        shot = images.resize(scene, (128, 128), "bicubic", box=(left, top, left + 256, top + 256))
        shot = shot + torch.from_numpy(rng.normal(0, noise, shot.shape)).float()
        shots.append(shot.clamp(0, 1))
    if covered:
        shots[-1][:, 40:80, 40:80] = 0.2
    return shots


def sizes_table(parsed: argparse.Namespace) -> Iterator[list[str]]:
    """Whether a face should be brought to the size that the network was trained for."""
    enhancer = _enhancer(parsed)
    faces = _faces(parsed, 512)
    own = parsed.trained_at
    yield from _heading("crop in px", *(str(size) for size in CROPS))
    for prefix, quality in (("", None), ("JPEG 50: ", 50)):
        rows: dict[str, list[str]] = {}
        for size in tqdm(CROPS, unit="size", leave=False):
            values: dict[str, list[float]] = {}
            for face in faces:
                hr = images.resize(face, (2 * size, 2 * size), "lanczos").clamp(0, 1)
                lr = images.resize(hr, (size, size), "bicubic").clamp(0, 1)
                lr = images.round_to_8bit(lr) if quality is None else _jpeg(lr, quality)
                brought = images.resize(lr, (own, own), "lanczos").clamp(0, 1)
                results = {
                    "bicubic": Enhancer.bicubic().enhance(lr, scale=2).image,
                    "as it is": enhancer.enhance(lr, scale=2).image,
                    f"brought to {own} px": images.resize(
                        enhancer.enhance(brought).image, (2 * size, 2 * size), "lanczos"
                    ).clamp(0, 1),
                }
                for name, result in results.items():
                    values.setdefault(name, []).append(_psnr(result, hr))
            for name, each in values.items():
                rows.setdefault(name, []).append(f"{np.mean(each):.2f}")
        for name, cells in rows.items():
            yield [prefix + name, *cells]


def detectors_table(parsed: argparse.Namespace) -> Iterator[list[str]]:
    """Faces found and, in brackets, what else: dlib beside scikit-image's cascade.

    The backgrounds' own faces count as something else.
    """
    from skimage import data, feature

    cascade = feature.Cascade(data.lbp_frontal_face_cascade_filename())

    def with_cascade(picture: Tensor) -> list[tuple[float, float]]:
        pixels = images.to_uint8(picture).permute(1, 2, 0).numpy()
        found = cascade.detect_multi_scale(
            pixels, scale_factor=1.1, step_ratio=1, min_size=(30, 30), max_size=(600, 600)
        )
        return [(box["c"] + box["width"] / 2, box["r"] + box["height"] / 2) for box in found]

    def with_dlib(picture: Tensor) -> list[tuple[float, float]]:
        # Of the square that FFHQ would cut; the detectors' own boxes are centred a little lower.
        boxes = find_faces(picture)
        return [(box.left + box.width / 2, box.top + box.height / 2) for box in boxes]

    faces = _faces(parsed, 256)
    grounds = [images.read(path) for path in images.find(parsed.backgrounds)[:4]]
    grounds = [images.resize(ground, (512, 768), "lanczos").clamp(0, 1) for ground in grounds]
    yield from _heading("detector", "at 256 px", *(f"pasted at {side} px" for side in PASTED))
    for name, detect in (("scikit-image, LBP cascade", with_cascade), ("dlib", with_dlib)):
        cells = [_count([(face, (128.0, 128.0), 256) for face in faces], detect)]
        for side in PASTED:
            rng = np.random.default_rng(0)
            cases = []
            for position, face in enumerate(faces):
                picture = grounds[position % len(grounds)].clone()
                left, top = int(rng.integers(768 - side)), int(rng.integers(512 - side))
                small = images.resize(face, (side, side), "lanczos").clamp(0, 1)
                picture[:, top : top + side, left : left + side] = small
                cases.append((picture, (left + side / 2, top + side / 2), side))
            cells.append(_count(cases, detect))
        yield [name, *cells]


def _count(
    cases: list[tuple[Tensor, tuple[float, float], int]],
    detect: Callable[[Tensor], list[tuple[float, float]]],
) -> str:
    found = false = 0
    for picture, (x, y), side in cases:
        hits = [abs(a - x) + abs(b - y) < side / 2 for a, b in detect(picture)]
        found += any(hits)
        false += hits.count(False)
    return f"{found}/{len(cases)} ({false})"


def gradients_table(parsed: argparse.Namespace) -> Iterator[list[str]]:
    """Sizes of the weights' gradients beside the epsilon that Adam adds to them."""
    hrs = torch.stack(_faces(parsed, 256))  # (N, 3, 256, 256)
    lrs = torch.stack([images.resize(hr, (64, 64), "bicubic").clamp(0, 1) for hr in hrs])
    module = _enhancer(parsed).networks[0].module.train()
    yield from _heading("loss", *(f"{share:.0%} of the weights below" for share in GRADIENT_SHARES))
    for name, term in PIXEL_TERMS.items():
        squares = [torch.zeros_like(parameter) for parameter in module.parameters()]
        for lr, hr in zip(lrs.split(GRADIENT_BATCH), hrs.split(GRADIENT_BATCH), strict=True):
            module.zero_grad()
            term(module(lr), hr).backward()  # type: ignore[no-untyped-call]
            for square, parameter in zip(squares, module.parameters(), strict=True):
                if parameter.grad is not None:
                    square += parameter.grad.square()
        batches = -(-len(lrs) // GRADIENT_BATCH)
        sizes = torch.cat([(square / batches).sqrt().flatten() for square in squares]).sort().values
        yield [name, *(f"{sizes[int(share * len(sizes)) - 1]:.1e}" for share in GRADIENT_SHARES)]


TABLES: dict[str, Callable[[argparse.Namespace], Iterator[list[str]]]] = {
    "colour": colour_table,
    "tiles": tiles_table,
    "burst": burst_table,
    "sizes": sizes_table,
    "detectors": detectors_table,
    "gradients": gradients_table,
}


if __name__ == "__main__":
    main()
