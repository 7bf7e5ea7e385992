"""Streams of a video file: which one is the film, and whether the file is complete.

Needs PyAV.
"""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from facesr.errors import DataError, ParamsError, import_extra

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Containers of results by file ending."""
# fmt: off
SUFFIXES = frozenset({
    *CONTAINERS, ".qt", ".webm", ".avi", ".divx", ".mpg", ".mpeg", ".m2v", ".vob", ".ts", ".mts",
    ".m2ts", ".m2t", ".3gp", ".3g2", ".wmv", ".asf", ".flv", ".f4v", ".ogv", ".ogm", ".mxf", ".dv",
})
"""Endings of files that are taken for videos."""
# FFmpeg's names of what a file holds that is a video by its content, whatever its name says.
_CONTENT = frozenset({
    "mp4", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "flv", "ogg", "mxf", "dv",
})
# fmt: on
# Brands of HEIC and AVIF, which share the container of MP4.
_IMAGE_BRANDS = frozenset({"heic", "heix", "hevc", "mif1", "msf1", "avif", "avis"})
# Some files name their units of time in a second where a rate is not known.
_NO_RATE, _USUAL_RATE = 1000, 25
# A header's duration may be a little more than what its packets fill.
_MISSING_SECONDS, _MISSING_FRAMES, _MISSING_PART = 0.2, 2, 0.01
# Containers whose header says how long the whole is. Others are measured by what is there.
_SAYS_DURATION = frozenset({"matroska", "avi", "flv", "asf"})


@dataclass(frozen=True)
class Survey:
    """Facts about a file from one reading of all packets."""

    film: int
    """Position of the film among the video streams."""
    frames: int
    """Number of the film's frames, by the times of its packets."""
    start: Fraction
    """Seconds to subtract from all times: a recording's clock need not start at 0."""
    first: Fraction
    """Start of the film, in seconds of the file's clock."""
    end: Fraction
    """End of the film's last frame."""
    rate: Fraction
    """Frames per second, on average."""
    damaged: int
    """Number of packets that the file marks as incomplete."""
    time_base: Fraction
    """The file's unit of the film's times, in seconds."""

    @property
    def unit(self) -> Fraction:
        """Unit of a result's times, in seconds."""
        return self.time_base / self.rate.numerator if self._is_rounded else self.time_base

    @property
    def _is_rounded(self) -> bool:
        # As Matroska, Flash and Windows Media do, whatever the rate.
        return self.time_base == Fraction(1, 1000)

    def exact(self, seconds: Fraction) -> Fraction:
        """Return the unrounded time of a frame, if the file has rounded it."""
        near = self.first + round((seconds - self.first) * self.rate) / self.rate
        is_meant = self._is_rounded and abs(seconds - near) <= self.time_base
        return near if is_meant else seconds


def open_video(av: ModuleType, path: Path) -> "InputContainer":
    """Open a file for reading; tags in another encoding than UTF-8 keep their bytes."""
    container: InputContainer = av.open(str(path), metadata_errors="surrogateescape")
    return container


def is_video(path: Path) -> bool:
    """Return whether a file's content is a video; False without PyAV."""
    try:
        av = import_extra("av")
        with open_video(av, path) as container:
            brand = container.metadata.get("major_brand", "").strip()
            has_film = any(is_film(av, stream) for stream in container.streams.video)
            names = set(container.format.name.split(","))
    except (ParamsError, OSError, ValueError):
        return False
    return has_film and not names.isdisjoint(_CONTENT) and brand not in _IMAGE_BRANDS


def is_cover(av: ModuleType, stream: "Stream") -> bool:
    """Return whether a video stream is a still image."""
    kinds = av.stream.Disposition
    return bool(stream.disposition & (kinds.attached_pic | kinds.timed_thumbnails))


