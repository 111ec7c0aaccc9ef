# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 4 Deep temporal features: from frames to a sequence of vectors
#
# Paper section 3.2. About 45 minutes of reading, a minute of computing, no downloads.
#
# After this chapter you can
#
# - turn a video file into a sequence $x$ of shape $(T, D)$: choose frames, run a frozen CNN, pool its feature maps;
# - see in a picture what such features hold most: the place, the action, or the passing of time;
# - test whether a class needs the *order* of its frames, and say why an average can never know it.
#
# Before this: [Chapter 3](03_ucf101.ipynb), where one mean vector a clip was all that a model saw.

# %% [markdown]
# **The question.** A frozen CNN sees one frame at a time. Put its outputs in a row: what does their *order* tell
# that the frames alone do not?
#
# > **Guess first.** Eight classes of generated clips: JumpingJack, Kick, Squat, Wave, and two pairs in which one
# > class is the other played backwards: SitDown / StandUp and WalkLeft / WalkRight. A model is trained on clips
# > whose frames were shuffled. For which classes will it get worse? And if you play a clip of SitDown backwards to
# > a model that was trained on ordered frames, what will it say?
# >
# > My guess: ______

# %% [markdown]
# ## What the paper says
#
# - A deep CNN extracts the features; they are sent on to an extractor and classifier over time, such as an LSTM.
#   The result is what it calls *deep temporal features* (section 3.2).
# - Temporal information is defined as "the correlation among the temporal sequences" (section 3.2). We read: among the
#   elements of a sequence.
# - The CNN is a pre-trained ResNet-50 (sections 3.4 and 4.2). Why deep: deeper networks extract more advanced,
#   semantic features, and the paper wants the same of deeper LSTMs.
#
# ## What it does not say
#
# > **Not stated in the paper.** Which frames of a clip are used, how many, whether the CNN is trained further, and
# > which layer is read. **Our default** follows the public code base that the paper's screenshot shows: frames 1 to
# > 28, the CNN frozen, the output of its global average pooling (ResNet-50: $D = 2048$). **Alternatives** that the
# > package has: frames spread over the whole clip (`rule="uniform"`), any number of them, another backbone.
# >
# > In this chapter: 12 frames spread over the clip, EfficientNet-Lite0 ($D = 1280$), because its weights come with
# > the installation. The clips are **synthetic**.

# %%
from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA

from ctxlstm import classroom, evaluation, figures, models, stickfigures, training, ucf101, video, widgets
from ctxlstm.experiments import runs
from ctxlstm.report import study_tables

torch.manual_seed(0)
plt.rcParams.update(figures.style())

# %% [markdown]
# ## 1 A clip becomes frames
#
# `video.read_frames` decodes a file and takes frames by a rule. `all` takes every one, `first` the first $T$,
# `uniform` the centres of $T$ equal segments of a clip of $n$ frames:
#
# $$\text{index}(i) = \left\lfloor \frac{(i + \tfrac12)\, n}{T} \right\rfloor, \qquad i = 0, \dots, T - 1$$

# %%
clips = classroom.clips()
path = clips.set_index("name")["path"]
every = video.read_frames(path["v_SitDown_g01_c01"], rule="all")
n, T = every.decoded, 12
print(f"{tuple(every.images.shape)} = (n frames, RGB, height, width), {every.images.dtype}")

uniform = ((np.arange(T) + 0.5) * n / T).astype(int)  # (T,)
twelve = video.read_frames(path["v_SitDown_g01_c01"], T, "uniform")
assert (uniform == twelve.index).all()
assert torch.equal(every.images[uniform], twelve.images)
print("uniform:", uniform)

# %% [markdown]
# How much of a clip do the first 28 frames cover? That depends on its length. The public code base counted the
# frames of all 13,320 clips: the shortest has 29, the median 167, the longest 1,776.

# %%
lengths = {"shortest": 29, "median": 167, "longest": 1776}  # frames, UCF101
for name, n in lengths.items():
    print(f"{name}: 28 frames are {28 / n:.0%} of {n}, {28 / 25:.1f} s at 25 frames a second")

