"""The stage between two blocks, on readable numbers: ReLU, BatchNorm, MaxPool; paper sections 3.4 and 4.4."""

from functools import cache

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from torch import Tensor
from torch.nn import functional as F

from ctxlstm.figures import GREY
from ctxlstm.models.layers import check_name
from ctxlstm.models.stage import POOLS, Stage
from ctxlstm.widgets.panel import Panel, drawing, minus, toggles

SIZES = (2, 4, 6)  # B clips, T frames, 2H features


def stage_steps(
    order: str = "relu-bn", pool: str | None = "feature", batch_norm: str = "feature"
) -> list[tuple[str, Tensor]]:
    """The explorer's tensor on its way through a stage: [(name, tensor (B, T, 2H) or smaller)], the input first.

    BatchNorm is in training mode: it uses the mean and variance of these two clips. Raises ValueError for an
    unknown name.
    """
    check_name("order", order, ("relu-bn", "bn-relu"))
    check_name("pool", pool, POOLS)
    check_name("batch_norm", batch_norm, ("feature", "time"))
    y = _tensor()  # (B, T, 2H)
    stage = Stage(SIZES[2], pool, order, batch_norm)
    steps = [("outputs of a block", y)]
    with torch.no_grad():
        for name in order.split("-"):
            y = F.relu(y) if name == "relu" else stage.normalise(y)  # (B, T, 2H)
            steps.append(("ReLU" if name == "relu" else "BatchNorm", y))
    return [*steps, ("no pooling" if pool is None else "MaxPool", POOLS[pool](y))]


def _tensor() -> Tensor:
    """The fixed block outputs, (B, T, 2H): one decimal, from -0.9 to 0.9, with a feature that is never positive."""
    y = torch.randn(SIZES, generator=torch.Generator().manual_seed(7)).mul(0.6).clamp(-0.9, 0.9)  # (B, T, 2H)
    y[:, :, 3] = -y[:, :, 3].abs() - 0.1
    return y.clamp(-0.9, 0.9).mul(10).round() / 10


def stage_explorer() -> Panel:
    """ReLU, BatchNorm and MaxPool between two blocks: choose their order and axes, read every number."""
    controls = {
        "order": toggles("order", "relu-bn", {"ReLU, then BN": "relu-bn", "BN, then ReLU": "bn-relu"}),
        "batch_norm": toggles("BatchNorm of", "feature", {"each feature": "feature", "each frame": "time"}),
        "pool": toggles(
            "MaxPool over", "feature", {"two features": "feature", "two frames": "time", "nothing": None}
        ),
    }
    return Panel(stage_explorer_figure, controls, _stage_numbers, columns=1)


def stage_explorer_figure(
    order: str = "relu-bn", pool: str | None = "feature", batch_norm: str = "feature"
) -> Figure:
    """A tensor (B=2, T=4, 2H=6) before and after ReLU, BatchNorm and MaxPool, every number shown.

    In the tensor that BatchNorm reads, a dashed outline marks numbers that share one mean and variance; in
    the tensor that MaxPool reads, a solid one marks the first pair, of which it keeps the larger.

    Args:
        order: "relu-bn" or "bn-relu".
        pool: "feature", "time" or None.
        batch_norm: "feature" or "time".

    Raises ValueError for an unknown name.
    """
    steps = stage_steps(order, pool, batch_norm)
    clips, frames, _ = SIZES
    gap, space = 1, 2  # between the clips, between the steps
    # One image for all steps, NaN (drawn as nothing) between them.
    image = np.full((clips * frames + gap, sum(y.shape[2] + space for _, y in steps) - space), np.nan)
    with drawing(9.8, 4.1) as figure:
        axes = figure.add_axes((0.105, 0.03, 0.885, 0.82))
        look = {"cmap": "RdBu_r", "vmin": -2.5, "vmax": 2.5, "interpolation": "nearest", "aspect": "auto"}
        left, cells = 0, []
        for place, (name, y) in enumerate(steps):
            _, tall, wide = y.shape
            for clip in range(clips):
                top = clip * (frames + gap)
                image[top : top + tall, left : left + wide] = y[clip]
                cells += [
                    (left + column + 0.5, top + row + 0.5, value)
                    for row, values in enumerate(y[clip].tolist())
                    for column, value in enumerate(values)
                ]
            shape = ("(B, T, 2H) = " if place == 0 else "") + str(tuple(y.shape))
            axes.text(left, -0.75, name, weight="bold", va="bottom", size=11)
            axes.text(left, -0.62, shape, va="top", size=8.5, color=GREY)
            following = steps[place + 1][0] if place + 1 < len(steps) else ""
            if following == "BatchNorm":
                _mark_group(axes, left, batch_norm, frames + gap)
            if following == "MaxPool":
                size = (2, 1) if pool == "feature" else (1, 2)
                _outline(axes, left, 0, *size, "-")
            if following:
                middle = (clips * frames + gap) / 2
                arrow = {"arrowstyle": "-|>", "color": GREY, "linewidth": 1.4}
                axes.annotate("", (left + wide + 1.7, middle), (left + wide + 0.3, middle), arrowprops=arrow)
            left += wide + space
        axes.imshow(image, extent=(0, image.shape[1], len(image), 0), **look)
        axes.set(xlim=(-0.1, left - space + 0.1), ylim=(clips * frames + gap + 0.1, -0.1))
        rows = [(clip * (frames + gap) + frame + 0.5) for clip in range(clips) for frame in range(frames)]
        names = [
            f"clip {clip}, frame {frame}" if frame == 0 else f"frame {frame}"
            for clip in range(clips)
            for frame in range(frames)
        ]
        axes.set_yticks(rows, names)
        axes.set_xticks([])
        axes.tick_params(length=0, labelsize=8.5)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        _cells(axes, cells)
    return figure


