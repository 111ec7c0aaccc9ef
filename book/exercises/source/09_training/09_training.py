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
# To [Chapter 9](../../../09_training.ipynb). Symbols: B clips, K classes; logits (B, K), true classes y (B,).

# %%
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
    logits = logits - logits.max(dim=1, keepdim=True).values  # (B, K), the probabilities stay the same
    log_p = logits - logits.exp().sum(dim=1, keepdim=True).log()  # (B, K)
    return -log_p[torch.arange(len(y)), y].mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "cross-entropy-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
equal = cross_entropy(torch.zeros(4, 101), torch.tensor([0, 1, 50, 100]))
assert abs(float(equal) - math.log(101)) < 1e-5, "equal logits: every class gets 1/K, so the loss is ln K"
sure = cross_entropy(torch.tensor([[1000.0, 0.0]]), torch.tensor([0]))
assert abs(float(sure)) < 1e-5, (
    "logits of 1000: e^1000 is infinity, take the largest logit away from all before"
)
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(5)
logits = 4 * torch.randn(9, 6, generator=generator)
y = torch.randint(6, (9,), generator=generator)
assert_close(cross_entropy(logits, y), F.cross_entropy(logits, y))
assert_close(cross_entropy(logits - 900, y), F.cross_entropy(logits - 900, y))
### END HIDDEN TESTS

# %% [markdown]
# Hint: adding the same number to all logits of a clip changes no probability.

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
assert batch_sizes(192, 27) == [24] * 8, "7 batches of 27 and a rest of 3: eight batches, so 24 clips each"
assert batch_sizes(10, 4) == [4, 3, 3], "10 = 4 + 3 + 3, and not 4 + 4 + 2"
### BEGIN HIDDEN TESTS
for n, largest in ((9990, 80), (80, 80), (81, 80), (7, 3), (5, 9)):
    expected = [len(part) for part in torch.arange(n).tensor_split(math.ceil(n / largest))]
    assert list(batch_sizes(n, largest)) == expected
### END HIDDEN TESTS

# %% [markdown]
# Hint: first the number of batches, `math.ceil(n / largest)`, then share out.

# %% [markdown]
# ## 3 Three numbers from one training (thinking)
#
# `three_numbers(history)` gets a table with the columns `epoch`, `validation_top1` and `test_top1` and gives a dictionary:
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
    test = history.sort_values("epoch")["test_top1"].tolist()
    validation = history.sort_values("epoch")["validation_top1"].tolist()
    return {"best": max(test), "last": test[-1], "chosen": test[validation.index(max(validation))]}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "three-numbers-test", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
history = pd.DataFrame(
    {"epoch": [1, 2, 3, 4], "validation_top1": [0.2, 0.6, 0.6, 0.5], "test_top1": [0.3, 0.5, 0.8, 0.7]}
)
numbers = three_numbers(history)
assert numbers["best"] == 0.8, "best is the highest value of the column test_top1"
assert numbers["last"] == 0.7, "last is the test top-1 after the last epoch"
assert numbers["chosen"] == 0.5, "epochs 2 and 3 tie on validation: take the first; its test top-1 is 0.5"
### BEGIN HIDDEN TESTS
other = pd.DataFrame(
    {"epoch": [1, 2, 3], "validation_top1": [0.9, 0.1, 0.2], "test_top1": [0.4, 0.6, 0.5]}, index=[7, 3, 5]
)
assert three_numbers(other) == {"best": 0.6, "last": 0.5, "chosen": 0.4}
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
# **b.** `passes_until(share, m)`: the smallest number of passes after which at most `share` (between 0 and 1) of the start is left.
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
    "one pass with momentum 0.1 leaves nine tenths of the start"
)
assert passes_until(0.5, m=0.5) == 1, "with momentum 0.5 one pass leaves half"
print(f"5 % of the start are left after {passes_until(0.05)} passes")
### BEGIN HIDDEN TESTS
norm = nn.BatchNorm1d(1, momentum=0.3).train()
norm.running_mean.fill_(5.0)
for _ in range(4):
    norm(torch.tensor([[1.0], [3.0]]))
assert abs(running_mean(5.0, 2.0, 4, m=0.3) - norm.running_mean.item()) < 1e-5
assert passes_until(0.05) == 29
assert passes_until(0.9) in (1, 2)  # 0.9 ** 1 may or may not be 1 - 0.1 in floating point
assert passes_until(0.2, m=0.01) == 161
### END HIDDEN TESTS

# %% [markdown]
# Hint: no step of training is needed for any of this, and no gradient. That is why nobody notices.