figure, axes = plt.subplots(figsize=(9, 2.2), layout="constrained")
rules = {"first": figures.HEAD_COLOURS["cnn_lstm"], "uniform": figures.HEAD_COLOURS["context_lstm"]}
for y, (rule, colour) in enumerate(rules.items()):
    index = video.frame_index(rule, lengths["median"], 28)
    axes.plot(index, [y] * 28, "|", color=colour, markersize=22, markeredgewidth=2, label=rule)
axes.axvspan(0, 167, color="#F2F2F2", zorder=0)
axes.set(xlabel="frame number in a clip of median length (167 frames)", yticks=[0, 1], ylim=(-0.7, 1.7))
axes.set_yticklabels([f"{rule} 28" for rule in rules])
axes.set_title("28 frames, two rules")
plt.show()

# %% [markdown]
# What you see: `first` ends after about a sixth of the clip. A movement that happens later is never shown to the
# model. So when the paper says that it tests on the entire validation set, not on selected clips or frames (section
# 4.3), this holds for clips; if it used its code base's default, it does not hold for frames.
#
# ## 2 A frame becomes a vector
#
# The CNN reads a square: the frame is squashed to 128 × 128, and its pixels are shifted and scaled. Its last
# convolution gives **feature maps**, one small picture for each of $D$ channels. Their mean over all places is the
# feature of the frame:
#
# $$x_{t,d} = \frac{1}{P} \sum_{p=1}^{P} m_{t,d,p}$$
#
# $m_{t,d,p}$ is the value of map $d$ of frame $t$ at place $p$; here there are $P = 4 \cdot 4 = 16$ places.

# %%
backbone = classroom.backbone()  # EfficientNet-Lite0, ImageNet weights, frozen
small = backbone.resize(twelve.images)  # (T, 3, 128, 128) uint8
scaled = (small.float() - backbone.mean) / backbone.std  # (T, 3, 128, 128)
with torch.no_grad():
    maps = backbone.net.extract_features(scaled)  # (T, 1280, 4, 4)
x = maps.mean(dim=(2, 3))  # (T, 1280) = (T, D)
print(f"maps {tuple(maps.shape)} -> x {tuple(x.shape)}")

# %% [markdown]
# That is all. The package's backbone does the same, and `classroom.features` kept it for all 288 clips (as 16-bit
# numbers, hence the tolerance).

# %%
torch.testing.assert_close(backbone(twelve.images), x, rtol=1e-3, atol=1e-3)
features = classroom.features()  # x (288, 12, 1280)
row = clips.index[clips["name"] == "v_SitDown_g01_c01"][0]
torch.testing.assert_close(features.x[row].float(), x, rtol=1e-2, atol=1e-2)
trainable = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
print(f"equal; the backbone has {trainable} trainable parameters: it is frozen")

# %%
channel = x.std(dim=0).argmax().item()  # the feature that changes most over this clip
figure, axes = plt.subplots(2, 6, figsize=(10, 3.1), layout="constrained")
for k, t in enumerate(range(0, 12, 2)):
    axes[0, k].imshow(twelve.images[t].permute(1, 2, 0), aspect="auto")
    image = axes[1, k].imshow(maps[t, channel], vmin=0, vmax=maps[:, channel].max(), cmap="viridis")
    axes[0, k].set_title(f"t = {t + 1}", fontsize="small")
    axes[1, k].set_xlabel(f"mean {x[t, channel]:.2f}")
for a in axes.flat:
    a.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("frame")
axes[1, 0].set_ylabel(f"map {channel}")
figure.colorbar(image, ax=axes[1], label="activation")
figure.suptitle("Frames of SitDown and one of their 1,280 feature maps (4 x 4 places)", weight="bold")
plt.show()

