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
# Paper, section 3.3. About 40 minutes to read, a good minute to run on 2 CPU cores, no downloads.
#
# After this chapter you can:
#
# - measure "information loss" in three ways, and say what each of them cannot see,
# - say what a convolution, a ReLU and a pooling keep of a picture, and what a shortcut changes,
# - say what max-pooling 1,024 LSTM outputs to 512 keeps, and what any other way to halve them would keep.
#
# Before this one: [Chapter 4](04_deep_temporal_features.ipynb), where a frozen CNN turns frames into vectors.
#
# ## The question
#
# **How much is lost on the way through a network, and does a shortcut keep it?**
#
# > **Guess first.** Write it down before you read on.
# >
# > 1. Each kernel of a trained first convolution reads 27 numbers (3 x 3 pixels, 3 colours) and writes one. What share
# >    of the picture can no longer be computed from what all its 32 kernels write? \_\_\_\_\_\_\_ %
# > 2. A ReLU sets negative numbers to zero. Does the rank of its output go up or down? \_\_\_\_\_\_\_
# > 3. Max-pooling keeps the larger of two LSTM outputs. Of how many in a hundred test clips does that change the class
# >    that a linear classifier reads from them? \_\_\_\_\_\_\_
#
# ## What the paper says
#
# Section 3.3 *assumes* that a network loses information on its way, and gives three reasons. A convolution turns as
# many elements as its kernel has into one. Pooling turns neighbours into one, by their maximum or mean. ReLU drops
# what is below zero. A residual shortcut, it says, is one way to lose less, because it hands the input directly to
# a later part of the network; the branches of an Inception module do something similar. For its own LSTM it draws
# the same conclusion from connected states and two reading directions.
#
# Keep in mind that the same paper puts a ReLU and a MaxPool behind every LSTM block (section 3.4) and reports that the
# MaxPool *raises* accuracy (section 4.4).
#
# > **Not stated in the paper.** What "information" is, in which unit it is lost, and any measurement of it. This
# > chapter uses three rulers: effective rank, reconstruction by a linear map, and a linear probe. Alternatives are
# > estimates of mutual information, which need far more data, and reconstruction by a trained network, which can
# > only find more.

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
WITH, WITHOUT = "#0072B2", "#D55E00"  # colours of this chapter: with and without the shortcut

# %% [markdown]
# ## 1 Three rulers
#
# Put vectors as rows into a matrix and centre its columns. Its singular values $\sigma_j$ say how far the rows spread
# in each direction. Scaled to sum to 1 they form a distribution, and the *effective rank* is the exponential of its
# entropy (O. Roy and M. Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007):
#
# $$p_j = \frac{\sigma_j}{\sum_l \sigma_l}, \qquad \mathrm{erank} = \exp\Big(-\sum_j p_j \log p_j\Big).$$
#
# If the rows spread equally in $k$ directions and not at all in others, it is $k$.


# %%
def effective_rank(rows):
    """Effective rank of rows (N, D)."""
    s = torch.linalg.svdvals(rows - rows.mean(dim=0))  # (min(N, D),)
    p = s / s.sum()
    return torch.special.entr(p).sum().exp().item()  # entr(p) = -p log p, and 0 at p = 0


cloud = torch.randn(400, 2, dtype=torch.float64)  # (N, 2)
shapes = {"round": (1.0, 1.0), "cigar": (1.0, 0.15), "line": (1.0, 0.0)}
fig, axes = plt.subplots(1, 3, figsize=(9, 3), sharex=True, sharey=True, layout="constrained")
for ax, (name, scale) in zip(axes, shapes.items(), strict=True):
    rows = cloud * torch.tensor(scale)
    ax.plot(*rows.T, ".", markersize=3)
    ax.set(title=f"{name}: {effective_rank(rows):.2f}", xlabel="column 1", ylabel="column 2")
fig.suptitle("Effective rank of three clouds of points")
plt.show()

# %% [markdown]
# What you see: the ordinary rank of the cigar is 2, its effective rank lies between 1 and 2.
#
# Is rank information? Take numbers on a line and send them through ReLUs in two ways.

