"""Widgets over the clip table and over run records: what a split does, and how runs learn (paper, 3.1 and 4.3).

`split_explorer` shows for every source video whether its clips train, test, or do both: the leak. `record_dashboard`
draws the learning curves of finished runs. Each has a static twin, `*_figure`, with the widget's state as arguments.
"""

import html
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from matplotlib.transforms import Affine2D

from ctxlstm import runs, studies, ucf101
from ctxlstm.figures import GREY, HEAD_COLOURS, PROTOCOL_NAMES
from ctxlstm.widgets.panel import Panel, choice, drawing, slider

# A source video has no clips at all (a group that this class lacks), or clips that train, that test, or both.
PARTS = {"train only": "#C8CDD2", "test only": "#0072B2", "both: a leak": "#D55E00"}
TRAIN, TEST, LEAK = PARTS.values()
FOLDS = {"1: groups 1-7 test": 1, "2: groups 8-14 test": 2, "3: groups 15-21 test": 3}

MEASURES = {
    "test top-1": "test_top1",
    "training top-1": "train_top1",
    "validation top-1": "validation_top1",
    "test loss": "test_loss",
    "training loss": "train_loss",
    "validation loss": "validation_loss",
}


class _Cut(NamedTuple):
    """A split, counted: (K, G) clips and test clips of each class and group, and test clips with a sibling (K,)."""

    split: ucf101.Split
    leak: ucf101.Leakage
    classes: list[str]
    groups: list[int]
    clips: np.ndarray
    tested: np.ndarray
    leaked: np.ndarray

    @property
    def both(self) -> np.ndarray:
        """Source videos with clips in both parts, (K, G)."""
        return (self.tested > 0) & (self.tested < self.clips)


def _cut(clips: pd.DataFrame, protocol: str, seed: int, fold: int) -> _Cut:
    split = ucf101.split(clips, protocol, fold=fold, seed=seed)
    label, classes = pd.factorize(clips["label"], sort=True)  # (N,)
    group, groups = pd.factorize(clips["group"], sort=True)  # (N,)
    shape, cell = (len(classes), len(groups)), label * len(groups) + group  # (N,)
    counts, tested = (
        np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)  # (K, G)
        for cells in (cell, cell[split.test])
    )
    leak = ucf101.leakage(clips, split)
    leaked = np.bincount(label[split.test][leak.siblings > 0], minlength=shape[0])  # (K,)
    return _Cut(split, leak, list(classes), list(groups), counts, tested, leaked)


def split_explorer(clips: pd.DataFrame) -> Panel:
    """Choose a protocol, its fold or its seed, and see who trains, who tests and what leaks.

    Args:
        clips: clip table, as from `ucf101.index` or `ucf101.full_index` (columns name, label, group).
    """
    controls = {
        "protocol": choice("Split", "paper", {name: key for key, name in PROTOCOL_NAMES.items()}),
        "seed": slider("Seed", 0, 0, 20, 1),
        "fold": choice("Official fold", 1, FOLDS, disabled=True),
    }

    @lru_cache(maxsize=1)  # the picture and the numbers under it are of one cut
    def cut(protocol: str, seed: int, fold: int) -> _Cut:
        return _cut(clips, protocol, seed, fold)

    def draw(**state: Any) -> Figure:
        return _draw_split(cut(**state))

    def numbers(**state: Any) -> str:
        return _split_numbers(cut(**state))

    def enable(change: dict) -> None:
        controls["fold"].disabled = change["new"] != "official"
        controls["seed"].disabled = change["new"] == "official"

    controls["protocol"].observe(enable, names="value")
    return Panel(draw, controls, numbers, columns=3)


def split_explorer_figure(
    clips: pd.DataFrame, protocol: str = "paper", seed: int = 0, fold: int = 1
) -> Figure:
    """Sizes of both parts, every source video's part, and the test clips of every class.

    Args:
        clips: clip table; protocol, seed, fold: as in `ucf101.split` (fold counts for "official" only, seed for the
            others).

    Raises:
        ValueError: as `ucf101.split`.
    """
    return _draw_split(_cut(clips, protocol, seed, fold))


def _draw_split(cut: _Cut) -> Figure:
    names, split = cut.classes, cut.split
    small = len(names) <= 25
    rows = len(names) * (0.3 if small else 0.085)
    width, height = 9, rows + 2.0  # inches, as all lengths here
    left = 0.15 + (0.084 if small else 0.062) * max(map(len, names))
    wide = 0.68 * (width - left)
    with drawing(width, height) as figure:

        def axes(x: float, y: float, across: float, up: float) -> Axes:
            return figure.add_axes((x / width, y / height, across / width, up / height))

        bar = axes(left, height - 0.75, width - left - 0.1, 0.42)
        _draw_sizes(bar, cut)
        which = f"fold {split.fold}" if split.protocol == "official" else f"seed {split.seed}"
        bar.set_title(f"{PROTOCOL_NAMES[split.protocol]}, {which}: {cut.clips.sum():,} clips")
        _draw_sources(axes(left, 0.6, wide, rows), cut, small)
        path = _names(tuple(names), 10 if small else 6, rows)
        # in shares of the figure and not in inches, which a tightly cut picture moves
        place = Affine2D().translate(left - 0.06, 0.6).scale(1 / width, 1 / height) + figure.transFigure
        figure.add_artist(PathPatch(path, transform=place, color=".15", linewidth=0))
        _draw_tests(axes(left + wide + 0.25, 0.6, width - left - wide - 0.35, rows), cut)
        handles = [Patch(color=colour, label=name) for name, colour in PARTS.items()]
        place = {
            "loc": "upper left",
            "bbox_to_anchor": (left / width, 1 - 0.9 / height),
            "borderpad": 0,
            "alignment": "left",
        }
        title = "Clips of a source video:"
        figure.legend(handles=handles, title=title, ncols=3, frameon=False, borderaxespad=0, **place)
    return figure


