# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 What it costs
#
# Paper: sections 4.3 and 4.4, the time and memory of Table 2. About 45 minutes to read; runs in under a minute
# on 2 CPU cores; downloads nothing.
#
# **After this chapter you can**
#
# - count the parameters, the arithmetic and the memory of an LSTM head by hand, to the last byte;
# - turn "55 hours" into seconds a step and arithmetic a second, and see whether that is plausible;
# - say which of the paper's cost figures the head can explain, and what would have to be measured for the rest.
#
# Before this: [Chapter 11](11_ablation.ipynb), the accuracy column of Table 2.
#
# ## The question
#
# **As we read it, the cascade has three times as many LSTM layers as the baseline, and they run in both
# directions. The paper reports that it trains in 55 hours instead of 93 and in 3.6 GB instead of 5.5. Can the
# head explain that?**
#
# **Guess first.** Four numbers, before any counting:
#
# 1. How many times as many parameters has the cascade as the baseline? ______
# 2. Of all arithmetic in a training step, frames included: which share is the baseline head's, and which is the
#    frozen ResNet-50's? ______
# 3. How many GB does the whole baseline head hold while it trains at batch 80 (weights, gradients, optimizer,
#    activations)? ______
# 4. On features that are already computed, how many times as long does a step of the cascade take? ______
#
# ## What the paper says, and what it does not say
#
# Section 4.3 gives about 55 h against 93 h for 300 epochs, and about 3.6 GB against 5.5 GB at batch 80, on a
# GTX 1080 Ti. It remarks that the number of layers grew while the time shrank, and supposes that the temporal
# information is used better; for the memory it names the same reason, and that ReLU and MaxPool may reduce the
# computation. Section 4.4 adds the cascade without MaxPool: 70 h, 4.5 GB.
#
# > **Not stated in the paper.** Whether the backbone was frozen (we read it as frozen: training it at batch 80
# > with 28 frames would need some 190 GB, by our count of 84.5 MB of activations a frame); how often time and
# > memory were measured; which tool gave the memory of the other two runs (Fig. 4 shows 3,636 MiB for the
# > cascade, as `nvidia-smi` prints it for the whole process); whether the GPU waited for the disk; the PyTorch
# > version; the number of blocks. Default here: the head as in [Chapter 7](07_context_lstm.ipynb), three
# > blocks, pool over features; every frame through the backbone in every epoch, as in the public code base.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

from ctxlstm import cost, figures, models, paper
from ctxlstm.cost import measured, records

plt.rcParams.update(figures.style())
torch.manual_seed(0)
B, T, D, H, K = 80, 28, 2048, 512, 101  # clips, frames, features, hidden units, classes: the paper's sizes
rows = paper.table2().set_index("model")
rows

# %% [markdown]
# ## Step 1: parameters
#
# An LSTM layer with input width $W$ has four gates. Each has a matrix for the input ($W \times H$), one for the
# hidden state ($H \times H$), and in PyTorch two bias vectors:
#
# $$4H\,(W + H + 2) \quad\text{parameters in each direction}$$
#
# First the list of layers: input width and number of directions.


# %%
def lstm_layers(blocks, h=H):
    """(W, directions) of every LSTM layer: blocks = 0 is the baseline, 3 the cascade."""
    if blocks == 0:
        return [(512, 1), (h, 1), (h, 1)]  # the embedding gives 512 numbers a frame
    first = [512] + [h] * (blocks - 1)  # MaxPool brings 2H back to H between the blocks
    return [(width, 2) for start in first for width in (start, 2 * h, 2 * h)]


def lstm_parameters(blocks, h=H):
    return sum(directions * 4 * h * (w + h + 2) for w, directions in lstm_layers(blocks, h))


layer = torch.nn.LSTM(512, 512, num_layers=3)  # the baseline's, from torch
assert sum(p.numel() for p in layer.parameters()) == lstm_parameters(0)
print(f"LSTM layers: baseline {lstm_parameters(0):,}, cascade {lstm_parameters(3):,} parameters")

# %% [markdown]
# Now the rest: the layers before the LSTM (2,048 to 1,024 to 768 to 512, as in the public code base), BatchNorm
# behind each block, and the classifier (512 to 256 to 101).


# %%
def parameters(blocks, h=H):
    """Everything that training changes."""
    embedding = (2048 + 1) * 1024 + (1024 + 1) * 768 + (768 + 1) * 512
    norms = 2 * 1024 + 2 * 768 + blocks * 2 * (2 * h)  # weight and bias of every BatchNorm
    classifier = (h + 1) * 256 + (256 + 1) * K
    return embedding + lstm_parameters(blocks, h) + norms + classifier


