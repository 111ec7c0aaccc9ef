"""What all benchmarks share: two things timed in turn, one table, one record, and memory in fresh processes.

Times vary with whatever else the machine does, so nothing is judged by seconds: ours and a reference run in
turn in one process, and the ratio of each pair is taken. The table has the medians of both and of the ratios.
"""

import argparse
import json
import math
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import torch

from ctxlstm.cost.measured import fresh
from ctxlstm.support.files import written

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        work: what was done, with its sizes.
        ours, reference: two measurements in `unit` ("s", "frames/s", "MB", ...).
        unit: of both.
        ratio: of the two, in the direction of the limit.
        limit: as text, ">= 0.9", "<= 1.05", or "" if there is none.
        met: whether the limit is met; None if there is no limit, or nothing was measured.
        note: what the reference is, and whatever else a reader needs.
    """

    work: str
    ours: float
    reference: float
    unit: str
    ratio: float
    limit: str = ""
    met: bool | None = None
    note: str = ""


def row(
    work: str,
    ours: float,
    reference: float,
    unit: str,
    ratio: float,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    note: str = "",
) -> Row:
    """A row whose limit, if any, is a bound on the ratio: `at_least`, `at_most`, or neither."""
    if at_least is not None:
        return Row(work, ours, reference, unit, ratio, f">= {at_least:g}", ratio >= at_least, note)
    if at_most is not None:
        return Row(work, ours, reference, unit, ratio, f"<= {at_most:g}", ratio <= at_most, note)
    return Row(work, ours, reference, unit, ratio, note=note)


def skipped(work: str, reason: str) -> Row:
    """A row for something that cannot be measured here, with the reason."""
    return Row(work, math.nan, math.nan, "", math.nan, note=f"not measured: {reason}")


def alternate(
    ours: Callable[[], Any], reference: Callable[[], Any], times: int, warmup: int = 1
) -> tuple[list[float], list[float]]:
    """Wall seconds of `times` calls of each, in turn in this process; the order is swapped every time.

    A callable that returns a float has timed itself: that number counts instead. `warmup` calls of each come
    first and are not counted.

    Returns:
        Seconds of ours and of the reference; the i-th of both were measured one right after the other.
    """
    pair = ((ours, []), (reference, []))  # each with its seconds
    for turn in range(warmup + times):
        for function, seconds in pair if turn % 2 == 0 else reversed(pair):
            start = time.perf_counter()
            own = function()
            seconds.append(own if isinstance(own, float) else time.perf_counter() - start)
    return pair[0][1][warmup:], pair[1][1][warmup:]


def ratio(ours: Sequence[float], reference: Sequence[float]) -> float:
    """Median of the pairwise ratios ours / reference; for speeds, swap the two."""
    return statistics.median(a / b for a, b in zip(ours, reference, strict=True))


def table(rows: Sequence[Row]) -> str:
    """The rows as text: work, ours, reference, ratio, limit, met; numbered notes follow below."""
    cells = [("work", "ours", "reference", "ratio", "limit", "met")]
    notes: list[str] = []
    for line in rows:
        number = ""
        if line.note:
            if line.note not in notes:
                notes.append(line.note)
            number = f" [{notes.index(line.note) + 1}]"
        cells.append(
            (
                line.work + number,
                _number(line.ours, line.unit),
                _number(line.reference, line.unit),
                _number(line.ratio),
                line.limit,
                {True: "yes", False: "no", None: ""}[line.met],
            )
        )
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if i in (0, 4, 5) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    lines.insert(1, "-" * len(lines[0]))
    return "\n".join(lines + [f"[{i}] {note}" for i, note in enumerate(notes, 1)])


def _number(value: float, unit: str = "") -> str:
    """Three significant digits, and the unit."""
    if math.isnan(value):
        return "-"
    digits = max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f} {unit}".rstrip()


class InProcess(NamedTuple):
    """The result of a function in a fresh process: its value, resident set in bytes before it, and peak."""

    value: Any
    before_bytes: int
    peak_bytes: int

    @property
    def grown_bytes(self) -> int:
        """What the function added."""
        return self.peak_bytes - self.before_bytes


def in_process(function: Callable, *args: Any) -> InProcess:
    """Call `function(*args)` in a new process that ends with it; the function must be importable.

    The system itself counts the peak, so nothing between two samples is missed. It includes the libraries;
    what the function added is `grown_bytes`.

    Raises:
        RuntimeError: the process died, as it does when the system is out of memory.
    """
    needed = ("ctxlstm.experiments.runs", "torchvision", "torch._dynamo")
    with ProcessPoolExecutor(1, mp_context=fresh(*needed)) as process:
        try:
            return process.submit(_call, function, args).result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"the process of {function.__module__}.{function.__name__} died, perhaps out of memory"
            ) from error


def _call(function: Callable, args: tuple) -> InProcess:
    before = psutil.Process().memory_info().rss
    value = function(*args)
    return InProcess(value, before, peak_bytes())


def peak_bytes() -> int:
    """The largest resident set of this process so far, in bytes."""
    memory = psutil.Process().memory_info()
    if hasattr(memory, "peak_wset"):  # Windows
        return memory.peak_wset
    status = Path("/proc/self/status")
    if status.is_file():  # Linux, whose ru_maxrss may be that of the process that started this one
        return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"))[1])
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def machine() -> dict:
    """This machine: processor, cores, memory in GB, torch's threads, and the GPU, None if there is none."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "torch_threads": torch.get_num_threads(),
        "gpu": gpu,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text("utf-8"), re.M) if info.is_file() else None
    return (found[1] if found else platform.processor() or platform.machine()).strip()


def small_or_gpu(name: str, text: str, arguments: list[str] | None) -> bool | None:
    """Parse the arguments of a GPU benchmark: whether `--small` is given; None if not and there is no GPU.

    Args:
        name: of its module; text: that module's docstring; arguments: default: the command line's.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=text.splitlines()[0])
    parser.add_argument(
        "--small", action="store_true", help="a trial run, also without a GPU; nothing is recorded"
    )
    small = parser.parse_args(arguments).small
    if small or torch.cuda.is_available():
        return small
    print("this benchmark needs a GPU; --small tries the script without one")
    return None


def save(name: str, rows: Sequence[Row], raw: Mapping[str, Any], *, folder: str | Path | None = None) -> Path:
    """Write the record of the benchmark `name` on this kind of machine, replacing an older one.

    Args:
        name: of the benchmark's module.
        rows: lines of the table.
        raw: all repeated measurements behind them, {work: {"ours": [...], "reference": [...], ...}}.
        folder: default: `RESULTS`.

    Returns:
        The file `<name>-<machine kind>.json`.
    """
    from ctxlstm.experiments import runs

    about = machine()
    kind = " ".join(filter(None, (about["gpu"], about["processor"], f"{about['cores']} cores")))
    slug = re.sub(r"[^a-z0-9]+", "-", kind.lower().replace("(r)", "").replace("(tm)", "")).strip("-")
    path = Path(folder or RESULTS) / f"{name}-{slug}.json"
    record = {
        "benchmark": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": about,
        "versions": runs.environment(),
        "rows": [asdict(line) for line in rows],
        "raw": raw,
    }
    with written(path) as part:
        part.write_text(json.dumps(_short(record), indent=1) + "\n", encoding="utf-8")
    return path


def _short(value: Any) -> Any:
    """Numbers with five significant digits, and null for what was not measured: JSON has no NaN."""
    if isinstance(value, float):
        return float(f"{value:.5g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return value
