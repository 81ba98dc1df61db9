"""Files of data sets that lie, lead elsewhere or never end: each is one line within seconds."""

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, load_source, mask_loader, open_source, reading
from cnn_jax.data.decode import decode_image, image_size
from cnn_jax.data.examples import InMemory
from cnn_jax.data.image_header import MAX_PIXELS, open_image
from cnn_jax.data.loaders.boxes import tidy
from cnn_jax.data.loaders.image import image_loader
from tests.data.pictures import encode

pytestmark = pytest.mark.timeout(30, method="thread")

SIDE = 60_000


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def jpeg(width, height, *, progressive=False) -> bytes:
    data = encode(np.zeros((8, 8, 3), np.uint8), format="JPEG", progressive=progressive)
    data = bytearray(data)
    at = data.index(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def patched(form: str, offset: int, layout: str, side: int = SIDE) -> bytes:
    """A small picture of this format whose header is made to claim side x side."""
    data = bytearray(encode(np.zeros((8, 8), np.uint8), format=form))
    struct.pack_into(layout, data, offset, side, side)
    return bytes(data)


CLAIMS = {
    "png": png(SIDE, SIDE),
    "jpeg": jpeg(SIDE, SIDE),
    "gif": patched("GIF", 6, "<HH"),
    "bmp": patched("BMP", 18, "<ii"),
    "ppm": f"P5\n{SIDE} {SIDE}\n255\n".encode(),
    "tiff": encode(np.zeros((8, 8), np.uint8), format="TIFF"),
}
at = CLAIMS["tiff"].index(struct.pack("<HHI", 256, 4, 1)) + 8
CLAIMS["tiff"] = CLAIMS["tiff"][:at] + struct.pack("<I", SIDE) + CLAIMS["tiff"][at + 4 :]
at = CLAIMS["tiff"].index(struct.pack("<HHI", 257, 4, 1)) + 8
CLAIMS["tiff"] = CLAIMS["tiff"][:at] + struct.pack("<I", SIDE) + CLAIMS["tiff"][at + 4 :]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", CLAIMS)
def test_an_image_that_claims_to_be_huge(name, channels):
    with pytest.raises(ValueError, match=rf"pixels.*at most {MAX_PIXELS:,}"):
        decode_image(CLAIMS[name], channels=channels)
    with pytest.raises(ValueError, match="pixels"):
        image_size(CLAIMS[name])


LARGE = 13_300  # squared below the limit, half a gigabyte of RGB
LARGE_CLAIMS = {
    "large png": png(LARGE, LARGE),
    "large jpeg": jpeg(LARGE, LARGE),
    "large progressive jpeg": jpeg(LARGE, LARGE, progressive=True),
    "large gif": patched("GIF", 6, "<HH", LARGE),
}
DECODE_ALL = """
import pathlib, resource, sys
from cnn_jax.data.decode import decode_image
resource.setrlimit(resource.RLIMIT_AS, (3 * 2**29, 3 * 2**29))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for file in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    try:
        decode_image(file.read_bytes())
        print(file.name, "was decoded")
    except ValueError as error:
        if "pixels, by its header" not in str(error):
            print(file.name, error)
print("kB:", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_few_bytes_take_no_gigabyte(tmp_path):
    """A GIF of 54 bytes took 1.7 GB, a JPEG of 519 bytes 1.0, in each thread that decodes. In a
    child, for what a process once used is counted to its end."""
    for name, data in {**CLAIMS, **LARGE_CLAIMS}.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", DECODE_ALL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    label, _, took = done.stdout.partition(" ")
    assert label == "kB:", done.stdout + done.stderr
    assert int(took) < 100 * 1024


def test_a_blank_page_is_believed():
    blank = io.BytesIO()
    Image.new("1", (4960, 7016)).save(blank, format="TIFF", compression="group4")
    assert len(blank.getvalue()) < 2000
    assert decode_image(blank.getvalue(), channels=1).shape == (7016, 4960, 1)


def test_a_damaged_avif():
    """libavif's errors are RuntimeErrors: a traceback."""
    Image.init()
    if "AVIF" not in Image.SAVE:
        pytest.skip("this Pillow has no AVIF")
    whole = encode(np.zeros((16, 16, 3), np.uint8), format="AVIF")
    for place in range(16, len(whole), 7):
        damaged = whole[:place] + b"\xff" + whole[place + 1 :]
        with contextlib.suppress(ValueError, OSError):
            decode_image(damaged)


def postscript() -> bytes:
    return b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def test_postscript_starts_no_program(monkeypatch):
    def start(*arguments, **options):
        raise AssertionError(f"a program was started: {arguments}")

    monkeypatch.setattr("subprocess.Popen", start)
    monkeypatch.setattr("subprocess.check_call", start)
    monkeypatch.setattr("os.system", start)
    with pytest.raises(ValueError, match="not an image of a supported format"):
        decode_image(postscript())


@pytest.mark.parametrize(
    "data",
    [
        b"8BPS\0\1" + bytes(60),
        b"#define x_width 8\n#define x_height 8\nstatic char x_bits[] = {0};",
        b"SIMPLE  =                    T" + b" " * 50,
        b"",
        b"text",
    ],
    ids=["psd", "xbm", "fits", "empty", "text"],
)
def test_formats_that_no_data_set_has(data):
    with pytest.raises(ValueError, match="not an image of a supported format"):
        decode_image(data)


def test_only_the_first_of_many_frames_is_decoded():
    frame = Image.new("P", (4, 3), 1)
    many = io.BytesIO()
    frame.save(many, format="GIF", save_all=True, append_images=[frame] * 2000, duration=1)
    assert decode_image(many.getvalue()).shape == (3, 4, 3)
    many = io.BytesIO()
    frame.convert("L").save(
        many, format="TIFF", save_all=True, append_images=[frame.convert("L")] * 500
    )
    assert decode_image(many.getvalue()).shape == (3, 4, 3)


def test_a_text_in_a_png_that_unpacks_to_much():
    bomb = zlib.compress(bytes(200 * 2**20))
    data = png(4, 3)
    data = data[:33] + chunk(b"zTXt", b"a\0\0" + bomb) + data[33:]
    with pytest.raises((ValueError, OSError)):
        decode_image(data)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # on damaged tags
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_an_image_cut_short_at_any_length(form):
    rng = np.random.default_rng(0)
    whole = encode(rng.integers(0, 256, (16, 16, 3), np.uint8), format=form)
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        with contextlib.suppress(ValueError, OSError):
            decode_image(whole[:length])


def make_folder(root, special):
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(root / name / f"{i}.png")
    special(root / "ant" / "special.png")
    return root


@pytest.mark.parametrize(
    ("special", "what"),
    [
        (os.mkfifo, "it is a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device"),
        (lambda path: path.write_bytes(CLAIMS["png"]), "pixels"),
        (lambda path: path.write_bytes(postscript()), "not an image"),
    ],
    ids=["pipe", "device", "huge", "postscript"],
)
def test_a_folder_names_the_file(tmp_path, special, what):
    source = load_source(f"folder:{make_folder(tmp_path, special)}", "all")
    with pytest.raises(DataError, match=rf"special\.png.*{what}"):
        InMemory(source, image_loader(source, 8, None))


def one_bit(path, size=(20_000, 9_000)):
    """180 million pixels in a few kB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("1", size).save(path)


def in_memory(root):
    source = open_source(f"masks:{root}", "all", holds="mask")
    return InMemory(source, mask_loader(source, (8, 8)))


@pytest.mark.parametrize("part", ["images", "masks"])
def test_masks_with_a_huge_picture_or_mask(tmp_path, part):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        for i in range(3):
            Image.new("L", (8, 8), i).save(tmp_path / folder / f"{i}.png")
    one_bit(tmp_path / part / "0.png")
    with pytest.raises(DataError, match=r"0\.png.*180,000,000 pixels"):
        in_memory(tmp_path)


def test_voc_with_a_huge_picture_and_no_size(tmp_path):
    one_bit(tmp_path / "JPEGImages" / "0.png")
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "0.xml").write_text(
        f"<annotation><object><name>cat</name>{box}</object></annotation>"
    )
    with pytest.raises(DataError, match=r"0\.png.*180,000,000 pixels"):
        open_source(f"voc:{tmp_path}", "all", holds="boxes")


def coco(root, content: str | None = None, name="a.png"):
    (root / "annotations").mkdir(parents=True)
    (root / "train").mkdir()
    Image.new("RGB", (8, 8)).save(root / "train" / "a.png")
    file = root / "annotations" / "instances_train.json"
    images = [{"id": 1, "file_name": name, "width": 8, "height": 8}]
    box = [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}]
    whole = {"images": images, "annotations": box, "categories": [{"id": 1, "name": "thing"}]}
    file.write_text(json.dumps(whole) if content is None else content)
    return f"coco:{root}"


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "x/../../train/a.png",
        "..",
        "..\\..\\secret.png",
        "C:\\secret.png",
        "c:secret.png",
        "a\0.png",
    ],
)
def test_coco_does_not_leave_its_folder(tmp_path, name):
    (tmp_path / "secret.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"instances_train\.json names .*not below"):
        open_source(coco(tmp_path / "set", name=name), "train", holds="boxes")


def test_links_are_their_owners_business(tmp_path):
    dataset = coco(tmp_path / "set", name="x/../b.png")
    (tmp_path / "set" / "train" / "x").mkdir()
    (tmp_path / "set" / "train" / "b.png").symlink_to("a.png")
    assert len(open_source(dataset, "train", holds="boxes")) == 1


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"images":' * 100_000 + "1" + "}" * 100_000,
        '{"images": [{"id": 1, "file_name": "a.png", "width": 1' + "0" * 400 + ', "height": 8}], '
        '"annotations": [], "categories": [{"id": 1, "name": "x"}]}',
        '{"images": [{"id": 1, "file_name": "a.png", "width": 1' + "0" * 9000 + ', "height": 8}]}',
        '{"images": [{"id": 1, "file_name": "a.png", "width": NaN, "height": 8}], '
        '"annotations": [], "categories": [{"id": 1, "name": "x"}]}',
        '{"images": [{"id": {}, "file_name": "a.png"}], "annotations": [], "categories": []}',
        '{"images": [], "annotations": [], "categories": ' + "[" * 900 + "]" * 900 + "}",
        "\x00\x01",
        "",
    ],
    ids=["lists", "objects", "huge", "longer", "nan", "id", "deep", "binary", "empty"],
)  # fmt: skip
def test_coco_of_hostile_json(tmp_path, content):
    with pytest.raises(DataError, match=r"instances_train\.json") as caught:
        open_source(coco(tmp_path / "set", content), "train", holds="boxes")
    assert len(str(caught.value)) < 1000


IMAGE = {"id": 1, "file_name": "a.png", "width": 8, "height": 8}
BOX = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
THING = {"id": 1, "name": "thing"}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"images": {}}, "'images' are an object, wanted a list"),
        ({"images": []}, "lists no images"),
        ({"images": [None]}, r"images\[0\] is null"),
        ({"images": [IMAGE, IMAGE]}, "two images have the id 1"),
        ({"images": [IMAGE | {"id": None}]}, "has the id null"),
        ({"images": [IMAGE | {"file_name": ""}]}, "has the file_name '', wanted a path"),
        ({"images": [IMAGE | {"file_name": None}]}, "has the file_name null, wanted a path"),
        ({"images": [IMAGE | {"file_name": 5}]}, "has the file_name 5, wanted a path"),
        ({"images": [IMAGE | {"width": float("inf")}]}, r"a\.png infx8 pixels"),
        ({"images": [IMAGE | {"width": 1e-320}]}, r"a\.png 1e-320x8 pixels|e-321x8 pixels"),
        ({"images": [IMAGE | {"width": True}]}, "true or false in its width"),
        ({"annotations": {}}, "'annotations' are an object, wanted a list"),
        ({"annotations": [BOX | {"bbox": "1234"}]}, "a text, not 4 for its bbox"),
        ({"annotations": [BOX | {"bbox": [True] * 4}]}, "true or false in its bbox"),
        ({"annotations": [BOX | {"iscrowd": "no"}]}, "has the iscrowd 'no', wanted 0 or 1"),
        ({"annotations": [BOX | {"image_id": "a"}]}, "none of its 1 annotations is of an image"),
        ({"annotations": [BOX | {"category_id": {}}]}, "has the category_id an object"),
        ({"categories": "abc"}, "'categories' are a text, wanted a list"),
        ({"categories": [THING, THING]}, "two categories have the id 1"),
        ({"categories": [THING, {"id": "2", "name": "x"}]}, "are numbers and some are texts"),
        ({"categories": [THING | {"name": None}]}, "has the name null, wanted a text"),
        ({"categories": [THING | {"name": " "}]}, "has the name ' ', wanted a text"),
    ],
)  # fmt: skip
def test_coco_of_the_wrong_kind(tmp_path, changes, what):
    """Each of these was taken for something: a class 'None', a crowd, boxes of no size."""
    whole = {"images": [IMAGE], "annotations": [BOX], "categories": [THING], **changes}
    with pytest.raises(DataError, match=rf"instances_train\.json .*{what}"):
        open_source(coco(tmp_path / "set", json.dumps(whole)), "train", holds="boxes")


def test_coco_of_boxes_without_end(tmp_path):
    """They are left out and counted, and no arithmetic overflows."""
    boxes = [BOX | {"bbox": [1e308, 1, 1e308, 1]}, BOX | {"bbox": [1, 1, float("inf"), 1]}, BOX]
    whole = {"images": [IMAGE], "annotations": boxes, "categories": [THING]}
    source = open_source(coco(tmp_path / "set", json.dumps(whole)), "train", holds="boxes")
    assert tidy(source[0], 1).left_out == {"not finite": 2}


def test_a_file_that_begins_with_a_mark_of_its_encoding(tmp_path):
    dataset = coco(tmp_path / "set")
    file = tmp_path / "set" / "annotations" / "instances_train.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert open_source(dataset, "train", holds="boxes").class_names == ("thing",)
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfcat\n")
    assert reading.read_lines(tmp_path / "classes.txt") == ["cat"]


def test_a_pipe_for_annotations(tmp_path):
    dataset = coco(tmp_path / "set")
    file = tmp_path / "set" / "annotations" / "instances_train.json"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DataError, match=r"instances_train\.json: it is a pipe"):
        open_source(dataset, "train", holds="boxes")


LAUGHS = (
    "<!DOCTYPE x [<!ENTITY a0 'ha'>%s]><annotation><object><name>&a30;</name></object></annotation>"
)


@pytest.mark.parametrize(
    "content",
    [
        LAUGHS % "".join(f"<!ENTITY a{i} '&a{i - 1};&a{i - 1};'>" for i in range(1, 31)),
        "<annotation>" + "<object>" * 100_000 + "</object>" * 100_000 + "</annotation>",
        "<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><annotation><object><name>&a;</name>"
        "</object></annotation>",
        "<?xml version='1.0' encoding='no-such-encoding'?><annotation/>",
        "<annotation><size><width>nan</width><height>1e999</height></size>"
        "<object><name>x</name><bndbox><xmin>one</xmin></bndbox></object></annotation>",
    ],
    ids=["laughs", "deep", "external", "encoding", "numbers"],
)  # fmt: skip
def test_voc_of_hostile_xml(tmp_path, content):
    (tmp_path / "JPEGImages").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "JPEGImages" / "0.png")
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "0.xml").write_text(content)
    with pytest.raises(DataError, match=r"0\.xml") as caught:
        open_source(f"voc:{tmp_path}", "all", holds="boxes")
    assert len(str(caught.value)) < 1000


def test_voc_lists_do_not_leave_the_folder(tmp_path):
    root = tmp_path / "set"
    (root / "JPEGImages").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "JPEGImages" / "0.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (root / "Annotations").mkdir()
    (root / "Annotations" / "0.xml").write_text(
        "<annotation><filename>../../secret.png</filename></annotation>"
    )
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for stem in ("../../secret", str(tmp_path / "secret")):
        (root / "ImageSets" / "Main" / "train.txt").write_text(stem)
        with pytest.raises(DataError, match=r"train\.txt lists .*secret"):
            open_source(f"voc:{root}", "train", holds="boxes")
    (root / "ImageSets" / "Main" / "train.txt").write_text("0")
    (root / "classes.txt").write_text("x\n")
    source = open_source(f"voc:{root}", "train", holds="boxes")
    assert source[0]["image"] == root / "JPEGImages" / "0.png", "what <filename> says is not read"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.write_bytes(b"\xff\xfe\x00")])
def test_a_list_of_classes_that_is_no_text(tmp_path, make):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / folder / "0.png")
    make(tmp_path / "classes.txt")
    with pytest.raises(DataError, match=r"classes\.txt"):
        open_source(f"masks:{tmp_path}", "all", holds="mask")


def test_an_image_that_is_open_is_closed(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    with open_image(path) as image:
        assert image.size == (8, 8)
