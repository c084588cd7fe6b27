"""Recipe fields that trade time for memory, or make steps faster, and leave the model what it is (up to rounding)."""

import functools
import json

import pytest
import pytorch_lightning as pl
import torch

from dataprune.errors import ConfigError
from dataprune.models.networks import build

JOB = ["method=random", "target=none", "run.threads=1", "pretrain.epochs=2", "pretrain.batch_size=8"]
TIMM = ["model@pretrain.model=timm", "pretrain.model.name=test_convnext", "source.size=32"]


def trained(jobs, *words):
    """The weights of a tiny job's model, its facts, and its history."""
    (row,) = jobs.run(*JOB, *words)
    home = jobs.store / "train" / row["keys"]["model"]
    facts = json.loads((home / "manifest.json").read_text())["facts"]
    return torch.load(home / "model.pt"), facts, row


def close(one, two):
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-4, rtol=1e-3)


def test_a_compiled_training_leaves_the_same_names_and_weights(jobs, monkeypatch):
    calls, real = [], torch.compile

    @functools.wraps(real)
    def eager(*args, **words):
        calls.append(args)
        return real(*args, **words | {"backend": "eager"})

    monkeypatch.setattr(torch, "compile", eager)
    plain, facts, row = trained(jobs)
    assert not calls
    compiled, same, other = trained(jobs, "pretrain.compile=true")
    assert len(calls) == 1
    close(plain, compiled)
    assert same == facts
    assert other["keys"]["model"] != row["keys"]["model"], "rounding may differ"
    assert other["metrics"]["source_n"] == row["metrics"]["source_n"], "it was read back and evaluated"


def test_accumulation_leaves_the_same_model_from_smaller_batches(jobs):
    words = ["pretrain.model.norm=group", "+pretrain.callbacks.sizes._target_=tests.test_memory.Sizes"]
    Sizes.seen.clear()
    whole, facts, _ = trained(jobs, *words)
    assert max(Sizes.seen) == 8
    Sizes.seen.clear()
    parts, same, _ = trained(jobs, *words, "pretrain.accumulate=4")
    assert max(Sizes.seen) == 2
    close(whole, parts)
    assert same == facts, "steps, images and FLOPs"


def test_iterations_are_steps_and_not_parts(jobs):
    words = ["pretrain.model.norm=group", "pretrain.epochs=null", "pretrain.iterations=13", "pretrain.accumulate=2"]
    _, facts, _ = trained(jobs, *words)
    assert facts["steps"] == 13
    assert facts["images_seen"] == 13 * 8


def test_checkpointing_computes_again_what_it_does_not_keep(jobs, monkeypatch):
    plain, facts, _ = trained(jobs, *TIMM)
    less, more, _ = trained(jobs, *TIMM, "pretrain.checkpointing=true")
    close(plain, less)
    forward = {name: more[name] for name in ("images_forward", "images_backward", "steps")}
    assert forward == {name: facts[name] for name in forward}
    assert 1.1 * facts["flops"] < more["flops"] < 1.4 * facts["flops"], "another forward of most of the network"


@pytest.mark.parametrize(
    "model",
    [
        {"_target_": "dataprune.models.networks.cnn"},
        {"_target_": "dataprune.models.networks.torchvision", "name": "resnet18"},
    ],
)
def test_a_network_without_checkpointing_says_so(model):
    with pytest.raises(ConfigError, match=r"^checkpointing=True: expected false: \w+ cannot do that"):
        build(model, {"kind": "image", "channels": 3, "height": 8, "width": 8}, 2).checkpoint()


def test_that_is_said_before_anything_is_trained(jobs):
    with pytest.raises(ConfigError, match=r"^pretrain\.checkpointing=True: expected false: Convolutional cannot"):
        jobs.run(*JOB, "pretrain.checkpointing=true")
    assert not list(jobs.store.glob("train/*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pretrain.accumulate=3"], r"^pretrain\.accumulate=3: expected a divisor of pretrain\.batch_size=8, shared"),
        (["pretrain.accumulate=8", "pretrain.processes=2"], r"^pretrain\.accumulate=8: expected a divisor of .* 2 pr"),
        (["method=loss_batches", "pretrain.accumulate=2"], r"^pretrain\.accumulate=2: expected 1: \w+ chooses among"),
    ],
)
def test_batches_that_do_not_come_in_such_parts_are_refused(jobs, words, said):
    with pytest.raises(ConfigError, match=said):
        jobs.run(*[word for word in JOB if not word.startswith("method") or "method" not in words[0]], *words)


class Sizes(pl.Callback):
    """Notes how many examples each call of the network has."""

    seen: list[int] = []  # noqa: RUF012

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append(len(batch["y"]))

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass
