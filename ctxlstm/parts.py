"""The pieces that stand before, between and behind the LSTM blocks: paper sections 3.4, 4.2 and 4.4.

`Embedding` before the first block, a `Stage` (ReLU, BatchNorm, MaxPool) behind every block, `classifier` at the
end; and the checks of what a model is given. `models` puts them together.

Shape letters: B clips, T frames, D features, H hidden units, K classes; W width of an output (2H for two
directions).
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

EMBEDDING = (1024, 768, 512)  # FC layers before the first block, as in the public code base
HEAD_WIDTH = 256  # between the two FC layers behind the last block, section 4.2

POOLS: dict[str | None, Callable[[Tensor], Tensor]] = {
    "feature": lambda y: F.max_pool1d(y, 2),  # (B, T, W) -> (B, T, W/2)
    "time": lambda y: F.max_pool1d(y.transpose(1, 2), 2).transpose(1, 2),  # (B, T, W) -> (B, T/2, W)
    None: lambda y: y,
}


class Embedding(nn.Sequential):
    """FC layers on every frame alone, (B, T, D) -> (B, T, sizes[-1]); no sizes: the features as they are.

    The paper does not name them; the code base it was run with has 2048 -> 1024 -> 768 -> 512, with BatchNorm
    (momentum 0.01) and ReLU after all but the last, and dropout before the last. There BatchNorm sees one time
    step after the other; here it sees all frames of the batch at once.
    """

    def __init__(self, input_size: int, sizes: Sequence[int], dropout: float) -> None:
        layers: list[nn.Module] = []
        for size in sizes[:-1]:
            layers += [nn.Linear(input_size, size), BatchNorm1d(size, momentum=0.01), nn.ReLU()]
            input_size = size
        if sizes:
            layers += [nn.Dropout(dropout), nn.Linear(input_size, sizes[-1])]
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Each frame on its own, (B, T, D) -> (B, T, E)."""
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # (B, T, sizes[-1])


def classifier(width: int, num_classes: int, dropout: float) -> nn.Sequential:
    """The two FC layers behind the last block (section 4.2), (B, W) -> (B, K)."""
    return nn.Sequential(
        nn.Linear(width, HEAD_WIDTH), nn.ReLU(), nn.Dropout(dropout), nn.Linear(HEAD_WIDTH, num_classes)
    )


def recur(cells: nn.Module, x: Tensor, *start: tuple[Tensor, Tensor] | None) -> tuple[Tensor, ...]:
    """Outputs (B, T, W) and last state of LSTM or GRU cells on x (B, T, D), in float32 whatever autocast is on.

    `start`: the state to start from, if there is one.

    Under autocast PyTorch gives cuDNN's cells float16 where bfloat16 was asked for, and without a scaled loss small
    gradients vanish in float16.
    """
    if x.dtype == torch.float64 or x.is_meta or not torch.is_autocast_enabled(x.device.type):
        return cells(x, *start)
    with torch.autocast(x.device.type, enabled=False):
        return cells(x.float(), *start)


