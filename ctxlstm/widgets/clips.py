"""Widgets for clips: frames, a network's predictions over time, and the clips behind a mistake (paper, 4.3).

`frame_browser` pages through the frames of a clip, with running probabilities below if a `predict` is given.
`confusion_browser` opens the clips behind a cell of the confusion matrix. Each has a static twin, `*_figure`.
"""

import html
import textwrap
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ctxlstm import evaluation
from ctxlstm.classroom import FRAMES
from ctxlstm.figures import GREY
from ctxlstm.widgets.film import MARK, Predict, Seen, draw_strip, likeliest, row_of, see
from ctxlstm.widgets.panel import Panel, choice, drawing, slider

NAMED = 20  # most classes with which the confusion matrix shows their names
SHOWN = 4  # clips per cell
CELL_FRAMES = 8  # frames per clip

# --- frames and probabilities over time ---------------------------------------------------------------------------


def frame_browser(clips: pd.DataFrame, predict: Predict | None = None) -> Panel:
    """Choose a clip and move through its frames; with `predict`, see what the network says at every frame.

    A clip is read and classified when it is first chosen; the last 32 are kept.

    Args:
        clips: clip table with paths, as from `ucf101.index`; predict: see `widgets.film`.
    """
    if clips.empty:
        raise ValueError("The clip table is empty: there is no clip to show")
    read = lru_cache(maxsize=32)(lambda name: _see(clips, name, predict))
    controls = {
        "name": choice("Clip", clips["name"].iloc[0], clips["name"]),
        "t": slider("Frame", 0, 0, _frames(predict) - 1, 1),
    }

    def draw(name: str, t: int) -> Figure:
        return _draw_frames(read(name), name, row_of(clips, name)["label"], t, predict)

    def numbers(name: str, t: int) -> str:
        return _frame_numbers(read(name), row_of(clips, name)["label"], t, predict)

    return Panel(draw, controls, numbers)


def frame_browser_figure(
    clips: pd.DataFrame, name: str, t: int = 0, predict: Predict | None = None
) -> Figure:
    """One clip: frame t large, the strip of its frames, and the running probabilities of the likeliest classes.

    Args:
        clips: clip table with paths; name: of a clip in it; t: frame of the strip, from 0; predict: see
            `widgets.film`.

    Raises:
        ValueError: unknown name or no such t; VideoError (a ValueError): the clip cannot be read.
    """
    if not 0 <= t < _frames(predict):
        raise ValueError(f"t is {t}: the strip has the frames 0 to {_frames(predict) - 1}")
    return _draw_frames(_see(clips, name, predict), name, row_of(clips, name)["label"], t, predict)


def _frames(predict: Predict | None) -> int:
    return getattr(predict, "frames", FRAMES)


def _see(clips: pd.DataFrame, name: str, predict: Predict | None) -> Seen:
    return see(row_of(clips, name)["path"], _frames(predict), predict)


def _draw_frames(clip: Seen, name: str, label: str, t: int, predict: Predict | None) -> Figure:
    left, width, high = 1.75, 10.0, 1.95  # inches, as all lengths here
    across = width - left - 0.15
    strip = min(1.6, across / len(clip.index) * clip.large.shape[1] / clip.large.shape[2])
    rows = [] if predict is None else likeliest(clip.p, predict.classes, label)
    table = 0.32 * len(rows)
    below = 0.4 + high + 0.25 + strip + 0.4  # where the table of probabilities begins
    height = below + (table + 0.35 if rows else 0)
    with drawing(width, height) as figure:

        def axes(top: float, up: float) -> Axes:
            return figure.add_axes((left / width, 1 - (top + up) / height, across / width, up / height))

        _draw_large(axes(0.4, high), clip, t)
        figure.axes[0].set_title(f"{name}: frame {clip.index[t]} of {clip.decoded}, between its neighbours")
        draw_strip(axes(0.4 + high + 0.25, strip), clip, t)
        figure.text(
            (left - 0.1) / width, 1 - (below - 0.37) / height, "frame number", ha="right", size=10, va="top"
        )
        if rows:
            _draw_probabilities(axes(below, table), clip, rows, label, t, predict)
    return figure


