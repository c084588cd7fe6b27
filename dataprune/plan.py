"""A method, compiled once: which function gets which array, from which result; what runs, in which order.

Checks, the pipeline, the stages, rows and `run.estimate` read the plan. Nobody else asks what a function wants.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from dataprune.arrays import ARRAYS, GIVEN, OWN_SIGNAL, Array, computed, entry, own_signal, table
from dataprune.callables import check_exists, check_target
from dataprune.config import Config, MethodConfig, SignalsConfig
from dataprune.errors import ConfigError
from dataprune.ratios import around, fraction_at
from dataprune.stage_configs import StepConfig

CUT = "dataprune.selectors.ranked.without_hardest"
PER_CLASS = "dataprune.selectors.ranked.per_class"
PREFIX = "dataprune.selectors.ranked.prefix"
FROM_FILE = frozenset({"path"})  # of a score function: what the stage fills
SCORES = frozenset({"scores", "frequency"})  # of a selector: two names of what it ranks by
FILLED = SCORES | {"budget", "rng", "n"}
ABOUT_A_SIGNAL = ("shape", "dtype", "passes")  # what a spec says of a signal beside its constants
# what one pass of the trained surrogate, or its training, gives
TOLD_BY_SURROGATE = frozenset({"dynamics", "signals", "gradients", "target_signals", "heldout"})


@dataclass(frozen=True)
class Call:
    """A function of the method, and what each of its parameters is filled with."""

    key: str  # where the config names it
    function: dict[str, Any]  # _target_ and constants
    arrays: dict[str, str]  # parameter -> array
    filled: tuple[str, ...] = ()  # parameters that the stage fills
    scores: str = "scores"  # of a selector: the role of the result whose scores it gets
    roles: frozenset[str] = frozenset()  # the results that are asked for its arrays

    @property
    def array_roles(self) -> frozenset[str]:
        """The results that hold its arrays."""
        held = [entry(array) for array in self.arrays.values()]
        return frozenset(role for array in held for role in (array.role, *array.beside))

    @property
    def step(self) -> StepConfig:
        """The call as a part of the stage select's config."""
        return StepConfig(self.function, self.arrays, list(self.filled), self.scores, self.key)


@dataclass(frozen=True)
class Plan:
    """What a method does at one prune ratio."""

    method: MethodConfig
    prune_ratio: float
    score: Call | None
    own_scores: dict[str, Call]  # of selectors that rank by another score than the method's (a cut), by role
    chain: tuple[Call, ...]  # selectors, from the outermost wrapper to what picks in the end
    signals: dict[str, dict[str, Any]]  # the method's own, by name
    epoch: int | None  # of the surrogate, whose outputs are looked at
    notes: tuple[str, ...]  # what was read between two entries of a table

    @cached_property
    def calls(self) -> list[Call]:
        """All functions of the method, also of a cut that cuts nothing at this ratio."""
        return [*([self.score] if self.score else []), *self.own_scores.values(), *self.chain]

    @cached_property
    def steps(self) -> list[Call]:
        """The selectors that do something at this ratio."""
        return [call for call in self.chain if not (call.function["_target_"] == CUT and _fraction(call) == 0)]

    @cached_property
    def cuts(self) -> dict[str, Call]:
        """The scores of their own that selectors want at this ratio, by role."""
        active = {call.scores for call in self.steps}
        return {role: call for role, call in self.own_scores.items() if role in active}

    @property
    def roles(self) -> frozenset[str]:
        """Results that the method looks at, or that are made for it out of others: clusters out of features."""
        asked = frozenset().union(*(call.roles for call in self.calls)) if self.calls else frozenset()
        return asked | {"signals"} if "clusters" in asked and self.method.clusters.path is None else asked

    @property
    def needs_surrogate(self) -> bool:
        """Whether anything is asked of a surrogate."""
        return any(role in TOLD_BY_SURROGATE or role.startswith(OWN_SIGNAL) for role in self.roles)

    @property
    def looks(self) -> list[str]:
        """The roles of signals that are asked for, those of the target included."""
        return [role for role in sorted(self.roles) if computed(role)]

    @property
    def has_budget(self) -> bool:
        """Whether the prune ratio says how much is kept; a list of classes keeps what it says."""
        return bool(self.chain) and "budget" in self.chain[-1].filled

    @property
    def prunes(self) -> bool:
        """Whether anything is selected."""
        return bool(self.chain) and (self.prune_ratio > 0 or not self.has_budget)

    @property
    def draws(self) -> bool:
        """Whether the selection depends on the seed."""
        return any("rng" in call.filled for call in self.chain)

    @property
    def looks_at_targets(self) -> bool:
        """Whether the method asks for something of a target."""
        return bool(self.roles & {"target", "target_signals"})

    @property
    def order_ratio(self) -> float | None:
        """The prune ratio of the one run whose first picks are the subset, or None: this ratio has a run of its own.

        Picks nest where one greedy selector ranks the examples, behind at most one cut; a quota or weights belong to
        one budget.
        """
        nested, wrappers = self.method.nested_from, self.steps[:-1]
        if nested is None or self.prune_ratio < nested or self.method.weighted or len(wrappers) > 1:
            return None
        if any(call.function["_target_"] != CUT for call in wrappers):
            return None
        return max([nested, *map(_fraction, wrappers)])

    def config_of(self, role: str, signals: SignalsConfig) -> SignalsConfig:
        """What the stage signals is asked for a result of this role."""
        if role in ("signals", "target_signals"):
            return replace(signals, functions={}, epoch=self.epoch)
        names = computed(role)
        own = {name: self.signals[name] for name in names if name in self.signals}
        return replace(signals, arrays=names, functions=own, epoch=self.epoch)


