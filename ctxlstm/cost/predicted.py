"""What a model costs in time and memory, predicted before it is measured (paper, sections 4.3, 4.4, Table 2).

`predict` counts without computing: the model runs one training step on tensors that have shapes but no
values. `paper_comparison` puts predictions and measurements (`cost.measured`) beside the hours and gigabytes
of Table 2.

Conventions
    A multiply-add is two FLOPs. Matrix products and convolutions count; activations, normalisation, pooling
    and the optimizer do not. FLOPs are work, not time: the steps of an LSTM wait for each other, so a GPU may
    run far below its peak.
    Bytes are of float32 tensors, and of tensors only: no CUDA context, no library workspace, no temporaries,
    no blocks that an allocator keeps in reserve. A GB is 10^9 bytes.
    Saved activations are what the forward pass keeps for the backward pass. An LSTM layer that reads width W
    keeps its input and, in each direction, 7 numbers per unit and frame: four gates, c, tanh(c) and h; with
    W = 2H that is 8 per direction. This holds if the equations are computed one by one; with `cell="gates"`
    it is exact. What a fused kernel keeps is measured (`cost.measured`), not predicted. Attention, too, is
    counted without a fused kernel, which would not keep the (T, T) weights.
    A recurrent head does the same work for every frame, so its FLOPs and saved bytes are linear in T: two
    short lengths are counted and the rest follows exactly.

Two ways to train
    online: all frames go through the frozen ResNet-50 in every epoch, the batch's frames of one time step at once
    and under no_grad, as in the public code base; cached: only once, and training reads their features.

Shape letters: B clips, T frames, D features, H hidden units, K classes.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from ctxlstm import models, paper
from ctxlstm.cost.measured import Measured
from ctxlstm.models.layers import check_sizes
from ctxlstm.models.stage import Stage

IMAGE_SIZE = 224  # pixels, the side of the square that ResNet-50 reads
# Most numbers per image that ResNet-50 holds without gradients, in the last BatchNorm of its first
# bottleneck: the block's input (64 x 56 x 56), its last convolution, the shortcut's, and one of them
# normalised (256 x 56 x 56).
RESNET50_PEAK = (64 + 3 * 256) * 56 * 56
SHORT = (
    2,
    3,
)  # frames: two points of a straight line in T; a single frame may be a special case


@dataclass(frozen=True)
class Cost:
    """The predicted cost of one model; FLOPs and bytes as the module's conventions say.

    Attributes:
        name, batch_size (B), frames (T), train_clips, test_clips: as given to `predict`.
        parameters: numbers that training changes.
        forward_flops: of the model, one clip.
        step_flops: of the model, forward and backward, one batch of B clips. Three times the forward pass, less
            the gradients that are not needed: those of the features and of the initial zero state.
        weight_bytes: parameters and buffers; gradient_bytes: one number per parameter; adam_bytes: two.
        saved_bytes: activations saved for the backward pass at batch B, the batch's features included.
        cache_bytes: features of all clips, float16, (N, T, D).
        backbone_flops: ResNet-50 on the T frames of one clip.
        backbone_weight_bytes: its parameters and buffers.
        backbone_peak_bytes: the most that its activations take, for B images at once.
        image_bytes: a batch of frames, (B, T, 3, 224, 224).
    """

    name: str
    batch_size: int
    frames: int
    train_clips: int
    test_clips: int
    parameters: int
    forward_flops: int
    step_flops: int
    weight_bytes: int
    gradient_bytes: int
    adam_bytes: int
    saved_bytes: int
    cache_bytes: int
    backbone_flops: int
    backbone_weight_bytes: int
    backbone_peak_bytes: int
    image_bytes: int

    @property
    def head_bytes(self) -> int:
        """Everything that training the model on features holds at the end of a forward pass."""
        return self.weight_bytes + self.gradient_bytes + self.adam_bytes + self.saved_bytes

    @property
    def online_bytes(self) -> int:
        """Peak of the online way: the backbone's activations are gone before the model's are complete."""
        fixed = self.head_bytes - self.saved_bytes + self.backbone_weight_bytes + self.image_bytes
        return fixed + max(self.backbone_peak_bytes, self.saved_bytes)

    @property
    def head_epoch_flops(self) -> int:
        """The model's part of an epoch, and all of it in the cached way: training steps and the test set."""
        return self.step_flops * self.train_clips // self.batch_size + self.forward_flops * self.test_clips

    @property
    def backbone_epoch_flops(self) -> int:
        """The backbone's part: of every epoch in the online way, only once in the cached way."""
        return self.backbone_flops * (self.train_clips + self.test_clips)

    @property
    def online_epoch_flops(self) -> int:
        """FLOPs of one epoch of training with all frames through the backbone."""
        return self.head_epoch_flops + self.backbone_epoch_flops


