"""Every method in conf/method runs through the whole pipeline on tiny data and keeps what it should."""

import numpy as np
import pytest

import dataprune.__main__ as entry
from dataprune.selectors.graph import knn

# drop wants a validation split, which glyphs have not: see test_pipeline
METHODS = sorted({path.stem for path in (entry.here("conf") / "method").glob("*.yaml")} - {"drop"})
# constants that fit 8 epochs and 372 examples
CONSTANTS = {
    "el2n_early": ["method.runs=2", "method.epoch=2"],
    "grand_early": ["method.runs=2", "method.epoch=2"],
    "el2n_runs": ["method.runs=5"],
    "d2_density": ["method.clusters.number=10"],
    "ssl_prototypes": ["method.score.prototypes=5"],
    "semdedup": ["method.score.clusters=5"],
    "feature_mapping_clusters": ["method.clusters.number=10"],
    "handpicked_wordnet": ["method.score.synsets=[n1]"],
    "handpicked": ["method.select.classes=[3,5]"],
}
FROM_FILES = {
    "external": 372, "influence": 62, "influence_reverse": 62, "influence_examples": 372,
    "influence_examples_reverse": 372,
}  # fmt: skip  # numbers in the file
LISTS = {"handpicked_file": "3\nA\n", "handpicked_wordnet": "n1 A\nn1 n2\nn2 B\n"}  # text files that methods read
LISTS |= {"subset_file": "".join(f"{i}\n" for i in range(112))}
KEPT_CLASSES = {
    "random_halves": 31,
    "left_out": 61,
    "registered": 2,
    "handpicked": 2,
    "handpicked_file": 2,
    "handpicked_wordnet": 2,
}  # the others: 30 % of 62


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One store for all methods: the surrogate trains once."""
    return tmp_path_factory.mktemp("methods")


@pytest.mark.parametrize("method", METHODS)
def test_a_method_selects_its_budget(method, jobs, shared):
    jobs.store = shared / "store"
    extra = ["surrogate.epochs=8", "surrogate.record.probabilities=true", *CONSTANTS.get(method, [])]
    extra += ["surrogate.snapshots=[2]", "constants.window=5", "constants.early=[0,3]", "constants.late=[5,8]"]
    if method == "d2_precomputed":
        distances, neighbors = knn(np.random.default_rng(0).random((372, 3), np.float32), 6)
        for name, array in (("neighbors", neighbors), ("distances", distances)):
            np.save(shared / f"{name}.npy", array)
            extra.append(f"method.neighbors.{name}={shared / name}.npy")
    if method in FROM_FILES:
        np.save(shared / f"{method}.npy", np.random.default_rng(0).random(FROM_FILES[method], np.float32))
        extra.append(f"method.path={shared / method}.npy")
    if method == "registered":
        np.save(shared / "masks.npy", np.arange(62)[None] < 2)
        extra.append(f"method.path={shared / 'masks.npy'}")
    if method in LISTS:
        (shared / "list.txt").write_text(LISTS[method])
        extra.append(f"method.path={shared / 'list.txt'}")
    (row,) = jobs.run(f"method={method}", "prune_ratio=0.7", *extra)
    assert row["method"] == method
    if "subset" not in row["keys"]:
        return
    subset = np.load(jobs.store / "select" / row["keys"]["subset"] / "export" / "subset.npz")
    if row["level"] == "class":
        assert len(set(subset["classes"])) == KEPT_CLASSES.get(method, 19)
    elif method == "feature_mapping_clusters":
        scores = np.load(jobs.store / "score" / row["keys"]["scores"] / "scores.npy")
        assert set(scores[subset["ids"]]) == {7, 8, 9}, "3 of 10 clusters, whole"
        assert row["kept"] == np.isin(scores, [7, 8, 9]).sum()
    else:
        assert len(set(subset["ids"])) == row["kept"] == 112
    if method == "craig":
        assert subset["weights"].sum() == 372
