"""What is kept of a pool is what the pure functions keep of its rows."""

import json

import numpy as np
import pytest

from dataprune.neighbors.exact import knn
from dataprune.pools.cells import Pieces
from dataprune.pools.layout import Room, spread_over
from dataprune.scores.features import distance_to_center, distance_to_prototype, prototypicality, semdedup
from dataprune.selectors.coverage import herding, k_center
from dataprune.selectors.datacomp import datacomp
from dataprune.selectors.graph import message_passing
from dataprune.selectors.ranked import middle, quotas, random, random_stratified, top
from dataprune.selectors.strata import stratified
from dataprune.selectors.submodular import facility_location
from dataprune.streams import stream
from dataprune.subset import Subset
from tests.pools.made_up import Made, chosen


@pytest.fixture
def made():
    return Made()


@pytest.fixture
def pool(made, tmp_path):
    return made.parquet(tmp_path / "pool")


def cells_of(output, n):
    """Centres, and the cell of each row, that a selection found."""
    (fitted,) = (output / "parts").glob("fit-*")
    centers = np.load(fitted / "centers.npy")
    plan = json.loads((output / "run.json").read_text())
    assert plan["cut_cells"] == 0
    rows = {}
    for path in (output / "parts").glob("label-*"):
        rows[len(np.load(path / "cells.npy"))] = path
    return centers


def nearest_of(rows, centers):
    return ((rows[:, None].astype(np.float64) - centers[None]) ** 2).sum(-1).argmin(1)


def test_semdedup_in_cells_is_semdedup_of_these_cells(made, pool, tmp_path):
    kept = chosen(pool, tmp_path / "out", method="semdedup", budget=400, cells=5)
    centers = cells_of(tmp_path / "out", len(made.rows))
    scores = semdedup(made.unit, centers, nearest_of(made.unit, centers))
    assert len(centers) > 2
    assert kept.ids.tolist() == np.sort(top(scores, 400)).tolist()


def test_a_threshold_keeps_what_scores_so_much(made, pool, tmp_path):
    kept = chosen(pool, tmp_path / "out", method="semdedup", threshold=-0.999, cells=5)
    centers = cells_of(tmp_path / "out", len(made.rows))
    scores = semdedup(made.unit, centers, nearest_of(made.unit, centers))
    assert kept.ids.tolist() == np.flatnonzero(scores >= -0.999).tolist()
    assert 400 < len(kept.ids) < 600


def test_prototypes_are_the_cells(made, pool, tmp_path):
    kept = chosen(pool, tmp_path / "out", method="ssl_prototypes", budget=0.5, cells=5)
    centers = cells_of(tmp_path / "out", len(made.rows))
    scores = 1 - (made.unit @ centers.T).max(1)
    assert len(np.setdiff1d(kept.ids, top(scores, 300))) <= 1  # the last may tie to rounding


def test_distance_to_given_prototypes_is_prototypicality_on_them():
    rows = np.random.default_rng(0).normal(size=(50, 4))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centers = unit[:3]
    found = distance_to_prototype(rows, 2 * centers, (unit @ centers.T).argmax(1))
    np.testing.assert_allclose(found, 1 - (unit @ centers.T).max(1), atol=1e-6)
    one = prototypicality(rows, prototypes=1)
    mean = unit.mean(0, keepdims=True)
    np.testing.assert_allclose(distance_to_prototype(rows, mean, np.zeros(50, int)), one, atol=1e-5)


def test_moderate_takes_the_middle_of_all_cells(made, pool, tmp_path):
    kept = chosen(pool, tmp_path / "out", method="moderate", budget=200, cells=5)
    cells = nearest_of(made.wide, cells_of(tmp_path / "out", len(made.rows)))
    assert kept.ids.tolist() == np.sort(middle(distance_to_center(made.wide, cells), 200)).tolist()


FUNCTIONS = {"k_center": k_center, "herding": herding, "facility_location": lambda x, b: facility_location(x, b)[0]}


@pytest.mark.parametrize(("method", "function"), FUNCTIONS.items(), ids=FUNCTIONS)
def test_picks_in_a_cell_are_those_of_its_share(made, pool, tmp_path, method, function):
    kept = chosen(pool, tmp_path / "out", method=method, budget=120, cells=5)
    cells = nearest_of(made.wide, cells_of(tmp_path / "out", len(made.rows)))
    sizes = np.bincount(cells)
    members = [np.flatnonzero(cells == cell) for cell in range(len(sizes))]
    picks = [
        own[function(made.wide[own], int(share))] for own, share in zip(members, quotas(sizes, 120, sizes), strict=True)
    ]
    assert kept.ids.tolist() == np.sort(np.concatenate(picks)).tolist()


def test_equal_quotas_give_each_cell_as_many(made, pool, tmp_path):
    kept = chosen(pool, tmp_path / "out", method="k_center", budget=60, cells=5, quota="equal")
    cells = nearest_of(made.wide, cells_of(tmp_path / "out", len(made.rows)))
    counts = np.bincount(cells[kept.ids])
    assert counts.max() - counts.min() <= 1


