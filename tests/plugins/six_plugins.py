"""Short plug-ins of every kind, as a user would write them: --plugin=six_plugins."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cnn_jax import augment, data, losses, metrics, models, run
from cnn_jax.train import optim
from cnn_jax.typing import Mean, Observed, Task


# 1. A model: --model=tiny_mlp
class TinyMLP(nn.Module):
    num_classes: int | None
    width: int = 16

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.relu(nn.Dense(self.width, name="hidden")(x.reshape(len(x), -1)))
        return nn.Dense(self.num_classes, name="head")(x)


models.register(TinyMLP, {"tiny_mlp": models.row()}, input_shape=(8, 8, 1))


# 2. A reader: --dataset=bars:8, images of 8x8 pixels with a bright bar across or down
class Bars(list):
    def __getitems__(self, indices):
        return [self[index] for index in indices]

    def describe(self, index):
        return f"bar {index}"


def open_bars(path, split):
    rng = np.random.default_rng({"train": 0, "test": 1}[split])
    size, labels = int(path or 8), rng.integers(0, 2, {"train": 96, "test": 32}[split])
    images = rng.integers(0, 120, (len(labels), size, size, 1), dtype=np.uint8)
    images[labels == 0, :, 2] += 120
    images[labels == 1, 2] += 120
    records = Bars({"image": x, "label": int(y)} for x, y in zip(images, labels, strict=True))
    return data.Source("bars", split, records, ("down", "across"), (size, size, 1))


data.register_reader("bars", "label", open_bars)


# 3. A step of augmentation: --augment=darken:0.5
def darken(key, image, *, least: float = 0.5):
    """Multiplies by a number between `least` and 1."""
    return image * jax.random.uniform(key, minval=least, maxval=1.0)


augment.register("darken", darken)


# 4. An optimiser: --optimizer=sign
def sign(learning_rate, *, momentum, weight_decay, nesterov):
    return optax.chain(optax.trace(momentum), optax.sign_sgd(learning_rate))


optim.OPTIMIZERS.register("sign", sign)


# 5. A loss: --loss=poly1  (Leng et al. 2022, arXiv:2204.12511, equation 6)
def poly1(logits, target, weight):
    right = (target * jax.nn.softmax(logits)).sum(-1)
    return losses.weighted_mean(optax.softmax_cross_entropy(logits, target) + 1 - right, weight)


losses.LOSSES.register("poly1", poly1)


# 6. A metric: --metrics=confidence
def confidence(outputs, batch):
    scored = metrics.scored(outputs, batch)
    sure = jnp.where(scored.mask > 0, jax.nn.softmax(scored.logits).max(-1), 0)
    return {"sure": sure.sum(), "count": scored.mask.sum()}


metrics.METRICS.register(
    "confidence", metrics.Metric(confidence, lambda sums: sums["sure"] / sums["count"])
)


# 7. A task: --task=ordinal, which predicts the number of the class instead of scores
@dataclasses.dataclass(frozen=True, kw_only=True)
class OrdinalRecipe(run.Recipe):
    huber: float = run.setting(1.0, "Error, in classes, from which the loss is linear.")


def make_ordinal(recipe):
    experiment = run.TASKS["classification"].make_experiment(recipe)

    def predicted(outputs):
        return (jax.nn.softmax(outputs) * jnp.arange(outputs.shape[-1])).sum(-1)

    def loss(outputs, batch):
        error = predicted(outputs) - batch["label"]
        each = jnp.where(batch["mask"] > 0, optax.huber_loss(error, delta=recipe.huber), 0)
        return {"huber": Mean(each.sum(), batch["mask"].sum())}

    def observe(outputs, batch):
        error = jnp.where(batch["mask"] > 0, abs(predicted(outputs) - batch["label"]), 0)
        return Observed({"error": error.sum(), "examples": batch["mask"].sum()}, {})

    def report(observed):
        return {"minus_error": -float(observed.sums["error"] / observed.sums["examples"])}

    return experiment._replace(
        task=Task(loss, observe, report),
        best="minus_error",
        draw=None,
        facts=dataclasses.replace(experiment.facts, task="ordinal"),
    )


run.TASKS.register("ordinal", run.TaskRun(OrdinalRecipe, make_ordinal))
