"""One self-contained HTML page; its pictures also lie beside it as PNG files."""

import html
import io
import itertools
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from dataprune.report import figures

LONGEST = 180  # characters of a file name; 255 bytes are the most that file systems take
CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1060px; margin: 2em auto; padding: 0 1.2em }
h1 { font-size: 1.6em; margin-bottom: 0 } h2 { font-size: 1.25em; margin-top: 2em; border-bottom: 1px solid #ddd }
h3 { font-size: 1.05em; margin: 1.4em 0 .3em } p.note { color: #555; font-size: .92em; max-width: 75ch }
table { border-collapse: collapse; font-size: .9em; font-variant-numeric: tabular-nums; margin: .8em 0 }
th, td { text-align: right; padding: .22em .8em; border-bottom: 1px solid #eee } th { border-bottom: 2px solid #bbb }
td { white-space: nowrap }
th:first-child, td:first-child { text-align: left; white-space: normal } tr.group td { border-top: 2px solid #ccc }
tr.baseline td { color: #666; font-style: italic } .figures { display: flex; flex-wrap: wrap; gap: 1em }
svg, img { max-width: 100%; height: auto } code { background: #f4f4f4; padding: .1em .3em }
"""


@dataclass
class Page:
    """Collects the parts of a page; pictures are also written as PNG files."""

    folder: Path
    parts: list[str] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    section: Sequence[str] = ()  # words that qualify the names of the pictures that follow

    def add(self, text: str) -> None:
        """Append HTML."""
        self.parts.append(text)

    def heading(self, level: int, text: str) -> None:
        """Append a heading."""
        self.add(f"<h{level}>{html.escape(text)}</h{level}>")

    def note(self, text: str) -> None:
        """Append a paragraph of explanation."""
        self.add(f"<p class=note>{html.escape(text)}</p>")

    def table(self, names: Iterable[str], rows: Iterable[tuple[str, Iterable[object]]]) -> None:
        """Append a table; a row is the CSS classes of its line and its cells."""
        self.add("<table><tr>" + "".join(f"<th>{html.escape(name)}" for name in names) + "</tr>")
        for kinds, cells in rows:
            self.add(f'<tr class="{kinds}">' + "".join(f"<td>{html.escape(str(cell))}" for cell in cells) + "</tr>")
        self.add("</table>")

    def figure(self, drawn: Figure, name: str, *, bitmap: bool = False) -> None:
        """Append a figure: as SVG, or as PNG where it holds pictures. No two PNG files of a page share a name."""
        path = self._path(name)
        with matplotlib.rc_context(figures.STYLE):
            drawn.savefig(path, dpi=130)
        self.pictures.append(path)
        if bitmap:
            data = b64encode(path.read_bytes()).decode()
            self.add(f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">')
        else:
            buffer = io.StringIO()
            with matplotlib.rc_context(figures.STYLE):
                drawn.savefig(buffer, format="svg", metadata={"Date": None})
            self.add(buffer.getvalue()[buffer.getvalue().index("<svg") :])

    def _path(self, name: str) -> Path:
        """A file name of this section that no picture has yet: names may differ in what file names cannot show."""
        words = " ".join([name, *dict.fromkeys(word for word in self.section if word != "-")])
        stem = re.sub("[^a-z0-9.]+", "_", words.lower()).strip("_")[:LONGEST]
        paths = (self.folder / f"{stem}{'' if i == 1 else f'_{i}'}.png" for i in itertools.count(1))
        return next(path for path in paths if path not in self.pictures)

    def write(self, title: str) -> Path:
        """The page as report.html."""
        body = "\n".join(self.parts)
        path = self.folder / "report.html"
        path.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f"<style>{CSS}</style><body>{body}</body></html>"
        )
        return path
