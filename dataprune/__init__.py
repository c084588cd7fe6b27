"""Data pruning experiments: one proxy run, every score, every ratio, honest cost.

`dataprune.Recorder` records training dynamics from any PyTorch loop; scores and selectors are functions of arrays in
`dataprune.scores` and `dataprune.selectors`; `python -m dataprune --help` runs whole experiments.
"""

from typing import Any

__version__ = "0.2.0.dev0"


def __getattr__(name: str) -> Any:
    """`dataprune.Recorder`, imported when it is first asked for: it needs torch, most of the package does not."""
    if name == "Recorder":
        from dataprune.training.recorder import Recorder

        return Recorder
    raise AttributeError(f"module 'dataprune' has no attribute {name!r}")
