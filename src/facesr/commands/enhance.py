"""`facesr enhance`: images in, enlarged images out."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from facesr.commands.arguments import real, text, whole
from facesr.errors import ParamsError
from facesr.names import Precision

if TYPE_CHECKING:
    from facesr.enhance.batch import Options
    from facesr.enhance.enhancer import Enhancer
    from facesr.enhance.stores import Place

PIPE = "-"
SCALE = 4.0


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "enhance",
        help="enlarge and restore images",
        description=(
            "Enlarges and restores images: files, folders with all below them, patterns, or - "
            "for a pipe. What is done already is left alone, so a run that was stopped goes on "
            "where it was. Results keep the modification times of their images. Of a folder, "
            "hidden files and links to folders are left out. A video is enhanced frame by frame, "
            "its other streams are copied."
        ),
        epilog="Example: facesr enhance holiday/ -o holiday-large --scale 2",
    )
    add = parser.add_argument
    add(
        "inputs",
        nargs="+",
        type=text,
        metavar="IN",
        help="file, folder, pattern, s3://BUCKET/FOLDER, or - for standard input",
    )
    add(
        "-o",
        "--output",
        required=True,
        type=text,
        metavar="OUT",
        help="folder, file, s3://BUCKET/FOLDER, or - for a pipe; where the name has a dot, / "
        "behind it makes a folder",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--scale", type=real(above=0), help="enlargement (default: 4)")
    size.add_argument("--size", type=whole(1), help="longer side of the results in pixels")
    add(
        "--model",
        type=text,
        help="facesr@ALIAS, facesr/NUMBER, a weights file, starter or bicubic "
        "(default: the champion, else the starter, else bicubic)",
    )
    add(
        "--strength", type=real(low=0, high=1), default=1.0, help="1 crisp, 0 faithful (default: 1)"
    )
    add(
        "--colour",
        choices=("wavelet", "adain", "none"),
        default="wavelet",
        help="holds the colours to those of the image (default: wavelet)",
    )
    add(
        "--back-projections",
        type=whole(0),
        default=0,
        metavar="N",
        help="corrections that make the reduced result equal the image; for clean ones only",
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
    add("--format", choices=("jpeg", "png", "webp", "tiff"), help="default: that of each image")
    add("--quality", type=whole(1, 100), help="of JPEG and WebP, 1 to 100 (default: 95)")
    add(
        "--metadata",
        choices=("keep", "strip"),
        help="camera data (default: keep, but never the place)",
    )
    add("--keep-gps", action="store_true", help="keep the place, owner and serial numbers")
    add("--force", action="store_true", help="overwrite existing results")
    add(
        "--jobs",
        type=whole(1),
        metavar="N",
        help="images at a time (default: 1; with --ray one for each GPU or processor)",
    )
    add(
        "--ray",
        type=text,
        metavar="ADDRESS",
        help="share the images among the machines of a Ray cluster; local starts one here",
    )
    add("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    add(
        "--precision",
        choices=get_args(Precision),
        default="auto",
        help="of the networks' arithmetic (default: auto)",
    )
    add("--tile", type=whole(1), metavar="PIXELS", help="side of the parts of a large image")
    add("--max-pixels", type=whole(1), metavar="N", help="refuse larger images and results")
    add("--sheet", type=Path, metavar="PNG", help="write the first images before and after")
    add(
        "--report",
        type=Path,
        metavar="CSV",
        help="write sizes, seconds, clipped fraction and luma shift of every image; "
        "existing rows stay",
    )
    add("--json", action="store_true", help="one JSON object per image, and one for the summary")
    add("-q", "--quiet", action="store_true", help="print what goes wrong, and nothing else")
    parser.set_defaults(command=_enhance)


def _enhance(parsed: argparse.Namespace) -> None:
    from facesr import choice
    from facesr.commands.enhance_files import check_files, enhance_files
    from facesr.enhance import batch, stores
    from facesr.enhance.enhancer import EnhanceOptions
    from facesr.enhance.jobs import plan
    from facesr.images import photos

    _refuse_idle_options(parsed)
    if parsed.quiet:
        logging.getLogger().setLevel(logging.WARNING)
    options = batch.Options(
        enhance=EnhanceOptions(
            size=parsed.size,
            scale=None if parsed.size is not None else parsed.scale or SCALE,
            strength=parsed.strength,
            colour=parsed.colour,
            back_projections=parsed.back_projections,
            self_ensemble=parsed.self_ensemble,
            tile=parsed.tile,
            faces="off" if not parsed.faces else "also" if parsed.background == "model" else "only",
        ),
        file_format=parsed.format,
        quality=parsed.quality or photos.QUALITY,
        keep_metadata=parsed.metadata != "strip",
        keep_gps=parsed.keep_gps,
        max_pixels=parsed.max_pixels or photos.MAX_PIXELS,
        overwrite=parsed.force,
    )
    # What is wrong with the paths is said before seconds go into loading weights.
    through_pipe = PIPE in parsed.inputs
    if through_pipe and len(parsed.inputs) > 1:
        raise ParamsError("- must be the only input. Remove the others.")
    if parsed.output == PIPE and not through_pipe:
        raise ParamsError("Only an image from a pipe goes to a pipe: give - as the input too.")
    output = stores.parse(parsed.output)
    if through_pipe:
        jobs = []
        _check_pipe(output if parsed.output != PIPE else None, options)
    else:
        is_folder = parsed.output.endswith(("/", os.sep))
        jobs = plan(parsed.inputs, output, parsed.format, is_folder=is_folder)
        check_files(parsed)
    written = {job.target.suffix.lower() for job in jobs} or {output.suffix.lower()}
    is_lossless = parsed.format in ("png", "tiff") or written <= {".png", ".tif", ".tiff"}
    if parsed.quality and is_lossless:
        raise ParamsError("--quality: PNG and TIFF lose nothing. Remove it.")
    enhancer = choice.load(
        parsed.model, root=Path.cwd(), device=parsed.device, precision=parsed.precision
    )
    enhancer.check_strength(parsed.strength)
    if through_pipe:
        _pipe(enhancer, options, output if parsed.output != PIPE else None)
        return
    enhance_files(enhancer, jobs, options, parsed)


def _refuse_idle_options(parsed: argparse.Namespace) -> None:
    """Raise ParamsError for options without effect."""
    from facesr.enhance import video_streams

    def refuse(options: Sequence[str], reason: str) -> None:
        given = [f"--{option.replace('_', '-')}" for option in options if getattr(parsed, option)]
        if given:
            raise ParamsError(f"{', '.join(given)}: {reason}. Remove it.")

    if PIPE in parsed.inputs:
        refuse(("ray", "sheet", "report", "json", "jobs"), "of no effect for one image from a pipe")
    if parsed.ray:
        refuse(("sheet",), "no images come back with --ray")
    if all(Path(each).suffix.lower() in video_streams.SUFFIXES for each in parsed.inputs):
        image_options = ("ray", "sheet", "jobs", "format", "quality")
        refuse(image_options, "these are for images, not for a video")
    if not parsed.faces:
        refuse(("background",), "it says what is around faces, and --faces is not given")
    if parsed.metadata == "strip":
        refuse(("keep_gps",), "--metadata strip leaves nothing of it")


def _check_pipe(target: "Place | None", options: "Options") -> None:
    """Raise ParamsError, before the weights are loaded, if streams or target cannot work."""
    from facesr.images import photos

    if sys.stdin is None:
        raise ParamsError("Standard input is closed. Pipe an image into it, or name a file.")
    if target is None:
        if sys.stdout is None:
            raise ParamsError("Standard output is closed. Name a file with -o.")
        return
    own = photos.FORMATS.get(target.suffix.lower())
    if target.is_dir() or own is None:
        raise ParamsError(
            f"{target} must end in {', '.join(photos.FORMATS)}: an image from a pipe has no name."
        )
    if options.file_format not in (None, own):
        raise ParamsError(f"{target} is no {options.file_format} file. Remove --format.")
    if target.exists() and not options.overwrite:
        raise ParamsError(f"{target} already exists. Choose another name or pass --force.")


def _pipe(enhancer: "Enhancer", options: "Options", target: "Place | None") -> None:
    from facesr.enhance import batch, stores
    from facesr.images import photos

    photo = photos.read(
        sys.stdin.buffer.read(),
        name="standard input",
        max_pixels=options.max_pixels,
        keep_gps=options.keep_gps,
    )
    photo, result = enhancer.enhance_photo(photo, options.enhance, max_pixels=options.max_pixels)
    for note in batch.notes_on(photo, options, target):
        logging.getLogger(__name__).warning("%s", note)
    encoded = batch.encode(photo, result.model, options, target)
    if target is None:
        sys.stdout.buffer.write(encoded)
    else:
        stores.write(target, encoded)
