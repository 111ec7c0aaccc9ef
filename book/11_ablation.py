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
# Paper: section 4.4, Table 2, Fig. 6. About 40 minutes to read; runs in half a minute on 2 CPU cores; downloads
# nothing.
#
# **After this chapter you can**
#
# - turn a table of single runs into a test by hand, and say what it can and cannot show;
# - read an ablation of many parts at once without being fooled by the smallest of many $p$-values;
# - tell an effect that is absent from one that could not have been seen.
#
# Before this: [Chapter 10](10_results.ipynb), which compared two heads. Here the head is taken apart.
#
# ## The question
#
# **Which part of the cascade does the work: the pooling, the order of ReLU and BatchNorm, the batch size, the
# hand-over, or something that the paper does not name?**
#
# **Guess first.** Write down, before you scroll:
#
# 1. The paper's accuracy with and without MaxPool is 92.2 % and 91.0 %, one run each, on 3,330 test clips. How
#    likely is a difference of that size or more if the pool makes none? ______
# 2. We change one detail of the cascade at a time, 15 details, three seeds each. If *no* detail matters, how
#    likely is it that at least one has $p < 0.05$? ______
# 3. Of our 15 changes, how many will differ reliably from the default? Which one will be worst? ______
#
# ## What the paper says, and what it does not say
#
# Section 4.4 removes the MaxPool layers, keeps everything else (batch 80, learning rate 0.001), and prints
# three rows: best accuracy, hours, gigabytes (Table 2). From them it concludes that the pool raises the
# accuracy and lowers time and memory. It adds, without numbers, that ReLU before BatchNorm is faster and more
# accurate than BatchNorm before ReLU, and in section 4.2 that a larger batch raises the accuracy.
#
# > **Not stated in the paper.** How many runs stand behind a row (we assume one); the numbers behind ReLU-BN
# > and the batch size; what the blocks read when the pool is gone (in our default reading the next block then
# > takes 1,024 inputs); along which axis the pool works; how the states are handed over. The last three, and
# > more, are options of `models.ContextLSTM`; each is a *reading* of the paper.
#
# Time and memory, the other two columns of Table 2, are [Chapter 12](12_cost.ipynb).

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy import stats

from ctxlstm import figures, models, paper, report
from ctxlstm.experiments import runs
from ctxlstm.report import paper_tables, studies, study_tables, text
from ctxlstm.report.table import Table

plt.rcParams.update(figures.style())
torch.manual_seed(0)
paper.table2()

# %% [markdown]
# ## Step 1: what a single run can show
#
# Take both accuracies as shares of $N = 3330$ independent clips. Each has the standard error $\sqrt{p(1-p)/N}$;
# the difference has the root of the sum of squares:
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
    print(f"{a} - {b}: {100 * (top1[a] - top1[b]):+.1f} points, z = {z:.1f}, p = {2 * stats.norm.sf(z):.2f}")

# %% [markdown]
# The pool's effect has $z = 1.8$: a difference like that comes up by chance in some 8 of 100 pairs of equal
# heads (guess 1). And this is the *friendly* count. It leaves out three doubts:
#
# - clips of one source video share their fate ([Chapter 10](10_results.ipynb), Step 5);
# - both numbers are the best of 300 epochs;
# - another seed gives another network.
#
# One thing points the other way: if both heads saw the same test clips ("the other parts" of the experiment were
# "all the same", 4.3), a paired test would use that. The paper does not print what it needs.
#
# How large is the third doubt? Our records have five seeds a head. Take two runs of the *same* head and call
# one of them "with a new idea". (Records of the stick figures, synthetic; `papermill_runs/sweep.ipynb` with `-p
# config stickfigures` made them.)

# %%
stick = runs.load("../papermill_runs/results/stickfigures")
main = studies.usual(stick)
same = []
for model in studies.TABLE2:
    own = studies.of(main, model, "paper")
    best = own["top1_best"].to_numpy()  # (5 seeds,), best epoch, as the paper reports
    same += [100 * abs(x - y) for i, x in enumerate(best) for y in best[:i]]
print(f"{len(same)} pairs of runs of one head differ by {np.median(same):.1f} points in the median")
print(f"1.2 points or more: {np.mean(np.array(same) >= 1.2):.0%} of the pairs")

