# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 3: clips, groups and splits
#
# To [Chapter 3](../../../03_ucf101.ipynb). Four exercises, 10 points. Replace `# YOUR CODE HERE` and the line below it, then
# run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the sheet is
# graded. No video is needed: names are enough.

# %%
# %matplotlib inline
import numpy as np
import pandas as pd

from ctxlstm import ucf101, widgets

full = ucf101.full_index()  # UCF101's 13,320 clips: columns name, label, group, clip

# %% [markdown]
# ## 1 Siblings (basic, 2 points)
#
# Two different clips are siblings if they were cut from the same source video. Write `siblings(a, b)` for two clip
# names such as `v_PushUps_g01_c02`; `ucf101.parse(name)` gives (class, group, clip).
#
# **Predict first:** are `v_Archery_g07_c01` and `v_PushUps_g07_c01` siblings?


# %% nbgrader={"grade": false, "grade_id": "siblings", "locked": false, "schema_version": 3, "solution": true, "task": false}
def siblings(a, b):
    """True if a and b are two different clips of the same source video."""
    ### BEGIN SOLUTION
    return a != b and ucf101.parse(a)[:2] == ucf101.parse(b)[:2]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "siblings-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert siblings("v_PushUps_g01_c01", "v_PushUps_g01_c02"), (
    "same class, same group: cut from one video")
assert not siblings("v_PushUps_g01_c01", "v_PushUps_g02_c01"), (
    "another group is another video")
assert not siblings("v_Archery_g07_c01", "v_PushUps_g07_c01"), (
    "groups are numbered within a class")
### BEGIN HIDDEN TESTS
assert not siblings("v_PushUps_g01_c01", "v_PushUps_g01_c01"), (
    "a clip is not its own sibling")
assert siblings("v_HandStandPushups_g25_c07", "v_HandStandPushups_g25_c01")
assert not siblings("v_Archery_g07_c01", "v_PushUps_g07_c02"), "another class"
assert not siblings("v_PushUps_g01_c03", "v_PushUps_g11_c03")
assert not siblings("v_PlayingPiano_g03_c02", "v_PlayingViolin_g03_c02")
### END HIDDEN TESTS

# %% [markdown]
# ## 2 What to expect from arithmetic (thinking, 3 points)
#
# A source video has `n` clips. Each clip goes to the test set with probability `p`, independently of the others
# (nearly what a random split does). Given that a clip is in the test set: how probable is it that it has *at least
# one* sibling in training?
#
# **Predict first:** 5 clips a video, and half of all clips test. More or less than 90 %?


# %% nbgrader={"grade": false, "grade_id": "expected-leak", "locked": false, "schema_version": 3, "solution": true, "task": false}
def expected_leak(n, p):
    """Probability (0 to 1) of a sibling in training, for a source video of n clips."""
    ### BEGIN SOLUTION
    return 1 - p ** (n - 1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "expected-leak-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert np.isclose(expected_leak(2, 0.4), 0.6), (
    "n = 2: there is one sibling, and it trains with probability 1 - p, here 0.6")
assert expected_leak(1, 0.25) == 0, "a clip without siblings cannot leak"
sizes = full.groupby(["label", "group"])["name"].transform("size")  # n of each clip
leak = np.mean([expected_leak(n, 0.25) for n in sizes])
assert abs(leak - 0.994) < 0.001, "UCF101 at 3:1 gives 99.4 %"
### BEGIN HIDDEN TESTS
assert np.isclose(expected_leak(5, 0.5), 1 - 0.5**4)
assert np.isclose(expected_leak(4, 0.9), 1 - 0.9**3)
assert np.isclose(expected_leak(3, 0.1), 0.99)
### END HIDDEN TESTS

# %% [markdown]
# Hint: it is easier to ask how probable it is that *no* sibling trains. All the others must then be in the test set.
#
# ## 3 Predict, then move it (widget, 2 points)
#
# Suppose UCF101 had only two clips a source video: `few` below, clips 1 and 2 of every group. Write your
# predictions down **before** you show the widget:
#
# - `leak_random`: the share (0 to 1) of test clips with a sibling in training under the random 3:1 split, on
#   average over the seeds, to within 0.01;
# - `leak_grouped`: the same under the split by source video;
# - `seed_matters`: a list of the protocols (of `"paper"`, `"grouped"`, `"official"`) whose test set changes when
#   you move the seed;
# - `seen`: `None` for now. When you have moved the widget: what it says under the random split with seed 8, as a share
#   (0 to 1) with three decimals.

# %%
few = full[full["clip"] <= 2].reset_index(drop=True)
print(len(few), "clips")

