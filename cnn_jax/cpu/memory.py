"""Keeping freed memory for the next step.

A training step allocates its temporary arrays anew each time, tens of megabytes to gigabytes, and
glibc returns such blocks to the operating system when they are freed. The next step then gets pages
that have to be cleared and mapped one by one, 4 KiB at a time: on two cores a Winograd layer of 64
channels took twice as long for that reason alone. `keep` tells glibc to take memory from one heap
only and never to shrink it; it works best before JAX starts its threads. The peak does not change,
but memory that was once used stays with the process, as it should while a process trains.
"""

import ctypes
import platform

# From glibc's malloc.h: parameter numbers, and their values in a new process.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8
_DEFAULTS = {_TRIM_THRESHOLD: 128 * 1024, _TOP_PAD: 128 * 1024, _MMAP_MAX: 65536, _ARENA_MAX: 64}
_KEEP = {_TRIM_THRESHOLD: -1, _TOP_PAD: 64 * 2**20, _MMAP_MAX: 0, _ARENA_MAX: 1}  # -1: never


_kept = False


def keep() -> bool:
    """Makes malloc keep freed memory. False if the C library is not glibc."""
    global _kept
    _kept = _set(_KEEP)
    return _kept


def release() -> bool:
    """Restores glibc's defaults. False if the C library is not glibc."""
    global _kept
    _kept = False
    return _set(_DEFAULTS)


def kept() -> bool:
    """Whether malloc keeps freed memory, by the last call of `keep` or `release`."""
    return _kept


def _set(values: dict[int, int]) -> bool:
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) == 1 for name, value in values.items())
