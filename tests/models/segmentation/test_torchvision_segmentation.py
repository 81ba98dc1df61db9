"""torchvision's six segmentation networks, with weights and statistics drawn at random.

`golden.npz` holds what torchvision 0.29.1 (torch 2.14.1) computes from them, so that the claim is
tested without PyTorch; with PyTorch, the file itself is. To write it anew, with PyTorch:

    PYTHONPATH=. python tests/models/segmentation/test_torchvision_segmentation.py
"""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from cnn_jax.models import create, describe
from cnn_jax.weights.torch import export_torch, import_torch
from tests.models.drawn import draw

GOLDEN = Path(__file__).parent / "golden.npz"
CLASSES = 21
SPACE = (49, 65)  # odd, so that every rounding of a stride shows

FAST = ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large")
SLOW = ("fcn_resnet50", "deeplabv3_resnet50", "fcn_resnet101", "deeplabv3_resnet101")
NAMES = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


def image_of_noise() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, *SPACE, 3)).astype(np.float32)


def thinned(scores: np.ndarray) -> np.ndarray:
    """Every seventh position of [1, H, W, K], which keeps the file small."""
    return scores[0, ::7, ::7]


def ours(name: str) -> dict[str, np.ndarray]:
    x, rules = image_of_noise(), describe(name).rules["torchvision"]
    model = create(name, num_classes=CLASSES)
    template = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), x)
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), template)
    state = {k: draw(k, v.shape) for k, v in export_torch(blank, rules).items()}
    variables = import_torch(state, template, rules)
    if "lraspp" in name:
        return {"logits": jax.jit(partial(model.apply, train=False))(variables, x)}
    apply = partial(model.apply, train=False, auxiliary=True, method="outputs")
    return jax.jit(apply)(variables, x)


def theirs(name: str) -> dict[str, np.ndarray]:
    torch = pytest.importorskip("torch")
    segmentation = pytest.importorskip("torchvision.models.segmentation")
    options = {} if "lraspp" in name else {"aux_loss": True}
    build = getattr(segmentation, name)
    network = build(weights=None, weights_backbone=None, num_classes=CLASSES, **options).eval()
    state = network.state_dict()
    for key, tensor in state.items():
        if tensor.is_floating_point():
            state[key] = torch.from_numpy(draw(key, tuple(tensor.shape)))
    network.load_state_dict(state)
    with torch.no_grad():
        outputs = network(torch.from_numpy(image_of_noise()).permute(0, 3, 1, 2))
    names = {"out": "logits", "aux": "aux"}
    return {names[key]: value.permute(0, 2, 3, 1).numpy() for key, value in outputs.items()}


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_auxiliary_scores_are_torchvisions(name):
    with np.load(GOLDEN) as file:
        golden = dict(file)
    outputs = ours(name)
    expected = {key.split("/")[1]: golden[key] for key in golden if key.split("/")[0] == name}
    assert set(outputs) == set(expected) == ({"logits"} if "lraspp" in name else {"logits", "aux"})
    for head, scores in expected.items():
        assert np.abs(scores).max() > 0.1
        np.testing.assert_allclose(thinned(outputs[head]), scores, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_the_golden_file_is_what_torchvision_computes(name):
    with np.load(GOLDEN) as file:
        golden = dict(file)
    for head, scores in theirs(name).items():
        np.testing.assert_allclose(golden[f"{name}/{head}"], thinned(scores), atol=1e-5)


if __name__ == "__main__":
    np.savez_compressed(
        GOLDEN,
        **{
            f"{name}/{head}": thinned(scores)
            for name in (*FAST, *SLOW)
            for head, scores in theirs(name).items()
        },
    )
