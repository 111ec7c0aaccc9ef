# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 11: reading an ablation
#
# To [Chapter 11](../../../11_ablation.ipynb). Four exercises, 11 points. Replace `# YOUR CODE HERE` and the line below it,
# then run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the
# sheet is graded. Accuracies are fractions, from 0 to 1, unless per cent are named.

# %%
# %matplotlib inline
import math

import numpy as np
from scipy import stats

from ctxlstm import inference, widgets
from ctxlstm.experiments import runs
from ctxlstm.report import studies

# %% [markdown]
# ## 1 How many clips would it have taken? (basic, 2 points)
#
# Two single runs with accuracies $p_1 > p_2$ on $N$ clips each, clips taken as independent. From which $N$ on is the difference at
# least $z = 1.96$ standard errors?
#
# $$z = \frac{p_1 - p_2}{\sqrt{p_1(1-p_1)/N + p_2(1-p_2)/N}}$$
#
# Predict first: the paper's 92.2 % against 91.0 % has $z = 1.8$ at 3,330 clips. Are 4,000 enough, or 40,000? ______


# %% nbgrader={"grade": false, "grade_id": "clips-needed", "locked": false, "schema_version": 3, "solution": true, "task": false}
def clips_needed(p1, p2, z=1.96):
    """Smallest whole N at which p1 - p2 is at least z standard errors."""
    ### BEGIN SOLUTION
    return math.ceil(z**2 * (p1 * (1 - p1) + p2 * (1 - p2)) / (p1 - p2) ** 2)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "clips-needed-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert clips_needed(0.6, 0.5) == 189, "3.8416 * (0.24 + 0.25) / 0.01, rounded up"
n = clips_needed(0.922, 0.910)
assert isinstance(n, int), "give a whole number"
assert 3_330 < n < 13_320, "the paper: more than its test set, fewer than all clips"
### BEGIN HIDDEN TESTS
assert n == 4104
assert clips_needed(0.9, 0.7, z=3) == 68
assert clips_needed(0.922, 0.907) == 2669
### END HIDDEN TESTS

# %% [markdown]
# Hint: square both sides and solve for $N$; `math.ceil` rounds up.

# %% [markdown]
# ## 2 Another correction (thinking, 3 points)
#
# Holm keeps the chance of *any* false alarm at 5 %. Benjamini and Hochberg keep the expected *share* of false alarms among the rows that
# you call real at 5 %, which is milder. Sort the $m$ values ascending; the $k$-th becomes $p_k \cdot m / k$; from the largest down,
# none may exceed the one after it; cut at 1.
#
# Predict first: for a single $p$-value, what do both corrections do? ______


# %% nbgrader={"grade": false, "grade_id": "benjamini", "locked": false, "schema_version": 3, "solution": true, "task": false}
def benjamini_hochberg(p):
    """Corrected p-values in the order given, (m,) -> (m,)."""
    ### BEGIN SOLUTION
    p = np.asarray(p, float)
    m, order = len(p), np.argsort(p)
    steps = p[order] * m / np.arange(1, m + 1)
    corrected = np.empty(m)
    corrected[order] = np.minimum(1, np.minimum.accumulate(steps[::-1])[::-1])
    return corrected
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "benjamini-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert np.allclose(benjamini_hochberg([0.03]), [0.03]), "one test: nothing to correct"
assert np.allclose(benjamini_hochberg([0.01, 0.02, 0.5]), [0.03, 0.03, 0.5]), (
    "0.01 * 3 / 1 and 0.02 * 3 / 2 are both 0.03")
assert np.allclose(benjamini_hochberg([0.5, 0.01, 0.02]), [0.5, 0.03, 0.03]), (
    "the order given must be kept")
assert np.allclose(benjamini_hochberg([0.04, 0.05]), [0.05, 0.05]), (
    "0.04 * 2 / 1 is 0.08, but none may exceed the one after it")
### BEGIN HIDDEN TESTS
rng = np.random.default_rng(3)
for m in (2, 7, 15):
    p = rng.random(m) ** 3
    assert np.allclose(benjamini_hochberg(p), stats.false_discovery_control(p))
    assert (np.asarray(benjamini_hochberg(p)) <= studies.holm(p) + 1e-12).all()
assert np.allclose(benjamini_hochberg([0.9, 0.95]), [0.95, 0.95])
### END HIDDEN TESTS

# %% [markdown]
# Hint: `np.minimum.accumulate` on the reversed list gives "none may exceed the one after it".

# %% [markdown]
# ## 3 What may be concluded? (thinking, 3 points)
#
# An ablation tests `m` changes of one default. Write `conclude(default, changed, m, overlap)` for one of them: `default` and `changed`
# are accuracies in per cent, one pair per seed. Take the interval of changed minus default at the level $1 - 0.05/m$, so that all
# `m` intervals are right at once in 95 of 100 such studies, and return
#
# - `"better"` or `"worse"` if it lies above +0.6 or below -0.6 points,
# - `"no difference that matters"` if it lies within ±0.6,
# - `"cannot be told"` otherwise, and where all seeds have the same difference (no interval),
# - `"ceiling"`, before all else, if the default is right on every clip with every seed *and* the change is not `"worse"`: then the
#   change had no chance to be better.
#
# `inference.over_seeds(values, overlap=.., level=..)` gives the interval (low and high are NaN without one).
#
# Predict first: five seeds differ by -2.0, -2.4, -1.6, -2.2 and -1.8 points. Does one of 15 such changes count as worse? ______


