"""The widgets that show the LSTM: gates, a sequence, the cascade, the stage between blocks; and what all are made of."""

import gc
import io
import math
import re
import weakref

import ipywidgets
import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from ctxlstm import gates, models, widgets
from ctxlstm.figures import GATE_COLOURS
from ctxlstm.models.stage import Stage
from ctxlstm.widgets import gates as gate_widgets
from ctxlstm.widgets import stage as stage_widgets
from ctxlstm.widgets.cascade import flow
from ctxlstm.widgets.panel import Panel, choice, drawing, minus, png, slider, toggles


@pytest.fixture
def lstm() -> torch.nn.LSTM:
    torch.manual_seed(0)
    return torch.nn.LSTM(5, 4, batch_first=True)


@pytest.fixture
def clip() -> torch.Tensor:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(1))  # (T, D)


@pytest.fixture
def cascade() -> models.ContextLSTM:
    torch.manual_seed(0)
    return models.ContextLSTM(5, 3, hidden_size=4, num_layers=2, num_blocks=3, embedding=None)


def shown(panel: Panel) -> np.ndarray:
    """The pixels that a panel shows, (height, width, 4)."""
    return matplotlib.image.imread(io.BytesIO(panel.picture.value), format="png")


def pixels(figure: Figure) -> np.ndarray:
    return matplotlib.image.imread(io.BytesIO(png(figure)), format="png")


def numbers(panel: Panel) -> dict[str, float]:
    """The bold results of the lines 'NAME = ... = RESULT' under the picture."""
    text = panel.numbers.value.replace("−", "-")
    found = re.findall(r"Eq\. \d+: (?:new )?<b>(\w)</b> = .*?(-?\d+\.\d+)</b>(?:<br>|</div>)", text)
    return {name: float(value) for name, value in found}


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)


# The parts.


def test_a_panel_redraws_in_place_and_keeps_no_figure():
    made = []

    def draw(a: float, kind: str) -> Figure:
        with drawing(3, 2) as figure:
            figure.subplots().bar([0], [a], color=kind)
        made.append(weakref.ref(figure))
        return figure

    controls = {"a": slider("height", 1.0, 0, 2), "kind": choice("colour", "red", {"R": "red", "B": "blue"})}
    panel = Panel(draw, controls, lambda a, kind: f"<b>{a:.1f}</b> in {kind}", reset=True)
    picture, first = panel.picture, panel.picture.value
    panel.controls["a"].value = 1.5
    assert panel.picture is picture
    assert picture.value != first
    assert "<b>1.5</b> in red" in panel.numbers.value
    assert picture.tooltip is None, "JupyterLab does not show an Image with a tooltip"
    panel.set(a=0.5, kind="blue")
    assert len(made) == 3  # two controls, one drawing
    assert panel.state == {"a": 0.5, "kind": "blue"}
    button = next(child for row in panel.children[:2] for child in row.children if hasattr(child, "click"))
    button.click()
    assert panel.state == {"a": 1.0, "kind": "red"}
    assert picture.value == first
    gc.collect()
    assert [figure() for figure in made] == [None] * 4
    assert plt.get_fignums() == []
    with pytest.raises(ValueError, match="no control b: choose from a, kind"):
        panel.set(b=1)


def test_a_panel_shows_an_error_as_a_sentence_and_recovers():
    def draw(a: int) -> Figure:
        if a > 1:
            raise ValueError("a must be <= 1")
        with drawing(3, 2) as figure:
            figure.subplots()
        return figure

    panel = Panel(draw, {"a": slider("a", 0, 0, 3, 1)})
    before = panel.picture.value
    panel.controls["a"].value = 2
    assert panel.picture.value == before
    assert "a must be &lt;= 1" in panel.numbers.value
    assert 'role="alert"' in panel.numbers.value
    panel.controls["a"].value = 1
    assert "alert" not in panel.numbers.value


