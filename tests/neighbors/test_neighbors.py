"""Nearest neighbours, exact and approximate, against a matrix of all distances."""

import warnings

import numpy as np
import pytest
import torch

from dataprune.errors import ConfigError
from dataprune.neighbors import cells, exact, points
from dataprune.neighbors.cells import approximate_knn
from dataprune.neighbors.exact import knn


def all_pairs(features, k):
    """The definition: every distance by float32 differences, a stable sort."""
    x = np.asarray(features).astype(np.float32)
    squares = [np.square((x - row).astype(np.float64)).sum(1) for row in x]
    distances = np.sqrt(squares).astype(np.float32)
    np.fill_diagonal(distances, np.inf)
    ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, ids, 1), ids


def spaces():
    """Feature sets that are each hard in their own way."""
    rng = np.random.default_rng(0)
    plain = rng.normal(size=(300, 20))
    return {
        "plain": (plain, 7),
        "float16": (plain.astype(np.float16), 5),
        "integers on a grid: many ties": (np.stack(np.meshgrid(*[np.arange(6)] * 3), -1).reshape(-1, 3), 7),
        "few distinct rows: more copies than k": (np.repeat(rng.normal(size=(20, 16)), 15, 0)[rng.permutation(300)], 5),
        "all the same": (np.ones((200, 4)), 3),
        "far from the origin": (plain * 1e-3 + 1000, 5),
        "one far away": (np.concatenate([plain, plain[:1] + 1e6]), 5),
        "tiny": (plain * 1e-22, 5),
        "k above n - 1": (plain[:12], 50),
        "two": (plain[:2], 1),
    }


@pytest.mark.parametrize("name", spaces())
def test_exact_neighbours_are_those_of_the_full_matrix(name, monkeypatch):
    monkeypatch.setattr(points, "BLOCK", 64)  # several blocks, the last one ragged
    features, k = spaces()[name]
    slow_distances, slow_ids = all_pairs(features, min(k, len(features) - 1))
    distances, ids = knn(features, k)
    assert (ids.dtype, distances.dtype) == (np.int64, np.float32)
    assert (ids == slow_ids).all()
    np.testing.assert_allclose(distances, slow_distances, rtol=1e-6)


def test_block_size_does_not_change_the_result(monkeypatch):
    features = np.random.default_rng(1).integers(0, 3, (500, 4))
    whole = knn(features, 6)
    monkeypatch.setattr(points, "BLOCK", 37)
    for one, other in zip(whole, knn(features, 6), strict=True):
        assert (one == other).all()


def test_a_copy_is_a_neighbour_at_distance_0_and_an_example_is_not_its_own():
    features = np.array([[5.0, 5.0], [5.0, 5.0], [9.0, 9.0], [5.0, 5.0]])
    distances, ids = knn(features, 2)
    assert ids.tolist() == [[1, 3], [0, 3], [0, 1], [0, 1]]
    assert (distances[[0, 1, 3]] == 0).all()


def test_near_copies_far_from_the_origin_keep_their_distance():
    base = np.full((1, 64), 3000.0, np.float32)
    features = np.concatenate([base, base + np.float32(2**-10), base + 1])
    assert knn(features, 1)[0][:2, 0].tolist() == [8 * 2**-10] * 2


def test_distances_are_symmetric_and_a_permutation_only_renames():
    rng = np.random.default_rng(2)
    features, order = rng.normal(size=(200, 30)).astype(np.float32), rng.permutation(200)
    distances, ids = knn(features, 199)
    table = np.zeros((200, 200), np.float32)
    np.put_along_axis(table, ids, distances, 1)
    assert (table == table.T).all()
    moved, moved_ids = knn(features[order], 10)
    assert (moved == distances[order, :10]).all()
    assert (order[moved_ids] == ids[order, :10]).all()


def test_a_memory_map_gives_the_same(tmp_path):
    features = np.random.default_rng(3).normal(size=(300, 8)).astype(np.float16)
    np.save(tmp_path / "f.npy", features)
    mapped = knn(np.load(tmp_path / "f.npy", mmap_mode="r"), 4)
    assert all((a == b).all() for a, b in zip(knn(features, 4), mapped, strict=True))


def test_bfloat16_products_find_the_same_neighbours_and_leave_torch_as_it_was():
    features = np.random.default_rng(4).normal(size=(2500, 64)).astype(np.float32)
    before = torch.get_float32_matmul_precision()
    distances, ids = knn(features, 10, precision="bfloat16")
    exact, exact_ids = knn(features, 10)
    assert (ids == exact_ids).mean() > 0.999
    assert (distances[ids == exact_ids] == exact[ids == exact_ids]).all()
    assert torch.get_float32_matmul_precision() == before


def test_the_torch_path_finds_the_same_candidates(monkeypatch):
    """What `device="cuda"` runs, here on torch's CPU device."""
    monkeypatch.setattr(exact, "TORCH_ROWS", 70)
    monkeypatch.setattr(exact, "TORCH_COLUMNS", 110)
    data = points.centred_points(np.random.default_rng(5).normal(size=(300, 10)), "float32")
    values, candidates = exact._torch_candidates(data, 9, "cpu")
    slow_values, slow = exact._candidates(data, 9)
    np.testing.assert_allclose(values, slow_values, rtol=1e-4)
    assert (np.sort(candidates) == np.sort(slow)).all()


