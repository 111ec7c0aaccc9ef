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
# Paper: section 3.4, Eqs. 12-17 | 40 minutes to read and play, a minute to run | downloads: none
#
# **After this chapter you can**
#
# - write an LSTM cell as six lines, one for each equation, and say the shape of every symbol in them;
# - read a picture of gates over time: what is kept, what is taken in, what is shown;
# - say what the gates do for the gradient, and which single number decides how far back a new LSTM remembers.
#
# You need PyTorch basics. [Chapter 4](04_deep_temporal_features.ipynb) explains how a video becomes the sequence of
# vectors that we feed in here, [Chapter 5](05_information_loss.ipynb) what is lost on the way.
#
# **The question.** How does an LSTM decide, unit by unit and frame by frame, what to keep, and why can it remember
# for longer than a plain recurrent network?
#
# **Guess first.** A network that nobody has trained yet reads 60 frames. You change the first frame a little, then
# the last frame a little. How many times weaker is the effect of the *first* frame on the last output? Write down a
# power of ten.
#
# - plain recurrent network: ______
# - LSTM as PyTorch makes it: ______
# - LSTM with its forget gates pushed open: ______

# %% [markdown]
# ## What the paper says
#
# Section 3.4 presents the LSTM as a recurrent network (RNN) with gates added, so that gradients neither vanish nor
# explode on long sequences. It names three gates and gives six equations:
#
# $$f_t = \sigma(W_f \cdot [h_{t-1}, x_t] + b_f) \quad (12) \qquad\quad i_t = \sigma(W_i \cdot [h_{t-1}, x_t] + b_i) \quad (13)$$
#
# $$g_t = \tanh(W_g \cdot [h_{t-1}, x_t] + b_g) \quad (14) \qquad\quad c_t = f_t * c_{t-1} + i_t * g_t \quad (15)$$
#
# $$o_t = \sigma(W_o \cdot [h_{t-1}, x_t] + b_o) \quad (16) \qquad\quad h_t = o_t * \tanh(c_t) \quad (17)$$
#
# These are the equations in this book's symbols and with a misprint in Eq. 15 repaired; at the end of the chapter
# you run it as it is printed. The star multiplies element by element. The network itself uses PyTorch's LSTM
# (section 3.4), not code of the authors' own.
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
# B clips, T frames, D features, H hidden units, in every chapter.
#
# > **Not stated in the paper.**
# >
# > - *Where $h_0$ and $c_0$ start.* We take zeros, as PyTorch does. In the cascade of
# >   [Chapter 7](07_context_lstm.ipynb) they come from the block before.
# > - *How weights and biases start.* We take PyTorch's way: uniform between $-1/\sqrt{H}$ and $1/\sqrt{H}$, with no
# >   special value for the forget gate. A forget-gate bias of 1 or more is a common alternative; step 6 tests it.
# > - *How many biases there are.* The paper writes one a gate. PyTorch adds two, $b_{ih}$ and $b_{hh}$, and only
# >   their sum matters for the values.

# %%
import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Rectangle
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.testing import assert_close

from ctxlstm import classroom, figures, gates, models, training, ucf101, video, widgets

plt.rcParams.update(figures.style())
torch.manual_seed(0)
torch.set_printoptions(precision=3, sci_mode=False)
COLOURS = figures.GATE_COLOURS
NAMES = {"f": "forget gate f", "i": "input gate i", "g": "candidate g",
         "o": "output gate o", "c": "cell state c", "h": "hidden state h"}  # fmt: skip

# %% [markdown]
# ## Step 1: a gate is a dimmer
#
# A gate is a number between 0 and 1 that something is multiplied with: 0 shuts it off, 1 lets it through. It comes
# from a **sigmoid** $\sigma(z) = 1/(1 + e^{-z})$, because that is smooth, and a network learns through slopes. What
# is remembered may be positive or negative, so the candidate comes from a **tanh**, between -1 and 1.

# %%
z = torch.linspace(-6, 6, 200)
marked = torch.tensor([0.0, 1.0, 3.0])
figure, axes = plt.subplots(figsize=(7, 3.4))
axes.plot(z, torch.sigmoid(z), color=COLOURS["f"], label="sigmoid: gates f, i, o")
axes.plot(z, torch.tanh(z), "--", color=COLOURS["g"], label="tanh: candidate g")
axes.plot(marked, torch.sigmoid(marked), "o", color=COLOURS["f"])
for at, place in zip(marked, ((0.9, -0.1), (1.6, 0.3), (3.2, 0.7)), strict=True):
    axes.annotate(f"σ({at:.0f}) = {torch.sigmoid(at):.2f}", place)
