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
# To [Chapter 7](../../../07_context_lstm.ipynb). Four exercises, 10 points. Replace `# YOUR CODE HERE` and the line below it,
# then run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the
# sheet is graded.

# %%
# %matplotlib inline
import torch
from torch.testing import assert_close

from ctxlstm import models, widgets
from ctxlstm.classroom import diagram

# %% [markdown]
# ## 1 Basic: a shape walk (2 points)
#
# A cascade reads clips of `frames` frames and `features` features (no embedding). Each block has `hidden` units in two
# directions; a stage with MaxPool of 2 follows every block. Write a function that gives
#
# - the shape of the outputs after **every stage**, as tuples `(frames, features)` without the batch, and
# - last, the number of inputs of the first FC layer when the last frame is read out.
#
# `pool` is what MaxPool pools: `"feature"`, `"time"` or `None` (the stages have no MaxPool). If one is left over, it is
# dropped. Predict first, on paper: what comes out for `walk(20, 2048, 512, 3, "time")`?


# %% nbgrader={"grade": false, "grade_id": "walk", "locked": false, "schema_version": 3, "solution": true, "task": false}
def walk(frames, features, hidden, blocks, pool):
    """List: (T, W) after each stage, then the input width of the first FC layer."""
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
    f"feature pooling: 2 x 512 outputs become 512; got {got}")
got = walk(28, 2048, 512, 3, "time")
assert got == [(14, 1024), (7, 1024), (3, 1024), 1024], (
    f"7 frames make 3 pairs, one is left over; got {got}")
got = walk(6, 5, 4, 2, None)
assert got == [(6, 8), (6, 8), 8], f"without MaxPool nothing is halved; got {got}"
### BEGIN HIDDEN TESTS
assert walk(28, 2048, 512, 2, None) == [(28, 1024), (28, 1024), 1024]
assert walk(9, 5, 4, 1, "time") == [(4, 8), 8]
assert walk(12, 1280, 32, 4, "feature") == [(12, 32)] * 4 + [32]
### END HIDDEN TESTS

# %% [markdown]
# Hint: the width after a block does not depend on the width before it. Compare with the drawing:

# %%
diagram.draw("pool over time", pool="time", embedding=())

# %% [markdown]
# ## 2 Basic: hand the state over (3 points)
#
# `blocks` are two-way LSTMs, and `stages` the stage after each of them. Write the loop of the cascade: run `x` through all
# blocks and stages, and start every block from the state in which the block before it ended. With `handover=False` every
# block starts from zeros. Return the outputs after the last stage and the list of every block's final `(h, c)`.
#
# Predict first: how many lines of your function does `handover` change?


# %% nbgrader={"grade": false, "grade_id": "cascade", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cascade(blocks, stages, x, handover=True):
    """x (B, T, D) -> outputs after the last stage (B, T, H), [(h, c) of each block]"""
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
assert y.shape == (3, 5, 6), f"y must be (B, T, H), with H = 6; got {tuple(y.shape)}"
assert len(states) == 3, "one (h, c) for each block"
assert_close(states[0], wanted[0], msg="block 1 starts from zeros (None)")
assert_close(states[1], wanted[1], msg="block 2 gets block 1's (h, c), in this order")
assert_close(net.head(y[:, -1]), logits)
_, off = cascade(net.blocks, net.stages, x, handover=False)
assert not torch.equal(off[1][0], states[1][0]), "handover=False must change block 2"
### BEGIN HIDDEN TESTS
five = models.ContextLSTM(7, 4, hidden_size=2, num_layers=1, num_blocks=5, embedding=())
net.handover = None
for model, clips, on in ((net, x, False), (five.eval(), torch.randn(2, 4, 7), True)):
    y, states = cascade(model.blocks, model.stages, clips, handover=on)
    logits, wanted = model(clips, return_states=True)
    assert_close(states, wanted)
    assert_close(model.head(y[:, -1]), logits)
### END HIDDEN TESTS

# %% [markdown]
# Hint: two variables live from one round of the loop to the next. One goes through the stage, the other does not.

