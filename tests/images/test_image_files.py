"""Image files of every layout, by path and by pipe."""

import io
import struct
import zlib
from fractions import Fraction

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from facesr import images
from facesr.errors import DataError
from facesr.images import photos, png, tiff_reader

HEIGHT, WIDTH = 20, 29
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
DRAWN = np.stack([ROWS * 12 + 3, COLUMNS * 8, (ROWS + COLUMNS) * 5], -1)
PNG_SRGB_CHRM = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
ADOBE_CHRM = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)


def drawn(bits, channels):
    """(H, W, C) of a grey or coloured image, the further channels half and whole."""
    kind = np.uint16 if bits > 8 else np.uint8
    highest = 2**bits - 1
    colours = (DRAWN / 255 * highest).astype(kind)[..., : 3 if channels > 2 else 1]
    more = np.where(COLUMNS > 10, highest, highest // 2)[..., None].astype(kind)
    return np.concatenate([colours] + [more] * (channels - colours.shape[-1]), -1)


def tiff_of(pixels, photometric, orientation=1, **options):
    buffer = io.BytesIO()
    if options.get("planarconfig") == "separate":
        pixels = np.moveaxis(pixels, -1, 0)
    tifffile.imwrite(
        buffer,
        pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels,
        photometric=photometric,
        metadata=None,
        extratags=[(274, 3, 1, orientation, True)],
        **options,
    )
    return buffer.getvalue()


def expected(pixels, orientation=1):
    values = tiff_reader.apply_orientation(pixels / np.iinfo(pixels.dtype).max, orientation)
    return np.moveaxis(values[..., [0, 0, 0] if values.shape[-1] < 3 else [0, 1, 2]], -1, 0)


def both_ways(tmp_path, data, name="file.tif"):
    """The colours that each reader gives, by path and by pipe."""
    path = tmp_path / name
    path.write_bytes(data)
    for source in (path, data):
        yield photos.read(source).colour.numpy()
        yield images.read(source).numpy()


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    ("photometric", "channels"),
    [("minisblack", 1), ("miniswhite", 1), ("minisblack", 2), ("miniswhite", 2), ("rgb", 3)]
    + [("rgb", 4), ("rgb", 5)],
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "lzw", "tile": (16, 16)},
        {"compression": "deflate", "predictor": True, "byteorder": ">"},
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "packbits", "tile": (16, 16)},
        {"bigtiff": True, "rowsperstrip": 3},
    ],
    ids=str,
)
def test_every_layout_of_tiff_is_read_by_path_and_by_pipe(
    tmp_path, bits, photometric, channels, options
):
    if channels == 1 and "planarconfig" in options:
        options = {"compression": options.get("compression")}
    pixels = drawn(bits, channels)
    extra = channels - (3 if photometric == "rgb" else 1)
    more = {"extrasamples": ["unspecified"] * extra} if extra else {}
    data = tiff_of(pixels, photometric, **more, **options)
    if photometric == "miniswhite":
        pixels = np.iinfo(pixels.dtype).max - pixels
    for found in both_ways(tmp_path, data):
        assert found == pytest.approx(expected(pixels), abs=1.01 / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "I;16", "LAB"]
)
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_a_turned_tiff_is_upright_by_path_and_by_pipe(tmp_path, mode, orientation, compression):
    if mode == "I;16":
        image = Image.fromarray(drawn(16, 1)[..., 0])
    else:
        rgb = Image.fromarray(DRAWN.astype(np.uint8))
        image = rgb.quantize(64) if mode == "P" else rgb.convert("RGB" if mode == "LAB" else mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF", compression=compression, tiffinfo={274: orientation})
    straight = io.BytesIO()
    image.save(straight, "TIFF", compression=compression)
    upright = images.read(straight.getvalue()).numpy()
    wanted = np.moveaxis(
        tiff_reader.apply_orientation(np.moveaxis(upright, 0, -1), orientation), -1, 0
    )
    for found in both_ways(tmp_path, buffer.getvalue()):
        assert found == pytest.approx(wanted, abs=1e-6)


def bilevel_or_nibbles(bits, photometric):
    """An uncompressed grey TIFF of 1, 4 or 12 bits a pixel, which tifffile does not write."""
    highest = 2**bits - 1
    values = (DRAWN[..., 0] * highest / 255).astype(np.uint16)
    shifts = np.arange(bits - 1, -1, -1)
    rows = np.packbits(((values[..., None] >> shifts) & 1).astype(np.uint8).reshape(HEIGHT, -1), 1)
    tags = [(256, 3, WIDTH), (257, 3, HEIGHT), (258, 3, bits), (259, 3, 1), (262, 3, photometric)]
    tags += [(273, 4, 8 + 2 + 12 * 9 + 4), (277, 3, 1), (278, 3, HEIGHT), (279, 4, rows.size)]
    packed = b"".join(
        struct.pack(
            "<HHIHH" if kind == 3 else "<HHII",
            tag,
            kind,
            1,
            *([value, 0] if kind == 3 else [value]),
        )
        for tag, kind, value in tags
    )
    data = b"II*\0" + struct.pack("<IH", 8, len(tags)) + packed + b"\0\0\0\0" + rows.tobytes()
    return data, values / highest


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4, 12])
def test_grey_of_few_or_odd_bits_is_no_negative(tmp_path, bits, photometric):
    data, values = bilevel_or_nibbles(bits, photometric)
    wanted = 1 - values if photometric == 0 else values
    for found in both_ways(tmp_path, data):
        assert found[1] == pytest.approx(wanted, abs=1.01 / 255)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_a_preview_and_a_mask_before_the_image_are_passed_over(tmp_path, bits, is_old):
    buffer = io.BytesIO()
    large = drawn(bits, 3)
    with tifffile.TiffWriter(buffer) as file:
        small = {"extratags": [(255, 3, 1, 2, True)]} if is_old else {"subfiletype": 1}
        file.write(large[::2, ::2], photometric="rgb", metadata=None, **small)
        if not is_old:
            file.write(large[..., 0], photometric="minisblack", metadata=None, subfiletype=1)
        file.write(large, photometric="rgb", metadata=None)
    data = buffer.getvalue()
    if not is_old:
        place = data.rindex(struct.pack("<HHII", 254, 4, 1, 1))
        data = data[:place] + struct.pack("<HHII", 254, 4, 1, 4) + data[place + 12 :]
    for found in both_ways(tmp_path, data):
        assert found == pytest.approx(expected(large), abs=1.01 / 255)
    assert not photos.read(data).notes


