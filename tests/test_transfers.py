"""Protocols of transfer: published constants, batch norm, normalising, batch sizes, the metric; one source for all."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

import dataprune.__main__ as entry
from dataprune.checks.config import typed
from dataprune.checks.job import check_functions
from dataprune.data.order import batch_for
from dataprune.errors import ConfigError
from dataprune.models.networks import Network, cnn
from dataprune.report import lines
from tests.conftest import ROOT
from tests.report.made_up import row as made_up

CONF = entry.here("conf")
# epochs, learning rate, schedule (every: of steps; peak: of a triangle), random crops, metric (Jain et al. 2023, code)
PUBLISHED = {
    "aircraft": (24, 0.3, ("peak", 5), False, "per_class"),
    "birdsnap": (15, 0.3, ("peak", 5), True, "top1"),
    "caltech101": (24, 0.2, ("peak", 5), False, "per_class"),
    "caltech256": (14, 0.2, ("peak", 5), False, "per_class"),
    "cifar10": (15, 0.1, ("peak", 5), False, "top1"),
    "cifar100": (15, 0.1, ("peak", 5), False, "top1"),
    "flowers": (50, 0.15, ("peak", 5), False, "per_class"),
    "food": (15, 0.1, ("every", 5), False, "top1"),
    "pets": (24, 0.1, ("peak", 5), True, "per_class"),
    "stanford_cars": (50, 0.3, ("peak", 5), True, "top1"),
    "sun397": (24, 0.2, ("peak", 5), True, "top1"),
    "imagenet1k": (15, 0.01, ("every", 10), False, "top1"),
}


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path):
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))
    monkeypatch.setenv("TARGETS", str(tmp_path))


def composed(*words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(words))


def target_of(option):
    """The words that a transfer needs where its target has no option of its own."""
    there = (CONF / "target" / f"{option.removesuffix('_full')}.yaml").exists()
    return [] if there else ["target=folder", f"target.name={option.removesuffix('_full')}"]


def job_of(option, folder):
    """The typed job of a transfer, on a folder that is there."""
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / "train.parquet").touch()
    return typed(composed(f"transfer={option}", *target_of(option), f"target.path={folder / 'data'}"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_protocols_have_the_published_constants(name, tmp_path):
    epochs, lr, (kind, at), crops, metric = PUBLISHED[name]
    for full in (False, True):
        if full and name == "imagenet1k":
            assert not (CONF / "transfer" / "imagenet1k_full.yaml").exists()
            continue
        job = job_of(name + "_full" * full, tmp_path)
        check_functions(job)
        recipe = job.transfer
        assert (recipe.epochs, recipe.optimizer["lr"], recipe.batch_size) == (epochs, lr, 0)
        assert (recipe.optimizer["momentum"], recipe.optimizer["weight_decay"]) == (0.9, 5e-4)
        assert recipe.schedule["peak_epoch" if kind == "peak" else "every"] == at
        assert len(recipe.schedule) == (2 if kind == "peak" else 3)
        assert recipe.augment.flip
        assert recipe.augment.random_resized_crop == ([0.08, 1.0] if crops else None)
        assert (recipe.trainable, recipe.frozen_bn) == ("all" if full else "head", False)
        assert job.evaluate.metric == metric
        assert job.target.size == 224
        assert job.target.crop == (None if name.startswith("cifar") else 0.875)
        assert job.target.std == ([1, 1, 1] if not name.startswith("cifar") else job.target.std)


def test_every_transfer_is_in_the_table_and_in_the_sweep():
    named = {path.stem for path in (CONF / "transfer").glob("*.yaml")} - {"data_transfer"}
    assert named == {*PUBLISHED, *(f"{name}_full" for name in PUBLISHED if name != "imagenet1k")}
    template = OmegaConf.load(entry.here("multirun_templates") / "data_transfer_all.yaml")
    swept = template.hydra.sweeper.params["transfer"].replace(" ", "").split(",")
    assert sorted(swept) == sorted(named)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """IMAGENET and targets/pets: four and two classes of colours."""
    root, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for name, classes in (("imagenet", "abcd"), ("targets/folder", "xy")):
        for split, count in (("train", 4), ("val", 2)):
            for i, label in enumerate(classes):
                (root / name / split / label).mkdir(parents=True)
                for j in range(count):
                    pixels = (rng.integers(0, 80, (40, 48, 3)) + 40 * i).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(root / name / split / label / f"{j}.png")
    return root


def test_one_source_model_serves_every_target_and_both_ways(folders, tmp_path):
    words = [
        "+multirun_templates=data_transfer_all", "transfer=pets,pets_full,imagenet1k", "target=folder",
        f"source.path={folders / 'imagenet'}", "source.expect=null", "source.size=32",
        "target.expect=null", "target.size=32", "run.workers=0", "run.report=false",
        "run.progress=false", "pretrain.epochs=1", "pretrain.precision=float32", "pretrain.resolution={}",
        "pretrain.batch_size=8", "transfer.epochs=2", "run.accelerator=cpu",
    ]  # fmt: skip
    environment = {"TARGETS": str(folders / "targets"), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "dataprune", *words]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = [json.loads(path.read_text()) for path in (tmp_path / "store" / "rows").glob("*.json")]
    assert sorted((r["transfer"], r["metrics"]["target_n"]) for r in rows) == [("all", 4), ("head", 4), ("head", 8)]
    assert len({r["keys"]["model"] for r in rows}) == 1
    trained = [path.parent.name for path in (tmp_path / "store" / "train").glob("*/manifest.json")]
    assert len(trained) == 4, "the source once, and three transfers"
    assert {r["config"]["evaluate"].get("metric") for r in rows} == {"per_class", None}
    assert sorted(r["config"]["transfer"]["batch_size"] for r in rows) == [2, 2, 4]


def test_the_batch_is_a_power_of_two_of_a_quarter_at_most():
    known = {6667: 1024, 50000: 1024, 4096: 1024, 4095: 512, 3030: 512, 2040: 256, 8: 2, 7: 1, 1: 1}
    assert {n: batch_for(n) for n in known} == known


@pytest.mark.parametrize("role", ["pretrain", "surrogate"])
def test_only_a_transfer_may_leave_its_batch_to_the_rule(jobs, role):
    with pytest.raises(ConfigError, match=f"{role}.batch_size=0"):
        jobs.run(f"{role}.batch_size=0")


def test_batch_norm_of_a_frozen_backbone_adapts_where_it_may():
    network = Network(cnn(1, width=2), 3)
    network.freeze_backbone(bn=False)
    before = {k: v.clone() for k, v in network.backbone.state_dict().items()}
    network.train()
    network(image=torch.randn(4, 1, 8, 8)).sum().backward()
    moved = {k for k, v in network.backbone.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {k for k in before if "running" in k or "num_batches" in k}
    assert [n for n, p in network.named_parameters() if p.grad is not None] == ["head.weight", "head.bias"]
    assert not network.eval().backbone.training
    assert not any(module.training for module in network.modules())


def test_a_transfer_with_adapting_batch_norm_is_another_one_and_leaves_the_weights(jobs):
    (frozen,), (adapting,) = jobs.run("method=full"), jobs.run("method=full", "transfer.frozen_bn=false")
    assert frozen["keys"]["model"] == adapting["keys"]["model"]
    states = [
        torch.load(jobs.store / "train" / key / "model.pt")
        for key in (frozen["keys"]["model"], frozen["keys"]["adapted"], adapting["keys"]["adapted"])
    ]
    source, still, moved = ({k: v for k, v in state.items() if k.startswith("backbone.")} for state in states)
    assert all(torch.equal(still[k], source[k]) for k in source)
    changed = {k for k in source if not torch.equal(moved[k], source[k])}
    assert changed
    assert all("running" in k or "num_batches" in k for k in changed)
    full = [jobs.run("method=full", "transfer.trainable=all", f"transfer.frozen_bn={f}")[0] for f in ("true", "false")]
    assert full[0]["row"] == full[1]["row"], "nothing is frozen where all learns"


def test_a_target_may_be_normalised_as_the_source(jobs):
    def normalising(row):
        decoded = jobs.store / "decode" / row["keys"]["target_pixels"] / "header.json"
        return json.loads(decoded.read_text())["codec"]

    own, (row,) = jobs.run("method=full")[0], jobs.run("method=full", "target.normalise=source")
    source = json.loads((jobs.store / "decode" / row["keys"]["source_pixels"] / "header.json").read_text())["codec"]
    assert (normalising(row)["mean"], normalising(row)["std"]) == (source["mean"], source["std"])
    assert normalising(own)["mean"] != source["mean"]
    with pytest.raises(ConfigError, match=r"source\.normalise="):
        jobs.run("source.normalise=source")


def test_the_metric_of_the_job_is_what_reports_show(jobs, caplog):
    words = ["method=full", "evaluate.metric=per_class"]
    (row,) = jobs.run(*words)
    table = lines.frame([row, made_up("full", 0.25, ratio=0.0, target="digits")])
    assert set(table.accuracy) == {row["metrics"]["target_mean_class_top1"], 0.25}
    assert "have no example" not in caplog.text
    for place in ("train/x", "train/y", "test/x"):
        (jobs.folder / "few" / place).mkdir(parents=True)
        Image.fromarray(np.full((9, 9), 99, np.uint8)).save(jobs.folder / "few" / place / "a.png")
    few = ["target=folder", f"target.path={jobs.folder / 'few'}", "target.size=16", "target.channels=1"]
    jobs.run(*words, *few)
    assert "1 of 2 classes have no example, and do not count" in caplog.text
