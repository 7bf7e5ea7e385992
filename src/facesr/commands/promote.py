"""`facesr promote` and `facesr rollback`: a person's choice of the version that serves."""

import argparse
from pathlib import Path

from facesr.commands.arguments import text


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    promote = commands.add_parser(
        "promote",
        help="let a version of the registered model serve",
        description=(
            "Moves the alias champion to a version, whatever the gate has said of it. The reason "
            "becomes a tag of the version."
        ),
    )
    promote.add_argument("version", type=text, help="a number, facesr/3 or an alias")
    promote.add_argument("--reason", required=True, help="the reason, for those who come later")
    promote.set_defaults(command=_promote)
    rollback = commands.add_parser(
        "rollback",
        help="let the version serve that served before",
        description=(
            "Moves the alias champion back; before the first version the starter served. The "
            "version that it is taken from is marked as withdrawn, and the gate does not choose "
            "it again."
        ),
    )
    rollback.add_argument("--reason", required=True, help="the reason, for those who come later")
    rollback.set_defaults(command=_rollback)


def _promote(parsed: argparse.Namespace) -> None:
    from facesr.tracking import promote

    version = promote(Path.cwd(), parsed.version, reason=parsed.reason)
    print(f"facesr@champion is version {version.number}.")


def _rollback(parsed: argparse.Namespace) -> None:
    from facesr.tracking import rollback

    version = rollback(Path.cwd(), reason=parsed.reason)
    if version:
        print(f"facesr@champion is version {version.number} again.")
    else:
        print("No version is facesr@champion: the starter serves again.")
