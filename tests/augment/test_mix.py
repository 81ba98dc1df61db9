"""Mixup and cutmix: their distributions, and what they must keep."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from cnn_jax.augment import mix

SPACES = {1: (12,), 2: (8, 10), 3: (4, 5, 6)}
MIXERS = {
    "mixup": partial(mix.mixup, alpha=0.4),
    "cutmix": partial(mix.cutmix, alpha=1.0),
    "either": partial(mix.mixup_or_cutmix, mixup_alpha=0.8, cutmix_alpha=1.0),
}


def batch(count, space=(6, 6), channels=2, classes=5, seed=0):
    keys = jax.random.split(jax.random.key(seed), count)
    images = jax.random.uniform(jax.random.key(seed + 1), (count, *space, channels))
    labels = jax.random.randint(jax.random.key(seed + 2), (count,), 0, classes)
    return keys, images, jax.nn.one_hot(labels, classes)


def shares(function, count=4000, space=(1, 1), **options):
    """lam of the first member of each pair: images all 1 paired with images all 0."""
    keys, _, _ = batch(count)
    ones = jnp.tile(jnp.array([1.0, 0.0]), count // 2)
    images = jnp.broadcast_to(ones.reshape(-1, *[1] * (len(space) + 1)), (count, *space, 1))
    targets = jnp.stack([ones, 1 - ones], axis=1)
    mixed, soft = jax.jit(partial(function, **options))(keys, images, targets)
    return np.asarray(mixed)[0::2], np.asarray(soft)[0::2, 0]


@pytest.mark.parametrize("rank", SPACES)
@pytest.mark.parametrize("name", MIXERS)
def test_means_are_preserved(name, rank):
    keys, images, targets = batch(16, SPACES[rank])
    mixed, soft = jax.jit(MIXERS[name])(keys, images, targets)
    np.testing.assert_allclose(mixed.mean(0), images.mean(0), atol=1e-6)
    np.testing.assert_allclose(soft.mean(0), targets.mean(0), atol=1e-6)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)
    assert (mixed != images).any()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_proportion_is_beta_and_is_that_of_the_targets(alpha):
    mixed, share = shares(mix.mixup, alpha=alpha)
    np.testing.assert_allclose(mixed[:, 0, 0, 0], share, atol=1e-6)
    assert stats.kstest(share, stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("rank", SPACES)
def test_cutmix_target_is_the_share_of_pixels_exactly(rank):
    mixed, share = shares(mix.cutmix, count=400, space=SPACES[rank], alpha=1.0)
    kept = (mixed == 1).reshape(len(mixed), -1)
    assert ((mixed == 1) | (mixed == 0)).all()
    np.testing.assert_allclose(share, kept.mean(1), rtol=1e-6)  # a count over a count
    assert np.unique(share).size > 10


def test_cutmix_swaps_one_box_of_the_images_proportions():
    mixed, _ = shares(mix.cutmix, count=400, space=(20, 40), alpha=1.0)
    inner = 0
    for swapped in mixed[..., 0] == 0:
        rows, columns = np.flatnonzero(swapped.any(1)), np.flatnonzero(swapped.any(0))
        if not rows.size:
            continue
        assert swapped.sum() == rows.size * columns.size  # a full rectangle
        assert np.ptp(rows) + 1 == rows.size
        assert np.ptp(columns) + 1 == columns.size
        if rows[0] > 0 and rows[-1] < 19 and columns[0] > 0 and columns[-1] < 39:
            assert abs(columns.size - 2 * rows.size) <= 1  # not cut off: twice as wide as high
            inner += 1
    assert inner > 20


def test_cutmix_area_follows_the_paper_after_it_is_cut_off():
    """Against numpy's simulation of the rule: lam uniform, centre uniform, clipped."""
    _, share = shares(mix.cutmix, count=4000, space=(999,), alpha=1.0)
    rng = np.random.default_rng(0)
    side, centre = rng.beta(1, 1, 200_000), rng.random(200_000)
    want = 1 - (np.minimum(centre + side / 2, 1) - np.maximum(centre - side / 2, 0))
    assert stats.ks_2samp(share, want).pvalue > 1e-3


def test_members_of_a_pair_complement_each_other():
    for mixer in MIXERS.values():
        keys, images, _ = batch(8)
        mixed, soft = jax.jit(mixer)(keys, images, jnp.eye(8))
        for a in range(0, 8, 2):
            np.testing.assert_allclose(
                mixed[a] + mixed[a + 1], images[a] + images[a + 1], atol=1e-6
            )
            assert np.flatnonzero(soft[a]).tolist() in ([a], [a + 1], [a, a + 1])
            np.testing.assert_allclose(soft[a, a], soft[a + 1, a + 1], atol=1e-6)


