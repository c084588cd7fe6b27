"""A backbone as an ONNX file, its zeros kept, and how far what an engine makes of it is from what torch does."""

import copy
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dataprune.errors import ConfigError, Shown, first_line
from dataprune.runtimes.runtime import check_installed

IMAGES, FEATURES = "images", "features"  # the names of input and output
OPSET = 13  # what all three engines read; DeepSparse's is of 2024


def write_onnx(backbone: nn.Module, out: Path, shape: tuple[int, ...], key: str = "onnx") -> Path:
    """Write a backbone that turns images float32 `shape` = (batch, c, h, w) into features (batch, d); return the path.

    The batch is fixed. In eval mode: batch norms are folded into the convolutions before them, whose zeros stay zeros
    (a channel whose batch norm has a weight of 0 becomes empty). The older exporter (`dynamo=False`): DeepSparse reads
    no other. Raises ConfigError, under `key`, where the package onnx is missing, or torch cannot write the network.
    """
    check_installed(key, Shown("no package onnx"), "onnx", "onnx")
    frozen = copy.deepcopy(backbone).cpu().float().eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # that the exporter is the older one, and what it says of shapes
        try:
            torch.onnx.export(
                frozen,
                (torch.zeros(shape),),
                str(out),
                dynamo=False,
                opset_version=OPSET,
                input_names=[IMAGES],
                output_names=[FEATURES],
            )
        except (RuntimeError, torch.onnx.OnnxExporterError) as error:
            out.unlink(missing_ok=True)
            why = Shown(f"{type(backbone).__name__} ({first_line(error)})")
            raise ConfigError(key, why, f"a network that torch can write as ONNX, opset {OPSET}") from None
    return out


def cosines(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the cosine of each row of two arrays (n, d), float64 (n,); 1 where both are 0, 0 where one is."""
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    equal = (found == wanted).all(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(lengths > 0, (found * wanted).sum(1) / lengths, equal.astype(np.float64))


def check_alike(cosine: float, least: float, engine: str, key: str) -> None:
    """Raise a ConfigError where the lowest cosine is below what will do, or NaN: the engine computes something else."""
    if not cosine >= least:
        expected = f"features as torch's: a cosine of {least} at least, and the lowest is {cosine:.6f}"
        raise ConfigError(key, engine, expected)
