"""A project without anything, a registry with given answers, images of every kind."""

import io
import random
import struct
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest
from tiny import network, with_fidelity

DASHBOARD = Path(__file__).parents[2] / "dashboard"
# As `streamlit run` does.
sys.path.insert(0, str(DASHBOARD))

import service  # noqa: E402
import serving  # noqa: E402
from facesr import choice, tracking  # noqa: E402
from facesr.enhance.enhancer import Enhancer  # noqa: E402
from facesr.errors import CheckpointError, RegistryError  # noqa: E402


def tiny_enhancer(number: int = 1) -> Enhancer:
    """A network that changes its image visibly, with two sets of weights."""
    return Enhancer(
        [with_fidelity(network(seed=number, scale=4))],
        "cpu",
        model=f"facesr/{number} (0123abcd)",
        precision="float32",
    )


def image_bytes(
    width: int = 48, height: int = 40, file_format: str = "PNG", seed: int = 0, **options: Any
) -> bytes:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(buffer, file_format, **options)
    return buffer.getvalue()


def resident_mib() -> float:
    """Memory held now; the peak of a whole test session would hide what one test adds."""
    return psutil.Process().memory_info().rss / 2**20


def mutated(rng: random.Random, data: bytes) -> bytes:
    """The file with a few bytes changed, moved, cut or doubled.

    Half of all files get one change only: many changes break the header, and the decoders behind
    it would never be reached.
    """
    changed = bytearray(data)
    for _ in range(rng.choice((1, rng.randint(2, 12)))):
        place = rng.randrange(len(changed)) if changed else 0
        match rng.randrange(5):
            case 0:
                changed[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                changed[place : place + rng.randint(1, 40)] = b""
            case 2:
                changed[place:place] = rng.randbytes(rng.randint(1, 40))
            case 3:
                changed[place : place + 4] = struct.pack(">I", rng.getrandbits(32))
            case 4:
                del changed[place:]
    return bytes(changed)


class FakeRegistry:
    """Stands for MLflow: versions, aliases and faults as a test sets them."""

    def __init__(self) -> None:
        self.versions: dict[int, tuple[str, ...]] = {}
        self.broken: set[int] = set()
        self.is_away = False
        self.loads: list[int] = []
        self.cards: dict[str, str] = {}
        self.tags: dict[int, dict[str, str]] = {}
        self.metrics: dict[str, float] = {}

    def list_versions(self, root: Path) -> list[tracking.ListedVersion]:
        if self.is_away:
            raise RegistryError("MLflow at http://mlflow:5000 failed. Start the server.")
        return [
            tracking.ListedVersion(
                number=number,
                aliases=aliases,
                tags=self.tags.get(number, {}),
                created=datetime(2026, 1, number, tzinfo=UTC),
                run_id=f"run{number}",
                page=f"http://127.0.0.1:5000/#/experiments/1/runs/run{number}",
                metrics={
                    "faces/psnr": 28.0 + number,
                    "faces/psnr_gain": 1.6 + number,
                    **self.metrics,
                },
            )
            for number, aliases in sorted(self.versions.items(), reverse=True)
        ]

    def read_card(self, root: Path, name: str) -> str:
        if name not in self.cards:
            raise RegistryError(f"The run of {name} has no model card.")
        return self.cards[name]

    def from_registry(self, reference: str, **_: Any) -> Enhancer:
        number = int(reference.split("/")[1])
        self.loads.append(number)
        if self.is_away:
            raise RegistryError("MLflow does not answer.")
        if number in self.broken:
            raise CheckpointError(f"weights of {reference} are damaged.")
        if number not in self.versions:
            raise RegistryError(f"{reference} is not registered.")
        return tiny_enhancer(number)


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> FakeRegistry:
    fake = FakeRegistry()
    monkeypatch.setattr(tracking, "list_versions", fake.list_versions)
    monkeypatch.setattr(tracking, "read_card", fake.read_card)
    monkeypatch.setattr(choice, "from_registry", fake.from_registry)
    return fake


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(serving.Serving, "warm", lambda self: None)
    monkeypatch.setattr(serving, "MAX_AGE", 1000.0)
    # Tests say for themselves when a starter is there.
    monkeypatch.setattr(choice, "_STARTER_FILE", tmp_path / "starter.safetensors")
    monkeypatch.setattr(serving, "has_starter", lambda: False)
    return tmp_path


class Page:
    """The page under test; every run has to end without an exception."""

    def __init__(self, view: str = "") -> None:
        self.at = AppTest.from_file(str(DASHBOARD / "app.py"), default_timeout=60)
        self.run(self.at)
        if view:
            self.at.switch_page(f"views/{view}.py")
            self.run(self.at)

    def run(self, thing: Any) -> None:
        thing.run()
        assert not self.at.exception, self.at.exception

    def upload(self, *files: tuple[str, bytes]) -> None:
        uploader = next(f for f in self.at.file_uploader if f.key.startswith("files_"))
        self.run(uploader.set_value([(name, data, "image/png") for name, data in files]))

    def click(self, key: str) -> None:
        self.run(self.at.button(key=key).click())

    def enhance(self, *files: tuple[str, bytes]) -> None:
        self.upload(*files)
        self.click("go")

    @property
    def texts(self) -> str:
        """Everything that is written on the page."""
        kinds = ("markdown", "caption", "info", "warning", "error", "title", "subheader", "toast")
        return "\n".join(str(e.value) for kind in kinds for e in getattr(self.at, kind))

    @property
    def results(self) -> list[Any]:
        return list(self.at.session_state["work"].results)


@pytest.fixture
def page(project: Path) -> Callable[..., Page]:
    return Page


@pytest.fixture(autouse=True)
def forget_models() -> Iterator[None]:
    yield
    serving._shared.cache_clear()
    service.shared_gate.cache_clear()


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)
