"""DeepSparse: the one engine that skips zeros which lie anywhere. End of life (1.8.0), with an environment of its own.

It wants Python 3.8 to 3.11 and numpy 1.26, so it runs as a process of another interpreter (signals.runtime_python):
that gets the ONNX file and images as .npy, and gives features as .npy.
"""

import contextlib
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from dataprune.errors import ConfigError
from dataprune.runtimes.runtime import Runtime, check_interpreter

WORKER = Path(__file__).with_name("deepsparse_worker.py")


class Engine(Runtime):
    """See `Runtime`. python: the interpreter; it must be able to import deepsparse."""

    def __init__(self, path: Path, threads: int, python: str | None = None) -> None:
        self.key = "runtime_python"  # of errors; those of a constructor are put below `signals`
        check_interpreter(self.key, python)
        self.python, self.folder = str(python), tempfile.TemporaryDirectory(dir=path.parent)
        self.errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (as long as the process)
        self.process = subprocess.Popen(
            [self.python, "-I", str(WORKER), str(path), str(threads)],  # -I: not our packages, nor this folder's names
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=os.environ | {"NM_DISABLE_ANALYTICS": "1"},
        )
        try:
            self.name = self._answer()
        except ConfigError:
            self.close()
            raise
        self.key = f"signals.{self.key}"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return features float32 (b, d) of images float32 (b, c, h, w)."""
        given, made = (Path(self.folder.name) / f"{name}.npy" for name in ("images", "features"))
        np.save(given, images)
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and `_answer` says how
            print(f"{given}\t{made}", file=self.process.stdin, flush=True)
        self._answer()
        return np.load(made)

    def _answer(self) -> str:
        """The line that the process answers; a ConfigError with its last words where it has ended instead."""
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return line.rstrip("\n")
        self.process.wait()
        self.errors.seek(0)
        last = ([line.strip() for line in self.errors if line.strip()] or ["without a word"])[-1]
        expected = f"an interpreter in which deepsparse runs; it ended with {self.process.returncode}: {last}"
        raise ConfigError(self.key, self.python, expected)

    def close(self) -> None:
        """End the process and remove its files."""
        self.process.kill()
        self.process.communicate()
        self.errors.close()
        self.folder.cleanup()
