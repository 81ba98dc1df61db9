"""PyTorch's side of `experiments.benchmark.cifar10`: same network, recipe and data. Needs torch.

    python -m experiments.benchmark.pytorch.cifar10 SETTINGS WORKDIR

SETTINGS is a JSON file with the fields of `Settings`; metrics.jsonl goes to WORKDIR. It is a
separate program without JAX, so that it does not pay for JAX's imports. The images and their order
are those of `cnn_jax.data`; the rest is idiomatic PyTorch: eager, on all cores, with channels_last.
"""

import json
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from cnn_jax import data


class Settings(NamedTuple):
    """The settings of both sides, with the names and units of our recipe."""

    widths: tuple[int, ...]
    norm_momentum: float
    data_dir: str
    train_split: str
    test_split: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    seed: int
    batch_size: int
    eval_batch_size: int
    steps: int
    warmup_steps: int
    evaluate_every: int  # steps
    learning_rate: float
    momentum: float
    weight_decay: float
    bias_factor: float
    label_smoothing: float
    shift: int  # pixels
    whitening_images: int  # number of images from which the whitening is computed
    test_time_flip: bool


class Group(nn.Module):
    """Two 3x3 convolutions, the first with a 2x2 max pool; batch norm without scale, GELU."""

    def __init__(self, before: int, width: int, norm_momentum: float):
        super().__init__()
        self.conv1, self.norm1 = _conv(before, width), _norm(width, norm_momentum)
        self.conv2, self.norm2 = _conv(width, width), _norm(width, norm_momentum)

    def forward(self, x):
        x = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(x), 2)))
        return functional.gelu(self.norm2(self.conv2(x)))


class Airbench(nn.Module):
    """The network of `cnn_jax.models.airbench`, for images of 32x32."""

    def __init__(self, num_classes: int, widths=(64, 256, 256), norm_momentum: float = 0.6):
        super().__init__()
        self.layer0 = nn.Conv2d(3, 24, 2)
        self.layer0.weight.requires_grad = False
        nn.init.zeros_(self.layer0.get_parameter("bias"))
        self.layer1, self.layer2, self.layer3 = (
            Group(before, width, norm_momentum)
            for before, width in zip((24, *widths), widths, strict=False)
        )
        self.linear = nn.Linear(widths[-1], num_classes, bias=False)

    def forward(self, x):
        x = functional.gelu(self.layer0(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.amax((2, 3))) / 9


def _conv(before: int, width: int) -> nn.Conv2d:
    layer = nn.Conv2d(before, width, 3, padding=1, bias=False)
    nn.init.dirac_(layer.weight.data[: min(before, width)])
    return layer


def _norm(width: int, momentum: float) -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(width, eps=1e-12, momentum=1 - momentum)
    layer.weight.requires_grad = False
    return layer


def whitening(images: torch.Tensor) -> torch.Tensor:
    """The kernel [2 * 12, 3, 2, 2] that whitens the 2x2 patches of images [N, 3, H, W]."""
    patches = functional.unfold(images, 2).transpose(1, 2).reshape(-1, 12).double()
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    scaled = (vectors / (values + 5e-4).sqrt()).flip(1).T.float()
    return torch.cat([scaled, -scaled]).reshape(-1, 3, 2, 2)


def learning_rate_factors(settings: Settings) -> list[float]:
    """Factors of the learning rate for every step: a linear rise to 1, then a linear fall to 0."""
    warmup, steps = settings.warmup_steps, settings.steps
    rest = max(1, steps - warmup)
    return [
        (step + 1) / warmup if step < warmup else 1 - (step - warmup) / rest
        for step in range(steps + 1)
    ]


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum; biases have a separate learning rate and no weight decay."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    biases = [p for name, p in trained.items() if name.split(".")[-1] == "bias"]
    kernels = [p for name, p in trained.items() if name.split(".")[-1] != "bias"]
    return torch.optim.SGD(
        [
            {"params": kernels, "weight_decay": settings.weight_decay},
            {"params": biases, "lr": settings.learning_rate * settings.bias_factor},
        ],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=True,
    )


def augment(images: torch.Tensor, shift: int, random: torch.Generator) -> torch.Tensor:
    """Flips half of the images [B, H, W, 3] and shifts each by up to `shift` pixels, mirrored."""
    count, height, width, _ = images.shape
    moves = torch.randint(-shift, shift + 1, (2, count, 1), generator=random)
    rows = _mirrored(torch.arange(height) + moves[0], height)  # [B, H]
    columns = _mirrored(torch.arange(width) + moves[1], width)  # [B, W]
    flipped = torch.rand((count, 1), generator=random) < 0.5
    columns = torch.where(flipped, columns.flip(1), columns)
    example = torch.arange(count)[:, None, None]
    return images[example, rows[:, :, None], columns[:, None, :]]


def _mirrored(position: torch.Tensor, size: int) -> torch.Tensor:
    position = position.abs()
    return torch.where(position < size, position, 2 * (size - 1) - position)


def prepare(images: torch.Tensor, settings: Settings) -> torch.Tensor:
    """uint8 [B, H, W, 3] -> normalised [B, 3, H, W] in channels_last."""
    mean, std = torch.tensor(settings.mean), torch.tensor(settings.std)
    return ((images.float() / 255 - mean) / std).permute(0, 3, 1, 2)


def evaluate(model: nn.Module, batches: data.EvalBatches, settings: Settings) -> float:
    """Accuracy on all examples."""
    model.eval()
    correct = count = 0
    with torch.inference_mode():
        for batch in batches:
            real = torch.from_numpy(batch["mask"]) > 0
            images = prepare(torch.from_numpy(batch["image"]), settings)
            logits = model(images)
            if settings.test_time_flip:
                logits = (logits + model(images.flip(3))) / 2
            correct += int((logits.argmax(1) == torch.from_numpy(batch["label"]))[real].sum())
            count += int(real.sum())
    model.train()
    return correct / count


def train(settings: Settings) -> Iterator[dict]:
    """Trains; yields a row for every evaluation."""
    torch.manual_seed(settings.seed)
    random = torch.Generator().manual_seed(settings.seed)
    source, test_source = (
        data.load_source("cifar10", split, data_dir=settings.data_dir or None)
        for split in (settings.train_split, settings.test_split)
    )
    batches = data.train_batches(source, batch_size=settings.batch_size, seed=settings.seed)
    test = data.eval_batches(test_source, batch_size=settings.eval_batch_size)
    first = data.eval_batches(source, batch_size=min(settings.whitening_images, len(source)))[0]

    model = Airbench(source.num_classes, settings.widths, settings.norm_momentum)
    model.layer0.weight.data = whitening(prepare(torch.from_numpy(first["image"]), settings))
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, settings)
    factors = learning_rate_factors(settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factors[step])

    stream = batches.iterate()
    for step in range(1, settings.steps + 1):
        batch = next(stream)
        images = augment(torch.from_numpy(batch["image"]), settings.shift, random)
        labels = torch.from_numpy(batch["label"].astype(np.int64))
        loss = functional.cross_entropy(
            model(prepare(images, settings)), labels, label_smoothing=settings.label_smoothing
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % settings.evaluate_every == 0 or step == settings.steps:
            accuracy = evaluate(model, test, settings)
            yield {"step": step, "split": "test", "accuracy": accuracy, "train_loss": loss.item()}


def main(file: pathlib.Path, folder: pathlib.Path) -> None:
    settings = Settings(**json.loads(file.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    for row in train(settings):
        with (folder / "metrics.jsonl").open("a") as log:
            log.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(*map(pathlib.Path, sys.argv[1:]))
