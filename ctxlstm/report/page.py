"""The report as files: one page, and a file for each of its tables and figures (paper, sections 4.3 to 6).

Tables are written as CSV (plain numbers) and Markdown (formatted for reading), figures as SVG and PNG;
index.html holds all of them in the order in which they were added. Each call also returns what a notebook
shows.
"""

import html
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ctxlstm import figures
from ctxlstm.report.table import Table
from ctxlstm.report.text import as_table, readable, write
from ctxlstm.support.files import written

STYLE = """
body { font: 16px/1.5 sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { margin-top: 3rem; border-bottom: 1px solid #ddd }
table { border-collapse: collapse; font-size: 0.85rem; display: block; overflow-x: auto }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid #e6e6e6; text-align: left; vertical-align: top }
th { background: #f5f5f5 }
p.legend { color: #555; font-size: 0.85rem; margin: 0.3rem 0 }
img { max-width: 100%; height: auto }
"""


class Report:
    """A folder that fills with tables and figures; `page` writes index.html.

    Args:
        folder: created if missing; existing files are replaced one by one, each only by a complete one.
        title: heading of the page.
    """

    def __init__(self, folder: str | Path, title: str):
        self.folder, self.title = Path(folder), title
        self.parts: list[str] = []
        self.headings: list[str] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                error.errno, f"report folder {self.folder} cannot be created ({error.strerror}): give another"
            ) from error

    def heading(self, text: str) -> None:
        """Start a section."""
        self.headings.append(text)
        self.parts.append(f'<h2 id="s{len(self.headings)}">{html.escape(text)}</h2>')

    def text(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self.parts.append(f"<p>{html.escape(text)}</p>")

    @contextmanager
    def partial(self, study: str) -> Iterator[None]:
        """Say what an unfinished study does not have yet, and let the report go on without it."""
        try:
            yield
        except ValueError as error:
            print(f"{study}: {error}")
            self.text(f"{study}: {error}")

    def table(self, table: Table | pd.DataFrame, name: str, title: str) -> pd.DataFrame:
        """Write NAME.csv and NAME.md and return the table formatted for reading."""
        write(table, self.folder, name)
        shown = readable(table)
        self.parts.append(f"<h3>{html.escape(title)}</h3>")
        self.parts.append(shown.to_html(index=False, border=0, justify="left", escape=True))
        self._legend(as_table(table).legend, [f"{name}.csv", f"{name}.md"])
        return shown

    def figure(self, figure: Figure, name: str, reading: str) -> Figure:
        """Write NAME.svg and NAME.png and return the figure; `reading` is the sentence that explains it."""
        for suffix in (".svg", ".png"):
            figures.save(figure, self.folder / f"{name}{suffix}")
        self.parts.append(f'<img src="{name}.svg" alt="{html.escape(reading)}">')
        self._legend([reading], [f"{name}.svg", f"{name}.png"])
        return figure

    def page(self) -> Path:
        """Write index.html and return its path."""
        links = [
            f'<li><a href="#s{number}">{html.escape(text)}</a></li>'
            for number, text in enumerate(self.headings, start=1)
        ]
        title = html.escape(self.title)
        lines = [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head><body>',
            f"<h1>{title}</h1><ol>{''.join(links)}</ol>",
            *self.parts,
            "</body></html>\n",
        ]
        path = self.folder / "index.html"
        with written(path) as part:
            part.write_text("\n".join(lines), encoding="utf-8")
        return path

    def _legend(self, lines: Iterable[str], files: Iterable[str]) -> None:
        self.parts += [f'<p class="legend">{html.escape(line)}</p>' for line in lines]
        links = ", ".join(f'<a href="{name}">{name}</a>' for name in files)
        self.parts.append(f'<p class="legend">{links}</p>')
