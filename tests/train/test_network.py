"""Two network namespaces as two hosts: a cable between them, and a name and /etc/hosts of each.

Nothing outside the namespaces is touched, and they are gone at the end.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn_jax.run.workdir import SEEN_WITHIN
from tests.train.test_hosts import environment, final

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent.parent
HEARTBEAT = 6  # seconds
NAMED_WITHIN = 30.0  # seconds from the start of both to the line that says what differs
ADDRESSES = ("10.213.7.1", "10.213.7.2")
PORT = 2345
# As Debian writes it: the own name stands for an address that no other host can reach.
DEBIAN = "127.0.0.1 localhost\n127.0.1.1 {name}\n{others}"
STEPS = 12
FLAGS = (
    "--model=mlp", "--batch_size=32", f"--steps={STEPS}", "--learning_rate=0.05", "--nofigures",
    "--cpu_devices=1", f"--heartbeat={HEARTBEAT}", "--connect_timeout=60", "--log_every=4",
    f"--coordinator={ADDRESSES[0]}:{PORT}", "--process_count=2",
)  # fmt: skip


class Network:
    """Two hosts, host0 and host1, and the cable."""

    def __init__(self, root: Path):
        self.root = root
        self.names = [f"cnn{os.getpid()}-{index}" for index in (0, 1)]
        self.ends = [f"cnn{os.getpid()}v{index}" for index in (0, 1)]
        self.started: list[subprocess.Popen] = []
        for index in (0, 1):
            other = f"{ADDRESSES[1 - index]} host{1 - index}\n"
            self.hosts_file(index).write_text(DEBIAN.format(name=f"host{index}", others=other))

    def hosts_file(self, index: int) -> Path:
        return self.root / f"hosts{index}"

    def up(self) -> None:
        for name in self.names:
            ip("netns", "add", name)
        ends = [
            ["name", end, "netns", name] for end, name in zip(self.ends, self.names, strict=True)
        ]
        ip("link", "add", *ends[0], "type", "veth", "peer", *ends[1])
        for name, end, address in zip(self.names, self.ends, ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", "lo", "up")
        self.plug()

    def plug(self) -> None:
        for name, end in zip(self.names, self.ends, strict=True):
            ip("-n", name, "link", "set", end, "up")

    def cut(self) -> None:
        ip("-n", self.names[0], "link", "set", self.ends[0], "down")

    def down(self) -> None:
        for process in self.started:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        for name in self.names:
            with contextlib.suppress(RuntimeError):
                ip("netns", "delete", name)

    def start(self, index: int, command: list[str], *, first: str = "", **options):
        """Starts a command on a host.

        Args:
            index: of the host.
            command: what to start.
            first: shell commands before it, in a mount namespace of its own.
        """
        shell = (
            f"mount --bind {self.hosts_file(index)} /etc/hosts && hostname host{index} && "
            f'{first or "true"} && exec "$@"'
        )
        where = ["ip", "netns", "exec", self.names[index], "unshare", "--uts"]
        process = subprocess.Popen([*where, "sh", "-c", shell, "sh", *command], **options)
        self.started.append(process)
        return process


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("network namespaces need root on Linux")
    if missing := [name for name in ("ip", "unshare", "mount") if not shutil.which(name)]:
        pytest.skip(f"needs {', '.join(missing)}: iproute2 and util-linux")
    two = Network(tmp_path_factory.mktemp("network"))
    try:
        try:
            two.up()
        except RuntimeError as error:
            pytest.skip(f"this machine allows no network namespaces: {error}")
        yield two
    finally:
        two.down()


class Pair:
    """The by-hand command on both hosts."""

    def __init__(self, network: Network, workdir: Path, *flags: str, own=((), ()), **options):
        """Starts it.

        Args:
            network: where.
            workdir: of the run.
            flags: of both.
            own: more flags of each.
            options: 'first' and 'env' of each, as lists, and 'module'.
        """
        self.began = time.monotonic()
        self.logs = [workdir.with_suffix(f".{time.monotonic_ns()}.{index}.log") for index in (0, 1)]
        module = options.get("module", "experiments.classification")
        cache = network.root / "compiled"
        quick = {"XLA_FLAGS": os.environ["XLA_FLAGS"]}  # nothing here is long enough to optimise
        self.processes = []
        for index in (0, 1):
            with self.logs[index].open("w") as log:
                self.processes.append(
                    network.start(
                        index,
                        [
                            sys.executable, "-m", module, *FLAGS, f"--process_id={index}",
                            f"--workdir={workdir}", f"--compilation_cache={cache}", *flags,
                            *own[index],
                        ],
                        first=options.get("first", ("", ""))[index],
                        env=environment(**{**quick, **options.get("env", ({}, {}))[index]}),
                        cwd=options.get("cwd", (ROOT, ROOT))[index],
                        stdout=log,
                        stderr=subprocess.STDOUT,
                    )
                )  # fmt: skip

    def text(self, index: int) -> str:
        return self.logs[index].read_text()

    def until(self, words: str) -> None:
        deadline = time.monotonic() + 90
        while words not in self.text(0):
            assert time.monotonic() < deadline, self.text(0) + self.text(1)
            assert self.processes[0].poll() is None, self.text(0) + self.text(1)
            time.sleep(0.01)

    def end(self, index: int, within: float = 90) -> int:
        try:
            return self.processes[index].wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"hangs:\n{self.text(0)}\n{self.text(1)}") from None

    def error(self, index: int) -> str:
        lines = [line for line in self.text(index).splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.text(index)
        return lines[0]


# --- it trains ---


def test_the_command_given_by_hand_trains(network, tmp_path):
    """With 127.0.1.1 in both /etc/hosts, as Debian has it."""
    bind = f"--coordinator_bind_address={ADDRESSES[0]}:{PORT}"
    pair = Pair(network, tmp_path / "run", own=((bind,), ()))
    pair.until(f"{STEPS} steps of 32")
    table = subprocess.run(
        ["ip", "netns", "exec", network.names[0], "cat", "/proc/net/tcp", "/proc/net/tcp6"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    listening = [row.split()[1] for row in table.splitlines() if " 0A " in row]
    assert [row for row in listening if row.endswith(f":{PORT:04X}")]
    # at that address alone, and gloo too: of 127.0.0.1 and of all addresses there is nothing
    own = "0107D50A" if sys.byteorder == "little" else "0AD50701"
    assert all(own in row.partition(":")[0] for row in listening), table
    assert [pair.end(0), pair.end(1)] == [0, 0], pair.text(0) + pair.text(1)
    assert "of 2 processes" in pair.text(0)
    assert final(tmp_path / "run")[0] == STEPS
    named = Pair(network, tmp_path / "named", f"--coordinator=host0:{PORT}")
    # in host0 the name is 127.0.1.1: it learns from the other where it is reached
    assert [named.end(0), named.end(1)] == [0, 0], named.text(0) + named.text(1)
    assert final(tmp_path / "named") == final(tmp_path / "run")


# --- what differs is named on both sides ---


def pets(folder: Path, count: int) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        for split in ("train", "test"):
            (folder / "pets" / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / "pets" / split / name / f"{index}.png")
    return folder


WIDE = """
import os
from cnn_jax import run
from experiments import command

