"""The training loop (paper, section 4.2): the clips in random order, equal batches, a step on each; then predictions.

Shape letters: B clips of a batch, T frames, D features, K classes, N clips of a data set; s side of a frame in pixels.
"""

from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctxlstm.features.reader import Stored


def shuffled(rows: Tensor, batch_size: int, frames: int) -> list[Tensor]:
    """The clips `rows` (N,) in random order, cut into the fewest equal batches of at most `batch_size`, (B,) each.

    Equal batches instead of full ones and a remainder: BatchNorm statistics over a remainder of three clips
    upset a whole epoch. For the paper's 9,990 clips this makes 125 batches of 79 or 80; otherwise the last
    would have 70.
    """
    order = rows[torch.randperm(len(rows)).to(rows.device)]  # (N,)
    batches = list(order.tensor_split(-(-len(order) // batch_size)))
    if frames == 1 and len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [torch.cat(batches[-2:])]  # BatchNorm cannot work on a single frame
    return batches


def epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    x: Tensor | Stored,
    y: Tensor,
    batches: list[Tensor],
    precision: str = "no",
) -> tuple[float, float]:
    """Train on every batch once; returns the mean loss (nats) and the top-1 over their clips.

    Args:
        model: maps what `read` gives to logits; optimizer: of its weights.
        x: features (N, T, D) or frames (N, T, 3, s, s), in memory or on disk; y: class numbers (N,), on the model's device.
        batches: rows (B,) of x and y, as from `shuffled`; precision: of products (`training.Config`).
    """
    model.train()
    losses, hits = [], []  # they stay on the device until the epoch's end, so that no step waits for them
    for batch in batches:
        logits = forward(model, read(x, batch, y.device), precision)  # (B, T, D) -> (B, K)
        loss = F.cross_entropy(logits, y[batch])  # ()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach() * len(batch))
        hits.append((logits.detach().argmax(1) == y[batch]).sum())
    clips = sum(map(len, batches))
    return (torch.stack(losses).sum() / clips).item(), torch.stack(hits).sum().item() / clips


@torch.no_grad()
def predict(
    model: nn.Module,
    x: Tensor | Stored,
    *,
    rows: Tensor | None = None,
    batch_size: int = 320,
    precision: str = "no",
) -> Tensor:
    """Logits (N, K) float32 of feature sequences x (N, T, D), or of N `rows` of them, in evaluation mode."""
    model.eval()
    device = next(chain(model.parameters(), model.buffers())).device
    rows = torch.arange(len(x)) if rows is None else rows
    return torch.cat([forward(model, read(x, part, device), precision) for part in rows.split(batch_size)])


def forward(model: nn.Module, x: Tensor, precision: str) -> Tensor:
    """Logits (B, K) float32 of what `read` gives; with precision "bf16" the products on the way are bfloat16."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(x)  # (B, T, D) -> (B, K)
    return logits.float()


def read(x: Tensor | Stored, rows: Tensor, device: torch.device) -> Tensor:
    """What a model reads of the clips `rows` (B,): features (B, T, D) as float32, frames (B, T, 3, s, s) as uint8."""
    batch = x[rows.to(x.device)]
    if device.type == "cuda" and batch.device.type == "cpu":
        batch = batch.pin_memory()  # so that nothing waits for the copy
    batch = batch.to(device, non_blocking=True)
    return batch.float() if batch.is_floating_point() else batch
