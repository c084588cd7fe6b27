"""Pairs of source and target as pictures: near duplicates, misleading and mislabelled images are seen, not computed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown
from dataprune.influence.analysis import Experiment
from dataprune.influence.retrain import job_of
from dataprune.report import figures
from dataprune.report.page import Page
from dataprune.store import Store

Pair = tuple[int, int, float, float]  # unit, place of the target, influence, standard error


@dataclass(frozen=True)
class Shows:
    """The data sets of an experiment, found among the results that its jobs left."""

    source: Examples
    target: Examples
    by_class: bool

    @classmethod
    def of(cls, experiment: Experiment, results: str | None) -> "Shows":
        """Find them by their fingerprints; raises ConfigError where the results do not hold them."""
        job, wanted = job_of(experiment), experiment.store.spec["experiment"]
        root = Path(results or job["store"])
        for row in Store(root, verify=False).rows():
            keys = row["keys"]
            parts = [("source", "train"), ("target", job["evaluate"]["split"])]
            there = [root / "index" / keys.get(name, "") / "manifest.json" for name, _ in parts]
            if not all(path.exists() for path in there):
                continue
            found = [
                Examples(root / "index" / keys[n], split, root / "decode" / keys[f"{n}_pixels"]) for n, split in parts
            ]
            if [examples.fingerprint for examples in found] == [wanted["source"], wanted["target"]]:
                return cls(found[0], found[1], job["method"]["level"] == "class")
        raise ConfigError("--results", Shown(f"{root} without the data of this experiment"), "the store of its jobs")

    def of_unit(self, unit: int) -> np.ndarray:
        """The picture of a unit: the example, or the first one of the class."""
        shown = np.flatnonzero(self.source.labels == unit)[0] if self.by_class else unit
        return _picture(self.source, int(shown))

    def of_target(self, target: int) -> np.ndarray:
        """The picture of a target example."""
        return _picture(self.target, target)


def _picture(examples: Examples, i: int) -> np.ndarray:
    shown = examples.codec.show(examples.items[i])
    if isinstance(shown, str):
        raise ConfigError("--pictures", Shown("examples that are texts"), "nothing: texts have no pictures")
    return shown


def draw(experiment: Experiment, pairs: list[Pair], folder: Path, results: str | None) -> Path:
    """Draw pairs into report.html in the folder: helpful ones, then harmful ones, the unit above its target."""
    shows, page = Shows.of(experiment, results), Page(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = experiment.store.names
    page.heading(1, "Pairs of the strongest influence")
    ends = (("Helpful: near duplicates, or the same thing", 1), ("Harmful: misleading or mislabelled", -1))
    for title, sign in ends:
        chosen = [pair for pair in pairs if pair[2] * sign > 0]
        if not chosen:
            continue
        page.heading(2, title)
        of = "The first image of each source class" if shows.by_class else "The source image"
        page.note(f"{of} above; below it the target image, its class, and the influence.")
        units = [(shows.of_unit(unit), names["units"][unit][-12:]) for unit, *_ in chosen]
        targets = [
            (
                shows.of_target(int(experiment.targets[at])),
                f"{names['targets'][experiment.labels[at]][:8]} {value:+.2f}",
            )
            for _, at, value, _ in chosen
        ]
        for side, (what, examples) in zip(
            (units, targets), (("source", shows.source), ("target", shows.target)), strict=True
        ):
            pixels, captions = zip(*side, strict=True)
            maximum = examples.header["maximum"]
            page.figure(
                figures.montage(np.stack(pixels), maximum, captions), f"{what} {title.partition(':')[0]}", bitmap=True
            )
    return page.write("Pairs of the strongest influence")
