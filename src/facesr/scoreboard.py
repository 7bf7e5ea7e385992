"""The scoreboard: networks on fixed, stored inputs made from real photographs.

Inputs are made once, kept as PNG with a digest, and made again only when their definition changes,
so that every row of every later table was measured on the same pixels. Methods are compared picture
by picture.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facesr import images, metrics, reports
from facesr.baselines import build_baselines
from facesr.config import Recipe, ScoreboardParams, ScoreboardSource
from facesr.degradation import Degradation
from facesr.enhancer import Enhancer
from facesr.errors import DataError
from facesr.pairs import HR, LR
from facesr.tables import BICUBIC

NAMES = (
    "psnr",
    "psnr_y",
    "ssim",
    "ms_ssim",
    "gmsd",
    "gradient_energy_ratio",
    "clipped_fraction",
    "luma_shift",
)
KEY = "key.txt"
# On the sample sheet.
SHOWN = 6
SHOWN_SIDE = 320

Restore = Callable[[Tensor, int], tuple[Tensor, float]]
"""From (3, h, w) and a scale to (3, H, W) in [0, 1] and the seconds that it took."""


class Row(NamedTuple):
    """One picture, one method."""

    source: str
    condition: str
    stem: str
    method: str
    values: Mapping[str, float]


def make_inputs(
    params: ScoreboardParams,
    *,
    recipes: Mapping[str, Recipe],
    root: Path,
    folder: Path,
    seed: int,
) -> str:
    """Writes `FOLDER/SOURCE/CONDITION/{hr,lr}/STEM.png` where they are not there already.

    Args:
        params: Sources and conditions.
        recipes: Degradations by name.
        root: Folder of the sources' paths.
        folder: Gets the inputs; emptied when their definition has changed.
        seed: Chooses pictures and draws degradations, together with each picture's content.

    Returns:
        A digest of all inputs: equal digests, equal pixels.

    Raises:
        DataError: A source is missing, has no picture of its names, or a picture is too small.
    """
    key = json.dumps(
        {
            "seed": seed,
            "sources": params.model_dump(mode="json")["sources"],
            "conditions": {
                name: [one.scale, Degradation(one.recipe, recipes).to_json()]
                for name, one in params.conditions.items()
            },
        },
        sort_keys=True,
    )
    if not (folder / KEY).is_file() or (folder / KEY).read_text(encoding="utf-8") != key:
        shutil.rmtree(folder, ignore_errors=True)
        for name, source in params.sources.items():
            _make_source(params, name, source, recipes=recipes, root=root, folder=folder, seed=seed)
        reports.write_text(folder / KEY, key)
    digest = hashlib.sha256()
    for path in images.find(folder):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _make_source(
    params: ScoreboardParams,
    name: str,
    source: ScoreboardSource,
    *,
    recipes: Mapping[str, Recipe],
    root: Path,
    folder: Path,
    seed: int,
) -> None:
    place = root / source.path
    files = [path for path in images.find(place) if fnmatch(path.name, source.names)]
    if not files:
        raise DataError(f"{place} holds no picture named {source.names}. Check the scoreboard.")
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.permutation(len(files))[: source.count])
    for path in tqdm([files[position] for position in chosen], unit="picture", desc=name):
        hr = images.round_to_8bit(_read(path, source.hr_size, params.multiple))
        content = int(hashlib.sha256(images.encode_png(hr)).hexdigest()[:16], 16)
        for label, condition in params.conditions.items():
            lr = Degradation(condition.recipe, recipes)(
                hr,
                lr_size=hr.shape[-1] // condition.scale,
                rng=np.random.default_rng((seed, content)),
            )
            images.write(folder / name / label / HR / f"{path.stem}.png", hr)
            images.write(folder / name / label / LR / f"{path.stem}.png", lr)


def _read(path: Path, hr_size: int, multiple: int) -> Tensor:
    if hr_size:
        return images.read_square(path, hr_size)
    # The customary test sets are never resized.
    square = images.centre_square(images.read(path))
    side = square.shape[-1] // multiple * multiple
    return square[:, :side, :side]


def score(folder: Path, params: ScoreboardParams, methods: Mapping[str, Restore]) -> list[Row]:
    """Measures the methods on every stored input.

    Args:
        folder: Written by `make_inputs`.
        params: Sources and conditions.
        methods: By the name of their row; see `build_methods`.
    """
    rows = []
    for source in params.sources:
        for label, condition in params.conditions.items():
            place = folder / source / label
            for path in tqdm(images.find(place / HR), unit="picture", desc=f"{source}, {label}"):
                hr, lr = images.read(path), images.read(place / LR / path.name)
                restored, seconds = zip(
                    *(method(lr, condition.scale) for method in methods.values()), strict=True
                )
                large = hr.shape[-1] > params.ms_ssim_above
                names = [name for name in NAMES if name != "ms_ssim" or large]
                columns = metrics.measure(
                    torch.stack([images.round_to_8bit(one) for one in restored]),
                    hr.expand(len(methods), -1, -1, -1),
                    names,
                )
                for position, method in enumerate(methods):
                    values = {name: float(columns[name][position]) for name in names}
                    values["seconds"] = seconds[position]
                    rows.append(Row(source, label, path.stem, method, values))
    return rows


def build_methods(back_projections: int, models: Mapping[str, Restore]) -> dict[str, Restore]:
    """Gives the enlargements without learning, which take no time worth telling, and the models."""
    methods: dict[str, Restore] = {}
    for name, baseline in build_baselines(back_projections).items():
        methods[name] = lambda lr, scale, one=baseline: (one(lr, lr.shape[-1] * scale), 0.0)  # type: ignore[misc]
    return methods | dict(models)


def restore_with(enhancer: Enhancer, strength: float) -> Restore:
    """Gives the Enhancer's way to restore; `strength` counts where it has one."""

    def restore(lr: Tensor, scale: int) -> tuple[Tensor, float]:
        chosen = strength if enhancer.has_strength else 1.0
        result = enhancer.enhance(lr, scale=scale, strength=chosen)
        return result.image, result.seconds

    return restore


