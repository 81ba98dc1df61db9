"""What differs between processes is found, and told in one line, in all of them."""

import copy
import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from unittest import mock

import jax
import pytest

import experiments
from cnn_jax.run import agreement as parts
from cnn_jax.run import classification, detection, initial_variables, segmentation, workdir
from cnn_jax.train import agreement, gloo, joining, meeting, state
from experiments import launch
from tests.train.test_hosts import ROOT, environment

RECIPES = (
    classification.ClassificationRecipe,
    detection.DetectionRecipe,
    segmentation.SegmentationRecipe,
)


# --- differences, as a function of descriptions ---


def test_the_same_does_not_differ():
    one = {"rate": 0.1, "names": ["a", "b"], "none": None, "nan": float("nan"), "of": {"x": [1]}}
    assert agreement.differences([one, dict(reversed(one.items())), one]) == []


@pytest.mark.parametrize(
    ("one", "other", "name", "values"),
    [
        ({"--seed": 0}, {"--seed": 3}, "--seed", ["0", "3"]),
        ({"--rate": 0.1}, {"--rate": 0.1 + 1e-16 * 2}, "--rate", ["0.1", "0.1000000000000002"]),
        ({"--flag": True}, {"--flag": 1}, "--flag", ["true", "1"]),
        ({"names": ["a", "b"]}, {"names": ["a", "c"]}, "names[1]", ['"b"', '"c"']),
        ({"names": ["a"]}, {"names": ["a", "b"]}, "names", ["1 of them", "2 of them"]),
        ({"of": {"x/y": 1}}, {"of": {}}, "of x/y", ["1", agreement.ABSENT]),
        ({}, {"--new": ""}, "--new", [agreement.ABSENT, '""']),
    ],
)
def test_what_differs(one, other, name, values):
    first = agreement.differences([one, other])[0]
    assert first.name == name
    assert first.values == ((values[0], (0,)), (values[1], (1,)))


def test_what_only_one_has_of_what_counts_where_it_is_shared():
    both = [{"file": {"a.py": "1", "b.py": "2"}}, {"file": {"a.py": "1"}}]
    assert agreement.differences(both)
    assert agreement.differences(both, shared=("file",)) == []
    both[1]["file"]["a.py"] = "0"
    (found,) = agreement.differences(both, shared=("file",))
    assert found.name == "file a.py"


def test_the_line_names_the_field_the_values_and_the_processes():
    found = agreement.differences([{"size": 0}, {"size": 1}, {"size": 0}])
    assert agreement.line(found, ["a", "b", "c"]) == (
        "size is 0 in processes 0 (a), 2 (c) and 1 in process 1 (b)"
    )
    found = agreement.differences([{"seed=": 0}, {"seed=": 1}])
    assert agreement.line(found, "ab") == "seed=0 in process 0 (a) and seed=1 in process 1 (b)"


def test_the_line_is_short_and_one():
    many = [{f"x{i}": "\n" * 500 for i in range(50)}, {f"x{i}": i for i in range(50)}]
    text = agreement.line(agreement.differences(many * 64), [f"host-{i}" for i in range(128)])
    assert "\n" not in text
    assert "and 60 more" in text
    assert text.endswith("and 46 more")
    assert len(text) < 1500


def test_alone_there_is_nothing_to_settle():
    agreement.settle("x", float, lambda values, machines: "never asked")
    agreement.check("x", {"not JSON": float})


def test_it_is_said_for_whom_it_waits(monkeypatch):
    answers = iter([None, "value"])

    def get(key, milliseconds):
        if (answer := next(answers)) is None:
            raise jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: no such key yet")
        return answer

    client = mock.Mock(
        blocking_key_value_get=get, key_value_dir_get=lambda key: [(f"{key}/{i}", "") for i in "02"]
    )
    said: list[str] = []
    monkeypatch.setattr(agreement, "NOTICE", -1.0)
    monkeypatch.setattr(agreement.hosts, "client", lambda: client)
    monkeypatch.setattr(agreement.jax, "process_count", lambda: 4)
    monkeypatch.setattr(agreement.log, "warning", lambda text, *more: said.append(text % more))
    assert agreement._wait("key", "stage", "the data") == "value"
    assert said == ["Waiting for process 1, 3 of 4 to compare the data."]


