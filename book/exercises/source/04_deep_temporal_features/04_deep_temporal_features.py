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
# They belong to [Chapter 4](../../../04_deep_temporal_features.ipynb). Write your code where it says `YOUR CODE
# HERE`; the cell below each answer checks it. 11 points.

# %%
import tempfile

import torch

from ctxlstm import stickfigures, ucf101, video, widgets

# Six generated clips, one of each class, rendered in a second or two.
movements = ["JumpingJack", "Kick", "SitDown", "StandUp", "WalkLeft", "WalkRight"]
folder = tempfile.TemporaryDirectory()
clips = ucf101.index(
    stickfigures.render(folder.name, classes=movements, groups=1, clips=1, workers=1, progress=False)
)

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
assert list(first(3, 5)) == [0, 1, 2, 2, 2], "a clip that is too short repeats its last frame"
assert list(uniform(8, 4)) == [1, 3, 5, 7], "segments of two frames: their centres, rounded down"
### BEGIN HIDDEN TESTS
for _n, _T in ((29, 28), (167, 28), (5, 12), (1776, 28), (12, 12), (41, 7)):
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
assert tuple(pool(maps).shape) == (2, 3, 5), "the two axes of the picture must go, all others stay"
assert pool(maps)[1, 2, 4] == 1, "a single 16 among 16 places has the mean 1"
assert pool(maps).sum() == 1, "the map of one frame must not leak into another frame or channel"
### BEGIN HIDDEN TESTS
_maps = torch.randn(2, 3, 7, 4, 6, generator=torch.Generator().manual_seed(1))
torch.testing.assert_close(pool(_maps), _maps.flatten(3).sum(-1) / 24)
### END HIDDEN TESTS

# %% [markdown]
# ## 3 Predict, then move it (widget, 3 points)
#
# **Before** you show the frame browser, write down for each of the six classes whether a single frame *from the
# middle of the clip* can tell it from the five others. Set `one_frame` to the list of those classes (of
# `movements`), and `backwards` to a dictionary: what would a clip of each of the *other* classes be called if it
# were played backwards?

# %% nbgrader={"grade": false, "grade_id": "predict-frames", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
one_frame = ["JumpingJack", "Kick"]
backwards = {
    "SitDown": "StandUp",
    "StandUp": "SitDown",
    "WalkLeft": "WalkRight",
    "WalkRight": "WalkLeft",
}
### END SOLUTION

# %% [markdown]
# Now look. Move through the frames of a clip of each class, and then cover all but the middle ones.

# %%
widgets.frame_browser(clips)

# %%
widgets.frame_browser_figure(clips, name="v_SitDown_g01_c01", t=0)

# %% nbgrader={"grade": true, "grade_id": "predict-frames-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert set(one_frame) | set(backwards) == set(movements), "every class must be in one of the two answers"
assert not set(one_frame) & set(backwards), "no class may be in both"
assert set(backwards.values()) <= set(movements), "name classes of this exercise only"
### BEGIN HIDDEN TESTS
assert sorted(one_frame) == ["JumpingJack", "Kick"]
assert backwards == {a: b for p in stickfigures.REVERSED_PAIRS for a, b in (p, p[::-1]) if a in movements}
### END HIDDEN TESTS

# %% [markdown]
# Hint: the walkers face either way at random, so the direction in which a figure looks is no answer.
#
# ## 4 Shuffle fairly (extend, 4 points)
#
# For a shuffle test every clip needs its *own* order: one order for all clips would only rename the time steps, and
# a model could learn the new names. Write `shuffle_frames(x, seed)` for $x$ of shape $(B, T, D)$.
#
# **Predict first:** what happens to the mean over time?


# %% nbgrader={"grade": false, "grade_id": "shuffle-frames", "locked": false, "schema_version": 3, "solution": true, "task": false}
def shuffle_frames(x, seed):
    """A new tensor (B, T, D): the frames of each clip in a random order of its own; the same for the same seed."""
    ### BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(x.shape[:2], generator=generator).argsort(dim=1)  # (B, T)
    return x.take_along_dim(order[:, :, None], dim=1)  # (B, T, D)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "shuffle-frames-test", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
x = torch.arange(6 * 8 * 3).reshape(6, 8, 3).float()  # B = 6, T = 8, D = 3
y = shuffle_frames(x, seed=0)
assert y.shape == x.shape, "the shape must stay (B, T, D)"
assert torch.equal(y[:, :, 0].sort(dim=1).values, x[:, :, 0]), "every clip must keep all of its frames"
assert not torch.equal(y, x), "the order must change"
order = (y - x[:, :1])[:, :, 0]  # (B, T): which frame came where
assert len({tuple(row.tolist()) for row in order}) > 1, "each clip needs an order of its own"
### BEGIN HIDDEN TESTS
assert torch.equal(shuffle_frames(x, seed=0), y), "the same seed must give the same orders"
assert not torch.equal(shuffle_frames(x, seed=1), y), "another seed must give other orders"
assert torch.equal(y - y[:, :, :1], x - x[:, :, :1]), "a frame's D features must stay together"
assert torch.equal(x, torch.arange(6 * 8 * 3).reshape(6, 8, 3).float()), (
    "the given tensor must not be changed"
)
torch.testing.assert_close(y.mean(dim=1), x.mean(dim=1))
### END HIDDEN TESTS

# %% [markdown]
# Hint: sorting random numbers gives a random order (`torch.rand(B, T).argsort(dim=1)`), and `take_along_dim` puts
# frames in it.