def test_memory_stays_far_below_the_matrix():
    import tracemalloc

    features = np.random.default_rng(6).normal(size=(6000, 8)).astype(np.float32)
    knn(features[:10], 2)
    tracemalloc.start()
    knn(features, 5)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6000 * 6000 * 4 / 4


@pytest.mark.parametrize(
    ("features", "k", "options", "message"),
    [
        (np.ones(3), 1, {}, r"features=array of shape \(3,\): expected shape \(n, d\)"),
        (np.ones((0, 3)), 1, {}, r"features=.*non-empty"),
        (np.array([[1.0], [np.nan], [np.inf]]), 1, {}, r"features=NaN or inf at ids 1, 2"),
        (np.array([["a"], ["b"]]), 1, {}, r"features=.*numbers"),
        (np.array([[1e25], [0.0]]), 1, {}, r"features=.*overflow"),
        (np.ones((3, 2)), 0, {}, r"k=0: expected a whole number, 1 or more"),
        (np.ones((3, 2)), 1.5, {}, r"k=1\.5"),
        (np.ones((3, 2)), 1, {"precision": "float16"}, r"precision='float16'"),
    ],
)
def test_bad_input_names_the_argument(features, k, options, message):
    with pytest.raises(ConfigError, match=message):
        knn(features, k, **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_missing_device_is_said():
    with pytest.raises(ConfigError, match="device='cuda'"):
        knn(np.ones((3, 2)), 1, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cuda_gives_what_the_cpu_gives(precision):
    features = np.random.default_rng(7).normal(size=(5000, 64)).astype(np.float32)
    assert (knn(features, 10, device="cuda", precision=precision)[1] == knn(features, 10)[1]).mean() > 0.999


def test_approximate_neighbours_of_clusters_are_nearly_all_true_and_the_recall_is_measured():
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(40, 16)) * 5)[rng.integers(0, 40, 4000)] + rng.normal(size=(4000, 16))
    distances, ids, recall = approximate_knn(features, 5, rng=np.random.default_rng(1), cell=100)
    true, true_ids = knn(features, 5)
    assert recall > 0.97
    assert abs(recall - (distances <= true[:, -1:]).mean()) < 0.02
    found = ids == true_ids
    assert (distances[found] == true[found]).all()
    assert (np.diff(distances, axis=1) >= 0).all()
    assert all(len(set(row)) == 5 and i not in row for i, row in enumerate(ids.tolist()))


def test_more_probes_find_more_and_all_probes_find_all():
    features = np.random.default_rng(2).normal(size=(1500, 12))
    warnings.simplefilter("ignore")  # of low recall; pytest puts the filters back
    found = [approximate_knn(features, 5, rng=np.random.default_rng(1), cell=50, probes=p)[2] for p in (2, 8, 100)]
    assert found[0] < found[1] < found[2] == 1


def test_a_poor_graph_is_warned_of():
    with pytest.warns(UserWarning, match=r"holds only 0\.\d+ of the neighbours: raise probes \(now 1\)"):
        approximate_knn(
            np.random.default_rng(2).normal(size=(2000, 12)), 5, rng=np.random.default_rng(1), cell=40, probes=1
        )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_copies_do_not_hinder_the_approximate_search(precision):
    features = np.concatenate([np.zeros((900, 4)), np.random.default_rng(0).normal(size=(100, 4))])
    distances, ids, _ = approximate_knn(features, 3, rng=np.random.default_rng(0), cell=50, precision=precision)
    assert (distances[:900] == 0).all()
    assert all(len(set(row)) == 3 and i not in row for i, row in enumerate(ids.tolist()))


def test_a_crowd_of_examples_is_split_into_cells_of_bounded_size():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(3000, 8)), 50 * rng.normal(size=(100, 8))]).astype(np.float32)
    data = points.centred_points(features, "float32")
    centers = cells._centers(data, 100, rng)
    sizes = np.bincount(cells._nearest_cells(data, centers, 1)[:, 0])
    assert sizes.max() < cells.TOO_LARGE * 100
    assert len(centers) < 100


def test_the_same_seed_gives_the_same_graph_and_a_small_set_is_searched_exactly():
    features = np.random.default_rng(3).normal(size=(900, 8))
    one, other = (approximate_knn(features, 4, rng=np.random.default_rng(9), cell=60, probes=8)[1] for _ in range(2))
    assert (one == other).all()
    assert (approximate_knn(features, 4, rng=np.random.default_rng(9))[1] == knn(features, 4)[1]).all()


def test_approximate_search_refuses_a_small_sample_and_a_seed():
    with pytest.raises(ConfigError, match="sample=10: expected 500 rows or more"):
        approximate_knn(np.ones((9, 2)), 2, rng=np.random.default_rng(0), sample=10)
    with pytest.raises(ConfigError, match="rng=0: expected a numpy Generator"):
        approximate_knn(np.ones((9, 2)), 2, rng=0)
