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
# Paper: sections 1 and 4.3, Tables 1 and 2 | 30 minutes to read and play, half a minute to run | downloads: none
#
# **The question.** What would have to be measured to believe or drop each claim?

# %% [markdown]
# **After this chapter you can**
#
# - turn a sentence of a paper into a test that could fail,
# - say how much chance can do on 3,330 clips, to one accuracy and to a difference,
# - show guesses that you wrote down before you saw most results.
#
# Before this: [Chapter 0](00_start_here.ipynb). [The statistics primer](15_statistics.ipynb) explains intervals and tests.
#
# **Guess first.** The paper's two models reach 92.2 % and 90.7 % on 3,330 test clips. Suppose both were *equally good*: each
# clip is right with the same probability. How often would chance alone set them 1.5 points or more apart? (From 90 % to 91 %
# is one **point**.)
#
# in ______ of 100 repetitions

# %% [markdown]
# ## What the paper says
#
# Section 4.3 names four advantages over a plain CNN-LSTM, the *baseline*: a) higher test accuracy, called state of the art, b)
# shorter training, 55 instead of 93 hours, c) about 2 GB less GPU memory, d) no overfitting in 300 epochs. Section 4.4 adds
# that MaxPooling is crucial and that ReLU before BatchNorm is better than after it. Section 4.2 says that a larger batch
# gives a higher accuracy.
#
# ## What it does not say
#
# > **Not stated in the paper.** How many runs stand behind a number, the seed, an interval, and that the best of 300 epochs was
# > chosen on the test set itself (its tables say "best", and there is no third set). We take every printed number as one run.

# %%
import textwrap

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy import stats

from ctxlstm import classroom, figures, paper, report
from ctxlstm.report import rules

plt.rcParams.update(figures.style())
rng = np.random.default_rng(0)

# %% [markdown]
# ## Step 1: the paper's numbers
#
# Table 1 of the paper: top-1 accuracy on the test set in per cent, at every 30th epoch and at the best of all 300. Below it,
# Table 2.

# %%
cells = paper.table1()
columns = [*paper.EPOCHS, "best"]
epoch = cells["epoch"].astype(object).where(cells["epoch"].notna(), "best")
table = cells.assign(epoch=epoch).pivot(index="row", columns="epoch", values="top1")
table.loc[cells["row"].unique(), columns].style.format(precision=1, na_rep="-")

# %%
paper.table2().drop(columns="status").style.hide(axis="index").format(precision=1)

# %% [markdown]
# In the copy of the paper that we work from, the cells of the row "ours" are out of order. From epoch 180 on their place is
# nearly certain; before, the five values are certain but their order is ours, from low to high. The authors measured "ours" and
# ResNet-50-LSTM, and quote the other two rows ([Chapter 2](02_related_work.ipynb) reads them again).
#
# ## Step 2: list the claims
#
# A claim goes on the list if a measurement could contradict it. The package keeps the list, the **ledger**, in
# `ctxlstm.report.claims`. A claim about cost counts as two: is training cheaper, and can the head be the cause?

# %%
claims = pd.DataFrame({"section": [claim.section for claim in report.claims.CLAIMS],
                       "claim": [claim.id for claim in report.claims.CLAIMS],
                       "it says": [claim.says for claim in report.claims.CLAIMS]})
LEFT = [{"selector": "th, td", "props": "text-align: left"}]
claims.style.hide(axis="index").set_table_styles(LEFT)

# %% [markdown]
# Not on the list: that the model "simulates" the human cortex (sections 5 and 6), and that information loss explains why
# deeper is better (section 3.3; [Chapter 5](05_information_loss.ipynb) measures what can be). Nothing here could contradict
# them. "Robust" in the paper means stable accuracy and no overfitting, which are on the list.
#
# ## Step 3: from a sentence to a test
#
# A test needs four things: a **quantity**, a **comparison**, the **data and setting**, and a **rule** that says which outcome
# counts for which verdict, written down before the result is known. Here is one claim in full;
# [Chapter 13](13_verdict.ipynb) has them all.


# %%
def wrapped(label, text):
    """A paragraph with a label, 100 characters wide."""
    return textwrap.fill(text, 100, initial_indent=f"{label:<9}",
                         subsequent_indent=" " * 9)


