"""Figures of runs and clips in the book's style (paper Figs 3-6, and some that the paper does not show).

The functions are pure: data in, a `matplotlib.figure.Figure` out; nothing is shown, and matplotlib's settings
are left unchanged. A figure is closed in pyplot before it is returned, so a notebook shows it exactly once:
make the call the last line of a cell, or pass the figure to IPython's `display`. `save` writes it.

Colours mean the same thing everywhere: one per gate, per head and per split protocol, chosen so that people
with the common colour-vision deficiencies can tell them apart; markers and line styles differ, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ctxlstm import evaluation
from ctxlstm.support.files import written

# Eqs. 12-17: forget gate, input gate, candidate, output gate, cell state, hidden state.
GATE_COLOURS = dict(f="#D55E00", i="#009E73", g="#E69F00", o="#56B4E9", c="#222222", h="#0072B2")
HEAD_COLOURS = {
    "context_lstm": "#0072B2",
    "context_lstm_no_pool": "#222222",
    "context_lstm_bn_relu": "#00CED1",
    "cnn_lstm": "#D55E00",
    "mean_linear": "#E69F00",
    "nearest_neighbour": "#A9ADA5",
    "single_frame": "#CC79A7",
    "shuffled_lstm": "#009E73",
    "gru": "#C9A66B",
    "bilstm": "#782804",
    "wide_lstm": "#923FF2",
    "transformer": "#6699CC",
}
PROTOCOL_COLOURS = {"paper": "#D55E00", "grouped": "#0072B2", "official": "#222222"}
PROTOCOL_MARKERS = {"paper": "o", "grouped": "s", "official": "D"}
PROTOCOL_NAMES = {
    "paper": "random split of clips (the paper's)",
    "grouped": "split by source video",
    "official": "official split",
}
GREY = "#6E6E6E"
_LINE_STYLES = ("-", "--", ":", "-.")


def style() -> dict[Any, Any]:
    """matplotlib settings of the book, for `with plt.rc_context(style())` around a drawing of your own."""
    import seaborn as sns  # imports SciPy, which takes seconds and which the colours do not need

    return {
        **sns.axes_style("whitegrid"),
        **sns.plotting_context("notebook", font_scale=0.95),
        "font.family": "DejaVu Sans",  # comes with matplotlib: the same picture on every system
        "axes.edgecolor": "#BBBBBB",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.titleweight": "bold",
        "grid.color": "#E6E6E6",
        "grid.linewidth": 0.8,
        "lines.linewidth": 1.8,
        "figure.dpi": 100,
        "svg.hashsalt": "ctxlstm",  # makes the ids in an SVG the same every time
    }


@contextmanager
def new_figure(width: float, height: float, layout: str = "constrained") -> Iterator[Figure]:
    """A figure of the given size in inches, drawn in the book's style and closed in pyplot."""
    with plt.rc_context(style()):
        figure = plt.figure(figsize=(width, height), layout=layout)
        try:
            yield figure
            # Ticks take their settings when they are first drawn: do that while the style is active.
            figure.draw_without_rendering()
        finally:
            plt.close(figure)


def _settle(figure: Figure) -> None:
    """Lay out the figure once more and fix its positions, rounded: the solver's last digits are noise."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for part in figure.subfigs:
        part.bbox_relative.set_points(part.bbox_relative.get_points().round(6))
    for axes in figure.axes:
        axes.set_position(np.round(axes.get_position(original=True).bounds, 6))
        axes.set_in_layout(True)  # set_position takes the axes out of any later layout


def save(figure: Figure, path: str | Path, dpi: int = 150) -> Path:
    """Write a figure as .png or .svg and return the path; equal figures give equal bytes.

    Raises ValueError for another suffix. An existing file is replaced only by a complete one.
    """
    path = Path(path)
    metadata = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    if path.suffix not in metadata:
        raise ValueError(
            f"Figures are saved as {' or '.join(metadata)}, so {path.name} cannot be: rename it."
        )
    extra = {"pil_kwargs": {"optimize": True}} if path.suffix == ".png" else {}
    layout = figure.get_layout_engine()
    try:
        with written(path, shared=True) as aside, plt.rc_context(style()):
            _settle(figure)
            kind = {"format": path.suffix[1:], "metadata": metadata[path.suffix]}
            figure.savefig(aside, dpi=dpi, **kind, **extra)
    finally:
        figure.set_layout_engine(layout)
    return path


def _lines(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Line of each run: the colour of the head its name starts with, in a new style when a colour repeats."""
    taken: dict[str, int] = {}
    spare = [
        colour for head, colour in HEAD_COLOURS.items() if not any(name.startswith(head) for name in names)
    ]
    lines = {}
    for name in names:
        heads = [head for head in HEAD_COLOURS if name.startswith(head)]
        colour = HEAD_COLOURS[max(heads, key=len)] if heads else spare.pop(0)
        lines[name] = {"color": colour, "linestyle": _LINE_STYLES[taken.get(colour, 0) % len(_LINE_STYLES)]}
        taken[colour] = taken.get(colour, 0) + 1
    return lines


