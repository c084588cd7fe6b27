"""Whole jobs on text: dynamics, scores, selectors, targets, reports and exports as for images."""

import json
import logging
import shutil

import numpy as np
import pytest

from dataprune import estimate as planning
from dataprune.errors import ConfigError
from dataprune.report.document import draw
from tests.conftest import Jobs, entry
from tests.made_up_text import tokenizer, write

transformers = pytest.importorskip("transformers", reason="the extra `text` is not installed")
SMALL = ["layers=1", "width=16", "heads=2", "pool=mean", "dropout=0"]
PLACES = ("surrogate", "pretrain")
SHORT = [
    "source=text", "source.codec.length=16", "run.progress=false", "surrogate.epochs=3", "pretrain.epochs=2",
    *(f"train@{place}=transformer" for place in PLACES), *(f"{place}.optimizer.lr=0.01" for place in PLACES),
]  # fmt: skip
WORDS = [
    *SHORT, *(f"model@{place}.model=transformer_small" for place in PLACES),
    *(f"{place}.model.{word}" for place in PLACES for word in SMALL),
]  # fmt: skip


def texts(n, seed, classes=2):
    """Films that are good or bad (or neither), as columns."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    filler, says = ["the", "a", "film", "plot", "very", "and"], ("bad", "good", "not", "is")
    lines = [" ".join(rng.permutation([says[i], *rng.choice(filler, rng.integers(1, 12))])) for i in labels]
    return {"text": lines, "label": labels.tolist()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of this module's jobs: one store, films/ and kinds/ of four classes, words.json."""
    folder = tmp_path_factory.mktemp("text")
    for i, split in enumerate(("train", "validation", "test")):
        write(folder / "films" / f"{split}.csv", **texts((60, 12, 40)[i], i))
        write(folder / "kinds" / f"{split}.jsonl", **texts((48, 8, 16)[i], 5 + i, classes=4))
    tokenizer(folder / "words.json")
    return folder


@pytest.fixture
def jobs(folder, monkeypatch):
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))
    return Jobs(folder)


def films(jobs, *words, data="films", group="source"):
    """Overrides of a tiny job on text."""
    tail = ["target=none"] if group == "source" and not any(w.startswith("target=") for w in words) else []
    place = [f"{group}.path={jobs.folder / data}", f"{group}.codec.tokenizer={jobs.folder / 'words.json'}"]
    return [*place, *tail, *words]


def refused(jobs, message, *overrides):
    with pytest.raises(ConfigError, match=message) as caught:
        jobs.run(*overrides)
    assert "\n" not in str(caught.value)


def test_a_network_learns_what_the_words_say_and_its_cost_is_known(jobs):
    (row,) = jobs.run(*films(jobs, *WORDS, "method=forgetting", "prune_ratio=0.5", "pretrain.epochs=15"))
    assert row["kept"] == 30
    assert row["metrics"]["source_top1"] > 0.8
    assert row["cost"]["unknown"] == []
    assert row["cost"]["images_backward"] == 3 * 60 + 15 * 30
    recorded = np.load(jobs.store / "train" / row["keys"]["surrogate"] / "p_true.npy")
    assert recorded.shape == (3, 60)
    assert not np.isnan(recorded).any()


@pytest.mark.parametrize("method", ["d2_text", "ccs", "grand", "grand_full", "entropy", "k_center", "moderate"])
def test_methods_of_every_kind_work_on_text(method, jobs):
    (row,) = jobs.run(*films(jobs, *WORDS, f"method={method}", "prune_ratio=0.5", "pretrain.epochs=1"))
    assert row["kept"] == 30
    if method in ("d2_text", "k_center"):
        features = np.load(jobs.store / "signals" / row["keys"]["signals"] / "features.npy")
        assert features.shape == (60, 16)


