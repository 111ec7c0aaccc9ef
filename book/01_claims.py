# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1 The claims
#
# Paper, sections 1 and 4.3 · 30 minutes to read and run · downloads: none

# %% [markdown]
# **After this chapter you can**
#
# - turn a sentence of a paper into a test that could fail,
# - say how large chance is: for one accuracy on 3,330 clips, for a difference, for the best of 300 looks,
# - show a list of guesses that you wrote down before you saw any result.
#
# Before this: [Chapter 0](00_start_here.ipynb), which checks your machine.

# %% [markdown]
# ## The question
#
# **What would have to be measured to believe a claim of the paper, and what to drop it?**
#
# **Guess first.** The paper's two models reach 92.2 % and 90.7 % on 3,330 test clips. Suppose both were *equally good*:
# each clip is right with the same probability. How often would chance alone set them 1.5 points or more apart?
#
# in ______ of 100 repetitions

# %% [markdown]
# ## What the paper says
#
# Section 4.3 names four advantages over a plain CNN-LSTM, the *baseline* (the abstract has the first three): a) higher
# test accuracy, called state of the art, b) shorter training, 55 instead of 93 hours, c) about 2 GB less GPU memory, d) no
# over-fitting in 300 epochs. Section 4.4 adds that MaxPooling is crucial and that ReLU before BatchNorm is better than
# after it. Section 4.2 says that a larger batch is more accurate.
#
# ## What it does not say
#
# > **Not stated in the paper.** How many runs stand behind a number, the seed, an interval, a test of a difference, and
# > that the best of 300 epochs was chosen on the test part itself (its tables say "best"; there is no third part). We
# > take every printed number as one run. Alternatives: a mean over runs would make chance smaller.

# %%
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from ctxlstm import classroom, figures, paper, report
from ctxlstm.report import rules

plt.rcParams.update(figures.style())
rng = np.random.default_rng(0)

# %% [markdown]
# ## Step 1: list the claims
#
# A claim goes on the list if it says that something is the case, and a measurement could say otherwise. The package keeps
# the list in `ctxlstm.report.claims`; we call it the **ledger**. In the paper's own order it would be mixed; here accuracy comes
# first, then cost, then the parts.

# %%
claims = pd.DataFrame({"section": [claim.section for claim in report.claims.CLAIMS],
                       "claim": [claim.id for claim in report.claims.CLAIMS],
                       "it says": [claim.says for claim in report.claims.CLAIMS]})  # fmt: skip
LEFT = [{"selector": "th, td", "props": "text-align: left"}]
claims.style.hide(axis="index").set_table_styles(LEFT)

# %% [markdown]
# Not on the list, because nothing that one could measure here would contradict them: that the model "simulates" the human
# cortex (sections 5 and 6), that it is "robust", where no meaning beyond stable accuracy and no over-fitting is given
# (these two are on the list), and that information loss explains why deeper is better (section 3.3). What *can* be
# measured about information loss, [Chapter 5](05_information_loss.ipynb) measures.

# %% [markdown]
# ## Step 2: from a sentence to a test
#
# A test needs four things: a **quantity**, a **comparison**, the **data and setting**, and a **rule** that says which
# outcome counts for which verdict. The rule must be written down before the result is known. Here is one claim in full.


# %%
def wrapped(label, text):
    """A paragraph with a label, 100 characters wide."""
    return textwrap.fill(text, 100, initial_indent=f"{label:<9}", subsequent_indent=" " * 9)


def show_claim(claim):
    """What a claim says, how it is tested, the rule, and the command whose run could decide it."""
    for label in ("says", "test", "rule", "command"):
        print(wrapped(label, getattr(claim, label)), end="\n\n")


by_id = {claim.id: claim for claim in report.claims.CLAIMS}
show_claim(by_id["accuracy_above_baseline"])

# %% [markdown]
# There are three outcomes, not two: **holds**, **fails**, **cannot be told yet**. The rule for a difference looks at a
# **95 % interval**: a range computed from runs with different seeds, by a recipe that catches the true difference in 95 of
# 100 repetitions. With $[a, b]$ the interval of "A minus B" in **points** (from 90 % to 91 % is one point), and $\tau$ a
# difference too small to matter (0.6, half of the smallest gain in accuracy that the paper claims for a part, 91.0 to 92.2):
#
# $$\text{A is better:}\quad \begin{cases}\text{holds} & a > \tau\\
# \text{fails} & b < -\tau \ \text{ or }\ -\tau \le a,\ b \le \tau\\
# \text{cannot be told} & \text{else}\end{cases}$$
#
# The margin is the same on both sides: swap A and B, and "holds" becomes "fails". The second part of "fails" says:
# where we know that there is practically no difference, "better" is wrong too.


