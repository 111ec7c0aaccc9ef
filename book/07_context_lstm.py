# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 7 The Context-LSTM
#
# Paper: section 3.4, Figs. 1 and 2 | 50 minutes to read and play, a minute to run | downloads: none
#
# **After this chapter you can**
#
# - build the cascade from three LSTM blocks, and point at the one line that hands the state over;
# - give the shape on every wire, the axis of every BatchNorm, and the number of parameters of every layer;
# - say what Fig. 2 leaves open, and which readings fit the 512 inputs of the first FC layer.
#
# Before this: [Chapter 6](06_lstm_gates.ipynb). Terms: [glossary](glossary.md).
#
# **The question.** What is the cascade, and what is handed over?
#
# **Guess first.** Block 1 has read a clip of 28 frames, 0 to 27, in both directions. At which frame does the backward
# direction of block 2 *start*, and which frame does the state that it is given know best?
#
# Your guess: it starts at frame ______ with a state that was last updated at frame ______ .
#
# <details><summary>Answer</summary>
#
# At frame 27, with a state last updated at frame 0 (step 7).
#
# </details>

# %%
from itertools import pairwise

import matplotlib.pyplot as plt
import pandas as pd
import torch
import torch.nn.functional as F
from matplotlib.patches import FancyBboxPatch
from torch import nn
from torch.testing import assert_close

from ctxlstm import classroom, cost, figures, models, training, ucf101, widgets
from ctxlstm.classroom import diagram
from ctxlstm.models.stage import Stage

plt.rcParams.update(figures.style())
COLOURS, GREY, PALE = figures.GATE_COLOURS, figures.GREY, "#E8F0F6"
_ = torch.manual_seed(0)

# %% [markdown]
# ## What the paper says
#
# - A ResNet-50, pre-trained on ImageNet, turns frames into features; the Context-LSTM classifier reads them (Fig. 1).
# - LSTM blocks follow one another, and their cell state flow and hidden output flow are connected (section 3.4).
# - ReLU, Batch Normalization ([Ioffe and Szegedy 2015](references.md#ioffe-2015)) and MaxPooling stand between the blocks
#   (section 3.4). ReLU before BatchNorm is reported to be better (section 4.4, without numbers).
# - Every block is bi-directional ([Schuster and Paliwal 1997](references.md#schuster-1997)) and has three LSTM layers
#   (Fig. 2). The hidden size is 512. Two FC (fully connected) layers follow, 512 to 256 and 256 to 101 (section 4.2).
#
# Both figures, drawn anew from their captions and these sections:


# %% tags=["hide-input"]
def part(axes, x, y, w, h, text, colour="#F1F1F1", line="-"):
    look = {"facecolor": colour, "edgecolor": "#666666", "linestyle": line}
    axes.add_patch(FancyBboxPatch((x, y), w, h, "round,pad=0,rounding_size=.1", **look))
    axes.text(x + w / 2, y + h / 2, text, ha="center", va="center", size=10.5)


def arrow(axes, start, end, text="", colour="#444444"):
    look = {"arrowstyle": "-|>", "color": colour, "lw": 1.8, "mutation_scale": 14}
    axes.annotate("", end, start, arrowprops=look | {"shrinkA": 0, "shrinkB": 0})
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + 0.08
    axes.text(*middle, text, color=colour, ha="center", size=9.5)


figure, axes = plt.subplots(figsize=(10, 2), layout="constrained")
for shift, text in ((0.24, ""), (0.12, ""), (0, "frames\nof a video")):
    part(axes, 0.1 + shift, 0.5 + shift, 1.3, 0.9, text, "#FFFFFF")
part(axes, 2.8, 0.4, 2.6, 1.2, "ResNet-50 backbone\npre-trained on ImageNet")
part(axes, 7.1, 0.4, 2.6, 1.2, "Context-LSTM classifier\ndeep temporal features", PALE)
part(axes, 10.9, 0.6, 0.8, 0.8, "$Y$", "#FFFFFF")
arrow(axes, (1.7, 1.0), (2.8, 1.0))
arrow(axes, (5.4, 1.0), (7.1, 1.0), "2,048 features\nper frame")
arrow(axes, (9.7, 1.0), (10.9, 1.0), "101 classes")
axes.set(xlim=(0, 11.8), ylim=(0.2, 1.9), title="Fig. 1: the whole system")
axes.axis("off")
plt.show()

# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(10, 3.3), layout="constrained")
for n in range(3):
    left = 0.2 + 3.3 * n
    part(axes, left, 1.0, 1.6, 2.0, "LSTM block\n3 layers\n2 directions", PALE)
    arrow(axes, (left + 0.8, 0.45), (left + 0.8, 1.0))
    axes.text(left + 0.8, 0.2, f"$x_{n + 1}$", ha="center", size=15)
    if n < 2:
        end, start = left + 1.6, left + 3.3  # of this block, of the next one
        arrow(axes, (end, 2.75), (start, 2.75), "cell state $c$", COLOURS["c"])
        arrow(axes, (end, 2.25), (start, 2.25), "hidden output $h$", COLOURS["h"])
        part(axes, left + 1.9, 1.15, 1.1, 0.8, "ReLU\nBatchNorm\nMaxPool",
             "#FFFFFF", "--")
        arrow(axes, (end, 1.55), (left + 1.9, 1.55), "?", GREY)
        arrow(axes, (left + 3.0, 1.55), (start, 1.55), "?", GREY)
part(axes, 9.0, 1.45, 1.7, 1.1, "two FC layers\n512, 256, 101")
arrow(axes, (8.4, 2.0), (9.0, 2.0))
part(axes, 11.2, 1.6, 0.6, 0.8, "$Y$", "#FFFFFF")
arrow(axes, (10.7, 2.0), (11.2, 2.0))
axes.set(xlim=(0, 12), ylim=(0, 3.2), title="Fig. 2: the classifier")
axes.axis("off")
plt.show()

# %% [markdown]
# *What you see:* the paper names the dashed parts, but does not say how they are wired (question marks).
#
# > **Not stated in the paper** ("that code base" is the public one that the paper's screenshot shows).
#
# | not stated | our default | alternatives |
# |---|---|---|
# | number of blocks (Fig. 2 shows $x_1, x_2, x_3$ and $Y$) | three | one, two, four |
# | axis of MaxPool; is there a stage after the last block? | pairs of features; yes (step 9) | pairs of frames; no |
# | axis of BatchNorm | features | frames (step 2) |
# | what is handed over, and to which direction | $h$ and $c$ of every layer, each direction to itself | one, none, exchanged |
# | which frame is read out | the last, as in that code base | each direction at its own end, mean, maximum |
# | FC layers before block 1 (the "embedding") | 2048, 1024, 768, 512, as in that code base | none |
# | whether ResNet-50 is trained too | frozen ([Chapter 9](09_training.ipynb)) | fine-tuned |
# | how much dropout | 0, as in that code base's script (its classes' default is 0.3) | more |
#
# ## Our default in one picture
#
# It is drawn from the model itself, so the shapes are the model's. Data flows from top to bottom; within a block **time
# runs from left to right**.

# %%
diagram.draw("Our default reading of Fig. 2")

# %% [markdown]
# *What you see:* two ways lead from block to block. The **outputs** go down the middle, through ReLU, BatchNorm and MaxPool.
# The **states** $h$ (blue) and $c$ (black) go past all that, untouched. They cross: a lane (one layer, one direction) starts
# left and ends right if forward, the other way round if backward.
#
# ## Step 1: one block
#
# A block is PyTorch's LSTM with $L = 3$ layers and two directions. It gives the last layer's output at every frame,
# and the final states of all lanes:
#
# $$y: (B, T, 2H), \qquad h_n, c_n: (2L, B, H)$$
#
# A state has a row per lane, layer by layer, forward before backward. Where did rows 4 and 5, the lanes of layer 3, end?

