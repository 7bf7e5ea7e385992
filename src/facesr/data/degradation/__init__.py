"""Low-resolution views of faces, by the recipes in recipes.yaml."""

from collections.abc import Mapping
from typing import Self

import numpy as np
from pydantic import TypeAdapter
from torch import Tensor

from facesr import images
from facesr.config import (
    BicubicParams,
    CrappifyParams,
    FirstOrderParams,
    MixtureParams,
    Recipe,
    SecondOrderParams,
)
from facesr.data.degradation import operations
from facesr.data.degradation.first_order import crappify, first_order
from facesr.data.degradation.second_order import second_order
from facesr.errors import DataError

_RECIPES: TypeAdapter[dict[str, Recipe]] = TypeAdapter(dict[str, Recipe])


class Degradation:
    """A recipe by name, with the recipes of its mixture."""

    def __init__(self, name: str, recipes: Mapping[str, Recipe]) -> None:
        recipe = recipes[name]
        parts = recipe.weights if isinstance(recipe, MixtureParams) else {}
        self.name = name
        self.recipes = {one: recipes[one] for one in (name, *parts)}

    @property
    def base_scale(self) -> int:
        """Smallest side of a face over lr_size."""
        return max(getattr(recipe, "base_scale", 1) for recipe in self.recipes.values())

    def to_json(self) -> str:
        """Return all of its numbers, its own name first."""
        return _RECIPES.dump_json(self.recipes, indent=2).decode() + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the output of `to_json`."""
        recipes = _RECIPES.validate_json(text)
        return cls(next(iter(recipes)), recipes)

    def __call__(self, hr: Tensor, *, lr_size: int, rng: np.random.Generator) -> Tensor:
        """Make a low-resolution view.

        Args:
            hr: Face, (3, H, H) float32 RGB in [0, 1].
            lr_size: Side of the result in pixels.
            rng: Source of all randomness; the same state gives the same image.

        Returns:
            (3, lr_size, lr_size) float32 in [0, 1], on the 8-bit grid and on hr's device.

        Raises:
            DataError: The face is not square, or smaller than the recipe asks for.
        """
        recipe = self.recipes[self.name]
        if isinstance(recipe, MixtureParams):
            names, weights = zip(*recipe.weights.items(), strict=True)
            shares = np.array(weights) / sum(weights)
            recipe = self.recipes[names[int(rng.choice(len(names), p=shares))]]
        assert not isinstance(recipe, MixtureParams), "facesr.config forbids mixtures of mixtures"
        image = _reduced_to_base(hr, recipe.base_scale * lr_size)
        if isinstance(recipe, BicubicParams):
            image = operations.resize(image, lr_size, "bicubic")
        elif isinstance(recipe, CrappifyParams):
            image = crappify(image, recipe, lr_size=lr_size, rng=rng)
        elif isinstance(recipe, FirstOrderParams):
            image = first_order(image, recipe, lr_size=lr_size, rng=rng)
        elif isinstance(recipe, SecondOrderParams):
            image = second_order(image, recipe, lr_size=lr_size, rng=rng)
        return images.round_to_8bit(image)


def _reduced_to_base(hr: Tensor, base: int) -> Tensor:
    height, width = hr.shape[-2:]
    if height != width or height < base:
        raise DataError(
            f"A face of {width} x {height} pixels cannot be degraded by a recipe that starts from "
            f"{base} px. Give square images of at least that side, or lower base_scale."
        )
    if height == base:
        return hr
    return images.round_to_8bit(operations.resize(hr, base, "bicubic"))
