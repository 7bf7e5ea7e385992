"""Enhancement of many files, each of them once.

A failure is reported and does not stop the others. Results are written atomically, so that an
interrupted run continues where it was.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from facesr import __version__, images, metrics
from facesr.enhance import stores, video
from facesr.enhance.enhancer import DEFAULTS, EnhanceOptions, Enhancer
from facesr.enhance.jobs import ENDINGS, Job
from facesr.enhance.stores import Place
from facesr.errors import DataError, FaceSRError
from facesr.images import photos
from facesr.images.metadata import SOFTWARE
from facesr.images.photos import Format, Photo

logger = logging.getLogger(__name__)

# Nanoseconds to which file systems round times down: FAT, HFS+, exFAT, NTFS, ext4.
_CLOCK_STEPS = (2_000_000_000, 1_000_000_000, 10_000_000, 100, 1)

Status = Literal["enhanced", "skipped", "failed"]


@dataclass(frozen=True)
class Options:
    """Options of reading, enhancing and writing."""

    enhance: EnhanceOptions = DEFAULTS
    file_format: Format | None = None
    """Format of the results; None keeps that of each image."""
    quality: int = photos.QUALITY
    keep_metadata: bool = True
    keep_gps: bool = False
    max_pixels: int = photos.MAX_PIXELS
    overwrite: bool = False


@dataclass(frozen=True)
class Outcome:
    """Outcome for one file."""

    job: Job
    status: Status
    error: str = ""
    stale: Literal["", "older", "options"] = ""
    """Set if an existing result seems older than its image or made with other options."""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    model: str = ""
    input_size: tuple[int, int] | None = None
    """Height and width in pixels."""
    output_size: tuple[int, int] | None = None
    clipped_fraction: float | None = None
    """Share of the result's values at the ends of the range."""
    input_clipped_fraction: float | None = None
    luma_shift: float | None = None
    """Mean brightness of the result minus that of the image, in grey levels of 255."""
    before: Photo | None = None
    after: Photo | None = None
    """Result, if images are kept."""


class StoppedError(Exception):
    """The work was cancelled."""


