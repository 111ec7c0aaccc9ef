"""The cascade at work on a clip, and the states that its blocks hand over: paper section 3.4, Fig. 2."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.path import Path
from torch import Tensor

from ctxlstm.figures import GATE_COLOURS, GREY
from ctxlstm.models.context_lstm import HANDOVERS, ContextLSTM
from ctxlstm.models.layers import check_clips, check_name
from ctxlstm.widgets.panel import Panel, drawing, toggles

HANDOVER_NAMES = {
    "on: h and c": "hc",
    "h only": "h",
    "c only": "c",
    "directions swapped": "swap",
    "off": None,
}
DIRECTIONS = ("forward", "backward")


class Block(NamedTuple):
    """Outputs and states of a block's last layer; index 0 is the forward direction, 1 the backward one."""

    output: Tensor  # (2, T, H)
    first: Tensor  # (2, 2, H)  direction, h or c: the state it started from
    last: Tensor  # (2, 2, H)  direction, h or c: the state it ended in


class Flow(NamedTuple):
    """A clip's way through the cascade."""

    blocks: list[Block]
    probabilities: Tensor  # (K,)


def flow(model: ContextLSTM, x: Tensor, handover: str | None = "hc") -> Flow:
    """Run one clip x (T, D) through the blocks with this hand-over, whatever the model's own is.

    The model runs in evaluation mode and is unchanged afterwards. Raises ValueError if it is not a
    ContextLSTM, x is not a single clip, or the hand-over is unknown.
    """
    if not isinstance(model, ContextLSTM):
        raise ValueError(f"model must be a ContextLSTM, the cascade of blocks; got {type(model).__name__}")
    if x.ndim != 2:
        raise ValueError(f"x must be one clip (T, D) with D = {model.input_size}; got {tuple(x.shape)}")
    check_clips(x[None], model.input_size, model.min_frames)
    check_name("handover", handover, HANDOVERS)
    blocks, own = [], model.handover
    with _evaluation(model), torch.no_grad():
        y, start = model.embedding(x[None].to(next(model.parameters()))), None  # (1, T, E)
        for block, stage in zip(model.blocks, model.stages, strict=True):
            y, (h, c) = block(y, start)  # (1, T, 2H), (2L, 1, H), (2L, 1, H)
            first = (torch.zeros_like(h), torch.zeros_like(c)) if start is None else start
            blocks.append(
                Block(
                    torch.stack(y[0].chunk(2, dim=1)),  # (2, T, H)
                    torch.stack(
                        [state[-2:, 0] for state in first], dim=1
                    ),  # (2, 2, H)  the last layer's rows
                    torch.stack([h[-2:, 0], c[-2:, 0]], dim=1),  # (2, 2, H)
                )
            )
            y, start = stage(y), HANDOVERS[handover](h, c)  # (1, T, W), (2L, 1, H) twice
        try:
            model.handover = handover
            probabilities = model(x[None].to(next(model.parameters())))[0].softmax(dim=0)  # (K,)
        finally:
            model.handover = own
    return Flow(blocks, probabilities)


@contextmanager
def _evaluation(model: torch.nn.Module) -> Iterator[None]:
    """Evaluation mode for a `with` block; afterwards every part is back in the mode it had."""
    training = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for part, mode in training:
            part.training = mode


def state_flow(model: ContextLSTM, x: Tensor) -> Panel:
    """The blocks of a cascade at work on one clip x (T, D), with the hand-over on, halved, swapped or off.

    Raises ValueError if model is not a ContextLSTM or x not a single clip.
    """
    flows = cache(partial(flow, model, x))  # each is computed once: moving the control only draws
    flows("hc")  # a wrong model or clip fails here, not in a line under the picture
    controls = {"handover": toggles("hand-over", "hc", HANDOVER_NAMES)}
    return Panel(
        lambda handover: _draw_flow(flows(handover), flows(_other(handover)), handover),
        controls,
        lambda handover: _flow_numbers(flows(handover), flows(_other(handover)), handover),
        columns=1,
    )


def state_flow_figure(model: ContextLSTM, x: Tensor, handover: str | None = "hc") -> Figure:
    """Every block's outputs over time, and the states in which it starts and ends, for one clip x (T, D).

    The two rows of heat maps are the directions: forward runs from left to right, backward from right to
    left. The narrow strips are h and c of the last layer where the direction starts and where it ends; the
    arrows lead from the end of a block to the start of the next. The plot below shows how much the outputs
    differ from those without hand-over (or with it, if it is off).

    Args:
        model: the cascade; its own `handover` is ignored.
        x: features of one clip, (T, D).
        handover: "hc", "h", "c", "swap", "detach" or None, as in `ContextLSTM`.

    Raises ValueError if model is not a ContextLSTM, x is not a single clip, or the hand-over is unknown.
    """
    other = _other(handover)
    return _draw_flow(flow(model, x, handover), flow(model, x, other), handover)


