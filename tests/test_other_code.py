"""The snippets of cnn_jax/README.md for other people's code, as they stand there."""

import re
from pathlib import Path

import flax.traverse_util
import jax
import numpy as np
import pytest

from cnn_jax import models
from cnn_jax.train import state

pytestmark = pytest.mark.stack
TEXT = (Path(__file__).parents[1] / "cnn_jax/README.md").read_text(encoding="utf-8")
SECTION = TEXT.partition("## In other people's code")[2].partition("\n## ")[0]
BEGIN, *BLOCKS = re.findall(r"```python\n(.*?)```", SECTION, re.S)
TITLES = re.findall(r"(?m)^\*\*([^*]+?)[.,]?\*\*", SECTION)
SNIPPETS = dict(zip(TITLES, BLOCKS, strict=True))


@pytest.fixture(scope="module")
def begun():
    """The names that the first block makes."""
    names = {}
    exec(BEGIN, names)
    return names


@pytest.fixture(scope="module")
def by_hand(begun):
    """The plain loop's result: parameters and statistics after a step."""
    return run(begun, "A plain loop")


def run(begun, title):
    names = dict(begun)
    exec(SNIPPETS[title], names)
    return names


def assert_close(one, two, **tolerances):
    one, two = (flax.traverse_util.flatten_dict(tree, sep="/") for tree in (one, two))
    assert set(one) == set(two)
    for path in one:
        np.testing.assert_allclose(one[path], two[path], err_msg=path, **tolerances)


def test_they_are_short():
    assert len(SNIPPETS) == 8
    for title, block in SNIPPETS.items():
        assert len([line for line in block.splitlines() if line]) <= 12, title


def test_a_plain_loop(begun, by_hand):
    """The step goes down the slope that differences of the loss show, and the statistics move."""
    before, after = begun["variables"], by_hand["params"]
    slopes = jax.tree.map(lambda a, b: (a - b) / 0.1, before["params"], after)
    length = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(slopes)))
    kept = {"batch_stats": before["batch_stats"]}

    @jax.jit
    def value(distance):
        params = jax.tree.map(lambda a, b: a + distance * b / length, before["params"], slopes)
        return by_hand["loss"](params, kept, begun["images"], begun["labels"])[0]

    np.testing.assert_allclose((value(1e-2) - value(-1e-2)) / 2e-2, length, rtol=0.02)
    maps = by_numpy(begun["images"], before["params"]["conv1"]["kernel"])
    found = by_hand["state"]["batch_stats"]["bn1"]
    np.testing.assert_allclose(found["mean"], 0.1 * maps.mean((0, 1, 2)), atol=1e-5)


