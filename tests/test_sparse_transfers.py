"""Transfers of ready networks, sparse or dense: without source data, on features that seeds share, as published."""

import json

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

import dataprune.__main__ as entry
from dataprune.checks.config import typed
from dataprune.checks.job import check_functions
from dataprune.data.codecs import compare_views
from dataprune.errors import ConfigError
from dataprune.estimate import estimate
from dataprune.models.networks import build
from dataprune.passes import load_network
from dataprune.training.schedules import multistep

CONF = entry.here("conf")
CNN = {"_target_": "dataprune.models.networks.cnn", "width": 4, "depth": 2}
READY = ["method=full", "source=none", "pretrain.model.width=4", "pretrain.model.depth=2"]
LINEAR = ["train@transfer=sparse_linear", "transfer.loader=memory"]
PUBLISHED = {  # option of the target: mean, std, rate of full finetuning, metric (sparse transfer study)
    "aircraft": ("4892 5159 5356", "2275 2200 2476", 0.01, "per_class"),
    "birdsnap": ("4856 4948 4486", "2233 2213 2586", 0.001, "top1"),
    "caltech101": ("5413 5063 4693", "3115 3090 3183", 0.001, "per_class"),
    "caltech256": ("5438 5141 4821", "3077 3044 3163", 0.001, "per_class"),
    "stanford_cars": ("4513 4354 4358", "2900 2880 2951", 0.01, "top1"),
    "cifar10": ("4914 4822 4465", "2023 1994 2010", 0.001, "top1"),
    "cifar100": ("5071 4867 4408", "2675 2565 2761", 0.001, "top1"),
    "dtd_both": ("5322 4734 4251", "2642 2530 2613", 0.001, "top1"),
    "flowers": ("5133 4148 3383", "2959 2502 2900", 0.001, "per_class"),
    "food": ("5566 4378 3193", "2589 2622 2630", 0.001, "top1"),
    "pets": ("4807 4432 3949", "2598 2537 2597", 0.001, "per_class"),
    "sun397": ("4772 4566 4168", "2556 2520 2720", 0.001, "top1"),
}


@pytest.fixture
def ready(jobs):
    """A file of a network with 7 classes, four fifths of whose second convolution are zero."""
    torch.manual_seed(0)
    network = build(CNN, {"kind": "image", "channels": 1, "height": 8, "width": 8}, 7)
    weight = network.backbone.stages[1][0].weight
    weight.data.masked_fill_(torch.rand(weight.shape) < 0.8, 0)
    torch.save(network.state_dict(), jobs.folder / "ready.pth")
    return jobs.folder / "ready.pth"


def results(jobs, stage):
    return sorted(path.parent.name for path in (jobs.store / stage).glob("*/manifest.json"))


def manifest(jobs, stage, key):
    return json.loads((jobs.store / stage / key / "manifest.json").read_text())


def test_five_seeds_of_a_ready_network_share_one_pass_over_each_split(jobs, ready):
    words = [*READY, *LINEAR, f"pretrain.checkpoint={ready}", "source.name=imagenet1k"]
    rows = [jobs.run(*words, f"seed={seed}")[0] for seed in (21, 51, 81, 111, 141)]
    assert len(results(jobs, "train")) == 5
    assert len(results(jobs, "signals")) == 2
    assert len(results(jobs, "adopt")) == 1
    assert len({row["identity"] for row in rows}) == 1
    assert len({row["metrics"]["target_loss"] for row in rows}) == 5
    (row, *_) = rows
    assert (row["source"], row["kept"], row["of"]) == ("imagenet1k", 0, 0)
    assert not any(name.startswith("source_") for name in row["metrics"])
    facts = manifest(jobs, "train", row["keys"]["adapted"])["facts"]
    assert (facts["images_forward"], facts["images_seen"]) == (0, 2 * facts["examples"])
    assert facts["flops"] > 0
    before, after = (
        load_network(jobs.store / s / row["keys"][r]) for s, r in (("adopt", "model"), ("train", "adapted"))
    )
    assert all(torch.equal(v, after.state_dict()[k]) for k, v in before.state_dict().items() if "backbone" in k)
    assert before.head.out_features == 7


