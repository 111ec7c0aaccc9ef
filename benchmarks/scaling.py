"""A cost model fitted to measurements, and what it says for many clips on many machines: benchmarks/scaling.md.

    python -m benchmarks.scaling            measure, write the record, rewrite the page's tables
    python -m benchmarks.scaling --page     rewrite the tables from the record, after a change of the inputs below

The resources of a machine work side by side, so a job takes as long as the busiest of them; a store that all machines
share does not get faster with their number. Units: seconds, bytes, bytes a second.
"""

import copy
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from benchmarks import clips, harness
from benchmarks.extraction import CORES, extract, forward, on_all_cores
from ctxlstm import backbone, classroom, cost, features, models, training, ucf101, video
from ctxlstm.support.files import written

PAGE = Path(__file__).with_name("scaling.md")
FRAMES, BATCH, IMAGES = (
    28,
    80,
    4,
)  # T of a clip; clips of a training step on each machine; images of a backbone batch
WIDTHS = {"resnet50": 2048, "efficientnet_lite0": 1280}  # D
HEADS = ("cnn_lstm", "context_lstm")  # at the paper's sizes, on features of 2,048 numbers
TESTED = 8  # clips on which an epoch evaluates: part of its fixed seconds
PIXELS = 320 * 240  # of the frames that were measured
COUNTS = (1, 10, 100, 1000)  # machines


class Data(NamedTuple):
    """A data set; `codec` is the CPU time of a pixel against that of UCF101's codec, MPEG-4 Part 2."""

    name: str
    clips: int
    decoded: int  # frames a clip, until the 28 are found
    pixels: int  # of a frame
    codec: float
    video_bytes: float


class Machine(NamedTuple):
    """A kind of machine. What `measured` does not name is assumed, and the page says so."""

    name: str
    gpu: bool  # whether backbone and head run on something else than the cores
    cores: int
    backbone: Mapping[str, float]  # seconds a frame, by name
    head: Mapping[str, float]  # seconds of training a clip, by name
    memory: float  # bytes that hold features
    disk: float  # likewise
    disk_speed: float
    network: float
    measured: tuple[str, ...] = ()


# --- inputs: what was not measured -----------------------------------------------------------------------------------

DATA = (
    Data("UCF101", 13_320, 28, 320 * 240, 1, 0.5e6),
    Data("Kinetics-700", 650_000, 300, 340 * 256, 2, 1.1e6),
    Data("100 million clips", 100_000_000, 300, 340 * 256, 2, 1.1e6),
)
STORE = 10e9  # bytes a second that the shared store delivers or takes, to and from all machines together
IMAGE = {
    "resnet50": 1 / 8000,
    "efficientnet_lite0": 1 / 20_000,
}  # on a GPU; cores are taken to be like those measured
TRAINED = {"cnn_lstm": 1 / 15_000, "context_lstm": 1 / 5000}
GPU_MACHINE = Machine(
    "a GPU machine", True, 16, IMAGE, TRAINED, memory=64e9, disk=4e12, disk_speed=3e9, network=3e9
)
ASSUMED_HERE = {"disk": 1e12, "network": 125e6}  # of the machine that measures

# --- the model, as the page has it -----------------------------------------------------------------------------------


def fit(columns: Sequence[Sequence[float]], seconds: Sequence[float]) -> list[float]:
    """Least squares without costs below zero: coefficients (k,), columns (N, k) @ coefficients = seconds (N,)."""
    matrix = np.array(columns, dtype=float)  # (N, k)
    scale = matrix.max(axis=0)  # bytes count in millions, frames in tens: brought to one size
    return [float(value) for value in nnls(matrix / scale, np.array(seconds, dtype=float))[0] / scale]


