"""Peak memory in fresh processes: extraction's does not grow with the clips, training holds them once."""

import tempfile
from pathlib import Path

import psutil
import torch

from benchmarks import clips
from benchmarks.harness import Row, in_process, row
from benchmarks.training import Case, data
from ctxlstm import backbone, features, training

TIMES = (1, 2, 4)  # multiples of the data
FRAMES = 28
MARGIN = 0.1  # tolerance for other causes: the system counts pages, an allocator keeps some memory


def measure(small: bool = False) -> tuple[list[Row], dict]:
    """Rows of the table, and the bytes behind them."""
    extraction, raw = extraction_rows(small)
    train, more = training_rows(small)
    return extraction + train, raw | more


def extraction_rows(small: bool) -> tuple[list[Row], dict]:
    """Peak memory of extraction with multiples of the clips, over that with the fewest."""
    base, size = (2, 32) if small else (24, 128)
    _, source = clips.table(base, small)
    runs = [in_process(extract, times * base, size, small) for times in TIMES]
    grown = [run.grown_bytes for run in runs]
    note = f"{base} {source}; efficientnet_lite0, {size} px; what the libraries take once they are imported not counted"
    rows = [
        row(f"peak of extraction, {times}x the clips", more / 1e6, grown[0] / 1e6, "MB", more / grown[0],
            at_most=1 + MARGIN, note=note)
        for times, more in list(zip(TIMES, grown, strict=True))[1:]
    ]  # fmt: skip
    return rows, {"peak of extraction": {"clips": [base * times for times in TIMES], "bytes": grown}}


def extract(count: int, size: int, small: bool) -> None:
    """Extract the features of `count` clips."""
    table, _ = clips.table(count, small)
    net = backbone.load("efficientnet_lite0", size=size)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "f"
        features.extract(table, out, backbone=net, frames=FRAMES, device="cpu", progress=False)


def training_rows(small: bool) -> tuple[list[Row], dict]:
    """Growth of training's peak with more clips, over their features' bytes; and the rest of the peak."""
    base = 100 if small else 1920  # clips: enough that each run tests on a full batch
    case = Case("cnn_lstm", {"hidden_size": 16, "num_layers": 1, "embedding": (16,)}, 20 if small else 80)
    runs = [in_process(train, case, times * base) for times in TIMES]
    sizes, before = ([run.value[i] for run in runs] for i in (0, 1))
    grown = [run.peak_bytes - start for run, start in zip(runs, before, strict=True)]
    note = (
        f"the features of the clips that were added, once; at first {base} x {FRAMES} x {case.width} float16"
    )
    rows = []
    for times, peak, size in list(zip(TIMES, grown, sizes, strict=True))[1:]:
        work, added, more = f"peak of training, what {times}x the clips add", peak - grown[0], size - sizes[0]
        rows.append(row(work, added / 1e6, more / 1e6, "MB", added / more, at_most=1 + MARGIN, note=note))
    model = sum(p.numel() * p.element_size() for p in case.build().parameters())
    batch = 4 * case.batch_size * FRAMES * case.width * (2 + 4)  # four training batches at once in testing
    rest, wanted = grown[0] - sizes[0], 4 * model + batch
    work = "peak of training, all but the features"
    note = "weights, gradients, Adam's two means, a batch to test on in float16 and float32; activations not counted"
    rows.append(row(work, rest / 1e6, wanted / 1e6, "MB", rest / wanted, note=note))
    return rows, {"peak of training": {"features": sizes, "bytes": grown}}


def train(case: Case, count: int) -> tuple[int, int]:
    """Train an epoch on `count` clips, some for testing; return bytes of their features and in use before."""
    torch.set_num_threads(1)
    config = training.Config(epochs=1, batch_size=case.batch_size, validation=0, cpu=True)
    few, split = data(case, case.batch_size, 10)
    training.fit(case.build(), few, split, config)  # what the libraries take at first use
    before = psutil.Process().memory_info().rss
    tested = 4 * case.batch_size  # what `training.fit` tests on at once
    made, split = data(case, count - tested, tested)
    training.fit(case.build(), made, split, config)
    return made.x.nbytes, before
