# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 7: the Context-LSTM
#
# These go with [Chapter 7](../../../07_context_lstm.ipynb). Write your prediction before you run anything. Sizes are
# small, so every cell takes a moment only. 10 points.

# %%
import torch
from torch import nn

from ctxlstm import models, widgets
from ctxlstm.classroom import diagram

# %% [markdown]
# ## 1 Basic: a shape walk (2 points)
#
# A cascade reads clips of `frames` frames and `features` features (no embedding). Each block has `hidden` units in two
# directions; a stage with MaxPool of 2 follows every block. Write a function that gives
#
# - the shape of the outputs behind **every stage**, as tuples `(frames, features)` without the batch, and
# - last, the number that the first FC layer reads when the last frame is read out.
#
# `pool` is `"feature"`, `"time"` or `None`. Predict first, on paper: what comes out for `walk(28, 2048, 512, 3, "time")`?


# %% nbgrader={"grade": false, "grade_id": "walk", "locked": false, "schema_version": 3, "solution": true, "task": false}
def walk(frames, features, hidden, blocks, pool):
    """[(T, W) behind stage 1, (T, W) behind stage 2, ..., width of the first FC layer's input]"""
    ### BEGIN SOLUTION
    shapes = []
    for _ in range(blocks):
        width = 2 * hidden // (2 if pool == "feature" else 1)
        frames = frames // (2 if pool == "time" else 1)
        shapes.append((frames, width))
    return [*shapes, width]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "walk-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
got = walk(28, 2048, 512, 3, "feature")
assert got == [(28, 512), (28, 512), (28, 512), 512], (
    f"feature pooling: 2 x 512 outputs become 512; got {got}"
)
got = walk(28, 2048, 512, 3, "time")
assert got == [(14, 1024), (7, 1024), (3, 1024), 1024], f"7 frames make 3 pairs, one is left over; got {got}"
### BEGIN HIDDEN TESTS
assert walk(28, 2048, 512, 2, None) == [(28, 1024), (28, 1024), 1024]
assert walk(9, 5, 4, 1, "time") == [(4, 8), 8]
assert walk(12, 1280, 32, 4, "feature") == [(12, 32)] * 4 + [32]
### END HIDDEN TESTS

# %% [markdown]
# Hint: the width behind a block does not depend on the width in front of it. Compare with the drawing:

# %%
diagram.draw("pool over time", pool="time", embedding=())

# %% [markdown]
# ## 2 Basic: hand the state over (3 points)
#
# Here are three blocks and the stages behind them. Write the loop of the cascade: run `x` through all blocks and stages
# and start every block from the state in which the block before it ended. With `handover=False` every block starts
# from zeros. Return the outputs behind the last stage and the list of every block's final `(h, c)`.
#
# Predict first: how many lines of your function does `handover` change?


# %% nbgrader={"grade": false, "grade_id": "cascade", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cascade(blocks, stages, x, handover=True):
    """x (B, T, D) -> outputs behind the last stage (B, T, H), [(h, c) of every block]"""
    ### BEGIN SOLUTION
    states, start = [], None
    for block, stage in zip(blocks, stages, strict=True):
        x, (h, c) = block(x, start)
        x = stage(x)
        states.append((h, c))
        start = (h, c) if handover else None
    return x, states
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "cascade-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
torch.manual_seed(0)
net = models.ContextLSTM(10, 4, hidden_size=6, num_layers=2, embedding=()).eval()
x = torch.randn(3, 5, 10)  # (B, T, D)
y, states = cascade(net.blocks, net.stages, x)
logits, wanted = net(x, return_states=True)
assert y.shape == (3, 5, 6), f"behind the last stage there are H = 6 numbers a frame; got {tuple(y.shape)}"
assert len(states) == 3, "one (h, c) for each block"
torch.testing.assert_close(states[0], wanted[0], msg="block 1 starts from zeros (None)")
torch.testing.assert_close(states[1], wanted[1], msg="block 2 starts from block 1's (h, c), in this order")
torch.testing.assert_close(net.head(y[:, -1]), logits)
### BEGIN HIDDEN TESTS
torch.testing.assert_close(states[2], wanted[2])
net.handover = None
y, states = cascade(net.blocks, net.stages, x, handover=False)
logits, wanted = net(x, return_states=True)
torch.testing.assert_close(states, wanted)
torch.testing.assert_close(net.head(y[:, -1]), logits)
net = models.ContextLSTM(7, 4, hidden_size=2, num_layers=1, num_blocks=5, embedding=()).double().eval()
x = torch.randn(2, 4, 7, dtype=torch.double)  # (B, T, D)
y, states = cascade(net.blocks, net.stages, x)
logits, wanted = net(x, return_states=True)
torch.testing.assert_close(states, wanted)
torch.testing.assert_close(net.head(y[:, -1]), logits)
### END HIDDEN TESTS

# %% [markdown]
# Hint: two variables live from one round of the loop to the next. One goes through the stage, the other does not.

