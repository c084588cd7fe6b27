"""What a `_target_` takes, read from its source text: nothing is imported, so a check costs milliseconds.

`torch.optim.SGD` is found in torch's files without the seconds that importing torch takes. Where the text does not
tell (a C extension, a name made at run time) the real object is imported and asked.
"""

import ast
import importlib
import inspect
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

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
    if not module:
        raise LookupError(f"{target!r} is not a dotted path")
    found = _in_source(module, name)
    return found if found is not None else _of_object(module, name)


def check_target(spec: dict[str, Any], key: str, filled: frozenset[str] = frozenset()) -> Parameters:
    """Check that `spec` names a callable and gives it only constants it takes; raise a ConfigError that says which.

    `filled`: parameters that the framework fills in, which the spec need not (and a constant may) give.
    """
    target, takes = spec.get("_target_"), check_exists(spec, key)
    given = {name for name in spec if not (name.startswith("_") and name.endswith("_"))}
    for name in sorted(given - set(takes.names)):
        if not takes.open:
            raise ConfigError(
                f"{key}.{name}", spec[name], f"one of the constants of {target}: {', '.join(takes.names)}"
            )
    for name in sorted(takes.required - given - filled):
        raise ConfigError(f"{key}.{name}", None, f"a value: {target} has no default for it")
    return takes


def check_exists(spec: dict[str, Any], key: str) -> Parameters:
    """The parameters of the callable that `spec` names, or a ConfigError if there is none."""
    target = spec.get("_target_")
    if not isinstance(target, str):
        raise ConfigError(f"{key}._target_", target, "the dotted path of a function: package.module.name")
    try:
        return parameters(target)
    except LookupError as error:
        raise ConfigError(f"{key}._target_", target, f"a function that exists ({error.args[0]})") from None


@cache
def _file_of(module: str) -> Path | None:
    """The source file of a module, found without importing its parents."""
    package, _, last = module.rpartition(".")
    search: Any = None
    for part in package.split(".") if package else []:
        spec = PathFinder.find_spec(part, search)
        search = spec.submodule_search_locations if spec else None
        if search is None:  # not there, or a module that nothing lies below
            return None
    spec = PathFinder.find_spec(last, search)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


@cache
def _names_of(path: Path) -> dict[str, ast.stmt]:
    """Top-level statements of a file by the name they bind, looking into `if` and `try` blocks too."""
    bound: dict[str, ast.stmt] = {}
    queue: list[Any] = list(ast.parse(path.read_text(encoding="utf-8")).body)
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
    path = _file_of(module)
    node = _names_of(path).get(name) if path and depth < 8 else None
    if isinstance(node, ast.FunctionDef) and not node.decorator_list:
        return _of_arguments(node.args, skip=0)
    if isinstance(node, ast.ClassDef) and not node.decorator_list:
        init = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        return _of_arguments(init[-1].args, skip=1) if init else None
    if isinstance(node, ast.ImportFrom):
        parts = module.split(".") if path and path.name == "__init__.py" else module.split(".")[:-1]
        home = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
        origin = ".".join(filter(None, [home, node.module]))
        original = next(a.name for a in node.names if (a.asname or a.name) == name)
        return _in_source(origin, original, depth + 1)
    return None


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
