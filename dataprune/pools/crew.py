"""Tasks on an engine: those whose part is missing are run, and what they cost is kept."""

import logging
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from dataprune.errors import ConfigError
from dataprune.processes import LostWorker
from dataprune.progress import Bar

log = logging.getLogger(__name__)
AHEAD = 4  # tasks that are handed out for each worker


@dataclass
class Costs:
    """What the tasks of a stage have cost."""

    tasks: int = 0
    found: int = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak: int = 0  # bytes of the largest worker


@dataclass
class Crew:
    """Workers that run pure functions of tasks; a task is a dataclass with `part`, the folder it writes."""

    executor: Executor
    workers: int
    costs: dict[str, Costs] = field(default_factory=dict)

    def run(self, function: Callable[[Any], None], tasks: Sequence[Any]) -> None:
        """Run the tasks whose part is not there. Raises what a task raises, LostWorker where a worker died."""
        stage = self.costs.setdefault(function.__name__, Costs())
        missing = [task for task in tasks if not Path(task.part).is_dir()]
        stage.tasks, stage.found = stage.tasks + len(tasks), stage.found + len(tasks) - len(missing)
        began = time.perf_counter()
        chunks = getattr(self.executor, "chunks", None)  # a job of a queue is worth several tasks
        size = 1 if chunks is None else max(1, -(-len(missing) // chunks))
        shares = [missing[start : start + size] for start in range(0, len(missing), size)]
        with Bar(function.__name__, len(missing)) as bar:
            self._run(function, shares, stage, bar)
        stage.wall_s += time.perf_counter() - began

    def _run(self, function: Callable[[Any], None], shares: list[list[Any]], stage: Costs, bar: Bar) -> None:
        queue = iter(shares)
        running: dict[Future, list[Any]] = {}
        ahead = len(shares) if hasattr(self.executor, "chunks") else AHEAD * self.workers
        try:
            while True:
                while len(running) < ahead and (share := next(queue, None)) is not None:
                    running[self.executor.submit(work, function, share)] = share
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    share = running.pop(future)
                    cpu, peak = _answer(future, function, share)
                    stage.cpu_s, stage.peak = stage.cpu_s + cpu, max(stage.peak, peak)
                    bar.advance(len(share))
        finally:
            for future in running:
                future.cancel()


def _answer(future: Future, function: Callable[[Any], None], share: list[Any]) -> tuple[float, int]:
    """What a worker answered; the errors of engines about dead workers become one of ours."""
    try:
        return future.result()
    except Exception as error:
        if isinstance(cause := getattr(error, "cause", None), ConfigError):  # Ray wraps what a task raised
            raise cause from None
        name = type(error).__name__
        if isinstance(error, BrokenExecutor) or name in DEATHS:
            about = f"{function.__name__} {share[0].about}"
            words = "killed, or out of memory (lower --memory)"
            text = (
                f"a worker died while {about} was under way: {words}. What was done is kept: the same command goes on"
            )
            raise LostWorker(text) from error
        raise


DEATHS = ("WorkerCrashedError", "OutOfMemoryError", "KilledWorker", "FailedJobError", "UncompletedJobError")


def work(function: Callable[[Any], None], tasks: list[Any]) -> tuple[float, int]:
    """Run tasks in a worker, on one thread; returns CPU seconds and the process's largest size in bytes."""
    began = time.process_time()
    with threadpool_limits(1):
        for task in tasks:
            if not Path(task.part).is_dir():  # an engine may run a task again
                function(task)
    return time.process_time() - began, peak()


def peak() -> int:
    """Return the most memory that this process has held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the process held from which this one was started
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
