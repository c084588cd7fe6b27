"""What a job found, as one row: metrics, cost, and the keys of all results behind them."""

import json
from dataclasses import replace
from typing import Any

from dataprune import __version__
from dataprune.arrays import OWN_SIGNAL
from dataprune.config import Config, TrainConfig
from dataprune.cost import COUNTED, cost
from dataprune.formats.coresets import is_bare
from dataprune.identity import identity
from dataprune.launch import code_behind
from dataprune.plan import Plan, plan_of
from dataprune.ratios import as_typed
from dataprune.store import Result, fingerprint, read_lines

# roles of results -> the config key that they come from
DATA = {f"{group}{part}": group for group in ("source", "target", "others") for part in ("", "_pixels", "_workers")}
TRAINED = {"surrogate": "surrogate", "model": "pretrain", "reestimated": "reestimated", "adapted": "transfer"}
CURVES = {"source": "model", "target": "adapted"}  # side -> the training whose accuracies by epoch are its curve
LOOKS = ("signals", "gradients", "target_signals", "val_signals", "heldout", "features.train")
SIZES = ("density", "flops_dense", "flops_sparse")  # of a network: share of weights left; of one example's pass
GIVEN_SUBSET = "dataprune.formats.coresets.marks"
OWN = OWN_SIGNAL.rstrip(".")


def row_name(row: dict[str, Any]) -> str:
    """Hash of what makes the row what it is: rows of one name are the same experiment."""
    return fingerprint([row["identity"], row["prune_ratio"], row["seeds"]])[:16]


def row_of(cfg: Config, results: dict[str, Result], built: set[str]) -> dict[str, Any]:
    """The row, from the results by role and the roles that this job built."""
    kept = results["subset"].facts if "subset" in results else {}
    made_of = config_of(cfg, results)
    return {
        "name": cfg.name,
        "method": cfg.method.name,
        "level": cfg.method.level,
        "trains_on": cfg.method.trains_on,
        "prune_ratio": ratio_of(cfg, kept),
        "kept": _kept(cfg, results),
        "of": 0 if cfg.source.absent else results["source"].facts["train"],
        "source": cfg.source.name,
        "target": cfg.target.name if cfg.target else None,
        "surrogate": name_of(cfg.surrogate) if "surrogate" in results else None,
        "model": name_of(cfg.pretrain),
        "transfer": cfg.transfer.trainable if cfg.transfer else None,
        "seed": cfg.seed,
        "seeds": seeds_of(cfg, results),
        "config": made_of,
        "identity": fingerprint(made_of)[:16],
        "claimed": cfg.pretrain.subset is not None and "model" in results,
        "unverified": _unverified(cfg),
        "metrics": _metrics(results),
        **{name: _of_networks(name, results) for name in SIZES},
        "best": {side: best for side, role in CURVES.items() if (best := best_of(results.get(role))) is not None},
        "cost": cost(results, built),
        "keys": {role: result.key for role, result in results.items()},
        "version": __version__,
    }


def _of_networks(name: str, results: dict[str, Result]) -> dict[str, float | None]:
    """What is known of the size of the networks that were measured, by side; None where it cannot be told."""
    sides = {side: results[role] for side, role in CURVES.items() if role in results}
    return {side: network.facts.get(name) for side, network in sides.items()}


def _metrics(results: dict[str, Result]) -> dict[str, float]:
    """What was measured on source and target, by `source_` or `target_` and the metric's name."""
    return {
        f"{side}_{name}": value
        for side in ("source", "target")
        if f"{side}_result" in results
        for name, value in results[f"{side}_result"].facts.items()
        if name not in COUNTED
    }


def best_of(trained: Result | None) -> dict[str, Any] | None:
    """The best epoch of a training by the accuracies that its history has: `top1`, `epoch` (from 0), `of` how many that
    were measured, and `split`, on which it was measured and so selected; None where none was (eval_every=0).

    The metrics of a row are those after the last epoch, which nobody has selected. Of a training that prunes its
    network only epochs at the highest sparsity count: those before are of another network.
    """
    lines = [] if trained is None else read_lines(trained / "history.jsonl")
    sparsest = max((line.get("sparsity", 0.0) for line in lines), default=0.0)
    lines = [line for line in lines if line.get("sparsity", 0.0) == sparsest]
    for split in ("validation", "test"):
        if measured := [line for line in lines if f"{split}_top1" in line]:
            best = max(measured, key=lambda line: line[f"{split}_top1"])  # of equal ones the first
            return {"top1": best[f"{split}_top1"], "epoch": best["epoch"], "of": len(measured), "split": split}
    return None


