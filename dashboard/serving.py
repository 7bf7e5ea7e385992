"""The model that serves: the champion, kept up to date, or a stand-in."""

import logging
import os
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from facesr import names, tracking
from facesr.errors import CheckpointError, RegistryError
from facesr.tracking.aliases import REASON, SINCE, WITHDRAWN

if TYPE_CHECKING:
    from facesr.enhance.enhancer import Enhancer

logger = logging.getLogger(__name__)

BICUBIC = names.BICUBIC
# The registered chain's row in the evaluation's tables.
METHOD = names.UPSAMPLED
CHAMPION = f"{tracking.MODEL}@{tracking.CHAMPION}"
# Loaded models that are kept: the champion and one to compare it with.
KEPT = 2
# Seconds after which the registry is asked again, and a broken version tried again.
MAX_AGE, RETRY = 10.0, 30.0

# Codes that people can quote.
BROKEN_WEIGHTS, NO_ANSWER = "M2", "M1"

STARTER, NO_MODEL = "the starter model", "Bicubic (no model)"

State = Literal["ready", "no_champion", "empty", "unreachable", "fixed"]


class Note(NamedTuple):
    """Message on the state of the model."""

    title: str
    text: str

    def __str__(self) -> str:
        """Return one line for programs."""
        return f"{self.title}: {self.text}"

    @property
    def markdown(self) -> str:
        """Text for the page."""
        return f"**{self.title}.** {self.text}"


@dataclass(frozen=True)
class Catalogue:
    """Content of the registry at the last request."""

    state: State
    versions: tuple[tracking.ListedVersion, ...] = ()
    message: str = ""
    """Reason why the registry does not answer."""

    @property
    def champion(self) -> tracking.ListedVersion | None:
        """Version that serves by default."""
        return self._marked(tracking.CHAMPION)

    @property
    def newest(self) -> tracking.ListedVersion | None:
        """Challenger, else the newest version."""
        return self._marked(tracking.CHALLENGER) or next(iter(self.versions), None)

    @property
    def served_before(self) -> list[tracking.ListedVersion]:
        """Former champions that were not withdrawn, the last one first."""
        served = [v for v in self.versions if SINCE in v.tags and WITHDRAWN not in v.tags]
        return sorted(served, key=lambda v: v.tags[SINCE], reverse=True)

    def _marked(self, alias: str) -> tracking.ListedVersion | None:
        return next((v for v in self.versions if alias in v.aliases), None)

    def find(self, number: int) -> tracking.ListedVersion | None:
        """Return the version of a number."""
        return next((v for v in self.versions if v.number == number), None)


@dataclass(frozen=True)
class Loaded:
    """Model in memory."""

    enhancer: "Enhancer"
    label: str
    """Name for people: `facesr v3`."""
    number: int | None = None
    """Number of the registered version, if it is one."""
    page: str = ""
    """Address of the version's run in MLflow's pages."""
    note: Note | None = None


