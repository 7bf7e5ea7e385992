"""Projection of dvc.lock: a parent run per state of the pipeline, a run per state of a stage."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from typing import Any

from filelock import FileLock

from facesr.config import PublishParams, parse_yaml
from facesr.errors import ParamsError
from facesr.names import FULL_SIZE, UPSAMPLED, EvaluationSet
from facesr.tracking import history
from facesr.tracking.aliases import (
    DECISION,
    Images,
    Measure,
    ask_gate,
    champion_number,
    mark_measured,
)
from facesr.tracking.gate import Decision, Rule
from facesr.tracking.live import settle
from facesr.tracking.lockfile import (
    ALSO,
    PIPELINE_KEY,
    STAGE_KEY,
    data_of,
    entry_writing,
    evaluation_tags,
    key_of,
    md5s,
    params_of,
    params_of_all,
    read_lock,
    stage_writing,
)
from facesr.tracking.provenance import experiment_tags, read_times, training_tags
from facesr.tracking.published import Published, read_note, write_note
from facesr.tracking.registration import VERSION_TAG, Registry, model_id
from facesr.tracking.report_files import read_curves, read_headlines
from facesr.tracking.restoring import note_state, restore
from facesr.tracking.runs import CARD, MANIFESTS_FOLDER, NOTE, SCORES_FOLDER, Runs, Times
from facesr.tracking.store import CHALLENGER, CHAMPION, MODEL, as_registry_error, connect, home

logger = getLogger(__name__)


def publish(
    root: Path,
    *,
    lock: Path,
    reports: Path,
    metrics: Path,
    scores: Path,
    networks: Sequence[Path],
    fidelity: Path,
    profile: str,
    gate: PublishParams,
    sets: Mapping[str, EvaluationSet],
    measure: Measure,
) -> Published:
    """Make MLflow agree with dvc.lock and the report files.

    A state counts as published once its parent run is FINISHED, which is the last thing written; an
    interrupted run stays FAILED or RUNNING and the next call writes a new one.

    Args:
        root: The project's root; the other paths are relative to it.
        reports: One folder per stage. CSV files with a column `step` become curves, images and
            pages artifacts.
        metrics: Out of the stage that evaluates.
        scores: Every metric by image, as CSV.
        networks: Weights in the order of the chain.
        fidelity: Weights of the first network before its adversarial training, the other end of
            `strength`.
        sets: Folders of pairs by the name of the evaluation set.
        measure: Measures the champion on a set on which it has no measurement.

    Raises:
        DataError: A file is missing or damaged.
        RegistryError: The MLflow store does not answer or refuses.
    """
    stages = read_lock(root / lock)
    key = key_of(stages)
    # An experiment that comes to a known state is noted there, which takes MLflow itself.
    published = None if os.environ.get("DVC_EXP_NAME") else read_note(root, key)
    if not published:
        read_headlines(root / scores)
        client, experiment_id = connect(root, create=True)

        def project(
            folder: Path, stages: Mapping[str, Any], tags: Mapping[str, str]
        ) -> _Projection:
            trained = training_tags(folder / reports / stage_writing(stages, networks[-1]))
            return _Projection(
                runs=Runs(client, experiment_id, tags),
                registry=Registry(
                    client=client,
                    experiment_id=experiment_id,
                    root=folder,
                    stages=stages,
                    networks=networks,
                    fidelity=fidelity,
                    metrics=metrics,
                    tags={
                        **{tag: tags[tag] for tag in ("profile", "dvc.exp_name") if tag in tags},
                        **trained,
                    },
                ),
                root=folder,
                trained=trained,
                reports=folder / reports,
                stages=stages,
                metrics_path=metrics,
                metrics=read_headlines(folder / scores),
                scores=folder / scores,
                profile=tags.get("profile", profile),
                rule=Rule(gate.metric, gate.evaluation_set, FULL_SIZE, UPSAMPLED, gate.confidence),
                sets=sets,
                measure=measure,
            )

        def restore_state(
            folder: Path, stages: Mapping[str, Any], tags: Mapping[str, str], is_judged: bool
        ) -> None:
            project(folder, stages, tags).write(key_of(stages), is_judged=is_judged)

        # Two workers of DVC's queue would write the same state twice, or restore a store twice.
        with as_registry_error(root), FileLock(home(root) / ".dvc" / "tmp" / "publish.lock"):
            names = [os.environ.get("DVC_EXP_NAME", "")]
            names = [name for name in names if name] or history.names_of(root, key)
            projection = project(root, stages, experiment_tags(profile, names))
            projection.registry.check_model_is_ours()
            is_restored = restore(root, projection.runs, key, restore_state)
            published, is_new = projection.write(key)
            if is_new or is_restored:
                event = _event(published) if is_new else "The store was restored"
                note_state(root, client, published.parent_run_id, event)
            write_note(root, key, published)
    if published.decision:
        standing, reason = _standing(published.decision), published.decision.reason
        logger.info("Version %d is %s. %s", published.model_version, standing, reason)
    logger.info(
        "MLflow: %d new runs, %s version %d, %s",
        published.created_runs,
        MODEL,
        published.model_version,
        f"{CHAMPION} is version {published.champion}"
        if published.champion
        else f"no {CHAMPION}: the starter serves",
    )
    return published


def _event(published: Published) -> str:
    version = f"{MODEL}/{published.model_version}"
    if not published.decision:
        return f"{version} was published"
    return f"{version} is {_standing(published.decision)}\n\n{published.decision.reason}"


def _standing(decision: Decision) -> str:
    if decision.rival:
        return f"behind the {CHALLENGER}, version {decision.rival}"
    return CHAMPION if decision.is_champion else CHALLENGER


@dataclass(frozen=True)
class _Projection:
    """One state of the pipeline and the experiment that it is written to."""

    runs: Runs
    registry: Registry
    root: Path
    trained: Mapping[str, str]
    """Revision and device of the last training, whose weights the version has."""
    reports: Path
    stages: Mapping[str, Mapping[str, Any]]
    metrics_path: Path
    metrics: Sequence[tuple[str, float, int]]
    scores: Path
    profile: str
    rule: Rule
    sets: Mapping[str, EvaluationSet]
    measure: Measure

    def write(self, key: str, *, is_judged: bool = True) -> tuple[Published, bool]:
        """Write the state; return what the store then holds, and whether that is new."""
        parent = self.runs.find(PIPELINE_KEY, key)
        decision, created, is_settled = None, 0, False
        if parent:
            run_id = parent.info.run_id
            is_noted = self._note_experiments(parent)
            version, is_new = self.registry.registered_by(parent)
            if is_new:
                self._write_card(run_id, version)
            is_settled = not is_new and self._is_settled(version)
            if is_judged and not is_settled:
                decision = self._decide(version, run_id)
        else:
            is_noted = True
            name = self.runs.tags.get("dvc.exp_name", "repro")
            tags = {
                **self.trained,
                PIPELINE_KEY: key,
                **evaluation_tags(self.stages, self.metrics_path),
            }
            known = {
                stage: self.runs.find(STAGE_KEY, key_of(entry))
                for stage, entry in self.stages.items()
            }
            with self.runs.open(name, tags, self._times(known)) as run_id:
                for stage, entry in self.stages.items():
                    if run := known[stage]:
                        tag = f"dvc.reused.{stage}"
                        self.runs.client.set_tag(run_id, tag, run.info.run_id)
                    else:
                        self._write_stage(stage, entry, run_id)
                        created += 1
                created += 1
                version, is_new = self.registry.register(run_id)
                self._write_summary(run_id, version)
                if is_judged:
                    decision = self._decide(version, run_id)
                else:
                    mark_measured(self.runs.client, int(version.version), run_id)
        settle(self.runs, self.stages, self.reports)
        published = Published(
            parent_run_id=run_id,
            created_runs=created,
            model_version=int(version.version),
            created_version=is_new,
            champion=champion_number(self.runs.client),
            decision=decision,
            is_settled=is_settled or decision is not None,
        )
        return published, is_noted or is_new or decision is not None

    def _note_experiments(self, parent: Any) -> bool:
        """Add further names of a known state; return whether there is a new one."""
        known = parent.data.tags
        names = [self.runs.tags.get("dvc.exp_name", "")]
        names += [tag.removeprefix(ALSO) for tag in self.runs.tags if tag.startswith(ALSO)]
        new = [
            name
            for name in filter(None, names)
            if known.get("dvc.exp_name") != name and f"{ALSO}{name}" not in known
        ]
        for name in new:
            self.runs.client.set_tag(parent.info.run_id, f"{ALSO}{name}", "true")
        return bool(new)

    def _is_settled(self, version: Any) -> bool:
        """Return whether the gate has decided and the champion it made still exists."""
        decided = version.tags.get(DECISION)
        return decided == CHALLENGER or bool(decided and champion_number(self.runs.client))

    def _decide(self, version: Any, run_id: str) -> Decision | None:
        tag = f"dvc.md5.{self.sets[self.rule.evaluation_set].pairs.as_posix()}"
        md5 = evaluation_tags(self.stages, self.metrics_path).get(tag, "")
        decision = ask_gate(
            self.root,
            self.runs,
            version,
            run_id,
            Images(tag, md5),
            self.scores,
            self.rule,
            self.measure,
        )
        if decision:
            sentence = decision.reason.partition(". ")[0].rstrip(".")
            note = f"{MODEL}/{version.version} is {_standing(decision)}. {sentence}."
            self.runs.client.set_tag(run_id, NOTE, note)
            self.runs.client.update_model_version(MODEL, version.version, f"{sentence}.")
        return decision

    def _times(self, known: Mapping[str, Any]) -> Times | None:
        """Return when the first training of this state began and the last ended, if known."""
        found = [read_times(self.reports / stage) for stage, run in known.items() if not run]
        began, ended = zip(*filter(None, found), strict=True) if any(found) else ((), ())
        return (min(began), max(ended)) if began else None

    def _write_stage(self, stage: str, entry: Mapping[str, Any], parent_run_id: str) -> None:
        times = read_times(self.reports / stage)
        tags = {
            **training_tags(self.reports / stage),
            "mlflow.parentRunId": parent_run_id,
            "dvc.stage": stage,
            STAGE_KEY: key_of(entry),
        }
        purposes = {"train": "training", "evaluate": "evaluation"}
        purpose = purposes.get(stage.partition("_")[0], "preparation")
        with self.runs.open(stage, tags, times) as run_id:
            self.runs.log_params(run_id, params_of(entry))
            self.runs.log_inputs(run_id, data_of(entry), purpose)
            self.runs.log_metrics(run_id, read_curves(self.reports / stage), times=times)
            self.runs.log_files(run_id, self.reports / stage)
            for path in md5s(entry, "outs"):
                if (manifest := self.root / path / "manifest.csv").is_file():
                    self.runs.client.log_artifact(
                        run_id, str(manifest), f"{MANIFESTS_FOLDER}/{path}"
                    )

    def _write_summary(self, run_id: str, version: Any) -> None:
        """Log what differs from the profile, the headlines, images and files to the parent run."""
        self.runs.log_params(run_id, {"profile": self.profile, **self._own_params()})
        evaluated = self.scores.parent
        for path in sorted(evaluated.glob("images/*/*.png")):
            self.runs.log_image(run_id, path, f"{path.parent.name}/{path.stem}")
        for path in sorted(evaluated.glob("sheets/*.png")):
            self.runs.log_image(run_id, path, f"{path.stem}/sheet")
        evaluation = data_of(entry_writing(self.stages, self.metrics_path))
        self.runs.log_inputs(run_id, evaluation, "evaluation")
        self.runs.log_metrics(run_id, self.metrics, model_id=model_id(version))
        self.runs.client.log_artifact(run_id, str(self.scores), SCORES_FOLDER)
        self._write_card(run_id, version)
        for name in ("dvc.yaml", "dvc.lock", "params.yaml", "recipes.yaml", "requirements.lock"):
            if (self.root / name).is_file():
                self.runs.client.log_artifact(run_id, str(self.root / name))
        self.runs.client.set_tag(run_id, VERSION_TAG, version.version)

    def _own_params(self) -> dict[str, str]:
        """Return the parameters in params.yaml that differ from the profile; all without one."""
        # A plain installation, which enhances, has no ruamel.yaml.
        from facesr.profiles import PROFILES, compose

        path = home(self.root) / PROFILES
        try:
            preset = parse_yaml(compose(self.profile, path), path)
        except ParamsError:
            return params_of_all(self.stages)
        usual = params_of({"params": {"params.yaml": preset}})
        own = params_of_all(self.stages, ("params.yaml",))
        return {name: value for name, value in own.items() if value != usual.get(name)}

    def _write_card(self, run_id: str, version: Any) -> None:
        # Loads PyTorch.
        from facesr.tracking.card import write_card

        data = {name: self.root / one.images for name, one in self.sets.items()}
        with tempfile.TemporaryDirectory() as folder:
            card = Path(folder, CARD)
            write_card(int(version.version), version.tags, self.scores, data, card)
            self.runs.client.log_artifact(run_id, str(card))
            self.runs.client.log_model_artifact(model_id(version), str(card))
