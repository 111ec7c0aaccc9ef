# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 5 Information loss
#
# Paper: section 3.3 | 50 minutes to read and play, two minutes to run | downloads: none
#
# **The question.** What do convolution, ReLU and pooling lose, in numbers?
#
# After this chapter you can
#
# - measure "information loss" in three ways, and say what each cannot see;
# - say what a convolution, a ReLU and a pooling keep of a picture, and what a shortcut changes;
# - say what max-pooling 1,024 LSTM outputs to 512 keeps.
#
# Before this: [Chapter 4](04_deep_temporal_features.ipynb). Terms: [glossary](glossary.md).
#
# > **Guess first.**
# >
# > 1. Each kernel of a trained first convolution turns 27 numbers (3 x 3 pixels, 3 colours) into one. What share of the
# >    picture can no longer be computed from all 32 kernels? ______ %
# > 2. A ReLU sets negative numbers to zero. Does its output spread over more or fewer directions? ______
# > 3. Max-pooling keeps the larger of two LSTM outputs. How often does that change a linear classifier's answer?
# >    ______ %
#
# <details><summary>Answers</summary>
#
# About 0.1 % of the pixels' variance; more; about 10 % (sections 2 and 8).
#
# </details>
#
# ## What the paper says
#
# Section 3.3 *assumes* that a network loses information: a convolution turns many elements into one, pooling turns
# neighbours into one, ReLU drops what is below zero. A residual shortcut ([He et al. 2016](references.md#he-2016))
# loses less, because it hands the input on directly; so do the LSTM's connected states and two reading directions. Yet
# the paper puts ReLU and MaxPool between its LSTM blocks (section 3.4) and reports that the MaxPool *raises* accuracy
# (section 4.4).
#
# > **Not stated in the paper.** What "information" is, and any measurement of it. **Our default**: three rulers.
# > **Alternatives**: mutual information, which needs far more data, or reconstruction by a trained network.

# %%
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torchvision.models.resnet import Bottleneck

from ctxlstm import classroom, figures, models, training, ucf101, video, widgets
from ctxlstm.classroom import probes
from ctxlstm.models.stage import Stage

plt.rcParams.update(figures.style())
torch.manual_seed(0)
WITH, WITHOUT = "#0072B2", "#D55E00"  # colours: with and without the shortcut

# %% [markdown]
# ## 1 Three rulers
#
# Put vectors as rows into a matrix and centre its columns. The singular values $\sigma_j$ say how far the rows spread
# in each direction. The ordinary rank counts those above zero; the *effective rank* ([Roy and Vetterli
# 2007](references.md#roy-2007)) is the exponential of their entropy:
#
# $$p_j = \frac{\sigma_j}{\sum_l \sigma_l}, \qquad \mathrm{erank} = \exp\Big(-\sum_j p_j \log p_j\Big).$$
#
# If the rows spread equally in $k$ directions and in no other, it is $k$.


# %%
def effective_rank(rows):
    """Effective rank of rows (N, D)."""
    s = torch.linalg.svdvals(rows - rows.mean(dim=0))  # (min(N, D),)
    p = s / s.sum()
    return torch.special.entr(p).sum().exp().item()  # entr(p) = -p log p, 0 at p = 0


cloud = torch.randn(400, 2, dtype=torch.float64)  # (N, 2)
shapes = {"round": (1.0, 1.0), "cigar": (1.0, 0.15), "line": (1.0, 0.0)}
fig, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True, sharey=True,
                         layout="constrained")
for ax, (name, scale) in zip(axes, shapes.items(), strict=True):
    rows = cloud * torch.tensor(scale)
    ax.plot(*rows.T, ".", markersize=3)
    ax.set_title(f"{name}: {effective_rank(rows):.2f}")
    ax.set(xlabel="column 1", ylabel="column 2")
fig.suptitle("Effective rank of three clouds of points")
plt.show()

# %% [markdown]
# *What you see:* the cigar's ordinary rank is 2; its effective rank lies between 1 and 2. Is either one information?
# Send numbers on a line through ReLUs in two ways:

