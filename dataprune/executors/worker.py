"""A persistent process that builds results, one after another: torch is imported once in it.

It reads messages from its standard input, a line each, and answers on a pipe of its own. When its driver has gone,
however, the input ends, and it kills its process group: nothing outlives its driver on this machine.
"""

import base64
import logging
import os
import pickle
import queue
import signal
import sys
import threading
from typing import Any

from dataprune import progress
from dataprune.executors.answers import answer_to


def packed(value: Any) -> bytes:
    """Return a value as one line."""
    return base64.b64encode(pickle.dumps(value)) + b"\n"


def unpacked(line: bytes) -> Any:
    """Return the value of a line that this program has written."""
    return pickle.loads(base64.b64decode(line))


def _read(lines: "queue.Queue[bytes]") -> None:
    for line in sys.stdin.buffer:
        lines.put(line)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main(answers: int) -> None:
    """Build what comes until the driver has gone. answers: the file descriptor of the pipe to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's
    sys.path.append(os.getcwd())  # where a user's own modules are
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    progress.enabled = False  # bars of several workers in one terminal
    lines: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    with open(answers, "wb", buffering=0) as pipe:
        while True:
            pipe.write(packed(answer_to(unpacked(lines.get()))))


if __name__ == "__main__":
    main(int(sys.argv[1]))
