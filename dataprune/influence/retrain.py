"""Train a source again without what harms a target example most, and look at that example again."""

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from dataprune.commands.conf import CONF
from dataprune.errors import ConfigError, Shown
from dataprune.influence.analysis import Experiment
from dataprune.influence.collect import JOB
from dataprune.store import Store, whole_file

WITHOUT = "dataprune.selectors.classes.left_out"


def has_job(experiment: Experiment) -> bool:
    """Return whether the store says how its models were trained."""
    return (experiment.store.root / JOB).exists()


def job_of(experiment: Experiment) -> dict[str, Any]:
    """Return the config of one of the store's jobs, plain, and the `store` of results that it used.

    Raises ConfigError for a store without one (imported, or of an older program).
    """
    path = experiment.store.root / JOB
    if not has_job(experiment):
        raise ConfigError(
            "store", str(experiment.store.root), f"a store with a {JOB}, as jobs of this program leave it"
        )
    return json.loads(path.read_text())


def write_job(experiment: Experiment, units: list[int], folder: Path) -> str:
    """Write the config of a training without these units, transferred to the same target; returns its command."""
    job = job_of(experiment)
    name = "without_" + ("_".join(map(str, units)) if len(units) <= 4 else f"{len(units)}_from_{units[0]}")
    method = {"name": name, "level": job["method"]["level"], "select": {"_target_": WITHOUT, "ids": units}}
    store = job.pop("store")
    content = {"defaults": ["base_config", "_self_"]} | job
    content |= {"name": name, "method": method, "run": {"store": store, "report": False}}
    # where outputs go and how lines look, as in every other job
    content["hydra"] = OmegaConf.to_container(OmegaConf.load(CONF / "config.yaml").hydra)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / f"{name}.yaml") as file:
        file.write(OmegaConf.to_yaml(OmegaConf.create(content)).encode())
    return f"python -m dataprune --config-dir {shlex.quote(str(folder.absolute()))} --config-name {name}"


def change(experiment: Experiment, target: int, method: str, results: str | None) -> list[tuple[str, float, str]]:
    """Return how a target example fares: (model, p of its true class, predicted class), of the store's models, of one
    trained on everything where a row has it, and of the one called `method`.

    Raises ConfigError where no row of the results is called so.
    """
    job, told = job_of(experiment), []
    root = Path(results or job["store"])
    names, place = experiment.store.names["targets"], experiment.place_of(target)
    votes = np.bincount(experiment.predictions[:, place], minlength=len(names))
    told.append(("models of the store", float(experiment.outputs[:, place].mean()), names[int(votes.argmax())]))
    rows = Store(root, verify=False).rows()
    for row in sorted(rows, key=lambda row: row["method"] == method):
        same = row["target"] == job["target"]["name"] and row["model"] is not None and "target_result" in row["keys"]
        if row["method"] not in ("full", method) or not same:
            continue
        said = np.load(root / "evaluate" / row["keys"]["target_result"] / "outcomes.npz")
        at = np.flatnonzero(said["ids"] == target)
        told += [(row["method"], float(said["p_true"][i]), names[int(said["prediction"][i])]) for i in at]
    if told[-1][0] != method:
        raise ConfigError("method", Shown(f"no row of {method} in {root}"), "one that was trained: run its command")
    return told
