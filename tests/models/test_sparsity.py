"""Which weights are kept: exact counts, ties, open channels, groups; densities as published for ResNet-50."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from dataprune.models.sparsity import erk, kept, kept_by_channel, kept_largest, kept_of_groups, uniform

TOLD = json.loads((Path(__file__).parents[1] / "reference" / "sparse" / "g_numeric.json").read_text())


def test_counts_are_those_of_the_sparsity_as_it_is_written():
    assert [kept(0.29, 100), kept(0.9, 17), kept(0.0, 5), kept(0.57, 100)] == [71, 2, 5, 43]


def test_masks_are_those_of_the_reference_with_ties():
    told = TOLD["topk"]
    scores = [torch.tensor(each) for each in told["scores"]]
    for mask, wanted in zip(kept_largest(scores, kept(0.6, 17)), told["global_mask"], strict=True):
        assert mask.int().tolist() == wanted
    for each, wanted in zip(scores, told["per_layer_mask"], strict=True):
        (mask,) = kept_largest([each], kept(0.6, each.numel()))
        assert mask.int().tolist() == wanted
    now = [torch.tensor(each) == 0 for each in told["current_mask"]]
    held = [each.masked_fill(gone, -1) for each, gone in zip(scores, now, strict=True)]
    # its counts are those of a higher sparsity than the one beside it: 5 of 17
    for mask, wanted in zip(kept_largest(held, kept(0.75, 17)), told["global_mask_given_current"], strict=True):
        assert mask.int().tolist() == wanted


def test_of_equal_scores_the_lowest_index_goes_first_across_layers():
    first, second = kept_largest([torch.ones(2, 2), torch.ones(1, 3)], 4)
    assert first.flatten().tolist() == [False, False, False, True]
    assert second.all()


def test_every_output_channel_keeps_a_weight_and_it_is_told():
    scores = [torch.tensor([[9.0, 8, 7], [1, 3, 3], [6, 5, 4]]), torch.tensor([[0.5, 0.1]])]
    masks, held_open = kept_by_channel(scores, 4)
    assert held_open == 2
    assert masks[0].tolist() == [[True, False, False], [False, False, True], [True, False, False]]
    assert masks[1].tolist() == [[True, False]]
    assert sum(int(mask.sum()) for mask in masks) == 4
    masks, held_open = kept_by_channel(scores, 1)
    assert (sum(int(mask.sum()) for mask in masks), held_open) == (4, 3), "more than asked for: there are four channels"


def test_open_channels_change_nothing_where_none_is_emptied():
    scores = [torch.rand((4, 6), generator=torch.Generator().manual_seed(0))]
    (plain,), ((mask,), held_open) = kept_largest(scores, 20), kept_by_channel(scores, 20)
    assert torch.equal(plain, mask)
    assert held_open == 0


def test_a_channel_that_came_in_empty_stays_empty():
    (mask,), held_open = kept_by_channel([torch.tensor([[3.0, 2.0], [-1.0, -1.0]])], 1)
    assert (mask.tolist(), held_open) == ([[True, False], [False, False]], 0)


def test_groups_are_along_the_input_channels_of_each_place():
    scores = torch.rand((3, 8, 2, 2), generator=torch.Generator().manual_seed(0))
    mask = kept_of_groups(scores, 2, 4)
    assert (mask.view(3, 2, 4, 2, 2).sum(2) == 2).all()
    part, kept_part = scores[1, 4:, 0, 1], mask[1, 4:, 0, 1]
    assert part[kept_part].min() > part[~kept_part].max()
    assert kept_of_groups(torch.ones(1, 4), 1, 4).tolist() == [[False, False, False, True]]


@pytest.mark.parametrize("sparsity", ["0.8", "0.9", "0.95"])
def test_densities_are_the_published_ones_of_a_resnet50(sparsity):
    from timm import create_model

    with torch.device("meta"):
        network = create_model("resnet50")
    shapes = {n: tuple(p.shape) for n, p in network.named_parameters() if p.ndim > 1}
    found, wanted = erk(shapes, float(sparsity)), TOLD["erk_resnet50"][sparsity]
    assert found.keys() == wanted.keys()
    np.testing.assert_allclose([found[n] for n in wanted], [*wanted.values()], atol=2e-7)


def test_uniform_leaves_what_it_is_told_dense():
    assert uniform({"a": (3, 3), "b": (9, 9)}, 0.5, {"a"}) == {"a": 0.0, "b": 0.5}