# %% [markdown]
# What you see: this map is bright while the figure stands and fades as it sits down, and so does its mean, the one
# number that is kept of it. *Where* the map was bright is lost: 16 places became one number; [Chapter
# 5](05_information_loss.ipynb) measures such losses.
#
# ## 3 Vectors in a row: the sequence
#
# A clip is now a matrix $x$ of shape $(T, D)$. A batch of $B$ clips is $(B, T, D)$. This is all that any head in
# this book ever sees.

# %%
changing = x.std(dim=0).argsort(descending=True)[:40]  # the 40 features that change most
reverse = x.flip(0)  # (T, D), the clip played backwards
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True, layout="constrained")
for a, sequence, title in zip(axes, (x, reverse), ("SitDown", "the same, played backwards"), strict=True):
    image = a.imshow(sequence[:, changing].T, aspect="auto", cmap="viridis", extent=(0.5, T + 0.5, 40, 0))
    a.set(xlabel="time step t", title=title)
    a.grid(visible=False)
axes[0].set_ylabel("feature (40 of 1,280)")
figure.colorbar(image, ax=axes, label="value")
plt.show()

# %% [markdown]
# What you see: mirror images. The columns are the same; only their order differs.
#
# **Now take the mean over time.** It is a sum, and a sum does not care about order:
#
# $$\bar x = \frac1T \sum_{t=1}^{T} x_t = \frac1T \sum_{t=1}^{T} x_{\pi(t)} \quad \text{for every reordering } \pi$$
#
# So the heads `mean_linear` and `nearest_neighbour` of Chapter 3, which see only $\bar x$, *cannot* tell a clip
# from its reverse, however long they train. The paper's "correlation", read as similarity between frames, is partly
# blind, too: backwards it is the same numbers.

# %%
shuffled = x[torch.randperm(T)]  # (T, D)
torch.testing.assert_close(shuffled.mean(dim=0), x.mean(dim=0))
similar = torch.corrcoef(x)  # (T, T), between the frames
torch.testing.assert_close(torch.corrcoef(reverse), similar.flip(0, 1))
print("mean: the same in any order; correlation between frames: the same numbers, mirrored")

# %% [markdown]
# ## 4 What do the features hold most?
#
# Split the total variance of all $288 \cdot 12$ vectors into four parts that add up: between classes, between
# source videos of a class, between clips of a source video, and over time within a clip.

# %%
X = features.x.float()  # (288, 12, 1280)


def average_by(columns):
    """For every clip the mean vector of all clips that agree with it in these columns, (288, D)."""
    number = torch.as_tensor(clips.groupby(columns).ngroup().to_numpy())
    return torch.stack([X[number == k].mean(dim=(0, 1)) for k in range(number.max() + 1)])[number]


levels = [X.mean(dim=(0, 1)), average_by(["label"]), average_by(["label", "group"]), X.mean(dim=1)]
steps = [(b - a).square().sum() * 12 for a, b in pairwise(levels)]
steps.append((X - levels[-1][:, None]).square().sum())
parts = ["class", "source video", "clip", "time"]
variance = pd.Series([100 * float(step / sum(steps)) for step in steps], index=parts)
torch.testing.assert_close(sum(steps), (X - levels[0]).square().sum(), rtol=1e-4, atol=0)
variance.round(0).rename("share of the variance (%)").to_frame().T

# %% [markdown]
# The source video has about half of it, the class a tenth at most (the mean of twelve source videos keeps a twelfth of their
# differences, so about two thirds of that are the class's own). That is why the lookup of Chapter 3 found siblings: two
# clips are alike first because they were filmed in the same place.
#
# A picture says it too. **PCA** finds the two directions in which the vectors differ most. Each clip becomes a
# **trajectory**: a dot at its first frame, then a line through its frames. Left and right are the same lines,
# coloured in two ways.

# %%
chosen = clips["label"].isin(["JumpingJack", "Kick", "SitDown", "Wave"]) & (clips["group"] <= 3)
some = clips[chosen].reset_index(drop=True)  # 4 classes x 3 source videos x 3 clips
flat = X[chosen.to_numpy()].flatten(0, 1).numpy()  # (36 * 12, D)
plane = PCA(2, random_state=0).fit_transform(flat).reshape(len(some), T, 2)  # (36, T, 2)


