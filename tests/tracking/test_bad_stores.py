"""A store that cannot be used is reported in one line and keeps its content."""

import datetime
import errno
import ipaddress
import os
import ssl
import threading
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from test_tracking import (
    find_runs,
    migrated_database,
    networks,
    publish_project,
    write_lock,
    write_network,
    write_scores,
)
from test_tracking import project as _project

from facesr import tracking
from facesr.errors import RegistryError
from facesr.tracking import store

pytestmark = pytest.mark.filterwarnings(r"ignore:::mlflow\.")
FIXTURES = (migrated_database, networks)
project = _project


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def trained_again(project):
    """A project whose champion is registered, and which then trained a better network."""
    publish_project(project)
    write_network(project / "models/upsampler.safetensors", scale=2, seed=7)
    write_scores(project / "reports", [25.0, 26.1, 27.4])
    write_lock(project, loss="mse")
    return project


def held(root):
    """What the store says to those who use it."""
    versions = tracking.list_versions(root)
    finished = find_runs(root, "attributes.status = 'FINISHED'")
    return (
        [(one.number, one.aliases, dict(one.tags)) for one in versions],
        sorted(run.info.run_id for run in finished if "dvc.pipeline_key" in run.data.tags),
    )


def error_of(action, root):
    with pytest.raises(RegistryError) as caught:
        action(root)
    message = str(caught.value)
    assert "\n" not in message
    return message


def completed(root):
    published = publish_project(root)
    assert (published.model_version, published.champion) == (2, 2)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "Free some space and run: dvc repro"),
        (errno.EACCES, "Give yourself the right to write there and run: dvc repro"),
        (errno.EROFS, "Give yourself the right to write there and run: dvc repro"),
    ],
)
def test_files_that_cannot_be_written_are_reported(trained_again, monkeypatch, code, advice):
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository

    before = held(trained_again)

    def refuse(*arguments, **more):
        raise OSError(code, os.strerror(code), "mlruns")

    with monkeypatch.context() as patch:
        patch.setattr(LocalArtifactRepository, "log_artifacts", refuse)
        message = error_of(publish_project, trained_again)

    assert os.strerror(code) in message
    assert message.endswith(advice)
    assert held(trained_again) == before
    completed(trained_again)


def test_a_database_that_cannot_grow_is_reported(trained_again, capfd):
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    before = held(trained_again)

    def fill(connection, record, proxy):
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(Pool, "checkout", fill)
    try:
        message = error_of(publish_project, trained_again)
    finally:
        event.remove(Pool, "checkout", fill)

    assert message.endswith("Free some space and run: dvc repro")
    assert "Traceback" not in capfd.readouterr().err
    assert held(trained_again) == before


def test_a_database_that_is_read_only_is_reported(trained_again, monkeypatch, capfd):
    before = held(trained_again)
    with monkeypatch.context() as patch:
        patch.setenv(
            "MLFLOW_TRACKING_URI", f"sqlite:///file:{trained_again}/mlflow.db?mode=ro&uri=true"
        )
        message = error_of(publish_project, trained_again)

    assert "the database cannot be written to" in message
    assert message.endswith("Give yourself the right to write there and run: dvc repro")
    assert "Traceback" not in capfd.readouterr().err
    assert held(trained_again) == before
    completed(trained_again)


class Refusing(BaseHTTPRequestHandler):
    """Lets nobody in, and counts what it was asked for."""

    methods: list[str] = []

    def do_GET(self):
        self.methods.append(self.command)
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="mlflow"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET  # noqa: N815

    def log_message(self, *arguments):
        """Say nothing."""


@pytest.fixture
def refusing():
    Refusing.methods.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("action", [publish_project, tracking.champion, tracking.list_versions])
def test_a_wrong_password_is_reported(project, refusing, monkeypatch, action):
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", f"http://anna:hunter2@127.0.0.1:{refusing.server_port}"
    )
    message = error_of(action, project)

    assert message.endswith(
        "Check user name and password: MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD."
    )
    assert "hunter2" not in message
    assert set(Refusing.methods) == {"GET"}


def test_an_unknown_certificate_is_reported(project, refusing, tmp_path, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path / "server.pem"))
    refusing.socket = context.wrap_socket(refusing.socket, server_side=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"https://127.0.0.1:{refusing.server_port}")
    message = error_of(publish_project, project)

    assert "certificate" in message
    assert "MLFLOW_TRACKING_SERVER_CERT_PATH" in message
    assert Refusing.methods == []


def self_signed(path):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


def test_a_question_to_the_store_changes_no_warning_filters_which_threads_share(tmp_path):
    before = warnings.filters
    with store.as_registry_error(tmp_path):
        assert warnings.filters is before