# %% [markdown]
# Two runs of one and the same head often differ by more than the paper's 1.2 points. Our test part is small
# (225 clips, and each seed draws its own), so this spread is larger than the paper's would be; how large the
# paper's is, nobody can say from one run.
#
# ## Step 2: Fig. 6, with bands
#
# **Predict:** which of the three training losses falls fastest? Does the same head lead in test accuracy?

# %%
report.figures.ablation_curves(stick, "paper")

# %% [markdown]
# What you see: the two cascades learn faster in epochs than the baseline, with or without the pool; the caption
# of the paper's Fig. 6 says the same of its curves. At the end all three bands touch, and all three test curves
# jump. That caption also calls the Context-LSTM more stable and robust, with "no large jitter". It names no
# repeated runs; with five seeds you can see how far a single line may wander.
#
# ## Step 3: Table 2, our accuracy column
#
# Each row is that head minus the full cascade, paired by seed. **Predict** the sign for `context_lstm_no_pool`
# and for `context_lstm_bn_relu` before you run the cell.

# %%
parts = []
for protocol in studies.PROTOCOLS:
    part = paper_tables.differences(stick, protocol, against="context_lstm").frame
    part = part[part["model"].isin((studies.NO_POOL, studies.ORDERS)) & (part["epoch"] == "last")]
    parts.append(
        part[["model", "difference", "difference_low", "difference_high", "p"]].assign(split=protocol)
    )
parts = pd.concat(parts)
text.readable(Table.of(parts)).style.hide(axis="index")

# %% [markdown]
# Negative: without the pool, or with BatchNorm before ReLU, the head does worse. Look at the intervals: all of them
# contain zero. The rows for the pool do not even agree on the sign. So on these synthetic clips, at this size, the
# paper's direction is neither confirmed nor refuted.
#
# What does the order change at all? Try it on random numbers.

# %%
y = torch.randn(40, 4)  # (B, 2H): some outputs of a block
bn = torch.nn.BatchNorm1d(4)  # training mode: normalises with the batch's own mean and deviation
relu_bn, bn_relu = bn(torch.relu(y)), torch.relu(bn(y))  # (B, 2H) each
for name, out in (("ReLU-BN", relu_bn), ("BN-ReLU", bn_relu)):
    print(f"{name}: mean {out.mean():.2f}, smallest {out.min():.2f}, zeros {(out == 0).float().mean():.0%}")

# %% [markdown]
# After ReLU-BN the next block reads centred numbers with both signs; after BN-ReLU it reads numbers of which
# half are zero and none is negative. That is a real difference in what is passed on, so a difference in
# training is plausible. Plausible is not shown.
#
# ## Step 4: the batch size
#
# The paper says that larger batches gave better accuracy. Ours: 20, 40, 80 and 160 clips, made by
# `papermill_runs/batch_size.ipynb` with `-p config stickfigures -p protocols grouped -p seeds 0,1,2`
# (papermill_runs/README.md).
# **Predict** which end of the curve is higher.

# %%
report.figures.batch_size(stick)

# %%
curve = study_tables.batch_size_curve(stick).frame
shown = ["model", "batch_size", "last", "last_low", "last_high", "optimizer_steps", "seeds"]
text.readable(Table.of(curve[shown])).style.hide(axis="index")

# %% [markdown]
# What you see: here the smallest batch is highest and the largest lowest, for both heads; most of the intervals
# of three seeds overlap. Before you call the paper wrong, look at `optimizer steps`: all sizes train for 30
# epochs, so the largest batch makes an eighth of the steps of the smallest. This experiment cannot tell "large
# batches are bad" from "few steps are bad". With the paper's 300 epochs of 125 steps nobody is short of steps,
# and the two could come apart. A fair test fixes the number of steps; neither the paper nor we have run it.
#
# ## Step 5: the 16 readings
#
# Now everything that the paper leaves open about the cascade, one option at a time. The records are of four
# *real* classes of UCF101 (300 clips, ResNet-50 features, 3 seeds), made by
#
# ```
# papermill papermill_runs/ablation.ipynb out.ipynb -p config ucf101_subset \
#     -p results papermill_runs/results/ucf101_subset -p protocols paper
# ```
#
# Here is the list, without results.

