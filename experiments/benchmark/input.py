"""Images per second of our input pipeline and PyTorch's, and what a training step consumes.

    python -m experiments.benchmark.input --workdir=/tmp/input [--quick]

There are two jobs. `memory`: shuffled batches of 128 from 10,000 images of 32x32. `jpeg`: 512
photographs of 500x375 (cropped from the two that come with scikit-learn; nothing is downloaded),
decoded, each cropped at random and resized to 224x224, in batches of 64. PyTorch does the same with
`TensorDataset`, and with torchvision's `ImageFolder`, `RandomResizedCrop` and `PILToTensor`, in the
main process and in two workers. The contenders take turns; each turn opens a fresh iterator, drops
the first batches and times the next ones, so that start-up does not count. For comparison, the rate
at which a training step of ResNet-20 consumes images of 32x32 is measured too.
"""

import itertools
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import rich.console
import rich.table
import simplejpeg
from absl import app, flags
from sklearn.datasets import load_sample_images

import cnn_jax.cpu
from cnn_jax import models
from cnn_jax.data import Source, image_loader, load_source, statistics, train_batches
from cnn_jax.tasks.classification import classification, make_prepare
from cnn_jax.train import layout, optim, state, step
from experiments import flag_help
from experiments.benchmark import timing

WORKDIR = flags.DEFINE_string("workdir", None, "Directory for result.json.")
QUICK = flags.DEFINE_bool("quick", False, "Run a short check: one round of a few batches.")
REPEATS = flags.DEFINE_integer("repeats", 7, "Number of timed turns of each contender.")

IMAGES = 10_000  # of 32x32, the size of CIFAR's test set
PHOTOGRAPHS = 512
PHOTOGRAPH_SIZE = (375, 500)  # pixels: about the mean of ImageNet, 400x350
QUALITY = 90  # quality of the JPEGs
MEMORY_BATCH, JPEG_BATCH = 128, 64
CROP = 224


class Pixels:
    """Records of decoded images in memory."""

    def __init__(self, images: np.ndarray, labels: np.ndarray):
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices):
        return [{"image": self.images[i], "label": self.labels[i]} for i in indices]

    def describe(self, index: int) -> str:
        return ""


def write_photographs(folder: pathlib.Path) -> None:
    """Writes random crops of two photographs as folder/train/<class>/<number>.jpg."""
    photographs = load_sample_images().images  # two, uint8 [427, 640, 3]
    rng = np.random.default_rng(0)
    height, width = PHOTOGRAPH_SIZE
    for number in range(PHOTOGRAPHS):
        name, photograph = [("china", photographs[0]), ("flower", photographs[1])][number % 2]
        top = rng.integers(photograph.shape[0] - height + 1)
        left = rng.integers(photograph.shape[1] - width + 1)
        cut = np.ascontiguousarray(photograph[top : top + height, left : left + width])
        path = folder / "train" / name / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        jpeg = simplejpeg.encode_jpeg(cut, QUALITY, colorspace="RGB", colorsubsampling="420")
        path.write_bytes(jpeg)


def cifar_shaped() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 32, 32, 3), np.uint8)
    return images, rng.integers(0, 10, IMAGES).astype(np.int32)


Open = Callable[[], Iterator]  # a fresh, endless iterator over batches


def ours_in_memory(images: np.ndarray, labels: np.ndarray) -> Open:
    records = Pixels(images, labels)
    source = Source("pixels", "train", records, tuple(map(str, range(10))), images.shape[1:])
    batches = train_batches(source, batch_size=MEMORY_BATCH, seed=0, load=_keep, in_memory=True)
    return batches.iterate


def _keep(record, rng):
    return record


def ours_from_jpeg(folder: pathlib.Path, workers: int) -> Open:
    source = load_source(f"folder:{folder}", "train")
    load = image_loader(source, CROP, "random_resized")
    return train_batches(source, load, batch_size=JPEG_BATCH, seed=0, workers=workers).iterate


def torch_loader(dataset, batch_size: int, workers: int) -> Open:
    """An endless DataLoader: one epoch after the other without a pause."""
    import torch

    def indices():
        while True:
            yield from torch.randperm(len(dataset)).tolist()

    def opened() -> Iterator:
        sampler = torch.utils.data.BatchSampler(indices(), batch_size, drop_last=True)
        # Forking a process that has JAX's threads can deadlock.
        context = "forkserver" if workers else None
        return iter(
            torch.utils.data.DataLoader(
                dataset,
                batch_sampler=sampler,
                num_workers=workers,
                multiprocessing_context=context,
            )
        )

    return opened


def torch_in_memory(images: np.ndarray, labels: np.ndarray, workers: int) -> Open:
    import torch

    dataset = torch.utils.data.TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    return torch_loader(dataset, MEMORY_BATCH, workers)


