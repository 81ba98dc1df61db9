"""Several processes make the run that one would make, and none waits for ever for another."""

import contextlib
import functools
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cnn_jax.train import hosts, joining
from experiments import launch

ROOT = Path(__file__).parent.parent.parent
WORKER = Path(__file__).with_name("hosts_worker.py")
HEARTBEAT = 6  # seconds
TASKS = ("classification", "segmentation", "detection")


def environment(**more):
    """With optimised loops: otherwise convolutions in float64 take minutes."""
    quick = os.environ["XLA_FLAGS"].replace("--xla_backend_optimization_level=0", "")
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": quick,
        **more,
    }


# --- arguments, without a second process ---


@pytest.fixture
def alone(monkeypatch):
    """An environment that speaks of no other processes."""
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "KUBERNETES_", "JOB_COMPLETION")):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("", 2, 0), "`coordinator` missing"),
        (("here:1234", 0, 0), "`process_count` missing"),
        (("here:1234", 2, -1), "`process_id` missing"),
        (("here:1234", 0, -1), "`process_count` and `process_id` missing"),
        (("", 0, 1), "`coordinator` and `process_count` missing"),
        (("here", 2, 0), "wanted HOST:PORT"),
        (("here:0", 2, 0), "wanted HOST:PORT"),
        (("here:65536", 2, 0), "wanted HOST:PORT"),
        (("here:1234", 2, 2), "numbered from 0 to 1"),
        (("here:1234", -2, 0), "wanted the number of processes"),
        (("", 1, 3), "`coordinator` missing"),
    ],
)
def test_incomplete_or_contradictory(alone, arguments, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        joining.connect(*arguments)


@pytest.mark.parametrize(
    "changes",
    [{"heartbeat": 0}, {"heartbeat": 2**31}, {"connect_timeout": 0}, {"connect_timeout": 10**12}],
)
def test_seconds_that_nobody_can_count(alone, changes):
    with pytest.raises(ValueError, match="must be seconds from 1 to 10,000,000"):
        joining.connect("here:1234", 2, 0, **changes)


@pytest.mark.parametrize("count", [0, 1])
def test_one_process_joins_nobody(alone, count):
    joining.connect("", count, -1)
    assert not hosts.several()
    assert hosts.is_first()
    assert hosts.from_first(lambda: {"a": 1}) == {"a": 1}


def test_detection_by_the_environment(alone):
    alone.setenv("JAX_PLATFORMS", "cpu")
    assert joining.detected() == {}
    with alone.context() as patch:  # salloc's shell, or a job of one task
        patch.setenv("SLURM_NTASKS", "1")
        patch.setenv("SLURM_STEP_NODELIST", "node1")
        assert joining.detected() == {}
        patch.setenv("SLURM_NTASKS", "4")
        assert list(joining.detected()) == ["Slurm"]
    with alone.context() as patch:
        patch.setenv("OMPI_COMM_WORLD_SIZE", "2")
        assert list(joining.detected()) == ["Open MPI"]
    with alone.context() as patch:  # any pod has the first; only an indexed Job the second
        patch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
        assert joining.detected() == {}
        patch.setenv("JOB_COMPLETION_INDEX", "0")
        assert list(joining.detected()) == ["Kubernetes"]


def test_launcher_leaves_out_what_gloo_prints(capsys):
    pieces = [" is connected to ", "3", " peer ranks. "]
    pieces += ["Expected number of connected peer ranks is : ", "3", "\n"]
    report = "[Gloo] Rank 1" + "".join(pieces)
    both = "[Gloo] Rank 1[Gloo] Rank 2" + "".join(2 * each for each in pieces[:-1]) + "\n"
    ours = ["loss 28.0\n", "3\n", "\n", "Rank 3 is late\n", "[Gloo] Rank 0: an error\n"]
    theirs = [report, report.removeprefix("[Gloo] Rank "), both]
    launch._stream(io.StringIO("".join(theirs + ours + theirs)), "[1] ")
    assert capsys.readouterr().out == "".join("[1] " + line for line in ours)


def test_gpus_are_shared_out():
    assert launch.share_gpus([], 2) == [None, None]
    assert launch.share_gpus(["0", "1", "2", "3"], 2) == ["0,1", "2,3"]
    assert launch.share_gpus(["GPU-a", "GPU-b"], 2) == ["GPU-a", "GPU-b"]
    with pytest.raises(ValueError, match="cannot be divided evenly"):
        launch.share_gpus(["0", "1", "2"], 2)


@pytest.mark.parametrize("index", [0, 1])
def test_the_launcher_names_who_failed_first(index, tmp_path):
    """Even where the other one, which sees that its peer is gone, has ended before it."""
    (tmp_path / "failing.py").write_text(
        "import sys, time\n"
        f"if '--process_id={index}' in sys.argv: time.sleep(1), sys.exit(3)\n"
        f"sys.exit({hosts.PEER_LOST})\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "experiments.launch", "--", "failing"],
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}"),
    )
    assert done.returncode == 3
    assert f"process {index} of 2 ended with exit status 3" in done.stderr


