"""Training of generator and up-sampler towards the originals."""

from pathlib import Path

import torch
from torch import nn

from facesr import images, metrics
from facesr.config import RegressionParams, TrainingParams
from facesr.data.pairs import TrainBatches, WholeBatches, load_pairs
from facesr.errors import CheckpointError
from facesr.losses import ContentLoss
from facesr.models import build
from facesr.models.checkpoints import Network, load_start
from facesr.training.learner import Cycle, Task
from facesr.training.processes import join_processes
from facesr.training.restore import restored_sheet


def regression_task(
    params: RegressionParams,
    training: TrainingParams,
    folders: list[tuple[Path, Path]],
    *,
    hr_size: int,
    init_from: Path | None,
    seed: int,
) -> Task:
    """Return the task of a network from lr to hr.

    Args:
        folders: Folders of lr and hr, for training and validation.
        hr_size: Side of hr in pixels.
        init_from: Initial weights; None for random ones.

    Raises:
        CheckpointError: `init_from` is missing, damaged or of another architecture.
    """
    processes = join_processes()
    train, valid = (load_pairs(lr, hr, hr_size=hr_size) for lr, hr in folders)
    torch.manual_seed(seed)
    network = start_network(params, scale=train.scale, init_from=init_from)
    cycles = [
        Cycle(
            TrainBatches(
                train,
                batch_size=phase.batch_size,
                crop_size=phase.crop_size,
                crops_per_pair=params.crops_per_pair,
                seed=seed,
                device=processes.device,
                shard=processes.shard,
            ),
            epochs=phase.epochs,
            rates=[phase.encoder_learning_rate or phase.learning_rate, phase.learning_rate],
            frozen_parts=0 if phase.encoder_learning_rate else 1,
        )
        for phase in params.phases
    ]
    return Task(
        params,
        network,
        split_encoder(network.module),
        cycles,
        WholeBatches(valid, batch_size=1),
        inputs=[*(folder for pair in folders for folder in pair), *filter(None, [init_from])],
        loss=ContentLoss(params.content, training.features).to(processes.device),
        metric="psnr",
        measure=lambda sr, hr: metrics.psnr(images.round_to_8bit(sr), hr).mean(),
        sample=lambda count: restored_sheet(network.module, valid, count=count),
        seed=seed,
        processes=processes,
    )


def start_network(params: RegressionParams, *, scale: int, init_from: Path | None) -> Network:
    """Build the network of a training, with random weights or those of `init_from`."""
    architecture = {**params.network.model_dump(), "scale": scale}
    if init_from is None:
        return Network(architecture, build(architecture, fetch=True))
    if not init_from.is_file():
        raise CheckpointError(
            f'{init_from} does not exist. Give init_from another file, or leave it "".'
        )
    return load_start(init_from, architecture, faithful=True)


def split_encoder(network: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of the encoder and all others."""
    encoder = list(network.get_submodule("encoder").parameters())
    known = {id(parameter) for parameter in encoder}
    return [encoder, [one for one in network.parameters() if id(one) not in known]]
