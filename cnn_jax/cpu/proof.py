"""The proof that oneDNN's calls do on this machine what `cnn_jax.cpu.onednn` assumes.

A mistake in the description of such a call raises no error: it ends the process, or gives wrong
numbers. (jaxlib 0.8.0, for example, counts axes differently from 0.8.3 to 0.12, and ends in a C++
exception.) So `cnn_jax.cpu.verdict` runs `main` in a separate process before the first such call is
written. Every form of call in this package is compared with numpy in float64: products with each
operand transposed or not and with or without a batch; convolutions over one to three axes with
strides, dilation, padding, groups, one filter per channel, and the kernel's axes in each order that
the methods use; and with a bias, a sum and each activation function after them. The numbers are
random, so that sums in less than float32 are found too.
"""

import faulthandler
import itertools
import json
import math
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from cnn_jax.cpu import onednn, proof_of_layers

# Beginnings of the report's lines: each call that is tried, the verdict, and that on layers
STARTED, FINISHED, LAYERS = "cnn_jax proof: ", "cnn_jax verdict: ", "cnn_jax layers: "
LIMIT = 60  # seconds after which the process ends itself
# Rounding of sums in float32, in units of the largest sum of absolute values. The rounding of
# bfloat16's operands alone is thousands of times as coarse.
TOLERANCE = 8 * 2.0**-23

SUMS, TIMES = (33, 4096), 20  # lengths of the sums of products; tries of the long ones

Pairs = tuple[tuple[int, int], ...]


class Convolution(NamedTuple):
    """A call in the terms of `onednn.convolution`; w is [*window, channels / groups, features]."""

    name: str
    space: tuple[int, ...]
    window: tuple[int, ...]
    strides: tuple[int, ...]
    padding: Pairs
    dilation: tuple[int, ...]
    channels: int
    features: int
    groups: int = 1
    kernel_axes: tuple[int, int] = (-2, -1)
    batch: int = 2
    after: tuple[str, ...] = ()


def convolutions() -> Iterator[Convolution]:
    """Every form of convolution that is used here."""
    for c in _every_form():
        batch = onednn.is_batch(c.channels, c.features, c.groups, c.dilation)
        if not batch or onednn.takes_batches():
            yield c


def _every_form() -> Iterator[Convolution]:
    """Every form of convolution, over one, two and three axes."""
    for rank in (1, 2, 3):
        once, none = (1,) * rank, ((0, 0),) * rank
        space = (7, 9, 6)[-rank:]
        window = (2, 3, 3)[-rank:]
        around = ((1, 0), (1, 1), (2, 1))[:rank]
        steps, holes = (1, 2, 2)[-rank:], (1, 1, 2)[-rank:]
        axes = f"{rank}-D"
        yield Convolution(axes, space, window, once, none, once, 16, 32)
        yield Convolution(f"{axes}, one pixel", space, once, steps, none, once, 24, 8)
        yield Convolution(f"{axes}, one number", once, once, once, none, once, 1, 1, batch=1)
        yield Convolution(f"{axes}, wide", space, window, once, around, once, 64, 96)
        yield Convolution(f"{axes}, padded", space, window, once, around, once, 3, 5)
        yield Convolution(f"{axes}, strided", space, window, steps, around, once, 16, 16)
        yield Convolution(f"{axes}, dilated", space, window, once, around, holes, 16, 16)
        yield Convolution(
            f"{axes}, kernel turned", space, window, once, around, once, 16, 32, 1, (-1, -2)
        )
        yield Convolution(f"{axes}, grouped", space, window, steps, around, once, 16, 32, 4)
        yield Convolution(
            f"{axes}, grouped, kernel turned", space, window, once, around, once, 8, 4, 2, (-1, -2)
        )
        yield Convolution(f"{axes}, depthwise", space, window, steps, around, once, 16, 16, 16)
        yield Convolution(
            f"{axes}, depthwise, dilated", space, window, once, around, holes, 16, 32, 16
        )
        everything = ("BIAS", "BINARY_ADD", "RELU")
        ending = f"{axes}, followed by"
        yield Convolution(
            f"{ending} a sum", space, window, steps, around, once, 16, 24, after=everything
        )
        yield Convolution(
            f"{ending} a sum, depthwise",
            space,
            window,
            once,
            around,
            once,
            16,
            16,
            16,
            after=everything,
        )
    for name in onednn.ACTIVATIONS:
        ordinary = ((7, 9), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1))
        yield Convolution(f"2-D, followed by {name}", *ordinary, 16, 20, after=("BIAS", name))
        yield Convolution(f"1-D, {name}", (9,), (1,), (1,), ((0, 0),), (1,), 16, 20, after=(name,))
    # Kernel gradients, whose window is an image (cnn_jax.cpu.image_windows)
    for rank in (1, 2):
        whole, pads = (6, 8)[-rank:], ((1, 1),) * rank
        yield Convolution(
            f"{rank}-D, depthwise gradient",
            (4, *whole),
            (2, *whole),
            (2, *(1,) * rank),
            ((0, 0), *pads),
            (1,) * (rank + 1),
            16,
            16,
            16,
            batch=1,
        )
        larger = tuple(2 * n + 1 for n in whole)
        yield Convolution(
            f"{rank}-D, depthwise gradient of a strided layer",
            (*(2 * n for n in whole), 1)[:2],
            (*whole, 1)[:2],
            (1, 1),
            ((1, 0), (int(rank > 1), 0)),
            (2, rank),
            16,
            16,
            16,
            batch=1,
        )
        yield Convolution(
            f"{rank}-D, kernel gradient",
            (*larger, 5),
            (*whole, 1),
            (1,) * (rank + 1),
            ((0, 0),) * (rank + 1),
            (*(2,) * rank, 1),
            12,
            8,
            2,
            (0, -1),
            batch=1,
        )


