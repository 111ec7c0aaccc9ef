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
# Paper section 3.4, Figs. 1 and 2. About 40 minutes; runs in about a minute on two CPU cores; no downloads.
#
# **After this chapter you can**
#
# - build the cascade from three LSTM blocks, and point at the one line that hands the state over;
# - say for every wire of the cascade what shape it carries, and what a state knows when it arrives in the next block;
# - tell what the paper's Fig. 2 leaves open, and which readings fit the 512 inputs of its first FC layer.
#
# You need the gates and the two states $h$ and $c$ of [Chapter 6](06_lstm_gates.ipynb).
#
# ## The question
#
# An LSTM block reads all frames and ends in a state. **What happens if the next block starts from that state, instead
# of from zeros?**
#
# **Guess first.** Block 1 has read a clip of 28 frames in both directions. Its backward direction walks from the last
# frame to the first. Where in time does the backward direction of block 2 *start*, and which frame does the state that
# it is given know best?
#
# Your guess: it starts at frame ______ with a state that was last updated at frame ______ .
#
# ## What the paper says
#
# - A ResNet-50, pre-trained on ImageNet, turns frames into features; the Context-LSTM classifier reads those (Fig. 1).
# - LSTM blocks follow one another, layer by layer, and the cell state flow and the hidden output flow of the blocks
#   are connected (section 3.4).
# - Among the blocks stand ReLU, Batch Normalization and MaxPooling (section 3.4). ReLU before BatchNorm is reported to
#   be better than the other order (section 4.4, without numbers).
# - Every unit is bi-directional and has three LSTM layers (caption of Fig. 2). The hidden size is 512, and two FC
#   (fully connected) layers follow, 512 to 256 and 256 to 101 (section 4.2).
#
# ## What it does not say
#
# > **Not stated in the paper.** How many blocks there are: Fig. 2 shows inputs $x_1, x_2, x_3$ and an output $Y$. *Our
# > default: three blocks.* Alternatives: one, two, four.
# >
# > **Not stated.** Along which axis MaxPooling pools, and whether a stage (ReLU, BatchNorm, MaxPool) follows the last
# > block too. *Our default: pairs of features; yes.* Alternatives: pairs of frames; only between blocks. Step 8 says why.
# >
# > **Not stated.** What exactly is handed over, and to which direction. *Our default: $h$ and $c$ of every layer, each
# > direction to itself.* Alternatives: one of them, none, directions exchanged.
# >
# > **Not stated.** Which frame is read out at the end. *Our default: the last one,* as in the public code base that the
# > paper's screenshot shows. Alternatives: each direction at its own end, mean, maximum.
# >
# > **Not stated.** Whether there are FC layers before the first block. *Our default: 2048 to 1024 to 768 to 512,* as in
# > that code base; this "embedding" is left out in most cells below, because it is not what this chapter is about.
# >
# > **Not stated.** Whether the ResNet-50 is trained along ([Chapter 9](09_training.ipynb): *our default is frozen*), and
# > how much dropout there is in the FC layers and the blocks (*our default: 0*).

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from ctxlstm import classroom, cost, figures, models, training, ucf101, widgets
from ctxlstm.classroom import diagram

plt.rcParams.update(figures.style())
_ = torch.manual_seed(0)

# %% [markdown]
# ## The whole cascade in one picture
#
# The picture is drawn by code, from the model itself: the shapes on the wires are those that the model gives. Data
# flows from top to bottom. Within a block, **time runs from left to right**; each layer has a lane that walks forward
# and one that walks backward.

# %%
diagram.draw("Our default reading of Fig. 2")

# %% [markdown]
# What you see: two ways lead from block to block. The **outputs**, one vector a frame, go down the middle, through
# ReLU, BatchNorm and MaxPool. The **states** $h$ (blue) and $c$ (black) go past all that, untouched. They
# cross, because a forward lane ends at the right and starts at the left, and a backward lane does the opposite.
#
# We now build this from the top down.
#
# ## Step 1: one block
#
# A block is PyTorch's LSTM with $L = 3$ layers and two directions. It gives the last layer's output at every frame,
# forward and backward half side by side, and the final states of all lanes:
#
# $$y: (B, T, 2H), \qquad h_n, c_n: (2L, B, H)$$
#
# The six rows of a state are ordered layer by layer, forward before backward: row 4 is the forward lane of layer 3, row
# 5 its backward lane. Where in time did these two end? The cell compares them with the outputs.