def show_claim(claim):
    """What a claim says, its test, its rule, and the command that could decide it."""
    for label in ("says", "test", "rule", "command"):
        print(wrapped(label, getattr(claim, label)), end="\n\n")


by_id = {claim.id: claim for claim in report.claims.CLAIMS}
show_claim(by_id["accuracy_above_baseline"])

# %% [markdown]
# There are three outcomes, not two: **holds**, **fails**, **cannot be told yet**. The rule looks at a 95 % interval
# ([primer](15_statistics.ipynb)) of the difference "A minus B" over runs with different seeds. Let $[a, b]$ be this interval in
# points, and $\tau$ a difference too small to matter: 0.6, half of the smallest gain that the paper claims for a part (91.0 to
# 92.2).
#
# $$\text{A is better:}\quad \begin{cases}\text{holds} & a > \tau\\
# \text{fails} & b < -\tau \ \text{ or }\ -\tau \le a,\ b \le \tau\\
# \text{cannot be told} & \text{else}\end{cases}$$
#
# The margin is the same on both sides: swap A and B, and "holds" becomes "fails". Where we know that there is practically no
# difference, "better" fails too.


# %%
def verdict(low, high, tie=0.6):
    """1: holds, -1: fails, 0: cannot be told; the interval is [low, high] in points."""
    if low > tie:
        return 1
    if high < -tie or (low >= -tie and high <= tie):
        return -1
    return 0


# %% tags=["hide-input"]
examples = [(0.9, 2.6), (-2.4, -0.8), (-0.4, 0.5), (-1.2, 2.2)]
colours = {1: report.figures.RIGHT, -1: report.figures.WRONG, 0: figures.GREY}
figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
axes.axvspan(-0.6, 0.6, color="#EEEEEE", label="no difference that matters")
axes.axvline(0, color="#444444", linewidth=1)
for row, (low, high) in enumerate(examples):
    sign = verdict(low, high)
    axes.plot([low, high], [row, row], "|-", color=colours[sign],
              linewidth=3, markersize=12)
    axes.text(3.2, row, report.claims.STATUSES[sign], color=colours[sign], va="center")
axes.set(title='"A is better than B"', ylabel="made-up case")
axes.set(xlabel="accuracy of A minus accuracy of B (points)")
axes.set(yticks=range(4), yticklabels=range(1, 5), xlim=(-3, 5.4), ylim=(3.6, -0.6))
axes.legend(loc="upper left", fontsize=9)
plt.show()

# %% [markdown]
# *What you see:* four intervals and their verdicts. Case 3 fails although it contains zero, because it is narrow; case 4 cannot
# be told, because it is wide. More runs make an interval narrower: case 4 is a reason to run more, case 3 is not.

# %% [markdown]
# ## Step 4: how much can chance do?
#
# Let every test clip be right with probability $p$, independently of the others. The accuracy on $n$ clips then has the
# standard error $\mathrm{SE} = \sqrt{p\,(1-p)/n}$.


# %%
def standard_error(p, n=3330):
    """Binomial standard error of an accuracy p on n clips, in points."""
    return 100 * np.sqrt(p * (1 - p) / n)


for name in ("best_top1", "best_top1_no_pool", "best_top1_baseline"):
    value = paper.RESULTS[name].value
    print(f"{name:<20}{value} %   SE {standard_error(value / 100):.2f} points")

# %% [markdown]
# Half a point: one accuracy is known to about ±1 point (two standard errors). And a difference? Your guess, simulated:
# two models with the same $p = 0.9145$, the mean of 92.2 and 90.7, 100,000 times.

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
    print(f"{gap} points or more apart: {share:5.1%} of the repetitions  "
          f"(the paper's {pair})")

# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
bins = 100 / 3330 * (np.arange(-82, 83, 4) + 0.5)  # four clips wide
axes.hist(difference, bins=bins.tolist(), color="#BBBBBB", density=True,
          label="equally good models")
