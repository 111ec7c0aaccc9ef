# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 4: from frames to a sequence of vectors
#
# To [Chapter 4](../../../04_deep_temporal_features.ipynb). Four exercises, 11 points. Replace `# YOUR CODE HERE` and the line
# below it, then run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data
# when the sheet is graded.

# %%
# %matplotlib inline
import tempfile

import torch

from ctxlstm import stickfigures, ucf101, video, widgets

# Six generated clips, one of each class, rendered in a second or two.
movements = ["CloseArms", "JumpingJack", "OpenArms", "PickUp", "PutDown", "Squat"]
folder = tempfile.TemporaryDirectory()
drawn = stickfigures.render(folder.name, classes=movements, groups=1, clips=1,
                            workers=1, progress=False)
clips = ucf101.index(drawn)

# %% [markdown]
# ## 1 Which frames? (basic, 2 points)
#
# A clip has `n` frames. Write the two rules of the chapter as lists of frame numbers, counted from 0: `first` takes
# the first `T` frames and repeats the last one where the clip is shorter; `uniform` takes the centre of each of `T`
# equal segments, rounded down.
#
# **Predict first:** do the two rules ever give the same frames?


# %% nbgrader={"grade": false, "grade_id": "frame-rules", "locked": false, "schema_version": 3, "solution": true, "task": false}
def first(n, T):
    """The first T of n frames, as a list of numbers from 0."""
    ### BEGIN SOLUTION
    return [min(i, n - 1) for i in range(T)]
    ### END SOLUTION


def uniform(n, T):
    """The centres of T equal segments of n frames, as a list of numbers from 0."""
    ### BEGIN SOLUTION
    return [int((i + 0.5) * n / T) for i in range(T)]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "frame-rules-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert list(first(10, 4)) == [0, 1, 2, 3], "the first four frames are numbers 0 to 3"
assert list(first(3, 5)) == [0, 1, 2, 2, 2], "a short clip repeats its last frame"
assert list(uniform(8, 4)) == [1, 3, 5, 7], "the centres of the segments, rounded down"
assert list(uniform(12, 4)) == [1, 4, 7, 10], "in segments of 3 frames the middle ones"
### BEGIN HIDDEN TESTS
for _n, _T in ((29, 28), (167, 28), (5, 12), (1776, 28), (12, 12), (41, 7), (1, 3)):
    assert list(first(_n, _T)) == video.frame_index("first", _n, _T).tolist()
    assert list(uniform(_n, _T)) == video.frame_index("uniform", _n, _T).tolist()
### END HIDDEN TESTS

# %% [markdown]
# ## 2 Maps to vectors (basic, 2 points)
#
# A CNN gave feature maps of shape `(B, T, D, rows, columns)`: a batch of clips. Pool them to a batch of sequences
# $(B, T, D)$: the mean over all places.
#
# **Predict first:** how many numbers of each map are left?


# %% nbgrader={"grade": false, "grade_id": "pool-maps", "locked": false, "schema_version": 3, "solution": true, "task": false}
def pool(maps):
    """Feature maps (B, T, D, rows, columns) -> sequences (B, T, D)."""
    ### BEGIN SOLUTION
    return maps.mean(dim=(3, 4))  # (B, T, D)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "pool-maps-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
maps = torch.zeros(2, 3, 5, 4, 4)
maps[1, 2, 4, 0, 0] = 16
assert tuple(pool(maps).shape) == (2, 3, 5), "only the two axes of the picture must go"
assert pool(maps)[1, 2, 4] == 1, "a single 16 among 16 places has the mean 1"
assert pool(maps).sum() == 1, "one map must not leak into another frame or channel"
assert pool(torch.ones(1, 1, 1, 2, 3)) == 1, "a map of ones has the mean 1, in any size"
### BEGIN HIDDEN TESTS
_maps = torch.randn(2, 3, 7, 4, 6, generator=torch.Generator().manual_seed(1))
torch.testing.assert_close(pool(_maps), _maps.flatten(3).sum(-1) / 24)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 Predict, then move it (widget, 3 points)
#
# Someone draws one random frame of a clip and does not tell you its place in the clip. **Before** you show the frame
# browser, write down for each of the six classes of `movements`:
#
# - can such a frame ever show that the clip is of this class and of none of the five others? Set `one_frame` to the
#   list of the classes for which it can;
# - what is a clip of this class called if it is played backwards? Set `backwards` to a dictionary with all six classes
#   as keys. A class may be its own reverse.

