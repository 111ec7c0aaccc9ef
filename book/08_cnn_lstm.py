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
# Paper: section 3.5 (ResNet-50-LSTM) | 35 minutes to read and play, a minute to run | downloads: none
#
# **After this chapter you can**
#
# - build the paper's baseline and work out its FLOPs by hand;
# - say why a comparison with Context-LSTM needs a third model;
# - say what the baseline's classifier sees, and how far apart three seeds of one model lie.
#
# Before this: [Chapter 7](07_context_lstm.ipynb). Terms are in the [glossary](glossary.md).
#
# **The question.** What exactly is it compared with?
#
# **Guess first.**
#
# 1. The baseline has three LSTM layers. The cascade has three blocks of three layers, in two directions. How many times
#    the arithmetic is that? ______
# 2. Train the *same* model three times with different seeds and test it on 72 clips. How many points of top-1 lie
#    between the worst and the best? ______

# %% [markdown]
# ## What the paper says
#
# The baseline is a ResNet-50 pre-trained on ImageNet, one PyTorch LSTM block with 3 layers of 512 units, and two FC layers
# (512 to 256 to 101; sections 3.5, 4.2). Everything else was the same in both experiments (4.3). Table 2 gives 90.7 %
# against 92.2 % (each the best of 300 epochs), 93 hours against 55, and 5.5 GB against 3.6.
#
# > **Not stated in the paper.**
# >
# > - *Directions.* The LSTM block "is the same" as in Context-LSTM, which has two, but the first FC layer reads 512
# >   numbers, which fits one. Our default is one, as in the public code base; the alternative is `bilstm`.
# > - *Read-out.* Our default is the output at the last frame ("mean" and "max" are options).
# > - *Layers before the LSTM.* Our default is the code base's three FC layers.
# > - *Dropout.* Our default is 0. The code base's classes default to 0.3, but its training script sets 0.
# > - *Seeds.* Apparently one run of each model.

# %%
import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from ctxlstm import classroom, cost, figures, inference, models, training, ucf101

torch.manual_seed(0)
plt.rcParams.update(figures.style())

# %% [markdown]
# ## 1 The model, built by hand
#
# From the frozen CNN's features $x$ (B, T, D) on there are three parts: an embedding of every frame, the LSTM, and a
# classifier of its last output.


# %%
class Baseline(nn.Module):
    def __init__(self, D=2048, K=101, H=512, layers=3):
        super().__init__()
        self.embedding = nn.Sequential(
            nn.Linear(D, 1024), nn.BatchNorm1d(1024, momentum=0.01), nn.ReLU(),
            nn.Linear(1024, 768), nn.BatchNorm1d(768, momentum=0.01), nn.ReLU(),
            nn.Linear(768, 512),
        )
        self.lstm = nn.LSTM(512, H, layers, batch_first=True)
        self.classifier = nn.Sequential(nn.Linear(H, 256), nn.ReLU(), nn.Linear(256, K))

    def forward(self, x):
        B, T, D = x.shape
        frames = x.reshape(B * T, D)  # each frame on its own
        e = self.embedding(frames).reshape(B, T, -1)  # (B, T, 512)
        h, _ = self.lstm(e)  # (B, T, H), and the final states
        return self.classifier(h[:, -1])  # (B, H) -> (B, K), from the last output


# %%
ours = Baseline().eval()
x = torch.randn(2, 28, 2048)  # (B, T, D): the code base's T
with torch.no_grad():
    e = ours.embedding(x.flatten(0, 1)).unflatten(0, (2, 28))
    h, (h_n, c_n) = ours.lstm(e)  # (B, T, H); (layers, B, H) twice
    logits = ours(x)
shown = {"x": x, "embedded": e, "LSTM outputs": h,
         "h_n": h_n, "last output": h[:, -1], "logits": logits}
for name, tensor in shown.items():
    print(f"{name:14s} {tuple(tensor.shape)}")
# The last output of the last layer is its final hidden state.
torch.testing.assert_close(h[:, -1], h_n[-1])

# %% [markdown]
# The package calls this model `cnn_lstm`. Equal weights must give equal logits.

# %%
package = models.build("cnn_lstm").eval()
mine, theirs = ours.state_dict(), package.state_dict()
assert [v.shape for v in mine.values()] == [v.shape for v in theirs.values()]
package.load_state_dict(dict(zip(theirs, mine.values(), strict=True)))
with torch.no_grad():
    torch.testing.assert_close(package(x), logits)
print(f"{len(mine)} tensors copied, logits equal; for example "
      f"{list(mine)[-12]} -> {list(theirs)[-12]}")

