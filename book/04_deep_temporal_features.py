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
# Paper: section 3.2 | 50 minutes to read and play, two minutes to run | downloads: none
#
# **The question.** Does the order of the frames matter?
#
# After this chapter you can
#
# - turn a video file into a sequence $x$ of shape $(T, D)$: choose frames, run a frozen CNN, pool its feature maps;
# - see what such features hold most: the place, the action, or the passing of time;
# - test whether a class needs the *order* of its frames.
#
# Before this: [Chapter 3](03_ucf101.ipynb). Terms: [glossary](glossary.md).
#
# > **Guess first.** Eight classes of synthetic clips: JumpingJack, Kick, Squat, Wave, and two pairs in which one class
# > is the other played backwards: SitDown / StandUp and WalkLeft / WalkRight. Which classes suffer if a model is
# > trained on shuffled frames? And what will a model trained in order call a SitDown played backwards? ______
#
# <details><summary>Answer</summary>
#
# SitDown and StandUp; mostly StandUp. The walkers are a surprise (section 5).
#
# </details>

# %% [markdown]
# ## What the paper says
#
# - A deep CNN extracts features, and an LSTM, say, reads them over time: *deep temporal features* (section 3.2).
# - Temporal information is "the correlation among the temporal sequences" (section 3.2).
# - The CNN is a pre-trained ResNet-50 (sections 3.4 and 4.2).
#
# > **Not stated in the paper.** Which frames, how many, whether the CNN is trained further, and which layer is read.
# > **Our default** follows the public code base in the paper's screenshot: the first 28 frames, a CNN with frozen weights, its
# > global average pooling ($D = 2048$). **Alternatives**: frames spread over the clip (`rule="uniform"`), another
# > number, another backbone.
# >
# > In this chapter: 12 frames spread over **synthetic** clips, and EfficientNet-Lite0 ($D = 1280$), which comes with
# > the installation.

# %%
from dataclasses import replace
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RepeatedStratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ctxlstm import classroom, figures, models, stickfigures, ucf101, video, widgets
from ctxlstm.experiments import runs
from ctxlstm.report import study_tables

torch.manual_seed(0)
plt.rcParams.update(figures.style())

# %% [markdown]
# ## 1 A clip becomes frames
#
# `video.read_frames` decodes a file and takes frames by a rule: `all`, the `first` $T$, or `uniform`, the centres of
# $T$ equal segments of a clip of $n$ frames. Frames count from 0:
#
# $$\text{index}(i) = \left\lfloor \frac{(i + \tfrac12)\, n}{T} \right\rfloor, \qquad i = 0, \dots, T - 1$$

# %%
clips = classroom.clips()
path = clips.set_index("name")["path"]
every = video.read_frames(path["v_SitDown_g01_c01"], rule="all")
n, T = every.decoded, 12
print(f"{tuple(every.images.shape)} = (n frames, RGB, height, width), "
      f"{every.images.dtype}")

uniform = ((np.arange(T) + 0.5) * n / T).astype(int)  # (T,)
twelve = video.read_frames(path["v_SitDown_g01_c01"], T, "uniform")
assert (uniform == twelve.index).all()
assert torch.equal(every.images[uniform], twelve.images)
print("uniform:", uniform)

# %% [markdown]
# How much of a clip are its first 28 frames? (Lengths of UCF101's clips: the public code base.)

# %%
lengths = {"shortest": 29, "median": 167, "longest": 1776}  # frames, UCF101
for name, n in lengths.items():
    print(f"{name}: 28 frames are {28 / n:.0%} of {n}, "
          f"{28 / 25:.1f} s at 25 frames per second")

figure, axes = plt.subplots(figsize=(9, 2.2), layout="constrained")
rules = {"first": "black", "uniform": figures.GREY}
for y, (rule, colour) in enumerate(rules.items()):
    index = video.frame_index(rule, lengths["median"], 28)
    axes.plot(index, [y] * 28, "|", color=colour, markersize=22, markeredgewidth=2,
              label=rule)
axes.axvspan(0, 167, color="#F2F2F2", zorder=0)
axes.set(xlabel="frame number in a clip of median length (167 frames)",
         ylabel="rule", yticks=[0, 1], ylim=(-0.7, 1.7))
