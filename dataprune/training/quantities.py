"""What is recorded of each example in each epoch: functions of one batch's outputs, named in the table of arrays.

Each returns float32 (b,), NaN or inf where the logits are broken.
"""

from functools import cached_property

import torch


class Outputs:
    """One batch's logits float (b, classes) and labels int64 (b,), with what several quantities share.

    The softmax is taken in float32: in half precision the hardest examples' probability is 0.
    """

    def __init__(self, logits: torch.Tensor, labels: torch.Tensor) -> None:
        self.logits, self.labels = logits, labels

    @cached_property
    def p(self) -> torch.Tensor:
        """The softmax, float32 (b, classes)."""
        return self.logits.float().softmax(-1)

    @cached_property
    def others(self) -> torch.Tensor:
        """The softmax with 0 for the true class, float32 (b, classes)."""
        return self.p.scatter(1, self.labels[:, None], 0.0)


def p_true(outputs: Outputs) -> torch.Tensor:
    """Return the probability of the true class."""
    return outputs.p.gather(1, outputs.labels[:, None])[:, 0]


def margin(outputs: Outputs) -> torch.Tensor:
    """Return p_true minus the largest other probability."""
    return p_true(outputs) - outputs.others.amax(1)


def logit_gap(outputs: Outputs) -> torch.Tensor:
    """Return the true logit minus the largest other one, the margin of the AUM paper (Pleiss et al. 2020)."""
    logits, labels = outputs.logits.float(), outputs.labels[:, None]
    return logits.gather(1, labels)[:, 0] - logits.scatter(1, labels, float("-inf")).amax(1)


def error(outputs: Outputs) -> torch.Tensor:
    """Return ||p - onehot||_2, the EL2N norm (Paul et al. 2021)."""
    # from the other classes alone: 1 - p_true has hardly a digit left for well-learned examples
    return (outputs.others.square().sum(1) + outputs.others.sum(1).square()).sqrt()


def correct(outputs: Outputs) -> torch.Tensor:
    """Return 1 where the label has the largest logit (the lowest class wins a tie), else 0."""
    return (outputs.logits.argmax(1) == outputs.labels).float()
