"""A cost model fitted to measurements, and what it says for many clips on many machines: benchmarks/scaling.md.

    python -m benchmarks.scaling            measure, write the record, rewrite the page's tables
    python -m benchmarks.scaling --page     rewrite the tables from the record, after a change of the model's inputs
    python -m benchmarks.scaling --check    exit code 1 if page and record do not agree

Every stage is measured at two sizes, and a line through both gives fixed seconds and seconds for each clip, frame or
MB. Extraction and training are then predicted at 4 times the larger size, and measured there.
"""

import argparse
import copy
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from benchmarks import clips as videos
from benchmarks import harness, scalingpage
from benchmarks.extraction import CORES, on_all_cores
from benchmarks.extraction import forward as features_of
from benchmarks.scalingmodel import BATCH, FRAMES, HEADS, WIDTHS, fit
from ctxlstm import backbone, classroom, cost, features, models, training, ucf101, video
from ctxlstm.backbone import Backbone
from ctxlstm.features import extraction

IMAGES = extraction.BATCH["cpu"]  # of a backbone batch
TESTED = 8  # clips on which an epoch evaluates: part of its fixed seconds
Timed = Callable[[int], float]  # does so many of something and returns the seconds


class Sizes(NamedTuple):
    """How much is measured: the smaller of two sizes, the other is twice that; `times` over; pixels of a side."""

    clips: int
    trained: int
    batch: int
    megabytes: int
    times: int
    pixels: Mapping[str, int]
    head: Mapping[str, object]


FULL = Sizes(6, BATCH, BATCH, 128, 2, {"resnet50": 224, "efficientnet_lite0": 160}, {})
SMALL = Sizes(1, 4, 4, 1, 1, dict.fromkeys(WIDTHS, 32), {"hidden_size": 8, "embedding": (8,)})


@dataclass(frozen=True)
class Stage:
    """What was measured, and the model fitted to it.

    units: what each coefficient is for, "fixed" or one of something; clock: wall, or CPU seconds of one core while
    the others do the same;
    columns (N, k): how much of it each measurement held; seconds (N,); coefficients (k,) in seconds.
    """

    units: tuple[str, ...]
    clock: str
    columns: list[list[float]]
    seconds: list[float]
    coefficients: list[float]

    def predict(self, count: int) -> float:
        """Seconds of `count` of the unit, of a stage with fixed seconds."""
        fixed, each = self.coefficients
        return fixed + each * count


def line(run: Timed, size: int, times: int, unit: str, clock: str = "wall") -> Stage:
    """Run `size` and 2 `size` in turn, `times` over, and fit fixed seconds and seconds a unit."""
    counts = [size, 2 * size] * times
    columns, seconds = [[1, count] for count in counts], [run(count) for count in counts]
    return Stage(("fixed", unit), clock, columns, seconds, fit(columns, seconds))


def measure(small: bool = False) -> tuple[list[harness.Row], dict]:
    """Predictions beside measurements at 4 times the larger fitted size, and all that the page is made of."""
    sizes = SMALL if small else FULL
    torch.manual_seed(0)
    table = videos.table(8, small=True)[0] if small else classroom.clips()[::4].reset_index(drop=True)
    lite = backbone.load("efficientnet_lite0", size=sizes.pixels["efficientnet_lite0"])
    stages = {"decode": decoding(table["path"][:24])}
    for net in (cost.measured.random_resnet50(sizes.pixels["resnet50"]), lite):
        name = f"{net.name}, {net.size} px"
        stages[f"resize, {name}"] = line(resizing(net, table["path"][0]), FRAMES, 5, "frame", "CPU")
        stages[f"backbone, {name}"] = line(forward(net), CORES * IMAGES, sizes.times, "frame")
    with tempfile.TemporaryDirectory() as folder:
        stages["disk, write"] = line(writing(folder), sizes.megabytes, sizes.times, "MB")
        stages["disk, read"] = line(reading(folder), sizes.megabytes, sizes.times, "MB")

    run = extracting(lite, table)
    work = f"extraction, {lite.name}, {lite.size} px"
    stages[work] = line(run, sizes.clips, sizes.times, "clip")
    rows = [checked(work, stages[work], run, 8 * sizes.clips)]
    given, parameters = random_features(8 * sizes.trained + TESTED), {}
    for name in HEADS:
        model = models.build(name, num_classes=len(given.classes), **sizes.head)
        parameters[name] = models.count_parameters(model)
        run, work = epoch(model, given, sizes.batch), f"epoch, {name}"
        small_one = name == "cnn_lstm"  # the other takes two minutes more if it is treated alike
        stages[work] = line(run, sizes.trained, sizes.times if small_one else 1, "clip")
        if small_one:
            rows.append(checked(work, stages[work], run, 8 * sizes.trained))
    size = float(np.mean([os.path.getsize(path) for path in table["path"]]))
    raw = {"stages": {name: asdict(one) for name, one in stages.items()}}
    return rows, raw | {"parameters": parameters, "video_bytes": size}


