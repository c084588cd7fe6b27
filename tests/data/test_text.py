"""The codec of text: what is cut, padded and refused."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from dataprune.data.text import Tokens
from dataprune.errors import ConfigError
from tests.made_up_text import tokenizer

pytest.importorskip("tokenizers", reason="the extra `text` is not installed")
PAD, UNK, CLS, SEP, GOOD, BAD, FILM = range(7)


@pytest.fixture
def file(tmp_path):
    return tokenizer(tmp_path / "tokenizer.json")


@pytest.fixture
def codec(file):
    return Tokens(file, length=8)


def ids(columns, name="input_ids"):
    return columns[name].tolist()


def refused(message, call):
    with pytest.raises(ConfigError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_text_has_its_marks(codec):
    columns = codec.decode(("Good unheard-of film",))
    assert ids(columns) == [CLS, GOOD, UNK, UNK, UNK, FILM, SEP]
    assert ids(columns, "token_type_ids") == [0] * 7
    assert columns["input_ids"].dtype == np.int32


def test_a_pair_is_what_the_tokenizer_makes_of_it(codec):
    columns = codec.decode(("good film", "bad"))
    assert ids(columns) == [CLS, GOOD, FILM, SEP, BAD, SEP]
    assert ids(columns, "token_type_ids") == [0, 0, 0, 0, 1, 1]


def test_without_kinds_of_tokens_there_are_none(tmp_path):
    plain = Tokens(tokenizer(tmp_path / "plain.json", marks=False), 8)
    assert set(plain.decode(("good", "bad"))) == {"input_ids"}
    assert plain.describe({})["types"] == 1


def test_long_texts_are_cut_and_counted(codec):
    assert codec.remark() is None
    codec.decode(("good film",))
    assert ids(codec.decode(("good " * 6,))) == [CLS, *[GOOD] * 6, SEP]
    assert codec.remark() is None, "it just fits"
    assert ids(codec.decode(("good " * 7,))) == [CLS, *[GOOD] * 6, SEP]
    assert ids(codec.decode(("good " * 9, "bad"))) == [CLS, *[GOOD] * 4, SEP, BAD, SEP], "the longer one loses"
    assert codec.remark() == "2 texts cut to 8 tokens"
    assert codec.remark() is None, "counted once"


def test_a_batch_is_padded_to_its_longest(codec):
    batch = codec.collate([codec.decode(item) for item in [("good",), ("good film", "bad")]])
    assert batch["input_ids"].tolist() == [[CLS, GOOD, SEP, PAD, PAD, PAD], [CLS, GOOD, FILM, SEP, BAD, SEP]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0, 0], [1] * 6]
    assert batch["token_type_ids"].tolist() == [[0] * 6, [0, 0, 0, 0, 1, 1]]
    assert {column.dtype for column in batch.values()} == {torch.int64}


def test_the_padding_is_the_tokenizers(tmp_path):
    path = tokenizer(tmp_path / "other.json", padding="the", words=["[PAD]", "good", "film"])
    batch = (codec := Tokens(path)).collate([codec.decode(("good",)), codec.decode(("good film",))])
    assert batch["input_ids"][0].tolist() == [CLS, 5, SEP, 4], "[PAD] is word 4 here"


def test_what_networks_are_told(codec):
    told = codec.describe({})
    assert told == {
        "kind": "tokens", "vocabulary": 14, "length": 8, "padding": PAD, "types": 2, **codec.contents(),
    }  # fmt: skip


def test_the_content_of_a_tokenizer_counts_and_not_its_place(tmp_path, codec):
    (tmp_path / "elsewhere").mkdir()
    again = tokenizer(tmp_path / "elsewhere" / "other_name.json")
    assert Tokens(again, 99).contents() == codec.contents()
    assert Tokens(tokenizer(tmp_path / "more.json", words=["good"])).contents() != codec.contents()
    script = f"from dataprune.data.text import Tokens; print(Tokens({again!r}).contents())"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(codec.contents()), "in another process too"


def test_a_copy_in_another_process_reads_again(codec):
    codec.decode(("good",))
    copy = pickle.loads(pickle.dumps(codec))
    assert "_read" not in vars(copy)
    assert ids(copy.decode(("good film",))) == ids(codec.decode(("good film",)))


def test_what_was_measured_stands_for_the_tokenizer(codec):
    known = Tokens(**({"tokenizer": codec.tokenizer, "length": 8} | codec.measure([])))
    assert known.tokenizer == codec.contents()["tokenizer"], "no place any more"
    assert known.describe({}) == codec.describe({})
    assert known.measure([]) == codec.measure([])
    examples = [codec.decode(item) for item in [("good",), ("good film", "bad")]]
    assert str(known.collate(examples)) == str(codec.collate(examples))


def test_blank_texts_have_the_form_of_a_batch(codec):
    blank, batch = codec.blank(codec.describe({}), 3), codec.collate([codec.decode(("good",))])
    assert {name: (column.shape, column.dtype) for name, column in blank.items()} == dict.fromkeys(
        batch, ((3, 8), torch.int64)
    )


def test_what_is_shown_is_one_line(codec):
    assert codec.show((" a\n film ", "good\tone")) == "a film | good one"


def test_folders_and_names_of_the_cache(tmp_path, codec):
    transformers = pytest.importorskip("transformers", reason="the extra `text` is not installed")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_file=codec.tokenizer, pad_token="[PAD]")
    fast.save_pretrained(tmp_path / "folder")
    found = Tokens(str(tmp_path / "folder"), length=8)
    assert ids(found.decode(("good film", "bad"))) == [CLS, GOOD, FILM, SEP, BAD, SEP]
    message = (
        r"^codec\.tokenizer='no/such': expected a tokenizer\.json, .*, or a name in the local cache \(`hf download"
    )
    refused(message, lambda: Tokens("no/such").describe({}))


def test_a_vocabulary_with_gaps_is_as_large_as_its_last_number(tmp_path):
    from tokenizers import Tokenizer, models

    path = str(tmp_path / "tokenizer.json")
    Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "good": 30}, unk_token="[UNK]")).save(path)
    assert Tokens(path).describe({})["vocabulary"] == 31


# what cannot work


def test_a_tokenizer_without_a_token_that_pads(tmp_path):
    path = tokenizer(tmp_path / "tokenizer.json", padding="the", words=["good"])
    refused(
        r"^codec\.tokenizer=.*: expected one with a token that pads \(\[PAD\], <pad>", lambda: Tokens(path).describe({})
    )


def test_a_tokenizer_that_knows_no_strange_word(tmp_path):
    from tokenizers import Tokenizer, models

    path = str(tmp_path / "tokenizer.json")
    Tokenizer(models.WordLevel({"[PAD]": 0, "good": 1})).save(path)
    message = r"^codec\.tokenizer=.*: expected one that takes any text \(WordLevel error: Missing \[UNK\]"
    refused(message, lambda: Tokens(path).decode(("strange",)))


def test_a_tokenizer_that_leaves_nothing(tmp_path):
    path = tokenizer(tmp_path / "tokenizer.json", marks=False)
    refused(
        r"^codec\.tokenizer=.*: expected one that leaves something of \(' ',\)", lambda: Tokens(path).decode((" ",))
    )


def test_no_tokenizer():
    refused(r"^codec\.tokenizer=None: expected a tokenizer\.json, ", lambda: Tokens(None))


def test_a_file_that_is_no_tokenizer(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("good\nbad\n")
    refused(r"^codec\.tokenizer=.*words\.txt'.*this file is none", lambda: Tokens(str(path)).describe({}))


def test_a_length_that_its_marks_fill(file):
    refused(
        r"^codec\.length=4: expected 5 or more: a pair and the 3 marks", lambda: Tokens(file, length=4).describe({})
    )


@pytest.mark.parametrize(("library", "source"), [("tokenizers", "file"), ("transformers", "folder")])
def test_without_the_libraries(library, source, file, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    source = file if source == "file" else "roberta-base"
    refused(
        rf"^codec\.tokenizer='{source}': expected .*pip install 'dataprune\[text\]'",
        lambda: Tokens(source).describe({}),
    )
