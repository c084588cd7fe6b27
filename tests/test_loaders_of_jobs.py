"""A recipe's loader, through whole jobs: what is decoded for it, what is refused, and that it changes no number."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from dataprune.callables import code_of
from dataprune.config import DataConfig
from dataprune.data.codecs import decoding
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError
from dataprune.stage_calls import check_named
from dataprune.stages import decode
from dataprune.store import Result

QUICK = ["run.workers=0", "method=random", "target=none", "pretrain.epochs=1"]


def weights(jobs, row):
    return torch.load(jobs.store / "train" / row["keys"]["model"] / "model.pt")


def test_memory_and_workers_train_the_same_weights(jobs):
    (memory,) = jobs.run(*QUICK)
    (workers,) = jobs.run(*QUICK, "pretrain.loader=workers")
    assert memory["keys"]["model"] != workers["keys"]["model"]
    assert memory["keys"]["source_pixels"] != workers["keys"]["source_pixels"]
    one, two = weights(jobs, memory), weights(jobs, workers)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert memory["metrics"] == workers["metrics"]
    assert memory["identity"] != workers["identity"]


def test_two_loaders_of_one_data_set_are_decoded_for_each(jobs):
    (row,) = jobs.run("method=forgetting", "surrogate.loader=workers", "surrogate.epochs=2", *QUICK[:1], *QUICK[2:])
    kept, left = (jobs.store / "decode" / row["keys"][role] for role in ("source_pixels", "source_workers"))
    assert '"kept": true' in (kept / "header.json").read_text()
    assert '"kept": false' in (left / "header.json").read_text()
    alone = jobs.run("method=random", *QUICK[2:])[0]["keys"]["source_pixels"]
    assert alone == row["keys"]["source_pixels"], "another loader beside it changes nothing for the training"


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ([], "pretrain"),
        (["pretrain.loader=workers", "method=forgetting"], "surrogate"),
        (["pretrain.loader=workers", "target=digits", "train@transfer=linear_probe"], "transfer"),
    ],
)
def test_what_does_not_fit_into_memory_is_refused_with_its_size_before_it_is_decoded(jobs, monkeypatch, words, key):
    monkeypatch.setattr(decode, "total_memory", lambda: 10_000)
    base = [word for word in QUICK if not words or word.partition("=")[0] not in {w.partition("=")[0] for w in words}]
    with pytest.raises(ConfigError, match=rf"^{key}\.loader='memory': expected workers, .* GB of .* over half of"):
        jobs.run(*base, *words)
    assert not list(jobs.store.glob("decode/*/train/*.npy"))
    assert not (jobs.store / "train").exists()


def test_the_size_is_said_before_anything_is_decoded(jobs, caplog):
    caplog.set_level("INFO")
    jobs.run(*QUICK)
    assert any("GB in memory, 64 bytes an example" in line for line in caplog.messages)


def test_mean_and_deviation_do_not_depend_on_the_loader(tmp_path, dataset):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for i in range(4):
            path = tmp_path / "root" / split / f"c{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 200, (9, 12, 3), dtype=np.uint8)).save(path)
    config = DataConfig("x", {"_target_": "dataprune.data.folder.read"}, str(tmp_path / "root"), size=6)
    one, two = (dataset(config, tmp_path / str(kept), kept=kept)["train"].codec for kept in (True, False))
    assert (one.mean, one.std) == (two.mean, two.std)
    assert 0.3 < one.mean[0] < 0.5, "not ImageNet's"


# a codec of one's own

CODEC = """
from dataprune.data.images import Images
class Mine(Images):
    def finish(self, stacked, device):
        return {{name: {sign}x for name, x in super().finish(stacked, device).items()}}
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """mine(sign): write the codec, as its author edits it."""
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    (tmp_path / "code").mkdir()

    def write(sign):
        (tmp_path / "code" / "my_codec.py").write_text(CODEC.format(sign=sign))
        sys.modules.pop("my_codec", None)
        code_of.cache_clear()
        from dataprune import callables

        callables._seen_once.cache_clear()

    yield write
    sys.modules.pop("my_codec", None)


def test_an_edited_codec_decodes_and_trains_again(jobs, mine):
    words = [*QUICK, "pretrain.loader=workers", "source.codec._target_=my_codec.Mine"]
    keys = []
    for sign in ("", "-"):
        mine(sign)
        (row,) = jobs.run(*words)
        keys.append(row["keys"])
    assert keys[0]["source"] == keys[1]["source"]
    assert keys[0]["source_pixels"] != keys[1]["source_pixels"]
    assert keys[0]["model"] != keys[1]["model"]


def test_a_codec_that_has_changed_since_is_not_used(tmp_path, dataset, mine):
    mine("")
    config = DataConfig(
        "d", {"_target_": "dataprune.data.digits.read", "shots": 1}, codec={"_target_": "my_codec.Mine"}
    )
    examples = dataset(config, tmp_path / "data", kept=False)["train"]
    mine("-")
    with pytest.raises(
        ConfigError, match=r"^codec\._target_='my_codec\.Mine': expected the code that the data were dec"
    ):
        _ = examples.codec


def test_a_codec_that_nobody_here_names_is_not_built(tmp_path):
    (tmp_path / "header.json").write_text('{"codec": {"_target_": "subprocess.Popen", "args": "x"}}')
    with pytest.raises(
        ConfigError, match=r"^codec\._target_='subprocess\.Popen': expected a codec that this job's con"
    ):
        check_named([Result(tmp_path, {}, {})], set())


# texts


def texts():
    from dataprune.data.examples import Dataset, Split

    train = Split([("ab", "c"), ("a", "bc"), ("", "d")], np.array([0, 1, 1]))
    return Dataset(["no", "yes"], {"train": train, "test": train})


def test_texts_are_indexed_by_their_fields(tmp_path):
    from dataprune.config import RunConfig
    from dataprune.stages import index

    config = DataConfig("t", {"_target_": f"{__name__}.texts"})
    index.run(config.table, {}, tmp_path, RunConfig(), "source")
    examples = Examples(tmp_path, "train")
    assert examples.header["kind"] == "text"
    assert [examples.items[i] for i in range(3)] == [("ab", "c"), ("a", "bc"), ("", "d")]
    assert len(np.unique(np.load(tmp_path / "train" / "content.npy"), axis=0)) == 3
    (tmp_path / "decode").mkdir()
    with pytest.raises(
        ConfigError, match=r"^source\.codec='dataprune\.data\.images\.Images': expected a codec of texts"
    ):
        decode.run(
            decoding(config, "source"), {"examples": tmp_path}, tmp_path / "decode", RunConfig(), "source_pixels"
        )


def empty():
    data = texts()
    data.splits["train"].examples = [("ab", "c"), (" ", ""), ("", "")]
    return data


def test_empty_texts_are_refused_with_their_names(tmp_path):
    from dataprune.config import RunConfig
    from dataprune.stages import index

    config = DataConfig("t", {"_target_": f"{__name__}.empty"})
    with pytest.raises(ConfigError, match=r"2 empty texts in train \(1, 2\): expected texts with something in them"):
        index.run(config.table, {}, tmp_path, RunConfig(), "source")
