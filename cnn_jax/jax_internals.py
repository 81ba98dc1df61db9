"""All that this package uses of JAX beyond its documented interface, in one file.

What is private may move in any version. So each function below says what it takes, in which
versions it was seen, and what happens without it; no other file may look inside JAX
(tests/test_jax_internals.py walks them all). Nothing is looked up when this file is imported, so
that a missing part costs what needs it and nothing else.

"Seen in all" means jax 0.8.0, 0.8.3, 0.9.2, 0.10.0, 0.10.2 and 0.12.0.1.
"""

import functools
import importlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax


class MovedError(RuntimeError):
    """This version of JAX keeps a private part elsewhere, or has changed it."""


def _part(path: str) -> Any:
    """The object with this dotted name, such as 'jax._src.distributed.global_state'.

    Raises:
        MovedError: it is not there.
    """
    names = path.split(".")
    found: Any = jax
    for count, name in enumerate(names[1:], start=2):
        if not hasattr(found, name):
            try:
                found = importlib.import_module(".".join(names[:count]))
            except ImportError:
                raise _moved(path) from None
        else:
            found = getattr(found, name)
    return found


def _moved(path: str, detail: str = "") -> MovedError:
    detail = detail and f" ({detail})"
    return MovedError(f"jax {jax.__version__} has no {path} as we know it{detail}")


# The registry of lowering rules: how a primitive is translated to the compiler's language.


def primitive(name: str) -> Any:
    """A primitive of `jax.lax`, by its name without `_p`: exported there, and not documented.

    Seen in all. Without one, `cnn_jax.cpu.enable` warns, and convolutions stay XLA's own.
    """
    return _part(f"jax.lax.{name}_p")


def lowering_rule(of: Any, platform: str = "cpu") -> Any:
    """The registered entry of a primitive for a platform, or else that for all platforms.

    `jax.interpreters.mlir._platform_specific_lowerings` and `._lowerings`, whose values have had a
    field `rule`. Seen in all. Without them, `cnn_jax.cpu.enable` warns, and convolutions stay XLA's
    own.
    """
    special = _part("jax.interpreters.mlir._platform_specific_lowerings")
    everywhere = _part("jax.interpreters.mlir._lowerings")
    try:
        entry = special[platform][of] if of in special[platform] else everywhere[of]
        entry.rule  # noqa: B018
    except (AttributeError, KeyError, TypeError) as error:
        raise _moved("registry of lowering rules", f"{type(error).__name__}: {error}") from error
    return entry