def draw(axes, plane, key, colours):
    """A line for each clip, a dot at its first frame, the colour by `key`; each key once in the legend."""
    names = dict(zip(sorted(set(key)), colours, strict=False))
    for clip, name in zip(plane, key, strict=True):
        axes.plot(*clip.T, color=names[name], linewidth=0.9, alpha=0.8)
        axes.plot(*clip[0], "o", color=names[name], markersize=6)
    for name, colour in names.items():
        axes.plot([], [], "o-", color=colour, label=name)
    axes.set(xlabel="first principal component", ylabel="second principal component")
    axes.legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(0, -0.17), ncols=3)


# %%
four = ["#0072B2", "#E69F00", "#009E73", "#CC79A7"]
twelve_colours = plt.get_cmap("tab20").colors[:12]
figure, axes = plt.subplots(1, 2, figsize=(11, 5.4), sharey=True, layout="constrained")
draw(axes[0], plane, some["label"], four)
draw(axes[1], plane, some["label"] + " g" + some["group"].astype(str), twelve_colours)
axes[0].set_title("36 trajectories, coloured by class")
axes[1].set_title("the same, coloured by source video")
plt.show()

# %% [markdown]
# What you see: on the right, lines of one colour lie close together: three clips of a source video move through the
# same small region. On the left, the colours of the classes are spread over the plane. In these two directions,
# place beats action.
#
# **Take the place away.** Subtract from every clip its own mean over time. What is left is movement only. Draw the
# pair SitDown / StandUp.

# %%
pair = ("SitDown", "StandUp")
both = clips["label"].isin(pair).to_numpy()
moved = X[both] - X[both].mean(dim=1, keepdim=True)  # (72, T, D)
plane = PCA(2, random_state=0).fit_transform(moved.flatten(0, 1).numpy()).reshape(-1, T, 2)  # (72, T, 2)
label = clips["label"][both].to_numpy()
figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), sharey=True, layout="constrained")
for a, name, colour in zip(axes, pair, ("#0072B2", "#D55E00"), strict=True):
    draw(a, plane[label == name], label[label == name], [colour])
    average = plane[label == name].mean(axis=0)  # (T, 2)
    a.plot(*average.T, color="black", linewidth=2.5)
    a.annotate("", average[-1], average[-2], arrowprops={"arrowstyle": "-|>", "color": "black", "lw": 2.5})
    a.set_title(f"{name}: 36 clips, and their mean (black)")
plt.show()

# %% [markdown]
# What you see: one curve, travelled in two directions. SitDown starts (dots) where StandUp ends. Points alone could
# not tell the classes apart; the direction does. A model that is to know them must remember what came first. (A
# t-SNE picture keeps neighbours, not distances, so a line through it would mean little; PCA suffices.)
#
# ## 5 Does a class need order? The shuffle test
#
# Train the same head twice on splits by source video: once with frames in order, once with every clip's frames
# shuffled. What it loses is what order was worth. The head is `bilstm`, an LSTM that reads both ways; take it as
# given until [Chapter 6](06_lstm_gates.ipynb).

# %%
order = torch.rand(X.shape[:2], generator=torch.Generator().manual_seed(0)).argsort(dim=1)  # (288, T)
versions = {
    "in order": features,
    "shuffled": replace(features, x=features.x.take_along_dim(order[:, :, None], dim=1)),
}
config = training.Config(epochs=25, batch_size=24, validation=0, cpu=True)
said = {"in order": [], "shuffled": [], "in order, tested backwards": []}

