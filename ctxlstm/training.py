"""The training loop (paper, section 4.2): cross-entropy, Adam, learning rate 0.001, batch 80, 300 epochs.

The features lie in memory (in GPU memory on a GPU), so a batch is one indexing operation and no loader stands
between the data and the loop. Every random draw of an epoch follows from the seed and the epoch's number; a
checkpoint therefore needs only the weights and the optimizer, and a resumed run equals an uninterrupted one.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from sklearn.metrics import accuracy_score
from torch import Tensor, nn

from ctxlstm import checkpoint as checkpoints
from ctxlstm import evaluation, ucf101
from ctxlstm.features import Features

PRECISIONS = ("no", "bf16")
# Below this many parameters a step on the CPU runs on one thread: its products are too small to share (with two
# threads it takes as long on a free machine and eight times as long on a busy one), and its sums do not depend on
# the number of cores.
ONE_THREAD_BELOW = 5_000_000
VERSION = 2  # raise it whenever the same settings would train otherwise: older checkpoints are then refused
HEAVY, SELDOM = 100_000_000, 60.0  # checkpoints of more bytes than this are written once in so many seconds
COLUMNS = (
    "epoch",
    "train_loss",
    "train_top1",
    "validation_loss",
    "validation_top1",
    "test_loss",
    "test_top1",
)


@dataclass(frozen=True)
class Config:
    """Settings of a training; the defaults are the paper's (section 4.2) where it states them.

    `batch_size` is the largest batch: an epoch is cut into the fewest equal batches. `validation` is ours: the share
    of the training part, cut off by whole groups, on which an epoch may be chosen. The paper has no third part and
    chooses on the test part; 0 trains on all of the training part.
    """

    epochs: int = 300
    batch_size: int = 80
    learning_rate: float = 1e-3
    validation: float = 0.1
    seed: int = 0
    precision: str = "no"
    cpu: bool = False

    def __post_init__(self):
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        if not self.learning_rate > 0:
            raise ValueError(
                f"learning_rate is {self.learning_rate}: it must be above 0 (the paper takes 0.001)"
            )
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}")


@dataclass
class History:
    """What a training leaves behind.

    Attributes:
        table: one row an epoch, columns `COLUMNS`; losses in nats, top-1 as a share; train figures are running
            means over the epoch's batches, as the paper's log prints them; validation is NaN where there is none.
        predictions: one row a test clip, from the last epoch (`evaluation.predictions`).
        seconds: wall seconds of each epoch, evaluation included; on a resumed run, summed over its parts.
        peak_memory_bytes: on a GPU the largest sum of allocations, features included; on a CPU the largest resident
            set of the whole process seen after an epoch, which says little about one model.
        parameters: trainable parameters.
        device: where it ran.
    """

    table: pd.DataFrame
    predictions: pd.DataFrame
    seconds: list[float] = field(default_factory=list)
    peak_memory_bytes: int = 0
    parameters: int = 0
    device: str = ""


def fit(
    model: nn.Module,
    features: Features,
    split: ucf101.Split,
    config: Config | None = None,
    *,
    checkpoint: str | Path | None = None,
    on_epoch: Callable[[dict], None] | None = None,
) -> History:
    """Train a model (in place) and measure it on the test part after every epoch.

    Args:
        model: maps features (B, T, D), or uint8 frames (`online.Online`), to logits (B, K). A model with a
            `learn(x, y)` method and no trainable parameters (nearest neighbour) learns in one step, one epoch.
        features: N clips; split: their training and test rows.
        config: settings; default: the paper's.
        checkpoint: file that is written after every epoch (a large one once a minute) and resumed from if it is there.
        on_epoch: called with each new row of the history, for progress.

    Raises:
        ValueError: features that are not finite, a batch larger than the training part, fewer than two classes,
            a checkpoint of another training.
        FloatingPointError: the loss became not-a-number; the last good checkpoint stays.
    """
    config = config or Config()
    for part in ("train", "test"):
        if len(getattr(split, part)) == 0:
            raise ValueError(
                f"the {part} part of the split is empty: were all of its clips left out as unusable?"
            )
    fit_rows, validation_rows = ucf101.validation(
        features.clips, split, share=config.validation, seed=config.seed
    )
    _check(features, fit_rows, config)
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        AcceleratorState._reset_state(
            reset_partial_state=True
        )  # else it keeps the first run's device and precision
    # Without CUDA Accelerate would choose a Mac's GPU, whose random numbers could not be restored.
    accelerator = Accelerator(
        mixed_precision=config.precision, cpu=config.cpu or not torch.cuda.is_available()
    )
    device = accelerator.device
    x, y = _at_home(features.x, device), features.y.to(device)  # (N, T, D) float16, (N,)
    parts = {name: torch.as_tensor(rows, device=device) for name, rows in
             (("fit", fit_rows), ("validation", validation_rows), ("test", split.test))}  # fmt: skip
    trainable = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        return _learn_at_once(model.to(device), x, y, parts, features, split, on_epoch)

    optimizer = torch.optim.Adam(trainable, lr=config.learning_rate)
    model, optimizer = accelerator.prepare(model, optimizer)
    raw = accelerator.unwrap_model(model)
    identity = {
        "version": VERSION,
        "config": asdict(config) | {"epochs": None},
        "features": features.digest,
        "train": _digest(fit_rows.tobytes()),
        "test": _digest(split.test.tobytes()),
        "model": _digest(_describe(raw).encode()),
    }
    rows, seconds = checkpoints.resume(checkpoint, raw, optimizer, identity) if checkpoint else ([], [])
    if len(rows) > config.epochs:
        raise ValueError(
            f"{checkpoint} has {len(rows)} epochs already, {config.epochs} were asked for: remove it to start anew"
        )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    parameters = sum(p.numel() for p in trainable)
    on_frames = x.dtype == torch.uint8  # T frames of a clip take much more memory and work than T features
    threads = 1 if parameters < ONE_THREAD_BELOW and not on_frames else torch.get_num_threads()
    evaluated = config.batch_size if on_frames else 4 * config.batch_size  # clips at once
    peak, saved = 0, time.monotonic()
    logits = None
    for epoch in range(len(rows) + 1, config.epochs + 1):
        start = time.perf_counter()
        with _threads(threads):
            loss, top1 = _train_epoch(model, optimizer, accelerator, x, y, parts["fit"], config, epoch)
            row = {"epoch": epoch, "train_loss": loss, "train_top1": top1}
            for name in ("validation", "test"):  # the test part's logits are kept
                logits = predict(model, x, rows=parts[name], batch_size=evaluated)  # (N of the part, K)
                row |= _measure(name, logits, y[parts[name]])
        if not np.isfinite(row["train_loss"]) or not torch.isfinite(logits).all():
            raise FloatingPointError(
                f"the loss became not-a-number in epoch {epoch}: lower learning_rate (it is {config.learning_rate}) or "
                "use precision='no'"
                + (f"; {checkpoint} still holds epoch {epoch - 1}" if checkpoint and epoch > 1 else "")
            )
        rows.append(row)
        seconds.append(time.perf_counter() - start)
        peak = max(peak, _memory_now(device))
        light = 12 * parameters < HEAVY  # weights and Adam's two means
        if checkpoint and (light or epoch == config.epochs or time.monotonic() - saved > SELDOM):
            saved = time.monotonic()
            checkpoints.save(Path(checkpoint), raw, optimizer, identity, rows, seconds)
        if on_epoch:
            on_epoch(row)
    if logits is None:  # resumed after the last epoch
        with _threads(threads):
            logits = predict(model, x, rows=parts["test"], batch_size=evaluated)
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # takes the autocast off the caller's model
    return History(
        pd.DataFrame(rows, columns=COLUMNS),
        _predictions(logits, features, split),
        seconds,
        max(peak, _memory_now(device)),
        parameters,
        _device_name(device),
    )


def _train_epoch(
    model, optimizer, accelerator, x: Tensor, y: Tensor, rows: Tensor, config: Config, epoch: int
) -> tuple[float, float]:
    """One pass over the training rows in random order; returns the mean loss and top-1 over the epoch's clips."""
    model.train()
    losses, predicted = [], []
    with torch.random.fork_rng(devices=[y.device] if y.is_cuda else []):
        # The seed of an epoch depends on nothing that happened before: resuming needs no generator state.
        torch.manual_seed(int(np.random.SeedSequence([config.seed, epoch]).generate_state(1)[0]))
        order = rows[torch.randperm(len(rows)).to(rows.device)]
        # Equal batches instead of full ones and a rest: BatchNorm's statistics over a rest of three clips upset a whole
        # epoch. For the paper's 9,990 clips this makes 125 batches of 79 or 80; a rest of 70 would be the last one.
        batches = list(order.tensor_split(-(-len(order) // config.batch_size)))
        if x.shape[1] == 1 and len(batches) > 1 and len(batches[-1]) == 1:
            batches[-2:] = [torch.cat(batches[-2:])]  # BatchNorm cannot work on a single frame
        for batch in batches:
            with accelerator.autocast():
                logits = model(_input(x, batch, y.device))  # (B, T, D) -> (B, K)
                loss = F.cross_entropy(logits, y[batch])
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()
            losses.append(loss.detach() * len(batch))
            predicted.append(logits.detach().argmax(1))  # (B,)
    loss = torch.stack(losses).sum() / len(order)
    return loss.item(), accuracy_score(y[order].cpu(), torch.cat(predicted).cpu())


@contextmanager
def _threads(count: int):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, *, rows: Tensor | None = None, batch_size: int = 320) -> Tensor:
    """Logits (N, K) float32 of feature sequences x (N, T, D), or of N `rows` of them, in evaluation mode."""
    model.eval()
    device = next(chain(model.parameters(), model.buffers())).device
    rows = torch.arange(len(x)) if rows is None else rows
    return torch.cat([model(_input(x, part, device)).float() for part in rows.split(batch_size)])


def _input(x: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """What a model reads: features (B, T, D) as float32, frames (B, T, 3, s, s) as the uint8 that they are."""
    x = x[rows.to(x.device)].to(device)
    return x if x.dtype == torch.uint8 else x.float()


def _measure(name: str, logits: Tensor, y: Tensor) -> dict:
    if len(y) == 0:
        return {f"{name}_loss": float("nan"), f"{name}_top1": float("nan")}
    loss = F.cross_entropy(logits, y).item()
    return {f"{name}_loss": loss, f"{name}_top1": accuracy_score(y.cpu(), logits.argmax(1).cpu())}


def _learn_at_once(model, x, y, parts, features, split, on_epoch) -> History:
    """A model without trainable parameters: it looks at the training part once."""
    start = time.perf_counter()
    if y.is_cuda:
        torch.cuda.reset_peak_memory_stats(y.device)
    model.learn(_input(x, parts["fit"], y.device), y[parts["fit"]])
    row = {"epoch": 1, "train_loss": float("nan"), "train_top1": float("nan")}
    for name in ("validation", "test"):
        logits = predict(model, x, rows=parts[name])
        row |= _measure(name, logits, y[parts[name]])
    if on_epoch:
        on_epoch(row)
    seconds = [time.perf_counter() - start]
    table = pd.DataFrame([row], columns=COLUMNS)
    predictions = _predictions(logits, features, split)
    return History(table, predictions, seconds, _memory_now(y.device), 0, _device_name(y.device))


def _predictions(logits: Tensor, features: Features, split: ucf101.Split) -> pd.DataFrame:
    names = features.clips["name"].iloc[split.test].tolist()
    return evaluation.predictions(logits.cpu(), features.y[split.test], names, features.classes)


def _check(features: Features, rows: np.ndarray, config: Config) -> None:
    if features.x.dtype != torch.uint8 and not torch.isfinite(features.x).all():
        finite = torch.isfinite(features.x).flatten(1).all(1)  # (N,)
        name = features.clips["name"].iloc[int((~finite).float().argmax())]
        raise ValueError(f"the features of {name} hold not-a-number or infinity: extract its features again")
    if len(features.classes) < 2:
        raise ValueError(
            f"there is one class only ({features.classes[0]}): a classifier needs clips of two classes at least"
        )
    if config.batch_size == 1 and features.x.shape[1] == 1:
        raise ValueError(
            "batch_size 1 with one frame a clip leaves BatchNorm a single frame: choose batch_size 2 or more"
        )
    if config.batch_size > len(rows):
        raise ValueError(
            f"batch_size {config.batch_size} is larger than the training part ({len(rows)} clips): choose {len(rows)} or less"
        )


def _at_home(x: Tensor, device: torch.device) -> Tensor:
    """The features where they stay: in GPU memory if they fill at most half of what is free, else where they are."""
    if device.type == "cuda" and x.nbytes > 0.5 * torch.cuda.mem_get_info(device)[0]:
        return x
    return x.to(device)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _describe(model: nn.Module) -> str:
    """What the model computes besides its weights: layers, and options such as the hand-over that add no layer."""
    plain = str | int | float | bool | tuple | None
    options = [
        (name, key, value)
        for name, module in model.named_modules()
        for key, value in sorted(vars(module).items())
        if isinstance(value, plain) and not key.startswith("_") and key != "training"
    ]
    return f"{model}{options}"


def _memory_now(device: torch.device) -> int:
    return (
        torch.cuda.max_memory_allocated(device)
        if device.type == "cuda"
        else psutil.Process().memory_info().rss
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