NAMES = {"cnn_lstm": 0, "context_lstm": 3}
costs = {name: cost.predict(name) for name in rows.index}  # ctxlstm counts models of shapes, no numbers
for name, blocks in NAMES.items():
    assert parameters(blocks) == costs[name].parameters
    print(f"{name}: {parameters(blocks):,} parameters, by hand and by machine")
print(f"ratio: {parameters(3) / parameters(0):.1f} (guess 1)")
print(f"of the LSTM layers alone: {lstm_parameters(3) / lstm_parameters(0):.1f}")

# %% [markdown]
# ## Step 2: arithmetic
#
# In one frame every weight of a layer is multiplied and added once. A multiplication with its addition is two
# FLOPs: $2 \cdot 4H(W + H)$ for an LSTM layer, each frame and direction.


# %%
def forward_flops(blocks, h=H):
    """FLOPs of the head for one clip, forward."""
    embedding = 2048 * 1024 + 1024 * 768 + 768 * 512
    lstm = sum(directions * 4 * h * (w + h) for w, directions in lstm_layers(blocks, h))
    return 2 * (T * (embedding + lstm) + h * 256 + 256 * K)


def step_flops(blocks, h=H):
    """FLOPs of a training step: backward is twice forward, less two gradients that nobody needs."""
    of_features = 2 * B * T * D * 1024  # the frozen features are not trained
    starts = lstm_layers(blocks, h)[:3]  # the zeros that the first block starts from
    of_zero_state = sum(2 * B * directions * 4 * h * h for _, directions in starts)
    return 3 * B * forward_flops(blocks, h) - of_features - of_zero_state


for name, blocks in NAMES.items():
    assert forward_flops(blocks) == costs[name].forward_flops
    assert step_flops(blocks) == costs[name].step_flops
    clip, step = forward_flops(blocks) / 1e9, step_flops(blocks) / 1e12
    print(f"{name}: {clip:.2f} GFLOP a clip, {step:.2f} TFLOP a training step")

# %% [markdown]
# **Before you go on:** ResNet-50 needs about 8 GFLOP for *one* frame of 224 x 224 pixels. A clip has 28. What
# is the head's share of a step? (Guess 2.)

# %%
frame, backbone_bytes = cost.resnet50()  # FLOPs of a frame; bytes of the weights
backbone = B * T * frame  # a step: forward only, since the backbone is frozen
for name, blocks in NAMES.items():
    step = step_flops(blocks)
    print(f"{name}: head {step / 1e12:.2f}, backbone {backbone / 1e12:.1f} TFLOP, ", end="")
    print(f"head's share {step / (step + backbone):.1%}")

# %%
fig, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
ax.barh(list(NAMES), [backbone / 1e12] * 2, color="#CCCCCC", label="frozen ResNet-50, forward")
heads = [step_flops(blocks) / 1e12 for blocks in NAMES.values()]
ax.barh(list(NAMES), heads, left=backbone / 1e12, color="#0072B2", label="head, forward and backward")
ax.set(xlabel="TFLOP of a training step (80 clips of 28 frames)", title="Where the work is")
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=2, frameon=False)
plt.show()

# %% [markdown]
# What you see: two bars of nearly the same length. The head is the thin end, and the cascade's is the *longer*
# one. If arithmetic were all, the two trainings would take nearly the same time, the cascade's a few per cent
# more.
#
# ## Step 3: hours become seconds
#
# 300 epochs of 9,990 training and 3,330 test clips, at batch 80. How fast did the machine have to work in each
# of the paper's rows?

