"""FLOPs of training, and the peaks they are divided by."""

from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from cnn_jax import models
from cnn_jax.analysis import utilisation


class Two(nn.Module):
    """A convolution and a dense layer, countable by hand."""

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Conv(8, (3, 3), padding="SAME", use_bias=False, name="conv1")(x)  # [B, 6, 6, 8]
        return nn.Dense(5, use_bias=False, name="fc")(x.reshape(x.shape[0], -1))


def test_counted_by_hand():
    image = jax.ShapeDtypeStruct((32, 6, 6, 2), jnp.float32)
    forward = 6 * 6 * 8 * (3 * 3 * 2) + 6 * 6 * 8 * 5
    assert utilisation.training_flops(Two(), image) == 2 * 3 * forward
    assert utilisation.training_flops(Two(), image, frozen=True) == 2 * forward


def test_resnet50_is_the_papers_and_remat_does_not_count():
    image = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    plain = utilisation.training_flops(models.create("resnet50", num_classes=1000), image)
    assert plain == pytest.approx(6 * 4.089e9, rel=1e-3)  # torchvision: 4.089 GMACs forward
    remat = models.create("resnet50", num_classes=1000, remat=True)
    assert utilisation.training_flops(remat, image) == plain


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", 362e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("cpu", None),
        ("Tesla T4", None),  # no bfloat16
    ],
)
def test_peaks(kind, peak):
    devices = [SimpleNamespace(device_kind=kind)] * 4
    assert utilisation.peak_flops(devices) == (None if peak is None else 4 * peak)


def test_the_share_of_the_peak():
    image = jax.ShapeDtypeStruct((32, 6, 6, 2), jnp.float32)
    flops = utilisation.training_flops(Two(), image)
    figures = utilisation.speed(Two(), image, [SimpleNamespace(device_kind="TPU v4")])(1e9)
    assert figures["gflops_per_second"] == pytest.approx(flops)
    assert figures["mfu"] == pytest.approx(flops * 1e9 / 275e12)
