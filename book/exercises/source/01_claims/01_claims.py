# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 1: the claims
#
# To [Chapter 1](../../../01_claims.ipynb). Four exercises, 11 points. Replace `# YOUR CODE HERE` and the line below it, then
# run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the sheet is
# graded. Accuracies are in per cent, differences in points.

# %%
# %matplotlib inline
import math

import numpy as np
from scipy import stats

from ctxlstm.widgets import panel

# %% [markdown]
# ## 1 A rule for "equally good" (basic, 2 points)
#
# Chapter 1 has a rule for "A is better". Write the one for "A and B are equally good". You are given the interval from `low` to
# `high` of A minus B, and the margin `tie`: a difference of at most `tie`, either way, is too small to matter. Return `"holds"`,
# `"fails"` or `"cannot be told"`. Without an interval `low` and `high` are NaN.
#
# Predict first: which intervals make *both* claims, "A is better" and "A and B are equally good", fail? ______


# %% nbgrader={"grade": false, "grade_id": "equal", "locked": false, "schema_version": 3, "solution": true, "task": false}
def equal(low, high, tie=0.6):
    """Verdict on "A and B are equally good" from the interval of A minus B."""
    ### BEGIN SOLUTION
    if -tie <= low and high <= tie:
        return "holds"
    return "fails" if low > tie or high < -tie else "cannot be told"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "equal-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert equal(-0.2, 0.4) == "holds", "no difference in this interval matters"
assert equal(0.9, 2.1) == "fails", "every difference in this interval matters"
assert equal(-2.0, -0.9) == "fails", "and so does every one in this: B is better"
assert equal(-3.0, 4.0) == "cannot be told", (
    "an interval that contains zero may contain large differences too")
### BEGIN HIDDEN TESTS
assert equal(-2.1, -0.9) == "fails"
assert equal(0.1, 0.8) == "cannot be told"
assert equal(-0.6, 0.6) == "holds"
assert equal(math.nan, math.nan) == "cannot be told"
assert equal(0.9, 2.1, tie=3) == "holds"
assert equal(0.61, 5) == "fails"
### END HIDDEN TESTS

# %% [markdown]
# Hint: three cases, as in the chapter. Comparisons with NaN are False.

# %% [markdown]
# ## 2 What printed numbers can decide (thinking, 3 points)
#
# A paper says: "after epoch `after`, the accuracy stays above `level`". It trains for `epochs` epochs and prints some of the
# accuracies, as `cells`, a dictionary from epoch to accuracy. Which verdict do the printed numbers allow?
#
# Predict first: can a table of every 30th epoch make this claim hold? ______


# %% nbgrader={"grade": false, "grade_id": "stays-above", "locked": false, "schema_version": 3, "solution": true, "task": false}
def stays_above(cells, after, level, epochs):
    """Verdict on "above `level` at every epoch from after + 1 to epochs".

    One of "holds", "fails" and "cannot be told".
    """
    ### BEGIN SOLUTION
    late = {epoch: top1 for epoch, top1 in cells.items() if after < epoch <= epochs}
    if any(top1 <= level for top1 in late.values()):
        return "fails"
    return "holds" if len(late) == epochs - after else "cannot be told"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "stays-above-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
printed = {2: 80.0, 4: 92.0, 6: 91.5, 8: 93.0}
assert stays_above(printed, 4, 92, 8) == "fails", "epoch 6 has 91.5 %: one is enough"
assert stays_above(printed, 2, 91, 8) == "cannot be told", (
    "nobody knows what happened at epochs 3, 5 and 7")
assert stays_above({5: 93.0, 6: 92.5}, 4, 92, 6) == "holds", (
    "both late epochs are printed and above 92 %")
assert stays_above({5: 93.0, 6: 92.0}, 4, 92, 6) == "fails", "92 % is not above 92 %"
### BEGIN HIDDEN TESTS
assert stays_above({8: 93, 7: 93, 6: 92, 5: 94, 1: 10}, 4, 91, 8) == "holds"
assert stays_above({8: 93, 7: 93, 6: 92, 5: 94, 4: 10}, 4, 91, 8) == "holds"
assert stays_above({8: 93, 7: 91, 6: 92, 5: 94}, 4, 91, 8) == "fails"
assert stays_above({}, 4, 91, 8) == "cannot be told"
assert stays_above({9: 50.0, 8: 93, 7: 93, 6: 92, 5: 94}, 4, 91, 8) == "holds"
_table = {30: 85.3, 60: 87.8, 90: 89.3, 120: 90.4, 150: 90.8,
          180: 90.6, 210: 91.0, 240: 91.6, 270: 91.2, 300: 91.5}