# %%
EPOCHS, TRAIN, TEST = 300, 9990, 3330
steps = -(-TRAIN // B) + -(-TEST // B)  # 125 training steps and 42 test batches an epoch
rows["seconds an epoch"] = rows["hours"] * 3600 / EPOCHS
rows["seconds a batch"] = rows["seconds an epoch"] / steps
rows["frames a second"] = (TRAIN + TEST) * T / rows["seconds an epoch"]
work = [costs[name].online_epoch_flops / 1e12 for name in rows.index]  # TFLOP an epoch
rows["TFLOP a second"] = work / rows["seconds an epoch"]
rows[["hours", "seconds an epoch", "seconds a batch", "frames a second", "TFLOP a second"]].round(2)

# %% [markdown]
# The GTX 1080 Ti has 3,584 cores that do a multiply-add a cycle at about 1.58 GHz (its maker's data sheet, not
# the paper): at most some 11 TFLOP a second, and no real network reaches its card's maximum. In the cascade's
# 55 hours it did some 40 % of that, which is ordinary for a busy card; in the baseline's 93 hours about a
# quarter. There it waited for something, or computed something that is not in our count.
#
# How much of the 93 hours could the head be at most?

# %%
head = costs["cnn_lstm"].head_epoch_flops / costs["cnn_lstm"].online_epoch_flops
print(f"the baseline head is {head:.2%} of the arithmetic; so, by that, {93 * head:.1f} of 93 hours")
print(f"saved according to the paper: {93 - 55} hours")
saved = (93 - 55) / 93  # share of the baseline's time
slower = saved / (1 - saved) * (1 - head) / head
print(f"to take 38 of 93 hours, it would have to work {slower:.0f} times slower than the backbone")

# %% [markdown]
# A head that took *no time at all* could save only what the head takes. Here is the weak point of counting:
# FLOPs are work, not time. The 28 steps of an LSTM wait for each other, so a GPU may run them far below its
# peak; hence the last line. But the cascade has more of those waiting steps, not fewer, and its head would have
# to vanish as well.
#
# ## Step 4: memory
#
# A training step holds four kinds of things in float32 (4 bytes): the weights, one gradient for each, two
# running means of Adam for each, and the *saved activations*, which the backward pass needs again.
#
# An LSTM layer saves its input ($W$ numbers a frame) and in each direction 7 numbers a unit and frame: the
# gates f, i, g, o, the cell state c, $\tanh(c)$, and the hidden state h. A stage saves three things of width
# $2H$: what ReLU gives, what BatchNorm gives, and where the maxima were ($H$ positions of 8 bytes).


# %%
def saved_bytes(blocks, h=H, batch=B):
    """Activations kept for the backward pass, the batch's features included."""
    embedding = T * (2048 + 2 * 1024 + 2 * 768)  # input; what BatchNorm reads and ReLU gives, twice
    lstm = sum(T * (w + directions * 7 * h) for w, directions in lstm_layers(blocks, h))
    stages = blocks * T * 3 * (2 * h)
    last = T * h + 256 + K  # what the classifier reads (a view: all T frames stay), its ReLU, the softmax
    norms = 2 * (1024 + 768) + blocks * 2 * (2 * h)  # mean and deviation of every BatchNorm
    labels = 8 * batch + 4  # whole numbers of 8 bytes, and the divisor of the mean loss
    return 4 * (batch * (embedding + lstm + stages + last) + norms) + labels


def memory(blocks, h=H, batch=B):
    """GB by part."""
    once, saved = 4 * parameters(blocks, h) / 1e9, saved_bytes(blocks, h, batch) / 1e9
    return {"weights": once, "gradients": once, "Adam": 2 * once, "activations": saved}


for name, blocks in NAMES.items():
    assert saved_bytes(blocks) == costs[name].saved_bytes

# %% [markdown]
# **Before you go on:** is guess 3, the whole baseline head, more or less than the 1.9 GB that the paper saves?

# %%
record = records.load("../papermill_runs/results/cost")  # made by papermill_runs/cost.ipynb on 2 CPU cores
cached = record[record["way"] == "cached"].set_index("model")
table = pd.DataFrame({name: memory(blocks) for name, blocks in NAMES.items()}).T
table["sum"] = table.sum(axis=1)
table["measured"] = cached["measured_bytes"].astype(float) / 1e9
table.round(3)

# %% [markdown]
# `measured` is what the process grew by, on features, on a CPU; it comes from a run record that `papermill
# papermill_runs/cost.ipynb out.ipynb -p results papermill_runs/results/cost` made. It lies some 20 to 30 %
# above the count: libraries need room to work in. But the order is clear: the baseline head holds about a third
# of a GB, so it cannot *save* 1.9 GB, even if it vanished. The cascade holds several times as much, and with a
# single block it would still hold more than the baseline (the slider `blocks` below shows it).
#
# What does not depend on the head is larger. Count it for the online way, batch 80:

# %%
fixed = {
    "80 x 28 frames as float32": costs["cnn_lstm"].image_bytes / 1e9,
    "ResNet-50's weights": backbone_bytes / 1e9,
    "its activations, 80 frames at once, no gradient": costs["cnn_lstm"].backbone_peak_bytes / 1e9,
}
print(pd.Series(fixed).round(2).to_string())
for name in NAMES:
    print(f"{name}: counted {costs[name].online_bytes / 1e9:.1f} GB, paper {rows.loc[name, 'memory_gb']} GB")

# %%
fig, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
counted = [costs[name].online_bytes / 1e9 for name in NAMES]
printed = [rows.loc[name, "memory_gb"] for name in NAMES]
ax.barh([0.2, 1.2], counted, 0.38, color="#009E73", label="counted tensors")
ax.barh([-0.2, 0.8], printed, 0.38, color=figures.GREY, label="paper")
ax.set(xlabel="GB at batch 80, frames through the backbone", title="Memory of a training step")
ax.set_yticks([0, 1], list(NAMES))
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2, frameon=False)
plt.show()

