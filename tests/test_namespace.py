"""What a user sees of the package: its names, and nothing loaded before it is asked for."""

import importlib
import os
import subprocess
import sys

import pytest

import cnn_jax
from cnn_jax.namespace import submodule

PACKAGES = tuple(cnn_jax.__all__)


def python(code: str, **environment: str) -> str:
    env = os.environ | environment
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_loads_nothing():
    heavy = ("jax", "flax", "numpy", "matplotlib", "tensorflow_datasets")
    assert python(f"import sys, cnn_jax; print([m for m in {heavy} if m in sys.modules])") == "[]"


def test_no_part_touches_a_device_when_it_is_loaded():
    # JAX cannot have this platform: the first use of a device is an error, as the last line shows
    code = """
import importlib, pkgutil, cnn_jax, jax
for name in cnn_jax.__all__:
    getattr(cnn_jax, name)
for module in pkgutil.walk_packages(cnn_jax.__path__, "cnn_jax."):
    importlib.import_module(module.name)
try:
    jax.devices()
except RuntimeError as error:
    print(error)
"""
    assert "no_such_platform" in python(code, JAX_PLATFORMS="no_such_platform")


@pytest.mark.parametrize("command", ["classification", "segmentation", "detection"])
def test_a_run_begins_without_what_it_draws_with(command):
    code = f"import sys, experiments.{command}"
    assert (
        python(f"{code}; print([m for m in ('matplotlib', 'scipy') if m in sys.modules])") == "[]"
    )


def test_a_part_is_loaded_when_it_is_asked_for():
    code = """
import sys, cnn_jax
print("cnn_jax.tasks" in sys.modules)
cnn_jax.tasks
print("cnn_jax.tasks" in sys.modules, "cnn_jax.tasks.detection" in sys.modules)
cnn_jax.tasks.detection.make_prepare
"""
    assert python(code).split() == ["False", "True", "False"]


@pytest.mark.parametrize("name", PACKAGES)
def test_dir_is_what_is_public_and_all_of_it_is_there(name):
    package = getattr(cnn_jax, name)
    assert dir(package) == sorted(package.__all__)
    assert len(set(package.__all__)) == len(package.__all__)
    for public in package.__all__:
        assert not public.startswith("_")
        assert getattr(package, public) is not None
    namespace: dict = {}
    exec(f"from cnn_jax.{name} import *", namespace)
    assert set(package.__all__) <= set(namespace)


def test_dir_of_the_whole():
    assert dir(cnn_jax) == sorted(PACKAGES)
    assert isinstance(cnn_jax.__version__, str)


@pytest.mark.parametrize("package", ["cnn_jax", "cnn_jax.tasks", "cnn_jax.train"])
def test_a_name_that_is_not_there(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nonesuch'"):
        _ = importlib.import_module(package).nonesuch


def test_what_is_not_public_is_no_attribute_but_can_be_imported():
    with pytest.raises(AttributeError):
        submodule("cnn_jax.train", "gloo", cnn_jax.train.__all__)
    assert importlib.import_module("cnn_jax.train.gloo").__name__ == "cnn_jax.train.gloo"
