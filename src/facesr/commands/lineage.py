"""`facesr lineage`: origin of a version of the registered model."""

import argparse
from pathlib import Path

from facesr.commands.arguments import text


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "lineage",
        help="show where a registered model comes from",
        description=(
            "Prints code revision, parameters, images with their licences, environment and "
            "measurement of a version, and the commands that make it again."
        ),
    )
    parser.add_argument(
        "version",
        nargs="?",
        type=text,
        help="a number, facesr/3, an alias, a run or a DVC experiment (default: the champion, "
        "else the challenger)",
    )
    parser.add_argument(
        "--all", action="store_true", help="also files, parameters, runs and all metrics"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--image",
        type=text,
        metavar="SHA256",
        help="instead: say which versions have seen an image; SHA-256 as in manifest.csv, or its "
        "first 12 digits",
    )
    parser.set_defaults(command=_lineage)


def _lineage(parsed: argparse.Namespace) -> None:
    import json

    from facesr.audit.lineage import as_text, describe
    from facesr.data.removed import FEWEST_DIGITS
    from facesr.errors import ParamsError
    from facesr.tracking import as_lines, champion_or_challenger, versions_that_saw

    root = Path.cwd()
    if parsed.image:
        if parsed.json:
            raise ParamsError("--json describes one version: leave out --json or --image.")
        if len(parsed.image) < FEWEST_DIGITS:
            raise ParamsError(
                f"{parsed.image} has fewer than {FEWEST_DIGITS} digits. Give more of the SHA-256."
            )
        print("\n".join(as_lines(*versions_that_saw(root, sha256=[parsed.image.lower()]))))
        return
    lineage = describe(root, parsed.version or champion_or_challenger(root))
    print(
        json.dumps(lineage, indent=2, ensure_ascii=False)
        if parsed.json
        else as_text(lineage, everything=parsed.all)
    )
