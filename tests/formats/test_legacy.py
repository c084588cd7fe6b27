"""Files of DP4TL and data-transfer, written here in the form that their programs write and read."""

import argparse
import pickle

import numpy as np
import pytest
import torch

from dataprune.errors import ConfigError
from dataprune.formats.legacy import (
    read_features,
    read_frequency,
    read_groups,
    read_indices,
    read_label_table,
    read_results,
    read_summaries,
    write_frequency,
    write_indices,
    write_label_table,
)

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


def test_index_lists_are_int64_tensors_there_and_back(tmp_path):
    path = tmp_path / "pets_lm_train_top900.indices"
    write_indices(path, np.array([5, 2, 9], np.int32))
    loaded = torch.load(path, weights_only=True)
    assert loaded.dtype == torch.int64
    assert read_indices(path).tolist() == loaded.tolist() == [5, 2, 9]
    assert [p.name for p in tmp_path.iterdir()] == [path.name]  # nothing half-written is left


def test_an_index_list_saved_as_a_plain_list_is_read(tmp_path):
    torch.save([3, 1, 2], tmp_path / "x.pth")
    assert read_indices(tmp_path / "x.pth").tolist() == [3, 1, 2]


def test_label_table_and_frequency_come_back(tmp_path):
    write_label_table(tmp_path / "train.label", np.array([4, 0]), np.array([70, 71]))
    assert read_label_table(tmp_path / "train.label").tolist() == [[4, 70], [0, 71]]
    write_label_table(tmp_path / "val.label", np.array([4, 0]))
    assert read_label_table(tmp_path / "val.label").tolist() == [[4, 0], [0, 1]]
    write_frequency(tmp_path / "pets_lm.frequency", np.array([3, 0, 1]))
    assert torch.load(tmp_path / "pets_lm.frequency", weights_only=True).dtype == torch.int32
    assert read_frequency(tmp_path / "pets_lm.frequency").tolist() == [3, 0, 1]


def test_cluster_assignments_are_dictionaries_of_lists(tmp_path):
    torch.save({2: [10, 12], 0: [11]}, tmp_path / "train")
    labels, ids = read_groups(tmp_path / "train")
    assert labels.tolist() == [0, 2, 2]
    assert ids.tolist() == [11, 10, 12]


def test_features_of_classes_are_read_from_lists_of_vectors(tmp_path):
    path = tmp_path / "x_class_fx"
    torch.save({1: [np.ones(3)], 0: [np.zeros(3), np.full(3, 2.0)]}, path)
    features, labels = read_features(path)
    assert features.tolist() == [[0, 0, 0], [2, 2, 2], [1, 1, 1]]
    assert features.dtype == np.float32
    assert labels.tolist() == [0, 0, 1]


def test_a_refused_file_runs_nothing(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    for name, save in (("torch", torch.save), ("pickle", lambda x, p: p.write_bytes(pickle.dumps(x)))):
        save(Trap(), tmp_path / name)
        with pytest.raises(ConfigError, match="allow_pickle=False"):
            read_indices(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_plain_pickles_and_tensor_lists_are_read_when_trusted(tmp_path):
    (tmp_path / "all_fx").write_bytes(pickle.dumps([np.ones(2), np.zeros(2)]))
    features, labels = read_features(tmp_path / "all_fx", allow_pickle=True)
    assert features.tolist() == [[1, 1], [0, 0]]
    assert labels is None
    torch.save([torch.ones(2), torch.zeros(2)], tmp_path / "tensors_all_fx")
    assert read_features(tmp_path / "tensors_all_fx")[0].tolist() == [[1, 1], [0, 0]]


def write_summary(path, masks, results):
    """One target's file: masks (m, c) and, by `transfer_results` and key, arrays of m rows."""
    summary = {"class_binary_mask": torch.tensor(masks, dtype=torch.int32)}
    summary |= {name: {key: torch.tensor(rows) for key, rows in found.items()} for name, found in results.items()}
    torch.save(summary, path)


def test_summaries_of_several_folders_join_along_the_models(tmp_path):
    rng = np.random.default_rng(0)
    masks, outputs = rng.random((5, 4)) < 0.5, rng.random((5, 3)).astype(np.float16)
    for i, rows in enumerate((slice(0, 2), slice(2, 5))):
        results = {"transfer_results": {"softmax_logits": outputs[rows], "acc": np.ones(rows.stop - rows.start)}}
        write_summary(tmp_path / f"{i}.pt", masks[rows], results)
    found = read_summaries([tmp_path / "0.pt", tmp_path / "1.pt"], "softmax_logits")
    assert found[0].dtype == np.bool_
    assert found[1].dtype == np.float16
    np.testing.assert_array_equal(found[0], masks)
    np.testing.assert_array_equal(found[1], outputs)


def test_a_missing_key_tells_what_the_file_has(tmp_path):
    results = {"transfer_results": {"acc": np.ones((2, 1))}, "transfer_results_full": {}}
    write_summary(tmp_path / "PETS.pt", np.ones((2, 3)), results)
    with pytest.raises(ConfigError, match=r"PETS.pt: transfer_results.raw_margins=missing: expected one of acc"):
        read_summaries([tmp_path / "PETS.pt"], "raw_margins")
    with pytest.raises(ConfigError, match=r"transfer_results_full.acc=missing: expected a file with results"):
        read_summaries([tmp_path / "PETS.pt"], "acc", results="transfer_results_full")


def test_results_of_single_models_become_masks_and_outputs(tmp_path):
    outputs = np.array([[0.5, 1.0], [0.25, 0.0]], np.float16)
    for i, kept in enumerate(([0, 3], [1, 2])):
        results = {"transfer_results": {"softmax_logits": torch.tensor(outputs[i])}}
        result = {"classes_to_keep": torch.tensor(kept), "transfer_datasets": {"PETS": results}}
        torch.save(result | {"source_results": {"top_1": 61.5}}, tmp_path / f"{i}.pt")
    found = read_results([tmp_path / "0.pt", tmp_path / "1.pt"], "PETS", "softmax_logits", 4)
    assert found[0].tolist() == [[True, False, False, True], [False, True, True, False]]
    np.testing.assert_array_equal(found[1], outputs)
    with pytest.raises(ConfigError, match=r"transfer_datasets.FOOD=missing: expected one of PETS"):
        read_results([tmp_path / "0.pt"], "FOOD", "softmax_logits", 4)


def test_a_result_with_its_arguments_needs_trust(tmp_path):
    content = {
        "classes_to_keep": np.array([1]),
        "transfer_datasets": {"PETS": {"args": argparse.Namespace(lr=1), "transfer_results": {"acc": torch.ones(2)}}},
    }
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(ConfigError, match="allow_pickle=False"):
        read_results([tmp_path / "x.pt"], "PETS", "acc", 2)
    masks, _ = read_results([tmp_path / "x.pt"], "PETS", "acc", 2, allow_pickle=True)
    assert masks.tolist() == [[False, True]]


def test_targets_of_different_size_are_not_joined(tmp_path):
    for t in (2, 3):
        write_summary(tmp_path / f"{t}.pt", np.ones((1, 3)), {"transfer_results": {"acc": np.ones((1, t))}})
    with pytest.raises(ConfigError, match=r"paths=rows of shapes \[\(2,\), \(3,\)\]"):
        read_summaries([tmp_path / "2.pt", tmp_path / "3.pt"], "acc")
