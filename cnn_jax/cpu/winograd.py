"""Three-tap windows with 4x fewer multiplications: Winograd's minimal filtering.

Lavin and Gray 2015, "Fast algorithms for convolutional neural networks" (arXiv 1509.09308),
after Winograd 1980 and Toom and Cook. Along one axis, a tile of m outputs of an r-tap filter g
reads n = m + r - 1 inputs d, and

    y = A^T [(G g) * (B^T d)]

takes n multiplications where the definition takes m * r: half as many with m = 4 and r = 3, and a
quarter over two axes. A and G evaluate polynomials at the n - 1 `POINTS` and at infinity, and B^T
inverts that evaluation. Over all tiles and channels the products become n x n (for two axes) matrix
products [tiles, C] @ [C, F]. They take most of the time, and processors do them best.

The kernel gradient is the transpose of the same identity, dg = G^T [(A dy) * (B^T d)] summed
over tiles: the same transform of the input, and as many products [C, tiles] @ [tiles, F].

Rounding. The transforms mix up to n inputs whose weights do not cancel in magnitude, so the error
is that of a direct convolution times at most an amplification (the norm product of Barabasz et al.
2020, "Error analysis and improving the accuracy of Winograd convolution", arXiv 1803.10986), in
units of the largest product in the tile rather than of each output's own sum. With the points
below it is 27 per axis for m = 4; the usual 0, +-1, +-2 give 48. Measured on normal data with 64
channels, the root mean square error is 6e-7 of the output's, against 2e-7 for m = 2 and for direct
sums. Because a tile is mixed before the product, one NaN or infinity in the input reaches every
output of its tile, not only the outputs whose window contains it.
"""

import math
from collections.abc import Sequence
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cnn_jax.cpu import grouped
from cnn_jax.cpu.geometry import Geometry, untransposed
from cnn_jax.cpu.kernel_gradient import batched_gram, in_parts
from cnn_jax.cpu.onednn import dot_general

TAPS = 3
# Bytes of images and gradients that are transformed at a time for a kernel's gradient. Transformed
# they are more than twice as large, and are read once more. Measured with 32 MiB of cache.
PART = 2**23
POINTS = {2: (0.0, 1.0, -1.0), 4: (0.0, 0.75, -0.75, 1.5, -1.5)}  # by tile size m


