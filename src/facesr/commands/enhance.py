"""`facesr enhance`: pictures in, enlarged pictures out."""

import argparse
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facesr.errors import DataError, ParamsError

if TYPE_CHECKING:
    from torch import Tensor

    from facesr.batch import Job, Options, Outcome
    from facesr.enhancer import Enhancer

PIPE = "-"
SCALE = 4.0
SHEET_PICTURES, SHEET_CELL = 6, 512
REPORT_COLUMNS = (
    "picture",
    "result",
    "model",
    "seconds",
    "input_size",
    "output_size",
    "input_clipped_fraction",
    "clipped_fraction",
    "luma_shift",
)


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describes the command and its options."""
    parser = commands.add_parser(
        "enhance",
        help="enlarge and restore pictures",
        description=(
            "Enlarges and restores pictures: files, folders with all below them, patterns, or - "
            "for a pipe. What is done already is left alone, so a run that was stopped goes on "
            "where it was. A video is enhanced frame by frame, its sound is copied."
        ),
        epilog="Example: facesr enhance holiday/ -o holiday-large --scale 2",
    )
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        metavar="IN",
        help="file, folder, pattern, s3://BUCKET/FOLDER, or - for standard input",
    )
    add(
        "-o",
        "--output",
        required=True,
        metavar="OUT",
        help="folder, file, s3://BUCKET/FOLDER, or - for a pipe",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--scale", type=float, help="enlargement (default: 4)")
    size.add_argument("--size", type=int, help="longer side of the results in pixels")
    add(
        "--model",
        help="facesr@ALIAS, facesr/NUMBER, a weights file, starter or bicubic "
        "(default: the champion, else the starter, else bicubic)",
    )
    add("--strength", type=float, default=1.0, help="1 crisp, 0 faithful (default: 1)")
    add(
        "--colour",
        choices=("wavelet", "adain", "none"),
        default="wavelet",
        help="holds the colours to those of the picture (default: wavelet)",
    )
    add(
        "--back-projections",
        type=int,
        default=0,
        metavar="N",
        help="corrections that make the reduced result equal the picture; for clean ones only",
    )
    add(
        "--self-ensemble",
        action="store_true",
        help="mean of eight mirrored and turned results: a little better, eight times as long",
    )
    add("--faces", action="store_true", help="find the faces and restore them")
    add(
        "--background",
        choices=("bicubic", "model"),
        help="with --faces: what enlarges the rest (default: bicubic)",
    )
    add("--format", choices=("jpeg", "png", "webp", "tiff"), help="default: that of each picture")
    add("--quality", type=int, default=95, help="of JPEG and WebP, 1 to 100 (default: 95)")
    add(
        "--metadata",
        choices=("keep", "strip"),
        default="keep",
        help="camera data (default: keep, but never the place)",
    )
    add("--keep-gps", action="store_true", help="keep the place where the picture was taken")
    add("--force", action="store_true", help="make results again that are there")
    add(
        "--jobs",
        type=int,
        metavar="N",
        help="pictures at a time (default: 1; with --ray one for each GPU or processor)",
    )
    add(
        "--ray",
        metavar="ADDRESS",
        help="share the pictures among the machines of a Ray cluster; local starts one here",
    )
    add("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    add(
        "--precision",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="of the networks' arithmetic (default: auto)",
    )
    add("--tile", type=int, metavar="PIXELS", help="side of the parts of a large picture")
    add("--max-pixels", type=int, metavar="N", help="refuse larger pictures and results")
    add("--sheet", type=Path, metavar="PNG", help="write the first pictures before and after")
    add(
        "--report",
        type=Path,
        metavar="CSV",
        help="write sizes, seconds, clipped fraction and luma shift of every picture",
    )
    add("--json", action="store_true", help="one JSON object per picture, and one for the summary")
    parser.set_defaults(command=_enhance)


def _enhance(parsed: argparse.Namespace) -> None:
    from facesr import batch, choice, photos, stores, video

    if parsed.jobs is not None and parsed.jobs < 1:
        raise ParamsError(f"--jobs must be at least 1, not {parsed.jobs}.")
    if parsed.ray and (parsed.sheet or PIPE in parsed.inputs):
        raise ParamsError("--ray works from files to files: neither - nor --sheet goes with it.")
    if parsed.background and not parsed.faces:
        raise ParamsError("--background says what is around faces. Give --faces too.")
    if not 1 <= parsed.quality <= 100:
        raise ParamsError(f"--quality must lie between 1 and 100, not {parsed.quality}.")
    options = batch.Options(
        enhance={
            "size": parsed.size,
            "scale": None if parsed.size else parsed.scale or SCALE,
            "strength": parsed.strength,
            "colour": parsed.colour,
            "back_projections": parsed.back_projections,
            "self_ensemble": parsed.self_ensemble,
            "tile": parsed.tile or "auto",
        },
        file_format=parsed.format,
        quality=parsed.quality,
        keep_metadata=parsed.metadata == "keep",
        keep_gps=parsed.keep_gps,
        max_pixels=parsed.max_pixels or photos.MAX_PIXELS,
        overwrite=parsed.force,
        faces=parsed.faces,
        background=parsed.background == "model",
    )
    if len(parsed.inputs) == 1 and Path(parsed.inputs[0]).suffix.lower() in video.SUFFIXES:
        _video(Path(parsed.inputs[0]), Path(parsed.output), options, parsed)
        return
    # What is wrong with the paths is said before seconds go into loading weights.
    through_pipe = PIPE in parsed.inputs
    if through_pipe and len(parsed.inputs) > 1:
        raise ParamsError("- stands for the only picture. Leave the other inputs away.")
    if parsed.output == PIPE and not through_pipe:
        raise ParamsError("Only a picture from a pipe goes to a pipe: give - as the input too.")
    output = stores.parse(parsed.output)
    jobs = [] if through_pipe else batch.plan(parsed.inputs, output, parsed.format)
    enhancer = choice.load(
        parsed.model, root=Path.cwd(), device=parsed.device, precision=parsed.precision
    )
    if through_pipe:
        _pipe(enhancer, options, parsed.output)
        return
    _run(enhancer, jobs, options, parsed)


def _video(source: Path, target: Path, options: "Options", parsed: argparse.Namespace) -> None:
    from tqdm import tqdm

    from facesr import __version__, batch, choice, video
    from facesr.photos import Photo

    if parsed.ray or parsed.sheet or parsed.report or parsed.json:
        raise ParamsError("--ray, --sheet, --report and --json are for pictures, not for a video.")
    if target.is_dir():
        target = target / source.name
    if target.exists() and target.resolve() == source.resolve():
        raise ParamsError(f"{source} would be written onto itself. Name another file.")
    if target.exists() and not options.overwrite:
        print(f"{target} is there already")
        return
    enhancer = choice.load(
        parsed.model, root=Path.cwd(), device=parsed.device, precision=parsed.precision
    )

    def enhance(frame: "Tensor") -> "Tensor":
        return batch.enhance_photo(enhancer, Photo(frame), options)[0].colour

    with tqdm(unit="frame") as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        how = (options.enhance, options.faces, options.background)
        count = video.enhance_video(
            source,
            target,
            enhance,
            software=f"facesr {__version__}, {enhancer.model}",
            key=f"{enhancer.model} {how}",
            on_progress=on_progress,
        )
    print(f"{count} frames enhanced with {enhancer.model}: {target}")


def _pipe(enhancer: "Enhancer", options: "Options", output: str) -> None:
    from facesr import batch, photos
    from facesr.files import written_whole

    photo = photos.read(
        sys.stdin.buffer.read(), max_pixels=options.max_pixels, keep_gps=options.keep_gps
    )
    target = None if output == PIPE else Path(output)
    if target and target.exists() and not options.overwrite:
        raise ParamsError(f"{target} is there already. Name another file, or give --force.")
    photo, result = batch.enhance_photo(enhancer, photo, options)
    for note in photo.notes:
        logging.getLogger(__name__).warning("%s", note)
    encoded = batch.encode(photo, result.model, options, target)
    if target is None:
        sys.stdout.buffer.write(encoded)
        return
    with written_whole(target) as beside:
        beside.write_bytes(encoded)


def _run(
    enhancer: "Enhancer", jobs: "Sequence[Job]", options: "Options", parsed: argparse.Namespace
) -> None:
    from facesr import photos, reports

    start = time.perf_counter()
    counts: Counter[str] = Counter()
    rows: list[dict[str, Any]] = []
    shown: dict[str, list[Any]] = {"before": [], "after": []}
    notes: list[str] = []
    for outcome in _with_bar(enhancer, jobs, options, parsed):
        counts[outcome.status] += 1
        if parsed.json:
            print(json.dumps(_as_dict(outcome)), flush=True)
        if outcome.status == "enhanced" and parsed.report:
            rows.append({name: _as_dict(outcome).get(name) for name in REPORT_COLUMNS})
        if outcome.before and outcome.after:
            seen = (photos.lay_on_white(photo) for photo in (outcome.before, outcome.after))
            before, after = _middles(*seen)
            shown["before"].append(before)
            shown["after"].append(after)
            notes.append(f"{outcome.job.source.name}: {_as_dict(outcome)['output_size']}")
    seconds = time.perf_counter() - start
    if parsed.report and rows:
        reports.write_csv(parsed.report, rows)
    if parsed.sheet and notes:
        reports.write_sheet(
            parsed.sheet,
            shown,
            cell=SHEET_CELL,
            title=f"Before and after: {enhancer.model}",
            notes=notes,
        )
    summary = {status: counts[status] for status in ("enhanced", "skipped", "failed")}
    if parsed.json:
        print(json.dumps({"summary": summary, "model": enhancer.model, "seconds": seconds}))
    else:
        print(
            f"{counts['enhanced']} enhanced, {counts['skipped']} there already, "
            f"{counts['failed']} failed in {seconds:.1f} s with {enhancer.model}",
        )
    if counts["failed"]:
        raise DataError(
            f"{counts['failed']} of {len(jobs)} pictures could not be enhanced, for the reasons "
            "named above."
        )


def _with_bar(
    enhancer: "Enhancer", jobs: "Sequence[Job]", options: "Options", parsed: argparse.Namespace
) -> "Iterator[Outcome]":
    """Runs the jobs under a progress bar: of pictures, or of the tiles of a single one."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from facesr import batch

    single = len(jobs) == 1
    with (
        logging_redirect_tqdm(),
        tqdm(total=None if single else len(jobs), unit="tile" if single else "picture") as bar,
    ):

        def on_tile(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        if parsed.ray:
            from facesr import cluster

            outcomes = cluster.run(enhancer, jobs, options, address=parsed.ray, workers=parsed.jobs)
        else:
            outcomes = batch.run(
                enhancer,
                jobs,
                options,
                workers=parsed.jobs or 1,
                keep_pictures=SHEET_PICTURES if parsed.sheet else 0,
                on_tile=on_tile if single else None,
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
    """Cuts the same middle from both, so that the result is seen pixel by pixel."""
    from facesr import images

    side = min(SHEET_CELL, *after.shape[-2:])
    own = max(1, round(side * before.shape[-1] / after.shape[-1]))
    # Copies, so that the whole pictures are not kept for them.
    return images.centre_square(before, own).clone(), images.centre_square(after, side).clone()


def _as_dict(outcome: "Outcome") -> dict[str, Any]:
    values = {
        "picture": str(outcome.job.source),
        "result": str(outcome.job.target),
        "status": outcome.status,
        "error": outcome.error,
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
    """Width before height, as people write it."""
    return f"{size[1]}x{size[0]}" if size else None
