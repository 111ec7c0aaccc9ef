"""From features to a prediction: Context-LSTM and CNN-LSTM, and `build` for every model of the book.

Paper sections 3.4 (Context-LSTM), 3.5 (CNN-LSTM), 4.2 (sizes) and 4.4 (the ablation). Every model reads the
features of a frozen CNN, x (B, T, D), and gives logits (B, K).

Shape letters: B clips, T frames, D features, H hidden units, K classes; L layers of a block, E features after
the embedding, W width of an output (2H for two directions).
"""

import bisect
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from ctxlstm import gates
from ctxlstm.heads import MeanLinear, NearestNeighbour, SingleFrame, Transformer
from ctxlstm.parts import (
    EMBEDDING,
    POOLS,
    Embedding,
    Stage,
    check_clips,
    check_dropout,
    check_name,
    check_sizes,
    classifier,
    embedding_sizes,
    recur,
)

State = tuple[Tensor, Tensor]  # (h, c) of a block, (directions * L, B, H) each

# What each name of an option means: one line a name.

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


# The two models of the paper.


class ContextLSTM(nn.Module):
    """Blocks of two-way LSTMs in a row, each started from the state the one before ended in (section 3.4).

    Every block has `num_layers` layers of `hidden_size` units in each direction. Its outputs go through a
    stage (ReLU, BatchNorm, MaxPool) into the next block, its states (h, c) go to the next block as they are:
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
        cell: "torch" for `torch.nn.LSTM`, "gates" for the same in our own gate lines, `gates.LSTM`.

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
            _block(CELLS[cell], size, hidden_size, num_layers, True, dropout) for size in sizes
        )
        self.stages = nn.ModuleList(Stage(width, pool, order, batch_norm) for _ in sizes)
        self.head = classifier(pooled, num_classes, dropout)

    def forward(self, x: Tensor, return_states: bool = False) -> Tensor | tuple[Tensor, list[State]]:
        """Classify clips.

        Args:
            x: features, (B, T, D).
            return_states: also give the state every block ended in.

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


class CNNLSTM(nn.Module):
    """The traditional CNN-LSTM (section 3.5): one block of LSTM layers, then two FC layers.

    Embedding, classifier, options and errors are those of `ContextLSTM`; `bidirectional` reads the frames both
    ways, readout "ends" needs it (its code base's does not, the paper does not say). `cell` may also be "gru",
    `torch.nn.GRU`, which has no c: its state is h alone.
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
        self.block = _block(cells[cell], size, hidden_size, num_layers, bidirectional, dropout)
        self.head = classifier(2 * hidden_size if bidirectional else hidden_size, num_classes, dropout)

    def forward(self, x: Tensor, return_states: bool = False) -> Tensor | tuple[Tensor, list[State]]:
        """Classify clips x (B, T, D): logits (B, K), with `return_states` also [(h, c)] of the one block."""
        check_clips(x, self.input_size)
        y, state = recur(self.block, self.embedding(x))  # (B, T, W), (directions * L, B, H) twice
        logits = self.head(READOUTS[self.readout](y))  # (B, K)
        return (logits, [state]) if return_states else logits


# Two heads derived from them; those with no LSTM in them are in `heads`.


class ShuffledLSTM(CNNLSTM):
    """The CNN-LSTM on clips whose frames are in random order: what an LSTM gives when order is gone.

    A new order for every clip and step of training (from torch's global generators, so that a seed covers it);
    in evaluation always the same ones, the n-th clip of a batch getting the n-th order.
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
    """A CNN-LSTM made so wide that it has the parameters of the Context-LSTM with these options.

    Separates what the cascade does from what its size does. The width is the whole number that comes nearest:
    within 1 % from hidden_size 48 on, and below it too with the default embedding.
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


# The registry: one line a model. An option given here is fixed by the name.

MODELS: dict[str, partial[nn.Module]] = {
    "context_lstm": partial(ContextLSTM),
    "context_lstm_no_pool": partial(ContextLSTM, pool=None),
    "context_lstm_bn_relu": partial(ContextLSTM, order="bn-relu"),
    "cnn_lstm": partial(CNNLSTM),
    "mean_linear": partial(MeanLinear),
    "nearest_neighbour": partial(NearestNeighbour),
    "single_frame": partial(SingleFrame),
    "shuffled_lstm": partial(ShuffledLSTM),
    "gru": partial(CNNLSTM, cell="gru"),
    "bilstm": partial(CNNLSTM, bidirectional=True),
    "wide_lstm": partial(wide_lstm),
    "transformer": partial(Transformer),
}
NAMES = tuple(MODELS)

# What the paper leaves open about Context-LSTM (Fig. 2 and section 3.4), one reading a line; the default is {}.
# Pooling nothing, and BN before ReLU, have names of their own above: they are the paper's ablation (section 4.4).
_READINGS: tuple[dict, ...] = (
    {},
    {"pool": "time"},
    {"batch_norm": "time"},
    {"handover": "h"},
    {"handover": "c"},
    {"handover": "swap"},
    {"handover": "detach"},
    {"handover": None},
    {"readout": "ends"},
    {"readout": "mean"},
    {"readout": "max"},
    {"num_blocks": 1},
    {"num_blocks": 2},
    {"num_blocks": 4},
    {"embedding": []},
    {"dropout": 0.3},  # the paper uses dropout and does not say how much; its code base's classes have 0.3
)


def variant(options: dict) -> str:
    """Options as a short text, "" for none: {"pool": None} is "pool=none"."""
    return ", ".join(
        f"{name}={'none' if value in (None, [], ()) else value}" for name, value in sorted(options.items())
    )


READINGS = {variant(options) or "default": options for options in _READINGS}

# Every name takes these, so that one set of options serves a whole comparison; a head that has no use for one
# (mean_linear for hidden_size) leaves it out. Any other option must be the model's own.
COMMON = ("input_size", "num_classes", "hidden_size", "num_layers", "num_blocks", "embedding", "dropout")


def build(name: str, **options) -> nn.Module:
    """Make the model `name`, one of `NAMES`, with its own options and any of `COMMON`.

    Raises:
        ValueError: unknown name (lists the valid ones), an option the model does not have (lists its options),
            or a value the model refuses.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; valid names: {', '.join(NAMES)}")
    make = MODELS[name]
    own = [option for option in inspect.signature(make).parameters if option not in make.keywords]
    for option in options:
        if option not in own and option not in COMMON:
            raise ValueError(f"model {name!r} has no option {option!r}; its options: {', '.join(own)}")
    return make(**{option: value for option, value in options.items() if option in own})


def count_parameters(model: nn.Module) -> int:
    """Numbers that training changes."""
    return sum(parameter.numel() for parameter in model.parameters())


def _block(
    cell: type[nn.Module], size: int, hidden_size: int, num_layers: int, bidirectional: bool, dropout: float
) -> nn.Module:
    dropout = dropout if num_layers > 1 else 0.0  # it acts between layers; torch warns where there is none
    return cell(size, hidden_size, num_layers, bidirectional=bidirectional, batch_first=True, dropout=dropout)
