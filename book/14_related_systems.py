# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 14 Related systems in miniature
#
# Paper: section 2 and the reference list | 25 minutes to read and play, three minutes to run | downloads: none
#
# **After this chapter you can**
#
# - write the idea of each system of the paper's section 2 in a dozen lines of PyTorch;
# - compare any new head with two baselines on the same features, the same splits and the same seeds;
# - say what such a table shows, and what it cannot show.
#
# You need [Chapter 8](08_cnn_lstm.ipynb) (baselines), [Chapter 9](09_training.ipynb) (the loop) and
# [the statistics primer](15_statistics.ipynb) (the corrected interval).
#
# **The question.** What do the related ideas add, in miniature?
#
# **Guess first.** On unseen source videos, which idea adds most to a linear layer on the mean frame: convolution over space and
# time, attention, a teacher, choosing frames, or *differences* of neighbouring frames?
#
# My guess: ______
#
# <details><summary>Answer</summary>
#
# On drawn clips the differences (`two_stream`, `busy_quiet`); on real ones none clearly (Step 5).
#
# </details>

# %% [markdown]
# ## What the paper says
#
# Section 2 gives references 9 to 15 a sentence or two each. Section 4.3 quotes a number from [13] and [14]
# ([Chapter 2](02_related_work.ipynb)); the paper reports no experiment of its own with any of these systems.
#
# | Reference in the paper | Idea, as we build it | Name here |
# |---|---|---|
# | [7] Elman; [8] LSTM | recurrence; recurrence with gates | `elman_rnn`; `lstm` |
# | [9] ConvLSTM | gates that are convolutions over maps | `conv_lstm` |
# | [10] OmniSource; [14] confidence distillation | a teacher's answers as targets | `distilled` |
# | [11] I3D-LSTM | 3-D convolution, then an LSTM | `i3d_lstm` |
# | [12] Busy-Quiet Net | more work on change than on what stays | `busy_quiet` |
# | [13] SMART | read only good frames | `frame_selection` |
# | [15] C-LSTM | 1-D convolution, then an LSTM | `c_lstm` |
# | [18] FlowNet | motion as an input of its own | `two_stream` |
# | [22] attention | every frame looks at every other | `attention` |
# | TSN, in the abstract without a number | average over segments | `tsn` |
#
# > **Not stated in the paper.** What any of these ideas would give on *its* features and *its* split.
#
# The backbones [1-6] (AlexNet, VGG, ResNet, GoogLeNet and its successors) **were not compared**: their weights are in no
# package that we found, and this book downloads nothing. References 16, 17 and 19 to 21 are tools and data.
#
# A miniature is **not the system**: it keeps one idea and drops size, data and training.

# %% tags=["heads"]
import itertools
import time

import matplotlib.pyplot as plt
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from ctxlstm import classroom, evaluation, figures, inference, models, ucf101
from ctxlstm.models.references import positions

plt.rcParams.update(figures.style())
torch.set_num_threads(1)

# %% [markdown]
# ## Step 1: vectors and maps
#
# Most heads read the features of every chapter, one vector per frame: the mean of the CNN's last map over all its places. Two
# ideas need to know *where* something is. For them we also take the means of 16 windows, a 4 × 4 grid over that map (on the
# drawn clips, whose map is 4 × 4, one place each). Of the 1,280 channels we keep the 32 main directions, found on the
# *training* clips: directions from all clips would have seen the test set.


# %% tags=["heads"]
SIDE = 4


class Windows(nn.Module):
    """The mean of a map, and those of a 4 × 4 grid of windows."""

    def forward(self, m):  # (B, D, height, width)
        means = [F.adaptive_avg_pool2d(m, side).flatten(1) for side in (1, SIDE)]
        return torch.cat(means, dim=1)  # (B, 17 D)


def with_windows(backbone):
    """Replace the CNN's last average by `Windows`."""
    average = "avgpool" if hasattr(backbone.net, "avgpool") else "_avg_pooling"
    setattr(backbone.net, average, Windows())
    backbone.name += f" with {SIDE} x {SIDE} windows"
    backbone.width *= 1 + SIDE**2
    return backbone


