"""Split of persons into training and evaluation, none of them in two splits."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from facesr.errors import DataError


class Item(NamedTuple):
    """Identity and split of an image."""

    name: str
    identity: str
    """"" stands for a person of its own."""
    split: str
    """Split in the data set itself, else ""."""


def split(items: Sequence[Item], shares: Mapping[str, float], seed: int) -> list[str]:
    """Return a split for every item, the same for all images of one person.

    Args:
        items: Images in any order, on which the result does not depend.
        shares: Names and shares; the first one gets the rest.

    Raises:
        DataError: There are fewer persons than splits, so that one would stay empty.
    """
    free = [item for item in items if not item.split]
    groups: dict[str, int] = Counter(_person(item) for item in free)
    # Ranked by a hash of seed and person: who arrives first does not matter.
    ranked = sorted(groups, key=lambda person: hashlib.sha256(f"{seed}:{person}".encode()).digest())
    if free and len(ranked) < len(shares):
        raise DataError(
            f"{len(free)} images of {len(ranked)} persons cannot fill the splits "
            f"{', '.join(shares)}, which have no person in common. Add images of others."
        )
    chosen: dict[str, str] = {}
    first, *others = shares
    for position, name in enumerate(others):
        wanted = max(1, round(shares[name] * len(free)))
        taken = 0
        # Every split gets a person, also the first one, which takes what is left.
        while taken < wanted and len(ranked) - len(chosen) > len(others) - position:
            person = ranked[len(chosen)]
            # A person with more images than are wanted stays with the first split if possible.
            chosen[person] = name
            taken += groups[person]
    return [item.split or chosen.get(_person(item), first) for item in items]


def _person(item: Item) -> str:
    return item.identity or item.name
