"""Name the lines of a report by what sets them apart: `d2 gamma=0.1`, `d2 gamma=0.5`."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from dataprune.store import fingerprint

Key = tuple[str, ...]  # a dotted config key in its parts
HASHES = ("content", "code", "files")  # of data, functions and foreign files: shown by their first digits
LAST = ("code", "VERSION")  # named only where nothing else tells two lines apart
DEFAULT, NONE = "default", "none"  # what a config leaves out is at its default, or in a part that is not used
DIGITS = 4  # of a hash, at least
LONGEST = 32  # characters of a value


def label_lines(lines: Iterable[tuple[str, str, dict[str, Any]]]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return identity -> label for the lines (method, identity, config) of one section.

    A label is the method's name, followed by what differs between the lines of that name. Second result: method ->
    the dotted keys in which its lines differ as well, but which no label shows, because they always change together
    with one that is shown (a recipe), or because they are hashes of code that were not needed to tell lines apart.
    """
    by_method: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for method, identity, config in lines:
        by_method[method][identity] = config
    known = {key for configs in by_method.values() for config in configs.values() for key in leaves(config)}
    labels: dict[str, str] = {}
    also: dict[str, list[str]] = {}
    for method, configs in by_method.items():
        apart, hidden = distinguish(configs, known)
        labels |= {identity: f"{method} {words}".strip() for identity, words in apart.items()}
        also[method] = hidden
    return labels, {method: keys for method, keys in also.items() if keys}


def distinguish(configs: Mapping[str, dict[str, Any]], known: Collection[Key]) -> tuple[dict[str, str], list[str]]:
    """Return identity -> words such as `gamma=0.1 pretrain.epochs=6`, unique, and the dotted keys left unsaid.

    A single config gets no words. known: all keys among which a key's last parts must be unambiguous.
    """
    order = sorted(configs)
    values = _columns([configs[identity] for identity in order])
    columns = {key: list(map(_plain, column)) for key, column in values.items()}
    differing = sorted((key for key, column in columns.items() if len(set(column)) > 1), key=_preference)
    chosen = _choose(differing, columns, len(order))
    shown = [[f"{suffix(key, known)}={text}" for text in _shown(key, values[key])] for key in chosen]
    told = {identity: " ".join(parts[i] for parts in shown) for i, identity in enumerate(order)}
    return _unique(told), [".".join(key) for key in differing if key not in chosen]


def _unique(told: dict[str, str]) -> dict[str, str]:
    """Words by identity, with the identity where two read alike: equal configs under two hashes, or such values."""
    if len(set(told.values())) == len(told):
        return told
    return {identity: f"{text} identity={identity}".strip() for identity, text in told.items()}


def leaves(config: Mapping[str, Any], above: Key = ()) -> dict[Key, Any]:
    """Return the nested config as key -> value. A `_target_` belongs to the key above it; hashes of code are one value.

    >>> leaves({"method": {"score": {"_target_": "my.score", "window": 3}}})
    {('method', 'score'): 'my.score', ('method', 'score', 'window'): 3}
    """
    found: dict[Key, Any] = {}
    for name, value in config.items():
        key = above if name == "_target_" and above else (*above, str(name))
        if isinstance(value, Mapping) and value and name not in HASHES:
            found |= leaves(value, key)
        else:
            found[key] = value
    return found


def suffix(key: Key, known: Collection[Key]) -> str:
    """Return the shortest end of the dotted key that no other known key has, such as `gamma` or `pretrain.epochs`."""
    for length in range(1, len(key)):
        end = key[-length:]
        if end[0].isidentifier() and not any(other != key and other[-length:] == end for other in known):
            return ".".join(end)
    return ".".join(key)


def natural(label: str) -> list[tuple[float, str]]:
    """Return a sorting key that puts `gamma=2` before `gamma=10`."""
    parts = re.split(r"(\d+(?:\.\d+)?)", label)
    return [(float(part), "") if i % 2 else (-1.0, part) for i, part in enumerate(parts)]


def _columns(configs: list[dict[str, Any]]) -> dict[Key, list[Any]]:
    """Return key -> its value in each config; where one leaves it out: `default`, or `none` if its part is not used."""
    flat = list(map(leaves, configs))
    columns = {}
    for key in set().union(*flat):
        left_out = [DEFAULT if key[0] in config else NONE for config in configs]
        columns[key] = [leaf.get(key, otherwise) for leaf, otherwise in zip(flat, left_out, strict=True)]
    return columns


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _preference(key: Key) -> tuple[bool, bool, bool, Key]:
    """The method's own constants come first, contents of data later, code last."""
    return key[-1] in LAST, key[-1] == "content", key[0] != "method", key


def _choose(differing: list[Key], columns: Mapping[Key, list[str]], lines: int) -> list[Key]:
    """Choose all keys that differ, but one of those that always change together, and code only where it is needed."""
    chosen: list[Key] = []
    patterns: set[tuple[int, ...]] = set()
    for key in differing:
        pattern = tuple(columns[key].index(value) for value in columns[key])
        told_apart = len(set(zip(*(columns[k] for k in chosen), strict=True))) if chosen else 1
        if pattern in patterns or (key[-1] in LAST and told_apart == lines):
            continue
        chosen.append(key)
        patterns.add(pattern)
    return chosen


def _shown(key: Key, values: list[Any]) -> list[str]:
    """Return each value as a short text; different values stay different where that is possible."""
    texts = [_plain(value) for value in values]
    if key[-1] in HASHES:
        hashes = [_hash_text(value) for value in values]
        return _shortest(hashes, lambda text, length: text[: length + DIGITS])
    if all(isinstance(value, str) and re.fullmatch(r"[\w]+(\.\w+)+", value) for value in values):  # dotted paths
        return _shortest(texts, lambda text, length: ".".join(text.split(".")[-length - 1 :]))
    return [text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…" for text in texts]


def _hash_text(value: Any) -> str:
    """Return the digits of a hash, or of the hashes of several functions as one."""
    if not isinstance(value, Mapping):
        return _plain(value)
    return str(next(iter(value.values()))) if len(value) == 1 else fingerprint(value)


def _shortest(texts: list[str], cut: Callable[[str, int], str]) -> list[str]:
    """Cut all texts to the shortest length at which those that differ still do."""
    for length in range(max(map(len, texts))):
        short = [text if text in (DEFAULT, NONE) else cut(text, length) for text in texts]
        if len(set(short)) == len(set(texts)):
            return short
    return texts
