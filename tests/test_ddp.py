"""Two real processes (gloo) on the CPU: the same numbers as one but for batch norm, and never taken for one."""

import json
import os
import signal
import subprocess
import time

import numpy as np
import pytest
import torch

from dataprune.errors import ConfigError
from tests.test_kill import digests, start, wait_for

JOB = [
    "method=forgetting", "target=none", "baselines=none", "run=cpu", "run.report=false",
    "source.reader.per_class=10", "source.reader.test_per_class=2",
    "surrogate.epochs=3", "pretrain.epochs=2", "surrogate.batch_size=100",
]  # fmt: skip
# without batch norm, whose statistics are each process's own, two processes train the model of one
GROUP_NORM = [*JOB, "surrogate.model.norm=group", "pretrain.model.norm=group"]


def processes(count):
    return [f"surrogate.processes={count}", f"pretrain.processes={count}"]


def dynamics(folder):
    (path,) = (p.parent for p in folder.glob("store/train/*/dynamics.json"))
    unseen = json.loads((path / "dynamics.json").read_text())["unseen"]
    return {name: np.load(path / f"{name}.npy") for name in ("p_true", "margin", "error", "correct")}, unseen


def images(folder):
    (path,) = (p.parent for p in folder.glob("store/train/*/dynamics.json"))
    facts = json.loads((path / "manifest.json").read_text())["facts"]
    return {name: facts[name] for name in ("images_seen", "images_forward", "images_backward", "flops")}


@pytest.mark.parametrize("forward", ["train", "eval"])
def test_two_processes_record_each_example_once_and_as_one_process_does(tmp_path, forward):
    words = [*GROUP_NORM, f"surrogate.record.forward={forward}"]
    folders = {count: tmp_path / str(count) for count in (1, 2)}
    for count, folder in folders.items():
        folder.mkdir()
        # 620 examples in batches of 100: the last batch has 20; in eval passes of 512 it has 108
        assert start(folder, *words, *processes(count)).wait(240) == 0, (folder / "log0.txt").read_text()
    assert images(folders[1]) == images(folders[2])
    assert images(folders[1])["images_forward"] == 620 * 3 * (2 if forward == "eval" else 1)
    (one, unseen_one), (two, unseen_two) = dynamics(folders[1]), dynamics(folders[2])
    assert unseen_one == unseen_two == {"0": 0, "1": 0, "2": 0}
    for name in one:
        # the gradient is summed in another order, so the last digits of the weights differ (in float64 by 3e-17)
        np.testing.assert_allclose(two[name].astype(float), one[name].astype(float), atol=2e-4, err_msg=name)


def test_with_batch_norm_two_processes_are_another_model_and_a_store_keeps_both(tmp_path):
    words = ["surrogate.processes=2,1", "pretrain.processes=${surrogate.processes}"]
    sweep = start(tmp_path, "-m", *JOB, *words)
    assert sweep.wait(240) == 0, (tmp_path / "log0.txt").read_text()
    rows = [json.loads(p.read_text()) for p in tmp_path.glob("store/rows/*.json")]
    assert sorted(row["config"]["pretrain"].get("processes", 1) for row in rows) == [1, 2]
    for role in ("surrogate", "model"):
        folders = [tmp_path / "store" / "train" / row["keys"][role] for row in rows]
        one, two = (torch.load(folder / "model.pt") for folder in folders)
        assert not all(torch.equal(one[name], two[name]) for name in one), "nor are they the same numbers"
    assert len(list(tmp_path.glob("store/train/*"))) == 4


def test_workers_end_with_their_driver_and_the_next_run_goes_on(tmp_path):
    words = [*JOB, *processes(2), "surrogate.epochs=400"]
    job = start(tmp_path, *words)
    wait_for(lambda: list(tmp_path.glob("store/work/train-*/scratch/last.ckpt")))
    os.kill(job.pid, signal.SIGKILL)  # the driver alone, not its group
    job.wait()
    workers = lambda: subprocess.run(["pgrep", "-f", f"dataprune.launch {tmp_path}"], capture_output=True).stdout  # noqa: E731
    end = time.monotonic() + 30
    while workers() and time.monotonic() < end:
        time.sleep(0.2)
    assert not workers(), "a killed driver must free its devices"
    again = start(tmp_path, *words, "surrogate.epochs=400")
    wait_for(lambda: "going on after epoch" in (tmp_path / "log1.txt").read_text())
    os.killpg(again.pid, signal.SIGTERM)
    again.wait(60)
    end = time.monotonic() + 30
    while workers() and time.monotonic() < end:
        time.sleep(0.2)
    assert not workers(), "nor may torchrun stay behind"


def test_the_batch_size_is_global_and_must_divide(jobs):
    from dataprune.data.order import Order

    with pytest.raises(ConfigError, match=r"batch_size=101: expected a multiple of processes=2"):
        Order(np.arange(500), 101, world=2)


def trained(folder):
    """What the one training of a job says, and its weights."""
    (path,) = (p.parent for p in folder.glob("store/train/*/model.pt"))
    return json.loads((path / "manifest.json").read_text())["facts"], torch.load(path / "model.pt")


SAMPLED = [
    "target=none", "baselines=none", "run=cpu", "run.report=false", "run.threads=1", "pretrain.model.norm=group",
    "source.reader.per_class=10", "source.reader.test_per_class=2", "pretrain.batch_size=100", "pretrain.epochs=6",
]  # fmt: skip


@pytest.mark.parametrize("method", ["infobatch", "loss_batches"])
def test_two_processes_choose_what_one_does(tmp_path, method):
    folders = {count: tmp_path / str(count) for count in (1, 2)}
    for count, folder in folders.items():
        folder.mkdir()
        job = start(folder, *SAMPLED, f"method={method}", f"pretrain.processes={count}")
        assert job.wait(240) == 0, (folder / "log0.txt").read_text()
    (one, weights_one), (two, weights_two) = trained(folders[1]), trained(folders[2])
    assert 0 < one["images_backward"] < 620 * 6
    assert two["images_forward"] == pytest.approx(one["images_forward"], rel=0.01), "a loss may fall on the other side"
    assert two["images_backward"] == pytest.approx(one["images_backward"], rel=0.01)
    for name in weights_one:
        torch.testing.assert_close(weights_two[name], weights_one[name], atol=0.02, rtol=0.02)


def test_two_processes_with_a_sampler_go_on_after_a_kill_with_the_same_bytes(tmp_path):
    words = [*SAMPLED, "method=infobatch", "pretrain.processes=2", "pretrain.epochs=60"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert start(whole, *words).wait(240) == 0, (whole / "log0.txt").read_text()
    job = start(cut, *words)
    wait_for(lambda: list(cut.glob("store/work/train-*/scratch/last.ckpt")))
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert start(cut, *words).wait(240) == 0, (cut / "log1.txt").read_text()
    assert "going on after epoch" in (cut / "log1.txt").read_text()
    assert digests(cut) == digests(whole)
