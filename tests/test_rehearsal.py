"""A constant out of range is told before the first training, and nobody else's code is called to find out."""

import numpy as np
import pytest

from dataprune.arrays import ARRAYS
from dataprune.checks.job import check_functions
from dataprune.checks.rehearsal import made_up_arrays
from dataprune.errors import ConfigError

WRONG = [
    ("d2", "method.select.gamma=-1"),
    ("d2_graph", "method.select.k=0"),
    ("ccs", "method.select.strata=0"),
    ("band", "method.select.skip_hardest=1.5"),
    ("dual", "method.score.window=1"),
    ("dual", "method.select.c=-4"),
    ("el2n", "method.score.epochs=0"),
    ("eva", "method.score.early=[0,9]"),
    ("moderate", "method.score.center=middle"),
    ("semdedup", "method.score.clusters=0"),
    ("ssl_prototypes", "method.score.prototypes=-3"),
    ("forgetting", "method.score.never_learned=never"),
    ("feature_mapping_band", "method.score.band=2"),
    ("k_center", "method.select.first=-1"),
    ("random_halves", "method.select.seed=-1"),
]


@pytest.mark.parametrize(("method", "word"), WRONG, ids=lambda v: v)
def test_a_constant_out_of_range_is_refused_before_anything_runs(jobs, method, word):
    key = word.partition("=")[0]
    fitting = ["constants.window=5"] * ("window" not in word)
    with pytest.raises(ConfigError) as caught:
        jobs.run(f"method={method}", word, "surrogate.epochs=8", *fitting)
    assert str(caught.value).startswith(f"{key}=")
    assert not jobs.store.exists()


def test_a_text_where_a_number_belongs_is_one_line(jobs):
    with pytest.raises(ConfigError, match=r"^method\.select\.gamma='much': expected"):
        jobs.run("method=d2", "method.select.gamma=much")
    assert not jobs.store.exists()


DENSITY = """
from pathlib import Path

def density(p_true, *, k):
    if p_true.shape[1] < 300:
        Path("called").touch()
        raise IndexError(f"{k} neighbours among {p_true.shape[1]} examples")
    return p_true.mean(0)
"""


def test_a_users_own_score_is_not_called_on_made_up_examples(jobs, tmp_path, monkeypatch):
    """A density of six neighbours means nothing for a handful of examples that somebody invented."""
    (tmp_path / "my_density.py").write_text(DENSITY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (row,) = jobs.run("method=variability", "method.score._target_=my_density.density", "+method.score.k=6")
    assert row["kept"] == 186
    assert not (tmp_path / "called").exists()


def test_large_constants_meet_enough_made_up_examples(jobs):
    check_functions(jobs.config("method=d2", "method.select.k=100"))
    check_functions(jobs.config("method=semdedup", "method.score.clusters=900"))
    check_functions(jobs.config("method=semdedup", "method.score.clusters=50000"))
    check_functions(jobs.config("method=random_halves", "method.select.model=7539"))


def test_every_array_of_the_table_can_be_made_up():
    made_up = made_up_arrays(30, 5, 3)
    assert made_up.keys() == ARRAYS.keys()
    sizes = {"epochs": 3, "n": 30, "t": 30, "classes": 5, "d": 4, "budget": 30}
    for name, array in ARRAYS.items():
        if array.axes:
            assert np.shape(made_up[name]) == tuple(sizes.get(axis, axis) for axis in array.axes), name
            assert made_up[name].dtype == array.dtype, name
