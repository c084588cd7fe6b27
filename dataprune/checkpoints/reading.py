"""The one reader of foreign checkpoints: tensors and what lies beside them, nothing of the file is run.

Files of torch.save (both forms) are read with torch's restricted unpickler; names of classes that it refuses (SGD of a
program that is not here) become empty stand-ins. Files .npz hold TensorFlow's variables.
"""

import pickle
import re
import zipfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from dataprune.errors import ConfigError, Shown, first_line
from dataprune.formats.pickles import LEAST, ROOM, check_saved

CONTAINERS = ("model_state_dict", "state_dict", "model")  # what checkpoints call their tensors
MOST = 200  # classes that an old file may name
PARALLEL = "module."  # what DataParallel puts before each name


class Inert:
    """What stands for everything that a checkpoint names beside tensors and containers (Swin's and Dyn-Unc's hold their
    whole configuration): an empty mapping, whatever it is called with. Nothing of the file is run."""

    def __new__(cls, *ignored: object, **also: object) -> Any:
        """Return an empty mapping."""
        return OrderedDict()


@dataclass(frozen=True)
class Foreign:
    """What a file holds: tensors by their names there, and everything beside them."""

    path: Path
    tensors: dict[str, torch.Tensor]
    beside: dict[str, Any]


def read(path: Path, key: str, trust: bool = False) -> Foreign:
    """Return the tensors of a checkpoint file and what lies beside them.

    The tensors are the file itself, or are under `model_state_dict`, `state_dict` or `model`. trust: unpickle whatever
    the file names, which runs its code: for files of one's own only, such as a whole network that was saved.
    Raises ConfigError for `key` for anything else: damaged, no tensors, more memory than a file of this size may need.
    """
    there = _loaded(path, key, trust)
    beside: dict[str, Any] = {}
    for name in CONTAINERS:
        if isinstance(there, dict) and isinstance(there.get(name), dict | torch.nn.Module):
            beside |= {other: value for other, value in there.items() if other != name}
            there = there[name]
    if isinstance(there, torch.nn.Module):
        there = there.state_dict()
    if not isinstance(there, dict) or not there or not all(isinstance(name, str) for name in there):
        raise ConfigError(key, str(path), "a state_dict: names and tensors")
    if strange := [name for name, value in there.items() if not isinstance(value, torch.Tensor)]:
        raise ConfigError(key, str(path), f"a state_dict: names and tensors, not {', '.join(strange[:3])}")
    _check_room(there, path, key)
    return Foreign(path, unparalleled(there, key), beside)


def read_state(path: Path, key: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a checkpoint file by their names; errors as `read`."""
    return read(path, key).tensors


def unparalleled(state: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the same entries without the `module.` that all names begin with.

    Raises ConfigError where some names have it and others are the same without: a layer that is there twice.
    """
    bare = [name.removeprefix(PARALLEL) for name in state]
    if doubled := sorted({name for name in bare if bare.count(name) > 1} if len(set(bare)) < len(bare) else ()):
        raise ConfigError(key, Shown(f"{', '.join(doubled[:3])} twice"), f"each layer once, with {PARALLEL} or without")
    return dict(zip(bare, state.values(), strict=True)) if all(n.startswith(PARALLEL) for n in state) else state


def _loaded(path: Path, key: str, trust: bool) -> Any:
    """What is in a file, its checksums compared first: torch writes them and does not look at them."""
    try:
        arrays = zipfile.is_zipfile(path) and _check_archive(path, key)
        if arrays:
            with np.load(path, allow_pickle=False) as archive:
                return {name: torch.from_numpy(archive[name].copy()) for name in archive.files}
        if trust:
            return torch.load(path, map_location="cpu", weights_only=False)
        check_saved(path, key)
        return _unpickled(path)
    except ConfigError:
        raise
    except Exception as error:  # torch raises pickle, zip, EOF and runtime errors here; all mean the same to the user
        expected = f"a file of tensors that torch.load(weights_only=True) reads ({first_line(error)})"
        raise ConfigError(key, str(path), expected) from None


def _unpickled(path: Path) -> Any:
    """What torch's restricted unpickler makes of a file, with stand-ins for the names that it refuses; of an old file
    (before torch 1.6) it tells them one at a time."""
    inert = get_unsafe_globals_in_checkpoint(str(path)) if zipfile.is_zipfile(path) else []
    while True:
        try:
            with safe_globals([(Inert, name) for name in inert]):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            refused = re.search(r"Unsupported global: GLOBAL (\S+) was not", str(error))
            if refused is None or refused[1] in inert or len(inert) >= MOST:
                raise
            inert.append(refused[1])


def _check_archive(path: Path, key: str) -> bool:
    """Return whether an archive is one of numpy's; raise ConfigError if it has changed, unpacks to more than a file of
    its size may, or has entries that would lie outside of it."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        for entry in entries:
            name = PurePosixPath(entry.filename.replace("\\", "/"))
            if name.is_absolute() or ".." in name.parts:
                raise ConfigError(key, str(path), f"an archive whose entries lie inside it, not {entry.filename!r}")
        if sum(entry.file_size for entry in entries) > LEAST + ROOM * path.stat().st_size:
            raise ConfigError(key, str(path), "an archive that does not unpack to many times its size")
        if (damaged := archive.testzip()) is not None:
            raise ConfigError(key, str(path), f"a file as it was written: {damaged} in it has changed")
        return all(entry.filename.endswith(".npy") for entry in entries)


def _check_room(state: dict[str, torch.Tensor], path: Path, key: str) -> None:
    """A tensor may stand for more numbers than it has bytes (stride 0); what is done with it would make them all."""
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > LEAST + ROOM * path.stat().st_size:
        raise ConfigError(key, str(path), "tensors that do not stand for many times the file's size")
