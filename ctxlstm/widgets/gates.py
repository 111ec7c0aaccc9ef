"""One LSTM unit to play with, and one to follow through a clip: paper section 3.4, Eqs. 12-17.

The gates and states come from `gates.lstm_step`. In both pictures a light bar is what is there, a full bar is
what a gate lets through.
"""

import math

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from ctxlstm import gates
from ctxlstm.figures import GATE_COLOURS, GREY
from ctxlstm.widgets.panel import Panel, drawing, minus, slider

# The unit of the gate explorer: the weight of x and of h in each gate, chosen by hand so that a positive x
# lets the candidate in and lets the old cell state go. H = D = 1.
WEIGHTS = {"f": (-0.5, 0.5), "i": (1.0, 0.5), "g": (1.5, 1.0), "o": (0.2, 1.0)}
RANGES = {"x": 3.0, "h": 1.0, "c": 2.0, "b_f": 8.0, "b_i": 8.0, "b_g": 8.0, "b_o": 8.0}  # from -r to r
NAMES = {"f": "forget gate", "i": "input gate", "g": "candidate", "o": "output gate"}
EQUATIONS = {"f": 12, "i": 13, "g": 14, "c": 15, "o": 16, "h": 17}
_LIGHT = 0.22  # opacity of what is there but not let through


def step_of_unit(
    x: float, h: float, c: float, b_f: float, b_i: float, b_g: float, b_o: float
) -> dict[str, float]:
    """The explorer's unit for one step: f, i, g, o, c, h of `gates.lstm_step`, and z_f, z_i, z_g, z_o before σ, tanh.

    Raises ValueError for a value outside its slider (`RANGES`).
    """
    for name, value in (("x", x), ("h", h), ("c", c), ("b_f", b_f), ("b_i", b_i), ("b_g", b_g), ("b_o", b_o)):
        if not -RANGES[name] <= value <= RANGES[name]:
            raise ValueError(
                f"{name} must be a number from {-RANGES[name]:g} to {RANGES[name]:g}; got {value!r}"
            )
    bias = {"f": b_f, "i": b_i, "g": b_g, "o": b_o}
    number = {"dtype": torch.float64}
    order = "ifgo"  # rows of torch.nn.LSTMCell
    w = torch.tensor([WEIGHTS[gate] for gate in order], **number)  # (4H, D + H) = (4, 2)
    b = torch.tensor([bias[gate] for gate in order], **number)  # (4H,)
    state = (torch.full((1, 1), float(value), **number) for value in (x, h, c))  # (B, 1) three times
    step = gates.lstm_step(*state, w[:, :1], w[:, 1:], b, torch.zeros_like(b))
    z = {f"z_{gate}": WEIGHTS[gate][0] * x + WEIGHTS[gate][1] * h + bias[gate] for gate in "figo"}
    return {name: tensor.item() for name, tensor in step._asdict().items()} | z


def gate_explorer() -> Panel:
    """Seven sliders for one LSTM unit: its inputs x, h, c and the bias of each gate; all else follows."""
    first = {"x": 1.0, "h": 0.0, "c": 0.5, "b_f": 1.0, "b_i": 0.0, "b_g": 0.0, "b_o": 0.0}
    labels = {"x": "input x", "h": "old hidden h", "c": "old cell c"}
    labels |= {f"b_{gate}": f"bias b_{gate}, {name.split()[0]}" for gate, name in NAMES.items()}
    controls = {
        name: slider(labels[name], value, -RANGES[name], RANGES[name], 0.1) for name, value in first.items()
    }
    return Panel(gate_explorer_figure, controls, _explorer_numbers, reset=True)


def gate_explorer_figure(
    x: float = 1.0,
    h: float = 0.0,
    c: float = 0.5,
    b_f: float = 1.0,
    b_i: float = 0.0,
    b_g: float = 0.0,
    b_o: float = 0.0,
) -> Figure:
    """One step of one LSTM unit: how far its gates are open, and what they make of the cell state.

    Args:
        x: input of this step.
        h: hidden state of the step before.
        c: cell state of the step before.
        b_f: bias of the forget gate; b_i, b_g and b_o: of input gate, candidate and output gate.

    Raises ValueError for a value outside its slider (`RANGES`).
    """
    step = step_of_unit(x, h, c, b_f, b_i, b_g, b_o)
    with drawing(9.6, 4.0) as figure:
        _draw_gates(figure.add_axes((0.115, 0.15, 0.28, 0.71)), step)
        axes = figure.add_axes((0.475, 0.15, 0.515, 0.71))
        _draw_cell(axes, step, c, limit=3.8)
        axes.set_title("The cell: kept, let in, shown")
    return figure


