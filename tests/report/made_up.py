"""Rows as the pipeline writes them, without running anything."""

from dataprune.store import fingerprint

SOURCE = {"content": "ab12cd34", "size": 28}
TRAIN = {"epochs": 6, "batch_size": 128}
PLAIN = {"source": SOURCE, "pretrain": TRAIN}


def row(method="random", accuracy=0.9, *, seed=0, ratio=0.5, config=None, target=None, **changes):
    """A row of one experiment; config: parts that are added to or replace those of PLAIN."""
    config = PLAIN | {"method": {"select": {"_target_": "dataprune.selectors.ranked.random"}}} | (config or {})
    if target is not None:
        config = {"target": {"content": f"of {target}"}, "transfer": {"epochs": 2, "trainable": "head"}} | config
    identity = changes.pop("identity", fingerprint([method, config])[:16])
    seeds = changes.pop("seeds", {"seed": seed, "pretrain.seed": seed})
    cost = changes.pop("cost", {})
    side = "source" if target is None else "target"
    return {
        "name": "trial",
        "method": method,
        "level": "example",
        "trains_on": "subset",
        "prune_ratio": ratio,
        "kept": round(100 * (1 - ratio)),
        "of": 100,
        "source": "glyphs",
        "target": target,
        "surrogate": None,
        "model": "cnn",
        "transfer": "head" if target else None,
        "seed": seed,
        "seeds": seeds,
        "config": config,
        "identity": identity,
        "metrics": {f"{side}_top1": accuracy, f"{side}_worst_class_top1": accuracy / 2},
        "cost": dict.fromkeys(SECONDS, 1.0)
        | {"images_seen": 600, "surrogate_images": 0, "shared": [], "device_s": 7.5}
        | {"images_forward": 700, "images_backward": 600, "flops": 1.2e12, "unknown": []}
        | cost,
        "claimed": False,
        "keys": {"source": "5a", "subset": "5b", "model": "5c"},
        "row": fingerprint([identity, ratio, seeds])[:16],
        "version": "0.2",
    } | changes


SECONDS = (
    "data_s",
    "surrogate_s",
    "signals_s",
    "score_s",
    "select_s",
    "train_s",
    "transfer_s",
    "evaluate_s",
    "total_s",
)


def d2(gamma, accuracy=0.9, **changes):
    """A row of a method with a constant, which rests on a surrogate."""
    select = {"select": {"_target_": "dataprune.selectors.graph.message_passing", "gamma": gamma, "k": 5}}
    config = {"method": select, "surrogate": {"epochs": 8}} | changes.pop("config", {})
    keys = {"source": "5a", "surrogate": "6a", "subset": "6b", "model": "6c"}
    return row(accuracy=accuracy, config=config, **({"method": "d2", "keys": keys} | changes))


def full(accuracy=0.95, **changes):
    """A row of the whole source."""
    plain = {"method": "full", "ratio": 0.0, "trains_on": "full", "config": {"method": {}}}
    return row(accuracy=accuracy, **(plain | changes))
