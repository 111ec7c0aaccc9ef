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
# Paper: sections 4.1 and 4.2 | 40 minutes to read and play, about a minute to run | downloads: none
#
# **After this chapter you can**
#
# - write the paper's training loop in fifteen lines and say what each line is for;
# - compute its loss and its accuracy by hand, and turn a loss into a probability;
# - find four mistakes that raise no error: a drifting BatchNorm, an unsorted listing, an epoch chosen on the test
#   part, and a tiny last batch.
#
# The models come from [Chapter 7](07_context_lstm.ipynb) and [Chapter 8](08_cnn_lstm.ipynb), the splits from
# [Chapter 3](03_ucf101.ipynb).
#
# **The question.** What does it take to train these models, and to be able to believe the number that comes out?
#
# **Guess first.** Take a model that is right on 90.0 % of all clips, no more and no less. You test it on 3,330
# clips, 300 times, each time with fresh luck, and report the best of the 300. What do you report? ______ %

# %% [markdown]
# ## What the paper says
#
# Section 4.2: cross-entropy loss, the Adam optimizer, learning rate 0.001, batches of 80 clips, 300 epochs. Accuracy
# is scikit-learn's top-1. Data is divided 3:1 at random into a training and a test part. Training loss and test
# accuracy are computed after every epoch, and section 4.3 reports the best test accuracy. Section 4.2 says that
# dropout is used and that larger batches gave better accuracy. Section 4.1 names the machine: one GTX 1080 Ti.
#
# > **Not stated in the paper.**
# >
# > - *A validation part.* Section 4.2 names a training and a test set only; elsewhere the same test clips are called
# >   "validation set". We cut off 10 % of the training part, by whole source videos, and show both choices of an epoch.
# > - *Seeds, and how many runs.* We seed everything and run several seeds.
# > - *Learning-rate schedule, weight decay, gradient clipping, augmentation.* We use none, as the public code base
# >   that the paper's screenshot shows.
# > - *The dropout's value.* Our default is 0, none, as in that code base.
# > - *What happens to a last, smaller batch.* PyTorch would keep it; we cut an epoch into equal batches (trap 4).
# > - *Whether the CNN is frozen.* Its memory use allows nothing else ([Chapter 12](12_cost.ipynb)); so we compute
# >   features once.

# %%
import copy
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split
from torch.nn import BatchNorm2d
from torch.nn import functional as F
from torch.testing import assert_close

from ctxlstm import classroom, evaluation, figures, inference, models, training, ucf101, video, widgets
from ctxlstm.experiments import runs
from ctxlstm.report import studies

plt.rcParams.update(figures.style())
torch.manual_seed(0)
torch.set_num_threads(1)  # small products are no faster on more, and sums stay the same
COLOURS = figures.HEAD_COLOURS

# %% [markdown]
# Our data are 288 generated clips of eight movements, already turned into features. Three parts: `fit` for the
# gradient, `validation` for choosing, `test` for reporting. No source video is in two of them.

# %%
features = classroom.features()
x, y = features.x.float(), features.y  # (N, T, D), (N,)
split = ucf101.split(features.clips, "grouped", seed=0)
fit_rows, validation_rows = ucf101.validation(features.clips, split, share=0.1, seed=0)
fit, validation, test = (torch.as_tensor(rows) for rows in (fit_rows, validation_rows, split.test))
K = len(features.classes)
print(f"x {tuple(x.shape)}, {K} classes")
print(f"clips: fit {len(fit)}, validation {len(validation)}, test {len(test)}")


def small_cnn_lstm(seed=0):
    torch.manual_seed(seed)
    return models.build("cnn_lstm", **classroom.SMALL)


# %% [markdown]
# ## Step 1: the loss and the metric by hand
#
# The model gives logits $z$ (B, K). Softmax makes them probabilities; the loss is the mean negative logarithm of the
# probability of the true class:
#
# $$p_{bk} = \frac{e^{z_{bk}}}{\sum_j e^{z_{bj}}} \qquad\quad L = -\frac{1}{B} \sum_b \log p_{b, y_b}$$
#
# Top-1 is the share of clips whose largest logit is the true class.

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

# %% [markdown]
# *What you see:* an untrained model sits at $\ln K$. For the paper's 101 classes that is 4.62. A first loss far from
# it means that something is wrong before training has begun.
#
# A loss is easier to read as a probability: $e^{-L}$ is the (geometric) mean probability given to the true class.
# The paper's own log (Fig. 4) prints training losses of 0.01 on average and test losses of about 0.6.

