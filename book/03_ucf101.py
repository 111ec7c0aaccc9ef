# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 UCF101: clips, groups and splits
#
# Paper: sections 3.1 and 4.2 | 45 minutes to read and play, under a minute to run | downloads: none
#
# **The question.** What does a random split of clips test?
#
# After this chapter you can
#
# - read class, source video and clip number from the name of a UCF101 clip, and say what a *group* is;
# - say how many test clips of a random split have a sibling in training, by counting and by arithmetic;
# - build a split that leaks nothing, and show with one-nearest-neighbour what the leak is worth.
#
# Before this: [Chapter 2](02_related_work.ipynb). Terms: [glossary](glossary.md).
#
# > **Guess first.** Clips are cut from longer videos, four to seven from each. Of 100 test clips of a random 3:1 split,
# > how many have a clip *of the same source video* in training? My guess: ______
#
# <details><summary>Answer</summary>
#
# About 99 (section 4).
#
# </details>

# %% [markdown]
# ## What the paper says
#
# - UCF101 ([Soomro et al. 2012](references.md#soomro-2012)) has 101 classes of human actions and 13,320 clips of 320 ×
#   240 pixels, about 27 hours in all (section 3.1).
# - It was divided "randomly, by the ratio of 3:1" (section 4.2): 9,990 training and 3,330 test samples (log in Fig. 4).
# - Accuracy is **top-1** on that test set after every epoch (sections 4.2 and 4.3).
#
# > **Not stated in the paper.** The seed, and whether clips of one source video were kept together. 9,990 and 3,330 are
# > exactly three quarters and one quarter of the *clips*; a draw of whole source videos would hardly hit these numbers.
# > **Our default**: clips drawn one by one (protocol `paper`). **Alternatives**: whole source videos (`grouped`), or
# > UCF101's own three lists (`official`), as most published work does.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import display

from ctxlstm import classroom, figures, report, ucf101, video, widgets
from ctxlstm.experiments import runs
from ctxlstm.models import references
from ctxlstm.report import study_tables

torch.manual_seed(0)
plt.rcParams.update(figures.style())

# %% [markdown]
# ## 1 A name says it all
#
# Every clip is called `v_<Class>_gNN_cNN`. `g` is the **group**: the longer video that the clip was cut from, here
# called the *source video*. `c` counts its clips. The package can list all names.


# %%
def read_name(name):
    """'v_PushUps_g01_c02' -> class, group, clip."""
    _, label, group, clip = name.split("_")
    return label, int(group[1:]), int(clip[1:])


full = ucf101.full_index()  # one row per clip; no video is needed
assert [read_name(name) for name in full["name"]] == list(
    zip(full["label"], full["group"], full["clip"], strict=True)
)
print(read_name("v_PushUps_g01_c02"))
print(f"{len(full):,} clips of {full['label'].nunique()} classes, "
      f"groups 1 to {full['group'].max()}")
full[["name", "label", "group", "clip"]].sample(4, random_state=0)

# %% [markdown]
# ## 2 Groups: 2,525 source videos
#
# Group numbers count *within a class*, so a source video is the pair (class, group).

# %%
sizes = full.groupby(["label", "group"]).size()  # clips of each source video
per_class = full.groupby("label")["group"].nunique().max()
print(f"{len(sizes):,} source videos, {per_class} in each class")
print(f"{sizes.min()} to {sizes.max()} clips each, {sizes.mean():.2f} on average")

# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
axes.bar(*np.unique(sizes, return_counts=True), color=figures.GREY, label="UCF101")
axes.set(xlabel="clips cut from one source video", ylabel="source videos",
         xticks=range(1, 8))
axes.set_title("No clip of UCF101 is alone")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# *What you see:* no bar below 4. Every clip has at least three **siblings**, other clips of the same source video.
#
# ## 3 What siblings look like
#
# These **synthetic** stick figures are our stand-in for UCF101. A group fixes the figure's colours, proportions and
# scenery, as a UCF101 group shares people, room and camera. Its clips differ in timing, speed and place.