assert stays_above(_table, 150, 91, 300) == "fails"
assert stays_above(_table, 200, 90.9, 300) == "cannot be told"
### END HIDDEN TESTS

# %% [markdown]
# Hint: printed numbers can contradict such a claim. When can they confirm it?

# %% [markdown]
# ## 3 The fair sentence (thinking, 3 points)
#
# Write a function that turns a result into a sentence that leaves nothing out. `result` has the keys `system`, `other` (the
# system it is compared with), `top1`, `split`, `epoch` (how it was chosen), `runs` (how many), and `low` and `high`, the
# interval of system minus other in points, or None where there is none. The sentence names system, top1 with one decimal and
# `%`, split, epoch and the number of runs (`1 run`, `5 runs`), and ends in exactly one of
#
# - `better than OTHER.`
# - `not better than OTHER.`
# - `whether it is better than OTHER cannot be told.`
#
# by Chapter 1's rule for "better" with a margin of 0.6 points. The rule looks at the interval alone: `runs` is named and does
# not affect the verdict. For example: `Net reaches 92.2 % on a random split (best of 300 epochs, 1 run); whether it is better than
# Base cannot be told.`


# %% nbgrader={"grade": false, "grade_id": "fair-sentence", "locked": false, "schema_version": 3, "solution": true, "task": false}
def fair_sentence(result):
    """One sentence, as described above."""
    ### BEGIN SOLUTION
    low, high, other = result["low"], result["high"], result["other"]
    if low is not None and low > 0.6:
        end = f"it is better than {other}."
    elif low is not None and (high < -0.6 or (low >= -0.6 and high <= 0.6)):
        end = f"it is not better than {other}."
    else:
        end = f"whether it is better than {other} cannot be told."
    start = f"{result['system']} reaches {result['top1']:.1f} % on {result['split']}"
    runs = f"{result['runs']} run{'s' * (result['runs'] > 1)}"
    return f"{start} ({result['epoch']}, {runs}); {end}"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "fair-sentence-test", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
single = dict(system="Net", other="Base", top1=92.2, split="a random split",
              epoch="best of 300 epochs", runs=1)
text = fair_sentence(single | dict(low=None, high=None))
for part in ("Net", "92.2 %", "a random split", "best of 300 epochs", "1 run"):
    assert part in text, f"the sentence leaves out {part!r}"
text = fair_sentence(single | dict(runs=5, epoch="last epoch", low=0.9, high=2.0))
assert "5 runs" in text, "the number of runs: '1 run', '5 runs'"
### BEGIN HIDDEN TESTS
_other = dict(system="A", other="B", top1=71.04, split="the official splits",
              epoch="chosen by validation", runs=7)
for _low, _high in ((0.7, 1.2), (-0.5, 0.5), (-3.0, -0.7), (-3.0, 3.0), (0.5, 3.0)):
    _text = fair_sentence(_other | dict(low=_low, high=_high))
    for _part in ("A", "71.0 %", _other["split"], _other["epoch"], "7 runs"):
        assert _part in _text
assert "2 runs" in fair_sentence(_other | dict(low=0.7, high=1.2, runs=2))
### END HIDDEN TESTS

# %% nbgrader={"grade": true, "grade_id": "fair-sentence-verdict-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
text = fair_sentence(single | dict(low=None, high=None))
assert text.endswith("whether it is better than Base cannot be told."), (
    "one run each has no interval")
many = single | dict(runs=5, epoch="last epoch")
text = fair_sentence(many | dict(low=0.9, high=2.0))
assert text.endswith(" better than Base."), "all of it lies above the margin"
assert "not better" not in text, "better and not better exclude one another"
text = fair_sentence(many | dict(low=-0.4, high=0.5))
assert text.endswith(" not better than Base."), (
    "no difference that matters is not better")
