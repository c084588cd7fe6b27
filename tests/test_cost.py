"""The ledger: every role in one figure, every result once, what nobody has measured unknown and never 0."""

import json
from pathlib import Path

import numpy as np
import pytest

from dataprune import pipeline
from dataprune.cost import FIGURES, TOLD, as_told, cost, figure_of, spent, told_of
from dataprune.errors import ConfigError
from dataprune.store import Result, load

NETWORK = {"images_forward": 10, "images_backward": 4, "flops": 100.0}


def result(stage, key="a", seconds=1.0, device_s=None, **facts):
    manifest = {"seconds": seconds, "facts": facts} | ({} if device_s is None else {"device_s": device_s})
    return Result(Path("store") / stage / key, {"stage": stage}, manifest)


def train(key="a", seconds=1.0, device_s=None, **facts):
    return result("train", key, seconds, device_s, **NETWORK, images_seen=4, **facts)


# roles


def test_a_role_that_is_in_no_figure_is_an_error():
    with pytest.raises(ValueError, match=r"role 'distilled\.run1' is in no figure"):
        cost({"distilled.run1": train()}, set())


@pytest.mark.parametrize(
    ("role", "figure"),
    [
        ("source_pixels", "data_s"),
        ("target.pets", "data_s"),
        ("others.pets", "data_s"),
        ("target_pixels.pets", "data_s"),
        ("dynamics", "surrogate_s"),
        ("surrogate.run2", "surrogate_s"),
        ("heldout.run1", "signals_s"),
        ("target_signals.pets", "signals_s"),
        ("scores.run1", "score_s"),
        ("order", "select_s"),
        ("source_result", "evaluate_s"),
    ],
)
def test_a_role_counts_in_the_figure_of_its_stem(role, figure):
    ledger = cost({role: train(seconds=2.0)}, set())
    assert figure_of(role) == figure
    assert {name for name in set(FIGURES.values()) if ledger[name]} == {figure}
    assert ledger[figure] == ledger["total_s"] == ledger["device_s"] == 2.0


READER = """
import numpy as np
from dataprune.data.examples import Dataset, Split

def read():
    rng = np.random.default_rng(0)
    splits = {name: np.arange(n) % 3 for name, n in (("train", 24), ("validation", 12), ("test", 6))}
    images = {name: rng.integers(0, 256, (len(y), 8, 8, 1), dtype=np.uint8) for name, y in splits.items()}
    return Dataset(["a", "b", "c"], {name: Split(images[name], y) for name, y in splits.items()})
"""


def results_of(jobs, row):
    return {role: load(next(jobs.store.glob(f"*/{key}"))) for role, key in row["keys"].items()}


