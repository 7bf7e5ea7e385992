"""Images from strangers: checked before decoding, nothing carried over, only our errors."""

import io
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from conftest import DASHBOARD, image_bytes, mutated, resident_mib
from PIL import Image, ImageCms

import intake

MIB = 1024 * 1024


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(side):
    """A PNG of black pixels, a thousandth of their size."""
    compressor = zlib.compressobj(9)
    row = bytes(1 + 3 * side)
    body = b"".join(compressor.compress(row) for _ in range(side)) + compressor.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def with_size(data, width, height):
    """The same PNG with another size in its header."""
    header = struct.pack(">II", width, height) + data[24:29]
    return data[:8] + chunk(b"IHDR", header) + data[33:]


def refused(data):
    with pytest.raises(intake.RefusedError) as caught:
        intake.decode(data)
    return caught.value


@pytest.mark.slow
@pytest.mark.parametrize("side", [9000, 13000, 14000])
def test_a_decompression_bomb_costs_neither_time_nor_memory(tmp_path, side):
    file = tmp_path / "bomb.png"
    file.write_bytes(bomb(side))
    code = (
        f"import sys, resource, time; sys.path.insert(0, {str(DASHBOARD)!r}); import intake\n"
        f"data = open({str(file)!r}, 'rb').read()\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = peak()\n"
        "try: intake.check(data); print('taken')\n"
        "except intake.RefusedError as error: print(error.code, peak() - before)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    code, grown = found.stdout.split()
    assert code == "too_many_pixels"
    assert float(grown) < 50


@pytest.mark.parametrize("side", [9000, 13000, 14000, 60000])
def test_an_image_with_too_many_pixels_is_refused_by_its_header(side):
    error = refused(with_size(image_bytes(), side, side))
    assert error.code == "too_many_pixels"
    assert "megapixels" in str(error)


def test_the_text_of_too_many_pixels_names_size_and_limit():
    assert str(refused(with_size(image_bytes(), 9000, 9000))) == (
        "It is 9000 x 9000 (81 megapixels); the limit is 16 megapixels. "
        "Make it smaller and try again."
    )


def test_a_long_thin_image_has_a_text_of_its_own():
    assert "no side may be longer than 8192 pixels" in str(refused(image_bytes(9000, 20)))


def test_a_compressed_text_that_unpacks_to_80_megabytes_is_refused():
    text = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80_000_000), 9))
    data = image_bytes()
    assert refused(data[:33] + text + data[33:]).code == "damaged"


def test_limits_themselves_pass_and_one_more_does_not():
    data = image_bytes()
    assert intake.check(data + bytes(intake.MAX_BYTES - len(data)))
    assert refused(data + bytes(intake.MAX_BYTES - len(data) + 1)).code == "too_big"
    assert intake.check(with_size(data, 4000, 4000)).width == 4000
    assert refused(with_size(data, 4000, 4001)).code == "too_many_pixels"
    assert intake.check(with_size(data, 8192, 16)).height == 16
    assert refused(with_size(data, 8193, 16)).code == "too_many_pixels"
    assert intake.check(image_bytes(16, 16))
    assert refused(image_bytes(16, 15)).code == "too_small"


@pytest.mark.parametrize("part", range(1, 11))
def test_a_photograph_that_was_cut_off_is_refused(part):
    data = image_bytes(200, 150, "JPEG", quality=95)
    assert refused(data[: len(data) * part // 11]).code in {"damaged", "not_an_image"}


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<html><script>alert(1)</script>",
        b"%PDF-1.4",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
        image_bytes(64, 64, "GIF"),
        image_bytes(64, 64, "BMP"),
        image_bytes(64, 64, "TIFF"),
        image_bytes(64, 64, "ICO"),
        b"PK\x03\x04" + bytes(100),
        bytes(1000),
    ],
)
def test_other_types_are_refused_whatever_their_name(data):
    assert refused(data).code == "not_an_image"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation):
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[:20, :30] = (255, 0, 0)
    image = Image.fromarray(upright)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    if orientation in undo:
        image = image.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, exif=exif)
    header = intake.check(buffer.getvalue())
    assert (header.width, header.height) == (60, 40)
    decoded = intake.decode(buffer.getvalue())
    assert decoded.shape == (3, 40, 60)
    assert decoded[0, 5, 5] > 0.8
    assert decoded[0, 35, 55] < 0.2


def test_an_srgb_profile_changes_nothing_and_a_strange_one_is_no_fault():
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    plain = intake.decode(image_bytes(seed=3))
    same = intake.decode(image_bytes(seed=3, icc_profile=srgb.tobytes()))
    assert (plain - same).abs().max() < 2 / 255
    # A profile of another kind is no reason to fail.
    assert intake.decode(image_bytes(seed=3, icc_profile=lab.tobytes())).shape == plain.shape