# %%
def verdict(low, high, tie=0.6):
    """1: holds, -1: fails, 0: cannot be told; low and high are the ends of the interval in points."""
    if low > tie:
        return 1
    if high < -tie or (low >= -tie and high <= tie):
        return -1
    return 0


# %%
examples = [(0.9, 2.6), (-2.4, -0.8), (-0.4, 0.5), (-1.2, 2.2)]
colours = {1: "#0072B2", -1: "#D55E00", 0: figures.GREY}
figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
axes.axvspan(-0.6, 0.6, color="#EEEEEE", label="no difference that matters")
axes.axvline(0, color="#444444", linewidth=1)
for row, (low, high) in enumerate(examples):
    sign = verdict(low, high)
    axes.plot([low, high], [row, row], "|-", color=colours[sign], linewidth=3, markersize=12)
    axes.text(3.2, row, report.claims.STATUSES[sign], color=colours[sign], va="center")
axes.set(
    title='"A is better than B"', xlabel="accuracy of A minus accuracy of B (points)", ylabel="made-up case"
)
axes.set(yticks=range(4), yticklabels=range(1, 5), xlim=(-3, 5.4), ylim=(3.6, -0.6))
axes.legend(loc="upper left", fontsize=9)
plt.show()

# %% [markdown]
# What you see: four intervals and their verdicts. Case 3 fails although it holds zero, because it is so narrow; case 4
# cannot be told, because it is wide. More runs make an interval narrower: case 4 is a reason to run more, case 3 is not.

# %% [markdown]
# ## Step 3: how large is chance for one accuracy?
#
# Let every test clip be right with probability $p$, one clip independent of the other. The share of right ones among $n$
# clips then has the standard error
#
# $$\mathrm{SE} = \sqrt{p\,(1-p)/n}.$$


# %%
def standard_error(p, n=3330):
    """Binomial standard error of an accuracy p on n clips, in points."""
    return 100 * np.sqrt(p * (1 - p) / n)


for name in ("best_top1", "best_top1_no_pool", "best_top1_baseline"):
    value = paper.RESULTS[name].value
    print(f"{name:<20}{value} %   SE {standard_error(value / 100):.2f} points")

# %% [markdown]
# Half a point: a result on 3,330 clips is known to about $\pm 1$ point (two standard errors) *if clips were independent*.
# They are not. Clips of one source video tend to be right or wrong together, so the true uncertainty is larger. And
# this is the chance of drawing test clips only: another seed of the same training is not in it.

# %% [markdown]
# ## Step 4: what can a difference of 1.5 points mean?
#
# Your guess from above, played through: two models with the same $p = 0.9145$, the mean of 92.2 and 90.7, 100,000 times.

# %%
p = (paper.RESULTS["best_top1"].value + paper.RESULTS["best_top1_baseline"].value) / 200
a, b = rng.binomial(3330, p, size=(2, 100_000)) / 3330  # two accuracies, (100000,) each
difference = 100 * (a - b)
for gap, pair in (
    (1.5, "Context-LSTM and baseline"),
    (1.2, "with and without MaxPool"),
    (0.3, "no MaxPool and baseline"),
):
    share = np.mean(np.abs(difference) >= gap - 1e-9)
    print(f"{gap} points or more apart: {share:5.1%} of the repetitions  (the paper's {pair})")

# %%
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
bins = 100 / 3330 * (np.arange(-82, 83, 4) + 0.5)  # four clips wide
axes.hist(difference, bins=bins.tolist(), color="#BBBBBB", density=True, label="equally good models")
for points, height, name in ((1.5, 0.45, "Context-LSTM"), (0.3, 0.62, "no MaxPool")):
    axes.axvline(points, color="#0072B2", linestyle="--")
    axes.text(points + 0.05, height, f"the paper: {name}\nminus baseline", fontsize=9, color="#0072B2")
axes.set(
    title="Chance alone, 3,330 clips",
    xlabel="difference of two accuracies (points)",
    ylabel="share per point",
    ylim=(0, 0.75),
)
axes.legend(loc="upper left", fontsize=9)
plt.show()

# %% [markdown]
# What you see: 1.5 points lie in the tail. Under these assumptions such a gap is rare, so it would count as evidence for
# a difference; 0.3 points is nothing. Two things push in opposite directions. Both models see the *same* clips, which
# makes chance smaller than drawn. Siblings that fail together, and one seed a model, make it larger.

