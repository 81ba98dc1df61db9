"""Texts, lists and annotations in the encodings that programs write."""

import codecs
import json
import os

import pytest
from PIL import Image

from cnn_jax.data import DataError, encoding, load_source, open_source, reading

NAMES = "猫\n狗\n"
MARKED = {
    "utf-8": NAMES.encode(),
    "utf-8-sig": NAMES.encode("utf-8-sig"),
    "two marks": codecs.BOM_UTF8 * 2 + NAMES.encode(),
    "joined": "猫\r\n".encode("utf-8-sig") + "狗".encode("utf-8-sig"),
    "utf-16": NAMES.encode("utf-16"),
    "utf-16-be": codecs.BOM_UTF16_BE + NAMES.encode("utf-16-be"),
    "utf-32": NAMES.encode("utf-32"),
}


@pytest.mark.parametrize("form", MARKED)
def test_marks_say_the_encoding(tmp_path, form):
    (tmp_path / "classes.txt").write_bytes(MARKED[form])
    assert reading.read_lines(tmp_path / "classes.txt") == ["猫", "狗"]


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark(tmp_path, order):
    (tmp_path / "classes.txt").write_bytes("cat\ndog\n".encode(order))
    assert reading.read_lines(tmp_path / "classes.txt") == ["cat", "dog"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("cat\n狗\n".encode("gbk"), r"line 2 .*0xb9.* '狗' in gb18030 .*iconv -f GB18030 -t UTF-8"),
        ("cat\r\nL\xf6we\r\n".encode("latin-1"), r"line 2 .*0xf6.*'Löwe' in cp1252"),
        (b"cat\n\xff\0\1\xff", r"line 2 .*it is no text, or damaged"),
        ("cat".encode("utf-16")[:-1], r"begins as text in UTF-16-LE, and its byte 6 is not"),
    ],
)
def test_what_may_be_read_in_several_ways_is_refused_with_its_line(tmp_path, content, said):
    (tmp_path / "classes.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"classes\.txt " + ".*" + said) as raised:
        reading.read_lines(tmp_path / "classes.txt")
    assert len(str(raised.value)) < 500 + len(str(tmp_path))


def xml(head, encoded, name="猫"):
    return f"{head}<annotation><object><name>{name}</name></object></annotation>".encode(encoded)


@pytest.mark.parametrize(
    "content",
    [
        xml("", "utf-8"),
        xml("", "utf-8-sig"),
        xml('<?xml version="1.0" encoding="utf-8"?>', "utf-8-sig"),
        xml('<?xml version="1.0" encoding="GB2312"?>\n', "gb2312"),
        xml("<?xml version='1.0' encoding='gbk' ?>", "gbk"),
        xml('<?xml version="1.0" encoding="Big5"?>', "gbk").replace(b"Big5", b"GB18030"),
        xml('<?xml version="1.0" encoding="gb2312"?>', "utf-8"),  # converted, and not changed
        xml('<?xml version="1.0" encoding="utf-16"?>', "utf-16"),
        xml('<?xml version="1.0" encoding="utf-16"?>', "utf-8"),  # as .NET writes from a string
        xml('\n  <?xml version="1.0"?>\n', "utf-8"),
    ],
)
def test_xml_in_the_encoding_that_it_declares(tmp_path, content):
    (tmp_path / "0.xml").write_bytes(content)
    assert reading.read_xml(tmp_path / "0.xml").findtext("object/name") == "猫"


def test_xml_in_single_bytes(tmp_path):
    for declared, encoded in (("ISO-8859-1", "latin-1"), ("windows-1252", "cp1252")):
        head = f'<?xml version="1.0" encoding="{declared}"?>'
        (tmp_path / "0.xml").write_bytes(xml(head, encoded, "Löwe"))
        assert reading.read_xml(tmp_path / "0.xml").findtext("object/name") == "Löwe"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (xml("", "gbk", "狗"), r"0\.xml is not text in UTF-8: line 1 .*狗.* in gb18030"),
        (xml('<?xml version="1.0" encoding="utf-8"?>\n', "gbk", "狗"), r"line 2 .*狗.* in gb18030"),
        (b"<?xml version='1.0' encoding='ascii'?><a>\x81</a>", "declares the encoding ascii"),
        (b"<?xml version='1.0' encoding='zlib'?><a>\x81</a>", "cannot be read as XML"),
        (b"<?xml version='1.0' encoding='cp9999'?><a/>", "unknown encoding"),
    ],
)
def test_xml_that_contradicts_its_declaration(tmp_path, content, said):
    (tmp_path / "0.xml").write_bytes(content)
    with pytest.raises(DataError, match=said):
        reading.read_xml(tmp_path / "0.xml")


def image(path):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        Image.new("RGB", (8, 8)).save(file, "PNG")


