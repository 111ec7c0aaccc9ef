# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 6 The gates of an LSTM
#
# Paper: section 3.4, Eqs. 12-17 | 45 minutes to read and play, a minute to run | downloads: none
#
# **After this chapter you can**
#
# - write an LSTM cell as six lines, one per equation, and give the shape of every symbol;
# - read a picture of gates over time: what is kept, what is taken in, what is shown;
# - derive how the gradient travels back through time, and what decides how far.
#
# [Chapter 4](04_deep_temporal_features.ipynb) turns a video into the vectors that we feed in here. Terms:
# [glossary](glossary.md).
#
# **The question.** How does a cell remember and forget?
#
# **Guess first.** An untrained network reads 60 frames. How many times weaker does its last output feel a small change
# of the *first* frame than one of the last? Write down a power of ten.
#
# - plain recurrent network (RNN): ______
# - LSTM with half-open forget gates: ______
# - LSTM with its forget gates pushed open: ______
#
# <details><summary>Answer</summary>
#
# More than $10^{17}$ times, some $10^{13}$ times, and less than twice (step 6).
#
# </details>

# %%
import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Ellipse, FancyBboxPatch, Rectangle
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.testing import assert_close

from ctxlstm import classroom, figures, gates, models, training, ucf101, video, widgets

plt.rcParams.update(figures.style())
torch.manual_seed(0)
torch.set_printoptions(precision=3, sci_mode=False)
COLOURS, GREY = figures.GATE_COLOURS, figures.GREY
NAMES = {"f": "forget gate f", "i": "input gate i", "g": "candidate g",
         "o": "output gate o", "c": "cell state c", "h": "hidden state h"}

# %% [markdown]
# ## What the paper says
#
# Section 3.4 calls the LSTM an RNN with three gates, which solve vanishing and exploding gradients on long sequences
# ([Hochreiter and Schmidhuber 1997](references.md#hochreiter-1997)), and gives six equations:
#
# $$f_t = \sigma(W_f \cdot [h_{t-1}, x_t] + b_f) \quad (12) \qquad\quad i_t = \sigma(W_i \cdot [h_{t-1}, x_t] + b_i) \quad (13)$$
#
# $$g_t = \tanh(W_g \cdot [h_{t-1}, x_t] + b_g) \quad (14) \qquad\quad c_t = f_t * c_{t-1} + i_t * g_t \quad (15)$$
#
# $$o_t = \sigma(W_o \cdot [h_{t-1}, x_t] + b_o) \quad (16) \qquad\quad h_t = o_t * \tanh(c_t) \quad (17)$$
#
# The symbols are this book's, and a misprint in Eq. 15 is repaired (step 7). The star multiplies element by element.
#
# | symbol | name | shape | in the paper |
# |---|---|---|---|
# | $x_t$ | input: the features of frame $t$ | (B, D) | $x_t$, "the input" |
# | $h_t$ | hidden state, which is also the output | (B, H) | $h_t$ |
# | $c_t$ | cell state, the long memory | (B, H) | $C_t$ |
# | $f_t$ | forget gate: how much of the old cell state stays | (B, H), 0 to 1 | $f_t$ |
# | $i_t$ | input gate: how much of the candidate enters | (B, H), 0 to 1 | $i_t$ |
# | $g_t$ | candidate: what could enter | (B, H), -1 to 1 | $\tilde{C}_t$ |
# | $o_t$ | output gate: how much of the cell state is shown | (B, H), 0 to 1 | $o_t$ |
# | $[h_{t-1}, x_t]$ | both, side by side | (B, H + D) | the same |
# | $W_f, W_i, W_g, W_o$ | weights | (H, H + D) each | $W_f, W_i, W_C, W_o$ |
# | $b_f, b_i, b_g, b_o$ | biases | (H,) each | $b_f, b_i, b_C, b_o$ |
#
# B clips, T frames (counted from 0, so $T - 1$ is the last), D features, H hidden units.
#
# > **Not stated in the paper.**
# >
# > - *Where $h$ and $c$ start.* We take zeros, as PyTorch does.
# > - *How weights and biases start.* As in PyTorch: uniform between $-1/\sqrt{H}$ and $1/\sqrt{H}$. A larger bias of the
# >   forget gate is common ([Jozefowicz et al. 2015](references.md#jozefowicz-2015)); step 6 tests it.
# > - *How many biases there are.* The paper writes one per gate. PyTorch adds two; only their sum matters.
#
# ## The cell in one picture

# %% tags=["hide-input"]
# what is drawn: boxes, nodes, wires and labels
PARTS = [("f", "σ", "forget\nEq. 12"), ("i", "σ", "input\nEq. 13"),
         ("g", "tanh", "candidate\nEq. 14"), ("o", "σ", "output\nEq. 16")]
