"""JAX's private parts stand in one file, and each has something that goes on without it."""

import ast
import contextlib
import re
import types
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import cnn_jax.cpu
from cnn_jax import jax_internals
from cnn_jax.cpu import child, verdict
from cnn_jax.train import gloo, joining, state

ROOT = Path(__file__).parent.parent
ALLOWED = {Path("cnn_jax/jax_internals.py"), Path("tests/test_jax_internals.py")}
PRIVATE = re.compile(r"\bjax\.(_|interpreters\b)")


def trespasses(text):
    """What a file uses of JAX that is private: line number and text."""
    tree = ast.parse(text)
    roots = set()  # names that stand for JAX or a part of it
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in ("jax", "jaxlib"):
                    roots.add(alias.asname or alias.name.split(".")[0])
                    if PRIVATE.search(alias.name):
                        yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "jax":
            for alias in node.names:
                roots.add(alias.asname or alias.name)
                if PRIVATE.search(f"{node.module}.{alias.name}"):
                    yield node.lineno, f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            root, names = node, []
            while isinstance(root, ast.Attribute):
                names.append(root.attr)
                root = root.value
            inside = isinstance(root, ast.Name) and root.id in roots
            if inside and any(_private(name) for name in names):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call) and len(node.args) > 1:
            first, second = node.args[:2]  # getattr(lax, "_x")
            names = [n.id for n in ast.walk(first) if isinstance(n, ast.Name)]
            named = isinstance(second, ast.Constant) and isinstance(second.value, str)
            if named and roots & set(names) and _private(second.value):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Constant) and PRIVATE.search(str(node.value)):
            yield node.lineno, str(node.value)[:60]


def _private(name):
    """A name that JAX keeps to itself; or a primitive, which it exports and does not document."""
    return (
        (name.startswith("_") and not name.startswith("__"))
        or name == "interpreters"
        or name.endswith("_p")
    )


@pytest.mark.once
def test_no_other_file_looks_inside_jax():
    found = []
    for folder in ("cnn_jax", "experiments", "tests"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.relative_to(ROOT) not in ALLOWED:
                lines = trespasses(path.read_text())
                found += [f"{path.relative_to(ROOT)}:{line}: {what}" for line, what in lines]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "text",
    [
        "from jax._src import distributed",
        "import jax._src.core",
        "from jax.interpreters import mlir",
        "from jax import interpreters",
        "import jax\njax.interpreters.mlir.lower_fun",
        "import jax\ndef f():\n    return jax._src.core.x",
        "import jax.numpy as np\nnp._something",
        "from jax import lax as l\nl.conv_general_dilated_p.bind(1)",
        "from jax.experimental import multihost_utils\nmultihost_utils._sync",
        "import importlib\nimportlib.import_module('jax._src.core')",
        "from jax import lax\ngetattr(lax, '_convert')",
    ],
)
def test_the_walker_sees(text):
    assert list(trespasses(text))


def test_the_walker_lets_pass_what_is_public():
    text = "import jax\nfrom jax import lax\njax.lax.dot(x._private, jax.__version__)\nx._p\nx.y_p"
    assert not list(trespasses(text))


def remove(monkeypatch, path):
    owner = jax_internals._part(path.rpartition(".")[0])
    name = path.rpartition(".")[2]
    monkeypatch.delattr(owner if name in vars(owner) else type(owner), name)


LOWERING = [p for p in jax_internals.PARTS if p.startswith(("jax.lax.", "jax.interpreters.mlir."))]
CACHE = "jax._src.compilation_cache.put_executable_and_time"
CLIENT = "jax._src.distributed.global_state.client"
GLOO = [
    "jax._src.lib._jax.make_gloo_tcp_collectives",
    "jax._src.xla_bridge.make_cpu_client",
    "jax.extend.backend.register_backend_factory",
]
TRACED = [
    "jax.interpreters.partial_eval.dce_jaxpr",
    "jax.extend.core.ClosedJaxpr",
    "jax.extend.core.jaxpr_as_fun",
]


def test_each_part_is_here_and_has_a_fallback_below():
    assert set(jax_internals.PARTS) == {*LOWERING, CACHE, CLIENT, *GLOO, *TRACED}
    for path in jax_internals.PARTS:
        jax_internals._part(path)


@pytest.mark.parametrize("path", jax_internals.PARTS)
def test_a_part_that_is_gone_is_named(monkeypatch, path):
    remove(monkeypatch, path)
    with pytest.raises(jax_internals.MovedError, match=re.escape(f"has no {path}")):
        jax_internals._part(path)


def convolve(x, w):
    return lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def lowered():
    x, w = np.ones((2, 8, 8, 32), np.float32), np.ones((1, 1, 32, 16), np.float32)
    return jax.jit(lambda x, w: convolve(x, w)).lower(x, w).as_text()


