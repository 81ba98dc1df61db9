"""One of several processes that train the three tasks for a few steps: started by test_hosts.py.

    python tests/train/hosts_worker.py SETS RESULT.npz PORT PROCESSES INDEX DEVICES CASE,CASE...

A case is <layout>-<bits>: 'jit-64'. Process 0 writes what it has in the end, and so does every
other, beside it: all must hold the same.
"""

import getpass
import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"  # XLA on how it reshards these tiny batches

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from cnn_jax.layers.stochastic_depth import StochasticDepth
from cnn_jax.run import classification, detection, segmentation
from cnn_jax.run.optimisation import optimizer_of, schedule_of
from cnn_jax.train import evaluation, hosts, joining, layout, state, step

STEPS = 4
SIZE = (24, 32)  # of the pictures of the two folder sets
COUNTS = {"train": 40, "test": 21}  # 21: the last evaluation batch is ragged on every layout

SHARED = {
    "batch_size": 32,  # on 8 devices 2 microbatches of a pair each, for mixup
    "steps": STEPS,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "nesterov": True,
    "weight_decay": 1e-3,
    "clip_norm": 1.0,
    "accumulate": 2,
    "ema_decay": 0.9,
    "seed": 3,
}


class SmallNet(nn.Module):
    """Batch norm, dropout and stochastic depth in two layers."""

    axis_name: str | None = None
    drop_rate: float = 0.2

    @nn.compact
    def __call__(self, x, *, train):
        def norm(name):
            return nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name, name=name)

        x = nn.relu(norm("bn1")(nn.Conv(8, (3, 3), name="conv1")(x)))
        branch = nn.relu(norm("bn2")(nn.Conv(8, (3, 3), name="conv2")(x)))
        x = x + StochasticDepth(self.drop_rate, deterministic=not train)(branch)
        x = nn.Dropout(self.drop_rate, deterministic=not train)(x.mean((1, 2)))
        return nn.Dense(10, name="head")(x)


def write_sets(root: Path) -> None:
    """Rectangles of two kinds, as boxes (coco:) and as masks (masks:)."""
    rng = np.random.default_rng(0)
    (root / "boxes" / "annotations").mkdir(parents=True)
    for split, count in COUNTS.items():
        folders = [root / "boxes" / split, root / "masks" / split, root / "masks" / f"{split}annot"]
        for folder in folders:
            folder.mkdir(parents=True)
        images, annotations = [], []
        for i in range(count):
            picture = rng.integers(60, 120, (*SIZE, 3)).astype(np.uint8)
            mask = np.zeros(SIZE, np.uint8)
            kind = int(rng.integers(1, 3))
            top, left = int(rng.integers(2, 10)), int(rng.integers(2, 16))
            window = (slice(top, top + 12), slice(left, left + 12))
            picture[window] = (230, 40, 40) if kind == 1 else (40, 60, 230)
            mask[window] = kind
            for folder, content in zip(folders, (picture, picture, mask), strict=True):
                Image.fromarray(content).save(folder / f"{i:02}.png")
            images.append({"id": i, "file_name": f"{i:02}.png", "width": 32, "height": 24})
            annotations.append({"image_id": i, "category_id": kind, "bbox": [left, top, 12, 12]})
        categories = [{"id": 1, "name": "ball"}, {"id": 2, "name": "cube"}]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "boxes" / "annotations" / f"{split}.json").write_text(json.dumps(content))


def experiments(root: Path) -> dict:
    """The three tasks, with all that regularises them."""
    classify = classification.ClassificationRecipe(
        **SHARED, model="mlp", augment="flip,crop:1", mixup=0.4, cutmix=1.0, test_split="test[:90]"
    )
    segment = segmentation.SegmentationRecipe(
        **SHARED,
        dataset=f"masks:{root / 'masks'}",
        validation_split="",
        classes="ground,ball,cube",
        model="unet_small",
        model_options="width=4,depth=1",
        class_weights="median_frequency",
        loss="cross_entropy+dice",
        augment="flip,scaled_crop:0.8:1.2:24:32",
    )
    detect = detection.DetectionRecipe(
        **{**SHARED, "accumulate": 1},  # four on each device, for mosaics
        dataset=f"coco:{root / 'boxes'}",
        validation_split="",
        image_size="24x32",
        model_options="features=8,depth=1",
        augment="flip",
        mosaic=0.3,
    )
    return {
        "classification": (
            classify,
            classification.make_experiment(classify)._replace(model=SmallNet()),
        ),
        "segmentation": (segment, segmentation.make_experiment(segment)),
        "detection": (detect, detection.make_experiment(detect)),
    }


