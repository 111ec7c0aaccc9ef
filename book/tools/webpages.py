"""What the web pages add to the notebooks: explorers that need no kernel, and tables with aligned numbers.

A Sphinx extension (listed in book/conf.py). The explorers' numbers and names come from the package;
_static/explorers.js computes from them, and tests/test_pages_scripts.py compares it with the package in a
browser.
"""

import inspect
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.application import Sphinx

from ctxlstm import classroom, figures, models, ucf101
from ctxlstm.widgets import cascade, gates, splits


def explorer_data() -> dict[str, dict]:
    """The data of _static/explorers.js: weights, drawn splits, names and colours, all from the package."""
    return {"gates": _gates_data(), "flow": _flow_data(), "splits": _splits_data()}


def _gates_data() -> dict:
    start = inspect.signature(gates.gate_explorer_figure).parameters
    return {
        "weights": gates.WEIGHTS,
        "ranges": gates.RANGES,
        "names": gates.NAMES,
        "equations": gates.EQUATIONS,
        "start": {name: parameter.default for name, parameter in start.items()},
        "colours": figures.GATE_COLOURS,
    }


def small_cascade(layers: int = 3) -> models.ContextLSTM:
    """The cascade of the page's state flow: random three-decimal weights; fewer `layers` are its first."""
    sizes = {"input_size": 6, "num_classes": 2, "hidden_size": 6, "embedding": ()}
    whole, model = (models.ContextLSTM(**sizes, num_layers=n).double().eval() for n in (3, layers))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in whole.blocks.parameters():
            weight.copy_(_drawn(-700, 700, weight.shape, generator))
        for stage in whole.stages:  # as if trained: outputs after ReLU are small and not centred
            stage.bn.running_mean.copy_(_drawn(50, 250, stage.bn.running_mean.shape, generator))
            stage.bn.running_var.copy_(_drawn(20, 80, stage.bn.running_var.shape, generator))
    kept = model.state_dict()
    model.load_state_dict({name: value for name, value in whole.state_dict().items() if name in kept})
    return model


def small_clips() -> torch.Tensor:
    """The clips of the page's state flow, (4, 12, 6)."""
    return _drawn(-2000, 2000, (4, 12, 6), torch.Generator().manual_seed(1))


