"""Bad flags and files, 1,270 of them: success, or one clear line and exit status 1 or 2.

Everything runs in this process, through what `entry.launch` runs: the same parser of flags, the
same list of expected errors. Whatever else is raised is a bug of ours. Training itself is left out
(it has tests of its own): a run begins where its directory is opened.
"""

import dataclasses
import gc
import io
import json
import os
import shutil
import struct
import time
import zipfile

import jax
import numpy as np
import pytest
from absl import app, flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cnn_jax import data
from cnn_jax.run import classification, detection, segmentation
from cnn_jax.run import settings as texts
from cnn_jax.run import workdir as workdirs
from cnn_jax.run.optimisation import optimizer_of, plan_of, schedule_of
from cnn_jax.train import checkpoint
from cnn_jax.weights import files
from experiments import entry
from experiments import recipe as recipes
from tests.run import as_command

pytestmark = [
    pytest.mark.slow,
    # damaged pictures and archives are warned about on the way to the error
    pytest.mark.filterwarnings("default"),
]

RECIPES = {
    "classification": classification.ClassificationRecipe,
    "segmentation": segmentation.SegmentationRecipe,
    "detection": detection.DetectionRecipe,
}
LONGEST = 20.0  # seconds for one case; nothing may hang


@pytest.fixture(autouse=True)
def nothing_left_over():
    """What Orbax left unfinished when a file could not be read complains as it is collected: here,
    where it may, and not after the last test."""
    yield
    gc.collect()


def fuzz(examples):
    return settings(
        max_examples=examples,
        deadline=LONGEST * 1000,
        derandomize=os.environ.get("CNN_JAX_FUZZ") != "random",  # what CI runs is repeatable
        suppress_health_check=list(HealthCheck),
    )


def ends_well(function, *args):
    """Calls it; the exit status: 0, 1 for an expected error, 2 for flags that cannot be parsed."""
    began = time.monotonic()
    try:
        function(*args)
        status = 0
    except (flags.Error, app.UsageError) as error:
        status, text = 2, str(error)
    except entry.EXPECTED as error:
        status, text = 1, str(error)
    if status:
        assert text.strip(), "an error has a message"
        assert len(" ".join(text.split())) < 2500, "one line that can be read"
    assert time.monotonic() - began < LONGEST
    return status


# Flags: right names with any value, near misses, and words that are no flags at all.
NAMES = sorted({field.name for each in RECIPES.values() for field in dataclasses.fields(each)})
# what would start a network connection, many devices or a long computation is left alone
HARMLESS = [
    name
    for name in NAMES
    if name not in ("coordinator", "process_count", "process_id", "pretrained", "cpu_devices",
                    "pretrained_backbone", "data_dir", "workdir", "compilation_cache", "workers")
]  # fmt: skip
VALUES = st.one_of(
    st.integers(-3, 10**12).map(str),
    st.floats().map(repr),
    st.text(max_size=12),
    st.sampled_from(
        ["", "0", "-1", "nan", "inf", "1e400", "1e307", "1,1e307", "1" * 40, "true", "False",
         "resnet8", "mlp", "digits", "sgd",
         "adamm", "cosine", "flip,crop:4", "flip,,crop", "crop:x", "affine:1", "data:2,model:4",
         "4,2", "3:1", "1:9", "drop_rate=x", "a=b=c", "(1,2", "folder:/nowhere", "folder:",
         "stop", "rollback", "0,1", "1,a", "360x480", "x", "../..", "\x00", "💥"]
    ),
)  # fmt: skip
FLAGS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(HARMLESS), VALUES).map(lambda pair: f"--{pair[0]}={pair[1]}"),
        st.tuples(st.sampled_from(HARMLESS), VALUES).map(lambda pair: f"--{pair[0]}x={pair[1]}"),
        st.sampled_from(HARMLESS).map(lambda name: f"--no{name}"),
        st.text(max_size=8),
    ),
    min_size=1,
    max_size=4,
)