def _draw_gates(axes: Axes, step: dict[str, float]) -> None:
    """One bar per gate, with its value and what went into σ or tanh."""
    for row, gate in enumerate("figo"):
        value, squash = step[gate], "tanh" if gate == "g" else "σ"
        lowest = -1 if gate == "g" else 0
        axes.barh(row, 1 - lowest, 0.5, lowest, color=GATE_COLOURS[gate], alpha=0.13, linewidth=0)
        axes.barh(row, value, 0.5, color=GATE_COLOURS[gate], linewidth=0)
        text = minus(f"{gate} = {squash}({step[f'z_{gate}']:.2f}) = {value:.2f}")
        axes.text(-1, row - 0.36, text, size=9.5, color="#333333", va="center")
    axes.axvline(0, color="#888888", linewidth=1)
    axes.set_yticks(range(4), [NAMES[gate].replace(" ", "\n") for gate in "figo"])
    axes.set_xticks((-1, -0.5, 0, 0.5, 1), ("−1", "−0.5", "0", "0.5", "1"))
    axes.set(xlim=(-1.03, 1.03), ylim=(3.45, -0.62), xlabel="value (0 closed, 1 open)")
    axes.set_title("The gates")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _draw_cell(axes: Axes, step: dict[str, float], old: float, limit: float) -> None:
    """Four bars: old cell state and what f keeps, candidate and what i lets in, their sum, and what o shows."""
    colour = GATE_COLOURS
    kept, entered, new = step["f"] * old, step["i"] * step["g"], step["c"]
    bars = (
        (0, old, colour["c"], kept, colour["f"], f"f·c\n{kept:+.2f}"),
        (1, step["g"], colour["g"], entered, colour["i"], f"i·g\n{entered:+.2f}"),
        (3, math.tanh(new), colour["c"], step["h"], colour["h"], f"new h\n{step['h']:+.2f}"),
    )
    for place, there, tint_there, passed, tint, text in bars:
        axes.bar(place, there, 0.56, color=tint_there, alpha=_LIGHT, linewidth=0)
        axes.bar(place, passed, 0.56, color=tint, linewidth=0)
        _number(axes, place, there, text, limit)
    # The sum as a waterfall: what enters starts where what is kept ends.
    axes.bar(1.86, kept, 0.28, color=colour["f"], linewidth=0)
    axes.bar(2.14, entered, 0.28, kept, color=colour["i"], linewidth=0)
    axes.plot((1.7, 2.3), (new, new), color=colour["c"], linewidth=3.2, solid_capstyle="butt")
    _number(axes, 2, max(kept, new, 0) if new >= 0 else min(kept, new, 0), f"new c\n{new:+.2f}", limit)
    for place, sign in ((0.5, "+"), (1.5, "="), (2.5, "→")):
        at = {"transform": axes.get_xaxis_transform(), "ha": "center", "va": "center"}
        axes.text(place, -0.045, sign, size=14, color=GREY, **at)
    axes.axhline(0, color="#888888", linewidth=1)
    axes.set_xticks(range(4), ("old c\nf keeps", "g\ni lets in", "new c\nthe sum", "tanh(c)\no shows"))
    axes.set(xlim=(-0.5, 3.5), ylim=(-limit, limit), ylabel="value")
    axes.tick_params(axis="x", length=0, labelsize=9.5)
    axes.grid(visible=False, axis="x")
    where = {"transform": axes.transAxes, "ha": "right", "va": "top", "color": GREY}
    axes.text(1, 0.99, "light: what is there\nfull: what the gate lets through", size=8.5, **where)


def _number(axes: Axes, place: float, end: float, text: str, limit: float) -> None:
    """A number beyond the end of a bar, on the side to which the bar points."""
    side = {"va": "bottom"} if end >= 0 else {"va": "top"}
    end += math.copysign(0.025 * limit, end)
    axes.text(place, end, minus(text), ha="center", size=9.5, linespacing=1.1, **side)


