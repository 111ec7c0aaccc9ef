# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 2: related work
#
# To [Chapter 2](../../../02_related_work.ipynb). Four exercises, 12 points. Replace `# YOUR CODE HERE` and the line below it,
# then run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the
# sheet is graded.

# %%
# %matplotlib inline
import numpy as np
import pandas as pd

from ctxlstm import ucf101, widgets
from ctxlstm.report import paper_tables

work = pd.read_csv(paper_tables.RELATED_WORK, keep_default_na=False)  # top1 in per cent
clips = ucf101.full_index()  # the names of all 13,320 clips

# %% [markdown]
# ## 2.1 Basic: the 3-split number
#
# Many papers give one number for three official splits: the mean of the three top-1 accuracies. Write a function that
# takes the number of right clips and the number of test clips of every split.
#
# Predict first: does it matter that the three test sets have different sizes? The customary number is the *plain mean of
# the three accuracies*, so that every split counts the same.


# %% nbgrader={"grade": false, "grade_id": "three-splits", "locked": false, "schema_version": 3, "solution": true, "task": false}
def three_split_number(right, tested):
    """Mean of the splits' top-1 accuracies in per cent.

    right, tested: lists of the same length, right clips and test clips of every split.
    """
    ### BEGIN SOLUTION
    return 100 * float(np.mean(np.array(right) / np.array(tested)))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "three-splits-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert abs(three_split_number([60, 50, 10], [100, 100, 100]) - 40) < 1e-9, (
    "60 %, 50 % and 10 % have the mean 40 %")
assert abs(three_split_number([90, 10], [100, 20]) - 70) < 1e-9, (
    "90 % and 50 % have the mean 70 %, whatever the sizes")
### BEGIN HIDDEN TESTS
assert abs(three_split_number([3000, 2800, 3100], [3783, 3734, 3696]) - 79.38794) < 1e-3
assert abs(three_split_number([1], [4]) - 25) < 1e-9
assert abs(three_split_number([0, 1000], [1, 1000]) - 50) < 1e-9, (
    "every split counts the same")
### END HIDDEN TESTS

# %% [markdown]
# A hint, if the second check failed: dividing the sum of right clips by the sum of test clips gives large splits a larger
# say. That is another number.

# %% [markdown]
# ## 2.2 Thinking: predict, then move the split explorer
#
# A source video has $n$ clips. In a random 3:1 split each clip goes to training with probability $3/4$; take the clips as
# independent. One clip of the video is a test clip. With which probability is at least one of its $n-1$ siblings in
# training? Write the formula.
#
# Then predict the share of test clips with a sibling in training for all of UCF101, in per cent, under each protocol.
# Write the three predictions down **before** you move the widget below.


# %% nbgrader={"grade": false, "grade_id": "sibling-chance", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sibling_chance(n):
    """Probability (0 to 1) of a sibling in training, for a source video of n clips."""
    ### BEGIN SOLUTION
    return 1 - 0.25 ** (n - 1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "sibling-chance-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert sibling_chance(1) == 0, "a clip without siblings has none in training"
assert abs(sibling_chance(2) - 0.75) < 1e-12, "one sibling trains with probability 3/4"
assert 0 <= sibling_chance(7) <= 1, "a probability is never above 1"
### BEGIN HIDDEN TESTS
assert abs(sibling_chance(4) - 0.984375) < 1e-12
assert abs(sibling_chance(7) - (1 - 0.25**6)) < 1e-12
### END HIDDEN TESTS

# %% nbgrader={"grade": false, "grade_id": "sibling-prediction", "locked": false, "schema_version": 3, "solution": true, "task": false}
# Set prediction: a dictionary with the keys "paper", "grouped" and "official", values
# in per cent (0 to 100), right to within 1. Set seen = None now; when you have moved
# the widget, set it to what it says under the paper's protocol with seed 6, in per
# cent, to one decimal.
### BEGIN SOLUTION
prediction = {"paper": 99.4, "grouped": 0, "official": 0}
seen = 98.9
### END SOLUTION

# %% [markdown]
# Now move it: choose each protocol, and a few seeds. Correct what you had wrong, and set `seen` above.

# %%
widgets.split_explorer(clips)

# %% nbgrader={"grade": true, "grade_id": "sibling-prediction-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert set(prediction) == {"paper", "grouped", "official"}, (
    "predict for paper, grouped and official")
assert all(0 <= share <= 100 for share in prediction.values()), (
    "shares are in per cent, from 0 to 100")
assert 50 < (seen or 0) <= 100, (
    "set seen: what the widget says in per cent, the paper's protocol, seed 6")
### BEGIN HIDDEN TESTS
_seed_6 = 100 * ucf101.leakage(clips, ucf101.split(clips, "paper", seed=6)).share
assert abs(seen - _seed_6) <= 0.11, f"seen: the widget says {_seed_6:.1f} % with seed 6"
for protocol, share in prediction.items():
    cut = ucf101.split(clips, protocol, seed=0)
    found = 100 * ucf101.leakage(clips, cut).share
    assert abs(share - found) <= 1, (
        f"{protocol}: predicted {share} %, it is {found:.1f} %: "
        "correct it with the widget")
