"""`facesr score`: measures a registered model on a folder of photographs."""

import argparse
from pathlib import Path


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describes the command and its options."""
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
    parser.add_argument("--model", help="default: the champion, else the starter")
    parser.add_argument("--hr-size", type=int, required=True, help="side of the originals in px")
    parser.add_argument("--scale", type=int, required=True, help="enlargement")
    parser.add_argument("--jpeg-quality", type=int, nargs=2, required=True, metavar=("LOW", "HIGH"))
    parser.add_argument("--back-projections", type=int, required=True, help="of the Lanczos row")
    parser.add_argument("--seed", type=int, required=True, help="chooses the JPEG qualities")
    parser.set_defaults(command=_score)


def _score(parsed: argparse.Namespace) -> None:
    from facesr.choice import load
    from facesr.evaluation import score_folder

    enhancer = load(parsed.model, root=Path.cwd())
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
