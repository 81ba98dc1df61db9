"""A contender in another process, as the process that times it sees it."""

import json
import os
import subprocess
import sys
from typing import Any

PROGRAM = "import sys; from experiments.benchmark import serve; serve.main(*sys.argv[1:])"


class EndedError(RuntimeError):
    """A contender's process has ended by itself."""


class Contender:
    """A contender in a separate process, with its own threads, heap and caches.

    Attributes:
        facts: what it has said of itself: parameters, whether it trains, losses, memory.
    """

    def __init__(self, name: str, network: str, weights: str):
        self.name, self.network = name, network
        command = [sys.executable, "-c", PROGRAM, name, network, weights]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        self.facts: dict[str, Any] = {}

    def ready(self) -> None:
        """Returns when its steps are built."""
        self.facts |= self._answer()

    def step(self, what: str) -> None:
        """Returns when the step is done."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(what + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which the missing answer says
        self.facts |= self._answer()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()  # waits, and closes its pipes

    def _answer(self) -> dict[str, Any]:
        """
        Raises:
            EndedError: the process has ended.
        """
        assert self.process.stdout is not None
        answer = self.process.stdout.readline()
        if not answer:
            status = self.process.wait()
            raise EndedError(f"{self.network}: {self.name} ended with status {status}, see above")
        return json.loads(answer)
