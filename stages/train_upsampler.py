"""Trains the up-sampler from the GAN's pictures to the full-size originals.

Reads   data/generated/gan, data/pairs/train, data/pairs/valid
Writes  models/upsampler.safetensors, reports/train_upsampler/
"""

from facesr import cli, paths
from facesr.config import load_params
from facesr.reports import curve_log, write_json
from facesr.training.pretrain import train_upsampler


def main() -> None:
    """Runs the stage."""
    params = load_params()
    report = paths.REPORTS / "train_upsampler"
    with curve_log(report) as log:
        summary = train_upsampler(
            params.train_upsampler,
            sizes=params.sizes,
            train_pairs=paths.TRAIN_PAIRS,
            valid_pairs=paths.VALID_PAIRS,
            restored=paths.GAN_IMAGES,
            weights=paths.UPSAMPLER,
            seed=params.seed,
            log=log,
        )
    write_json(report / "summary.json", summary)


if __name__ == "__main__":
    cli.run(main)
