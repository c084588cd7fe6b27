"""Keep house in a store: list, show, verify, remove, gc."""

import argparse
import json
import sys
import time
from pathlib import Path

from filelock import FileLock, Timeout

from dataprune.store.jobs import in_use, take
from dataprune.store.results import DamagedResult, Result, Store, check_file, check_records


def main(words: list[str] | None = None) -> int:
    """Run one command; returns the exit code (1 = something is damaged or was not found)."""
    parser = argparse.ArgumentParser(prog="python -m dataprune.store", description=__doc__)
    parser.add_argument("--root", default="store", help="the store's folder (default: ./store)")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="every result: stage/key, size, seconds, when")
    listing.set_defaults(run=_list)
    show = commands.add_parser("show", help="recipe and manifest of one result")
    show.add_argument("result", help="stage/key, or the first digits of the key")
    show.set_defaults(run=_show)
    verify = commands.add_parser("verify", help="read every file and compare it with its manifest")
    verify.add_argument("result", nargs="?", help="only this one")
    verify.set_defaults(run=_verify)
    remove = commands.add_parser("remove", help="delete results; they are built again when next wanted")
    remove.add_argument("result", nargs="+")
    remove.set_defaults(run=_remove)
    gc = commands.add_parser("gc", help="delete results that no row refers to, and abandoned work folders, a day old")
    gc.add_argument("--yes", action="store_true", help="really delete; without it only say what would go")
    gc.add_argument("--hours", type=float, default=24, help="spare what is younger (and whatever a running job uses)")
    gc.set_defaults(run=_gc)
    args = parser.parse_args(words)
    if not Path(args.root).is_dir():
        print(f"--root={args.root}: no such folder; a run makes one where it is started (run.store)", file=sys.stderr)
        return 1
    store = Store(args.root, verify=False)
    try:
        return args.run(store, args)
    except (LookupError, DamagedResult) as error:
        print(error.args[0], file=sys.stderr)
        return 1


def _list(store: Store, args: argparse.Namespace) -> int:
    total = 0
    for result in store.results():
        size = _size(result.path)
        total += size
        print(
            f"{_name(result):32} {size / 1e6:10.1f} MB {result.seconds:9.1f} s  {result.manifest['finished'][:16]}  "
            f"{_gist(result)}"
        )
    print(f"{total / 1e6:.1f} MB in {store.root}, {len(store.rows())} rows")
    return 0


def _show(store: Store, args: argparse.Namespace) -> int:
    result = _pick(store, args.result)
    print(json.dumps({"path": str(result.path), "recipe": result.recipe, "manifest": result.manifest}, indent=1))
    return 0


def _verify(store: Store, args: argparse.Namespace) -> int:
    results = [_pick(store, args.result)] if args.result else list(store.results())
    damaged = 0
    for result in results:
        try:
            check_records(result)
            for name, known in result.manifest["files"].items():
                check_file(result, name, known)
        except DamagedResult as error:
            damaged += 1
            print(error)
    print(f"{len(results) - damaged} of {len(results)} results are whole")
    if not args.result:
        store.rows()  # raises for one that has changed
    return 1 if damaged else 0


def _remove(store: Store, args: argparse.Namespace) -> int:
    found = [_pick(store, name) for name in args.result]  # all names are looked up before anything goes
    stays = 0
    for path, result in {r.path: r for r in found}.items():
        if (by := take(store.root, path, _lock(store, path))) is not None:
            stays += 1
            print(f"kept {_name(result)}: {by}", file=sys.stderr)
        else:
            print(f"removed {_name(result)}")
    return 1 if stays else 0


def _gc(store: Store, args: argparse.Namespace) -> int:
    unused, used = _unused(store, time.time() - 3600 * args.hours), in_use(store.root)
    spared = [path for path in unused if f"{path.parent.name}/{path.name}" in used]
    doomed = [path for path in unused if path not in spared]
    doomed += [p for p in sorted(store.root.glob("work/*")) if _abandoned(store, p)]
    for path in doomed:
        shown, size = path.relative_to(store.root), _size(path) / 1e6
        if not args.yes:
            print(f"would remove {shown} {size:.1f} MB")
        elif take(store.root, path, _lock(store, path)) is None:
            print(f"removed {shown} {size:.1f} MB")
        else:
            spared.append(path)
    if spared:
        print(f"kept {len(spared)} that running jobs use, whose rows are not filed yet")
    if doomed and not args.yes:
        print("add --yes to delete")
    return 0


def _unused(store: Store, before: float) -> list[Path]:
    """Folders of the results that no row names and that were finished before this time."""
    kept = {key for row in store.rows() for key in row["keys"].values()}
    return [r.path for r in store.results() if r.key not in kept and (r / "manifest.json").stat().st_mtime < before]


def _lock(store: Store, path: Path) -> Path:
    """The lock of a result's folder, or of the folder where it is being built."""
    name = path.name if path.parent.name == "work" else f"{path.parent.name}-{path.name}"
    return store.root / "locks" / f"{name}.lock"


def _pick(store: Store, name: str) -> Result:
    found = [r for r in store.results() if (_name(r) if "/" in name else r.key).startswith(name)]
    if len(found) != 1:
        what = "no such result" if not found else "several results begin so: " + ", ".join(map(_name, found))
        raise LookupError(f"{name}: {what}; `list` shows what is there")
    return found[0]


def _abandoned(store: Store, work: Path) -> bool:
    """Nobody holds its lock, and it has not been touched for a day (a killed job may want to continue sooner)."""
    try:
        with FileLock(store.root / "locks" / f"{work.name}.lock").acquire(timeout=0):
            pass
    except Timeout:
        return False
    return time.time() - max(p.stat().st_mtime for p in [work, *work.rglob("*")]) > 86_400


def _gist(result: Result) -> str:
    """The facts of a result that fit on its line."""
    return ", ".join(f"{k}={v}" for k, v in result.facts.items() if isinstance(v, (int, float, str)))[:80]


def _name(result: Result) -> str:
    return f"{result.path.parent.name}/{result.key}"


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


if __name__ == "__main__":
    sys.exit(main())