class Costs(NamedTuple):
    """CPU seconds of one core: a clip that is opened, a frame that is decoded, turned into RGB, resized."""

    open: float
    decode: float
    convert: float
    resize: float

    def clip(self, data: Data) -> float:
        """CPU seconds of one core for one clip of `data`."""
        frames = data.decoded * self.decode * data.codec + FRAMES * (self.convert + self.resize)
        return self.open + data.pixels / PIXELS * frames


def extraction(
    machine: Machine, data: Data, net: str, costs: Costs, count: int, store: float = STORE
) -> dict:
    """{resource: seconds that it is busy} when `count` machines extract features."""
    mine, moved = math.ceil(data.clips / count), data.video_bytes + feature_bytes(net)
    cores, image = mine * costs.clip(data) / machine.cores, mine * FRAMES * machine.backbone[net]
    busy = {"cores": cores, "GPU": image} if machine.gpu else {"cores": cores + image}
    return busy | {"network": mine * moved / machine.network, "store": data.clips * moved / store}


def epoch(machine: Machine, data: Data, head: str, parameters: int, count: int, store: float = STORE) -> dict:
    """Likewise of one epoch over all clips, `BATCH` clips a machine and step, gradients summed over the network."""
    steps = math.ceil(data.clips / (BATCH * count))
    share, mine = data.clips / count * feature_bytes(), BATCH * steps
    read = mine * feature_bytes() if share > machine.memory else 0
    far = read if share > machine.disk else 0  # from the store
    sums = steps * sum_bytes(parameters) if count > 1 else 0
    busy = {
        "GPU" if machine.gpu else "cores": mine * machine.head[head],
        "disk": (read - far) / machine.disk_speed,
    }
    return busy | {"network": (far + sums) / machine.network, "store": count * far / store}


def feature_bytes(net: str = "resnet50") -> int:
    """Bytes of a clip in the cache: T x D numbers of two bytes."""
    return FRAMES * WIDTHS[net] * 2


def sum_bytes(parameters: int) -> int:
    """Bytes that a machine sends to sum the gradients of a step, 4 a parameter, twice round a ring."""
    return 4 * parameters * 2


def slowest(busy: Mapping[str, float]) -> tuple[str, float]:
    """The resource that is busy longest, and its seconds."""
    return max(busy.items(), key=lambda item: item[1])


def store_limits_from(machine: Machine, data: Data, net: str, costs: Costs, store: float = STORE) -> int:
    """The number of machines from which the store, and nothing of theirs, sets the time of extraction."""
    busy = extraction(machine, data, net, costs, 1, store)
    shared = busy.pop("store")
    return math.ceil(slowest(busy)[1] / shared)


# --- measurements ----------------------------------------------------------------------------------------------------


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

    jobs: dict[
        str, tuple[Callable[[int], float], int, str, int, str]
    ] = {}  # what, smaller size, unit, times, clock
    for net in (cost.measured.random_resnet50(32 if small else 224), lite):
        name, images = f"{net.name}, {net.size} px", torch.zeros(4, 3, net.size, net.size, dtype=torch.uint8)
        forward(
            net, images
        )  # the first call folds BatchNorm into the convolutions, which no two threads can do
        jobs[f"resize, {name}"] = partial(resizing, net, frames), FRAMES, "frame", 5, "CPU"
        jobs[f"backbone, {name}"] = partial(passing, net, images), 4 * CORES, "frame", times, "wall"
    with tempfile.TemporaryDirectory() as folder:
        jobs["disk, write"] = partial(writing, folder), megabytes, "MB", times, "wall"
        jobs["disk, read"] = partial(reading, folder), megabytes, "MB", times, "wall"
        jobs[work] = lambda count: extract(lite, table[:count], "first"), few, "clip", times, "wall"
        for (
            head,
            model,
        ) in heads.items():  # context_lstm once: it takes two minutes more if it is treated alike
            run = partial(train, model, given, batch)
            jobs[f"epoch, {head}"] = run, batch, "clip", times if head == "cnn_lstm" else 1, "wall"
        stages = {"decode": decoding(table["path"][:24])} | {job: line(*how) for job, how in jobs.items()}
    rows = []
    for job in (work, "epoch, cnn_lstm"):
        run, size, *_ = jobs[job]
        ours, reference = float(np.dot([1, 8 * size], stages[job]["coefficients"])), run(8 * size)
        note = "ours: predicted from an eighth and a quarter of the clips; reference: measured"
        rows.append(
            harness.row(f"{job}, {8 * size} clips", ours, reference, "s", ours / reference, note=note)
        )
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


