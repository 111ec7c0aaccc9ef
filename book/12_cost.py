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
# Paper: sections 4.3 and 4.4, Table 2 | 40 minutes to read and play, under a minute to run | downloads: none
#
# **After this chapter you can**
#
# - count the arithmetic and the memory of an LSTM head by hand, to the last byte;
# - turn "55 hours" into seconds per step and arithmetic per second;
# - say which of the paper's cost figures the head can explain.
#
# Before this: [Chapter 11](11_ablation.ipynb).
#
# **The question.** Is it cheaper to train?
#
# As we read it, the cascade has three times as many LSTM layers as the baseline, in both directions. The paper reports 55
# hours instead of 93, and 3.6 GB instead of 5.5.
#
# **Guess first.** Three numbers, before any counting:
#
# 1. Of all arithmetic in a training step, frames included: what share is the baseline head's, and what share the
#    frozen ResNet-50's? ______
# 2. How many GB does the whole baseline head hold while it trains at batch 80 (weights, gradients, optimizer,
#    activations)? ______
# 3. On features that are already computed, how many times as long does a step of the cascade take? ______
#
# <details><summary>Answer</summary>
#
# 1. About 0.6 % and 99.4 % (Step 2).
# 2. 0.32 GB (Step 4).
# 3. About six times at the paper's sizes (Step 5).
#
# </details>
#
# ## What the paper says
#
# Section 4.3 gives these figures for 300 epochs at batch 80 on a GTX 1080 Ti. It supposes that the temporal information is used
# better, and that ReLU and MaxPool may reduce the computation. Section 4.4 adds the cascade without MaxPool: 70 h, 4.5 GB.
#
# > **Not stated in the paper.** Whether the backbone was frozen (we say yes: training it would need some 190 GB, at 84.5 MB of
# > activations per frame); how often time and memory were measured, and how (Fig. 4 shows 3,636 MiB, 3.8 GB, by `nvidia-smi`);
# > whether the GPU waited for the disk; the number of blocks. Here: the default head of [Chapter 7](07_context_lstm.ipynb);
# > every frame through the backbone in every epoch, as in the public code base.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch

from ctxlstm import classroom, cost, figures, models, paper
from ctxlstm.cost import measured, records
from ctxlstm.widgets import panel

plt.rcParams.update(figures.style())
torch.manual_seed(0)
# the paper's sizes: clips, frames, features, hidden units, classes
B, T, D, H, K = 80, 28, 2048, 512, 101
rows = paper.table2().set_index("model")
rows

# %% [markdown]
# ## Step 1: the layers
#
# Everything below follows from a list of LSTM layers: input width $D_\text{in}$ and number of directions. A layer has
# $4H(D_\text{in} + H + 2)$ parameters per direction ([Chapter 7](07_context_lstm.ipynb)).


# %%
def lstm_layers(blocks, h=H):
    """(input width, directions) per LSTM layer; baseline: 0 blocks, cascade: 3."""
    if blocks == 0:
        return [(512, 1), (h, 1), (h, 1)]  # the embedding gives 512 numbers per frame
    first = [512] + [h] * (blocks - 1)  # MaxPool brings 2H back to H between the blocks
    return [(width, 2) for start in first for width in (start, 2 * h, 2 * h)]


def parameters(blocks, h=H):
    """Everything that training changes."""
    embedding = (2048 + 1) * 1024 + (1024 + 1) * 768 + (768 + 1) * 512
    layers = lstm_layers(blocks, h)
    lstm = sum(directions * 4 * h * (d_in + h + 2) for d_in, directions in layers)
    norms = 2 * 1024 + 2 * 768 + blocks * 2 * (2 * h)  # BatchNorm: weight, bias
    classifier = (h + 1) * 256 + (256 + 1) * K
    return embedding + lstm + norms + classifier


NAMES = {"cnn_lstm": 0, "context_lstm": 3}
# ctxlstm counts on models that have shapes but no numbers
costs = {name: cost.predict(name) for name in rows.index}
for name, blocks in NAMES.items():
    assert parameters(blocks) == costs[name].parameters
    count = len(lstm_layers(blocks))
    print(f"{name}: {count} LSTM layers, {parameters(blocks):,} parameters")

