# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 The ablation
#
# Paper: section 4.4, Table 2, Fig. 6 | 40 minutes to read and play, half a minute to run | downloads: none
#
# **After this chapter you can**
#
# - turn a table of single runs into a test, and say what it can show;
# - read an ablation of many parts without being fooled by the smallest $p$-value;
# - tell an absent effect from one that could not have been seen.
#
# Before this: [Chapter 10](10_results.ipynb). [The statistics primer](15_statistics.ipynb) explains the tests.
#
# **The question.** Which part of it does the work?
#
# **Guess first.** Write down, before you scroll:
#
# 1. With MaxPool the paper reports 92.2 %, without it 91.0 %, one run each, 3,330 test clips. How likely is a difference of that
#    size or more if the pool has no effect? ______
# 2. We change 15 details of the cascade, one at a time, three seeds each. If *none* matters, how likely is at least one
#    $p < 0.05$? ______
# 3. How many of the 15 will differ reliably from the default? ______
#
# <details><summary>Answer</summary>
#
# 1. About 8 in 100 (Step 1).
# 2. About one half (Step 6).
# 3. None (Step 5).
#
# </details>
#
# ## What the paper says
#
# Section 4.4 removes the MaxPool layers, keeps everything else, and concludes from Table 2 that the pool raises the accuracy and
# lowers time and memory. It adds, without numbers, that ReLU before BatchNorm is faster and more accurate than BatchNorm
# before ReLU, and in section 4.2 that a larger batch raises the accuracy.
#
# > **Not stated in the paper.** The number of runs per row (we assume one); the numbers behind ReLU-BN and the batch size; the
# > pool's axis; how the states are handed over. Each choice is a *reading* of the paper and an option of
# > `models.ContextLSTM`.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy import stats

from ctxlstm import classroom, figures, models, paper, report, widgets
from ctxlstm.experiments import runs
from ctxlstm.report import paper_tables, studies, study_tables, text
from ctxlstm.report.table import Table

plt.rcParams.update(figures.style())
torch.manual_seed(0)
NO_POOL, BN_RELU = "context_lstm_no_pool", "context_lstm_bn_relu"
paper.table2()

# %% [markdown]
# ## Step 1: what a single run can show
#
# Take both accuracies as shares of $N = 3330$ independent clips. Their difference has this many standard errors:
#
# $$z = \frac{p_1 - p_2}{\sqrt{p_1(1-p_1)/N + p_2(1-p_2)/N}}$$


# %%
def z_value(p1, p2, n=3330):
    """Difference of two accuracies in standard errors, clips taken as independent."""
    return (p1 - p2) / np.sqrt(p1 * (1 - p1) / n + p2 * (1 - p2) / n)


top1 = paper.table2().set_index("model")["top1"] / 100
base, pool, ours = top1.index  # cnn_lstm, context_lstm_no_pool, context_lstm
for a, b in ((ours, base), (ours, pool), (pool, base)):
    z = z_value(top1[a], top1[b])
    points, p = 100 * (top1[a] - top1[b]), 2 * stats.norm.sf(z)
    print(f"{a} - {b}: {points:+.1f} points, z = {z:.1f}, p = {p:.2f}")

# %% [markdown]
# The pool's effect has $z = 1.8$: chance alone gives a difference like that in about 8 of 100 pairs of equal heads (guess 1).
# This count is *friendly*: it ignores source videos, the choice among 300 epochs ([Chapter 9](09_training.ipynb)) and the
# seed.
#
# How far apart are two runs of one head? Our stick-figure records (synthetic) have five seeds per head, each with its own
# split. Take all pairs of runs of the *same* head.

# %%
# Made by papermill_runs/sweep.ipynb, -p config stickfigures
stick = runs.load("../papermill_runs/results/stickfigures")
main = studies.usual(stick)
same = []
for model in studies.TABLE2:
    # (5 seeds,), each at its best epoch, as in the paper
    best = studies.of(main, model, "paper")["top1_best"].to_numpy()
    same += [100 * abs(x - y) for i, x in enumerate(best) for y in best[:i]]
print(f"{len(same)} pairs of runs of one head: median gap {np.median(same):.1f} points")
print(f"1.2 points or more: {np.mean(np.array(same) >= 1.2):.0%} of the pairs")

