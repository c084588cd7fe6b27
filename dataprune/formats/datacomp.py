"""DataComp metadata: <shard>.parquet (uid, CLIP scores) beside <shard>.npz (CLIP embeddings), and uid files.

Shards are read one after the other in name order, so a row's number is the same on every machine, and the
embeddings go to one memory-mapped file: the pool never has to fit in memory.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from dataprune.errors import ConfigError, Shown, first, shaped
from dataprune.store import create_array

UID = np.dtype([("f0", "<u8"), ("f1", "<u8")])  # what DataComp's resharder reads: both halves of the 32 hex digits
COLUMNS = {"image": ["l14_img"], "text": ["l14_txt"], "image|text": ["l14_img", "l14_txt"]}


@dataclass(frozen=True)
class Metadata:
    """A pool of image-text pairs; all rows in the same order."""

    uids: np.ndarray  # UID (n,)
    scores: np.ndarray  # float32 (n,), CLIP similarity of image and text
    features: np.ndarray  # float16 (n, d), a read-only memory map


def read(
    path: str | Path, work: str | Path, *, features: str = "image|text", score: str = "clip_l14_similarity_score"
) -> Metadata:
    """Read all shards of `path`; `features` is "image", "text" or "image|text" (side by side).

    work: folder for features.npy (float16, n * d * 2 bytes), which is overwritten. The file must outlive the result.
    Raises ConfigError when a shard lacks its other half, a column or an array, or when their lengths differ.
    """
    folder, work = Path(path), Path(work)
    if features not in COLUMNS:
        raise ConfigError("features", features, " or ".join(f'"{name}"' for name in COLUMNS))
    shards = _shards(folder)
    sizes = [pq.read_metadata(shard).num_rows for shard in shards]
    width = sum(block.shape[1] for block in _embeddings(shards[0], features, sizes[0]))
    work.mkdir(parents=True, exist_ok=True)
    target = work / "features.npy"
    kept = create_array(target, np.float16, (sum(sizes), width))
    uids, scores = np.empty(len(kept), UID), np.empty(len(kept), np.float32)
    start = 0
    for shard, size in zip(shards, sizes, strict=True):
        rows = slice(start, start + size)
        uids[rows], scores[rows] = _columns(shard, score)
        blocks = _embeddings(shard, features, size)
        if sum(block.shape[1] for block in blocks) != width:
            raise ConfigError("path", str(shard.with_suffix(".npz")), f"embeddings of {width} columns, as in the first")
        kept[rows] = np.concatenate(blocks, axis=1)
        start += size
    kept.flush()
    del kept
    return Metadata(uids, scores, np.load(target, mmap_mode="r"))


def write_uids(path: str | Path, uids: np.ndarray) -> None:
    """Write uids (UID) sorted to `path` (.npy), the form that DataComp's resharder reads."""
    path = Path(path)
    if path.suffix != ".npy":
        raise ConfigError("path", str(path), "a name that ends in .npy")
    np.save(path, np.sort(_uids("uids", uids)))


def read_uids(path: str | Path) -> np.ndarray:
    """A uid file: UID (n,), in file order."""
    return _uids(str(path), np.load(path))


def parse_uids(texts: list[str], key: str = "uids") -> np.ndarray:
    """32 hexadecimal digits each -> UID: the first 16 as f0, the last 16 as f1."""
    digits = set("0123456789abcdefABCDEF")
    wrong = [
        row for row, text in enumerate(texts) if not isinstance(text, str) or len(text) != 32 or set(text) - digits
    ]
    if wrong:
        raise ConfigError(key, Shown(f"{texts[wrong[0]]!r} in rows {first(wrong)}"), "32 hexadecimal digits")
    halves = np.frombuffer(bytes.fromhex("".join(texts)), ">u8").reshape(-1, 2)
    uids = np.empty(len(texts), UID)
    uids["f0"], uids["f1"] = halves[:, 0], halves[:, 1]
    return uids


def _shards(folder: Path) -> list[Path]:
    shards = sorted(folder.glob("*.parquet"))
    if not shards:
        raise ConfigError("path", str(folder), "a folder of DataComp metadata: <shard>.parquet and <shard>.npz")
    for shard in shards:
        if not shard.with_suffix(".npz").exists():
            raise ConfigError("path", str(shard), f"{shard.stem}.npz with its embeddings beside it")
    return shards


def _columns(shard: Path, score: str) -> tuple[np.ndarray, np.ndarray]:
    there = pq.read_schema(shard).names
    for column in ("uid", score):
        if column not in there:
            raise ConfigError("path", str(shard), f"a column {column!r}; it has {', '.join(there)}")
    table = pq.read_table(shard, columns=["uid", score])
    return parse_uids(table["uid"].to_pylist(), f"uid of {shard}"), table[score].to_numpy()


def _embeddings(shard: Path, features: str, size: int) -> list[np.ndarray]:
    """The arrays of a shard that make up its features, each (size, width)."""
    file = shard.with_suffix(".npz")
    with np.load(file) as arrays:
        for name in COLUMNS[features]:
            if name not in arrays:
                raise ConfigError("path", str(file), f"an array {name!r}; it has {', '.join(arrays.files)}")
        return [shaped(f"{name} of {file}", arrays[name], size, "width") for name in COLUMNS[features]]


def _uids(key: str, uids: np.ndarray) -> np.ndarray:
    if uids.dtype != UID or uids.ndim != 1:
        raise ConfigError(key, Shown(f"{uids.dtype} of shape {uids.shape}"), f"an array (n,) of {UID}")
    return uids
