"""Processes of one stage: how many there are, which of them this is, and how all of them end with their driver.

The number of processes belongs to a training's recipe (`TrainConfig.processes`), because batch norm and reductions
differ with it. What a launcher, an outer torchrun or Slurm has left in the environment decides nothing.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataprune.errors import ConfigError, Shown
from dataprune.store import write_json

INHERITED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "NODE_RANK")
INHERITED_PREFIXES = ("MASTER_", "TORCHELASTIC", "SLURM_")
ALIVE = "DATAPRUNE_ALIVE"  # the named pipe that a driver holds open for its workers
NODE = "DATAPRUNE_NODE"  # which of several machines this is, in a worker
REFUSED = "refused.json"  # in scratch/: the ConfigError of a worker


class LostWorker(RuntimeError):
    """A process of a stage has ended before its work was done."""


def of_others(name: str) -> bool:
    """Whether an environment variable speaks of processes that somebody else has started."""
    return name in INHERITED or name.startswith(INHERITED_PREFIXES)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Run what is inside as the only process of its stage: hide what the environment says of ranks, then put it back.

    Lightning reads RANK and SLURM_PROCID when it is imported and SLURM_* when a trainer is made.
    """
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if of_others(name)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def take_rank() -> None:
    """In a worker of several machines: number the processes machine by machine, the driver's first.

    torchrun's rendezvous sorts the machines by their addresses; results are written where process 0 is.
    """
    if (node := os.environ.get(NODE)) is not None:
        first = int(node) * int(os.environ["LOCAL_WORLD_SIZE"])
        os.environ |= {"GROUP_RANK": node, "RANK": str(first + int(os.environ["LOCAL_RANK"]))}


def on_each_machine(processes: int) -> int:
    """Return how many processes of a stage of so many this machine has."""
    return 1 if processes == 1 else int(os.environ["LOCAL_WORLD_SIZE"])


def place(processes: int) -> tuple[int, int]:
    """Return (rank, world) of this process in a stage of so many. Raises RuntimeError where torchrun says otherwise."""
    if processes == 1:
        return 0, 1
    world = int(os.environ.get("WORLD_SIZE", 1))
    if world != processes:
        raise RuntimeError(f"a stage of {processes} processes runs in {world}")
    return int(os.environ["RANK"]), world


@dataclass(frozen=True)
class Spot:
    """Where one torchrun stands among those of several machines."""

    node: int  # 0 = the first machine, whose processes come first
    nodes: int
    endpoint: str  # host:port of their c10d rendezvous, on the first machine
    id: str  # of this run of a stage
    address: str  # by which the others reach this machine


def run_here(work: Path, processes: int, threads: int | None) -> int:
    """Run the task of a work folder in processes of this machine; return torchrun's exit code."""
    with torchrun(work, processes, threads) as agent:
        return agent.wait()


def run_in_processes(
    work: Path,
    processes: int,
    threads: int | None,
    run: Callable[[Path, int, int | None], int] = run_here,
) -> Any:
    """Run the task of a work folder in processes of their own, which end with this one; return what process 0 left.

    run: starts them and waits. A ConfigError in one of them is raised here. Raises LostWorker if one fails.
    """
    answer, refused, logs = work / "scratch" / "answer.json", work / "scratch" / REFUSED, work / "log"
    for path in (answer, refused):
        path.unlink(missing_ok=True)
    logs.mkdir(exist_ok=True)
    code = run(work, processes, threads)
    if refused.exists():
        raise ConfigError(*_read_refusal(refused))
    if code or not answer.exists():
        why = f"a process of the stage was lost (exit code {code}; above, torchrun says which under Root Cause)"
        then = "the same command goes on from what was kept"
        raise LostWorker(f"{work.name}: {why}; the output of all is in {logs}; {then}")
    return json.loads(answer.read_text())


@contextlib.contextmanager
def torchrun(
    work: Path, processes: int, threads: int | None, spot: Spot | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A context with a running torchrun of so many processes on this machine; with the context they end, at once.

    spot: where it stands, if there are others on other machines.
    """
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--tee=3"]
    if spot is None:
        command += ["--standalone", f"--log-dir={work / 'log'}"]
    else:
        command += [f"--nnodes={spot.nodes}", "--rdzv-backend=c10d", f"--rdzv-endpoint={spot.endpoint}"]
        command += [f"--rdzv-id={spot.id}", f"--rdzv-conf=is_host={spot.node == 0}", f"--local-addr={spot.address}"]
        command += [f"--log-dir={work / 'log' / f'node{spot.node}'}"]
    command += ["-m", "dataprune.launch", str(work)]
    environment = environment_of(processes, threads) | ({} if spot is None else {NODE: str(spot.node)})
    with contextlib.ExitStack() as stack:
        environment[ALIVE] = str(stack.enter_context(_alive()))
        agent = subprocess.Popen(command, env=environment)
        try:
            yield agent
        finally:
            stack.close()  # the workers end; torchrun by itself would give them half a minute
            _end(agent)


def _end(agent: subprocess.Popen[bytes]) -> None:
    if agent.poll() is None:
        agent.terminate()
    try:
        agent.wait(10)
    except subprocess.TimeoutExpired:
        agent.kill()
        agent.wait()


def environment_of(processes: int, threads: int | None) -> dict[str, str]:
    """Return the environment of so many new processes of ours, without what others have set of ranks."""
    environment = {k: v for k, v in os.environ.items() if not of_others(k)}
    # a user's modules are in the current folder, where a random.py must not stand before the library's own
    home = str(Path(__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [environment.get("PYTHONPATH"), home]))
    environment["PYTHONSAFEPATH"] = "1"
    environment.setdefault("OMP_NUM_THREADS", str(threads or max(1, (os.cpu_count() or 1) // processes)))
    return environment


@contextlib.contextmanager
def _alive() -> Iterator[Path]:
    """A named pipe whose write end only this process holds: the kernel closes it when the process ends, however."""
    with tempfile.TemporaryDirectory(prefix="dataprune-") as folder:
        pipe = Path(folder) / "alive"
        os.mkfifo(pipe)
        end = os.open(pipe, os.O_RDWR)  # not only for writing: that would wait for a reader
        try:
            yield pipe
        finally:
            os.close(end)


def end_with_driver() -> None:
    """In a worker: when the driver has gone, kill this process and those that it has started, at once.

    A signal at the parent's death (PR_SET_PDEATHSIG) would come when the thread that started the child ends, and
    torchrun stands between the driver and its workers.
    """
    if (name := os.environ.get(ALIVE)) is None:
        return
    try:
        pipe = os.open(name, os.O_RDONLY | os.O_NONBLOCK)  # does not wait: without a driver there is nobody to wait for
    except FileNotFoundError:
        os.killpg(os.getpgrp(), signal.SIGKILL)
        raise
    os.set_blocking(pipe, True)
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()


def _watch(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def refuse(work: Path, error: ConfigError) -> None:
    """In a worker: leave a ConfigError for the driver."""
    shown = error.value if isinstance(error.value, Shown) else repr(error.value)
    write_json(work / "scratch" / REFUSED, [error.key, shown, error.expected])


def _read_refusal(path: Path) -> tuple[str, Shown, str]:
    key, shown, expected = json.loads(path.read_text())
    return key, Shown(shown), expected
