"""Many picture files through one Enhancer: which go where, and each of them once.

A file that cannot be enhanced is told and never stops the others. A result appears whole or not at
all, so that a run that was stopped goes on where it was.
"""

import glob
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, Literal

import torch
from torch import Tensor

from facesr import __version__, images, metrics, photos, stores
from facesr.enhancer import Enhancer, Result
from facesr.errors import DataError, FaceSRError, ParamsError
from facesr.faces import find_faces, restore_faces
from facesr.photos import Format, Photo
from facesr.stores import Place, StorePath

logger = logging.getLogger(__name__)

Status = Literal["enhanced", "skipped", "failed"]


@dataclass(frozen=True)
class Job:
    """One picture file and where its result belongs."""

    source: Place
    target: Place


@dataclass(frozen=True)
class Options:
    """How pictures are read, enhanced and written."""

    enhance: dict[str, Any] = field(default_factory=dict)
    """Options of `Enhancer.enhance`."""
    file_format: Format | None = None
    """None keeps that of each picture."""
    quality: int = photos.QUALITY
    keep_metadata: bool = True
    keep_gps: bool = False
    max_pixels: int = photos.MAX_PIXELS
    overwrite: bool = False
    faces: bool = False
    """Looks for faces; without `background` only they go through the networks."""
    background: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of one picture."""

    job: Job
    status: Status
    error: str = ""
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
    """Mean brightness of the result less that of the picture, in grey levels of 255."""
    before: Photo | None = None
    after: Photo | None = None
    """Where they were asked for."""


class StoppedError(Exception):
    """The work was called off."""


def plan(inputs: Sequence[str], output: Place, file_format: Format | None = None) -> list[Job]:
    """Finds the pictures and names their results.

    Args:
        inputs: Files, folders, patterns and addresses in an object store; folders are searched to
            the bottom.
        output: A file where its name ends like a picture's and there is one input, else a folder
            in which the folders of the inputs are kept.
        file_format: Of the results; None keeps that of each picture.

    Raises:
        DataError: An input does not exist, cannot be read, or holds no picture.
        ParamsError: A result would be written among or onto the inputs.
    """
    paths = [path for name in inputs for path in _expand(name)]
    folders = [path for path in paths if path.is_dir()]
    found: list[tuple[Place, PurePath]] = []
    for path in paths:
        if path not in folders:
            found.append((path, PurePath(path.name)))
            continue
        if _lies_in(output, path):
            raise ParamsError(
                f"{output} lies inside of {path}, whose pictures are read. Name a folder beside it."
            )
        # Of several folders each keeps its name, as with cp.
        below = PurePath(path.resolve().name) if len(folders) > 1 else PurePath()
        found += [(file, below / inside) for file, inside in _pictures(path)]
    if not found:
        raise DataError(f"{', '.join(inputs)}: no picture there. Name files, folders or patterns.")
    is_file = output.suffix.lower() in photos.FORMATS and not output.is_dir()
    if is_file and len(found) > 1:
        raise ParamsError(f"{len(found)} pictures do not fit into {output}. Name a folder.")
    jobs: dict[Place, Job] = {}
    for source, inside in found:
        target = output if is_file else output / _renamed(inside, file_format)
        if target in jobs and jobs[target].source != source:
            # Such as a.jpg and a.gif, which both become a.png.
            target = target.with_name(f"{inside.name}{target.suffix}")
        if jobs.setdefault(target, Job(source, target)).source != source:
            raise ParamsError(
                f"{source} and {jobs[target].source} would both be written to {target}. "
                "Enhance them one after the other, into different folders."
            )
        if target.resolve() == source.resolve():
            raise ParamsError(f"{source} would be written onto itself. Name another folder.")
    return list(jobs.values())


def run(
    enhancer: Enhancer,
    jobs: Sequence[Job],
    options: Options,
    *,
    workers: int = 1,
    keep_pictures: int = 0,
    on_tile: Callable[[int, int], None] | None = None,
) -> Iterator[Outcome]:
    """Enhances the pictures and yields what became of each, as it is known.

    When the caller stops listening, what has begun is broken off and leaves nothing behind.

    Args:
        enhancer: Shared by all workers.
        jobs: From `plan`.
        options: For all of them.
        workers: Pictures that are worked on at a time.
        keep_pictures: Of the first so many, the outcome holds the pictures themselves.
        on_tile: Told the progress within a picture.
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
                    keeps = position < keep_pictures
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
    """Enhances one file; whatever goes wrong with it is told in the outcome.

    Args:
        enhancer: The Enhancer.
        job: The file and its result.
        options: How.
        keep: Gives the pictures back with the outcome.
        on_progress: As in `Enhancer.enhance`; raises `StoppedError` to break off.

    Raises:
        StoppedError: `on_progress` said so.
    """
    start = time.perf_counter()
    try:
        if job.target.exists() and not options.overwrite:
            return Outcome(job, "skipped")
        content = job.source if isinstance(job.source, Path) else job.source.read_bytes()
        before = photos.read(
            content,
            name=str(job.source),
            max_pixels=options.max_pixels,
            keep_gps=options.keep_gps,
        )
        after, result = enhance_photo(enhancer, before, options, on_progress=on_progress)
        encoded = encode(after, result.model, options, job.target)
        stores.write(job.target, encoded)
    except StoppedError:
        raise
    except FaceSRError as error:
        return Outcome(job, "failed", error=str(error))
    except OSError as error:
        return Outcome(job, "failed", error=f"{job.target} cannot be written ({error.strerror}).")
    except Exception as error:
        # One picture that shows a fault of ours must not take the other thousands with it.
        logger.debug("%s", job.source, exc_info=True)
        return Outcome(job, "failed", error=f"{job.source}: {type(error).__name__}: {error}")
    # What lies beneath transparent pixels counts for nothing.
    seen = photos.lay_on_white(before), photos.lay_on_white(after)
    return Outcome(
        job,
        "enhanced",
        notes=after.notes,
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


def enhance_photo(
    enhancer: Enhancer,
    photo: Photo,
    options: Options,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Photo, Result]:
    """Enhances all of a photograph, or its faces first and foremost, as the options say.

    Raises:
        FaceSRError: As `Enhancer.enhance_photo`.
    """
    limit = options.max_pixels
    colour = photos.fill_transparent(photo).colour
    faces = find_faces(colour) if options.faces else []
    if not faces:
        after, result = enhancer.enhance_photo(
            photo, max_pixels=limit, on_progress=on_progress, **options.enhance
        )
        if options.faces:
            note = "no face was found: the whole picture is enhanced"
            after = replace(after, notes=(*after.notes, note))
        return after, result
    start = time.perf_counter()
    around = enhancer if options.background else Enhancer.bicubic()
    size = {name: options.enhance.get(name) for name in ("size", "scale")}
    after, result = around.enhance_photo(
        photo, max_pixels=limit, **(options.enhance if options.background else size)
    )
    for_faces = options.enhance | {"size": None, "scale": enhancer.scale}

    def restore(crop: Tensor) -> Tensor:
        return enhancer.enhance(crop, on_progress=on_progress, **for_faces).image

    restore_faces(after.colour, colour, faces, restore)
    return after, result._replace(
        image=after.colour, model=enhancer.model, seconds=time.perf_counter() - start
    )


def encode(photo: Photo, model: str, options: Options, target: Place | None = None) -> bytes:
    """Encodes a result in the format that options or the target's name ask for.

    Raises:
        DataError: The picture is too large for the format.
    """
    by_name = photos.FORMATS.get(target.suffix.lower()) if target else None
    return photos.encode(
        photo,
        file_format=by_name or options.file_format,
        quality=options.quality,
        keep_metadata=options.keep_metadata,
        software=f"facesr {__version__}, {model}",
    )


def _luma_shift(before: Tensor, after: Tensor) -> float:
    weights = torch.tensor([0.299, 0.587, 0.114])
    means = [picture.mean((1, 2)) @ weights for picture in (before, after)]
    return 255 * float(means[1] - means[0])


def _expand(name: str) -> list[Place]:
    """One path or address, or the paths that a pattern names where the shell has not done it."""
    place = stores.parse(name)
    if place.exists():
        return [place]
    if glob.has_magic(name) and isinstance(place, Path):
        # Path.glob takes no absolute pattern.
        return [Path(each) for each in sorted(glob.glob(name, recursive=True))]  # noqa: PTH207
    raise DataError(f"{place} does not exist. Check the path.")


def _lies_in(output: Place, folder: Place) -> bool:
    if isinstance(output, Path) and isinstance(folder, Path):
        return output.resolve().is_relative_to(folder.resolve())
    return f"{output}/".startswith(f"{folder}/")


def _pictures(folder: Place) -> list[tuple[Place, PurePath]]:
    """As `images.find`, with the paths below; a folder that cannot be read is no empty one."""
    if isinstance(folder, StorePath):
        return [(folder / inside, inside) for inside in folder.find(images.SUFFIXES)]

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}).") from error

    paths = sorted(
        Path(parent, name)
        for parent, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if Path(name).suffix.lower() in images.SUFFIXES
    )
    return [(path, path.relative_to(folder)) for path in paths]


def _renamed(inside: PurePath, file_format: Format | None) -> PurePath:
    """The same name; another ending only where another format is written."""
    own = photos.FORMATS.get(inside.suffix.lower())
    if own and file_format in (None, own):
        return inside
    suffixes = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tif"}
    return inside.with_suffix(suffixes[file_format or "png"])