@lru_cache(maxsize=8)
def _names(names: tuple[str, ...], size: float, height: float) -> Path:
    """Names in rows from top to bottom, right-aligned at x = 0, in inches; `size` in points, `height` of all rows.

    One path, made once: 101 texts would take longer than all the rest of the picture.
    """
    paths = []
    for row, name in enumerate(names):
        text = TextPath((0, 0), name, size=size)
        move = (-text.get_extents().x1, -0.36 * size)  # points; half a capital's height
        text = Affine2D().translate(*move).scale(1 / 72).transform_path(text)
        middle = height * (1 - (row + 0.5) / len(names))
        paths.append(Affine2D().translate(0, middle).transform_path(text))
    return Path.make_compound_path(*paths)


def _draw_sizes(axes: Axes, cut: _Cut) -> None:
    """One bar: training clips, test clips without and with a sibling in training."""
    train, test, leaked = len(cut.split.train), len(cut.split.test), int(cut.leaked.sum())
    parts = [
        (train, TRAIN, "train", "black"),
        (test - leaked, TEST, "test, no sibling in train", "white"),
        (leaked, LEAK, "test, sibling in train", "black"),
    ]
    start = 0
    for size, colour, name, ink in parts:
        axes.barh(0, size, left=start, height=1, color=colour)
        if size > 0.16 * (train + test):
            text = f"{name}\n{size:,}"
            axes.text(start + size / 2, 0, text, ha="center", va="center", color=ink, size=9, linespacing=1.1)
        start += size
    axes.set(xlim=(0, train + test), ylim=(-0.5, 0.5), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _draw_sources(axes: Axes, cut: _Cut, small: bool) -> None:
    """A cell a source video; in a small table with the test clips among its clips."""
    numbered = len(cut.groups) <= 12 and cut.clips.size <= 150  # there is room for them
    kind = np.where(cut.tested == 0, 1, np.where(cut.both, 3, 2)) * (
        cut.clips > 0
    )  # (K, G), 0: no such group
    colours = np.array([to_rgb(colour) for colour in ("white", *PARTS.values())])  # (4, 3)
    axes.imshow(colours[kind], aspect="auto", interpolation="nearest")
    lines = {"color": "white", "linewidth": 1.2 if small else 0.5}
    axes.hlines(np.arange(1, len(kind)) - 0.5, -0.5, len(cut.groups) - 0.5, **lines)
    axes.vlines(np.arange(1, len(cut.groups)) - 0.5, -0.5, len(kind) - 0.5, **lines)
    if numbered:
        # One marker for all cells with the same numbers: a text for every cell would take longer than all the rest.
        for test, clips in sorted(set(zip(cut.tested.flat, cut.clips.flat, strict=True))):
            if clips:
                row, column = np.nonzero((cut.tested == test) & (cut.clips == clips))
                mark = {
                    "marker": f"${test}/{clips}$",
                    "markersize": 13,
                    "linestyle": "none",
                    "markeredgewidth": 0,
                }
                axes.plot(column, row, color="white" if test == clips else "black", **mark)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_yticks([])
    places = [i for i, group in enumerate(cut.groups) if len(cut.groups) <= 12 or group % 5 == 0 or i == 0]
    axes.set_xticks(places, [cut.groups[i] for i in places])
    axes.tick_params(length=0, pad=2)
    note = ", test clips / clips" if numbered else ""
    axes.set_xlabel(f"source video (group) of the class{note}")


def _draw_tests(axes: Axes, cut: _Cut) -> None:
    """Test clips of every class, those with a sibling in training first."""
    edges = np.arange(len(cut.classes) + 1) - 0.5
    tested = cut.tested.sum(axis=1)  # (K,)
    axes.stairs(tested, edges, orientation="horizontal", fill=True, color=TEST)
    axes.stairs(cut.leaked, edges, orientation="horizontal", fill=True, color=LEAK)
    axes.hlines(edges, 0, max(1, tested.max()), color="white", linewidth=1 if len(edges) <= 26 else 0.4)
    axes.set(xlim=(0, 1.04 * max(1, tested.max())), ylim=(edges[-1], edges[0]), yticks=[])
    axes.set_xlabel("test clips of the class")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.spines["left"].set_visible(False)


def _split_numbers(cut: _Cut) -> str:
    train, test = len(cut.split.train), len(cut.split.test)
    tested, sources = cut.tested.sum(axis=1), int((cut.clips > 0).sum())
    return (
        f"{train:,} clips train and {test:,} test ({test / (train + test):.1%}); a class has {tested.min()} to "
        f"{tested.max()} test clips.<br><b>{cut.leak.share:.1%}</b> of the test clips have a sibling in training, "
        f"{cut.leak.siblings_mean:.1f} on average. Of {sources:,} source videos {int(cut.both.sum()):,} have clips in "
        "both parts."
    )


# --- run records --------------------------------------------------------------------------------------------------


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
        records: the runs of one study, as from `runs.load`; their histories are read once, here. Shown are its main
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
            level = len(table) == 1  # a head that is not trained has one epoch: a level line
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
