"""Slides: one HTML file per part of the book, from the chapters' committed text and figures; nothing is run or fetched.

    python -m book.tools.slides            every deck, in book/_build/slides

A chapter gives its question, its guess, every figure with the sentences that explain it, and its summary.
Arrow keys, space and Page Up/Down turn the pages; printing gives one slide per page. A deck embeds its
pictures, so it can be copied anywhere.
"""

import base64
import html
import re
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt

from book.tools import notebooks
from ctxlstm.support.files import written

BOOK = Path(__file__).parents[1]
NAMES = "times cdot odot pm sigma tau partial approx le ge sqrt ln".split()
TEX = dict(zip(NAMES, "× · ⊙ ± σ τ ∂ ≈ ≤ ≥ √ ln".split(), strict=True))
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
html {{ scroll-snap-type: y mandatory; font: 3vh/1.45 system-ui, sans-serif; color: #222; background: #fff }}
section {{ box-sizing: border-box; height: 100vh; padding: 5vh 6vw; scroll-snap-align: start; overflow: hidden;
  display: flex; flex-direction: column; break-after: page }}
h1 {{ font-size: 6vh; margin: auto 0 0 }} h1 ~ :last-child {{ margin-bottom: auto }} h2 {{ font-size: 4.4vh }}
body, h2 {{ margin: 0 }} p, ul, ol {{ margin: 0 0 1.5vh }} small {{ color: #666; margin-top: auto }}
img {{ flex: 1 1 0; min-height: 0; width: 100%; object-fit: contain; margin: 2vh 0 }}
</style></head><body>
{slides}
<script>
const step = {{ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1}};
addEventListener("keydown", event => {{
  if (!(event.key in step)) return;
  event.preventDefault();
  const all = document.querySelectorAll("section"), next = Math.round(scrollY / innerHeight) + step[event.key];
  all[Math.min(all.length - 1, Math.max(0, next))].scrollIntoView();
}});
</script></body></html>
"""


def parts(book: Path = BOOK) -> dict[str, list[Path]]:
    """The parts of the book and their chapters' notebooks, in the order of index.md."""
    found, text = {}, (book / "index.md").read_text(encoding="utf-8")
    for caption, block in re.findall(
        r"```\{toctree\}\n(?::hidden:\n)?:caption: ([^\n]+)\n(.*?)```", text, re.S
    ):
        if chapters := re.findall(r"^(\d\d_\w+)", block, re.M):
            found[caption] = [book / f"{name}.ipynb" for name in chapters]
    return found


def render(text: str) -> str:
    """HTML of Markdown; links become their words, formulas plain text."""

    def formula(found: re.Match) -> str:
        words = re.sub(r"\\([a-z]+) ?", lambda name: TEX.get(name[1], ""), found[1])
        return "`" + re.sub(r"[{}\\]", "", words).strip() + "`"

    text = re.sub(r"\$+([^$]+)\$+", formula, re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text))
    return MarkdownIt("commonmark", {"html": False}).render(text)


def _plain(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>|\s+", " ", render(text))).strip()


def _section(text: str, name: str) -> str:
    """The text under the heading `name` of a chapter; empty if there is none."""
    found = re.search(rf"^##+ {name}\s*\n(.*?)(?=^##+ |\Z)", text, re.M | re.S)
    return found[1].strip() if found else ""


def _paragraph(text: str, start: str) -> str:
    """The paragraph that begins with the pattern `start`, without it and without a block quote's marks."""
    found = re.search(rf"{start}\s*(.+?)(?=\n\s*>?\s*\n|\Z)", text, re.S)
    return re.sub(r"\n> ?", "\n", found[1]).strip() if found else ""


def _address(output: nbformat.NotebookNode) -> str:
    """The data URL of an output's picture; empty if it has none."""
    kind = notebooks.picture(output)
    data = output["data"][kind] if kind else ""
    if kind == "image/svg+xml":
        data = base64.b64encode(data.encode()).decode()
    return f"data:{kind};base64,{data}".replace("\n", "") if kind else ""


def chapter(path: Path) -> list[str]:
    """The slides of one chapter, as HTML sections."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    text = re.sub(r"<details>.*?</details>", "", text, flags=re.S)  # answers are not for the wall
    title = _plain(re.search(r"^# (.+)$", text, re.M)[1])  # pyright: ignore[reportOptionalSubscript]
    foot = f"<small>{html.escape(title)}</small>"
    question = _paragraph(text, r"\*\*The question\.\*\*") or _section(text, "The question").split("\n\n")[0]
    slides = [f"<section><h1>{html.escape(title)}</h1>{render(question)}</section>"]
    if guess := next((cell.source for cell in cells if "**Guess first.**" in cell.source), ""):
        guess = guess.split("**Guess first.**")[1]
        guess = re.sub(r"^> ?|<details>.*?</details>", "", guess, flags=re.M | re.S)
        slides.append(f"<section><h2>Guess first</h2>{render(guess.split('## ')[0])}{foot}</section>")
    heading = title
    for number, cell in enumerate(cells):
        if cell.cell_type == "markdown" and (named := re.findall(r"^##+ (.+)$", cell.source, re.M)):
            heading = _plain(named[-1])
        for output in cell.get("outputs", []):
            if address := _address(output):
                reading = notebooks.reading(cells[number + 1 :])
                alt = html.escape(output.metadata[notebooks.picture(output)].alt)
                slide = (
                    f'<h2>{html.escape(heading)}</h2><img src="{address}" alt="{alt}">{render(reading)}{foot}'
                )
                slides.append(f"<section>{slide}</section>")
    if summary := _section(text, "Summary"):
        bullets = re.split(r"\n\s*\n(?!\s*- )", summary)[0]
        slides.append(f"<section><h2>Summary</h2>{render(bullets)}{foot}</section>")
    return slides


def decks(out: Path, book: Path = BOOK) -> list[Path]:
    """Write one deck per part into the folder `out` and return the files."""
    made = []
    for number, (name, chapters) in enumerate(parts(book).items(), 1):
        slides = [f"<section><h1>{html.escape(name)}</h1><p>Context-LSTM on UCF101</p></section>"]
        slides += [slide for path in chapters for slide in chapter(path)]
        made.append(out / f"{number}_{re.sub(r'[^a-z0-9]+', '_', name.lower())}.html")
        with written(made[-1]) as part:
            part.write_text(PAGE.format(title=html.escape(name), slides="\n".join(slides)), encoding="utf-8")
    return made


if __name__ == "__main__":
    print(*decks(BOOK / "_build" / "slides"), sep="\n")
