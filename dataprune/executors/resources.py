"""What a stage asks an engine for."""

from dataprune.config import ResourcesConfig, RunConfig

ON_DEVICE = ("train", "adopt", "signals", "evaluate")  # stages that compute on a GPU where there is one


def resources_of(run: RunConfig, stage: str, processes: int) -> ResourcesConfig:
    """Return what a stage of so many processes needs in all: `run.resources.<stage>` for each, what is None filled in.

    gpus: one a process where run.accelerator=gpu, for stages that compute on one. cpus: run.threads, and one for each
    of run.workers. memory and minutes stay None: the engine's own.
    """
    asked = run.resources.get(stage, ResourcesConfig())
    gpus = int(run.accelerator == "gpu" and stage in ON_DEVICE) if asked.gpus is None else asked.gpus
    cpus = (run.threads or 1) + (run.workers if stage in ON_DEVICE else 0) if asked.cpus is None else asked.cpus
    memory = None if asked.memory is None else asked.memory * processes
    return ResourcesConfig(gpus * processes, cpus * processes, memory, asked.minutes)
