"""What `benchmarks.scaling` is fitted to: every stage of the work, measured alone at two sizes.

A stage's seconds are taken to be a sum of costs, each so much a unit: fixed seconds and seconds a frame, or, of decoding,
seconds of a clip that is opened, a frame that is decoded, a frame that is turned into RGB.
"""

import copy
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
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
    """Predictions beside measurements at 4 times the larger fitted size, and all that the page is made of."""
    torch.manual_seed(0)
    few, batch, megabytes, times = (1, 4, 1, 1) if small else (6, BATCH, 128, 2)
    table = clips.table(8, small=True)[0] if small else classroom.clips()[::4].reset_index(drop=True)
    frames = video.read_frames(table["path"][0], FRAMES, "first").images  # (T, 3, H, W)
    lite = backbone.load("efficientnet_lite0", size=32 if small else 160)
    work = f"extraction, {lite.name}, {lite.size} px"
    index = ucf101.full_index()
    index = index[:: len(index) // (8 * batch + TESTED)].reset_index(drop=True)
    given = features.Features(torch.rand(len(index), FRAMES, WIDTHS["resnet50"]).half(), index)  # (N, T, D)
    options = {"hidden_size": 8, "embedding": (8,)} if small else {}
    heads = {head: models.build(head, num_classes=len(given.classes), **options) for head in HEADS}
    # Of a job: what runs it, the smaller size, its unit, how often, the clock.
    jobs: dict[str, tuple[Callable[[int], float], int, str, int, str]] = {}
    for net in (cost.measured.random_resnet50(32 if small else 224), lite):
        name, images = f"{net.name}, {net.size} px", torch.zeros(4, 3, net.size, net.size, dtype=torch.uint8)
        forward(net, images)  # folds BatchNorm into the convolutions, which no two threads can do
        jobs[f"resize, {name}"] = partial(resizing, net, frames), FRAMES, "frame", 5, "CPU"
        jobs[f"backbone, {name}"] = partial(passing, net, images), 4 * CORES, "frame", times, "wall"
    with tempfile.TemporaryDirectory() as folder:
        jobs["disk, write"] = partial(writing, folder), megabytes, "MB", times, "wall"
        jobs["disk, read"] = partial(reading, folder), megabytes, "MB", times, "wall"
        jobs[work] = lambda count: extract(lite, table[:count], "first"), few, "clip", times, "wall"
        for head, model in heads.items():
            often = times if head == "cnn_lstm" else 1  # context_lstm takes a minute each time
            jobs[f"epoch, {head}"] = partial(train, model, given, batch), batch, "clip", often, "wall"
        stages = {"decode": decoding(table["path"][:24])} | {job: line(*how) for job, how in jobs.items()}
        rows = []
        for job in (work, "epoch, cnn_lstm"):
            run, size, *_ = jobs[job]
            ours, reference = float(np.dot([1, 8 * size], stages[job]["coefficients"])), run(8 * size)
            note = "ours: predicted from an eighth and a quarter of the clips; reference: measured"
            row = harness.row(f"{job}, {8 * size} clips", ours, reference, "s", ours / reference, note=note)
            rows.append(row)
    parameters = {head: models.count_parameters(model) for head, model in heads.items()}
    size = float(np.mean([os.path.getsize(path) for path in table["path"]]))
    return rows, {"stages": stages, "parameters": parameters, "video_bytes": size}


def line(run: Callable[[int], float], size: int, unit: str, times: int, clock: str) -> dict:
    """Do `size` and 2 `size` in turn, `times` over, and fit fixed seconds and seconds a unit."""
    run(size)  # the first call loads libraries
    columns = [[1, size], [1, 2 * size]] * times
    return stage(("fixed", unit), clock, columns, [run(count) for _, count in columns])


def stage(units: Sequence[str], clock: str, columns: list[list[int]], seconds: list[float]) -> dict:
    """What was measured, in wall or CPU seconds of a core, and what each unit costs."""
    costs = fit(columns, seconds)
    return {"units": units, "clock": clock, "columns": columns, "seconds": seconds, "coefficients": costs}


def fit(columns: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Least squares without costs below zero: coefficients (k,), columns (N, k) @ coefficients = seconds (N,)."""
    matrix = np.array(columns, dtype=float)  # (N, k)
    scale = matrix.max(axis=0)  # bytes count in millions, frames in tens: brought to one size
    return (nnls(matrix / scale, np.array(seconds, dtype=float))[0] / scale).tolist()


def once(function: Callable, *arguments: object, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of one call; of this thread's CPU with `time.thread_time`."""
    return timeit(partial(function, *arguments), timer=clock, number=1)


def decoding(paths: Iterable[str]) -> dict:
    """Clips opened, frames decoded, frames turned into RGB: told apart by reading each clip in four ways."""
    ways = [(path, n, rule) for path in paths for rule in ("first", "uniform") for n in (FRAMES // 4, FRAMES)]
    seconds = on_all_cores(lambda way: once(video.read_frames, *way, clock=time.thread_time), ways)
    read = [video.read_frames(*way) for way in ways]
    columns = [[1, clip.decoded, len(np.unique(clip.index))] for clip in read]
    return stage(("clip opened", "frame decoded", "frame to RGB"), "CPU", columns, seconds)


def resizing(net: backbone.Backbone, frames: torch.Tensor, count: int) -> float:
    """Squash `count` frames, a multiple of the clip's, on every core at a time: mean CPU seconds of a core."""
    squash = partial(timeit, lambda: net.resize(frames), timer=time.thread_time, number=count // FRAMES)
    return float(np.mean(on_all_cores(lambda _: squash(), range(CORES))))


def passing(net: backbone.Backbone, images: torch.Tensor, count: int) -> float:
    """The backbone alone on `count` frames in memory, in batches, one on each core at a time."""
    return once(on_all_cores, partial(forward, net), [images] * (count // len(images)))


def train(model: torch.nn.Module, given: features.Features, batch: int, count: int) -> float:
    """One epoch of `training.fit` on `count` clips, with an evaluation on `TESTED` others."""
    rows = np.arange(TESTED + count)
    split = ucf101.Split("paper", 1, 0, rows[TESTED:], rows[:TESTED])
    config = training.Config(epochs=1, batch_size=batch, validation=0, cpu=True)
    return training.fit(copy.deepcopy(model), given, split, config).seconds[-1]


def writing(folder: str, count: int) -> float:
    """Bring `count` million bytes to the disk."""
    with (Path(folder) / f"{count}.bin").open("wb", buffering=0) as file:
        return once(lambda data: (file.write(data), os.fsync(file.fileno())), os.urandom(count * 1_000_000))


def reading(folder: str, count: int) -> float:
    """Read them back: from the disk where the system can be told to forget them, as on Linux."""
    with (Path(folder) / f"{count}.bin").open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return once(file.readall)