# %%
t = torch.randn(1000, 1, dtype=torch.float64)  # (N, 1), a line
one = F.relu(t)  # (N, 1)
two = torch.cat([F.relu(t), F.relu(-t)], dim=1)  # (N, 2)
print(f"t                    effective rank {effective_rank(t):.2f}, lost: nothing")
below = (t < 0).double().mean()
print(f"relu(t)              effective rank {effective_rank(one):.2f}, lost: every t < 0, {below:.0%}")
print(f"relu(t), relu(-t)    effective rank {effective_rank(two):.2f}, lost: nothing, their difference is t")
torch.testing.assert_close(two[:, :1] - two[:, 1:], t)

# %% [markdown]
# So rank can stay while half is lost, and rise while nothing is lost. A function of the input never holds *more*
# information than the input (the data processing inequality); that its rank rises means that the same
# information is spread over more directions. Hence two more rulers:
#
# - **Reconstruction error**: the share of a target's variance that the best linear map misses. 0: all of it can be
#   computed from here. A map that is not linear may do better, so this is an upper bound of the loss.
# - **Linear probe**: how well a linear classifier reads the class. It asks for one thing only, and for that in an
#   easy form.
#
# Both are fitted and tested on different source videos (`ctxlstm.classroom.probes`), so that no ruler rewards memory.
#
# ## 2 The frames, and the first convolution
#
# One frame of each of the 288 synthetic clips goes into the trained network at hand, EfficientNet-Lite0
# ([Chapter 4](04_deep_temporal_features.ipynb)). One frame cannot tell a movement from its reverse, so no probe in
# this part can be right about all of the 8 classes; chance is 1 in 8.

# %%
clips = classroom.clips()
labels = clips["label"].to_numpy()
sources = (clips["label"] + " " + clips["group"].astype(str)).to_numpy()  # the source video of each clip
frames = torch.cat([video.read_frames(path, 12, "uniform").images[6:7] for path in clips["path"]])
backbone = classroom.backbone()
cnn = backbone.net
x = (backbone.resize(frames).float() - backbone.mean) / backbone.std  # (B, 3, 128, 128)
print(f"{len(clips)} clips of {len(set(sources))} source videos")
print(f"frames {tuple(frames.shape)} -> input {tuple(x.shape)}")

# %% [markdown]
# The paper's argument is about one output element: it is a sum over 3 x 3 x 3 = 27 inputs, and a sum does not give its
# terms back. But a layer has many kernels. This one has 32, so at every position 27 numbers become 32 numbers, by one
# matrix $W$ (32, 27).

# %%
with torch.no_grad():
    conv = cnn._conv_stem(x)  # (B, 32, 64, 64)
    padded = cnn._conv_stem.static_padding(x)  # (B, 3, 129, 129)
    patches = F.unfold(padded, kernel_size=3, stride=2)  # (B, 27, 64 * 64), what each position reads
    W = cnn._conv_stem.weight.flatten(1)  # (32, 27)
    torch.testing.assert_close((W @ patches).unflatten(2, (64, 64)), conv, atol=1e-4, rtol=1e-4)
sigma = torch.linalg.svdvals(W)
strong = (sigma > sigma[0] / 1000).sum()
print(f"W {tuple(W.shape)}, singular values above 1/1000 of the largest: {strong} of 27")
print(f"numbers in: {x[0].numel():,}   numbers out: {conv[0].numel():,}")

# %% [markdown]
# A matrix that kept all 27 directions could be inverted, and nothing would be lost. This one drops a few. What that
# costs depends on how much pictures use those directions, and that can be measured (here on drawn ones).
#
# To compare convolution, ReLU and pooling, every stage must answer the same question: can you compute a window of 5 x 5
# pixels (75 numbers) from what the stage holds about it? That is 2 x 2 positions of the convolution (128 numbers), or
# one position after a 2 x 2 pooling (32 numbers).

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
    """What stage y holds about each window, (B, 4C, 1024), or after a pooling (B, C, 1024)."""
    return F.unfold(y, 2, stride=2) if y.shape[2] == 64 else y.flatten(2)


# %% [markdown]
# There are 288 x 1,024 windows; 8,000 of them are plenty.

# %%
generator = torch.Generator().manual_seed(0)
chosen = torch.randperm(288 * 1024, generator=generator)[:8000]  # some windows of all frames
of_window = np.repeat(sources, 1024)[chosen]


def pick(y):
    """(B, C, 1024) -> (8000, C)."""
    return y.transpose(1, 2).flatten(0, 1)[chosen]


for name, y in stages.items():
    print(f"{name:22s} {tuple(pick(cells(y)).shape)}")

# %% [markdown]
# A probe needs one vector a frame. It gets the averages over a 4 x 4 grid of fields of every channel.


