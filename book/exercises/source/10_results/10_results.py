# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 10: reading results
#
# To [Chapter 10](../../../10_results.ipynb). Four exercises, 11 points. Replace `# YOUR CODE HERE` and the line below it,
# then run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the
# sheet is graded. A table of predictions has one row per test clip: `name` (v_Class_gNN_cNN), `label`, `predicted`. A history
# has one row per epoch: `epoch`, `validation_top1`, `test_top1`.

# %%
# %matplotlib inline
import numpy as np
import pandas as pd

from ctxlstm import evaluation, inference, widgets
from ctxlstm.experiments import runs
from ctxlstm.report import studies

# %% [markdown]
# ## 1 Three columns of one curve (basic, 2 points)
#
# From a history give the three accuracies that a table may print: after the last epoch, the best on the test set, and the one at
# the epoch that the validation set chooses (the *first* of the best validation epochs).
#
# Predict first: which of the three can never be the smallest? ______


# %% nbgrader={"grade": false, "grade_id": "three-columns", "locked": false, "schema_version": 3, "solution": true, "task": false}
def three_columns(history):
    """{"last": .., "best": .., "chosen": ..}, test accuracies as fractions."""
    ### BEGIN SOLUTION
    test = history.set_index("epoch")["test_top1"]
    chosen = history.set_index("epoch")["validation_top1"].idxmax()
    return {"last": test.iloc[-1], "best": test.max(), "chosen": test.loc[chosen]}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "three-columns-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
toy = pd.DataFrame({"epoch": [1, 2, 3, 4], "validation_top1": [0.2, 0.7, 0.7, 0.5],
                    "test_top1": [0.3, 0.6, 0.9, 0.8]})
found = three_columns(toy)
assert found["last"] == 0.8, "last: the test accuracy of the last row"
assert found["best"] == 0.9, "best: the largest test accuracy of all epochs"
assert found["chosen"] == 0.6, (
    "chosen: validation is best at epochs 2 and 3; the first of them is taken")
### BEGIN HIDDEN TESTS
rng = np.random.default_rng(1)
for _ in range(5):
    table = pd.DataFrame({
        "epoch": range(1, 9), "validation_top1": rng.integers(0, 5, 8) / 5,
        "test_top1": rng.random(8)})
    got, epoch = three_columns(table), evaluation.chosen_epoch(table)
    assert got["last"] == table["test_top1"].iloc[-1]
    assert got["best"] == table["test_top1"].max()
    assert got["chosen"] == table.set_index("epoch")["test_top1"][epoch]
### END HIDDEN TESTS

# %% [markdown]
# Hint: `Series.idxmax` gives the first index of the largest value.

# %% [markdown]
# ## 2 The standard error that counts source videos (thinking, 3 points)
#
# With $N$ test clips, accuracy $p$, and for each source video $j$ the number of its clips $n_j$ and of its right ones $r_j$, the standard
# error of the accuracy is about
#
# $$\frac{1}{N}\sqrt{\sum_j (r_j - p\,n_j)^2}$$
#
# Predict first: every clip is copied into the table three times, under the same source video. What happens to this
# standard error, and what to $\sqrt{p(1-p)/N}$? ______


# %% nbgrader={"grade": false, "grade_id": "group-error", "locked": false, "schema_version": 3, "solution": true, "task": false}
def group_error(right, video):
    """Standard error of the accuracy, from two arrays (N,):
    right, 0 or 1 for each clip, and video, its source video.
    """
    ### BEGIN SOLUTION
    table = pd.DataFrame({"right": np.asarray(right, float), "video": list(video)})
    p = table["right"].mean()
    per = table.groupby("video")["right"].agg(["sum", "size"])
    return float(np.sqrt(((per["sum"] - p * per["size"]) ** 2).sum()) / len(table))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "group-error-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
right = np.array([1, 1, 0, 1, 0, 1, 1, 1])
alone = group_error(right, np.arange(8))
assert np.isclose(alone, np.sqrt(0.75 * 0.25 / 8)), "one clip per video: sqrt(p(1-p)/N)"
copied = group_error(np.repeat(right, 3), np.repeat(np.arange(8), 3))
assert np.isclose(copied, alone), "copies in the same video bring no new information"
uneven = group_error(np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1]))
assert np.isclose(uneven, np.sqrt(2 * 0.75**2) / 4), (
    "videos of 3 and 1 clips: r - p n is 0.75 and -0.75")
### BEGIN HIDDEN TESTS
_six = group_error(np.array([1, 1, 1, 0, 0, 0]), np.array(list("aaabbb")))
assert np.isclose(_six, np.sqrt(2 * 1.5**2) / 6)
assert np.isclose(group_error(np.array([1, 0, 1, 0]), np.array(list("aabb"))), 0)
_three = group_error(np.array([1, 1, 0]), np.array(["x", "y", "y"]))
assert np.isclose(_three, np.sqrt((1 / 3) ** 2 + (1 / 3) ** 2) / 3)
### END HIDDEN TESTS

# %% [markdown]
# Hint: the sum goes over source videos; `groupby` makes one row of each.

