# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 12: counting what it costs
#
# To [Chapter 12](../../../12_cost.ipynb). W input width, H hidden units, B clips, T frames. GB are $10^9$ bytes.

# %%
import torch

from ctxlstm import cost
from ctxlstm.widgets import panel

# %% [markdown]
# ## 1 The parameters of a GRU (basic)
#
# A GRU layer is built like an LSTM layer, with three products instead of four (and two bias vectors each). Layer 1 reads $W$
# numbers a frame; every later layer reads what the directions of the one before give together.
#
# Predict first: how many per cent of an LSTM's parameters has a GRU of the same size? ______


# %% nbgrader={"grade": false, "grade_id": "gru-parameters", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gru_parameters(w, h, layers, directions):
    """Number of parameters of torch.nn.GRU(w, h, layers, bidirectional=directions == 2)."""
    ### BEGIN SOLUTION
    widths = [w] + [directions * h] * (layers - 1)
    return sum(directions * 3 * h * (width + h + 2) for width in widths)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "gru-parameters-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
def of_torch(w, h, layers, directions):
    return sum(p.numel() for p in torch.nn.GRU(w, h, layers, bidirectional=directions == 2).parameters())


assert gru_parameters(5, 3, 1, 1) == of_torch(5, 3, 1, 1), "one layer, one direction: 3 h (w + h + 2)"
assert gru_parameters(5, 3, 2, 1) == of_torch(5, 3, 2, 1), "the second layer reads h numbers"
### BEGIN HIDDEN TESTS
for size in ((5, 3, 2, 2), (7, 4, 3, 2), (16, 8, 4, 1), (6, 6, 1, 2)):
    assert gru_parameters(*size) == of_torch(*size)
### END HIDDEN TESTS

# %% [markdown]
# Hint: with two directions every layer exists twice, and the next layer reads $2H$ numbers.

# %% [markdown]
# ## 2 Hours (basic)
#
# Two functions for one epoch of 9,990 training and 3,330 test clips of 28 frames, repeated 300 times:
# `frames_a_second(hours)`, the frames that must be read each second, from the hours of the whole; and
# `hours(frames_a_second)`, the other way.
#
# Predict first: a disk delivers 1,000 frames a second. Can any head then train in less than 30 hours? ______

# %% nbgrader={"grade": false, "grade_id": "hours", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
FRAMES = 300 * (9990 + 3330) * 28


def frames_a_second(hours):
    """Frames that must be read each second to be done in so many hours."""
    return FRAMES / (hours * 3600)


def hours(frames_a_second):
    """Hours of 300 epochs at so many frames a second."""
    return FRAMES / frames_a_second / 3600


### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "hours-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert round(frames_a_second(55)) == 565, "55 hours: 565 frames a second"
assert abs(hours(frames_a_second(70)) - 70) < 1e-9, "one function must undo the other"
### BEGIN HIDDEN TESTS
assert round(frames_a_second(93)) == 334
assert abs(hours(1000) - 31.08) < 0.005
assert abs(hours(334.194) - 93) < 0.01
### END HIDDEN TESTS

# %% [markdown]
# Hint: an hour has 3,600 seconds; test frames are read in every epoch, too.

# %% [markdown]
# ## 3 What could the head save at most? (thinking)
#
# A training takes `total` hours. The head does the share `share` of the arithmetic, the backbone the rest, and the head does its
# arithmetic `slower` times as slowly as the backbone. How many hours does the head take? That is the most that any other head could save.
#
# Predict first: share one half of a per cent, same speed, 93 hours. More or less than one hour? ______


# %% nbgrader={"grade": false, "grade_id": "head-hours", "locked": false, "schema_version": 3, "solution": true, "task": false}
def head_hours(total, share, slower=1.0):
    """Hours of the total that the head takes."""
    ### BEGIN SOLUTION
    head = share * slower  # in units of the backbone's time for all the arithmetic
    return total * head / (head + 1 - share)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "head-hours-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert abs(head_hours(93, 0.005) - 0.465) < 1e-9, "at the same speed: the share of the hours"
assert abs(head_hours(10, 0.5, slower=3) - 7.5) < 1e-9, (
    "half the work at a third of the speed: three quarters of the time"
)
### BEGIN HIDDEN TESTS
assert abs(head_hours(100, 0.0, slower=50)) < 1e-12
assert abs(head_hours(100, 1.0, slower=7) - 100) < 1e-9
assert abs(head_hours(93, 0.0054, slower=10) - 93 * 0.054 / (0.054 + 0.9946)) < 1e-9
assert head_hours(93, 0.0054, slower=100) < 93 - 55
### END HIDDEN TESTS

# %% [markdown]
# Hint: write the time of both parts in the same unit, then take the head's share of the sum.

# %% [markdown]
# ## 4 Predict, then move it: when is the baseline head worth saving? (extend)
#
# The paper saves 1.9 GB. Before you move the slider, set `prediction`: at which batch size does the whole *baseline head* hold 1.9
# GB, so that removing all of it would save as much? Then write `head_gb(batch)`, in GB, move the slider, and set `seen` to the smallest batch
# size (any whole number) at which it holds at least 1.9 GB.
#
# What a head holds: weights, gradients and Adam's two means, 4 bytes each, whatever the batch; and saved activations, in
# proportion to the batch. `known` gives the number of parameters, and the bytes of the activations for batch 80.

# %%
baseline = cost.predict("cnn_lstm")  # batch 80, the paper's sizes
known = {"parameters": baseline.parameters, "saved_bytes": baseline.saved_bytes}
print(known)

# %% nbgrader={"grade": false, "grade_id": "head-gb", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
prediction = 400  # any whole number above 0: a wrong guess costs nothing


def head_gb(batch):
    """GB that the baseline head holds in a training step of `batch` clips."""
    return (16 * known["parameters"] + known["saved_bytes"] * batch / 80) / 1e9


seen = next(batch for batch in range(1, 10_000) if head_gb(batch) >= 1.9)
### END SOLUTION


# %%
def draw(batch=80):
    with panel.drawing(7, 2.2) as figure:
        axes = figure.add_axes([0.15, 0.35, 0.8, 0.5])
        axes.barh(["baseline"], [head_gb(batch)], color="#D55E00")
        axes.axvline(1.9, color="black", linestyle="--")
        axes.set(xlim=(0, 3), xlabel=f"GB of the head at batch {batch}; dashed: what the paper saves")
    return figure


panel.Panel(draw, {"batch": panel.slider("batch size B", 80, 1, 1200, 1)})

# %% nbgrader={"grade": true, "grade_id": "head-gb-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert prediction > 0, "write a prediction down first"
assert abs(head_gb(80) - 0.321) < 0.001, "at batch 80 the baseline head holds 0.32 GB (Chapter 12, Step 4)"
assert head_gb(160) < 2 * head_gb(80), "only the activations grow with the batch"
assert seen == int(seen), "seen is a whole number of clips"
### BEGIN HIDDEN TESTS
assert abs(head_gb(160) - 0.4865) < 0.001
for _batch in (1, 40, 700):
    _bytes = 16 * baseline.parameters + baseline.saved_bytes * _batch / 80
    assert abs(head_gb(_batch) - _bytes / 1e9) < 1e-4
assert 838 <= seen <= 850
### END HIDDEN TESTS

# %% [markdown]
# Hint: two parts, one with and one without the batch. Is the answer near the paper's batch of 80?
