"""From a finished job to its model in the influence store."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.config import Config
from dataprune.cost import as_told
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError
from dataprune.influence.store import OutcomeStore
from dataprune.store import Store, fingerprint, write_json

JOB = "job.json"  # of a store: the config of one of its jobs
SCHEMA = {"p_true": "float32", "logit_gap": "float32", "prediction": "int32"}


def check_influence(cfg: Config) -> None:
    """Raise a ConfigError unless the job is one model of an influence experiment, with a place in a store."""
    influence = cfg.run.influence
    if model_of(cfg) is None:
        raise ConfigError("method.select.model", None, "the model's number: method=random_halves method.select.model=0")
    if cfg.target is None or influence.models is None or influence.store is None:
        raise ConfigError("run.influence", influence.store, "a target, run.influence.store and run.influence.models")


def model_of(cfg: Config) -> int | None:
    """Return the model's number, a constant of the selector or of the score function; None = it has none."""
    return (cfg.method.select or {}).get("model", (cfg.method.score or {}).get("model"))


def collect(cfg: Config, row: dict[str, Any], *, several: bool = False) -> None:
    """Write what the job's model was trained on and what it said on the target's test split.

    several: this is one of several targets, each with a store of its own below run.influence.store, called as the
    target; the masks lie beside these stores, once.
    """
    check_influence(cfg)
    influence, model = cfg.run.influence, model_of(cfg)
    assert cfg.target is not None
    assert influence.models is not None
    assert influence.store is not None
    assert model is not None
    results = Store(cfg.run.store, verify=False).root
    keys = row["keys"]
    source = Examples(results / "index" / keys["source"], "train")
    target = Examples(results / "index" / keys["target"], cfg.evaluate.split)
    subset = np.load(results / "select" / keys["subset"] / "export" / "subset.npz")
    units, kept = (source.classes, "classes") if cfg.method.level == "class" else (source.names, "ids")
    mask = np.zeros(len(units), bool)
    mask[subset[kept]] = True
    store = OutcomeStore.create(
        Path(influence.store) / cfg.target.name if several else influence.store,
        models=influence.models,
        units=units,
        labels=target.labels,
        targets=target.classes,
        schema=SCHEMA,
        experiment=experiment_of(row, source.fingerprint, target.fingerprint),
        shared="../masks" if several else None,
    )
    keep_job(store.root, cfg)
    outcomes = np.load(results / "evaluate" / keys["target_result"] / "outcomes.npz")
    said = {key: outcomes[key] for key in SCHEMA}
    store.write(int(model), mask, said, as_told(row["cost"]))


def keep_job(root: Path, cfg: Config) -> None:
    """Write what one of the jobs was, without how it was run, so that a model can be trained again: job.json."""
    if not (root / JOB).exists():
        plain = {name: value for name, value in asdict(cfg).items() if name not in ("run", "baselines", "others")}
        for data in (plain["source"], plain["target"]):
            data["path"] = data["path"] and str(Path(data["path"]).absolute())
        write_json(root / JOB, plain | {"store": str(Path(cfg.run.store).absolute())})


def experiment_of(row: dict[str, Any], source: str, target: str) -> dict[str, Any]:
    """What all models of one experiment have in common: data, everything that the row's config holds, and the selection
    but for the model's number."""
    method = row["config"]["method"]
    chosen = {name: _numberless(method[name]) for name in ("select", "score") if name in method}
    recipes = {**row["config"], "method": method | chosen}
    if row["claimed"]:  # each model came from a file of its own
        recipes["pretrain"] = {name: value for name, value in recipes["pretrain"].items() if name != "files"}
    return {"source": source, "target": target, "recipes": fingerprint(recipes), "select": chosen["select"]}


def _numberless(spec: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name != "model"}
