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
# To [Chapter 8](../../../08_cnn_lstm.ipynb). Four exercises, 9 points. Replace `# YOUR CODE HERE` and the line below it, then
# run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the sheet is
# graded.

# %%
# %matplotlib inline
import math

import torch
from torch import nn

from ctxlstm import models, widgets
from ctxlstm.widgets.gates import trace

# %% [markdown]
# ## 1 One vector from all frames (basic)
#
# A two-way LSTM gives y (B, T, 2H): forward half first, backward half second. A classifier needs one vector per clip. Write
# `read(y, how)`, which returns (B, 2H):
#
# - `"last"`: both halves of the output at the last frame,
# - `"mean"`: the mean over frames,
# - `"ends"`: each half at the frame where its direction has read the whole clip.
#
# Predict first: in a one-layer LSTM, which of the three read-outs has a half that has seen only one frame? ______


# %% nbgrader={"grade": false, "grade_id": "read", "locked": false, "schema_version": 3, "solution": true, "task": false}
def read(y, how):
    """One vector per clip, (B, 2H), from the outputs y (B, T, 2H) of a two-way LSTM."""
    ### BEGIN SOLUTION
    if how == "last":
        return y[:, -1]
    if how == "mean":
        return y.mean(dim=1)
    H = y.shape[2] // 2
    return torch.cat([y[:, -1, :H], y[:, 0, H:]], dim=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "read-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
y = torch.tensor([[[1.0, 10.0], [2.0, 20.0], [6.0, 60.0]]])  # one clip, T = 3, H = 1
assert read(y, "last").tolist() == [[6, 60]], "both halves of the last frame"
assert read(y, "mean").tolist() == [[3, 30]], "the mean over the three frames"
assert read(y, "ends")[0, 0] == 6, "the forward half is done at the last frame"
assert read(torch.randn(4, 7, 10), "ends").shape == (4, 10), "2H numbers per clip"
### BEGIN HIDDEN TESTS
torch.manual_seed(0)
lstm = nn.LSTM(3, 5, bidirectional=True, batch_first=True)
with torch.no_grad():
    for T in (1, 2, 6):
        y, (h, _) = lstm(torch.randn(4, T, 3))
        assert torch.equal(read(y, "ends"), torch.cat([h[0], h[1]], dim=1))
        assert torch.equal(read(y, "last"), y[:, T - 1])
        assert torch.allclose(read(y, "mean"), y.sum(dim=1) / T, atol=1e-6)
### END HIDDEN TESTS

# %% [markdown]
# PyTorch's final state `h_n`, its two rows side by side, is the read-out "ends": compare them on an `nn.LSTM` of your own.

# %% [markdown]
# ## 2 What has the last output seen? (thinking)
#
# A *one-layer two-way* LSTM reads T frames, numbered 0 to T - 1. Which frames can the forward half and the backward half of
# its output at frame t depend on? Return two sets.
#
# Predict first: how many frames has the backward half at the last frame seen? ______


# %% nbgrader={"grade": false, "grade_id": "seen", "locked": false, "schema_version": 3, "solution": true, "task": false}
def seen(t, T):
    """The frames that the forward and the backward half at t depend on: two sets."""
    ### BEGIN SOLUTION
    return set(range(t + 1)), set(range(t, T))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "seen-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
forward, backward = seen(1, 4)
assert forward == {0, 1}, "at frame 1 the forward direction has read frames 0 and 1"
assert 0 not in backward, "from the end to frame 1, frame 0 has not been read yet"
assert 1 in backward, "the output at frame 1 depends on frame 1, in both halves"
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
# dictionary {b_f: c}; two decimals are enough (within 0.01). And `half_life`: with `b_f` = 2, the first t at which less
# than half of the c of frame 0 is left. Then step, and correct what you had wrong. The stepper starts with `b_f` = 2: for
# the other two, replace 2.0 by 0.0 and by 5.0 in its cell.

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
    assert abs(c - trace(clip, unit(b_f)).c[-1].item()) < 0.01
states = trace(clip, unit(2.0)).c[:, 0]
assert half_life == next(t for t in range(12) if states[t] < states[0] / 2)
### END HIDDEN TESTS

# %% [markdown]
# Once nothing enters any more, every step multiplies c by f. PyTorch starts with biases near 0, that is f near 0.5: what is
# left of the first of 28 frames then?

# %% [markdown]
# ## 4 A control of equal size (extend)
#
# `wide_lstm` is a baseline with as many parameters as the cascade. Find its width yourself: return the hidden size h for which
# a one-way `nn.LSTM(i, h, 3)` comes nearest to `target` parameters. The cell below counts them for you.
#
# Predict first: to have 8 times the parameters of h = 512, must h be 8 times, or nearer to 3 times as large? ______


# %%
def size(i, h):
    """Number of parameters of nn.LSTM(i, h, 3), which is made without its numbers."""
    with torch.device("meta"):
        return models.count_parameters(nn.LSTM(i, h, 3))


# %% nbgrader={"grade": false, "grade_id": "match", "locked": false, "schema_version": 3, "solution": true, "task": false}
def matching_width(target, i=512):
    """The hidden size h whose 3-layer one-way LSTM has nearest to target parameters."""
    ### BEGIN SOLUTION
    h = 1
    while size(i, h) < target:
        h += 1
    return min((max(h - 1, 1), h), key=lambda width: abs(size(i, width) - target))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "match-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
h = matching_width(size(512, 100))
assert h == 100, "the parameters of h = 100 must lead back to h = 100"
assert matching_width(size(512, 100) + 10) == 100, "the nearest, not the next above"
assert matching_width(size(512, 101) - 10) == 101, "the nearest, not the next below"
assert matching_width(size(64, 40), i=64) == 40, "the input size i counts, too"
### BEGIN HIDDEN TESTS
for width, i in [(7, 5), (64, 128), (333, 512)]:
    mine, above = size(i, width), size(i, width + 1)
    assert matching_width(mine, i) == width
    assert matching_width((2 * mine + above) // 3, i) == width
    assert matching_width((mine + 2 * above) // 3 + 1, i) == width + 1
cascade = models.build(
    "context_lstm", input_size=64, num_classes=3, hidden_size=32, embedding=()
)
target = models.count_parameters(cascade.blocks)
assert abs(size(64, matching_width(target, 64)) / target - 1) < 0.03
### END HIDDEN TESTS

# %% [markdown]
# The recurrent weights grow with the square of h. The package's `wide_lstm` matches the *whole* model, embedding and
# classifier included, so its width differs a little from yours.