@cache
def matrices(m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B^T [n, n], G [n, 3] and A^T [m, n] for tiles of m outputs, in float64."""
    points = POINTS[m]

    def evaluate(count):  # polynomials of `count` coefficients, at the points and at infinity
        rows = [[p**i for i in range(count)] for p in points]
        return np.array([*rows, [0.0] * (count - 1) + [1.0]])

    scales = [math.prod(p - q for q in points if q != p) for p in points] + [1.0]
    scale = np.array(scales)[:, None]  # moves the denominators of B^T into G
    b_t = np.linalg.inv(evaluate(m + TAPS - 1)).T * scale
    b_t[abs(b_t) < 1e-12] = 0.0
    return b_t, evaluate(TAPS) / scale, evaluate(m).T


def fits(g: Geometry) -> bool:
    return _fits(g, g.window, g.strides, g.window_dilation)


def fits_gradient(g: Geometry) -> bool:
    return _fits(g, g.out, g.window_dilation, g.strides)


def _fits(g: Geometry, taps, strides, dilation) -> bool:
    threes = sum(k == TAPS for k in taps)
    plain = {*strides, *dilation, *g.base_dilation} == {1}
    grouped = g.feature_groups * g.batch_groups > 1
    return plain and set(taps) <= {1, TAPS} and 1 <= threes <= (2 if grouped else 3)


def folded(g: Geometry) -> Geometry:
    """Turns the taps along the first of three axes into channels: 27 C = (3 x 3) (3 C).

    The methods below work along two axes. A third axis would multiply the tiles' transforms, with
    n^3 arrays instead of n^2.
    """
    if g.window == (TAPS,) * 3:
        space, rest = (g.out[0], *g.space[1:]), g.window[1:]
        g = g._replace(channels=TAPS * g.channels, space=space, window=(1, *rest))
    elif g.out == (TAPS,) * 3:
        space, rest = (g.window[0], *g.space[1:]), g.out[1:]
        g = g._replace(batch=TAPS * g.batch, space=space, out=(1, *rest))
    else:
        return g
    return g._replace(padding=((0, 0), *g.padding[1:]))


def _fold(x: jax.Array, g: Geometry) -> jax.Array:
    """x [N, *space, C] -> [N, *space of folded(g), 3 C]: each plane with its two neighbours."""
    x = lax.pad(x, x.dtype.type(0), [(0, 0, 0), (*g.padding[0], 0), *[(0, 0, 0)] * 3])
    planes = folded(g).space[0]
    views = [lax.slice_in_dim(x, tap, tap + planes, 1, 1) for tap in range(TAPS)]
    return lax.concatenate(views, 4)


def convolve(x: jax.Array, w: jax.Array, g: Geometry, tile: int, **product) -> jax.Array:
    """x [N, *space, C], w [*window, C, F] -> [N, *out, F], for windows of 3 (and 1) pixels."""
    return convolve_with(x, transformed(w, g, tile), g, tile, **product)


def transformed(w: jax.Array, g: Geometry, tile: int) -> list[jax.Array]:
    """The kernel [*window, C, F] as `convolve_with` takes it: n or 1 of [n, blocks, c, f].

    Groups are merged into blocks, with zeros between them.
    """
    if folded(g) != g:
        w = jnp.moveaxis(w, 0, -2 if g.kernel_transposed else -3)
        # [3, 3, 3, C, F], or [3, 3, F, 3, C] if transposed
        sizes = (g.features, TAPS * g.channels)[:: 1 if g.kernel_transposed else -1]
        return transformed(w.reshape(1, TAPS, TAPS, *sizes), folded(g), tile)
    axes = _axes(g)
    _, to_kernel, _ = matrices(tile)
    n = len(to_kernel)
    kernels = _transform_kernel(w, axes, to_kernel)  # [n, .., n, 1.., C, F]
    blocks = _blocks(g)
    if g.feature_groups > 1:
        merge = g.feature_groups // blocks
        kernels = grouped.block_diagonal(untransposed(kernels, g), g.feature_groups, merge)
    return list(kernels.reshape(n ** (len(axes) - 1), n, blocks, *kernels.shape[-2:]))


def convolve_with(
    x: jax.Array, kernels: Sequence[jax.Array], g: Geometry, tile: int, **product
) -> jax.Array:
    """`convolve` with a kernel that is `transformed`."""
    if folded(g) != g:
        x, g = _fold(x, g), folded(g)
    axes = _axes(g)
    b_t, _, a_t = matrices(tile)
    n = len(b_t)
    x, _ = _pad_to_tiles(x, g, g.out, axes, tile)
    transposed = g.kernel_transposed and g.feature_groups == 1
    x = grouped.to_blocks(x, _blocks(g))
    tiles = _split(x, axes, b_t, tile)  # n ** len(axes) arrays [blocks, N, *counts, c]
    products = []
    for i, kernel in enumerate(kernels):
        batch = jnp.stack(tiles[i * n : (i + 1) * n])  # [n, blocks, N, *counts, c]
        products.append(_products(batch, kernel, transposed, **product))
    y = _assemble(products, [a + 2 for a in axes], a_t)
    return grouped.from_blocks(y[(slice(None), slice(None), *map(slice, g.out))])


def _axes(g: Geometry) -> list[int]:
    """The spatial axes along which the window has three pixels."""
    return [i for i, k in enumerate(g.window) if k == TAPS]


def _blocks(g: Geometry) -> int:
    return g.feature_groups // grouped.merged(g.feature_groups, g.channels // g.feature_groups)


def kernel_gradient(x: jax.Array, w: jax.Array, g: Geometry, tile: int, **product) -> jax.Array:
    """x [N, *space, J], w [N, *window, F] (gradient of the output) -> [*out, J, F]; `out` is 3s.

    It goes in parts of the examples if oneDNN may be called, where the program is for one device.
    If a batch lay on several, each part would be fetched from the device that has it.
    """

    def gradient(x, w, g):
        return _kernel_gradient(x, w, g, tile, **product)

    return in_parts(gradient, x, w, g, PART) if product.get("onednn") else gradient(x, w, g)


def _kernel_gradient(x: jax.Array, w: jax.Array, g: Geometry, tile: int, **product) -> jax.Array:
    if folded(g) != g:
        y = _kernel_gradient(_fold(x, g), w, folded(g), tile, **product)  # [1, 3, 3, 3 J, F]
        y = y.reshape(TAPS, TAPS, TAPS, g.batch, g.features)
        return jnp.moveaxis(y, 2, 0)
    axes = [i for i, k in enumerate(g.out) if k == TAPS]
    b_t, to_kernel, a_t = matrices(tile)
    n = len(b_t)
    x, counts = _pad_to_tiles(x, g, g.window, axes, tile)
    more = [(0, 0, 0)] * w.ndim
    for a in axes:
        more[a + 1] = (0, counts[a] * tile - g.window[a], 0)
    w = lax.pad(w, w.dtype.type(0), more)
    merge = grouped.merged(g.batch_groups, g.batch // g.batch_groups)
    blocks = g.batch_groups // merge
    inputs = _split(grouped.to_blocks(x, blocks), axes, b_t, tile)
    above = _split(grouped.to_blocks(w, blocks), axes, a_t.T, tile)
    sums = []
    for i in range(0, len(inputs), n):
        d = jnp.stack(inputs[i : i + n]).reshape(n * blocks, -1, g.batch // blocks)
        y = jnp.stack(above[i : i + n]).reshape(n * blocks, -1, g.features // blocks)
        total = batched_gram(d, y, **product)  # [n * blocks, J / blocks, F / blocks]
        if g.batch_groups > 1:
            total = grouped.diagonal(total.reshape(n, blocks, *total.shape[1:]), merge)
        sums.append(total)  # [n, J / groups, F]
    total = jnp.stack(sums).reshape(*[n] * len(axes), g.batch // g.batch_groups, g.features)
    for a in range(len(axes)):
        total = _contract(to_kernel.T, total, a)
    return total.reshape(*g.out, *total.shape[-2:])


def _products(batch, kernel, transposed, **product):
    """batch [n, blocks, N, *counts, c], kernel [n, blocks, c, f] -> [n, blocks, N, *counts, f]."""
    last = batch.ndim - 1
    if kernel.shape[1] == 1:  # one axis of batch is faster than two
        one = (((last - 1,), (1 + transposed,)), ((0,), (0,)))
        return dot_general(batch[:, 0], kernel[:, 0], one, **product)[:, None]
    blocked = (((last,), (2,)), ((0, 1), (0, 1)))
    return dot_general(batch, kernel, blocked, **product)


def _pad_to_tiles(x, g, out, axes, tile):
    """x padded to whole tiles along each axis of `axes`, and the number of tiles."""
    config, counts = [(0, 0, 0)], []
    for a, (size, (lo, hi)) in enumerate(zip(g.space, g.padding, strict=True)):
        count = out[a]
        if a in axes:
            count = -(-out[a] // tile)
            hi = count * tile + TAPS - 1 - size - lo
        counts.append(count)
        config.append((lo, hi, 0))
    return lax.pad(x, x.dtype.type(0), [*config, (0, 0, 0)]), counts


def _combine(weights, arrays):
    """The weighted sum of arrays, without the terms of weight zero."""
    total = None
    for c, a in zip(weights.tolist(), arrays, strict=True):
        if c != 0.0:
            term = a if c == 1.0 else a * a.dtype.type(c)
            total = term if total is None else total + term
    return total


def _split(x, axes, matrix, tile):
    """Tiles of x [blocks, N, *space, c], transformed along each axis by matrix [n, reach].

    Returns arrays [blocks, N, *counts, c], the first axis varying slowest. A tile starts every
    `tile` pixels and reads `reach`.
    """
    parts, reach = [x], matrix.shape[1]
    for a in axes:
        new = []
        for part in parts:
            count = (part.shape[a + 2] - reach) // tile + 1
            views = [
                lax.slice_in_dim(part, i, i + (count - 1) * tile + 1, tile, a + 2)
                for i in range(reach)
            ]
            new += [_combine(row, views) for row in matrix]
        parts = new
    return parts


def _transform_kernel(w, axes, to_kernel):
    for a in axes:
        w = _contract(to_kernel, w, a)
    return w


def _contract(matrix, x, axis):
    """Applies matrix [p, q] along an axis of length q, by broadcast sums in one fused loop."""
    shape = [1] * x.ndim
    shape[axis] = len(matrix)
    columns = [jnp.asarray(column.reshape(shape), x.dtype) for column in matrix.T]
    views = [lax.slice_in_dim(x, i, i + 1, 1, axis) for i in range(matrix.shape[1])]
    total = columns[0] * views[0]
    for column, view in zip(columns[1:], views[1:], strict=True):
        total = total + column * view
    return total


def _assemble(products, axes, a_t):
    """Inverse transform of products, each [n (last axis), .., *counts, f], into [.., *out, f]."""
    if len(axes) == 1:
        (stacked,) = products
        rows = [_combine(row, list(stacked)) for row in a_t]
        return _interleave(rows, axes[0])
    outer = len(products) // len(a_t[0])
    rows = []
    for row in a_t:
        inner = [_combine(row, products[b::outer]) for b in range(outer)]
        rows.append(_assemble(inner, axes[1:], a_t))
    return _interleave(rows, axes[0])


def _interleave(rows, axis):
    """m arrays [.., count, ..] -> [.., count * m, ..]: output i of every tile from array i."""
    y = jnp.stack(rows, axis + 1)
    return y.reshape(*y.shape[:axis], y.shape[axis] * len(rows), *y.shape[axis + 2 :])
