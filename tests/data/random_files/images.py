"""Images of all modes, sizes, formats and orientations, whole and damaged."""

import contextlib
import io
import struct
import zlib

import numpy as np
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from cnn_jax.data import DataError, Source, image_loader
from cnn_jax.data.decode import decode_image, image_size
from cnn_jax.data.examples import Streamed
from cnn_jax.data.image_header import read_header
from cnn_jax.data.readers.folder import FolderRecords
from tests.data.random_files.damage import DAMAGES, damaged, one_line

MODES = {  # of Pillow, that it writes in each format
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "RGB;16", "RGBA;16"),
    "JPEG": ("L", "RGB", "CMYK", "YCbCr"),
    "TIFF": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I;16B", "I", "F", "RGB;16"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "GIF": ("1", "L", "P", "RGB", "RGBA"),
    "WEBP": ("L", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB", "I"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "I;16"),
}
DEEP = ("I;16", "I;16B", "I", "RGB;16", "RGBA;16")
_NEEDS = {"WEBP": "webp", "JPEG2000": "jpg_2000"}
FORMATS = [name for name in MODES if name not in _NEEDS or features.check(_NEEDS[name])]

KINDS = st.sampled_from(FORMATS).flatmap(
    lambda form: st.tuples(st.just(form), st.sampled_from(MODES[form]))
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "quality": st.integers(1, 100),
        "progressive": st.booleans(),
        "subsampling": st.sampled_from([0, 1, 2]),
        "lossless": st.booleans(),
        "compression": st.sampled_from(["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"]),
        "optimize": st.booleans(),
        "interlace": st.booleans(),
    },
)
CASES = st.tuples(
    KINDS,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),  # height, width
    st.integers(0, 8),  # orientation; 0 for none
    st.sampled_from([255, 1023, 4095, 16383, 65535]),  # largest value of a deep image
    OPTIONS,
    st.integers(0, 2**16),  # seed of the pixels
    DAMAGES,
)


def deep_png(samples: np.ndarray) -> bytes:
    """A PNG of 16 bits a sample in colour, which Pillow does not write."""
    height, width, channels = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def deep_tiff(samples: np.ndarray, orientation: int) -> bytes:
    """An uncompressed TIFF of 16 bits a sample in colour."""
    height, width, channels = samples.shape
    count = 10
    bits_at = 8 + 2 + 12 * count + 4
    pixels_at = bits_at + 6
    short, long = 3, 4
    entries = (
        (256, long, 1, width), (257, long, 1, height), (258, short, channels, bits_at),
        (259, short, 1, 1), (262, short, 1, 2), (273, long, 1, pixels_at),
        (274, short, 1, max(orientation, 1)), (277, short, 1, channels), (278, long, 1, height),
        (279, long, 1, samples.size * 2),
    )  # fmt: skip
    return (
        struct.pack("<2sHIH", b"II", 42, 8, count)
        + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        + struct.pack("<I", 0)
        + struct.pack("<HHH", 16, 16, 16)
        + samples.astype("<u2").tobytes()
    )


def make(kind, size, orientation, largest, options, seed) -> tuple[bytes, np.ndarray | None]:
    """An image, and the stored samples of one of 16 bits."""
    form, mode = kind
    rng = np.random.default_rng(seed)
    if mode in DEEP:
        shape = (*size, len(mode.partition(";")[0])) if mode.startswith("RGB") else size
        samples = rng.integers(0, largest + 1, shape, np.uint16)
        if mode.startswith("RGB"):
            return (deep_png(samples) if form == "PNG" else deep_tiff(samples, orientation)), (
                samples
            )
        kept = samples.astype(np.int32 if mode == "I" else ">u2" if mode == "I;16B" else "<u2")
        image = Image.frombytes(mode, size[::-1], kept.tobytes())
    else:
        samples = None
        colour = Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8))
        if mode == "PA":
            image = colour.convert("P").convert("PA")
        elif mode in ("LA", "RGBA"):
            image = colour.convert(mode)
            image.putalpha(Image.fromarray(rng.integers(0, 256, size, np.uint8)))
        else:
            image = colour.convert(mode)
    if orientation:
        exif = Image.Exif()
        exif[0x112] = orientation
        options = {**options, "exif": exif}
    stream = io.BytesIO()
    if form == "TIFF":  # of which some go with some modes alone
        plain = mode in ("L", "RGB") and options.get("compression")
        options = {name: options[name] for name in ("exif",) if name in options}
        options |= {"compression": plain} if plain else {}
    image.save(stream, form, **options)
    return stream.getvalue(), samples


def pillow(data: bytes) -> np.ndarray | None:
    """Pillow's upright RGB; None for more than 8 bits, or what it refuses."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            eight = image.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB")
            if not eight or image.format not in (*MODES, "DIB"):
                return None
            image.load()
            try:
                image = ImageOps.exif_transpose(image)
            except Exception:  # on metadata that are damaged, which say nothing
                return None
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")
            return np.asarray(image.convert("RGB"))
    except Exception:
        return None


def shown(samples: np.ndarray, orientation: int) -> np.ndarray:
    """16 bits as the rule has them: the fewest bits that hold all, without alpha, shifted to 8."""
    colour = samples[..., :3] if samples.ndim == 3 else samples[..., None]
    largest = int(colour.max())
    bits = next(bits for bits in (8, 10, 12, 14, 16) if largest < 2**bits)
    pixels = (colour >> (bits - 8)).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy())
    image.getexif()[0x112] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def check(case, folder) -> str:
    """'read', 'refused' or 'damaged and read'."""
    *made, changes = case
    (form, mode), _, orientation = made[:3]
    data, samples = make(*made)
    data = damaged(data, changes)
    file = folder / "the image.bin"
    file.write_bytes(data)
    records = FolderRecords(folder, [(file.name, 0)])
    source = Source("s", "train", records, ("a", "b"), (None, None, 3), upright=True)
    try:
        Streamed(source, image_loader(source, 8, "center")).gather(np.array([0]), replace=False)
    except DataError as error:
        one_line(error, "the image.bin")
        said = str(error)
    else:
        said = ""
    if said:
        assert changes or mode == "F", said
        for read in (decode_image, image_size):
            with contextlib.suppress(ValueError, OSError):
                read(data)
        return "refused"
    pixels = decode_image(data, upright=True)
    assert pixels.dtype == np.uint8
    assert image_size(data, upright=True) == pixels.shape[:2]
    width, height, turned = read_header(file)
    assert ((width, height) if turned >= 5 else (height, width)) == pixels.shape[:2]
    if samples is not None:
        if not changes:
            keeps = orientation if not (form == "PNG" and mode.startswith("RGB")) else 0
            keeps = keeps if form in ("PNG", "TIFF") else 0
            np.testing.assert_array_equal(pixels, shown(samples, keeps))
    elif (wanted := pillow(data)) is not None:
        np.testing.assert_array_equal(pixels, wanted)
    else:
        assert changes, "Pillow refuses what is whole"
    return "damaged and read" if changes else "read"
