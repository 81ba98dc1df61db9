"""The rule engine: names, layouts, and one report of all that does not fit."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from cnn_jax.weights import layouts
from cnn_jax.weights import torch as engine
from cnn_jax.weights.errors import WeightsError


class Small(nn.Module):
    """Every kind of layer once."""

    classes: int = 5

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(4, (3, 3), padding=1, name="stem")(x)
        x = nn.BatchNorm(use_running_average=True, name="block0_bn")(x)
        x = nn.Conv(4, (3, 3), padding=1, feature_group_count=4, name="block1_dw")(x)
        x = nn.Conv(8, (3, 3), padding=1, feature_group_count=2, name="block2_grouped")(x)
        x = nn.ConvTranspose(6, (2, 2), (2, 2), padding="VALID", name="up")(x)
        x = x * self.param("gamma", nn.initializers.ones, (6,))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(7, name="hidden")(x))
        return nn.Dense(self.classes, name="head")(x)


RULES = (
    ("conv", "stem"),
    ("blocks.{i}.norm", "block{i}_bn"),
    ("blocks.{i}.depthwise", "block{i}_dw"),
    ("blocks.{i}.grouped", "block{i}_grouped"),
    ("up", "up", layouts.TRANSPOSED_CONV),
    ("layer_scale", "gamma", layouts.CHANNEL_FIRST_VECTOR),
    ("fc.0", "hidden", layouts.flattened(10, 6, 6)),
    ("fc.2", "head"),
)
SHAPE = (2, 5, 3, 3)  # PyTorch's order of the input


def variables(classes=5, seed=0):
    rng = np.random.default_rng(seed)
    x = np.zeros((2, 5, 3, 3), np.float32)
    shapes = jax.eval_shape(Small(classes).init, jax.random.key(0), x)
    return jax.tree.map(lambda s: rng.uniform(0.5, 1.5, s.shape).astype(np.float32), shapes)


def test_import_inverts_export():
    original = variables()
    state_dict = engine.export_torch(original, RULES)
    assert state_dict["conv.weight"].shape == (4, 3, 3, 3)
    assert state_dict["blocks.1.depthwise.weight"].shape == (4, 1, 3, 3)
    assert state_dict["blocks.2.grouped.weight"].shape == (8, 2, 3, 3)
    assert state_dict["up.weight"].shape == (8, 6, 2, 2)
    assert state_dict["layer_scale"].shape == (6, 1, 1)
    assert state_dict["fc.0.weight"].shape == (7, 360)
    assert all(array.flags.c_contiguous for array in state_dict.values())
    state_dict["blocks.0.norm.num_batches_tracked"] = np.int64(3)
    back = engine.import_torch(state_dict, variables(seed=1), RULES)
    jax.tree.map(np.testing.assert_array_equal, back, original)


def test_the_same_function_as_pytorch():
    torch = pytest.importorskip("torch")
    tn = torch.nn

    class Twin(tn.Module):
        def __init__(self):
            super().__init__()
            self.conv = tn.Conv2d(3, 4, 3, padding=1)
            self.blocks = tn.ModuleList(tn.Module() for _ in range(3))
            self.blocks[0].norm = tn.BatchNorm2d(4)
            self.blocks[1].depthwise = tn.Conv2d(4, 4, 3, padding=1, groups=4)
            self.blocks[2].grouped = tn.Conv2d(4, 8, 3, padding=1, groups=2)
            self.up = tn.ConvTranspose2d(8, 6, 2, stride=2)
            self.layer_scale = tn.Parameter(torch.ones(6, 1, 1))
            self.fc = tn.Sequential(tn.Linear(360, 7), tn.ReLU(), tn.Linear(7, 5))

        def forward(self, x):
            x = self.blocks[0].norm(self.conv(x))
            x = self.blocks[2].grouped(self.blocks[1].depthwise(x))
            return self.fc((self.up(x) * self.layer_scale).flatten(1))

    ours = variables()
    twin = Twin().eval()
    state_dict = engine.export_torch(ours, RULES)
    twin.load_state_dict({k: torch.from_numpy(v) for k, v in state_dict.items()})
    x = np.random.default_rng(2).normal(size=(2, 5, 3, 3)).astype(np.float32)  # [B, H, W, C]
    with torch.no_grad():
        theirs = twin(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    np.testing.assert_allclose(Small().apply(ours, x), theirs, rtol=1e-4, atol=1e-4)


def test_everything_that_does_not_fit_is_in_one_report():
    state_dict = engine.export_torch(variables(), RULES)
    del state_dict["conv.bias"], state_dict["blocks.0.norm.running_var"]
    state_dict["fc.0.weight"] = state_dict["fc.0.weight"][:, :-1]
    state_dict["up.weight"] = state_dict["up.weight"][..., :1]
    state_dict["blocks.7.norm.weight"] = np.zeros(4)
    state_dict["attention.qkv.weight"] = np.zeros((4, 4))
    with pytest.raises(WeightsError) as error:
        engine.import_torch(state_dict, variables(), (*RULES[:-1],))
    groups: dict[str, set[str]] = {}
    for line in str(error.value).splitlines()[1:]:
        if line.endswith(":"):
            kind = groups.setdefault(line.strip(), set())
        else:
            kind.add(line.strip())
    assert groups == {
        "2 leaves of the model that no rule names:": {"params/head/bias", "params/head/kernel"},
        "2 missing from the file:": {
            "blocks.0.norm.running_var (for batch_stats/block0_bn/var 4)",
            "conv.bias (for params/stem/bias 4)",
        },
        "2 of another shape:": {
            "fc.0.weight is 7x359, params/hidden/kernel wants 7x360",
            "up.weight is 8x6x2x1, params/up/kernel wants 8x6x2x2",
        },
        "3 in the file, and no rule matches:": {
            "fc.2.bias 5",
            "fc.2.weight 5x7",
            "attention.qkv.weight 4x4",
        },
        "1 in the file, and not in the model:": {"blocks.7.norm.weight 4"},
    }


def test_another_architecture_is_refused_with_a_short_report():
    state_dict = {f"encoder.{i}.weight": np.zeros((3, 3)) for i in range(100)}
    with pytest.raises(WeightsError, match=r"0 of its \d+ tensors") as error:
        engine.import_torch(state_dict, variables(), RULES)
    assert "and 88 more" in str(error.value)
    assert len(str(error.value).splitlines()) < 40


def test_other_classes_only_on_request():
    state_dict = engine.export_torch(variables(classes=9), RULES)
    template = variables(classes=5, seed=1)
    with pytest.raises(WeightsError, match="head/kernel wants 5x7"):
        engine.import_torch(state_dict, template, RULES)
    head = ("params/head/kernel", "params/head/bias")
    loaded = engine.import_torch(state_dict, template, RULES, init=head)
    np.testing.assert_array_equal(
        loaded["params"]["head"]["kernel"], template["params"]["head"]["kernel"]
    )
    np.testing.assert_array_equal(
        loaded["params"]["stem"]["kernel"], variables(classes=9)["params"]["stem"]["kernel"]
    )
    shapes = jax.eval_shape(lambda: template)
    with pytest.raises(WeightsError, match="only shapes"):
        engine.import_torch(state_dict, shapes, RULES, init=head)


def test_a_backbone_leaves_the_head_in_the_file():
    original = variables()
    state_dict = engine.export_torch(original, RULES)
    backbone = {
        "params": {k: v for k, v in original["params"].items() if k != "head"},
        "batch_stats": original["batch_stats"],
    }
    with pytest.raises(WeightsError, match="not in the model"):
        engine.import_torch(state_dict, backbone, RULES)
    loaded = engine.import_torch(
        state_dict, backbone, RULES, drop=("params/head/kernel", "params/head/bias")
    )
    assert set(loaded["params"]) == set(backbone["params"])


def test_half_precision_files_become_the_models_dtype():
    state_dict = {
        k: v.astype(np.float16) for k, v in engine.export_torch(variables(), RULES).items()
    }
    loaded = engine.import_torch(state_dict, variables(), RULES)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(loaded))


def test_two_leaves_with_one_name_are_refused():
    rules = (*RULES[:-2], ("fc.0", "hidden"), ("fc.0", "head"))
    with pytest.raises(WeightsError, match=r"both named fc\.0"):
        engine.export_torch(variables(), rules)


@pytest.mark.parametrize("rule", [(r"layer(\d+)", r"layer\1"), ("a.{i}", "a"), ("a{i}", "a{j}")])
def test_rules_are_checked(rule):
    with pytest.raises(ValueError, match="pair of templates"):
        engine.check_rules("model", (rule,))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_layouts_are_inverse_in_any_rank(rank):
    rng = np.random.default_rng(rank)
    space = (3, 2, 4)[:rank]
    for layout, shape in [
        (layouts.CONV, (6, 5, *space)),
        (layouts.TRANSPOSED_CONV, (6, 5, *space)),
        (layouts.flattened(*space, 5), (7, 5 * int(np.prod(space)))),
        (layouts.DENSE, (4, 3)),
        (layouts.POINTWISE_CONV, (4, 3, 1, 1)),
        (layouts.POINTWISE_DENSE, (4, 3)),
    ]:
        w = rng.normal(size=shape)
        np.testing.assert_array_equal(layout.to_torch(layout.to_flax(w)), w)
        assert layout.torch_shape(layout.to_flax(w).shape) == shape
