"""Lightning's trainer as our trainings want it: nothing found in the environment, nothing said at every fit."""

import logging
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment, TorchElasticEnvironment

from dataprune.config import TrainConfig
from dataprune.errors import ConfigError
from dataprune.processes import on_each_machine, place

PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


def trainer_of(
    config: TrainConfig, device: torch.device, callbacks: list[pl.Callback], epochs: int, steps: int, folder: Path
) -> pl.Trainer:
    """Return the trainer of a recipe for so many more epochs and steps (-1 = any); folder: where it may write."""
    world = place(config.processes)[1]
    many, on_gpu = world > 1, device.type == "cuda"
    return pl.Trainer(
        accelerator="gpu" if on_gpu else "cpu",
        devices=(each := on_each_machine(world)) if many else [device.index or 0] if on_gpu else 1,
        num_nodes=world // each if many else 1,
        strategy="ddp" if many else "auto",
        # said, not left to what Lightning finds in the environment
        plugins=[TorchElasticEnvironment() if many else LightningEnvironment()],
        sync_batchnorm=config.sync_batchnorm,
        precision=PRECISIONS[config.precision],  # type: ignore[arg-type]
        max_epochs=epochs,
        max_steps=steps,
        gradient_clip_val=config.clip_norm,
        accumulate_grad_batches=config.accumulate,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


def check_device(config: TrainConfig, device: torch.device, label: str) -> None:
    """Raise a ConfigError for what a device cannot do: Lightning would train something else."""
    if device.type == "cpu" and config.precision == "float16":
        raise ConfigError(
            f"{label}.precision", "float16", "float32 or bfloat16: torch has no float16 training on a CPU"
        )
    if device.type == "cpu" and config.sync_batchnorm:
        raise ConfigError(f"{label}.sync_batchnorm", True, "false: torch has it on GPUs only")


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