def test_every_stage_behind_a_number_is_in_the_totals(jobs, monkeypatch):
    """DRoP's pass over the validation split too, and the data, and the measuring."""
    (jobs.folder / "their_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(jobs.folder)
    cfg = jobs.config("method=drop", "target=none", "surrogate.epochs=2", "pretrain.epochs=1")
    cfg.source.reader = {"_target_": "their_reader.read"}
    (row,) = pipeline.job(cfg)
    ledger, results = row["cost"], results_of(jobs, row)
    assert {"source", "surrogate", "heldout", "subset", "model", "source_result"} <= results.keys()
    assert ledger["total_s"] == pytest.approx(sum(r.seconds for r in results.values()), abs=2e-3)
    assert ledger["total_s"] == pytest.approx(sum(ledger[name] for name in set(FIGURES.values())), abs=5e-3)
    assert ledger["device_s"] == pytest.approx(sum(r.device_s for r in results.values()), abs=2e-3)
    assert ledger["signals_s"] == pytest.approx(results["heldout"].seconds, abs=2e-3)
    assert results["heldout"].facts["images_forward"] == 12
    trained = 24 * 2 + 12
    assert ledger["images_backward"] == trained
    assert ledger["images_forward"] == trained + 12 + 6, "and the validation and the test split once each"
    per_image = results["source_result"].facts["flops"] / 6
    assert ledger["flops"] == pytest.approx(sum(r.facts.get("flops", 0) for r in results.values()))
    assert ledger["flops"] > (trained * 2.5 + 18) * per_image
    assert ledger["unknown"] == []
    assert not {"source_flops", "source_images_forward"} & row["metrics"].keys()


def counted(result):
    return tuple(result.facts[name] for name in ("images_forward", "images_backward"))


def test_stages_report_the_passes_that_they_made(jobs):
    """372 examples in batches of 128; the digits' train split goes through the backbone once, its vectors twice."""
    words = ["method=grand_full", "surrogate.record.forward=eval", "surrogate.eval_every=1", "surrogate.epochs=2"]
    (row,) = jobs.run(*words)
    results = results_of(jobs, row)
    tested, target = results["source"].facts["test"], results["target"].facts
    assert counted(results["surrogate"]) == (2 * 372 + 2 * 372 + 2 * tested, 2 * 372)
    assert results["surrogate"].facts["images_seen"] == 2 * 372
    assert counted(results["gradients"]) == (372, 372)
    assert counted(results["model"]) == (2 * 186, 2 * 186)
    assert counted(results["adapted"]) == (target["train"], 0)
    assert results["adapted"].facts["images_seen"] == 2 * target["train"]
    assert counted(results["target_result"]) == (target["test"], 0)
    step = results["model"].facts["flops"] / (2 * 186)
    assert results["gradients"].facts["flops"] == pytest.approx(372 * step)
    images = [
        sum(figures) for figures in zip(*(counted(r) for r in results.values() if "flops" in r.facts), strict=True)
    ]
    assert [row["cost"]["images_forward"], row["cost"]["images_backward"]] == images


def test_steps_of_an_attack_are_paid_for(jobs):
    words = ["method=full", "target=none"]
    (clean,) = jobs.run(*words)
    (row,) = jobs.run(*words, "pretrain.adversarial.epsilon=0.01", "pretrain.adversarial.steps=2")
    assert row["cost"]["images_seen"] == clean["cost"]["images_seen"] == 2 * 372
    assert row["cost"]["images_backward"] == 3 * clean["cost"]["images_backward"]
    assert row["cost"]["flops"] > 2 * clean["cost"]["flops"]


# totals


def test_a_result_in_two_roles_counts_once():
    shared = train(seconds=3.0)
    ledger = cost({"surrogate": shared, "model": shared, "scores": result("score"), "cut": result("score")}, set())
    assert (ledger["surrogate_s"], ledger["train_s"], ledger["score_s"]) == (3.0, 3.0, 1.0)
    assert (ledger["total_s"], ledger["device_s"], ledger["images_forward"], ledger["flops"]) == (4.0, 4.0, 10, 100.0)


def test_equal_keys_of_two_stages_are_two_results():
    assert cost({"source": result("index"), "subset": result("select")}, set())["total_s"] == 2.0


def test_two_processes_seconds_count_double():
    ledger = cost({"model": train(seconds=10.0, device_s=20.0), "adapted": train("b", seconds=1.0)}, set())
    assert (ledger["total_s"], ledger["device_s"]) == (11.0, 21.0)


def test_what_a_job_found_ready_counts_in_full():
    ledger = cost({"model": train(), "adapted": train("b")}, {"adapted"})
    assert (ledger["shared"], ledger["total_s"]) == (["model"], 2.0)


# unknown


def test_a_stage_that_runs_a_network_and_reports_nothing_is_unknown():
    ledger = cost({"model": train(), "signals": result("signals")}, set())
    assert (ledger["unknown"], ledger["flops"], ledger["images_forward"]) == (["signals"], None, 10)


def test_flops_that_nobody_could_count_make_their_role_unknown():
    uncounted = result("train", images_forward=10, images_backward=4, flops=None, images_seen=4)
    ledger = cost({"model": uncounted, "adapted": train("b")}, set())
    assert (ledger["unknown"], ledger["flops"], ledger["images_backward"]) == (["model"], None, 8)


@pytest.mark.parametrize(
    ("role", "foreign"),
    [("surrogate", "adopt"), ("model", "adopt"), ("dynamics", "dynamics"), ("scores", "score"), ("model", "train")],
)
def test_what_came_from_elsewhere_is_unknown_unless_it_is_told_in_full(role, foreign):
    full = {"seconds": 7, "images": 50, "flops": 1e3}
    for told in ({}, *({k: v for k, v in full.items() if k != left_out} for left_out in full)):
        ledger = cost({role: result(foreign, elsewhere=told, **(NETWORK if foreign == "train" else {}))}, set())
        assert ledger["unknown"] == [role]
    ledger = cost({role: result(foreign, elsewhere=full, **(NETWORK if foreign == "train" else {}))}, set())
    own = 10 if foreign == "train" else 0
    assert (ledger["unknown"], ledger["total_s"], ledger["device_s"]) == ([], 8.0, 8.0)
    assert (ledger[figure_of(role)], ledger["images_forward"]) == (8.0, 50 + own)
    assert ledger["images_seen" if role == "model" else "surrogate_images"] == 50


def test_each_word_of_a_cost_file_stands_where_the_other_is_missing():
    told = {"seconds": 2, "device_s": 16, "images": 9, "images_forward": 30, "flops": 5}
    both = spent(result("adopt", elsewhere=told))
    assert (both.seconds, both.device_s, both.trained, both.images_forward, both.images_backward) == (3, 17, 9, 30, 9)
    devices = spent(result("adopt", elsewhere={"device_s": 16, "images_forward": 3, "images_backward": 2, "flops": 5}))
    assert (devices.seconds, devices.trained, devices.known) == (17, 2, True)


def test_what_a_row_tells_is_unknown_again_where_the_row_is():
    whole = cost({"model": train()}, set())
    assert spent(result("score", elsewhere=as_told(whole))).known
    part = cost({"model": train(), "scores": result("score", elsewhere={"images": 1, "flops": 1})}, set())
    assert part["flops"] == 101
    assert not spent(result("score", elsewhere=as_told(part))).known


# cost.json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"hours": 3}', "hours=3"),
        ('{"seconds": -1}', "seconds=-1"),
        ('{"seconds": "60"}', "seconds='60'"),
        ('{"flops": NaN}', "flops=nan"),
        ('{"flops": Infinity}', "flops=inf"),
        ('{"images": true}', "images=True"),
        ('{"images": null}', "images=None"),
        ("[3]", r"\[3\]"),
        ("{", "which is no JSON"),
    ],
)
def test_a_cost_file_that_says_something_else_is_named(tmp_path, text, shown):
    (tmp_path / "cost.json").write_text(text)
    with pytest.raises(ConfigError, match=rf"^method\.path='.*cost\.json'.*{shown}.*: expected an object of seconds, "):
        told_of(tmp_path / "scores.csv", "method.path")


