"""A training run from its start or its checkpoint to its record (paper, section 4.2).

The features usually lie in memory (in GPU memory if there is room), so a batch is one indexing operation and
no loader stands between the data and the loop (`training.loop`). Every random draw of an epoch follows from
the seed and the epoch's number, so a checkpoint needs only the weights and the optimizer, and a resumed run
equals an uninterrupted one.

In a group of several processes (`experiments.launch` makes one) a training run shares each batch among them
(`training.processes`); its checkpoints are the same files.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctxlstm import evaluation, ucf101
from ctxlstm.features import Features
from ctxlstm.features.reader import Stored
from ctxlstm.support.threads import threads
from ctxlstm.training import checkpoint as checkpoints
from ctxlstm.training import device, given, loop, processes
from ctxlstm.training.loop import predict
from ctxlstm.training.processes import is_main_process

# Below this many parameters a step on the CPU runs on one thread: its products are too small to share (with two
# threads it takes as long on a free machine and eight times as long on a busy one), and its sums do not depend on
# the number of cores.
ONE_THREAD_BELOW = 5_000_000
VERSION = 3  # raise it whenever the same settings would train differently: older checkpoints are then refused
EVALUATED_ON_GPU = 1024  # clips at once, where memory allows: an LSTM's steps wait for each other
HEAVY, SELDOM = 100_000_000, 60.0  # checkpoints of more bytes than this are written once in this many seconds
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
    """Settings of a training run; the defaults are the paper's (section 4.2) where it states them.

    `batch_size` is the largest batch: an epoch is cut into the fewest equal batches. `validation` is ours: the share
    of the training set, in whole groups, held out for choosing an epoch. The paper has no validation set and
    chooses on the test set; 0 trains on all of the training set.

    `precision` is the precision of products: "no" float32, "tf32" float32 rounded to TensorFloat-32 on GPUs
    that have it, "bf16" mixed precision with bfloat16, except in LSTM cells, which use "tf32".
    `learning_rate` is for the head, `backbone_learning_rate` for a fine-tuned backbone (`online.Online`).
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
                    f"{name} is {getattr(self, name)}: it must be above 0 (the paper uses 0.001 for its head)"
                )
        if self.precision not in device.PRECISIONS:
            names = ", ".join(device.PRECISIONS)
            raise ValueError(f"unknown precision {self.precision!r}: choose one of {names}")


