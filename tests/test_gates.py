"""Eqs. 12-17 against numbers worked out by hand and against torch, values and gradients, in float64."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ctxlstm import gates

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}


def column(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_one_step_equals_the_equations_worked_out_by_hand():
    """H = D = 1, so that every letter of Eqs. 12-17 is one number."""
    x, h, c = 0.5, -0.3, 0.8
    w_i, w_f, w_c, w_o = (0.1, 0.2), (0.3, -0.4), (-0.5, 0.6), (0.7, 0.8)  # (for x, for h)
    b_i, b_f, b_c, b_o = 0.01, 0.02, 0.03, 0.04
    step = gates.lstm_step(
        column([x]),
        column([h]),
        column([c]),
        column([w_i[0], w_f[0], w_c[0], w_o[0]]),
        column([w_i[1], w_f[1], w_c[1], w_o[1]]),
        column([b_i, b_f, b_c, b_o]).flatten(),
        torch.zeros(4, dtype=torch.float64),
    )
    f = sigmoid(w_f[0] * x + w_f[1] * h + b_f)
    i = sigmoid(w_i[0] * x + w_i[1] * h + b_i)
    g = math.tanh(w_c[0] * x + w_c[1] * h + b_c)
    o = sigmoid(w_o[0] * x + w_o[1] * h + b_o)
    c_new = f * c + i * g  # with the candidate: the printed Eq. 15 has C_t on both sides
    expected = {"f": f, "i": i, "g": g, "o": o, "c": c_new, "h": o * math.tanh(c_new)}
    assert {name: value.item() for name, value in step._asdict().items()} == pytest.approx(
        expected, abs=1e-15
    )


@given(
    clips=st.integers(1, 5), features=st.integers(1, 6), hidden=st.integers(1, 6), seed=st.integers(0, 2**32)
)
@settings(max_examples=30, deadline=None)
def test_one_step_equals_lstm_cell(clips, features, hidden, seed):
    torch.manual_seed(seed)
    cell = nn.LSTMCell(features, hidden).double()
    x = torch.randn(clips, features, dtype=torch.float64, requires_grad=True)
    h, c = torch.randn(2, clips, hidden, dtype=torch.float64).requires_grad_().unbind()
    weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]

    ours = gates.lstm_step(x, h, c, *weights)
    theirs = cell(x, (h, c))
    torch.testing.assert_close((ours.h, ours.c), theirs, **TOLERANCE)
    weight = torch.randn_like(ours.h)  # not the plain sum, whose gradient is 1 everywhere
    torch.testing.assert_close(
        torch.autograd.grad((weight * (ours.h + 2 * ours.c)).sum(), [x, h, c, *weights]),
        torch.autograd.grad((weight * (theirs[0] + 2 * theirs[1])).sum(), [x, h, c, *weights]),
        **TOLERANCE,
    )


def test_gates_do_what_their_names_say():
    """Biases of ±50 open and close one gate at a time: rows i, f, g, o of H = 1."""
    zeros = torch.zeros(4, 1, dtype=torch.float64)
    x = h = zeros[:1]
    c = torch.full((1, 1), 0.7, dtype=torch.float64)
    cases = {  # biases of i, f, g, o: expected cell state, expected output
        (-50.0, 50.0, 0.5, 50.0): (0.7, math.tanh(0.7)),  # keep all, let nothing in, show all
        (50.0, -50.0, 0.5, 50.0): (math.tanh(0.5), math.tanh(math.tanh(0.5))),  # forget all, let all in
        (-50.0, -50.0, 0.5, 50.0): (0.0, 0.0),  # forget all, let nothing in
        (-50.0, 50.0, 0.5, -50.0): (0.7, 0.0),  # keep all, show nothing
    }
    for biases, (cell_state, output) in cases.items():
        step = gates.lstm_step(x, h, c, zeros, zeros, torch.tensor(biases, dtype=torch.float64), zeros[:, 0])
        assert (step.c.item(), step.h.item()) == pytest.approx((cell_state, output), abs=1e-12)


@st.composite
def shapes(draw) -> dict:
    return {
        "input_size": draw(st.integers(1, 5)),
        "hidden_size": draw(st.integers(1, 5)),
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
    }


def pair(options: dict) -> tuple[gates.LSTM, nn.LSTM]:
    """Our LSTM and torch's, in float64, with the same weights taken over by `state_dict`."""
    theirs = nn.LSTM(**options).double()
    ours = gates.LSTM(**options).double()
    assert ours.load_state_dict(theirs.state_dict()).missing_keys == []
    return ours, theirs


