"""`run.throughput=100`: time so many steps of the pretraining with its real input, print the pace, keep nothing.

The recipe is the job's (loader, augmentation, precision, processes, a method's sampler), on the whole source: which
examples are kept does not change how long a step takes. Data sets are really indexed and decoded; that stays in the
store.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from dataprune import nodes
from dataprune.checks.training import check_training
from dataprune.config import Config, RecordConfig, TrainConfig
from dataprune.errors import ConfigError
from dataprune.experiments import pretraining
from dataprune.launch import recipe_of, run_task, task_of, write_task
from dataprune.pipeline import indexed
from dataprune.plan import plan_of
from dataprune.progress import THROUGHPUT, WARM_UP
from dataprune.stage_calls import Stages, Stamps
from dataprune.store import Store
from dataprune.training.pace import in_words


def throughput(cfg: Config, stamps: Stamps | None = None) -> None:
    """Print images a second, the share of waiting for input, GPU memory and MFU of the job's pretraining.

    Raises ConfigError for a job that pretrains nothing.
    """
    assert cfg.run.throughput is not None
    if cfg.pretrain.checkpoint is not None or cfg.method.trains_on == "nothing":
        expected = "null, or a job that pretrains: no pretrain.checkpoint, no method that learns the target alone"
        raise ConfigError("run.throughput", cfg.run.throughput, expected)
    store = Store(cfg.run.store, cfg.run.verify)
    stage = Stages(store, cfg, None, stamps={} if stamps is None else stamps)
    source, target, _ = indexed(cfg, stage)
    check_training(cfg, plan_of(cfg), source, target)
    config = timed(pretraining(cfg, source), cfg.run.throughput)
    inputs = source.inputs(config.reads)
    with tempfile.TemporaryDirectory(prefix=".throughput-", dir=store.root) as folder:  # where all machines see it
        work = Path(folder)
        (work / "scratch").mkdir()
        paths = {role: result.path.absolute() for role, result in inputs.items()}
        write_task(work, task_of(recipe_of("train", config, inputs), config, paths, cfg.run, label="throughput"))
        one = config.processes == 1
        answer = run_task(work) if one else nodes.run(work, config.processes, cfg.run.threads)
        line = json.loads((work / THROUGHPUT).read_text())
    where = f"{answer['made']['device']}, {config.processes} process{'' if one else 'es'}"
    print(f"{where}, batches of {config.batch_size}, {line['steps']} steps after {WARM_UP}: {in_words(line)}")


def timed(recipe: TrainConfig, steps: int) -> TrainConfig:
    """Return the recipe with so many steps after the warm-up, and nothing but steps."""
    steps += WARM_UP
    # a sampler chooses by epoch: as many as there may be, of at least one step each
    epochs = steps if recipe.sampler else None
    record = RecordConfig() if recipe.record.forward == "eval" else recipe.record  # a pass after each epoch
    return replace(recipe, epochs=epochs, iterations=steps, eval_every=0, snapshots=[], record=record)
