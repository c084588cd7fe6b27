"""Dynamic pruning: samplers that choose anew, each epoch or within each batch, which examples are trained on.

Each is a torch `Sampler` for any loop (`dataprune.dynamic.policy` says how), a function of (seed, epoch, observed
losses): what it gives does not depend on how often it was asked, nor on the number of processes.
"""

from dataprune.dynamic.batches import BatchPolicy, ProgressiveDropout, RhoLoss
from dataprune.dynamic.ies import IES
from dataprune.dynamic.infobatch import InfoBatch
from dataprune.dynamic.loops import WithIds
from dataprune.dynamic.orderdp import OrderDP
from dataprune.dynamic.policy import Policy
from dataprune.dynamic.rs2 import RS2
from dataprune.dynamic.seta import SeTa

__all__ = [
    "IES",
    "RS2",
    "BatchPolicy",
    "InfoBatch",
    "OrderDP",
    "Policy",
    "ProgressiveDropout",
    "RhoLoss",
    "SeTa",
    "WithIds",
]
