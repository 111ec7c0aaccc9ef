# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 5: information loss
#
# To [Chapter 5](../../../05_information_loss.ipynb). Four exercises, 9 points. Replace `# YOUR CODE HERE` and the line below
# it, then run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the
# sheet is graded.

# %%
# %matplotlib inline
import torch
from torch.nn import functional as F

from ctxlstm import widgets
from ctxlstm.classroom import probes
from ctxlstm.widgets.stage import stage_steps

# %% [markdown]
# ## 1 The effective rank (basic)
#
# Rows (N, D): centre the columns, take the singular values, scale them to sum to 1, and return exp of their entropy
# (natural logarithm; a singular value of 0 adds nothing to it: 0 log 0 counts as 0, and not as nan).
#
# Predict first: two singular values, one three times the other. Is the result nearer to 1 or to 2? ______


# %% nbgrader={"grade": false, "grade_id": "effective-rank", "locked": false, "schema_version": 3, "solution": true, "task": false}
def effective_rank(rows):
    """Effective rank of rows (N, D), a float."""
    ### BEGIN SOLUTION
    s = torch.linalg.svdvals(rows - rows.mean(dim=0))  # (min(N, D),)
    p = s / s.sum()
    return torch.special.entr(p).sum().exp().item()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "effective-rank-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
line = torch.arange(6.0)[:, None] * torch.tensor([[1.0, 2.0, -1.0]])  # (6, 3), a line
assert effective_rank(line) == effective_rank(line), "nan: 0 log 0 must count as 0"
assert abs(effective_rank(line) - 1) < 1e-3, "spread in one direction gives 1"
assert abs(effective_rank(line + 5) - 1) < 1e-3, "centre first: +5 must change nothing"
square = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
assert abs(effective_rank(square) - 2) < 1e-3, "equal spread in two directions gives 2"
long = square * torch.tensor([9.0, 1.0])  # singular values 9 to 1: shares 0.9 and 0.1
assert abs(effective_rank(long) - 1.384) < 1e-3, "shares 0.9 and 0.1 give 1.384"
### BEGIN HIDDEN TESTS
for seed in range(4):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(30, 8, generator=generator) * torch.arange(1.0, 9) + 2
    assert abs(effective_rank(x) - probes.effective_rank(x)) < 1e-2
### END HIDDEN TESTS

# %% [markdown]
# The square has two equal singular values. With shares 3/4 and 1/4 the entropy is 0.56.

# %% [markdown]
# ## 2 A shortcut that keeps nothing (thinking)
#
# "With a shortcut nothing gets lost": y = x + F(x). Show that this is not true in general. Write a branch F for which
# every row of y is the same, whatever x is, and one for which y holds half of the columns of x and zeros in the other half.
#
# Predict first: can a ReLU branch, F(x) = relu(x), do it? ______


# %% nbgrader={"grade": false, "grade_id": "branches", "locked": false, "schema_version": 3, "solution": true, "task": false}
def loses_all(x):
    """F(x) (N, D): the rows of x + F(x) are all the same row, in every batch."""
    ### BEGIN SOLUTION
    return -x
    ### END SOLUTION


