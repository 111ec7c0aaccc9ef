# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises 9: training
#
# To [Chapter 9](../../../09_training.ipynb). Six exercises, 14 points. Replace `# YOUR CODE HERE` and the line below it, then
# run the cell that follows: it checks part of the answer. Hidden tests check the same things on other data when the sheet is
# graded. Symbols: B clips, K classes; logits (B, K), true classes y (B,).

# %%
# %matplotlib inline
import copy
import math
from pathlib import Path

import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import ctxlstm
from ctxlstm import widgets
from ctxlstm.experiments import runs
from ctxlstm.report import studies

# %% [markdown]
# ## 1 The loss by hand (basic)
#
# Write the mean cross-entropy of logits (B, K) and classes y (B,) without `F.cross_entropy`, `nn.CrossEntropyLoss` or any
# other ready-made loss. It must also work for logits as large as 1000.
#
# Predict first: the loss of a model that gives all K = 101 classes the same logit: ______


# %% nbgrader={"grade": false, "grade_id": "cross-entropy", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cross_entropy(logits, y):
    """Mean over the clips of -log p(true class), a tensor with one number."""
    ### BEGIN SOLUTION
    logits = logits - logits.max(dim=1, keepdim=True).values  # (B, K), same softmax
    log_p = logits - logits.exp().sum(dim=1, keepdim=True).log()  # (B, K)
    return -log_p[torch.arange(len(y)), y].mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "cross-entropy-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
equal = cross_entropy(torch.zeros(4, 101), torch.tensor([0, 1, 50, 100]))
assert abs(float(equal) - math.log(101)) < 1e-5, (
    "equal logits: every class gets 1/K, so the loss is ln K")
sure = cross_entropy(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]))
assert abs(float(sure)) < 1e-5, (
    "logits of 1000: e^1000 is infinite; subtract the largest logit from all first")
wrong = cross_entropy(torch.tensor([[1000.0, 0.0], [0.0, 0.0]]), torch.tensor([1, 1]))
assert abs(float(wrong) - (1000 + math.log(2)) / 2) < 1e-3, (
    "losses 1000 and ln 2: e^-1000 is 0 as a float, and each clip has its own maximum")
assert isinstance(wrong, torch.Tensor), "return a tensor, for backward()"
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(5)
logits = 4 * torch.randn(9, 6, generator=generator)
y = torch.randint(6, (9,), generator=generator)
far = 300 * torch.arange(9)[:, None]  # another offset for each clip
for z in (logits, logits - 900, logits + far, 200 * logits):  # (B, K)
    assert_close(cross_entropy(z, y), F.cross_entropy(z, y), rtol=1e-4, atol=1e-4)
### END HIDDEN TESTS

# %% [markdown]
# Hint: adding the same number to all logits of a clip changes no probability. And log(a / b) = log a - log b.

# %% [markdown]
# ## 2 Equal batches (basic)
#
# `batch_sizes(n, largest)`: cut n clips into the *fewest* batches of at most `largest` clips, as equal as possible: sizes
# differ by at most 1, larger ones first. Give the list of sizes.
#
# Predict first: the paper's 9,990 training clips, batches of at most 80. How many batches, and how large is the
# smallest? ______ And how large would the last be if all others were full? ______


