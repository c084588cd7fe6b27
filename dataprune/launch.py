"""Get one result: found, built here, built in processes of its own, or waited for.

One process drives. A stage that trains in several processes gets its own (torchrun) and leaves none behind: when one
program fits on two devices and then on one, Lightning 2.6's own launcher leaves the second process running.
"""

import contextlib
import dataclasses
import importlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from dataprune import nodes
from dataprune.callables import code_of, dotted_paths, module_of, read_code
from dataprune.config import RunConfig
from dataprune.environment import environment
from dataprune.errors import ConfigError
from dataprune.identity import from_plain, identity
from dataprune.processes import alone, end_with_driver, on_each_machine, refuse, take_rank
from dataprune.progress import PACE
from dataprune.staging import staged
from dataprune.store import Recipe, Result, Store, read_lines, write_json

log = logging.getLogger(__name__)

# Stages that take seconds: their own code and that of our functions is in their recipes, so that a change of either
# makes another result. What the others make is worth hours: it is their VERSION that must be raised.
CHEAP = ("cluster", "neighbors", "score", "select", "combine")
MATCHED: set[tuple[str, str]] = set()  # callables whose code, when this process imported it, was what a task said

Follow = Callable[[str, dict[str, Any]], None]  # told (role, line) for each epoch of a training, as it happens


def recipe_of(stage: str, config: Any, inputs: Mapping[str, Result | str]) -> Recipe:
    """What the result is made of. A string among the inputs is the digest of something outside the store."""
    digests = {role: given if isinstance(given, str) else given.digest for role, given in inputs.items()}
    # the JSON round trip makes 1.0 and tuples look as they will when the recipe is read back
    plain = json.loads(json.dumps(identity(config)))
    return Recipe(stage, config.VERSION, plain, digests, code_behind(stage, plain))


def code_behind(stage: str, config: dict[str, Any]) -> dict[str, str]:
    """Hashes of the code that a stage with this config runs, by dotted path: of users always, ours in cheap stages."""
    cheap = stage in CHEAP
    paths = [*dotted_paths(config), *([f"dataprune.stages.{stage}.run"] if cheap else [])]
    found = {path: code_of(path, ours=cheap) for path in paths}
    return {path: code for path, code in found.items() if code is not None}


def obtain(
    store: Store,
    recipe: Recipe,
    config: Any,
    inputs: dict[str, Result],
    run: RunConfig,
    *,
    role: str,
    follow: Follow | None = None,
    processes: int = 1,
) -> tuple[Result, bool]:
    """The recipe's result, and whether this call built it.

    processes: that build it. Of a training they are its config's; those of other stages change nothing of the result.

    Found in the store it costs reading its manifest. Otherwise the recipe's lock is taken, waiting for a process that
    is building it already, and the stage runs. A stage that fails leaves its work folder, which the next try continues.
    """
    name = f"{role:<14} {recipe.stage}/{recipe.key[:8]}"
    if (found := store.find(recipe)) is not None:
        log.info("%s  found", name)
        Following(found / "history.jsonl", role, follow).tell()
        return found, False
    reason = store.why_missed(recipe)
    processes = getattr(config, "processes", processes)
    if processes == 1:
        with alone():  # imports, and hashes of source files, take seconds that are not the stage's cost
            _module(recipe.stage)
            check_code(recipe.code, ours=recipe.stage in CHEAP)
    with store.building(recipe, say=lambda text: log.info("%s  %s", name, text)) as work:
        if work is None:
            log.info("%s  built by the other process", name)
            found = store.find(recipe)
            assert found is not None
            return found, False
        log.info("%s  building; %s", name, reason)
        began = time.monotonic()
        paths = {role: result.path.absolute() for role, result in inputs.items()}
        write_task(work, recipe, config, paths, run, label=role, processes=processes)
        with Following(work / "history.jsonl", role, follow):
            answer = run_task(work) if processes == 1 else nodes.run(work, processes, run.threads)
        result = store.commit(recipe, answer["facts"], answer["made"])
    log.info("%s  built in %.1f s", name, time.monotonic() - began)
    return result, True


def write_task(
    work: Path,
    recipe: Recipe,
    config: Any,
    inputs: dict[str, Path],
    run: RunConfig,
    label: str = "",
    processes: int = 1,
) -> None:
    """Everything that a process needs to run the stage, in work/scratch/task.json."""
    task = {
        "stage": recipe.stage,
        "config": dataclasses.asdict(config),
        "inputs": {role: str(path) for role, path in inputs.items()},
        "run": dataclasses.asdict(run),
        "label": label,
        "processes": getattr(config, "processes", processes),
        "code": recipe.code,
    }
    write_json(work / "scratch" / "task.json", task)


