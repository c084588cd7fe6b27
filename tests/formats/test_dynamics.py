"""Recordings of other programs: which layout lies there, its epochs in order, and what does not fit."""

import json
import pickle

import numpy as np
import pytest
import torch

from dataprune.errors import ConfigError
from dataprune.formats.dynamics import EVERYTHING, QUANTITIES, Epoch, check_recorder, digest, epochs, look, placed
from dataprune.training.recorder import Recorder

N, CLASSES, EPOCHS = 5, 3, 12


def softmax(epoch, n=N):
    logits = np.random.default_rng(epoch).normal(size=(n, CLASSES)) * 3
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def texts(folder, rows):
    for epoch, row in enumerate(rows):
        np.savetxt(folder / f"prob_{epoch}.txt", row)
    return folder


def batches(epoch, ids=range(N), size=2):
    """What CCS's logger keeps of one epoch."""
    out = torch.from_numpy(np.log(softmax(epoch))).half()
    parts = torch.tensor(list(ids)).split(size)
    return [{"epoch": epoch, "iteration": i, "idx": part, "output": out[part]} for i, part in enumerate(parts)]


def dumped(path, items):
    path.write_bytes(pickle.dumps({"data-name": "cifar10", "training_dynamics": items}))
    return path


def values(found):
    count, read = epochs(found)
    read = [epoch.values for epoch in read]
    assert len(read) == count
    return np.array(read)


# layouts


def test_texts_are_read_in_numeric_order_and_zero_is_not_seen(tmp_path):
    rows = np.random.default_rng(0).random((EPOCHS, N))
    rows[3, 2] = 0
    found = look(texts(tmp_path, rows))
    assert (found.layout, found.epochs, found.quantities) == ("text", EPOCHS, ("p_true",))
    np.testing.assert_array_equal(values(found), np.where(rows == 0, np.nan, rows))


def test_one_pickle_of_a_run_is_cut_into_its_epochs(tmp_path):
    path = dumped(tmp_path / "td-all-data.pickle", [b for e in range(EPOCHS) for b in batches(e, [3, 0, 4, 1, 2])])
    found = look(path)
    assert (found.layout, found.epochs, found.quantities) == ("batches", None, EVERYTHING)
    count, read = epochs(found)
    assert count == EPOCHS
    for epoch, there in enumerate(read):
        assert there.kind == "log_probabilities"
        assert there.ids.tolist() == [3, 0, 4, 1, 2]
        np.testing.assert_allclose(np.exp(there.values), softmax(epoch)[there.ids], atol=2e-3)


def test_pickles_of_single_epochs_are_numbered_from_one_in_their_names(tmp_path):
    for epoch in range(EPOCHS):
        dumped(tmp_path / f"td-ICLR2023-ImageNet-epoch-{epoch + 1}.pickle", batches(epoch))
    found = look(tmp_path)
    assert (found.layout, found.epochs) == ("batches", EPOCHS)
    np.testing.assert_allclose(np.exp(values(found)), [softmax(e) for e in range(EPOCHS)], atol=2e-3)


def test_a_bare_list_of_batches_is_read_too(tmp_path):
    (tmp_path / "td.pkl").write_bytes(pickle.dumps(batches(0) + batches(1)))
    assert epochs(look(tmp_path / "td.pkl"))[0] == 2


@pytest.mark.parametrize("start", [0, 1])  # TDDS loses epoch 0 when it has to make its folder
def test_outputs_come_with_their_ids(tmp_path, start):
    order = np.array([2, 0, 1, 4, 3])
    for epoch in range(start, EPOCHS):
        np.save(tmp_path / f"{epoch}_Output.npy", np.log(softmax(epoch))[order].astype(np.float32) + 1)
        np.save(tmp_path / f"{epoch}_Index.npy", order)
        np.save(tmp_path / f"{epoch}_Loss.npy", np.zeros(N))
    found = look(tmp_path)
    assert (found.layout, found.epochs, found.quantities) == ("outputs", EPOCHS - start, EVERYTHING)
    for epoch, there in enumerate(epochs(found)[1], start):
        assert there.kind == "logits"
        assert there.ids.tolist() == order.tolist()
        np.testing.assert_allclose(there.values, np.log(softmax(epoch))[order] + 1, rtol=1e-5)


