"""A cost model fitted to measurements, and what it says for many clips on many machines: benchmarks/scaling.md.

    python -m benchmarks.scaling            measure, write the record, rewrite the page's tables
    python -m benchmarks.scaling --page     rewrite the tables from the record, after a change of the inputs below

The resources of a machine work side by side, so a job takes as long as the busiest of them; a store that all machines
share does not get faster with their number. Units: seconds, bytes, bytes a second.
"""

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import harness
from benchmarks.stages import BATCH, FRAMES, HEADS, WIDTHS, measure
from ctxlstm.support.files import written

PAGE = Path(__file__).with_name("scaling.md")
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
IMAGE = {"resnet50": 1 / 8000, "efficientnet_lite0": 1 / 20_000}  # on a GPU
TRAINED = {"cnn_lstm": 1 / 15_000, "context_lstm": 1 / 5000}
# Its cores are taken to be like those measured.
GPU_MACHINE = Machine("a GPU machine", True, 16, IMAGE, TRAINED, 64e9, 4e12, disk_speed=3e9, network=3e9)
ASSUMED_HERE = {"disk": 1e12, "network": 125e6}  # of the machine that measures

# --- the model, as the page has it -----------------------------------------------------------------------------------


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


def extraction(machine: Machine, data: Data, net: str, costs: Costs, count: int) -> dict[str, float]:
    """{resource: seconds that it is busy} when `count` machines extract features."""
    mine, moved = math.ceil(data.clips / count), data.video_bytes + feature_bytes(net)
    cores, image = mine * costs.clip(data) / machine.cores, mine * FRAMES * machine.backbone[net]
    busy = {"cores": cores, "GPU": image} if machine.gpu else {"cores": cores + image}
    return busy | {"network": mine * moved / machine.network, "store": data.clips * moved / STORE}


def epoch(machine: Machine, data: Data, head: str, parameters: int, count: int) -> dict[str, float]:
    """Likewise of one epoch over all clips, `BATCH` clips a machine and step, gradients summed over the network."""
    steps = math.ceil(data.clips / (BATCH * count))
    share, mine = data.clips / count * feature_bytes(), BATCH * steps
    read = mine * feature_bytes() if share > machine.memory else 0
    far = read if share > machine.disk else 0  # from the store
    sums = steps * sum_bytes(parameters) if count > 1 else 0
    busy = {"GPU" if machine.gpu else "cores": mine * machine.head[head]}
    busy |= {"disk": (read - far) / machine.disk_speed, "network": (far + sums) / machine.network}
    return busy | {"store": count * far / STORE}


def feature_bytes(net: str = "resnet50") -> int:
    """Bytes of a clip in the cache: T x D numbers of two bytes."""
    return FRAMES * WIDTHS[net] * 2


def sum_bytes(parameters: int) -> int:
    """Bytes that a machine sends to sum the gradients of a step, 4 a parameter, twice round a ring."""
    return 4 * parameters * 2


def slowest(busy: Mapping[str, float]) -> tuple[str, float]:
    """The resource that is busy longest, and its seconds."""
    return max(busy.items(), key=lambda item: item[1])