def by_numpy(x, kernel, bias=0.0):
    """A convolution of stride 1 with zeros around: x [B, H, W, C] -> [B, H, W, O]."""
    x, kernel = np.asarray(x), np.asarray(kernel)
    (rows, columns), (height, width) = kernel.shape[:2], x.shape[1:3]
    x = np.pad(x, ((0, 0), (rows // 2,) * 2, (columns // 2,) * 2, (0, 0)))
    return bias + sum(
        x[:, i : i + height, j : j + width] @ kernel[i, j]
        for i in range(rows)
        for j in range(columns)
    )


@pytest.mark.filterwarnings("ignore:jax.(array_ref|ArrayRef):DeprecationWarning")  # of flax 0.12.0
def test_nnx_trains_as_the_plain_loop_does(begun, by_hand):
    from flax import nnx

    *lines, last = SNIPPETS["NNX"].strip().splitlines()
    names = dict(begun)
    exec("\n".join(lines), names)
    net = names["net"]

    def held():
        kinds = (nnx.Param, nnx.BatchStat)
        return [nnx.to_pure_dict(nnx.state(net, kind)) for kind in kinds]

    params, stats = jax.tree.map(np.asarray, held())
    exec(last, names)
    given = params, {"batch_stats": stats}, by_hand["optimizer"].init(params)
    want, state, _ = by_hand["step"](*given, begun["images"], begun["labels"])
    after, new_stats = held()
    assert_close(after, want, atol=1e-5)
    assert_close(new_stats, state["batch_stats"], atol=1e-5)
    logits = net(begun["images"], train=False)
    assert_close({"": model_of(begun, want, state)}, {"": logits}, atol=1e-4)


def model_of(begun, params, state):
    return begun["model"].apply({"params": params, **state}, begun["images"], train=False)


@pytest.mark.slow
def test_equinox_trains_as_the_plain_loop_does(begun, by_hand):
    pytest.importorskip("equinox", reason="equinox is not installed")
    trained = run(begun, "Equinox")["net"].variables
    assert_close(trained["params"], by_hand["params"], atol=1e-5)
    assert_close(trained["batch_stats"], by_hand["state"]["batch_stats"], atol=1e-5)


def test_what_a_layer_computed(begun):
    names = run(begun, "What a layer computed")
    backbone = models.create("resnet8", num_classes=None)
    given = {**begun["variables"]}
    given["params"] = {k: v for k, v in given["params"].items() if k != "fc"}
    stages = backbone.apply(given, begun["images"], train=False)
    np.testing.assert_allclose(names["features"], stages["layer2"], atol=1e-6)
    assert set(names["kept"]["intermediates"]) == {"layer1_0", "layer2_0"}


@pytest.mark.slow
def test_gradients_of_single_examples(begun):
    names = run(begun, "Gradients of single examples")
    variables, images, labels = (begun[name] for name in ("variables", "images", "labels"))

    @jax.jit
    @jax.grad
    def whole(params, images, labels):
        logits = begun["model"].apply({**variables, "params": params}, images, train=False)
        return -jax.nn.log_softmax(logits)[np.arange(len(images)), labels].mean()

    want = whole(variables["params"], images, labels)
    assert_close(jax.tree.map(lambda leaf: leaf.mean(0), names["each"]), want, atol=1e-5)
    one = jax.tree.leaves(whole(variables["params"], images[3:4], labels[3:4]))
    norm = np.sqrt(sum((np.asarray(leaf, np.float64) ** 2).sum() for leaf in one))
    np.testing.assert_allclose(names["norms"][3], norm, rtol=1e-4)


@pytest.mark.slow
def test_an_ensemble(begun):
    names = run(begun, "An ensemble")
    total = 0
    for i in range(5):
        alone = jax.tree.map(lambda leaf, i=i: leaf[i], names["ensemble"])
        logits = np.asarray(begun["model"].apply(alone, begun["images"], train=False), np.float64)
        shares = np.exp(logits)
        total = total + shares / shares.sum(-1, keepdims=True)
    np.testing.assert_allclose(names["probabilities"], total / 5, atol=1e-5)
    assert np.ptp(names["ensemble"]["params"]["fc"]["kernel"], axis=0).min() > 0  # they differ


@pytest.mark.slow
def test_a_feature_pyramid_under_a_head(begun):
    names = run(begun, "A feature pyramid under a head of yours")
    net, images = names["heatmaps"], begun["images"][:2, :16, :16]
    spec = jax.ShapeDtypeStruct(images.shape, images.dtype)
    variables = state.init_variables(net, spec, seed=0)
    assert set(variables["params"]) == {"backbone", "fpn", "head"}
    maps = jax.jit(lambda x: net.apply(variables, x, train=False))(images)
    assert [each.shape for each in maps] == [(2, n, n, 5) for n in (16, 8, 4)]
    under = {kind: tree["backbone"] for kind, tree in variables.items()}
    stages = jax.jit(lambda x: net.backbone.apply(under, x, train=False))(images)
    params = variables["params"]
    top = 0
    for i in (2, 1, 0):  # coarse to fine: reduced, added to what is above, smoothed, the head
        lateral = by_numpy(stages[f"layer{i + 1}"], **params["fpn"][f"inner{i}"])
        top = lateral + np.repeat(np.repeat(top, 2, 1), 2, 2) if i < 2 else lateral
        level = by_numpy(top, **params["fpn"][f"layer{i}"])
        np.testing.assert_allclose(maps[i], by_numpy(level, **params["head"]), atol=1e-4)


@pytest.mark.slow
def test_four_channels_with_published_kernels(begun, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    published = models.create("squeezenet1_1", num_classes=5)
    spec = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
    theirs = state.init_variables(published, spec, seed=1)
    models.save_pretrained("squeezenet1_1.safetensors", "squeezenet1_1", theirs)
    names = run(begun, "Four channels, with published kernels")
    found = names["found"].variables["params"]
    kernel = theirs["params"]["conv1"]["kernel"]
    np.testing.assert_allclose(found["conv1"]["kernel"], 0.75 * kernel[:, :, [0, 1, 2, 0]])
    head = {"conv10": names["own"]["params"]["conv10"]}
    assert_close(found, theirs["params"] | head | {"conv1": found["conv1"]})
    # a fourth channel that is dark, and colours brighter by 4 / 3: what the published network sees
    images = np.asarray(names["deep"]) * np.array([1, 1, 1, 0], np.float32)
    want = published.apply({"params": theirs["params"] | head}, images[..., :3], train=False)
    logits = names["net"].apply({"params": found}, images * 4 / 3, train=False)
    np.testing.assert_allclose(logits, want, atol=1e-5)
    assert names["logits"].shape == (2, 5)
