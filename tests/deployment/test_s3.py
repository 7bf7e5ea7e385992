"""DVC's cache on S3 with the extra `s3`, against moto's server on loopback."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAMS = Path(sys.executable).parent


@pytest.fixture
def store() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [PROGRAMS / "moto_server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < end, "moto's server does not answer"
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def test_what_is_pushed_to_s3_comes_back_equal(store, tmp_path):
    import boto3

    key = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=store, **key).create_bucket(Bucket="faces")
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "DVC_NO_ANALYTICS": "true",
        "DVC_SITE_CACHE_DIR": str(tmp_path / "site"),
    }

    def run(*command: str) -> None:
        done = subprocess.run(
            [PROGRAMS / command[0] if command[0] == "dvc" else command[0], *command[1:]],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    run("git", "init", "--quiet")
    run("dvc", "init", "--quiet")
    run("dvc", "remote", "add", "--default", "store", "s3://faces/dvc")
    run("dvc", "remote", "modify", "store", "endpointurl", store)
    content = bytes(range(256)) * 100
    (tmp_path / "file").write_bytes(content)
    run("dvc", "add", "file")
    run("dvc", "push")
    (tmp_path / "file").unlink()
    shutil.rmtree(tmp_path / ".dvc" / "cache")
    run("dvc", "pull")
    assert (tmp_path / "file").read_bytes() == content
