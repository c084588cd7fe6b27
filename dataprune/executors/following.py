"""Tell what a training writes of its epochs while it trains, in whatever process."""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataprune.progress import PACE
from dataprune.store import read_lines

log = logging.getLogger(__name__)

Follow = Callable[[str, dict[str, Any]], None]  # told (role, line) for each epoch of a training, as it happens


class Following:
    """While a stage runs, tell `follow(role, line)` each new line of its history file, whatever process wrote it."""

    def __init__(self, path: Path, role: str, follow: Follow | None) -> None:
        self.path, self.role, self.follow = path, role, follow
        self.told = -1  # last epoch
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> "Following":
        if self.follow is not None:
            self.thread.start()
        return self

    def _loop(self) -> None:
        while not self.ended.wait(1.0):
            try:
                self.tell()
            except Exception:  # a dashboard that fails must not end the telling, nor the training
                log.exception("%s: an epoch could not be told", self.role)

    def tell(self) -> None:
        """Tell the lines that have not been told."""
        if self.follow is not None:
            # what is measured of an epoch's pace is no part of the result; of a repeated epoch the last line counts
            pace = {line["epoch"]: line for line in read_lines(self.path.parent / PACE)}
            for line in read_lines(self.path):
                if line["epoch"] > self.told:
                    self.told = line["epoch"]
                    self.follow(self.role, pace.get(line["epoch"], {}) | line)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.ended.set()
        if self.follow is not None:
            self.thread.join()
            if kind is None:  # else the stage's own error is the one to show
                self.tell()
