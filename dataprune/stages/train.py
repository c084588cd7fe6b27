"""Stage train: fit a network on (a subset of) the train split of a data set. Surrogate, pretraining and transfer alike.

Inputs: `examples` (index); `subset` (select) or none for all; `init` (train or adopt) or none for fresh weights.
Files: model.pt (state_dict), network.json (how to build the network), history.jsonl (one line an epoch) and, if
recorded, the dynamics. A work folder with scratch/last.ckpt is continued after its last finished epoch.
"""

import json
import logging
import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment

from dataprune import progress, ranks
from dataprune.callables import function_at, instance
from dataprune.checks.recipes import check_parts
from dataprune.config import AugmentConfig, RunConfig, TrainConfig
from dataprune.data.changes import Changes
from dataprune.data.examples import Examples, heldout_of
from dataprune.data.feed import Feed
from dataprune.data.images import Images
from dataprune.data.loaders import Loader, VectorLoader
from dataprune.data.order import Order
from dataprune.errors import ConfigError
from dataprune.formats.class_lists import rows_of
from dataprune.formats.imagenet import read_mapping
from dataprune.models.flops import Attack
from dataprune.models.networks import Network, build, describe, of_columns
from dataprune.models.tally import Tally
from dataprune.passes import batches_in, check_input, feed_of, layout, load_network, measured, outputs, save_weights
from dataprune.peaks import peak_flops
from dataprune.processes import on_each_machine, place
from dataprune.progress import PACE, THROUGHPUT, WARM_UP
from dataprune.streams import number
from dataprune.training.adversarial import attack_images
from dataprune.training.callbacks import EndAtOnce, History, KeepLast, Progress, RecordDynamics, SeedEpochs, SumImages
from dataprune.training.classifier import Classifier, Mix
from dataprune.training.pace import Pace, Throughput, Waited
from dataprune.training.parts import Parts
from dataprune.training.recorder import Recorder
from dataprune.training.sampling import ObserveLosses, Sampling
from dataprune.training.schedules import resolution
from dataprune.training.snapshots import KeepSnapshots
from dataprune.training.views import RecordViews

CONFIG = TrainConfig
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}
EVAL_BATCH = 512
log = logging.getLogger(__name__)


