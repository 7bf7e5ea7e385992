"""Train the up-sampler from the GAN's images to the full-size originals.

Reads   data/generated/gan, data/pairs/train, data/pairs/valid
Writes  models/upsampler.safetensors, reports/train_upsampler/
"""

from pathlib import Path

from facesr import cli, paths, tracking
from facesr.config import load_params
from facesr.training.learner import train
from facesr.training.pretrain import regression_task


def main() -> None:
    params = load_params()
    with tracking.live_run(Path(), paths.REPORTS / "train_upsampler", params) as report:
        task = regression_task(
            params.train_upsampler,
            params.training,
            paths.UPSAMPLER_DATA,
            hr_size=params.sizes.hr_size,
            init_from=tracking.find_weights(Path(), params.train_upsampler.init_from),
            seed=params.training_seed,
        )
        train(
            task,
            params.training,
            weights=paths.UPSAMPLER,
            report=report,
            checkpoints=paths.CHECKPOINTS / "train_upsampler",
        )


if __name__ == "__main__":
    cli.run(main)
