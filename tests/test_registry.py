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


def test_a_notebook_may_register_its_own_again(losses):
    losses.register("mine", 1, origin="__main__")
    losses.register("mine", 2, origin="__main__")
    assert losses["mine"] == 2
    losses.register("theirs", 1, origin="cnn")
    with pytest.raises(ValueError, match="registered twice: by cnn and by __main__"):
        losses.register("theirs", 1, origin="__main__")


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a:1", 3])
def test_a_name_is_one_word(losses, name):
    with pytest.raises(ValueError, match="cannot be the name of a loss: it must be one word"):
        losses.register(name, 1)


def test_a_value_must_be_of_the_kind():
    functions: Registry = Registry("loss", "losses", wanted="a function", check=callable)
    functions.register("right", len)
    with pytest.raises(ValueError, match="The loss 'wrong' is int; it must be a function"):
        functions.register("wrong", 3)


def test_a_name_is_not_taken_twice(losses):
    with pytest.raises(
        ValueError, match=f"'dice' is registered twice: by elsewhere and by {__name__}"
    ):
        losses.register("dice", 3)
    assert losses["dice"] == 2
