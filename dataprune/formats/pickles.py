"""Pickles of other programs, read without running anything that they name.

A pickle is a program: it names functions and calls them while it is loaded. This reader gives such names only to
tensors, numpy arrays and plain containers, each of which it builds by its own means: numpy's constructors believe the
state that the file gives them, and a forged dtype makes pointers of its bytes. Any other name is refused.

A small file cannot fill the memory either: what it makes is counted while it is read (a text that it turns into bytes
a thousand times, a number of zeros, places in a memo that it never fills), and what its lists stand for when each
mention of a shared one counts (ten lists, each of ten times the next).
"""

import collections
import io
import mmap
import os
import pickle
import pickletools
import re
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from dataprune.errors import ConfigError

TORCH = 0x1950A86A20F9469CFC6C  # what torch.save began its files with before they were zip archives
OLD_PICKLES = 5  # in such a file: this number, a version, the machine, what was saved, names of the storages
ALLOCATES = "bytearray"  # the one function of those that torch allows which takes a number of bytes
ONLY = "a pickle with only tensors and plain containers"
ROOM = 64  # bytes, or numbers, that a byte of the file may become: a small number takes 32 in Python
LEAST = 2**20  # and so many in any case
SIMPLE = {int, float, str, bool, bytes, type(None)}


def load(path: Path | str, key: str) -> Any:
    """What pickle.dump or torch.save wrote: dictionaries, lists, tuples, numbers, texts; arrays and tensors as numpy.

    Raises a ConfigError for `key` when the file wants anything else, which is named and never run, or is damaged.
    """
    try:
        room = LEAST + ROOM * os.stat(path).st_size
        with open(path, "rb") as file:
            if file.read(2) == b"PK":
                if _check_archive(path):
                    return _Plain(room).of(_read_archive(path, room))
            else:
                # of a map no more is read than there is, whatever length a forged file gives
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    _check(content)
                    content.seek(0)
                    found = _Unpickler(content, room).load()
                    if not (isinstance(found, int) and found == TORCH):
                        return _Plain(room).of(found)
                    _check(content, OLD_PICKLES - 1, ALLOCATES)
        import torch  # takes seconds, and most score files do without

        return _Plain(room).of(torch.load(path, map_location="cpu", weights_only=True))
    except _Refused as error:
        raise ConfigError(key, str(path), f"{ONLY}; it wants {error}") from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise anything; torch's refusal is an UnpicklingError with a text
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise ConfigError(key, str(path), f"{ONLY}; it wants {named[1]}") from None
        raise ConfigError(key, str(path), f"{ONLY}; it cannot be read ({str(error).splitlines()[:1]})") from None


def check_saved(path: Path | str, key: str) -> None:
    """Raise a ConfigError for `key` where a file of torch.save could fill the memory: it is packed, or wants bytes by
    their number. Any other error means that it is damaged."""
    try:
        if zipfile.is_zipfile(path):
            _check_archive(path)
        else:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                _check(content, OLD_PICKLES, ALLOCATES)
    except _Refused as error:
        raise ConfigError(key, str(path), f"{ONLY}; it wants {error}") from None


class _Refused(pickle.UnpicklingError):
    """Carries the dotted name that the pickle wants."""


