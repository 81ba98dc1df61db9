"""The PyTorch side of the CIFAR-10 benchmark does what ours does, piece by piece."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax import models
from cnn_jax.models.airbench import whitening
from cnn_jax.run.optimisation import optimizer_of, schedule_of
from experiments.benchmark import cifar10

torch = pytest.importorskip("torch")
torch_cifar10 = pytest.importorskip("experiments.benchmark.pytorch.cifar10")

WIDTHS = (8, 12, 16)
RECIPE = "experiments/recipes/cifar10_airbench.flags"


def twins(key=0):
    """Our network and PyTorch's with the same weights and statistics."""
    ours = models.create("airbench", num_classes=10, widths=WIDTHS, norm_momentum=0.9)
    shape = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    rng = np.random.default_rng(key)

    def drawn(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        values = rng.uniform(0.5, 1.5, leaf.shape) if name.endswith("var") else None
        return jnp.asarray(
            rng.normal(0, 0.2, leaf.shape) if values is None else values, jnp.float32
        )

    shapes = jax.eval_shape(lambda x: ours.init(jax.random.key(0), x, train=False), shape)
    variables = jax.tree_util.tree_map_with_path(drawn, shapes)
    torchs = torch_cifar10.Airbench(10, WIDTHS, 0.9)
    names = {
        "kernel": "weight",
        "bias": "bias",
        "mean": "running_mean",
        "var": "running_var",
    }
    tensors = {}
    for collection in variables.values():
        for path, leaf in jax.tree_util.tree_leaves_with_path(collection):
            *modules, last = (key.key for key in path)
            order = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[leaf.ndim]
            tensors[".".join([*modules, names[last]])] = torch.tensor(
                np.asarray(leaf).transpose(order)
            )
    missing = torchs.load_state_dict(tensors, strict=False)
    assert not missing.unexpected_keys
    assert {name.split(".")[-2:][0][:4] for name in missing.missing_keys} == {"norm"}
    return ours, variables, torchs.to(memory_format=torch.channels_last)


def test_same_network():
    ours, variables, torchs = twins()
    trained = sum(p.numel() for p in torchs.parameters() if p.requires_grad)
    assert trained == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    x = np.random.default_rng(1).normal(size=(4, 32, 32, 3)).astype(np.float32)
    torchs.eval()
    with torch.inference_mode():
        theirs = torchs(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    logits = ours.apply(variables, x, train=False)
    np.testing.assert_allclose(theirs, logits, atol=1e-4 * np.abs(logits).max())


def test_same_whitening():
    images = np.random.default_rng(0).normal(size=(30, 9, 9, 3)).astype(np.float32)
    images[:, 1:] += 0.7 * images[:, :-1]
    ours = whitening(images)
    theirs = torch_cifar10.whitening(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    theirs = theirs.transpose(2, 3, 1, 0)
    # an eigenvector has no sign
    np.testing.assert_allclose(np.abs(theirs), np.abs(ours), rtol=1e-3, atol=1e-3)


def recipe(*arguments):
    return cifar10.parsed([f"--flagfile={RECIPE}", *arguments])


def common(**changes):
    """Settings that need no data."""
    chosen = dict.fromkeys(torch_cifar10.Settings._fields, 0)
    return torch_cifar10.Settings(**{**chosen, "mean": (0.5,) * 3, "std": (0.2,) * 3, **changes})


def test_same_updates():
    """Three steps of the optimiser on the same gradients, warm-up, decay and bias factor in it."""
    chosen = recipe("--warmup_epochs=2", "--weight_decay=0.01")
    steps, warmup = 6, 2
    schedule = schedule_of(chosen, steps, 1.0)
    shared = common(
        **{name: getattr(chosen, name) for name in
           ("learning_rate", "momentum", "weight_decay", "bias_factor")},
        steps=steps, warmup_steps=warmup,
    )  # fmt: skip
    rates = [float(schedule(step)) for step in range(steps)]
    factors = torch_cifar10.learning_rate_factors(shared)
    np.testing.assert_allclose(
        [chosen.learning_rate * f for f in factors[:steps]], rates, rtol=1e-5
    )

    tx = optimizer_of(chosen, schedule, frozenset())
    layer = torch.nn.Linear(3, 2)
    params = {"kernel": jnp.asarray(layer.weight.detach().numpy().T), "bias": jnp.zeros(2)}
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch_cifar10.make_optimizer(layer, shared)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factors[step])
    state = tx.init(params)
    rng = np.random.default_rng(0)
    for _ in range(3):
        gradient = {name: rng.normal(size=leaf.shape) for name, leaf in params.items()}
        updates, state = tx.update(jax.tree.map(jnp.float32, gradient), state, params)
        params = jax.tree.map(jnp.add, params, updates)
        layer.weight.grad = torch.tensor(gradient["kernel"].T, dtype=torch.float32)
        layer.bias.grad = torch.tensor(gradient["bias"], dtype=torch.float32)
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(layer.weight.detach().numpy().T, params["kernel"], rtol=1e-4)
    np.testing.assert_allclose(layer.bias.detach().numpy(), params["bias"], rtol=1e-4)


def test_augmentation_moves_and_mirrors():
    side, shift = 8, 2
    image = torch.arange(side * side * 3, dtype=torch.uint8).reshape(1, side, side, 3)
    many = torch_cifar10.augment(
        image.expand(400, -1, -1, -1), shift, torch.Generator().manual_seed(0)
    )
    padded = np.pad(image[0].numpy(), ((shift, shift), (shift, shift), (0, 0)), mode="reflect")
    wanted = set()
    for row in range(2 * shift + 1):
        for column in range(2 * shift + 1):
            part = padded[row : row + side, column : column + side]
            wanted |= {part.tobytes(), part[:, ::-1].tobytes()}
    found = {each.numpy().tobytes() for each in many}
    assert found == wanted  # all 50 of them, and nothing else


def test_a_recipe_that_the_twin_cannot_follow_is_refused():
    with pytest.raises(ValueError, match="--optimizer=muon"):
        cifar10.torch_settings(recipe("--optimizer=muon"))
    with pytest.raises(ValueError, match="--augment=flip"):
        cifar10.torch_settings(recipe("--augment=flip"))


def test_a_run_is_timed_until_it_reached_the_threshold(tmp_path):
    code = (
        "import json, time\n"
        "for a in (0.5, 0.91, 0.905):\n"
        f"    open({str(tmp_path / 'metrics.jsonl')!r}, 'a').write("
        "json.dumps({'step': 1, 'split': 'test', 'accuracy': a}) + '\\n')\n"
        "    time.sleep(0.4)\n"
    )
    found = cifar10.timed([sys.executable, "-c", code], tmp_path, 0.9)
    assert found["accuracies"] == [0.5, 0.91, 0.905]
    assert found["accuracy"] == 0.905
    assert 0.4 <= found["seconds_to_threshold"] < found["seconds"]
    both = cifar10.summary([found, {**found, "seconds_to_threshold": None}])
    assert both["accuracy"]["mean"] == 0.905
    assert both["seconds_to_threshold"]["reached"] == 1
    json.dumps(both)
    with pytest.raises(RuntimeError, match=r"ended with 3"):
        cifar10.timed([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, 0.9)


@pytest.mark.parametrize("flip", [False, True])
def test_same_evaluation(flip):
    """Right answers of a linear layer, against numpy, one of every nine examples left out."""
    rng = np.random.default_rng(2)
    weight = rng.normal(size=(10, 32 * 32 * 3)).astype(np.float32)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(weight.shape[1], 10, False))
    model[1].weight.data = torch.from_numpy(weight)
    mask = np.ones(64, np.float32)
    mask[::9] = 0
    images = rng.integers(0, 256, (64, 32, 32, 3), np.uint8)
    planes = ((images / 255 - 0.5) / 0.2).transpose(0, 3, 1, 2).astype(np.float32)
    logits = planes.reshape(64, -1) @ weight.T
    if flip:
        logits += planes[..., ::-1].reshape(64, -1) @ weight.T
    batch = {"image": images, "label": logits.argmax(1), "mask": mask}
    batch["label"][:20] = 9 - batch["label"][:20]
    want = (logits.argmax(1) == batch["label"])[mask > 0].mean()
    assert torch_cifar10.evaluate(model, [batch], common(test_time_flip=flip)) == want
    assert torch_cifar10.evaluate(model, [batch], common(test_time_flip=not flip)) < want