# %% tags=["heads"]
def apart(x):
    """Split features (N, T, 17 D) into vectors (N, T, D) and maps (N, T, D, 4, 4)."""
    D = x.shape[2] // (1 + SIDE**2)
    return x[:, :, :D], x[:, :, D:].unflatten(2, (D, SIDE, SIDE))


def narrow(maps, vectors, rows, channels=32):
    """Project maps onto the main directions of the vectors of the clips `rows`."""
    torch.manual_seed(0)
    directions = torch.pca_lowrank(vectors[rows].flatten(0, 1), channels)[2].T
    kernel = directions[:, :, None, None]  # (channels, D, 1, 1)
    narrowed = [F.conv2d(clip.float(), kernel) for clip in maps]
    return torch.stack(narrowed)  # (N, T, channels, 4, 4)


# %%
features = classroom.features()  # x (288, 12, 1280), float16
wide = classroom.features(with_windows(classroom.backbone()))  # x (288, 12, 21760)
vectors, maps = apart(wide.x)
assert wide.clips["name"].tolist() == features.clips["name"].tolist()
close = {"rtol": 1e-2, "atol": 1e-2}
assert_close(vectors, features.x, **close)
assert_close(maps.float().mean(dim=(3, 4)), features.x.float(), **close)
print(f"vectors {tuple(vectors.shape)}, maps {tuple(maps.shape)}")

# %% [markdown]
# ## Step 2: the ideas
#
# Every head takes `D` inputs per frame (or channels per map) and `K` classes. Letters as elsewhere: B clips, T frames,
# H = 32 hidden units (16 in `ConvLSTM`).
#
# **Recurrence [7, 8].** An Elman network copies its hidden state back to its input
# ([Elman 1990](references.md#elman-1990)). The LSTM adds a cell state behind gates
# ([Hochreiter and Schmidhuber 1997](references.md#hochreiter-1997)); in one layer, it is the control for all heads built on it.


# %% tags=["heads"]
class LSTM(nn.Module):
    def __init__(self, D, K, H=32, cell=nn.LSTM):
        super().__init__()
        self.embed = nn.Linear(D, 64)
        self.cell = cell(64, H, batch_first=True)
        self.out = nn.Linear(H, K)

    def forward(self, x):
        return self.classify(self.embed(x))  # (B, T, D) -> (B, K)

    def classify(self, e):
        return self.out(self.cell(e)[0][:, -1])  # the output at the last frame


def elman(D, K):
    return LSTM(D, K, cell=nn.RNN)


# %% [markdown]
# **ConvLSTM [9].** The states are maps, and every gate is a convolution over the input maps and the hidden maps. It
# forecasts the next radar maps from the past ones ([Shi et al. 2015](references.md#shi-2015)).


# %% tags=["heads"]
class ConvLSTM(nn.Module):
    reads = "maps"

    def __init__(self, C, K, H=16):
        super().__init__()
        self.H, self.norm = H, nn.BatchNorm3d(C)
        self.gates = nn.Conv2d(C + H, 4 * H, 3, padding=1)
        self.out = nn.Linear(H, K)

    def forward(self, m):  # (B, T, C, height, width)
        m = self.norm(m.transpose(1, 2)).transpose(1, 2)
        h = c = m.new_zeros(len(m), self.H, *m.shape[3:])
        for t in range(m.shape[1]):
            f, i, o, g = self.gates(torch.cat([m[:, t], h], dim=1)).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return self.out(h.mean(dim=(2, 3)))


# %% [markdown]
# **Teacher and student [10, 14].** OmniSource lets a teacher filter web videos, on which the final model then trains too
# ([Duan et al. 2020](references.md#duan-2020)). Confidence distillation teaches a cheap student how sure the teacher is, and
# divides the work between the two ([Shalmani et al. 2021](references.md#shalmani-2021)). Our student reads every third frame;
# half of its target is the softened answer of a teacher that has read them all. `few_frames` is the student without a teacher.


# %% tags=["heads"]
class FewFrames(LSTM):
    def forward(self, x):
        return super().forward(x[:, 1::3])  # frames 1, 4, 7, 10


