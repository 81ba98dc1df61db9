"""Hardware utilisation of a training run: FLOP/s, and model FLOPs utilisation (MFU).

The numerator counts what the model needs, not what the program does: the forward and backward pass
without the recomputation of `remat` (Chowdhery et al. 2022, arXiv:2204.02311, appendix B).
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax

from cnn_jax.analysis.flops import multiply_adds
from cnn_jax.typing import Network

# Dense FLOP/s in bfloat16 with float32 sums of one JAX device, by its `device_kind`; the first name
# that occurs in it counts. NVIDIA: data sheets, most of which print twice this, with sparsity. TPU:
# cloud.google.com/tpu/docs/system-architecture-tpu-vm, where figures are per chip; a device is one
# of the two cores of a v2 or v3 chip, and a whole chip of later ones.
PEAKS = {
    "H200": 989e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,  # SXM
    "B200": 2250e12,
    "A100": 312e12,
    "A40": 149.7e12,
    "A10G": 70e12,
    "A10": 125e12,
    "L40S": 362e12,
    "L4": 121e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,  # v5e
    "TPU v5": 459e12,  # v5p
    "TPU v6 lite": 918e12,  # v6e, Trillium
    "TPU7x": 2307e12,  # Ironwood
}


def training_flops(model: Network, image: jax.ShapeDtypeStruct, *, frozen: bool = False) -> int:
    """FLOPs of a training step for one example; a multiply-add counts as two.

    They are three times those of the forward pass: for each of its products the backward pass
    computes two, the gradients of the input and of the weights. (The image needs no gradient: 1 to
    3% less is computed.) They are counted by `cnn_jax.analysis.flops`; nothing is compiled or run.

    Args:
        model: called as `model(image, train=False)`.
        image: shape and dtype of a batch, [B, *space, C].
        frozen: whether only the last layer is trained, which leaves the forward pass.
    """
    one = jax.ShapeDtypeStruct((1, *image.shape[1:]), image.dtype)
    init = partial(model.init, train=False)
    variables = jax.eval_shape(init, jax.random.key(0), one)
    forward = multiply_adds(lambda v, x: model.apply(v, x, train=False), variables, one)
    return 2 * forward * (1 if frozen else 3)


def peak_flops(devices: Sequence[jax.Device]) -> float | None:
    """Peak FLOP/s of all devices together in bfloat16; None for a CPU or a device not in PEAKS."""
    kind = devices[0].device_kind
    for name, peak in PEAKS.items():
        if name in kind:
            return peak * len(devices)
    return None


def speed(
    model: Network,
    image: jax.ShapeDtypeStruct,
    devices: Sequence[jax.Device],
    *,
    frozen: bool = False,
) -> Callable[[float], dict[str, float]]:
    """examples per second -> {'gflops_per_second', and if the peak is known 'mfu', in 0..1}."""
    each = training_flops(model, image, frozen=frozen)
    peak = peak_flops(devices)

    def figures(examples_per_second: float) -> dict[str, float]:
        flops = each * examples_per_second
        known = {} if peak is None else {"mfu": flops / peak}
        return {"gflops_per_second": flops / 1e9, **known}

    return figures