@pytest.mark.parametrize("method", ["label_mapping", "feature_mapping"])
def test_classes_of_one_text_set_for_another(method, jobs):
    words = [*films(jobs, *WORDS, "target=text", data="kinds"), *films(jobs, "target.codec.length=16", group="target")]
    (row,) = jobs.run(*words, f"method={method}", "prune_ratio=0.5", "transfer.epochs=2")
    assert row["kept"] == 24
    assert {"source_top1", "target_top1"} <= set(row["metrics"])


def test_the_report_shows_lines_of_text(jobs):
    (row,) = jobs.run(*films(jobs, *WORDS, "method=el2n", "prune_ratio=0.5"))
    (jobs.folder / "rows.json").write_text(json.dumps([row]))
    page = draw(jobs.folder, jobs.store).read_text()
    subset = np.load(jobs.store / "select" / row["keys"]["subset"] / "export" / "subset.npz")
    lines = texts(60, 0)["text"]
    kept, gone = page.partition(">pruned, ")[::2]
    for i in range(60):
        there = f">{lines[i]}<" in (kept if i in subset["ids"] else gone)
        assert there or sum(f">{line}<" in page for line in lines) >= 56, "32 of each are shown at most"
    assert sum(f">{line}<" in kept for line in lines) >= 28


def test_an_estimate_of_text(jobs, capsys, monkeypatch):
    monkeypatch.setattr(planning, "planned", {})
    planning.estimate(jobs.config(*films(jobs, *WORDS, "method=d2_text", "surrogate.epochs=4")))
    assert "surrogate" in capsys.readouterr().out


# a tokenizer


def test_a_tokenizer_counts_by_its_content(jobs):
    (before,) = jobs.run(*films(jobs, *WORDS, "method=random"))
    shutil.copy(jobs.folder / "words.json", jobs.folder / "elsewhere.json")
    moved = f"source.codec.tokenizer={jobs.folder / 'elsewhere.json'}"
    (row,) = jobs.run(*films(jobs, *WORDS, "method=random"), moved)
    assert row["keys"] == before["keys"], "the same one elsewhere"
    tokenizer(jobs.folder / "elsewhere.json", words=["good", "bad"])
    (row,) = jobs.run(*films(jobs, *WORDS, "method=random"), moved)
    assert row["keys"]["source"] == before["keys"]["source"], "the texts are the same"
    for role in ("source_pixels", "model"):
        assert row["keys"][role] != before["keys"][role], role


def test_the_tokenizer_may_be_gone_when_a_model_is_looked_at(jobs):
    moved = [f"source.codec.tokenizer={jobs.folder / 'gone.json'}", "source.seed=7"]
    tokenizer(jobs.folder / "gone.json")
    (row,) = jobs.run(*films(jobs, *WORDS, "method=random", "seed=3"), *moved)
    header = json.loads((jobs.store / "decode" / row["keys"]["source_pixels"] / "header.json").read_text())
    assert "gone.json" not in json.dumps(header)


def test_texts_that_are_cut_are_counted_in_the_log(jobs, caplog):
    caplog.set_level(logging.INFO)
    jobs.run(*films(jobs, *WORDS, "method=random", "source.codec.length=8"))
    long = sum(len(text.split()) > 6 for text in texts(60, 0)["text"])
    assert f"source train: {long} texts cut to 8 tokens" in caplog.text


def test_two_tokenizers_in_one_job(jobs):
    tokenizer(jobs.folder / "other.json", words=["good", "bad"])
    words = [*films(jobs, *WORDS, "target=text", "method=label_mapping", data="kinds"), *films(jobs, group="target")]
    message = r"^target\.codec\.tokenizer='\w+': expected \w+, as the source has"
    refused(jobs, message, *words, "target.codec.length=16", f"target.codec.tokenizer={jobs.folder / 'other.json'}")
    refused(jobs, r"^target\.codec\.length=128: expected 16, as the source has", *words)


def test_a_tokenizer_that_is_missing(jobs):
    words = films(jobs, *WORDS, "method=random")
    message = (
        r"^source\.codec\.tokenizer='nowhere/words\.json': expected a tokenizer\.json, .* a name in the local cache"
    )
    refused(jobs, message, *words, "source.codec.tokenizer=nowhere/words.json")
    refused(jobs, r"^source\.codec\.tokenizer=None: expected a tokenizer\.json", *words, "source.codec.tokenizer=null")


