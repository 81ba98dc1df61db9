"""Folders as people have them: what is a class, what is a split, and which files count."""

import os
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, image_loader, load_source


def image(path, seed=0, form=None):
    """An image that no other one equals."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path, format=form)
    return path


def classes(root, names=("ant", "bee"), n=10, suffix=".png", below=""):
    for k, name in enumerate(names):
        for i in range(n):
            image(root / name / below / f"{i}{suffix}", 100 * k + i)
    return root


def read(root, split="all"):
    """How many examples of each class a split has; every label is checked against the file."""
    source = load_source(f"folder:{root}", split)
    counts = Counter()
    for record in map(source.__getitem__, range(len(source))):
        name = source.class_names[record["label"]]
        assert name in record["image"].parts
        counts[name] += 1
    return dict(counts)


def said(caplog, text):
    return any(text in message for message in caplog.messages)


def test_a_test_split_without_class_folders_has_no_labels(tmp_path, caplog):
    classes(tmp_path / "train")
    for i in range(6):
        image(tmp_path / "test" / f"{i}.png", 50 + i)
    assert read(tmp_path, "train") == {"ant": 10, "bee": 10}
    assert said(caplog, "test has no labels, and is left out")
    with pytest.raises(DataError, match=r"'test' are in no folder of a class.*'train\[90%:\]'"):
        load_source(f"folder:{tmp_path}", "test")


@pytest.mark.parametrize("name", ["unknown", "test"])
def test_a_test_split_in_one_folder_that_is_no_class(tmp_path, name):
    classes(tmp_path / "train")
    classes(tmp_path / "test", (name,))
    assert load_source(f"folder:{tmp_path}", "train").class_names == ("ant", "bee")
    with pytest.raises(DataError, match="have no labels"):
        load_source(f"folder:{tmp_path}", "test")


@pytest.mark.parametrize("stray", ["preview.png", "._preview.png", ".DS_Store"])
def test_an_image_beside_the_folders_of_classes_makes_no_class(tmp_path, stray):
    classes(tmp_path / "train")
    classes(tmp_path / "test", n=3)
    image(tmp_path / "train" / stray, form="PNG")
    assert read(tmp_path, "train") == {"ant": 10, "bee": 10}
    assert read(tmp_path, "test") == {"ant": 3, "bee": 3}


def test_flat_splits_are_no_classes(tmp_path):
    classes(tmp_path, ("train", "test"))
    with pytest.raises(DataError, match=r"test, train hold images, and no folders of classes"):
        load_source(f"folder:{tmp_path}", "train")


def test_a_train_folder_of_one_class_beside_a_flat_test(tmp_path):
    classes(tmp_path / "train", ("ant",))
    classes(tmp_path, ("test",))
    with pytest.raises(DataError, match="at least two classes; found ant"):
        load_source(f"folder:{tmp_path}", "train")


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    classes(tmp_path, ("bus", "train"), n=5)
    assert read(tmp_path, "train") == {"bus": 4, "train": 4}


def test_two_readings_are_both_named(tmp_path):
    classes(tmp_path / "train")
    classes(tmp_path, ("spare",))
    with pytest.raises(DataError, match=r"two ways: train/ has the folders ant, bee.* and spare"):
        load_source(f"folder:{tmp_path}", "train")


HIDDEN = (".ipynb_checkpoints", "@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", ".thumbs")


@pytest.mark.parametrize("divided", [False, True])
def test_hidden_and_system_folders_do_not_exist(tmp_path, divided):
    classes(tmp_path / "train" if divided else tmp_path)
    base = tmp_path / "train" if divided else tmp_path
    for hidden in HIDDEN:
        for place in (tmp_path, base, base / "ant", base / "ant" / "deeper"):
            image(place / hidden / "ant" / "0.png", 7)
            image(place / hidden / "0-checkpoint.png", 7)
    for junk in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini", ".hidden.png"):
        (base / "bee" / junk).write_bytes(b"\0\5\26\7" + bytes(78))
    assert read(tmp_path, "train") == ({"ant": 10, "bee": 10} if divided else {"ant": 8, "bee": 8})


def test_images_a_level_deeper(tmp_path, caplog):
    for i in range(5):
        image(tmp_path / "cat" / "monday" / f"{i}.png", i)
        image(tmp_path / "dog" / "friday" / f"{i}.png", 10 + i)
    assert read(tmp_path) == {"cat": 5, "dog": 5}
    assert said(caplog, "cat, dog are read as classes, with images a level deeper")
    image(tmp_path / "dog" / "monday" / "9.png", 20)
    with pytest.raises(DataError, match=r"two ways: as the classes cat, dog, or as splits"):
        load_source(f"folder:{tmp_path}", "train")
    assert len(load_source(f"folder:{tmp_path}", "dog")) == 6  # who asks for it means a split


def test_the_set_is_one_folder_deeper(tmp_path):
    classes(tmp_path / "images")
    with pytest.raises(DataError, match=r"found images alone.*write folder:.*/images"):
        load_source(f"folder:{tmp_path}", "train")


def test_every_file_once(tmp_path, caplog):
    classes(tmp_path)
    (tmp_path / "ant" / "latest").symlink_to(".")
    (tmp_path / "ant" / "best.png").symlink_to("0.png")
    assert read(tmp_path) == {"ant": 10, "bee": 10}
    assert said(caplog, "left out 2 links to what was already read")


@pytest.mark.parametrize("target", ["..", "../..", "../bee", "../bee/0.png", "../../test/bee"])
def test_no_link_leads_to_another_class(tmp_path, target, caplog):
    """One to the folder above gave every bee a second example, as an ant."""
    classes(tmp_path / "train")
    classes(tmp_path / "test", n=3)
    (tmp_path / "train" / "ant" / "link.png").symlink_to(target)
    source = load_source(f"folder:{tmp_path}", "train")
    assert sorted(Counter(r["label"] for r in map(source.__getitem__, range(20))).items()) == [
        (0, 10),
        (1, 10),
    ]
    assert len(source) == 20
    assert said(caplog, "left out 1 links to images of other classes")


def test_splits_may_be_made_of_links(tmp_path):
    classes(tmp_path / "pool")
    for split, some in (("train", range(8)), ("test", range(8, 10))):
        for name in ("ant", "bee"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in some:
                link = tmp_path / split / name / f"{i}.png"
                link.symlink_to(f"../../pool/{name}/{i}.png")
    assert read(tmp_path, "train") == {"ant": 8, "bee": 8}
    assert read(tmp_path, "test") == {"ant": 2, "bee": 2}


def test_links_to_nothing_are_counted_and_left_out(tmp_path, caplog):
    classes(tmp_path)
    (tmp_path / "ant" / "x.png").symlink_to("/nowhere.png")
    assert read(tmp_path) == {"ant": 10, "bee": 10}
    assert said(caplog, "left out 1 links to nothing")


def test_images_of_other_suffixes(tmp_path, caplog):
    for name, suffix in (("ant", ".jfif"), ("bee", ".JPEG"), ("cat", ""), ("dog", ".TIF")):
        for i in range(3):
            image(tmp_path / name / f"{i}{suffix}", i, "TIFF" if suffix == ".TIF" else "JPEG")
    (tmp_path / "ant" / "README").write_text("no image")
    (tmp_path / "ant" / "0.heic").write_bytes(b"x")
    (tmp_path / "ant" / "0.jfif~").write_bytes(b"x")
    assert read(tmp_path) == {"ant": 3, "bee": 3, "cat": 3, "dog": 3}
    assert said(caplog, "left out 3 files that are not images: 1 .heic, 1 .jfif~, 1 no suffix")
    source = load_source(f"folder:{tmp_path}", "all")
    load = image_loader(source, 4)
    assert all(load(source[i], None)["image"].shape == (4, 4, 3) for i in range(len(source)))


def test_names_that_are_not_utf_8(tmp_path):
    classes(tmp_path)
    shutil.copy(tmp_path / "ant/0.png", os.fsencode(tmp_path) + b"/ant/Mu\xf1oz.png")
    assert read(tmp_path) == {"ant": 11, "bee": 10}
    os.rename(tmp_path / "bee", os.fsencode(tmp_path) + b"/Mu\xf1oz")
    source = load_source(f"folder:{tmp_path}", "all")
    assert source.class_names == ("Mu\xf1oz", "ant")
    assert all(source.describe(i).encode() for i in range(len(source)))  # may be printed
    classes(tmp_path, ("Mu\xf1oz",))
    with pytest.raises(DataError, match="two folders of classes have the name Mu\xf1oz"):
        load_source(f"folder:{tmp_path}", "all")


def test_classes_that_differ_in_case(tmp_path, caplog):
    classes(tmp_path, ("Cat", "cat", "dog"))
    assert read(tmp_path) == {"Cat": 10, "cat": 10, "dog": 10}
    assert said(caplog, "'Cat' and 'cat' are two classes; if not, merge them")


@pytest.mark.parametrize("names", [("Cat", "dog"), ("Cat", "Dog"), ("cat ", "dog")])
def test_classes_that_are_written_otherwise_in_another_split(tmp_path, names):
    classes(tmp_path / "train", ("cat", "dog"))
    classes(tmp_path / "val", names)
    with pytest.raises(DataError, match=r"differ in case alone|is written Cat in val"):
        load_source(f"folder:{tmp_path}", "train")


def test_a_class_that_is_only_tested(tmp_path, caplog):
    classes(tmp_path / "train")
    classes(tmp_path / "test", ("ant", "cow"))
    assert load_source(f"folder:{tmp_path}", "train").class_names == ("ant", "bee", "cow")
    assert said(caplog, "1 classes have no folder in train, and cannot be learnt: cow")


def test_one_class_alone_is_nothing_to_learn(tmp_path, caplog):
    classes(tmp_path, ("ant",))
    (tmp_path / "bee").mkdir()
    with pytest.raises(DataError, match=r"all 8 images are of the class ant.*nothing to learn"):
        load_source(f"folder:{tmp_path}", "train")
    load_source(f"folder:{tmp_path}", "test")
    assert said(caplog, "an accuracy on one class says little")


@pytest.mark.parametrize("target", [".", ".."])
def test_a_link_to_the_folder_itself_is_no_class(tmp_path, target, caplog):
    classes(tmp_path / "set")
    (tmp_path / "set" / "all").symlink_to(target)
    assert load_source(f"folder:{tmp_path / 'set'}", "all").class_names == ("ant", "bee")
    assert said(caplog, "left out all, which leads back up")


@pytest.mark.parametrize("divided", [False, True])
def test_a_class_that_is_a_link_to_another(tmp_path, divided):
    """Every image had two labels."""
    root = classes(tmp_path / "train" if divided else tmp_path)
    (root / "wasp").symlink_to("bee")
    with pytest.raises(DataError, match=r"/bee and .*/wasp are one folder, by a link"):
        load_source(f"folder:{tmp_path}", "train")


def test_a_test_split_that_is_a_link_to_train(tmp_path, caplog):
    classes(tmp_path / "train")
    (tmp_path / "test").symlink_to("train")
    assert read(tmp_path, "test") == {"ant": 10, "bee": 10}
    assert said(caplog, "test leads to the images of train: a test on what was trained on")


def test_splits_of_other_names_are_found(tmp_path):
    classes(tmp_path / "Training")
    classes(tmp_path / "valid", n=3)
    classes(tmp_path / "Test", n=2)
    for split, n in (("train", 10), ("Training", 10), ("val", 3), ("validation", 3), ("test", 2)):
        assert read(tmp_path, split) == {"ant": n, "bee": n}
    with pytest.raises(DataError, match="no split 'extra': it has 'Test', 'Training', 'valid'"):
        read(tmp_path, "extra")
