import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from facesr import photos
from facesr.enhancer import Enhancer
from facesr.errors import DataError, ParamsError
from facesr.photos import Photo, encode, fill_transparent

HEIGHT, WIDTH = 20, 28
GPS, CAMERA, ORIENTATION, AUTHOR = 0x8825, 0x8769, 0x0112, 0x013B
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def drawn(mode="RGB"):
    """A picture whose four corners differ, with the modes' own peculiarities."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    rgb = np.stack([rows * 12, columns * 9, (rows + columns) * 5], -1).astype(np.uint8)
    alpha = np.where(columns < WIDTH // 2, 0, 255).astype(np.uint8)
    if mode == "I;16":
        return Image.fromarray((rows * 40 + columns).astype(np.uint16))
    if mode in ("RGBA", "LA"):
        picture = Image.fromarray(rgb).convert(mode.removesuffix("A"))
        picture.putalpha(Image.fromarray(alpha))
        return picture
    picture = Image.fromarray(rgb)
    return picture.quantize(256) if mode == "P" else picture.convert(mode)


def saved(picture, file_format, **options):
    buffer = io.BytesIO()
    if file_format == "WEBP":
        options["lossless"] = True
    if file_format == "JPEG":
        options |= {"quality": 100, "subsampling": "4:4:4"}
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()


def reopened(data):
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


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
    enlarged, _ = Enhancer.bicubic().enhance_photo(photo, scale=2)
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
    # The same picture: reduced again it is the original, up to what the compression costs.
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


def test_a_profile_of_no_picture_colours_is_left_out():
    photo = photos.read(saved(drawn(), "PNG", icc_profile=LAB))
    assert photo.profile is None
    assert "icc_profile" not in reopened(encode(photo)).info


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_a_dark_16_bit_picture_keeps_depth_and_level(file_format):
    values = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) % 200
    photo = photos.read(saved(Image.fromarray(values), file_format))
    assert photo.depth == 16
    result = reopened(encode(photo))
    assert result.mode == "I;16"
    assert np.array_equal(np.asarray(result), values)


def test_transparent_pixels_leave_no_halo():
    # Black lies hidden beneath the transparent half of a white picture.
    colours = torch.zeros(3, 32, 32)
    colours[:, :, 16:] = 1
    alpha = torch.zeros(1, 32, 32)
    alpha[..., 16:] = 1
    photo = Photo(colours, alpha=alpha)
    assert fill_transparent(photo).colour.min() > 0.95
    enlarged, _ = Enhancer.bicubic().enhance_photo(photo, scale=4)
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
def test_the_first_picture_of_several_is_taken_and_said_so(file_format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    photo = photos.read(saved(frames[0], file_format, save_all=True, append_images=frames[1:]))
    assert "only the first picture is taken" in photo.notes[0]
    assert photo.colour[0].mean() > 0.9 > 0.1 > photo.colour[2].mean()


def test_a_large_picture_is_refused_before_it_is_decoded():
    data = saved(drawn(), "PNG")
    with pytest.raises(DataError, match="has 28 x 20 pixels, more than 100"):
        photos.read(data[: len(data) // 2], max_pixels=100)
    with pytest.raises(ParamsError, match="would have 112 x 80 pixels, more than 1000"):
        Enhancer.bicubic().enhance_photo(photos.read(data), scale=4, max_pixels=1000)


@pytest.mark.parametrize("cut", [10, 60, 200])
def test_a_damaged_file_is_told(cut):
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8))
    with pytest.raises(DataError, match="not a picture|damaged"):
        photos.read(saved(noise, "JPEG")[:cut])


def test_a_picture_too_large_for_its_format_is_told():
    with pytest.raises(DataError, match="cannot be written as webp .* such as png"):
        encode(Photo(torch.zeros(3, 2, 17000)), file_format="webp")


@pytest.mark.parametrize("mode", ["RGB", "I;16", "RGBA", "L"])
def test_a_picture_at_scale_one_is_not_harmed(mode):
    original = drawn(mode)
    enhanced, _ = Enhancer.bicubic().enhance_photo(photos.read(saved(original, "PNG")), scale=1)
    result = np.asarray(reopened(encode(enhanced)))
    wanted = np.asarray(original)
    if mode == "RGBA":
        wanted, result = wanted[wanted[..., 3] > 0], result[result[..., 3] > 0]
    assert np.array_equal(result, wanted)
