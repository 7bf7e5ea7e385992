"""FFHQ and the Selfie Data Set from a host on this computer."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from file_server import Answer, file_server, page
from PIL import Image
from test_folder import FOLDER, SPLITS, encoded
from urllib3.util import Retry

from facesr.data import download
from facesr.data.fetch import fetch
from facesr.data.manifest import check_folder, read_manifest
from facesr.data.sources import ffhq, selfie
from facesr.errors import DataError

COUNT = 30  # photographs in the small data set; the last third is its validation part


def png(seed, side):
    return encoded(seed, size=(side, side))


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return hashlib.md5(np.asarray(image).tobytes()).hexdigest()


def image_entry(kind, index, content, side):
    return {
        "file_url": f"official/{kind}/{index}",
        "file_path": f"{kind}/{index // 1000 * 1000:05d}/{index:05d}.png",
        "file_size": len(content),
        "file_md5": hashlib.md5(content).hexdigest(),
        "pixel_size": [side, side],
        "pixel_md5": pixels(content),
    }


@pytest.fixture(scope="module")
def data_set():
    """Files of the host by path, with metadata in the official form."""
    files, metadata = {}, {}
    for index in range(COUNT):
        large, small = png(index, 160), png(index, 128)
        entry = {
            "category": "training" if index < 20 else "validation",
            "metadata": {
                "photo_url": f"https://example.org/{index}",
                "author": f"Ann {index}",
                "country": "Ísland",
                "license": "Public Domain Mark" if index % 2 else "CC BY 2.0",
            },
            "image": image_entry("images1024x1024", index, large, 160),
            "thumbnail": image_entry("thumbnails128x128", index, small, 128),
        }
        metadata[str(index)] = entry
        files["/" + entry["image"]["file_path"]] = large
        files["/" + entry["thumbnail"]["file_path"]] = small
    files["/" + ffhq.METADATA] = json.dumps(metadata, ensure_ascii=False).encode()
    return files


@pytest.fixture(autouse=True)
def quick_sheets(monkeypatch):
    monkeypatch.setattr(
        "facesr.reports.sheets.write_sheet", lambda path, *_, **__: path.write_text("")
    )


def pretend(data_set, patch):
    """Make the small data set's metadata the official ones."""
    metadata = data_set["/" + ffhq.METADATA]
    patch.setattr(ffhq, "METADATA_SIZE", len(metadata))
    patch.setattr(ffhq, "METADATA_MD5", hashlib.md5(metadata).hexdigest())
    # Smaller than a file, so that reading has to go on in the middle of an entry.
    patch.setattr(ffhq, "READ_AT_ONCE", 500)


@pytest.fixture
def server(data_set, monkeypatch):
    pretend(data_set, monkeypatch)
    monkeypatch.setattr(download, "RETRY", Retry(2, backoff_factor=0.001))
    with file_server() as server:
        server.files = dict(data_set)
        yield server


def params_for(server, source, path, **changes):
    url = server.url("/{file_path}") if source == "ffhq" else server.url("/archive.tar.gz")
    return FOLDER.model_copy(
        update={"source": source, "path": str(path), "url": url, "count": 12, **changes}
    )


def run(tmp_path, server, source, path, size=150, splits=SPLITS, **changes):
    fetch(
        params_for(server, source, path, **changes),
        size=size,
        seed=7,
        splits=splits,
        output=tmp_path / "faces",
        report=tmp_path / "report",
        removed=tmp_path / "removed.csv",
    )
    folder = tmp_path / "faces"
    assert check_folder(folder)[1] == []
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    return {entry.origin: entry for entry in read_manifest(folder)}, summary


def index_of(entry):
    return int(entry.origin.removeprefix("ffhq:"))


def test_ffhq_is_downloaded_with_its_own_split_and_licences(tmp_path, server):
    entries, summary = run(tmp_path, server, "ffhq", tmp_path / "ffhq")
    assert len(entries) == 12
    for entry in entries.values():
        assert (index_of(entry) < 20) == (entry.split == "train")
        assert entry.attribution.startswith(f"Ann {index_of(entry)}, https://example.org/")
        assert json.loads(entry.attributes) == {"country": "Ísland"}
    assert (tmp_path / "report" / "sheet.png").exists()
    assert summary["split_valid"] == summary["split_test"] == 2
    assert sum(summary["licences"].values()) == 12
    assert len(summary["licences"]) == 2


def test_ffhq_again_is_the_same_choice_and_asks_for_nothing(tmp_path, server):
    first, _ = run(tmp_path, server, "ffhq", tmp_path / "ffhq")
    server.asked.clear()
    second, _ = run(tmp_path, server, "ffhq", tmp_path / "ffhq")
    assert first == second
    assert server.asked == []