def plan_of(cfg: Config, method: MethodConfig | None = None, key: str = "method") -> Plan:
    """Return the plan of a job's method, or of another one under `key`. Raises ConfigError as `compiled`."""
    return compiled(method or cfg.method, cfg.prune_ratio, key, signals=cfg.signals, several=bool(cfg.others))


def compiled(
    method: MethodConfig,
    prune_ratio: float,
    key: str = "method",
    *,
    signals: SignalsConfig | None = None,
    several: bool = False,
) -> Plan:
    """Return what the method does at a prune ratio; nothing for one that does not select.

    signals: what the job says of signals. several: the scores of several targets are combined. Raises ConfigError for a
    function that does not exist, a constant that it does not take, and a parameter that nothing fills.
    """
    signals = signals or SignalsConfig()
    own = signals.functions | method.signals
    epoch = signals.epoch if method.epoch is None else method.epoch
    if method.trains_on != "subset" or method.select is None:
        return Plan(method, prune_ratio, None, {}, (), own, epoch, ())
    arrays = ARRAYS | {name: _checked_signal(name, spec, f"{key}.signals.{name}") for name, spec in own.items()}
    binding = _Binding(method, arrays)
    score = None if method.score is None else binding.score(method.score, f"{key}.score")
    chain, own_scores, notes = _chain(binding, method, prune_ratio, key, several=several)
    return Plan(method, prune_ratio, score, own_scores, tuple(chain), own, epoch, tuple(notes))


def _chain(
    binding: "_Binding", method: MethodConfig, prune_ratio: float, key: str, *, several: bool
) -> tuple[list[Call], dict[str, Call], list[str]]:
    """The selectors from the outermost inwards, the scores of their own by role, and what to tell of the ratio."""
    own_scores: dict[str, Call] = {}
    chain: list[Call] = []
    notes: list[str] = []
    for where, written in _unwrapped(method, key):
        wraps, spec = "select" in written, {name: value for name, value in written.items() if name != "select"}
        notes += _resolve(spec, prune_ratio, where)
        role = "scores"
        if isinstance(spec.get("score"), dict):
            role = f"cut.{len(own_scores) + 1}" if own_scores else "cut"
            own_scores[role] = binding.score(spec.pop("score"), f"{where}.score")
        chain.append(binding.selector(spec, where, role, wraps=wraps, several=several))
    return chain, own_scores, notes