# %% [markdown]
# ## 3 Thinking: predict, then move it (3 points)
#
# The widget shows a small cascade on a random clip of 10 frames. **Before you touch it**, write down what happens when
# you switch the hand-over from on to off:
#
# - `changed`: the set of the blocks (1, 2, 3) whose outputs change at all,
# - `forward_most`: the forward outputs of block 2 change most at the `"first"` or at the `"last"` frames,
# - `backward_most`: the same for its backward outputs,
# - `parameters_change`: does the number of parameters change? `True` or `False`.

# %% nbgrader={"grade": false, "grade_id": "predict", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
changed = {2, 3}
forward_most = "first"
backward_most = "last"
parameters_change = False
### END SOLUTION

# %% [markdown]
# Now move it.

# %%
torch.manual_seed(2)
model = models.ContextLSTM(16, 4, hidden_size=8, num_layers=1, embedding=()).eval()
clip = torch.randn(10, 16)  # (T, D)
widgets.state_flow(model, clip)

# %%
widgets.state_flow_figure(model, clip, handover="hc")

# %% [markdown]
# Were you right? If not, change your answers and say to yourself why. The test computes them.


# %% nbgrader={"grade": true, "grade_id": "predict-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert isinstance(changed, set), "changed is a set of block numbers, such as {1, 3}"
assert changed <= {1, 2, 3}, "changed is a set of block numbers, such as {1, 3}"
assert {forward_most, backward_most} <= {"first", "last"}, 'write "first" or "last"'
assert isinstance(parameters_change, bool), "write True or False"
### BEGIN HIDDEN TESTS
outputs = {}
for handover in ("hc", None):
    model.handover, outputs[handover] = handover, []
    hooks = [
        block.register_forward_hook(lambda m, i, o, seen=outputs[handover]: seen.append(o[0][0]))
        for block in model.blocks
    ]
    with torch.no_grad():
        model(clip[None])
    for hook in hooks:
        hook.remove()
difference = [(a - b).abs() for a, b in zip(outputs["hc"], outputs[None], strict=True)]  # (T, 2H) each
assert changed == {k for k, d in enumerate(difference, 1) if d.max() > 1e-6}
forward, backward = difference[1][:, :8].mean(dim=1), difference[1][:, 8:].mean(dim=1)  # (T,) each
assert forward_most == ("first" if forward[:5].sum() > forward[5:].sum() else "last")
assert backward_most == ("first" if backward[:5].sum() > backward[5:].sum() else "last")
assert parameters_change is False
### END HIDDEN TESTS

# %% [markdown]
# Hint: a lane feels its start most where it starts. The heat maps show both directions with the same time axis.

# %% [markdown]
# ## 4 Extend: how large is the cascade? (2 points)
#
# One LSTM layer has, in each direction, four gates; each has $H$ rows that read the input ($D$ numbers) and the hidden
# state ($H$ numbers), and **two** biases. The second layer reads the outputs of both directions. Write
#
# - `lstm_parameters(D, H, layers)`: of one two-way block,
# - `cascade_parameters(D, H, layers, blocks, pool)`: of all blocks together (no stages, no FC layers); `pool` is `"feature"`
#   or `None`.
#
# Predict first: does pooling features make the cascade smaller or larger? By how much about, at the paper's sizes?


# %% nbgrader={"grade": false, "grade_id": "parameters", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
def lstm_parameters(D, H, layers):
    inputs = [D] + [2 * H] * (layers - 1)
    return sum(2 * 4 * H * (width + H + 2) for width in inputs)


def cascade_parameters(D, H, layers, blocks, pool):
    between = H if pool == "feature" else 2 * H
    inputs = [D] + [between] * (blocks - 1)
    return sum(lstm_parameters(width, H, layers) for width in inputs)


### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "parameters-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
one = nn.LSTM(10, 4, num_layers=1, bidirectional=True)
assert lstm_parameters(10, 4, 1) == models.count_parameters(one), (
    "one layer: 2 directions x 4 gates x H x (D + H + 2)"
)
two = nn.LSTM(10, 4, num_layers=2, bidirectional=True)
assert lstm_parameters(10, 4, 2) == models.count_parameters(two), "layer 2 reads 2H numbers: both directions"
### BEGIN HIDDEN TESTS
for D, H, layers, blocks, pool in ((512, 512, 3, 3, "feature"), (20, 6, 2, 4, None), (7, 8, 3, 1, "feature")):
    with torch.device("meta"):
        cascade_ = models.ContextLSTM(
            D, 3, hidden_size=H, num_layers=layers, num_blocks=blocks, pool=pool, embedding=()
        )
    assert cascade_parameters(D, H, layers, blocks, pool) == models.count_parameters(cascade_.blocks)
### END HIDDEN TESTS

# %% [markdown]
# Hint: only the *first* layer of blocks 2 and 3 sees a difference. Print both numbers at D = 512, H = 512, 3 layers, 3
# blocks and compare them with the table of readings in the chapter.