axes.set_yticklabels([f"{rule} 28" for rule in rules])
axes.set_title("28 frames, two rules")
plt.show()

# %% [markdown]
# *What you see:* `first` ends after a sixth of a median clip. The paper says that it tests on the entire validation
# set, not on selected clips or frames (section 4.3). With its code base's default, that holds for clips only.
#
# ## 2 A frame becomes a vector
#
# The frame is squashed to 128 × 128 pixels and scaled. The CNN's last convolution gives **feature maps**, one small
# picture for each of $D$ channels. Their means over the $P = 4 \cdot 4 = 16$ places are the frame's feature
# ($m_{t,d,p}$: map $d$ of frame $t$ at place $p$):
#
# $$x_{t,d} = \frac{1}{P} \sum_{p=1}^{P} m_{t,d,p}$$

# %%
backbone = classroom.backbone()  # EfficientNet-Lite0, ImageNet weights, frozen
small = backbone.resize(twelve.images)  # (T, 3, 128, 128) uint8
scaled = (small.float() - backbone.mean) / backbone.std  # (T, 3, 128, 128)
with torch.no_grad():
    maps = backbone.net.extract_features(scaled)  # (T, 1280, 4, 4)
x = maps.mean(dim=(2, 3))  # (T, 1280) = (T, D)
print(f"maps {tuple(maps.shape)} -> x {tuple(x.shape)}")

# The package does the same. It keeps the features of all 288 clips as 16-bit
# numbers, hence the tolerance.
torch.testing.assert_close(backbone(twelve.images), x, rtol=1e-3, atol=1e-3)
features = classroom.features()  # x (288, 12, 1280)
row = clips.index[clips["name"] == "v_SitDown_g01_c01"][0]
torch.testing.assert_close(features.x[row].float(), x, rtol=1e-2, atol=1e-2)
trainable = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
print(f"equal; the backbone has {trainable} trainable parameters: it is frozen")

# %% tags=["hide-input"]
channel = x.std(dim=0).argmax().item()  # the feature that changes most over this clip
figure, axes = plt.subplots(2, 6, figsize=(10, 3.1), layout="constrained")
for k, t in enumerate(range(0, 12, 2)):
    axes[0, k].imshow(twelve.images[t].permute(1, 2, 0), aspect="auto")
    image = axes[1, k].imshow(maps[t, channel], vmin=0, vmax=maps[:, channel].max(),
                              cmap="viridis")
    axes[0, k].set_title(f"t = {t}", fontsize="small")
    axes[1, k].set_xlabel(f"mean {x[t, channel]:.2f}")
for a in axes.flat:
    a.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("frame")
axes[1, 0].set_ylabel(f"map {channel}")
figure.colorbar(image, ax=axes[1], label="activation")
figure.suptitle("Frames of SitDown and one of their 1,280 feature maps (4 x 4 places)",
                weight="bold")
plt.show()

# %% [markdown]
# *What you see:* this map is bright while the figure stands and fades as it sits down, and so does its mean. *Where* it
# was bright is lost; [Chapter 5](05_information_loss.ipynb) measures such losses.
#
# ## 3 Vectors in a row: the sequence
#
# A clip is now a matrix $x$ of shape $(T, D)$, a batch $(B, T, D)$. No head in this book ever sees more.

# %%
changing = x.std(dim=0).argsort(descending=True)[:40]  # the 40 that change most
reverse = x.flip(0)  # (T, D), the clip played backwards
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True, layout="constrained")
titles = ("SitDown", "the same, played backwards")
for a, sequence, title in zip(axes, (x, reverse), titles, strict=True):
    image = a.imshow(sequence[:, changing].T, aspect="auto", cmap="viridis",
                     extent=(-0.5, T - 0.5, 40, 0))
    a.set(xlabel="time step t", title=title)
    a.grid(visible=False)
axes[0].set_ylabel("feature (40 of 1,280)")
figure.colorbar(image, ax=axes, label="value")
plt.show()

