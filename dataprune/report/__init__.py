"""Reports: from rows to tables, plots and one self-contained HTML page.

python -m dataprune.report --store store        draws all rows of a store
python -m dataprune.report outputs/2026-11-21/10-00-00-000000-sweep    redraws one sweep
"""

import logging
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

log = logging.getLogger(__name__)
pending: list[tuple[Path, DictConfig]] = []  # output folders of runs that have begun, with their configs


class Remember(Callback):
    """Note a run's or sweep's output folder; `draw_pending` draws what is there when Hydra has returned.

    At the end of a sweep in which a job failed Hydra calls no callback, and an error inside one becomes a warning.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """A single job begins."""
        pending.append((Path(config.hydra.run.dir), config))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """A sweep begins."""
        pending.append((Path(config.hydra.sweep.dir), config))


def draw_pending() -> None:
    """Draw the report of every folder that has rows, print its table, and say where it is."""
    for folder, config in pending:
        if config.run.report and any(folder.rglob("rows.json")):
            from dataprune.report.document import draw  # matplotlib and pandas: only when there is something to draw

            draw(folder, Path(config.run.store), config.run)
    pending.clear()