def _kept(cfg: Config, results: dict[str, Result]) -> int:
    """Source examples that the model is trained on: of the subset, else of the training itself, else all."""
    if cfg.method.trains_on == "nothing" or cfg.source.absent:
        return 0
    if "subset" in results and "kept" in results["subset"].facts:
        return results["subset"].facts["kept"]
    return results["model"].facts["examples"] if "model" in results else results["source"].facts["train"]


def _unverified(cfg: Config) -> bool:
    """Whether the subset is a list of bare ids, of which nothing tells that they are meant for this source."""
    method = cfg.method
    is_subset = method.score is not None and method.score["_target_"] == GIVEN_SUBSET and method.path is not None
    return is_subset and any(is_bare(path) for path in (method.path, method.val_path) if path is not None)


def ratio_of(cfg: Config, kept: dict[str, Any]) -> float:
    """The prune ratio of the row: the job's, or what a selector without a budget (a list of classes) has removed.

    Only rows of one ratio are compared, and such a selector gives one experiment whatever ratio was asked for.
    """
    plan = plan_of(cfg)
    if plan.has_budget or not plan.chain:
        return cfg.prune_ratio
    now, of = ("classes_kept", "classes") if cfg.method.level == "class" else ("kept", "of")
    return as_typed(round(1 - kept[now] / kept[of], 4)) if {now, of} <= kept.keys() else cfg.prune_ratio


def seeds_of(cfg: Config, results: dict[str, Result]) -> dict[str, int]:
    """The seeds that the experiment really draws from, by config key: equal ones give equal results."""
    seeds = {"seed": cfg.seed} if "subset" in results and plan_of(cfg).draws else {}
    for key, role in (("surrogate", "surrogate"), ("pretrain", "model"), ("transfer", "adapted")):
        if role in results and results[role].recipe["stage"] == "train":
            seeds[f"{key}.seed"] = getattr(cfg, key).seed
    return seeds


def config_of(cfg: Config, results: dict[str, Result]) -> dict[str, Any]:
    """Everything that made the row's numbers but the seeds and the prune ratio, by config key; nothing that the method
    did not use. Data sets stand by their content, functions with the hashes of their code, foreign files by theirs.
    """
    made = _data_sets(cfg, results)
    made |= {key: _recipe(results[role]) for role, key in TRAINED.items() if role in results}
    made |= _looks(results)
    if "dynamics" in results:
        made["surrogate"] = made.get("surrogate", {}) | {"dynamics": _recipe(results["dynamics"])}
    if "model" in results and results["model"].recipe["stage"] == "train":
        # as the config has it: what a ratio makes of it (iterations, a share an epoch) follows from the method
        made["pretrain"] = _plain(replace(cfg.pretrain, seed=0)) | _origin(results["model"])
    plan = plan_of(cfg)
    # what the content of a data set does not hold
    if any("names" in call.arrays.values() for call in plan.calls):
        made["source"]["names"] = results["source"].digest[:16]
    made["method"] = _method(cfg, plan, results)
    made["evaluate"] = _plain(cfg.evaluate)
    made["evaluate"] |= _files_of_evaluation(results)
    for part in (made["evaluate"], *made.get("signals", {}).values()):
        part.pop("batch_size", None)  # how many at a time, not what comes out
    return made


def _looks(results: dict[str, Result]) -> dict[str, Any]:
    """The recipes of the passes whose outputs the method reads, of its clusters and its neighbours."""
    signals = {role: _recipe(result) for role, result in results.items() if _is_signals(role)}
    made: dict[str, Any] = {"signals": signals} if signals else {}
    return made | {role: _recipe(results[role]) for role in ("clusters", "neighbors") if role in results}


