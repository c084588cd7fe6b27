"""Example level: the same answers from packed masks, some columns at a time, on disk, and what a kill leaves."""

import csv

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.influence import analysis, columns
from dataprune.influence.__main__ import main
from dataprune.influence.analysis import Experiment
from dataprune.influence.estimates import influence_columns, mean_columns, mean_influence
from dataprune.influence.store import OutcomeStore

pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than 30 models")
N, TARGETS = 61, 14


@pytest.fixture
def store(tmp_path):
    """40 models of random halves of 61 examples; example 7 harms target 3, example 50 helps target 10."""
    rng = np.random.default_rng(0)
    schema = {"p_true": "float32", "logit_gap": "float32", "prediction": "int32"}
    about = {"units": [f"{i}.png" for i in range(N)], "labels": np.arange(TARGETS) % 2, "targets": ["no", "yes"]}
    store = OutcomeStore.create(tmp_path / "store", models=40, **about, schema=schema, experiment={})
    for model in range(40):
        mask = rng.permutation(N) < N // 2
        p_true = 0.5 + rng.normal(0, 0.02, TARGETS)
        p_true[3] -= 0.4 * mask[7]
        p_true[10] += 0.4 * mask[50]
        store.write(model, mask, {"p_true": p_true, "logit_gap": p_true, "prediction": np.zeros(TARGETS)}, {})
    return store.root


@pytest.fixture
def both(store, monkeypatch):
    """The same experiment with everything in memory, and some columns at a time from files."""
    plain = Experiment.open(store, half="all")
    _ = plain.influence, plain.error, plain.mean, plain.pairs(3)
    monkeypatch.setattr(analysis, "WIDE", 8)
    monkeypatch.setattr(analysis, "IN_MEMORY", 0)
    return plain, Experiment.open(store, half="all")


def test_the_answers_are_those_of_the_masks_in_memory(both, monkeypatch):
    plain, wide = both
    assert wide.wide
    assert isinstance(wide.packed, np.memmap)
    assert isinstance(wide.outputs, np.memmap)
    np.testing.assert_allclose(np.stack(wide.mean), np.stack(plain.mean), atol=1e-7)
    np.testing.assert_allclose(wide.mean_over(np.array([3]))[0], plain.influence[3], atol=1e-7)
    for unit in (0, 7, 60):
        found = wide.of_unit(unit)
        np.testing.assert_allclose(found[0], plain.influence[:, unit], atol=1e-7)
        np.testing.assert_allclose(found[1], plain.error[:, unit], atol=1e-7)
    assert [pair[:2] for pair in wide.pairs(3)] == [pair[:2] for pair in columns_in_memory(plain, monkeypatch)]
    assert wide.stability(2)[1][-1] == pytest.approx(of_memory(plain, monkeypatch), abs=1e-6)


def columns_in_memory(plain, monkeypatch):
    monkeypatch.setattr(analysis, "WIDE", 2**14)
    found = plain.pairs(3)
    monkeypatch.setattr(analysis, "WIDE", 8)
    return found


def of_memory(plain, monkeypatch):
    monkeypatch.setattr(analysis, "WIDE", 2**14)
    found = plain.stability(2)[1][-1]
    monkeypatch.setattr(analysis, "WIDE", 8)
    return found


def test_means_over_parts_are_means_over_all(both):
    plain, _ = both
    masks = plain.masks.copy()
    masks[:, 5] = True  # undefined
    packed = np.packbits(masks, axis=1)
    for width in (8, 24, 64):
        found = mean_columns(packed, plain.outputs, N, columns=width)
        np.testing.assert_allclose(np.stack(found), np.stack(mean_influence(masks, plain.outputs)), atol=1e-12)
    assert np.isnan(found[0][5])
    later = [start for start, _, _ in influence_columns(packed, plain.outputs, N, columns=16, first=32)]
    assert later == [32, 48]


def test_files_of_some_columns_hold_the_influences_and_a_kill_leaves_the_finished_ones(both, tmp_path):
    plain, wide = both
    folder = columns.write(wide, tmp_path / "out", columns=16)
    assert sorted(path.name for path in folder.glob("*.npy")) == [f"{start:09d}.npy" for start in (0, 16, 32, 48)]
    for start, part in columns.read(folder):
        assert isinstance(part, np.memmap)
        np.testing.assert_allclose(part, plain.influence[:, start : start + 16], atol=1e-6)
    first, last = folder / "000000000.npy", folder / "000000048.npy"
    before = first.stat().st_mtime_ns
    last.unlink()
    columns.write(wide, folder, columns=16)
    assert last.exists()
    assert first.stat().st_mtime_ns == before, "what was finished is not made again"
    with pytest.raises(ConfigError, match="holds influences of other models or targets"):
        columns.write(Experiment.open(wide.store.root, half="first"), folder, columns=16)


def test_estimate_of_examples_writes_files_of_columns_and_an_order(both, tmp_path, capsys):
    _, wide = both
    out = tmp_path / "out"
    assert main(["estimate", str(wide.store.root), "-o", str(out), "--half", "all", "--columns", "32"]) == 0
    assert len(list((out / "influence").glob("*.npy"))) == 2
    order = np.load(out / "order.npy")
    assert (order[0], order[-1]) == (7, 50)
    assert not (out / "influence.npy").exists()
    assert main(["pairs", str(wide.store.root), "-o", str(out / "p.csv"), "--half", "all", "--most", "1"]) == 0
    with open(out / "p.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["unit"], row["target"]) for row in rows] == [("50", "10"), ("7", "3")]
    assert main(["example", str(wide.store.root), "3", "--half", "all"]) == 0
    assert "most harmful: 7.png" in capsys.readouterr().out
    assert main(["datamodel", str(wide.store.root)]) == 1
    assert "classes: the fit holds" in capsys.readouterr().err
