"""D2 for DataComp against the authors' loop on an exact index, and against a plain greedy.

Vectors: both cases of datacomp_d2: neighbours, squared distances, start values, the lazy order and the uids. The
default order ("exact") is not meant to match them.
"""

from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.selectors import datacomp as module
from dataprune.selectors.graph import datacomp, knn

with np.load(Path(__file__).parents[1] / "reference" / "datacomp_d2.npz") as file:
    ARRAYS = {key: file[key] for key in file.files}
CASES = ["img_text_k1", "img_k5"]


def case(name):
    arrays = {key.split("/")[1]: value for key, value in ARRAYS.items() if key.startswith(f"{name}/")}
    image_only = arrays["feature_type"] == "image"
    features = arrays["l14_img"] if image_only else np.hstack([arrays["l14_img"], arrays["l14_txt"]])
    budget = int(float(arrays["fraction"]) * len(features))
    rules = {"features": features, "k": int(arrays["k"]), "gamma": float(arrays["gamma"])}
    return arrays, budget, rules


@pytest.mark.parametrize("name", CASES)
def test_lazy_order_is_that_of_the_authors_loop(name):
    arrays, budget, rules = case(name)
    picks = datacomp(arrays["clip_scores_raw"], budget, **rules, order="lazy")
    assert picks.tolist() == arrays["selected_order"].tolist()
    assert (np.sort(arrays["uids_u8u8"][picks]) == arrays["out_uids"]).all()


@pytest.mark.parametrize("name", CASES)
def test_graph_and_start_values_are_the_authors(name):
    arrays, _, rules = case(name)
    squared, neighbors = module.index_neighbors(rules["features"], rules["k"], "auto", 1, None)
    assert (neighbors == arrays["neighbors"]).all()
    np.testing.assert_allclose(squared, arrays["distances"], atol=1e-6)
    shifted = arrays["clip_scores_offset"]
    values = (np.exp(-squared) * np.maximum(shifted[neighbors], 1e-7)).sum(1) + np.maximum(shifted, 1e-7)
    np.testing.assert_allclose(values, arrays["graph_scores"], rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_exact_order_is_the_plain_greedy(name):
    arrays, budget, rules = case(name)
    values, free, slow = arrays["graph_scores"].copy(), np.ones(len(arrays["graph_scores"]), bool), []
    for _ in range(budget):
        pick = int(np.argmax(np.where(free, values, -np.inf)))
        weights = np.exp(-rules["gamma"] * arrays["distances"][pick])
        values[arrays["neighbors"][pick]] -= weights * max(values[pick], 0)
        free[pick] = False
        slow.append(pick)
    assert datacomp(arrays["clip_scores_raw"], budget, **rules).tolist() == slow


@pytest.mark.parametrize("order", ["exact", "lazy"])
def test_any_budget_is_a_prefix_and_takes_each_once(order):
    arrays, _, rules = case("img_k5")
    scores = arrays["clip_scores_raw"]
    whole = datacomp(scores, 450, **rules, order=order)
    assert sorted(whole) == list(range(450))
    assert (datacomp(scores, 77, **rules, order=order) == whole[:77]).all()


def test_a_graph_given_is_the_graph_built():
    arrays, budget, rules = case("img_k5")
    distances, ids = knn(rules["features"], 5)
    lists = {"squared_distances": np.square(distances), "neighbors": ids, "gamma": rules["gamma"]}
    scores = arrays["clip_scores_raw"]
    assert (datacomp(scores, budget, **lists) == datacomp(scores, budget, **rules)).all()


def test_the_threshold_drops_low_scores_after_the_selection():
    arrays, budget, rules = case("img_k5")
    scores = arrays["clip_scores_raw"]
    picks = datacomp(scores, budget, **rules)
    assert datacomp(scores, budget, **rules, threshold=0.2).tolist() == [p for p in picks if scores[p] >= 0.2]


def test_missing_neighbours_send_and_take_nothing():
    lists = {"squared_distances": np.zeros((3, 1)), "neighbors": np.array([[-1], [0], [-1]])}
    for order in ("exact", "lazy"):
        # 1 hears 0 and starts highest; its pick empties 0, and the missing neighbours of 2 are not the last row
        assert datacomp(np.array([0.3, 0.2, 0.1]), 3, **lists, order=order, offset=0.0).tolist() == [1, 2, 0]


def test_own_id_is_dropped_wherever_it_stands_and_its_distance_taken_off():
    found = np.array([[1.0, 2.0, 4.0], [1.0, 1.0, 3.0], [1.0, 2.0, 3.0], [5.0, np.inf, np.inf]], np.float32)
    ids = np.array([[0, 7, 8], [9, 1, 8], [7, 8, 9], [3, -1, -1]])
    squared, left = module._without_self(found, ids, np.arange(4))
    assert left.tolist() == [[7, 8], [9, 8], [7, 8], [-1, -1]]
    assert squared.tolist() == [[1, 3], [0, 2], [0, 1], [0, 0]]


def test_compressed_index_is_seeded_and_near_the_exact_graph():
    rng = np.random.default_rng(0)
    centers, scores = rng.normal(size=(200, 16)) * 3, rng.random(10_500)
    features = (centers[rng.integers(0, 200, 10_500)] + 0.3 * rng.normal(size=(10_500, 16))).astype(np.float16)
    squared, neighbors = module.index_neighbors(features, 2, "ivfpq", 8, np.random.default_rng(1))
    assert (neighbors != np.arange(10_500)[:, None]).all()
    assert (squared >= 0).all()
    real = np.square(features[neighbors].astype(np.float32) - features[:, None].astype(np.float32)).sum(-1)
    assert np.median(real) < 2 * np.median(np.square(knn(features, 2)[0]))
    picks = datacomp(scores, 3000, features=features, k=2, index="ivfpq", rng=np.random.default_rng(1))
    assert (picks == datacomp(scores, 3000, squared_distances=squared, neighbors=neighbors)).all()


GOOD = {"scores": np.ones(4), "budget": 2, "features": np.arange(8.0).reshape(4, 2)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 0}, r"budget=0"),
        ({"budget": 5}, r"budget=5: expected a whole number, 1 to 4"),
        ({"k": 0}, r"k=0"),
        ({"gamma": -1.0}, r"gamma=-1\.0"),
        ({"order": "fast"}, r"order='fast': expected \"exact\" or \"lazy\""),
        ({"index": "hnsw"}, r"index='hnsw'"),
        ({"index": "ivfpq"}, r"rng=None: expected a numpy Generator"),
        ({"index": "ivfpq", "rng": np.random.default_rng(0)}, r"features=\(4, 2\): expected at least 9984 rows"),
        ({"scores": np.array([1, 2, np.nan, 3])}, r"scores=NaN or inf at ids 2"),
        ({"scores": np.ones(3)}, r"features=array of shape"),
        ({"features": None}, r"graph from=nothing: expected features, or squared_distances and neighbors"),
        ({"neighbors": np.ones((4, 1), int)}, r"graph from=features, neighbors"),
    ],
)
def test_bad_input_names_the_argument(change, message):
    with pytest.raises(ConfigError, match=message):
        datacomp(**(GOOD | change))