# %%
t = torch.randn(1000, 1, dtype=torch.float64)  # (N, 1), a line
one = F.relu(t)  # (N, 1)
two = torch.cat([F.relu(t), F.relu(-t)], dim=1)  # (N, 2)
print(f"t                    effective rank {effective_rank(t):.2f}, lost: nothing")
below = (t < 0).double().mean()
print(f"relu(t)              effective rank {effective_rank(one):.2f}, "
      f"lost: every t < 0, {below:.0%}")
print(f"relu(t), relu(-t)    effective rank {effective_rank(two):.2f}, "
      "lost: nothing, their difference is t")
torch.testing.assert_close(two[:, :1] - two[:, 1:], t)

# %% [markdown]
# So effective rank can stay the same while half is lost, and rise while nothing is lost. A function of the input never holds
# *more* information than the input (data processing inequality, [Cover and Thomas 2006](references.md#cover-2006)).
# Hence two more rulers, fitted and tested on different source videos:
#
# - **Reconstruction error**: the share of a target's variance that the best linear map misses. The fit
#   has a small penalty, so even a copy misses a little. A non-linear map may miss less: this is an upper bound.
# - **Linear probe** ([Alain and Bengio 2016](references.md#alain-2016)): how well a linear classifier reads the class.
#
# ## 2 The frames, and the first convolution
#
# Frame 6 (of 0 to 11) of each synthetic clip goes into Chapter 4's trained network. One frame can hardly tell a
# movement from its reverse.

# %%
clips = classroom.clips()
labels = clips["label"].to_numpy()
# the source video of each clip
sources = (clips["label"] + " " + clips["group"].astype(str)).to_numpy()
films = (video.read_frames(path, 12, "uniform").images for path in clips["path"])
frames = torch.cat([film[6:7] for film in films])
backbone = classroom.backbone()
cnn = backbone.net
x = (backbone.resize(frames).float() - backbone.mean) / backbone.std  # (B, 3, 128, 128)
print(f"{len(clips)} clips of {len(set(sources))} source videos")
print(f"frames {tuple(frames.shape)} -> input {tuple(x.shape)}")

# %% [markdown]
# One output element is a sum, and a sum does not give its terms back: the paper's argument. But at every position 32
# kernels turn 27 numbers into 32, by one matrix $W$ (32, 27).

# %%
with torch.no_grad():
    conv = cnn._conv_stem(x)  # (B, 32, 64, 64)
    padded = cnn._conv_stem.static_padding(x)  # (B, 3, 129, 129)
    # what each position reads: (B, 27, 64 * 64)
    patches = F.unfold(padded, kernel_size=3, stride=2)
    W = cnn._conv_stem.weight.flatten(1)  # (32, 27)
    product = (W @ patches).unflatten(2, (64, 64))  # (B, 32, 64, 64)
    torch.testing.assert_close(product, conv, atol=1e-4, rtol=1e-4)
sigma = torch.linalg.svdvals(W)
strong = (sigma > sigma[0] / 1000).sum()
print(f"W {tuple(W.shape)}: {strong} of 27 singular values above 1/1000 of the largest")
print(f"numbers in: {x[0].numel():,}   numbers out: {conv[0].numel():,}")

# %% [markdown]
# If $W$ kept all 27 directions it could be inverted. It drops a few; what that costs depends on how much these (drawn)
# pictures use them. One question for every stage: can a window of 5 x 5 pixels (75 numbers) be computed from what it
# holds there? That is 2 x 2 positions of the convolution (128 numbers), or one after a 2 x 2 pooling (32).

# %%
with torch.no_grad():
    normed = cnn._bn0(conv)  # (B, 32, 64, 64)
    relu = cnn._swish(normed)  # (B, 32, 64, 64)  ReLU6: min(max(y, 0), 6)
    stages = {
        "convolution": conv,
        "BatchNorm": normed,
        "ReLU6": relu,
        "max-pool 2 x 2": F.max_pool2d(relu, 2),  # (B, 32, 32, 32)
        "average-pool 2 x 2": F.avg_pool2d(relu, 2),
        "keep 1 position in 4": relu[:, :, ::2, ::2],
    }
windows = F.unfold(padded, kernel_size=5, stride=4)  # (B, 75, 1024), the target


def cells(y):
    """What stage y holds about each window: (B, 4C, 1024), pooled (B, C, 1024)."""
    return F.unfold(y, 2, stride=2) if y.shape[2] == 64 else y.flatten(2)


