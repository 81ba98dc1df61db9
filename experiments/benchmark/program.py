"""A training program to measure: a classification network, its initial state and a batch."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from cnn_jax.tasks import classification
from cnn_jax.train import optim, state, step
from cnn_jax.typing import HostBatch, PyTree

CLASSES = 10


class Program(NamedTuple):
    """A step for a layout to compile, and its arguments.

    Attributes:
        create: () -> the state before the first step, or its shapes under `jax.eval_shape`.
        step: (state, batch) -> (state, metrics).
        batch: uint8 images, labels and mask, on the host.
    """

    create: Any
    step: step.TrainStep
    batch: HostBatch


def classifier(
    model: nn.Module,
    image_shape: tuple[int, ...],
    batch_size: int,
    *,
    axis_name: str | None = None,
    accumulate: int = 1,
    whole: Callable[[PyTree], PyTree] = lambda params: params,
) -> Program:
    """Normalisation, forward and backward pass and SGD with momentum, without augmentation.

    Args:
        model: a network with CLASSES logits.
        image_shape: shape [*space, C] of an image.
        batch_size: examples of a global batch.
        axis_name, accumulate, whole: see `make_train_step`.
    """
    random = np.random.default_rng(0)
    prepare = classification.make_prepare((0.5,) * image_shape[-1], (0.25,) * image_shape[-1])
    tx = optim.make_optimizer("sgd", 0.01, momentum=0.9, weight_decay=1e-4)
    image = jax.ShapeDtypeStruct((batch_size, *image_shape), np.float32)
    return Program(
        create=lambda: state.create_state(model, tx, image, seed=0),
        step=step.make_train_step(
            model,
            classification.classification(CLASSES),
            tx,
            seed=0,
            axis_name=axis_name,
            augment=lambda keys, batch: prepare(batch),
            accumulate=accumulate,
            whole=whole,
        ),
        batch={
            "image": random.integers(0, 256, (batch_size, *image_shape), dtype=np.uint8),
            "label": random.integers(0, CLASSES, batch_size).astype(np.int32),
            "mask": np.ones(batch_size, np.float32),
        },
    )
