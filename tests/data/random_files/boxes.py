"""Sets of images with boxes in COCO's, VOC's and YOLO's form, whole and damaged."""

import json
import os
import unicodedata
from xml.sax.saxutils import escape

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from cnn_jax.data import DataError, box_loader, open_source, survey_boxes
from tests.data.random_files.damage import DAMAGES, damaged, one_line

STEMS = st.one_of(
    st.sampled_from(["a", "a b", "007", "img.v1", "#1", "图 片", "e\u0301", "x  y", "1 0", "-1"]),
    st.text("abc01 ._-é猫", min_size=1, max_size=6),
).map(lambda stem: stem.strip(" .") or "z")
BOXES = st.lists(
    st.tuples(st.integers(0, 11), st.integers(0, 11), st.integers(1, 9), st.integers(1, 9)),
    max_size=3,
)
IMAGE = st.fixed_dictionaries(
    {
        "stem": STEMS,
        "size": st.tuples(st.integers(20, 40), st.integers(20, 40)),  # width, height, upright
        "boxes": BOXES,  # left, top, width, height in pixels of the upright image
        "label": st.integers(0, 1),
        "orientation": st.sampled_from([1, 1, 1, 3, 6, 8]),
        "crowd": st.sampled_from([0, 0, 1, "0", "1", False, True, None]),
        "key": st.sampled_from([int, str]),
        "states_size": st.booleans(),
    }
)
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4),
    st.just([]), st.just({}), st.just([[1, 2]]), st.just(".."), st.just("a\0b"), st.just("\ud83d"),
)  # fmt: skip
CASES = st.tuples(
    st.lists(IMAGE, min_size=1, max_size=4, unique_by=lambda one: plain(one["stem"])),
    st.sampled_from([("cat", "dog"), ("猫", "狗"), ("a b", "é"), ("0", "1"), ("no", "yes")]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "gb18030"]),
    st.one_of(st.just(None), st.tuples(st.integers(0, 2**16), ODD)),
    st.integers(0, 2**16),
    DAMAGES,
)


def plain(stem):
    return unicodedata.normalize("NFC", stem).casefold()


def upright(image, folder):
    """Writes it as a camera would, with the orientation and the pixels on their side."""
    exif = Image.Exif()
    exif[0x112] = image["orientation"]
    width, height = image["size"]
    stored = (height, width) if image["orientation"] >= 5 else (width, height)
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", stored).save(folder / f"{image['stem']}.png", exif=exif)


def stated(image):
    """Whether the annotation gives the size, without which that of a turned image is not known."""
    return image["states_size"] or image["orientation"] != 1


def coco(root, images, names, encoded):
    for one in images:
        upright(one, root / "train")
    content = {
        "images": [
            {"id": one["key"](i), "file_name": f"{one['stem']}.png"}
            | (dict(zip(("width", "height"), one["size"], strict=True)) if stated(one) else {})
            for i, one in enumerate(images)
        ],
        "annotations": [
            {"image_id": i, "category_id": 5 * one["label"] + 1, "bbox": list(box),
             "iscrowd": one["crowd"]}
            for i, one in enumerate(images) for box in one["boxes"]
        ],
        "categories": [{"id": 5 * i + 1, "name": name} for i, name in enumerate(names)],
    }  # fmt: skip
    return root / "annotations" / "instances_train.json", content


def voc(root, images, names, encoded):
    files = {}
    for one in images:
        upright(one, root / "JPEGImages")
        size = "<size><width>{}</width><height>{}</height></size>".format(*one["size"])
        objects = "".join(
            f"<object><name>{escape(names[one['label']])}</name><difficult>{int(crowd(one))}"
            f"</difficult><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax>"
            f"<ymax>{y + h}</ymax></bndbox></object>"
            for x, y, w, h in one["boxes"]
        )
        head = f'<?xml version="1.0" encoding="{encoded.removesuffix("-sig")}"?>'
        text = f"{head}<annotation>{size if stated(one) else ''}{objects}</annotation>"
        files[root / "Annotations" / f"{one['stem']}.xml"] = text.encode(encoded)
    lines = "".join(f"{one['stem']}\n" for one in images)
    files[root / "ImageSets" / "Main" / "train.txt"] = lines.encode(encoded)
    files[root / "classes.txt"] = "".join(f"{n}\n" for n in names).encode(readable(encoded))
    return files


def yolo(root, images, names, encoded):
    files = {}
    for one in images:
        upright(one, root / "images" / "train")
        width, height = one["size"]
        files[root / "labels" / "train" / f"{one['stem']}.txt"] = "".join(
            f"{one['label']} {(x + w / 2) / width} {(y + h / 2) / height} {w / width} "
            f"{h / height}\n"
            for x, y, w, h in one["boxes"]
        ).encode(readable(encoded))
    if len(images) % 2:
        listed = json.dumps(names, ensure_ascii=False)
        files[root / "data.yaml"] = f"train: images/train\nnames: {listed}\n".encode(
            readable(encoded)
        )
    else:
        files[root / "classes.txt"] = "".join(f"{n}\n" for n in names).encode(readable(encoded))
    return files


def readable(encoded):
    """An encoding that a file without a declaration can be read in."""
    return "utf-8" if encoded == "gb18030" else encoded


def crowd(image):
    return bool(int(image["crowd"] or 0))


def replaced(content, place, value):
    """JSON with a value at one of its places replaced."""
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(content)
    node, key = places[place % len(places)]
    node[key] = value


def check_of(kind):
    def check(case, folder) -> str:
        images, names, encoded, odd, chosen, changes = case
        root = folder / "set"
        if kind == coco:
            file, content = coco(root, images, names, encoded)
            if odd is not None:
                replaced(content, *odd)
            text = json.dumps(content, ensure_ascii=odd is not None)
            files = {file: text.encode(readable(encoded), "surrogatepass")}
        else:
            files, odd = kind(root, images, names, encoded), None
        target = sorted(files)[chosen % len(files)]
        files[target] = damaged(files[target], changes)
        for file, data in files.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        whole = not changes and odd is None
        several = len({plain(one["stem"]) for one in images}) == len(images)
        empty = kind == yolo and not any(one["boxes"] for one in images)
        try:
            source = open_source(f"{kind.__name__}:{root}", "train", holds="boxes")
            survey_boxes(source)
            load = box_loader(source, (32, 32), capacity=4)
            for index in range(len(source)):
                inside(load(source[index], None))
        except DataError as error:
            one_line(error, str(root))
            said = str(error)
        else:
            said = ""
        if said:
            assert not whole or empty or not several, said
            return "refused"
        if whole:
            right(source, images, names)
        return "read" if whole else "damaged and read"

    return check


def inside(example):
    kept = example["labels"] >= 0
    boxes = example["boxes"][kept]
    assert np.isfinite(boxes).all()
    assert (boxes >= 0).all()
    assert (boxes <= 32).all()


def right(source, images, names):
    assert tuple(source.class_names) == names
    records = [source[index] for index in range(len(source))]
    by_name = {plain(os.path.splitext(record["image"].name)[0]): record for record in records}
    assert len(by_name) == len(images)
    for one in images:
        record = by_name[plain(one["stem"])]
        wanted = [(x, y, x + w, y + h) for x, y, w, h in one["boxes"]]
        wanted = np.array(wanted, float).reshape(-1, 4) / np.tile(one["size"], 2)
        found = np.asarray(record["boxes"])
        if len(found) < len(wanted):  # YOLO's reader leaves out what repeats another
            wanted = np.array(list(dict.fromkeys(map(tuple, wanted.tolist()))))
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert record["labels"].tolist() == [one["label"]] * len(wanted)