NODES = [(2.3, 4.3, "×"), (5.1, 4.3, "+"), (5.1, 3.4, "×"), (7.7, 2.52, "×"),
         (7.7, 3.43, "tanh", 0.95)]
WIRES = [("c", (0.2, 4.3), (9.9, 4.3)), ("f", (2.3, 2.4), (2.3, 4.03)),
         ("i", (3.7, 2.4), (3.7, 3.4), (4.83, 3.4)), ("g", (5.1, 2.4), (5.1, 3.13)),
         ("c", (5.1, 3.67), (5.1, 4.03)), ("o", (6.5, 2.4), (6.5, 2.52), (7.43, 2.52)),
         ("c", (7.7, 4.3), (7.7, 3.7)), ("c", (7.7, 3.16), (7.7, 2.79)),
         ("h", (7.7, 2.25), (7.7, 1), (9.9, 1))]
LABELS = [(-0.3, 4.3, "$c_{t-1}$", "c"), (10.25, 4.3, "$c_t$", "c"),
          (-0.3, 1, "$h_{t-1}$", "h"), (10.25, 1, "$h_t$", "h"),
          (8.55, 5.65, "$h_t$", "h"), (1.6, -0.35, "$x_t$", "x")]
ROUND = "round,pad=0,rounding_size=0.15"
HEAD = {"arrowstyle": "-|>,head_width=0.4,head_length=0.7", "linewidth": 0,
        "shrinkA": 0, "shrinkB": 0}


# %% tags=["hide-input"]
def wire(axes, colour, *points, arrow=True):
    axes.plot(*zip(*points, strict=True), color=colour, linewidth=2.6,
              solid_joinstyle="round", zorder=1)
    if arrow:
        axes.annotate("", points[-1], points[-2], arrowprops=HEAD | {"color": colour})


def box(axes, x, gate, function, name):
    wire(axes, GREY, (x, 1), (x, 1.8))
    look = {"color": COLOURS[gate], "zorder": 3}
    axes.add_patch(FancyBboxPatch((x - 0.5, 1.8), 1, 0.6, ROUND, **look))
    axes.text(x, 2.1, function, color="white", weight="bold", size=15,
              ha="center", va="center", zorder=4)
    axes.text(x + 0.13, 1.37, name, color=GREY, size=9.5, va="center")
    axes.text(x - 0.12, 2.68, f"${gate}_t$", color=COLOURS[gate], size=18,
              ha="right", va="center")


def node(axes, x, y, text, width=0.54):
    look = {"facecolor": "white", "edgecolor": "#222222", "lw": 1.8, "zorder": 3}
    axes.add_patch(Ellipse((x, y), width, 0.54, **look))
    axes.text(x, y - 0.02, text, size=14, ha="center", va="center", zorder=4)


# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(10, 5.6), layout="constrained")
look = {"facecolor": "#F6F6F3", "edgecolor": "#CCCCCC"}
axes.add_patch(FancyBboxPatch((1, 0.45), 8.1, 4.5, ROUND, **look))
wire(axes, COLOURS["h"], (0.2, 1), (1.6, 1), arrow=False)
wire(axes, GREY, (1.6, 0), (1.6, 1), (6.5, 1), arrow=False)
for name, *points in WIRES:
    wire(axes, COLOURS[name], *points)
# a gap where h crosses c
axes.plot([8.43, 8.67], [4.3, 4.3], color="#F6F6F3", linewidth=9, zorder=1)
wire(axes, COLOURS["h"], (8.55, 1), (8.55, 5.35))
for n, part in enumerate(PARTS):
    box(axes, 2.3 + 1.4 * n, *part)
for place in NODES:
    node(axes, *place)
for x, y, text, name in LABELS:
    colour = COLOURS.get(name, GREY)
    axes.text(x, y, text, color=colour, size=19, ha="center", va="center")
axes.text(5.45, 4.5, "Eq. 15", color=GREY, size=9.5)
axes.text(7.8, 1.95, "Eq. 17", color=GREY, size=9.5)
axes.set(xlim=(-0.8, 10.7), ylim=(-0.6, 5.9), aspect="equal")
axes.axis("off")
plt.show()

# %% [markdown]
# *What you see:* the memory $c$ runs along the top; it is multiplied by the forget gate and added to, nothing else.
# The old output $h_{t-1}$ and the new frame $x_t$ join below and feed the gates and the candidate. The output gate
# lets a part of the memory out as $h_t$, this frame's output.
#
# ## Step 1: a gate is a dimmer
#
# A gate is a number between 0 (shut) and 1 (open) that something is multiplied by. It comes from a **sigmoid**,
# $\sigma(z) = 1/(1 + e^{-z})$: smooth, because a network learns through slopes. A memory may be negative, so the
# candidate comes from a **tanh**.

