"""`csv:PATH`, on lists of a few images that are made here."""

import logging
import shutil

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, eval_batches, fingerprint, image_loader, load_source


def images(root, *names):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i, 0, 0)).save(root / name)


def held(source):
    """{file: name of its class}"""
    return {
        str(record["image"].relative_to(source.records.root)): source.class_names[record["label"]]
        for record in source.__getitems__(range(len(source)))
    }


WANTED = {"a.png": "cat", "in/b.png": "dog", "c, d.png": "cat"}
FORMS = {
    "names": 'file,label\na.png,cat\nin/b.png,dog\n"c, d.png",cat\n',
    "byte-order mark, returns, other names": (
        '\ufeffClass Name,File Path\r\n"cat","a.png"\r\ndog,in/b.png\r\ncat,"c, d.png"\r\n'
    ),
    "semicolons": "image;size;label\na.png;1;cat\nin/b.png;2;dog\nc, d.png;3;cat\n",
    "separators at the end": 'file,label,\na.png,cat,\nin/b.png,dog\n"c, d.png",cat,,\n',
    "tabs": "filename\tcategory\na.png\tcat\nin/b.png\tdog\nc, d.png\tcat\n",
    "bars": "filename|category\na.png|cat\nin/b.png|dog\nc, d.png|cat\n",
    "Excel's own line": 'sep=;\r\nimage;label\r\na.png;cat\r\nin/b.png;dog\r\n"c, d.png";cat\r\n',
    "ids": 'image_id,label\na,cat\nin/b,dog\n"c, d",cat\n',
    "no names": 'a.png,cat\nin/b.png,dog\n"c, d.png",cat',
    "blank lines and cells at the end": (
        'path,target\n\na.png, cat,\n,\n  \nin/b.png, dog\n./c/../c\u002c d.png,cat\n'.replace(
            "./c/../c, d.png", '"./in/../c, d.png"'
        )
    ),
    "written on Windows": 'file,label\n.\\a.png,cat\nin\\b.png,dog\n"c, d.png",cat\n',
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_list_of_files_and_labels(form, tmp_path):
    images(tmp_path, *WANTED)
    (tmp_path / "labels.csv").write_text(FORMS[form], encoding="utf-8", newline="")
    source = load_source(f"csv:{tmp_path}/labels.csv", "all")
    assert held(source) == WANTED
    assert source.class_names == ("cat", "dog")
    assert (source.name, source.image_shape, source.upright) == ("labels", (None, None, 3), True)
    (batch,) = eval_batches(source, image_loader(source, 4), batch_size=3)
    red = {"a.png": 0, "in/b.png": 1, "c, d.png": 2}
    order = [str(r["image"].relative_to(tmp_path)) for r in source.__getitems__(range(3))]
    assert batch["image"][:, 0, 0, 0].tolist() == [red[name] for name in order]


@pytest.mark.parametrize("folder", ["images", "train", "train_images"])
@pytest.mark.parametrize("suffix", ["", ".png"])
def test_images_in_a_folder_beside_the_list(tmp_path, folder, suffix):
    images(tmp_path / folder, "a.png", "b.png")
    (tmp_path / "train.csv").write_text(f"id_code,label\na{suffix},0\nb{suffix},1\n")
    wanted = {f"{folder}/a.png": "0", f"{folder}/b.png": "1"}
    assert held(load_source(f"csv:{tmp_path}/train.csv", "all")) == wanted
    assert held(load_source(f"csv:{tmp_path}", "train")) == wanted
    images(tmp_path / folder, "b.jpg")
    if not suffix:
        with pytest.raises(DataError, match=r"b \(.*train\.csv:3\) not found"):
            load_source(f"csv:{tmp_path}/train.csv", "all")


def test_absolute_paths(tmp_path):
    images(tmp_path / "elsewhere", "a.png", "b.png")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "l.csv").write_text(
        f"{tmp_path}/elsewhere/a.png,x\n../elsewhere/b.png,y\n"
    )
    source = load_source(f"csv:{tmp_path}/list/l.csv", "all")
    found = sorted(record["image"].resolve() for record in source.__getitems__([0, 1]))
    assert found == [tmp_path / "elsewhere" / "a.png", tmp_path / "elsewhere" / "b.png"]