# %% [markdown]
# *What you see:* mirror images. The columns are the same; only their order differs. A mean over time cannot tell them
# apart, because a sum ignores order:
#
# $$\bar x = \frac1T \sum_{t=0}^{T-1} x_t = \frac1T \sum_{t=0}^{T-1} x_{\pi(t)} \quad \text{for every reordering } \pi$$
#
# So heads that see only $\bar x$, such as `mean_linear`, *cannot* tell a clip from its reverse, however long they
# train. The correlations between frames have the same values backwards, too.

# %%
shuffled = x[torch.randperm(T)]  # (T, D)
torch.testing.assert_close(shuffled.mean(dim=0), x.mean(dim=0))
similar = torch.corrcoef(x)  # (T, T), between the frames
torch.testing.assert_close(torch.corrcoef(reverse), similar.flip(0, 1))
print("mean: the same in any order; "
      "correlation between frames: the same numbers, mirrored")

# %% [markdown]
# ## 4 What do the features hold most?
#
# Split the variance of all $288 \cdot 12$ vectors into parts that add up: between classes, between source videos of a
# class, between clips of a source video, over time within a clip.

# %%
X = features.x.float()  # (288, 12, 1280)


def average_by(columns):
    """For every clip, the mean vector of all clips alike in these columns: (288, D)."""
    number = torch.as_tensor(clips.groupby(columns).ngroup().to_numpy())
    means = [X[number == k].mean(dim=(0, 1)) for k in range(number.max() + 1)]
    return torch.stack(means)[number]


levels = [X.mean(dim=(0, 1)), average_by(["label"]), average_by(["label", "group"]),
          X.mean(dim=1)]
steps = [(b - a).square().sum() * 12 for a, b in pairwise(levels)]
steps.append((X - levels[-1][:, None]).square().sum())
parts = ["class", "source video", "clip", "time"]
variance = pd.Series([100 * float(step / sum(steps)) for step in steps], index=parts)
total = (X - levels[0]).square().sum()
torch.testing.assert_close(sum(steps), total, rtol=1e-4, atol=0)
# how much classes of 12 source videos differ by chance alone
chance = variance["source video"] * 7 / (8 * 11)
print(f"between classes {variance['class']:.1f} %, "
      f"without chance about {variance['class'] - chance:.1f} %")
variance.round(0).rename("share of the variance (%)").to_frame().T

# %% [markdown]
# The source video holds more than half of the variance, the class about 11 %. Even that is too high: a mean of twelve
# source videos keeps part of their differences; without that part some 6 % is left.
#
# **PCA** finds the two directions in which the vectors differ most. In this plane a clip is a **trajectory**. Left: the
# features as they are. Right: each clip minus its own mean over time, which takes the place away and leaves movement.


# %%
def plane(x):
    """Sequences (N, T, D) in the two directions of largest variance: (N, T, 2)."""
    vectors = x.flatten(0, 1).numpy()  # (N T, D)
    return PCA(2, random_state=0).fit_transform(vectors).reshape(len(x), -1, 2)


few = clips[clips["label"].isin(["Kick", "Wave"]) & (clips["group"] <= 3)]  # 18 clips
placed = plane(X[few.index.to_list()])  # (18, T, 2)
pair = clips[clips["label"].isin(["SitDown", "StandUp"])]
own = X[pair.index.to_list()]  # (72, T, D)
moved = plane(own - own.mean(dim=1, keepdim=True))  # (72, T, 2)

# %% tags=["hide-input"]
blue, red = "#0072B2", "#D55E00"
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
for (name, group), rows in few.reset_index(drop=True).groupby(["label", "group"]):
    three, colour = placed[rows.index], blue if name == "Kick" else red  # (3, T, 2)
    left.plot(*three.T, "o-", color=colour, linewidth=1.2, markersize=5, markevery=[0])
    low = (name, group) == ("Wave", 3)  # this name below its lines, the others above
    y = three[..., 1].min() - 0.5 if low else three[..., 1].max() + 0.5
    at = {"ha": "center", "va": "top" if low else "bottom", "weight": "bold"}
    left.text(three[..., 0].mean(), y, f"{name} g{group:02}", color=colour, **at)
