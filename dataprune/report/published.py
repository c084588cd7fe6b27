"""Published figures to stand beside ours."""

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Published:
    """A figure from a paper: top-1 in percent."""

    network: str
    top1: float
    reference: str


def published(source: str) -> dict[tuple[str, float], Published]:
    """Return (method, prune ratio) -> the published figure for this source data set (report/published.csv)."""
    with open(Path(__file__).with_name("published.csv")) as file:
        return {
            (line["method"], round(float(line["prune_ratio"]), 4)): Published(
                line["network"], float(line["top1"]), line["reference"]
            )
            for line in csv.DictReader(file)
            if line["source"] == source
        }