def test_controls_are_whole_numbers_where_the_step_is_one():
    assert isinstance(slider("n", 1, 0, 3, 1), ipywidgets.IntSlider)
    assert isinstance(slider("x", 1.0, 0, 3), ipywidgets.FloatSlider)
    assert toggles("t", None, {"on": "hc", "off": None}).value is None


def test_minus_signs_leave_names_and_ranges_alone():
    assert minus("-0.5 and (-2), line-height: 1.5, 3-4") == "−0.5 and (−2), line-height: 1.5, 3-4"


def test_a_drawing_does_not_change_matplotlib():
    before = dict(plt.rcParams)
    widgets.gate_explorer_figure()
    assert dict(plt.rcParams) == before
    assert plt.get_fignums() == []


# Every widget first shows its twin.


def test_twins_at_default_values_equal_what_the_widget_first_shows(lstm, clip, cascade):
    pairs = [
        (widgets.gate_explorer(), widgets.gate_explorer_figure()),
        (widgets.sequence_stepper(clip, lstm), widgets.sequence_stepper_figure(clip, lstm)),
        (widgets.sequence_stepper(clip, lstm, unit=2), widgets.sequence_stepper_figure(clip, lstm, unit=2)),
        (widgets.state_flow(cascade, clip), widgets.state_flow_figure(cascade, clip)),
        (widgets.stage_explorer(), widgets.stage_explorer_figure()),
    ]
    for panel, figure in pairs:
        assert isinstance(figure, Figure)
        np.testing.assert_array_equal(shown(panel), pixels(figure))
        assert "error" not in panel.numbers.value
    assert plt.get_fignums() == []


def test_every_control_can_be_reached_and_read(lstm, clip, cascade):
    for panel in (
        widgets.gate_explorer(),
        widgets.sequence_stepper(clip, lstm),
        widgets.state_flow(cascade, clip),
        widgets.stage_explorer(),
    ):
        assert panel.numbers.value
        for control in panel.controls.values():
            assert control.description
            assert control.tabbable is not False
            assert not control.disabled
            assert control.style.description_width.endswith("em")
            assert getattr(control, "readout", True)


# Gate explorer.


def explorer_step(x=1.0, h=0.0, c=0.5, b_f=1.0, b_i=0.0, b_g=0.0, b_o=0.0) -> gates.LSTMStep:
    """The same unit by hand: rows i, f, g, o."""
    w = torch.tensor([gate_widgets.WEIGHTS[gate] for gate in "ifgo"])  # (4H, 2)
    b = torch.tensor([b_i, b_f, b_g, b_o])  # (4H,)
    state = (torch.tensor([[value]]) for value in (x, h, c))
    return gates.lstm_step(*state, w[:, :1], w[:, 1:], b, torch.zeros(4))


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"x": -2.0, "h": 0.5, "c": -1.5},
        {"b_f": 4.0, "b_i": -4.0},
        {"c": 2.0, "b_o": -3.0, "b_g": 1.5},
        dict.fromkeys(gate_widgets.RANGES, 0.0),
    ],
)
def test_moving_the_sliders_gives_the_numbers_of_lstm_step(state):
    panel = widgets.gate_explorer()
    before = shown(panel)
    panel.set(**state)
    expected = {name: tensor.item() for name, tensor in explorer_step(**state)._asdict().items()}
    assert numbers(panel) == pytest.approx(expected, abs=6e-4)
    assert (shown(panel) != before).any() == bool(state)


@pytest.mark.parametrize("name", list(gate_widgets.RANGES))
def test_each_slider_changes_picture_and_numbers(name):
    panel = widgets.gate_explorer()
    picture, text = panel.picture.value, panel.numbers.value
    panel.controls[name].value += 0.5
    assert panel.picture.value != picture
    assert panel.numbers.value != text


