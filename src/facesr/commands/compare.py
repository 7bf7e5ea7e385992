"""`facesr compare`: versions, runs and experiments side by side."""

import argparse
from pathlib import Path

from facesr.commands.arguments import text, whole

IMAGES = 8


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "compare",
        help="compare registered models, runs or experiments image by image",
        description=(
            "Prints the parameters that differ and the metrics with paired differences to the "
            "first; on request writes a page that shows the images."
        ),
    )
    parser.add_argument(
        "names",
        nargs="+",
        type=text,
        metavar="NAME",
        help="a version, a parent run or a DVC experiment",
    )
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument(
        "--over-seeds",
        action="store_true",
        help="print mean and spread over the training seeds for each combination of the other "
        "parameters; metric and evaluation set are those of publish in params.yaml",
    )
    shown.add_argument("--html", type=Path, metavar="FILE", help="write a page with the images")
    parser.add_argument(
        "--images", type=whole(1), help="images of each set on the page (default: 8)"
    )
    parser.set_defaults(command=_compare)


def _compare(parsed: argparse.Namespace) -> None:
    from facesr import paths
    from facesr.audit.comparison import as_text, compare, over_seeds, write_html
    from facesr.config import load_params
    from facesr.errors import ParamsError

    if parsed.images and not parsed.html:
        raise ParamsError("--images is for the page. Give --html too.")
    root = Path.cwd()
    comparison = compare(root, parsed.names)
    if parsed.over_seeds:
        rule = load_params(any_device=True).publish
        print(over_seeds(comparison, rule.metric, rule.evaluation_set))
        return
    print(as_text(comparison))
    if parsed.html:
        count = parsed.images or IMAGES
        write_html(root, comparison, paths.EVALUATION_SETS, parsed.html, count=count)
        print(f"\n{parsed.html}")
