import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from itertools import repeat
from multiprocessing import get_context

import pytest

from facesr.files import atomic_folder, atomic_write, scratch_folder

WRITERS, TIMES = 16, 200


def names(folder):
    return [path.name for path in folder.iterdir()]


def write_file(path, writer):
    for _ in range(TIMES):
        with atomic_write(path) as part, part.open("w") as file:
            for _ in range(2):
                file.write(f"{writer:02d}" * 2000)
                file.flush()


def write_folder(path, writer):
    for _ in range(TIMES):
        with atomic_folder(path) as part:
            for name in "abc":
                (part / name).write_text(str(writer))


def at_once(write, path):
    with ProcessPoolExecutor(WRITERS, mp_context=get_context("fork")) as pool:
        list(pool.map(write, repeat(path, WRITERS), range(WRITERS)))


def test_of_sixteen_processes_writing_one_file_each_writes_it_whole(tmp_path):
    path = tmp_path / "folder" / "result.txt"
    with ProcessPoolExecutor(WRITERS, mp_context=get_context("fork")) as pool:
        writing = [pool.submit(write_file, path, writer) for writer in range(WRITERS)]
        seen = set()
        while not all(one.done() for one in writing):
            if path.exists():
                seen.add(path.read_text())
            time.sleep(0.001)
        for one in writing:
            one.result()
    assert seen | {path.read_text()} <= {f"{writer:02d}" * 4000 for writer in range(WRITERS)}
    assert names(path.parent) == [path.name]


def test_of_sixteen_processes_writing_one_folder_each_writes_it_whole(tmp_path):
    path = tmp_path / "above" / "result"
    at_once(write_folder, path)
    texts = {name: (path / name).read_text() for name in names(path)}
    assert set(texts) == set("abc")
    assert len(set(texts.values())) == 1
    assert names(path.parent) == [path.name]


@pytest.mark.parametrize("name", ["a" * 251 + ".png", "é" * 125 + ".png", "顔" * 83 + ".png"])
def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path, name):
    with atomic_write(tmp_path / name) as part:
        part.write_text("file")
    assert (tmp_path / name).read_text() == "file"
    with atomic_folder(tmp_path / "above" / name) as part:
        (part / "a").touch()
    assert (tmp_path / "above" / name / "a").exists()


@pytest.mark.parametrize(
    ("mask", "file_mode", "folder_mode"), [(0o022, 0o644, 0o755), (0, 0o666, 0o777)]
)
def test_files_and_folders_have_the_permissions_that_the_user_asks_for(
    tmp_path, mask, file_mode, folder_mode
):
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "file") as part:
            part.touch()
        with atomic_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == file_mode
    assert (tmp_path / "folder").stat().st_mode & 0o777 == folder_mode


def test_an_error_leaves_the_old_and_nothing_else(tmp_path):
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("old")
    folder.mkdir()
    (folder / "old").touch()
    for written, path in ((atomic_write, file), (atomic_folder, folder)):
        with suppress(KeyboardInterrupt), written(path) as part:
            (part / "new" if part.is_dir() else part).write_text("new")
            raise KeyboardInterrupt
    assert file.read_text() == "old"
    assert names(folder) == ["old"]
    assert set(names(tmp_path)) == {"file", "folder"}


def test_a_folder_takes_the_place_of_the_old_one(tmp_path):
    folder = tmp_path / "folder"
    for name in ("old", "new"):
        with atomic_folder(folder) as part:
            (part / name).touch()
    assert names(folder) == ["new"]
    assert names(tmp_path) == ["folder"]


KILLED = """
import os, signal, sys
from pathlib import Path
from facesr.files import atomic_folder, atomic_write
with atomic_write(Path("a.png")) as file, atomic_folder(Path("b")) as folder:
    file.touch()
    (folder / "c.png").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_leaves_is_hidden_and_deleted_by_the_next_one(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, check=False)
    left = names(tmp_path)
    assert len(left) == 2
    assert all(name.startswith(".") and name.endswith(".part") for name in left)
    with scratch_folder(tmp_path / "d") as alive, atomic_write(tmp_path / "e") as part:
        part.touch()
        assert set(names(tmp_path)) == {alive.name, part.name}
    assert names(tmp_path) == ["e"]
