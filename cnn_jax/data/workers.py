"""Processes of Grain that read data, in a program of any kind."""

import sys
from typing import Any


def in_processes(dataset: Any, count: int) -> Any:
    """The data set of Grain, computed ahead by this many processes.

    Grain's options are flags, of the library that it parses command lines with, and to read one is
    an error where no command line was parsed: in a notebook. So each that was not given is marked
    as given, with its default, as Grain itself does in the processes. A program's own flags are
    left as they are.
    """
    import grain

    known = sys.modules["absl.flags"].FLAGS  # Grain has imported it
    if not known.is_parsed():
        for name in known:
            if name.startswith("grain_"):
                known[name].present = max(known[name].present, 1)
    return dataset.mp_prefetch(grain.MultiprocessingOptions(num_workers=count))
