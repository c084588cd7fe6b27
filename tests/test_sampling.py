"""Samplers inside a training: what they observe and choose, what is counted, and the same bytes after a kill."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from dataprune.config import RecordConfig, RunConfig, TrainConfig
from dataprune.dynamic import Policy
from dataprune.errors import ConfigError
from dataprune.identity import identity
from dataprune.launch import code_behind
from dataprune.stages import train
from dataprune.training.callbacks import KeepLast
from dataprune.training.sampling import Sampling, gathered
from tests.golden.inputs import CNN

N, CLASSES = 46, 3
CODEC = {"_target_": "dataprune.data.images.Images", "mean": [0.5], "std": [0.25]}
INPUT = {"kind": "image", "channels": 1, "height": 8, "width": 8}
DYNAMIC = "dataprune.dynamic."
SAMPLERS = {
    "RS2": {"ratio": 0.4},
    "InfoBatch": {},
    "SeTa": {"ratio": 0.2, "groups": 3, "window": 0.5},
    "OrderDP": {"ratio": 0.5},
    "IES": {"threshold": 0.05, "average": 1},
    "ProgressiveDropout": {"threshold": 0.5},
    "RhoLoss": {"ratio": 0.5},
}
CHOOSE_INSIDE = {"ProgressiveDropout", "RhoLoss"}


@pytest.fixture
def inputs(tmp_path):
    """Random grey pictures of three classes, as index and decode leave them (here together)."""
    folder = tmp_path / "data"
    for split, seed in (("train", 0), ("test", 1)):
        rng = np.random.default_rng(seed)
        (folder / split).mkdir(parents=True)
        labels = rng.integers(0, CLASSES, N)
        images = rng.integers(0, 100, (N, 8, 8, 1)) + 50 * labels[:, None, None, None]
        np.save(folder / split / "image.npy", images.astype(np.uint8))
        np.save(folder / split / "labels.npy", labels)
    sizes = {split: {"n": N, "shape": [8, 8, 1]} for split in ("train", "test")}
    facts = {"kept": True, "codec": CODEC, "input": INPUT, "columns": {"image": {"shape": [8, 8, 1]}}}
    facts["splits"] = sizes
    (folder / "header.json").write_text(json.dumps(facts | {"fingerprints": {"train": "a", "test": "b"}}))
    (folder / "classes.json").write_text(json.dumps(["a", "b", "c"]))
    return {"examples": folder, "pixels": folder}


def recipe(name="InfoBatch", **fields):
    constants = {"_target_": DYNAMIC + name} | SAMPLERS.get(name, {})
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9}
    config = TrainConfig(model=CNN, optimizer=optimizer, epochs=6, batch_size=8, sampler=constants, seed=3)
    return replace(config, **fields)


def run(config, inputs, work):
    """Train; returns what the stage says and the weights."""
    (work / "scratch").mkdir(parents=True, exist_ok=True)
    facts = train.run(config, inputs, work, RunConfig(accelerator="cpu", progress=False), "pretrain")
    return facts, torch.load(work / "model.pt")


def history(work):
    return [json.loads(line) for line in (work / "history.jsonl").read_text().splitlines()]


class StopAfter(pl.Callback):
    """Ends the program, so to say, when an epoch is over."""

    def __init__(self, epochs):
        self.epochs = epochs

    def on_train_epoch_start(self, trainer, pl_module):
        if pl_module.epoch == self.epochs:
            raise KeyboardInterrupt


def cut_short(epochs, config, inputs, work, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(train, "Progress", lambda *_: StopAfter(epochs))
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(config, inputs, work)
    assert torch.load(work / "scratch" / "last.ckpt")["epochs"] == epochs


def keep_each_epoch(monkeypatch):
    monkeypatch.setattr(train, "KeepLast", partial(KeepLast, every_s=0.0))


@pytest.mark.parametrize("after", [1, 4])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_training_that_was_cut_short_ends_with_the_same_bytes(name, after, inputs, tmp_path, monkeypatch):
    keep_each_epoch(monkeypatch)
    config = recipe(name, eval_every=1, record=RecordConfig("train"))
    facts, whole = run(config, inputs, tmp_path / "whole")
    cut_short(after, config, inputs, tmp_path / "cut", monkeypatch)
    again, resumed = run(config, inputs, tmp_path / "cut")
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert again == facts
    assert history(tmp_path / "cut") == history(tmp_path / "whole")
    assert [line["epoch"] for line in history(tmp_path / "cut")] == list(range(6))
    assert all("test_top1" in line for line in history(tmp_path / "cut")), "every epoch is evaluated"
    for array in ("p_true", "correct"):
        np.testing.assert_array_equal(*(np.load(tmp_path / w / f"{array}.npy") for w in ("whole", "cut")))


@pytest.mark.parametrize("name", SAMPLERS)
def test_images_are_those_that_went_through(name, inputs, tmp_path):
    facts, _ = run(recipe(name, record=RecordConfig("train")), inputs, tmp_path / "work")
    passed = ~np.isnan(np.load(tmp_path / "work" / "p_true.npy"))
    assert 0 < facts["images_backward"] < 6 * N, "something is left out"
    assert facts["images_seen"] == facts["images_backward"]
    if name in CHOOSE_INSIDE:
        assert passed.all(), "a forward pass of all without gradient comes before"
        assert facts["images_forward"] == passed.sum() + facts["images_backward"]
    else:
        assert facts["images_backward"] == passed.sum()
        watched = 6 * N - passed.sum() if name == "IES" else 0
        assert facts["images_forward"] == passed.sum() + watched
    if name == "RS2":
        assert facts["images_seen"] == 6 * 28
        assert facts["examples"] == 28
        assert facts["steps"] == 6 * 4


class Told(Policy):
    """All examples; notes what it is told."""

    def observe(self, ids, losses):
        TOLD.append((self.now, ids.copy(), losses.copy()))
        super().observe(ids, losses)


TOLD: list = []


def test_a_sampler_hears_the_loss_of_each_example_once_an_epoch_by_its_place_in_the_subset(inputs, tmp_path):
    subset = tmp_path / "subset"
    subset.mkdir()
    ids = np.array([2, 3, 5, 8, 13, 21, 34, 40, 41, 42, 45])
    np.save(subset / "ids.npy", ids)
    TOLD.clear()
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.0}
    spec = {"_target_": f"{__name__}.Told"}
    config = recipe(sampler=spec, epochs=2, optimizer=optimizer, record=RecordConfig("train"), label_smoothing=0.0)
    run(config, inputs | {"subset": subset}, tmp_path / "work")
    assert [epoch for epoch, *_ in TOLD] == [0, 1]
    p_true = np.load(tmp_path / "work" / "p_true.npy")
    for epoch, places, losses in TOLD:
        assert places.tolist() == list(range(len(ids)))
        np.testing.assert_allclose(losses, -np.log(p_true[epoch, ids]), rtol=1e-4)


def test_weights_of_a_sampler_and_of_a_subset_multiply(inputs, tmp_path):
    """With a learning rate of 0 the epoch's loss is the weighted mean of fixed losses."""
    subset = tmp_path / "subset"
    subset.mkdir()
    np.save(subset / "ids.npy", np.arange(N))
    np.save(subset / "weights.npy", np.linspace(0.5, 1.5, N, dtype=np.float32))
    still = recipe(optimizer={"_target_": "torch.optim.SGD", "lr": 0.0}, model=CNN | {"norm": "group"}, epochs=8)
    run(replace(still, record=RecordConfig("train")), inputs | {"subset": subset}, tmp_path / "work")
    losses = -np.log(np.load(tmp_path / "work" / "p_true.npy"))
    weights = np.linspace(0.5, 1.5, N)
    weights /= weights.mean()
    lines = history(tmp_path / "work")
    assert lines[0]["train_loss"] == pytest.approx(np.mean(weights * losses[0]), rel=1e-4)
    there = ~np.isnan(losses[1])
    known = losses[0] < losses[0].mean()
    assert there.sum() < N
    again = np.where(known, 2.0, 1.0) * weights
    assert lines[1]["train_loss"] == pytest.approx(np.mean((again * losses[1])[there]), rel=1e-4)


