"""Combination of an enhanced film with all other streams of its file.

Needs PyAV. Sound, subtitles, chapters, covers, attachments and tags are copied unchanged if the
container of the result can hold them. Text subtitles and sound are converted if it holds other
kinds only.
"""

import heapq
import os
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from facesr.enhance.video_streams import (
    CONTAINERS,
    Survey,
    is_chapters,
    is_cover,
    is_film,
    open_video,
)

if TYPE_CHECKING:
    from av import Packet
    from av.container import InputContainer, OutputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

    Copy: TypeAlias = Callable[..., Iterator[Packet]]

_TEXT_SUBTITLES = {"mp4": "mov_text", "mov": "mov_text", "matroska": "srt"}
# What describes the old file, not the film.
_OLD_TAGS = frozenset(
    {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "software"}
)
# What is true of the film after its enhancement, too.
_FILM_TAGS = frozenset({"language", "title", "handler_name", "timecode"})
# What every container of results can hold.
_SOUND = "aac"


def container_options(av: ModuleType, original: "InputContainer") -> dict[str, str]:
    """Return the options for phones' tags, whose names have dots, in MP4 and MOV.

    FFmpeg's writer holds either such tags or covers.
    """
    has_cover = any(is_cover(av, stream) for stream in original.streams)
    is_phone = "mp4" in original.format.name and any("." in name for name in original.metadata)
    return {"movflags": "use_metadata_tags"} if is_phone and not has_cover else {}


