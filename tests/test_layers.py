"""Imports point down only; the file tree is the design."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "dataprune"
LAYERS = {  # file or folder -> height; a module may import those that are lower, and its own folder
    "errors": 0, "store": 0, "progress": 0, "config": 0, "callables": 0, "source": 0, "streams": 0, "ratios": 0,
    "config_checks": 1, "overrides": 1, "environment": 1, "dataset": 1, "processes": 1, "cost": 1, "launch": 2,
    "scores": 1, "selectors": 1, "arrays": 2, "quantities": 2, "plan": 3,
    "dynamic": 3, "recorder": 3, "data": 3, "models": 3, "callbacks": 4, "subset": 4,
    "rehearsal": 4, "recipe_checks": 4, "signals": 4, "speed": 7, "snapshots": 4, "stages": 5,
    "stage_calls": 6, "checks": 6,
    "network_checks": 6, "rows": 6, "collect": 6, "pipeline": 7, "estimate": 8, "export": 8,
    "tracking": 8, "select": 8, "report": 9, "influence": 10, "__main__": 10,
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


def part(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def test_every_module_has_a_layer():
    assert {part(p) for p in FILES} - {"__init__", "conf"} == set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    here = part(path)
    for name, _ in imports(path):
        if not name.startswith("dataprune.") or here == "__init__":
            continue
        there = name.split(".")[1]
        if there == "__version__" or there == here:
            continue
        assert LAYERS[there] < LAYERS[here] or (LAYERS[there] == LAYERS[here] == 0), f"{here} imports {there}"


@pytest.mark.parametrize("folder", ["data", "models"])
def test_data_and_models_do_not_know_each_other(folder):
    other = {"data": "models", "models": "data"}[folder]
    for path in (PACKAGE / folder).glob("*.py"):
        assert not any(name.startswith(f"dataprune.{other}") for name, _ in imports(path)), path


@pytest.mark.parametrize("path", [p for p in FILES if part(p) in ("scores", "selectors")], ids=lambda p: p.stem)
def test_scores_and_selectors_are_pure(path):
    for name, eager in imports(path):
        root = name.split(".")[0]
        assert root in PURE, f"{path.name} imports {name}"
        assert not (eager and root == "torch"), f"{path.name} imports torch before it is needed"
        if root == "dataprune":
            assert name.split(".")[1] in ("errors", "streams", "scores", "selectors"), f"{path.name} imports {name}"


def test_policies_import_torch_where_the_sampler_is():
    eager = {p.stem for p in (PACKAGE / "dynamic").glob("*.py") for name, now in imports(p) if now and "torch" in name}
    assert eager == {"policy"}


def test_no_file_has_a_name_that_says_nothing():
    vague = {"utils", "util", "helpers", "helper", "misc", "common"}
    assert not [p for p in FILES if p.stem in vague]