make = run.TASKS["classification"].make_experiment

def make_wide(recipe):
    experiment = make(recipe)
    wide = int(os.environ.get("WIDE", 64))
    return experiment._replace(model=experiment.model.clone(hidden=(wide,)))

class Wide(run.Recipe):
    pass

run.TASKS.register("wide", run.TaskRun(Wide, make_wide))
command.launch(Wide)
"""


def disagreements(root: Path) -> dict[str, tuple[dict, list[str]]]:
    """What the hosts are started with, and what the line must name."""
    (one, other) = (pets(root / "a", 20), pets(root / "b", 20))
    (other / "pets" / "train" / "dog" / "7.png").unlink()
    (root / "numpy-9.9.9.dist-info").mkdir()
    (root / "numpy-9.9.9.dist-info" / "METADATA").write_text("Name: numpy\nVersion: 9.9.9\n")
    changed = root / "changed"
    for package in ("cnn_jax", "experiments"):
        shutil.copytree(ROOT / package, changed / package, ignore=shutil.ignore_patterns("*.pyc"))
    with (changed / "cnn_jax" / "typing.py").open("a") as file:
        file.write("# another version\n")
    (root / "wide.py").write_text(WIDE)
    path = f"{root}{os.pathsep}{ROOT}"
    return {
        "learning_rate": (
            {"own": ((), ("--learning_rate=0.01",))},
            ["--learning_rate=0.05 in process 0 (host0) and --learning_rate=0.01 in pr"],
        ),
        "seed": ({"own": (("--seed=4",), ())}, ["--seed=4 in process 0", "--seed=0 in process 1"]),
        "batch_size": (
            {"own": ((), ("--batch_size=64",))},
            ["--batch_size=32 in process 0", "--batch_size=64 in process 1"],
        ),
        "steps": (
            {"own": ((), ("--steps=13",))},
            ["--steps=12 in process 0", "--steps=13 in process"],
        ),
        "data": (
            {
                "flags": (
                    *("--dataset=folder:pets", "--channels=1", "--image_size=8"),
                    "--validation_split=",
                ),
                "cwd": (one, other),
            },
            ["data train examples is 40 in process 0", "39 in process 1"],
        ),
        "code": (
            {"env": ({}, {"PYTHONPATH": str(changed)}), "cwd": (ROOT, changed)},
            ["source file cnn_jax/typing.py is ", "in process 0 (host0)", "in process 1 (host1)"],
        ),
        "version": (
            {"env": ({}, {"PYTHONPATH": path})},
            ["the version of numpy is ", '"9.9.9" in process 1 (host1)'],
        ),
        "network": (
            {"module": "wide", "env": ({"PYTHONPATH": path}, {"PYTHONPATH": path, "WIDE": "65"})},
            ["network's params/", "[64, 10]", "in process 0 (host0)", "[65, 10]"],
        ),
    }


CASES = [
    *("learning_rate", "data", "code", "network"),
    *(
        pytest.param(name, marks=pytest.mark.exhaustive)
        for name in ("seed", "batch_size", "steps", "version")
    ),
]


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return disagreements(tmp_path_factory.mktemp("cases"))


@pytest.mark.parametrize("case", CASES)
def test_what_differs_is_named_on_both_sides(network, cases, case, tmp_path):
    options, parts = cases[case]
    pair = Pair(network, tmp_path / "run", *options.get("flags", ()), **options)
    assert [pair.end(0), pair.end(1)] == [1, 1], pair.text(0) + pair.text(1)
    assert time.monotonic() - pair.began < NAMED_WITHIN
    assert pair.error(0) == pair.error(1)
    for part in parts:
        assert part in pair.error(0)


def test_a_directory_that_is_not_shared(network, tmp_path):
    """Each host has one of that name, and in both an earlier run has left its lock."""
    workdir, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for folder in (workdir, elsewhere):
        folder.mkdir()
        (folder / "lock").write_text("process 1 on host0\n")
    pair = Pair(network, workdir, first=("", f"mount --bind {elsewhere} {workdir}"))
    assert [pair.end(0), pair.end(1)] == [1, 1], pair.text(0) + pair.text(1)
    assert time.monotonic() - pair.began < NAMED_WITHIN + SEEN_WITHIN
    assert pair.error(0) == pair.error(1)
    assert f"{workdir} of process 0 (host0) is not the same directory in process 1 (host1)" in (
        pair.error(0)
    )
    assert [each.name for each in elsewhere.iterdir()] == ["lock"]


@pytest.mark.parametrize("index", [0, 1])
def test_what_fails_before_it_is_compared_is_heard(network, cases, index, tmp_path):
    """One of the hosts does not have the data set."""
    options, _ = cases["data"]
    cwd = list(options["cwd"])
    cwd[index] = tmp_path
    pair = Pair(network, tmp_path / "run", *options["flags"], cwd=cwd)
    other = 1 - index
    assert (pair.end(index), pair.end(other)) == (1, 75), pair.text(0) + pair.text(1)
    assert time.monotonic() - pair.began < NAMED_WITHIN
    assert "there is no folder pets" in pair.error(index)
    said = f"error: process {index} of 2 ended: folder:pets: there is no folder pets"
    assert pair.error(other).startswith(said)


def test_processes_that_count_themselves_differently(network, tmp_path):
    pair = Pair(network, tmp_path / "run", own=((), ("--process_count=3",)))
    assert [pair.end(0), pair.end(1)] == [1, 1], pair.text(0) + pair.text(1)
    assert time.monotonic() - pair.began < NAMED_WITHIN
    assert "the number of processes is 3 in process 1 (host1) and 2 in process 0" in pair.error(0)
    assert "the number of processes is 2 in process 0 (host0) and 3 in process 1" in pair.error(1)


# --- the cable, and a host that stands still ---

LONG = ("--steps=240", "--evaluate_every_steps=120", "--checkpoint_every_steps=40", "--log_every=5")


@pytest.fixture(scope="module")
def undisturbed(network, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    pair = Pair(network, workdir, *LONG)
    assert [pair.end(0), pair.end(1)] == [0, 0], pair.text(0) + pair.text(1)
    return final(workdir)


def test_the_cable_is_cut_and_mended(network, undisturbed, tmp_path):
    pair = Pair(network, tmp_path / "run", *LONG)
    try:
        pair.until("step 60/240")
        network.cut()
        began = time.monotonic()
        assert [pair.end(0), pair.end(1)] == [75, 75], pair.text(0) + pair.text(1)
        assert time.monotonic() - began < 2 * HEARTBEAT + 5
    finally:
        network.plug()
    assert "process 1 of 2 is gone" in pair.error(0)
    assert "process 0 of 2 is gone" in pair.error(1)
    assert final(tmp_path / "run")[0] < 240
    again = Pair(network, tmp_path / "run", *LONG)
    assert [again.end(0), again.end(1)] == [0, 0], again.text(0) + again.text(1)
    assert re.search(r"Resuming at step [1-9]\d+ of 240", again.text(0))
    assert final(tmp_path / "run") == undisturbed


@pytest.mark.parametrize("index", [0, pytest.param(1, marks=pytest.mark.exhaustive)])
def test_a_host_that_stands_still(network, index, tmp_path):
    pair = Pair(network, tmp_path / "run", *LONG)
    pair.until("step 60/240")
    began = time.monotonic()
    pair.processes[index].send_signal(signal.SIGSTOP)
    try:
        assert pair.end(1 - index) == 75, pair.text(0) + pair.text(1)
        assert time.monotonic() - began < 2 * HEARTBEAT + 5
        assert f"process {index} of 2 is gone, or was silent" in pair.error(1 - index)
    finally:
        pair.processes[index].kill()
        pair.processes[index].wait()
