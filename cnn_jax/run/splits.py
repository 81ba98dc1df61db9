"""Which examples a run learns from, which it is chosen on, and which it is tested on.

What is chosen while a run trains (its best checkpoint, when to stop, the better of several runs) is
chosen on a validation split, where there is one: `validation_split` names it, or `fold` holds a
part of the training split out. The test split is then evaluated once, at the end.
"""

import dataclasses
import logging
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from cnn_jax import data
from cnn_jax.data.division import fold_of, share_of
from cnn_jax.data.errors import NoSplitError, UnlabelledError
from cnn_jax.run.recipe import TrainingRecipe
from cnn_jax.run.resuming import PLACES

_log = logging.getLogger(__name__)

AUTO = "auto"
SHARE = 0.1  # of the training split, where a set of one's own has no validation split
_TEST = "test"  # the default of `test_split`


class Splits(NamedTuple):
    """The data of a run.

    Attributes:
        train: what is trained on.
        test: what is evaluated at the end; None if there is no such split, or none with labels.
        validation: what is evaluated during the training, and chosen on; None: `test`.
        notes: lines about what was decided.
    """

    train: Any
    test: Any
    validation: Any = None
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.train.class_names

    @property
    def channels(self) -> int:
        return self.train.image_shape[-1]

    @property
    def chosen_on(self) -> Any:
        """What is evaluated during the training."""
        return self.test if self.validation is None else self.validation

    def sources(self) -> dict[str, Any]:
        """The splits that there are, by their part: 'train', 'test', 'validation'."""
        own = {"train": self.train, "test": self.test, "validation": self.validation}
        return {part: source for part, source in own.items() if source is not None}


def open_splits(recipe: Any, open_split: Callable[[str], Any]) -> Splits:
    """The data of a recipe, each split opened by `open_split`.

    The images of all become pixels by one rule, that of the training images.

    Raises:
        ValueError: their classes differ, or there is no such split.
    """
    train = open_split(recipe.train_split)
    splits = _divided(recipe, train, open_split)
    for source in splits.sources().values():
        if source.class_names != splits.class_names:
            raise ValueError(
                f"{recipe.dataset}: the classes of {source.split} are "
                f"{', '.join(source.class_names)}, those of {recipe.train_split} are "
                f"{', '.join(splits.class_names)}. Give both splits the same classes."
            )
    test, validation = (
        None if source is None else by_rule(source, train.pixels)
        for source in (splits.test, splits.validation)
    )
    return splits._replace(test=test, validation=validation)


def by_rule(source: Any, rule: data.PixelRule) -> Any:
    """The data, whose images become pixels by this rule; the same object if they do already."""
    return source if source.pixels == rule else dataclasses.replace(source, pixels=rule)


def _divided(recipe: TrainingRecipe, train: Any, open_split: Callable[[str], Any]) -> Splits:
    wanted = recipe.validation_split
    if recipe.fold:
        if wanted not in ("", AUTO):
            raise ValueError(
                f"fold={recipe.fold} holds a part of {recipe.train_split} out to choose on, and "
                f"validation_split={wanted} names another: leave one of them out."
            )
        fold, folds = map(int, recipe.fold.split("/"))
        rest, held = fold_of(train, fold, folds, seed=recipe.seed)
        return _tested(recipe, rest, held, open_split, f"fold {recipe.fold} of the seed")
    if wanted.endswith("%") and "[" not in wanted:
        rest, held = share_of(train, _share(wanted))
        return _tested(recipe, rest, held, open_split, f"validation_split={wanted}")
    if wanted not in ("", AUTO):
        held = open_split(wanted)
        return _tested(recipe, train, held, open_split, f"validation_split={wanted}")
    own = _is_own(recipe)
    if not wanted or not own:
        try:
            test = open_split(recipe.test_split)
        except (NoSplitError, UnlabelledError):
            if not wanted or recipe.test_split != _TEST:
                raise
        else:
            return Splits(train, test, notes=_chosen_on_test(recipe))
    found = _validation(open_split)
    if found is not None:
        return _tested(recipe, train, found, open_split, "validation_split=auto")
    try:
        rest, held = share_of(train, SHARE)
    except data.DataError:  # a handful of examples
        test = open_split(recipe.test_split)
        return Splits(train, test, notes=_chosen_on_test(recipe))
    why = f"no validation split was found, and validation_split=auto holds {SHARE:.0%} out"
    return _tested(recipe, rest, held, open_split, why)


def _is_own(recipe: Any) -> bool:
    """Whether the data are one's own, in a layout with the usual names of splits."""
    kind, colon, _ = getattr(recipe, "dataset", "").partition(":")
    return bool(colon) and kind in PLACES and recipe.test_split == _TEST


def _share(text: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?%", text) or not 0 < float(text[:-1]) < 100:
        raise ValueError(
            f"validation_split={text}: wanted the name of a split, or a share of the training "
            "split above 0% and below 100%, such as 10%."
        )
    return float(text[:-1]) / 100


def _validation(open_split: Callable[[str], Any]) -> Any:
    """The validation split, by any of its usual names; None if there is none with labels."""
    try:
        return open_split("validation")
    except UnlabelledError:
        return None
    except NoSplitError as error:
        names = [name for name in error.existing if re.match(r"(val|dev$)", name.lower())]
    for name in sorted(names, key=len):
        try:
            return open_split(name)
        except (NoSplitError, UnlabelledError):
            continue
    return None


def _tested(
    recipe: TrainingRecipe, train: Any, held: Any, open_split: Callable[[str], Any], why: str
) -> Splits:
    """The splits of a run that is chosen on `held`, with the test split if it has labels."""
    note = f"Chosen on {held.split}, {len(held):,} examples ({why}); trained on {len(train):,}."
    try:
        test = open_split(recipe.test_split)
    except (NoSplitError, UnlabelledError) as error:
        if isinstance(error, NoSplitError) and recipe.test_split != _TEST:
            raise
        lacks = isinstance(error, UnlabelledError)
        why = f"{recipe.test_split} has no labels" if lacks else "there is no test split"
        note += f" No test figures: {why}."
        return Splits(train, None, held, (note,))
    note += f" {test.split}, {len(test):,} examples, is evaluated once, at the end."
    return Splits(train, test, held, (note,))


def _chosen_on_test(recipe: TrainingRecipe) -> tuple[str, ...]:
    """What to say where nothing is held out to choose on."""
    return (
        f"The best checkpoint is chosen on {recipe.test_split}, which is evaluated during the "
        "training too; validation_split=10% holds a part of the training split out for that.",
    )
