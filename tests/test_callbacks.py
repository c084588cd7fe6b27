"""What a training leaves on disk around each epoch, and that a kill in between costs nothing."""

import json

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from dataprune import progress
from dataprune.data.examples import Examples
from dataprune.data.loaders import MemoryLoader
from dataprune.data.order import Order
from dataprune.models.networks import Network, cnn
from dataprune.stages import train
from dataprune.training import callbacks
from dataprune.training.callbacks import History, KeepLast, Progress, RecordDynamics, SeedEpochs
from dataprune.training.classifier import Classifier
from dataprune.training.recorder import Recorder, quantities
from dataprune.training.views import RecordViews

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's about workers and log intervals
N, CLASSES = 20, 3
CODEC = {"_target_": "dataprune.data.images.Images", "mean": [0.5], "std": [0.25]}


@pytest.fixture
def examples(tmp_path):
    """Twenty random grey pictures of three classes in train and in test, as index and decode leave them, together."""
    rng = np.random.default_rng(0)
    (tmp_path / "header.json").write_text(json.dumps({"kept": True, "codec": CODEC}))
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        np.save(tmp_path / split / "image.npy", rng.integers(0, 256, (N, 8, 8, 1), dtype=np.uint8))
        np.save(tmp_path / split / "labels.npy", rng.integers(0, CLASSES, N))
    return Examples(tmp_path, "train", tmp_path)


def loader_of(examples, batch_size=8, **words):
    return MemoryLoader(examples, Order(np.arange(len(examples)), batch_size, seed=1, **words))


def classifier(norm="none", seed=0):
    torch.manual_seed(seed)
    network = Network(cnn(1, width=4, depth=2, norm=norm), CLASSES)
    return Classifier(network, lambda groups: torch.optim.SGD(groups, lr=0.5), lambda step, lr: lr / (1 + step))


def fit(module, loader, epochs, *callbacks, **words):
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **words,
    )
    trainer.fit(module, loader)
    return module


def logits_of(module, examples):
    """Of all examples in eval mode, after the training."""
    (out,) = [logits for _, logits in module.clean_pass(loader_of(examples, N, shuffle=False))]
    return out


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# SeedEpochs


class Draws(pl.Callback):
    """What torch draws at the first step of each epoch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.seen.append(torch.rand(()).item())


def draws(examples, epochs, seed=0, done=0):
    module, seen = classifier(), Draws()
    module.epochs_done = done
    fit(module, loader_of(examples), epochs, SeedEpochs(seed), seen)
    return seen.seen


def test_an_epoch_draws_what_it_would_have_drawn(examples):
    whole = draws(examples, 4)
    assert len(set(whole)) == 4
    assert draws(examples, 2, done=2) == whole[2:]
    assert draws(examples, 1, seed=1)[0] not in whole


# RecordDynamics


def recorded(folder, examples, forward, epochs, batch_size=N, norm="none"):
    """Train and record; the module and p_true (epochs, n)."""
    recorder = Recorder(folder, N, epochs)
    clean = loader_of(examples, 8, shuffle=False) if forward == "eval" else None
    module = fit(classifier(norm), loader_of(examples, batch_size), epochs, RecordDynamics(recorder, clean))
    return module, np.load(folder / "p_true.npy")


def p_true_of(module, examples):
    return quantities(logits_of(module, examples), torch.from_numpy(examples.labels))[0][0]


def test_the_training_forward_is_that_before_the_step(examples, tmp_path):
    """With one step an epoch and nothing random, an epoch's training forward is the clean pass after the one before."""
    _, train = recorded(tmp_path / "train-forward", examples, "train", 3)
    module, clean = recorded(tmp_path / "eval-forward", examples, "eval", 3)
    np.testing.assert_allclose(train[0], p_true_of(classifier(), examples), rtol=1e-5)
    np.testing.assert_allclose(train[1:], clean[:-1], rtol=1e-5)
    np.testing.assert_allclose(clean[-1], p_true_of(module, examples), rtol=1e-5)
    assert np.abs(train[1] - train[0]).max() > 1e-3


def test_a_clean_pass_is_in_eval_mode_between_training_epochs(examples, tmp_path):
    module, clean = recorded(tmp_path / "bn", examples, "eval", 2, batch_size=8, norm="batch")
    np.testing.assert_allclose(clean[-1], p_true_of(module, examples), rtol=1e-5)
    quiet = fit(classifier("batch"), loader_of(examples), 2)
    assert torch.equal(quiet.network.head.weight, module.network.head.weight), "it changes nothing of the training"


