"""Fill a folder with the portraits that the starter is trained on.

    python -m benchmarks.portraits DATA photographs

DATA has MANIFEST.csv and faces512/. The portraits are those from the House and the Senate (official
federal portraits are in the public domain). Faces with tan to dark skin, which are 105 of 254,
are copied twice, once mirrored: they and dark eyes are seen more often.
"""

import csv
import shutil
import sys
from pathlib import Path

from facesr import images
from facesr.evaluation.colours import measure_angle

CHAMBERS = ("us-house", "us-senate")
TAN = 28.0
"""Typology angle in degrees below which skin is tan, brown or dark (Chardon et al. 1991)."""


def fill(data: Path, folder: Path) -> tuple[int, int]:
    """Copy the portraits; return the number of portraits and of those copied twice."""
    with (data / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["repo"].endswith(CHAMBERS)]
    folder.mkdir(parents=True, exist_ok=True)
    twice = 0
    for row in rows:
        path = data / row["file"]
        face = images.read(path)
        shutil.copyfile(path, folder / path.name)
        if measure_angle(face) < TAN:
            images.write(folder / f"{path.stem}_mirrored.png", face.flip(-1))
            twice += 1
    return len(rows), twice


if __name__ == "__main__":
    portraits, twice = fill(Path(sys.argv[1]), Path(sys.argv[2]))
    print(f"{portraits} portraits, {twice} of them twice")
