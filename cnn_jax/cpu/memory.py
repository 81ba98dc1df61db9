"""Keeping freed memory for the next step.

A training step allocates its temporary arrays anew each time, tens of megabytes to gigabytes, and
glibc returns such blocks to the operating system when they are freed. The next step then gets pages
that have to be cleared and mapped one by one, 4 KiB at a time: on two cores a Winograd layer of 64
channels took twice as long for that reason alone. `keep` tells glibc to take memory from one heap
only and never to shrink it; it works best before JAX starts its threads. Memory that was once used
then stays with the process, as it should while a process trains, with these exceptions.

What a compilation leaves is given back when it ends (`trim`): the compiler of a MobileNetV2 step
freed 450 MiB that the step hardly used again, since they are in small pieces. Then the heap is
arranged so that the block of the next step can lie where that of the last one was, which it did not
in the steps of three networks in five: see `cnn_jax.cpu.room`.

And JAX's CPU client frees the temporary arrays of a program, one block, only after it has handed
over the results, when the next program may have asked for its own block. Two or three such blocks
are then in use in turn. `wait_for_programs` lets each program end before its call returns, so that
there is one.
"""

import ctypes
import platform

import jax

from cnn_jax.cpu import room

# From glibc's malloc.h: parameter numbers, and their values in a new process.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 1024, _TOP_PAD: 128 * 1024, _MMAP_MAX: 65536, _ARENA_MAX: 64}
_KEEP = {_TRIM_THRESHOLD: -1, _TOP_PAD: 64 * 2**20, _MMAP_MAX: 0, _ARENA_MAX: 1}  # -1: never

# JAX's names of the events
LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
COMPILED = "/jax/core/compile/backend_compile_duration"
LEAST_SECONDS = 1.0  # of a compilation after which memory is given back; that takes some 0.05 s
LEAST_LOWERING = 0.1  # seconds of a lowering after which a long compilation is likely

_kept = False
_listening = False
_opened = False  # whether room was given back for a compilation


def keep() -> bool:
    """Makes malloc keep freed memory, but for what compilers leave. False if there is no glibc."""
    global _kept, _listening
    _kept = _set(_KEEP)
    if _kept and not _listening:
        jax.monitoring.register_event_duration_secs_listener(_around_compiling)
        _listening = True
    return _kept


def release() -> bool:
    """Restores glibc's defaults. False if the C library is not glibc."""
    global _kept, _opened
    if _kept:
        room.give_back()
    _kept = _opened = False
    return _set(_DEFAULTS)


def trim() -> bool:
    """Gives freed memory back to the operating system. False if the C library is not glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True


def settle() -> None:
    """Gives back what a step has left behind: to be called after each step, once it is done.

    A step should take the temporary memory of the last one again. If the process has grown instead,
    which takes some 10 µs to see, free memory goes back to the operating system, and the next step
    takes fresh pages, once. That happens after the first step, and seldom later. Without `keep`
    there is nothing to do.
    """
    if _kept and room.grown():
        trim()


def wait_for_programs() -> None:
    """Lets calls of compiled programs return when their work on the CPU is done, not before.

    Temporary memory of the program before is free then, and is used again: the peak of a training
    step falls by one or two times what the step needs. No result changes. It must be called before
    JAX starts its CPU client, and concerns whole processes: a program that does work of its own
    while a step runs, in the same thread, does that work after the step instead.
    """
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def kept() -> bool:
    """Whether malloc keeps freed memory, by the last call of `keep` or `release`."""
    return _kept


def _around_compiling(event: str, duration_secs: float, **_: str | int) -> None:
    global _opened
    if not _kept:
        return
    if event == LOWERED and duration_secs >= LEAST_LOWERING:
        _opened = True
        room.give_back()  # else each compilation would need addresses of its own
    elif event == COMPILED and (_opened or duration_secs >= LEAST_SECONDS):
        _opened = False
        room.give_back()
        trim()
        room.make()


def _set(values: dict[int, int]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) == 1 for name, value in values.items())