def products() -> Iterator[tuple[str, tuple[int, ...], int, bool, bool]]:
    """Every form of `onednn.matmul`: its name, batch axes, length of the sums, and which operands
    are transposed. Long sums are divided among threads."""
    batches = [(), (3,)] if onednn.takes_batches() else [()]
    turns = [False, True]
    for batch, sums, x, y in itertools.product(batches, SUMS, turns, turns):
        turned = {(0, 0): "", (1, 0): ", left turned", (0, 1): ", right turned"}
        how = turned.get((x, y), ", both turned") + (", batched" if batch else "")
        how += ", long sums" if sums > SUMS[0] else ""
        yield f"product{how}", batch, sums, x, y


def _convolved(x: np.ndarray, w: np.ndarray, c: Convolution) -> np.ndarray:
    """The convolution of x [N, *space, C] and w [*window, C / G, F] by numpy: [N, *out, F]."""
    x = np.pad(x, ((0, 0), *c.padding, (0, 0)))
    spans = [(k - 1) * d + 1 for k, d in zip(c.window, c.dilation, strict=True)]
    out = tuple(
        (n - span) // s + 1 for n, span, s in zip(x.shape[1:-1], spans, c.strides, strict=True)
    )
    y = np.zeros((c.batch, math.prod(out), c.groups, c.features // c.groups), x.dtype)
    for tap in itertools.product(*map(range, c.window)):
        seen = x[
            (
                slice(None),
                *(
                    slice(t * d, t * d + (n - 1) * s + 1, s)
                    for t, d, n, s in zip(tap, c.dilation, out, c.strides, strict=True)
                ),
            )
        ].reshape(c.batch, math.prod(out), c.groups, -1)
        y += np.einsum("npgc,cgf->npgf", seen, w[tap].reshape(seen.shape[-1], c.groups, -1))
    return y.reshape(c.batch, *out, c.features)


def _in_order(w: np.ndarray, kernel_axes: tuple[int, int]) -> np.ndarray:
    """w [*window, C / G, F] with its last two axes moved to `kernel_axes`."""
    return np.ascontiguousarray(np.moveaxis(w, (-2, -1), kernel_axes))


def _difference(
    call: Callable[..., jax.Array], x: np.ndarray, w: np.ndarray, want: np.ndarray, most: np.ndarray
) -> float:
    """The largest error, in units of what rounding allows: at most 1 if the call is right."""
    got = np.asarray(jax.jit(call)(x, w), np.float64)
    if got.shape != want.shape or not np.isfinite(got).all():
        return math.inf
    return float(abs(got - want).max() / (TOLERANCE * most.max()))


def _wrong(say: Callable[[str], None]) -> str:
    """The name of the first form that differs from numpy; '' if all are right."""
    random = np.random.default_rng(0)

    def numbers(*shape: int) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32)

    for name, batch, sums, turn_x, turn_y in products():
        say(name)
        x, y = numbers(*batch, 18, sums), numbers(*batch, sums, 20)
        wide = x.astype(np.float64), y.astype(np.float64)
        want, most = wide[0] @ wide[1], abs(wide[0]) @ abs(wide[1])
        if turn_x:
            x = np.ascontiguousarray(np.swapaxes(x, -1, -2))
        if turn_y:
            y = np.ascontiguousarray(np.swapaxes(y, -1, -2))

        def product(x, y, turned=(turn_x, turn_y)):
            return onednn.matmul(x, y, *turned)

        for _ in range(TIMES if sums > SUMS[0] else 1):  # threads that meet do not meet each time
            if not _difference(product, x, y, want, most) <= 1:
                return name
    for c in convolutions():
        name = f"convolution, {c.name}"
        say(name)
        x = numbers(c.batch, *c.space, c.channels)
        w = numbers(*c.window, c.channels // c.groups, c.features)
        want = _convolved(x.astype(np.float64), w.astype(np.float64), c)
        most = _convolved(abs(x), abs(w), c)
        operands = []
        for each in c.after:
            if each in ("BIAS", "BINARY_ADD"):
                operands.append(numbers(*(want.shape if each == "BINARY_ADD" else (c.features,))))
                want, most = want + operands[-1], most + abs(operands[-1])
            else:
                want = np.asarray(onednn.ACTIVATIONS[each](want.astype(np.float32)), np.float64)

        def convolution(x, w, c=c, operands=operands):
            return onednn.convolution(
                x, w, c.strides, c.padding, c.dilation, c.groups, c.kernel_axes, c.after, operands
            )

        if not _difference(convolution, x, _in_order(w, c.kernel_axes), want, most) <= 1:
            return name
    return ""


def main() -> None:
    """Tries all forms, naming each beforehand, and prints the results."""
    _hold_still()
    if _report(FINISHED, _wrong):
        _report(LAYERS, proof_of_layers.wrong)


def _report(beginning: str, find: Callable[[Callable[[str], None]], str]) -> bool:
    """Prints what a proof finds; whether that is nothing."""

    def say(name: str) -> None:
        print(f"{STARTED}{name}", flush=True)

    wrong, error = "", ""
    try:
        wrong = find(say)
    except Exception as failure:
        error = f"{type(failure).__name__}: {' '.join(str(failure).split())[:200]}"
    print(f"{beginning}{json.dumps({'wrong': wrong, 'error': error})}", flush=True)
    return not wrong and not error


def _hold_still() -> None:
    """Prepares for a crash, which is an answer: no core file, no stack trace, and a time limit."""
    faulthandler.disable()
    if hasattr(signal, "alarm"):
        signal.alarm(LIMIT)
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    except (ImportError, OSError, ValueError):  # the system has no such limits
        pass


if __name__ == "__main__":
    main()
    sys.exit(0)
