"""Video files, frame by frame in bounded memory, with resumable segments.

Needs PyAV (`pip install 'facesr[video]'`). Segments are encoded into files in a hidden folder
beside the result and joined with the other streams at the end. An interrupted run continues after
the last complete segment.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from facesr import images
from facesr.enhance.remux import Remux, check_fits, container_options
from facesr.enhance.video_streams import CONTAINERS, Survey, open_video, survey
from facesr.errors import DataError, ParamsError, import_extra
from facesr.files import atomic_write

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import OutputContainer
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

# Names may have 255 bytes: 4 for each of these, and 32 for what is added.
_LONGEST_STEM = 50
# What a stop can cost, in frames.
SEGMENT_FRAMES = 24
# Constant rate factor of H.264: 18 counts as visually lossless, enlarged noise asks for more.
RATE_FACTOR = 16
# Part of the new in the running colour reference: it follows in half a second of 24 frames.
COLOUR_STEP = 0.1
# H.273 codes: transfer curves of HDR, the matrix of high definition, and "not said".
_HDR_CURVES, _BT709, _UNSPECIFIED = (16, 18), 1, 2
_HD_HEIGHT = 720

Enhance = Callable[[Tensor], Tensor]
"""Function from (3, h, w) to (3, H, W), both float32 RGB in [0, 1]."""


class SteadyColour:
    """Filter against flicker in a model's colour shift.

    The model's addition to the mean of each channel is compared with its running mean over earlier
    frames, and the difference is removed. Changes in the video itself, such as cuts, are in both
    images and stay.
    """

    def __init__(self, shift: list[float] | None = None) -> None:
        self.shift = shift

    def steady(self, enhanced: Tensor, frame: Tensor) -> Tensor:
        """Return the enhanced frame, (3, H, W) in [0, 1], with the running shift."""
        now = enhanced.mean((1, 2)) - frame.mean((1, 2))
        before = now if self.shift is None else torch.tensor(self.shift)
        running = torch.lerp(before, now, COLOUR_STEP)
        self.shift = running.tolist()
        return (enhanced + (running - now)[:, None, None]).clamp(0, 1)


@dataclass(frozen=True)
class VideoResult:
    """Outcome for a video."""

    frames: int
    notes: tuple[str, ...] = ()
    """Parts of the file that the result lacks."""


def _hidden(target: Path, ending: str) -> Path:
    """Return a hidden name beside the result, no longer than names may be."""
    mark = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:8]
    return target.with_name(f".{target.name[:_LONGEST_STEM]}.{mark}.{ending}")


@contextmanager
def _claimed(target: Path, on_wait: Callable[[], None]) -> Iterator[bool]:
    """Lock the result; yield whether it was in use; `on_wait` is called each second before."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = _hidden(target, "lock")
    lock = FileLock(path)
    has_waited = False
    while not lock.is_locked:
        try:
            lock.acquire(timeout=1 if has_waited else 0)
        except Timeout:
            if not has_waited:
                logger.warning("%s: waiting for another process that makes it", target)
            has_waited = True
            on_wait()
    try:
        yield has_waited
    finally:
        # Who waits for a lock file that is gone makes it anew.
        path.unlink(missing_ok=True)
        lock.release()


