"""Two processes with the same PID on one store: containers, or nodes of a cluster."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.faults.jobs import ROOT, TINY, Job, Line, compare, environment, run

JOB = ["-m", *TINY, "target=digits", "transfer.epochs=2", "method=forgetting,random", "baselines=standard"]
OWN = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]  # the child is PID 1 of a namespace of its own
WRITER = """
import sys
from pathlib import Path
from dataprune.store import write_json
for i in range(300):
    write_json(Path(sys.argv[1]), {"writer": sys.argv[2], "filler": "x" * 2000, "i": i})
"""


def campaign(folder: Path, pairs: int) -> Line:
    """Run pairs of drivers that both are PID 1 on one store at once, and two that write one row 300 times each."""
    line = Line("two drivers with equal PIDs on one store")
    if refused := _not_permitted():
        line.skipped = refused
        return line
    whole = folder / "whole"
    if troubles := run(whole, JOB).went_well():
        line.case("undisturbed", troubles)
        return line
    for number in range(pairs):
        place = folder / f"pair{number}"
        both = [Job(place, JOB, OWN), Job(place, JOB, OWN)]
        troubles = [trouble for job in both for trouble in job.ended().went_well()]
        line.case(f"pair {number}", troubles + compare(place / "store", whole / "store"))
    line.case("one row written by both", _one_row(folder / "rows"))
    return line


def _not_permitted() -> str:
    if shutil.which("unshare") is None:
        return "this machine has no unshare"
    tried = subprocess.run([*OWN, "true"], capture_output=True, text=True)
    return f"unshare is not permitted here ({tried.stderr.strip()})" if tried.returncode else ""


def _one_row(folder: Path) -> list[str]:
    """Two writers of one file, and a reader that must never see half of it."""
    folder.mkdir(parents=True)
    row = folder / "row.json"
    writers = [
        subprocess.Popen(
            [*OWN, sys.executable, "-c", WRITER, str(row), name],
            env=os.environ | environment() | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "ab"
    ]
    half = 0
    while any(writer.poll() is None for writer in writers):
        if row.exists():
            try:
                json.loads(row.read_text())
            except json.JSONDecodeError:
                half += 1
    troubles = [f"{half} half-written rows were read"] if half else []
    for writer in writers:
        error = writer.communicate()[1].strip()
        troubles += [f"a writer failed: {error.splitlines()[-1][:200]}"] if writer.returncode else []
    return troubles + [f"left behind: {path.name}" for path in folder.iterdir() if path != row]
