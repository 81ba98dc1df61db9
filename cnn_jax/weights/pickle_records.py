"""The result of reading a pickled checkpoint: plain data, and records for everything else.

Of PyTorch's objects only tensors are rebuilt, as `TensorRecord`. Training scripts store other
objects beside them: an argparse.Namespace, a path, a numpy scalar, Lightning's settings. Such an
object becomes an `Opaque` record: its class is not imported, and nothing is called.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from cnn_jax.weights.errors import WeightsError

MAX_RANK = 64  # numpy's own limit
_SHOWN = 60  # characters of a string in a message


class Global(NamedTuple):
    """A name from the file, 'module.name', which is never resolved."""

    name: str


class PersistentId(NamedTuple):
    """A reference to something stored outside the pickle: for PyTorch, a storage."""

    fields: tuple


class Opaque:
    """An object that the file would create with a class or a function; it is not created.

    Attributes:
        name: name of the class or function, 'argparse.Namespace'.
    """

    __slots__ = ("name",)

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"Opaque({self.name[:_SHOWN]!r})"


class TensorRecord(NamedTuple):
    """A tensor as PyTorch pickles it: a strided view of a storage, in elements.

    Attributes:
        storage: fields of the PersistentId ('storage', type, key, location, number of elements).
        offset: position of the first element in the storage.
        shape: size of each axis.
        strides: step of each axis, in elements.
        dtype: a torch dtype, if it is not the storage's own.
    """

    storage: tuple
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: Global | None = None


def shown(value: Any) -> str:
    """A value of the file for a message: short, however large or often shared its parts."""
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 2**64 else f"a number of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)):
        return repr(value[:_SHOWN])
    if isinstance(value, (Global, Opaque)):
        return shown(value.name)
    return f"a {type(value).__name__} of {len(value)}"


def call(function: Any, arguments: tuple) -> Any:
    """The record of the result of a call: a tensor, plain data, or an `Opaque` record.

    Raises:
        WeightsError: something other than a name is called, or a name that would reach the machine
            (`_REFUSED`); or a tensor is malformed.
    """
    if isinstance(function, Opaque):  # the result of an opaque function is opaque
        return Opaque(function.name)
    if isinstance(function, PersistentId):  # a class that is pickled with its source
        named = [field for field in function.fields[1:2] if isinstance(field, Global)]
        return Opaque(named[0].name if named else "a class")
    if not isinstance(function, Global):
        raise WeightsError(f"damaged pickle ({shown(function)} is called)")
    if function.name in _CALLS:
        return _CALLS[function.name](*arguments)
    module = function.name.partition(".")[0]
    if module in _REFUSED and function.name not in _HARMLESS:
        raise WeightsError(
            f"the file asks to call {function.name[:_SHOWN]}, which is not allowed in a weights "
            "file. It has not been run. If you trust the file, load it where it came from and "
            "save only its state dict: torch.save(model.state_dict(), path)"
        )
    return Opaque(function.name)


# Nothing is ever called, so this list is not a defence: but a file that tries to run a command is
# not a checkpoint, and its user should know.
_REFUSED = frozenset(
    ["__builtin__", "_pickle", "builtins", "codeop", "commands", "ctypes", "functools", "imp",
     "importlib", "marshal", "multiprocessing", "nt", "operator", "os", "pdb", "pickle", "pip",
     "posix", "pty", "pydoc", "runpy", "shutil", "socket", "subprocess", "sys", "webbrowser"]
)  # fmt: skip
_HARMLESS = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("bytearray", "bytes", "complex", "dict", "frozenset", "getattr", "list", "object",
                 "range", "set", "slice", "tuple", "xrange")
) | {"functools.partial"}  # fmt: skip


def _tensor(storage, offset, shape, strides, requires_grad, hooks, metadata=None):
    return _view(storage, offset, shape, strides, None, metadata)


def _typed_tensor(storage, offset, shape, strides, requires_grad, hooks, dtype, metadata=None):
    return _view(storage, offset, shape, strides, dtype, metadata)


def _view(storage, offset, shape, strides, dtype, metadata):
    if metadata:  # a lazy conjugate or negative: the bytes are not the values
        raise WeightsError("a tensor that is conjugated or negated lazily is not supported")
    if not isinstance(storage, PersistentId):
        raise WeightsError("a tensor does not refer to a storage")
    if not (isinstance(shape, tuple) and isinstance(strides, tuple)) or not (
        len(shape) == len(strides) <= MAX_RANK
    ):
        raise WeightsError(f"a tensor has shape {shown(shape)}, strides {shown(strides)}")
    if not all(type(size) is int and 0 <= size < 2**63 for size in (offset, *shape, *strides)):
        sizes = [", ".join(map(shown, part)) for part in (shape, strides)]
        raise WeightsError(
            f"a tensor has offset {shown(offset)}, shape ({sizes[0]}), strides ({sizes[1]})"
        )
    if dtype is not None and not isinstance(dtype, Global):
        raise WeightsError(f"a tensor has the dtype {shown(dtype)}")
    return TensorRecord(storage.fields, offset, shape, strides, dtype)


def _parameter(data, requires_grad, hooks, state=None):
    return data


def _subclass(function, kind, arguments, state=None):  # a tensor with attributes of its own
    if not isinstance(arguments, tuple):
        raise WeightsError(f"damaged pickle (a call with {shown(arguments)})")
    return call(function, arguments)


def _dict(items=()):
    if isinstance(items, dict):
        return dict(items)
    if not all(isinstance(item, (tuple, list)) and len(item) == 2 for item in items):
        raise WeightsError("damaged pickle (a dict of something else than pairs)")
    return {checked_key(key): value for key, value in items}


def _default_dict(factory=None, items=()):
    return _dict(items)


def checked_key(key: Any) -> Any:
    """A key of a dict, if its hash is cheap: that of nested tuples may take for ever.

    Raises:
        WeightsError: it is not.
    """
    if isinstance(key, tuple) and not isinstance(key, Global):
        cheap = len(key) <= 8 and all(_is_cheap(part) for part in key)
        cheap = cheap and not isinstance(key, (TensorRecord, PersistentId))
    else:
        cheap = _is_cheap(key)
    if not cheap:
        raise WeightsError(f"{shown(key)} is the key of a dict: not supported")
    return key


def _is_cheap(key: Any) -> bool:
    if isinstance(key, int):
        return abs(key) < 2**64  # the hash of a larger one is recomputed each time
    if isinstance(key, (str, bytes)):
        return len(key) <= 10_000
    return key is None or isinstance(key, (float, Global, Opaque))


def _size(items=()):
    if not isinstance(items, (tuple, list)):
        raise WeightsError(f"damaged pickle (a size of {shown(items)})")
    return tuple(items)


# The calls of a file that are rebuilt.
_CALLS: dict[str, Callable] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "collections.OrderedDict": _dict,
    "collections.defaultdict": _default_dict,
    "collections.Counter": _dict,
    "torch.Size": _size,
}