def test_an_open_forget_gate_keeps_the_cell_and_a_closed_input_gate_lets_nothing_in():
    panel = widgets.gate_explorer()
    panel.set(c=1.5, b_f=8.0, b_i=-8.0)
    values = numbers(panel)
    assert values["f"] == pytest.approx(1, abs=2e-3)
    assert values["c"] == pytest.approx(1.5, abs=5e-3)
    panel.set(b_f=-8.0, b_i=8.0)
    values = numbers(panel)
    assert values["c"] == pytest.approx(values["g"], abs=5e-3)
    panel.set(b_o=-8.0)
    assert numbers(panel)["h"] == pytest.approx(0, abs=2e-3)


def test_the_explorer_draws_the_bars_that_it_names():
    step = gate_widgets.step_of_unit(1.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0)
    figure = widgets.gate_explorer_figure()
    left, right = figure.axes
    widths = [bar.get_width() for bar in left.patches]
    for gate in "figo":
        assert any(width == pytest.approx(step[gate]) for width in widths)
    heights = [bar.get_height() for bar in right.patches]
    for height in (0.5, step["f"] * 0.5, step["g"], step["i"] * step["g"], math.tanh(step["c"]), step["h"]):
        assert any(one == pytest.approx(height) for one in heights)
    assert f"{step['c']:+.2f}" in texts(figure)


@pytest.mark.parametrize("end", [-1, 1])
def test_the_ends_of_all_sliders_work(end):
    panel = widgets.gate_explorer()
    state = {name: end * limit for name, limit in gate_widgets.RANGES.items()}
    panel.set(**state)
    assert all((control.min, control.max)[end > 0] == state[name] for name, control in panel.controls.items())
    assert "alert" not in panel.numbers.value
    assert abs(numbers(panel)["c"]) <= 3
    right = widgets.gate_explorer_figure(**state).axes[1]
    low, high = right.get_ylim()
    assert all(low < bar.get_y() + bar.get_height() < high for bar in right.patches)


@pytest.mark.parametrize(("name", "value"), [("x", 3.1), ("c", -100), ("b_f", 9), ("h", float("nan"))])
def test_the_explorer_refuses_what_its_sliders_do_not_have(name, value):
    limit = gate_widgets.RANGES[name]
    with pytest.raises(
        ValueError, match=f"{name} must be a number from {-limit:g} to {limit:g}; got {value}"
    ):
        widgets.gate_explorer_figure(**{name: value})


# Sequence stepper.


@pytest.mark.parametrize("kind", [torch.nn.LSTM, gates.LSTM])
def test_the_trace_of_a_sequence_is_the_lstms_own(kind, lstm, clip):
    own = kind(5, 4, batch_first=True)
    own.load_state_dict(lstm.state_dict())
    steps = gate_widgets.trace(clip, own)
    output, (_, c_n) = own(clip[None])
    torch.testing.assert_close(steps.h, output[0].detach())
    torch.testing.assert_close(steps.c[-1], c_n[0, 0].detach())
    assert not steps.h.requires_grad


def test_an_lstm_without_biases_can_be_followed(clip):
    own = torch.nn.LSTM(5, 4, batch_first=True, bias=False)
    torch.testing.assert_close(gate_widgets.trace(clip, own).h, own(clip[None])[0][0].detach())


def test_stepping_shows_the_frames_numbers(lstm, clip):
    panel = widgets.sequence_stepper(clip, lstm)
    steps, seen = gate_widgets.trace(clip, lstm), set()
    for t, unit in ((0, 0), (5, 0), (3, 2), (5, 3)):
        panel.set(t=t, unit=unit)
        seen.add(panel.picture.value)
        assert numbers(panel) == pytest.approx(
            {"c": steps.c[t, unit].item(), "h": steps.h[t, unit].item()}, abs=6e-4
        )
        assert f"f = <b>{steps.f[t, unit]:.3f}</b>" in panel.numbers.value
    assert len(seen) == 4
    assert (panel.controls["t"].max, panel.controls["unit"].max) == (5, 3)


