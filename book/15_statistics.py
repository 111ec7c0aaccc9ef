# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 15 How sure can one be?
#
# Statistics behind sections 4.2 to 4.4 | 35 minutes to read and play, half a minute to run | downloads: none
#
# **After this chapter you can**
#
# - put an interval around one accuracy of clips that share source videos;
# - compare two models on the same clips, and two recipes over several seeds;
# - say how large a difference your study could have found at all.
#
# Other chapters link here. You need means, standard deviations and the $p$-value: how often chance alone would give a result
# at least this extreme.
#
# **The question.** How sure can one be?
#
# **Guess first.** Write three numbers down.
#
# 1. A model is right on 71.0 % of 3,783 test clips. Its 95 % interval is 71.0 ± ______ points.
# 2. You split the same clips 3 : 1 at random 30 times, train 30 times, and put a 95 % $t$ interval around the mean accuracy.
#    In how many of 100 such studies does the interval contain the truth? ______
# 3. Five seeds, each a new 3 : 1 split of the same clips. The differences between two heads scatter by 2.6 points (standard
#    deviation). How large must the true difference be for you to find it in four of five such studies? ______
#
# <details><summary>Answer</summary>
#
# 1. ± 1.4 points if clips were independent, ± 2.8 because they are not (Step 1).
# 2. About half (Step 3).
# 3. About 7 points (Step 4).
#
# </details>

# %% [markdown]
# ## What the paper says
#
# Table 2 gives one accuracy per model on 3,330 test clips: 90.7, 91.0 and 92.2 %.
#
# > **Not stated in the paper.** Intervals, seeds, the number of runs, and which source video each test clip belongs to.
#
# Our numbers come from two committed studies. `ucf101_midframes` is real: all 13,320 clips of UCF101, one middle frame of
# each, frozen ResNet-50 features. `stickfigures` is synthetic: 12 classes, clips of 12 frames.

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch
from scipy import stats

from ctxlstm import classroom, figures, inference
from ctxlstm.experiments import runs
from ctxlstm.report import studies

plt.rcParams.update(figures.style())
torch.manual_seed(0)
rng = np.random.default_rng(0)
# colours of the two ways of counting, in every figure of this chapter
BY_CLIP, BY_VIDEO = figures.GREY, "#0072B2"
real = runs.load("../papermill_runs/results/ucf101_midframes")
stick = studies.usual(runs.load("../papermill_runs/results/stickfigures"))


def predictions(model, seed=0):
    """One head's predictions on official test set 1, a row per clip, sorted by name."""
    rows = studies.of(real, model, "official")
    own = rows.query("seed == @seed and fold == 1").iloc[0]
    return runs.predictions(own).sort_values("name", ignore_index=True)


# %% [markdown]
# ## Step 1: one accuracy
#
# Suppose that each of $N$ clips is right with probability $p$, independently. The observed share $\hat p$ then has the standard
# error $\sqrt{\hat p(1-\hat p)/N}$, and $\hat p \pm 1.96$ standard errors is the **normal interval**. It fails near 0 and
# 100 %: at $\hat p = 1$ its width is zero. [Wilson 1927](references.md#wilson-1927) instead keeps every $p$ that lies within
# 1.96 of *its own* standard errors from $\hat p$. Solved for $p$, with $z = 1.96$:
#
# $$\frac{\hat p + \frac{z^2}{2N} \pm z\sqrt{\frac{\hat p(1-\hat p)}{N} + \frac{z^2}{4N^2}}}{1 + \frac{z^2}{N}}$$


# %%
def normal(right, n, z=1.96):
    p = right / n
    return p - z * np.sqrt(p * (1 - p) / n), p + z * np.sqrt(p * (1 - p) / n)


def wilson(right, n, z=1.96):
    p = right / n
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    middle, scale = p + z**2 / (2 * n), 1 + z**2 / n
    return (middle - half) / scale, (middle + half) / scale