class Serving:
    """Thread-safe loader of models from a registry, which is asked every `max_age` seconds."""

    def __init__(self, root: Path, *, max_age: float = MAX_AGE) -> None:
        self.root = root
        self.max_age = max_age
        self.fixed: Loaded | None = None
        self._asking = threading.Lock()
        self._loading = threading.Lock()
        self._catalogue: Catalogue | None = None
        self._asked = 0.0
        self._asker: threading.Thread | None = None
        self._asker_started = 0.0
        self._models: OrderedDict[int, Loaded] = OrderedDict()
        self._last_good: Loaded | None = None
        self._broken: dict[int, float] = {}
        self._is_warming = False
        self._cards: dict[int, str] = {}

    def catalogue(self, *, refresh: bool = False) -> Catalogue:
        """Return the registry's content, cached for a moment."""
        with self._asking:
            age = time.monotonic() - self._asked
            if self._catalogue is None or refresh or age > self.max_age:
                self._catalogue = self._ask()
                self._asked = time.monotonic()
            return self._catalogue

    def peek(self, *, wait_seconds: float = 0.3) -> Catalogue | None:
        """Return the cached content soon: the registry's library takes seconds to load.

        A stale answer is renewed in the background; without any the result is None. The wait counts
        from the first request; concurrent callers share the deadline.
        """
        if self._catalogue is None or time.monotonic() - self._asked > self.max_age:
            if self._asker is None or not self._asker.is_alive():
                self._asker = threading.Thread(target=self.catalogue, daemon=True)
                self._asker_started = time.monotonic()
                self._asker.start()
            self._asker.join(max(0.0, self._asker_started + wait_seconds - time.monotonic()))
        return self._catalogue

    def retry(self) -> None:
        """Forget the registry's answer and errors."""
        self._broken.clear()
        self.catalogue(refresh=True)

    def card(self, number: int) -> str:
        """Return the model card of a version as Markdown, or ""."""
        if number not in self._cards:
            try:
                self._cards[number] = tracking.read_card(self.root, str(number))
            except RegistryError as error:
                logger.info("%s", error)
                return ""
        return self._cards[number]

    def loaded(self, number: int | None) -> Loaded | None:
        """Return the model of a version if it is loaded."""
        return self._models.get(number) if number is not None else None

    def warm(self) -> None:
        """Load the champion in the background before the first image."""
        if not self._is_warming:
            self._is_warming = True
            threading.Thread(target=self.choose, daemon=True).start()

    @property
    def is_warm(self) -> bool:
        """True if any model is loaded."""
        return bool(self.fixed or self._models)

    def fix(self, model: str) -> None:
        """Load a model that serves without a registry; name it and raise as `choice.load`."""
        from facesr import choice

        enhancer = choice.load(model, root=self.root)
        label = enhancer.model.partition(" (")[0].removesuffix(".safetensors")
        self.fixed = Loaded(enhancer, label)

    def choose(self, reference: str = CHAMPION) -> Loaded:
        """Load the chosen model.

        Only for the champion another model may stand in, with a note.

        Args:
            reference: `facesr@champion`, `facesr/3` or `bicubic`.

        Raises:
            RegistryError: The chosen version is not registered, or cannot be fetched.
            CheckpointError: Its weights are damaged.
        """
        with self._loading:
            if reference == BICUBIC:
                return _bicubic()
            if reference != CHAMPION:
                return self._load(_number(reference))
            return self._choose_champion()

    def _choose_champion(self) -> Loaded:
        if self.fixed:
            return self.fixed
        catalogue = self.catalogue()
        if catalogue.state == "unreachable":
            stand_in = self._last_good or _without_registry(None)
            return replace(
                stand_in,
                note=Note(
                    "The model registry does not answer",
                    f"Using the last loaded model {stand_in.label}."
                    if self._last_good
                    else f"Using {stand_in.label}.",
                ),
            )
        wanted = catalogue.champion
        if wanted is None:
            return _without_registry(stand_in_note(catalogue))
        note = None
        # A version that never was better than what served before is no replacement.
        others = [v for v in catalogue.served_before if v.number != wanted.number]
        for version in (wanted, *others):
            try:
                chosen = self._load(version.number)
            except (RegistryError, CheckpointError) as error:
                logger.warning("version %d cannot serve: %s", version.number, error)
                continue
            if version is not wanted:
                note = self._broken_note(wanted.number, chosen.label)
            self._last_good = chosen
            return replace(chosen, note=note)
        stand_in = self._last_good or _without_registry(None)
        return replace(stand_in, note=self._broken_note(wanted.number, stand_in.label))

    def _broken_note(self, number: int, label: str) -> Note:
        return Note(
            "The model could not be loaded",
            f"{tracking.MODEL} v{number} (code {BROKEN_WEIGHTS}). Using {label}.",
        )

    def _load(self, number: int) -> Loaded:
        if known := self._models.get(number):
            self._models.move_to_end(number)
            return known
        failed = self._broken.get(number)
        if failed is not None and time.monotonic() - failed < RETRY:
            raise RegistryError(
                f"{tracking.MODEL} v{number} could not be loaded (code {BROKEN_WEIGHTS}). "
                "Choose another version."
            )
        from facesr import choice

        try:
            enhancer = choice.from_registry(f"{tracking.MODEL}/{number}", root=self.root)
        except (RegistryError, CheckpointError):
            self._broken[number] = time.monotonic()
            raise
        listed = self._catalogue.find(number) if self._catalogue else None
        loaded = Loaded(
            enhancer, f"{tracking.MODEL} v{number}", number, listed.page if listed else ""
        )
        self._models[number] = loaded
        while len(self._models) > KEPT:
            self._models.popitem(last=False)
        return loaded

    def _ask(self) -> Catalogue:
        if self.fixed:
            return Catalogue("fixed")
        try:
            versions = tuple(tracking.list_versions(self.root))
        except RegistryError as error:
            logger.warning("%s", error)
            known = self._catalogue.versions if self._catalogue else ()
            return Catalogue("unreachable", known, str(error))
        if not versions:
            return Catalogue("empty")
        has_champion = any(tracking.CHAMPION in version.aliases for version in versions)
        return Catalogue("ready" if has_champion else "no_champion", versions)