# %% [markdown]
# More than half of the pairs do. But 225 test clips alone give a standard error of more than one point, the paper's 3,330 of
# half a point. One run cannot tell the rest.
#
# ## Step 2: Fig. 6, with bands
#
# **Predict:** which training loss falls fastest? Does the same head lead in test accuracy?
#
# <details><summary>Answer</summary>
#
# Both cascades fall faster than the baseline and lead early in accuracy. Later the bands often overlap.
#
# </details>

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
looks = {"context_lstm": "o-", NO_POOL: "s--", "cnn_lstm": "^-."}
for ax, column, scale in zip(axes, ("train_loss", "test_top1"), (1, 100), strict=True):
    for model, look in looks.items():
        own, colour = studies.of(main, model, "paper"), figures.HEAD_COLOURS[model]
        curves = scale * studies.histories(own, column)  # (epochs, seeds)
        ax.plot(curves.index, curves.mean(axis=1), look, color=colour, markevery=4,
                label=model)
        ax.fill_between(curves.index, curves.min(axis=1), curves.max(axis=1),
                        color=colour, alpha=0.13, linewidth=0)
axes[0].set(yscale="log", xlabel="epoch", ylabel="training loss (nats, log scale)",
            title="Training loss")
axes[1].set(xlabel="epoch", ylabel="test top-1 (%)", title="Test set, random split")
fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3,
           frameon=False)
plt.show()

# %% [markdown]
# *What you see:* lines are means of five seeds, bands span them. The cascades' loss falls faster than the baseline's, with or
# without the pool, as the caption of Fig. 6 says. On nine real classes the *accuracy* of cnn_lstm rises faster (Chapter 13:
# `rises_faster`). The caption also claims "no large jitter"; the bands show how far one run may wander.
#
# ## Step 3: Table 2, our accuracy column
#
# Each row is that head minus the full cascade, paired by seed, on the stick figures. **Predict** the signs.

# %%
parts = []
for protocol in studies.PROTOCOLS:
    part = paper_tables.differences(stick, protocol, against="context_lstm").frame
    rows = part["model"].isin((NO_POOL, BN_RELU)) & part["epoch"].isin(("late", "last"))
    shown = ["model", "epoch", "difference", "difference_low", "difference_high", "p"]
    parts.append(part.loc[rows, shown].assign(split=protocol))
table2 = pd.concat(parts).sort_values(["model", "epoch"], ascending=False)
text.readable(Table.of(table2)).style.hide(axis="index")

# %% [markdown]
# <details><summary>Answer</summary>
#
# Without the pool all three `late` rows are negative, as the paper says, but `last` gives −9.3 points on one split and +4.0 on
# another. For BN-ReLU the signs of `late` differ.
#
# </details>
#
# Eleven of the twelve intervals contain zero. The exception, BN-ReLU on the official split (`late`, $p = 0.011$), has the
# opposite sign on the other two splits, and Step 6 corrects its $p$. So the paper's directions are neither confirmed nor
# refuted here. Do nine real classes of UCF101 tell more?

# %%
nine, parts = runs.load("../papermill_runs/results/ucf101_nine"), []
for protocol in studies.PROTOCOLS:
    part = paper_tables.differences(nine, protocol, against="context_lstm").frame
    rows = part["model"].isin((NO_POOL, BN_RELU)) & (part["epoch"] == "late")
    parts.append(part.loc[rows, [*shown, "detectable"]].assign(split=protocol))
found = pd.concat(parts).sort_values("model", ascending=False)
text.readable(Table.of(found)).style.hide(axis="index")

# %% [markdown]
# *What you see:* without the pool the sign changes with the split, BN-ReLU is never behind, and every interval contains zero.
# On the official splits a true difference of three points would have been found. The paper's is 1.2. With `uniform` frames of
# the same clips both are behind on every split, by half a point to two, and every interval contains zero again.
#
# What does the order of ReLU and BatchNorm change? Try it on random numbers.

# %%
y = torch.randn(40, 4)  # (B, 2H): some outputs of a block
bn = torch.nn.BatchNorm1d(4)  # training mode: the batch's own mean and deviation
relu_bn, bn_relu = bn(torch.relu(y)), torch.relu(bn(y))  # (B, 2H) each
for name, out in (("ReLU-BN", relu_bn), ("BN-ReLU", bn_relu)):
    zeros = (out == 0).float().mean()
    print(f"{name}: mean {out.mean():.2f}, smallest {out.min():.2f}, zeros {zeros:.0%}")

# %% [markdown]
# After ReLU-BN the next block reads centred numbers of both signs; after BN-ReLU, zeros and positive numbers. An effect on
# training is plausible, not shown.
#
# ## Step 4: the batch size
#
# The paper says that larger batches gave better accuracy. **Predict** which end of our curve is higher
# (`papermill_runs/batch_size.ipynb`).

# %%
report.figures.batch_size(stick)

# %%
curve = study_tables.batch_size_curve(stick).frame
columns = ["model", "batch_size", "last", "optimizer_steps", "seeds"]
text.readable(Table.of(curve[columns])).style.hide(axis="index")

