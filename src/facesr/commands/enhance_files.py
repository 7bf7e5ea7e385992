"""Files from `facesr enhance`: progress, report and sheet."""

import argparse
import csv
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesr.errors import DataError, ParamsError

if TYPE_CHECKING:
    from torch import Tensor

    from facesr.enhance.batch import Options, Outcome
    from facesr.enhance.enhancer import Enhancer
    from facesr.enhance.jobs import Job

SHEET_IMAGES, SHEET_CELL = 6, 512
REPORT_COLUMNS = (
    "image",
    "result",
    "model",
    "seconds",
    "input_size",
    "output_size",
    "input_clipped_fraction",
    "clipped_fraction",
    "luma_shift",
)
_STALE = {"older": "older than their image", "options": "made with other options"}


def check_files(parsed: argparse.Namespace) -> None:
    """Raise ParamsError, before the weights are loaded, if report or sheet cannot be written."""
    if parsed.sheet and (parsed.sheet.suffix.lower() != ".png" or parsed.sheet.is_dir()):
        raise ParamsError(f"--sheet {parsed.sheet} must end in .png.")
    if parsed.report:
        _Report(parsed.report)


def enhance_files(
    enhancer: "Enhancer", jobs: "Sequence[Job]", options: "Options", parsed: argparse.Namespace
) -> None:
    """Enhance images under a progress bar; raise DataError at the end if some failed."""
    from facesr.images import photos
    from facesr.reports import sheets

    start = time.perf_counter()
    counts: Counter[str] = Counter()
    report = _Report(parsed.report) if parsed.report else None
    if report:
        report.tidy()
    shown: dict[str, list[Any]] = {"before": [], "after": []}
    notes: list[str] = []
    try:
        for outcome in _with_bar(enhancer, jobs, options, parsed):
            counts[outcome.status] += 1
            counts[outcome.stale] += 1
            values = _as_dict(outcome)
            if parsed.json:
                print(json.dumps(values), flush=True)
            if report and outcome.status != "failed":
                report.add(values)
            if outcome.before and outcome.after:
                seen = (
                    photos.composite_on_white(photo) for photo in (outcome.before, outcome.after)
                )
                before, after = _middles(*seen)
                shown["before"].append(before)
                shown["after"].append(after)
                notes.append(f"{outcome.job.source.name}: {values['output_size']}")
    finally:
        if report:
            report.tidy()
    seconds = time.perf_counter() - start
    if parsed.sheet and notes:
        sheets.write_sheet(
            parsed.sheet,
            shown,
            cell=SHEET_CELL,
            title=f"Before and after: {enhancer.model}",
            notes=notes,
        )
    summary = {status: counts[status] for status in ("enhanced", "skipped", "failed")}
    stale = {kind: counts[kind] for kind in _STALE if counts[kind]}
    if parsed.json:
        values = {"summary": summary, "model": enhancer.model, "seconds": seconds}
        print(json.dumps(values | ({"stale": stale} if stale else {})))
    elif not parsed.quiet:
        print(
            f"{counts['enhanced']} enhanced, {counts['skipped']} already there{_in_words(stale)}, "
            f"{counts['failed']} failed in {seconds:.1f} s with {enhancer.model}"
        )
    if counts["failed"]:
        raise DataError(
            f"{counts['failed']} of {len(jobs)} images could not be enhanced, for the reasons "
            "named above."
        )


def _in_words(stale: dict[str, int]) -> str:
    parts = ", ".join(f"{count} {_STALE[kind]}" for kind, count in stale.items())
    return f" ({parts}: --force makes them again)" if parts else ""