def enhance_video(
    source: Path,
    target: Path,
    enhance: Enhance,
    *,
    key: str,
    software: str = "facesr",
    keep_metadata: bool = True,
    keep_gps: bool = False,
    overwrite: bool = True,
    on_progress: Callable[[int, int], None] | None = None,
) -> VideoResult | None:
    """Enhance the film of a video file; copy sound, subtitles, chapters and covers.

    Frames keep their times, so rate and duration stay. They are rotated upright. Sides become even,
    as H.264 requires.

    Args:
        target: Result, written atomically; its ending names the container.
        enhance: Applied to each frame; results have one size.
        key: Key of model and options; only segments of the same key are used again.
        software: Software that made the video, for its comment.
        keep_metadata: Keep title, tags of the camera and the like; languages are always kept.
        keep_gps: Keep the tags of the place.
        overwrite: Replace a result that another process has made in the meantime.
        on_progress: Called with (frames done, frames in total as far as it is known).

    Returns:
        The number of frames, and notes on losses; None if another process has made the result in
        the meantime.

    Raises:
        DataError: Not a video, no video stream, incomplete, damaged, HDR, or of a kind that the
            container does not hold.
        ParamsError: PyAV is not installed.
    """
    av = import_extra("av")
    if target.suffix.lower() not in CONTAINERS:
        raise ParamsError(f"{target} must end in {', '.join(CONTAINERS)}: videos become H.264.")
    stat = source.stat() if source.is_file() else None
    if stat is None:
        raise DataError(f"{source} does not exist. Check the path.")
    identity = f"{source.resolve()} {stat.st_size} {stat.st_mtime_ns} {key}"
    mark = hashlib.sha256(os.fsencode(identity)).hexdigest()[:12]
    options = {"keep_metadata": keep_metadata, "keep_gps": keep_gps}
    report = on_progress or (lambda done, total: None)
    with _claimed(target, lambda: report(0, 1)) as has_waited:
        if has_waited and target.exists() and not overwrite:
            return None
        folder = _hidden(target, f"parts-{mark}")
        try:
            with open_video(av, source) as container:
                found = survey(av, container, source)
                notes = check_fits(av, container, found, target, **options)
            folder.mkdir(exist_ok=True)
            count = _write_segments(av, source, found, folder, enhance, report)
            with atomic_write(target) as temporary:
                notes += _join(av, source, found, folder, temporary, target, software, options)
                os.utime(temporary, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
        except av.error.FFmpegError as error:
            if isinstance(error, OSError) and folder.is_dir():
                raise DataError(
                    f"{target} cannot be written ({error.strerror}). Free some space and call it "
                    "again: what is done is kept."
                ) from error
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, av.error.InvalidDataError):
                raise DataError(f"{source} is damaged or no video. Check that it plays.") from error
            raise DataError(
                f"{source} cannot be enhanced into {target.name}: {error.strerror or error}. Check "
                "that it plays, or name a result ending in .mkv."
            ) from error
        finally:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        # Of a stopped run with other options, too.
        parts = _hidden(target, "parts-").name
        for old in [path for path in target.parent.iterdir() if path.name.startswith(parts)]:
            shutil.rmtree(old)
    return VideoResult(count, notes)


def _write_segments(
    av: ModuleType,
    source: Path,
    found: Survey,
    folder: Path,
    enhance: Enhance,
    on_progress: Callable[[int, int], None],
) -> int:
    colour = SteadyColour()
    count = 0

    def report(done: int) -> None:
        on_progress(count + done, max(found.frames, count + done))

    with open_video(av, source) as container:
        stream = container.streams.video[found.film]
        if stream.codec_context.color_trc in _HDR_CURVES:
            raise DataError(
                f"{source} is HDR, whose colours would be lost. Convert it to SDR first."
            )
        stream.thread_type = "AUTO"
        frames = container.decode(stream)
        for index in range(2**31):
            segment, state = _segment(folder, index), folder / f"{index:06d}.json"
            if state.is_file():
                values = json.loads(state.read_text())
                colour = SteadyColour(values["shift"])
                done = sum(1 for _ in islice(frames, values["frames"]))
            else:
                rest = islice(frames, SEGMENT_FRAMES)
                first = next(rest, None)
                if first is None:
                    break
                with (
                    atomic_write(segment) as temporary,
                    av.open(str(temporary), "w", "nut") as output,
                ):
                    batch = chain([first], rest)
                    done = _encode(output, stream, found, batch, enhance, colour, report)
                with atomic_write(state) as temporary:
                    temporary.write_text(json.dumps({"frames": done, "shift": colour.shift}))
            count += done
            report(0)
            if done < SEGMENT_FRAMES:
                break
    if not count:
        raise DataError(f"{source} holds no frame that can be decoded. Check that it plays.")
    return count


