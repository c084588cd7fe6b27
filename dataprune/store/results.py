"""Results on disk, found by what they are made of.

    <root>/<stage>/<key>/     a finished result: recipe.json, manifest.json, the files, log/
    <root>/work/<stage>-<key>/  an unfinished one; survives a kill with its checkpoint and continues
    <root>/locks/             kernel locks, one a result; they vanish with their process
    <root>/rows/<hash>.json   one row of numbers a job
    <root>/jobs/              what running jobs use (store.jobs)
    <root>/recipes/           recipes of all results by stage, for `why_missed` (store.nearest)

A **recipe** is {stage, version, config, digests of inputs}; its **key** is a hash of that. A **digest** is a
hash of a result's files, so what follows depends on the *content* of its inputs: two methods that select
the same examples share one training. A result exists exactly when it is complete: it is written in the
work folder, its manifest last, and then renamed once.

Inside a result `log/` belongs to no digest; `export/` (portable files, which may carry names and dates) and `held/`
(data that hashes in a counted file speak for) are checked for damage but do not count for identity; `scratch/` is
removed when the result is finished. The manifest holds a hash of itself and of the recipe, a row one of itself.

    python -m dataprune.store list|show|verify|remove|gc     keeps house; see `--help`
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dataprune.store import nearest
from dataprune.store.files import write_json

UNHASHED = ("log", "scratch")  # folders inside a result that no hash covers
UNCOUNTED = ("export/", "held/")  # folders that are checked for damage but make no difference to the digest
VERIFIED: dict[Path, tuple] = {}  # files that this process has compared with their manifest: time and size then


class DamagedResult(RuntimeError):
    """A file of a finished result is not what was written."""


def fingerprint(value: Any) -> str:
    """SHA-256 of the sorted JSON of `value`, in hex."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Recipe:
    """What a result is made of. Anything that changes here makes another result."""

    stage: str
    version: int
    config: dict[str, Any]
    inputs: dict[str, str] = field(default_factory=dict)  # role -> digest
    code: dict[str, str] = field(default_factory=dict)  # dotted path -> hash of the source behind it (callables)

    @cached_property
    def key(self) -> str:
        """First 16 hex digits of the recipe's hash: the name of the result's folder."""
        return fingerprint(dataclasses.asdict(self))[:16]

    def __str__(self) -> str:
        return f"{self.stage} {self.key[:8]}"


@dataclass(frozen=True)
class Result:
    """A finished result. `result / "model.pt"` is one of its files."""

    path: Path
    recipe: dict[str, Any]
    manifest: dict[str, Any]

    @property
    def digest(self) -> str:
        """Hash of the files that count; equal digests mean interchangeable results."""
        return self.manifest["digest"]

    @property
    def key(self) -> str:
        """Name of the result's folder below its stage."""
        return self.path.name

    @property
    def seconds(self) -> float:
        """Wall seconds that it took to build, over all attempts."""
        return self.manifest["seconds"]

    @property
    def device_s(self) -> float:
        """Seconds that it took, summed over the devices, over all attempts."""
        return self.manifest.get("device_s", self.seconds)

    @property
    def facts(self) -> dict[str, Any]:
        """Numbers that the stage reported beside its files (images seen, classes kept, ...)."""
        return self.manifest["facts"]

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def has(self, name: str) -> bool:
        """Whether the result holds this file or folder."""
        return (self.path / name).exists()


