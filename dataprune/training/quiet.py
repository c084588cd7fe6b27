"""What Lightning says at each fit and nobody needs: which devices exist, that the loader has no workers."""

import logging
import warnings


def quiet_lightning() -> None:
    """Lightning says at each fit which devices exist and that the loader has no workers; a sweep has many fits."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for text in (
        ".*does not have many workers.*",
        ".*GPU available but not used.*",
        ".*in eval mode at the start of training.*",  # a frozen backbone is meant to be
        ".*isinstance\\(treespec, LeafSpec\\).*",
    ):
        warnings.filterwarnings("ignore", text)