def is_film(av: ModuleType, stream: "Stream") -> bool:
    """Return whether a video stream can be decoded and is no cover."""
    return bool(stream.type == "video" and stream.codec_context and not is_cover(av, stream))


def is_chapters(av: ModuleType, stream: "Stream") -> bool:
    """Return whether a stream is the track of MP4's chapter titles."""
    return bool(stream.discard == av.stream.Discard.all)


def survey(av: ModuleType, container: "InputContainer", source: Path) -> Survey:
    """Read all packets of a file, without decoding them.

    The film is the default video stream among those of more than one frame, else the longest one.
    Covers do not count.

    Raises:
        DataError: There is no film, or the file is incomplete.
    """
    packets: Counter[int] = Counter()
    damaged = 0
    first: dict[int, Fraction] = {}
    ends: dict[int, Fraction] = {}
    for packet in container.demux():
        if not packet.size:
            continue
        packets[packet.stream_index] += 1
        damaged += packet.is_corrupt
        at = packet.dts if packet.pts is None else packet.pts
        if at is None or is_cover(av, packet.stream):
            continue
        seconds = at * packet.time_base
        first[packet.stream_index] = min(seconds, first.get(packet.stream_index, seconds))
        until = seconds + (packet.duration or 0) * packet.time_base
        ends[packet.stream_index] = max(until, ends.get(packet.stream_index, until))
    films = [stream for stream in container.streams.video if is_film(av, stream)]
    if not films:
        raise DataError(f"{source} has no video stream. Give a video, or an image.")
    default = av.stream.Disposition.default
    film = max(
        films,
        key=lambda stream: (
            packets[stream.index] > 1,
            bool(stream.disposition & default),
            packets[stream.index],
        ),
    )
    if not packets[film.index]:
        raise DataError(f"{source} holds no frame. Check that it plays.")
    end = max(ends.values(), default=Fraction(0))
    _check_whole(container, film, source, float(end))
    begins = [first[s.index] for s in (film, *container.streams.audio) if s.index in first]
    frames, until = packets[film.index], ends.get(film.index, end)
    begin = first.get(film.index, until)
    rate = film.average_rate
    if not rate or rate >= _NO_RATE:
        lasts = until - begin
        rate = (frames / lasts if lasts else Fraction(_USUAL_RATE)).limit_denominator(1001)
    return Survey(
        film=container.streams.video.index(film),
        frames=frames,
        start=max(min(begins, default=Fraction(0)), Fraction(0)),
        first=begin,
        end=until,
        rate=rate,
        damaged=damaged,
        time_base=film.time_base or Fraction(1, 90_000),
    )


def _check_whole(
    container: "InputContainer", film: "VideoStream", source: Path, end: float
) -> None:
    """Raise DataError for an incomplete file, as of an interrupted download."""
    names = set(container.format.name.split(","))
    how_much = ""
    if "mp4" in names:
        size = container.size
        lies_within = [entry.pos + entry.size <= size for entry in film.index_entries]
        rest = (s for s in container.streams if s.index != film.index)
        if not all(lies_within) or any(
            entry.pos + entry.size > size for stream in rest for entry in stream.index_entries
        ):
            is_sound = all(lies_within)
            frames = f"{sum(lies_within)} of {len(lies_within)} frames"
            how_much = "a part of its sound" if is_sound else frames
    elif container.duration and not names.isdisjoint(_SAYS_DURATION):
        said = container.duration / 1_000_000
        if "avi" in names:
            # FFmpeg reduces the duration of a short file, but not its number of frames.
            said = float(film.frames * (film.time_base or 0))
        frame = 1 / float(film.average_rate or _USUAL_RATE)
        if said - end > max(_MISSING_SECONDS, _MISSING_FRAMES * frame, _MISSING_PART * said):
            how_much = f"{end:.1f} of {said:.1f} seconds"
    if how_much:
        raise DataError(
            f"{source} is incomplete: it breaks off after {how_much}. Copy or download it again."
        )
