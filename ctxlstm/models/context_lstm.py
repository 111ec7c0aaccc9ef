"""Context-LSTM (paper, section 3.4, Figs. 1 and 2): a cascade of two-way LSTM blocks joined by their states.

What each block starts from (`HANDOVERS`) and what the classifier reads (`READOUTS`) take one line per name:
Fig. 2 leaves several readings open, and each can be built.

Shape letters: B clips, T frames, D features, H hidden units, K classes; L layers of a block, E features after
the embedding, W width of an output (2H for two directions).
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ctxlstm import gates
from ctxlstm.models.layers import (
    EMBEDDING,
    Embedding,
    check_clips,
    check_dropout,
    check_name,
    check_sizes,
    classifier,
    embedding_sizes,
    lstm_block,
    recur,
)
from ctxlstm.models.stage import POOLS, Stage

State = tuple[Tensor, Tensor]  # (h, c) of a block, (directions * L, B, H) each

# What each name of an option means, one line per name.

CELLS = {"torch": nn.LSTM, "gates": gates.LSTM}

HANDOVERS: dict[str | None, Callable[[Tensor, Tensor], State | None]] = {
    "hc": lambda h, c: (h, c),
    "h": lambda h, c: (h, torch.zeros_like(c)),
    "c": lambda h, c: (torch.zeros_like(h), c),
    "swap": lambda h, c: (swap_directions(h), swap_directions(c)),
    "detach": lambda h, c: (h.detach(), c.detach()),  # the same numbers, but no gradient flows back
    None: lambda h, c: None,  # the next block starts from zeros
}
READOUTS: dict[str, Callable[[Tensor], Tensor]] = {  # (B, T, W) -> (B, W)
    "last": lambda y: y[:, -1],
    "ends": lambda y: torch.cat([y[:, -1, : y.shape[2] // 2], y[:, 0, y.shape[2] // 2 :]], dim=1),
    "mean": lambda y: y.mean(dim=1),
    "max": lambda y: y.amax(dim=1),
}


def swap_directions(state: Tensor) -> Tensor:
    """Exchange forward and backward rows in every layer of a two-way block's state, (2L, B, H)."""
    return state.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)  # (2L, B, H)


class ContextLSTM(nn.Module):
    """Blocks of two-way LSTMs in a row, each started from the state the one before ended in (section 3.4).

    Every block has `num_layers` layers of `hidden_size` units in each direction. Its outputs go through a
    stage (ReLU, BatchNorm, MaxPool) into the next block, its states (h, c) go to the next block unchanged:
    all blocks have the same (2L, B, H) states, so no projection is needed. The state of the backward direction
    was reached at the first frame and becomes the next block's start at the last frame. A stage follows the
    last block too: with feature pooling the classifier reads H numbers, the paper's 512, else 2H.

    Feature pooling takes the larger of features 2j and 2j + 1. As forward outputs are features 0..H-1 and
    backward ones H..2H-1, an even H keeps the directions apart: the first half of the pooled features is
    forward, the second backward. An odd H would pair the last forward with the first backward feature and is
    refused.

    Args:
        input_size: D, features of a frame.
        num_classes: K.
        hidden_size: H, units of each layer and direction.
        num_layers: L, LSTM layers of a block.
        num_blocks: blocks in the cascade (the paper draws "x1, x2, x3" and gives no number).
        embedding: sizes of the FC layers before the first block; () or None: raw features.
        pool: MaxPool of 2 over "feature" or "time" (28 frames -> 14 -> 7 -> 3), or None.
        order: "relu-bn" or "bn-relu", both before the pool.
        batch_norm: statistics of each "feature" (over clips and frames) or each "time" step (over clips and
            features).
        handover: what the next block starts from: "hc" both states, "h" or "c" one of them and zeros for the
            other, "swap" both with directions exchanged, "detach" both without gradient, None zeros.
        readout: what of the last stage is classified: "last" frame; "ends", forward half at the last frame and
            backward half at the first, where each has read the whole clip; "mean" or "max" over frames.
        dropout: share set to zero while training in the FC layers and between the layers of a block.
        cell: "torch" for `torch.nn.LSTM`, "gates" for the same in plain tensor code, `gates.LSTM`.

    Raises:
        ValueError: a size below 1, an unknown name, a dropout outside [0, 1), an odd hidden_size with feature
            pooling.
    """

    def __init__(
        self,
        input_size: int = 2048,
        num_classes: int = 101,
        *,
        hidden_size: int = 512,
        num_layers: int = 3,
        num_blocks: int = 3,
        embedding: Sequence[int] | None = EMBEDDING,
        pool: Literal["feature", "time"] | None = "feature",
        order: Literal["relu-bn", "bn-relu"] = "relu-bn",
        batch_norm: Literal["feature", "time"] = "feature",
        handover: Literal["hc", "h", "c", "swap", "detach"] | None = "hc",
        readout: Literal["last", "ends", "mean", "max"] = "last",
        dropout: float = 0.0,
        cell: Literal["torch", "gates"] = "torch",
    ) -> None:
        super().__init__()
        embedding = embedding_sizes(embedding)
        check_sizes(
            input_size=input_size,
            num_classes=num_classes,
            hidden_size=hidden_size,
            num_layers=num_layers,
            num_blocks=num_blocks,
        )
        check_dropout(dropout)
        check_name("pool", pool, POOLS)
        check_name("order", order, ("relu-bn", "bn-relu"))
        check_name("batch_norm", batch_norm, ("feature", "time"))
        check_name("handover", handover, HANDOVERS)
        check_name("readout", readout, READOUTS)
        check_name("cell", cell, CELLS)
        if pool == "feature" and hidden_size % 2:
            raise ValueError(
                f"pool='feature' needs an even hidden_size, so that no pair mixes directions; got {hidden_size}"
            )
        self.input_size = input_size
        self.handover, self.readout = handover, readout
        self.min_frames = 2**num_blocks if pool == "time" else 1

        width = 2 * hidden_size  # of a block's outputs
        pooled = hidden_size if pool == "feature" else width
        sizes = [embedding[-1] if embedding else input_size] + [pooled] * (num_blocks - 1)
        self.embedding = Embedding(input_size, embedding, dropout)
        self.blocks = nn.ModuleList(
            lstm_block(CELLS[cell], size, hidden_size, num_layers, True, dropout) for size in sizes
        )
        self.stages = nn.ModuleList(Stage(width, pool, order, batch_norm) for _ in sizes)
        self.head = classifier(pooled, num_classes, dropout)

    def forward(self, x: Tensor, return_states: bool = False) -> Tensor | tuple[Tensor, list[State]]:
        """Classify clips.

        Args:
            x: features, (B, T, D).
            return_states: also return the state every block ended in.

        Returns:
            Logits (B, K); with `return_states` (logits, [(h, c) of block 1, ...]), each state (2L, B, H).

        Raises:
            ValueError: x is not (B, T, D), or has too few frames for pooling over time.
        """
        check_clips(x, self.input_size, self.min_frames)
        y = self.embedding(x)  # (B, T, E)
        states, start = [], None  # the first block starts from zeros
        for block, stage in zip(self.blocks, self.stages, strict=True):
            y, (h, c) = recur(block, y, start)  # (B, T, 2H), (2L, B, H), (2L, B, H)
            y = stage(y)  # (B, T, H) with feature pooling
            states.append((h, c))
            start = HANDOVERS[self.handover](h, c)  # (2L, B, H) twice
        logits = self.head(READOUTS[self.readout](y))  # (B, K)
        return (logits, states) if return_states else logits
