"""Which signals ask a run to stop. Python's own library alone in here."""

import signal

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP")  # Windows knows no SIGHUP


def that_stop() -> list[signal.Signals]:
    """SIGTERM; Ctrl-C and the end of the terminal, unless the process was told to ignore them.

    `nohup` starts a process with SIGHUP ignored, and a shell's script its jobs in the background
    with SIGINT ignored. That is a wish.
    """
    known = [signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__]
    return [
        number
        for number in known
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
    ]
