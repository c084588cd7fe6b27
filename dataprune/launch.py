"""Get one result: found, built here, built in processes of its own, or waited for.

One process drives. A stage that trains on several devices gets its own processes (torchrun) and leaves none behind:
when one program fits on two devices and then on one, Lightning 2.6's own launcher leaves the second process running.
"""

import contextlib
import ctypes
import dataclasses
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from dataprune.config import RunConfig, from_plain, identity
from dataprune.store import Recipe, Result, Store, read_lines, write_json

log = logging.getLogger(__name__)

# what a launcher or an outer torchrun leaves in the environment and an inner one must not see
INHERITED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "NODE_RANK")
INHERITED_PREFIXES = ("MASTER_", "TORCHELASTIC", "SLURM_")

Follow = Callable[[str, dict[str, Any]], None]  # told (role, line) for each epoch of a training, as it happens


def recipe_of(stage: str, config: Any, inputs: Mapping[str, Result | str]) -> Recipe:
    """What the result is made of. A string among the inputs is the digest of something outside the store."""
    digests = {role: given if isinstance(given, str) else given.digest for role, given in inputs.items()}
    # the JSON round trip makes 1.0 and tuples look as they will when the recipe is read back
    plain = json.loads(json.dumps(identity(config)))
    return Recipe(stage, config.VERSION, plain, digests)


def obtain(
    store: Store,
    recipe: Recipe,
    config: Any,
    inputs: dict[str, Result],
    run: RunConfig,
    *,
    role: str,
    follow: Follow | None = None,
) -> tuple[Result, bool]:
    """The recipe's result, and whether this call built it.

    Found in the store it costs reading its manifest. Otherwise the recipe's lock is taken, waiting for a process that
    is building it already, and the stage runs. A stage that fails leaves its work folder, which the next try continues.
    """
    name = f"{role:<14} {recipe.stage}/{recipe.key[:8]}"
    if (found := store.find(recipe)) is not None:
        log.info("%s  found", name)
        Following(found / "history.jsonl", role, follow).tell()
        return found, False
    reason = store.why_missed(recipe)
    apart = recipe.stage == "train" and run.devices > 1
    if not apart:
        _module(recipe.stage)  # imports take seconds that are not the stage's cost
    with store.building(recipe, say=lambda text: log.info("%s  %s", name, text)) as work:
        if work is None:
            log.info("%s  built by the other process", name)
            found = store.find(recipe)
            assert found is not None
            return found, False
        log.info("%s  building; %s", name, reason)
        began = time.monotonic()
        write_task(work, recipe, config, {role: result.path for role, result in inputs.items()}, run, label=role)
        with Following(work / "history.jsonl", role, follow):
            facts = _in_processes(work, run) if apart else run_task(work)
        result = store.commit(recipe, facts)
    log.info("%s  built in %.1f s", name, time.monotonic() - began)
    return result, True


def write_task(
    work: Path, recipe: Recipe, config: Any, inputs: dict[str, Path], run: RunConfig, label: str = ""
) -> None:
    """Everything that a process needs to run the stage, in work/scratch/task.json."""
    task = {
        "stage": recipe.stage,
        "config": dataclasses.asdict(config),
        "inputs": {role: str(path) for role, path in inputs.items()},
        "run": dataclasses.asdict(run),
        "label": label,
    }
    write_json(work / "scratch" / "task.json", task)


def run_task(work: Path) -> dict[str, Any]:
    """Run the stage that work/scratch/task.json describes, in this process."""
    task = json.loads((work / "scratch" / "task.json").read_text())
    module = _module(task["stage"])
    config = from_plain(module.CONFIG, task["config"])
    inputs = {role: Path(path) for role, path in task["inputs"].items()}
    return module.run(config, inputs, work, from_plain(RunConfig, task["run"]), label=task["label"])


def _module(stage: str) -> Any:
    """The module dataprune.stages.<stage>: its CONFIG and run(). Imported only where it runs: torch takes seconds."""
    return importlib.import_module(f"dataprune.stages.{stage}")


def _in_processes(work: Path, run: RunConfig) -> dict[str, Any]:
    """Run the task in `run.devices` processes of their own; they end with this process."""
    facts = work / "scratch" / "facts.json"
    facts.unlink(missing_ok=True)
    logs = work / "log"
    logs.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={run.devices}"]
    command += [f"--log-dir={logs}", "--tee=3", "-m", "dataprune.launch", str(work)]
    environment = {k: v for k, v in os.environ.items() if k not in INHERITED and not k.startswith(INHERITED_PREFIXES)}
    # the current folder is where a user's own modules are
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [os.getcwd(), environment.get("PYTHONPATH")]))
    environment.setdefault("OMP_NUM_THREADS", str(run.threads or max(1, (os.cpu_count() or 1) // run.devices)))
    code = subprocess.run(command, env=environment, preexec_fn=_die_with_parent).returncode
    if code or not facts.exists():
        raise RuntimeError(f"{work.name}: a worker process failed (exit code {code}); their output is in {logs}")
    return json.loads(facts.read_text())


def _die_with_parent() -> None:
    """In a child: ask Linux to kill it when its parent is gone, so that a killed driver frees its devices at once.

    SIGKILL, not SIGTERM: at a second SIGTERM torchrun leaves its closing half done and waits for ever for its log
    readers. The checkpoint of the last epoch is what the next run goes on from.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 = PR_SET_PDEATHSIG


class Following:
    """While a stage runs, tell `follow(role, line)` each new line of its history file, whatever process wrote it."""

    def __init__(self, path: Path, role: str, follow: Follow | None) -> None:
        self.path, self.role, self.follow = path, role, follow
        self.told = -1  # last epoch
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)

    def __enter__(self) -> "Following":
        if self.follow is not None:
            self.thread.start()
        return self

    def _loop(self) -> None:
        while not self.ended.wait(1.0):
            self.tell()

    def tell(self) -> None:
        """Tell the lines that have not been told."""
        if self.follow is not None:
            for line in read_lines(self.path):
                if line["epoch"] > self.told:
                    self.told = line["epoch"]
                    self.follow(self.role, line)

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        if self.follow is not None:
            self.thread.join()
            self.tell()


def main(work: Path) -> None:
    """What each worker process runs; process 0 leaves the stage's facts."""
    _die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    import torch  # only workers need it here
    import torch.distributed as dist

    is_first = os.environ["RANK"] == "0"
    # where the system cannot end orphans, the workers of a killed driver may still be writing: wait for them
    lock = FileLock(work / "scratch" / "writer.lock") if is_first else contextlib.nullcontext()
    with lock:
        # before the stage, not by Lightning in the middle of it: callbacks ask for their rank while they are made
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        facts = run_task(work)
        if is_first:
            write_json(work / "scratch" / "facts.json", facts)
        dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