table = predictions("mean_linear")  # a linear layer on the middle frame
ok = (table["label"] == table["predicted"]).to_numpy()  # (3783,)
cases = {"paper, 92.2 %": (3070, 3330), "mean_linear": (ok.sum(), len(ok)),
         "20 of 20": (20, 20)}
for name, (right, n) in cases.items():
    texts = ["{:6.2f} to {:6.2f} %".format(*(100 * np.array(way(right, n))))
             for way in (normal, wilson)]
    print(f"{name:14s} normal {texts[0]}   Wilson {texts[1]}")
    low, high = stats.binomtest(right, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(right, n), (low, high), atol=1e-5)

# %% [markdown]
# With thousands of clips the two agree. The last row shows why Wilson is the safer habit.
#
# Both assume independent clips. But clips of one source video share the person, the room and the camera, so they tend to be
# right or wrong together. The **bootstrap** ([Efron 1979](references.md#efron-1979)) draws a new test set from the old one,
# with replacement, many times, and looks at the spread. Draw whole *source videos*, and the dependence stays intact.


# %%
def bootstrap(right, size, repetitions=2000):
    """Accuracies of redrawn test sets; right and size (M,): an entry per unit drawn."""
    draw = rng.integers(len(size), size=(repetitions, len(size)))  # (R, M)
    return right[draw].sum(axis=1) / size[draw].sum(axis=1)


video = table["name"].str.rsplit("_c", n=1).str[0]  # v_Class_gNN
per = table.assign(ok=ok).groupby(video)["ok"].agg(["sum", "size"])  # a row per video
by_clip = bootstrap(ok.astype(int), np.ones(len(ok), int))
by_video = bootstrap(per["sum"].to_numpy(), per["size"].to_numpy())
ends = [0.025, 0.975]
for name, found in ((f"{len(ok)} clips", by_clip), (f"{len(per)} videos", by_video)):
    low, high = 100 * np.quantile(found, ends)
    half = (high - low) / 2
    print(f"drawing {name:10s}: {low:.1f} to {high:.1f} %, +- {half:.1f} points")
np.testing.assert_allclose(np.quantile(by_clip, ends), normal(ok.sum(), len(ok)),
                           atol=0.004)
np.testing.assert_allclose(np.quantile(by_video, ends), inference.interval(table),
                           atol=0.006)
ratio = by_video.var() / by_clip.var()
print(f"variance ratio {ratio:.1f}: the {len(ok)} clips tell as much as "
      f"{len(ok) / ratio:.0f} independent ones")

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
bins = np.linspace(100 * by_video.min(), 100 * by_video.max(), 40)
ax.hist(100 * by_clip, bins, color=BY_CLIP, alpha=0.5, label="drawing clips")
ax.hist(100 * by_video, bins, histtype="step", linewidth=2, color=BY_VIDEO,
        label="drawing source videos")
ax.set(xlabel="top-1 of a redrawn test set (%)", ylabel="repetitions",
       title="One accuracy, two intervals")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# *What you see:* the outline is twice as wide as the filled shape. `inference.interval` draws source videos too, and corrects
# the quantiles for bias and skew (BCa), hence the tolerance in the check.
#
# **Question.** Does the wider interval also cover the doubt that another training would have given another model?
#
# <details><summary>Answer</summary>
#
# No. It redraws test clips and keeps the trained model. Another seed is another source of doubt (Step 3).
#
# </details>
#
# ## Step 2: two models, the same clips
#
# Only clips that exactly *one* of two models gets right tell them apart. [McNemar 1947](references.md#mcnemar-1947): if the
# models are equally good, those clips are fair coins.
#
# Of the six pairs of heads on official test set 1 we picked the one on which the two tests of this step disagree: the nearest
# neighbour and `context_lstm`, both on one frame.