# %%
for seed in range(3):
    split = ucf101.split(clips, "grouped", seed=seed)
    for name, version in versions.items():
        torch.manual_seed(seed)
        model = models.build("bilstm", **classroom.SMALL)
        said[name].append(training.fit(model, version, split, replace(config, seed=seed)).predictions)
        if name == "in order":  # the same trained model, asked about the same test clips played backwards
            model.eval()
            with torch.no_grad():
                logits = model(X[split.test].flip(1))  # (B, K)
            tested = features.y[split.test], clips["name"].iloc[split.test], features.classes
            said["in order, tested backwards"].append(evaluation.predictions(logits, *tested))
answers = {name: pd.concat(tables, ignore_index=True) for name, tables in said.items()}
print({name: f"top-1 {(table['label'] == table['predicted']).mean():.0%}" for name, table in answers.items()})

# %% [markdown]
# Overall numbers hide what we want. For a class of a reversed pair, count three answers: the class itself, **its
# reverse**, anything else.

# %%
twin = dict(classroom.PAIRS) | {b: a for a, b in classroom.PAIRS}
rows = []
for name, table in answers.items():
    own = table["predicted"] == table["label"]
    reverse_said = table["predicted"] == table["label"].map(twin)
    kind = table["label"].map(
        lambda c: next((" / ".join(p) for p in classroom.PAIRS if c in p), "the four others")
    )
    share = pd.DataFrame({"right": own, "its reverse": reverse_said}).groupby(kind).mean()
    rows.append((100 * share).round(0).assign(frames=name))
order_table = pd.concat(rows).rename_axis("classes").set_index("frames", append=True)
order_table.sort_index(level=0, sort_remaining=False)

# %%
colours = {"right": "#0072B2", "its reverse": "#D55E00"}
figure, axes = plt.subplots(1, 3, figsize=(11, 3), sharey=True, layout="constrained")
for a, classes in zip(axes, order_table.index.levels[0], strict=True):
    part = order_table.loc[classes].loc[list(answers)]  # (3, 2)
    part.plot.barh(ax=a, color=colours, legend=False, width=0.75)
    a.set(xlabel="test clips (%)", ylabel="", xlim=(0, 100))
    a.set_title(classes, fontsize="medium")
    a.grid(visible=False, axis="y")
axes[0].invert_yaxis()
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
plt.show()

# %% [markdown]
# **Compare with your guess.** What you see: for SitDown / StandUp the test is a clear one. In order, mostly right;
# shuffled, a coin toss between the two; and tested backwards, the model calls most clips by the name of the
# *reverse*: it follows the order. The four other classes hardly notice that they are played backwards. And WalkLeft
# / WalkRight? There, order makes no visible difference: this head does not find it.
#
# **Doubt this.** 72 test clips a seed come from 24 source videos, three seeds: a bar moves by ten points and more
# with other seeds. Larger records follow.
#
# ## 6 The same question to larger records
#
# Stick figures again (**synthetic**), but 12 classes, 25 source videos each, five seeds, split by source video.
# Made by `papermill papermill_runs/sweep.ipynb out.ipynb -p config stickfigures -p results
# papermill_runs/results/stickfigures`. The heads are those of [Chapter 3](03_ucf101.ipynb): `shuffled_lstm` is
# `cnn_lstm` on shuffled frames, `single_frame` a linear layer on the middle frame.

# %%
records = runs.load("../papermill_runs/results/stickfigures")
shown = ["context_lstm", "cnn_lstm", "shuffled_lstm", "mean_linear"]  # the last two know no order
tables = {name: study_tables.per_class(records, name, "grouped").frame for name in shown}
by_class = pd.DataFrame({name: table.set_index("class")["top1"] for name, table in tables.items()})
(100 * by_class).round(0).astype(int)

# %%
needs = (100 * (by_class["cnn_lstm"] - by_class["shuffled_lstm"])).sort_values()
has_reverse = {name for pair in stickfigures.REVERSED_PAIRS for name in pair}
meaning = {"class of a reversed pair": "#D55E00", "no reverse among the classes": figures.GREY}
figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
for (text, colour), paired in zip(meaning.items(), (True, False), strict=True):
    shown_bars = needs.where([(name in has_reverse) == paired for name in needs.index])
    axes.barh(needs.index, shown_bars, color=colour, label=text)