def run(config: TrainConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Train (on, if the work folder has a checkpoint); returns epochs, steps, examples, parameters; images seen: those
    of the steps; images forward and backward and FLOPs: of all passes."""
    _quiet_lightning()
    progress.enabled = run.progress
    if run.threads:
        torch.set_num_threads(run.threads)
    torch.manual_seed(number(config.seed, "network"))
    with feed_of(run) as feed:
        training = Training(config, inputs, work, run, label, feed)
        network = training.network()
        module = training.classifier(network)
        training.fit(module)
    if training.rank == 0:
        save_weights(network, work / "model.pt")
        (work / "network.json").write_text(json.dumps(training.description, indent=1))
    tally = training.tally
    tally.take_over(module.tally.state())
    facts = {
        "epochs": training.epochs,
        "steps": training.steps_taken,
        "images_seen": tally.seen,
        # of a sampler: an epoch, on average
        "examples": training.order.length if training.sampling is None else round(tally.seen / training.epochs),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    pretrained = config.model is not None and config.model.get("pretrained")
    return facts | tally.facts(network, module.attack) | ({"elsewhere": {}} if pretrained else {})


class Training:
    """What one training consists of, in the order in which `run` asks for it."""

    def __init__(
        self, config: TrainConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str, feed: Feed
    ) -> None:
        self.config, self.inputs, self.work, self.run_config, self.label = config, inputs, work, run, label
        self.rank, self.world = place(config.processes)
        self.feed, self.device = feed, feed.device
        check_device(config, self.device, label)
        self.examples = Examples.of(inputs, "train")
        self.ids, self.weights = _subset(inputs.get("subset"), len(self.examples))
        self.order = Order(
            self.ids, config.batch_size, config.seed, rank=self.rank, world=self.world, drop_last=config.drop_last
        )
        self.order.repeats = config.augment.repeats
        if config.buckets:
            self.order.lengths, self.order.pool = self.examples.kept.lengths("input_ids"), config.buckets
        per_epoch = self.order.steps
        self.epochs: int = config.epochs or math.ceil(config.iterations / per_epoch)  # type: ignore[operator]
        self.steps: int = config.iterations or self.epochs * per_epoch  # at most, where a sampler leaves some out
        self.steps_taken = self.steps
        self.sampling = Sampling(config.sampler, self.ids, self.epochs, config.seed) if config.sampler else None
        if self.sampling is not None:
            self.order.chosen = self.sampling.epoch
            check_parts(self.sampling.sampler, config.accumulate, f"{label}.accumulate")
        self.description: dict[str, Any] = {}
        self.tally = Tally()  # of what comes before the first epoch

    def network(self) -> Network:
        """The network to fit: fresh, or the one that comes in with its head kept or replaced."""
        config, n_classes = self.config, len(self.examples.classes)
        if (init := self.inputs.get("init")) is not None:
            network = load_network(init)
            self.description = json.loads((init / "network.json").read_text())
            if config.head_columns is not None:
                network.head = of_columns(network.head, read_mapping(config.head_columns, network.head.out_features))
            if config.head == "reuse" and network.head.out_features < n_classes:
                raise ConfigError("transfer.head", "reuse", f"fresh: the old head has fewer than {n_classes} outputs")
            if config.head == "matched":
                before = Examples(self.inputs["init_examples"], "train").classes
                network.head = of_columns(network.head, np.array(rows_of(self.examples.classes, before)))
            if config.head == "fresh":
                network.head = torch.nn.Linear(network.head.in_features, n_classes)
            self.description["n_classes"] = network.head.out_features
        else:
            assert config.model is not None
            network = build(config.model, self.examples.input, n_classes)
            self.description = describe(config.model, self.examples.input, n_classes)
        network.channels_last = self.description["channels_last"] = config.channels_last
        check_input(network, self.examples)
        if config.trainable == "head":
            network.freeze_backbone(config.frozen_bn)
        if config.checkpointing:
            network.checkpoint()
        if config.compile:  # in place: the weights keep their names, and copies for counting are not compiled
            network.compile()
        return network.to(memory_format=layout(network, self.device))

    def classifier(self, network: Network) -> Classifier:
        """The LightningModule."""
        config = self.config
        spec = {k: v for k, v in config.schedule.items() if k != "_target_"}
        schedule = function_at(config.schedule.get("_target_", "dataprune.training.schedules.constant"))
        return Classifier(
            network,
            instance(config.optimizer, _partial_=True),
            lambda at, lr: schedule(at, self.steps, self.order.steps, lr, **spec),
            momentum=self._momentum(),
            attack=self._attack(),
            choose=None if self.sampling is None else self.sampling.choose,
            mix=self._mix(network) if config.augment.mixes else None,
            smoothing=config.label_smoothing,
            decay_bias_and_norm=config.decay_bias_and_norm,
            channels_last=layout(network, self.device) == torch.channels_last,
        )

    def _momentum(self) -> Callable[[float], float] | None:
        if not self.config.momentum:
            return None
        spec = {k: v for k, v in self.config.momentum.items() if k != "_target_"}
        schedule = function_at(self.config.momentum["_target_"])
        return lambda at: schedule(at, self.steps, self.order.steps, **spec)

    def _mix(self, network: Network) -> Mix:
        from dataprune.training.mixing import Mixing  # timm: seconds of imports

        config = self.config
        return Mixing(config.augment, network.head.out_features, config.label_smoothing, config.seed, self.rank)

    def _attack(self) -> Attack | None:
        adversarial = self.config.adversarial
        if adversarial.epsilon == 0:
            return None
        codec = self.examples.codec
        assert isinstance(codec, Images)
        mean, std = torch.tensor(codec.mean), torch.tensor(codec.std)
        return partial(attack_images, epsilon=adversarial.epsilon, steps=adversarial.steps, mean=mean, std=std)

    def fit(self, module: Classifier) -> None:
        """Fit from the last checkpoint, if there is one, to the end."""
        config, last = self.config, self.work / "scratch" / "last.ckpt"
        feeding = self._loader(module.network, self.order)
        waited = Waited(self._parts(feeding))
        pace = Pace(self.work / PACE, self.label, self.epochs, waited, self._peak())
        callbacks: list[pl.Callback] = [EndAtOnce(), pace, SeedEpochs(config.seed)]
        if config.record.forward != "none":
            callbacks.append(self._record(feeding))
        if self.sampling is not None:
            callbacks.append(ObserveLosses(self.sampling, self._left_out(module.network)))
            module.stateful["sampler"] = self.sampling.sampler
        for name, spec in config.callbacks.items():
            callbacks.append(added := instance(spec))
            module.stateful[f"callbacks.{name}"] = added
        heldout = self._heldout() if config.eval_every else None
        callbacks += [History(self.work / "history.jsonl", self.epochs, heldout, config.eval_every)]
        callbacks += [KeepSnapshots(self.work, config.snapshots)] if config.snapshots else []
        callbacks += [SumImages(), KeepLast(last), Progress(self.label, self.steps)]
        if self.run_config.throughput is not None:
            callbacks.append(Throughput(self.work / THROUGHPUT, waited, self._peak(), WARM_UP))
        if last.exists():
            module.go_on_from(torch.load(last, map_location="cpu", weights_only=True))
            feeding.go_on_after(module.epochs_done)
            log.info("%s going on after epoch %d of %d", f"{self.label:<14}", module.epochs_done, self.epochs)
        self.steps_taken = module.steps_done
        if module.epochs_done < self.epochs:
            # a sampler's epochs are counted, not their steps
            left = -1 if self.config.iterations is None else self.steps - module.steps_done
            trainer = self._trainer(callbacks, self.epochs - module.epochs_done, left)
            trainer.fit(module, waited)
            self.steps_taken += trainer.global_step

    def _trainer(self, callbacks: list[pl.Callback], epochs: int, steps: int) -> pl.Trainer:
        config, device, many = self.config, self.device, self.world > 1
        on_gpu = device.type == "cuda"
        return pl.Trainer(
            accelerator="gpu" if on_gpu else "cpu",
            devices=(each := on_each_machine(self.world)) if many else [device.index or 0] if on_gpu else 1,
            num_nodes=self.world // each if many else 1,
            strategy="ddp" if many else "auto",
            # said, not left to what Lightning finds in the environment
            plugins=[TorchElasticEnvironment() if many else LightningEnvironment()],
            sync_batchnorm=config.sync_batchnorm,
            precision=PRECISIONS[config.precision],  # type: ignore[arg-type]
            max_epochs=epochs,
            max_steps=steps,
            gradient_clip_val=config.clip_norm,
            accumulate_grad_batches=config.accumulate,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=self.work / "scratch",
        )

    def _left_out(self, network: Network) -> Loader | None:
        """Batches of what an epoch of the sampler leaves out, where it looks at these too."""
        if self.sampling is None or not self.sampling.excludes:
            return None
        seed, size = number(self.config.seed, "excluded"), self.order.batch_size
        excluded = Order(self.ids, size, seed, rank=self.rank, world=self.world, chosen=self.sampling.excluded)
        return self._loader(network, excluded)

    def _loader(self, network: Network, order: Order) -> Loader:
        augment, weights = self.config.augment, self.weights
        if self.config.trainable == "head" and self.config.frozen_bn and augment == AugmentConfig():
            return VectorLoader(self.examples, order, self._features(network), weights=weights)
        extra: dict[str, Any] = {}
        if isinstance(self.examples.codec, Images):
            extra["flip"] = augment.flip
            if self.config.loader == "memory":
                extra["padding"] = augment.crop_padding
            else:
                extra["area"], extra["changes"] = augment.random_resized_crop, Changes.of(augment)
                extra["size"] = partial(resolution, **self.config.resolution) if self.config.resolution else None
        return self.feed.loader(self.examples, order, weights=weights, **extra)

    def _parts(self, loader: Loader) -> Loader | Parts:
        return loader if self.config.accumulate == 1 else Parts(loader, self.config.accumulate)

    def _peak(self) -> float | None:
        """FLOP/s of one device, if they are known."""
        if self.run_config.peak_flops is not None or self.device.type != "cuda":
            return self.run_config.peak_flops
        return peak_flops(torch.cuda.get_device_name(self.device), self.config.precision)

    def _features(self, network: Network) -> torch.Tensor:
        """Features (n, d) of the examples, computed once: a frozen backbone gives the same ones at every step."""
        passed = outputs(network, self.examples, self.ids, EVAL_BATCH, self.feed, f"{self.label} features", self.tally)
        mine = (features.cpu() for features, _ in passed)
        vectors = torch.zeros(len(self.examples), network.head.in_features, device=self.device)
        start = 0
        for rows in ranks.in_order(mine, batches_in(self.ids, EVAL_BATCH), everywhere=True):
            ids = torch.from_numpy(self.ids[start : start + len(rows)]).to(self.device)
            vectors[ids], start = rows.to(self.device), start + len(rows)
        self.tally.settle(ranks.summed, ranks.united)
        return vectors

    def _heldout(self) -> Loader:
        """The split on which history follows the training; of kept classes only, if classes were pruned."""
        split = Examples(self.examples.folder, heldout_of(self.examples.splits), self.examples.pixels)
        ids = measured(self.inputs.get("subset"), split)
        return self.feed.clean(split, ids, self._eval_batch, self.rank, self.world)

    def _record(self, loader: Loader) -> pl.Callback:
        record = self.config.record
        recorder = Recorder(
            self.work,
            len(self.examples),
            self.epochs,
            n_classes=len(self.examples.classes) if record.probabilities else None,
            fingerprint=self.examples.fingerprint,
        )
        if record.view == "clean":
            return RecordViews(recorder, self._parts(self.feed.views(loader)))
        if record.forward == "train":
            return RecordDynamics(recorder)
        clean = self.feed.clean(self.examples, self.ids, self._eval_batch, self.rank, self.world)
        return RecordDynamics(recorder, clean)

    @property
    def _eval_batch(self) -> int:
        return max(1, EVAL_BATCH // self.world) * self.world


def check_device(config: TrainConfig, device: torch.device, label: str) -> None:
    """Raise a ConfigError for what a device cannot do: Lightning would train something else."""
    if device.type == "cpu" and config.precision == "float16":
        raise ConfigError(
            f"{label}.precision", "float16", "float32 or bfloat16: torch has no float16 training on a CPU"
        )
    if device.type == "cpu" and config.sync_batchnorm:
        raise ConfigError(f"{label}.sync_batchnorm", True, "false: torch has it on GPUs only")


def _subset(folder: Path | None, n: int) -> tuple[np.ndarray, np.ndarray | None]:
    """ids int64 sorted; weights float32 (n,) of mean 1 over the ids, or None."""
    if folder is None:
        return np.arange(n), None
    ids, weights = np.load(folder / "ids.npy"), None
    if (folder / "weights.npy").exists():
        kept = np.load(folder / "weights.npy")
        weights = np.zeros(n, np.float32)
        weights[ids] = kept / kept.mean()
    return ids, weights


def _quiet_lightning() -> None:
    """Lightning says at each fit which devices exist and that the loader has no workers; a sweep has many fits."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for text in (
        ".*does not have many workers.*",
        ".*GPU available but not used.*",
        ".*in eval mode at the start of training.*",  # a frozen backbone is meant to be
        ".*isinstance\\(treespec, LeafSpec\\).*",
    ):
        warnings.filterwarnings("ignore", text)