# %% [markdown]
# What you see: the count rises from the baseline to the cascade, the paper's figure falls. A process also holds
# what no count of tensors sees: the CUDA context, the libraries' workspace, blocks that PyTorch's allocator
# keeps in reserve. Half a GB to a GB is a rough figure for that (not measured here), and brings the
# *cascade* to about the paper's 3.6. So the number in need of an explanation is the *baseline's* 5.5 GB, not the
# cascade's 3.6.
#
# ## Step 5: measure it
#
# **Guess 4 now**: a step of the cascade on given features, as a multiple of the baseline's. We measure at a
# smaller size, in seconds; seconds of two machines cannot be compared, so look at the ratio only.

# %%
small = {"hidden_size": 192, "embedding": (192,)}
before = torch.get_num_threads()
torch.set_num_threads(1)  # one thread: other programs on this machine disturb it less
found = {
    name: measured.measure(models.build(name, **small), (T, D), batch_size=16, steps=5, warmup=1)
    for name in NAMES
}
torch.set_num_threads(before)
work = {name: cost.predict(name, batch_size=16, **small).step_flops for name in NAMES}
ratio = found["context_lstm"].step_seconds / found["cnn_lstm"].step_seconds
print(f"a step takes {ratio:.1f} times as long")
print(f"arithmetic alone: {work['context_lstm'] / work['cnn_lstm']:.1f} times")

# %% [markdown]
# The same at the paper's sizes, from the cost record, and in the online way, where every frame passes the
# backbone:

# %%
record["step"] = record["step_seconds"] / record["batch_size"]  # seconds a clip
per_clip = record.pivot(index="way", columns="model", values="step")
ratios = per_clip["context_lstm"] / per_clip["cnn_lstm"]
for way, ratio in ratios.items():
    baseline = per_clip.loc[way, "cnn_lstm"]
    print(f"{way}: the cascade takes {ratio:.2f} times the baseline's {baseline:.3f} s a clip")
print(f"paper:  {55 / 93:.2f} times")

# %% [markdown]
# On features, several times as long; online, nearly the same, since both wait for the same backbone. The
# paper's ratio lies on the other side of 1. The online ratio differs from 1 by a few per cent, hardly more than
# such a measurement scatters.
#
# This was a CPU. A GPU has other ratios, since it dislikes small products that wait for each other. We see no
# way in which it could turn the order of the two heads: each of the cascade's blocks contains all the waiting
# that the baseline has. We have not measured it.
#
# ## Step 6: what could explain the paper's figures?
#
# The head cannot explain either figure. That does not mean that they were not observed. Fair candidates, with
# what we know:
#
# | candidate | would explain | for it | against it |
# |---|---|---|---|
# | the GPU waited for JPEG files (disk, few loaders) | 93 h | Step 3; Fig. 4's path hints at an external disk | - |
# | files still lay in the 32 GB of RAM in a later run | 55 h | some 6 GB of JPEG (our guess) fit | order of runs not stated |
# | another program on the GPU in one run | both | `nvidia-smi` counts every process | not stated |
# | reserves of the allocator or cuDNN | 5.5 GB | `nvidia-smi` counts them | 3 GB is much |
# | a larger backbone (the code base: ResNet-152) | some 100 h | the code base | adds about 0.14 GB only |
# | other batch or image size, backbone not frozen | both | - | "the same" settings (4.4) |
# | temporal information used better | neither | the paper supposes it | a step costs the same, whatever the numbers mean |
#
# > **Note** What a GPU record would settle: `papermill papermill_runs/cost.ipynb out.ipynb -p results
# > runs/cost` on a GPU measures both heads at batch 80 in fresh processes, online and on features: step time,
# > the allocator's peak, and the process's memory. That decides the *sign* of both differences. It cannot say
# > what happened on the authors' machine. The records of this book have no GPU measurement yet.
#
# ## Try it: is there a head that saves?
#
# **Predict, then move it.** The dashed line is what the paper saves, 1.9 GB. (a) How small must $H$ be for the
# cascade to hold less than the baseline at $H = 512$? (b) At which batch size does the *baseline* head reach
# 1.9 GB, so that removing it could save as much?

# %%
from ctxlstm.widgets import panel