# %%
B, T, H = 2, 28, 512  # clips, frames, hidden units: the paper's T is not stated, its code base has 28
block = nn.LSTM(2048, H, num_layers=3, bidirectional=True, batch_first=True)
x = torch.randn(B, T, 2048)  # (B, T, D)  stands for ResNet-50 features
y, (h, c) = block(x)  # (B, T, 2H), (2L, B, H), (2L, B, H)
print("outputs y", tuple(y.shape), "  final states h", tuple(h.shape), " c", tuple(c.shape))
forward, backward = y[:, :, :H], y[:, :, H:]  # (B, T, H) each
assert torch.equal(h[4], forward[:, -1])  # the forward lane ends at the last frame, t = T
assert torch.equal(h[5], backward[:, 0])  # the backward lane ends at the FIRST frame, t = 1
print("h[4] is the forward output at t = 28; h[5] is the backward output at t = 1")

# %% [markdown]
# ## Step 2: what stands between the blocks
#
# ReLU, then BatchNorm of each feature over all clips and frames, then the larger one of each pair of neighbouring
# features. `BatchNorm1d` wants the features on axis 1, so we turn the tensor and turn it back. (Forward and backward
# features are not mixed: with an even $H$ every pair lies within one direction.)

# %%
norm = nn.BatchNorm1d(2 * H)
r = F.relu(y)  # (B, T, 2H)
n = norm(r.transpose(1, 2)).transpose(1, 2)  # (B, T, 2H)  statistics of each feature
p = F.max_pool1d(n, kernel_size=2)  # (B, T, H)   pools the last axis: features
for name, tensor in (("block", y), ("ReLU", r), ("BatchNorm", n), ("MaxPool", p)):
    print(f"after {name:10s}", tuple(tensor.shape))
assert torch.equal(p[..., 0], n[..., :2].amax(dim=-1))  # the first pair

# %% [markdown]
# The block gave 1,024 numbers a frame, the next block is given 512. The *state* of the block did not pass through here.
#
# ## Step 3: the cascade
#
# Now join blocks and stages. Read the `for` loop twice: `y` is overwritten by the stage, `start` is not.


# %%
class Cascade(nn.Module):
    """The Context-LSTM without its embedding: x (B, T, D) -> logits (B, K)."""

    def __init__(self, input_size, num_classes, hidden_size, num_blocks=3, num_layers=3):
        super().__init__()
        sizes = [input_size] + [hidden_size] * (num_blocks - 1)  # pooling makes 2H to H
        self.blocks = nn.ModuleList(
            nn.LSTM(size, hidden_size, num_layers, bidirectional=True, batch_first=True) for size in sizes
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(2 * hidden_size) for _ in sizes)
        self.head = nn.Sequential(nn.Linear(hidden_size, 256), nn.ReLU(), nn.Linear(256, num_classes))

    def forward(self, y):
        start = None  # the first block starts from zeros
        for block, norm in zip(self.blocks, self.norms, strict=True):
            y, (h, c) = block(y, start)  # (B, T, 2H), (2L, B, H), (2L, B, H)
            y = norm(F.relu(y).transpose(1, 2)).transpose(1, 2)  # (B, T, 2H)
            y = F.max_pool1d(y, 2)  # (B, T, H)
            start = (h, c)  # <--- THE HAND-OVER: this block's end is the next block's start
        return self.head(y[:, -1])  # (B, H) of the last frame -> (B, K)


# %% [markdown]
# **That is the line: `start = (h, c)`.** Everything else is a stack of ordinary two-way LSTMs. Delete the line, and
# every block starts from zeros again. No projection is needed, because all blocks have the same number of layers,
# directions and units, so every state has the same shape $(2L, B, H)$.
#
# ## Step 4: a shape walk at the paper's sizes
#
# A hook is a function that PyTorch calls when a module has run. We use one to write down what each block is given and
# what it gives, for $B = 2$ clips of 28 frames with 2,048 features.

# %%
cascade = Cascade(input_size=2048, num_classes=101, hidden_size=512).eval()
rows = []  # (module, what it is given, what it gives, the shape of its final h and of its final c)


