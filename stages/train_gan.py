"""Train generator and critic adversarially on the LR/HR pairs.

Reads   data/pairs/train, data/pairs/valid, models/generator.safetensors, models/critic.safetensors
Writes  models/gan.safetensors, data/generated/gan, reports/train_gan/
"""

from pathlib import Path

from facesr import cli, paths, tracking
from facesr.config import load_params
from facesr.training.gan import train_gan


def main() -> None:
    params = load_params()
    with tracking.live_run(Path(), paths.REPORTS / "train_gan", params) as report:
        train_gan(
            params.train_gan,
            params.training,
            sizes=params.sizes,
            train_pairs=paths.TRAIN_PAIRS,
            valid_pairs=paths.VALID_PAIRS,
            generator_weights=paths.GENERATOR,
            critic_weights=paths.CRITIC,
            init_from=tracking.find_weights(Path(), params.train_gan.init_from),
            weights=paths.GAN,
            restored=paths.GAN_IMAGES,
            report=report,
            checkpoints=paths.CHECKPOINTS / "train_gan",
            seed=params.training_seed,
        )


if __name__ == "__main__":
    cli.run(main)
