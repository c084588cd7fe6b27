"""The table in which the stage calls of all jobs meet: each result is found, or built once by an engine."""

import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol, TypeVar

from dataprune.config import RunConfig
from dataprune.executors.answers import LostSlot
from dataprune.executors.building import Message, build, message_of, named
from dataprune.executors.following import Follow, Following
from dataprune.launch import task_of
from dataprune.store import Recipe, Result, Store, load

log = logging.getLogger(__name__)
T = TypeVar("T")
TRIES = 3  # of a stage whose worker was lost: a machine has gone, or its memory was too small
Started = Callable[[str], None]
POLL_S = 2.0  # how often we look whether another driver's worker has done what it is doing


class Stopped(RuntimeError):
    """The sweep was interrupted: nothing more is built."""


class Engine(Protocol):
    """Takes messages to where results are built. Threads of a driver call it side by side, each waits for its own."""

    several: bool  # whether more than one result may be built at a time

    def build(self, message: Message, started: Started) -> bool:
        """Build what the message says and wait; return False where another process has built it or is building it.
        started: told where, when it begins. Raises what the stage raises, LostSlot where its worker has gone."""

    def stop(self) -> None:
        """End everything that is running, at once; what waits raises."""


class Here:
    """Build in this process, one result after another; wait where another process is building it."""

    several = False

    def build(self, message: Message, started: Started) -> bool:
        """Build what the message says."""
        started("here")
        return build(message, wait=True)

    def stop(self) -> None:
        """Nothing is running beside the caller."""


class Board(Protocol):
    """Told how each stage call stands."""

    def tell(self, state: str, stage: str, key: str, where: str = "") -> None:
        """state: found | waiting | building (then `where`) | built | failed."""


class Graph:
    """Results by recipe, for any number of jobs in threads of one driver. A slot of the engine is held only while a
    result is built: nobody waits for another job's result with one."""

    def __init__(self, engine: Engine | None = None, board: Board | None = None) -> None:
        self.engine, self.board = engine or Here(), board
        self.guard = threading.Lock()
        self.futures: dict[tuple[str, str], Future[None]] = {}  # (store, key) -> done when built, or failed
        self.stopped = threading.Event()
        self.turn = threading.Lock()  # of the thread that works; fifty that did would fight for Python's own lock
        self.here = threading.local()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """A context in which this thread has its turn; it gives it away while it waits for a result."""
        with self.turn:
            self.here.works = True
            try:
                yield
            finally:
                self.here.works = False

    @contextlib.contextmanager
    def _away(self) -> Iterator[None]:
        """A context in which others have the turn."""
        if not getattr(self.here, "works", False):
            yield
            return
        self.turn.release()
        try:
            yield
        finally:
            self.turn.acquire()

    def obtain(
        self,
        store: Store,
        recipe: Recipe,
        config: Any,
        inputs: dict[str, Result],
        run: RunConfig,
        *,
        role: str,
        follow: Follow | None = None,
        processes: int = 1,
    ) -> tuple[Result, bool]:
        """The recipe's result, and whether this call had it built.

        processes: that build it. Of a training they are its config's; those of other stages change nothing of it.
        Found in the store it costs reading its manifest. Raises what the stage raises, in every job that asks for it.
        """
        name = named(role, recipe)
        if self.stopped.is_set():
            raise Stopped("interrupted")
        if (found := store.find(recipe)) is not None:
            self._tell("found", recipe)
            log.info("%s  found", name)
            Following(found / "history.jsonl", role, follow).tell()
            return found, False
        place = (str(store.root), f"{recipe.stage}/{recipe.key}")
        with self.guard:
            theirs = self.futures.get(place)
            mine: Future[None] = Future()
            if theirs is None:
                self.futures[place] = mine
        with Following(store.work(recipe) / "history.jsonl", role, follow) as following:
            if theirs is not None:
                log.info("%s  waiting for another job of this sweep", name)
                with self._away():
                    theirs.result()
                following.path = store.home(recipe) / "history.jsonl"
                return load(store.home(recipe)), False
            paths = {name: result.path.absolute() for name, result in inputs.items()}
            task = task_of(recipe, config, paths, run, role, processes)
            log.info("%s  building; %s", name, store.why_missed(recipe))
            built = self._build(store, recipe, message_of(store, recipe, task), mine, name)
            following.path = store.home(recipe) / "history.jsonl"  # where its last lines lie now
        return load(store.home(recipe)), built

    def _build(self, store: Store, recipe: Recipe, message: Message, future: Future[None], name: str) -> bool:
        """Have it built, or wait for the other driver that is building it; whether it was ours."""
        self._tell("waiting", recipe)  # for a slot
        try:
            with self._away():
                while not (built := self._tried(message, recipe, name)) and store.find(recipe) is None:
                    self._tell("waiting", recipe)
                    self._wait(store, recipe)
        except BaseException as error:
            self._tell("failed", recipe)
            future.set_exception(error)
            raise
        with self.guard:  # from here on it is found; who fails stays, for those that ask for it later
            self.futures = {place: other for place, other in self.futures.items() if other is not future}
        future.set_result(None)
        self._tell("built" if built else "found", recipe)
        if not built:
            log.info("%s  built by the other process", name)
        return built

    def _wait(self, store: Store, recipe: Recipe) -> None:
        """Wait while another driver's worker holds the lock; the engine is not asked meanwhile: it may be a queue."""
        busy = True
        while busy:
            if self.stopped.wait(POLL_S):
                raise Stopped("interrupted")
            busy = store.is_building(recipe)

    def _tried(self, message: Message, recipe: Recipe, name: str) -> bool:
        """Have the engine build it, again where a worker was lost: the work folder goes on from what was kept."""
        tried = 0
        while True:
            try:
                return self.engine.build(message, partial(self._tell, "building", recipe))
            except LostSlot as error:
                tried += 1
                if self.stopped.is_set():
                    raise Stopped("interrupted") from None
                if tried == TRIES:
                    raise
                log.warning("%s  tried again: %s", name, error)

    def _tell(self, state: str, recipe: Recipe, where: str = "") -> None:
        if self.board is not None:
            self.board.tell(state, recipe.stage, recipe.key, where)

    def each(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """Return what the calls return: side by side where the engine builds more than one result at a time. The first
        error is raised when all have ended."""
        if not self.engine.several or len(calls) == 1:
            return [call() for call in calls]

        def its_turn(call: Callable[[], T]) -> T:
            with self.working():
                return call()

        with self._away(), ThreadPoolExecutor(len(calls)) as threads:
            # each in a copy of this job's context, by which its lines find their log file
            futures = [threads.submit(contextvars.copy_context().run, its_turn, call) for call in calls]
        return [future.result() for future in futures]

    def stop(self) -> None:
        """Build nothing more, and end what is being built."""
        self.stopped.set()
        self.engine.stop()
