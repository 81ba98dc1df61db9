"""Bytes cut short, changed, lost and inserted; and what may come of reading them."""

from hypothesis import strategies as st

from cnn_jax.data import DataError

PIECES = (
    *(text.encode() for text in (
        ",", ";", "\t", '"', "\n", "\r", "\0", "nan", "1e999", "-", ":", "{", "[", "}", "<", ">",
        "&", "..", "/", "0", "9" * 400, " ", "\ufeff", "null", "é", "猫", "#",
    )),
    "猫".encode("gb18030"), "猫".encode("utf-16"), b"\xff", b"\xff\xd9", b"\xff\xd8", bytes(12),
)  # fmt: skip

_PLACE = st.floats(0, 1, exclude_max=True)
_CHANGES = st.one_of(
    st.tuples(st.just("cut"), _PLACE),
    st.tuples(st.just("change"), st.lists(st.tuples(_PLACE, st.integers(0, 255)), min_size=1,
                                          max_size=6)),
    st.tuples(st.just("lose"), _PLACE, st.integers(1, 12)),
    st.tuples(st.just("insert"), _PLACE, st.sampled_from(PIECES)),
    st.tuples(st.just("append"), st.one_of(st.binary(max_size=40), st.sampled_from(PIECES))),
)  # fmt: skip
DAMAGES = st.one_of(st.just(()), st.lists(_CHANGES, min_size=1, max_size=3).map(tuple))


def damaged(data: bytes, changes) -> bytes:
    """The bytes after some of DAMAGES, in order."""
    for kind, *what in changes:
        place = int(what[0] * len(data)) if kind in ("cut", "lose", "insert") else 0
        if kind == "cut":
            data = data[:place]
        elif kind == "change" and data:
            spoiled = bytearray(data)
            for share, value in what[0]:
                spoiled[int(share * len(data))] = value
            data = bytes(spoiled)
        elif kind == "lose":
            data = data[:place] + data[place + what[1] :]
        elif kind == "insert":
            data = data[:place] + what[1] + data[place:]
        elif kind == "append":
            data += what[0]
    return data


def one_line(error: DataError, *names: str) -> None:
    """The message of an error is a line that can be printed, and has one of the names."""
    text = str(error)
    assert "\n" not in text
    assert len(text) < 2500
    text.encode()
    assert any(name in text for name in names), text
