"""Networks that are pruned while they train: exact counts at the right epochs, what the optimiser forgets, resume."""

import logging

import pytest
import pytorch_lightning as pl
import torch

from dataprune.checkpoints.masks import prunable
from dataprune.errors import ConfigError
from dataprune.models.sparsity import kept
from dataprune.training.callbacks import EMA, History, KeepLast
from dataprune.training.groups import Groups
from dataprune.training.lottery import Lottery
from dataprune.training.pruning import Alternating, Gradual, OneShot
from dataprune.training.rigl import RigL
from tests.test_callbacks import CODEC, classifier, examples, fit, lines, loader_of  # noqa: F401
from tests.test_keep_masks import OPTIMISERS, SGD, same

pytestmark = pytest.mark.filterwarnings("ignore")


def fresh(optimiser=SGD, seed=0):
    """A dense classifier with batch norm, at a steady rate: 36 and 288 weights of convolutions, 24 of the head."""
    module = classifier("batch", seed)
    module.make_optimizer = optimiser
    module.schedule = lambda at, lr: lr
    return module


def zeros_of(module):
    return {name: int((w == 0).sum()) for name, w in prunable(module.network).items()}


class Look(pl.Callback):
    """Zeros of all layers together, and momentum, at the end of each epoch; the weights at the first step of each."""

    def __init__(self):
        self.zeros, self.momenta, self.begun, self.sums = [], [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.begun.append({name: v.clone() for name, v in pl_module.network.state_dict().items()})
            states = trainer.optimizers[0].state.values()
            self.sums.append(sum(float(s["momentum_buffer"].abs().sum()) for s in states if "momentum_buffer" in s))

    def on_train_epoch_end(self, trainer, pl_module):
        self.zeros.append(sum(zeros_of(pl_module).values()))


def trained(examples, callback, epochs, *more, module=None, **words):  # noqa: F811
    look = Look()
    module = fit(module or fresh(), loader_of(examples), epochs, callback, look, *more, **words)
    return module, look


# counts


def test_a_gradual_ramp_prunes_exact_counts_at_its_epochs(examples):  # noqa: F811
    module, look = trained(examples, Gradual(0.9, start=1, end=5, every=2, first=0.3), 7)
    ramp = [0, 0.3, 0.3, 0.9 - 0.6 * 0.5**3, 0.9 - 0.6 * 0.5**3, 0.9, 0.9]
    assert look.zeros == [324 - kept(s, 324) for s in ramp]
    assert (module.network.head.weight != 0).all(), "the head stays dense"


def test_a_ramp_to_nothing_is_the_dense_training_to_the_bit(examples):  # noqa: F811
    dense = fit(fresh(), loader_of(examples), 4)
    module, look = trained(examples, Gradual(0.0, start=1, end=3, every=1, first=0.0), 4)
    same(module.network.state_dict(), dense.network.state_dict())
    assert look.zeros == [0, 0, 0, 0]


def test_the_ramp_of_str_prunes_too(examples):  # noqa: F811
    _, look = trained(examples, Gradual(0.9, start=1, end=2, ramp="str"), 4)
    assert look.zeros == [0, 0, 324 - kept(0.9 * (1 - 0.5**3), 324), 324 - kept(0.9, 324)]


def test_the_head_is_pruned_where_the_scope_says_so(examples):  # noqa: F811
    module, look = trained(examples, OneShot(0.9, scope="all"), 1)
    assert look.zeros == [348 - kept(0.9, 348)]
    assert (module.network.head.weight == 0).any()


def test_uniform_pruning_leaves_the_first_layer_and_the_head_dense(examples):  # noqa: F811
    module, _ = trained(examples, OneShot(0.7, scope="all", distribution="uniform"), 1)
    assert [*zeros_of(module).values()] == [0, 288 - kept(0.7, 288), 0]


def test_thin_layers_are_denser_with_erk(examples):  # noqa: F811
    module, _ = trained(examples, OneShot(0.5, distribution="erk"), 1)
    first, second, _ = zeros_of(module).values()
    assert first == 0
    assert abs(second - 162) <= 1, "the others share what a dense layer takes"


def test_pruning_is_by_size_and_keeps_what_was_large(examples):  # noqa: F811
    dense = torch.cat([w.detach().abs().flatten() for w in [*prunable(fresh().network).values()][:2]])
    module, look = trained(examples, OneShot(0.5), 1)
    begun = torch.cat([look.begun[0][name].flatten() for name in [*prunable(module.network)][:2]])
    assert dense[begun == 0].max() < dense[begun != 0].min()


def test_phases_alternate_and_what_comes_back_begins_at_zero_without_momentum(examples):  # noqa: F811
    # dense 0, sparse 1, dense 2, sparse 3, dense 4, sparse 5
    module, look = trained(examples, Alternating(0.8, 1, 1, 1, 1), 6)
    gone = 324 - kept(0.8, 324)
    assert look.zeros == [0, gone, 0, gone, 0, gone]
    begun = sum(int((look.begun[2][name] == 0).sum()) for name in prunable(module.network))
    assert begun == gone, "let in at zero"
    assert look.sums[2] == look.sums[4] == 0, "the optimiser begins anew"
    assert look.sums[1] > 0, "but not where it is pruned"


@pytest.mark.parametrize("optimiser", OPTIMISERS.values(), ids=OPTIMISERS)
def test_the_optimiser_forgets_what_goes(examples, optimiser):  # noqa: F811
    seen = []

    class Buffers(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if pl_module.epoch == 1 and batch_idx == 0:
                for w in [*prunable(pl_module.network).values()][:2]:
                    state = trainer.optimizers[0].state[w]
                    seen.extend((w == 0, v.clone()) for v in state.values() if v.shape == w.shape)

    trained(examples, OneShot(0.5, epoch=1), 2, Buffers(), module=fresh(optimiser))
    assert seen
    assert all(gone.any() and not value[gone].any() and value[~gone].any() for gone, value in seen)


def test_no_channel_is_emptied_and_the_log_says_how_many_were_held_open(examples, caplog):  # noqa: F811
    with caplog.at_level(logging.INFO, "dataprune"):
        module, look = trained(examples, OneShot(0.97), 1)
    assert all(w.flatten(1).any(1).all() for w in prunable(module.network).values())
    assert look.zeros == [312], "twelve channels, twelve weights"
    assert "output channels held open by their largest weight" in caplog.text


def test_a_ramp_never_lets_weights_in_again_that_came_in_as_zeros(examples):  # noqa: F811
    module = fresh()
    for weight in [*prunable(module.network).values()][:2]:
        draws = torch.rand(weight.shape, generator=torch.Generator().manual_seed(1))
        draws[:, 0, 0, 0] = 1  # no empty channel
        weight.data.masked_fill_(draws < 0.7, 0)
    gone = {name: w.detach() == 0 for name, w in prunable(module.network).items()}
    module, _ = trained(examples, Gradual(0.8, start=0, end=2, every=1, first=0.1), 3, module=module)
    assert all((w[gone[name]] == 0).all() for name, w in prunable(module.network).items())
    assert sum(zeros_of(module).values()) == 324 - kept(0.8, 324)


# lottery tickets


def test_a_ticket_is_the_early_weights_under_the_masks_of_the_trained_ones(examples):  # noqa: F811
    module, look = trained(examples, Lottery(0.75, length=3, rewind=1), 7)
    assert look.zeros == [0, 0, 0, 162, 162, 243, 243]
    early = look.begun[1]
    for epoch in (3, 5):
        for name, value in look.begun[epoch].items():
            gone = value == 0 if name in prunable(module.network) else torch.zeros_like(value, dtype=torch.bool)
            assert torch.equal(value, early[name].masked_fill(gone, 0)), f"{name} goes back"
        assert look.sums[epoch] == 0, "the optimiser begins anew"
    kept_last = early["backbone.stages.1.0.weight"][look.begun[3]["backbone.stages.1.0.weight"] != 0]
    assert kept_last.abs().min() < early["backbone.stages.1.0.weight"].abs().quantile(0.4), "not by the early weights"


# RigL


def test_rigl_moves_weights_where_the_gradient_asks_and_keeps_their_number(examples):  # noqa: F811
    masks, asked = [], []

    class Moves(pl.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):  # before RigL: dense gradients
            asked.append([w.grad.clone() for w in [*prunable(pl_module.network).values()][:2]])

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            masks.append([w.detach() != 0 for w in [*prunable(pl_module.network).values()][:2]])

    module = fresh()
    module.steps = 12
    fit(module, loader_of(examples), 4, Moves(), RigL(0.6, every=2, until=0.5))
    counts = {tuple(int(m.sum()) for m in step) for step in masks}
    assert len(counts) == 1, "as many in each layer as at the start"
    changed = [i for i in range(1, 12) if not torch.equal(masks[i][1], masks[i - 1][1])]
    assert changed == [2, 4], "every second step in the first half"
    came = masks[2][1] & ~masks[1][1]
    still_out = ~masks[2][1] & ~masks[1][1]
    assert came.any()
    assert asked[2][1][came].abs().min() >= asked[2][1][still_out].abs().max()


def test_rigl_begins_with_masks_of_its_seed_and_an_open_channel(examples):  # noqa: F811
    def first(seed):
        module = fresh()
        module.seed = seed
        fit(module, loader_of(examples), 1, RigL(0.9))
        return {name: w != 0 for name, w in prunable(module.network).items()}

    same(first(1), first(1))
    assert any(not torch.equal(a, b) for a, b in zip(first(1).values(), first(2).values(), strict=True))
    assert all(mask.flatten(1).any(1).all() for mask in first(1).values())


# groups


def test_two_of_four_input_channels_stay(examples, caplog):  # noqa: F811
    with caplog.at_level(logging.INFO, "dataprune"):
        module, _ = trained(examples, Groups(1, 4, epoch=1), 2)
    first, second, _ = prunable(module.network).values()
    assert (first != 0).all()
    assert ((second != 0).sum(1) == 1).all()
    assert "1 of each 4 input channels are kept; dense: backbone.stages.0.0.weight" in caplog.text


# resume, averages, history

KINDS = {
    "gradual": lambda: Gradual(0.9, start=1, end=4, every=1),
    "uniform": lambda: Gradual(0.8, start=1, end=3, every=1, distribution="uniform", scope="all"),
    "alternating": lambda: Alternating(0.8, 1, 1, 1, 1),
    "one shot": lambda: OneShot(0.8, 2),
    "lottery": lambda: Lottery(0.75, length=2, rewind=0),
    "rigl": lambda: RigL(0.7, every=2),
    "groups": lambda: Groups(2, 4, epoch=2),
}


@pytest.mark.parametrize("optimiser", [SGD, OPTIMISERS["adam"]], ids=["sgd", "adam"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_training_that_stopped_goes_on_to_the_same_bytes(examples, tmp_path, kind, optimiser, at):  # noqa: F811
    class Stop(pl.Callback):
        """As a kill in the middle of an epoch, when its weights have changed."""

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if pl_module.epoch == at and batch_idx == 1:
                raise KeyError("killed")

    def training(resumed=None, *more):
        module, pruning = fresh(optimiser, seed=0 if resumed is None else 9), KINDS[kind]()
        module.steps = 18
        module.stateful["callbacks.pruning"] = pruning
        loader = loader_of(examples)
        if resumed is not None:
            module.go_on_from(torch.load(resumed, weights_only=True))
            loader.go_on_after(module.epochs_done)
        left = 6 - module.epochs_done
        fit(module, loader, left, pruning, *more)
        return module, pruning

    (whole, masks), last = training(), tmp_path / "last.ckpt"
    with pytest.raises(KeyError):
        training(None, KeepLast(last, 0), Stop())
    again, masks_again = training(last)
    assert again.epochs_done == at
    same(again.network.state_dict(), whole.network.state_dict())
    same(masks_again.made(again.network), masks.made(whole.network))
    assert any(not mask.all() for mask in masks.made(whole.network).values())


@pytest.mark.parametrize("order", [1, -1])
def test_an_average_of_the_weights_is_pruned_too(examples, order):  # noqa: F811
    module = fit(fresh(), loader_of(examples), 4, *[Gradual(0.9, 1, 3, 1), EMA(0.9)][::order])
    assert sum(zeros_of(module).values()) == 324 - kept(0.9, 324)


def test_history_tells_the_sparsity_of_each_epoch(examples, tmp_path):  # noqa: F811
    path = tmp_path / "history.jsonl"
    trained(examples, Alternating(0.75, 1, 1, 1, 1), 6, History(path, 6, None, 0))
    assert [line["sparsity"] for line in lines(path)] == [0, 0.75, 0, 0.75, 0, 0.75]


# what does not fit


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gradual(1.0), r"^sparsity=1\.0: expected a share from 0 to below 1"),
        (lambda: Gradual(-0.1), r"^sparsity=-0\.1"),
        (lambda: Gradual("high"), r"^sparsity='high'"),
        (lambda: Gradual(True), r"^sparsity=True"),
        (lambda: Gradual(float("nan")), r"^sparsity=nan"),
        (lambda: Gradual(0.9, start=5, end=3), r"^end=3: expected 5 or more \(not before start=5\)"),
        (lambda: Gradual(0.5, first=0.6), r"^first=0\.6: expected at most the sparsity=0\.5"),
        (lambda: Gradual(0.5, every=0), r"^every=0"),
        (lambda: Gradual(0.5, ramp="linear"), r"^ramp='linear': expected cubic \| str"),
        (lambda: Gradual(0.5, scope="head"), r"^scope='head': expected backbone \| all"),
        (lambda: OneShot(0.5, distribution="layer"), r"^distribution='layer'"),
        (lambda: Gradual(0.9, 1, 40).events(20), r"^end=40: expected 0 to 19"),
        (lambda: Gradual(0.9, 1, 19, ramp="str").events(20), r"^end=19: expected 1 to 18"),
        (lambda: OneShot(0.9, 20).events(20), r"^epoch=20: expected 0 to 19"),
        (lambda: Alternating(0.9).events(20), r"^phase=5 \(-15 epochs are left for phases\)"),
        (lambda: Lottery(0.9, 5, 5), r"^rewind=5: expected 0 to 4"),
        (lambda: Groups(4, 4), r"^n=4: expected 1 to 3 \(fewer than m=4\)"),
        (lambda: Groups(5, 4), r"^n=5: expected 1 to 3"),
        (lambda: Groups(0, 4), r"^n=0: expected 1 to 3"),
        (lambda: RigL(0.9, drop=0), r"^drop=0: expected a share above 0"),
        (lambda: RigL(0.9, until=1.5), r"^until=1\.5"),
        (lambda: RigL(0.9, distribution="global"), r"^distribution='global': expected erk \| uniform"),
    ],
)
def test_constants_that_cannot_work_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_phases_that_do_not_fit_are_refused_before_the_first_step(examples):  # noqa: F811
    module = fresh()
    before = {name: v.clone() for name, v in module.network.state_dict().items()}
    with pytest.raises(ConfigError, match=r"^end=40"):
        fit(module, loader_of(examples), 3, Gradual(0.9))
    same(module.network.state_dict(), before)