def memory_figure(h=512, blocks=3, batch=80):
    """Stacked bars: what the baseline (H = 512) and a cascade hold in a training step."""
    bars = {"baseline, H = 512": memory(0, 512, batch), f"{blocks} blocks, H = {h}": memory(blocks, h, batch)}
    colours = {"weights": "#0072B2", "gradients": "#56B4E9", "Adam": "#009E73", "activations": "#E69F00"}
    with panel.drawing(7.5, 3.0) as figure:
        axes = figure.add_axes((0.22, 0.2, 0.75, 0.55))
        for y, parts in enumerate(bars.values()):
            start = 0
            for part, size in parts.items():
                axes.barh(y, size, left=start, color=colours[part], label=part if y == 0 else None)
                start += size
        axes.axvline(1.9, color="black", linestyle="--", linewidth=1.2, label="saved in the paper")
        axes.set(xlabel=f"GB of the head at batch {batch}", xlim=(0, max(3, start * 1.05)))
        axes.set_yticks([0, 1], list(bars))
        figure.legend(loc="upper center", ncols=5, frameon=False, fontsize="small")
    return figure


# %%
controls = {
    "h": panel.slider("hidden units H", 512, 64, 1024, 64),
    "blocks": panel.slider("blocks", 3, 1, 4, 1),
    "batch": panel.slider("batch size B", 80, 20, 1000, 20),
}
panel.Panel(memory_figure, controls)

# %%
memory_figure(h=256, blocks=3, batch=80)

# %% [markdown]
# **Question.** Which part of the bar grows with the batch, and which does not? Why can a smaller batch never
# make the cascade cheaper than the baseline at the same $H$?
#
# ## Check
#
# Our hand count against `ctxlstm` at other sizes, and the gates' count of saved numbers against real tensors.

# %%
for blocks, h, batch in ((0, 128, 4), (2, 64, 3)):
    name, options = ("cnn_lstm", {}) if blocks == 0 else ("context_lstm", {"num_blocks": blocks})
    other = cost.predict(name, batch_size=batch, hidden_size=h, **options)
    assert (parameters(blocks, h), forward_flops(blocks, h)) == (other.parameters, other.forward_flops)
    assert saved_bytes(blocks, h, batch) == other.saved_bytes
kept = {}  # bytes of every tensor that a real forward pass keeps, by address


def note(tensor):
    kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
    return tensor


gates = models.build("cnn_lstm", hidden_size=32, cell="gates")
own = {t.untyped_storage()._cdata for t in [*gates.parameters(), *gates.buffers()]}
with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
    loss = torch.nn.functional.cross_entropy(gates(torch.randn(2, T, D)), torch.zeros(2, dtype=torch.long))
held = sum(storage.nbytes() for address, storage in kept.items() if address not in own)
assert held == saved_bytes(0, h=32, batch=2)
print(f"by hand = ctxlstm.cost at two other sizes; a real forward pass saves {held:,} bytes")

# %% [markdown]
# ## Common mistakes
#
# - **FLOPs taken for time.** They bound it from below, at a machine's peak. Waiting is not in them: for the
#   disk, for the step before.
# - **`nvidia-smi` taken for the model's memory.** It shows the whole process, with reserves, and other
#   processes too.
# - **Forgetting the activations.** At batch 80 they are half of what a head holds; parameters alone do not
#   predict memory.
#
# ## Exercises
#
# [Exercises](exercises/release/12_cost/12_cost.ipynb) ([with
# solutions](exercises/source/12_cost/12_cost.ipynb)): a GRU's parameters, hours into frames a second, what a
# head could save at most, and a prediction that you check with a slider.
#
# ## Summary
#
# - Parameters, FLOPs and saved bytes of both heads follow from a few lines, and agree with `ctxlstm.cost`
#   exactly: the cascade has 5 to 6 times the parameters and about 6 times the arithmetic.
# - 93, 70 and 55 hours are 6.7, 5.0 and 4.0 seconds a batch. 55 h is ordinary for a busy card; in 93 h it
#   waited, or did work that we do not count.
# - The head can explain neither figure: the baseline's whole head is 0.3 GB and half a per cent of the
#   arithmetic, and the difference between the heads has the other sign. What differed, only a repetition on a
#   GPU under control can narrow down.
# - Where we differ from the paper: we count first, measure heads in fresh processes, and keep features, which
#   saves more than any head could: the backbone's work of 299 of 300 epochs.
#
# Next: [Chapter 13](13_verdict.ipynb) closes the ledger, claim by claim.

# %%
from ctxlstm import classroom

print(classroom.versions())