def _draw_large(axes: Axes, clip: Seen, t: int) -> None:
    """Frame t between the one before and the one after it; white where there is none."""
    count, (high, wide) = len(clip.large), clip.large.shape[1:3]
    white = np.full((high, wide, 3), 255, np.uint8)
    pictures = [clip.large[i] if 0 <= i < count else white for i in (t - 1, t, t + 1)]
    gap = white[:, : max(1, wide // 40)]
    axes.imshow(
        np.concatenate([pictures[0], gap, pictures[1], gap, pictures[2]], axis=1)
    )  # (H, 3 W + gaps, 3)
    corner = (wide + gap.shape[1] - 0.5, -0.5)
    axes.add_patch(
        Rectangle(corner, wide, high, fill=False, edgecolor=MARK, linewidth=3, clip_on=False, zorder=4)
    )
    axes.set_anchor("W")
    axes.set_axis_off()


def _draw_probabilities(
    axes: Axes, clip: Seen, rows: list[int], label: str, t: int, predict: Predict
) -> None:
    """One row per class, one column per frame: the probability (%) after the clip up to that frame."""
    p = 100 * clip.p[:, rows].T  # (rows, T)
    axes.imshow(p, aspect="auto", cmap="Blues", vmin=0, vmax=110, interpolation="nearest")
    for (row, column), value in np.ndenumerate(p):
        if value >= 0.5:
            ink = "white" if value > 60 else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=ink, size=9.5)
    names = [predict.classes[k] for k in rows]
    axes.set_yticks(
        range(len(rows)), [f"{name} (true)" if name == label else name for name in names], size=10
    )
    for text, name in zip(axes.get_yticklabels(), names, strict=True):
        text.set_weight("bold" if name == label else "normal")
    axes.set(xticks=[], xlabel="probability after the frames so far (%)")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.hlines(np.arange(1, len(rows)) - 0.5, -0.5, p.shape[1] - 0.5, color="white", linewidth=1.5)
    axes.add_patch(
        Rectangle(
            (t - 0.5, -0.5), 1, len(rows), fill=False, edgecolor=MARK, linewidth=3, clip_on=False, zorder=4
        )
    )


def _frame_numbers(clip: Seen, label: str, t: int, predict: Predict | None) -> str:
    text = f"Frame {t} (of 0 to {len(clip.index) - 1}), spread evenly over the clip's {clip.decoded} frames."
    if predict is not None:
        best = int(clip.p[t].argmax())
        verdict = "right" if predict.classes[best] == label else f"the clip shows {html.escape(label)}"
        text += (
            f" After the frames so far the network says <b>{html.escape(predict.classes[best])}</b>, "
            f"{clip.p[t, best]:.0%}: {verdict}."
        )
        if t < len(clip.index) - 1:
            text += " It was trained on whole clips; this is only part of one."
    if clip.problem:
        text += f"<br>{html.escape(clip.problem)}."
    return text


# --- the clips behind a cell of the confusion matrix --------------------------------------------------------------


def confusion_browser(predictions: pd.DataFrame, clips: pd.DataFrame) -> Panel:
    """Choose a true and a predicted class, and see the clips behind that cell.

    Args:
        predictions: of one run, one row per test clip (`History.predictions`, `runs.predictions`).
        clips: clip table with their paths.

    Raises:
        ValueError: tables that do not belong together.
    """
    matrix = _matrix(predictions, clips)
    true, predicted = _cell(matrix, None, None)
    read = lru_cache(maxsize=256)(lambda path: see(path, CELL_FRAMES))
    names = list(matrix.index)
    controls = {
        "true": choice("True class", true, names),
        "predicted": choice("Predicted as", predicted, names),
    }

    def draw(true: str, predicted: str) -> Figure:
        return _draw_cell(predictions, clips, matrix, true, predicted, read)

    def numbers(true: str, predicted: str) -> str:
        return _cell_numbers(matrix, true, predicted)

    return Panel(draw, controls, numbers)


def confusion_browser_figure(
    predictions: pd.DataFrame, clips: pd.DataFrame, true: str | None = None, predicted: str | None = None
) -> Figure:
    """The confusion matrix with one cell framed, and film strips of its four most confident clips.

    Args:
        predictions, clips: as in `confusion_browser`; true, predicted: classes; by default the most common
            mistake (of the class, if one is given), or the correct clips if there is none.

    Raises:
        ValueError: an unknown class, or tables that do not belong together.
    """
    matrix = _matrix(predictions, clips)
    cell = _cell(matrix, true, predicted)
    return _draw_cell(predictions, clips, matrix, *cell, lambda path: see(path, CELL_FRAMES))


def _matrix(predictions: pd.DataFrame, clips: pd.DataFrame) -> pd.DataFrame:
    """The confusion matrix over all classes of the clip table; rejects predictions of other clips."""
    if missing := sorted(set(predictions["name"]) - set(clips["name"])):
        raise ValueError(
            f"{len(missing)} of the {len(predictions)} predicted clips are not in the clip table (the first is "
            f"{missing[0]}): give the table that the run was tested on"
        )
    return evaluation.confusion(predictions, sorted(set(clips["label"]) | set(predictions["predicted"])))


def _cell(matrix: pd.DataFrame, true: str | None, predicted: str | None) -> tuple[str, str]:
    for name in (true, predicted):
        if name is not None and name not in matrix.index:
            raise ValueError(f"unknown class {name!r}: choose one of {', '.join(matrix.index)}")
    counts = matrix.to_numpy() * (1 + len(matrix) * (1 - np.eye(len(matrix))))  # (K, K), mistakes first
    counts[np.diag_indices(len(matrix))] /= 1 + matrix.to_numpy().sum()
    rows = [matrix.index.get_loc(true)] if true is not None else range(len(matrix))
    columns = [matrix.index.get_loc(predicted)] if predicted is not None else range(len(matrix))
    best = max(((row, column) for row in rows for column in columns), key=lambda cell: counts[cell])
    return matrix.index[best[0]], matrix.index[best[1]]


def _draw_cell(
    predictions: pd.DataFrame,
    clips: pd.DataFrame,
    matrix: pd.DataFrame,
    true: str,
    predicted: str,
    read: Callable[[str], Seen],
) -> Figure:
    inside = predictions[(predictions["label"] == true) & (predictions["predicted"] == predicted)]
    inside = inside.sort_values("probability", ascending=False, kind="stable")
    width, height = 10, 4.9  # inches, as all lengths here
    with drawing(width, height) as figure:
        left = 0.35 + 0.078 * (max(map(len, matrix.index)) if len(matrix) <= NAMED else 4)
        side = 4.6 - left
        below = left - 0.05
        _draw_matrix(
            figure.add_axes((left / width, below / height, side / width, side / height)),
            matrix,
            true,
            predicted,
        )
        verdict = "right" if true == predicted else f"taken for {predicted}"
        figure.text(
            5.0 / width,
            1 - 0.22 / height,
            f"{true}, {verdict}: {_count(len(inside))}",
            weight="bold",
            va="top",
        )
        if inside.empty:
            note = f"This cell is empty:\nno test clip of {true} was {'right' if true == predicted else verdict}."
            figure.text(7.4 / width, 0.5, note, ha="center", va="center", color=GREY)
        for place, (_, row) in enumerate(inside.head(SHOWN).iterrows()):
            top = 0.85 + 1.0 * place
            axes = figure.add_axes((5.0 / width, 1 - (top + 0.62) / height, 4.85 / width, 0.62 / height))
            axes.set_title(f"{row['name']}, p = {row['probability']:.2f}", weight="normal", size=10, pad=3)
            try:
                draw_strip(axes, read(row_of(clips, row["name"])["path"]))
            except ValueError as error:  # one clip of the four may be damaged or gone
                axes.set_axis_off()
                axes.text(0, 0.5, textwrap.fill(str(error), 70), va="center", size=8.5, color=GREY)
            axes.set_xticks([])
    return figure


def _draw_matrix(axes: Axes, matrix: pd.DataFrame, true: str, predicted: str) -> None:
    """Colour is the share of the true class's clips, text their number; the chosen cell is framed."""
    counts, k = matrix.to_numpy(), len(matrix)  # (K, K)
    share = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    axes.imshow(share, cmap="Blues", norm=PowerNorm(0.5, 0, 110), aspect="equal", interpolation="nearest")
    if k <= NAMED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            ink = "white" if share[row, column] > 40 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=ink, size=9.5)
        axes.set_xticks(range(k), matrix.columns, rotation=90, size=9.5)
        axes.set_yticks(range(k), matrix.index, size=9.5)
    else:
        axes.set(xticks=[], yticks=[])
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.xaxis.set_label_position("top")
    axes.tick_params(length=0, pad=2)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    lines = {"color": "#DDDDDD", "linewidth": 0.8 if k <= NAMED else 0.2}
    axes.hlines(np.arange(k + 1) - 0.5, -0.5, k - 0.5, **lines)
    axes.vlines(np.arange(k + 1) - 0.5, -0.5, k - 0.5, **lines)
    row, column = matrix.index.get_loc(true), matrix.index.get_loc(predicted)
    box = {"fill": False, "edgecolor": MARK, "linewidth": 3, "clip_on": False, "zorder": 4}
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, **box))


def _count(clips: int) -> str:
    return "no test clip" if clips == 0 else "1 test clip" if clips == 1 else f"{clips} test clips"


def _cell_numbers(matrix: pd.DataFrame, true: str, predicted: str) -> str:
    row, count = matrix.loc[true], int(matrix.loc[true, predicted])
    name, other = html.escape(true), html.escape(predicted)
    if row.sum() == 0:
        return f"The cell is empty: no clip of {name} is in the test set."
    what = "recognised" if true == predicted else f"taken for {other}"
    text = f"{count} of the {int(row.sum())} test clips of <b>{name}</b> are {what}."
    if count == 0:
        text = f"The cell is empty: none of the {int(row.sum())} test clips of <b>{name}</b> is {what}."
    if true != predicted:
        text += f" The other way round, {other} taken for {name}: {int(matrix.loc[predicted, true])}."
    return text + (f" The {SHOWN} most confident are shown." if count > SHOWN else "")
