"""Training of the critic to distinguish the originals from the generator's images."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facesr import images
from facesr.config import TrainCriticParams
from facesr.data.pairs import WHOLE, CriticBatches, Pairs, load_pairs
from facesr.models import build
from facesr.models.checkpoints import Network
from facesr.training.learner import Cycle, Task
from facesr.training.processes import join_processes
from facesr.training.restore import Sheet


def critic_task(
    params: TrainCriticParams, folders: list[tuple[Path, Path]], *, hr_size: int, seed: int
) -> Task:
    """Return the critic's task on generated images and originals, for training and validation."""
    processes = join_processes()
    train, valid = (
        CriticBatches(
            load_pairs(generated, originals, hr_size=hr_size),
            batch_size=params.batch_size,
            crop_size=params.crop_size,
            seed=seed,
            shard=shard,
        )
        for (generated, originals), shard in zip(folders, (processes.shard, WHOLE), strict=True)
    )
    torch.manual_seed(seed)
    architecture = params.network.model_dump()
    critic = build(architecture)
    return Task(
        params,
        Network(architecture, critic),
        [list(critic.parameters())],
        [Cycle(train, epochs=params.epochs, rates=[params.learning_rate])],
        valid,
        inputs=[folder for pair in folders for folder in pair],
        loss=patch_cross_entropy,
        metric="accuracy",
        measure=patch_accuracy,
        sample=lambda count: _judged(critic, valid.pairs, count=count),
        seed=seed,
        processes=processes,
    )


def patch_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of (N, P) logits, whose patches all share the (N,) labels."""
    return F.binary_cross_entropy_with_logits(logits, labels[:, None].expand_as(logits))


def patch_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of (N, P) logits on the right side of zero."""
    return ((logits > 0) == (labels[:, None] > 0.5)).float().mean()


def _judged(critic: nn.Module, pairs: Pairs, *, count: int) -> Sheet:
    """Return a sample sheet with the critic's opinion of whole images."""
    device = next(critic.parameters()).device
    critic.eval()
    columns: dict[str, list[Tensor]] = {"original": [], "generated": []}
    notes = []
    for original, generated in zip(pairs.hr[:count], pairs.lr[:count], strict=True):
        both = images.from_uint8(torch.stack([original, generated]))  # (2, 3, H, W)
        with torch.inference_mode():
            first, second = critic(both.to(device)).sigmoid().mean(1).tolist()
        notes.append(f"taken for an original: {first:.2f} and {second:.2f}")
        columns["original"].append(both[0])
        columns["generated"].append(both[1])
    return Sheet(columns, pairs.notice, notes)
