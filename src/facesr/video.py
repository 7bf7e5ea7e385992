"""Video files, frame by frame: bounded memory, sound as it was, work kept in segments.

Needs PyAV (`pip install 'facesr[video]'`). The frames of a segment are encoded into a file of their
own in a hidden folder beside the result; at the end the segments and the untouched sound are put
together. A run that was stopped goes on after the last whole segment.
"""

import hashlib
import heapq
import importlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from facesr import images
from facesr.errors import DataError, ParamsError
from facesr.files import written_whole

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer, OutputContainer
    from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}
"""Of results, by file name."""
SUFFIXES = frozenset({*CONTAINERS, ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".3gp"})
"""Of files that are taken for videos."""
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
"""From (3, h, w) to (3, H, W), both float32 RGB in [0, 1]."""


class SteadyColour:
    """Holds a model's colour shift steady from frame to frame.

    What a model adds to the mean of each channel is compared with the running mean of that over the
    frames before; the difference is flicker and is taken out. What changes in the video itself, a
    cut or a lamp, is in both pictures and stays.
    """

    def __init__(self, shift: list[float] | None = None) -> None:
        self.shift = shift

    def steady(self, enhanced: Tensor, frame: Tensor) -> Tensor:
        """Gives the enhanced frame, (3, H, W) in [0, 1], with the running shift."""
        now = enhanced.mean((1, 2)) - frame.mean((1, 2))
        before = now if self.shift is None else torch.tensor(self.shift)
        running = torch.lerp(before, now, COLOUR_STEP)
        self.shift = running.tolist()
        return (enhanced + (running - now)[:, None, None]).clamp(0, 1)


def enhance_video(
    source: Path,
    target: Path,
    enhance: Enhance,
    *,
    key: str,
    software: str = "facesr",
    on_progress: Callable[[int, int], None] | None = None,
) -> int:
    """Enhances the first video stream of a file; all sound streams are copied.

    Frames keep their times, so rate and duration stay. They are turned as the file asks, and the
    result needs no turning. Sides become even, as H.264 wants them.

    Args:
        source: The video.
        target: Result; its ending names the container. Appears whole at the end.
        enhance: For each frame, of one size for all.
        key: Names model and options; only segments made under the same key are used again.
        software: What made the video; written into its comment.
        on_progress: Told the frames that are done and their number, as far as it is known.

    Returns:
        The number of frames.

    Raises:
        DataError: Not a video, no video stream, damaged, HDR, or the container does not take it.
        ParamsError: PyAV is not installed.
    """
    av = _import_av()
    container_format = CONTAINERS.get(target.suffix.lower())
    if container_format is None:
        raise ParamsError(f"{target} must end in {', '.join(CONTAINERS)}: videos become H.264.")
    stat = source.stat() if source.is_file() else None
    if stat is None:
        raise DataError(f"{source} does not exist. Check the path.")
    identity = f"{source.resolve()} {stat.st_size} {stat.st_mtime_ns} {key}"
    mark = hashlib.sha256(identity.encode()).hexdigest()[:12]
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{target.name}.parts-{mark}")
    folder.mkdir(exist_ok=True)
    try:
        with av.open(str(source)) as container:
            count = _write_segments(av, container, source, folder, enhance, on_progress)
        with written_whole(target) as beside:
            _join(av, source, folder, beside, container_format, software)
    except av.error.FFmpegError as error:
        raise DataError(
            f"{source} cannot be enhanced into {target.name}: {error.strerror or error}. Check "
            "that it plays, or name a result ending in .mkv."
        ) from error
    finally:
        if not any(folder.iterdir()):
            folder.rmdir()
    for old in target.parent.glob(f".{target.name}.parts-*"):
        shutil.rmtree(old)
    return count


def _import_av() -> ModuleType:
    try:
        return importlib.import_module("av")
    except ImportError as error:
        raise ParamsError(
            "Videos need PyAV. Install it with: pip install 'facesr[video]'"
        ) from error


