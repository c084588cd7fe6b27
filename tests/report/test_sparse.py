"""Rows of sparse networks in a report, and the study's figures beside them."""

import json

import numpy as np
import pandas as pd
import pytest

from dataprune.report import sparse, sparse_figures
from dataprune.report.document import draw
from dataprune.report.lines import frame, summary
from dataprune.report.page import Page
from dataprune.report.published import over_seeds, over_targets, sparse_transfers, with_imagenet
from tests.report.made_up import full, row


def network(sparsity, accuracy, *, seed=0, callbacks=None, target="aircraft", **changes):
    """A row of a transferred network with this share of zeros."""
    makes = {"make": {"_target_": "dataprune.training.pruning.Gradual", "sparsity": sparsity}}
    keeps = {"keep": {"_target_": "dataprune.training.keep_masks.KeepMasks"}}
    recipe = {"epochs": 6, "callbacks": (makes if callbacks is None else callbacks) | keeps}
    side = "target" if target else "source"
    plain = {
        "transfer": "all" if target else None,
        "density": {side: 1 - sparsity},
        "target": target,
        "model": "resnet50",
        "seed": seed,
    }
    return full(accuracy, config={"method": {}, "pretrain": recipe}, **(plain | changes))


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """drawn(rows): the page's text; drawn.figures: name -> figure."""
    found = {}
    kept = Page.figure
    monkeypatch.setattr(Page, "figure", lambda page, fig, name, **k: (found.update({name: fig}), kept(page, fig, name)))

    def run(rows):
        (tmp_path / "rows.json").write_text(json.dumps(rows))
        return draw(tmp_path, tmp_path / "store").read_text()

    run.figures, run.folder = found, tmp_path
    return run


def test_sparse_rows_stand_beside_the_published_ones_of_their_target_and_way(drawn):
    rows = [network(s, 0.8 - s / 10 + seed / 100, seed=seed) for s in (0.8, 0.9) for seed in (0, 1)]
    text = drawn([*rows, network(0.0, 0.84, callbacks={})])
    section = text[text.index("<h3>Sparse networks") : text.index("Published: transfer")]
    assert "<td>80.0<td> 72.5 ±0.7<td>2<td>WoodFisher 84.8 ±0.2; LTH-T 84.7 ±0.5; AC/DC 83.3 ±0.1" in section.replace(
        "</td>", ""
    ), "the full ones, best first"
    assert "<td>0.0<td> 84.0     <td>1<td>Dense 83.6 ±0.4" in section
    axes = drawn.figures["accuracy by sparsity"].axes[0]
    assert {text.get_text() for text in axes.texts} >= {"WoodFisher", "AC/DC", "STR", "Dense"}
    named = {label.get_text() for label in drawn.figures["accuracy by sparsity"].legends[0].texts}
    assert named == {"Gradual", "dense (trained)"}
    table = pd.read_csv(drawn.folder / "table.csv")
    assert sorted(np.round(table.density, 3)) == [0.1, 0.2, 1]


def test_the_studys_figures_are_on_a_page_with_transferred_sparse_networks_alone(drawn):
    names = {"published accuracy by sparsity", "published linear against full", "published accuracy against imagenet"}
    assert "Published: transfer" not in drawn([network(0.0, 0.8), row()])
    assert not drawn.figures.keys() & (names | {"accuracy by sparsity"})
    assert "Published: transfer" not in drawn([network(0.9, 0.8, target=None)])
    assert "accuracy by sparsity" in drawn.figures
    assert "Published: transfer" in drawn([network(0.9, 0.8)])
    assert names <= drawn.figures.keys()


def test_a_target_that_the_study_has_not_is_shown_without_it(drawn):
    text = drawn([network(0.9, 0.8, target="clothing")])
    assert "<h3>Sparse networks" in text
    assert "Grey and in the last column" not in text
    assert not drawn.figures["accuracy by sparsity"].axes[0].texts


def test_linear_rows_stand_beside_linear_results():
    assert sparse.published_beside(("x", "aircraft", "resnet50", "head")).accuracy.max() < 0.6
    assert sparse.published_beside(("x", "aircraft", "resnet50", "all")).accuracy.max() > 0.8
    assert set(sparse.published_beside(("x", "pets", "mobilenetv1_100", "all")).method) >= {"M-FAC"}
    assert not len(sparse.published_beside(("x", "-", "resnet50", "-")))