def test_a_layout_that_pillow_does_not_know_keeps_profile_resolution_and_texts():
    data = tiff_of(
        drawn(16, 5),
        "rgb",
        extrasamples=["unspecified"] * 2,
        resolution=(300, 150),
        description="a description",
        iccprofile=b"x" * 200,
    )
    photo = photos.read(data)
    assert photo.dpi == (300, 150)
    assert photo.metadata.exif[270] == "a description"
    assert any("profile cannot be read" in note for note in photo.notes)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (tiff_of(drawn(8, 3).astype(np.float32), "rgb"), "3 x 32-bit floating-point"),
        (tiff_of(drawn(8, 1).astype(np.float16), "minisblack"), "1 x 16-bit floating"),
        (tiff_of(drawn(8, 1).astype(np.float32), "minisblack"), "1 x 32-bit floating"),
        (tiff_of(drawn(8, 1).astype(np.int16), "minisblack"), "1 x 16-bit signed"),
        (tiff_of(drawn(16, 3).astype(np.uint32), "rgb"), "3 x 32-bit integers"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "is HEIC; convert it to JPEG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(100), "is HEIC; convert it to JPEG"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avif" + bytes(100), "is AVIF; convert it to JPEG"),
        (b"\0\0\0\x18ftypisom" + bytes(100), "is a video"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100), "is JPEG XL"),
        (b"%PDF-1.7" + bytes(100), "is PDF"),
        (b"II*\0\x08\0\0\0", "is damaged"),
        (b"hello", "is not an image"),
    ],
)
def test_what_is_not_read_is_called_what_it_is(tmp_path, data, words):
    path = tmp_path / "IMG_1"
    path.write_bytes(data)
    for reader in (images.read, photos.read):
        with pytest.raises(DataError, match=f"IMG_1.* {words}"):
            reader(path)


@pytest.mark.parametrize("compression", [None, "deflate", "lzw"])
def test_a_tiff_that_breaks_off_is_damaged(compression):
    data = tiff_of(drawn(8, 3), "rgb", compression=compression, tile=(16, 16))
    for reader in (images.read, photos.read):
        with pytest.raises(DataError, match="damaged"):
            reader(data[:-300])


def png_of(pixels, *chunks):
    return png.insert(
        imagecodecs.png_encode(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels),
        [png.Chunk(*chunk) for chunk in chunks],
    )


def gama(gamma):
    return b"gAMA", struct.pack(">I", round(gamma * 100_000))


def chrm(places):
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in places))


def linear(values):
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("gamma", [1.0, 1 / 1.8, 0.3])
def test_a_png_with_gamma_looks_as_before(bits, channels, gamma):
    pixels = drawn(bits, channels)
    highest = np.iinfo(pixels.dtype).max
    colours = slice(0, 3 if channels > 2 else 1)
    stored = pixels.copy()
    stored[..., colours] = np.rint(linear(pixels[..., colours] / highest) ** gamma * highest)
    data = png_of(stored, gama(gamma))
    photo = photos.read(data)
    # Linear light in 8 bits leaves dark tones few steps.
    assert photo.colour.numpy() == pytest.approx(expected(pixels), abs=0.03 if bits == 8 else 1e-3)
    assert any("gAMA" in note for note in photo.notes)
    assert b"gAMA" not in photos.encode(photo)
    if channels in (1, 3):
        assert images.read(data).numpy() == pytest.approx(expected(pixels), abs=0.05)


