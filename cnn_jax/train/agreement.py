"""Compares what must be the same in every process before it matters, and names what differs.

Processes that disagree do not stop by themselves: with different learning rates each trains its
own copy of the network, and with different batch sizes each waits for the other for ever. So every
process describes what it is about to do, through the coordination service, before any collective
operation; process 0 compares, and all end with the same line.
"""

import contextlib
import json
import logging
import platform
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from cnn_jax.train import hosts

log = logging.getLogger(__name__)

NAMED = 4  # differences, and processes with the same value, that a message names at most
LONGEST = 80  # characters of a value in a message
NOTICE = 30.0  # seconds of waiting until it is logged for whom
HEARD = 10_000  # milliseconds for all processes to hear that they disagree
ABSENT = "missing"

_stages = iter(range(2**62))  # numbers of the calls of `settle`, the same in every process


class DisagreementError(ValueError):
    """The processes disagree; the message names what differs, and in which of them."""


class Difference(NamedTuple):
    """A difference between processes: the values as text, and the processes that have each."""

    name: str
    values: tuple[tuple[str, tuple[int, ...]], ...]


def differences(
    descriptions: Sequence[Mapping[str, Any]], *, shared: Collection[str] = ()
) -> list[Difference]:
    """The differences between the descriptions of several processes, in the order of their names.

    Args:
        descriptions: JSON, one per process; mappings and lists are compared item by item.
        shared: names under which only items that all descriptions have are compared.
    """
    flat = [
        {path: text for name, value in description.items() for path, text in _flatten(name, value)}
        for description in descriptions
    ]
    found = []
    for path in dict.fromkeys(path for each in flat for path in each):
        texts = [each.get(path, ABSENT) for each in flat]
        if len(set(texts)) == 1:
            continue
        if ABSENT in texts and any(path.startswith(f"{name} ") for name in shared):
            continue
        groups = {text: tuple(i for i, t in enumerate(texts) if t == text) for text in texts}
        found.append(Difference(path, tuple(groups.items())))
    return found


def _flatten(path: str, value: Any) -> list[tuple[str, str]]:
    """('facts', {'names': ['a']}) -> [('facts names', '1 of them'), ('facts names[0]', '"a"')]"""
    if isinstance(value, Mapping):
        return [pair for name in value for pair in _flatten(f"{path} {name}", value[name])]
    if isinstance(value, (list, tuple)):
        items = [pair for i, item in enumerate(value) for pair in _flatten(f"{path}[{i}]", item)]
        return [(path, f"{len(value)} of them"), *items]
    return [(path, json.dumps(value))]


def line(found: Sequence[Difference], machines: Sequence[str]) -> str:
    """The differences as one line: 'x is 1 in process 0 (host-a) and 2 in process 1 (host-b)'.

    Args:
        found: see `differences`.
        machines: the machine name of each process.
    """

    def where(indices: Sequence[int]) -> str:
        named = [f"{i} ({machines[i]})" for i in indices[:NAMED]]
        more = f" and {len(indices) - NAMED} more" if len(indices) > NAMED else ""
        return f"process{'es' if len(indices) > 1 else ''} {', '.join(named)}{more}"

    parts = []
    for each in found[:NAMED]:
        values = [f"{_short(text)} in {where(indices)}" for text, indices in each.values]
        if each.name.endswith("="):  # a parameter: 'seed=0 in process 0 and seed=1 in process 1'
            parts.append(" and ".join(each.name + value for value in values))
        else:
            parts.append(f"{each.name} is {' and '.join(values)}")
    if len(found) > NAMED:
        parts.append(f"and {len(found) - NAMED} more")
    return "; ".join(parts)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def check(what: str, description: Mapping[str, Any], *, shared: Collection[str] = ()) -> None:
    """Compares a description with those of the other processes. Every process calls it.

    Args:
        what: what is compared, for messages: 'the settings'.
        description: JSON by name; messages use the names.
        shared: see `differences`.

    Raises:
        DisagreementError: in every process, with the same line, if they differ.
    """

    def judge(descriptions: list[Any], machines: list[str]) -> str:
        found = differences(descriptions, shared=shared)
        if not found:
            return ""
        return (
            f"the processes do not agree on {what}: {line(found, machines)}. All of them must be "
            "started by the same command, with the same code, data and versions."
        )

    settle(what, description, judge)


def settle(what: str, value: Any, judge: Callable[[list[Any], list[str]], str]) -> None:
    """Shows process 0 the values of all processes, and tells all of them its verdict.

    After a while every process logs which others are missing; `hosts` names a failed process and
    its error. In a single process nothing happens.

    Args:
        what: what the values are about, for messages.
        value: JSON.
        judge: (the values, the machine names) -> what is wrong with them; '' for nothing. Only
            process 0 calls it.

    Raises:
        DisagreementError: in every process, with what `judge` returned.
    """
    if not hosts.several():
        return
    client, stage = hosts.client(), f"cnn_jax/agree/{next(_stages)}"
    index, count = jax.process_index(), jax.process_count()
    said = {"what": what, "value": value, "machine": platform.node()}
    client.key_value_set(f"{stage}/said/{index}", json.dumps(said))
    if index == 0:
        heard = [json.loads(_wait(f"{stage}/said/{i}", stage, what)) for i in range(count)]
        machines = [each["machine"] for each in heard]
        other = differences([{"what is compared": each["what"]} for each in heard])
        verdict = line(other, machines) or judge([each["value"] for each in heard], machines)
        client.key_value_set(f"{stage}/verdict", json.dumps(verdict))
    verdict = json.loads(_wait(f"{stage}/verdict", stage, what))
    if not verdict:
        return
    hosts.stop_watching()  # so that each reports the disagreement, and not the loss of another
    with contextlib.suppress(Exception):
        client.wait_at_barrier(f"{stage}/heard", HEARD)
    raise DisagreementError(verdict)


def _wait(key: str, stage: str, what: str) -> str:
    """The value of a key, once it is there; logs now and then who is being waited for."""
    client, began = hosts.client(), time.monotonic()
    while True:
        try:
            # in short waits: Python handles signals only between them
            return client.blocking_key_value_get(key, 1_000)
        except jax.errors.JaxRuntimeError as error:
            if "DEADLINE_EXCEEDED" not in str(error):
                raise
        if time.monotonic() - began > NOTICE:
            began = time.monotonic()
            there = {
                name.rpartition("/")[2] for name, _ in client.key_value_dir_get(f"{stage}/said")
            }
            missing = [i for i in range(jax.process_count()) if str(i) not in there]
            names = ", ".join(map(str, missing[:NAMED])) + (", ..." if missing[NAMED:] else "")
            log.warning(
                "Waiting for process %s of %d to compare %s.",
                names or "0",
                jax.process_count(),
                what,
            )
