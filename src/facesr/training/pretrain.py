"""Training against the originals, of generator and up-sampler."""

from pathlib import Path

import torch
from torch import Tensor, nn

from facesr import images, metrics
from facesr.checkpoints import Network, load_start, save_networks
from facesr.config import Phase, RegressionParams, Sizes, TrainingParams
from facesr.devices import count_parameters
from facesr.errors import CheckpointError
from facesr.losses import ContentLoss
from facesr.models import build
from facesr.pairs import HR, LR, Pairs, TrainBatches, WholeBatches, load_pairs
from facesr.training.learner import Cycle, Watch, build_learner, run_cycles
from facesr.training.monitor import Monitor
from facesr.training.processes import Processes, check_division, join_processes
from facesr.training.restore import restore_all, restored_columns
from facesr.training.resume import training_key

TRAIN = "train"
VALID = "valid"


def train_generator(
    params: RegressionParams,
    training: TrainingParams,
    *,
    sizes: Sizes,
    train_pairs: Path,
    valid_pairs: Path,
    init_from: Path | None,
    weights: Path,
    restored: Path,
    report: Path,
    checkpoints: Path,
    seed: int,
) -> None:
    """Trains the generator on the pairs and writes its pictures of all of them.

    Args:
        params: Network, loss and schedule.
        training: How trainings are run.
        sizes: The scale is generator_size / lr_size.
        train_pairs: Folder of pairs.
        valid_pairs: Folder of pairs.
        init_from: Weights to start from.
        weights: Gets the generator.
        restored: Gets the generator's pictures by split.
        report: Gets curves, samples and summary.
        checkpoints: Folder for what an interrupted training goes on from.
        seed: Of initial weights, order and crops.

    Raises:
        Stopped: A signal came; all is saved.
        TrainingError: The loss is not finite.
    """
    processes = join_processes()
    splits = {
        split: load_pairs(folder / LR, folder / HR, hr_size=sizes.generator_size)
        for split, folder in ((TRAIN, train_pairs), (VALID, valid_pairs))
    }
    key = training_key(
        params, training, sizes, seed, [train_pairs, valid_pairs, *_given(init_from)]
    )
    with _monitor(params, training, splits[TRAIN], report, checkpoints, key, processes) as monitor:
        network = fit(
            params,
            splits,
            scale=sizes.generator_scale,
            init_from=init_from,
            seed=seed,
            monitor=monitor,
        )
        if processes.writes:
            save_networks(weights, [network])
            restore_all(network.module, splits, restored, between=monitor.heed_signal)


def train_upsampler(
    params: RegressionParams,
    training: TrainingParams,
    *,
    sizes: Sizes,
    restored: Path,
    train_pairs: Path,
    valid_pairs: Path,
    init_from: Path | None,
    weights: Path,
    report: Path,
    checkpoints: Path,
    seed: int,
) -> None:
    """Trains the up-sampler from the GAN's pictures to the full-size originals.

    Args:
        params: Network, loss and schedule.
        training: How trainings are run.
        sizes: The scale is hr_size / generator_size.
        restored: The GAN's pictures by split.
        train_pairs: Folder of pairs, whose originals are the target.
        valid_pairs: Folder of pairs, whose originals are the target.
        init_from: Weights to start from.
        weights: Gets the up-sampler.
        report: Gets curves, samples and summary.
        checkpoints: Folder for what an interrupted training goes on from.
        seed: Of initial weights, order and crops.

    Raises:
        Stopped: A signal came; all is saved.
        TrainingError: The loss is not finite.
    """
    processes = join_processes()
    splits = {
        split: load_pairs(restored / split, folder / HR, hr_size=sizes.hr_size)
        for split, folder in ((TRAIN, train_pairs), (VALID, valid_pairs))
    }
    inputs = [restored, train_pairs / HR, valid_pairs / HR, *_given(init_from)]
    key = training_key(params, training, sizes, seed, inputs)
    with _monitor(params, training, splits[TRAIN], report, checkpoints, key, processes) as monitor:
        network = fit(
            params,
            splits,
            scale=sizes.upsampler_scale,
            init_from=init_from,
            seed=seed,
            monitor=monitor,
        )
        if processes.writes:
            save_networks(weights, [network])


