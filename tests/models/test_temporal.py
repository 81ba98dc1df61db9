"""Networks for sequences: counts by arithmetic, causality, and PyTorch's GRU as a reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.models import create, describe


def variables_of(model, length, channels=1, seed=0):
    x = jnp.zeros((1, length, channels))
    return model.init(jax.random.key(seed), x, train=False)


def conv(kernel, inputs, outputs, bias=True):
    return kernel * inputs * outputs + bias * outputs


def tcn_parameters(channels, kernel):
    """Figure 1b of arXiv:1803.01271: two weight-normed convolutions, and a 1x1 where C changes."""
    total, inputs = 0, 1
    for width in channels:
        total += conv(kernel, inputs, width) + conv(kernel, width, width) + 2 * width
        total += conv(1, inputs, width) if inputs != width else 0
        inputs = width
    return total + conv(1, inputs, 10)


def wavenet_parameters(layers, features=32, skip=64):
    each = conv(2, features, 2 * features) + conv(1, features, skip) + conv(1, features, features)
    return conv(2, 1, features) + layers * each + conv(1, skip, skip) + conv(1, skip, 10)


def inception_time_parameters():
    """Section 3 of arXiv:1909.04939: the first module has no bottleneck, its input one channel."""
    norm = 2 * 128
    total = sum(conv(k, 1, 32, bias=False) for k in (40, 20, 10, 1)) + norm
    later = conv(1, 128, 32, bias=False) * 2 + norm
    total += 5 * (later + sum(conv(k, 32, 32, bias=False) for k in (40, 20, 10)))
    total += sum(conv(1, inputs, 128, bias=False) + norm for inputs in (1, 128))
    return total + conv(1, 128, 10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tcn", tcn_parameters([25] * 8, 7)),
        ("tcn_small", tcn_parameters([25] * 4, 5)),
        ("wavenet", wavenet_parameters(6)),
        ("wavenet_512", wavenet_parameters(20)),
        ("inception_time", inception_time_parameters()),
        ("gru", 5134 - 2 * 12),  # the paper's count, less two redundant biases a unit and direction
        ("gru_64", 2 * (3 * 64 * (64 + 1) + 3 * 64 + 64) + conv(1, 128, 10)),
        ("mnist1d_linear", 410),
        ("mnist1d_mlp", 15_210),
        ("mnist1d_cnn", 5_210),
    ],
)
def test_parameters_by_arithmetic(name, expected):
    assert describe(name).params == expected


def test_the_papers_tcn_has_70_thousand():
    assert round(describe("tcn").params, -4) == 70_000


@pytest.mark.parametrize("name", ["tcn_small", "wavenet"])
def test_no_output_depends_on_the_future(name):
    model = create(name, num_classes=None)
    variables = variables_of(model, 32)
    x = jax.random.normal(jax.random.key(1), (1, 32, 1))
    changed = x.at[:, 20:].add(jax.random.normal(jax.random.key(2), (1, 12, 1)))
    before = model.apply(variables, x, train=False)
    after = model.apply(variables, changed, train=False)
    for stage in before:
        np.testing.assert_array_equal(before[stage][:, :20], after[stage][:, :20])
        assert np.abs(np.asarray(before[stage] - after[stage])[:, 20]).max() > 0


def test_a_network_with_same_padding_does_depend_on_it():
    """The test above can fail."""
    model = create("inception_time", num_classes=None, depth=1, features=4)
    variables = variables_of(model, 32)
    x = jax.random.normal(jax.random.key(1), (1, 32, 1))
    outputs = [
        model.apply(variables, x, train=False)["module1"] for x in (x, x.at[:, 20:].add(1.0))
    ]
    assert np.abs(np.asarray(outputs[0] - outputs[1])[:, :20]).max() > 0


@pytest.mark.parametrize(
    ("name", "options", "sees"),
    [
        ("tcn_small", {}, 1 + 2 * 4 * (2**4 - 1)),
        ("wavenet", {}, 1 + 1 + 63),  # the first convolution, then the dilations
    ],
)
def test_how_far_the_last_step_sees(name, options, sees):
    """The published formula against what changes the last output."""
    model = create(name, num_classes=None, **options)
    length = sees + 8
    variables = variables_of(model, length)
    x = jax.random.normal(jax.random.key(1), (1, length, 1))
    last = lambda x: list(model.apply(variables, x, train=False).values())[-1][0, -1].sum()  # noqa: E731
    depends = np.asarray(jax.grad(last)(x))[0, :, 0] != 0
    assert not depends[: length - sees].any()
    if name == "wavenet":  # nothing there is switched off, as ReLU can
        assert depends[length - sees]


def test_weight_norm_is_a_length_times_a_direction():
    model = create("tcn", num_classes=None, channels=(4,), kernel=3)
    variables = variables_of(model, 8)
    params = variables["params"]["block1"]["conv1"]
    x = jax.random.normal(jax.random.key(1), (1, 8, 1))
    run = lambda v: np.asarray(model.apply(v, x, train=False)["block1"])  # noqa: E731
    before = run(variables)
    variables["params"]["block1"]["conv1"] = {**params, "kernel": 7 * params["kernel"]}
    np.testing.assert_allclose(run(variables), before, atol=1e-6)  # its size says nothing
    variables["params"]["block1"]["conv1"] = {**params, "length": 7 * params["length"]}
    assert np.abs(run(variables) - before).max() > 1e-3


def test_dropout_takes_whole_channels():
    """Kernels of length 1 on a constant input: all steps are equal unless dropout differs."""
    model = create("tcn", num_classes=None, channels=(16,), kernel=1, drop_rate=0.5)
    x = jnp.ones((1, 8, 1))
    variables = model.init(jax.random.key(3), x, train=False)
    run = lambda seed: np.asarray(  # noqa: E731
        model.apply(variables, x, train=True, rngs={"dropout": jax.random.key(seed)})["block1"]
    )
    np.testing.assert_array_equal(run(0), np.broadcast_to(run(0)[:, :1], (1, 8, 16)))
    assert np.abs(run(0) - run(1)).max() > 0


@pytest.mark.parametrize(
    "name", ["tcn", "wavenet", "inception_time", "gru", "resnet8", "mnist1d_cnn", "mnist1d_mlp"]
)
def test_logits_of_mnist1d(name):
    model = create(name, num_classes=10)
    x = jax.ShapeDtypeStruct((2, 40, 1), jnp.float32)
    logits, _ = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), x
    )
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("name", ["tcn", "wavenet", "inception_time", "gru"])
def test_images_are_refused(name):
    model = create(name, num_classes=10)
    x = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    with pytest.raises(ValueError, match=r"sequences .* \[1, 8, 8, 1\]"):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)


def test_gru_equals_pytorch():
    """The cells of both directions; PyTorch's second bias of the reset and update gates is 0."""
    torch = pytest.importorskip("torch")
    model = create("gru", num_classes=None)
    params = variables_of(model, 12)["params"]
    params = jax.tree.map(
        lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), params
    )
    x = jax.random.normal(jax.random.key(1), (2, 12, 1))
    ours = model.apply({"params": params}, x, train=False)["states"]
    theirs = torch.nn.GRU(1, 6, batch_first=True, bidirectional=True)
    state = {}
    for cell, end in (("forward_cell", ""), ("backward_cell", "_reverse")):
        p = params[cell]
        stack = lambda gates, leaf, p=p: np.concatenate([np.asarray(p[g][leaf]).T for g in gates])  # noqa: E731
        zeros = np.zeros(12, np.float32)
        state[f"weight_ih_l0{end}"] = stack(("ir", "iz", "in"), "kernel")
        state[f"weight_hh_l0{end}"] = stack(("hr", "hz", "hn"), "kernel")
        state[f"bias_ih_l0{end}"] = stack(("ir", "iz", "in"), "bias")
        state[f"bias_hh_l0{end}"] = np.concatenate([zeros, np.asarray(p["hn"]["bias"])])
    theirs.load_state_dict({name: torch.tensor(value) for name, value in state.items()})
    with torch.no_grad():
        expected = theirs(torch.tensor(np.asarray(x)))[0].numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5)
