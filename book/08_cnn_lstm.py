# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 8 The baseline: CNN-LSTM
#
# Paper, section 3.5 (ResNet-50-LSTM). About 30 minutes to read, about a minute to run on 2 CPU cores, no downloads.
#
# After this chapter you can:
#
# - build the paper's baseline, and count its parameters and FLOPs with pencil and paper,
# - say how much more arithmetic Context-LSTM does, and why a comparison of the two needs a third model,
# - say what the baseline's classifier gets to see, and how far three seeds of one model lie apart.
#
# Before this one: [Chapter 7](07_context_lstm.ipynb), the cascade. The LSTM itself is [Chapter 6](06_lstm_gates.ipynb).
#
# ## The question
#
# **What is Context-LSTM compared with, and is the comparison fair?**
#
# > **Guess first.** Write it down before you read on.
# >
# > 1. The paper's baseline has three LSTM layers, its cascade three blocks of three layers in two directions. How many
# >    times the arithmetic of the baseline's LSTM is that? \_\_\_\_\_\_\_
# > 2. Two trainings of the *same* model with different seeds, tested on 72 clips. How many points of top-1 lie between
# >    them? \_\_\_\_\_\_\_
#
# ## What the paper says
#
# Section 3.5: a ResNet-50 pre-trained on ImageNet, one LSTM block from PyTorch with 3 layers of 512 units, and two FC
# layers. Section 4.2: the FC layers go from 512 to 256 and from 256 to 101 numbers. Section 4.3: everything else was the
# same in both experiments. Table 2 gives 90.7 % for it against 92.2 % (each the best of 300 epochs), 93 hours against 55, and
# 5.5 GB against 3.6.
#
# > **Not stated in the paper.** (a) One or two directions: it says that the LSTM block "is the same" as in Context-LSTM,
# > which has two, but its first FC layer reads 512 numbers, which fits one. Our default is one direction, as in
# > the public code base; the alternative is `bilstm`. (b) Which outputs the FC layers read: default the last frame's; also
# > "mean", "max". (c) Layers between features and LSTM: default the code base's three FC layers. (d) How much
# > dropout: default 0; the code base's classes have 0.3. (e) Seeds: one run each, as far as one can tell.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ctxlstm import classroom, cost, figures, models, training, ucf101, widgets
from ctxlstm.experiments import runs
from ctxlstm.report import paper_tables, study_tables

torch.manual_seed(0)
plt.rcParams.update(figures.style())

# %% [markdown]
# ## 1 The model, built by hand
#
# A frozen CNN has turned every frame into a vector already ([Chapter 4](04_deep_temporal_features.ipynb)), so the model
# starts from features $x$ (B, T, D). Three parts: an embedding of every frame, the LSTM, a classifier of the last output.


# %%
class Baseline(nn.Module):
    def __init__(self, D=2048, K=101, H=512, layers=3):
        super().__init__()
        self.embedding = nn.Sequential(
            nn.Linear(D, 1024), nn.BatchNorm1d(1024, momentum=0.01), nn.ReLU(),
            nn.Linear(1024, 768), nn.BatchNorm1d(768, momentum=0.01), nn.ReLU(),
            nn.Linear(768, 512),
        )  # fmt: skip
        self.lstm = nn.LSTM(512, H, layers, batch_first=True)
        self.head = nn.Sequential(nn.Linear(H, 256), nn.ReLU(), nn.Linear(256, K))

    def forward(self, x):
        B, T, D = x.shape
        e = self.embedding(x.reshape(B * T, D)).reshape(B, T, -1)  # (B, T, 512), each frame on its own
        h, _ = self.lstm(e)  # (B, T, H), and the final states
        return self.head(h[:, -1])  # (B, H) -> (B, K), the output at the last frame


# %%
ours = Baseline().eval()
x = torch.randn(2, 28, 2048)  # (B, T, D): the paper's sizes
with torch.no_grad():
    e = ours.embedding(x.flatten(0, 1)).unflatten(0, (2, 28))
    h, (h_n, c_n) = ours.lstm(e)  # (B, T, H); (layers, B, H) twice
    logits = ours(x)
for name, tensor in {
    "x": x,
    "embedded": e,
    "LSTM outputs": h,
    "h_n": h_n,
    "last output": h[:, -1],
    "logits": logits,
}.items():
    print(f"{name:14s} {tuple(tensor.shape)}")
torch.testing.assert_close(h[:, -1], h_n[-1])  # the last output of the last layer is its final hidden state