# %%
generator = torch.Generator().manual_seed(0)
chosen = torch.randperm(288 * 1024, generator=generator)[:8000]  # some of all windows
of_window = np.repeat(sources, 1024)[chosen]


def pick(y):
    """(B, C, 1024) -> (8000, C)."""
    return y.transpose(1, 2).flatten(0, 1)[chosen]


for name, y in stages.items():
    print(f"{name:22s} {tuple(pick(cells(y)).shape)}")

# %% [markdown]
# A probe needs one vector per frame: the averages over a 4 x 4 grid of fields of every channel.


# %%
def grid(y):
    """(B, C, rows, columns) -> (B, 16C)."""
    return F.adaptive_avg_pool2d(y, 4).flatten(1)


def rulers(y):
    probe = probes.linear_probe(grid(y), labels, sources)  # one accuracy per fold
    held = pick(windows) if y is x else pick(cells(y))
    error = probes.reconstruction_error(held, pick(windows), of_window)
    return {
        "numbers per window": held.shape[1],
        "effective rank": round(probes.effective_rank(held), 1),
        "pixels not reconstructed (%)": round(100 * error, 1),
        "probe (%)": round(100 * probe.mean()),
        "sd of folds": round(100 * probe.std(ddof=1)),
    }


measured = {"picture": rulers(x)} | {name: rulers(y) for name, y in stages.items()}
pd.DataFrame.from_dict(measured, orient="index")

# %% [markdown]
# *What you see,* by column:
#
# - **Reconstruction**: the convolution loses next to nothing, ReLU little more, because many kernels see each pixel.
#   Pooling to 32 numbers loses far more; keeping one position in four loses most.
# - **Effective rank**: it *rises* at BatchNorm, which loses nothing, and far more at the ReLU, where information can
#   only fall.
# - **Probe**: low everywhere; its changes are about as large as the spread of the folds.
#
# ## 3 The same as pictures
#
# The linear map from a stage to the pixels, applied to one frame:


# %%
def rebuild(y, n=0):
    """The picture of frame n as a linear map computes it from stage y."""
    one = torch.ones(8000, 1)  # the constant of the map
    held = torch.cat([pick(cells(y)), one], dim=1)  # (8000, C + 1)
    fit = torch.linalg.lstsq(held, pick(windows)).solution  # (C + 1, 75)
    guess = fit[:-1].T @ cells(y)[n] + fit[-1][:, None]  # (75, 1024)
    both = torch.stack([guess, torch.ones_like(guess)])  # (2, 75, 1024)
    total, count = F.fold(both, 129, 5, stride=4)  # (3, 129, 129) each
    return total / count


rebuilt = ("convolution", "ReLU6", "max-pool 2 x 2", "average-pool 2 x 2")
fig, axes = plt.subplots(1, 5, figsize=(11, 2.8), layout="constrained")
shown = {"picture": padded[0]} | {name: rebuild(stages[name]) for name in rebuilt}
for ax, (name, image) in zip(axes, shown.items(), strict=True):
    pixels = (image * backbone.std[0] + backbone.mean[0])[:, :128, :128]
    ax.imshow((pixels.clamp(0, 255) / 255).permute(1, 2, 0).detach())
    ax.set_title(name, fontsize=10)
    ax.axis("off")
fig.suptitle("One synthetic frame, computed back from each stage by a linear map")
plt.show()

# %% [markdown]
# *What you see:* after pooling, edges and textures are blurred; the figure is still there.
#
# ## 4 Down the network
#
# All 16 blocks of the trained network. Every block's output, averaged over positions, gives one vector per frame.

# %%
states = [relu]  # what each block reads; the last one is the output of block 16
with torch.no_grad():
    for block in cnn._blocks.children():
        states.append(block(states[-1]))  # (B, C, rows, columns)
    last = cnn._swish(cnn._bn1(cnn._conv_head(states[-1])))  # (B, 1280, rows, columns)
    last = last.mean(dim=(2, 3))  # (B, 1280), as in Chapter 4
torch.testing.assert_close(last[:24], backbone(frames[:24]), atol=1e-2, rtol=1e-2)
vectors = [y.mean(dim=(2, 3)) for y in states] + [last]
depth = pd.DataFrame(
    {
        "channels": [v.shape[1] for v in vectors],
        "effective rank": [probes.effective_rank(v) for v in vectors],
        "folds": [probes.linear_probe(v, labels, sources) for v in vectors],
    }
)

