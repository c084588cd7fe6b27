"""What a GPU can compute at most, for the share of it that a training uses (MFU).

Dense peaks as NVIDIA's data sheets state them (without structured sparsity; bfloat16 and float16 of the tensor cores,
float32 without TF32: where torch uses TF32, as it does for convolutions by default, a share may exceed 1).
"""

import re

TERA = 1e12
# words of the device's name -> TFLOP/s in bfloat16, float16, float32; None = it has none
PEAKS: dict[str, tuple[float | None, float, float]] = {
    "V100": (None, 125.0, 15.7),
    "V100 PCIE": (None, 112.0, 14.0),
    "T4": (None, 65.0, 8.1),
    "A10": (125.0, 125.0, 31.2),
    "A10G": (70.0, 70.0, 35.0),
    "A30": (165.0, 165.0, 10.3),
    "A40": (149.7, 149.7, 37.4),
    "A100": (312.0, 312.0, 19.5),
    "L4": (121.0, 121.0, 30.3),
    "L40": (181.05, 181.05, 90.5),
    "L40S": (362.05, 362.05, 91.6),
    "H100": (989.4, 989.4, 66.9),
    "H100 PCIE": (756.0, 756.0, 51.0),
    "H100 NVL": (835.0, 835.0, 60.0),
    "H200": (989.4, 989.4, 66.9),
    "H200 NVL": (835.0, 835.0, 60.0),
    "GH200": (989.4, 989.4, 66.9),
    "B200": (2250.0, 2250.0, 75.0),
    "RTX 3090": (71.0, 71.0, 35.6),
    "RTX 4090": (165.2, 165.2, 82.6),
}
COLUMNS = ("bfloat16", "float16", "float32")


def peak_flops(device: str, precision: str) -> float | None:
    """Return the dense peak in FLOP/s of a device by its name, as torch tells it, or None if it is not known.

    precision: bfloat16 | float16 | float32.
    """
    words = set(re.split(r"[^A-Z0-9]+", device.upper()))
    fitting = [name for name in PEAKS if set(name.split()) <= words]
    if not fitting:
        return None
    peak = PEAKS[max(fitting, key=len)][COLUMNS.index(precision)]
    return None if peak is None else peak * TERA