def predict(
    name: str,
    *,
    batch_size: int = 80,
    frames: int = 28,
    train_clips: int = 9990,
    test_clips: int = 3330,
    **options,
) -> Cost:
    """Predict what the model `models.build(name, **options)` costs; the defaults are the paper's (section 4.2).

    Nothing is computed or allocated, and no random state changes. Takes a second or two for the largest
    models, ten with pooling or BatchNorm over time.

    Raises:
        ValueError: a size below 1, or what `models.build` and the model refuse.
    """
    check_sizes(batch_size=batch_size, frames=frames, train_clips=train_clips, test_clips=test_clips)
    with _shapes_only():
        model = models.build(name, **options).train()
        if hasattr(model, "learn"):  # nearest_neighbour: its training clips, as shapes
            model.vectors = torch.empty(train_clips, model.input_size)  # (N, D)
            model.labels = torch.empty(train_clips, dtype=torch.int64)  # (N,)
        if _straight(model) and frames > max(SHORT):
            forward, both, saved = _extended(name, batch_size, frames, options)
        else:
            forward, both, saved = _count(
                model, torch.empty(batch_size, frames, model.input_size)
            )  # (B, T, D)
    tensors = [*model.parameters(), *model.buffers()]
    numbers = models.count_parameters(model)
    flops, weight_bytes = resnet50()
    return Cost(
        name,
        batch_size,
        frames,
        train_clips,
        test_clips,
        parameters=numbers,
        forward_flops=forward // batch_size,
        step_flops=both if numbers else 0,
        weight_bytes=sum(t.nbytes for t in tensors),
        gradient_bytes=4 * numbers,
        adam_bytes=8 * numbers,
        saved_bytes=saved,
        cache_bytes=2 * (train_clips + test_clips) * frames * model.input_size,
        backbone_flops=frames * flops,
        backbone_weight_bytes=weight_bytes,
        backbone_peak_bytes=4 * batch_size * RESNET50_PEAK,
        image_bytes=4 * batch_size * frames * 3 * IMAGE_SIZE**2,
    )


