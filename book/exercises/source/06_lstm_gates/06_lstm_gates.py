# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 6: the gates of an LSTM
#
# To [Chapter 6](../../../06_lstm_gates.ipynb). Six exercises, 15 points. Replace `# YOUR CODE HERE` and the line below it,
# then run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the
# sheet is graded. Symbols: gates f, i and o, candidate g, cell state c, hidden state h, all (B, H); input x (B, T, D).

# %%
# %matplotlib inline
import math

import torch
from torch import nn
from torch.testing import assert_close

from ctxlstm import widgets
from ctxlstm.widgets.gates import step_of_unit

# %% [markdown]
# ## 1 From the sums to the states (basic)
#
# The matrix products are done: `z_f`, `z_i`, `z_g`, `z_o` are what goes into the sigmoids and the tanh, each (B, H). Give
# the new cell state and the new hidden state (Eqs. 12-17).
#
# Predict first: all four z are 0 and the old c is 2. What is the new c? ______


# %% nbgrader={"grade": false, "grade_id": "new-states", "locked": false, "schema_version": 3, "solution": true, "task": false}
def new_states(z_f, z_i, z_g, z_o, c):
    """(new c, new h), each (B, H)."""
    ### BEGIN SOLUTION
    c = torch.sigmoid(z_f) * c + torch.sigmoid(z_i) * torch.tanh(z_g)
    return c, torch.sigmoid(z_o) * torch.tanh(c)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "new-states-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
zero, two = torch.zeros(1, 1), torch.full((1, 1), 2.0)
c, h = new_states(zero, zero, zero, zero, two)
assert c.shape == (1, 1), "the new cell state has the shape of the old one"
assert_close(c, torch.ones(1, 1),
             msg="with all z = 0 the forget gate is half open and the candidate is 0")
assert_close(h, 0.5 * torch.tanh(torch.ones(1, 1)),
             msg="h = o * tanh(new c), with o = 0.5 here")
c, h = new_states(zero - 20, zero + 20, zero + 0.5, zero, two)
assert_close(c, torch.tanh(zero + 0.5),
             msg="forget gate shut, input gate open: the new c is the candidate")
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(3)
z = torch.randn(4, 5, 7, generator=generator)
old = torch.randn(5, 7, generator=generator)
c, h = new_states(*z, old)
assert_close(c, z[0].sigmoid() * old + z[1].sigmoid() * z[2].tanh())
assert_close(h, z[3].sigmoid() * c.tanh())
### END HIDDEN TESTS

# %% [markdown]
# Hint: h needs the *new* c. If your h is wrong and your c is right, look there.

# %% [markdown]
# ## 2 How many parameters? (basic)
#
# Count the parameters of `torch.nn.LSTM(D, H, num_layers=L, bidirectional=...)`. Think of: three gates and a candidate,
# weights for x and for h, two biases. The second layer reads the outputs of the first; in a two-way LSTM these are 2H wide.
#
# Predict first: does a two-way LSTM of three layers have twice the parameters of a one-way one, more, or less? ______


# %% nbgrader={"grade": false, "grade_id": "lstm-parameters", "locked": false, "schema_version": 3, "solution": true, "task": false}
def lstm_parameters(D, H, layers=1, bidirectional=False):
    """Number of parameters, a whole number."""
    ### BEGIN SOLUTION
    directions = 2 if bidirectional else 1
    widths = [D] + [directions * H] * (layers - 1)
    return sum(directions * 4 * H * (width + H + 2) for width in widths)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "lstm-parameters-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert lstm_parameters(5, 4) == 176, "chapter 6, step 4: 4H(D + H + 2) for D = 5, H = 4"
assert lstm_parameters(512, 512, layers=3) == 6_303_744, (
    "the LSTM of the paper's baseline: three layers, one way")
assert lstm_parameters(5, 4, layers=2) == 336, (
    "the second layer reads the H outputs of the first, not the D inputs")
