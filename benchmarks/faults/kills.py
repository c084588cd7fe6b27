"""kill -9 at random moments: the same commands, given again, end with the bytes of an undisturbed run."""

import math
import os
import random
import signal
import time
from pathlib import Path

from benchmarks.faults.jobs import TINY, TWO, Job, Line, compare, kill, run, wait_for

# nine trainings of two seconds on one core: most of a job is stages, not imports
SWEEP = [
    "-m", *TINY, "target=none", "method=forgetting,random", "prune_ratio=0.4,0.7",
    "source.reader.per_class=40", "surrogate.epochs=60", "pretrain.epochs=60",
]  # fmt: skip
PAIRS = ["-m", *TINY, *TWO, "target=none", "method=forgetting", "prune_ratio=0.4,0.7"]
LONG = [*TINY, *TWO, "target=none", "method=forgetting", "surrogate.epochs=150"]  # its first training can be met
PATIENCE = 600  # seconds in which a round must come to an end after its last kill
SECONDS = 30  # in which a driver must notice that a worker is gone, and in which nothing of a dead driver may be left


def sweeps(folder: Path, kills: int, seed: int, pairs: bool, seeds: str = "0,1") -> Line:
    """Kill drivers, their groups and single workers of two drivers' sweeps on one store, until `kills` are reached.

    pairs: each training has two processes. seeds: of the experiments, the more the longer is a sweep.
    """
    kinds = ["worker", "worker", "driver", "group"] if pairs else ["driver", "group", "worker"]
    line = Line(f"kill -9 while two drivers sweep, {'two processes' if pairs else 'one process'} a training")
    words, rng, whole = PAIRS if pairs else [*SWEEP, f"seed={seeds}"], random.Random(seed), folder / "whole"
    if troubles := run(whole, words, PATIENCE).went_well():
        line.case("undisturbed", troubles)
        return line
    number = 0
    while line.tried < kills:
        number += 1
        duel = Duel(folder / f"round{number}", words, rng, kinds)
        troubles = duel.fight(min(8, kills - line.tried)) + compare(duel.folder / "store", whole / "store")
        line.case(f"round {number} of seed {seed} ({', '.join(duel.killed)})", troubles, tried=len(duel.killed))
        if not duel.killed:
            line.case(f"round {number} of seed {seed}", ["it ended before anything could be killed"])
    return line


class Duel:
    """Two drivers with the same sweep on one store; whoever is killed is started again."""

    def __init__(self, folder: Path, words: list[str], rng: random.Random, kinds: list[str]) -> None:
        self.folder, self.words, self.rng, self.kinds = folder, words, rng, kinds
        self.jobs = [Job(folder, words), Job(folder, words)]
        self.past: list[Job] = []
        self.hit: set[int] = set()  # positions in `jobs` of those that have lost something
        self.killed: list[str] = []  # what, in order

    def fight(self, kills: int) -> list[str]:
        """Kill as often, at random moments, as the sweeps last, then let them end; returns the troubles."""
        end, following = time.monotonic() + PATIENCE, time.monotonic() + self._pause(first=True)
        troubles: list[str] = []
        while any(job.running() for job in self.jobs) and not troubles:
            if time.monotonic() > following and len(self.killed) < kills:
                self._strike()
                following = time.monotonic() + self._pause()
                end = time.monotonic() + PATIENCE
            if time.monotonic() > end:
                troubles.append(f"not at an end {PATIENCE} s after the last kill")
            time.sleep(0.05)
            troubles += self._restart()
        for job in self.jobs + self.past:
            troubles += job.left_behind(0.0 if troubles else SECONDS)
        return troubles

    def _pause(self, first: bool = False) -> float:
        """Seconds to the next kill: a new driver imports for four, and then works."""
        return (4.0 if first else 0.0) + self.rng.uniform(0.5, 9.0)

    def _strike(self) -> None:
        at = self.rng.choice([i for i, job in enumerate(self.jobs) if job.running()] or [0])
        job, kind = self.jobs[at], self.rng.choice(self.kinds)
        others = {pid: rank for pid, rank in job.processes().items() if pid != job.process.pid}
        workers = [pid for pid, rank in others.items() if rank is not None] or list(others)
        if kind == "worker" and workers:
            kill(self.rng.choice(workers))
        elif kind == "group":
            os.killpg(job.process.pid, signal.SIGKILL)
        else:
            kind = "driver"
            kill(job.process.pid)
        self.killed.append(kind)
        self.hit.add(at)

    def _restart(self) -> list[str]:
        """Start those again that have lost something and ended badly; returns the troubles of others that did."""
        troubles = []
        for at, job in enumerate(self.jobs):
            if job.running() or not job.process.returncode:
                continue
            if at not in self.hit:
                troubles += [f"a driver that nobody touched: {trouble}" for trouble in job.ended().went_well()]
                continue
            self.hit.discard(at)
            self.past.append(job)
            self.jobs[at] = Job(self.folder, self.words)
        return troubles


def processes(folder: Path, victims: list[int | str]) -> Line:
    """Kill one process of a training of two: a rank, the "launcher" between driver and ranks, or the "driver"."""
    line, whole = Line("one process of a training of two killed"), folder / "whole"
    if troubles := run(whole, LONG).went_well():
        line.case("undisturbed", troubles)
        return line
    for victim in victims:
        name = victim if isinstance(victim, str) else f"rank {victim}"
        line.case(name, _without(folder / f"without-{name.replace(' ', '-')}", victim, whole))
    return line


def _without(folder: Path, victim: int | str, whole: Path) -> list[str]:
    job, store = Job(folder, LONG), folder / "store"
    if not wait_for(lambda: list(store.glob("work/train-*/scratch/last.ckpt")) or not job.running(), 120):
        job.kill_all()
        return ["no training began"]
    there = job.processes()
    candidates = {
        "driver": [job.process.pid],
        "launcher": [pid for pid, rank in there.items() if rank is None and pid != job.process.pid],
    }
    pids = candidates[victim] if isinstance(victim, str) else [pid for pid, rank in there.items() if rank == victim]
    if victim == "launcher" and not pids:
        job.kill_all()
        return []  # the driver itself holds the ranks: there is nothing between them to lose
    if not pids:
        job.kill_all()
        return [f"no process to kill among {there}"]
    kill(pids[0])
    began = time.monotonic()
    ended = job.ended(SECONDS)
    troubles = [f"the driver went on for {SECONDS} s"] if time.monotonic() - began >= SECONDS else []
    troubles += ["the driver ended well"] if ended.code == 0 else []
    troubles += job.left_behind(max(1.0, SECONDS - math.floor(time.monotonic() - began)))
    again = run(folder, LONG)
    if "going on after epoch" not in again.out + again.err:  # a worker says so, on its own stream
        troubles.append("the next run began anew")
    return troubles + again.went_well() + compare(store, whole / "store")
