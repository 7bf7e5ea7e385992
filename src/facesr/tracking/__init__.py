"""MLflow as a projection of dvc.lock: runs, the registered model, its aliases.

DVC restores files without running code, so a stage that logs its own runs leaves none when it comes
from the cache. Here the last stage reads dvc.lock and the report files, and makes MLflow agree: one
parent run per state of the pipeline, one nested run per state of a stage, one model version per
distinct weights. Repeating it adds nothing; a deleted database is built again.

MLflow takes seconds to import, so every function imports it for itself.
"""

from facesr.tracking.aliases import promote, rollback
from facesr.tracking.listing import (
    LOCAL_PAGES,
    PAGES_VARIABLE,
    ListedRun,
    ListedVersion,
    list_runs,
    list_versions,
)
from facesr.tracking.live import live_run
from facesr.tracking.projection import publish
from facesr.tracking.published import Published
from facesr.tracking.records import Record, read_artifact, read_card, read_record, read_scores
from facesr.tracking.seen_images import as_lines, versions_that_saw
from facesr.tracking.store import CHALLENGER, CHAMPION, EXPERIMENT, MODEL, WEIGHTS, tracking_uri
from facesr.tracking.versions import (
    RegisteredVersion,
    champion,
    champion_or_challenger,
    download,
    find_version,
    find_weights,
)

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "EXPERIMENT",
    "LOCAL_PAGES",
    "MODEL",
    "PAGES_VARIABLE",
    "WEIGHTS",
    "as_lines",
    "ListedRun",
    "ListedVersion",
    "Published",
    "Record",
    "RegisteredVersion",
    "champion",
    "champion_or_challenger",
    "download",
    "find_version",
    "find_weights",
    "live_run",
    "promote",
    "list_runs",
    "list_versions",
    "publish",
    "read_artifact",
    "read_card",
    "read_record",
    "read_scores",
    "rollback",
    "tracking_uri",
    "versions_that_saw",
]
