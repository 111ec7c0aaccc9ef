"""The steps of a training (paper, section 4.2): batches, one step, one epoch, predictions; in one process or several.

Nothing in an epoch waits for the device: losses and hits stay there until its end.

Several processes share every batch: each computes its part of it, BatchNorm (`parts.BatchNorm1d`) and the gradients see
the whole. Shape letters: B clips, T frames, D features, K classes, N clips of a data set.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn


class Loop:
    """A model on its data, step by step.

    Args:
        model: as `accelerator` prepared it; optimizer: of its parameters.
        x: features (N, T, D) or uint8 frames (N, T, 3, s, s); y: class numbers (N,), on the accelerator's device.
        batch_size: the largest batch, over all processes; seed: of the order of the clips, and all else random.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        accelerator: Accelerator,
        x: Tensor,
        y: Tensor,
        batch_size: int,
        seed: int,
    ) -> None:
        self.model, self.optimizer, self.accelerator = model, optimizer, accelerator
        self.x, self.y, self.batch_size, self.seed = x, y, batch_size, seed
        self.raw = accelerator.unwrap_model(model)
        self.rank, self.processes = accelerator.process_index, accelerator.num_processes

    def epoch(self, number: int, rows: Tensor) -> tuple[float, float]:
        """Train on the clips `rows` (N,) once, in random order; returns mean loss (nats) and top-1 over the epoch."""
        self.model.train()
        done = []
        # The seed of an epoch depends on nothing that happened before: resuming needs no generator state.
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        with self._random(seed) as generator:
            order = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
            for batch in batches(order, self.batch_size, self.x.shape[1]):
                done.append(self.step(batch))
        losses, hits = (torch.stack(column) for column in zip(*done, strict=True))  # (batches,) each
        totals = torch.stack([(losses.sum() / len(rows)).double(), hits.sum().double()])  # (2,)
        totals = self.accelerator.reduce(totals, "sum") if self.processes > 1 else totals
        loss, right = totals.tolist()
        return loss, right / len(rows)

    def step(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """One step on the clips `batch` (B,): the sum of this process's losses (), and how many it got right ()."""
        mine = batch.tensor_split(self.processes)[self.rank] if self.processes > 1 else batch
        logits = self.model(read(self.x, mine, self.y.device))  # (B, T, D) -> (B, K)
        loss = F.cross_entropy(logits, self.y[mine])
        # Gradients are averaged over processes: with a part of another size than the others the mean needs a weight.
        share = self.processes * len(mine) / len(batch)
        self.optimizer.zero_grad()
        (loss * share if share != 1 else loss).backward()
        self.optimizer.step()
        return loss.detach() * len(mine), (logits.detach().argmax(1) == self.y[mine]).sum()

    def predict(self, rows: Tensor, batch_size: int) -> Tensor:
        """Logits (N, K) float32 of the clips `rows` (N,), in every process; each computes a part of them."""
        if self.processes == 1 or len(rows) == 0:
            return predict(self.raw, self.x, rows=rows, batch_size=batch_size)
        parts = rows.tensor_split(self.processes)
        mine = predict(self.raw, self.x, rows=parts[self.rank], batch_size=batch_size)
        even = F.pad(mine, (0, 0, 0, len(parts[0]) - len(mine)))  # parts differ by one clip at most
        gathered = self.accelerator.gather(even).split(len(parts[0]))
        return torch.cat([logits[: len(part)] for logits, part in zip(gathered, parts, strict=True)])

    @contextmanager
    def _random(self, seed: int) -> Iterator[torch.Generator]:
        """The generator of an epoch's order; whatever else the model draws follows from the same seed."""
        with torch.random.fork_rng(devices=[self.y.device] if self.y.is_cuda else []):
            # torch.manual_seed would seed every kind of device, and takes a millisecond where there is no GPU.
            torch.default_generator.manual_seed(seed)
            if self.y.is_cuda:
                torch.cuda.manual_seed(seed)
            yield torch.default_generator


def batches(order: Tensor, batch_size: int, frames: int) -> list[Tensor]:
    """Cut the clips `order` (N,) into the fewest equal batches of at most `batch_size`.

    Equal ones instead of full ones and a rest: BatchNorm's statistics over a rest of three clips upset a whole epoch.
    For the paper's 9,990 clips this makes 125 batches of 79 or 80; a rest of 70 would be the last one.
    """
    cut = list(order.tensor_split(-(-len(order) // batch_size)))
    if frames == 1 and len(cut) > 1 and len(cut[-1]) == 1:
        cut[-2:] = [torch.cat(cut[-2:])]  # BatchNorm cannot work on a single frame
    return cut


@torch.no_grad()
def predict(model: nn.Module, x: Tensor, *, rows: Tensor | None = None, batch_size: int = 320) -> Tensor:
    """Logits (N, K) float32 of feature sequences x (N, T, D), or of N `rows` of them, in evaluation mode."""
    model.eval()
    device = next(chain(model.parameters(), model.buffers())).device
    rows = torch.arange(len(x)) if rows is None else rows
    return torch.cat([model(read(x, part, device)).float() for part in rows.split(batch_size)])


def read(x: Tensor, rows: Tensor, device: torch.device) -> Tensor:
    """What a model reads: features (B, T, D) as float32, frames (B, T, 3, s, s) as the uint8 that they are."""
    x = x[rows.to(x.device)]
    if device.type == "cuda" and x.device.type == "cpu":
        x = x.pin_memory()  # so that nothing waits for the copy
    x = x.to(device, non_blocking=True)
    return x if x.dtype == torch.uint8 else x.float()