def test_a_solver_gives_what_the_loop_gives_and_its_history(jobs, ready):
    words = [*READY, *LINEAR, f"pretrain.checkpoint={ready}", "transfer.batch_size=16", "transfer.epochs=4"]
    (fused,), (loop,) = jobs.run(*words), jobs.run(*words, "transfer.solver=null")
    assert fused["keys"]["adapted"] != loop["keys"]["adapted"]
    heads = [load_network(jobs.store / "train" / row["keys"]["adapted"]).head.weight for row in (fused, loop)]
    torch.testing.assert_close(*heads, rtol=1e-4, atol=1e-6)
    assert fused["metrics"]["target_top1"] == loop["metrics"]["target_top1"]
    lines = [
        [json.loads(line) for line in (jobs.store / "train" / row["keys"]["adapted"] / "history.jsonl").open()]
        for row in (fused, loop)
    ]
    assert [line.keys() for line in lines[0]] == [line.keys() for line in lines[1]]
    for ours, theirs in zip(*lines, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
    assert fused["best"] == loop["best"]


def test_features_of_another_view_or_network_are_other_ones(jobs, ready):
    words = [*READY, *LINEAR, f"pretrain.checkpoint={ready}"]
    jobs.run(*words)
    jobs.run(*words, "transfer.optimizer.lr=0.1", "transfer.optimizer.weight_decay=0")
    assert len(results(jobs, "signals")) == 2, "another recipe sees the same ones"
    jobs.run(*words, "target.mean=[0.2]", "target.std=[0.5]")
    assert len(results(jobs, "signals")) == 4
    state = torch.load(ready)
    state["backbone.stages.0.0.weight"] *= 2
    torch.save(state, ready)
    jobs.run(*words)
    assert len(results(jobs, "signals")) == 6


def test_lbfgs_needs_no_seed(jobs, ready):
    words = [*READY, "train@transfer=linear_lbfgs", "transfer.loader=memory", f"pretrain.checkpoint={ready}"]
    words = [word for word in words if "epochs" not in word]
    rows = [jobs.run(*words, "transfer.epochs=null", f"seed={seed}")[0] for seed in (0, 1)]
    assert rows[0]["metrics"] == rows[1]["metrics"]
    facts = manifest(jobs, "train", rows[0]["keys"]["adapted"])["facts"]
    assert facts["l2"] == 5e-4
    (grid,) = jobs.run(*words, "transfer.epochs=null", "transfer.solver.l2=[1e-1,1e-3]")
    assert manifest(jobs, "train", grid["keys"]["adapted"])["facts"]["l2"] in (1e-1, 1e-3)


def test_rows_say_how_dense_a_network_is_and_what_its_passes_cost(jobs, ready):
    adopted = [*READY, f"pretrain.checkpoint={ready}"]
    (row,) = jobs.run(*adopted, *LINEAR)
    first, second = torch.load(ready)["backbone.stages.0.0.weight"], torch.load(ready)["backbone.stages.1.0.weight"]
    share = second.count_nonzero().item() / second.numel()
    left = (first.numel() + share * second.numel()) / (first.numel() + second.numel())
    assert row["density"] == {side: pytest.approx(left, abs=1e-4) for side in ("source", "target")}
    of_first, of_second, of_head = (2.0 * n for n in (8 * 8 * first.numel(), 4 * 4 * second.numel(), 8 * 10))
    assert row["flops_dense"]["target"] == of_first + of_second + of_head
    assert row["flops_sparse"]["target"] == pytest.approx(of_first + share * of_second + of_head)
    full = [
        *adopted,
        "train@transfer=sparse_full",
        "transfer.loader=memory",
        "transfer.augment.random_resized_crop=null",
    ]
    (kept,), (lost,) = jobs.run(*full), jobs.run(*full, "~transfer.callbacks.keep")
    assert kept["density"]["target"] == row["density"]["target"]
    assert lost["density"] == {"source": row["density"]["source"], "target": 1.0}
    assert lost["flops_sparse"]["target"] == lost["flops_dense"]["target"] == row["flops_dense"]["target"]


def test_statistics_of_batch_norm_are_taken_anew_once_and_nothing_else_moves(jobs, ready):
    words = [*READY, *LINEAR, f"pretrain.checkpoint={ready}"]
    (still,) = jobs.run(*words)
    first, second = (jobs.run(*words, "transfer.bn_passes=2", f"seed={seed}")[0] for seed in (0, 1))
    assert first["keys"]["reestimated"] == second["keys"]["reestimated"]
    assert first["identity"] == second["identity"] != still["identity"]
    assert len(results(jobs, "signals")) == 4
    before = load_network(jobs.store / "adopt" / first["keys"]["model"])
    moved = load_network(jobs.store / "train" / first["keys"]["reestimated"])
    changed = {k for k, v in before.state_dict().items() if not torch.equal(v, moved.state_dict()[k])}
    assert changed
    assert all("running" in k or "num_batches" in k for k in changed)
    assert {k: v.equal(moved.masks[k]) for k, v in before.masks.items()} == dict.fromkeys(before.masks, True)
    adapted = load_network(jobs.store / "train" / first["keys"]["adapted"])
    body = {k: v for k, v in moved.state_dict().items() if "backbone" in k}
    assert all(torch.equal(v, adapted.state_dict()[k]) for k, v in body.items()), "and stand still from then on"
    steps = manifest(jobs, "index", first["keys"]["target"])["facts"]["train"] // 64 + 1
    assert moved.backbone.stages[0][1].num_batches_tracked == 2 * steps


def test_a_finished_network_is_measured_without_training(jobs, ready):
    (row,) = jobs.run(*READY, *LINEAR, f"pretrain.checkpoint={ready}")
    state = jobs.store / "train" / row["keys"]["adapted"] / "model.pt"
    words = [*READY, *LINEAR, "transfer.solver=null", "transfer.epochs=0", "transfer.head=reuse"]
    words = [word for word in words if word != "transfer.epochs=2"]
    (again,) = jobs.run(*words, f"pretrain.checkpoint={state}")
    assert again["metrics"]["target_top1"] == row["metrics"]["target_top1"]
    assert again["metrics"]["target_loss"] == pytest.approx(row["metrics"]["target_loss"], rel=1e-5)
    facts = manifest(jobs, "train", again["keys"]["adapted"])["facts"]
    assert (facts["steps"], facts["images_seen"]) == (0, 0)
    before = set(jobs.store.glob("*/*"))
    with pytest.raises(ConfigError, match=r"^transfer\.head=a head of 7 outputs: expected 10") as error:
        jobs.run(*words, f"pretrain.checkpoint={ready}")
    assert "\n" not in str(error.value)
    assert {p for p in jobs.store.glob("*/*") if p.is_dir()} <= before, "nothing is written"
    with pytest.raises(ConfigError, match=r"^transfer\.epochs=0: .*transfer\.head=reuse"):
        jobs.run(*words, "transfer.head=fresh", f"pretrain.checkpoint={state}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=random"], r"^method='random': expected full"),
        ([], r"^pretrain\.checkpoint=None: expected the file of a ready model, or pretrain\.epochs=0"),
        (["target=none"], r"^target=None: expected a target"),
        (["pretrain.epochs=0", "transfer.head=matched"], r"^transfer\.head='matched'"),
    ],
)
def test_without_source_data_nothing_is_asked_of_them(jobs, words, message):
    with pytest.raises(ConfigError, match=message):
        jobs.run(*READY, *words)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("transfer.trainable=all", r"^transfer\.solver='dataprune\.training\.linear\.sgd'"),
        ("transfer.augment.flip=true", r"^transfer\.augment="),
        ("transfer.clip_norm=1", r"^transfer\.clip_norm=1"),
        ("transfer.processes=2", r"^transfer\.processes=2"),
        ("+transfer.optimizer.nesterov=true", r"^transfer\.optimizer=torch\.optim\.SGD"),
        ("+transfer.solver.l2=1", r"^transfer\.solver\.l2=1"),
        ("pretrain.bn_passes=1", r"^pretrain\.bn_passes=1"),
    ],
)
def test_what_a_solver_would_ignore_is_refused(jobs, ready, word, message):
    with pytest.raises(ConfigError, match=message):
        jobs.run(*READY, *LINEAR, f"pretrain.checkpoint={ready}", word)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=random", "pretrain.epochs=0"], r"^pretrain\.epochs=0: expected 1 or more: method=random"),
        (["surrogate.epochs=0"], r"^surrogate\.epochs=0: .*nothing to record"),
    ],
)
def test_nothing_is_learned_only_where_nothing_is_asked_of_it(jobs, words, message):
    with pytest.raises(ConfigError, match=message):
        jobs.run(*words)


