"""What evaluation reports: counts that add up on the device, and average precision on the host.

METRICS holds those that a run can report by name beside those of its task, and takes a user's own.
"""

from cnn_jax.metrics import average_precision
from cnn_jax.metrics.added import (
    METRICS,
    Metric,
    Scored,
    central,
    metric_names,
    scored,
    with_metrics,
)
from cnn_jax.metrics.counts import confusion_matrix, top_k_correct

__all__ = [
    "METRICS",
    "Metric",
    "Scored",
    "average_precision",
    "central",
    "confusion_matrix",
    "metric_names",
    "scored",
    "top_k_correct",
    "with_metrics",
]


def __dir__() -> list[str]:
    return __all__