# %%
clips = classroom.clips()  # 8 classes x 12 groups x 3 clips
shown = {
    "a clip": "v_Kick_g01_c01",
    "its sibling": "v_Kick_g01_c02",
    "same class,\nanother group": "v_Kick_g02_c01",
    "same group no.,\nanother class": "v_Squat_g01_c01",
}
path = clips.set_index("name")["path"]
strips = [video.read_frames(path[name], 6, "uniform").images for name in shown.values()]
titles = [f"{title}\n{name[2:]}" for title, name in shown.items()]
figures.film_strip(strips, titles, frames=6)

# %% [markdown]
# *What you see:* rows 1 and 2 show the same person in the same place; row 4 shares only the group *number* with row 1.
# With row 1 in the test set and row 2 in training, a model can be right about row 1 without knowing what a kick is.
#
# ## 4 The paper's split, by hand
#
# Shuffle the clips and keep a quarter. Is each test clip's source video in training too?

# %%
rng = np.random.default_rng(0)
shuffled = rng.permutation(len(full))  # (13320,) row numbers
test, train = shuffled[: len(full) // 4], shuffled[len(full) // 4 :]
assert (len(train), len(test)) == (9990, 3330)  # the two numbers of the paper's log

source = list(zip(full["label"], full["group"], strict=True))  # source video per clip
in_training = {source[row] for row in train}
# (3330,) True: the test clip has a sibling in training
leaked = np.array([source[row] in in_training for row in test])
print(f"{leaked.sum():,} of {len(leaked):,} test clips have a sibling in training: "
      f"{leaked.mean():.1%}")

# %% [markdown]
# `ucf101.split` and `ucf101.leakage` do the same in one line each. Twenty seeds:

# %%
splits = [ucf101.split(full, "paper", seed=seed) for seed in range(20)]
leaks = [ucf101.leakage(full, split) for split in splits]
shares = pd.Series([100 * leak.share for leak in leaks],
                   name="test clips with a sibling (%)")
mean = np.mean([leak.siblings_mean for leak in leaks])
print(f"siblings in training per test clip: {mean:.1f} on average")
shares.describe()[["count", "mean", "min", "max"]].round(1).to_frame().T

# %% [markdown]
# No seed comes near a clean split, and arithmetic says why. A test clip of a source video with $n$ clips has no sibling
# in training only if the other $n - 1$ clips are test clips as well:
#
# $$P(\text{no sibling in training}) = \prod_{j=1}^{n-1} \frac{3330 - j}{13320 - j} \approx
# \left(\tfrac14\right)^{n-1}$$
#
# For $n = 4$ that is one in 64; for $n = 7$, one in 4,096.

# %%
own_size = sizes.loc[source].to_numpy()  # (13320,) n of each clip's source video
alone = np.array([np.prod([(3330 - j) / (13320 - j) for j in range(1, n)])
                  for n in range(8)])  # by n
expected = 100 * (1 - alone[own_size].mean())
print(f"expected {expected:.2f} %, mean of 20 draws {shares.mean():.2f} %")
assert abs(expected - shares.mean()) < 0.2

# %% tags=["hide-input"]
numbers = np.concatenate([leak.siblings for leak in leaks])
counts = np.bincount(numbers, minlength=7) / len(leaks)  # (7,)
figure, axes = plt.subplots(figsize=(6.5, 3), layout="constrained")
bars = axes.bar(range(7), counts, color=figures.PROTOCOL_COLOURS["paper"],
                label=figures.PROTOCOL_NAMES["paper"])
axes.bar_label(bars, [f"{count:.0f}" for count in counts])
axes.set(xlabel="siblings of a test clip in training", ylabel="test clips (of 3,330)")
axes.set_title("How much of a test clip's video was seen")
axes.legend(frameon=False, loc="upper right")
axes.set_ylim(0, 1.4 * counts.max())
plt.show()

# %% [markdown]
# *What you see:* the bar at 0, the clips that are really new, is almost invisible.
#
# ## 5 Splits that keep source videos whole
#
# The official lists are a rule on group numbers: list 1 tests on groups 1-7, list 2 on 8-14, list 3 on 15-21;
# groups 22-25 are always for training.

# %%
for fold in (1, 2, 3):
    tests = full["group"].between(7 * fold - 6, 7 * fold)  # (13320,) True: a test clip
    official = ucf101.split(full, "official", fold=fold)
    assert np.array_equal(np.flatnonzero(tests), official.test)
    leak = ucf101.leakage(full, official).share
    print(f"list {fold}: {(~tests).sum():,} train, {tests.sum():,} test, "
          f"with a sibling: {leak:.1%}")

# %% [markdown]
# `grouped` is the paper's 3:1 draw made clean: it draws whole source videos, about a quarter of each class. One class under
# each protocol:

# %% tags=["hide-input"]
three = {name: ucf101.split(full, name, seed=0)
         for name in ("paper", "grouped", "official")}
rows = full["label"] == "PushUps"
picture = []
for split in three.values():
    is_test = pd.Series(np.isin(np.arange(len(full)), split.test))
    tested = is_test[rows].groupby(full["group"][rows]).mean()  # (25,) shares
    picture.append(100 * tested)

figure, axes = plt.subplots(figsize=(10, 2.6), layout="constrained")
image = axes.imshow(picture, aspect="auto", cmap="cividis_r", vmin=0, vmax=100)
axes.set(xticks=range(25), xticklabels=range(1, 26),
         xlabel="group (source video) of PushUps", ylabel="split")
axes.set_yticks(range(3), [figures.PROTOCOL_NAMES[name] for name in three])
axes.grid(visible=False)
axes.set_title("Which part of each source video is tested")
figure.colorbar(image, label="clips in the test set (%)")
plt.show()

# %% [markdown]
# *What you see:* a colour in between (the source video is in both sets) occurs under the random split only.
#
# ## 6 What the leak is worth: one nearest neighbour
#
# The simplest model that can use a leak looks up the most similar training clip and repeats its class. Each clip is one
# vector, the mean over its frames of a frozen CNN's features ([Chapter 4](04_deep_temporal_features.ipynb)); similarity
# is the cosine:
#
# $$\cos(u, v) = \frac{u \cdot v}{\lVert u \rVert\, \lVert v \rVert}$$

# %%
features = classroom.features()
vectors = features.x.float().mean(dim=1)  # (288, 12, 1280) -> (288, 1280)
unit = vectors / vectors.norm(dim=1, keepdim=True)  # (288, 1280), each of length 1


def most_similar(split):
    """The training row that is most similar to each test row."""
    cosine = unit[split.test] @ unit[split.train].T  # (test, train)
    return split.train[cosine.argmax(dim=1).numpy()]  # (test,)


# %%
label, group = clips["label"].to_numpy(), clips["group"].to_numpy()
lines = []
for protocol in ("paper", "grouped"):
    for seed in range(5):
        split = ucf101.split(clips, protocol, seed=seed)
        found = most_similar(split)
        right = label[found] == label[split.test]  # (test,)
        sibling = right & (group[found] == group[split.test])
        lines.append((protocol, seed, 100 * right.mean(), 100 * sibling.mean()))
columns = ["right (%)", "thanks to a sibling (%)"]
result = pd.DataFrame(lines, columns=["protocol", "seed", *columns])
result.groupby("protocol", sort=False)[columns].agg(["min", "mean", "max"]).round(0)

# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(6.5, 2.6), layout="constrained")
by_protocol = result.groupby("protocol", sort=False)
for y, (protocol, own) in zip((1, 0), by_protocol, strict=True):
    name, colour = figures.PROTOCOL_NAMES[protocol], figures.PROTOCOL_COLOURS[protocol]
    marker = figures.PROTOCOL_MARKERS[protocol]
    axes.plot(own["right (%)"], [y] * len(own), marker, color=colour,
              markersize=9, alpha=0.6, label=name)
axes.axvline(100 / 8, color=figures.GREY, linestyle=":",
             label="guessing (1 of 8 classes)")
axes.set(xlabel="test top-1 of the nearest neighbour (%)", yticks=[],
         xlim=(0, 103), ylim=(-0.6, 1.6))
axes.set_title("Same clips, same model, five seeds each (synthetic)")
axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0.14, 1))
plt.show()