def has_starter() -> bool:
    """Return whether the package has a network, without loading torch."""
    return (files("facesr") / "starter" / "starter.safetensors").is_file()


def stand_in_note(catalogue: Catalogue | None) -> Note | None:
    """Return which model stands in for a missing champion, and why, if any."""
    means = (
        f"enhanced with {STARTER}, which ships with facesr and has seen drawn images only"
        if has_starter()
        else "enlarged with bicubic interpolation"
    )
    if catalogue is None or catalogue.state == "empty":
        return Note(
            "No model is registered yet",
            f"Images are {means}, until one is. To train and register a model, run `dvc repro`, "
            "or see About.",
        )
    if catalogue.state != "no_champion" or catalogue.newest is None:
        return None
    newest = catalogue.newest
    mark = " (challenger)" if tracking.CHALLENGER in newest.aliases else ""
    return Note(
        "No version is champion",
        f"Images are {means}. {tracking.MODEL} v{newest.number}{mark} is registered and does not "
        f"serve. {newest.tags.get(REASON, '')}".rstrip(),
    )


def stand_in_label() -> str:
    """Return the name of the model that serves if none is registered."""
    if fixed := shared().fixed:
        return fixed.label
    return STARTER if has_starter() else NO_MODEL


def name(version: tracking.ListedVersion) -> str:
    """Return a version's name with its aliases, for people."""
    return " · ".join(filter(None, (f"facesr v{version.number}", ", ".join(version.aliases))))


def shared() -> Serving:
    """Return the instance of page and HTTP API, for the project in the working directory."""
    return _shared(Path.cwd())


@cache
def _shared(root: Path) -> Serving:
    # An unanswered request would hold a visitor up for minutes otherwise.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    return Serving(root)


def _number(reference: str) -> int:
    name, _, number = reference.partition("/")
    if name != tracking.MODEL or not number.isdecimal():
        raise RegistryError(
            f"{reference} does not name a model. Write {CHAMPION}, {tracking.MODEL}/3 or {BICUBIC}."
        )
    return int(number)


def _without_registry(note: Note | None) -> Loaded:
    """Return the package's network, else bicubic."""
    from facesr import choice

    try:
        enhancer = choice.load(choice.STARTER, root=Path())
    except CheckpointError:
        return _bicubic(note)
    return Loaded(enhancer, STARTER, note=note)


def _bicubic(note: Note | None = None) -> Loaded:
    from facesr.enhance.enhancer import Enhancer

    return Loaded(Enhancer.bicubic(), NO_MODEL, note=note)


def quality(
    version: tracking.ListedVersion, metric: str = "psnr", *, faces: str = names.FACES
) -> float | None:
    """Return a version's mean over test images at full size; None without measurement."""
    return version.metrics.get(names.headline_key(faces, metric))


def bicubic_psnr(version: tracking.ListedVersion, *, faces: str = names.FACES) -> float | None:
    """Return bicubic's PSNR on the test images of a version, as `quality`."""
    own, gain = (quality(version, metric, faces=faces) for metric in ("psnr", "psnr_gain"))
    return None if own is None or gain is None else own - gain