def store_limits_from(machine: Machine, data: Data, net: str, costs: Costs) -> int:
    """The number of machines from which the store, and nothing of theirs, sets the time of extraction."""
    busy = extraction(machine, data, net, costs, 1)
    shared = busy.pop("store")
    return math.ceil(slowest(busy)[1] / shared)


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
    machines = (here, GPU_MACHINE)
    costs = {net: Costs(*stages["decode"]["coefficients"], each(record, f"resize, {net}")) for net in WIDTHS}
    fitted, checked = [], []
    for work, found in stages.items():
        ms = {unit: 1000 * each for unit, each in zip(found["units"], found["coefficients"], strict=True)}
        ends = ms.pop("fixed", ""), found["clock"].replace("CPU", "CPU of one core"), len(found["seconds"])
        fitted += [(work, unit, value, *ends) for unit, value in ms.items()]
    for row in record["rows"]:
        (work, count), measured = row["work"].rsplit(", ", 1), row["reference"]
        sizes = "{} and {} clips".format(*np.array(stages[work]["columns"])[:2, 1])
        guesses = [(row["work"], sizes, row["ours"])]
        if work.startswith("extraction"):
            net, data = work.split(", ")[1], DATA[0]._replace(video_bytes=raw["video_bytes"])
            data = data._replace(clips=int(count.split()[0]))
            alone = extraction(here, data, net, costs[net], 1)["cores"]
            guesses.append(("the same, as the sum of its stages", "each alone", alone))
        for *words, seconds in guesses:
            checked.append(
                (*words, f"{seconds:.1f} s", f"{measured:.1f} s", f"{seconds / measured - 1:+.1%}")
            )
    sizes = [("video of a stick figure, mean, measured", raw["video_bytes"])]
    sizes += [
        (f"features in the cache, {net}: {FRAMES} x {width} x 2", feature_bytes(net))
        for net, width in WIDTHS.items()
    ]
    sizes += [
        (f"gradients, {head}: {n:,} parameters x 8 / batch of {BATCH}", sum_bytes(n) / BATCH)
        for head, n in parameters.items()
    ]
    sets = [
        (*d[:5], d.video_bytes / 1e6, d.clips * d.video_bytes / 1e12, d.clips * feature_bytes() / 1e12)
        for d in DATA
    ]
    both = [(net, data) for net in WIDTHS for data in DATA[:2]]  # the third has the clips of the second
    limits = [
        (f"{data.name}, {net}", *(store_limits_from(machine, data, net, costs[net]) for machine in machines))
        for net, data in both
    ]
    names = " | ".join(machine.name for machine in machines)
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
        "machines": markdown(
            f" | {names}", [(a, b, c) for (a, b), (_, c) in zip(*map(rates, machines), strict=True)]
        ),
        "clip": markdown(
            " | decode | resize | resnet50 | network | store | context_lstm | gradients",
            [clip_ms(m, data, costs["resnet50"], parameters) for m in machines for data in DATA[:2]],
        ),
        "here": times(here, costs, parameters),
        "gpu": times(GPU_MACHINE, costs, parameters),
        "store": markdown(f"machines from which the store limits extraction | {names}", limits),
    }


def rates(machine: Machine) -> Iterator[tuple[str, str]]:
    """What a machine can do, and how that is known."""
    m = machine
    found = [("cores", "cores", m.cores)]
    found += [("backbone", f"{net}, frames/s", 1 / m.backbone[net]) for net in WIDTHS]
    found += [("head", f"{head}, clips/s in training", 1 / m.head[head]) for head in HEADS]
    found += [
        ("memory", "memory for features, GB", m.memory / 1e9),
        ("disk", "disk for features, GB", m.disk / 1e9),
    ]
    found += [("disk_speed", "disk, MB/s", m.disk_speed / 1e6), ("network", "network, MB/s", m.network / 1e6)]
    found += [("", "shared store, MB/s, to all machines together", STORE / 1e6)]
    for field, what, value in found:
        yield what, f"{short(value)} {'measured' if field in m.measured else 'ASSUMED'}"


def clip_ms(
    machine: Machine, data: Data, costs: Costs, parameters: Mapping[str, int]
) -> tuple[str, *tuple[float, ...]]:
    """A line of the table of one clip, with ResNet-50 and context_lstm: milliseconds that each resource is busy."""
    resize = FRAMES * costs.resize * data.pixels / PIXELS
    cores = (costs.clip(data) - resize) / machine.cores, resize / machine.cores
    moved = data.video_bytes + feature_bytes()
    busy = (*cores, FRAMES * machine.backbone["resnet50"], moved / machine.network, moved / STORE)
    sums = sum_bytes(parameters["context_lstm"]) / BATCH / machine.network
    return f"{data.name}, {machine.name}", *(1000 * s for s in (*busy, machine.head["context_lstm"], sums))


def times(machine: Machine, costs: Mapping[str, Costs], parameters: Mapping[str, int]) -> str:
    """How long each job takes on `COUNTS` machines, and what it waits for."""
    rows = []
    for data in DATA:
        jobs = {f"extraction, {net}": partial(extraction, machine, data, net, costs[net]) for net in WIDTHS}
        jobs |= {f"epoch, {head}": partial(epoch, machine, data, head, n) for head, n in parameters.items()}
        for job, busy in jobs.items():
            rows.append((f"{data.name}: {job}", *(duration(*slowest(busy(count))) for count in COUNTS)))
    return markdown(" | ".join(("machines", *map(short, COUNTS))), rows)


def markdown(header: str, rows: Iterable[Sequence[object]]) -> str:
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
