"""Photographs with a manifest of their own, and those that come with the repository."""

import csv
import hashlib
import json
import shutil

import pytest
import torch
from shipped import PROFILES, ROOT, profile_values
from test_folder import FOLDER, encoded

from facesr import images
from facesr.data.fetch import fetch
from facesr.data.manifest import check_folder, notice, read_manifest
from facesr.data.removed import remove
from facesr.errors import DataError
from facesr.reports.sheets import write_sheet

LONDON = ROOT / "samples" / "london"
SPLITS = {"train": 0.5, "valid": 0.25, "test": 0.25}


@pytest.fixture
def samples(tmp_path):
    """Six people in three splits; the last two smile in the second evaluation set."""
    folder = tmp_path / "samples"
    folder.mkdir()
    rows = []
    for i, split in enumerate(("train", "train", "train", "valid", "test", "test", "selfies")):
        content = encoded(i)
        (folder / f"{i}.png").write_bytes(content)
        rows.append(
            {
                "file": f"{i}.png",
                "person": f"p{min(i, 5)}",
                "split": split,
                "gender": "female" if i % 2 else "male",
                "age": "" if i == 0 else "18-24",
                "licence": "CC BY 4.0",
                "attribution": "Ann",
                "sha256": hashlib.sha256(content).hexdigest(),
            }
        )
    write(folder, rows)
    return folder


