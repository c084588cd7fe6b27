"""Stage train: fit a network on (a subset of) the train split of a data set. Surrogate, pretraining and transfer alike.

Inputs: `examples` (index); `subset` (select) or none for all; `init` (train or adopt) or none for fresh weights.
Files: model.pt (state_dict), network.json (how to build the network), history.jsonl (one line an epoch) and, if
recorded, the dynamics; of a training that prunes also masks.npz.
A work folder with scratch/last.ckpt is continued after its last finished epoch.
"""

import json
import logging
import math
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from dataprune import progress, ranks
from dataprune.callables import function_at, instance
from dataprune.checkpoints import masks
from dataprune.checks.recipes import check_parts
from dataprune.config import AugmentConfig, RunConfig, TrainConfig
from dataprune.data.changes import Changes
from dataprune.data.examples import Examples, heldout_of
from dataprune.data.feed import Feed
from dataprune.data.images import Images
from dataprune.data.loaders import Loader, VectorLoader
from dataprune.data.order import Order
from dataprune.models.flops import Attack
from dataprune.models.networks import Network, build, describe
from dataprune.models.tally import Tally
from dataprune.passes import (
    batches_in,
    blank_of,
    check_input,
    feed_of,
    layout,
    load_network,
    measured,
    outputs,
    save_weights,
    sizes,
    trained_on,
)
from dataprune.processes import place
from dataprune.progress import PACE, THROUGHPUT, WARM_UP
from dataprune.streams import number
from dataprune.training.adversarial import attack_images
from dataprune.training.callbacks import EndAtOnce, History, KeepLast, Progress, RecordDynamics, SeedEpochs, SumImages
from dataprune.training.classifier import Classifier, Mix
from dataprune.training.heads import head_of
from dataprune.training.pace import Pace, Throughput, Waited, peak_of
from dataprune.training.parts import Parts
from dataprune.training.probe import Probe, Vectors
from dataprune.training.pruning import Pruning
from dataprune.training.recorder import Recorder
from dataprune.training.sampling import ObserveLosses, Sampling
from dataprune.training.schedules import resolution
from dataprune.training.snapshots import KeepSnapshots
from dataprune.training.statistics import reestimate
from dataprune.training.trainer import check_device, quiet_lightning, trainer_of
from dataprune.training.views import RecordViews

CONFIG = TrainConfig
EVAL_BATCH = 512
log = logging.getLogger(__name__)


