"""`facesr scoreboard`: measures and compares models on photographs."""

import argparse
from pathlib import Path

from facesr.commands.arguments import text


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "scoreboard",
        help="measure and compare models on photographs",
        description=(
            "Reduces photographs as scoreboard.yaml describes, once, measures every model and "
            "enlargement without learning on them, prints the table, and writes it, all single "
            "values and sheets: the images on which the first model gains least, the places that "
            "it restores worst by part of the face, and some images as they come."
        ),
    )
    parser.add_argument(
        "models",
        nargs="*",
        type=text,
        metavar="MODEL",
        help="facesr@alias, facesr/version, starter or a file (default: the champion, else the "
        "starter)",
    )
    parser.add_argument(
        "--root",
        type=Path,
        required=True,
        help="photographs that no model has seen: the folders of scoreboard.yaml's sources, or "
        "any folder",
    )
    parser.add_argument("--pattern", type=text, help="of the file names, as '*.png'")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path(".scoreboard"),
        help="folder of the results (default: %(default)s)",
    )
    parser.set_defaults(command=_scoreboard)


def _scoreboard(parsed: argparse.Namespace) -> None:
    from facesr.choice import load
    from facesr.config import load_params
    from facesr.errors import ParamsError
    from facesr.evaluation.baselines import build_baselines
    from facesr.evaluation.scoreboard.board import score, write_board
    from facesr.evaluation.scoreboard.inputs import make_inputs
    from facesr.evaluation.scoreboard.settings import load_scoreboard
    from facesr.evaluation.scoreboard.sheets import write_hardest, write_samples, write_worst
    from facesr.evaluation.scores import PRECISION, enhanced_by
    from facesr.names import OPERATING_POINTS

    if parsed.output.resolve().is_relative_to(parsed.root.resolve()):
        raise ParamsError(
            f"{parsed.output} lies in {parsed.root}: the results would be measured too. Choose "
            "another --output."
        )
    board = load_scoreboard().at(parsed.root, parsed.pattern)
    seed = load_params(any_device=True).data_seed
    models = {}
    for name in parsed.models or [None]:
        enhancer = load(name, root=Path.cwd(), precision=PRECISION)
        label = Path(name).stem if name and Path(name).is_file() else name or enhancer.model
        for strength in board.strengths if enhancer.has_strength else (1.0,):
            point = OPERATING_POINTS.get(strength, f"strength {strength:g}")
            models[f"{label}, {point}" if enhancer.has_strength else label] = enhanced_by(
                enhancer, strength
            )
    inputs = parsed.output / "inputs"
    digest = make_inputs(board, root=parsed.root, folder=inputs, seed=seed)
    scores = score(inputs, board, {**build_baselines(board.back_projections), **models})
    print(write_board(scores, board, digest=digest, inputs=inputs, output=parsed.output))
    write_worst(scores, models, board, inputs=inputs, output=parsed.output)
    write_hardest(models, board, inputs=inputs, output=parsed.output)
    write_samples(models, board, inputs=inputs, output=parsed.output)
    print(parsed.output)