def _segment(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.nut"


def _encode(
    output: "OutputContainer",
    stream: "VideoStream",
    found: Survey,
    frames: "Iterator[VideoFrame]",
    enhance: Enhance,
    colour: SteadyColour,
    report: Callable[[int], None],
) -> int:
    encoder: VideoStream | None = None
    shape = stream.sample_aspect_ratio
    done = 0
    for done, frame in enumerate(frames, start=1):
        image = _to_tensor(frame)
        enhanced = colour.steady(enhance(image), image)
        height, width = (side // 2 * 2 for side in enhanced.shape[-2:])
        if encoder is None:
            encoder = output.add_stream("libx264", rate=found.rate)
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            # Segments are joined packet by packet: without B-frames each is in order of time.
            encoder.options = {"crf": str(RATE_FACTOR), "bf": "0", "threads": "1"}
            context = encoder.codec_context
            if shape:
                is_turned = round(frame.rotation / 90) % 2
                context.sample_aspect_ratio = 1 / shape if is_turned else shape
            context.time_base = found.unit
            context.colorspace = context.color_primaries = context.color_trc = _BT709
        for packet in encoder.encode(_to_frame(enhanced[:, :height, :width], frame, found)):
            output.mux(packet)
        report(done)
    if encoder is not None:
        for packet in encoder.encode(None):
            output.mux(packet)
    return done


def _to_tensor(frame: "VideoFrame") -> Tensor:
    """Return a frame as (3, h, w) in [0, 1], upright."""
    # A file that does not name its matrix means that of its size.
    unsaid_hd = frame.colorspace == _UNSPECIFIED and frame.height >= _HD_HEIGHT
    pixels = frame.to_ndarray(format="rgb24", **({"src_colorspace": "ITU709"} if unsaid_hd else {}))
    image = images.from_uint8(torch.from_numpy(pixels).permute(2, 0, 1))
    return torch.rot90(image, round(frame.rotation / 90), (1, 2)).contiguous()


def _to_frame(image: Tensor, like: "VideoFrame", found: Survey) -> "VideoFrame":
    pixels = images.to_uint8(image).permute(1, 2, 0).contiguous().numpy()
    frame = type(like).from_ndarray(pixels, format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
    if like.pts is not None:
        frame.pts = round(found.exact(like.pts * found.time_base) / found.unit)
    frame.time_base = found.unit
    return frame


def _join(
    av: ModuleType,
    source: Path,
    found: Survey,
    folder: Path,
    temporary: Path,
    target: Path,
    software: str,
    options: dict[str, bool],
) -> tuple[str, ...]:
    """Join segments and other streams in the order of time; return a note on lost tags."""
    with (
        open_video(av, source) as original,
        av.open(str(_segment(folder, 0))) as first,
        av.open(
            str(temporary),
            "w",
            CONTAINERS[target.suffix.lower()],
            container_options=container_options(av, original),
            metadata_errors="surrogateescape",
        ) as output,
    ):
        film = output.add_stream_from_template(first.streams.video[0])
        film.codec_context.framerate = found.rate
        remux = Remux(av, original, found, output, film, **options)
        tags = {name.lower(): value for name, value in output.metadata.items()}
        tags["comment"] = "; ".join(filter(None, (tags.get("comment"), software)))
        output.metadata.clear()
        output.metadata.update(tags)
        remux.write(_packets(av, folder, found.exact(found.end)))
    with open_video(av, temporary) as made:
        lost = tags.keys() - {name.lower() for name in made.metadata}
    if not lost:
        return ()
    return (f"tags left out, as {target.suffix} cannot hold them: {', '.join(sorted(lost))}",)


def _packets(av: ModuleType, folder: Path, end: Fraction) -> "Iterator[Packet]":
    """Yield the packets of all segments; `end` gives the duration of the last frame."""
    held: Packet | None = None
    for path in sorted(folder.glob("*.nut")):
        with av.open(str(path)) as segment:
            for packet in segment.demux(video=0):
                if packet.size:
                    if held:
                        yield held
                    held = packet
    if held:
        held.duration = max(0, round(end / held.time_base) - (held.pts or 0))
        yield held
