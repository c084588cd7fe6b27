"""From a finished job to its model in the influence store."""

from typing import Any

import numpy as np

from dataprune.config import Config
from dataprune.cost import as_told
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError
from dataprune.influence.store import OutcomeStore
from dataprune.store import Store, fingerprint

SCHEMA = {"p_true": "float32", "logit_gap": "float32", "prediction": "int32"}


def check_influence(cfg: Config) -> None:
    """Raise a ConfigError unless the job is one model of an influence experiment, with a place in a store."""
    influence = cfg.run.influence
    if "model" not in (cfg.method.select or {}):
        raise ConfigError("method.select.model", None, "the model's number: method=random_halves method.select.model=0")
    if cfg.target is None or influence.models is None or influence.store is None:
        raise ConfigError("run.influence", influence.store, "a target, run.influence.store and run.influence.models")


def collect(cfg: Config, row: dict[str, Any]) -> None:
    """Write what model `method.select.model` was trained on and what it said on the target's test split."""
    check_influence(cfg)
    influence, select = cfg.run.influence, cfg.method.select
    assert cfg.target is not None
    assert influence.models is not None
    assert influence.store is not None
    assert select is not None
    results = Store(cfg.run.store, verify=False).root
    keys = row["keys"]
    source = Examples(results / "index" / keys["source"], "train")
    target = Examples(results / "index" / keys["target"], cfg.evaluate.split)
    subset = np.load(results / "select" / keys["subset"] / "export" / "subset.npz")
    units, kept = (source.classes, "classes") if cfg.method.level == "class" else (source.names, "ids")
    mask = np.zeros(len(units), bool)
    mask[subset[kept]] = True
    store = OutcomeStore.create(
        influence.store,
        models=influence.models,
        units=units,
        labels=target.labels,
        targets=target.classes,
        schema=SCHEMA,
        experiment=experiment_of(row, source.fingerprint, target.fingerprint),
    )
    outcomes = np.load(results / "evaluate" / keys["target_result"] / "outcomes.npz")
    said = {key: outcomes[key] for key in SCHEMA}
    store.write(int(select["model"]), mask, said, as_told(row["cost"]))


def experiment_of(row: dict[str, Any], source: str, target: str) -> dict[str, Any]:
    """What all models of one experiment have in common: data, everything that the row's config holds, and the selection
    but for the model's number."""
    method = row["config"]["method"]
    select = {name: value for name, value in method["select"].items() if name != "model"}
    recipes = row["config"] | {"method": method | {"select": select}}
    return {"source": source, "target": target, "recipes": fingerprint(recipes), "select": select}
