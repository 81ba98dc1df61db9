"""Mean and confidence interval of a few runs."""

from collections.abc import Sequence

import numpy as np
from scipy import special


def half_width(values: Sequence[float] | np.ndarray, *, confidence: float = 0.95) -> float:
    """Half-width of the confidence interval of the mean by Student's t; 0 for one value.

    >>> round(half_width([0.93, 0.94, 0.95]), 4)
    0.0248

    Args:
        values: results of independent runs.
        confidence: confidence level of the two-sided interval, in (0, 1).
    """
    n = len(values)
    if n < 2:
        return 0.0
    t = special.stdtrit(n - 1, (1 + confidence) / 2)
    return float(t * np.std(values, ddof=1) / np.sqrt(n))