def test_nothing_chosen_is_a_step_of_no_gradient(inputs, tmp_path):
    sure = {"_target_": DYNAMIC + "ProgressiveDropout", "threshold": 1e-9, "revision": 0}
    plain = {"_target_": "torch.optim.SGD", "lr": 0.5}
    config = recipe(sampler=sure, optimizer=plain, epochs=1, model=CNN | {"norm": "group"})
    facts, after = run(config, inputs, tmp_path / "work")
    before = run(replace(config, optimizer=plain | {"lr": 0.0}), inputs, tmp_path / "still")[1]
    assert facts["images_backward"] == 0
    assert all(torch.equal(after[key], before[key]) for key in after)


def test_a_sampler_that_gives_nothing_or_too_much_is_refused():
    ids = np.arange(4)
    for kind, count in (("Nothing", 0), ("TooMuch", 5)):
        sampling = Sampling({"_target_": f"{__name__}.{kind}"}, ids, 2, 0)
        with pytest.raises(ConfigError, match=rf"^sampler={count} examples in epoch 1: expected 1 to 4"):
            sampling.epoch(1)


class Nothing:
    def epoch(self, epoch):
        return np.empty(0, np.int64), None


class TooMuch:
    def epoch(self, epoch):
        return np.zeros(5, np.int64), None


def test_shares_are_gathered_as_they_are_in_one_process():
    columns = torch.tensor([3, 9]), torch.tensor([0.5, 2.0])
    np.testing.assert_array_equal(gathered(*columns, real=None), [[[3, 9], [0.5, 2.0], [1, 1]]])
    np.testing.assert_array_equal(gathered(*columns, real=torch.tensor([True, False]))[0, 2], [1, 0])


class Counting(pl.Callback):
    """A user's callback with a state: doubles the loss it has seen."""

    def __init__(self, every=1):
        self.every, self.steps = every, 0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps += self.every
        if trainer.is_last_batch:
            COUNTED.append(self.steps)

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