axes.set(title="The two squashing functions", xlabel="z = W · [h, x] + b", ylabel="value")
axes.legend(loc="upper left")
plt.show()

# %% [markdown]
# *What you see:* with $z = 0$ a gate is half open. With $z = 3$ it is almost fully open, but never quite: keep the
# value at 3 in mind for step 6.

# %% [markdown]
# ## Step 2: six equations, six lines
#
# All four weight matrices look at the same thing: the output of the step before and the new frame, side by side.
# After that there is one line an equation.


# %%
def cell(x, h, c, W, b):
    """One time step. x (B, D); h and c (B, H); W["f"], ... (H, H + D); b["f"], ... (H,)."""
    hx = torch.cat([h, x], dim=1)  #              (B, H + D)  [h_{t-1}, x_t]
    f = torch.sigmoid(hx @ W["f"].T + b["f"])  #  (B, H)  Eq. 12
    i = torch.sigmoid(hx @ W["i"].T + b["i"])  #  (B, H)  Eq. 13
    g = torch.tanh(hx @ W["g"].T + b["g"])  #     (B, H)  Eq. 14
    c = f * c + i * g  #                          (B, H)  Eq. 15
    o = torch.sigmoid(hx @ W["o"].T + b["o"])  #  (B, H)  Eq. 16
    h = o * torch.tanh(c)  #                      (B, H)  Eq. 17
    return dict(f=f, i=i, g=g, o=o, c=c, h=h)


# %% [markdown]
# Three clips, five features, four units, random weights. Every result has the same shape (B, H): each unit of each
# clip has its own three gates.

# %%
B, D, H = 3, 5, 4
W = {gate: torch.randn(H, H + D) for gate in "figo"}
b = {gate: torch.zeros(H) for gate in "figo"}
new = cell(torch.randn(B, D), torch.zeros(B, H), torch.zeros(B, H), W, b)
for name, value in new.items():
    print(f"{NAMES[name]:15s} {tuple(value.shape)}   clip 0: {value[0, 0]:+.2f} in its first unit")
    assert value.shape == (B, H)

# %% [markdown]
# Now one unit with numbers that you can follow by hand. The old memory is 0.5. With the forget gate open and the
# input gate shut, the memory stays. The other way round, it is replaced.

# %%
old = 0.5
cases = {"keep": (1.0, 0.0, 0.3), "replace": (0.0, 1.0, -0.8), "a bit of both": (0.9, 0.1, 1.0)}
for case, (f, i, g) in cases.items():
    print(f"{case:14s} c = f*c + i*g = {f}*{old} + {i}*{g} = {f * old + i * g:.2f}")

# %% [markdown]
# ## Step 3: along time
#
# A layer is a loop: the same weights at every frame, and two states handed from frame to frame. There is no other
# memory than $h$ and $c$.


# %%
def layer(x, W, b):
    """All frames of x (B, T, D), from zero states; gives f, i, g, o, c, h, each (B, T, H)."""
    h = c = x.new_zeros(len(x), len(b["f"]))  # (B, H)
    steps = []
    for x_t in x.unbind(dim=1):  # T times (B, D)
        steps.append(cell(x_t, h, c, W, b))
        h, c = steps[-1]["h"], steps[-1]["c"]
    return {name: torch.stack([step[name] for step in steps], dim=1) for name in steps[0]}


walked = layer(torch.randn(B, 7, D), W, b)  # B = 3 clips of T = 7 frames
print({name: tuple(value.shape) for name, value in walked.items()})
assert all(value.shape == (B, 7, H) for value in walked.values())

# %% [markdown]
# ## Step 4: the same numbers as PyTorch
#
# `torch.nn.LSTM` has the same weights, packed differently:
#
# - one matrix for $x$, `weight_ih` (4H, D), and one for $h$, `weight_hh` (4H, H), instead of one for $[h, x]$;
# - the rows of the four gates below each other, in the order **i, f, g, o** (not the paper's order);
# - two biases, `bias_ih` and `bias_hh`, that are added.


