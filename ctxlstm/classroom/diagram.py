"""The cascade of Context-LSTM as an SVG, our own drawing of what the paper's section 3.4 and Fig. 2 describe.

The drawing is made from the model itself: `ContextLSTM` is built from the options and clips without numbers
run through it (torch's meta device), so a shape on a wire is a shape in the model. Data flow from top to
bottom; within a block, time runs from left to right. A forward lane therefore ends on the right and starts on
the left in the next block; a backward lane does the opposite. States handed over cross on their way, unless
directions are exchanged.

`draw` draws one reading, `side_by_side` several; both return a `Diagram`, which notebooks display.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ctxlstm import figures
from ctxlstm.models.context_lstm import ContextLSTM, State
from ctxlstm.models.layers import HEAD_WIDTH, check_sizes
from ctxlstm.support.files import written

COLOURS = {state: figures.GATE_COLOURS[state] for state in "hc"}
INK, GREY, WIRE = "#222222", "#5F5F5F", "#444444"
FORWARD, BACKWARD = "#E8F0F6", "#F7EEE0"  # fills of the lanes
BLOCK, PART = "#FAFAFA", "#F1F1F1"  # fills of a block, of everything else
FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"

# Lengths in pixels. x is measured from the middle of a column.
COLUMN, HALF = 400, 160  # width of a column; half the width of a block
PORT = HALF - 18  # where the states of a lane enter and leave
PAIR = 5  # half the distance between h and c
LANE, HEADER, FOOT = 15, 26, 8  # height of a lane, of a block's first line, and below its last lane
WIRE_LENGTH, CROSSING, STUB = 36, 92, 20  # of a wire, of one that states cross, of a start from zeros
BOX = 36  # height of a stage, of an FC layer
DOTS = 7  # time steps drawn in a lane

# The words for each value of an option.
POOL_NAMES = {"feature": "feature pairs", "time": "frame pairs"}
NORM_NAMES = {"feature": "per feature", "time": "per frame"}
READOUT_NAMES = {
    "last": "read-out: last frame",
    "ends": "read-out: last frame forward, first frame backward",
    "mean": "read-out: mean over frames",
    "max": "read-out: maximum over frames",
}
HANDED = {"hc": "hc", "h": "h", "c": "c", "swap": "hc", "detach": "hc", None: ""}  # the states handed over
HANDOVER_TEXTS = {
    "hc": "The final hidden and cell states (h, c) of a block are the initial states of the next",
    "h": "The final hidden state h of a block is the initial one of the next; the cell state starts from zeros",
    "c": "The final cell state c of a block is the initial one of the next; the hidden state starts from zeros",
    "swap": "The final states (h, c) of a block are the initial ones of the next, with directions exchanged",
    "detach": "The final states (h, c) of a block are the initial ones of the next; no gradient flows back through them",
    None: "Every block starts from zeros: only outputs go from block to block",
}


@dataclass(frozen=True, repr=False)
class Diagram:
    """A drawing; a notebook shows it when it is the value of a cell.

    Attributes:
        svg: the drawing as text; it has a white background of its own, a <title> and a <desc>.
        width, height: its size in pixels.
    """

    svg: str
    width: int
    height: int

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"Diagram({self.width} x {self.height} pixels)"

    def save(self, path: str | Path) -> Path:
        """Write it as an .svg file and return the path; ValueError for another suffix."""
        path = Path(path)
        if path.suffix != ".svg":
            raise ValueError(f"A diagram is saved as .svg, so {path.name} does not fit: rename it.")
        with written(path, shared=True) as part:
            part.write_text(self.svg, encoding="utf-8")
        return path


def draw(title: str = "", *, frames: int = 28, **options) -> Diagram:
    """Draw `models.ContextLSTM(**options)` with the shapes that clips of `frames` frames take on their way.

    Args:
        title: one line above the drawing.
        frames: T.
        options: those of `ContextLSTM`, which defaults to the paper's sizes.

    Raises:
        ValueError: options that `ContextLSTM` rejects, or too few frames for pooling over time.
    """
    return side_by_side({title: options}, frames=frames)


def side_by_side(readings: Mapping[str, Mapping], *, frames: int = 28, **options) -> Diagram:
    """Draw several readings side by side: `readings` maps titles to options; `options` apply to all.

    Raises:
        ValueError: no reading, or anything that `draw` rejects.
    """
    if not readings:
        raise ValueError("there is no reading to draw: give at least one title with its options")
    check_sizes(frames=frames)
    plans = {title: _Plan(frames, **{**options, **own}) for title, own in readings.items()}
    top = 44 if any(plans) else 14
    columns = [_Column(COLUMN * (n + 0.5), top, plan) for n, plan in enumerate(plans.values())]
    width, height = COLUMN * len(plans), round(max(column.y for column in columns)) + 14

    names = [title for title in plans if title]
    svg = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width} {height}",
            "width": str(width),
            "height": str(height),
            "role": "img",
            "font-family": FONT,
            "font-size": "12",
            "style": "max-width:100%;height:auto",
        },
    )
    ET.SubElement(svg, "title").text = "Context-LSTM" + (f": {'; '.join(names)}" if names else "")
    ET.SubElement(svg, "desc").text = " ".join(
        f"{title}: {plan.text}" if title else plan.text for title, plan in plans.items()
    )
    ET.SubElement(svg, "rect", {"width": str(width), "height": str(height), "rx": "6", "fill": "#FFFFFF"})
    for column, title in zip(columns, plans, strict=True):
        svg.append(column.group)
        if title:
            _text(svg, column.x, 27, title, size=15, weight="bold")
    for parent in (
        svg,
        *(column.group for column in columns),
    ):  # one element per line, but no breaks within a line of text
        parent.text = "\n"
        for child in parent:
            child.tail = "\n"
    return Diagram(ET.tostring(svg, encoding="unicode"), width, height)


class _Plan:
    """What to draw: the options of one reading, and the shapes in its model."""

    def __init__(self, frames: int, **options) -> None:
        with torch.device("meta"), torch.no_grad():  # shapes without numbers
            model = ContextLSTM(**options)
            for block in model.blocks:
                block.forward = partial(_lstm_shapes, block)  # torch would walk every frame to find them
            seen = []
            for module in (model.embedding, *model.stages):
                module.register_forward_hook(lambda module, x, y: seen.append(tuple(y.shape)))
            x = torch.empty(2, frames, model.input_size)  # (B, T, D)
            logits, states = model(x, return_states=True)  # (B, K), [((2L, B, H), (2L, B, H)), ...]
        self.x, self.logits = tuple(x.shape), tuple(logits.shape)
        self.embedded, *self.pooled = seen  # (B, T, E), [(B, T', W), ...]
        width = 2 * model.blocks[0].hidden_size
        self.outputs = [(*before[:2], width) for before in seen[:-1]]  # (B, T, 2H)
        self.state = tuple(states[0][0].shape)  # (2L, B, H)
        self.layers, self.width = model.blocks[0].num_layers, model.head[0].in_features
        self.embedding = [m.out_features for m in model.embedding if isinstance(m, torch.nn.Linear)]
        self.handover, self.readout = model.handover, model.readout
        stage = model.stages[0]
        norm = ("BatchNorm", NORM_NAMES[options.get("batch_norm", "feature")])
        self.stage = [("ReLU", ""), norm] if stage.order == "relu-bn" else [norm, ("ReLU", "")]
        self.stage += [("MaxPool", POOL_NAMES[stage.pool])] if stage.pool else []

    @property
    def text(self) -> str:
        """The drawing in words, for those who cannot see it."""
        blocks = len(self.outputs)
        fc = f"an embedding, giving {_shape(self.embedded)}, and " if self.embedding else ""
        stage = ", ".join(f"{name} {how}".strip() for name, how in self.stage)
        return (
            f"Clips {_shape(self.x)} go through {fc}"
            f"{blocks} {'block' if blocks == 1 else 'blocks'} of {self.layers} LSTM layers in two directions, each "
            f"followed by {stage}: {', then '.join(_shape(p) for p in self.pooled)}. "
            f"{HANDOVER_TEXTS[self.handover] if blocks > 1 else 'The block starts from zeros'}. "
            f"Then {READOUT_NAMES[self.readout]} and two FC layers, {self.width} to {HEAD_WIDTH} to "
            f"{self.logits[1]} classes."
        )


class _Column:
    """One reading, drawn downwards from `y`; afterwards `y` is the lower end of the drawing."""

    def __init__(self, x: float, y: float, plan: _Plan) -> None:
        self.group, self.x, self.y, self.plan = ET.Element("g"), x, y, plan
        self._box("x", "features of the frozen CNN", 200)
        self._wire(plan.x)
        if plan.embedding:
            sizes = " → ".join(str(size) for size in (plan.x[2], *plan.embedding))
            self._box("embedding: FC layers on every frame", sizes, 260)
            self._wire(plan.embedded)
        self._zeros("hc", self.y - STUB)
        for number, (output, pooled) in enumerate(zip(plan.outputs, plan.pooled, strict=True), 1):
            self._block(number, output[1])
            below = self.y
            self._wire(output)
            self._boxes(plan.stage, 72)
            last = number == len(plan.outputs)
            self._wire(pooled, WIRE_LENGTH if last else CROSSING)
            self._unused(below) if last else self._hand_over(below)
        self._box(READOUT_NAMES[plan.readout], "", 300 if plan.readout == "ends" else 200, 26)
        self._wire((plan.x[0], plan.width))
        first, second = f"{plan.width} → {HEAD_WIDTH}", f"{HEAD_WIDTH} → {plan.logits[1]}"
        self._boxes([("FC", first), ("ReLU", ""), ("FC", second)], 80)
        self._wire(plan.logits)
        self._box("Y", f"one number for each of {plan.logits[1]} classes", 220)

    def _wire(self, shape: tuple[int, ...], length: float = WIRE_LENGTH) -> None:
        """Outputs on their way down, with their shape beside them."""
        end = self.y + length
        _line(self.group, [(self.x, self.y), (self.x, end)], WIRE, 2)
        _arrow(self.group, self.x, end, WIRE)
        # Where states cross the wire, the shape goes above them.
        middle = self.y + min(length, WIRE_LENGTH) / 2
        _text(self.group, self.x + 9, middle + 3, _shape(shape), anchor="start")
        self.y = end

    def _box(self, name: str, second: str, width: float, height: float = BOX) -> None:
        """A box with a name and a smaller second line, on the wire."""
        _rect(self.group, self.x - width / 2, self.y, width, height, PART, WIRE, 1)
        self._names(self.x, self.y + height / 2, name, second)
        self.y += height

    def _boxes(self, parts: Sequence[tuple[str, str]], each: float) -> None:
        """A box that holds smaller ones in a row from left to right."""
        gap, rim = 12, 6
        width = len(parts) * each + (len(parts) - 1) * gap
        _rect(self.group, self.x - width / 2 - rim, self.y, width + 2 * rim, BOX + 2 * rim, PART, WIRE, 1)
        centre = self.y + rim + BOX / 2
        for n, (name, second) in enumerate(parts):
            left = self.x - width / 2 + n * (each + gap)
            _rect(self.group, left, self.y + rim, each, BOX, "#FFFFFF", "#A0A0A0", 1)
            self._names(left + each / 2, centre, name, second)
            if n:
                _line(self.group, [(left - gap + 1, centre), (left - 1, centre)], WIRE, 1.5)
                _arrow(self.group, left - 1, centre, WIRE, towards="right", size=6)
        self.y += BOX + 2 * rim

    def _names(self, x: float, y: float, name: str, second: str) -> None:
        _text(self.group, x, y + (-2 if second else 4), name, size=11.5, weight="bold")
        if second:
            _text(self.group, x, y + 12, second, size=10.5, colour=GREY)

    def _block(self, number: int, frames: int) -> None:
        """A block: two lanes per layer, time from left to right."""
        height = HEADER + 2 * LANE * self.plan.layers + 4 * (self.plan.layers - 1) + FOOT
        left, top = self.x - HALF, self.y
        _rect(self.group, left, top, 2 * HALF, height, BLOCK, INK, 1.5)
        _text(self.group, self.x, top + 17, f"LSTM block {number}", size=13, weight="bold")
        _text(self.group, left + 8, top + 17, "t = 0", size=11, anchor="start", colour=GREY)
        _text(
            self.group, self.x + HALF - 8, top + 17, f"t = {frames - 1}", size=11, anchor="end", colour=GREY
        )
        for layer in range(self.plan.layers):
            y = top + HEADER + layer * (2 * LANE + 4)
            self._lane(y, FORWARD, f"layer {layer + 1} →", forward=True)
            self._lane(y + LANE, BACKWARD, f"layer {layer + 1} ←", forward=False)
        self.y += height

    def _lane(self, y: float, fill: str, name: str, *, forward: bool) -> None:
        start, end = self.x - HALF + 66, self.x + HALF - 18
        _rect(self.group, self.x - HALF + 8, y, 2 * HALF - 16, LANE, fill)
        _text(self.group, self.x - HALF + 13, y + 11, name, size=10, anchor="start", colour=GREY)
        centre, step = y + LANE / 2, (end - start) / (DOTS - 1)
        for n in range(DOTS):
            at = {"cx": _number(start + n * step), "cy": _number(centre), "r": "2.6", "fill": GREY}
            ET.SubElement(self.group, "circle", at)
            if n:
                ends = (start + (n - 1) * step + 5, start + n * step - 5)
                tail, tip = ends if forward else ends[::-1]
                _line(self.group, [(tail, centre), (tip, centre)], GREY, 1)
                _arrow(self.group, tip, centre, GREY, towards="right" if forward else "left", size=4)

    def _ports(self, state: str) -> dict[str, float]:
        """x of a state's lines on the left and on the right of a block."""
        shift = -PAIR if state == "h" else PAIR
        return {"left": self.x - PORT + shift, "right": self.x + PORT + shift}

    def _hand_over(self, y: float) -> None:
        """Draw the states from a block's lower edge, `y`, past the stage to the next block's upper edge."""
        handed = HANDED[self.plan.handover]
        end, turn = self.y, self.y - CROSSING + 28
        dash = "5 4" if self.plan.handover == "detach" else ""
        for side, other in (("right", "left"), ("left", "right")):
            goal_side = side if self.plan.handover == "swap" else other
            paths = {}
            for state in handed:
                start, goal = self._ports(state)[side], self._ports(state)[goal_side]
                # h and c keep their distance: the inner one of a turn turns earlier.
                middle = (turn + end - 8) / 2 + (-7 if (state == "h") == (side == "right") else 7)
                paths[state] = (
                    f"M {_number(start)} {_number(y + 1)} V {_number(turn)} C {_number(start)} {_number(middle)}, "
                    f"{_number(goal)} {_number(middle)}, {_number(goal)} {_number(end - 8)} V {_number(end - 4)}"
                )
                _path(self.group, paths[state], "#FFFFFF", 6)  # what lies below seems to pass behind
            for state, path in paths.items():
                _path(self.group, path, COLOURS[state], 2.4, dash)
                _arrow(self.group, self._ports(state)[goal_side], end, COLOURS[state])
        if handed:
            self._state_label(handed, (turn + end) / 2 - 1)
        # A state that is not handed over ends below its block, and the next block starts from zeros.
        for state in sorted(set("hc") - set(handed)):
            self._zeros(state, end - STUB)
            self._ends(state, y)

    def _state_label(self, handed: str, y: float) -> None:
        """Names and shape of what is handed over, left of the crossing; a note about it on the right."""
        note = {"swap": "directions exchanged", "detach": "no gradient"}.get(self.plan.handover, "")
        edge = PORT - 14 if self.plan.handover == "swap" else COLUMN / 2 - 4
        text = _text(self.group, self.x - edge, y, "", size=11, anchor="start")
        for n, state in enumerate(handed):
            look = {"fill": COLOURS[state], "font-style": "italic", "font-weight": "bold", "font-size": "13"}
            ET.SubElement(text, "tspan", look).text = state
            text[-1].tail = ", " if n + 1 < len(handed) else f" {_shape(self.plan.state, 1)}"
        if note:
            _text(self.group, self.x + edge, y, note, size=11, anchor="end", colour=GREY)

    def _zeros(self, states: str, y: float) -> None:
        """The start from zeros of both directions: a short arrow from a 0."""
        for state in states:
            for x in self._ports(state).values():
                _line(self.group, [(x, y + 4), (x, y + STUB - 4)], COLOURS[state], 2.2)
                _arrow(self.group, x, y + STUB, COLOURS[state])
                _text(self.group, x, y, "0", size=11, colour=COLOURS[state], weight="bold")

    def _ends(self, state: str, y: float) -> None:
        """A state that nothing reads: a short line with a bar at its end."""
        for x in self._ports(state).values():
            _line(self.group, [(x, y), (x, y + 14)], COLOURS[state], 2.2)
            _line(self.group, [(x - 4, y + 14), (x + 4, y + 14)], COLOURS[state], 2.2)

    def _unused(self, y: float) -> None:
        for state in "hc":
            self._ends(state, y)
        for x in (self.x - PORT, self.x + PORT):
            _text(self.group, x, y + 30, "not read", size=10.5, colour=GREY)