# %% [markdown]
# ## Step 2: arithmetic
#
# Per frame, every weight of a layer takes part in one multiplication and one addition. That is two FLOPs: $2 \cdot
# 4H(D_\text{in} + H)$ for an LSTM layer, per frame and direction.


# %%
def forward_flops(blocks, h=H):
    """FLOPs of the head for one clip, forward."""
    embedding = 2048 * 1024 + 1024 * 768 + 768 * 512
    layers = lstm_layers(blocks, h)
    lstm = sum(directions * 4 * h * (d_in + h) for d_in, directions in layers)
    return 2 * (T * (embedding + lstm) + h * 256 + 256 * K)


def step_flops(blocks, h=H):
    """FLOPs per training step: backward is twice forward, less two unused gradients."""
    of_features = 2 * B * T * D * 1024  # the frozen features are not trained
    starts = lstm_layers(blocks, h)[:3]  # the zeros that the first block starts from
    of_zero_state = sum(2 * B * directions * 4 * h * h for _, directions in starts)
    return 3 * B * forward_flops(blocks, h) - of_features - of_zero_state


for name, blocks in NAMES.items():
    assert forward_flops(blocks) == costs[name].forward_flops
    assert step_flops(blocks) == costs[name].step_flops
    clip, step = forward_flops(blocks) / 1e9, step_flops(blocks) / 1e12
    print(f"{name}: {clip:.2f} GFLOP per clip, {step:.2f} TFLOP per training step")

# %% [markdown]
# ResNet-50 needs about 8 GFLOP for *one* frame of 224 x 224 pixels, and a clip has 28. What is the head's share? (Guess 1.)

# %%
frame, backbone_bytes = cost.resnet50()  # FLOPs of a frame; bytes of the weights
backbone = B * T * frame  # a step: forward only, since the backbone is frozen
for name, blocks in NAMES.items():
    step = step_flops(blocks)
    print(f"{name}: head {step / 1e12:.2f}, backbone {backbone / 1e12:.1f} TFLOP, "
          f"head's share {step / (step + backbone):.1%}")

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
ax.barh(list(NAMES), [backbone / 1e12] * 2, color="#CCCCCC",
        label="frozen ResNet-50, forward")
heads = [step_flops(blocks) / 1e12 for blocks in NAMES.values()]
ax.barh(list(NAMES), heads, left=backbone / 1e12, color="#0072B2",
        label="head, forward and backward")
ax.set(xlabel="TFLOP per training step (80 clips of 28 frames)", ylabel="head",
       title="Where the work is")
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=2, frameon=False)
plt.show()

# %% [markdown]
# *What you see:* two bars of nearly the same length. The head is the thin end, and the cascade's is the *longer* one.
#
# ## Step 3: hours become seconds
#
# 300 epochs of 9,990 training and 3,330 test clips, at batch 80. How fast did the machine work?