assert lstm_parameters(5, 4, bidirectional=True) == 352, (
    "each direction has parameters of its own")
### BEGIN HIDDEN TESTS
for D, H, layers, both in ((7, 3, 1, True), (7, 3, 2, True),
                           (6, 2, 3, False), (1, 5, 4, True)):
    lstm = nn.LSTM(D, H, num_layers=layers, bidirectional=both)
    count = sum(p.numel() for p in lstm.parameters())
    assert lstm_parameters(D, H, layers, both) == count
### END HIDDEN TESTS

# %% [markdown]
# Hint: print the shapes of `nn.LSTM(7, 3, num_layers=2, bidirectional=True).named_parameters()` if a count is off.

# %% [markdown]
# ## 3 Predict, then move it (with the gate explorer)
#
# **a.** The gate explorer has a slider for each bias and one for the old c. Write down, for each slider, *which of*
# `f i g o c h` (c and h: the new ones) change when you move that slider alone. Then move it and see.
#
# Set `changes`: a dictionary from the slider's name to a string of letters, such as `"fgh"`.

# %% nbgrader={"grade": false, "grade_id": "changes", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
changes = {"b_f": "fch", "b_i": "ich", "b_g": "gch", "b_o": "oh", "c": "ch"}
### END SOLUTION

# %%
widgets.gate_explorer()

# %%
widgets.gate_explorer_figure()

# %% nbgrader={"grade": true, "grade_id": "changes-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert set(changes) == {"b_f", "b_i", "b_g", "b_o", "c"}, (
    "one entry for each of the five sliders")
assert all(set(letters) <= set("figoch") for letters in changes.values()), (
    "use only the letters f i g o c h")
assert "h" in changes["b_f"], "h is made from the new c: whatever changes c changes h"
### BEGIN HIDDEN TESTS
start = {"x": 1.0, "h": 0.0, "c": 0.5, "b_f": 1.0, "b_i": 0.0, "b_g": 0.0, "b_o": 0.0}
for slider, letters in changes.items():
    before, after = step_of_unit(**start), step_of_unit(**{**start, slider: -0.7})
    assert set(letters) == {name for name in "figoch" if before[name] != after[name]}
### END HIDDEN TESTS

# %% [markdown]
# **b.** Now set the four biases (each from -8 to 8) so that the unit
#
# - `keep`: keeps its old c, whatever x is;
# - `replace`: has a new c near +1, whatever x and the old c were;
# - `hide`: keeps its old c and shows nothing of it: h near 0.
#
# Each is a dictionary of all four biases, such as `{"b_f": 1, "b_i": 0, "b_g": 0, "b_o": 0}`. "Keeps" means: within 0.03;
# "near": within 0.05 of +1, within 0.03 of 0. Predict which sliders you need before you move any.

# %% nbgrader={"grade": false, "grade_id": "settings", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
keep = {"b_f": 8, "b_i": -8, "b_g": 0, "b_o": 0}
replace = {"b_f": -8, "b_i": 8, "b_g": 8, "b_o": 0}
hide = {"b_f": 8, "b_i": -8, "b_g": 0, "b_o": -8}
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "settings-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
for biases in (keep, replace, hide):
    assert set(biases) == {"b_f", "b_i", "b_g", "b_o"}, (
        "keep, replace and hide: a dictionary of b_f b_i b_g b_o")
for c in (0.5, -1.0):
    start = {"x": 1.0, "h": 0.0, "c": c}
    assert abs(step_of_unit(**start, **keep)["c"] - c) < 0.03, (
        f"keep: the new c must stay at {c} when x is 1")
    assert abs(step_of_unit(**start, **replace)["c"] - 1) < 0.05, (
        f"replace: the new c must be near +1 when x is 1 and the old c is {c}")
    hidden = step_of_unit(**start, **hide)
    assert abs(hidden["h"]) < 0.03, f"hide: h must be near 0 when the old c is {c}"
    assert abs(hidden["c"] - c) < 0.03, "hide: c must be kept, too"
