"""The callables that a config names by dotted path: what they take, and which source code stands behind them.

Both are read from source text: nothing is imported, so a check costs milliseconds. `torch.optim.SGD` is found in
torch's files without the seconds that importing torch takes. Where the text does not tell what a callable takes (a C
extension, a name made at run time) the real object is imported and asked.

The code of a callable is its module with everything that it imports from the same folder or package (its import
closure), without comments, docstrings and blank lines. Installed distributions are libraries and have no code here:
their versions stand in a result's manifest.
"""

import ast
import hashlib
import importlib
import inspect
import json
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from dataprune.code_text import absolute, imported, parsed, stripped
from dataprune.errors import ConfigError


@dataclass(frozen=True)
class Parameters:
    """The parameters of a callable."""

    names: tuple[str, ...]
    required: frozenset[str]
    open: bool  # it has **kwargs: any keyword may be given


@cache
def parameters(target: str) -> Parameters:
    """Parameters of the function or class at the dotted path `target`.

    Raises LookupError if there is no such module or no such name in it.
    """
    module, _, name = target.rpartition(".")
    if not all(target.split(".")) or not module:
        raise LookupError(f"{target!r} is not a dotted path")
    found = _in_source(module, name)
    return found if found is not None else _of_object(module, name)


def check_target(spec: dict[str, Any], key: str, filled: frozenset[str] = frozenset()) -> Parameters:
    """Check that `spec` names a callable and gives it only constants it takes; raise a ConfigError that says which.

    `filled`: parameters that the framework fills in, which the spec need not (and a constant may) give.
    """
    target, takes = spec.get("_target_"), check_exists(spec, key)
    for inner in dotted_paths(spec):  # also what a constant names: its code must be found before anything runs
        try:
            code_of(inner)
        except LookupError as error:
            raise ConfigError(
                f"{key}._target_", inner, f"a function whose code can be told ({error.args[0]})"
            ) from None
    given = {name for name in spec if not (name.startswith("_") and name.endswith("_"))}
    for name in sorted(given - set(takes.names)):
        if not takes.open:
            raise ConfigError(
                f"{key}.{name}", spec[name], f"one of the constants of {target}: {', '.join(takes.names)}"
            )
    for name in sorted(takes.required - given - filled):
        raise ConfigError(f"{key}.{name}", None, f"a value: {target} has no default for it")
    return takes


def function_at(path: str) -> Callable[..., Any]:
    """Return the function or class at a dotted path. Every path of a user's goes through here or through `instance`."""
    from hydra.utils import get_method

    return get_method(path)


def instance(spec: Any, **values: Any) -> Any:
    """Return what the `_target_` of `spec` gives when it is called with its constants and with `values`, those that
    `spec` names further inside made first."""
    from hydra.utils import instantiate

    return instantiate(spec, **values)


def make(spec: dict[str, Any], key: str, **values: Any) -> Any:
    """Call what `spec` names with its constants, and with those of `values` that it takes. A ConfigError that it raises
    is one of `key`."""
    from hydra.errors import InstantiationException

    takes = parameters(spec["_target_"]).names
    try:
        return instance(spec, **{name: value for name, value in values.items() if name in takes})
    except InstantiationException as error:  # hydra's, around what the callable has raised
        if isinstance(error.__cause__, ConfigError):
            raise error.__cause__.under(key) from None
        raise


def check_exists(spec: dict[str, Any], key: str) -> Parameters:
    """The parameters of the callable that `spec` names, or a ConfigError if there is none."""
    target = spec.get("_target_")
    if not isinstance(target, str):
        raise ConfigError(f"{key}._target_", target, "the dotted path of a function: package.module.name")
    try:
        return parameters(target)
    except LookupError as error:
        raise ConfigError(f"{key}._target_", target, f"a function that exists ({error.args[0]})") from None


