"""How every experiment starts: flags go in, and an error comes out as one clear line."""

import logging
import signal
import sys
import traceback
from collections.abc import Callable

import rich.console
from absl import app, flags
from absl import logging as absl_logging

import cnn_jax.cpu
from cnn_jax import jax_internals
from cnn_jax.printable import PlainConsole, PlainFormatter, printable
from cnn_jax.run import machine
from cnn_jax.stores import is_store
from cnn_jax.train import ending, hosts, log
from cnn_jax.train.errors import CheckpointError
from cnn_jax.train.nonfinite import NonFiniteError
from experiments import (
    console,
    environment,
    flag_help,
    gpu_options,
    plugin_flag,
    stopping,
    xla_flags,
)
from experiments.flag_names import in_flags

# Errors that a user's input can cause: shown as one line, with exit status 1. Anything else is a
# bug of ours and keeps its traceback.
EXPECTED = (
    ValueError,
    OSError,
    CheckpointError,
    NonFiniteError,
    MemoryError,  # OutOfMemoryError, which says what to lower; others have no message
    hosts.FirstFailed,
)

# The one console, so that output and log lines stay clear of the progress bar.
CONSOLE: rich.console.Console = PlainConsole()

STOPPED = "SIGINT: stopped at once; what was saved before is unchanged"

TRACEBACK = flags.DEFINE_bool(
    "traceback", False, "Show the traceback of an error instead of one line."
)


class FlagFormatter(PlainFormatter):
    """The message of a log record, with flags in the place of parameters."""

    def format(self, record: logging.LogRecord) -> str:
        return in_flags(super().format(record))


def say(text: str) -> None:
    """Prints one line of any length, without markup."""
    CONSOLE.print(printable(text), soft_wrap=True)


def launch(
    main: Callable[..., int | None],
    *,
    positional: str = "",
    define: Callable[[], None] = lambda: None,
) -> None:
    """Parses the flags, runs `main` and exits with the status it returns (None: 0).

    An expected error is printed as one line on standard error, with exit status 1. If it has no
    message it is treated as a bug.

    Args:
        main: called without arguments, or with the list of the positional ones.
        positional: what the positional arguments are; '' if there are none.
        define: defines flags, before they are parsed and after plug-ins are loaded.
    """

    environment.prepare()
    try:
        plugin_flag.load()
        define()
    except EXPECTED as error:
        if not str(error) or "--traceback" in sys.argv:
            raise
        sys.exit(_one_line(error))

    def run(argv: list[str]) -> int | None:
        if len(argv) > 1 and not positional:
            raise app.UsageError(f"{' '.join(argv[1:])!r} is not a flag. Write --name=value.")
        if "interrupted_status" in flags.FLAGS:
            stopping.ends_with(flags.FLAGS.interrupted_status)
        stopping.together(hosts.several)
        absl_logging.set_verbosity(absl_logging.WARNING)
        logging.getLogger().handlers = [log.handler(CONSOLE)]
        logging.getLogger().handlers[0].setFormatter(FlagFormatter("%(message)s"))
        ending.show_as(in_flags)
        # Orbax also logs, with a traceback, what it raises
        logging.getLogger().handlers[0].addFilter(lambda record: "orbax" not in record.pathname)
        try:
            xla_flags.check()
            _check_places()
            status = main(argv[1:]) if positional else main()
        except BaseException as error:
            if hosts.several():
                _leave(error)
            status = _tell(error)
            if isinstance(error, CheckpointError):
                # Orbax's threads wait ten minutes after a failed write
                ending.end(status)
            return status
        if hosts.several():
            hosts.finish(status or 0)
        return status

    with console.lasting():
        flag_help.run(run)


def _check_places() -> None:
    """Raises ValueError for a store's URL in a command that cannot write to a store."""
    trains = "resume" in flags.FLAGS
    for name in ("workdir", "output"):
        place = flags.FLAGS[name].value if name in flags.FLAGS else None
        if isinstance(place, str) and is_store(place) and not (trains and name == "workdir"):
            raise ValueError(
                f"--{name}={place}: this command writes to a directory on this machine. Give one, "
                "and copy it to the store afterwards."
            )


def _tell(error: BaseException) -> int:
    """Prints an expected error as one line; raises any other."""
    if isinstance(error, KeyboardInterrupt):
        stopping.answer()
        print(STOPPED, file=sys.stderr)
        return 128 + signal.SIGINT
    error = environment.explained(error)
    if TRACEBACK.value or not isinstance(error, EXPECTED) or not str(error):
        raise error
    print(_one_line(error), file=sys.stderr)
    return 1


def complain(error: ValueError) -> None:
    """Prints an error as one line, and goes on."""
    print(_one_line(error), file=sys.stderr)


def _one_line(error: BaseException) -> str:
    return f"error: {printable(in_flags(' '.join(str(error).split())))}"


def _leave(error: BaseException) -> None:
    """Ends one of several processes at once: an ordinary exit would wait for the others."""
    if hosts.is_remote(error):  # names the lost process; otherwise it is an error like any other
        hosts.await_verdict()
    error = environment.explained(error)
    line = "error: " + printable(" ".join((str(error) or type(error).__name__).split()))
    if isinstance(error, hosts.FirstFailed):
        hosts.leave(1, line)
    if isinstance(error, KeyboardInterrupt):
        stopping.answer()
        hosts.leave(128 + signal.SIGINT, STOPPED)
    if TRACEBACK.value or not isinstance(error, EXPECTED):
        traceback.print_exception(error)
    hosts.leave(1, line)


def set_up_jax(
    *, cpu_devices: int = 0, cpu_convolutions: bool = True, compilation_cache: str
) -> None:
    """Configures JAX before its first use, for a command that trains no recipe.

    Args:
        cpu_devices: number of devices to split the CPU into; 0 leaves JAX's default of one.
        cpu_convolutions: whether to use the faster convolutions of `cnn_jax.cpu`.
        compilation_cache: directory for compiled programs; '' for none.
    """
    prepare_jax(cpu_devices)
    machine.split_cpu(cpu_devices)
    if cpu_convolutions:
        cnn_jax.cpu.enable()
    machine.keep_compiled(compilation_cache)


def prepare_jax(cpu_devices: int) -> None:
    """Sets what JAX reads when it starts, in a command of its own process, and quiets it."""
    gpu_options.set_gpu_options()
    xla_flags.warn_of_devices(cpu_devices)
    jax_internals.platform_logger().setLevel(logging.ERROR)
    logging.getLogger("orbax").setLevel(logging.ERROR)
