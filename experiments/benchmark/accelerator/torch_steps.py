"""The same train steps in PyTorch as it runs fastest on a GPU. Needs torch and torchvision.

Channels last, cuDNN's benchmark mode, TF32, and autocast in bfloat16 if that is asked for; eager,
or by torch.compile. Weights, batch and optimiser are those of `jax_steps`.
"""

import contextlib
import time
from typing import Any

import numpy as np
import torch
import torchvision
from torch.nn import functional

from cnn_jax.weights import export_torch
from experiments.benchmark import timing
from experiments.benchmark.accelerator import networks
from experiments.benchmark.accelerator.networks import Row
from experiments.benchmark.pytorch.train_step import UNet

LEARNING_RATE, MOMENTUM = 0.01, 0.9


class Steps:
    """A step and its state; see `jax_steps.Steps`."""

    program_bytes = None

    def __init__(self, of: Row, dtype: str, *, device: str, compiled: bool):
        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_tf32 = True
        self._device = torch.device(device)
        model = _network(of)
        tensors = export_torch(networks.variables(of), networks.torch_rules(of))
        own = model.state_dict()
        given = {k: torch.from_numpy(np.array(v)) for k, v in tensors.items()}
        counters = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")}
        model.load_state_dict({**counters, **given}, strict=True)
        self._model = model.to(self._device, memory_format=torch.channels_last).train()
        x, y = networks.arrays(of)
        self._x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).to(
            self._device, memory_format=torch.channels_last
        )
        self._y = torch.from_numpy(y.astype(np.int64)).to(self._device)
        self._run = torch.compile(self._model) if compiled else self._model
        self._optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
        self._half = dtype == "bfloat16"
        self._compiled = compiled
        self.compile_seconds: float | None = None

    def loss_in_float32(self) -> float:
        """The first step's loss without autocast: whether the network is ours, rounding apart.

        On a batch of four, autocast alone moved MobileNetV2's first loss from 2.11 to 2.43.
        """
        with torch.no_grad():
            return float(functional.cross_entropy(self._model(self._x), self._y))

    def run(self, count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            loss = self._step()
        value = float(loss.detach())
        if self._compiled and self.compile_seconds is None:
            self.compile_seconds = time.perf_counter() - begun  # the first call compiles
        return value

    def _step(self) -> Any:
        self._optimizer.zero_grad(set_to_none=True)
        half = torch.autocast(self._device.type, torch.bfloat16)
        with half if self._half else contextlib.nullcontext():
            loss = functional.cross_entropy(self._run(self._x).float(), self._y)
        loss.backward()
        self._optimizer.step()
        return loss

    def peak_bytes(self) -> int | None:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated()
        return timing.peak_memory()


def _network(of: Row) -> Any:
    if of.dense:
        return UNet(of.classes, width=of.fields["width"])
    if of.short:
        kind = torchvision.models.resnet
        block = kind.Bottleneck if of.name == "resnet50" else kind.BasicBlock
        model = kind.ResNet(block, [1, 1, 1, 1])
        model.layer2 = model.layer3 = model.layer4 = torch.nn.Identity()
        model.fc = torch.nn.Linear(64 * block.expansion, of.classes)
    else:
        model = torchvision.models.get_model(of.name, num_classes=of.classes)
    for module in model.modules():  # see `networks`
        if isinstance(module, (torch.nn.Dropout, torchvision.ops.StochasticDepth)):
            module.p = 0.0
    return model


def card(device: str) -> dict[str, Any]:
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    return {"card": name, "backend": device, "devices": 1, "runtime": f"torch {torch.__version__}"}
