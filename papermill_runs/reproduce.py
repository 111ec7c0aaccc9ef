# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The main job: from video files to a trained Context-LSTM
#
# This notebook does the paper's whole experiment once, end to end: read the clips, turn them into feature
# sequences with a frozen CNN, split them, train the paper's two models beside two simple heads, and measure them.
#
# It runs out of the box on generated videos. To run it on UCF101, from the folder that holds README.md:
#
# ```
# papermill papermill_runs/reproduce.ipynb out.ipynb -p dataset ucf101 -p root /data/UCF101 -p backbone resnet50
# ```
#
# A relative path means: from the folder in which the notebook runs.
#
# **Before you run it, guess:** a classifier that only looks up the most similar training clip, with no training at
# all. How many of the test clips does it get right when the clips are split at random, as the paper does it? And
# how many when no test clip shares its source video with a training clip?

# %% tags=["parameters"]
dataset: str = "stickfigures"  # stickfigures (generated), ucf101, or folder (book/own_data.md)
root: str = ""  # folder with the clips; stickfigures: where to render (default: the user's cache)
groups: int = 25  # stickfigures: source videos a class (25 as in UCF101)
lists: str = ""  # folder with UCF101's official list files, to check the official split against
results: str = ""  # folder that gets the run folders (default: papermill_runs/out)
cache: str = ""  # folder for features (default: the user's cache)
backbone: str = "efficientnet_lite0"  # efficientnet_lite0 or resnet50
weights: str = ""  # resnet50: file with weights (default: torchvision's, cached or downloaded)
stride: str = (
    ""  # resnet50: v1 or v1.5, which convolution has stride 2 (default: what the file says, else v1.5)
)
batch_norm: str = "imagenet"  # statistics of the backbone's BatchNorm: imagenet, adapted or drift
size: int = 0  # side of the square frames are squashed to, pixels; 0: 224 for resnet50, else 160
frames: int = 12  # T, frames of a clip (the paper's code base: 28)
rule: str = "uniform"  # which frames: uniform over the clip, or first (the paper's code base)
models: list = ["nearest_neighbour", "mean_linear", "cnn_lstm", "context_lstm"]  # see ctxlstm.models.NAMES
hidden_size: int = 64  # H, units of each LSTM layer and direction (the paper: 512)
embedding: list = [128]  # widths of the layers before the LSTM (the paper's code base: 1024, 768, 512)
protocols: list = ["paper", "grouped"]  # paper (random 3:1), grouped, official
fold: int = 1  # official protocol: 1, 2 or 3
epochs: int = 30  # (the paper: 300)
batch_size: int = 40  # (the paper: 80)
learning_rate: float = 0.001  # (the paper: 0.001)
validation: float = 0.1  # share of the training set on which an epoch is chosen, cut off by whole groups
seeds: list = [0, 1, 2]  # of splits, weights, order of batches
cpu: bool = False  # do not use a GPU
workers: int = 2  # trainings at the same time

# %% [markdown]
# ## 1 Check the settings
#
# A wrong name stops the run here and not after an hour.

# %%
import time

import pandas as pd
from IPython.display import display

from ctxlstm import datasets, evaluation, figures, stickfigures, video
from ctxlstm.experiments import runs, steps, sweep
from ctxlstm.experiments.settings import Study
from ctxlstm.report import study_tables

study = Study.from_notebook(globals(), besides=["workers"])
results_folder = runs.prepare(study.results)
started = time.monotonic()

# %% [markdown]
# ## 2 The clips (paper, section 3.1)
#
# A clip's name says all we need: class, group and number. Clips of one *group* are cut from one long source video:
# same person, same room, same camera. The stick figures imitate that: a group fixes the figure's looks and its
# background.

# %%
clips = steps.clips(study)
groups_here = datasets.count_groups(clips)
print(f"{len(clips)} clips, {clips['label'].nunique()} classes, {groups_here or 'no known'} groups")

# %% [markdown]
# The generated set holds pairs of classes that are one movement and its reverse. They consist of the same poses:
# what tells them apart is the order of the frames, here from left to right.

# %%
if study.dataset == "stickfigures":
    pair = stickfigures.REVERSED_PAIRS[0]
    shown = [
        video.read_frames(clips.query("label == @label")["path"].iloc[0], 8, "uniform").images
        for label in pair
    ]
    display(figures.film_strip(shown, pair))
else:
    print(
        "Frames of a data set that is for research use only are not shown in a notebook that may be published."
    )

# %% [markdown]
# ## 3 The splits, and what they leak
#
# The paper splits the clips at random, 3 to 1. Nearly every test clip then has a sibling, cut from the same source
# video, among the training clips. `grouped` keeps every group on one side. Of the training set some whole groups
# are then kept for validation, which lowers the share of siblings a little; the run records hold that lower share.
# Every seed draws its own splits; here are those of the first one.


# %%
jobs = study.replace(folds=()).runs()  # one fold
on = {run.protocol: run for run in reversed(jobs)}  # the first seed's run of each protocol
splits = {protocol: steps.split(on[protocol], clips) for protocol in study.protocols}
leaks = {protocol: datasets.leakage(clips, split) for protocol, split in splits.items()}
pd.DataFrame(
    {
        protocol: {
            "training clips": len(split.train),
            "test clips": len(split.test),
            "test clips with a sibling in training (%)": round(100 * leaks[protocol].share, 1),
            "siblings of a test clip, mean": round(leaks[protocol].siblings_mean, 2),
        }
        for protocol, split in splits.items()
    }
).T

# %% [markdown]
# ## 4 From frames to features (sections 3.2 and 3.4)
#
# A frozen CNN turns each sampled frame into a vector, a clip into a sequence (T, D). Frozen means that the numbers
# never change, so they are computed once and kept.