# %% nbgrader={"grade": false, "grade_id": "predict-frames", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
one_frame = ["JumpingJack", "Squat"]
backwards = {
    "CloseArms": "OpenArms",
    "OpenArms": "CloseArms",
    "PickUp": "PutDown",
    "PutDown": "PickUp",
    "JumpingJack": "JumpingJack",
    "Squat": "Squat",
}
### END SOLUTION

# %% [markdown]
# Now look. Move through a clip of each class, forwards and backwards; then cover all frames but one with your hand. If you
# were wrong, change your answers above.

# %%
widgets.frame_browser(clips)

# %%
widgets.frame_browser_figure(clips, name="v_PickUp_g01_c01", t=0)

# %% nbgrader={"grade": true, "grade_id": "predict-frames-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert set(one_frame) <= set(movements), "name classes of this exercise only"
assert set(backwards) == set(movements), "each of the six classes must be a key"
assert set(backwards.values()) <= set(movements), "name classes of this exercise only"
assert all(backwards[backwards[name]] == name for name in movements), (
    "backwards twice is forwards again")
### BEGIN HIDDEN TESTS
_pairs = {a: b for p in stickfigures.REVERSED_PAIRS for a, b in (p, p[::-1])}
assert backwards == {name: _pairs.get(name, name) for name in movements}
assert sorted(one_frame) == [name for name in movements if name not in _pairs]
### END HIDDEN TESTS

# %% [markdown]
# Hint: think of a clip's frames as loose pictures in a box. Which two classes have the same pictures in the box?
#
# ## 4 Shuffle fairly (extend, 4 points)
#
# For a shuffle test every clip needs its *own* order: one order for all clips would only rename the time steps, and
# a model could learn the new names. Write `shuffle_frames(x, seed)` for $x$ of shape $(B, T, D)$. It moves whole frames: the
# $D$ numbers of a frame stay together.
#
# **Predict first:** what happens to the mean over time?


# %% nbgrader={"grade": false, "grade_id": "shuffle-frames", "locked": false, "schema_version": 3, "solution": true, "task": false}
def shuffle_frames(x, seed):
    """A new tensor (B, T, D): each clip's frames in a random order of its own.

    The same seed gives the same orders.
    """
    ### BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(x.shape[:2], generator=generator).argsort(dim=1)  # (B, T)
    return x.take_along_dim(order[:, :, None], dim=1)  # (B, T, D)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "shuffle-frames-test", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
x = torch.arange(6 * 8 * 3).reshape(6, 8, 3).float()  # B = 6, T = 8, D = 3
y = shuffle_frames(x, seed=0)
assert y.shape == x.shape, "the shape must stay (B, T, D)"
back = y[:, :, 0].sort(dim=1).values  # (B, T), in the old order again
assert torch.equal(back, x[:, :, 0]), "every clip must keep all of its frames"
assert not torch.equal(y, x), "the order must change"
order = (y - x[:, :1])[:, :, 0]  # (B, T): which frame came where
assert len({tuple(row.tolist()) for row in order}) > 1, "each clip needs its own order"
assert torch.equal(y - y[:, :, :1], x - x[:, :, :1]), "keep a frame's numbers together"
assert torch.equal(shuffle_frames(x, seed=0), y), "the same seed, the same orders"
### BEGIN HIDDEN TESTS
assert not torch.equal(shuffle_frames(x, seed=1), y), "another seed, other orders"
_given = torch.arange(6 * 8 * 3).reshape(6, 8, 3).float()
assert torch.equal(x, _given), "the given tensor must not be changed"
torch.testing.assert_close(y.mean(dim=1), x.mean(dim=1))
_many = torch.rand(300, 7, 1) * 0.1 + torch.arange(7)[:, None]  # (B, T, 1)
_orders = shuffle_frames(_many, seed=2)[:, :, 0].int().unique(dim=0)
assert len(_orders) > 200, "all orders, not only shifts or reversals"
### END HIDDEN TESTS

# %% [markdown]
# Hint: sorting random numbers gives a random order (`torch.rand(B, T).argsort(dim=1)`), and `take_along_dim` puts
# frames in it.
