"""A widget for the clip table: what a split does (paper, section 3.1).

`split_explorer` shows for every source video whether its clips are in training, in test, or in both: the
leak. Its static twin, `split_explorer_figure`, takes the widget's state as arguments.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import Affine2D

from ctxlstm import ucf101
from ctxlstm.figures import PROTOCOL_NAMES
from ctxlstm.widgets.panel import Panel, choice, drawing, slider

# A source video has no clips at all (a group that this class lacks), or clips in training, in test, or in
# both.
PARTS = {"train only": "#C8CDD2", "test only": "#0072B2", "both: a leak": "#D55E00"}
TRAIN, TEST, LEAK = PARTS.values()
FOLDS = {"1: groups 1-7 test": 1, "2: groups 8-14 test": 2, "3: groups 15-21 test": 3}


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
    """Choose a protocol, its fold or its seed, and see which clips train, which test and which leak.

    Args:
        clips: clip table, as from `ucf101.index` or `ucf101.full_index` (columns name, label, group).
    """
    controls = {
        "protocol": choice("Split", "paper", {name: key for key, name in PROTOCOL_NAMES.items()}),
        "seed": slider("Seed", 0, 0, 20, 1),
        "fold": choice("Official fold", 1, FOLDS, disabled=True),
    }

    @lru_cache(maxsize=1)  # the picture and the numbers under it share one cut
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
        # in fractions of the figure, not in inches, which tight cropping would shift
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

    One path, made once: 101 texts would take longer than the rest of the picture.
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
    """One cell per source video; in a small table, with the number of its test clips and of all its clips."""
    numbered = len(cut.groups) <= 12 and cut.clips.size <= 150  # room for the numbers
    kind = np.where(cut.tested == 0, 1, np.where(cut.both, 3, 2)) * (
        cut.clips > 0
    )  # (K, G), 0: no such group
    colours = np.array([to_rgb(colour) for colour in ("white", *PARTS.values())])  # (4, 3)
    axes.imshow(colours[kind], aspect="auto", interpolation="nearest")
    lines = {"color": "white", "linewidth": 1.2 if small else 0.5}
    axes.hlines(np.arange(1, len(kind)) - 0.5, -0.5, len(cut.groups) - 0.5, **lines)
    axes.vlines(np.arange(1, len(cut.groups)) - 0.5, -0.5, len(kind) - 0.5, **lines)
    if numbered:
        # One marker for all cells with the same numbers: a text for every cell would take longer than the
        # rest.
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
        f"{cut.leak.siblings_mean:.1f} on average. Of {sources:,} source videos, {int(cut.both.sum()):,} have clips in "
        "both parts."
    )