class Remux:
    """Writer of the film's packets and all other streams of a file.

    Args:
        output: Result, before its first packet.
        film: The film's stream in the result; the others come after it.
        keep_metadata: Keep title, tags of the camera and the like; languages are always kept.
        keep_gps: Keep the tags of the place.

    Attributes:
        lost: Streams that the result cannot hold, and their number.
        converted: Sound that it holds in another codec only, and the number of streams.
    """

    def __init__(
        self,
        av: ModuleType,
        original: "InputContainer",
        found: Survey,
        output: "OutputContainer",
        film: "VideoStream",
        *,
        keep_metadata: bool,
        keep_gps: bool,
    ) -> None:
        self.av, self.original, self.found = av, original, found
        self.output, self.film = output, film
        self.keep_metadata, self.keep_gps = keep_metadata, keep_gps
        self.lost: Counter[str] = Counter()
        self.converted: Counter[str] = Counter()
        self._copies: dict[int, Callable[[Packet], Iterator[Packet]]] = {}
        output.metadata.update(self._tags(original.metadata))
        source = original.streams.video[found.film]
        film.metadata.update(self._tags(source.metadata, only=_FILM_TAGS))
        film.disposition = source.disposition
        for stream in original.streams:
            if stream.index != source.index and not is_chapters(av, stream):
                self._add(stream)
        chapters = original.chapters()
        for chapter in chapters:
            shift = round(found.start / (chapter["time_base"] or 1))
            chapter["start"] = max(0, chapter["start"] - shift)
            chapter["end"] = max(0, chapter["end"] - shift)
        output.set_chapters(chapters)

    def _tags(self, tags: dict[str, str], only: frozenset[str] | None = None) -> dict[str, str]:
        if not self.keep_metadata:
            only = frozenset({"language"})
        # MP4 calls the title of a stream its name.
        titled = {"title" if name == "name" else name: value for name, value in tags.items()}
        return {
            name: value
            for name, value in titled.items()
            if (only is None or name.lower() in only)
            and name.lower() not in _OLD_TAGS
            and (self.keep_gps or not any(w in name.lower() for w in ("location", "gps", "xyz")))
        }

    def _add(self, stream: "Stream") -> None:
        kind = "cover" if is_cover(self.av, stream) else stream.type
        try:
            copy = self._copy(stream, kind)
        except ValueError:
            self.lost[f"{kind} ({getattr(stream, 'name', None) or 'unknown'})"] += 1
            return
        if copy:
            self._copies[stream.index] = copy

    def _copy(self, stream: Any, kind: str) -> "Copy | None":
        """Add a stream; return the maker of its packets, if any. ValueError: it cannot be held."""
        name = self.output.format.name
        if kind == "data":
            # A time code is written again from the tag.
            if "timecode" in stream.metadata:
                return None
            raise ValueError(name)
        if kind == "cover" and name == "matroska":
            with open_video(self.av, Path(self.original.name)) as again:
                content = next(bytes(p) for p in again.demux(again.streams[stream.index]))
            codec = {"mjpeg": "jpeg"}.get(stream.codec_context.name, stream.codec_context.name)
            suffix = codec.replace("jpeg", "jpg")
            self.output.add_attachment(f"cover.{suffix}", f"image/{codec}", content)
            return None
        if (kind == "cover" and name == "mov") or (kind == "attachment" and name != "matroska"):
            raise ValueError(name)
        added: Any
        copy: Copy
        if self._holds(stream):
            added = self.output.add_stream_from_template(stream, opaque=True)
            copy = self._copy_cover if kind == "cover" else _copy_packet
        elif not stream.codec_context:
            raise ValueError(name)
        elif kind == "subtitle" and stream.codec_context.codec.text_sub:
            stream.codec_context.open()
            added = self.output.add_stream(_TEXT_SUBTITLES[name])
            added.codec_context.subtitle_header = stream.codec_context.subtitle_header
            added.codec_context.time_base = added.time_base = stream.time_base
            copy = _convert_text
        elif kind == "audio":
            # Old files name the number of channels only.
            layout = {1: "mono", 2: "stereo"}.get(stream.channels, stream.layout.name)
            added = self.output.add_stream(_SOUND, rate=stream.rate, layout=layout)
            self.converted[f"{stream.name} to {_SOUND}"] += 1
            copy = _convert_sound
        else:
            raise ValueError(name)
        added.metadata.update(self._tags(stream.metadata))
        added.disposition = stream.disposition
        return partial(copy, added)

    def _holds(self, stream: "Stream") -> bool:
        """Return whether the result's container can hold this stream."""
        try:
            with self.av.open(os.devnull, "w", self.output.format.name) as trial:
                trial.add_stream_from_template(stream, opaque=True)
                trial.start_encoding()
        except (ValueError, self.av.error.FFmpegError):
            return False
        return True

    def _copy_cover(self, added: Any, packet: "Packet") -> "Iterator[Packet]":
        # It has no time of its own.
        packet.pts = packet.dts = round(self.found.start / packet.time_base)
        return _copy_packet(added, packet)

    def write(self, film_packets: "Iterator[Packet]") -> None:
        """Write all packets in the order of time."""
        streams = [self.original.streams[index] for index in self._copies]
        others = self.original.demux(streams) if streams else iter(())
        film = (copied for each in film_packets for copied in _copy_packet(self.film, each))
        rest = (copied for each in others for copied in self._copies[each.stream.index](each))
        order = heapq.merge(self._in_time(film), self._in_time(rest), key=lambda item: item[0])
        for _, packet in order:
            self.output.mux(packet)

    def _in_time(self, packets: "Iterator[Packet]") -> "Iterator[tuple[Fraction, Packet]]":
        for packet in packets:
            shift = round(self.found.start / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            yield (packet.dts or 0) * packet.time_base, packet


def _copy_packet(added: Any, packet: "Packet") -> "Iterator[Packet]":
    # The last packets of a file are empty: they ask for what a decoder holds back.
    if packet.size:
        packet.stream = added
        yield packet


def _convert_text(added: Any, packet: "Packet") -> "Iterator[Packet]":
    text = packet.stream.codec_context.decode2(packet) if packet.size else None
    if text is not None:
        encoded = added.codec_context.encode_subtitle(text)
        encoded.pts = encoded.dts = packet.pts
        encoded.duration, encoded.time_base = packet.duration, packet.time_base
        encoded.stream = added
        yield encoded


def _convert_sound(added: Any, packet: "Packet") -> "Iterator[Packet]":
    for frame in packet.decode():
        yield from added.encode(frame)
    if not packet.size:
        yield from added.encode(None)


def check_fits(
    av: ModuleType, original: "InputContainer", found: Survey, target: Path, **options: bool
) -> tuple[str, ...]:
    """Return notes on what the result will not hold, before frames are enhanced for it."""
    with av.open(os.devnull, "w", CONTAINERS[target.suffix.lower()]) as output:
        film = output.add_stream("libx264", rate=found.rate)
        remux = Remux(av, original, found, output, film, **options)
        output.start_encoding()

    def kinds(counts: Counter[str]) -> str:
        return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))

    notes = []
    if found.damaged:
        notes.append(f"{found.damaged} packets are damaged: the film may be incomplete")
    if remux.converted:
        notes.append(f"converted, as {target.suffix} cannot hold it: {kinds(remux.converted)}")
    if remux.lost:
        notes.append(f"left out, as {target.suffix} cannot hold it: {kinds(remux.lost)}")
    if sum(is_film(av, stream) for stream in original.streams.video) > 1:
        notes.append("of several video streams one is enhanced, the others are copied as they are")
    return tuple(notes)