def test_numbers_are_in_the_order_of_their_values(tmp_path):
    images(tmp_path, *(f"{i}.png" for i in range(12)))
    (tmp_path / "l.csv").write_text("".join(f"{i}.png,{i}\n" for i in reversed(range(12))))
    source = load_source(f"csv:{tmp_path}/l.csv", "all")
    assert source.class_names == tuple(str(i) for i in range(12))
    assert all(
        record["image"].name == f"{record['label']}.png"
        for record in source.__getitems__(range(12))
    )


def test_a_column_says_the_splits(tmp_path, caplog):
    images(tmp_path, "a.png", "b.png", "c.png", "d.png")
    (tmp_path / "l.csv").write_text(
        "file,label,Split\na.png,x,train\nb.png,y,Training\nc.png,y,valid\nd.png,z,test\n"
    )
    with caplog.at_level(logging.WARNING):
        parts = {
            split: held(load_source(f"csv:{tmp_path}/l.csv", split))
            for split in ("train", "val", "valid", "test", "train+validation", "train[:50%]")
        }
    assert parts["train"] == {"a.png": "x", "b.png": "y"}
    assert parts["val"] == parts["valid"] == {"c.png": "y"}
    assert parts["test"] == {"d.png": "z"}
    assert parts["train+validation"] == {"a.png": "x", "b.png": "y", "c.png": "y"}
    assert len(parts["train[:50%]"]) == 1
    assert "no image of 'train' has the label 'z'" in caplog.text
    with pytest.raises(DataError, match="has no split 'all': it has 'train', 'val', 'test'"):
        load_source(f"csv:{tmp_path}/l.csv", "all")


def test_a_folder_with_a_list_for_each_split(tmp_path, caplog):
    images(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "train.csv").write_text("a.png,x\nb.png,y\n")
    (tmp_path / "test.tsv").write_text("file\tlabel\nc.png\ty\n")
    (tmp_path / "notes.csv").write_text("who,when\n")
    with caplog.at_level(logging.WARNING):
        source = load_source(f"csv:{tmp_path}", "test")
    assert held(source) == {"c.png": "y"}
    assert source.class_names == ("x", "y"), "those of all splits"
    assert source.name == tmp_path.name
    assert "left out notes.csv" in caplog.text


def test_without_splits_a_share_of_every_class_is_for_tests(tmp_path):
    names = [f"{c}{i}.png" for c in "xy" for i in range(10)]
    images(tmp_path, *names)
    lines = [f"{name},{name[0]}\n" for name in names]
    (tmp_path / "l.csv").write_text("".join(lines))
    train, test = (held(load_source(f"csv:{tmp_path}/l.csv", s)) for s in ("train", "test"))
    assert sorted(train.values()) == ["x"] * 8 + ["y"] * 8
    assert sorted(test.values()) == ["x"] * 2 + ["y"] * 2
    assert not {*train} & {*test}
    (tmp_path / "l.csv").write_text("".join(reversed(lines)))
    assert held(load_source(f"csv:{tmp_path}/l.csv", "test")) == test, "of any order of the lines"


def test_repeated_lines_are_left_out_and_said(tmp_path, caplog):
    images(tmp_path, "a.png", "b.png")
    (tmp_path / "l.csv").write_text("file,label\na.png,x\nb.png,y\n./a.png,x\n")
    with caplog.at_level(logging.WARNING):
        assert len(load_source(f"csv:{tmp_path}/l.csv", "all")) == 2
    assert "left out 1 lines that repeat another, the first is line 4, ./a.png" in caplog.text


def test_labels_that_may_be_a_slip_are_said(tmp_path, caplog):
    images(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "l.csv").write_text("a.png,Cat\nb.png,cat\nc.png,1\n")
    with caplog.at_level(logging.WARNING):
        load_source(f"csv:{tmp_path}/l.csv", "all")
    assert "the labels 'Cat' and 'cat' are two classes" in caplog.text
    assert "some are texts: '1' and 'Cat'" in caplog.text


