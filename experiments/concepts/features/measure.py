"""A network that is looked into: its filters, its maps, and Grad-CAM."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax.analysis.cam import grad_cam
from cnn_jax.tasks.classification import classification
from cnn_jax.train.replicas import Trained, accuracies, predict_replicas, train_replicas
from cnn_jax.typing import HostBatch
from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import digits, on_canvas

SIDE, DIGIT, KERNEL, SHOWN = 16, 8, 5, 8
AREA = (DIGIT / SIDE) ** 2
EXAMPLES = 200  # examples on which Grad-CAM is measured
HIDDEN = SIDE**2 // 10  # pixels that are hidden


class Network(nn.Module):
    """Three convolutions, a global mean and a fully connected layer, for digits on 16x16."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Conv(SHOWN, (KERNEL, KERNEL), name="conv1")(x))
        x = nn.relu(nn.Conv(24, (3, 3), strides=2, name="conv2")(x))
        x = nn.relu(nn.Conv(32, (3, 3), name="conv3")(x))  # [B, 8, 8, 32]
        return nn.Dense(10, name="head")(x.mean((1, 2)))


def beside(data: HostBatch, *, seed: int) -> HostBatch:
    """Digits on one half of 16x16 images, and on the other half a digit with shuffled pixels.

    Adds 'place' and 'twin', [N, 2] each: first row and column of both.
    """
    rng = np.random.default_rng(seed)
    images: np.ndarray = data["image"][..., 0]
    count = len(images)
    others = images[rng.permutation(count)].reshape(count, -1)
    twins = rng.permuted(others, axis=1).reshape(images.shape)
    rows = rng.integers(0, SIDE - DIGIT + 1, (2, count))
    right = DIGIT * rng.integers(0, 2, count)
    place, twin = (np.stack(each, 1) for each in ((rows[0], right), (rows[1], DIGIT - right)))
    canvas = np.zeros((count, SIDE, SIDE, 1), np.float32)
    for i in range(count):
        for image, (top, left) in ((images[i], place[i]), (twins[i], twin[i])):
            canvas[i, top : top + DIGIT, left : left + DIGIT, 0] = image
    return {"image": canvas, "label": data["label"], "place": place, "twin": twin}


def measure(effort: Effort) -> dict[str, Any]:
    parts = digits("train"), digits("test")
    alone = [on_canvas(part, SIDE, seed=i) for i, part in enumerate(parts)]
    pairs = [beside(part, seed=10 + i) for i, part in enumerate(parts)]
    model = Network()
    found: dict[str, Any] = {}
    image, place = alone[1]["image"][:EXAMPLES], alone[1]["place"][:EXAMPLES]
    cam = jax.jit(lambda variables, x: grad_cam(model, variables, x, layer="conv3"))
    trained, found["right"] = _train(model, alone, effort)
    names = ("looked", "begun", "alike", "active", "smooth", "rough", "moved", "drops", "random")
    found |= {name: [] for name in names}
    for seed, own in zip(effort.seeds, _own(trained), strict=True):
        new = model.init(jax.random.key(1000 + seed), image[:1], train=False)
        learnt, other = (np.asarray(cam(each, image)) for each in (own, new))
        found["looked"].append(_inside(learnt, place))
        found["begun"].append(_inside(other, place))
        found["alike"].append(np.corrcoef(learnt.ravel(), other.ravel())[0, 1])
        found["active"].append(_inside(abs(_maps(model, new, image, "conv3")).sum(-1), place))
        first = model.init(jax.random.key(seed), image[:1], train=False)
        kernels = [np.asarray(v["params"]["conv1"]["kernel"])[:, :, 0] for v in (own, first)]
        found["smooth"].append(_smoothness(kernels[0]))
        found["rough"].append(_smoothness(kernels[1]))
        found["moved"].append(np.linalg.norm(kernels[0] - kernels[1]) / np.linalg.norm(kernels[1]))
        marked, random = _drops(model, own, alone[1], learnt, seed)
        found["drops"].append(marked)
        found["random"].append(random)
        if seed == effort.seeds[0]:
            found |= _shown(model, own, alone[1]["image"], learnt)
    trained, found["right_beside"] = _train(model, pairs, effort)
    image = pairs[1]["image"][:EXAMPLES]
    found |= {"chosen": [], "chosen_random": []}
    for seed, own in zip(effort.seeds, _own(trained), strict=True):
        new = model.init(jax.random.key(1000 + seed), image[:1], train=False)
        for name, variables in (("chosen", own), ("chosen_random", new)):
            maps = np.asarray(cam(variables, image))
            here, there = (_inside(maps, pairs[1][k][:EXAMPLES]) for k in ("place", "twin"))
            found[name].append(here / max(here + there, 1e-9))
            found.setdefault(f"{name}_shown", maps[:SHOWN])
    found["beside_shown"] = image[:SHOWN, ..., 0]
    return found