def timed(function: Callable, *arguments: object, clock: Callable[[], float] = time.perf_counter) -> float:
    """Seconds of a call; of this thread's CPU with `time.thread_time`."""
    start = clock()
    function(*arguments)
    return clock() - start


def decoding(paths: Sequence[str]) -> dict:
    """Clips opened, frames decoded, frames turned into RGB: told apart by reading each clip in four ways."""
    ways = [(path, n, rule) for path in paths for rule in ("first", "uniform") for n in (FRAMES // 4, FRAMES)]
    seconds = on_all_cores(lambda way: timed(video.read_frames, *way, clock=time.thread_time), ways)
    read = [video.read_frames(*way) for way in ways]
    columns = [[1, clip.decoded, len(np.unique(clip.index))] for clip in read]
    return stage(("clip opened", "frame decoded", "frame to RGB"), "CPU", columns, seconds)


def resizing(net: backbone.Backbone, frames: torch.Tensor, count: int) -> float:
    """Squash `count` frames, a multiple of the clip's, on every core at a time: mean CPU seconds of a core."""

    def squash() -> None:
        for _ in range(count // FRAMES):
            net.resize(frames)

    return float(np.mean(on_all_cores(lambda _: timed(squash, clock=time.thread_time), range(CORES))))


def passing(net: backbone.Backbone, images: torch.Tensor, count: int) -> float:
    """The backbone alone on `count` frames in memory, in batches, one on each core at a time."""
    return timed(on_all_cores, partial(forward, net), [images] * (count // len(images)))


def train(model: torch.nn.Module, given: features.Features, batch: int, count: int) -> float:
    """One epoch of `training.fit` on `count` clips, with an evaluation on `TESTED` others."""
    rows = np.arange(TESTED + count)
    split = ucf101.Split("paper", 1, 0, rows[TESTED:], rows[:TESTED])
    config = training.Config(epochs=1, batch_size=batch, validation=0, cpu=True)
    return training.fit(copy.deepcopy(model), given, split, config).seconds[-1]


def writing(folder: str, count: int) -> float:
    """Bring `count` million bytes to the disk."""
    with (Path(folder) / f"{count}.bin").open("wb", buffering=0) as file:
        return timed(lambda data: (file.write(data), os.fsync(file.fileno())), os.urandom(count * 1_000_000))


def reading(folder: str, count: int) -> float:
    """Read them back: from the disk where the system can be told to forget them, as on Linux."""
    with (Path(folder) / f"{count}.bin").open("rb", buffering=0) as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return timed(file.readall)


# --- the page --------------------------------------------------------------------------------------------------------


def render(page: Path = PAGE, record: Path | None = None) -> str:
    """The page with its tables made anew from a record, by default the one that it names."""
    text, record = page.read_text(encoding="utf-8"), record or record_of(page)
    made = tables(json.loads(record.read_text(encoding="utf-8")), record.name)
    block = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.S)
    return block.sub(lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}", text)


def record_of(page: Path) -> Path:
    """The record that the page names; ValueError if it names none."""
    if found := re.search(r"`results/(scaling-[\w.-]+\.json)`", page.read_text(encoding="utf-8")):
        return harness.RESULTS / found[1]
    raise ValueError(f"{page} names no record: run python -m benchmarks.scaling")


def each(record: Mapping, name: str) -> float:
    """Seconds a unit of the stage whose name begins so; ValueError if noise left none."""
    key, found = next(item for item in record["raw"]["stages"].items() if item[0].startswith(name))
    if not found["coefficients"][-1] > 0:
        raise ValueError(f"{key} took no longer at twice the size: measure again on a quiet machine")
    return found["coefficients"][-1]


def machine_of(record: Mapping) -> Machine:
    """The machine that a record was measured on; half of its memory may hold features."""
    found = {
        "cores": record["machine"]["cores"],
        "backbone": {net: each(record, f"backbone, {net}") for net in WIDTHS},
        "head": {head: each(record, f"epoch, {head}") for head in HEADS},
        "memory": 0.5e9 * record["machine"]["memory_gb"],
        "disk_speed": 1e6 / each(record, "disk, read"),
    }
    return Machine("the machine that was measured", False, measured=tuple(found), **found, **ASSUMED_HERE)


def tables(record: Mapping, name: str) -> dict[str, str]:
    """What stands between the page's marks, by name, from a record that lies in the file `name`."""
    about, raw, versions = record["machine"], record["raw"], record["versions"]
    stages, parameters, here = raw["stages"], raw["parameters"], machine_of(record)
    both, names = (here, GPU_MACHINE), (here.name, GPU_MACHINE.name)
    costs = {net: Costs(*stages["decode"]["coefficients"], each(record, f"resize, {net}")) for net in WIDTHS}
    gradients = {head: sum_bytes(count) / BATCH for head, count in parameters.items()}  # bytes a clip
    fitted, checked, clip = [], [], []
    for work, found in stages.items():
        ms = {unit: 1000 * each for unit, each in zip(found["units"], found["coefficients"], strict=True)}
        ends = ms.pop("fixed", ""), found["clock"].replace("CPU", "CPU of one core"), len(found["seconds"])
        fitted += [(work, unit, value, *ends) for unit, value in ms.items()]

    for row in record["rows"]:
        (work, count), measured = row["work"].rsplit(", ", 1), row["reference"]
        guesses = [
            (row["work"], "{} and {} clips".format(*np.array(stages[work]["columns"])[:2, 1]), row["ours"])
        ]
        if work.startswith("extraction"):
            net, data = (
                work.split(", ")[1],
                Data("", int(count.split()[0]), FRAMES, PIXELS, 1, raw["video_bytes"]),
            )
            alone = extraction(here, data, net, costs[net], 1)["cores"]
            guesses.append(("the same, as the sum of its stages", "each alone", alone))
        for *words, seconds in guesses:
            error = f"{seconds / measured - 1:+.1%}"
            checked.append((*words, f"{seconds:.1f} s", f"{measured:.1f} s", error))

    rates = [("cores", "cores", lambda m: m.cores)]
    rates += [(f"{net}, frames/s", "backbone", lambda m, net=net: 1 / m.backbone[net]) for net in WIDTHS]
    rates += [
        (f"{head}, clips/s in training", "head", lambda m, head=head: 1 / m.head[head]) for head in HEADS
    ]
    rates += [("memory for features, GB", "memory", lambda m: m.memory / 1e9)]
    rates += [("disk for features, GB", "disk", lambda m: m.disk / 1e9)]
    rates += [("disk, MB/s", "disk_speed", lambda m: m.disk_speed / 1e6)]
    rates += [("network, MB/s", "network", lambda m: m.network / 1e6)]
    rates += [("shared store, MB/s, to all machines together", "", lambda _: STORE / 1e6)]
    mark = {True: "measured", False: "ASSUMED"}
    machines = [
        (what, *(f"{short(value(m))} {mark[field in m.measured]}" for m in both))
        for what, field, value in rates
    ]

    net, head = "resnet50", "context_lstm"
    for m in both:
        for data in DATA[:2]:
            resize = FRAMES * costs[net].resize * data.pixels / PIXELS
            cores = (costs[net].clip(data) - resize) / m.cores, resize / m.cores, FRAMES * m.backbone[net]
            moved = (data.video_bytes + feature_bytes()) / np.array([m.network, STORE])
            busy = *cores, *moved, m.head[head], gradients[head] / m.network
            clip.append((f"{data.name}, {m.name}", *(1000 * float(seconds) for seconds in busy)))

    def times(machine: Machine) -> str:
        rows = []
        for data in DATA:
            jobs = {
                f"extraction, {net}": partial(extraction, machine, data, net, costs[net]) for net in WIDTHS
            }
            jobs |= {
                f"epoch, {head}": partial(epoch, machine, data, head, n) for head, n in parameters.items()
            }
            for job, busy in jobs.items():
                rows.append((f"{data.name}: {job}", *(duration(*slowest(busy(count))) for count in COUNTS)))
        return markdown(" | ".join(("machines", *map(short, COUNTS))), rows)

    sizes = [("video of a stick figure, mean, measured", raw["video_bytes"])]
    for net, width in WIDTHS.items():
        sizes.append((f"features in the cache, {net}: {FRAMES} x {width} x 2", feature_bytes(net)))
    for head, n in parameters.items():
        sizes.append((f"gradients, {head}: {n:,} parameters x 8 / batch of {BATCH}", gradients[head]))
    sets, limits = [], []
    for d in DATA:
        terabytes = d.clips * d.video_bytes / 1e12, d.clips * feature_bytes() / 1e12
        sets.append((d.name, d.clips, d.decoded, d.pixels, d.codec, d.video_bytes / 1e6, *terabytes))
    for net in WIDTHS:
        for data in DATA[:2]:  # the third has the clips of the second
            first = [store_limits_from(machine, data, net, costs[net]) for machine in both]
            limits.append((f"{data.name}, {net}", *first))
    return {
        "record": f"Measured on {about['processor']}, {about['cores']} cores, {about['memory_gb']} GB of memory, torch "
        f"{versions['torch']} on {about['torch_threads']} threads, {record['date'][:10]}, code {versions['commit']}; "
        f"every measurement behind it is in `results/{name}`.",
        "stages": markdown("stage | for each | ms | fixed ms | clock | measurements", fitted),
        "bytes": markdown("bytes a clip | ", sizes),
        "check": markdown("job | fitted at | predicted | measured | error", checked),
        "data": markdown(
            "data set | clips | frames decoded | pixels | codec | MB a clip | videos TB | features TB", sets
        ),
        "machines": markdown(" | ".join(("", *names)), machines),
        "clip": markdown(" | decode | resize | resnet50 | network | store | context_lstm | gradients", clip),
        "here": times(here),
        "gpu": times(GPU_MACHINE),
        "store": markdown(" | ".join(("machines from which the store limits extraction", *names)), limits),
    }


def markdown(header: str, rows: Sequence[Sequence[object]]) -> str:
    """A table; numbers have three digits that count."""
    rule = "| --- |" + " --: |" * header.count("|")
    lines = (" | ".join(cell if isinstance(cell, str) else short(cell) for cell in row) for row in rows)
    return "\n".join((f"| {header} |", rule, *(f"| {line} |" for line in lines)))


def short(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def duration(who: str, seconds: float) -> str:
    """How long a job takes, and what it waits for."""
    units = (("days", 86_400, 3), ("h", 3600, 1), ("min", 60, 1), ("s", 1, 0))
    unit, size = next((unit, size) for unit, size, least in units if seconds >= size * least)
    return f"{short(seconds / size)} {unit}, {who}"


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, unless `--page` is asked for, and rewrite the page's tables."""
    record = None
    if "--page" not in arguments:
        rows, raw = measure()
        record = harness.save("scaling", rows, raw)
        print(harness.table(rows))
    text = render(PAGE, record)
    with written(PAGE) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
