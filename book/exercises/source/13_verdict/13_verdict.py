# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 13: judging another paper
#
# To [Chapter 13](../../../13_verdict.ipynb). Four exercises, 12 points. Replace `# YOUR CODE HERE` and the line below it,
# then run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the
# sheet is graded. The paper of this sheet is **made up**: "TwoLane recognises 40 gestures with 96.4 %, the state of the art,
# without overfitting".

# %%
# %matplotlib inline
import itertools
import math

import numpy as np
from scipy import stats

from ctxlstm.widgets import panel

paper = {
    # test top-1 in per cent after these epochs
    "table": {20: 91.0, 40: 94.2, 60: 95.9, 80: 94.8, 100: 95.1},
    "best": 96.4,
    "epochs": 100,
    "test_clips": 1000,
    "train_loss": 0.02,
    "test_loss": 0.41,
}

# %% [markdown]
# ## 1 What its own numbers say (basic, 3 points)
#
# Write `own_numbers(paper)`: a dictionary with the verdicts that the printed numbers allow, each `"fails"` or `"cannot be told"`.
#
# - `no_overfitting`: fails if the test loss is more than twice the training loss.
# - `no_decline`: "the accuracy never falls from one printed epoch to the next".
# - `best_is_typical`: "the best epoch is no luck". The printed epochs of the second half (later than half of `epochs`) should
#   reach it: fails if their mean lies more than two standard errors of the best below it, $100\sqrt{p(1-p)/N}$ points each,
#   with $p$ the best accuracy and $N$ the test clips. If no epoch of the second half is printed: `"cannot be told"`.
#
# Predict first: why is `"holds"` not among the answers? ______


# %% nbgrader={"grade": false, "grade_id": "own-numbers", "locked": false, "schema_version": 3, "solution": true, "task": false}
def own_numbers(paper):
    """{"no_overfitting": .., "no_decline": .., "best_is_typical": ..}"""
    ### BEGIN SOLUTION
    epochs = sorted(paper["table"])
    top1 = [paper["table"][epoch] for epoch in epochs]
    late = [paper["table"][epoch] for epoch in epochs if epoch > paper["epochs"] / 2]
    p = paper["best"] / 100
    error = 100 * math.sqrt(p * (1 - p) / paper["test_clips"])
    contradicted = {
        "no_overfitting": paper["test_loss"] > 2 * paper["train_loss"],
        "no_decline": any(b < a for a, b in itertools.pairwise(top1)),
        "best_is_typical": bool(late) and paper["best"] - np.mean(late) > 2 * error,
    }
    return {claim: "fails" if found else "cannot be told"
            for claim, found in contradicted.items()}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "own-numbers-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
found = own_numbers(paper)
assert found["no_overfitting"] == "fails", "0.41 is more than twice 0.02"
assert found["no_decline"] == "fails", "from epoch 60 to 80 it falls by 1.1 points"
assert found["best_is_typical"] == "cannot be told", (
    "95.27 is 1.13 below 96.4; two standard errors are 1.18")
calm = paper | {"test_clips": 4000, "test_loss": 0.03,
                "table": {20: 91.0, 60: 94.0, 100: 95.8}}
expected = {"no_overfitting": "cannot be told", "no_decline": "cannot be told",
            "best_is_typical": "fails"}
assert own_numbers(calm) == expected, (
    "0.03 is less than twice 0.02, no epoch falls, "
    "and 94.9 is 1.5 below 96.4; two standard errors are 0.59")
early = paper | {"table": {20: 91.0, 40: 94.2}}
assert own_numbers(early)["best_is_typical"] == "cannot be told", (
    "no epoch of the second half is printed")
### BEGIN HIDDEN TESTS
_wide = paper | {"test_clips": 10_000, "test_loss": 0.04,
                 "table": {100: 95.0, 50: 80.0, 75: 94.0}}
assert own_numbers(_wide) == expected
_early = paper | {"table": {10: 70.0, 50: 60.0}, "test_clips": 10}
assert own_numbers(_early) == {"no_overfitting": "fails", "no_decline": "fails",
                               "best_is_typical": "cannot be told"}
_near = paper | {"table": {60: 96.0, 80: 96.2, 100: 96.4}, "train_loss": 0.3}
assert set(own_numbers(_near).values()) == {"cannot be told"}
### END HIDDEN TESTS

# %% [markdown]
# Hint: sort the epochs before you compare neighbours. One run may contradict a claim about itself.