# %% [markdown]
# *What you see:* on the random split the lookup is right about nearly every clip, and nearly always thanks to a sibling
# (table). With source videos kept apart it loses more than half. One test clip, and what the lookup found for it:

# %%
paper = ucf101.split(clips, "paper", seed=0)
grouped = ucf101.split(clips, "grouped", seed=0)
answers = [dict(zip(split.test, most_similar(split), strict=True))
           for split in (paper, grouped)]
row = next(r for r in answers[0]  # wrong if grouped
           if r in answers[1] and label[answers[1][r]] != label[r])
chosen = [row, answers[0][row], answers[1][row]]
titles = ["the test clip", "found, random split", "found, grouped split"]
figures.film_strip(
    [video.read_frames(clips["path"][i], 6, "uniform").images for i in chosen],
    [f"{title}\n{clips['name'][i][2:]}"
     for title, i in zip(titles, chosen, strict=True)],
    frames=6,
)

# %% [markdown]
# *What you see:* without siblings it found a clip with a similar figure and sun, but another place and movement.
#
# ## 7 All 101 classes, one frame per clip
#
# Now real pictures: the middle frame of each clip of UCF101, frozen ResNet-50 features, five seeds. `nearest_neighbour`
# is the lookup from above, `mean_linear` one linear layer. Made by `papermill papermill_runs/sweep.ipynb out.ipynb -p
# config ucf101_midframes -p results papermill_runs/results/ucf101_midframes`, the right panel by
# `papermill_runs/siblings.ipynb` (complete lines: papermill_runs/README.md).
#
# > **Guess first.** How many points is the *first* sibling in training worth to a test clip? And the third?
#
# <details><summary>Answer</summary>
#
# About 30, and 2: `same_clips_top1`.
#
# </details>

