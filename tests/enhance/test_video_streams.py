"""Streams beside the frames of a video are in the result, or their loss is reported."""

import struct
import threading
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from facesr import images
from facesr.enhance import video, video_streams
from facesr.errors import DataError

av = pytest.importorskip("av")

FRAMES, RATE = 12, 25
HEIGHT, WIDTH = 32, 48
HEADER = (
    b"[Script Info]\nScriptType: v4.00+\n\n[V4+ Styles]\nFormat: Name\n\n[Events]\nFormat: Text\n"
)


def twice(image: Tensor) -> Tensor:
    size = (2 * image.shape[-2], 2 * image.shape[-1])
    return images.resize(image, size, "bicubic").clamp(0, 1)


def plane(value: float) -> "av.VideoFrame":
    pixels = np.full((HEIGHT, WIDTH, 3), value, np.uint8)
    return av.VideoFrame.from_ndarray(pixels, format="rgb24")


def write_film(
    path: Path,
    *,
    frames: int = FRAMES,
    start: float = 0,
    shape: Fraction | None = None,
    sounds: tuple[str, ...] = ("eng",),
    subtitles: tuple[str, ...] = (),
    cover: str = "",
    attachment: bool = False,
    chapters: bool = False,
    tags: dict[str, str] | None = None,
    container: str | None = None,
    codec: str = "libx264",
    sound_codec: str = "aac",
    times: list[int] | None = None,
    rate: Fraction = Fraction(RATE),
    hdr: bool = False,
) -> None:
    """Grey that grows brighter, 25 frames a second, with what is asked for.

    A `cover` of "track" stands before the film as a track of one frame, one of "tag" is marked.
    """
    with av.open(str(path), "w", container) as output:
        output.metadata.update(tags or {})
        still = None
        if cover == "track":
            still = output.add_stream("mjpeg", rate=RATE)
            still.width, still.height, still.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
            still.disposition = 0
        film = output.add_stream(codec, rate=rate)
        film.width, film.height, film.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        film.codec_context.time_base = Fraction(1, 1200) if times else 1 / rate
        if times:
            film.options = {"bf": "0"}
        if hdr:
            # The curve of SMPTE ST 2084.
            film.codec_context.color_trc = 16
        if shape:
            film.codec_context.sample_aspect_ratio = shape
        film.disposition = av.stream.Disposition.default
        if cover == "tag":
            still = output.add_stream("mjpeg", rate=RATE)
            still.width, still.height, still.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
            still.disposition = av.stream.Disposition.attached_pic
        tracks = [output.add_stream(sound_codec, rate=44100, layout="mono") for _ in sounds]
        for track, language in zip(tracks, sounds, strict=True):
            track.metadata.update(language=language, title=f"in {language}")
        texts = [output.add_stream("srt") for _ in subtitles]
        for text, language in zip(texts, subtitles, strict=True):
            text.metadata["language"] = language
            text.codec_context.subtitle_header = HEADER
            text.codec_context.time_base = text.time_base = Fraction(1, 1000)
        if subtitles:
            texts[-1].disposition = av.stream.Disposition.forced
        if attachment:
            output.add_attachment("font.ttf", "font/ttf", b"a font")
        if chapters:
            half = {"time_base": Fraction(1, 1000), "metadata": {}}
            output.set_chapters(
                [
                    half | {"id": 1, "start": 0, "end": 500, "metadata": {"title": "One"}},
                    half | {"id": 2, "start": 500, "end": 1000, "metadata": {"title": "Two"}},
                ]
            )
        if still:
            for packet in [*still.encode(plane(250)), *still.encode(None)]:
                packet.pts = packet.dts = 0
                output.mux(packet)
        for index in range(frames):
            frame = plane(40 + 4 * index)
            at = times[index] if times else index + round(rate * start)
            frame.pts, frame.time_base = at, film.codec_context.time_base
            if times:
                frame.duration = ([*times, times[-1] + 100][index + 1]) - times[index]
            output.mux(film.encode(frame))
        output.mux(film.encode(None))
        for track in tracks:
            for begin in range(0, 44100 * frames // RATE, 1024):
                tone = np.sin(np.arange(begin, begin + 1024) / 20)[None].astype(np.float32) / 4
                frame = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
                frame.sample_rate, frame.time_base = 44100, Fraction(1, 44100)
                frame.pts = begin + round(44100 * start)
                output.mux(track.encode(frame))
            output.mux(track.encode(None))
        for text, language in zip(texts, subtitles, strict=True):
            line = f"0,0,Default,,0,0,0,,hello in {language}".encode()
            packet = text.codec_context.encode_subtitle(
                av.subtitles.subtitle.SubtitleSet.create(line, 0, 400)
            )
            packet.pts = packet.dts = 100
            packet.duration, packet.time_base, packet.stream = 400, Fraction(1, 1000), text
            output.mux(packet)


def enhance(source: Path, target: Path, **options) -> video.VideoResult:
    return video.enhance_video(source, target, twice, key="", **options)


def seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return container.duration / 1_000_000


def kinds(path: Path) -> list[tuple[str, str | None]]:
    with av.open(str(path)) as container:
        return [(stream.type, stream.language) for stream in container.streams]


def texts(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        packets = [p for p in container.demux() if p.stream.type == "subtitle" and p.size > 2]
        return [bytes(packet).decode(errors="replace").lstrip("\0\x0c") for packet in packets]


def test_an_anamorphic_film_that_is_turned_keeps_its_proportions(tmp_path):
    source, target = tmp_path / "film.mp4", tmp_path / "out.mp4"
    write_film(source, shape=Fraction(2))
    content = bytearray(source.read_bytes())
    # The display matrix of a quarter turn.
    start = content.index(b"tkhd") + 4 + 40
    content[start : start + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    source.write_bytes(content)
    enhance(source, target)
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (2 * HEIGHT, 2 * WIDTH)
        assert stream.sample_aspect_ratio == Fraction(1, 2)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_an_anamorphic_film_keeps_its_proportions(tmp_path, suffix):
    source, target = tmp_path / "film.mp4", tmp_path / f"out{suffix}"
    write_film(source, shape=Fraction(2))
    enhance(source, target)
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == (2 * WIDTH, 2 * HEIGHT)
        assert stream.sample_aspect_ratio == 2


def test_matroska_keeps_sounds_subtitles_languages_titles_chapters_attachments_and_covers(tmp_path):
    source, target = tmp_path / "film.mkv", tmp_path / "out.mkv"
    write_film(
        source,
        sounds=("eng", "ger"),
        subtitles=("eng", "fre"),
        attachment=True,
        chapters=True,
        tags={"title": "My film"},
    )
    assert enhance(source, target).notes == ()
    assert kinds(target) == kinds(source)
    assert texts(target) == texts(source) == ["hello in eng", "hello in fre"]
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert after.metadata["title"] == "My film"
        assert after.chapters() == before.chapters()
        assert after.streams.attachments[0].data == b"a font"
        assert after.streams.audio[1].metadata["title"] == "in ger"
        for stream, copy in zip(before.streams, after.streams, strict=True):
            assert copy.disposition == stream.disposition


def test_mp4_takes_several_text_subtitles_and_chapters_of_matroska(tmp_path):
    source, target = tmp_path / "film.mkv", tmp_path / "out.mp4"
    write_film(source, sounds=("eng", "ger"), subtitles=("eng", "fre"), chapters=True)
    assert enhance(source, target).notes == ()
    assert [kind for kind in kinds(target) if kind[0] != "data"] == [
        (kind, language or "und") for kind, language in kinds(source)
    ]
    assert texts(target) == ["hello in eng", "hello in fre"]
    with av.open(str(target)) as container:
        assert [each["metadata"]["title"] for each in container.chapters()] == ["One", "Two"]
    # The track in which MP4 keeps the titles of chapters is no loss.
    again = enhance(target, tmp_path / "again.mkv")
    assert again.notes == ()
    assert texts(tmp_path / "again.mkv") == ["hello in eng", "hello in fre"]


def test_what_the_container_cannot_hold_is_reported(tmp_path):
    source = tmp_path / "film.mkv"
    write_film(source, attachment=True)
    (note,) = enhance(source, tmp_path / "out.mp4").notes
    assert ".mp4 cannot hold it: 1 attachment" in note
    # Positions of an aircraft, as its camera writes them.
    with av.open(str(tmp_path / "film.ts"), "w") as output, av.open(str(source)) as film:
        data = output.add_data_stream("klv")
        stream = output.add_stream_from_template(film.streams.video[0], opaque=True)
        for packet in film.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
        packet = av.Packet(b"position")
        packet.stream, packet.pts, packet.dts, packet.time_base = data, 0, 0, Fraction(1, 90_000)
        output.mux(packet)
    (note,) = enhance(tmp_path / "film.ts", tmp_path / "out.mkv").notes
    assert "1 data (klv)" in note


def test_hdr_is_refused_by_name(tmp_path):
    source = tmp_path / "film.mp4"
    write_film(source, sounds=(), hdr=True)
    with pytest.raises(DataError, match=r"film\.mp4 is HDR"):
        enhance(source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize(
    ("name", "sound_codec", "suffix"),
    [("film.avi", "adpcm_ms", ".mkv"), ("film.mkv", "flac", ".mov")],
)
def test_sound_that_the_container_cannot_hold_is_converted(tmp_path, name, sound_codec, suffix):
    source, target = tmp_path / name, tmp_path / f"out{suffix}"
    write_film(source, sound_codec=sound_codec, frames=25)
    (note,) = enhance(source, target).notes
    assert f"{sound_codec} to aac" in note
    assert seconds(target) == pytest.approx(1, abs=0.15)
    with av.open(str(target)) as container:
        heard = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
    # The root mean square of a sine of a quarter of the full amplitude.
    assert np.sqrt((heard**2).mean()) == pytest.approx(0.177, abs=0.03)
    assert len(heard) == pytest.approx(44100, rel=0.1)


@pytest.mark.parametrize(("cover", "suffix"), [("track", ".mkv"), ("tag", ".mp4")])
def test_a_cover_is_kept_and_the_film_is_enhanced(tmp_path, cover, suffix):
    source, target = tmp_path / f"film{suffix}", tmp_path / f"out{suffix}"
    write_film(source, cover=cover)
    assert enhance(source, target).frames == FRAMES
    with av.open(str(target)) as container:
        film, still = container.streams.video
        assert (film.width, still.width) == (2 * WIDTH, WIDTH)
        assert sum(1 for _ in container.decode(film)) == FRAMES


def test_a_cover_in_mp4_becomes_one_in_matroska_and_its_loss_in_mov_is_reported(tmp_path):
    source, target = tmp_path / "film.mp4", tmp_path / "out.mkv"
    write_film(source, cover="tag")
    assert enhance(source, target).notes == ()
    with av.open(str(target)) as container:
        still = container.streams.video[1]
        assert still.disposition & av.stream.Disposition.attached_pic
    assert "1 cover" in enhance(source, tmp_path / "out.mov").notes[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".flv"])
def test_a_film_that_breaks_off_is_refused_and_leaves_nothing(tmp_path, suffix):
    source = tmp_path / f"film{suffix}"
    write_film(source, frames=50)
    content = source.read_bytes()
    if suffix == ".mp4":
        # The index first, as films for the web have it.
        with (
            av.open(str(source)) as original,
            av.open(
                str(tmp_path / "web.mp4"), "w", container_options={"movflags": "faststart"}
            ) as output,
        ):
            copies = {s.index: output.add_stream_from_template(s) for s in original.streams}
            for packet in original.demux():
                if packet.size:
                    packet.stream = copies[packet.stream_index]
                    output.mux(packet)
        content = (tmp_path / "web.mp4").read_bytes()
        (tmp_path / "web.mp4").unlink()
    source.write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DataError, match=r"film\.\w+ is incomplete: it breaks off after \d"):
        enhance(source, tmp_path / "out.mkv")
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize("name", ["film.ts", "film.mpg"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_recording_whose_clock_starts_late_lasts_as_long_as_before(tmp_path, name, suffix):
    source, target = tmp_path / name, tmp_path / f"out{suffix}"
    write_film(
        source,
        start=20_000,
        codec="libx264" if name == "film.ts" else "mpeg2video",
        sound_codec="aac" if name == "film.ts" else "mp2",
    )
    enhance(source, target)
    assert seconds(target) == pytest.approx(seconds(source), abs=0.1)
    with av.open(str(source)) as before, av.open(str(target)) as after:
        sync, synced = (
            float(each.streams.video[0].start_time * each.streams.video[0].time_base)
            - float(each.streams.audio[0].start_time * each.streams.audio[0].time_base)
            for each in (before, after)
        )
    assert synced == pytest.approx(sync, abs=0.03)


def test_damage_that_a_recording_shows_is_reported(tmp_path):
    source = tmp_path / "film.ts"
    write_film(source, frames=50)
    content = source.read_bytes()
    # Ten packets of transport are lost.
    source.write_bytes(content[: 188 * 20] + content[188 * 30 :])
    assert "damaged" in enhance(source, tmp_path / "out.mkv").notes[0]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("rate", [Fraction(12), Fraction(24000, 1001), Fraction(60000, 1001)])
def test_the_average_rate_stays(tmp_path, suffix, rate):
    source, target = tmp_path / "film.mkv", tmp_path / f"out{suffix}"
    write_film(source, rate=rate, sounds=())
    enhance(source, target)
    with av.open(str(source)) as before, av.open(str(target)) as after:
        assert after.streams.video[0].average_rate == before.streams.video[0].average_rate
        assert float(after.streams.video[0].average_rate) == pytest.approx(float(rate), rel=1e-4)


def test_frames_of_varying_length_keep_them_to_the_last(tmp_path):
    source, target = tmp_path / "film.mp4", tmp_path / "out.mp4"
    write_film(
        source, sounds=(), times=[0, 50, 400, 420, 900, 1000, 1100, 1150, 1500, 1600, 1900, 2400]
    )
    enhance(source, target)
    with av.open(str(source)) as before, av.open(str(target)) as after:
        shown, still_shown = (
            [frame.pts * frame.time_base for frame in each.decode(video=0)]
            for each in (before, after)
        )
    assert still_shown == shown
    assert seconds(target) == pytest.approx(seconds(source), abs=0.002)


def test_the_tags_of_a_phone_are_kept_and_the_loss_of_others_is_reported(tmp_path):
    source, target = tmp_path / "film.mov", tmp_path / "out.mov"
    tags = {"com.apple.quicktime.make": "Apple", "com.apple.quicktime.location.ISO6709": "+48+11/"}
    with pytest.MonkeyPatch.context() as patch:
        opened = av.open
        options = {"movflags": "use_metadata_tags"}
        patch.setattr(av, "open", lambda *given: opened(*given, container_options=options))
        write_film(source, tags=tags)
    assert enhance(source, target).notes == ()
    with av.open(str(target)) as container:
        assert container.metadata["com.apple.quicktime.make"] == "Apple"
        assert not any("location" in name for name in container.metadata)
    write_film(tmp_path / "film.mkv", tags={"CAMERA_MOOD": "fine", "COMMENT": "Mine"})
    (note,) = enhance(tmp_path / "film.mkv", tmp_path / "out.mp4", software="facesr").notes
    assert "camera_mood" in note
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.metadata["comment"] == "Mine; facesr"
        assert container.streams.audio[0].metadata["name"] == "in eng"
    enhance(tmp_path / "out.mp4", tmp_path / "again.mkv")
    with av.open(str(tmp_path / "again.mkv")) as container:
        assert container.streams.audio[0].metadata["title"] == "in eng"


def test_the_place_of_a_film_is_left_out_unless_it_is_asked_for(tmp_path):
    source = tmp_path / "film.mp4"
    write_film(source, tags={"location": "+48.1-011.5/", "title": "Home"})
    enhance(source, tmp_path / "out.mp4")
    enhance(source, tmp_path / "gps.mp4", keep_gps=True)
    enhance(source, tmp_path / "strip.mp4", keep_metadata=False)
    for name, tags in (("out", {"title"}), ("gps", {"title", "location"}), ("strip", set())):
        with av.open(str(tmp_path / f"{name}.mp4")) as container:
            assert {"title", "location"} & set(container.metadata) == tags


def test_the_parts_of_a_neighbour_stay_and_ones_own_go(tmp_path):
    source, target = tmp_path / "film.mp4", tmp_path / "clip[1].mp4"
    write_film(source)

    for name in ("clip1.mp4", "clip[1].mp4"):
        folder = video._hidden(tmp_path / name, "parts-0123456789ab")
        folder.mkdir()
        (folder / "000000.json").touch()
    enhance(source, target)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left[1:] == ["clip[1].mp4", "film.mp4"]
    assert left[0].startswith(".clip1.mp4.")


@pytest.mark.parametrize("stem", ["n" * 251, "ü" * 125, "100 % [a] \n *?"])
def test_a_result_may_have_any_name(tmp_path, stem):
    source, target = tmp_path / "film.mp4", tmp_path / f"{stem}.mp4"
    write_film(source)
    enhance(source, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["film.mp4", target.name])


def test_two_at_a_time_make_one_result_after_the_other(tmp_path):
    source, target = tmp_path / "film.mp4", tmp_path / "out.mp4"
    write_film(source)
    busy, most, failures = 0, 0, []

    def watched(image: Tensor) -> Tensor:
        nonlocal most
        most = max(most, busy)
        return twice(image)

    def work() -> None:
        nonlocal busy
        busy += 1
        try:
            video.enhance_video(source, target, watched, key="")
        except Exception as error:
            failures.append(error)

    both = [threading.Thread(target=work) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert (most, failures) == (2, [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mp4", "out.mp4"]


def test_a_video_is_known_by_its_content(tmp_path):
    write_film(tmp_path / "film", container="matroska")
    (tmp_path / "text").write_text("no video")
    assert video_streams.is_video(tmp_path / "film")
    assert not video_streams.is_video(tmp_path / "text")
    assert not video_streams.is_video(tmp_path / "none")
