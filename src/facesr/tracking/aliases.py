"""The aliases of the registered model: which version serves, and the decisions behind it."""

import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from logging import getLogger
from pathlib import Path
from typing import Any, NamedTuple

from facesr.errors import DataError, FaceSRError, RegistryError
from facesr.names import BICUBIC, GAN, GENERATOR_SIZE, STARTER
from facesr.stats import read_table
from facesr.tracking.gate import (
    Decision,
    Rule,
    compare,
    decide,
    describe_learned,
    hold_first,
    scores_of,
)
from facesr.tracking.lockfile import EVALUATION_RUN
from facesr.tracking.restoring import note_decision
from facesr.tracking.runs import SCORES_FOLDER, Runs
from facesr.tracking.store import CHALLENGER, CHAMPION, MODEL, as_registry_error, connect
from facesr.tracking.versions import RegisteredVersion, download, find_version

logger = getLogger(__name__)

Measure = Callable[[Path, str, Path], None]
"""Function of weights and an evaluation set's name that writes a table like per_image.csv."""

# Tags of a version: what the gate said, when it last began to serve, what people decided.
DECISION = "gate.decision"
REASON = "gate.reason"
SINCE = "champion.since"
PROMOTED = "promoted.reason"
WITHDRAWN = "withdrawn.reason"


def champion_number(client: Any) -> int | None:
    """Return the number of the version that serves; None if there is none."""
    number = client.get_registered_model(MODEL).aliases.get(CHAMPION)
    return int(number) if number else None


class Images(NamedTuple):
    """Evaluation set that the gate judges on."""

    tag: str
    """Tag of a version that names the state of the set it was measured on."""
    md5: str
    """State of the set now."""


def ask_gate(
    root: Path,
    runs: Runs,
    version: Any,
    run_id: str,
    images: Images,
    scores: Path,
    rule: Rule,
    measure: Measure,
) -> Decision | None:
    """Give a version the alias that the gate decides on, after its reason is written.

    The challenger is the best of those that did not pass: a version that is behind it on the same
    images gets no alias. A version that serves already keeps its alias; one that a person has
    withdrawn gets none. Where the champion or the starter was not measured, the reason is written
    and no alias changes.

    Args:
        version: MLflow's version, just measured.
        run_id: The parent run that holds its measurement.
        scores: Every metric by image, as CSV.
        measure: Measures the champion where it has not been measured on these images.
    """
    client, number = runs.client, int(version.version)
    mark_measured(client, number, run_id)
    champion = champion_number(client)
    if champion == number or WITHDRAWN in version.tags:
        return None
    measured = read_table(scores.read_text(encoding="utf-8"))
    own, bicubic = scores_of(measured, rule, [rule.method, BICUBIC])
    references = {BICUBIC: bicubic}
    try:
        # An evaluation of before the starter was measured may be published again.
        [references["the starter"]] = scores_of(measured, rule, [STARTER])
        if champion:
            found = find_version(root, f"{MODEL}/{champion}")
            text = _table_of(root, runs, found, images, scores.name, rule, measure)
            [references[f"version {champion}"]] = scores_of(read_table(text), rule, [rule.method])
    except FaceSRError as error:
        serves = f"the champion, version {champion}" if champion else "the starter"
        reason = f"It was not compared with {serves}, on {rule.evaluation_set}: {error}"
        _tag(client, number, REASON, reason)
        if DECISION in version.tags:
            # Of other images; the next run asks again.
            client.delete_model_version_tag(MODEL, str(number), DECISION)
        logger.warning("Version %d gets no alias. %s", number, reason)
        return None
    decision = decide(own, references, rule)
    small = rule._replace(size=GENERATOR_SIZE)
    # Where the starter has no row, the first network alone never serves.
    with suppress(DataError):
        first, starter = scores_of(measured, small, [GAN, STARTER])
        decision = hold_first(decision, first, starter, small)
    decision = decision._replace(reason=f"{decision.reason} {describe_learned(measured, rule)}")
    _tag(client, number, DECISION, CHAMPION if decision.is_champion else CHALLENGER)
    _tag(client, number, REASON, decision.reason)
    if decision.is_champion:
        _make_champion(client, number)
        return decision
    rival = _better_challenger(runs, number, own, images, scores.name, rule)
    if not rival:
        client.set_registered_model_alias(MODEL, CHALLENGER, str(number))
    return decision._replace(rival=rival)


