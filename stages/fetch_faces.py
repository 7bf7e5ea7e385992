"""Fetch the face images of the active profile and split them.

Reads   the source that params.yaml names, removed.csv
Writes  data/faces, reports/fetch_faces/
"""

from facesr import cli, paths
from facesr.config import load_params
from facesr.data.fetch import fetch


def main() -> None:
    params = load_params()
    valid, test = params.fetch_faces.valid_fraction, params.fetch_faces.test_fraction
    fetch(
        params.fetch_faces,
        size=params.sizes.hr_size,
        seed=params.data_seed,
        splits={"train": 1 - valid - test, "valid": valid, "test": test},
        output=paths.FACES,
        report=paths.REPORTS / "fetch_faces",
        removed=paths.REMOVED,
    )


if __name__ == "__main__":
    cli.run(main)
