"""The tables of benchmarks/scaling.md, made from a record of `benchmarks.scaling`; the text between them stays."""

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import harness
from benchmarks.scalingmodel import (
    ASSUMED_HERE,
    BATCH,
    COUNTS,
    DATA,
    DECODED_PIXELS,
    FRAMES,
    GPU_MACHINE,
    HEADS,
    STORE,
    WIDTHS,
    Costs,
    Data,
    Machine,
    epoch,
    extraction,
    feature_bytes,
    slowest,
    store_limits_from,
    sum_bytes,
)

PAGE = Path(__file__).with_name("scaling.md")
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.S)
_RECORD = re.compile(r"`results/(scaling-[\w.-]+\.json)`")


def write(record: Path | None = None, page: Path = PAGE) -> None:
    """Rewrite the page's tables from a record, by default from the one that the page names."""
    text = _rendered(page, record)
    part = page.with_name(page.name + ".part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, page)


def stale(page: Path = PAGE) -> bool:
    """Whether the page's tables are not those that its record gives.

    Raises:
        ValueError: the page names no record. FileNotFoundError: the record is not there.
    """
    return _rendered(page) != page.read_text(encoding="utf-8")


def record_of(page: Path) -> Path:
    """The record that the page's tables were made from. Raises ValueError if it names none."""
    named = _RECORD.search(page.read_text(encoding="utf-8"))
    if named is None:
        raise ValueError(f"{page} names no record: run python -m benchmarks.scaling")
    return harness.RESULTS / named[1]


def _rendered(page: Path, record: Path | None = None) -> str:
    record = record or record_of(page)
    made = blocks(json.loads(record.read_text(encoding="utf-8")), record.name)
    text = page.read_text(encoding="utf-8")
    return _BLOCK.sub(lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}", text)


def blocks(record: Mapping, name: str) -> dict[str, str]:
    """The page's tables in Markdown, by name, from a record that lies in the file `name`."""
    about, here = record["machine"], machine_of(record)
    measured = (
        f"Measured on {about['processor']}, {about['cores']} cores, {about['memory_gb']} GB of memory, torch "
        f"{record['versions']['torch']} on {about['torch_threads']} threads, {record['date'][:10]}, code "
        f"{record['versions']['commit']}; every measurement behind it is in `results/{name}`."
    )
    return {
        "record": measured,
        "stages": _stages(record),
        "bytes": _bytes(record),
        "check": _check(record, here),
        "data": _data(),
        "machines": _machines(here),
        "clip": _clip(record, here),
        "here": _times(record, here),
        "gpu": _times(record, GPU_MACHINE),
        "store": _store(record, here),
    }


def machine_of(record: Mapping) -> Machine:
    """The machine that a record was measured on."""
    about = record["machine"]
    return Machine(
        "the machine that was measured",
        cores=about["cores"],
        gpu=False,
        backbone={net: _each(record, f"backbone, {net}") for net in WIDTHS},
        head={name: _each(record, f"epoch, {name}") for name in HEADS},
        memory=0.5e9 * about["memory_gb"],
        disk_speed=1e6 / _each(record, "disk, read"),
        measured=("cores", "backbone", "head", "memory", "disk_speed"),
        **ASSUMED_HERE,
    )


def costs_of(record: Mapping, net: str) -> Costs:
    """The CPU seconds of a record, for the frames that one backbone reads."""
    return Costs(*record["raw"]["stages"]["decode"]["coefficients"], _each(record, f"resize, {net}"))


def _each(record: Mapping, name: str) -> float:
    """Seconds a unit of the stage whose name begins so. Raises ValueError if noise left none."""
    stages = record["raw"]["stages"]
    key = next(key for key in stages if key.startswith(name))
    if not stages[key]["coefficients"][-1] > 0:
        raise ValueError(f"{key} took no longer at twice the size: measure again on a quiet machine")
    return stages[key]["coefficients"][-1]


# --- tables ----------------------------------------------------------------------------------------------------------


def _stages(record: Mapping) -> str:
    rows = []
    for name, one in record["raw"]["stages"].items():
        costs = dict(zip(one["units"], map(_ms, one["coefficients"]), strict=True))
        fixed = costs.pop("fixed", "")
        clock = "CPU of one core" if one["clock"] == "CPU" else "wall"
        rows += [(name, unit, ms, fixed, clock, str(len(one["seconds"]))) for unit, ms in costs.items()]
    return _table(("stage", "for each", "ms", "fixed ms", "clock", "measurements"), rows)


def _bytes(record: Mapping) -> str:
    rows = [("video of a stick figure, mean, measured", f"{record['raw']['video_bytes']:,.0f}")]
    rows += [(f"features in the cache, {net}: {FRAMES} x {width} x 2", f"{feature_bytes(net):,}")
             for net, width in WIDTHS.items()]  # fmt: skip
    for name, count in record["raw"]["parameters"].items():
        clip = sum_bytes(count) / BATCH
        rows.append((f"gradients, {name}: {count:,} parameters x 8 / batch of {BATCH}", f"{clip:,.0f}"))
    return _table(("bytes a clip", ""), rows)


def _check(record: Mapping, here: Machine) -> str:
    rows = []
    for row in record["rows"]:
        work, count = row["work"].rsplit(", ", 1)
        fitted = record["raw"]["stages"][work]["columns"]
        sizes = f"{fitted[0][1]} and {fitted[1][1]} clips"
        rows.append((f"{work}, {count}", sizes, row["ours"], row["reference"]))
        if work.startswith("extraction"):
            net = work.split(", ")[1]
            data = Data("", int(count.split()[0]), FRAMES, DECODED_PIXELS, 1, record["raw"]["video_bytes"])
            busy = extraction(here, data, net, costs_of(record, net), 1, STORE)["cores"]
            rows.append(("the same, as the sum of its stages", "each alone", busy, row["reference"]))
    cells = [(what, sizes, f"{a:.1f} s", f"{b:.1f} s", f"{a / b - 1:+.1%}") for what, sizes, a, b in rows]
    return _table(("job", "fitted at", "predicted", "measured", "error"), cells)


def _data() -> str:
    rows = [
        (
            data.name,
            f"{data.clips:,}",
            str(data.decoded),
            f"{data.pixels:,}",
            f"{data.codec:g}",
            f"{data.video_bytes / 1e6:g}",
            f"{data.clips * data.video_bytes / 1e12:.3g}",
            f"{data.clips * feature_bytes() / 1e12:.3g}",
        )
        for data in DATA
    ]
    header = (
        "data set",
        "clips",
        "frames decoded",
        "pixels",
        "codec",
        "MB a clip",
        "videos TB",
        "features TB",
    )
    return _table(header, rows)


def _machines(here: Machine) -> str:
    """Both machines; every number is marked as measured or assumed."""

    def row(what: str, name: str, value: Callable[[Machine], float]) -> tuple[str, ...]:
        marks = ("measured" if name in machine.measured else "ASSUMED" for machine in (here, GPU_MACHINE))
        values = (_short(value(machine)) for machine in (here, GPU_MACHINE))
        return what, *(f"{number} {mark}" for number, mark in zip(values, marks, strict=True))

    rows = [row("cores", "cores", lambda m: m.cores)]
    rows += [row(f"{net}, frames/s", "backbone", lambda m, net=net: 1 / m.backbone[net]) for net in WIDTHS]
    rows += [row(f"{head}, clips/s in training", "head", lambda m, head=head: 1 / m.head[head])
             for head in HEADS]  # fmt: skip
    rows += [
        row("memory for features, GB", "memory", lambda m: m.memory / 1e9),
        row("disk for features, GB", "disk", lambda m: m.disk / 1e9),
        row("disk, MB/s", "disk_speed", lambda m: m.disk_speed / 1e6),
        row("network, MB/s", "network", lambda m: m.network / 1e6),
        ("shared store, MB/s, to all machines together", *[f"{_short(STORE / 1e6)} ASSUMED"] * 2),
    ]
    return _table(("", here.name, GPU_MACHINE.name), rows)


def _clip(record: Mapping, here: Machine) -> str:
    """Milliseconds of one machine's resources for a clip."""
    costs, rows = costs_of(record, "resnet50"), []
    gradients = sum_bytes(record["raw"]["parameters"]["context_lstm"]) / BATCH
    for machine in (here, GPU_MACHINE):
        for data in DATA[:2]:
            resize = FRAMES * costs.resize * data.pixels / DECODED_PIXELS
            moved = data.video_bytes + feature_bytes()
            seconds = (
                (costs.clip(data) - resize) / machine.cores,
                resize / machine.cores,
                FRAMES * machine.backbone["resnet50"],
                moved / machine.network,
                moved / STORE,
                machine.head["context_lstm"],
                gradients / machine.network,
            )
            rows.append((f"{data.name}, {machine.name}", *map(_ms, seconds)))
    header = ("", "decode", "resize", "resnet50", "network", "store", "context_lstm", "gradients")
    return _table(header, rows)


def _times(record: Mapping, machine: Machine) -> str:
    """Every job on 1 to 1,000 machines: time and the resource that sets it."""
    rows = []
    for data in DATA:
        jobs: dict[str, Callable[[int], Mapping[str, float]]] = {}
        for net in WIDTHS:
            costs = costs_of(record, net)
            jobs[f"extraction, {net}"] = lambda n, net=net, costs=costs, data=data: extraction(
                machine, data, net, costs, n, STORE
            )
        for head, parameters in record["raw"]["parameters"].items():
            jobs[f"epoch, {head}"] = lambda n, head=head, parameters=parameters, data=data: epoch(
                machine, data, head, parameters, n, STORE
            )
        for job, busy in jobs.items():
            cells = (f"{_duration(s)}, {who}" for who, s in (slowest(busy(count)) for count in COUNTS))
            rows.append((f"{data.name}: {job}", *cells))
    return _table(("machines", *(f"{count:,}" for count in COUNTS)), rows)


def _store(record: Mapping, here: Machine) -> str:
    rows = []
    for net in WIDTHS:
        for data in DATA[:2]:  # the third has the clips of the second
            limits = (store_limits_from(m, data, net, costs_of(record, net), STORE)
                      for m in (here, GPU_MACHINE))  # fmt: skip
            rows.append((f"{data.name}, {net}", *(f"{limit:,}" for limit in limits)))
    return _table(("machines from which the store limits extraction", here.name, GPU_MACHINE.name), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---"] + ["--:"] * (len(header) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def _short(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ms(seconds: float) -> str:
    return _short(1000 * seconds)


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size * (3 if unit == "days" else 1):
            return f"{_short(seconds / size)} {unit}"
    return f"{_short(seconds)} s"
