"""A signal where no training loop can save: one line, at once, and what it says is true."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from cnn_jax.run import classification
from cnn_jax.train import hosts
from experiments import console, entry, stopping
from tests.run import as_command

BEGIN = """
import ctypes, os, signal, sys, time
from experiments import stopping
stopping.install()
"""
SLEEP = "print('ready', flush=True)\ntime.sleep(60)\n"


# Before a command: SIGHUP is ignored, as under nohup; a function between fork and exec would do it
# too, but JAX warns of every fork from Python
NOHUP = ("sh", "-c", "trap '' HUP; exec \"$@\"", "sh")


def ready(code, *arguments, program="experiments.classification", before=()):
    """A process that has printed 'ready' and now waits, to be sent signals."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", BEGIN + code, program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process, *numbers, within=20):
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.1)
    out, error = process.communicate(timeout=within)
    return process.returncode, out + error


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
@pytest.mark.parametrize(("flags", "status"), [([], 0), (["--interrupted_status=7"], 7)])
def test_before_the_first_step(name, flags, status):
    assert ended(ready(SLEEP, *flags), signal.Signals[name]) == (
        status,
        f"{name}: stopped before the first step: nothing new was saved\n",
    )


@pytest.mark.parametrize(("flag", "goes_on"), [("", True), ("--interrupted_status=75", False)])
def test_what_a_shell_makes_of_it(flag, goes_on):
    """`classification && evaluate`, as experiments/README.md says it."""
    listens = f'"$0" -c "$1" experiments.classification {flag}'
    process = subprocess.Popen(
        ["sh", "-c", f"{listens} && echo next || echo status $?", sys.executable, BEGIN + SLEEP
         .replace("'ready'", "os.getpid()")],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    os.kill(int(process.stdout.readline()), signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert out.splitlines() == (["next"] if goes_on else ["status 75"])


def test_other_programs_are_left_alone():
    process = ready(SLEEP, program="experiments.drill")
    status, text = ended(process, signal.SIGINT)
    assert text.strip().endswith("KeyboardInterrupt")  # which `entry.launch` makes a line of
    assert status == -signal.SIGINT


def test_while_the_main_thread_is_deep_in_a_library():
    """As in a long compilation: no Python runs there, and so no handler of Python's."""
    code = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})\n"
    code += "print('ready', flush=True)\nctypes.CDLL(None).sleep(60)\n"
    began = time.monotonic()
    status, text = ended(ready(code), signal.SIGTERM)
    assert time.monotonic() - began < 10
    assert (status, text[:24]) == (0, "SIGTERM: stopped before ")


def test_while_nobody_reads_what_it_prints():
    code = "print('ready', flush=True)\nwhile True: print('x' * 1000)\n"
    process = ready(code)
    time.sleep(0.5)  # the pipe is full
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    process.communicate()


def test_nohup_is_respected():
    process = ready(SLEEP, before=NOHUP)
    assert ended(process, signal.SIGHUP, signal.SIGTERM)[1].startswith("SIGTERM: stopped before")


OTHERS = "signal.signal(signal.SIGTERM, lambda *_: print('mine', flush=True))\n"


def test_another_handler_is_left_alone():
    process = ready(OTHERS + SLEEP, "--interrupted_status=7")
    status, text = ended(process, signal.SIGTERM, signal.SIGINT)
    assert (status, text.splitlines()[0]) == (7, "mine")
    assert "SIGINT: stopped before" in text


def test_the_loops_handlers_are_not_waited_for_until_it_has_started():
    code = "held = stopping.until_started('in the middle')\nstarted = held.__enter__()\n" + OTHERS
    assert "SIGTERM: stopped before" in ended(ready(code + SLEEP), signal.SIGTERM)[1]
    process = ready(code + "started()\n" + SLEEP)
    status, text = ended(process, signal.SIGTERM, signal.SIGINT)
    assert text.startswith("mine\nSIGINT: stopped in the middle")
    assert status == 130  # steps are lost


def test_several_processes_are_asked_by_sigterm_once():
    """JAX's service takes it, and brings all to the same step; a second one ends at once."""
    code = OTHERS + "stopping.together(lambda: True)\n"
    _, text = ended(ready(code + SLEEP), signal.SIGHUP, signal.SIGHUP)
    assert text.startswith("mine\nSIGHUP: stopped before")


