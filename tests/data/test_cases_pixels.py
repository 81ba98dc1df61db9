"""Images as people have them: deep ones, turned ones, odd JPEGs, and what is too large.

8-bit images are compared with Pillow's upright RGB, deeper ones with the values that were written.
"""

import io
import logging
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cnn_jax.data import DataError, PixelRule, image_loader, open_source, train_batches
from cnn_jax.data.decode import decode_image, image_size
from cnn_jax.data.image_header import read_header
from tests.data.pictures import encode


def gradient(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 5 % 256, y * 7 % 256, (x + y) * 3 % 256], -1).astype(np.uint8)


GRADIENT = gradient(32, 48)
PICTURE = Image.fromarray(GRADIENT)
TURNED = Image.fromarray(GRADIENT[::-1, ::-1])
TWELVE = np.linspace(0, 4095, 32 * 48).reshape(32, 48).astype(np.uint16)


def saved(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def assert_as_pillow(data: bytes) -> None:
    np.testing.assert_array_equal(decode_image(data, upright=True), by_pillow(data))


def said(caplog, text: str) -> bool:
    return any(text in message for message in caplog.messages)


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


def xmp(orientation: int) -> bytes:
    return f'<x><rdf:Description tiff:Orientation="{orientation}"/></x>'.encode()


def with_segment(jpeg: bytes, *segments: tuple[int, bytes]) -> bytes:
    """A JPEG with application segments (marker, content) behind its first two bytes."""
    made = (
        b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content
        for marker, content in segments
    )
    return jpeg[:2] + b"".join(made) + jpeg[2:]


def deep_png(samples: np.ndarray) -> bytes:
    """A PNG of 16 bits a sample, uint16 [H, W, C]; each row is the difference to the one above."""
    height, width, channels = samples.shape
    rows = np.frombuffer(samples.astype(">u2").tobytes(), np.uint8).reshape(height, -1)
    above = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    filtered = b"".join(b"\2" + (row - up).tobytes() for row, up in zip(rows, above, strict=True))
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(filtered)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    )


def deep_tiff(samples: np.ndarray, order: str, *, deflated: bool) -> bytes:
    """A TIFF of 16 bits a sample, uint16 [H, W, 3], in one strip; TIFF 6.0, section 2."""
    height, width, channels = samples.shape
    pixels = samples.astype(order + "u2").tobytes()
    pixels = zlib.compress(pixels) if deflated else pixels
    bits_at = 8 + 2 + 10 * 12 + 4
    entries = [
        (256, width), (257, height), (258, bits_at), (259, 8 if deflated else 1), (262, 2),
        (273, bits_at + 2 * channels), (277, channels), (278, height), (279, len(pixels)), (284, 1),
    ]  # fmt: skip
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    for tag, value in entries:
        long = tag in (256, 257, 273, 278, 279)
        kind, count = (4, 1) if long else (3, channels if tag == 258 else 1)
        field = struct.pack(order + ("I" if long or tag == 258 else "H2x"), value)
        head += struct.pack(order + "HHI", tag, kind, count) + field
    return head + bytes(4) + struct.pack(order + "H", 16) * channels + pixels


# Odd JPEGs


def test_bytes_before_the_end_of_a_jpeg_are_ignored():
    data = encode(GRADIENT, format="JPEG", quality=90)
    for odd in (data[:-2] + b"\x12\x34\x56" * 4 + data[-2:], data + b"behind"):
        np.testing.assert_array_equal(decode_image(odd), by_pillow(data))
        assert decode_image(odd, channels=1).shape == (32, 48, 1)
        assert image_size(odd) == (32, 48)


