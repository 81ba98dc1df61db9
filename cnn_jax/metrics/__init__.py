"""What evaluation reports: counts that add up on the device, and average precision on the host."""

from cnn_jax.metrics import average_precision
from cnn_jax.metrics.counts import confusion_matrix, top_k_correct

__all__ = ["average_precision", "confusion_matrix", "top_k_correct"]


def __dir__() -> list[str]:
    return __all__
