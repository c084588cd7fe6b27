"""The single experiments that a job asks for: its method and its baselines, each for every target, said in one way."""

from dataclasses import replace

from dataprune.config import Config, DataConfig, MethodConfig
from dataprune.plan import plan_of


def experiments(cfg: Config) -> list[tuple[str, Config]]:
    """The single experiments of a job by name: its method and its baselines, each for every target."""
    targets: list[tuple[DataConfig | None, dict[str, DataConfig]]] = [(cfg.target, cfg.others)]
    for name, data in cfg.others.items():
        assert cfg.target is not None
        rest = {other: what for other, what in cfg.others.items() if other != name}
        targets.append((data, {cfg.target.name: cfg.target} | rest))
    named = {"method": cfg.method} | cfg.baselines
    return [
        (name if target is None or target is cfg.target else f"{name}.{target.name}", single)
        for target, others in targets
        for name, method in named.items()
        if target is not None or method.trains_on != "nothing"  # without a target there is nothing to learn
        for single in [effective(replace(cfg, method=method, baselines={}, target=target, others=others))]
    ]


def effective(cfg: Config) -> Config:
    """The same job said in one way: what the method does not look at (a prune ratio, other targets) is left out.

    A method that keeps everything at this prune ratio is no method: it is `full`.
    """
    plan = plan_of(cfg)
    if plan.chain and not plan.prunes:
        cfg = replace(cfg, method=MethodConfig(name="full", trains_on="full"))
    ratio = {"full": 0.0, "nothing": 1.0}.get(cfg.method.trains_on, cfg.prune_ratio)
    if cfg.method.trains_on == "dynamic" and "prune_ratio" not in cfg.method.sampler.values():
        ratio = 0.0  # it decides by itself how much it leaves out, whatever ratio was asked for: beside `full`
    looks = plan.prunes and plan.looks_at_targets
    return replace(cfg, prune_ratio=ratio, others=cfg.others if looks else {})
