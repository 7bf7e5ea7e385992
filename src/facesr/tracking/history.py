"""History of publications and decisions in Git, from which a lost store is built again.

Every publish, promotion and rollback adds a commit to a ref of its own. Its tree holds the files
that name a state of the pipeline, and registry.json: name and tags of the run, tags of all
versions, aliases. No branch, index or working tree is touched; `git log` of the ref is the history
for people. Git keeps such a ref for each working tree, as each has its own store.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from logging import getLogger
from pathlib import Path
from typing import Any

from facesr.config import parse_yaml
from facesr.errors import FaceSRError
from facesr.tracking.lockfile import key_of, parse_lock
from facesr.tracking.store import home

logger = getLogger(__name__)

REF = "refs/worktree/facesr/history"
_REGISTRY = "registry.json"
_LOCK = "dvc.lock"
_PARAMS = "params.yaml"
# Relative to the project's root.
_FILES = (_LOCK, "dvc.yaml", _PARAMS, "recipes.yaml", "requirements.lock", "reports/metrics.json")
_TRIES = 10


class State:
    """A state of the pipeline as a commit holds it."""

    def __init__(self, root: Path, commit: str, experiment: str = "", ref: str = "") -> None:
        self._root = root
        self.commit = commit
        self.ref = ref
        self.experiment = experiment
        """Name of the DVC experiment that made the commit, else ""."""

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Contents by path."""
        found = {name: _show(self._root, self.commit, name) for name in _FILES}
        return {name: content for name, content in found.items() if content is not None}

    @cached_property
    def stages(self) -> dict[str, Any]:
        """The entries of dvc.lock; none where it is damaged or missing."""
        try:
            text = self.files.get(_LOCK, b"").decode()
            return parse_lock(text, Path(_LOCK))
        except (FaceSRError, UnicodeDecodeError):
            return {}

    @property
    def profile(self) -> str:
        """The active profile."""
        try:
            content = parse_yaml(self.files.get(_PARAMS, b"").decode(), Path(_PARAMS))
        except (FaceSRError, UnicodeDecodeError):
            return ""
        return str(content.get("profile", "")) if isinstance(content, dict) else ""

    @cached_property
    def registry(self) -> dict[str, Any]:
        """Record of the store that was made with the state; empty in other commits."""
        content = _show(self._root, self.commit, _REGISTRY)
        return dict(json.loads(content)) if content else {}


def is_under_git(root: Path) -> bool:
    """Return whether there is a repository to keep the history in."""
    return git(home(root), "rev-parse", "--git-dir") is not None


def note(root: Path, message: str, registry: Mapping[str, Any], *, with_state: bool) -> None:
    """Add an event to the history in Git, if any; `with_state` for the present files."""
    place = home(root)
    prefix = git(place, "rev-parse", "--show-prefix")
    if prefix is None:
        return
    contents = {_REGISTRY: json.dumps(registry, indent=1, sort_keys=True).encode()}
    if with_state:
        contents |= {name: (root / name).read_bytes() for name in _FILES if (root / name).is_file()}
    blobs = {
        f"{prefix}{name}": git(place, "hash-object", "-w", "--stdin", stdin=content)
        for name, content in contents.items()
    }
    identity = []
    if git(place, "var", "GIT_COMMITTER_IDENT") is None:
        identity = ["-c", "user.name=facesr", "-c", "user.email=facesr@localhost"]
    for _ in range(_TRIES):
        before = git(place, "rev-parse", "--verify", "--quiet", REF) or ""
        with tempfile.TemporaryDirectory() as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder, "index"))}
            if before:
                git(place, "read-tree", before, environment=index)
            for path, blob in blobs.items():
                entry = f"100644,{blob},{path}"
                git(place, "update-index", "--add", "--cacheinfo", entry, environment=index)
            tree = git(place, "write-tree", environment=index) or ""
        parents = ["-p", before] if before else []
        commit = git(place, *identity, "commit-tree", tree, *parents, "-m", message) or ""
        # Fails where another process has added an event meanwhile.
        if commit and git(place, "update-ref", REF, commit, before or "0" * 40) is not None:
            return
    logger.warning("Git refused the record of this event: %s", message.partition("\n")[0])


def noted(root: Path) -> list[State]:
    """Return the events of the history, the oldest first."""
    place = home(root)
    commits = git(place, "rev-list", "--reverse", "--first-parent", REF, "--") or ""
    return [State(place, commit) for commit in commits.split()]


def committed(root: Path) -> Iterator[State]:
    """Yield the states in commits of all branches and DVC experiments, the oldest first."""
    place = home(root)
    names = {state.commit: state.experiment for state in experiments(root)}
    ours = {state.commit for state in noted(root)}
    refs = ("--exclude=refs/exps/celery/*", "--exclude=refs/exps/exec/*", "--all")
    found = git(place, "log", *refs, "--reverse", "--format=%H", "--", _LOCK) or ""
    for commit in found.split():
        if commit not in ours:
            yield State(place, commit, names.get(commit, ""))


def experiments(root: Path) -> list[State]:
    """Return the DVC experiments in this repository, pulled ones included."""
    place = home(root)
    lines = git(place, "for-each-ref", "--format=%(objectname) %(refname)", "refs/exps") or ""
    found = []
    for line in lines.splitlines():
        commit, _, ref = line.partition(" ")
        # refs/exps/ab/cdef.../NAME; other refs are DVC's own.
        parts = ref.split("/")
        if len(parts) == 5 and len(parts[2]) == 2:
            found.append(State(place, commit, parts[4], ref))
    return found


def names_of(root: Path, key: str) -> list[str]:
    """Return the names of the experiments that reached a state."""
    return sorted(
        one.experiment for one in experiments(root) if one.stages and key_of(one.stages) == key
    )


def keys_of(root: Path, experiment: str) -> list[str]:
    """Return the keys of the states that an experiment reached."""
    return [
        key_of(one.stages)
        for one in experiments(root)
        if one.experiment == experiment and one.stages
    ]


def git(
    place: Path, *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> str | None:
    """Return Git's output; None if it fails or is missing."""
    output = _run(place, arguments, stdin, environment or {})
    return None if output is None else output.decode("utf-8", "replace").strip()


def _show(place: Path, commit: str, name: str) -> bytes | None:
    return _run(place, ("show", f"{commit}:./{name}"), b"", {})


def _run(
    place: Path, arguments: tuple[str, ...], stdin: bytes, environment: Mapping[str, str]
) -> bytes | None:
    try:
        return subprocess.run(
            ["git", *arguments],
            cwd=place,
            input=stdin,
            env={**os.environ, **environment},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        if not shutil.which("git"):
            _warn_of_missing_git()
        return None


@cache
def _warn_of_missing_git() -> None:
    logger.warning(
        "git is not installed: versions get no revision, and no history is kept. Install it."
    )