# %% tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
most = depth["channels"].clip(upper=len(x) - 1)  # 288 centred rows span at most 287
left.plot(most, "o:", color=figures.GREY, markersize=4, label="the most it can be")
rank = depth["effective rank"]
left.plot(rank, "o-", color=WITH, markersize=4, label="effective rank")
left.set(title="Effective rank", ylabel="directions (log scale)", yscale="log")
left.legend()
means = np.array([100 * f.mean() for f in depth["folds"]])
spread = np.array([100 * f.std(ddof=1) for f in depth["folds"]])
right.plot(means, "o-", color=WITH, markersize=4, label="mean of 4 folds")
right.fill_between(range(len(means)), means - spread, means + spread, color=WITH,
                   alpha=0.2, label="± sd of the folds")
right.axhline(100 / 8, color=figures.GREY, linestyle="--", label="chance")
right.set(title="Linear probe", ylabel="accuracy (%)", ylim=(0, 100))
right.legend(loc="upper left")
for ax in (left, right):
    ax.set(xlabel="block (0: first layer, 17: feature)", xticks=range(0, 18, 2))
plt.show()

# %% [markdown]
# *What you see:* both mostly rise with depth, and information cannot. Later blocks have more channels, and training makes what
# the task needs easy to read. "Less information loss" is not "better features": the picture has lost nothing and is a
# poor feature.
#
# ## 5 With and without the shortcut: trained blocks
#
# Nine of the 16 blocks have a shortcut: they compute $y = x + F(x)$. Subtracting the input gives the branch $F(x)$
# alone. How much of the block's *input* can be computed, position by position, from each?