# %%
def paper_weights(lstm, order=("i", "f", "g", "o")):
    """PyTorch's stacked weights as the paper's: W["f"], ... (H, H + D) and b["f"], ... (H,)."""
    stacked = torch.cat([lstm.weight_hh_l0, lstm.weight_ih_l0], dim=1)  # (4H, H + D)
    bias = lstm.bias_ih_l0 + lstm.bias_hh_l0  # (4H,)
    W = dict(zip(order, stacked.chunk(4), strict=True))  # (H, H + D) each
    b = dict(zip(order, bias.chunk(4), strict=True))  # (H,) each
    return W, b


lstm = nn.LSTM(D, H, batch_first=True).double()
W, b = paper_weights(lstm)
for gate in W:
    print(gate, "W", tuple(W[gate].shape), "b", tuple(b[gate].shape))

# %%
ours = sum(weight.numel() for weight in [*W.values(), *b.values()])
theirs = sum(parameter.numel() for parameter in lstm.parameters())
assert ours == 4 * H * (H + D + 1)
assert theirs == 4 * H * (H + D + 2)
print(f"parameters: {ours} in the paper's notation, {theirs} in PyTorch's (its second bias)")

# %%
figure, axes = plt.subplots(figsize=(8, 4.2))
w_ih, w_hh, *_ = lstm.parameters()  # in PyTorch's order
matrix = torch.cat([w_hh, w_ih], dim=1).detach()  # (4H, H + D)
picture = axes.imshow(matrix, cmap="RdBu_r", vmin=-0.5, vmax=0.5, aspect="auto")
figure.colorbar(picture, label="weight")
for row, gate in enumerate("ifgo"):
    box = (-0.46, row * H - 0.44), H + D - 0.08, H - 0.12
    axes.add_patch(Rectangle(*box, fill=False, edgecolor=COLOURS[gate], linewidth=3))
axes.axvline(H - 0.5, color="black", linewidth=2)
axes.set_yticks([row * H + 1.5 for row in range(4)], [f"{NAMES[gate]}\n({H} rows)" for gate in "ifgo"])
axes.set_xticks([1.5, 6], ["from h: weight_hh\n(H = 4 columns)", "from x: weight_ih\n(D = 5 columns)"])
axes.set_title("All weights of one layer: 4H rows, H + D columns")
axes.grid(False)
plt.show()

# %% [markdown]
# *What you see:* four bands of H rows, one a gate. Nothing in the numbers tells the bands apart; only their place
# does. So the order matters when you read the weights.
#
# Now the test, in double precision, so that only a real difference can show: every $h_t$ and the last $c_t$ must
# agree to $10^{-9}$.

# %%
x = torch.randn(B, 7, D, dtype=torch.float64)  # (B, T, D)
expected, (h_n, c_n) = lstm(x)  # (B, T, H), (1, B, H), (1, B, H)
found = layer(x, W, b)
assert_close(found["h"], expected, atol=1e-9, rtol=0)
assert_close(found["c"][:, -1], c_n[0], atol=1e-9, rtol=0)
print(f"our layer and torch.nn.LSTM: largest difference {(found['h'] - expected).abs().max():.1e}")

# %%
one = nn.LSTMCell(D, H).double()
one.load_state_dict({name.removesuffix("_l0"): value for name, value in lstm.state_dict().items()})
h_1, c_1 = one(x[:, 0])  # zero start
assert_close(found["h"][:, 0], h_1, atol=1e-9, rtol=0)
assert_close(found["c"][:, 0], c_1, atol=1e-9, rtol=0)
print("our cell and torch.nn.LSTMCell agree after one frame")
wrong = layer(x, *paper_weights(lstm, order=("f", "i", "g", "o")))
print(f"rows read as f, i, g, o: difference {(wrong['h'] - expected).abs().max():.3f}, no error message")

# %% [markdown]
# ## Step 5: the gates at work on a video
#
# An untrained gate has nothing to say, so we train first: one layer of 32 units on our generated clips, eight
# movements of a stick figure. Test clips come from source videos that the training has not seen
# ([Chapter 3](03_ucf101.ipynb) says why; [Chapter 9](09_training.ipynb) explains the training).

# %%
features = classroom.features()  # x (N, T, D) = (288, 12, 1280)
split = ucf101.split(features.clips, "grouped", seed=0)
torch.manual_seed(0)
model = models.build("cnn_lstm", **classroom.SMALL | {"num_layers": 1})
config = training.Config(epochs=25, batch_size=24, validation=0, cpu=True)
history = training.fit(model, features, split, config)
print(f"test top-1 after 25 epochs: {100 * history.table['test_top1'].iloc[-1]:.0f} % (guessing: 12.5 %)")