# %%
# clips, frames (not stated in the paper; its code base has 28), hidden units
B, T, H = 2, 28, 512
block = nn.LSTM(2048, H, num_layers=3, bidirectional=True, batch_first=True)
x = torch.randn(B, T, 2048)  # (B, T, D)  stands for ResNet-50 features
y, (h, c) = block(x)  # (B, T, 2H), (2L, B, H), (2L, B, H)
print(f"output y {tuple(y.shape)}, final states h {tuple(h.shape)}, c {tuple(c.shape)}")
forward, backward = y[:, :, :H], y[:, :, H:]  # (B, T, H) each
assert torch.equal(h[4], forward[:, -1])  # the forward lane ends at the last frame
assert torch.equal(h[5], backward[:, 0])  # the backward lane ends at the FIRST frame
print("h[4] is the forward output at t = 27; h[5] is the backward output at t = 0")

# %% [markdown]
# ## Step 2: the stage between the blocks
#
# After ReLU, BatchNorm brings its input to mean 0 and variance 1 and then applies two learnt numbers:
#
# $$\hat y = \gamma\,\frac{y - \mu}{\sqrt{v + \epsilon}} + \beta$$
#
# On $y$ (B, T, 2H) mean $\mu$ and variance $v$ can be taken along two axes:
#
# $$\text{per feature } d\text{:}\quad \mu_d = \frac{1}{BT}\sum_{b,t} y_{b,t,d} \qquad\qquad
# \text{per frame } t\text{:}\quad \mu_t = \frac{1}{B \cdot 2H}\sum_{b,d} y_{b,t,d}$$
#
# PyTorch's `BatchNorm1d` keeps axis 1 and averages over the others. Per feature it needs a transpose; without one it
# works per frame, and T is fixed. In evaluation mode running means from training replace $\mu$ and $v$. MaxPool then
# takes the larger one of each pair of neighbouring features.


# %%
def normalise(y, axes, epsilon=1e-5):
    """BatchNorm's formula over `axes`: training mode, gamma = 1 and beta = 0."""
    mean, variance = y.mean(axes, keepdim=True), y.var(axes, correction=0, keepdim=True)
    return (y - mean) / (variance + epsilon).sqrt()


r = F.relu(y)  # (B, T, 2H)
per_feature = normalise(r, (0, 1))  # (B, T, 2H)  over clips and frames, our default
per_frame = normalise(r, (0, 2))  # (B, T, 2H)  over clips and features
assert_close(per_feature, nn.BatchNorm1d(2 * H)(r.transpose(1, 2)).transpose(1, 2))
assert_close(per_frame, nn.BatchNorm1d(T)(r))
p = F.max_pool1d(per_feature, kernel_size=2)  # (B, T, H)  pools the last axis: features
assert torch.equal(p[..., 0], per_feature[..., :2].amax(dim=-1))  # the first pair
assert_close(Stage(2 * H, "feature", "relu-bn", batch_norm="feature")(y), p)
by_frame = Stage(2 * H, "feature", "relu-bn", batch_norm="time")
assert_close(by_frame(y), F.max_pool1d(per_frame, 2))
stages = {"block": y, "ReLU": r, "BatchNorm": per_feature, "MaxPool": p}
for name, tensor in stages.items():
    print(f"after {name:10s}", tuple(tensor.shape))

# %% [markdown]
# The formula, PyTorch and the package's stage agree on both axes. The next block gets 512 numbers per frame. The *state*
# did not pass through here.
#
# ## Step 3: the cascade
#
# Read the `for` loop twice: `y` is overwritten by the stage, `start` is not.


# %%
class Cascade(nn.Module):
    """The Context-LSTM without its embedding: x (B, T, D) -> logits (B, K)."""

    def __init__(self, input_size, num_classes, hidden_size,
                 num_blocks=3, num_layers=3):
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_blocks - 1)  # pooling makes 2H to H
        self.blocks = nn.ModuleList(
            nn.LSTM(size, hidden_size, num_layers, bidirectional=True, batch_first=True)
            for size in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm1d(2 * hidden_size) for _ in sizes)
        self.fc = nn.Sequential(nn.Linear(hidden_size, 256), nn.ReLU(),
                                nn.Linear(256, num_classes))

    def forward(self, y):
        start = None  # the first block starts from zeros
        for block, norm in zip(self.blocks, self.norms, strict=True):
            y, (h, c) = block(y, start)  # (B, T, 2H), (2L, B, H), (2L, B, H)
            y = norm(F.relu(y).transpose(1, 2)).transpose(1, 2)  # (B, T, 2H)
            y = F.max_pool1d(y, 2)  # (B, T, H)
            start = (h, c)  # <--- THE HAND-OVER: this block's end starts the next block
        return self.fc(y[:, -1])  # (B, H) of the last frame -> (B, K)