# %%
def at_positions(y, rows=4000):
    """Channel vectors at random positions, (rows, C), and the source video of each."""
    positions = y.shape[0] * y.shape[2] * y.shape[3]
    some = torch.randperm(positions, generator=torch.Generator().manual_seed(0))[:rows]
    source = np.repeat(sources, positions // len(y))
    return y.permute(0, 2, 3, 1).flatten(0, 2)[some], source[some]


found = []
for number, (before, after) in enumerate(pairwise(states), 1):
    if before.shape == after.shape:  # these blocks have a shortcut
        target, groups = at_positions(before)
        for way, y in (("with", after), ("without", after - before)):
            error = probes.reconstruction_error(at_positions(y)[0], target, groups)
            probe = probes.linear_probe(y.mean(dim=(2, 3)), labels, sources).mean()
            rank = probes.effective_rank(at_positions(y)[0])
            found.append((number, before.shape[1], way, 100 * error, 100 * probe, rank))
columns = ["block", "channels", "shortcut", "lost", "probe", "effective rank"]
trained = pd.DataFrame(found, columns=columns)

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
titles = {  # of a panel, and of its vertical axis
    "lost": ("Input not reconstructed", "share of the variance (%)"),
    "probe": ("Linear probe", "accuracy (%)"),
    "effective rank": ("Effective rank", "directions"),
}
for ax, (column, (title, unit)) in zip(axes, titles.items(), strict=True):
    for way, colour, marker in (("with", WITH, "o"), ("without", WITHOUT, "s")):
        rows = trained[trained["shortcut"] == way]
        ax.plot(rows["block"], rows[column], marker, color=colour,
                label=f"{way} shortcut")
    ax.set(title=title, xlabel="block", ylim=(0, None), ylabel=unit)
    ax.set_xticks(range(3, 16, 2))
axes[0].legend()
plt.show()
trained.groupby("shortcut")[["lost", "probe", "effective rank"]].mean().round(1)

# %% [markdown]
# *What you see:* on reconstruction the paper's idea holds clearly. From the branch alone a third to some seven
# tenths of the input cannot be computed; with the shortcut, about a tenth or less. The other rulers hardly move.
#
# ## 6 With and without the shortcut: random blocks in depth
#
# ResNet-50's bottleneck block is $y = \mathrm{ReLU}(x + F(x))$: a 1 x 1 convolution to a quarter of the channels, a 3 x
# 3, a 1 x 1 back. Here are 16 of torchvision's in a row, with **random** weights.


# %%
def branch(block, x):
    """F(x) of torchvision's Bottleneck: (B, C, rows, columns) -> the same."""
    y = F.relu(block.bn1(block.conv1(x)))  # (B, C/4, rows, columns)
    y = F.relu(block.bn2(block.conv2(y)))  # (B, C/4, rows, columns)
    return block.bn3(block.conv3(y))  # (B, C, rows, columns)


start = states[11]  # (B, 112, 8, 8) of the trained network, so it holds something
mean, sd = (f(start, dim=(0, 2, 3), keepdim=True) for f in (torch.mean, torch.std))
start = F.relu((start - mean) / sd)
block = Bottleneck(112, 28)  # in training mode: BatchNorm scales by the batch
with torch.no_grad():
    torch.testing.assert_close(F.relu(branch(block, start) + start), block(start))
inner = block.conv1.out_channels
print(f"input of the row of blocks: {tuple(start.shape)}, inner channels: {inner}")

# %%
target, groups = at_positions(start)
found = []
for seed in range(3):
    torch.manual_seed(seed)
    row = [Bottleneck(112, 28) for _ in range(16)]
    for way in ("with", "without"):
        y = start  # (B, 112, 8, 8), and it keeps this shape
        for number, block in enumerate(row, 1):
            with torch.no_grad():
                y = F.relu(branch(block, y) + (y if way == "with" else 0))
            if number in (1, 2, 4, 8, 16):
                rows = at_positions(y)[0]
                lost = 100 * probes.reconstruction_error(rows, target, groups)
                folds = probes.linear_probe(y.mean(dim=(2, 3)), labels, sources)
                rank = probes.effective_rank(rows)
                found.append((way, seed, number, lost, 100 * folds.mean(), rank))
columns = ["shortcut", "seed", "blocks", "lost", "probe", "effective rank"]
random = pd.DataFrame(found, columns=columns)

# %% tags=["hide-input"]
folds = probes.linear_probe(start.mean(dim=(2, 3)), labels, sources)
zero = {"lost": 0, "probe": 100 * folds.mean()}
zero["effective rank"] = probes.effective_rank(target)
fig, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
for ax, (column, (title, unit)) in zip(axes, titles.items(), strict=True):
    ax.axhline(zero[column], color=figures.GREY, linestyle=":",
               label="before the first block")
    for way, colour, marker in (("with", WITH, "o"), ("without", WITHOUT, "s")):
        rows = random[random["shortcut"] == way].groupby("blocks")[column]
        rows = rows.agg(["mean", "min", "max"])
        ax.plot(rows.index, rows["mean"], marker + "-", color=colour,
                label=f"{way} shortcut")
        ax.fill_between(rows.index, rows["min"], rows["max"], color=colour, alpha=0.2)
    ax.set(title=title, xlabel="random blocks passed", xscale="log", ylim=(0, None))
    ax.set(xticks=[1, 2, 4, 8, 16], xticklabels=[1, 2, 4, 8, 16], ylabel=unit)
axes[1].axhline(100 / 8, color=figures.GREY, linestyle="--", label="chance")
entries = axes[1].get_legend_handles_labels()
fig.legend(*entries, loc="outside lower center", ncols=4, frameon=False)
fig.suptitle("Random bottleneck blocks: lines are means of 3 seeds, bands their range")
plt.show()

# %% [markdown]
# *What you see:* without the shortcut almost nothing of the start can be computed after two blocks; with it that takes
# about sixteen. (Over 100 % is worse than always predicting the mean.) With random weights the shortcut delays the loss and
# does not prevent it. With it, effective rank ends *above* where it started, while less and less of the start is left.
#
# ## 7 What max-pooling 1,024 to 512 keeps
#
# In our default reading ([Chapter 7](07_context_lstm.ipynb)) the MaxPool after an LSTM block takes the larger of two
# *neighbouring features*: 2 x 512 = 1,024 numbers become 512. Neighbouring pixels are alike; neighbouring LSTM units
# need not be.
#
# A two-way LSTM with 512 units is trained on half of the source videos and measured on the other half.

# %%
features = classroom.features()  # x (288, 12, 1280)
unseen = (clips["group"] > 6).to_numpy()
train, test = np.flatnonzero(~unseen), np.flatnonzero(unseen)
half = ucf101.Split("grouped", 1, 0, train=train, test=test)
torch.manual_seed(0)
sizes = classroom.SMALL | {"hidden_size": 512, "num_layers": 1}
model = models.build("bilstm", **sizes)
config = training.Config(epochs=6, batch_size=24, validation=0, cpu=True)
history = training.fit(model, features, half, config)
model.eval()
x_unseen = features.x[torch.as_tensor(unseen)].float()  # (144, 12, 1280)
with torch.no_grad():
    out, _ = model.block(model.embedding(x_unseen))  # (B, T, 2H) = (144, 12, 1024)
top1 = history.table["test_top1"].iloc[-1]
print(f"LSTM outputs {tuple(out.shape)}; top-1 on the unseen half {top1:.0%}")

# %%
rectified = F.relu(out)  # (B, T, 2H)
mean, variance = rectified.mean(dim=(0, 1)), rectified.var(dim=(0, 1))  # (2H,) each
y = (rectified - mean) / (variance + 1e-5).sqrt()  # BatchNorm
by_frames = F.max_pool1d(y.transpose(1, 2), 2).transpose(1, 2)  # (B, T/2, 2H)
kept = torch.randperm(1024, generator=torch.Generator().manual_seed(0))[:512]
ways = {
    "LSTM outputs": out,
    "ReLU, BatchNorm": y,
    "max of feature pairs": F.max_pool1d(y, 2),  # (B, T, H), the default reading
    "mean of feature pairs": F.avg_pool1d(y, 2),  # (B, T, H)
    "512 features at random": y[:, :, kept],  # (B, T, H)
    "max of frame pairs": by_frames,
}
for name, v in ways.items():
    print(f"{name:24s} {tuple(v.shape)}  {v[0].numel():,} numbers per clip")

# %% [markdown]
# Can the outputs of two consecutive frames (2 x 1,024 numbers) be computed linearly from what is kept of them? The
# probe reads a clip's mean over frames. The *numerical rank* is the ordinary rank, with rounding counted as zero.


# %%
def by_pairs(v):
    """Six pairs of frames per clip, one row each: (B, T or T/2, D) -> (6B, ...)."""
    return v.unflatten(1, (6, -1)).flatten(2).flatten(0, 1)


def lstm_rulers(v):
    folds = probes.linear_probe(v.mean(dim=1), labels[unseen], sources[unseen], folds=3)
    source = np.repeat(sources[unseen], 6)  # of every pair
    error = probes.reconstruction_error(by_pairs(v), by_pairs(out), source)
    return {
        "numbers per clip": v[0].numel(),
        "effective rank": round(probes.effective_rank(v.flatten(0, 1))),
        "numerical rank": probes.numerical_rank(v.flatten(0, 1)),
        "outputs not reconstructed (%)": round(100 * error, 1),
        "probe (%)": round(100 * folds.mean(), 1),
        "sd of folds": round(100 * folds.std(ddof=1), 1),
    }


by_way = {name: lstm_rulers(v) for name, v in ways.items()}
pooled = pd.DataFrame.from_dict(by_way, orient="index")
pooled

# %% tags=["hide-input"]
halves = list(ways)[2:]
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True,
                                  layout="constrained")
