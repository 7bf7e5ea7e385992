"""`facesr data`: checks fetched folders and removes a person's image."""

import argparse
from pathlib import Path

FOLDERS = (Path("data/faces"), Path("data/selfies"))
REMOVED = Path("removed.csv")

NEXT = """
Next:
1. dvc repro, which trains without it; then commit removed.csv and dvc.lock.
2. Delete the versions named above in MLflow, and the image where it came from.
3. DVC's cache, and a remote if you have pushed to one, still hold it within the results of earlier
   states. No command deletes one image there. `dvc gc --workspace` deletes every result that the
   present params.yaml does not use: that of this image, and with it those of all other profiles,
   commits and experiments, which have to be trained again when they are wanted again."""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("data", help="check the fetched images, or remove some")
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
        help="remove images for good",
        description=(
            "Deletes images, keeps them from coming back through removed.csv, and says which "
            "registered models were trained with them."
        ),
    )
    remove.add_argument("sha256", nargs="*", help="as in manifest.csv, or its first 12 digits")
    remove.add_argument("--person", default="", help="identity in manifest.csv: all images of it")
    remove.set_defaults(command=_remove)


def _check(parsed: argparse.Namespace) -> None:
    from facesr.data.manifest import check_folder
    from facesr.errors import DataError

    folders = parsed.folder or [folder for folder in FOLDERS if folder.exists()]
    if not folders:
        raise DataError(f"There is no {' and no '.join(map(str, FOLDERS))} here. Run: dvc repro")
    wrong = 0
    for folder in folders:
        count, faults = check_folder(folder)
        wrong += len(faults)
        for fault in faults:
            print(f"{folder / fault.file} {fault.what}")
        print(f"{folder}: {count} images in the manifest, {len(faults)} faults")
    if wrong:
        raise DataError(f"{wrong} files do not fit. Delete their folder and run: dvc repro")


def _remove(parsed: argparse.Namespace) -> None:
    from facesr.data.removed import remove
    from facesr.errors import ParamsError
    from facesr.tracking import as_lines, versions_that_saw

    if not parsed.sha256 and not parsed.person:
        raise ParamsError("Name an image by its SHA-256, or a person with --person.")
    gone = remove(parsed.sha256, FOLDERS, REMOVED, person=parsed.person)
    for entry in gone:
        print(f"removed {entry.file} ({entry.split}, from {entry.origin})")
    seen, unknown = versions_that_saw(Path.cwd(), entries=gone)
    print("\n".join(as_lines(seen, unknown)))
    print(NEXT)