def set_lowering_rule(of: Any, rule: Callable, platform: str = "cpu") -> None:
    """Registers a rule for a platform: `jax.interpreters.mlir.register_lowering`.

    Seen in all. Without it, `cnn_jax.cpu.enable` warns, and convolutions stay XLA's own.
    """
    register = _part("jax.interpreters.mlir.register_lowering")
    try:
        register(of, rule, platform=platform)
    except (AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise _moved("mlir.register_lowering", f"{type(error).__name__}: {error}") from error


def restore_lowering_rule(of: Any, entry: Any, platform: str = "cpu") -> None:
    """Puts an entry that `lowering_rule` gave back in its place, for a platform.

    What `lowering_rule` finds: who has an entry to restore found it there.
    """
    _part("jax.interpreters.mlir._platform_specific_lowerings")[platform][of] = entry


def lower_function(function: Callable) -> Callable:
    """A lowering rule that traces a function of arrays with one result.

    `jax.interpreters.mlir.lower_fun`. Seen in all. `registry.install` asks for it, so that without
    it `cnn_jax.cpu.enable` warns, and convolutions stay XLA's own.
    """
    return _part("jax.interpreters.mlir.lower_fun")(function, multiple_results=False)


def register_rules(of: Any, everywhere: Callable, on_cpu: Callable) -> None:
    """Registers the lowering rules of a primitive of ours: for all platforms, and for 'cpu'.

    `jax.interpreters.mlir.register_lowering`. Seen in all. Without it, `cnn_jax.cpu.freeze` cannot
    be used.
    """
    register = _part("jax.interpreters.mlir.register_lowering")
    register(of, everywhere)
    register(of, on_cpu, platform="cpu")


def is_for_one_device(ctx: Any) -> bool:
    """Whether a lowering rule's context is that of a program for one device and one platform.

    False for exported programs and for those that the compiler divides among devices. Reads
    `ctx.module_context` (a `LoweringRuleContext` of `jax._src.interpreters.mlir`), and tells its
    axis contexts by name: `ShardingContext` (jit), `SPMDAxisContext` (shard_map; a program that
    divides itself is one device's own) and `ReplicaAxisContext` (pmap: up to 0.10.2). Seen in all
    but for the last. Without it, `cnn_jax.cpu.verdict` warns once, and oneDNN is not used.
    """
    try:
        module = ctx.module_context
        axes = module.axis_context
        kind = type(axes).__name__
        if kind == "ShardingContext":
            alone = (axes.num_devices or 1) == 1
        elif kind == "SPMDAxisContext":
            alone = set(axes.manual_axes) == set(axes.mesh.axis_names)
        elif kind == "ReplicaAxisContext":
            alone = True
        else:
            raise _moved("axis context", f"it is a {kind}")
        return alone and not module.lowering_parameters.for_export and len(module.platforms) == 1
    except (AttributeError, TypeError) as error:
        raise _moved("context of a lowering rule", str(error)) from error


# The persistent compilation cache.


def keep_out_of_compilation_cache(mark: str) -> None:
    """From now on, programs whose text has this mark are not written to disk.

    Wraps `jax._src.compilation_cache.put_executable_and_time`, for which there is no public way.
    Seen in all. Without it, oneDNN is not used, whose programs XLA writes wrongly, and
    `cnn_jax.cpu.enable` warns.
    """
    put: Callable = _part("jax._src.compilation_cache.put_executable_and_time")
    if mark in getattr(put, "marks_kept_out", ()):
        return

    @functools.wraps(put)
    def put_if_allowed(cache_key, module_name, executable, *args, **kwargs):
        if not any(mark in module.to_string() for module in executable.hlo_modules()):
            put(cache_key, module_name, executable, *args, **kwargs)

    put_if_allowed.marks_kept_out = (  # type: ignore[attr-defined]
        mark,
        *getattr(put, "marks_kept_out", ()),
    )
    _part("jax._src.compilation_cache").put_executable_and_time = put_if_allowed


# Several processes.


def coordination_state() -> Any:
    """The coordination service as this process knows it: `client` (None before
    `jax.distributed.initialize`), `num_processes`, `process_id` and `coordinator_address`.

    `jax._src.distributed.global_state`; the client has jaxlib's methods `wait_at_barrier`,
    `key_value_set`, `key_value_try_get` and `blocking_key_value_get`. Seen in all. Without it,
    `joining.connect` refuses several processes in one line; a single one never asks.
    """
    _part("jax._src.distributed.global_state.client")
    return _part("jax._src.distributed.global_state")


def listen_by_gloo_at(address: str, client: Any) -> None:
    """Makes gloo, which carries sums between CPUs, listen at an address of this machine.

    To be called before JAX is used for anything. `make_gloo_tcp_collectives` of jaxlib and
    `jax._src.xla_bridge.make_cpu_client`, given to `jax.extend.backend.register_backend_factory`.
    Seen in 0.10.2 and 0.12.0.1. Without it, gloo listens where the machine's own name points to,
    and `gloo.listen_where_reached` says what to do where that is no way for others.

    Args:
        client: of the coordination service.
    """
    gloo = _part("jax._src.lib._jax.make_gloo_tcp_collectives")
    make_client = _part("jax._src.xla_bridge.make_cpu_client")
    register = _part("jax.extend.backend.register_backend_factory")
    collectives = functools.partial(gloo, distributed_client=client, hostname=address)
    register("cpu", lambda: make_client(collectives()), priority=0, fail_quietly=False)


# Traced programs.


def pruned(traced: Any, outputs: int) -> tuple[Callable[..., list[Any]], list[bool]]:
    """A traced program (`jax.make_jaxpr`) without what no output depends on.

    `jax.interpreters.partial_eval.dce_jaxpr`, and `ClosedJaxpr` and `jaxpr_as_fun` of
    `jax.extend.core`. Seen in all. Without them, `state.init_variables` warns and compiles the
    initialisation whole, which takes several times as long.

    Returns:
        A function of the inputs that are still used, and for each input whether it is.
    """
    closed, run = _part("jax.extend.core.ClosedJaxpr"), _part("jax.extend.core.jaxpr_as_fun")
    try:
        needed, used = _needed(traced, [True] * outputs)
        return run(closed(needed, traced.consts)), used
    except (AttributeError, TypeError) as error:
        raise _moved("partial_eval.dce_jaxpr", f"{type(error).__name__}: {error}") from error


def inputs_used(traced: Any, wanted: Sequence[bool]) -> list[bool]:
    """For each input of a traced program whether an output depends on it that is wanted.

    `jax.interpreters.partial_eval.dce_jaxpr`. Without it, `layer_decay` cannot be used.
    """
    try:
        return _needed(traced, wanted)[1]
    except (AttributeError, TypeError) as error:
        raise _moved("partial_eval.dce_jaxpr", f"{type(error).__name__}: {error}") from error


def _needed(traced: Any, wanted: Sequence[bool]) -> tuple[Any, list[bool]]:
    prune = _part("jax.interpreters.partial_eval.dce_jaxpr")
    needed, used = prune(traced.jaxpr, list(wanted), instantiate=False)
    return needed, list(used)


def scan_counts(eqn: Any) -> tuple[int, int]:
    """How many inputs of a `scan` in a program are constants, and how many are carried.

    Seen in 0.8 to 0.10 as two numbers, in 0.12 as trees of the three kinds of inputs.
    """
    try:
        if "num_consts" in eqn.params:
            return eqn.params["num_consts"], eqn.params["num_carry"]
        constants, carried, _ = eqn.params["ft_in"].update(eqn.invars).unpack()
        return len(list(constants)), len(list(carried))
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise _moved("scan's parameters", f"{type(error).__name__}: {error}") from error


def bind(eqn: Any, *values: Any) -> Any:
    """Carries out an equation of a traced program on other values.

    `get_bind_params` of its primitive, which gave functions too up to 0.9. Seen in all. Without it,
    `cnn_jax.cpu.freeze` cannot be used.
    """
    try:
        given = eqn.primitive.get_bind_params(eqn.params)
        functions, params = ((), given) if isinstance(given, dict) else given
    except (AttributeError, TypeError, ValueError) as error:
        raise _moved("Primitive.get_bind_params", str(error)) from error
    return eqn.primitive.bind(*functions, *values, **params)


def expanded(eqn: Any) -> Any:
    """The program (ClosedJaxpr) that a composed operation stands for; None for a plain one.

    Seen in 0.12, where `jnp.nonzero` is one of those.
    """
    if eqn.primitive.name != "call_hi_primitive":
        return None
    try:
        operation = eqn.params["_prim"]

        def plain(*flat: Any) -> list[Any]:
            return jax.tree.leaves(operation.expand(*jax.tree.unflatten(operation.in_tree, flat)))

        given = [jax.ShapeDtypeStruct(var.aval.shape, var.aval.dtype) for var in eqn.invars]
        return jax.make_jaxpr(plain)(*given)
    except (KeyError, AttributeError, TypeError) as error:
        raise _moved("call_hi_primitive", f"{type(error).__name__}: {error}") from error


# Logs.


def platform_logger() -> logging.Logger:
    """The log in which JAX says that it looked for a TPU or GPU and found none.

    Its name is that of a private module, `jax._src.xla_bridge`. Seen in all. Under another name
    the log has lines more, and nothing else changes.
    """
    return logging.getLogger("jax._src.xla_bridge")


PARTS: Sequence[str] = (  # what `_part` is asked for: a test removes each
    "jax.lax.conv_general_dilated_p",
    "jax.interpreters.mlir._platform_specific_lowerings",
    "jax.interpreters.mlir._lowerings",
    "jax.interpreters.mlir.register_lowering",
    "jax.interpreters.mlir.lower_fun",
    "jax._src.compilation_cache.put_executable_and_time",
    "jax._src.distributed.global_state.client",
    "jax._src.lib._jax.make_gloo_tcp_collectives",
    "jax._src.xla_bridge.make_cpu_client",
    "jax.extend.backend.register_backend_factory",
    "jax.interpreters.partial_eval.dce_jaxpr",
    "jax.extend.core.ClosedJaxpr",
    "jax.extend.core.jaxpr_as_fun",
)
