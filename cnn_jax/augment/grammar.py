"""The one grammar of augmentations: 'flip,crop:4,randaugment:2:9,cutout:8'.

Steps are separated by commas and applied in the order written. Each is the name of a step and,
after colons, its numbers in order or by name, 'affine:10:largest=1.2'; what has a default may be
left out. `register` adds a step; those of this package are in vocabulary.py.
"""

import inspect
import math
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple, get_args, get_origin

import jax

from cnn_jax.augment import examples
from cnn_jax.augment.examples import HOLDS, Example, Holds
from cnn_jax.registry import Registry
from cnn_jax.typing import Array

Augmentation = Callable[[Array, Example], Example]  # (key, example) -> example

# Version of the random draws: a step that draws otherwise under the same key raises it. A run
# records the version, so that resuming it under another one can say so.
DRAWS = 1


class Step(NamedTuple):
    """A step of an augmentation, before its numbers are known.

    Attributes:
        function: (key, example, *, numbers) -> example; or (key, image, *, numbers) -> image.
        of_example: which of the two it is.
        parameters: those that can be written, in order.
    """

    function: Callable[..., Any]
    of_example: bool
    parameters: tuple[inspect.Parameter, ...]


_OURS = re.compile(r"cnn_jax\b")
_NOUNS: dict[Holds, str] = {"label": "a label", "mask": "a mask", "boxes": "boxes"}

# What the examples hold -> name -> step. The same name may be written otherwise beside boxes.
STEPS: dict[Holds, Registry[Step]] = {
    holds: Registry(f"augmentation of images with {noun}", f"augmentations of images with {noun}")
    for holds, noun in _NOUNS.items()
}


def register(
    name: str,
    function: Callable[..., Any],
    *,
    holds: tuple[Holds, ...] = ("label",),
    origin: str = "",
) -> None:
    """Adds a step to the grammar.

    Args:
        name: name of the step: a word.
        function: a pure function (key, image, *, ...) -> image of one image, floats [*space, C] in
            0..1; or, with a second argument called `example`, (key, example, *, ...) -> example,
            which moves all that the example holds, see `cnn_jax.augment.examples`. Its other
            parameters are the numbers of the step: annotated as int, float,
            bool or a Literal of texts. Parameters of other types keep their defaults.
        holds: examples that the step is for, by what they hold besides their image: 'label', 'mask'
            or 'boxes'. A step that moves pixels is for images with a label alone, unless it says
            how it moves masks and boxes, as a function of the example; one that leaves every pixel
            in its place is for all three.
        origin: module that the step comes from; by default the one that calls this.

    Raises:
        ValueError: the name is taken or no word; the function has other arguments.
    """
    origin = origin or sys._getframe(1).f_globals.get("__name__", "")
    if not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError(f"{name!r} is no name of an augmentation: it must be one word")
    unknown = [one for one in holds if one not in HOLDS]
    if unknown or not holds:
        raise ValueError(f"augmentation {name!r} is for {list(holds)}; choose from {list(HOLDS)}")
    step = _step(name, function)
    for one in holds:
        STEPS[one].register(name, step, origin=origin)


def parse(text: str, *, holds: Holds = "label") -> Augmentation:
    """Reads an augmentation (key, example) -> example from its text.

    '' and 'none' change nothing. Each step has a key of its own, so that the same step may be
    written twice.

    Args:
        text: steps separated by commas.
        holds: what the examples hold besides their image: 'label', 'mask' or 'boxes'.

    Raises:
        ValueError: a step that is unknown (the nearest are listed) or does not move what the
            examples hold; values that are missing, too many, or of the wrong kind.
    """
    words = [word.strip() for word in text.split(",")]
    steps = [_read(word, holds) for word in words if word not in ("", "none")]
    # A single step beside a label draws from the key itself: runs of earlier versions did.
    own_key = len(steps) > 1 or holds != "label"

    def augment(key: Array, example: Example) -> Example:
        examples.check(example)
        for i, step in enumerate(steps):
            example = step(jax.random.fold_in(key, i) if own_key else key, example)
        return example

    return augment


def apply(augmentation: Augmentation, keys: Array, batch: Example) -> Example:
    """Augments a batch: keys [B], and arrays [B, ...] by name, as in `examples`."""
    return jax.vmap(augmentation)(keys, dict(batch))


