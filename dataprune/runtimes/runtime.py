"""What an engine is to us: one class, named by `signals.runtime`."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.errors import ConfigError

TORCH = "torch"  # no engine: the network itself
OURS = ("onnxruntime", "openvino", "deepsparse")  # a module each, with a class Engine
KEY = "signals.runtime"
GIVEN = frozenset({"path", "threads", "python"})  # what an engine may ask for beside its constants


class Runtime:
    """An engine that has read an ONNX file of one input, images, and one output, features.

    A plug-in takes those of `path` (the file), `threads` (at most) and `python` (signals.runtime_python) that it names,
    and its own constants; keys of a ConfigError that its constructor raises are below `signals`. name: with its
    version. least: the lowest cosine between its features and torch's that will do, 0.9999 in float32.
    """

    name = "an engine without a name"
    least = 0.9999

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return features float32 (b, d) of images float32 (b, c, h, w); b, c, h and w are those of the file."""
        raise NotImplementedError

    def close(self) -> None:
        """Free what it holds; it is called no more."""


def spec_of(runtime: Any) -> dict[str, Any] | None:
    """Return what `signals.runtime` names as `_target_` and constants; None for torch.

    Raises ConfigError for a word that is none of ours: a user's own is {_target_: ...}.
    """
    if runtime == TORCH:
        return None
    if isinstance(runtime, dict) and "_target_" in runtime:
        return runtime
    if runtime not in OURS:
        raise ConfigError(KEY, runtime, f"{TORCH}, {', '.join(OURS)}, or {{_target_: a class of yours}}")
    return {"_target_": f"{__package__}.{runtime}.Engine"}


def check_installed(key: str, value: Any, extra: str, *modules: str, instead: str = "") -> None:
    """Raise a ConfigError that names the extra, and what else would do, where one of these modules is not installed;
    nothing is imported."""
    if any(importlib.util.find_spec(module) is None for module in modules):
        raise ConfigError(key, value, f"{instead}the extra: pip install 'dataprune[{extra}]'")


def check_interpreter(key: str, python: str | None) -> None:
    """Raise a ConfigError unless there is a file: the interpreter of DeepSparse's environment."""
    if python is None or not Path(python).is_file():
        how = "python3.11 -m venv DIR && DIR/bin/pip install deepsparse==1.8.0, then DIR/bin/python"
        raise ConfigError(key, python, f"the Python (3.8 to 3.11) of DeepSparse: {how}")