def test_ffhq_takes_thumbnails_where_they_are_large_enough(tmp_path, server):
    run(tmp_path, server, "ffhq", tmp_path / "ffhq", size=64)
    assert not any("images1024" in path for path in server.asked)


@pytest.fixture(scope="module")
def whole(data_set, tmp_path_factory):
    """The manifest of a download without faults, and the paths of its photographs."""
    with pytest.MonkeyPatch.context() as patch, file_server() as server:
        pretend(data_set, patch)
        patch.setattr(
            "facesr.reports.sheets.write_sheet", lambda path, *_, **__: path.write_text("")
        )
        server.files = dict(data_set)
        entries, _ = run(
            tmp_path_factory.mktemp("whole"), server, "ffhq", tmp_path_factory.mktemp("f")
        )
    return entries, sorted(path for path in server.asked if "images1024" in path)


def test_ffhq_ends_with_the_right_files_although_the_host_fails_once(
    tmp_path, server, data_set, whole
):
    entries, paths = whole
    faults = [Answer(cut=True), Answer(body=b"other"), Answer(429, b""), Answer(403, b"")]
    server.first = {path: [faults[i % 4]] for i, path in enumerate([*paths, "/" + ffhq.METADATA])}
    found, _ = run(tmp_path, server, "ffhq", tmp_path / "ffhq")
    assert found == entries
    assert not any(server.first.values())
    assert_downloaded(tmp_path / "ffhq", data_set, [*paths, "/" + ffhq.METADATA])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (page("Google Drive - Quota exceeded"), "web page arrives instead .*Quota exceeded"),
        (Answer(cut=True), "the connection broke off in the middle"),
        (Answer(503, b""), "the host answers 503"),
    ],
    ids=["quota", "cut", "503"],
)
def test_ffhq_from_a_host_that_goes_on_failing_is_an_error_and_the_next_run_goes_on(
    tmp_path, server, data_set, whole, fault, message
):
    entries, paths = whole
    server.first = {path: [fault] * 9 for path in paths[::3]}
    with pytest.raises(DataError, match=message) as error:
        run(tmp_path, server, "ffhq", tmp_path / "ffhq")
    assert f"Run again to fetch only what is missing, put a copy into {tmp_path / 'ffhq'}" in str(
        error.value
    )
    assert not [path for path in tmp_path.glob("*") if path.name != "ffhq"]
    right = [path for path in paths if path not in paths[::3]]
    assert_downloaded(tmp_path / "ffhq", data_set, [*right, "/" + ffhq.METADATA])
    server.first.clear()
    server.asked.clear()
    found, _ = run(tmp_path, server, "ffhq", tmp_path / "ffhq")
    assert found == entries
    assert {*server.asked} == {*paths[::3]}


def assert_downloaded(folder, data_set, paths):
    """Every file under its own name is one of these, byte for byte."""
    names = {
        "/" + path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
    assert names == set(paths)
    assert all((folder / path[1:]).read_bytes() == data_set[path] for path in paths)


KILLED = """
import json, sys
from pathlib import Path
from facesr.config import FetchParams
from facesr.data.fetch import fetch
from facesr.data.sources import ffhq
size, ffhq.METADATA_MD5, params, splits, root = json.loads(sys.argv[1])
ffhq.METADATA_SIZE = size
root = Path(root)
fetch(
    FetchParams.model_validate(params, strict=False),
    size=150,
    seed=7,
    splits=splits,
    output=root / "faces",
    report=root / "report",
    removed=root / "removed.csv",
)
"""


def kill_when(ready, params, splits, root):
    """Start a fetch, end it with kill -9 as soon as `ready` says so."""
    arguments = [
        *(ffhq.METADATA_SIZE, ffhq.METADATA_MD5),
        *(params.model_dump(mode="json"), splits, str(root)),
    ]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, json.dumps(arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        stderr=subprocess.DEVNULL,
    ) as process:
        until = time.monotonic() + 60
        while not ready() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)


