# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 8: the baseline
#
# To [Chapter 8](../../../08_cnn_lstm.ipynb). Four exercises, 9 points.

# %%
import math

import torch
from torch import nn

from ctxlstm import models, widgets
from ctxlstm.widgets.gates import trace

# %% [markdown]
# ## 1 Count the parameters (basic)
#
# Parameters of `nn.LSTM(i, h, layers, bidirectional=...)`, by formula. One layer and direction that reads n numbers has
# 4h(n + h + 2). Every layer above the first reads all directions of the layer below.
#
# Predict first: does a two-way LSTM of three layers have twice the parameters of a one-way one? ______


# %% nbgrader={"grade": false, "grade_id": "lstm-parameters", "locked": false, "schema_version": 3, "solution": true, "task": false}
def lstm_parameters(i, h, layers=1, bidirectional=False):
    """Number of parameters of nn.LSTM(i, h, layers, bidirectional=bidirectional)."""
    ### BEGIN SOLUTION
    directions = 2 if bidirectional else 1
    first = 4 * h * (i + h + 2)
    above = 4 * h * (directions * h + h + 2)
    return directions * (first + (layers - 1) * above)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "lstm-parameters-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert lstm_parameters(10, 3) == 4 * 3 * (10 + 3 + 2), "one layer, one direction: the formula as it stands"
assert lstm_parameters(512, 512, 3) == 6_303_744, "the paper's baseline: layers 2 and 3 read 512 numbers"
assert lstm_parameters(10, 3, 1, True) == 2 * lstm_parameters(10, 3), (
    "two directions with weights of their own"
)
### BEGIN HIDDEN TESTS
for i, h, layers, two in [(5, 7, 2, True), (64, 32, 3, True), (3, 11, 4, False), (512, 512, 3, True)]:
    with torch.device("meta"):
        lstm = nn.LSTM(i, h, layers, bidirectional=two)
    assert lstm_parameters(i, h, layers, two) == sum(p.numel() for p in lstm.parameters())
### END HIDDEN TESTS

# %% [markdown]
# Twice is too little: the upper layers do not only come twice, each of them also reads twice as many numbers.

# %% [markdown]
# ## 2 What has the last output seen? (thinking)
#
# A *one-layer two-way* LSTM reads T frames, numbered 0 to T - 1. Which frames can the forward half and the backward half of
# its output at frame t depend on? Return two sets.
#
# Predict first: how many frames has the backward half at the last frame seen? ______


# %% nbgrader={"grade": false, "grade_id": "seen", "locked": false, "schema_version": 3, "solution": true, "task": false}
def seen(t, T):
    """(frames the forward half at frame t depends on, frames the backward half depends on), two sets."""
    ### BEGIN SOLUTION
    return set(range(t + 1)), set(range(t, T))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "seen-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
forward, backward = seen(1, 4)
assert forward == {0, 1}, "at frame 1 the forward direction has read frames 0 and 1"
assert 0 not in backward, "the backward direction comes from the end: at frame 1 it has not read frame 0"
### BEGIN HIDDEN TESTS
torch.manual_seed(0)
lstm = nn.LSTM(2, 3, bidirectional=True, batch_first=True)
for T in (1, 5, 6):
    for t in range(T):
        x = torch.randn(1, T, 2, requires_grad=True)
        y, _ = lstm(x)
        for half, found in zip((y[0, t, :3], y[0, t, 3:]), seen(t, T), strict=True):
            (gradient,) = torch.autograd.grad(half.sum(), x, retain_graph=True)
            assert set(found) == {k for k in range(T) if gradient[0, k].abs().sum() > 0}
### END HIDDEN TESTS

# %% [markdown]
# This is why a two-way LSTM read at the last frame gives away most of its second direction, unless there are layers below
# it, and why the read-out "ends" takes the backward half at frame 0.

# %% [markdown]
# ## 3 Predict, then step through it (the sequence stepper)
#
# One LSTM unit whose gates ignore the input: all weights are zero but the one of x into the candidate, so that f, i and o are
# sigmoids of biases. The clip has a 1 in frame 0 and zeros after it. The bias of the forget gate is `b_f`; i and o are
# wide open (nearly 1). The candidate of frame 0 is tanh(1) = 0.762, that of every later frame 0.
#
# **Predict before you step**: `c_last`, the cell state at the last of 12 frames (t = 11), for `b_f` = 0, 2 and 5, as a
# dictionary {b_f: c}. Two decimals are enough (within 0.02). And `half_life`: with `b_f` = 2, the first t at which less than half of the
# c of frame 0 is left.