# %% nbgrader={"grade": false, "grade_id": "predict-leak", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
leak_random = 1 - 0.25
leak_grouped = 0.0
seed_matters = ["paper", "grouped"]
seen = 0.793
### END SOLUTION

# %% [markdown]
# Now look. Choose the protocol, move the seed, and compare with what you wrote. Then set `seen` above, and correct what you
# had wrong.

# %%
widgets.split_explorer(few)

# %%
widgets.split_explorer_figure(few, protocol="paper", seed=0)

# %% nbgrader={"grade": true, "grade_id": "predict-leak-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert 0 <= leak_random <= 1, "give a share from 0 to 1, not per cent"
assert 0 <= leak_grouped <= 1, "give a share from 0 to 1, not per cent"
assert set(seed_matters) <= set(ucf101.PROTOCOLS), f"choose from {ucf101.PROTOCOLS}"
assert 0 < (seen or 0) <= 1, (
    "set seen: the widget's share with seed 8, from 0 to 1, not per cent")
assert abs(leak_random - seen) < 0.06, (
    "leak_random: one seed is not that far from the average; look at other seeds, too")
### BEGIN HIDDEN TESTS
measured = np.mean([ucf101.leakage(few, ucf101.split(few, "paper", seed=s)).share
                    for s in range(21)])
assert abs(leak_random - measured) < 0.01, (
    f"leak_random: over 21 seeds it is {measured:.3f} on average")
assert leak_grouped == 0, "no source video is in both parts"
assert sorted(seed_matters) == ["grouped", "paper"], "the official split draws nothing"
_seed_8 = ucf101.leakage(few, ucf101.split(few, "paper", seed=8)).share
assert abs(seen - _seed_8) < 0.0011, f"seen: the widget says {_seed_8:.3f} with seed 8"
### END HIDDEN TESTS

# %% [markdown]
# Hint: exercise 2 has the formula. Which of the three protocols draws nothing at all?
#
# ## 4 A split that does not leak (extend, 3 points)
#
# Write a split by source video: of **every class** draw `how_many` of its groups, each class for itself. All their
# clips test, all others train. Draw with one `numpy.random.default_rng(seed)`, made before the first class. Return two
# lists of *names*.
#
# **Predict first:** with `how_many=6` of 25 groups, will the test set hold exactly 6/25 of the clips?


# %% nbgrader={"grade": false, "grade_id": "clean-split", "locked": false, "schema_version": 3, "solution": true, "task": false}
def clean_split(clips, how_many, seed):
    """(train names, test names) of a clip table with columns name, label, group."""
    ### BEGIN SOLUTION
    rng = np.random.default_rng(seed)
    tested = set()
    for label, groups in clips.groupby("label")["group"]:
        drawn = rng.choice(groups.unique(), how_many, replace=False)
        tested |= {(label, group) for group in drawn}
    videos = zip(clips["label"], clips["group"], strict=True)
    tests = np.array([video in tested for video in videos])
    return list(clips["name"][~tests]), list(clips["name"][tests])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "clean-split-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
train, test = map(list, clean_split(full, 6, seed=0))
assert sorted([*train, *test]) == sorted(full["name"]), "each clip in exactly one part"
videos = [{ucf101.parse(name)[:2] for name in part} for part in (train, test)]
assert not videos[0] & videos[1], "a source video is in both parts"
per_class = pd.Series([label for label, _ in videos[1]]).value_counts()
assert len(per_class) == 101, "every class must have test clips"
assert (per_class == 6).all(), "every class must test with 6 of its groups"
other = clean_split(full, 6, seed=1)[1]
assert sorted(other) != sorted(test), "another seed must draw other groups"
### BEGIN HIDDEN TESTS
_again = clean_split(full, 6, seed=0)[1]
assert sorted(_again) == sorted(test), "the same seed must give the same split"
_drawn = {}
for _label, _group in videos[1]:
    _drawn.setdefault(_label, set()).add(_group)
_choices = {tuple(sorted(groups)) for groups in _drawn.values()}
assert len(_choices) > 50, "each class draws for itself"
_two = full[full["label"].isin(["PushUps", "Archery"])]
_two = _two.iloc[::-1].reset_index(drop=True)
_train, _test = clean_split(_two, 2, seed=5)
assert len({ucf101.parse(name)[:2] for name in _test}) == 4
assert sorted([*_train, *_test]) == sorted(_two["name"])
### END HIDDEN TESTS

# %% [markdown]
# Hint: `clips.groupby("label")["group"]` goes through the classes; `rng.choice(values, k, replace=False)` draws
# without repetition. To think further: why does the number of test clips change with the seed here, but not under
# the random split of clips?
