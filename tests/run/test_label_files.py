"""The classes of data sets and images among a network's, by name and by the files of ImageNet's
offspring."""

import json

import numpy as np
import pytest

from cnn_jax.run import class_names, label_files
from cnn_jax.weights import imagenet

NAMES, IDS = imagenet.class_names(), imagenet.wordnet_ids()
FILES = [f"val/x/ILSVRC2012_val_{i:08d}.JPEG" for i in (1, 2, 4)]


def match(data, network=("cat", "dog", "great white shark")):
    return class_names.match(data, network, what="pets")


def test_the_ids_are_those_of_the_names():
    assert len(IDS) == len(set(IDS)) == 1000
    assert list(IDS) == sorted(IDS)
    for name, wordnet in (("tench", "n01440764"), ("goldfish", "n01443537"), ("zebra", "n02391049"),
                          ("toilet tissue", "n15075141")):  # fmt: skip
        assert IDS.index(wordnet) in [i for i, each in enumerate(NAMES) if each.startswith(name)]


def test_the_same_classes_in_another_order_are_found_by_name():
    assert match(("cat", "dog", "great white shark")) == (pytest.approx([0, 1, 2]), "", None)
    found = match(("Great_White_Shark", "cat"))
    assert list(found.indices) == [2, 0]
    assert "1 have no examples" in found.said


@pytest.mark.parametrize(
    ("data", "network", "message"),
    [
        (("cat", "cow"), ("cat", "dog"), r"^pets has 2 classes, cat, cow, .*: cow is none of them"),
        (("0", "1", "2"), NAMES, r"0, 1, 2 are none of them by name"),
        (("Cat", "cat"), ("cat", "dog"), r"Cat and cat are both the network's cat"),
        (("crane",), ("crane", "Crane"), "crane is none of them"),  # or both
    ],
)
def test_never_by_number(data, network, message):
    with pytest.raises(ValueError, match=message):
        match(data, network)


def test_folders_of_imagenet():
    assert list(match((IDS[7], IDS[3]), NAMES).indices) == [7, 3]
    assert list(match(NAMES[:2], IDS).indices) == [0, 1]
    numbers = sorted(map(str, range(1000)))  # ImageNet-V2: 0, 1, 10, 100, ...
    found = match(numbers, NAMES)
    assert list(found.indices[:4]) == [0, 1, 10, 100]
    assert "numbers" in found.said


def read(tmp_path, name, content, *, data=(IDS[9], IDS[3]), network=NAMES):
    file = tmp_path / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return label_files.read(file, network=network, data=data, images=FILES)


def test_labels_of_images(tmp_path):
    real = read(tmp_path, "real.json", [[5], [], [1], [2, 7]])
    assert real.images == [(5,), (), (2, 7)]
    assert real.classes is None
    for name, content in (
        ("a.json", {"ILSVRC2012_val_00000001.JPEG": 5, "ILSVRC2012_val_00000004.JPEG": [2, 7]}),
        ("b.csv", "ImageId,PredictionString\nILSVRC2012_val_00000004,"
                  f"{IDS[2]} 1 2 3 4 {IDS[7]} 5 6 7 8 \n"
                  f"ILSVRC2012_val_00000001,{IDS[5]} 0 0 9 9\n"),
        ("c.csv", "file,label\nILSVRC2012_val_00000001.JPEG,5\nILSVRC2012_val_00000004.JPEG,2 7\n"),
        ("d.json", {"ILSVRC2012_val_00000001": NAMES[5], "ILSVRC2012_val_00000004": [IDS[2], 7]}),
    ):  # fmt: skip
        assert read(tmp_path, name, content).images == [(5,), (), (2, 7)], name
    text = read(tmp_path, "val.txt", "ILSVRC2012_val_00000001.JPEG 65\nx/y.JPEG 3\n")
    assert text.images == [(65,), (), ()]


def test_classes_of_a_data_set(tmp_path):
    table = {str(i): -1 for i in range(1000)} | {"3": 0, "9": 1}  # ImageNet-A's own code
    keras = {str(i): [IDS[i], NAMES[i]] for i in range(1000)}
    for name, content in (
        ("a.json", [i in (3, 9) for i in range(1000)]),  # ImageNet-R's mask
        ("b.json", table),
        ("c.json", keras),
        ("d.json", {IDS[3]: 3, IDS[9]: NAMES[9]}),
        ("e.txt", f"{IDS[3]}\n9\n"),
        ("f.csv", f"wnid,index\n{IDS[9]},9\n{IDS[3]},3\n"),
    ):
        found = read(tmp_path, name, content)
        assert found.images is None
        assert list(found.classes.indices) == [9, 3], name
        assert list(np.flatnonzero(found.classes.among)) == [3, 9], name


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "3\n9\n4\n", r"3 entries, and the data have 2 classes.* number for each image"),
        ("b.json", [[1]], "ILSVRC2012_val_00000002 has no such number"),
        ("c.json", {"x": 3}, "neither the class n0.* nor any image"),
        ("d.txt", f"{IDS[9]} 1000\n{IDS[3]} 3\n", "'1000', which is none of the network's 1000"),
        ("e.json", {IDS[9]: 3, IDS[3]: 3}, "are both the network's"),
        ("f.json", [True, False], "chooses 1 of 2 classes; the network has 1000"),
        ("g.json", "[", "g.json"),
        ("h.csv", "file,label\n", "no row"),
    ],
)
def test_what_is_no_such_file(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, name, content)
    assert "\n" not in str(error.value)
