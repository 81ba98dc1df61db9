"""Weights files made to hang or to fill the memory: each is one line within seconds."""

import contextlib
import io
import os
import pickle
import signal
import struct
import zipfile

import numpy as np
import pytest

from cnn_jax import weights
from cnn_jax.weights import files, pickle_machine, pth
from cnn_jax.weights.errors import WeightsError

SECONDS = 20  # of a busy machine; what hangs would never end
pytestmark = pytest.mark.timeout(60, method="thread")  # for what no signal interrupts
LONGEST = 600  # characters of a message


@contextlib.contextmanager
def within(seconds=SECONDS):
    """Raises TimeoutError in the block after that many seconds of the clock."""

    def late(*_):
        raise TimeoutError(f"still busy after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def zipped(path, pickled, entries=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in entries:
            archive.writestr(f"archive/{name}", data)
    return path


def doubled(times, kind="tuple"):
    """Instructions that leave one object of 2**times leaves, shared, in some ten bytes each."""
    pair = b"\x86" if kind == "tuple" else b"l"
    program = b"K\x01"
    for i in range(times):
        if kind == "tuple":
            program += b"q%ch%c%s" % (i, i, pair)
        else:
            program += b"q%c]h%ca" % (i, i) + b"h%ca" % i
    return program


PROTOCOL = b"\x80\x02"
BIG = b"\x8b" + struct.pack("<I", 100_000) + b"\x01" * 100_000  # LONG4, a number of 800,000 bits

REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"


def tensor(storage, offset=b"K\x00", shape=b"K\x02\x85", strides=b"K\x01\x85"):
    return REBUILD + b"(" + storage + offset + shape + strides + b"\x89}tR"


# What is read of them stands in a message, is hashed, is copied or is walked through.
PROGRAMS = {
    "a shared tree is called": doubled(60) + b")R.",
    "a shared tree where a dict is wanted": doubled(60) + b"K\x01K\x02s.",
    "a shared tree is built into": doubled(60) + b"}b.",
    "a shared list is built into": doubled(60, "list") + b"}b.",
    "a shared tree is a module's name": doubled(60) + b"X\x01\x00\x00\x00a\x93.",
    "a shared tuple is a key": b"}" + doubled(60) + b"K\x01s.",
    "a shared tuple is one of many keys": b"}(" + doubled(60) + b"K\x01u.",
    "a shared tuple is the key of an OrderedDict": (
        b"ccollections\nOrderedDict\n](" + doubled(60) + b"K\x01\x86e\x85R."
    ),
    "a shared tuple is the key of a storage": b"}X\x01\x00\x00\x00w"
    + tensor(STORAGE.replace(b"X\x01\x00\x00\x000", doubled(60)) + b"K\x02tQ")
    + b"s.",
    "a shared tuple for a number of elements": b"}X\x01\x00\x00\x00w"
    + tensor(STORAGE + doubled(60) + b"tQ")
    + b"s.",
    "a shared tuple for the kind of a storage": b"}X\x01\x00\x00\x00w"
    + tensor(b"(" + doubled(60) + STORAGE[13:] + b"K\x02tQ")
    + b"s.",
    "a shared tuple in a shape": tensor(STORAGE + b"K\x02tQ", shape=doubled(60) + b"\x85") + b".",
    "a shared tuple for an offset": tensor(STORAGE + b"K\x02tQ", offset=doubled(60)) + b".",
    "a shared tuple for hooks": REBUILD
    + b"("
    + STORAGE
    + b"K\x02tQK\x00K\x02\x85K\x01\x85\x89}"
    + doubled(60)
    + b"tR.",
    "a number without end": BIG + b"}b.",
    "a number without end as a key": b"}" + BIG + b"q\x00" + b"h\x00K\x01s" * 50_000 + b".",
    "a size beyond the file": b"\x8b\xff\xff\xff\x7fabc.",
    "a string beyond the file": b"\x8d" + b"\xff" * 7 + b"\x7fabc.",
    "marks without end": b"(" * 100_000 + b"K\x01" * 100_000 + b"t" * 100_001 + b".",
    "lists in lists": b"]" * 100_000 + b"a" * 99_999 + b".",
    "tuples in tuples": b")" + b"\x85" * 100_000 + b".",
    "one list copied again and again": b"ctorch\nSize\nq\x00](" + b"K\x01" * 50_000 + b"e\x85q\x01"
    + b"h\x00h\x01R" * 50_000 + b".",
    "one dict copied again and again": b"ccollections\nOrderedDict\nq\x00}("
    + b"".join(b"M" + struct.pack("<H", i) + b"K\x01" for i in range(50_000))
    + b"u\x85q\x01" + b"h\x00h\x01R" * 50_000 + b".",
    "a tensor of many axes": tensor(
        STORAGE + b"K\x02tQ", shape=b"(" + b"K\x01" * 70_000 + b"t",
        strides=b"(" + b"K\x01" * 70_000 + b"t"
    ) + b".",
    "no element of a large shape": b"}X\x01\x00\x00\x00w"
    + tensor(STORAGE + b"K\x02tQ", shape=b"K\x00\x8a\x08" + b"\xff" * 7 + b"\x7f\x86",
             strides=b"K\x01K\x01\x86")
    + b"s.",
}  # fmt: skip


@pytest.mark.parametrize("container", ["zip", "sequential"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_pickle_that_would_take_for_ever(tmp_path, name, container):
    path = tmp_path / "a.pth"
    program = PROTOCOL + PROGRAMS[name]
    if container == "zip":
        zipped(path, program, [("data/0", bytes(8))])
    else:
        header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]
        storages = pickle.dumps(["0"], 2) + struct.pack("<Q", 2) + bytes(8)
        path.write_bytes(b"".join(pickle.dumps(part, 2) for part in header) + program + storages)
    with within(), pytest.raises(WeightsError, match=r"a\.pth: ") as caught:
        files.read(path)
    assert len(str(caught.value)) < LONGEST


def test_marks_are_found_at_once():
    """Looking for the newest mark in a copy of the stack took time with the square of its size."""
    program = PROTOCOL + b"K\x01" * 200_000 + b"(t" * 100_000 + b"."
    with within(), contextlib.suppress(WeightsError):
        pickle_machine.load(io.BytesIO(program))


@pytest.mark.parametrize("keys", ["a shared tree", "numbers"])
def test_the_storages_of_the_older_format(tmp_path, keys):
    header = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {}]
    path = tmp_path / "a.pth"
    last = PROTOCOL + (
        b"](" + doubled(60) + b"e." if keys == "a shared tree" else doubled(60) + b"."
    )
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in header) + last)
    with within(), pytest.raises(WeightsError, match=r"a\.pth: .*storage"):
        files.read(path)


