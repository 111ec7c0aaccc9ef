"""A widget for run records: how runs learn (paper, section 4.3).

`record_dashboard` draws the learning curves of finished runs. Its static twin, `record_dashboard_figure`, takes the
widget's state as arguments.
"""

import html
from collections.abc import Sequence

import ipywidgets
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from ctxlstm.experiments import runs
from ctxlstm.figures import GREY, HEAD_COLOURS, PROTOCOL_NAMES
from ctxlstm.report import studies
from ctxlstm.widgets.panel import Panel, choice, drawing

MEASURES = {
    "test top-1": "test_top1",
    "training top-1": "train_top1",
    "validation top-1": "validation_top1",
    "test loss": "test_loss",
    "training loss": "train_loss",
    "validation loss": "validation_loss",
}


def _read(records: pd.DataFrame) -> dict[tuple[str, str], pd.DataFrame]:
    """{(head, protocol): the histories of its main runs, with a column seed; folds of a seed averaged}."""
    read = {}
    for key, rows in studies.usual(records).groupby(["model", "protocol"]):
        rows = studies.whole(rows)
        tables = [runs.history(row).assign(seed=row["seed"]) for _, row in rows.iterrows()]
        read[key] = pd.concat(tables).groupby(["seed", "epoch"], as_index=False).mean()
    return read


def _heads(read: dict[tuple[str, str], pd.DataFrame]) -> list[str]:
    """The heads with a run, in the order of the book's colours."""
    return [name for name in HEAD_COLOURS if any(model == name for model, _ in read)]


def record_dashboard(records: pd.DataFrame) -> Panel:
    """Choose heads, a split and a measure, and see how the runs learned.

    Args:
        records: the runs of one study, as from `runs.load`; their histories are read once, here. Shown are the main
            runs (`studies.usual`): the default reading of every head, at the usual batch size.

    Raises:
        ValueError: no records, or records of several studies.
    """
    read = _read(records)
    names = _heads(read)
    protocols = [name for name in PROTOCOL_NAMES if any(protocol == name for _, protocol in read)]
    first = [name for name in ("context_lstm", "cnn_lstm") if name in names] or names[:1]
    controls: dict[str, ipywidgets.Widget] = {
        "protocol": choice("Split", protocols[0], {PROTOCOL_NAMES[key]: key for key in protocols}),
        "measure": choice("Measure", "test_top1", MEASURES),
    }
    layout = ipywidgets.Layout(width="14em")
    for name in names:
        controls[name] = ipywidgets.Checkbox(name in first, description=name, indent=False, layout=layout)

    def draw(protocol: str, measure: str, **chosen: bool) -> Figure:
        return _draw_dashboard(read, [name for name in names if chosen[name]], protocol, measure)

    def numbers(protocol: str, measure: str, **chosen: bool) -> str:
        return _dashboard_numbers(read, [name for name in names if chosen[name]], protocol, measure)

    return Panel(draw, controls, numbers, columns=4)


def record_dashboard_figure(
    records: pd.DataFrame,
    models: Sequence[str] = ("context_lstm", "cnn_lstm"),
    protocol: str = "paper",
    measure: str = "test_top1",
) -> Figure:
    """One measure over epochs: the mean over seeds as a line, the lowest to the highest seed as a band.

    Args:
        records: the runs of one study (`runs.load`); models: names of heads; protocol: of the split; measure: a column
            of a run's history. Top-1 in per cent, losses in nats on a log scale.

    Raises:
        ValueError: unknown head, protocol or measure; no head chosen; no run of any of them.
    """
    return _draw_dashboard(_read(records), models, protocol, measure)


def _chosen(read: dict, models: Sequence[str], protocol: str, measure: str) -> dict[str, pd.DataFrame]:
    """{head: (epochs, seeds) of the measure}, for those that have a run under this protocol."""
    known = {
        "head": (models, _heads(read)),
        "protocol": ([protocol], list(PROTOCOL_NAMES)),
        "measure": ([measure], list(MEASURES.values())),
    }
    for what, (given, valid) in known.items():
        for name in given:
            if name not in valid:
                raise ValueError(f"unknown {what} {name!r}: choose one of {', '.join(valid)}")
    if not models:
        raise ValueError("No head is chosen: tick at least one.")
    curves = {}
    for name in models:
        if (name, protocol) in read:
            table = read[name, protocol].pivot(
                index="epoch", columns="seed", values=measure
            )  # (epochs, seeds)
            if table.notna().any(axis=None):
                curves[name] = table * (100 if measure.endswith("top1") else 1)
    if not curves:
        raise ValueError(
            f"{', '.join(models)}: no run has {measure} under the {PROTOCOL_NAMES[protocol]}; choose another head."
        )
    return curves


def _draw_dashboard(read: dict, models: Sequence[str], protocol: str, measure: str) -> Figure:
    curves = _chosen(read, models, protocol, measure)
    styles, handles = ("-", "--", "-.", ":"), []
    with drawing(9, 4.6) as figure:
        axes = figure.add_axes((0.085, 0.13, 0.565, 0.75))
        for number, (name, table) in enumerate(curves.items()):
            line = {"color": HEAD_COLOURS[name], "linestyle": styles[number % len(styles)]}
            band = {"color": HEAD_COLOURS[name], "alpha": 0.16, "linewidth": 0}
            low, mean, high = table.min(axis=1), table.mean(axis=1), table.max(axis=1)  # (epochs,)
            level = len(table) == 1  # a head that is not trained has one epoch, drawn as a level line
            if level:
                axes.axhspan(low.iloc[0], high.iloc[0], **band)
                axes.axhline(mean.iloc[0], **line)
            else:
                axes.fill_between(table.index, low, high, **band)
                axes.plot(table.index, mean, **line)
            seeds = table.shape[1]
            label = f"{name}\n{seeds} seed{'s' * (seeds > 1)}" + ", learns in one step" * level
            handles.append(Line2D([], [], label=label, **line))
        if any(table.shape[1] > 1 for table in curves.values()):
            handles.append(Patch(color=GREY, alpha=0.25, linewidth=0, label="lowest to highest seed"))
        word = next(text for text, column in MEASURES.items() if column == measure)
        axes.set(
            xlabel="epoch", ylabel=f"{word} (%)" if measure.endswith("top1") else f"{word} (nats, log scale)"
        )
        if measure.endswith("loss"):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        axes.set_title(f"{word[0].upper()}{word[1:]}, {PROTOCOL_NAMES[protocol]}")
        place = {"loc": "upper left", "bbox_to_anchor": (0.67, 0.89), "borderaxespad": 0}
        figure.legend(handles=handles, frameon=False, fontsize=9.5, labelspacing=0.7, **place)
    return figure


def _dashboard_numbers(read: dict, models: Sequence[str], protocol: str, measure: str) -> str:
    curves = _chosen(read, models, protocol, measure)
    unit = " %" if measure.endswith("top1") else " nats"
    digits = 1 if measure.endswith("top1") else 3
    lines = []
    for name, table in curves.items():
        last, seeds = table.iloc[-1], table.shape[1]
        span = (
            f" ({last.min():.{digits}f} to {last.max():.{digits}f} over {seeds} seeds)" if seeds > 1 else ""
        )
        lines.append(f"<b>{html.escape(name)}</b>: {last.mean():.{digits}f}{unit} after the last epoch{span}")
    if without := [name for name in models if name not in curves]:
        lines.append(f"No such numbers for {html.escape(', '.join(without))}.")
    return "<br>".join(lines)
