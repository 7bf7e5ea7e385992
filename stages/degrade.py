"""Make the LR/HR pairs: every face and its low-resolution view.

Reads   data/faces, data/selfies
Writes  data/pairs/{train,valid,test,selfies,valid_sets}, reports/degrade/
"""

from facesr import cli, paths
from facesr.config import load_params
from facesr.data.degrade import write_pairs


def main() -> None:
    params = load_params()
    write_pairs(
        [paths.FACES, paths.SELFIES],
        {
            "train": paths.TRAIN_PAIRS,
            "valid": paths.VALID_PAIRS,
            "test": paths.TEST_PAIRS,
            "selfies": paths.SELFIE_PAIRS,
        },
        params.degrade,
        recipes=params.recipes,
        suite=params.suites[params.degrade.validation],
        sizes=params.sizes,
        validation_sets=paths.VALIDATION_SETS,
        seed=params.data_seed,
        report=paths.REPORTS / "degrade",
    )


if __name__ == "__main__":
    cli.run(main)
