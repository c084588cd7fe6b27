"""Networks of text: encoders of the library transformers, by name, by path or of any size.

Features are what the encoder says of the first token ([CLS], <s>), or the mean over all tokens. Facts of the input come
from the codec: vocabulary, length (most tokens of a text), padding (the id that fills up), types (kinds of tokens).
"""

import inspect
from typing import Any

import torch
from torch import nn

from dataprune.errors import ConfigError, first_line, one_of

EXTRA = "an installed library: pip install 'dataprune[text]'"


class Encoder(nn.Module):
    """See `transformer`. `pool`: first | mean."""

    def __init__(self, encoder: nn.Module, pool: str) -> None:
        super().__init__()
        self.encoder, self.pool = encoder, pool
        config: Any = encoder.config
        self.num_features: int = config.hidden_size
        takes = inspect.signature(encoder.forward).parameters
        self.takes_types = "token_type_ids" in takes and getattr(config, "type_vocab_size", 0) > 1

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Float (b, num_features), of int64 (b, l) each; where the mask is 0 nothing is looked at."""
        types = {"token_type_ids": token_type_ids} if self.takes_types and token_type_ids is not None else {}
        # tensors without values are for counting FLOPs: padding costs as much, and transformers would look for it
        mask = None if attention_mask.is_meta else attention_mask
        hidden = self.encoder(input_ids=input_ids, attention_mask=mask, **types).last_hidden_state
        if self.pool == "first":
            return hidden[:, 0]
        real = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * real).sum(1) / real.sum(1)


def transformer(
    vocabulary: int, length: int, padding: int, name: str, pretrained: bool = False, pool: str = "first"
) -> nn.Module:
    """A sequence encoder (BERT, RoBERTa, DeBERTa, ...) with fresh weights, or its own (pretrained=True).

    name: as it is called in the local cache, or the path of its folder; nothing is downloaded. pool: first | mean.

    Raises ConfigError for one that is not there, that does not read the whole text at once, that has fewer positions
    than the texts are long, or that knows another padding or fewer words than the tokenizer.
    """
    try:
        import transformers
    except ImportError:
        raise ConfigError("model.name", name, EXTRA) from None
    _quiet(transformers)
    try:
        config = transformers.AutoConfig.from_pretrained(name, local_files_only=True)
        _check_kind(config, name, transformers)
        encoder = _with_weights(name, transformers) if pretrained else transformers.AutoModel.from_config(config)
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, ConfigError):
            raise
        where = "a folder with a model of transformers, or a name in the local cache (`hf download NAME` puts it there)"
        raise ConfigError("model.name", name, f"{where}: {first_line(error)}") from None
    _check_input(encoder, name, vocabulary, length, padding)
    return _encoder(encoder, pool)


def small(
    vocabulary: int,
    length: int,
    padding: int,
    types: int,
    layers: int = 2,
    width: int = 128,
    heads: int = 4,
    dropout: float = 0.1,
    pool: str = "first",
) -> nn.Module:
    """A BERT of any size with fresh weights: `layers` of `width` (four times that inside), learned positions."""
    try:
        from transformers import BertConfig, BertModel
    except ImportError:
        raise ConfigError("model._target_", f"{__name__}.small", EXTRA) from None
    if width % heads:
        raise ConfigError("model.heads", heads, f"a divisor of model.width={width}")
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        max_position_embeddings=length,
        type_vocab_size=types,
        pad_token_id=padding,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    return _encoder(BertModel(config), pool)


def _encoder(encoder: nn.Module, pool: str) -> Encoder:
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # type: ignore[assignment]  # the features come before it; weights without gradients stop DDP
    return Encoder(encoder, one_of("model.pool", pool, "first", "mean"))


def _with_weights(name: str, transformers: Any) -> nn.Module:
    found, report = transformers.AutoModel.from_pretrained(name, local_files_only=True, output_loading_info=True)
    missing = [key for key in report["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        expected = f"weights of the whole encoder; {len(missing)} are missing ({', '.join(sorted(missing)[:3])})"
        raise ConfigError("model.name", name, expected)
    return found.float()  # the files may hold halves


def _check_kind(config: Any, name: str, transformers: Any) -> None:
    """Raise unless the model reads a text in both directions: the first token of others has seen nothing."""
    one_way = getattr(config, "is_decoder", False) or getattr(config, "is_encoder_decoder", False)
    if one_way or type(config) not in transformers.MODEL_FOR_MASKED_LM_MAPPING:
        raise ConfigError("model.name", name, f"a sequence encoder (BERT, RoBERTa, ...); this is a {config.model_type}")


def _check_input(encoder: nn.Module, name: str, vocabulary: int, length: int, padding: int) -> None:
    config: Any = encoder.config
    words = encoder.get_input_embeddings().num_embeddings  # type: ignore[operator]
    if words < vocabulary:
        raise ConfigError("model.name", name, f"a model of {vocabulary} words, as the tokenizer has; it has {words}")
    if config.pad_token_id not in (None, padding):
        expected = f"a model that pads with token {padding}, as the tokenizer does; it pads with {config.pad_token_id}"
        raise ConfigError("model.name", name, expected)
    if (most := positions(encoder)) is not None and length > most:
        raise ConfigError(
            "model.name", name, f"a model of {length} positions; it has {most}: codec.length={most} cuts texts"
        )


def positions(encoder: nn.Module) -> int | None:
    """Return how many tokens an encoder of transformers can place; None = any number."""
    for name, module in encoder.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its kin count positions from behind the padding's
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return getattr(encoder.config, "max_position_embeddings", None)


def _quiet(transformers: Any) -> None:
    """Keep bars and load reports out of the log."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
