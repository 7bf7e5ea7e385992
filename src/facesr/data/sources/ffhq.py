"""Flickr-Faces-HQ: 70,000 aligned faces of 1024 px, from the official host, a mirror or a copy.

Karras, Laine, Aila 2019, https://arxiv.org/abs/1812.04948; files and metadata as described in
https://github.com/NVlabs/ffhq-dataset. The data set is CC BY-NC-SA 4.0; every photograph has a
licence of its own, which the manifest contains.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from facesr import images
from facesr.config import FetchParams
from facesr.data.download import RemoteFile, download
from facesr.data.sources.archives import Blob
from facesr.data.sources.candidates import Attributes, Candidate, Cut, Listing, Square, cut_square
from facesr.data.sources.folder import walk
from facesr.errors import DataError
from facesr.files import digest
from facesr.parallel import map_in_threads

METADATA = "ffhq-dataset-v2.json"
METADATA_URL = "https://drive.google.com/uc?id=16N0RV4fHI6joBuKbQAoG34V_cQk7vxSA"
METADATA_SIZE = 267_793_842
METADATA_MD5 = "425ae20f06a4da1d4dc0f46d40ba5fd6"
THUMBNAIL_SIDE = 128
# The data set's own appointment: indices 0 to 59,999 and 60,000 to 69,999.
TRAINING = "training"
READ_AT_ONCE = 1 << 20  # characters


class Photograph(NamedTuple):
    """One entry of the metadata, as far as needed."""

    number: int
    category: str
    url: str
    path: str
    size: int
    md5: str
    pixel_md5: str
    side: int
    licence: str
    attribution: str
    country: str


def offer(
    params: FetchParams, cut: Cut, *, seed: int, splits: Mapping[str, float], scratch: Path
) -> Listing:
    """Download the chosen photographs where needed, and offer them.

    `params.path` is the place of a copy, in any form (`NNNNN.png` in folders, zip or tar files),
    and of the downloads. `params.url` gives each file's address, with the fields `{file_url}` (the
    official one), `{file_path}` and `{index}`. The 128 px thumbnails are used if no larger images
    are needed.

    Args:
        seed: Seed of the choice; the first split comes from the data set's training part, the
            others from its validation part.

    Raises:
        DataError: The metadata or a photograph is not available, or a copy of one is damaged.
    """
    root = Path(params.path)
    # Beside a single archive.
    folder = root.parent if root.is_file() else root
    # Copies of the data set have it in any of their folders.
    found = root.rglob(METADATA) if root.is_dir() else iter(())
    metadata = next(found, folder / METADATA)
    address = partial(_address, params.url)
    remote = RemoteFile(address(METADATA_URL, METADATA, ""), metadata, METADATA_SIZE, METADATA_MD5)
    download([remote], folder=folder, label="FFHQ metadata")
    thumbnails = cut.size <= THUMBNAIL_SIDE
    photographs = [
        read_photograph(int(key), entry, thumbnail=thumbnails)
        for key, entry in tqdm(
            entries(metadata), unit="entry", desc="read FFHQ metadata", disable=None
        )
    ]
    chosen = choose(photographs, params.count, splits, seed)
    wanted = {photograph.number: photograph for _, photograph in chosen}
    set_aside: list[tuple[str, str]] = []
    copies, exact = _copies(root, folder, wanted, scratch, set_aside)
    missing = [
        RemoteFile(address(one.url, one.path, f"{index:05d}"), folder / one.path, one.size, one.md5)
        for index, one in wanted.items()
        if index not in copies
    ]
    download(missing, folder=folder, label="FFHQ")
    candidates = []
    for split, photograph in chosen:
        index = photograph.number
        blob = copies.get(index, Blob(folder / photograph.path))
        whole = index not in copies or index in exact
        candidates.append(
            Candidate(
                name=f"ffhq_{index:05d}",
                origin=f"ffhq:{index:05d}",
                make=partial(_make, blob, photograph, cut, whole),
                licence=photograph.licence,
                attribution=photograph.attribution,
                attributes={"country": photograph.country},
                split=split,
            )
        )
    facts = {"downloaded_or_cached": len(missing), "copies": len(copies)}
    return Listing(candidates, set_aside, facts)


def entries(metadata: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the metadata in constant memory (as one object: gigabytes), or raise DataError."""
    decoder = json.JSONDecoder()
    key_start = re.compile(r'[\s,{]*"([^"]+)"\s*:\s*')
    buffer, position = "", 0
    with metadata.open(encoding="utf-8") as file:
        while True:
            found = key_start.match(buffer, position)
            try:
                if found is None:
                    raise json.JSONDecodeError("no key", buffer, position)
                entry, end = decoder.raw_decode(buffer, found.end())
            except json.JSONDecodeError as error:
                more = file.read(READ_AT_ONCE)
                buffer, position = buffer[position:] + more, 0
                if more:
                    continue
                if buffer.strip() in ("}", ""):
                    return
                raise DataError(
                    f"{metadata} is damaged ({error}). Delete it and run again."
                ) from error
            yield found[1], entry
            position = end