# %% [markdown]
# The model first maps each frame's 1,280 features to 64 and then gives them to the LSTM. We take all test clips
# through our own `layer` with the trained weights, and look at one of them. In this step's pictures frames and
# units are counted from 0, as Python counts.

# %%
model.eval().requires_grad_(False)
clips = features.clips.iloc[split.test].reset_index(drop=True)
embedded = model.embedding(features.x[split.test].float())  # (N_test, T, 1280) -> (N_test, T, 64)
weights = paper_weights(model.block)
every = layer(embedded, *weights)  # f, i, g, o, c, h of all test clips, (N_test, T, 32) each
assert_close(every["h"], model.block(embedded)[0], atol=1e-5, rtol=1e-4)
for name in "fio":
    print(f"{NAMES[name]:14s} mean over clips, frames and units: {every[name].mean():.2f}")

# %%
row = int(clips.index[clips["label"] == "SitDown"][0])
shown = {name: value[row] for name, value in every.items()}  # (T, H) each
T, H = shown["h"].shape
table = classroom.clips().set_index("name")
film = video.read_frames(table.loc[clips["name"][row], "path"], classroom.FRAMES, "uniform").images
figures.film_strip([film], [clips["name"][row]], frames=12)

# %%
figure, panels = plt.subplots(2, 3, figsize=(11, 6), sharex=True, sharey=True, layout="constrained")
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
# *What you see:* each row is one of the 32 units, each column one of the 12 frames of the strip above. Most gates
# are bright, that is open, at all frames: with $f$ and $i$ near 1, Eq. 15 is a running sum, and the cell state
# (bottom, middle) grows far beyond 1. The hidden state is squashed again and stays within -1 and 1. A few rows of
# the forget gate change from dark to bright or back: there a unit forgets at one moment of the movement and
# remembers at another.
#
# One unit tells the story better. SitDown and StandUp show the same poses in the opposite order. We look for a unit
# whose last cell state tells the two apart *and* whose forget gate moves during a clip.

# %%
last = every["c"][:, -1]  # (N_test, H)
down, up = (last[(clips["label"] == label).to_numpy()] for label in ("SitDown", "StandUp"))  # (N, H) each
distance = (down.mean(0) - up.mean(0)).abs() / (down.std(0) + up.std(0))  # (H,)
moves = (every["f"].amax(1) - every["f"].amin(1)).mean(0)  # (H,)
unit = int((distance * moves).argmax())
print(f"unit {unit}: its forget gate moves by {moves[unit]:.2f} in a clip (mean unit: {moves.mean():.2f})")

# %%
figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 5.4), sharex=True, layout="constrained")
styles = {"f": "-", "i": "--", "o": ":", "g": "-", "c": "-", "h": "--"}
for axes, names, title in ((top, "fio", "gates"), (bottom, "gch", "candidate and states")):
    for name in names:
        axes.plot(shown[name][:, unit], styles[name], color=COLOURS[name], marker=".", label=NAMES[name])
    axes.set(title=f"Unit {unit}: {title}", ylabel="value")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
top.set_ylim(-0.03, 1.03)
bottom.set_xlabel("frame t")
plt.show()

# %% [markdown]
# *What you see:* read it frame by frame with Eq. 15 in mind: the new black value is the old one times the forget gate
# (orange), plus green times yellow. While the forget gate is low, most of the past goes and the cell state stays close
# to the candidate. Once it is high, the contributions of the frames pile up, and black runs away from yellow.

# %%
figure, axes = plt.subplots(figsize=(9, 3.8))
for label, style, colour in (("SitDown", "-", "#0072B2"), ("StandUp", "--", "#D55E00")):
    lines = every["c"][(clips["label"] == label).to_numpy(), :, unit]  # (N, T)
    axes.plot(lines.T, style, color=colour, alpha=0.35, linewidth=1)
    axes.plot(
        lines.mean(0), style, color=colour, linewidth=3, label=f"{label}, mean of {len(lines)} test clips"
    )
axes.set(
    title=f"The same poses in the opposite order: cell state of unit {unit}", xlabel="frame t", ylabel="c"
)
axes.legend()
plt.show()