def _lstm_shapes(block: torch.nn.LSTM, x: Tensor, state: State | None) -> tuple[Tensor, State]:
    """The outputs of a bidirectional block, without numbers: (B, T, 2H) and (h, c), each (2L, B, H)."""
    h = x.new_empty(2 * block.num_layers, len(x), block.hidden_size)  # (2L, B, H)
    return x.new_empty(*x.shape[:2], 2 * block.hidden_size), (h, h.clone())


def _shape(shape: tuple[int, ...], batch: int = 0) -> str:
    """A shape with B in place of the number of clips: (B, 28, 512)."""
    return f"({', '.join('B' if n == batch else str(size) for n, size in enumerate(shape))})"


def _number(value: float) -> str:
    return f"{round(value, 2):g}"


def _rect(parent, x, y, width, height, fill, stroke="none", line=0.0) -> None:
    size = {"x": x, "y": y, "width": width, "height": height, "rx": 4, "stroke-width": line}
    look = {"fill": fill, "stroke": stroke}
    ET.SubElement(parent, "rect", {key: _number(value) for key, value in size.items()} | look)


def _path(parent, path: str, colour: str, width: float, dash: str = "") -> None:
    look = {"d": path, "fill": "none", "stroke": colour, "stroke-width": _number(width)}
    ET.SubElement(parent, "path", look | ({"stroke-dasharray": dash} if dash else {}))


