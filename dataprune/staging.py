"""`run.stage_to=/dev/shm`: a data set's files on a fast local disk, copied once before they are read at every epoch.

    <stage_to>/dataprune-<user>/<key of the index>/    the index's own files, whose export/root.txt names ...
    <stage_to>/dataprune-<user>/<key of the index>/files/    ... the copies of those that it lists

The key tells the state of the originals, so a copy that is there is the right one. Nothing that is made of a data set
depends on where it lies: no result's key moves. Every node copies for itself; of several processes there one does.
"""

import errno
import json
import logging
import os
import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from filelock import FileLock

from dataprune.data.paths import Paths, file_of
from dataprune.errors import ConfigError, Shown

KEY = "run.stage_to"
COPIERS = 16  # threads: small files wait for the network, not for the processor
log = logging.getLogger(__name__)


def staged(inputs: dict[str, Path], stage_to: str | None) -> dict[str, Path]:
    """Return the inputs of a stage; of one that decodes at every epoch, `examples` (index) as a copy below `stage_to`.

    Raises ConfigError where that is no folder or has too little room.
    """
    if stage_to is None or not {"examples", "pixels"} <= inputs.keys():
        return inputs
    if json.loads((inputs["pixels"] / "header.json").read_text())["kept"]:
        return inputs  # decoded once already
    return inputs | {"examples": copied(inputs["examples"], Path(stage_to))}


def copied(index: Path, to: Path) -> Path:
    """Return a complete copy below `to` of an index result and of the files that it lists, made unless it is there."""
    if not to.is_dir():
        raise ConfigError(KEY, str(to), "an existing folder on each machine that computes, such as /dev/shm")
    home = to / f"dataprune-{os.getuid()}"
    try:
        home.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigError(KEY, str(to), f"a folder that can be written ({error.strerror})") from None
    copy = home / index.name
    with FileLock(home / f".{index.name}.lock"):
        if not copy.exists():
            for left in home.glob(f".{index.name}.part-*"):  # by a process that was killed
                shutil.rmtree(left)
            _copy(index, copy)
    return copy


def _copy(index: Path, copy: Path) -> None:
    """Copy under another name beside it, which becomes `copy` when all is there."""
    root, files = listed(index)
    own = [path.relative_to(index).as_posix() for path in index.rglob("*") if path.is_file()]
    size = sum(os.stat(index / name).st_size for name in own)
    size += sum(os.stat(os.path.join(root, name)).st_size for name in files)
    began, free = time.monotonic(), shutil.disk_usage(copy.parent).free
    if size > free:
        raise _no_room(copy.parent, size, free)
    part = Path(tempfile.mkdtemp(prefix=f".{copy.name}.part-", dir=copy.parent))
    try:
        _copy_files(index, part, own)
        if files:
            _copy_files(root, part / "files", files)
            (part / "export" / "root.txt").write_text(str(copy / "files"))
        part.rename(copy)
    except OSError as error:
        if error.errno == errno.ENOSPC:  # somebody else took the room meanwhile
            raise _no_room(copy.parent, size, shutil.disk_usage(copy.parent).free) from None
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    seconds = time.monotonic() - began
    log.info("%s: %d files, %.3g GB in %.1f s", copy, len(files) + len(own), size / 1e9, seconds)


def listed(index: Path) -> tuple[Path, list[str]]:
    """Return the folder that the files of a data set lie in, and their names below it, each once."""
    if not (index / "export" / "root.txt").exists():
        return index, []
    root = Path((index / "export" / "root.txt").read_text())
    lists = [Paths(place.parent, root).names() for place in sorted(index.glob("export/*/files.bin"))]
    return root, list(dict.fromkeys(file_of(name) for names in lists for name in names))


def _copy_files(root: Path, to: Path, names: list[str]) -> None:
    for folder in sorted({os.path.dirname(name) for name in names}):
        (to / folder).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(COPIERS) as pool:
        for _ in pool.map(lambda name: shutil.copyfile(os.path.join(root, name), os.path.join(to, name)), names):
            pass


def _no_room(home: Path, size: int, free: int) -> ConfigError:
    found = Shown(f"{str(home.parent)!r} with {free / 1e9:.3g} GB free")
    earlier = ", ".join(sorted(path.name for path in home.iterdir() if not path.name.startswith("."))) or "none"
    return ConfigError(KEY, found, f"{size / 1e9:.3g} GB for this data set (earlier copies in {home}: {earlier})")
