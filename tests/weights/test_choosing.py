"""Which weights of a checkpoint are taken: nestings, averages, several networks and files."""

import json
import pathlib

import numpy as np
import pytest
import safetensors.numpy

from cnn_jax import weights
from cnn_jax.weights import choosing, finding
from cnn_jax.weights.errors import WeightsError

PATH = pathlib.Path("a.pth")
NAMES = ("conv1.weight", "layer1.0.conv1.weight", "fc.bias")
RULES = {"torchvision": (("conv1", "conv1"), ("layer{i}.{j}.conv1", "l{i}_{j}"), ("fc", "fc"))}
TEMPLATE = {
    "params": {
        "conv1": {"kernel": np.zeros((3, 3, 2, 4), "f4")},
        "l1_0": {"kernel": np.zeros((1, 1, 4, 4), "f4")},
        "fc": {"bias": np.zeros(5, "f4")},
    }
}


def network(value=1.0, dtype="f4", prefix=""):
    shapes = ((4, 2, 3, 3), (4, 4, 1, 1), (5,))
    return {
        prefix + name: np.full(shape, value, dtype)
        for name, shape in zip(NAMES, shapes, strict=True)
    }


RAW, AVERAGED = network(1), network(2)
OPTIMISER = {"state": {0: {"step": np.zeros(()), "exp_avg": np.zeros(3)}}, "param_groups": [{}]}


def value(tensors) -> float:
    """The value that all weights of a network have here."""
    assert {*tensors} == {*NAMES}
    (only,) = {float(each) for array in tensors.values() for each in array.flat}
    return only


@pytest.mark.parametrize(
    "tree",
    [
        RAW,
        {**RAW, "epoch": 3, "best": 0.5, "note": None},
        {"model_state": RAW, "epoch": 1},
        {"model": {"state_dict": RAW}, "optimizer": OPTIMISER, "args": {"x.y": np.zeros(1)}},
        {"net": RAW, "classes": np.arange(3)},
        {"weights_of_mine": RAW, "optimizer_state_dict": OPTIMISER},
        [RAW],
        (RAW, {"lr": 0.1}),
        [{"epoch": 1}, {"state_dict": RAW}],
        {"state_dict": RAW, "ema": {"decay": 0.9, "shadow_params": [*AVERAGED.values()]}},
        {"state_dict": RAW, "generator": AVERAGED},
    ],
)
def test_nestings(tree):
    assert value(choosing.state_dict_of(PATH, tree).tensors) == 1


@pytest.mark.parametrize(
    "tree",
    [
        {"state_dict": RAW, "state_dict_ema": AVERAGED},  # timm
        {"model": RAW, "model_ema": {**AVERAGED}},  # torchvision's references
        {"model": RAW, "ema": {"module": AVERAGED, "updates": 3}},
        {"ema": AVERAGED, "net": RAW},
        {"params": RAW, "params_ema": AVERAGED},  # BasicSR
        {"model": RAW, "swa_model": AVERAGED},
    ],
)
def test_an_average_is_taken_and_said_and_can_be_left(tree):
    chosen = choosing.state_dict_of(PATH, tree)
    assert value(chosen.tensors) == 2
    assert "the averaged weights" in chosen.notes[0]
    assert ":raw" in chosen.notes[0]
    assert value(choosing.state_dict_of(PATH, tree, "ema").tensors) == 2
    raw = choosing.state_dict_of(PATH, tree, "raw")
    assert value(raw.tensors) == 1
    assert not raw.notes
    named = next(key for key, state in tree.items() if state is RAW)
    assert value(choosing.state_dict_of(PATH, tree, named).tensors) == 1


@pytest.mark.parametrize(
    ("tree", "take", "what"),
    [
        ({"student": RAW, "teacher": AVERAGED}, "", r"several state dicts.*a\.pth:student"),
        ([RAW, AVERAGED], "", r"several state dicts: it has 0, 1"),
        ({"state_dict": RAW}, "ema", r"no weights 'ema': it has state_dict"),
        ({"state_dict": RAW, "b": AVERAGED}, "c", r"no weights 'c': it has state_dict, b"),
        ({"optimizer": OPTIMISER}, "", "not a state dict: 'optimizer' holds no tensor"),
        (np.zeros(3), "", "holds one tensor"),
        ([], "", "holds a list, not a state dict"),
        ({0: np.zeros(3)}, "", "numbers for names"),
    ],
)
def test_what_cannot_be_chosen_is_said(tree, take, what):
    with pytest.raises(WeightsError, match=rf"a\.pth: .*{what}"):
        choosing.state_dict_of(PATH, tree, take)


def test_a_tree_that_shares_its_parts_is_walked_once():
    tree = [RAW]
    for _ in range(60):
        tree = [tree, tree]
    with pytest.raises(WeightsError, match="holds a list"):  # deeper than is looked
        choosing.state_dict_of(PATH, tree)


def in_file(tensors):
    return finding.network_in(tensors, TEMPLATE, RULES, spec="a.pth")


