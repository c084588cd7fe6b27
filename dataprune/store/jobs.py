"""What running jobs use of a store, so that house-keeping leaves it alone: a job files its row last.

    <root>/jobs/<unique>.lock   held by the kernel while the job runs: it vanishes with its process
    <root>/jobs/<unique>.keys   a line stage/key for each result that the job has asked for so far
    <root>/jobs/all.lock        held for a moment by whoever notes a key, and by house-keeping while it takes one away

A job notes a key before it looks the result up; house-keeping reads the notes again under all.lock before each result
that it takes, and takes it by one rename. So a job finds what it has noted, or builds it, and never half of it.
"""

import contextlib
import json
import shutil
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from dataprune.errors import ConfigError


class RunningJob:
    """Context of one job on the store at `root`; `note` says which results it uses."""

    def __init__(self, root: Path) -> None:
        self.root, self.name = root, uuid.uuid4().hex
        self.lock = FileLock(root / "jobs" / f"{self.name}.lock")
        self.noted: set[str] = set()
        self.guard = threading.Lock()  # of the threads of one driver: they would wait for the file lock in long steps

    def __enter__(self) -> "RunningJob":
        try:
            (self.root / "jobs").mkdir(parents=True, exist_ok=True)
            with _registry(self.root):
                self.lock.acquire(timeout=0)
                self._keys.touch()
        except OSError as error:
            expected = f"a folder that can be written ({error.strerror})"
            raise ConfigError("run.store", str(self.root), expected) from None
        return self

    def note(self, stage: str, key: str) -> None:
        """Say that the job uses this result from here on, whether it is there or will be built."""
        name = f"{stage}/{key}"
        if name not in self.noted:
            with self.guard, _registry(self.root), open(self._keys, "a") as file:
                file.write(f"{name}\n")
            self.noted.add(name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with _registry(self.root):
            self._keys.unlink(missing_ok=True)
            self.lock.release()
            Path(self.lock.lock_file).unlink(missing_ok=True)

    @property
    def _keys(self) -> Path:
        return self.root / "jobs" / f"{self.name}.keys"


def in_use(root: Path) -> dict[str, str]:
    """Return {stage/key: why it must stay} of the results that running jobs use; clear away what dead jobs have left.

    Also what a stage that is being built reads: its driver may be gone while a worker goes on.
    """
    (root / "jobs").mkdir(parents=True, exist_ok=True)
    with _registry(root):
        return _in_use(root)


def take(root: Path, path: Path, lock: Path) -> str | None:
    """Delete the folder `path` (a result, or unfinished work) with its files, or return why it must stay.

    lock: the result's own, which its builder holds.
    """
    doomed = root / "work" / f"doomed-{uuid.uuid4().hex}"  # if we are killed: abandoned work like any other
    for folder in (doomed, lock):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with _registry(root):
        if (by := _in_use(root).get(_name(path))) is not None:
            return by
        with _free(lock) as free:
            if not free:
                return "a process is building it"
            path.rename(doomed)
    shutil.rmtree(doomed)
    return None


def _in_use(root: Path) -> dict[str, str]:
    used: dict[str, str] = {}
    for lock in sorted((root / "jobs").glob("*.lock")):
        keys = lock.with_suffix(".keys")
        if lock.stem == "all":
            continue
        with _free(lock) as free:
            if free:
                keys.unlink(missing_ok=True)
                lock.unlink(missing_ok=True)
            elif keys.exists():
                used |= dict.fromkeys(keys.read_text().split(), "a running job uses it")
    for task in root.glob("work/*/scratch/task.json"):
        work = task.parents[1]
        with _free(root / "locks" / f"{work.name}.lock") as free:
            if not free:
                used |= dict.fromkeys(_read_by(task), f"{work.name} is being built from it")
    return used


def _read_by(task: Path) -> list[str]:
    """The results that the task of a stage reads, as stage/key."""
    try:
        inputs = json.loads(task.read_text())["inputs"]
    except FileNotFoundError:  # it has just finished
        return []
    return [_name(Path(path)) for path in inputs.values()]


def _name(path: Path) -> str:
    """stage/key of a result's folder, and of the folder where it is being built."""
    return path.name.replace("-", "/", 1) if path.parent.name == "work" else f"{path.parent.name}/{path.name}"


def _registry(root: Path) -> FileLock:
    return FileLock(root / "jobs" / "all.lock")


@contextlib.contextmanager
def _free(lock: Path) -> Iterator[bool]:
    """Whether nobody holds the lock; if so it is ours within the context."""
    try:
        with FileLock(lock).acquire(timeout=0):
            yield True
    except Timeout:
        yield False
