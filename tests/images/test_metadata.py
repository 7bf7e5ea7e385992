"""Metadata of image files is kept, or its loss is reported."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from facesr import images
from facesr.enhance.enhancer import EnhanceOptions, Enhancer
from facesr.images import photos

CAMERA = 0x8769
SIZE = (24, 16)
FORMATS = ("png", "jpeg", "tiff", "webp")


def encoded(file_format="PNG", mode="RGB", **options):
    buffer = io.BytesIO()
    Image.new(mode, SIZE, 60).save(buffer, file_format, **options)
    return buffer.getvalue()


def text_png(depth=8):
    texts = PngInfo()
    texts.add_text("Author", "Jürgen Nobody")
    texts.add_text("parameters", "a face, 20 steps" * 100, zip=True)
    texts.add_itxt("Title", "顔", lang="ja", tkey="題")
    texts.add_text("Comment", "a comment")
    texts.add_text("Software", "Another program")
    texts.add_text("exif:GPSLatitude", "52/1, 31/1")
    texts.add_text("Raw profile type iptc", "\niptc\n 4\n00000000\n")
    if depth == 8:
        return encoded(pnginfo=texts)
    buffer = io.BytesIO()
    pixels = np.full((*SIZE[::-1],), 40_000, np.uint16)
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=texts)
    return buffer.getvalue()


@pytest.mark.parametrize("depth", [8, 16])
def test_texts_of_a_png_are_kept_in_a_png(depth):
    photo = photos.read(text_png(depth))
    with Image.open(io.BytesIO(photos.encode(photo, software="facesr"))) as result:
        result.load()
        texts = dict(result.text)
    assert texts.pop("Author") == "Jürgen Nobody"
    assert texts.pop("parameters") == "a face, 20 steps" * 100
    title = texts.pop("Title")
    assert (title, title.lang, title.tkey) == ("顔", "ja", "題")
    assert texts == {"Comment": "a comment"}
    assert photo.notes == ("the text Raw profile type iptc is left out",)
    assert not photos.losses(photo, "png")


@pytest.mark.parametrize("file_format", ["jpeg", "tiff", "webp"])
def test_texts_of_a_png_that_another_format_does_not_hold_are_named(file_format):
    losses = " ".join(photos.losses(photos.read(text_png()), file_format))
    for keyword in ("Author", "parameters", "Title"):
        assert keyword in losses
    assert ("Comment" in losses) == (file_format != "jpeg")
    assert not photos.losses(photos.read(text_png()), file_format, keep_metadata=False)


@pytest.mark.parametrize("source", ["JPEG", "GIF"])
@pytest.mark.parametrize("file_format", ["png", "jpeg"])
def test_the_comment_of_a_jpeg_or_gif_is_kept(source, file_format):
    data = encoded(source, "L", comment=b"by nobody")
    result = photos.encode(photos.read(data), file_format=file_format)
    with Image.open(io.BytesIO(result)) as image:
        image.load()
        found = image.info.get("comment") or image.text["Comment"].encode()
    assert found == b"by nobody"


def test_no_metadata_means_no_texts():
    result = photos.encode(photos.read(text_png()), keep_metadata=False)
    assert b"Nobody" not in result
    assert b"tEXt" not in result


XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
 xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"
 xmlns:aux="http://ns.adobe.com/exif/1.0/aux/" aux:OwnerName="Nobody" aux:SerialNumber="123456"
 xmlns:HDRGainMap="http://ns.apple.com/HDRGainMap/1.0/" HDRGainMap:HDRGainMapVersion="65536"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="3">%s</rdf:Description>
</rdf:RDF></x:xmpmeta>"""
CONTAINER = """<Container:Directory xmlns:Container="http://ns.google.com/photos/1.0/container/"/>
<hdrgm:GainMapMax>2.3</hdrgm:GainMapMax>"""