@dataclass
class History:
    """The result of a training run.

    Attributes:
        table: one row per epoch, columns `COLUMNS`; losses in nats, top-1 as a share; train figures are
            running means over the epoch's batches, as the paper's log prints them; validation is NaN where
            there is none.
        predictions: one row per test clip, from the last epoch (`evaluation.predictions`).
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
    """Train a model (in place) and evaluate it on the test set after every epoch.

    Args:
        model: maps features (B, T, D), or uint8 frames (`online.Online`), to logits (B, K). A model with a
            `learn(x, y)` method and no trainable parameters (nearest neighbour) learns in one step, counted
            as an epoch.
        features: N clips, in memory or on disk (`features.load(path, memory=False)`); split: their rows.
        config: settings; default: the paper's.
        checkpoint: file written after every epoch (a large one once a minute) and resumed from if it exists.
        on_epoch: called with each new row of the history, for progress.

    Raises:
        ValueError: features that are not finite, a batch larger than the training set, fewer than two classes,
            a checkpoint of another training run.
        FloatingPointError: the loss became not-a-number; the last good checkpoint remains.
    """
    config = config or Config()
    parts = given.parts(
        features, split, share=config.validation, seed=config.seed, batch_size=config.batch_size
    )
    run = _prepare(model, features, config, parts)
    with device.arithmetic(run.config.precision):
        if run.parameters:
            optimizer = device.adam(run.model, config.learning_rate, config.backbone_learning_rate)
            identity = _identity(run, features, split)
            _resume(run, optimizer, identity, checkpoint)
            _run_epochs(run, optimizer, identity, checkpoint, on_epoch)
        else:
            _learn_at_once(run, on_epoch)
        return _history(run, features, split)


@dataclass
class _Run:
    """A training run in progress.

    Attributes:
        model: the caller's; trained: the same weights, wrapped for sharing among processes.
        x, y: features (N, T, D) or frames (N, T, 3, s, s), and class numbers (N,); parts: rows of them, by part.
        parameters: trainable ones; threads: of a step on the CPU; evaluated: clips evaluated at once.
        rows, seconds: of its epochs so far; peak: bytes.
        logits: of the test set after the last epoch, (N, K); empty before.
    """

    config: Config
    workers: processes.Alone
    model: nn.Module
    trained: nn.Module
    x: Tensor | Stored
    y: Tensor
    parts: dict[str, Tensor]
    parameters: int
    threads: int
    evaluated: int
    rows: list[dict] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    peak: int = 0
    logits: Tensor = field(default_factory=lambda: torch.empty(0))


def _prepare(model: nn.Module, features: Features, config: Config, parts: dict[str, np.ndarray]) -> _Run:
    """Put model and data where they belong."""
    workers = processes.workers(config.cpu)
    where = workers.device
    x, y = given.at_home(features.x, where), features.y.to(where)  # (N, T, D) float16, (N,)
    rows = {name: torch.as_tensor(part, device=x.device) for name, part in parts.items()}
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    model = model.to(where)
    # T frames of a clip take much more memory and work than T features.
    small = parameters < ONE_THREAD_BELOW and not features.on_frames
    evaluated = config.batch_size if features.on_frames else 4 * config.batch_size
    if where.type == "cuda":
        torch.cuda.reset_peak_memory_stats(where)
        evaluated = evaluated if features.on_frames else max(evaluated, EVALUATED_ON_GPU)
    return _Run(
        config=config if parameters else replace(config, precision="no"),  # neighbours are found in float32
        workers=workers,
        model=model,
        trained=model,
        x=x,
        y=y,
        parts=rows,
        parameters=parameters,
        threads=1 if small else torch.get_num_threads(),
        evaluated=evaluated,
    )


def _identity(run: _Run, features: Features, split: ucf101.Split) -> dict:
    """What distinguishes this training run from others: a checkpoint of another one is refused."""
    return {
        "version": VERSION,
        "config": asdict(run.config) | {"epochs": None},
        "features": features.digest,
        "train": _digest(run.parts["fit"].cpu().numpy().tobytes()),
        "test": _digest(split.test.tobytes()),
        "model": _digest(_describe(run.model).encode()),
    }


def _resume(
    run: _Run, optimizer: torch.optim.Optimizer, identity: dict, checkpoint: str | Path | None
) -> None:
    """Restore the state after the checkpoint's last epoch, if there is one; then share the model."""
    if checkpoint:
        run.rows, run.seconds = checkpoints.resume(checkpoint, run.model, optimizer, identity)
    if len(run.rows) > run.config.epochs:
        raise ValueError(
            f"{checkpoint} has {len(run.rows)} epochs already, but only {run.config.epochs} were requested: remove it to "
            "start anew"
        )
    if (count := processes.count()) > 1:
        given.check_shared(run.model, len(run.parts["fit"]), run.config.batch_size, count)
        # Parameters that get their length from data must have it before they are shared.
        predict(run.model, run.x, rows=run.parts["fit"][:1])
    run.trained = run.workers.prepare(run.model)


