"""What an experiment may say: typed configs and the ranges of their fields (checks.config.typed checks them).

Two kinds that never mix: what a result **is** (DataConfig, TrainConfig, MethodConfig, ...: every field that differs
from its default is part of the result's identity) and **how it is computed** (RunConfig: part of no identity).

The VERSION of a config is that of its stage's code: raise it when the code comes to make other results from the same
config, and everything that it made before is built anew.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import MISSING

from dataprune.augmentation import AugmentConfig
from dataprune.fields import choice as _choice
from dataprune.fields import number as _number
from dataprune.stage_configs import ClusterConfig, NeighborsConfig


@dataclass
class LimitConfig:
    """Most examples to keep of a split, the same share of every class; None = all."""

    train: int | None = _number(None, 1)
    validation: int | None = _number(None, 1)
    test: int | None = _number(None, 1)


@dataclass
class IndexConfig:
    """What a data set is. Stage: index."""

    VERSION: ClassVar[int] = 3
    reader: dict[str, Any] = field(default_factory=dict)
    path: str | None = field(default=None, metadata={"place": True})  # its state is in the recipe (data.content.stamp)
    limit: LimitConfig = field(default_factory=LimitConfig)
    seed: int = 0
    content: str = "full"
    columns: list[str] | None = None
    validation: float | None = None


@dataclass
class DecodeConfig:
    """How the examples of a data set become columns. Stage: decode."""

    VERSION: ClassVar[int] = 2
    codec: dict[str, Any] = field(default_factory=dict)  # _target_ and its constants; a data.codecs.Codec
    kept: bool = True  # all columns on disk, for loaders that read them from memory; False = only their form
    # constants of the codec that say where something lies; of these `codec` has the content
    places: dict[str, Any] = field(default_factory=dict, metadata={"place": True})


@dataclass
class DataConfig:
    """A data set: who reads it, and which codec makes inputs of its examples. See conf/source for examples."""

    name: str = MISSING
    reader: dict[str, Any] = field(default_factory=dict)  # _target_, constants; returns a Dataset; {} = no data
    path: str | None = None  # handed to the reader as `path`, if it has one
    columns: list[str] | None = None  # the same, of a reader that takes `columns`: those that hold the text
    codec: dict[str, Any] = field(default_factory=lambda: {"_target_": "dataprune.data.images.Images"})
    # these are handed to the codec, if it has such parameters (data.codecs.HANDED)
    size: int | None = _number(None, 1, unit="pixels")  # images are cropped square and resized; None = as they are
    channels: int | None = None  # 1 or 3 converts; None = as they are
    resize: Any = None  # the test view: short side in pixels, or [height, width], before `crop`
    crop: float | None = None  # centred square: side in pixels, or a share (above 0 to 1) of the largest one
    mean: list[float] | None = None  # per channel, of pixel values 0-255 divided by 255; None = of the train split
    std: list[float] | None = None
    interpolation: str | None = _choice(None, "bilinear", "bicubic", "area")  # of all resizing; None = bilinear
    antialias: bool | None = None  # average over all pixels that a smaller one covers; None = true
    normalise: str = _choice("own", "own", "source")  # of a target; source = its mean and std, whatever stands above
    limit: LimitConfig = field(default_factory=LimitConfig)
    validation: float | None = None  # the share of train, of each class, that becomes the validation split
    expect: Any = field(default_factory=dict)  # published sizes, {split or classes: number}; null = any
    published: dict[str, Any] = field(default_factory=dict)  # what a study says of it, for interpolations; in no key
    storage: str | None = None  # gone; says what to write instead
    seed: int = _number(0, 0)  # of `limit` and of readers that draw
    content: str = _choice("full", "full", "stat")  # what tells data apart: every byte, or names and sizes of files

    @property
    def absent(self) -> bool:
        """Whether there are no such data (source=none): the model is ready and only transferred."""
        return not self.reader

    @property
    def table(self) -> IndexConfig:
        """The part that says which examples there are."""
        return IndexConfig(self.reader, self.path, self.limit, self.seed, self.content, self.columns, self.validation)


@dataclass
class AdversarialConfig:
    """Train on PGD examples instead of the images (L-infinity, pixel units); 0 = off."""

    epsilon: float = _number(0.0, 0, 1)
    steps: int = _number(3, 1)


@dataclass
class RecordConfig:
    """Which dynamics a training leaves behind, per example and epoch."""

    forward: str = _choice("none", "none", "train", "eval")  # the training forward, or a clean pass after each epoch
    view: str = _choice("train", "train", "clean")  # clean: the step's examples not augmented, in eval mode, before it
    probabilities: bool = False  # also the full softmax, float16 (epochs, n, classes); `tdds` wants it


@dataclass
class TrainConfig:
    """What makes a trained model what it is. Any change here is another model and trains again. Stage: train."""

    VERSION: ClassVar[int] = 5
    model: dict[str, Any] | None = None  # the backbone; None = the one that comes in (transfer)
    optimizer: dict[str, Any] = field(default_factory=dict)  # _target_ and constants
    schedule: dict[str, Any] = field(default_factory=dict)  # _target_ of models.schedules and constants
    momentum: dict[str, Any] = field(default_factory=dict)  # the same for the optimiser's momentum, if it moves
    resolution: dict[str, int] = field(default_factory=dict)  # low, high, start, end: ramp in pixels; not of memory
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)
    epochs: int | None = _number(None, 0)  # 0 = nothing is learned: the model as it comes
    iterations: int | None = _number(None, 1)  # instead of epochs: optimiser steps, whatever the subset's size
    # global: shared out over the processes; 0 (transfer) = min(1024, largest power of two <= a quarter of the examples)
    batch_size: int = _number(128, 0)
    drop_last: bool = False  # leave out of each epoch what does not fill a batch
    buckets: int = _number(0, 0, unit="batches")  # of so many the texts are put together by length; 0 = as they come
    loader: str = _choice("memory", "memory", "workers", "dali")  # decoded once, or at every epoch (DALI: the extra)
    decoder: str = _choice("auto", "auto", "pillow", "torchvision")  # of JPEGs, loader=workers; auto = pillow
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    record: RecordConfig = field(default_factory=RecordConfig)
    trainable: str = _choice("all", "all", "head")  # head = linear probe: backbone frozen, in eval mode
    frozen_bn: bool = True  # of trainable=head; False = the backbone's batch norm goes on adapting its statistics
    solver: dict[str, Any] | None = None  # of trainable=head: _target_ of training.linear; null = the loop
    bn_passes: int = _number(0, 0)  # of a transfer: over train, in train mode, before anything is learned
    # of a model that comes in; matched: the rows of those of its classes that have the new classes' names
    head: str = _choice("fresh", "fresh", "reuse", "matched")
    # of a head that is reused: the file of the outputs that are kept, in their order (mapping_dict.txt)
    head_columns: str | None = field(default=None, metadata={"place": True})
    label_smoothing: float = _number(0.0, 0, 1)
    clip_norm: float | None = _number(None, 0)
    decay_bias_and_norm: bool = True  # False = weight decay skips biases, norms and what the model itself names
    precision: str = _choice("float32", "float32", "bfloat16", "float16")
    channels_last: bool | None = None  # memory layout of images and weights; None = on GPUs only
    compile: bool = False  # torch.compile of the network
    checkpointing: bool = False  # compute activations again in the backward pass instead of keeping them; timm only
    accumulate: int = _number(1, 1)  # parts of a batch that go forward and backward one after another, for one step
    processes: int = _number(1, 1)  # that share each batch: batch norm and sums differ with their number
    sync_batchnorm: bool = False  # batch norm over the batches of all processes; GPUs only
    eval_every: int = _number(0, 0, unit="epochs")  # 0 = only the final evaluation
    sampler: dict[str, Any] = field(default_factory=dict)  # chooses anew each epoch; _target_ of dataprune.dynamic
    callbacks: dict[str, Any] = field(default_factory=dict)  # by name: _target_ of a Lightning callback, and constants
    checkpoint: str | None = None  # adopt these weights (a state_dict) instead of training
    density: float | None = _number(None, 0, 1)  # of a sparse checkpoint: the share of weights that it says is left
    lth_weights: str = _choice("ticket", "ticket", "trained")  # of a checkpoint with both: before or after training
    subset: str | None = None  # of a checkpoint that stands for a pruned model: the subset file it was trained on
    dynamics: str | None = None  # of the surrogate: those that another program recorded, instead of training for them
    snapshots: list[int] = field(default_factory=list)  # epochs after which the weights are kept, for signals
    seed: int = _number(0, 0)

    @property
    def reads(self) -> str:
        """How examples become columns for it: memory | workers | torchvision (workers with this decoder) | dali."""
        return self.decoder if self.decoder == "torchvision" else self.loader


@dataclass
class CutConfig:
    """Examples that leave before the selection: the hardest ones are often mislabelled (CCS, D2: beta)."""

    score: dict[str, Any] = field(default_factory=dict)
    fraction: float = _number(0.0, 0, 0.99)
    # instead: [[prune_ratio, fraction], ...], straight lines between; pairs, as an inherited mapping would be merged
    by_prune_ratio: Any = field(default_factory=list)


@dataclass
class MethodConfig:
    """A pruning method: a score function, a selector, and their constants."""

    name: str = MISSING
    level: str = _choice("example", "example", "class")  # what prune_ratio counts
    trains_on: str = _choice("subset", "subset", "full", "short_full", "dynamic", "nothing")
    sampler: dict[str, Any] = field(default_factory=dict)  # of trains_on=dynamic: _target_ of dataprune.dynamic
    score: dict[str, Any] | None = None  # _target_ and constants; its array parameters are filled by name
    path: str | None = None  # a file of scores, handed to the score function as `path`
    val_path: str | None = None  # a subset file of the split that history follows; the source is measured on it
    select: dict[str, Any] | None = None
    cut: CutConfig | None = None
    quota: str = _choice("none", "none", "proportional", "equal", "drop")  # the budget over classes; drop: 1 - recall
    runs: int = _number(1, 1)  # surrogates (seeds surrogate.seed and the next ones) over which scores are averaged
    combine: str = _choice("mean", "mean", "max", "union")  # class scores of several targets (Config.others) to one
    nested_from: float | None = _number(None, 0, 1)  # ratios from here on are cut from one run, in its pick order
    weighted: bool = False  # the selector's second result weighs the losses of the examples it keeps
    arrays: dict[str, str] = field(default_factory=dict)  # parameter -> array, where the two names differ
    signals: dict[str, dict[str, Any]] = field(default_factory=dict)  # its own, by name: _target_, shape, dtype, passes
    epoch: int | None = _number(None, 1)  # signals of the surrogate after this epoch, one of surrogate.snapshots
    clusters: ClusterConfig = field(default_factory=ClusterConfig)  # of a method that asks for the array `clusters`
    neighbors: NeighborsConfig = field(default_factory=NeighborsConfig)  # of one that asks for listed_neighbors


@dataclass
class ConstantsConfig:
    """Constants of score functions, in the place of what their methods say: for a sweep over methods that suits another
    training than the published one. Each reaches those methods that state it."""

    window: int | None = _number(None, 2, unit="epochs")
    early: list[int] | None = None  # [from, to below], epochs
    late: list[int] | None = None
    never_learned: str | None = None  # of forgetting: max | zero


@dataclass
class EvaluateConfig:
    """On what a model is measured. Stage: evaluate."""

    VERSION: ClassVar[int] = 2
    split: str = _choice("test", "test", "validation", "train")
    half: str = _choice("all", "all", "first", "second")  # of the target: estimate on one half, report on the other
    metric: str = _choice("top1", "top1", "per_class")  # of the target, in reports; per_class = mean over classes
    batch_size: int = _number(512, 1)
    # ImageNet's: ReaL's label sets; which outputs of a 21K model are the 1,000 classes; the set that they are about
    real: str | None = field(default=None, metadata={"place": True})
    classes_file: str | None = field(default=None, metadata={"place": True})
    about: str = _choice("source", "source", "target")


@dataclass
class SignalsConfig:
    """Which outputs of a frozen model are kept, one pass over a split. Stage: signals."""

    VERSION: ClassVar[int] = 2
    arrays: list[str] = field(default_factory=lambda: ["logits", "features"])
    functions: dict[str, Any] = field(default_factory=dict)  # signals that stand in no table, as in MethodConfig
    epoch: int | None = _number(None, 1)  # of the training, from the weights of this snapshot; None = its end
    split: str = _choice("train", "test", "validation", "train")
    batch_size: int = _number(512, 1)
    runtime: Any = "torch"  # of features: torch | onnxruntime | openvino | deepsparse, or _target_ of a Runtime
    runtime_python: str | None = field(default=None, metadata={"place": True})  # the interpreter that has deepsparse


@dataclass
class WandbConfig:
    """Where Weights & Biases looks for us; `offline` needs neither network nor account."""

    mode: str = _choice("offline", "offline", "online", "disabled")
    project: str = "dataprune"
    entity: str | None = None
    group: str | None = None  # None = the sweep's folder
    tags: list[str] = field(default_factory=list)


@dataclass
class InfluenceConfig:
    """Where the jobs of an influence experiment file their rows; None = nowhere."""

    store: str | None = None
    models: int | None = _number(None, 1)  # rows of the store


@dataclass
class ResourcesConfig:
    """What one stage of a kind asks an engine for; None = what is usual for it (executors.resources)."""

    gpus: int | None = _number(None, 0)  # per process
    cpus: int | None = _number(None, 1)  # cores, per process
    memory: float | None = _number(None, 0, unit="GB")  # per process
    minutes: int | None = _number(None, 1)  # after which Slurm ends it; the next try goes on


@dataclass
class StagesConfig:
    """What each kind of stage asks an engine for."""

    index: ResourcesConfig = field(default_factory=ResourcesConfig)
    decode: ResourcesConfig = field(default_factory=ResourcesConfig)
    adopt: ResourcesConfig = field(default_factory=ResourcesConfig)
    dynamics: ResourcesConfig = field(default_factory=ResourcesConfig)
    train: ResourcesConfig = field(default_factory=ResourcesConfig)
    signals: ResourcesConfig = field(default_factory=ResourcesConfig)
    evaluate: ResourcesConfig = field(default_factory=ResourcesConfig)
    cluster: ResourcesConfig = field(default_factory=ResourcesConfig)
    neighbors: ResourcesConfig = field(default_factory=ResourcesConfig)
    score: ResourcesConfig = field(default_factory=ResourcesConfig)
    select: ResourcesConfig = field(default_factory=ResourcesConfig)
    combine: ResourcesConfig = field(default_factory=ResourcesConfig)


@dataclass
class RunConfig:
    """How and where to compute. A change here never trains anything again."""

    store: str = "store"
    devices: int | None = _number(None, 1)  # most that a stage may use, of each machine; None = all there are
    nodes: int = _number(1, 1)  # machines; the same command runs on each, once
    rendezvous: str | None = None  # host:port of the first of several; None = from Slurm's list of nodes
    accelerator: str = _choice("auto", "auto", "cpu", "gpu")
    threads: int | None = _number(None, 1)  # of torch, per process; None = torch's choice
    workers: int = _number(2, 0)  # processes that decode, for loader=workers; threads, for loader=dali
    stage_to: str | None = None  # a fast local disk to which files that are read at every epoch are copied: /dev/shm
    peak_flops: float | None = _number(None, 1, unit="FLOP/s")  # of one device, for MFU; None = from a table of GPUs
    throughput: int | None = _number(None, 1)  # only time so many steps of the pretraining; nothing is kept
    # where stages are built: here | pool | slurm | ray, or a function that returns a concurrent.futures.Executor
    executor: Any = "here"
    slots: int | None = _number(None, 1)  # workers of a pool; None = a GPU each, or shares of the cores
    resources: StagesConfig = field(default_factory=StagesConfig)
    objective: str | None = None  # the metric of its row that a job returns to a sweeper: target_top1
    logger: str = _choice("csv", "csv", "wandb")
    wandb: WandbConfig = field(default_factory=WandbConfig)
    influence: InfluenceConfig = field(default_factory=InfluenceConfig)
    progress: bool = True
    report: bool = True  # draw report.html at the end
    estimate: bool = False  # only say what would be built, and its time, memory and disk
    verify: bool = True  # compare files with their SHA-256 when a result is found


@dataclass
class Config:
    """One job. Each field is a group of conf/ or a plain value."""

    source: DataConfig = field(default_factory=DataConfig)
    target: DataConfig | None = None
    others: dict[str, DataConfig] = field(default_factory=dict)  # more targets: one subset for all, a row for each
    surrogate: TrainConfig = field(default_factory=TrainConfig)
    pretrain: TrainConfig = field(default_factory=TrainConfig)
    transfer: TrainConfig | None = None
    method: MethodConfig = field(default_factory=MethodConfig)
    baselines: dict[str, MethodConfig] = field(default_factory=dict)
    constants: ConstantsConfig = field(default_factory=ConstantsConfig)
    signals: SignalsConfig = field(default_factory=SignalsConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    run: RunConfig = field(default_factory=RunConfig)
    prune_ratio: float = field(default=0.5, metadata={"low": 0, "high": 1, "open": True})  # fraction REMOVED
    seed: int = _number(0, 0)
    name: str = "dataprune"  # of the experiment; goes into rows and W&B
