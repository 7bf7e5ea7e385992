"""Trains the critic to tell originals from the generator's pictures.

Reads   data/pairs/train, data/pairs/valid, data/generated/generator
Writes  models/critic.safetensors, reports/train_critic/
"""

from pathlib import Path

from facesr import cli, paths, tracking
from facesr.config import load_params
from facesr.training.critic import train_critic


def main() -> None:
    """Runs the stage."""
    params = load_params()
    with tracking.live_run(Path(), paths.REPORTS / "train_critic", params) as report:
        train_critic(
            params.train_critic,
            params.training,
            sizes=params.sizes,
            train_pairs=paths.TRAIN_PAIRS,
            valid_pairs=paths.VALID_PAIRS,
            restored=paths.GENERATOR_IMAGES,
            weights=paths.CRITIC,
            report=report,
            checkpoints=paths.CHECKPOINTS / "train_critic",
            seed=params.training_seed,
        )


if __name__ == "__main__":
    cli.run(main)
