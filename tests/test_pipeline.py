"""The pipeline as a whole, on tiny glyphs and digits: everything once, then nothing; rows; costs; baselines."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dataprune import pipeline
from dataprune.config import RunConfig
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError
from dataprune.passes import feed_of, load_network
from dataprune.selectors.ranked import quotas, recall_weights
from dataprune.store import DamagedResult, Store, load
from dataprune.subset import Subset

REQUIRED = {"method", "prune_ratio", "source", "target", "surrogate", "model", "transfer", "seed", "metrics", "cost"}
REQUIRED |= {"keys", "version"}
COSTS = {"score_s", "select_s", "train_s", "transfer_s", "images_seen", "total_s", "surrogate_s", "shared"}


def built(row):
    return set(row["keys"]) - set(row["cost"]["shared"])


def test_a_job_builds_everything_once_and_then_nothing(jobs):
    (first,) = jobs.run("method=label_mapping")
    assert built(first) == set(first["keys"])
    (again,) = jobs.run("method=label_mapping")
    assert built(again) == set()
    assert again["keys"] == first["keys"]
    assert again["metrics"] == first["metrics"]


def test_another_ratio_shares_all_that_comes_before_the_selection(jobs):
    jobs.run("method=forgetting")
    (row,) = jobs.run("method=forgetting", "prune_ratio=0.75")
    assert built(row) == {"subset", "model", "source_result", "adapted", "target_result"}


def test_methods_share_one_surrogate(jobs):
    (a,) = jobs.run("method=forgetting")
    (b,) = jobs.run("method=label_mapping")
    assert a["keys"]["surrogate"] == b["keys"]["surrogate"]
    assert "surrogate" in b["cost"]["shared"]


def test_the_same_ids_from_another_method_train_nothing_again(jobs):
    """Keys follow contents: a renamed method that selects the same examples finds the trained model."""
    jobs.run("method=forgetting")
    (row,) = jobs.run("method=forgetting", "method.name=renamed")
    assert built(row) == {"subset"}


def test_where_it_is_computed_is_part_of_no_result(jobs):
    (first,) = jobs.run("method=random")
    (again,) = jobs.run("method=random", "run.threads=1", "run.workers=0", "run.progress=false", "run.verify=false")
    assert built(again) == set()
    assert first["row"] == again["row"]


def test_a_row_has_what_tables_need(jobs):
    (row,) = jobs.run("method=forgetting", "seed=3")
    filed = json.loads((jobs.store / "rows" / f"{row['row']}.json").read_text())
    assert filed.keys() >= REQUIRED
    assert filed["cost"].keys() >= COSTS
    assert (filed["method"], filed["prune_ratio"], filed["seed"]) == ("forgetting", 0.5, 3)
    assert 0 <= filed["metrics"]["source_top1"] <= 1
    assert 0 <= filed["metrics"]["target_top1"] <= 1
    assert filed["kept"] == 186
    assert filed["of"] == 372


def test_images_seen_are_counted(jobs):
    (row,) = jobs.run("method=random", "prune_ratio=0.75")
    assert row["cost"]["images_seen"] == 93 * 2
    assert row["cost"]["surrogate_images"] == 0, "random needs no surrogate"


def test_baselines_come_along_with_their_own_rows(jobs):
    rows = jobs.run("method=forgetting", "baselines=standard")
    by_method = {row["method"]: row for row in rows}
    assert by_method.keys() >= {"forgetting", "random", "full", "short_full", "scratch"}
    assert by_method["full"]["prune_ratio"] == 0
    assert by_method["full"]["kept"] == 372
    assert by_method["scratch"]["prune_ratio"] == 1
    assert by_method["scratch"]["kept"] == 0
    assert "source_top1" not in by_method["scratch"]["metrics"]


def test_short_full_sees_as_many_images_as_the_pruned_run(jobs):
    rows = {r["method"]: r for r in jobs.run("method=random", "baselines=standard", "pretrain.batch_size=32")}
    pruned, short = rows["random"]["cost"]["images_seen"], rows["short_full"]["cost"]["images_seen"]
    assert pruned <= short < pruned + 32
    assert rows["short_full"]["kept"] == 372


def test_baselines_of_no_ratio_are_shared_by_all_ratios(jobs):
    jobs.run("method=random", "baselines=standard")
    rows = {r["method"]: r for r in jobs.run("method=random", "baselines=standard", "prune_ratio=0.7")}
    assert built(rows["full"]) == built(rows["scratch"]) == set()


def test_a_ratio_of_zero_prunes_nothing(jobs):
    (row,) = jobs.run("method=forgetting", "prune_ratio=0")
    assert "subset" not in row["keys"]
    assert row["kept"] == 372


def test_fresh_subsets_see_other_examples_each_epoch(jobs):
    (row,) = jobs.run("method=rs2", "prune_ratio=0.75", "pretrain.epochs=4")
    assert row["cost"]["images_seen"] == 93 * 4
    assert row["kept"] == 93
    assert "subset" not in row["keys"]


def test_class_methods_keep_whole_classes_in_train_and_test(jobs):
    (row,) = jobs.run("method=random_classes", "prune_ratio=0.5")
    source = Examples(jobs.store / "index" / row["keys"]["source"], "train")
    ids = np.load(jobs.store / "select" / row["keys"]["subset"] / "ids.npy")
    counts = np.bincount(source.labels[ids], minlength=62)
    assert sorted(counts) == [0] * 31 + [6] * 31
    assert row["metrics"]["source_n"] == 31 * 2, "the source's test split is pruned too"


def test_smaller_ratios_keep_supersets_of_random_examples(jobs):
    kept = {}
    for ratio in (0.5, 0.75):
        (row,) = jobs.run("method=random", f"prune_ratio={ratio}")
        kept[ratio] = set(np.load(jobs.store / "select" / row["keys"]["subset"] / "ids.npy"))
    assert kept[0.75] < kept[0.5]


def test_a_deterministic_selection_is_made_once_for_all_seeds(jobs):
    jobs.run("method=forgetting", "seed=0")
    (row,) = jobs.run("method=forgetting", "seed=1")
    assert "subset" in row["cost"]["shared"]
    (row,) = jobs.run("method=random", "seed=1")
    assert "subset" in built(row)


def test_the_portable_subset_knows_its_data_set(jobs):
    (row,) = jobs.run("method=forgetting")
    source = Examples(jobs.store / "index" / row["keys"]["source"], "train")
    path = jobs.store / "select" / row["keys"]["subset"] / "export" / "subset.npz"
    subset = Subset.load(path, fingerprint=source.fingerprint)
    assert len(subset.ids) == 186
    assert subset.header["method"] == "forgetting"
    with pytest.raises(ConfigError, match="a subset of this data set"):
        Subset.load(path, fingerprint="of another")


def test_without_a_target_the_source_is_the_result(jobs):
    (row,) = jobs.run("method=forgetting", "target=none")
    assert row["target"] is None
    assert row["metrics"].keys() >= {"source_top1", "source_top5", "source_mean_class_top1", "source_loss"}
    assert not any(name.startswith("target") for name in row["metrics"])
    assert "adapted" not in row["keys"]


def test_a_damaged_file_is_an_error_that_says_how_to_go_on(jobs, monkeypatch):
    monkeypatch.setattr("dataprune.store.results.VERIFIED", {})
    (row,) = jobs.run("method=random")
    model = jobs.store / "train" / row["keys"]["model"] / "model.pt"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(DamagedResult, match=rf"model\.pt has changed.*remove train/{row['keys']['model']}"):
        jobs.run("method=random")


def test_a_missed_stage_says_what_differs(jobs, caplog):
    jobs.run("method=random")
    with caplog.at_level("INFO"):
        jobs.run("method=random", "pretrain.epochs=1")
    assert "differs in config.epochs=1 (was 2)" in caplog.text
    assert "found" in caplog.text


def test_an_adopted_checkpoint_serves_as_surrogate_and_as_model(jobs):
    (row,) = jobs.run("method=full")
    weights = jobs.store / "train" / row["keys"]["model"] / "model.pt"
    scored = ["method=label_mapping", f"surrogate.checkpoint={weights}"]
    (row,) = jobs.run(*scored)
    subset = jobs.store / "select" / row["keys"]["subset"] / "export" / "subset.npz"
    (row,) = jobs.run(*scored, f"pretrain.checkpoint={weights}", f"pretrain.subset={subset}")
    stages = {role: next(jobs.store.glob(f"*/{key}")).parent.name for role, key in row["keys"].items()}
    assert stages["surrogate"] == stages["model"] == "adopt"


def test_dynamics_without_a_recording_surrogate_are_refused_before_anything_runs(jobs):
    with pytest.raises(ConfigError, match=r"surrogate\.record\.forward='none': expected train or eval"):
        jobs.run("method=forgetting", "surrogate.record.forward=none")
    assert not jobs.store.exists()


def test_a_ratio_that_leaves_fewer_examples_than_classes_is_refused_before_training(jobs):
    with pytest.raises(
        ConfigError, match=r"prune_ratio=0\.9: expected 0\.8333 or less: 37 of 372 examples for 62 classes"
    ):
        jobs.run("method=random", "prune_ratio=0.9")
    assert not (jobs.store / "train").exists()


READER = """
import numpy as np
from dataprune.data.examples import Dataset, Split

