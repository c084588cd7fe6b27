"""How a sweep stands: a live table on a terminal, a line now and then elsewhere."""

import logging
import sys
import threading
import time
from collections import Counter
from typing import Any

log = logging.getLogger(__name__)
LINE_EVERY_S = 60.0  # without a terminal
STATES = ("found", "built", "building", "waiting", "failed")


class Board:
    """Counts stage calls by stage and state, and jobs. Threads tell it; the driver shows it."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.ended, self.failed = jobs, 0, 0
        self.guard = threading.Lock()
        self.calls: dict[tuple[str, str], str] = {}  # (stage, key) -> how it stands
        self.places: dict[tuple[str, str], tuple[str, float]] = {}  # of what is being built: where, since when
        self.began, self.next_line = time.monotonic(), time.monotonic() + LINE_EVERY_S
        self.live: Any = None

    def tell(self, state: str, stage: str, key: str, where: str = "") -> None:
        """Note how a stage call stands. What was built stays built when it is found later."""
        with self.guard:
            if state != "found" or self.calls.get((stage, key)) != "built":
                self.calls[stage, key] = state
            self.places.pop((stage, key), None)
            if state == "building":
                self.places[stage, key] = (where, time.monotonic())

    def job_ended(self, failed: bool) -> None:
        """Note that a job has ended."""
        self.ended, self.failed = self.ended + 1, self.failed + failed

    def left(self) -> float:
        """Return an estimate of the seconds to go, by the jobs that have ended; inf before the first."""
        done = time.monotonic() - self.began
        return done / self.ended * (self.jobs - self.ended) if self.ended else float("inf")

    def show(self) -> None:
        """Draw the table, or log a line if it is time for one."""
        if sys.stderr.isatty():
            self._draw()
        elif time.monotonic() >= self.next_line:
            self.next_line = time.monotonic() + LINE_EVERY_S
            log.info("%s", self.line())

    def line(self) -> str:
        """Return how it stands, in a line."""
        counts = self._counts()
        stages = Counter[str]()
        for (_, state), count in counts.items():
            stages[state] += count
        told = ", ".join(f"{stages[state]} {state}" for state in STATES if stages[state])
        left = self.left()
        togo = f", {left:.0f} s to go" if left < float("inf") and self.ended < self.jobs else ""
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{self.ended} of {self.jobs} jobs{failed}; stages: {told or 'none yet'}{togo}"

    def _counts(self) -> Counter[tuple[str, str]]:
        with self.guard:
            return Counter((stage, state) for (stage, _), state in self.calls.items())

    def _draw(self) -> None:
        from rich.console import Console, Group
        from rich.live import Live
        from rich.table import Table

        if self.live is None:
            self.live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self.live.start()
        counts = self._counts()
        table = Table("stage", *STATES, "now")
        with self.guard:
            building = [(stage, where, time.monotonic() - since) for (stage, _), (where, since) in self.places.items()]
        now: dict[str, str] = {}
        for stage, where, seconds in building:
            now[stage] = f"{now.get(stage, '')} {where} {seconds:.0f} s".strip()
        for stage in sorted({stage for stage, _ in counts}):
            table.add_row(stage, *[str(counts[stage, state] or "") for state in STATES], now.get(stage, ""))
        self.live.update(Group(table, self.line()), refresh=True)

    def close(self) -> None:
        """Take the table away."""
        if self.live is not None:
            self.live.stop()
            self.live = None