def read_photograph(number: int, entry: Mapping[str, Any], *, thumbnail: bool) -> Photograph:
    """Convert an entry of the metadata."""
    image, about = entry["thumbnail" if thumbnail else "image"], entry["metadata"]
    return Photograph(
        number=number,
        category=entry["category"],
        url=image["file_url"],
        path=image["file_path"],
        size=int(image["file_size"]),
        md5=image["file_md5"],
        pixel_md5=image["pixel_md5"],
        side=int(image["pixel_size"][0]),
        licence=about["license"],
        attribution=f"{about['author']}, {about['photo_url']}",
        country=about["country"],
    )


def choose(
    photographs: Sequence[Photograph], count: int, splits: Mapping[str, float], seed: int
) -> list[tuple[str, Photograph]]:
    """Draw `count` photographs with their splits, the same for every run.

    The first split is drawn from the data set's training part, the others from its validation part.
    """
    first, *others = splits
    numbers = {name: max(1, round(splits[name] * count)) for name in others}
    numbers = {first: count - sum(numbers.values()), **numbers}
    pools = {
        part: [one for one in photographs if (one.category == TRAINING) is part]
        for part in (True, False)
    }
    rng = np.random.default_rng(seed)
    drawn = {part: [pool[i] for i in rng.permutation(len(pool))] for part, pool in pools.items()}
    chosen = []
    for name, number in numbers.items():
        pool = drawn[name == first]
        chosen += [(name, one) for one in pool[:number]]
        del pool[:number]
    return chosen


def _address(template: str, file_url: str, file_path: str, index: str) -> str:
    return template.format(file_url=file_url, file_path=file_path, index=index)


def _copies(
    root: Path,
    folder: Path,
    wanted: Mapping[int, Photograph],
    scratch: Path,
    set_aside: list[tuple[str, str]],
) -> tuple[dict[int, Blob], set[int]]:
    """Return copies of the wanted photographs below `root`, and indices of the official files.

    Official files in `folder`, where downloads are, are no copies.
    """
    copies: dict[int, Blob] = {}
    downloaded = {folder / one.path for one in wanted.values()}
    for found in walk(root, scratch, set_aside):
        path = Path(found.origin)
        digits = re.search(r"(\d{5,8})$", path.stem)
        if not digits or path.suffix.lower() not in images.SUFFIXES:
            continue
        if int(digits[1]) in wanted and found.blob.path not in downloaded:
            copies.setdefault(int(digits[1]), found.blob)
    jobs = list(copies.items())
    digests = map_in_threads(_md5, [blob for _, blob in jobs])
    bar = tqdm(digests, total=len(jobs), unit="file", desc="verify", disable=None if jobs else True)
    exact = {index for (index, _), md5 in zip(jobs, bar, strict=True) if md5 == wanted[index].md5}
    return copies, exact


def _md5(blob: Blob) -> str:
    if not blob.member and blob.offset < 0:
        return digest(blob.path, "md5")
    return hashlib.md5(blob.read()).hexdigest()


def _make(blob: Blob, photograph: Photograph, cut: Cut, exact: bool) -> Square:
    content = blob.read()
    image = images.read(content)
    found: Attributes = {}
    if not exact:
        pixels = images.to_uint8(image).permute(1, 2, 0).contiguous().numpy().tobytes()
        if hashlib.md5(pixels).hexdigest() == photograph.pixel_md5:
            found["copy"] = "other bytes, the same pixels"
        elif content.startswith(b"\x89PNG") and image.shape[-1] == photograph.side:
            raise DataError(
                "is damaged: neither its bytes nor its pixels are those of the data set. Delete it "
                "and run again"
            )
        else:
            found["copy"] = f"lossy, {image.shape[-1]} px"
    square = cut_square(image, cut, content)
    return square._replace(attributes={**found, **square.attributes})
