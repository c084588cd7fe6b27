"""A bit flipped in a file of a finished store: the file is named, or it counts for nothing and nothing changes."""

import os
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.faults.jobs import TINY, Ended, Forks, Line, compare, run

JOB = [*TINY, "method=forgetting", "target=digits", "transfer.epochs=2"]
STORE = "dataprune.store.__main__"
NOTE = "log/note.txt"  # put into one result: the one kind of file that may change unseen
Run = Callable[[Path, list[str]], Ended]


def campaign(folder: Path, forks: Forks, flips: int, seed: int, sample: int | None = None, fresh: int = 0) -> Line:
    """Flip `flips` bits of each file (of `sample` files, if that is given); the next run and `store verify` must tell.

    fresh: so many of the flips are met by a job in a process of its own, the others by a forked one.
    """
    line, whole = Line("a bit flipped in each file of a store"), folder / "whole"
    if troubles := forks.run(whole, JOB).went_well():
        line.case("undisturbed", troubles)
        return line
    store, rng = whole / "store", random.Random(seed)
    note = next(store.glob("train/*/")) / NOTE
    note.parent.mkdir(exist_ok=True)
    note.write_text("what a worker has said\n")
    files = sorted(p.relative_to(store) for p in store.rglob("*") if p.is_file() and p.stat().st_size)
    if sample is not None:
        files = _of_each_kind(files, sample, rng)
    trials = [(name, rng.randrange(8 * (store / name).stat().st_size)) for name in files for _ in range(flips)]
    in_fresh = set(rng.sample(range(len(trials)), min(fresh, len(trials))))
    with ThreadPoolExecutor(2) as pool:
        done = [
            pool.submit(_trial, folder / str(i), whole, name, bit, run if i in in_fresh else forks.run, forks)
            for i, (name, bit) in enumerate(trials)
        ]
        for (name, bit), troubles in zip(trials, done, strict=True):
            line.case(f"{name} bit {bit}", troubles.result())
    return line


def _of_each_kind(files: list[Path], sample: int, rng: random.Random) -> list[Path]:
    """Files drawn so that every stage's recipe, manifest and kind of array comes before a second of its kind."""
    rng.shuffle(files := list(files))
    seen: dict[str, int] = {}
    rank = []
    for name in files:  # index/<key>/train/images.npy -> images.npy
        rank.append(seen.setdefault(name.name, 0) if name.parts[0] != "rows" else 0)
        seen[name.name] = seen.get(name.name, 0) + 1
    return [name for _, name in sorted(zip(rank, files, strict=True), key=lambda pair: pair[0])][:sample]


def _trial(folder: Path, whole: Path, name: Path, bit: int, start: Run, forks: Forks) -> list[str]:
    store = folder / "store"
    shutil.copytree(whole / "store", store)
    content = bytearray((store / name).read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    _write_as_it_was(store / name, bytes(content))
    counts = name.parts[-2] != "log" and name.parts[0] != "recipes"  # which only serve to say why something is built
    troubles = []
    verified = forks.run(folder, ["--root", str(store), "verify"], entry=STORE)
    if counts and (verified.code != 1 or not _named(name, verified) or "Traceback" in verified.err):
        said = verified.says[-1:] or verified.out.splitlines()[-1:]
        troubles.append(f"store verify does not name it: exit code {verified.code}, {' '.join(said)[:200]}")
    ended = start(folder, JOB)
    if ended.code or not counts:
        troubles += ended.refused("") if counts else ended.went_well()
        troubles += [f"it is not named: {' '.join(ended.says)[-300:]}"] if counts and not _named(name, ended) else []
    elif (store / name).read_bytes() == bytes(content):
        troubles.append("the next run took it as it was")
    if not ended.code:
        troubles += compare(store, whole / "store")
    if not troubles:
        shutil.rmtree(folder)
    return troubles


def _named(name: Path, ended: Ended) -> bool:
    """Whether what a process says has the folder of the result and the file in it."""
    said, depth = ended.out + ended.err, 1 if name.parts[0] == "rows" else 2
    return str(Path(*name.parts[:depth])) in said and str(Path(*name.parts[depth:])) in said


def _write_as_it_was(path: Path, content: bytes) -> None:
    """Write without a trace in the file's times: a disk does not tell when it loses a bit."""
    before = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
