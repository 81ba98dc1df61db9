"""Compiler options: where a GPU is, before JAX starts, and never over the user's own."""

import os
import subprocess
import sys

import pytest
from absl import flags

from experiments import gpu_options

ALL = [f"--{name}={value}" for name, value in gpu_options.OPTIONS.items()]


@pytest.mark.parametrize(
    ("platforms", "plugins", "expected"),
    [
        ("cpu", ["xla_cuda13"], False),
        ("cuda,cpu", [], True),
        ("tpu", ["xla_cuda13"], False),
        ("rocm", [], True),
        (None, [], False),
        ("", ["xla_cuda12"], True),
        (None, ["libtpu"], False),
    ],
)
def test_where_a_gpu_is_expected(platforms, plugins, expected):
    assert gpu_options.gpu_expected(platforms, plugins) is expected


def test_never_on_a_cpu():
    environ = {}
    assert gpu_options.set_gpu_options(environ) == []
    assert environ == {}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", " ".join(ALL)),
        ("--xla_dump_to=/tmp/x", " ".join(["--xla_dump_to=/tmp/x", *ALL])),
        (
            "--xla_gpu_triton_gemm_any=false",
            f"--xla_gpu_triton_gemm_any=false {ALL[0]}",
        ),
        (" ".join(ALL), " ".join(ALL)),
    ],
)
def test_what_the_user_set_stays(before, after, monkeypatch):
    monkeypatch.setattr(gpu_options, "gpu_expected", lambda *_: True)
    environ = {"XLA_FLAGS": before} if before else {}
    added = gpu_options.set_gpu_options(environ)
    assert environ["XLA_FLAGS"] == after
    assert all(option in after and option not in before for option in added)


def test_repeatable_runs_where_they_are_asked_for(monkeypatch):
    monkeypatch.setattr(gpu_options, "gpu_expected", lambda *_: True)
    (option,) = (f"--{name}={value}" for name, value in gpu_options.REPEATABLE.items())
    values = flags.FlagValues()
    flag = flags.DEFINE_bool("deterministic", False, "", flag_values=values)
    values(["command", "--deterministic"])
    monkeypatch.setattr(gpu_options, "DETERMINISTIC", flag)
    environ = {}
    gpu_options.set_gpu_options(environ)
    assert environ["XLA_FLAGS"].split() == [*ALL, option]
    environ = {"XLA_FLAGS": "--xla_gpu_deterministic_ops=false"}
    gpu_options.set_gpu_options(environ)
    assert option not in environ["XLA_FLAGS"]
    assert gpu_options.deterministic("--xla_dump_to=x") == f"--xla_dump_to=x {option}"


EVERY = [*ALL, *(f"--{name}={value}" for name, value in gpu_options.REPEATABLE.items())]


@pytest.mark.parametrize("options", [" ".join(EVERY), "--xla_gpu_no_such_option=true"])
def test_this_version_of_xla_knows_them(options):
    """XLA aborts on what it does not know, whatever the platform: the second case shows it."""
    done = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env={**os.environ, "XLA_FLAGS": options, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == ("no_such" not in options), done.stderr
