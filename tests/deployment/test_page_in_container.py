"""The page as a container runs it: all addresses, a public name, a token, a weights file."""

import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest
import served
from served import ROOT
from tiny import network

from facesr import choice, tracking
from facesr.models.checkpoints import save_networks
from facesr.tracking import listing

LOCKED = {"Authorization": "Bearer s3cret"}


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "ours.safetensors"
    save_networks(path, [network(seed=1, scale=4)])
    return path


def test_a_public_page_serves_a_weights_file_and_ends_after_the_image_in_work(weights, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    settings = {
        "STREAMLIT_SERVER_ADDRESS": "0.0.0.0",
        "STREAMLIT_SERVER_ALLOWED_HOSTS": "sr.example.org 127.0.0.1",
        "FACESR_MODEL": str(weights),
        "FACESR_API": "1",
        "FACESR_API_TOKEN_FILE": str(token),
        "FACESR_FRAMED_BY": "https://huggingface.co https://*.hf.space",
    }
    image = (ROOT / "samples" / "london" / "014_neutral.jpg").read_bytes()
    with (
        served.serve(tmp_path, **settings) as (address, process),
        httpx.Client(base_url=address.replace("127.0.0.1", "127.0.0.2"), timeout=60) as client,
    ):
        assert client.get("/", headers={"host": "127.0.0.2"}).status_code == 400
        client.headers["host"] = "sr.example.org"
        page = client.get("/")
        assert page.status_code == 200
        assert page.headers["content-security-policy"] == (
            "frame-ancestors 'self' https://huggingface.co https://*.hf.space"
        )
        assert "x-frame-options" not in page.headers
        assert client.get("/api/v1/model").status_code == 401
        described = client.get("/api/v1/model", headers=LOCKED).json()
        assert (described["name"], described["state"], described["note"]) == ("ours", "fixed", None)
        assert client.get("/api/v1/health").json()["model_loaded"]

        answers = []
        work = threading.Thread(
            target=lambda: answers.append(
                client.post("/api/v1/enhance?size=2048", content=image, headers=LOCKED)
            )
        )
        work.start()
        time.sleep(0.2)
        assert not answers, "the image was done before the signal"
        process.send_signal(signal.SIGTERM)
        work.join()
        process.wait(70)
    assert answers[0].status_code == 200
    assert answers[0].headers["x-model-name"] == "ours"
    assert not (tmp_path / "mlflow.db").exists()


def start(folder, **environment):
    return subprocess.run(
        [sys.executable, "-m", "streamlit", "run", str(ROOT / "dashboard" / "server.py")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{folder}:{ROOT / 'src'}", **environment},
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"FACESR_MODEL": "none.safetensors"}, "none.safetensors does not exist. Check the path"),
        (
            {"FACESR_API_TOKEN_FILE": "none"},
            "FACESR_API_TOKEN_FILE names none, which cannot be read.",
        ),
        ({"FACESR_MODEL": "damaged.safetensors"}, "damaged.safetensors"),
        (
            {"FACESR_FRAMED_BY": "https://a.org; x"},
            "FACESR_FRAMED_BY is 'https://a.org; x'. Set it",
        ),
        ({"FACESR_MLFLOW_PAGES": "mlflow:5000"}, "FACESR_MLFLOW_PAGES is 'mlflow:5000'. Set it to"),
        (
            {"STREAMLIT_SERVER_ALLOWED_HOSTS": "sr.example.org,127.0.0.1"},
            "which is no host name. In the environment variable, put spaces between the names.",
        ),
    ],
)
def test_a_wrong_setting_is_one_line_at_the_start(tmp_path, environment, message):
    (tmp_path / "damaged.safetensors").write_bytes(b"not weights")
    done = start(tmp_path, **environment)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_no_folder_for_temporary_files_is_one_line_at_the_start(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import tempfile\ntempfile._candidate_tempdir_list = lambda: []\n"
    )
    done = start(tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: No folder for temporary files can be written to. Mount one at /tmp, or name one in "
        "TMPDIR.\n"
    )


def test_the_command_takes_the_model_of_the_environment_unless_it_is_told_another(
    weights, tmp_path, monkeypatch
):
    monkeypatch.setenv("FACESR_MODEL", str(weights))
    assert choice.load(None, root=tmp_path).model.startswith("ours.safetensors")
    assert choice.load("bicubic", root=tmp_path).model == "bicubic"


def test_links_lead_to_the_named_address_of_mlflows_pages(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert listing._page(tmp_path, "1", "a").startswith("http://mlflow:5000/#/experiments/1/")
    monkeypatch.setenv(tracking.PAGES_VARIABLE, "https://mlflow.example.org/")
    page = listing._page(tmp_path, "1", "a")
    assert page == "https://mlflow.example.org/#/experiments/1/runs/a"


def test_missing_git_is_said_once(tmp_path, monkeypatch, caplog):
    from facesr.tracking import history

    history._warn_of_missing_git.cache_clear()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert history.git(tmp_path, "rev-parse", "HEAD") is None
    assert history.git(tmp_path, "status") is None
    assert [record.message for record in caplog.records] == [
        "git is not installed: versions get no revision, and no history is kept. Install it."
    ]
    history._warn_of_missing_git.cache_clear()