class _Report:
    """Table with a row for each image, also of earlier runs, flushed after every row."""

    def __init__(self, path: Path) -> None:
        """Read the rows of earlier runs; raise ParamsError if it is no such table."""
        self.path = path
        self.rows: dict[tuple[str, str], dict[str, Any]] = {}
        if path.exists():
            self._read()

    def _read(self) -> None:
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                rows = list(reader)
        except (OSError, UnicodeDecodeError, csv.Error):
            reader, rows = None, []
        if reader is None or (reader.fieldnames and tuple(reader.fieldnames) != REPORT_COLUMNS):
            raise ParamsError(
                f"{self.path} is not a report of facesr enhance. Choose another file."
            )
        for row in rows:
            # A process that was killed may have left half a line.
            if None not in row and None not in row.values():
                self.rows[row["image"], row["result"]] = row

    def add(self, values: dict[str, Any]) -> None:
        """Append a row; for an image that was done before it is empty, or stays."""
        row = {name: values.get(name, "") for name in REPORT_COLUMNS}
        for name in ("image", "result"):
            # Names of files may hold bytes that are no text.
            row[name] = row[name].encode(errors="backslashreplace").decode()
        key = row["image"], row["result"]
        if values["status"] == "skipped" and key in self.rows:
            return
        self.rows[key] = row
        is_new = not self.path.exists() or not self.path.stat().st_size
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, REPORT_COLUMNS, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def tidy(self) -> None:
        """Keep one row of each image, also of those from other processes."""
        from facesr import reports

        own = self.rows
        self.rows = {}
        if self.path.exists():
            self._read()
        if rows := [*(self.rows | own).values()]:
            reports.write_csv(self.path, rows, REPORT_COLUMNS)


def _with_bar(
    enhancer: "Enhancer", jobs: "Sequence[Job]", options: "Options", parsed: argparse.Namespace
) -> "Iterator[Outcome]":
    """Run the jobs under a progress bar over images, or over the tiles of a single one."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from facesr.enhance import batch

    single = len(jobs) == 1
    part = "frame" if jobs[0].is_video else "tile"
    with (
        logging_redirect_tqdm(),
        tqdm(
            total=None if single else len(jobs),
            unit=part if single else "file",
            disable=parsed.quiet or None,
        ) as bar,
    ):

        def on_tile(done: int, total: int) -> None:
            if single:
                bar.total = total
                bar.update(done - bar.n)
            else:
                bar.set_postfix_str(f"{done} of {total} parts of this one")

        if parsed.ray:
            from facesr.enhance import cluster

            outcomes = cluster.run(enhancer, jobs, options, address=parsed.ray, workers=parsed.jobs)
        else:
            outcomes = batch.run(
                enhancer,
                jobs,
                options,
                workers=parsed.jobs or 1,
                keep_images=SHEET_IMAGES if parsed.sheet else 0,
                on_tile=on_tile if (parsed.jobs or 1) == 1 else None,
            )
        for outcome in outcomes:
            if not single:
                bar.update()
            for note in outcome.notes:
                logging.getLogger(__name__).warning("%s: %s", outcome.job.source, note)
            if outcome.error:
                logging.getLogger(__name__).error("failed: %s", outcome.error)
            yield outcome


def _middles(before: "Tensor", after: "Tensor") -> "tuple[Tensor, Tensor]":
    """Cut the same middle from both, to be shown pixel by pixel."""
    from facesr import images

    side = min(SHEET_CELL, *after.shape[-2:])
    own = max(1, round(side * before.shape[-1] / after.shape[-1]))
    # Copies, so that the whole images are not kept for them.
    return images.centre_square(before, own).clone(), images.centre_square(after, side).clone()


def _as_dict(outcome: "Outcome") -> dict[str, Any]:
    values = {
        "image": str(outcome.job.source),
        "result": str(outcome.job.target),
        "status": outcome.status,
        "error": outcome.error,
        "stale": outcome.stale,
        "notes": list(outcome.notes),
        "model": outcome.model,
        "seconds": round(outcome.seconds, 4),
        "input_size": _size(outcome.input_size),
        "output_size": _size(outcome.output_size),
        "input_clipped_fraction": outcome.input_clipped_fraction,
        "clipped_fraction": outcome.clipped_fraction,
        "luma_shift": outcome.luma_shift,
    }
    return {name: value for name, value in values.items() if value not in ("", [], None)}


def _size(size: tuple[int, int] | None) -> str | None:
    """Format width before height."""
    return f"{size[1]}x{size[0]}" if size else None