def loses_half(x):
    """F(x) (N, D), D even: x + F(x) holds the first D/2 columns of x, then zeros."""
    ### BEGIN SOLUTION
    branch = -x
    branch[:, : x.shape[1] // 2] = 0
    return branch
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "branches-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
x = torch.tensor([[1.0, -2.0, 3.0, 4.0], [0.5, 6.0, -7.0, 8.0]])
before = x.clone()
y = x + loses_all(x)
assert y.shape == x.shape, "F(x) has the shape of x"
assert torch.allclose(y[0], y[1], atol=1e-5), "different rows must become the same row"
y2 = x + 1 + loses_all(x + 1)
assert torch.allclose(y2, y, atol=1e-5), "another batch x must give the same row too"
half = x + loses_half(x)
assert torch.equal(half[:, :2], x[:, :2]), "the first half must come through unchanged"
assert not half[:, 2:].any(), "the second half must be zero"
assert torch.equal(x, before), "F must not change x in place"
### BEGIN HIDDEN TESTS
x = torch.randn(9, 6, generator=torch.Generator().manual_seed(3))
y = x + loses_all(x)
assert torch.allclose(y, y[:1].expand_as(y), atol=1e-5)
y2 = 2 - 3 * x[:4] + loses_all(2 - 3 * x[:4])
assert torch.allclose(y2, y[:4], atol=1e-5), "the same row for every batch"
half = x + loses_half(x)
assert torch.equal(half[:, :3], x[:, :3])
assert not half[:, 3:].any()
### END HIDDEN TESTS

# %% [markdown]
# A shortcut makes it easy for a block to hand its input on; it does not force it. That is why chapter 5 measures.

# %% [markdown]
# ## 3 Predict, then move it (the stage explorer)
#
# The widget sends a tensor (B, T, 2H) = (2, 4, 6) through ReLU, BatchNorm and MaxPool. **Before you touch it**, write down:
#
# - `shape_feature`, `shape_time`: the shape after pooling two features, and after pooling two frames;
# - `negative_relu_bn`, `negative_bn_relu`: can the result of "ReLU, then BN" hold negative numbers (True or False)? And
#   that of "BN, then ReLU"?
#
# Then use the widget, with BatchNorm of each feature, for
#
# - `dead`: the number (1 to 6, from the left) of the feature that is the same everywhere after the ReLU in "ReLU, then BN";
# - `dead_after_bn_relu`: is that feature still the same everywhere after "BN, then ReLU" (True or False)?

# %% nbgrader={"grade": false, "grade_id": "stage-answers", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
shape_feature = (2, 4, 3)
shape_time = (2, 2, 6)
negative_relu_bn = True
negative_bn_relu = False
dead = 4
dead_after_bn_relu = False
### END SOLUTION

# %%
widgets.stage_explorer()

# %%
widgets.stage_explorer_figure(order="relu-bn", pool="feature", batch_norm="feature")

# %% nbgrader={"grade": true, "grade_id": "stage-answers-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert len(shape_feature) == len(shape_time) == 3, "a shape is (B, T, features)"
assert 1 <= dead <= 6, "count the features from 1 to 6"
for name in ("negative_relu_bn", "negative_bn_relu", "dead_after_bn_relu"):
    assert isinstance(globals()[name], bool), f"{name} is True or False"
assert shape_feature[0] == shape_time[0] == 2, "no pool changes the number of clips"
### BEGIN HIDDEN TESTS
assert tuple(shape_feature) == tuple(stage_steps(pool="feature")[-1][1].shape)
assert tuple(shape_time) == tuple(stage_steps(pool="time")[-1][1].shape)
steps = {order: [y for _, y in stage_steps(order=order)]
         for order in ("relu-bn", "bn-relu")}
assert negative_relu_bn == bool((steps["relu-bn"][2] < 0).any())
assert negative_bn_relu == bool((steps["bn-relu"][2] < 0).any())
assert (steps["relu-bn"][1][:, :, dead - 1] == 0).all()
assert dead_after_bn_relu == bool((steps["bn-relu"][2][:, :, dead - 1] == 0).all())
### END HIDDEN TESTS

# %% [markdown]
# A feature that is never positive says nothing after a ReLU. BatchNorm in front of it moves every feature's mean to 0, so
# that some of its numbers come through.

# %% [markdown]
# ## 4 A better half (extend)
#
# Max-pooling halves the features of y (N, W) without having seen any data. Write a map to W/2 numbers that is fitted to the
# data: from rows `fit` (N, W) make a matrix M (W, W/2), so that as much as possible of y can be computed linearly
# from y @ M. (Hint: the right singular vectors of the centred rows.)
#
# Predict first: on outputs that are strongly correlated, what share of the variance will your half lose? ______


# %% nbgrader={"grade": false, "grade_id": "best-half", "locked": false, "schema_version": 3, "solution": true, "task": false}
def best_half(fit):
    """M (W, W/2) from rows fit (N, W)."""
    ### BEGIN SOLUTION
    centred = fit - fit.mean(dim=0)
    directions = torch.linalg.svd(centred, full_matrices=False).Vh  # (W, W)
    return directions[: fit.shape[1] // 2].T
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "best-half-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
generator = torch.Generator().manual_seed(0)
turn = torch.linalg.qr(torch.randn(16, 16, generator=generator)).Q
spread = torch.logspace(0, -1.5, 16)  # of 16 directions, ever smaller
y = (torch.randn(600, 16, generator=generator) * spread) @ turn + 3  # (N, W)
M = best_half(y[:300])
assert M.shape == (16, 8), "W = 16 columns must become 8"
groups = torch.arange(600).numpy() // 10
lost = probes.reconstruction_error(y @ M, y, groups)
pooled = probes.reconstruction_error(F.max_pool1d(y[:, None], 2)[:, 0], y, groups)
print(f"lost: your half {lost:.1%}, max-pooling {pooled:.1%}")
assert lost < 0.027, "a half fitted to the centred rows loses less than 2.7 %"
### BEGIN HIDDEN TESTS
for seed in range(3):
    generator = torch.Generator().manual_seed(10 + seed)
    scale = 2.0 ** -torch.arange(10.0)
    turn = torch.linalg.qr(torch.randn(10, 10, generator=generator)).Q
    y = (torch.randn(400, 10, generator=generator) * scale) @ turn + 3
    M = best_half(y)
    assert M.shape == (10, 5)
    _groups = torch.arange(400).numpy() // 10
    _best = y @ torch.linalg.svd(y - y.mean(dim=0), full_matrices=False).Vh[:5].T
    _lost = [probes.reconstruction_error(half, y, _groups) for half in (y @ M, _best)]
    assert _lost[0] < 1.05 * _lost[1], "centre, do not scale; the largest directions"
### END HIDDEN TESTS

# %% [markdown]
# No linear map of that width can lose less of the rows it was fitted to. Why then does nobody put it between LSTM blocks? It
# would have to be fitted again whenever the weights move; a learnt `nn.Linear(2 * H, H)` is the usual stand-in.