# what text cannot be


def test_text_is_no_image_and_images_are_no_text(jobs):
    words = films(jobs, *WORDS, "method=random")
    refused(jobs, r"^source\.size=32: expected null: the codec dataprune\.data\.text\.Tokens", *words, "source.size=32")
    refused(jobs, r"^pretrain\.augment=.*about images", *words, "pretrain.augment.flip=true")
    refused(jobs, r"^target\.kind='image': expected tokens, as the source has", *words, "target=digits")
    message = r"^pretrain\.model\._target_='dataprune\.models\.networks\.cnn': expected a network of tokens"
    refused(jobs, message, *films(jobs, *SHORT, "method=random"))
    message = r"^pretrain\.buckets=5: expected 0: it is about texts"
    refused(jobs, message, "pretrain.buckets=5", "target=none", "method=random")


def test_empty_texts_are_named(jobs):
    columns = texts(20, 3)
    columns["text"][3] = columns["text"][5] = " \n"
    for split in ("train", "test"):
        write(jobs.folder / "empty" / f"{split}.csv", **columns)
    words = films(jobs, *WORDS, "method=random", data="empty")
    refused(jobs, r"^source\.path=.*train\.csv:3, train\.csv:5", *words)


def test_a_missing_column(jobs):
    message = r"^source\.columns='premise': expected a column of .*train\.csv; it has text, label"
    refused(jobs, message, *films(jobs, *WORDS, "method=random", "source.columns=[premise,text]"))


# training


def test_buckets_change_the_order_and_are_part_of_the_key(jobs):
    words = films(jobs, *WORDS, "method=random")
    (plain,), (sorted_,) = jobs.run(*words), jobs.run(*words, "pretrain.buckets=4")
    assert plain["keys"]["model"] != sorted_["keys"]["model"]
    assert plain["keys"]["subset"] == sorted_["keys"]["subset"]
    assert sorted_["cost"]["flops"] < plain["cost"]["flops"], "less is padded"


def test_weights_of_a_pretrained_encoder_count(jobs):
    config = transformers.BertConfig(
        vocab_size=14, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    words = films(jobs, *SHORT, "method=random", "model@pretrain.model=transformer")
    words.append(f"pretrain.model.name={jobs.folder / 'bert'}")
    message = r"^pretrain\.model\.name=.*: expected a folder with a model of transformers, or a name in the local cache"
    refused(jobs, message, *words)
    keys = []
    for _ in range(2):
        transformers.BertModel(config).save_pretrained(jobs.folder / "bert")
        (row,) = jobs.run(*words)
        keys.append(row["keys"]["model"])
        assert row["cost"]["unknown"] == ["model"], "what the weights took is not known"
    assert keys[0] != keys[1]
    message = r"^pretrain\.model\.name=.*: expected a model of 20 positions; it has 16: codec\.length=16 cuts texts"
    refused(jobs, message, *words, "source.codec.length=20")


def test_two_processes_train_on_texts_of_other_lengths(jobs):
    words = films(jobs, *WORDS, "method=random", "prune_ratio=0.5", "pretrain.epochs=1", "run=cpu", "run.threads=1")
    (row,) = jobs.run(*words, "pretrain.processes=2", "pretrain.buckets=2")
    (alone,) = jobs.run(*words, "pretrain.buckets=2")
    assert row["cost"]["images_backward"] == alone["cost"]["images_backward"] == 30
    assert row["metrics"]["source_loss"] == pytest.approx(alone["metrics"]["source_loss"], abs=1e-4)


def test_samplers_take_texts(jobs):
    (row,) = jobs.run(*films(jobs, *WORDS, "method=infobatch", "pretrain.epochs=4", "pretrain.buckets=2"))
    assert 0 < row["cost"]["images_backward"] < 4 * 60