# %% [markdown]
# ## 3 Thinking: predict, then move it (3 points)
#
# The widget below shows a small cascade on a random clip of 10 frames. **Before you look at it**, compare four kinds of
# hand-over with none ("off"), where every block starts from zeros, and write down:
#
# - `changed`: with both `h` and `c` handed over, the set of the blocks (1, 2, 3) whose outputs differ at all,
# - `stronger`: which of the two, handed over alone, changes the outputs of block 2 more, `"h"` or `"c"`,
# - `swapped_most`: with the directions swapped (each lane starts from the end of the other direction's lane), the
#   *backward* outputs of block 3 differ most at the `"first"` or at the `"last"` frames,
# - `parameters_change`: does the number of parameters depend on the hand-over? `True` or `False`.

# %% nbgrader={"grade": false, "grade_id": "predict", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
changed = {2, 3}
stronger = "c"
swapped_most = "last"
parameters_change = False
### END SOLUTION

# %% [markdown]
# Now move it, and read the lowest row. (Without buttons: set `handover` in the second cell to "hc", "h", "c" or "swap".)

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
assert stronger in ("h", "c"), 'write "h" or "c"'
assert swapped_most in ("first", "last"), 'write "first" or "last"'
assert isinstance(parameters_change, bool), "write True or False"
### BEGIN HIDDEN TESTS
from ctxlstm.widgets.cascade import flow

off, gap = flow(model, clip, None).blocks, {}
for handover in ("hc", "h", "c", "swap"):
    pairs = zip(flow(model, clip, handover).blocks, off, strict=True)
    gap[handover] = [(a.output - b.output).abs() for a, b in pairs]  # (2, T, H) each
assert changed == {k for k, d in enumerate(gap["hc"], 1) if d.max() > 1e-6}
assert stronger == ("h" if gap["h"][1].mean() > gap["c"][1].mean() else "c")
late = gap["swap"][2][1].mean(dim=1)  # (T,), block 3, backward
assert swapped_most == ("first" if late[:5].sum() > late[5:].sum() else "last")
assert parameters_change is False
### END HIDDEN TESTS

# %% [markdown]
# Hint: Eqs. 12 to 15 say how the old h and the old c come in. And with the directions swapped, at which frame does a
# backward lane start?

# %% [markdown]
# ## 4 Extend: exchange the lanes (2 points)
#
# The final state of a two-way block has one row per layer and direction, (2L, B, H), in PyTorch's order: layer 1 forward, layer 1
# backward, layer 2 forward, and so on. In the default cascade a forward lane continues a forward lane, so a state made at
# the last frame starts a lane at the first. Write the other reading:
#
# - `exchange(state)`: `state` is h or c, one tensor; in every layer, the forward and the backward row change places,
# - `start_of_next(block, x)`: what the next block starts from if the lanes are exchanged, the pair (h, c); `block` reads `x`
#   from zeros.
#
# Predict first: is `exchange` of `exchange` the state again? And does flipping all 2L rows do the same for one layer, for two?


# %% nbgrader={"grade": false, "grade_id": "exchange", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
def exchange(state):
    return state.unflatten(0, (-1, 2)).flip(1).flatten(0, 1)


def start_of_next(block, x):
    _, (h, c) = block(x)
    return exchange(h), exchange(c)


### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "exchange-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
state = torch.arange(2.0).view(2, 1, 1)  # one layer, one clip, H = 1
assert exchange(state).flatten().tolist() == [1, 0], "the two rows change places"
state = torch.randn(6, 2, 4)  # three layers
assert exchange(state).shape == state.shape, "as many rows as before"
assert torch.equal(exchange(exchange(state)), state), "twice exchanged is unchanged"
assert torch.equal(exchange(state)[1], state[0]), "row 1 was row 0: both are of layer 1"
### BEGIN HIDDEN TESTS
rows = torch.arange(6.0).view(6, 1, 1)  # (2L, B, H)
assert exchange(rows).flatten().tolist() == [1, 0, 3, 2, 5, 4]
torch.manual_seed(1)
for L in (1, 2, 3):
    net = models.ContextLSTM(5, 4, hidden_size=6, num_layers=L, num_blocks=2,
                             embedding=(), handover="swap").eval()
    x, given, block = torch.randn(3, 7, 5), [], net.blocks[1]
    block.register_forward_pre_hook(lambda _, x, given=given: given.extend(x[1]))
    with torch.no_grad():
        net(x)
        for mine, wanted in zip(start_of_next(net.blocks[0], x), given, strict=True):
            assert_close(mine, wanted)
### END HIDDEN TESTS

# %% [markdown]
# Hint: split the rows into (L, 2). Flipping all 2L rows would also turn the order of the layers around.