@pytest.mark.parametrize(
    "tensors",
    [
        RAW,
        {f"encoder.k.{name}": array for name, array in RAW.items()},
        {name.replace("layer1.", "layer1.module."): array for name, array in RAW.items()},
        {**network(1, prefix="model."), "loss_fn.weight": np.zeros(5)},
        {**RAW, **network(2, prefix="old.")},
    ],
)
def test_a_network_is_found_beside_others(tensors):
    found = in_file(tensors)
    names = {*found.tensors} & {*NAMES}
    assert value({name: found.tensors[name] for name in names}) == 1


def test_an_average_beside_the_weights_in_one_dict():
    tensors = {**network(1, prefix="model."), **network(2, prefix="model_ema.")}
    found = in_file(tensors)
    assert value(found.tensors) == 2
    assert found.notes == ("the weights under 'model_ema' are taken, 3 other tensors are left out",)


def test_two_networks_that_fit_are_named():
    tensors = {**network(1, prefix="student."), **network(2, prefix="teacher.")}
    with pytest.raises(WeightsError, match=r"fit: student, teacher\. Say which, .*a\.pth:teacher"):
        in_file(tensors)


def test_other_precisions_are_said():
    assert in_file(network(dtype="f2")).notes == (
        "3 of its 3 tensors are of float16, converted to float32",
    )


@pytest.fixture
def several(tmp_path):
    """Weights in two files and their index."""
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    state = network(1, prefix="module.")
    places = {name: files[i > 0] for i, name in enumerate(state)}
    for file in files:
        part = {name: array for name, array in state.items() if places[name] == file}
        safetensors.numpy.save_file(part, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return tmp_path, index, places


def test_several_files_are_joined(several):
    directory, index, places = several
    for path in (index, directory):
        assert value(weights.read(path).tensors) == 1
    with pytest.raises(WeightsError, match=r"one of several files .*: give model\.safet.*\.json"):
        weights.read(directory / places["module.fc.bias"])
    with pytest.raises(FileNotFoundError, match="no weights file"):
        weights.locate(f"{directory}/b.pth:ema")
    source = weights.locate(f"{index}:ema")
    assert (source.path, source.take) == (index, "ema")


def test_several_files_that_do_not_belong_together_are_refused(several):
    directory, index, places = several
    safetensors.numpy.save_file({"other": RAW["fc.bias"]}, directory / places["module.fc.bias"])
    with pytest.raises(WeightsError, match=r"lacks 2 tensors that .* says it has"):
        weights.read(directory)
    (directory / places["module.fc.bias"]).write_bytes(b"version https://git-lfs.github.com/spec")
    with pytest.raises(WeightsError, match=r"00002-of-00002.* a Git LFS pointer"):
        weights.read(directory)
    (directory / places["module.fc.bias"]).unlink()
    with pytest.raises(WeightsError, match=r"00002.* of its 2 files are not beside it: fetch"):
        weights.read(directory)
    for damaged in ("", "[]", '{"weight_map": {"a": "../b"}}', '{"weight_map": {}}', "[" * 9999):
        index.write_text(damaged)
        with pytest.raises(WeightsError, match=index.name):
            weights.read(index)


def test_a_directory(tmp_path):
    with pytest.raises(WeightsError, match=r"a directory; wanted a weights file: it has none"):
        weights.read(tmp_path)
    for name in ("a.pth", "b.safetensors"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=r"it has a\.pth, b\.safetensors"):
        weights.read(tmp_path)
    safetensors.numpy.save_file(RAW, tmp_path / "model.safetensors")
    assert value(weights.read(tmp_path).tensors) == 1
    (tmp_path / "config.json").write_text('{"architecture": "x"}')
    assert weights.locate(str(tmp_path)).config == {"architecture": "x"}


def test_wrappers_within_names(tmp_path):
    state = {name.replace("0.conv1", "_orig_mod.0.conv1"): array for name, array in RAW.items()}
    state |= {"n_averaged": np.zeros(())}
    file = tmp_path / "a.safetensors"
    safetensors.numpy.save_file(
        {f"module.{n}" * ("." in n) or n: a for n, a in state.items()}, file
    )
    read = weights.read(file).tensors
    assert {*read} == {*NAMES, "n_averaged"}


def test_transposed_too_large_and_impossible_weights_are_named():
    rules = (("fc", "fc"), ("bn", "bn"))
    template = {
        "params": {"fc": {"kernel": np.zeros((3, 2), "f4")}},
        "batch_stats": {"bn": {"var": np.zeros(2, "f4")}},
    }
    for kernel, variance, what in (
        (np.zeros((3, 2), "f4"), np.ones(2), "fc.weight is 3x2, .* wants 2x3: it is transposed"),
        (np.full((2, 3), 1e300), np.ones(2), "too large for float32"),
        (np.zeros((2, 3), "f4"), np.array([1, -1e-3]), "with variances below 0"),
    ):
        state = {"fc.weight": kernel, "bn.running_var": variance}
        with pytest.raises(WeightsError, match=what):
            weights.import_torch(state, template, rules)