axes.axvline(-1.5, color="#0072B2", linestyle=":")  # as far apart, the other way round
for points, height, name in ((1.5, 0.45, "Context-LSTM"), (0.3, 0.62, "no MaxPool")):
    axes.axvline(points, color="#0072B2", linestyle="--")
    axes.text(points + 0.05, height, f"the paper: {name}\nminus baseline",
              fontsize=9, color="#0072B2")
axes.set(title="Chance alone, 3,330 clips",
         xlabel="difference of two accuracies (points)",
         ylabel="share per point", ylim=(0, 0.75))
axes.legend(loc="upper left", fontsize=9)
plt.show()

# %% [markdown]
# *What you see:* by chance alone a gap of 1.5 points or more, either way, comes up in about 3 of 100 repetitions, so it would
# count as evidence for a difference; 0.3 points is nothing. The assumptions push in opposite directions. Both models see the
# *same* clips, which makes chance smaller than drawn. Siblings that fail together, and one seed per model, make it larger.

# %% [markdown]
# ## Step 5: what the late epochs can tell us
#
# 92.2 % is also the best of 300 epochs, looked up on the test set; [Chapter 9](09_training.ipynb) measures what choosing adds.
# Does Table 1 say how much it adds here? That depends on the jitter from epoch to epoch, and five late cells are all we have.

# %%
late = cells[cells["epoch"] >= 180].groupby("model")["top1"].agg(["mean", "std"])
best = cells[cells["epoch"].isna() & (cells["model"] != "")].set_index("model")["top1"]
# the ends of the 95 % interval, for five normal values
for name, tail in (("std low", 0.975), ("std high", 0.025)):
    late[name] = late["std"] * np.sqrt(4 / stats.chi2.ppf(tail, df=4))
late["best"], late["best - mean"] = best, best - late["mean"]
late.round(2)

# %% [markdown]
# It does not: a standard deviation from five values is uncertain almost fivefold (0.24 to 1.16 points), and these five also
# rise, so part of it is learning. The levels favour the paper: in the late epochs the two models are *further* apart (2.2
# points) than their best values are. Choosing the best can hide a difference as well as make one.

# %% [markdown]
# ## Try it
#
# How far apart must two accuracies be before chance is a poor explanation? Move the sliders.


# %%
def chance_figure(clips=3330, accuracy=91.0, gap=1.5):
    """How often equally good models differ by `gap` points or more on `clips` clips."""
    spread = np.sqrt(2) * standard_error(accuracy / 100, clips)  # difference, in points
    x = np.linspace(-8, 8, 801)
    density = stats.norm.pdf(x, scale=spread)
    share = 2 * stats.norm.sf(gap, scale=spread)
    _, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
    axes.plot(x, density, color="#444444", label="equally good models")
    axes.fill_between(x, density, where=np.abs(x) >= gap, color="#D55E00",
                      label=f"{share:.1%} of the cases")
    axes.set(xlabel="difference of two accuracies (points)", ylabel="share per point")
    title = f"{clips} clips, accuracy {accuracy} %: a gap of {gap} points or more"
    axes.set_title(title, fontsize=11)
    axes.legend(loc="upper right", fontsize=9)
    plt.show()


# %%
sliders = {
    "clips": ipywidgets.IntSlider(value=3330, min=75, max=4000, step=5,
                                  description="test clips"),
    "accuracy": ipywidgets.FloatSlider(value=91, min=50, max=99, step=0.5,
                                       description="accuracy %"),
    "gap": ipywidgets.FloatSlider(value=1.5, min=0, max=8, step=0.1,
                                  description="gap, points"),
}
ipywidgets.interactive(chance_figure, **sliders)

# %% [markdown]
# Without a kernel: a test set of 225 clips, as in the book's stick-figure studies.

# %%
chance_figure(clips=225, gap=1.5)

# %% [markdown]
# **Question.** With 225 test clips, which gap is as rare as 1.5 points are with 3,330? What does that say about the small studies
# in this book?
#
# <details><summary>Answer</summary>
#
# About 5.8 points, because the standard error grows by $\sqrt{3330/225} = 3.85$. One run of a small study cannot show a
# difference of a point or two; several seeds help, but they split the same clips again ([primer](15_statistics.ipynb)).
#
# </details>

