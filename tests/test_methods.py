"""Every method in conf/method runs through the whole pipeline on tiny data and keeps what it should."""

import numpy as np
import pytest

import dataprune.__main__ as entry

METHODS = sorted(path.stem for path in (entry.here("conf") / "method").glob("*.yaml"))
# constants that fit 8 epochs and 372 examples
CONSTANTS = {"ssl_prototypes": ["method.score.prototypes=5"], "semdedup": ["method.score.clusters=5"]}
FROM_FILES = {"external"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One store for all methods: the surrogate trains once."""
    return tmp_path_factory.mktemp("methods")


@pytest.mark.parametrize("method", METHODS)
def test_a_method_selects_its_budget(method, jobs, shared):
    jobs.store = shared / "store"
    np.save(shared / "scores.npy", np.random.default_rng(0).random(372, np.float32))
    extra = ["surrogate.epochs=8", "surrogate.record.probabilities=true", *CONSTANTS.get(method, [])]
    if method in FROM_FILES:
        extra.append(f"method.path={shared / 'scores.npy'}")
    (row,) = jobs.run(f"method={method}", "prune_ratio=0.7", *extra)
    assert row["method"] == method
    if "subset" not in row["keys"]:
        return
    subset = np.load(jobs.store / "select" / row["keys"]["subset"] / "export" / "subset.npz")
    if row["level"] == "class":
        assert len(set(subset["classes"])) == (31 if method == "random_halves" else 19)
    else:
        assert len(set(subset["ids"])) == row["kept"] == 112
    if method == "craig":
        assert subset["weights"].sum() == 372
