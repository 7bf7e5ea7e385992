"""`facesr versions`: list of the registered model's versions."""

import argparse
from pathlib import Path


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "versions",
        help="list the versions of the registered model",
        description=(
            "Prints number, aliases, experiment, profile, gain in PSNR over bicubic in dB, and the "
            "day of registration, the newest version first."
        ),
    )
    parser.set_defaults(command=_versions)


def _versions(parsed: argparse.Namespace) -> None:
    from facesr.errors import NotRegisteredError
    from facesr.names import FACES, SELFIES, headline_key
    from facesr.reports import markdown_table
    from facesr.tracking import list_versions

    versions = list_versions(Path.cwd())
    if not versions:
        raise NotRegisteredError("No version is registered. Run: dvc repro")
    keys = [headline_key(name, "psnr_gain") for name in (FACES, SELFIES)]
    rows = [
        [
            str(version.number),
            ", ".join(version.aliases) or "-",
            version.tags.get("dvc.exp_name", "-"),
            version.tags.get("profile", "-"),
            *(f"{version.metrics[key]:+.3f}" if key in version.metrics else "-" for key in keys),
            f"{version.created:%Y-%m-%d}",
        ]
        for version in versions
    ]
    print(markdown_table(["version", "alias", "experiment", "profile", *keys, "registered"], rows))
