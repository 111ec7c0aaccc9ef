"""The LSTM in plain tensor code, one gate per line: paper section 3.4, Eqs. 12-17.

All gate arithmetic is in `lstm_step`. `LSTM` repeats it over time, stacks it into layers and runs it in both
directions; its parameters have the names, shapes and initial values of `torch.nn.LSTM`'s, so that weights
move freely between the two and both can be compared number by number.

Shape letters: B clips, T frames, D features, H hidden units; L layers, S directions (1 or 2).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LSTMStep(NamedTuple):
    """What one time step computes, in the order of Eqs. 12-17; every tensor is (B, H)."""

    f: Tensor  # forget gate, how much of the old cell state stays, in (0, 1)
    i: Tensor  # input gate, how much of the candidate enters, in (0, 1)
    g: Tensor  # candidate state, the paper's C tilde, in (-1, 1)
    o: Tensor  # output gate, how much of the cell state is shown, in (0, 1)
    c: Tensor  # cell state, the long memory
    h: Tensor  # output, or hidden state, in (-1, 1)


def lstm_step(
    x: Tensor, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> LSTMStep:
    """One LSTM time step, Eqs. 12-17.

    The paper multiplies one matrix by the joined vector [h_{t-1}, x_t] and adds one bias. PyTorch keeps the
    two halves of the matrix apart, W·[h, x] = W_hh·h + W_ih·x, and gives each half its own bias. The rows of
    the four gates are stacked in the order i, f, g, o, as in `torch.nn.LSTMCell`.

    Args:
        x: input x_t, (B, D).
        h: previous output h_{t-1}, (B, H).
        c: previous cell state C_{t-1}, (B, H).
        w_ih: input weights, (4H, D).
        w_hh: recurrent weights, (4H, H).
        b_ih: input bias, (4H,).
        b_hh: recurrent bias, (4H,).

    Returns:
        The four gates and the two new states, each (B, H).

    The printed Eq. 15 is C_t = f_t * C_{t-1} + i_t * C_t. The tilde was lost in print: as it stands, C_t is
    defined by itself and the candidate of Eq. 14 is never used. What enters is the candidate, i_t * C~_t.
    """
    z = F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)  # (B, 4H)  W·[h_{t-1}, x_t] + b of all four gates
    z_i, z_f, z_g, z_o = z.chunk(4, dim=1)  # (B, H) each

    f = torch.sigmoid(z_f)  # (B, H)  Eq. 12: f_t = σ(W_f·[h_{t-1}, x_t] + b_f)
    i = torch.sigmoid(z_i)  # (B, H)  Eq. 13: i_t = σ(W_i·[h_{t-1}, x_t] + b_i)
    g = torch.tanh(z_g)  #    (B, H)  Eq. 14: C~_t = tanh(W_C·[h_{t-1}, x_t] + b_C)
    c = f * c + i * g  #      (B, H)  Eq. 15: C_t = f_t * C_{t-1} + i_t * C~_t
    o = torch.sigmoid(z_o)  # (B, H)  Eq. 16: o_t = σ(W_o·[h_{t-1}, x_t] + b_o)
    h = o * torch.tanh(c)  #  (B, H)  Eq. 17: h_t = o_t * tanh(C_t)
    return LSTMStep(f, i, g, o, c, h)


class LSTM(nn.Module):
    """Layers of `lstm_step`, one way or both ways through time: the block of paper section 3.4.

    Layer 1 reads the frames, layer n + 1 the outputs of layer n. With `bidirectional` every layer also reads
    the frames from the last to the first with weights of its own, and the two outputs of a frame stand side by
    side: features 0..H-1 have read the past, features H..2H-1 the future.

    Parameters are named, shaped and initialised as in `torch.nn.LSTM` (uniform in ±1/sqrt(H)): each loads the
    other's `state_dict`, and equal seeds give equal weights.

    Args:
        input_size: D, features of a frame.
        hidden_size: H, units of each layer and direction.
        num_layers: L, layers stacked.
        bidirectional: read the frames both ways.
        batch_first: frames are given and returned as (B, T, D), else as (T, B, D).
        dropout: share of the outputs set to zero between layers while training.

    Raises:
        ValueError: a size below 1, or a dropout outside [0, 1).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        batch_first: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if min(input_size, hidden_size, num_layers) < 1:
            raise ValueError(
                "input_size, hidden_size and num_layers must each be at least 1; "
                f"got {input_size}, {hidden_size} and {num_layers}"
            )
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1; got {dropout}")
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bidirectional, self.batch_first, self.dropout = bidirectional, batch_first, dropout
        self.directions = ("", "_reverse") if bidirectional else ("",)

        rows, bound = 4 * hidden_size, 1 / math.sqrt(hidden_size)
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size * len(self.directions)
            shapes = {
                "weight_ih": (rows, width),
                "weight_hh": (rows, hidden_size),
                "bias_ih": (rows,),
                "bias_hh": (rows,),
            }
            for direction in self.directions:
                for name, shape in shapes.items():
                    weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
                    self.register_parameter(f"{name}_l{layer}{direction}", weight)

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Run all frames through all layers.

        Args:
            x: (B, T, D), or (T, B, D) without `batch_first`.
            state: (h_0, c_0), each (L*S, B, H), rows ordered layer by layer and forward before backward; zeros
                if absent.

        Returns:
            `output`, (B, T, S*H), or (T, B, S*H) without `batch_first`: the last layer's h_t of every frame; and
            `(h_n, c_n)`, each (L*S, B, H): every layer's and direction's state after its last step, which
            for the backward direction is at the first frame.

        Raises:
            ValueError: x or a state has another shape, or there is no frame.
        """
        frames = self._time_first(x)  # (T, B, D)
        h_0, c_0 = self._start(state, frames)  # (L*S, B, H) each
        h_n, c_n = [], []
        for layer in range(self.num_layers):
            if layer > 0:
                frames = F.dropout(frames, self.dropout, self.training)  # (T, B, S*H)
            outputs = []
            for direction in self.directions:
                row = len(h_n)  # layer*S + direction
                output, h, c = _walk(
                    frames, h_0[row], c_0[row], self._weights(layer, direction), backward=direction != ""
                )  # (T, B, H), (B, H), (B, H)
                outputs.append(output)
                h_n.append(h)
                c_n.append(c)
            frames = torch.cat(outputs, dim=2)  # (T, B, S*H)
        output = frames.transpose(0, 1) if self.batch_first else frames  # (B, T, S*H)
        return output, (torch.stack(h_n), torch.stack(c_n))

    def _weights(self, layer: int, direction: str) -> list[Tensor]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self, f"{name}_l{layer}{direction}") for name in names]

    def _time_first(self, x: Tensor) -> Tensor:
        layout = "(B, T, D)" if self.batch_first else "(T, B, D)"
        if x.ndim != 3 or x.shape[2] != self.input_size:
            raise ValueError(f"x must be {layout} with D = {self.input_size}; got {tuple(x.shape)}")
        frames = x.transpose(0, 1) if self.batch_first else x
        if len(frames) == 0:
            raise ValueError(f"x must hold at least one frame; got {layout} = {tuple(x.shape)}")
        return frames

    def _start(self, state: tuple[Tensor, Tensor] | None, frames: Tensor) -> tuple[Tensor, Tensor]:
        shape = (self.num_layers * len(self.directions), frames.shape[1], self.hidden_size)
        if state is None:
            return frames.new_zeros(shape), frames.new_zeros(shape)
        h_0, c_0 = state
        for name, tensor in (("h_0", h_0), ("c_0", c_0)):
            if tensor.shape != shape:
                raise ValueError(
                    f"{name} must be (layers * directions, B, H) = {shape}; got {tuple(tensor.shape)}"
                )
        return h_0, c_0

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bidirectional={self.bidirectional}, batch_first={self.batch_first}, dropout={self.dropout}"
        )


def _walk(
    frames: Tensor, h: Tensor, c: Tensor, weights: Sequence[Tensor], *, backward: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer in one direction: frames (T, B, D) -> outputs (T, B, H), last h and c (B, H)."""
    outputs = []
    for x in reversed(frames.unbind()) if backward else frames.unbind():
        step = lstm_step(x, h, c, *weights)
        h, c = step.h, step.c
        outputs.append(h)
    if backward:
        outputs.reverse()  # outputs[t] belongs to frame t, whichever way it was reached
    return torch.stack(outputs), h, c
