"""From the overrides of a sweep's jobs to what Hydra wants back of each: compose, check, run, tell what failed."""

import contextlib
import logging
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, setup_globals
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from dataprune.errors import ConfigError
from dataprune.jobs import TOLD, Job, Refused, checked, refusal
from dataprune.sweeps.compose import Composer
from dataprune.sweeps.driver import Driver, Outcome
from dataprune.sweeps.logs import ToJobs, WithJob
from dataprune.sweeps.record import record

log = logging.getLogger(__name__)
SHOWN = 5  # jobs that failed, in the last lines


def launch(
    context: HydraContext, task: TaskFunction, master: DictConfig, words: Sequence[Sequence[str]], first: int
) -> list[JobReturn]:
    """Run the jobs of these overrides; one JobReturn each, in their order (without configs: those of a thousand jobs
    would fill the memory; they lie in each job's folder). Nothing is started if one of them is wrong."""
    setup_globals()
    configure_log(master.hydra.hydra_logging, master.hydra.verbose)
    began = time.process_time()
    composer = Composer(context.config_loader, master)
    jobs = _jobs(composer, words, first, master.run.store)
    check_alike(jobs)
    seconds = time.process_time() - began
    log.info("%d jobs: composed %d times, %.1f CPU seconds", len(jobs), composer.composed, seconds)
    run = jobs[0].cfg.run
    if run.estimate or run.throughput is not None or run.nodes > 1:  # one after another, in this thread
        one_by_one = BasicLauncher()
        one_by_one.setup(hydra_context=context, task_function=task, config=master)
        return list(one_by_one.launch(words, first))
    returns = [JobReturn(overrides=list(one), working_dir=os.getcwd(), task_name="dataprune") for one in words]

    with _logged(), Driver(jobs[0], len(jobs), Path(master.hydra.sweep.dir)) as driver:

        def composed(n: int) -> DictConfig:
            return _numbered(composer.compose(words[n]), first + n)

        def starting(n: int) -> None:
            context.callbacks.on_job_start(composed(n), task_function=task)

        for outcome in _all(driver, jobs, first, starting):
            there = returns[outcome.number - first]
            there.status = JobStatus.FAILED if outcome.error else JobStatus.COMPLETED
            there.return_value = (outcome.error and refusal(outcome.error, run.store)) or outcome.value
            context.callbacks.on_job_end(composed(outcome.number - first), job_return=there)
    _tell_failed(returns, first)
    return returns


def _jobs(composer: Composer, words: Sequence[Sequence[str]], first: int, store: str) -> list[Job]:
    """The jobs of these overrides, all of them right."""
    before = HydraConfig.instance().cfg
    try:
        return [_job(_numbered(composer.compose(one), number), one) for number, one in enumerate(words, first)]
    except TOLD as error:
        raise refusal(error, store) from None
    finally:
        HydraConfig.instance().cfg = before


def check_alike(jobs: Sequence[Job]) -> None:
    """Raise a ConfigError where the jobs of a sweep ask for engines of their own: there is one."""
    for name in ("executor", "slots"):
        asked = [getattr(job.cfg.run, name) for job in jobs]
        if other := [value for value in asked if value != asked[0]]:
            raise Refused(str(ConfigError(f"run.{name}", other[0], f"{asked[0]!r}, as in the sweep's first job")))


def _all(driver: Driver, jobs: list[Job], first: int, starting: Callable[[int], None]) -> Iterator[Outcome]:
    """Start all jobs; yield how they end."""
    for n, job in enumerate(jobs):
        starting(n)
        log.info("#%d : %s", first + n, job.words)
        yield from driver.start(first + n, job)
    yield from driver.finish()


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """A context in which each line goes to its job's file too, and says on the console whose it is."""
    root, to_jobs = logging.getLogger(), ToJobs()
    before = [(handler, handler.formatter, handler.level) for handler in root.handlers]
    for handler in root.handlers:
        handler.setFormatter(WithJob())
        if sys.stderr.isatty():  # a table stands there (sweeps.board); every line is in its job's file
            handler.setLevel(logging.WARNING)
    root.addHandler(to_jobs)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        root.removeHandler(to_jobs)
        for handler, formatter, level in before:
            handler.setFormatter(formatter)
            handler.setLevel(level)


def _tell_failed(returns: list[JobReturn], first: int) -> None:
    """Log which jobs failed, why, and the command that repeats each."""
    failed = [(number, there) for number, there in enumerate(returns, first) if there.status is JobStatus.FAILED]
    for number, there in failed[:SHOWN]:
        log.error("#%d failed: %s", number, there._return_value)
        log.error("  python -m dataprune %s", " ".join(shlex.quote(word) for word in there.overrides or ()))
    if failed:
        more = f" ({len(failed) - SHOWN} more are not shown)" if len(failed) > SHOWN else ""
        log.error("%d of %d jobs failed%s; the same command tries them again", len(failed), len(returns), more)


def _numbered(config: DictConfig, number: int) -> DictConfig:
    """The config of a job with its number and its folder."""
    with open_dict(config):
        config.hydra.job.id = config.hydra.job.num = number
    with open_dict(config.hydra.runtime):
        folder = os.path.join(str(config.hydra.sweep.dir), str(config.hydra.sweep.subdir))
        config.hydra.runtime.output_dir = os.path.abspath(folder)
    return config


def _job(config: DictConfig, words: Sequence[str]) -> Job:
    """The job of a composed config: its values checked, its folder made, what Hydra leaves there written."""
    if config.hydra.job.chdir:
        raise ConfigError("hydra.job.chdir", True, "false: the jobs of a sweep are threads of one process")
    HydraConfig.instance().cfg = config  # ${hydra:...} in a value is resolved with it
    folder = Path(config.hydra.runtime.output_dir)
    cfg = checked(config, words)
    folder.mkdir(parents=True, exist_ok=True)
    record(config, folder)
    return Job(cfg, folder, Path(str(config.hydra.sweep.dir)).name, " ".join(filter_overrides(words)))
