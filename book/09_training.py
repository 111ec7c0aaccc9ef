# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 9 Training, and four ways to fool yourself
#
# Paper: sections 4.1 and 4.2 | 50 minutes to read and play, a minute to run | downloads: none
#
# **After this chapter you can**
#
# - write the paper's training loop in fifteen lines and say what each line is for;
# - compute its loss and its accuracy by hand, and turn a loss into a probability;
# - find four mistakes that raise no error.
#
# Before this: the models of [Chapter 7](07_context_lstm.ipynb) and [Chapter 8](08_cnn_lstm.ipynb), the splits of
# [Chapter 3](03_ucf101.ipynb). Terms are in the [glossary](glossary.md).
#
# **The question.** Which small decisions move the accuracy?
#
# **Guess first.** A model is right on exactly 90.0 % of all clips. You test it 300 times, each time on 3,330 fresh clips, and
# report the best of the 300. What do you report? ______ %

# %% [markdown]
# ## What the paper says
#
# Cross-entropy loss, the [Adam](references.md#kingma-2015) optimizer, learning rate 0.001, batches of 80 clips, 300 epochs
# (section 4.2), on one GTX 1080 Ti (4.1). Data are divided 3:1 at random into training and test set. Training loss and test
# top-1 are computed after every epoch, and section 4.3 reports the best. Dropout is used, and larger batches gave better
# accuracy.
#
# > **Not stated in the paper.**
# >
# > - *A validation set.* We cut off 10 % of the training set, by whole source videos.
# > - *Seeds, and how many runs.* We seed everything and run several seeds.
# > - *Schedule, weight decay, gradient clipping, augmentation.* We use none, like the public code base in the paper's
# >   screenshot.
# > - *How much dropout.* Our default is 0, as in that code base's training script (its classes default to 0.3).
# > - *The last, smaller batch.* PyTorch would keep it; we cut an epoch into equal batches (trap 4).
# > - *Whether the CNN is frozen.* Its memory allows nothing else ([Chapter 12](12_cost.ipynb)).
#
# Our data are the features of 288 generated clips in three parts: `fit` for the gradient, `validation` for choosing, `test`
# for reporting. No source video is in two of them.

# %%
import copy
import tempfile
from math import ceil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy import stats
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from torch.nn import BatchNorm2d
from torch.nn import functional as F
from torch.testing import assert_close

from ctxlstm import classroom, evaluation, figures, models, paper, training, ucf101
from ctxlstm.experiments import runs
from ctxlstm.report import studies

plt.rcParams.update(figures.style())
torch.manual_seed(0)
torch.set_num_threads(1)  # small products are no faster on more, and sums stay the same
COLOURS, BLACK, GREY = figures.HEAD_COLOURS, "#222222", figures.GREY

# %%
features = classroom.features()
x, y = features.x.float(), features.y  # (N, T, D), (N,)
split = ucf101.split(features.clips, "grouped", seed=0)
fit_rows, validation_rows = ucf101.validation(features.clips, split, share=0.1, seed=0)
fit, validation, test = map(torch.as_tensor, (fit_rows, validation_rows, split.test))
K = len(features.classes)
print(f"x {tuple(x.shape)}, {K} classes")
print(f"clips: fit {len(fit)}, validation {len(validation)}, test {len(test)}")


def small_cnn_lstm(seed=0):
    torch.manual_seed(seed)
    return models.build("cnn_lstm", **classroom.SMALL)


# %% [markdown]
# ## Step 1: the loss and the metric by hand
#
# The model gives logits $z$ (B, K). Softmax makes them probabilities. The loss is the mean negative logarithm of the
# probability of the true class, and top-1 is the share of clips whose largest logit is the true class's:
#
# $$p_{bk} = \frac{e^{z_{bk}}}{\sum_j e^{z_{bj}}} \qquad\quad L = -\frac{1}{B} \sum_b \log p_{b, y_b}$$