# %% [markdown]
# *What you see:* the two bundles of lines end in different places although the poses are the same. A mean over the
# frames could hardly do that. The cell state can: what it keeps of a frame depends on the forget gates of all
# *later* frames, so order counts. (We picked a unit that does it well. This is an illustration on generated clips,
# not a test.)

# %% [markdown]
# ## Step 6: the gradient's way back
#
# A network learns about frame $t$ only through $\partial h_T / \partial x_t$. A plain RNN is one line, $h_t =
# \tanh(W_x x_t + W_h h_{t-1} + b)$, and its way back multiplies with $W_h$ and a slope below 1 at every step. In an
# LSTM there is a second way, along the cell state:
#
# $$\frac{\partial c_t}{\partial c_{t-1}} = f_t + \text{(what goes around through } h_{t-1}\text{)}$$
#
# If $f_t$ were all, a step would leave the share $f$ and 60 steps $f^{60}$. A network that was just made has $f \approx
# \sigma(b_f)$, the values of step 1: the bias of the forget gate sets how far it can look back. PyTorch starts with
# small random biases around 0, so below "forget bias 0" stands for the LSTM as PyTorch makes it.


# %%
def with_forget_bias(lstm, bias):
    """Set what is added in the forget gates' sigmoid to `bias`; PyTorch's rows H..2H belong to f."""
    H = lstm.hidden_size
    with torch.no_grad():
        lstm.bias_ih_l0[H : 2 * H], lstm.bias_hh_l0[H : 2 * H] = bias, 0.0
    return lstm


def reach(make, networks=5, T=60, D=16):
    """Typical size of the gradient of the last output with respect to each frame, (T,)."""
    sizes = []
    for seed in range(networks):
        torch.manual_seed(seed)
        net = make().double()
        x = torch.randn(8, T, D, dtype=torch.float64, requires_grad=True)  # (B, T, D)
        h_T = net(x)[0][:, -1]  # (B, H)
        mix = torch.randn_like(h_T)  # a random direction, so that all units count
        (gradient,) = torch.autograd.grad((mix * h_T).sum(), x)  # (B, T, D)
        sizes.append(gradient.norm(dim=2).mean(0).log())  # (T,)
    return torch.stack(sizes).mean(0).exp()  # (T,), the geometric mean over networks


# %%
def maker(D, H, bias=None):
    """A function that makes an LSTM with that forget-gate bias, or a plain RNN if there is none."""
    if bias is None:
        return lambda: nn.RNN(D, H, batch_first=True)
    return lambda: with_forget_bias(nn.LSTM(D, H, batch_first=True), bias)


BIASES = {"plain RNN": None, "LSTM, forget bias 0": 0, "LSTM, forget bias 1": 1, "LSTM, forget bias 3": 3}
reaches = {name: reach(maker(16, 32, bias)) for name, bias in BIASES.items()}
print("effect of frame 1 as a share of frame 60's; factor a step (middle of the sequence); σ(bias)")
for name, size in reaches.items():
    gate = "" if BIASES[name] is None else f"{torch.tensor(float(BIASES[name])).sigmoid():.2f}"
    print(f"{name:22s} {size[0] / size[-1]:.0e}    {(size[20] / size[50]) ** (1 / 30):.2f}    {gate}")
assert reaches["plain RNN"][0] < reaches["LSTM, forget bias 1"][0] < reaches["LSTM, forget bias 3"][0]

# %%
LINES = {"plain RNN": ("#222222", ":"), "LSTM, forget bias 0": ("#D55E00", ":"),
         "LSTM, forget bias 1": ("#D55E00", "--"), "LSTM, forget bias 3": ("#D55E00", "-")}  # fmt: skip
figure, axes = plt.subplots(figsize=(9, 4.4))
for name, size in reaches.items():
    axes.semilogy(range(1, 61), size, LINES[name][1], color=LINES[name][0], label=name)
axes.set(title="How strongly the last output feels frame t", xlabel="frame t (the output is read at t = 60)")
axes.set_ylabel("norm of the gradient")
axes.legend(loc="lower right")
plt.show()

