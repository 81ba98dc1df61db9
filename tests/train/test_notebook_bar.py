"""A bar that IPython draws in place."""

import pytest

from cnn_jax.train import notebook_bar
from cnn_jax.train.notebook_bar import NotebookBar


@pytest.fixture
def drawn(monkeypatch):
    """What was drawn: the first by `display`, the others by its handle."""
    pytest.importorskip("IPython", reason="pip install 'cnn-jax[test]'")
    forms = []

    class Handle:
        def update(self, data, raw):
            assert raw
            forms.append(data)

    def display(data, raw, display_id):
        assert raw
        assert display_id
        forms.append(data)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    return forms


def test_it_is_drawn_in_place_now_and_then_and_in_the_end(drawn, monkeypatch):
    now = iter([0.0, 0.1, 0.3, 0.3, 0.35, 9.0])
    monkeypatch.setattr(notebook_bar.time, "monotonic", lambda: next(now))
    bar = NotebookBar(10, 2, "compiling")
    bar.update(bar.task_ids[0], completed=3)  # too soon
    bar.update(bar.task_ids[0], completed=4, figures="loss <1>")
    bar.update(bar.task_ids[0], completed=10)  # too soon
    bar.stop()
    assert [form["text/plain"] for form in drawn] == [
        "step 2/10  compiling",
        "step 4/10  loss <1>",
        "step 10/10  loss <1>",
    ]
    assert drawn[1]["text/html"] == (
        '<progress value="4" max="10"></progress> step 4/10  loss &lt;1&gt;'
    )
