"""A subset that is given: what a file marks is kept, whatever the prune ratio."""

import numpy as np

from dataprune.errors import ConfigError, Shown, finite, shaped


def marked(scores: np.ndarray) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Examples of score 0 or more, int64 ascending, with the scores as their weights where these differ.

    scores: (n,), -1 = not kept, else the weight (`dataprune.formats.coresets.marks`). An empty result raises
    ConfigError.
    """
    scores = finite("scores", shaped("scores", scores, "n"))
    kept = np.flatnonzero(scores >= 0)
    if len(kept) == 0:
        raise ConfigError("scores", Shown("no examples marked"), "at least one")
    weights = scores[kept]
    return kept if (weights == weights[0]).all() else (kept, weights)
