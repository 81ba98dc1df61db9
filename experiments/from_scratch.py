"""Training from scratch with the parts of the library alone: everything is in sight.

    python -m experiments.from_scratch

Trains a small network on handwritten digits: the model, the task, the optimiser, the step, the data
and the loop are each a line or a few, which may be replaced by yours.
"""

import flax.linen as nn
import jax
import optax

from cnn_jax import data
from cnn_jax.tasks import classification
from cnn_jax.train import evaluation, layout, state, step


class Net(nn.Module):
    """Two convolutions and a linear layer: images [B, 8, 8, 1] -> logits [B, K]."""

    classes: int

    @nn.compact
    def __call__(self, x, *, train: bool):
        x = nn.relu(nn.Conv(32, (3, 3), name="conv1")(x))
        x = nn.relu(nn.Conv(64, (3, 3), strides=2, name="conv2")(x))  # [B, 4, 4, 64]
        return nn.Dense(self.classes, name="fc")(x.mean((1, 2)))


def main(epochs: int = 10, batch_size: int = 64, seed: int = 0) -> float:
    train_set, test_set = (data.load_source("digits", split) for split in ("train", "test"))
    load = data.image_loader(train_set)
    train = data.train_batches(train_set, load, batch_size=batch_size, seed=seed)
    test = data.eval_batches(test_set, load, batch_size=256)

    model = Net(train_set.num_classes)
    task = classification.classification(train_set.num_classes)
    prepare = classification.make_prepare(*data.statistics("digits", 1))  # uint8 -> normalised
    steps = round(epochs * train.steps_per_epoch)
    tx = optax.adamw(optax.cosine_decay_schedule(3e-3, steps), weight_decay=1e-2)

    now = state.create_state(model, tx, jax.ShapeDtypeStruct((1, 8, 8, 1), "float32"), seed=seed)
    update = step.make_train_step(model, task, tx, seed=seed, augment=lambda _, b: prepare(b))
    update = jax.jit(update, donate_argnums=0)
    observe = jax.jit(step.make_eval_step(model, task, prepare=prepare))

    for batch, done in zip(train.iterate(0), range(1, steps + 1), strict=False):
        now, metrics = update(now, batch)
        if done % 50 == 0 or done == steps:
            print(f"step {done}/{steps}: loss {metrics['loss']:.3f}")
    observed = evaluation.evaluate(observe, now, test, layout.single_device())
    assert observed is not None  # nobody stops it
    figures = task.report(observed)
    print(f"test accuracy {figures['accuracy']:.4f}")
    return figures["accuracy"]


if __name__ == "__main__":
    main()