def run_task(work: Path) -> dict[str, Any]:
    """Run the stage that work/scratch/task.json describes, in this process; returns its facts, and how they were made.

    Raises ConfigError if the code that this process imports is not the code that the recipe counts.
    """
    task = json.loads((work / "scratch" / "task.json").read_text())
    processes, run = task["processes"], from_plain(RunConfig, task["run"])
    inputs = {role: Path(path) for role, path in task["inputs"].items()}
    with alone() if processes == 1 else contextlib.nullcontext():
        module = _module(task["stage"])
        check_code(task["code"], ours=task["stage"] in CHEAP)
        inputs = staged(inputs, run.stage_to)
        began = time.monotonic()
        facts = module.run(from_plain(module.CONFIG, task["config"]), inputs, work, run, label=task["label"])
        seconds = time.monotonic() - began
    made = {"processes": processes, "stage_s": round(seconds, 3), "config": task["config"], "run": task["run"]}
    return {"facts": facts, "made": environment(run) | made}


def check_code(code: Mapping[str, str], ours: bool) -> None:
    """Import the modules of these callables and compare their source with the hashes that a recipe counts.

    Raises ConfigError where a file has changed since the job was composed: the result would stand under a wrong key.
    """
    for path, wanted in code.items():
        if (path, wanted) in MATCHED:  # this process has imported it already, and goes on with what it imported
            continue
        expected = "the code that the job was composed with; its source has changed since: start the job again"
        try:
            importlib.import_module(module_of(path))
            there = read_code(path, ours=ours)
        except (SyntaxError, LookupError) as error:  # cut short by an editor, or gone
            raise ConfigError("_target_", path, f"{expected} ({error})") from None
        if there != wanted:
            raise ConfigError("_target_", path, expected)
        MATCHED.add((path, wanted))


def _module(stage: str) -> Any:
    """The module dataprune.stages.<stage>: its CONFIG and run(). Imported only where it runs: torch takes seconds."""
    return importlib.import_module(f"dataprune.stages.{stage}")


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
            try:
                self.tell()
            except Exception:  # a dashboard that fails must not end the telling, nor the training
                log.exception("%s: an epoch could not be told", self.role)

    def tell(self) -> None:
        """Tell the lines that have not been told."""
        if self.follow is not None:
            # what is measured of an epoch's pace is no part of the result; of a repeated epoch the last line counts
            pace = {line["epoch"]: line for line in read_lines(self.path.parent / PACE)}
            for line in read_lines(self.path):
                if line["epoch"] > self.told:
                    self.told = line["epoch"]
                    self.follow(self.role, pace.get(line["epoch"], {}) | line)

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.ended.set()
        if self.follow is not None:
            self.thread.join()
            if kind is None:  # else the stage's own error is the one to show
                self.tell()


def main(work: Path) -> None:
    """What each worker process runs; process 0 leaves the answer."""
    end_with_driver()
    take_rank()
    sys.path.append(os.getcwd())  # where a user's own modules are
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", datefmt="%H:%M:%S")
    import torch  # only workers need it here
    import torch.distributed as dist

    is_first = os.environ["RANK"] == "0"
    # on other machines the workers of a driver that has gone may still be writing: wait for them
    lock = FileLock(work / "scratch" / "writer.lock") if is_first else contextlib.nullcontext()
    with lock:
        # before the stage, not by Lightning in the middle of it: callbacks ask for their rank while they are made
        task = json.loads((work / "scratch" / "task.json").read_text())
        on_gpu = task["run"]["accelerator"] != "cpu" and torch.cuda.is_available()
        try:
            if on_gpu:
                processes, there = task["processes"], torch.cuda.device_count()
                if on_each_machine(processes) > there:
                    raise ConfigError("processes", processes, f"at most {there} a machine, the GPUs that torch finds")
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            # what is on a GPU goes by NCCL, what is not by gloo: outputs, sums of the tally, plain values
            dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo")
            answer = run_task(work)
        except ConfigError as error:
            refuse(work, error)
            raise
        if is_first:
            write_json(work / "scratch" / "answer.json", answer)
        dist.destroy_process_group()
    # torch's threads were seen to abort a process that had done all its work while it was taken down
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