# %% [markdown]
# ## 2 It is the package's `cnn_lstm`
#
# The same weights must give the same logits. Both models hold the same tensors in the same order under other names, so one is
# copied into the other by position.

# %%
package = models.build("cnn_lstm").eval()
mine, theirs = ours.state_dict(), package.state_dict()
assert [v.shape for v in mine.values()] == [v.shape for v in theirs.values()]
package.load_state_dict(dict(zip(theirs, mine.values(), strict=True)))
with torch.no_grad():
    torch.testing.assert_close(package(x), logits)
print(f"{len(mine)} tensors copied, logits equal; for example {list(mine)[-12]} -> {list(theirs)[-12]}")

# %% [markdown]
# ## 3 Parameters with pencil and paper
#
# One LSTM layer that reads $D$ numbers and has $H$ units keeps, for each of its four gates, a matrix for the input, one
# for the hidden state, and two biases:
#
# $$4\,(H \cdot D + H \cdot H + H + H) = 4H\,(D + H + 2).$$
#
# A linear layer from $a$ to $b$ has $(a + 1)\,b$, a BatchNorm of $n$ features has $2n$.


# %%
def lstm_layer(D, H):
    return 4 * H * (D + H + 2)


def linear(a, b):
    return (a + 1) * b


by_hand = {
    "embedding": linear(2048, 1024) + 2 * 1024 + linear(1024, 768) + 2 * 768 + linear(768, 512),
    "LSTM": lstm_layer(512, 512) + 2 * lstm_layer(512, 512),  # layer 1, then layers 2 and 3
    "head": linear(512, 256) + linear(256, 101),
}
counted = {"embedding": ours.embedding, "LSTM": ours.lstm, "head": ours.head}
for part, number in by_hand.items():
    assert number == models.count_parameters(counted[part])
    print(f"{part:10s} {number:>10,}")
print(f"{'all':10s} {sum(by_hand.values()):>10,}")

# %% [markdown]
# The cascade's LSTM by the same formula. A layer in two directions counts twice and hands 2H = 1,024 numbers to the layer
# above; between the blocks the max-pool brings them back to 512.


# %%
def lstm_block(D, H, layers=3, directions=1):
    """Parameters of stacked LSTM layers; every layer above the first reads all directions of the one below."""
    above = lstm_layer(directions * H, H)
    return directions * (lstm_layer(D, H) + (layers - 1) * above)


cascade = 3 * lstm_block(512, 512, directions=2)
assert cascade == models.count_parameters(models.build("context_lstm").blocks)
assert lstm_block(512, 512) == by_hand["LSTM"]
print(f"baseline {by_hand['LSTM']:,}, cascade {cascade:,}: {cascade / by_hand['LSTM']:.2f} times")

# %% [markdown]
# ## 4 FLOPs with pencil and paper
#
# Every weight of a matrix is used once a frame, in one multiplication and one addition: 2 FLOPs. So an LSTM layer costs
# $2 \cdot 4H\,(D + H)$ a frame. Biases, gates and BatchNorm are not counted.

# %%
T = 28
embedding_flops = T * 2 * (2048 * 1024 + 1024 * 768 + 768 * 512)
lstm_flops = T * 2 * 3 * 4 * 512 * (512 + 512)
head_flops = 2 * (512 * 256 + 256 * 101)
flops = embedding_flops + lstm_flops + head_flops
predicted = cost.predict("cnn_lstm").forward_flops
print(f"by hand {flops:,}, ctxlstm.cost {predicted:,}")
assert flops == predicted

# %% [markdown]
# torch has a counter of its own. It sees what passes through PyTorch's dispatcher as a matrix product; a fused LSTM kernel
# is one opaque call and may count as nothing. On the `meta` device, where tensors have shapes and no numbers, no
# kernel is fused.


# %%
def counted_flops(device):
    with torch.device(device), torch.no_grad(), FlopCounterMode(display=False) as counter:
        Baseline().eval()(torch.empty(1, T, 2048))
    return counter.get_total_flops()


print(f"torch's counter: on the CPU {counted_flops('cpu'):,}, on meta {counted_flops('meta'):,}")
assert counted_flops("meta") == flops
print(f"without the LSTM it would be {embedding_flops + head_flops:,}")

# %% [markdown]
# And the cascade's LSTM layers: three blocks, each with a first layer that reads 512 and two layers that read 1,024
# numbers, all in two directions.