# %% [markdown]
# ## 5 Predict, then move it (with the record dashboard)
#
# The dashboard shows the training curves of our study on stick figures (generated clips). Before you run the next cell, set
# `prediction`, a dictionary with three entries:
#
# - `"easiest split"`: under which protocol is the test top-1 of `context_lstm` after the last epoch highest: `"paper"`
#   (random), `"grouped"` or `"official"`?
# - `"test loss"`: for `cnn_lstm` on the grouped split, is the test loss after the last epoch `"higher"` than at its lowest epoch
#   by more than a tenth, or `"the same"`?
# - `"without order"`: `shuffled_lstm` gets the frames in random order. On the grouped split, is its last test top-1
#   `"lower"` than that of `cnn_lstm` by more than 5 points, or `"the same"`?
#
# Every time the mean over the seeds is meant. Then look, and correct what you had wrong.

# %% nbgrader={"grade": false, "grade_id": "prediction", "locked": false, "schema_version": 3, "solution": true, "task": false}
### BEGIN SOLUTION
prediction = {"easiest split": "paper", "test loss": "higher", "without order": "lower"}
### END SOLUTION

# %%
records = runs.load(Path(ctxlstm.__file__).parents[1] / "papermill_runs" / "results" / "stickfigures")
widgets.record_dashboard(records)

# %%
widgets.record_dashboard_figure(records)

# %% nbgrader={"grade": true, "grade_id": "prediction-test", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
assert set(prediction) == {"easiest split", "test loss", "without order"}, (
    "three entries, named as in the text"
)
assert prediction["easiest split"] in ("paper", "grouped", "official"), "name one of the three protocols"
assert prediction["test loss"] in ("higher", "the same"), "higher, or the same"
assert prediction["without order"] in ("lower", "the same"), "lower, or the same"
### BEGIN HIDDEN TESTS
main = studies.usual(records)


def curve(model, protocol, column):
    rows = main[(main["model"] == model) & (main["protocol"] == protocol)]
    return pd.concat([runs.history(row) for _, row in rows.iterrows()]).groupby("epoch")[column].mean()


last = {
    split: curve("context_lstm", split, "test_top1").iloc[-1] for split in ("paper", "grouped", "official")
}
assert prediction["easiest split"] == max(last, key=last.get)
loss = curve("cnn_lstm", "grouped", "test_loss")
assert prediction["test loss"] == ("higher" if loss.iloc[-1] > 1.1 * loss.min() else "the same")
gap = (
    curve("cnn_lstm", "grouped", "test_top1").iloc[-1]
    - curve("shuffled_lstm", "grouped", "test_top1").iloc[-1]
)
assert prediction["without order"] == ("lower" if gap > 0.05 else "the same")
### END HIDDEN TESTS

# %% [markdown]
# Hint: choose the measure "test loss" and read it beside the test top-1 of the same runs. A model can get surer of its wrong
# answers while it gets no more of them.

# %% [markdown]
# ## 6 A large batch in small memory (extend)
#
# The paper says that larger batches gave better accuracy. If a batch does not fit into memory, cut it into parts, call
# `backward()` for each, and let the gradients add up before one step. Write `accumulate(model, x, y, sizes)`: it leaves in
# every `parameter.grad` exactly the gradient of the mean loss over the *whole* batch. `sizes` are the parts' sizes; they
# add up to len(x) and need not be equal.
#
# Predict first: would it be exact for a model with BatchNorm too? ______


# %% nbgrader={"grade": false, "grade_id": "accumulate", "locked": false, "schema_version": 3, "solution": true, "task": false}
def accumulate(model, x, y, sizes):
    """Fill the gradients of F.cross_entropy(model(x), y), one part at a time; returns nothing."""
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
accumulate(model, x, y, [6, 6])
for mine, wanted in zip(model.parameters(), whole.parameters(), strict=True):
    assert mine.grad is not None, "call backward() for every part"
    assert_close(
        mine.grad,
        wanted.grad,
        msg="the sum of two means of 6 clips is twice the mean of 12: weight the parts",
    )
### BEGIN HIDDEN TESTS
seen = []
model.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
accumulate(model, x, y, [7, 1, 4])  # also: gradients of the call before must be gone
assert seen == [7, 1, 4]
for mine, wanted in zip(model.parameters(), whole.parameters(), strict=True):
    assert_close(mine.grad, wanted.grad)
### END HIDDEN TESTS

# %% [markdown]
# Hint: weight each part's mean loss by its share of the clips, and start from gradients of zero.
