"""Run one stage: what it is made of, its task as a file, and the processes that run it.

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
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from dataprune.callables import code_of, dotted_paths, module_of, read_code
from dataprune.config import RunConfig
from dataprune.environment import environment
from dataprune.errors import ConfigError
from dataprune.identity import from_plain, identity
from dataprune.processes import alone, end_with_driver, on_each_machine, refuse, take_rank
from dataprune.staging import staged
from dataprune.store import Recipe, Result, write_json

# Stages that take seconds: their own code and that of our functions is in their recipes, so that a change of either
# makes another result. What the others make is worth hours: it is their VERSION that must be raised.
CHEAP = ("cluster", "neighbors", "score", "select", "combine")
MATCHED: set[tuple[str, str]] = set()  # callables whose code, when this process imported it, was what a task said


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


def task_of(
    recipe: Recipe, config: Any, inputs: Mapping[str, Path], run: RunConfig, label: str = "", processes: int = 1
) -> dict[str, Any]:
    """Everything that a process needs to run a stage, as plain values."""
    return {
        "stage": recipe.stage,
        "config": dataclasses.asdict(config),
        "inputs": {role: str(path) for role, path in inputs.items()},
        "run": dataclasses.asdict(run),
        "label": label,
        "processes": getattr(config, "processes", processes),
        "code": recipe.code,
    }


def write_task(work: Path, task: Mapping[str, Any]) -> None:
    """Leave the task of a stage in its work folder, for `run_task` in this or any other process."""
    write_json(work / "scratch" / "task.json", dict(task))


def run_task(work: Path) -> dict[str, Any]:
    """Run the stage that work/scratch/task.json describes, in this process; returns its facts, and how they were made.

    Raises ConfigError if the code that this process imports is not the code that the recipe counts.
    """
    task = json.loads((work / "scratch" / "task.json").read_text())
    processes, run = task["processes"], from_plain(RunConfig, task["run"])
    inputs = {role: Path(path) for role, path in task["inputs"].items()}
    with alone() if processes == 1 else contextlib.nullcontext():
        module = module_of_stage(task["stage"])
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


def module_of_stage(stage: str) -> Any:
    """The module dataprune.stages.<stage>: its CONFIG and run(). Imported only where it runs: torch takes seconds."""
    return importlib.import_module(f"dataprune.stages.{stage}")


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