# %%
def grid(y):
    """(B, C, H, W) -> (B, 16C)."""
    return F.adaptive_avg_pool2d(y, 4).flatten(1)


def rulers(y):
    probe = probes.linear_probe(grid(y), labels, sources)  # one accuracy a fold
    held = pick(windows) if y is x else pick(cells(y))
    error = probes.reconstruction_error(held, pick(windows), of_window)
    return {
        "numbers a window": held.shape[1],
        "effective rank": round(probes.effective_rank(held), 1),
        "pixels not reconstructed (%)": round(100 * error, 1),
        "probe (%)": round(100 * probe.mean()),
        "sd of folds": round(100 * probe.std(ddof=1)),
    }


measured = {"picture": rulers(x)} | {name: rulers(y) for name, y in stages.items()}
pd.DataFrame.from_dict(measured, orient="index")

# %% [markdown]
# What you see, column by column:
#
# - **Reconstruction**: the convolution, which turns 27 elements into one, loses next to nothing of the pixels'
#   variance (your first guess). ReLU costs little more, because a pixel is seen by many kernels of which some stay
#   above zero. Pooling loses by far the most here, since 32 numbers cannot hold 75; dropping three positions in
#   four loses more.
# - **Effective rank**: it *rises* at the ReLU, where information can only fall (your second guess). BatchNorm,
#   which only scales and shifts each channel, hardly moves it.
# - **Probe**: low everywhere, and its changes are about as large as the spread of the folds. The picture holds all
#   that a frame tells about the class, and a linear classifier can hardly read it from averages of pixels or first
#   features.
#
# ## 3 The same as pictures
#
# The linear map from a stage to the pixels, applied to one frame. Where windows overlap, their mean is shown.


# %%
def rebuild(y, n=0):
    """The picture of frame n as a linear map computes it from stage y."""
    one = torch.ones(8000, 1)  # the constant of the map
    fit = torch.linalg.lstsq(torch.cat([pick(cells(y)), one], dim=1), pick(windows)).solution  # (C + 1, 75)
    guess = fit[:-1].T @ cells(y)[n] + fit[-1][:, None]  # (75, 1024)
    both = torch.stack([guess, torch.ones_like(guess)])  # (2, 75, 1024)
    total, count = F.fold(both, 129, 5, stride=4)  # (3, 129, 129) each
    return total / count


rebuilt = ("convolution", "ReLU6", "max-pool 2 x 2", "average-pool 2 x 2")
fig, axes = plt.subplots(1, 5, figsize=(11, 2.8), layout="constrained")
shown = {"picture": padded[0]} | {name: rebuild(stages[name]) for name in rebuilt}
for ax, (name, image) in zip(axes, shown.items(), strict=True):
    pixels = (image * backbone.std[0] + backbone.mean[0]).clamp(0, 255)[:, :128, :128] / 255
    ax.imshow(pixels.permute(1, 2, 0).detach())
    ax.set_title(name, fontsize=10)
    ax.axis("off")
fig.suptitle("One synthetic frame, computed back from each stage by a linear map")
plt.show()

# %% [markdown]
# What you see: after the pooling edges and texture blur; the figure itself is still there.
#
# ## 4 Down the network
#
# Now through all 16 blocks of the trained network. Every block's output, averaged over positions, is a vector a frame.

# %%
states = [relu]  # what each block reads; the last one is the output of block 16
with torch.no_grad():
    for block in cnn._blocks.children():
        states.append(block(states[-1]))  # (B, C, H, W)
    last = cnn._swish(cnn._bn1(cnn._conv_head(states[-1]))).mean(dim=(2, 3))  # (B, 1280)
