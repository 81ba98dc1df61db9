"""The commands on machines that lack something, started as a user starts them: each goes on, or
ends with one line."""

import errno
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from cnn_jax.run import machine
from experiments import entry, environment, xla_flags

ROOT = Path(__file__).parents[2]
STRANGER = ["unshare", "--user", "--map-user=12345"]  # a user whom the system does not know
CLASSIFY = ["experiments.classification", "--model=mlp", "--steps=2", "--batch_size=8"]
ASCII = {
    "LC_ALL": "C", "LANG": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0",
    "PYTHONIOENCODING": "ascii", "TERM": "dumb",
}  # fmt: skip


def limited(descriptors):
    """What is put before a command to allow it (soft, hard) open files."""
    if descriptors is None:
        return []
    soft, hard = descriptors
    return ["sh", "-c", f'ulimit -Sn {soft} && ulimit -Hn {hard} && exec "$@"', "sh"]


def start(*command, changes=None, descriptors=None, before=(), **options):
    """Runs `python -m command`; `changes` of None take a variable out of the environment."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "CNN_JAX_ONEDNN": "0"}
    for name, value in (changes or {}).items():
        environ.pop(name, None)
        if value is not None:
            environ[name] = value

    return subprocess.run(
        [*limited(descriptors), *before, sys.executable, "-m", *command],
        env=environ,
        capture_output=True,
        timeout=150,
        check=False,
        **{"stdin": subprocess.DEVNULL, **options},
    )


def one_line(done, *parts):
    """The run ended with status 1 and one line on standard error."""
    said = done.stderr.decode()
    assert done.returncode == 1, said
    assert "Traceback" not in said
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, said
    for part in parts:
        assert part in errors[0]
    return said


@pytest.fixture
def stranger():
    """What is put before a command to run it as nobody known, without root's powers."""
    tried = shutil.which("unshare") and subprocess.run(
        [*STRANGER, "true"], capture_output=True, check=False
    )
    if not tried or tried.returncode:
        pytest.skip("needs user namespaces, to be somebody unknown")
    return STRANGER


@pytest.fixture
def pictures(tmp_path):
    """Two classes whose names no ASCII terminal can show."""
    for k, name in enumerate(("猫", "🐈 [b]")):
        (tmp_path / "画" / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(np.full((8, 8, 3), 40 * k + i, np.uint8)).save(
                tmp_path / "画" / name / f"{i}.png"
            )
    return tmp_path / "画"


def train_as_nobody(run, stranger, pictures):
    """No HOME, a user that the system does not know, 64 descriptors, no Unicode, no standard input:
    all at once."""
    done = start(
        *CLASSIFY, f"--dataset=folder:{pictures}", "--image_size=8", f"--workdir={run}",
        changes={"HOME": None, "USER": None, "LOGNAME": None, **ASCII},
        before=stranger, descriptors=(64, 64), cwd=run.parent,
    )  # fmt: skip
    said = done.stdout.decode("ascii") + done.stderr.decode("ascii")
    assert done.returncode == 0, said
    assert "Traceback" not in said
    return said


def test_nobody_without_a_home_at_an_ascii_terminal(tmp_path, stranger, pictures):
    said = train_as_nobody(tmp_path / "run", stranger, pictures)
    assert "cannot be written" in said, "that nothing compiled is kept is said"
    assert (tmp_path / "run" / "result.json").exists()
    assert (tmp_path / "run" / "confusion_matrix.png").exists()


@pytest.mark.slow
def test_nobody_asks_what_is_in_an_image(tmp_path, stranger, pictures):
    train_as_nobody(tmp_path / "run", stranger, pictures)
    done = start(
        "experiments.predict", str(pictures / "猫" / "0.png"), f"--run={tmp_path / 'run'}",
        "--nograd_cam", f"--output={tmp_path / 'out'}", changes={"HOME": None, **ASCII},
        before=stranger, cwd=tmp_path,
    )  # fmt: skip
    said = done.stdout.decode("ascii") + done.stderr.decode("ascii")
    assert done.returncode == 0, said
    assert "Traceback" not in said


def test_a_platform_that_is_not_there(tmp_path):
    done = start(
        *CLASSIFY, "--dataset=digits", f"--workdir={tmp_path / 'run'}",
        changes={"JAX_PLATFORMS": "cuda"},
    )  # fmt: skip
    one_line(done, "JAX_PLATFORMS=cuda", "It has cpu", "pip install")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tpu", "cudaa"])
def test_other_platforms_that_are_not_there(tmp_path, name):
    done = start(
        *CLASSIFY, "--dataset=digits", f"--workdir={tmp_path / 'run'}",
        changes={"JAX_PLATFORMS": name},
    )  # fmt: skip
    one_line(done, f"JAX_PLATFORMS={name}", "cpu")


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Notes of flags that are known, kept apart from the user's."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def environ(flags):
    return {**os.environ, "XLA_FLAGS": flags}


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (
            "--xla_no_such=1 --xla_dump_to=/tmp/x --xla_nor_this",
            ["--xla_no_such=1 --xla_nor_this,", "XLA_FLAGS='--xla_dump_to=/tmp/x'"],
        ),
        ("--xla_backend_optimization_level=high", ["xla_backend_optimization_level=high"]),
        ("no_such_file", ["does not begin with --", "no_such_file"]),
        ("FILE", ["file", "has --xla_no_such=1,", "take it out"]),
    ],
    ids=["unknown", "value", "file", "in a file"],
)
def test_flags_that_xla_would_end_the_process_over(notes, flags, parts):
    if flags == "FILE":
        (notes / "flags").write_text("--xla_no_such=1")
        flags = str(notes / "flags")
    with pytest.raises(ValueError, match="XLA_FLAGS") as caught:
        xla_flags.check(environ(flags))
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(notes.glob("*/xla_flags-*"))


