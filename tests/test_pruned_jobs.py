"""Jobs that make sparse networks: keys, transfers that keep the zeros, two processes, a kill, and what is refused."""

import json
import os
import signal

import numpy as np
import pytest
import torch

from dataprune.checkpoints.masks import prunable
from dataprune.errors import ConfigError
from dataprune.models.sparsity import kept
from dataprune.passes import load_network
from dataprune.rows import best_of
from dataprune.store import Result
from tests.test_kill import digests, lines, start, wait_for

PRUNING = "dataprune.training.pruning"
KEEP = "+transfer.callbacks.keep._target_=dataprune.training.keep_masks.KeepMasks"


def gradual(role="pretrain", **constants):
    """A word that adds a ramp to 0.8 at the second epoch."""
    said = {"sparsity": 0.8, "start": 0, "end": 1, "every": 1, "first": 0.5} | constants
    words = ",".join(f"{name}:{value}" for name, value in said.items())
    return f"+{role}.callbacks.pruning={{_target_:{PRUNING}.Gradual,{words}}}"


def sizes(network):
    """Zeros and weights of the backbone."""
    weights = [w for name, w in prunable(network).items() if not name.startswith("head.")]
    return sum(int((w == 0).sum()) for w in weights), sum(w.numel() for w in weights)


def test_a_sparse_model_of_a_job_keeps_its_zeros_in_the_transfer(jobs):
    (row,) = jobs.run("method=full", gradual(), KEEP, "transfer.trainable=all")
    folder = jobs.store / "train" / row["keys"]["model"]
    made, moved = load_network(folder), load_network(jobs.store / "train" / row["keys"]["adapted"])
    zeros, total = sizes(made)
    assert zeros == total - kept(0.8, total)
    with np.load(folder / "masks.npz") as stored:
        assert [*stored] == [*prunable(made)]
        for name, weight in prunable(made).items():
            mask = torch.from_numpy(stored[name])
            assert torch.equal(weight != 0, mask)
            if not name.startswith("head."):
                assert torch.equal(moved.get_parameter(name) != 0, mask)
                assert not torch.equal(moved.get_parameter(name), weight)
    assert made.head.weight.all()


def test_without_keep_masks_a_transfer_is_dense_again(jobs):
    (row,) = jobs.run("method=full", gradual(), "transfer.trainable=all")
    zeros, total = sizes(load_network(jobs.store / "train" / row["keys"]["adapted"]))
    assert zeros < total / 100


def test_a_transfer_prunes_a_dense_model_too(jobs):
    (row,) = jobs.run("method=full", gradual("transfer"), "transfer.trainable=all")
    before, after = (load_network(jobs.store / "train" / row["keys"][role]) for role in ("model", "adapted"))
    assert sizes(before)[0] < sizes(before)[1] / 100
    assert sizes(after)[0] == sizes(after)[1] - kept(0.8, sizes(after)[1])


def test_constants_of_a_callback_are_part_of_the_key(jobs):
    words = ["method=full", "target=none"]
    rows = [
        jobs.run(*words, *more)[0]
        for more in ([], [gradual()], [gradual(sparsity=0.7)], [gradual(distribution="uniform")])
    ]
    assert len({row["keys"]["model"] for row in rows}) == 4
    assert len({row["identity"] for row in rows}) == 4
    assert jobs.run(*words, gradual())[0]["keys"]["model"] == rows[1]["keys"]["model"]


def test_the_best_epoch_is_one_at_the_final_sparsity(jobs):
    words = [gradual(start=1, end=2, first=0.4), "pretrain.epochs=4", "pretrain.eval_every=1"]
    (row,) = jobs.run("method=full", "target=none", *words)
    assert (row["best"]["source"]["of"], row["best"]["source"]["epoch"] >= 2) == (2, True)


def test_of_alternating_phases_only_the_sparse_ones_count(tmp_path):
    said = ['{"epoch": 0, "test_top1": 0.9, "sparsity": 0.0}', '{"epoch": 1, "test_top1": 0.5, "sparsity": 0.8}']
    (tmp_path / "history.jsonl").write_text("\n".join([*said, said[0].replace(": 0,", ": 2,", 1)]) + "\n")
    assert best_of(Result(tmp_path, {}, {})) == {"top1": 0.5, "epoch": 1, "of": 1, "split": "test"}


# processes and kills

JOB = [
    "method=full", "target=none", "baselines=none", "run=cpu", "run.report=false", "run.threads=1",
    "source.reader.per_class=20", "source.reader.test_per_class=2", "pretrain.batch_size=100",
    "pretrain.model.norm=group",
]  # fmt: skip
AC_DC = f"{{_target_:{PRUNING}.Alternating,sparsity:0.8,warmup:1,phase:1,last_dense:1,final_sparse:2}}"


