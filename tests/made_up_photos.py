"""Pictures like photographs, made up where a test needs JPEGs."""

import io

import numpy as np
from PIL import Image


def photo(seed, height, width):
    """A picture like a photograph, as JPEG: smooth areas, soft edges, a little noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    y, x = np.mgrid[:height, :width]
    pixels += 40 * np.tanh((np.sin(x / 23 + seed) + np.cos(y / 17)) * 3)[..., None] + rng.normal(0, 3, pixels.shape)
    file = io.BytesIO()
    tags = Image.Exif()
    tags[0x0112] = 6 if seed % 5 == 4 else 1  # some are to be turned, which no loader does
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90, exif=tags)
    return file.getvalue()