# %%
for number, name in enumerate(models.READINGS):
    print(f"{number:2d}  {name}")

# %% [markdown]
# **Predict**, on paper: for each of 1 to 15 write `+`, `-` or `0` for better, worse, no reliable difference.
# Then unfold.
#
# <details><summary>A hint before you look: what accuracy does the default have?</summary>
#
# Four classes that look very different (a piano, a violin, push-ups, a crawling baby), split at random with
# siblings in training: the default reading is right on every test clip, with all three seeds. Nothing can be
# better than that. So a `+` is impossible here, whatever the reading is worth. This is a *ceiling*.
#
# </details>

# %%
real = runs.load("../papermill_runs/results/ucf101_subset")
readings = study_tables.readings(real, "paper").frame
shown = ["reading", "last", "last_low", "last_high"]
shown += ["difference", "difference_low", "difference_high", "p", "p_holm"]
text.readable(Table.of(readings[shown])).style.hide(axis="index")

# %%
report.figures.readings(real, "paper")

# %% [markdown]
# The last three rows are the other heads of Table 2; `p holm` is the $p$ after a correction that Step 6 builds.
#
# (`last` of one run is worth little: its late epochs differ by up to 7 points, standard deviation, with some of the heads
# here. [Chapter 10](10_results.ipynb) counts them.)
#
# What you see: every dot lies at zero or left of it (the ceiling), and every bar crosses zero. Rows without a
# $p$ have the same difference in all three seeds, mostly none at all: a $t$-test has nothing to divide by then.
# `handover=none`, the cascade without the paper's hand-over of states, is among the dots nearest to zero.
# (Guess 3: none differs reliably; which dot lies farthest left may be the luck of three seeds: the longest bars
# each come from one seed that went wrong.)
#
# Does this mean that the hand-over does nothing? No. It means that these data cannot say. Look at the width of
# the bars: with three seeds even a loss of ten points is not told apart from luck. How large must an effect be?


# %%
def detectable(sd, n, level=0.05):
    """Mean paired difference that just reaches p = level with n seeds of a random split, differences of deviation sd."""
    return (
        stats.t.ppf(1 - level / 2, n - 1) * sd * np.sqrt(1 / n + 0.37)
    )  # 0.37: test clips / training clips here


for seeds in (2, 3, 5, 10, 30):
    t = stats.t.ppf(0.975, seeds - 1)
    print(f"{seeds:2d} seeds: t > {t:5.2f}; at an sd of 2 points: an effect of {detectable(2, seeds):5.2f}")

# %% [markdown]
# From two seeds to five the smallest effect that can be seen shrinks by a factor of about six; from ten on, more seeds hardly
# help, because they split the same clips ([Chapter 10](10_results.ipynb), Step 6): then only more clips do.
#
# ## Step 6: many tests at once
#
# Look at 15 comparisons, and the smallest of 15 $p$-values is small even when nothing is going on. Simulate it:
# 15 readings, three seeds, *no* effect in any, 4,000 times. (The readings share the default's runs, so their
# differences are related: the simulation does the same.)

# %%
rng = np.random.default_rng(0)
worlds, tests, seeds = 4000, 15, 3
default = rng.standard_normal((worlds, 1, seeds))  # every reading is compared with the same default runs
other = rng.standard_normal((worlds, tests, seeds))
d = other - default  # (worlds, tests, seeds)
t = d.mean(axis=2) / (d.std(axis=2, ddof=1) / np.sqrt(seeds))
p = 2 * stats.t.sf(abs(t), seeds - 1)  # (worlds, tests)
print(f"at least one p < 0.05:  {np.mean(p.min(axis=1) < 0.05):.0%} of the worlds")
print(f"if tests were unrelated: {1 - 0.95**tests:.0%}")

