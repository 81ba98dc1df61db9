"""JSON as the standard has it: NaN and infinity, which Python writes and nobody else reads, become
null."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """The value with None in the place of numbers that are none, and Python's own numbers and lists
    in the place of NumPy's.

    >>> plain({"loss": float("nan"), "classes": np.arange(3)})
    {'loss': None, 'classes': [0, 1, 2]}
    """
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dumps(value: Any, **options: Any) -> str:
    """`json.dumps` of the plain value."""
    return json.dumps(plain(value), allow_nan=False, **options)
