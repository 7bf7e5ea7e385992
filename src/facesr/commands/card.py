"""`facesr card`: the model card of a registered model."""

import argparse
from pathlib import Path


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describes the command and its options."""
    parser = commands.add_parser(
        "card",
        help="show the model card of a registered model",
        description="Prints data, licences, measurement, weak points and intended use as Markdown.",
    )
    parser.add_argument(
        "version",
        nargs="?",
        default="facesr@champion",
        help="a number, facesr/3 or an alias (default: %(default)s)",
    )
    parser.set_defaults(command=_card)


def _card(parsed: argparse.Namespace) -> None:
    from facesr.tracking import read_card

    print(read_card(Path.cwd(), parsed.version))
