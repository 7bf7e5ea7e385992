"""Builds the images and runs them as containers without a daemon; prints what was measured.

Arguments: `--built` takes the images as they are; `page`, `registry`, `training` choose checks.

Run as root by `make test-images`; needs Debian's buildah, runc, debootstrap, postgresql and
chromium. Containers run with what docker/compose.yaml gives them: a read-only root, a user of their
own, no capabilities, a memory limit. They share a network namespace that has only loopback.
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[2]
BASE = "localhost/facesr-base"
# Megabytes in the image; with CUDA, of which torch's build on PyPI is 4,300, and without.
CEILINGS = {"serve": 8000, "mlflow": 1300}
CEILING_WITHOUT_CUDA = 3000
NAMES = ("postgres", "mlflow", "dashboard", "sr.localhost", "mlflow.sr.localhost")
PHOTOGRAPH = ROOT / "samples" / "london" / "014_neutral.jpg"
TOKEN = {"Authorization": "Bearer s3cret"}


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"error: {command[0]} failed: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def report(what: str, value: object = "yes") -> None:
    print(f"{what:<62} {value}", flush=True)  # noqa: T201


def build(target: str) -> None:
    """Build a target on a Debian made here; TORCH_INDEX and BUILD_OPTIONS come from outside."""
    if not run("buildah", "images", "--quiet", "--filter", f"reference={BASE}"):
        with tempfile.TemporaryDirectory() as folder:
            include = "--include=python3-venv,ca-certificates"
            run("debootstrap", "--variant=minbase", include, "trixie", folder)
            container = run("buildah", "from", "scratch")
            run("buildah", "add", "--quiet", container, folder, "/")
            run("buildah", "commit", "--quiet", container, BASE)
            run("buildah", "rm", container)
    index = os.environ.get("TORCH_INDEX")
    start = time.monotonic()
    run(
        # The OCI format has no health check.
        *("buildah", "bud", "--layers", "--isolation", "chroot", "--format", "docker"),
        *("--build-arg", f"BASE={BASE}", "--target", target, "--tag", f"facesr-{target}"),
        *(("--build-arg", f"TORCH_INDEX={index}") if index is not None else ()),
        *os.environ.get("BUILD_OPTIONS", "").split(),
        *("--file", ROOT / "docker" / "Dockerfile", ROOT),
    )
    report(f"{target}: built, seconds", round(time.monotonic() - start))


class Container:
    """An image's root file system under runc."""

    def __init__(
        self,
        image: str,
        folder: Path,
        *,
        environment: dict[str, str] | None = None,
        user: tuple[int, int] | None = None,
        files: dict[str, Path] | None = None,
        volumes: dict[str, Path] | None = None,
        temporary: bool = True,
        mebibytes: int = 2048,
        command: Sequence[str] = (),
    ) -> None:
        self.working = run("buildah", "from", f"localhost/facesr-{image}")
        self.root = Path(run("buildah", "mount", self.working))
        config = json.loads(run("buildah", "inspect", self.working))["Docker"]["config"]
        uid, gid = user or (int(part) for part in config["User"].split(":"))
        bundle = Path(tempfile.mkdtemp(dir=folder))
        run("runc", "spec", "--bundle", bundle)
        spec = json.loads((bundle / "config.json").read_text())
        spec["root"] = {"path": str(self.root), "readonly": True}
        spec["process"] |= {
            "terminal": False,
            "user": {"uid": uid, "gid": gid},
            "args": list(command) or config["Cmd"],
            "env": [*config["Env"], *(f"{k}={v}" for k, v in (environment or {}).items())],
            "cwd": config["WorkingDir"],
            "capabilities": {},
            "noNewPrivileges": True,
            "rlimits": [],
        }
        spec["mounts"] = [m for m in spec["mounts"] if m["type"] != "cgroup"]
        if temporary:
            options = ["nosuid", "nodev", "noexec", "mode=1777", "size=1g"]
            spec["mounts"].append(
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options}
            )
        for path, source in (files or {}).items():
            spec["mounts"].append(
                {
                    "destination": path,
                    "type": "bind",
                    "source": str(source),
                    "options": ["bind", "ro"],
                }
            )
        for path, source in (volumes or {}).items():
            spec["mounts"].append(
                {
                    "destination": path,
                    "type": "bind",
                    "source": str(source),
                    "options": ["bind", "rw"],
                }
            )
        spec["linux"]["namespaces"] = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
        spec["linux"]["resources"] = {"memory": {"limit": mebibytes * 2**20}}
        (bundle / "config.json").write_text(json.dumps(spec))
        self.log = bundle / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["runc", "run", "--bundle", str(bundle), self.working], stdout=log, stderr=log
            )

    def megabytes(self) -> tuple[int, int]:
        """Memory of the control group now and at most, without and with cached files."""
        data = json.loads(run("runc", "events", "--stats", self.working))["data"]["memory"]
        cache = data["raw"].get("total_cache", data["raw"].get("file", 0))
        return (data["usage"]["usage"] - cache) // 10**6, data["usage"].get("max", 0) // 10**6

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return exit status and seconds."""
        start = time.monotonic()
        run("runc", "kill", self.working, str(int(number)))
        return self.process.wait(90), time.monotonic() - start

    def close(self) -> None:
        subprocess.run(["runc", "delete", "--force", self.working], capture_output=True)
        self.process.wait(30)
        run("buildah", "rm", self.working)


@contextmanager
def container(image: str, folder: Path, **options: Any) -> Iterator[Container]:
    running = Container(image, folder, **options)
    try:
        yield running
    finally:
        running.close()


def ask(
    url: str, data: bytes | None = None, headers: dict[str, str] | None = None, timeout: float = 120
) -> tuple[int, bytes, Any]:
    request = urllib.request.Request(url, data, headers or {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers


def seconds_to(condition: Callable[[], bool], running: Container) -> float:
    start = time.monotonic()
    while True:
        assert running.process.poll() is None, running.log.read_text()[-3000:]
        assert time.monotonic() - start < 240, running.log.read_text()[-3000:]
        with suppress(OSError):
            if condition():
                return round(time.monotonic() - start, 1)
        time.sleep(0.2)


def is_healthy(url: str) -> Callable[[], bool]:
    return lambda: ask(url, timeout=3)[0] == 200


PAGE = "http://dashboard:8501"
HEALTH = is_healthy("http://127.0.0.1:8501/_stcore/health")
SETTINGS = {
    "STREAMLIT_SERVER_ALLOWED_HOSTS": "sr.localhost dashboard 127.0.0.1",
    # As Compose leaves it without a registry.
    "MLFLOW_TRACKING_URI": "",
    "FACESR_API": "1",
    "FACESR_API_TOKEN_FILE": "/run/secrets/api_token",
    "OMP_NUM_THREADS": "2",
}


def face() -> bytes:
    """Return a photograph, reduced to 128 x 128 pixels, as JPEG."""
    buffer = io.BytesIO()
    Image.open(PHOTOGRAPH).resize((128, 128)).save(buffer, "JPEG")
    return buffer.getvalue()


def enhance() -> tuple[int, bytes, Any]:
    return ask(f"{PAGE}/api/v1/enhance?size=1024", face(), {**TOKEN, "Content-Type": "image/jpeg"})


def check_page(folder: Path, _: Path, files: dict[str, Path]) -> None:
    """The page alone: the starter serves."""
    for user in (None, (23456, 0)):
        with container("serve", folder, environment=SETTINGS, files=files, user=user) as page:
            report(
                f"page, user {user or 'of the image'}: seconds to healthy", seconds_to(HEALTH, page)
            )
            if user is None:
                size = int(run("du", "-sm", page.root).split()[0])
                report("serve: MB in the image", size)
                has_cuda = os.environ.get("TORCH_INDEX") == ""
                ceiling = CEILINGS["serve"] if has_cuda else CEILING_WITHOUT_CUDA
                assert size < ceiling
            report("page: MB idle", page.megabytes()[0])
            assert ask(f"{PAGE}/api/v1/model")[0] == 401
            start = time.monotonic()
            status, body, headers = enhance()
            assert status == 200, body
            assert headers["X-Model-Name"] == "the starter model"
            report("page: first image, seconds", round(time.monotonic() - start, 1))
            start = time.monotonic()
            assert enhance()[0] == 200
            report("page: second image, seconds", round(time.monotonic() - start, 1))
            report("page: MB after two images, and at most", page.megabytes())
            status, seconds = page.stop()
            assert status == 0, status
            report("page: SIGTERM ends with status 0, seconds", round(seconds, 1))
    with container("serve", folder, environment=SETTINGS, files=files, temporary=False) as page:
        assert page.process.wait(60) == 1
        assert page.log.read_text().startswith("error: No folder for temporary files")
        report("page without /tmp: one line, status 1")


@contextmanager
def postgres(folder: Path, secret: Path) -> Iterator[Callable[[bool], None]]:
    """PostgreSQL of this machine; the result stops (False) and starts it."""
    tools = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    data = folder / "database"
    data.mkdir()
    shutil.chown(data, "nobody")
    run(
        *("runuser", "-u", "nobody", "--", tools / "initdb", "--pgdata", data, "--no-sync"),
        *("--username", "facesr", "--auth", "scram-sha-256", "--pwfile", secret),
    )
    process: list[subprocess.Popen[bytes]] = []

    def switch(on: bool) -> None:
        if process:
            process[0].send_signal(signal.SIGINT)
            process.pop().wait(30)
        if on:
            command = [tools / "postgres", "-D", data, "-k", data, "-c", "listen_addresses=*"]
            with (folder / "postgres.log").open("ab") as log:
                process.append(
                    subprocess.Popen(command, cwd=data, user="nobody", stdout=log, stderr=log)
                )
            while subprocess.run([tools / "pg_isready", "-qh", "postgres"]).returncode:
                time.sleep(0.2)

    switch(True)
    try:
        yield switch
    finally:
        switch(False)


def publish(folder: Path) -> Path:
    """Publish a project with tiny networks to the registry, and make its version champion."""
    import test_tracking as made

    import facesr.tracking

    root = folder / "project"
    (root / "models").mkdir(parents=True)
    made.write_network(root / made.NETWORKS[0], scale=1, seed=0)
    made.write_network(root / made.NETWORKS[1], scale=2, seed=0)
    made.write_network(root / made.FIDELITY, scale=1, seed=1)
    made.write_reports(root / "reports")
    made.write_lock(root)
    made.publish_project(root)
    facesr.tracking.promote(root, "facesr/1", reason="images")
    return root


def check_registry(folder: Path, secrets: Path, files: dict[str, Path]) -> None:
    """PostgreSQL, MLflow and the page by name; each is lost in turn."""
    artifacts = folder / "artifacts"
    artifacts.mkdir()
    options: dict[str, Any] = {"environment": REGISTRY, "volumes": {"/artifacts": artifacts}}
    password = {**files, "/run/secrets/postgres_password": secrets / "postgres_password"}
    wrong = {**files, "/run/secrets/postgres_password": secrets / "api_token"}
    with ExitStack() as stack:
        switch = stack.enter_context(postgres(folder, secrets / "postgres_password"))
        with container("mlflow", folder, files=password, **options) as mlflow:
            assert mlflow.process.wait(60) == 1
            assert mlflow.log.read_text().startswith("error: /artifacts cannot be written")
            report("mlflow, volume of another user: one line, status 1")
        os.chown(artifacts, 10002, 10002)
        with container("mlflow", folder, files=wrong, **options) as mlflow:
            assert mlflow.process.wait(60) == 1
            log = mlflow.log.read_text()
            assert log.startswith("error: the database refuses"), log
            assert log.count("\n") == 1, log
            report("mlflow, wrong password: one line, status 1")
        mlflow = stack.enter_context(
            container("mlflow", folder, files=password, mebibytes=1024, **options)
        )
        healthy = is_healthy("http://mlflow:5000/health")
        report("mlflow: seconds to healthy", seconds_to(healthy, mlflow))
        size = int(run("du", "-sm", mlflow.root).split()[0])
        report("mlflow: MB in the image", size)
        assert size < CEILINGS["mlflow"]
        publish(folder)
        report("mlflow: MB after publish, and at most", mlflow.megabytes())
        page = stack.enter_context(
            container(
                "serve",
                folder,
                environment={
                    **SETTINGS,
                    "MLFLOW_TRACKING_URI": "http://mlflow:5000",
                    "FACESR_MLFLOW_PAGES": "https://mlflow.sr.localhost",
                },
                files=files,
            )
        )
        seconds_to(HEALTH, page)
        described = json.loads(ask(f"{PAGE}/api/v1/model", headers=TOKEN)[1])
        assert (described["state"], described["version"]) == ("ready", 1), described
        assert described["run"].startswith("https://mlflow.sr.localhost/#/")
        status, body, headers = enhance()
        assert (status, headers["X-Model-Version"]) == (200, "1"), body
        report("page: serves facesr v1 of the registry; MB", page.megabytes())

        check_proxy(folder, secrets)

        search = "http://mlflow:5000/api/2.0/mlflow/experiments/search?max_results=1"
        switch(False)
        status = ask(search)[0]
        assert status >= 500, status
        assert enhance()[0] == 200
        switch(True)
        report(
            f"database stopped: MLflow {status}, page 200; started: MLflow 200 after seconds",
            seconds_to(is_healthy(search), mlflow),
        )
        report("mlflow: SIGKILL, status", mlflow.stop(signal.SIGKILL)[0])
        time.sleep(11)
        status, body, headers = enhance()
        assert status == 200, body
        assert headers["X-Model-Note"].startswith("The model registry does not answer")
        report("registry killed: page 200 with a note")
        assert page.stop()[0] == 0


REGISTRY = {
    "MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg://facesr@postgres:5432/postgres",
    "PGPASSWORD_FILE": "/run/secrets/postgres_password",
    "MLFLOW_SERVER_ALLOWED_HOSTS": "mlflow:5000,mlflow.sr.localhost,127.0.0.1:5000",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": "https://mlflow.sr.localhost",
}


def check_training(folder: Path, secrets: Path, files: dict[str, Path]) -> None:
    """Run smoke as an ordinary user; back the registry up, lose it, restore it, verify."""
    project, artifacts = folder / "clone", folder / "artifacts"
    run("git", "clone", "--quiet", ROOT, project)
    run("git", "-C", project, "config", "user.name", "facesr")
    revision = run("git", "-C", project, "rev-parse", "HEAD")
    run("chown", "-R", "1000:1000", project)
    artifacts.mkdir()
    os.chown(artifacts, 10002, 10002)
    password = {**files, "/run/secrets/postgres_password": secrets / "postgres_password"}

    def train(*command: str) -> str:
        options: dict[str, Any] = {
            "environment": {"MLFLOW_TRACKING_URI": "http://mlflow:5000", "OMP_NUM_THREADS": "2"},
            "volumes": {"/project": project},
            "user": (1000, 1000),
            "mebibytes": 8192,
            "command": command,
        }
        with container("train", folder, files=files, **options) as running:
            assert running.process.wait(1800) == 0, running.log.read_text()[-3000:]
            return running.log.read_text()

    def serve(database: str, place: Path) -> Any:
        environment = REGISTRY | {
            "MLFLOW_BACKEND_STORE_URI": f"postgresql+psycopg://facesr@postgres:5432/{database}"
        }
        return container(
            *("mlflow", folder),
            files=password,
            environment=environment,
            volumes={"/artifacts": place},
            mebibytes=1024,
        )

    healthy = is_healthy("http://mlflow:5000/health")
    verify = ("python3", "-m", "facesr.cli", "verify", "1")
    with postgres(folder, secrets / "postgres_password"):
        os.environ["PGPASSWORD"] = (secrets / "postgres_password").read_text().strip()
        account = ("--host", "postgres", "--username", "facesr")
        with serve("postgres", artifacts) as mlflow:
            seconds_to(healthy, mlflow)
            train("python3", "-m", "facesr.cli", "profile", "smoke")
            start = time.monotonic()
            train("dvc", "repro")
            report("train: smoke as user 1000, seconds", round(time.monotonic() - start))
            url = "http://mlflow:5000/api/2.0/mlflow/model-versions/get?name=facesr&version=1"
            version = json.loads(ask(url)[1])["model_version"]
            tags = {tag["key"]: tag["value"] for tag in version["tags"]}
            assert tags["git.rev"] == revision, tags
            report("train: version 1 is registered with its revision")
            before = train(*verify).strip().splitlines()[-1]
            assert "are as registered" in before, before
            run("pg_dump", *account, "-Fc", "--file", folder / "dump", "postgres")
            copy = folder / "copy"
            run("cp", "-a", artifacts, copy)
        shutil.rmtree(artifacts)
        run("createdb", *account, "restored")
        run("pg_restore", *account, "--dbname", "restored", folder / "dump")
        with serve("restored", copy) as mlflow:
            seconds_to(healthy, mlflow)
            assert train(*verify).strip().splitlines()[-1] == before
            report("backup, loss, restore: facesr verify says the same", before)


def check_proxy(folder: Path, secrets: Path) -> None:
    """Caddy with TLS and a login in front of the page and MLflow, and Chromium before it."""
    from playwright.sync_api import sync_playwright
    from served import CHROMIUM, FLAGS

    login = (secrets / "login_password").read_text().strip()
    with (folder / "caddy.log").open("wb") as log:
        caddy = subprocess.Popen(
            ["caddy", "run", "--config", ROOT / "docker" / "Caddyfile", "--adapter", "caddyfile"],
            env={
                **os.environ,
                "SITE": "sr.localhost",
                "LOGIN": str(secrets / "login"),
                "XDG_DATA_HOME": str(folder / "caddy"),
                "XDG_CONFIG_HOME": str(folder / "caddy"),
            },
            stdout=log,
            stderr=log,
        )
    statuses: list[tuple[int, str]] = []
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
            context = browser.new_context(
                ignore_https_errors=True,
                http_credentials={"username": "facesr", "password": login},
            )
            context.set_default_timeout(120_000)
            page = context.new_page()
            for _ in range(50):
                with suppress(Exception):
                    page.goto("https://sr.localhost/")
                    break
                time.sleep(0.2)
            page.on("response", lambda r: statuses.append((r.status, r.url)))
            page.goto("https://sr.localhost/")
            file = {"name": "face.jpg", "mimeType": "image/jpeg", "buffer": face()}
            page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files([file])
            page.get_by_role("button", name="Enhance 1 image").click()
            with page.expect_download() as event:
                page.get_by_role("link", name="Download PNG").click()
            with Image.open(event.value.path()) as result:
                assert result.size == (512, 512)
            bad = [one for one in statuses if one[0] >= 400]
            assert not bad, bad
            report("Chromium by TLS and login: upload to download; responses", len(statuses))
            mine = context.request
            assert mine.get("https://sr.localhost/_stcore/metrics").status == 404
            search = "https://mlflow.sr.localhost/ajax-api/2.0/mlflow/runs/search"
            found = {
                origin: mine.post(
                    search, data={"experiment_ids": ["0"]}, headers={"Origin": origin}
                ).status
                for origin in ("https://mlflow.sr.localhost", "https://evil.example")
            }
            assert list(found.values()) == [200, 403], found
            report("metrics 404; MLflow's pages may post 200, another origin's 403")
            statuses.clear()
            page.goto("https://mlflow.sr.localhost/")
            page.get_by_text("Experiments").first.wait_for()
            bad = [one for one in statuses if one[0] >= 400]
            # MLflow without accounts has no such path, and its page asks for it all the same.
            assert all(url.endswith("/users/current") for _, url in bad), bad
            report("MLflow's page opens by TLS and login; responses", len(statuses))
            stranger = browser.new_context(ignore_https_errors=True).request
            got = [
                stranger.get(f"https://sr.localhost{path}").status
                for path in ("/", "/api/v1/model", "/api/v1/health")
            ]
            assert got == [401, 401, 200], got
            key = stranger.get("https://sr.localhost/api/v1/model", headers=TOKEN)
            assert key.status == 200
            report("without login 401; the API by token 200, without 401")
            browser.close()
    finally:
        caddy.terminate()
        caddy.wait(30)


def inside() -> None:
    """Run the checks; this process has namespaces of its own for network and mounts."""
    run("ip", "link", "set", "lo", "up")
    with tempfile.TemporaryDirectory(prefix="facesr-images.") as name:
        folder = Path(name)
        folder.chmod(0o755)
        hosts = folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {' '.join(NAMES)}\n")
        run("mount", "--bind", hosts, "/etc/hosts")
        shutil.copy(ROOT / "docker" / "secrets.sh", folder)
        os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        run(folder / "secrets.sh")
        secrets = folder / "secrets"
        (secrets / "api_token").write_text("s3cret")
        secrets.chmod(0o711)
        os.environ |= {
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
        }
        files = {"/etc/hosts": hosts, "/run/secrets/api_token": secrets / "api_token"}
        checks = {"page": check_page, "registry": check_registry, "training": check_training}
        for name in [word for word in sys.argv if word in checks] or checks:
            place = folder / name
            place.mkdir(mode=0o755)
            checks[name](place, secrets, files)


def main() -> None:
    """Build, then start again in namespaces."""
    if os.geteuid() or not all(map(shutil.which, ("buildah", "runc", "debootstrap", "unshare"))):
        sys.exit(
            "error: this needs root and the programs of: "
            "apt-get install buildah runc debootstrap postgresql chromium"
        )
    if "--inside" in sys.argv:
        inside()
        return
    if "--built" not in sys.argv:
        for target in ("serve", "mlflow", "train"):
            build(target)
    sys.exit(
        subprocess.run(
            [
                *("unshare", "--net", "--mount", "--propagation", "private"),
                *(sys.executable, __file__, "--inside", *sys.argv[1:]),
            ]
        ).returncode
    )


if __name__ == "__main__":
    main()
