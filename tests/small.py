"""Small things that take real computing a moment: features, models, settings, clips."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import torch
from torch import nn

from ctxlstm import models, training
from ctxlstm.experiments.settings import Run
from ctxlstm.features import Features

WIDTH, HEIGHT = 72, 48  # a row of 216 bytes, which FFmpeg pads: the padding must not show


def picture(number: int) -> np.ndarray:
    """A frame that shows its number as 8 dark or bright bars, (H, W, 3); the corner's colour tells RGB from BGR."""
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for bit in range(8):
        if number >> bit & 1:
            image[8:40, bit * 8 : bit * 8 + 8] = 220
    image[:, 64:] = (200, 60, 20)
    return image


def write_clip(
    path: Path, count: int, *, b_frames: int = 0, codec: str = "mpeg4", step: int = 1, junk_every: int = 0
) -> Path:
    """A clip of `count` numbered frames, `step` ticks apart; after every `junk_every` frames a packet that is none."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 2_000_000
        stream.codec_context.gop_size = 12
        stream.codec_context.max_b_frames = b_frames
        frames = [av.VideoFrame.from_ndarray(picture(i), format="rgb24") for i in range(count)]
        for i, frame in enumerate(frames):
            frame.pts, frame.time_base = i * step, Fraction(1, 25)
        shift = 0
        for i, frame in enumerate([*frames, None]):
            for packet in stream.encode(frame):
                if junk_every:
                    packet.pts = packet.dts = packet.dts + shift
                time_base, dts = packet.time_base, packet.dts
                container.mux(packet)
                if junk_every and i % junk_every == junk_every - 1:
                    junk = av.Packet(b"\x11" * 40)
                    junk.stream, junk.time_base, junk.pts, junk.dts = stream, time_base, dts + 1, dts + 1
                    container.mux(junk)
                    shift += 1
    return path


def make_features(
    classes: int = 3, groups: int = 8, clips: int = 2, frames: int = 5, size: int = 12
) -> Features:
    """A learnable set: each class has its own direction, each group its own offset."""
    rows = [
        {"name": f"v_{label}_g{group:02d}_c{clip:02d}", "label": label, "group": group, "clip": clip}
        for label in "ABCDEFG"[:classes]
        for group in range(1, groups + 1)
        for clip in range(1, clips + 1)
    ]
    table = pd.DataFrame(rows)
    random = np.random.default_rng(0)
    means = random.normal(size=(classes, size))
    x = (
        random.normal(size=(len(rows), frames, size))
        + 2 * means[pd.Categorical(table["label"]).codes][:, None]
    )
    return Features(torch.tensor(x, dtype=torch.float16), table)


def build(name: str = "context_lstm", **options) -> nn.Module:
    torch.manual_seed(0)
    defaults = {
        "input_size": 12,
        "num_classes": 3,
        "hidden_size": 4,
        "num_layers": 1,
        "embedding": (8,),
        "dropout": 0.2,
    }
    return models.build(name, **(defaults | options))


def config(**changes) -> training.Config:
    return training.Config(**({"epochs": 6, "batch_size": 8, "cpu": True} | changes))


DEFAULTS = {
    "size": 64,
    "frames": 5,
    "hidden_size": 4,
    "embedding": [8],
    "epochs": 3,
    "batch_size": 8,
    "cpu": True,
}


def run(**changes) -> Run:
    return Run(**(DEFAULTS | {"model": "context_lstm", "protocol": "grouped"} | changes))
