import errno
import hashlib
import io
import time

import pytest
from file_server import Answer, file_server, page
from tqdm import tqdm

from facesr.data import download as module
from facesr.data.download import RemoteFile, download
from facesr.errors import DataError

CONTENT = {f"/{name}.png": bytes(range(256)) * 900 + name.encode() for name in "abcdefgh"}
FORM = (
    '<form id="download-form" action="{}" method="get">'
    '<input type="hidden" name="id" value="7"><input type="hidden" name="confirm" value="t"></form>'
)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "RETRY", module.RETRY.new(total=2, backoff_factor=0.001))
    monkeypatch.setattr(module.RETRY, "backoff_jitter", 0)
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    with file_server() as server:
        server.files = dict(CONTENT)
        yield server


def remote(server, folder, path="/a.png", **changes):
    content = CONTENT[path]
    known = RemoteFile(
        server.url(path), folder / path[1:], len(content), hashlib.md5(content).hexdigest()
    )
    return known._replace(**changes)


def run(folder, *files):
    download(files, folder=folder, label="test")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_files_arrive_and_a_second_run_asks_for_nothing(server, tmp_path):
    files = [remote(server, tmp_path, path) for path in CONTENT]
    run(tmp_path, *files)
    assert {f"/{path.name}": path.read_bytes() for path in tmp_path.iterdir()} == CONTENT
    server.asked.clear()
    run(tmp_path, *files)
    assert server.asked == []


def test_a_wrong_file_on_the_disk_is_fetched_again(server, tmp_path):
    (tmp_path / "a.png").write_bytes(CONTENT["/a.png"][:-1] + b"!")
    run(tmp_path, remote(server, tmp_path))
    assert (tmp_path / "a.png").read_bytes() == CONTENT["/a.png"]


OTHER = Answer(body=b"other")
PASSING = {
    "cut": Answer(cut=True),
    "silence": Answer(pause=0.6),
    "other content": OTHER,
    "too long": Answer(body=CONTENT["/a.png"] + b"more"),
    **{str(status): Answer(status, b"later") for status in (403, 408, 429, 500, 503)},
    "unreadable Retry-After": Answer(503, b"later", {"Retry-After": "soon"}),
    "redirect": Answer(302, b"", {"Location": "/a.png"}),
    "virus scan": page("Google Drive - Virus scan warning", body=FORM),
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_ends_with_the_right_file(server, tmp_path, fault):
    answer = PASSING[fault]
    body = answer.body and answer.body.replace(b"{}", server.url("/a.png").encode())
    server.first["/a.png"] = [answer._replace(body=body)]
    run(tmp_path, remote(server, tmp_path))
    assert names(tmp_path) == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == CONTENT["/a.png"]
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("answer", "message", "asked"),
    [
        (Answer(404, b""), r": the host answers 404 Not Found \(attempt 1\)\. Run", 1),
        (Answer(503, b""), r"answers 503 Service Unavailable \(attempt 3\)\. Run", 3),
        (OTHER, r"its md5 is 795f3202b17cb6bc3d4b771d8c6c9eaf, not [0-9a-f]{32} \(attempt 3", 3),
        (Answer(cut=True), r": the connection broke off in the middle \(attempt 3\)", 3),
        (page("Quota\n exceeded"), r"a web page arrives instead \(Quota exceeded\)", 1),
        (page("Virus scan", body=FORM.format("{}")), r"instead \(Virus scan\)", 2),
        (page("Sorry...", 403), r"the host answers 403 Forbidden Sorry\.\.\. \(attempt 3\)", 3),
    ],
    ids=["404", "503", "md5", "cut", "quota", "confirmed once", "automated queries"],
)
def test_a_lasting_fault_is_named_and_leaves_no_file(server, tmp_path, answer, message, asked):
    body = answer.body and answer.body.replace(b"{}", server.url("/a.png").encode())
    server.first["/a.png"] = [answer._replace(body=body)] * 9
    with pytest.raises(DataError, match=message) as error:
        run(tmp_path, remote(server, tmp_path))
    text = str(error.value)
    assert text.startswith(f"a.png could not be downloaded from {server.url('/a.png')}: ")
    assert f"Run again to fetch only what is missing, put a copy into {tmp_path}" in text
    assert "\n" not in text
    assert "Google" not in text
    assert names(tmp_path) == []
    assert len(server.asked) == asked


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [(page("Sorry...", 403), True), (page("Quota exceeded"), True), (Answer(404, b""), False)],
    ids=["automated queries", "quota", "404"],
)
def test_ten_refusals_of_google_drive_end_the_set_and_say_so(
    server, tmp_path, monkeypatch, answer, refuses
):
    monkeypatch.setattr(module, "WORKERS", 1)
    paths = [f"/drive.google.com/{number}.png" for number in range(100)]
    server.first = {path: [answer] * 3 for path in paths}
    files = [RemoteFile(server.url(path), tmp_path / path[18:], 9, "0") for path in paths]
    with pytest.raises(DataError, match=r"9 more failed\.") as error:
        run(tmp_path, *files)
    assert ("Google Drive refuses mass downloads." in str(error.value)) == refuses
    assert 10 <= len({*server.asked}) < 100


