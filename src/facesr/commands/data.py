"""`facesr data`: checks fetched folders and removes a person's picture."""

import argparse
from pathlib import Path

FOLDERS = (Path("data/faces"), Path("data/selfies"))
REMOVED = Path("removed.csv")


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describes the command and its options."""
    parser = commands.add_parser("data", help="check the fetched pictures, or remove some")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="compare folders with their manifests",
        description="Compares every file of fetched folders with their manifest.csv.",
    )
    check.add_argument("folder", type=Path, nargs="*", help="default: data/faces data/selfies")
    check.set_defaults(command=_check)
    remove = actions.add_parser(
        "remove",
        help="remove pictures for good",
        description=(
            "Deletes pictures, keeps them from coming back through removed.csv, and says which "
            "registered models were trained with them."
        ),
    )
    remove.add_argument("sha256", nargs="+", help="as in manifest.csv, or its first 12 digits")
    remove.set_defaults(command=_remove)


def _check(parsed: argparse.Namespace) -> None:
    from facesr.errors import DataError
    from facesr.manifest import check_folder

    wrong = 0
    for folder in parsed.folder or [folder for folder in FOLDERS if folder.exists()]:
        count, faults = check_folder(folder)
        wrong += len(faults)
        for fault in faults:
            print(f"{folder / fault.file} {fault.what}")
        print(f"{folder}: {count} pictures in the manifest, {len(faults)} faults")
    if wrong:
        raise DataError(f"{wrong} files do not fit. Delete their folder and run: dvc repro")


def _remove(parsed: argparse.Namespace) -> None:
    from facesr.removed import hash_origin, remove
    from facesr.tracking.pictures import versions_that_saw

    gone = remove(parsed.sha256, FOLDERS, REMOVED)
    for entry in gone:
        print(f"removed {entry.file} ({entry.split}, from {entry.origin})")
    seen, unknown = versions_that_saw(
        Path.cwd(),
        sha256={entry.sha256 for entry in gone},
        origin_sha256={hash_origin(entry.origin) for entry in gone},
    )
    for number, splits in seen.items():
        how = "was trained with it" if "train" in splits else "was measured with it"
        print(f"facesr/{number} {how} ({', '.join(sorted(splits))})")
    for number in unknown:
        print(f"facesr/{number} carries no list of its pictures: nothing can be said about it")
    if not seen and not unknown:
        print("no registered model has seen it")
    print(
        "Next: dvc repro, which trains without it; commit removed.csv; delete the versions named "
        "above in MLflow; dvc gc --workspace, which deletes it from DVC's cache; and delete it "
        "where it came from."
    )
