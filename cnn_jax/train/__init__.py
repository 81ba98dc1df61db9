"""Training: the state, one step body, the layouts it runs under, and the loop around it.

Nothing here knows a model or a task by name; both are passed in through the contracts of
`cnn_jax.typing`.
"""

from types import ModuleType

from cnn_jax.namespace import submodule

__all__ = [
    "callback",
    "checkpoint",
    "evaluation",
    "goodput",
    "hosts",
    "interruption",
    "joining",
    "layout",
    "log",
    "loop",
    "nonfinite",
    "optim",
    "profile",
    "replicas",
    "reporting",
    "saving",
    "sharding",
    "state",
    "step",
    "watchdog",
]


def __getattr__(name: str) -> ModuleType:
    return submodule(__name__, name, __all__)


def __dir__() -> list[str]:
    return __all__
