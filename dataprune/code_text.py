"""Source text: its tree, what it imports, and its tokens without what does nothing.

What is imported by a name that the program makes up, run by `exec`, or loaded from a path is not seen.
"""

import ast
import io
import re
import threading
import tokenize
from collections.abc import Iterator
from pathlib import Path

PARSING = threading.Lock()  # Python 3.11's parser counts its depth for all threads together, and fails
PLAIN = "S"  # first character of the word that a string becomes


def parsed(path: str | Path) -> tuple[bytes, ast.Module]:
    """Return a source file's bytes and its tree. LookupError, with the place, if it cannot be read or is no Python."""
    try:
        content = Path(path).read_bytes()
        with PARSING:
            return content, ast.parse(content)
    except OSError as error:
        raise LookupError(f"{path} cannot be read: {error.strerror}") from None
    except SyntaxError as error:
        raise LookupError(f"{path}, line {error.lineno or 1}: {error.msg}") from None
    except ValueError as error:  # a NUL in the text
        raise LookupError(f"{path}: {error}") from None


def imported(tree: ast.AST, package: str) -> Iterator[str]:
    """Yield names of what may be modules, of all imports in a file: those inside functions, by literal name, and (of a
    star import of a package) in `__all__` included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _imported_from(node, package)
        elif isinstance(node, ast.Call):
            yield from _imported_by_name(node, package)
        elif isinstance(node, ast.Assign) and "__all__" in (getattr(target, "id", "") for target in node.targets):
            yield from (f"{package}.{word}" for word in _texts(node.value))


def _imported_from(node: ast.ImportFrom, package: str) -> Iterator[str]:
    """The module that a `from ... import` names, and each name in it, which may be a module too."""
    home = absolute("." * node.level + (node.module or ""), package)
    yield home
    yield from (f"{home}.{alias.name}" for alias in node.names if alias.name != "*")


def _texts(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner.value


def _imported_by_name(node: ast.Call, package: str) -> Iterator[str]:
    """The module that a call of import_module or __import__ with a literal name imports."""
    if getattr(node.func, "attr", getattr(node.func, "id", "")) not in ("import_module", "__import__"):
        return
    given = {word.arg: word.value for word in node.keywords} | dict(zip(("name", "package"), node.args, strict=False))
    name, home = given.get("name"), given.get("package")
    if isinstance(name, ast.Constant) and isinstance(name.value, str):
        stated = home.value if isinstance(home, ast.Constant) and isinstance(home.value, str) else package
        yield absolute(name.value, stated)


def absolute(name: str, package: str) -> str:
    """Return a module's name from one that may begin with dots, as in the files of `package`."""
    level = len(name) - len(name.lstrip("."))
    above = package.split(".")[: max(0, len(package.split(".")) - level + 1)] if level else []
    return ".".join(filter(None, [*above, name[level:]]))


def stripped(source: bytes) -> str:
    """Return source text as its tokens, without comments, docstrings, blank lines and layout.

    Tokens, not the parsed tree: the tree's form changes from one Python to the next. (An f-string, one token until
    Python 3.11 and several since, is taken as its text.)
    """
    text = source.decode(tokenize.detect_encoding(io.BytesIO(source).readline)[0])
    text = text.replace("\r\n", "\n").replace("\r", "\n") + "\n"  # as Python itself reads it
    words: list[str] = []
    statement = 0  # where the words of the statement that is being read begin
    for kind, string in _tokens(text):
        if kind in ("NEWLINE", "INDENT", "DEDENT"):
            if kind == "NEWLINE" and _is_idle(words[statement:]):
                del words[statement:]
            else:
                words.append(kind)
            statement = len(words)
        elif kind not in ("COMMENT", "NL", "ENDMARKER", "ENCODING"):
            words.append((PLAIN if _is_plain(kind, string) else ".") + string)
    return "\0".join(words)  # no source text holds a NUL


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of each token; an f-string that is made of several is one of kind FORMATTED."""
    lines = io.StringIO(text).readlines()  # (splitlines would split at form feeds, too)
    start: tuple[int, int] | None = None  # of an f-string that is being read
    depth = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = tokenize.tok_name[token.type]
        if kind.endswith("STRING_START"):
            start, depth = start or token.start, depth + 1
        elif kind.endswith("STRING_END"):
            depth -= 1
            if depth == 0 and start is not None:
                yield "FORMATTED", _between(lines, start, token.end)
                start = None
        elif not depth:
            yield kind, token.string


def _is_plain(kind: str, string: str) -> bool:
    """Whether a token is a string that calls nothing: one that is formatted calls functions."""
    return kind == "STRING" and "f" not in re.split("['\"]", string, maxsplit=1)[0].lower()


def _is_idle(words: list[str]) -> bool:
    """Whether a statement is strings alone, which nobody uses."""
    return bool(words) and all(word[0] == PLAIN for word in words)


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """The text between two (row from 1, column) positions."""
    rows = lines[start[0] - 1 : end[0]]
    rows[-1] = rows[-1][: end[1]]
    rows[0] = rows[0][start[1] :]
    return "".join(rows)
