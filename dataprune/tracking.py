"""What a job tells the world: a CSV of every epoch, the rows it made, and a W&B run if wanted.

One W&B run a job, ended with the job: two jobs of a sweep in one process must not write into one run. Epochs arrive
while a stage trains, from whatever process it trains in, and are told again when a stage is found in the store, so
that every run has its full curves.
"""

import csv
import dataclasses
import json
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from dataprune.config import Config, WandbConfig

log = logging.getLogger(__name__)
DIGITS = 6  # of an identity, in a name


class Tracker:
    """Context of one job. `follow(role, line)` takes an epoch's line, `finish(rows)` the job's rows."""

    def __init__(self, cfg: Config, folder: Path, sweep: str) -> None:
        self.cfg, self.folder = cfg, folder
        self.lines: dict[tuple[str, int], dict[str, Any]] = {}
        self.wandb: Any = None
        self.curves: set[str] = set()  # roles that W&B knows
        if cfg.run.logger == "wandb":
            name = _name(cfg.method.name, cfg.prune_ratio, {"seed": cfg.seed})
            tags = [cfg.method.name, cfg.source.name, cfg.target.name if cfg.target else "no target"]
            self.wandb = start_wandb(cfg.run.wandb, folder, sweep, name, tags, dataclasses.asdict(cfg))

    def __enter__(self) -> "Tracker":
        return self

    def follow(self, role: str, line: dict[str, Any]) -> None:
        """Take in one epoch of a training: of the method's ("model"), or of a baseline's ("full.model")."""
        self.lines[role, line["epoch"]] = line
        if self.wandb is not None:
            if role not in self.curves:
                self.curves.add(role)
                define_curve(self.wandb, role)
            self.wandb.log({f"{role}/{name}": value for name, value in line.items()})

    def finish(self, rows: list[dict[str, Any]]) -> None:
        """File the rows: their names for the report, the method's own as the summary of the W&B run.

        What was measured of the baselines stands there too, below their names: `full/source_top1`. The run also gets
        the row's identity, in its name, its config and its tags: what W&B may average over are runs of one identity and
        prune ratio. It is known only now, when the data have been read.
        """
        (self.folder / "rows.json").write_text(json.dumps(rows, indent=1))
        if self.wandb is not None:
            row = rows[0]
            name = _name(row["method"], row["prune_ratio"], {"seed": row["seed"]} | row["seeds"])
            self.wandb.name = f"{name} {row['identity'][:DIGITS]}"
            self.wandb.tags = (*(self.wandb.tags or ()), row["identity"])
            self.wandb.config.update({"identity": row["identity"], "effective": row["config"], "seeds": row["seeds"]})
            self.wandb.summary.update(_flat(row))
            for other in rows[1:]:
                measured = other["metrics"] | _best(other) | {"identity": other["identity"]}
                self.wandb.summary.update({f"{other['experiment']}/{k}": value for k, value in measured.items()})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        names = ["role", *sorted({name for line in self.lines.values() for name in line}, key=_epoch_first)]
        with open(self.folder / "history.csv", "w", newline="") as file:
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows({"role": role} | line for (role, _), line in sorted(self.lines.items()))
        if self.wandb is not None:
            self.wandb.finish(exit_code=1 if kind else 0)


def start_wandb(
    config: WandbConfig, folder: Path, group: str, name: str, tags: list[str], shown: dict[str, Any], kind: str = "job"
) -> Any:
    """A W&B run; without network or account where mode=offline. mode=online falls back to offline with a warning."""
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb  # a second of imports that only this logger needs

    options: dict[str, Any] = {
        "project": config.project,
        "entity": config.entity,
        "group": config.group or group,
        "name": name,
        "tags": [*tags, *config.tags],
        "config": shown,
        "dir": str(folder),
        "job_type": kind,
        "reinit": "create_new",  # the jobs of a sweep are threads of one process, each with its own run
    }
    try:
        run = wandb.init(settings=wandb.Settings(init_timeout=20), **options | {"mode": config.mode})
    except (wandb.errors.UsageError, wandb.errors.CommError) as error:
        log.warning("run.wandb.mode=%s: no connection (%s); going on offline", config.mode, str(error).split("\n")[0])
        run = wandb.init(mode="offline", **options)
    return run


def define_curve(run: Any, role: str) -> None:
    """Let W&B draw what it is told of a training against its epochs."""
    run.define_metric(f"{role}/epoch", hidden=True)
    run.define_metric(f"{role}/*", step_metric=f"{role}/epoch")


def _name(method: str, ratio: float, seeds: dict[str, int]) -> str:
    """Return `method ratio seed 0`, with the other seeds where they are not the same."""
    others = [f"{name} {value}" for name, value in sorted(seeds.items()) if value != seeds["seed"]]
    return " ".join([f"{method} {ratio:g} seed {seeds['seed']}", *others])


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row's numbers and words without what is nested: metrics and costs beside the rest."""
    plain = {name: value for name, value in row.items() if not isinstance(value, dict | list)}
    cost = {name: value for name, value in row["cost"].items() if name != "shared"}
    return plain | row["metrics"] | _best(row) | cost | {"unknown": " ".join(row["cost"]["unknown"])}


def _best(row: dict[str, Any]) -> dict[str, Any]:
    """Return the best accuracy of each side by a name that says on which split it was selected."""
    return {f"{side}_best_{best['split']}_top1": best["top1"] for side, best in row.get("best", {}).items()}


def _epoch_first(name: str) -> tuple[bool, str]:
    return name != "epoch", name
