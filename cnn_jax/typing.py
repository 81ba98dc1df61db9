"""The contracts between the floors of cnn_jax.

`train` runs any model on any task: it knows them only by the types in this file.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

__all__ = [
    "Array",
    "Batch",
    "Detections",
    "Detector",
    "HostBatch",
    "Mean",
    "Network",
    "Observed",
    "Outputs",
    "PyTree",
    "Targets",
    "Task",
    "image_alone",
    "nothing_more",
]

Array = jax.Array
PyTree = Any

# A batch is a mapping of arrays that share their first axis, B examples:
#   image  [B, *space, C]  uint8, or float32 if the data are not images
#   label  [B]             int32 (classification); other tasks add their own
#   mask   [B]             float32: 1 for an example, 0 for the padding of a ragged batch
Batch = Mapping[str, Array]
HostBatch = Mapping[str, np.ndarray]  # the same, not yet on a device

# What a model returns: one array, or several by name (auxiliary heads, box and class heads).
Outputs = Array | Mapping[str, Array]


class Mean(NamedTuple):
    """A mean that can be added to others, because it is divided only at the end.

    Attributes:
        total: scalar, the sum of the weighted terms over the batch.
        weight: scalar, the sum of the weights (a count). It must not depend on the parameters.
    """

    total: Array
    weight: Array


class Observed(NamedTuple):
    """What evaluation collects from a batch: jax arrays on the device, numpy arrays on the host.

    Attributes:
        sums: arrays that are added over batches and replicas: counts of correct predictions, a
            confusion matrix [K, K].
        rows: arrays [B, ...] that are concatenated: detections [B, N, 6]. Usually empty.
    """

    sums: Mapping[str, Any]
    rows: Mapping[str, Any]


class Network(Protocol):
    """A network as its surroundings know it: a Flax module that is called on images.

    A classifier returns logits [B, K], a segmentation network [B, *space, K], a detector what its
    own `losses` take, see `Detector`. A network with auxiliary heads returns them in training as
    well, by name: {'logits': ..., 'aux': ...}. One with `num_classes=None` is a backbone and
    returns its stages by name, shallow to deep.

    `axis_name`, if the module has such a field, is the pmap axis of its BatchNorm statistics.
    """

    def __call__(self, x: Array, *, train: bool) -> Outputs:
        """x [B, *space, C] float32, normalised, -> outputs.

        Args:
            train: batch statistics and dropout, with an rng stream 'dropout'.
        """
        ...

    def init(self, rngs: Any, *args: Any, **kwargs: Any) -> PyTree:
        """The initial variables: `init(key, x, train=False)`."""
        ...

    def apply(self, variables: PyTree, *args: Any, **kwargs: Any) -> Any:
        """The outputs with these variables: `apply(variables, x, train=False)`."""
        ...

    def clone(self, **updates: Any) -> Any:
        """The same network with other fields."""
        ...


def image_alone(batch: Batch) -> Mapping[str, Any]:
    """No arguments besides the image, which is all that most networks take."""
    return {}


def nothing_more(outputs: Outputs, batch: Batch) -> Mapping[str, Mean]:
    """No metrics of a training batch besides its losses."""
    return {}


class Task(NamedTuple):
    """The losses and the metrics of a task: a record of pure functions.

    Attributes:
        loss: (outputs, batch) -> named Means. The objective is the sum of the means.
        observe: (outputs, batch) -> Observed, on the device, in evaluation.
        report: Observed (numpy, summed over the whole set) -> named metrics, on the host.
        learns_from: batch -> keyword arguments of the model in training besides the image, for
            networks that use the targets inside.
        watch: (outputs, batch) -> named Means, metrics of a training batch beside its losses.
    """

    loss: Callable[[Outputs, Batch], Mapping[str, Mean]]
    observe: Callable[[Outputs, Batch], Observed]
    report: Callable[[Observed], dict[str, float]]
    learns_from: Callable[[Batch], Mapping[str, Any]] = image_alone
    watch: Callable[[Outputs, Batch], Mapping[str, Mean]] = nothing_more


# Detection: boxes are (left, top, right, bottom) in pixels, and every list of them has a fixed
# length, padded with the label -1.


class Targets(NamedTuple):
    """The objects to find.

    Attributes:
        boxes: [B, N, 4].
        labels: int32 [B, N], 0..K-1, or -1 where there is no object.
    """

    boxes: Array
    labels: Array


class Detections(NamedTuple):
    """The objects found, best first.

    Attributes:
        boxes: [B, M, 4].
        scores: [B, M] in 0..1, or 0 where there is none.
        labels: int32 [B, M], 0..K-1, or -1 where there is none.
    """

    boxes: Array
    scores: Array
    labels: Array


class Detector(Protocol):
    """What a detection network provides besides its layers: pure functions of its raw outputs.

    A network that samples from the targets has an attribute `wants_targets = True`, and is called
    as `model(x, train=True, targets=Targets)` in training.
    """

    def losses(self, outputs: Outputs, targets: Targets, mask: Array) -> Mapping[str, Mean]:
        """The losses of the paper; `mask` [B] is 0 for the padding of a ragged batch."""
        ...

    def detect(self, outputs: Outputs, size: tuple[int, int]) -> Detections:
        """The final boxes in an image of `size` (height, width), after suppression."""
        ...


def __dir__() -> list[str]:
    return __all__