def _write_segments(
    av: ModuleType,
    container: "InputContainer",
    source: Path,
    folder: Path,
    enhance: Enhance,
    on_progress: Callable[[int, int], None] | None,
) -> int:
    if not container.streams.video:
        raise DataError(f"{source} has no video stream. Give a video, or a picture.")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    total = stream.frames or _estimate_frames(container, stream)
    frames = container.decode(stream)
    colour = SteadyColour()
    count = 0

    def tell(done: int) -> None:
        if on_progress:
            on_progress(count + done, max(total, count + done))

    for index in range(2**31):
        segment, state = _segment(folder, index), folder / f"{index:06d}.json"
        if state.is_file():
            values = json.loads(state.read_text())
            colour = SteadyColour(values["shift"])
            done = sum(1 for _ in islice(frames, values["frames"]))
        else:
            batch = islice(frames, SEGMENT_FRAMES)
            first = next(batch, None)
            if first is None:
                break
            with written_whole(segment) as beside, av.open(str(beside), "w", "nut") as output:
                done = _encode(output, stream, chain([first], batch), enhance, colour, tell)
            with written_whole(state) as beside:
                beside.write_text(json.dumps({"frames": done, "shift": colour.shift}))
        count += done
        tell(0)
        if done < SEGMENT_FRAMES:
            break
    if not count:
        raise DataError(f"{source} holds no frame that can be decoded. Check that it plays.")
    return count


def _segment(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.nut"


def _estimate_frames(container: "InputContainer", stream: "VideoStream") -> int:
    seconds = (container.duration or 0) / 1_000_000
    return round(seconds * float(stream.average_rate or 0))


def _encode(
    output: "OutputContainer",
    stream: "VideoStream",
    frames: "Iterator[VideoFrame]",
    enhance: Enhance,
    colour: SteadyColour,
    tell: Callable[[int], None],
) -> int:
    encoder: VideoStream | None = None
    done = 0
    for done, frame in enumerate(frames, start=1):
        picture = _to_tensor(frame)
        enhanced = colour.steady(enhance(picture), picture)
        height, width = (side // 2 * 2 for side in enhanced.shape[-2:])
        if encoder is None:
            encoder = output.add_stream("libx264", rate=stream.average_rate)
            encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
            # Segments are joined packet by packet: without B-frames each is in order of time.
            encoder.options = {"crf": str(RATE_FACTOR), "bf": "0", "threads": "1"}
            context = encoder.codec_context
            context.time_base = stream.time_base or Fraction(1, 90_000)
            context.colorspace = context.color_primaries = context.color_trc = _BT709
        for packet in encoder.encode(_to_frame(enhanced[:, :height, :width], frame)):
            output.mux(packet)
        tell(done)
    if encoder is not None:
        for packet in encoder.encode(None):
            output.mux(packet)
    return done


def _to_tensor(frame: "VideoFrame") -> Tensor:
    """(3, h, w) in [0, 1], upright."""
    if frame.color_trc in _HDR_CURVES:
        raise DataError("The video is HDR, whose colours would be lost. Convert it to SDR first.")
    # A file that does not name its matrix means that of its size.
    unsaid_hd = frame.colorspace == _UNSPECIFIED and frame.height >= _HD_HEIGHT
    pixels = frame.to_ndarray(format="rgb24", **({"src_colorspace": "ITU709"} if unsaid_hd else {}))
    picture = images.from_uint8(torch.from_numpy(pixels).permute(2, 0, 1))
    return torch.rot90(picture, round(frame.rotation / 90), (1, 2)).contiguous()


def _to_frame(picture: Tensor, like: "VideoFrame") -> "VideoFrame":
    pixels = images.to_uint8(picture).permute(1, 2, 0).contiguous().numpy()
    frame = type(like).from_ndarray(pixels, format="rgb24")
    frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709")
    frame.pts, frame.time_base = like.pts, like.time_base
    return frame


def _join(
    av: ModuleType, source: Path, folder: Path, beside: Path, container_format: str, software: str
) -> None:
    """Puts the segments and the sound of the source into one file, in the order of time."""
    with (
        av.open(str(source)) as original,
        av.open(str(_segment(folder, 0))) as first,
        av.open(str(beside), "w", container_format) as output,
    ):
        output.metadata["comment"] = software
        video = output.add_stream_from_template(first.streams.video[0])
        sounds = {
            stream.index: output.add_stream_from_template(stream)
            for stream in original.streams.audio
        }

        def pictures() -> "Iterator[tuple[Fraction, int, Packet]]":
            for path in sorted(folder.glob("*.nut")):
                with av.open(str(path)) as segment:
                    for packet in segment.demux(video=0):
                        if packet.dts is not None:
                            at = packet.dts * packet.time_base
                            packet.stream = video
                            yield at, 0, packet

        def sound() -> "Iterator[tuple[Fraction, int, Packet]]":
            for packet in original.demux(list(original.streams.audio)) if sounds else ():
                if packet.dts is not None:
                    at = packet.dts * packet.time_base
                    packet.stream = sounds[packet.stream.index]
                    yield at, 1, packet

        for _, _, packet in heapq.merge(pictures(), sound(), key=lambda item: item[:2]):
            output.mux(packet)