# --- meeting ---

MEET = """
import sys
from cnn_jax.train import hosts, joining
try:
    joining.connect(sys.argv[1], 2, int(sys.argv[2]), heartbeat=6, connect_timeout=int(sys.argv[3]))
except OSError as error:
    hosts.leave(1, f"error: {error}")
said = hosts.from_first(lambda: {"from": 0, "text": "a"})
try:
    hosts.from_first(lambda: 1 / 0)
except ZeroDivisionError:
    said["error"] = "mine"
except hosts.FirstFailed as error:
    said["error"] = str(error)
print(hosts.is_first(), said, flush=True)
hosts.finish(0)
"""


def meet(port, index, patience):
    return subprocess.Popen(
        [sys.executable, "-c", MEET, f"127.0.0.1:{port}", str(index), str(patience)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def test_two_meet_and_the_first_speaks_for_both():
    port = launch.free_port()
    both = [meet(port, index, 60) for index in (0, 1)]
    said = [each.communicate(timeout=90) for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    assert "True {'from': 0, 'text': 'a', 'error': 'mine'}" in said[0][0]
    error = "process 0: division by zero"
    assert f"False {{'from': 0, 'text': 'a', 'error': '{error}'}}" in said[1][0]


@pytest.mark.parametrize("index", [0, 1])
def test_nobody_comes(index):
    began = time.monotonic()
    process = meet(launch.free_port(), index, 2)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert re.fullmatch(
        r"error: the processes did not all meet at 127\.0\.0\.1:\d+ within 2 s.*\n", errors
    )
    assert time.monotonic() - began < 30


def test_port_is_taken():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        process = meet(other.getsockname()[1], 0, 10)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("error: process 0 cannot listen at 127.0.0.1:")


LATE = """
import json, sys, time
import jax
import numpy as np
from jax.sharding import PartitionSpec
from cnn_jax.train import hosts, joining, layout, sharding

jax.config.update("jax_num_cpu_devices", 2)
index = int(sys.argv[2])
joining.connect(sys.argv[1], 2, index)
time.sleep(3 * index)
several = {name: layout.make_layout(name) for name in layout.LAYOUTS}
devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
several["mesh"] = sharding.mesh_layout(devices, {"data": 2, "model": 2})
rows = {"mask": np.arange(4, dtype=np.float32) + 4 * index}
placed = {name: where.shard(rows)["mask"] for name, where in several.items()}
time.sleep(35 * index)  # as if this process compiled for longer than gloo waits
began = time.monotonic()
total = jax.jit(lambda x: x.sum())
found = [[float(total(placed["jit"])), float(total(placed["mesh"]))]]
summed = jax.pmap(lambda x: jax.lax.psum(x.sum(), "data"), "data")(placed["pmap"])
found.append(summed.addressable_data(0).tolist())
for axis in ("data", "model"):
    both = PartitionSpec(("data", "model"))
    mesh = placed["mesh"].sharding.mesh
    add = jax.shard_map(lambda x: jax.lax.psum(x, axis), mesh=mesh, in_specs=both,
                        out_specs=both, check_vma=False)
    found.append([part.data.tolist() for part in jax.jit(add)(placed["mesh"]).addressable_shards])
found.append(time.monotonic() - began > 25)
with open(sys.argv[3], "w") as file:  # gloo prints to stdout, in the middle of lines too
    json.dump(found, file)
hosts.finish(0)
"""


@pytest.mark.exhaustive
def test_one_may_compile_for_longer_than_gloo_waits(tmp_path):
    port = launch.free_port()
    files = [tmp_path / "0.json", tmp_path / "1.json"]
    both = [
        subprocess.Popen(
            [sys.executable, "-c", LATE, f"127.0.0.1:{port}", str(index), files[index]],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for index in (0, 1)
    ]
    said = [each.communicate(timeout=150) for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    found = [json.loads(file.read_text()) for file in files]
    # rows 0 to 7, two on each of the devices [[0, 1], [2, 3]]
    assert found[0] == [
        [28.0, 28.0], [28.0], [[4.0, 6.0], [8.0, 10.0]], [[2.0, 4.0], [2.0, 4.0]], True
    ]  # fmt: skip
    assert found[1] == [
        [28.0, 28.0], [28.0], [[4.0, 6.0], [8.0, 10.0]], [[10.0, 12.0], [10.0, 12.0]], False
    ]  # fmt: skip


# --- the same numbers ---


def train(root: Path, name: str, processes: int, devices: int, cases: str) -> dict:
    """Runs the worker in so many processes; what they have in the end, checked to be the same."""
    port = launch.free_port()
    started = [
        subprocess.Popen(
            [sys.executable, WORKER, root / "sets", root / name]
            + [str(each) for each in (port, processes, index, devices, cases)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for index in range(processes)
    ]
    errors = [process.communicate(timeout=900)[1] for process in started]
    assert [process.returncode for process in started] == [0] * processes, errors
    results = [dict(np.load(root / f"{name}.{index}.npz")) for index in range(processes)]
    for other in results[1:]:
        for key, value in results[0].items():
            np.testing.assert_array_equal(other[key], value, err_msg=key)
    return results[0]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("hosts")
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, pathlib, hosts_worker as w; w.write_sets(pathlib.Path(sys.argv[1]))",
            str(root / "sets"),
        ],
        check=True,
        env=environment(PYTHONPATH=f"{ROOT}:{WORKER.parent}"),
    )

    @functools.cache
    def trained(grid: str, case: str) -> dict:
        processes, devices = map(int, grid.split("x"))
        return train(root, f"{grid}-{case}", processes, devices, case)

    return trained


def of_task(run: dict, task: str) -> dict:
    """{'state/step': ...} of {'classification/jit-64/state/step': ...}"""
    return {key.split("/", 2)[2]: value for key, value in run.items() if key.startswith(task)}


# One grid of processes and devices in CI; all of them by `pytest -m exhaustive`
GRIDS = [
    pytest.param("2x4", "jit-64", marks=pytest.mark.slow),
    *(
        pytest.param(*each, marks=pytest.mark.exhaustive)
        for each in (("1x8", "jit-64"), ("4x2", "jit-64"), ("2x4", "pmap-64"))
    ),
]


@pytest.mark.parametrize(("grid", "case"), GRIDS)
@pytest.mark.parametrize("task", TASKS)
def test_as_on_one_device_in_float64(runs, task, case, grid):
    if task == "segmentation" and case.startswith("pmap"):
        pytest.skip("the worker leaves it out")
    one, many = of_task(runs("1x1", case), task), of_task(runs(grid, case), task)
    assert one.keys() == many.keys()
    assert any("batch_stats" in key for key in one)
    for key, value in one.items():
        np.testing.assert_allclose(many[key], value, rtol=1e-9, atol=1e-9, err_msg=key)


@pytest.mark.exhaustive
@pytest.mark.parametrize("task", TASKS)
def test_as_on_one_device_in_float32(runs, task):
    """To what rounding does: a sum of n terms in another order differs by up to 2 log2(n) halves of
    an ulp (pairwise, Higham 2002, section 4.2), 32 for the largest sums here. What that does in
    the end is measured: by one run more, whose first parameters are changed by so much, at random.
    Each of the 4 steps rounds again, and the gradients and the statistics as the activations do.
    """
    one, many = of_task(runs("1x1", "jit-32"), task), of_task(runs("2x4", "jit-32"), task)
    shaken = of_task(runs("1x1", "jit-32-32"), task)

    def part(key):  # the tolerance is of a whole group of arrays: 'state/params', 'losses', ...
        return "/".join(key.split("/")[: 2 if key.startswith("state") else 1])

    tolerance: dict[str, float] = {}
    for key, value in one.items():
        change = float(np.max(np.abs(shaken[key] - value), initial=0.0))
        tolerance[part(key)] = max(tolerance.get(part(key), 0.0), change)
    for key, value in one.items():
        allowed = 4 * 3 * tolerance[part(key)]
        assert allowed < 0.05 * max(1.0, np.abs(value).max(initial=0.0)), key  # it says something
        np.testing.assert_allclose(many[key], value, rtol=0, atol=allowed, err_msg=key)


@pytest.mark.parametrize(
    ("grid", "case"), [pytest.param("1x1", "jit-64", marks=pytest.mark.slow), *GRIDS[:3]]
)
def test_every_example_counts_once(runs, grid, case):
    run = runs(grid, case)
    assert of_task(run, "classification")["sums/examples"] == 90
    assert of_task(run, "segmentation")["sums/confusion"].sum() == 21 * 24 * 32
    truth = of_task(run, "detection")["rows/truth"]
    assert (truth[..., 5] >= 0).sum() == 21  # one object in each image


# --- faults ---

FLAGS = (
    "--model=mlp", "--batch_size=32", "--learning_rate=0.05", "--augment=crop:1", "--mixup=0.2",
    "--ema_decay=0.9", "--log_every=4", "--checkpoint_every_steps=5", "--nofigures",
    "--cpu_devices=2", f"--heartbeat={HEARTBEAT}", "--connect_timeout=60",
)  # fmt: skip


class Launched:
    """A launcher with its processes, and what they print."""

    def __init__(self, workdir: Path, *flags: str, restarts: int = 0, steps: int = 60):
        self.log = workdir.with_suffix(f".{time.monotonic_ns()}.log")
        self.workdir = workdir
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "experiments.launch", "--processes=2", "--grace=8"]  # noqa: RUF005
                + [f"--restarts={restarts}", "--", "experiments.classification", *FLAGS]
                + [f"--steps={steps}", f"--evaluate_every_steps={steps // 2}"]
                + [f"--workdir={workdir}", *flags],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(),
                cwd=ROOT,
            )

    def text(self) -> str:
        return self.log.read_text()

    def until(self, words: str) -> None:
        deadline = time.monotonic() + 120
        while words not in self.text():
            assert time.monotonic() < deadline, self.text()
            assert self.process.poll() is None, self.text()
            time.sleep(0.05)

    def child(self, index: int) -> int:
        """The process id of one of the processes."""
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                parent = re.search(r"PPid:\s(\d+)", status.read_text())
                command = status.with_name("cmdline").read_text()
                if int(parent.group(1)) == self.process.pid and f"process_id={index}" in command:
                    return int(status.parent.name)
        raise AssertionError(self.text())

    def end(self, within: float = 180) -> int:
        try:
            return self.process.wait(within)
        finally:
            self.process.kill()


def final(workdir: Path) -> tuple[int, dict]:
    """The newest step and the checksums of its arrays."""
    step = max(
        int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()
    )
    meta = json.loads((workdir / "checkpoints" / str(step) / "meta" / "metadata").read_text())
    return step, meta["crc32"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    assert Launched(workdir).end() == 0
    return workdir


linux = pytest.mark.skipif(not Path("/proc").exists(), reason="looks processes up in /proc")


@linux
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_one_of_two_stops_both_at_the_same_step(number, undisturbed, tmp_path):
    run = Launched(tmp_path / "run")
    run.until("step 8/60")
    os.kill(run.child(1), number)
    assert run.end(within=30) == 0
    stopped, _ = final(tmp_path / "run")
    assert f"[0] SIGTERM: saved step {stopped} of 60" in run.text()
    assert stopped < 60
    assert Launched(tmp_path / "run").end() == 0
    assert final(tmp_path / "run") == final(undisturbed)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_peer_ends_the_other(index, tmp_path):
    run = Launched(tmp_path / "run", steps=5000)
    run.until("step 8/5000")
    other = run.child(1 - index)
    # without the launcher's help: it is stopped, and sees nothing
    os.kill(run.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    os.kill(run.child(index), signal.SIGKILL)
    while "State:\tZ" not in Path(f"/proc/{other}/status").read_text():
        assert time.monotonic() - began < HEARTBEAT + 15, run.text()
        time.sleep(0.05)
    os.kill(run.process.pid, signal.SIGCONT)
    assert run.end(within=30) != 0
    assert re.search(rf"process {index} of 2 (is gone|ended)", run.text())


@linux
@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_stopped_peer_ends_the_other(index, tmp_path):
    run = Launched(tmp_path / "run", steps=5000)
    run.until("step 8/5000")
    began = time.monotonic()
    os.kill(run.child(index), signal.SIGSTOP)
    assert run.end(within=60) != 0
    assert time.monotonic() - began < 2 * HEARTBEAT + 8 + 10  # 8: the launcher's grace
    assert re.search(
        rf"process {index} of 2 is gone, or was silent|tasks are unhealthy", run.text()
    )


@linux
@pytest.mark.slow
def test_restarts_end_bit_identical(undisturbed, tmp_path):
    run = Launched(tmp_path / "run", restarts=2)
    run.until("step 20/60")
    os.kill(run.child(1), signal.SIGKILL)
    run.until("starting all again, 1 of 2")
    run.until("Resuming at step")
    run.until("step 40/60")
    os.kill(run.child(0), signal.SIGKILL)
    assert run.end() == 0
    assert "starting all again, 2 of 2" in run.text()
    assert final(tmp_path / "run") == final(undisturbed)


@linux
@pytest.mark.slow
def test_a_second_run_in_the_same_directory_is_refused(tmp_path):
    run = Launched(tmp_path / "run", steps=5000)
    run.until("step 8/5000")
    second = Launched(tmp_path / "run", steps=5000)
    assert second.end(within=60) == 1
    lines = [line for line in second.text().splitlines() if "error:" in line]
    for line, said in zip(sorted(lines), ("[0] error: ", "[1] error: process 0: "), strict=True):
        assert line.startswith(said)
        assert re.search(r"run is in use by process \d+ on ", line)
    run.process.terminate()
    assert run.end(within=30) == 0
    assert "saved step" in run.text()
