"""Training at the paper's size on a GPU: `python -m benchmarks.gpu_training`.

Not run yet: an H200 is expected to take ten minutes.

Full size: 9,990 + 3,330 clips of 28 x 2,048 generated features in the GPU's memory, batch 80, hidden size
512, 3 blocks. Floors come from this card's own rates, measured first. A floor is the larger of two times: the
work counted by `cost.predict` divided by the matrix rate, and the bytes that must be moved divided by the
bandwidth. `--small` tries every line of the script in a minute, on a CPU if there is no GPU; its numbers mean
nothing and are not recorded.
"""

import statistics
import sys
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks import harness
from benchmarks.harness import Row, row
from ctxlstm import cost, models, training, ucf101
from ctxlstm.features import Features
from ctxlstm.training import device, trainer

MODELS = ("cnn_lstm", "context_lstm", "context_lstm_no_pool")
MINUTES_300, MINUTES_900 = 10, 25  # limits: 300 epochs of context_lstm, 300 of each of the three


@dataclass(frozen=True)
class Size:
    """How large everything is; the defaults are the paper's."""

    clips: int = 13_320
    test: int = 3_330
    classes: int = 101
    frames: int = 28
    width: int = 2048
    hidden_size: int = 512
    embedding: tuple[int, ...] = (1024, 768, 512)
    batch_size: int = 80
    epochs: int = (
        6  # of each measurement; the first two, in which libraries choose their kernels, do not count
    )
    learning: int = 20  # epochs after which accuracy is compared
    matrix: int = 8192  # side of the products that give the matrix rate
    copied: int = 2**32  # bytes of the copy that gives the bandwidth
    device: str = "cuda"


SMALL = Size(120, 30, 5, 4, 16, 8, (8,), 10, 3, 3, 64, 2**16, "cuda" if torch.cuda.is_available() else "cpu")


def data(size: Size) -> tuple[Features, ucf101.Split]:
    """Generated clips that can be learnt: each class is a path through feature space, drowned in noise."""
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(size.clips) % size.classes  # (N,)
    paths = torch.randn(size.classes, size.frames, size.width, generator=random).half()  # (K, T, D)
    x = torch.empty(size.clips, size.frames, size.width, dtype=torch.float16)  # (N, T, D)
    for start in range(0, size.clips, 512):  # the noise of all at once would take three times the memory
        part = labels[start : start + 512]
        noise = torch.randn(len(part), size.frames, size.width, generator=random).half()
        x[start : start + 512] = 0.03 * paths[part] + noise
    numbers = np.arange(size.clips)
    clips = pd.DataFrame(
        {
            "name": [f"clip{number:05d}" for number in numbers],
            "label": [f"class{label:03d}" for label in labels.tolist()],
            "group": numbers // size.classes,
            "clip": 1,
        }
    )
    order = np.random.default_rng(0).permutation(size.clips)
    return Features(x, clips), ucf101.Split(
        protocol="paper", fold=1, seed=0, train=order[size.test :], test=order[: size.test]
    )


def build(name: str, size: Size) -> torch.nn.Module:
    """A new model of the size under test, with the same weights each time."""
    torch.manual_seed(0)
    sizes = {"input_size": size.width, "num_classes": size.classes, "hidden_size": size.hidden_size}
    return models.build(name, **sizes, embedding=size.embedding)


def fit(name: str, size: Size, features: Features, split: ucf101.Split, **changes) -> training.History:
    """`training.fit` of a new model without a validation set, as in the paper."""
    given = {
        "epochs": size.epochs,
        "batch_size": size.batch_size,
        "validation": 0.0,
        "cpu": size.device == "cpu",
    }
    return training.fit(build(name, size), features, split, training.Config(**given | changes))


def epoch_seconds(history: training.History) -> float:
    """Median of the epochs after the first two, evaluation included."""
    return statistics.median(history.seconds[2:] or history.seconds)


