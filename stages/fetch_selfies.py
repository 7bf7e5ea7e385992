"""Fetch the images of the second evaluation set, none of which is trained on.

Reads   the source that params.yaml names, removed.csv
Writes  data/selfies, reports/fetch_selfies/
"""

from facesr import cli, paths
from facesr.config import load_params
from facesr.data.fetch import SELFIE_SEED_OFFSET, fetch


def main() -> None:
    params = load_params()
    fetch(
        params.fetch_selfies,
        size=params.sizes.hr_size,
        seed=params.data_seed + SELFIE_SEED_OFFSET,
        splits={"selfies": 1.0},
        output=paths.SELFIES,
        report=paths.REPORTS / "fetch_selfies",
        removed=paths.REMOVED,
    )


if __name__ == "__main__":
    cli.run(main)
