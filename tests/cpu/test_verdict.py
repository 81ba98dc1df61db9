"""Whether oneDNN is used, and why: proved by a child process, remembered, and said."""

import json
import os
import platform
import re
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import jax
import jaxlib
import numpy as np
import pytest

import cnn_jax.cpu
from cnn_jax.cpu import child, proof, proof_of_layers, registry, verdict

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="jaxlib has oneDNN on Linux x86_64 alone",
)

TRIED = "print('cnn_jax proof: product', flush=True); "
RIGHT = TRIED + """print('cnn_jax verdict: {"wrong": "", "error": ""}')"""
CRASH = TRIED + "import os; os.kill(os.getpid(), 11)"
REAL = "from cnn_jax.cpu import onednn, proof; "
understood = pytest.mark.skipif(
    tuple(map(int, jaxlib.__version__.split(".")[:3])) < (0, 8, 1),
    reason="jaxlib 0.8.0 counts the axes in oneDNN's calls otherwise",
)


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    """An empty place for verdicts, and a process that has decided nothing."""
    monkeypatch.setenv(verdict.SWITCH, "1")
    monkeypatch.setattr(verdict, "_places", lambda: [tmp_path])
    verdict.forget()
    yield tmp_path
    cnn_jax.cpu.disable()
    monkeypatch.undo()
    verdict.forget()


def found(monkeypatch, program):
    """The verdict on a child that runs this program, in a process that knows nothing."""
    monkeypatch.setattr(child, "PROGRAM", program)
    verdict.forget()
    return verdict.verdict()


@understood
def test_every_form_is_proved():
    start = time.process_time()
    children = os.times().children_user
    known = verdict.verdict()
    assert known.works, known.why
    assert f"proved on jaxlib {jaxlib.__version__} by a child process in" in known.why
    used = time.process_time() - start + os.times().children_user - children
    assert used < 20  # seconds of one processor: 3.5 to 4, and 5.6 was seen beside other tests
    names = [name for name, *_ in proof.products()] + [c.name for c in proof.convolutions()]
    names += [*(p.name for p in proof_of_layers.products()), proof_of_layers.PACKED]
    assert known.layers, known.why
    assert len(set(names)) == len(names)
    assert known.why.startswith(f"{len(names)} forms")


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (
            "call = onednn.matmul; onednn.matmul = lambda *a: 1.0001 * call(*a); proof.main()",
            "gave a wrong number for product",
        ),
        pytest.param(
            "call = onednn.convolution; onednn.convolution = "
            "lambda x, w, s, p, d, *a: call(x, w, s, p, (1,) * len(d), *a); proof.main()",
            "failed at convolution, 1-D, depthwise, dilated|"
            "gave a wrong number for convolution, .*dilated",
            marks=understood,
        ),
        # what XLA does not understand ends the process
        ("onednn.json.dumps = lambda _: '{'; proof.main()", "ended by signal 6 at product"),
        ("onednn.MATMUL = '__onednn$none'; proof.main()", "at product|failed"),
    ],
    ids=["number", "dilation", "description", "name"],
)
def test_a_mistake_ends_only_the_child(monkeypatch, place, program, why):
    known = found(monkeypatch, REAL + program)
    assert not known.works
    assert known.lost

    assert re.search(why, known.why), known.why
    (file,) = place.iterdir()  # and is remembered
    assert json.loads(file.read_text())["works"] is False


@pytest.mark.parametrize(
    ("end", "layers", "kept"),
    [
        ("""print('cnn_jax layers: {"wrong": "", "error": ""}')""", True, True),
        ("""print('cnn_jax layers: {"wrong": "product, RELU", "error": ""}')""", False, True),
        ("os.abort()", False, True),  # a crash is an answer
        ("os.kill(os.getpid(), 9)", False, False),  # and this says nothing
    ],
)
def test_layers_that_cannot_be_products(monkeypatch, place, end, layers, kept):
    """Other calls are used as before, and frozen layers of one pixel are convolutions."""
    tried = "print('cnn_jax proof: product, RELU', flush=True); "
    known = found(monkeypatch, f"{RIGHT}; import os; {tried}{end}")
    assert known.works
    assert known.layers == layers
    assert ("without those of frozen layers: it stopped at product, RELU" in known.why) != layers
    assert len(list(place.iterdir())) == kept
    verdict.forget()
    if kept:
        monkeypatch.setattr(subprocess, "run", no_child)
        assert verdict.verdict().layers == layers


def test_a_child_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(proof, "LIMIT", 1)
    known = found(monkeypatch, TRIED + "import time; time.sleep(100)")
    assert not known.works
    assert "hung at product" in known.why