### BEGIN HIDDEN TESTS
for x in (-2.0, 0.0, 2.0):
    for c in (-1.5, 1.5):
        state = {"x": x, "h": 0.0, "c": c}
        assert abs(step_of_unit(**state, **keep)["c"] - c) < 0.03
        assert abs(step_of_unit(**state, **replace)["c"] - 1) < 0.05
        assert abs(step_of_unit(**state, **hide)["c"] - c) < 0.03
        assert abs(step_of_unit(**state, **hide)["h"]) < 0.03
### END HIDDEN TESTS

# %% [markdown]
# Hint: the checks also try other x and other old c. A setting that works at one place only is a coincidence of sums; a
# gate that is fully open or fully shut does not care.

# %% [markdown]
# ## 4 How long does it remember? (thinking)
#
# Suppose that a unit's forget gate is constant and nothing new enters. After n steps $f^n$ of a memory is left.
#
# **a.** `share_left(b_f, steps)`: what share is left after `steps` steps, if the gate is $\sigma(b_f)$?
#
# **b.** `bias_for(steps, share)`: which bias leaves `share` (between 0 and 1) after `steps` steps?
#
# Predict first: which bias do you need so that half of a memory survives the 28 frames of the paper's code base? ______


# %% nbgrader={"grade": false, "grade_id": "memory", "locked": false, "schema_version": 3, "solution": true, "task": false}
def share_left(b_f, steps):
    ### BEGIN SOLUTION
    return (1 / (1 + math.exp(-b_f))) ** steps
    ### END SOLUTION


def bias_for(steps, share):
    ### BEGIN SOLUTION
    f = share ** (1 / steps)
    return math.log(f / (1 - f))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "memory-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert abs(share_left(0, 2) - 0.25) < 1e-6, (
    "with b_f = 0 the gate is half open: two steps leave a quarter")
assert abs(bias_for(1, 0.5)) < 1e-6, (
    "to leave half after one step the gate must be half open: bias 0")
assert share_left(2, 28) < share_left(3, 28), "a larger bias forgets more slowly"
assert abs(share_left(bias_for(5, 0.9), 5) - 0.9) < 1e-6, (
    "bias_for must undo share_left")
print(f"half after 28 frames: bias {bias_for(28, 0.5):.2f}")
### BEGIN HIDDEN TESTS
assert abs(share_left(3, 60) - (1 / (1 + math.exp(-3))) ** 60) < 1e-5
for steps, share in ((28, 0.5), (7, 0.8), (60, 0.01)):
    assert abs(share_left(bias_for(steps, share), steps) - share) < 1e-4
assert 3.6 < bias_for(28, 0.5) < 3.8
### END HIDDEN TESTS

# %% [markdown]
# Hint for b: first find f, then solve $f = 1/(1 + e^{-b})$ for $b$.

# %% [markdown]
# ## 5 Eq. 15 as an equation (thinking)
#
# The paper prints $C_t = f_t * C_{t-1} + i_t * C_t$. Solve it for $C_t$ and write `printed(f, i, c)`. Then write
# `grows(f, i)`: True if $|C|$ gets larger in one step, from any C that is not 0 (f and i between 0 and 1, neither end
# included).
#
# Predict first: does a memory grow with f = 0.5 and i = 0.4? And with f = 0.5 and i = 0.6? ______


# %% nbgrader={"grade": false, "grade_id": "printed", "locked": false, "schema_version": 3, "solution": true, "task": false}
def printed(f, i, c):
    """The new cell state by the printed Eq. 15, read as an equation."""
    ### BEGIN SOLUTION
    return f * c / (1 - i)
    ### END SOLUTION