def rows_of(folder):
    with (folder / "MANIFEST.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(folder, rows):
    with (folder / "MANIFEST.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def run(folder, tmp_path, splits=SPLITS, **changes):
    params = FOLDER.model_copy(update={"source": "samples", "path": str(folder), **changes})
    fetch(
        params,
        size=32,
        seed=7,
        splits=splits,
        output=tmp_path / "faces",
        report=tmp_path / "report",
        removed=tmp_path / "removed.csv",
    )
    return read_manifest(tmp_path / "faces")


def test_the_split_is_the_manifests_whatever_the_seed_and_the_shares(samples, tmp_path):
    entries = run(samples, tmp_path)
    assert {e.origin: e.split for e in entries} == {
        f"samples:{row['file']}": row["split"]
        for row in rows_of(samples)
        if row["split"] != "selfies"
    }
    assert run(samples, tmp_path, {"train": 0.1, "valid": 0.1, "test": 0.8}) == entries
    assert check_folder(tmp_path / "faces") == (6, [])


def test_the_second_evaluation_set_gets_its_own_split_only(samples, tmp_path):
    (entry,) = run(samples, tmp_path, {"selfies": 1.0})
    assert (entry.origin, entry.split, entry.identity) == ("samples:6.png", "selfies", "p5")


def test_person_licence_and_groups_travel_into_the_manifest(samples, tmp_path):
    first, second = sorted(run(samples, tmp_path), key=lambda entry: entry.origin)[:2]
    assert (first.identity, first.licence, first.attribution) == ("p0", "CC BY 4.0", "Ann")
    assert json.loads(first.attributes) == {"gender": "male"}
    assert json.loads(second.attributes) == {"age": "18-24", "gender": "female"}


def test_any_number_of_images_holds_every_split(samples, tmp_path):
    for count in (3, 4, 5):
        entries = run(samples, tmp_path, count=count)
        assert len(entries) == count
        assert {e.split for e in entries} == {"train", "valid", "test"}


def test_a_removed_person_does_not_come_back(samples, tmp_path):
    rows = rows_of(samples)
    rows[0]["person"] = "p1"
    write(samples, rows)
    run(samples, tmp_path)
    with pytest.raises(DataError, match=r"^p9 has no image in .*faces\. Look into manifest\.csv"):
        remove([], [tmp_path / "faces"], tmp_path / "removed.csv", person="p9")
    gone = remove([], [tmp_path / "faces"], tmp_path / "removed.csv", person="p1")
    assert [entry.origin for entry in gone] == ["samples:0.png", "samples:1.png"]
    again = run(samples, tmp_path)
    assert len(again) == 4
    assert "p1" not in {e.identity for e in again}


def test_a_missing_sample_is_named_before_anything_is_written(samples, tmp_path):
    (samples / "3.png").unlink()
    path = samples / "3.png"
    with pytest.raises(DataError) as error:
        run(samples, tmp_path)
    assert str(error.value) == f"{path} is missing. Get it back with: git checkout -- {path}"
    assert not (tmp_path / "faces").exists()


def test_a_changed_sample_is_named_also_in_a_split_that_is_not_asked_for(samples, tmp_path):
    (samples / "6.png").write_bytes(encoded(8))
    with pytest.raises(DataError, match=r"6\.png is not the file that its manifest names\. Get it"):
        run(samples, tmp_path)


@pytest.mark.parametrize("column", ["split", "sha256", "person"])
def test_a_manifest_without_a_column_is_refused(samples, tmp_path, column):
    rows = rows_of(samples)
    for row in rows:
        del row[column]
    write(samples, rows)
    with pytest.raises(DataError, match=rf"MANIFEST\.csv has no {column}\. Get it back with"):
        run(samples, tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"MANIFEST\.csv does not exist\. Get it back with: git"):
        run(tmp_path / "nothing", tmp_path)


@pytest.mark.parametrize("split", ["test", "valid", "selfies"])
def test_a_person_on_both_sides_is_refused(samples, tmp_path, split):
    rows = rows_of(samples)
    rows[-1] |= {"person": "p0", "split": split}
    write(samples, rows)
    with pytest.raises(DataError, match=rf"has person p0 in train \(0\.png\) and in {split} \(6\."):
        run(samples, tmp_path)


def test_the_repositorys_samples_are_what_their_manifest_says_with_attribution():
    rows = rows_of(LONDON)
    assert {row["file"] for row in rows} == {path.name for path in LONDON.glob("*.jpg")}
    for row in rows:
        assert hashlib.sha256((LONDON / row["file"]).read_bytes()).hexdigest() == row["sha256"]
        assert row["licence"] == "CC BY 4.0"
        assert "DeBruine and Jones (2017), Face Research Lab London Set" in row["attribution"]
    people = {split: {r["person"] for r in rows if r["split"] == split} for split in SPLITS}
    assert {split: len(people[split]) for split in SPLITS} == {"train": 21, "valid": 3, "test": 12}
    assert {r["person"] for r in rows if r["split"] == "selfies"} == people["test"]
    assert sum((LONDON / row["file"]).stat().st_size for row in rows) < 2.5e6


def test_the_people_measured_for_the_starter_are_not_among_the_samples():
    assert not {"002", "004", "020", "094", "101", "113", "128", "131", "144"} & {
        row["person"] for row in rows_of(LONDON)
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_no_person_stands_on_two_sides_in_any_profile_with_samples(profile, tmp_path):
    values = profile_values(tmp_path, profile)
    if values["fetch_faces"]["source"] != "samples":
        return
    folder = tmp_path / "samples"
    shutil.copytree(ROOT / values["fetch_faces"]["path"], folder)
    entries = run(folder, tmp_path, count=values["fetch_faces"]["count"])
    people = {s: {e.identity for e in entries if e.split == s} for s in SPLITS}
    entries = run(folder, tmp_path, {"selfies": 1.0}, count=values["fetch_selfies"]["count"])
    people["test"] |= {e.identity for e in entries}
    assert all(people.values())
    assert not people["train"] & people["valid"]
    assert not (people["train"] | people["valid"]) & people["test"]


def test_sheets_name_whom_a_cc_by_licence_asks_to_name(samples, tmp_path):
    entries = run(samples, tmp_path)
    assert notice(entries) == " (Ann; CC BY 4.0)"
    mixed = [*entries[1:], entries[0]._replace(licence="CC BY-NC 2.0")]
    assert notice(mixed) == " (photographs of others: look, do not pass on)"
    narrow, wide = (tmp_path / f"{name}.png" for name in ("narrow", "wide"))
    for path, cell in ((narrow, 64), (wide, 640)):
        write_sheet(path, {"a": [torch.zeros(3, 8, 8)]}, cell=cell, title=f"Title{notice(entries)}")
    heights = [images.read(path).shape[-2] - cell for path, cell in ((narrow, 64), (wide, 640))]
    assert heights[0] > heights[1]