class Begun(Exception):
    """A run would have begun: everything that is checked before has been."""


def parsed(recipe, arguments):
    values = flags.FlagValues()
    recipes.define_flags(recipe, values)
    flags.DEFINE_multi_string("flagfile", [], "", flag_values=values)
    rest = values(["program", *arguments])
    if len(rest) > 1:
        raise app.UsageError(f"{rest[1:]} are no flags")
    return recipes.from_flags(recipe, values)


def check_settings(kind, arguments):
    """What a run does with its settings before it looks at data."""
    chosen = parsed(RECIPES[kind], arguments)
    plan = plan_of(chosen, 100.0)
    optimizer_of(chosen, schedule_of(chosen, plan.steps, 100.0), frozenset({"fc/kernel"}))
    texts.to_flagfile(chosen)
    return chosen


@fuzz(400)
@given(st.sampled_from(sorted(RECIPES)), FLAGS)
def test_flags(kind, arguments):
    assert ends_well(check_settings, kind, arguments) in (0, 1, 2)


@fuzz(150)
@given(st.lists(st.one_of(FLAGS.map("\n".join), st.text(max_size=40)), max_size=3))
def test_flagfiles(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("fuzz") / "recipe.flags"
    path.write_text("\n".join(lines), errors="replace")

    def read():
        earlier = texts.parse_flagfile(texts.read_text(path))
        texts.differences(classification.ClassificationRecipe(), earlier)
        check_settings("classification", [f"--flagfile={path}"])

    ends_well(read)


@fuzz(60)
@given(FLAGS)
def test_whole_experiments(tmp_path_factory, monkeypatch_module, arguments):
    """Up to the first step, on the built-in digits; a run that does not begin leaves nothing."""
    workdir = tmp_path_factory.mktemp("fuzz") / "run"

    def main():
        small = ["--model=mlp", "--steps=1", "--batch_size=8"]
        fixed = ["--devices=1", f"--workdir={workdir}", "--compilation_cache="]
        chosen = parsed(classification.ClassificationRecipe, [*small, *arguments, *fixed])
        if chosen.batch_size > 4096 or chosen.image_size > 64 or chosen.eval_batch_size > 4096:
            return  # sound, and as large as it was asked to be
        try:
            as_command.run(chosen, classification.make_experiment(chosen))
        except Begun:
            return

    if ends_well(main):
        assert not workdir.exists() or not any(workdir.iterdir())


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:

        def begin(*args, **kwargs):
            raise Begun

        patch.setattr(workdirs, "open_workdir", begin)
        yield


def damaged(good: bytes):
    """The bytes cut short, with some of them changed, or others altogether."""
    change = st.tuples(st.integers(0, max(len(good) - 1, 0)), st.integers(0, 255))

    def apply(changes):
        spoiled = bytearray(good)
        for at, value in changes:
            spoiled[at] = value
        return bytes(spoiled)

    return st.one_of(
        st.integers(0, len(good)).map(lambda size: good[:size]),
        st.lists(change, min_size=1, max_size=8).map(apply),
        st.binary(max_size=64),
    )


def encoded(suffix):
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, {"jpg": "JPEG", "png": "PNG"}[suffix])
    return buffer.getvalue()


@fuzz(200)
@given(st.data(), st.sampled_from(["jpg", "png"]), st.booleans())
def test_pictures(tmp_path_factory, draw, suffix, skip):
    root = tmp_path_factory.mktemp("fuzz")
    folder = root / "train" / "cat"
    folder.mkdir(parents=True)
    good = encoded(suffix)
    (folder / f"0.{suffix}").write_bytes(good)
    (folder / f"1.{suffix}").write_bytes(draw.draw(damaged(good)))

    def read():
        source = data.load_source(f"folder:{root}", "train", skip_corrupt=skip)
        batches = data.eval_batches(source, data.image_loader(source, 8, "center"), batch_size=2)
        for batch in batches:
            assert batch["image"].dtype == np.uint8

    ends_well(read)
    shutil.rmtree(root)


