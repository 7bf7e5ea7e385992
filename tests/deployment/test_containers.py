"""What docker/ says, by the official programs and by rules of ours."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
BASE = ["-f", "compose.yaml"]
PUBLIC = [*BASE, "-f", "compose.public.yaml"]
DOCKERFILE = (DOCKER / "Dockerfile").read_text()


def tool(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / name
    if not program.exists():
        pytest.skip(f"{name} is missing: make setup")
    known = {key: value for key, value in os.environ.items() if key != "SITE"}
    return subprocess.run(
        [program, *arguments],
        cwd=DOCKER,
        env={**known, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def services(files: list[str], **environment: str) -> dict[str, dict]:
    arguments = (*files, "--profile", "*", "config", "--format", "json")
    done = tool("docker-compose", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]


@pytest.mark.parametrize("profiles", [[], ["--profile", "*"]])
@pytest.mark.parametrize(("files", "site"), [(BASE, {}), (PUBLIC, {"SITE": "sr.example.org"})])
def test_compose_accepts_the_files(files, site, profiles):
    done = tool("docker-compose", *files, *profiles, "config", "--quiet", **site)
    assert done.returncode == 0, done.stderr


def test_compose_refuses_a_misspelt_key(tmp_path):
    copy = tmp_path / "compose.yaml"
    copy.write_text((DOCKER / "compose.yaml").read_text().replace("mem_limit", "memory_limit"))
    assert tool("docker-compose", "-f", str(copy), "config", "--quiet").returncode != 0


def test_a_public_address_without_a_name_is_refused_with_what_to_set():
    done = tool("docker-compose", *PUBLIC, "config", "--quiet")
    assert done.returncode != 0
    assert "Set SITE to the public name of the page" in done.stderr


def test_hadolint_accepts_the_dockerfile_and_refuses_a_worse_one(tmp_path):
    done = tool("hadolint", "Dockerfile")
    assert done.returncode == 0, done.stdout
    worse = tmp_path / "Dockerfile"
    worse.write_text(DOCKERFILE + "RUN cd /tmp && sudo apt-get install curl\n")
    assert tool("hadolint", str(worse)).returncode != 0


def test_caddy_accepts_the_caddyfile(tmp_path):
    login = tmp_path / "login"
    login.write_text("facesr $2a$14$iT/v2QS4SMs6TQmJOzZsveqN5jYzVrCSAJJqcvKnWEe4oYkvQx9ym\n")
    arguments = ("validate", "--config", "Caddyfile", "--adapter", "caddyfile")
    environment = {"SITE": "sr.localhost", "LOGIN": str(login), "XDG_DATA_HOME": str(tmp_path)}
    done = tool("caddy", *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert tool("caddy", *arguments, **environment | {"LOGIN": "none"}).returncode != 0


@pytest.mark.parametrize(("files", "site"), [(BASE, {}), (PUBLIC, {"SITE": "sr.example.org"})])
def test_every_service_of_ours_is_confined(files, site):
    found = services(files, **site)
    for name, service in found.items():
        assert "no-new-privileges:true" in service["security_opt"], name
        assert int(service["mem_limit"]) > 0, name
        assert service["stop_grace_period"] in ("1m10s", "70s"), name
        if name != "postgres":
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
        addresses = {port.get("host_ip", "0.0.0.0") for port in service.get("ports", ())}
        expected = {"0.0.0.0"} if name == "proxy" else {"127.0.0.1"} if files == BASE else set()
        assert addresses <= expected, name
    assert found["postgres"]["networks"].keys() == {"back"}


def test_mlflow_is_told_its_names_and_origins():
    settings = services(PUBLIC, SITE="sr.example.org")["mlflow"]["environment"]
    hosts = settings["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert set(hosts) == {"mlflow:5000", "mlflow.sr.example.org", "127.0.0.1:5000"}
    assert settings["MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"] == "https://mlflow.sr.example.org"
    assert "PASSWORD" not in {key for key in settings if not key.endswith("_FILE")}
    assert "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false" in DOCKERFILE
    assert '"--workers", "1"' in (DOCKER / "start_mlflow.py").read_text()


def test_git_ignores_every_secret():
    for path in ("docker/secrets/postgres_password", "docker/.env"):
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT).returncode == 0, path


def test_the_dockerfile_keeps_our_rules():
    # Versions are those of requirements.lock.
    assert not re.search(r"pip install [^\n]*[=<>]=", DOCKERFILE)
    assert all(re.fullmatch(r"\d+:\d+", user) for user in re.findall(r"USER (\S+)", DOCKERFILE))
    assert len(re.findall("^USER ", DOCKERFILE, re.MULTILINE)) == 3
    assert len(re.findall(r"^CMD \[", DOCKERFILE, re.MULTILINE)) == 3
    assert not re.search(r"^CMD [^\[]", DOCKERFILE, re.MULTILINE)
    assert "curl" not in DOCKERFILE
    lock = (ROOT / "requirements.lock").read_text()
    names = [part.strip("'") for part in re.findall(r"lock (mlflow [^\n]+)", DOCKERFILE)[0].split()]
    assert all(f"\n{name.partition('[')[0]}==" in lock for name in names)
    server = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]["server"]
    assert {re.split("[><=]", one)[0] for one in server} <= set(names)


def test_only_what_the_images_need_reaches_the_builder():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == allowed
    assert not allowed & {"data", "models", "photographs", "mlruns", ".git", ".dvc"}


def mlflow_start(**environment: str) -> subprocess.CompletedProcess[str]:
    known = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW")}
    return subprocess.run(
        [sys.executable, DOCKER / "start_mlflow.py", "--version"],
        env={
            **known,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "MLFLOW_BACKEND_STORE_URI": "sqlite:///x.db",
            "MLFLOW_ARTIFACTS_DESTINATION": "s3://bucket/path",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"PGPASSWORD_FILE": "/none"}, "error: /none cannot be read"),
        ({"MLFLOW_ARTIFACTS_DESTINATION": "/none"}, "error: /none cannot be written by user"),
        (
            {"MLFLOW_BACKEND_STORE_URI": "postgresql+psycopg://facesr@127.0.0.1:1/mlflow"},
            "error: the database refuses (connection",
        ),
    ],
)
def test_what_stands_in_mlflows_way_is_one_line(environment, message):
    done = mlflow_start(**environment)
    assert done.returncode == 1
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
