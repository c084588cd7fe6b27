"""D2 on a DataComp metadata folder: <shard>.parquet and <shard>.npz in, the uid file for DataComp's resharder out.

Shards are read one after the other in name order; their embeddings go to one memory-mapped file (--work), so the pool
does not have to fit in memory.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from dataprune.commands import conf
from dataprune.errors import ConfigError
from dataprune.formats.datacomp import COLUMNS, Metadata, read, write_uids
from dataprune.selectors.budget import budget
from dataprune.selectors.datacomp import EXACT_BELOW, datacomp
from dataprune.selectors.graph import approximate_knn

EXAMPLES = """
examples:
  python -m dataprune.select datacomp metadata --config d2_datacomp_small -o uids.npy
  python -m dataprune.select datacomp metadata -o uids.npy --fraction 0.3 --k 1 --gamma 1.0 --features "image|text"
"""


def run(words: list[str]) -> None:
    """Read the shards, select, write the uids and say what was done."""
    args = _arguments(words)
    if not 0 < args.fraction <= 1:
        raise ConfigError("--fraction", args.fraction, "the share of the pairs to keep, above 0 and at most 1")
    output = Path(args.output)
    if output.suffix != ".npy":
        raise ConfigError("--output", args.output, "a name that ends in .npy")
    with tempfile.TemporaryDirectory(prefix=f"{output.stem}-", dir=output.parent) as temporary:
        began = time.perf_counter()
        pool = read(args.metadata, args.work or temporary, features=args.features, score=args.score)
        shape = " x ".join(map(str, pool.features.shape))
        print(f"read {len(pool.uids)} pairs, {args.features} {shape}, in {time.perf_counter() - began:.1f} s")
        began = time.perf_counter()
        picks = select(pool, args)
        write_uids(output, pool.uids[picks])
        seconds = time.perf_counter() - began
    print(f"kept {len(picks)} of {len(pool.uids)} pairs in {seconds:.1f} s: {output}")


def select(pool: Metadata, args: argparse.Namespace) -> np.ndarray:
    """Ids in pick order; says which search for neighbours was used."""
    n, rng = len(pool.uids), np.random.default_rng(args.seed)
    count = budget(round(1 - args.fraction, 12), n)  # rounded: 1 - 0.7 is a hair above 0.3
    rules = {"gamma": args.gamma, "offset": args.offset, "threshold": args.threshold, "order": args.order}
    if args.index == "cells":
        distances, neighbors, recall = approximate_knn(pool.features, args.k, rng=rng, probes=args.nprobe)
        print(f"neighbours: cells, {args.nprobe} a row, recall {recall:.3f}")
        return datacomp(pool.scores, count, squared_distances=np.square(distances), neighbors=neighbors, **rules)
    index = args.index
    if index == "auto":
        index = "exact" if n < EXACT_BELOW else "ivfpq"
    print(f"neighbours: {index}")
    # the embeddings are what is large; half precision is read in blocks and computed in float32
    return datacomp(
        pool.scores, count, features=pool.features, k=args.k, index=index, nprobe=args.nprobe, rng=rng, **rules
    )


def _arguments(words: list[str]) -> argparse.Namespace:
    """The options of the command line, before those of --config, before the defaults."""
    parser = _parser()
    args = parser.parse_args(words)
    if args.config is None:
        return args
    values = {str(key): value for key, value in conf.read("select", args.config).items()}
    known = vars(args).keys() - {"metadata", "config", "output", "work"}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{args.config}.{name}", value, f"one of {', '.join(sorted(known))}")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ConfigError(f"{args.config}.{name}", value, "a number or a word")
    # as text they are converted and checked like words of the command line
    given = [word for name, value in values.items() for word in (f"--{name}", str(value))]
    return parser.parse_args([*given, *words])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dataprune.select datacomp",
        description=__doc__,
        epilog=EXAMPLES + "\nconfigs: " + ", ".join(conf.options("select")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("metadata", help="folder of <shard>.parquet and <shard>.npz")
    add("-o", "--output", default="uids.npy", help="uid file, dtype (u8, u8), sorted (default: %(default)s)")
    add("--config", help="an option of conf/select, or your own YAML file: values for the options below")
    add("--fraction", type=float, default=0.3, help="share of the pairs that is KEPT (default: %(default)s)")
    add("--features", default="image|text", choices=list(COLUMNS), help="which CLIP embeddings (default: %(default)s)")
    add(
        "--score",
        default="clip_l14_similarity_score",
        metavar="COLUMN",
        help="what the pairs are ranked by (default: %(default)s)",
    )
    add("--k", type=int, default=1, help="neighbours (default: %(default)s)")
    add("--gamma", type=float, default=1.0, help="larger: a pick lowers its neighbours less (default: %(default)s)")
    add(
        "--offset",
        type=float,
        default=0.115,
        help="added to the score, which must not be negative (default: %(default)s)",
    )
    add("--threshold", type=float, default=None, help="drop pairs of a lower score after the selection")
    add("--order", default="exact", choices=["exact", "lazy"], help="lazy: the released loop (default: %(default)s)")
    add(
        "--index",
        default="auto",
        choices=["auto", "exact", "ivfpq", "cells"],
        help="search for neighbours (default: %(default)s)",
    )
    add("--nprobe", type=int, default=8, help="cells that are searched by ivfpq and cells (default: %(default)s)")
    add("--seed", type=int, default=0, help="of ivfpq and cells (default: %(default)s)")
    add("--work", metavar="FOLDER", help="keeps features.npy; without it a temporary folder beside the output")
    return parser