# %% [markdown]
# **That is the line: `start = (h, c)`.** Delete it, and a stack of ordinary two-way LSTMs is left. No projection is
# needed, because every state has the same shape $(2L, B, H)$.
#
# ## Step 4: a shape walk at the paper's sizes
#
# A hook is a function that PyTorch calls when a module has run. Ours writes down what each block is given and gives.

# %%
cascade = Cascade(input_size=2048, num_classes=101, hidden_size=512).eval()
rows = []  # (module, what it is given, what it gives, shape of its final h and c)


def note(name):
    def hook(module, inputs, outputs):
        y, state = outputs if isinstance(outputs, tuple) else (outputs, None)
        final = tuple(state[0].shape) if state else ""
        rows.append((name, tuple(inputs[0].shape), tuple(y.shape), final))

    return hook


for k, block in enumerate(cascade.blocks, 1):
    block.register_forward_hook(note(f"block {k}"))
cascade.fc.register_forward_hook(note("two FC layers"))
with torch.no_grad():
    assert cascade(x).shape == (B, 101)
walk = pd.DataFrame(rows, columns=["module", "is given", "gives", "final h and c"])
walk.style.hide(axis="index")

# %% [markdown]
# *What you see:* every block gives 1,024 numbers per frame, and the stage halves them. $T$ never changes; only the
# read-out drops it.
#
# ## Step 5: counting the parameters
#
# Three gates and a candidate have $H$ rows each; a row has $D + H$ weights and two biases:
#
# $$4H(D + H + 2) \quad\text{per layer and direction}$$
#
# In a two-way block layers 2 and 3 read both directions: $D = 2H$. BatchNorm has $\gamma$ and $\beta$ per feature; an FC
# layer from $a$ to $b$ has $ab + b$. The embedding has two BatchNorms and gives block 1 its 512 inputs.


# %%
def layer(D, H=512):
    return 4 * H * (D + H + 2)


def fc(*sizes):
    return sum(a * b + b for a, b in pairwise(sizes))


block = 2 * layer(512) + 2 * 2 * layer(1024)  # 2 directions; layers 2 and 3 read 1,024
counts = {
    "embedding": fc(2048, 1024, 768, 512) + 2 * (1024 + 768),
    "three blocks": 3 * block,
    "three BatchNorms": 3 * 2 * 1024,
    "two FC layers": fc(512, 256, 101),
}
with torch.device("meta"):  # shapes without numbers: nothing is allocated
    whole, baseline = models.build("context_lstm"), models.build("cnn_lstm")
assert sum(counts.values()) == models.count_parameters(whole)
one_way = 3 * layer(512)  # the baseline's LSTM
assert one_way == models.count_parameters(baseline.block)
print(*(f"{name:18s}{count:>12,}" for name, count in counts.items()), sep="\n")
print(f"{'total':18s}{sum(counts.values()):>12,}")
print(f"three blocks / the baseline's LSTM ({one_way:,}): {3 * block / one_way:.1f}")

# %% [markdown]
# *What you see:* nearly all of the 54 million are in the blocks, eight times the baseline's three one-way layers. Two
# directions cost more than twice one, because layers 2 and 3 are wider.
#
# ## Step 6: the hand-over made visible
#
# From here on $H = 32$ units and a clip of the generated stick figures will do: 12 frames, 1,280 features each
# ([Chapter 4](04_deep_temporal_features.ipynb)). We catch what every block is *given* and what it *ends in*.

# %%
features, clips = classroom.features(), classroom.clips()
clip = torch.as_tensor(features.x[0]).float()  # (T, D) = (12, 1280)
torch.manual_seed(0)
small = Cascade(1280, 8, hidden_size=32).eval()
starts, ends = [], []  # of every block: (h, c), each (2L, B, H)
for block in small.blocks:
    block.register_forward_pre_hook(lambda m, inputs: starts.append(inputs[1]))
    block.register_forward_hook(lambda m, inputs, outputs: ends.append(outputs[1]))
