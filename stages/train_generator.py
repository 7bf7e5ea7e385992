"""Trains the generator on the LR/HR pairs.

Reads   data/pairs/train, data/pairs/valid
Writes  models/generator.safetensors, data/generated/generator, reports/train_generator/
"""

from facesr import cli, paths
from facesr.config import load_params
from facesr.reports import curve_log, write_json
from facesr.training.pretrain import train_generator


def main() -> None:
    """Runs the stage."""
    params = load_params()
    report = paths.REPORTS / "train_generator"
    with curve_log(report) as log:
        summary = train_generator(
            params.train_generator,
            sizes=params.sizes,
            train_pairs=paths.TRAIN_PAIRS,
            valid_pairs=paths.VALID_PAIRS,
            weights=paths.GENERATOR,
            restored=paths.GENERATOR_IMAGES,
            seed=params.seed,
            log=log,
        )
    write_json(report / "summary.json", summary)


if __name__ == "__main__":
    cli.run(main)