def _drawn(low: int, high: int, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """Random thousandths from low to high."""
    return torch.randint(low, high + 1, shape, generator=generator, dtype=torch.float64) / 1000


def _flow_data() -> dict:
    model = small_cascade()

    def weights(block: torch.nn.LSTM, name: str) -> dict[str, list]:
        one, two = (getattr(block, f"bias_{part}_{name}") for part in ("ih", "hh"))
        both = {part: getattr(block, f"weight_{part}_{name}") for part in ("ih", "hh")} | {"b": one + two}
        return {part: _rounded(weight) for part, weight in both.items()}

    return {
        "hidden": model.blocks[0].hidden_size,
        "clips": _rounded(small_clips()),
        "blocks": [
            [
                [weights(block, f"l{layer}{way}") for way in ("", "_reverse")]
                for layer in range(block.num_layers)
            ]
            for block in model.blocks
        ],
        "stages": [
            {
                "weight": _rounded(bn.weight),
                "bias": _rounded(bn.bias),
                "mean": _rounded(bn.running_mean),
                "var": _rounded(bn.running_var),
                "eps": bn.eps,
            }
            for bn in (stage.bn for stage in model.stages)
        ],
        "handovers": [(name, key or "off") for name, key in cascade.HANDOVER_NAMES.items()],
        "colours": figures.GATE_COLOURS,
    }


def _rounded(numbers: torch.Tensor) -> list:
    """As nested lists, without the rounding error of a sum of decimals."""
    return [
        round(n, 6) if isinstance(n, float) else _rounded(torch.tensor(n, dtype=torch.float64))
        for n in numbers.tolist()
    ]


def split_tables() -> dict[str, pd.DataFrame]:
    """The clips of the page's split explorer: all names of UCF101, and those of the book's stick figures."""
    names = [
        f"v_{label}_g{group:02d}_c{clip:02d}"
        for label in classroom.CLASSES
        for group in range(1, classroom.GROUPS + 1)
        for clip in (1, 2, 3)
    ]
    rows = [(name, *ucf101.parse(name)) for name in names]
    return {
        "ucf101": ucf101.full_index(),
        "classroom": pd.DataFrame(rows, columns=["name", "label", "group", "clip"]),
    }


def _splits_data(seeds: int = 21) -> dict:
    """Splits as strings of digits: one string per class, one digit for each of its groups 1, 2, ..."""

    def digits(clips: pd.DataFrame, rows: np.ndarray | slice) -> list[str]:
        label, classes = pd.factorize(clips["label"], sort=True)  # (N,)
        counts = np.zeros((len(classes), clips["group"].max()), dtype=int)  # (K, G)
        np.add.at(counts, (label[rows], clips["group"].to_numpy()[rows] - 1), 1)
        return ["".join(map(str, row)) for row in counts.tolist()]

    titles = {"ucf101": "UCF101 (names only)", "classroom": "the book's stick figures"}
    return {
        "tables": {
            key: {
                "title": titles[key],
                "classes": sorted(clips["label"].unique()),
                "clips": digits(clips, slice(None)),
                "drawn": {
                    protocol: [
                        digits(clips, ucf101.split(clips, protocol, seed=seed).test) for seed in range(seeds)
                    ]
                    for protocol in ("paper", "grouped")
                },
            }
            for key, clips in split_tables().items()
        },
        "names": figures.PROTOCOL_NAMES,
        "parts": splits.PARTS,
        "folds": list(splits.FOLDS.items()),
    }


def write_explorer_data(folder: Path) -> None:
    """One script for each explorer: a page opened from disk may not fetch JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in explorer_data().items():
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        script = f"(window.explorerData ??= {{}}).{name} = {text};\n"
        (folder / f"explorers-{name}.js").write_text(script, encoding="utf-8")


EXPLORERS = {"gate_explorer": "gates", "state_flow": "flow", "split_explorer": "splits"}
_CALL = re.compile(r"widgets\.(gate_explorer|state_flow|split_explorer)\(([^)]*)")


def _place_explorers(app: Sphinx, doctree: nodes.document) -> None:
    """Put an empty place below every cell that calls one of the three widgets; explorers.js fills it."""
    codes = list(doctree.findall(nodes.literal_block))
    drawn = {name for code in codes for name in re.findall(r"(?m)^(\w+) = classroom\.clips\(", code.astext())}
    for code in codes:
        call, cell = _CALL.search(code.astext()), code.parent
        if call is None or "cell_input" not in cell.get("classes", ()):
            continue
        table = ' data-table="classroom"' if call[2] in drawn else ""
        place = f'<div class="explorer" data-explorer="{EXPLORERS[call[1]]}"{table}></div>'
        cell.parent.insert(cell.parent.index(cell) + 1, nodes.raw("", place, format="html"))


def _finish_page(
    app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None
) -> None:
    """Align the numbers in tables, and load the scripts where there is an explorer."""
    if doctree is None:
        return
    body = context["body"]
    context["body"] = re.sub(r"(?s)<table\b.*?</table>", lambda table: align_numbers(table[0]), body)
    names = sorted(set(re.findall(r'data-explorer="(\w+)"', body)))
    for script in [f"explorers-{name}.js" for name in names] + ["explorers.js"] * bool(names):
        app.add_js_file(script, defer="defer")


_NUMBER = re.compile(
    r"(of )?[-+−±≈~<>]? ?\d[\d,.]*(e[-+]?\d+)?†?( ?(%|x|×|s|ms|min|h|[kMGT]i?B))?"  # -1.5, 3.2e-7, 40 %, 1.5 GB
    r"( (to|±|-|−|–) [-+−]?\d[\d,.]*)?( ?[\[(][^\])]*[\])])?"  # 3 to 5, 1.2 ± 0.3, 64.3 (48.3 to 80.2)
)
_NOTHING = ("", "-", "–", "—", "NaN", "nan", "None")


def align_numbers(html: str) -> str:
    """Give table columns that hold only numbers the class num, and those with long texts the class long."""
    soup = BeautifulSoup(html, "html.parser")
    rows = [row.find_all(["td", "th"], recursive=False) for row in soup.find_all("tr")]
    rows = [row for row in rows if not any(cell.has_attr("colspan") for cell in row)]
    for column in range(-max(map(len, rows), default=0), 0):  # from the right: indices on the left span rows
        cells = [row[column] for row in rows if len(row) >= -column]
        texts = [cell.get_text(" ", strip=True) for cell in cells if cell.name == "td"]
        if kind := _kind([text for text in texts if text not in _NOTHING]):
            for cell in cells:
                cell["class"] = [*(cell.get("class") or []), kind]
    return str(soup)


def _kind(texts: list[str]) -> str | None:
    if texts and all(map(_NUMBER.fullmatch, texts)):
        return "num"
    return "long" if any(len(text) > 45 for text in texts) else None


def _write_scripts(app: Sphinx) -> None:
    if app.builder.format == "html":
        write_explorer_data(Path(app.outdir) / "_static")


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("builder-inited", _write_scripts)
    app.connect("doctree-read", _place_explorers)
    app.connect("html-page-context", _finish_page)