def test_the_stepper_draws_no_frame_after_t(lstm, clip):
    upper, lower, _ = widgets.sequence_stepper_figure(clip, lstm, t=3, unit=1).axes
    steps = gate_widgets.trace(clip, lstm)._asdict()
    for axes, names in ((upper, "fio"), (lower, "gch")):
        curves = {line.get_label(): line for line in axes.lines}
        for name in names:
            np.testing.assert_allclose(curves[name].get_ydata(), steps[name][:4, 1], rtol=1e-6)
            assert curves[name].get_color() == GATE_COLOURS[name]
        assert axes.get_xlim()[1] == 5.5  # the axis is as long as the clip


def test_the_stepper_refuses_what_it_cannot_follow(lstm, clip):
    with pytest.raises(ValueError, match=r"x must be one clip \(T, D\) with D = 5; got \(1, 6, 5\)"):
        widgets.sequence_stepper(clip[None], lstm)
    with pytest.raises(ValueError, match="t must be a frame from 0 to 5; got 6"):
        widgets.sequence_stepper_figure(clip, lstm, t=6)
    with pytest.raises(ValueError, match="unit must be from 0 to 3; got 4"):
        widgets.sequence_stepper(clip, lstm, unit=4)
    for other in (torch.nn.LSTM(5, 4, 2), torch.nn.LSTM(5, 4, bidirectional=True), torch.nn.GRU(5, 4)):
        with pytest.raises(ValueError, match="one layer and one direction; got"):
            widgets.sequence_stepper(clip, other)


# State flow.


@pytest.mark.parametrize("handover", ["hc", "h", "c", "swap", "detach", None])
def test_the_flow_is_the_models_own(cascade, clip, handover):
    own = models.ContextLSTM(
        5, 3, hidden_size=4, num_layers=2, num_blocks=3, embedding=None, handover=handover
    )
    own.load_state_dict(cascade.state_dict())
    logits, states = own.eval()(clip[None], return_states=True)
    here = flow(cascade, clip, handover)
    torch.testing.assert_close(here.probabilities, logits[0].softmax(0).detach())
    for block, (h, c) in zip(here.blocks, states, strict=True):
        torch.testing.assert_close(block.last, torch.stack([h[-2:, 0], c[-2:, 0]], dim=1).detach())
        torch.testing.assert_close(block.output[0, -1], block.last[0, 0])  # forward ends at the last frame
        torch.testing.assert_close(block.output[1, 0], block.last[1, 0])  # backward ends at the first
    assert not here.blocks[0].first.any()
    expected = {"hc": here.blocks[0].last, "detach": here.blocks[0].last, None: torch.zeros(2, 2, 4)}
    expected |= {"swap": here.blocks[0].last.flip(0)}
    if handover in expected:
        assert torch.equal(here.blocks[1].first, expected[handover])
    else:
        assert not here.blocks[1].first[:, "ch".index(handover)].any()  # the one that is not handed over
        assert here.blocks[1].first[:, "hc".index(handover)].all()


def test_the_flow_leaves_the_model_as_it_was(cascade, clip):
    cascade.train()
    cascade.blocks[1].eval()
    before = {name: tensor.clone() for name, tensor in cascade.state_dict().items()}
    flow(cascade, clip, None)
    assert cascade.handover == "hc"
    assert cascade.training
    assert not cascade.blocks[1].training
    for name, tensor in cascade.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_without_hand_over_the_widget_says_what_is_lost(cascade, clip):
    panel = widgets.state_flow(cascade, clip)
    first = panel.picture.value
    assert panel.numbers.value.count("the same") == 8  # two hand-overs, two directions, h and c
    panel.controls["handover"].value = None
    assert panel.picture.value != first
    assert panel.numbers.value.count("differs by up to") == 8
    gap = flow(cascade, clip, None).blocks[0].last[0, 0].abs().max()
    assert f"block 1 end → block 2 start, forward: h differs by up to {gap:.3f}" in panel.numbers.value
    panel.controls["handover"].value = "h"
    assert panel.numbers.value.count("h <b>the same</b>") == 4
    panel.controls["handover"].value = "hc"
    assert panel.picture.value == first


