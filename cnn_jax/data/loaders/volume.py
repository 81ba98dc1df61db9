"""An example of a volume: uint8 [D, H, W, C] and a label; nothing needs decoding."""

import dataclasses
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from cnn_jax.data.types import Record


@dataclasses.dataclass(frozen=True)
class LoadVolume:
    """(record, rng) -> {'image': uint8 [D, H, W, C], 'label': int32 []}."""

    random: ClassVar[bool] = False

    def __call__(self, record: Record, rng: np.random.Generator | None) -> dict[str, ArrayLike]:
        return {"image": record["image"], "label": np.int32(record["label"])}
