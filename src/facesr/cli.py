"""The `facesr` command, and the error handling of every stage."""

import argparse
import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn, TextIO

from facesr import __version__
from facesr.errors import FaceSRError, ParamsError, Stopped, missing

# A program that a closed pipe ends has the status of the signal, as others have.
BROKEN_PIPE = 128 + getattr(signal, "SIGPIPE", 13)


def run(main: Callable[[], None]) -> None:
    """Run a stage or a command; a user's error becomes one line and exit status 1."""
    _fill_closed_streams()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    _hide_warnings()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        main()
        _flush()
    except FaceSRError as error:
        _end(1, f"error: {error}")
    except ModuleNotFoundError as error:
        _end(1, f"error: {missing(error)}")
    except Stopped as stopped:
        _end(stopped.status, str(stopped))
    except KeyboardInterrupt:
        _end(130, "stopped")
    except BrokenPipeError:
        _end(BROKEN_PIPE)
    except SystemExit as stopped:
        # Of argparse, after --help and --version.
        if stopped.code:
            raise
        _end(0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the `facesr` command."""

    def command() -> None:
        parsed = build_parser().parse_args(arguments)
        try:
            parsed.command(parsed)
        except BrokenPipeError:
            raise
        # The system names the file.
        except OSError as error:
            advice = " Check the path, its permissions and the disk." if error.filename else ""
            raise FaceSRError(f"{error}.{advice}") from error

    run(command)


def build_parser() -> argparse.ArgumentParser:
    """Describe the commands and their options."""
    # Stages import this module for `run` only.
    from facesr.commands import COMMANDS

    parser = _Parser(prog="facesr", description="Face super-resolution.")
    parser.add_argument("--version", action="version", version=f"facesr {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.register(commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """Parser that raises an error without printing the whole usage."""

    def error(self, message: str) -> NoReturn:
        # "argument --scale: must be above 0" of the types in `commands.arguments`.
        message = re.sub(r"^argument (\S+): must", r"\1 must", message)
        raise ParamsError(f"{message.removesuffix('.')}. See: {self.prog} --help")


def _fill_closed_streams() -> None:
    # A file that is opened later would take the number, and get what is meant for the stream.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123


def _hide_warnings() -> None:
    """Hide libraries' warnings to programmers; PYTHONWARNINGS shows them."""
    if sys.warnoptions:
        return

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        logging.getLogger("py.warnings").debug("%s:%s: %s", filename, lineno, message)

    warnings.showwarning = show


def _flush() -> None:
    try:
        if sys.stdout:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FaceSRError(f"standard output cannot be written ({error.strerror}).") from error


def _end(status: int, message: str = "") -> NoReturn:
    with suppress(OSError):
        if message:
            print(message, file=sys.stderr)
    try:
        if sys.stdout:
            sys.stdout.flush()
    except OSError:
        status = status or BROKEN_PIPE
        # At its end the interpreter flushes once more, and would complain.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


if __name__ == "__main__":
    main()
