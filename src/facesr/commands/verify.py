"""`facesr verify`: measures a registered model again and compares."""

import argparse
from pathlib import Path

from facesr.commands.arguments import text


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "verify",
        help="measure a registered model again and compare every number",
        description=(
            "Recomputes the metrics of a version from the registered weights and the evaluation "
            "images of this project, and fails where a weight, an image or a number differs."
        ),
    )
    parser.add_argument(
        "version",
        nargs="?",
        type=text,
        help="a number, facesr/3 or an alias (default: the champion, else the challenger)",
    )
    parser.set_defaults(command=_verify)


def _verify(parsed: argparse.Namespace) -> None:
    from facesr import paths
    from facesr.audit.verification import verify
    from facesr.errors import RegistryError
    from facesr.tracking import champion_or_challenger

    root = Path.cwd()
    name = parsed.version or champion_or_challenger(root)
    compared, deviations, unmeasured = verify(root, name, paths.EVALUATION_SETS)
    for deviation in deviations:
        print(
            f"{deviation.what}: registered {deviation.registered:.6g}, "
            f"measured {deviation.measured:.6g}"
        )
    if unmeasured:
        print(
            f"Not compared, as it is not available here or was not then: {', '.join(unmeasured)}."
        )
    if deviations:
        raise RegistryError(
            f"{len(deviations)} of {compared} numbers of {name} differ. They are not of "
            "these weights on these images."
        )
    print(f"{name}: weights, images and {compared} numbers are as registered.")
