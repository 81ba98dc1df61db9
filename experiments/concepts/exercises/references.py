"""What the exercises are checked against: each function once more, by JAX and Flax.

The functions have the names and arguments of those that the learner writes.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cnn_jax.boxes import geometry
from cnn_jax.boxes import nms as suppression

Array = np.ndarray


def grey(image: Array) -> jax.Array:
    return jnp.asarray(image, jnp.float32).mean(axis=-1) / 255


def parameters(height: int, width: int, channels: int, units: int, kernel: int) -> tuple[int, int]:
    """Counted in the parameters that Flax makes for the two layers."""

    def count(layer: nn.Module, *shape: int) -> int:
        image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        made = jax.eval_shape(lambda x: layer.init(jax.random.key(0), x), image)
        return sum(leaf.size for leaf in jax.tree.leaves(made))

    return (
        count(nn.Dense(units), height * width * channels),
        count(nn.Conv(units, (kernel, kernel)), height, width, channels),
    )


def conv2d(x: Array, w: Array) -> jax.Array:
    return conv(x[..., None], w[..., None, None], 1, 0)[..., 0]


def _conv1d(x: jax.Array, w: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x[None, None], w[None, None], (1,), "VALID", precision=jax.lax.Precision.HIGHEST
    )[0, 0]


def matrix(w: Array, n: int) -> jax.Array:
    """The Jacobian of the convolution."""
    kernel = jnp.asarray(w, jnp.float32)
    return jax.jacobian(lambda x: _conv1d(x, kernel))(jnp.zeros(n))


def weights(n: int, k: int) -> tuple[int, int, int]:
    """Counted in the Jacobian of a convolution whose weights all differ."""
    jacobian = np.asarray(matrix(np.arange(1.0, k + 1), n))
    return jacobian.size, int((jacobian != 0).sum()), len(np.unique(jacobian[jacobian != 0]))


def output_size(n: int, kernel: int, stride: int, padding: int) -> int:
    x = jax.ShapeDtypeStruct((n, 1, 1), jnp.float32)
    w = jax.ShapeDtypeStruct((kernel, 1, 1, 1), jnp.float32)
    return jax.eval_shape(
        lambda x, w: _conv(x, w, (stride, 1), ((padding,) * 2, (0, 0))), x, w
    ).shape[0]


def _conv(
    x, w, stride: tuple[int, int], padding: tuple[tuple[int, int], tuple[int, int]]
) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x[None],
        w,
        stride,
        padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )[0]


def conv(x: Array, w: Array, stride: int, padding: int) -> jax.Array:
    as_float = (jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32))
    return _conv(*as_float, (stride, stride), ((padding, padding), (padding, padding)))


def max_pool(x: Array) -> jax.Array:
    return nn.max_pool(jnp.asarray(x, jnp.float32)[None, ..., None], (2, 2), (2, 2))[0, ..., 0]


def gradient(x, second) -> jax.Array:
    """Of max pooling, of an array and dy; of a chain of sigmoids, of a number and weights."""
    if np.ndim(x) == 2:
        _, back = jax.vjp(max_pool, jnp.asarray(x, jnp.float32))
        return back(jnp.asarray(second, jnp.float32))[0]

    def chain(value: jax.Array) -> jax.Array:
        for w in second:
            value = jax.nn.sigmoid(w * value)
        return value

    return jax.grad(chain)(jnp.float32(x))


def apparent(frequency: float, factor: int) -> jax.Array:
    """The frequency of the largest term of the kept samples' Fourier transform."""
    kept = 96  # all cases have whole numbers of cycles in as many samples
    wave = jnp.cos(2 * jnp.pi * ((frequency * factor * jnp.arange(kept)) % 1))
    return jnp.abs(jnp.fft.rfft(wave)).argmax() / kept


def receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Found by gradients: the pixels that two neighbouring units of the last layer reach."""

    def last(x: jax.Array) -> jax.Array:
        for kernel, stride in zip(kernels, strides, strict=True):
            x = jax.lax.conv_general_dilated(x, jnp.ones((1, 1, kernel)), (stride,), "VALID")
        return x[0, 0]

    x = jnp.zeros((1, 1, 64))
    reached = [
        np.flatnonzero(np.asarray(jax.grad(lambda x, unit=unit: last(x)[unit])(x)))
        for unit in (0, 1)
    ]
    return len(reached[0]), int(reached[1][0] - reached[0][0])


def slopes(x: Array) -> tuple[jax.Array, jax.Array]:
    at = jnp.asarray(x, jnp.float32)
    return jax.vmap(jax.grad(jax.nn.sigmoid))(at), jax.vmap(jax.grad(jax.nn.relu))(at)


def batch_norm(x, scale, shift, mean, variance, train: bool, momentum: float, epsilon: float):
    layer = nn.BatchNorm(use_running_average=not train, momentum=momentum, epsilon=epsilon)
    given = {
        "params": {"scale": jnp.asarray(scale), "bias": jnp.asarray(shift)},
        "batch_stats": {"mean": jnp.asarray(mean), "var": jnp.asarray(variance)},
    }
    y, after = layer.apply(given, jnp.asarray(x, jnp.float32), mutable=["batch_stats"])
    return y, after["batch_stats"]["mean"], after["batch_stats"]["var"]


def block(x: Array, w1: Array, w2: Array) -> jax.Array:
    inner = jax.nn.relu(jnp.asarray(x) @ jnp.asarray(w1)) @ jnp.asarray(w2)
    return jax.nn.relu(jnp.asarray(x) + inner)


def gains(depth: int, factor: float) -> tuple[jax.Array, jax.Array]:
    def end(h: jax.Array, shortcut: float) -> jax.Array:
        for _ in range(depth):
            h = shortcut * h + factor * h
        return h

    slope = jax.grad(end)
    return slope(1.0, 0.0), slope(1.0, 1.0)


def iou(a, b) -> jax.Array:
    return geometry.iou(jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32))


def nms(boxes: Array, scores: Array, threshold: float) -> jax.Array:
    """As many boxes in every case, by padding, so that one program serves all."""
    count, most = len(boxes), 8
    kept = _suppressed(
        jnp.zeros((most, 4)).at[:count].set(boxes),
        jnp.zeros(most).at[:count].set(scores),
        jnp.arange(most) < count,
        threshold,
    )
    return kept.indices[kept.valid]


@jax.jit
def _suppressed(boxes, scores, valid, threshold) -> suppression.Kept:
    return suppression.nms(boxes, scores, threshold=threshold, size=boxes.shape[0], valid=valid)


def class_maps(features: Array, weights: Array) -> jax.Array:
    return conv(features, weights[None, None], 1, 0)


def read(maps: Array) -> tuple[jax.Array, jax.Array]:
    at = jnp.asarray(maps, jnp.float32)
    return nn.avg_pool(at[None], at.shape[:2])[0, 0, 0], jnp.argmax(at, axis=-1)
