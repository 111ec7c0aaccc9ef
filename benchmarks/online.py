"""Cached training beside the public code base's way: every frame through the backbone in every epoch.

Same clips, same backbone (ResNet-50 with random weights, which cost what trained ones cost), same head, one
run. The clips are decoded once for both; the public code base reads its images again in every epoch, which is
not counted.
"""

import itertools
import math
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks import clips
from benchmarks.harness import Row, row
from benchmarks.training import MIDDLE
from ctxlstm import features, models, training
from ctxlstm.cost import measured
from ctxlstm.features import Features
from ctxlstm.models import online
from ctxlstm.ucf101 import Split

FRAMES = 28
HEADS = (("cnn_lstm", MIDDLE), ("context_lstm", MIDDLE), ("context_lstm", {}))
EPOCHS = {"online": 2, "cached": 6}


def measure(small: bool = False) -> tuple[list[Row], dict]:
    """Rows of the table, and the times behind them."""
    rows, raw = [], {}
    size, frames = (32, 2) if small else (224, FRAMES)
    table, source = clips.table(8 if small else 4 * (os.cpu_count() or 1), small)
    net = measured.random_resnet50(size)
    with tempfile.TemporaryDirectory() as folder:
        done = features.extract(
            table, Path(folder) / "f", backbone=net, frames=frames, device="cpu", progress=False
        )
        cached = features.load(done.path)
    start = time.perf_counter()
    pictures = features.frames.frames(table, backbone=net, frames=frames)
    decoding = time.perf_counter() - start
    raw["before the first epoch"] = {"ours": [done.seconds], "reference": [decoding]}
    test = np.arange(0, len(table), 4)
    split = Split("paper", fold=1, seed=0, train=np.setdiff1d(np.arange(len(table)), test), test=test)
    heads = (("cnn_lstm", {"hidden_size": 4, "num_layers": 1, "embedding": (4,)}),) if small else HEADS
    for name, options in heads:
        ours = epochs(name, options, cached, split, EPOCHS["cached"])
        reference = epochs(name, options, pictures, split, EPOCHS["online"], net)
        what = f"{name}, hidden {options.get('hidden_size', '512, as the paper')}"
        work = f"epochs 2..n on cached features, {what}"
        raw[work] = {"ours": ours, "reference": reference}
        a, b = (statistics.median(seconds[1:]) for seconds in (ours, reference))
        note = (
            f"all frames through ResNet-50 ({size} px) in every epoch; {len(table)} {source} x {frames} frames, "
            f"decoded once; {len(split.train)} to train, {len(split.test)} to test"
        )
        rows.append(row(work, a, b, "s", b / a, at_least=100, note=note))
        number = break_even(done.seconds, ours, decoding, reference)
        total = (done.seconds + ours[0], decoding + reference[0])
        note = f"work up to the end of the first epoch; extraction has paid for itself by the end of epoch {number}"
        rows.append(Row(f"extraction and epoch 1, {what}", *total, "s", total[1] / total[0], note=note))
    return rows, raw


def epochs(
    name: str, options: dict, data: Features, split: Split, count: int, net: torch.nn.Module | None = None
) -> list[float]:
    """Seconds of each epoch of `training.fit`, evaluation included; with `net`, of `Online` on frames."""
    torch.manual_seed(0)
    head = models.build(name, num_classes=len(data.classes), **options)
    model = online.Online(net, head) if net else head
    config = training.Config(epochs=count, batch_size=len(split.train), validation=0, cpu=True)
    return training.fit(model, data, split, config).seconds


def break_even(extraction: float, cached: Sequence[float], decoding: float, every: Sequence[float]) -> float:
    """The first epoch by whose end the cached way has taken no longer; infinite if it never does.

    Arguments are the seconds before and during each epoch; the last epoch is repeated forever.
    """
    ours, reference = extraction, decoding
    if cached[-1] >= every[-1]:
        return math.inf
    for number in itertools.count():
        ours += cached[min(number, len(cached) - 1)]
        reference += every[min(number, len(every) - 1)]
        if ours <= reference:
            return number + 1
