"""PyTorch's side of `experiments.benchmark.train_step`: the same networks. Needs torch.

They come from torchvision, or are written here.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import numpy as np
import safetensors.torch
import torch
import torchvision
from torch import nn
from torch.nn import functional


class WideResNet(nn.Module):
    """WRN-16-4, as in `cnn_jax.models.wide_resnet`."""

    def __init__(self, num_classes: int, blocks: int = 2, widen: int = 4):
        super().__init__()
        widths = [16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        before = 16
        for i, width in enumerate(widths):
            layer = []
            for j in range(blocks):
                layer.append(WideBlock(before, width, 2 if i > 0 and j == 0 else 1))
                before = width
            self.add_module(f"layer{i + 1}", nn.Sequential(*layer))
        self.bn = nn.BatchNorm2d(before)
        self.fc = nn.Linear(before, num_classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        x = functional.relu(self.bn(x), inplace=True)
        return self.fc(x.mean((2, 3)))


class WideBlock(nn.Module):
    """BN-ReLU-conv twice, with a 1x1 convolution where the shape changes."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.downsample = None
        if stride != 1 or before != width:
            self.downsample = nn.Conv2d(before, width, 1, stride, bias=False)

    def forward(self, x):
        y = functional.relu(self.bn1(x), inplace=True)
        shortcut = x if self.downsample is None else self.downsample(y)
        y = functional.relu(self.bn2(self.conv1(y)), inplace=True)
        return shortcut + self.conv2(y)


class UNet(nn.Module):
    """`unet_same` of `cnn_jax.models.segmentation`, with any width."""

    def __init__(self, num_classes: int, channels: int = 3, width: int = 32, depth: int = 4):
        super().__init__()
        widths = [width * 2**i for i in range(depth + 1)]
        self.encoders = nn.ModuleList(
            double_conv(before, after)
            for before, after in zip([channels, *widths], widths, strict=False)
        )
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(2 * after, after, 2, 2) for after in widths[:-1]
        )
        self.decoders = nn.ModuleList(double_conv(2 * after, after) for after in widths[:-1])
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, x):
        skips = []
        for i, encoder in enumerate(self.encoders):
            x = encoder(functional.max_pool2d(x, 2) if i else x)
            skips.append(x)
        skips.pop()
        for up, decoder in zip(reversed(self.ups), reversed(self.decoders), strict=True):
            x = decoder(torch.cat([skips.pop(), up(x)], 1))
        return self.head(x)


def double_conv(before: int, after: int) -> nn.Module:
    """Two 3x3 convolutions, each with batch norm and ReLU."""
    layers: dict[str, nn.Module] = {}
    for i, channels in enumerate((before, after), start=1):
        layers[f"conv{i}"] = nn.Conv2d(channels, after, 3, padding=1, bias=False)
        layers[f"bn{i}"] = nn.BatchNorm2d(after)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
    return nn.Sequential(OrderedDict(layers))


class ResNet1d(nn.Module):
    """ResNet-18 in one dimension, as `cnn_jax.models.resnet` builds it for sequences."""

    def __init__(self, num_classes: int, channels: int = 1):
        super().__init__()
        self.conv1 = nn.Conv1d(channels, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm1d(64)
        before = 64
        for i, width in enumerate([64, 128, 256, 512]):
            layer = []
            for j in range(2):
                layer.append(BasicBlock1d(before, width, 2 if i > 0 and j == 0 else 1))
                before = width
            self.add_module(f"layer{i + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer1(functional.max_pool1d(x, 3, 2, padding=1))
        x = self.layer4(self.layer3(self.layer2(x)))
        return self.fc(x.mean(2))


class BasicBlock1d(nn.Module):
    """Two convolutions with kernels of 3, and a shortcut."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv1d(before, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.downsample = None
        if stride != 1 or before != width:
            self.downsample = nn.Sequential(
                nn.Conv1d(before, width, 1, stride, bias=False), nn.BatchNorm1d(width)
            )

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return functional.relu(shortcut + y, inplace=True)


def cifar_resnet18(num_classes: int) -> nn.Module:
    """torchvision's ResNet-18 with a 3x3 stem and no pooling after it."""
    model = torchvision.models.resnet18(num_classes=num_classes)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


class Scores(nn.Module):
    """The main scores of one of torchvision's segmentation networks, which return a dict."""

    def __init__(self, name: str, num_classes: int):
        super().__init__()
        build = getattr(torchvision.models.segmentation, name)
        self.network = build(weights=None, weights_backbone=None, num_classes=num_classes)

    def forward(self, x):
        return self.network(x)["out"]


def build(name: str, num_classes: int) -> nn.Module:
    """The PyTorch network for a row of the train-step table."""
    own: dict[str, Callable[[int], nn.Module]] = {
        "resnet18": cifar_resnet18,
        "wrn_16_4": WideResNet,
        "unet": UNet,
        "resnet18_1d": ResNet1d,
        "deeplabv3_mobilenet_v3_large": partial(Scores, "deeplabv3_mobilenet_v3_large"),
    }
    if name in own:
        return own[name](num_classes)
    return torchvision.models.get_model(name, num_classes=num_classes)


def _load(model: nn.Module, path: str) -> None:
    """Fills a network with the tensors of a file, all of them."""
    tensors = safetensors.torch.load_file(path)
    target = model.network if isinstance(model, Scores) else model
    missing, unknown = target.load_state_dict(tensors, strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unknown:
        raise RuntimeError(f"{path} lacks {missing[:5]} and has {unknown[:5]}, which is unknown.")


class Steps:
    """PyTorch's fastest training and evaluation steps of a network, on a fixed batch.

    They use channels_last, all cores and oneDNN; optionally torch.compile.
    """

    def __init__(
        self,
        name: str,
        x: np.ndarray,
        y: np.ndarray,
        num_classes: int,
        *,
        compile: bool,
        weights: str = "",
    ):
        """Nothing is dropped in training, neither activations nor blocks.

        Args:
            x: [B, *space, C] float32.
            y: [B] or [B, *space] int.
            weights: safetensors file of the initial weights; '' for PyTorch's own.
        """
        torch.manual_seed(0)
        self.model = build(name, num_classes)
        for module in self.model.modules():
            if isinstance(module, (nn.Dropout, torchvision.ops.StochasticDepth)):
                module.p = 0.0
        if weights:
            _load(self.model, weights)
        order = (0, x.ndim - 1, *range(1, x.ndim - 1))
        self.x = torch.from_numpy(np.ascontiguousarray(x.transpose(order)))
        if x.ndim == 4:
            self.model = self.model.to(memory_format=torch.channels_last)
            self.x = self.x.contiguous(memory_format=torch.channels_last)
        self.y = torch.from_numpy(y.astype(np.int64))
        self.run = torch.compile(self.model) if compile else self.model
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)

    def train(self) -> torch.Tensor:
        """One step; its loss."""
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(self.run(self.x), self.y)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def evaluate(self) -> np.ndarray:
        """Scores [B, K] or [B, *space, K]."""
        self.model.eval()
        with torch.inference_mode():
            return np.moveaxis(self.run(self.x).numpy(), 1, -1)

    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())