def run(config: TrainConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Train (on, if the work folder has a checkpoint); returns epochs, steps, examples, parameters; images seen: those
    of the steps; images forward and backward and FLOPs: of all passes."""
    quiet_lightning()
    progress.enabled = run.progress
    if run.threads:
        torch.set_num_threads(run.threads)
    torch.manual_seed(number(config.seed, "network"))
    with feed_of(run) as feed:
        training = Training(config, inputs, work, run, label, feed)
        network = training.network()
        chosen = training.learn(network) if training.epochs else training.look(network)
    if training.rank == 0:
        save_weights(network, work / "model.pt")
        (work / "network.json").write_text(json.dumps(training.description, indent=1))
        if (kept := training.made if training.epochs else network.masks) is not None:
            masks.write(kept, work / masks.FILE)
    tally = training.tally
    facts = {
        "epochs": training.epochs,
        "steps": training.steps_taken,
        "images_seen": tally.seen,
        # of a sampler: an epoch, on average
        "examples": training.order.length if training.sampling is None else round(tally.seen / training.epochs),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    pretrained = config.model is not None and config.model.get("pretrained")
    facts |= chosen | sizes(network, blank_of(training.examples))
    return facts | tally.facts(network, training.attack) | ({"elsewhere": {}} if pretrained else {})


class Training:
    """What one training consists of, in the order in which `run` asks for it."""

    def __init__(
        self, config: TrainConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str, feed: Feed
    ) -> None:
        self.config, self.inputs, self.work, self.run_config, self.label = config, inputs, work, run, label
        self.rank, self.world = place(config.processes)
        self.made: dict[str, torch.Tensor] | None = None  # masks of a callback that prunes
        self.feed, self.device = feed, feed.device
        check_device(config, self.device, label)
        self.examples = Examples.of(inputs, "train")
        self.ids, self.weights = trained_on(inputs.get("subset"), len(self.examples))
        self.order = Order(
            self.ids, config.batch_size, config.seed, rank=self.rank, world=self.world, drop_last=config.drop_last
        )
        self.order.repeats = config.augment.repeats
        if config.buckets:
            self.order.lengths, self.order.pool = self.examples.kept.lengths("input_ids"), config.buckets
        per_epoch = self.order.steps
        self.epochs = math.ceil((config.iterations or 0) / per_epoch) if config.epochs is None else config.epochs
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
            network.head = head_of(network.head, config, self.examples.classes, self.inputs.get("init_examples"))
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

    def look(self, network: Network) -> dict[str, Any]:
        """Learn nothing; only take the statistics of batch norm anew, where the recipe says so."""
        if self.config.bn_passes:
            loader, memory_format = self._loader(network, self.order), layout(network, self.device)
            network.to(self.device)

            def epoch(number: int) -> Loader:
                loader.set_epoch(number)
                return loader

            reestimate(network, epoch, self.config.bn_passes, memory_format, self.tally)
        return {}

    def learn(self, network: Network) -> dict[str, Any]:
        """Train the network; returns what a solver tells of what it chose."""
        module, chosen = self.classifier(network), {}
        if self.config.solver is not None:
            chosen = self._solve(module, self.config.solver)
        else:
            self.fit(module)
        for pruning in [part for part in module.stateful.values() if isinstance(part, Pruning)]:
            self.made = pruning.made(network)
        self.tally.take_over(module.tally.state())
        return chosen

    def _solve(self, module: Classifier, solver: dict[str, Any]) -> dict[str, Any]:
        config, network = self.config, module.network.to(self.device)
        followed = None
        if config.eval_every:
            split = Examples(self.examples.folder, heldout_of(self.examples.splits), self.examples.pixels)
            followed = self._vectors(network, split, "heldout_features")
            followed = followed.of(measured(self.inputs.get("subset"), split))
        of_train = self._vectors(network, self.examples, "features")
        probe = Probe(module, self.work / "history.jsonl", self.epochs, followed, config.eval_every)
        weights = None if self.weights is None else torch.from_numpy(self.weights).to(self.device)
        parts = {"vectors": of_train.features, "labels": of_train.labels, "weights": weights, "order": self.order}
        return probe.solve(solver, **parts, steps=self.steps, optimizer=config.optimizer)

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
            attack=self.attack,
            choose=None if self.sampling is None else self.sampling.choose,
            mix=self._mix(network) if config.augment.mixes else None,
            smoothing=config.label_smoothing,
            decay_bias_and_norm=config.decay_bias_and_norm,
            channels_last=layout(network, self.device) == torch.channels_last,
            seed=config.seed,
            steps=self.steps,
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

    @cached_property
    def attack(self) -> Attack | None:
        """What makes the examples that it trains on instead, if anything."""
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
        peak = peak_of(self.run_config, self.device, config.precision)
        pace = Pace(self.work / PACE, self.label, self.epochs, waited, peak)
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
        callbacks += [
            SumImages(),
            KeepLast(last, until=self.epochs * bool(config.callbacks)),
            Progress(self.label, self.steps),
        ]
        if self.run_config.throughput is not None:
            callbacks.append(Throughput(self.work / THROUGHPUT, waited, peak, WARM_UP))
        if last.exists():
            module.go_on_from(torch.load(last, map_location="cpu", weights_only=True))
            feeding.go_on_after(module.epochs_done)
            log.info("%s going on after epoch %d of %d", f"{self.label:<14}", module.epochs_done, self.epochs)
        self.steps_taken = module.steps_done
        if module.epochs_done < self.epochs:
            # a sampler's epochs are counted, not their steps
            left = -1 if self.config.iterations is None else self.steps - module.steps_done
            trainer = trainer_of(config, self.device, callbacks, self.epochs - module.epochs_done, left, last.parent)
            trainer.fit(module, waited)
            self.steps_taken += trainer.global_step

    def _left_out(self, network: Network) -> Loader | None:
        """Batches of what an epoch of the sampler leaves out, where it looks at these too."""
        if self.sampling is None or not self.sampling.excludes:
            return None
        seed, size = number(self.config.seed, "excluded"), self.order.batch_size
        excluded = Order(self.ids, size, seed, rank=self.rank, world=self.world, chosen=self.sampling.excluded)
        return self._loader(network, excluded)

    def _loader(self, network: Network, order: Order) -> Loader:
        augment, weights, once = self.config.augment, self.weights, self.config.trainable == "head" and self.epochs > 0
        if once and self.config.frozen_bn and augment == AugmentConfig():
            return VectorLoader(self.examples, order, self._features(network, self.examples), weights=weights)
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

    def _vectors(self, network: Network, examples: Examples, given: str) -> Vectors:
        """The features of a split that came in under this name, or else computed here; with its labels."""
        if (folder := self.inputs.get(given)) is not None:
            features = torch.from_numpy(np.load(folder / "features.npy")).to(self.device)
        else:
            features = self._features(network, examples)
        return Vectors(examples.split, features, torch.from_numpy(examples.labels).to(self.device))

    def _features(self, network: Network, examples: Examples) -> torch.Tensor:
        """Features (n, d) of the examples, computed once: a frozen backbone gives the same ones at every step."""
        there = self.ids if examples is self.examples else np.arange(len(examples))
        passed = outputs(network, examples, there, EVAL_BATCH, self.feed, f"{self.label} features", self.tally)
        mine = (features.cpu() for features, _ in passed)
        vectors = torch.zeros(len(examples), network.head.in_features, device=self.device)
        start = 0
        for rows in ranks.in_order(mine, batches_in(there, EVAL_BATCH), everywhere=True):
            ids = torch.from_numpy(there[start : start + len(rows)]).to(self.device)
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