axes.axvline(0, color="black", linewidth=0.8)
axes.set(xlabel="top-1 in order minus shuffled (percentage points)")
axes.set_title("cnn_lstm against shuffled_lstm, the same network (synthetic, 5 seeds)")
axes.legend(frameon=False, loc="lower right")
axes.grid(visible=False, axis="y")
plt.show()

# %% [markdown]
# What you see: most classes of reversed pairs are far up, StandUp, PickUp and SitDown first. But the picture is not
# clean: some classes without a reverse gain too, and the walkers and PutDown hardly or not at all. A class can be
# missed for other reasons than order. A sharper question: *when a head names one of the two classes of a pair, is
# it the right one?* Half would be a coin toss.

# %%
usual = records[
    (records["variant"] == "") & (records["batch_size"] == 40) & (records["protocol"] == "grouped")
]
rows = {}
for name in [*shown, "single_frame"]:
    table = pd.concat(runs.predictions(run) for _, run in usual[usual["model"] == name].iterrows())
    for pair in stickfigures.REVERSED_PAIRS:
        inside = table[table["label"].isin(pair) & table["predicted"].isin(pair)]
        rows[name, " / ".join(pair)] = 100 * (inside["label"] == inside["predicted"]).mean()
pd.Series(rows).unstack(0)[[*shown, "single_frame"]].round(0).astype(int)

# %% [markdown]
# What you see: heads that read in order are almost never wrong about sitting and standing or about the arms; PickUp
# / PutDown is harder, and here `context_lstm` is well ahead of `cnn_lstm`. Heads without order mostly stay near one
# half. For the walkers no head does well, and those without order do no worse. They were *made* to need order; that
# a head finds it in 12 feature vectors is another matter. (A walker crosses the scene; the mean over all places
# throws away much of just that.)
# (`single_frame` reads frame 7 of 12, a little past the middle, where who sits down is lower than who stands up: a head start
# without any order.)
#
# **A puzzle.** `single_frame` is right about seven walkers in ten. How can one frame know? Ask first how many
# independent answers are behind the number: clips of one source video look alike and get the same answer.

# %%
walkers = ("WalkRight", "WalkLeft")
rows = {}
for name in ("single_frame", "mean_linear"):
    table = pd.concat(runs.predictions(run) for _, run in usual[usual["model"] == name].iterrows())
    inside = table[table["label"].isin(walkers) & table["predicted"].isin(walkers)]
    right = 100 * (inside["label"] == inside["predicted"])
    by_video = right.groupby(inside["name"].str[:-4]).mean()  # v_WalkLeft_g01_c02 -> v_WalkLeft_g01
    rows[name] = {
        "answers": len(right),
        "source videos": len(by_video),
        "of these all right or all wrong (%)": 100 * by_video.isin([0, 100]).mean(),
        "right, mean over source videos (%)": by_video.mean(),
        "its standard error": by_video.sem(),
    }
pd.DataFrame(rows).T.round(0).astype(int)

# %% [markdown]
# What you see: most source videos are answered as a whole, so some forty of them count, not the clips. `mean_linear`,
# which *cannot* know the direction, is above one half too, and within this error equally far: most likely the looks of
# the 25 source videos of one class just happen to differ from the other's. You can test that: draw new walkers with
# `stickfigures.frames(name, group, 1, seed=1)` and see whether a linear classifier still tells them apart from one frame.
#
# ## 7 And real clips?
#
# Four real classes of UCF101, official lists, three seeds, made by the same command with `-p config ucf101_subset`:

# %%
real = runs.load("../papermill_runs/results/ucf101_subset")
table = pd.DataFrame(
    {
        name: study_tables.per_class(real, name, "official").frame.set_index("class")["top1"]
        for name in [*shown, "single_frame"]
    }
)
table.loc["all four"] = table.mean()
(100 * table).round(0).astype(int)

