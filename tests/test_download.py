import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_server import fault_server

from facesr.download import RemoteFile, download
from facesr.errors import DataError

CONTENT = {f"/{name}.png": bytes(range(256)) * 900 + name.encode() for name in "abcdefgh"}


@pytest.fixture
def server():
    with fault_server() as server:
        server.files = dict(CONTENT)
        yield server


def remote(server, folder, path, **changes):
    content = server.files.get(path, b"")
    values = {
        "url": server.url(path),
        "path": folder / path[1:],
        "size": len(content),
        "md5": hashlib.md5(content).hexdigest(),
    }
    return RemoteFile(**{**values, **changes})


def run(files, **changes):
    values = {"label": "test", "attempts": 3, "timeout_seconds": 0.7, "back_off_seconds": 0.01}
    download(files, **{**values, **changes})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_files_arrive_and_a_second_run_asks_for_nothing(server, tmp_path):
    files = [remote(server, tmp_path, path) for path in CONTENT]
    run(files)
    assert {f"/{path.name}": path.read_bytes() for path in tmp_path.iterdir()} == CONTENT
    asked = len(server.requests)
    run(files)
    assert len(server.requests) == asked


@pytest.mark.parametrize(
    "faults",
    [
        ["cut"],
        ["cut", "cut"],
        ["stall"],
        ["slow"],
        [429],
        [503, 503],
        ["redirect"],
        ["confirm"],
        ["other content"],
        ["too long"],
        ["cut", "other content"],
        ["cut", 429],
    ],
    ids=str,
)
def test_a_passing_fault_ends_with_the_right_file(server, tmp_path, faults):
    server.faults["/a.png"] = list(faults)
    run([remote(server, tmp_path, "/a.png")])
    assert names(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == CONTENT["/a.png"]


def test_a_host_that_says_when_to_come_back_is_left_in_peace_until_then(server, tmp_path):
    server.faults["/a.png"] = [429]
    server.retry_after = "1"
    start = time.monotonic()
    run([remote(server, tmp_path, "/a.png")])
    assert 1 <= time.monotonic() - start < 5
    assert len(server.requests) == 2


def test_a_cut_download_goes_on_where_it_stopped(server, tmp_path):
    server.faults["/a.png"] = ["cut"]
    run([remote(server, tmp_path, "/a.png")])
    assert server.requests[0] == ("/a.png", "")
    assert server.requests[1][1].startswith("bytes=")
    assert int(server.requests[1][1][6:-1]) > 0


def test_a_host_without_ranges_starts_again(server, tmp_path):
    server.ranges = False
    server.faults["/a.png"] = ["cut"]
    run([remote(server, tmp_path, "/a.png")])
    assert (tmp_path / "a.png").read_bytes() == CONTENT["/a.png"]


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / ".a.png.part").write_bytes(CONTENT["/a.png"] + b"x" * 10)
    run([remote(server, tmp_path, "/a.png")])
    assert (tmp_path / "a.png").read_bytes() == CONTENT["/a.png"]


def test_a_file_of_wrong_content_on_the_disk_is_fetched_again(server, tmp_path):
    (tmp_path / "a.png").write_bytes(CONTENT["/a.png"][:-1] + b"!")
    run([remote(server, tmp_path, "/a.png")])
    assert (tmp_path / "a.png").read_bytes() == CONTENT["/a.png"]


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        (["quota"], r"quota for it is used up.*Quota exceeded"),
        (["confirm", "confirm"], r""),
        ([503] * 9, r"answers 503 Service Unavailable \(3 attempts\)"),
        (["other content"] * 9, r"what comes has the md5 .*, not .* \(3 attempts\)"),
        (["too long"] * 9, r"bytes came, \d+ belong to it \(3 attempts\)"),
    ],
    ids=["quota", "confirm once", "503", "md5", "length"],
)
def test_a_lasting_fault_is_an_error_and_leaves_no_file(server, tmp_path, faults, message):
    server.faults["/a.png"] = list(faults)
    if not message:
        # The page after the confirmation is the same page again: followed once, not for ever.
        server.files["/a.png"] = b"<html><title>Virus scan warning</title></html>"
        message = r"a web page came instead \(title: Virus scan warning\)"
    with pytest.raises(DataError, match=message) as error:
        run([remote(server, tmp_path, "/a.png")])
    assert "a.png could not be had from http://127.0.0.1" in str(error.value)
    assert "Run again to go on" in str(error.value)
    assert "a.png" not in names(tmp_path)


def test_a_quota_page_is_not_asked_for_again(server, tmp_path):
    server.faults["/a.png"] = ["quota"] * 9
    with pytest.raises(DataError):
        run([remote(server, tmp_path, "/a.png")])
    assert len(server.requests) == 1


def test_what_failed_does_not_hold_up_the_rest(server, tmp_path):
    server.faults["/c.png"] = ["quota"] * 9
    del server.files["/d.png"]
    files = [remote(server, tmp_path, path) for path in CONTENT]
    with pytest.raises(DataError, match=r" 1 more failed\."):
        run(files)
    assert names(tmp_path) == ["a.png", "b.png", "e.png", "f.png", "g.png", "h.png"]
    server.faults.clear()
    server.files = dict(CONTENT)
    server.requests.clear()
    run([remote(server, tmp_path, path) for path in CONTENT])
    assert {path for path, _ in server.requests} == {"/c.png", "/d.png"}


