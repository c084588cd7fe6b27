"""Selection over shards: local, Ray and Dask beside each other, growth, a worker that is killed, a billion on paper.

    python -m benchmarks.pools --rows 1000000 --folder /tmp/pool
    python -m benchmarks.pools --rows 1000000 --folder /tmp/pool --engines local ray=RAY/bin/python dask=DASK/bin/python
    python -m benchmarks.pools --rows 1000000 10000000 --folder /tmp/pool --kill

Rows are float16 in clusters of very different sizes, a tenth of them near copies of the row before. An engine may have
a Python of its own, as Ray and Dask need not share an environment. Beside it faiss finds the same cells by brute force.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CLUSTERS = 2000
SPREAD = 0.7
BILLION = 1_000_000_000
CORES = 64  # of a machine, on paper


def generate(folder: Path, rows: int, width: int, per_shard: int) -> None:
    """Write shards of uid (32 hexadecimal digits), embedding and score, those that are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    setup = np.random.default_rng(0)
    centers = setup.normal(size=(CLUSTERS, width)).astype(np.float32)
    share = 1 / np.arange(1, CLUSTERS + 1)
    for shard in range(rows // per_shard):
        path = folder / f"{shard:05d}.parquet"
        if path.exists():
            continue
        rng = np.random.default_rng([1, shard])
        cluster = rng.choice(CLUSTERS, per_shard, p=share / share.sum())
        x = centers[cluster] + SPREAD * rng.standard_normal((per_shard, width), np.float32)
        copies = np.flatnonzero(rng.random(per_shard) < 0.1)[1:]
        x[copies] = x[copies - 1] + 0.02 * rng.standard_normal((len(copies), width), np.float32)
        uids = [hashlib.md5(f"{shard} {row}".encode()).hexdigest() for row in range(per_shard)]
        lists = pa.FixedSizeListArray.from_arrays(pa.array(x.astype(np.float16).ravel()), width)
        table = pa.table({"uid": uids, "embedding": lists, "score": rng.random(per_shard, np.float32)})
        pq.write_table(table, path.with_suffix(".part"), row_group_size=10_000)
        path.with_suffix(".part").rename(path)


def command(args: argparse.Namespace, data: Path, output: Path, engine: str) -> list[str]:
    name, _, python = engine.partition("=")
    words = [python or sys.executable, "-m", "dataprune.pools", "--input", str(data), "--method", args.method]
    words += ["--budget", "0.7", "--scores", "score"] if args.method.startswith("d2") else ["--budget", "0.7"]
    more = ["--engine", name, "--workers", str(args.workers), "--memory", args.memory, "--output", str(output)]
    return words + more


def run(args: argparse.Namespace, rows: int, engine: str) -> dict:
    """Run one engine afresh and return what it says."""
    output = args.folder / f"out-{rows}-{engine.partition('=')[0]}-{args.method}"
    subprocess.run(["rm", "-rf", str(output)], check=True)
    words = command(args, args.folder / str(rows), output, engine)
    began = time.perf_counter()
    subprocess.run(words, check=True)
    stats = json.loads((output / "run.json").read_text()) | {"total": time.perf_counter() - began}
    stats["hash"] = hashlib.sha256((output / "uids.npy").read_bytes()).hexdigest()[:10]
    return stats


def killed(args: argparse.Namespace, rows: int) -> str:
    """Kill a worker in the middle of finding cells, then give the same command again; returns the hash of the uids."""
    output = args.folder / f"out-{rows}-killed-{args.method}"
    subprocess.run(["rm", "-rf", str(output)], check=True)
    words = command(args, args.folder / str(rows), output, "local")
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while len(list(output.glob("parts/label-*"))) < 3:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    worker = next(c for c in children if "spawn_main" in Path(f"/proc/{c}/cmdline").read_text())
    os.kill(int(worker), signal.SIGKILL)
    said = process.communicate()[1].strip().splitlines()[-1]
    print(f"killed worker {worker}; exit {process.returncode}: {said}")
    subprocess.run(words, check=True)
    return hashlib.sha256((output / "uids.npy").read_bytes()).hexdigest()[:10]


def beside_faiss(data: Path, cells: int, workers: int) -> str:
    """CPU seconds a million rows to find cells: ours, which is exact, and faiss's brute force."""
    import faiss

    from dataprune.neighbors.prototypes import nearest
    from dataprune.pools.lists import rows_of

    table = pq.ParquetFile(next(data.glob("*.parquet"))).read_row_groups([0, 1], columns=["embedding"])
    rows = rows_of(table["embedding"].combine_chunks(), "shard", "embedding").astype(np.float32)
    centers = rows[:cells].copy()
    faiss.omp_set_num_threads(1)
    index, seconds = faiss.IndexFlatL2(rows.shape[1]), {}
    index.add(centers)
    for name, function in (("ours", lambda: nearest(rows, centers)), ("faiss", lambda: index.search(rows, 1)[1][:, 0])):
        function()
        began = time.process_time()
        found = function()
        seconds[name] = (time.process_time() - began) * 1e6 / len(rows), found
    same = (seconds["ours"][1] == seconds["faiss"][1]).mean()
    ours, theirs = seconds["ours"][0], seconds["faiss"][0]
    return f"cells of 1M rows among {cells}: ours {ours:.1f} CPU s, faiss {theirs:.1f}, same {same:.4%}"


def on_paper(small: dict, large: dict | None, width: int) -> None:
    """Print the CPU hours of a billion rows by the exponents measured between two sizes, or by those of theory."""
    theory = {"label": 1.5, "decide": 1.5, "meet": 1.5}  # rows times cells, rows times those of a cell
    total = 0.0
    for stage, costs in small["stages"].items():
        exponent = theory.get(stage, 1.0)
        if large is not None and costs["cpu_s"] > 1:
            ratio = large["stages"][stage]["cpu_s"] / costs["cpu_s"]
            exponent = float(np.log(ratio) / np.log(large["rows"] / small["rows"]))
        base = large or small
        hours = base["stages"][stage]["cpu_s"] * (BILLION / base["rows"]) ** exponent / 3600
        total += hours
        print(f"  {stage}: N^{exponent:.2f}, {hours:.1f} core-hours at a billion")
    size = BILLION * width * 2
    print(
        f"  together {total:.0f} core-hours: "
        f"{total / CORES:.1f} h on a machine of {CORES} cores, {total / CORES / 8:.1f} on 8"
    )
    print(
        f"  bytes: {size / 1e12:.2f} TB of shards, read 5 times, written once and read once more by buckets: "
        f"{7 * size / 1e12:.1f} TB through the file system, none through the engine"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--engines", nargs="+", default=["local"])
    parser.add_argument("--method", default="semdedup")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", default="2G")
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--per-shard", type=int, default=50_000)
    parser.add_argument("--kill", action="store_true")
    args = parser.parse_args()
    results, lines = {}, []
    for rows in args.rows:
        generate(args.folder / str(rows), rows, args.width, args.per_shard)
        for engine in args.engines:
            stats = results[rows, engine] = run(args, rows, engine)
            stages = ", ".join(f"{name} {costs['wall_s']:.1f}" for name, costs in stats["stages"].items())
            peak = max(costs["peak"] for costs in stats["stages"].values()) / 2**20
            name = engine.partition("=")[0]
            lines.append(
                f"{rows} {name}: {stats['total']:.0f} s ({stages}), peak {peak:.0f} MiB a worker, uids {stats['hash']}"
            )
    if args.kill:
        lines.append(f"{args.rows[0]} killed and again: uids {killed(args, args.rows[0])}")
    lines.append(beside_faiss(args.folder / str(args.rows[0]), round((args.rows[0] / 2) ** 0.5), args.workers))
    print("\n".join(lines))
    small, large = results[args.rows[0], args.engines[0]], results.get((args.rows[-1], args.engines[0]))
    on_paper(small, large if len(args.rows) > 1 else None, args.width)


if __name__ == "__main__":
    main()
