"""Trains the up-sampler from the GAN's pictures to the full-size originals.

Reads   data/generated/gan, data/pairs/train, data/pairs/valid
Writes  models/upsampler.safetensors, reports/train_upsampler/
"""

from pathlib import Path

from facesr import cli, paths, tracking
from facesr.config import load_params
from facesr.training.pretrain import train_upsampler


def main() -> None:
    """Runs the stage."""
    params = load_params()
    with tracking.live_run(Path(), paths.REPORTS / "train_upsampler", params) as report:
        train_upsampler(
            params.train_upsampler,
            params.training,
            sizes=params.sizes,
            train_pairs=paths.TRAIN_PAIRS,
            valid_pairs=paths.VALID_PAIRS,
            restored=paths.GAN_IMAGES,
            init_from=tracking.find_weights(Path(), params.train_upsampler.init_from),
            weights=paths.UPSAMPLER,
            report=report,
            checkpoints=paths.CHECKPOINTS / "train_upsampler",
            seed=params.training_seed,
        )


if __name__ == "__main__":
    cli.run(main)