# --- what is compared ---


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_setting_is_compared_but_for_those_of_the_host(recipe):
    names = {field.name for field in dataclasses.fields(recipe)}
    assert names >= parts.MAY_DIFFER
    compared = {name[:-1] for name in parts.settings_of(recipe()) if name.endswith("=")}
    assert compared == names - parts.MAY_DIFFER
    results = {field.name for field in dataclasses.fields(recipe) if field.metadata["result"]}
    assert results <= compared


def test_what_jax_is_told_in_the_environment_is_compared(monkeypatch):
    names = {name for name in parts.JAX_OPTIONS if hasattr(jax.config, name)}
    assert len(names) > 15  # of a version that lost some
    before = parts.machine()
    monkeypatch.setattr(type(jax.config), "jax_random_seed_offset", 7, raising=False)
    monkeypatch.setenv("LIBTPU_INIT_ARGS", "--xla_tpu_fast=true")
    (first, second) = agreement.differences([before, parts.machine()])
    assert first.name == "JAX_RANDOM_SEED_OFFSET"  # all later keys, with equal parameters
    assert second.name == "LIBTPU_INIT_ARGS"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("--xla_a=1 --xla_b=2", " --xla_b=2  --xla_a=1 ", True),
        ("--xla_a=1 --xla_a=2", "--xla_a=2 --xla_a=1", False),  # the last one counts
        ("--xla_a=1 --xla_a=2", "--xla_a=2", True),
        ("--xla_a=1 --xla_dump_to=/here", "--xla_a=1", True),
        ("FILE", "--xla_in_file=1", True),
        ("FILE", "", False),
    ],
)
def test_flags_of_xla_are_compared_by_what_they_mean(one, other, same, tmp_path):
    (tmp_path / "flags").write_text("--xla_in_file=1\n")
    values = [
        parts._xla_flags(text.replace("FILE", str(tmp_path / "flags"))) for text in (one, other)
    ]
    assert (values[0] == values[1]) is same


def test_another_experiment_is_another():
    one, other = (parts.settings_of(recipe()) for recipe in RECIPES[:2])
    assert agreement.differences([one, other])[0].name == "the experiment"


def test_a_changed_line_of_code_is_another_program(tmp_path, monkeypatch):
    before = parts.source_files([experiments])
    assert {"cnn_jax/run/agreement.py", "experiments/command.py"} <= before.keys()
    (tmp_path / "cnn_jax").mkdir()
    monkeypatch.setattr(parts.cnn_jax, "__path__", [str(tmp_path / "cnn_jax")])
    hashes = set()
    for content in (b"x = 1\n", b"x = 1\r\n", b"x = 2\n"):
        (tmp_path / "cnn_jax" / "typing.py").write_bytes(content)
        hashes.add(parts.source_files()["cnn_jax/typing.py"])
    assert len(hashes) == 2


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    recipe = classification.ClassificationRecipe(model="mlp", compilation_cache="")
    experiment = classification.make_experiment(recipe)
    return experiment, initial_variables(experiment, seed=0)


@pytest.mark.parametrize(
    ("change", "name", "values"),
    [
        ({"best": "loss"}, "the figure to choose by", ['"accuracy"', '"loss"']),
        ({"data": 1437}, "the data set's data train examples", ["1438", "1437"]),
        ({"names": "zero"}, "the data set's class_names[0]", ['"0"', '"zero"']),
        ({"hidden": (64,)}, "the network's params/", ["float32", "float32"]),
        ({"weights": 1e-7}, "the checksum of the given params/", ['"', '"']),
    ],
)
def test_data_network_and_given_weights_are_compared(made, change, name, values):
    experiment, variables = made
    experiment = other = experiment._replace(variables=variables)
    facts = experiment.facts
    match change:
        case {"best": best}:
            other = experiment._replace(best=best)
        case {"data": count}:
            data = copy.deepcopy(facts.data)
            data["train"]["examples"] = count
            facts = dataclasses.replace(facts, data=data)
        case {"names": first}:
            facts = dataclasses.replace(facts, class_names=(first, *facts.class_names[1:]))
        case {"weights": shift}:
            moved = jax.tree.map(lambda leaf: leaf + shift, variables)
            other = experiment._replace(variables=moved)
    shapes = variables
    if "hidden" in change:
        model = experiment.model.clone(hidden=change["hidden"])
        shapes = state.init_variables(model, experiment.image, seed=0)
    pair = [
        parts.parts_of(experiment, variables),
        parts.parts_of(other._replace(facts=facts), shapes),
    ]
    assert agreement.differences([json.loads(json.dumps(pair[0])), pair[0]]) == []
    first = agreement.differences(pair)[0]
    assert first.name.startswith(name)
    for (text, _), value in zip(first.values, values, strict=True):
        assert value in text


