"""`run.throughput=N` times steps of the real training, prints their pace, and leaves no result of it."""

import pytest

from dataprune.errors import ConfigError
from dataprune.throughput import throughput, timed

JOB = ["method=random", "target=none", "run.threads=1", "run.throughput=30"]


def said(jobs, capsys, *words):
    throughput(jobs.config(*JOB, *words))
    return capsys.readouterr().out


def test_the_pace_is_printed_and_nothing_of_it_is_kept(jobs, capsys):
    out = said(jobs, capsys, "run.peak_flops=1e9", "pretrain.batch_size=100", "run.accelerator=cpu")
    assert ", 1 process, batches of 100, 30 steps after 20: " in out
    assert "images/s, waits for input " in out
    assert "MFU " in out
    assert {path.name for path in jobs.store.iterdir()} >= {"index", "decode"}
    assert not {path.name for path in jobs.store.iterdir()} & {"train", "rows", "select", "evaluate"}
    assert not list(jobs.store.glob(".throughput*"))
    assert not list(jobs.store.glob("work/*"))


def test_a_method_s_sampler_is_part_of_what_is_timed(jobs, capsys):
    # a fifth of the epoch: ten steps
    assert "30 steps after 20: " in said(jobs, capsys, "method=rs2", "prune_ratio=0.8", "pretrain.batch_size=8")
    config = jobs.config(*JOB)
    assert timed(config.pretrain, 30).iterations == 50


def test_passes_after_an_epoch_are_not_timed_and_what_is_recorded_in_a_step_is(jobs):
    for forward, timed_too in (("eval", "none"), ("train", "train")):
        config = jobs.config(*JOB, f"pretrain.record.forward={forward}", "pretrain.eval_every=1")
        recipe = timed(config.pretrain, 30)
        assert (recipe.record.forward, recipe.eval_every) == (timed_too, 0)


def test_a_job_that_pretrains_nothing_has_nothing_to_time(jobs):
    with pytest.raises(ConfigError, match=r"^run\.throughput=30: expected null, or a job that pretrains"):
        throughput(
            jobs.config(*[word for word in JOB if word not in ("target=none", "method=random")], "method=scratch")
        )


def test_the_command_line_times_and_files_no_row(jobs):
    done = jobs.command(*JOB, "source.reader.per_class=6", "pretrain.model.width=4", f"run.store={jobs.store}")
    assert "steps after 20: " in done.stdout
    assert not (jobs.store / "rows").exists()


def test_the_decoder_that_workers_use_is_the_one_that_is_timed(jobs, capsys):
    words = ["pretrain.loader=workers", "pretrain.decoder=torchvision", "run.workers=0", "pretrain.batch_size=100"]
    assert "30 steps after 20: " in said(jobs, capsys, *words)
