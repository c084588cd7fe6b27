"""The message that says how one result is built, and the function that a worker runs with it, wherever it is."""

import logging
import time
from dataclasses import asdict
from typing import Any

from dataprune import nodes
from dataprune.config import RunConfig
from dataprune.identity import from_plain
from dataprune.launch import CHEAP, check_code, module_of_stage, run_task, write_task
from dataprune.processes import alone
from dataprune.store import Recipe, Store

log = logging.getLogger(__name__)

Message = dict[str, Any]  # plain values: what travels to a worker


def message_of(store: Store, recipe: Recipe, task: dict[str, Any]) -> Message:
    """Return what a worker needs to build the recipe's result. task: of `launch.task_of`."""
    return {"store": str(store.root), "recipe": asdict(recipe), "task": task}


def named(role: str, recipe: Recipe) -> str:
    """Return how a result is called in the log: its role, its stage, the beginning of its key."""
    return f"{role:<14} {recipe.stage}/{recipe.key[:8]}"


def build(message: Message, wait: bool = False) -> bool:
    """Build a result under its lock, in this process or in processes of its own; return whether it was built here.

    False: another process has built it, or (without `wait`) is building it now. A stage that fails leaves its work
    folder, which the next try continues. Raises what the stage raises; LostWorker where a process of it is lost.
    """
    task = message["task"]
    recipe = Recipe(**message["recipe"])
    run, name = from_plain(RunConfig, task["run"]), named(task["label"], recipe)
    if task["processes"] == 1:
        with alone():  # imports, and hashes of source files, take seconds that are not the stage's cost
            module_of_stage(recipe.stage)
            check_code(recipe.code, ours=recipe.stage in CHEAP)
    store = Store(message["store"], run.verify)
    with store.building(recipe, say=lambda text: log.info("%s  %s", name, text), wait=wait) as work:
        if work is None:
            return False
        began = time.monotonic()
        write_task(work, task)
        answer = run_task(work) if task["processes"] == 1 else nodes.run(work, task["processes"], run.threads)
        store.commit(recipe, answer["facts"], answer["made"])
    log.info("%s  built in %.1f s", name, time.monotonic() - began)
    return True
