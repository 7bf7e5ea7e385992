"""Images of the evaluation, and their present results."""

import hashlib
from pathlib import Path
from typing import NamedTuple

import streamlit as st

import intake
import reading
import service
import serving
from facesr import paths
from facesr.errors import DataError

# Results of a visitor that are kept, as encoded bytes.
KEPT = 24


class Pair(NamedTuple):
    """One face, as PNG."""

    small: bytes
    original: bytes
    side: int
    """Side of the original in pixels."""


def pair(faces: str, stem: str) -> Pair | None:
    """Return an image of the evaluation; None if it is missing or may not be shown."""
    from facesr import images
    from facesr.data import manifest, packs, pairs

    if faces not in paths.EVALUATION_SETS:
        return None
    folder, source = paths.EVALUATION_SETS[faces]
    rows = reading.table(source / manifest.FILE)
    row = next((row for row in rows if Path(row.get("file", "")).stem == stem), None)
    if row is None or manifest.NOT_TO_BE_SHOWN in row.get("licence", ""):
        return None
    try:
        position = packs.read_stems(folder / pairs.HR).index(stem)
        side = max(int(path.stem) for path in (folder / pairs.HR).glob("*.npy"))
        small = packs.read_pack(folder / pairs.LR)[position]
        original = packs.read_pack(folder / pairs.HR, side)[position]
    except (OSError, ValueError, DataError):
        return None
    return Pair(
        images.encode_png(images.from_uint8(small)),
        images.encode_png(images.from_uint8(original)),
        side,
    )


def enhanced(small: bytes, size: int, model: str = serving.CHAMPION) -> service.Enhanced | str:
    """Return a result, cached for each visitor, or the reason of its absence."""
    kept: dict[object, service.Enhanced] = st.session_state.setdefault("made", {})
    key = (hashlib.sha256(small).hexdigest(), size, model, _number(model))
    if key not in kept:
        try:
            kept[key] = service.enhance(small, service.Settings(size=size, model=model))
        except intake.RefusedError as error:
            return str(error)
        while len(kept) > KEPT:
            del kept[next(iter(kept))]
    return kept[key]


def _number(model: str) -> int | None:
    catalogue = serving.shared().peek(wait_seconds=0)
    if model != serving.CHAMPION or not catalogue or not catalogue.champion:
        return None
    return catalogue.champion.number
