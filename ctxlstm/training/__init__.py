"""A training (paper, section 4.2): cross-entropy, Adam, learning rate 0.001, batch 80, 300 epochs.

The features lie in memory (in GPU memory on a GPU), so a batch is one indexing operation and no loader stands
between the data and the loop (`training.loop`). Every random draw of an epoch follows from the seed and the epoch's
number; a checkpoint therefore needs only the weights and the optimizer, and a resumed run equals an uninterrupted one.

Started in several processes (`experiments.launch`), one training shares each batch among them and gives what one
process gives, up to the rounding of sums; its checkpoints are the same files.
"""

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctxlstm import evaluation, ucf101
from ctxlstm.features import Features
from ctxlstm.models.shared_batch_norm import BatchNorm1d
from ctxlstm.support.threads import threads
from ctxlstm.training import checkpoint as checkpoints
from ctxlstm.training import device
from ctxlstm.training.device import PRECISIONS
from ctxlstm.training.loop import Loop, predict, read

# Below this many parameters a step on the CPU runs on one thread: its products are too small to share (with two
# threads it takes as long on a free machine and eight times as long on a busy one), and its sums do not depend on
# the number of cores.
ONE_THREAD_BELOW = 5_000_000
VERSION = 3  # raise it whenever the same settings would train otherwise: older checkpoints are then refused
EVALUATED_ON_GPU = 1024  # clips at once, where memory is no matter: an LSTM's steps wait for each other
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

    `precision` is that of products: "no" float32, "tf32" float32 rounded to TensorFloat-32 on GPUs that have it, "bf16"
    mixed with bfloat16, but for the cells of an LSTM, which have "tf32". `backbone_learning_rate` is for a backbone that
    learns too (`online.Online`), a head's is `learning_rate`.
    """

    epochs: int = 300
    batch_size: int = 80
    learning_rate: float = 1e-3
    validation: float = 0.1
    seed: int = 0
    precision: str = "no"
    cpu: bool = False
    backbone_learning_rate: float = 1e-4

    def __post_init__(self):
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")
        for name in ("learning_rate", "backbone_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"{name} is {getattr(self, name)}: it must be above 0 (the paper takes 0.001 for its head)"
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
        features: N clips, in memory or on disk (`features.load(path, memory=False)`); split: their rows.
        config: settings; default: the paper's.
        checkpoint: file that is written after every epoch (a large one once a minute) and resumed from if it is there.
        on_epoch: called with each new row of the history, for progress.

    Raises:
        ValueError: features that are not finite, a batch larger than the training part, fewer than two classes,
            a checkpoint of another training.
        FloatingPointError: the loss became not-a-number; the last good checkpoint stays.
    """
    config = config or Config()
    parts = _parts(features, split, config)
    accelerator = device.accelerator(config.precision, config.cpu)
    with device.arithmetic(config.precision):
        return _fit(model, features, split, config, parts, accelerator, checkpoint, on_epoch)


def _fit(model, features, split, config, parts, accelerator, checkpoint, on_epoch) -> History:
    where = accelerator.device
    x, y = _at_home(features.x, where), features.y.to(where)  # (N, T, D) float16, (N,)
    rows_of = {name: torch.as_tensor(rows, device=x.device) for name, rows in parts.items()}  # of x
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    model = model.to(where)
    if not parameters:
        return _learn_at_once(model, x, y, rows_of, features, split, on_epoch)
    if accelerator.num_processes > 1:
        _check_shared(model, parts["fit"], config, accelerator.num_processes)
        predict(
            model, x, rows=rows_of["fit"][:1]
        )  # parameters that get their length from data have it before sharing
    optimizer = device.adam(model, config.learning_rate, config.backbone_learning_rate)
    model = accelerator.prepare_model(model)
    raw = accelerator.unwrap_model(model)
    identity = {
        "version": VERSION,
        "config": asdict(config) | {"epochs": None},
        "features": features.digest,
        "train": _digest(parts["fit"].tobytes()),
        "test": _digest(split.test.tobytes()),
        "model": _digest(_describe(raw).encode()),
    }
    rows, seconds = checkpoints.resume(checkpoint, raw, optimizer, identity) if checkpoint else ([], [])
    if len(rows) > config.epochs:
        raise ValueError(
            f"{checkpoint} has {len(rows)} epochs already, {config.epochs} were asked for: remove it to start anew"
        )
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
    loop = Loop(model, optimizer, accelerator, x, y, config.batch_size, config.seed)
    on_frames = x.dtype == torch.uint8  # T frames of a clip take much more memory and work than T features
    count = 1 if parameters < ONE_THREAD_BELOW and not on_frames else torch.get_num_threads()
    evaluated = config.batch_size if on_frames else 4 * config.batch_size  # clips at once
    if where.type == "cuda" and not on_frames:
        evaluated = max(evaluated, EVALUATED_ON_GPU)
    light = 12 * parameters < HEAVY  # weights and Adam's two means
    peak, saved = 0, time.monotonic()
    logits = None
    for epoch in range(len(rows) + 1, config.epochs + 1):
        start = time.perf_counter()
        with threads(count):
            loss, top1 = loop.epoch(epoch, rows_of["fit"])
            row = {"epoch": epoch, "train_loss": loss, "train_top1": top1}
            for name in ("validation", "test"):  # the test part's logits are kept
                if len(rows_of[name]):
                    logits = loop.predict(rows_of[name], evaluated)  # (N of the part, K)
                row |= _measure(name, logits, y[rows_of[name]])
        if not np.isfinite([row["train_loss"], row["test_loss"]]).all():
            raise FloatingPointError(
                f"the loss became not-a-number in epoch {epoch}: lower learning_rate (it is {config.learning_rate}) or "
                "use precision='no'"
                + (f"; {checkpoint} still holds epoch {epoch - 1}" if checkpoint and epoch > 1 else "")
            )
        rows.append(row)
        seconds.append(time.perf_counter() - start)
        peak = max(peak, _memory_now(where))
        if not accelerator.is_main_process:
            continue
        if checkpoint and (light or epoch == config.epochs or time.monotonic() - saved > SELDOM):
            saved = time.monotonic()
            checkpoints.save(Path(checkpoint), raw, optimizer, identity, rows, seconds)
        if on_epoch:
            on_epoch(row)
    if logits is None:  # resumed after the last epoch
        with threads(count):
            logits = loop.predict(rows_of["test"], evaluated)
    accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # takes the autocast off the caller's model
    return History(
        pd.DataFrame(rows, columns=COLUMNS),
        _predictions(logits, features, split),
        seconds,
        max(peak, _memory_now(where)),
        parameters,
        _device_name(where),
    )


