"""Early stopping: a run ends once its figure has not become better for some evaluations."""

import math
from typing import Any

from cnn_jax.train.callback import Callback, Run


class Patience(Callback):
    """Counts the evaluations since the best one. What it knows is part of every checkpoint, so that
    a resumed run ends at the same step.

    Prechelt 1998, doi:10.1007/3-540-49430-8_3, compares criteria; this is the simplest of them.
    """

    def __init__(self, evaluations: int, metric: str):
        """
        Args:
            evaluations: number of evaluations without a better figure after which the run ends.
            metric: name of the figure; higher is better.
        """
        self._evaluations, self._metric = evaluations, metric
        self._best: float | None = None
        self._since = 0

    def on_begin(self, run: Run) -> None:
        saved = run.resumed.get("patience", {})
        self._best, self._since = saved.get("best"), saved.get("since", 0)

    def on_evaluation(self, step: int, figures: Any, repeated: bool) -> None:
        if repeated:
            return
        value = figures.get(self._metric, math.nan)
        if not math.isnan(value) and (self._best is None or value > self._best):
            self._best, self._since = value, 0
        else:
            self._since += 1

    def to_save(self) -> dict[str, Any]:
        return {"patience": {"best": self._best, "since": self._since}}

    def ended(self) -> bool:
        """Whether the run is to end."""
        return self._since >= self._evaluations