@pytest.mark.parametrize("batch_size", [8, N])
def test_clean_views_are_seen_before_the_step_and_change_nothing(examples, tmp_path, batch_size):
    order = Order(np.arange(N), batch_size, seed=1)
    augmented = MemoryLoader(examples, order, padding=2, flip=True)
    recorder = Recorder(tmp_path / "views", N, 2)
    module = fit(classifier("batch"), augmented, 2, RecordViews(recorder, MemoryLoader(examples, order)))
    quiet = fit(classifier("batch"), MemoryLoader(examples, order, padding=2, flip=True), 2)
    assert all(
        torch.equal(a, b) for a, b in zip(quiet.state_dict().values(), module.state_dict().values(), strict=True)
    )
    first = np.load(tmp_path / "views" / "p_true.npy")[0]
    assert not np.isnan(first).any()

    class AfterForward(pl.Callback):
        def on_before_backward(self, trainer, pl_module, loss):
            if not hasattr(self, "seen"):  # by the running statistics that hold the first batch already
                self.seen = p_true_of(pl_module, examples).numpy()

    seen = AfterForward()
    fit(classifier("batch"), MemoryLoader(examples, order, padding=2, flip=True), 1, seen)
    ids = order.epoch(0)[0][:batch_size]
    np.testing.assert_allclose(first[ids], seen.seen[ids], rtol=1e-5)


def test_dynamics_of_a_subset_leave_the_others_unseen(examples, tmp_path):
    ids = np.array([2, 3, 11])
    recorder = Recorder(tmp_path / "dynamics", N, 1)
    fit(classifier(), MemoryLoader(examples, Order(ids, 2)), 1, RecordDynamics(recorder))
    row = np.load(tmp_path / "dynamics" / "p_true.npy")[0]
    assert np.flatnonzero(~np.isnan(row)).tolist() == ids.tolist()


def test_a_diverging_training_stops_with_the_ids(examples, tmp_path):
    module = classifier()
    module.schedule = lambda step, lr: 1e30
    with pytest.raises(ValueError, match=r"^logits=NaN or inf at ids .*epoch \d was not recorded"):
        fit(module, loader_of(examples), 3, RecordDynamics(Recorder(tmp_path / "dynamics", N, 3)))


# History


def test_history_has_a_line_an_epoch(examples, tmp_path):
    path = tmp_path / "history.jsonl"
    module = fit(classifier(), loader_of(examples), 3, History(path, 3, None, 0))
    there = lines(path)
    assert [(line["epoch"], line["step"]) for line in there] == [(0, 3), (1, 6), (2, 9)]
    np.testing.assert_allclose([line["lr"] for line in there], [0.5 / 3, 0.5 / 6, 0.5 / 9])
    assert all(line.keys() == {"epoch", "step", "train_loss", "train_top1", "lr"} for line in there)
    assert module.sums[2] == N


