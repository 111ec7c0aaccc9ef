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
dataset: str = "stickfigures"  # stickfigures (generated) or ucf101
root: str = ""  # ucf101: folder with the clips; stickfigures: where to render (default: the user's cache)
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
validation: float = 0.1  # share of the training part on which an epoch is chosen, cut off by whole groups
seed: int = 0  # of splits, weights, order of batches
cpu: bool = False  # do not use a GPU

# %% [markdown]
# ## 1 Check the settings
#
# A wrong name stops the run here and not after an hour.

# %%
import time

import pandas as pd
from IPython.display import display

from ctxlstm import evaluation, figures, stickfigures, ucf101, video
from ctxlstm import features as feature_cache
from ctxlstm.experiments import runs, steps
from ctxlstm.experiments.settings import Study

study = Study.from_notebook(globals())
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
print(
    f"{len(clips)} clips, {clips['label'].nunique()} classes, {clips.groupby(['label', 'group']).ngroups} groups"
)

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
# video, among the training clips. `grouped` keeps every group on one side. Of the training part some whole groups
# are then kept for validation, which lowers the share of siblings a little; the run records hold that lower share.


# %%
jobs = study.replace(folds=(), seeds=()).runs()  # one fold, one seed
on = {run.protocol: run for run in jobs}  # any of a protocol's runs: they share split and features
splits = {protocol: steps.split(run, clips) for protocol, run in on.items()}
leaks = {protocol: ucf101.leakage(clips, split) for protocol, split in splits.items()}
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
if study.batch_norm == "imagenet":
    first, *_ = splits
    features = dict.fromkeys(splits, steps.features(on[first], clips, splits[first]))
else:  # BatchNorm adapted to the training part gives every split its own features
    features = {protocol: steps.features(run, clips, splits[protocol]) for protocol, run in on.items()}
some = next(iter(features.values()))
print(f"features x {tuple(some.x.shape)} = (N clips, T frames, D numbers a frame)")
some.left_out if len(some.left_out) else print("no clip was left out")

# %% [markdown]
# ## 5 Train every head on every split (section 4.2)
#
# Cross-entropy, Adam; after every epoch the loss and the top-1 accuracy on the test part, as the paper does it, and
# on a validation part, which the paper does not have. A run that was killed goes on after its last epoch; a
# finished run is kept and not repeated.

# %%
folders = {}
for run in jobs:
    own = features[run.protocol]
    part = feature_cache.align(splits[run.protocol], clips, own)
    report = steps.progress(f"{run.model}, {run.protocol} split", run.epochs)
    folder = steps.train(run, own, part, results=results_folder, on_epoch=report)
    folders[run.model, run.protocol] = folder
records = pd.DataFrame([runs.read(folder) for folder in folders.values()])

# %% [markdown]
# ## 6 The table
#
# `last` is the accuracy after the last epoch, `best` the best of all epochs *on the test part* (what the paper
# reports), `chosen` the accuracy at the epoch that the validation part picks (what one may report). All in per cent.
# The validation part is cut off by whole groups, so on the random split it has no siblings in training while the
# test part has.

# %%
columns = {
    "top1_last": "last",
    "top1_best": "best",
    "top1_validation_chosen": "chosen",
    "seconds": "seconds",
    "parameters": "parameters",
}
table = records.set_index(["model", "protocol"])[list(columns)].rename(columns=columns)
table[["last", "best", "chosen"]] = (100 * table[["last", "best", "chosen"]].astype(float)).round(1)
table["seconds"] = table["seconds"].round(1)
table

# %% [markdown]
# ## 7 The figures
#
# The first figure is the leak: every head on each split, with 95 % intervals that count groups and not clips, since
# clips of one group are right or wrong together. The grey bar is the difference between a head's splits.

# %%
predictions = {key: runs.predictions(folder) for key, folder in folders.items()}
histories = {key: runs.history(folder) for key, folder in folders.items()}


def bounds(rows: pd.DataFrame) -> tuple[float, float]:
    """95 % interval of top-1; a test part of a single group has none, and gives the point itself."""
    several = rows["name"].str.replace(r"_c\d+$", "", regex=True).nunique() > 1
    return evaluation.interval(rows) if several else (evaluation.top1(rows), evaluation.top1(rows))


intervals = pd.DataFrame(
    [
        (model, protocol, evaluation.top1(rows), *bounds(rows))
        for (model, protocol), rows in predictions.items()
    ],
    columns=["model", "protocol", "top1", "low", "high"],
)
display(figures.heads_by_protocol(intervals))

# %%
if study.dataset == "stickfigures":  # kept beside the run records; no frame of real clips is kept
    overview = figures.overview(dict(zip(pair, shown, strict=True)), intervals)
    figures.save(overview, results_folder / "overview.png")

# %% [markdown]
# Training loss and test accuracy of the trained heads, in the form of the paper's Fig. 6, on the last of the splits. A
# curve that still rises at its end says that more epochs might change the ranking; the distance between triangle and
# dot is what choosing the epoch on the test part is worth in this run.

# %%
last = study.protocols[-1]
trained = {
    model: table for (model, protocol), table in histories.items() if protocol == last and len(table) > 1
}
display(figures.curves(trained, title=f"{last} split")) if trained else print(
    "no head here has a training curve"
)

# %% [markdown]
# Which classes are taken for which: rows are true classes, columns what the last of the heads says. Counts beside the
# diagonal between a movement and its reverse are clips whose order was not understood.

# %%
matrix = evaluation.confusion(predictions[study.models[-1], last])
display(figures.confusion(matrix, title=f"{study.models[-1]}, {last} split"))

# %% [markdown]
# The same by class, worst first: `top1` is a share, `most_confused_with` the class most often said instead.

# %%
evaluation.per_class(predictions[study.models[-1], last]).sort_values("top1").head(6)

# %% [markdown]
# ## 8 What the numbers show


# %%
def said(model: str, protocol: str) -> str:
    """Top-1 of a head on a split with its 95 % interval, in per cent."""
    row = 100 * intervals.set_index(["model", "protocol"]).loc[(model, protocol)]
    return f"{row['top1']:.1f} % ({row['low']:.0f}-{row['high']:.0f})"


ranking = list(intervals[intervals["protocol"] == last].sort_values("top1", ascending=False)["model"])
first, *_ = study.models
sentence = (
    f"on the {last} split the heads rank {', '.join(f'{model} {said(model, last)}' for model in ranking)}"
)
if study.validation:  # one epoch may differ much from the next: the last one is not the whole story
    chosen = ", ".join(f"{model} {table.loc[(model, last), 'chosen']} %" for model in ranking)
    sentence += f", and at the epoch that the validation part chooses they have {chosen}"
if "paper" in study.protocols and last != "paper":
    shares = f"{leaks['paper'].share:.0%} and {leaks[last].share:.0%}"
    sentence = (
        f"{first} scores {said(first, 'paper')} on the random split and {said(first, last)} on the {last} split, where "
        f"{shares} of the test clips have a sibling in training; " + sentence
    )
print(
    f"After {study.epochs} epochs, one run a head, one seed: {sentence}; ranks whose intervals overlap may be chance."
)
print(f"{time.monotonic() - started:.0f} s in all for {len(folders)} run records.")
