"""A bad value is answered with its name, itself and what would do."""

import pickle
import re

import numpy as np
import pytest

from dataprune.errors import (
    ConfigError,
    Shown,
    class_labels,
    finite,
    first,
    generator,
    one_of,
    shaped,
    whole_number,
)


def says(text):
    """The context in which a ConfigError with exactly this text is raised."""
    return pytest.raises(ConfigError, match=f"^{re.escape(text)}$")


def test_the_text_is_key_value_and_what_would_do():
    error = ConfigError("window", 20, "2 to 12")
    assert str(error) == "window=20: expected 2 to 12"
    assert (error.key, error.value, error.expected) == ("window", 20, "2 to 12")
    assert isinstance(error, ValueError)


def test_a_text_value_is_quoted_and_a_description_is_not():
    assert str(ConfigError("reduce", "max", "sum | mean")) == "reduce='max': expected sum | mean"
    assert str(ConfigError("x", Shown("array of float64"), "integers")) == "x=array of float64: expected integers"


def test_under_puts_the_key_below_a_prefix_and_keeps_the_rest():
    error = ConfigError("window", Shown("twenty"), "2 to 12").under("score").under("method")
    assert str(error) == "method.score.window=twenty: expected 2 to 12"


def test_it_comes_back_from_a_worker_process():
    error = ConfigError("features", Shown("NaN at ids 3"), "finite numbers")
    back = pickle.loads(pickle.dumps(error))
    assert str(back) == str(error)
    assert str(back.under("a")) == "a.features=NaN at ids 3: expected finite numbers"


def test_first_names_five_ids_and_counts_the_others():
    assert first([3]) == "3"
    assert first(np.arange(5)) == "0, 1, 2, 3, 4"
    assert first(np.arange(12)) == "0, 1, 2, 3, 4 and 7 more"
    assert first([7, 8, 9], shown=1) == "7 and 2 more"


# finite


def test_finite_arrays_pass_as_they_are():
    values = np.array([[1.0, -2.0]], np.float16)
    assert finite("x", values) is values
    assert finite("x", np.array([], np.float32)).shape == (0,)
    assert finite("x", np.array([1, 2])).dtype.kind == "i"
    assert finite("x", [0.5]).tolist() == [0.5]


def test_a_sum_that_overflows_is_no_fault_of_the_values():
    values = np.array([1.5e308, 1.5e308])
    assert finite("x", values) is values


def test_opposite_infinities_do_not_cancel():
    with says("x=NaN or inf at ids 0, 2: expected finite numbers"):
        finite("x", np.array([np.inf, 1, -np.inf]))


def test_the_ids_are_those_of_the_id_axis():
    values = np.zeros((2, 4))
    values[1, 3] = np.nan
    with says("x=NaN or inf at ids 1: expected finite numbers"):
        finite("x", values)
    for axis in (1, -1):
        with says("x=NaN or inf at ids 3: expected finite numbers"):
            finite("x", values, id_axis=axis)


# shaped


def test_a_letter_stands_for_any_length():
    assert shaped("x", [[1, 2, 3]], "n", 3).shape == (1, 3)
    assert shaped("x", np.zeros((0, 3)), "n", 3).shape == (0, 3)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 3, 1)])
def test_another_shape_is_refused_with_both(shape):
    with says(f"x=array of shape {shape}: expected shape (n, 3)"):
        shaped("x", np.zeros(shape), "n", 3)


# class_labels


def test_labels_become_int64_and_may_leave_classes_out():
    labels = class_labels("labels", np.array([0, 5], np.uint8), n=2, n_classes=6)
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 5]
    assert class_labels("labels", np.zeros(0, np.int64)).shape == (0,)


@pytest.mark.parametrize(
    ("labels", "limits", "text"),
    [
        (np.array([0.0]), {}, "labels=array of float64: expected integer class ids"),
        (np.array([True]), {}, "labels=array of bool: expected integer class ids"),
        (np.array([[0]]), {}, "labels=array of shape (1, 1): expected shape (n)"),
        (np.array([0, 1]), {"n": 3}, "labels=array of shape (2,): expected shape (3)"),
        (np.array([0, -1, -2]), {}, "labels=-1 at ids 1, 2: expected class ids of 0 or more"),
        (np.array([0, 7, 3]), {"n_classes": 3}, "labels=7 at ids 1, 2: expected class ids of 0 to 2"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels, limits, text):
    with says(text):
        class_labels("labels", labels, **limits)


# scalars


def test_only_a_generator_is_a_generator():
    rng = np.random.default_rng(0)
    assert generator("rng", rng) is rng
    with says("rng=0: expected a numpy Generator: numpy.random.default_rng(seed)"):
        generator("rng", 0)


@pytest.mark.parametrize("value", [2, np.int64(2), 2.0, np.float32(2)])
def test_a_whole_number_may_come_in_any_type(value):
    number = whole_number("k", value, 1, 2)
    assert (number, type(number)) == (2, int)


@pytest.mark.parametrize("value", [0, 4, 2.5, True, None, "2", np.nan, np.inf])
def test_what_is_no_whole_number_in_the_bounds_is_refused(value):
    with says(f"k={value!r}: expected a whole number, 1 to 3"):
        whole_number("k", value, 1, 3)


def test_bounds_can_say_why():
    with says("window=9: expected 2 to 8 (the epochs recorded)"):
        whole_number("window", 9, 2, 8, "the epochs recorded")
    with says("k=0: expected a whole number, 1 or more"):
        whole_number("k", 0, 1)


def test_one_of_lists_the_options():
    assert one_of("reduce", "sum", "sum", "mean") == "sum"
    with says("reduce='max': expected sum | mean"):
        one_of("reduce", "max", "sum", "mean")