def _line(parent, points, colour: str, width: float) -> None:
    _path(parent, "M " + " L ".join(f"{_number(x)} {_number(y)}" for x, y in points), colour, width)


def _arrow(parent, x: float, y: float, colour: str, towards: str = "down", size: float = 8) -> None:
    """An arrowhead with its tip at (x, y)."""
    half, back = 0.5 * size, size
    corners = {
        "down": [(x, y), (x - half, y - back), (x + half, y - back)],
        "right": [(x, y), (x - back, y - half), (x - back, y + half)],
        "left": [(x, y), (x + back, y - half), (x + back, y + half)],
    }[towards]
    points = " ".join(f"{_number(a)},{_number(b)}" for a, b in corners)
    ET.SubElement(parent, "polygon", {"points": points, "fill": colour})


def _text(parent, x, y, text, *, size=12.0, anchor="middle", weight="normal", colour=INK) -> ET.Element:
    """Text as text, so that it can be searched, copied and read aloud."""
    look = {"x": _number(x), "y": _number(y), "text-anchor": anchor, "fill": colour}
    look |= {"font-size": _number(size)} if size != 12 else {}
    look |= {"font-weight": weight} if weight != "normal" else {}
    element = ET.SubElement(parent, "text", look)
    element.text = text
    return element