with torch.no_grad():
    small(clip[None])
assert starts[0] is None  # block 1: from zeros
for k in (0, 1):
    for end, start in zip(ends[k], starts[k + 1], strict=True):  # h, then c
        assert torch.equal(end, start)  # to the last bit
print("block 2 starts where block 1 ends, and 3 where 2 ends: equal to the last bit")

# %% tags=["hide-input"]
zeros = torch.zeros(6, 1, 32)  # (2L, B, H)
columns = {"block 1\nstarts": (zeros, zeros), "block 1\nends": ends[0],
           "block 2\nstarts": starts[1], "block 2\nends": ends[1],
           "block 3\nstarts": starts[2]}
figure, axes = plt.subplots(2, 5, figsize=(11, 4.2), layout="constrained",
                            sharex=True, sharey=True)
for (name, states), column in zip(columns.items(), axes.T, strict=True):
    for letter, state, ax in zip("hc", states, column, strict=True):
        image = ax.imshow(state[:, 0], cmap="RdBu_r", vmin=-0.4, vmax=0.4,
                          aspect="auto")  # (2L, H)
        ax.grid(False)
        ax.set_title(f"{name}: ${letter}$" if letter == "h" else f"${letter}$", size=11)
for ax in axes[:, 0]:
    ax.set_yticks(range(6), [f"layer {n // 2 + 1} {'→←'[n % 2]}" for n in range(6)])
    ax.set_ylabel("lane")
figure.supxlabel("hidden unit (0 to 31)", size=11)
figure.colorbar(image, ax=axes, label="value (darkest: beyond 0.4)",
                shrink=0.9, extend="both")
plt.show()

# %% [markdown]
# *What you see:* columns 2 and 3 are the same picture, and so are columns 4 and 5. Only block 1 starts from nothing.
#
# ## Step 7: what does a state know when it arrives?
#
# How much does a state change if frame $t$ changes a little? That is the size of a derivative, here the mean over 72
# clips:
#
# $$s_t = \left\| \frac{\partial}{\partial x_t} \sum_j h_{n,j} \right\|$$


# %%
def sensitivity(row):
    """How much a row of block 1's final h depends on each frame: (T,), largest 1."""
    x = torch.as_tensor(features.x[::4]).float().requires_grad_()  # (B, T, D), B = 72
    _, (h, _) = small.blocks[0](x, None)  # (2L, B, H)
    (slope,) = torch.autograd.grad(h[row].sum(), x)  # (B, T, D)
    size = slope.norm(dim=2).mean(dim=0)  # (T,)
    return size / size.max()


knows = {"forward": sensitivity(0), "backward": sensitivity(1)}  # layer 1; each (T,)
assert (knows["forward"].argmax(), knows["backward"].argmax()) == (11, 0)

# %% tags=["hide-input"]
figure, ax = plt.subplots(figsize=(9, 4.4), layout="constrained")
look = {"forward": ("#0072B2", "o-", 0), "backward": ("#D55E00", "s--", 11)}
for name, (colour, line, start) in look.items():
    what = f"final {name} state, layer 1 of block 1"
    ax.plot(knows[name], line, color=colour, label=what)
    mark = {"color": colour, "markersize": 13, "clip_on": False}
    ax.plot(start, 0.03, "^", **mark, label=f"where the {name} lane of block 2 starts")
ax.set(yscale="log", ylim=(0.03, 1.4), xticks=range(12))
ax.set_xlabel("frame $t$ that is changed")
ax.set_ylabel("change of $h$, largest = 1 (log scale)")
ax.set_title("A final state knows best the frames that it read last")
figure.legend(loc="outside lower center", ncols=2, frameon=False)
plt.show()

# %% [markdown]
# *What you see:* the forward state (blue) was made at the last frame and depends on it most, but block 2 uses it at the
# first (triangle). For the backward state (orange) it is the other way round. **This is the twist of the hand-over:**
# such a lane of block 2 starts with a summary of the whole clip that leans towards the *other* end of it.
#
# The paper does not discuss this. For it: the first step of block 2 already has the whole clip behind it. Against it: the
# state is not that of a neighbouring frame. Exchanging the directions (`handover="swap"`) would keep it close in time.
#
# ## Step 8: the readings of Fig. 2 side by side
#
# The three inputs can mean three blocks, or *one* block drawn once per time step. And MaxPool may pool frames.

