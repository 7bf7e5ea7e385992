"""Publishing after a training that was shown live leaves one run of it."""

import json

import pytest
from test_tracking import find_runs, migrated_database, networks, publish_project
from test_tracking import project as _project

from facesr import tracking

pytestmark = pytest.mark.filterwarnings(r"ignore:::mlflow\.")
FIXTURES = (migrated_database, networks)
project = _project


def live_run(root, stage, key, *, system=(), status="FINISHED"):
    """Write what a live run leaves; `system` are shares of the processor in %."""
    from mlflow.entities import Metric

    from facesr.tracking import store

    client, experiment_id = store.connect(root, create=True)
    tags = {"live": "true", "dvc.stage": stage, "training.key": key}
    run = client.create_run(experiment_id, run_name=f"{stage} (live)", tags=tags)
    points = [Metric("system/cpu", value, 1000 + step, step) for step, value in enumerate(system)]
    client.log_batch(run.info.run_id, metrics=[*points, Metric("loss", 0.5, 1000, 1)])
    if status != "RUNNING":
        client.set_terminated(run.info.run_id, status)
    return run.info.run_id


def write_key(root, stage, key):
    (root / "reports" / stage / "training.json").write_text(json.dumps({"key": key}))


def test_publish_replaces_the_live_runs_of_a_training_and_keeps_their_system_metrics(project):
    from mlflow import MlflowClient

    write_key(project, "train_gan", "abc")
    live_run(project, "train_gan", "abc", system=[10.0, 20.0], status="RUNNING")
    live_run(project, "train_gan", "abc", system=[30.0])
    other = live_run(project, "train_gan", "def", status="KILLED")

    published = publish_project(project)

    assert published.created_runs == 9
    assert [run.info.run_id for run in find_runs(project, "tags.live = 'true'")] == [other]
    client = MlflowClient(tracking_uri=tracking.tracking_uri(project))
    [record] = find_runs(project, "attributes.run_name = 'train_gan'")
    history = client.get_metric_history(record.info.run_id, "system/cpu")
    assert sorted((one.step, one.value) for one in history) == [(0, 10.0), (1, 20.0), (2, 30.0)]
    # The curve is that of the report, once.
    losses = client.get_metric_history(record.info.run_id, "loss")
    assert sorted((one.step, one.value) for one in losses) == [(1, 0.5), (2, 0.25), (3, 0.125)]


def test_a_training_that_ran_again_to_a_known_state_leaves_no_live_run(project):
    write_key(project, "train_gan", "abc")
    first = publish_project(project)
    live_run(project, "train_gan", "abc", system=[10.0])

    again = publish_project(project)

    assert (again.created_runs, again.parent_run_id) == (0, first.parent_run_id)
    assert find_runs(project, "tags.live = 'true'") == []
    assert len(find_runs(project)) == 9
