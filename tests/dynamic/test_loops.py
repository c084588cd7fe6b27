"""Batches that know their ids."""

import torch
from torch.utils.data import DataLoader, TensorDataset

from dataprune.dynamic import WithIds


def test_items_of_every_kind_say_their_id():
    assert WithIds([("x", "y")] * 3)[2] == ("x", "y", 2)
    assert WithIds([["x", "y"]])[0] == ("x", "y", 0)
    assert WithIds([{"image": "x"}])[0] == {"image": "x", "id": 0}
    assert WithIds(["text"])[0] == ("text", 0)


def test_the_items_of_the_data_set_stay_what_they_are():
    item = {"image": "x"}
    WithIds([item])[0]
    assert item == {"image": "x"}


def test_a_loader_collates_the_ids():
    data = TensorDataset(torch.arange(5.0), torch.arange(5))
    x, y, ids = next(iter(DataLoader(WithIds(data), batch_size=4)))
    assert ids.tolist() == y.tolist() == x.tolist() == [0, 1, 2, 3]
    assert len(WithIds(data)) == 5