def test_a_list_says_its_encoding_by_the_files_that_are_there(tmp_path, caplog):
    """A list in GB18030 of files whose names are UTF-8, as unpackers make them; and one of the
    bytes that the names have on the disk."""
    for name in ("猫", "狗"):
        image(tmp_path / f"{name}.png")
    lines = "file,label\n猫.png,猫科\n狗.png,犬科\n"
    for form in ("gb18030", "utf-16", "utf-8-sig"):
        (tmp_path / "labels.csv").write_bytes(lines.encode(form))
        source = load_source(f"csv:{tmp_path}/labels.csv", "all")
        assert source.class_names == ("犬科", "猫科")
        assert sorted(r["image"].name for r in source.__getitems__([0, 1])) == ["狗.png", "猫.png"]
    assert "labels.csv is read as gb18030, in which its files are there" in caplog.text
    for i in range(2):
        image(os.fsencode(tmp_path) + b"/raw/Mu\xf1oz%d.png" % i)
    (tmp_path / "raw/labels.csv").write_bytes(b"Mu\xf1oz0.png,a\xf1o\nMu\xf1oz1.png,b\n")
    source = load_source(f"csv:{tmp_path}/raw/labels.csv", "all")
    assert source.class_names == ("año", "b")
    assert all(record["image"].is_file() for record in source.__getitems__([0, 1]))
    assert source.describe(0).encode()
    (tmp_path / "labels.csv").write_bytes("狗.png,a\n猴.png,b\n".encode("gb18030"))
    with pytest.raises(DataError, match=r"labels\.csv is not text in UTF-8: line 1"):
        load_source(f"csv:{tmp_path}/labels.csv", "all")
    (tmp_path / "labels.csv").write_bytes("a.png,Löwe\nb.png,b\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"line 1 .*'a\.png,Löwe' in cp1252"):
        load_source(f"csv:{tmp_path}/labels.csv", "all")


def voc(root, name, listed, encoded):
    image(os.path.join(os.fsencode(root), b"JPEGImages", name + b".png"))
    os.makedirs(root / "Annotations", exist_ok=True)
    os.makedirs(root / "ImageSets" / "Main", exist_ok=True)
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>8</ymax></bndbox>"
    with open(os.path.join(os.fsencode(root), b"Annotations", name + b".xml"), "wb") as file:
        file.write(
            f'<?xml version="1.0" encoding="{encoded}"?><annotation><object><name>猫</name>{box}'
            "</object></annotation>".encode(encoded)
        )
    (root / "ImageSets/Main/train.txt").write_bytes(listed)
    return open_source(f"voc:{root}", "train", holds="boxes")


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("图 1".encode(), "图 1\n".encode("gbk")),
        ("图 1".encode(), "图 1\n".encode("utf-8-sig")),
        ("图 1".encode("gbk"), "图 1\n".encode("gbk")),
        (b"Mu\xf1oz", "Muñoz\n".encode()),
        ("é".encode(), "e\u0301\n".encode()),  # as a Mac writes it
        ("e\u0301".encode(), "é.png\n".encode()),
        (b"#1", b"#1\n"),
        (b"007", b"007\n"),
    ],
)
def test_voc_in_other_encodings(tmp_path, name, listed):
    source = voc(tmp_path, name, listed, "gb2312")
    assert source.class_names == ("猫",)
    assert source[0]["boxes"].tolist() == [[0, 0, 0.5, 1]]
    assert source.describe(0).encode()  # may be printed


def coco(root, name, encoded="utf-8"):
    (root / "annotations").mkdir(exist_ok=True)
    whole = {
        "images": [{"id": 1, "file_name": name, "width": 8, "height": 8}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 8]}],
        "categories": [{"id": 1, "name": "狗"}],
    }
    text = json.dumps(whole, ensure_ascii=False).encode(encoded, "surrogatepass")
    (root / "annotations/instances_train.json").write_bytes(text)
    return open_source(f"coco:{root}", "train", holds="boxes")


def test_coco_in_other_encodings(tmp_path):
    image(os.fsencode(tmp_path) + b"/train/Mu\xf1oz.png")
    image(tmp_path / "train/e\u0301.png")
    image(tmp_path / "train/IMG_1.JPG")
    for form in ("utf-8", "utf-8-sig", "utf-16"):
        for name in ("Muñoz.png", "\xe9.png", "e\u0301.png"):
            source = coco(tmp_path, name, form)
            assert source.class_names == ("狗",)
            assert source[0]["image"].is_file()
            assert source.describe(0).encode()
    with pytest.raises(DataError, match=r"img_1\.jpg .*not found in .*; there is .*/IMG_1\.JPG"):
        coco(tmp_path, "img_1.jpg")
    with pytest.raises(DataError, match=r"instances_train\.json is not text in UTF-8: line 1"):
        coco(tmp_path, "a.png", "gbk")
    (tmp_path / "annotations/instances_train.json").write_text(
        '{"images": [{"id": 1, "file_name": "\\ud83d.png", "width": 8, "height": 8}], '
        '"annotations": [], "categories": [{"id": 1, "name": "a"}]}'
    )
    with pytest.raises(DataError, match=r"\\ud83d\.png of split") as raised:
        open_source(f"coco:{tmp_path}", "train", holds="boxes")
    str(raised.value).encode()


def test_messages_may_be_printed():
    assert str(DataError("no /tmp/Mu\udcf1oz\n here")) == "no /tmp/Muñoz here"
    assert str(DataError("no \udce7\udc8c\udcab")) == "no 猫"
    assert str(DataError("no \ud83d")) == r"no \ud83d"
    assert encoding.text_of("猫".encode(), None) == "猫"