@pytest.fixture
def switched_on(monkeypatch, tmp_path):
    monkeypatch.setenv(verdict.SWITCH, "1")
    monkeypatch.setattr(verdict, "_places", lambda: [tmp_path])
    told = "from cnn_jax.cpu import proof; proof._wrong = lambda say: say('product') or ''"
    monkeypatch.setattr(child, "PROGRAM", f"{told}; proof.main()")
    verdict.forget()
    yield
    with contextlib.suppress(jax_internals.MovedError):
        cnn_jax.cpu.disable()
    monkeypatch.undo()
    cnn_jax.cpu.disable()
    verdict.forget()


@pytest.mark.usefixtures("switched_on")
@pytest.mark.parametrize("path", LOWERING)
def test_without_the_registry_convolutions_stay_as_they_were(monkeypatch, path):
    remove(monkeypatch, path)
    with pytest.warns(RuntimeWarning, match="Convolutions stay as XLA compiles them"):
        assert not cnn_jax.cpu.enable(keep_memory=False)
    status = cnn_jax.cpu.status()
    assert status.convolutions == "XLA"
    assert path in status.why
    monkeypatch.undo()
    assert "stablehlo.convolution" in lowered()


@pytest.mark.usefixtures("switched_on")
def test_a_registry_whose_entries_changed(monkeypatch):
    class Rules(dict):
        def __getitem__(self, key):
            return types.SimpleNamespace()

    mlir = jax_internals._part("jax.interpreters.mlir")
    monkeypatch.setattr(mlir, "_lowerings", Rules())
    monkeypatch.setattr(mlir, "_platform_specific_lowerings", {"cpu": {}})
    with pytest.warns(RuntimeWarning, match="registry of lowering rules"):
        assert not cnn_jax.cpu.enable(keep_memory=False)


@pytest.mark.usefixtures("switched_on")
def test_a_registry_that_refuses_halfway_is_left_as_it_was(monkeypatch):
    mlir = jax_internals._part("jax.interpreters.mlir")
    register = mlir.register_lowering

    def refuse(primitive, *arguments, **options):
        if primitive.name == "reduce_window_sum":
            raise TypeError("unexpected keyword argument 'platform'")
        register(primitive, *arguments, **options)

    monkeypatch.setattr(mlir, "register_lowering", refuse)
    with pytest.warns(RuntimeWarning, match="unexpected keyword"):
        assert not cnn_jax.cpu.enable(keep_memory=False)
    assert "unexpected keyword" in str(cnn_jax.cpu.status())
    assert "stablehlo.convolution" in lowered()


@pytest.mark.usefixtures("switched_on")
def test_without_a_way_past_the_cache_onednn_is_not_used(monkeypatch):
    if not verdict.verdict().works:
        pytest.skip(f"without oneDNN here: {verdict.verdict().why}")
    verdict.forget()
    remove(monkeypatch, CACHE)
    with pytest.warns(RuntimeWarning, match="runs without oneDNN.*put_executable_and_time"):
        assert cnn_jax.cpu.enable(keep_memory=False)
    status = cnn_jax.cpu.status()
    assert status.convolutions == "methods in JAX operations"
    assert "put_executable_and_time" in status.why
    assert "stablehlo.convolution" not in lowered()
    assert "__onednn$" not in lowered()


def test_without_the_client_several_processes_are_refused(monkeypatch):
    remove(monkeypatch, CLIENT)
    with pytest.raises(joining.HostsError, match=r"global_state\.client") as refused:
        joining.connect("127.0.0.1:1", 2, 0)
    assert "\n" not in str(refused.value)
    joining.connect("", 1)  # a single one does not need it


@pytest.mark.parametrize("path", GLOO)
def test_without_a_way_to_say_where_gloo_listens_it_is_warned(monkeypatch, path, caplog):
    remove(monkeypatch, path)
    assert not gloo.listen_at("127.0.0.1", client=None)
    assert path in caplog.text


class Small(nn.Module):
    """A layer and statistics; `looks`: with a variable that is made of the picture."""

    looks: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        x = nn.Dense(3, name="dense")(x)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        if self.looks:
            self.variable("batch_stats", "first", lambda: x.mean())
        return x


@pytest.mark.parametrize("path", TRACED)
def test_without_pruning_the_initialisation_is_compiled_whole(monkeypatch, path):
    image = jax.ShapeDtypeStruct((2, 5), jnp.float32)
    want = state.init_variables(Small(), image, seed=1)
    remove(monkeypatch, path)
    with pytest.warns(RuntimeWarning, match="initialisation is compiled whole"):
        got = state.init_variables(Small(), image, seed=1)
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for have, true in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(have, true, rtol=1e-6)
    with pytest.warns(RuntimeWarning), pytest.raises(ValueError, match="image's values"):
        state.init_variables(Small(looks=True), image, seed=1)