def torch_from_jpeg(folder: pathlib.Path, workers: int) -> Open:
    from torchvision import datasets, transforms

    crop = transforms.Compose([transforms.RandomResizedCrop(CROP), transforms.PILToTensor()])
    return torch_loader(datasets.ImageFolder(folder / "train", crop), JPEG_BATCH, workers)


def rates(
    contenders: dict[str, Open], *, batch_size: int, skip: int, count: int, repeats: int
) -> dict[str, dict[str, float]]:
    """Median and extremes of the images per second of each, over `count` batches after `skip`."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, opened in contenders.items():
            batches = opened()
            for _ in itertools.islice(batches, skip):
                pass
            start = time.perf_counter()
            for _ in itertools.islice(batches, count):
                pass
            seconds[name].append(time.perf_counter() - start)
            del batches  # ends its workers
    images = batch_size * count
    return {
        name: {
            "median": images / float(np.median(times)),
            "slowest": images / max(times),
            "fastest": images / min(times),
        }
        for name, times in seconds.items()
    }


def step_rate(images: np.ndarray, labels: np.ndarray, repeats: int) -> float:
    """Images per second of a training step of ResNet-20, with the batch already on the device."""
    model = models.create("resnet20", num_classes=10)
    mean, std = statistics("cifar10", 3)
    prepare = make_prepare(mean, std)
    tx = optim.make_optimizer("sgd", 0.1)
    image = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    body = step.make_train_step(
        model,
        classification(10),
        tx,
        seed=0,
        augment=lambda keys, batch: prepare(batch),
    )
    placed = layout.make_layout("jit")
    train_step = placed.compile_train(body)
    current = placed.replicate(state.create_state(model, tx, image, seed=0))
    mask = np.ones(MEMORY_BATCH, np.float32)
    batch = placed.shard(
        {"image": images[:MEMORY_BATCH], "label": labels[:MEMORY_BATCH], "mask": mask}
    )
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        current, metrics = train_step(current, batch)
        jax.block_until_ready(metrics)
        times.append(time.perf_counter() - start)
    return MEMORY_BATCH / float(np.median(times[1:]))


def show(result: dict) -> None:
    table = rich.table.Table(title="images/s: median (slowest .. fastest)")
    for column in ("job", "contender", "images/s"):
        table.add_column(column)
    for job in ("memory", "jpeg"):
        for name, rate in result[job].items():
            spread = f"({rate['slowest']:,.0f} .. {rate['fastest']:,.0f})"
            table.add_row(job, name, f"{rate['median']:,.0f} {spread}")
        if (ratio := result["ratios"].get(job)) is not None:
            table.add_row(job, "ours over the best of PyTorch", f"x {ratio:.2f}")
    table.add_row("step", "ResNet-20 at 32x32 consumes", f"{result['step']:,.0f}")
    rich.console.Console().print(table)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"{argv[1]!r} is not a flag: write --name=value")
    try:
        import torch
        import torchvision  # noqa: F401

        torch.manual_seed(0)
        rivals = [0, 2]
    except ImportError:
        rivals = []
    cnn_jax.cpu.enable()
    images, labels = cifar_shaped()
    repeats = 1 if QUICK.value else REPEATS.value
    result: dict = {"step": step_rate(images, labels, repeats=2 if QUICK.value else 20)}
    with tempfile.TemporaryDirectory() as folder:
        photographs = pathlib.Path(folder)
        write_photographs(photographs)
        memory = {"ours": ours_in_memory(images, labels)}
        jpeg = {
            "ours": ours_from_jpeg(photographs, 0),
            "ours, 2 workers": ours_from_jpeg(photographs, 2),
        }
        for workers in rivals:
            memory[f"PyTorch, {workers} workers"] = torch_in_memory(images, labels, workers)
            jpeg[f"PyTorch, {workers} workers"] = torch_from_jpeg(photographs, workers)
        result["memory"] = rates(
            memory, batch_size=MEMORY_BATCH, skip=10, count=100, repeats=repeats
        )
        result["jpeg"] = rates(
            jpeg,
            batch_size=JPEG_BATCH,
            skip=8,
            count=3 if QUICK.value else 16,
            repeats=repeats,
        )
    result["ratios"] = {
        job: result[job]["ours"]["median"]
        / max(rate["median"] for name, rate in result[job].items() if "PyTorch" in name)
        for job in ("memory", "jpeg")
        if rivals
    }
    result |= {"repeats": repeats, "machine": timing.machine()}
    show(result)
    timing.write_result(WORKDIR.value, result)


if __name__ == "__main__":
    flag_help.run(main)