# %% [markdown]
# ## 3 Which test for which claim (thinking, 3 points)
#
# `a` and `b` are the runs of two heads on one split, a row per seed. Write `p_value(claim, a, b)`, the right p for each claim:
#
# - `"recipes"`: "If you split these clips again and train both heads again, the first is better on average", measured by the column
#   `top1_late`. `studies.overlap(a)` is test clips / training clips.
# - `"networks"`: "The two networks of seed 0, which I deploy tomorrow, differ on clips of this kind, from other source videos."
#   `runs.predictions(row)` are the predictions of one run.
# - `"one run"`: "The first head is better", from one run of each, at the best of all epochs on the test set. No test mends that:
#   return None.
#
# How to call them: `inference.paired_over_seeds(first, second, overlap=..)` takes two dictionaries {seed: value},
# `inference.sign_flip((table_a, table_b))` one tuple of two predictions tables, and `runs.predictions(row)` one row of `a` or `b`,
# as `a.iloc[3]` gives the fourth. The results of both tests have a `.p`.
#
# Predict first: which p is smaller for `context_lstm` and `cnn_lstm`, that of the recipes or that of the networks? ______

# %%
records = runs.load(runs.default_folder().parent / "results" / "stickfigures")
main_runs = studies.usual(records)


# %% nbgrader={"grade": false, "grade_id": "which-test", "locked": false, "schema_version": 3, "solution": true, "task": false}
def p_value(claim, a, b):
    """p of the claim "recipes" or "networks"; None for "one run"."""
    ### BEGIN SOLUTION
    if claim == "recipes":
        late = [rows.set_index("seed")["top1_late"].to_dict() for rows in (a, b)]
        return inference.paired_over_seeds(*late, overlap=studies.overlap(a)).p
    if claim == "networks":
        first = [runs.predictions(rows[rows["seed"] == 0].iloc[0]) for rows in (a, b)]
        return inference.sign_flip(tuple(first)).p
    return None
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "which-test-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
heads = ("context_lstm", "cnn_lstm")
ours, plain = (studies.of(main_runs, head, "grouped") for head in heads)
assert p_value("one run", ours, plain) is None, "a number that was picked has no p"
assert abs(p_value("recipes", ours, plain) - 0.2209) < 0.0005, (
    "by top1_late, over five seeds that split the same clips: far from 0.05")
assert abs(p_value("networks", ours, plain) - 0.00161) < 0.00005, (
    "on seed 0's clips, by source video, the two networks clearly differ")
ours_random, plain_random = (studies.of(main_runs, head, "paper") for head in heads)
assert abs(p_value("networks", ours_random, plain_random) - 0.261) < 0.0005, (
    "on the random split those of seed 0 do not: count source videos, and no other seed"
)
### BEGIN HIDDEN TESTS
for _head, _split in (("wide_lstm", "grouped"), ("gru", "paper"),
                      ("mean_linear", "grouped")):
    _a, _b = (studies.of(main_runs, head, _split) for head in (_head, "cnn_lstm"))
    _late = [dict(zip(r["seed"], r["top1_late"], strict=True)) for r in (_a, _b)]
    _p = inference.paired_over_seeds(*_late, overlap=studies.overlap(_a)).p
    assert abs(p_value("recipes", _a, _b) - _p) < 1e-6
    _runs = [runs.predictions(rows[rows["seed"] == 0].iloc[0]) for rows in (_a, _b)]
    assert abs(p_value("networks", _a, _b) - inference.sign_flip(tuple(_runs)).p) < 1e-3
### END HIDDEN TESTS

# %% [markdown]
# Hint: a recipe is what you train again; a network is what came out once. `inference` has another test, `mcnemar`, which takes
# clips as independent.

# %% [markdown]
# ## 4 Predict, then move it: the record dashboard (extend, 3 points)
#
# The records are those of the stick figures (synthetic). Before you touch the dashboard, set `prediction`: on which split
# is the distance from the lowest to the highest seed of `cnn_lstm` largest, after the last epoch: `"paper"`, `"grouped"` or `"official"`?
# Then look, and write `seed_range(records, model, protocol)`: that distance for one head and one split, in points (100
# times the column `top1_last`). Set `seen` to the name of the split on which it is largest for `cnn_lstm`.

# %%
widgets.record_dashboard(records)

# %% nbgrader={"grade": false, "grade_id": "seed-range", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
prediction = "paper"  # any of the three: a wrong guess costs nothing


def seed_range(records, model, protocol):
    """Highest minus lowest top1_last over a head's seeds on one split, in points."""
    own = studies.of(studies.usual(records), model, protocol)["top1_last"]
    return 100 * float(own.max() - own.min())


seen = max(("paper", "grouped", "official"),
           key=lambda protocol: seed_range(records, "cnn_lstm", protocol))
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "seed-range-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
names = ("paper", "grouped", "official")
assert prediction in names, "write a prediction down first"
small = records[records["seed"] < 2]
one, two = studies.of(studies.usual(small), "gru", "paper")["top1_last"]
assert abs(seed_range(small, "gru", "paper") - 100 * abs(one - two)) < 1e-6, (
    "of two seeds: their distance, in points")
splits = {split: seed_range(records, "cnn_lstm", split) for split in names}
assert seen == max(splits, key=splits.get), "seen: split with the largest seed_range"
### BEGIN HIDDEN TESTS
main = studies.usual(records)
for model in ("cnn_lstm", "context_lstm"):
    top1 = main[main["model"] == model].groupby("protocol")["top1_last"]
    spread = 100 * (top1.max() - top1.min())
    for protocol, expected in spread.items():
        assert np.isclose(seed_range(records, model, protocol), expected)
    if model == "cnn_lstm":
        assert seen == spread.idxmax()
### END HIDDEN TESTS

# %% [markdown]
# Hint: `studies.usual(records)` keeps the main runs, `studies.of(rows, model, protocol)` those of one head and split.