# %% tags=["hide-input"]
z = torch.linspace(-6, 6, 200)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
left.plot(z, torch.sigmoid(z), color="#222222")
marked = torch.tensor([0.0, 1.0, 3.0])
left.plot(marked, torch.sigmoid(marked), "o", color="#222222", markersize=7)
for at, value in zip(marked, torch.sigmoid(marked), strict=True):
    text = f"σ({at:.0f}) = {value:.2f}"
    left.annotate(text, (at, value), (12, -13), textcoords="offset points")
left.set(title="Sigmoid: the gates f, i and o", ylabel="opening", ylim=(-0.05, 1.1))
left.set_yticks([0, 0.5, 1], ["0 (shut)", "0.5", "1 (open)"])
right.plot(z, torch.tanh(z), color=COLOURS["g"])
right.set(title="Tanh: the candidate g", ylabel="value", yticks=(-1, 0, 1))
for axes in (left, right):
    axes.set_xlabel("z = W · [h, x] + b")
plt.show()

# %% [markdown]
# *What you see:* at $z = 0$ a gate is half open, at $z = 3$ almost fully, but never quite.
#
# ## Step 2: six equations, six lines
#
# Three clips, five features, four units: each unit of each clip has its own gates. Then one unit by hand, with an old
# memory of 0.5.


# %%
def cell(x, h, c, W, b):
    """One step. x (B, D); h and c (B, H); W["f"], ... (H, H + D); b["f"], ... (H,)."""
    hx = torch.cat([h, x], dim=1)  #              (B, H + D)  [h_{t-1}, x_t]
    f = torch.sigmoid(hx @ W["f"].T + b["f"])  #  (B, H)  Eq. 12
    i = torch.sigmoid(hx @ W["i"].T + b["i"])  #  (B, H)  Eq. 13
    g = torch.tanh(hx @ W["g"].T + b["g"])  #     (B, H)  Eq. 14
    c = f * c + i * g  #                          (B, H)  Eq. 15
    o = torch.sigmoid(hx @ W["o"].T + b["o"])  #  (B, H)  Eq. 16
    h = o * torch.tanh(c)  #                      (B, H)  Eq. 17
    return dict(f=f, i=i, g=g, o=o, c=c, h=h)


B, D, H = 3, 5, 4
W = {gate: torch.randn(H, H + D) for gate in "figo"}
b = {gate: torch.zeros(H) for gate in "figo"}
new = cell(torch.randn(B, D), torch.zeros(B, H), torch.zeros(B, H), W, b)
for name, value in new.items():
    print(f"{NAMES[name]:15s} {tuple(value.shape)}  clip 0, unit 0: {value[0, 0]:+.2f}")
    assert value.shape == (B, H)
cases = {"keep": (1.0, 0.0, 0.3), "replace": (0.0, 1.0, -0.8),
         "a bit of both": (0.9, 0.1, 1.0)}
for case, (f, i, g) in cases.items():
    print(f"{case:14s} c = f*c + i*g = {f}*0.5 + {i}*{g} = {f * 0.5 + i * g:.2f}")

# %% [markdown]
# ## Step 3: along time
#
# A layer is a loop: the same weights at every frame, and two states handed on.


# %%
def layer(x, W, b):
    """All frames of x (B, T, D), from zero states: f, i, g, o, c, h, each (B, T, H)."""
    h = c = x.new_zeros(len(x), len(b["f"]))  # (B, H)
    steps = []
    for x_t in x.unbind(dim=1):  # T times (B, D)
        steps.append(cell(x_t, h, c, W, b))
        h, c = steps[-1]["h"], steps[-1]["c"]
    return {name: torch.stack([s[name] for s in steps], dim=1) for name in steps[0]}


walked = layer(torch.randn(B, 7, D), W, b)  # B = 3 clips of T = 7 frames
assert all(value.shape == (B, 7, H) for value in walked.values())

# %% [markdown]
# ## Step 4: the same numbers as PyTorch
#
# `torch.nn.LSTM` packs the same weights differently:
#
# - one matrix for $x$, `weight_ih` (4H, D), and one for $h$, `weight_hh` (4H, H), instead of one for $[h, x]$;
# - $i$, $f$, $g$, $o$ stacked, in the order **i, f, g, o** (not the paper's);
# - two biases, `bias_ih` and `bias_hh`, that are added. In all, $4H(D + H + 2)$ numbers
#   ([Chapter 7](07_context_lstm.ipynb) counts with them).


# %%
def paper_weights(lstm, order=("i", "f", "g", "o")):
    """PyTorch's weights as the paper's: W["f"], ... (H, H + D) and b["f"], ... (H,)."""
    stacked = torch.cat([lstm.weight_hh_l0, lstm.weight_ih_l0], dim=1)  # (4H, H + D)
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0  # (4H,)
    W = dict(zip(order, stacked.chunk(4), strict=True))  # (H, H + D) each
    b = dict(zip(order, bias.chunk(4), strict=True))  # (H,) each
    return W, b


