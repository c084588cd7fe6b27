"""What a job found, as one row: metrics, cost, and the keys of all results behind them."""

from dataclasses import replace
from typing import Any

from dataprune import __version__
from dataprune.config import Config, TrainConfig, identity
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
            metrics |= {f"{side}_{name}": value for name, value in results[role].facts.items()}
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


def cost(results: dict[str, Result], built: set[str]) -> dict[str, Any]:
    """The ledger: wall seconds of every stage behind a row, images trained on, and which stages this job found ready.

    A shared stage counts with its full seconds in every row that rests on it: what the number costs when it is the
    only one wanted.
    """
    seconds: dict[str, float] = {}
    for role, result in results.items():  # "scores.pets" is the part of "scores" that another target needs
        seconds[role.partition(".")[0]] = seconds.get(role.partition(".")[0], 0.0) + result.seconds
    ledger: dict[str, Any] = {
        name: sum(seconds.get(role, 0.0) for role in roles)
        for name, roles in {
            "surrogate_s": ["surrogate"],
            "signals_s": ["signals", "gradients", "target_signals"],
            "score_s": ["scores", "cut", "combined"],
            "select_s": ["subset", "order"],
            "train_s": ["model"],
            "transfer_s": ["adapted"],
        }.items()
    }
    elsewhere = results["scores"].facts if "scores" in results else {}
    ledger["score_s"] += elsewhere.get("elsewhere_seconds", 0.0)
    ledger = {name: round(value, 3) for name, value in ledger.items()}
    ledger["total_s"] = round(sum(ledger.values()), 3)
    ledger["images_seen"] = results["model"].facts["images_seen"] if "model" in results else 0
    surrogates = [result for role, result in results.items() if role.partition(".")[0] == "surrogate"]
    ledger["surrogate_images"] = sum(result.facts["images_seen"] for result in surrogates)
    ledger["surrogate_images"] += elsewhere.get("elsewhere_images", 0)
    ledger["shared"] = sorted(results.keys() - built)
    return ledger


def name_of(recipe: TrainConfig) -> str:
    """A network's short name: the constant `name` (timm, torchvision) or the function, with its other constants."""
    if recipe.model is None:
        return "none"
    constants = {k: v for k, v in recipe.model.items() if k not in ("_target_", "name")}
    name = recipe.model.get("name", recipe.model["_target_"].rpartition(".")[2])
    return name + "".join(f" {k}={v}" for k, v in sorted(constants.items()))
