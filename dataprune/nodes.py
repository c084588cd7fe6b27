"""Several machines, one task on each, all started with the same command: the first drives, the others serve it.

The first is the one that `run.rendezvous` names; the others connect to it, and start torchrun (c10d rendezvous) when it
says so. The store must lie where all see it; the first alone writes results. A line that breaks, because either end was
killed or its machine has gone, ends the processes at the other end at once: nobody waits for a collective to time out.
"""

import atexit
import errno
import json
import logging
import os
import select
import socket
import subprocess
import sys
import time
import uuid
from collections import deque
from pathlib import Path
from typing import Any

from dataprune.config import RunConfig
from dataprune.errors import ConfigError, first_line
from dataprune.processes import LostWorker, Spot, run_here, run_in_processes, torchrun
from dataprune.store import fingerprint

log = logging.getLogger(__name__)
WAIT_S = 300.0  # for the other machines to come
PORTS = 20_000  # from here on, and as many: where jobs of Slurm meet, by their numbers
TAKEN, NOT_OURS = errno.EADDRINUSE, errno.EADDRNOTAVAIL
KEEPALIVE = {"TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}  # a machine without power is noticed in 10 s


class Gone(LostWorker):
    """The other end of a line has closed it, or was killed."""


class Line:
    """Messages, one JSON object each, from and to another machine."""

    def __init__(self, connection: socket.socket, name: str = "") -> None:
        self.connection, self.name, self.rest = connection, name, b""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            if hasattr(socket, option):  # TCP_KEEPIDLE is not on macOS
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    @property
    def address(self) -> str:
        """This machine's, as the other end sees it."""
        return self.connection.getsockname()[0]

    def send(self, **message: Any) -> None:
        """Send one. Raises Gone."""
        try:
            self.connection.sendall(json.dumps(message).encode() + b"\n")
        except OSError as error:
            raise Gone(f"{self.name} has gone ({first_line(error)})") from None

    def messages(self, wait: float) -> list[dict[str, Any]]:
        """Return those that have come; wait up to so many seconds for the first. Raises Gone."""
        if not select.select([self.connection], [], [], wait)[0]:
            return []
        try:
            data = self.connection.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            raise Gone(f"{self.name} has gone")
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


class Team:
    """The other machines, in the first one: torchrun starts on all of them, and ends on all of them."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = lines
        self.size = len(lines) + 1

    def run(self, work: Path, processes: int, threads: int | None) -> int:
        """Run the task of a work folder in so many processes, the same number on each machine; return the exit code.

        Raises Gone if a machine has.
        """
        work, each, mine = work.absolute(), processes // self.size, self.lines[0].address
        id = uuid.uuid4().hex
        about: dict[str, Any] = {"nodes": self.size, "endpoint": f"{mine}:{_free_port()}", "id": id}
        for node, line in enumerate(self.lines, 1):
            (work / "log" / f"node{node}").mkdir(parents=True, exist_ok=True)
            line.send(work=str(work), processes=each, threads=threads, spot=about | {"node": node})
        try:
            with torchrun(work, each, threads, Spot(node=0, address=mine, **about)) as agent:
                code = self._wait(agent, id)
        except BaseException:
            self._stop(id)
            raise
        if code:
            self._stop(id)
        return code

    def _wait(self, agent: subprocess.Popen[bytes], id: str) -> int:
        """The first exit code that is not 0, or 0 when all have ended."""
        waiting = list(self.lines)
        while waiting or agent.poll() is None:
            if agent.poll():
                return agent.returncode
            for line in list(waiting):
                for message in line.messages(0.1):
                    if message["id"] == id and message["code"]:
                        log.error("%s: exit code %d", line.name, message["code"])
                        return message["code"]
                    if message["id"] == id:
                        waiting.remove(line)
            time.sleep(0.1)
        return agent.returncode

    def _stop(self, id: str) -> None:
        for line in self.lines:
            try:
                line.send(stop=id)
            except Gone as gone:
                log.error("%s", gone)

    def end(self) -> None:
        """Let the others end too."""
        for line in self.lines:
            try:
                line.send(end=True)
            except Gone:
                log.warning("%s had gone before the end", line.name)


TEAMS: list[Team] = []  # of this process, if it drives others: one


def run(work: Path, processes: int, threads: int | None) -> Any:
    """Run the task of a work folder in processes of their own, on all machines of the job where they can be shared out
    evenly, else on this one; return and raise as `processes.run_in_processes` does."""
    shared = [team for team in TEAMS if processes % team.size == 0]
    return run_in_processes(work, processes, threads, shared[0].run if shared else run_here)


def join(run: RunConfig) -> bool:
    """Meet the other machines of this job; return whether this one drives. One that does not has served to the end.

    Raises ConfigError where they cannot meet, LostWorker where the first has gone.
    """
    if TEAMS:  # an earlier job of this sweep has met them
        return True
    host, port = endpoint(run)
    listener = _listen(host, port)
    if listener is None:
        serve(_connect(host, port))
        return False
    with listener:
        TEAMS.append(Team(_others(listener, run.nodes - 1)))
    atexit.register(TEAMS[0].end)
    return True


def endpoint(run: RunConfig) -> tuple[str, int]:
    """Return where the machines meet: `run.rendezvous`, or the first of Slurm's job and a port by the job's number."""
    if run.rendezvous is not None:
        host, _, port = run.rendezvous.rpartition(":")
        if not host or not port.isdigit():
            raise ConfigError("run.rendezvous", run.rendezvous, "host:port of the first machine")
        return host, int(port)
    nodes, job = os.environ.get("SLURM_JOB_NODELIST"), os.environ.get("SLURM_JOB_ID", "0")
    if nodes is None:
        raise ConfigError(
            "run.rendezvous", None, "host:port of the first machine: there is no list of nodes of Slurm's"
        )
    told = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    return told.stdout.split()[0], PORTS + int(job) % PORTS


def serve(line: Line) -> None:
    """Start torchrun whenever the first machine says so, until it is done. Raises LostWorker if it goes before."""
    line.send(hello=_job(), name=socket.gethostname())
    waiting: deque[dict[str, Any]] = deque()
    while True:
        while not waiting:
            waiting.extend(line.messages(60))
        message = waiting.popleft()
        if "refused" in message:
            raise ConfigError("run.rendezvous", line.name, message["refused"])
        if "end" in message:
            return
        if "spot" in message:
            waiting.extend(_serve(line, message))


def _serve(line: Line, task: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a torchrun to its end, or until it is stopped; return the messages that have come and are about others."""
    spot, later, stopped = Spot(address=line.address, **task["spot"]), [], False
    with torchrun(Path(task["work"]), task["processes"], task["threads"], spot) as agent:
        while agent.poll() is None and not stopped:
            for message in line.messages(0.1):
                stopped = stopped or message.get("stop") == spot.id
                later += [message] if "stop" not in message else []
    line.send(id=spot.id, code=agent.returncode)
    return later


def _job() -> str:
    """Equal on all machines of a job: what was asked for."""
    return fingerprint(sys.argv[1:])


def _listen(host: str, port: int) -> socket.socket | None:
    """A server at the port of this machine; None if the host is another one, or somebody has come first."""
    try:
        family, kind, _, _, found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(found)
        return socket.create_server(("", port))
    except OSError as error:
        if error.errno in (TAKEN, NOT_OURS):
            return None
        raise ConfigError("run.rendezvous", f"{host}:{port}", f"host:port to meet at ({first_line(error)})") from None


def _others(listener: socket.socket, wanted: int) -> list[Line]:
    """Lines to so many other machines of this job."""
    lines: list[Line] = []
    end = time.monotonic() + WAIT_S
    while len(lines) < wanted:
        log.info("waiting for %d more machines at port %d", wanted - len(lines), listener.getsockname()[1])
        listener.settimeout(max(0.1, end - time.monotonic()))
        try:
            connection, (address, *_) = listener.accept()
        except TimeoutError:
            there = f"{wanted + 1}, or fewer: {len(lines) + 1} came in {WAIT_S:.0f} s"
            raise ConfigError("run.nodes", wanted + 1, there) from None
        line = Line(connection, address)
        hello = next(iter(line.messages(10)), {})
        if hello.get("hello") == _job():
            line.name = f"{hello['name']} ({address})"
            lines.append(line)
        else:
            line.send(refused="an address of this job's own: another command is driven there")
    return lines


def _connect(host: str, port: int) -> Line:
    """A line to the first machine, which may come later."""
    end = time.monotonic() + WAIT_S
    while True:
        try:
            return Line(socket.create_connection((host, port), timeout=10), f"{host}:{port}")
        except OSError as error:
            if time.monotonic() > end:
                expected = f"where the first machine listens; nobody answers ({first_line(error)})"
                raise ConfigError("run.rendezvous", f"{host}:{port}", expected) from None
        time.sleep(0.5)


def _free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return server.getsockname()[1]
