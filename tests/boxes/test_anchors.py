"""Anchors against hand-worked boxes and torchvision's generators."""

import numpy as np
import pytest

from cnn_jax.boxes import anchors as A


def test_one_place_by_hand():
    """Area 32^2, ratio 1/2: 45.25 wide, 22.63 high, halves rounded to 23 and 11."""
    got = A.grid_anchors((64, 96), [(2, 3)], sizes=[(32,)])
    assert got.shape == (2 * 3 * 3, 4)
    assert got[:3].tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    assert got[3].tolist() == [32 - 23, -11, 32 + 23, 11]  # the next place to the right
    assert got[9 + 1].tolist() == [-16, 16, 16, 48]  # the first of the second row


def test_default_boxes_by_hand():
    got = A.default_boxes((100, 200), [(1, 2)], ratios=[(4,)], scales=(0.25, 0.36))
    assert got.shape == (2 * 4, 4)
    # Centres at a quarter of the width; sides 0.25, then 0.3, then 0.5 x 0.125 and 0.125 x 0.5.
    np.testing.assert_allclose(got[0], [50 - 25, 50 - 12.5, 50 + 25, 50 + 12.5], rtol=1e-6)
    np.testing.assert_allclose(got[1], [50 - 30, 50 - 15, 50 + 30, 50 + 15], rtol=1e-6)
    np.testing.assert_allclose(got[2], [50 - 50, 50 - 6.25, 50 + 50, 50 + 6.25], rtol=1e-6)
    np.testing.assert_allclose(got[3], [50 - 12.5, 50 - 25, 50 + 12.5, 50 + 25], rtol=1e-6)


def test_ssd300_has_8732_boxes():
    """Liu 2016, section 3.1 and table 7."""
    grids = [(n, n) for n in (38, 19, 10, 5, 3, 1)]
    got = A.default_boxes(
        (300, 300), grids, ratios=A.SSD300_RATIOS, scales=A.SSD300_SCALES, steps=A.SSD300_STEPS
    )
    assert len(got) == 8732


def test_levels_must_agree():
    with pytest.raises(ValueError, match="2 levels and sizes for 1: give"):
        A.grid_anchors((64, 64), [(8, 8), (4, 4)], sizes=[(32,)])
    with pytest.raises(ValueError, match=r"1 levels and 2 scales"):
        A.default_boxes((64, 64), [(8, 8)], ratios=[(2,)], scales=(0.1, 0.2, 0.3))


@pytest.mark.parametrize(
    ("sizes", "ratios", "levels"),
    [
        (A.RETINANET_SIZES, A.RATIOS, 5),
        (A.FASTER_RCNN_FPN_SIZES, A.RATIOS, 5),
        (A.FASTER_RCNN_MOBILENET_SIZES, A.RATIOS, 3),
    ],
)
def test_grids_equal_torchvision(sizes, ratios, levels):
    torch = pytest.importorskip("torch")
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.image_list import ImageList

    image_size = (224, 320)
    grids = [(-(-224 // 2**k), -(-320 // 2**k)) for k in range(3, 3 + levels)]
    images = ImageList(torch.zeros(1, 3, *image_size), [image_size])
    generator = AnchorGenerator(sizes, (tuple(ratios),) * levels)
    want = generator(images, [torch.zeros(1, 1, *g) for g in grids])[0]
    got = A.grid_anchors(image_size, grids, sizes=sizes, ratios=ratios)
    np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.parametrize("lite", [False, True])
def test_default_boxes_equal_torchvision(lite):
    torch = pytest.importorskip("torch")
    from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
    from torchvision.models.detection.image_list import ImageList

    if lite:
        size, sides = 320, (20, 10, 5, 3, 2, 1)
        theirs = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
        ours = {"ratios": A.SSDLITE_RATIOS, "scales": A.SSDLITE_SCALES}
    else:
        size, sides = 300, (38, 19, 10, 5, 3, 1)
        theirs = DefaultBoxGenerator(
            [list(r) for r in A.SSD300_RATIOS],
            scales=list(A.SSD300_SCALES),
            steps=list(A.SSD300_STEPS),
        )
        ours = {"ratios": A.SSD300_RATIOS, "scales": A.SSD300_SCALES, "steps": A.SSD300_STEPS}
    images = ImageList(torch.zeros(1, 3, size, size), [(size, size)])
    want = theirs(images, [torch.zeros(1, 1, n, n) for n in sides])[0]
    got = A.default_boxes((size, size), [(n, n) for n in sides], **ours)
    np.testing.assert_allclose(got, want, atol=1e-3)