# %%
model = small_cnn_lstm()
batch = fit[torch.randperm(len(fit))[:24]]
logits = model(x[batch])  # (B, K) = (24, 8)
p = logits.exp() / logits.exp().sum(dim=1, keepdim=True)  # (B, K)
of_true_class = p[torch.arange(len(batch)), y[batch]]  # (B,)
loss = -of_true_class.log().mean()
top1 = (logits.argmax(dim=1) == y[batch]).float().mean()
assert_close(loss, F.cross_entropy(logits, y[batch]))
assert_close(top1.item(), accuracy_score(y[batch], logits.argmax(1)), rtol=1e-6, atol=0)
print(f"our batch: loss {loss:.3f}, top-1 {top1:.3f}")
print(f"guessing among {K} classes: loss ln {K} = {np.log(K):.3f}, top-1 {1 / K:.3f}")
known = {"guessing, K = 101": np.log(101),
         "Fig. 4, test": 0.6, "Fig. 4, training": 0.01}
for name, value in known.items():
    p_true = np.exp(-value)
    print(f"{name:18s} loss {value:.2f} -> probability of the true class {p_true:.2f}")

# %% [markdown]
# *What you see:* an untrained model sits at $\ln K$. A loss is easier to read as a probability: $e^{-L}$ is the (geometric)
# mean probability of the true class. The last lines do this for the paper's log ([Chapter 10](10_results.ipynb) draws it).
#
# ## Step 2: one step, then one batch by heart
#
# Four lines change the weights. In its first step Adam divides each gradient by its own size, so nearly every weight moves by
# almost exactly the learning rate. The first test of a loop is to repeat the step on *one* batch: if the loss does not go to
# zero, look for a bug and not for a better learning rate.

# %%
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
before = [weight.detach().clone() for weight in model.parameters()]
loss = F.cross_entropy(model(x[batch]), y[batch])
optimizer.zero_grad()  # without it, gradients add up over steps
loss.backward()  # fills weight.grad
optimizer.step()  # changes the weights
pairs = zip(model.parameters(), before, strict=True)
moved = torch.cat([(new - old).abs().flatten() for new, old in pairs])
median, largest = moved.median(), moved.max()
print(f"{len(moved):,} weights; median move {median:.6f}, largest {largest:.6f}")
assert largest < 0.00101