torch.testing.assert_close(last[:24], backbone(frames[:24]), atol=1e-2, rtol=1e-2)  # as in Chapter 4
vectors = [y.mean(dim=(2, 3)) for y in states] + [last]
depth = pd.DataFrame(
    {
        "channels": [v.shape[1] for v in vectors],
        "effective rank": [probes.effective_rank(v) for v in vectors],
        "folds": [probes.linear_probe(v, labels, sources) for v in vectors],
    }
)

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
most = depth["channels"].clip(upper=len(x) - 1)  # centred, 288 rows span at most 287 directions
left.plot(most, "o:", color=figures.GREY, markersize=4, label="the most it can be")
left.plot(depth["effective rank"], "o-", color=WITH, markersize=4, label="effective rank")
left.set(
    title="Rank", ylabel="directions (log scale)", yscale="log", xlabel="block (0: first layer, 17: feature)"
)
left.legend()
means = np.array([100 * f.mean() for f in depth["folds"]])
spread = np.array([100 * f.std(ddof=1) for f in depth["folds"]])
right.plot(means, "o-", color=WITH, markersize=4, label="mean of 4 folds")
right.fill_between(
    range(len(means)), means - spread, means + spread, color=WITH, alpha=0.2, label="± sd of the folds"
)
right.axhline(100 / 8, color=figures.GREY, linestyle="--", label="chance")
right.set(
    title="Linear probe", ylabel="accuracy (%)", ylim=(0, 100), xlabel="block (0: first layer, 17: feature)"
)
right.legend(loc="upper left")
for ax in (left, right):
    ax.set_xticks(range(0, 18, 2))
plt.show()

# %% [markdown]
# What you see: both rise with depth (the probe's last step down lies within the band), and information cannot. Part
# of it is width: later blocks have more channels, so more directions to fill and more columns to read from. A
# trained network throws away what its task does not need and lays out what it needs so that a linear map can read
# it. "Less information loss" and "better features" are two things: the picture has lost nothing, and is a poor
# feature.
#
# ## 5 With and without the shortcut: trained blocks
#
# Nine of the 16 blocks have a shortcut: input and output have one shape, and the block computes
# $y = x + F(x)$. Taking the input off again gives the branch $F(x) = y - x$ alone. Then ask: how much of the block's
# *input* can be computed, position by position, from its output with the shortcut, and from the branch alone?


