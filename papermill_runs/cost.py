# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What does the head cost? Predict, then measure
#
# The paper says (section 4.3, Table 2) that its Context-LSTM trains in 55 hours where the baseline needs 93, and in
# 3.6 GB of GPU memory where the baseline needs 5.5. This notebook works out both from the layers alone, then runs
# real training steps, and puts the three side by side.
#
# Two ways to train are compared. *Online*: the frames of every clip go through the frozen ResNet-50 in every epoch,
# as in the public code base that the paper's screenshot shows. *Cached*: that is done once, and the head is trained
# on the kept features.
#
# **Before you run it, write down three guesses.** Context-LSTM is a cascade of nine bi-directional LSTM layers,
# the baseline has three that look one way. (1) How many times as many parameters has the cascade? (2) Should an
# epoch of it be shorter or longer, and should it take less memory or more? (3) In the online way, which share of
# the arithmetic is the head's, and which the frozen ResNet-50's?

# %% tags=["parameters"]
models: list = [
    "cnn_lstm",
    "context_lstm_no_pool",
    "context_lstm_bn_relu",
    "context_lstm",
]  # see ctxlstm.models.NAMES
hidden_size: int = 512  # H, units of each LSTM layer and direction (the paper: 512)
embedding: list = [1024, 768, 512]  # widths of the layers before the LSTM (the paper's code base: these)
frames: int = 28  # T, frames of a clip (the paper's code base: 28)
batch_size: int = 80  # clips of a step on features (the paper: 80)
online_batch_size: int = 0  # clips of a step on frames; 0: batch_size on a GPU, 4 on a CPU
size: int = 224  # side of the square frames, pixels
steps: int = 3  # measured steps behind each median
results: str = ""  # folder that gets the record (default: papermill_runs/out/cost)
name: str = ""  # the record's name (default: device and setting)
cpu: bool = False  # do not use a GPU

# %% [markdown]
# ## 1 Check the settings

# %%
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import LogLocator, NullLocator

from ctxlstm import cost, figures, paper
from ctxlstm.cost import records
from ctxlstm.experiments import runs

setup = records.Setup.from_notebook(globals())
results_folder = runs.prepare(results or runs.default_folder() / "cost")
full = (setup.hidden_size, setup.frames, setup.batch_size, setup.size) == (512, 28, 80, 224)
print(
    f"{len(setup.models)} models on the {setup.device}, steps of {setup.batch_size} clips of features and of "
    f"{setup.online_batch_size} clips of {setup.frames} frames{'' if full else '; NOT the size of the paper'}"
)

# %% [markdown]
# ## 2 Count by hand
#
# An LSTM layer with input width $i$ and $h$ units has four gates, each with a matrix for the input, one for the
# state, and PyTorch's two bias vectors: $4h(i+h+2)$ parameters in each direction. In one frame each weight is
# multiplied and added once: $4h(i+h)$ multiply-adds.


# %%
def lstm_layers(model: str) -> list[tuple[int, int]]:
    """(input width, directions) of every LSTM layer of Table 2's models."""
    h, first = setup.hidden_size, (*setup.embedding[-1:], 2048)[0]
    if model == "cnn_lstm":
        return [(first, 1), (h, 1), (h, 1)]
    between = h if model == "context_lstm" else 2 * h  # MaxPool halves what the next block reads
    return [(width, 2) for start in (first, between, between) for width in (start, 2 * h, 2 * h)]


def by_hand(model: str) -> tuple[int, int]:
    """Parameters, and multiply-adds of one clip: embedding, LSTM layers, BatchNorm behind blocks, classifier."""
    h, layers, blocks = setup.hidden_size, lstm_layers(model), 0 if model == "cnn_lstm" else 3
    pairs = list(zip((2048, *setup.embedding), setup.embedding, strict=False))
    last = 2 * h if model == "context_lstm_no_pool" else h
    embedding_parameters = sum((a + 1) * b for a, b in pairs) + sum(2 * b for _, b in pairs[:-1])
    lstm_parameters = sum(directions * 4 * h * (i + h + 2) for i, directions in layers)
    parameters = embedding_parameters + lstm_parameters + blocks * 2 * (2 * h) + (last + 1) * 256 + 257 * 101
    a_frame = sum(a * b for a, b in pairs) + sum(directions * 4 * h * (i + h) for i, directions in layers)
    return parameters, setup.frames * a_frame + last * 256 + 256 * 101


# %% [markdown]
# ## 3 Count by machine
#
# `cost.predict` builds the model from tensors that have shapes and no numbers, runs one training step, and counts
# its products. Both counts must agree to the last parameter and the last multiply-add.

# %%
table2 = paper.table2().set_index("model")
costs = {model: setup.predict(model) for model in table2.index}
for model, predicted in costs.items():
    parameters, multiply_adds = by_hand(model)
    assert (predicted.parameters, predicted.forward_flops) == (parameters, 2 * multiply_adds), model
    print(
        f"{model}: {parameters:,} parameters, {2 * multiply_adds / 1e9:.3f} GFLOP per clip, both ways of counting"
    )
