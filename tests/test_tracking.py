"""What a job tells: a CSV always, W&B offline when asked, one run a job."""

import csv
import json
import subprocess
import sys

from dataprune.tracking import Tracker
from tests.conftest import TINY


def test_every_epoch_is_in_the_csv(jobs):
    cfg = jobs.config("method=forgetting")
    with Tracker(cfg, jobs.folder, "sweep") as tracker:
        tracker.finish(jobs.run("method=forgetting", "baselines=standard", follow=tracker.follow))
    with open(jobs.folder / "history.csv") as file:
        lines = list(csv.DictReader(file))
    assert [line["epoch"] for line in lines if line["role"] == "surrogate"] == ["0", "1", "2"]
    assert [line["epoch"] for line in lines if line["role"] == "full.model"] == ["0", "1"]
    assert all(0 <= float(line["train_top1"]) <= 1 for line in lines)


def test_a_found_training_is_told_again(jobs):
    jobs.run("method=full")
    told = []
    jobs.run("method=full", follow=lambda role, line: told.append((role, line["epoch"])))
    assert told == [("model", 0), ("model", 1), ("adapted", 0), ("adapted", 1)]


def inspected(path):
    ran = subprocess.run(
        [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", str(path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(ran.stdout)


def test_wandb_offline_gets_a_run_for_each_job_and_one_for_the_report(jobs):
    jobs.command(
        "-m", *TINY, "method=random,full", "run.logger=wandb", "run.wandb.tags=[mine]", "name=trial", timeout=240
    )
    runs = [inspected(p) for p in sorted(jobs.folder.rglob("*.wandb"))]
    by_name = {run["name"]: run for run in runs}
    rows = {row["method"]: row for p in jobs.folder.rglob("rows.json") for row in json.loads(p.read_text())}
    names = {f"{m} {ratio} seed 0 {rows[m]['identity'][:6]}": m for m, ratio in (("random", "0.5"), ("full", "0"))}
    assert set(by_name) == {*names, "trial report"}
    for name, method in names.items():
        job, row = by_name[name], rows[method]
        assert job["state"] == "finished"
        assert job["config"]["method"]["name"] == method
        assert job["config"]["identity"] == job["summary"]["identity"] == row["identity"]
        assert job["config"]["seeds"] == row["seeds"]
        assert job["summary"]["method"] == method
        assert job["summary"]["target_top1"] == row["metrics"]["target_top1"]
        assert job["summary"]["device_s"] == row["cost"]["device_s"]
        assert job["summary"]["model/epoch"] == 1
    assert rows["random"]["cost"]["images_seen"] == 372
    pictures = [name for name in by_name["trial report"]["summary"] if name.startswith("report/accuracy")]
    assert len(pictures) == 2


class Told:
    """What a W&B run is told."""

    def __init__(self):
        self.metrics, self.logged, self.summary, self.config, self.tags, self.name = {}, [], {}, {}, (), ""

    def define_metric(self, name, **words):
        self.metrics[name] = words

    def log(self, values):
        self.logged.append(values)

    def finish(self, exit_code):
        pass


def test_baselines_have_curves_and_figures_of_their_own_in_wandb(jobs):
    words = ["method=random", "baselines=standard", "pretrain.eval_every=1", "target=none"]
    with Tracker(jobs.config(*words), jobs.folder, "sweep") as tracker:
        tracker.wandb = Told()
        rows = jobs.run(*words, follow=tracker.follow)
        tracker.finish(rows)
        told = tracker.wandb
    whole = next(row for row in rows if row["experiment"] == "full")
    assert rows[0]["experiment"] == "method"
    assert told.metrics["model/*"] == {"step_metric": "model/epoch"}
    assert told.metrics["full.model/*"] == {"step_metric": "full.model/epoch"}
    assert [line["full.model/epoch"] for line in told.logged if "full.model/epoch" in line] == [0, 1]
    assert told.summary["method"] == "random"
    assert told.summary["source_top1"] == rows[0]["metrics"]["source_top1"]
    assert told.summary["full/source_top1"] == whole["metrics"]["source_top1"]
    assert told.summary["full/source_best_test_top1"] == whole["best"]["source"]["top1"]


def test_a_row_says_which_epoch_was_best_and_that_the_test_split_has_said_so(jobs):
    (row,) = jobs.run("method=random", "pretrain.epochs=4", "pretrain.eval_every=1")
    home = jobs.store / "train" / row["keys"]["model"]
    curve = [json.loads(line)["test_top1"] for line in (home / "history.jsonl").read_text().splitlines()]
    best = {"top1": max(curve), "epoch": curve.index(max(curve)), "of": 4, "split": "test"}
    assert row["best"] == {"source": best}, "the transfer has no curve"
    assert row["metrics"]["source_top1"] == curve[-1], "what counts is the last epoch's"