def test_jpegs_of_any_sampling_are_those_of_pillow():
    data = encode(gradient(64, 64), format="JPEG", quality=90, subsampling=0)
    at = data.index(b"\xff\xc0") + 10  # to the first component of the frame header
    read = 0
    for name in ("111111", "311111", "131111", "221121", "421111", "141111", "121212", "222222"):
        odd = bytearray(data)
        for index, code in enumerate(bytes.fromhex(name)):
            odd[at + 3 * index + 1] = code
        try:
            expected = by_pillow(bytes(odd))
        except OSError:  # Pillow does not read this one either
            with pytest.raises((ValueError, OSError)):
                decode_image(bytes(odd))
            continue
        np.testing.assert_array_equal(decode_image(bytes(odd)), expected)
        assert image_size(bytes(odd)) == expected.shape[:2]
        read += 1
    assert read >= 7


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_that_was_cut_and_closed_is_refused(orientation):
    """Pillow fills what is missing with grey."""
    data = encode(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), format="JPEG")
    data = with_segment(data, (0xE1, b"Exif\0\0" + exif(orientation).tobytes()[6:]))
    assert_as_pillow(data)
    with pytest.raises(ValueError, match="premature end"):
        decode_image(data[: len(data) // 2] + b"\xff\xd9", upright=True)


# 16 bits and more


def test_16_bits_are_shifted_by_what_they_hold():
    full = np.linspace(0, 65535, 32 * 48).reshape(32, 48).astype(np.uint16)
    for samples, shift in (
        (full, 8),
        (full // 4, 6),
        (TWELVE, 4),
        (TWELVE // 4, 2),
        (TWELVE // 16, 0),
    ):
        for form in ("PNG", "TIFF"):
            decoded = decode_image(encode(samples, format=form), channels=1)[..., 0]
            np.testing.assert_array_equal(decoded, samples >> shift)
    decoded = decode_image(encode(full), rule=PixelRule(bits=12))[..., 1]
    np.testing.assert_array_equal(decoded, np.minimum(full >> 4, 255), "larger values are white")
    np.testing.assert_array_equal(
        decode_image(encode(TWELVE), rule=PixelRule(1))[..., 1], TWELVE >> 8
    )
    np.testing.assert_array_equal(decode_image(TWELVE[..., None], channels=1)[..., 0], TWELVE >> 4)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(("most", "shift"), [(255, 0), (4095, 4), (65535, 8)])
def test_deep_colours_and_alpha(channels, most, shift):
    """Pillow gives the high byte of each, which is 0 or little for 8 and 12 bits."""
    samples = np.random.default_rng(0).integers(0, most + 1, (9, 13, channels)).astype(np.uint16)
    samples[0, 0] = most
    expected = samples >> shift
    files = [deep_png(samples)]
    if channels == 3:
        files += [deep_tiff(samples, order, deflated=z) for order in "<>" for z in (False, True)]
    for data in files:
        np.testing.assert_array_equal(decode_image(data, channels=channels), expected)
    if channels in (2, 4):  # opaque, whatever the colours hold
        samples[..., -1] = 65535
        decoded = decode_image(deep_png(samples), channels=channels)
        np.testing.assert_array_equal(decoded[..., :-1], expected[..., :-1])


def test_32_bits_are_those_of_16_or_refused():
    whole = np.arange(48, dtype=np.int32).reshape(6, 8)
    decoded = decode_image(encode(whole + 200, format="TIFF"), channels=1)[..., 0]
    np.testing.assert_array_equal(decoded, whole + 200)
    decoded = decode_image(encode(whole * 1000, format="TIFF"), channels=1)[..., 0]
    np.testing.assert_array_equal(decoded, whole * 1000 >> 8)
    for wrong, said in ((whole - 1, "from -1 to 46"), (whole * 2000, "from 0 to 94000")):
        with pytest.raises(ValueError, match=f"{said}: wanted 0 to 65535. Save it with 8 or 16"):
            decode_image(encode(wrong, format="TIFF"))
    for floats in (whole / np.float32(47), whole.astype(np.float32)):
        with pytest.raises(ValueError, match="a floating-point image: save it with 8 or 16 bits"):
            decode_image(encode(floats, format="TIFF"))


def test_the_bits_are_those_of_the_whole_set(tmp_path, caplog):
    """Else a dark image among others of 12 bits would be shown as bright as they are."""
    for kind, level in (("dark", 200), ("light", 4000)):
        for split in ("train", "test"):
            (tmp_path / split / kind).mkdir(parents=True)
            Image.fromarray(np.full((4, 6), level, np.uint16)).save(
                tmp_path / split / kind / "a.png"
            )
            Image.fromarray(GRADIENT).save(tmp_path / split / kind / "b.jpg")
    with caplog.at_level(logging.INFO):
        source = open_source(f"folder:{tmp_path}", "train", channels=1)
    assert source.pixels == PixelRule(2, bits=12)
    load = image_loader(source, (4, 6))
    shown = [np.asarray(load(source[index], None)["image"]) for index in range(len(source))]
    levels = sorted(int(image.max()) for image in shown if image.min() == image.max())
    assert levels == [200 >> 4, 4000 >> 4]
    assert said(
        caplog, "images of 16 bits a sample, read as 12 bits: the largest value of 2 of them"
    )


# Which way up


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_however_the_orientation_is_said(orientation, tmp_path):
    jpeg = encode(GRADIENT, format="JPEG", quality=95)
    content = b"Exif\0\0" + exif(orientation).tobytes()[6:]
    png = encode(GRADIENT)
    chunk = exif(orientation).tobytes()[6:]
    chunk = (
        struct.pack(">I", len(chunk))
        + b"eXIf"
        + chunk
        + struct.pack(">I", zlib.crc32(b"eXIf" + chunk))
    )
    made = {
        "exif.jpg": with_segment(jpeg, (0xE1, content)),
        "late.jpg": with_segment(
            jpeg, (0xED, bytes(60_000)), (0xE2, bytes(60_000)), (0xE1, content)
        ),
        "xmp.jpg": with_segment(jpeg, (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp(orientation))),
        "exif.png": encode(GRADIENT, exif=exif(orientation)),
        "behind.png": png[:-12] + chunk + png[-12:],
        "exif.tif": encode(GRADIENT, format="TIFF", exif=exif(orientation)),
        "exif.webp": encode(GRADIENT, format="WEBP", lossless=True, exif=exif(orientation)),
        "deep.png": encode(TWELVE, exif=exif(orientation)),
    }
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
        decoded = decode_image(data, upright=True)
        if name != "deep.png":
            np.testing.assert_array_equal(decoded, by_pillow(data), name)
        else:
            assert decoded.shape[:2] == by_pillow(data).shape[:2]
        assert decoded.flags.c_contiguous
        assert image_size(data, upright=True) == decoded.shape[:2]
        said = orientation
        if name == "xmp.jpg":  # which older versions of Pillow do not know
            said = Image.open(io.BytesIO(data)).getexif().get(0x0112, 1)
        assert read_header(tmp_path / name) == (48, 32, said), name
        grey = decode_image(data, upright=True, channels=1)
        if name == "exif.jpg":  # as before there was a rule 2
            np.testing.assert_array_equal(
                grey, decode_image(data, upright=True, channels=1, rule=PixelRule(1))
            )


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Possibly corrupt EXIF data")
def test_exif_that_cannot_be_read_says_nothing(tmp_path):
    jpeg = encode(GRADIENT, format="JPEG")
    for nonsense in (
        b"Exif\0\0",
        b"Exif\0\0nonsense",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x05",
    ):
        data = with_segment(jpeg, (0xE1, nonsense))
        (tmp_path / "a.jpg").write_bytes(data)
        np.testing.assert_array_equal(decode_image(data, upright=True), by_pillow(jpeg))
        assert read_header(tmp_path / "a.jpg") == (48, 32, 1)
    for value in (0, 9):
        data = with_segment(jpeg, (0xE1, b"Exif\0\0" + exif(value).tobytes()[6:]))
        np.testing.assert_array_equal(decode_image(data, upright=True), by_pillow(jpeg))


# Everything else


def every_kind() -> dict[str, bytes]:
    """name -> an image of 8 bits."""
    palette = PICTURE.convert("P")
    several = {"save_all": True, "append_images": [TURNED] * 2}
    made = {
        "LA": saved(PICTURE.convert("LA"), format="PNG"),
        "RGBA": saved(PICTURE.convert("RGBA"), format="PNG"),
        "1 bit": saved(PICTURE.convert("1"), format="PNG"),
        "palette": saved(palette, format="PNG"),
        "a transparent colour": saved(palette, format="PNG", transparency=3),
        "transparent colours": saved(palette, format="PNG", transparency=bytes(range(256))),
        "a transparent RGB": saved(PICTURE, format="PNG", transparency=(5, 7, 3)),
        "CMYK": saved(PICTURE.convert("CMYK"), format="JPEG"),
        "CMYK tiff": saved(PICTURE.convert("CMYK"), format="TIFF"),
        "Lab tiff": saved(PICTURE.convert("LAB"), format="TIFF"),
        "YCbCr tiff": saved(PICTURE.convert("YCbCr"), format="TIFF"),
        "grey jpeg": saved(PICTURE.convert("L"), format="JPEG"),
        "RGB jpeg": saved(PICTURE, format="JPEG", keep_rgb=True),
        "gif": saved(PICTURE, format="GIF", **several),
        "webp": saved(PICTURE, format="WEBP", **several),
        "tiff": saved(PICTURE, format="TIFF", **several),
        "apng": saved(PICTURE, format="PNG", **several),
        "mpo": saved(PICTURE, format="MPO", **several),
        "progressive": saved(PICTURE, format="JPEG", progressive=True),
        "profile": saved(PICTURE, format="JPEG", icc_profile=b"not looked at"),
        "behind a png": saved(PICTURE, format="PNG") + b"behind",
    }
    for width, height in ((1, 1), (1, 5000), (5000, 1)):
        for form in ("PNG", "JPEG"):
            image = Image.new("RGB", (width, height), (9, 99, 200))
            made[f"{width}x{height} {form}"] = saved(image, format=form)
    return made


def test_8_bits_are_those_of_pillow():
    compared = 0
    for name, data in every_kind().items():
        try:
            image = Image.open(io.BytesIO(data))
            if "transparency" in image.info and image.mode == "P":
                image = image.convert("RGBA")  # Pillow warns otherwise, of the same colours
            expected = np.asarray(image.convert("RGB"))
        except (OSError, UserWarning):  # older versions of Pillow do not read all that they write
            continue
        np.testing.assert_array_equal(decode_image(data, upright=True), expected, name)
        compared += 1
    assert compared >= 24


@st.composite
def images(draw) -> bytes:
    """An image of some size, mode and form, turned or not."""
    width, height = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    pixels = rng.integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    image = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    form = draw(st.sampled_from(["JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "PPM"]))
    modes = {
        "JPEG": ("RGB", "L", "CMYK"),
        "WEBP": ("RGB", "RGBA"),
        "GIF": ("P", "L"),
        "PPM": ("RGB", "L", "1"),
    }
    modes |= {
        "PNG": ("RGB", "L", "RGBA", "LA", "P", "1"),
        "TIFF": ("RGB", "L", "RGBA", "CMYK", "P", "1"),
        "BMP": ("RGB", "L", "P", "1"),
    }
    options = {}
    if form == "JPEG":
        options = {
            "quality": draw(st.integers(1, 100)),
            "progressive": draw(st.booleans()),
            "subsampling": draw(st.integers(0, 2)),
            "optimize": draw(st.booleans()),
            "restart_marker_blocks": draw(st.sampled_from([0, 1, 3])),
        }
    if form in ("JPEG", "PNG", "TIFF", "WEBP") and draw(st.booleans()):
        options["exif"] = exif(draw(st.integers(0, 9)))
    return saved(image.convert(draw(st.sampled_from(modes[form]))), format=form, **options)


def check(data: bytes) -> None:
    assert_as_pillow(data)
    assert image_size(data, upright=True) == by_pillow(data).shape[:2]


@settings(max_examples=100, deadline=None)
@given(images())
def test_random_images_are_those_of_pillow(data):
    check(data)


@pytest.mark.exhaustive
@settings(max_examples=5000, deadline=None)
@given(images())
def test_thousands_of_random_images_are_those_of_pillow(data):
    check(data)


def test_180_million_pixels_are_named_with_their_file(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for index in range(4):
            PICTURE.save(tmp_path / name / f"{index}.png")
    Image.new("1", (20_000, 9_000)).save(tmp_path / "ant" / "0.png")
    source = open_source(f"folder:{tmp_path}", "all")
    batches = train_batches(
        source, image_loader(source, (8, 8), "random_resized"), batch_size=8, seed=0
    )
    with pytest.raises(DataError, match=r"ant/0\.png\) is corrupt: it has 180,000,000 pixels"):
        batches[0]