def _better_challenger(
    runs: Runs,
    number: int,
    own: Mapping[str, float],
    images: Images,
    scores_name: str,
    rule: Rule,
) -> int | None:
    """Return the challenger if it has the better mean; None if it was measured on other images."""
    challenger = runs.client.get_registered_model(MODEL).aliases.get(CHALLENGER)
    if not challenger or int(challenger) == number:
        return None
    tags = runs.client.get_model_version(MODEL, str(challenger)).tags
    if tags.get(images.tag) != images.md5 or WITHDRAWN in tags:
        return None
    text = runs.read_text(tags.get(EVALUATION_RUN, ""), f"{SCORES_FOLDER}/{scores_name}")
    with suppress(DataError):
        [theirs] = scores_of(read_table(text or ""), rule, [rule.method])
        if compare(own, theirs, rule.metric).mean < 0:
            return int(challenger)
    return None


def _table_of(
    root: Path,
    runs: Runs,
    version: RegisteredVersion,
    images: Images,
    scores_name: str,
    rule: Rule,
    measure: Measure,
) -> str:
    """Return the metrics by image of a version, measured now where the store has none."""
    kept = f"{rule.evaluation_set}-{images.md5}.csv"
    if version.tags.get(images.tag) == images.md5:
        run_id, name = version.tags.get(EVALUATION_RUN, ""), scores_name
    else:
        run_id, name = version.run_id, kept
    if text := runs.read_text(run_id, f"{SCORES_FOLDER}/{name}"):
        return text
    weights = download(root, version)
    logger.info("Version %d is measured on %s", version.number, rule.evaluation_set)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, kept)
        measure(weights, rule.evaluation_set, table)
        runs.client.log_artifact(version.run_id, str(table), SCORES_FOLDER)
        return table.read_text(encoding="utf-8")


def mark_measured(client: Any, number: int, run_id: str) -> None:
    """Record which run holds the newest measurement of a version."""
    _tag(client, number, EVALUATION_RUN, run_id)


def promote(root: Path, reference: str, *, reason: str) -> RegisteredVersion:
    """Make a version champion by a person's decision, and keep the reason.

    Raises:
        RegistryError: There is no reason, or the reference names nothing, or the version has lost
            its weights or holds others, or the store does not answer.
    """
    if not reason.strip():
        raise RegistryError("A promotion needs a reason that others can read: --reason '...'")
    found = find_version(root, reference)
    # A version without its weights cannot serve.
    download(root, found)
    client, _ = connect(root, create=False)
    with as_registry_error(root):
        _tag(client, found.number, PROMOTED, reason.strip())
        if WITHDRAWN in found.tags:
            client.delete_model_version_tag(MODEL, str(found.number), WITHDRAWN)
        if champion_number(client) != found.number:
            _make_champion(client, found.number)
        note_decision(root, client, f"{MODEL}/{found.number} was promoted\n\n{reason.strip()}")
    return find_version(root, f"{MODEL}/{found.number}")


def rollback(root: Path, *, reason: str) -> RegisteredVersion | None:
    """Give the alias back to the version that served before; before the first, the starter did.

    The version that it is taken from is marked as withdrawn, and the gate never chooses it again.

    Returns:
        The version that serves now; None where the starter does.

    Raises:
        RegistryError: There is no reason, or no champion, or the store does not answer.
    """
    if not reason.strip():
        raise RegistryError("A rollback needs a reason that others can read: --reason '...'")
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
        _tag(client, present.number, WITHDRAWN, reason.strip())
        if earlier:
            client.set_registered_model_alias(MODEL, CHAMPION, earlier.version)
        else:
            client.delete_registered_model_alias(MODEL, CHAMPION)
        serves = f"{MODEL}/{earlier.version}" if earlier else "the starter"
        event = f"{MODEL}/{present.number} was withdrawn, {serves} serves"
        note_decision(root, client, f"{event}\n\n{reason.strip()}")
    return find_version(root, f"{MODEL}/{earlier.version}") if earlier else None


def _make_champion(client: Any, number: int) -> None:
    _tag(client, number, SINCE, datetime.now(UTC).isoformat())
    client.set_registered_model_alias(MODEL, CHAMPION, str(number))
    # A number from SQLite, a text from a server.
    if str(client.get_registered_model(MODEL).aliases.get(CHALLENGER)) == str(number):
        client.delete_registered_model_alias(MODEL, CHALLENGER)


def _tag(client: Any, number: int, tag: str, value: str) -> None:
    client.set_model_version_tag(MODEL, str(number), tag, value)