def curves(histories: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Training loss and test top-1 over the epochs, as in the paper's Figs 5 and 6, for up to 8 runs.

    `histories` maps a run's name to its history. The best epoch on the test set is marked with an open
    triangle, the one chosen by validation with a filled circle. A head that is not trained by epochs (its
    training loss is NaN) is a horizontal line.
    """
    if not 1 <= len(histories) <= 8:
        raise ValueError(
            f"Curves can be told apart for 1 to 8 runs, not {len(histories)}: choose some of them."
        )
    lines = _lines(list(histories))
    triangle = {"marker": "^", "markersize": 11, "markerfacecolor": "white", "linestyle": "none"}
    circle = {"marker": "o", "markersize": 7, "markeredgecolor": "white", "linestyle": "none"}
    with new_figure(11, 4.6 + 0.25 * (len(histories) // 4)) as figure:
        loss, top1 = figure.subplots(1, 2)
        for name, history in histories.items():
            epoch, test = history["epoch"].to_numpy(), 100 * history["test_top1"].to_numpy()  # (epochs,)
            if history["train_loss"].isna().all():
                top1.axhline(test[0], linewidth=1.1, **lines[name])
                continue
            # A single epoch makes no line: give it a dot.
            width, dot = (1.8 if len(history) <= 100 else 1.1), ("." if len(history) == 1 else "")
            loss.plot(epoch, history["train_loss"], marker=dot, linewidth=width, **lines[name])
            top1.plot(epoch, test, linewidth=width, **lines[name])
            mark = {"color": lines[name]["color"], "zorder": 5}
            best = np.nanargmax(test)
            top1.plot(epoch[best], test[best], **triangle, **mark)
            if (chosen := evaluation.chosen_epoch(history)) is not None:
                top1.plot(chosen, test[epoch == chosen], **circle, **mark)
        loss.set(yscale="log", xlabel="epoch", ylabel="training loss (nats, log scale)")
        loss.set_title("Training loss")
        loss.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
        loss.yaxis.set_major_formatter("{x:g}")
        loss.yaxis.set_minor_locator(NullLocator())
        for axes in (loss, top1):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        top1.set(xlabel="epoch", ylabel="test top-1 (%)", title="Top-1 on the test set")
        handles = [Line2D([], [], label=name, **lines[name]) for name in histories]
        handles.append(Line2D([], [], label="best on test", color=GREY, **triangle))
        handles.append(Line2D([], [], label="chosen by validation", color=GREY, **circle))
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)), frameon=False)
        if title:
            figure.suptitle(title, x=0.01, ha="left", weight="bold")
    return figure


def confusion(matrix: pd.DataFrame, title: str = "") -> Figure:
    """Heat map of `evaluation.confusion`: colour is the share of the true class's clips, text the count.

    With more than 20 classes the text is left out. A class without test clips has a grey row.
    """
    import seaborn as sns

    k, total = len(matrix), matrix.sum(axis=1)
    share = 100 * matrix.div(total.where(total > 0), axis=0)  # (K, K), NaN rows for absent classes
    small = k <= 20
    side = 2.6 + 0.45 * k if small else 2 + 0.125 * k
    with new_figure(side + 1.6, side, "compressed") as figure:
        axes = figure.subplots()
        sns.heatmap(
            share,
            ax=axes,
            cmap="Blues",
            norm=PowerNorm(0.5, 0, 100),  # the root keeps single confusions among many clips visible
            square=True,
            annot=matrix.astype(str).where(matrix > 0, "") if small else None,
            fmt="",
            annot_kws={"size": 10},
            linewidths=0.5 if small else 0,
            linecolor="#E6E6E6",
            xticklabels=True,
            yticklabels=True,
            cbar_kws={"label": "clips of the true class (%)", "shrink": 0.6, "ticks": [0, 5, 20, 50, 100]},
        )
        axes.set_facecolor("#F0F0F0")
        axes.grid(visible=False)
        axes.set(xlabel="predicted class", ylabel="true class", title=title)
        axes.tick_params(labelsize=10 if small else 6.5, length=0)
        axes.tick_params(axis="x", rotation=90)
        axes.tick_params(axis="y", rotation=0)
        for row in np.flatnonzero(total == 0) if small else ():
            axes.text(k / 2, row + 0.5, "no test clip", color=GREY, ha="center", va="center", size=10)
    return figure


def draw_heads(axes: Axes, table: pd.DataFrame) -> None:
    """Draw the dots, links, intervals and numbers of `heads_by_protocol`, for figures with further panels."""
    if missing := [column for column in ("model", "protocol", "top1") if column not in table.columns]:
        raise ValueError(
            f"The table of heads lacks the columns {missing}: it needs model, protocol and top1."
        )
    if unknown := sorted(set(table["protocol"]) - set(PROTOCOL_COLOURS)):
        raise ValueError(f"Unknown protocols {unknown}: the valid ones are {', '.join(PROTOCOL_COLOURS)}.")
    if table.duplicated(["model", "protocol"]).any():
        raise ValueError("A head has several rows for one protocol: average over seeds and folds first.")
    if table.empty:
        raise ValueError("The table of heads is empty: there is no run to draw.")
    table = table.assign(
        **{end: table.get(end, table["top1"]).fillna(table["top1"]) for end in ("low", "high")}
    )
    table[["top1", "low", "high"]] *= 100
    protocols = [name for name in PROTOCOL_COLOURS if name in set(table["protocol"])]
    wide = table.pivot(index="model", columns="protocol", values="top1")
    heads = list(wide.sort_values(protocols[-1], na_position="first").index)
    # A little off the middle, so that the intervals of two protocols do not cover each other.
    shift = {name: 0.14 * ((len(protocols) - 1) / 2 - i) for i, name in enumerate(protocols)}
    table["y"] = table["model"].map(heads.index) + table["protocol"].map(shift)
    left, right = wide.min(axis=1)[heads], wide.max(axis=1)[heads]
    axes.hlines(range(len(heads)), left, right, color="#E2E2E2", linewidth=12, zorder=1)
    for protocol in protocols:
        rows, colour = table[table["protocol"] == protocol], PROTOCOL_COLOURS[protocol]
        axes.hlines(rows["y"], rows["low"], rows["high"], color=colour, linewidth=1.5, zorder=2)
        dots = {"marker": PROTOCOL_MARKERS[protocol], "markersize": 10, "markeredgecolor": "white"}
        label = PROTOCOL_NAMES[protocol]
        axes.plot(rows["top1"], rows["y"], color=colour, linestyle="none", label=label, **dots)
    for _, own in table.sort_values("top1").groupby("model"):
        ends = [(own.iloc[0], own["low"].min(), -9, "right"), (own.iloc[-1], own["high"].max(), 9, "left")]
        for dot, x, gap, side in ends[-len(own) :]:
            text = {"ha": side, "va": "center", "size": "small", "color": PROTOCOL_COLOURS[dot["protocol"]]}
            axes.annotate(f"{dot['top1']:.1f}", (x, dot["y"]), (gap, 0), textcoords="offset points", **text)
    axes.set_yticks(range(len(heads)), heads)
    axes.margins(x=0.12)
    axes.set(ylim=(-0.6, len(heads) - 0.4), xlabel="test top-1 (%)")
    axes.grid(visible=False, axis="y")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2)


def heads_by_protocol(table: pd.DataFrame) -> Figure:
    """The leak picture: top-1 of each head under each split protocol, linked, best head at the top.

    `table` has columns model, protocol (paper, grouped, official), top1 and, where known, low and high (an
    interval), all fractions; one row per head and protocol. Raises ValueError otherwise.
    """
    with new_figure(9, 1.5 + 0.44 * len(set(table.get("model", ())))) as figure:
        draw_heads(figure.subplots(), table)
    return figure


def _frames(images: np.ndarray | torch.Tensor) -> np.ndarray:
    """A clip as uint8 (T, H, W, 3), from the same, from floats 0 to 1, or from a tensor (T, 3, H, W)."""
    if isinstance(images, torch.Tensor):
        images = (images.movedim(1, -1) if images.ndim == 4 else images).detach().cpu().numpy()
    images = np.asarray(images)  # (T, H, W, 3)
    if images.ndim != 4 or images.shape[-1] != 3 or len(images) == 0:
        raise ValueError(
            f"A clip to show must be (T, H, W, 3), or a tensor (T, 3, H, W), not {images.shape}."
        )
    if images.dtype == np.uint8:
        return images
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError("Frames to show must be uint8, or floats from 0 to 1: undo the normalisation first.")
    return (255 * images).round().astype(np.uint8)


def film_strips(clips: Sequence[np.ndarray | torch.Tensor], frames: int) -> list[np.ndarray]:
    """Each clip as one picture, uint8 (H, W', 3): evenly spaced frames side by side, short rows padded."""
    clips = [_frames(clip) for clip in clips]
    places = min(frames, max(len(clip) for clip in clips))
    strips = []
    for clip in clips:
        chosen = clip[np.linspace(0, len(clip) - 1, min(places, len(clip))).round().astype(int)]
        gap = max(1, clip.shape[2] // 40)
        fill = ((0, places - len(chosen)), (0, 0), (0, gap), (0, 0))
        padded = np.pad(chosen, fill, constant_values=255)  # (places, H, W + gap, 3)
        strips.append(np.concatenate(list(padded), axis=1)[:, :-gap])
    return strips


def _draw_strips(figure: Figure | SubFigure, strips: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """One axes per strip, its title to the left, a time arrow under the last."""
    rows = np.atleast_1d(figure.subplots(len(strips), 1))
    for axes, strip, title in zip(rows, strips, titles, strict=True):
        axes.imshow(strip)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(title, rotation=0, ha="right", va="center", labelpad=8, weight="bold")
    arrow = {"arrowstyle": "->", "color": GREY, "linewidth": 1.2}
    ends = {"xycoords": "axes fraction", "textcoords": "axes fraction"}
    rows[-1].annotate("", (1, -0.1), (0, -0.1), arrowprops=arrow, **ends)
    rows[-1].set_xlabel("time", color=GREY, labelpad=12)


def _strips_height(strips: Sequence[np.ndarray], titles: Sequence[str], width: float) -> float:
    """Height in inches of the strips in a figure of this width, with titles, gaps and the time arrow."""
    width -= 0.35 + 0.12 * max(map(len, titles))
    return sum(width * strip.shape[0] / strip.shape[1] + 0.1 for strip in strips) + 0.4


def film_strip(
    images: Sequence[np.ndarray | torch.Tensor], titles: Sequence[str] | None = None, *, frames: int = 8
) -> Figure:
    """One row of `frames` evenly spaced frames for each clip, with its title to the left.

    A clip is uint8 (or float 0 to 1) (T, H, W, 3), or a tensor (T, 3, H, W). Raises ValueError otherwise.
    """
    titles = [""] * len(images) if titles is None else list(titles)
    if len(images) == 0 or len(titles) != len(images):
        raise ValueError(
            f"{len(images)} clips, {len(titles)} titles: give at least one clip, and a title for each."
        )
    strips = film_strips(images, frames)
    with new_figure(11, _strips_height(strips, titles, 11), "compressed") as figure:
        _draw_strips(figure, strips, titles)
    return figure


def reliability(table: pd.DataFrame, title: str = "") -> Figure:
    """Reliability diagram of a predictions table: top-1 against predicted probability, and how many clips."""
    error, bins = evaluation.calibration(table)
    middle, width = (bins["low"] + bins["high"]) / 2, 0.92 * (bins["high"] - bins["low"])
    with new_figure(5.6, 6.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        upper.bar(middle, bins["top1"], width, color="#BBD7EA", label="top-1 of a bin")
        upper.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1.2, label="perfectly calibrated")
        upper.plot(bins["probability"], bins["top1"], "o", color="#0072B2", label="at its mean probability")
        upper.set(xlim=(0, 1), ylim=(0, 1.03), ylabel="share of clips that are right")
        upper.set_title(f"{title}\n" * bool(title) + f"expected calibration error {error:.3f}")
        lower.bar(middle, bins["clips"], width, color=GREY)
        lower.set(xlabel="probability of the predicted class", ylabel="clips")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def siblings(features: torch.Tensor, clips: pd.DataFrame) -> Figure:
    """How alike clips are before any training: cosine similarity of each clip to its nearest neighbours.

    For every clip the most similar sibling (same class and group), the most similar clip of its class from another
    group, and the most similar clip of another class, as cumulative shares of clips.

    Args:
        features: one vector per clip, (N, D).
        clips: their table, columns label and group.
    """
    import seaborn as sns

    x = torch.nn.functional.normalize(features.float(), dim=1)  # (N, D)
    label, group = (
        torch.as_tensor(pd.factorize(clips[name])[0]) for name in ("label", "group")
    )  # (N,), (N,)
    same_class = label[:, None] == label  # (N, N)
    same_group = same_class & (group[:, None] == group)  # (N, N)
    itself = torch.eye(len(x), dtype=torch.bool)  # (N, N)
    pairs = {
        "a sibling (same source video)": same_group & ~itself,
        "same class, another video": same_class & ~same_group,
        "another class": ~same_class,
    }
    cosine = x @ x.T  # (N, N)
    nearest = {
        name: cosine.masked_fill(~mask, -2).amax(1).numpy() for name, mask in pairs.items()
    }  # (N,) each
    with new_figure(8, 4.4) as figure:
        axes = figure.subplots()
        for (name, values), colour in zip(nearest.items(), ("#D55E00", "#0072B2", GREY), strict=True):
            if len(values := values[values > -2]):  # a clip may have no sibling
                sns.ecdfplot(x=values, stat="percent", ax=axes, color=colour, label=name)
        axes.set(xlabel="cosine similarity to the nearest such clip", ylabel="clips (%)")
        axes.legend(loc="upper left", frameon=False)
    return figure
