"""The figures of segmentation against scikit-learn and brute force; the losses against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics

from cnn_jax import losses
from cnn_jax.tasks import segmentation
from cnn_jax.train import evaluation, layout, state, step
from cnn_jax.typing import Observed

K = 5
NAMES = [f"c{i}" for i in range(K)]


def random_set(seed, pictures=11, absent=()):
    """Logits and labels of a whole set, with ignored pixels; classes in `absent` never occur."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(pictures, 6, 7, K)).astype(np.float32)
    label = rng.integers(0, K, (pictures, 6, 7))
    for k in absent:
        label[label == k] = 0
        logits[..., k] = -9
    label[rng.random(label.shape) < 0.2] = losses.IGNORE
    label[3] = losses.IGNORE  # a void picture
    return logits, label.astype(np.uint8)


def brute_force(logits, label):
    """Every figure by loops over the classes, from its definition."""
    predicted, kept = logits.argmax(-1), label != losses.IGNORE
    ious, recalls = {}, []
    for k in range(K):
        truth, guess = kept & (label == k), kept & (predicted == k)
        union = (truth | guess).sum()
        ious[f"iou/c{k}"] = (truth & guess).sum() / union if union else np.nan
        if truth.any():
            recalls.append((truth & guess).sum() / truth.sum())
    return {
        "mean_iou": np.nanmean(list(ious.values())),
        "pixel_accuracy": (predicted == label)[kept].mean(),
        "mean_accuracy": np.mean(recalls),
        "loss": sklearn.metrics.log_loss(
            label[kept],
            np.asarray(jax.nn.softmax(logits.astype(np.float64)))[kept],
            labels=range(K),
        ),
        **ious,
    }


def observed_in_batches(task, logits, label, batch_size):
    sums = {}
    for start in range(0, len(label), batch_size):
        part = slice(start, start + batch_size)
        real = len(label[part])
        pad = [(0, batch_size - real)]
        batch = {
            "label": np.pad(label[part], pad + [(0, 0)] * 2),
            "mask": np.pad(np.ones(real, np.float32), pad),
        }
        outputs = np.pad(logits[part], pad + [(0, 0)] * 3, constant_values=np.nan)
        for name, value in task.observe(jnp.asarray(outputs), batch).sums.items():
            sums[name] = sums.get(name, 0) + np.asarray(value, np.float64)
    return Observed(sums, {})


@pytest.mark.parametrize("absent", [(), (2,), (0, 4)])
@pytest.mark.parametrize("batch_size", [1, 4, 16])
def test_every_figure_is_the_brute_force_one(absent, batch_size):
    logits, label = random_set(len(absent), absent=absent)
    task = segmentation.segmentation(NAMES)
    observed = observed_in_batches(task, logits, label, batch_size)
    kept = label != losses.IGNORE
    confusion = sklearn.metrics.confusion_matrix(
        label[kept], logits.argmax(-1)[kept], labels=range(K)
    )
    np.testing.assert_array_equal(observed.sums["confusion"], confusion)
    figures = task.report(observed)
    expected = brute_force(logits, label)
    assert set(figures) == {name for name, value in expected.items() if not np.isnan(value)}
    for name, value in figures.items():
        assert value == pytest.approx(expected[name], rel=1e-5), name


@pytest.mark.parametrize("name", layout.LAYOUTS)
@pytest.mark.parametrize("devices", [1, 8])
def test_the_same_on_any_number_of_devices(name, devices):
    import flax.linen as nn

    class Replay(nn.Module):
        """Its input is its output."""

        axis_name: str | None = None

        @nn.compact
        def __call__(self, x, *, train):
            return x * self.param("one", nn.initializers.ones, ())

    logits, label = random_set(7)
    task = segmentation.segmentation(NAMES)
    where = layout.make_layout(name, jax.devices()[:devices])
    evaluate = where.compile_eval(step.make_eval_step(Replay(), task, axis_name=where.axis_name))
    import optax

    now = state.state_from({"params": {"one": jnp.ones(())}}, optax.sgd(0.1), ema=False)
    batches = [
        {
            "image": logits[i : i + 4],
            "label": label[i : i + 4],
            "mask": np.ones(len(label[i : i + 4]), np.float32),
        }
        for i in range(0, len(label), 4)
    ]
    observed = evaluation.evaluate(evaluate, where.replicate(now), batches, where)
    figures, expected = task.report(observed), brute_force(logits, label)
    for figure in ("mean_iou", "pixel_accuracy", "mean_accuracy", "loss"):
        assert figures[figure] == pytest.approx(expected[figure], rel=1e-5), figure


def test_nothing_but_void_has_no_figures():
    figures = segmentation.summary(np.zeros((K, K)), NAMES)
    assert all(np.isnan(value) for value in figures.values())