left.barh(halves, pooled.loc[halves, "outputs not reconstructed (%)"], color=WITHOUT)
before, lost = pooled.loc["ReLU, BatchNorm"], "outputs not reconstructed (%)"
left.axvline(before[lost], color=figures.GREY, linestyle="--", label="before any pool")
left.set(title="LSTM outputs not reconstructed", ylabel="kept",
         xlabel="share of the variance (%)")
left.invert_yaxis()
left.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.22), frameon=False)
own = pooled.loc[halves]
right.errorbar(own["probe (%)"], halves, xerr=own["sd of folds"], fmt="o", color=WITH)
right.axvline(before["probe (%)"], color=figures.GREY, linestyle="--")
right.set(title="Linear probe, ± sd of 3 folds", xlabel="accuracy (%)", xlim=(0, 100))
plt.show()

# %% [markdown]
# *What you see:* half of the numbers keep nearly all of what is linearly there (mind the scale). Almost all 1,024
# directions of the outputs are above rounding, but most of their spread is in few: the effective rank is about an
# eighth. The rulers disagree about the pools: by effective rank the maximum of feature pairs keeps more than the mean
# or 512 *random* features, by reconstruction, if anything, the least. The probes differ by little for 144 clips.
#
# So halving loses little here, whichever way. [Chapter 11](11_ablation.ipynb) asks whether the max-pool helps training.
#
# ## 8 How many answers change
#
# What share of the predictions changes when 1,024 numbers become 512?

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