### BEGIN HIDDEN TESTS
_other = single | dict(system="A", other="B", runs=7)
_no, _open = "not better than B.", "whether it is better than B cannot be told."
for _low, _high, _end in ((0.7, 1.2, "better than B."), (-0.5, 0.5, _no),
                          (-3.0, -0.7, _no), (-3.0, 3.0, _open), (0.5, 3.0, _open)):
    _text = fair_sentence(_other | dict(low=_low, high=_high))
    assert _text.endswith(_end)
    assert ("not better" in _text) == _end.startswith("not")
    assert ("cannot be told" in _text) == ("cannot" in _end)
_two = fair_sentence(_other | dict(low=0.7, high=1.2, runs=2))
assert _two.endswith(" better than B.")
assert "not better" not in _two
### END HIDDEN TESTS

# %% [markdown]
# Hint: Chapter 1, Step 3. "Fails" has two parts, and a missing interval is neither of them.

# %% [markdown]
# ## 4 Predict, then move it: chance in small test sets (extend, 3 points)
#
# Two models are right with the same probability $p$ on `clips` test clips each, all clips independent. The difference of their
# accuracies is then nearly normal, with mean 0 and standard deviation $100\sqrt{2p(1-p)/\text{clips}}$ points. Write
# `chance(gap, clips, p=0.9145)`: the probability (0 to 1) that they lie `gap` points or more apart, either way.
#
# Chapter 1 says which gap is as rare with 225 clips as 1.5 points are with 3,330: 5.8 points. Before you move the slider, set
# `prediction`: which gap is it with 500 clips? Then find it with the slider, and set `seen` to it (in points, right to 0.2).

# %% nbgrader={"grade": false, "grade_id": "chance", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
prediction = 3.0  # any number above 0: a wrong guess costs nothing


def chance(gap, clips, p=0.9145):
    """Probability that two equally good models lie `gap` points or more apart."""
    return float(2 * stats.norm.sf(gap / (100 * math.sqrt(2 * p * (1 - p) / clips))))


seen = 1.5 * math.sqrt(3330 / 500)
### END SOLUTION


# %%
def draw(gap=1.5):
    gaps = np.linspace(0, 10, 101)
    with panel.drawing(7, 2.6) as figure:
        axes = figure.add_axes([0.12, 0.25, 0.85, 0.65])
        for clips, colour in ((3330, "#0072B2"), (500, "#D55E00")):
            axes.plot(gaps, [100 * chance(g, clips) for g in gaps], color=colour)
            axes.plot(gap, 100 * chance(gap, clips), "o", color=colour)
            axes.text(6, 55 if clips == 500 else 35,
                      f"{clips} clips: {100 * chance(gap, clips):.1f} %", color=colour)
        axes.set(xlabel="gap (points)", ylabel="chance alone (%)", ylim=(0, 100))
    return figure


panel.Panel(draw, {"gap": panel.slider("gap, points", 1.5, 0.1, 10, 0.1)})

# %% nbgrader={"grade": true, "grade_id": "chance-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert prediction > 0, "write a prediction down first"
assert abs(chance(1.5, 3330) - 0.0286) < 0.0005, (
    "the paper's gap, with p = 0.9145 by default: about 3 in 100")
assert abs(chance(3, 500, 0.8) - 0.2357) < 0.0005, (
    "fewer clips and a smaller p leave more to chance")
assert chance(0, 100, 0.9) == 1, "two models are always at least 0 points apart"
assert abs(chance(seen, 500) - chance(1.5, 3330)) < 0.01, (
    "seen: the gap at which the orange number is what the blue one is at 1.5")
### BEGIN HIDDEN TESTS
for _gap, _clips, _p in ((5, 225, 0.8), (0.3, 3330, 0.9), (2, 50, 0.5)):
    _sd = 100 * np.sqrt(2 * _p * (1 - _p) / _clips)
    assert abs(chance(_gap, _clips, _p) - 2 * stats.norm.sf(_gap / _sd)) < 1e-9
assert abs(seen - 3.87) < 0.25
### END HIDDEN TESTS

# %% [markdown]
# Hint: `stats.norm.sf(z)` is the chance of lying more than z standard deviations above the mean; there are two sides. What does
# `seen` say about one run of each model on 500 clips?