lstm = nn.LSTM(D, H, batch_first=True).double()
x = torch.randn(B, 7, D, dtype=torch.float64)  # (B, T, D)
expected, (h_n, c_n) = lstm(x)  # (B, T, H), (1, B, H), (1, B, H)
found = layer(x, *paper_weights(lstm))
assert_close(found["h"], expected, atol=1e-9, rtol=0)
assert_close(found["c"][:, -1], c_n[0], atol=1e-9, rtol=0)
difference = (found["h"] - expected).abs().max()
print(f"our layer and torch.nn.LSTM: largest difference {difference:.1e}")
one = nn.LSTMCell(D, H).double()
one.load_state_dict({k.removesuffix("_l0"): v for k, v in lstm.state_dict().items()})
for name, theirs in zip("hc", one(x[:, 0]), strict=True):  # from zero states
    assert_close(found[name][:, 0], theirs, atol=1e-9, rtol=0)
wrong = layer(x, *paper_weights(lstm, order=("f", "i", "g", "o")))
difference = (wrong["h"] - expected).abs().max()
print(f"rows read as f, i, g, o: difference {difference:.3f}, no error message")

# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(8, 4.2))
w_ih, w_hh, *_ = lstm.parameters()  # in PyTorch's order
matrix = torch.cat([w_hh, w_ih], dim=1).detach()  # (4H, H + D)
picture = axes.imshow(matrix, cmap="RdBu_r", vmin=-0.5, vmax=0.5, aspect="auto")
figure.colorbar(picture, label="weight")
for row, gate in enumerate("ifgo"):
    edge = (-0.46, row * H - 0.44), H + D - 0.08, H - 0.12
    axes.add_patch(Rectangle(*edge, fill=False, edgecolor=COLOURS[gate], linewidth=3))
axes.axvline(H - 0.5, color="black", linewidth=2)
bands = [f"{NAMES[gate]}\n({H} rows)" for gate in "ifgo"]
axes.set_yticks([row * H + 1.5 for row in range(4)], bands)
sides = ["from h: weight_hh\n(H = 4 columns)", "from x: weight_ih\n(D = 5 columns)"]
axes.set_xticks([1.5, 6], sides)
axes.set_title("All weights of one layer: 4H rows, H + D columns")
axes.grid(False)
plt.show()

# %% [markdown]
# *What you see:* four bands of H rows: i, f, g, o. Only their place tells them apart, so a wrong order gives wrong
# numbers without an error.
#
# ## Step 5: the gates at work on a video
#
# We train one layer of 32 units on generated clips, eight movements of a stick figure
# ([Chapter 9](09_training.ipynb) explains the training). Test clips come from other source videos than training clips
# ([Chapter 3](03_ucf101.ipynb) says why).

# %%
features = classroom.features()  # x (N, T, D) = (288, 12, 1280)
split = ucf101.split(features.clips, "grouped", seed=0)
torch.manual_seed(0)
model = models.build("cnn_lstm", **classroom.SMALL | {"num_layers": 1})
config = training.Config(epochs=25, batch_size=24, validation=0, cpu=True)
history = training.fit(model, features, split, config)
top1 = 100 * history.table["test_top1"].iloc[-1]
print(f"test top-1 after 25 epochs: {top1:.0f} % (guessing: 12.5 %)")

model.eval().requires_grad_(False)
clips = features.clips.iloc[split.test].reset_index(drop=True)
embedded = model.embedding(features.x[split.test].float())  # (N_test, T, 64)
weights = paper_weights(model.block)
every = layer(embedded, *weights)  # f, i, g, o, c, h, each (N_test, T, 32)
assert_close(every["h"], model.block(embedded)[0], atol=1e-5, rtol=1e-4)
for name in "fio":
    mean = every[name].mean()
    print(f"{NAMES[name]:14s} mean over clips, frames and units: {mean:.2f}")

# %%
row = int(clips.index[clips["label"] == "SitDown"][0])
shown = {name: value[row] for name, value in every.items()}  # (T, H) each
T, H = shown["h"].shape
name = clips["name"][row]
path = classroom.clips().set_index("name").loc[name, "path"]
film = video.read_frames(path, classroom.FRAMES, "uniform").images
figures.film_strip([film], [name], frames=12)

# %% tags=["hide-input"]
figure, panels = plt.subplots(2, 3, figsize=(11, 6), sharex=True, sharey=True,
                              layout="constrained")