def note(name):
    def hook(module, inputs, outputs):
        y, state = outputs if isinstance(outputs, tuple) else (outputs, None)
        rows.append((name, tuple(inputs[0].shape), tuple(y.shape), tuple(state[0].shape) if state else ""))

    return hook


for k, block in enumerate(cascade.blocks, 1):
    block.register_forward_hook(note(f"block {k}"))
cascade.head.register_forward_hook(note("two FC layers"))
with torch.no_grad():
    assert cascade(x).shape == (B, 101)
pd.DataFrame(rows, columns=["module", "is given", "gives", "final h, and c"]).style.hide(axis="index")

# %% [markdown]
# What you see: every block gives 1,024 numbers a frame, and the next one is given 512, because a stage has halved them.
# The states have the same shape everywhere. Compare with the picture above, wire by wire. $T = 28$ never changes; only
# the read-out drops the time axis.
#
# ## Step 5: the hand-over made visible
#
# A smaller cascade will do from here on: $H = 32$ units, on the features of a clip. It is one of the classroom's
# generated stick figures: 12 frames, 1,280 features each, from the frozen CNN of
# [Chapter 4](04_deep_temporal_features.ipynb). We catch what every block is *given* and what it *ends in*.

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
print("the end of block 1 is the start of block 2, and the end of 2 the start of 3: equal to the last bit")

# %%
zeros = torch.zeros(6, 1, 32)  # (2L, B, H)
columns = {"block 1\nstarts": (zeros, zeros), "block 1\nends": ends[0], "block 2\nstarts": starts[1]}
columns |= {"block 2\nends": ends[1], "block 3\nstarts": starts[2]}
figure, axes = plt.subplots(2, 5, figsize=(11, 4.2), layout="constrained", sharex=True, sharey=True)
for (name, states), column in zip(columns.items(), axes.T, strict=True):
    for letter, state, ax in zip("hc", states, column, strict=True):
        image = ax.imshow(state[:, 0], cmap="RdBu_r", vmin=-0.4, vmax=0.4, aspect="auto")  # (2L, H)
        ax.grid(False)
        ax.set_title(f"{name}: ${letter}$" if letter == "h" else f"${letter}$", size=11)
for ax in axes[:, 0]:
    ax.set_yticks(range(6), [f"layer {n // 2 + 1} {'→←'[n % 2]}" for n in range(6)])
figure.supxlabel("hidden unit (0 to 31)", size=11)
figure.colorbar(image, ax=axes, label="value (darkest: beyond 0.4)", shrink=0.9, extend="both")
plt.show()

# %% [markdown]
# What you see: columns 2 and 3 are the same picture, and so are columns 4 and 5. Only block 1 starts from nothing. The
# last block's final state has no successor: the classifier reads outputs, so nothing reads it.
#
# ## Step 6: what does a state know when it arrives?
#
# A state is a summary of all frames, but not an even one. How much does it change if frame $t$ changes a little? That
# is the size of a derivative, and PyTorch gives it. We take the mean of it over 72 clips, because in a single clip it
# jumps from frame to frame:
#
# $$s_t = \left\| \frac{\partial}{\partial x_t} \sum_j h_{n,j} \right\|$$


# %%
def sensitivity(row):
    """How strongly a row of block 1's final h depends on each frame: (T,), its largest value is 1."""
    x = torch.as_tensor(features.x[::4]).float().requires_grad_()  # (B, T, D) = (72, 12, 1280)
    _, (h, _) = small.blocks[0](x, None)  # (2L, B, H)
    (slope,) = torch.autograd.grad(h[row].sum(), x)  # (B, T, D)
    size = slope.norm(dim=2).mean(dim=0)  # (T,)
    return size / size.max()


knows = {"forward": sensitivity(0), "backward": sensitivity(1)}  # layer 1; each (T,)
assert (knows["forward"].argmax(), knows["backward"].argmax()) == (11, 0)
figure, ax = plt.subplots(figsize=(9, 4.4), layout="constrained")
look = {"forward": ("#0072B2", "o-", 1), "backward": ("#D55E00", "s--", 12)}
for name, (colour, line, start) in look.items():
    ax.plot(range(1, 13), knows[name], line, color=colour, label=f"final state of the {name} lane of block 1")
    mark = {"color": colour, "markersize": 13, "clip_on": False}
    ax.plot(start, 0.03, "^", **mark, label=f"where the {name} lane of block 2 starts")
