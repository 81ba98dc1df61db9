"""Convolutions of real networks: XLA's own, ours, and PyTorch's, forward and both gradients.

    python -m experiments.benchmark.conv --workdir=/tmp/conv [--quick] [--only=3x3]

Each row is a layer of a published network at a batch that trains on a CPU. The three contenders
take turns; each time is the median of `--repeats` calls, with inputs already on the device, in
float32 and NHWC (PyTorch: channels_last). `share` is the FLOP/s of the direct convolution divided
by the measured peak of matrix products on this machine; Winograd can exceed 1.
"""

import json
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax import lax

import cnn_jax.cpu
from cnn_jax.cpu import memory
from experiments import flag_help
from experiments.benchmark import timing
from experiments.benchmark.layer import Layer

WORKDIR = flags.DEFINE_string("workdir", None, "Directory for result.json.")
QUICK = flags.DEFINE_bool("quick", False, "Run a short check: a third of the table, batches of 2.")
REPEATS = flags.DEFINE_integer("repeats", 5, "Number of timed calls of each contender.")
SECONDS = flags.DEFINE_float("seconds", 2.0, "Seconds after which a contender sits out.")
ONLY = flags.DEFINE_string("only", "", "Text that the names of rows must contain.")
STOCK = flags.DEFINE_bool("stock", True, "Time XLA's own convolutions too, by far the slowest.")
TORCH = flags.DEFINE_bool("torch", True, "Time PyTorch too, if it is installed.")


TABLE = [
    # He et al. 2016 with the CIFAR stem, 32x32, batch 64: the four stages and their first layers
    Layer("resnet18 stem 3x3", 64, 32, 3, 64, 3),
    Layer("resnet18 stage1 3x3", 64, 32, 64, 64, 3),
    Layer("resnet18 stage2 3x3", 64, 16, 128, 128, 3),
    Layer("resnet18 stage3 3x3", 64, 8, 256, 256, 3),
    Layer("resnet18 stage4 3x3", 64, 4, 512, 512, 3),
    Layer("resnet18 stage2 3x3/2", 64, 32, 64, 128, 3, 2),
    Layer("resnet18 stage4 3x3/2", 64, 8, 256, 512, 3, 2),
    Layer("resnet18 stage2 1x1/2", 64, 32, 64, 128, 1, 2),
    # ResNet-50 at 96x96, batch 16
    Layer("resnet50 stem 7x7/2", 16, 96, 3, 64, 7, 2),
    Layer("resnet50 stage1 1x1 in", 16, 24, 256, 64, 1),
    Layer("resnet50 stage1 1x1 out", 16, 24, 64, 256, 1),
    Layer("resnet50 stage3 1x1 out", 16, 6, 256, 1024, 1),
    Layer("resnet50 stage1 3x3", 16, 24, 64, 64, 3),
    Layer("resnet50 stage4 3x3", 16, 3, 512, 512, 3),
    # WRN-16-4 (Zagoruyko and Komodakis 2016), VGG-11 (64x64, batch 32), U-Net (96x96, batch 8)
    Layer("wrn-16-4 stage1 3x3", 64, 32, 64, 64, 3),
    Layer("vgg11 conv2 3x3", 32, 32, 64, 128, 3),
    Layer("unet 3x3", 8, 96, 32, 32, 3),
    # Grouped: ResNeXt-50 32x4d (Xie et al. 2017)
    Layer("resnext50 stage1 3x3 g32", 16, 24, 128, 128, 3, 1, 32),
    Layer("resnext50 stage3 3x3 g32", 16, 6, 512, 512, 3, 1, 32),
    Layer("32 groups 3x3", 16, 28, 256, 256, 3, 1, 32),
    # Depthwise: MobileNetV2, EfficientNet-B0, ConvNeXt-T at 96x96
    Layer("mobilenet_v2 depthwise 3x3", 16, 24, 144, 144, 3, 1, 144),
    Layer("mobilenet_v2 depthwise 3x3/2", 16, 48, 96, 96, 3, 2, 96),
    Layer("depthwise 3x3 at 56x56", 32, 56, 144, 144, 3, 1, 144),
    Layer("efficientnet_b0 depthwise 5x5", 16, 12, 240, 240, 5, 1, 240),
    Layer("convnext_tiny depthwise 7x7", 16, 24, 96, 96, 7, 1, 96),
    Layer("convnext_tiny patch 4x4/4", 16, 96, 3, 96, 4, 4),
    Layer("convnext_tiny down 2x2/2", 16, 24, 96, 192, 2, 2),
    # DenseNet-121 at 64x64, batch 32; DeepLab's dilation; one dimension
    Layer("densenet121 3x3 growth", 32, 16, 128, 32, 3),
    Layer("densenet121 1x1", 32, 16, 256, 128, 1),
    Layer("deeplab 3x3 dilation 2", 8, 12, 256, 256, 3, 1, 1, 2),
    Layer("1-D resnet 7", 64, 1024, 64, 64, 7, 1, 1, 1, 1),
    Layer("1-D resnet 3", 64, 1024, 64, 64, 3, 1, 1, 1, 1),
    Layer("video 3x3x3", 4, 14, 64, 64, 3, 1, 1, 1, 3),
]


def convolution(layer: Layer) -> Callable[[jax.Array, jax.Array], jax.Array]:
    spatial = "DHW"[-layer.rank :]

    def convolve(x, w):
        return lax.conv_general_dilated(
            x,
            w,
            (layer.stride,) * layer.rank,
            [(layer.padding,) * 2] * layer.rank,
            rhs_dilation=(layer.dilation,) * layer.rank,
            dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
            feature_group_count=layer.groups,
        )

    return convolve


