"""ONNX Runtime: dense kernels, zeros buy no time. The extra `onnxruntime`."""

from pathlib import Path

import numpy as np

from dataprune.runtimes.exporting import IMAGES
from dataprune.runtimes.runtime import Runtime


class Engine(Runtime):
    """See `Runtime`. providers: its names of devices, best first."""

    def __init__(self, path: Path, threads: int, providers: tuple[str, ...] = ("CPUExecutionProvider",)) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3  # errors
        self.session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        self.name = f"onnxruntime {onnxruntime.__version__}"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return features float32 (b, d) of images float32 (b, c, h, w)."""
        return self.session.run(None, {IMAGES: images})[0]
