"""Subsets as files: `Subset` is ours (subset.npz), `dataprune.subset.formats` reads and writes those of others."""

from dataprune.subset.file import Subset

__all__ = ["Subset"]
