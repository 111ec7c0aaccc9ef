"""CNN-LSTM (paper, section 3.5): the one block of LSTM layers that the paper compares its cascade with.

Two heads are derived from it: `ShuffledLSTM`, which sees the frames in random order, and `wide_lstm`, which
has as many parameters as the cascade.

Shape letters: B clips, T frames, D features, H hidden units, K classes; L layers, W width of an output.
"""

import bisect
from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from ctxlstm.models.context_lstm import CELLS, READOUTS, ContextLSTM, State
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


class CNNLSTM(nn.Module):
    """The traditional CNN-LSTM (section 3.5): one block of LSTM layers, then two FC layers.

    Embedding, classifier, options and errors are those of `ContextLSTM`; `bidirectional` reads the frames both
    ways, and readout "ends" needs it (the public code base reads one way; the paper does not say). `cell` may
    also be "gru", `torch.nn.GRU`, which has no c: its state is h alone.
    """

    def __init__(
        self,
        input_size: int = 2048,
        num_classes: int = 101,
        *,
        hidden_size: int = 512,
        num_layers: int = 3,
        bidirectional: bool = False,
        embedding: Sequence[int] | None = EMBEDDING,
        readout: Literal["last", "ends", "mean", "max"] = "last",
        dropout: float = 0.0,
        cell: Literal["torch", "gates", "gru"] = "torch",
    ) -> None:
        super().__init__()
        embedding = embedding_sizes(embedding)
        cells = CELLS | {"gru": nn.GRU}
        check_sizes(
            input_size=input_size, num_classes=num_classes, hidden_size=hidden_size, num_layers=num_layers
        )
        check_dropout(dropout)
        check_name("readout", readout, READOUTS)
        check_name("cell", cell, cells)
        if readout == "ends" and not bidirectional:
            raise ValueError("readout='ends' needs bidirectional=True: one direction has only one end")
        self.input_size, self.readout = input_size, readout

        size = embedding[-1] if embedding else input_size
        self.embedding = Embedding(input_size, embedding, dropout)
        self.block = lstm_block(cells[cell], size, hidden_size, num_layers, bidirectional, dropout)
        self.head = classifier(2 * hidden_size if bidirectional else hidden_size, num_classes, dropout)

    def forward(self, x: Tensor, return_states: bool = False) -> Tensor | tuple[Tensor, list[State]]:
        """Classify clips x (B, T, D): logits (B, K), with `return_states` also [(h, c)] of the one block."""
        check_clips(x, self.input_size)
        y, state = recur(self.block, self.embedding(x))  # (B, T, W), (directions * L, B, H) twice
        logits = self.head(READOUTS[self.readout](y))  # (B, K)
        return (logits, [state]) if return_states else logits


# Two heads derived from it; those without an LSTM are in `references`.


class ShuffledLSTM(CNNLSTM):
    """The CNN-LSTM on clips with their frames in random order: what an LSTM achieves when the order is lost.

    In training every clip gets a new order at every step (from torch's global generator, so that a seed fixes
    it). In evaluation the orders are always the same: the n-th clip of a batch gets the n-th order.
    """

    def forward(self, x: Tensor, return_states: bool = False) -> Tensor | tuple[Tensor, list[State]]:
        """Logits (B, K) of clips x (B, T, D) with their frames in random order."""
        check_clips(x, self.input_size)
        generator = None if self.training else torch.Generator().manual_seed(0)
        order = (
            torch.rand(x.shape[:2], generator=generator, device="cpu").argsort(dim=1).to(x.device)
        )  # (B, T)
        return super().forward(x.take_along_dim(order[:, :, None], dim=1), return_states)


def wide_lstm(
    input_size: int = 2048,
    num_classes: int = 101,
    *,
    hidden_size: int = 512,
    num_layers: int = 3,
    num_blocks: int = 3,
    embedding: Sequence[int] | None = EMBEDDING,
    dropout: float = 0.0,
) -> CNNLSTM:
    """A CNN-LSTM wide enough to have as many parameters as the Context-LSTM with these options.

    Separates the effect of the cascade from that of its size. The width is the whole number that comes
    nearest: within 1 % from hidden_size 48 up, and below it too with the default embedding.
    """
    shared = {"num_layers": num_layers, "embedding": embedding, "dropout": dropout}
    cnn_lstm = partial(CNNLSTM, input_size, num_classes, **shared)

    def parameters(width: int) -> int:
        return count_parameters(cnn_lstm(hidden_size=width))

    with torch.device("meta"):  # shapes without numbers: nothing is allocated, no random number drawn
        target = count_parameters(
            ContextLSTM(input_size, num_classes, hidden_size=hidden_size, num_blocks=num_blocks, **shared)
        )
        above = bisect.bisect_left(range(10**5), target, lo=2, key=parameters)
        width = min(above - 1, above, key=lambda w: abs(parameters(w) - target))
    return cnn_lstm(hidden_size=width)


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, frozen ones included; buffers do not count."""
    return sum(parameter.numel() for parameter in model.parameters())
