"""`facesr scoreboard`: compares models on fixed inputs made from photographs."""

import argparse
from pathlib import Path


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describes the command and its options."""
    parser = commands.add_parser(
        "scoreboard",
        help="compare models on fixed inputs made from photographs",
        description=(
            "Makes the inputs that params.yaml describes under scoreboard, once, measures every "
            "model and enlargement without learning on them, and writes a table, all single values "
            "and a sheet of the pictures on which the first model gains least."
        ),
    )
    parser.add_argument("models", nargs="+", help="facesr@alias, facesr/version or a weights file")
    parser.add_argument("--root", type=Path, required=True, help="folder of the photographs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--strength", type=float, default=1.0, help="of the GAN (default: 1)")
    parser.set_defaults(command=_scoreboard)


def _scoreboard(parsed: argparse.Namespace) -> None:
    from facesr.config import load_params
    from facesr.enhancer import Enhancer
    from facesr.scoreboard import make_inputs, score, write_board, write_worst

    params = load_params(any_device=True)
    models = {}
    for name in parsed.models:
        load = Enhancer.from_checkpoint if Path(name).is_file() else Enhancer.from_registry
        models[Path(name).stem if Path(name).is_file() else name] = load(name)
    inputs = parsed.output / "inputs"
    digest = make_inputs(
        params.scoreboard,
        recipes=params.recipes,
        root=parsed.root,
        folder=inputs,
        seed=params.seed,
    )
    rows = score(inputs, params.scoreboard, models, strength=parsed.strength)
    print(write_board(rows, params.scoreboard, digest=digest, output=parsed.output))
    write_worst(
        rows,
        models,
        params.scoreboard,
        inputs=inputs,
        output=parsed.output,
        strength=parsed.strength,
    )
