"""Workers of this machine: one a GPU, or a share of the cores; a stage of k processes takes k of them."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dataprune.config import RunConfig
from dataprune.errors import ConfigError
from dataprune.executors.answers import LostSlot, taken
from dataprune.executors.building import Message
from dataprune.executors.worker import packed, unpacked
from dataprune.processes import environment_of

log = logging.getLogger(__name__)
CORES_EACH = 4  # of a worker without a GPU, where there are many
VISIBLE = "CUDA_VISIBLE_DEVICES"


class Worker:
    """A process of `dataprune.executors.worker` and the pipes to it; started when it is first needed.

    log: a file for what it prints; None = where this process prints.
    """

    def __init__(self, environment: dict[str, str], log: Path | None) -> None:
        self.environment, self.log = environment, log
        self.process: subprocess.Popen[bytes] | None = None
        self.answers: Any = None

    def build(self, message: Message) -> bool:
        """Have it build a result; return, raise and log what `building.build` does there. LostSlot: it has ended."""
        process = self.process or self._start()
        assert process.stdin is not None
        try:
            process.stdin.write(packed(message))
            process.stdin.flush()
            line = self.answers.readline()
        except BrokenPipeError:
            line = b""
        if not line:
            code = process.wait()
            self.end()
            then = f"its output is in {self.log}; " if self.log else ""
            label = message["task"]["label"]
            raise LostSlot(
                f"{label}: its worker was lost (exit code {code}); {then}the same command goes on from what was kept"
            )
        return taken(unpacked(line))

    def _start(self) -> subprocess.Popen[bytes]:
        reading, writing = os.pipe()
        environment = environment_of(1, None)
        if "OMP_NUM_THREADS" not in os.environ:  # the worker's own choice: it may start several processes
            del environment["OMP_NUM_THREADS"]
        with open(self.log, "ab") if self.log else contextlib.nullcontext() as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dataprune.executors.worker", str(writing)],
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                pass_fds=(writing,),
                env=environment | self.environment,
                start_new_session=True,  # Ctrl-C reaches the driver only; what the worker starts ends with it
            )
        os.close(writing)
        self.answers = os.fdopen(reading, "rb")
        return self.process

    def end(self) -> None:
        """End it and what it has started, at once."""
        process, self.process = self.process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Pool:
    """An engine of so many workers; slots are given out in the order in which they were asked for.

    alone: one worker, to which the whole machine belongs, also for a stage of several processes.
    """

    def __init__(self, run: RunConfig, logs: Path | None = None, alone: bool = False) -> None:
        self.alone = alone
        self.devices = [""] if alone else devices_of(run)
        threads = {} if alone else {"OMP_NUM_THREADS": str(threads_of(run, len(self.devices)))}
        environments = [threads | ({VISIBLE: device} if device else {}) for device in self.devices]
        self.workers = [Worker(each, logs and logs / f"worker{slot}.log") for slot, each in enumerate(environments)]
        self.several = len(self.workers) > 1
        if logs is not None:
            logs.mkdir(parents=True, exist_ok=True)
        self.free = list(range(len(self.workers)))
        self.changed = threading.Condition()
        self.tickets: list[object] = []
        self.ended = False

    def build(self, message: Message, started: Callable[[str], None]) -> bool:
        """Build what the message says in the next free worker."""
        processes = message["task"]["processes"]
        if self.alone:
            processes = 1
        elif processes > len(self.workers):
            raise ConfigError("processes", processes, f"at most {len(self.workers)}, the slots of run.executor=pool")
        slots = self._take(processes)
        try:
            devices = ",".join(self.devices[slot] for slot in slots).strip(",")
            more = {"environment": {VISIBLE: devices}} if devices and processes > 1 else {}
            started("worker " + "+".join(map(str, slots)))
            return self.workers[slots[0]].build(message | more)
        finally:
            with self.changed:
                self.free = sorted([*self.free, *slots])
                self.changed.notify_all()

    def _take(self, count: int) -> list[int]:
        """Wait for so many slots."""
        ticket = object()
        with self.changed:
            self.tickets.append(ticket)
            try:
                self.changed.wait_for(lambda: self.ended or (self.tickets[0] is ticket and len(self.free) >= count))
                if self.ended:
                    raise LostSlot("interrupted: the workers have been ended")
                slots, self.free = self.free[:count], self.free[count:]
            finally:
                self.tickets.remove(ticket)
                self.changed.notify_all()
        return slots

    def stop(self) -> None:
        """End all workers, at once; who waits for a slot or for a worker raises LostSlot."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()
        for worker in self.workers:
            worker.end()


def devices_of(run: RunConfig) -> list[str]:
    """Return the device of each slot of a pool: a GPU's name, or "" for a share of the cores.

    Raises ConfigError where a GPU is asked for and there is none.
    """
    found = [] if run.accelerator == "cpu" else gpus()[: run.devices]
    if run.accelerator == "gpu" and not found:
        raise ConfigError("run.accelerator", "gpu", "cpu or auto: nvidia-smi finds no GPU here")
    cores = len(os.sched_getaffinity(0))
    slots = run.slots or len(found) or max(min(cores, 2), cores // CORES_EACH)
    return [found[slot % len(found)] if found else "" for slot in range(slots)]


def threads_of(run: RunConfig, slots: int) -> int:
    """Return the threads of each worker: run.threads, or a share of the cores, as OMP_NUM_THREADS at most."""
    cores = len(os.sched_getaffinity(0))
    return run.threads or min(int(os.environ.get("OMP_NUM_THREADS", cores)), max(1, cores // slots))


def gpus() -> list[str]:
    """Return the GPUs that a program may use here, as CUDA_VISIBLE_DEVICES names them; torch is not asked, as its
    import would cost a driver seconds and memory."""
    if (visible := os.environ.get(VISIBLE)) is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in found.splitlines()))]