for axes, (name, value) in zip(panels.flat, shown.items(), strict=True):
    if name in "fio":
        look = {"cmap": "viridis", "vmin": 0, "vmax": 1}
    else:
        most = max(1, value.abs().max())
        look = {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    picture = axes.imshow(value.T, aspect="auto", **look)  # (H, T)
    axes.set_title(NAMES[name], color=COLOURS[name])
    axes.set_xticks(range(0, T, 2))
    axes.grid(False)
    figure.colorbar(picture, ax=axes)
figure.supxlabel("frame t")
figure.supylabel("unit")
plt.show()

# %% [markdown]
# *What you see:* a row is a unit, a column one of the 12 frames above. Most gates are open: with $f$ and $i$ near 1,
# Eq. 15 is a running sum, and the cell state grows beyond 1. A few rows of the forget gate turn dark or bright: there
# a unit forgets at one moment and remembers at another.
#
# SitDown and StandUp show the same poses in opposite order. We look for a unit whose last cell state tells them apart
# *and* whose forget gate moves.

# %% tags=["hide-input"]
last = every["c"][:, -1]  # (N_test, H)
down = last[(clips["label"] == "SitDown").to_numpy()]  # (N, H)
up = last[(clips["label"] == "StandUp").to_numpy()]  # (N, H)
distance = (down.mean(0) - up.mean(0)).abs() / (down.std(0) + up.std(0))  # (H,)
moves = (every["f"].amax(1) - every["f"].amin(1)).mean(0)  # (H,)
unit = int((distance * moves).argmax())
print(f"unit {unit}: its forget gate moves by {moves[unit]:.2f} per clip "
      f"(mean over all units: {moves.mean():.2f})")

figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 5.4), sharex=True,
                                     layout="constrained")
styles = {"f": "-", "i": "--", "o": ":", "g": "-", "c": "-", "h": "--"}
halves = (top, "fio", "gates"), (bottom, "gch", "candidate and states")
for axes, names, title in halves:
    for name in names:
        axes.plot(shown[name][:, unit], styles[name], color=COLOURS[name],
                  marker=".", label=NAMES[name])
    axes.set(title=f"Unit {unit}: {title}", ylabel="value")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
top.set_ylim(-0.03, 1.03)
bottom.set_xlabel("frame t")
plt.show()

# %% [markdown]
# *What you see:* the new black value is the old one times orange (the forget gate), plus green times yellow. While the
# forget gate is low, the cell state stays close to the candidate. Once it is high, the frames pile up, and black runs
# away from yellow.

# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(9, 3.8))
for label, style, colour in (("SitDown", "-", "#0072B2"), ("StandUp", "--", "#D55E00")):
    lines = every["c"][(clips["label"] == label).to_numpy(), :, unit]  # (N, T)
    axes.plot(lines.T, style, color=colour, alpha=0.35, linewidth=1)
    name = f"{label}, mean of {len(lines)} test clips"
    axes.plot(lines.mean(0), style, color=colour, linewidth=3, label=name)
axes.set_title(f"The same poses in opposite order: cell state of unit {unit}")
axes.set(xlabel="frame t", ylabel="c")
axes.legend()
plt.show()

# %% [markdown]
# *What you see:* the two bundles end mostly in different places although the poses are the same: what the cell keeps of a frame
# depends on the forget gates of all *later* frames.
#
# ## Step 6: the gradient's way back
#
# A network learns about frame $t$ only through the gradient that gets back to it. The product rule on Eq. 15 says what a
# small change of the states becomes in one step:
#
# $$
# \mathrm{d}c_s = \underbrace{f_s * \mathrm{d}c_{s-1}}_{\text{direct}} +
# \underbrace{A_s\,\mathrm{d}h_{s-1}}_{\text{through } h}
# $$
#
# $$
# A_s = \operatorname{diag}\big(c_{s-1} * f_s * (1 - f_s)\big)\,U_f +
# \operatorname{diag}\big(g_s * i_s * (1 - i_s)\big)\,U_i + \operatorname{diag}\big(i_s * (1 - g_s^2)\big)\,U_g
# $$
#
# where $U_f$ (H, H) is the part of $W_f$ that reads $h$. The gates see the old memory only through $h_{s-1}$, so the
# second term holds all that is not direct. Leave it out, and the steps multiply:
#
# $$
# \left.\frac{\partial c_{T-1}}{\partial c_t}\right|_{\text{direct}} =
# \operatorname{diag}\big(f_{T-1} * f_{T-2} * \dots * f_{t+1}\big)
# $$
#
# The direct way contains only forget gates, no weight matrix and no slope of a squashing function. A plain RNN,
# $h_s = \tanh(W_x x_s + W_h h_{s-1} + b)$, has no such way: each step multiplies by $W_h$ and slopes of at most 1.
#
# To check it, cut the way through $h$ with two lines. `h.detach()` has the values of `h`, but autograd takes them for
# constants: no gradient goes back through them.


# %%
def slopes(x, W, b, cut):
    """d(sum of the last c) / d(c_t) for all t, and the forget gates: (T, B, H) each."""
    h = c = x.new_zeros(len(x), len(b["f"])).requires_grad_()  # (B, H)
    cells, forget = [], []
    for x_t in x.unbind(dim=1):
        if cut:
            h = h.detach()
        step = cell(x_t, h, c, W, b)
        h, c = step["h"], step["c"]
        cells.append(c)
        forget.append(step["f"].detach())
    return torch.stack(torch.autograd.grad(c.sum(), cells)), torch.stack(forget)