def test_the_loss_is_pytorchs_weighted_cross_entropy():
    torch = pytest.importorskip("torch")
    logits, label = random_set(3)
    weights = np.array([0.5, 1, 2, 0, 3], np.float32)
    theirs = torch.nn.functional.cross_entropy(
        torch.from_numpy(logits).permute(0, 3, 1, 2),
        torch.from_numpy(label.astype(np.int64)),
        weight=torch.from_numpy(weights),
        ignore_index=255,
    )
    ours = losses.pixel_cross_entropy(
        jnp.asarray(logits), label, mask=np.ones(len(label)), class_weights=weights
    )
    np.testing.assert_allclose(ours.total / ours.weight, theirs.item(), rtol=1e-5)


def test_padding_counts_in_no_loss():
    logits, label = random_set(4)
    mask = np.ones(len(label), np.float32)
    for loss in (losses.pixel_cross_entropy, losses.dice):
        whole = loss(jnp.asarray(logits), label, mask=mask)
        padded = loss(
            jnp.pad(logits, [(0, 2)] + [(0, 0)] * 3, constant_values=jnp.nan),
            np.pad(label, [(0, 2)] + [(0, 0)] * 2),
            mask=np.pad(mask, (0, 2)),
        )
        np.testing.assert_allclose(padded, whole, rtol=1e-6)


def test_dice_by_brute_force():
    logits, label = random_set(5, absent=(1,))
    probabilities = np.asarray(jax.nn.softmax(logits))
    scores = []
    for p, truth in zip(probabilities, label, strict=True):
        kept = truth != losses.IGNORE
        classes = np.unique(truth[kept])
        if len(classes):
            dice = [
                2 * p[kept & (truth == k)][:, k].sum()
                / ((p[kept][:, k] ** 2).sum() + (truth[kept] == k).sum())
                for k in classes
            ]  # fmt: skip
            scores.append(1 - np.mean(dice))
    ours = losses.dice(jnp.asarray(logits), label, mask=np.ones(len(label)))
    assert ours.weight == len(scores) == len(label) - 1  # one picture is void
    np.testing.assert_allclose(ours.total, np.sum(scores), rtol=1e-5)


def test_a_perfect_prediction_has_no_dice_loss_and_a_wrong_one_a_whole_one():
    label = np.array([[[0, 1], [2, 255]]], np.uint8)
    right = 50.0 * jax.nn.one_hot(label, K)
    assert losses.dice(right, label, mask=np.ones(1)).total == pytest.approx(0, abs=1e-5)
    wrong = 50.0 * jax.nn.one_hot((label + 1) % 3, K)
    assert losses.dice(wrong, label, mask=np.ones(1)).total == pytest.approx(1, abs=1e-5)


def test_the_gradients_are_finite_for_a_void_batch():
    logits = jnp.ones((2, 3, 3, K))
    label = np.full((2, 3, 3), 255, np.uint8)
    for loss in (losses.pixel_cross_entropy, losses.dice):
        gradient = jax.grad(lambda x, loss=loss: loss(x, label, mask=np.ones(2)).total)(logits)
        np.testing.assert_array_equal(gradient, 0)


def test_losses_of_the_task_and_its_auxiliary_head():
    logits, label = random_set(6)
    batch = {"label": label, "mask": np.ones(len(label), np.float32)}
    task = segmentation.segmentation(NAMES, loss="cross_entropy+dice")
    outputs = {"logits": jnp.asarray(logits), "aux": jnp.asarray(logits)}
    means = task.loss(outputs, batch)
    assert set(means) == {"cross_entropy", "dice", "aux_cross_entropy", "aux_dice"}
    for name in ("cross_entropy", "dice"):
        np.testing.assert_allclose(means[f"aux_{name}"].total, 0.5 * means[name].total)


def test_scores_of_the_middle_meet_the_labels_of_the_middle():
    label = np.arange(48).reshape(1, 6, 8)
    np.testing.assert_array_equal(
        segmentation.central(label, np.zeros((1, 2, 4, K))), label[:, 2:4, 2:6]
    )
    with pytest.raises(ValueError, match="cannot be those of the middle"):
        segmentation.central(label, np.zeros((1, 3, 4, K)))


def test_errors():
    with pytest.raises(ValueError, match="no loss 'mse'; choose one of cross_entropy, dice"):
        segmentation.segmentation(NAMES, loss="mse")
    with pytest.raises(ValueError, match="2 class weights for 5 classes"):
        segmentation.segmentation(NAMES, class_weights=[1, 2])
    with pytest.raises(ValueError, match=r"labels \(2, 3\)"):
        losses.dice(jnp.zeros((2, 3, 3, K)), np.zeros((2, 3)), mask=np.ones(2))
