"""`facesr profile`: makes a profile the active one."""

import argparse
from pathlib import Path


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "profile",
        help="write a profile's parameters to params.yaml",
        description=(
            "Writes profiles/NAME.yaml, with what it takes from profiles/small.yaml, to "
            "params.yaml. Edits that are not committed are overwritten with --force only."
        ),
    )
    parser.add_argument("name", help="smoke, small, starter, paper, best, or a file of your own")
    parser.add_argument("--force", action="store_true", help="overwrite edits of params.yaml")
    parser.set_defaults(command=_profile)


def _profile(parsed: argparse.Namespace) -> None:
    from facesr.config import PARAMS_FILE
    from facesr.errors import ParamsError
    from facesr.files import atomic_write
    from facesr.profiles import compose

    text = compose(parsed.name)
    if not parsed.force and _has_edits(PARAMS_FILE):
        raise ParamsError(
            f"{PARAMS_FILE} has edits that are not committed. Commit them, or overwrite them: "
            f"make profile NAME={parsed.name} FORCE=1"
        )
    with atomic_write(PARAMS_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
    print(f"{PARAMS_FILE} is profile {parsed.name}. Next: make repro")


def _has_edits(path: Path) -> bool:
    import subprocess

    from facesr.profiles import PROFILES, compose

    if not path.is_file():
        return False
    committed = subprocess.run(
        ["git", "show", f"HEAD:./{path}"], capture_output=True, text=True, check=False
    )
    text = path.read_text(encoding="utf-8")
    profiles = (compose(profile.stem) for profile in PROFILES.glob("*.yaml"))
    return text != committed.stdout and text not in profiles