# %%
EPOCHS, TRAIN, TEST = 300, 9990, 3330
steps = -(-TRAIN // B) + -(-TEST // B)  # 125 training and 42 test batches per epoch
rows["seconds per epoch"] = rows["hours"] * 3600 / EPOCHS
rows["seconds per batch"] = rows["seconds per epoch"] / steps
rows["frames per second"] = (TRAIN + TEST) * T / rows["seconds per epoch"]
work = [costs[name].online_epoch_flops / 1e12 for name in rows.index]  # TFLOP per epoch
rows["TFLOP per second"] = work / rows["seconds per epoch"]
rows[["hours", "seconds per epoch", "seconds per batch", "frames per second",
      "TFLOP per second"]].round(2)

# %% [markdown]
# The GTX 1080 Ti can do at most some 11 TFLOP per second (3,584 cores, one multiply-add per cycle, 1.58 GHz: its data sheet). In
# the cascade's 55 hours it did some 40 % of that, ordinary for a busy card. In the baseline's 93 hours it did about a
# quarter: it waited, or did work that is not in our count.

# %%
head = costs["cnn_lstm"].head_epoch_flops / costs["cnn_lstm"].online_epoch_flops
print(f"the baseline head is {head:.2%} of an epoch's arithmetic; "
      f"by that count, it takes {93 * head:.1f} of 93 hours")
saved = (93 - 55) / 93  # share of the baseline's time
slower = saved / (1 - saved) * (1 - head) / head
print("to take 38 of 93 hours, it would have to work "
      f"{slower:.0f} times slower than the backbone")
RESNET_152 = 11.5 / 4.09  # billion multiply-adds per frame (torchvision's pages)
print(f"a ResNet-152 at the speed of the 55 hours: {55 * RESNET_152:.0f} hours, "
      f"{55 * (RESNET_152 - 1):.0f} more")

# %% [markdown]
# A head that took *no time at all* could save only what the head takes. FLOPs are work, not time: the 28 steps of an LSTM wait
# for each other, so a GPU may run them far below its peak; hence the second line. But the cascade has more of those
# steps, not fewer.
#
# ## Step 4: memory
#
# A training step holds four things in float32 (4 bytes): the weights, a gradient for each, two running means of Adam for each,
# and the *saved activations* for the backward pass.
#
# An LSTM layer saves its input and, per direction, unit and frame, 7 numbers: f, i, g, o, the cell state c, $\tanh(c)$ and the
# hidden state h. A stage saves three things of width $2H$: what ReLU gives, what BatchNorm gives, and where the maxima
# were ($H$ positions of 8 bytes).


# %%
def saved_bytes(blocks, h=H, batch=B):
    """Activations kept for the backward pass, the batch's features included."""
    # the input; then, twice, what BatchNorm reads and what ReLU gives
    embedding = T * (2048 + 2 * 1024 + 2 * 768)
    layers = lstm_layers(blocks, h)
    lstm = sum(T * (d_in + directions * 7 * h) for d_in, directions in layers)
    stages = blocks * T * 3 * (2 * h)
    # what the classifier reads (a view: all T frames stay), its ReLU, the softmax
    last = T * h + 256 + K
    norms = 2 * (1024 + 768) + blocks * 2 * (2 * h)  # BatchNorm: mean, deviation
    labels = 8 * batch + 4  # whole numbers of 8 bytes, and the divisor of the mean loss
    return 4 * (batch * (embedding + lstm + stages + last) + norms) + labels


def memory(blocks, h=H, batch=B):
    """GB by part."""
    once, saved = 4 * parameters(blocks, h) / 1e9, saved_bytes(blocks, h, batch) / 1e9
    return {"weights": once, "gradients": once, "Adam": 2 * once, "activations": saved}


for name, blocks in NAMES.items():
    assert saved_bytes(blocks) == costs[name].saved_bytes

# %%
# made by papermill_runs/cost.ipynb, on 2 CPU cores
record = records.load("../papermill_runs/results/cost")
cached = record[record["way"] == "cached"].set_index("model")
table = pd.DataFrame({name: memory(blocks) for name, blocks in NAMES.items()}).T
table["sum"] = table.sum(axis=1)
table["measured"] = cached["measured_bytes"].astype(float) / 1e9
table.round(3)

# %% [markdown]
# In GB; `measured` is what a process on a CPU grew by. The baseline head holds about a third of a GB (guess 2), so it cannot
# *save* 1.9 GB even if it vanished. The cascade holds several times as much.
#
# What does not depend on the head is larger. The backbone reads 80 frames at once; its activations are freed before the head's
# are complete. So the **peak** counts only the larger of the two.

# %%
online = {}
for name, blocks in NAMES.items():
    own = memory(blocks)
    parts = {"frames": costs[name].image_bytes / 1e9,
             "ResNet-50's weights": backbone_bytes / 1e9}
    parts["head: weights, gradients, Adam"] = sum(own.values()) - own["activations"]
    passing = {"backbone's activations": costs[name].backbone_peak_bytes / 1e9,
               "head's activations": own["activations"]}
    peak = sum(parts.values()) + max(passing.values())
    assert abs(peak - costs[name].online_bytes / 1e9) < 1e-3
    total = sum(parts.values()) + sum(passing.values())
    online[name] = parts | passing | {"sum of all": total, "peak": peak,
                                      "paper": rows.loc[name, "memory_gb"]}
pd.DataFrame(online).round(2)

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
counted = [online[name]["peak"] for name in NAMES]
printed = [online[name]["paper"] for name in NAMES]
ax.barh([0.2, 1.2], counted, 0.38, color="#009E73", label="counted tensors, peak")
ax.barh([-0.2, 0.8], printed, 0.38, color=figures.GREY, label="paper")
ax.set(xlabel="GB at batch 80, frames through the backbone", ylabel="head",
       title="Memory of a training step")
ax.set_yticks([0, 1], list(NAMES))
ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=2, frameon=False)
plt.show()