def test_loss_and_accuracy_are_those_of_the_epoch_s_examples(examples, tmp_path):
    """One step an epoch: the first line is that of the fresh network."""
    path = tmp_path / "history.jsonl"
    fit(classifier(), loader_of(examples, N), 1, History(path, 1, None, 0))
    logits, labels = logits_of(classifier(), examples), torch.from_numpy(examples.labels)
    (line,) = lines(path)
    assert line["train_loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert line["train_top1"] == (logits.argmax(1) == labels).double().mean()


def test_held_out_accuracy_comes_every_so_many_epochs_and_at_the_end(examples, tmp_path):
    path, test = tmp_path / "history.jsonl", Examples(examples.folder, "test", examples.pixels)
    heldout = loader_of(test, 8, shuffle=False)
    module = fit(classifier(), loader_of(examples), 5, History(path, 5, heldout, 2))
    there = lines(path)
    assert [line["epoch"] for line in there if "test_top1" in line] == [1, 3, 4]
    right = logits_of(module, test).argmax(1) == torch.from_numpy(test.labels)
    assert there[-1]["test_top1"] == right.double().mean()


def test_examples_that_only_fill_up_do_not_count_as_held_out(examples):
    test = Examples(examples.folder, "test", examples.pixels)
    module = classifier()
    part = loader_of(test, 3, shuffle=False, rank=2, world=3)  # the last batch of two has nothing for it
    logits = logits_of(module, test)[2:18:3]
    right = logits.argmax(1) == torch.from_numpy(test.labels)[2:18:3]
    assert History(None, 1, part, 1)._accuracy(module, part) == right.double().mean()


def test_lines_of_epochs_that_are_repeated_are_dropped(examples, tmp_path):
    path = tmp_path / "history.jsonl"
    path.write_text('{"epoch": 0, "mine": 1}\n{"epoch": 1, "mine": 1}\n{"epoch": 2, "mine": 1}\n{"epo')
    module, loader = classifier(), loader_of(examples)
    module.epochs_done = 2
    loader.go_on_after(2)
    fit(module, loader, 2, History(path, 4, None, 0))
    assert [(line["epoch"], "mine" in line) for line in lines(path)] == [(0, True), (1, True), (2, False), (3, False)]
    assert [p.name for p in tmp_path.glob("history*")] == ["history.jsonl"]


# KeepLast


@pytest.mark.parametrize(("every_s", "expected"), [(0, 3), (1e9, 1)])
def test_the_checkpoint_is_that_of_the_last_epoch_unless_they_come_too_fast(examples, tmp_path, every_s, expected):
    module = fit(classifier(), loader_of(examples), 3, KeepLast(tmp_path / "last.ckpt", every_s))
    state = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert (state["epochs"], state["steps"]) == (expected, 3 * expected)
    assert (expected == 3) == torch.equal(state["network"]["head.weight"], module.network.head.weight)


def test_the_last_epoch_is_not_kept_where_something_is_to_be_done_at_its_end(examples, tmp_path):
    fit(classifier(), loader_of(examples), 3, KeepLast(tmp_path / "last.ckpt", 0, until=3))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epochs"] == 2


def test_an_average_is_left_behind_also_by_a_training_that_was_killed_after_its_last_epoch(jobs, monkeypatch):
    words = ["method=random", "target=none", "+pretrain.callbacks.ema._target_=dataprune.training.callbacks.EMA"]
    save, calls = train.save_weights, []

    def dies(*given):
        calls.append(given)
        raise RuntimeError("killed")

    monkeypatch.setattr(train, "save_weights", dies)
    monkeypatch.setattr(callbacks.KeepLast.__init__, "__defaults__", (0.0, 0))
    with pytest.raises(RuntimeError, match="killed"):
        jobs.run(*words)
    monkeypatch.setattr(train, "save_weights", save)
    (row,) = jobs.run(*words)
    (other,) = jobs.run(*words, f"run.store={jobs.folder / 'whole'}")
    weights = [
        torch.load(store / "train" / row["keys"]["model"] / "model.pt") for store in (jobs.store, jobs.folder / "whole")
    ]
    assert row["keys"] == other["keys"]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert calls


def test_the_checkpoint_is_whole_whenever_the_process_dies(examples, tmp_path, monkeypatch):
    path, save = tmp_path / "last.ckpt", torch.save

    def dies_in_the_second_epoch(state, part):
        if state["epochs"] == 2:
            part.write_bytes(b"half")
            raise KeyboardInterrupt
        save(state, part)

    monkeypatch.setattr(callbacks.torch, "save", dies_in_the_second_epoch)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(classifier(), loader_of(examples), 3, KeepLast(path, 0))
    assert torch.load(path, weights_only=True)["epochs"] == 1


def test_who_reads_the_checkpoint_reads_a_whole_one(examples, tmp_path):
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"the one before")
    with open(path, "rb") as reader:
        fit(classifier(), loader_of(examples), 1, KeepLast(path))
        assert reader.read() == b"the one before", "replaced, not written over"
    assert torch.load(path, weights_only=True)["epochs"] == 1


# Progress


class Bars(progress.Bar):
    """Keeps every bar that was made."""

    made: list = []  # noqa: RUF012

    def __init__(self, *args, **words):
        super().__init__(*args, **words)
        self.closed = 0
        self.made.append(self)

    def __exit__(self, *error):
        self.closed += 1
        super().__exit__(*error)


@pytest.fixture
def bars(monkeypatch):
    monkeypatch.setattr(callbacks, "Bar", Bars)
    monkeypatch.setattr(Bars, "made", [])
    return Bars.made


def test_the_bar_opens_where_the_training_stands_and_closes_at_its_end(examples, bars):
    module = classifier()
    module.steps_done = 6
    fit(module, loader_of(examples), 2, Progress("surrogate", 12))
    (bar,) = bars
    assert (bar.label, bar.first, bar.done, bar.total, bar.closed) == ("surrogate", 6, 12, 12, 1)


def test_the_bar_closes_when_the_training_fails(examples, bars):
    module = classifier()
    module.schedule = lambda step, lr: 1 / 0
    with pytest.raises(ZeroDivisionError):
        fit(module, loader_of(examples), 2, Progress("surrogate", 12))
    (bar,) = bars
    assert bar.closed == 1