class Distilled(FewFrames):
    def targets(self, x, y, rows, seed):  # `train` asks for them, see Step 3
        K = self.out.out_features
        teacher = LSTM(x.shape[2], K)
        train(teacher, x, y, rows, rows[:1], seed)
        with torch.no_grad():
            soft = (teacher(x) / 3).softmax(dim=1)  # temperature 3
        return (F.one_hot(y, K) + soft) / 2  # (N, K)


# %% [markdown]
# **I3D-LSTM [11].** A 3-D Inception network extracts features from stacks of frames, and an LSTM classifies their sequence
# ([Wang et al. 2019](references.md#wang-2019)). Here one 3-D convolution over our maps takes the network's place. The control
# `map_lstm` is the LSTM on the mean of the same narrow maps.


# %% tags=["heads"]
class MapLSTM(LSTM):
    reads = "maps"

    def __init__(self, C, K):
        super().__init__(C, K)
        self.norm = nn.BatchNorm3d(C)

    def forward(self, m):
        m = self.norm(m.transpose(1, 2))  # (B, C, T, height, width)
        return super().forward(m.mean(dim=(3, 4)).transpose(1, 2))


class I3DLSTM(LSTM):
    reads = "maps"

    def __init__(self, C, K):
        super().__init__(C, K)
        convolution = nn.Conv3d(C, 64, 3, padding=1)
        self.embed = nn.Sequential(nn.BatchNorm3d(C), convolution, nn.ReLU())

    def forward(self, m):
        e = self.embed(m.transpose(1, 2))  # (B, 64, T, height, width)
        return self.classify(e.mean(dim=(3, 4)).transpose(1, 2))


# %% [markdown]
# **Busy-Quiet [12].** A trained band-pass filter separates what moves from what stays. The quiet part is processed at low
# resolution, so that most work goes into the busy part ([Huang and Bors 2022](references.md#huang-2022)).


# %% tags=["heads"]
class BusyQuiet(nn.Module):
    def __init__(self, D, K):
        super().__init__()
        self.quiet, self.busy = nn.Linear(D, K), LSTM(D, K)

    def forward(self, x):
        return self.quiet(x.mean(dim=1)) + self.busy(x.diff(dim=1))


# %% [markdown]
# **SMART [13].** Frames get a score, each alone and all together, and only the best reach the classifier
# ([Gowda et al. 2021](references.md#gowda-2021)). Our score sees a frame beside the clip's mean; a third of the frames stay.