@pytest.mark.parametrize(
    "program",
    [
        TRIED + "import os; os.kill(os.getpid(), 9)",  # memory ran out, say
        TRIED + "import os; os.kill(os.getpid(), 2)",
        "import nowhere",
        "",
    ],
)
def test_what_says_nothing_about_onednn_is_not_remembered(monkeypatch, place, program):
    known = found(monkeypatch, program)
    assert not known.works
    assert known.lost
    assert not list(place.iterdir())
    assert found(monkeypatch, RIGHT).works


def no_child(*_, **__):
    raise AssertionError("a child was started")


def test_it_is_asked_once(monkeypatch, place):
    assert found(monkeypatch, RIGHT).works
    monkeypatch.setattr(subprocess, "run", no_child)
    known = found(monkeypatch, CRASH)
    assert known.works
    assert known.why.endswith(time.strftime("on %Y-%m-%d"))
    (file,) = place.iterdir()
    assert json.loads(file.read_text())["for"]["jaxlib"] == jaxlib.__version__


@pytest.mark.parametrize("what", ["jaxlib", "code", "processor", "flags", "setting"])
def test_it_is_asked_again_for_what_it_was_not_proved_for(monkeypatch, place, tmp_path, what):
    assert found(monkeypatch, RIGHT).works
    if what == "jaxlib":
        monkeypatch.setattr(jaxlib, "__version__", "0.99.0")
    elif what == "code":
        (tmp_path / "code").mkdir()
        edited = tmp_path / "code" / "onednn.py"
        edited.write_text("# edited")
        monkeypatch.setattr(verdict.onednn, "__file__", str(edited))
    elif what == "processor":
        monkeypatch.setattr(verdict, "_processor", lambda: "another")
    elif what == "flags":
        flags = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_enable_fast_math=true"
        monkeypatch.setenv("XLA_FLAGS", flags)
    else:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert "signal 11" in found(monkeypatch, CRASH).why


def test_a_no_is_asked_again_after_a_day(monkeypatch, place):
    assert not found(monkeypatch, CRASH).works
    assert not found(monkeypatch, RIGHT).works
    (file,) = place.iterdir()
    kept = json.loads(file.read_text())
    file.write_text(json.dumps(kept | {"when": kept["when"] - verdict.AGAIN}))
    assert found(monkeypatch, RIGHT).works


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"works": true}', '{"when": 1e999}', "\0", "[" * 100_000]
)
def test_a_file_that_holds_something_else_is_nobodys_word(monkeypatch, place, text):
    assert not found(monkeypatch, CRASH).works
    (file,) = place.iterdir()
    file.write_text(text)
    assert found(monkeypatch, RIGHT).works


