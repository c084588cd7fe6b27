"""Progress bars for long work: on a terminal a rich bar with an ETA, in a log file a line now and then."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")
SILENT_S = 5.0  # work shorter than this shows nothing
LINE_EVERY_S = 60.0  # without a terminal

PACE = "log/pace.jsonl"  # in the folder of a training: how fast each epoch was, beside history.jsonl
THROUGHPUT = "log/throughput.json"  # the same over many epochs, of a training that is only timed
WARM_UP = 20  # steps before that
enabled = True  # `run.progress`


class Bar:
    """A context manager with `advance`. Nothing appears before 5 seconds have passed, so short work stays quiet."""

    def __init__(self, label: str, total: int, *, done: int = 0, show: bool = True) -> None:
        self.label, self.total, self.done, self.first = label, total, done, done
        self.show = show and enabled
        self.began = time.monotonic()
        self.next_look = self.began + SILENT_S
        self.rich: Any = None

    def __enter__(self) -> "Bar":
        return self

    def advance(self, count: int) -> None:
        """`count` more are done. Costs a clock reading unless something is to be drawn."""
        self.done += count
        now = time.monotonic()
        if not self.show or now < self.next_look:
            return
        if sys.stderr.isatty():
            self._draw()
            self.next_look = now + 0.2
        else:
            rate = (self.done - self.first) / (now - self.began)
            left = (self.total - self.done) / rate if rate else float("inf")
            log.info("%s: %d of %d, %.0f s to go", self.label, self.done, self.total, left)
            self.next_look = now + LINE_EVERY_S

    def _draw(self) -> None:
        from rich.console import Console  # 0.1 s of imports that quiet work never needs
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if self.rich is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.rich = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
            self.rich.start()
            self.task = self.rich.add_task(self.label, total=self.total)
        self.rich.update(self.task, completed=self.done, refresh=True)

    def __exit__(self, *error: object) -> None:
        if self.rich is not None:
            self.rich.stop()
            self.rich = None


def track(items: Iterable[T], label: str, total: int, *, show: bool = True) -> Iterator[T]:
    """Yield `items` with a bar over `total` of them."""
    with Bar(label, total, show=show) as bar:
        for item in items:
            yield item
            bar.advance(1)