ax.set(yscale="log", ylim=(0.03, 1.4), xticks=range(1, 13), xlabel="frame $t$ that is changed")
ax.set(ylabel="change of $h$, largest = 1 (log scale)")
ax.set_title("A final state knows the frames best that it has read last")
figure.legend(loc="outside lower center", ncols=2, frameon=False)
plt.show()

# %% [markdown]
# What you see: the forward state (blue) was made at the last frame, depends on it most and on the frames before it less
# and less, but block 2 uses it at $t = 1$ (blue triangle). The backward state (orange) was made at $t = 1$ and is used
# at $t = T$. **This is the twist of
# the hand-over:** each lane of block 2 starts with a summary of the whole clip that leans towards the *other* end of it.
# So for the guess at the beginning, with 28 frames: it starts at frame 28, with a state that was last updated at frame 1.
#
# Is that good or bad? The paper does not discuss it. In its favour: already the first step of block 2 has the whole
# clip behind it. Against it: the state is not that of a neighbouring frame, as it is within an LSTM. Exchanging the
# directions (`handover="swap"`) would keep it close in time. (This small network is untrained; training moves the
# forget gates and so changes how steep the curves are, not where the lanes end.)
#
# ## Step 7: the readings of Fig. 2 side by side
#
# Fig. 2 names three inputs $x_1, x_2, x_3$ and one output. You can read it as three blocks (our default), or as *one*
# block that is drawn once for each of three time steps. And MaxPool may pool frames instead of features.

# %%
time_pool = {"pool": "time"}
diagram.side_by_side({"three blocks, pairs of features": {}, "three blocks, pairs of frames": time_pool})

# %%
swapped = {"pool": None, "handover": "swap"}
diagram.side_by_side({"one block": {"num_blocks": 1}, "directions exchanged, no pooling": swapped})

# %% [markdown]
# What you see: pooling frames shortens time to 28, 14, 7, 3 and keeps 1,024 features, so the classifier reads 1,024
# numbers. One block has nobody to hand a state to. With directions exchanged, the states no longer cross.
#
# What do they cost? `cost.predict` counts the multiplications and additions (FLOP) of one clip forward;
# [Chapter 8](08_cnn_lstm.ipynb) does it by hand. The form of the hand-over and the read-out cost nothing, so they have
# no line of their own.

# %%
table = []
readings = {"three blocks, feature pool (default)": {}, "three blocks, time pool": {"pool": "time"}}
readings |= {"three blocks, no pool": {"pool": None}, "one block, feature pool": {"num_blocks": 1}}
for name, options in readings.items():
    with torch.device("meta"):  # shapes without numbers: nothing is allocated
        model = models.ContextLSTM(**options)
    predicted = cost.predict("context_lstm", batch_size=1, **options)
    table.append(
        {
            "reading": name,
            "million parameters": round(models.count_parameters(model) / 1e6, 1),
            "GFLOP a clip": round(predicted.forward_flops / 1e9, 2),
            "first FC layer reads": model.head[0].in_features,
        }
    )
readings_table = pd.DataFrame(table).set_index("reading")
readings_table

# %% [markdown]
# What you see: the paper's first FC layer reads **512** numbers. Among these readings, only feature pooling gives that.
#
# ## Step 8: why 512 points to feature pooling
#
# The paper states hidden size 512 *and* two directions. Side by side that makes 1,024. Something must halve it. Here is
# every combination of what could: the width that reaches the classifier is directions, times $H$, halved or not.