ratio = costs["context_lstm"].parameters / costs["cnn_lstm"].parameters
print(f"The cascade has {ratio:.1f} times the baseline's parameters: guess 1.")

# %% [markdown]
# ## 4 Predict time and memory
#
# A training step holds, in float32: the weights, one gradient for each, Adam's two running means for each, and the
# activations that the backward pass needs again. The online way adds the backbone: its weights, the step's frames,
# and the activations of the images that go through it together.

# %%
predicted = records.table(setup)
megabytes = (
    predicted.set_index(["model", "way"])
    .filter(like="_bytes")
    .drop(columns=["measured_bytes", "process_bytes"])
)
(megabytes / 1e6).astype(float).round(1).rename(columns=lambda column: column.replace("_bytes", " (MB)"))

# %%
predicted.set_index(["model", "way"])[["batch_size", "parameters", "forward_gflops", "step_tflops"]].round(3)

# %% [markdown]
# Now the paper's own comparison, for its epochs of 9,990 training and 3,330 test clips at this setting's batch. How many
# hours should the difference in arithmetic make, if the baseline's 93 hours are taken as given? (`_change`: minus
# the baseline.)

# %%
comparison = cost.paper_comparison(costs).set_index("model")
columns = "paper_hours_change flops_hours_change paper_gb_change online_gb_change head_flops_share"
comparison[columns.split()].round(4)

# %%
for model in comparison.index[1:]:
    row = comparison.loc[model]
    print(
        f"{model}: the paper reports {row.paper_hours_change:+.0f} h and {row.paper_gb_change:+.1f} GB against the "
        f"baseline; the layers predict {row.flops_hours_change:+.2f} h and {row.online_gb_change:+.2f} GB"
    )
shares = comparison["head_flops_share"]
print(f"The head's share of an online epoch's arithmetic: {shares.min():.2%} to {shares.max():.2%}: guess 3.")

# %% [markdown]
# ## 5 Measure
#
# **Guess once more:** a step on features and a step on frames, both per clip: how many times faster is the first?
#
# Each model is now trained for a few steps in a process of its own, so that the memory is that of one model: on a
# GPU what torch's allocator gave out at most, on a CPU the growth of the process's resident set. A record of this
# name that is there already is kept.


# %%
def told(model: str, way: str, found) -> None:
    """One line for each measurement."""
    print(
        f"{model}, {way}: {found.step_seconds:.3f} s a step of {found.batch_size} clips, "
        f"{found.grown_bytes / 1e9:.2f} GB more memory",
        flush=True,
    )


folder = records.record(setup, results_folder, name=name, on_done=told)
record = records.read(folder).set_index(["model", "way"])
print(f"The record: {folder.name}, {record['device'].iloc[0]}")

# %% [markdown]
# ## 6 Predicted and measured, beside the paper
#
# `hours` scales the measured step by the clip to 300 epochs of the paper's data, the test set counted as forward
# passes. Hours of another machine than the paper's GTX 1080 Ti are not its hours: compare rows, not machines.
# The paper's figures stand in the rows of its own way, online.

# %%
beside = pd.DataFrame(
    {
        "clips a step": record["batch_size"],
        "predicted (GB)": (record["predicted_bytes"] / 1e9).round(2),
        "measured (GB)": (record["measured_bytes"].astype(float) / 1e9).round(2),
        "paper (GB)": [table2["memory_gb"].get(m) if way == "online" else None for m, way in record.index],
        "step (s)": record["step_seconds"].round(3),
        "epoch (s)": record["epoch_seconds"].round(0),
        "hours, 300 epochs": record["hours_300"].round(1),
        "paper (h)": [table2["hours"].get(m) if way == "online" else None for m, way in record.index],
    }
)
beside

# %% [markdown]
# In the next figure, what a blue bar is longer than its grey one is memory that the count of tensors does not see:
# workspaces of the libraries, what a fused LSTM keeps besides the equations' numbers, blocks in reserve.

# %%
with plt.rc_context(figures.style()):
    drawing, axes = plt.subplots(figsize=(8, 0.6 * len(record) + 1.2), layout="constrained")
    bars = (record[["measured_bytes", "predicted_bytes"]].astype(float) / 1e9)[::-1]
    bars.columns = ["measured", "predicted"]
    bars.index = [f"{model}, {way}" for model, way in bars.index]
    bars.plot.barh(ax=axes, color=["#0072B2", "#A9ADA5"], width=0.75)
    axes.set(xlabel="memory of a training step (GB)", ylabel="", title="What a step holds")
    axes.get_legend().remove()
    drawing.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    plt.close(drawing)
drawing


# %% [markdown]
# ## 7 Which way do the differences point?
#
# Everything relative to the baseline: 1 is the baseline itself, left of it is cheaper. Only ratios can be compared
# between machines. Memory of the online way is predicted and measured at the clips a step of section 6; the fewer
# they are, the larger is the share of the weights, and with it the ratio. Section 4 has it at the paper's batch.


