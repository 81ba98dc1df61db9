"""ImageNet as the kits unpack it, in folders of a few images."""

import shutil

import numpy as np
import pytest
from PIL import Image
from scipy import io

from cnn_jax.data import DataError, load_source

SYNSETS = ("n01440764", "n02012849", "n03126707")
WORDS = ("tench, Tinca tinca", "crane", "crane")
VAL = (2, 0, 1, 1)  # labels, by the number of the image


def image(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(file, "JPEG")


def images(root, flat="val"):
    for synset in SYNSETS:
        for i in range(2):
            image(root / "train" / synset / f"{synset}_{i}.JPEG")
    for i in range(len(VAL)):
        image(root / flat / f"ILSVRC2012_val_{i + 1:08d}.JPEG")
        image(root / "test" / f"ILSVRC2012_test_{i + 1:08d}.JPEG")


def kaggle(root):
    images(root / "ILSVRC/Data/CLS-LOC")
    lines = [f"ILSVRC2012_val_{i + 1:08d},{SYNSETS[k]} 1 2 3 4 n01440764 5 6 7 8 \n"
             for i, k in enumerate(VAL)]  # fmt: skip
    (root / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "".join(lines[::-1]))
    mapping = "".join(f"{s} {w}\n" for s, w in zip(SYNSETS, WORDS, strict=True))
    (root / "LOC_synset_mapping.txt").write_text(mapping)


def without_solution(root):
    """The archive alone, whose annotations say the classes."""
    kaggle(root)
    (root / "LOC_val_solution.csv").unlink()
    folder = root / "ILSVRC/Annotations/CLS-LOC/val"
    folder.mkdir(parents=True)
    for i, k in enumerate(VAL):
        (folder / f"ILSVRC2012_val_{i + 1:08d}.xml").write_text(
            f"<annotation><object><name>{SYNSETS[k]}</name></object></annotation>"
        )


def devkit(root):
    """The kit's numbers are in an order of its own."""
    images(root)
    data = root / "ILSVRC2012_devkit_t12/data"
    data.mkdir(parents=True)
    order = (1, 2, 0)
    fields = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    table = [(i + 1, SYNSETS[k], WORDS[k]) for i, k in enumerate(order)]
    io.savemat(data / "meta.mat", {"synsets": np.array(table, fields)})
    numbers = "".join(f"{order.index(k) + 1}\n" for k in VAL)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text(numbers)


def tiny(root):
    images(root, "val/images")
    for synset in SYNSETS:
        files = list((root / "train" / synset).iterdir())
        (root / "train" / synset / "images").mkdir()
        for file in files:
            file.rename(file.parent / "images" / file.name)
    lines = [f"ILSVRC2012_val_{i + 1:08d}.JPEG\t{SYNSETS[k]}\t0\t32\t44\t62\n"
             for i, k in enumerate(VAL)]  # fmt: skip
    (root / "val/val_annotations.txt").write_text("".join(lines))
    words = [f"{s}\t{w}\n" for s, w in zip(SYNSETS, WORDS, strict=True)]
    (root / "words.txt").write_text("n00001740\tentity\n" + "".join(words))


def check(place, name):
    train = load_source(f"folder:{place}", "train")
    assert train.class_names == ("tench", "crane (n02012849)", "crane (n03126707)")
    assert train.name == name
    for record in train.__getitems__(range(6)):
        assert SYNSETS[record["label"]] in str(record["image"])
    for split in ("val", "validation", "val[:50%]+val[50%:]"):
        val = load_source(f"folder:{place}", split)
        assert val.class_names == train.class_names
        found = {r["image"].stem: r["label"] for r in val.__getitems__(range(len(val)))}
        assert found == {f"ILSVRC2012_val_{i + 1:08d}": k for i, k in enumerate(VAL)}
        assert all(r["image"].is_file() for r in val.__getitems__(range(4)))
    with pytest.raises(DataError, match="'test' are in no folder of a class, and have no labels"):
        load_source(f"folder:{place}", "test")


@pytest.mark.parametrize("layout", [kaggle, without_solution, devkit, tiny])
def test_layouts(tmp_path, layout):
    layout(tmp_path / "set")
    check(tmp_path / "set", "set")
    if layout in (kaggle, without_solution):
        for inner in ("ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"):
            check(tmp_path / "set" / inner, inner.rpartition("/")[2])


def test_what_does_not_fit(tmp_path, caplog):
    kaggle(tmp_path / "a")
    solution = tmp_path / "a/LOC_val_solution.csv"
    lines = solution.read_text().splitlines(keepends=True)
    solution.write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match=r"1 images of 'val' have no label in .*val_00000001\.JPEG"):
        load_source(f"folder:{tmp_path}/a", "val")
    solution.write_text("".join([*lines, "x,cat\n"]))
    with pytest.raises(DataError, match=r"LOC_val_solution\.csv:6: wanted the name of an image"):
        load_source(f"folder:{tmp_path}/a", "val")
    devkit(tmp_path / "b")
    truth = tmp_path / "b/ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
    text = truth.read_text()
    truth.write_text(text + "9\n")
    with pytest.raises(DataError, match=r"ground_truth\.txt:5: '9' is the number of no class"):
        load_source(f"folder:{tmp_path}/b", "val")
    truth.write_text(text)
    (truth.parent / "meta.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(300))
    with pytest.raises(DataError, match=r"meta\.mat cannot be read"):
        load_source(f"folder:{tmp_path}/b", "val")
    (truth.parent / "meta.mat").unlink()
    with pytest.raises(DataError, match=r"put it beside, at .*meta\.mat"):
        load_source(f"folder:{tmp_path}/b", "val")
    tiny(tmp_path / "c")  # a part of the classes, with the whole of val
    shutil.rmtree(tmp_path / "c/train" / SYNSETS[2])
    source = load_source(f"folder:{tmp_path}/c", "val")
    assert source.class_names == ("tench", "crane")
    assert len(source) == 3
    assert "left out 1 images of 'val', of 1 classes that train has no folder of" in caplog.text


def test_synsets_without_words_keep_their_names(tmp_path):
    images(tmp_path)
    assert load_source(f"folder:{tmp_path}", "train").class_names == SYNSETS
    with pytest.raises(DataError, match="'val' are in no folder of a class"):
        load_source(f"folder:{tmp_path}", "val")
