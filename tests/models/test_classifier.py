"""Fitting: the rate of each step, which weights decay, what a loss means, and going on after a kill."""

import json
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F

from dataprune.data.examples import Examples
from dataprune.data.loaders import MemoryLoader
from dataprune.data.order import Order
from dataprune.models.networks import Network, cnn
from dataprune.models.tally import ATTACK, STEP
from dataprune.training.adversarial import attack_images
from dataprune.training.callbacks import SeedEpochs
from dataprune.training.classifier import Classifier

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's about workers and log intervals
N, CLASSES = 20, 3
IMAGE = (("image", "torch.float32", (1, 8, 8)),)  # as the tally names such inputs
CODEC = {"_target_": "dataprune.data.images.Images", "mean": [0.5], "std": [0.25]}
STEPS = 4 * 3  # of four epochs with batches of eight


@pytest.fixture
def examples(tmp_path):
    """Twenty random grey pictures of three classes, as index and decode leave them (here together)."""
    rng = np.random.default_rng(0)
    (tmp_path / "train").mkdir()
    (tmp_path / "header.json").write_text(json.dumps({"kept": True, "codec": CODEC}))
    np.save(tmp_path / "train" / "image.npy", rng.integers(0, 256, (N, 8, 8, 1), dtype=np.uint8))
    np.save(tmp_path / "train" / "labels.npy", rng.integers(0, CLASSES, N))
    return Examples(tmp_path, "train", tmp_path)


def loader_of(examples, **words):
    return MemoryLoader(examples, Order(np.arange(N), 8, seed=1), padding=1, flip=True, **words)


class Dropping(nn.Module):
    """A small network that draws while it trains."""

    def __init__(self):
        super().__init__()
        self.inner, self.num_features = cnn(1, width=4, depth=2), 8

    def forward(self, x):
        return F.dropout(self.inner(x), 0.3, self.training)


def classifier(optimizer=None, schedule=lambda step, lr: lr, backbone=Dropping, **words):
    torch.manual_seed(0)
    make = optimizer or (lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.01))
    return Classifier(Network(backbone(), CLASSES), make, schedule, **words)


def fit(module, loader, epochs, *callbacks, **words):
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=[SeedEpochs(7), *callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **words,
    )
    trainer.fit(module, loader)
    return module


class Probe(pl.Callback):
    """Calls `look(module)` after every step, or with `epochs` after every epoch, and keeps what it returns."""

    def __init__(self, look, epochs=False):
        self.look, self.epochs, self.seen = look, epochs, []

    def on_train_batch_end(self, trainer, pl_module, *rest):
        if not self.epochs:
            self.seen.append(self.look(pl_module))

    def on_train_epoch_end(self, trainer, pl_module):
        if self.epochs:
            self.seen.append(self.look(pl_module))


# learning rate and groups


def test_every_step_has_the_rate_of_the_schedule(examples):
    rates = Probe(lambda m: m.trainer.optimizers[0].param_groups[0]["lr"])
    fit(classifier(schedule=lambda step, lr: lr / (1 + step)), loader_of(examples), 2, rates)
    np.testing.assert_allclose(rates.seen, [0.1 / (1 + step) for step in range(6)])


def test_groups_keep_their_own_base_rate(examples):
    def optimizer(groups):
        groups[1]["lr"] = 1.0
        return torch.optim.SGD(groups, lr=0.1)

    rates = Probe(lambda m: [g["lr"] for g in m.trainer.optimizers[0].param_groups])
    module = classifier(optimizer, lambda step, lr: lr * 0.5**step, decay_bias_and_norm=False)
    fit(module, loader_of(examples), 1, rates)
    assert rates.seen == [[0.1, 1.0], [0.05, 0.5], [0.025, 0.25]]


def test_the_optimiser_uses_the_rate_it_was_given(examples):
    """A rate of zero at a step leaves the weights as they are."""
    weights = Probe(lambda m: m.network.head.weight.clone())
    module = classifier(lambda g: torch.optim.SGD(g, lr=0.1), lambda step, lr: 0.0 if step == 1 else lr)
    before = module.network.head.weight.clone()
    fit(module, loader_of(examples), 1, weights)
    moved = [not torch.equal(a, b) for a, b in zip([before, *weights.seen], weights.seen, strict=False)]
    assert moved == [True, False, True]