def test_ffhq_killed_in_the_middle_keeps_right_files_only_and_goes_on(
    tmp_path, server, data_set, whole
):
    entries, paths = whole
    # A third of the photographs hangs in the middle.
    server.first = {path: [Answer(pause=60)] for path in paths[::3]}
    right = [path for path in paths if path not in paths[::3]]
    folder = tmp_path / "ffhq"

    def ready():
        return all((folder / path[1:]).exists() for path in right) and len(
            list(folder.rglob(".*.part"))
        ) == len(paths[::3])

    params = params_for(server, "ffhq", folder)
    kill_when(ready, params, SPLITS, tmp_path)
    assert_downloaded(folder, data_set, [*right, "/" + ffhq.METADATA])
    assert not (tmp_path / "faces").exists()
    server.asked.clear()
    found, _ = run(tmp_path, server, "ffhq", folder)
    assert found == entries
    assert {*server.asked} == {*paths[::3]}
    assert {path.name for path in tmp_path.iterdir()} == {"ffhq", "faces", "report"}


def copy_as_folder(data_set, target):
    for path, content in data_set.items():
        if "images1024" in path:
            (target / path.rsplit("/", 1)[1]).write_bytes(content)


def copy_as_one_file(data_set, target):
    copy_as_zip(data_set, target)
    return target / "00000.zip"


def copy_as_zip(data_set, target):
    with zipfile.ZipFile(target / "00000.zip", "w") as archive:
        for path, content in data_set.items():
            if "images1024" in path:
                archive.writestr(path[1:], content)


def copy_as_shards(data_set, target):
    images = [(path, content) for path, content in data_set.items() if "images1024" in path]
    for shard in range(2):
        with tarfile.open(target / f"ffhq-{shard}.tar", "w") as archive:
            for path, content in images[shard::2]:
                info = tarfile.TarInfo(path.rsplit("/", 1)[1])
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize("copy", [copy_as_folder, copy_as_zip, copy_as_one_file, copy_as_shards])
def test_a_copy_of_ffhq_in_any_form_gives_the_same_faces(tmp_path, server, data_set, copy):
    downloaded, _ = run(tmp_path / "one", server, "ffhq", tmp_path / "ffhq")
    target = tmp_path / "copy"
    target.mkdir()
    path = copy(data_set, target) or target
    server.asked.clear()
    copied, _ = run(tmp_path / "two", server, "ffhq", path)
    assert copied == downloaded
    assert server.asked == ["/" + ffhq.METADATA]


def test_metadata_anywhere_in_a_copy_of_ffhq_is_not_downloaded(tmp_path, server, data_set):
    target = tmp_path / "copy"
    (target / "ffhq-dataset").mkdir(parents=True)
    copy_as_folder(data_set, target)
    (target / "ffhq-dataset" / ffhq.METADATA).write_bytes(data_set["/" + ffhq.METADATA])
    entries, _ = run(tmp_path, server, "ffhq", target)
    assert len(entries) == 12
    assert server.asked == []


def test_a_copy_with_other_bytes_says_so_and_a_damaged_one_is_set_aside(tmp_path, server, data_set):
    target = tmp_path / "copy"
    target.mkdir()
    copy_as_folder(data_set, target)
    entries, _ = run(tmp_path, server, "ffhq", target)
    same, lossy, damaged = sorted(index_of(entry) for entry in entries.values())[:3]
    with Image.open(target / f"{same:05d}.png") as image:
        image.save(target / "again.png", compress_level=1)
        (target / "again.png").replace(target / f"{same:05d}.png")
    with Image.open(target / f"{lossy:05d}.png") as image:
        image.save(target / f"{lossy:05d}.webp", quality=80)
    (target / f"{lossy:05d}.png").unlink()
    (target / f"{damaged:05d}.png").write_bytes(png(999, 160))
    entries, summary = run(tmp_path, server, "ffhq", target)
    found = {
        index: json.loads(entries[f"ffhq:{index:05d}"].attributes).get("copy")
        for index in (same, lossy)
    }
    assert found == {same: "other bytes, the same pixels", lossy: "lossy, 160 px"}
    assert f"ffhq:{damaged:05d}" not in entries
    assert any("is damaged" in reason for reason in summary["set_aside_reasons"])


def test_cut_metadata_is_named(tmp_path, data_set):
    path = tmp_path / ffhq.METADATA
    path.write_bytes(data_set["/" + ffhq.METADATA][:-40])
    with pytest.raises(DataError, match=r"json is damaged .* Delete it and run again"):
        list(ffhq.entries(path))


def line(name, values=None):
    return f"{name} 3.21 " + " ".join(map(str, values or [1] * 35 + [-1]))


@pytest.fixture
def archive():
    table = [line(f"face{i}") for i in range(8)]
    table += ["face8 2.0 1 1", line("face9", [7] * 36), "", line("gone")]
    members = {
        f"Selfie-dataset/images/face{i}.jpg": encoded(i, "JPEG", (306, 306)) for i in range(10)
    }
    members["Selfie-dataset/selfie_dataset.txt"] = "\n".join(table).encode()
    members["../evil.jpg"] = encoded(11, "JPEG")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as opened:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def run_selfie(tmp_path, server, path, **changes):
    return run(tmp_path, server, "selfie", path, size=304, splits={"selfies": 1.0}, **changes)


