"""OpenVINO: dense kernels (of convolutions, whatever its option for sparse weights says). The extra `openvino`."""

from pathlib import Path

import numpy as np

from dataprune.errors import one_of
from dataprune.runtimes.runtime import Runtime


class Engine(Runtime):
    """See `Runtime`. precision: f32 | bf16, which is faster where the CPU has it, and less exact."""

    def __init__(self, path: Path, threads: int, precision: str = "f32") -> None:
        import openvino

        self.least = 0.9999 if one_of("runtime.precision", precision, "f32", "bf16") == "f32" else 0.99
        core, asked = openvino.Core(), {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision}
        self.model = core.compile_model(core.read_model(str(path)), "CPU", asked | {"NUM_STREAMS": 1})
        self.name = f"openvino {openvino.__version__.partition('-')[0]}"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return features float32 (b, d) of images float32 (b, c, h, w)."""
        return np.array(self.model(images)[0])  # a copy: it writes the next ones into the same place