# %%
whole = runs.load("../papermill_runs/results/ucf101_midframes")
siblings = pd.read_csv("../papermill_runs/results/siblings.csv", dtype={"left": str})
display(report.figures.full_size_leak(whole, siblings))
columns = ["top1", "by_sibling", "same_clips_top1"]
by_left = siblings.groupby("left", sort=False)[columns]
by_left.agg(["min", "max"]).mul(100).round(1)

# %% [markdown]
# *What you see,* left: on the random split the most similar still picture names the action more often than the paper's
# network does, with no training. With source videos kept apart it falls by more than 35 points, the linear layer by
# more than 20. Right: the same test clips, with 0 to 3 siblings left in training. *One* is worth some 30 points. With
# all of them there, the most similar picture is a sibling's in eight of ten cases (`by_sibling`).
#
# So 92.2 % on the random split needs no temporal model, and a high number there does not show that actions are
# recognised.
#
# One surprise: 20 pictures are byte for byte those of another clip, nine of them from another group. So a few clips
# leak through the official lists as well.

# %%
twins = pd.read_csv("../papermill_runs/results/identical_clips.csv")
apart = [read_name(a)[:2] != read_name(b)[:2]
         for a, b in zip(twins["name"], twins["same_as"], strict=True)]
print(f"{len(twins)} clips have the same picture as another clip, "
      f"{sum(apart)} of them as a clip of another source video (by name):")
print(twins[apart].to_string(index=False))

# %% [markdown]
# ## 8 Four real classes, whole clips
#
# 300 real clips of four classes (three per group), ResNet-50, 16 frames, $H = 64$, three seeds. Made by the same
# command with `ucf101_subset`. Test top-1, mean over the last third of the epochs, seeds and lists.
#
# A *head* is the model trained on the frozen features. `cnn_lstm` is the paper's baseline ([Chapter
# 8](08_cnn_lstm.ipynb)), `context_lstm` its new network ([Chapter 7](07_context_lstm.ipynb); `_no_pool` and `_bn_relu`
# are variants), `shuffled_lstm` the baseline on shuffled frames, `single_frame` a linear layer on the middle frame.

# %%
records = runs.load("../papermill_runs/results/ucf101_subset")
leak_table = study_tables.leak(records).frame
top1 = leak_table.pivot(index="model", columns="protocol", values="top1")
wide = 100 * top1[["paper", "official"]]
wide["drop"] = wide["paper"] - wide["official"]
seen = leak_table.groupby("protocol")["siblings"].mean()
print(f"test clips with a sibling in training: paper {seen['paper']:.0%}, "
      f"official {seen['official']:.0%}")
