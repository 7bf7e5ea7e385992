"""`facesr score`: measures a registered model on a folder of photographs."""

import argparse
from pathlib import Path

from facesr.commands.arguments import text, whole


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command and its options."""
    parser = commands.add_parser(
        "score",
        help="measure a registered model on a folder of photographs",
        description=(
            "Reduces the photographs of a folder, restores them, and prints the mean PSNR beside "
            "enlargement without learning: on clean reductions and on JPEG files of them."
        ),
    )
    parser.add_argument("folder", type=Path, help="photographs that the model has not seen")
    parser.add_argument("--names", default="*", help="file names to take (default: %(default)s)")
    parser.add_argument("--model", type=text, help="default: the champion, else the starter")
    parser.add_argument(
        "--hr-size", type=whole(1), required=True, help="side of the originals in px"
    )
    parser.add_argument("--scale", type=whole(1), required=True, help="enlargement")
    parser.add_argument(
        "--jpeg-quality", type=whole(1, 100), nargs=2, required=True, metavar=("LOW", "HIGH")
    )
    parser.add_argument(
        "--back-projections", type=whole(0), required=True, help="of the Lanczos row"
    )
    parser.add_argument("--seed", type=whole(0), required=True, help="chooses the JPEG qualities")
    parser.set_defaults(command=_score)


def _score(parsed: argparse.Namespace) -> None:
    from facesr.choice import load
    from facesr.errors import ParamsError
    from facesr.evaluation.evaluate import PRECISION, score_folder

    low, high = parsed.jpeg_quality
    if low > high:
        raise ParamsError(f"--jpeg-quality must be LOW HIGH, and {low} is above {high}.")
    enhancer = load(parsed.model, root=Path.cwd(), precision=PRECISION)
    print(
        score_folder(
            enhancer,
            parsed.folder,
            names=parsed.names,
            hr_size=parsed.hr_size,
            scale=parsed.scale,
            jpeg_quality=tuple(parsed.jpeg_quality),
            back_projections=parsed.back_projections,
            seed=parsed.seed,
            label=parsed.model or enhancer.model,
        )
    )