# %%
fig, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
bins = np.linspace(0, 1, 41).tolist()
ax.hist(p[:, 0], bins, density=True, color=figures.GREY, alpha=0.5, label="p of one fixed reading")
ax.hist(p.min(axis=1), bins, density=True, histtype="step", linewidth=2, label="smallest p of 15")
ax.axvline(0.05, color="black", linestyle="--", linewidth=1, label="0.05")
ax.set(xlabel="p-value", ylabel="density", title="No effect anywhere")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# What you see: one $p$-value is spread evenly from 0 to 1, as it should be when nothing is going on; the
# smallest of 15 crowds at the left. Whether some row looks "significant" is about a coin toss (guess 2).
#
# **Holm's correction** keeps that chance at 5 %. Sort the $m$ values; multiply the smallest by $m$, the next by
# $m-1$, and so on; never let a later one fall below an earlier one; cut at 1.


# %%
def holm(p):
    """Holm-corrected p-values, in the order given, (m,) -> (m,)."""
    order = np.argsort(p)
    corrected, largest = np.empty(len(p)), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, (len(p) - rank) * p[place])
        corrected[place] = min(1.0, largest)
    return corrected


print("by hand:", holm(np.array([0.01, 0.04, 0.03, 0.5])))
kept = np.mean([holm(row).min() < 0.05 for row in p])
print(f"at least one corrected p < 0.05: {kept:.1%} of the worlds")

# %% [markdown]
# The price: real effects are harder to see as well. The fair way out is to name *one* comparison before the
# runs, and to call the rest exploration.
#
# ## Try it: Fig. 6 by yourself
#
# **Predict, then move it:** choose `context_lstm`, `context_lstm_no_pool` and `context_lstm_bn_relu` under the
# split by source video and watch `test_top1`. Which of the three is highest after epoch 30? Was it highest
# after epoch 24?

# %%
from ctxlstm import classroom, widgets

widgets.record_dashboard(stick)

# %%
shown = ("context_lstm", "context_lstm_no_pool", "context_lstm_bn_relu")
widgets.record_dashboard_figure(stick, models=shown, protocol="grouped", measure="test_top1")

# %% [markdown]
# **Question.** Give the epoch at which you would have had to stop so that "without MaxPool" wins. Is there one?
#
# ## Check
#
# Our correction against the package's, on random values and on the table; our table's mean differences by hand.

# %%
np.testing.assert_allclose(holm(p[0]), studies.holm(p[0]))
known = readings["p"].notna()
np.testing.assert_allclose(holm(readings.loc[known, "p"].to_numpy()), readings.loc[known, "p_holm"])
rows = studies.of(studies.usual_size(real), "context_lstm", "paper").set_index(["variant", "seed"])
difference = rows.loc["handover=none", "top1_last"] - rows.loc["", "top1_last"]  # (3 seeds,)
table = readings.set_index("reading")["difference"]
torch.testing.assert_close(float(difference.mean()), float(table["handover=none"]))
print("equal; handover=none, differences by seed (points):", (100 * difference).round(2).tolist())

# %% [markdown]
# ## Common mistakes
#
# - **"Not significant" read as "no effect".** A bar that crosses zero and is ten points wide says that nothing
#   was measured.
# - **Picking the row afterwards.** The most striking of 15 rows is striking because there are 15.
# - **Changing two things at once.** A larger batch at a fixed number of epochs also means fewer steps; a
#   cascade without the pool also has wider inputs and more parameters.
#
# ## Exercises
#
# [Exercises](exercises/release/11_ablation/11_ablation.ipynb) ([with
# solutions](exercises/source/11_ablation/11_ablation.ipynb)): how many clips the pool effect would have needed,
# another correction for many tests, what may be concluded, and a prediction that you check with the dashboard.
#
# ## Summary
#
# - The paper's pool effect is 1.2 points from one run each: $z = 1.8$ in the friendly count. It may be real;
#   Table 2 does not show it.
# - Of 15 readings, tested with three seeds on four real classes, none differs reliably from the default, before
#   or after Holm. The default is at the ceiling there, so this says little about the readings.
# - An effect can hide where tests are few and noisy, and appear where tests are many. State the comparison
#   first, and count seeds.
# - Where we differ from the paper: smaller heads and data, 30 epochs, several seeds, intervals, and 15 other
#   readings, which it does not discuss. What would settle the ablation is `ablation.ipynb` with `-p config
#   ucf101_paper` on a GPU; it has not been run.
#
# Next: [Chapter 12](12_cost.ipynb), the other two columns of Table 2: hours and gigabytes.

# %%
print(classroom.versions())