@pytest.mark.parametrize("frozen", [False, True])
def test_bias_and_norm_may_be_spared_the_decay(frozen):
    module = classifier(decay_bias_and_norm=False)
    if frozen:
        module.network.freeze_backbone()
    decaying, spared = module.configure_optimizers().param_groups
    assert decaying["weight_decay"] == 0.01
    assert spared["weight_decay"] == 0.0
    assert {p.ndim for p in decaying["params"]} == ({2} if frozen else {2, 4})
    assert {p.ndim for p in spared["params"]} == {1}
    learning = [p for p in module.network.parameters() if p.requires_grad]
    assert {id(p) for p in decaying["params"] + spared["params"]} == {id(p) for p in learning}


def test_what_the_model_names_is_spared_the_decay_too():
    named = SpeaksOfDecay()
    module = classifier(backbone=lambda: named, decay_bias_and_norm=False)
    decaying, spared = module.configure_optimizers().param_groups
    assert {id(p) for p in spared["params"]} == {id(named.table), id(module.network.head.bias)}
    assert {id(p) for p in decaying["params"]} == {id(named.weight), id(module.network.head.weight)}


class SpeaksOfDecay(torch.nn.Module):
    num_features = 2

    def __init__(self):
        super().__init__()
        self.weight, self.table = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2, 2))

    def no_weight_decay(self):
        return {"table"}


def test_by_default_everything_decays():
    module = classifier()
    (group,) = module.configure_optimizers().param_groups
    assert group["weight_decay"] == 0.01
    assert len(group["params"]) == len(list(module.network.parameters()))


# loss


def batch_of(n=4, **words):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, 1, 8, 8, generator=generator), torch.arange(n) % CLASSES
    return {"inputs": {"image": x}, "y": y, "id": torch.arange(n), "real": None, "weight": None, "scale": 1 / n} | words


def loss_of(module, batch):
    module.eval()
    module.on_train_epoch_start()
    return module.training_step(batch, 0)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_cross_entropy(smoothing):
    module, batch = classifier(smoothing=smoothing), batch_of()
    loss = loss_of(module, batch)
    expected = F.cross_entropy(module.network(**batch["inputs"]), batch["y"], label_smoothing=smoothing)
    torch.testing.assert_close(loss, expected)
    assert torch.equal(module.logits, module.network(**batch["inputs"]))
    assert not module.logits.requires_grad


def test_weights_and_scale_multiply_the_losses():
    module = classifier()
    weight, scale = torch.tensor([0.0, 1.0, 2.0, 0.5]), 0.25
    loss = loss_of(module, batch_of(weight=weight, scale=scale))
    batch = batch_of()
    each = F.cross_entropy(module.network(**batch["inputs"]), batch["y"], reduction="none")
    torch.testing.assert_close(loss, (each * weight).sum() * scale)


def test_sums_count_real_examples_alone():
    module = classifier()
    real = torch.tensor([True, True, False, True])
    loss_of(module, batch_of(real=real, weight=real.float()))
    right = module.logits.argmax(1) == batch_of()["y"]
    loss, correct, count = module.sums.tolist()
    each = F.cross_entropy(module.logits, batch_of()["y"], reduction="none")
    assert loss == pytest.approx(each[real].sum().item(), rel=1e-6)
    assert (correct, count) == (right[real].sum(), 3)


@pytest.mark.parametrize("steps", [1, 3])
def test_an_attack_counts_its_own_passes_over_the_real_examples(steps):
    attack = partial(attack_images, epsilon=0.1, steps=steps, mean=torch.zeros(1), std=torch.ones(1))
    module, real = classifier(attack=attack), torch.tensor([True, True, False, True])
    loss_of(module, batch_of(real=real, weight=real.float()))
    module.tally.settle()
    assert module.tally.counts == {(STEP, IMAGE): 3, (ATTACK, IMAGE): 3 * steps}
    facts = module.tally.facts(module.network, attack)
    assert (facts["images_forward"], facts["images_backward"]) == (3 + 3 * steps, 3 + 3 * steps)


@pytest.mark.parametrize("channels_last", [True, False])
def test_memory_layout_changes_no_result(channels_last):
    module = classifier(channels_last=channels_last)
    torch.testing.assert_close(loss_of(module, batch_of()), loss_of(classifier(), batch_of()))


