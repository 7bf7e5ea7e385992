"""Versions of the registered model, and their weights without executing stored code."""

import hashlib
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from logging import getLogger
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from facesr.errors import NoChampionError, NotRegisteredError, RegistryError
from facesr.files import digest
from facesr.tracking.runs import CARD
from facesr.tracking.store import (
    CHALLENGER,
    CHAMPION,
    MODEL,
    WEIGHTS,
    as_registry_error,
    connect,
    database_file,
    is_embedded,
    registry_error,
    shown,
    tracking_uri,
)

logger = getLogger(__name__)

# Tag of a version: what `download` checks.
WEIGHTS_MD5 = "dvc.md5"
# Weights from a server of which a process keeps a copy.
KEPT = 2
_copying = Lock()


@dataclass(frozen=True)
class RegisteredVersion:
    """One version of the registered model."""

    number: int
    run_id: str
    """Parent run that registered it."""
    tags: Mapping[str, str]
    """Profile, revision, md5 of weights and evaluation set, keys into dvc.lock."""
    weights: str
    """URI of its weights.safetensors in the artifact store."""

    @property
    def card(self) -> str:
        """URI of its model card, beside the weights."""
        return self.weights.removesuffix(f"artifacts/{WEIGHTS}") + CARD


def champion(root: Path) -> RegisteredVersion:
    """Return the version that serves, `facesr@champion`."""
    return find_version(root, f"{MODEL}@{CHAMPION}")


def find_version(root: Path, reference: str) -> RegisteredVersion:
    """Return a version of the registered model.

    Args:
        reference: `facesr@champion` (any alias) or `facesr/3` (a number), or short: `champion`,
            `3`.

    Raises:
        RegistryError: The reference is malformed or names nothing, or the store does not answer;
            NoChampionError if there are versions but none serves.
    """
    unknown = f"{reference} does not name a model version. Write {MODEL}@{CHAMPION} or {MODEL}/3."
    parts = re.fullmatch(rf"(?:models:/)?{MODEL}(?:@([\w.-]+)|/(\d+))|([\w.-]+)", reference)
    if not parts:
        raise RegistryError(unknown)
    alias, number, bare = parts.groups()
    if bare and bare.isdecimal():
        number = bare
    elif bare:
        alias = bare
    uri = tracking_uri(root)
    name = f"{MODEL}@{alias}" if alias else f"{MODEL}/{number}"
    # A word of any kind is more likely a slip than an alias.
    is_word = bare is not None and alias == bare and bare not in (CHAMPION, CHALLENGER)
    missing = unknown if is_word else f"{name} is not registered in {shown(uri)}."
    if is_embedded(root) and not database_file(root).exists():
        # Asking MLflow would create the database.
        raise NotRegisteredError(f"{missing} Run: dvc repro")
    client, _ = connect(root, create=False)
    from mlflow.exceptions import MlflowException

    try:
        found = (
            client.get_model_version_by_alias(MODEL, alias)
            if alias
            else client.get_model_version(MODEL, number)
        )
        # `models:/` addresses would be resolved against MLflow's global store, not this one.
        folder = client.get_model_version_download_uri(MODEL, found.version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            if alias == CHAMPION and (without := _without_champion(client)):
                raise without from None
            raise NotRegisteredError(f"{missing} {_what_there_is(client)}") from None
        raise registry_error(uri, error) from error
    return RegisteredVersion(
        number=int(found.version),
        run_id=found.run_id or "",
        tags=dict(found.tags),
        weights=f"{folder}/artifacts/{WEIGHTS}",
    )


def _what_there_is(client: Any) -> str:
    versions = client.search_model_versions(f"name = '{MODEL}'")
    numbers = sorted(int(version.version) for version in versions)
    if not numbers:
        return "Run: dvc repro"
    if len(numbers) == 1:
        return f"There is version {numbers[0]}."
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"There are versions {numbers[0]} to {numbers[-1]}."
    return f"There are versions {', '.join(map(str, numbers))}."


def champion_or_challenger(root: Path) -> str:
    """Return `facesr@champion`; without one, the challenger, else the newest, and log which.

    Raises:
        RegistryError: No version is registered, or the store does not answer.
    """
    try:
        champion(root)
    except NoChampionError as error:
        logger.info("%s", error)
        return f"{MODEL}/{error.number}"
    return f"{MODEL}@{CHAMPION}"


def _without_champion(client: Any) -> NoChampionError | None:
    """Return the error for versions none of which serves; None without versions."""
    versions = client.search_model_versions(f"name = '{MODEL}'")
    if not versions:
        return None
    newest = max(int(version.version) for version in versions)
    challenger = client.get_registered_model(MODEL).aliases.get(CHALLENGER)
    number = int(challenger or newest)
    return NoChampionError(
        f"No version is {MODEL}@{CHAMPION}: the starter serves. The "
        f"{'challenger' if challenger else 'newest version'} is {MODEL}/{number}; why it does not "
        f"serve: facesr lineage {number}",
        number=number,
    )


def find_weights(root: Path, reference: str) -> Path | None:
    """Return the weights of a path or registry reference, if any, as `download`."""
    if not reference:
        return None
    is_file = reference.endswith(".safetensors")
    return root / reference if is_file else download(root, reference)


def download(root: Path, reference: str | RegisteredVersion) -> Path:
    """Fetch the weights of a version without executing stored code.

    Returns:
        weights.safetensors in a local artifact store, else a copy in a temporary folder of this
        process, which keeps the last two.

    Raises:
        RegistryError: As `find_version`; or the weights are missing or not those that were
            registered.
    """
    found = find_version(root, reference) if isinstance(reference, str) else reference
    try:
        with as_registry_error(root):
            path = _fetched(root, found)
    except RegistryError as error:
        # MLflow's message has several lines.
        reason = " ".join(str(error.__cause__).split())
        raise RegistryError(
            f"The weights of {MODEL}/{found.number} are not in the artifact store "
            f"({reason}). Delete that version in MLflow and run: dvc repro"
        ) from error
    if digest(path, "md5") != found.tags.get(WEIGHTS_MD5):
        raise RegistryError(
            f"The weights of {MODEL}/{found.number} are not those that were registered: their md5 "
            f"is not {found.tags.get(WEIGHTS_MD5, 'known')}. Somebody changed {found.weights}. "
            "Delete that version in MLflow and run: dvc repro"
        )
    return path


def _fetched(root: Path, found: RegisteredVersion) -> Path:
    from mlflow.artifacts import download_artifacts

    source = {"artifact_uri": found.weights, "tracking_uri": tracking_uri(root)}
    if urlsplit(found.weights).scheme in ("", "file"):
        return Path(download_artifacts(**source))
    with _copying:
        folder, recent = _copies()
        copies = Path(folder.name)
        key = f"{found.weights} {found.tags.get(WEIGHTS_MD5)}"
        copy = copies / f"{hashlib.sha256(key.encode()).hexdigest()}.safetensors"
        if copy in recent:
            recent.remove(copy)
        if not copy.exists():
            with tempfile.TemporaryDirectory(dir=copies) as part:
                Path(download_artifacts(**source, dst_path=part)).replace(copy)
        recent.append(copy)
        for old in recent[:-KEPT]:
            recent.remove(old)
            old.unlink(missing_ok=True)
        return copy


@cache
def _copies() -> tuple["tempfile.TemporaryDirectory[str]", list[Path]]:
    """Return the folder of the copies, deleted at exit, and its files, the newest last."""
    return tempfile.TemporaryDirectory(prefix="facesr.", ignore_cleanup_errors=True), []
