"""`facesr burst`: several shots of one scene in, one finer image out."""

import argparse
from dataclasses import replace
from pathlib import Path

from facesr.commands.arguments import real, text, whole
from facesr.errors import ParamsError

SCALE = 4.0
# The grid on which shots are fused; the networks do the rest.
FUSED_SCALE = 2


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "burst",
        help="make one fine image of several shots of one scene",
        description=(
            "Registers several shots of one still scene to a fraction of a pixel, fuses them on a "
            "grid twice as fine, and enhances the result. Four shots or more are worth it."
        ),
        epilog="Example: facesr burst IMG_01.jpg IMG_02.jpg IMG_03.jpg IMG_04.jpg -o fine.png",
    )
    add = parser.add_argument
    add("frames", nargs="+", type=Path, metavar="FRAME", help="shots of one size")
    add("-o", "--output", required=True, type=Path, metavar="OUT", help="file of the result")
    add(
        "--scale",
        type=real(low=FUSED_SCALE),
        default=SCALE,
        help="enlargement, 2 or more (default: 4)",
    )
    add(
        "--model",
        type=text,
        help="facesr@ALIAS, facesr/NUMBER, a weights file, starter or bicubic "
        "(default: the champion, else the starter, else bicubic)",
    )
    strength = real(low=0, high=1)
    add("--strength", type=strength, default=1.0, help="1 crisp, 0 faithful (default: 1)")
    add("--quality", type=whole(1, 100), help="of JPEG and WebP, 1 to 100 (default: 95)")
    add("--device", default="auto", help="auto, cpu, cuda or mps (default: auto)")
    add("--force", action="store_true", help="overwrite an existing result")
    parser.set_defaults(command=_burst)


def _burst(parsed: argparse.Namespace) -> None:
    from tqdm import tqdm

    from facesr import choice
    from facesr.enhance import batch, burst
    from facesr.enhance.enhancer import EnhanceOptions
    from facesr.files import atomic_write
    from facesr.images import photos

    if parsed.output.is_dir() or parsed.output.suffix.lower() not in photos.FORMATS:
        raise ParamsError(f"{parsed.output} must end in {', '.join(photos.FORMATS)}.")
    if parsed.output.exists() and not parsed.force:
        raise ParamsError(f"{parsed.output} already exists. Choose another name or pass --force.")
    if parsed.quality and photos.FORMATS[parsed.output.suffix.lower()] in ("png", "tiff"):
        raise ParamsError("--quality: PNG and TIFF lose nothing. Remove it.")
    for path in parsed.frames:
        if path.exists() and not path.is_file():
            raise ParamsError(f"{path} is not a file. Name the shots one by one.")
    shots = [photos.fill_transparent(photos.read(path)) for path in parsed.frames]
    frames = [shot.colour for shot in shots]
    found = burst.register(frames, [str(path) for path in parsed.frames])
    enhancer = choice.load(parsed.model, root=Path.cwd(), device=parsed.device)
    height, width = frames[0].shape[-2:]
    options = EnhanceOptions(scale=parsed.scale, strength=parsed.strength)
    target = enhancer.target_size(height, width, options)
    with tqdm(unit="correction", disable=None) as bar:

        def on_progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        fused = burst.fuse(frames, found.shifts, FUSED_SCALE, on_progress=on_progress)
    result = enhancer.enhance(fused, replace(options, size=max(target), scale=None))
    photo = replace(shots[found.reference], colour=result.image, alpha=None)
    written = batch.Options(quality=parsed.quality or photos.QUALITY)
    encoded = batch.encode(photo, result.model, written, parsed.output)
    with atomic_write(parsed.output) as temporary:
        temporary.write_bytes(encoded)
    print(f"{len(frames)} frames fused around {parsed.frames[found.reference]}: {parsed.output}")
