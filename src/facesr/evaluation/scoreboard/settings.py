"""Typed view of scoreboard.yaml."""

from pathlib import Path
from typing import Self

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from facesr.config import (
    Fraction,
    FractionRange,
    Recipes,
    Section,
    all_faults,
    load_recipes,
    read_yaml,
    require,
)
from facesr.errors import ParamsError

SCOREBOARD_FILE = Path("scoreboard.yaml")


class ScoreboardSource(Section):
    """Photographs that no network of the scoreboard has been trained on."""

    path: str
    """Folder below the scoreboard's root."""
    pattern: str
    """Pattern of the file names."""
    hr_size: NonNegativeInt
    """Side in pixels to which the originals are reduced; 0 cuts them and keeps their pixels."""
    count: PositiveInt
    """At most so many, chosen by the seed."""
    faces: bool
    """Cut around one face each, so that results can be grouped by skin tone."""


class ScoreboardFolder(Section):
    """A folder that holds none of the sources: all of its photographs are one."""

    hr_size: NonNegativeInt
    """As of a source."""
    count: PositiveInt
    """As of a source."""
    conditions: tuple[str, ...] = Field(strict=False, min_length=1)
    """Names in conditions."""


class ScoreboardCondition(Section):
    """How the low-resolution views are made."""

    scale: PositiveInt
    """Side of the original over side of its view."""
    recipe: str
    """A name in recipes."""


class ScoreboardPart(Section):
    """A part of a face cut as FFHQ's are: where the middle of a place lies."""

    across: FractionRange
    """From left to right, shares of the side."""
    down: FractionRange
    """From top to bottom, shares of the side."""


class ScoreboardCrops(Section):
    """The sheets of the places that the first network restores worst, by part of the face."""

    condition: str
    """A name in conditions."""
    side: PositiveInt
    """In pixels of the original."""
    count: PositiveInt
    """Images of each part, at most."""
    parts: dict[str, ScoreboardPart]


class ScoreboardSamples(Section):
    """The sheet of some images as they come."""

    conditions: tuple[str, ...] = Field(strict=False, min_length=1)
    """Names in conditions; an image each."""
    side: PositiveInt
    """Of the middle that is shown, in pixels of the original."""


class ScoreboardParams(Section):
    """Fixed inputs on which networks are compared."""

    sources: dict[str, ScoreboardSource]
    folder: ScoreboardFolder
    conditions: dict[str, ScoreboardCondition]
    back_projections: PositiveInt
    """Corrections of the row that knows the reduction."""
    multiple: PositiveInt
    """Sides of originals that keep their pixels are cut to multiples of this."""
    ms_ssim_above: PositiveInt
    """Side in pixels that MS-SSIM needs with its usual window."""
    shown: tuple[str, ...] = Field(strict=False)
    """Sources whose images may be published."""
    crops: ScoreboardCrops
    samples: ScoreboardSamples
    strengths: tuple[Fraction, ...] = Field(strict=False)
    """Of the networks that have two operating points; a row each."""
    recipes: Recipes
    """Degradations by name: those of scoreboard.yaml and those of recipes.yaml."""

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for key, names, known in (
            ("shown", self.shown, self.sources),
            ("crops.condition", (self.crops.condition,), self.conditions),
            ("samples.conditions", self.samples.conditions, self.conditions),
            ("folder.conditions", self.folder.conditions, self.conditions),
            ("conditions", [one.recipe for one in self.conditions.values()], self.recipes),
        ):
            for name in names:
                require(f"{key}:", name, known)
        return self

    def at(self, root: Path, pattern: str | None = None) -> Self:
        """Return the settings for a folder that is either the root of the sources or one itself.

        Args:
            root: The folder.
            pattern: Of the file names of a folder that is a source itself.
        """
        if pattern is None and any((root / one.path).is_dir() for one in self.sources.values()):
            return self
        name, own = root.resolve().name or "images", self.folder
        source = ScoreboardSource(
            path="", pattern=pattern or "*", hr_size=own.hr_size, count=own.count, faces=False
        )
        return self.model_copy(
            update={
                "sources": {name: source},
                "conditions": {label: self.conditions[label] for label in own.conditions},
                "samples": self.samples.model_copy(update={"conditions": own.conditions}),
                "shown": (name,),
            }
        )


def load_scoreboard(path: Path = SCOREBOARD_FILE) -> ScoreboardParams:
    """Read scoreboard.yaml, with the recipes of recipes.yaml beside it.

    Raises:
        ParamsError: A file is missing or unreadable, or keys are unknown, missing or mistyped.
    """
    values = read_yaml(path)
    recipes, _ = load_recipes(path.with_name("recipes.yaml"))
    try:
        own = dict(values.get("recipes") or {})
        return ScoreboardParams.model_validate({**values, "recipes": {**recipes, **own}})
    except (AttributeError, TypeError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise ParamsError(all_faults(path, error)) from None
        raise ParamsError(f"{path} does not hold a scoreboard's settings.") from None
