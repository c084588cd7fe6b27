"""What a stage asks an engine for."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataprune.config import ResourcesConfig, RunConfig

SMALL = ("index", "dynamics", "score", "select", "combine")  # stages of seconds
ON_DEVICE = ("train", "adopt", "signals", "evaluate")  # stages that compute on a GPU where there is one


def resources_of(run: RunConfig, task: Mapping[str, Any]) -> ResourcesConfig:
    """Return what the stage of a task (launch.task_of) needs in all: `run.resources.<stage>` for each process, what is
    None filled in.

    gpus: one a process where run.accelerator=gpu, for stages that compute on one. cpus: run.threads, and run.workers
    where images are decoded by them. memory and minutes stay None: the engine's own.
    """
    stage, processes = task["stage"], task["processes"]
    asked: ResourcesConfig = getattr(run.resources, stage)
    gpus = int(run.accelerator == "gpu" and stage in ON_DEVICE) if asked.gpus is None else asked.gpus
    cpus = (run.threads or 1) + (run.workers if _decodes(task) else 0) if asked.cpus is None else asked.cpus
    memory = None if asked.memory is None else asked.memory * processes
    return ResourcesConfig(gpus * processes, cpus * processes, memory, asked.minutes)


def _decodes(task: Mapping[str, Any]) -> bool:
    """Whether the stage reads images that are decoded each time they are seen."""
    header = Path(task["inputs"].get("pixels", "")) / "header.json"
    return task["stage"] in ON_DEVICE and header.is_file() and not json.loads(header.read_text())["kept"]
