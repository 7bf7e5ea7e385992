import io

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageOps, IptcImagePlugin
from PIL.PngImagePlugin import PngInfo

from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.errors import DataError, ParamsError
from facesr.images import metadata, photos, sixteen_bit, tiff
from facesr.images.photos import Photo, encode, fill_transparent

HEIGHT, WIDTH = 20, 28
GPS, CAMERA, ORIENTATION, AUTHOR = 0x8825, 0x8769, 0x0112, 0x013B
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def drawn(mode="RGB"):
    """An image whose four corners differ, with the modes' own peculiarities."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    rgb = np.stack([rows * 12, columns * 9, (rows + columns) * 5], -1).astype(np.uint8)
    alpha = np.where(columns < WIDTH // 2, 0, 255).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray((rows * 40 + columns).astype(np.uint16))
    if mode in ("RGBA", "LA"):
        image = Image.fromarray(rgb).convert(mode.removesuffix("A"))
        image.putalpha(Image.fromarray(alpha))
        return image
    image = Image.fromarray(rgb)
    return image.quantize(256) if mode == "P" else image.convert(mode)


def saved(image, file_format, **options):
    buffer = io.BytesIO()
    if file_format == "WEBP":
        options["lossless"] = True
    if file_format == "JPEG":
        options |= {"quality": 100, "subsampling": "4:4:4"}
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def reopened(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


MODES = {
    "JPEG": ("L", "RGB", "CMYK"),
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"),
}
KEPT = {"1": "L", "P": "RGB", "CMYK": "RGB"}


@pytest.mark.parametrize("profile", ["absent", "present", "broken"])
@pytest.mark.parametrize(
    ("file_format", "mode"), [(name, mode) for name, modes in MODES.items() for mode in modes]
)
def test_every_mode_and_format_comes_out_as_it_went_in(file_format, mode, profile):
    original = drawn(mode)
    options = {} if profile == "absent" else {"icc_profile": SRGB}
    if profile == "broken":
        options["icc_profile"] = b"no profile"
    photo = photos.read(saved(original, file_format, **options))
    enlarged, _ = Enhancer.bicubic().enhance_photo(photo, EnhanceOptions(scale=2))
    result = reopened(encode(enlarged, quality=100))

    assert result.size == (2 * WIDTH, 2 * HEIGHT)
    assert result.format == file_format
    assert result.mode == KEPT.get(mode, mode)
    has_profile = profile == "present" and mode in ("RGB", "RGBA", "P")
    assert ("icc_profile" in result.info) == has_profile
    assert any("profile cannot be read" in note for note in photo.notes) == (
        # The profile at hand is one of RGB: it says nothing about printing colours.
        profile == "broken" or (profile == "present" and mode == "CMYK")
    )
    assert any("CMYK" in note for note in photo.notes) == (mode == "CMYK")
    # The same image: reduced again it is the original, up to what the compression costs.
    reduced = result.resize((WIDTH, HEIGHT), Image.Resampling.BOX)
    wanted = original.convert(result.mode) if mode in KEPT else original
    a, b = (np.asarray(each, dtype=float) for each in (reduced, wanted))
    if mode == "1":
        return
    depth = 65535 if mode == "I;16" else 255
    if mode in ("LA", "RGBA"):
        b, a = b[:, WIDTH // 2 + 2 :], a[:, WIDTH // 2 + 2 :]
    assert np.abs(a - b).mean() / depth < 0.012


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_come_out_upright(orientation, file_format):
    turn_back = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    upright = drawn()
    stored = upright if turn_back is None else upright.transpose(turn_back)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    photo = photos.read(saved(stored, file_format, exif=exif))
    result = reopened(encode(photo, quality=100))
    assert result.getexif().get(ORIENTATION, 1) == 1
    difference = np.asarray(result, dtype=float) - np.asarray(upright, dtype=float)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("keep_gps", [False, True])
def test_the_author_is_kept_and_the_place_only_if_asked_for(file_format, keep_gps):
    exif = Image.Exif()
    exif[AUTHOR] = "Anna"
    exif.get_ifd(CAMERA)[0x829A] = 0.01  # exposure time
    exif.get_ifd(CAMERA)[0xA002] = 12345  # width that was
    exif.get_ifd(GPS)[1] = "N"
    photo = photos.read(saved(drawn(), file_format, exif=exif.tobytes()), keep_gps=keep_gps)
    kept = reopened(encode(photo, software="facesr test")).getexif()
    assert kept[AUTHOR] == "Anna"
    assert kept[0x0131] == "facesr test"
    assert float(kept.get_ifd(CAMERA)[0x829A]) == pytest.approx(0.01)
    assert 0xA002 not in kept.get_ifd(CAMERA)
    assert bool(kept.get_ifd(GPS)) == keep_gps
    stripped = reopened(encode(photo, keep_metadata=False, software="facesr test")).getexif()
    assert AUTHOR not in stripped
    assert stripped[0x0131] == "facesr test"
    assert not stripped.get_ifd(GPS)


def wide_profile():
    """An RGB profile with red and blue exchanged: conversions are seen at once."""
    data = bytearray(SRGB)
    entries = {bytes(data[132 + 12 * i : 136 + 12 * i]): 132 + 12 * i for i in range(data[131])}
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    data[red + 4 : red + 12], data[blue + 4 : blue + 12] = (
        data[blue + 4 : blue + 12],
        data[red + 4 : red + 12],
    )
    return bytes(data)


def test_colours_are_converted_to_srgb_and_back():
    data = saved(Image.new("RGB", (8, 8), (200, 40, 40)), "PNG", icc_profile=wide_profile())
    photo = photos.read(data)
    assert photo.colour[2].mean() > 0.7 > 0.3 > photo.colour[0].mean()
    result = reopened(encode(photo))
    assert result.info["icc_profile"] == wide_profile()
    assert np.abs(np.asarray(result, dtype=int) - (200, 40, 40)).max() <= 3


def test_a_profile_of_no_image_colours_is_left_out():
    photo = photos.read(saved(drawn(), "PNG", icc_profile=LAB))
    assert photo.profile is None
    assert "icc_profile" not in reopened(encode(photo)).info


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_a_dark_16_bit_image_keeps_depth_and_level(file_format):
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) % 200
    photo = photos.read(saved(Image.fromarray(values), file_format))
    assert photo.depth == 16
    result = reopened(encode(photo))
    assert result.mode == "I;16"
    assert np.array_equal(np.asarray(result), values)


DEEP = [
    *[("png", channels) for channels in (2, 3, 4)],
    *[("tiff", channels) for channels in (3, 4)],
]


def deep_pixels(channels):
    """Dark values, one level apart, of which 8 bits would leave nothing."""
    pixels = np.arange(HEIGHT * WIDTH * channels, dtype=np.uint16) % 200
    pixels = pixels.reshape(HEIGHT, WIDTH, channels)
    if channels in (2, 4):
        pixels[..., -1] = 40_000 + np.arange(WIDTH)
    return pixels


def deep_file(pixels, file_format, *, exif=None, **options):
    exif = exif or Image.Exif()
    if file_format == "png":
        return sixteen_bit.encode_png(pixels, exif=exif.tobytes(), **options)
    return tiff.encode(pixels, metadata.Metadata(exif), **options)


def deep_values(data, file_format):
    """What a file holds, by libraries that are not ours."""
    if file_format == "png":
        return imagecodecs.png_decode(data)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        return file.asarray()


@pytest.mark.parametrize(("file_format", "channels"), DEEP)
def test_16_bits_of_colour_and_transparency_come_out_as_they_went_in(file_format, channels):
    pixels = deep_pixels(channels)
    photo = photos.read(deep_file(pixels, file_format))
    assert (photo.depth, photo.is_grey, photo.notes) == (16, channels == 2, ())
    assert np.array_equal(deep_values(encode(photo), file_format), pixels)
    enlarged, _ = Enhancer.bicubic().enhance_photo(photo, EnhanceOptions(scale=2))
    values = deep_values(encode(enlarged), file_format)
    assert values.shape == (2 * HEIGHT, 2 * WIDTH, channels)
    assert len(np.unique(values)) > 100


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_16_bit_tiff_of_other_programs_is_read(byteorder, planarconfig, compression):
    pixels = deep_pixels(3)
    buffer = io.BytesIO()
    tifffile.imwrite(
        buffer,
        np.moveaxis(pixels, -1, 0) if planarconfig == "separate" else pixels,
        photometric="rgb",
        planarconfig=planarconfig,
        compression=compression,
        byteorder=byteorder,
    )
    photo = photos.read(buffer.getvalue())
    assert np.array_equal(deep_values(encode(photo), "tiff"), pixels)


def test_16_bit_colours_that_were_multiplied_by_alpha_are_divided_again():
    pixels = deep_pixels(4)
    pixels[..., :3] *= 100
    multiplied = pixels.copy()
    multiplied[..., :3] = np.rint(pixels[..., :3] * (pixels[..., 3:] / 65535))
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, multiplied, photometric="rgb", extrasamples=["assocalpha"])
    values = deep_values(encode(photos.read(buffer.getvalue())), "tiff").astype(int)
    assert np.abs(values - pixels).max() <= 1


def test_printing_colours_of_16_bits_are_reported_to_be_read_as_8():
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, deep_pixels(4), photometric="separated")
    photo = photos.read(buffer.getvalue())
    assert photo.depth == 8
    assert "16 bits are read as 8" in photo.notes[0]


@pytest.mark.parametrize("file_format", ["png", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_colour_is_turned_as_pillow_turns_it(orientation, file_format):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    pixels = np.asarray(drawn()).astype(np.uint16) * 257
    photo = photos.read(deep_file(pixels, file_format, exif=exif))
    stored = reopened(saved(drawn(), "PNG", exif=exif))
    wanted = np.asarray(ImageOps.exif_transpose(stored))
    assert np.array_equal(deep_values(encode(photo), file_format), wanted.astype(int) * 257)
    assert reopened(encode(photo)).getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("file_format", ["png", "tiff"])
def test_16_bit_colours_are_converted_to_srgb_and_back_at_full_depth(file_format):
    pixels = np.zeros((4, 256, 3), np.uint16)
    pixels[..., 0] = 40_000 + np.arange(256)
    photo = photos.read(deep_file(pixels, file_format, profile=wide_profile()))
    assert photo.colour[2].mean() > 0.5 > 0.2 > photo.colour[0].mean()
    assert photo.profile == wide_profile()
    values = deep_values(encode(photo), file_format).astype(int)
    assert np.abs(values - pixels).max() < 20
    assert len(np.unique(values[..., 0])) > 200
    assert reopened(encode(photo)).info["icc_profile"] == wide_profile()


@pytest.mark.parametrize("profile", [LAB, b"no profile"])
def test_a_profile_that_does_not_fit_16_bit_colour_is_left_out(profile):
    photo = photos.read(deep_file(deep_pixels(3), "png", profile=profile))
    assert photo.profile is None
    assert "profile cannot be read" in photo.notes[0]


@pytest.mark.parametrize(("file_format", "channels"), DEEP)
def test_damage_to_a_16_bit_file_is_reported(file_format, channels):
    data = deep_file(deep_pixels(channels), file_format)
    with pytest.raises(DataError, match="damaged"):
        photos.read(data[: len(data) * 2 // 3] if file_format == "png" else data[:-40])


XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
 xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
 tiff:Orientation="6" exif:GPSLatitude="48,12.5N" photoshop:City="Vienna">
 <exif:GPSLongitude>16,22E</exif:GPSLongitude><exif:PixelXDimension>9</exif:PixelXDimension>
 <dc:creator><rdf:Seq><rdf:li>Anna</rdf:li></rdf:Seq></dc:creator>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
IPTC = b"\x1c\x02\x50\0\x04Anna" + b"\x1c\x02\x5a\0\x06Vienna"


def with_texts(file_format, depth=8):
    """A file with XMP and, where the format has a place for it, IPTC."""
    if depth == 16 and file_format == "PNG":
        return sixteen_bit.encode_png(deep_pixels(3), xmp=XMP)
    if file_format == "TIFF":
        pixels = deep_pixels(3) if depth == 16 else np.asarray(drawn())
        return tiff.encode(pixels, metadata.Metadata(Image.Exif(), XMP, IPTC))
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    own = {
        "JPEG": {"xmp": XMP, "extra": metadata.jpeg_segment(IPTC)},
        "PNG": {"pnginfo": info},
        "WEBP": {"xmp": XMP},
    }
    return saved(drawn(), file_format, **own[file_format])


@pytest.mark.parametrize(
    ("file_format", "depth"),
    [("JPEG", 8), ("PNG", 8), ("WEBP", 8), ("TIFF", 8), ("PNG", 16), ("TIFF", 16)],
)
@pytest.mark.parametrize("keep_gps", [False, True])
def test_xmp_and_iptc_are_kept_but_for_the_place_and_what_is_stale(file_format, depth, keep_gps):
    photo = photos.read(with_texts(file_format, depth), keep_gps=keep_gps)
    assert photo.depth == depth
    result = reopened(encode(photo))
    packet = bytes(result.info["xmp"])
    assert b"Anna" in packet
    assert not [word for word in (b"Orientation", b"PixelXDimension") if word in packet]
    for word in (b"48,12.5N", b"16,22E", b"Vienna"):
        assert (word in packet) == keep_gps
    found = IptcImagePlugin.getiptcinfo(result) or {}
    if file_format in ("JPEG", "TIFF"):
        assert found[2, 80] == b"Anna"
        assert ((2, 90) in found) == keep_gps
    stripped = encode(photo, keep_metadata=False)
    assert b"Anna" not in stripped
    assert b"Vienna" not in stripped


@pytest.mark.parametrize("packet", [b"<x:xmpmeta", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"])
def test_xmp_that_cannot_be_read_is_left_out_and_reported(packet):
    photo = photos.read(saved(drawn(), "WEBP", xmp=packet))
    assert "XMP metadata cannot be read" in photo.notes[0]
    assert "xmp" not in reopened(encode(photo)).info


@pytest.mark.parametrize("length", [70_000, 7_000_000])
def test_xmp_too_long_for_a_jpeg_is_left_out_there_alone(length):
    packet = XMP.replace(b"Anna", b"A" * length)
    photo = photos.read(saved(drawn(), "WEBP", xmp=packet))
    assert "xmp" not in reopened(encode(photo, file_format="jpeg")).info
    assert len(reopened(encode(photo)).info["xmp"]) > length


def test_transparent_pixels_leave_no_halo():
    # Black lies hidden beneath the transparent half of a white image.
    colours = torch.zeros(3, 32, 32)
    colours[:, :, 16:] = 1
    alpha = torch.zeros(1, 32, 32)
    alpha[..., 16:] = 1
    photo = Photo(colours, alpha=alpha)
    assert fill_transparent(photo).colour.min() > 0.95
    enlarged, _ = Enhancer.bicubic().enhance_photo(photo, EnhanceOptions(scale=4))
    result = np.asarray(reopened(encode(enlarged)), dtype=float)
    seen = result[..., 3] > 0
    assert result[seen][:, :3].min() >= 0.95 * 255
    edge = result[64, :, 3]
    assert {0.0, 255.0} < set(edge)  # smooth: there are values between
    assert (np.diff(edge) >= 0).all()


def test_an_opaque_alpha_channel_is_none():
    photo = photos.read(saved(drawn().convert("RGBA"), "PNG"))
    assert photo.alpha is None


def test_transparency_is_laid_on_white_where_the_format_has_none():
    colours = torch.zeros(3, 16, 16)
    photo = Photo(colours, alpha=torch.zeros(1, 16, 16))
    assert np.asarray(reopened(encode(photo, file_format="jpeg"))).min() > 250


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_image_of_several_is_taken_and_reported(file_format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    photo = photos.read(saved(frames[0], file_format, save_all=True, append_images=frames[1:]))
    assert "only the first image is taken" in photo.notes[0]
    assert photo.colour[0].mean() > 0.9 > 0.1 > photo.colour[2].mean()


def test_a_large_image_is_refused_before_it_is_decoded():
    data = saved(drawn(), "PNG")
    with pytest.raises(DataError, match="has 28 x 20 pixels, more than 100"):
        photos.read(data[: len(data) // 2], max_pixels=100)
    with pytest.raises(ParamsError, match="would have 112 x 80 pixels, more than 1000"):
        Enhancer.bicubic().enhance_photo(
            photos.read(data), EnhanceOptions(scale=4), max_pixels=1000
        )


@pytest.mark.parametrize("cut", [10, 60, 200])
def test_a_damaged_file_is_reported(cut):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="not an image|damaged"):
        photos.read(saved(noise, "JPEG")[:cut])


def test_an_image_too_large_for_its_format_is_reported():
    with pytest.raises(DataError, match="cannot be written as webp .* such as png"):
        encode(Photo(torch.zeros(3, 2, 17000)), file_format="webp")


@pytest.mark.parametrize("mode", ["RGB", "I;16", "RGBA", "L"])
def test_an_image_at_scale_one_is_not_harmed(mode):
    original = drawn(mode)
    enhanced, _ = Enhancer.bicubic().enhance_photo(
        photos.read(saved(original, "PNG")), EnhanceOptions(scale=1)
    )
    result = np.asarray(reopened(encode(enhanced)))
    wanted = np.asarray(original)
    if mode == "RGBA":
        wanted, result = wanted[wanted[..., 3] > 0], result[result[..., 3] > 0]
    assert np.array_equal(result, wanted)