# %%
pair = predictions("nearest_neighbour"), predictions("context_lstm")
a, b = ((t["label"] == t["predicted"]).to_numpy() for t in pair)  # (3783,) each
only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
p_mcnemar = stats.binomtest(only_a, only_a + only_b).pvalue
mcnemar = inference.mcnemar(pair)
assert (mcnemar.only_a, mcnemar.only_b, mcnemar.p) == (only_a, only_b, p_mcnemar)
print(f"only nearest_neighbour right: {only_a}, only context_lstm right: {only_b}")
points = 100 * (a.mean() - b.mean())
print(f"difference {points:+.1f} points, McNemar p = {p_mcnemar:.3f}")

# %% [markdown]
# Clips of one video often fall the same way, so this $p$ is too optimistic. A **sign flip by source video** repairs it: give
# each video's net score (wins minus losses) a random sign, and count how often the total is at least as far from zero as the
# observed one.

# %%
net = (a.astype(int) - b.astype(int)).astype(float)
net = table.assign(net=net).groupby(video)["net"].sum()
net = net[net != 0].to_numpy()  # a number per source video that favours one model
totals = rng.choice([-1.0, 1.0], size=(10_000, len(net))) @ net
p_flip = np.mean(abs(totals) >= abs(net.sum()))
exact = inference.sign_flip(pair)  # all signs instead of 10,000 draws
np.testing.assert_allclose([len(net), p_flip], [exact.sources, exact.p], atol=0.02)
print(f"{len(net)} source videos, total {net.sum():+.0f} clips, "
      f"sign flip p = {p_flip:.2f}, exact {exact.p:.2f}")

# %% tags=["hide-input"]
coins = 2 * rng.binomial(only_a + only_b, 0.5, size=10_000) - (only_a + only_b)
fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
bins = np.linspace(-160, 160, 41)
ax.hist(coins, bins, color=BY_CLIP, alpha=0.5, label="every clip a coin (McNemar)")
ax.hist(totals, bins, histtype="step", linewidth=2, color=BY_VIDEO,
        label="every source video a coin")
ax.axvline(net.sum(), color="black", linestyle="--", linewidth=1.2, label="observed")
ax.set(xlabel="total of the net scores under chance (clips)", ylabel="draws",
       title="Equally good models")
ax.legend(frameon=False, loc="upper right", fontsize="small")
plt.show()

# %% [markdown]
# *What you see:* the dashed line lies at the edge of the grey shape and well inside the outline. McNemar would announce a
# winner; the source videos do not.
#
# ## Step 3: seeds that re-split one pool
#
# A claim about a *recipe* needs several trainings. With one difference per seed, of standard deviation $s_d$, the plain $t$
# interval is the mean plus and minus a quantile of Student's $t$ ($n-1$ degrees of freedom) times the error, whose square is
# $s_d^2/n$. But each seed splits *the same* clips again: the training sets overlap, and the differences are more alike than
# those of separate studies ([Dietterich 1998](references.md#dietterich-1998)). [Nadeau and Bengio
# 2003](references.md#nadeau-2003) replace $1/n$:
#
# $$\text{error}^2 = s_d^2 \left(\frac{1}{n} + \frac{n_\text{test}}{n_\text{train}}\right)$$

# %%
ours, base = (studies.of(stick, m, "paper").set_index("seed")
              for m in ("context_lstm", "cnn_lstm"))
share = studies.overlap(base)  # test clips / training clips
for column in ("top1_last", "top1_late"):
    d = (ours[column] - base[column]).sort_index().to_numpy()  # (5 seeds,)
    for name, extra in (("plain", 0.0), ("corrected", share)):
        error = d.std(ddof=1) * np.sqrt(1 / len(d) + extra)
        half = stats.t.ppf(0.975, len(d) - 1) * error
        p = 2 * stats.t.sf(abs(d.mean()) / error, len(d) - 1)
        found = inference.paired_over_seeds(ours[column], base[column], overlap=extra)
        low, high = d.mean() - half, d.mean() + half
        np.testing.assert_allclose([found.low, found.high, found.p], [low, high, p])
        print(f"{column} {name:9s}: {100 * d.mean():+.1f} points, "
              f"{100 * low:+.1f} to {100 * high:+.1f}, p = {p:.3f}")