# %% nbgrader={"grade": false, "grade_id": "conclusions", "locked": false, "schema_version": 3, "solution": true, "task": false}
def conclude(default, changed, m, overlap=0.0):
    """What one of m changes did, in the words above."""
    ### BEGIN SOLUTION
    default, changed = np.asarray(default, float), np.asarray(changed, float)
    found = inference.over_seeds(changed - default, overlap=overlap, level=1 - 0.05 / m)
    if found.high < -0.6:
        return "worse"
    if (default == 100).all():
        return "ceiling"
    if found.low > 0.6:
        return "better"
    within = found.low >= -0.6 and found.high <= 0.6
    return "no difference that matters" if within else "cannot be told"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "conclusions-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
base = np.array([90.0, 91.0, 89.5, 90.5, 90.2])
drop = np.array([-2.0, -2.4, -1.6, -2.2, -1.8])
assert conclude(base, base + drop, 1) == "worse", "one change: interval -2.39 to -1.61"
assert conclude(base, base + drop, 1, overlap=1 / 3) == "worse", (
    "corrected for the same clips: -2.64 to -1.36")
assert conclude(base, base + drop, 15, overlap=1 / 3) == "cannot be told", (
    "one of 15 needs a wider interval")
assert conclude([100] * 3, [100, 100, 99], 1) == "ceiling", "nothing can be above 100 %"
assert conclude([100] * 5, 100 + drop, 1) == "worse", "worse is worse, even from 100 %"
assert conclude(base, base - drop, 1) == "better", "one change: interval 1.61 to 2.39"
assert conclude(base, base + (drop + 2) / 4, 1) == "no difference that matters", (
    "the interval is -0.10 to 0.10")
### BEGIN HIDDEN TESTS
assert conclude(base, base - drop, 1) == "better"
assert conclude(base, base + (drop + 2) / 3, 1) == "no difference that matters"
assert conclude(base, base + (drop + 2) / 3, 1000) == "cannot be told"
assert conclude(base, base + 1, 1) == "cannot be told"
assert conclude([100.0] * 5, 100 + drop, 1) == "worse"
assert conclude([100.0] * 5, [98.0] * 5, 1) == "ceiling"
assert conclude(base, base + 3 * drop + 6, 2) == "cannot be told"
### END HIDDEN TESTS

# %% [markdown]
# Hint: compute the interval first. Comparisons with NaN are False, which is what a missing interval should give.

# %% [markdown]
# ## 4 Predict, then move it: whose curve is on top? (extend, 3 points)
#
# Stick figures (synthetic), split by source video. In how many of the 30 epochs is the mean test top-1 (over seeds) of
# `context_lstm_no_pool` *above* that of `context_lstm`? Write `prediction` (0 to 30) first. Then choose the two heads in the dashboard,
# split by source video, count by eye, and set `seen` to your count (right to 5). Then write `epochs_ahead(records, a, b, protocol)`: the
# number of epochs in which the mean curve of head `a` lies above that of head `b`. `protocol` is `"grouped"` for the split by
# source video (group), `"official"` for the official splits.

# %%
records = runs.load(runs.default_folder().parent / "results" / "stickfigures")
widgets.record_dashboard(records)

# %% nbgrader={"grade": false, "grade_id": "epochs-ahead", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
prediction = 10  # any number from 0 to 30: a wrong guess costs nothing
seen = 17


def mean_curve(records, model, protocol):
    """Mean test top-1 over seeds, one value per epoch."""
    own = studies.of(studies.usual(records), model, protocol)
    curves = [runs.history(row)["test_top1"].to_numpy() for _, row in own.iterrows()]
    return np.mean(curves, axis=0)


def epochs_ahead(records, a, b, protocol):
    """Number of epochs in which the mean curve of head a lies above that of head b."""
    first, second = (mean_curve(records, head, protocol) for head in (a, b))
    return int((first > second).sum())


### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "epochs-ahead-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert 0 <= prediction <= 30, "write a prediction from 0 to 30 down first"
assert epochs_ahead(records, "gru", "gru", "grouped") == 0, "no head lies above itself"
assert epochs_ahead(records, "transformer", "single_frame", "grouped") > 20, (
    "the transformer leads nearly everywhere")
no_pool = ("context_lstm_no_pool", "context_lstm")
assert epochs_ahead(records, *no_pool, "official") == 16, (
    "of the official splits: the mean over all five seeds")
assert abs(seen - epochs_ahead(records, *no_pool, "grouped")) <= 5, (
    "seen: count again, or mend epochs_ahead")
### BEGIN HIDDEN TESTS
assert epochs_ahead(records, *no_pool, "grouped") == 17
assert abs(seen - 17) <= 5
main = studies.usual(records)
curves = {}
for head in ("context_lstm_no_pool", "context_lstm", "cnn_lstm"):
    rows = main[(main["model"] == head) & (main["protocol"] == "grouped")]
    own = [runs.history(row)["test_top1"] for _, row in rows.iterrows()]
    curves[head] = sum(own) / len(own)
for a, b in (no_pool, ("cnn_lstm", "context_lstm"), ("context_lstm", "cnn_lstm")):
    expected = int((curves[a] - curves[b] > 1e-12).sum())
    # exact ties may round either way
    assert abs(epochs_ahead(records, a, b, "grouped") - expected) <= 1
### END HIDDEN TESTS

# %% [markdown]
# Hint: `studies.of(studies.usual(records), model, protocol)` gives the runs, `runs.history(row)` the curve of each.
