"""The portable subset file."""

import json

import numpy as np
import pytest

from dataprune import __version__
from dataprune.errors import ConfigError
from dataprune.subset import Subset

HERE, ELSEWHERE = "ab" * 32, "cd" * 32


def of(*ids, n=10, **more):
    return Subset(np.array(ids, np.int64), n, HERE, **more)


def test_it_comes_back_as_it_was(tmp_path):
    subset = of(
        2,
        5,
        9,
        order=np.array([9, 2, 5]),
        weights=np.array([0.5, 1, 2], np.float32),
        classes=np.array([0, 3]),
        header={"method": "forgetting", "prune_ratio": 0.7, "seed": 1},
    )
    subset.save(tmp_path / "subset.npz")
    back = Subset.load(tmp_path / "subset.npz", HERE)
    for name in ("ids", "order", "weights", "classes"):
        there, here = getattr(back, name), getattr(subset, name)
        assert there.dtype == here.dtype
        np.testing.assert_array_equal(there, here)
    assert (back.n, back.fingerprint) == (10, HERE)
    assert back.header == subset.header | {"version": __version__}


def test_what_there_is_not_is_not_in_the_file(tmp_path):
    of(1).save(tmp_path / "subset.npz")
    back = Subset.load(tmp_path / "subset.npz")
    assert back.order is back.weights is back.classes is None


def test_another_program_needs_numpy_alone(tmp_path):
    of(1, 4, header={"method": "random"}).save(tmp_path / "subset.npz")
    with np.load(tmp_path / "subset.npz", allow_pickle=False) as file:
        assert file["ids"].tolist() == [1, 4]
        header = json.loads(str(file["header"]))
    assert header == {"method": "random", "n": 10, "fingerprint": HERE, "version": __version__}


def test_the_same_subset_is_the_same_bytes(tmp_path, monkeypatch):
    for name, now in (("a", 1e9), ("b", 1.5e9)):
        monkeypatch.setattr("time.time", lambda now=now: now)
        of(1, 4, order=np.array([4, 1])).save(tmp_path / f"{name}.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_subset_of_other_data_is_refused(tmp_path):
    of(1).save(tmp_path / "subset.npz")
    with pytest.raises(ConfigError, match=r"subset='.*subset\.npz': expected a subset of this data set \(cdcdcdcd\)"):
        Subset.load(tmp_path / "subset.npz", ELSEWHERE)


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([], "at least one id, sorted, none twice"),
        ([3, 2], "at least one id, sorted, none twice"),
        ([2, 2], "at least one id, sorted, none twice"),
        ([-1, 2], r"^ids=-1: expected ids of 0 to 9"),
        ([2, 10, 11], r"^ids=10, 11: expected ids of 0 to 9"),
    ],
)
def test_ids_that_cannot_be_are_refused(ids, text):
    with pytest.raises(ConfigError, match=text):
        of(*ids)


def test_a_file_that_was_tampered_with_is_refused_on_reading(tmp_path):
    header = json.dumps({"n": 2, "fingerprint": HERE})
    np.savez(tmp_path / "subset.npz", ids=np.array([5]), header=np.array(header))
    with pytest.raises(ConfigError, match="expected ids of 0 to 1"):
        Subset.load(tmp_path / "subset.npz")


@pytest.mark.parametrize("name", ["order", "weights"])
def test_what_counts_one_an_id_must_be_as_many(name):
    with pytest.raises(ConfigError, match=rf"^{name}=array of shape \(3,\): expected shape \(2\)"):
        of(1, 4, **{name: np.arange(3)})


def test_an_order_names_the_ids():
    with pytest.raises(ConfigError, match=r"^order=array of other ids: expected the ids of the subset as they were"):
        of(1, 4, order=np.array([4, 2]))


def test_a_foreign_npz_is_refused_with_the_way_in(tmp_path):
    np.savez(tmp_path / "subset.npz", ids=np.array([1, 4]))
    with pytest.raises(ConfigError, match=r"subset\.npz': expected a file with ids and header, as Subset\.save writes"):
        Subset.load(tmp_path / "subset.npz")


def test_the_file_holds_its_arrays_and_no_argument_of_numpys(tmp_path, monkeypatch):
    """numpy 2.0 takes savez(allow_pickle=False) for an array of that name; 2.1 does not."""
    given = {}
    monkeypatch.setattr(np, "savez", lambda path, **arrays: given.update(arrays))
    Subset(np.array([1, 4]), 6, "f").save(tmp_path / "subset.npz")
    assert set(given) == {"ids", "header"}