def test_arrays_of_epochs_are_probabilities_or_logits_of_all_classes_or_of_the_true_one(tmp_path):
    for name, rows, kind in (
        ("probabilities", [softmax(e) for e in range(EPOCHS)], "probabilities"),
        ("logits", [np.log(softmax(e)) + 2 for e in range(EPOCHS)], "logits"),
        ("p_true", [softmax(e)[:, 0] for e in range(EPOCHS)], "p_true"),
    ):
        (tmp_path / name).mkdir()
        for epoch, row in enumerate(rows):
            np.save(tmp_path / name / f"{epoch}.npy", row)
        np.save(tmp_path / f"{name}.npy", rows)
        for path in (tmp_path / name, tmp_path / f"{name}.npy"):
            found = look(path)
            assert found.epochs == EPOCHS
            assert found.quantities == (("p_true",) if kind == "p_true" else EVERYTHING)
            assert {epoch.kind for epoch in epochs(found)[1]} == {kind}
            np.testing.assert_array_equal(values(found), rows)


def test_one_wrong_row_does_not_make_logits_of_probabilities(tmp_path):
    wrong = softmax(0)
    wrong[1, 0] = -0.5
    np.save(tmp_path / "0.npy", wrong)
    assert next(epochs(look(tmp_path))[1]).kind == "probabilities"


def recorded(folder, done, fingerprint="a" * 64, **words):
    with Recorder(folder, N, EPOCHS, fingerprint=fingerprint, **words) as recorder:
        for epoch in done:
            recorder.update(epoch, torch.arange(N), torch.from_numpy(np.log(softmax(epoch))), torch.zeros(N).long())
    return folder


def test_a_recorders_folder_knows_its_data_set(tmp_path):
    found = look(recorded(tmp_path, range(EPOCHS)))
    assert (found.layout, found.epochs, found.quantities) == ("recorder", EPOCHS, QUANTITIES)
    check_recorder(found, N, "a" * 64)
    with pytest.raises(ConfigError, match="dynamics of data set aaaaaaaa: expected those of the source, bbbbbbbb"):
        check_recorder(found, N, "b" * 64)
    with pytest.raises(ConfigError, match="dynamics of 5 examples: expected 6, as the source has"):
        check_recorder(found, N + 1, "a" * 64)


def test_a_recorder_that_was_told_no_data_set_is_taken_at_its_word(tmp_path):
    check_recorder(look(recorded(tmp_path, range(EPOCHS), fingerprint=None)), N, "b" * 64)


def test_a_recording_that_was_cut_short_has_the_epochs_that_are_done(tmp_path):
    found = look(recorded(tmp_path / "a", range(4), n_classes=CLASSES))
    assert (found.epochs, found.quantities) == (4, EVERYTHING)
    with pytest.raises(ConfigError, match="epochs 0, 2 recorded: expected 0, 1, 2 and so on"):
        look(recorded(tmp_path / "b", [0, 2]))


# digests


def test_the_digest_is_of_the_content_wherever_it_lies(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    rows = np.random.default_rng(0).random((2, N))
    first, second = (look(texts(tmp_path / name, rows)) for name in "ab")
    assert digest(first.read) == digest(second.read)
    (tmp_path / "b" / "prob_1.txt").write_text("0.5\n" * N)
    assert digest(first.read) != digest(second.read)


def test_the_ids_of_outputs_are_in_the_digest(tmp_path):
    np.save(tmp_path / "0_Output.npy", softmax(0))
    np.save(tmp_path / "0_Index.npy", np.arange(N))
    before = digest(look(tmp_path).read)
    np.save(tmp_path / "0_Index.npy", np.arange(N)[::-1])
    assert digest(look(tmp_path).read) != before


# where the values belong


def test_of_an_example_that_comes_twice_the_first_counts(tmp_path):
    ids, rows = placed(Epoch(tmp_path, "p_true", np.arange(4.0), np.array([3, 1, 3, 1])), N)
    assert ids.tolist() == [1, 3]
    assert rows.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (None, r"with 4 values: expected 5, one an example"),
        (np.array([0, 1, 2, 7]), "with ids 7: expected 0 to 4"),
        (np.array([0, -1, 2, 3]), "with ids -1: expected 0 to 4"),
        (np.array([0.0, 1, 2, 3]), "one whole number a row"),
        (np.array([0, 1]), "one whole number a row"),
    ],
)
def test_values_that_belong_nowhere_are_refused(tmp_path, ids, message):
    with pytest.raises(ConfigError, match=message):
        placed(Epoch(tmp_path, "p_true", np.arange(4.0), ids), N)