def test_selfies_come_with_attributes_and_malformed_lines_are_counted(tmp_path, server, archive):
    server.files = {"/archive.tar.gz": archive}
    server.first = {"/archive.tar.gz": [Answer(cut=True), Answer(503, b"")]}
    entries, summary = run_selfie(tmp_path, server, tmp_path / "selfies")
    assert set(entries) == {f"selfie:face{i}" for i in range(8)}
    attributes = json.loads(entries["selfie:face0"].attributes)
    assert len(attributes) == 37
    assert attributes["popularity"] == 3.21
    assert (attributes["partial_faces"], attributes["dim_lighting"]) == (1, -1)
    assert (summary["lines"], summary["malformed_lines"]) == (12, 3)
    assert summary["archive_sha256"] == hashlib.sha256(archive).hexdigest()
    set_aside = (tmp_path / "report" / "set_aside.csv").read_text()
    assert "selfie_dataset.txt line 9,malformed: 2 attributes where 36 belong" in set_aside
    assert "gone,stands in the table and has no image" in set_aside
    assert "its name leads out of the archive" in set_aside
    assert not list(tmp_path.rglob("evil.jpg"))
    # Never shown.
    assert not (tmp_path / "report" / "sheet.png").exists()


def test_three_selfies_of_one_seed_are_the_same_from_archive_and_folder(tmp_path, server, archive):
    folder = tmp_path / "local"
    folder.mkdir()
    (folder / "Selfie-dataset.tar.gz").write_bytes(archive)
    packed, _ = run_selfie(tmp_path, server, folder, count=3)
    unpacked = tmp_path / "unpacked"
    with tarfile.open(folder / "Selfie-dataset.tar.gz") as opened:
        members = [m for m in opened.getmembers() if ".." not in m.name]
        opened.extractall(unpacked, members=members, filter="data")
    plain, _ = run_selfie(tmp_path, server, unpacked, count=3)
    assert packed == plain
    assert len(packed) == 3
    assert server.asked == []
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("fault", "message"),
    [(page("Moved"), r"web page arrives instead \(Moved\)"), (Answer(503, b""), "answers 503")],
    ids=["page", "503"],
)
def test_selfies_from_a_host_that_goes_on_failing_are_an_error_and_the_next_run_goes_on(
    tmp_path, server, archive, fault, message
):
    server.files = {"/archive.tar.gz": archive}
    server.first = {"/archive.tar.gz": [fault] * 3}
    with pytest.raises(DataError, match=message) as error:
        run_selfie(tmp_path, server, tmp_path / "selfies")
    assert "Selfie-dataset.tar.gz could not be downloaded from http://127.0.0.1" in str(error.value)
    assert [*(tmp_path / "selfies").iterdir()] == []
    assert not (tmp_path / "faces").exists()
    server.first.clear()
    entries, _ = run_selfie(tmp_path, server, tmp_path / "selfies")
    assert len(entries) == 8
    kept = {path.name for path in (tmp_path / "selfies").iterdir()}
    assert kept == {"Selfie-dataset.tar.gz", "Selfie-dataset.tar.gz.sha256"}


def test_a_second_archive_of_other_bytes_is_refused(tmp_path, server, archive):
    server.files = {"/archive.tar.gz": archive}
    run_selfie(tmp_path, server, tmp_path / "selfies")
    before = {path.name for path in (tmp_path / "faces").iterdir()}
    (tmp_path / "selfies" / "Selfie-dataset.tar.gz").unlink()
    server.files = {"/archive.tar.gz": archive + b"more"}
    with pytest.raises(DataError, match="has changed since the first download"):
        run_selfie(tmp_path, server, tmp_path / "selfies")
    kept = {path.name for path in (tmp_path / "selfies").iterdir()}
    assert kept == {"Selfie-dataset.tar.gz.sha256"}
    assert {path.name for path in (tmp_path / "faces").iterdir()} == before


def test_another_archive_is_refused(tmp_path, server):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "Selfie-dataset.tar.gz").write_bytes(b"")
    with pytest.raises(DataError, match="is not a whole archive"):
        run_selfie(tmp_path, server, tmp_path / "in")


def test_the_table_has_a_name_for_each_of_its_columns():
    assert len(set(selfie.ATTRIBUTES)) == 36
