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
from hydra.types import RunMode
from omegaconf import DictConfig

from dataprune import jobs, report
from dataprune.config import Config
from dataprune.errors import ConfigError
from dataprune.overrides import below_sweeps, check_words

ConfigStore.instance().store(name="base_config", node=Config)


def here(name: str) -> Path:
    """A folder of the program (conf, multirun_templates): inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return next(p for p in (package / name, package.parent / name) if p.is_dir())


@hydra.main(version_base="1.3", config_path=str(here("conf")), config_name="config")
def job(composed: DictConfig) -> float | None:
    """One job: composed config in, rows out; what a sweeper wants of it (`run.objective`) is returned."""
    logging.captureWarnings(True)
    try:
        return run(composed)
    except Exception as error:
        refused = jobs.refusal(error, composed.run.store)
        if refused is error:
            raise
        raise refused from refused.__cause__


def run(composed: DictConfig) -> float | None:
    """Check the config; run the pipeline, or only tell what it would cost."""
    hydra_config = HydraConfig.get()
    cfg = jobs.checked(composed, hydra_config.overrides.task)
    if cfg.run.estimate or cfg.run.throughput is not None:
        jobs.told(cfg)
        return None
    sweep = hydra_config.sweep.dir if hydra_config.mode == RunMode.MULTIRUN else hydra_config.runtime.output_dir
    folder = Path(hydra_config.runtime.output_dir)
    with jobs.driving(cfg, folder) as graph:
        return jobs.execute(jobs.Job(cfg, folder, Path(sweep).name), graph)


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
        sys.argv[1:] = below_sweeps(sys.argv[1:])
    except ConfigError as error:
        sys.exit(str(error))
    try:
        job()
    except KeyboardInterrupt:
        sys.exit("interrupted; the same command goes on from what was kept")
    finally:
        report.draw_pending()


if __name__ == "__main__":
    main()