def _other(handover: str | None) -> str | None:
    """What a hand-over is compared with: none; and none is compared with the full one."""
    return "hc" if handover is None else None


class _Place(NamedTuple):
    """Where a block is in the picture, in frames: its heat map, and the left edges of the strips beside it."""

    left: float
    begin: float
    end: float
    right: float
    strip: float  # width of a column, h or c

    def column(self, side: str, state: int) -> float:
        """The middle of the column of h (0) or c (1) on that side."""
        return getattr(self, side) + (state + 0.5) * self.strip


def _places(blocks: list[Block]) -> list[_Place]:
    """Blocks from left to right; all edges are multiples of half a frame."""
    strip, left, places = max(1, round(blocks[0].output.shape[1] / 12)), 0.0, []
    for block in blocks:
        begin = left + 2.5 * strip
        end = begin + block.output.shape[1]
        places.append(_Place(left, begin, end, end + strip / 2, strip))
        left = end + 5 * strip
    return places


def _mosaic(blocks: list[Block], places: list[_Place], gap: int, scale: float) -> np.ndarray:
    """Heat maps and strips as one image (2H + gap, 2 columns per frame), far faster than one image each.

    `scale` multiplies c. The gaps are NaN, which is not drawn.
    """
    hidden = blocks[0].output.shape[2]
    last = places[-1]
    image = np.full((2 * hidden + gap, round(2 * (last.right + 2 * last.strip))), np.nan, np.float32)
    for block, place in zip(blocks, places, strict=True):
        for row in range(2):
            start, stop = (
                state * torch.tensor([[1], [scale]]) for state in (block.first[row], block.last[row])
            )
            strips = (start, stop) if row == 0 else (stop, start)  # backward starts on the right
            parts = (
                (place.begin, block.output[row], 1),  # (T, H)
                (place.left, strips[0], place.strip),  # (2, H)
                (place.right, strips[1], place.strip),  # (2, H)
            )
            for at, part, width in parts:
                columns = part.T.repeat_interleave(2 * width, dim=1)  # (H, half frames)
                top, first = row * (hidden + gap), round(2 * at)
                image[top : top + hidden, first : first + columns.shape[1]] = columns
    return image


def _draw_flow(now: Flow, other: Flow, handover: str | None) -> Figure:
    """All blocks in one axes, the differences in a second one below it."""
    hidden, places = now.blocks[0].output.shape[2], _places(now.blocks)
    gap = max(2, round(0.16 * hidden))  # rows between the directions
    # One scale for outputs and h, one for c; the same whether the hand-over is on or off.
    both = (*now.blocks, *other.blocks)
    limit = max(block.output.abs().max().item() for block in both)
    limit_c = max(block.last[:, 1].abs().max().item() for block in both)
    width = places[-1].right + 2 * places[-1].strip
    with drawing(9.8, 5.4) as figure:
        axes = figure.add_axes((0.1, 0.375, 0.89, 0.515))
        below = figure.add_axes((0.1, 0.125, 0.89, 0.13), sharex=axes)
        image = _mosaic(now.blocks, places, gap, limit / max(limit_c, 1e-9))
        look = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "aspect": "auto", "interpolation": "nearest"}
        axes.imshow(image, extent=(0, width, len(image), 0), **look)
        above = {"y": -0.02 * hidden, "ha": "center", "va": "bottom", "weight": "bold"}
        for number, place in enumerate(places, 1):
            axes.text((place.begin + place.end) / 2, s=f"block {number}", **above)
            for side in ("left", "right"):
                for state, name in enumerate("hc"):
                    axes.text(place.column(side, state), s=name, size=9, color=GATE_COLOURS[name], **above)
        edges = [
            (getattr(place, side), row * (hidden + gap), place.strip)
            for place in places
            for side in ("left", "right")
            for row in range(2)
        ]
        axes.add_collection(
            PatchCollection(
                [Rectangle((x, y), 2 * strip, hidden) for x, y, strip in edges],
                facecolor="none",
                edgecolor="#777777",
                linewidth=1,
                clip_on=False,
                zorder=3,
            ),
            autolim=False,
        )  # a thin line around each strip, so that zeros (white) stay visible
        _draw_handover(axes, places, handover, hidden, gap)
        axes.set(xlim=(-0.3, width + 0.3), ylim=(2 * hidden + gap, 0))
        axes.set_yticks((hidden / 2, 1.5 * hidden + gap), ("forward →\nH units", "← backward\nH units"))
        axes.tick_params(length=0, labelsize=10, labelbottom=False)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        _draw_difference(below, places, now, other)
        words = "with hand-over" if handover is None else "without hand-over"
        below.set_title(f"How far the outputs are from those {words} (mean over units)", size=10.5)
        figure.text(0.01, 0.965, _title(handover), weight="bold", size=12, va="center")
        key = f"Red: positive, blue: negative. Outputs and h: ±{limit:.2f}, c: ±{limit_c:.2f}. "
        key += "Strips: h and c of each block's last layer, where a direction starts and where it ends."
        figure.text(0.01, 0.02, key, size=8.5, color=GREY)
    return figure