def test_a_cost_file_lies_beside_a_file_and_inside_a_folder(tmp_path):
    (tmp_path / "inside").mkdir()
    assert told_of(tmp_path / "inside", "x") == told_of(tmp_path / "scores.npy", "x") == {}
    (tmp_path / "cost.json").write_text('{"seconds": 1}')
    assert told_of(tmp_path / "inside", "x") == {}
    assert told_of(tmp_path / "scores.npy", "x") == {"seconds": 1}
    (tmp_path / "inside" / "cost.json").write_text(json.dumps(dict.fromkeys(TOLD, 2.5)))
    assert told_of(tmp_path / "inside", "x") == dict.fromkeys(TOLD, 2.5)


FULL = {"device_s": 40, "images": 1000, "flops": 1e9}
SHORT = ["target=none", "pretrain.epochs=1", "baselines=none"]


def foreign_dynamics(jobs):
    folder = jobs.folder / "texts"
    folder.mkdir()
    for epoch, row in enumerate(np.random.default_rng(0).random((3, 372))):
        np.savetxt(folder / f"prob_{epoch}.txt", row)
    return ["method=variability", f"surrogate.dynamics={folder}"], folder, "dynamics", "surrogate_s"


def foreign_checkpoint(jobs):
    (row,) = jobs.run("method=full", *SHORT)
    folder = jobs.folder / "foreign"
    folder.mkdir()
    weights = jobs.store / "train" / row["keys"]["model"] / "model.pt"
    (folder / "weights.pt").write_bytes(weights.read_bytes())
    words = ["method=entropy", f"surrogate.checkpoint={folder / 'weights.pt'}"]
    return words, folder, "surrogate", "surrogate_s"


def foreign_scores(jobs):
    folder = jobs.folder / "foreign"
    folder.mkdir()
    np.save(folder / "scores.npy", np.random.default_rng(0).random(372))
    return ["method=external", f"method.path={folder / 'scores.npy'}"], folder, "scores", "score_s"


@pytest.mark.parametrize("foreign", [foreign_dynamics, foreign_checkpoint, foreign_scores])
def test_foreign_work_is_unknown_and_with_a_cost_file_known(jobs, foreign):
    words, folder, role, figure = foreign(jobs)
    (silent,) = jobs.run(*words, *SHORT)
    assert (silent["cost"]["unknown"], silent["cost"]["flops"]) == ([role], None)
    (folder / "cost.json").write_text(json.dumps(FULL))
    (told,) = jobs.run(*words, *SHORT)
    ledger, before = told["cost"], silent["cost"]
    assert ledger["unknown"] == []
    assert ledger["flops"] > 1e9
    assert ledger["surrogate_images"] == 1000
    assert ledger["images_forward"] == before["images_forward"] + 1000
    assert ledger["images_backward"] == before["images_backward"] + 1000
    assert ledger[figure] > 40
    assert min(ledger["device_s"], ledger["total_s"]) > 40
    assert told["keys"][role] != silent["keys"][role], "its content is part of the recipe"
    assert told["keys"]["model"] == silent["keys"]["model"], "and changes no model"
    (folder / "cost.json").write_text('{"hours": 3}')
    with pytest.raises(ConfigError, match=r"cost\.json' with hours=3"):
        jobs.run(*words, *SHORT, f"run.store={jobs.folder / 'fresh'}")
    assert not (jobs.folder / "fresh").exists(), "it is told before anything is built"


PRETRAINED = """
from dataprune.models.networks import cnn

def named(in_channels, pretrained=False):
    return cnn(in_channels, width=4)
"""


@pytest.mark.parametrize("pretrained", [False, True])
def test_what_pretrained_weights_took_is_unknown(jobs, monkeypatch, pretrained):
    (jobs.folder / "their_networks.py").write_text(PRETRAINED)
    monkeypatch.syspath_prepend(jobs.folder)
    cfg = jobs.config("method=scratch")
    cfg.pretrain.model = {"_target_": "their_networks.named", "pretrained": pretrained}
    (scratch,) = pipeline.job(cfg)
    assert scratch["cost"]["unknown"] == (["adapted"] if pretrained else [])
    cfg = jobs.config("method=full")
    cfg.pretrain.model = {"_target_": "their_networks.named", "pretrained": pretrained}
    (full,) = pipeline.job(cfg)
    assert full["cost"]["unknown"] == (["model"] if pretrained else []), "the transfer starts from the model"