def test_a_protocol_version_that_is_a_shared_tree(tmp_path):
    path = tmp_path / "a.pth"
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    path.write_bytes(magic + PROTOCOL + doubled(60) + b".")
    with within(), pytest.raises(WeightsError, match=r"a\.pth: protocol version a tuple"):
        files.read(path)


def test_a_zip_whose_entry_has_a_name_without_end(tmp_path):
    """zipfile shows it whole."""
    path = zipped(tmp_path / "a.pth", pickle.dumps({}, 2), [("data/0", bytes(60_000))])
    whole = bytearray(path.read_bytes())
    at = whole.index(b"PK\x03\x04", 4)
    whole[at + 26 : at + 28] = struct.pack("<H", 50_000)
    at = whole.index(b"PK\x03\x04")
    whole[at + 26 : at + 28] = struct.pack("<H", 50_000)
    path.write_bytes(bytes(whole))
    with within(), pytest.raises(WeightsError, match=r"a\.pth: ") as caught:
        files.read(path)
    assert len(str(caught.value)) < LONGEST


def test_a_safetensors_entry_with_a_name_without_end(tmp_path):
    path = tmp_path / "a.safetensors"
    entry = b'{"%s":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}' % (b"x" * 100_000)
    path.write_bytes(safetensors(entry, bytes(8)))
    with within(), pytest.raises(WeightsError, match=r"a\.safetensors: ") as caught:
        files.read(path)
    assert len(str(caught.value)) < LONGEST


