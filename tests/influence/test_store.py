"""The influence store: models of many writers, finished ones only, and nothing broken counts."""

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
    return rng.random(11) < 0.5, outcomes, {"seconds": float(model)}


def content(store, models):
    """Everything that a store says of these models."""
    parts = [store.masks(models), store.outcomes("p_true", models), store.outcomes("prediction", models)]
    return [part.tolist() for part in parts] + [store.costs(models)]


def test_models_come_back_as_they_were_written(tmp_path):
    store = make(tmp_path)
    for model in (4, 0, 3):
        store.write(model, *row(model))
    again = OutcomeStore.open(tmp_path / "influence")
    assert again.models().tolist() == [0, 3, 4]
    assert again.labels.tolist() == [0, 1, 1, 0]
    assert again.names == {"units": UNITS, "targets": ["no", "yes"]}
    masks, outcomes, costs = zip(*[row(model) for model in (0, 3, 4)], strict=True)
    np.testing.assert_array_equal(again.masks(again.models()), masks)
    for key in ("p_true", "prediction"):
        np.testing.assert_array_equal(again.outcomes(key, again.models()), [said[key] for said in outcomes])
    some = np.array([2, 1])
    np.testing.assert_array_equal(again.outcomes("p_true", np.array([4]), some), [outcomes[2]["p_true"][some]])
    assert again.costs(again.models()) == list(costs)


