"""Data pruning experiments: one proxy run, every score, every ratio, honest cost."""

__version__ = "0.1.0"