### END HIDDEN TESTS

# %% [markdown]
# A source video of UCF101 has four to seven clips. Put 4, 5, 6 and 7 into your formula, and compare with the widget's
# number under the paper's protocol. Why do the other two protocols give what they give, with every seed?

# %% [markdown]
# ## 2.3 Thinking: read a sentence
#
# Which of these readings is right? Set `readings` to a dictionary with one of the letters for each number.
#
# 1. "91.2 %, 3-fold, UCF101". **a** the best top-1 of three random splits by clip. **b** the mean top-1 of the three
#    official splits. **c** the top-1 on a test set that is a third of all clips.
# 2. "Ten clips a video at test time". **a** only ten clips of every source video were tested, not all of them. **b** the
#    network was trained on ten clips of every source video. **c** the outputs for ten windows of every test video are averaged.
# 3. "The best of 300 epochs on the test set". **a** a fair estimate for new videos, as none of the test clips was trained on.
#    **b** too high on average, even for new clips of the same kind. **c** too low on average, as more than 300 epochs would
#    do better.

# %% nbgrader={"grade": false, "grade_id": "readings", "locked": false, "schema_version": 3, "solution": true, "task": false}
# Set readings, for example readings = {1: "a", 2: "a", 3: "a"}.
### BEGIN SOLUTION
readings = {1: "b", 2: "c", 3: "b"}
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "readings-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert set(readings) == {1, 2, 3}, "give a letter for 1, 2 and 3"
assert set(readings.values()) <= set("abc"), "the letters are a, b and c"
### BEGIN HIDDEN TESTS
assert readings == {1: "b", 2: "c", 3: "b"}, (
    "see chapter 2, steps 6 and 7, and chapter 1, step 5")
### END HIDDEN TESTS

# %% [markdown]
# ## 2.4 Extend: a fair table
#
# Write a function that gives, for one system, the rows that it may be compared with as an *architecture*: the same
# protocol, the same extra data, without the system itself, best first. As in chapter 2, ImageNet does not count as extra
# data: treat "ImageNet" in the column `extra` like "". A protocol that ends in "split not named" (such as "official, split
# not named") may be compared with nothing. Leave the table that comes in as it is.
#
# Predict first: how many rows may stand beside the paper's Context-LSTM?


# %% nbgrader={"grade": false, "grade_id": "fair-table", "locked": false, "schema_version": 3, "solution": true, "task": false}
def fair_table(table, system):
    """Rows of `table` that `system` may be compared with, best first.

    Columns: system, top1, protocol, extra. `system` occurs once in the table. An empty
    table comes back where nothing may be compared.
    """
    ### BEGIN SOLUTION
    extra = table["extra"].replace("ImageNet", "")
    own = table["system"] == system
    protocol = table.loc[own, "protocol"].item()
    same = (table["protocol"] == protocol) & (extra == extra[own].item()) & ~own
    same &= not protocol.endswith("split not named")
    return table[same].sort_values("top1", ascending=False)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "fair-table-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
made_up = pd.DataFrame(
    [("A", 90.0, "random split", ""), ("B", 95.0, "official, 3 splits", ""),
     ("C", 80.0, "random split", ""), ("D", 85.0, "random split", ""),
     ("E", 99.0, "random split", "Kinetics"), ("F", 70.0, "random split", "ImageNet")],
    columns=["system", "top1", "protocol", "extra"])
assert list(fair_table(made_up, "A")["system"]) == ["D", "C", "F"], (
    "A: same protocol, same extra data (ImageNet is none), best first, not A")
assert len(fair_table(made_up, "B")) == 0, "B stands alone in its protocol"
### BEGIN HIDDEN TESTS
beside = fair_table(work, "Context-LSTM (the paper)")
assert len(beside) == 6
assert beside["top1"].is_monotonic_decreasing
assert set(beside["protocol"]) == {"random split"}
assert len(fair_table(work, "C3D from scratch (jfzhang95)")) == 0, (
    "a split that is not named cannot be compared")
assert list(fair_table(work, "I3D two-stream")["system"]) == []
assert len(fair_table(work, "TSN ResNet-50, RGB")) == 8, "ImageNet is not extra data"
unnamed = made_up.replace("random split", "random, split not named")
assert len(fair_table(unnamed, "A")) == 0, "a split that is not named"
assert "ImageNet" in set(made_up["extra"]), "the table must stay as it is"
assert len(made_up) == 6, "the table that came in must stay as it is"
### END HIDDEN TESTS

# %% [markdown]
# Now look at your prediction: these rows may stand beside the paper's Context-LSTM.

# %%
fair_table(work, "Context-LSTM (the paper)")

# %% [markdown]
# None of these rows is above 92.2 %. Does that make Context-LSTM the best *model*? Look at what the remarks say about the
# epoch and the split.
