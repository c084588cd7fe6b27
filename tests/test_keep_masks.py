"""Zeros of a sparse network stay zeros, whatever the optimiser does; one weight that comes back is seen."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from dataprune.errors import ConfigError
from dataprune.training.callbacks import EMA, KeepLast
from dataprune.training.keep_masks import KeepMasks
from tests.test_callbacks import CODEC, classifier, examples, fit, loader_of  # noqa: F401

pytestmark = pytest.mark.filterwarnings("ignore")
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)
OPTIMISERS = {
    "sgd": SGD,
    "adam": partial(torch.optim.Adam, lr=0.01, weight_decay=0.1, amsgrad=True),
    "adamw": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.01, momentum=0.9),
}


def sparse(optimiser=SGD, seed=0):
    """A classifier with batch norm, four fifths of whose convolutions are zero."""
    module = classifier("batch", seed)
    module.make_optimizer = optimiser
    module.schedule = lambda at, lr: lr
    for i, weight in enumerate(convolutions(module).values()):
        draws = torch.rand(weight.shape, generator=torch.Generator().manual_seed(i))
        weight.data.masked_fill_(draws < 0.8, 0)
    return module


def convolutions(module):
    return {n: p for n, p in module.network.named_parameters() if p.ndim == 4}


def zeros(module):
    return {name: p.detach() == 0 for name, p in convolutions(module).items()}


def same(a, b):
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS)
@pytest.mark.parametrize(
    "words",
    [{}, {"precision": "bf16-mixed"}, {"gradient_clip_val": 0.1}, {"accumulate_grad_batches": 2}],
    ids=["plain", "bf16", "clipped", "accumulated"],
)
def test_zeros_stay_and_no_other_weight_becomes_one(examples, optimiser, words):  # noqa: F811
    module = sparse(optimiser)
    before, head = zeros(module), module.network.head.weight.detach().clone()
    norms = {n: p.detach().clone() for n, p in module.network.named_parameters() if p.ndim == 1}
    fit(module, loader_of(examples), 2, KeepMasks(), **words)
    same(zeros(module), before)
    assert (module.network.head.weight != head).all(), "the head stays dense"
    after = dict(module.network.named_parameters())
    assert any(not torch.equal(norms[n], after[n]) for n in norms if "backbone" in n), "batch norms learn"


def test_without_it_zeros_are_lost(examples):  # noqa: F811
    module = sparse()
    fit(module, loader_of(examples), 1)
    assert not any(gone.any() for gone in zeros(module).values())


def test_zeros_hold_at_every_step(examples):  # noqa: F811
    module, wanted = sparse(), zeros(sparse())

    class Look(pl.Callback):
        steps = 0

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            same(zeros(pl_module), wanted)
            self.steps += 1

    look = Look()
    fit(module, loader_of(examples), 2, look, KeepMasks())
    assert look.steps == 6


class Resurrect(pl.Callback):
    """Something that writes into one weight behind the optimiser's back."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        weight = next(iter(convolutions(pl_module).values()))
        if batch_idx == 2:
            weight.data.view(-1)[int((weight == 0).view(-1).nonzero()[0])] = 1e-30


def test_a_single_weight_that_comes_back_ends_the_training(examples):  # noqa: F811
    with pytest.raises(RuntimeError, match=r"came back: 1 in backbone\.stages"):
        fit(sparse(), loader_of(examples), 1, KeepMasks(), Resurrect())


@pytest.mark.parametrize("order", [1, -1])
def test_the_average_of_the_weights_has_the_same_zeros(examples, order):  # noqa: F811
    module = sparse()
    before = zeros(module)
    fit(module, loader_of(examples), 2, *[KeepMasks(), EMA(0.9)][::order])
    same(zeros(module), before)


def test_gradients_are_masked_before_they_are_clipped(examples):  # noqa: F811
    """The norm that is clipped is that of the sparse network: momentum of what is held stays zero."""
    module = sparse()
    gone = {id(p): p.detach() == 0 for p in convolutions(module).values()}

    class Look(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            state = trainer.optimizers[0].state
            self.momenta = [state[p]["momentum_buffer"][gone[id(p)]] for p in convolutions(pl_module).values()]

    look = Look()
    fit(module, loader_of(examples), 2, KeepMasks(), look, gradient_clip_val=0.01)
    assert look.momenta
    assert not any(momentum.any() for momentum in look.momenta)


def test_a_resumed_training_holds_the_masks_of_its_checkpoint_and_ends_with_the_same_bytes(
    examples,  # noqa: F811
    tmp_path,
):
    def training(epochs, resumed=None):
        module, keep = sparse(), KeepMasks()
        module.stateful["callbacks.keep"] = keep
        loader = loader_of(examples)
        if resumed is not None:
            for weight in convolutions(module).values():  # a fresh network has no zeros
                weight.data.fill_(1)
            module.go_on_from(torch.load(resumed, weights_only=True))
            loader.go_on_after(module.epochs_done)
        fit(module, loader, epochs, keep, KeepLast(tmp_path / f"{epochs}.ckpt", 0))
        return module

    whole = training(4)
    training(2)
    same(training(2, tmp_path / "2.ckpt").network.state_dict(), whole.network.state_dict())


def test_a_checkpoint_tells_a_weight_that_is_zero_from_one_that_is_held(examples, tmp_path):  # noqa: F811
    module, keep = sparse(), KeepMasks()
    module.stateful["keep"] = keep
    fit(module, loader_of(examples), 1, keep, KeepLast(tmp_path / "last.ckpt", 0))
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    name, mask = next(iter(state["stateful"]["keep"]["masks"].items()))
    state["network"][name].zero_()
    again, keep = sparse(), KeepMasks()
    again.stateful["keep"] = keep
    again.go_on_from(state)
    fit(again, loader_of(examples), 1, keep)
    assert torch.equal(convolutions(again)[name] != 0, mask)


def test_masks_of_an_adopted_model_win_over_the_zeros_of_its_weights(examples):  # noqa: F811
    module = sparse()
    name, weight = next(iter(convolutions(module).items()))
    mask = weight.detach() != 0
    kept_zero = int((~mask).view(-1).nonzero()[0])
    mask.view(-1)[kept_zero] = True
    module.network.masks = {name: mask}
    fit(module, loader_of(examples), 1, KeepMasks())
    assert weight.view(-1)[kept_zero] != 0
    assert torch.equal(weight != 0, mask)


def test_a_few_zeros_by_chance_are_no_mask_and_a_dense_network_is_trained_as_ever(examples):  # noqa: F811
    module = sparse(seed=1)
    for weight in convolutions(module).values():
        weight.data.fill_(0.1)
    last = list(convolutions(module).values())[-1]
    last.data.view(-1)[0] = 0
    fit(module, loader_of(examples), 1, KeepMasks())
    assert last.data.view(-1)[0] != 0


def test_another_density_than_the_claimed_one_is_refused_before_the_first_step(examples):  # noqa: F811
    module = sparse()
    before = {name: p.detach().clone() for name, p in convolutions(module).items()}
    with pytest.raises(ConfigError, match=r"^density=0\.5: expected 0\.\d+"):
        fit(module, loader_of(examples), 1, KeepMasks(density=0.5))
    same({n: p.detach() for n, p in convolutions(module).items()}, before)