@pytest.mark.parametrize("bits", [8, 16])
def test_primaries_of_a_png_are_those_that_its_profile_would_give(bits):
    white = np.full((4, 4, 3), 2**bits - 1, np.uint16 if bits > 8 else np.uint8)
    found = photos.read(png_of(white, gama(1 / 2.2), chrm(ADOBE_CHRM))).colour
    assert found.numpy() == pytest.approx(1, abs=1e-3)
    # Values of Adobe RGB (1998) for sRGB (0.5, 0.6, 0.4), by its specification's matrices.
    stored = np.array([0.5267, 0.5967, 0.4104])
    pixels = np.rint(np.broadcast_to(stored, (4, 4, 3)) * (2**bits - 1)).astype(white.dtype)
    found = photos.read(png_of(pixels, gama(1 / 2.2), chrm(ADOBE_CHRM))).colour[:, 0, 0]
    assert found.numpy() == pytest.approx([0.5, 0.6, 0.4], abs=0.01)


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [gama(1 / 2.2)],
        [gama(0.45455), chrm(PNG_SRGB_CHRM)],
        [(b"sRGB", b"\0"), gama(1.0)],
        [(b"cICP", b"\x01\x0d\0\x01"), gama(1.0)],
        [(b"iCCP", b"name\0\0" + zlib.compress(b"broken")), gama(1.0)],
        [gama(0)],
        [chrm([0] * 8), gama(1.0)],
    ],
    ids=str,
)
def test_gamma_counts_only_where_nothing_better_and_no_nonsense_stands(chunks):
    pixels = drawn(8, 3)
    assert photos.read(png_of(pixels, *chunks)).colour.numpy() == pytest.approx(expected(pixels))


@pytest.mark.parametrize(
    "chunk",
    [(b"cICP", b"\x09\x10\0\x01"), (b"cICP", b"\x09\x12\0\x01"), (b"mDCV", bytes(24))]
    + [(b"cLLi", bytes(8))],
)
def test_hdr_of_a_png_is_lost_and_reported(chunk):
    assert any("HDR" in note for note in photos.read(png_of(drawn(16, 3), chunk)).notes)


@pytest.mark.parametrize("file_format", ["png", "jpeg", "tiff", "webp"])
@pytest.mark.parametrize(
    "rational", [(0, 0), (1, 0), (0, 1), (1, 4_000_000), (4_000_000_000, 1)], ids=str
)
def test_a_resolution_that_is_no_number_is_left_out_and_reported(rational, file_format):
    data = bytearray(tiff_of(drawn(8, 3), "rgb", resolution=(Fraction(72), Fraction(72))))
    for tag in (282, 283):
        place = data.index(struct.pack("<HHI", tag, 5, 1))
        offset = struct.unpack_from("<I", data, place + 8)[0]
        struct.pack_into("<II", data, offset, *rational)
    photo = photos.read(bytes(data))
    assert photo.dpi is None
    if rational[0]:
        assert any("resolution" in note for note in photo.notes)
    assert images.read(photos.encode(photo, file_format=file_format)).shape == photo.colour.shape


def test_a_preview_alone_is_read_and_called_so():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, drawn(8, 3), photometric="rgb", metadata=None, subfiletype=1)
    photo = photos.read(buffer.getvalue())
    assert photo.colour.shape == (3, HEIGHT, WIDTH)
    assert any("preview" in note for note in photo.notes)


def test_no_resolution_is_made_up_and_pixels_that_are_not_square_are_reported():
    data, _ = bilevel_or_nibbles(4, 1)
    assert photos.read(data).dpi is None
    square, wide = (
        photos.read(png_of(drawn(8, 3), (b"pHYs", struct.pack(">IIB", 2, down, 0))))
        for down in (2, 1)
    )
    assert not square.notes
    assert any("not square (2:1)" in note for note in wide.notes)


def test_a_limit_above_that_of_pillow_counts():
    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 0, 0, 0, 0)
    data = png.SIGNATURE + (
        struct.pack(">I4s", 13, b"IHDR") + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    data = png.insert(data, [png.Chunk(b"IDAT", b""), png.Chunk(b"IEND", b"")])
    with images.opened(data, max_pixels=200_000_000) as image:
        assert image.size == (20_000, 10_000)
    with pytest.raises(DataError, match="more than 199999999"):
        photos.read(data, max_pixels=199_999_999)
    with pytest.raises(DataError, match="too large to be opened safely"):
        images.read(data)


def test_a_fault_of_the_program_is_no_damage_of_the_file():
    with pytest.raises(TypeError), images.opened(png_of(drawn(8, 3))):
        raise TypeError
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    with pytest.raises(DataError, match="damaged"):
        images.read(png_of(noise)[:-200])


def test_a_gamma_of_one_keeps_black_and_white():
    colours = png.Colours(1.0, PNG_SRGB_CHRM)
    image = torch.tensor([0.0, 0.5, 1.0]).expand(3, 1, 3)
    assert png.to_srgb(image, colours)[0, 0].tolist() == pytest.approx([0, 0.7354, 1], abs=1e-3)