def test_lines_go_by_what_made_the_network_sparse_and_by_the_data_that_were_pruned():
    pruned = network(0.9, 0.7) | {"method": "random", "prune_ratio": 0.5, "trains_on": "subset", "identity": "other"}
    adopted = network(0.9, 0.75) | {"identity": "adopted"}
    adopted["config"] = adopted["config"] | {"pretrain": {"VERSION": 4, "files": "ab12"}}
    table = frame([network(0.8, 0.8), network(0.9, 0.78), pruned, adopted])
    found = sparse.grouped(table, summary(table))
    assert sorted(found.group) == ["Gradual", "Gradual", "Gradual, random 0.5", "checkpoint"]


def test_density_is_of_the_side_that_is_measured_and_missing_means_dense():
    given = [{"density": {"source": 0.3, "target": 0.2}}, {"density": 0.5}, {"density": {"target": None}}, {}]
    rows = [full(0.9, target="pets", identity=str(i), **more) for i, more in enumerate(given)]
    assert sorted(frame(rows).density) == [0.2, 0.5, 1, 1]


@pytest.fixture(scope="module")
def results():
    table = sparse_transfers()
    return table[table.network == "resnet50"]


def test_accuracy_against_sparsity_has_a_line_a_method_and_a_level_for_dense(results):
    figure = sparse_figures.by_sparsity(over_targets(results))
    linear, whole = figure.axes
    assert linear.get_title(loc="left").startswith("linear")
    assert linear.lines[0].get_ydata()[0] == pytest.approx(74.48, abs=0.01)
    assert whole.lines[0].get_ydata()[0] == pytest.approx(85.46, abs=0.01)
    woodfisher = next(c[0] for c in whole.containers if c.get_label() == "WoodFisher")
    np.testing.assert_allclose(woodfisher.get_xydata(), [[80, 85.23], [90, 84.81], [95, 83.75]], atol=0.01)
    assert {text.get_text() for text in linear.texts} == {"↓60", "↓41", "↓16"}, "LTH-T, far below the others"
    assert len(figure.legends[0].texts) == 7


def test_a_second_checkpoint_of_a_cell_is_a_point_of_its_own():
    table = sparse_transfers()
    figure = sparse_figures.by_sparsity(over_targets(table[table.network == "mobilenetv1"]))
    hollow = [line for line in figure.axes[1].lines if line.get_fillstyle() == "none" and len(line.get_xdata())]
    assert [(line.get_xdata()[0], round(line.get_ydata()[0], 2)) for line in hollow] == [(75, 78.0)]


def test_linear_against_full_has_a_point_for_each_network(results):
    (axes,) = sparse_figures.linear_against_full(over_targets(results)).axes
    points = np.concatenate([line.get_xydata() for line in axes.lines])
    assert len(points) == 1 + 6 * 3 + 1
    assert min(abs(points - [85.46, 74.48]).sum(1)) < 0.02
    assert {text.get_text() for text in axes.texts} >= {"at 60", "at 41", "at 16", "98"}


def test_correlation_with_imagenet_is_of_the_networks_whose_top1_is_published(results):
    known = with_imagenet(over_targets(results))
    figure = sparse_figures.against_imagenet(known)
    for axes, way in zip(figure.axes, ("linear", "full"), strict=True):
        part = known[known.transfer == way]
        r, rank = sparse_figures.correlation(part)
        assert r == pytest.approx(np.corrcoef(part.top1, part.accuracy)[0, 1])
        ranks = part[["top1", "accuracy"]].rank().to_numpy()
        assert rank == pytest.approx(np.corrcoef(ranks.T)[0, 1])
        assert axes.get_title(loc="left").endswith(f"r {r:.2f}, rank {rank:.2f}, n 14")
    assert np.isnan(sparse_figures.correlation(known.head(2))).all()


def test_every_target_has_a_panel(results):
    figure = sparse_figures.by_target(over_seeds(results), "full")
    assert [axes.get_title(loc="left") for axes in figure.axes] == sorted(results.target.unique())
