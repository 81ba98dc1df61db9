"""`hf:PATH`, on sets of a few images that `datasets` saves here."""

import io
import logging
import pickle
import shutil
import sys

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import (
    DataError,
    box_loader,
    eval_batches,
    fingerprint,
    image_loader,
    load_source,
    mask_loader,
    open_source,
    survey_boxes,
)
from tests.data.pictures import encode

PIXELS = np.random.default_rng(0).integers(0, 256, (10, 4, 5, 3), np.uint8)
LABELS = [1, 0, 1, 1, 0, 1, 0, 0, 1, 0]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    datasets = pytest.importorskip("datasets", reason="pip install 'cnn-jax[hf]'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        datasets.disable_progress_bars()
        yield datasets
        datasets.enable_progress_bars()


def rows(library, *, label="label", labels=LABELS, kind=None, image="image", n=10):
    features = {image: library.Image(), label: kind or library.ClassLabel(names=["cat", "dog"])}
    return library.Dataset.from_dict(
        {image: [Image.fromarray(p) for p in PIXELS[:n]], label: labels[:n]},
        features=library.Features(features),
    )


def check(source, numbers, labels=LABELS):
    assert [r["label"] for r in source.__getitems__(range(len(source)))] == [
        labels[i] for i in numbers
    ]
    (batch,) = eval_batches(source, image_loader(source, (4, 5)), batch_size=len(numbers))
    np.testing.assert_array_equal(batch["image"], PIXELS[numbers])


def test_what_save_to_disk_writes(library, tmp_path):
    whole = rows(library)
    library.DatasetDict({"train": whole.select(range(6)), "validation": whole.select([8, 7])}) \
        .save_to_disk(tmp_path / "two")  # fmt: skip
    source = load_source(f"hf:{tmp_path}/two", "train")
    assert (source.name, source.class_names, source.upright) == ("two", ("cat", "dog"), True)
    check(source, [*range(6)])
    check(load_source(f"hf:{tmp_path}/two", "val+train[:1]"), [8, 7, 0])
    with pytest.raises(DataError, match="has no split 'test': it has 'train', 'val'"):
        load_source(f"hf:{tmp_path}/two", "test")
    whole.save_to_disk(tmp_path / "one")
    check(load_source(f"hf:{tmp_path}/one", "all"), [*range(10)])
    parts = [load_source(f"hf:{tmp_path}/one", split) for split in ("train", "test")]
    assert [len(part) for part in parts] == [8, 2]
    assert [r["label"] for r in parts[1].__getitems__([0, 1])] == [1, 0]


@pytest.mark.parametrize("name", ["data/{}-00000-of-00001", "{}", "{}/0000", "set/{}_1"])
def test_parquet(library, tmp_path, name):
    for split, numbers in (("train", range(6)), ("test", [8, 7])):
        file = tmp_path / f"{name.format(split)}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows(library).select(numbers).to_parquet(file)
    check(load_source(f"hf:{tmp_path}", "train"), [*range(6)])
    check(load_source(f"hf:{tmp_path}", "test"), [8, 7])


@pytest.mark.parametrize("kind", ["binary", "struct"])
def test_parquet_of_other_programs(library, tmp_path, kind):
    """Without the columns' types that `datasets` notes in its files."""
    import pyarrow
    from pyarrow import parquet

    encoded = [encode(pixels) for pixels in PIXELS]
    images = encoded if kind == "binary" else [{"bytes": e, "path": "x.png"} for e in encoded]
    table = pyarrow.table({"image": images, "label": [("ant", "bee")[i] for i in LABELS]})
    parquet.write_table(table, tmp_path / "train.parquet")
    source = load_source(f"hf:{tmp_path}", "train")
    assert source.class_names == ("ant", "bee")
    check(source, [*range(10)])


def test_labels_of_other_types_and_names(library, tmp_path):
    rows(library, label="fine_label", image="img").save_to_disk(tmp_path / "a")
    check(load_source(f"hf:{tmp_path}/a", "all"), [*range(10)])
    texts = [("ant", "bee")[label] for label in LABELS]
    rows(library, labels=texts, kind=library.Value("string"), image="photo").save_to_disk(
        tmp_path / "b"
    )
    source = load_source(f"hf:{tmp_path}/b", "all")
    assert source.class_names == ("ant", "bee")
    check(source, [*range(10)])
    numbers = [(9, 10)[label] for label in LABELS]
    rows(library, labels=numbers, kind=library.Value("int64")).save_to_disk(tmp_path / "c")
    source = load_source(f"hf:{tmp_path}/c", "all")
    assert source.class_names == ("9", "10")
    check(source, [*range(10)])


def test_masks(library, tmp_path):
    masks = [np.full((4, 5), i % 3, np.uint8) for i in range(10)]
    features = {"image": library.Image(), "annotation": library.Image()}
    library.Dataset.from_dict(
        {
            "image": [Image.fromarray(p) for p in PIXELS],
            "annotation": [Image.fromarray(m) for m in masks],
        },
        features=library.Features(features),
    ).save_to_disk(tmp_path)
    source = open_source(f"hf:{tmp_path}", "all", holds="mask", class_names=["a", "b"], ignored=[2])
    (batch,) = eval_batches(source, mask_loader(source, (4, 5)), batch_size=10)
    np.testing.assert_array_equal(batch["image"], PIXELS)
    np.testing.assert_array_equal(batch["label"], np.where(np.stack(masks) == 2, 255, masks))
    assert len(open_source(f"hf:{tmp_path}", "test", holds="mask", class_names="ab")) == 2
    with pytest.raises(DataError, match=r"class_names=a,b,c"):
        open_source(f"hf:{tmp_path}", "all", holds="mask")
    with pytest.raises(DataError, match="column of classes for the label, named label"):
        load_source(f"hf:{tmp_path}", "all")


def test_what_cannot_be_right_is_refused(library, tmp_path):
    with pytest.raises(DataError, match=r"there is no folder .*save_to_disk\(FOLDER\)"):
        load_source("hf:beans", "train")
    with pytest.raises(DataError, match="holds neither what save_to_disk writes"):
        load_source(f"hf:{tmp_path}", "train")
    rows(library, labels=[1, 0, -1] + [1] * 7).save_to_disk(tmp_path / "a")
    with pytest.raises(DataError, match=r"1 rows of 'all' have no label .* the first is row 2"):
        load_source(f"hf:{tmp_path}/a", "all")
    rows(library, labels=[1, None, 0] + [1] * 7).save_to_disk(tmp_path / "b")
    with pytest.raises(DataError, match="row 1: the label is missing"):
        load_source(f"hf:{tmp_path}/b", "all")
    rows(library, labels=[0.5] * 10, kind=library.Value("float32")).save_to_disk(tmp_path / "c")
    with pytest.raises(DataError, match=r"the label is '0\.5': wanted one class"):
        load_source(f"hf:{tmp_path}/c", "all")
    rows(library, label="species").save_to_disk(tmp_path / "d")
    with pytest.raises(DataError, match="it has image, species: rename_column"):
        load_source(f"hf:{tmp_path}/d", "all")
    (tmp_path / "d" / "state.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read: JSONDecodeError"):
        load_source(f"hf:{tmp_path}/d", "all")
    for config in ("large", "small"):
        (tmp_path / "e" / config).mkdir(parents=True)
        rows(library).to_parquet(tmp_path / "e" / config / "train-0.parquet")
    with pytest.raises(DataError, match=r"'train' is in .*large and in .*small: write the folder"):
        load_source(f"hf:{tmp_path}/e", "train")
    rows(library).to_parquet(tmp_path / "e" / "large" / "extra.parquet")
    with pytest.raises(DataError, match=r"extra\.parquet names no split, and others do"):
        load_source(f"hf:{tmp_path}/e/large", "train")


def test_fingerprint_and_workers(library, tmp_path, caplog):
    def of(where):
        return fingerprint.fingerprint(load_source(f"hf:{tmp_path}/{where}", "all"))

    rows(library).save_to_disk(tmp_path / "here")
    before = of("here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert of("there") == before
    source = load_source(f"hf:{tmp_path}/there", "all")
    with caplog.at_level(logging.WARNING):
        check_again = pickle.loads(pickle.dumps(source.records))
    assert check_again.__getitems__([3])[0] == source[3]
    rows(library, labels=LABELS[::-1]).save_to_disk(tmp_path / "other")
    assert of("other") != before


def test_a_changed_parquet_file_is_read_anew(library, tmp_path):
    def read():
        source = load_source(f"hf:{tmp_path}", "train")
        return [source[i]["label"] for i in range(10)], fingerprint.fingerprint(source)

    rows(library).to_parquet(tmp_path / "train.parquet")
    before = read()
    assert before[0] == LABELS
    rows(library, labels=LABELS[::-1]).to_parquet(tmp_path / "train.parquet")
    after = read()
    assert after[0] == LABELS[::-1]
    assert after[1] != before[1]


BOXES = [[[1, 1, 2, 3], [0, 0, 5, 4]], [], [[2, 0, 3, 2]]]  # of images 5 wide and 4 high
KINDS = [[1, 0], [], [1]]


def objects(library, *, boxes=BOXES, kinds=KINDS, kind=None, listed=False, **more):
    names = kind or library.ClassLabel(names=["cat", "dog"])
    box = library.Sequence(library.Value("float32"), 4)
    fields = {"bbox": box, "category": names, **{name: library.Value("bool") for name in more}}
    some = [
        {"bbox": b, "category": k, **{name: values[i] for name, values in more.items()}}
        for i, (b, k) in enumerate(zip(boxes, kinds, strict=True))
    ]
    if listed:
        some = [
            [{"bbox": b, "category": k} for b, k in zip(*o.values(), strict=True)] for o in some
        ]
    within = [fields] if listed else {name: library.Sequence(f) for name, f in fields.items()}
    return library.Dataset.from_dict(
        {"image": [Image.fromarray(p) for p in PIXELS[:3]], "objects": some},
        features=library.Features({"image": library.Image(), "objects": within}),
    )


@pytest.mark.parametrize("listed", [False, True])
def test_boxes(library, tmp_path, listed):
    objects(library, listed=listed).save_to_disk(tmp_path)
    source = open_source(f"hf:{tmp_path}", "all", holds="boxes")
    assert source.class_names == ("cat", "dog")
    first, second, third = source.__getitems__([0, 1, 2])
    np.testing.assert_allclose(first["boxes"], [[0.2, 0.25, 0.6, 1], [0, 0, 1, 1]])
    assert first["labels"].tolist() == [1, 0]
    assert not first["crowd"].any()
    assert second["boxes"].shape == (0, 4)
    np.testing.assert_allclose(third["boxes"], [[0.4, 0, 1, 0.5]])
    assert survey_boxes(source).boxes == 3
    before = fingerprint.fingerprint(source)
    objects(library, kinds=[[0, 0], [], [1]]).save_to_disk(tmp_path / "other")
    other = open_source(f"hf:{tmp_path}/other", "all", holds="boxes")
    assert fingerprint.fingerprint(other) != before


def test_boxes_of_crowds_and_of_classes_without_names(library, tmp_path):
    texts = [["bee", "ant"], [], ["bee"]]
    objects(
        library, kinds=texts, kind=library.Value("string"), is_crowd=[[True, False], [], [False]]
    ).save_to_disk(tmp_path)
    source = open_source(f"hf:{tmp_path}", "all", holds="boxes")
    assert source.class_names == ("ant", "bee")
    assert source[0]["labels"].tolist() == [1, 0]
    assert source[0]["crowd"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[[1, 1, 3, 4], [0, 0, 5, 4]], [], [[2, 0, 5, 2]]], r"seem to be corners"),
        ([[[0.2, 0.2, 0.5, 0.5], [0, 0, 1, 1]], [], [[0.5, 0, 0.5, 1]]], "seem to be fractions"),
        ([[[1, 1, 3, 4]], [], [[2, 0, 5, 2]]], r"row 0: 1 boxes and 2 categories"),
    ],
)
def test_boxes_that_cannot_be_right_are_refused(library, tmp_path, boxes, message):
    objects(library, boxes=boxes).save_to_disk(tmp_path)
    with pytest.raises(DataError, match=message):
        open_source(f"hf:{tmp_path}", "all", holds="boxes")


