"""Videos keep their frames, times and sound; colour stays steady; a stopped run goes on."""

import struct
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from facesr import cli, images
from facesr.enhance import video
from facesr.errors import DataError, ParamsError

av = pytest.importorskip("av")

FRAMES, RATE = 60, Fraction(30000, 1001)
HEIGHT, WIDTH = 32, 48


def write_clip(path, *, frames=FRAMES, has_sound=True, has_video=True) -> None:
    """A grey ramp that grows brighter, two seconds long, with a tone."""
    with av.open(str(path), "w") as output:
        if has_video:
            stream = output.add_stream("libx264", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
            stream.options = {"crf": "8"}
        if has_sound:
            sound = output.add_stream("aac", rate=44100, layout="mono")
        for index in range(frames if has_video else 0):
            ramp = np.linspace(40, 140 + index, WIDTH, dtype=np.uint8)
            pixels = np.broadcast_to(ramp[None, :, None], (HEIGHT, WIDTH, 3))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            output.mux(stream.encode(frame))
        if has_video:
            output.mux(stream.encode(None))
        if has_sound:
            tone = np.sin(np.arange(int(44100 * frames / RATE)) / 20)[None].astype(np.float32) / 4
            for start in range(0, tone.shape[1], 1024):
                part = np.ascontiguousarray(tone[:, start : start + 1024])
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 44100, start
                frame.time_base = Fraction(1, 44100)
                output.mux(sound.encode(frame))
            output.mux(sound.encode(None))


def turn(path) -> None:
    """Set the display matrix of an MP4 to a quarter turn, as a phone held upright does."""
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = struct.pack(
        ">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, HEIGHT << 16, 0, 1 << 30
    )
    path.write_bytes(content)


def twice(image: Tensor) -> Tensor:
    size = (2 * image.shape[-2], 2 * image.shape[-1])
    return images.resize(image, size, "bicubic").clamp(0, 1)


def decode(path) -> tuple[list[np.ndarray], list[Fraction]]:
    with av.open(str(path)) as container:
        decoded = list(container.decode(video=0))
    times = [frame.pts * frame.time_base for frame in decoded]
    return [frame.to_ndarray(format="rgb24") for frame in decoded], times


def sound_packets(path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def duration(path) -> float:
    with av.open(str(path)) as container:
        return container.duration / 1_000_000


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_clip_keeps_its_frames_times_duration_and_sound(tmp_path, suffix):
    source, target = tmp_path / "clip.mp4", tmp_path / f"out{suffix}"
    write_clip(source)
    assert video.enhance_video(source, target, twice, key="twice").frames == FRAMES
    before, times = decode(source)
    after, new_times = decode(target)
    assert len(after) == FRAMES
    assert after[0].shape == (2 * HEIGHT, 2 * WIDTH, 3)
    # Matroska rounds times to milliseconds and begins with the sound, which leads by 23 of them.
    gone, new_gone = ([float(t - at[0]) for t in at] for at in (times, new_times))
    assert np.allclose(gone, new_gone, atol=1.1e-3)
    assert duration(target) == pytest.approx(duration(source), abs=0.05)
    assert sound_packets(target) == sound_packets(source)
    # The same image, and the last frame is not the first.
    assert abs(after[-1][::2, ::2].astype(int) - before[-1]).mean() < 3
    assert after[-1].mean() > after[0].mean() + 20
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_clip_without_sound_is_enhanced(tmp_path):
    write_clip(tmp_path / "clip.mp4", frames=5, has_sound=False)
    video.enhance_video(tmp_path / "clip.mp4", tmp_path / "out.mp4", twice, key="")
    assert len(decode(tmp_path / "out.mp4")[0]) == 5


def test_a_video_that_was_stopped_goes_on_after_its_last_whole_segment(tmp_path):
    source, target, whole = tmp_path / "clip.mp4", tmp_path / "out.mp4", tmp_path / "whole.mp4"
    write_clip(source)
    seen = 0

    def stops(image: Tensor) -> Tensor:
        nonlocal seen
        seen += 1
        if seen == 30:
            raise KeyboardInterrupt
        return twice(image)

    with pytest.raises(KeyboardInterrupt):
        video.enhance_video(source, target, stops, key="k")
    assert not target.exists()
    seen = 100
    video.enhance_video(source, target, stops, key="k")
    assert seen - 100 == FRAMES - video.SEGMENT_FRAMES
    video.enhance_video(source, whole, twice, key="k")
    (frames, times), (other_frames, other_times) = decode(target), decode(whole)
    assert times == other_times
    # The same frames come out of x264 with other bits once in thirty runs.
    assert abs(np.stack(frames).astype(int) - np.stack(other_frames)).max() <= 8
    assert sound_packets(target) == sound_packets(whole)


def test_segments_of_other_options_are_not_used(tmp_path):
    source, target = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    write_clip(source, frames=30, has_sound=False)

    def breaks(image: Tensor) -> Tensor:
        if image.mean() > 0.401:
            raise KeyboardInterrupt
        return 1 - twice(image)

    with pytest.raises(KeyboardInterrupt):
        video.enhance_video(source, target, breaks, key="negative")
    assert any(tmp_path.glob(".out.mp4.*.parts-*/*.nut"))
    video.enhance_video(source, target, twice, key="twice")
    before, after = decode(source)[0], decode(target)[0]
    assert abs(after[0][::2, ::2].astype(int) - before[0]).mean() < 3


def test_a_clip_that_a_phone_filmed_upright_comes_out_upright(tmp_path):
    source = tmp_path / "clip.mp4"
    write_clip(source, frames=3)
    before = decode(source)[0][0]
    turn(source)
    video.enhance_video(source, tmp_path / "out.mp4", twice, key="")
    after = decode(tmp_path / "out.mp4")[0][0]
    assert after.shape == (2 * WIDTH, 2 * HEIGHT, 3)
    # A quarter turn to the right: what was at the left is at the top.
    upright = np.rot90(before, -1)
    assert abs(after[::2, ::2].astype(int) - upright).mean() < 3


def test_flicker_of_the_model_is_held_down_and_a_cut_is_not():
    rng = np.random.default_rng(0)
    scenes = [torch.full((3, 8, 8), 0.3)] * 40 + [torch.full((3, 8, 8), 0.6)] * 40
    flicker = [float(rng.normal(0, 0.04)) for _ in scenes]
    colour = video.SteadyColour()
    means = torch.tensor(
        [
            float(colour.steady(scene + shift, scene).mean())
            for scene, shift in zip(scenes, flicker, strict=True)
        ]
    )
    unsteady = torch.tensor(flicker)
    assert means[10:40].diff().abs().mean() < 0.2 * unsteady[10:40].diff().abs().mean()
    assert means[40] - means[39] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sound.mp4", "has no video stream"),
        ("text.mp4", "text.mp4 is damaged or no video"),
        ("none.mp4", "does"),
    ],
)
def test_what_is_no_video_is_reported_in_one_line_and_leaves_nothing(
    tmp_path, capsys, name, message
):
    write_clip(tmp_path / "sound.mp4", has_video=False)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(SystemExit):
        cli.main(
            ["enhance", str(tmp_path / name), "-o", str(tmp_path / "out.mp4"), "--model", "bicubic"]
        )
    output = capsys.readouterr().err
    assert message in output
    assert "Traceback" not in output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sound.mp4", "text.mp4"]


