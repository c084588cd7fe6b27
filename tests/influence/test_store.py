"""The influence store: rows of many writers, finished ones only, and nothing broken counts."""

import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.influence.store import OutcomeStore

UNITS = [f"unit {i}" for i in range(11)]
SHAPE = {"models": 6, "units": UNITS, "labels": np.array([0, 1, 1, 0]), "targets": ["no", "yes"]}
SHAPE |= {"schema": {"p_true": "float32", "prediction": "int32"}}


def make(root, **change):
    return OutcomeStore.create(root / "influence", **(SHAPE | {"experiment": {"source": "a"}} | change))


def row(model):
    rng = np.random.default_rng(model)
    outcomes = {"p_true": rng.random(4, np.float32), "prediction": rng.integers(3, size=4)}
    return rng.random(11) < 0.5, outcomes


def test_rows_come_back_as_they_were_written(tmp_path):
    store = make(tmp_path)
    for model in (4, 0, 3):
        store.write(model, *row(model))
    again = OutcomeStore.open(tmp_path / "influence")
    assert again.models().tolist() == [0, 3, 4]
    assert again.labels.tolist() == [0, 1, 1, 0]
    assert again.names == {"units": UNITS, "targets": ["no", "yes"]}
    for place, model in enumerate(again.models()):
        mask, outcomes = row(model)
        np.testing.assert_array_equal(again.masks(again.models())[place], mask)
        np.testing.assert_array_equal(again.array("p_true")[model], outcomes["p_true"])
        np.testing.assert_array_equal(again.array("prediction")[model], outcomes["prediction"])


@pytest.mark.parametrize("file", ["p_true", "masks", "prediction"])
def test_a_row_that_was_changed_afterwards_is_named(tmp_path, file):
    store = make(tmp_path)
    for model in range(3):
        store.write(model, *row(model))
    array = store.array(file, "r+")
    array[1, 0] += 1
    array.flush()
    with pytest.raises(ConfigError, match=r"models 1 with a wrong checksum"):
        OutcomeStore.open(store.root).models()


def test_a_half_written_row_does_not_count(tmp_path):
    store = make(tmp_path)
    store.write(0, *row(0))
    array = store.array("p_true", "r+")
    array[1] = 0.5  # as a writer that was killed before its flag leaves it
    array.flush()
    assert OutcomeStore.open(store.root).models().tolist() == [0]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"models": 7}, "models"),
        ({"units": [*UNITS, "one more"]}, "units"),
        ({"experiment": {"source": "b"}}, "experiment"),
    ],
)
def test_a_store_of_another_experiment_is_refused(tmp_path, change, key):
    make(tmp_path)
    with pytest.raises(ConfigError, match=rf"influence\.{key}=.*another experiment"):
        make(tmp_path, **change)


def test_rows_that_cannot_be_are_refused_and_leave_no_flag(tmp_path):
    store = make(tmp_path)
    mask, outcomes = row(0)
    for model, m, o, message in (
        (6, mask, outcomes, "model=6: expected 0 to 5"),
        (0, mask[:-1], outcomes, "mask="),
        (0, mask.astype(int), outcomes, "mask="),
        (0, mask, outcomes | {"p_true": np.zeros(3)}, "p_true="),
    ):
        with pytest.raises(ConfigError, match=message):
            store.write(model, m, o)
    assert store.models().tolist() == []


def test_a_finished_row_may_be_repeated_but_not_for_another_subset(tmp_path):
    store = make(tmp_path)
    mask, outcomes = row(2)
    store.write(2, mask, outcomes)
    store.write(2, mask, outcomes)
    with pytest.raises(ConfigError, match="another subset for model 2"):
        store.write(2, ~mask, outcomes)
    assert store.models().tolist() == [2]


WRITER = textwrap.dedent("""
    import sys
    import numpy as np
    from dataprune.influence.store import OutcomeStore
    root, start = sys.argv[1], int(sys.argv[2])
    schema = {"p_true": "float32"}
    what = {"units": [str(i) for i in range(40)], "labels": np.zeros(50, int), "targets": ["all"]}
    store = OutcomeStore.create(root, models=600, **what, schema=schema, experiment={})
    print("ready", flush=True)
    for model in range(start, 600, 2):
        rng = np.random.default_rng(model)
        store.write(model, rng.random(40) < 0.5, {"p_true": rng.random(50)})
""")


def test_two_writers_one_of_them_killed_leave_only_whole_rows(tmp_path):
    root = str(tmp_path / "influence")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, root, str(start)], stdout=subprocess.PIPE) for start in (0, 1)
    ]
    for writer in writers:
        assert writer.stdout.readline() == b"ready\n"
    store = OutcomeStore.open(root)
    while store.array("completed")[::2].sum() < 20:
        assert writers[0].poll() is None
    os.kill(writers[0].pid, signal.SIGKILL)
    assert writers[1].wait(120) == 0
    writers[0].wait()
    models = store.models()
    assert set(range(1, 600, 2)) <= set(models.tolist())
    assert 20 <= (models % 2 == 0).sum() < 300
    for model in models[::37]:
        rng = np.random.default_rng(model)
        np.testing.assert_array_equal(store.masks(np.array([model]))[0], rng.random(40) < 0.5)
        np.testing.assert_array_equal(store.array("p_true")[model], rng.random(50).astype(np.float32))


def test_a_store_that_was_killed_while_it_was_made_is_made_anew(tmp_path):
    root = make(tmp_path).root
    (root / "spec.json").unlink()  # written last
    (root / "labels.npy").write_bytes(b"half")
    assert make(tmp_path).labels.tolist() == [0, 1, 1, 0]
