"""The command line: compose the config, check it, run the job, file its rows.

    python -m dataprune method=forgetting prune_ratio=0.7
    python -m dataprune --help

torch, Lightning and W&B are imported after the config is known to be good, so help and mistakes answer in a second.
"""

import gc
import logging
import os
import sys
from pathlib import Path

if __name__ == "__main__" and sys.path[0] == os.getcwd():
    # `python -m` looks into the current folder first: a random.py there would be taken for Python's own
    sys.path.append(sys.path.pop(0))

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dataprune import nodes, report
from dataprune.checks.config import typed
from dataprune.config import Config
from dataprune.errors import ConfigError
from dataprune.overrides import check_constants, check_overrides, check_words
from dataprune.processes import LostWorker
from dataprune.store import DamagedResult, about_disk

ConfigStore.instance().store(name="base_config", node=Config)


class Refused(CompactHydraException):
    """What Hydra prints as one line, without a stack trace (HYDRA_FULL_ERROR=1 shows it)."""


def here(name: str) -> Path:
    """A folder of the program (conf, multirun_templates): inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return next(p for p in (package / name, package.parent / name) if p.is_dir())


@hydra.main(version_base="1.3", config_path=str(here("conf")), config_name="config")
def job(composed: DictConfig) -> None:
    """One job: composed config in, rows out."""
    logging.captureWarnings(True)
    try:
        run(composed)
    except (ConfigError, DamagedResult, LostWorker, OmegaConfBaseException) as error:
        raise Refused(str(error)) from (error if os.environ.get("HYDRA_FULL_ERROR") else None)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError where a file cannot be written
        if (refused := about_disk(error, composed.run.store)) is None:
            raise
        raise Refused(str(refused)) from (error if os.environ.get("HYDRA_FULL_ERROR") else None)


def run(composed: DictConfig) -> None:
    """Check the config, run the pipeline, file the rows in the job's output folder."""
    cfg = typed(composed)
    from dataprune import pipeline  # after the check: the stages pull in what they need
    from dataprune.stage_calls import STAMPS
    from dataprune.tracking import Tracker

    job_config = HydraConfig.get()
    check_overrides(cfg, job_config.overrides.task)
    check_constants(composed.constants, job_config.overrides.task)
    if cfg.run.estimate:
        from dataprune.estimate import estimate

        pipeline.check_functions(cfg)
        return estimate(cfg, STAMPS)
    if cfg.run.nodes > 1 and not nodes.join(cfg.run):
        sys.exit()  # another machine has driven the job, and is done
    if cfg.run.throughput is not None:
        from dataprune.throughput import throughput

        pipeline.check_functions(cfg)
        return throughput(cfg, STAMPS)
    sweep = Path(job_config.sweep.dir if job_config.mode == RunMode.MULTIRUN else job_config.runtime.output_dir).name
    with Tracker(cfg, Path(job_config.runtime.output_dir), sweep) as tracker:
        tracker.finish(pipeline.job(cfg, tracker.follow, STAMPS))


def main() -> None:
    """Entry of `python -m dataprune` and of the command `dataprune`."""
    sys.path.append(os.getcwd())  # a user's own modules are found however the program is started, and hide nothing
    # torch's threads wait in a busy loop by default: when another program needs the core, small steps take 100 times
    # as long (measured: 5 ms alone, 400 to 900 ms beside two busy processes; asleep instead 6 ms and 12 to 30 ms)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # interpolated by conf/config.yaml: where `+multirun_templates=...` is looked for
    os.environ.setdefault("DATAPRUNE_ROOT", str(here("multirun_templates").parent))
    # composing a config makes many small objects and no cycles: collecting after every 700 takes a tenth of a sweep
    gc.set_threshold(50_000)
    try:
        check_words(sys.argv[1:])
    except ConfigError as error:
        sys.exit(str(error))
    try:
        job()
    finally:
        report.draw_pending()


if __name__ == "__main__":
    main()
