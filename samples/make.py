"""Make samples/london from the faces of 512 px that it was cut from.

    python samples/make.py FOLDER

FOLDER holds those faces and their MANIFEST.csv. The files are reduced with Lanczos and written as
JPEG, quality 92 without chroma subsampling; nothing else is changed.
"""

import csv
import hashlib
import sys
from pathlib import Path

from PIL import Image

TARGET = Path(__file__).parent / "london"
SIDE = 384
# As large as the images of the Selfie Data Set, for which the smiling test faces stand in.
SELFIE_SIDE = 306
# Of the 24 people to train on, those that a training is watched with.
VALID = {"022", "067", "126"}
LICENCE = "CC BY 4.0"
ATTRIBUTION = (
    "DeBruine and Jones (2017), Face Research Lab London Set, doi:10.6084/m9.figshare.5047666.v5; "
    "cut and reduced"
)
AGES = ((18, "18-24"), (25, "25-34"), (35, "35 and over"))


def main() -> None:
    """Make every file and the manifest."""
    source = Path(sys.argv[1])
    with (source / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        people = [row for row in csv.DictReader(file) if row["split"] != "measure"]
    rows = []
    for row in people:
        name, content = row["file"], (source / row["file"]).read_bytes()
        if hashlib.sha256(content).hexdigest() != row["sha256"]:
            sys.exit(f"error: {source / name} is not the file that its manifest names.")
        split = "valid" if row["person"] in VALID else row["split"]
        if split == "test" and row["expression"] == "smiling":
            split = "selfies"
        side = SELFIE_SIDE if split == "selfies" else SIDE
        with Image.open(source / name) as image:
            small = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        small.save(TARGET / name, quality=92, subsampling=0, optimize=True)
        rows.append(
            {
                "file": name,
                "person": row["person"],
                "split": split,
                "expression": row["expression"],
                "age": age(row["age"]),
                "gender": row["gender"],
                "ethnicity": row["ethnicity"],
                "licence": LICENCE,
                "attribution": ATTRIBUTION,
                "sha256": hashlib.sha256((TARGET / name).read_bytes()).hexdigest(),
            }
        )
    with (TARGET / "MANIFEST.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def age(text: str) -> str:
    """Return the band of an age in years; empty where nobody gave one."""
    return [band for first, band in AGES if int(text) >= first][-1] if text.isdecimal() else ""


if __name__ == "__main__":
    main()
