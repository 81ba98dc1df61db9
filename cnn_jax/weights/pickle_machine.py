"""A pickle interpreter that can only build data.

A pickle is a program for a small stack machine, and some of its instructions reach outside: GLOBAL
imports any name, REDUCE and NEWOBJ call it, BUILD sets its attributes. Here a global stays a name
(`Global`), and a call gives a plain record (`pickle_records`). Nothing that the file names is ever
imported, looked up or called, so there is nothing to exploit.

Nor can a small file take long: each instruction takes time in proportion to what it reads, and
copies are limited by the size of the file (`_Work`). No content is ever shown in full.

The instructions are decoded by the standard library's `pickletools.genops`. The reference for what
a checkpoint may contain is PyTorch's own `torch.load(weights_only=True)`.
"""

import mmap
import pickletools
from typing import Any, BinaryIO

from cnn_jax.weights.errors import WeightsError
from cnn_jax.weights.pickle_records import (
    Global,
    Opaque,
    PersistentId,
    TensorRecord,
    call,
    checked_key,
    shown,
)

MAX_INSTRUCTIONS = 20_000_000  # a minute; torchvision's largest network has 20,000

_IGNORED = {"PROTO", "FRAME"}
_LITERALS = {
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(file: BinaryIO | mmap.mmap, references: list[PersistentId] | None = None) -> Any:
    """Reads one pickle, from the file's position to its STOP instruction.

    Args:
        file: file positioned at the beginning of the pickle.
        references: list to which all outside references are appended, even those of opaque objects.

    Returns:
        dicts, lists, tuples, numbers and strings; tensors as `TensorRecord`, names as `Global`,
        outside references as `PersistentId`, all other objects as `Opaque`. An OrderedDict, a
        defaultdict and a Counter come as a dict.

    Raises:
        WeightsError: the pickle is damaged, asks for more work than its size allows, or tries to
            run a command.
    """
    try:
        return _run(file, references)
    except WeightsError:
        raise
    except Exception as error:  # inconsistent instructions can raise anything
        reason = f"{type(error).__name__}: {error}"
        raise WeightsError(f"damaged pickle ({reason[:200]})") from error


class _Work:
    """Counts copies, and limits them by the instructions read so far."""

    def __init__(self) -> None:
        self.instructions = 0
        self.copied = 0

    def count(self) -> None:
        self.instructions += 1
        if self.instructions > MAX_INSTRUCTIONS:
            raise WeightsError(
                f"more than {MAX_INSTRUCTIONS:,} pickle instructions: not a checkpoint"
            )

    def copy(self, arguments: tuple) -> None:
        """Counts the arguments of a call, which it copies although others may share them."""
        self.copied += len(arguments)
        for one in arguments:
            if isinstance(one, (dict, list)):
                self.copied += len(one)
        if self.copied > 4 * self.instructions + 1000:
            raise WeightsError("the pickle copies far more than it holds: not a checkpoint")


def _run(file: Any, references: list[PersistentId] | None) -> Any:  # anything with readline
    stack: list[Any] = []
    below: list[list[Any]] = []  # the stacks under the marks
    memo: dict[int, Any] = {}
    work = _Work()
    argument: Any  # of the type that the instruction has

    for instruction, argument, _ in pickletools.genops(file):
        work.count()
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
        elif name == "EMPTY_SET":
            stack.append(Opaque("builtins.set"))
        elif name == "MARK":
            below.append(stack)
            stack = []
        elif name == "TUPLE":
            items, stack = stack, below.pop()
            stack.append(tuple(items))
        elif name == "FROZENSET":
            stack = below.pop()
            stack.append(Opaque("builtins.frozenset"))
        elif name in _TUPLES:
            count = _TUPLES[name]
            items = [stack.pop() for _ in range(count)]
            stack.append(tuple(items[::-1]))
        elif name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name == "APPEND":
            item = stack.pop()
            _extend(stack[-1], [item])
        elif name in ("APPENDS", "ADDITEMS"):
            items, stack = stack, below.pop()
            _extend(stack[-1], items)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set_items(stack[-1], [key, value])
        elif name == "SETITEMS":
            items, stack = stack, below.pop()
            _set_items(stack[-1], items)
        elif name == "GLOBAL":
            stack.append(Global(argument.replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            attribute, module = _expect(stack.pop(), str), _expect(stack.pop(), str)
            stack.append(Global(f"{module}.{attribute}"))
        elif name == "BINPERSID":
            stack.append(PersistentId(_expect(stack.pop(), tuple)))
            if references is not None:
                references.append(stack[-1])
        elif name in ("REDUCE", "NEWOBJ"):
            arguments, function = _expect(stack.pop(), tuple), stack.pop()
            work.copy(arguments)
            stack.append(call(function, arguments))
        elif name == "NEWOBJ_EX":
            _, arguments, function = stack.pop(), _expect(stack.pop(), tuple), stack.pop()
            work.copy(arguments)
            stack.append(call(function, arguments))
        elif name == "BUILD":  # attributes, such as a state dict's `_metadata`: dropped
            stack.pop()
            if not isinstance(stack[-1], (Opaque, TensorRecord)):
                _expect(stack[-1], dict)
        elif name == "STOP":
            if below:
                raise WeightsError("damaged pickle (a mark is left)")
            return stack.pop()
        else:
            raise WeightsError(f"the pickle instruction {name} is not allowed in a weights file")
    raise WeightsError("damaged pickle (no STOP)")


def _extend(target: Any, items: list[Any]) -> None:
    if not isinstance(target, Opaque):
        _expect(target, list).extend(items)


def _set_items(target: Any, items: list[Any]) -> None:
    if isinstance(target, Opaque):
        return
    _expect(target, dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[checked_key(key)] = value


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise WeightsError(f"damaged pickle (a {kind.__name__} was wanted, got {shown(value)})")
    return value