# %%
for name, value in {"guessing, K = 101": np.log(101), "Fig. 4, test": 0.6, "Fig. 4, training": 0.01}.items():
    print(f"{name:18s} loss {value:.2f} -> probability of the true class {np.exp(-value):.2f}")

# %% [markdown]
# ## Step 2: one step
#
# Four lines change the weights: forward pass with loss, forget the old gradients, compute new ones, move. In its
# first step Adam divides each gradient by its own size, so nearly every weight moves by just the learning rate, in
# the direction that lowers the loss.

# %%
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
before = [weight.detach().clone() for weight in model.parameters()]
loss = F.cross_entropy(model(x[batch]), y[batch])
optimizer.zero_grad()  # without it, gradients add up over steps
loss.backward()  # fills weight.grad
optimizer.step()  # changes the weights
pairs = zip(model.parameters(), before, strict=True)
moved = torch.cat([(new - old).abs().flatten() for new, old in pairs])
print(f"{len(moved):,} weights; median move {moved.median():.6f}, largest {moved.max():.6f}")
assert moved.max() < 0.00101

# %% [markdown]
# ## Step 3: overfit one batch
#
# The first test of a new model and loop: can it learn 24 clips by heart? If the loss does not go to zero, look for a
# bug and not for a better learning rate.

