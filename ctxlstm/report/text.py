"""Tables as people read them: per cent, sensible digits, an interval beside its value; as CSV and as Markdown."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd

# Columns that hold fractions, shown in per cent, and differences of such, shown in points with their sign.
SHARES = ("top1", "last", "best", "chosen", "paper_best", "siblings", "train_top1", "test_top1")
POINTS = ("difference", "drop")
HOURS = ("paper_hours", "hours_cached", "hours_online")


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table as text: fractions in per cent, `x (low–high)` in one column, an empty cell where nothing is known.

    Columns that are empty throughout, and the names' underscores, are left out.
    """
    if table.empty:
        return pd.DataFrame({"": ["nothing"]})
    table = table[[c for c in table.columns if table[c].notna().any() and (table[c].astype(str) != "").any()]]
    shown, columns = {}, list(table.columns)
    for column in columns:
        if column.endswith(("low", "high")):
            continue
        number = pd.api.types.is_numeric_dtype(table[column])  # table1 holds text in its own form
        kind = column if number and column in (*SHARES, *POINTS) else ""
        low, high = (_companion(columns, column, end) for end in ("low", "high"))
        unit = " (%)" if kind in SHARES else " (points)" if kind in POINTS else ""
        cells = []
        for i in range(len(table)):
            text = _text(column, table[column].iloc[i])
            if text and low and pd.notna(table[low].iloc[i]):
                text += f" ({_text(kind, table[low].iloc[i])} to {_text(kind, table[high].iloc[i])})"
            cells.append(text)
        shown[column.replace("_", " ") + unit] = cells
    result = pd.DataFrame(shown)
    result.attrs = table.attrs
    return result


def _companion(columns: list[str], column: str, end: str) -> str:
    """The column with that end of the interval: `x_low`, or a bare `low` that follows x; empty if there is none."""
    if f"{column}_{end}" in columns:
        return f"{column}_{end}"
    after = columns[columns.index(column) + 1 :][:2]
    return end if end in after and after[0] == "low" else ""


def _text(column: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None or pd.isna(value):
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if column in SHARES:
        return f"{100 * value:.1f}"
    if column in POINTS:
        return f"{100 * value:+.1f}"
    if column == "p" or column.endswith("_p") or column.startswith("p_"):
        return f"{value:.3f}" if value >= 0.001 else "<0.001"
    if column in HOURS and value >= 1:
        return f"{value:.1f}"
    if float(value).is_integer():
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    return f"{value:.3g}"


def to_markdown(table: pd.DataFrame, path: str | Path) -> Path:
    """Write `readable(table)` as a Markdown table, its legend below it, and return the path."""
    shown = readable(table)
    numeric = [i for i, c in enumerate(shown.columns) if _numbers(shown[c])]
    rule = ["--:" if i in numeric else "---" for i in range(len(shown.columns))]
    rows = [list(shown.columns), rule, *shown.to_numpy().tolist()]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    legend = [text for line in table.attrs.get("legend", []) for text in ("", line)]
    return _write(Path(path), "\n".join([*lines, *legend]) + "\n")


def _numbers(column: pd.Series) -> bool:
    return all(re.fullmatch(r"[-+<]?[\d.,]+†?( \(.*\))?|", cell) for cell in column) and any(column)


def write(table: pd.DataFrame, folder: str | Path, name: str) -> tuple[Path, Path]:
    """Write `folder/name.csv` (numbers as they are) and `folder/name.md` (as people read them); return both paths.

    An existing file is replaced only by a complete one.
    """
    folder = Path(folder)
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return _write(folder / f"{name}.csv", text), to_markdown(table, folder / f"{name}.md")


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        aside.write_text(text, encoding="utf-8", newline="\n")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path
