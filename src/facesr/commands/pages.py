"""`facesr pages`: MLflow's pages, opened at the comparison of all experiments."""

import argparse
from pathlib import Path

from facesr.commands.arguments import whole


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describes the command and its options."""
    parser = commands.add_parser(
        "pages",
        help="open MLflow's pages at the comparison of all experiments",
        description="Serves the project's MLflow store on this computer until Ctrl-C; with "
        "MLFLOW_TRACKING_URI at a server it opens the pages of that one.",
    )
    parser.add_argument(
        "--port", type=whole(1, 65535), default=5000, help="on 127.0.0.1 (default: %(default)s)"
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address, open no window"
    )
    parser.set_defaults(command=_pages)


def _pages(parsed: argparse.Namespace) -> None:
    import webbrowser

    from facesr.tracking import served_pages

    with served_pages(Path.cwd(), parsed.port) as (address, wait):
        print(address)
        if not parsed.no_browser:
            webbrowser.open(address)
        wait()
