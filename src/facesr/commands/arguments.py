"""Types of the commands' arguments, which refuse meaningless values before any work."""

import argparse
import math
from collections.abc import Callable


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a type of whole numbers from `low` to `high`."""
    limits = f"at least {low}" if high is None else f"between {low} and {high}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None
        if value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"must be {limits}, not {text}")
        return value

    return parse


def real(
    *, above: float | None = None, low: float = -math.inf, high: float = math.inf
) -> Callable[[str], float]:
    """Return a type of finite numbers `above` a limit, or from `low` to `high`."""
    if above is not None:
        limits = "finite and above " + (f"{above:g}" if above else "zero")
    else:
        limits = (
            f"finite and {low:g} or more" if high == math.inf else f"between {low:g} and {high:g}"
        )

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
        is_within = low <= value <= high and (above is None or value > above)
        if not is_within or math.isinf(value):
            raise argparse.ArgumentTypeError(f"must be {limits}, not {text}")
        return value

    return parse


def text(value: str) -> str:
    """Return a text; refuse an empty one, as from an unset variable of the shell."""
    if not value.strip():
        raise argparse.ArgumentTypeError("must not be empty")
    return value