def test_two_processes_prune_the_weights_that_one_does(tmp_path):
    rigl = "+surrogate.callbacks.rigl={_target_:dataprune.training.rigl.RigL,sparsity:0.8,every:2}"
    words = [*JOB[1:], "method=el2n", "surrogate.model.norm=group", rigl, "surrogate.batch_size=100"]
    words += [f"+pretrain.callbacks.pruning={AC_DC}", "surrogate.epochs=5", "pretrain.epochs=5"]
    found = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        job = start(folder, *words, f"surrogate.processes={count}", f"pretrain.processes={count}")
        assert job.wait(240) == 0, (folder / "log0.txt").read_text()
        (row,) = (json.loads(path.read_text()) for path in folder.glob("store/rows/*.json"))
        found.append([load_network(folder / "store/train" / row["keys"][role]) for role in ("surrogate", "model")])
    for one, two in zip(*found, strict=True):
        assert sizes(one)[0] == sizes(two)[0] > 0.75 * sizes(one)[1]
        for name, weight in prunable(one).items():
            same = ((weight != 0) == (two.get_parameter(name) != 0)).float().mean()
            assert same > 0.99, "but for what a sum in another order makes equal or not"
    for name, weight in prunable(one).items():
        torch.testing.assert_close(two.get_parameter(name), weight, atol=0.02, rtol=0.02)


def test_a_kill_between_phases_costs_nothing(tmp_path):
    phases = f"+pretrain.callbacks.pruning={AC_DC.replace('phase:1', 'phase:3')}"
    words = [*JOB, phases, "pretrain.epochs=19"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert start(whole, *words).wait(240) == 0, (whole / "log0.txt").read_text()
    job = start(cut, *words)
    wait_for(lambda: lines(cut) >= 5)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert start(cut, *words).wait(240) == 0, (cut / "log1.txt").read_text()
    assert "going on after epoch" in (cut / "log1.txt").read_text()
    assert digests(cut) == digests(whole)


# what is refused before anything is trained


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([gradual(sparsity=1.2)], r"^pretrain\.callbacks\.pruning\.sparsity=1\.2: expected a share"),
        ([gradual(end=2)], r"^pretrain\.callbacks\.pruning\.end=2: expected 0 to 1"),
        (
            [gradual("transfer"), "transfer.trainable=head"],
            r"^transfer\.trainable='head': expected all: transfer\.call",
        ),
        ([gradual("transfer"), KEEP, "transfer.trainable=all"], r"^transfer\.callbacks=pruning and keep: expected one"),
        ([gradual("surrogate", start=3), "method=forgetting"], r"^surrogate\.callbacks\.pruning\.end=1: expected 3 or"),
        (
            ["+pretrain.callbacks.pruning={_target_:dataprune.training.lottery.Lottery,sparsity:0.5,length:2}"],
            r"^pretrain\.callbacks\.pruning\.length=2: expected a first round",
        ),
        (["+pretrain.callbacks.pruning={sparsity:0.5}"], r"^pretrain\.callbacks\.pruning\._target_=None: expected the"),
    ],
)
def test_what_cannot_be_pruned_is_told_before_the_first_training(jobs, words, message):
    with pytest.raises(ConfigError, match=message):
        jobs.run("method=full", *words)
    assert not (jobs.store / "train").exists()


def test_a_checkpoint_is_not_pruned(jobs):
    (row,) = jobs.run("method=full", "target=none")
    path = jobs.store / "train" / row["keys"]["model"] / "model.pt"
    with pytest.raises(ConfigError, match=r"^pretrain\.callbacks\.pruning='Gradual': expected nothing, or no pretrain"):
        jobs.run("method=full", "target=none", gradual(), f"pretrain.checkpoint={path}")


def test_the_rate_and_the_weights_go_back_together(jobs):
    rate = "{_target_:dataprune.training.schedules.rewound,length:2,rewind:1}"
    ticket = "{_target_:dataprune.training.lottery.Lottery,sparsity:0.5,length:2,rewind:0}"
    words = [f"++pretrain.schedule={rate}", f"+pretrain.callbacks.ticket={ticket}", "pretrain.epochs=4"]
    with pytest.raises(ConfigError, match=r"^pretrain\.callbacks\.ticket\.rewind=0: expected 1, as the schedule has"):
        jobs.run("method=full", "target=none", *words)
    jobs.run("method=full", "target=none", *[word.replace("rewind:1", "rewind:0") for word in words])