said, folds = {}, StratifiedGroupKFold(3)
for name in ("ReLU, BatchNorm", "max of feature pairs", "512 features at random"):
    reader = make_pipeline(StandardScaler(), LogisticRegression(C=10, max_iter=2000))
    rows, true, groups = ways[name].mean(dim=1).numpy(), labels[unseen], sources[unseen]
    said[name] = cross_val_predict(reader, rows, true, groups=groups, cv=folds)
for name in list(said)[1:]:
    changed = said[name] != said["ReLU, BatchNorm"]
    print(f"{name:24s} another class for {changed.mean():.0%} of {len(changed)} clips")

# %% [markdown]
# *What you see:* about one prediction in ten, and a random half changes about as many.
#
# ## Try it
#
# ReLU, BatchNorm and MaxPool on a tensor small enough to follow: B = 2, T = 4, 2H = 6. Change the order, the pooled
# axis and the axis of BatchNorm.

# %%
widgets.stage_explorer()

# %%
widgets.stage_explorer_figure(order="relu-bn", pool="feature", batch_norm="feature")

# %% [markdown]
# **Question.** With order `relu-bn`, which numbers can you no longer compute from the result? And with `bn-relu`?
#
# <details><summary>Answer</summary>
#
# `relu-bn`: those below zero, which became equal, and the smaller of each pair (even which one it was). `bn-relu`: the same,
# below their channel's mean.
#
# </details>
#
# ## Check
#
# Our ruler and section 7's stage against the package's.

# %%
sample = ways["max of feature pairs"].flatten(0, 1)  # (B * T, H)
rank = probes.effective_rank(sample)
assert abs(effective_rank(sample.double()) - rank) < 1e-6
assert rank <= probes.numerical_rank(sample) <= min(sample.shape)
three = torch.randn(50, 3) @ torch.randn(3, 10)  # (50, 10) of rank 3
centred = three - three.mean(dim=0)
assert probes.numerical_rank(three) == torch.linalg.matrix_rank(centred) == 3

stage = Stage(1024, "feature", "relu-bn", "feature").train()
with torch.no_grad():
    theirs = stage(out)  # (B, T, H)
torch.testing.assert_close(theirs, ways["max of feature pairs"], atol=1e-2, rtol=1e-3)
print("our effective rank, torch's rank and the package's stage agree")

# %% [markdown]
# ## Common mistakes
#
# - **Taking rank for information.** It rose at a ReLU and along random blocks.
# - **Fitting and testing a ruler on the same rows.** With more columns than rows a linear map reconstructs anything.
# - **Removing a shortcut from a network trained with it** and calling the result "a network without shortcuts".
#
# ## Exercises
#
# [Four exercises](exercises/release/05_information_loss/05_information_loss.ipynb), one on the widget above;
# [solutions](exercises/source/05_information_loss/05_information_loss.ipynb).

# %% [markdown]
# ## Limits
#
# - All pictures are drawn; the networks are one trained CNN, random blocks and one LSTM.
# - The rulers are linear: what was mapped non-linearly, or in sections 5 and 6 moved to a neighbouring position,
#   counts as lost.
# - Section 5's network was trained *with* shortcuts, so no branch had to carry the input.
# - Random weights (section 6) show a block before training, not a trained ResNet-50.

# %% [markdown]
# ## Summary
#
# - Effective rank, linear reconstruction, linear probe: none is information, and they disagree.
# - The paper argues from single elements. Over all its kernels, a convolution lost almost nothing of the picture, ReLU
#   little, pooling more. Its point about the shortcut holds on the ruler that fits it, reconstruction.
# - *1,024 to 512*: the max-pool keeps most of the LSTM's outputs, but by reconstruction no more than a random half.
#
# Next: [Chapter 6, the LSTM's gates](06_lstm_gates.ipynb).

# %%
import quizzes
from IPython.display import display

display(quizzes.quiz("05"))
print(classroom.versions())