class Store:
    """The folder that holds all results; any number of processes and machines may share it."""

    def __init__(self, root: Path | str, verify: bool = True) -> None:
        self.root, self.verify = Path(root).absolute(), verify

    def home(self, recipe: Recipe) -> Path:
        """Where the finished result lies, or will."""
        return self.root / recipe.stage / recipe.key

    def work(self, recipe: Recipe) -> Path:
        """Where it is being built."""
        return self.root / "work" / f"{recipe.stage}-{recipe.key}"

    def find(self, recipe: Recipe) -> Result | None:
        """The finished result, its files checked once a process; None if there is none yet."""
        home = self.home(recipe)
        if not (home / "manifest.json").exists():
            return None
        result = load(home)
        if self.verify:
            self._check(result)
        return result

    def _check(self, result: Result) -> None:
        for name, known in result.manifest["files"].items():
            path = result.path / name
            stat = path.stat() if path.exists() else None
            seen = stat and (stat.st_mtime_ns, stat.st_size)
            if seen and VERIFIED.get(path) == seen:
                continue
            check_file(result, name, known, full=stat is not None and stat.st_size <= 2**30)
            VERIFIED[path] = seen  # type: ignore[assignment]

    @contextlib.contextmanager
    def building(self, recipe: Recipe, say: Any, wait: bool = True) -> Iterator[Path | None]:
        """Hold the recipe's lock and yield its work folder, or None when another process has built it meanwhile, or
        (without `wait`) is building it now.

        `say(text)` is told whom we wait for. The lock is the kernel's: a killed builder frees it.
        """
        lock = FileLock(self.root / "locks" / f"{recipe.stage}-{recipe.key}.lock")
        (self.root / "locks").mkdir(parents=True, exist_ok=True)
        work = self.work(recipe)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                yield None
                return
            say(f"waiting for {_owner(work)}")
            lock.acquire()
        try:
            if (self.home(recipe) / "manifest.json").exists():
                yield None
                return
            (work / "scratch").mkdir(parents=True, exist_ok=True)
            _begin_attempt(work)
            write_json(work / "recipe.json", dataclasses.asdict(recipe))
            yield work
        finally:
            lock.release()

    def is_building(self, recipe: Recipe) -> bool:
        """Whether a process holds the recipe's lock."""
        lock = FileLock(self.root / "locks" / f"{recipe.stage}-{recipe.key}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    def commit(self, recipe: Recipe, facts: dict[str, Any], made: dict[str, Any] | None = None) -> Result:
        """Turn the work folder into a finished result: manifest last, then one rename.

        made: what the manifest tells of how it was made beside that: versions, device, the whole config, ...
        """
        work, home = self.work(recipe), self.home(recipe)
        *before, last = _seconds_of_attempts(work)
        earlier = sum(before)
        shutil.rmtree(work / "scratch")
        files = {name: describe(work / name) for name in sorted(hashed_files(work))}
        counted = {name: f["sha256"] for name, f in files.items() if not name.startswith(UNCOUNTED)}
        manifest = {
            "digest": fingerprint(counted),
            "files": files,
            "facts": facts,
            "seconds": round(earlier + last, 3),
            "device_s": round((made or {}).get("processes", 1) * (earlier + (made or {}).get("stage_s", last)), 3),
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "host": socket.gethostname(),
            **(made or {}),
        }
        write_json(work / "manifest.json", signed(manifest, dataclasses.asdict(recipe)))
        home.parent.mkdir(parents=True, exist_ok=True)
        nearest.remember(self.root, recipe.key, dataclasses.asdict(recipe))
        if home.exists():  # without a manifest, or nobody would build: a removal was cut short
            shutil.rmtree(home)
        os.replace(work, home)  # atomic on one file system: `home` exists only if everything in it is there
        return load(home)

    def why_missed(self, recipe: Recipe) -> str:
        """What sets the recipe apart from the nearest of its stage's newest results."""
        return nearest.difference(self.root, dataclasses.asdict(recipe))

    def results(self) -> Iterator[Result]:
        """All finished results, stage by stage."""
        for path in sorted(self.root.glob("*/*/manifest.json")):
            if path.parent.parent.name not in ("work", "locks", "rows"):
                yield load(path.parent, check=False)

    def write_row(self, name: str, row: dict[str, Any]) -> Path:
        """File one job's numbers under rows/<name>.json; the same job writes the same file."""
        path = self.root / "rows" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, signed(row))
        return path

    def rows(self) -> list[dict[str, Any]]:
        """All rows, each with its own file name under "row". Raises DamagedResult for one that has changed."""
        found = []
        for path in sorted((self.root / "rows").glob("*.json")):
            row = _read_json(path)
            if row != signed(row):
                raise DamagedResult(f"{path} has changed since it was written. Remove it, its job will file it again")
            found.append({name: value for name, value in row.items() if name != "sha256"} | {"row": path.stem})
        return found