def test_a_lock_of_an_earlier_run_does_not_make_a_directory_a_shared_one(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir, "SEEN_WITHIN", 0.3)
    (tmp_path / "lock").write_text("process 12 on host0\nfedcba98\n")
    assert not workdir.sees(tmp_path, "0123abcd")
    assert not workdir.sees(tmp_path / "absent", "0123abcd")
    (tmp_path / "lock").write_text("process 12 on host0\n0123abcd\n")
    assert workdir.sees(tmp_path, "0123abcd")


@pytest.mark.parametrize(
    ("given", "environment", "first"),
    [(0, {}, True), (1, {}, False), (-1, {}, True), (-1, {"SLURM_PROCID": "0"}, True),
     (-1, {"SLURM_PROCID": "3"}, False), (0, {"SLURM_PROCID": "3"}, True)],
)  # fmt: skip
def test_which_process_serves_the_others(given, environment, first, monkeypatch):
    for name in joining.OWN_ID:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert joining._may_be_first(given) == first


# --- where gloo listens ---


def test_the_address_on_the_way(monkeypatch):
    assert gloo.on_the_way_to("127.0.0.1", 1234) == "127.0.0.1"
    unknown(monkeypatch)
    assert gloo.on_the_way_to("elsewhere", 1234) == ""


def test_without_a_way_to_choose_the_cure_is_said(monkeypatch):
    """Where JAX's private parts are gone, and the machine's own name is Debian's 127.0.1.1."""
    said = {"processes": 2, "machine": "host1", "address": "10.0.0.2"}
    client = mock.Mock(blocking_key_value_get=lambda key, wait: json.dumps(said))
    here = mock.Mock(
        client=client, num_processes=2, process_id=0, coordinator_address="10.0.0.1:1234"
    )
    monkeypatch.setattr(gloo, "on_the_way_to", lambda host, port: "10.0.0.1")
    monkeypatch.setattr(gloo, "listen_at", lambda address, client: False)
    monkeypatch.setattr(gloo, "named_loopback", lambda: "")
    gloo.listen_where_reached(here)
    monkeypatch.setattr(gloo, "named_loopback", lambda: "127.0.1.1")
    with pytest.raises(ValueError, match=r"stands for 127.0.1.1, .* Write 10.0.0.1 .* /etc/hosts"):
        gloo.listen_where_reached(here)
    here.num_processes = 3
    with pytest.raises(ValueError, match=r"is 2 in process 1 \(host1\) and 3 in process 0"):
        gloo.listen_where_reached(here)


def test_a_loopback_is_not_told_to_other_hosts(monkeypatch):
    monkeypatch.setattr(gloo, "on_the_way_to", lambda host, port: {"10.0.0.2": "10.0.0.1"}[host])
    assert gloo.choose("127.0.0.1", ["127.0.0.1", "127.0.1.1"], 1) == "127.0.0.1"
    assert gloo.choose("127.0.0.1", ["127.0.0.1", "10.0.0.2"], 1) == "10.0.0.1"
    assert gloo.choose("::1", ["", "10.0.0.2"], 1) == "10.0.0.1"
    assert gloo.choose("", ["10.0.0.2"], 1) == "10.0.0.1"
    assert gloo.choose("10.0.0.3", ["10.0.0.2"], 1) == "10.0.0.3"


def test_who_is_connected():
    rows = [
        "  sl  local_address rem_address   st tx_queue rx_queue",
        "   0: 0100007F:1234 00000000:0000 0A 00000000:00000000",  # listens
        "   1: 0107D50A:1234 0207D50A:D431 01 00000000:00000000",
        "   2: 0107D50A:1235 0307D50A:D431 01 00000000:00000000",  # another port
        "   3: 0000000000000000FFFF00000107D50A:1234 0000000000000000FFFF00000107D50A:9000 01 0",
        "   4: 000000000000000000000000000000FD:1234 000080FE00000000000000000100000A:9000 01 0",
    ]
    if sys.byteorder == "little":
        assert meeting.connected(0x1234, "\n".join(rows)) == [
            "10.213.7.1", "10.213.7.2", "fe80::a00:1"
        ]  # fmt: skip