REFUSED = {
    "": "l.csv is empty",
    "file,label\n": "has no line but the names",
    "name,species\na.png,x\n": r"l\.csv:1: no column for the file .* nor for the label .* species",
    "file,species\na.png,x\n": r"l\.csv:1: no column for the label .*among file, species",
    "file,x,y\na.png,0,1\n": "no column for the label",
    "a.png,x,train\nb.png,y,test\n": "among a.png, x, train; add a first line with names",
    "x,a.png\ny,b.png\n": "among x, a.png; add a first line with names",
    "file,label,class\na.png,0,x\n": "the columns 'label' and 'class' may each be the label",
    "file,label\na.png,x\nb.png,\n": r"l\.csv:3: the label is empty",
    "file,label\n,x\n": r"l\.csv:2: the file is empty",
    "a.png,": r"l\.csv:1: the label is empty",
    "file,label\n\na.png,x\nb.png,y,z\n": r"l\.csv:4: 3 cells, and the first line has 2",
    "file,label\na.png\n": r"l\.csv:2: 1 cells",
    'file,label\n"a.png,x\n': "is not a CSV: line 2: unexpected end of data",
    "file,label,split\na.png,x,fold1\n": r"l\.csv:2: the split is 'fold1', wanted train, val or",
    "file,label\na.png,x\nb.png,x\n": "every image has the label 'x'",
    "file,label\na.png,0.5\nb.png,1\n": r"labels such as 0\.5 are fractions",
    "file,label\na.png,1\nb.png,01\n": "the labels '01' and '1' are one number",
    "file,label\na.png,x\nb.png,y\na.png,y\n": (
        r"l\.csv:4: a\.png has the label 'y' here and 'x' in line 2"
    ),
    "file,label,split\na.png,x,train\nb.png,y,train\na.png,x,test\n": (
        r"a\.png is in 'train' \(.*l\.csv:2\) and in 'test' \(.*l\.csv:4\)"
    ),
    "file,label\na.png,x\nno.png,y\nnor.png,y\n": (
        r"no\.png \(.*l\.csv:3\).* not found from|nor\.png \(.*l\.csv:4\).* not found from"
    ),
    "file,label\na.png,x\nb\0.png,y\n": "not found from|not a CSV",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_right_is_refused_with_its_line(text, tmp_path):
    images(tmp_path, "a.png", "b.png")
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(DataError, match=REFUSED[text]) as raised:
        load_source(f"csv:{tmp_path}/l.csv", "test" if "split" in text else "all")
    assert "\n" not in str(raised.value)


def test_what_is_not_there_or_not_text(tmp_path):
    with pytest.raises(DataError, match="there is no"):
        load_source(f"csv:{tmp_path}/none.csv", "all")
    with pytest.raises(DataError, match="there is no ~no_such_user/l"):
        load_source("csv:~no_such_user/l.csv", "all")
    with pytest.raises(DataError, match=r"wanted train\.csv and test\.csv.* holds no CSV"):
        load_source(f"csv:{tmp_path}", "all")
    (tmp_path / "labels.csv").write_bytes("file,label\nå.png,x\n".encode("utf-16"))
    with pytest.raises(DataError, match=r"write csv:.*labels\.csv"):
        load_source(f"csv:{tmp_path}", "all")
    with pytest.raises(DataError, match="every image has the label 'x'"):  # it is read
        load_source(f"csv:{tmp_path}/labels.csv", "all")
    (tmp_path / "labels.csv").write_bytes(b"file,label\na.png,\xff\xff\n")
    with pytest.raises(DataError, match=r"labels\.csv is not text in UTF-8: line 2 has the byte"):
        load_source(f"csv:{tmp_path}/labels.csv", "all")
    (tmp_path / "valid.csv").write_text("a.png,x\n")
    (tmp_path / "val.csv").write_text("a.png,x\n")
    with pytest.raises(DataError, match="lists of one split"):
        load_source(f"csv:{tmp_path}", "val")


def test_the_fingerprint_tells_changes_but_not_the_place(tmp_path):
    images(tmp_path / "here", "a.png", "b.png")
    (tmp_path / "here" / "l.csv").write_text("a.png,x\nb.png,y\n")

    def of(where):
        return fingerprint.fingerprint(load_source(f"csv:{tmp_path}/{where}/l.csv", "all"))

    before = of("here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert of("there") == before
    (tmp_path / "there" / "l.csv").write_text("a.png,y\nb.png,x\n")
    assert of("there") != before
    (tmp_path / "there" / "l.csv").write_text("b.png,y\n\na.png,x\n")
    assert of("there") == before
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)).save(
        tmp_path / "there" / "a.png"
    )
    assert of("there") != before