for name, colour, line, dy in (("SitDown", blue, "-", 8), ("StandUp", red, "--", -12)):
    these = moved[(pair["label"] == name).to_numpy()]  # (36, T, 2)
    right.plot(*these[::6].T, color=colour, linewidth=0.7, alpha=0.35)
    mean = these.mean(axis=0)  # (T, 2)
    right.plot(*mean.T, line, color=colour, linewidth=3)
    arrow = {"arrowstyle": "-|>", "color": colour, "lw": 3, "mutation_scale": 22}
    right.annotate("", mean[-1], mean[-2], arrowprops=arrow)
    text = {"xytext": (10, dy), "textcoords": "offset points"}
    right.plot(*mean[0], "o", color=colour, markersize=9)
    right.annotate(f"{name} starts", mean[0], color=colour, weight="bold", **text)
titles = ("Features as they are", "Each clip minus its own mean")
for axes, title in zip((left, right), titles, strict=True):
    axes.set(xlabel="first principal component", ylabel="second principal component")
    axes.set(title=title, xmargin=0.12, ymargin=0.08)
plt.show()

# %% [markdown]
# *What you see,* left (dots: first frames): the clips of a source video lie together, the source videos of a class
# mostly far apart. Place beats action. Right (thick: mean of 36 clips; thin: every sixth clip): one curve travelled in
# two directions. Only the direction tells these classes apart.
#
# ## 5 Does a class need order? The shuffle test
#
# Train a head on splits by source video, once with frames in order and once with every clip's frames shuffled. The head
# is `bilstm`, an LSTM that reads both ways ([Chapter 6](06_lstm_gates.ipynb)).

# %%
from ctxlstm import evaluation, training

generator = torch.Generator().manual_seed(0)
order = torch.rand(X.shape[:2], generator=generator).argsort(dim=1)  # (288, T)
shuffled = features.x.take_along_dim(order[:, :, None], dim=1)  # (288, T, D)
versions = {"in order": features, "shuffled": replace(features, x=shuffled)}
config = training.Config(epochs=25, batch_size=24, validation=0, cpu=True)
said = {"in order": [], "shuffled": [], "in order, tested backwards": []}

# %%
for seed in range(3):
    split = ucf101.split(clips, "grouped", seed=seed)
    for name, version in versions.items():
        torch.manual_seed(seed)
        model = models.build("bilstm", **classroom.SMALL)
        history = training.fit(model, version, split, replace(config, seed=seed))
        said[name].append(history.predictions)
        if name == "in order":  # the same model, tested on the same clips backwards
            model.eval()
            with torch.no_grad():
                logits = model(X[split.test].flip(1))  # (B, K)
            names = clips["name"].iloc[split.test]
            tested = features.y[split.test], names, features.classes
            table = evaluation.predictions(logits, *tested)
            said["in order, tested backwards"].append(table)
answers = {name: pd.concat(tables, ignore_index=True) for name, tables in said.items()}
print({name: f"top-1 {(table['label'] == table['predicted']).mean():.0%}"
       for name, table in answers.items()})

# %% [markdown]
# For a class of a reversed pair, count three answers: the class itself, **its reverse**, anything else.

# %%
twin = dict(classroom.PAIRS) | {b: a for a, b in classroom.PAIRS}
kinds = {name: " / ".join(pair) for pair in classroom.PAIRS for name in pair}
rows = []
for name, table in answers.items():
    own = table["predicted"] == table["label"]
    reverse_said = table["predicted"] == table["label"].map(twin)
    kind = table["label"].map(kinds).fillna("the four others")
    result = pd.DataFrame({"right": own, "its reverse": reverse_said})
    share = result.groupby(kind).mean()
    rows.append((100 * share).round(0).assign(frames=name))
order_table = pd.concat(rows).rename_axis("classes").set_index("frames", append=True)
order_table.sort_index(level=0, sort_remaining=False)

# %% tags=["hide-input"]
colours = {"right": "#0072B2", "its reverse": "#D55E00"}
figure, axes = plt.subplots(1, 3, figsize=(11, 3), sharey=True, layout="constrained")
for a, classes in zip(axes, order_table.index.levels[0], strict=True):
    part = order_table.loc[classes].loc[list(answers)]  # (3, 2)
    part.plot.barh(ax=a, color=colours, legend=False, width=0.75)
    a.set(xlabel="test clips (%)", ylabel="frames in the test", xlim=(0, 100))
    a.set_title(classes, fontsize="medium")
    a.grid(visible=False, axis="y")
    a.label_outer()