def run(
    enhancer: Enhancer,
    jobs: Sequence[Job],
    options: Options,
    *,
    workers: int = 1,
    keep_images: int = 0,
    on_tile: Callable[[int, int], None] | None = None,
) -> Iterator[Outcome]:
    """Enhance files and yield their outcomes as they finish.

    If the caller stops iterating, unfinished work is cancelled and leaves nothing behind.

    Args:
        jobs: Jobs from `jobs.plan`.
        workers: Images in work at a time.
        keep_images: Number of first outcomes that keep their images.
        on_tile: Called with the progress within an image.
    """
    stop = threading.Event()

    def progress(done: int, total: int) -> None:
        if stop.is_set():
            raise StoppedError
        if on_tile:
            on_tile(done, total)

    waiting = iter(enumerate(jobs))
    running: set[Future[Outcome]] = set()
    with ThreadPoolExecutor(workers, thread_name_prefix="facesr") as pool:
        try:
            while True:
                # Never more than the workers need: millions of jobs take no memory.
                for position, job in islice(waiting, 2 * workers - len(running)):
                    keeps = position < keep_images
                    running.add(
                        pool.submit(
                            enhance_file, enhancer, job, options, keep=keeps, on_progress=progress
                        )
                    )
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def enhance_file(
    enhancer: Enhancer,
    job: Job,
    options: Options,
    *,
    keep: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Enhance one file; errors become part of the outcome, which has the images with `keep`.

    `on_progress`, as in `Enhancer.enhance`, raises `StoppedError` to cancel.
    """
    start = time.perf_counter()
    try:
        if job.target.exists() and not options.overwrite:
            return Outcome(job, "skipped", stale=_stale(job, enhancer.model, options))
        if job.is_video:
            return _enhance_video(enhancer, job, options, on_progress)
        content = job.source if isinstance(job.source, Path) else job.source.read_bytes()
        before = photos.read(
            content, name=str(job.source), max_pixels=options.max_pixels, keep_gps=options.keep_gps
        )
        modified = job.source.stat().st_mtime_ns if isinstance(job.source, Path) else None
        after, result = enhancer.enhance_photo(
            before, options.enhance, max_pixels=options.max_pixels, on_progress=on_progress
        )
        encoded = encode(after, result.model, options, job.target)
        stores.write(job.target, encoded, modified=modified)
    except StoppedError:
        raise
    except FaceSRError as error:
        return _failed(job, str(error))
    except OSError as error:
        return _failed(job, f"{job.target} cannot be written ({error.strerror or error}).")
    except Exception as error:
        # One image that shows a fault of ours must not take the other thousands with it.
        logger.debug("%s", job.source, exc_info=True)
        return _failed(job, f"{type(error).__name__}: {error}")
    # What lies beneath transparent pixels counts for nothing.
    seen = photos.composite_on_white(before), photos.composite_on_white(after)
    return Outcome(
        job,
        "enhanced",
        notes=notes_on(after, options, job.target),
        seconds=time.perf_counter() - start,
        model=result.model,
        input_size=result.input_size,
        output_size=result.output_size,
        clipped_fraction=float(metrics.clipped_fraction(seen[1][None])),
        input_clipped_fraction=float(metrics.clipped_fraction(seen[0][None])),
        luma_shift=_luma_shift(*seen),
        before=before if keep else None,
        after=after if keep else None,
    )


def _enhance_video(
    enhancer: Enhancer, job: Job, options: Options, on_progress: Callable[[int, int], None] | None
) -> Outcome:
    """Enhance a video as `enhance_file`; errors are raised."""
    if not isinstance(job.source, Path) or not isinstance(job.target, Path):
        raise DataError(f"{job.source}: videos are enhanced on this machine. Copy it here first.")
    start = time.perf_counter()
    enhance = partial(
        enhancer.enhance_photo, options=options.enhance, max_pixels=options.max_pixels
    )
    result = video.enhance_video(
        job.source,
        job.target,
        lambda frame: enhance(Photo(frame))[0].colour,
        key=f"{enhancer.model} {options.enhance}",
        software=_software(enhancer.model, options, None),
        keep_metadata=options.keep_metadata,
        keep_gps=options.keep_gps,
        overwrite=options.overwrite,
        on_progress=on_progress,
    )
    if result is None:
        return Outcome(job, "skipped")
    return Outcome(
        job,
        "enhanced",
        notes=result.notes,
        seconds=time.perf_counter() - start,
        model=enhancer.model,
    )


def _failed(job: Job, reason: str) -> Outcome:
    named = reason if str(job.source) in reason else f"{job.source}: {reason}"
    return Outcome(job, "failed", error=named)


def _stale(job: Job, model: str, options: Options) -> Literal["", "older", "options"]:
    """Compare an existing result with its image and with the present options."""
    if not isinstance(job.source, Path) or not isinstance(job.target, Path):
        return ""  # each would have to be fetched
    try:
        newest, kept = job.source.stat().st_mtime_ns, job.target.stat().st_mtime_ns
        step = next(step for step in _CLOCK_STEPS if kept % step == 0)
        if newest // step > kept // step:
            return "older"
        with images.opened(job.target) as result:
            made_by = str(result.getexif().get(SOFTWARE, ""))
    except (OSError, DataError):
        return ""
    program, _, how = made_by.partition(", ")
    wanted = _software(model, options, ENDINGS.get(job.target.suffix.lower()))
    # The version may have changed.
    is_other = program.startswith("facesr ") and how != wanted.partition(", ")[2]
    return "options" if is_other else ""


def _software(model: str, options: Options, file_format: Format | None) -> str:
    """Return the metadata of a result: version, options that change pixels, model."""
    asked = replace(options.enhance, tile=None, faces="off")
    how = [
        f"{name} {value:g}" if name == "scale" else f"{name} {value}"
        for name, value in vars(asked).items()
        if value != getattr(DEFAULTS, name)
    ]
    if options.enhance.faces != "off":
        how.append("faces and background" if options.enhance.faces == "also" else "faces")
    if options.quality != photos.QUALITY and file_format in ("jpeg", "webp"):
        how.append(f"quality {options.quality}")
    return ", ".join([f"facesr {__version__}", *how, model])


def file_format(photo: Photo, options: Options, target: Place | None = None) -> Format:
    """Return the format of a result, by the target's name or the options."""
    by_name = ENDINGS.get(target.suffix.lower()) if target else None
    return by_name or options.file_format or photo.format


def notes_on(photo: Photo, options: Options, target: Place | None = None) -> tuple[str, ...]:
    """Return notes on a result, also on losses in its format."""
    chosen = file_format(photo, options, target)
    losses = photos.losses(photo, chosen, keep_metadata=options.keep_metadata)
    return (*photo.notes, *losses)


def encode(photo: Photo, model: str, options: Options, target: Place | None = None) -> bytes:
    """Encode a result in its format; raise DataError if the image is too large for that."""
    chosen = file_format(photo, options, target)
    return photos.encode(
        photo,
        file_format=chosen,
        quality=options.quality,
        keep_metadata=options.keep_metadata,
        software=_software(model, options, chosen),
    )


def _luma_shift(before: Tensor, after: Tensor) -> float:
    weights = torch.tensor(images.LUMA)
    means = [image.mean((1, 2)) @ weights for image in (before, after)]
    return 255 * float(means[1] - means[0])
