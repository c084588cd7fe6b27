"""A line is named by what sets it apart, and by nothing else."""

import pytest

from dataprune.report.labels import distinguish, label_lines, leaves, natural, suffix

BASE = {
    "source": {"content": "ab12cd"},
    "pretrain": {"epochs": 6, "optimizer": {"lr": 0.1}},
    "surrogate": {"epochs": 8},
}


def labels(*lines):
    """Labels of lines (method, what is added to BASE), in their order."""
    named, _ = label_lines((method, str(i), BASE | config) for i, (method, config) in enumerate(lines))
    return [named[str(i)] for i in range(len(lines))]


def d2(**constants):
    return "d2", {"method": {"select": {"_target_": "dataprune.selectors.graph.message_passing", "k": 5} | constants}}


def test_a_method_with_one_line_has_its_name():
    assert labels(d2(gamma=0.1), ("random", {})) == ["d2", "random"]


def test_a_sweep_of_a_constant_is_named_by_it():
    assert labels(d2(gamma=0.1), d2(gamma=0.5), d2()) == ["d2 gamma=0.1", "d2 gamma=0.5", "d2 gamma=default"]


def test_all_that_differs_is_named():
    lines = labels(d2(gamma=0.1, k=5), d2(gamma=0.5, k=5), d2(gamma=0.1, k=9))
    assert lines == ["d2 gamma=0.1 k=5", "d2 gamma=0.5 k=5", "d2 gamma=0.1 k=9"]


def test_a_key_is_cut_to_what_is_unambiguous():
    longer = {"pretrain": {"epochs": 10, "optimizer": {"lr": 0.1}}}
    assert labels(("forgetting", {}), ("forgetting", longer))[1] == "forgetting pretrain.epochs=10"


def test_of_values_that_change_together_one_is_named_and_the_others_told():
    recipes = {"a": {"pretrain": {"epochs": 6, "batch_size": 64}}, "b": {"pretrain": {"epochs": 9, "batch_size": 32}}}
    words, also = distinguish(recipes, set())
    assert words == {"a": "batch_size=64", "b": "batch_size=32"}
    assert also == ["pretrain.epochs"]


def test_other_data_under_the_same_name_are_named_by_their_content():
    other = {"source": {"content": "ab99ff"}}
    assert labels(("random", {}), ("random", other)) == ["random content=ab12", "random content=ab99"]


def test_other_data_are_named_also_where_a_constant_differs_otherwise():
    lines = [d2(gamma=0.1), d2(gamma=0.5), ("d2", d2(gamma=0.5)[1] | {"source": {"content": "ffff00"}})]
    assert labels(*lines) == ["d2 gamma=0.1 content=ab12", "d2 gamma=0.5 content=ab12", "d2 gamma=0.5 content=ffff"]


def test_code_is_named_only_where_nothing_else_tells_lines_apart():
    coded = [(0.1, "1f3c99"), (0.5, "77aa00"), (0.9, "77aa00"), (0.9, "1f3d00")]
    lines = [d2(gamma=gamma, code={"my.select": code}) for gamma, code in coded]
    assert labels(*lines[:3]) == ["d2 gamma=0.1", "d2 gamma=0.5", "d2 gamma=0.9"]
    assert labels(*lines[2:]) == ["d2 code=77aa", "d2 code=1f3d"]


def test_digits_of_hashes_are_as_many_as_it_takes():
    lines = labels(*(d2(code={"my.select": code}) for code in ("1f3c99", "1f3c77")))
    assert lines == ["d2 code=1f3c9", "d2 code=1f3c7"]


def test_a_function_is_named_by_its_last_part():
    lines = labels(d2(_target_="mine.first.pick"), d2(_target_="mine.second.choose"))
    assert lines == ["d2 select=pick", "d2 select=choose"]


def test_labels_are_unique_even_where_configs_are_not():
    named, _ = label_lines([("random", "e1", BASE), ("random", "e2", BASE)])
    assert sorted(named.values()) == ["random identity=e1", "random identity=e2"]


@pytest.mark.parametrize(
    ("key", "known", "short"),
    [
        (("method", "select", "gamma"), [("method", "score", "window")], "gamma"),
        (("pretrain", "epochs"), [("surrogate", "epochs")], "pretrain.epochs"),
        (("method", "cut", "by_prune_ratio", "0.7"), [], "by_prune_ratio.0.7"),
    ],
)
def test_suffix(key, known, short):
    assert suffix(key, {key, *known}) == short


def test_a_target_belongs_to_the_key_above_it():
    tree = {"method": {"score": {"_target_": "my.score", "window": 3}}}
    assert leaves(tree) == {("method", "score"): "my.score", ("method", "score", "window"): 3}


def test_numbers_in_labels_sort_as_numbers():
    assert sorted(["d2 gamma=10", "d2 gamma=2.5", "d2"], key=natural) == ["d2", "d2 gamma=2.5", "d2 gamma=10"]


def test_a_part_that_is_not_used_is_no_default():
    assert labels(("mine", {}), ("mine", {"signals": {"batch_size": 5}})) == [
        "mine batch_size=none",
        "mine batch_size=5",
    ]


def test_foreign_files_are_named_by_their_first_digits():
    files = [{"method": {"files": {"scores": text * 32}}} for text in ("ab", "cd")]
    assert labels(*(("external", each) for each in files)) == ["external files=abab", "external files=cdcd"]
