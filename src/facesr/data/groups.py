"""Gains by group of people, and how much groups differ."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from facesr.data.manifest import Entry, groups_of
from facesr.stats import Summary, summarise

FEW_PEOPLE = 5
"""Results mark a group of fewer people: it says little."""


class GroupGain(NamedTuple):
    """Gain of a group: the images of a set that have one attribute in common."""

    name: str
    value: str
    stems: Sequence[str]
    people: int
    """An image of an unknown person counts as a person."""
    gain: Summary
    """Over people."""
    difference: Summary
    """Gain minus that of the set's people with another value; the standard error is Welch's."""

    @property
    def label(self) -> str:
        """Attribute and value."""
        return f"{self.name} = {self.value}"

    @property
    def size(self) -> str:
        """Number of people, with a mark if they are few."""
        return f"{self.people} (few)" if self.people < FEW_PEOPLE else f"{self.people}"


def gains_by_group(
    gains: Mapping[str, float], entries: Mapping[str, Entry], *, smallest: int
) -> list[GroupGain]:
    """Return the groups of a set, sorted by attribute and value.

    Args:
        gains: Value minus that of bicubic by stem.
        entries: Rows of the manifest by stem.
        smallest: Groups of fewer images are left out. So are attributes with one value.
    """
    members: dict[str, dict[str, list[str]]] = {}
    for stem in gains:
        for name, value in groups_of(entries[stem]) if stem in entries else ():
            members.setdefault(name, {}).setdefault(value, []).append(stem)
    found = []
    for name, values in sorted(members.items()):
        for value, stems in sorted(values.items()):
            others = [stem for one in values if one != value for stem in values[one]]
            if len(stems) < smallest or not others:
                continue
            inside = _by_person(stems, gains, entries)
            own, rest = summarise(inside), summarise(_by_person(others, gains, entries))
            difference = own._replace(
                mean=own.mean - rest.mean,
                standard_error=math.hypot(own.standard_error, rest.standard_error),
            )
            found.append(GroupGain(name, value, stems, len(inside), own, difference))
    return found


def _by_person(
    stems: Sequence[str], gains: Mapping[str, float], entries: Mapping[str, Entry]
) -> list[float]:
    people: dict[str, list[float]] = {}
    for stem in stems:
        people.setdefault(entries[stem].identity or stem, []).append(gains[stem])
    return [summarise(own).mean for own in people.values()]
