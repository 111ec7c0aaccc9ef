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
# To [Chapter 12](../../../12_cost.ipynb). Four exercises, 10 points. Replace `# YOUR CODE HERE` and the line below it, then
# run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the sheet is
# graded. W is the input width, H hidden units, B clips, T frames. GB are $10^9$ bytes.

# %%
# %matplotlib inline
import torch

from ctxlstm import cost, models
from ctxlstm.widgets import panel

# %% [markdown]
# ## 1 Steps in a row (basic)
#
# An LSTM layer takes its T steps one after the other, and a layer above starts when the one below is done. The two directions
# of a layer can run side by side. Write `steps_in_a_row(T, layers, blocks=1, halved=False)`, the number of steps taken one
# after the other, layer by layer (one-way layers could overlap, two-way ones cannot): `blocks` blocks of `layers` layers
# each; with `halved`, the stage between two blocks halves the number of frames, rounding down (the reading `pool="time"`).
#
# Predict first: the cascade has three blocks of three layers. How many times the steps of the baseline does it take at
# T = 28, and how many times with `halved`? ______


# %% nbgrader={"grade": false, "grade_id": "steps", "locked": false, "schema_version": 3, "solution": true, "task": false}
def steps_in_a_row(T, layers, blocks=1, halved=False):
    """Steps that must be taken one after the other, for one clip."""
    ### BEGIN SOLUTION
    steps = 0
    for _ in range(blocks):
        steps += layers * T
        T = T // 2 if halved else T
    return steps
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "steps-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert steps_in_a_row(28, 3) == 84, "the baseline: three layers, 28 steps each"
assert steps_in_a_row(28, 3, blocks=3) == 252, "every block reads all frames"
assert steps_in_a_row(12, 1, blocks=3, halved=True) == 12 + 6 + 3, "half in every block"
### BEGIN HIDDEN TESTS
torch.manual_seed(0)
for T, layers, blocks, halved in ((28, 3, 3, True), (13, 2, 3, True), (9, 2, 2, False)):
    cascade = models.build(
        "context_lstm", input_size=4, num_classes=2, hidden_size=6, embedding=(),
        num_layers=layers, num_blocks=blocks, pool="time" if halved else None)
    given = []
    for block in cascade.blocks:
        block.register_forward_pre_hook(lambda _, x, given=given: given.append(x[0]))
    with torch.no_grad():
        cascade.eval()(torch.randn(1, T, 4))
    frames = sum(x.shape[1] for x in given)
    assert steps_in_a_row(T, layers, blocks, halved) == layers * frames
### END HIDDEN TESTS

# %% [markdown]
# A GPU has thousands of cores, but they cannot shorten a layer's T steps. What they can do is take the same step for many
# clips at once.

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
assert abs(hours(1130) - 27.5) < 0.05, "twice 565 frames a second: half of 55 hours"
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
# A training takes `total` hours. The head does the share `share` of the arithmetic, the backbone the rest, and nothing else
# takes time. The same arithmetic takes the head `slower` times as long as the backbone. How many hours does the head take?
# That is the most that any other head could save.
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
assert abs(head_hours(93, 0.005) - 0.465) < 1e-9, "same speed: the share of the hours"
assert abs(head_hours(10, 0.5, slower=3) - 7.5) < 1e-9, (
    "half the work at a third of the speed: three quarters of the time")
assert abs(head_hours(12, 0.25, slower=3) - 6) < 1e-9, (
    "a quarter of the work at a third of the speed: half of the time")
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
# The paper saves 1.9 GB. Before you move the slider, set `prediction`: at which batch size does the whole *baseline head*
# hold 1.9 GB, so that removing all of it would save as much? Then write `head_gb(batch)`, in GB, move the slider, and set
# `seen` to the smallest batch size (any whole number) at which it holds at least 1.9 GB.
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
        label = f"GB of the head at batch {batch}; dashed: what the paper saves"
        axes.set(xlim=(0, 3), xlabel=label)
    return figure


panel.Panel(draw, {"batch": panel.slider("batch size B", 80, 1, 1200, 1)})

# %% nbgrader={"grade": true, "grade_id": "head-gb-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert prediction > 0, "write a prediction down first"
assert abs(head_gb(80) - 0.321) < 0.001, "at batch 80: 0.32 GB (Chapter 12, Step 4)"
assert head_gb(80) < head_gb(160) < 2 * head_gb(80), (
    "the activations grow with the batch, the rest does not")
assert seen == int(seen), "seen is a whole number of clips"
assert head_gb(seen - 1) < 1.9 <= head_gb(seen), (
    "by your own head_gb, seen is not the first batch size that reaches 1.9 GB")
### BEGIN HIDDEN TESTS
assert abs(head_gb(400) - 0.982) < 0.001
for _batch in (1, 40, 700):
    _bytes = 16 * baseline.parameters + baseline.saved_bytes * _batch / 80
    assert abs(head_gb(_batch) - _bytes / 1e9) < 1e-4
assert seen == 845
### END HIDDEN TESTS

# %% [markdown]
# Hint: two parts, one with and one without the batch. Is the answer near the paper's batch of 80?
