"""A table of the report: numbers, the unit of each column, and the sentences that a reader needs beside them.

The units of the report's columns are declared here, once: a name has the same unit in every table. Accuracies
are fractions in a frame and per cent on the page (paper section 4.3).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd


class Interval(NamedTuple):
    """A mean, its 95 % interval (NaN where there is none), and in words what the interval rests on."""

    mean: float
    low: float = float("nan")
    high: float = float("nan")
    kind: str = ""


def ends(column: str) -> tuple[str, str]:
    """The columns with the ends of a column's interval (`figures.heads_by_protocol` takes top1 with low and high)."""
    return ("low", "high") if column == "top1" else (f"{column}_low", f"{column}_high")


@dataclass(frozen=True)
class Unit:
    """How the numbers of a column are shown: what follows its name, and the text of one number."""

    suffix: str
    text: Callable[[float], str]


def _plain(value: float) -> str:
    if float(value).is_integer():
        return f"{int(value):,}" if abs(value) >= 10_000 else str(int(value))
    return f"{value:.3g}"


PLAIN = Unit("", _plain)
SHARE = Unit(" (%)", lambda value: f"{100 * value:.1f}")
POINTS = Unit(" (points)", lambda value: f"{100 * value:+.1f}")
P_VALUE = Unit("", lambda value: f"{value:.3f}" if value >= 0.001 else "<0.001")
HOURS = Unit("", lambda value: f"{value:.1f}" if value >= 1 else _plain(value))

UNITS = {
    **dict.fromkeys(("top1", "late", "last", "best", "chosen", "paper_best", "siblings", "train_top1", "test_top1",
                     "by_sibling", "same_clips_top1"), SHARE),
    **dict.fromkeys(("difference", "drop", "detectable"), POINTS),
    **dict.fromkeys(("p", "p_holm", "mcnemar_p", "flip_p"), P_VALUE),
    **dict.fromkeys(("paper_hours", "hours_cached", "hours_online"), HOURS),
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A frame, the units of its columns (none: plain numbers) and its legend, a sentence or two per line."""

    frame: pd.DataFrame
    units: Mapping[str, Unit] = field(default_factory=dict)
    legend: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: pd.DataFrame | Iterable[Mapping], *legend: str, columns: Iterable[str] = ()) -> "Table":
        """A table with the report's units, from a frame or from rows.

        An `Interval` in a row becomes three columns, the mean and its `ends`. `columns` names those to keep, in
        this order, each followed by its ends (default: all). Empty lines of the legend are left out.
        """
        frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame([_flat(row) for row in rows])
        if columns and len(frame):
            frame = frame[[c for name in columns for c in (name, *ends(name)) if c == name or c in frame]]
        elif columns:
            frame = pd.DataFrame(columns=list(columns))
        return cls(frame, {name: UNITS[name] for name in frame if name in UNITS}, tuple(filter(None, legend)))


def _flat(row: Mapping) -> dict:
    cells = {}
    for name, value in row.items():
        if isinstance(value, Interval):
            cells |= dict(zip((name, *ends(name)), value[:3], strict=True))
        else:
            cells[name] = value
    return cells
