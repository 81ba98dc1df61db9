"""Which signals ask a run to stop. Imports only the standard library."""

import signal

_NAMES = ("SIGTERM", "SIGINT", "SIGHUP")  # Windows has no SIGHUP


def that_stop() -> list[signal.Signals]:
    """SIGTERM, and SIGINT and SIGHUP unless the process was started with these ignored.

    `nohup` starts a process with SIGHUP ignored, and a shell script its background jobs with SIGINT
    ignored. That is respected.
    """
    known = [signal.Signals[name] for name in _NAMES if name in signal.Signals.__members__]
    return [
        number
        for number in known
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN
    ]
