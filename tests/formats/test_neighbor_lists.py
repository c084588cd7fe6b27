"""Neighbours that somebody else has computed come in by example, whatever the order of the rows."""

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.formats.neighbor_lists import read
from dataprune.selectors.graph import knn, message_passing


@pytest.fixture
def saved(tmp_path):
    """saved(name=array, ...): the arguments of `read` that name files with these arrays."""

    def files(**arrays):
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        return {name: tmp_path / f"{name}.npy" for name in arrays}

    return files


def features(n=30):
    return np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)


def with_itself(distances, neighbors):
    """As faiss gives it: the row itself first."""
    rows = np.arange(len(neighbors))[:, None]
    return np.hstack([np.zeros_like(distances[:, :1]), distances]), np.hstack([rows, neighbors])


def test_a_first_column_that_is_the_row_itself_is_left_out(saved):
    distances, neighbors = knn(features(), 3)
    own_distances, own_neighbors = with_itself(distances, neighbors)
    for given in ((distances, neighbors), (own_distances, own_neighbors)):
        found = read(**saved(distances=given[0], neighbors=given[1]), n=30)
        np.testing.assert_array_equal(found[0], distances)
        np.testing.assert_array_equal(found[1], neighbors)


def test_rows_in_the_order_of_a_cut_are_given_back_to_their_examples(saved):
    """D2's files: rows and neighbours are places in what the cut left, in the cut's order."""
    rows = np.random.default_rng(1).permutation(30)[:20]
    distances, neighbors = knn(features()[rows], 3)
    found = read(**saved(distances=distances, neighbors=neighbors, ids=rows), n=30)
    for place, example in enumerate(rows):
        assert found[1][example].tolist() == rows[neighbors[place]].tolist()
        assert found[0][example].tolist() == distances[place].tolist()
    assert (found[1][np.setdiff1d(np.arange(30), rows)] == -1).all()


def test_the_picks_are_those_of_the_published_order(saved):
    """Whether examples are called by their ids or by their places in the cut's order: the same examples are picked."""
    rng = np.random.default_rng(2)
    scores, rows = rng.random(30).astype(np.float32), rng.permutation(30)[:20]
    distances, neighbors = knn(features()[rows], 3)
    published = message_passing(scores[rows], 8, distances=distances, neighbors=neighbors, gamma=0.1, graph="directed")
    all_distances, all_neighbors = read(**saved(distances=distances, neighbors=neighbors, ids=rows), n=30)
    left = np.sort(rows)
    words = {"distances": all_distances[left], "neighbors": all_neighbors[left], "ids": left}
    ours = message_passing(scores[left], 8, **words, gamma=0.1, graph="directed")
    assert left[ours].tolist() == rows[published].tolist()


def test_neighbours_that_a_cut_has_taken_are_none():
    neighbors, distances = np.array([[1, 2], [2, 0], [1, 0]]), np.array([[1.0, 2], [1, 2], [1, 2]])
    scores = np.array([1.0, 3.0])
    words = {"neighbors": neighbors[[0, 2]], "distances": distances[[0, 2]], "gamma": 0.1, "graph": "directed"}
    picks = message_passing(scores, 2, **words, ids=np.array([0, 2]))
    alone = message_passing(
        scores, 2, neighbors=np.array([[1], [0]]), distances=np.array([[2.0], [2.0]]), gamma=0.1, graph="directed"
    )
    assert picks.tolist() == alone.tolist()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"neighbors": np.zeros((3, 2))}, r"^neighbors=.*float64.*expected integers"),
        ({"distances": np.zeros((3, 1))}, r"^distances=.*\(3, 1\).*expected \(3, 2\)"),
        ({"neighbors": np.array([[1, 9], [0, 2], [0, 1]])}, r"^neighbors=.*rows 0: expected places of 0 to 2"),
        ({"neighbors": np.array([[1, 2], [1, 2], [0, 1]])}, r"^neighbors=.*rows 1 list themselves"),
        ({"ids": np.array([0, 0, 1])}, r"^ids=.*expected 3 different numbers of 0 to 2"),
    ],
)
def test_wrong_files_are_named(saved, change, text):
    good = {"neighbors": np.array([[1, 2], [0, 2], [0, 1]]), "distances": np.ones((3, 2))}
    with pytest.raises(ConfigError, match=text):
        read(**saved(**(good | change)), n=3)


def test_fewer_rows_than_examples_want_to_be_named(saved):
    files = saved(neighbors=np.array([[1], [0]]), distances=np.ones((2, 1)))
    with pytest.raises(ConfigError, match=r"^neighbors=.*2 rows: expected 3"):
        read(**files, n=3)