def test_a_state_dict_whose_names_are_hostile(tmp_path):
    """A key that is no string stands in a message."""
    for key in (b"N", b"K\x07", b"X\x02\x00\x01\x00" + b"x" * 65538):
        path = zipped(tmp_path / "a.pth", PROTOCOL + b"}" + key + b"K\x01s.")
        with within(), pytest.raises(WeightsError, match=r"a\.pth: ") as caught:
            files.read(path)
        assert len(str(caught.value)) < LONGEST


def test_entries_that_share_their_bytes(tmp_path):
    """10,000 storages of which each is the same megabyte: 10 GB out of a file of two."""
    keys = [b"%04d" % i for i in range(10_000)]
    program = PROTOCOL + b"}("
    for key in keys:
        storage = STORAGE.replace(b"X\x01\x00\x00\x000", b"X\x04\x00\x00\x00" + key)
        program += b"X\x04\x00\x00\x00" + key + tensor(storage + b"J\x00\x00\x04\x00tQ")
    path = zipped(tmp_path / "a.pth", program + b"u.", [("data/0", bytes(2**20))])
    whole = path.read_bytes()
    end, record = whole.rindex(b"PK\x05\x06"), whole.rindex(b"PK\x01\x02")
    (start,) = struct.unpack("<I", whole[end + 16 : end + 20])
    named = bytearray(whole[record:end].replace(b"data/0", b"data/0000"))
    named[28:30] = struct.pack("<H", len(b"archive/data/0000"))
    directory = whole[start:record] + b"".join(named[:-4] + key for key in keys)
    tail = bytearray(whole[end:])
    tail[8:12] = struct.pack("<HH", 10_001, 10_001)
    tail[12:16] = struct.pack("<I", len(directory))
    path.write_bytes(whole[:start] + directory + tail)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 10_001
    with (
        within(),
        pytest.raises(WeightsError, match=r"are larger than the file|File name in|Overl"),
    ):
        pth.read(path)