def test_a_child_of_fork_ends_alone():
    code = """
child = os.fork()
if not child:
    time.sleep(60)
time.sleep(0.2)
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=sys.stderr)
"""
    process = ready("import warnings\nwarnings.simplefilter('ignore')\n" + code + SLEEP)
    _, text = ended(process, signal.SIGINT)
    assert text == "-15\nSIGINT: stopped before the first step: nothing new was saved\n"


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks at threads in /proc")
@pytest.mark.parametrize(
    "program",
    [["experiments.classification"], ["experiments.launch", "--", "experiments.detection"]],
)
def test_the_program_listens_before_jax_is_imported(program, tmp_path):
    where = f"--workdir={tmp_path / 'run'}"
    process = subprocess.Popen(
        [sys.executable, "-m", *program, "--interrupted_status=9", where],
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(list(Path(f"/proc/{process.pid}/task").iterdir())) < 2:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=20)
    assert text == "SIGTERM: stopped before the first step: nothing new was saved\n"
    assert process.returncode == 9
    assert not (tmp_path / "run").exists()


def test_a_run_says_what_is_true_in_each_of_its_phases(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(stopping, "now", lambda situation, **_: said.append(situation))
    where = tmp_path / "run"

    def run(steps):
        chosen = classification.ClassificationRecipe(
            model="mlp", batch_size=32, steps=steps, figures=True, devices=1, workdir=str(where),
            test_split="test[:64]",
            compilation_cache="",
        )  # fmt: skip
        experiment = classification.make_experiment(chosen)
        assert as_command.run(chosen, experiment._replace(draw=None)) == 0

    run(2)
    (where / "result.json").unlink()
    run(2)
    assert said == [
        f"before the first step: nothing was saved in {where}",
        f"at once: what was saved before in {where} is unchanged",
        f"after the last step: its checkpoint is in {where}",
        f"while drawing figures: result.json is in {where}",
        f"before the next step: the checkpoint of step 2 is unchanged. To resume: the same command "
        f"with --workdir={where}",
        *said[2:4],
    ]


def test_a_keyboard_interrupt_is_a_line(capsys, monkeypatch):
    monkeypatch.setattr(stopping, "_answer", threading.Lock())
    assert entry._tell(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err.startswith("SIGINT: stopped at once")


# A training step, a reader or a figure that never comes to an end.
PROGRAM = """
import time
from cnn_jax.data import pipeline
from cnn_jax import run
from cnn_jax.run import single
from experiments import command

def for_ever(*_):
    time.sleep(1000)

{}
command.launch(run.Recipe)
"""
DATA = """
make = pipeline.TrainBatches._make
pipeline.TrainBatches._make = lambda self, at: for_ever() if at == 1 else make(self, at)
"""
SMALL = (
    "--model=mlp", "--batch_size=32", "--steps=6", "--compilation_cache=", "--interrupted_status=9",
)  # fmt: skip
NAME = "experiments.classification"
FIGURES = "single._draw = for_ever\n"


def start(where, patch, *flags, before=(), **options):
    """The program, with the guard of `python -m`, up to the place where it stays."""
    code = f"import sys\nsys.orig_argv = ['python', '-m', {NAME!r}, *sys.argv[1:]]\n"
    code += BEGIN + PROGRAM.format(patch)
    return subprocess.Popen(
        [*before, sys.executable, "-c", code, *SMALL, f"--workdir={where}", *flags],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options},
    )


def wait_for(condition):
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_before_the_first_step_is_made_and_while_figures_are_drawn(tmp_path):
    where = tmp_path / "run"
    process = start(where, DATA, "--survey=off")
    assert "parameters" in process.stdout.readline()
    assert "is chosen on test" in process.stdout.readline()
    time.sleep(0.5)
    status, text = ended(process, signal.SIGTERM)
    assert status == 9
    assert text == f"SIGTERM: stopped before the first step: nothing was saved in {where}\n"
    assert not list((where / "checkpoints").iterdir())

    process = start(where, FIGURES)
    wait_for((where / "result.json").exists)
    time.sleep(0.5)
    status, text = ended(process, signal.SIGHUP)
    assert status == 9
    assert text.splitlines()[-1] == (
        f"SIGHUP: stopped while drawing figures: result.json is in {where}"
    )
    assert "Traceback" not in text


@pytest.mark.slow
def test_a_second_ctrl_c_in_the_middle_says_what_is_true(tmp_path):
    """It was: stopped before the first step, nothing was saved, status 0."""
    where = tmp_path / "run"
    process = start(where, DATA.replace("at == 1", "at == 4"), "--checkpoint_every_steps=1")
    # batch 4 is wanted before batch 3 is used, so that step 3 is the last: earlier, the first
    # signal would be answered by the loop
    wait_for((where / "checkpoints" / "3").is_dir)
    time.sleep(1)
    status, text = ended(process, signal.SIGINT, signal.SIGINT)
    assert status == 130
    (line,) = (line for line in text.splitlines() if "stopped" in line)
    assert re.match(r"SIGINT: stopped at once[:;] what was saved before .*is unchanged", line)


@pytest.mark.slow
@pytest.mark.parametrize("merged", [False, True])
def test_a_closed_pipe_does_not_end_the_run(merged, tmp_path):
    where = tmp_path / "run"
    error = subprocess.STDOUT if merged else subprocess.PIPE
    process = start(where, "", "--log_every=1", "--steps=40", "--nofigures", stderr=error)
    process.stdout.readline()
    process.stdout.close()
    said = ""
    if not merged:
        with process.stderr as stream:
            said = stream.read()
    assert process.wait(timeout=120) == 0
    assert (where / "result.json").exists()
    assert len((where / "metrics.jsonl").read_text().splitlines()) == 41
    if not merged:
        (line,) = said.splitlines()
        assert line == (
            "Standard output is closed (Broken pipe): the run goes on without it, see "
            f"metrics.jsonl in {where}"
        )


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("setsid") is None, reason="util-linux's setsid gives a terminal")
@pytest.mark.parametrize("nohup", [False, True])
def test_a_terminal_that_is_closed(nohup, tmp_path):
    """The kernel sends SIGHUP, and every later write, the progress bar's too, is an error."""
    ours, theirs = os.openpty()
    where = tmp_path / "run"
    process = start(
        where,
        "",
        f"--steps={400 if nohup else 10**6}",
        "--nofigures",
        before=("setsid", "--ctty", *(NOHUP if nohup else ())),
        **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    rows = where / "metrics.jsonl"
    while not (rows.exists() and rows.read_text().count("\n") > 2):
        assert os.read(ours, 10_000)
    os.close(ours)
    assert process.wait(timeout=60) == (0 if nohup else 9)
    assert (where / "result.json").exists() == nohup
    steps = [int(path.name) for path in (where / "checkpoints").iterdir() if path.name.isdigit()]
    written = [json.loads(line) for line in rows.read_text().splitlines()]
    assert max(steps) >= max(row["step"] for row in written)


@contextlib.contextmanager
def pipes():
    """Standard output and standard error as pipes that nobody reads from: their reading ends."""
    pairs = [os.pipe() for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as held:
        for name, (_, writing) in zip(("stdout", "stderr"), pairs, strict=True):
            patch.setattr(sys, name, held.enter_context(os.fdopen(writing, "w")))
        patch.setattr(console, "_lost", [])
        patch.setattr(console, "_note", "")
        yield [reading for reading, _ in pairs]


def test_what_is_printed_after_the_pipe_is_closed_is_gone_and_said_once():
    with pipes() as (out, error), console.lasting():
        console.if_lost("see DIR")
        print("heard", flush=True)
        assert os.read(out, 100) == b"heard\n"
        os.close(out)
        for _ in range(3):
            print("not heard", flush=True)
        sys.stderr.flush()
        assert os.read(error, 1000) == b"Standard output is closed (Broken pipe): see DIR\n"
        os.close(error)


def test_both_may_be_closed():
    with pipes() as readers:
        with console.lasting():
            for reading in readers:
                os.close(reading)
            print("x" * 100_000, flush=True)
            print("x", file=sys.stderr, flush=True)
            console.if_lost("see DIR")
        sys.stdout.flush()  # as at the end of Python


def test_a_full_disk_loses_lines_and_not_the_run(monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as stream:
        lasting = console.Lasting(stream, "Standard output")
        lasting.write("x" * 100_000)
        lasting.flush()
        assert lasting.fileno() == stream.fileno()
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def test_leaving_needs_no_console(tmp_path):
    code = "import os\nfrom cnn_jax.train import ending\nos.close(2)\nending.end(5, 'x')\n"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 5
    assert re.match(r"\d+", str(hosts.PEER_LOST))


def test_a_checkpoint_that_cannot_be_written_ends_the_program_at_once():
    """Orbax's threads, which are no daemons, wait for ten minutes for it."""
    code = """
        import threading, time
        from cnn_jax.train.checkpoint import CheckpointError
        from experiments import entry

        def main():
            threading.Thread(target=time.sleep, args=(600,)).start()
            raise CheckpointError("A checkpoint cannot be written.")

        entry.launch(main)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, "error: A checkpoint cannot be written.\n")
