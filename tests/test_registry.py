"""Tables that others may add to."""

import pytest

from cnn_jax.registry import Registry


@pytest.fixture
def losses():
    registry: Registry[int] = Registry("loss", "losses")
    registry.register("cross_entropy", 1)
    registry.register("dice", 2, origin="elsewhere")
    return registry


def test_values_by_name_in_order_with_their_origin(losses):
    assert dict(losses) == {"cross_entropy": 1, "dice": 2}
    assert losses.origin("cross_entropy") == __name__
    assert losses.origin("dice") == "elsewhere"
    assert "dice" in losses
    assert "focal" not in losses
    assert (losses.get("dice"), losses.get("focal")) == (2, None)


def test_an_unknown_name_is_answered_with_the_nearest(losses):
    with pytest.raises(ValueError) as caught:
        losses["crossentropy"]
    assert str(caught.value) == (
        "There is no loss 'crossentropy'; did you mean cross_entropy? "
        "Known losses: cross_entropy, dice."
    )


def test_a_name_is_not_taken_twice(losses):
    with pytest.raises(
        ValueError, match=f"'dice' is registered twice: by elsewhere and by {__name__}"
    ):
        losses.register("dice", 3)
    assert losses["dice"] == 2