def _explorer_numbers(**state: float) -> str:
    """The six equations with the unit's numbers in them."""
    step, rows = step_of_unit(**state), []
    for gate in "figo":
        w_x, w_h = WEIGHTS[gate]
        squash = "tanh" if gate == "g" else "σ"
        inside = f"{w_x:g}·{state['x']:.1f} + {w_h:g}·{_bracket(state['h'])} + {_bracket(state[f'b_{gate}'])}"
        rows.append(
            (gate, f"{squash}({inside}) = {squash}({step[f'z_{gate}']:.2f}) = <b>{step[gate]:.3f}</b>")
        )
    kept, entered = step["f"] * state["c"], step["i"] * step["g"]
    cell = f"f·c + i·g = {step['f']:.3f}·{_bracket(state['c'])} + {step['i']:.3f}·{_bracket(step['g'], 3)}"
    cell += f" = {kept:.3f} + {_bracket(entered, 3)} = <b>{step['c']:.3f}</b>"
    rows.insert(3, ("c", cell))
    hidden = f"o·tanh(c) = {step['o']:.3f}·{_bracket(math.tanh(step['c']), 3)} = <b>{step['h']:.3f}</b>"
    rows.append(("h", hidden))
    lines = "<br>".join(
        f"{_chip(name)} Eq. {EQUATIONS[name]}: {'new ' if name in 'ch' else ''}<b>{name}</b> = {text}"
        for name, text in rows
    )
    return minus(
        f"f keeps {100 * step['f']:.0f} % of the old cell state, i lets in {100 * step['i']:.0f} % of the candidate, "
        f"o shows {100 * step['o']:.0f} % of tanh(c).<br>{lines}"
    )


def _bracket(value: float, digits: int = 1) -> str:
    """A number, in brackets where it is negative."""
    text = f"{value:.{digits}f}"
    return f"({text})" if value < 0 else text


def _chip(name: str) -> str:
    """A small square in the colour of a gate or state."""
    style = f"color: {GATE_COLOURS[name]}; -webkit-text-stroke: 0.5px #999"
    return f'<span aria-hidden="true" style="{style}">■</span>'


# One unit through a whole clip.


def trace(x: Tensor, lstm: nn.Module) -> gates.LSTMStep:
    """Every step of a one-layer LSTM over one clip x (T, D): f, i, g, o, c, h, each (T, H).

    Raises ValueError if x is not a single clip, or the LSTM has several layers or directions.
    """
    if not isinstance(lstm, nn.LSTM | gates.LSTM) or lstm.num_layers != 1 or lstm.bidirectional:
        raise ValueError(
            "lstm must be a torch.nn.LSTM or gates.LSTM with one layer and one direction; "
            f"got {type(lstm).__name__}({getattr(lstm, 'extra_repr', str)()})"
        )
    if x.ndim != 2 or len(x) == 0 or x.shape[1] != lstm.input_size:
        raise ValueError(f"x must be one clip (T, D) with D = {lstm.input_size}; got {tuple(x.shape)}")
    w_ih, w_hh = lstm.weight_ih_l0, lstm.weight_hh_l0  # (4H, D), (4H, H)
    none = w_ih.new_zeros(len(w_ih))  # (4H,)  for an LSTM without biases
    biases = getattr(lstm, "bias_ih_l0", none), getattr(lstm, "bias_hh_l0", none)
    h = c = w_ih.new_zeros(1, lstm.hidden_size)  # (1, H)
    steps = []
    with torch.no_grad():
        for frame in x.to(w_ih):  # (D,)
            steps.append(gates.lstm_step(frame[None], h, c, w_ih, w_hh, *biases))
            h, c = steps[-1].h, steps[-1].c
    return gates.LSTMStep(*(torch.cat(part) for part in zip(*steps, strict=True)))  # (T, H) each


def sequence_stepper(x: Tensor, lstm: nn.Module, unit: int = 0) -> Panel:
    """Step through a clip x (T, D) with one unit of a one-layer LSTM: its gates and states up to frame t.

    Raises ValueError if x is not a single clip, the LSTM has several layers or directions, or there is no
    such unit.
    """
    steps = trace(x, lstm)  # (T, H) each
    _check_place(steps, 0, unit)
    frames, hidden = steps.c.shape
    controls = {
        "t": slider("frame t", 0, 0, frames - 1, 1),
        "unit": slider("unit", unit, 0, hidden - 1, 1),
    }

    def numbers(t: int, unit: int) -> str:
        return _step_numbers(steps, t, unit)

    return Panel(lambda t, unit: _draw_steps(steps, t, unit), controls, numbers)


