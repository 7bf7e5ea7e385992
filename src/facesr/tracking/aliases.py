"""The aliases of the registered model: which version serves, and how that came about."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from facesr.errors import RegistryError
from facesr.tables import BICUBIC
from facesr.tracking.gate import Decision, Measured, Rule, decide, read_scores
from facesr.tracking.lockfile import EVALUATION_KEY, EVALUATION_RUN
from facesr.tracking.runs import SCORES_FOLDER, Runs
from facesr.tracking.store import CHALLENGER, CHAMPION, MODEL, as_registry_error, connect
from facesr.tracking.versions import RegisteredVersion, download, find_version

# Tags of a version: what the gate said, when it last began to serve, what people decided.
DECISION = "gate.decision"
REASON = "gate.reason"
SINCE = "champion.since"
PROMOTED = "promoted.why"
WITHDRAWN = "withdrawn.why"


def champion_number(client: Any) -> int | None:
    """The version that serves; None where there is none."""
    number = client.get_registered_model(MODEL).aliases.get(CHAMPION)
    return int(number) if number else None


def ask_gate(
    runs: Runs, version: Any, run_id: str, pictures: str, scores: Path, rule: Rule
) -> Decision | None:
    """Gives a version the alias that the gate decides on, after its reason is written.

    A version that serves already keeps its alias; one that a person has withdrawn gets none.

    Args:
        runs: The experiment.
        version: MLflow's version, just measured.
        run_id: The parent run that holds its measurement.
        pictures: Hash of the pictures that it was measured on.
        scores: Every metric by picture, as CSV.
        rule: What is compared.
    """
    client, number = runs.client, int(version.version)
    _tag(client, number, EVALUATION_RUN, run_id)
    champion = champion_number(client)
    if champion == number or WITHDRAWN in version.tags:
        return None
    own, bicubic = read_scores(scores.read_text(encoding="utf-8"), rule, [rule.method, BICUBIC])
    decision = decide(
        Measured(number, version.tags.get("profile", ""), pictures, own),
        bicubic,
        _measured(runs, champion, scores.name, rule) if champion else None,
        rule,
    )
    _tag(client, number, DECISION, CHAMPION if decision.is_champion else CHALLENGER)
    _tag(client, number, REASON, decision.reason)
    if decision.is_champion:
        _crown(client, number)
    else:
        client.set_registered_model_alias(MODEL, CHALLENGER, str(number))
    return decision


def _measured(runs: Runs, number: int, table: str, rule: Rule) -> Measured:
    """A version as it was measured last."""
    tags = runs.client.get_model_version(MODEL, str(number)).tags
    text = runs.read_text(tags.get(EVALUATION_RUN, ""), f"{SCORES_FOLDER}/{table}")
    scores = read_scores(text, rule, [rule.method])[0] if text else {}
    return Measured(number, tags.get("profile", ""), tags.get(EVALUATION_KEY, ""), scores)


def promote(root: Path, reference: str, *, why: str) -> RegisteredVersion:
    """Makes a version champion because a person says so.

    Args:
        root: The project's root.
        reference: `facesr/3` or `facesr@challenger`.
        why: Becomes a tag of the version.

    Raises:
        RegistryError: There is no reason, or the reference names nothing, or the version has lost
            its weights or holds others, or the store does not answer.
    """
    if not why.strip():
        raise RegistryError("A promotion needs a reason that others can read: --why '...'")
    found = find_version(root, reference)
    # A version without its weights cannot serve.
    download(root, found)
    client, _ = connect(root, create=False)
    with as_registry_error(root):
        _tag(client, found.number, PROMOTED, why.strip())
        if WITHDRAWN in found.tags:
            client.delete_model_version_tag(MODEL, str(found.number), WITHDRAWN)
        if champion_number(client) != found.number:
            _crown(client, found.number)
    return find_version(root, f"{MODEL}/{found.number}")


def rollback(root: Path, *, why: str) -> RegisteredVersion:
    """Gives the alias back to the version that served before.

    The version that it is taken from is marked as withdrawn, and the gate never chooses it again.

    Raises:
        RegistryError: There is no reason, or no earlier champion is left, or the store does not
            answer.
    """
    if not why.strip():
        raise RegistryError("A rollback needs a reason that others can read: --why '...'")
    present = find_version(root, f"{MODEL}@{CHAMPION}")
    client, _ = connect(root, create=False)
    with as_registry_error(root):
        served = [
            version
            for version in client.search_model_versions(f"name = '{MODEL}'")
            if SINCE in version.tags
            and WITHDRAWN not in version.tags
            and int(version.version) != present.number
        ]
        earlier = max(served, key=lambda version: version.tags[SINCE], default=None)
        if earlier:
            _tag(client, present.number, WITHDRAWN, why.strip())
            client.set_registered_model_alias(MODEL, CHAMPION, earlier.version)
    if not earlier:
        raise RegistryError(
            f"No version that served before version {present.number} is left. "
            "Choose one: facesr promote VERSION --why '...'"
        )
    return find_version(root, f"{MODEL}/{earlier.version}")


def _crown(client: Any, number: int) -> None:
    _tag(client, number, SINCE, datetime.now(UTC).isoformat())
    client.set_registered_model_alias(MODEL, CHAMPION, str(number))
    if client.get_registered_model(MODEL).aliases.get(CHALLENGER) == str(number):
        client.delete_registered_model_alias(MODEL, CHALLENGER)


def _tag(client: Any, number: int, tag: str, value: str) -> None:
    client.set_model_version_tag(MODEL, str(number), tag, value)
