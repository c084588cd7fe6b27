"""Whole jobs on text: dynamics, scores, selectors, targets, reports and exports as for images."""

import numpy as np
import pytest

from dataprune.errors import ConfigError
from tests.made_up_text import tokenizer, write

pytest.importorskip("transformers", reason="the extra `text` is not installed")
SMALL = ["layers=1", "width=16", "heads=2", "pool=mean", "dropout=0"]
WORDS = [
    "source=text", "source.codec.length=16", "target=none", "run.progress=false",
    *(f"{kind}@{place}{part}=transformer{small}" for place in ("surrogate", "pretrain")
      for kind, part, small in (("train", "", ""), ("model", ".model", "_small"))),
    *(f"{place}.model.{word}" for place in ("surrogate", "pretrain") for word in SMALL),
    "surrogate.epochs=3", "pretrain.epochs=15", "surrogate.optimizer.lr=0.01", "pretrain.optimizer.lr=0.01",
    "surrogate.buckets=3",
]  # fmt: skip


def texts(n, seed, pairs=False):
    """Films that are good or bad, and some of both, as columns."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % 2)
    filler = ["the", "a", "film", "plot", "very", "and"]
    says = [[("bad", "good")[label], *rng.choice(filler, rng.integers(1, 12))] for label in labels]
    lines = [" ".join(rng.permutation(words)) for words in says]
    columns = {"premise": lines, "hypothesis": [f"the film {i}" for i in range(n)]} if pairs else {"text": lines}
    return columns | {"label": labels.tolist()}


@pytest.fixture
def words(tmp_path):
    """Overrides of a tiny job on text."""
    for split, n, seed in (("train", 60, 0), ("validation", 12, 1), ("test", 40, 2)):
        write(tmp_path / "films" / f"{split}.csv", **texts(n, seed))
    return [
        *WORDS,
        f"source.path={tmp_path / 'films'}",
        f"source.codec.tokenizer={tokenizer(tmp_path / 'tokenizer.json')}",
    ]


def refused(jobs, message, *overrides):
    with pytest.raises(ConfigError, match=message) as caught:
        jobs.run(*overrides)
    assert "\n" not in str(caught.value)


def test_a_method_on_text_learns_what_the_words_say(jobs, words):
    (row,) = jobs.run(*words, "method=forgetting", "prune_ratio=0.5")
    assert row["kept"] == 30
    assert row["metrics"]["source_top1"] > 0.9
    assert row["cost"]["flops"] > 0
    assert row["cost"]["unknown"] == []


METHODS = [
    "d2_text", "el2n", "area_under_margin", "variability", "grand", "grand_full", "entropy", "moderate", "k_center",
    "herding", "ccs", "craig",
]  # fmt: skip


def test_every_kind_of_method_works_on_text(jobs, words):
    kept = {}
    for method in METHODS:
        (row,) = jobs.run(*words, f"method={method}", "prune_ratio=0.5", "pretrain.epochs=1")
        assert row["kept"] == 30, method
        subset = np.load(jobs.store / "select" / row["keys"]["subset"] / "export" / "subset.npz")
        kept[method] = tuple(subset["ids"])
    assert len(set(kept.values())) > 8
