"""Train the generator on the LR/HR pairs.

Reads   data/pairs/train, data/pairs/valid
Writes  models/generator.safetensors, data/generated/generator, reports/train_generator/
"""

from pathlib import Path

from facesr import cli, paths, tracking
from facesr.config import load_params
from facesr.training.learner import train
from facesr.training.pretrain import regression_task


def main() -> None:
    params = load_params()
    with tracking.live_run(Path(), paths.REPORTS / "train_generator", params) as report:
        task = regression_task(
            params.train_generator,
            params.training,
            paths.GENERATOR_DATA,
            hr_size=params.sizes.generator_size,
            init_from=tracking.find_weights(Path(), params.train_generator.init_from),
            seed=params.training_seed,
        )
        train(
            task,
            params.training,
            weights=paths.GENERATOR,
            restored=paths.GENERATOR_IMAGES,
            report=report,
            checkpoints=paths.CHECKPOINTS / "train_generator",
        )


if __name__ == "__main__":
    cli.run(main)