# %% [markdown]
# <details><summary>Answer</summary>
#
# The small end. But all sizes train for 30 epochs, so large batches make few optimizer steps, which may be the reason. A fair
# test fixes the number of steps; neither the paper nor we have run it.
#
# </details>
#
# *What you see:* the smallest batch is highest and the largest lowest, for both heads, with wide intervals.
#
# ## Step 5: the readings
#
# Now what the paper leaves open about the cascade, one option at a time, on four *real* classes of UCF101
# (`papermill_runs/ablation.ipynb`, `-p config ucf101_subset`). First the names; the results follow the prompt.

# %%
for number, name in enumerate(models.READINGS):
    print(f"{number:2d}  {name}")

# %% [markdown]
# **Predict**, on paper, before you scroll: for 1 to 15 write `+`, `-` or `0` for better, worse, no reliable difference.
#
# <details><summary>A hint: what accuracy does the default have?</summary>
#
# The classes look very different (a piano, a violin, push-ups, a crawling baby), and the split is random. The default is
# right on every test clip at the last epoch, and on 99.4 % over the late ones. This is a *ceiling*: a `+` is next to
# impossible.
#
# </details>

# %%
real = runs.load("../papermill_runs/results/ucf101_subset")
cascade = studies.of(studies.usual_size(real), "context_lstm", "paper")
default = cascade[cascade["variant"] == ""]
readings = []
for name in list(models.READINGS)[1:]:
    found = studies.paired(cascade[cascade["variant"] == name], default, "top1_late")
    numbers = {key: found[key] for key in ("difference", "p", "detectable")}
    readings.append({"reading": name} | numbers)
readings = Table.of(readings)
text.readable(readings).style.hide(axis="index")

# %% tags=["hide-input"]
by_seed = cascade.set_index(["variant", "seed"])
names = list(models.READINGS)[:0:-1]
fig, ax = plt.subplots(figsize=(8, 5.6), layout="constrained")
marks = {"top1_last": ("s", figures.GREY, "white", -0.18, "last epoch"),
         "top1_late": ("o", "#0072B2", "#0072B2", 0.18, "mean of late epochs")}
for column, (marker, colour, fill, shift, label) in marks.items():
    for y, name in enumerate(names):
        d = 100 * (by_seed.loc[name, column] - by_seed.loc["", column])  # (3 seeds,)
        ax.plot(d, [y + shift] * len(d), marker, markersize=6, color=colour,
                markerfacecolor=fill, label=label if y == 0 else None)
ax.axvline(0, color=figures.GREY, linewidth=1.2)
ax.set_yticks(range(len(names)), names)
ax.set(xlabel="test top-1 minus the default's (points), one mark per seed",
       ylabel="reading", title="15 readings, three seeds each")
ax.legend(loc="lower left", frameon=True)
plt.show()

# %% [markdown]
# *What you see:* most marks lie at zero or just left of it; the long distances come from single seeds. Every interval in the
# table contains zero (guess 3). The ranking depends on the epoch: `handover=swap` loses 5.8 points by `last` and none by
# `late`; `handover=none`, without the paper's hand-over of states, 0.4 and 3.8.
#
# Does the hand-over do nothing, then? These data cannot say: three such seeds would reliably find only the differences in the
# column `detectable`, more than 20 points for seven of the 15 readings.
#
# ## Step 6: many tests at once
#
# Simulate 15 readings, three seeds and *no* effect in any, 4,000 times. As in the table, all readings share the default's runs.

# %%
rng = np.random.default_rng(0)
worlds, tests, seeds = 4000, 15, 3
standard = rng.standard_normal((worlds, 1, seeds))  # one default for all readings
other = rng.standard_normal((worlds, tests, seeds))
d = other - standard  # (worlds, tests, seeds)
t = d.mean(axis=2) / (d.std(axis=2, ddof=1) / np.sqrt(seeds))
p = 2 * stats.t.sf(abs(t), seeds - 1)  # (worlds, tests)
print(f"at least one p < 0.05:  {np.mean(p.min(axis=1) < 0.05):.0%} of the worlds")
print(f"if tests were unrelated: {1 - 0.95**tests:.0%}")

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
bins = np.linspace(0, 1, 41).tolist()
ax.hist(p[:, 0], bins, density=True, color=figures.GREY, alpha=0.5,
        label="p of one fixed reading")
ax.hist(p.min(axis=1), bins, density=True, histtype="step", linewidth=2,
        label="smallest p of 15")