# %%
combinations = []
for hidden in (512, 256):
    joins = (("both directions side by side", 2), ("directions added", 1), ("one direction only", 1))
    for join, factor in joins:
        for pool, divisor in (("features", 2), ("frames", 1), ("nothing", 1)):
            combinations.append((hidden, join, pool, hidden * factor // divisor))
combinations = pd.DataFrame(combinations, columns=["hidden size", "outputs", "MaxPool over", "FC input"])
fits = combinations[combinations["FC input"] == 512]
print(f"{len(fits)} of {len(combinations)} combinations give 512:")
fits.style.hide(axis="index")

# %% [markdown]
# What you see: several ways lead to 512. A hidden size of 256 is not the stated one. Adding the directions is not
# mentioned. Using one direction only contradicts "bi-directional", or throws half of it away. The first line, **feature
# pooling, needs only parts that the paper names**, but it needs them once more than the text says: behind the last
# block too, where the paper has them "among" the blocks. It also needs no transpose: `MaxPool1d(2)` on a PyTorch tensor
# (B, T, 2H) pools the last axis, and section 3.4 says that the tensors "are always matrixes". This is evidence, not
# proof; only the authors' code could settle it.
#
# A third reading of Fig. 2: the clip is cut into three segments $x_1, x_2, x_3$, and the *same* LSTM reads one after the
# other, handing its state on. For one direction and without stages in between we can say what that is:

# %%
torch.manual_seed(0)
lstm = nn.LSTM(1280, 32, num_layers=3, batch_first=True)
whole, _ = lstm(clip[None])  # (1, 12, H)  one pass
state, parts = None, []
for segment in clip[None].split(4, dim=1):  # three segments (1, 4, D)
    part, state = lstm(segment, state)  # (1, 4, H), and the state goes on to the next segment
    parts.append(part)
torch.testing.assert_close(torch.cat(parts, dim=1), whole)
print("three segments with hand-over = one pass over the whole clip")

# %% [markdown]
# It is an ordinary LSTM. Handing a state from segment to segment *continues in time*. The cascade's hand-over is
# something else: it goes *back to the start of the same clip*, in a new block with weights of its own.
#
# ## Step 9: reading out the last frame
#
# The default takes `y[:, -1]`. For the forward half that is the end of its walk. For the backward half it is the
# *first step* of its walk: so far that lane has read one frame. Does half of the classifier's input know one frame only?
# Test it: take all frames except the last from another clip, and see by how much each half of the block's output at
# the last frame changes.


# %%
def changes_at_last_frame(**options):
    """By how much the forward and the backward half of the last block's output change (means over units)."""
    torch.manual_seed(0)
    model = models.build("context_lstm", **classroom.SMALL | {"embedding": ()} | options).eval()
    seen = []
    model.blocks[-1].register_forward_hook(lambda m, i, o: seen.append(o[0][0, -1]))  # (2H,)
    other = torch.as_tensor(features.x[200]).float()  # (T, D)  a clip of another class
    other[-1] = clip[-1]  # but with our last frame
    with torch.no_grad():
        model(clip[None]), model(other[None])
    change = (seen[0] - seen[1]).abs()  # (2H,)
    return change[:32].mean().item(), change[32:].mean().item()


# %%
cases = {
    "1 block of 1 layer": {"num_blocks": 1, "num_layers": 1},
    "1 block of 3 layers": {"num_blocks": 1},
    "3 blocks of 3 layers, no hand-over": {"handover": None},
    "3 blocks of 3 layers, hand-over": {},
}
for name, options in cases.items():
    forward, backward = changes_at_last_frame(**options)
    print(f"{name:36s} backward half changes {backward / forward:4.0%} as much as the forward half")
    assert (backward == 0) == (options.get("num_layers") == 1)

# %% [markdown]
# What you see: with one layer the backward half at the last frame does not change **at all**. It has read one frame and
# started from zeros. With three layers it does change: the lane still takes a single step, but its input already
# holds the forward half of the layer below. **With hand-over it changes more than the forward half:** it is one step
# away from its start, and its start is a summary of the whole clip.
#
# So the common warning "the backward half has seen one frame" is exact for one layer, half true for a stack, and
# wrong for the default cascade. (These networks are untrained; training changes the sizes, not the ways.)
#
# `readout="ends"` takes each half where its own walk ends. It costs nothing and is an option of our model. The paper does
# not say what it does.
#
# ## Step 10: does the hand-over help?
#
# Train the small model with and without it, three times each. With each seed both get the same split by source video
# and the same first weights. The data are synthetic: 8 classes of stick figures, 72 test clips.

# %%
curves = []
for seed in (0, 1, 2):
    split = ucf101.split(clips, "grouped", seed=seed)
    for handover in ("hc", None):
        torch.manual_seed(seed)
        model = models.build("context_lstm", handover=handover, **classroom.SMALL)
        config = training.Config(epochs=15, batch_size=24, validation=0, cpu=True, seed=seed)
        history = training.fit(model, features, split, config)
        curves.append(history.table.assign(seed=seed, handover=str(handover)))
curves = pd.concat(curves, ignore_index=True)

# %%
figure, axes = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained", sharey=True)
look = {"hc": ("#0072B2", "o-", "with hand-over"), "None": ("#D55E00", "s--", "without")}
for seed, ax in enumerate(axes):
    for handover, (colour, line, name) in look.items():
        run = curves[(curves["seed"] == seed) & (curves["handover"] == handover)]
        ax.plot(run["epoch"], 100 * run["test_top1"], line, color=colour, markersize=4, label=name)
    ax.set(title=f"seed {seed}", xlabel="epoch", xticks=(1, 5, 10, 15), ylim=(0, 100))
axes[0].set_ylabel("test top-1 (%)")
axes[0].legend(loc="upper left")
plt.show()

# %%
last = curves[curves["epoch"] == curves["epoch"].max()]
last = 100 * last.pivot(index="seed", columns="handover", values="test_top1")
last = last.rename(columns={"hc": "with hand-over (%)", "None": "without (%)"}).iloc[:, ::-1]
jump = 100 * curves[curves["epoch"] > 8].groupby(["seed", "handover"])["test_top1"].diff().abs().mean()
print(f"From one epoch to the next (after epoch 8) top-1 moves by {jump:.0f} points on average.")
last.round(1)

# %% [markdown]
# What you see: compare, seed by seed, when each curve leaves the level of guessing (12.5 %). In the runs printed here the
# cascade with hand-over tends to learn sooner; on another machine it may look different. One possible reason, not
# tested here: the state is a way past ReLU and pooling, so the first block gets a gradient more directly.
#
# But look at the limits. Three seeds, 72 test clips, and unfinished curves that jump from epoch to epoch by amounts like
# the difference itself. A longer training or another seed may turn the order round. This shows that the hand-over
# *can* matter in a small synthetic experiment, not that it does on UCF101.
#
# Now real videos. The records below are of four classes of UCF101 (ResNet-50 features, $H = 64$, 30 epochs, 3 seeds,
# the paper's random split). They were made by `papermill_runs/sweep.ipynb` with `-p config ucf101_subset` and by
# `papermill_runs/ablation.ipynb` with `-p config ucf101_subset -p protocols paper`. In brackets: 95 % intervals.
# [Chapter 11](11_ablation.ipynb) goes through this table.

# %%
from ctxlstm.experiments import runs
from ctxlstm.report import study_tables, text

records = runs.load("../papermill_runs/results/ucf101_subset")
ablation = study_tables.readings(records, protocol="paper")
tested = ablation.frame.dropna(subset=["difference_low"])
clear = tested[(tested["difference_low"] > 0) | (tested["difference_high"] < 0)]
print(f"{len(clear)} of {len(tested)} readings with an interval have one that leaves out zero")
assert len(clear) == 0
text.readable(ablation).set_index("reading")[["last (%)", "difference (points)"]]

# %% [markdown]
# What you see: **every interval of a difference includes zero**, and "handover=none" is among the nearest to the default.
# The intervals are wide: three seeds, 75 test clips, and a task so easy that the default reaches 100 %. So this is not evidence
# that hand-over does nothing. It says that these data cannot tell. (Where all seeds give the same difference
# there is no interval, and the cell holds a bare number.) The paper has no such ablation.
#
# ## Try it: the state flow
#
# One clip on its way through the small packaged model. Switch the hand-over on and off. The widget counts frames
# from 0: its frame 0 is our $t = 1$.
#
# **Predict first:** if you switch the hand-over off, which blocks' outputs change? And at which frames do the
# *forward* outputs of block 2 change most: at the first ones or at the last ones?

# %%
torch.manual_seed(0)
model = models.build("context_lstm", **classroom.SMALL).eval()
widgets.state_flow(model, clip)

# %%
widgets.state_flow_figure(model, clip, handover="hc")

# %% [markdown]
# What you see: outputs of each block's last layer, time from left to right, and beside them the narrow strips of $h$ and
# $c$ where a lane starts and ends; the backward lane starts at the right. Block 1 does not change: it starts from zeros
# either way. The lowest row shows that a start is forgotten on the way: the difference is largest where a lane starts.
#
# **Question.** Why is it not zero at the other end?
#
# <details><summary>Answer</summary>Two reasons. Forget gates let part of the start survive for many steps. And from layer 2
# on, each lane also reads the other direction's outputs, which differ most at exactly that other end.</details>
#
# ## Check: our cascade against the package and PyTorch
#
# The same weights in `models.ContextLSTM` (without embedding) must give the same numbers. Only the names of the
# BatchNorm layers and of the second FC layer differ, because the package keeps a dropout layer between the FC layers.

# %%
torch.manual_seed(1)
ours = Cascade(1280, 8, hidden_size=32)
theirs = models.ContextLSTM(1280, 8, hidden_size=32, embedding=())
weights = {}
for key, value in ours.state_dict().items():
    new = key.replace("norms.", "stages.").replace("head.2.", "head.3.")
    if new.startswith("stages."):
        _, k, name = new.split(".")  # stages.0.weight -> stages.0.bn.weight
        new = f"stages.{k}.bn.{name}"
    weights[new] = value
theirs.load_state_dict(weights)  # strict: every weight has found its place
batch = torch.as_tensor(features.x[:4]).float()  # (B, T, D)
torch.testing.assert_close(ours(batch), theirs(batch))  # training mode: BatchNorm with the batch's statistics
torch.testing.assert_close(ours.eval()(batch), theirs.eval()(batch))
print("the same logits, in training and in evaluation mode")

# %% [markdown]
# Gradients must agree as well, and they must flow *through the hand-over*: block 1 learns from what its state does in
# block 2. Last, the same cascade on the gate lines of [Chapter 6](06_lstm_gates.ipynb) instead of PyTorch's LSTM, in
# double precision.

# %%
labels = torch.tensor([0, 1, 2, 3])  # (B,)
for net in (ours, theirs):
    net.zero_grad()
    F.cross_entropy(net(batch), labels).backward()
for a, b in zip(ours.blocks.parameters(), theirs.blocks.parameters(), strict=True):
    torch.testing.assert_close(a.grad, b.grad)
print(f"gradient of block 1's first weights: {ours.blocks[0].weight_ih_l0.grad.norm():.4f} in both")

# %%
gates = models.ContextLSTM(1280, 8, hidden_size=32, embedding=(), cell="gates").double().eval()
gates.load_state_dict(theirs.state_dict())
with torch.no_grad():
    a, states_a = theirs.double()(batch.double(), return_states=True)
    b, states_b = gates(batch.double(), return_states=True)
torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
torch.testing.assert_close(states_a, states_b, rtol=0, atol=1e-9)
print("cell='gates': logits and all states agree to 1e-9")

# %% [markdown]
# ## Common mistakes
#
# - **Mixing up the states.** `start = (c, h)` has the right shapes and runs without an error; the result is wrong. PyTorch
#   wants `(h, c)`. (`start = y` is refused: outputs have another shape.)
# - **Believing that a state passes through ReLU and BatchNorm.** They act on `y` only.
# - **`BatchNorm1d` without the transpose.** On (B, T, 2H) it takes axis 1, so it normalises *frames*. It refuses only
#   if $T$ is not the size that it was made for. [Chapter 5](05_information_loss.ipynb) shows what each axis does.
#
# ## Exercises
#
# Four exercises, one of them on the state flow: [release](exercises/release/07_context_lstm/07_context_lstm.ipynb), and
# [with solutions](exercises/source/07_context_lstm/07_context_lstm.ipynb).
#
# ## Summary
#
# - The cascade is a row of two-way LSTM blocks with ReLU, BatchNorm and MaxPool behind each. One line hands the state over:
#   `start = (h, c)`. The end of block $k$ is the start of block $k + 1$, to the last bit.
# - Numbers a frame: 2048 into block 1, then 1024, 512, 1024, 512, ... ; states keep (6, B, 512). A state that
#   arrives at $t = 1$ was made at
#   $t = T$, and the other way round. The backward half of the last frame has taken one step only, but
#   with hand-over not from zeros.
# - Number of blocks, pooling axis, hand-over and read-out are not stated. Hidden size 512, two directions and an
#   FC layer that reads 512 fit together if MaxPool halves the features, after the last block too.
#
# **Where we differ from the paper:** where it is silent, we chose; most choices are options of `ContextLSTM`. Whether
# the hand-over raises accuracy is not shown by the paper, and our small studies cannot tell.
#
# Next: [Chapter 8, the CNN-LSTM](08_cnn_lstm.ipynb), the baseline that all this is compared with.

# %%
print(classroom.versions())