def adobe_rgb():
    """The profile of Adobe RGB (1998), section 4.3: gamma 563/256, white D65, its own green."""

    def table(*cells):
        offset, tags, body = 128 + 4 + 12 * len(cells), b"", b""
        for name, data in cells:
            tags += name + struct.pack(">II", offset + len(body), len(data))
            body += data + bytes(-len(data) % 4)
        return struct.pack(">I", len(cells)) + tags + body

    def xyz(*values):
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(v * 65536) for v in values))

    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, 563)
    text = b"desc" + bytes(4) + struct.pack(">I", 6) + b"Adobe\0" + bytes(78)
    # The primaries' colours, adapted to D50 (ICC.1, annex E).
    body = table(
        (b"desc", text),
        (b"wtpt", xyz(0.9642, 1, 0.8249)),
        (b"rXYZ", xyz(0.60974, 0.31111, 0.01947)),
        (b"gXYZ", xyz(0.20528, 0.62567, 0.06087)),
        (b"bXYZ", xyz(0.14919, 0.06322, 0.74457)),
        (b"rTRC", curve),
        (b"gTRC", curve),
        (b"bTRC", curve),
    )
    head = struct.pack(
        ">I4sI4s4s4s12s4s",
        128 + len(body),
        b"",
        0x02100000,
        b"mntr",
        b"RGB ",
        b"XYZ ",
        b"",
        b"acsp",
    )
    head += bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + body


def test_colours_of_adobe_rgb_are_brought_to_srgb():
    # Skin as Adobe RGB writes it; the triple is that of the same colour in sRGB.
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (225, 180, 149)).save(buffer, "PNG", icc_profile=adobe_rgb())
    skin = (intake.decode(buffer.getvalue())[:, 16, 16] * 255).round().tolist()
    assert skin == pytest.approx((241, 181, 149), abs=2)


def test_place_camera_and_comment_are_gone_from_the_result(project):
    import service

    exif = Image.Exif()
    exif[0x010F] = "SecretPhone"
    exif.get_ifd(0x8825)[1] = "N"
    data = image_bytes(48, 40, "JPEG", exif=exif, comment=b"hidden words")
    enhanced = service.enhance(data, service.Settings())
    for file_format in service.FORMATS:
        made = service.encode(enhanced, file_format)
        assert b"SecretPhone" not in made
        assert b"hidden words" not in made
        tags = Image.open(io.BytesIO(made)).getexif()
        assert set(tags) == {0x0131}
        assert tags[0x0131].startswith("facesr ")


def test_whatever_pillow_allows_the_pages_own_limit_holds(monkeypatch):
    data = with_size(image_bytes(), 14000, 14000)
    for limit in (None, 1000, 100_000_000):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        assert refused(data).code == "too_many_pixels"
        assert intake.check(image_bytes(16, 16)).width == 16


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("![x](http://evil/y.png)", r"\!\[x\]\(http\://evil/y\.png\)"),
        ("<b>a</b>", r"\<b\>a\</b\>"),
        ("a\nb :smile: $x$", r"a b \:smile\: \$x\$"),
    ],
)
def test_names_are_escaped_for_markdown(name, shown):
    assert intake.plain(name) == shown


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("../../etc/passwd.png", "passwd"),
        ("C:\\x\\me & you.jpg", "me_you"),
        ("...", "image"),
        ("/", "image"),
        ("ж" * 100 + ".png", "ж" * 60),
    ],
)
def test_downloads_get_names_that_stay_in_their_folder(name, stem):
    assert intake.stem(name) == stem


def fuzz(count):
    rng = random.Random(7)
    seeds = [
        image_bytes(48, 40, kind, **options)
        for kind, options in [
            ("JPEG", {"quality": 90}),
            ("JPEG", {"progressive": True}),
            ("PNG", {}),
            ("WEBP", {}),
            ("WEBP", {"lossless": True}),
        ]
    ]
    outcomes = {"taken": 0}
    for _ in range(count):
        try:
            image = intake.decode(mutated(rng, rng.choice(seeds)))
        except intake.RefusedError as error:
            outcomes[error.code] = outcomes.get(error.code, 0) + 1
        else:
            assert 0 <= image.min() <= image.max() <= 1
            outcomes["taken"] += 1
    # Decoders are reached, and not every change is harmless.
    assert count / 10 < outcomes["taken"] < count
    assert outcomes.get("damaged", 0) + outcomes.get("not_an_image", 0) > 0
    return outcomes


def test_a_hundred_mutated_images_raise_nothing_but_our_error():
    fuzz(100)


@pytest.mark.slow
def test_two_thousand_mutated_images_raise_nothing_but_our_error_and_keep_no_memory():
    fuzz(200)
    before = resident_mib()
    fuzz(2000)
    assert resident_mib() - before < 50
