"""The features of a frozen backbone from an engine: batch by batch, the first ones compared with torch's."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dataprune.callables import make
from dataprune.runtimes.exporting import check_alike, cosines, write_onnx
from dataprune.runtimes.runtime import KEY, Runtime

BATCH = 64  # images that an engine gets at a time, as in the sparse transfer study
COMPARED = 64  # examples whose features torch computes too
log = logging.getLogger(__name__)


class Features:
    """Features from an engine, and what is known of them: seconds, and how far from torch's the first ones are."""

    def __init__(self, engine: Runtime, backbone: nn.Module, batch: int) -> None:
        self.engine, self.backbone, self.batch = engine, backbone, batch
        self.seconds = self.torch_seconds = self.difference = 0.0
        self.images = self.compared = 0
        self.cosine = 1.0

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 (b, d) on the device of `images`, float (b, c, h, w).

        Raises ConfigError where the first ones are not those of torch.
        """
        began = time.perf_counter()
        given = images.float().numpy(force=True)
        parts = [self._padded(given[i : i + self.batch]) for i in range(0, len(given), self.batch)]
        found = torch.from_numpy(np.concatenate(parts).astype(np.float32, copy=False))
        self.seconds += time.perf_counter() - began
        self.images += len(images)
        if (left := COMPARED - self.compared) > 0:
            self._compare(images[:left], found[:left].numpy())
        return found.to(images.device)

    def _padded(self, images: np.ndarray) -> np.ndarray:
        """The features of at most `batch` images; the last batch of a pass is filled up, for the file's is fixed."""
        missing = self.batch - len(images)
        whole = np.concatenate([images, np.zeros((missing, *images.shape[1:]), images.dtype)]) if missing else images
        return self.engine(np.ascontiguousarray(whole))[: len(images)]

    def _compare(self, images: torch.Tensor, found: np.ndarray) -> None:
        began = time.perf_counter()
        with torch.no_grad():
            wanted = self.backbone(images).float().numpy(force=True)
        self.torch_seconds += time.perf_counter() - began
        self.compared += len(images)
        self.cosine = float(np.minimum(self.cosine, cosines(found, wanted).min()))  # NaN stays NaN
        self.difference = max(self.difference, float(np.abs(found - wanted).max()))
        check_alike(self.cosine, self.engine.least, self.engine.name, KEY)

    def facts(self) -> dict[str, Any]:
        """Return the engine's name, its and torch's seconds for 1,000 images, and the comparison, as plain values."""
        each, torchs = (1000 * s / max(1, n) for s, n in self._counts())
        alike = {"compared": self.compared, "cosine": self.cosine, "largest_difference": self.difference}
        return {"engine": self.engine.name, "s_per_1000": each, "torch_s_per_1000": torchs} | alike

    def _counts(self) -> tuple[tuple[float, int], tuple[float, int]]:
        return (self.seconds, self.images), (self.torch_seconds, self.compared)


@contextmanager
def served(
    spec: dict[str, Any], backbone: nn.Module, shape: tuple[int, ...], folder: Path, python: str | None
) -> Iterator[Features]:
    """A context in which an engine serves a backbone's features.

    spec: see `runtime.spec_of`. shape: (b, c, h, w), b the most images that it gets at a time. folder: for the ONNX
    file. python: see `runtime.Runtime`. When it ends without an error the seconds are logged beside torch's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = write_onnx(backbone, folder / "features.onnx", shape, KEY)
    engine = make(spec, "signals", path=path, threads=torch.get_num_threads(), python=python)
    features = Features(engine, backbone, shape[0])
    try:
        yield features
    finally:
        engine.close()
        path.unlink()
    facts = features.facts()
    log.info(
        "%s: %.2f s for 1,000 images, frozen torch %.2f s (of %d); lowest cosine %.6f",
        *(facts[name] for name in ("engine", "s_per_1000", "torch_s_per_1000", "compared", "cosine")),
    )