def _train(model: Network, parts, effort: Effort) -> tuple[Trained, np.ndarray]:
    train, test = parts
    trained = train_replicas(
        model,
        classification(10),
        optax.adam,
        {name: train[name] for name in ("image", "label")},
        seeds=effort.seeds,
        steps=effort.steps(600, 4000),
        batch_size=32,
        learning_rates=[3e-3],
    )
    return trained, accuracies(
        predict_replicas(model, trained.variables, test["image"]), test["label"]
    )


def _own(trained: Trained) -> list[Any]:
    runs = len(trained.losses)
    return [jax.tree.map(lambda leaf, r=run: leaf[r], trained.variables) for run in range(runs)]


def _square(place: np.ndarray) -> np.ndarray:
    """The pixels of the squares of 8x8 at `place` [B, 2]: bool [B, 16, 16]."""
    along = np.arange(SIDE)
    within = (along >= place[..., None]) & (along < place[..., None] + DIGIT)  # [B, 2, 16]
    return within[:, 0, :, None] & within[:, 1, None, :]


def _enlarged(maps: np.ndarray) -> np.ndarray:
    """[B, 8, 8] -> [B, 16, 16]."""
    return maps.repeat(SIDE // maps.shape[1], 1).repeat(SIDE // maps.shape[2], 2)


def _inside(maps: np.ndarray, place: np.ndarray) -> float:
    """The fraction of the maps [B, 8, 8] within the squares; of those that are not 0."""
    fine = _enlarged(maps)
    total = fine.sum((1, 2))
    share = (fine * _square(place)).sum((1, 2)) / np.maximum(total, 1e-9)
    return float(share[total > 0].mean()) if (total > 0).any() else 0.0


def _maps(model: Network, variables, images, layer: str) -> np.ndarray:
    """The outputs of a convolution, [B, H, W, C]."""
    _, kept = model.apply(
        variables, images, train=False, capture_intermediates=lambda m, _: m.name == layer,
        mutable=["intermediates"],
    )  # fmt: skip
    return np.asarray(kept["intermediates"][layer]["__call__"][0])


def _smoothness(kernel: np.ndarray) -> float:
    """The correlation of a weight with the one beside it or below it, in [5, 5, C]."""
    pairs = [
        np.stack([kernel[:-1].ravel(), kernel[1:].ravel()]),
        np.stack([kernel[:, :-1].ravel(), kernel[:, 1:].ravel()]),
    ]
    return float(np.corrcoef(np.concatenate(pairs, 1))[0, 1])


def _drops(model: Network, variables, data, maps, seed: int) -> tuple[float, float]:
    """The probability that the right class loses by hiding the pixels marked most, and others."""
    image, label = data["image"][:EXAMPLES], data["label"][:EXAMPLES]
    rng = np.random.default_rng(seed)
    noise = rng.random((len(image), SIDE, SIDE))
    order = (
        _enlarged(maps) + 1e-6 * noise,  # equal ones in random order
        _square(data["place"][:EXAMPLES]) + noise,
    )

    def probability(x) -> np.ndarray:
        logits: Any = model.apply(variables, x, train=False)
        shares = jax.nn.softmax(logits)
        return np.asarray(shares)[np.arange(len(label)), label]

    whole, drops = probability(jnp.asarray(image)), []
    for each in order:
        flat = each.reshape(len(image), -1)
        hidden = flat >= np.sort(flat, 1)[:, -HIDDEN, None]
        left = image * ~hidden.reshape(image.shape)
        drops.append(float((whole - probability(jnp.asarray(left))).mean()))
    return drops[0], drops[1]


def _shown(model: Network, variables, images: np.ndarray, maps: np.ndarray) -> dict[str, Any]:
    """Filters, their maps of an image, the patches that excite them most, and Grad-CAM."""
    kernel = np.asarray(variables["params"]["conv1"]["kernel"])[:, :, 0]  # [5, 5, SHOWN]
    answers = _maps(model, variables, images, "conv1")  # [B, 16, 16, SHOWN]
    half = KERNEL // 2
    padded = np.pad(images[..., 0], ((0, 0), (half, half), (half, half)))
    patches = []
    for i in range(SHOWN):
        which, top, left = np.unravel_index(answers[..., i].argmax(), answers.shape[:3])
        patches.append(padded[which, top : top + KERNEL, left : left + KERNEL])
    return {
        "filters_shown": np.moveaxis(kernel, -1, 0),
        "maps_shown": np.maximum(np.moveaxis(answers[0], -1, 0), 0),
        "patches_shown": np.stack(patches),
        "images_shown": images[:SHOWN, ..., 0],
        "cam_shown": maps[:SHOWN],
    }