# going on


def weights_of(module):
    return torch.cat([v.flatten().double() for v in module.network.state_dict().values()])


def weights_of_backbone(module):
    return torch.cat([v.flatten().double() for v in module.network.backbone.state_dict().values()])


def half_cosine(step, lr):
    """As a user may write it: the rate is a numpy number, which a checkpoint must not hold."""
    return lr * (1 + np.cos(np.pi * step / STEPS)) / 2


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_two_and_two_epochs_are_four(examples, tmp_path, kind):
    """Order, augmentation, dropout, rate, momentum and batch statistics all go on as if nothing had been."""

    def optimizer(groups):
        momentum = {"momentum": 0.9} if kind == "SGD" else {}
        return getattr(torch.optim, kind)(groups, lr=0.05, weight_decay=1e-3, **momentum)

    whole = fit(classifier(optimizer, half_cosine), loader_of(examples), 4)
    states = Probe(lambda m: torch.save(m.state(), tmp_path / "last.ckpt"), epochs=True)
    fit(classifier(optimizer, half_cosine), loader_of(examples), 2, states)

    torch.manual_seed(99)
    second, loader = classifier(optimizer, half_cosine), loader_of(examples)
    rates = Probe(lambda m: (m.epoch, m.trainer.optimizers[0].param_groups[0]["lr"]))
    second.go_on_from(torch.load(tmp_path / "last.ckpt", weights_only=True))
    loader.go_on_after(second.epochs_done)
    fit(second, loader, 2, rates)
    assert (second.epochs_done, second.steps_done) == (2, 6)
    np.testing.assert_allclose([r for _, r in rates.seen], [half_cosine(s, 0.05) for s in range(6, 12)])
    assert [e for e, _ in rates.seen] == [2, 2, 2, 3, 3, 3]
    assert torch.equal(weights_of(second), weights_of(whole))


def test_state_counts_from_the_very_first_start(examples):
    states = Probe(lambda m: m.state(), epochs=True)
    module, loader = classifier(), loader_of(examples)
    fit(module, loader, 2, states)
    assert [(s["epochs"], s["steps"]) for s in states.seen] == [(1, 3), (2, 6)]
    again, later = classifier(), Probe(lambda m: m.state(), epochs=True)
    again.go_on_from(states.seen[-1])
    fit(again, loader, 1, later)
    assert [(s["epochs"], s["steps"]) for s in later.seen] == [(3, 9)]


def test_a_frozen_backbone_goes_on_too(examples):
    """The optimiser knows the head alone, before and after."""
    first, second = classifier(), classifier()
    states = Probe(lambda m: m.state(), epochs=True)
    for module in (first, second):
        module.network.freeze_backbone()
    fit(first, loader_of(examples), 1, states)
    second.go_on_from(states.seen[0])
    fit(second, loader_of(examples), 1, states)
    assert states.seen[1]["steps"] == 6
    backbones = [weights_of_backbone(m) for m in (classifier(), first, second)]
    assert torch.equal(backbones[0], backbones[1])
    assert torch.equal(backbones[0], backbones[2])
    assert not torch.equal(first.network.head.weight, second.network.head.weight)


# clean pass


def test_a_clean_pass_is_in_eval_mode_and_training_goes_on_after_it():
    module = classifier()
    module.train()
    before = weights_of(module)
    (got,) = [logits for _, logits in module.clean_pass([batch_of()])]
    assert not got.requires_grad
    assert got.dtype == torch.float32
    assert module.training
    assert module.network.backbone.training
    assert torch.equal(weights_of(module), before), "no statistics are touched"
    module.eval()
    assert torch.equal(got, module.network(**batch_of()["inputs"]))


def test_a_clean_pass_leaves_a_frozen_backbone_in_eval_mode():
    module = classifier()
    module.network.freeze_backbone()
    module.train()
    list(module.clean_pass([batch_of()]))
    assert module.network.head.training
    assert not module.network.backbone.training


def test_a_clean_pass_takes_features_instead_of_images():
    module = classifier()
    features = torch.randn(4, 8)
    (got,) = [logits for _, logits in module.clean_pass([batch_of(inputs={"features": features})])]
    assert torch.equal(got, module.network.head(features))