display(wide.sort_values("official", ascending=False).round(1))
figures.heads_by_protocol(leak_table)

# %% [markdown]
# *What you see:* every orange dot but one lies right of its black diamond. Scores fall by four to nine points without
# the leak, but most of the 95 % intervals (thin lines, see [the statistics primer](15_statistics.ipynb)) overlap. For
# the exception, some late epochs collapsed.
#
# ## Try it
#
# Choose a protocol and a seed. First all of UCF101:

# %%
widgets.split_explorer(full)

# %%
widgets.split_explorer_figure(full, protocol="paper", seed=0)

# %% [markdown]
# Now the synthetic clips, three from each source video. Does the random split leak more or less here?
#
# <details><summary>Answer</summary>
#
# Less: with two siblings, $1 - (1/4)^2$, about 94 % on average. (Section 8 has 88 %: whole source videos went to validation.)
#
# </details>

# %%
widgets.split_explorer(clips)

# %%
widgets.split_explorer_figure(clips, protocol="paper", seed=0)

# %% [markdown]
# **Question.** Why, under `official`, is the test set here larger than the training set, whatever the seed?
#
# <details><summary>Answer</summary>
#
# List 1 tests on groups 1-7, here 7 of only 12, and a fixed rule ignores the seed.
#
# </details>
#
# ## Check
#
# Our count and our lookup against the package's.

# %%
by_hand = ucf101.Split("paper", 1, 0, np.sort(train), np.sort(test))
assert ucf101.leakage(full, by_hand).share == leaked.mean()
for split in (*three.values(), *splits):  # every clip once
    assert sorted([*split.train, *split.test]) == list(range(len(full)))
for name in ("grouped", "official"):
    assert ucf101.leakage(full, three[name]).share == 0

head = references.NearestNeighbour(input_size=1280, num_classes=len(features.classes))
head.learn(features.x[grouped.train].float(), features.y[grouped.train])
says = head(features.x[grouped.test].float()).argmax(dim=1)  # (test,) class numbers
torch.testing.assert_close(says, features.y[most_similar(grouped)])
torch.testing.assert_close(head.vectors, unit[grouped.train])
print("the same answers as ctxlstm.models.NearestNeighbour")

# %% [markdown]
# ## Common mistakes
#
# - **Taking the group number alone for the source video.** Group 1 exists in all 101 classes.
# - **Mixing two spellings.** The official lists say `HandstandPushups`, the clips' names `HandStandPushups`: 102
#   classes.
# - **Stratifying and believing that it helps.** Equal class shares do not keep source videos whole.
# - **Cutting the validation set clip by clip.** The same leak, one level down; `ucf101.validation` avoids it.
#
# ## Exercises
#
# [Exercises 3](exercises/release/03_ucf101/03_ucf101.ipynb): siblings, an expectation, a prediction to test with the
# widget, a split that does not leak. [Solutions](exercises/source/03_ucf101/03_ucf101.ipynb).

# %% [markdown]
# ## Limits
#
# - That the paper drew clip by clip is inferred from 9,990 and 3,330.
# - Sections 3 and 6 are synthetic: every source video has its own colours on purpose, 12 per class, not 25.
# - The paper's network was not run on 28 frames of all 101; what it would lose is unmeasured.
# - The four classes of section 8 differ in scenery (a piano, a floor): easy even for a new source video.

# %% [markdown]
# ## Summary
#
# - (class, group) is one source video, shared by four to seven clips; the name gives both.
# - Under a random 3:1 split, 99.4 % of UCF101's test clips have a sibling in training: it tests on source videos
#   already seen.
# - The official lists and `grouped` keep source videos whole. There, looking up the most similar picture loses more
#   than 35 points.
# - The paper reports the random split only. Every result in this book stands beside one without the leak.
#
# Next: [Chapter 4](04_deep_temporal_features.ipynb) makes the vectors that this chapter took for granted.

# %%
import quizzes

display(quizzes.quiz("03"))
print(classroom.versions())