# %%
cascade_flops = T * 2 * 3 * 2 * 4 * 512 * ((512 + 512) + 2 * (1024 + 512))
print(f"GFLOP a clip, LSTM layers: baseline {lstm_flops / 1e9:.3f}, cascade {cascade_flops / 1e9:.3f}")
print(f"that is {cascade_flops / lstm_flops:.0f} times")
context = cost.predict("context_lstm")
assert context.forward_flops == embedding_flops + cascade_flops + head_flops
print(f"steps one after the other, if layer follows layer: baseline {3 * T}, cascade {9 * T}")

# %% [markdown]
# That answers the first guess. Were the paper's baseline two-way, its block would be exactly one of the cascade's
# three, and the factor 3 instead of 8. Either way the cascade's LSTM has more arithmetic and more steps in a row (a
# layer's two directions can run at the same time), so less work in the LSTM cannot be the reason for the shorter
# training time that the paper reports ([Chapter 12](12_cost.ipynb)).
#
# ## 5 The third model
#
# If the larger of two models wins, is it the cascade or the size? `wide_lstm` is the baseline made so wide that it has the
# cascade's parameters: a *parameter-matched control*. The paper has none. The table counts one forward pass of a clip of
# 28 frames; the last column is a training step at batch 80.

# %%
names = ["cnn_lstm", "bilstm", "wide_lstm", "context_lstm_no_pool", "context_lstm"]
costs = {name: cost.predict(name) for name in names}
sizes = pd.DataFrame(
    {
        name: {
            "million parameters": c.parameters / 1e6,
            "GFLOP a clip": c.forward_flops / 1e9,
            "% of ResNet-50's FLOPs": 100 * c.forward_flops / c.backbone_flops,
            "GB for a training step": c.head_bytes / 1e9,
        }
        for name, c in costs.items()
    }
).T
sizes.round(2)

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
for ax, column in zip(axes, ["million parameters", "GFLOP a clip"], strict=True):
    ax.barh(names, sizes[column], color=[figures.HEAD_COLOURS[name] for name in names])
    ax.set(title="Parameters" if "param" in column else "Arithmetic of a forward pass", xlabel=column)
axes[0].invert_yaxis()
fig.suptitle("Heads at the paper's sizes: counted, not measured")
plt.show()
print("units of wide_lstm:", models.build("wide_lstm").block.hidden_size)

# %% [markdown]
# What you see: `wide_lstm` and `context_lstm` are as good as equal in both. If the cascade beats `cnn_lstm` alone, its form
# and its size cannot be told apart; if it beats `wide_lstm`, size alone is not the reason.
#
# How long a training step at batch 80 takes was measured on 2 CPU cores, with features that are computed once and kept;
# the record was made by `papermill papermill_runs/cost.ipynb out.ipynb -p results papermill_runs/results/cost`.

# %%
record = cost.records.load("../papermill_runs/results/cost")
measured = record[record["way"] == "cached"].set_index("model")[["step_seconds", "measured_bytes"]]
measured["times cnn_lstm"] = measured["step_seconds"] / measured.loc["cnn_lstm", "step_seconds"]
measured["measured_gb"] = measured.pop("measured_bytes") / 1e9
measured.round(2)

# %% [markdown]
# What you see: for eight times the LSTM arithmetic, a step of the cascade takes about six times as long here as the
# baseline's, and more memory. The paper's hours are of a GPU, and most likely include computing the features anew
# in every epoch, beside which either head is small; [Chapter 12](12_cost.ipynb) takes that into account.
#
# ## 6 Train the three, three seeds each
#
# Small heads (32 units where the paper has 512) on the synthetic clips. A seed changes the split, the first weights and
# the order of the batches. The split keeps source videos together, so nothing leaks
# ([Chapter 3](03_ucf101.ipynb)). A test part has 72 clips, so one clip is 1.4 points.

# %%
features = classroom.features()  # x (288, 12, 1280)
clips = features.clips
three = ["cnn_lstm", "wide_lstm", "context_lstm"]
trained, rows = {}, []
for name in three:
    for seed in range(3):
        torch.manual_seed(seed)
        model = models.build(name, **classroom.SMALL)
        split = ucf101.split(clips, "grouped", seed=seed)
        config = training.Config(epochs=12, batch_size=24, validation=0, seed=seed, cpu=True)
        history = training.fit(model, features, split, config)
        trained[name, seed] = model.eval(), split, history
        rows.append((name, seed, history.parameters, 100 * history.table["test_top1"].iloc[-1]))
