"""What `tune` measures: a convolution or the gradient of a max pooling, as a program has it."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from cnn_jax import jax_internals
from cnn_jax.cpu import pooling
from cnn_jax.cpu import registry as cpu_registry
from cnn_jax.cpu.geometry import Geometry
from cnn_jax.gpu import methods

CONVOLUTION, POOLING_GRADIENT = PRIMITIVES = ("conv_general_dilated", "select_and_scatter_add")

Operands = tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]


class Operation(Protocol):
    """One operation of two arrays.

    Attributes:
        operands: their shapes and dtypes.
        key: what a verdict is kept under: all that determines the program.
    """

    @property
    def operands(self) -> Operands: ...

    @property
    def key(self) -> str: ...

    def candidates(self) -> tuple[str, ...]:
        """Names of the methods that can do it, besides XLA's own."""
        ...

    def run(self, method: str, x: jax.Array, y: jax.Array) -> jax.Array:
        """The operation by one of `candidates`."""
        ...

    def by_xla(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """The operation as XLA has it."""
        ...


class Convolution(NamedTuple):
    """A convolution, or one of its gradients; see `Operation`.

    Attributes:
        g: its sizes.
        params: those of the primitive.
        operands: shapes and dtypes of x and w.
    """

    g: Geometry
    params: dict[str, Any]
    operands: Operands

    @property
    def key(self) -> str:
        """Sizes, order of the axes, dtypes and precision."""
        x, w = self.operands
        spec = "/".join("".join(map(str, s)) for s in self.params["dimension_numbers"])
        sizes = "x".join(map(str, x.shape)), "x".join(map(str, w.shape))
        g = self.g
        steps = f"s{g.strides} p{g.padding} b{g.base_dilation} d{g.window_dilation}"
        groups = f"g{g.feature_groups},{g.batch_groups}"
        kinds = f"{x.dtype} {self.params['preferred_element_type']} {self.params['precision']}"
        return f"{'*'.join(sizes)} {spec} {steps} {groups} {kinds}"

    def candidates(self) -> tuple[str, ...]:
        return methods.candidates(self.g)

    def run(self, method: str, x: jax.Array, y: jax.Array) -> jax.Array:
        return methods.run(method, self.g, self.params, x, y)

    def by_xla(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jax_internals.primitive(CONVOLUTION).bind(x, y, **self.params)


class PoolingGradient(NamedTuple):
    """The gradient of a max pooling; see `Operation`.

    XLA finds each window's winner again and adds its gradient by a scatter. The other method, that
    of `cnn_jax.cpu.pooling`, computes for every pixel the sum over the windows that it has won.

    Attributes:
        params: those of the primitive.
        operands: shapes and dtypes of the result's gradient and of the pooled array.
    """

    params: dict[str, Any]
    operands: Operands

    @property
    def key(self) -> str:
        """Sizes, dtypes and what is chosen from a window."""
        dy, x = self.operands
        sizes = "x".join(map(str, dy.shape)), "x".join(map(str, x.shape))
        p = self.params
        window = f"w{p['window_dimensions']} s{p['window_strides']} p{p['padding']}"
        return f"{p['select_prim']} {'*'.join(sizes)} {window} {dy.dtype} {x.dtype}"

    def candidates(self) -> tuple[str, ...]:
        return ("views",)

    def run(self, method: str, x: jax.Array, y: jax.Array) -> jax.Array:
        return pooling.scatter_selected(x, y, **self.params)

    def by_xla(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return jax_internals.primitive(POOLING_GRADIENT).bind(x, y, **self.params)


def of(primitive: str, ctx: Any, params: Mapping[str, Any]) -> Operation | None:
    """The operation that is being lowered; None for one that our methods do not take.

    Args:
        primitive: name of its primitive, one of PRIMITIVES.
        ctx: JAX's context of the lowering.
        params: those of the primitive.
    """
    if primitive == CONVOLUTION:
        g = cpu_registry.geometry_of(ctx, params)
        return None if g is None else Convolution(g, dict(params), _shapes(ctx))
    shapes = _shapes(ctx)
    static = all(isinstance(n, int) and n > 0 for a in shapes for n in a.shape)
    floating = all(jnp.issubdtype(a.dtype, jnp.floating) for a in shapes)
    if not (static and floating and pooling.fits(params["window_dimensions"])):
        return None
    return PoolingGradient(dict(params), shapes)


def _shapes(ctx: Any) -> Operands:
    first, second = (jax.ShapeDtypeStruct(a.shape, a.dtype) for a in ctx.avals_in)
    return first, second