@contextmanager
def _shapes_only() -> Iterator[None]:
    """Within this context tensors have shapes but no values; the random state is restored after it."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        yield


def _straight(model: nn.Module) -> bool:
    """Whether work and saved bytes are linear in T: a recurrent head in which nothing depends on T."""
    stages = (module for module in model.modules() if isinstance(module, Stage))
    over_time = any("time" in (stage.pool, stage.batch_norm) for stage in stages)
    return isinstance(model, models.ContextLSTM | models.CNNLSTM) and not over_time


def _extended(name: str, batch_size: int, frames: int, options: Mapping[str, Any]) -> list[int]:
    """What `_count` would give at T = `frames`, from the counts at two short lengths."""
    hashable = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    low, high = _short(name, batch_size, frozenset(hashable.items()))
    return [a + (frames - SHORT[0]) * (b - a) for a, b in zip(low, high, strict=True)]


@cache
def _short(
    name: str, batch_size: int, options: frozenset[tuple[str, Any]]
) -> tuple[tuple[int, int, int], ...]:
    """Counts of the model at each of the lengths `SHORT`."""
    with _shapes_only():
        model = models.build(name, **dict(options)).train()
        return tuple(_count(model, torch.empty(batch_size, frames, model.input_size)) for frames in SHORT)


def _count(model: nn.Module, x: Tensor) -> tuple[int, int, int]:
    """FLOPs of forward, FLOPs of forward and backward, bytes saved between them, for one batch x (B, T, D)."""
    saved = {}  # storages by address: a tensor saved twice, or a view of one, takes its memory once

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage  # kept alive, so that its address is not reused
        return tensor

    with FlopCounterMode(display=False) as counter:
        with saved_tensors_hooks(note, lambda tensor: tensor):
            logits = model(x)  # (B, K)
            loss = F.cross_entropy(logits, torch.zeros(len(x), dtype=torch.int64, device=x.device))
        forward = counter.get_total_flops()
        # Weights are not activations; looked up only now, as BatchNorm over time makes its own from the data.
        for weight in [*model.parameters(), *model.buffers()]:
            saved.pop(weight.untyped_storage()._cdata, None)
        if loss.requires_grad:
            loss.backward()
        return forward, counter.get_total_flops(), sum(storage.nbytes() for storage in saved.values())


@cache
def resnet50(size: int = IMAGE_SIZE) -> tuple[int, int]:
    """FLOPs per image of size x size pixels and bytes of weights, for ResNet-50 without its classifier."""
    import torchvision  # slow to import, and only needed here

    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        net = torchvision.models.resnet50(weights=None).eval()
        net.fc = nn.Identity()
        net(torch.empty(1, 3, size, size))
    return counter.get_total_flops(), sum(t.nbytes for t in net.state_dict().values())


def paper_comparison(
    costs: Mapping[str, Cost] | None = None, measured: Mapping[str, Measured] | None = None
) -> pd.DataFrame:
    """Table 2 beside the predictions and, where given, measurements: one row for each of its three models.

    Args:
        costs: predictions by our model name, to compare another reading or size; missing ones: `predict(name)`.
        measured: measurements by our model name, on features (the cached way).

    Returns:
        Columns row, model; predicted: parameters, forward_gflops (a clip), step_tflops, epoch_pflops (online),
        head_flops_share (of epoch_pflops), head_gb, online_gb; paper: paper_hours (300 epochs), paper_gb;
        differences to the baseline: paper_hours_change, flops_hours_change (the hours that the difference in
        online FLOPs adds at the paper's baseline FLOPs per hour), paper_gb_change, head_gb_change,
        online_gb_change; and the signs of four of them (-1, 0, 1): paper_hours_sign, flops_hours_sign,
        paper_gb_sign, online_gb_sign; measured: device, measured_hours (training steps of 300 epochs),
        measured_gb (`grown_bytes`), measured_hours_change, measured_gb_change (missing where not given).

    Raises:
        ValueError: a name that is not in Table 2, costs of unequal batches, frames or clips, a measurement at
            another batch size.
    """
    table = paper.table2().drop(columns=["top1", "status"])
    measured = measured or {}
    for name in [*(costs or {}), *measured]:
        if name not in set(table.model):
            raise ValueError(f"Table 2 has no model {name!r}; it has: {', '.join(table.model)}")
    costs = {name: (costs or {}).get(name) or predict(name) for name in table.model}
    if len({(c.batch_size, c.frames, c.train_clips, c.test_clips) for c in costs.values()}) > 1:
        raise ValueError(
            "costs of unequal batch_size, frames or clips cannot be compared: predict all three with the same"
        )
    epochs = paper.SETTINGS["epochs"].value
    rows = []
    for name, cost in costs.items():
        row = {
            "model": name,
            "parameters": cost.parameters,
            "forward_gflops": cost.forward_flops / 1e9,
            "step_tflops": cost.step_flops / 1e12,
            "epoch_pflops": cost.online_epoch_flops / 1e15,
            "head_flops_share": cost.head_epoch_flops / cost.online_epoch_flops,
            "head_gb": cost.head_bytes / 1e9,
            "online_gb": cost.online_bytes / 1e9,
            "device": None,
            "measured_hours": math.nan,
            "measured_gb": math.nan,
        }
        if found := measured.get(name):
            if found.batch_size != cost.batch_size:
                raise ValueError(
                    f"{name} was measured at batch {found.batch_size} and predicted at {cost.batch_size}: use one size"
                )
            hours = epochs * math.ceil(cost.train_clips / cost.batch_size) * found.step_seconds / 3600
            row |= {"device": found.device, "measured_hours": hours, "measured_gb": found.grown_bytes / 1e9}
        rows.append(row)
    table = table.rename(columns={"hours": "paper_hours", "memory_gb": "paper_gb"}).merge(pd.DataFrame(rows))
    base = table[table.row == paper.BASELINE].iloc[0]
    table["flops_hours_change"] = base.paper_hours * (table.epoch_pflops / base.epoch_pflops - 1)
    for column in ("paper_hours", "paper_gb", "head_gb", "online_gb", "measured_hours", "measured_gb"):
        table[f"{column}_change"] = table[column] - base[column]
    for column in ("paper_hours", "flops_hours", "paper_gb", "online_gb"):
        change = table[f"{column}_change"]
        table[f"{column}_sign"] = (change > 0).astype(int) - (change < 0).astype(int)
    return table
