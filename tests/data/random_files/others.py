"""Masks, lists in CSV, and series in .ts files, whole and damaged."""

import csv
import io

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from cnn_jax.data import DataError, load_source, mask_loader, open_source
from cnn_jax.data.examples import InMemory
from cnn_jax.data.readers.ucr import read_ts
from tests.data.random_files.boxes import plain
from tests.data.random_files.damage import DAMAGES, damaged, one_line

MASKS = st.tuples(
    st.sampled_from(["L", "P", "1", "LA", "RGB", "RGBA", "I;16", "I"]),
    st.sampled_from([1, 3, 6, 8]),  # orientation of the images
    st.booleans(),  # whether the masks are of the images as they are stored
    st.sampled_from(["PNG", "TIFF", "BMP", "GIF", "JPEG"]),
    st.sampled_from([(0, 1), (0, 1, 2), (0, 255), (1, 2, 255), (0, 7, 8)]),
    st.integers(0, 2**16),
    st.sampled_from(["images", "masks"]),
    DAMAGES,
)


def check_masks(case, folder) -> str:
    mode, orientation, as_stored, form, values, seed, target, changes = case
    rng = np.random.default_rng(seed)
    turns = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]  # of the stored image, counter-clockwise
    upright = np.asarray(values, np.uint8)[rng.integers(0, len(values), (2, 9, 6))]
    upright[:, 0, : len(values)] = values
    if mode == "1":
        upright = (upright > values[0]).astype(np.uint8)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    exif = Image.Exif()
    exif[0x112] = orientation
    for i, labels in enumerate(upright):
        stored = Image.fromarray(np.ascontiguousarray(np.rot90(labels, turns)))
        Image.new("RGB", stored.size).save(folder / f"images/{i}.png", exif=exif)
        grey = mask = stored if as_stored else Image.fromarray(labels)
        if mode in ("I;16", "I"):
            mask = Image.fromarray(np.asarray(mask).astype(np.uint16 if ";" in mode else np.int32))
        elif mode == "P":
            mask = grey.copy()
            mask.putpalette([(7 * k) % 256 for k in range(768)])
        elif mode == "1":
            mask = Image.fromarray(np.asarray(mask) > 0)
        else:
            mask = mask.convert(mode)
        try:
            stream = io.BytesIO()
            if form == "GIF" and mode not in ("L", "P", "1"):  # Pillow would mix their colours
                raise OSError
            mask.save(stream, form)
        except OSError:  # a mode that this format does not have
            stream = io.BytesIO()
            grey.save(stream, "PNG")
        (folder / f"masks/{i}.png").write_bytes(stream.getvalue())
    file = folder / target / "0.png"
    file.write_bytes(damaged(file.read_bytes(), changes))
    try:
        source = open_source(f"masks:{folder}", "all", holds="mask")
        examples = InMemory(source, mask_loader(source, (9, 6)))
        found = examples.gather(np.arange(2), replace=False).arrays["label"]
    except DataError as error:
        one_line(error, str(folder))
        said = str(error)
    else:
        said = ""
    if said:
        refusable = ("a GIF in colour", "are JPEGs", "its mask is in colour")
        assert changes or any(what in said for what in refusable), said
        return "refused"
    if changes:
        return "damaged and read"
    order = [int(record["image"].stem) for record in (source[0], source[1])]
    wanted = upright[order]
    if set(values) == {0, 255}:
        wanted = wanted // wanted.max()
    if orientation != 3 or not as_stored:  # sizes do not tell, and it is said
        np.testing.assert_array_equal(found, wanted)
    return "read"


CSVS = st.tuples(
    st.lists(
        st.tuples(
            st.text("ab0 ,;'\"é猫-", min_size=1, max_size=6).map(lambda s: s.strip() or "z"),
            st.sampled_from(["cat", "dog", "a, b", "猫", '"x"', "Löwe"]),
        ),
        min_size=2, max_size=6, unique_by=lambda row: plain(row[0]),
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    st.booleans(),  # a line of names
    st.sampled_from(["\n", "\r\n"]),
    DAMAGES,
)  # fmt: skip


def check_csv(case, folder) -> str:
    rows, separator, encoded, named, end, changes = case
    for stem, _ in rows:
        Image.new("RGB", (2, 2)).save(folder / f"{stem}.png")
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator, lineterminator=end)
    writer.writerows([("file", "label")] if named else [])
    writer.writerows((f"{stem}.png", label) for stem, label in rows)
    file = folder / "labels.csv"
    file.write_bytes(damaged(stream.getvalue().encode(encoded), changes))
    try:
        source = load_source(f"csv:{file}", "all")
        found = {r["image"].stem: source.class_names[r["label"]]
                 for r in source.__getitems__(range(len(source)))}  # fmt: skip
    except DataError as error:
        one_line(error, str(folder))
        said = str(error)
    else:
        said = ""
    if said:
        assert changes or len({label for _, label in rows}) == 1, said
        return "refused"
    if changes:
        return "damaged and read"
    assert found == dict(rows)
    return "read"


NUMBERS = st.floats(-1e6, 1e6, width=32)
SERIES = st.tuples(
    st.integers(1, 3),  # channels
    st.lists(st.tuples(st.lists(NUMBERS, min_size=1, max_size=5), st.sampled_from("ab1"),),
             min_size=1, max_size=4),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    DAMAGES,
)  # fmt: skip


def check_ts(case, folder) -> str:
    channels, series, encoded, changes = case
    lines = ["@problemName x", "@timestamps false", "@classLabel true a b 1", "@data"]
    for values, label in series:
        written = ",".join(map(repr, values))
        lines.append(":".join([*[written] * channels, label]))
    file = folder / "x_TRAIN.ts"
    file.write_bytes(damaged("\n".join(lines).encode(encoded), changes))
    try:
        found, labels = read_ts(file)
    except DataError as error:
        one_line(error, "x_TRAIN.ts")
        said = str(error)
    else:
        said = ""
    if said:
        assert changes, said
        return "refused"
    assert all(np.isfinite(one).all() for one in found)
    if changes:
        return "damaged and read"
    assert labels == [label for _, label in series]
    for one, (values, _) in zip(found, series, strict=True):
        wanted = np.array(values, np.float32)[:, None].repeat(channels, 1)
        np.testing.assert_array_equal(one, wanted)
    return "read"
