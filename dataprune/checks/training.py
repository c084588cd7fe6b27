"""Checks between what is looked up and the first training: networks, samplers, the subset of a ready model."""

import numpy as np

from dataprune.checks.masks import check_callbacks
from dataprune.checks.networks import check_networks
from dataprune.checks.recipes import check_sampler
from dataprune.config import Config
from dataprune.data.examples import Examples
from dataprune.dataset import Data
from dataprune.errors import ConfigError, Shown
from dataprune.experiments import pretraining
from dataprune.plan import Plan
from dataprune.store import Result
from dataprune.subset import Subset


def check_training(cfg: Config, plan: Plan, source: Data, target: Data | None) -> None:
    """Raise a ConfigError for what is known to be wrong once torch is there, before the first training."""
    check_networks(cfg, plan, source, target)
    brings = cfg.method.trains_on == "dynamic"
    check_sampler(cfg.surrogate, "surrogate.sampler", source.facts["train"])
    check_sampler(pretraining(cfg, source), f"{'method' if brings else 'pretrain'}.sampler", source.facts["train"])
    if cfg.transfer is not None and target is not None:
        check_sampler(cfg.transfer, "transfer.sampler", target.facts["train"])
    recipes = {"surrogate": cfg.surrogate, "pretrain": pretraining(cfg, source), "transfer": cfg.transfer}
    for role, recipe in recipes.items():
        if recipe is not None and recipe.callbacks:
            check_callbacks(recipe, role)


def check_claim(cfg: Config, source: Result, subset: Result | None) -> None:
    """Raise a ConfigError unless the subset that a checkpoint is said to be trained on is the one that is kept here."""
    assert cfg.pretrain.subset is not None
    if subset is None:
        expected = f"null at prune_ratio={cfg.prune_ratio}, where nothing is selected: the row would say full"
        raise ConfigError("pretrain.subset", cfg.pretrain.subset, expected)
    if not subset.path.exists():  # only planned, for run.estimate
        return
    claimed = Subset.load(cfg.pretrain.subset, Examples(source.path, "train").fingerprint)
    kept = np.load(subset / "ids.npy")
    if not np.array_equal(claimed.ids, kept):
        both = len(np.intersect1d(claimed.ids, kept))
        found = Shown(f"{cfg.pretrain.subset!r} with {len(claimed.ids)} examples, {both} of them kept here")
        expected = f"the {len(kept)} examples that {cfg.method.name} keeps at prune_ratio={cfg.prune_ratio}"
        raise ConfigError("pretrain.subset", found, expected)
