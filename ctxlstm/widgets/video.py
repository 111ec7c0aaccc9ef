"""Your own video: what a trained network says about a video outside its data set (paper, sections 4.3 and 5).

`Predictor` joins a frozen CNN and a trained head into a function from frames to running probabilities.
`own_video` takes a file, by upload or by its path, and shows the five likeliest classes over time;
`own_video_figure` is its static twin. For a file that cannot be read, it says why.
"""

import html
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import ipywidgets
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from ctxlstm.backbone import Backbone
from ctxlstm.classroom import FRAMES
from ctxlstm.video import VideoError
from ctxlstm.widgets.film import Predict, Seen, draw_strip, likeliest, see
from ctxlstm.widgets.panel import LABEL, drawing, png

LINES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#222222", "v"))
LARGEST = 10  # MB: Jupyter's limit for one message, above which an upload breaks the connection


class Predictor:
    """Running probabilities of a clip: row t is what the network says after frames 0..t.

    Args:
        backbone: frozen CNN; model: trained head that reads its features (B, T, D) and gives logits (B, K);
        classes: the K names in the model's order; frames: T, as in the clips it was trained on.
    """

    def __init__(
        self, backbone: Backbone, model: nn.Module, classes: Sequence[str], frames: int = FRAMES
    ) -> None:
        self.backbone, self.model, self.classes, self.frames = backbone, model, list(classes), frames

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> np.ndarray:
        """Probabilities (T, K), float64, of images (T, 3, H, W) uint8.

        Raises:
            ValueError: the model has more or fewer classes than `classes` has names, or cannot read part of a
                clip (pooling or BatchNorm over time).
        """
        x = self.backbone(images).half().float()  # (T, D), rounded as the feature cache keeps them
        trains = self.model.training
        self.model.eval()
        try:
            logits = [self.model(x[None, : t + 1])[0] for t in range(len(x))]  # T times (K,)
        finally:
            self.model.train(trains)
        p = torch.stack(logits).double().softmax(dim=1).numpy()  # (T, K)
        if p.shape[1] != len(self.classes):
            raise ValueError(f"the model has {p.shape[1]} classes, but {len(self.classes)} names were given")
        return p


# --- from a file to a picture -------------------------------------------------------------------------------------


def own_video_figure(predict: Predict, path: str | Path) -> Figure:
    """The frames that the network reads and the probabilities of its five likeliest classes over time.

    Raises:
        VideoError: no such file, or not a video of at least two frames; the message says what to do.
    """
    path = Path(path).expanduser()
    return _draw(_watch(path, path.name, predict), path.name, predict)


def _watch(path: Path, name: str, predict: Predict) -> Seen:
    """Read and classify a file; messages call it by `name`."""
    try:
        if path.is_dir():
            raise VideoError(f"{name} is a folder: give the path of one video file")
        clip = see(path, getattr(predict, "frames", FRAMES), predict)
    except VideoError as error:
        raise VideoError(_named(str(error), path, name)) from error
    except OSError as error:
        raise VideoError(f"{name} cannot be read ({error.strerror}): check the path") from error
    if clip.decoded < 2:
        raise VideoError(
            f"{name} has a single frame: a movement needs at least two, preferably {len(clip.index)}"
        )
    return replace(clip, problem=clip.problem and _named(clip.problem, path, _short(name)))


def _short(name: str) -> str:
    """A file's name without its folders, which may use another system's separators, cut to fit a line."""
    name = re.split(r"[/\\]", name)[-1]
    return name if len(name) <= 60 else f"{name[:40]}...{name[-16:]}"


def _named(message: str, path: Path, name: str) -> str:
    """The message with the user's name for the file in place of the name it has here."""
    here = str(path) if str(path) in message else path.name
    return message.replace(here, name) if here else message


def _draw(clip: Seen, name: str, predict: Predict) -> Figure:
    count, (high, wide) = len(clip.index), clip.large.shape[1:3]
    order = likeliest(clip.p, predict.classes)
    width, left, right = 10.0, 0.75, 2.35  # inches, as all lengths here
    across = width - left - right
    strip = min(1.5, across / count * high / wide)
    height = 0.4 + strip + 0.4 + 2.7 + 0.55
    with drawing(width, height) as figure:
        top = figure.add_axes((left / width, 1 - (0.4 + strip) / height, across / width, strip / height))
        draw_strip(top, clip)
        top.set_xticks([])
        # A dollar sign would begin a formula.
        top.set_title(f"{_short(name)}: {clip.decoded} frames".replace("$", r"\$"))
        below = figure.add_axes((left / width, 0.55 / height, across / width, 2.8 / height))
        for k, (colour, marker) in zip(order, LINES, strict=False):
            line = {"color": colour, "marker": marker, "markersize": 6, "markeredgecolor": "white"}
            label = f"{predict.classes[k]}, {clip.p[-1, k]:.0%}"
            below.plot(range(count), 100 * clip.p[:, k], label=label, **line)
        below.set(xlim=(-0.5, count - 0.5), ylim=(-3, 103), ylabel="probability (%)")
        below.set_xticks(range(count), clip.index)
        below.set_xlabel("frame of the video; the network has read up to it")
        place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.03), "frameon": False}
        below.legend(title="after the last frame", alignment="left", **place)
    return figure