# %% [markdown]
# ## 2 The arithmetic, by hand
#
# Every weight of a matrix costs one multiplication and one addition per vector: 2 FLOPs. An LSTM layer of $H$ units that
# reads $D$ numbers has three gates and a candidate, so it costs $2 \cdot 4H\,(D + H)$ FLOPs per frame and direction. (Biases,
# sigmoids and BatchNorm are not counted.) In the cascade, a block's first layer reads 512 numbers and the two above it 1,024,
# from both directions.

# %%
T, H = 28, 512  # T: the code base's


def lstm_layer(D):
    return T * 2 * 4 * H * (D + H)  # FLOPs per clip, one direction


embedding = T * 2 * (2048 * 1024 + 1024 * 768 + 768 * 512)
classifier = 2 * (512 * 256 + 256 * 101)
baseline = 3 * lstm_layer(512)
cascade = 3 * 2 * (lstm_layer(512) + 2 * lstm_layer(1024))  # blocks, directions, layers
assert embedding + baseline + classifier == cost.predict("cnn_lstm").forward_flops
assert embedding + cascade + classifier == cost.predict("context_lstm").forward_flops
print("GFLOP per clip, LSTM layers only: "
      f"baseline {baseline / 1e9:.3f}, cascade {cascade / 1e9:.3f}")
print(f"that is {cascade / baseline:.0f} times")
print(f"steps in a row, layer after layer: baseline {3 * T}, cascade {9 * T}")
block, blocks = ours.lstm, models.build("context_lstm").blocks
print(f"parameters: {models.count_parameters(block):,} "
      f"and {models.count_parameters(blocks):,}")

# %% [markdown]
# That answers guess 1. ([Chapter 7](07_context_lstm.ipynb) counts the parameters.) With two directions, the baseline would
# equal one of the cascade's three blocks, and the factor would be 3. Either way, less work in the LSTM cannot explain the
# shorter training time ([Chapter 12](12_cost.ipynb)).
#
# PyTorch has a FLOP counter, but a fused LSTM kernel may count as nothing in it. On the `meta` device, where tensors have
# shapes but no numbers, no kernel is fused.


# %%
def counted_flops(device):
    counter = FlopCounterMode(display=False)
    with torch.device(device), torch.no_grad(), counter:
        Baseline().eval()(torch.empty(1, T, 2048))
    return counter.get_total_flops()


on_cpu, on_meta = counted_flops("cpu"), counted_flops("meta")
print(f"torch's counter: on the CPU {on_cpu:,}, on meta {on_meta:,}")
assert on_meta == embedding + baseline + classifier
print(f"without the LSTM it would be {embedding + classifier:,}")

# %% [markdown]
# ## 3 The third model
#
# If the larger of two models wins, is it the cascade or the size? `wide_lstm` is the baseline made so wide that it has as
# many parameters as the cascade: a *parameter-matched control*. The paper has none.

# %%
names = ["cnn_lstm", "bilstm", "wide_lstm", "context_lstm_no_pool", "context_lstm"]
costs = {name: cost.predict(name) for name in names}
sizes = pd.DataFrame(
    {
        name: {
            "million parameters": c.parameters / 1e6,
            "GFLOP per clip": c.forward_flops / 1e9,
            "% of ResNet-50's FLOPs": 100 * c.forward_flops / c.backbone_flops,
            "GB per 80-clip training step": c.head_bytes / 1e9,
        }
        for name, c in costs.items()
    }
).T
sizes.round(2)

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(10, 3.2), sharey=True, layout="constrained")
for ax, column in zip(axes, ["million parameters", "GFLOP per clip"], strict=True):
    ax.barh(names, sizes[column], color=[figures.HEAD_COLOURS[name] for name in names])
    title = "Parameters" if "param" in column else "Arithmetic of a forward pass"
    ax.set(title=title, xlabel=column)
axes[0].set_ylabel("head")
axes[0].invert_yaxis()
fig.suptitle("Heads at the paper's sizes: counted, not measured")
plt.show()
print("units of wide_lstm:", models.build("wide_lstm").block.hidden_size)

# %% [markdown]
# *What you see:* in both, `wide_lstm` practically equals `context_lstm`. Only a cascade that beats `wide_lstm` too wins by more
# than size.
#
# ## 4 Train the three, three seeds each
#
# Small heads (32 units, the control 92) learn the 288 synthetic clips. A seed changes split, first weights and batch order.
# The split keeps source videos together ([Chapter 3](03_ucf101.ipynb)). One test clip is 1.4 points.

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
        config = training.Config(epochs=12, batch_size=24, validation=0, seed=seed,
                                 cpu=True)
        history = training.fit(model, features, split, config)
        trained[name, seed] = model.eval(), split, history
        top1 = 100 * history.table["test_top1"].iloc[-1]  # after the last epoch
        rows.append((name, seed, history.parameters, top1))