# %% [markdown]
# ## Step 6: your guesses
#
# Write **holds**, **fails** or **cannot be told yet** after each claim: what do you expect the records of *this book* to show?
# Keep a copy: [Chapter 13](13_verdict.ipynb) asks you to paste it. An empty one counts as no guess.

# %%
guesses = {
    "accuracy_above_baseline": "", "best_92_2": "",
    "stable_after_200": "", "stable_after_150": "",
    "no_overfitting": "", "no_late_decline": "",
    "rises_faster": "", "steadier": "",
    "training_time": "", "training_time_cause": "",
    "memory": "", "memory_cause": "",
    "more_layers_yet_faster": "", "max_pool_accuracy": "",
    "max_pool_time": "", "max_pool_time_cause": "",
    "max_pool_memory": "", "max_pool_memory_cause": "",
    "relu_bn_accuracy": "", "relu_bn_time": "",
    "relu_bn_time_cause": "", "handover": "",
    "larger_batch": "", "state_of_the_art": "",
    "needs_time": "", "split_measures_actions": "",
    "whole_validation_set": "",
}

# %%
assert list(guesses) == list(by_id), "keep the names and their order"
words = report.claims.STATUSES.values()
unknown = set(guesses.values()) - {*words, ""}
assert not unknown, f"write {', '.join(words)}, not {', '.join(unknown)}"
print(f"{sum(map(bool, guesses.values()))} of {len(guesses)} guesses written down")

# %% [markdown]
# ## Check
#
# Our rule against the package's, on many made-up intervals; our standard error against SciPy and the simulation.

# %%
for low, width in rng.uniform([-3, 0], [3, 4], size=(2000, 2)):
    assert verdict(low, low + width) == rules.direction(low, low + width, rules.TIE)
np.testing.assert_allclose(standard_error(0.9), 100 * stats.binom.std(3330, 0.9) / 3330)
np.testing.assert_allclose(difference.std(), np.sqrt(2) * standard_error(p), rtol=0.02)
np.testing.assert_allclose(late.loc["context_lstm", ["std low", "std high"]],
                           [0.24, 1.16], atol=0.005)
judged = report.claims.judge(pd.DataFrame(), pd.DataFrame())
assert judged["claim"].tolist() == list(guesses)
print("our rule and our formula agree with the package and with SciPy")

# %% [markdown]
# ## Common mistakes
#
# 1. **"Not significant" read as "equal".** A wide interval around zero says nothing. "Equal" is a claim of its own and needs
#    a narrow interval.
# 2. **The rule after the result.** A limit that is chosen when the number is known can be made to fit.

# %% [markdown]
# ## Exercises
#
# **Try it.** Write a test, with the four things of Step 3, for a claim of your own: "Context-LSTM is robust against poor
# pictures."
#
# [Exercises](exercises/release/01_claims/01_claims.ipynb) ([with solutions](exercises/source/01_claims/01_claims.ipynb)).
#
# <details><summary>Answer</summary>
#
# *Quantity:* the fall of top-1 when test frames get noise of a fixed strength. *Comparison:* the baseline's fall minus
# Context-LSTM's, same seeds and splits. *Data and setting:* UCF101's official splits, five seeds, last epoch. *Rule:* the one
# of Step 3.
#
# </details>

# %% [markdown]
# ## Limits
#
# - The binomial formula takes clips as independent, which siblings are not, and knows nothing of another training: too small
#   for one accuracy.
# - Some rules judge numbers known before: the paper's, or a trial run's (`needs_time`, `split_measures_actions`). For
#   overfitting we also chose the limits.
# - The order of the cells of "ours" in Table 1 is our reading.

# %% [markdown]
# ## Summary
#
# - A claim becomes a test through a quantity, a comparison, data and a rule, written before the result. "Cannot be told" is an
#   honest third outcome.
# - On 3,330 clips one accuracy is uncertain by about ±1 point, and equally good models are rarely 1.5 points apart.
#
# Where we differ from the paper: it gives single numbers; the ledger asks for at least five seeds and an interval.
#
# **Next:** [Chapter 2](02_related_work.ipynb) asks which published numbers 92.2 % may be compared with.

# %%
import quizzes
from IPython.display import display

display(quizzes.quiz("01"))
print(classroom.versions())