# %%
def at_positions(y, rows=4000):
    """Channel vectors at random positions, (rows, C), and the source video of each."""
    positions = y.shape[0] * y.shape[2] * y.shape[3]
    some = torch.randperm(positions, generator=torch.Generator().manual_seed(0))[:rows]
    return y.permute(0, 2, 3, 1).flatten(0, 2)[some], np.repeat(sources, positions // len(y))[some]


found = []
for number, (before, after) in enumerate(pairwise(states), 1):
    if before.shape == after.shape:  # these blocks have a shortcut
        target, groups = at_positions(before)
        for way, y in (("with", after), ("without", after - before)):
            error = probes.reconstruction_error(at_positions(y)[0], target, groups)
            probe = probes.linear_probe(y.mean(dim=(2, 3)), labels, sources).mean()
            rank = probes.effective_rank(at_positions(y)[0])
            found.append((number, before.shape[1], way, 100 * error, 100 * probe, rank))
trained = pd.DataFrame(found, columns=["block", "channels", "shortcut", "lost", "probe", "effective rank"])

# %%
fig, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
titles = {  # of a panel, and of its vertical axis
    "lost": ("Input not reconstructed", "share of the variance (%)"),
    "probe": ("Linear probe", "accuracy (%)"),
    "effective rank": ("Effective rank", "directions"),
}
for ax, (column, (title, unit)) in zip(axes, titles.items(), strict=True):
    for way, colour, marker in (("with", WITH, "o"), ("without", WITHOUT, "s")):
        rows = trained[trained["shortcut"] == way]
        ax.plot(rows["block"], rows[column], marker, color=colour, label=f"{way} shortcut")
    ax.set(title=title, xlabel="block", ylim=(0, None), ylabel=unit)
    ax.set_xticks(range(3, 16, 2))
axes[0].legend()
plt.show()
trained.groupby("shortcut")[["lost", "probe", "effective rank"]].mean().round(1)

# %% [markdown]
# What you see: on the first ruler the paper's idea holds, and clearly. From the branch alone a third to some two
# thirds of the input cannot be computed linearly; with the shortcut, about a tenth or less. The other two rulers
# hardly move: the branch spreads over almost as many directions, and the class can be read from it about as well.
#
# Three cautions. This network was trained *with* its shortcuts, so no branch ever had to carry the input; one trained
# without them might. $x + F(x)$ gives $x$ back mostly because the branch is small beside it. And the ruler looks at one
# position at a time: what a convolution has moved to the neighbours, or bent, counts as lost.
#
# ## 6 With and without the shortcut: random blocks in depth
#
# The paper's network is ResNet-50, whose bottleneck block is $y = \mathrm{ReLU}(x + F(x))$: 1 x 1 convolution to a
# quarter of the channels, 3 x 3, 1 x 1 back. Its trained weights are not part of this book, so here are
# torchvision's blocks with **random** weights, as a network has them on its first day. 16 in a row, with and
# without shortcut, the same weights.


# %%
def branch(block, x):
    """F(x) of torchvision's Bottleneck: (B, C, H, W) -> the same."""
    y = F.relu(block.bn1(block.conv1(x)))  # (B, C/4, H, W)
    y = F.relu(block.bn2(block.conv2(y)))  # (B, C/4, H, W)
    return block.bn3(block.conv3(y))  # (B, C, H, W)


start = states[11]  # (B, 112, 8, 8), from the trained network, so that it holds something
mean, sd = (f(start, dim=(0, 2, 3), keepdim=True) for f in (torch.mean, torch.std))
start = F.relu((start - mean) / sd)
block = Bottleneck(112, 28)  # BatchNorm in training mode: every channel is scaled by the batch
with torch.no_grad():
    torch.testing.assert_close(F.relu(branch(block, start) + start), block(start))
print(f"input of the row of blocks: {tuple(start.shape)}, inner channels: {block.conv1.out_channels}")

# %%
target, groups = at_positions(start)
found = []
for seed in range(3):
    torch.manual_seed(seed)
    row = [Bottleneck(112, 28) for _ in range(16)]
    for way in ("with", "without"):
        y = start
        for number, block in enumerate(row, 1):
            with torch.no_grad():
                y = F.relu(branch(block, y) + (y if way == "with" else 0))  # (B, 112, 8, 8)
            if number in (1, 2, 4, 8, 16):
                rows = at_positions(y)[0]
                lost = 100 * probes.reconstruction_error(rows, target, groups)
                probe = 100 * probes.linear_probe(y.mean(dim=(2, 3)), labels, sources).mean()
                found.append((way, seed, number, lost, probe, probes.effective_rank(rows)))
random = pd.DataFrame(found, columns=["shortcut", "seed", "blocks", "lost", "probe", "effective rank"])

# %%
zero = {"lost": 0, "probe": 100 * probes.linear_probe(start.mean(dim=(2, 3)), labels, sources).mean()}
zero["effective rank"] = probes.effective_rank(target)
fig, axes = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
for ax, (column, (title, unit)) in zip(axes, titles.items(), strict=True):
    ax.axhline(zero[column], color=figures.GREY, linestyle=":", label="before the first block")
    for way, colour, marker in (("with", WITH, "o"), ("without", WITHOUT, "s")):
        rows = random[random["shortcut"] == way].groupby("blocks")[column].agg(["mean", "min", "max"])
        ax.plot(rows.index, rows["mean"], marker + "-", color=colour, label=f"{way} shortcut")
        ax.fill_between(rows.index, rows["min"], rows["max"], color=colour, alpha=0.2)
    ax.set(title=title, xlabel="random blocks passed", xscale="log", xticks=[1, 2, 4, 8, 16], ylim=(0, None))
    ax.set(xticklabels=[1, 2, 4, 8, 16], ylabel=unit)
axes[1].axhline(100 / 8, color=figures.GREY, linestyle="--", label="chance")
fig.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
fig.suptitle("Random bottleneck blocks: lines are means, bands all of 3 seeds")
plt.show()

# %% [markdown]
# What you see: without the shortcut almost nothing of the start can be computed linearly after two blocks; with it
# the same takes about sixteen. (A little over 100 % is worse than answering the mean.) So the shortcut delays the
# loss, as the paper says; with random weights it does not prevent it. Here the probe falls as well: to chance
# without the shortcut, later and not quite as far with it. Look at the rank with the shortcut: it ends *above*
# where it started, while less and less of the start is left.
#
# Random weights say what the architecture does before it has learnt anything, not what a trained ResNet-50 does.
#
# ## 7 What max-pooling 1,024 to 512 keeps
#
# Between the paper's LSTM blocks stand ReLU, BatchNorm and MaxPool. In our default reading
# ([Chapter 7](07_context_lstm.ipynb)) the pool takes the larger of two *neighbouring features*: 2 x 512 = 1,024 numbers
# become 512. Neighbours in a picture are alike. Neighbouring units of an LSTM have nothing in common but their number.
#
# A two-way LSTM with 512 units is trained for a few epochs on half of the source videos. All rulers are laid on the
# other half, which it has not seen.

# %%
features = classroom.features()  # x (288, 12, 1280)
unseen = (clips["group"] > 6).to_numpy()
half = ucf101.Split("grouped", 1, 0, train=np.flatnonzero(~unseen), test=np.flatnonzero(unseen))
torch.manual_seed(0)
model = models.build("bilstm", **{**classroom.SMALL, "hidden_size": 512, "num_layers": 1})
history = training.fit(
    model, features, half, training.Config(epochs=6, batch_size=24, validation=0, cpu=True)
)
model.eval()
x_unseen = features.x[torch.as_tensor(unseen)].float()  # (144, 12, 1280)
with torch.no_grad():
    out, _ = model.block(model.embedding(x_unseen))  # (B, T, 2H) = (144, 12, 1024)
print(f"LSTM outputs {tuple(out.shape)}; top-1 on the unseen half {history.table['test_top1'].iloc[-1]:.0%}")

# %%
rectified = F.relu(out)  # (B, T, 2H)
y = (rectified - rectified.mean(dim=(0, 1))) / (rectified.var(dim=(0, 1)) + 1e-5).sqrt()  # BatchNorm
kept = torch.randperm(1024, generator=torch.Generator().manual_seed(0))[:512]
ways = {
    "LSTM outputs": out,
    "ReLU, BatchNorm": y,
    "max of feature pairs": F.max_pool1d(y, 2),  # (B, T, H), the default reading
    "mean of feature pairs": F.avg_pool1d(y, 2),  # (B, T, H)
    "512 features at random": y[:, :, kept],  # (B, T, H)
    "max of frame pairs": F.max_pool1d(y.transpose(1, 2), 2).transpose(1, 2),  # (B, T/2, 2H)
}
for name, v in ways.items():
    print(f"{name:24s} {tuple(v.shape)}  {v[0].numel():,} numbers a clip")

# %% [markdown]
# One question for all: can the outputs of two consecutive frames (2 x 1,024 numbers) be computed linearly from what
# is kept of them? The probe reads the mean over the frames of a clip. The numerical rank counts every direction
# that is more than rounding. (The probes' linear maps are fitted with a small penalty and tested on other source
# videos, so even the outputs themselves do not come back to 0.0 %.)


# %%
def by_pairs(v):
    """Six pairs of frames a clip, a row each: (B, T or T/2, W) -> (6B, ...)."""
    return v.unflatten(1, (6, -1)).flatten(2).flatten(0, 1)


def lstm_rulers(v):
    folds = probes.linear_probe(v.mean(dim=1), labels[unseen], sources[unseen], folds=3)
    error = probes.reconstruction_error(by_pairs(v), by_pairs(out), np.repeat(sources[unseen], 6))
    return {
        "numbers a clip": v[0].numel(),
        "effective rank": round(probes.effective_rank(v.flatten(0, 1))),
        "numerical rank": probes.numerical_rank(v.flatten(0, 1)),
        "outputs not reconstructed (%)": round(100 * error, 1),
        "probe (%)": round(100 * folds.mean(), 1),
        "sd of folds": round(100 * folds.std(ddof=1), 1),
    }


pooled = pd.DataFrame.from_dict({name: lstm_rulers(v) for name, v in ways.items()}, orient="index")
pooled

# %%
halves = list(ways)[2:]
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
left.barh(halves, pooled.loc[halves, "outputs not reconstructed (%)"], color=WITHOUT)
before, lost = pooled.loc["ReLU, BatchNorm"], "outputs not reconstructed (%)"
left.axvline(before[lost], color=figures.GREY, linestyle="--", label="before any pool")
left.set(title="LSTM outputs not reconstructed", xlabel="share of the variance (%)")
left.invert_yaxis()
left.legend(fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.22), frameon=False)
own = pooled.loc[halves]
right.errorbar(own["probe (%)"], halves, xerr=own["sd of folds"], fmt="o", color=WITH)
right.axvline(before["probe (%)"], color=figures.GREY, linestyle="--")
right.set(title="Linear probe, ± sd of 3 folds", xlabel="accuracy (%)", xlim=(0, 100))
plt.show()