def safetensors_bytes():
    header = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(24)


HEADERS = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**70), st.text(max_size=6),
              st.sampled_from(["F32", "F64", "BF16", "I8", "X"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["a", "dtype", "shape", "data_offsets", "__metadata__", ""]), inner,
            max_size=4,
        ),
    ),
    max_leaves=8,
)  # fmt: skip


@fuzz(200)
@given(st.data())
def test_safetensors(tmp_path_factory, draw):
    path = tmp_path_factory.mktemp("fuzz") / "weights.safetensors"
    if draw.draw(st.booleans()):
        path.write_bytes(draw.draw(damaged(safetensors_bytes())))
    else:
        text = json.dumps(draw.draw(HEADERS)).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + draw.draw(st.binary(max_size=32)))
    ends_well(files.read, path)


@pytest.fixture(scope="module")
def pth(tmp_path_factory):
    """A small .pth as PyTorch writes it, made without it."""
    path = tmp_path_factory.mktemp("pth") / "good.pth"
    pickled = (
        b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01X\x01\x00\x00\x00aq\x02"
        b"ctorch._utils\n_rebuild_tensor_v2\nq\x03((X\x07\x00\x00\x00storageq\x04"
        b"ctorch\nFloatStorage\nq\x05X\x01\x00\x00\x000q\x06X\x03\x00\x00\x00cpuq\x07K\x06tq\x08Q"
        b"K\x00K\x02K\x03\x86q\tK\x03K\x01\x86q\n\x89h\x00)Rq\x0btq\x0cRq\rs."
    )
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", "little")
        archive.writestr("archive/data/0", bytes(24))
        archive.writestr("archive/version", "3\n")
    assert ends_well(files.read, path) == 0
    return path.read_bytes(), pickled


@fuzz(200)
@given(st.data())
def test_pth(tmp_path_factory, pth, draw):
    """The archive damaged, or the instructions within it."""
    path = tmp_path_factory.mktemp("fuzz") / "weights.pth"
    whole, pickled = pth
    if draw.draw(st.booleans()):
        path.write_bytes(draw.draw(damaged(whole)))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", draw.draw(damaged(pickled)))
            archive.writestr("archive/data/0", bytes(24))
    ends_well(files.read, path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A directory with two checkpoints, and what they are of."""
    directory = tmp_path_factory.mktemp("saved") / "checkpoints"
    like = {"params": {"a": np.arange(6, dtype=np.float32)}, "step": np.zeros((), np.int32)}
    manager = checkpoint.Checkpoints(directory)
    for number in (1, 2):
        manager.save(number, jax.tree.map(jax.numpy.asarray, like), meta={}, metrics=None)
        manager.wait()
    manager.close()
    return directory, like


@fuzz(60)
@given(st.data())
def test_checkpoint_directories(tmp_path_factory, saved, draw):
    """Any file of a checkpoint cut, changed or gone: another one is used, or one line says why."""
    good, like = saved
    directory = tmp_path_factory.mktemp("fuzz") / "checkpoints"
    shutil.copytree(good, directory)
    parts = sorted(path for path in directory.rglob("*") if path.is_file())
    for path in draw.draw(st.lists(st.sampled_from(parts), min_size=1, max_size=3, unique=True)):
        if draw.draw(st.booleans()):
            path.write_bytes(draw.draw(damaged(path.read_bytes())))
        else:
            path.unlink()

    def restore():
        manager = checkpoint.Checkpoints(directory)
        try:
            restored, _ = manager.restore(like)
            np.testing.assert_array_equal(restored["params"]["a"], like["params"]["a"])
        finally:
            manager.close()

    ends_well(restore)
    shutil.rmtree(directory.parent)
