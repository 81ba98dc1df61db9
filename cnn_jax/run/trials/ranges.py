"""What a search chooses settings from: ranges, or some values."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.trials import axes

_RANGE = re.compile(r"(log:)?([^:]+?)\.\.([^:]+)")


@dataclasses.dataclass(frozen=True)
class Range:
    """What a setting is chosen from.

    Attributes:
        text: as it was given.
        ends: the lowest and the highest value; or all values, in any order.
        between: whether what lies between them can be chosen too.
        log: whether evenly in the logarithm.
    """

    text: str
    ends: tuple[Any, ...]
    between: bool = False
    log: bool = False

    def distribution(self, optuna: Any) -> Any:
        """The same for Optuna, the module."""
        if not self.between:
            return optuna.distributions.CategoricalDistribution(self.ends)
        whole = isinstance(self.ends[0], int)
        kind = optuna.distributions.IntDistribution if whole else (
            optuna.distributions.FloatDistribution
        )  # fmt: skip
        return kind(*self.ends, log=self.log)


def ranges_of(space: str, recipe: TrainingRecipe) -> Mapping[str, Range]:
    """The range of each setting in a text, see `cnn_jax.run.search`.

    Raises:
        ValueError: it is of another form, or a setting cannot have such values.
    """
    kind = type(recipe)
    found = {}
    for name, given in axes.parse(space, kind, given="search").items():
        text, field = given.strip(), axes.field_of(name, kind, given="search")
        if isinstance(field.default, tuple):
            raise ValueError(f"search: {name} has several numbers: `sweep` can vary it.")
        match = _RANGE.fullmatch(text)
        number = isinstance(field.default, (int, float)) and not isinstance(field.default, bool)
        if match is None or not number:
            if text.startswith("log:"):
                raise ValueError(f"search: {name}={text}: wanted a range, log:LOW..HIGH.")
            found[name] = Range(text, tuple(axes.values_of(name, text, field, given="search")))
            continue
        ends = [axes.values_of(name, end, field, given="search")[0] for end in match.groups()[1:]]
        if not ends[0] < ends[1] or (match[1] and ends[0] <= 0):
            wanted = "LOW below HIGH" + (", and above 0 for log:" if match[1] else "")
            raise ValueError(f"search: {name}={text}: wanted {wanted}.")
        found[name] = Range(text, tuple(ends), True, bool(match[1]))
    return found