def load(home: Path, check: bool = True) -> Result:
    """Read a finished result's recipe and manifest; raise DamagedResult (if `check`) where they have changed."""
    recipe, manifest = (_read_json(home / f"{name}.json") for name in ("recipe", "manifest"))
    result = Result(home, recipe, manifest)
    if check:
        check_records(result)
    return result


def check_records(result: Result) -> None:
    """Raise DamagedResult unless recipe and manifest are what was written."""
    if result.manifest != signed(result.manifest, result.recipe):
        raise _damaged(result.path, "recipe.json or manifest.json", "has changed since it was written")


def signed(record: dict[str, Any], *others: dict[str, Any]) -> dict[str, Any]:
    """The record with a hash of itself and of what else it vouches for, under "sha256"."""
    plain = {name: value for name, value in record.items() if name != "sha256"}
    return plain | {"sha256": fingerprint([plain, *others])}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:  # bad JSON, or bytes that are no text
        if path.parent.name == "rows":
            raise DamagedResult(f"{path} is damaged ({error}). Remove it, its job will file it again") from None
        raise _damaged(path.parent, path.name, f"is damaged ({error})") from None


def hashed_files(folder: Path) -> Iterator[str]:
    """Relative names of the files that a manifest lists."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.name.startswith("."):  # what a kill in the middle of a write has left
            continue
        if path.is_file() and name.split("/")[0] not in UNHASHED and name not in ("recipe.json", "manifest.json"):
            yield name


def describe(path: Path) -> dict[str, Any]:
    """SHA-256 and size of one file."""
    with open(path, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def check_file(result: Result, name: str, known: dict[str, Any], full: bool = True) -> None:
    """Raise DamagedResult unless the file is there with its size and (if `full`) its content.

    Files above 1 GiB are compared by size when they are reused and by content in `store verify`.
    """
    path = result.path / name
    if not path.exists():
        found = "is missing"
    elif path.stat().st_size != known["bytes"]:
        found = f"has {path.stat().st_size} bytes, not {known['bytes']}"
    elif full and describe(path)["sha256"] != known["sha256"]:
        found = "has changed since it was written (its SHA-256 differs)"
    else:
        return
    raise _damaged(result.path, name, found)


def _damaged(home: Path, name: str, found: str) -> DamagedResult:
    root, stage = home.parent.parent, home.parent.name
    return DamagedResult(
        f"{home / name} {found}. Remove the result, it will be built again: "
        f"python -m dataprune.store --root {root} remove {stage}/{home.name}"
    )


def _begin_attempt(work: Path) -> None:
    """Note who builds since when, and that another attempt has begun."""
    now = time.time()
    write_json(work / "scratch" / "owner.json", {"host": socket.gethostname(), "pid": os.getpid(), "since": now})
    attempts = work / "scratch" / "attempts.json"
    earlier = json.loads(attempts.read_text()) if attempts.exists() else []
    if earlier:  # the one before us was killed: its last sign of life is the youngest file it left
        last_sign = max(p.stat().st_mtime for p in work.rglob("*") if p.is_file() and p.name != "owner.json")
        earlier[-1]["end"] = max(earlier[-1]["start"], last_sign)
    write_json(attempts, [*earlier, {"start": now}])


def _seconds_of_attempts(work: Path) -> list[float]:
    attempts = json.loads((work / "scratch" / "attempts.json").read_text())
    return [a.get("end", time.time()) - a["start"] for a in attempts]


def _owner(work: Path) -> str:
    try:
        owner = json.loads((work / "scratch" / "owner.json").read_text())
    except FileNotFoundError:  # it has only just begun, or has just finished
        return "another process"
    since = time.strftime("%H:%M", time.localtime(owner["since"]))
    return f"{owner['host']}:{owner['pid']}, which has been building it since {since}"