# %%
losses = []
for _ in range(150):
    loss = F.cross_entropy(model(x[batch]), y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

figure, axes = plt.subplots(figsize=(8, 3.4))
axes.semilogy(range(1, 151), losses, color=COLOURS["cnn_lstm"],
              label="one batch of 24 clips")
axes.axhline(np.log(K), color=GREY, linestyle="--", label=f"guessing, ln {K}")
axes.set(title="Learning one batch by heart", xlabel="step",
         ylabel="cross-entropy (nats)")
axes.legend()
plt.show()
assert losses[-1] < 0.2 < np.log(K)

# %% [markdown]
# *What you see:* the loss falls by orders of magnitude: loss, gradients and optimizer are connected.
#
# ## Step 3: the whole loop
#
# An epoch visits every training clip once, in a new random order. Then the model is switched to evaluation mode and measured
# on the test set. `ctxlstm.training.fit` is this loop with a validation set and checkpoints. The same seed must give the same
# history.


# %%
def epoch_seed(seed, epoch):
    """A seed for the random draws of one epoch, whatever happened before."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def train(model, epochs, batch_size=24, seed=0):
    optimizer, history = torch.optim.Adam(model.parameters(), lr=0.001), []
    for epoch in range(1, epochs + 1):
        model.train()  # BatchNorm takes the batch's statistics, dropout is on
        torch.manual_seed(epoch_seed(seed, epoch))
        order, total = fit[torch.randperm(len(fit))], 0.0
        for batch in order.tensor_split(ceil(len(fit) / batch_size)):  # equal parts
            loss = F.cross_entropy(model(x[batch]), y[batch])  # (B, K), (B,) -> ()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        model.eval()  # BatchNorm takes its running statistics, dropout is off
        with torch.no_grad():
            logits = model(x[test])  # (N_test, K)
        test_loss = F.cross_entropy(logits, y[test]).item()
        top1 = (logits.argmax(1) == y[test]).double().mean().item()
        history.append((epoch, total / len(fit), test_loss, top1))
    columns = ["epoch", "train_loss", "test_loss", "test_top1"]
    return pd.DataFrame(history, columns=columns)


# %%
by_hand = train(small_cnn_lstm(), epochs=8)
# By default the learning rate is 0.001 and the seed 0.
config = training.Config(epochs=8, batch_size=24, validation=0.1, cpu=True)
history = training.fit(small_cnn_lstm(), features, split, config)
for column in by_hand:
    a, b = by_hand[column].to_numpy(float), history.table[column].to_numpy(float)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    print(f"{column:11s} largest difference {np.abs(a - b).max():.1e}")
by_hand.tail(3).round(3)

# %% [markdown]
# ## Step 4: curves
#
# Both models of the paper, small, for 25 epochs. The Context-LSTM has two blocks of one layer, to save time.

# %%
CASCADE = classroom.SMALL | {"num_blocks": 2, "num_layers": 1}
config = training.Config(epochs=25, batch_size=24, validation=0.1, cpu=True)
torch.manual_seed(0)
trained = {"cnn_lstm": small_cnn_lstm(),
           "context_lstm": models.build("context_lstm", **CASCADE)}
histories = {name: training.fit(net, features, split, config).table
             for name, net in trained.items()}
figures.curves(histories)

# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(8, 3.6))
for name, table in histories.items():
    epoch, colour = table["epoch"], COLOURS[name]
    axes.semilogy(epoch, table["train_loss"], color=colour, label=f"{name}, training")
    axes.semilogy(epoch, table["test_loss"], "--", color=colour, label=f"{name}, test")
axes.set(title="Two losses that diverge", xlabel="epoch", ylabel="cross-entropy (nats)")
axes.legend()
plt.show()

# %% [markdown]
# *What you see:* above, the test accuracy rises fast, then jitters (the marks belong to trap 3). Below, the training losses
# fall far (one jumps back late); the test losses do not follow. For a loss, that gap is overfitting.
#
# ## Step 5: stop and resume
#
# The paper's runs took 55 to 93 hours. A checkpoint must hold the weights, BatchNorm's statistics *and* Adam's state; the
# random order follows from seed and epoch. Then a resumed run equals one that was never stopped. A different batch size is
# refused.

# %%
columns = ["epoch", "train_loss", "test_loss", "test_top1"]
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "checkpoint.safetensors"
    for epochs in (3, 6):  # the second call finds the file of the first
        config = training.Config(epochs=epochs, batch_size=24, validation=0.1, cpu=True)
        net = small_cnn_lstm(seed=99 * epochs)  # a file replaces these start weights
        resumed = training.fit(net, features, split, config, checkpoint=path)
    print("files:", sorted(file.name for file in Path(folder).iterdir()))
    try:
        other = training.Config(epochs=6, batch_size=20, validation=0.1, cpu=True)
        training.fit(small_cnn_lstm(), features, split, other, checkpoint=path)
    except ValueError as error:
        message = str(error).replace(str(path), path.name).split("(")[0]
        print("with batches of 20:", message)
whole = training.fit(small_cnn_lstm(seed=99 * 3), features, split, config)
np.testing.assert_allclose(resumed.table[columns], whole.table[columns], rtol=1e-5)
largest = (resumed.table[columns] - whole.table[columns]).abs().max().max()
print(f"resumed and never stopped: largest difference {largest:.1e}")

# %% [markdown]
# ## Trap 1: BatchNorm in train mode under no_grad
#
# The public code base freezes its ResNet with `torch.no_grad()` but leaves it in train mode. No weight changes. But
# [BatchNorm](references.md#ioffe-2015)'s running mean and variance are not weights: every forward pass in train mode moves
# them a tenth of the way to the batch's, and at test time the network uses them. We do this to our CNN in eight passes, one
# per time step of 16 training clips.

# %%
from ctxlstm import video

backbone = classroom.backbone()
paths = classroom.clips()["path"].iloc[fit_rows[:: len(fit_rows) // 16][:16]]
# 16 films (T, 3, 240, 320), resized and stacked: (B, T, 3, 128, 128)
films = [video.read_frames(path, 8, "uniform").images for path in paths]
films = torch.stack([backbone.resize(torch.as_tensor(film)) for film in films])
frames = (films.float() - backbone.mean) / backbone.std
net = copy.deepcopy(backbone.net)
norms = [module for module in net.modules() if isinstance(module, BatchNorm2d)]
for norm in norms:
    norm.momentum = 0.1  # PyTorch's default, and that of the public code base's ResNet
print(f"{len(norms)} BatchNorm layers, frames {tuple(frames.shape)}")

# %%
weights = [weight.clone() for weight in net.parameters()]
# The running variances of all layers in one row: (all channels,)
start = torch.cat([norm.get_buffer("running_var") for norm in norms]).clamp(min=1e-6)
ratios, alike = [torch.ones_like(start)], [1.0]
with torch.no_grad():
    before = net.eval()(frames[:, 4])  # (B, D), the features as they should be
    for t in range(8):
        net.train()(frames[:, t])  # the result is thrown away; the statistics stay
        now = net.eval()(frames[:, 4])  # (B, D)
        alike.append(F.cosine_similarity(now, before).mean().item())
        variances = torch.cat([norm.get_buffer("running_var") for norm in norms])
        ratios.append(variances / start)
assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))
print("every weight is unchanged; the features of the same frames are not")

# %% tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
shares = torch.tensor([0.1, 0.5, 0.9])
low, middle, high = torch.stack(ratios).quantile(shares, dim=1)  # (9,) each
left.fill_between(range(9), low, high, color=GREY, alpha=0.25, label="80 % of channels")
left.plot(middle, "o-", color=BLACK, label="median channel")
left.set(title="Running variances drift", xlabel="passes under no_grad",
         ylabel="variance / variance at start")
left.legend()
right.plot(alike, "o-", color=BLACK, label="mean over 16 frames")
right.set(title="Same frames, other features", xlabel="passes under no_grad",
          ylabel="cosine similarity to the start", ylim=(0, 1.05))
right.legend()
plt.show()
assert alike[-1] < 0.99

# %% [markdown]
# *What you see:* without one gradient, variances drift, and the same frames give other features. With 28 passes per batch
# hardly any ImageNet statistics are left after the first batch ($0.9^{28} \approx 0.05$). From then on features depend on
# which clips came last: test curves can jitter, and nothing can be cached. The paper does not say which mode it used. The cure
# is `net.eval()` after every `model.train()`; ours stays in evaluation mode by itself:

# %%
digest = backbone.weights
backbone.train()  # a frozen Backbone refuses to be moved ...
first = backbone(films[:, 4])
assert_close(backbone(films[:, 4]), first)
assert backbone.weights == digest
# ... unless you ask for the public code base's behaviour:
drifting = copy.deepcopy(backbone).drift().train()
drifting(films[:, 0])
print("frozen:", backbone.weights == digest, " drift:", drifting.weights == digest)

# %% [markdown]
# ## Trap 2: the unsorted listing
#
# `os.listdir` gives names in the order of the file system. A seeded split permutes *positions*, so the same seed cuts the same
# folder differently on two disks. The public code base splits like that, with `random_state=42`.

# %%
names = features.clips["name"].tolist()
# The same files, as another disk may list them:
elsewhere = np.random.default_rng(0).permutation(names).tolist()
tests = [set(train_test_split(listing, test_size=0.25, random_state=42)[1])
         for listing in (names, elsewhere)]
both = len(tests[0] & tests[1])
print(f"same seed, {len(tests[0])} test clips each, {both} of them in both test sets")
print(f"expected by pure chance: {len(tests[0]) // 4}")
shuffled = features.clips.set_index("name").loc[elsewhere].reset_index()
ours = [set(table["name"].iloc[ucf101.split(table, "paper", seed=42).test])
        for table in (features.clips, shuffled)]
assert ours[0] == ours[1]
print("ucf101.split sorts by name first: the same test clips from both listings")

# %% [markdown]
# *What you see:* the two test sets share about as many clips as chance would give. A model tested on the other machine meets its
# own training clips. Sort before you split.
#
# ## Trap 3: choosing the best epoch on the test set
#
# The paper reports the best of 300 test accuracies. If single looks scatter by $s$ points (standard deviation) around a level
# curve, the best of $n$ looks is too high by
#
# $$\text{bonus} = s \cdot E_n, \qquad E_n = \text{mean of the largest of } n \text{ standard normal numbers.}$$
#
# $E_n$ is smaller if neighbouring looks resemble each other: they then count as fewer looks.

# %%
random, looks = np.random.default_rng(0), np.array([1, 3, 10, 30, 100, 300])


def expected_best(alike):
    """E_n for each n in looks; `alike` is the correlation of one look with the next."""
    z = random.standard_normal((4000, looks.max()))  # (repetitions, looks)
    for t in range(1, looks.max()):
        z[:, t] = alike * z[:, t - 1] + np.sqrt(1 - alike**2) * z[:, t]
    return np.array([z[:, :n].max(axis=1).mean() for n in looks])


independent, neighbours = expected_best(0), expected_best(0.9)
fresh = 100 * np.sqrt(0.9 * 0.1 / 3330)  # s of your guess: new clips every time
highest = 90 + fresh * independent[-1]
print(f"fresh clips: s = {fresh:.2f} points, best of 300: {highest:.1f} %")
cells = paper.table1().query("epoch >= 180")  # five cells per row
for row, best in ((paper.OURS, 92.2), (paper.BASELINE, 90.7)):
    late = cells.loc[cells["row"] == row, "top1"]
    mean, s = late.mean(), late.std()
    low, high = s * np.sqrt(4 / stats.chi2.ppf([0.975, 0.025], 4))
    least, most = s * neighbours[-1], s * independent[-1]
    print(f"{row}: late mean {mean:.1f}, best - mean {best - mean:.1f} points")
    print(f"  s = {s:.2f} ({low:.2f} to {high:.2f}), bonus {least:.1f} to {most:.1f}")

# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(7, 3.4), layout="constrained")
axes.plot(looks, independent, "o-", color=BLACK, label="independent looks")
axes.plot(looks, neighbours, "s--", color=GREY,
          label="each look correlates 0.9 with the next")
axes.set(xscale="log", xlabel="looks n", ylabel="bonus (in units of s)",
         title="The bonus of choosing")
axes.set_xticks(looks, looks)
axes.legend()
plt.show()

# %% [markdown]
# *What you see:* with fresh clips you report about 91.5 % (your guess). In a training the *clips* stay the same and the
# *weights* change, so Chapter 1's 0.52 is neither an upper nor a lower limit: $s$ must be measured. The late cells of Table
# 1 give 0.4 for both models, so choosing is worth about a point, very roughly: the 95 % interval of $s$ allows 0.6 to 3.3. The
# paper's `best` lies 1.0 and 1.8 points above its late cells. The *baseline* gains more: choosing shrinks the gap between
# the two models from 2.2 to 1.5 points.
#
# Now a real training: five seeds of our small CNN-LSTM, each with its own split.

# %%
rows = []
for seed in range(5):
    config = training.Config(epochs=25, batch_size=24, validation=0.1, seed=seed,
                             cpu=True)
    cut = ucf101.split(features.clips, "grouped", seed=seed)
    table = histories["cnn_lstm"]  # seed 0: the training of step 4
    if seed:
        table = training.fit(small_cnn_lstm(seed), features, cut, config).table
    test_top1 = table.set_index("epoch")["test_top1"]
    chosen = test_top1.loc[evaluation.chosen_epoch(table)]
    rows.append((test_top1.max(), test_top1.iloc[-1], chosen))
    assert np.isclose(test_top1.max() - chosen, evaluation.selection_bonus(table))
columns = ["best on test", "last epoch", "chosen on validation"]
bonus = 100 * pd.DataFrame(rows, columns=columns)
figure, axes = plt.subplots(figsize=(8, 3.6))
for name, marker, colour in zip(bonus, "^so", (BLACK, GREY, "white"), strict=True):
    axes.plot(bonus[name], marker, color=colour, markeredgecolor=BLACK, markersize=8,
              label=name)
axes.set(title="One training, three numbers to report", xlabel="seed",
         ylabel="test top-1 (%)")
axes.set_xticks(bonus.index)
axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()
bonus.mean().round(1)

# %% [markdown]
# *What you see:* the triangle is never below. Its distance to the circle is the *selection bonus*, large here because 72 test
# clips scatter much and 24 validation clips choose badly. Our study on stick figures (900 clips, made by
# `papermill_runs/sweep.ipynb` with `-p config stickfigures`) has 216 to 252 and 52 to 72:

# %%
records = runs.load("../papermill_runs/results/stickfigures")
main = studies.usual(records)  # every head as the paper has it, at the usual batch size
heads = main[main["model"].isin(["cnn_lstm", "context_lstm"])]
columns = ["top1_best", "top1_last", "top1_validation_chosen", "top1_late"]
means = 100 * heads.groupby(["protocol", "model"])[columns].mean()
titles = ["best on test", "last epoch", "chosen on validation", "late (mean)"]
means.set_axis(titles, axis=1).round(1)

# %% [markdown]
# *What you see* (per cent, means over seeds; `paper` is the random split, `grouped` that by source video): "best" is highest in
# every row. "Chosen" is fair, but a small validation set chooses badly now and then. `late`, the mean over the last third
# of the epochs, chooses nothing; our tables rest on it.
#
# ## Trap 4: a tiny last batch
#
# 192 training clips in batches of 27 make seven full batches and a last one of 3. In train mode BatchNorm divides by the
# spread *of the batch*, and three clips estimate it poorly. First a trained cascade on clips that it knows, in batches of
# several sizes; then two ways to cut an epoch, in training.

# %%
cascade = copy.deepcopy(trained["context_lstm"])
for size in (2, 3, 6, 24, 96):
    losses = []
    for seed in range(30):
        torch.manual_seed(seed)
        batch = fit[torch.randperm(len(fit))[:size]]
        with torch.no_grad():
            losses.append(F.cross_entropy(cascade.train()(x[batch]), y[batch]).item())
    print(f"batches of {size:2d} clips: mean training loss {np.mean(losses):.4f}")


# %%
def train_in(cut, seed, epochs=15):
    """All batch losses and the last test top-1; `cut` cuts an epoch into batches."""
    torch.manual_seed(seed)
    model = models.build("context_lstm", **CASCADE)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.001), []
    for _ in range(epochs):
        model.train()
        for batch in cut(fit[torch.randperm(len(fit))]):
            loss = F.cross_entropy(model(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    with torch.no_grad():
        top1 = (model.eval()(x[test]).argmax(1) == y[test]).double().mean().item()
    return losses, top1


# %%
cuts = {"7 of 27 and one of 3": (lambda order: order.split(27), GREY),
        "8 of 24": (lambda order: order.tensor_split(8), COLOURS["context_lstm"])}
figure, axes = plt.subplots(figsize=(9, 3.8))
for name, (cut, colour) in cuts.items():
    for seed in (0, 1):
        losses, top1 = train_in(cut, seed)
        epochs, label = np.arange(1, len(losses) + 1) / 8, name if seed == 0 else None
        axes.semilogy(epochs, losses, color=colour, alpha=0.8, linewidth=1, label=label)
        print(f"{name:24s} seed {seed}: test top-1 after 15 epochs {100 * top1:.0f} %")
axes.set(title="One tiny batch per epoch", xlabel="epoch",
         ylabel="training loss of a batch (nats)")
axes.legend()
plt.show()

# %% [markdown]
# *What you see:* the same weights have a loss many times larger in batches of 2 or 3. In training, the grey curves often jump
# at an epoch's end, just before the model is measured. (What this does to top-1, two seeds cannot tell.) `training.fit` cuts
# an epoch into the fewest *equal* batches. The paper's 9,990 clips leave a harmless last batch of 70.
#
# ## Try it
#
# All training curves of our study on stick figures. **Guess first:** which split makes the heads look most alike? Then choose
# the test loss. **Question.** In which epoch is that of `cnn_lstm` lowest, split by source video, and what does its top-1 do
# after that?
#
# <details><summary>Answer</summary>
#
# The random split, where siblings help every head: most end between 82 and 97 % (only `shuffled_lstm` is lower), on the
# others between 50 and 82 %. The loss is lowest near epoch 12, and top-1 still rises from 66 to 74 %: the model gets surer of
# its wrong answers while it makes fewer.
#
# </details>

# %%
from ctxlstm import widgets

widgets.record_dashboard(records)

# %%
widgets.record_dashboard_figure(records)

# %% [markdown]
# *What you see:* lines are means over seeds, bands run from the lowest to the highest seed.
#
# ## Check
#
# What a table needs from a training, computed again from the predictions that `fit` keeps.

# %%
from ctxlstm import inference

table = history.predictions  # one row per test clip, after the last epoch
assert np.isclose(evaluation.top1(table), (table["label"] == table["predicted"]).mean())
assert np.isclose(evaluation.top1(table), history.table["test_top1"].iloc[-1])
assert np.isclose(evaluation.nll(table), history.table["test_loss"].iloc[-1], rtol=1e-5)
low, high = inference.interval(table)
print(f"top-1 {100 * evaluation.top1(table):.0f} %")
print(f"95 % interval over source videos: {100 * low:.0f} to {100 * high:.0f} %")

# %% [markdown]
# ## Common mistakes
#
# - **`model.eval()` once, `model.train()` never again.** Set the mode at the start of every epoch, as the loop does.
# - **`loss` instead of `loss.item()` in a list.** It keeps the graph of every batch in memory.
# - **The mean of batch means.** With a smaller last batch it is not the mean over clips.
#
# ## Exercises
#
# Six, one of them with the dashboard:
# [exercises](exercises/release/09_training/09_training.ipynb), [with solutions](exercises/source/09_training/09_training.ipynb).

# %% [markdown]
# ## Limits
#
# - Small models, synthetic clips and few seeds show mechanisms, not sizes.
# - How far BatchNorm drifts depends on the frames. Drawn figures are far from photographs.
# - The columns of Table 1's row "ours" are our reading; its $s$ rests on five cells with a slight trend.

# %% [markdown]
# ## Summary
#
# - The paper's loop is fifteen lines. Cross-entropy starts at $\ln K$.
# - Freeze statistics too, sort before you split, choose on a validation set or not at all, and keep batches equal where
#   there is BatchNorm.
# - The best of 300 level epochs is too high by up to about three times their scatter.
#
# Next: [Chapter 10](10_results.ipynb) reads the results of many trainings, the paper's and ours.

# %%
import quizzes
from IPython.display import display

display(quizzes.quiz("09"))
print(classroom.versions())
