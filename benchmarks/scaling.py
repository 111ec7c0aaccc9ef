"""A cost model fitted to measurements, with predictions for many clips and machines: benchmarks/scaling.md.

    python -m benchmarks.scaling            measure, write the record, rewrite the page's tables
    python -m benchmarks.scaling RECORD     rewrite the tables from that file, after changing the inputs below

The resources of a machine work in parallel, so a job takes as long as the busiest of them; a store that all
machines share does not get faster with their number. Units: seconds, bytes, bytes per second.
"""

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from benchmarks import harness
from benchmarks.stages import BATCH, FRAMES, WIDTHS, measure
from ctxlstm.support.files import written

PAGE = Path(__file__).with_name("scaling.md")
COUNTS = (1, 10, 100, 1000)  # machines


class Data(NamedTuple):
    """A data set; `codec` is the CPU time per pixel relative to UCF101's codec, MPEG-4 Part 2."""

    name: str
    clips: int
    decoded: int  # frames per clip, until the 28 are found
    pixels: int  # per frame
    codec: float
    video_bytes: float  # per clip


class Machine(NamedTuple):
    """A kind of machine."""

    decode: Sequence[float]  # CPU seconds of a core: per clip opened, frame decoded, frame converted to RGB
    each: Mapping[str, float]  # by stage: a frame's resizing (CPU of a core) and backbone, a clip's training
    cores: int
    network: float
    nets_on: str = "cores"  # what backbone and head run on: "cores" or "GPU"


# Inputs that were not measured; the page names them too.
DATA = (
    Data("UCF101", 13_320, 28, 320 * 240, 1, 0.5e6),
    Data("Kinetics-700", 650_000, 300, 340 * 256, 2, 1.1e6),
    Data("100 million clips", 100_000_000, 300, 340 * 256, 2, 1.1e6),
)
STORE = 10e9  # bytes per second that the shared store delivers or takes, for all machines together
NETWORK = 125e6  # of the machine that measures
GPU_NETWORK, GPU_CORES = 3e9, 16  # of a machine with a GPU, whose cores are like those measured
GPU = {"backbone, resnet50": 1 / 8000, "backbone, efficientnet_lite0": 1 / 20_000}
GPU |= {"epoch, cnn_lstm": 1 / 15_000, "epoch, context_lstm": 1 / 5000}


def extraction(machine: Machine, data: Data, net: str, count: int) -> dict[str, float]:
    """{resource: seconds that it is busy} when `count` machines extract features."""
    mine, moved = math.ceil(data.clips / count), data.video_bytes + FRAMES * WIDTHS[net] * 2
    opened, decode, convert = machine.decode
    frames = data.decoded * decode * data.codec + FRAMES * (convert + machine.each[f"resize, {net}"])
    cores = mine * (opened + data.pixels / DATA[0].pixels * frames) / machine.cores
    image = mine * FRAMES * machine.each[f"backbone, {net}"]
    busy = {"cores": cores, "GPU": image} if machine.nets_on == "GPU" else {"cores": cores + image}
    return busy | {"network": mine * moved / machine.network, "store": data.clips * moved / STORE}


def epoch(machine: Machine, data: Data, head: str, parameters: int, count: int) -> dict[str, float]:
    """The same for one epoch: `BATCH` clips per machine and step, gradients summed over the network."""
    steps = math.ceil(data.clips / (BATCH * count))
    sums = steps * 4 * parameters * 2 if count > 1 else 0  # 4 bytes per parameter, twice round a ring
    trained = BATCH * steps * machine.each[f"epoch, {head}"]
    return {machine.nets_on: trained, "network": sums / machine.network}


def machine_of(record: Mapping) -> Machine:
    """The machine that a record was measured on; ValueError if noise left a stage without cost."""
    stages = {work: stage["coefficients"] for work, stage in record["raw"]["stages"].items()}
    for work, costs in stages.items():
        if not costs[-1] > 0:
            raise ValueError(f"{work} took no longer at twice the size: measure again on a quiet machine")
    each = {", ".join(work.split(", ")[:2]): costs[-1] for work, costs in stages.items()}
    return Machine(stages["decode"], each, record["machine"]["cores"], NETWORK)