def arrays(layer: Layer) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    space, window = (layer.size,) * layer.rank, (layer.window,) * layer.rank
    x_shape = (layer.batch, *space, layer.channels)
    w_shape = (*window, layer.channels // layer.groups, layer.features)
    y = jax.eval_shape(convolution(layer), *(jnp.zeros(s) for s in (x_shape, w_shape)))
    x, w, dy = (random.standard_normal(s, np.float32) for s in (x_shape, w_shape, y.shape))
    return x, w, dy


def jax_calls(layer: Layer, x, w, y) -> dict[str, Callable[[], object]]:
    """Compiles the three passes under the lowering rules in force."""
    f = convolution(layer)
    passes = {
        "forward": (lambda x, w, y: f(x, w), (x, w, y)),
        "input gradient": (lambda x, w, y: jax.vjp(lambda x: f(x, w), x)[1](y)[0], (x, w, y)),
        "kernel gradient": (lambda x, w, y: jax.vjp(lambda w: f(x, w), w)[1](y)[0], (x, w, y)),
    }
    calls: dict[str, Callable[[], object]] = {}
    for name, (function, arguments) in passes.items():
        compiled = jax.jit(function, keep_unused=True).lower(*arguments).compile()
        calls[name] = partial(_finished, compiled, arguments)
    return calls


def _finished(compiled: Callable, arguments: tuple) -> object:
    return jax.block_until_ready(compiled(*arguments))


def torch_calls(layer: Layer, x, w, y) -> dict[str, Callable[[], object]]:
    import torch

    last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(layer.rank)
    rank = layer.rank

    def tensor(a, order):
        t = torch.from_numpy(np.ascontiguousarray(a.transpose(order)))
        return t.contiguous(memory_format=last) if last else t

    image = (0, rank + 1, *range(1, rank + 1))
    x, y = tensor(x, image), tensor(y, image)
    w = tensor(w, (rank + 1, rank, *range(rank)))
    each = ((layer.stride,) * rank, (layer.padding,) * rank, (layer.dilation,) * rank)
    function = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}[rank]

    def backward(mask):
        return torch.ops.aten.convolution_backward(
            y, x, w, None, *each, False, (0,) * rank, layer.groups, mask
        )

    return {
        "forward": lambda: function(x, w, None, *each, layer.groups),
        "input gradient": lambda: backward((True, False, False)),
        "kernel gradient": lambda: backward((False, True, False)),
    }


def measure(layer: Layer, peak: float) -> list[dict[str, object]]:
    """One row for each pass."""
    x, w, y = arrays(layer)
    inputs = [jax.device_put(a) for a in (x, w, y)]
    contenders: dict[str, dict[str, Callable[[], object]]] = {}
    with cnn_jax.cpu.enabled():
        contenders["ours"] = jax_calls(layer, *inputs)
    if STOCK.value:
        with cnn_jax.cpu.enabled(False):
            contenders["stock"] = jax_calls(layer, *inputs)
    if TORCH.value and _torch_is_installed():
        contenders["torch"] = torch_calls(layer, x, w, y)
    memory.keep()  # for all three alike: the benchmark is about arithmetic
    rows = []
    work = 2 * y.size * w.size // layer.features
    for name in contenders["ours"]:
        calls = {contender: passes[name] for contender, passes in contenders.items()}
        times = timing.alternate(calls, repeats=REPEATS.value, seconds=SECONDS.value)
        median = timing.medians(times)
        row = {"layer": layer.name, "pass": name, "gflop": work / 1e9}
        row |= {f"{contender}_ms": 1e3 * t for contender, t in median.items()}
        for other in ("stock", "torch"):
            if other in median:
                row[f"vs_{other}"] = median[other] / median["ours"]
        row["share"] = work / median["ours"] / peak
        rows.append(row)
        print(_line(row), flush=True)
    return rows


def _line(row) -> str:
    shown = f"{row['layer']:30s} {row['pass']:16s}"
    for name in ("stock", "torch", "ours"):
        if f"{name}_ms" in row:
            shown += f" {name} {row[f'{name}_ms']:8.2f} ms"
    for name in ("stock", "torch"):
        if f"vs_{name}" in row:
            shown += f"  {row[f'vs_{name}']:6.2f}x {name}"
    return f"{shown}  {row['share']:.2f} of peak"


def _torch_is_installed() -> bool:
    try:
        import torch  # noqa: F401
    except ImportError:
        return False
    return True


def summary(rows, peak) -> dict[str, object]:
    result: dict[str, object] = {"machine": timing.machine(), "matmul_peak_gflops": peak / 1e9}
    for other in ("stock", "torch"):
        ratios = [row[f"vs_{other}"] for row in rows if f"vs_{other}" in row]
        if ratios:
            result[f"geomean_vs_{other}"] = timing.geometric_mean(ratios)
            result[f"worst_vs_{other}"] = min(ratios)
            for name in ("forward", "input gradient", "kernel gradient"):
                some = [r[f"vs_{other}"] for r in rows if r["pass"] == name and f"vs_{other}" in r]
                key = f"geomean_vs_{other} {name}"
                result[key] = timing.geometric_mean(some)
    return result | {"rows": rows}


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    table = [layer for layer in TABLE if ONLY.value in layer.name]
    if QUICK.value:
        table = [layer._replace(batch=2) for layer in table[::3]]
    memory.keep()  # before there are threads, as in a program that begins with `enable()`
    peak = timing.matmul_peak()
    rows = []
    for layer in table:
        rows += measure(layer, peak)
    result = summary(rows, peak)
    print(json.dumps({k: v for k, v in result.items() if k != "rows"}, indent=2))
    timing.write_result(WORKDIR.value, result)


if __name__ == "__main__":
    flag_help.run(main)