# %%
readings = {"three blocks, pairs of features": {},
            "three blocks, pairs of frames": {"pool": "time"}}
diagram.side_by_side(readings)

# %%
readings = {"one block": {"num_blocks": 1},
            "directions exchanged, no pooling": {"pool": None, "handover": "swap"}}
diagram.side_by_side(readings)

# %% [markdown]
# *What you see:* pooling frames shortens time from 28 to 14, 7 and 3 and keeps 1,024 features. With directions exchanged, the
# states no longer cross.
#
# `cost.predict` counts the multiplications and additions (FLOP) of one clip's forward pass ([Chapter 8](08_cnn_lstm.ipynb) does
# it by hand).

# %%
table = []
readings = {"three blocks, feature pool (default)": {},
            "three blocks, time pool": {"pool": "time"},
            "three blocks, no pool": {"pool": None},
            "one block, feature pool": {"num_blocks": 1}}
for name, options in readings.items():
    with torch.device("meta"):
        model = models.ContextLSTM(**options)
    predicted = cost.predict("context_lstm", batch_size=1, **options)
    table.append(
        {
            "reading": name,
            "million parameters": round(models.count_parameters(model) / 1e6, 1),
            "GFLOP per clip": round(predicted.forward_flops / 1e9, 2),
            "first FC layer reads": model.head[0].in_features,
        }
    )
pd.DataFrame(table).set_index("reading")

# %% [markdown]
# *What you see:* the paper's first FC layer reads **512** numbers. Among these readings only feature pooling gives that.
#
# ## Step 9: why 512 points to feature pooling
#
# Hidden size 512 and two directions make 1,024, so something must halve it. Here is every combination of what could.

