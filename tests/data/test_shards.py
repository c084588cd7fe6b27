"""Which files belong to which split of a data set in many large files."""

import pytest

from dataprune.data.shards import expanded, files_of_splits
from dataprune.errors import ConfigError


@pytest.fixture
def names(tmp_path):
    """names(...) makes files and returns what files_of_splits finds, below the folder."""

    def find(*files, named=None):
        for file in files:
            path = tmp_path / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        found = files_of_splits(tmp_path, ".tar", named or {})
        return {split: [p.relative_to(tmp_path).as_posix() for p in there] for split, there in found.items()}

    return find


@pytest.mark.parametrize(
    ("files", "found"),
    [
        (["train.tar", "test.tar"], {"train": ["train.tar"], "test": ["test.tar"]}),
        (["data/train-1.tar", "data/valid-1.tar"], {"train": ["data/train-1.tar"], "test": ["data/valid-1.tar"]}),
        (
            ["train/1.tar", "train/0.tar", "val/0.tar", "test/0.tar"],
            {"train": ["train/0.tar", "train/1.tar"], "validation": ["val/0.tar"], "test": ["test/0.tar"]},
        ),
        (
            ["in1k-train-01.tar", "in1k-train-00.tar", "in1k-validation-00.tar", "constrained.tar"],
            {"train": ["in1k-train-00.tar", "in1k-train-01.tar"], "test": ["in1k-validation-00.tar"]},
        ),
    ],
)
def test_the_words_of_splits_are_found_in_names_and_folders(names, files, found):
    assert names(*files) == found


def test_patterns_stand_for_names_in_order():
    assert expanded("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expanded("{x,y}/{0..1}.tar") == ["x/0.tar", "x/1.tar", "y/0.tar", "y/1.tar"]
    with pytest.raises(ConfigError, match=r"splits='\{b\.\.a\}'"):
        expanded("{b..a}.tar")


def test_a_part_that_is_missing_is_named(names):
    with pytest.raises(ConfigError, match=r"without 2 of 4 parts: 00001, 00003: expected all of train-\*-of-\*\.tar"):
        names("train-00000-of-00004.tar", "train-00002-of-00004.tar", "test.tar")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"trian": "a"}, "splits='trian': expected train | validation | test"),
        ({"train": "no-*.tar", "test": "test.tar"}, r"splits='no-\*\.tar': expected files below"),
        ({"train": "train.tar"}, r"expected a folder with test\*\.tar inside; it has test\.tar, train\.tar"),
    ],
)
def test_what_is_not_there_is_refused(names, named, message):
    with pytest.raises(ConfigError, match=message):
        names("train.tar", "test.tar", named=named)
