"""Pickles of other programs, read without running anything that they name.

A pickle is a program: it names functions and calls them while it is loaded. This reader gives such names only to
tensors, numpy arrays and plain containers, each of which it builds by its own means: numpy's constructors believe the
state that the file gives them, and a forged dtype makes pointers of its bytes. Any other name is refused.
"""

import collections
import io
import pickle
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.errors import ConfigError

TORCH = 0x1950A86A20F9469CFC6C  # what torch.save began its files with before they were zip archives
ONLY = "a pickle with only tensors and plain containers"


def load(path: Path | str, key: str) -> Any:
    """What pickle.dump or torch.save wrote: dictionaries, lists, tuples, numbers, texts; arrays and tensors as numpy.

    Raises a ConfigError for `key` when the file wants anything else, which is named and never run, or is damaged.
    """
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"PK":
                file.seek(0)
                found = _Unpickler(file).load()
                if not (isinstance(found, int) and found == TORCH):
                    return _plain(found)
        import torch  # takes seconds, and most score files do without

        return _plain(torch.load(path, map_location="cpu", weights_only=True))
    except _Refused as error:
        raise ConfigError(key, str(path), f"{ONLY}; it wants {error}") from None
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise anything; torch's refusal is an UnpicklingError with a text
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise ConfigError(key, str(path), f"{ONLY}; it wants {named[1]}") from None
        raise ConfigError(key, str(path), f"{ONLY}; it cannot be read ({str(error).splitlines()[:1]})") from None


class _Refused(pickle.UnpicklingError):
    """Carries the dotted name that the pickle wants."""


class _Unpickler(pickle.Unpickler):
    """Gives only the names of ALLOWED, and those as our own stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for module.name."""
        if (module, name) not in ALLOWED:
            raise _Refused(f"{module}.{name}")
        # wrapped anew each time: a pickle may also set attributes of what it is given
        return partial(ALLOWED[module, name])


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


def _plain(value: Any) -> Any:
    """The same with arrays in place of stand-ins and tensors."""
    if isinstance(value, _Array):
        return value.values
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, _Dtype | _Storage) or callable(value):
        raise _Refused("a function or class itself")
    return _numpy(value) if type(value).__module__ == "torch" else value


CONTAINERS: tuple[type, ...] = (set, frozenset, bytes, bytearray, complex)
ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch.storage", "_load_from_bytes"): _Storage,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _latin1,
    ("collections", "OrderedDict"): collections.OrderedDict,
    # by Python 3's and Python 2's name, which protocol 2 writes
    **{(module, kind.__name__): kind for module in ("builtins", "__builtin__") for kind in CONTAINERS},
    # numpy 1 and numpy 2
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_bytes for core in ("core", "_core")},
}