# %% [markdown]
# The last epoch looks settled in the plain interval and open in the corrected one. `late`, the mean over the last third of the
# epochs, survives.
#
# Which interval is right? Simulate 1,000 worlds. Each draws one pool of 200 points of four classes, splits it 3:1 thirty
# times, and trains a nearest-centroid classifier. The truth is this recipe's accuracy averaged over all worlds.


# %%
def split_and_test(x, y, test_size=50):
    """Accuracy of the nearest class mean, trained on a random 150 of the 200 points."""
    rows = rng.permutation(len(y))
    test, train = rows[:test_size], rows[test_size:]
    centres = np.stack([x[train][y[train] == k].mean(0) for k in range(4)])  # (4, 3)
    distance = ((x[test][:, None] - centres) ** 2).sum(axis=2)  # (50, 4)
    return (distance.argmin(axis=1) == y[test]).mean()


y = np.repeat(np.arange(4), 50)
means = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 2]])
pools = [means[y] + rng.standard_normal((200, 3)) for _ in range(1000)]  # one per world
# accuracies (worlds, seeds)
scores = np.array([[split_and_test(x, y) for _ in range(30)] for x in pools])
truth = scores.mean()
print(f"truth: {100 * truth:.1f} %")


# %%
def coverage(n, extra):
    """Share of worlds whose 95 % interval over the first n seeds contains the truth."""
    own = scores[:, :n]
    half = stats.t.ppf(0.975, n - 1) * own.std(axis=1, ddof=1) * np.sqrt(1 / n + extra)
    return np.mean(abs(own.mean(axis=1) - truth) <= half)


SEEDS = (3, 5, 10, 20, 30)
covered = {name: [coverage(n, extra) for n in SEEDS]
           for name, extra in (("plain", 0), ("corrected", 1 / 3))}
for name, shares in covered.items():
    texts = [f"{n} seeds {share:.0%}" for n, share in zip(SEEDS, shares, strict=True)]
    print(f"{name:9s}:", ", ".join(texts))
inside = [inference.over_seeds(row[:5], overlap=1 / 3) for row in scores]
assert np.mean([i.low <= truth <= i.high for i in inside]) == covered["corrected"][1]

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
for name, colour, marker in (("plain", BY_CLIP, "s"), ("corrected", BY_VIDEO, "o")):
    shares = 100 * np.array(covered[name])
    ax.plot(SEEDS, shares, marker + "-", color=colour, label=name)
ax.axhline(95, color="black", linestyle="--", linewidth=1, label="promised")
ax.set(xlabel="seeds (splits of one pool)", ylabel="intervals with the truth (%)")
ax.set(ylim=(0, 102), title="Re-splitting one pool")
ax.legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# *What you see:* the plain interval promises 95 % and keeps that less and less the more seeds it has. The corrected one stays
# close to its promise. More seeds do not bring more clips.
#
# **Question.** The official splits do not change with the seed. Which interval is right for five seeds on official split 1?
#
# <details><summary>Answer</summary>
#
# The plain one, but for a smaller question: how the recipe does on *these* clips. The doubt of Step 1 is not in it.
#
# </details>
#
# ## Step 4: power
#
# "No difference found" means little if the study could not have found one. **Power** is the share of studies that reach
# $p < 0.05$ when the true difference is $\delta$. `inference` reports the $\delta$ with power 0.8 as `detectable`, taking the
# observed scatter for the true one. Check it by simulation.


# %%
def power(true, sd, n, extra, repetitions=20_000):
    """Share of studies that find a true difference."""
    # what one pool does to all its seeds
    shared = np.sqrt(extra) * rng.standard_normal((repetitions, 1))
    d = true + sd * (shared + rng.standard_normal((repetitions, n)))  # (studies, seeds)
    t = d.mean(axis=1) / (d.std(axis=1, ddof=1) * np.sqrt(1 / n + extra))
    return np.mean(abs(t) > stats.t.ppf(0.975, n - 1))


