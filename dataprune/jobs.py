"""One job: its composed config checked, its pipeline run, its rows filed in its folder."""

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.errors import CompactHydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dataprune import nodes
from dataprune.checks.config import typed
from dataprune.config import Config
from dataprune.errors import ConfigError, Shown
from dataprune.executors.engines import engine_of
from dataprune.executors.graph import Graph, Stopped
from dataprune.overrides import check_constants, check_overrides
from dataprune.processes import LostWorker
from dataprune.store import DamagedResult, about_disk
from dataprune.store.jobs import RunningJob

TOLD = (ConfigError, DamagedResult, LostWorker, Stopped, OmegaConfBaseException)  # whose words are all that helps


class Refused(CompactHydraException):
    """What Hydra prints as one line, without a stack trace (HYDRA_FULL_ERROR=1 shows it)."""


@dataclass(frozen=True)
class Job:
    """A job that is ready to run: plain values, whose folder has been made."""

    cfg: Config
    folder: Path  # of its rows, its history, its log
    sweep: str  # name of what it belongs to; its own for a single job
    words: str = ""  # of the command line, as they are shown


def checked(composed: DictConfig, words: Sequence[str]) -> Config:
    """Return the typed config of a job. words: overrides as they were typed. Raises ConfigError, and omegaconf's."""
    cfg = typed(composed)
    check_overrides(cfg, words)
    check_constants(composed.constants, words)
    return cfg


def refusal(error: BaseException, store: str) -> BaseException:
    """Return the error as Hydra is to show it: in one line if its words are all that helps, else as it is."""
    said: BaseException | None = error if isinstance(error, TOLD) else None
    if said is None and isinstance(error, OSError | RuntimeError):  # torch: RuntimeError where nothing can be written
        said = about_disk(error, store)
    if said is None:
        return error
    refused = Refused(str(said))
    refused.__cause__ = error if os.environ.get("HYDRA_FULL_ERROR") else None
    return refused


def told(cfg: Config) -> None:
    """Say what a job would cost (`run.estimate`) or how fast its steps are (`run.throughput`), and do nothing else."""
    from dataprune import pipeline  # stages, and with them torch: help and mistakes answer without
    from dataprune.stage_calls import STAMPS

    if cfg.run.estimate:
        from dataprune.estimate import estimate

        pipeline.check_functions(cfg)
        return estimate(cfg, STAMPS)
    _meet(cfg)
    from dataprune.throughput import throughput

    pipeline.check_functions(cfg)
    return throughput(cfg, STAMPS)


@contextlib.contextmanager
def driving(cfg: Config, folder: Path) -> Iterator[Graph]:
    """A context with the graph of one job, whose engine ends with it. Another machine of the job serves here."""
    _meet(cfg)
    graph = Graph(engine_of(cfg.run, folder))
    try:
        yield graph
    finally:
        graph.stop()


def _meet(cfg: Config) -> None:
    if cfg.run.nodes > 1 and not nodes.join(cfg.run):
        sys.exit()  # another machine has driven the job, and is done


def execute(job: Job, graph: Graph, running: RunningJob | None = None) -> float | None:
    """Run the job and file its rows; return the metric of its own row that `run.objective` names."""
    from dataprune import pipeline
    from dataprune.stage_calls import STAMPS
    from dataprune.tracking import Tracker

    with graph.working(), Tracker(job.cfg, job.folder, job.sweep) as tracker:
        rows = pipeline.job(job.cfg, tracker.follow, STAMPS, graph, running)
        tracker.finish(rows)
    wanted, metrics = job.cfg.run.objective, rows[0]["metrics"]
    if wanted is not None and metrics.get(wanted) is None:
        there = ", ".join(sorted(name for name, value in metrics.items() if value is not None))
        raise ConfigError("run.objective", wanted, Shown(there))
    return None if wanted is None else float(metrics[wanted])
