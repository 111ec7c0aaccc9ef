"""The drawing of the cascade says what the model does, is the same bytes each time, and can be read by anyone."""

import re
import xml.etree.ElementTree as ET

import pytest
import torch

from ctxlstm import figures
from ctxlstm.classroom import diagram
from ctxlstm.models import READINGS
from ctxlstm.models.context_lstm import ContextLSTM

SVG = "{http://www.w3.org/2000/svg}"
SMALL = {"input_size": 20, "num_classes": 7, "hidden_size": 6, "num_layers": 2, "embedding": (9,)}


def parsed(drawing: diagram.Diagram) -> ET.Element:
    return ET.fromstring(drawing.svg)


def texts(drawing: diagram.Diagram) -> list[str]:
    return ["".join(text.itertext()) for text in parsed(drawing).iter(f"{SVG}text")]


def shapes(drawing: diagram.Diagram) -> list[str]:
    """The shapes on the wires, from top to bottom; those of states are left out."""
    return [text for text in texts(drawing) if text.startswith("(B")]


def lines(drawing: diagram.Diagram, state: str) -> list[str]:
    """The curves that hand a state over: the only ones of its colour that bend."""
    colour = figures.GATE_COLOURS[state]
    paths = [path for path in parsed(drawing).iter(f"{SVG}path") if path.get("stroke") == colour]
    return [path.get("d") for path in paths if " C " in path.get("d")]


def test_the_papers_sizes():
    drawing = diagram.draw()
    assert shapes(drawing) == [
        "(B, 28, 2048)",
        *["(B, 28, 512)", "(B, 28, 1024)"] * 3,
        "(B, 28, 512)",
        "(B, 512)",
        "(B, 101)",
    ]
    assert texts(drawing).count("h, c (6, B, 512)") == 2
    assert {"512 → 256", "256 → 101", "2048 → 1024 → 768 → 512"} <= set(texts(drawing))


@pytest.mark.parametrize("options", READINGS.values(), ids=READINGS.keys())
def test_shapes_are_those_of_a_real_run(options):
    options = SMALL | options
    model, seen = ContextLSTM(**options).eval(), []
    for block, stage in zip(model.blocks, model.stages, strict=True):
        block.register_forward_hook(lambda m, x, y: seen.extend([x[0].shape, y[0].shape]))
        stage.register_forward_hook(lambda m, x, y: seen.append(y.shape))
    x = torch.zeros(3, 17, 20)  # (B, T, D)
    logits = model(x)  # (B, K)
    # What leaves a stage enters the next block: one wire, one shape.
    wires = [seen[0], *[shape for n, shape in enumerate(seen) if n % 3]]
    wires = [x.shape] * bool(options["embedding"]) + wires + [(3, model.head[0].in_features), logits.shape]
    want = ["(B, " + ", ".join(str(n) for n in shape[1:]) + ")" for shape in wires]
    assert shapes(diagram.draw(frames=17, **options)) == want


@pytest.mark.parametrize(
    ("handover", "h", "c"),
    [("hc", 4, 4), ("h", 4, 0), ("c", 0, 4), ("swap", 4, 4), ("detach", 4, 4), (None, 0, 0)],
)
def test_what_is_handed_over_has_a_line_of_its_colour(handover, h, c):
    drawing = diagram.draw(handover=handover, **SMALL)
    assert (len(lines(drawing, "h")), len(lines(drawing, "c"))) == (h, c)
    # Every other state of the three blocks starts from a zero, at either side.
    assert texts(drawing).count("0") == 12 - h - c


def test_states_cross_unless_directions_are_exchanged():
    def crossings(handover):
        ends = [re.findall(r"-?[\d.]+", d) for d in lines(diagram.draw(handover=handover, **SMALL), "h")]
        return [(float(numbers[0]) < 200) != (float(numbers[-3]) < 200) for numbers in ends]

    assert all(crossings("hc"))
    assert not any(crossings("swap"))


def test_stage_in_the_order_of_the_options():
    def stage(**options):
        names = texts(diagram.draw(num_blocks=1, **SMALL, **options))
        return [name for name in names if name in ("ReLU", "BatchNorm", "MaxPool")][
            :-1
        ]  # the last is the head's

    assert stage() == ["ReLU", "BatchNorm", "MaxPool"]
    assert stage(order="bn-relu") == ["BatchNorm", "ReLU", "MaxPool"]
    assert stage(pool=None) == ["ReLU", "BatchNorm"]
    assert "frame pairs" in texts(diagram.draw(pool="time", **SMALL))
    assert "per frame" in texts(diagram.draw(batch_norm="time", **SMALL))


def test_blocks_and_layers_are_counted():
    found = texts(diagram.draw(num_blocks=2, **SMALL | {"num_layers": 4}))
    assert [text for text in found if text.startswith("LSTM block")] == ["LSTM block 1", "LSTM block 2"]
    assert found.count("layer 4 ←") == 2


def test_one_block_says_nothing_of_a_hand_over():
    drawing = diagram.draw(num_blocks=1, **SMALL)
    assert not lines(drawing, "h")
    assert "The block starts from zeros" in parsed(drawing).find(f"{SVG}desc").text


def test_readable_without_the_picture_and_on_any_background():
    drawing = diagram.side_by_side({"one": {}, "two <&>": {"pool": None}}, **SMALL)
    svg = parsed(drawing)
    assert svg[0].text == "Context-LSTM: one; two <&>"
    assert svg[1].tag == f"{SVG}desc"
    assert "BatchNorm per feature, MaxPool feature pairs" in svg[1].text
    assert svg.get("role") == "img"
    background = svg.find(f"{SVG}rect")
    assert background.get("fill") == "#FFFFFF"
    assert (background.get("width"), background.get("height")) == (str(drawing.width), str(drawing.height))
    assert not list(svg.iter(f"{SVG}image"))


def test_text_lies_within_the_drawing():
    drawing = diagram.side_by_side({name: options for name, options in READINGS.items()}, **SMALL, frames=16)
    for text in parsed(drawing).iter(f"{SVG}text"):
        wide = 0.6 * float(text.get("font-size", 12)) * len("".join(text.itertext()))
        left = float(text.get("x")) - {"start": 0, "middle": 0.5, "end": 1}[text.get("text-anchor")] * wide
        assert 0 <= left <= left + wide <= drawing.width
        assert 0 < float(text.get("y")) < drawing.height


def test_same_bytes_and_no_random_number_drawn():
    state = torch.get_rng_state()
    first, second = diagram.draw("A", **SMALL), diagram.draw("A", **SMALL)
    assert first == second
    assert first._repr_svg_() == first.svg
    assert torch.equal(torch.get_rng_state(), state)


def test_repr_is_short():
    assert re.fullmatch(r"Diagram\(400 x \d+ pixels\)", repr(diagram.draw(**SMALL)))


def test_save(tmp_path):
    drawing = diagram.draw(**SMALL)
    path = drawing.save(tmp_path / "cascade.svg")
    assert path.read_text(encoding="utf-8") == drawing.svg
    with pytest.raises(ValueError, match=r"saved as \.svg, so cascade\.png does not fit"):
        drawing.save(tmp_path / "cascade.png")


def test_bad_input():
    with pytest.raises(ValueError, match="no reading to draw"):
        diagram.side_by_side({})
    with pytest.raises(ValueError, match="unknown pool 'space'"):
        diagram.draw(pool="space")
    with pytest.raises(ValueError, match="at least 8 frames"):
        diagram.draw(pool="time", frames=7)
    with pytest.raises(ValueError, match="frames must be an int of at least 1"):
        diagram.draw(frames=0)