def _title(handover: str | None) -> str:
    return {
        "hc": "Hand-over on: each block starts from the final h and c of the block before",
        "h": "Hand-over of h only: every c starts from zero (white)",
        "c": "Hand-over of c only: every h starts from zero (white)",
        "swap": "Hand-over with the directions swapped: forward ends, backward starts",
        "detach": "Hand-over on, without gradient: the same numbers",
        None: "Hand-over off: every block starts from zeros (white)",
    }[handover]


def _draw_handover(axes: Axes, places: list[_Place], handover: str | None, hidden: int, gap: int) -> None:
    """Arrows from where a direction ends in one block to where one starts in the next."""
    if handover is None:
        return
    state = {"h": 0, "c": 1}.get(handover, 0.5)  # the column that is handed over, or the middle of both
    bottom, middle = 2 * hidden + gap, hidden + gap / 2
    for number, (one, following) in enumerate(pairwise(places)):
        # Forward ends on the right and starts on the left; backward ends on the left and starts on the right.
        right, left = one.column("right", state), one.column("left", state)
        next_right, next_left = following.column("right", state), following.column("left", state)
        if handover == "swap":
            _arrow(axes, (right, hidden), middle - 0.2 * gap, (next_right, hidden + gap))
            _arrow(axes, (left, hidden + gap), middle + 0.2 * gap, (next_left, hidden))
        else:
            from_edge, to_edge = (one.right + 2 * one.strip, 0.5 * hidden), (following.left, 0.5 * hidden)
            _arrow(axes, from_edge, 0.5 * hidden, to_edge)
            _arrow(axes, (left, bottom), bottom + gap * (0.45 + 0.45 * (number % 2)), (next_right, bottom))


def _arrow(axes: Axes, start: tuple[float, float], level: float, end: tuple[float, float]) -> None:
    """An arrow that leaves vertically, runs along `level` and arrives vertically."""
    corners = [start, (start[0], level), (end[0], level), end]
    path = Path(list(dict.fromkeys(corners)))
    look = {"arrowstyle": "-|>", "mutation_scale": 11, "color": "#333333", "linewidth": 1.5}
    axes.add_patch(FancyArrowPatch(path=path, clip_on=False, zorder=5, **look))


def _draw_difference(axes: Axes, places: list[_Place], now: Flow, other: Flow) -> None:
    """Mean absolute difference of the outputs of two runs, each direction over time."""
    for place, one, two in zip(places, now.blocks, other.blocks, strict=True):
        mean = (one.output - two.output).abs().mean(dim=2).numpy()  # (2, T)
        time = place.begin + 0.5 + np.arange(mean.shape[1])  # (T,)
        for row, look in enumerate(
            ({"marker": "o", "color": "#444444"}, {"marker": "s", "color": "#999999"})
        ):
            line, label = ("-", "--")[row], DIRECTIONS[row] if place is places[0] else None
            axes.plot(time, mean[row], line, label=label, markersize=4, linewidth=1.4, clip_on=False, **look)
    middles = [(place.begin + place.end) / 2 for place in places]
    axes.set_xticks(middles, [f"frames 0 to {block.output.shape[1] - 1}" for block in now.blocks])
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("|difference|", size=10)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 1.42), ncols=2, frameon=False, fontsize=9)


def _flow_numbers(now: Flow, other: Flow, handover: str | None) -> str:
    """Whether each block starts as the one before ended, and what the classifier makes of it."""
    lines = []
    for number, (one, following) in enumerate(pairwise(now.blocks), 1):
        gaps = (following.first - one.last).abs().amax(dim=2)  # (2, 2)  direction, h or c
        for row, direction in enumerate(DIRECTIONS):
            same = ", ".join(
                f"{name} {'<b>the same</b>' if gap == 0 else f'differs by up to {gap:.3f}'}"
                for name, gap in zip("hc", gaps[row].tolist(), strict=True)
            )
            lines.append(f"block {number} end → block {number + 1} start, {direction}: {same}")
    best = int(now.probabilities.argmax())
    words = "with" if handover is None else "without"
    lines.append(
        f"most probable class: number {best}, probability <b>{now.probabilities[best]:.3f}</b> "
        f"({words} hand-over that class has {other.probabilities[best]:.3f})"
    )
    return "<br>".join(lines)
