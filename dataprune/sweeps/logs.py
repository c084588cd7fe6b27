"""Log lines of jobs that run in threads of one driver, each in its own job's file."""

import contextvars
import logging
import threading
from pathlib import Path

FORMAT = logging.Formatter("%(asctime)s  %(message)s", datefmt="%H:%M:%S")
job_log: contextvars.ContextVar[tuple[str, Path] | None] = contextvars.ContextVar("job_log", default=None)


class ToJobs(logging.Handler):
    """Appends each line to the file of the job in whose thread it is logged.

    Files are opened for each line: a thousand jobs would hold more of them open than a process may.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        if (place := job_log.get()) is not None:
            with self.guard, open(place[1], "a") as file:
                file.write(FORMAT.format(record) + "\n")


class WithJob(logging.Formatter):
    """The line behind the number of its job, for the console."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        place = job_log.get()
        return FORMAT.format(record) if place is None else FORMAT.format(record).replace("  ", f"  #{place[0]} ", 1)