class _Unpickler(pickle.Unpickler):
    """Gives only the names of ALLOWED, and those as our own stand-ins, which may make `room` bytes together."""

    def __init__(self, file: Any, room: int) -> None:
        super().__init__(file)
        self.room = room

    def _counted(self, function: Callable[..., Any], *args: Any) -> Any:
        made = function(*args)
        self.room -= made.flat.nbytes if isinstance(made, _Storage) else sys.getsizeof(made)
        if self.room < 0:
            raise _Refused("more memory than a file of this size may")
        return made

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for module.name."""
        if (module, name) not in ALLOWED:
            raise _Refused(f"{module}.{name}")
        # wrapped anew each time: a pickle may also set attributes of what it is given
        return partial(self._counted, ALLOWED[module, name])


class _Archived(_Unpickler):
    """The same for an archive of torch.save, in which the numbers below tensors are entries of their own."""

    def __init__(self, file: Any, room: int, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file, room)
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for module.name; of a kind of storage its dtype's name."""
        if module == "torch" and name in STORAGES:
            return name
        return super().find_class(module, name)

    def persistent_load(self, pid: Any) -> "_Storage":
        """The numbers of ("storage", kind, entry, device, how many)."""
        import torch

        _, kind, entry, _, _ = pid
        storage = _Storage.__new__(_Storage)
        raw = bytearray(self.archive.read(f"{self.root}/data/{entry}"))
        self.room -= len(raw)
        if self.room < 0 or kind not in STORAGES:
            raise _Refused("more memory than a file of this size may")
        storage.flat = torch.frombuffer(raw, dtype=getattr(torch, STORAGES[kind])) if raw else torch.empty(0)
        return storage


def _read_archive(path: Path | str, room: int) -> Any:
    """What torch.save wrote where numpy's arrays are among it, which torch alone would refuse."""
    with zipfile.ZipFile(path) as archive:
        name = next(entry.filename for entry in archive.infolist() if entry.filename.endswith("/data.pkl"))
        return _Archived(io.BytesIO(archive.read(name)), room, archive, name.removesuffix("/data.pkl")).load()


class _Array:
    """An array while its pickle is read; numpy pickles call it empty and then set its state."""

    __slots__ = ("values",)

    def __init__(self, *ignored: object) -> None:
        self.values = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        self.values = _from_bytes(raw, dtype, shape, "F" if fortran else "C").values


class _Dtype:
    """A dtype while its pickle is read: numbers, booleans and texts, not objects or records."""

    __slots__ = ("order", "text")

    def __init__(self, text: str, *ignored: object) -> None:
        if not re.fullmatch(r"[biufcSU]\d+", text):
            raise _Refused(f"numpy.dtype({text!r})")
        self.text, self.order = text, "="

    def __setstate__(self, state: tuple) -> None:
        if any(part is not None for part in state[2:5]):  # sub-array, names, fields
            raise _Refused("numpy.dtype with fields")
        self.order = {"<": "<", ">": ">"}.get(state[1], "=")

    @property
    def real(self) -> np.dtype:
        """As numpy knows it."""
        return np.dtype(self.order + self.text)


class _Storage:
    """The numbers below a tensor, as one flat tensor."""

    __slots__ = ("flat",)

    def __init__(self, content: bytes) -> None:
        import torch

        _check_torch(content)
        stored: Any = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        self.flat = torch.empty(0, dtype=stored.dtype).set_(stored._untyped_storage)


def _tensor(storage: _Storage, offset: int, size: tuple, stride: tuple, *ignored: object) -> _Array:
    array = _Array()
    array.values = _numpy(storage.flat.as_strided(size, stride, offset))  # which checks the bounds
    return array


def _from_bytes(raw: bytes | bytearray, dtype: _Dtype, shape: tuple, order: Any = "C") -> _Array:
    if not isinstance(raw, bytes | bytearray):
        raise _Refused("numpy.dtype('O')")
    array = _Array()
    array.values = np.frombuffer(raw, dtype.real).reshape(shape, order=order)
    return array


def _scalar(dtype: _Dtype, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype.real, count=1)[0].item()