def test_without_a_place_to_write_it_is_asked_in_each_process(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setattr(verdict, "_places", lambda: [tmp_path / "file", Path("/proc/none")])
    assert found(monkeypatch, RIGHT).works
    assert "signal 11" in found(monkeypatch, CRASH).why


def test_the_places(monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    compiled, cache, shared = verdict._places()
    assert str(compiled) == jax.config.jax_compilation_cache_dir
    assert cache == tmp_path / "cache" / "cnn_jax"
    shared.chmod(0o777)  # whoever may write there has no say
    assert verdict._places() == [compiled, cache]


def test_processes_at_once_do_not_trample(place):
    code = f"""
        from pathlib import Path
        from cnn_jax.cpu import child, verdict
        verdict._places = lambda: [Path({str(place)!r})]
        child.PROGRAM = {RIGHT!r}
        print(verdict.verdict())
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for process in started:
        assert process.communicate()[0].startswith("Verdict(works=True")
    (file,) = place.iterdir()
    assert json.loads(file.read_text())["works"] is True


def test_the_child_is_on_a_cpu_and_has_no_settings_of_jax(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setenv("JAX_DISABLE_JIT", "1")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/nowhere")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    monkeypatch.setenv(
        "XLA_FLAGS",
        "--xla_dump_to=/nowhere --xla_force_host_platform_device_count=64 "
        "--xla_cpu_enable_fast_math=false",
    )
    program = (
        "import os; assert os.environ['XLA_FLAGS'] == '--xla_cpu_enable_fast_math=false'; "
        "assert os.environ['CNN_JAX_ONEDNN'] == '0'; "
        "assert [n for n in os.environ if n.startswith('JAX_')] == ['JAX_PLATFORMS']; "
    )
    assert found(monkeypatch, program + RIGHT).works


def test_a_program_that_is_frozen_starts_no_copy_of_itself(monkeypatch):
    monkeypatch.setattr(subprocess, "run", no_child)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert "no Python" in verdict.verdict().why


def test_it_is_asked_from_within_a_lowering_rule(monkeypatch):
    """Where `enable` did not ask, a program that is being compiled does."""
    monkeypatch.setattr(cnn_jax.cpu, "_may_use_cpu", lambda: False)
    monkeypatch.setattr(child, "PROGRAM", RIGHT)
    asked = []
    monkeypatch.setattr(child, "ask", lambda ask=child.ask: asked.append(1) or ask())
    cnn_jax.cpu.enable(keep_memory=False)
    assert not asked
    assert "__onednn$" in product().as_text()
    assert asked == [1]


def product():
    x = np.ones((1024, 256), np.float32)
    return jax.jit(lambda x: x @ x.T).lower(x)


def test_status_and_one_warning_where_the_proof_failed(monkeypatch, recwarn):
    monkeypatch.setattr(child, "PROGRAM", CRASH)
    cnn_jax.cpu.enable()
    cnn_jax.cpu.disable()
    cnn_jax.cpu.enable()
    (said,) = (str(warning.message) for warning in recwarn)
    assert (
        "runs without oneDNN, which this jaxlib has: the child process ended by signal 11" in said
    )
    status = cnn_jax.cpu.status()
    assert status.convolutions == "methods in JAX operations"
    assert str(status).startswith("convolutions by methods in JAX operations (the child process")
    assert "__onednn$" not in product().as_text()


def test_status_where_it_works(monkeypatch, recwarn):
    monkeypatch.setattr(child, "PROGRAM", RIGHT)
    assert str(cnn_jax.cpu.status()).startswith("convolutions by XLA (")
    cnn_jax.cpu.enable()
    said = "oneDNN in float32 programs for one device (1 forms of call proved on jaxlib"
    assert said in str(cnn_jax.cpu.status())
    assert str(cnn_jax.cpu.status()).endswith("; memory kept")
    assert "__onednn$" in product().as_text()
    cnn_jax.cpu.disable()
    status = cnn_jax.cpu.status()
    assert str(status) == (
        "convolutions by XLA (cnn_jax.cpu.enable() is not in force); memory not kept"
    )
    assert not recwarn


def test_who_switched_it_off_is_not_warned_and_not_made_to_wait(monkeypatch, recwarn):
    monkeypatch.setenv(verdict.SWITCH, "0")
    monkeypatch.setattr(subprocess, "run", no_child)
    cnn_jax.cpu.enable()
    assert "CNN_JAX_ONEDNN=0 in the environment" in str(cnn_jax.cpu.status())
    assert not recwarn


@pytest.mark.parametrize("where", [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
def test_elsewhere_it_is_not_asked(monkeypatch, recwarn, where):
    monkeypatch.setattr(subprocess, "run", no_child)
    monkeypatch.setattr(platform, "system", lambda: where[0])
    monkeypatch.setattr(platform, "machine", lambda: where[1])
    cnn_jax.cpu.enable(keep_memory=False)
    assert f"not asked for on {' '.join(where)}" in str(cnn_jax.cpu.status())
    assert not recwarn


def test_a_build_without_onednn_is_not_asked(monkeypatch, recwarn):
    monkeypatch.setattr(subprocess, "run", no_child)
    monkeypatch.setattr(verdict.onednn, "CONVOLUTION", "__onednn$convolution of another build")
    cnn_jax.cpu.enable()
    assert "no oneDNN in this build of jaxlib" in str(cnn_jax.cpu.status())
    assert not recwarn


def test_where_jax_may_use_no_cpu(monkeypatch, recwarn):
    monkeypatch.setattr(subprocess, "run", no_child)
    monkeypatch.setattr(cnn_jax.cpu, "_platforms", lambda: "cuda")
    cnn_jax.cpu.enable()
    assert "its platforms are cuda" in str(cnn_jax.cpu.status())
    assert not recwarn


def test_a_context_that_nobody_knows_is_said_once(monkeypatch):
    monkeypatch.setattr(child, "PROGRAM", RIGHT)
    assert cnn_jax.cpu.enable()
    other = types.SimpleNamespace(module_context=types.SimpleNamespace(axis_context=1))
    with pytest.warns(RuntimeWarning, match="axis context"):
        assert not verdict.usable(other)
    assert not verdict.usable(other)
    assert "axis context" in str(cnn_jax.cpu.status())
    assert registry.installed()
    assert "__onednn$" not in product().as_text()