def checked(work: str, fitted: Stage, run: Timed, count: int) -> harness.Row:
    """The prediction for `count` clips, from an eighth and a quarter of them, beside the measurement."""
    predicted, measured = fitted.predict(count), run(count)
    note = "ours: predicted from an eighth and a quarter of the clips; reference: measured"
    return harness.row(f"{work}, {count} clips", predicted, measured, "s", predicted / measured, note=note)


def decoding(paths: Sequence[str]) -> Stage:
    """Clips opened, frames decoded, frames turned into RGB: told apart by reading each clip in four ways."""
    ways = [(rule, frames) for rule in ("first", "uniform") for frames in (FRAMES // 4, FRAMES)]

    def read(path: str) -> list[tuple[list[int], float]]:
        found = []
        for rule, frames in ways:
            start = time.thread_time()
            clip = video.read_frames(path, frames, rule)
            seconds = time.thread_time() - start
            found.append(([1, clip.decoded, len(np.unique(clip.index))], seconds))
        return found

    found = [one for clip in on_all_cores(read, paths) for one in clip]
    columns, seconds = [columns for columns, _ in found], [seconds for _, seconds in found]
    units = ("clip opened", "frame decoded", "frame to RGB")
    return Stage(units, "CPU", columns, seconds, fit(columns, seconds))


def resizing(net: Backbone, path: str) -> Timed:
    """Squash so many frames, a multiple of 28, on every core."""
    images = video.read_frames(path, FRAMES, "first").images  # (T, 3, H, W)

    def squash(times: int) -> float:
        start = time.thread_time()
        for _ in range(times):
            net.resize(images)
        return time.thread_time() - start

    squash(1)  # the first call loads a library
    return lambda count: float(np.mean(on_all_cores(squash, [count // FRAMES] * CORES)))


def forward(net: Backbone) -> Timed:
    """The backbone alone on so many frames in memory, in batches, one on each core at a time."""
    images = torch.randint(0, 256, (IMAGES, 3, net.size, net.size), dtype=torch.uint8)  # (B, 3, s, s)
    run = partial(features_of, net)

    def all_cores(count: int) -> float:
        start = time.perf_counter()
        on_all_cores(run, [images] * (count // IMAGES))
        return time.perf_counter() - start

    run(images)  # the first call folds BatchNorm into the convolutions
    return all_cores


def extracting(net: Backbone, table: pd.DataFrame) -> Timed:
    """`features.extract` of so many clips into a new folder."""

    def run(count: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "features"
            return features.extract(
                table[:count], out, backbone=net, frames=FRAMES, device="cpu", progress=False
            ).seconds

    run(1)
    return run


def random_features(count: int) -> features.Features:
    """Features of at least `count` clips, spread over the classes of UCF101."""
    index = ucf101.full_index()
    index = index[:: len(index) // count].reset_index(drop=True)
    return features.Features(torch.rand(len(index), FRAMES, WIDTHS["resnet50"]).half(), index)  # (N, T, D)


def epoch(model: torch.nn.Module, given: features.Features, batch: int) -> Timed:
    """One epoch of `training.fit` on so many clips, with an evaluation on 8 others."""
    config = training.Config(epochs=1, batch_size=batch, validation=0, cpu=True)

    def run(count: int) -> float:
        rows = np.arange(TESTED + count)
        split = ucf101.Split("paper", 1, 0, rows[TESTED:], rows[:TESTED])
        return training.fit(copy.deepcopy(model), given, split, config).seconds[-1]

    run(batch)
    return run


def writing(folder: str) -> Timed:
    """Bring so many million bytes to the disk."""

    def run(count: int) -> float:
        data = os.urandom(count * 1_000_000)
        start = time.perf_counter()
        with (Path(folder) / f"{count}.bin").open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return time.perf_counter() - start

    return run


def reading(folder: str) -> Timed:
    """Read back what `writing` wrote: from the disk where the system can be told to forget it, as on Linux."""

    def run(count: int) -> float:
        with (Path(folder) / f"{count}.bin").open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            start = time.perf_counter()
            file.readall()
        return time.perf_counter() - start

    return run


def main(arguments: list[str] | None = None) -> int:
    """Measure, or use the page's record; 1 if `--check` finds that the page does not follow from it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.splitlines()[0])
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--page", action="store_true", help="rewrite the tables from the page's record")
    how.add_argument("--check", action="store_true", help="only compare page and record")
    chosen = parser.parse_args(arguments)
    if chosen.check:
        stale = scalingpage.stale()
        print(f"{scalingpage.PAGE.name}: {'does not follow from its record, run --page' if stale else 'ok'}")
        return int(stale)
    if chosen.page:
        scalingpage.write()
        return 0
    start = time.perf_counter()
    rows, raw = measure()
    record = harness.save("scaling", rows, raw)
    scalingpage.write(record)
    print(harness.table(rows))
    for row in rows:
        print(f"{row.work}: the prediction is off by {row.ratio - 1:+.0%}")
    print(f"{record.name} and {scalingpage.PAGE.name} written after {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
