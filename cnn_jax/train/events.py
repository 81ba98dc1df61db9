"""TensorBoard's files of events.

Imported when a run begins to write: tensorboardX imports PyTorch where that is installed, which
takes seconds.
"""

import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar


class Events:
    """The events of one attempt at a run."""

    def __init__(self, workdir: str | Path, *, first_step: int, again: bool):
        """
        Args:
            workdir: directory of the file.
            first_step: the step the run starts at.
            again: whether an earlier attempt may have written events of later steps, which
                TensorBoard then drops.
        """
        # the writer without a thread: on a full disk the thread dies, and then its queue blocks
        self._writer = EventsWriter(str(Path(workdir) / "events"), f".{first_step}")
        if again:
            start = SessionLog(status=SessionLog.SessionStatus.Value("START"))
            self._write(first_step + 1, session_log=start)

    def scalar(self, step: int, name: str, value: float) -> None:
        """Writes one number."""
        self._write(step, summary=scalar(name, value))

    def flush(self) -> None:
        """Writes what is buffered to the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _write(self, step: int, **content: Any) -> None:
        self._writer.write_event(Event(wall_time=time.time(), step=step, **content))