def write_board(rows: Sequence[Row], params: ScoreboardParams, *, digest: str, output: Path) -> str:
    """Writes `scores.csv` and `table.md` into `output`, and returns the table.

    One block for each condition, a row for each source and method: every metric's mean, and the
    gain in PSNR over bicubic ± standard error of the paired difference.
    """
    reports.write_csv(
        output / "scores.csv",
        [
            {
                "source": row.source,
                "condition": row.condition,
                "stem": row.stem,
                "method": row.method,
                **{name: row.values.get(name, "") for name in (*NAMES, "seconds")},
            }
            for row in rows
        ],
    )
    blocks = [
        f"Inputs {digest}: {len({(row.source, row.stem) for row in rows})} photographs. Means; "
        "gain in PSNR over bicubic ± standard error of the paired difference."
    ]
    header = ["source, method", "gain, dB", *(metrics.LABELS[name] for name in NAMES), "seconds"]
    for label in params.conditions:
        lines = []
        for source in params.sources:
            part = [row for row in rows if row.source == source and row.condition == label]
            references = [row.values["psnr"] for row in part if row.method == BICUBIC]
            for method in dict.fromkeys(row.method for row in part):
                own = [row for row in part if row.method == method]
                gain = reports.paired_difference([row.values["psnr"] for row in own], references)
                cells = [f"{source}, {method}", f"{gain.mean:+.2f} ± {gain.standard_error:.2f}"]
                for name in (*NAMES, "seconds"):
                    values = [row.values[name] for row in own if name in row.values]
                    cells.append(f"{reports.summarise(values).mean:.4g}" if values else "")
                lines.append(cells)
        blocks.append(f"## {label}\n\n{reports.markdown_table(header, lines)}")
    text = "\n\n".join(blocks) + "\n"
    reports.write_text(output / "table.md", text)
    return text


def write_worst(
    rows: Sequence[Row],
    models: Mapping[str, Restore],
    params: ScoreboardParams,
    *,
    inputs: Path,
    output: Path,
) -> None:
    """Writes `worst.png`: the pictures on which the first model gains least over bicubic.

    Args:
        rows: Of `score`.
        models: The first one sorts.
        params: Scales of the conditions, and the sources that may be shown.
        inputs: Stored inputs.
        output: Gets the sheet.
    """
    first = next(iter(models))
    psnr = {row[:4]: row.values["psnr"] for row in rows}
    gains = {
        (source, condition, stem): value - psnr[source, condition, stem, BICUBIC]
        for (source, condition, stem, method), value in psnr.items()
        if method == first and source in params.shown
    }
    worst = sorted(gains, key=lambda one: gains[one])[:SHOWN]
    columns: dict[str, list[Tensor]] = {"low-res": [], BICUBIC: []}
    columns |= {name: [] for name in models} | {"original": []}
    methods = build_methods(params.back_projections, models)
    notes = []
    for source, condition, stem in worst:
        place = inputs / source / condition
        lr, hr = images.read(place / LR / f"{stem}.png"), images.read(place / HR / f"{stem}.png")
        columns["low-res"].append(lr)
        columns["original"].append(hr)
        for name in (BICUBIC, *models):
            columns[name].append(methods[name](lr, params.conditions[condition].scale)[0])
        gain = gains[source, condition, stem]
        notes.append(f"{source} {stem}, {condition}: {first} {gain:+.2f} dB over bicubic")
    reports.write_sheet(
        output / "worst.png", columns, cell=SHOWN_SIDE, title="Smallest gains first", notes=notes
    )
