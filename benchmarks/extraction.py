"""Extraction end to end beside the machine's own limit for the same frames.

The limit is the sum of three stages, each run alone with every core busy: bare decoding and bare resizing
with one thread per core, and the bare backbone on prepared batches, in the faster of two ways (one batch on
all cores, or one batch per core). It writes nothing, waits for nothing and passes nothing on. On a CPU the
stages share the cores, so their times add up; end to end can be faster only if a stage fills another's gaps.
"""

import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks import clips
from benchmarks.decoding import bare
from benchmarks.harness import Row, alternate, ratio, row
from ctxlstm import backbone, features, video
from ctxlstm.backbone import Backbone
from ctxlstm.cost import measured

FRAMES = 28
BATCH = FRAMES // 2  # images in a forward pass: divides a clip evenly
CORES = os.cpu_count() or 1


def measure(small: bool = False) -> tuple[list[Row], dict]:
    """Rows of the table, and the times behind them."""
    rows, raw = [], {}
    size, times = (32, 2) if small else (224, 2)
    nets = [(backbone.load("efficientnet_lite0", size=size), 4 * CORES)]
    if not small:
        nets.insert(0, (measured.random_resnet50(size), 2 * CORES))
    for net, count in nets:
        table, source = clips.table(count, small)
        extract(net, table[:1], "first")  # libraries choose their kernels
        note = (
            "bare decoding, then resizing, then the backbone's forward pass, each alone on all cores; "
            f"{len(table)} {source}, {FRAMES} frames each"
        )
        for rule in ("first", "uniform"):
            work = f"extraction, {net.name}, {size} px, rule {rule}"
            limit = Limit(net, table["path"], rule)
            a, b = alternate(partial(extract, net, table, rule), limit, times, warmup=0)
            raw[work] = {"ours": a, "reference": b, "stages": limit.stages, "frames": limit.count}
            speeds = (limit.count / median(a), limit.count / median(b))
            rows.append(row(work, *speeds, "frames/s", ratio(b, a), at_least=0.85, note=note))
    for net, _ in nets:
        work = f"backbone in bf16 over float32, {net.name}, {size} px"
        images = torch.randint(0, 256, (BATCH, 3, size, size), dtype=torch.uint8)
        half = copy.deepcopy(net)
        half.precision = "bf16"
        a, b = alternate(partial(forward, half, images), partial(forward, net, images), times)
        raw[work] = {"ours": a, "reference": b}
        speeds = (BATCH / median(a), BATCH / median(b))
        rows.append(row(work, *speeds, "frames/s", ratio(b, a), note=f"{BATCH} images at once, in memory"))
    return rows, raw


def extract(net: Backbone, table: pd.DataFrame, rule: str) -> float:
    """Seconds of `features.extract` for the clips of `table`, into a new folder; the backbone is ready."""
    with tempfile.TemporaryDirectory() as folder:
        done = features.extract(
            table, Path(folder) / "f", backbone=net, frames=FRAMES, rule=rule, device="cpu", progress=False
        )
    return done.seconds


class Limit:
    """The three stages, each alone; a call returns the sum of their seconds and adds them to `stages`."""

    def __init__(self, net: Backbone, paths: Iterable[str], rule: str):
        self.net, self.paths = net, list(paths)
        self.wanted = [_wanted(clips.count_frames(path), rule) for path in self.paths]
        self.count = FRAMES * len(self.paths)
        self.stages: dict[str, list[float]] = {"decode": [], "resize": [], "backbone": []}
        trial = torch.zeros(2 * CORES, BATCH, 3, net.size, net.size, dtype=torch.uint8).unbind()
        self.way = min((self._one_batch, self._batch_a_core), key=lambda way: _timed(partial(way, trial))[1])

    def __call__(self) -> float:
        seconds = {}
        pixels, seconds["decode"] = _timed(lambda: on_all_cores(bare, self.paths, self.wanted))
        images = [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in pixels]  # (T, 3, H, W) each
        squashed, seconds["resize"] = _timed(lambda: on_all_cores(self.net.resize, images))
        batches = torch.cat(squashed).split(BATCH)  # (B, 3, s, s) each
        _, seconds["backbone"] = _timed(lambda: self.way(batches))
        for stage, taken in seconds.items():
            self.stages[stage].append(taken)
        return sum(seconds.values())

    def _one_batch(self, batches: Sequence[Tensor]) -> None:
        for batch in batches:
            forward(self.net, batch)

    def _batch_a_core(self, batches: Sequence[Tensor]) -> None:
        on_all_cores(partial(forward, self.net), batches)


def _wanted(count: int, rule: str) -> np.ndarray:
    """Frame numbers of a clip of `count` frames, each once: those that a short clip repeats cost nothing."""
    return np.unique(video.frame_index(rule, count, FRAMES))


def forward(net: Backbone, images: Tensor) -> Tensor:
    """Features (B, D) of images (B, 3, s, s)."""
    with torch.inference_mode():
        return net(images)


def on_all_cores(function: Callable, *arguments: Iterable) -> list:
    """`map` with one thread per core; torch uses one core in each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(CORES) as pool:
            return list(pool.map(function, *arguments))
    finally:
        torch.set_num_threads(threads)


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    return function(), time.perf_counter() - start