# %% [markdown]
# ## Step 5: the best of 300 looks
#
# The paper's 92.2 % is the best of 300 epochs, looked up on the test part. What does looking 300 times add? Take the
# paper's own late epochs of Table 1 as the level, and their spread as the jitter from epoch to epoch.

# %%
cells = paper.table1()
late = cells[cells["epoch"] >= 180].groupby("model")["top1"].agg(["mean", "std"])
best = cells[cells["epoch"].isna() & (cells["model"] != "")].set_index("model")["top1"]
late["best"], late["best - mean"] = best, best - late["mean"]
late.round(2)

# %% [markdown]
# Now a model that **learns nothing from one epoch to the next**: most test clips are always right or always wrong, and $w$
# of them waver, right in three of four epochs by lot. Its accuracy has the standard deviation
# $\sqrt{\frac{3}{16}w}\,/\,3330$; choose $w$ to give the jitter that the paper's row has. (In the copy of the paper that we
# work from, the cells of Context-LSTM's row are out of order; these late ones could be put back with high confidence.)


# %%
def best_of(looks, level, jitter, repetitions=2000):
    """Highest of `looks` accuracies of a model that stays at `level`, with that jitter, both in per cent."""
    waver = round(16 / 3 * (jitter / 100 * 3330) ** 2)  # w clips that change by lot
    assert waver / 4 <= (1 - level / 100) * 3330, "no more wrong clips than the level allows"
    right = rng.binomial(waver, 0.75, size=(repetitions, looks))  # of the wavering ones, (repetitions, looks)
    return (level + 100 * (right - 0.75 * waver) / 3330).max(axis=1)  # (repetitions,)


for model, row in late.iterrows():
    found = best_of(300, row["mean"], row["std"])
    low, high = np.quantile(found, [0.025, 0.975])
    told = f"best of 300 looks {low:.1f} to {high:.1f} %; the paper: {row['best']} %"
    print(f"{model}: level {row['mean']:.2f} %, {told}")

# %%
looks = [1, 3, 10, 30, 100, 300]
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
for model, row in late.iterrows():
    found = np.array([best_of(n, row["mean"], row["std"]) for n in looks])  # (6, repetitions)
    colour = figures.HEAD_COLOURS[model]
    axes.fill_between(looks, *np.quantile(found, [0.025, 0.975], axis=1), color=colour, alpha=0.15)
    axes.plot(looks, found.mean(axis=1), "o-", color=colour, label=f"{model}, simulated")
    axes.plot(300, row["best"], "*", color=colour, markersize=15, label=f"{model}, the paper's best")
axes.set(title="The best of many looks grows although nothing is learned", ylabel="best test top-1 (%)")
axes.set(xscale="log", xlabel="looks at the test part (epochs)", ylim=(88, 94.5))
axes.set_xticks(looks, map(str, looks), minor=False)
axes.legend(fontsize=9, ncols=2, loc="upper left")
plt.show()

# %% [markdown]
# What you see: each curve rises by about a point although the model stands still, and Context-LSTM's star lies in its
# band: 300 looks at a constant model of that jitter suffice to print 92.2 %. The baseline's star lies above its band; its
# five late cells may understate its jitter. Note what the levels say too: in the late epochs the two models are *further*
# apart than their best values are. Choosing the best can hide a difference as well as make one. The looks here are
# independent; real epochs resemble their neighbours, so the real gain of looking is smaller than drawn.

# %% [markdown]
# ## Try it
#
# How far apart must two accuracies be before chance is a poor explanation? Move the sliders.


# %%
def chance_figure(clips=3330, accuracy=91.0, gap=1.5):
    """How often two equally good models differ by `gap` points or more on `clips` test clips."""
    spread = np.sqrt(2) * standard_error(accuracy / 100, clips)  # of the difference, points
    x = np.linspace(-8, 8, 801)
    density = stats.norm.pdf(x, scale=spread)
    share = 2 * stats.norm.sf(gap, scale=spread)
    _, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    axes.plot(x, density, color="#444444", label="equally good models")
    axes.fill_between(x, density, where=np.abs(x) >= gap, color="#D55E00", label=f"{share:.1%} of the cases")
    axes.set(xlabel="difference of two accuracies (points)", ylabel="share per point")
    axes.set_title(f"{clips} clips, accuracy {accuracy} %: a gap of {gap} points or more", fontsize=11)
    axes.legend(loc="upper right", fontsize=9)
    plt.show()


# %%
import ipywidgets