def _run_epochs(
    run: _Run,
    optimizer: torch.optim.Optimizer,
    identity: dict,
    checkpoint: str | Path | None,
    on_epoch: Callable[[dict], None] | None,
) -> None:
    """The epochs that are left, each followed by a checkpoint and a call of `on_epoch`."""
    config, saved = run.config, time.monotonic()
    light = 12 * run.parameters < HEAVY  # weights and Adam's two moments
    for number in range(len(run.rows) + 1, config.epochs + 1):
        start = time.perf_counter()
        with threads(run.threads):
            row = _epoch(run, optimizer, number)
        if not np.isfinite([row["train_loss"], row["test_loss"]]).all():
            raise FloatingPointError(
                f"the loss became not-a-number in epoch {number}: lower learning_rate (it is {config.learning_rate}) or "
                "use precision='no'"
                + (f"; {checkpoint} still holds epoch {number - 1}" if checkpoint and number > 1 else "")
            )
        run.rows.append(row)
        run.seconds.append(time.perf_counter() - start)
        run.peak = max(run.peak, _memory_now(run.workers.device))
        if not is_main_process():
            continue
        if checkpoint and (light or number == config.epochs or time.monotonic() - saved > SELDOM):
            saved = time.monotonic()
            checkpoints.save(Path(checkpoint), run.model, optimizer, identity, run.rows, run.seconds)
        if on_epoch:
            on_epoch(row)


def _epoch(run: _Run, optimizer: torch.optim.Optimizer, number: int) -> dict:
    """One epoch and its evaluation: a row of the history."""
    config, workers, fit = run.config, run.workers, run.parts["fit"]
    with device.seeded(config.seed, number, workers.device):
        batches = workers.parts(loop.shuffled(fit, config.batch_size, run.x.shape[1]))  # (B,) each
        means = loop.epoch(run.trained, optimizer, run.x, run.y, batches, config.precision)
    loss, top1 = workers.mean(*means, sum(map(len, batches)))
    row = {"epoch": number, "train_loss": loss, "train_top1": top1}
    for name in ("validation", "test"):
        row |= _measure(run, name)
    return row


def _measure(run: _Run, name: str) -> dict:
    """Loss and top-1 on a part; its logits stay in `run`, so the test set comes last."""
    rows = run.parts[name]
    if len(rows) == 0:
        return {f"{name}_loss": float("nan"), f"{name}_top1": float("nan")}
    run.logits = run.workers.predict(run.trained, run.x, rows, run.evaluated, run.config.precision)  # (N, K)
    y = run.y[rows]  # (N,)
    right = (run.logits.argmax(1) == y).sum().item()
    return {f"{name}_loss": F.cross_entropy(run.logits, y).item(), f"{name}_top1": right / len(y)}


def _history(run: _Run, features: Features, split: ucf101.Split) -> History:
    """The result of the run, with predictions on the test set."""
    if not len(run.logits):  # resumed after the last epoch
        with threads(run.threads):
            _measure(run, "test")
    tested, y = features.clips.iloc[split.test], features.y[split.test]
    numbered = pd.api.types.is_numeric_dtype(tested["group"])  # UCF101's, which are part of the names
    groups = None if numbered else tested["group"]
    where = run.workers.device
    return History(
        table=pd.DataFrame(run.rows, columns=COLUMNS),
        predictions=evaluation.predictions(run.logits.cpu(), y, tested["name"], features.classes, groups),
        seconds=run.seconds,
        peak_memory_bytes=max(run.peak, _memory_now(where)),
        parameters=run.parameters,
        device=torch.cuda.get_device_name(where) if where.type == "cuda" else str(where),
    )


@runtime_checkable
class _Learner(Protocol):
    def learn(self, x: Tensor, y: Tensor) -> Any: ...


def _learn_at_once(run: _Run, on_epoch: Callable[[dict], None] | None) -> None:
    """A model without trainable parameters: it looks at the training set once."""
    start, fit = time.perf_counter(), run.parts["fit"]
    if not isinstance(run.model, _Learner):
        raise ValueError(f"{type(run.model).__name__} has no trainable parameters and no learn(x, y)")
    run.model.learn(loop.read(run.x, fit, run.y.device), run.y[fit])
    row = {"epoch": 1, "train_loss": float("nan"), "train_top1": float("nan")}
    for name in ("validation", "test"):
        row |= _measure(run, name)
    if on_epoch and is_main_process():
        on_epoch(row)
    run.rows, run.seconds = [row], [time.perf_counter() - start]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _describe(model: nn.Module) -> str:
    """What the model computes apart from its weights: layers, and options like the handover that add none."""
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
