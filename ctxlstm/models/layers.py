"""The pieces that the models share: paper sections 3.4 and 4.2.

`Embedding` comes before the first LSTM block (`lstm_block`, `recur`) and `classifier` after the last. There
are also the checks of a model's arguments.

Shape letters: B clips, T frames, D features, H hidden units, K classes; W width of an output (2H for two
directions).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

EMBEDDING = (1024, 768, 512)  # FC layers before the first block, as in the public code base
HEAD_WIDTH = 256  # between the two FC layers after the last block, section 4.2


class Embedding(nn.Sequential):
    """FC layers on each frame separately, (B, T, D) -> (B, T, sizes[-1]); no sizes: the features unchanged.

    The paper does not name them; the code base it was run with has 2048 -> 1024 -> 768 -> 512, with BatchNorm
    (momentum 0.01) and ReLU after all but the last, and dropout before the last. There BatchNorm sees one time
    step at a time; here it sees all frames of the batch at once.
    """

    def __init__(self, input_size: int, sizes: Sequence[int], dropout: float) -> None:
        layers: list[nn.Module] = []
        for size in sizes[:-1]:
            layers += [nn.Linear(input_size, size), nn.BatchNorm1d(size, momentum=0.01), nn.ReLU()]
            input_size = size
        if sizes:
            layers += [nn.Dropout(dropout), nn.Linear(input_size, sizes[-1])]
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Each frame on its own, (B, T, D) -> (B, T, E)."""
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])  # (B, T, sizes[-1])


def classifier(width: int, num_classes: int, dropout: float) -> nn.Sequential:
    """The two FC layers after the last block (section 4.2), (B, W) -> (B, K)."""
    return nn.Sequential(
        nn.Linear(width, HEAD_WIDTH), nn.ReLU(), nn.Dropout(dropout), nn.Linear(HEAD_WIDTH, num_classes)
    )


def lstm_block(
    cell: type[nn.Module], size: int, hidden_size: int, num_layers: int, bidirectional: bool, dropout: float
) -> nn.Module:
    """Layers of LSTM (or GRU) cells, (B, T, size) -> (B, T, W), with dropout between them."""
    dropout = dropout if num_layers > 1 else 0.0  # it acts between layers; torch warns if there is only one
    return cell(size, hidden_size, num_layers, bidirectional=bidirectional, batch_first=True, dropout=dropout)


def recur(cells: nn.Module, x: Tensor, *start: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Any]:
    """Outputs (B, T, W) and last state of LSTM or GRU cells on x (B, T, D), in float32 whatever the autocast.

    `start`: the state to start from, if there is one. A state is (h, c) for an LSTM and h for a GRU.

    Under autocast PyTorch gives cuDNN's cells float16 even if bfloat16 is requested, and without a scaled
    loss small gradients vanish in float16.
    """
    if x.dtype == torch.float64 or x.is_meta or not torch.is_autocast_enabled(x.device.type):
        return cells(x, *start)
    with torch.autocast(x.device.type, enabled=False):
        return cells(x.float(), *start)


class SizedByData(nn.Module):
    """A module whose tensors get their length from data, so loading a `state_dict` sets it again."""

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        for name, tensor in [*self.named_parameters(recurse=False), *self.named_buffers(recurse=False)]:
            saved = state_dict.get(prefix + name)
            if saved is not None and tensor.ndim:
                tensor.data = tensor.new_empty(len(saved), *tensor.shape[1:])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


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
