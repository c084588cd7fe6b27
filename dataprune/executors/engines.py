"""Which engine a config asks for."""

from functools import partial
from pathlib import Path
from typing import Any

from dataprune.callables import function_at
from dataprune.config import RunConfig
from dataprune.errors import ConfigError, first_line
from dataprune.executors.futures import Futures
from dataprune.executors.graph import Engine, Here
from dataprune.executors.pool import Pool

REMOTE = "dataprune.executors.remote"
EXPECTED = "here | pool | slurm | ray, or the dotted path of a function that returns an Executor"


def engine_of(run: RunConfig, folder: Path, sweep: bool = False) -> Engine:
    """Return the engine of `run.executor`. folder: for what its workers print.

    In a sweep `here` is a pool of one worker: its driver stays small, and its jobs wait side by side. A function, by
    its dotted path or as `_target_` with constants, takes a ResourcesConfig and returns a concurrent.futures.Executor.
    Raises ConfigError for another word, or a function that is not there.
    """
    asked = run.executor
    if asked == "pool" or (asked == "here" and sweep):
        return Pool(run, folder / "workers", alone=asked == "here")
    if asked == "here":
        return Here()
    target, constants = _named(f"{REMOTE}.{asked}" if asked in ("ray", "slurm") else asked)
    small = Pool(run, folder / "workers", alone=True) if target == f"{REMOTE}.slurm" else None  # a queue takes minutes
    try:
        function = function_at(target)
    except Exception as error:  # whatever importing a user's module raises
        raise ConfigError("run.executor", target, f"{EXPECTED} ({first_line(error)})") from None
    return Futures(run, partial(function, **constants), small)


def _named(asked: Any) -> tuple[str, dict[str, Any]]:
    """The dotted path of the function, and its constants."""
    spec = {"_target_": asked} if isinstance(asked, str) else dict(asked or {})
    target = spec.pop("_target_", None)
    if not isinstance(target, str) or "." not in target:
        raise ConfigError("run.executor", asked, EXPECTED)
    return target, spec