# %% nbgrader={"grade": false, "grade_id": "batch-sizes", "locked": false, "schema_version": 3, "solution": true, "task": false}
def batch_sizes(n, largest):
    """List of whole numbers that add up to n."""
    ### BEGIN SOLUTION
    count = -(-n // largest)
    return [n // count + (number < n % count) for number in range(count)]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "batch-sizes-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert sum(batch_sizes(192, 27)) == 192, "every clip must be in one batch"
assert batch_sizes(192, 27) == [24] * 8, "7 * 27 leaves 3, so eight batches of 24 clips"
assert batch_sizes(10, 4) == [4, 3, 3], "10 = 4 + 3 + 3, and not 4 + 4 + 2"
assert batch_sizes(11, 4) == [4, 4, 3], "two left over go to two batches"
assert batch_sizes(12, 4) == [4, 4, 4], "three batches are enough for 12 clips"
### BEGIN HIDDEN TESTS
for n, largest in ((9990, 80), (80, 80), (81, 80), (7, 3), (5, 9), (15, 5), (23, 6)):
    parts = torch.arange(n).tensor_split(math.ceil(n / largest))
    assert list(batch_sizes(n, largest)) == [len(part) for part in parts]
### END HIDDEN TESTS

# %% [markdown]
# Hint: first the number of batches, `math.ceil(n / largest)`, then share out.

# %% [markdown]
# ## 3 Three numbers from one training (basic)
#
# `three_numbers(history)` gets a table with the columns `epoch`, `validation_top1` and `test_top1`, one row per epoch in the
# order of the epochs, and gives a dictionary:
#
# - `best`: the highest test top-1 of all epochs;
# - `last`: the test top-1 of the last epoch;
# - `chosen`: the test top-1 of the epoch with the highest validation top-1, the first of them on ties.
#
# Predict first: can `chosen` be larger than `best`? And smaller than `last`? ______


# %% nbgrader={"grade": false, "grade_id": "three-numbers", "locked": false, "schema_version": 3, "solution": true, "task": false}
def three_numbers(history):
    """{"best": ..., "last": ..., "chosen": ...}"""
    ### BEGIN SOLUTION
    test = history["test_top1"].tolist()
    validation = history["validation_top1"].tolist()
    chosen = validation.index(max(validation))
    return {"best": max(test), "last": test[-1], "chosen": test[chosen]}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "three-numbers-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
history = pd.DataFrame({"epoch": [1, 2, 3, 4], "validation_top1": [0.2, 0.6, 0.6, 0.5],
                        "test_top1": [0.3, 0.5, 0.8, 0.7]})
numbers = three_numbers(history)
assert numbers["best"] == 0.8, "best is the highest value of the column test_top1"
assert numbers["last"] == 0.7, "last is the test top-1 after the last epoch"
assert numbers["chosen"] == 0.5, "epochs 2 and 3 tie on validation: take epoch 2"
late = three_numbers(history[2:])  # the index of these rows is 2, 3
assert late["chosen"] == 0.8, "of epochs 3 and 4 alone, epoch 3 is chosen"
### BEGIN HIDDEN TESTS
other = pd.DataFrame({"epoch": [1, 2, 3], "validation_top1": [0.9, 0.1, 0.2],
                      "test_top1": [0.4, 0.6, 0.5]}, index=[7, 3, 5])
assert three_numbers(other) == {"best": 0.6, "last": 0.5, "chosen": 0.4}
other["validation_top1"], other["test_top1"] = [0.1, 0.9, 0.9], [0.7, 0.6, 0.5]
assert three_numbers(other) == {"best": 0.7, "last": 0.5, "chosen": 0.6}
### END HIDDEN TESTS

# %% [markdown]
# Hint: only one of the three looks at the test set to choose. Which of them may stand in a table without a remark?

# %% [markdown]
# ## 4 How fast do running statistics forget? (thinking)
#
# In train mode BatchNorm moves its running mean in every forward pass: new = (1 - m) * old + m * (the batch's mean), with
# the momentum m = 0.1.
#
# **a.** `running_mean(start, batch_mean, passes, m)`: the running mean after so many passes, if every batch has the same mean.
#
# **b.** `passes_until(share, m)`: the smallest number of passes after which at most `share` (0 < share < 1) of the start is
# left.
#
# Predict first: after how many passes is less than 5 % of the ImageNet mean left? ______ (The public code base makes 28
# in each training batch, one for each frame.)


# %% nbgrader={"grade": false, "grade_id": "running-mean", "locked": false, "schema_version": 3, "solution": true, "task": false}
def running_mean(start, batch_mean, passes, m=0.1):
    ### BEGIN SOLUTION
    left = (1 - m) ** passes
    return left * start + (1 - left) * batch_mean
    ### END SOLUTION


def passes_until(share, m=0.1):
    ### BEGIN SOLUTION
    passes = 0
    while (1 - m) ** passes > share:
        passes += 1
    return passes
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "running-mean-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
assert abs(running_mean(1.0, 0.0, 1) - 0.9) < 1e-9, (
    "one pass with momentum 0.1 leaves nine tenths of the start")
assert abs(running_mean(1.0, 3.0, 2, m=0.5) - 2.5) < 1e-9, (
    "momentum 0.5: half of the way from 1 to 3, then half of the rest")
assert passes_until(0.5, m=0.5) == 1, "with momentum 0.5 one pass leaves half"
assert passes_until(0.3, m=0.5) == 2, "one pass leaves 0.5, still more than 0.3"
print(f"at most 5 % of the start is left after {passes_until(0.05)} passes")
### BEGIN HIDDEN TESTS
norm = nn.BatchNorm1d(1, momentum=0.3).train()
norm.running_mean.fill_(5.0)
for _ in range(4):
    norm(torch.tensor([[1.0], [3.0]]))
assert abs(running_mean(5.0, 2.0, 4, m=0.3) - norm.running_mean.item()) < 1e-5
assert passes_until(0.05) == 29
assert passes_until(0.95) == 1
assert passes_until(0.05, m=0.3) == 9
assert passes_until(0.2, m=0.01) == 161
### END HIDDEN TESTS

# %% [markdown]
# Hint: solve (1 - m)^n <= share for n, or count the passes in a loop. No gradient is needed for any of this: that is why
# nobody notices.

# %% [markdown]
# ## 5 Predict, then move it (with the record dashboard)
#
# The dashboard shows the training curves of our study on stick figures (generated clips). Fill in the next cell before you
# run those below it: set `prediction`, a dictionary with three entries:
#
# - `"easiest split"`: under which protocol is the test top-1 of `context_lstm` after the last epoch highest: `"paper"`
#   (random), `"grouped"` or `"official"`?
# - `"test loss"`: for `gru` on the grouped split, does the curve of the test loss end more than 10 % above its lowest point
#   (`"higher"`) or not (`"the same"`)?
# - `"without order"`: `shuffled_lstm` gets the frames in random order. On the grouped split, is its test top-1 after the last
#   epoch more than 5 points below that of `cnn_lstm` (`"lower"`) or not (`"the same"`)?
#
# A curve is always the mean over the seeds, the line in the dashboard. Then look, and correct what you had wrong.

# %% nbgrader={"grade": false, "grade_id": "prediction", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
prediction = {"easiest split": "paper", "test loss": "higher", "without order": "lower"}
### END SOLUTION

# %%
results = Path(ctxlstm.__file__).parents[1] / "papermill_runs" / "results"
records = runs.load(results / "stickfigures")
widgets.record_dashboard(records)

# %%
widgets.record_dashboard_figure(records, ["gru"], "grouped", "test_loss")

# %% nbgrader={"grade": true, "grade_id": "prediction-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert set(prediction) == {"easiest split", "test loss", "without order"}, (
    "three entries, named as in the text")
splits = ("paper", "grouped", "official")
assert prediction["easiest split"] in splits, "name one of the three protocols"
assert prediction["test loss"] in ("higher", "the same"), "higher, or the same"
assert prediction["without order"] in ("lower", "the same"), "lower, or the same"
### BEGIN HIDDEN TESTS
main = studies.usual(records)


def curve(model, protocol, column):
    rows = main[(main["model"] == model) & (main["protocol"] == protocol)]
    histories = pd.concat([runs.history(row) for _, row in rows.iterrows()])
    return histories.groupby("epoch")[column].mean()


last = {split: curve("context_lstm", split, "test_top1").iloc[-1] for split in splits}
assert prediction["easiest split"] == max(last, key=last.get)
loss = curve("gru", "grouped", "test_loss")
rises = loss.iloc[-1] > 1.1 * loss.min()
assert prediction["test loss"] == ("higher" if rises else "the same")
gap = (curve("cnn_lstm", "grouped", "test_top1").iloc[-1]
       - curve("shuffled_lstm", "grouped", "test_top1").iloc[-1])
assert prediction["without order"] == ("lower" if gap > 0.05 else "the same")
### END HIDDEN TESTS

# %% [markdown]
# Look at the test loss and the test top-1 of the same runs: do their best epochs agree?

# %% [markdown]
# ## 6 A large batch in small memory (extend)
#
# The paper says that larger batches gave better accuracy. If a batch does not fit into memory, cut it into parts, call
# `backward()` for each, and let the gradients add up before one step. Write `accumulate(model, x, y, sizes)`: it leaves in
# every `parameter.grad` exactly the gradient of the mean loss over the *whole* batch, whatever was there before. `sizes`
# are the parts' sizes; they add up to len(x) and need not be equal. Only one part at a time may be in memory.
#
# Predict first: would it be exact for a model with BatchNorm in train mode, too? ______


# %% nbgrader={"grade": false, "grade_id": "accumulate", "locked": false, "schema_version": 3, "solution": true, "task": false}
def accumulate(model, x, y, sizes):
    """Fill the gradients of F.cross_entropy(model(x), y), part by part; return None."""
    ### BEGIN SOLUTION
    model.zero_grad()
    for part, classes in zip(x.split(list(sizes)), y.split(list(sizes)), strict=True):
        loss = F.cross_entropy(model(part), classes) * len(part) / len(x)
        loss.backward()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "accumulate-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
torch.manual_seed(0)
model, x, y = (
    nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)),
    torch.randn(12, 5),
    torch.arange(12) % 3,
)
whole = copy.deepcopy(model)
F.cross_entropy(whole(x), y).backward()
hints = {(6, 6): "two means of 6 add up to twice the mean of 12: weight the parts",
         (5, 4, 3): "unequal parts: give each its own weight, and forget old gradients"}
for sizes, hint in hints.items():
    accumulate(model, x, y, list(sizes))
    for mine, wanted in zip(model.parameters(), whole.parameters(), strict=True):
        assert mine.grad is not None, "call backward() for every part"
        assert_close(mine.grad, wanted.grad, msg=hint)
### BEGIN HIDDEN TESTS
seen = []
model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
model[2].weight.register_hook(lambda _: seen.append("backward"))
accumulate(model, x, y, [7, 1, 4])  # the previous gradients must be gone, too
assert seen == [7, "backward", 1, "backward", 4, "backward"]
for mine, wanted in zip(model.parameters(), whole.parameters(), strict=True):
    assert_close(mine.grad, wanted.grad)
### END HIDDEN TESTS

# %% [markdown]
# Hint: weight each part's mean loss by its share of the clips, and start from gradients of zero.