sliders = {
    "clips": ipywidgets.IntSlider(value=3330, min=75, max=4000, step=5, description="test clips"),
    "accuracy": ipywidgets.FloatSlider(value=91, min=50, max=99, step=0.5, description="accuracy %"),
    "gap": ipywidgets.FloatSlider(value=1.5, min=0, max=8, step=0.1, description="gap, points"),
}
ipywidgets.interactive(chance_figure, **sliders)

# %% [markdown]
# Without a kernel: the same for a test part of 225 clips, as the stick-figure studies of this book have it.

# %%
chance_figure(clips=225, gap=1.5)

# %% [markdown]
# **Question.** With 225 test clips, which gap is as rare as 1.5 points are with 3,330? And what does that say about the
# small studies in this book? (They use several seeds, and still cannot tell small differences.)

# %% [markdown]
# ## Step 6: your guesses
#
# Write **holds**, **fails** or **cannot be told yet** behind each claim: what do you expect the records of *this book* to
# show? Run the cell, and keep a copy: [Chapter 13](13_verdict.ipynb) asks you to paste it. An empty one counts as no guess.

# %%
guesses = {
    "accuracy_above_baseline": "",
    "best_92_2": "",
    "stable_after_200": "",
    "stable_after_150": "",
    "no_overfitting": "",
    "no_late_decline": "",
    "rises_faster": "",
    "steadier": "",
    "training_time": "",
    "memory": "",
    "more_layers_yet_faster": "",
    "max_pool_accuracy": "",
    "max_pool_time": "",
    "max_pool_memory": "",
    "relu_bn_accuracy": "",
    "relu_bn_time": "",
    "handover": "",
    "larger_batch": "",
    "state_of_the_art": "",
    "needs_time": "",
    "split_measures_actions": "",
    "whole_validation_set": "",
}

# %% [markdown]
# The ledger with all rows open, your guesses beside them.

# %%
assert list(guesses) == list(by_id), "keep the names as they are"
unknown = set(guesses.values()) - {*report.claims.STATUSES.values(), ""}
assert not unknown, f"write {', '.join(report.claims.STATUSES.values())}, not {', '.join(unknown)}"
board = claims[["claim", "section"]].assign(guess=list(guesses.values()), verdict="open")
print(f"{sum(map(bool, guesses.values()))} of {len(guesses)} guesses written down")
board.style.hide(axis="index").set_table_styles(LEFT)

# %% [markdown]
# ## Check
#
# Our rule against the package's, on many made-up intervals; our standard error against SciPy; and the theory of Step 4
# against its simulation.

# %%
for low, width in rng.uniform([-3, 0], [3, 4], size=(2000, 2)):
    assert verdict(low, low + width) == rules.direction(low, low + width, rules.TIE)
np.testing.assert_allclose(standard_error(0.9), 100 * stats.binom.std(3330, 0.9) / 3330)
np.testing.assert_allclose(difference.std(), np.sqrt(2) * standard_error(p), rtol=0.02)
assert report.claims.judge(pd.DataFrame(), pd.DataFrame())["claim"].tolist() == list(guesses)
print("our rule and our formula agree with the package and with SciPy")

# %% [markdown]
# ## Common mistakes
#
# 1. **"Not significant" read as "equal".** A wide interval that holds zero says nothing. Equal is a claim of its own and
#    needs a narrow interval.
# 2. **The rule after the result.** A limit that is chosen when the number is known can be made to fit. The rules that judge
#    the paper's own table and log have this weakness: both were in print before our rules. The one for over-fitting has it
#    most, because it needs limits that we had to choose. Its text says so.
# 3. **Only one kind of chance.** The binomial formula knows test clips. It does not know seeds, siblings, or how often
#    somebody looked.

# %% [markdown]
# ## Exercises
#
# This chapter's exercise is the table of guesses above. Exercises that are graded start with
# [Chapter 2](02_related_work.ipynb).

# %% [markdown]
# ## Summary
#
# - A claim becomes a test through a quantity, a comparison, data and a rule, written before the result; "cannot be told"
#   is an honest third outcome.
# - On 3,330 clips one accuracy is uncertain by about $\pm 1$ point, equally good models are rarely 1.5 points apart, and
#   the best of 300 looks adds about a point to a model that stands still.
# - Your guesses are written down.
#
# Where we differ from the paper: it gives single numbers; the ledger asks for at least five seeds and an interval.
#
# **Next:** [Chapter 2](02_related_work.ipynb) asks which published numbers 92.2 % may be compared with.

# %%
print(classroom.versions())