small = pd.DataFrame(rows, columns=["model", "seed", "parameters", "top1"])

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for name in three:
    colour = figures.HEAD_COLOURS[name]
    for seed in range(3):
        table = trained[name, seed][2].table
        label = name if seed == 0 else None
        left.plot(table["epoch"], 100 * table["test_top1"], color=colour, alpha=0.7, label=label)
    own = small[small["model"] == name]["top1"]
    right.plot(own, [name] * 3, "o", color=colour, alpha=0.7)
    right.plot(own.mean(), name, "|", color=colour, markersize=22)
left.set(title="Three seeds of each", xlabel="epoch", ylabel="test top-1 (%)", ylim=(0, 100))
right.set(title="After the last epoch (bar: mean)", xlabel="test top-1 (%)", xlim=(0, 100), ylim=(2.5, -0.5))
left.legend(loc="upper left")
plt.show()
small.groupby("model", sort=False).agg(
    parameters=("parameters", "first"), mean=("top1", "mean"), low=("top1", "min"), high=("top1", "max")
).round(1)

# %% [markdown]
# What you see: the same model moves by many points from seed to seed (your second guess), about as far as the means of two
# models lie apart. Where the dots of two models overlap, one run of each could have named either of them the better one.
# Whichever mean is the highest, it rests on three seeds and 72 clips, and the curves still rise and jump at the end: on
# another machine, or after more epochs, the order may be a different one.
#
# The paper's test part is 46 times as large, so its noise from the *test clips* is smaller. Its noise from seeds is not
# known: one run of each model is all that is reported.
#
# ## 7 Five seeds, more clips
#
# The same comparison with 900 synthetic clips of 12 classes, 64 units, 30 epochs and 5 seeds. The records were made by
# `papermill papermill_runs/sweep.ipynb out.ipynb -p config stickfigures -p results papermill_runs/results/stickfigures`.
# "Split by group" is the split by source video, "official" follows the rule of UCF101's split 1; the lines are 95 %
# intervals.

# %%
records = runs.load("../papermill_runs/results/stickfigures")
records = records[records["model"].isin(three)]
leak = study_tables.leak(records).frame
figures.heads_by_protocol(leak)

# %%
compare = pd.concat(
    [paper_tables.differences(records, "grouped", against=other).frame for other in ("cnn_lstm", "wide_lstm")]
)
compare = compare[(compare["epoch"] == "last") & (compare["model"] == "context_lstm")]
columns = ["difference", "difference_low", "difference_high", "detectable"]  # shares; here in points
print("context_lstm minus another head, split by source video, 5 seeds, points of test top-1")
(100 * compare.set_index("against")[columns].astype(float)).round(1)

# %% [markdown]
# What you see: split by source video, `context_lstm` is ahead of the baseline by several points, with a wide interval that
# includes zero; `detectable` is the lead that five seeds would have found four times in five. Against the control of equal
# size nothing of it is left.
#
# Compare with the means of section 6: a lead over the control that you may find there, from fewer clips and epochs, is
# not repeated by this larger study. What carries over to UCF101 cannot be told from synthetic clips; that the control
# is needed can.
#
# ## 8 What the classifier gets to see
#
# The classifier reads one vector: the output at the last frame. Everything about the earlier frames must be in it. Exchange
# one frame of a clip for the same frame of another clip and look how far that vector moves.
#
# > **Guess first.** Which frames move it most in a trained baseline: the first, the middle or the last? \_\_\_\_\_\_\_