# %% [markdown]
# What you see: half of the numbers keep nearly all of what is linearly there (mind the scale, it ends far below 100 %),
# because the 1,024 outputs repeat themselves:
# their effective rank is a fraction of their number. Of the four ways to halve them, the maximum of feature pairs
# keeps, if anything, the least; 512 features *picked at random* keep as much as means of pairs do. The probes lie
# a few points apart, which on 144 clips (0.7 points each) is not much to go by.
#
# What this shows: that nothing much is lost by halving, by whichever way, on this model and data. What it does not
# show: that the max-pool helps. It may help training without keeping more; that is a question for the ablation
# ([Chapter 11](11_ablation.ipynb)).
#
# ## 8 Which classes change
#
# Your third guess: how many of the unseen clips change their predicted class when 1,024 numbers become 512?

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

said = {}
for name in ("ReLU, BatchNorm", "max of feature pairs", "512 features at random"):
    reader = make_pipeline(StandardScaler(), LogisticRegression(C=10, max_iter=2000))
    rows, true, groups = ways[name].mean(dim=1).numpy(), labels[unseen], sources[unseen]
    said[name] = cross_val_predict(reader, rows, true, groups=groups, cv=StratifiedGroupKFold(3))
for name in list(said)[1:]:
    changed = said[name] != said["ReLU, BatchNorm"]
    print(f"{name:24s} changes the class of {changed.mean():.0%} of {len(changed)} clips")