def test_what_failed_does_not_hold_up_the_rest_and_the_next_run_fetches_only_that(server, tmp_path):
    server.first = {"/c.png": [page("Quota exceeded")], "/d.png": [Answer(404, b"")]}
    files = [remote(server, tmp_path, path) for path in CONTENT]
    with pytest.raises(DataError, match=r" 1 more failed\."):
        run(tmp_path, *files)
    assert names(tmp_path) == ["a.png", "b.png", "e.png", "f.png", "g.png", "h.png"]
    server.asked.clear()
    run(tmp_path, *files)
    assert sorted(server.asked) == ["/c.png", "/d.png"]


@pytest.mark.parametrize(("asked", "waited"), [("1", 1), ("3600", 0.5)])
def test_a_host_that_says_when_to_come_back_is_obeyed_within_a_limit(
    server, tmp_path, monkeypatch, asked, waited
):
    monkeypatch.setattr(module.RETRY, "retry_after_max", waited)
    server.first["/a.png"] = [Answer(429, b"", {"Retry-After": asked})]
    start = time.monotonic()
    run(tmp_path, remote(server, tmp_path))
    assert waited <= time.monotonic() - start < waited + 3


@pytest.mark.parametrize(("url", "attempt"), [("http://127.0.0.1:9/a", 3), ("nowhere/a.png", 1)])
def test_an_address_that_leads_nowhere_is_named(server, tmp_path, url, attempt):
    with pytest.raises(DataError, match=rf"could not be downloaded from {url}: .* {attempt}\)\. "):
        run(tmp_path, remote(server, tmp_path, url=url))


def test_the_bar_counts_a_file_that_is_tried_again_once(server, tmp_path, monkeypatch):
    bars = []

    def kept(*arguments, **named):
        bars.append(tqdm(*arguments, **{**named, "disable": False}))
        return bars[-1]

    monkeypatch.setattr(module, "tqdm", kept)
    server.first["/a.png"] = [Answer(cut=True)]
    run(tmp_path, remote(server, tmp_path))
    assert bars[-1].n == bars[-1].total == len(CONTENT["/a.png"])


def test_more_than_the_disk_holds_is_refused_before_anything_is_asked(server, tmp_path):
    with pytest.raises(DataError, match=r"1 files of 1000000000\.00 GB .* GB left"):
        run(tmp_path, remote(server, tmp_path, size=10**18))
    assert server.asked == []


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/sub cannot be written"):
        run(tmp_path / "file" / "sub", remote(server, tmp_path / "file" / "sub"))


def test_a_full_disk_stops_the_set_and_leaves_no_part(server, tmp_path, monkeypatch):
    def refuse(self, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    full = type("Full", (io.BytesIO,), {"write": refuse})
    monkeypatch.setattr("pathlib.Path.open", lambda *_: full())
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
        run(tmp_path, *[remote(server, tmp_path, path) for path in CONTENT])
    assert names(tmp_path) == []
