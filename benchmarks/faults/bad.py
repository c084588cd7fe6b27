"""What a mistake is, and what must come of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.jobs import TINY, Ended, trained

Prepare = Callable[[Path], object]
Start = Callable[[Path, list[str]], Ended]
REPLACED = {  # how a given word begins -> how those of the base begin that it replaces
    "source=": "source.reader",
    "target=none": "transfer",
    "source.reader=": "source.reader.",
    "model@pretrain.model=": "pretrain.model.",
    "model@surrogate.model=": "surrogate.model.",
}


@dataclass(frozen=True)
class Bad:
    """One mistake: the words that are added to those of a tiny job, and the files that they name."""

    name: str
    words: Sequence[str]
    says: str  # the key in the message, or another fragment; several are separated by " or "
    prepare: Prepare | None = None  # writes the files into the folder where the words are given
    hydra: bool = False  # the message is Hydra's or OmegaConf's own, which may go on for some lines


def attempt(bad: Bad, folder: Path, start: Start) -> list[str]:
    """Make the mistake; returns the troubles: anything but one line before any training, with nothing left."""
    folder.mkdir(parents=True)
    if bad.prepare is not None:
        bad.prepare(folder)
    replaced = tuple(gone for new, gone in REPLACED.items() if any(word.startswith(new) for word in bad.words))
    base = [word for word in [*TINY, "transfer.epochs=2"] if not (replaced and word.startswith(replaced))]
    ended, fragments = start(folder, [*base, *bad.words]), bad.says.split(" or ")
    if bad.hydra and ended.code == 1 and "Traceback" not in ended.err:
        told = any(fragment in ended.err for fragment in fragments)
        return trained(folder / "store") + ([] if told else [f"no word of {bad.says}: {ended.err[:300]}"])
    return ended.refused(*fragments) + trained(folder / "store")


# writers of the files that a mistake needs


def text(name: str, content: str = "") -> Prepare:
    """Write a text file."""
    return lambda folder: (folder / name).write_text(content)


def raw(name: str, content: bytes) -> Prepare:
    """Write a file of these bytes."""
    return lambda folder: (folder / name).write_bytes(content)


def both(*steps: Prepare) -> Prepare:
    """Do one after the other."""

    def prepare(folder: Path) -> None:
        for step in steps:
            step(folder)

    return prepare
