"""Tiny jobs for the campaigns, as a user starts them, and what a store holds after them."""

import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path

ROOT = Path(__file__).parents[2]
MARK = "DATAPRUNE_FAULTS"  # in the environment of every process of a job and of what it starts, wherever it ends up
QUIET = ["run.progress=false", "run.report=false", "run.threads=1"]
TINY = [
    *QUIET, "baselines=none", "source.reader.per_class=6", "source.reader.test_per_class=2",
    "surrogate.model.width=4", "pretrain.model.width=4", "surrogate.epochs=3", "pretrain.epochs=2",
]  # fmt: skip
# what makes each training one of two processes
TWO = ["surrogate.processes=2", "pretrain.processes=2", "run.accelerator=cpu"]
STAGES = ["index", "decode", "train", "adopt", "dynamics", "signals", "score", "select", "evaluate"]
# imported once, before the processes of `Forks` are forked: a job then costs its own work, not ten seconds of imports
PRELOADED = [
    *(f"dataprune.{name}" for name in ("__main__", "store.__main__", "pipeline", "tracking")),
    *(f"dataprune.stages.{name}" for name in STAGES),
    "benchmarks.faults.jobs",
]


@dataclass
class Line:
    """One line of the table: how often something was tried, and what did not survive it."""

    what: str
    tried: int = 0
    survived: int = 0
    fell: list[tuple[str, str]] = field(default_factory=list)  # (case, what happened)
    skipped: str = ""  # why nothing was tried

    def case(self, name: str, troubles: Sequence[str], tried: int = 1) -> None:
        """Count one case, or as many as `tried` that only their common end can tell of; no troubles = survived."""
        self.tried += tried
        self.survived += 0 if troubles else tried
        if troubles:
            self.fell.append((name, "; ".join(troubles)))

    def __str__(self) -> str:
        if self.skipped:
            return f"{self.what} | 0 | 0 | SKIPPED: {self.skipped}"
        return f"{self.what} | {self.tried} | {self.survived} | {', '.join(name for name, _ in self.fell) or '-'}"


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (negative = the signal that killed it) and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def says(self) -> list[str]:
        """Lines of the error, without what Hydra puts around every error and without indented details."""
        around = ("Error executing job with overrides", "Set the environment variable HYDRA_FULL_ERROR")
        return [line for line in self.err.splitlines() if line.strip() and not line.startswith((*around, " ", "\t"))]

    def refused(self, *fragments: str) -> list[str]:
        """Return the troubles, unless it ended with exit code 1 and one line that has one of the fragments."""
        troubles = [] if self.code == 1 else [f"exit code {self.code}"]
        if "Traceback" in self.err:
            return [*troubles, f"a stack trace: {self.says[-1][:160] if self.says else ''}"]
        if self.code == 0:
            return troubles
        if len(self.says) != 1:
            troubles.append(f"{len(self.says)} lines: {' / '.join(self.says)[:300]}")
        if not any(fragment in self.err for fragment in fragments):
            troubles.append(f"no word of {' or '.join(fragments)}: {' / '.join(self.says)[:300]}")
        return troubles

    def went_well(self) -> list[str]:
        """Return the troubles, unless the exit code is 0."""
        return [] if self.code == 0 else [f"exit code {self.code}: {' / '.join(self.says[-2:])[:300]}"]


class Job:
    """A job in a process (and session) of its own; its output goes to files in its folder."""

    def __init__(self, folder: Path, words: Sequence[str], prefix: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.mark, self.log = uuid.uuid4().hex, folder / f"log-{uuid.uuid4().hex[:8]}"
        with open(self.log.with_suffix(".out"), "w") as out, open(self.log.with_suffix(".err"), "w") as err:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "dataprune", *words],
                cwd=folder,
                env=os.environ | environment() | {MARK: self.mark},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def running(self) -> bool:
        """Whether the driver has not ended yet."""
        return self.process.poll() is None

    def processes(self) -> dict[int, int | None]:
        """Return the PIDs of the job's living processes, each with its rank if it is a worker of a training."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal() and f"{MARK}={self.mark}" in (words := _environment_of(folder)):
                ranks = [int(word.removeprefix("RANK=")) for word in words if word.startswith("RANK=")]
                found[int(folder.name)] = ranks[0] if ranks else None
        return found

    def kill_all(self) -> None:
        """Kill -9 every process of the job, and wait until none is left."""
        while there := self.processes():
            for pid in there:
                kill(pid)
            self.process.poll()  # a zombie's environment is empty: only the living are looked for
            time.sleep(0.05)
        self.process.wait()

    def ended(self, timeout: float = 300) -> Ended:
        """Wait for the driver and return how it ended; kill it all after `timeout` seconds (exit code -9)."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill_all()
            code = -9
        out, err = (self.log.with_suffix(suffix).read_text(errors="replace") for suffix in (".out", ".err"))
        return Ended(code, out, err)

    def left_behind(self, seconds: float = 30) -> list[str]:
        """Return the troubles if processes outlive the driver by `seconds`; they are killed then."""
        if wait_for(lambda: not self.processes(), seconds):
            return []
        left = len(self.processes())
        self.kill_all()
        return [f"{left} processes were left {seconds:g} s after the driver"]


