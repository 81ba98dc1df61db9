"""Weights of the classes, by word and as numbers, and the factors of the stages."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax import models, run
from cnn_jax.models.stage_of import stage_of_parameters
from cnn_jax.run import class_weights
from cnn_jax.run.optimisation import optimizer_of
from cnn_jax.tasks import classification


def test_the_text_of_weights():
    assert run.Recipe(class_weights=(1, 2.5)).class_weights == "1,2.5"
    assert run.Recipe(class_weights="balanced").class_weights == "balanced"
    assert run.SegmentationRecipe(class_weights="median_frequency").class_weights
    for wrong in ("median_frequency", "", "1,x", "-1,2", "0,0", "nan,1"):
        with pytest.raises(ValueError, match="wanted none, balanced, or a number for each class"):
            run.Recipe(class_weights=wrong)


def test_weights_by_frequency_have_the_mean_1_over_the_examples():
    counts = np.array([90, 9, 0, 1])
    weights = class_weights.balanced(counts)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(10)
    assert weights[2] == 0
    with pytest.raises(ValueError, match="2 numbers for 3 classes, a, b, c: give one for each"):
        class_weights.weights_of("1,2", ("a", "b", "c"), {})


def test_an_example_counts_as_the_weight_of_its_class():
    weights = np.array([1.0, 4.0, 0.5])
    task = classification.classification(3, class_weights=weights)
    logits = jax.random.normal(jax.random.key(0), (4, 3))
    batch = {"label": jnp.array([0, 1, 1, 2]), "mask": jnp.array([1.0, 1, 0, 1])}
    each = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    own = weights[batch["label"]] * batch["mask"]
    (mean,) = task.loss(logits, batch).values()
    assert mean.total / mean.weight == pytest.approx(float((own * each).sum() / own.sum()))
    # a mixture has the mean of its classes' weights
    mixed = {**batch, "target": jnp.array([[0.5, 0.5, 0]] * 4)}
    assert task.loss(logits, mixed)["cross_entropy"].weight == pytest.approx(3 * 2.5)
    plain = classification.classification(3).observe(logits, batch)
    assert task.observe(logits, batch).sums["loss"] == plain.sums["loss"]  # evaluated as it is
    with pytest.raises(ValueError, match="2 class weights for 3 classes"):
        classification.classification(3, class_weights=[1, 2])


def test_unbalanced_classes_are_weighed_in_a_run(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"{split}_images": rng.integers(0, 256, (20, 8, 8), np.uint8) for split in
              ("train", "test")}  # fmt: skip
    labels = np.arange(20) % 10 == 0
    np.savez(tmp_path / "rare.npz", **arrays, train_labels=labels * 1, test_labels=labels * 1)
    chosen = run.Recipe(
        dataset=f"npz:{tmp_path}/rare.npz",
        model="mlp_300",
        class_weights="balanced",
        balance=1.0,
        validation_split="",
    )
    made = run.TASKS["classification"].make_experiment(chosen)
    batch = {"label": jnp.array([0, 1]), "mask": jnp.ones(2)}
    mean = made.task.loss(jnp.zeros((2, 2)), batch)["cross_entropy"]
    assert mean.weight == pytest.approx(20 / 36 + 20 / 4)
    assert made.train[0]["label"][:20].mean() == pytest.approx(0.5, abs=0.26)


def test_stages_nearer_to_the_input_learn_more_slowly():
    image = jax.ShapeDtypeStruct((1, 8, 8, 1), jnp.float32)
    model = models.create("resnet8", num_classes=10)
    stages, names = stage_of_parameters(model, image)
    assert names == ["layer1", "layer2", "layer3"]
    assert {number for path, number in stages.items() if path.startswith("layer2")} == {1}
    assert not [path for path in stages if path.startswith("fc")]
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes["params"])
    assert set(stages) | {"fc/kernel", "fc/bias"} == {
        "/".join(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(params)
    }
    # a detector is divided as its backbone is
    detector = models.create("detector_small", num_classes=3)
    found, _ = stage_of_parameters(detector, jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32))
    assert all(path.startswith("backbone/") for path in found)

    recipe = run.Recipe(layer_decay=0.5, learning_rate=1.0, weight_decay=0.0, momentum=0.0,
                        nesterov=False)  # fmt: skip
    factors = {path: 0.5 ** (len(names) - number) for path, number in stages.items()}
    tx = optimizer_of(recipe, lambda step: 1.0, frozenset(), factors)
    ones = jax.tree.map(np.ones_like, params)
    updates = tx.update(ones, tx.init(params), params)[0]
    assert updates["fc"]["kernel"].max() == -1.0
    assert updates["layer3_0"]["conv1"]["kernel"].max() == -0.5
    assert updates["conv1"]["kernel"].max() == -0.125
