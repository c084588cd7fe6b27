"""Run the campaigns and print their table; see the package."""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults import disks, flips, inputs, kills, twins
from benchmarks.faults.jobs import Forks, Line

# cases that may fall, each with the reason; the table shows them all the same
KNOWN: dict[str, str] = {
    "a first pick that is no example": "the selector tells, after the surrogate's training",
}
Campaign = Callable[[Path, Forks], Line]


def campaigns(short: bool, seed: int) -> dict[str, Campaign]:
    """Return the campaigns by name, in the order in which they run; each gets a folder of its own."""
    if short:
        return {
            "sweeps": lambda folder, forks: kills.sweeps(folder, 3, seed, pairs=False, seeds="0"),
            "pairs": lambda folder, forks: kills.processes(folder, [1]),
            "flips": lambda folder, forks: flips.campaign(folder, forks, 1, seed, sample=14, fresh=1),
            "full": lambda folder, forks: disks.full(folder, forks, [0.5]),
            "read-only": disks.read_only,
            "twins": lambda folder, forks: twins.campaign(folder, 1),
            "inputs": lambda folder, forks: inputs.campaign(folder, forks, 3, inputs.SHORT, seed),
        }
    return {
        "sweeps": lambda folder, forks: kills.sweeps(folder, 50, seed, pairs=False),
        "sweeps of pairs": lambda folder, forks: kills.sweeps(folder, 16, seed, pairs=True),
        "pairs": lambda folder, forks: kills.processes(folder, [0, 1, "launcher", "driver"]),
        "flips": lambda folder, forks: flips.campaign(folder, forks, 4, seed, fresh=6),
        "full": lambda folder, forks: disks.full(folder, forks, [0.1, 0.3, 0.6, 0.9]),
        "read-only": disks.read_only,
        "twins": lambda folder, forks: twins.campaign(folder, 4),
        "inputs": lambda folder, forks: inputs.campaign(folder, forks, 12, inputs.TABLE, seed),
    }


def main(words: list[str] | None = None) -> int:
    """Run what is asked for; returns the exit code: 1 = something fell that is not known."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--short", action="store_true", help="a few of each kind, under five minutes")
    parser.add_argument("--seed", type=int, default=0, help="of the moments, the bits and the sample (default: 0)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=", ".join(campaigns(short=False, seed=0)))
    args = parser.parse_args(words)
    chosen = {name: run for name, run in campaigns(args.short, args.seed).items() if name in (args.only or [name])}
    if not chosen:
        parser.error(f"--only: none of {', '.join(campaigns(args.short, args.seed))}")
    folder, forks, lines = Path(tempfile.mkdtemp(prefix="faults-")), Forks(), []
    print("what | tried | survived | what fell", flush=True)
    for name, run in chosen.items():
        began = time.monotonic()
        lines.append(run(folder / name.replace(" ", "-"), forks))
        print(lines[-1], f"  ({time.monotonic() - began:.0f} s)", flush=True)
    fell = [(case, what) for line in lines for case, what in line.fell]
    for case, what in fell:
        print(f"- {case}{f' (known: {KNOWN[case]})' if case in KNOWN else ''}: {what}")
    if fell:
        print(f"what they left is in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if any(case not in KNOWN for case, _ in fell) else 0


if __name__ == "__main__":
    sys.exit(main())