def fit(
    params: RegressionParams,
    splits: dict[str, Pairs],
    *,
    scale: int,
    init_from: Path | None,
    seed: int,
    monitor: Monitor,
) -> Network:
    """Trains a network from lr to hr, phase by phase; a fresh one where `init_from` names none.

    Raises:
        CheckpointError: `init_from` is missing, damaged or of another architecture.
    """
    torch.manual_seed(seed)
    processes = monitor.processes
    network = start_network(params, scale=scale, init_from=init_from)
    module = network.module
    learner = build_learner(
        module,
        WholeBatches(splits[VALID], batch_size=1),
        ContentLoss(params.content).to(processes.device),
        monitor=monitor,
        metric=valid_psnr,
        weight_decay=params.weight_decay,
        epsilon=params.epsilon,
        parts=split_encoder(module),
    )
    watch = Watch(
        monitor,
        metric="psnr",
        sample=lambda: monitor.sample(
            restored_columns(module, splits[VALID], count=monitor.params.sample_pictures)
        ),
    )
    phases = []
    first_epoch = 0
    for phase in params.phases:
        check_division(phase.batch_size, monitor.params.accumulate, processes)
        batches = phase_batches(params, phase, splits[TRAIN], seed, processes)
        rate, encoder_rate = phase.learning_rate, phase.encoder_learning_rate
        phases.append(
            Cycle(
                batches,
                first_epoch=first_epoch,
                epochs=phase.epochs,
                rates=[encoder_rate or rate, rate],
                frozen_parts=0 if encoder_rate else 1,
            )
        )
        first_epoch += phase.epochs
    torch.manual_seed(seed + processes.rank)  # of dropout
    run_cycles(learner, phases, watch, warmup_fraction=params.warmup_fraction)
    monitor.summarise({"parameters": count_parameters(module), "valid_psnr": watch.metric_value})
    return network


def start_network(params: RegressionParams, *, scale: int, init_from: Path | None) -> Network:
    """Builds the network of a training, with fresh weights or those that `init_from` names."""
    architecture = {**params.network.model_dump(), "scale": scale}
    if init_from:
        return load_start(init_from, architecture)
    return Network(architecture, build(architecture, fetch=True))


def valid_psnr(sr: Tensor, hr: Tensor) -> Tensor:
    """Mean PSNR in dB of (N, 3, H, W) outputs, clamped as a file would hold them."""
    return metrics.psnr(images.round_to_8bit(sr), hr).mean()


def split_encoder(network: nn.Module) -> list[list[nn.Parameter]]:
    """Parts of a network: encoder, then everything else."""
    encoder = list(network.get_submodule("encoder").parameters())
    known = {id(parameter) for parameter in encoder}
    return [encoder, [one for one in network.parameters() if id(one) not in known]]


def phase_batches(
    params: RegressionParams, phase: Phase, pairs: Pairs, seed: int, processes: Processes
) -> TrainBatches:
    """Return this process's share of the batches of one phase."""
    return TrainBatches(
        pairs,
        batch_size=phase.batch_size,
        crop_size=phase.crop_size,
        crops_per_pair=params.crops_per_pair,
        seed=seed,
        device=processes.device,
        share=processes.share,
    )


def _given(path: Path | None) -> list[Path]:
    if path and not path.is_file():
        raise CheckpointError(
            f'{path} does not exist. Give init_from another file, or leave it "".'
        )
    return [path] if path else []


def _monitor(
    params: RegressionParams,
    training: TrainingParams,
    pairs: Pairs,
    report: Path,
    checkpoints: Path,
    key: str,
    processes: Processes,
) -> Monitor:
    steps = [
        phase.epochs * len(phase_batches(params, phase, pairs, 0, processes))
        for phase in params.phases
    ]
    return Monitor(
        training,
        report=report,
        checkpoints=checkpoints,
        key=key,
        total_steps=sum(steps),
        total_pictures=sum(
            count * phase.batch_size for count, phase in zip(steps, params.phases, strict=True)
        ),
        report_every=params.report_every,
        processes=processes,
    )