# %% [markdown]
# What you see: small differences in no clear direction. One frame, the middle one, does about as well as
# `context_lstm` on all of them in order, and shuffling costs a few points in the mean, less than the intervals of
# [Chapter 3](03_ucf101.ipynb) are wide. A piano is a piano in any frame. Only for PushUps is `cnn_lstm` some points
# ahead of the single frame; `context_lstm` is not, so three seeds do not settle whether order helps there.
#
# **So keep both in mind.** Our generated classes were made so that order matters; these four real classes hardly
# need it. Neither is UCF101. Which of its 101 classes need order has not been measured here; a result on stick
# figures shows that a model *can* use order, not that it must.
#
# ## Try it
#
# Choose a clip of StandUp and move through its frames. Then one of WalkLeft. Cover all frames but one with your
# hand: could *you* name the class?

# %%
widgets.frame_browser(clips)

# %%
widgets.frame_browser_figure(clips, name="v_StandUp_g02_c01", t=0)

# %% [markdown]
# **Question.** Which single frame of a SitDown clip gives its class away, if you are told that it is the *first*?
# Is there such a frame for WalkLeft, where the figure faces left or right at random? (Look at its place, not its face.)
#
# ## Check
#
# Shapes, the two rules against the package, and the permutation test on untrained heads: `mean_linear`
# gives one answer for all orders, an LSTM does not.

# %%
for n in (5, 29, 167, 1776):
    uniform = ((np.arange(28) + 0.5) * n / 28).astype(int)
    np.testing.assert_array_equal(uniform, video.frame_index("uniform", n, 28))
    np.testing.assert_array_equal(np.minimum(np.arange(28), n - 1), video.frame_index("first", n, 28))

torch.manual_seed(0)
mean_linear = models.build("mean_linear", input_size=1280, num_classes=8)
lstm = torch.nn.LSTM(1280, 32, batch_first=True)
with torch.no_grad():
    torch.testing.assert_close(mean_linear(X[:4]), mean_linear(X[:4].flip(1)), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(lstm(X[:4])[0][:, -1], lstm(X[:4].flip(1))[0][:, -1], atol=1e-3)
print("the mean does not see order, an LSTM does")

# %% [markdown]
# ## Common mistakes
#
# - **Choosing frames by time instead of by number.** UCF101 has clips of 25 and of 29.97 frames a second. If the
#   rate goes with the class, the model may read the rate.
# - **Leaving the backbone in training mode.** `requires_grad_(False)` freezes weights, not BatchNorm's statistics;
#   then a clip's features depend on its batch. The package's backbone stays in evaluation mode ([Chapter
#   9](09_training.ipynb)).
# - **Reading a shuffle test too quickly.** If shuffling costs nothing, *this head on this data* did not use order.
#   That the task needs none does not follow.
#
# ## Exercises
#
# [Exercises 4](exercises/release/04_deep_temporal_features/04_deep_temporal_features.ipynb): frame rules, pooling
# by hand, a shuffle test, and a prediction to check with the frame browser.
# [Solutions](exercises/source/04_deep_temporal_features/04_deep_temporal_features.ipynb).
#
# ## Summary
#
# - Frames by a rule, a frozen CNN, the mean over its feature maps: a clip becomes $x$ of shape $(T, D)$. The first
#   28 frames cover about a sixth of a median UCF101 clip.
# - In the features of our generated clips the source video has about half of the variance and the class a tenth at most;
#   movement is the trajectory that is left when the clip's mean is taken away.
# - An average cannot know order. SitDown / StandUp need it, and a trained head follows it even backwards; OpenArms
#   / CloseArms and PickUp / PutDown need it too; for the walkers no head here uses it; the four real classes hardly
#   need it.
# - Where we differ from the paper: it does not say which frames it takes, and it shows no test of whether order is
#   used. Our features here are EfficientNet-Lite0's, not ResNet-50's.
#
# Next: [Chapter 5](05_information_loss.ipynb) asks what each step of the CNN throws away.

# %%
print(classroom.versions())