# %%
baseline, split, _ = trained["cnn_lstm", 0]
test = features.x[torch.as_tensor(split.test.copy())].float()  # (72, 12, 1280)
other = test.roll(len(test) // 2, dims=0)  # (72, 12, 1280), clips of other classes


@torch.no_grad()
def moved(model, part=slice(None)):
    """How far the last output moves with frame t exchanged, in % of all exchanged: (T,)."""

    def last(clip):
        return model.eval().block(model.embedding(clip))[0][:, -1, part]  # (B, H)

    base, found = last(test), []
    for t in range(test.shape[1]):
        changed = test.clone()
        changed[:, t] = other[:, t]
        found.append((last(changed) - base).norm(dim=1).mean())
    return 100 * torch.stack(found) / (last(other) - base).norm(dim=1).mean()


# %% [markdown]
# For comparison: the same baseline before training, and the backward half of a trained two-way LSTM, read at the same place.

# %%
torch.manual_seed(0)
untrained = models.build("cnn_lstm", **classroom.SMALL)
two_way = models.build("bilstm", **classroom.SMALL)
config = training.Config(epochs=12, batch_size=24, validation=0, cpu=True)
training.fit(two_way, features, split, config)
H, colours = classroom.SMALL["hidden_size"], figures.HEAD_COLOURS
frame = range(test.shape[1])
fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
ax.plot(frame, moved(untrained), "o:", color=colours["cnn_lstm"], label="cnn_lstm, not trained")
ax.plot(frame, moved(baseline), "o-", color=colours["cnn_lstm"], label="cnn_lstm, trained")
backward = moved(two_way, slice(H, 2 * H))
ax.plot(frame, backward, "s--", color=colours["bilstm"], label="bilstm, trained, backward half")
ax.set(title="What moves the output at the last frame", xlabel="exchanged frame t", ylim=(0, None))
ax.set_ylabel("movement (% of exchanging all)")
ax.legend()
plt.show()

# %% [markdown]
# What you see: before training the late frames weigh most, because forget gates near one half let the early ones fade.
# Training turned that round: the baseline's last output hears most of the *first* frames. An LSTM can learn what to hold
# on to. Perhaps the first pose gives these synthetic clips away; on other clips it may be other frames.
#
# The backward half leans on the one frame that its top layer has read there. It hears of earlier frames at all
# only because its upper layers read the forward outputs below. In the cascade, which is read out at the last frame too,
# there is a second way: its backward lanes start from a state that was handed over
# ([Chapter 7](07_context_lstm.ipynb), step 9).
#
# ## Try it
#
# One layer, one direction, trained as above. Step through one test clip: gates and states of one unit up to frame t. The
# classifier sees the h of the last step, of all units, and nothing else.

# %%
torch.manual_seed(0)
simple = models.build("cnn_lstm", **{**classroom.SMALL, "num_layers": 1})
training.fit(simple, features, split, config)
with torch.no_grad():
    clip = simple.eval().embedding(test[:1])[0]  # (T, E) = (12, 64)
widgets.sequence_stepper(clip, simple.block, unit=3)

# %%
widgets.sequence_stepper_figure(clip, simple.block, t=11, unit=3)

# %% [markdown]
# **Question.** Find a unit whose h at the last step is nearer to zero than it was on the way. Is it the cell state that went
# down, or the output gate that closed? Would the read-out "max" have seen more of that unit?
#
# ## Check
#
# The package's `cnn_lstm` once more, this time with the gates written out line by line ([Chapter 6](06_lstm_gates.ipynb)), in
# double precision; and the size of the control.

# %%
plain = models.build("cnn_lstm", cell="gates").double().eval()
plain.load_state_dict(package.state_dict())
with torch.no_grad():
    torch.testing.assert_close(plain(x.double()), ours.double()(x.double()), atol=1e-9, rtol=1e-9)
ours.float()
assert abs(costs["wide_lstm"].parameters / costs["context_lstm"].parameters - 1) < 0.01
assert cascade_flops == 8 * lstm_flops
print("by hand, with torch's LSTM and with our gates: equal logits")
print("the control has the cascade's parameters within 1 %")

# %% [markdown]
# ## Common mistakes
#
# - **Comparing models of unequal size** and naming the architecture as the reason.
# - **`h[:, -1]` for a two-way LSTM** that starts from zeros: its top layer has read one frame backwards there. `h_n` holds
#   the ends of both directions.
# - **Forgetting `batch_first=True`**: without it PyTorch takes (B, T, D) for T clips of B frames, and says nothing.
#
# ## Exercises
#
# Four exercises, one of them with the sequence stepper:
# [exercises](exercises/release/08_cnn_lstm/08_cnn_lstm.ipynb), [with solutions](exercises/source/08_cnn_lstm/08_cnn_lstm.ipynb).
#
# ## Summary
#
# - *The baseline*: embedding, three LSTM layers, two FC layers on the last output; $4H(D + H + 2)$ parameters a layer,
#   $2 \cdot 4H(D + H)$ FLOPs a layer and frame. Hand, package and torch's counter agree.
# - *Comparison*: Context-LSTM's LSTM layers do 8 times the arithmetic (3 times, were the baseline two-way).
#   `wide_lstm` has its parameters without its cascade.
# - *What it sees, and spread*: one vector, the last output; which frames weigh in it is learnt. Seeds of one model lie many
#   points apart. Over five seeds of the larger synthetic study, split by source video, the cascade's lead over the control
#   of equal size is nil.
#
# Where this differs from the paper: it has one run each and no control of equal size, leaves the directions of the
# baseline open, and trains 300 epochs on UCF101. Our numbers are small heads on synthetic clips.
#
# Next: [Chapter 9, training](09_training.ipynb).

# %%
print(classroom.versions())