# what is refused


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0.5\n1.5\n0.5\n", r"prob_0\.txt' with 1\.5 at ids 1: expected probabilities: 0 to 1, not NaN"),
        ("0.5\nnan\nnan\n", "with nan at ids 1, 2: "),
        ("0.5\n-0.1\n", r"with -0\.1 at ids 1: "),
        ("0.5\ninf\n", "with inf at ids 1: "),
        ("0.5\nx\n", "no number in a line .*Row #2.*: expected one number a line"),
        ("0.5\n\n0.5\n", "no number in a line"),
        ("0.5 0.2\n", "no number in a line"),
        ("", "no number in a line"),
    ],
)
def test_a_text_that_is_no_column_of_probabilities_is_refused(tmp_path, lines, message):
    (tmp_path / "prob_0.txt").write_text(lines)
    with pytest.raises(ConfigError, match=message):
        values(look(tmp_path))


def test_rounding_beyond_one_is_clipped(tmp_path):
    (tmp_path / "prob_0.txt").write_text("1.0000009\n-0.0000009\n")
    assert values(look(tmp_path))[0, 0] == 1
    assert np.isnan(values(look(tmp_path))[0, 1])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["prob_0.txt", "prob_2.txt"], "without epochs 1: expected all epochs, from 0 or 1"),
        (["prob_5.txt"], "without epochs 1, 2, 3, 4: "),
        (["a.npy", "b.npy"], r"files such as a\.npy and b\.npy: expected names with the number of the epoch"),
        (["run1_0.npy", "run2_1.npy"], "names that differ in one number"),
        (["notes.md"], r"notes\.md inside: expected a folder with dynamics\.json, prob_0\.txt"),
        ([], "nothing inside: expected a folder with"),
    ],
)
def test_a_folder_that_does_not_tell_its_epochs_is_refused(tmp_path, names, message):
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=message):
        look(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"targets": [0], "forgetting": [1]}, "targets, forgetting inside: expected training_dynamics"),
        ([], "a list inside: expected a list of batches"),
        ([{"epoch": 0, "idx": torch.arange(2)}], "epoch, idx in batch 0: expected epoch, idx and output"),
        ([{"epoch": 0, "idx": torch.arange(2), "output": torch.ones(3, 2)}], r"idx \(2,\) and output \(3, 2\) in"),
        (batches(0) + batches(2), "without epochs 1"),
        (batches(1) + batches(0), "with epochs 1, 0, in this order"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_pickle_that_is_no_list_of_batches_is_refused(tmp_path, content, message):
    (tmp_path / "td.pickle").write_bytes(pickle.dumps(content))
    with pytest.raises(ConfigError, match=message):
        epochs(look(tmp_path / "td.pickle"))


def test_a_folder_of_pickles_has_one_epoch_a_file(tmp_path):
    dumped(tmp_path / "td-1.pickle", batches(0))
    dumped(tmp_path / "td-2.pickle", batches(1) + batches(2))
    with pytest.raises(ConfigError, match=r"td-2\.pickle' with epochs 1, 2: expected epoch 1 alone"):
        values(look(tmp_path))


def test_outputs_without_their_ids_are_refused(tmp_path):
    np.save(tmp_path / "0_Output.npy", softmax(0))
    with pytest.raises(ConfigError, match=r"expected 0_Index\.npy beside it: the rows are in the order of a shuffled"):
        values(look(tmp_path))


def test_a_json_of_another_program_is_no_recording(tmp_path):
    (tmp_path / "dynamics.json").write_text(json.dumps({"n": 3}))
    (tmp_path / "p_true.npy").touch()
    with pytest.raises(ConfigError, match="no fingerprint, unseen: expected what dataprune's Recorder writes"):
        look(tmp_path)


def test_a_path_where_nothing_lies_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="expected an existing folder or file"):
        look(tmp_path / "nowhere")