def is_main_process() -> bool:
    """Whether this is the one process, or the first of several that share a training: it alone writes files."""
    return os.environ.get("RANK", "0") == "0"


def _parts(features: Features, split: ucf101.Split, config: Config) -> dict[str, np.ndarray]:
    """Rows to fit, to validate and to test on; refuses data and settings that do not suit each other."""
    for part in ("train", "test"):
        if len(getattr(split, part)) == 0:
            raise ValueError(
                f"the {part} part of the split is empty: were all of its clips left out as unusable?"
            )
    fit, validation = ucf101.validation(features.clips, split, share=config.validation, seed=config.seed)
    _check(features, fit, config)
    return {"fit": fit, "validation": validation, "test": split.test}


def _measure(name: str, logits: Tensor | None, y: Tensor) -> dict:
    if len(y) == 0:
        return {f"{name}_loss": float("nan"), f"{name}_top1": float("nan")}
    right = (logits.argmax(1) == y).sum().item()
    return {f"{name}_loss": F.cross_entropy(logits, y).item(), f"{name}_top1": right / len(y)}


def _learn_at_once(model, x, y, parts, features, split, on_epoch) -> History:
    """A model without trainable parameters: it looks at the training part once."""
    start = time.perf_counter()
    if y.is_cuda:
        torch.cuda.reset_peak_memory_stats(y.device)
    model.learn(read(x, parts["fit"], y.device), y[parts["fit"]])
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


def _check_shared(model: nn.Module, rows: np.ndarray, config: Config, processes: int) -> None:
    """Refuse what several processes cannot share and give one process's result."""
    if min(config.batch_size, len(rows) // -(-len(rows) // config.batch_size)) < processes:
        raise ValueError(
            f"batch_size {config.batch_size} leaves some of {processes} processes without a clip: start fewer processes"
        )
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
            if not isinstance(module, BatchNorm1d):
                raise ValueError(
                    "batch_norm drift normalises with the statistics of a whole batch in one process: start one process"
                )


def _check(features: Features, rows: np.ndarray, config: Config) -> None:
    # A few clips at a time: the check of a whole data set at once would take its memory again. Features that stay on
    # disk are not read twice: what is wrong with them shows in the loss.
    in_memory = isinstance(features.x, Tensor) and features.x.dtype != torch.uint8
    for start in range(0, len(features.x) if in_memory else 0, 64):
        finite = torch.isfinite(features.x[start : start + 64]).flatten(1).all(1)  # (64,)
        if not finite.all():
            name = features.clips["name"].iloc[start + int((~finite).float().argmax())]
            raise ValueError(
                f"the features of {name} hold not-a-number or infinity: extract its features again"
            )
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
    if not isinstance(x, Tensor):  # on disk (`stored.Stored`), as they are larger than memory
        return x
    if device.type == "cuda":
        # What PyTorch holds in reserve is free, too.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        if x.nbytes > 0.5 * (torch.cuda.mem_get_info(device)[0] + kept):
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