def tables(record: Mapping, name: str) -> dict[str, str]:
    """The text between the page's marks, by mark, from a record in the file `name`."""
    about, versions, raw, here = record["machine"], record["versions"], record["raw"], machine_of(record)
    gpu = Machine(here.decode, {**here.each, **GPU}, GPU_CORES, GPU_NETWORK, nets_on="GPU")
    fitted, checked = [], []
    for work, found in raw["stages"].items():
        costs = zip(found["units"], found["coefficients"], strict=True)
        ms = {unit: float(f"{1000 * each:.3g}") for unit, each in costs}  # three significant digits
        ends = ms.pop("fixed", ""), found["clock"], len(found["seconds"])
        fitted += [(work, *cost, *ends) for cost in ms.items()]
    for row in record["rows"]:
        (work, clips), took = row["work"].rsplit(", ", 1), row["reference"]
        (_, size), (_, double) = raw["stages"][work]["columns"][:2]
        guesses = [(row["work"], f"{size} and {double} clips", row["ours"])]
        if work.startswith("extraction"):
            data = DATA[0]._replace(clips=int(clips.split()[0]))
            alone = extraction(here, data, work.split(", ")[1], 1)["cores"]
            guesses.append(("the same, as the sum of its stages", "each alone", alone))
        checked += [(*words, f"{s:.1f} s", f"{took:.1f} s", f"{s / took - 1:+.1%}") for *words, s in guesses]
    return {
        "record": f"Measured on {about['processor']}, {about['cores']} cores, {about['memory_gb']} GB of memory, torch "
        f"{versions['torch']} on {about['torch_threads']} threads, {record['date'][:10]}, code {versions['commit']}; "
        f"every measurement behind it is in `results/{name}`.",
        "stages": markdown(("stage", "for each", "ms", "fixed ms", "clock", "measurements"), fitted),
        "check": markdown(("job", "fitted at", "predicted", "measured", "error"), checked),
        "here": times(here, raw["parameters"]),
        "gpu": times(gpu, raw["parameters"]),
    }


def times(machine: Machine, parameters: Mapping[str, int]) -> str:
    """How long each job takes on `COUNTS` machines, and what it waits for."""
    rows = []
    for data in DATA:
        jobs = {f"extraction, {net}": partial(extraction, machine, data, net) for net in WIDTHS}
        jobs |= {f"epoch, {head}": partial(epoch, machine, data, head, n) for head, n in parameters.items()}
        rows += [(f"{data.name}: {job}", *(waits(busy(n)) for n in COUNTS)) for job, busy in jobs.items()]
    return markdown(("machines", *(f"{n:,}" for n in COUNTS)), rows)


def waits(busy: Mapping[str, float]) -> str:
    """How long a job takes, and what it waits for: the resource that is busy longest."""
    who, seconds = max(busy.items(), key=lambda item: item[1])
    units = (("days", 86_400, 3), ("h", 3600, 1), ("min", 60, 1), ("s", 1, 0))
    unit, value = next((unit, seconds / size) for unit, size, least in units if seconds >= size * least)
    return f"{value:,.0f} {unit}, {who}" if value >= 100 else f"{value:.3g} {unit}, {who}"


def markdown(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The rows as a table."""
    return pd.DataFrame(rows, columns=list(columns)).to_markdown(index=False, floatfmt=",g")


def main(record: Path | None = None) -> None:
    """Rewrite the page's tables from a record, by default one that is measured now."""
    text, record = PAGE.read_text(encoding="utf-8"), record or harness.save("scaling", *measure())
    made = tables(json.loads(record.read_text(encoding="utf-8")), record.name)
    block = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.S)
    text = block.sub(lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}", text)
    with written(PAGE) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
