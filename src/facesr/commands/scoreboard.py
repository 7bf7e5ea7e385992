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
    parser.add_argument("models", nargs="+", help="facesr@alias, facesr/version, starter or a file")
    parser.add_argument("--root", type=Path, required=True, help="folder of the photographs")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the results")
    parser.add_argument("--strength", type=float, default=1.0, help="of the GAN (default: 1)")
    parser.set_defaults(command=_scoreboard)


def _scoreboard(parsed: argparse.Namespace) -> None:
    from facesr.choice import load
    from facesr.config import load_params
    from facesr.scoreboard import (
        build_methods,
        make_inputs,
        restore_with,
        score,
        write_board,
        write_worst,
    )

    params = load_params(any_device=True)
    models = {
        Path(name).stem if Path(name).is_file() else name: restore_with(
            load(name, root=Path.cwd()), parsed.strength
        )
        for name in parsed.models
    }
    inputs = parsed.output / "inputs"
    digest = make_inputs(
        params.scoreboard,
        recipes=params.recipes,
        root=parsed.root,
        folder=inputs,
        seed=params.seed,
    )
    rows = score(
        inputs, params.scoreboard, build_methods(params.scoreboard.back_projections, models)
    )
    print(write_board(rows, params.scoreboard, digest=digest, output=parsed.output))
    write_worst(rows, models, params.scoreboard, inputs=inputs, output=parsed.output)
