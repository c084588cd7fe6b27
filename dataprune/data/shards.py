"""Data sets in many large files: which of them belong to which split, and whether all parts are there."""

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path

from dataprune.errors import ConfigError, Shown

WORDS = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}
PART = re.compile(r"-(\d{5})-of-(\d{5})(?=[-.])")  # of Hugging Face: train-00003-of-00294.parquet
RANGE = re.compile(r"\{([^{}]*)\}")


def files_of_splits(root: Path, suffix: str, named: Mapping[str, str]) -> dict[str, list[Path]]:
    """Return the files of each split in name order: train, and test, and perhaps validation.

    suffix: of the files, as `.tar`. named: the files of each split below `root`, as patterns: `train-*.tar`,
    `train-{000000..000099}.tar` (each of these must be there); empty = folders called as the splits, or files with
    these words in their names, in `root` or in `data` below it. Without test, validation is the test split. Raises
    ConfigError where train or test is missing, and for parts `-00003-of-00294` of which some are.
    """
    if unknown := sorted(named.keys() - WORDS.keys()):
        raise ConfigError("splits", unknown[0], " | ".join(WORDS))
    found = {split: files for split, files in _found(root, suffix, named).items() if files}
    if "test" not in found and "validation" in found:
        found["test"] = found.pop("validation")
    for split in ("train", "test"):
        if split not in found:
            there = ", ".join(sorted(p.name for p in root.iterdir())[:5]) or "nothing"
            raise ConfigError("path", str(root), f"a folder with {split}*{suffix} inside; it has {there}")
    for files in found.values():
        _check_parts(files)
    return found


def _found(root: Path, suffix: str, named: Mapping[str, str]) -> dict[str, list[Path]]:
    """The files of each split, perhaps none: those that are named, else those that are called so."""
    if named:
        return {split: _matching(root, pattern) for split, pattern in named.items()}
    places = [root, root / "data"]
    return next((f for place in places if (f := _called(place, suffix)).get("train")), _called(root, suffix))


def _called(root: Path, suffix: str) -> dict[str, list[Path]]:
    """The files of each split by the words in their names."""
    return {split: next(filter(None, (_of_word(root, w, suffix) for w in words)), []) for split, words in WORDS.items()}


def _of_word(root: Path, word: str, suffix: str) -> list[Path]:
    """The files in the folder `word`, or with this word in their names."""
    if (root / word).is_dir() and (inside := sorted((root / word).glob(f"*{suffix}"))):
        return inside
    whole = re.compile(rf"(^|[^a-z]){word}([^a-z]|$)", re.IGNORECASE)
    return sorted(file for file in root.glob(f"*{suffix}") if whole.search(file.name.removesuffix(suffix)))


def _matching(root: Path, pattern: str) -> list[Path]:
    """The files that a pattern stands for. Raises ConfigError for one that is missing."""
    names = expanded(pattern)
    if len(names) > 1:
        if missing := [name for name in names if not (root / name).is_file()]:
            found = Shown(f"{pattern!r} of which {len(missing)} are not there: {', '.join(missing[:5])}")
            raise ConfigError("splits", found, f"files below {root}")
        return [root / name for name in names]
    if not (files := sorted(root.glob(pattern))):
        raise ConfigError("splits", pattern, f"files below {root}")
    return files


def expanded(pattern: str) -> list[str]:
    """Return the names that a pattern with ranges {000..099} and choices {a,b} stands for, in order."""
    texts, choices = RANGE.split(pattern)[::2], RANGE.split(pattern)[1::2]
    rows = product(*map(_choices, choices))
    return ["".join(part for pair in zip(texts, [*row, ""], strict=True) for part in pair) for row in rows]


def _choices(inside: str) -> list[str]:
    first, dots, last = inside.partition("..")
    if not dots:
        return inside.split(",")
    if not (first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise ConfigError("splits", f"{{{inside}}}", "{first..last}, two numbers")
    return [f"{number:0{len(first)}}" for number in range(int(first), int(last) + 1)]


def _check_parts(files: list[Path]) -> None:
    """Raise a ConfigError where some of `-00000-of-00294` are missing."""
    there = [tuple(map(int, part.groups())) for file in files if (part := PART.search(file.name))]
    if there and (missing := sorted(set(range(there[0][1])) - {number for number, _ in there})):
        shown = ", ".join(f"{number:05}" for number in missing[:5])
        found = Shown(f"{str(files[0].parent)!r} without {len(missing)} of {there[0][1]} parts: {shown}")
        raise ConfigError("path", found, f"all of {PART.sub('-*-of-*', files[0].name)}")