# %% [markdown]
# ## 2 May it be compared? (thinking, 3 points)
#
# A result has a protocol: `split` (`"random"` or `"by source"`), `epoch` (`"best on test"`, `"last"` or `"validation"`) and `extra`
# (a set of extra training data). Write `differences(a, b)`: a dictionary with the keys of the protocol in which a and b
# differ. Its values say whose number the difference flatters: `"a"`, `"b"` or `"either"` where that cannot be said.
#
# A random split flatters, and so does an epoch that is best on the test set. Between `"last"` and `"validation"` it cannot be said.
# Extra data flatter the one that has all of the other's extra data and more; otherwise it cannot be said.


# %% nbgrader={"grade": false, "grade_id": "differences", "locked": false, "schema_version": 3, "solution": true, "task": false}
def differences(a, b):
    """{key: "a", "b" or "either"} for the keys in which the protocols differ."""
    ### BEGIN SOLUTION
    flattering = {"split": "random", "epoch": "best on test"}
    result = {}
    for key, value in flattering.items():
        if a[key] != b[key]:
            in_a, in_b = a[key] == value, b[key] == value
            result[key] = "a" if in_a else "b" if in_b else "either"
    of_a, of_b = a["extra"], b["extra"]
    if of_a != of_b:
        result["extra"] = "a" if of_a > of_b else "b" if of_b > of_a else "either"
    return result
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "differences-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
two_lane = {"split": "random", "epoch": "best on test", "extra": {"ImageNet"}}
rival = {"split": "by source", "epoch": "last", "extra": {"ImageNet", "Kinetics"}}
assert differences(two_lane, two_lane) == {}, "a result may be compared with itself"
assert differences(two_lane, rival) == {"split": "a", "epoch": "a", "extra": "b"}, (
    "split and epoch flatter TwoLane, the extra data its rival")
validated = two_lane | {"epoch": "validation"}
expected = {"split": "b", "epoch": "either", "extra": "a"}
assert differences(rival, validated) == expected, (
    "the other way round; of last and validation it cannot be said")
assert differences(two_lane, two_lane | {"extra": {"audio"}}) == {"extra": "either"}, (
    "neither has all of the other's extra data")
### BEGIN HIDDEN TESTS
assert differences(rival, two_lane) == {"split": "b", "epoch": "b", "extra": "a"}
assert differences(rival | {"epoch": "validation"}, rival) == {"epoch": "either"}
assert differences(rival | {"extra": {"flow"}}, rival) == {"extra": "either"}
assert differences(rival | {"extra": set()}, rival) == {"extra": "b"}
assert differences(rival | {"epoch": "best on test"}, rival) == {"epoch": "a"}
### END HIDDEN TESTS

# %% [markdown]
# Hint: `x > y` asks of two sets whether x holds all of y and more.

# %% [markdown]
# ## 3 The verdict on "better" (thinking, 3 points)
#
# Somebody repeats the comparison: `a` and `b` are the accuracies of two recipes, in per cent, one pair per seed. Every seed
# splits the same clips anew. Give the verdict on "a is better than b" by the rule of Chapter 1, with a margin of 0.6 points: at
# least five seeds, and the interval of [Chapter 10](../../../10_results.ipynb) with Nadeau and Bengio's correction,
#
# $$\bar d \pm t_{0.975,\,n-1}\; s_d \sqrt{\tfrac1n + \tfrac{N_\text{test}}{N_\text{train}}}$$
#
# Predict first: five seeds lead by 2.0, 2.4, 1.6, 2.2 and 1.8 points, a quarter of the clips is tested. The verdict? ______


# %% nbgrader={"grade": false, "grade_id": "better", "locked": false, "schema_version": 3, "solution": true, "task": false}
def better(a, b, test, train, tie=0.6):
    """ "holds", "fails" or "cannot be told"; test and train are numbers of clips."""
    ### BEGIN SOLUTION
    d = np.asarray(a, float) - np.asarray(b, float)  # (n,)
    n, spread = len(d), d.std(ddof=1) if len(d) > 1 else 0.0
    if n < 5 or spread < 1e-12:
        return "cannot be told"
    half = stats.t.ppf(0.975, n - 1) * spread * math.sqrt(1 / n + test / train)
    low, high = d.mean() - half, d.mean() + half
    if low > tie:
        return "holds"
    return "fails" if high < -tie or (low >= -tie and high <= tie) else "cannot be told"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "better-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
base = np.array([90.0, 91.0, 89.5, 90.5, 90.2])
lead = np.array([2.0, 2.4, 1.6, 2.2, 1.8])
assert better(base + lead, base, 250, 750) == "holds", "2.0 +- 0.64 is above the margin"
assert better((base + lead)[:4], base[:4], 250, 750) == "cannot be told", (
    "four seeds decide nothing")
