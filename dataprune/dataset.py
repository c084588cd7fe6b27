"""A data set in the store: the table of its examples, and what they were decoded to for each loader."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dataprune.store import Result

# what a network's function may ask of a data set's input: its parameter -> the fact that a codec has told
FACTS = {"in_channels": "channels"} | {name: name for name in ("vocabulary", "length", "padding", "types")}


@dataclass(frozen=True)
class Data:
    """A data set as the stages see it: its table of examples, and its columns for those that look at them."""

    table: Result  # index
    decoded: dict[str, Result]  # decode, by what reads it (TrainConfig.reads)

    def inputs(self, reads: str) -> dict[str, Result]:
        """What a stage gets that looks at the columns as a recipe reads them."""
        return {"examples": self.table, "pixels": self.decoded[reads]}

    @property
    def pixels(self) -> Result:
        """How it is decoded, whatever the loader."""
        return next(iter(self.decoded.values()))

    @property
    def facts(self) -> dict[str, Any]:
        """What is known of it before anything is trained: classes, examples of each split, input."""
        return self.table.facts | self.pixels.facts

    @property
    def splits(self) -> list[str]:
        """Names of the splits that it has."""
        return [name for name in ("train", "validation", "test") if name in self.table.facts]

    @cached_property
    def classes(self) -> list[str]:
        """Class names; a label is a position in this list."""
        return json.loads((self.table / "classes.json").read_text())

    @cached_property
    def header(self) -> dict[str, Any]:
        """How its examples look to a network: codec, input."""
        return json.loads((self.pixels / "header.json").read_text())
