"""A convolution written out in NumPy, against JAX's; and what its answer depends on."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import signal

from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import digits, on_canvas
from experiments.concepts.one_window.text import IMAGE, KERNEL, KERNELS


def conv2d(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """A window at every place: [H, W], [K, K] -> [H - K + 1, W - K + 1]."""
    size = len(w)
    y = np.zeros((x.shape[0] - size + 1, x.shape[1] - size + 1))
    for i in range(y.shape[0]):
        for j in range(y.shape[1]):
            y[i, j] = (x[i : i + size, j : j + size] * w).sum()
    return y


def _of_jax(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The same by JAX, in float32."""
    images, kernels = (jnp.asarray(each, jnp.float32)[None, None] for each in (x, w))
    return np.array(jax.lax.conv(images, kernels, (1, 1), "VALID")[0, 0])


def measure(effort: Effort) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    apart, flipped, unlike = [], [], []
    for _ in range(20):
        x, w = rng.normal(size=(12, 15)), rng.normal(size=(3, 3))
        ours = conv2d(x, w)
        apart.append(abs(ours - _of_jax(x, w)).max())
        flipped.append(abs(ours - signal.convolve2d(x, w[::-1, ::-1], "valid")).max())
        unlike.append(abs(ours - signal.convolve2d(x, w, "valid")).max())
    image = on_canvas(digits("test"), 12)["image"][:360, ..., 0]
    w = np.array(KERNEL, float)
    moved = [
        abs(conv2d(np.roll(x, 1, 1), w)[:, 1:] - conv2d(x, w)[:, :-1]).max() for x in image[:50]
    ]
    return {
        "first": conv2d(np.array(IMAGE, float), w)[0, 0],
        "map": conv2d(np.array(IMAGE, float), w),
        "apart": max(apart),
        "flipped": max(flipped),
        "unlike": min(unlike),
        "moved": max(moved),
        "likeness": _likeness(image, w),
        "digit": image[3],
        "maps": {name: conv2d(image[3], np.array(k, float)) for name, k in KERNELS.items()},
    }


def _likeness(images: np.ndarray, w: np.ndarray) -> list[float]:
    """Of all windows of the digits: the cosine between window and kernel of the 1 % whose answers
    are largest, and of all that are not empty."""
    windows = np.lib.stride_tricks.sliding_window_view(images, w.shape, (1, 2)).reshape(-1, w.size)
    windows = windows[windows.max(1) > 0]
    answers = windows @ w.ravel()
    cosine = answers / np.linalg.norm(windows, axis=1) / np.linalg.norm(w)
    most = answers >= np.quantile(answers, 0.99)
    return [float(cosine[most].mean()), float(cosine.mean())]