assert better(base + 2, base, 250, 750) == "cannot be told", (
    "equal differences give no interval")
assert better(base, base + lead, 250, 750) == "fails", "-2.64 to -1.36: all below -0.6"
assert better(base + lead - 0.9, base, 250, 750) == "cannot be told", (
    "1.1 +- 0.64 reaches into the margin; uncorrected it would be 1.1 +- 0.39")
### BEGIN HIDDEN TESTS
assert better(base, base + lead, 250, 750) == "fails"
assert better(base + (lead - 2) / 3, base, 250, 750) == "fails"
assert better(base + 3 * lead - 4, base, 250, 750) == "cannot be told"
assert better(base + lead - 0.85, base, 1, 10_000_000) == "holds"
assert better(base + lead - 0.85, base, 250, 750) == "cannot be told"
assert better(base + lead, base, 250, 750, tie=1.5) == "cannot be told"
### END HIDDEN TESTS

# %% [markdown]
# Hint: compute low and high first, with the correction; then the rule has four lines.

# %% [markdown]
# ## 4 Predict, then move it: do more seeds help? (extend, 3 points)
#
# Recipe a leads by `lead` points, and the differences of the seeds have the standard deviation `sd`. Write `seeds_needed(lead, sd,
# overlap)`: the smallest number of seeds, at least 5 and at most 1,000, from which on the interval of exercise 3 would lie above
# 0.6 points if mean and sd were exactly these; None if 1,000 do not suffice. `overlap` is $N_\text{test} / N_\text{train}$, or 0
# if every seed had clips of its own.
#
# Before you move the slider, set `prediction`: a lead of 2 points, an sd of 1.5, a quarter of the clips tested. How many seeds
# (`None`: never)? Then set `seen` to what your function gives.

# %% nbgrader={"grade": false, "grade_id": "seeds-needed", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
prediction = 20  # any number from 5, or None: a wrong guess costs nothing


def half_width(n, sd, overlap):
    """Half of the corrected 95 % interval over n seeds."""
    return float(stats.t.ppf(0.975, n - 1)) * sd * math.sqrt(1 / n + overlap)


def seeds_needed(lead, sd, overlap, tie=0.6):
    """Fewest seeds, from 5 to 1,000, whose interval lies above `tie`, or None."""
    enough = (n for n in range(5, 1001) if lead - half_width(n, sd, overlap) > tie)
    return next(enough, None)


seen = seeds_needed(2, 1.5, 1 / 3)
### END SOLUTION


# %%
def draw(lead=2.0):
    with panel.drawing(7, 2.4) as figure:
        axes = figure.add_axes([0.22, 0.3, 0.75, 0.6])
        bars = {"clips of their own": 0, "the same clips": 1 / 3}
        for y, (name, overlap) in enumerate(bars.items()):
            n = seeds_needed(lead, 1.5, overlap)
            axes.barh([name], [min(n or 60, 60)], color="#0072B2" if n else "#BBBBBB")
            axes.text(1, y, f"{n} seeds" if n else "never", va="center",
                      color="white" if n else "black")
        axes.set(xlim=(0, 60), xlabel="seeds needed (sd 1.5 points)")
    return figure


panel.Panel(draw, {"lead": panel.slider("lead, points", 2.0, 0.7, 4, 0.1)})

# %% nbgrader={"grade": true, "grade_id": "seeds-needed-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert prediction is None or prediction >= 5, "write a prediction down first"
assert seeds_needed(10, 1, 0) == 5, "a huge lead still needs the rule's five seeds"
assert seeds_needed(1, 1.5, 0) == 57, "own clips: the interval shrinks without end"
assert seeds_needed(3, 1.5, 1 / 3) == 9, "same clips: the overlap never shrinks"
assert seen == seeds_needed(2, 1.5, 1 / 3), (
    "seen: what your function gives; a quarter tested is an overlap of 1/3")
### BEGIN HIDDEN TESTS
assert seeds_needed(2, 1.5, 0) == 7
assert seeds_needed(2, 1.5, 1 / 3) is None
assert seen is None
assert seeds_needed(3, 1.5, 1 / 3) == 9
assert seeds_needed(0.5, 1, 0) is None
### END HIDDEN TESTS

# %% [markdown]
# Hint: what happens to $1/n$ as n grows, and what to $N_\text{test}/N_\text{train}$? What else could narrow the interval?
