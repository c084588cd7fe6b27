"""Hydra's plugins of dataprune: a launcher that runs the jobs of a sweep in one driver, a sweeper that leaves
composing to it. Hydra takes plugins from this folder only.

    hydra/launcher: dataprune      in conf/config.yaml; any sweeper may use it
    hydra/sweeper: dataprune       Hydra's basic sweeper composes every job to validate it, and then again to run it
"""

from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class Sweeper(BasicSweeper):
    """Hydra's basic sweeper; the launcher says which job cannot be composed before it starts any."""

    def validate_batch_is_legal(self, batch: list[list[str]]) -> None:
        """Leave it to the launcher."""


class DriverLauncher(Launcher):
    """Runs all jobs in threads of this process; their stages run where `run.executor` says."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands to every launcher."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: list[list[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run the jobs; one JobReturn each, in their order."""
        from dataprune.sweeps.launch import launch  # at a sweep, not whenever Hydra looks for its plugins

        return launch(self.context, self.task, self.config, job_overrides, initial_job_idx)


@dataclass
class SweeperConf(BasicSweeperConf):
    """Options of the sweeper: those of Hydra's basic one."""

    _target_: str = "hydra_plugins.dataprune_sweep.Sweeper"


@dataclass
class LauncherConf:
    """The launcher has no options: `run.executor` says where stages run."""

    _target_: str = "hydra_plugins.dataprune_sweep.DriverLauncher"


ConfigStore.instance().store(group="hydra/sweeper", name="dataprune", node=SweeperConf, provider="dataprune")
ConfigStore.instance().store(group="hydra/launcher", name="dataprune", node=LauncherConf, provider="dataprune")
