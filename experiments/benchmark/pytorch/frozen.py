"""PyTorch's frozen networks as a contender of `experiments.benchmark.train_step`."""

import numpy as np
import torch

from experiments.benchmark.pytorch.train_step import Steps


class FrozenSteps:
    """Evaluation by torch.compile with inductor's freezing: weights folded, packed and constant."""

    def __init__(self, name: str, x: np.ndarray, y: np.ndarray, num_classes: int, weights: str):
        """Arguments are those of `Steps`."""
        import torch._inductor.config as inductor

        inductor.freezing = True
        self._steps = Steps(name, x, y, num_classes, compile=False, weights=weights)
        self._steps.model.eval()
        self._steps.run = torch.compile(self._steps.model)

    def evaluate(self) -> np.ndarray:
        """Scores [B, K] or [B, *space, K]."""
        with torch.no_grad():  # freezing looks for no inference mode
            return np.moveaxis(self._steps.run(self._steps.x).numpy(), 1, -1)

    def parameters(self) -> int:
        return self._steps.parameters()
