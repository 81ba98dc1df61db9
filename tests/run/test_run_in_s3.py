"""Runs and data in S3, as moto's server plays it: interrupted, and gone on with elsewhere."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from cnn_jax import stores
from cnn_jax.data.readers import prepared
from cnn_jax.run import classification, directory
from tests.run import as_command, test_resume
from tests.run.test_resume import SETTINGS, run

pytest.importorskip("s3fs", reason="pip install 'cnn-jax[cloud]'")
pytest.importorskip("moto.server", reason="pip install 'moto[server]'")

HEARTBEAT = 8  # seconds after which a killed run is given up


@pytest.fixture(scope="module")
def bucket():
    """The URL of a bucket; the environment has what is needed to reach it."""
    command = [sys.executable, "-u", "-c", SERVER]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    endpoint = f"http://127.0.0.1:{server.stdout.readline().strip()}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        for name in ("http_proxy", "HTTP_PROXY"):
            patch.delenv(name, raising=False)
        request = urllib.request.Request(f"{endpoint}/bucket", method="PUT")
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).close()
        yield "s3://bucket"
    server.kill()
    server.communicate()


# moto ends with the pipe, should the tests be killed
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1])
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    where = tmp_path_factory.mktemp("undisturbed")
    assert run(where) == 0
    return where


class Machine:
    """One with a disk of its own, below `home`."""

    def __init__(self, home: Path):
        self.home, self.started = home, []

    def start(self, url: str, *more: str, launch: int = 0) -> subprocess.Popen:
        settings = {**SETTINGS, "workdir": url, "heartbeat": HEARTBEAT}
        flags = [
            f"--{field.name}={settings[field.name]}"
            for field in dataclasses.fields(classification.ClassificationRecipe)
            if field.name in settings
        ]
        module = ["experiments.classification"]
        if launch:
            module = ["experiments.launch", f"--processes={launch}", "--", *module]
            flags.remove("--devices=1")
        process = subprocess.Popen(
            [sys.executable, "-m", *module, *flags, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": str(self.home)},
        )
        self.started.append(process)
        return process

    def finish(self, url: str, *more: str, launch: int = 0) -> tuple[int, str]:
        """Exit status and the last line on the standard error."""
        process = self.start(url, *more, launch=launch)
        error = process.communicate(timeout=180)[1]
        return process.returncode, error.strip().rpartition("\n")[2]

    def forget(self) -> None:
        shutil.rmtree(self.home)


@pytest.fixture
def machines(tmp_path):
    """Two, of which no process is left behind."""
    both = Machine(tmp_path / "machine"), Machine(tmp_path / "other")
    yield both
    for process in (each for machine in both for each in machine.started):
        if process.poll() is None:
            kill(process)


@pytest.fixture
def machine(machines):
    return machines[0]


@pytest.fixture
def other(machines):
    return machines[1]


def wait_for(process: subprocess.Popen, condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill(process: subprocess.Popen) -> None:
    process.kill()  # of SIGSTOP too
    process.communicate()


def assert_is(url: str, undisturbed: Path) -> dict:
    """The run in the store is the undisturbed one, bit for bit. Returns its result."""
    with directory.readable(url) as where:
        assert test_resume.final_state(where) == test_resume.final_state(undisturbed)
        assert test_resume.results(where) == test_resume.results(undisturbed)
        result = json.loads((where / "result.json").read_text())
    reference = json.loads((undisturbed / "result.json").read_text())
    assert result["test_accuracy"] == reference["test_accuracy"]
    return result


def marked(store: stores.Store) -> set[str]:
    return {n for n in store.entries("checkpoints") if n.endswith(".json")}


@pytest.mark.exhaustive
def test_stopped_by_sigterm_with_data_in_s3(bucket, undisturbed, machine, tmp_path, monkeypatch):
    digits = prepared.find_or_prepare("digits", None)
    here = digits.parent.parent
    files = {str(p.relative_to(here)): p for p in digits.parent.rglob("*") if p.is_file()}
    stores.Store(f"{bucket}/data").upload(files)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "none"))
    url, data = f"{bucket}/terminated", f"--data_dir={bucket}/data"
    store = stores.Store(url)
    process = machine.start(url, data, "--interrupted_status=75")
    wait_for(process, lambda: marked(store))
    process.send_signal(signal.SIGTERM)
    output, error = process.communicate(timeout=60)
    assert process.returncode == 75, error
    assert f"--workdir={url}" in output
    assert list(machine.home.rglob("*train.array_record*"))
    machine.forget()
    assert machine.finish(url, data) == (0, "")
    assert not (tmp_path / "none").exists()
    result = assert_is(url, undisturbed)
    assert result["restarts"] == 1
    assert 0 < result["wall_seconds_productive"] < result["wall_seconds_total"]
    assert result["goodput"] == pytest.approx(
        result["wall_seconds_productive"] / result["wall_seconds_total"], abs=0.01
    )


@pytest.mark.slow
def test_killed_and_gone_on_with_by_another_machine(
    bucket, undisturbed, machine, other, monkeypatch
):
    """While it lives it is refused; once it is dead the hold runs out."""
    url = f"{bucket}/killed"
    store = stores.Store(url)
    monkeypatch.setenv("XDG_CACHE_HOME", str(other.home))
    chosen = test_resume.recipe(url, heartbeat=HEARTBEAT)
    experiment = classification.make_experiment(chosen)
    process = machine.start(url, "--checkpoint_every_steps=1")  # with so many it takes a while
    wait_for(process, lambda: store.entries("lock"))
    with pytest.raises(ValueError, match=f"{url} is in use by process {process.pid}"):
        as_command.run(chosen, experiment)
    wait_for(process, lambda: process.poll() is not None or marked(store))
    kill(process)
    machine.forget()
    assert other.finish(url) == (0, "")
    assert assert_is(url, undisturbed)["restarts"] <= 1


@pytest.mark.exhaustive
def test_one_that_was_only_frozen_stops(bucket, undisturbed, machine, other):
    url = f"{bucket}/frozen"
    process = machine.start(url)
    wait_for(process, lambda: marked(stores.Store(url)))
    process.send_signal(signal.SIGSTOP)
    assert other.finish(url) == (0, "")
    process.send_signal(signal.SIGCONT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "was taken over by process" in " ".join(error.split())
    assert_is(url, undisturbed)


@pytest.mark.slow
def test_killed_in_the_middle_of_an_upload(bucket, undisturbed, machine):
    url = f"{bucket}/halves"
    store = stores.Store(url)

    def halves() -> set[str]:
        names = store.entries("checkpoints")
        steps = {n.split("/")[1].split("-")[0] for n in names if not n.endswith(".json")}
        return {step for step in steps if f"checkpoints/{step}.json" not in names}

    for _ in range(4):  # it may have been whole just before the signal
        process = machine.start(url)
        wait_for(process, halves)
        kill(process)
        if halves():
            break
    assert halves()
    machine.forget()
    assert machine.finish(url)[0] == 0
    assert not halves()
    assert_is(url, undisturbed)


@pytest.mark.exhaustive
def test_two_processes_without_a_common_disk(bucket, undisturbed, machine):
    """The first alone writes; the numbers are those of one process, but for the order of sums."""
    url = f"{bucket}/two"
    store = stores.Store(url)
    process = machine.start(url, "--cpu_devices=1", launch=2)
    wait_for(process, lambda: marked(store))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=90)
    assert not store.entries().keys() & {"result.json"}
    machine.forget()
    assert machine.finish(url, "--cpu_devices=1", launch=2)[0] == 0
    with directory.readable(url) as where:
        ours = [row for row in test_resume.results(where) if row["split"] == "test"]
    theirs = [row for row in test_resume.results(undisturbed) if row["split"] == "test"]
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for mine, reference in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine["loss"], reference["loss"], rtol=1e-3)


@pytest.mark.slow
def test_what_is_wrong_is_one_line(bucket, machine, monkeypatch):
    status, error = machine.finish("s3://nowhere/run")
    assert (status, "no such bucket" in error) == (1, True), error
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
    status, error = machine.finish(f"{bucket}/run")
    assert (status, "no credentials were found" in error) == (1, True), error