def unknown(monkeypatch):
    """No name is known."""

    def fail(*arguments, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


def test_why_the_first_is_not_reached(monkeypatch):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        assert "cannot be reached there (Connection refused)" in meeting.seen_by_other(
            *probe.getsockname()
        )
        probe.listen()
        assert meeting.seen_by_other(*probe.getsockname()).startswith("Process 0 answers")
    unknown(monkeypatch)
    assert "does not know the name elsewhere" in meeting.seen_by_other("elsewhere", 1)


def test_an_address_that_is_not_this_machines():
    with pytest.raises(ValueError, match="coordinator_bind_address=here: wanted ADDRESS:PORT"):
        joining.connect("here:1234", 2, 0, coordinator_bind_address="here")
    # of TEST-NET-3, which nobody has: RFC 5737
    with pytest.raises(joining.HostsError, match=r"cannot listen at here:1 \(203.0.113.1:1\)"):
        joining._check_port("203.0.113.1:1", "here:1")


# --- two processes ---

SETTLE = """
import os, subprocess, sys
from cnn_jax.train import agreement, hosts, joining
given = dict(each.removeprefix("--").split("=") for each in sys.argv[1:])
index = int(given["process_id"])
joining.connect(given["coordinator"], 2, index, heartbeat=6, connect_timeout=60)
agreement.check("x", {"same": [1, None]})
listening = subprocess.run(["ss", "-ltnHp"], capture_output=True, text=True).stdout.splitlines()
own = [line.split()[3] for line in listening if f"pid={os.getpid()}," in line]
print("listens", *own, flush=True)
try:
    agreement.check("the settings", {"rate": 0.1 + index})
except agreement.DisagreementError as error:
    hosts.leave(1, f"error: {error}")
"""


@pytest.mark.skipif(not shutil.which("ss"), reason="asks ss, of iproute2, who listens where")
def test_two_that_differ_end_with_one_line_and_no_stranger_could_join_them(tmp_path):
    (tmp_path / "settling.py").write_text(SETTLE)
    done = subprocess.run(
        [sys.executable, "-m", "experiments.launch", "--", "settling"],
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}"),
        timeout=90,
    )
    assert done.returncode == 1, done
    errors = [line[4:] for line in done.stdout.splitlines() if "error: " in line]
    assert len(errors) == 2, done
    assert errors[0] == errors[1]
    for part in ("do not agree on the settings: rate is 0.1 in process 0 (", "1.1 in process 1 ("):
        assert part in errors[0]
    addresses = re.findall(r"\S+:\d+", " ".join(re.findall("listens(.*)", done.stdout)))
    assert len(addresses) >= 3  # of gloo in each, and of the coordination service in the first
    loopback = re.compile(r"(127\.0\.0\.1|\[::ffff:127\.0\.0\.1\]):\d+")
    assert all(loopback.fullmatch(address) for address in addresses), addresses


FAILS = """
import os, signal, sys
from cnn_jax.train import agreement, hosts, joining
index = int(sys.argv[2])
joining.connect(sys.argv[1], 2, index, heartbeat=int(sys.argv[5]), connect_timeout=60)
if index == int(sys.argv[3]):
    if sys.argv[4] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    hosts.leave(1, "error: there is no data")
agreement.check("x", {"same": 1})
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["failed", "killed"])
@pytest.mark.parametrize("index", [0, 1])
def test_who_fails_before_the_comparison_is_named(index, how):
    """At once, or, where it could not say anything itself, by its heartbeat."""
    heartbeat = {"failed": 60, "killed": 6}[how]
    began = time.monotonic()
    where = f"127.0.0.1:{launch.free_port()}"
    both = [
        subprocess.Popen(
            [sys.executable, "-c", FAILS, where, str(each), str(index), how, str(heartbeat)],
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for each in (0, 1)
    ]
    said = [each.communicate(timeout=90)[1] for each in both]
    status = [each.returncode for each in both]
    assert time.monotonic() - began < 30
    assert status[index] == {"failed": 1, "killed": -signal.SIGKILL}[how]
    if (how, index, status[1]) == ("killed", 0, -signal.SIGABRT):
        # on a busy machine XLA, whose service is gone with process 0, is quicker than we are
        assert "coordination service" in said[1]
        return
    assert status[1 - index] == 75, said
    what = {"failed": "ended: there is no data.", "killed": "is gone, or was silent for 6 s"}[how]
    assert f"process {index} of 2 {what}" in said[1 - index]