# %%
losses = []
for _ in range(150):
    loss = F.cross_entropy(model(x[batch]), y[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

figure, axes = plt.subplots(figsize=(8, 3.4))
axes.semilogy(range(1, 151), losses, color=COLOURS["cnn_lstm"], label="one batch of 24 clips")
axes.axhline(np.log(K), color="#6E6E6E", linestyle="--", label=f"guessing, ln {K}")
axes.set(title="Learning one batch by heart", xlabel="step", ylabel="cross-entropy (nats)")
axes.legend()
plt.show()
assert losses[-1] < 0.2 < np.log(K)

# %% [markdown]
# *What you see:* it starts at guessing and goes down by orders of magnitude. Loss, gradients and optimizer are
# connected. It says nothing about new clips.

# %% [markdown]
# ## Step 4: the whole loop
#
# An epoch visits every training clip once, in a new random order. Then the model is switched to evaluation mode and
# measured on the test part. That is the paper's section 4.2, all of it.


# %%
def epoch_seed(seed, epoch):
    """A number for the random draws of one epoch that depends on nothing that happened before."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


def train(model, epochs, batch_size=24, seed=0):
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    history = []
    for epoch in range(1, epochs + 1):
        model.train()  # BatchNorm takes the batch's statistics, dropout is on
        torch.manual_seed(epoch_seed(seed, epoch))
        order, total = fit[torch.randperm(len(fit))], 0.0
        for batch in order.tensor_split(-(-len(order) // batch_size)):  # equal parts, their number rounded up
            loss = F.cross_entropy(model(x[batch]), y[batch])  # (B, T, D) -> (B, K) -> ()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        model.eval()  # BatchNorm takes its running statistics, dropout is off
        with torch.no_grad():
            logits = model(x[test])  # (N_test, K)
        top1 = (logits.argmax(1) == y[test]).double().mean().item()
        history.append((epoch, total / len(fit), F.cross_entropy(logits, y[test]).item(), top1))
    return pd.DataFrame(history, columns=["epoch", "train_loss", "test_loss", "test_top1"])


# %%
by_hand = train(small_cnn_lstm(), epochs=8)
by_hand.tail(3).round(3)

# %% [markdown]
# `ctxlstm.training.fit` is this loop with the care around it: a validation part, checkpoints, GPU and mixed
# precision, a record of time and memory, clear errors. The same seed must give the same history.

# %%
config = training.Config(epochs=8, batch_size=24, validation=0.1, cpu=True)  # learning rate 0.001, seed 0
history = training.fit(small_cnn_lstm(), features, split, config)
for column in by_hand:
    a, b = by_hand[column].to_numpy(float), history.table[column].to_numpy(float)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    print(f"{column:11s} largest difference {np.abs(a - b).max():.1e}")

# %% [markdown]
# ## Step 5: curves
#
# Now the two models of the paper, small, for 25 epochs. The Context-LSTM is cut down to two blocks of one layer, to
# save your time.

# %%
CASCADE = classroom.SMALL | {"num_blocks": 2, "num_layers": 1}
config = training.Config(epochs=25, batch_size=24, validation=0.1, cpu=True)
torch.manual_seed(0)
trained = {"cnn_lstm": small_cnn_lstm(), "context_lstm": models.build("context_lstm", **CASCADE)}
histories = {name: training.fit(net, features, split, config).table for name, net in trained.items()}
figures.curves(histories)

# %% [markdown]
# *What you see:* left, the training loss goes to almost nothing. Right, the test accuracy rises fast, and then it only
# jitters. The triangle marks the best epoch on the test part, the dot the epoch that the validation part chooses. They
# are rarely the same; trap 3 is about that. On 72 test clips one clip is 1.4 points, and this is one seed of each
# model: do not read small steps, and do not rank the two by it.

# %%
figure, axes = plt.subplots(figsize=(8, 3.6))
for name, table in histories.items():
    axes.semilogy(table["epoch"], table["train_loss"], color=COLOURS[name], label=f"{name}, training")
    axes.semilogy(table["epoch"], table["test_loss"], "--", color=COLOURS[name], label=f"{name}, test")
axes.set(title="Two losses that part", xlabel="epoch", ylabel="cross-entropy (nats)")
axes.legend()
plt.show()

# %% [markdown]
# *What you see:* training loss falls by orders of magnitude, test loss does not follow. That gap is what overfitting
# means for a loss. The paper says that its model did not overfit (section 4.3): the loss stays small and steady, and
# so does the accuracy. The loss that its Fig. 5 draws is the training loss; the log in its Fig. 4 shows the same kind
# of gap as here, 0.01 against 0.6. [Chapter 10](10_results.ipynb) comes back to it.

# %% [markdown]
# ## Step 6: stop and go on
#
# The paper's runs took 55 to 93 hours. A training that cannot go on after a crash is lost. A checkpoint must hold
# the weights *and* Adam's running means; the random order follows from seed and epoch number. Then a resumed run
# equals one that was never stopped, number by number.

# %%
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "checkpoint.safetensors"
    for epochs in (3, 6):  # the second call finds the file of the first
        config = training.Config(epochs=epochs, batch_size=24, validation=0.1, cpu=True)
        resumed = training.fit(small_cnn_lstm(seed=99 * epochs), features, split, config, checkpoint=path)
    print("files:", sorted(file.name for file in Path(folder).iterdir()))
    try:
        other = training.Config(epochs=6, batch_size=20, validation=0.1, cpu=True)
        training.fit(small_cnn_lstm(), features, split, other, checkpoint=path)
    except ValueError as error:
        print("with batches of 20:", str(error).replace(str(path), path.name).split("(")[0])
columns = ["epoch", "train_loss", "test_loss", "test_top1"]
print(resumed.table[columns].round(4).to_string(index=False))

# %% [markdown]
# Even the start weights of the second call (another seed) do not matter: the checkpoint replaces them. Compare with
# one run of 6 epochs without a stop. And the file knows what it belongs to: other batches are refused.

# %%
whole = training.fit(small_cnn_lstm(seed=99 * 3), features, split, config)
np.testing.assert_allclose(resumed.table[columns], whole.table[columns], rtol=1e-5)
largest = (resumed.table[columns] - whole.table[columns]).abs().max().max()
print(f"resumed and never stopped: largest difference {largest:.1e}")

# %% [markdown]
# ## Trap 1: BatchNorm in train mode under no_grad
#
# The public code base freezes its ResNet with `torch.no_grad()`, but leaves it in train mode. No weight changes.
# BatchNorm's running mean and variance are no weights, however: every forward pass in train mode moves them by a
# tenth towards the batch's. At test time the network uses whatever they have become. We do the same to our frozen
# CNN: eight passes, one for each time step of 16 training clips, as that code goes through its frames.

# %%
backbone = classroom.backbone()
paths = classroom.clips()["path"].iloc[fit_rows[:: len(fit_rows) // 16][:16]]
films = [video.read_frames(path, 8, "uniform").images for path in paths]  # 16 times (T, 3, 240, 320)
films = torch.stack([backbone.resize(torch.as_tensor(film)) for film in films])  # (B, T, 3, 128, 128)
frames = (films.float() - backbone.mean) / backbone.std
net = copy.deepcopy(backbone.net)
norms = [module for module in net.modules() if isinstance(module, BatchNorm2d)]
for norm in norms:
    norm.momentum = 0.1  # PyTorch's default, and that of the public code base's ResNet
print(f"{len(norms)} BatchNorm layers, frames {tuple(frames.shape)}")

# %%
weights = [weight.clone() for weight in net.parameters()]
start = torch.cat([norm.get_buffer("running_var") for norm in norms]).clamp(
    min=1e-6
)  # (channels of all layers,)
ratios, alike = [torch.ones_like(start)], [1.0]
with torch.no_grad():
    before = net.eval()(frames[:, 4])  # (B, D), the features as they should be
    for t in range(8):
        net.train()(frames[:, t])  # the result is thrown away; the statistics stay
        now = net.eval()(frames[:, 4])  # (B, D)
        alike.append(F.cosine_similarity(now, before).mean().item())
        ratios.append(torch.cat([norm.get_buffer("running_var") for norm in norms]) / start)
assert all(torch.equal(a, b) for a, b in zip(weights, net.parameters(), strict=True))
print("every weight is unchanged; the features of the same frames are not")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
low, middle, high = torch.stack(ratios).quantile(torch.tensor([0.1, 0.5, 0.9]), dim=1)  # (9,) each
left.fill_between(range(9), low, high, color="#D55E00", alpha=0.25, label="80 % of all channels")
left.plot(middle, "o-", color="#D55E00", label="median channel")
left.set(
    title="Running variances drift", xlabel="passes under no_grad", ylabel="variance / variance at start"
)
left.legend()
right.plot(alike, "o-", color="#0072B2", label="mean over 16 frames")
right.set(title="Same frames, other features", xlabel="passes under no_grad", ylim=(0, 1.05))
right.set_ylabel("cosine similarity to the start")
right.legend()
plt.show()
assert alike[-1] < 0.99

# %% [markdown]
# *What you see:* eight passes, not one gradient. The median variance falls by about a tenth, and eight channels in ten
# stay within about a third of their start; but 49 layers stand on top of each other, and the same frames come out with
# quite other features. How far depends on the frames: drawn figures are far from ImageNet's photographs, and we have
# not measured it on real video or on ResNet-50. With 28 passes a batch nearly nothing of the ImageNet statistics is
# left after the first batch ($0.9^{28} \approx 0.05$). From then on the network's function depends on which clips came
# last: test curves can jitter, features cannot be cached, and saving "the weights" without the statistics saves
# another network. The paper does not say which mode it used. The cure is one line, `net.eval()`, after every
# `model.train()`. Ours stays in evaluation mode by itself:

# %%
digest = backbone.weights
backbone.train()  # a frozen Backbone refuses to be moved ...
first = backbone(films[:, 4])
assert_close(backbone(films[:, 4]), first)
assert backbone.weights == digest
drifting = copy.deepcopy(backbone).drift().train()  # ... unless you ask for the public code base's behaviour
drifting(films[:, 0])
print("frozen:", backbone.weights == digest, " drift:", drifting.weights == digest)

# %% [markdown]
# ## Trap 2: the unsorted listing
#
# `os.listdir` gives names in the order of the file system, which no one promises. A seeded split permutes
# *positions*. So the same seed cuts the same folder differently on two disks. The public code base splits like that,
# with `random_state=42`.

# %%
names = features.clips["name"].tolist()
elsewhere = np.random.default_rng(0).permutation(names).tolist()  # the same files, listed by another disk
tests = [set(train_test_split(listing, test_size=0.25, random_state=42)[1]) for listing in (names, elsewhere)]
print(f"same seed, {len(tests[0])} test clips each, {len(tests[0] & tests[1])} of them in both test parts")
print(f"expected by pure chance: {len(tests[0]) // 4}")

# %%
shuffled = features.clips.set_index("name").loc[elsewhere].reset_index()
ours = [
    set(table["name"].iloc[ucf101.split(table, "paper", seed=42).test])
    for table in (features.clips, shuffled)
]
assert ours[0] == ours[1]
print("ucf101.split sorts by name first: the same test clips from both listings")

# %% [markdown]
# *What you see:* the two test parts share about as many clips as chance alone would give. A model saved on one machine
# and tested on the other meets its own training clips, and looks splendid. Sort before you split, or store the list of
# names.

# %% [markdown]
# ## Trap 3: choosing the best epoch on the test part
#
# The paper reports the best of 300 test accuracies. Choosing by the test part lets luck in. First a calculation
# without any model: your guess from the start. True accuracy 90 %, 3,330 clips, best of $n$ independent looks.

# %%
random = np.random.default_rng(0)
for looks in (1, 10, 300):
    best = (random.binomial(3330, 0.9, size=(2000, looks)) / 3330).max(axis=1)
    print(f"best of {looks:3d} looks: {100 * best.mean():.1f} % on average (the truth: 90.0 %)")

# %% [markdown]
# *What you see:* pure luck adds more than a point. The paper's two models differ by 1.5 points; both numbers are such
# maxima, so luck is in both of them ([Chapter 10](10_results.ipynb), Step 4). Real epochs are not independent (same
# clips, similar weights), so this is an upper limit. What is it in a real training? Five seeds of our small CNN-LSTM,
# each with its own split; the validation part chooses an epoch, and we compare with the best test epoch.

# %%
rows = []
for seed in range(5):
    config = training.Config(epochs=25, batch_size=24, validation=0.1, seed=seed, cpu=True)
    cut = ucf101.split(features.clips, "grouped", seed=seed)
    table = histories["cnn_lstm"]  # seed 0: the training of step 5
    if seed:
        table = training.fit(small_cnn_lstm(seed), features, cut, config).table
    test_top1 = table.set_index("epoch")["test_top1"]
    chosen = test_top1.loc[evaluation.chosen_epoch(table)]
    rows.append((seed, test_top1.max(), test_top1.iloc[-1], chosen))
    assert np.isclose(test_top1.max() - chosen, evaluation.selection_bonus(table))
looks = {
    "best on test": ("^", "#D55E00"),
    "last epoch": ("s", "#222222"),
    "chosen on validation": ("o", "#0072B2"),
}
bonus = pd.DataFrame(rows, columns=["seed", *looks]).set_index("seed")
(100 * bonus).round(1)

# %%
figure, axes = plt.subplots(figsize=(8, 3.6))
for name, (marker, colour) in looks.items():
    axes.plot(bonus.index, 100 * bonus[name], marker, color=colour, markersize=8, label=name)
    axes.axhline(100 * bonus[name].mean(), color=colour, linewidth=1, linestyle="--")
axes.set(title="One training, three numbers to report", xlabel="seed", ylabel="test top-1 (%)")
axes.set_xticks(bonus.index)
axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
plt.show()

# %% [markdown]
# *What you see:* the triangle is never below the others, by construction; where it is missing, the square covers it.
# The dashed lines are the means. The
# distance from triangle to circle is the *selection bonus*. Here it is large for two reasons: on 72 test clips luck
# is large, and 24 validation clips choose badly. The square is a fair number too, if you decide on the last epoch
# *before* you train. Both reasons shrink with more clips. The committed records of our study on stick figures
# (generated, 12 classes, 25 source videos each, 30 epochs) show how much is left:

# %%
records = runs.load("../papermill_runs/results/stickfigures")
main = studies.usual(records)  # every head as the paper has it, at the usual batch size
heads = main[main["model"].isin(["cnn_lstm", "context_lstm"])]
columns = ["top1_best", "top1_last", "top1_validation_chosen"]
means = 100 * heads.groupby(["protocol", "model"])[columns].mean()
means.set_axis(["best on test", "last epoch", "chosen on validation"], axis=1).round(1)

# %% [markdown]
# Test top-1 in per cent, means over all trainings of the protocol. "paper" is the random split, "grouped" the split by
# source video. The records were made by the notebook `papermill_runs/sweep.ipynb` with `-p config stickfigures`
# (papermill_runs/README.md).
#
# *What you see:* "best" is the highest number of every row, and the bonus over "chosen" is not small here either ("last" of
# a single run jumps by about 4 points from epoch to epoch, which these means over five seeds even out). Nor
# is "chosen" always better than "last": some 50 to 70 validation clips now and then pick an early epoch, above all for
# `cnn_lstm` on the random split. Fair means not chosen on the test part; it does not mean well chosen.

# %% [markdown]
# ## Trap 4: a tiny last batch
#
# 192 training clips in batches of 27 make seven full batches and a rest of 3. The Context-LSTM has BatchNorm between
# its blocks. In train mode BatchNorm divides by the spread *of the batch*, and three clips have a poor idea of the
# spread. First the damage in a single forward pass: a trained cascade, training clips that it knows, batches of
# different size.

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

# %% [markdown]
# *What you see:* the same weights, the same clips, and a loss that is many times larger in batches of 2 or 3. Now in
# training. We met this one ourselves: one such batch at the end of every epoch upset all of it, just before it was
# measured.


# %%
def train_in(cut, seed, epochs=15):
    """Losses of all batches and the last test top-1, for a way to cut an epoch into batches."""
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
cuts = {"7 of 27 and a rest of 3": (lambda order: order.split(27), "#D55E00", "-"),
        "8 of 24": (lambda order: order.tensor_split(8), "#0072B2", "-")}  # fmt: skip
figure, axes = plt.subplots(figsize=(9, 3.8))
for name, (cut, colour, line) in cuts.items():
    for seed in (0, 1):
        losses, top1 = train_in(cut, seed)
        epochs = np.arange(1, len(losses) + 1) / 8
        axes.semilogy(
            epochs, losses, line, color=colour, alpha=0.8, linewidth=1, label=name if seed == 0 else None
        )
        print(f"{name:24s} seed {seed}: test top-1 after 15 epochs {100 * top1:.0f} %")
axes.set(title="One tiny batch an epoch", xlabel="epoch", ylabel="training loss of a batch (nats)")
axes.legend()
plt.show()

# %% [markdown]
# *What you see:* the orange curves jump once an epoch, at the rest, and never settle; the test top-1 printed above is
# lower with the rest. Two seeds, one small model: it shows the mechanism and not a general size. `training.fit` cuts
# an epoch into the fewest *equal* batches. For the paper's 9,990 clips and batches of 80 that makes 125 batches of 79
# or 80, where PyTorch would keep a last one of 70, which is harmless. So this trap did not harm the paper; it waits
# for small data.

# %% [markdown]
# ## Try it
#
# All training curves of our study on stick figures, from the committed records. Choose models, a protocol and a
# measure. Before you move anything, guess: which protocol makes the curves of the models look most alike?

# %%
widgets.record_dashboard(records)

# %%
widgets.record_dashboard_figure(records)

# %% [markdown]
# *What you see:* a line is the mean over seeds, the band their spread. Now look at the test loss instead of the test
# top-1: in which epoch is it lowest, and what does the accuracy do after that?

# %% [markdown]
# ## Check
#
# Everything a paper's table needs from a training, computed once more from the predictions that `fit` keeps.

# %%
table = history.predictions  # one row a test clip, after the last epoch
assert np.isclose(evaluation.top1(table), (table["label"] == table["predicted"]).mean())
assert np.isclose(evaluation.top1(table), history.table["test_top1"].iloc[-1])
assert np.isclose(evaluation.nll(table), history.table["test_loss"].iloc[-1], rtol=1e-5)
low, high = inference.interval(table)
print(f"top-1 {100 * evaluation.top1(table):.0f} %")
print(f"95 % interval over source videos: {100 * low:.0f} to {100 * high:.0f} %")

# %% [markdown]
# ## Common mistakes
#
# - **`model.eval()` once, `model.train()` never again.** After the first evaluation the network goes on in
#   evaluation mode. Set the mode at the start of every epoch, as the loop does.
# - **`loss` instead of `loss.item()` in a list.** It keeps the whole graph of every batch alive, until memory is
#   full.
# - **The mean of batch means.** With a smaller last batch it is not the mean over clips. Weight by the batch's size.

# %% [markdown]
# ## Exercises
#
# Six, from a loss by hand to a drifting mean, one of them with the dashboard:
# [exercises](exercises/release/09_training/09_training.ipynb), and
# [solutions](exercises/source/09_training/09_training.ipynb) for afterwards.

# %% [markdown]
# ## Summary
#
# - The paper's loop is fifteen lines: order, batch, loss, three lines of optimizer, evaluation. Ours by hand and
#   `training.fit` give the same history.
# - Cross-entropy starts at $\ln K$, and $e^{-L}$ is the mean probability of the true class. Top-1 only counts.
# - Four traps raise no error. Check that frozen means frozen (statistics too), sort before you split, choose on a
#   validation part, and keep batches equal where there is BatchNorm.
#
# **Where we differ from the paper:** a validation part, by source video; several seeds; equal batches; a CNN in
# evaluation mode. We show the paper's choice, the best test epoch, beside ours in every table.
#
# Next: [Chapter 10](10_results.ipynb) reads the results of the full trainings, the paper's and ours.

# %%
print(classroom.versions())