def _unwrapped(method: MethodConfig, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The selectors from the outermost inwards, each with its key; `cut` and `quota` of a method are wrappers too."""
    if method.cut is not None:
        by = {"by_prune_ratio": method.cut.by_prune_ratio} if method.cut.by_prune_ratio else {}
        cut = {"_target_": CUT, "fraction": method.cut.fraction, "score": method.cut.score} | by
        yield f"{key}.cut", cut | {"select": method.select}
    if method.quota != "none":
        yield f"{key}.quota", {"_target_": PER_CLASS, "quota": method.quota, "select": method.select}
    spec, where = method.select, f"{key}.select"
    while isinstance(spec, dict):
        yield where, spec
        spec, where = spec.get("select"), f"{where}.select"


def _resolve(spec: dict[str, Any], prune_ratio: float, key: str) -> list[str]:
    """Put what its table says of this ratio in the place of `by_prune_ratio`; return what to tell of it."""
    if "by_prune_ratio" not in spec:
        return []
    by, where = spec.pop("by_prune_ratio"), f"{key}.by_prune_ratio"
    spec["fraction"] = fraction_at(spec.get("fraction", 0.0), by, prune_ratio, where)
    low, high = (around(by, prune_ratio, where) if prune_ratio else None) or (0, 0)
    if spec["fraction"] == 0 or low == high:
        return []
    return [f"{where}: {spec['fraction']:g} of the examples, between its entries for {low:g} and {high:g}"]


class _Binding:
    """Binds the parameters of a method's functions to arrays."""

    def __init__(self, method: MethodConfig, known: Mapping[str, Array]) -> None:
        self.renamed, self.known = method.arrays, known

    def score(self, spec: dict[str, Any], key: str) -> Call:
        """The call of a score function."""
        takes = check_exists(spec, key)
        filled = FROM_FILE & set(takes.names)
        arrays = self._arrays(spec, key, filled)
        return Call(key, spec, arrays, tuple(sorted(filled)), roles=self._roles(arrays))

    def selector(self, spec: dict[str, Any], key: str, scores: str, *, wraps: bool, several: bool) -> Call:
        """The call of a selector without the one that it wraps."""
        takes = check_exists(spec, key)
        if "select" in takes.required and not wraps:
            raise ConfigError(f"{key}.select", None, "the selector that this one wraps: a _target_ and its constants")
        # of a selector of classes the constant `k` may stand for the budget
        budget = {"budget"} & set(takes.names) if "k" not in spec else set()
        wants = (takes.required | budget) - spec.keys() - self.renamed.keys()
        filled = (wants & FILLED) | ({"select"} if wraps else set())
        # what the data say stands for this constant
        replaced = {"quota": "class_errors"} if (spec["_target_"], spec.get("quota")) == (PER_CLASS, "drop") else {}
        spec = {name: value for name, value in spec.items() if name not in replaced}
        arrays = self._arrays(spec, key, filled) | replaced
        roles = self._roles(arrays)
        if several:  # the combined ranking has no ties, and no single target could break them
            arrays = {name: array for name, array in arrays.items() if self.known[array].role != "target_signals"}
        return Call(key, spec, arrays, tuple(sorted(filled)), scores, roles)

    def _arrays(self, spec: dict[str, Any], key: str, filled: Iterable[str]) -> dict[str, str]:
        """parameter -> array: every required parameter that is neither a constant nor filled, by its own name or the
        one that the method gives it; an optional one only where the method names an array for it."""
        takes = check_target(spec, key, check_exists(spec, key).required)
        arrays = {}
        for name in takes.names:
            if name not in spec and name not in filled and (name in self.renamed or name in takes.required):
                arrays[name] = self.renamed.get(name, name)
        for name, array in arrays.items():
            if array not in self.known:
                raise ConfigError(f"{key}.{name}", array, f"a constant, or one of these arrays:\n{table()}")
        return arrays

    def _roles(self, arrays: Mapping[str, str]) -> frozenset[str]:
        held = [self.known[array] for array in arrays.values()]
        return frozenset(role for array in held for role in (array.role, *array.beside))


def _checked_signal(name: str, spec: Mapping[str, Any], key: str) -> Array:
    """The entry of a signal of the method's own; its function, constants, shape and dtype are checked."""
    if name in ARRAYS:
        raise ConfigError(key, name, "a name that is not in the table of arrays yet")
    check_target({k: v for k, v in spec.items() if k not in ABOUT_A_SIGNAL}, key, frozenset(GIVEN))
    signal = own_signal(name, spec)
    sizes = (signal.axes or ())[1:]
    if any(size not in ("classes", "d") and not (isinstance(size, int) and size > 0) for size in sizes):
        raise ConfigError(f"{key}.shape", spec["shape"], "numbers of 1 or more, classes or d, of one example's value")
    if signal.dtype not in ("float32", "float16", "int64", "int32", "uint8", "bool"):
        raise ConfigError(f"{key}.dtype", signal.dtype, "float32, float16, int64, int32, uint8 or bool")
    if signal.passes not in (None, "forward", "gradient"):
        raise ConfigError(f"{key}.passes", signal.passes, "forward, gradient, or null: unknown")
    return signal


def _fraction(call: Call) -> float:
    return float(call.function.get("fraction", 0.0))
