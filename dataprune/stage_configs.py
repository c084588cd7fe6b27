"""Configs of stages that the pipeline makes itself out of a job's config (dataprune.config says what a job may say).

Each has the VERSION of its stage's code; fields with `place` are where something lies, and in no key.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import MISSING


@dataclass
class AdoptConfig:
    """Foreign weights for one of our networks. Stage: adopt."""

    VERSION: ClassVar[int] = 4
    checkpoint: str = field(default=MISSING, metadata={"place": True})  # its content is in the recipe, not its path
    model: dict[str, Any] = field(default_factory=dict)
    density: float | None = None  # of the backbone, as it is claimed
    lth_weights: str = "ticket"  # of a lottery ticket: ticket | trained
    input: dict[str, Any] = field(default_factory=dict)  # of the images, where the data it was trained on are not there


@dataclass
class DynamicsConfig:
    """Dynamics that another program recorded. Stage: dynamics."""

    VERSION: ClassVar[int] = 2
    path: str = field(default=MISSING, metadata={"place": True})  # the files' content is in the recipe
    probabilities: bool = False  # also the full softmax, as RecordConfig.probabilities


@dataclass
class ScoreConfig:
    """A score function with its constants. Stage: score."""

    VERSION: ClassVar[int] = 1
    function: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, str] = field(default_factory=dict)  # parameter -> array
    path: str | None = field(default=None, metadata={"place": True})  # of a function that reads a file


@dataclass
class ClusterConfig:
    """Pseudo classes of a source without labels: k-means on the surrogate's features, or a file. Stage: cluster."""

    VERSION: ClassVar[int] = 1
    number: int = field(default=1000, metadata={"low": 1, "high": float("inf"), "unit": "clusters"})
    seed: int = field(default=0, metadata={"low": 0, "high": float("inf"), "unit": ""})
    # instead: assignments that somebody else made, {cluster: list of sample ids}, of the train and the val images
    path: str | None = field(default=None, metadata={"place": True})
    val_path: str | None = field(default=None, metadata={"place": True})


@dataclass
class NeighborsConfig:
    """Lists of nearest neighbours that somebody else has computed: files .npy. Stage: neighbors."""

    VERSION: ClassVar[int] = 1
    neighbors: str | None = field(default=None, metadata={"place": True})  # int (m, columns)
    distances: str | None = field(default=None, metadata={"place": True})  # float, the same
    ids: str | None = field(default=None, metadata={"place": True})  # int (m,): the example of each row


@dataclass
class CombineConfig:
    """How class scores of several targets (mean, max, union) or surrogates (mean) become one. Stage: combine."""

    VERSION: ClassVar[int] = 1
    how: str = "mean"


@dataclass
class StepConfig:
    """One selector of a chain, in which each wraps the next; compiled by dataprune.plan."""

    function: dict[str, Any] = field(default_factory=dict)  # _target_ and constants
    arrays: dict[str, str] = field(default_factory=dict)  # parameter -> array
    filled: list[str] = field(default_factory=list)  # parameters that the stage fills: scores, budget, n, rng, select
    scores: str = "scores"  # the role of the result whose scores it gets
    key: str = field(default="method.select", metadata={"place": True})  # where the job's config names it


@dataclass
class SelectConfig:
    """Selectors with their constants, and how much they keep. Stage: select."""

    VERSION: ClassVar[int] = 2
    steps: list[StepConfig] = field(default_factory=list)  # from the outermost wrapper to what picks in the end
    method: str = MISSING
    prune_ratio: float = MISSING
    level: str = "example"
    weighted: bool = False
    ordered: bool = False  # the order of the picks is part of the result: larger prune ratios are cut from it
    seed: int = 0
    # a subset file of the split that history follows
    heldout: str | None = field(default=None, metadata={"place": True})
