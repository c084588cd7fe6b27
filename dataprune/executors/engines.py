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

SLURM = "dataprune.executors.remote.slurm"
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
    small = Pool(run, folder / "workers", alone=True) if asked == "slurm" or _of(asked) == SLURM else None
    if asked in ("ray", "slurm"):
        asked = f"dataprune.executors.remote.{asked}"
    spec = {"_target_": asked} if isinstance(asked, str) else dict(asked or {})
    target = spec.pop("_target_", None)
    if not isinstance(target, str) or "." not in target:
        raise ConfigError("run.executor", asked, EXPECTED)
    try:
        function = function_at(target)
    except Exception as error:  # whatever importing a user's module raises
        raise ConfigError("run.executor", target, f"{EXPECTED} ({first_line(error)})") from None
    return Futures(run, partial(function, **spec), small)


def _of(asked: Any) -> str | None:
    return asked.get("_target_") if isinstance(asked, dict) else asked
