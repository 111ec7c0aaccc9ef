"""Open and read a full-size feature cache: UCF101's 13,320 x 28 x 2,048 float16 (1.5 GB of random numbers).

It is written to a temporary folder and removed. Its files are then in the system's page cache, so the
programs are measured, not the disk.
"""

import shutil
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import psutil
import torch

from benchmarks.harness import Row, alternate, in_process, ratio, row, skipped
from ctxlstm import features, ucf101
from ctxlstm.features.cache import Cache

FULL, SMALL = (13_320, 28, 2_048), (160, 8, 256)  # N, T, D
BATCH = 80
OPEN_LIMIT = 3.0  # seconds to open, check and deliver the first batch
NEEDED = {"disk": 5e9, "memory": 5e9}  # bytes: the numbers are on disk twice, as a cache and as one file


def measure(small: bool = False) -> tuple[list[Row], dict]:
    """Rows of the table, and the times behind them."""
    free = {
        "disk": shutil.disk_usage(tempfile.gettempdir()).free,
        "memory": psutil.virtual_memory().available,
    }
    for kind, needed in NEEDED.items():
        if not small and free[kind] < needed:
            reason = f"{free[kind] / 1e9:.1f} GB of {kind} are free, {needed / 1e9:.0f} are needed"
            return [skipped("full-size feature cache", reason)], {}
    with tempfile.TemporaryDirectory() as folder:
        path, plain = Path(folder) / "features", Path(folder) / "plain.npy"
        write(path, plain, SMALL if small else FULL)
        return _measured(path, plain, 2 if small else 9)


def _measured(path: Path, plain: Path, times: int) -> tuple[list[Row], dict]:
    rows, raw = [], {}
    size = plain.stat().st_size
    what = f"a cache of {size / 1e9:.1f} GB" if size > 1e9 else f"a cache of {size / 1e6:.3g} MB"

    work = f"open {what}, check, first {BATCH} clips"
    a, b = alternate(partial(first_batch, path), partial(first_batch_plain, plain), times)
    raw[work] = {"ours": a, "reference": b}
    note = "one .npy file, memory-mapped; the check is of every chunk's size, and of the checksums of what is read"
    rows.append(
        Row(work, median(a), median(b), "s", ratio(a, b), f"< {OPEN_LIMIT:g} s", max(a) < OPEN_LIMIT, note)
    )

    work = f"memory that this takes, {what}"
    grown = [in_process(first_batch, path).grown_bytes for _ in range(2)]
    raw[work] = {"ours": grown, "reference": [size]}
    note = (
        "its whole size: it is not copied whole; what the libraries take when they are first used is counted"
    )
    rows.append(row(work, max(grown) / 1e6, size / 1e6, "MB", max(grown) / size, at_most=0.2, note=note))

    work = f"read {what} into memory"
    a, b = alternate(partial(features.load, path), partial(np.load, plain), times)
    raw[work] = {"ours": a, "reference": b, "bytes": size}
    speeds = (size / 1e6 / median(a), size / 1e6 / median(b))
    note = "np.load of the same numbers in one file; files in the system's memory"
    rows.append(row(work, *speeds, "MB/s", ratio(b, a), at_least=0.5, note=note))

    work = f"peak of memory while it is read, {what}"
    grown = [in_process(load, path).grown_bytes for _ in range(2)]
    raw[work] = {"ours": grown, "reference": [size]}
    rows.append(row(work, max(grown) / 1e6, size / 1e6, "MB", max(grown) / size, note="its whole size"))
    return rows, raw


def write(path: Path, plain: Path, shape: tuple[int, int, int]) -> None:
    """A finished cache of random numbers (N, T, D) at `path`, and the same numbers as one file, `plain`."""
    generator = np.random.default_rng(0)
    clips = ucf101.full_index().head(shape[0]).assign(path=__file__, kind="video")  # any file will do
    some = generator.standard_normal((min(256, shape[0]), *shape[1:]), np.float32).astype(np.float16)
    key = {"backbone": "random numbers", "frames": shape[1]}
    cache = Cache.open(path, clips, key, shape[1:])
    array = np.lib.format.open_memmap(plain, "w+", np.float16, shape)
    for chunk in cache.chunks():
        values = some[generator.integers(len(some), size=len(chunk))]  # (clips of the chunk, T, D)
        cache.write(chunk, dict(zip(chunk, values, strict=True)))
        array[chunk.start : chunk.stop] = values
    cache.finish()
    array.flush()


def first_batch(path: Path) -> None:
    """Open the cache and take a batch of clips from all over it."""
    x = features.load(path, memory=False).x
    x[_rows(len(x))].float()


def first_batch_plain(path: Path) -> None:
    """The same clips of one plain file."""
    x = np.load(path, mmap_mode="r")
    torch.from_numpy(x[_rows(len(x)).numpy()]).float()


def load(path: Path) -> int:
    """Read the whole cache into memory, return its bytes; at module level for use in a new process."""
    return features.load(path).x.nbytes


def _rows(count: int) -> torch.Tensor:
    """The first batch of an epoch: clips in random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))[:BATCH]
