"""DP4TL's files from one scoring: every number of classes, both ends, both splits, in the release's row order."""

import json

import numpy as np
import pytest
import torch

from dataprune.data.examples import Examples
from dataprune.errors import ConfigError
from dataprune.export import main
from dataprune.formats.class_files import grid, index_list
from dataprune.formats.legacy import read_frequency, read_indices, read_label_table, write_label_table


@pytest.fixture
def scored(jobs):
    """Rows of LM at two ratios, of its control and of FM; glyphs are the source, 62 classes of 6 images."""
    rows = [jobs.run(f"method={m}", f"prune_ratio={r}")[0] for m, r in METHODS]
    return jobs, rows


METHODS = (("label_mapping", 0.5), ("label_mapping", 0.8), ("label_mapping_reverse", 0.5), ("feature_mapping", 0.5))


def export(jobs, *words):
    return main([*words[:1], "--store", str(jobs.store), "-o", str(jobs.folder / "lists"), *words[1:]])


def test_one_scoring_gives_every_k_from_both_ends_for_both_splits(scored):
    jobs, rows = scored
    assert export(jobs, "classes", "--classes", "60,31,12", "--where", "method=label_mapping") == 0
    folder = jobs.folder / "lists"
    names = {f"digits_lm_{s}_{e}{k}.indices" for s in ("train", "val") for e in ("top", "bottom") for k in (60, 31, 12)}
    assert {path.name for path in folder.iterdir()} == names | {"digits_lm.frequency", "digits_lm.json"}
    frequency = torch.load(folder / "digits_lm.frequency")
    assert (frequency.dtype, len(frequency)) == (torch.int32, 62)
    target = Examples(jobs.store / "index" / rows[0]["keys"]["target"], "train")
    assert frequency.sum() == len(target), "each target example falls on one class"
    for row, (end, k) in zip(rows, (("top", 31), ("top", 12), ("bottom", 31)), strict=False):
        kept = read_indices(folder / f"digits_lm_train_{end}{k}.indices")
        job = np.load(jobs.store / "select" / row["keys"]["subset"] / "ids.npy")
        assert kept.tolist() == job.tolist(), f"what the job at this ratio keeps ({row['method']})"
    val = Examples(jobs.store / "index" / rows[0]["keys"]["source"], "test").labels
    train = Examples(jobs.store / "index" / rows[0]["keys"]["source"], "train").labels
    kept = read_indices(folder / "digits_lm_val_top31.indices")
    assert set(val[kept]) == set(train[read_indices(folder / "digits_lm_train_top31.indices")])
    manifest = json.loads((folder / "digits_lm.json").read_text())
    assert manifest["zero_classes"] == (read_frequency(folder / "digits_lm.frequency") == 0).sum()
    assert [fact["train"] for fact in manifest["lists"][:3]] == [360, 186, 72]
    assert manifest["surrogate"]["key"] == rows[0]["keys"]["surrogate"]


def test_lists_of_both_mappings_lie_side_by_side_and_two_scorings_of_one_are_refused(scored, capsys):
    jobs, _ = scored
    assert export(jobs, "classes", "--classes", "31") == 0
    assert (jobs.folder / "lists" / "digits_fm_val_bottom31.indices").exists()
    jobs.run("method=label_mapping", "surrogate.seed=1")
    assert export(jobs, "classes") == 1
    assert "several scorings for digits_lm" in capsys.readouterr().err


def test_lists_for_several_targets_carry_all_their_names(jobs, capsys):
    words = ["+target@others.few=digits", "others.few.name=few", "others.few.reader.shots=3"]
    rows = jobs.run("method=label_mapping", *words)
    assert len({row["keys"]["combined"] for row in rows}) == 1
    assert export(jobs, "classes", "--classes", "31") == 0
    kept = read_indices(jobs.folder / "lists" / "digits_few_lm_train_top31.indices")
    assert kept.tolist() == np.load(jobs.store / "select" / rows[0]["keys"]["subset"] / "ids.npy").tolist()
    assert not (jobs.folder / "lists" / "digits_few_lm.frequency").exists(), "places are no counts"


def test_a_label_table_of_the_release_gives_its_ids_in_its_order(scored):
    jobs, rows = scored
    labels = Examples(jobs.store / "index" / rows[0]["keys"]["source"], "train").labels
    order = np.random.default_rng(0).permutation(len(labels))
    for part in ("train", "val"):
        write_label_table(jobs.folder / f"{part}.label", labels[order], order + 1000)
    tables = [str(jobs.folder / f"{part}.label") for part in ("train", "val")]
    assert export(jobs, "classes", "--classes", "31", "--tables", *tables) == 0
    kept = np.load(jobs.store / "select" / rows[0]["keys"]["subset"] / "ids.npy")
    lm = read_indices(jobs.folder / "lists" / "digits_lm_train_top31.indices")
    assert lm.tolist() == [i + 1000 for i in order if i in set(kept)], "LM: the rows of the table"
    fm = read_indices(jobs.folder / "lists" / "digits_fm_train_top31.indices") - 1000
    assert (np.diff(labels[fm]) >= 0).all(), "FM: class by class"
    assert np.diff(fm).min() < 0, "inside a class the rows of the table"


def test_the_label_tables_are_written_by_a_command(scored, capsys):
    jobs, rows = scored
    assert export(jobs, "labels", "--name", "imagenet") == 0
    source = jobs.store / "index" / rows[0]["keys"]["source"]
    for part, split in (("train", "train"), ("val", "test")):
        table = read_label_table(jobs.folder / "lists" / f"imagenet_{part}.label")
        labels = Examples(source, split).labels
        assert table.tolist() == np.column_stack([labels, np.arange(len(labels))]).tolist()
    assert "our split test" in capsys.readouterr().out


def test_the_grid_is_that_of_the_paper_and_the_same_shares_of_other_numbers():
    assert grid(1000) == list(range(950, 0, -50))
    assert grid(62)[:3] == [59, 56, 53]
    assert grid(5)[-1] == 1
    for wrong in (0, 6):
        with pytest.raises(ConfigError, match="--classes"):
            grid(5, [wrong])


def test_lists_by_class_and_by_table_hold_the_same_ids():
    table = np.array([[2, 7], [0, 5], [2, 3], [1, 1]])
    assert index_list(np.array([2, 0]), table, by_class=False).tolist() == [7, 5, 3]
    assert index_list(np.array([2, 0]), table, by_class=True).tolist() == [5, 7, 3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["classes", "--classes", "all"], "--classes='all': expected whole numbers"),
        (["classes", "--classes", "63"], "--classes=63"),
        (["classes", "--where", "method=random"], "expected rows of a method that scores classes"),
        (["labels", "--where", "source=moon"], "no source"),
    ],
)
def test_what_cannot_be_written_is_one_line(scored, words, message, capsys):
    jobs, _ = scored
    assert export(jobs, *words) == 1
    assert message in capsys.readouterr().err
