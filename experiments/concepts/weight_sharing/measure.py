"""Networks that are local, shared, both or neither, with positions in order and shuffled."""

from typing import Any

import flax.linen as nn

from cnn_jax import models
from cnn_jax.analysis import summary
from cnn_jax.train.replicas import accuracies, predict_replicas
from experiments.concepts.frame.lesson import Effort
from experiments.concepts.measuring.data import mnist1d
from experiments.concepts.measuring.training import train_to

BATCH, RATE = 100, 1e-2  # the authors' train.py
LOSS = 0.01  # on the training set; those that cannot reach it train as long as the authors' do
RECURRENT = 1500  # steps of the recurrent network with little effort: its steps are dear


class Local(nn.Module):
    """MNIST-1D's CNN with separate weights at every position: local, but nothing is shared."""

    channels: int = 25

    @nn.compact
    def __call__(self, x, *, train):
        for i, kernel in enumerate((5, 3, 3), start=1):
            x = nn.ConvLocal(
                self.channels, (kernel,), strides=2, padding=[(1, 1)], name=f"conv{i}"
            )(x)
            x = nn.relu(x)
        return nn.Dense(10, name="head")(x.reshape(x.shape[0], -1))


NETWORKS: dict[str, nn.Module] = {
    "linear": models.create("mnist1d_linear", num_classes=10),
    "dense": models.create("mnist1d_mlp", num_classes=10),
    "local": Local(),
    "conv": models.create("mnist1d_cnn", num_classes=10),
    "recurrent": models.create("gru", num_classes=10),
}


def measure(effort: Effort) -> dict[str, Any]:
    return {
        name: {
            "parameters": summary.total(summary.summarise(model, (40, 1)))["parameters"],
            "in_order": _train(name, model, False, effort),
            "shuffled": _train(name, model, True, effort),
        }
        for name, model in NETWORKS.items()
    }


def _train(name: str, model: nn.Module, shuffled: bool, effort: Effort) -> dict[str, Any]:
    train, test = (mnist1d(part, shuffled=shuffled) for part in ("train", "test"))
    fitted = train_to(
        model,
        train,
        test=test,
        loss=LOSS,
        at_most=effort.steps(RECURRENT if name == "recurrent" else 3000, 6000),
        seeds=effort.seeds,
        batch_size=BATCH,
        rate=RATE,
        check=300,
    )
    ends = [curve[-1] for curve in fitted.curves]
    return {
        "test": accuracies(predict_replicas(model, fitted.variables, test["image"]), test["label"]),
        "train": [end.accuracy for end in ends],
        "loss": [end.loss for end in ends],
        "steps": fitted.steps,
        "best": [max(point.test_accuracy for point in curve) for curve in fitted.curves],
    }