def test_the_layout_does_not_matter():
    """A pair comes out the same alone, in another place, and split over two devices."""
    args = batch(8)
    for name, mixer in MIXERS.items():
        run = jax.jit(mixer)
        together = run(*args)
        order = jnp.array([4, 5, 0, 1, 6, 7, 2, 3])
        moved = run(*(a[order] for a in args))
        np.testing.assert_allclose(moved[0], together[0][order], atol=1e-6, err_msg=name)
        np.testing.assert_allclose(moved[1], together[1][order], atol=1e-6, err_msg=name)
    alone = run(*(a[2:4] for a in args))
    np.testing.assert_allclose(alone[0], together[0][2:4], atol=1e-6)
    split = jax.pmap(mixer, devices=jax.devices()[:2])(
        *(a.reshape(2, 4, *a.shape[1:]) for a in args)
    )
    np.testing.assert_allclose(split[0].reshape(args[1].shape), together[0], atol=1e-6)
    np.testing.assert_allclose(split[1].reshape(args[2].shape), together[1], atol=1e-6)


def test_probability_and_switch():
    keys, images, targets = batch(2000, space=(4, 4), channels=1)
    same, _ = mix.mixup(keys, images, targets, alpha=1.0, probability=0.0)
    np.testing.assert_array_equal(same, images)
    same, _ = mix.cutmix(keys, images, targets, alpha=1.0, probability=0.0)
    np.testing.assert_array_equal(same, images)
    half, _ = mix.mixup(keys, images, targets, alpha=1.0, probability=0.5)
    changed = int((half != images).any(axis=(1, 2, 3))[0::2].sum())
    assert stats.binomtest(changed, 1000, 0.5).pvalue > 1e-3
    # Mixed pixels are neither the one nor the other; cut ones are one of the two.
    either, _ = mix.mixup_or_cutmix(
        keys, images, targets, mixup_alpha=1.0, cutmix_alpha=1.0, switch_probability=0.3
    )
    partner = images.reshape(-1, 2, *images.shape[1:])[:, ::-1].reshape(images.shape)
    cut = ((either == images) | (either == partner)).all(axis=(1, 2, 3))[0::2]
    assert stats.binomtest(int(cut.sum()), 1000, 0.3).pvalue > 1e-3


def test_an_alpha_of_zero_turns_one_off():
    args = batch(6)
    both_off = mix.mixup_or_cutmix(*args, mixup_alpha=0, cutmix_alpha=0)
    np.testing.assert_array_equal(both_off[0], args[1])
    for off, want in (
        ({"mixup_alpha": 0, "cutmix_alpha": 1.0}, mix.cutmix(*args, alpha=1.0)),
        ({"mixup_alpha": 0.4, "cutmix_alpha": 0}, mix.mixup(*args, alpha=0.4)),
    ):
        got = mix.mixup_or_cutmix(*args, **off)
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])


def test_bfloat16_images_keep_their_dtype():
    keys, images, targets = batch(4)
    for mixer in MIXERS.values():
        mixed, soft = jax.eval_shape(mixer, keys, images.astype(jnp.bfloat16), targets)
        assert mixed.dtype == jnp.bfloat16
        assert soft.dtype == jnp.float32


def test_extreme_uniform_numbers_make_no_nan():
    corners = jnp.array([0.0, 1e-30, 0.25, 0.5, 1 - 2**-24])
    grid = jnp.stack(jnp.meshgrid(corners, corners, corners), -1).reshape(-1, 3)
    for alpha in (1e-3, 0.1, 1.0, 100.0):
        share = mix._symmetric_beta(grid, alpha)
        assert ((share >= 0) & (share <= 1)).all()


class Variants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_eager_and_jitted(self):
        keys, images, targets = batch(4)
        for name, mixer in MIXERS.items():
            got = self.variant(mixer)(keys, images, targets)
            want = jax.jit(mixer)(keys, images, targets)
            np.testing.assert_allclose(got[0], want[0], atol=1e-6, err_msg=name)


def test_bad_input_is_named():
    keys, images, targets = batch(4)
    with pytest.raises(ValueError, match="3 examples do not form pairs"):
        mix.mixup(keys[:3], images[:3], targets[:3], alpha=1.0)
    with pytest.raises(ValueError, match="alpha must be positive"):
        mix.cutmix(keys, images, targets, alpha=0.0)
    with pytest.raises(ValueError, match="one_hot"):
        mix.mixup(keys, images, jnp.zeros(4, jnp.int32), alpha=1.0)
    with pytest.raises(ValueError, match="4 keys, 2 images"):
        mix.mixup(keys, images[:2], targets, alpha=1.0)