# %%
combinations = []
for hidden in (512, 256):
    joins = (("both directions side by side", 2), ("directions added", 1),
             ("one direction only", 1))
    for join, factor in joins:
        for pool, divisor in (("features", 2), ("frames", 1), ("nothing", 1)):
            combinations.append((hidden, join, pool, hidden * factor // divisor))
columns = ["hidden size", "outputs", "MaxPool over", "FC input"]
combinations = pd.DataFrame(combinations, columns=columns)
fits = combinations[combinations["FC input"] == 512]
print(f"{len(fits)} of {len(combinations)} combinations give 512:")
fits.style.hide(axis="index")

# %% [markdown]
# *What you see:* several ways lead to 512. A hidden size of 256 is not the stated one, adding the directions is not
# mentioned, one direction contradicts "bi-directional". **Feature pooling needs only parts that the paper names**, but
# once more than the text says: after the last block, too. It also needs no transpose: `MaxPool1d(2)` on (B, T, 2H) pools
# the last axis.
#
# In a third reading the clip is cut into three segments, and the *same* LSTM reads one after the other, handing its
# state on. For one direction, without stages, we can say what that is:

# %%
torch.manual_seed(0)
lstm = nn.LSTM(1280, 32, num_layers=3, batch_first=True)
whole, _ = lstm(clip[None])  # (1, 12, H)  one pass
state, parts = None, []
for segment in clip[None].split(4, dim=1):  # three segments (1, 4, D)
    output, state = lstm(segment, state)  # (1, 4, H); the state goes on to the next
    parts.append(output)
assert_close(torch.cat(parts, dim=1), whole)
print("three segments with hand-over = one pass over the whole clip")

# %% [markdown]
# An ordinary LSTM: it *continues in time*. The cascade goes *back to the start of the same clip*, in a new block with
# weights of its own.
#
# ## Step 10: reading out the last frame
#
# The default takes `y[:, -1]`. For the backward half that is the *first step* of its walk. Does half of the classifier's
# input know one frame only? Take all frames but the last from another clip, and see how much each half of the last
# block's output changes.


# %%
def changes_at_last_frame(**options):
    """Mean change of the forward and backward halves of the last block's output."""
    torch.manual_seed(0)
    options = classroom.SMALL | {"embedding": ()} | options
    model = models.build("context_lstm", **options).eval()
    seen = []  # output at the last frame, (2H,), of each clip
    model.blocks[-1].register_forward_hook(lambda m, i, o: seen.append(o[0][0, -1]))
    other = torch.as_tensor(features.x[200]).float()  # (T, D)  a clip of another class
    other[-1] = clip[-1]  # but with our last frame
    with torch.no_grad():
        model(clip[None]), model(other[None])
    change = (seen[0] - seen[1]).abs()  # (2H,)
    return change[:32].mean().item(), change[32:].mean().item()


cases = {
    "1 block of 1 layer": {"num_blocks": 1, "num_layers": 1},
    "1 block of 3 layers": {"num_blocks": 1},
    "3 blocks of 3 layers, no hand-over": {"handover": None},
    "3 blocks of 3 layers, hand-over": {},
}
for name, options in cases.items():
    forward, backward = changes_at_last_frame(**options)
    print(f"{name:36s} change of backward / forward half: {backward / forward:4.0%}")
    assert (backward == 0) == (options.get("num_layers") == 1)

# %% [markdown]
# *What you see:* with one layer the backward half does not change **at all**. With three it does: its input already holds
# the forward half of the layer below. **With hand-over it changes more than the forward half:** its start, one step
# away, is a summary of the whole clip. So the common warning "the backward half has seen one frame" is exact for one
# layer and wrong for the default cascade. (`readout="ends"` takes each half where its own walk ends.)
#
# ## Step 11: does the hand-over help?
#
# We train the small model with and without it, three times each, on 8 synthetic classes; both get the same split by
# source video and the same first weights.

# %%
curves = []
for seed in (0, 1, 2):
    split = ucf101.split(clips, "grouped", seed=seed)
    for handover in ("hc", None):
        torch.manual_seed(seed)
        model = models.build("context_lstm", handover=handover, **classroom.SMALL)
        config = training.Config(epochs=15, batch_size=24, validation=0, cpu=True,
                                 seed=seed)
        history = training.fit(model, features, split, config)
        curves.append(history.table.assign(seed=seed, handover=str(handover)))
curves = pd.concat(curves, ignore_index=True)
late = curves[curves["epoch"] > 8].groupby(["seed", "handover"])
jump = 100 * late["test_top1"].diff().abs().mean()
print(f"After epoch 8, top-1 moves by {jump:.0f} points per epoch on average.")
last = curves[curves["epoch"] == curves["epoch"].max()]
last = 100 * last.pivot(index="seed", columns="handover", values="test_top1")
last = last.rename(columns={"hc": "with hand-over (%)", "None": "without (%)"})
last.iloc[:, ::-1].round(1)

# %% tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", sharey=True)
look = {"hc": ("#0072B2", "o-", "with hand-over"),
        "None": ("#D55E00", "s--", "without")}
for seed, ax in enumerate(axes):
    for handover, (colour, line, name) in look.items():
        run = curves[(curves["seed"] == seed) & (curves["handover"] == handover)]
        ax.plot(run["epoch"], 100 * run["test_top1"], line, color=colour,
                markersize=4, label=name)
    ax.set(title=f"seed {seed}", xlabel="epoch", xticks=(1, 5, 10, 15), ylim=(0, 100))
axes[0].set_ylabel("test top-1 (%)")
axes[0].legend(loc="upper left")
plt.show()

# %% [markdown]
# *What you see:* compare when each curve leaves the level of guessing (12.5 %). In the runs printed here the cascade with
# hand-over tends to learn sooner, but the curves jump by amounts like the mean difference. The paper has no such
# ablation; [Chapter 11](11_ablation.ipynb) makes it on real videos.
#
# ## Try it: the state flow
#
# **Predict first:** if you switch the hand-over off, where do the *forward* outputs of block 2 change most: at the first
# frames or at the last?
#
# <details><summary>Answer</summary>
#
# At the first frames: a start is forgotten on the way.
#
# </details>

# %%
torch.manual_seed(0)
model = models.build("context_lstm", **classroom.SMALL).eval()
widgets.state_flow(model, clip)

# %%
widgets.state_flow_figure(model, clip, handover="hc")

# %% [markdown]
# *What you see:* outputs of each block's last layer, time from left to right, beside them $h$ and $c$ where a lane starts
# and ends. In the lowest row, the hand-over changes the outputs most where a lane starts.
#
# **Question.** Why is it not zero at the other end?
#
# <details><summary>Answer</summary>
#
# Forget gates let part of the start survive for many steps. And from layer 2 on, each lane also reads the other
# direction's outputs, which differ most at exactly that end.
#
# </details>
#
# ## Check: our cascade against the package and PyTorch
#
# The same weights in `models.ContextLSTM` must give the same logits and gradients, and with Chapter 6's gate lines instead
# of PyTorch's LSTM the same states.

# %%
torch.manual_seed(1)
ours = Cascade(1280, 8, hidden_size=32)
theirs = models.ContextLSTM(1280, 8, hidden_size=32, embedding=())
weights = {}
for key, value in ours.state_dict().items():
    new = key.replace("fc.0", "head.0").replace("fc.2", "head.3")  # head.2 is dropout
    if new.startswith("norms."):
        _, k, name = new.split(".")  # norms.0.weight -> stages.0.bn.weight
        new = f"stages.{k}.bn.{name}"
    weights[new] = value
theirs.load_state_dict(weights)  # strict: every weight has found its place
batch = torch.as_tensor(features.x[:4]).float()  # (B, T, D)
for net in (ours, theirs):
    F.cross_entropy(net(batch), torch.tensor([0, 1, 2, 3])).backward()
for a, b in zip(ours.blocks.parameters(), theirs.blocks.parameters(), strict=True):
    assert_close(a.grad, b.grad)  # block 1 learns through the hand-over as well
assert_close(ours(batch), theirs(batch))  # training mode: the batch's statistics
assert_close(ours.eval()(batch), theirs.eval()(batch))
gates = models.ContextLSTM(1280, 8, hidden_size=32, embedding=(), cell="gates")
gates.double().eval().load_state_dict(theirs.double().state_dict())
with torch.no_grad():
    pairs = (net(batch.double(), return_states=True) for net in (theirs, gates))
    assert_close(*pairs, rtol=0, atol=1e-9)
print("the same logits and gradients; with cell='gates' all states to 1e-9")

# %% [markdown]
# ## Common mistakes
#
# - **Mixing up the states.** `start = (c, h)` has the right shapes and raises no error; PyTorch wants `(h, c)`.
# - **Believing that a state passes through ReLU and BatchNorm.** They act on `y` only.
# - **`BatchNorm1d(T)`, no transpose.** It normalises frames (step 2), and fails only for another $T$.
#
# ## Exercises
#
# [Four exercises](exercises/release/07_context_lstm/07_context_lstm.ipynb), one of them on the state flow, and
# [solutions](exercises/source/07_context_lstm/07_context_lstm.ipynb).
#
# ## Limits
#
# - Step 9 is evidence, not proof; only the authors' code could settle the reading.
# - The networks of steps 6, 7 and 10 are untrained. Training changes the sizes, not where lanes end.
# - Step 11: three seeds, 72 test clips, unfinished curves; another seed or machine may turn the order round. It shows
#   that the hand-over *can* matter, not that it does on UCF101.
#
# ## Summary
#
# - The cascade is a row of two-way LSTM blocks, each followed by ReLU, BatchNorm and MaxPool. One line hands the state
#   over, `start = (h, c)`: the end of block $k$ is the start of block $k + 1$.
# - Numbers per frame: 2,048 (512 with the embedding) into block 1, then 1,024, 512, 1,024, 512, ...; states keep
#   (6, B, 512). A state that arrives at the first frame was made at the last, and the other way round.
# - Hidden size 512, two directions and an FC layer that reads 512 fit together if MaxPool halves the features, after the
#   last block too.
#
# **Where we differ from the paper:** where it is silent, we chose; most choices are options of `ContextLSTM`.
#
# Next: [Chapter 8, the CNN-LSTM](08_cnn_lstm.ipynb), the baseline that all this is compared with.

# %%
import quizzes
from IPython.display import display

display(quizzes.quiz("07"))
print(classroom.versions())