@pytest.mark.parametrize("name", ["archive/data/0", "other/data/0", "archive/data.pkl"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name(tmp_path, name):
    """The last was taken, without a word."""
    program = PROTOCOL + b"}X\x01\x00\x00\x00w" + tensor(STORAGE + b"K\x02tQ") + b"s."
    path = zipped(tmp_path / "a.pth", program, [("data/0", bytes(8))])
    assert files.read(path).tensors["w"].shape == (2,)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, bytes(8))
    with pytest.raises(WeightsError, match=r"a\.pth: two entries .* have one name"):
        files.read(path)


@pytest.mark.parametrize("compress", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_bomb_of_a_zip(tmp_path, compress):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("archive/data.pkl", bytes(20 * 2**20))
    with within(), pytest.raises(WeightsError, match="is compressed"):
        files.read(path)


def test_an_entry_that_claims_to_be_larger_than_the_file(tmp_path):
    path = zipped(tmp_path / "a.pth", pickle.dumps({}, 2))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", 2**31 - 1, 2**31 - 1)
    path.write_bytes(bytes(data))
    with within(), pytest.raises(WeightsError, match=r"larger than the file|Overlapped"):
        files.read(path)
    # zipfile would take the memory for the compressed size, here of 2 GB
    data[at + 24 : at + 28] = struct.pack("<I", len(pickle.dumps({}, 2)))
    path.write_bytes(bytes(data))
    with within(), pytest.raises(WeightsError, match=r"is compressed|Overlapped"):
        files.read(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (os.mkfifo, "a pipe"),
        (lambda path: path.mkdir(), "a directory"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
    ],
    ids=["pipe", "directory", "device"],
)
def test_what_is_no_file(tmp_path, make, what, suffix):
    path = tmp_path / f"a{suffix}"
    make(path)
    with within(), pytest.raises(WeightsError, match=rf"{path}: {what}"):
        files.read(weights.locate(str(path)).path)
    with within(), pytest.raises(WeightsError, match=rf"{path}: {what}"):
        pth.read(path)


def safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


@pytest.mark.parametrize(
    "content",
    [
        safetensors(b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        safetensors(b'{"w":' * 100_000 + b"1" + b"}" * 100_000),
        safetensors(b"{}", length=2**60),
        safetensors(b"{}", length=2**64 - 1),
        safetensors(
            b'{"w":{"dtype":"F32","shape":[%s],"data_offsets":[0,4]}}' % (b"1," * 10**5 + b"1"),
            bytes(4),
        ),
        safetensors(
            b'{"w":{"dtype":"F32","shape":[0,%d],"data_offsets":[0,0]}}' % (2**62), b""
        ),
        safetensors(b'{"w":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', bytes(4)),
        safetensors(b'{"w":{"dtype":"F32","shape":[1e400],"data_offsets":[0,4]}}', bytes(4)),
    ],
    ids=["lists", "objects", "2**60", "2**64", "axes", "no element", "NaN", "infinite"],
)  # fmt: skip
def test_a_safetensors_header_that_is_hostile(tmp_path, content):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with within(), pytest.raises(WeightsError, match=r"a\.safetensors: ") as caught:
        files.read(path)
    assert len(str(caught.value)) < LONGEST


def test_a_safetensors_header_with_a_name_twice(tmp_path):
    """The same bytes are a float and a whole number: the last was taken, without a word."""
    entries = [
        b'"w":{"dtype":"%s","shape":[1],"data_offsets":[0,4]}' % kind for kind in (b"I32", b"F32")
    ]
    path = tmp_path / "a.safetensors"
    path.write_bytes(safetensors(b"{" + entries[1] + b"}", bytes(4)))
    assert list(files.read(path).tensors) == ["w"]
    path.write_bytes(safetensors(b"{" + b",".join(entries) + b"}", bytes(4)))
    with pytest.raises(WeightsError, match=r"a\.safetensors: the header has 'w' twice"):
        files.read(path)


@pytest.mark.parametrize(
    "name",
    ["w", "features.0.weight", "a." * 4_999 + "w", "module." * 1_400 + "w", "." * 9_999, ""],
    ids=["short", "known", "parts", "prefixes", "dots", "empty"],
)
def test_a_file_of_one_tensor(tmp_path, name):
    """The part that all names have in common was left out for ever, until nothing was left, and
    then again."""
    import jax

    from cnn_jax.models import create, load_pretrained

    key = b"X" + struct.pack("<I", len(name)) + name.encode()
    program = PROTOCOL + b"}(" + key + tensor(STORAGE + b"K\x02tQ") + b"u."
    path = zipped(tmp_path / "a.pth", program, [("data/0", bytes(8))])
    model = create("squeezenet1_1", num_classes=10)
    template = jax.eval_shape(
        lambda x: model.init(jax.random.key(0), x, train=False), np.zeros((1, 64, 64, 3), "f4")
    )
    with within(), pytest.raises(WeightsError, match="do not fit the model") as caught:
        load_pretrained(str(path), "squeezenet1_1", model, template=template)
    assert len(str(caught.value)) < 5000


def test_a_safetensors_name_of_a_million_prefixes(tmp_path):
    path = tmp_path / "a.safetensors"
    name = b"module." * 1_000_000 + b"w"
    entry = b'{"%s":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' % name
    path.write_bytes(safetensors(entry, bytes(4)))
    with within(), contextlib.suppress(WeightsError):
        files.read(path)


def test_a_tensor_that_repeats_one_number_without_end(tmp_path):
    """A stride of 0 is a view of any size: it must not be looked at element by element."""
    import jax

    from cnn_jax.models import create, load_pretrained

    huge = b"\x8a\x04" + struct.pack("<I", 2**24)  # 2**48 elements: numpy takes that for a view
    entry = b"X\x11\x00\x00\x00features.0.weight" + tensor(
        STORAGE + b"K\x02tQ", shape=huge + huge + b"\x86", strides=b"K\x00K\x00\x86"
    )
    path = zipped(tmp_path / "a.pth", PROTOCOL + b"}(" + entry + b"u.", [("data/0", bytes(8))])
    model = create("squeezenet1_1", num_classes=10)
    template = jax.eval_shape(
        lambda x: model.init(jax.random.key(0), x, train=False), np.zeros((1, 64, 64, 3), "f4")
    )
    with within(20), pytest.raises((WeightsError, ValueError)):
        load_pretrained(str(path), "squeezenet1_1", model, template=template)