def test_a_frozen_network_stays_in_eval_mode_in_the_loop_too(jobs, ready):
    words = [*READY, *LINEAR, f"pretrain.checkpoint={ready}", "transfer.solver=null", "transfer.augment.flip=true"]
    (row,) = jobs.run(*words)
    adapted = load_network(jobs.store / "train" / row["keys"]["adapted"]).backbone.state_dict()
    before = load_network(jobs.store / "adopt" / row["keys"]["model"]).backbone.state_dict()
    assert all(torch.equal(value, adapted[name]) for name, value in before.items())


def test_an_estimate_builds_nothing(jobs, ready, capsys):
    estimate(jobs.config(*READY, *LINEAR, f"pretrain.checkpoint={ready}", "transfer.bn_passes=1"))
    plan = capsys.readouterr().out
    for role in ("model", "reestimated", "features.train", "features.test", "adapted", "target_result"):
        assert f" {role} " in plan
    assert "source_result" not in plan
    assert not (jobs.store / "train").exists()


def test_images_of_another_kind_than_the_networks_own_are_told_of(caplog):
    compare_views({"interpolation": "bilinear"}, {"interpolation": "bicubic", "file": "rigl.pth"}, "model")
    assert "model: rigl.pth was trained on bicubic images, these are bilinear" in caplog.text
    compare_views({"interpolation": "bicubic"}, {"interpolation": "bicubic", "file": "other.pth"}, "model")
    assert "other.pth" not in caplog.text


