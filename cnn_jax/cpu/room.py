"""Places in the heap for what stays after a step, so that a program's temporary block can too.

XLA takes the temporary arrays of a program as one block, by `posix_memalign`, and frees it when the
program ends. To align it, glibc takes some 96 bytes more than the block needs and cuts them off
again: a freed block with anything behind it is too short for the very same request. So the block
returns to its place only at the end of the heap, where what is freed and what was never used are
one. Two things prevent that, and the next step takes another block while the first remains with the
process, unused:

- In a first step something else is put behind the block and stays (of a MobileNetV2 step: the 4 MiB
  in which oneDNN works). `make` leaves gaps of some megabytes for such arrays below the end of the
  heap, and holds all larger ones, so that larger blocks lie at the end. What it holds is address
  space: no page of it is used.
- What was cut off goes to the thread's cache of small pieces, and counts as in use (before glibc
  2.39, its bug 30723). `make` frees so many pieces of these sizes that the cache is full, which
  lasts until others take them: hence `grown`, by which a block left behind is noticed after a step.

`give_back` ends that, for one who needs these addresses: the next compilation. No result depends on
any of it.
"""

import ctypes
import functools
import mmap
import threading

MIB = 2**20
LARGE = 32 * MIB  # gaps of this size and more are held
# Gaps for what stays, MiB: a thread's scratch memory of oneDNN is below 8 for most networks
GAPS = (28, 28, 14, 14, 7, 7)
CUT_OFF = range(24, 120, 16)  # bytes of what may be cut off, as malloc is asked for them
CACHED = 64  # pieces of each size; glibc's cache of a thread holds 7, and is filled from the rest
TIMES = 8  # each costs a step the time of fresh pages
MOST = 2048  # gaps of LARGE that are held: an end for the search where malloc is not glibc's

_held: list[int] = []
_usual: int | None = 0  # bytes of resident memory after a step; None: the next one tells
_times = 0  # how often `grown` may still be true
_lock = threading.Lock()


def make() -> None:
    """Makes the gaps and holds larger ones; malloc must have been trimmed. Only with glibc."""
    global _usual, _times
    c = _library()
    with _lock:
        end = c.sbrk(0)
        gaps, missing = [], []
        for size in GAPS:  # among those that there are, so that few addresses are needed
            gap = c.malloc(size * MIB)
            if gap and gap + size * MIB <= end:
                gaps.append(gap)
            else:
                c.free(gap)
                missing.append(size)
        while len(_held) < MOST and _hold(c, LARGE) and _held[-1] + LARGE <= end:
            pass  # a gap; the first piece that is none lies at the end of the heap
        for size in missing:
            if gap := c.malloc(size * MIB):
                gaps.append(gap)
            _hold(c, LARGE)  # at the end of the heap, for no gap is as large: it bounds this one
        for gap in gaps:
            c.free(gap)
        for piece in [c.malloc(size) for size in CUT_OFF for _ in range(CACHED)]:
            c.free(piece)
        _usual, _times = _resident(), TIMES


def give_back() -> None:
    """Frees what is held."""
    with _lock:
        while _held:
            _library().free(_held.pop())


def grown() -> bool:
    """Whether a step has left LARGE or more behind; to be asked after each, in some 10 µs.

    True after a first step of that size too, since what it leaves is not known yet. At most TIMES
    times after `make`.
    """
    global _usual, _times
    if not _times:
        return False
    now = _resident()
    if _usual is None:  # free memory was given back before this step, so that it took one block
        _usual = now
    if now < _usual + LARGE:
        return False
    _usual, _times = None, _times - 1
    return True


def held() -> int:
    """Bytes of address space that are held."""
    return len(_held) * LARGE


def _hold(c: ctypes.CDLL, size: int) -> bool:
    piece = c.malloc(size)
    if piece:  # not where address space is limited
        _held.append(piece)
    return bool(piece)


def _resident() -> int:
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read(64).split()[1]) * mmap.PAGESIZE
    except OSError:  # no /proc here
        return 0


@functools.cache
def _library() -> ctypes.CDLL:
    c = ctypes.CDLL(None)
    c.malloc.argtypes, c.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    c.free.argtypes, c.free.restype = [ctypes.c_void_p], None
    c.sbrk.argtypes, c.sbrk.restype = [ctypes.c_ssize_t], ctypes.c_void_p
    return c
