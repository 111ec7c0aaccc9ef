"""Reference heads: what the same features give without an LSTM.

The paper compares its cascade with one LSTM only (sections 3.5, 4.3). These heads show how much of a result
is already in the features: one frame, the mean of all frames, the most similar training clip, attention.

Shape letters: B clips, T frames, D features, H hidden units, K classes; N training clips.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctxlstm.models.layers import (
    EMBEDDING,
    Embedding,
    SizedByData,
    check_clips,
    check_dropout,
    check_sizes,
    classifier,
    embedding_sizes,
)


class MeanLinear(nn.Module):
    """One Linear on the mean of all frames: no order, no hidden layer."""

    def __init__(self, input_size: int = 2048, num_classes: int = 101) -> None:
        super().__init__()
        check_sizes(input_size=input_size, num_classes=num_classes)
        self.input_size = input_size
        self.linear = nn.Linear(input_size, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of clips x (B, T, D)."""
        check_clips(x, self.input_size)
        return self.linear(self.summary(x))  # (B, K)

    def summary(self, x: Tensor) -> Tensor:
        """The mean over all frames, (B, T, D) -> (B, D)."""
        return x.mean(dim=1)  # (B, D)


class SingleFrame(MeanLinear):
    """One Linear on the middle frame, T // 2 (the seventh of 12): no order, but a moment of movement."""

    def summary(self, x: Tensor) -> Tensor:
        """The middle frame, (B, T, D) -> (B, D)."""
        return x[:, x.shape[1] // 2]  # (B, D)


class NearestNeighbour(SizedByData):
    """The class of the most similar training clip, by cosine between mean features. Nothing is trained.

    `learn(x, y)` keeps the training clips as buffers, so they travel in the `state_dict`. The logit of a class
    is the largest cosine to any of its clips; a class without clips gets the smallest possible, -1.
    """

    def __init__(self, input_size: int = 2048, num_classes: int = 101) -> None:
        super().__init__()
        check_sizes(input_size=input_size, num_classes=num_classes)
        self.input_size, self.num_classes = input_size, num_classes
        self.register_buffer("vectors", torch.empty(0, input_size))  # (N, D), each of length 1
        self.register_buffer("labels", torch.empty(0, dtype=torch.int64))  # (N,)

    def learn(self, x: Tensor, y: Tensor) -> None:
        """Keep the clips x (N, T, D) of classes y (N,) in 0..K-1, replacing those learnt before."""
        check_clips(x, self.input_size)
        if y.shape != x.shape[:1]:
            raise ValueError(f"y must hold one class for each of the {len(x)} clips; got {tuple(y.shape)}")
        if len(y) == 0 or y.min() < 0 or y.max() >= self.num_classes:
            raise ValueError(f"y must hold at least one class, all of them in 0..{self.num_classes - 1}")
        self.vectors = self.direction(x.detach())  # (N, D)
        self.labels = y.detach().to(self.labels)  # (N,)

    def forward(self, x: Tensor) -> Tensor:
        """The largest cosine similarity to a training clip of each class, (B, T, D) -> (B, K)."""
        check_clips(x, self.input_size)
        if len(self.labels) == 0:
            raise ValueError("nearest_neighbour knows no training clips yet: call learn(x, y) first")
        cosine = self.direction(x) @ self.vectors.T  # (B, N)
        lowest = cosine.new_full((len(x), self.num_classes), -1.0)  # (B, K)
        return lowest.scatter_reduce(1, self.labels.expand(len(x), -1), cosine, "amax")  # (B, K)

    def direction(self, x: Tensor) -> Tensor:
        """Mean over the frames, scaled to length 1: (B, T, D) -> (B, D)."""
        return F.normalize(x.to(self.vectors).mean(dim=1), dim=1)  # (B, D), each of length 1


class Transformer(nn.Module):
    """Attention in place of recurrence: an encoder over the frames, the mean over time and the classifier.

    The last FC layer of the embedding gives `hidden_size` features, fixed sine waves mark the position, and
    each layer (normalisation first) has 8 attention heads, or as many of 4, 2, 1 as divide `hidden_size`, and
    4 * hidden_size units.
    """

    def __init__(
        self,
        input_size: int = 2048,
        num_classes: int = 101,
        *,
        hidden_size: int = 512,
        num_layers: int = 3,
        embedding: Sequence[int] | None = EMBEDDING,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        embedding = embedding_sizes(embedding)
        check_sizes(
            input_size=input_size, num_classes=num_classes, hidden_size=hidden_size, num_layers=num_layers
        )
        check_dropout(dropout)
        self.input_size = input_size
        self.embedding = Embedding(input_size, (*embedding[:-1], hidden_size), dropout)
        layer = nn.TransformerEncoderLayer(
            hidden_size, math.gcd(8, hidden_size), 4 * hidden_size, dropout, batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(
            layer, num_layers, nn.LayerNorm(hidden_size), enable_nested_tensor=False
        )
        self.head = classifier(hidden_size, num_classes, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K) of clips x (B, T, D)."""
        check_clips(x, self.input_size)
        y = self.embedding(x)  # (B, T, H)
        y = self.encoder(y + positions(y))  # (B, T, H)
        return self.head(y.mean(dim=1))  # (B, K)


def positions(y: Tensor) -> Tensor:
    """Sine and cosine waves that mark each of the T frames of y (B, T, H): (T, H), Vaswani et al. 2017."""
    frames, width = y.shape[1:]
    steps = torch.arange(0, width, 2, device=y.device, dtype=y.dtype)
    angles = torch.arange(frames, device=y.device, dtype=y.dtype)[:, None] * 10_000 ** (-steps / width)
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]  # (T, H)
