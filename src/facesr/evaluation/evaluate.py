"""Measurement: every method on every pair, in tables that name their baseline."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from facesr import images, reports
from facesr.config import EvaluateParams, Sizes
from facesr.data.groups import FEW_PEOPLE
from facesr.data.manifest import Entry, read_by_stem
from facesr.data.pairs import HR, LR, Pairs, load_pairs
from facesr.enhance.enhancer import Enhancer
from facesr.errors import DataError
from facesr.evaluation.baselines import Method, build_baselines
from facesr.evaluation.groups import GROUP_COLUMNS, group, group_rows, group_table
from facesr.evaluation.scores import (
    MEASUREMENT,
    PRECISION,
    Score,
    check_pairs_match,
    enhanced_by,
    gain,
    methods_of,
    score,
    table,
    write_table,
)
from facesr.evaluation.sheets import Sheet
from facesr.names import (
    BICUBIC,
    FACES,
    FULL_SIZE,
    GAN,
    GAN_ENLARGED,
    GENERATOR,
    GENERATOR_SIZE,
    STARTER,
    UPSAMPLED,
    EvaluationSet,
)
from facesr.reports import figures
from facesr.stats import Summary, headlines, read_table

# Before the name of a recipe: the validation faces as it degrades them.
VALID = "valid"
# Of each validation set on the sheet that they share.
SHOWN_PER_RECIPE = 2
# Of each evaluation set as files of their own, which DVC and MLflow show side by side.
SHOWN_ALONE = 2
# Bicubic is the line itself, nearest far to its left.
UNDRAWN = (BICUBIC, "nearest")


class _Set(NamedTuple):
    """Images to measure on."""

    name: str
    lr: Path
    hr: Path
    entries: Mapping[str, Entry]
    """Rows of the manifest by stem."""
    most: int | None
    """Images of a validation set, at most; None takes all."""


class _Measured(NamedTuple):
    set: _Set
    pairs: Pairs
    """At full size."""
    scores: Mapping[str, Sequence[Score]]
    """By the name of the size."""


def evaluate(
    params: EvaluateParams,
    *,
    sizes: Sizes,
    sets: Mapping[str, EvaluationSet],
    valid: Path,
    validation_sets: Path,
    generator: Path,
    gan: Path,
    upsampler: Path,
    starter: Path,
    report: Path,
    summary: Path,
) -> None:
    """Measure the trained networks beside the baselines on held-out pairs.

    Args:
        params: Baselines, guards and counts.
        sizes: Sides of the two tables.
        sets: By name; the manifest of `faces` knows the validation faces as well.
        valid: Pairs of the validation faces.
        validation_sets: Folder of packs: the validation faces' views by one recipe each, measured
            as the sets `valid RECIPE`.
        generator: Weights.
        gan: Weights.
        upsampler: Weights.
        starter: Weights of the network that ships with the package, which serves until a version
            is better.
        report: Gets `per_image.csv`, `tables.md`, results by group as `groups.csv`, `groups.md` and
            `groups.png`, the gains as `gains.png`, and `sheets/SET.png` with images that may be
            shown; those of the validation sets stand together in `sheets/valid.png`. The first
            images of a set are also `images/SET/1.png` and so on.
            `measurement.json` names device and number format.
        summary: Gets the `headlines` of per_image.csv as JSON.

    Raises:
        DataError: Pairs or manifests are missing, or pairs look mis-matched.
        CheckpointError: Weights are missing or damaged.
    """
    tables = _methods_by_size(params.back_projections, generator, gan, upsampler, starter)
    if sizes.generator_size == sizes.lr_size:
        # There the starter has nothing to enlarge, and the GAN alone never serves.
        del tables[GENERATOR_SIZE][STARTER]
    measured = [
        _measure(one, tables, sizes=sizes, minimum_psnr=params.minimum_psnr)
        for one in _sets(sets, valid, validation_sets, params.validation_images)
    ]
    _write_tables(measured, sizes=sizes, report=report)
    _write_groups(measured, params, report=report)
    _write_sheets(measured, tables, sizes=sizes, count=params.sheet_images, report=report)
    _write_measurement(Enhancer.from_files([gan, upsampler]), report / MEASUREMENT)
    scores = (report / "per_image.csv").read_text(encoding="utf-8")
    reports.write_json(summary, headlines(read_table(scores)))


def _write_measurement(chain: Enhancer, path: Path) -> None:
    """Name what the metrics were measured with, and the number format that serves here."""
    reports.write_json(
        path,
        {
            "device": chain.device.type,
            "precision": PRECISION,
            "served_precision": str(chain.find_dtype()).removeprefix("torch."),
        },
    )


def _methods_by_size(
    back_projections: int, generator: Path, gan: Path, upsampler: Path, starter: Path
) -> dict[str, dict[str, Method]]:
    def chain(*paths: Path) -> Enhancer:
        return Enhancer.from_files(paths, precision=PRECISION)

    baselines = build_baselines(back_projections)
    return {
        GENERATOR_SIZE: {
            **baselines,
            STARTER: enhanced_by(chain(starter)),
            GENERATOR: enhanced_by(chain(generator)),
            GAN: enhanced_by(chain(gan)),
        },
        FULL_SIZE: {
            **baselines,
            STARTER: enhanced_by(chain(starter)),
            GAN_ENLARGED: _enlarged(chain(gan)),
            UPSAMPLED: enhanced_by(chain(gan, upsampler)),
        },
    }


def _enlarged(enhancer: Enhancer) -> Method:
    def method(lr: Tensor, side: int) -> Tensor:
        restored = enhancer.enhance(lr).image
        return images.resize(restored, (side, side), "bicubic").clamp(0, 1)

    return method


def _sets(
    sets: Mapping[str, EvaluationSet],
    valid: Path,
    validation_sets: Path,
    most: int,
) -> Iterator[_Set]:
    entries = {name: read_by_stem(one.images) for name, one in sets.items()}
    for name, one in sets.items():
        yield _Set(name, one.pairs / LR, one.pairs / HR, entries[name], None)
    for folder in sorted(validation_sets.glob("*")):
        yield _Set(f"{VALID} {folder.name}", folder, valid / HR, entries[FACES], most)


def _measure(
    one: _Set, tables: Mapping[str, Mapping[str, Method]], *, sizes: Sizes, minimum_psnr: float
) -> _Measured:
    scores: dict[str, list[Score]] = {}
    for size, methods in tables.items():
        pairs = load_pairs(one.lr, one.hr, hr_size=sizes.outputs[size])
        pairs = Pairs(pairs.stems[: one.most], pairs.lr[: one.most], pairs.hr[: one.most])
        unknown = [stem for stem in pairs.stems if stem not in one.entries]
        if unknown:
            raise DataError(
                f"{unknown[0]} of {one.lr} stands in no manifest. Run: dvc repro -f degrade"
            )
        scores[size] = score(methods, pairs, label=f"{one.name}, {size}")
        check_pairs_match(scores[size], minimum=minimum_psnr, where=str(one.lr))
    # The last table's pairs are those at full size.
    return _Measured(one, pairs, scores)


def _write_tables(measured: Sequence[_Measured], *, sizes: Sizes, report: Path) -> None:
    rows = []
    texts = [INTRODUCTION]
    for one in measured:
        for size, scores in one.scores.items():
            rows += [(one.set.name, size, score) for score in scores]
            side = sizes.outputs[size]
            title = f"## {one.set.name.capitalize()}, {size}: {sizes.lr_size} → {side} px"
            texts.append(f"{title}\n\n{table(scores, side=side)}")
    write_table(report / "per_image.csv", rows)
    reports.write_text(report / "tables.md", "\n\n".join(texts) + "\n")


def _write_groups(measured: Sequence[_Measured], params: EvaluateParams, *, report: Path) -> None:
    smallest = params.smallest_group
    rows: list[dict[str, str | int | float]] = []
    texts = [GROUPS_INTRODUCTION.format(smallest=smallest, few=FEW_PEOPLE)]
    drawn: dict[str, dict[str, Summary]] = {}
    for one in measured:
        # Of the test sets: validation faces are few, and the same for each recipe.
        if one.set.most:
            continue
        scores, entries = one.scores[FULL_SIZE], one.set.entries
        rows += group_rows(one.set.name, scores, entries, smallest=smallest)
        for method in (UPSAMPLED, STARTER):
            if rendered := group_table(scores, entries, method, smallest=smallest):
                count = f"{len(one.pairs.stems)} images, {FULL_SIZE}"
                texts.append(f"## {one.set.name.capitalize()}, {method}, {count}\n\n{rendered}")
            for found in group(scores, entries, method, smallest=smallest):
                label = f"{one.set.name}: {found.label}, {found.size} people"
                drawn.setdefault(label, {})[method] = found.gain
    reports.write_csv(report / "groups.csv", rows, header=GROUP_COLUMNS)
    reports.write_text(report / "groups.md", "\n\n".join(texts) + "\n")
    if drawn:
        figures.draw_gains(
            drawn,
            report / "groups.png",
            title="Gain in PSNR over bicubic by group",
            label="dB, mean over people ± standard error",
        )


def _write_sheets(
    measured: Sequence[_Measured],
    tables: Mapping[str, Mapping[str, Method]],
    *,
    sizes: Sizes,
    count: int,
    report: Path,
) -> None:
    title = f"{sizes.lr_size} px to {sizes.generator_size} and {sizes.hr_size}"
    by_recipe = Sheet(sizes, tables)
    for one in measured:
        sheet, shown = (
            (by_recipe, SHOWN_PER_RECIPE) if one.set.most else (Sheet(sizes, tables), count)
        )
        sheet.add(one.set.name, one.pairs, one.scores[FULL_SIZE], one.set.entries, count=shown)
        if sheet is not by_recipe:
            sheet.write(report / "sheets" / f"{one.set.name}.png", f"{one.set.name}: {title}")
            sheet.write_each(report / "images" / one.set.name, SHOWN_ALONE)
    by_recipe.write(report / "sheets" / f"{VALID}.png", f"validation faces by recipe: {title}")
    gains = {
        one.set.name: {
            method: gain(one.scores[FULL_SIZE], method)
            for method in methods_of(one.scores[FULL_SIZE])
            if method not in UNDRAWN
        }
        for one in measured
    }
    figures.draw_gains(
        gains,
        report / "gains.png",
        title=f"Gain in PSNR over bicubic, {sizes.lr_size} to {sizes.hr_size} px",
        label="dB, mean over images ± standard error",
    )


INTRODUCTION = """\
# Evaluation