small = pd.DataFrame(rows, columns=["model", "seed", "parameters", "top1"])
wide = small.pivot(index="seed", columns="model", values="top1")  # (3 seeds, 3 models)
for other in ("cnn_lstm", "wide_lstm"):
    lead = inference.over_seeds(wide["context_lstm"] - wide[other], overlap=72 / 216)
    print(f"context_lstm minus {other}: {lead.mean:+.1f} points "
          f"({lead.low:+.0f} to {lead.high:+.0f}); detectable: {lead.detectable:.0f}")

# %% tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for name in three:
    colour = figures.HEAD_COLOURS[name]
    for seed in range(3):
        table = trained[name, seed][2].table
        left.plot(table["epoch"], 100 * table["test_top1"], color=colour, alpha=0.7,
                  label=name if seed == 0 else None)
    own = small[small["model"] == name]["top1"]
    right.plot(own, [name] * 3, "o", color=colour, alpha=0.7)
    right.plot(own.mean(), name, "|", color=colour, markersize=22)
left.set(title="Three seeds of each", xlabel="epoch", ylabel="test top-1 (%)",
         ylim=(0, 100))
right.set(title="After the last epoch (bar: mean)", xlabel="test top-1 (%)",
          xlim=(0, 100), ylim=(2.5, -0.5))
left.legend(loc="upper left")
plt.show()
small.groupby("model", sort=False).agg(
    parameters=("parameters", "first"), mean=("top1", "mean"),
    low=("top1", "min"), high=("top1", "max")
).round(1)

# %% [markdown]
# *What you see:* one model moves by ten points or more from seed to seed (guess 2), so with one run of each, either
# could have come out ahead. `detectable` is what the comparison could find: a true lead of that many points would have been
# found four times in five ([the statistics primer](15_statistics.ipynb)).
#
# ## 5 Five seeds, more clips
#
# The same with 900 synthetic clips of 12 classes, 64 units and 30 epochs. The records were made by
# `papermill papermill_runs/sweep.ipynb out.ipynb -p config stickfigures -p results papermill_runs/results/stickfigures`.
# "Split by source video" keeps siblings together; "official" follows the rule of UCF101's split 1.

# %%
from ctxlstm import report
from ctxlstm.experiments import runs
from ctxlstm.report import paper_tables

records = runs.load("../papermill_runs/results/stickfigures")
records = records[records["model"].isin(three)]
report.figures.leak(records)

# %%
parts = []
for protocol in ("paper", "grouped", "official"):
    for other in ("cnn_lstm", "wide_lstm"):
        part = paper_tables.differences(records, protocol, against=other).frame
        part = part.query("epoch == 'late' and model == 'context_lstm'")
        parts.append(part.assign(split=protocol))
compare = pd.concat(parts).set_index(["split", "against"])
columns = ["difference", "difference_low", "difference_high", "detectable"]  # shares
print("Lead of context_lstm, points of test top-1 (mean over the last third of")
print("the epochs and 5 seeds)")
(100 * compare[columns].astype(float)).round(1)

# %% [markdown]
# *What you see:* all score some 10 to 18 points more on the random split (`paper`). There `context_lstm` leads both by over 5.
# Its interval excludes zero for the baseline, not quite for the control. On the stricter splits its 4 to 5 points over the
# baseline cannot be told from zero: 8 to 11 would have been found four times in five. Over the control no lead is left there,
# and 9 to 12 points would have been found.
#
# ## 6 What the classifier sees
#
# The classifier reads only the output at the last frame. Exchange one frame of a clip for that of another clip: how far
# does this output move? We try the baseline before and after training, and the backward half of a trained two-way LSTM.
#
# **Guess first.** Which frames move it most in a trained baseline: the first, the middle or the last? ______

