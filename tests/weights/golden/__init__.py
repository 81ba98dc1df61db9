"""torchvision's logits on weights made by `tests.weights.formula`.

`torchvision.json` holds them for every network that is ours too, 16 logits of each of two images,
computed in float64, and says with which versions they were made. Beside them, how far PyTorch's own
float32 is from its float64 ("rounding", of the largest logit: what this network makes of the last
bit), and the exponents of the running variances: a quarter power of two for each normalisation, so
that activations keep their scale through any depth.

    python -m tests.weights.golden.regenerate        # needs torch and torchvision
"""

import json
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent / "torchvision.json"
LOGITS = 16

# The smallest input, where 64 pixels will not do.
SIZES = {
    "inception_v3": (75, 75),
    "s3d": (13, 209, 209),
    "r3d_18": (4, 32, 32),
    "mc3_18": (4, 32, 32),
    "r2plus1d_18": (4, 32, 32),
}


def read() -> dict:
    return json.loads(PATH.read_text())


def pick(logits: np.ndarray) -> np.ndarray:
    """[B, K] -> [B, 16], evenly spaced."""
    positions = np.linspace(0, logits.shape[1] - 1, LOGITS).round().astype(int)
    return logits[:, positions]