Bicubic comes first: a method below it has not learned anything. `Lanczos + back-projections` needs
no learning either, but knows how clean images were reduced. Every result is rounded to 8 bits
before it is measured. PSNR is the mean over images, peak 255, over all values of R, G and B. MSE
and L1 are in grey levels of 0 to 255; "L1 sum" adds all values of an image up, as the study did.
"Clipped" is the share of values at 0 or 255 (over-exposure); "luma shift" the change of mean
brightness; "gradient energy" that of the result over that of the original (below 1: smoother).
"LPIPS" is the perceptual distance on AlexNet (0: no difference is seen), "identity" the cosine of
the descriptors that dlib's face network gives the original's face and the restored one (1: the same
face; two people have 0.83 on average), over the images in which dlib finds a face.
Both need weights that facesr does not bring, and are *not available* without: docs/data.md.

**The study's own figures cannot be reproduced.** It reports PSNR 4.3 dB at 128 px and 4.37 to
4.46 dB at 512 px. Its MSE of 25,652 beside a mean difference of 73 grey levels is impossible for an
error averaged over all values: the squared errors of three channels were added up and divided by
height and width only, which lowers PSNR by 4.77 dB. What remains is the distance of two unrelated
faces: the lists of results and originals were paired in unsorted order. Matched pairs score 20 to
35 dB; unrelated faces, measured rightly, about 8 dB."""

GROUPS_INTRODUCTION = """\
# Results by group of images

Groups are the attributes in the manifests, as their sources report them. The gain is over bicubic,
mean over people ± standard error (of LPIPS it is below 0 where the model is better); the difference
is to the people of the set with another value. A difference below two standard errors can be
chance, and so can any result of a group of fewer than {few} people, which is marked. Groups of
fewer than {smallest} images are left out. All metrics and methods: groups.csv."""