def _files_of_evaluation(results: dict[str, Result]) -> dict[str, str]:
    """Hashes of the foreign files that the evaluations have read, by config key."""
    read = [results[role].recipe["inputs"] for role in ("source_result", "target_result") if role in results]
    return {name: inputs[name] for inputs in read for name in ("real", "classes_file") if name in inputs}


def _data_sets(cfg: Config, results: dict[str, Result]) -> dict[str, Any]:
    """What each data set that the method sees is made of, by config key."""
    made: dict[str, Any] = {}
    for role, result in results.items():
        kind, _, name = role.partition(".")
        group = DATA.get(kind)
        unused = cfg.method.trains_on == "nothing" or cfg.source.absent
        if group is None or (group == "source" and unused):
            continue
        place = made.setdefault("others", {}).setdefault(name, {}) if name else made.setdefault(group, {})
        # of two ways to decode it neither hides the other
        place |= {"workers": _data(result)} if kind.endswith("_workers") else _data(result)
    return made


def _is_signals(role: str) -> bool:
    """Whether a role is a pass whose outputs the method reads; of several surrogates only the first one's."""
    kind, _, name = role.partition(".")
    return role in LOOKS or (kind == OWN and "." not in name)


def _data(result: Result) -> dict[str, Any]:
    """What a data set is made of: the content of all its splits; how it is decoded."""
    if result.recipe["stage"] == "index":
        return {"content": fingerprint(result.facts["fingerprints"])[:16]}
    return _recipe(result)


def _recipe(result: Result) -> dict[str, Any]:
    """A result's recipe without seed, and of its inputs only what came from outside the store."""
    return {name: value for name, value in result.recipe["config"].items() if name != "seed"} | _origin(result)


def _origin(result: Result) -> dict[str, Any]:
    """The version and code of the stage that made a result, and the hash of files from outside the store."""
    recipe = result.recipe
    code = {"code": recipe["code"]} if recipe["code"] else {}
    files = {name: recipe["inputs"][name] for name in ("files", "columns") if name in recipe["inputs"]}
    return {"VERSION": recipe["version"]} | code | files


def _method(cfg: Config, plan: Plan, results: dict[str, Result]) -> dict[str, Any]:
    """The method without its name, with the code that scores, combines and selects, and the foreign files it reads.

    The code of all its functions, also of those that it needs at some prune ratios only (a cut, a longer order).
    """
    method = cfg.method
    made = {name: value for name, value in _plain(method).items() if name not in ("name", "path", "val_path")}
    if method.trains_on != "subset":
        return made
    made |= {"code": _codes(cfg, plan)}
    read = {"files": _files_of(results, "score"), "val_files": _files_of(results, "select")}
    return made | {name: files for name, files in read.items() if files}


def _codes(cfg: Config, plan: Plan) -> dict[str, str]:
    """Hashes of the code of all functions that score, select and combine, by dotted path."""
    functions = [("select" if call in plan.chain else "score", call.function) for call in plan.calls]
    if cfg.method.runs > 1 or cfg.others:
        functions.append(("combine", {}))
    code: dict[str, str] = {}
    for stage, function in functions:
        code |= code_behind(stage, {"function": function})
    return code


def _files_of(results: dict[str, Result], stage: str) -> list[str]:
    """Hashes of the foreign files that a stage has read, each once: at some ratios the cut reads that of the scores."""
    read = [result.recipe["inputs"] for result in results.values() if result.recipe["stage"] == stage]
    return sorted({inputs["files"] for inputs in read if inputs.get("files")})


def _plain(config: Any) -> dict[str, Any]:
    """A config's identity as it looks when it is read back from JSON."""
    return json.loads(json.dumps(identity(config)))


def name_of(recipe: TrainConfig) -> str:
    """A network's short name: the constant `name` (timm, torchvision) or the function, with its other constants."""
    if recipe.model is None:
        return "none"
    constants = {k: v for k, v in recipe.model.items() if k not in ("_target_", "name")}
    name = recipe.model.get("name", recipe.model["_target_"].rpartition(".")[2])
    return name + "".join(f" {k}={v}" for k, v in sorted(constants.items()))
