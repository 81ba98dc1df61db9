"""A pickle interpreter that can only build data.

A pickle is a program for a small stack machine, and three of its instructions reach outside:
GLOBAL imports any name, REDUCE calls it, BUILD sets its attributes. Here a global stays a name
(`Global`), only the calls listed in `_CALLS` are understood, and each is answered by a plain
record. Nothing that the file names is ever imported, looked up or called: nothing to exploit.

The instructions are decoded by the standard library's `pickletools.genops`. The reference for what
a checkpoint may contain is PyTorch's own `torch.load(weights_only=True)`.
"""

import mmap
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO, NamedTuple

from cnn_jax.weights.errors import WeightsError


class Global(NamedTuple):
    """A name from the file, 'module.name', never resolved."""

    name: str


class PersistentId(NamedTuple):
    """A reference to something stored outside the pickle: for PyTorch, a storage."""

    fields: tuple


class TensorRecord(NamedTuple):
    """A tensor as PyTorch pickles it: a strided view of a storage, in elements.

    Attributes:
        storage: the PersistentId's fields ('storage', type, key, location, number of elements).
        offset: the first element's position in the storage.
        shape: the size of each axis.
        strides: the step of each axis, in elements.
        dtype: a torch dtype, where it is not the storage's own.
    """

    storage: tuple
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: Global | None = None


def _tensor(storage, offset, shape, strides, requires_grad, hooks, metadata=None):
    return _view(storage, offset, shape, strides, None, metadata)


def _typed_tensor(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata=None):
    return _view(storage, offset, shape, strides, dtype, metadata)


def _view(storage, offset, shape, strides, dtype, metadata):
    if metadata:  # a lazy conjugate or negative: the bytes are not the values
        raise WeightsError(f"a tensor with metadata {metadata!r} is not supported")
    if not isinstance(storage, PersistentId):
        raise WeightsError("a tensor does not refer to a storage")
    sizes = (offset, *shape, *strides)
    if not all(type(size) is int and size >= 0 for size in sizes) or len(shape) != len(strides):
        raise WeightsError(f"a tensor has offset {offset}, shape {shape}, strides {strides}")
    return TensorRecord(storage.fields, offset, tuple(shape), tuple(strides), dtype)


def _parameter(data, requires_grad, hooks):
    return data


def _ordered_dict(items=()):
    return dict(items)


# Everything a file may call, and the record it gets instead.
_CALLS: dict[str, Callable] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "collections.OrderedDict": _ordered_dict,
    "torch.Size": tuple,
}

_MARK = object()
_IGNORED = {"PROTO", "FRAME"}
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(file: BinaryIO | mmap.mmap) -> Any:
    """Reads one pickle, from the file's position to its STOP instruction.

    Returns:
        dicts, lists, tuples, numbers and strings; tensors as `TensorRecord`, names as `Global`,
        outside references as `PersistentId`. An OrderedDict comes as a dict.

    Raises:
        WeightsError: the pickle wants anything else, or is damaged.
    """
    try:
        return _run(file)
    except WeightsError:
        raise
    except Exception as error:  # the instructions do not fit together: whatever they broke
        raise WeightsError(f"damaged pickle ({type(error).__name__}: {error})") from error


def _run(file: Any) -> Any:  # anything with read and readline
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    argument: Any  # of the type that the instruction has

    def pop_to_mark() -> list[Any]:
        start = len(stack) - 1 - stack[::-1].index(_MARK)
        items = stack[start + 1 :]
        del stack[start:]
        return items

    for instruction, argument, _ in pickletools.genops(file):
        name = instruction.name
        if name in _IGNORED:
            pass
        elif name in _LITERALS:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "EMPTY_LIST":
            stack.append([])
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(pop_to_mark()))
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in ("APPEND", "APPENDS"):
            items = [stack.pop()] if name == "APPEND" else pop_to_mark()
            _expect(stack[-1], list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [stack.pop(-2), stack.pop()] if name == "SETITEM" else pop_to_mark()
            _expect(stack[-1], dict).update(zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(Global(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(Global(f"{module}.{attribute}"))
        elif name == "BINPERSID":
            stack.append(PersistentId(_expect(stack.pop(), tuple)))
        elif name == "REDUCE":
            arguments, function = _expect(stack.pop(), tuple), stack.pop()
            stack.append(_call(function, arguments))
        elif name == "BUILD":  # attributes of a state dict (its `_metadata`): checked, not kept
            stack.pop()
            _expect(stack[-1], dict)
        elif name == "STOP":
            return stack.pop()
        else:
            raise WeightsError(f"the pickle instruction {name} is not allowed in a weights file")
    raise WeightsError("damaged pickle (no STOP)")


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise WeightsError(f"damaged pickle (a {kind.__name__} was wanted, got {value!r:.80})")
    return value


def _call(function: Any, arguments: tuple) -> Any:
    name = function.name if isinstance(function, Global) else repr(function)[:80]
    if name not in _CALLS:
        raise WeightsError(
            f"the file asks to call {name}, which is not one of the calls that rebuild a tensor. "
            "It has not been run. If you trust the file, load it where it came from and save its "
            "state dict alone: torch.save(model.state_dict(), path)"
        )
    return _CALLS[name](*arguments)