def _latin1(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes: as text of 256 letters."""
    return text.encode("latin1")


def _numpy(tensor: Any) -> np.ndarray:
    # numpy has no bfloat16
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor.detach()).numpy()


class _Plain:
    """The same values with arrays in place of stand-ins and tensors; together they may stand for `room` numbers."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.done: dict[int, tuple[Any, int, Any]] = {}  # id -> plain value, numbers in it, the value itself
        self.open: set[int] = set()  # ids of the containers that we are in

    def of(self, value: Any) -> Any:
        """The plain form of a value; raises _Refused for functions and for what stands for more than there is room."""
        return self._counted(value)[0]

    def _counted(self, value: Any) -> tuple[Any, int]:
        """Plain form, and how many numbers it stands for when each mention of a shared container counts."""
        if id(value) in self.done:
            plain, count, _ = self.done[id(value)]
        else:
            plain, count = self._made(value)
            if isinstance(value, dict | list | tuple):
                self.done[id(value)] = plain, count, value  # kept alive, or another may get its id
        if count > self.room:
            raise _Refused("more memory than a file of this size may")
        return plain, count

    def _made(self, value: Any) -> tuple[Any, int]:
        if isinstance(value, dict | list | tuple):
            if id(value) in self.open:
                raise _Refused("a container that holds itself")
            self.open.add(id(value))
            made = self._container(value)
            self.open.discard(id(value))
            return made
        if isinstance(value, _Dtype | _Storage) or callable(value):
            raise _Refused("a function or class itself")
        if isinstance(value, _Array):
            return value.values, value.values.size
        if type(value).__module__ == "torch":
            return (array := _numpy(value)), array.size
        return value, 1

    def _container(self, value: dict | list | tuple) -> tuple[Any, int]:
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        items, count = [], 1
        for part in parts:
            plain, more = (part, 1) if type(part) in SIMPLE else self._counted(part)
            items.append(plain)
            count += more
        if isinstance(value, dict):
            half = len(items) // 2
            return dict(zip(items[:half], items[half:], strict=True)), count
        return (items if isinstance(value, list) else tuple(items)), count


def _check(stream: Any, pickles: int = 1, forbidden: str | None = None) -> None:
    """Raise _Refused if one of the pickles from here on fills places of its memo out of order, each of which costs
    memory, or says a name that ends in `forbidden`."""
    for _ in range(pickles):
        for place, (operation, argument, _) in enumerate(pickletools.genops(stream)):
            if "PUT" in operation.name and argument is not None and int(argument) > place:
                raise _Refused("a memo of more places than it has entries")
            if forbidden and isinstance(argument, str) and argument.endswith(forbidden):
                raise _Refused(f"builtins.{forbidden}")


def _check_archive(path: Path | str | BinaryIO) -> bool:
    """Raise _Refused for an archive of torch.save that is packed, or that may make bytes by their number; return
    whether numpy's arrays are in it."""
    with zipfile.ZipFile(path) as archive:
        numpy = False
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise _Refused("a packed archive, which torch.save does not write")
            if entry.filename.endswith("data.pkl"):
                content = archive.read(entry)
                _check(io.BytesIO(content), forbidden=ALLOCATES)
                numpy |= b"numpy" in content
        return numpy


def _check_torch(content: bytes) -> None:
    """The same for what lies in memory, in the new form or the old one."""
    if content[:2] == b"PK":
        _check_archive(io.BytesIO(content))
    else:
        _check(io.BytesIO(content), OLD_PICKLES, ALLOCATES)


def _octets(kind: type) -> Callable[..., Any]:
    """bytes or bytearray of other bytes, or of the text that protocol 2 writes them as; not of a number of zeros."""

    def make(content: Any = b"", encoding: str = "latin1") -> Any:
        if isinstance(content, str):
            content = _latin1(content, encoding)
        if not isinstance(content, bytes | bytearray):
            raise _Refused(f"{kind.__name__} of a number")
        return kind(content)

    return make


STORAGES = {  # of torch.save: kind -> dtype
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
CONTAINERS: dict[str, Callable[..., Any]] = {
    "set": set,
    "frozenset": frozenset,
    "complex": complex,
    "bytes": _octets(bytes),
    "bytearray": _octets(bytearray),
}
ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _Storage,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): collections.OrderedDict,
    # by Python 3's and Python 2's name, which protocol 2 writes
    **{(module, name): kind for module in ("builtins", "__builtin__") for name, kind in CONTAINERS.items()},
    # numpy 1 and numpy 2
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_bytes for core in ("core", "_core")},
}
