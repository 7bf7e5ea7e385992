"""The `facesr` command, and the frame in which every stage runs."""

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from facesr.errors import FaceSRError, Stopped


def run(main: Callable[[], None]) -> None:
    """Runs a stage or a command; a user's mistake becomes one line and exit status 1."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        main()
    except FaceSRError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        sys.exit(stopped.status)
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
    # Stages import this module for `run` only.
    from facesr.commands import COMMANDS

    parser = argparse.ArgumentParser(prog="facesr", description="Face super-resolution.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.register(commands)
    return parser
