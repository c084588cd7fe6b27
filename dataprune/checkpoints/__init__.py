"""Networks of other programs: what is in their files, and their weights and masks in ours.

from dataprune.checkpoints import inspect, load
report = inspect("resnet50_acdc_90.ckpt")
masks = load("resnet50_acdc_90.ckpt", network)
"""

from dataprune.checkpoints.loading import inspect, load

__all__ = ["inspect", "load"]
