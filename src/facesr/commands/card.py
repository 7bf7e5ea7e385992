"""`facesr card`: the model card of a registered model."""

import argparse
from pathlib import Path

from facesr.commands.arguments import text


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "card",
        help="show the model card of a registered model",
        description="Prints data, licences, measurement, weak points and intended use as Markdown.",
    )
    parser.add_argument(
        "version",
        nargs="?",
        type=text,
        help="a number, facesr/3 or an alias (default: the champion, else the challenger)",
    )
    parser.set_defaults(command=_card)


def _card(parsed: argparse.Namespace) -> None:
    from facesr.tracking import champion_or_challenger, read_card

    root = Path.cwd()
    print(read_card(root, parsed.version or champion_or_challenger(root)))
