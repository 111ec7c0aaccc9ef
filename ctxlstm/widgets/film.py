"""What the clip widgets share: a clip read once, and its film strip.

A `predict` is a callable such as `widgets.Predictor`: frames (T, 3, H, W) uint8 -> probabilities (T, K),
where row t is for the clip up to frame t; its `classes` are the K names, its `frames` the T it takes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ctxlstm import video

Predict = Callable[[torch.Tensor], np.ndarray]

MARK = "#D55E00"  # colour of the box around what is chosen
TOP = 5  # classes shown over time
LARGE, SMALL = 320, 96  # pixels, the longer side of the current frame and of a frame in a strip


@dataclass(frozen=True, eq=False)
class Seen:
    """What a widget keeps of a clip: small pictures, not the frames.

    large: uint8 (T, H, W, 3); strip: the T frames side by side, uint8 (H', W', 3); index (T,): their numbers
    in the clip; decoded: how many frames the clip has; problem: what is damaged, or None; p: probabilities
    (T, K), or None.
    """

    large: np.ndarray
    strip: np.ndarray
    index: np.ndarray
    decoded: int
    problem: str | None
    p: np.ndarray | None


def see(path: str | PathLike, frames: int, predict: Predict | None = None) -> Seen:
    """Read `frames` evenly spaced frames of a clip, and let `predict` classify them.

    Raises:
        VideoError: as `video.read_frames`. ValueError: `predict` returns anything but (T, K) probabilities.
    """
    clip = video.read_frames(path, frames, "uniform")
    p = None
    if predict is not None:
        p = np.asarray(predict(clip.images))  # (T, K)
        if p.shape != (frames, len(predict.classes)):
            raise ValueError(
                f"predict returned probabilities of shape {p.shape} for {frames} frames and {len(predict.classes)} classes: "
                "it must return (frames, classes)"
            )
    large, small = (_smaller(clip.images, side) for side in (LARGE, SMALL))  # (T, h, w, 3)
    gap = np.full((*small.shape[:2], 2, 3), 255, np.uint8)
    strip = np.concatenate([*np.concatenate([gap, small, gap], axis=2)], axis=1)  # (h, T (w + 4), 3)
    return Seen(large, strip, clip.index, clip.decoded, clip.problem, p)


def _smaller(images: torch.Tensor, side: int) -> np.ndarray:
    """Images (T, 3, H, W) with the longer side reduced to at most `side` pixels, as (T, h, w, 3)."""
    # torchvision takes seconds to import: widgets that show no clip do not wait for it.
    from torchvision.transforms.v2.functional import resize

    factor = min(1, side / max(images.shape[2:]))
    size = [max(1, round(factor * length)) for length in images.shape[2:]]
    return resize(images, size, antialias=True).permute(0, 2, 3, 1).numpy()


def row_of(clips: pd.DataFrame, name: str) -> pd.Series:
    """The row of a clip that has a file, by its name."""
    if missing := [column for column in ("name", "label", "path") if column not in clips.columns]:
        raise ValueError(
            f"The clip table has no column {', '.join(missing)}: make it with ucf101.index(root)"
        )
    rows = clips[clips["name"] == name]
    if rows.empty:
        raise ValueError(f"There is no clip {name!r} in the table: choose one of its {len(clips)} names")
    if not rows["path"].iloc[0]:
        raise ValueError(f"The clip table has no file for {name}: make it with ucf101.index(root)")
    return rows.iloc[0]


def draw_strip(axes: Axes, clip: Seen, mark: int | None = None) -> None:
    """The frames side by side, frame t from t - 0.5 to t + 0.5, numbered; frame `mark` in a box."""
    count = len(clip.index)
    axes.imshow(clip.strip, extent=(-0.5, count - 0.5, 0, 1), aspect="auto", interpolation="bilinear")
    axes.set(xlim=(-0.5, count - 0.5), ylim=(0, 1), yticks=[])
    axes.set_xticks(range(count), clip.index)
    axes.tick_params(length=0, labelsize=9, pad=2)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    if mark is not None:
        box = {"fill": False, "edgecolor": MARK, "linewidth": 3, "clip_on": False, "zorder": 4}
        axes.add_patch(Rectangle((mark - 0.5, 0), 1, 1, **box))


def likeliest(p: np.ndarray, classes: Sequence[str], label: str | None = None) -> list[int]:
    """Indices of the five classes likeliest at any frame, and of `label`, ordered by the last frame."""
    top = set(np.argsort(-p.max(axis=0), kind="stable")[:TOP].tolist())
    if label in classes:
        top.add(list(classes).index(label))
    return sorted(top, key=lambda k: -p[-1, k])
