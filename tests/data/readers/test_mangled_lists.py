"""Lists, arrays and label files with bytes inserted, removed and changed: read, or one clear line.

A few hundred by default; `pytest -m exhaustive` reads 4,000 of each kind.
"""

import io
import random

import numpy as np
import pytest
from PIL import Image

from cnn_jax.data import DataError, open_source

PIECES = (
    *(text.encode() for text in (
        ",", ";", "\t", '"', "\n", "\r", "\0", "nan", "1e999", "-", ":", "{", "[", "*a", "&a", "..",
        "/", "0", "9" * 400, " ", "\ufeff", "'", "!", "null", "~", "é", "#", "|", "2020-01-01",
        "1_0",
    )),
    b"\xff",
)  # fmt: skip


def mangled(content, rng):
    content = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place, what = rng.randrange(len(content) + 1), rng.random()
        if what < 0.4:
            content[place:place] = rng.choice(PIECES)
        elif what < 0.7:
            del content[place : place + rng.randint(1, 8)]
        elif what < 0.9 and content:
            content[place % len(content)] = rng.randrange(256)
        else:
            content = content[:place]
    return bytes(content)


def arrays():
    content = io.BytesIO()
    images = np.arange(96, dtype=np.uint8).reshape(4, 4, 6)
    np.savez_compressed(content, train_images=images, train_labels=np.arange(4)[:, None])
    return content.getvalue()


LABELS = b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.3 0.3 0.2 0.5\n"
CASES = {  # kind and path -> the file that is mangled, and what is in it
    "csv:labels.csv": (
        "labels.csv",
        b'file,label,split\n0.png,"a b",train\n1.png,2,train\n"2.png",x,test\n3.png,x,val\n',
    ),
    "npz:set.npz": ("set.npz", arrays()),
    "yolo:boxes": ("boxes/labels/train/0.txt", LABELS),
    "yolo:boxes/data.yaml": (
        "boxes/data.yaml",
        b"path: .\ntrain: images/train\nval: [images/train]\nnc: 2\nnames:\n  0: cat\n  1: dog\n",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [150, pytest.param(4_000, marks=pytest.mark.exhaustive)])
def test_mangled(case, count, tmp_path):
    kind, _, path = case.partition(":")
    (tmp_path / "boxes/labels/train").mkdir(parents=True)
    (tmp_path / "boxes/images/train").mkdir(parents=True)
    for folder, images in (("", 4), ("boxes/images/train", 2)):
        for i in range(images):
            Image.new("RGB", (4, 4)).save(tmp_path / folder / f"{i}.png")
    for file, content in CASES.values():
        (tmp_path / file).write_bytes(content)
    (tmp_path / "boxes/labels/train/1.txt").write_bytes(LABELS)
    file, content = CASES[case]
    rng, read, said = random.Random(case), 0, []
    holds = "boxes" if kind == "yolo" else "label"
    for _ in range(count):
        (tmp_path / file).write_bytes(mangled(content, rng))
        try:
            source = open_source(f"{kind}:{tmp_path / path}", "train", holds=holds)
            assert len(source.__getitems__(range(len(source)))) == len(source)
            read += 1
        except DataError as error:
            said.append(str(error))
    assert all(str(tmp_path) in line and "\n" not in line for line in said)
    assert 0 < read < count
