"""`facesr reproduce`: makes a registered model again and compares."""

import argparse
from pathlib import Path

from facesr.commands.arguments import text


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "reproduce",
        help="make a registered model again in a clean worktree and compare",
        description=(
            "Checks the version's revision out into a temporary worktree, runs its pipeline from "
            "the start with an empty cache, and compares the md5 of all weights and every metric."
        ),
    )
    parser.add_argument("version", type=text, help="a number, facesr/3 or an alias")
    parser.set_defaults(command=_reproduce)


def _reproduce(parsed: argparse.Namespace) -> None:
    from facesr import paths
    from facesr.audit.reproduction import reproduce
    from facesr.errors import RegistryError

    result = reproduce(Path.cwd(), parsed.version, scores=paths.SCORES)
    for path, old, new in result.files:
        print(f"{'equal' if old == new else 'OTHER'}  {path}  {old}  {new}")
    for name, before, today in result.metrics:
        print(f"OTHER  {name}  {before:.6g}  {today:.6g}")
    if not result.is_equal:
        made, here = result.devices
        if result.is_dirty:
            cause = "The version was made from uncommitted changes."
        elif made and made != here:
            cause = f"It was made on {made}, and this is {here}: other kinds train other bits."
        else:
            cause = (
                "Equal bits are promised for the same computer and versions only: see facesr "
                f"lineage {parsed.version}."
            )
        raise RegistryError(f"{parsed.version} came out otherwise. {cause}")
    print(f"{parsed.version}: all weights and {result.compared} metrics came out the same.")