def usage(holds: Holds = "label") -> list[str]:
    """A line for each step: how it is written, what it does, and who added it.

    ['flip:probability=0.5  Mirrors left and right; of a sequence, its time.', ...]
    """
    steps = STEPS[holds]
    lines = []
    for name, step in steps.items():
        does = (inspect.getdoc(step.function) or "").partition("\n")[0]
        added = "" if _OURS.match(steps.origin(name)) else f"({steps.origin(name)})"
        lines.append("  ".join(part for part in (_written(name, step), does, added) if part))
    return lines


def _step(name: str, function: Callable[..., Any]) -> Step:
    parameters = list(inspect.signature(function, eval_str=True).parameters.values())
    if len(parameters) < 2:
        raise ValueError(
            f"augmentation {name!r}: its function takes (key, image, *, numbers) or (key, example, "
            f"*, numbers), not ({', '.join(p.name for p in parameters)})"
        )
    numbers = [p for p in parameters[2:] if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    readable = [p for p in numbers if _wanted(p.annotation)]
    fixed = [p.name for p in numbers if not _wanted(p.annotation) and p.default is p.empty]
    if fixed:
        raise ValueError(
            f"augmentation {name!r}: {fixed[0]} has no default, and cannot be written; annotate it "
            "as int, float, bool or a Literal of texts"
        )
    return Step(function, parameters[1].name == "example", tuple(readable))


def _read(word: str, holds: Holds) -> Augmentation:
    name, *values = word.split(":")
    if holds not in STEPS:
        raise ValueError(f"examples hold a {', '.join(HOLDS[:-1])} or {HOLDS[-1]}, not {holds!r}")
    if name not in STEPS[holds]:
        others = [_NOUNS[other] for other in HOLDS if name in STEPS[other]]
        if others:
            lacks = "needs them" if holds == "label" else "does not say how it moves others"
            raise ValueError(
                f"The augmentation {name!r} is for images with {' or '.join(others)}, and {lacks}. "
                f"For images with {_NOUNS[holds]} there are {', '.join(STEPS[holds])}."
            )
    step = STEPS[holds][name]
    function = partial(step.function, **_arguments(word, name, values, step))
    if step.of_example:
        return function
    return lambda key, example: {**example, "image": function(key, example["image"])}


def _arguments(word: str, name: str, values: list[str], step: Step) -> dict[str, Any]:
    known = {parameter.name: parameter for parameter in step.parameters}
    arguments: dict[str, Any] = {}
    for parameter, value in zip([*step.parameters, None][: len(values)], values, strict=False):
        by_name, equals, rest = value.partition("=")
        if equals:
            parameter, value = known.get(by_name.strip()), rest.strip()
        if parameter is None or parameter.name in arguments:
            raise _miswritten(word, values, name, step)
        arguments[parameter.name] = _value(word, parameter, value)
    lacking = [p for p in step.parameters if p.default is p.empty and p.name not in arguments]
    if lacking or len(values) > len(step.parameters):
        raise _miswritten(word, values, name, step)
    return arguments


def _miswritten(word: str, values: list[str], name: str, step: Step) -> ValueError:
    return ValueError(
        f"augmentation {word!r}: {len(values)} values, but it is written {_written(name, step)}"
    )


def _written(name: str, step: Step) -> str:
    return ":".join([name, *(
        p.name if p.default is p.empty else f"{p.name}={p.default}" for p in step.parameters
    )])  # fmt: skip


def _value(word: str, parameter: inspect.Parameter, text: str) -> Any:
    kind = parameter.annotation
    try:
        if get_origin(kind) is Literal:
            return get_args(kind)[get_args(kind).index(text)]
        value = {"true": True, "false": False}[text.lower()] if kind is bool else kind(text)
        if not math.isfinite(value):
            raise ValueError
    except (ValueError, KeyError):
        raise ValueError(
            f"augmentation {word!r}: {parameter.name} is {text!r}, wanted {_wanted(kind)}"
        ) from None
    if parameter.name == "probability" and not 0 <= value <= 1:
        raise ValueError(f"augmentation {word!r}: probability is {text}, wanted 0 to 1")
    return value


def _wanted(kind: Any) -> str:
    """What a value of this kind is called; '' if it cannot be written."""
    if get_origin(kind) is Literal and all(isinstance(text, str) for text in get_args(kind)):
        return " or ".join(get_args(kind))
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(kind, "")