def read(broken):
    sides = [8, 9] if broken else [8, 8]
    images = [np.zeros((side, side, 1), np.uint8) for side in sides]
    return Dataset(["a", "b"], {name: Split(images, np.array([0, 1])) for name in ("train", "test")})
"""


def test_a_stage_that_fails_leaves_no_result_and_its_lock_is_free(jobs, tmp_path, monkeypatch):
    (tmp_path / "my_reader.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    cfg = jobs.config("method=full", "target=none")
    cfg.source.reader = {"_target_": "my_reader.read", "broken": True}
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"source\.size=None: expected a side in pixels"):
            pipeline.job(cfg)
    assert [result.recipe["stage"] for result in Store(jobs.store).results()] == ["index"], "what went well before it"
    cfg.source.reader["broken"] = False
    (row,) = pipeline.job(cfg)
    assert row["of"] == 2


def test_adversarial_pretraining_trains_another_model(jobs):
    (clean,) = jobs.run("method=full", "target=none")
    (row,) = jobs.run("method=full", "target=none", "pretrain.adversarial.epsilon=0.01", "pretrain.adversarial.steps=1")
    assert row["keys"]["model"] != clean["keys"]["model"]


def test_momentum_can_follow_the_schedule(jobs):
    cyclic = "{_target_: dataprune.training.schedules.cyclic_momentum, peak_epoch: 1}"
    (row,) = jobs.run("method=full", "target=none", f"++pretrain.momentum={cyclic}")
    assert row["metrics"]["source_top1"] >= 0


def test_two_orders_of_the_same_examples_are_two_results(jobs):
    """All examples in pick order are one set, whatever the order: what is cut from an order must not go by the set."""
    words = ["method=k_center", "method.nested_from=0", "prune_ratio=0.5"]
    (one,), (other,) = (jobs.run(*words, f"surrogate.seed={seed}") for seed in (0, 1))
    assert one["keys"]["order"] != other["keys"]["order"]
    assert one["keys"]["subset"] != other["keys"]["subset"]


def test_nested_picks_are_made_once_for_all_ratios(jobs):
    words = ["method=d2_graph", "method.cut=null", "surrogate.epochs=3"]
    subsets = {}
    for ratio in (0.6, 0.8):
        (row,) = jobs.run(*words, f"prune_ratio={ratio}")
        subsets[ratio] = set(np.load(jobs.store / "select" / row["keys"]["subset"] / "ids.npy"))
        assert "order" in (built(row) if ratio == 0.6 else row["cost"]["shared"])
    assert subsets[0.8] < subsets[0.6]
    (alone,) = jobs.run(*words, "prune_ratio=0.8", "method.nested_from=null")
    assert set(np.load(jobs.store / "select" / alone["keys"]["subset"] / "ids.npy")) == subsets[0.8]


OTHER = ["+target@others.small=digits", "others.small.reader.shots=3", "others.small.name=few digits"]


def test_several_targets_share_one_subset_and_get_a_row_each(jobs):
    rows = jobs.run("method=label_mapping", *OTHER)
    assert [row["target"] for row in rows] == ["digits", "few digits"]
    subsets = {row["keys"]["subset"] for row in rows}
    assert len(subsets) == 1, "one subset for all, whichever target the row is about"
    assert len({row["keys"]["adapted"] for row in rows}) == 2
    scores = Store(jobs.store).root / "score"
    counts = [np.load(scores / rows[0]["keys"][role] / "scores.npy") for role in ("scores", "scores.small")]
    kept = np.load(jobs.store / "select" / rows[0]["keys"]["subset"] / "classes.npy")
    best = np.argsort(-(counts[0] / counts[0].max() + counts[1] / counts[1].max()), kind="stable")
    assert set(best[:3]) <= set(kept)
    assert rows[0]["cost"]["score_s"] > 0


def test_a_method_that_looks_at_no_target_has_the_same_row_with_other_targets_and_without(jobs):
    (alone,) = jobs.run("method=random_classes")
    both = jobs.run("method=random_classes", *OTHER)
    assert both[0]["row"] == alone["row"]
    assert both[0]["keys"]["model"] == both[1]["keys"]["model"]


def test_example_level_methods_cannot_combine_targets(jobs):
    with pytest.raises(ConfigError, match="others="):
        jobs.run("method=feature_mapping_clusters", "method.clusters.number=4", *OTHER)


def test_gradient_lengths_are_those_of_the_surrogate_on_each_example(jobs):
    (row,) = jobs.run("method=grand_full")
    folder = jobs.store / "signals" / row["keys"]["gradients"]
    lengths = np.load(folder / "grad_norm.npy")
    network = load_network(jobs.store / "train" / row["keys"]["surrogate"]).eval()
    keys = row["keys"]
    examples = Examples(jobs.store / "index" / keys["source"], "train", jobs.store / "decode" / keys["source_pixels"])
    batch = next(iter(feed_of(RunConfig(accelerator="cpu")).clean(examples, np.array([5, 200]), 2)))
    for x, y, i in zip(batch["inputs"]["image"], batch["y"], batch["id"], strict=True):
        network.zero_grad()
        torch.nn.functional.cross_entropy(network(image=x[None]), y[None]).backward()
        expected = torch.stack([p.grad.double().square().sum() for p in network.parameters()]).sum().sqrt().item()
        assert lengths[i] == pytest.approx(expected, rel=1e-4)
    assert row["cost"]["signals_s"] > 0


def test_scores_may_be_means_over_surrogates(jobs):
    (one,) = jobs.run("method=el2n")
    (row,) = jobs.run("method=el2n_runs", "method.runs=3")
    assert row["keys"]["surrogate"] == one["keys"]["surrogate"], "the first of them is the surrogate of all methods"
    scores = jobs.store / "score"
    each = [np.load(scores / row["keys"][role] / "scores.npy") for role in ("scores", "scores.run1", "scores.run2")]
    assert len({row["keys"][f"surrogate{run}"] for run in ("", ".run1", ".run2")}) == 3
    mean = np.load(jobs.store / "combine" / row["keys"]["combined"] / "scores.npy")
    np.testing.assert_allclose(mean, np.mean(each, 0), rtol=1e-6)
    ids = Subset.load(jobs.store / "select" / row["keys"]["subset"] / "export" / "subset.npz").ids
    np.testing.assert_array_equal(ids, np.sort(np.argsort(-mean, kind="stable")[: len(ids)]))
    surrogates = [load(jobs.store / "train" / row["keys"][f"surrogate{r}"]).seconds for r in ("", ".run1", ".run2")]
    assert row["cost"]["surrogate_s"] == pytest.approx(sum(surrogates), abs=2e-3), "all of them are paid for"


SECOND = """
import numpy as np
calls = []