# %% [markdown]
# *What you see:* the count rises from the baseline to the cascade, the paper's figure falls. A process also holds the CUDA
# context, workspace and the allocator's reserves. Half a GB to a GB for these, a rough figure, brings the *cascade* to
# Fig. 4's 3.8 GB. So it is the *baseline's* 5.5 GB that needs an explanation.
#
# ## Step 5: measure it
#
# **Guess 3.** We measure at a smaller size; look at the ratio only, since seconds of two machines cannot be compared.

# %%
small = {"hidden_size": 192, "embedding": (192,)}
before = torch.get_num_threads()
torch.set_num_threads(1)  # one thread: other programs on this machine disturb it less
found = {name: measured.measure(models.build(name, **small), (T, D), batch_size=16,
                                steps=5, warmup=1) for name in NAMES}
torch.set_num_threads(before)
work = {name: cost.predict(name, batch_size=16, **small).step_flops for name in NAMES}
ratio = found["context_lstm"].step_seconds / found["cnn_lstm"].step_seconds
print(f"small, here: a step of the cascade takes {ratio:.1f} times as long")
print(f"its arithmetic alone: {work['context_lstm'] / work['cnn_lstm']:.1f} times")
record["step"] = record["step_seconds"] / record["batch_size"]  # seconds per clip
per_clip = record.pivot(index="way", columns="model", values="step")
for way, ratio in (per_clip["context_lstm"] / per_clip["cnn_lstm"]).items():
    baseline = per_clip.loc[way, "cnn_lstm"]
    print(f"record, {way}: {ratio:.2f} times the baseline's {baseline:.3f} s per clip")
print(f"paper:  {55 / 93:.2f} times")

# %% [markdown]
# The record has the paper's sizes. On features the cascade takes several times as long; online, where every frame passes the
# backbone, about as long. The paper's ratio is far below both. This is a CPU, but each of the
# cascade's blocks contains all the waiting of the baseline, on a GPU too.
#
# ## Step 6: what could explain the paper's figures?
#
# That the head cannot explain them does not mean that they were not observed. Fair candidates:
#
# | candidate | would explain | for it | against it |
# |---|---|---|---|
# | the GPU waited for JPEG files | 93 h | Step 3; Fig. 4's path hints at an external disk | - |
# | files lay in the 32 GB of RAM in a later run | 55 h | some 6 GB of JPEG (our guess) fit | order of runs not stated |
# | another program on the GPU in one run | both | `nvidia-smi` counts every process | not stated |
# | reserves of the allocator or cuDNN | 5.5 GB | `nvidia-smi` counts them | 3 GB is much |
# | ResNet-152 in the baseline | about 100 h more (Step 3) | the code base has it | the gap is 38 h; only 0.14 GB more |
# | other batch or image size, frames per pass | both | - | "the same" settings (4.4) |
# | temporal information used better | neither | the paper supposes it | a step costs the same anyway |
#
# ## Try it: is there a head that saves?
#
# **Predict, then move it.** The dashed line is what the paper saves, 1.9 GB. (a) How small must $H$ be for the cascade to hold
# less than the baseline at $H = 512$? (b) At which batch size does the *cascade* at $H = 512$ reach 1.9 GB?
#
# <details><summary>Answer</summary>
#
# With three blocks: (a) $H = 64$, which holds 0.22 GB; $H = 128$ holds 0.35. (b) Between 100 and 120 clips.
#
# </details>