def _cells(axes: Axes, cells: list[tuple[float, float, float]]) -> None:
    """Numbers (x, y, value) in the middle of their cells, white on dark colours.

    Drawn as outlines, one patch per colour, and without `add_patch`, which computes their extent: fast.
    """
    (left, right), (low, high), box = axes.get_xlim(), axes.get_ylim(), axes.get_position()
    width, height = 72 * axes.figure.get_size_inches()  # points
    scale = np.array(
        [(right - left) / (box.width * width), (high - low) / (box.height * height)]
    )  # data units per point
    for dark, colour in ((False, "#222222"), (True, "white")):
        paths = [
            _glyphs(minus(f"{value:.1f}".replace("-0.0", "0.0")), 7.5).transformed(
                Affine2D().scale(*scale).translate(x, y)
            )
            for x, y, value in cells
            if (abs(value) > 1.6) == dark
        ]
        if paths:
            path = Path.make_compound_path(*paths)
            axes.add_artist(PathPatch(path, facecolor=colour, linewidth=0, clip_on=False))


@cache
def _glyphs(text: str, size: float) -> Path:
    """The outline of a short text in points, its middle at the origin."""
    path = TextPath((0, 0), text, size=size, prop=FontProperties(family="DejaVu Sans"))
    middle = path.get_extents().get_points().mean(axis=0)  # (2,)
    return path.transformed(Affine2D().translate(*-middle))


def _outline(axes: Axes, x: float, y: float, width: float, height: float, line: str) -> None:
    look = {"fill": False, "edgecolor": "#111111", "linewidth": 2, "linestyle": line, "clip_on": False}
    axes.add_patch(Rectangle((x, y), width, height, **look))


def _mark_group(axes: Axes, left: float, batch_norm: str, pitch: float) -> None:
    """Outline the numbers behind one mean and variance: a feature in all frames, or all features of a frame."""
    _, frames, width = SIZES
    for clip in range(SIZES[0]):
        if batch_norm == "feature":
            _outline(axes, left, clip * pitch, 1, frames, "--")
        else:
            _outline(axes, left, clip * pitch, width, 1, "--")


def _stage_numbers(order: str, pool: str | None, batch_norm: str) -> str:
    """What is lost and what the next block sees."""
    steps = dict(stage_steps(order, pool, batch_norm))
    before, after = steps["outputs of a block"], list(steps.values())[-1]
    clips, frames, width = SIZES
    group = (
        f"each feature, from {clips}·{frames} = {clips * frames} numbers"
        if batch_norm == "feature"
        else f"each frame, from {clips}·{width} = {clips * width} numbers"
    )
    pooled = {
        "feature": f"the larger of features 2j and 2j + 1: {width} features become {width // 2}",
        "time": f"the larger of frames 2j and 2j + 1: {frames} frames become {frames // 2}",
        None: "nothing is pooled",
    }[pool]
    odd = "; features 2 and 3 pair the two directions, which is why the model rejects an odd H"
    negative = int((after < 0).sum())
    return (
        f"ReLU: {int((before < 0).sum())} of {before.numel()} outputs of the block are negative. "
        f"BatchNorm (dashed): one mean and one variance for {group}. "
        f"MaxPool (solid): {pooled}{odd if pool == 'feature' else ''}.<br>"
        f"The next block reads {after.numel()} numbers: <b>{negative} negative</b>, "
        f"<b>{int((after == 0).sum())} exactly zero</b>, mean {after.mean():.2f}, "
        f"standard deviation {after.std(correction=0):.2f}."
    ).replace("mean -", "mean −")
