"""Imports point down only; the file tree is the design."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dataprune"
LAYERS = {  # folder or module -> height; a module may import those that are lower, and its own folder
    "errors": 0, "store": 0, "progress": 0, "config": 0, "callables": 0, "code_text": 0, "streams": 0, "ratios": 0,
    "blocks": 0, "ranks": 0, "fields": 0, "augmentation": 0, "stage_configs": 0, "data.paths": 0, "identity": 0,
    "peaks": 0,
    "checks.config": 1, "overrides": 1, "environment": 1, "dataset": 1, "processes": 1, "cost": 1, "staging": 1,
    "nodes": 2, "launch": 3, "executors": 4,
    "windows": 1, "neighbors": 1, "influence.estimates": 0, "influence.datamodels": 1, "influence.store": 1,
    "scores": 2, "selectors": 2,
    "arrays": 3, "training.quantities": 3, "dynamic": 3, "data": 3, "models": 3, "subset": 1, "formats": 2,
    "formats.class_files": 3,
    "training.adversarial": 3, "training.schedules": 3,
    "checks.augmentation": 3, "plan": 4, "training.recorder": 4, "checks.recipes": 4, "signals": 4, "passes": 4,
    "checkpoints": 4, "checkpoints.masks": 3, "runtimes": 3, "checkpoints.onnx": 5, "checkpoints.__main__": 6,
    "training": 5, "checks.rehearsal": 5, "experiments": 5, "stages": 6,
    "speed": 7, "stage_calls": 7, "checks": 7, "taken_over": 8,
    "rows": 7, "influence.collect": 7, "pipeline": 9, "estimate": 10, "throughput": 10,
    "tracking": 9, "commands": 9, "pools": 10, "jobs": 11, "sweeps": 12,
    "select": 10, "export": 10, "report": 10, "influence": 11, "__main__": 13,
}  # fmt: skip
FUNCTIONS_OF_ARRAYS = {
    "scores", "selectors", "neighbors", "blocks", "windows", "influence.estimates", "influence.datamodels",
}  # fmt: skip
PURE = {"dataprune", "numpy", "numba", "scipy", "faiss", "torch"} | sys.stdlib_module_names - {
    "os",
    "logging",
    "pathlib",
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> list[tuple[str, bool]]:
    """(dotted name, whether it is imported when the module is) of every import in a file."""
    tree = ast.parse(path.read_text())
    eager = {id(node) for node in tree.body}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in eager) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "dataprune" else [node.module]
            found += [(str(name), id(node) in eager) for name in names]
    return found


def part(name: str) -> str:
    """The entry of LAYERS that a dotted name below `dataprune.` belongs to: its module's, or else its folder's."""
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if rest and f"{first}.{rest[0]}" in LAYERS else first


def here(path: Path) -> str:
    return part(".".join(path.relative_to(PACKAGE).with_suffix("").parts))


def test_every_module_has_a_layer():
    assert {here(p) for p in FILES} - {"__init__", "conf"} == set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    mine = here(path)
    for name, _ in imports(path):
        if not name.startswith("dataprune.") or mine == "__init__":
            continue
        theirs = part(name.removeprefix("dataprune."))
        if theirs in ("__version__", mine):
            continue
        assert LAYERS[theirs] < LAYERS[mine] or (LAYERS[theirs] == LAYERS[mine] == 0), f"{mine} imports {theirs}"


@pytest.mark.parametrize("folder", ["data", "models"])
def test_data_and_models_do_not_know_each_other(folder):
    other = {"data": "models", "models": "data"}[folder]
    for path in (PACKAGE / folder).glob("*.py"):
        assert not any(f"{name}.".startswith(f"dataprune.{other}.") for name, _ in imports(path)), path


@pytest.mark.parametrize("path", [p for p in FILES if here(p) in FUNCTIONS_OF_ARRAYS], ids=lambda p: p.stem)
def test_functions_of_arrays_are_pure(path):
    for name, eager in imports(path):
        root = name.split(".")[0]
        assert root in PURE, f"{path.name} imports {name}"
        assert not (eager and root == "torch"), f"{path.name} imports torch before it is needed"
        if root == "dataprune":
            theirs = part(name.removeprefix("dataprune."))
            assert theirs in {"errors", "streams"} | FUNCTIONS_OF_ARRAYS, f"{path.name} imports {name}"


def test_policies_import_torch_where_the_sampler_is():
    eager = {p.stem for p in (PACKAGE / "dynamic").glob("*.py") for name, now in imports(p) if now and "torch" in name}
    assert eager == {"policy"}


def test_no_file_has_a_name_that_says_nothing():
    vague = {"utils", "util", "helpers", "helper", "misc", "common"}
    assert not [p for p in FILES if p.stem in vague]