COUNTED: list = []


def test_a_callback_by_target_is_called_and_its_state_goes_on(inputs, tmp_path, monkeypatch):
    keep_each_epoch(monkeypatch)
    config = recipe(sampler={}, epochs=4, callbacks={"counting": {"_target_": f"{__name__}.Counting", "every": 2}})
    COUNTED.clear()
    cut_short(2, config, inputs, tmp_path / "work", monkeypatch)
    run(config, inputs, tmp_path / "work")
    assert COUNTED == [12, 24, 36, 48]


def test_a_sampler_without_a_ratio_stands_beside_full_and_is_trained_once_for_all_ratios(jobs):
    (row,) = jobs.run("method=infobatch", "target=none", "prune_ratio=0.3")
    (again,) = jobs.run("method=infobatch", "target=none", "prune_ratio=0.7")
    assert row["prune_ratio"] == 0
    assert row["row"] == again["row"]
    assert row["config"]["method"]["sampler"] == {"_target_": "dataprune.dynamic.InfoBatch"}


@pytest.mark.parametrize("counted", [["pretrain.epochs=4"], ["pretrain.epochs=null", "pretrain.iterations=48"]])
def test_methods_that_cost_less_cost_as_much_less_whether_epochs_or_iterations_are_counted(jobs, counted):
    """372 examples, in batches of 32 twelve steps an epoch: four epochs either way."""
    words = ["target=none", "prune_ratio=0.75", "pretrain.batch_size=32", *counted]
    seen = {m: jobs.run(f"method={m}", *words)[0]["cost"]["images_seen"] for m in ("full", "short_full", "rs2")}
    assert seen["full"] == pytest.approx(4 * 372, abs=32)
    assert seen["rs2"] == 4 * 93
    assert seen["short_full"] == pytest.approx(4 * 93, abs=32)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=full", "method.trains_on=dynamic"], r"^method\.sampler\._target_=None: expected the dotted path"),
        (["method=infobatch", "+method.sampler.ratio=1.5"], r"^method\.sampler\.ratio=1\.5: expected a fraction"),
        (
            ["method=infobatch", "+method.sampler.n=5"],
            r"^method\.sampler\.n=5: expected nothing: the training fills it",
        ),
        (["method=rs2", "+method.sampler.part=1"], r"^method\.sampler\.part=1: expected one of the constants"),
        (["method=rs2", f"+pretrain.sampler._target_={DYNAMIC}IES"], r"^pretrain\.sampler=.*expected \{\}: method=rs2"),
        (
            ["method=random", f"+method.sampler._target_={DYNAMIC}RS2"],
            r"^method\.sampler=.*expected none, or trains_on",
        ),
        (
            ["pretrain.epochs=null", "pretrain.iterations=9", f"+pretrain.sampler._target_={DYNAMIC}IES"],
            r"^pretrain\.iterations=9: expected null, and pretrain\.epochs instead",
        ),
        (
            [f"+pretrain.sampler._target_={DYNAMIC}IES", "+pretrain.sampler.threshold=-1"],
            r"^pretrain\.sampler\.threshold=-1: expected a number of 0 or more",
        ),
        (["+pretrain.callbacks.mine._target_=no.such.Callback"], r"^pretrain\.callbacks\.mine\._target_='no\.such"),
    ],
)
def test_a_sampler_that_cannot_be_is_told_before_anything_is_trained(jobs, words, message):
    with pytest.raises(ConfigError, match=message):
        jobs.run("target=none", *words)
    assert not list(jobs.store.glob("train/*"))


def test_the_code_of_a_user_s_sampler_and_callback_is_part_of_the_model(jobs):
    config = recipe(sampler={"_target_": f"{__name__}.Told"}, callbacks={"a": {"_target_": f"{__name__}.Counting"}})
    assert code_behind("train", identity(config)).keys() == {f"{__name__}.Told", f"{__name__}.Counting"}


def test_the_average_of_the_weights_is_left_behind_and_goes_on(inputs, tmp_path, monkeypatch):
    keep_each_epoch(monkeypatch)
    ema = {"_target_": "dataprune.training.callbacks.EMA", "decay": 0.9}
    config = recipe(sampler={}, epochs=3, callbacks={"ema": ema, "weights": {"_target_": f"{__name__}.Weights"}})
    WEIGHTS.clear()
    whole = run(config, inputs, tmp_path / "whole")[1]
    average = WEIGHTS[0]  # torch begins with the weights after the first step
    for weights in WEIGHTS[1:]:
        average = 0.9 * average + 0.1 * weights
    torch.testing.assert_close(whole["head.weight"], average)
    assert not torch.equal(average, WEIGHTS[-1])
    cut_short(2, config, inputs, tmp_path / "cut", monkeypatch)
    resumed = run(config, inputs, tmp_path / "cut")[1]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


class Weights(pl.Callback):
    """Notes the head's weights after each step."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        WEIGHTS.append(pl_module.network.head.weight.detach().clone())


WEIGHTS: list = []
