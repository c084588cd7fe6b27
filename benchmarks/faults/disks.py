"""Disks that are full, and stores that may not be written."""

import shutil
import subprocess
from pathlib import Path

from benchmarks.faults.jobs import TINY, Ended, Forks, Line, compare, digests, mounted, partial

JOB = [*TINY, "method=forgetting", "target=digits", "transfer.epochs=2"]
PAGE = 4096  # in which tmpfs counts
FULL = ("No space left", "is full")


def full(folder: Path, forks: Forks, shares: list[float]) -> Line:
    """Give a job disks with these shares of the room that its store takes, then more; its folder may lie there too."""
    line, whole = Line("a full disk (tmpfs), then room again"), folder / "whole"
    if troubles := forks.run(whole, JOB).went_well():
        line.case("undisturbed", troubles)
        return line
    for share in shares:
        for what in ("the store", "everything"):
            name = f"{what} on a disk of {share:g} times its size"
            at = folder / name.replace(" ", "-")
            room = max(8, int(share * _pages(whole / ("store" if what == "the store" else "")))) * PAGE
            with mounted(["-t", "tmpfs", "-o", f"size={room}", "tmpfs"], at / "disk") as refused:
                if refused:
                    line.skipped = refused
                    return line
                line.case(name, _fill(at, forks, whole / "store", outside=what == "the store"))
    return line


def _fill(folder: Path, forks: Forks, whole: Path, outside: bool) -> list[str]:
    """Run on the full disk, look at what is there, make room, run again. outside: the job's outputs lie elsewhere."""
    disk = folder / "disk"
    store, here = disk / "store", folder / "job" if outside else disk
    # the files with what a process says are always outside
    words = [*JOB, f"run.store={store}", f"hydra.run.dir={here}/outputs"]
    ended = forks.run(folder / "job", words)
    troubles = ended.refused(*FULL) if ended.code else []
    troubles += partial(store)
    there = digests(store)
    if wrong := [name for name, digest in digests(whole).items() if there.get(name, digest) != digest]:
        troubles.append(f"finished, but other than undisturbed: {', '.join(wrong[:3])}")
    verified = forks.run(folder / "job", ["--root", str(store), "verify"], entry="dataprune.store.__main__")
    troubles += [f"store verify: {trouble}" for trouble in verified.went_well()] if store.exists() else []
    subprocess.run(["mount", "-o", "remount,size=256m", str(disk)], check=True)
    return troubles + forks.run(folder / "job", words).went_well() + compare(store, whole)


def _pages(folder: Path) -> int:
    return sum(-(-path.stat().st_size // PAGE) if path.is_file() else 1 for path in folder.rglob("*"))


def read_only(folder: Path, forks: Forks) -> Line:
    """Run on stores behind a read-only mount (root may write what chmod forbids): empty, half there, all there."""
    line, whole = Line("a read-only store"), folder / "whole"
    if troubles := forks.run(whole, JOB).went_well():
        line.case("undisturbed", troubles)
        return line
    for name in ("no store yet", "an empty store", "half of the results", "all results"):
        store = folder / name.replace(" ", "-") / "store"
        if name == "half of the results":
            shutil.copytree(whole / "store", store, ignore=shutil.ignore_patterns("evaluate", "rows"))
        elif name == "all results":
            shutil.copytree(whole / "store", store)
        else:
            store.mkdir(parents=True)
        at = folder / name.replace(" ", "-") / "read-only"
        with mounted(["--bind", str(store)], at) as refused:
            if refused:
                line.skipped = refused
                return line
            subprocess.run(["mount", "-o", "remount,bind,ro", str(at)], check=True)
            seen = at / "new" if name == "no store yet" else at
            ended = forks.run(folder / name.replace(" ", "-"), [*JOB, f"run.store={seen}"])
        line.case(name, _told(ended, seen, may_work=name == "all results"))
    return line


def _told(ended: Ended, store: Path, may_work: bool) -> list[str]:
    if may_work and ended.code == 0:
        return []
    return ended.refused("run.store", str(store), "Read-only file system", "read-only")
