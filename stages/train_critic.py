"""Trains the critic to tell originals from the generator's pictures.

Reads   data/pairs/train, data/pairs/valid, data/generated/generator
Writes  models/critic.safetensors, reports/train_critic/
"""

from facesr import cli, paths
from facesr.config import load_params
from facesr.reports import curve_log, write_json
from facesr.training.pretrain import train_critic


def main() -> None:
    """Runs the stage."""
    params = load_params()
    report = paths.REPORTS / "train_critic"
    with curve_log(report) as log:
        summary = train_critic(
            params.train_critic,
            sizes=params.sizes,
            train_pairs=paths.TRAIN_PAIRS,
            valid_pairs=paths.VALID_PAIRS,
            restored=paths.GENERATOR_IMAGES,
            weights=paths.CRITIC,
            seed=params.seed,
            log=log,
        )
    write_json(report / "summary.json", summary)


if __name__ == "__main__":
    cli.run(main)