# %% tags=["hide-input"]
def memory_figure(h=512, blocks=3, batch=80):
    """Stacked bars: what baseline (H = 512) and cascade hold in a training step."""
    bars = {"baseline, H = 512": memory(0, 512, batch),
            f"{blocks} blocks, H = {h}": memory(blocks, h, batch)}
    colours = {"weights": "#0072B2", "gradients": "#56B4E9", "Adam": "#009E73",
               "activations": "#E69F00"}
    with panel.drawing(7.5, 3.0) as figure:
        axes = figure.add_axes((0.25, 0.2, 0.72, 0.55))
        for y, parts in enumerate(bars.values()):
            start = 0
            for part, size in parts.items():
                axes.barh(y, size, left=start, color=colours[part],
                          label=part if y == 0 else None)
                start += size
        axes.axvline(1.9, color="black", linestyle="--", linewidth=1.2,
                     label="saved in the paper")
        axes.set(xlabel=f"GB of the head at batch {batch}", ylabel="head",
                 xlim=(0, max(3, start * 1.05)))
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
# *What you see:* at $H = 256$ the cascade still holds more than the baseline; neither bar reaches the dashed line.
#
# **Question.** Which part of the bar grows with the batch, and which does not? Why can a smaller batch never make the cascade
# cheaper than the baseline at the same $H$?
#
# <details><summary>Answer</summary>
#
# Only the activations grow with the batch. At the same $H$ every part of the cascade's bar is larger, at any batch size.
#
# </details>
#
# ## Check
#
# Our hand count against `ctxlstm` at other sizes, and against the tensors of a real forward pass.

# %%
for blocks, h, batch in ((0, 128, 4), (2, 64, 3)):
    name = "context_lstm" if blocks else "cnn_lstm"
    options = {"num_blocks": blocks} if blocks else {}
    other = cost.predict(name, batch_size=batch, hidden_size=h, **options)
    assert parameters(blocks, h) == other.parameters
    assert forward_flops(blocks, h) == other.forward_flops
    assert saved_bytes(blocks, h, batch) == other.saved_bytes
kept = {}  # bytes of every tensor that a real forward pass keeps, by address


def note(tensor):
    kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
    return tensor


gates = models.build("cnn_lstm", hidden_size=32, cell="gates")
own = {t.untyped_storage()._cdata for t in [*gates.parameters(), *gates.buffers()]}
with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
    logits, labels = gates(torch.randn(2, T, D)), torch.zeros(2, dtype=torch.long)
    loss = torch.nn.functional.cross_entropy(logits, labels)
held = sum(storage.nbytes() for address, storage in kept.items() if address not in own)
assert held == saved_bytes(0, h=32, batch=2)
print("the hand count equals ctxlstm.cost at two other sizes; "
      f"a real forward pass saves {held:,} bytes")

# %% [markdown]
# ## Common mistakes
#
# - **FLOPs taken for time.** Waiting is not in them.
# - **`nvidia-smi` taken for the model's memory.** It also shows reserves and other processes.
# - **Adding up parts that never exist together.**
#
# ## Exercises
#
# [Exercises](exercises/release/12_cost/12_cost.ipynb) ([with solutions](exercises/source/12_cost/12_cost.ipynb)): steps in a
# row, hours into frames per second, what a head could save at most, and a prediction.
#
# ## Limits
#
# - No GPU measurement yet: `papermill papermill_runs/cost.ipynb out.ipynb -p results runs/cost` on a GPU would decide the
#   *sign* of both differences.
# - The online step was measured at batch 4, three steps each: ten per cent may be noise.
# - The counts hold for our reading: three blocks, frozen backbone, float32.
#
# ## Summary
#
# - The cascade has about six times the baseline head's arithmetic and five times its memory.
# - 55 hours are ordinary for a busy card; in 93 hours it waited, or did work that we do not count.
# - The head can explain neither figure: the baseline's whole head is 0.3 GB and half a per cent of the arithmetic, and the
#   difference between the heads has the opposite sign.
#
# Next: [Chapter 13](13_verdict.ipynb) closes the ledger.

# %%
import quizzes
from IPython.display import display

display(quizzes.quiz("12"))
print(classroom.versions())