# %%
simple_baseline, split, _ = trained["cnn_lstm", 0]
test = features.x[torch.as_tensor(split.test.copy())].float()  # (72, 12, 1280)
other = test.roll(len(test) // 2, dims=0)  # (72, 12, 1280), clips of other classes


@torch.no_grad()
def moved(model, part=slice(None)):
    """How far exchanging frame t moves the last output, % of exchanging all: (T,)."""

    def last(clip):
        return model.eval().block(model.embedding(clip))[0][:, -1, part]  # (B, H)

    base, found = last(test), []
    for t in range(test.shape[1]):
        changed = test.clone()
        changed[:, t] = other[:, t]
        found.append((last(changed) - base).norm(dim=1).mean())
    return 100 * torch.stack(found) / (last(other) - base).norm(dim=1).mean()


# %%
torch.manual_seed(0)
untrained = models.build("cnn_lstm", **classroom.SMALL)
two_way = models.build("bilstm", **classroom.SMALL)
config = training.Config(epochs=12, batch_size=24, validation=0, cpu=True)
training.fit(two_way, features, split, config)
units, colours = classroom.SMALL["hidden_size"], figures.HEAD_COLOURS
frame = range(test.shape[1])
fig, ax = plt.subplots(figsize=(7, 3.4), layout="constrained")
colour = colours["cnn_lstm"]
ax.plot(frame, moved(untrained), "o:", color=colour, label="cnn_lstm, not trained")
ax.plot(frame, moved(simple_baseline), "o-", color=colour, label="cnn_lstm, trained")
backward, colour = moved(two_way, slice(units, 2 * units)), colours["bilstm"]
ax.plot(frame, backward, "s--", color=colour, label="bilstm, trained, backward half")
ax.set(title="What moves the output at the last frame", xlabel="exchanged frame t",
       ylabel="movement (% of exchanging all)", ylim=(0, None))
ax.legend()
plt.show()

# %% [markdown]
# *What you see:* before training the late frames weigh most, because forget gates near one half let early frames fade.
# After training the first frames move the last output most: an LSTM can learn what to keep. The backward half leans on the
# last frame, the only one that its top layer has read there; it knows earlier frames only through the layers below. The
# cascade's backward lanes have a second way, the state handed over to them ([Chapter 7](07_context_lstm.ipynb)).
#
# ## Try it
#
# One layer, one direction, trained as above. Step through a test clip and watch the gates and states of one unit.
#
# **Question.** Unit 3's h falls after frame 4. Did the cell state go down, or did the output gate close? Does the read-out
# "max" lose anything by it?
#
# <details><summary>Answer</summary>
#
# The cell: o stays near 1, and a candidate near -1 overwrites c. (A closed gate would hide a c that is still large.) No, "max"
# keeps the peak of frame 4; a negative peak it would miss.
#
# </details>

# %%
from ctxlstm import widgets

torch.manual_seed(0)
simple = models.build("cnn_lstm", **{**classroom.SMALL, "num_layers": 1})
training.fit(simple, features, split, config)
with torch.no_grad():
    clip = simple.eval().embedding(test[:1])[0]  # (T, D) = (12, 64)
widgets.sequence_stepper(clip, simple.block, unit=3)

# %%
widgets.sequence_stepper_figure(clip, simple.block, t=11, unit=3)

# %% [markdown]
# ## Check
#
# The same with gates written out ([Chapter 6](06_lstm_gates.ipynb)), and the control's size.

# %%
plain = models.build("cnn_lstm", cell="gates").double().eval()
plain.load_state_dict(package.state_dict())
with torch.no_grad():
    expected = ours.double()(x.double())
    torch.testing.assert_close(plain(x.double()), expected, atol=1e-9, rtol=1e-9)
ours.float()
assert abs(costs["wide_lstm"].parameters / costs["context_lstm"].parameters - 1) < 0.01
assert cascade == 8 * baseline
assert models.count_parameters(blocks) > 7.9 * models.count_parameters(block)
print("by hand, with torch's LSTM and with our gates: equal logits")
print("the control has the cascade's parameters within 1 %")

# %% [markdown]
# ## Common mistakes
#
# - **Comparing models of unequal size** and naming the architecture as the reason.
# - **`h[:, -1]` for a two-way LSTM** that starts from zeros: its top layer has read one frame backwards there. `h_n` holds
#   the ends of both directions.
# - **Forgetting `batch_first=True`**: PyTorch then takes (B, T, D) for T clips of B frames, and raises no error.
#
# ## Exercises
#
# Four, one of them with the sequence stepper:
# [exercises](exercises/release/08_cnn_lstm/08_cnn_lstm.ipynb), [with solutions](exercises/source/08_cnn_lstm/08_cnn_lstm.ipynb).

# %% [markdown]
# ## Limits
#
# - Small heads, synthetic clips: the need for a control carries over to UCF101, its result may not.
# - On another machine section 4 may rank the heads differently.
# - `wide_lstm` matches parameters and FLOPs, not the number of steps in a row.
# - With the paper's 3,330 test clips chance plays a smaller part. Its spread over seeds is unknown.

# %% [markdown]
# ## Summary
#
# - *The baseline*: an embedding, three LSTM layers, two FC layers on the last output.
# - *The comparison*: Context-LSTM's LSTM layers do 8 times the arithmetic. `wide_lstm` has the size without the cascade;
#   split by source video, no lead over it is left.
# - *What it sees*: the last output only; which frames count in it is learnt.
#
# Next: [Chapter 9, training](09_training.ipynb).

# %%
import quizzes
from IPython.display import display

display(quizzes.quiz("08"))
print(classroom.versions())