def train(recipe, experiment, where, dtype, *, shaken: float = 0.0) -> dict[str, np.ndarray]:
    """A few steps and an evaluation: state, losses and what was observed, flat.

    Args:
        shaken: the relative size of random changes of the first parameters.
    """

    def cast(prepare):
        def prepared(*arguments):
            *keys, batch = arguments
            # cast before it too: what prepares the pictures keeps their type, and rounds to it
            batch = prepare(*keys, {**batch, "image": batch["image"].astype(dtype) / 255})
            return {
                name: leaf.astype(dtype) if leaf.dtype in (jnp.float32, jnp.float64) else leaf
                for name, leaf in batch.items()
            }

        return prepared

    schedule = schedule_of(recipe, STEPS, experiment.train.steps_per_epoch)
    tx = optimizer_of(recipe, schedule, experiment.head)
    with jax.enable_x64(False):  # the same parameters for both types
        variables = state.init_variables(experiment.model, experiment.image, seed=recipe.seed)
    rng = np.random.default_rng(0)

    def shake(leaf):
        leaf = np.asarray(leaf, dtype)
        return (leaf * (1 + shaken * rng.uniform(-1, 1, leaf.shape))).astype(dtype)

    now = state.state_from(jax.tree.map(shake, variables), tx, ema=True)
    body = step.make_train_step(
        experiment.model,
        experiment.task,
        tx,
        seed=recipe.seed,
        axis_name=where.axis_name,
        augment=cast(experiment.augment),
        accumulate=recipe.accumulate,
        ema_decay=recipe.ema_decay,
    )
    look = step.make_eval_step(
        experiment.model, experiment.task, axis_name=where.axis_name,
        prepare=cast(experiment.prepare),
    )  # fmt: skip
    train_step, eval_step = where.compile_train(body), where.compile_eval(look)
    now = where.replicate(now)
    losses = []
    for _, batch in zip(range(STEPS), experiment.train.iterate(0), strict=False):
        now, metrics = train_step(now, where.shard(batch))
        losses.append(jax.device_get(metrics))
    observed = evaluation.evaluate(eval_step, now, experiment.test(), where)
    tree = {
        "state": jax.device_get(where.fetch(now)),
        "losses": losses,
        "sums": dict(observed.sums),
        "rows": dict(observed.rows),
    }
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def main() -> None:
    root, result, port, processes, index, devices, cases = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", int(devices))
    cache = Path(tempfile.gettempdir()) / f"cnn_jax_tests_{getpass.getuser()}"
    jax.config.update("jax_compilation_cache_dir", str(cache))
    if int(processes) > 1:
        joining.connect(
            f"localhost:{port}", int(processes), int(index), heartbeat=60, connect_timeout=120
        )
    arrays = {}
    for task, (recipe, experiment) in experiments(Path(root)).items():
        for case in cases.split(","):
            name, bits, *shaken = case.split("-")
            if name == "pmap" and task == "segmentation":
                continue  # nothing in it that the other two have not
            if name == "pmap" and task == "classification":
                # dropout under pmap is drawn by replica: only then is it another run
                experiment = experiment._replace(model=SmallNet(drop_rate=0.0))
            with jax.enable_x64(bits == "64"):
                began = time.monotonic()
                arrays |= {
                    f"{task}/{case}/{key}": value
                    for key, value in train(
                        recipe,
                        experiment,
                        layout.make_layout(name),
                        np.dtype(f"float{bits}"),
                        shaken=float(shaken[0]) * 2**-24 if shaken else 0.0,
                    ).items()
                }
                print(f"{task} {case}: {time.monotonic() - began:.1f} s", flush=True)
    np.savez(f"{result}.{index}.npz", **arrays)
    if hosts.several():
        hosts.finish(0)


if __name__ == "__main__":
    main()
