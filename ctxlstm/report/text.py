"""Tables formatted for reading: per cent, sensible digits, an interval beside its value; CSV and Markdown."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from ctxlstm.report.table import PLAIN, Table, Unit, ends
from ctxlstm.support.files import written


def readable(table: Table | pd.DataFrame) -> pd.DataFrame:
    """The table as text: fractions in per cent, `x (low to high)` in one column, an empty cell where nothing is known.

    Empty columns and underscores in names are dropped. The numbers of a bare frame have no units;
    `Table.of(frame)` gives it those of the report.
    """
    table = as_table(table)
    if table.frame.empty:
        return pd.DataFrame({"": ["nothing"]})
    filled = (table.frame.notna() & (table.frame.astype(str) != "")).any()
    frame, shown = table.frame.loc[:, filled], {}
    inside = {end for column in frame for end in ends(column)}  # shown with the value whose interval they end
    for column in (name for name in frame if name not in inside):
        # Table 1 holds ready-made text, so its columns have no unit.
        unit = table.units.get(column, PLAIN) if pd.api.types.is_numeric_dtype(frame[column]) else PLAIN
        cells = [_text(value, unit) for value in frame[column]]
        if set(ends(column)) <= set(frame):
            low, high = ([_text(value, unit) for value in frame[end]] for end in ends(column))
            cells = [f"{x} ({a} to {b})" if x and a else x for x, a, b in zip(cells, low, high, strict=True)]
        shown[column.replace("_", " ") + unit.suffix] = cells
    return pd.DataFrame(shown)


def as_table(table: Table | pd.DataFrame) -> Table:
    """The table itself; a bare frame as a table without units or legend."""
    return table if isinstance(table, Table) else Table(table)


def _text(value: object, unit: Unit) -> str:
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    return unit.text(value)


def to_markdown(table: Table | pd.DataFrame, path: str | Path) -> Path:
    """Write `readable(table)` as a Markdown table, its legend below it, and return the path."""
    shown = readable(table)
    rule = ["--:" if _numbers(shown[column]) else "---" for column in shown]
    rows = [list(shown.columns), rule, *shown.to_numpy().tolist()]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    legend = [text for line in as_table(table).legend for text in ("", line)]
    return _write(Path(path), "\n".join([*lines, *legend]) + "\n")


def _numbers(column: pd.Series) -> bool:
    return all(re.fullmatch(r"[-+<]?[\d.,]+†?( \(.*\))?|", cell) for cell in column) and any(column)


def write(table: Table | pd.DataFrame, folder: str | Path, name: str) -> tuple[Path, Path]:
    """Write `folder/name.csv` (plain numbers) and `folder/name.md` (for reading); return both paths.

    An existing file is replaced only by a complete one.
    """
    text = as_table(table).frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return _write(Path(folder) / f"{name}.csv", text), to_markdown(table, Path(folder) / f"{name}.md")


def _write(path: Path, text: str) -> Path:
    with written(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
    return path