@given(
    options=shapes(),
    clips=st.integers(1, 4),
    frames=st.integers(1, 6),
    given_state=st.booleans(),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_lstm_equals_torch_in_values_and_all_gradients(options, clips, frames, given_state, seed):
    torch.manual_seed(seed)
    ours, theirs = pair(options)
    rows = options["num_layers"] * (2 if options["bidirectional"] else 1)
    lead = (clips, frames) if options["batch_first"] else (frames, clips)
    x = torch.randn(*lead, options["input_size"], dtype=torch.float64, requires_grad=True)
    state = [
        torch.randn(rows, clips, options["hidden_size"], dtype=torch.float64, requires_grad=True)
        for _ in range(2 if given_state else 0)
    ]
    results = {}
    for name, lstm in (("ours", ours), ("theirs", theirs)):
        output, (h_n, c_n) = lstm(x, tuple(state)) if given_state else lstm(x)
        torch.manual_seed(seed)  # the same random weights, so that no part of the result can hide another
        loss = sum((torch.randn_like(part) * part).sum() for part in (output, h_n, c_n))
        gradients = torch.autograd.grad(loss, [x, *state, *lstm.parameters()])
        results[name] = (output, h_n, c_n, *gradients)
    assert len(results["ours"]) == 4 + len(state) + 4 * rows
    torch.testing.assert_close(results["ours"], results["theirs"], **TOLERANCE)


@given(options=shapes(), seed=st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_names_shapes_order_and_first_values_are_torchs(options, seed):
    torch.manual_seed(seed)
    ours = gates.LSTM(**options).state_dict()
    torch.manual_seed(seed)
    theirs = nn.LSTM(**options).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_state_dict_goes_back_to_torch():
    ours = gates.LSTM(3, 4, num_layers=2, bidirectional=True)
    theirs = nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0])


def test_parameter_count_of_the_papers_block():
    """4H(I + H + 2) for each layer and direction, where layers 2 and 3 read I = 2H features when two-way."""
    with torch.device("meta"):
        both_ways = gates.LSTM(512, 512, num_layers=3, bidirectional=True)
        one_way = gates.LSTM(512, 512, num_layers=3)
    assert sum(p.numel() for p in both_ways.parameters()) == 16_801_792
    assert sum(p.numel() for p in one_way.parameters()) == 6_303_744


def test_each_direction_reads_its_own_side():
    """Changing the last frame moves no earlier forward output; changing the first, no later backward one."""
    torch.manual_seed(0)
    lstm = gates.LSTM(3, 4, bidirectional=True)
    x = torch.randn(2, 6, 3)
    output, (h_n, _) = lstm(x)
    last, first = x.clone(), x.clone()
    last[:, -1] += 1
    first[:, 0] += 1
    assert torch.equal(lstm(last)[0][:, :-1, :4], output[:, :-1, :4])
    assert not torch.allclose(lstm(last)[0][:, :-1, 4:], output[:, :-1, 4:])
    assert torch.equal(lstm(first)[0][:, 1:, 4:], output[:, 1:, 4:])
    assert not torch.allclose(lstm(first)[0][:, 1:, :4], output[:, 1:, :4])
    assert torch.equal(h_n[0], output[:, -1, :4])  # the forward state was reached at the last frame,
    assert torch.equal(h_n[1], output[:, 0, 4:])  # the backward state at the first


def test_dropout_acts_between_layers_in_training_only_and_as_in_torch():
    options = {"input_size": 3, "hidden_size": 8, "num_layers": 3, "bidirectional": True, "batch_first": True}
    ours, theirs = pair(options | {"dropout": 0.5})
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    torch.manual_seed(1)
    dropped = ours(x)[0]
    torch.manual_seed(1)
    torch.testing.assert_close(dropped, theirs(x)[0], **TOLERANCE)
    ours.eval()
    assert torch.equal(ours(x)[0], ours(x)[0])
    assert not torch.allclose(dropped, ours(x)[0])
    assert (dropped != 0).all()  # nothing is dropped behind the last layer
    one_layer = gates.LSTM(3, 8, dropout=0.5)
    assert torch.equal(one_layer(x.float())[0], one_layer(x.float())[0])  # nor where there is one layer only


@pytest.mark.parametrize(
    ("x", "state", "message"),
    [
        ((5, 3), None, r"x must be \(B, T, D\) with D = 3; got \(5, 3\)"),
        ((2, 5, 4), None, r"x must be \(B, T, D\) with D = 3; got \(2, 5, 4\)"),
        ((2, 0, 3), None, "at least one frame"),
        ((2, 5, 3), ((2, 1, 4), (2, 2, 4)), r"h_0 must be .* = \(2, 2, 4\); got \(2, 1, 4\)"),
        ((2, 5, 3), ((2, 2, 4), (1, 2, 4)), r"c_0 must be .* = \(2, 2, 4\); got \(1, 2, 4\)"),
    ],
)
def test_wrong_shapes_are_named(x, state, message):
    lstm = gates.LSTM(3, 4, bidirectional=True)
    with pytest.raises(ValueError, match=message):
        lstm(torch.zeros(x), state and tuple(torch.zeros(shape) for shape in state))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 0}, "hidden_size .* at least 1; got 3, 0 and 1"),
        ({"input_size": 0}, "at least 1; got 0, 4 and 1"),
        ({"num_layers": 0}, "at least 1; got 3, 4 and 0"),
        ({"dropout": 1.0}, r"dropout must be at least 0 and below 1; got 1\.0"),
    ],
)
def test_wrong_sizes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        gates.LSTM(**{"input_size": 3, "hidden_size": 4} | options)