def score(p_true):
    calls.append(p_true)
    return np.full(p_true.shape[1], 1 if len(calls) == 1 else np.nan)
"""


def test_a_wrong_score_of_another_run_is_named_as_the_user_wrote_it(jobs, tmp_path, monkeypatch):
    """The second surrogate's scores have the role scores.run1, which is no key of the config."""
    (tmp_path / "wrong_in_the_second.py").write_text(SECOND)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"^method\.score=NaN"):
        jobs.run("method=variability", "method.score._target_=wrong_in_the_second.score", "method.runs=2")


def test_several_surrogates_are_refused_where_there_is_only_one(jobs, tmp_path):
    (tmp_path / "weights.pt").touch()
    with pytest.raises(ConfigError, match=r"method\.runs=2"):
        jobs.run("method=entropy", "method.runs=2", f"surrogate.checkpoint={tmp_path / 'weights.pt'}")


def test_drop_gives_more_to_classes_that_the_surrogate_recalls_badly(jobs, tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 10), ("test", 5)):
        for label, brightness in (("bright", 230), ("dark", 20), ("dim", 26)):  # dark and dim are hard to tell apart
            folder = tmp_path / "data" / split / label
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.normal(brightness, 12, (8, 8)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    words = ["source=folder", f"source.path={tmp_path / 'data'}", "source.channels=1", "surrogate.epochs=4"]
    words += ["target=none", "surrogate.batch_size=20", "pretrain.epochs=1", "baselines=none", "run.report=false"]
    jobs.command("method=drop", "prune_ratio=0.5", *words)
    (row,) = (json.loads(path.read_text()) for path in (jobs.store / "rows").iterdir())
    outcomes = np.load(jobs.store / "evaluate" / row["keys"]["heldout"] / "outcomes.npz")
    heldout = np.arange(30) // 10
    weights = recall_weights(outcomes["prediction"], heldout, 3)
    ids = Subset.load(jobs.store / "select" / row["keys"]["subset"] / "export" / "subset.npz").ids
    assert weights.std() > 0
    assert np.bincount(ids // 20, minlength=3).tolist() == quotas(np.full(3, 20), 30, weights).tolist()
    assert "surrogate" in row["keys"]


def test_drop_needs_examples_that_the_surrogate_has_not_seen(jobs):
    with pytest.raises(ConfigError, match=r"method\.quota='drop'.*no validation split"):
        jobs.run("method=drop")


def test_without_a_target_no_source_means_nothing_to_learn(jobs):
    words = ["baselines=standard", "target=none", "method=random_classes", "surrogate.epochs=1"]
    assert "scratch" not in {row["method"] for row in jobs.run(*words)}
    with pytest.raises(ConfigError, match=r"target=None: expected a target: scratch"):
        jobs.run("method=scratch", "target=none")


def test_nothing_is_scored_at_ratio_zero(jobs):
    (row,) = jobs.run("method=forgetting", "prune_ratio=0")
    data = {"source", "source_pixels", "target", "target_pixels"}
    assert set(row["keys"]) == data | {"model", "source_result", "adapted", "target_result"}


def test_a_list_of_classes_is_kept_whatever_the_ratio_says(jobs):
    (row,) = jobs.run("method=handpicked", "method.select.classes=[3,5]", "prune_ratio=0")
    assert row["kept"] == 12


def test_dynamics_may_be_those_of_clean_views(jobs):
    words = ["method=variability", "target=none", "surrogate.augment.flip=true"]
    (as_trained,) = jobs.run(*words)
    (clean,) = jobs.run(*words, "surrogate.record.view=clean")
    folders = [jobs.store / "train" / row["keys"]["surrogate"] for row in (as_trained, clean)]
    p_true = [np.load(folder / "p_true.npy") for folder in folders]
    assert len({(folder / "model.pt").read_bytes() for folder in folders}) == 1
    assert not np.isnan(p_true[1]).any()
    assert np.abs(p_true[0] - p_true[1]).max() > 1e-3
    seen = [load(folder).facts for folder in folders]
    assert seen[1]["images_forward"] == 2 * seen[0]["images_forward"]
    assert seen[1]["images_seen"] == seen[0]["images_seen"]
    with pytest.raises(ConfigError, match=r"surrogate\.record\.view='clean': expected train, or surrogate\.rec"):
        jobs.config(*words, "surrogate.record.view=clean", "surrogate.record.forward=eval")
