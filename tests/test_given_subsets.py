"""Method subset_file through the pipeline: a given coreset is what is trained on, and the row says what is known."""

import json

import numpy as np
import pytest

from dataprune.data.examples import Examples
from dataprune.errors import ConfigError
from dataprune.selectors.graph import knn
from dataprune.subset import Subset

ONE = ["method=subset_file", "target=none"]


def index_of(jobs, row):
    return Examples(jobs.store / "index" / row["keys"]["source"], "train")


def test_our_own_subset_file_gives_the_model_of_the_method_that_wrote_it(jobs):
    (random,) = jobs.run("method=random", "target=none")
    written = jobs.store / "select" / random["keys"]["subset"] / "export" / "subset.npz"
    (row,) = jobs.run(*ONE, f"method.path={written}")
    assert row["metrics"] == random["metrics"]
    assert (row["kept"], row["prune_ratio"]) == (random["kept"], 0.5), "the ratio is what the file has removed"
    assert row["unverified"] is False


def test_bare_ids_say_that_nobody_checked_and_other_ids_are_another_experiment(jobs, tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(0, 372, 2))
    (one,) = jobs.run(*ONE, f"method.path={tmp_path / 'ids.npy'}")
    assert one["unverified"] is True
    assert one["kept"] == 186
    assert len(index_of(jobs, one).classes) == 62
    np.save(tmp_path / "ids.npy", np.arange(1, 372, 2))
    (two,) = jobs.run(*ONE, f"method.path={tmp_path / 'ids.npy'}")
    assert two["identity"] != one["identity"]
    assert two["keys"]["model"] != one["keys"]["model"]


def test_a_subset_of_another_data_set_is_refused_before_anything_is_trained(jobs, tmp_path):
    Subset(np.arange(9), 372, "ab" * 32).save(tmp_path / "other.npz")
    with pytest.raises(ConfigError, match=r"^method\.path="):
        jobs.run(*ONE, f"method.path={tmp_path / 'other.npz'}")
    np.save(tmp_path / "ids.npy", np.array([3, 372]))
    with pytest.raises(ConfigError, match=r"^method\.path=372: expected ids of 0 to 371"):
        jobs.run(*ONE, f"method.path={tmp_path / 'ids.npy'}")
    assert not (jobs.store / "train").exists()


def test_history_and_figures_follow_the_examples_of_val_path(jobs, tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(0, 372, 2))
    np.save(tmp_path / "val.npy", np.array([1, 5, 7]))
    words = [*ONE, f"method.path={tmp_path / 'ids.npy'}", "pretrain.eval_every=1"]
    (whole,) = jobs.run(*words)
    (row,) = jobs.run(*words, f"method.val_path={tmp_path / 'val.npy'}")
    assert row["metrics"]["source_n"] == 3
    assert whole["metrics"]["source_n"] == 124
    assert row["identity"] != whole["identity"]
    last = (jobs.store / "train" / row["keys"]["model"] / "history.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["test_top1"] == row["metrics"]["source_top1"], "both are of the three"
    np.save(tmp_path / "val.npy", np.array([1, 5, 8]))
    (other,) = jobs.run(*words, f"method.val_path={tmp_path / 'val.npy'}")
    assert other["identity"] != row["identity"], "what is followed is in the key by its content"


def test_one_file_for_both_splits_is_another_experiment_than_for_train_alone(jobs, tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(0, 124, 2))
    words = [*ONE, f"method.path={tmp_path / 'ids.npy'}"]
    (one,) = jobs.run(*words)
    (two,) = jobs.run(*words, f"method.val_path={tmp_path / 'ids.npy'}")
    assert one["metrics"]["source_n"] != two["metrics"]["source_n"]
    assert one["identity"] != two["identity"]


def test_a_list_for_the_validation_split_is_told_by_its_key(jobs, tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(4))
    np.save(tmp_path / "val.npy", np.array([124]))
    words = [*ONE, f"method.path={tmp_path / 'ids.npy'}"]
    with pytest.raises(ConfigError, match=r"^method\.val_path=124: expected ids of 0 to 123"):
        jobs.run(*words, f"method.val_path={tmp_path / 'val.npy'}")
    with pytest.raises(ConfigError, match=r"^method\.val_path=.*gone.*expected a subset file"):
        jobs.run(*words, f"method.val_path={tmp_path / 'gone.npy'}")
    with pytest.raises(ConfigError, match=r"^method\.val_path=.*expected null"):
        jobs.run("method=full", "target=none", f"method.val_path={tmp_path / 'val.npy'}")


def test_neighbours_from_files_and_clusters_take_the_place_of_a_graph(jobs, tmp_path):
    """D2's precomputed and density modes, from data to a row; other files are another subset."""
    n = 62 * 6
    rng = np.random.default_rng(0)
    for name, features in (("a", rng.normal(size=(n, 3))), ("b", rng.normal(size=(n, 3)))):
        distances, neighbors = knn(features.astype(np.float32), 6)
        np.save(tmp_path / f"{name}_ids.npy", neighbors)
        np.save(tmp_path / f"{name}_far.npy", distances)
    keys = []
    for name in "ab":
        files = [f"method.neighbors.neighbors={tmp_path / name}_ids.npy"]
        files += [f"method.neighbors.distances={tmp_path / name}_far.npy"]
        (row,) = jobs.run("method=d2_precomputed", "prune_ratio=0.8", *files)
        assert row["kept"] == round(0.2 * n)
        assert row["cost"]["unknown"] == ["neighbors"]
        keys.append(row["keys"]["subset"])
    assert keys[0] != keys[1]
    (row,) = jobs.run("method=d2_density", "prune_ratio=0.5", "method.clusters.number=7")
    assert row["kept"] == n // 2


def test_neighbours_that_are_not_there_are_told_before_anything_is_trained(jobs):
    with pytest.raises(ConfigError, match=r"^method\.neighbors\.neighbors=None: expected a \.npy file"):
        jobs.run("method=d2_precomputed")
    assert not jobs.store.exists()