# %% tags=["heads"]
class FrameSelection(nn.Module):
    def __init__(self, D, K):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(2 * D, 64), nn.ReLU(), nn.Linear(64, 1))
        self.out = nn.Linear(D, K)

    def forward(self, x):
        clip = x.mean(dim=1, keepdim=True).expand_as(x)
        score = self.score(torch.cat([x, clip], dim=2))  # (B, T, 1)
        best = score.topk(x.shape[1] // 3, dim=1)
        chosen = x.take_along_dim(best.indices, dim=1)  # (B, T / 3, D)
        return self.out((best.values.softmax(dim=1) * chosen).sum(dim=1))


# %% [markdown]
# **C-LSTM [15].** A convolution over neighbouring words makes phrases, and an LSTM reads the phrases
# ([Zhou et al. 2015](references.md#zhou-2015)). The paper's section 2 puts this convolution into the cells; that is ConvLSTM.


# %% tags=["heads"]
class CLSTM(LSTM):
    def __init__(self, D, K):
        super().__init__(D, K)
        self.phrase = nn.Conv1d(64, 64, 3, padding=1)

    def forward(self, x):
        e = self.phrase(self.embed(x).transpose(1, 2))
        return self.classify(e.relu().transpose(1, 2))


# %% [markdown]
# **Motion as an input [18].** FlowNet learns optical flow, the shift of every pixel to the next frame
# ([Dosovitskiy et al. 2015](references.md#dosovitskiy-2015)); two-stream networks classify pictures and flow separately and add
# the scores ([Simonyan and Zisserman 2014](references.md#simonyan-2014)). In our cached features, differences take the
# place of flow.


# %% tags=["heads"]
class TwoStream(nn.Module):
    def __init__(self, D, K):
        super().__init__()
        self.appearance, self.motion = LSTM(D, K), LSTM(D, K)

    def forward(self, x):
        return self.appearance(x) + self.motion(x.diff(dim=1))


# %% [markdown]
# **Attention [22].** Every element takes a weighted mean of all elements, the weights from products of queries and keys. The
# Transformer is built from this, without recurrence ([Vaswani et al. 2017](references.md#vaswani-2017)).


# %% tags=["heads"]
class Attention(nn.Module):
    def __init__(self, D, K, H=32):
        super().__init__()
        self.embed, self.qkv = nn.Linear(D, H), nn.Linear(H, 3 * H)
        self.out = nn.Linear(H, K)

    def forward(self, x):
        e = self.embed(x)
        e = e + positions(e)  # sine waves mark the place of a frame
        q, k, v = self.qkv(e).chunk(3, dim=2)  # (B, T, H) each
        weight = (q @ k.mT / q.shape[2] ** 0.5).softmax(dim=2)  # (B, T, T)
        return self.out((e + weight @ v).mean(dim=1))


# %% [markdown]
# **TSN.** Training draws one snippet from each segment of a video and averages their scores; testing averages over many
# ([Wang et al. 2016](references.md#wang-2016)). With one linear layer on all frames this would be `mean_linear` itself.


# %% tags=["heads"]
class TSN(nn.Module):
    def __init__(self, D, K):
        super().__init__()
        self.snippet = nn.Sequential(nn.Linear(D, 64), nn.ReLU(), nn.Linear(64, K))

    def forward(self, x):
        if self.training:  # a random frame of each third
            parts = x.tensor_split(3, dim=1)
            drawn = [part[:, torch.randint(part.shape[1], ())] for part in parts]
            x = torch.stack(drawn, dim=1)  # (B, 3, D)
        return self.snippet(x).mean(dim=1)


# %% [markdown]
# ## Step 3: one dictionary, one loop, one measure
#
# Two baselines of the package, three controls and ten ideas. Another data set needs only `HEADS` and `measure`.

# %% tags=["heads"]
def baseline(name, **options):
    return lambda D, K: models.build(name, input_size=D, num_classes=K, **options)


HEADS = {
    "mean_linear": baseline("mean_linear"),
    "cnn_lstm": baseline("cnn_lstm", hidden_size=32, embedding=(64,)),
    "lstm": LSTM,
    "few_frames": FewFrames,
    "map_lstm": MapLSTM,
    "elman_rnn": elman,
    "conv_lstm": ConvLSTM,
    "distilled": Distilled,
    "i3d_lstm": I3DLSTM,
    "busy_quiet": BusyQuiet,
    "frame_selection": FrameSelection,
    "c_lstm": CLSTM,
    "two_stream": TwoStream,
    "attention": Attention,
    "tsn": TSN,
}
BASELINES, EPOCHS, BATCH = ("mean_linear", "cnn_lstm"), 21, 24

# %% [markdown]
# The loop is that of Chapter 9. Cross-entropy takes class numbers or, from a teacher, probabilities.


# %% tags=["heads"]
def train(model, x, y, rows, test, seed):
    """Train on `rows` of x; one row per epoch with the top-1 on `test`, a fraction."""
    taught = hasattr(model, "targets")
    target = model.targets(x, y, rows, seed) if taught else y  # (N, K) or (N,)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    torch.manual_seed(seed)
    history = []
    for epoch in range(1, EPOCHS + 1):
        model.train()
        order = rows[torch.randperm(len(rows))]
        for batch in order.tensor_split(-(-len(rows) // BATCH)):  # equal batches
            loss = F.cross_entropy(model(x[batch]), target[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            right = model.eval()(x[test]).argmax(dim=1) == y[test]
        history.append((epoch, right.double().mean().item()))
    return pd.DataFrame(history, columns=["epoch", "test_top1"])


# %% [markdown]
# A seed draws the split, the first weights and the batches, the same split for every head. We fix what counts before
# looking: the mean test top-1 of the last third of the epochs (`evaluation.late`).


# %% tags=["heads"]
def measure(features, split_rule, seeds, maps=None):
    """Late test top-1 (%) of every head and seed; no maps: no heads that read them."""
    vectors, y, found = features.x.float(), features.y, []
    for seed in seeds:
        split = ucf101.split(features.clips, split_rule, seed=seed)
        rows, test = torch.as_tensor(split.train), torch.as_tensor(split.test)
        narrowed = None if maps is None else narrow(maps, vectors, rows)
        inputs = {"vectors": vectors, "maps": narrowed}
        for name, make in HEADS.items():
            x = inputs[getattr(make, "reads", "vectors")]
            if x is None:
                continue
            torch.manual_seed(seed)
            model = make(x.shape[2], len(features.classes))
            late = evaluation.late(train(model, x, y, rows, test, seed))
            found.append((name, seed, 100 * late.mean, len(test) / len(rows)))
    return pd.DataFrame(found, columns=["head", "seed", "top1", "overlap"])


# %%
start = time.process_time()
rules = ("paper", "grouped")
results = {rule: measure(features, rule, range(5), maps) for rule in rules}
seconds = time.process_time() - start
print(f"{sum(map(len, results.values()))} trainings, {seconds:.0f} seconds of one core")

# %% [markdown]
# ## Step 4: the table
#
# "paper" is the random split of clips, "grouped" keeps source videos whole. Each "over" cell is the mean difference in points
# and its 95 % interval over five seeds, corrected for splits that share clips ([Nadeau and Bengio
# 2003](references.md#nadeau-2003)).


# %%
def tabulate(results):
    """Each head minus each baseline, paired by seed; and the table, best head first."""
    top1 = {rule: found.pivot(index="seed", columns="head", values="top1")
            for rule, found in results.items()}
    table = pd.DataFrame({f"{rule}: top-1 (%)": each.mean().round(1)
                          for rule, each in top1.items()})
    added = {}
    for rule, base in itertools.product(top1, BASELINES):
        seeds, overlap = top1[rule].to_dict(), results[rule]["overlap"].mean()
        added[rule, base] = rows = {
            name: inference.paired_over_seeds(seeds[name], seeds[base], overlap=overlap)
            for name in seeds if name != base}
        table[f"{rule}: over {base}"] = pd.Series({
            name: f"{d.mean:+.1f} ({d.low:+.1f} to {d.high:+.1f})"
            for name, d in rows.items()})
    best = table["grouped: top-1 (%)"].sort_values(ascending=False, kind="stable")
    return added, table.loc[best.index].fillna("")


added, table = tabulate(results)
order = table.index[::-1].tolist()
table

# %% tags=["hide-input"]
NAMED = {"grouped": "unseen source videos", "paper": "random split"}
PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
fig, axes = plt.subplots(1, 2, figsize=(10.5, 6.6), sharey=True, layout="constrained")
for ax, base in zip(axes, BASELINES, strict=True):
    for rule, shift in (("grouped", 0.19), ("paper", -0.19)):
        colour, marker = figures.PROTOCOL_COLOURS[rule], figures.PROTOCOL_MARKERS[rule]
        rows = {order.index(name) + shift: d for name, d in added[rule, base].items()}
        for place, d in rows.items():
            ax.plot([d.low, d.high], [place, place], color=colour, linewidth=1.4)
            ax.plot(d.mean, place, marker, color=colour, markersize=5)
        low = min(rows)  # beside the lowest row is room for the name of the split
        ax.annotate(NAMED[rule], (rows[low].high, low), (6, 13 * shift), color=colour,
                    textcoords="offset points", va="center", fontsize=9,
                    fontweight="bold", bbox=PLAIN)
    ax.axvline(0, color="#222222", linewidth=1)
    ax.set(title=f"Over {base}", xlabel="difference in late test top-1 (points)")
    ax.set(yticks=range(len(order)), yticklabels=order, ylim=(-0.6, len(order) - 0.2))
    ax.grid(axis="y", visible=False)
axes[0].set_ylabel("head")
fig.suptitle("What each idea adds: five seeds, 95 % intervals", fontweight="bold")
plt.show()

# %%
both = pd.Series([d for rows in added.values() for d in rows.values()])
clear = sum(d.low > 0 or d.high < 0 for d in both)
smallest = min(d.p for d in both) * len(both)
needed = both.map(lambda d: d.detectable).median()
print(f"{clear} of {len(both)} intervals leave out 0; "
      f"by chance about {0.05 * len(both):.0f}")
print(f"smallest p times {len(both)} (Holm's first step): {smallest:.2f}")
print(f"true difference that 4 of 5 such studies would find: {needed:.0f} points")
assert set(order[-2:]) == {"two_stream", "busy_quiet"}
assert (table["paper: top-1 (%)"] > table["grouped: top-1 (%)"]).all()
assert set(order) == set(HEADS)

# %% [markdown]
# *What you see:* on unseen source videos (blue squares) the two heads that read differences are about 20 points ahead of both
# baselines. A likely reason, which the table does not test: the scenery is nearly the same in all frames of a video, so a
# difference removes it and leaves movement. All other ideas lie within about ten points of `mean_linear`, and nearly all their
# intervals include 0: they are undecided here, not useless.
#
# On the random split (orange dots) siblings in the training set lift every head, and little room is left for the differences.
#
# The controls matter. The one-layer `lstm` has a higher mean than the three-layer `cnn_lstm`, so "over `cnn_lstm`" may also
# measure depth, or its larger classifier. `few_frames` is not behind `distilled`: our teacher adds nothing that we can see.
# Read the two heads on maps against `map_lstm`.
#
# After Holm's correction for all 56 intervals ([Holm 1979](references.md#holm-1979); the second printed line), none of these
# differences is safe on five seeds.

# %% [markdown]
# ## Step 5: nine real classes
#
# The same heads on real video: 1,125 clips of nine classes of UCF101, 28 frames, ResNet-50 features. `miniatures.ipynb` in
# papermill_runs runs the cells above on them (batches of 80, as in the paper) and keeps the accuracies.

# %%
real = pd.read_csv("../papermill_runs/results/miniatures.csv")
print(*real[["classes", "clips", "backbone", "frames", "commit"]].iloc[0].astype(str))
real_added, real_table = tabulate(dict(list(real.groupby("split", sort=False))))
real_table

# %% [markdown]
# *What you see:* nothing is clearly ahead of the linear layer on the mean frame. On unseen source videos all heads but
# `cnn_lstm` lie within two and a half points of it, and every interval over `mean_linear` includes 0. The winners on the
# stick figures, `two_stream` and `busy_quiet`, are no longer ahead. `conv_lstm` and `i3d_lstm` are one to two points above
# their control `map_lstm` in the mean, too little for five seeds. These nine classes can be told apart by what stands in a
# frame; two pairs of the drawn ones were made so that they cannot. A data set decides which idea shines.

# %% [markdown]
# ## Try it
#
# Which half of `busy_quiet` does the work? Guess, then put an LSTM on `x.diff(dim=1)` alone into `HEADS` and run `measure` on
# the grouped split.
#
# <details><summary>Answer</summary>
#
# The busy half. On our machine the LSTM on differences alone reached 82.7 % over five seeds, `busy_quiet` 82.0 %.
#
# </details>
#
# ## Common mistakes
#
# - **A new head without its twin.** `distilled` beats `cnn_lstm` on average; only `few_frames` shows that the teacher is not why.
# - **The ranking as the result.** Another five seeds would order the middle of the table anew.

# %% [markdown]
# ## Limits
#
# - A row judges our miniature, never the system; no published number may be compared with it.
# - The drawn clips, 288 of eight classes, have two pairs that differ only in direction: that favours heads that read change.
#   The nine real classes differ in scenery: that favours heads that need no change.
# - One learning rate, 21 epochs, nothing tuned: a slow learner may be cut short.
# - Heads on maps read 32 directions of 1,280 (ResNet-50: of 2,048).
# - Five splits of the same clips: only true differences of some 16 points or more on the drawn clips would usually be found.
#
# ## Summary
#
# - Each idea of section 2 fits in a dozen lines; `measure` treats all heads alike.
# - On drawn clips differences of neighbouring frames add most, on unseen source videos; on nine real classes nothing is
#   clearly ahead of a linear layer on the mean frame.
# - The random split nearly hides the first. A control per idea is worth more than one more idea.
#
# Next: [the statistics primer](15_statistics.ipynb), on how sure one can be.

# %%
import quizzes
from IPython.display import display

display(quizzes.quiz("14"))
print(classroom.versions())