# %%
def relative(column: str, way: str) -> pd.Series:
    """A column of the record, each model over the baseline; empty where the baseline was not measured."""
    values = record.xs(way, level="way")[column].astype(float)
    return values / values.get("cnn_lstm", float("nan"))


ratios = {
    "time per epoch": {
        "paper": table2["hours"] / table2["hours"]["cnn_lstm"],
        "predicted from FLOPs, online": comparison["epoch_pflops"] / comparison["epoch_pflops"]["cnn_lstm"],
        "measured, online": relative("epoch_seconds", "online"),
        "measured, cached": relative("epoch_seconds", "cached"),
    },
    "memory": {
        "paper": table2["memory_gb"] / table2["memory_gb"]["cnn_lstm"],
        "predicted, online": relative("predicted_bytes", "online"),
        "measured, online": relative("measured_bytes", "online"),
        "measured, cached": relative("measured_bytes", "cached"),
    },
}

# %%
others = [model for model in table2.index if model != "cnn_lstm"]
with plt.rc_context(figures.style()):
    drawing, panels = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True, layout="constrained")
    for axes, (what, sources) in zip(panels, ratios.items(), strict=True):
        for (source, values), marker in zip(sources.items(), "D|os", strict=True):
            colour = {"D": "#D55E00", "|": "#222222", "o": "#0072B2", "s": "#56B4E9"}[marker]
            label = source.split(" from")[0].split(", online")[0] if marker == "|" else source
            style = {"marker": marker, "color": colour, "s": 300 if marker == "|" else 70, "label": label}
            axes.scatter(values.reindex(others), range(len(others)), **style)
        axes.axvline(1, color=figures.GREY, linewidth=1)
        axes.set(xscale="log", xlabel=f"{what}, baseline = 1 (ratio)", ylim=(-0.6, len(others) - 0.4))
        axes.set_yticks(range(len(others)), others)
        axes.xaxis.set(major_locator=LogLocator(base=2), minor_locator=NullLocator(), major_formatter="{x:g}")
    panels[0].set_title("Against the baseline")
    drawing.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    plt.close(drawing)
drawing

# %% [markdown]
# How to read it: the paper's diamonds lie left of 1, so it reports the cascade as cheaper. A mark right of 1
# contradicts that. In the cached way the head is all there is, so its ratio shows the head's cost undiluted; in the
# online way the backbone, the same for all, hides it.

# %% [markdown]
# ## 8 What the head can and cannot explain


# %%
def sign(value: float) -> str:
    """The direction of a ratio, in a word."""
    return (
        "not measured"
        if value != value
        else "less"
        if value < 0.98
        else "more"
        if value > 1.02
        else "the same"
    )


print("Against the baseline (a ratio within 2 % of 1 counts as the same):")
for model in others:
    for what, sources in ratios.items():
        said = {source: values.get(model, float("nan")) for source, values in sources.items()}
        words = "; ".join(
            f"{source}: {sign(value)}" + (f" (x{value:.2f})" if value == value else "")
            for source, value in said.items()
        )
        print(f"- {model}, {what}: {words}")

# %% [markdown]
# The head is so small a part of an online step that its time drowns in how exactly a step can be timed. What a
# measured online ratio differs from the predicted one is that noise, or another program on the same machine.

# %%
online_time = ratios["time per epoch"]
noise = (
    (online_time["measured, online"] / online_time["predicted from FLOPs, online"] - 1).abs().drop("cnn_lstm")
)
if noise.notna().any():
    effect = (online_time["predicted from FLOPs, online"] - 1).max()
    print(
        f"Online, the heads should differ by at most {effect:.1%} in time; measured and predicted ratios are up to "
        f"{noise.max():.1%} apart with {setup.steps} steps a median."
    )

# %%
base, ours = comparison.loc["cnn_lstm"], comparison.loc["context_lstm"]
saved_hours, saved_gb = -ours.paper_hours_change, -ours.paper_gb_change
head_hours = base.head_flops_share * base.paper_hours
print(
    f"Time: the paper's cascade saves {saved_hours:.0f} of {base.paper_hours:.0f} h. By FLOPs the whole baseline head takes "
    f"{head_hours:.2f} h of them ({base.head_flops_share:.2%}): a head that took no time at all could save no more, and "
    f"the cascade's head has {ours.step_tflops / base.step_tflops:.1f} times the work. Backbone, decoding or disk must differ."
)
print(
    f"Memory: the cascade saves {saved_gb:.1f} GB there. The whole baseline head, with gradients, Adam and activations, "
    f"holds {base.head_gb:.2f} GB and the cascade's {ours.head_gb:.2f} GB: the head "
    f"{'cannot' if base.head_gb < saved_gb else 'could'} explain the saving, whose sign is "
    f"{'the opposite one' if ours.online_gb_change > 0 else 'the same'} here."
)
both = record["epoch_seconds"].unstack("way")
for model, row in both.iterrows():
    print(
        f"Cached features make an epoch of {model} {row['online'] / row['cached']:.0f} times as fast on this machine."
    )
