"""Encoders of text: padding changes nothing, and what does not fit the tokenizer is refused."""

import sys

import pytest
import torch

from dataprune.errors import ConfigError
from dataprune.models import text

transformers = pytest.importorskip("transformers", reason="the extra `text` is not installed")
WORDS, LENGTH, PAD = 20, 12, 0
SIZES = {
    "vocab_size": WORDS, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
KINDS = {
    "bert": transformers.BertConfig(**SIZES, max_position_embeddings=LENGTH),
    "roberta": transformers.RobertaConfig(**SIZES, max_position_embeddings=LENGTH + 1, pad_token_id=PAD),
    "distilbert": transformers.DistilBertConfig(
        vocab_size=WORDS, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=LENGTH
    ),
    "electra": transformers.ElectraConfig(**SIZES, embedding_size=8, max_position_embeddings=LENGTH),
    "deberta-v2": transformers.DebertaV2Config(**SIZES, max_position_embeddings=LENGTH),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def batch(*lengths):
    """input_ids and attention_mask of texts of these lengths."""
    longest = max(lengths)
    ids = torch.randint(4, WORDS, (len(lengths), longest))
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def small(**constants):
    return text.small(WORDS, LENGTH, PAD, 2, layers=1, width=16, heads=2, **constants)


def saved(folder, config):
    """A folder with a model of this kind, and the model."""
    model = transformers.AutoModel.from_config(config)
    model.save_pretrained(folder)
    return str(folder), model


def refused(message, call):
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pool", ["first", "mean"])
def test_padding_changes_nothing(pool):
    network = small(pool=pool).eval()
    padded = batch(9, 5)
    short = {name: column[1:, :5] for name, column in padded.items()}
    with torch.no_grad():
        features = network(**padded)
        alone = network(**short)
    assert features.shape == (2, network.num_features)
    torch.testing.assert_close(features[1:], alone)


def test_the_mean_is_over_tokens_and_first_is_the_first():
    one, mean = small().eval(), small(pool="mean").eval()
    mean.load_state_dict(one.state_dict())
    with torch.no_grad():
        words = batch(4, 3)
        hidden = one.encoder(**words).last_hidden_state
        torch.testing.assert_close(one(**words), hidden[:, 0])
        torch.testing.assert_close(mean(**words)[1], hidden[1, :3].mean(0))


def test_kinds_of_tokens_go_in_where_the_model_has_them():
    words = batch(6)
    types = torch.tensor([[0, 0, 0, 1, 1, 1]])
    network = small().eval()
    with torch.no_grad():
        assert not torch.equal(network(**words, token_type_ids=types), network(**words))
    other = text.Encoder(transformers.AutoModel.from_config(KINDS["distilbert"]), "first").eval()
    with torch.no_grad():
        assert torch.equal(other(**words, token_type_ids=types), other(**words))


def test_every_weight_learns():
    """Weights that never get a gradient (a pooler) stop several processes from training together."""
    network = small()
    network(**batch(3, 4), token_type_ids=torch.ones(2, 4, dtype=torch.int64)).sum().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


@pytest.mark.parametrize("kind", KINDS)
def test_encoders_by_path(kind, tmp_path):
    folder, model = saved(tmp_path / kind, KINDS[kind])
    network = text.transformer(WORDS, LENGTH, PAD, name=folder, pretrained=True).eval()
    assert network.num_features == 16
    words = batch(LENGTH, 3)
    with torch.no_grad():
        torch.testing.assert_close(network(**words), model.eval()(**words).last_hidden_state[:, 0])
    assert not [name for name, p in network.named_parameters() if p.dtype != torch.float32]
    fresh = text.transformer(WORDS, LENGTH, PAD, name=folder)
    assert fresh.state_dict().keys() == network.state_dict().keys()
    assert not torch.equal(next(fresh.parameters()), next(network.parameters()))


def test_halves_become_floats(tmp_path):
    transformers.AutoModel.from_config(KINDS["bert"]).half().save_pretrained(tmp_path)
    network = text.transformer(WORDS, LENGTH, PAD, name=str(tmp_path), pretrained=True)
    assert {p.dtype for p in network.parameters()} == {torch.float32}


@pytest.mark.parametrize("kind", KINDS)
def test_more_tokens_than_positions(kind, tmp_path):
    folder, _ = saved(tmp_path, KINDS[kind])
    message = rf"^model\.name=.*: expected a model of {LENGTH + 1} positions; it has {LENGTH}: codec\.length={LENGTH}"
    refused(message, lambda: text.transformer(WORDS, LENGTH + 1, PAD, name=folder))


def test_other_words_and_other_padding(tmp_path):
    folder, _ = saved(tmp_path, KINDS["bert"])
    refused(r"^model\.name=.*of 21 words, .*; it has 20", lambda: text.transformer(WORDS + 1, LENGTH, PAD, name=folder))
    refused(r"^model\.name=.*pads with token 1, .*; it pads with 0", lambda: text.transformer(WORDS, 9, 1, name=folder))


def test_weights_that_are_missing(tmp_path):
    folder, model = saved(tmp_path, KINDS["bert"])
    weights = {name: w for name, w in model.state_dict().items() if "attention.self.query" not in name}
    model.save_pretrained(folder, state_dict=weights)
    message = (
        r"^model\.name=.*expected weights of the whole encoder; 2 are missing \(encoder\.layer\.0\.attention\.self"
    )
    refused(message, lambda: text.transformer(WORDS, LENGTH, PAD, name=folder, pretrained=True))


@pytest.mark.parametrize(
    "config",
    [
        transformers.GPT2Config(vocab_size=WORDS, n_embd=16, n_layer=1, n_head=2),
        transformers.BertConfig(**SIZES, is_decoder=True),
        transformers.T5Config(vocab_size=WORDS, d_model=16, num_layers=1, num_heads=2, d_ff=16),
    ],
    ids=["gpt2", "decoder", "t5"],
)
def test_models_that_do_not_read_both_ways(config, tmp_path):
    config.save_pretrained(tmp_path)
    message = r"^model\.name=.*: expected a sequence encoder \(BERT, RoBERTa, \.\.\.\); this is a "
    refused(message, lambda: text.transformer(WORDS, LENGTH, PAD, name=str(tmp_path)))


def test_names_that_the_cache_does_not_have():
    message = r"^model\.name='no/such': expected a folder .* or a name in the local cache \(`hf download NAME`"
    refused(message, lambda: text.transformer(WORDS, LENGTH, PAD, name="no/such"))


def test_a_width_that_its_heads_do_not_divide():
    refused("^model.heads=3: expected a divisor of model.width=16", lambda: text.small(9, 9, 0, 1, width=16, heads=3))


def test_a_pool_that_does_not_exist():
    refused(r"^model\.pool='last': expected first \| mean", lambda: small(pool="last"))


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    for call in (lambda: small(), lambda: text.transformer(WORDS, LENGTH, PAD, name="roberta-base")):
        refused(r"^model\..*: expected an installed library: pip install 'dataprune\[text\]'", call)
