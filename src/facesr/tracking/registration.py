"""Registration: one version of the registered model per distinct weights."""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facesr.errors import RegistryError
from facesr.files import digest
from facesr.tracking.lockfile import (
    entry_writing,
    evaluation_tags,
    md5_tags,
    md5s,
)
from facesr.tracking.provenance import installed_versions
from facesr.tracking.store import MODEL, WEIGHTS, global_store, shown, tracking_uri
from facesr.tracking.versions import WEIGHTS_MD5

# Set on a parent run: the version that it registered or found.
VERSION_TAG = "model.version"

# What the registered model needs to run elsewhere; facesr itself travels as source code.
_PACKAGES = (
    "fastai",
    "imagecodecs",
    "mlflow",
    "numpy",
    "pandas",
    "pillow",
    "safetensors",
    "tifffile",
    "torch",
    "torchvision",
    "tqdm",
)


_SOURCE = Path(__file__).parents[1]
# The part of facesr that enhances: what these import is among them (tests/test_layers.py).
SERVED = (
    *("enhance", "images", "models"),
    *("__init__.py", "devices.py", "errors.py", "files.py", "metrics.py", "names.py"),
)


@dataclass(frozen=True)
class Registry:
    """Registered model and one state of the pipeline."""

    client: Any
    experiment_id: str
    root: Path
    stages: Mapping[str, Mapping[str, Any]]
    networks: Sequence[Path]
    fidelity: Path
    metrics: Path
    tags: Mapping[str, str]
    """Tags of every new version."""

    def registered_by(self, parent: Any) -> tuple[Any, bool]:
        """Return a parent run's version and whether it is new; register it if it is gone."""
        number = parent.data.tags.get(VERSION_TAG, "")
        found = self._find_version(f"version_number = {number}") if number else None
        if found:
            return found, False
        version, is_new = self.register(parent.info.run_id)
        self.client.set_tag(parent.info.run_id, VERSION_TAG, version.version)
        return version, is_new

    def check_model_is_ours(self) -> None:
        """Raise RegistryError if the registered model of this name is another project's."""
        for version in self.client.search_model_versions(f"name = '{MODEL}'"):
            if WEIGHTS_MD5 not in version.tags:
                raise RegistryError(
                    f"The registered model {MODEL} in {shown(tracking_uri(self.root))} is not this "
                    f"project's: its version {version.version} has no tag {WEIGHTS_MD5}. Rename it "
                    "in MLflow, or set MLFLOW_TRACKING_URI to another store."
                )

    def _find_version(self, condition: str) -> Any:
        found = self.client.search_model_versions(f"name = '{MODEL}' and {condition}")
        return max(found, key=lambda version: int(version.version), default=None)

    def register(self, run_id: str) -> tuple[Any, bool]:
        """Return the version with these weights and whether it is new."""
        sources = md5_tags(
            {
                path.as_posix(): md5s(entry_writing(self.stages, path), "outs")[path.as_posix()]
                for path in (*self.networks, self.fidelity)
            }
        )
        found = self._find_version(
            " and ".join(f"tags.`{tag}` = '{md5}'" for tag, md5 in sources.items())
        )
        if found:
            return self._measured_again(found), False
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder, WEIGHTS)
            config = Path(folder, "config.json")
            # Loads PyTorch, which nothing else here needs.
            from facesr.models.checkpoints import describe, load_chain, save_networks

            chain = load_chain(
                [self.root / path for path in self.networks], fidelity=self.root / self.fidelity
            )
            save_networks(weights, chain)
            config.write_text(
                json.dumps(describe(chain), indent=2, sort_keys=True) + "\n", encoding="utf-8"
            )
            md5 = digest(weights, "md5")
            found = self._find_version(f"tags.`{WEIGHTS_MD5}` = '{md5}'")
            if found:
                return self._measured_again(found), False
            tags = {
                WEIGHTS_MD5: md5,
                **sources,
                **self.tags,
                **evaluation_tags(self.stages, self.metrics),
            }
            return self._create_version(run_id, weights, config, tags), True

    def _create_version(
        self, run_id: str, weights: Path, config: Path, tags: Mapping[str, str]
    ) -> Any:
        import mlflow
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException

        logged = self.client.create_logged_model(
            self.experiment_id, name="enhancer", source_run_id=run_id, tags=dict(tags)
        )
        status = "FAILED"
        try:
            with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as copies:
                code = _copy_source(Path(copies))
                # mlflow.pyfunc.log_model would do the same with a run that is active for the whole
                # process, and it closes that run.
                mlflow.pyfunc.save_model(
                    folder,
                    mlflow_model=mlflow.models.Model(
                        artifact_path=logged.artifact_location,
                        run_id=run_id,
                        model_uuid=logged.model_id,
                        model_id=logged.model_id,
                    ),
                    python_model=str(Path(__file__).with_name("registered_model.py")),
                    artifacts={"weights": str(weights), "config": str(config)},
                    code_paths=[str(code)],
                    signature=_signature(),
                    input_example=_input_example(),
                    pip_requirements=[
                        f"{name}=={installed}"
                        for name, installed in installed_versions(_PACKAGES).items()
                    ],
                )
                self.client.log_model_artifacts(logged.model_id, folder)
            self.client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
            status = "READY"
        finally:
            self.client.finalize_logged_model(logged.model_id, status)
        # From the second version on it is there.
        with suppress(MlflowException):
            self.client.create_registered_model(
                MODEL, description="Face super-resolution: image in, enlarged image out."
            )
        with global_store(tracking_uri(self.root)):
            return self.client.create_model_version(
                MODEL,
                source=f"models:/{logged.model_id}",
                run_id=run_id,
                tags=dict(tags),
                model_id=logged.model_id,
            )

    def _measured_again(self, version: Any) -> Any:
        # Same weights, newer evaluation: the tags name the set that the newest metrics are of.
        for tag, value in evaluation_tags(self.stages, self.metrics).items():
            if version.tags.get(tag) != value:
                self.client.set_model_version_tag(MODEL, version.version, tag, value)
        return version


def _copy_source(folder: Path) -> Path:
    code = folder / _SOURCE.name
    code.mkdir()
    for name in SERVED:
        if name.endswith(".py"):
            shutil.copy2(_SOURCE / name, code)
        else:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(_SOURCE / name, code / name, ignore=ignored)
    return code


def _signature() -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema([ColSpec(DataType.binary, "image"), ColSpec(DataType.string, "error")]),
        params=ParamSchema(
            [ParamSpec("size", DataType.integer, 512), ParamSpec("strength", DataType.double, 1.0)]
        ),
    )


def _input_example() -> Any:
    import torch
    from pandas import DataFrame

    from facesr import images

    return DataFrame({"image": [images.encode_png(torch.full((3, 8, 8), 0.5))]})


def model_id(version: Any) -> str:
    """Return the id of the logged model behind a version."""
    # MLflow leaves `version.model_id` empty outside Databricks.
    return str(version.source).rpartition("/")[2]