def test_a_host_that_is_gone_is_named(tmp_path):
    file = RemoteFile("http://127.0.0.1:9/a.png", tmp_path / "a.png", 10, "0" * 32)
    with pytest.raises(DataError, match=r"a\.png could not be had from http://127\.0\.0\.1:9"):
        run([file], attempts=2)


def test_the_date_form_of_retry_after_is_understood():
    from facesr.download.answers import _retry_after

    assert _retry_after("7") == 7
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert _retry_after("soon") is None


def test_a_file_that_nobody_has_measured_is_trusted_once(server, tmp_path):
    file = remote(server, tmp_path, "/a.png", size=None, md5=None)
    run([file])
    digest = hashlib.sha256(CONTENT["/a.png"]).hexdigest()
    assert (tmp_path / "a.png.sha256").read_text().strip() == digest
    (tmp_path / "a.png").unlink()
    run([file])
    (tmp_path / "a.png").unlink()
    server.files["/a.png"] = b"something else"
    with pytest.raises(DataError, match=r"changed since the first download .*a\.png\.sha256"):
        run([file])
    assert names(tmp_path) == ["a.png.sha256"]


@pytest.mark.parametrize("tags", [True, False])
def test_an_unmeasured_file_that_changes_in_the_middle_is_not_mixed(server, tmp_path, tags):
    server.tags = tags
    server.faults["/a.png"] = ["cut"]
    file = remote(server, tmp_path, "/a.png", size=None, md5=None)
    with pytest.raises(DataError):
        run([file], attempts=1)
    assert (tmp_path / ".a.png.part").stat().st_size
    server.files["/a.png"] = bytes(reversed(CONTENT["/a.png"]))
    run([file])
    assert (tmp_path / "a.png").read_bytes() == server.files["/a.png"]
    assert names(tmp_path) == ["a.png", "a.png.sha256"]


def test_an_unmeasured_file_that_does_not_change_goes_on(server, tmp_path):
    server.faults["/a.png"] = ["cut"]
    run([remote(server, tmp_path, "/a.png", size=None, md5=None)])
    assert server.requests[1][1].startswith("bytes=")
    assert (tmp_path / "a.png").read_bytes() == CONTENT["/a.png"]


def test_more_than_the_disk_holds_is_refused_before_anything_is_asked(server, tmp_path):
    file = remote(server, tmp_path, "/a.png", size=10**18)
    with pytest.raises(DataError, match=r"1 files of 1000000000\.00 GB .* GB left"):
        run([file])
    assert not server.requests


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/sub cannot be written"):
        run([remote(server, tmp_path / "file" / "sub", "/a.png")])


def test_a_full_disk_stops_everything_and_keeps_what_has_come(server, tmp_path, monkeypatch):
    import builtins
    import errno
    import io

    real = io.open

    class Full:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, chunk):
            self.file.write(chunk[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")

    def opened(path, mode="r", *arguments, **named):
        file = real(path, mode, *arguments, **named)
        return Full(file) if str(path).endswith(".part") and mode in ("wb", "ab") else file

    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(builtins, "open", opened)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
        run([remote(server, tmp_path, "/a.png")])
    assert names(tmp_path) == [".a.png.part"]
    monkeypatch.undo()
    run([remote(server, tmp_path, "/a.png")])
    assert (tmp_path / "a.png").read_bytes() == CONTENT["/a.png"]


KILLED = """
import sys
from pathlib import Path
from facesr.download import RemoteFile, download
url, folder, size, md5 = sys.argv[1:]
download([RemoteFile(url, Path(folder) / "a.png", int(size), md5)], label="killed")
"""


def test_a_killed_download_goes_on_and_ends_right(server, tmp_path):
    server.faults["/a.png"] = ["slow"]
    file = remote(server, tmp_path, "/a.png")
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, file.url, str(tmp_path), str(file.size), file.md5],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        stderr=subprocess.DEVNULL,
    )
    part = tmp_path / ".a.png.part"
    until = time.monotonic() + 20
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(tmp_path) == [".a.png.part"]
    assert 0 < part.stat().st_size < file.size
    run([file])
    assert (tmp_path / "a.png").read_bytes() == CONTENT["/a.png"]
    assert server.requests[-1][1].startswith("bytes=")


DOWNLOAD = """
import sys
from pathlib import Path
from facesr.download import RemoteFile, download
url, path = sys.argv[1:]
download([RemoteFile(url, Path(path), None, None)], label="", attempts=3, back_off_seconds=0.01)
"""


def test_processes_that_want_one_file_share_one_download(server, tmp_path):
    server.faults["/a.png"] = ["slow"]
    command = [sys.executable, "-c", DOWNLOAD, server.url("/a.png"), str(tmp_path / "a.png")]
    running = [subprocess.Popen(command) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert (tmp_path / "a.png").read_bytes() == CONTENT["/a.png"]
    assert names(tmp_path) == ["a.png", "a.png.sha256"]
    assert len(server.requests) == 1
