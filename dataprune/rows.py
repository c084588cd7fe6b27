"""What a job found, as one row: metrics, cost, and the keys of all results behind them."""

from dataclasses import replace
from typing import Any

from dataprune import __version__
from dataprune.config import Config, TrainConfig, identity
from dataprune.cost import COUNTED, cost
from dataprune.store import Result, fingerprint


def row_name(cfg: Config) -> str:
    """Hash of everything that makes the row what it is."""
    plain = identity(replace(cfg, run=type(cfg.run)(), name="")) | {"prune_ratio": cfg.prune_ratio, "seed": cfg.seed}
    return fingerprint(plain)[:16]


def row_of(cfg: Config, results: dict[str, Result], built: set[str]) -> dict[str, Any]:
    """The row, from the results by role and the roles that this job built."""
    metrics: dict[str, float] = {}
    for role, side in (("source_result", "source"), ("target_result", "target")):
        if role in results:
            facts = results[role].facts.items()
            metrics |= {f"{side}_{name}": value for name, value in facts if name not in COUNTED}
    model = results.get("model")
    kept = results["subset"].facts if "subset" in results else {}
    total = results["source"].facts["train"]
    none_kept = cfg.method.trains_on == "nothing"
    return {
        "name": cfg.name,
        "method": cfg.method.name,
        "level": cfg.method.level,
        "trains_on": cfg.method.trains_on,
        "prune_ratio": cfg.prune_ratio,
        "kept": 0 if none_kept else kept.get("kept", model.facts["examples"] if model else total),
        "of": total,
        "source": cfg.source.name,
        "target": cfg.target.name if cfg.target else None,
        "surrogate": name_of(cfg.surrogate) if "surrogate" in results else None,
        "model": name_of(cfg.pretrain),
        "transfer": cfg.transfer.trainable if cfg.transfer else None,
        "seed": cfg.seed,
        "metrics": metrics,
        "cost": cost(results, built),
        "keys": {role: result.key for role, result in results.items()},
        "version": __version__,
    }


def name_of(recipe: TrainConfig) -> str:
    """A network's short name: the constant `name` (timm, torchvision) or the function, with its other constants."""
    if recipe.model is None:
        return "none"
    constants = {k: v for k, v in recipe.model.items() if k not in ("_target_", "name")}
    name = recipe.model.get("name", recipe.model["_target_"].rpartition(".")[2])
    return name + "".join(f" {k}={v}" for k, v in sorted(constants.items()))