axes[0].invert_yaxis()
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center",
              ncols=2, frameon=False)
plt.show()

# %% [markdown]
# *What you see:* SitDown / StandUp are mostly right in order, near a coin toss when shuffled, and mostly called their
# *reverse* when tested backwards. The four others hardly notice. Walkers lose points when shuffled or reversed, but not to
# their reverse: this head does not find their order.
#
# ## 6 The same question, put to larger records
#
# **Synthetic** again, but 12 classes, 25 source videos each, five seeds, split by source video. Made by `papermill
# papermill_runs/sweep.ipynb out.ipynb -p config stickfigures -p results papermill_runs/results/stickfigures`. The heads
# are those of [Chapter 3](03_ucf101.ipynb).

# %%
records = runs.load("../papermill_runs/results/stickfigures")
# The last two know no order.
shown = ["context_lstm", "cnn_lstm", "shuffled_lstm", "mean_linear"]
tables = {name: study_tables.per_class(records, name, "grouped").frame
          for name in shown}
by_class = pd.DataFrame({name: table.set_index("class")["top1"]
                         for name, table in tables.items()})
(100 * by_class).round(0).astype(int)

# %% tags=["hide-input"]
needs = (100 * (by_class["cnn_lstm"] - by_class["shuffled_lstm"])).sort_values()
has_reverse = {name for pair in stickfigures.REVERSED_PAIRS for name in pair}
meaning = {"class of a reversed pair": "#D55E00",
           "no reverse among the classes": figures.GREY}
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
# *What you see:* most classes of reversed pairs gain a lot from order, but some others gain too, and the walkers and
# PutDown hardly or not at all. A sharper question: *when a head names one of the two classes of a pair, is it the right
# one?* A coin toss gives 50 %.

# %%
usual = records[(records["variant"] == "") & (records["batch_size"] == 40)
                & (records["protocol"] == "grouped")]
rows = {}
for name in [*shown, "single_frame"]:
    these = usual[usual["model"] == name]
    table = pd.concat(runs.predictions(run) for _, run in these.iterrows())
    for pair in stickfigures.REVERSED_PAIRS:
        inside = table[table["label"].isin(pair) & table["predicted"].isin(pair)]
        right = inside["label"] == inside["predicted"]
        rows[name, " / ".join(pair)] = 100 * right.mean()
pd.Series(rows).unstack(0)[[*shown, "single_frame"]].round(0).astype(int)

# %% [markdown]
# *What you see:* heads that read in order are almost never wrong about sitting and standing or about the arms; on
# PickUp / PutDown `context_lstm` is well ahead. Heads without order lie between 46 and 72 %. (`single_frame` reads
# frame 6 of 0 to 11, past the middle, where a figure sitting down is lower than one standing up.) For the walkers no head does
# well; the mean over places throws away much of a walk.
#
# **Question.** `single_frame` is right about seven walkers in ten. How can one frame know?
#
# <details><summary>Answer</summary>
#
# It most likely cannot: walkers face either way at random. The looks of the record's 25 source videos per class happen to
# differ. In new draws (below; seed 0: the record's) one frame is right 44 to 61 % of the time.
#
# </details>


# %%
def one_frame(seed):
    """Frame 6 of 12 of one clip per source video, WalkLeft, then WalkRight: (50, D)."""
    names = [(name, group) for name in ("WalkLeft", "WalkRight")
             for group in range(1, 26)]
    films = [stickfigures.frames(name, group, 1, seed=seed) for name, group in names]
    chosen = [film[video.frame_index("uniform", len(film), 12)[6]] for film in films]
    return backbone(torch.from_numpy(np.stack(chosen)).permute(0, 3, 1, 2))


reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
folds = RepeatedStratifiedKFold(n_splits=4, n_repeats=3, random_state=0)
walks = [0] * 25 + [1] * 25  # left, right
for seed in range(6):
    right = cross_val_score(reader, one_frame(seed), walks, cv=folds).mean()
    print(f"walkers of seed {seed}: one frame is right about {right:.0%}")

# %% [markdown]
# ## 7 And real clips?
#
# Four real classes, official lists, three seeds, last epoch, made by the same command with `ucf101_subset`:

