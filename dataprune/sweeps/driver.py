"""Run the jobs of a sweep in threads of one driver: their stages meet in one graph, built by one engine."""

import contextlib
import contextvars
import logging
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from dataprune.executors.engines import engine_of
from dataprune.executors.graph import Graph
from dataprune.jobs import Job, execute
from dataprune.store import Store
from dataprune.store.jobs import RunningJob
from dataprune.sweeps.board import Board
from dataprune.sweeps.logs import job_log

log = logging.getLogger(__name__)
MOST_THREADS = 1000  # jobs at a time; most of them wait
LOOK_S = 0.5  # how often the table is drawn


@dataclass(frozen=True)
class Outcome:
    """How a job has ended: what it returned, or its error."""

    number: int
    value: float | None
    error: BaseException | None


class Driver:
    """Takes jobs, all on the store and the engine of the first; yields outcomes in the order in which they end."""

    def __init__(self, first: Job, jobs: int, folder: Path) -> None:
        self.board = Board(jobs)
        self.graph = Graph(engine_of(first.cfg.run, folder, sweep=True), self.board)
        self.store = Store(first.cfg.run.store, first.cfg.run.verify)
        self.running: dict[Future[float | None], int] = {}
        self.stack = contextlib.ExitStack()

    def __enter__(self) -> "Driver":
        self.notes = self.stack.enter_context(RunningJob(self.store.root))
        self.threads = ThreadPoolExecutor(MOST_THREADS, thread_name_prefix="job")
        self.stack.callback(self.threads.shutdown, cancel_futures=True)  # after the engine, whose end wakes them
        self.stack.callback(self.board.close)
        self.stack.callback(self.graph.stop)
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def start(self, number: int, job: Job) -> Iterator[Outcome]:
        """Start a job; yield what has ended meanwhile if there are as many as there may be."""
        while len(self.running) >= MOST_THREADS:
            yield from self._ended()
        context = contextvars.copy_context()
        context.run(job_log.set, (str(number), job.folder / "dataprune.log"))
        self.running[self.threads.submit(context.run, self._run, job)] = number

    def _run(self, job: Job) -> float | None:
        own = os.path.abspath(job.cfg.run.store) != str(self.store.root)  # a sweep over stores, say
        return execute(job, self.graph, None if own else self.notes)

    def finish(self) -> Iterator[Outcome]:
        """Yield what ends until all have."""
        while self.running:
            yield from self._ended()

    def _ended(self) -> Iterator[Outcome]:
        done, _ = wait(self.running, timeout=LOOK_S, return_when=FIRST_COMPLETED)
        self.board.show()
        for future in done:
            number, error = self.running.pop(future), future.exception()
            self.board.job_ended(error is not None)
            yield Outcome(number, None if error else future.result(), error)
