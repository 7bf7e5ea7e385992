"""The `facesr` command, and the frame in which every stage runs."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from facesr.errors import FaceSRError


def run(main: Callable[[], None]) -> None:
    """Runs a stage or a command; a user's mistake becomes one line and exit status 1."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        main()
    except FaceSRError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the `facesr` command."""
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    run(lambda: parsed.command(parsed))


def build_parser() -> argparse.ArgumentParser:
    """Describes the commands and their options."""
    parser = argparse.ArgumentParser(prog="facesr", description="Face super-resolution.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    score = commands.add_parser(
        "score",
        help="measure a registered model on a folder of photographs",
        description=(
            "Reduces the photographs of a folder, restores them, and prints the mean PSNR beside "
            "enlargement without learning: on clean reductions and on JPEG files of them."
        ),
    )
    score.add_argument("folder", type=Path, help="photographs that the model has not seen")
    score.add_argument("--names", default="*", help="file names to take (default: %(default)s)")
    score.add_argument("--model", default="facesr@champion", help="default: %(default)s")
    score.add_argument("--hr-size", type=int, required=True, help="side of the originals in px")
    score.add_argument("--scale", type=int, required=True, help="enlargement")
    score.add_argument("--jpeg-quality", type=int, nargs=2, required=True, metavar=("LOW", "HIGH"))
    score.add_argument("--back-projections", type=int, required=True, help="of the Lanczos row")
    score.add_argument("--seed", type=int, required=True, help="chooses the JPEG qualities")
    score.set_defaults(command=_score)
    return parser


def _score(parsed: argparse.Namespace) -> None:
    # Loaded here so that `facesr --help` answers at once.
    from facesr.enhancer import Enhancer
    from facesr.evaluation import score_folder
    from facesr.tracking import download

    weights = Path(parsed.model)
    if not weights.is_file():
        weights = download(Path.cwd(), parsed.model)
    print(
        score_folder(
            Enhancer.load(weights),
            parsed.folder,
            names=parsed.names,
            hr_size=parsed.hr_size,
            scale=parsed.scale,
            jpeg_quality=tuple(parsed.jpeg_quality),
            back_projections=parsed.back_projections,
            seed=parsed.seed,
            label=parsed.model,
        )
    )