def grows(f, i):
    """True or False."""
    ### BEGIN SOLUTION
    return f + i > 1
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "printed-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert printed(0.3, 0.9, 0) == 0, "from zero it stays at zero, whatever the gates do"
assert abs(printed(0.5, 0.5, 3) - 3) < 1e-9, (
    "f = i = 0.5: put your result into the equation and see whether it holds")
assert abs(printed(0.5, 0.6, 2) - 2.5) < 1e-9, "2.5 = 0.5 * 2 + 0.6 * 2.5"
assert grows(0.5, 0.6), "f = 0.5 and i = 0.6 turn 2 into 2.5"
assert not grows(0.5, 0.4), "f = 0.5 and i = 0.4: |C| gets smaller"
### BEGIN HIDDEN TESTS
for f, i, c in ((0.2, 0.5, 4.0), (0.9, 0.8, -1.0), (0.5, 0.4, 2.0), (0.7, 0.1, 1.0),
                (0.2, 0.7, 3.0), (0.9, 0.3, -2.0)):
    new = printed(f, i, c)
    assert abs(new - (f * c + i * new)) < 1e-9
    assert bool(grows(f, i)) == (abs(new) > abs(c))
assert not grows(0.5, 0.5), "with f + i = 1 the memory stays as it is: it does not grow"
### END HIDDEN TESTS

# %% [markdown]
# Hint: bring both terms with $C_t$ to one side. Nowhere does the candidate of Eq. 14 occur: that is how you can see that
# something was lost in print.

# %% [markdown]
# ## 6 Both ways (extend)
#
# The paper's blocks read the frames both ways. Build that from two one-way LSTMs: `forward_lstm` reads the frames in
# order, `backward_lstm` reads them from last to first. Return
#
# - `output` (B, T, 2H): for each frame the forward h and the backward h side by side, both *of that frame*;
# - `h_n` (2, B, H): the state that each direction ended in.
#
# Predict first: which frame does the backward direction's last state belong to? ______ [Chapter
# 7](../../../07_context_lstm.ipynb) hands it to the next block.


# %% nbgrader={"grade": false, "grade_id": "both-ways", "locked": false, "schema_version": 3, "solution": true, "task": false}
def both_ways(x, forward_lstm, backward_lstm):
    """(output, h_n) of x (B, T, D); both LSTMs have batch_first=True and one layer."""
    ### BEGIN SOLUTION
    there, (h_there, _) = forward_lstm(x)  # (B, T, H), (1, B, H)
    back, (h_back, _) = backward_lstm(x.flip(1))  # (B, T, H), last frame first
    return torch.cat([there, back.flip(1)], dim=2), torch.cat([h_there, h_back])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "both-ways-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
torch.manual_seed(0)
one, other = nn.LSTM(5, 3, batch_first=True), nn.LSTM(5, 3, batch_first=True)
x = torch.randn(2, 6, 5)
output, h_n = both_ways(x, one, other)
assert output.shape == (2, 6, 6), "output must be (B, T, 2H)"
assert h_n.shape == (2, 2, 3), "h_n must be (2, B, H)"
assert_close(output[:, -1, :3], h_n[0],
             msg="the forward direction ends at the last frame")
assert_close(output[:, 0, 3:], h_n[1],
             msg="the backward direction ends at the first frame")
both = nn.LSTM(5, 3, batch_first=True, bidirectional=True)  # with the same weights
back = {f"{name}_reverse": value for name, value in other.state_dict().items()}
both.load_state_dict({**one.state_dict(), **back})
assert_close(output, both(x)[0], msg="PyTorch's two-way LSTM gives another output")
### BEGIN HIDDEN TESTS
assert_close(h_n, both(x)[1][0])
x = torch.randn(3, 4, 5)
output, h_n = both_ways(x, one, other)
assert_close(output, both(x)[0])
assert_close(h_n, both(x)[1][0])
### END HIDDEN TESTS

# %% [markdown]
# Hint: `x.flip(1)` reverses the frames. What you reversed on the way in, you must reverse again on the way out, but only
# for the outputs.
