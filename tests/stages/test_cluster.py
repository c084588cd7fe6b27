"""Clusters that stand for classes: kept as a result, of both splits, and read from the release's files."""

import numpy as np
import pytest
import torch

from dataprune.errors import ConfigError
from dataprune.export import main
from dataprune.formats.legacy import read_indices
from dataprune.neighbors.prototypes import clusters, nearest
from dataprune.store import load

WORDS = ["method=feature_mapping_clusters", "method.clusters.number=9"]


def of(jobs, row, stage, role, name):
    return np.load(jobs.store / stage / row["keys"][role] / f"{name}.npy")


def test_the_clusters_are_a_result_that_another_ratio_and_another_target_share(jobs):
    (row,) = jobs.run(*WORDS)
    keys = row["keys"]
    centroids = of(jobs, row, "cluster", "clusters", "centroids")
    features = of(jobs, row, "signals", "signals", "features")
    again = clusters(features, 9, np.random.default_rng(0))
    np.testing.assert_array_equal(centroids, again[0])
    np.testing.assert_array_equal(of(jobs, row, "cluster", "clusters", "train"), again[1])
    val = of(jobs, row, "cluster", "clusters", "val")
    np.testing.assert_array_equal(val, nearest(of(jobs, row, "signals", "val_signals", "features"), centroids))
    assert len(val) == 124, "of the source's test images"
    (other,) = jobs.run(*WORDS, "prune_ratio=0.7", "target.reader.shots=3", "target.name=few")
    assert other["keys"]["clusters"] == keys["clusters"]
    assert other["keys"]["scores"] != keys["scores"]
    (seed,) = jobs.run(*WORDS, "method.clusters.seed=1")
    assert seed["keys"]["clusters"] != keys["clusters"]


@pytest.fixture
def released(jobs):
    """Assignments as the release writes them: clusters 0, 1 and 3 of the 372 and the 124 images; 2 has none."""
    paths = {}
    for name, n in (("train", 372), ("val", 124)):
        label = np.random.default_rng(n).choice([0, 1, 3], n)
        paths[name] = jobs.folder / f"{name}_clusters"
        torch.save({c: np.flatnonzero(label == c).tolist() for c in (3, 0, 1)}, paths[name])
        paths[f"{name}_label"] = label
    return paths


def test_assignments_of_the_release_stand_for_our_clusters(jobs, released, capsys):
    words = [f"method.clusters.path={released['train']}", f"method.clusters.val_path={released['val']}"]
    (row,) = jobs.run(WORDS[0], *words, "prune_ratio=0.3")
    np.testing.assert_array_equal(of(jobs, row, "cluster", "clusters", "train"), released["train_label"])
    np.testing.assert_array_equal(of(jobs, row, "cluster", "clusters", "val"), released["val_label"])
    facts = load(jobs.store / "cluster" / row["keys"]["clusters"]).facts
    assert (facts["clusters"], facts["empty"]) == (4, 1)
    assert "clusters" in row["cost"]["unknown"], "nobody said what they took"
    kept = of(jobs, row, "select", "subset", "ids")
    assert len(np.unique(released["train_label"][kept])) == 2, "of three clusters with members"
    folder = jobs.folder / "lists"
    assert main(["classes", "--store", str(jobs.store), "-o", str(folder), "--classes", "2"]) == 0
    assert "digits_fm_clusters: 4 index lists" in capsys.readouterr().out
    top = read_indices(folder / "digits_fm_clusters_train_top2.indices")
    assert sorted(top) == kept.tolist()
    both = set(released["val_label"][read_indices(folder / "digits_fm_clusters_val_top2.indices")])
    assert both == set(released["train_label"][kept])


def test_clusters_need_no_other_array_and_those_of_a_file_no_surrogate(jobs, released):
    words = ["method=random", "method.quota=proportional", "target=none"]
    own = ["+method.arrays={labels: clusters}", "method.clusters.number=3"]
    (row,) = jobs.run(*words, *own)
    assert {"surrogate", "signals", "clusters"} <= row["keys"].keys()
    (row,) = jobs.run(*words, own[0], f"method.clusters.path={released['train']}")
    assert "clusters" in row["keys"]
    assert not {"surrogate", "signals"} & row["keys"].keys()
    kept = of(jobs, row, "select", "subset", "ids")
    whole = np.bincount(released["train_label"])
    assert np.abs(np.bincount(released["train_label"][kept], minlength=4) - whole / 2).max() <= 1


def test_a_file_of_other_content_is_another_result(jobs, released):
    words = [WORDS[0], f"method.clusters.path={released['train']}"]
    (row,) = jobs.run(*words)
    assert not (jobs.store / "cluster" / row["keys"]["clusters"] / "val.npy").exists()
    torch.save({0: list(range(200)), 1: list(range(200, 372))}, released["train"])
    (other,) = jobs.run(*words)
    assert other["keys"]["clusters"] != row["keys"]["clusters"]
    assert other["identity"] != row["identity"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({0: [0, 1], 1: [1]}, r"with 3 ids, 2 of them different: expected each of 0 to 371 once"),
        ([1, 2], "expected a dictionary"),
        ({"a": [1]}, "expected a dictionary"),
    ],
)
def test_what_is_no_assignment_of_this_source_is_refused(jobs, content, message):
    torch.save(content, jobs.folder / "file")
    with pytest.raises(ConfigError, match=message):
        jobs.run(WORDS[0], f"method.clusters.path={jobs.folder / 'file'}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["method=label_mapping", "method.clusters.number=3"], "label_mapping asks for no clusters"),
        ([WORDS[0], "method.clusters.path=nowhere"], r"method\.clusters\.path='nowhere': expected a file"),
        ([WORDS[0], "method.clusters.val_path=x"], r"method\.clusters\.path=None"),
        ([*WORDS, "signals.arrays=[logits]"], r"signals\.arrays=\['logits'\]: expected features among them"),
        ([WORDS[0], "method.clusters.number=400"], r"method\.clusters\.number=400: expected 1 to 372"),
    ],
)
def test_what_cannot_be_clustered_is_told_before_anything_is_trained(jobs, words, message):
    with pytest.raises(ConfigError, match=message):
        jobs.run(*words)
    assert not list(jobs.store.glob("train/*/manifest.json"))
