import csv
import errno
import gzip
import hashlib
import io
import json
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from facesr.config import FetchParams
from facesr.data.fetch import fetch
from facesr.data.manifest import check_folder, read_manifest
from facesr.data.removed import remove
from facesr.errors import DataError

SPLITS = {"train": 0.6, "valid": 0.2, "test": 0.2}
FOLDER = FetchParams(
    source="folder",
    path="",
    url="",
    pattern="*",
    identity="",
    crop="centre",
    minimum_size=None,
    count=100,
)


def encoded(seed, kind="PNG", size=(40, 40), mode="RGB", **options):
    values = np.random.default_rng(seed).integers(0, 256, (size[1] // 8, size[0] // 8, 3), np.uint8)
    image = Image.fromarray(values).resize(size, Image.Resampling.BICUBIC).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def put(folder: Path, count=6, **options):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        (folder / f"good_{i}.png").write_bytes(encoded(i, **options))
    return folder


def run(path, tmp_path, splits=SPLITS, size=32, **changes):
    params = FOLDER.model_copy(update={"path": str(path), **changes})
    fetch(
        params,
        size=size,
        seed=7,
        splits=splits,
        output=tmp_path / "out" / "faces",
        report=tmp_path / "report",
        removed=tmp_path / "removed.csv",
    )
    with (tmp_path / "report" / "set_aside.csv").open(newline="") as file:
        set_aside = {row["origin"]: row["reason"] for row in csv.DictReader(file)}
    entries = read_manifest(tmp_path / "out" / "faces")
    return {entry.origin: entry for entry in entries}, set_aside


def bomb():
    """A PNG of 60,000 x 60,000 pixels in some kilobytes."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    data = zlib.compress(bytes(1000), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def flipped(content):
    damaged = bytearray(content)
    damaged[len(content) // 2] ^= 0x10
    return bytes(damaged)


BAD = {
    "truncated.png": (encoded(50)[:-200], "damaged"),
    "truncated.jpg": (encoded(51, "JPEG", (400, 400))[:-4000], "damaged"),
    "flipped.png": (flipped(encoded(52)), "damaged"),
    "text.jpg": (b"this is not an image", "is not an image"),
    "empty.jpg": (b"", "is not an image"),
    "bomb.png": (bomb(), "too large to be opened safely"),
    "small.png": (encoded(53, size=(31, 64)), "a side of 31 px where 32 px are needed"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bad_file_is_set_aside_with_its_reason_and_the_others_are_taken(tmp_path, name):
    content, reason = BAD[name]
    folder = put(tmp_path / "in")
    (folder / name).write_bytes(content)
    entries, set_aside = run(folder, tmp_path)
    assert len(entries) == 6
    assert list(set_aside) == [name]
    assert reason in set_aside[name]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["faces"]
    assert check_folder(tmp_path / "out" / "faces") == (6, [])


def test_what_has_not_the_ending_of_an_image_is_set_aside_and_the_systems_own_is_not(tmp_path):
    folder = put(tmp_path / "in")
    for name in ("IMG_1.HEIC", "raw.nef", "._a.jpg", ".DS_Store", "Thumbs.db"):
        (folder / name).write_bytes(b"\0")
    (folder / "web.jfif").write_bytes(encoded(70, "JPEG"))
    entries, set_aside = run(folder, tmp_path)
    assert "web.jfif" in entries
    assert sorted(set_aside) == ["IMG_1.HEIC", "raw.nef"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cmyk.jpg", encoded(60, "JPEG", mode="CMYK")),
        ("palette.png", encoded(61, mode="P")),
        ("grey.png", encoded(62, mode="L")),
        ("alpha.png", encoded(63, mode="RGBA")),
        ("web.webp", encoded(64, "WEBP")),
        ("tiff.tif", encoded(65, "TIFF")),
        ("bitmap.bmp", encoded(66, "BMP")),
        ("with blanks and (brackets).png", encoded(67)),
        ("Ünïcödé 顔.png", encoded(68)),
        ("UPPER.JPEG", encoded(69, "JPEG")),
    ],
)
def test_every_kind_of_image_and_name_is_taken(tmp_path, name, content):
    folder = put(tmp_path / "in")
    (folder / name).write_bytes(content)
    entries, set_aside = run(folder, tmp_path)
    assert not set_aside
    assert entries[name].file.isascii()
    assert " " not in entries[name].file
    assert (tmp_path / "out" / "faces" / entries[name].file).is_file()


def taken(folder, tmp_path, name):
    entries, _ = run(folder, tmp_path)
    with Image.open(tmp_path / "out" / "faces" / entries[name].file) as image:
        return np.asarray(image)


def test_an_image_on_its_side_is_turned_upright(tmp_path):
    folder = put(tmp_path / "in")
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # its first row is the right side
    Image.fromarray(pixels).save(folder / "turned.png", exif=exif)
    found = taken(folder, tmp_path, "turned.png")
    assert found[:, 24:].min() == 255
    assert found[:, :24].max() == 0


def test_a_colour_profile_is_applied(tmp_path):
    folder = put(tmp_path / "in")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # The profile with its first and last primary exchanged: red is stored as blue.
    places = {kind: profile.index(kind) for kind in (b"rXYZ", b"bXYZ")}
    swapped = bytearray(profile)
    for kind, place in zip(reversed(places), places.values(), strict=True):
        swapped[place : place + 4] = kind
    blue = Image.new("RGB", (32, 32), (10, 20, 240))
    blue.save(folder / "blue.png", icc_profile=bytes(swapped))
    assert taken(folder, tmp_path, "blue.png")[16, 16] == pytest.approx([240, 20, 10], abs=2)


def test_what_is_transparent_becomes_white(tmp_path):
    folder = put(tmp_path / "in")
    Image.new("RGBA", (32, 32), (200, 0, 0, 0)).save(folder / "clear.png")
    assert taken(folder, tmp_path, "clear.png").min() == 255


def test_sixteen_bits_follow_from_the_mode(tmp_path):
    folder = put(tmp_path / "in")
    # All values below 256: by value, this would pass for 8 bits and be bright.
    Image.fromarray(np.full((40, 40), 200, np.uint16)).save(folder / "dark.png")
    entries, _ = run(folder, tmp_path)
    with Image.open(tmp_path / "out" / "faces" / entries["dark.png"].file) as image:
        assert np.asarray(image).max() <= 1


def test_a_plain_png_of_the_right_size_is_kept_byte_for_byte(tmp_path):
    folder = put(tmp_path / "in", size=(32, 32))
    (folder / "text.png").write_bytes(encoded(80, size=(32, 32), dpi=(72, 72)))
    (folder / "grey.png").write_bytes(encoded(81, size=(32, 32), mode="L"))
    entries, _ = run(folder, tmp_path)
    kept = {
        origin: (folder / origin).read_bytes()
        == (tmp_path / "out" / "faces" / entry.file).read_bytes()
        for origin, entry in entries.items()
    }
    assert not kept.pop("text.png")
    assert not kept.pop("grey.png")
    assert all(kept.values())


def test_the_same_image_counts_once_and_the_same_name_twice(tmp_path):
    folder = put(tmp_path / "in")
    (folder / "again.png").write_bytes(encoded(0))
    put(folder / "sub", 1)
    (folder / "sub" / "good_0.png").write_bytes(encoded(99))
    entries, set_aside = run(folder, tmp_path)
    assert len(entries) == 7
    assert {"good_1.png", "sub/good_0.png"} <= set(entries)
    assert list(set_aside.values()) == ["the same image was taken already"]


def test_a_loop_of_links_does_not_catch_it(tmp_path):
    folder = put(tmp_path / "in")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "self.png").symlink_to(folder / "self.png")
    entries, set_aside = run(folder, tmp_path)
    assert len(entries) == 6
    assert not set_aside


def tar_bytes(members, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_bytes(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


MEMBERS = [(f"deep/good_{i}.png", encoded(i)) for i in range(6)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("all.zip", zip_bytes([*MEMBERS, ("../evil.png", encoded(7))])),
        ("all.tar", tar_bytes([*MEMBERS, ("../evil.png", encoded(7))])),
        ("all.tar.gz", tar_bytes([*MEMBERS, ("../evil.png", encoded(7))], "w:gz")),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_archives_are_read_and_names_that_lead_out_are_set_aside(tmp_path, name, content, inside):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / name).write_bytes(content)
    entries, set_aside = run(folder if inside else folder / name, tmp_path)
    prefix = f"{name}/" if inside else ""
    assert set(entries) == {f"{prefix}deep/good_{i}.png" for i in range(6)}
    assert set_aside == {f"{prefix}../evil.png": "its name leads out of the archive"}
    assert not list(tmp_path.rglob("evil.png"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["faces"]


def test_links_and_giants_in_archives_are_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr("facesr.data.sources.archives.LARGEST_MEMBER", 1 << 20)
    members = [
        *MEMBERS,
        ("link.png", None),
        ("/etc/absolute.png", b"x"),
        ("big.png", bytes(2 << 20)),
    ]
    (tmp_path / "all.tgz").write_bytes(tar_bytes(members, "w:gz"))
    entries, set_aside = run(tmp_path / "all.tgz", tmp_path)
    assert len(entries) == 6
    assert set_aside == {
        "link.png": "is a link or a device",
        "/etc/absolute.png": "its name leads out of the archive",
        "big.png": "unpacks to 2 MB, more than 1",
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.zip", zip_bytes(MEMBERS)[:-100]),
        ("cut.tar.gz", tar_bytes(MEMBERS, "w:gz")[:-3000]),
        ("text.zip", b"not an archive"),
        ("text.tar", b"not an archive" * 100),
        ("text.tar.gz", gzip.compress(b"not an archive", mtime=0)),
    ],
)
def test_a_damaged_archive_is_named_and_nothing_is_left(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is not a whole archive"):
        run(tmp_path / name, tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_a_flipped_bit_in_a_zip_sets_that_image_aside(tmp_path):
    content = bytearray(zip_bytes(MEMBERS))
    position = content.index(MEMBERS[2][1]) + len(MEMBERS[2][1]) // 2
    content[position] ^= 1
    (tmp_path / "all.zip").write_bytes(content)
    entries, set_aside = run(tmp_path / "all.zip", tmp_path)
    assert len(entries) == 5
    assert "cannot be read (Bad CRC-32" in set_aside["deep/good_2.png"]


def test_a_failure_keeps_the_folder_that_was_there(tmp_path):
    run(put(tmp_path / "in"), tmp_path)
    before = sorted((tmp_path / "out" / "faces").iterdir())
    with pytest.raises(DataError, match=r"gives 1 usable images of 1 where 3 or more are needed"):
        run(put(tmp_path / "few", 1), tmp_path)
    assert sorted((tmp_path / "out" / "faces").iterdir()) == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["faces"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere is neither a folder nor an archive"):
        run(tmp_path / "nowhere", tmp_path)


def test_a_target_that_cannot_be_written_is_named(tmp_path):
    folder = put(tmp_path / "in")
    (tmp_path / "out").write_text("a file in the way")
    with pytest.raises(DataError, match=r"out/faces cannot be written"):
        run(folder, tmp_path)
    assert (tmp_path / "out").read_text() == "a file in the way"


def test_a_full_disk_is_named_and_nothing_half_written_is_left(tmp_path, monkeypatch):
    from facesr import images

    folder = put(tmp_path / "in")
    written = []

    def full(path, image):
        written.append(path)
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(images.encode_png(image))

    monkeypatch.setattr(images, "write", full)
    with pytest.raises(DataError, match=r"faces cannot be written \(No space left on device\)"):
        run(folder, tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_a_disk_too_small_to_unpack_an_archive_is_named(tmp_path, monkeypatch):
    (tmp_path / "all.tar.gz").write_bytes(tar_bytes(MEMBERS, "w:gz"))
    real = Path.write_bytes

    def full(path, content):
        if path.parent.name == "all.tar.gz":
            real(path, content[:100])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(DataError, match=r"cannot be unpacked to .* \(No space left on device\)"):
        run(tmp_path / "all.tar.gz", tmp_path)
    assert not list((tmp_path / "out").iterdir())


def test_a_report_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "report").write_text("a file in the way")
    with pytest.raises(DataError, match=r"report cannot be written"):
        run(put(tmp_path / "in"), tmp_path)


def test_small_images_are_enlarged_only_where_that_is_asked_for(tmp_path):
    folder = put(tmp_path / "in", size=(24, 24))
    with pytest.raises(DataError, match="6 x has a side of 24 px where 32 px are needed"):
        run(folder, tmp_path)
    entries, _ = run(folder, tmp_path, minimum_size=20)
    assert json.loads(entries["good_0.png"].attributes) == {"enlarged_from": 24}
    assert json.loads((tmp_path / "report" / "summary.json").read_text())["enlarged"] == 6


def test_nobody_is_in_two_splits_when_names_identify_people(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for person in range(8):
        for number in range(3):
            name = f"person{person}_{number}.png"
            (folder / name).write_bytes(encoded(10 * person + number))
    entries, _ = run(folder, tmp_path, identity=r"^(.+)_\d+")
    splits = {}
    for entry in entries.values():
        splits.setdefault(entry.identity, set()).add(entry.split)
    assert set(splits) == {f"person{i}" for i in range(8)}
    assert all(len(names) == 1 for names in splits.values())
    assert {name for names in splits.values() for name in names} == set(SPLITS)
    with pytest.raises(DataError, match="24 images of 1 persons cannot fill the splits"):
        run(folder, tmp_path, identity=r"^(person)")


def test_a_manifest_gives_identity_licence_and_content(tmp_path):
    folder = put(tmp_path / "in")
    rows = ["file,subject,license,credit,sha256"]
    for i in range(6):
        digest = hashlib.sha256(encoded(i)).hexdigest() if i else "0" * 64
        rows.append(f"good_{i}.png,person {i // 2},CC BY 4.0,Jane Doe,{digest}")
    (folder / "MANIFEST.csv").write_text("\n".join(rows) + "\n")
    entries, set_aside = run(folder, tmp_path, splits={"a": 0.5, "b": 0.5})
    assert "not what its manifest says" in set_aside["good_0.png"]
    two, three = entries["good_2.png"], entries["good_3.png"]
    assert two.identity == "person 1"
    assert two.licence == "CC BY 4.0"
    assert two.attribution == "Jane Doe"
    assert two.split == three.split


def test_a_manifest_without_files_is_refused(tmp_path):
    folder = put(tmp_path / "in")
    (folder / "manifest.csv").write_text("image,who\na,b\n")
    with pytest.raises(DataError, match=r"manifest\.csv has no column file or filename or path"):
        run(folder, tmp_path)


def test_the_square_around_the_largest_face_is_cut(monkeypatch):
    from facesr.data.sources.candidates import Cut, cut_square
    from facesr.images import faces

    # Red tells the row, green the column, so that the cut says where it is from.
    y, x = torch.meshgrid(torch.arange(80) / 100, torch.arange(100) / 100, indexing="ij")
    image = torch.stack([y, x, torch.zeros(80, 100)])
    boxes = [faces.Box(70.0, 20.0, 40.0, 40.0), faces.Box(0.0, 0.0, 20.0, 20.0)]
    monkeypatch.setattr(faces, "find_faces", lambda _: boxes)
    square = cut_square(image, Cut(20, 10, "face"), b"")
    # The face's square reaches 10 px beyond the right edge and is moved inside.
    assert square.image[1].min() == pytest.approx(0.605, abs=0.01)
    assert square.image[1].max() == pytest.approx(0.985, abs=0.01)
    assert square.image[0].mean() == pytest.approx(0.395, abs=0.01)
    assert cut_square(image, Cut(60, 10, "face"), b"").attributes == {"enlarged_from": 40}
    with pytest.raises(DataError, match="a side of 40 px where 60 px are needed"):
        cut_square(image, Cut(60, 60, "face"), b"")
    boxes.clear()
    with pytest.raises(DataError, match="shows no face"):
        cut_square(image, Cut(20, 10, "face"), b"")


def test_names_choose_among_the_folders(tmp_path):
    folder = put(tmp_path / "in" / "yes").parent
    put(folder / "no", 3, size=(48, 48))
    entries, _ = run(folder, tmp_path, pattern="yes/*")
    assert {Path(origin).parent.name for origin in entries} == {"yes"}


def test_a_removed_image_is_known_by_its_content_and_not_by_its_name(tmp_path):
    folder = put(tmp_path / "in", 8)
    entries, _ = run(folder, tmp_path)
    gone = entries["good_4.png"]
    remove([gone.sha256], [tmp_path / "out" / "faces"], tmp_path / "removed.csv")
    (folder / "good_4.png").rename(folder / "renamed.png")
    (folder / "good_4.png").write_bytes(encoded(44))
    for size in (32, 16):
        again, set_aside = run(folder, tmp_path, size=size)
        assert "good_4.png" in again
        assert set_aside == {"renamed.png": "removed on request"}


def test_a_list_that_holds_names_is_obeyed_as_before(tmp_path):
    folder = put(tmp_path / "in", 8)
    name = hashlib.sha256(b"good_4.png").hexdigest()
    (tmp_path / "removed.csv").write_text(f"sha256,origin_sha256\n{'0' * 64},{name}\n")
    _, set_aside = run(folder, tmp_path)
    assert set_aside == {"good_4.png": "removed on request"}


def test_a_removed_image_goes_and_does_not_come_back(tmp_path):
    folder = put(tmp_path / "in", 8)
    entries, _ = run(folder, tmp_path)
    target, gone = tmp_path / "out" / "faces", entries["good_4.png"]
    found = remove([gone.sha256[:16]], [target, tmp_path / "none"], tmp_path / "removed.csv")
    assert [entry.origin for entry in found] == ["good_4.png"]
    assert check_folder(target) == (7, [])
    again, set_aside = run(folder, tmp_path)
    assert "good_4.png" not in again
    assert set_aside == {"good_4.png": "removed on request"}
    other_size, _ = run(folder, tmp_path, size=16)
    assert "good_4.png" not in other_size
    assert "good_4" not in (tmp_path / "removed.csv").read_text()


@pytest.mark.parametrize(
    ("digest", "message"),
    [("ab12", "fewer than 12 digits"), ("0" * 64, "belongs to no images")],
)
def test_what_cannot_be_removed_changes_nothing(tmp_path, digest, message):
    entries, _ = run(put(tmp_path / "in"), tmp_path)
    good = next(iter(entries.values())).sha256
    with pytest.raises(DataError, match=message):
        remove([good, digest], [tmp_path / "out" / "faces"], tmp_path / "removed.csv")
    assert check_folder(tmp_path / "out" / "faces") == (6, [])
    assert not (tmp_path / "removed.csv").exists()


def test_the_check_finds_what_is_missing_changed_and_too_much(tmp_path):
    entries, _ = run(put(tmp_path / "in"), tmp_path)
    folder = tmp_path / "out" / "faces"
    (folder / entries["good_0.png"].file).unlink()
    (folder / entries["good_1.png"].file).write_bytes(b"other")
    (folder / "guest.png").write_bytes(encoded(77))
    count, faults = check_folder(folder)
    assert count == 6
    assert {fault.file: fault.what for fault in faults} == {
        "guest.png": "is not in the manifest",
        entries["good_0.png"].file: "is missing",
        entries["good_1.png"].file: "has changed (SHA-256)",
    }
