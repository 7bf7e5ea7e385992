import errno
import hashlib
from pathlib import Path

import pytest
import torch
from test_degradation import RECIPES, face

from facesr import images
from facesr.config import DegradeParams, Sizes
from facesr.data import packs
from facesr.data.degradation import Degradation
from facesr.data.degrade import write_pairs
from facesr.data.manifest import Entry, write_manifest
from facesr.data.pairs import load_pairs
from facesr.errors import DataError

LICENCE = '"research only, not to be shown"'

SIZES = Sizes(hr_size=96, generator_size=48, lr_size=12)
PARAMS = DegradeParams(
    recipe="gfpgan",
    fresh=False,
    fresh_sizes=(1.0, 1.0),
    validation="short",
)


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    entries = []
    for i in range(9):
        name = f"face_{i}.png"
        images.write(folder / name, face(96).roll(7 * i, -1))
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        split = "valid" if i in (2, 5) else "train"
        entries.append(Entry(name, split, f"origin/{i}", "96", digest, "none"))
    write_manifest(folder, entries)
    return folder


@pytest.fixture
def no_sheets(monkeypatch):
    monkeypatch.setattr("facesr.data.degrade._write_sheets", lambda *_, **__: None)


def run(faces: Path, root: Path, **changes):
    write_pairs(
        [faces],
        {"train": root / "train", "valid": root / "valid"},
        PARAMS.model_copy(update=changes.pop("params", {})),
        recipes=RECIPES,
        suite=changes.pop("suite", ("bicubic", "gfpgan")),
        sizes=SIZES,
        validation_sets=root / "valid_sets",
        seed=7,
        report=root / "report",
        **changes,
    )
    return {
        path.relative_to(root).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def test_every_face_has_its_pair_and_its_validation_views(faces, tmp_path):
    written = run(faces, tmp_path)
    pairs = load_pairs(tmp_path / "valid/lr", tmp_path / "valid/hr", hr_size=96)
    assert pairs.stems == ("face_2", "face_5")
    hr = images.read(faces / "face_5.png")
    assert torch.equal(images.from_uint8(pairs.hr[1]), hr)
    clean = packs.read_pack(tmp_path / "valid_sets/bicubic")
    view = Degradation("bicubic", RECIPES)(hr, lr_size=12, rng=None)
    assert torch.equal(images.from_uint8(clean[1]), view)
    assert not torch.equal(packs.read_pack(tmp_path / "valid_sets/gfpgan"), pairs.lr)
    assert {"report/sheet.png", "report/recipes/gfpgan.png"} <= set(written)
    assert not [name for name in written if name.endswith(".part")]


@pytest.mark.usefixtures("no_sheets")
def test_any_number_of_processes_writes_the_same_bytes(faces, tmp_path):
    alone, two = (
        run(faces, tmp_path / str(workers), workers=workers, suite=()) for workers in (1, 2)
    )
    assert len(alone) == 18
    assert alone == two


@pytest.mark.usefixtures("no_sheets")
def test_a_pair_does_not_change_when_another_face_goes(faces, tmp_path):
    run(faces, tmp_path / "all")
    fewer = tmp_path / "fewer"
    fewer.mkdir()
    for path in faces.glob("*"):
        (fewer / path.name).write_bytes(path.read_bytes())
    lines = (fewer / "manifest.csv").read_text().splitlines()
    (fewer / "manifest.csv").write_text(
        "".join(f"{line}\n" for line in lines if not line.startswith("face_0"))
    )
    run(fewer, tmp_path / "less")
    before, after = (packs.read_pack(tmp_path / name / "train/lr") for name in ("all", "less"))
    assert torch.equal(before[1:], after)


@pytest.mark.usefixtures("no_sheets")
def test_fresh_pairs_carry_their_recipe(faces, tmp_path):
    run(faces, tmp_path, params={"fresh": True, "fresh_sizes": (0.5, 1.0)})
    pairs = load_pairs(tmp_path / "train/lr", tmp_path / "train/hr", hr_size=48)
    assert pairs.fresh.degradation.name == "gfpgan"
    assert pairs.fresh.sizes == (0.5, 1.0)


def test_a_face_that_is_gone_is_named_and_no_pack_is_left(faces, tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    for path in faces.glob("*"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "face_3.png").unlink()
    with pytest.raises(DataError, match=r"face_3\.png does not exist"):
        run(folder, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.npy"))


def test_a_target_that_cannot_be_written_is_named(faces, tmp_path):
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(DataError, match=r"out cannot be written \(Not a directory\)\. Free some"):
        run(faces, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "a file in the way"


def test_a_disk_that_fills_up_is_named_and_no_pack_is_left(faces, tmp_path, monkeypatch):
    def full(file, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(DataError, match=r"train/lr needs .* GB left\. Free some space"):
        run(faces, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def test_a_face_in_two_splits_is_refused(faces, tmp_path):
    text = (faces / "manifest.csv").read_text()
    entry = next(line for line in text.splitlines() if line.startswith("face_2"))
    twin = tmp_path / "faces"
    twin.mkdir()
    for path in faces.glob("*.png"):
        (twin / path.name).write_bytes(path.read_bytes())
    (twin / "manifest.csv").write_text(text + entry.replace("valid", "train") + "\n")
    with pytest.raises(DataError, match="origin/2 is in valid and in train"):
        run(twin, tmp_path / "out")


def test_a_sheet_shows_no_image_that_may_not_be_shown_and_marks_photographs(
    faces, tmp_path, monkeypatch
):
    sheets = {}
    monkeypatch.setattr(
        "facesr.reports.sheets.write_sheet",
        lambda path, columns, *, title, **_: sheets.update({path.name: (columns, title)}),
    )
    run(faces, tmp_path / "open")
    columns, title = sheets["sheet.png"]
    assert title == "Pairs (photographs of others: look, do not pass on)"
    shown = load_pairs(tmp_path / "open/train/lr", tmp_path / "open/train/hr", hr_size=48)
    assert shown.notice == " (photographs of others: look, do not pass on)"
    assert len(columns["hr"]) == 5
    hidden = tmp_path / "faces"
    hidden.mkdir()
    for path in faces.glob("*.png"):
        (hidden / path.name).write_bytes(path.read_bytes())
    # Of the nine, all but two.
    lines = (faces / "manifest.csv").read_text().splitlines()
    forbidden = [
        line if line.startswith(("file", "face_3", "face_5")) else line.replace("none", LICENCE)
        for line in lines
    ]
    (hidden / "manifest.csv").write_text("".join(f"{line}\n" for line in forbidden))
    run(hidden, tmp_path / "closed")
    columns, _ = sheets["sheet.png"]
    shown = [images.read(faces / f"face_{number}.png") for number in (3, 5)]
    assert all(torch.equal(a, b) for a, b in zip(columns["hr"], shown, strict=True))
    originals = sheets["gfpgan.png"][0]["original"]
    assert len(originals) == 2