found = inference.paired_over_seeds(ours["top1_last"], base["top1_last"], overlap=share)
sd = (ours["top1_last"] - base["top1_last"]).std()
for true in (0.0, 0.02, 0.05, found.detectable):
    print(f"true {100 * true:.1f} points, sd {100 * sd:.1f}, 5 seeds: "
          f"found in {power(true, sd, 5, share):.0%}")
assert abs(power(found.detectable, sd, 5, share) - 0.8) < 0.02

# %%
unit = {n: stats.norm.ppf(np.linspace(0.1, 0.9, n)) for n in range(3, 31)}
unit = {n: (v - v.mean()) / v.std(ddof=1) for n, v in unit.items()}  # n values of sd 1
curves = {extra: [inference.over_seeds(v, overlap=extra).detectable
                  for v in unit.values()] for extra in (0, 1 / 3)}
fig, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
ax.plot(list(unit), curves[1 / 3], color=BY_VIDEO,
        label="one pool split 3:1 again and again")
ax.plot(list(unit), curves[0], color=BY_CLIP, linestyle="--",
        label="a new pool for every seed, or a fixed split")
ax.set(xlabel="seeds", ylabel="detectable difference (sd)", ylim=(0, None),
       title="What n seeds can find")
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# *What you see:* from three seeds to five both curves fall steeply. The solid one then flattens just below two standard
# deviations: further seeds re-use the same clips.
#
# **Question.** A study of three seeds reports "no significant difference, $p = 0.4$". What do you ask for before you believe that
# there is none?
#
# <details><summary>Answer</summary>
#
# The interval and the detectable difference. A difference inside the interval has not been excluded.
#
# </details>
#
# ## Step 5: many looks, many claims
#
# The best of many epochs, seeds or rows is too good by selection alone; [Chapter 9](09_training.ipynb) measures it for 300
# epochs. Where a table tests many rows at once, [Holm 1979](references.md#holm-1979) keeps the chance of any false alarm
# at 5 %; [Chapter 11](11_ablation.ipynb) builds it for 15 readings. The ledger of
# [Chapter 13](13_verdict.ipynb) applies no such correction: each claim has its own rule.
#
# | You want to say | Count | Tool |
# |---|---|---|
# | this model has this accuracy | source videos | `inference.interval` |
# | this trained model beats that one | source videos | `inference.sign_flip` (`mcnemar` only to compare) |
# | this recipe beats that one | seeds, corrected | `inference.paired_over_seeds(..., overlap=...)` |
# | any difference is small | as above | the interval and `detectable` of the same tool |
# | one of many rows stands out | rows | `studies.holm` |

# %% [markdown]
# ## Common mistakes
#
# - **Counting clips instead of videos.** The interval came out half as wide as it should be.
# - **Treating splits of one pool as new data.**
# - **Reading "not significant" as "equal".** Ask what could have been found.
# - **Testing the trained models and claiming the recipe.** A sign flip knows nothing about the next seed.
#
# ## Limits
#
# - Source videos of one class may be alike too; we treat them as independent.
# - The correction for re-splitting is an approximation; it fits our simulation.
# - Student's $t$ assumes roughly normal differences, which five seeds cannot check.
# - `detectable` rests on a scatter estimated from few seeds.
#
# ## Summary
#
# - Drawing source videos instead of clips made an interval on real UCF101 twice as wide.
# - By clip, McNemar saw a winner; the source videos did not decide.
# - Seeds that split one pool need the factor $1/n + n_\text{test}/n_\text{train}$.
# - A "no difference" needs its detectable difference beside it.
#
# Back to [Chapter 10](10_results.ipynb), where these tools read the results, or on to [Chapter 11](11_ablation.ipynb).

# %%
import quizzes
from IPython.display import display

display(quizzes.quiz("15"))
print(classroom.versions())