# %% [markdown]
# What you see: about one prediction in ten changes, and a random half changes about as many. At this size, "the
# pool changed the result by a few clips" is what any halving does.
#
# ## Try it
#
# ReLU, BatchNorm and MaxPool on a tensor so small that you can follow every number: B = 2 clips, T = 4 frames,
# 2H = 6 features. Change the order, the pooled axis and the axis of BatchNorm.

# %%
widgets.stage_explorer()

# %%
widgets.stage_explorer_figure(order="relu-bn", pool="feature", batch_norm="feature")

# %% [markdown]
# **Question.** With order `relu-bn`, which numbers can you no longer compute from the result? And with `bn-relu`?
# Look for equal numbers after the ReLU that were different before it.
#
# ## Check
#
# The ruler built here against the package's and against torch's own rank; the stage of section 7 against
# `ctxlstm.models.stage`, the module that the models use.

# %%
sample = ways["max of feature pairs"].flatten(0, 1)  # (B * T, H)
assert abs(effective_rank(sample.double()) - probes.effective_rank(sample)) < 1e-6
assert probes.effective_rank(sample) <= probes.numerical_rank(sample) <= min(sample.shape)
three = torch.randn(50, 3) @ torch.randn(3, 10)  # (50, 10) of rank 3
assert probes.numerical_rank(three) == torch.linalg.matrix_rank(three - three.mean(dim=0)) == 3

stage = Stage(1024, "feature", "relu-bn", "feature").train()
with torch.no_grad():
    torch.testing.assert_close(stage(out), ways["max of feature pairs"], atol=1e-2, rtol=1e-3)
print("our effective rank, torch's rank and the package's stage agree")

# %% [markdown]
# ## Common mistakes
#
# - **Taking rank for information.** In this chapter rank rose at a ReLU and along random blocks, where information
#   can only fall.
# - **Fitting and testing a ruler on the same rows.** With more columns than rows a linear map reconstructs
#   anything. Rows of one source video must stay together as well.
# - **Taking off a shortcut from a network that was trained with it** and calling the result "a network without
#   shortcuts".
#
# ## Exercises
#
# Four exercises, one of them on the widget above:
# [exercises](exercises/release/05_information_loss/05_information_loss.ipynb),
# [with solutions](exercises/source/05_information_loss/05_information_loss.ipynb).
#
# ## Summary
#
# - *Three rulers*: effective rank (directions, blind to what they hold), linear reconstruction (an upper bound of
#   the loss), linear probe (one question, in an easy form). None is information, and they disagree.
# - *Convolution, ReLU, pooling, shortcut*: a convolution of many kernels lost almost nothing of the picture, ReLU
#   little, pooling most. With a shortcut far more of a block's input can be computed from its output, in trained
#   and in random blocks. That alone does not decide how well the class can be read: in the trained network it rose
#   with depth and hardly changed without the shortcut; in the random one it fell with what was lost.
# - *1,024 to 512*: the max-pool keeps most of the LSTM's outputs, and no more of them than a random half does.
#
# Where this differs from the paper: it assumes a loss and argues from single elements; measured over all kernels
# the loss of a convolution is small. Its point about the shortcut holds on the ruler that fits it. Everything here
# is one trained network, one random one and one small LSTM, on synthetic clips.
#
# Next: [Chapter 6, the LSTM's gates](06_lstm_gates.ipynb).

# %%
print(classroom.versions())
