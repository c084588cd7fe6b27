"""Write docs/files.md: a line for each file of the repository, from the first line of its docstring or comment.

python docs/files.py
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = {"The package": "dataprune", "Configs": "conf", "Templates": "multirun_templates", "Benchmarks": "benchmarks"}
HEAD = """# Files

Written by `python docs/files.py`; the tests compare. tests/ mirrors the package; `dataprune/pipeline.py` is the one to
read first.
"""


def text() -> str:
    """Return the page."""
    parts = [HEAD]
    for title, folder in PARTS.items():
        lines = [f"| `{path.relative_to(ROOT).as_posix()}` | {about(path)} |" for path in files(ROOT / folder)]
        parts.append("\n".join([f"## {title}", "", "| file | |", "|---|---|", *lines, ""]))
    return "\n".join(parts)


def files(folder: Path) -> list[Path]:
    """Return Python and YAML files below a folder in order, without those that only make a package."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".yaml", ".csv"))
    return [path for path in found if "__pycache__" not in path.parts and (path.name != "__init__.py" or about(path))]


def about(path: Path) -> str:
    """Return the first line of a file's docstring or comment, without the full stop."""
    content = path.read_text()
    if path.suffix == ".py":
        said = (ast.get_docstring(ast.parse(content)) or "").split("\n\n")[0].replace("\n", " ")
    elif path.suffix == ".yaml":
        comments = [line.lstrip("# ").rstrip() for line in content.splitlines() if line.startswith("#")]
        said = next((line for line in comments if not line.startswith("@package")), "")
    else:
        said = "Published figures, one a line, with table and paper"
    return said.rstrip(".:").replace("|", "\\|")


if __name__ == "__main__":
    (ROOT / "docs" / "files.md").write_text(text())