def test_d2_on_all_cells_is_d2_on_the_exact_graph(made, pool, tmp_path, capsys):
    options = {"columns": {"scores": "score"}, "cells": 6, "probes": 50}
    kept = chosen(pool, tmp_path / "out", method="d2", budget=200, neighbors=5, gamma=0.3, **options)
    distances, neighbors = knn(made.rows, 5)
    picks = message_passing(made.scores, 200, distances=distances, neighbors=neighbors, gamma=0.3)
    assert Subset.load(tmp_path / "out" / "subset.npz").order.tolist() == picks.tolist()
    assert kept.stats["recall"] == 1
    assert "100.0% of the true ones" in capsys.readouterr().out


def test_datacomp_on_all_cells_is_datacomp(made, pool, tmp_path):
    options = {"columns": {"scores": "score"}, "cells": 6, "probes": 50}
    chosen(pool, tmp_path / "out", method="d2_datacomp", budget=200, **options)
    picks = datacomp(made.scores, 200, features=made.rows, index="exact")
    assert Subset.load(tmp_path / "out" / "subset.npz").order.tolist() == picks.tolist()


def test_rows_of_a_graph_may_be_scaled(made, pool, tmp_path):
    options = {"columns": {"scores": "score"}, "cells": 6, "probes": 50, "unit": True}
    kept = chosen(pool, tmp_path / "out", method="d2", budget=200, **options)
    distances, neighbors = knn(made.unit, 10)
    picks = message_passing(made.scores, 200, distances=distances, neighbors=neighbors, gamma=0.1)
    assert kept.ids.tolist() == np.sort(picks).tolist()
    assert kept.stats["recall"] == 1


def test_the_recall_is_that_of_the_lists(tmp_path, capsys):
    made = Made(400)
    made.rows = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float16)
    options = {"columns": {"scores": "score"}, "cells": 40, "probes": 1}
    kept = chosen(made.parquet(tmp_path / "pool"), tmp_path / "out", method="d2", budget=100, neighbors=5, **options)
    found = {}
    for path in (tmp_path / "out" / "parts").glob("meet-*"):
        found |= dict(zip(np.load(path / "rows.npy").tolist(), np.load(path / "distances.npy"), strict=True))
    lists = np.stack([found[i] for i in range(400)])
    true = knn(made.rows, 5)[0][:, -1:]
    assert kept.stats["recall"] == pytest.approx((lists <= true * (1 + 1e-5) + 1e-6).mean(), abs=1e-9)
    assert kept.stats["recall"] < 0.9
    assert "raise --probes" in capsys.readouterr().out


@pytest.mark.parametrize(("options", "expected"), [
    ({"method": "top", "columns": {"scores": "score"}}, lambda m: top(m.scores, 200)),
    ({"method": "random", "seed": 3}, lambda m: random(600, 200, stream(3, "select"))),
    ({"method": "random_stratified", "columns": {"labels": "label"}},
     lambda m: random_stratified(m.labels, 200, stream(0, "select"))),
    ({"method": "ccs", "columns": {"scores": "score"}, "strata": 7, "cut": 0.0},
     lambda m: stratified(m.scores, 200, stream(0, "select"), strata=7)),
])  # fmt: skip
def test_methods_of_columns_are_the_selectors_as_they_are(made, pool, tmp_path, options, expected):
    kept = chosen(pool, tmp_path / "out", budget=200, **options)
    assert kept.ids.tolist() == np.sort(expected(made)).tolist()


def test_a_cut_comes_before(made, pool, tmp_path):
    columns = {"scores": "score"}
    kept = chosen(pool, tmp_path / "out", budget=200, method="ccs", cut=0.2, columns=columns)
    assert not set(kept.ids) & set(top(made.scores, 120).tolist())


def test_large_cells_are_cut_by_row_number():
    pieces = Pieces.of(np.array([10, 0, 100, 7]), mean=20)
    assert pieces.sizes.tolist() == [10, 50, 50, 7]
    assert pieces.cell.tolist() == [0, 2, 2, 3]
    cells = np.array([2, 0, 2, 3])
    assert pieces.of_rows(cells, np.array([49])).tolist() == [1, 0, 2, 3]  # the 49 before make the second one the 50th


def test_a_cell_of_copies_is_cut_and_all_rows_are_decided(tmp_path):
    made = Made(600)
    made.rows[:400] = made.rows[0]
    kept = chosen(made.parquet(tmp_path / "pool"), tmp_path / "out", method="semdedup", budget=300, cells=10)
    assert kept.stats["cut_cells"] == 1
    assert kept.stats["largest_cell"] <= 150
    assert (kept.ids < 400).sum() < 200  # of the copies those that are needed to fill up


def test_buckets_fit_the_memory_and_say_what_would():
    sizes = np.full(5000, 1000)
    room = Room(900 * 2**20, 256, 2)
    bucket = room.buckets(sizes, 0)
    assert room.bucket(int(np.bincount(bucket, sizes).max()), 1000, 0) <= room.free
    assert bucket.max() + 1 < Room(500 * 2**20, 256, 2).buckets(sizes, 0).max() + 1
    with pytest.raises(ValueError, match=r"--memory='500 MiB': expected .* for the largest cell \(90000 rows\)"):
        Room(500 * 2**20, 256, 2).buckets(np.array([90_000]), 0)


def test_buckets_fill_evenly_and_skew_goes_first():
    bucket = spread_over(np.array([9, 1, 1, 1, 6]), 2)
    assert np.bincount(bucket, [9, 1, 1, 1, 6]).tolist() == [9, 9]