# %% [markdown]
# *What you see:* on this logarithmic axis a straight line is a constant factor a step. The plain RNN loses about
# half at every step. The LSTM with bias 0 keeps a little more, which over 60 steps makes many powers of ten, and still
# nothing usable arrives. With bias 3 the line is flat. Compare with your guess.
#
# The factors lie above $\sigma(b_f)$, because the way through $h_{t-1}$ adds its part, but they follow it. **It is not
# the LSTM as such that keeps the gradient alive, it is a forget gate near 1.** PyTorch's start values do not provide
# that: it has to be learnt. (In step 5 it was: after training the mean forget gate is far above 0.5.)
#
# Does it matter for learning? A test with a known answer: the first frame is +1 or -1, then come 39 frames of noise.
# At the end, say which it was. Chance is 50 %.


# %%
def recall(make, T=40, steps=200):
    """Share of right answers in each step of training to recall the first of T frames, (steps,)."""
    torch.manual_seed(0)
    net, head, right = make(), nn.Linear(16, 1), []
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(steps):
        x = torch.randn(64, T, 1)  # (B, T, D)
        x[:, 0] = x[:, 0].sign()
        answer = x[:, 0] > 0  # (B, 1)
        logit = head(net(x)[0][:, -1])  # (B, 1)
        loss = binary_cross_entropy_with_logits(logit, answer.float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        right.append(((logit > 0) == answer).float().mean())
    return torch.stack(right)  # (steps,)


# %%
figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
for name, bias in BIASES.items():
    blocks = 100 * recall(maker(1, 16, bias)).view(-1, 20).mean(1)  # (10,), mean over 20 steps each
    axes.plot(range(20, 201, 20), blocks, LINES[name][1], color=LINES[name][0], marker="o", label=name)
axes.axhline(50, color="#6E6E6E", linewidth=1)
axes.set(title="Recall the first of 40 frames", xlabel="training step", ylabel="right answers (%)")
axes.set_ylim(40, 102)
axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
plt.show()

# %% [markdown]
# *What you see:* only the LSTM whose forget gates start open learns it in 200 steps (not without a stumble). The
# others get next to no signal from frame 1 and stay at chance. This is a made-up task with one seed, meant to show
# the mechanism. Our clips have 12 frames and those of the public code base that a screenshot of the paper shows 28;
# the fewer frames, the smaller the effect.
#
# The paper says that gates solve gradient disappearance *and* explosion. Test the second: make the recurrent weights
# larger.


# %%
def enlarged(make, factor):
    net = make()
    net.weight_hh_l0.data *= factor
    return net


for kind, make in (("plain RNN", maker(16, 32)), ("LSTM", maker(16, 32, 0))):
    for factor in (1, 5, 8):
        size = reach(lambda make=make, factor=factor: enlarged(make, factor))
        share = size[0] / size[-1]
        print(f"{kind:10s} recurrent weights x {factor}: effect of frame 1 / frame 60 = {share:.0e}")

# %% [markdown]
# *What you see:* numbers above 1 are exploding gradients. The LSTM needs larger weights to get there than the plain
# RNN, but it gets there: gates bound the way along $c$, not the way around through $h$. So "eases" would be a safer
# word than "solves"; in practice one clips gradients. The paper does not say whether it did.

# %% [markdown]
# ## Step 7: Eq. 15 as it is printed
#
# The paper prints $C_t = f_t * C_{t-1} + i_t * C_t$. The tilde over the last $C$ is lost. Then $C_t$ stands on both
# sides, and the candidate of Eq. 14 is used nowhere. You can read it in two ways, and run both:
#
# - as an **assignment**, as in code, with the old value on the right: $c_t = (f_t + i_t) * c_{t-1}$;
# - as an **equation**, solved for $C_t$: $c_t = f_t * c_{t-1} / (1 - i_t)$.


# %%
def cell_as_printed(x, h, c, W, b, reading):
    hx = torch.cat([h, x], dim=1)  #                        (B, H + D)
    f = torch.sigmoid(hx @ W["f"].T + b["f"])  #            (B, H)  Eq. 12
    i = torch.sigmoid(hx @ W["i"].T + b["i"])  #            (B, H)  Eq. 13; Eq. 14 would have no use
    c = (f + i) * c if reading == "assignment" else f * c / (1 - i)  # (B, H)  Eq. 15 as printed
    o = torch.sigmoid(hx @ W["o"].T + b["o"])  #            (B, H)  Eq. 16
    return o * torch.tanh(c), c  #                          (B, H) twice, Eq. 17


def run_as_printed(x, W, b, reading, start=0.0):
    h, c = x.new_zeros(len(x), len(b["f"])), x.new_full((len(x), len(b["f"])), start)  # (B, H) each
    path = [c]
    for x_t in x.unbind(1):
        h, c = cell_as_printed(x_t, h, c, W, b, reading)
        path.append(c)
    return h, torch.stack(path, dim=1)  # (B, H), (B, T + 1, H)


# %%
for reading in ("assignment", "equation"):
    h, path = run_as_printed(embedded, *weights, reading)
    predicted = model.head(h).argmax(1)
    print(f"{reading:10s} largest |c|: {path.abs().max():.1f}, classes predicted: {len(predicted.unique())}")
    assert path.abs().max() == 0
    assert len(predicted.unique()) == 1

# %% [markdown]
# Memory that starts at zero stays at zero, in both readings: nothing ever enters. All clips get the same answer.
# Start from 1 instead, and you see the second fault: nothing ties $c$ to the range of the candidate.

# %%
repaired = every["c"]  # (N_test, T, H), from 0
paths = {"Eq. 15 with its tilde, from 0": (repaired, COLOURS["c"], "-")}
for reading, line in (("assignment", "--"), ("equation", ":")):
    _, path = run_as_printed(embedded, *weights, reading, start=1.0)  # (N_test, T + 1, H)
    paths[f"as printed, {reading}, from 1"] = (path[:, 1:], COLOURS["g"], line)

figure, axes = plt.subplots(figsize=(9, 4))
for name, (path, colour, line) in paths.items():
    largest = path.abs().amax(2).median(0).values  # (T,), each clip's largest unit; the median clip
    axes.semilogy(range(1, T + 1), largest, line, color=colour, marker=".", label=name)
axes.set(title="The largest cell state of a clip", xlabel="frames read", ylabel="|c|, largest unit")
axes.legend()
plt.show()

# %% [markdown]
# *What you see:* with the tilde, the memory grows by at most 1 a frame, since $f$, $i$ and $|g|$ are below 1. As
# printed, it multiplies: wherever $f + i > 1$ it grows at every frame, without limit.
#
# And nothing could be learnt. Look at the gradients of the four weight matrices, from memory that starts at zero:

# %%
leaf = {gate: weight.clone().requires_grad_() for gate, weight in weights[0].items()}
h, _ = run_as_printed(embedded, leaf, weights[1], "assignment")
found = torch.autograd.grad(h.sum(), list(leaf.values()), allow_unused=True)
print({gate: None if value is None else float(value.norm()) for gate, value in zip(leaf, found, strict=True)})

# %% [markdown]
# **None** for $W_g$: it does not occur. **0** for the others: they multiply a memory that is zero. A network that
# ran this equation would never do better than guessing. The paper reports over 90 %, and it says that the blocks are
# PyTorch's. So this is a slip in print, not in what was run.

# %% [markdown]
# ## Other slips in print, Eqs. 12-17
#
# | place | printed | meant | would it change the network? |
# |---|---|---|---|
# | Eq. 15 | second term ends in $C_t$ | $\tilde{C}_t$ | yes, as you have just seen |
# | Eq. 16 | $W_o[h_{t-1}, x_t]$, no dot | $W_o \cdot [h_{t-1}, x_t]$ | no, it is clear from Eqs. 12-14 |
# | text below | the cell's bias is called $b_i$ | $b_C$ | only if someone shared one bias between Eqs. 13 and 14 |
# | text below | $n_t$ for the output gate | $o_t$ | no |
# | text below | $C_{t-1}$ "at time t" | at time $t-1$ | no |
# | text below | $h_t$ as "the function of the output gate" | the output; the gate is $o_t$ | no |
# | numbering | starts at 12; section 4.3 points to 3.5 and 3.6 | 3.4 and 3.5 | no |
#
# Most papers have some. The phrase about $h_t$ comes several times in the text that we read; that may be a fault of
# its extraction. What counts for a reproduction: with the tilde put back, the six equations are the standard LSTM,
# and PyTorch computes them.

# %% [markdown]
# ## Try it
#
# **One unit.** Its weights are fixed, the sliders move its input, its old states and its four biases. Before you move
# one: with the old cell state at 0.5, which *two* biases keep the new cell state there, whatever x is? And can you
# bring the new h near 0 while the new c is large?

# %%
widgets.gate_explorer()

# %%
widgets.gate_explorer_figure()

# %% [markdown]
# *What you see:* on the left f, i, g and o, each with the z that it comes from; on the right Eq. 15 as a sum of two
# bars, and h. It is the widget's picture at the sliders' start values, for readers without a running kernel. There the
# forget gate's z is 0.5, so it keeps 0.62 of the old c.
#
# **A sequence.** Step through the clip of step 5, with the trained weights. Question: at which frame does the cell
# state of this unit make its largest jump, and which gate made it possible?

# %%
widgets.sequence_stepper(embedded[row], model.block, unit=unit)

# %%
widgets.sequence_stepper_figure(embedded[row], model.block, t=T - 1, unit=unit)

# %% [markdown]
# ## Check
#
# `ctxlstm.gates` holds the same six lines for the rest of the book: `lstm_step` is the cell, `LSTM` the layers and
# directions around it. It takes PyTorch's weights as they are. First the cell, against ours.

# %%
torch.manual_seed(1)
one = nn.LSTM(10, 6, batch_first=True).double()
x, h, c = (torch.randn(4, size, dtype=torch.float64) for size in (10, 6, 6))  # (B, D), (B, H), (B, H)
ours = cell(x, h, c, *paper_weights(one))
step = gates.lstm_step(x, h, c, *one.parameters())  # w_ih, w_hh, b_ih, b_hh
for name in "figoch":
    assert_close(ours[name], getattr(step, name), atol=1e-9, rtol=0)
print("our cell and gates.lstm_step agree in f, i, g, o, c and h")

# %% [markdown]
# Then the block of the paper, three layers in both directions: outputs, states and gradients against PyTorch's.

# %%
theirs = nn.LSTM(10, 6, num_layers=3, bidirectional=True, batch_first=True).double()
ours = gates.LSTM(10, 6, num_layers=3, bidirectional=True).double()
ours.load_state_dict(theirs.state_dict())
x = torch.randn(4, 9, 10, dtype=torch.float64)  # (B, T, D)
results = []
for lstm in (ours, theirs):
    frames = x.clone().requires_grad_()
    output, (h_n, c_n) = lstm(frames)  # (B, T, 2H), (2L, B, H), (2L, B, H)
    output.square().sum().backward()
    results.append([output, h_n, c_n, frames.grad, lstm.weight_hh_l0.grad])
for mine, other in zip(*results, strict=True):
    assert_close(mine, other, atol=1e-9, rtol=0)
print("gates.LSTM and torch.nn.LSTM agree to 1e-9: outputs, h, c and gradients", tuple(output.shape))

# %% [markdown]
# ## Common mistakes
#
# - **The order of the gates.** PyTorch stacks i, f, g, o, other libraries differ. A wrong order raises no error and
#   gives wrong numbers, as step 4 showed. Compare with the library on random input before you trust your own cell.
# - **Taking c for h.** `nn.LSTM` returns the h of all frames, and both states of the last. What the classifier reads
#   is h; what lasts is c. [Chapter 7](07_context_lstm.ipynb) hands both over.
# - **Setting the forget-gate bias twice.** PyTorch adds `bias_ih` and `bias_hh`. Fill both with 1, and the gate
#   starts at $\sigma(2)$, not $\sigma(1)$.

# %% [markdown]
# ## Exercises
#
# Six, from one line to a two-way LSTM, one of them with the sliders:
# [exercises](exercises/release/06_lstm_gates/06_lstm_gates.ipynb), and
# [solutions](exercises/source/06_lstm_gates/06_lstm_gates.ipynb) for afterwards.

# %% [markdown]
# ## Summary
#
# - An LSTM cell is six lines. All results are (B, H); the four weight matrices are (H, H + D) and read $[h_{t-1},
#   x_t]$. Ours agree with `torch.nn.LSTM` to $10^{-9}$.
# - In a picture of gates, a forget gate near 1 keeps, an open input gate lets the candidate in, the output gate
#   decides what of the cell state is shown.
# - The gradient survives as far back as the forget gates are open. With a forget bias of 0, near which PyTorch starts,
#   somewhat more than half of it is left at each step, not enough for 60; with a bias of 3 it is nearly all.
#
# **Where we differ from the paper:** nowhere in the function. We put the tilde back into Eq. 15 and write $g$ for
# $\tilde{C}$ and lower-case $c$ for $C$. Start values are not stated; ours are PyTorch's.
#
# Next: [Chapter 7](07_context_lstm.ipynb) puts such blocks in a row and hands the states of one to the next.

# %%
print(classroom.versions())