# %% nbgrader={"grade": false, "grade_id": "memory", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
gate = {b_f: 1 / (1 + math.exp(-b_f)) for b_f in (0, 2, 5)}
c_last = {b_f: math.tanh(1) * f**11 for b_f, f in gate.items()}
half_life = 6
### END SOLUTION


# %%
def unit(b_f):
    """One unit as described; PyTorch's rows are i, f, g, o."""
    lstm = nn.LSTM(1, 1, batch_first=True)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
        lstm.weight_ih_l0[2] = 1.0  # x into the candidate
        lstm.bias_ih_l0[:] = torch.tensor([20.0, b_f, 0.0, 20.0])
    return lstm


clip = torch.zeros(12, 1)  # (T, D)
clip[0] = 1.0
widgets.sequence_stepper(clip, unit(2.0))

# %%
widgets.sequence_stepper_figure(clip, unit(2.0), t=11)

# %% nbgrader={"grade": true, "grade_id": "memory-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert set(c_last) == {0, 2, 5}, "one entry for each of b_f = 0, 2, 5"
assert 0 <= c_last[0] < c_last[2] < c_last[5] < 0.762, (
    "a wider forget gate keeps more, and never more than entered"
)
assert 0 < half_life < 12, "a frame number t between 1 and 11"
### BEGIN HIDDEN TESTS
for b_f, c in c_last.items():
    assert abs(c - trace(clip, unit(b_f)).c[-1].item()) < 0.02
states = trace(clip, unit(2.0)).c[:, 0]
assert half_life == next(t for t in range(12) if states[t] < states[0] / 2)
### END HIDDEN TESTS

# %% [markdown]
# Once nothing enters any more, every step multiplies c by f. PyTorch starts with biases near 0, that is f near 0.5: what is
# left of the first of 28 frames then?

# %% [markdown]
# ## 4 A control of equal size (extend)
#
# `wide_lstm` is a baseline with the parameters of the cascade. Find its width yourself: return the hidden size h for which
# a one-way `nn.LSTM(i, h, 3)` comes nearest to `target` parameters. Use `lstm_parameters` from above.
#
# Predict first: to have 8 times the parameters of h = 512, must h be 8 times, or nearer to 3 times as large? ______


# %% nbgrader={"grade": false, "grade_id": "match", "locked": false, "schema_version": 3, "solution": true, "task": false}
def matching_width(target, i=512):
    """The hidden size h whose 3-layer one-way LSTM has the number of parameters nearest to target."""
    ### BEGIN SOLUTION
    h = 1
    while lstm_parameters(i, h, 3) < target:
        h += 1
    return min((h - 1, h), key=lambda width: abs(lstm_parameters(i, width, 3) - target)) if h > 1 else h
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "match-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
h = matching_width(lstm_parameters(512, 100, 3))
assert h == 100, "the parameters of h = 100 must lead back to h = 100"
assert matching_width(lstm_parameters(512, 100, 3) + 10) == 100, "the nearest width, not the next one above"
### BEGIN HIDDEN TESTS
for width, i in [(7, 5), (64, 128), (333, 512)]:
    size, above = lstm_parameters(i, width, 3), lstm_parameters(i, width + 1, 3)
    assert matching_width(size, i) == width
    assert matching_width((2 * size + above) // 3, i) == width
    assert matching_width((size + 2 * above) // 3 + 1, i) == width + 1
cascade = sum(
    p.numel()
    for p in models.build(
        "context_lstm", input_size=64, num_classes=3, hidden_size=32, embedding=()
    ).blocks.parameters()
)
width = matching_width(cascade, 64)
assert abs(lstm_parameters(64, width, 3) / cascade - 1) < 0.03
### END HIDDEN TESTS

# %% [markdown]
# The recurrent weights grow with the square of h. The package's `wide_lstm` matches the *whole* model, embedding and
# classifier included, so its width differs a little from yours.