def test_the_first_block_is_the_same_with_and_without_hand_over(cascade, clip):
    lines = widgets.state_flow_figure(cascade, clip).axes[1].lines
    assert len(lines) == 6  # blocks times directions
    assert not any(line.get_ydata().any() for line in lines[:2])
    assert all(line.get_ydata().all() for line in lines[2:])


@pytest.mark.parametrize("options", [{"pool": "time"}, {"num_blocks": 1}, {"pool": None, "cell": "gates"}])
def test_other_cascades_can_be_drawn(clip, options):
    torch.manual_seed(0)
    options = {"num_blocks": 2, **options}
    model = models.ContextLSTM(5, 3, hidden_size=4, num_layers=1, embedding=None, **options)
    for handover in ("hc", "swap", None):
        figure = widgets.state_flow_figure(model, clip, handover)
        assert f"block {options['num_blocks']}" in texts(figure)


def test_state_flow_refuses_what_it_cannot_show(cascade, clip):
    with pytest.raises(ValueError, match="model must be a ContextLSTM, the cascade of blocks; got CNNLSTM"):
        widgets.state_flow(models.CNNLSTM(5, 3, hidden_size=4, embedding=None), clip)
    with pytest.raises(ValueError, match=r"x must be one clip \(T, D\) with D = 5; got \(1, 6, 5\)"):
        widgets.state_flow_figure(cascade, clip[None])
    with pytest.raises(ValueError, match="with D = 5; got"):
        widgets.state_flow_figure(cascade, clip[:, :3])
    with pytest.raises(ValueError, match="unknown handover 'off'; valid: 'hc'"):
        widgets.state_flow_figure(cascade, clip, "off")


# Stage explorer.


@pytest.mark.parametrize("order", ["relu-bn", "bn-relu"])
@pytest.mark.parametrize("pool", ["feature", "time", None])
@pytest.mark.parametrize("batch_norm", ["feature", "time"])
def test_the_stages_steps_end_where_the_packages_stage_ends(order, pool, batch_norm):
    steps = stage_widgets.stage_steps(order, pool, batch_norm)
    y = steps[0][1]
    assert y.shape == (2, 4, 6)
    torch.testing.assert_close(steps[-1][1], Stage(6, pool, order, batch_norm)(y).detach())
    normalised = dict(steps)["BatchNorm"]
    mean = normalised.mean(dim=(0, 1) if batch_norm == "feature" else (0, 2))
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-6, rtol=0)
    panel = widgets.stage_explorer()
    panel.set(order=order, pool=pool, batch_norm=batch_norm)
    after = steps[-1][1]
    assert f"{after.numel()} numbers: <b>{int((after < 0).sum())} negative</b>" in panel.numbers.value


def test_bn_relu_lets_no_negative_number_through():
    assert (stage_widgets.stage_steps("bn-relu", None)[-1][1] >= 0).all()
    assert (stage_widgets.stage_steps("relu-bn", None)[-1][1] < 0).any()


def test_every_choice_gives_another_picture():
    panel, seen = widgets.stage_explorer(), set()
    for order in ("relu-bn", "bn-relu"):
        for pool in ("feature", "time", None):
            for batch_norm in ("feature", "time"):
                panel.set(order=order, pool=pool, batch_norm=batch_norm)
                seen.add(panel.picture.value)
    assert len(seen) == 12


def test_the_stage_explorer_lists_the_names_it_knows():
    with pytest.raises(ValueError, match="unknown order 'bn'; valid: 'relu-bn', 'bn-relu'"):
        widgets.stage_explorer_figure(order="bn")
    with pytest.raises(ValueError, match="unknown pool 'max'; valid: 'feature', 'time', None"):
        widgets.stage_explorer_figure(pool="max")
    with pytest.raises(ValueError, match="unknown batch_norm 'batch'; valid: 'feature', 'time'"):
        widgets.stage_explorer_figure(batch_norm="batch")