def test_a_result_of_an_unknown_container_is_refused(tmp_path):
    with pytest.raises(ParamsError, match=r"must end in \.mp4"):
        video.enhance_video(tmp_path / "a.mp4", tmp_path / "a.gif", twice, key="")


def test_a_missing_video_is_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        video.enhance_video(tmp_path / "a.mp4", tmp_path / "b.mp4", twice, key="")


def test_the_command_enlarges_a_clip_and_leaves_what_is_there(tmp_path, capsys):
    source, target = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    write_clip(source, frames=4)
    arguments = ["enhance", str(source), "-o", str(target), "--scale", "2", "--model", "bicubic"]
    cli.main(arguments)
    assert decode(target)[0][0].shape == (2 * HEIGHT, 2 * WIDTH, 3)
    assert "1 enhanced" in capsys.readouterr().out
    made = target.stat().st_mtime_ns
    cli.main(arguments)
    assert target.stat().st_mtime_ns == made
    assert "1 already there" in capsys.readouterr().out


def test_videos_and_images_of_a_folder_are_enhanced_one_by_one(tmp_path, capsys):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write_clip(source / "a.mp4", frames=2)
    write_clip(source / "b.avi", frames=2, has_sound=False)
    images.write(source / "c.png", torch.zeros(3, 8, 8))
    (source / "d.ts").write_text("no video")
    with pytest.raises(SystemExit):
        cli.main(["enhance", str(source), "-o", str(target), "--scale", "2", "--model", "bicubic"])
    output = capsys.readouterr()
    assert "3 enhanced, 0 already there, 1 failed" in output.out
    assert "d.ts is damaged or no video" in output.err
    assert sorted(path.name for path in target.iterdir()) == ["a.mp4", "b.avi.mkv", "c.png"]
    assert len(decode(target / "b.avi.mkv")[0]) == 2


def test_several_videos_named_one_by_one_go_into_a_folder(tmp_path, capsys):
    for name in ("a.mp4", "b.mkv"):
        write_clip(tmp_path / name, frames=2, has_sound=False)
    # A video by its content.
    (tmp_path / "b.mkv").rename(tmp_path / "b")
    inputs = [str(tmp_path / "a.mp4"), str(tmp_path / "b")]
    cli.main(["enhance", *inputs, "-o", str(tmp_path / "out"), "--scale", "2", "--model=bicubic"])
    assert "2 enhanced" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mp4", "b.mkv"]
    with pytest.raises(SystemExit):
        cli.main(["enhance", *inputs, "-o", str(tmp_path / "both.mp4"), "--model=bicubic"])
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--ray", "local"], ["--sheet", "x.png"]])
def test_options_that_are_for_images_are_refused(tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        cli.main(["enhance", "clip.mp4", "-o", str(tmp_path / "out.mp4"), *option])
    assert "are for images" in capsys.readouterr().err