def photographs(library, size, kind):
    """Two images whose stored pixels lie on their side, with a white square in each; their masks
    or boxes are of the upright images, or of the stored ones."""
    images, masks = [], []
    for orientation in (6, 8):
        upright = np.zeros((size[1], size[0], 3), np.uint8)
        upright[6:9, 1:3] = 255
        stored = np.rot90(upright, 1 if orientation == 6 else 3)
        exif = Image.Exif()
        exif[0x112] = orientation
        encoded = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(stored)).save(encoded, "PNG", exif=exif)
        images.append({"bytes": encoded.getvalue(), "path": None})
        masks.append((stored if kind == "stored" else upright)[..., 0] // 255)
    return images, masks


@pytest.mark.parametrize("size", [(4, 10), (10, 10)])
@pytest.mark.parametrize("kind", ["stored", "upright"])
def test_images_that_are_turned(library, tmp_path, size, kind, caplog):
    """By the size that an annotation gives, as for folders; squares are taken as upright, and
    it is said."""
    images, masks = photographs(library, size, kind)
    library.Dataset.from_dict(
        {"image": images, "mask": [Image.fromarray(mask) for mask in masks]},
        features=library.Features({"image": library.Image(), "mask": library.Image()}),
    ).save_to_disk(tmp_path / "masks")
    rows_of = [np.flatnonzero(mask.any(1)) for mask in masks]
    columns = [np.flatnonzero(mask.any(0)) for mask in masks]
    boxes = [
        [[int(x[0]), int(y[0]), len(x), len(y)]] for x, y in zip(columns, rows_of, strict=True)
    ]
    box = library.Sequence(library.Value("float32"), 4)
    objects = {"bbox": library.Sequence(box.feature, 4), "category": library.Value("int64")}
    features = {"image": library.Image(), "objects": [objects]}
    features |= dict.fromkeys(("width", "height"), library.Value("int64"))
    library.Dataset.from_dict(
        {
            "image": images,
            "objects": [[{"bbox": b[0], "category": 0}] for b in boxes],
            "width": [mask.shape[1] for mask in masks],
            "height": [mask.shape[0] for mask in masks],
        },
        features=library.Features(features),
    ).save_to_disk(tmp_path / "boxes")
    square = size[0] == size[1]
    with caplog.at_level(logging.WARNING):
        with_masks = open_source(
            f"hf:{tmp_path}/masks", "all", holds="mask", class_names=["black", "white"]
        )
        with_boxes = open_source(f"hf:{tmp_path}/boxes", "all", holds="boxes")
    assert ("their sizes do not tell" in caplog.text) == square
    if square and kind == "stored":
        return  # what is said is all that can be done
    for batch in eval_batches(with_masks, mask_loader(with_masks, size[::-1]), batch_size=2):
        np.testing.assert_array_equal(batch["label"], batch["image"][..., 0] // 255)
    for index in range(2):
        example = box_loader(with_boxes, size[::-1], capacity=1)(with_boxes[index], None)
        np.testing.assert_allclose(example["boxes"], [[1, 6, 3, 9]], atol=1e-5)
        assert example["image"][6:9, 1:3].min() == 255


def test_a_size_that_is_neither(library, tmp_path):
    few = objects(library)
    sizes = {"width": [5, 5, 9], "height": [4, 4, 4]}
    for name, values in sizes.items():
        few = few.add_column(name, values)
    few.save_to_disk(tmp_path)
    with pytest.raises(DataError, match=r"row 2 of all \(9x4, and the image has 5x4\)"):
        open_source(f"hf:{tmp_path}", "all", holds="boxes")


def test_a_set_without_objects(library, tmp_path):
    rows(library).save_to_disk(tmp_path)
    with pytest.raises(DataError, match=r"wanted a column `objects`.* it has image, label"):
        open_source(f"hf:{tmp_path}", "all", holds="boxes")


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'cnn-jax\[hf\]'") as raised:
        load_source(f"hf:{tmp_path}", "train")
    assert "\n" not in str(raised.value)