def _numbers(clip: Seen, name: str, predict: Predict) -> str:
    k = int(clip.p[-1].argmax())
    classes = ", ".join(html.escape(name) for name in predict.classes[:30])
    if len(predict.classes) > 30:
        classes += f" and {len(predict.classes) - 30} more"
    lines = [
        f"{html.escape(_short(name))}: <b>{html.escape(predict.classes[k])}</b>, {clip.p[-1, k]:.0%}, after the last frame.",
        f"The network knows only these {len(predict.classes)} classes: {classes}. It divides 100 % among them, so "
        "a video of anything else also gets one of them, perhaps with a high probability.",
    ]
    if clip.decoded < len(clip.index):
        lines.append(
            f"The video has {clip.decoded} frames, fewer than the {len(clip.index)} that the network reads: some are repeated."
        )
    if clip.problem:
        lines.append(f"{html.escape(clip.problem)}.")
    return "<br>".join(lines)


# --- the widget ---------------------------------------------------------------------------------------------------


class OwnVideo(ipywidgets.VBox):
    """The widget of `own_video`: `upload`, `path` and `button` above, `picture` below, `numbers` under it."""

    def __init__(self, predict: Predict, start: str | Path | None = None) -> None:
        self.predict = predict
        self.upload = ipywidgets.FileUpload(
            accept="video/*,.avi,.mkv", multiple=False, description="Upload a video",
            layout=ipywidgets.Layout(width="12em"),
        )  # fmt: skip
        hint = ipywidgets.HTML(f"up to {LARGEST} MB; give a larger one by its path:")
        self.path = ipywidgets.Text(
            "" if start is None else str(start),
            description="File on this machine",
            placeholder="path of a video, such as film.mp4",
            style=LABEL,
            layout=ipywidgets.Layout(width="40em", max_width="100%"),
        )
        self.button = ipywidgets.Button(description="Show it", tooltip="read the file at this path")
        self.picture = ipywidgets.Image(
            format="png", layout=ipywidgets.Layout(max_width="100%", display="none")
        )
        self.picture.layout.object_fit = "contain"
        self.numbers = ipywidgets.HTML(
            "Upload a video, or give its path.", layout=ipywidgets.Layout(max_width="100%")
        )
        self.upload.observe(self._uploaded, names="value")
        self.button.on_click(lambda _: self._chosen())
        wrap = ipywidgets.Layout(flex_flow="row wrap")
        rows = [ipywidgets.HBox(row, layout=wrap) for row in ([self.upload, hint], [self.path, self.button])]
        super().__init__([*rows, self.picture, self.numbers])
        if start is not None:
            self._chosen()

    def _uploaded(self, change: dict) -> None:
        if not change["new"]:
            return  # emptied below
        file = change["new"][0]
        # The name comes from elsewhere: it is shown, and never used as a path.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "uploaded-file"
            path.write_bytes(file["content"])
            self._show(path, file["name"])
        self.upload.value = ()  # so that the same file can be given again

    def _chosen(self) -> None:
        text = self.path.value.strip().strip("\"'")
        if text:
            self._show(Path(text).expanduser(), text)
        else:
            self._say("Give the path of a video file, or upload one.")

    def _show(self, path: Path, name: str) -> None:
        """Read, classify and draw a file, or say why not."""
        self.numbers.value = f'<div role="status">Reading {html.escape(name)} ...</div>'
        self.button.disabled = self.upload.disabled = True
        try:
            clip = _watch(path, name, self.predict)
            figure = _draw(clip, name, self.predict)
            self.picture.layout.width = f"{100 * figure.get_figwidth():.0f}px"
            self.picture.value = png(figure)
            text = _numbers(clip, name, self.predict)
        except (ValueError, OSError, MemoryError, RuntimeError) as error:
            self._say(
                str(error) or f"{name} needs more memory than there is: give a shorter or smaller video"
            )
            return
        finally:
            self.button.disabled = self.upload.disabled = False
        self.picture.layout.display = None
        self.numbers.value = f'<div role="status" style="line-height: 1.5">{text}</div>'

    def _say(self, message: str) -> None:
        """Show a sentence in place of the picture, which would be of another video."""
        self.picture.layout.display = "none"
        self.numbers.value = f'<p role="alert" style="color: #B00020">{html.escape(message)}</p>'


def own_video(predict: Predict, start: str | Path | None = None) -> OwnVideo:
    """Upload a video, or give the path of one, and see what the network says about it over time.

    Args:
        predict: see `Predictor`; start: path of a file to show first.
    """
    return OwnVideo(predict, start)