fresh = paper_weights(nn.LSTM(64, 32).requires_grad_(False))
print("|d sum(c_11) / d c_t|, mean over test clips and units")
for name, (W, b) in {"trained": weights, "untrained": fresh}.items():
    whole, _ = slopes(embedded, W, b, cut=False)
    direct, forget = slopes(embedded, W, b, cut=True)
    product = forget[1:].flip(0).cumprod(0).flip(0)  # f_{T-1} * ... * f_{t+1}, t < T-1
    assert_close(direct[:-1], product)
    for way, value in (("all ways", whole), ("h detached", direct)):
        means = value.abs().mean(dim=(1, 2))  # (T,)
        sizes = "  ".join(f"t={t}: {means[t]:.4f}" for t in (0, 4, 8, 10, 11))
        print(f"{name:10s} {way:11s} {sizes}")

# %% [markdown]
# *What you see:* with $h$ detached, the gradient *is* the product of the forget gates (the assert). In the trained
# network about 0.4 of it reaches frame 0 directly, and 0.65 with the way through $h$; in the untrained one about 0.05
# either way.
#
# So the forget gates decide how far back a network can learn. On inputs of size about 1, an untrained one has
# $f \approx \sigma(b_f)$, with $b_f$ near 0 in PyTorch. We try other values.


# %%
def with_forget_bias(lstm, bias):
    """Set the forget gates' bias to `bias`; PyTorch's rows H..2H belong to f."""
    H = lstm.hidden_size
    with torch.no_grad():
        lstm.bias_ih_l0[H : 2 * H], lstm.bias_hh_l0[H : 2 * H] = bias, 0.0
    return lstm


def reach(make, networks=5, T=60, D=16):
    """Typical size of the last output's gradient with respect to each frame, (T,)."""
    sizes = []
    for seed in range(networks):
        torch.manual_seed(seed)
        net = make().double()
        x = torch.randn(8, T, D, dtype=torch.float64, requires_grad=True)  # (B, T, D)
        last = net(x)[0][:, -1]  # (B, H)
        mix = torch.randn_like(last)  # a random direction, so that all units count
        (gradient,) = torch.autograd.grad((mix * last).sum(), x)  # (B, T, D)
        sizes.append(gradient.norm(dim=2).mean(0).log())  # (T,)
    return torch.stack(sizes).mean(0).exp()  # (T,), the geometric mean over networks


# %%
def maker(D, H, bias=None):
    """A function that makes an LSTM with this forget bias, or with None a plain RNN."""
    if bias is None:
        return lambda: nn.RNN(D, H, batch_first=True)
    return lambda: with_forget_bias(nn.LSTM(D, H, batch_first=True), bias)


BIASES = {"plain RNN": None} | {f"LSTM, forget bias {n}": n for n in (0, 1, 3)}
reaches = {name: reach(maker(16, 32, bias)) for name, bias in BIASES.items()}
print("effect of frame 0 / frame 59; factor per step (in the middle); σ(bias)")
for name, size in reaches.items():
    bias, factor = BIASES[name], (size[20] / size[50]) ** (1 / 30)
    gate = "" if bias is None else f"{torch.tensor(float(bias)).sigmoid():.2f}"
    print(f"{name:22s} {size[0] / size[-1]:.0e}    {factor:.2f}    {gate}")
plain, _, one, three = (size[0] for size in reaches.values())
assert plain < one < three
looks = ("#222222", ":"), ("#D55E00", ":"), ("#D55E00", "--"), ("#D55E00", "-")
LINES = dict(zip(BIASES, looks, strict=True))
figure, axes = plt.subplots(figsize=(9, 4.4))
for name, size in reaches.items():
    axes.semilogy(size, LINES[name][1], color=LINES[name][0], label=name)
axes.set_title("How strongly the last output feels frame t")
axes.set(xlabel="frame t (the output is read at t = 59)", ylabel="norm of the gradient")
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# *What you see:* a straight line on this logarithmic axis is a constant factor per step. The plain RNN loses about half
# at every step, the LSTM with bias 0 a little less, and nothing usable arrives. With bias 3 the line is flat. The
# factors follow $\sigma(b_f)$ and lie above it, because the way through $h$ adds its part. **What keeps the gradient
# alive is not the LSTM as such but a forget gate near 1** (a gate added by
# [Gers et al. 2000](references.md#gers-2000)), which PyTorch's LSTM has to learn.
#
# Does it matter for learning? Frame 0 is +1 or -1, then come 39 frames of noise. At the end, say which it was.