# %%
real = runs.load("../papermill_runs/results/ucf101_subset")
tables = {name: study_tables.per_class(real, name, "official").frame
          for name in [*shown, "single_frame"]}
table = pd.DataFrame({name: part.set_index("class")["top1"]
                      for name, part in tables.items()})
table.loc["all four"] = table.mean()
(100 * table).round(0).astype(int)

# %% [markdown]
# *What you see:* small differences in no clear direction. One frame does about as well as `context_lstm`, and shuffling
# costs less than the intervals of [Chapter 3](03_ucf101.ipynb) are wide. A piano is a piano in any frame. [Huang et al.
# 2018](references.md#huang-2018) put the effect of motion on UCF101, for one network, at about 6 points.
#
# ## Try it
#
# Move through a clip of StandUp, then of WalkLeft. Then cover all frames but one with your hand.

# %%
widgets.frame_browser(clips)

# %%
widgets.frame_browser_figure(clips, name="v_StandUp_g02_c01", t=0)

# %% [markdown]
# **Question.** Could *you* name the class from one frame whose place in the clip you do not know? Does it help to know
# that it is the *first*?
#
# <details><summary>Answer</summary>
#
# No: a class and its reverse share their frames. As the first frame, a seated figure means StandUp. A walker's place
# tells a little, but every path lies elsewhere.
#
# </details>
#
# ## Check
#
# The two rules against the package, and what order changes in untrained heads.

# %%
for n in (5, 29, 167, 1776):
    uniform = ((np.arange(28) + 0.5) * n / 28).astype(int)
    np.testing.assert_array_equal(uniform, video.frame_index("uniform", n, 28))
    first = np.minimum(np.arange(28), n - 1)
    np.testing.assert_array_equal(first, video.frame_index("first", n, 28))

torch.manual_seed(0)
mean_linear = models.build("mean_linear", input_size=1280, num_classes=8)
lstm = torch.nn.LSTM(1280, 32, batch_first=True)
forwards, backwards = X[:4], X[:4].flip(1)  # (4, T, D) each
with torch.no_grad():
    torch.testing.assert_close(mean_linear(forwards), mean_linear(backwards),
                               rtol=1e-4, atol=1e-4)
    last = lstm(forwards)[0][:, -1], lstm(backwards)[0][:, -1]  # (4, 32) each
    assert not torch.allclose(*last, atol=1e-3)
print("the mean does not see order, an LSTM does")

# %% [markdown]
# ## Common mistakes
#
# - **Forgetting the frame rate.** UCF101 has clips of 25 and of 29.97 frames per second: 28 frames last 1.1 or 0.9 s.
# - **Leaving the backbone in training mode.** That changes BatchNorm's statistics ([Chapter 9](09_training.ipynb)).
# - **Reading a shuffle test too quickly.** If shuffling costs nothing, *this head* did not use order. The task may
#   still need it.
#
# ## Exercises
#
# [Exercises 4](exercises/release/04_deep_temporal_features/04_deep_temporal_features.ipynb): frame rules, pooling by
# hand, the frame browser, a fair shuffle.
# [Solutions](exercises/source/04_deep_temporal_features/04_deep_temporal_features.ipynb).

# %% [markdown]
# ## Limits
#
# - The synthetic classes were made so that order matters: a model *can* use it. Which of UCF101's 101 classes need it
#   is not measured here.
# - Section 5 tests 72 clips of 24 source videos per seed: other seeds move a bar by ten points or more.

# %% [markdown]
# ## Summary
#
# - Frames, a frozen CNN, the mean over its feature maps: a clip becomes $x$ of shape $(T, D)$.
# - In our synthetic clips the source video has more than half of the variance, the class some 6 %. Take away a clip's
#   mean, and movement is left.
# - An average cannot know order. Three reversed pairs need it; for the walkers no head here uses it; four real classes
#   hardly need it.
# - The paper does not say which frames it takes, or whether order is used.
#
# Next: [Chapter 5](05_information_loss.ipynb) asks what each step of the CNN throws away.

# %%
import quizzes
from IPython.display import display

display(quizzes.quiz("04"))
print(classroom.versions())