def sequence_stepper_figure(x: Tensor, lstm: nn.Module, t: int = 0, unit: int = 0) -> Figure:
    """One unit of a one-layer LSTM over a clip x (T, D): gates, candidate and states of frames 0 to t.

    Raises ValueError if x is not a single clip, the LSTM has several layers or directions, or there is no
    such frame or unit.
    """
    return _draw_steps(trace(x, lstm), t, unit)


def _check_place(steps: gates.LSTMStep, t: int, unit: int) -> None:
    frames, hidden = steps.c.shape
    if not 0 <= t < frames:
        raise ValueError(f"t must be a frame from 0 to {frames - 1}; got {t}")
    if not 0 <= unit < hidden:
        raise ValueError(f"unit must be from 0 to {hidden - 1}; got {unit}")


def _at(steps: gates.LSTMStep, t: int, unit: int) -> tuple[dict[str, float], float]:
    """The gates and states of one frame and unit, and the cell state before it."""
    old = steps.c[t - 1, unit].item() if t else 0.0
    return {name: part[t, unit].item() for name, part in steps._asdict().items()}, old


def _draw_steps(steps: gates.LSTMStep, t: int, unit: int) -> Figure:
    """Left: three curves over time, up to t. Right: the sum that frame t makes."""
    _check_place(steps, t, unit)
    frames, step, old = len(steps.c), *_at(steps, t, unit)
    limit = 1.55 * max(1.0, steps.c[:, unit].abs().max().item())
    rows = (
        ("fio", "0 closed, 1 open", (-0.04, 1.04), "The gates"),
        ("gch", "value", (-limit / 1.4, limit / 1.4), "Candidate g, cell state c, hidden state h"),
    )
    marks = {"f": "o", "i": "s", "g": "^", "o": "D", "c": "o", "h": "s"}
    with drawing(9.6, 4.6) as figure:
        for row, (names, label, limits, title) in enumerate(rows):
            axes = figure.add_axes((0.075, 0.585 - 0.455 * row, 0.465, 0.345))
            for name in names:
                values = steps._asdict()[name][: t + 1, unit].numpy()  # (t + 1,)
                look = {"color": GATE_COLOURS[name], "marker": marks[name], "markersize": 4.5}
                axes.plot(range(t + 1), values, **look, label=name, clip_on=False)
            axes.axvspan(t - 0.5, t + 0.5, color="#000000", alpha=0.06, linewidth=0)
            axes.set(xlim=(-0.5, frames - 0.5), ylim=limits, ylabel=label, title=title)
            axes.set_xticks(
                range(0, frames, max(1, -(-frames // 6)))
            )  # few ticks: they take most of the time
            axes.yaxis.get_major_locator().set_params(nbins=4)
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, handlelength=1.2)
            axes.tick_params(labelbottom=row == 1)
        axes.set_xlabel("frame t")
        axes = figure.add_axes((0.675, 0.13, 0.315, 0.8))
        _draw_cell(axes, step, old, limit)
        axes.set(title=f"Frame {t}, unit {unit}")
        axes.yaxis.get_major_locator().set_params(nbins=5)
        axes.tick_params(axis="x", labelsize=8.5)
    return figure


def _step_numbers(steps: gates.LSTMStep, t: int, unit: int) -> str:
    """The frame's numbers in Eqs. 15 and 17."""
    step, old = _at(steps, t, unit)
    values = ", ".join(f"{_chip(name)} {name} = <b>{step[name]:.3f}</b>" for name in "figo")
    cell = f"{step['f']:.3f}·{_bracket(old, 3)} + {step['i']:.3f}·{_bracket(step['g'], 3)}"
    return minus(
        f"Frame {t} of 0 to {len(steps.c) - 1}, unit {unit}: {values}<br>"
        f"{_chip('c')} Eq. 15: new <b>c</b> = f·c + i·g = {cell} = <b>{step['c']:.3f}</b><br>"
        f"{_chip('h')} Eq. 17: new <b>h</b> = o·tanh(c) = {step['o']:.3f}·{_bracket(math.tanh(step['c']), 3)} = "
        f"<b>{step['h']:.3f}</b>"
    )
