"""What `benchmarks.scaling` is fitted to: every stage of the work, measured alone at two sizes."""

import copy
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from timeit import timeit

import numpy as np
import torch
from scipy.optimize import nnls

from benchmarks import clips, harness
from benchmarks.extraction import CORES, extract, forward, on_all_cores
from ctxlstm import backbone, classroom, cost, features, models, training, ucf101, video

FRAMES, BATCH = 28, 80  # T of a clip; clips of a training step
WIDTHS = {"resnet50": 2048, "efficientnet_lite0": 1280}  # D
HEADS = ("cnn_lstm", "context_lstm")  # at the paper's sizes, on features of 2,048 numbers
TESTED = 8  # clips on which an epoch evaluates: part of its fixed seconds


def measure(small: bool = False) -> tuple[list[harness.Row], dict]:
    """Predictions beside measurements at 4 times the larger fitted size, and all that the page needs."""
    few, batch, times = (1, 4, 1) if small else (6, BATCH, 2)
    table = clips.table(8, small=True)[0] if small else classroom.clips()[::4].reset_index(drop=True)
    frames = video.read_frames(table["path"][0], FRAMES, "first").images  # (T, 3, H, W)
    lite = backbone.load("efficientnet_lite0", size=32 if small else 160)
    stages = {"decode": decoding(table["path"][:24])}
    for net in (cost.measured.random_resnet50(32 if small else 224), lite):
        name, images = f"{net.name}, {net.size} px", torch.zeros(4, 3, net.size, net.size, dtype=torch.uint8)
        forward(net, images)  # folds BatchNorm into the convolutions, which threads must not do at once
        stages[f"resize, {name}"] = line(partial(resizing, net, frames), FRAMES, "frame", 5, "CPU")
        stages[f"backbone, {name}"] = line(partial(passing, net, images), 4 * CORES, "frame", times)
    index = ucf101.full_index()
    index = index[:: len(index) // (8 * batch + TESTED)].reset_index(drop=True)
    given = features.Features(torch.rand(len(index), FRAMES, WIDTHS["resnet50"]).half(), index)  # (N, T, D)
    options = {"hidden_size": 8, "embedding": (8,)} if small else {}
    heads = {head: models.build(head, num_classes=len(given.classes), **options) for head in HEADS}
    jobs = {f"extraction, {lite.name}, {lite.size} px": (lambda n: extract(lite, table[:n], "first"), few)}
    jobs |= {f"epoch, {head}": (partial(train, model, given, batch), batch) for head, model in heads.items()}
    rows = []
    for job, (run, size) in jobs.items():
        slow = job == "epoch, context_lstm"  # a minute each time
        stages[job] = line(run, size, "clip", 1 if slow else times)
        if not slow:
            ours, reference = float(np.dot([1, 8 * size], stages[job]["coefficients"])), run(8 * size)
            rows.append(harness.row(f"{job}, {8 * size} clips", ours, reference, "s", ours / reference))
    return rows, {"stages": stages, "parameters": {h: models.count_parameters(m) for h, m in heads.items()}}


def line(run: Callable[[int], float], size: int, unit: str, times: int, clock: str = "wall") -> dict:
    """Run `size` and 2 `size` in turn, `times` times, and fit fixed seconds and seconds per unit."""
    run(size)  # the first call loads libraries
    columns = [[1, size], [1, 2 * size]] * times
    return stage(("fixed", unit), clock, columns, [run(count) for _, count in columns])


def stage(units: Sequence[str], clock: str, columns: list[list[int]], seconds: list[float]) -> dict:
    """Measurements and non-negative least squares: columns (N, k) @ coefficients (k,) = seconds (N,)."""
    costs = nnls(np.array(columns, dtype=float), np.array(seconds))[0].tolist()
    return {"units": units, "clock": clock, "columns": columns, "seconds": seconds, "coefficients": costs}


def decoding(paths: Iterable[str]) -> dict:
    """Clips opened, frames decoded, frames converted to RGB: separated by reading each clip in four ways."""

    def read(way: tuple[str, int, str]) -> tuple[list[int], float]:
        start = time.thread_time()
        clip = video.read_frames(*way)
        return [1, clip.decoded, len(np.unique(clip.index))], time.thread_time() - start

    ways = [(path, n, rule) for path in paths for rule in ("first", "uniform") for n in (FRAMES // 4, FRAMES)]
    columns, seconds = map(list, zip(*on_all_cores(read, ways), strict=True))
    return stage(("clip opened", "frame decoded", "frame to RGB"), "CPU", columns, seconds)


def resizing(net: backbone.Backbone, frames: torch.Tensor, count: int) -> float:
    """Squash `count` frames, a multiple of the clip's, on all cores at once: mean CPU seconds of a core."""
    squash = partial(timeit, lambda: net.resize(frames), timer=time.thread_time, number=count // FRAMES)
    return float(np.mean(on_all_cores(lambda _: squash(), range(CORES))))


def passing(net: backbone.Backbone, images: torch.Tensor, count: int) -> float:
    """Seconds of the backbone alone on `count` frames in memory, in batches, one per core at a time."""
    return timeit(lambda: on_all_cores(partial(forward, net), [images] * (count // len(images))), number=1)


def train(model: torch.nn.Module, given: features.Features, batch: int, count: int) -> float:
    """Seconds of an epoch of `training.fit` on `count` clips, with an evaluation on `TESTED` others."""
    rows = np.arange(TESTED + count)
    split = ucf101.Split("paper", 1, 0, rows[TESTED:], rows[:TESTED])
    config = training.Config(epochs=1, batch_size=batch, validation=0, cpu=True)
    return training.fit(copy.deepcopy(model), given, split, config).seconds[-1]
