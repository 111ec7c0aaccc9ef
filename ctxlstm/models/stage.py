"""What follows every block of Context-LSTM (paper, sections 3.4 and 4.4): ReLU, BatchNorm, MaxPool.

Shape letters: B clips, T frames, W width of a block's output (2H for two directions).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctxlstm.models.layers import SizedByData

POOLS: dict[str | None, Callable[[Tensor], Tensor]] = {
    "feature": lambda y: F.max_pool1d(y, 2),  # (B, T, W) -> (B, T, W/2)
    "time": lambda y: F.max_pool1d(y.transpose(1, 2), 2).transpose(1, 2),  # (B, T, W) -> (B, T/2, W)
    None: lambda y: y,
}


class TimeBatchNorm(SizedByData, nn.BatchNorm1d):
    """`nn.BatchNorm1d(T)` before T is known, (B, T, W) -> (B, T, W): each frame over clips and features.

    T is known only when the first clips arrive. Until then weight, bias and statistics have length 0 (so they
    can be counted, saved and given to an optimizer, unlike those of `nn.LazyBatchNorm1d`); then, or on loading
    a `state_dict`, they get length T, which is fixed from there on.
    """

    def __init__(self) -> None:
        super().__init__(0)

    def forward(self, y: Tensor) -> Tensor:
        """Normalise every time step over clips and features, (B, T, W) -> (B, T, W)."""
        if len(self.weight) == 0:
            self._grow(y.shape[1])
        if len(self.weight) != y.shape[1]:
            raise ValueError(
                f"batch_norm='time' was set up for {len(self.weight)} frames at this block; got {y.shape[1]}: "
                "give clips of one length, or use batch_norm='feature'"
            )
        self.num_features = y.shape[1]
        return super().forward(y)  # (B, T, W)

    @torch.inference_mode(False)
    def _grow(self, frames: int) -> None:
        one, zero = self.weight.new_ones(frames), self.weight.new_zeros(frames)  # (T,)
        self.weight.data, self.bias.data = one, zero
        self.running_var, self.running_mean = one.clone(), zero.clone()


class Stage(nn.Module):
    """ReLU, BatchNorm and MaxPool after a block (section 3.4); it sees outputs only, never states.

    (B, T, W) -> (B, T, W/2) with pool "feature", (B, T//2, W) with "time", (B, T, W) with None. Pooling comes
    last in both orders, "relu-bn" and "bn-relu" (section 4.4).
    """

    def __init__(self, width: int, pool: str | None, order: str, batch_norm: str) -> None:
        super().__init__()
        self.pool, self.order, self.batch_norm = pool, order, batch_norm
        self.bn = nn.BatchNorm1d(width) if batch_norm == "feature" else TimeBatchNorm()

    def forward(self, y: Tensor) -> Tensor:
        """Apply ReLU and BatchNorm in the chosen order, then the pool, to outputs y (B, T, W)."""
        y = self.normalise(F.relu(y)) if self.order == "relu-bn" else F.relu(self.normalise(y))  # (B, T, W)
        return POOLS[self.pool](y)

    def normalise(self, y: Tensor) -> Tensor:
        """BatchNorm of y, (B, T, W) -> (B, T, W); torch's has a mean and a variance per index of axis 1."""
        if self.batch_norm == "time":
            return self.bn(y)  # for each frame t, over clips and features
        return self.bn(y.transpose(1, 2)).transpose(1, 2)  # for each feature, over clips and frames

    def extra_repr(self) -> str:
        return f"pool={self.pool!r}, order={self.order!r}, batch_norm={self.batch_norm!r}"