def ceilings(size: Size) -> dict[str, float]:
    """This device's limits: matrix products in each precision (FLOP/s), a copy (bytes/s, read and write)."""
    found = {}
    for precision, dtype in (("no", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(size.matrix, size.matrix, device=size.device, dtype=dtype) for _ in "ab")
        with device.arithmetic(precision):
            found[precision] = 2 * size.matrix**3 / call_seconds(lambda a=a, b=b: a @ b, size)
    source = torch.randint(0, 256, (size.copied,), dtype=torch.uint8, device=size.device)
    target = torch.empty_like(source)
    found["copy"] = 2 * size.copied / call_seconds(lambda: target.copy_(source), size)
    return found


def call_seconds(work, size: Size, times: int = 10) -> float:
    """Median seconds of a call, by the device's own clock."""
    spent = []
    for _ in range(times + 3):
        start = cost.measured.now(torch.device(size.device))
        work()
        end = cost.measured.now(torch.device(size.device))
        if size.device == "cuda":
            torch.cuda.synchronize()
        spent.append(cost.measured.seconds(start, end))
    return statistics.median(spent[3:])


@cache
def counted(name: str, size: Size) -> cost.Cost:
    """The counted work of a model at this size; takes seconds."""
    sizes = {"input_size": size.width, "num_classes": size.classes, "hidden_size": size.hidden_size}
    clips = {"train_clips": size.clips - size.test, "test_clips": size.test}
    return cost.predict(
        name, batch_size=size.batch_size, frames=size.frames, embedding=size.embedding, **clips, **sizes
    )


def floor(name: str, precision: str, size: Size, rates: dict[str, float]) -> float:
    """The least seconds an epoch can take: counted work over the matrix rate, or bytes over the bandwidth.

    Bytes of a step: Adam reads weight, gradient and two moments and writes three of them; the forward and
    backward pass read the weights once each; and the batch's features are read.
    """
    work = counted(name, size)
    steps = -(-work.train_clips // size.batch_size)
    batch = 2 * size.batch_size * size.frames * size.width
    moved = steps * (work.parameters * 4 * (7 + 2) + batch)
    return max(work.head_epoch_flops / rates[precision], moved / rates["copy"])


def speed(size: Size, features: Features, split, rates: dict) -> tuple[list[Row], dict]:
    """Epochs of the three models in three precisions beside their floors, and what 300 and 900 epochs take."""
    rows, raw, best = [], {}, {}
    for name in MODELS:
        for precision in device.PRECISIONS:
            history = fit(name, size, features, split, precision=precision)
            seconds, least = epoch_seconds(history), floor(name, precision, size, rates)
            best[name] = min(seconds, best.get(name, seconds))
            work = f"epoch, {name}, {precision}"
            raw[work] = {"ours": history.seconds, "reference": [least]}
            rows.append(row(work, seconds, least, "s", seconds / least, note="reference: the floor"))
    for work, minutes, limit in (
        ("300 epochs of context_lstm", 5 * best["context_lstm"], MINUTES_300),
        ("300 epochs of all three", 5 * sum(best.values()), MINUTES_900),
    ):
        note = "from the epoch's median; reference: the limit"
        rows.append(row(work, minutes, limit, "min", minutes / limit, at_most=1, note=note))
    return rows, raw


def accuracy(size: Size, features: Features, split) -> tuple[list[Row], dict]:
    """Test top-1 after some epochs in each precision, over float32's: a fast precision must not cost accuracy."""
    rows, raw, exact = [], {}, None
    for precision in device.PRECISIONS:
        table = fit("context_lstm", size, features, split, precision=precision, epochs=size.learning).table
        top1 = table["test_top1"].iloc[-1]
        exact = top1 if exact is None else exact
        work = f"top-1 after {size.learning} epochs, context_lstm, {precision}"
        raw[work] = {"ours": list(table["test_top1"])}
        limits = {} if precision == "no" else {"at_least": 0.99}
        rows.append(row(work, 100 * top1, 100 * exact, "%", top1 / exact if exact else 1.0, **limits))
    return rows, raw


def tried(size: Size, features: Features, split) -> tuple[list[Row], dict]:
    """What each optimisation is worth: an epoch with it over one without it."""
    rows, raw = [], {}

    def compare(work: str, name: str, value) -> None:
        owner, attribute = name
        fast = fit("context_lstm", size, features, split, precision="tf32").seconds
        kept = getattr(owner, attribute)
        setattr(owner, attribute, value)
        try:
            slow = fit("context_lstm", size, features, split, precision="tf32").seconds
        finally:
            setattr(owner, attribute, kept)
        raw[work] = {"ours": fast, "reference": slow}
        ours, reference = (statistics.median(seconds[2:] or seconds) for seconds in (fast, slow))
        rows.append(row(work, ours, reference, "s", ours / reference, note="seconds of an epoch"))

    compare("evaluation of 1024 clips at once, over 320", (trainer, "EVALUATED_ON_GPU"), 0)
    compare("Adam as one kernel, over one a kind of operation", (device, "adam"), _several_kernels)
    return rows, raw


def _several_kernels(model, learning_rate: float, _: float) -> torch.optim.Adam:
    weights = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.Adam(weights, lr=learning_rate)


def memory(size: Size) -> tuple[list[Row], dict]:
    """Peak memory of context_lstm's training steps without the features, and its prediction."""
    options = {"input_size": size.width, "num_classes": size.classes, "hidden_size": size.hidden_size}
    shared = {"batch_size": size.batch_size, "frames": size.frames, "embedding": size.embedding, **options}
    found = cost.measured.in_fresh_process("context_lstm", "cached", steps=5, device=size.device, **shared)
    predicted = cost.predict("context_lstm", **shared).head_bytes
    gigabytes, expected = found.grown_bytes / 1e9, predicted / 1e9
    without, same = (
        "memory of context_lstm's training, features left out",
        "the same, over what was predicted",
    )
    rows = [
        row(without, gigabytes, 2.0, "GB", gigabytes / 2.0, at_most=1, note="reference: the limit"),
        row(same, gigabytes, expected, "GB", max(gigabytes / expected, expected / gigabytes), at_most=1.15),
    ]
    return rows, {rows[0].work: {"ours": [found.grown_bytes], "reference": [predicted]}}


def profile(size: Size, features: Features) -> str:
    """Where the device's time goes in some steps of context_lstm: the ten largest kernels."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    model = build("context_lstm", size).to(size.device).train()
    optimizer = device.adam(model, 1e-3, 1e-4)
    x = features.x[: size.batch_size].to(size.device).float()  # (B, T, D)
    y = features.y[: size.batch_size].to(size.device)  # (B,)

    def step(x: Tensor, y: Tensor) -> None:
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for _ in range(3):
        step(x, y)
    kinds = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if size.device == "cuda" else [])
    with watch(activities=kinds) as found:
        for _ in range(5):
            step(x, y)
    key = "self_device_time_total" if size.device == "cuda" else "self_cpu_time_total"
    return found.key_averages().table(sort_by=key, row_limit=10, max_name_column_width=60)


def main(arguments: list[str] | None = None) -> int:
    """Measure everything, print the table, save the record."""
    small = harness.small_or_gpu("gpu_training", __doc__, arguments)
    if small is None:
        return 2
    size = SMALL if small else Size()
    features, split = data(size)
    rates = ceilings(size)
    rows, raw = [], {"ceilings": rates}
    for measured in (
        speed(size, features, split, rates),
        accuracy(size, features, split),
        tried(size, features, split),
        memory(size),
    ):
        rows += measured[0]
        raw |= measured[1]
        print(harness.table(measured[0]), flush=True)
    raw["profile"] = profile(size, features)
    if not small:
        print(f"\n{raw['profile']}\nrecord: {harness.save('gpu_training', rows, raw).name}")
    rate = ", ".join(f"{name} {value / 1e12:.3g} T/s" for name, value in rates.items())
    print(f"\nthis device: {rate}\n{harness.table(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