ax.axvline(0.05, color="black", linestyle="--", linewidth=1, label="0.05")
ax.set(xlabel="p-value", ylabel="density", title="No effect anywhere")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# *What you see:* one $p$-value is spread evenly from 0 to 1; the smallest of 15 crowds at the left. Whether some row looks
# "significant" is about a coin toss (guess 2).
#
# **Holm's correction** ([Holm 1979](references.md#holm-1979)) keeps that chance at 5 %. Sort the $m$ values; multiply the
# smallest by $m$, the next by $m-1$, and so on; never let a later one fall below an earlier one; cut at 1.


# %%
def holm(p):
    """Holm-corrected p-values, in the order given, (m,) -> (m,)."""
    order = np.argsort(p)
    corrected, largest = np.empty(len(p)), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, (len(p) - rank) * p[place])
        corrected[place] = min(1.0, largest)
    return corrected


kept = np.mean([holm(row).min() < 0.05 for row in p])
print(f"at least one corrected p < 0.05: {kept:.1%} of the worlds")
for name, table in (("12 rows of Step 3", table2), ("15 readings", readings.frame)):
    found = table["p"].to_numpy()
    print(f"{name}: smallest p {found.min():.3f}, corrected {holm(found).min():.2f}")

# %% [markdown]
# The price: real effects are harder to see as well.
#
# ## Try it: Fig. 6 by yourself
#
# **Predict, then move it:** choose `context_lstm`, `context_lstm_no_pool` and `context_lstm_bn_relu`, the split by source
# video and the test accuracy. Which is highest after epoch 30? After epoch 25? Does "without MaxPool" ever win?
#
# <details><summary>Answer</summary>
#
# By the mean over seeds: after epoch 30 the full cascade, after 25 BN-ReLU. Without MaxPool wins at nine of the 30 epochs.
#
# </details>

# %%
widgets.record_dashboard(stick)

# %%
shown = ("context_lstm", NO_POOL, BN_RELU)
picture = widgets.record_dashboard_figure(stick, models=shown, protocol="grouped",
                                          measure="test_top1")
for lines in (picture.axes[0].lines, picture.legends[0].legend_handles):
    for line, marker in zip(lines, "osD", strict=False):
        line.set(marker=marker, markevery=3)
picture

# %% [markdown]
# *What you see:* the three lines cross again and again inside overlapping bands.
#
# ## Check
#
# Holm's correction, one difference of the package's table, and the last answer.

# %%
for values in (p[0], readings.frame["p"].to_numpy()):
    np.testing.assert_allclose(holm(values), studies.holm(values))
packaged = study_tables.readings(real, "paper").frame.set_index("reading")  # last epoch
expected = packaged.loc["handover=none", "difference"]
last = by_seed["top1_last"]
difference = last.loc["handover=none"] - last.loc[""]  # (3 seeds,)
torch.testing.assert_close(float(difference.mean()), float(expected))
own = {m: studies.of(main, m, "grouped") for m in shown}
mean = {m: studies.histories(own[m], "test_top1").mean(axis=1) for m in shown}
winner = pd.DataFrame(mean).idxmax(axis=1)  # (30 epochs,)
assert (winner[30], winner[25]) == ("context_lstm", BN_RELU)
assert list(winner.index[winner == NO_POOL]) == [5, 8, 11, 12, 13, 17, 18, 22, 23]
print("all equal; epochs won:", winner.value_counts().to_dict())

# %% [markdown]
# ## Common mistakes
#
# - **"Not significant" read as "no effect".**
# - **Picking the row afterwards.** One of 15 rows is often striking.
# - **Changing two things at once.** Without the pool the inputs are wider too.
#
# ## Exercises
#
# [Exercises](exercises/release/11_ablation/11_ablation.ipynb) ([with
# solutions](exercises/source/11_ablation/11_ablation.ipynb)): how many clips the pool effect would have needed, another
# correction, what may be concluded, and a prediction.
#
# ## Limits
#
# - Synthetic clips, nine easy classes in Step 3, four in Step 5; small heads, 30 epochs, three to five seeds.
# - Intervals on the official split do not cover the choice of its test clips.
# - The ablation on all of UCF101 (`-p config ucf101_paper`) has not been run.
#
# ## Summary
#
# - The paper's pool effect is 1.2 points, $z = 1.8$ in the friendly count. It may be real; Table 2 does not show it.
# - On our data nothing differs reliably from the default after Holm. With three to five seeds, partly at a ceiling, that says
#   little.
# - Name the comparison first, and print what could have been found.
#
# Next: [Chapter 12](12_cost.ipynb), the other two columns of Table 2: hours and gigabytes.

# %%
import quizzes
from IPython.display import display

display(quizzes.quiz("11"))
print(classroom.versions())
