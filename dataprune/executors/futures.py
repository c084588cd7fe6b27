"""Any `concurrent.futures.Executor` as an engine: Dask's, Ray's by our adapter, one of your own."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from typing import Any

from dataprune.config import ResourcesConfig, RunConfig
from dataprune.errors import first_line
from dataprune.executors.answers import LostSlot, answer_to, taken
from dataprune.executors.building import Message
from dataprune.executors.graph import Engine
from dataprune.executors.resources import SMALL, resources_of

LOOK_S = 1.0  # how soon an interruption is seen
Factory = Callable[[ResourcesConfig], Executor]  # asked once for each set of resources that a sweep needs


class Futures:
    """An engine on executors of futures, one for each set of resources.

    small: an engine for stages of seconds, where the executors are queues; but for those that run.resources names.
    """

    several = True

    def __init__(self, run: RunConfig, factory: Factory, small: Engine | None = None) -> None:
        self.run, self.factory, self.small = run, factory, small
        self.guard, self.stopped = threading.Lock(), threading.Event()
        self.executors: dict[tuple[Any, ...], Executor] = {}
        self.pending: set[Future[Any]] = set()

    def build(self, message: Message, started: Callable[[str], None]) -> bool:
        """Build what the message says where the executor runs it; when that begins only the executor knows."""
        stage = message["task"]["stage"]
        if self.small is not None and stage in SMALL and getattr(self.run.resources, stage) == ResourcesConfig():
            return self.small.build(message, started)
        wanted = resources_of(self.run, message["task"])
        place = tuple(vars(wanted).values())
        with self.guard:
            if place not in self.executors:
                self.executors[place] = self.factory(wanted)
            future = self.executors[place].submit(answer_to, message)
            self.pending.add(future)
        started("submitted")
        try:
            while not wait([future], LOOK_S).done:  # the work of some executors cannot be cancelled: do not wait for it
                if self.stopped.is_set():
                    raise InterruptedError("interrupted")
            answer = future.result()
        except Exception as error:  # of the engine: what a stage raises comes as an answer
            why = f"{type(error).__name__}: {first_line(error)}"
            label, then = message["task"]["label"], "the same command goes on from what was kept"
            raise LostSlot(f"{label}: its worker was lost ({why}); {then}") from None
        finally:
            self.pending.discard(future)
        return taken(answer)

    def stop(self) -> None:
        """Cancel what waits, and shut the executors down."""
        self.stopped.set()
        for future in list(self.pending):
            future.cancel()
        for executor in self.executors.values():
            executor.shutdown(wait=False, cancel_futures=True)
        if self.small is not None:
            self.small.stop()