def _spec(module: str) -> ModuleSpec | None:
    """Where a module would be imported from, found without importing its parents; None = nowhere."""
    if not all(module.split(".")):
        return None
    parent, _, name = module.rpartition(".")
    above = _spec(parent) if parent else None
    search = above.submodule_search_locations if above else None
    if parent and search is None:  # finders would look for a part of a plain module on sys.path
        return None
    try:
        found = (finder.find_spec(module, search) for finder in sys.meta_path)
        return next(filter(None, found), None)
    except KeyError:  # a folder without __init__.py in another one that is not imported
        return _namespace(module, [Path(place) / name for place in search or []])


def _namespace(module: str, places: list[Path]) -> ModuleSpec:
    """The spec of a package that is only folders, without __init__.py."""
    spec = ModuleSpec(module, None, is_package=True)
    spec.submodule_search_locations = [str(place) for place in places if place.is_dir()]
    return spec


@cache
def _file_of(module: str) -> Path | None:
    """The source file of a module."""
    spec = _spec(module)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@cache
def _names_of(path: Path) -> dict[str, ast.stmt]:
    """Top-level statements of a file by the name they bind, looking into `if` and `try` blocks too."""
    bound: dict[str, ast.stmt] = {}
    queue: list[Any] = list(parsed(path)[1].body)
    while queue:
        node = queue.pop(0)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound[node.name] = node
        elif isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                bound[alias.asname or alias.name] = node
        elif isinstance(node, ast.If | ast.Try | ast.With):
            queue += node.body + getattr(node, "orelse", [])
    return bound


def _in_source(module: str, name: str, depth: int = 0) -> Parameters | None:
    """What a name in a module takes, followed through up to 8 imports; None = the text does not tell."""
    path = _file_of(module)
    if path is None or depth >= 8:
        return None
    node = _names_of(path).get(name)
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return None if node.decorator_list else _of_definition(node)
    if isinstance(node, ast.ImportFrom):
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        original = next(a.name for a in node.names if (a.asname or a.name) == name)
        return _in_source(absolute("." * node.level + (node.module or ""), package), original, depth + 1)
    return None


def _of_definition(node: ast.FunctionDef | ast.ClassDef) -> Parameters | None:
    if isinstance(node, ast.FunctionDef):
        return _of_arguments(node.args, skip=0)
    init = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    return _of_arguments(init[-1].args, skip=1) if init else None


def _of_arguments(args: ast.arguments, skip: int) -> Parameters:
    positional = [a.arg for a in args.posonlyargs + args.args]
    required = set(positional[: len(positional) - len(args.defaults)][skip:])
    required |= {a.arg for a, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default is None}
    names = positional[skip:] + [a.arg for a in args.kwonlyargs]
    return Parameters(tuple(names), frozenset(required), args.kwarg is not None)


def _of_object(module: str, name: str) -> Parameters:
    try:
        found = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise LookupError(f"no module named {error.name}") from None
    except AttributeError:
        raise LookupError(f"module {module} has no {name}") from None
    if not callable(found):
        raise LookupError(f"{module}.{name} is not callable")
    kinds = inspect.Parameter
    try:
        signature = inspect.signature(found).parameters.values()
    except ValueError:  # a compiled function that does not tell
        return Parameters((), frozenset(), open=True)
    given = [p for p in signature if p.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)]
    takes_any = any(p.kind is kinds.VAR_KEYWORD for p in signature)
    required = frozenset(p.name for p in given if p.default is kinds.empty)
    return Parameters(tuple(p.name for p in given), required, takes_any)


OURS = __name__.partition(".")[0]
LIBRARIES = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib"))
STATES_ITS_PATH = ("hydra.utils.get_method", "hydra.utils.get_class", "hydra.utils.get_object")


