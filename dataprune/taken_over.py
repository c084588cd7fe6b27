"""What other programs have made, taken into the store by its content: clusters, neighbours, models, dynamics."""

import json
from dataclasses import replace
from pathlib import Path

from dataprune.config import TrainConfig
from dataprune.cost import cost_file
from dataprune.data.codecs import compare_views
from dataprune.dataset import Data
from dataprune.formats.dynamics import digest
from dataprune.formats.dynamics import look as look_at_files
from dataprune.plan import Plan
from dataprune.stage_calls import Stages
from dataprune.stage_configs import AdoptConfig, ClusterConfig, DynamicsConfig, NeighborsConfig
from dataprune.store import Result


def taken_over(stage: Stages, plan: Plan, source: Data) -> dict[str, Result]:
    """What files tell of the source, as far as the method asks for it: clusters and neighbours, by role."""
    method, told = plan.method, {}
    if "clusters" in plan.roles and method.clusters.path is not None:
        told["clusters"] = assigned(stage, method.clusters, source)
    if "neighbors" in plan.roles:
        told["neighbors"] = listed(stage, method.neighbors, source)
    return told


def assigned(stage: Stages, config: ClusterConfig, source: Data) -> Result:
    """The pseudo classes of the source that files hold."""
    places = [path for path in (config.path, config.val_path) if path is not None]
    return stage("cluster", config, "clusters", files=content_of(places[0], *map(Path, places)), examples=source.table)


def listed(stage: Stages, config: NeighborsConfig, source: Data) -> Result:
    """The neighbours of each example that files hold."""
    places = [path for path in (config.neighbors, config.distances, config.ids) if path is not None]
    files = content_of(places[0], *map(Path, places))
    return stage("neighbors", config, "neighbors", files=files, examples=source.table)


def adopt(stage: Stages, config: TrainConfig, role: str, data: Data, known: bool = True) -> Result:
    """The adopted model of a recipe that names a checkpoint; known: whether it was trained on these data."""
    assert config.model is not None
    assert config.checkpoint is not None
    adopted = AdoptConfig(config.checkpoint, config.model, config.density, config.lth_weights)
    files = content_of(config.checkpoint, Path(config.checkpoint))
    if known:
        return stage("adopt", adopted, role, files=files, **data.inputs(config.reads))
    model = stage("adopt", replace(adopted, input=data.header["input"]), role, files=files)
    if model.path.exists():  # else only planned, for run.estimate
        compare_views(data.header["codec"], json.loads((model / "report.json").read_text()), role)
    return model


def dynamics(stage: Stages, config: TrainConfig, *, examples: Result) -> Result:
    """The dynamics that the config says another program has recorded."""
    assert config.dynamics is not None
    files = content_of(config.dynamics, *look_at_files(config.dynamics).read)
    foreign = DynamicsConfig(config.dynamics, config.record.probabilities)
    return stage("dynamics", foreign, "dynamics", files=files, examples=examples)


def content_of(path: str, *files: Path) -> str:
    """Digest of the files that are read at a foreign path, and of what tells their cost."""
    return digest([*files, *filter(None, [cost_file(path)])])
