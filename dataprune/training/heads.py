"""The head of a model that comes in: kept, in part or whole, or replaced."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dataprune.config import TrainConfig
from dataprune.data.examples import Examples
from dataprune.formats.class_lists import rows_of
from dataprune.formats.imagenet import read_mapping
from dataprune.models.networks import of_columns
from dataprune.passes import check_outputs


def head_of(head: torch.nn.Linear, config: TrainConfig, classes: Sequence[str], before: Path | None) -> torch.nn.Linear:
    """Return the head that a training begins with, in place of the model's own.

    classes: of the data. before: the example table of the model's own data, whose class names say which rows stay
    (head=matched). Raises ConfigError where rows or columns do not fit.
    """
    if config.head_columns is not None:
        head = of_columns(head, read_mapping(config.head_columns, head.out_features))
    if config.head == "reuse" and not config.bn_passes:
        check_outputs(head.out_features, len(classes), exactly=config.epochs == 0)
    if config.head == "matched":
        assert before is not None
        head = of_columns(head, np.array(rows_of(classes, Examples(before, "train").classes)))
    if config.head == "fresh":
        head = torch.nn.Linear(head.in_features, len(classes))
    return head