def test_a_byte_that_was_changed_afterwards_is_told_or_makes_no_difference(tmp_path):
    store, models = make(tmp_path), np.array([1])
    store.write(1, *row(1))
    written, told = store.file(1).read_bytes(), []
    as_written = content(store, models)
    for place in range(0, len(written), 2):
        store.file(1).write_bytes(written[:place] + bytes([written[place] ^ 0x41]) + written[place + 1 :])
        try:
            assert content(store, models) == as_written, f"byte {place}"
        except ConfigError as error:
            told.append(str(error))
    assert all("models 1, whose files are damaged" in text for text in told)
    assert len(told) > 0.25 * len(written), "the others are names, dates and padding of the container"
    store.file(1).write_bytes(written[: len(written) // 2])
    with pytest.raises(ConfigError, match=r"models 1, .* remove these from .*models'? and run them again"):
        store.masks(models)


def test_a_model_of_another_experiment_is_refused(tmp_path):
    """As two experiments leave it that made the store at the same moment: only one of them can have stayed."""
    store = make(tmp_path)
    store.write(0, *row(0))
    (store.root / "experiment.json").unlink()
    other = make(tmp_path, experiment={"source": "b"})
    other.write(1, *row(1))
    with pytest.raises(ConfigError, match="models 0, whose files are of another experiment"):
        other.masks(other.models())


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


def test_models_that_cannot_be_are_refused_and_leave_no_file(tmp_path):
    store = make(tmp_path)
    mask, outcomes, cost = row(0)
    for model, m, o, message in (
        (6, mask, outcomes, "model=6: expected 0 to 5"),
        (0, mask[:-1], outcomes, "mask="),
        (0, mask.astype(int), outcomes, "mask="),
        (0, mask, outcomes | {"p_true": np.zeros(3)}, "p_true="),
    ):
        with pytest.raises(ConfigError, match=message):
            store.write(model, m, o, cost)
    assert store.models().tolist() == []


def test_a_finished_model_may_be_repeated_but_not_for_another_subset(tmp_path):
    store = make(tmp_path)
    mask, outcomes, cost = row(2)
    store.write(2, mask, outcomes, cost)
    store.write(2, mask, outcomes, cost)
    with pytest.raises(ConfigError, match="another subset for model 2"):
        store.write(2, ~mask, outcomes, cost)
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
        store.write(model, rng.random(40) < 0.5, {"p_true": rng.random(50)}, {})
""")


def test_two_writers_one_of_them_killed_leave_only_whole_models(tmp_path):
    root = str(tmp_path / "influence")
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, root, str(start)], stdout=subprocess.PIPE) for start in (0, 1)
    ]
    for writer in writers:
        assert writer.stdout.readline() == b"ready\n"
    store = OutcomeStore.open(root)
    while (store.models() % 2 == 0).sum() < 20:
        assert writers[0].poll() is None
    os.kill(writers[0].pid, signal.SIGKILL)
    assert writers[1].wait(120) == 0
    writers[0].wait()
    models = store.models()
    assert set(range(1, 600, 2)) <= set(models.tolist())
    assert 20 <= (models % 2 == 0).sum() < 300
    for model, mask, p_true in zip(models, store.masks(models), store.outcomes("p_true", models), strict=True):
        rng = np.random.default_rng(model)
        np.testing.assert_array_equal(mask, rng.random(40) < 0.5)
        np.testing.assert_array_equal(p_true, rng.random(50).astype(np.float32))


ONE_MODEL = textwrap.dedent("""
    import os, sys
    import numpy as np
    from pathlib import Path
    from dataprune.influence.store import OutcomeStore
    ON_DISK = {"open", "mkdir", "mkstemp", "write", "flush", "fsync", "chmod", "replace", "close"}
    what = {"models": 2, "units": ["a", "b"], "labels": np.zeros(50, int), "targets": ["all"], "experiment": {}}

    def make_and_write(root, value):
        store = OutcomeStore.create(root, **what, schema={"p_true": "float32"})
        store.write(0, np.array([True, False]), {"p_true": np.full(50, value)}, {})
        return store

    def child(work):
        pid = os.fork()
        if pid == 0:
            work()
            os._exit(0)
        return pid
""")

KILLS = ONE_MODEL + textwrap.dedent("""
    def killed(root, step):
        calls = 0

        def count(frame, event, function):
            nonlocal calls
            if event == "c_call" and function.__name__ in ON_DISK:
                calls += 1
                if calls == step:
                    os._exit(9)  # at once, as a kill does: no buffer is written, nothing is tidied up

        sys.setprofile(count)
        make_and_write(root, 0.25)
        sys.setprofile(None)

    step, finished = 0, 0
    while True:
        step += 1
        root = Path(sys.argv[1]) / str(step)
        code = os.waitstatus_to_exitcode(os.waitpid(child(lambda: killed(root, step)), 0)[1])
        if (root / "experiment.json").exists():
            store = OutcomeStore.open(root)
            models = store.models()
            assert (store.outcomes("p_true", models) == 0.25).all()
            finished += len(models)
        again = make_and_write(root, 0.75)
        assert (again.outcomes("p_true", again.models()) == 0.75).all() and len(again.models()) == 1
        if code == 0:
            break
        assert code == 9
    print(step, finished)
""")


def test_a_kill_before_any_write_leaves_a_whole_model_or_none(tmp_path):
    ran = subprocess.run([sys.executable, "-c", KILLS, str(tmp_path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    steps, finished = map(int, ran.stdout.split())
    assert steps > 20, "calls that touch the disk were seen"
    assert 1 <= finished < 5, "the model is there once its last step, the renaming, is done"


SAME_MODEL = ONE_MODEL + textwrap.dedent("""
    root, seen = sys.argv[1], set()
    store = make_and_write(root, 0.25)
    writers = [child(lambda value=value: [make_and_write(root, value) for _ in range(100)]) for value in (0.25, 0.75)]
    while writers:
        for place in range(20):
            values = set(store.outcomes("p_true", store.models()).ravel().tolist())
            assert len(values) == 1, values
            seen |= values
        for pid in list(writers):
            if os.waitpid(pid, os.WNOHANG)[0]:
                writers.remove(pid)
    assert os.listdir(f"{root}/models") == ["000000.npz"]
    print(sorted(seen))
""")


def test_two_writers_of_one_model_never_mix(tmp_path):
    command = [sys.executable, "-c", SAME_MODEL, str(tmp_path / "influence")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "[0.25, 0.75]"
