"""U-Net and SegNet, which torchvision lacks, against their papers in PyTorch's functions."""

import jax
import numpy as np
import pytest

from cnn_jax.models import create

torch = pytest.importorskip("torch")
functional = torch.nn.functional


def random_variables(model, x):
    """Every parameter and every running statistic drawn at random."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key in ("var", "scale"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        spread = (2 / np.prod(leaf.shape[:-1])) ** 0.5 if leaf.ndim > 1 else 0.1
        return rng.normal(0, spread, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


class Layers:
    """PyTorch's functions with our parameters, by our names."""

    def __init__(self, variables, padding):
        self.params, self.stats = variables["params"], variables.get("batch_stats", {})
        self.padding = padding

    def at(self, tree, path):
        for part in path.split("/"):
            tree = tree.get(part, {})
        return {name: torch.from_numpy(np.array(leaf)) for name, leaf in tree.items()}

    def conv(self, x, path):
        p = self.at(self.params, path)
        kernel = p["kernel"].permute(3, 2, 0, 1)
        return functional.conv2d(x, kernel, p.get("bias"), padding=self.padding)

    def norm(self, x, path):
        p, s = self.at(self.params, path), self.at(self.stats, path)
        if not p:
            return x
        return functional.batch_norm(x, s["mean"], s["var"], p["scale"], p["bias"])

    def up(self, x, path):
        p = self.at(self.params, path)
        kernel = p["kernel"].permute(2, 3, 0, 1).flip(2, 3)  # see cnn_jax.weights.layouts
        return functional.conv_transpose2d(x, kernel, p["bias"], stride=2)

    def double(self, x, path):
        for i in (1, 2):
            x = self.norm(self.conv(x, f"{path}/conv{i}"), f"{path}/bn{i}").relu()
        return x


def unet(layers, x, depth):
    skips = []
    for i in range(depth + 1):
        x = layers.double(functional.max_pool2d(x, 2) if i else x, f"encoder{i}")
        skips.append(x)
    for i in reversed(range(depth)):
        x, skip = layers.up(x, f"up{i}"), skips[i]
        if layers.padding == "valid":
            cut = [(a - b) // 2 for a, b in zip(skip.shape[2:], x.shape[2:], strict=True)]
            skip = skip[:, :, cut[0] : cut[0] + x.shape[2], cut[1] : cut[1] + x.shape[3]]
        else:
            missing = [a - b for a, b in zip(skip.shape[2:], x.shape[2:], strict=True)]
            x = functional.pad(x, [0, missing[1], 0, missing[0]])
        x = layers.double(torch.cat([skip, x], 1), f"decoder{i}")
    return layers.conv(x, "head")


def segnet(layers, x, stages, head_replaces, act):
    places = []
    for i, widths in enumerate(stages, start=1):
        for j in range(1, len(widths) + 1):
            x = layers.conv(x, f"encoder{i}/conv{j}")
            x = layers.norm(x, f"encoder{i}/bn{j}").relu()
        size = x.shape[2:]
        x, indices = functional.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        places.append((indices, size))
    for i in reversed(range(1, len(stages) + 1)):
        indices, size = places[i - 1]
        x = functional.max_unpool2d(x, indices, 2, output_size=size)
        for j in range(1, len(stages[i - 1]) + 1 - (head_replaces and i == 1)):
            x = layers.norm(layers.conv(x, f"decoder{i}/conv{j}"), f"decoder{i}/bn{j}")
            x = x.relu() if act else x
    return layers.conv(x, "head")


def compare(model, space, channels, padding, twin):
    x = np.random.default_rng(1).normal(size=(2, *space, channels)).astype(np.float32)
    variables = random_variables(model, x)
    with torch.no_grad():
        theirs = twin(Layers(variables, padding), torch.from_numpy(x).permute(0, 3, 1, 2))
    ours = model.apply(variables, x, train=False)
    np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1).numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["unet", "unet_same"])
def test_unet(name):
    model = create(name, num_classes=3, width=3, depth=2)
    padding = "valid" if name == "unet" else "same"
    space = (44, 52) if name == "unet" else (21, 26)
    compare(model, space, 1, padding, lambda layers, x: unet(layers, x, 2))


def test_segnet_with_odd_sides():
    stages = ((4, 4), (5, 5), (6, 6, 6))
    model = create("segnet", num_classes=3, stages=stages)
    compare(model, (18, 22), 3, "same", lambda layers, x: segnet(layers, x, stages, True, True))


def test_segnet_basic():
    stages = ((4,), (4,))
    model = create("segnet_basic", num_classes=3, stages=stages)
    compare(model, (14, 20), 3, "same", lambda layers, x: segnet(layers, x, stages, False, False))