def dotted_paths(config: Any) -> list[str]:
    """Dotted paths of all callables that a config names, sorted: every `_target_`, and what hydra.utils.get_* gets."""
    found: set[str] = set()
    queue = [config]
    while queue:
        node = queue.pop()
        if isinstance(node, dict):
            if isinstance(target := node.get("_target_"), str):
                found.add(target)
                if target in STATES_ITS_PATH and isinstance(node.get("path"), str):
                    found.add(node["path"])
            queue += node.values()
        elif isinstance(node, list | tuple):
            queue += node
    return sorted(found)


def codes_of(config: Any) -> dict[str, str]:
    """Hashes of the user's code behind every callable that a config names, nested ones too, by dotted path."""
    found = {path: code_of(path) for path in dotted_paths(config)}
    return {path: code for path, code in found.items() if code is not None}


def is_ours(target: str) -> bool:
    """Whether the dotted path lies in this package."""
    return target.partition(".")[0] == OURS


@cache
def code_of(target: str, *, ours: bool = False) -> str | None:
    """Hash of the code behind the callable at the dotted path `target`; None where a library or (unless `ours`) this
    package defines it.

    ours: count this package's own modules too, those of the closure of a user's function included. Read once a process;
    `read_code` reads again. Raises LookupError where there is no source: `__main__`, a module made at run time.
    """
    return _closure(target, ours, _first_seen)


def read_code(target: str, *, ours: bool = False) -> str | None:
    """`code_of` from the files as they are now."""
    return _closure(target, ours, _seen)


def _seen(path: str, package: str) -> tuple[str, list[str]]:
    """A hash of a source file's code, and what it imports."""
    content, tree = parsed(path)
    return hashlib.sha256(stripped(content).encode()).hexdigest(), list(imported(tree, package))


# As this process saw the file first: what it has imported since stays what it was, whoever edits the file
_seen_once = cache(_seen)
SEEING = threading.Lock()  # else the jobs of a sweep, which are threads, would all read the same files first


def _first_seen(path: str, package: str) -> tuple[str, list[str]]:
    with SEEING:
        return _seen_once(path, package)


def _closure(target: str, ours: bool, seen: Callable[[str, str], tuple[str, list[str]]]) -> str | None:
    code: dict[str, str] = {}
    queue = [module_of(target)]
    while queue:
        name = queue.pop()
        file = None if name in code else _code_file(name, ours)
        if file is None:
            continue
        if not file.endswith(".py"):  # a compiled module
            code[name] = hashlib.sha256(Path(file).read_bytes()).hexdigest()
            continue
        package = name if Path(file).name == "__init__.py" else name.rpartition(".")[0]
        code[name], further = seen(file, package)
        queue += further
        if not is_ours(name):  # importing a module runs those of its parents; ours define nothing but names
            queue += _parents(name)
    return hashlib.sha256(json.dumps(sorted(code.items())).encode()).hexdigest()[:16] if code else None


def _code_file(module: str, ours: bool) -> str | None:
    """The file whose content is the code of a module; None for no module, Python's own, libraries, and (unless `ours`)
    this package."""
    spec = _spec(module)
    if spec is None or spec.origin is None or spec.origin in ("built-in", "frozen"):
        return None
    if is_ours(module):  # which counts where it is installed, too
        return spec.origin if ours else None
    return None if _is_library(spec.origin) else spec.origin


def module_of(target: str) -> str:
    """The module part of a dotted path: its longest beginning that is a module. LookupError if it has no source."""
    parts = target.split(".")
    if parts[0] == "__main__":
        raise LookupError(f"{target} has no file of its own: put the function into a module")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        if (spec := _spec(module)) is not None:
            if spec.origin is None:
                raise LookupError(f"{module} is a folder of modules, not one")
            return module
    raise LookupError(f"no module named {'.'.join(parts[:-1]) or target}, or it has no source file")


def _is_library(origin: str) -> bool:
    """Whether a file belongs to an installed distribution or to Python itself."""
    path = Path(origin).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(path.is_relative_to(folder) for folder in LIBRARIES)


def _parents(module: str) -> Iterator[str]:
    while module := module.rpartition(".")[0]:
        yield module
