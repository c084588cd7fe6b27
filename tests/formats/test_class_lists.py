"""Lists of classes: ids and names from files, and what lies below a synset."""

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.formats.class_lists import below, listed

NAMES = ["n01", "n02", "n03", "7"]
TREE = "root animal\nroot thing\nanimal bird\nbird n01\nanimal n02\nthing n03\nbird n02\n"


def write(tmp_path, name, content):
    path = tmp_path / name
    np.save(path, content) if name.endswith(".npy") else path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "marked"),
    [
        ("keep.npy", np.array([0, 2]), [1, 0, 1, 0]),
        ("keep.txt", "n02\n\n0\n", [1, 1, 0, 0]),
        ("keep.txt", "7\n", [0, 0, 0, 1]),  # a name, although it looks like an id
    ],
)
def test_ids_and_names_are_read(tmp_path, name, content, marked):
    assert listed(write(tmp_path, name, content), NAMES).tolist() == marked


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("keep.txt", "n02\nn99\n", "1 unknown classes, such as n99"),
        ("keep.txt", "9\n", "such as 9"),
        ("keep.txt", "\n", "an empty list"),
        ("keep.npy", np.array([4]), "path"),
        ("keep.npy", np.zeros(0, np.int64), "empty"),
    ],
)
def test_lists_that_do_not_fit_the_source_are_refused(tmp_path, name, content, message):
    with pytest.raises(ConfigError, match=message):
        listed(write(tmp_path, name, content), NAMES)


@pytest.mark.parametrize(
    ("synsets", "marked"), [(["animal"], [1, 1, 0, 0]), (["bird", "thing"], [1, 1, 1, 0]), (["n03"], [0, 0, 1, 0])]
)
def test_everything_below_a_synset_is_marked(tmp_path, synsets, marked):
    assert below(write(tmp_path, "is_a.txt", TREE), NAMES, synsets=synsets).tolist() == marked


@pytest.mark.parametrize(
    ("tree", "synsets", "message"),
    [
        (TREE, ["plant"], "not there: plant"),
        (TREE, [], "synsets="),
        (TREE + "other leaf\n", ["other"], "above the source's classes"),
        (TREE + "a b c\n", ["bird"], "in line 8"),
    ],
)
def test_trees_and_synsets_that_do_not_fit_are_refused(tmp_path, tree, synsets, message):
    with pytest.raises(ConfigError, match=message):
        below(write(tmp_path, "is_a.txt", tree), NAMES, synsets=synsets)