def test_known_flags_are_asked_for_once(notes, monkeypatch):
    for _ in range(2):
        xla_flags.check(environ("--xla_backend_optimization_level=1"))
        monkeypatch.setattr(xla_flags, "_complaint", lambda _: pytest.fail("asked again"))
    xla_flags.check({})
    xla_flags.check({"XLA_FLAGS": "  "})


def test_numbers_of_devices_that_differ(caplog):
    four = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    xla_flags.warn_of_devices(0, four)
    xla_flags.warn_of_devices(4, four)
    assert not caplog.records
    xla_flags.warn_of_devices(2, four)
    assert "there are 2" in caplog.text


def test_flags_with_which_no_backend_starts(monkeypatch):
    """A number of devices below 0: nothing was asked for by JAX_PLATFORMS."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=-3")
    error = RuntimeError(
        "Unable to initialize backend 'cpu': vector::reserve (you may need to uninstall the "
        "failing plugin package, or set JAX_PLATFORMS=cpu to skip this backend.)"
    )
    before = jax.config.jax_platforms
    jax.config.update("jax_platforms", None)
    try:
        said = str(environment.explained(error))
    finally:
        jax.config.update("jax_platforms", before)
    assert said.startswith("JAX cannot start on this machine (Unable to")
    assert "device_count=-3': try without it" in said
    assert "JAX_PLATFORMS" not in said


def test_a_current_directory_that_is_gone(tmp_path, monkeypatch):
    error = FileNotFoundError(errno.ENOENT, "No such file or directory", "runs")
    assert environment.explained(error) is error
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "current directory has been deleted" in str(environment.explained(error))
    refused = PermissionError(errno.EACCES, "Permission denied", "runs/x")
    assert "--workdir" in str(environment.explained(refused))


@pytest.mark.parametrize("variable", ["JAX_ENABLE_X64", "JAX_NUM_CPU_DEVICES"])
def test_variables_that_jax_cannot_read(variable):
    """They end its import, with a traceback."""
    done = start("experiments.models", changes={variable: "perhaps"})
    assert variable.lower() in one_line(done, "perhaps", "environment variable").lower()


def test_what_a_notebook_and_a_container_set(tmp_path):
    """A backend for figures that is not there; a terminal of no columns, in which Rich shows
    nothing."""
    done = start(
        "experiments.models", "--pattern=lenet5",
        changes={"MPLBACKEND": "nonsense", "COLUMNS": "0"}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert "lenet5" in done.stdout.decode()


@pytest.mark.slow
def test_an_unknown_flag_ends_a_command_in_one_line():
    done = start("experiments.models", changes={"XLA_FLAGS": "--xla_no_such=1"})
    one_line(done, "--xla_no_such=1", "does not know")


def test_few_descriptors_are_made_more():
    code = "from experiments import environment as e; e.prepare(); import resource as r; "
    code += "print(r.getrlimit(r.RLIMIT_NOFILE)[0])"
    done = subprocess.run(
        [*limited((64, 640)), sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    assert int(done.stdout) == 640


def test_a_cache_in_a_store_is_no_folder_of_its_name(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    assert machine.cache_directory("s3://bucket/compiled") is None
    assert "is in a store" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("why", ["a file is there", "no home", "full"])
def test_no_cache_is_a_warning(tmp_path, monkeypatch, caplog, why):
    name = str(tmp_path / "cache" / "compiled")
    if why == "a file is there":
        (tmp_path / "cache").touch()
    elif why == "full":
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    else:
        monkeypatch.delenv("HOME")
        monkeypatch.setattr("pwd.getpwuid", lambda _: {}[_])
        name = "~/compiled"
    with caplog.at_level(logging.WARNING):
        entry.set_up_jax(cpu_devices=0, cpu_convolutions=False, compilation_cache=name)
    assert "cannot be written" in caplog.text
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (RuntimeError("Could not determine home directory."), "set HOME"),
        (OSError(errno.EMFILE, "Too many open files", "x"), "ulimit -n"),
        (OSError(errno.EROFS, "Read-only file system", "runs"), "--workdir"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), "--workdir"),
    ],
)
def test_what_is_said_of_errors(error, part):
    explained = environment.explained(error)
    assert part in str(explained)
    assert isinstance(explained, entry.EXPECTED)


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), OSError(errno.ENOENT, "no"), AssertionError(), KeyError("runs")]
)
def test_other_errors_stay(error):
    assert environment.explained(error) is error


# What a machine may lack, one at a time: each command goes on.
LACKS = {
    "a home that is not there": {"changes": {"HOME": "/nonexistent/home"}, "before": STRANGER},
    "a home that cannot be written": {"changes": {"HOME": "home"}, "before": STRANGER},
    "no home": {"changes": {"HOME": None}, "before": STRANGER},
    "no temporary directory": {"changes": {"TMPDIR": "/nonexistent"}},
    "no standard input": {"before": ["sh", "-c", 'exec "$@" <&-', "sh"]},
    "64 descriptors": {"descriptors": (64, 64)},
}


@pytest.mark.slow
@pytest.mark.parametrize("lack", LACKS)
def test_the_main_command_goes_on(tmp_path, request, lack):
    options = LACKS[lack]
    if options.get("before") is STRANGER:
        request.getfixturevalue("stranger")
    if options.get("changes", {}).get("HOME") == "home":
        (tmp_path / "home").mkdir(mode=0o555)
        options = {**options, "changes": {"HOME": str(tmp_path / "home")}}
    done = start(
        *CLASSIFY, "--dataset=digits", "--nofigures", f"--workdir={tmp_path / 'run'}",
        cwd=tmp_path, **options,
    )  # fmt: skip
    said = done.stderr.decode() + done.stdout.decode()
    assert done.returncode == 0, said
    assert "Traceback" not in said
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["experiments.models", "--pattern=lenet5"], ["experiments.concepts"]]
)
def test_lists_are_printed_anywhere(tmp_path, stranger, command):
    done = start(*command, changes={"HOME": None, **ASCII}, before=stranger, cwd=tmp_path)
    said = done.stdout.decode("ascii") + done.stderr.decode("ascii")
    assert done.returncode == 0, said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_current_directory_that_cannot_be_written(tmp_path, stranger):
    (tmp_path / "here").mkdir(mode=0o555)
    done = start(*CLASSIFY, "--dataset=digits", before=stranger, cwd=tmp_path / "here")
    one_line(done, "run directory cannot be created", "--workdir=DIRECTORY")


def can_mount() -> bool:
    command = ["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    with_unshare = shutil.which("unshare") is not None and os.geteuid() == 0
    return (
        with_unshare and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


@pytest.mark.slow
def test_a_small_shared_memory_for_workers(tmp_path):
    if not can_mount():
        pytest.skip("needs root, to mount a small /dev/shm")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 256, (96, 96, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{i}.png")
    small = 'mount -t tmpfs -o size=16k none /dev/shm && exec "$@"'
    done = start(
        *CLASSIFY, f"--dataset=folder:{tmp_path / 'set'}", "--image_size=96", "--workers=1",
        f"--workdir={tmp_path / 'run'}", before=["unshare", "-m", "sh", "-c", small, "sh"],
    )  # fmt: skip
    one_line(done, "/dev/shm", "--workers=0")


@pytest.mark.slow
def test_a_full_disk_for_the_cache(tmp_path):
    if not can_mount():
        pytest.skip("needs root, to mount a small disk")
    (tmp_path / "cache").mkdir()
    small = f'mount -t tmpfs -o size=20k none {tmp_path / "cache"} && exec "$@"'
    done = start(
        *CLASSIFY, "--dataset=digits", "--nofigures", f"--compilation_cache={tmp_path / 'cache'}",
        f"--workdir={tmp_path / 'run'}", before=["unshare", "-m", "sh", "-c", small, "sh"],
    )  # fmt: skip
    said = done.stderr.decode() + done.stdout.decode()
    assert done.returncode == 0, said
    assert said.count("cannot be written") == 1
