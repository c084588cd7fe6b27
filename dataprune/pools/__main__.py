"""Run `python -m dataprune.pools`: select from shards of hundreds of millions of rows.

Shards are Parquet files with a column of embeddings (lists of float16 or float32), .npy files, or DataComp's metadata
(x.parquet beside x.npz). Uids come in and go out. A run that was killed goes on with the same command.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

if __name__ == "__main__" and sys.path[0] == os.getcwd():
    sys.path.append(sys.path.pop(0))  # a random.py in the current folder would be taken for Python's own

from dataprune.commands import conf
from dataprune.errors import ConfigError
from dataprune.pools.budget import shown
from dataprune.pools.estimate import estimate
from dataprune.pools.method import method_of
from dataprune.pools.request import PROBES, Request
from dataprune.pools.selection import Selection, run
from dataprune.processes import LostWorker

EXAMPLES = """
examples:
  python -m dataprune.pools --input 'shards/*.parquet' --method semdedup --budget 0.7 --workers 8 --output kept
  python -m dataprune.pools --input 'shards/*.parquet' --method d2 --scores quality --budget 1000000 --output kept
  python -m dataprune.pools --input metadata --method d2_datacomp --embedding "image|text" \\
      --scores clip_l14_similarity_score --budget 0.3 --engine ray --output kept
"""


def main(words: list[str] | None = None) -> int:
    """Run the command; returns the exit code: 1 = something given cannot work, or a worker died."""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *rest: print(f"warning: {message}", file=sys.stderr)
            args = parser().parse_args(words)
            request = request_of(args)
            if args.estimate:
                estimate(request)
            else:
                tell(run(request))
    except (ConfigError, LostWorker, OSError) as error:
        if os.environ.get("HYDRA_FULL_ERROR"):  # one name for `show me the stack trace` in the whole program
            raise
        print(str(error).splitlines()[0], file=sys.stderr)
        return 1
    return 0


def tell(selection: Selection) -> None:
    """Print what was done."""
    stats = selection.stats
    for name, costs in stats["stages"].items():
        if costs["tasks"] > costs["found"]:
            found = f", {costs['found']} found" if costs["found"] else ""
            print(
                f"{name}: {costs['tasks']} tasks{found}, {costs['wall_s']:.1f} s, {costs['cpu_s']:.1f} CPU s, "
                f"peak {shown(costs['peak'])} a worker"
            )
    if "cells" in stats:
        print(
            f"cells: {stats['cells']}, the largest of {stats['largest_cell']} rows, {stats['cut_cells']} cut; "
            f"buckets: {stats['buckets']}, the largest of {stats['largest_bucket']} rows"
        )
    kept, files = len(selection.ids), ", ".join(map(str, selection.files))
    print(f"kept {kept} of {stats['rows']} rows in {stats['seconds']:.1f} s: {files}")


def request_of(args: argparse.Namespace) -> Request:
    """Return what the options ask for, its method checked."""
    columns = {name: getattr(args, option) for name, option in NAMED.items() if getattr(args, option)}
    for word in args.column:
        name, equals, column = word.partition("=")
        if not equals or name in columns:
            raise ConfigError("--column", word, "parameter=column, each once: --column p_mean=mean_probability")
        columns[name] = column
    plain = ("input", "budget", "engine", "workers", "memory", "address", "seed", "uid", "embedding", "cut", "cells")
    more = {name: getattr(args, name) for name in (*plain, "probes", "quota", "threshold")}
    write = Path(args.write) if args.write else None
    return Request(
        method=method_of(args.method, args.set), output=Path(args.output), columns=columns, write=write, **more
    )


NAMED = {"scores": "scores", "labels": "labels", "cut": "cut_scores"}  # parameter -> option that names its column


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dataprune.pools",
        description=__doc__.split("\n", 1)[1],
        epilog=EXAMPLES
        + "\nmethods: "
        + ", ".join(conf.options("pool"))
        + "\nand those of conf/method that need columns"
        " alone: ccs, band, random, random_stratified, external, ...",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--input", nargs="+", required=True, metavar="FILES", help="shards: files, folders, or patterns in quotes")
    add("--method", required=True, help="one of those below, or your own YAML file of the form of conf/pool")
    add("--budget", help="how many rows to KEEP, or their share (0.3)")
    add("--threshold", type=float, help="keep what scores so much or more, in place of --budget: semdedup -0.95")
    add("--output", required=True, metavar="DIR", help="folder for the uids, selection.json, and parts while it runs")
    add("--write", metavar="DIR", help="write the shards with the kept rows alone, too")
    add("--engine", default="local", help="local | ray | dask | slurm, or a dotted path (default: %(default)s)")
    add("--workers", type=int, default=1, help="processes, one thread each (default: %(default)s)")
    add("--memory", default="4G", help="that a worker may use (default: %(default)s)")
    add("--address", help="of a Ray or Dask cluster that runs; for slurm options: partition=cpu,timeout_min=600")
    add("--estimate", action="store_true", help="say how many tasks, seconds and bytes it takes, and stop")
    add("--seed", type=int, default=0, help="of k-means and of methods that draw (default: %(default)s)")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a constant of the method: gamma=0.1")
    add("--uid", default="uid", metavar="COLUMN", help="default: %(default)s")
    add("--embedding", default="embedding", metavar="COLUMN", help='or for DataComp image, text, "image|text"')
    add("--scores", metavar="COLUMN", help="what rows are ranked by, higher = kept first")
    add("--labels", metavar="COLUMN", help="classes, for methods with quotas")
    add("--cut", type=float, metavar="FRACTION", help="leave out so many of the hardest before")
    add("--cut-scores", metavar="COLUMN", help="what the cut goes by, higher = harder, where it is not the scores")
    add("--column", action="append", default=[], metavar="NAME=COLUMN", help="another array that the selector takes")
    add("--cells", type=int, help="default: about the square root of the rows")
    add("--probes", type=int, default=PROBES, help="cells that a row meets besides its own, for a graph (%(default)s)")
    add("--quota", default="proportional", help="of cells: proportional | equal (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.path.append(os.getcwd())  # a user's own functions are found however the program is started, and hide nothing
    sys.exit(main())