# %%
def recall(make, T=40, steps=200):
    """Share of right answers per training step, recalling frame 0 of T: (steps,)."""
    torch.manual_seed(0)
    net, readout, right = make(), nn.Linear(16, 1), []
    optimizer = torch.optim.Adam([*net.parameters(), *readout.parameters()], lr=1e-2)
    for _ in range(steps):
        x = torch.randn(64, T, 1)  # (B, T, D)
        x[:, 0] = x[:, 0].sign()
        answer = x[:, 0] > 0  # (B, 1)
        logit = readout(net(x)[0][:, -1])  # (B, 1)
        loss = binary_cross_entropy_with_logits(logit, answer.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right.append(((logit > 0) == answer).float().mean())
    return torch.stack(right)  # (steps,)


# %% tags=["hide-input"]
figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
for name, bias in BIASES.items():
    right = recall(maker(1, 16, bias))  # (200,)
    blocks = 100 * right.view(-1, 20).mean(1)  # (10,), means over 20 steps
    colour, line = LINES[name]
    axes.plot(range(20, 201, 20), blocks, line, color=colour, marker="o", label=name)
axes.axhline(50, color=GREY, linewidth=1)
axes.set_title("Recall the first of 40 frames")
axes.set(xlabel="training step", ylabel="right answers (%)", ylim=(40, 102))
axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
plt.show()

# %% [markdown]
# *What you see:* only the LSTM whose forget gates start open learns it in 200 steps (82 to 94 % from step 80 on). The
# others stay at chance (50 %).
#
# The paper says that gates solve gradient disappearance *and* explosion. Test the second with larger recurrent weights.


# %%
def enlarged(make, factor):
    net = make()
    net.weight_hh_l0.data *= factor
    return net


for kind, make in (("plain RNN", maker(16, 32)), ("LSTM", maker(16, 32, 0))):
    for factor in (1, 5, 8):
        size = reach(lambda make=make, factor=factor: enlarged(make, factor))
        share = size[0] / size[-1]
        print(f"{kind:10s} recurrent weights x {factor}: "
              f"effect of frame 0 / frame 59 = {share:.0e}")

# %% [markdown]
# *What you see:* above 1, gradients explode. The LSTM needs larger weights for that, but it gets there: gates bound the
# direct way, not the way through $h$. "Eases" would be safer than "solves". In practice one clips gradients
# ([Pascanu et al. 2013](references.md#pascanu-2013)); whether the paper did is not stated.
#
# ## Step 7: Eq. 15 as it is printed
#
# The paper prints $C_t = f_t * C_{t-1} + i_t * C_t$. The tilde over the last $C$ is lost, and the candidate of Eq. 14 is
# used nowhere. Read as an **assignment**, as in code, this is $(f_t + i_t) * c_{t-1}$; solved as an **equation**,
# $f_t * c_{t-1} / (1 - i_t)$. We run both and look at the gradients of the weights.

# %%
for reading in ("assignment", "equation"):
    W, b = ({gate: part.double() for gate, part in parts.items()} for parts in weights)
    leaves = [weight.requires_grad_() for weight in W.values()]
    h = c = torch.zeros(len(embedded), H, dtype=torch.float64)  # (B, H)
    for x_t in embedded.double().unbind(dim=1):
        step = cell(x_t, h, c, W, b)
        f, i = step["f"], step["i"]
        # Eq. 15 as printed
        c = (f + i) * c if reading == "assignment" else f * c / (1 - i)
        h = step["o"] * torch.tanh(c)  # Eq. 17
    assert c.abs().max() == 0
    slope = torch.autograd.grad(h.sum(), leaves, allow_unused=True)
    norms = (None if s is None else float(s.norm()) for s in slope)
    norms = dict(zip(W, norms, strict=True))
    print(f"{reading:10s} largest |c|: {c.abs().max():.0f}, gradients: {norms}")

# %% [markdown]
# Memory that starts at zero stays there. $W_g$ has no gradient (None), the others get zero: nothing could be learnt.
# The paper reports over 90 % and uses PyTorch's blocks, so this is a slip in print, not in what was run.
#
# <details><summary>More on Eq. 15, and other slips in Eqs. 12-17</summary>
#
# From a start of 1, the printed memory grows without limit where $f + i > 1$; with the tilde, by at most 1 per frame.
#
# | place | printed | meant | would it change the network? |
# |---|---|---|---|
# | Eq. 15 | second term ends in $C_t$ | $\tilde{C}_t$ | yes, see above |
# | Eq. 16 | $W_o[h_{t-1}, x_t]$, no dot | $W_o \cdot [h_{t-1}, x_t]$ | no, it is clear from Eqs. 12-14 |
# | text below | the cell's bias is called $b_i$ | $b_C$ | only if someone shared one bias between Eqs. 13 and 14 |
# | text below | $n_t$ for the output gate | $o_t$ | no |
# | text below | $C_{t-1}$ "at time t" | at time $t-1$ | no |
# | text below | $h_t$ as "the function of the output gate" | the output; the gate is $o_t$ (repeated in our copy) | no |
# | numbering | starts at 12; section 4.3 points to 3.5 and 3.6 | 3.4 and 3.5 | no |
#
# </details>
#
# ## Try it
#
# **One unit.** Its weights are fixed; the sliders move its input, its old states and its biases. Predict: with the old
# cell state at 0.5, which *two* biases keep it there, whatever x is? Can the new h be near 0 while the new c is large?
#
# <details><summary>Answer</summary>
#
# $b_f$ far up and $b_i$ far down: all of the old memory stays and nothing enters. Yes: $b_o$ far down shuts the output
# gate.
#
# </details>

# %%
widgets.gate_explorer()

# %%
widgets.gate_explorer_figure()

# %% [markdown]
# *What you see:* on the left f, i, g and o, each with its z; on the right Eq. 15 as a sum of two bars, and h.
#
# **A sequence.** Step through the clip of step 5. **Question.** At which frame does this unit's cell state make its
# largest jump, and which gate made it possible?
#
# <details><summary>Answer</summary>
#
# At frame 3 in the run printed here; frame 4 comes close. The candidate turns negative, and the open input gate lets it in.
#
# </details>

# %%
widgets.sequence_stepper(embedded[row], model.block, unit=unit)

# %%
widgets.sequence_stepper_figure(embedded[row], model.block, t=T - 1, unit=unit)

# %% [markdown]
# ## Check
#
# `ctxlstm.gates` holds the same six lines for the rest of the book. Its cell must equal ours, and three of its layers in
# both directions (the paper's block) must equal PyTorch's.

# %%
torch.manual_seed(1)
one = nn.LSTM(10, 6, batch_first=True).double()
# (B, D), (B, H), (B, H)
x, h, c = (torch.randn(4, size, dtype=torch.float64) for size in (10, 6, 6))
ours = cell(x, h, c, *paper_weights(one))
step = gates.lstm_step(x, h, c, *one.parameters())  # w_ih, w_hh, b_ih, b_hh
for name in "figoch":
    assert_close(ours[name], getattr(step, name), atol=1e-9, rtol=0)

theirs = nn.LSTM(10, 6, num_layers=3, bidirectional=True, batch_first=True).double()
ours = gates.LSTM(10, 6, num_layers=3, bidirectional=True).double()
ours.load_state_dict(theirs.state_dict())
x = torch.randn(4, 9, 10, dtype=torch.float64)  # (B, T, D)
results = []
for lstm in (ours, theirs):
    frames = x.clone().requires_grad_()
    output, (h_n, c_n) = lstm(frames)  # (B, T, 2H), (6, B, H), (6, B, H)
    output.square().sum().backward()
    results.append([output, h_n, c_n, frames.grad, lstm.weight_hh_l0.grad])
for mine, other in zip(*results, strict=True):
    assert_close(mine, other, atol=1e-9, rtol=0)
print("gates.lstm_step and our cell, gates.LSTM and torch.nn.LSTM agree to 1e-9, "
      "gradients included")

# %% [markdown]
# ## Common mistakes
#
# - **The order of the gates.** PyTorch stacks i, f, g, o; other libraries differ. Compare your cell with the library.
# - **Taking c for h.** `nn.LSTM` returns the h of all frames, and both states of the last. The classifier reads h.
# - **Setting the forget-gate bias twice.** Fill `bias_ih` and `bias_hh` with 1, and the gate starts at $\sigma(2)$.
#
# ## Exercises
#
# [Six exercises](exercises/release/06_lstm_gates/06_lstm_gates.ipynb),
# [solutions](exercises/source/06_lstm_gates/06_lstm_gates.ipynb).
#
# ## Limits
#
# - Step 5 shows one training run on generated clips, and a unit picked because it shows the effect.
# - Step 6 uses small untrained networks on noise; recall is a made-up task with one seed.
# - Our clips have 12 frames, those of the public code base 28. The fewer frames, the less the forget bias matters.
#
# ## Summary
#
# - An LSTM cell is six lines; all results are (B, H), the weight matrices (H, H + D). Ours equals PyTorch's to $10^{-9}$.
# - A forget gate near 1 keeps, an open input gate lets the candidate in, the output gate decides what is shown.
# - The direct gradient of $c_{T-1}$ with respect to $c_t$ is the product of the forget gates in between. In all,
#   a forget bias of 0 leaves about 0.6 per step, a bias of 3 nearly all.
#
# **Where we differ from the paper:** in notation only; Eq. 15 has its tilde back.
#
# Next: [Chapter 7](07_context_lstm.ipynb) puts such blocks in a row and hands the states of one to the next.

# %%
import quizzes
from IPython.display import display

display(quizzes.quiz("06"))
print(classroom.versions())