@pytest.mark.parametrize(
    "data",
    [
        encoded("JPEG", xmp=(XMP % CONTAINER).encode()),
        encoded("JPEG") + b"\xff\xd8 hdrgm http://ns.adobe.com/hdr-gain-map/1.0/",
        encoded("JPEG") + b"urn:com:apple:photo:2020:aux:hdrgainmap",
        encoded("JPEG", extra=b"\xff\xe2\0\x20urn:iso:std:iso:ts:21496:-1\0\0\0"),
    ],
    ids=["adobe", "behind", "apple", "iso"],
)
@pytest.mark.parametrize("file_format", FORMATS)
def test_the_loss_of_a_gain_map_is_reported_and_nothing_claims_it(data, file_format):
    photo = photos.read(data)
    assert any("HDR" in note and "gain map" in note for note in photo.notes)
    result = photos.encode(photo, file_format=file_format)
    assert b"hdrgm" not in result
    assert b"HDRGainMap" not in result
    assert b"Container" not in result
    assert (b'Rating="3"' in result) == (b"Rating" in data)


@pytest.mark.parametrize("keep_gps", [False, True])
@pytest.mark.parametrize("file_format", FORMATS)
def test_owner_and_serial_numbers_go_with_the_place(file_format, keep_gps):
    exif = Image.Exif()
    exif.get_ifd(CAMERA).update(
        {0xA430: "Olga Owner", 0xA431: "BODY4711", 0xA435: "LENS4711", 0xA434: "a lens"}
    )
    data = encoded("JPEG", exif=exif, xmp=(XMP % "").encode())
    result = photos.encode(photos.read(data, keep_gps=keep_gps), file_format=file_format)
    assert b"a lens" in result
    for personal in (b"Olga Owner", b"BODY4711", b"LENS4711", b"OwnerName", b"123456"):
        assert (personal in result) == keep_gps


def test_exif_that_a_jpeg_does_not_hold_is_left_out_and_reported():
    exif = Image.Exif()
    exif[0x010E] = "x" * 70_000
    photo = photos.read(encoded("PNG", exif=exif))
    assert any("EXIF" in loss for loss in photos.losses(photo, "jpeg"))
    assert not photos.losses(photo, "png")
    with Image.open(io.BytesIO(photos.encode(photo, file_format="jpeg", software="s"))) as result:
        assert dict(result.getexif()) == {0x0131: "s"}


@pytest.mark.parametrize(
    ("data", "file_format", "words"),
    [
        (text_png(16), "webp", "16 bits"),
        (text_png(16), "jpeg", "16 bits"),
        (encoded("PNG", "LA", dpi=(300, 300)), "jpeg", "transparency"),
        (encoded("PNG", dpi=(300, 300)), "webp", "resolution"),
    ],
)
def test_what_a_format_does_not_hold_is_named(data, file_format, words):
    assert any(words in loss for loss in photos.losses(photos.read(data), file_format))


def test_transparent_pixels_are_filled_once(monkeypatch):
    done = []
    fill = images.fill_beneath

    def counted(colour, alpha):
        done.append(colour.shape)
        return fill(colour, alpha)

    monkeypatch.setattr(images, "fill_beneath", counted)
    for faces in ("off", "only"):
        photo = photos.read(encoded("PNG", "LA"))
        Enhancer.bicubic().enhance_photo(photo, EnhanceOptions(scale=2, faces=faces))
        assert done.count((3, *SIZE[::-1])) == 1
        done.clear()


def test_windows_titles_are_kept():
    exif = Image.Exif()
    exif[0x9C9B] = "a title".encode("utf-16-le")
    photo = photos.read(encoded("JPEG", exif=exif))
    for file_format in FORMATS:
        result = photos.encode(photo, file_format=file_format)
        assert "a title".encode("utf-16-le") in result


def test_a_text_that_lies_about_its_length_is_damage_and_no_crash():
    data = encoded("PNG")
    chunk = (
        struct.pack(">I", 2**31 - 1) + b"tEXt" + b"Author\0x" + struct.pack(">I", zlib.crc32(b""))
    )
    with pytest.raises(Exception, match="the image is"):
        photos.read(data[:33] + chunk + data[33:])
