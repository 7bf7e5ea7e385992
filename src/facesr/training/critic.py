"""Training of the critic to tell the originals from the generator's pictures."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facesr import images
from facesr.checkpoints import Network, save_networks
from facesr.config import Sizes, TrainCriticParams, TrainingParams
from facesr.devices import count_parameters
from facesr.models import build
from facesr.pairs import HR, WHOLE, CriticBatches, Pairs, load_pairs
from facesr.training.learner import Cycle, Watch, build_learner, run_cycles
from facesr.training.monitor import Monitor
from facesr.training.processes import check_division, join_processes
from facesr.training.resume import training_key


def train_critic(
    params: TrainCriticParams,
    training: TrainingParams,
    *,
    sizes: Sizes,
    restored: Path,
    train_pairs: Path,
    valid_pairs: Path,
    weights: Path,
    report: Path,
    checkpoints: Path,
    seed: int,
) -> None:
    """Trains the critic to tell the originals from the generator's pictures.

    Args:
        params: Network and schedule.
        training: How trainings are run.
        sizes: Both kinds of picture have generator_size.
        restored: The generator's pictures by split.
        train_pairs: Folder of pairs, whose originals are the real pictures.
        valid_pairs: Folder of pairs, whose originals are the real pictures.
        weights: Gets the critic.
        report: Gets curves, samples and summary.
        checkpoints: Folder for what an interrupted training goes on from.
        seed: Of initial weights, order and crops.

    Raises:
        Stopped: A signal came; all is saved.
        TrainingError: The loss is not finite.
    """
    processes = join_processes()
    batches = {
        split: critic_batches(params, sizes, restored / split, folder / HR, seed, share=share)
        for split, folder, share in (
            ("train", train_pairs, processes.share),
            ("valid", valid_pairs, WHOLE),
        )
    }
    check_division(2 * batches["train"].half, training.accumulate, processes)
    torch.manual_seed(seed)
    architecture = params.network.model_dump()
    module = build(architecture)
    steps = params.epochs * len(batches["train"])
    with Monitor(
        training,
        report=report,
        checkpoints=checkpoints,
        key=training_key(
            params, training, sizes, seed, [restored, train_pairs / HR, valid_pairs / HR]
        ),
        total_steps=steps,
        total_pictures=steps * 2 * batches["train"].half,
        report_every=params.report_every,
        processes=processes,
    ) as monitor:
        learner = build_learner(
            module,
            batches["valid"],
            patch_cross_entropy,
            monitor=monitor,
            metric=patch_accuracy,
            weight_decay=params.weight_decay,
            epsilon=params.epsilon,
            parts=[list(module.parameters())],
        )
        torch.manual_seed(seed + processes.rank)  # of dropout
        watch = Watch(
            monitor,
            metric="accuracy",
            sample=lambda: monitor.sample(
                *_judged(module, batches["valid"].pairs, count=training.sample_pictures)
            ),
        )
        cycle = Cycle(
            batches["train"],
            first_epoch=0,
            epochs=params.epochs,
            rates=[params.learning_rate],
            frozen_parts=0,
        )
        run_cycles(learner, [cycle], watch, warmup_fraction=params.warmup_fraction)
        if processes.writes:
            save_networks(weights, [Network(architecture, module)])
        monitor.summarise(
            {"parameters": count_parameters(module), "valid_accuracy": watch.metric_value}
        )


def critic_batches(
    params: TrainCriticParams,
    sizes: Sizes,
    generated: Path,
    originals: Path,
    seed: int,
    *,
    share: slice,
) -> CriticBatches:
    """Return a share of the batches of one split."""
    return CriticBatches(
        load_pairs(generated, originals, hr_size=sizes.generator_size),
        batch_size=params.batch_size,
        crop_size=params.crop_size,
        seed=seed,
        share=share,
    )


def patch_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of (N, P) logits, whose patches all share the (N,) labels."""
    return F.binary_cross_entropy_with_logits(logits, labels[:, None].expand_as(logits))


def patch_accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of (N, P) logits on the right side of zero."""
    return ((logits > 0) == (labels[:, None] > 0.5)).float().mean()


def _judged(
    critic: nn.Module, pairs: Pairs, *, count: int
) -> tuple[dict[str, list[Tensor]], list[str]]:
    """Columns and notes of a sample sheet: what the critic thinks of whole pictures."""
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
    return columns, notes