class SizedByData(nn.Module):
    """A module whose tensors get their length from data, so a loaded `state_dict` decides it anew."""

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        for name, tensor in [*self.named_parameters(recurse=False), *self.named_buffers(recurse=False)]:
            saved = state_dict.get(prefix + name)
            if saved is not None and tensor.ndim:
                tensor.data = tensor.new_empty(len(saved), *tensor.shape[1:])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class SharedSum(torch.autograd.Function):
    """The sum of a tensor over all processes, in each of them; gradients are summed likewise."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        """x of any shape, equal in all processes -> the sum, of that shape."""
        total = x.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        """Every process's part went into every process's loss."""
        return SharedSum.apply(gradient)


class BatchNorm1d(nn.BatchNorm1d):
    """`torch.nn.BatchNorm1d` that, in a training shared by several processes, normalises with the whole batch's statistics.

    Gradients flow through the shared sums, so that processes together compute what one would. `torch.nn.SyncBatchNorm`
    does this on GPUs only; here the same lines serve both.
    """

    def forward(self, y: Tensor) -> Tensor:
        """Normalise y, (N, W) or (N, W, L), over all dimensions but the second."""
        shared = self.training and distributed.is_available() and distributed.is_initialized()
        if not shared or distributed.get_world_size() == 1:
            return super().forward(y)
        kind, y = y.dtype, y.to(torch.promote_types(y.dtype, torch.float32))  # bfloat16 cannot count to 300
        over = [dim for dim in range(y.ndim) if dim != 1]
        wide = (1, -1) + (1,) * (y.ndim - 2)
        count = y.new_tensor([y.numel() // y.shape[1]])
        total = SharedSum.apply(torch.cat([y.sum(over), count]))  # (W + 1,)
        mean, count = total[:-1] / total[-1], total[-1].detach()  # (W,), ()
        centred = y - mean.view(wide)
        var = SharedSum.apply(centred.square().sum(over)) / count  # (W,)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(var + self.eps)  # (W,)
        return (centred * scale.view(wide) + self.bias.view(wide)).to(kind)


class FeatureBatchNorm(BatchNorm1d):
    """BatchNorm of each feature over clips and frames, (B, T, W) -> (B, T, W)."""

    def forward(self, y: Tensor) -> Tensor:
        """Normalise every feature over clips and frames, (B, T, W) -> (B, T, W)."""
        return super().forward(y.transpose(1, 2)).transpose(1, 2)  # (B, T, W)


class TimeBatchNorm(SizedByData, BatchNorm1d):
    """BatchNorm of each frame over clips and features, (B, T, W) -> (B, T, W): BatchNorm1d(T), not transposed.

    T is known only when the first clips arrive. Until then weight, bias and statistics have length 0 (so they
    can be counted, saved and given to an optimizer, unlike those of `nn.LazyBatchNorm1d`); then, or on loading
    a `state_dict`, they get length T, which is fixed from there on. A model that several processes share must
    have seen a clip before (`training.fit` sees to it).
    """

    def __init__(self) -> None:
        super().__init__(0)

    def forward(self, y: Tensor) -> Tensor:
        """Normalise every time step over clips and features, (B, T, W) -> (B, T, W)."""
        if len(self.weight) == 0:
            self._grow(y.shape[1])
        if len(self.weight) != y.shape[1]:
            raise ValueError(
                f"batch_norm='time' was set up for {len(self.weight)} frames at this block; got {y.shape[1]}. "
                "Give clips of one length, or use batch_norm='feature'"
            )
        self.num_features = y.shape[1]
        return super().forward(y)  # (B, T, W)

    @torch.inference_mode(False)
    def _grow(self, frames: int) -> None:
        for tensor, value in (
            (self.weight, 1.0),
            (self.bias, 0.0),
            (self.running_mean, 0.0),
            (self.running_var, 1.0),
        ):
            tensor.data = tensor.new_full((frames,), value)


class Stage(nn.Module):
    """ReLU, BatchNorm and MaxPool behind a block (section 3.4); it sees outputs only, never states.

    (B, T, W) -> (B, T, W/2) with pool "feature", (B, T//2, W) with "time", (B, T, W) with None. Pooling comes
    last in both orders, "relu-bn" and "bn-relu" (section 4.4).
    """

    def __init__(self, width: int, pool: str | None, order: str, batch_norm: str) -> None:
        super().__init__()
        self.pool, self.order = pool, order
        self.bn = FeatureBatchNorm(width) if batch_norm == "feature" else TimeBatchNorm()

    def forward(self, y: Tensor) -> Tensor:
        """ReLU and BatchNorm in the chosen order, then the pool, of outputs y (B, T, W)."""
        y = self.bn(F.relu(y)) if self.order == "relu-bn" else F.relu(self.bn(y))  # (B, T, W)
        return POOLS[self.pool](y)

    def extra_repr(self) -> str:
        return f"pool={self.pool!r}, order={self.order!r}"


def embedding_sizes(embedding: Sequence[int] | None) -> tuple[int, ...]:
    """The sizes of an embedding's layers, () for None; ValueError unless each is an int of at least 1."""
    if embedding is None:
        return ()
    if not isinstance(embedding, Sequence) or not all(isinstance(n, int) and n > 0 for n in embedding):
        raise ValueError(f"embedding must be a list of ints of at least 1, or None; got {embedding!r}")
    return tuple(embedding)


def check_sizes(**sizes: int) -> None:
    """Raise ValueError unless every size is an int of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"{name} must be an int of at least 1; got {size!r}")


def check_dropout(dropout: float) -> None:
    """Raise ValueError unless `dropout` is a share, at least 0 and below 1."""
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be at least 0 and below 1; got {dropout!r}")


def check_name(option: str, value: str | None, valid: Iterable[str | None]) -> None:
    """Raise ValueError, listing the valid names, unless `value` is one of them."""
    if value not in tuple(valid):
        raise ValueError(f"unknown {option} {value!r}; valid: {', '.join(map(repr, valid))}")


def check_clips(x: Tensor, input_size: int, min_frames: int = 1) -> None:
    """Raise ValueError unless x is (B, T, D) with D = input_size and T at least min_frames."""
    if x.ndim != 3 or x.shape[2] != input_size:
        raise ValueError(f"x must be clips (B, T, D) with D = {input_size}; got {tuple(x.shape)}")
    if x.shape[1] < min_frames:
        why = ", because pool='time' halves them after every block" if min_frames > 1 else ""
        raise ValueError(f"a clip must have at least {min_frames} frames{why}; got T = {x.shape[1]}")