def environment() -> dict[str, str]:
    """Variables of every job: one thread, this checkout's package."""
    return {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "MPLBACKEND": "Agg"}


def run(folder: Path, words: Sequence[str], timeout: float = 300) -> Ended:
    """Run one job in a fresh process, to its end."""
    return Job(folder, words).ended(timeout)


class Forks:
    """Runs jobs in processes forked from one that has done the imports: like `run`, at a tenth of its price."""

    def __init__(self) -> None:
        self.context = multiprocessing.get_context("forkserver")
        self.lock = threading.Lock()  # start() polls every child: two threads would read one child's exit code
        self.context.set_forkserver_preload(PRELOADED)
        before = dict(os.environ)
        os.environ.update(environment())
        forkserver.ensure_running()  # with this environment, which its children inherit
        os.environ.clear()
        os.environ.update(before)

    def run(self, folder: Path, words: Sequence[str], timeout: float = 120, entry: str = "dataprune.__main__") -> Ended:
        """Run `python -m <entry> <words>` in `folder`; killed after `timeout` seconds (exit code -9)."""
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / f"log-{uuid.uuid4().hex[:8]}"
        process = self.context.Process(target=_as_user, args=(folder, list(words), log, entry))
        with self.lock:
            process.start()
        ended = multiprocessing.connection.wait([process.sentinel], timeout)
        with self.lock:
            if not ended:
                process.kill()
            process.join()
        out, err = (log.with_suffix(suffix).read_text(errors="replace") for suffix in (".out", ".err"))
        return Ended(process.exitcode or 0, out, err)


def _as_user(folder: Path, words: list[str], log: Path, entry: str) -> None:
    """What a forked process does: become `python -m <entry> <words>`."""
    import importlib

    for stream, suffix in ((1, ".out"), (2, ".err")):
        file = os.open(log.with_suffix(suffix), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, stream)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
    os.chdir(folder)
    sys.argv = [entry, *words]
    sys.exit(importlib.import_module(entry).main())


def kill(pid: int) -> None:
    """Kill -9, unless it is gone already."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def wait_for(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until the condition holds; return False if it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _environment_of(folder: Path) -> list[str]:
    try:
        return (folder / "environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has ended, or is another user's
        return []


# what a store holds


def digests(store: Path) -> dict[str, str]:
    """Digest of each finished result: stage/key -> SHA-256."""
    there = (path for path in store.glob("*/*/manifest.json") if path.parent.parent.name != "work")
    return {f"{p.parent.parent.name}/{p.parent.name}": json.loads(p.read_text())["digest"] for p in there}


def metrics(store: Path) -> dict[str, dict[str, float]]:
    """Metrics of each row, by the row's name."""
    return {path.stem: json.loads(path.read_text())["metrics"] for path in store.glob("rows/*.json")}


def compare(store: Path, whole: Path) -> list[str]:
    """Return the troubles unless both stores hold the same results and rows, and nothing unfinished is left."""
    troubles = []
    for what, here, there in (
        ("results", digests(store), digests(whole)),
        ("rows", metrics(store), metrics(whole)),
    ):
        if wrong := sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name)):
            troubles.append(f"{len(wrong)} of {len(there)} {what} differ: {', '.join(wrong[:3])}")
    if left := sorted(path.name for path in store.glob("work/*")):
        troubles.append(f"unfinished: {', '.join(left[:3])}")
    return troubles + partial(store)


def partial(store: Path) -> list[str]:
    """Return the troubles if a folder looks like a result and is none."""
    folders = [path for path in store.glob("*/*") if path.is_dir() and path.parent.name != "work"]
    halves = [path for path in folders if not (path / "manifest.json").exists()]
    return [f"half a result: {path.relative_to(store)}" for path in halves[:3]]


def trained(store: Path) -> list[str]:
    """Return the troubles if a training has begun in this store, or a result is half there."""
    begun = [path for pattern in ("train/*", "work/train-*", "rows/*") for path in store.glob(pattern)]
    return [f"left behind: {path.relative_to(store)}" for path in begun[:3]] + partial(store)


@contextmanager
def mounted(words: Sequence[str], at: Path) -> Iterator[str]:
    """Mount something at the folder `at` with `mount <words> <at>`; yields why that is not possible, or nothing."""
    at.mkdir(parents=True, exist_ok=True)
    if shutil.which("mount") is None:
        yield "this machine has no mount"
        return
    done = subprocess.run(["mount", *words, str(at)], capture_output=True, text=True)
    if done.returncode:
        yield f"mount is not permitted here ({done.stderr.strip()})"
        return
    try:
        yield ""
    finally:
        subprocess.run(["umount", str(at)], check=True)
