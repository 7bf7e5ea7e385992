"""Checkpoints of a running training, with everything for a bit-identical continuation.

The folder is named after the training's key, so that a checkpoint never meets other parameters or
images. Writing is atomic, and reading executes no code: PyTorch loads tensors and plain values
only.
"""

import hashlib
import json
import os
import pickle
import random
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facesr import files
from facesr.config import RegressionParams, TrainCriticParams, TrainGanParams, TrainingParams
from facesr.data import packs
from facesr.errors import CheckpointError

FILE = "last.pt"


def key_of(values: Mapping[str, Any], inputs: Sequence[Path]) -> str:
    """Return a training's key, 16 hexadecimal digits, from plain values and all input files.

    Packs count by the stored digests of their images, so no image is read. Names and contents
    count; sizes, times and places do not.
    """
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for position, path in enumerate(inputs):
        below = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        for file in below:
            if file.suffix == packs.DIGESTS:
                continue
            content = _content(file)
            digest.update(f"{position} {file.relative_to(path).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def _content(file: Path) -> str:
    if file.suffix == ".npy" and packs.is_pack(file.parent):
        return hashlib.md5(packs.fingerprint(file)).hexdigest()
    return files.digest(file, "md5")


def training_key(
    params: RegressionParams | TrainCriticParams | TrainGanParams,
    training: TrainingParams,
    side: int,
    seed: int,
    inputs: Sequence[Path],
) -> str:
    """Return the key of a stage's training; `side` is that of its originals.

    The checkpoint interval and the limit of parts do not count.
    """
    values = {
        "params": params.model_dump(),
        "training": training.model_dump(exclude={"checkpoint_minutes", "max_accumulate"}),
        "side": side,
        "seed": seed,
    }
    return key_of(values, inputs)


class Checkpoints:
    """Checkpoint of one training, in FOLDER/KEY/."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder / key
        self.file = self.folder / FILE
        self.key = key

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint by nested containers of tensors and plain values, atomically."""
        with files.atomic_write(self.file) as temporary, temporary.open("wb") as file:
            torch.save({"key": self.key, "state": state}, file)
            file.flush()
            os.fsync(file.fileno())

    def load(self) -> Any | None:
        """Return the saved state on the CPU, if any; raise CheckpointError if it is damaged."""
        if not self.file.exists():
            return None
        again = f"To start from the beginning, delete {self.folder} and run the command again."
        try:
            content = torch.load(self.file, map_location="cpu", weights_only=True)
            key, state = content["key"], content["state"]
        except (
            *(EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError),
            pickle.UnpicklingError,
        ) as error:
            reason = " ".join(str(error).split())[:200]
            raise CheckpointError(
                f"The checkpoint {self.file} is damaged ({reason}). {again}"
            ) from error
        if key != self.key:
            raise CheckpointError(
                f"The checkpoint {self.file} is of other parameters, another profile or other "
                f"images. {again}"
            )
        return state

    def others(self) -> list[Path]:
        """Return the folders of checkpoints that this training cannot use."""
        return sorted(
            one.parent for one in self.folder.parent.glob(f"*/{FILE}") if one != self.file
        )

    def delete(self) -> None:
        """Delete the checkpoint, and the folder around it if empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):
            # Not empty, or gone: another training has its checkpoints there.
            self.folder.parent.rmdir()


def random_state() -> dict[str, Any]:
    """Return the state of every random generator: Python's, NumPy's, PyTorch's, the devices'."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "devices": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore the state of every random generator."""
    random.setstate(state["python"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if len(state["devices"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["devices"])