# %%
first, *_ = study.protocols
features = steps.features(on[first], clips, splits[first])
print(f"features x {tuple(features.x.shape)} = (N clips, T frames, D numbers a frame)")
features.left_out if len(features.left_out) else print("no clip was left out")

# %% [markdown]
# ## 5 Train every head on every split, with every seed (section 4.2)
#
# Cross-entropy, Adam; after every epoch the loss and the top-1 accuracy on the test set, as the paper does it, and
# on a validation set, which the paper does not have. A run that was killed goes on after its last epoch; a
# finished run is kept and not repeated.

# %%
done = sweep.run([run.replace(results=str(results_folder)) for run in jobs], workers=workers)
failed = done[done["status"] == "failed"]
if len(failed):
    raise RuntimeError(
        f"{len(failed)} of {len(done)} runs failed, the first with: {failed['reason'].iloc[0]}"
    )
records = pd.DataFrame([runs.read(results_folder / name) for name in done["run"]])

# %% [markdown]
# ## 6 The table
#
# Test top-1 in per cent: the mean over the seeds, and in brackets the lowest and the highest seed. `late` is the mean
# over the last third of the epochs, `last` the accuracy after the last epoch, `best` the best of all epochs *on the
# test set* (what the paper reports), `chosen` the accuracy at the epoch that the validation set picks.
#
# The paper trains once, at a constant learning rate, and reads the accuracy off single epochs. So does `last`, and it
# is a lottery ticket: `jumps` says by how many points one late epoch differs from the next (their standard deviation).
# On another processor, which rounds sums differently, the same training ends elsewhere. `late` chooses no epoch and
# averages that out, so it is the number to quote. The validation set is cut off by whole groups, so on the random
# split it has no siblings in training while the test set has.


# %%
def over_seeds(values: pd.Series) -> str:
    """Mean, lowest and highest of some shares, in per cent."""
    low, mean, high = (100 * value for value in (values.min(), values.mean(), values.max()))
    return f"{mean:.1f} ({low:.0f}-{high:.0f})" if len(values) > 1 else f"{mean:.1f}"


names = {"late": "top1_late", "last": "top1_last", "best": "top1_best", "chosen": "top1_validation_chosen"}
jumps = [100 * evaluation.late(runs.history(run)).sd for run in records.to_dict("records")]
of_head = records.assign(jumps=jumps).groupby(["model", "protocol"], sort=False)
table = of_head[list(names.values())].agg(lambda values: over_seeds(values.astype(float)))
table = table.rename(columns={column: name for name, column in names.items()})
table["jumps"] = of_head["jumps"].mean().round(1)
table["seconds"], table["parameters"] = of_head["seconds"].mean().round(1), of_head["parameters"].first()
table = table.reindex([(model, protocol) for model in study.models for protocol in study.protocols])
table

# %% [markdown]
# ## 7 The figures
#
# The first figure is the leak: every head on each split. Dots are the mean of `late` over the seeds, lines its 95 %
# interval over seeds (t), the grey bar the difference between a head's splits. The seeds draw from the same clips, so
# the lines are somewhat too short.

# %%
display(figures.heads_by_protocol(study_tables.leak(records).frame))

# %% [markdown]
# Training loss and test accuracy of the trained heads, in the form of the paper's Fig. 6, on the last of the splits with
# the first seed. A curve that still rises at its end says that more epochs might change the ranking; the distance between
# triangle and dot is what choosing the epoch on the test set is worth in this run.

# %%
last = study.protocols[-1]
of_first_seed = records[(records["protocol"] == last) & (records["seed"] == jobs[0].seed)].set_index("model")
trained = {
    model: runs.history(run)
    for model, run in of_first_seed.iterrows()
    if run["parameters"] and run["epochs"] > 1
}
display(figures.curves(trained, title=f"{last} split")) if trained else print(
    "no head here has a training curve"
)

# %% [markdown]
# Which classes are taken for which in that run, after its last epoch: rows are true classes, columns what the last of
# the heads says. Counts beside the diagonal between a movement and its reverse are clips whose order was not understood.

# %%
predictions = runs.predictions(of_first_seed.loc[study.models[-1]])
display(figures.confusion(evaluation.confusion(predictions), title=f"{study.models[-1]}, {last} split"))

# %% [markdown]
# The same by class, worst first: `top1` is a share, `most_confused_with` the class most often said instead.

# %%
evaluation.per_class(predictions).sort_values("top1").head(6)

# %% [markdown]
# ## 8 What the numbers show


# %%
late = table["late"]
print(
    f"Test top-1 in per cent, mean of the last third of {study.epochs} epochs and of {len(set(records['seed']))} seeds:"
)
for model in study.models:
    print(
        f"  {model}: "
        + ", ".join(f"{protocol} split {late[model, protocol]}" for protocol in study.protocols)
    )
if "paper" in study.protocols and last != "paper" and groups_here:
    shares = records.groupby("protocol")["test_clips_with_sibling"].mean()
    means = records.pivot_table(index="model", columns="protocol", values="top1_late")
    falls = (100 * (means["paper"] - means[last])).sort_values()
    print(
        f"On the random split {shares['paper']:.0%} of the test clips have a sibling in training, on the {last} split "
        f"{shares[last]:.0%}. Between the two every head loses {falls.iloc[0]:.0f} to {falls.iloc[-1]:.0f} points, "
        f"{falls.index[-1]} most."
        if falls.iloc[0] > 0
        else f"From the random to the {last} split the heads change by {-falls.iloc[-1]:+.0f} to {-falls.iloc[0]:+.0f} points."
    )
print(f"{time.monotonic() - started:.0f} s in all for {len(records)} run records.")