def test_a_network_as_its_function_makes_it_needs_neither_file_nor_training(jobs):
    (row,) = jobs.run(*READY, *LINEAR, "pretrain.epochs=0")
    assert row["density"] == {"source": 1.0, "target": 1.0}
    assert manifest(jobs, "train", row["keys"]["model"])["facts"]["steps"] == 0


def composed(*words):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed(compose("config", list(words)))


@pytest.mark.parametrize("target", [*PUBLISHED, "folder"])
@pytest.mark.parametrize("kind", ["full", "linear"])
def test_experiments_have_the_published_constants(kind, target, tmp_path, monkeypatch):
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))
    (tmp_path / "ready.pth").touch()
    words = [f"+experiment=sparse_{kind}", f"target={target}", f"target.path={tmp_path}"]
    job = composed(*words, f"pretrain.checkpoint={tmp_path / 'ready.pth'}")
    check_functions(job)
    mean, std, lr, metric = PUBLISHED.get(target, (None, None, 0.001, "top1"))
    mean, std = ("485 456 406", "229 224 225") if kind == "linear" else (mean, std)
    for found, wanted in ((job.target.mean, mean), (job.target.std, std)):
        assert found == (None if wanted is None else [float(f"0.{digits}") for digits in wanted.split()])
    recipe, lr = job.transfer, 0.01 if kind == "linear" else lr
    assert recipe.optimizer == {"_target_": "torch.optim.SGD", "lr": lr, "momentum": 0.9, "weight_decay": 5e-4}
    assert (recipe.epochs, recipe.batch_size, recipe.drop_last, recipe.decay_bias_and_norm) == (150, 64, False, True)
    constants = {k: v for k, v in recipe.schedule.items() if k != "_target_"}
    rates = [multistep(10 * epoch, 1500, 10, lr, **constants) / lr for epoch in range(150)]
    np.testing.assert_allclose(rates, [1.0] * 51 + [0.1] * 50 + [0.01] * 49)
    assert (recipe.trainable, bool(recipe.callbacks)) == (("head", False) if kind == "linear" else ("all", True))
    crops = {"linear": (None, False), "full": ([0.08, 1.0], True)}[kind]
    assert (recipe.augment.random_resized_crop, recipe.augment.flip) == crops
    assert (job.target.size, job.target.resize, job.target.crop, job.target.channels) == (224, 256, 224, 3)
    assert job.evaluate.metric == metric
