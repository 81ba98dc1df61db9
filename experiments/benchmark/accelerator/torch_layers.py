"""PyTorch's times of the same layers: cuDNN on a GPU. Needs torch."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from experiments.benchmark.accelerator import layers
from experiments.benchmark.layer import Layer

CALLS, REPEATS = 20, 5


def passes(layer: Layer, dtype: str, device: str) -> dict[str, Callable[[], Any]]:
    """The three passes of a layer, on random operands in channels_last."""
    rank = layer.rank
    last = {2: torch.channels_last, 3: torch.channels_last_3d}[rank]
    window = (layer.window,) * rank
    kernel = (layer.features, layer.channels // layer.groups, *window)
    if layer.transposed:
        kernel = (layer.channels, layer.features, *window)

    def draw(shape: tuple[int, ...]) -> Any:
        tensor = torch.randn(shape, device=device).to(getattr(torch, dtype))
        return tensor.contiguous(memory_format=last)

    x = draw((layer.batch, layer.channels, *(layer.size,) * rank))
    w = draw(kernel)
    each = ((layer.stride,) * rank, (layer.padding,) * rank, (layer.dilation,) * rank)
    rest = (layer.transposed, (0,) * rank, layer.groups)

    def forward() -> Any:
        return torch.ops.aten.convolution(x, w, None, *each, *rest)

    dy = draw(tuple(forward().shape))

    def backward(mask: tuple[bool, bool, bool]) -> Callable[[], Any]:
        return lambda: torch.ops.aten.convolution_backward(dy, x, w, None, *each, *rest, mask)

    functions = (forward, backward((True, False, False)), backward((False, True, False)))
    return dict(zip(layers.PASSES, functions, strict=True))


def rows(dtype: str, platform: str, *, tiny: bool) -> Iterator[dict[str, Any]]:
    torch.backends.cudnn.benchmark = True
    device = "cuda" if platform == "gpu" else "cpu"
    for layer in layers.table(tiny=tiny):
        for name, function in passes(layer, dtype, device).items():
            yield {"layer": layer.name, "pass": name, "torch": _milliseconds(function, device)}


def _milliseconds(function: Callable[[], Any], device: str) -> float:
    """The time of a call, without the time that Python takes to start it."""
    for _ in range(3):
        function()  # cuDNN's benchmark mode tries its algorithms
    if device == "cuda":
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(CALLS):
                function()
        calls, wait = graph.replay, torch.cuda.synchronize
    else:

        def calls() -> None:
            for _ in range(CALLS):
                function()

        def wait() -> None:
            pass

    calls()
    wait()
    means = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        calls()
        wait()
        means.append(1e3 * (time.perf_counter() - begun) / CALLS)
    return statistics.median(means)
