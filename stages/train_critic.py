"""Train the critic to distinguish originals from the generator's images.

Reads   data/pairs/train, data/pairs/valid, data/generated/generator
Writes  models/critic.safetensors, reports/train_critic/
"""

from pathlib import Path

from facesr import cli, paths, tracking
from facesr.config import load_params
from facesr.training.critic import critic_task
from facesr.training.learner import train


def main() -> None:
    params = load_params()
    with tracking.live_run(Path(), paths.REPORTS / "train_critic", params) as report:
        task = critic_task(
            params.train_critic,
            paths.CRITIC_DATA,
            hr_size=params.sizes.generator_size,
            seed=params.training_seed,
        )
        train(
            task,
            params.training,
            weights=paths.CRITIC,
            report=report,
            checkpoints=paths.CHECKPOINTS / "train_critic",
        )


if __name__ == "__main__":
    cli.run(main)
