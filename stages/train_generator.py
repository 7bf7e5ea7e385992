"""Trains the generator on the LR/HR pairs.

Reads   data/pairs/train, data/pairs/valid
Writes  models/generator.safetensors, data/generated/generator, reports/train_generator/
"""

from pathlib import Path

from facesr import cli, paths, tracking
from facesr.config import load_params
from facesr.training.pretrain import train_generator


def main() -> None:
    """Runs the stage."""
    params = load_params()
    with tracking.live_run(Path(), paths.REPORTS / "train_generator", params) as report:
        train_generator(
            params.train_generator,
            params.training,
            sizes=params.sizes,
            train_pairs=paths.TRAIN_PAIRS,
            valid_pairs=paths.VALID_PAIRS,
            init_from=tracking.find_weights(Path(), params.train_generator.init_from),
            weights=paths.GENERATOR,
            restored=paths.GENERATOR_IMAGES,
            report=report,
            checkpoints=paths.CHECKPOINTS / "train_generator",
            seed=params.training_seed,
        )


if __name__ == "__main__":
    cli.run(main)
