# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What is a sibling worth? (paper, section 4.2)
#
# Clips that were cut from one source video are siblings, and a random split puts most test clips' siblings in the training
# set. Here nothing is trained: a test clip gets the class of the most similar training clip (`nearest_neighbour`). First
# with all training clips, then without the siblings of the test clip, then with one, two and three of them.
#
# ```
# papermill papermill_runs/siblings.ipynb out.ipynb --log-output -p config ucf101_midframes -p root /data/midframes
# ```
#
# `config` is a file of papermill_runs/configs/ or a path. Any name of `ctxlstm.experiments.settings.Study` can be given
# with `-p` too, and then counts before the config.

# %% tags=["parameters"]
config: str = "smoke"  # smoke, stickfigures, ucf101_subset, ucf101_midframes, ucf101_nine, or a YAML file
root: str = ""  # folder with the clips; stickfigures: where to render (default: the user's cache)
weights: str = ""  # resnet50: file with weights (default: torchvision's, cached or downloaded)
cache: str = ""  # folder for features (default: the user's cache)
results: str = ""  # folder that gets the two tables (default: papermill_runs/out)
cpu: bool = False  # do not use a GPU

# %%
from ctxlstm.experiments import runs
from ctxlstm.experiments.settings import Study

study = Study.from_notebook(globals()).replace(protocols=("paper",), models=("nearest_neighbour",))
folder = runs.prepare(study.results)
jobs = study.runs()
print(f"random splits of seeds {', '.join(str(run.seed) for run in jobs)}")

# %% [markdown]
# ## The clips as points
#
# A clip is the mean of its frames' features, scaled to length 1. The cosine between two clips is then a product.

# %%
import torch
from torch.nn import functional as F

from ctxlstm import datasets
from ctxlstm.experiments import steps
from ctxlstm.features import align

clips = steps.clips(study)
if not datasets.count_groups(clips):
    raise ValueError(
        "nobody says which clips go together: give group_pattern or group_table, as for protocol grouped"
    )
features = steps.features(jobs[0], clips, steps.split(jobs[0], clips))
points = F.normalize(features.x[torch.arange(len(features.clips))].float().mean(dim=1), dim=1)  # (N, D)
video = features.clips.groupby(["label", "group"]).ngroup()
video = torch.as_tensor(video.to_numpy())  # (N,), the source video of each clip
print(f"{len(points)} clips of {len(video.unique())} source videos")

# %% [markdown]
# ## Some siblings left, the others out of sight
#
# Which siblings stay is drawn at random, anew for each test clip. `top1` counts all test clips with at least as many
# siblings as shall be left; `same clips` only those with three or more, so that its four numbers are of the same clips.

# %%
import pandas as pd


def looked_up(cosine, hidden, train, test):
    """Which test clips (B,) get their class from the nearest training clip that is not hidden; cosine (B, N)."""
    nearest = train[cosine.masked_fill(hidden, -2.0).argmax(dim=1)]  # (B,)
    return (features.y[nearest] == features.y[test]).numpy(), (video[nearest] == video[test]).numpy()


# %%
def of_split(run):
    """Rows of the table: top-1 on one split, by the number of siblings that a test clip keeps."""
    split = align(steps.split(run, clips), clips, features)
    train, test = torch.as_tensor(split.train), torch.as_tensor(split.test)
    cosine = points[test] @ points[train].T  # (B, N)
    sibling = video[test][:, None] == video[train]  # (B, N)
    lot = torch.rand(sibling.shape, generator=torch.Generator().manual_seed(run.seed))
    place = (
        torch.where(sibling, lot, 2.0).argsort(dim=1).argsort(dim=1)
    )  # (B, N), siblings first, in random order
    has = sibling.sum(dim=1).numpy()  # (B,)
    right, by_sibling = looked_up(cosine, torch.zeros_like(sibling), train, test)
    rows = [{"left": "all", "clips": len(test), "top1": right.mean(), "by_sibling": by_sibling.mean()}]
    for left in range(4):
        right, by_sibling = looked_up(cosine, sibling & (place >= left), train, test)
        some, three = has >= left, has >= 3
        row = {"left": str(left), "clips": some.sum(), "same_clips": three.sum()}
        row |= {"top1": right[some].mean(), "by_sibling": by_sibling[some].mean()} if some.any() else {}
        rows.append(row | ({"same_clips_top1": right[three].mean()} if three.any() else {}))
    return pd.DataFrame(rows).assign(seed=run.seed)


# %%
table = pd.concat([of_split(run) for run in jobs], ignore_index=True)
table.groupby("left", sort=False)[["top1", "by_sibling", "same_clips_top1"]].mean().mul(100).round(1)

# %% [markdown]
# `by_sibling` is the share of test clips whose nearest training clip is a sibling, in per cent like the others.

# %%
import matplotlib.pyplot as plt

from ctxlstm import figures

plt.rcParams.update(figures.style())
curve = table.dropna(subset="same_clips_top1").assign(left=lambda rows: rows["left"].astype(int))
figure, axes = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for _, part in curve.groupby("seed"):
    axes.plot(
        part["left"], 100 * part["same_clips_top1"], "o-", color=figures.HEAD_COLOURS["nearest_neighbour"]
    )
axes.set(xticks=range(4), xlabel="siblings of a test clip left in the training set", ylabel="test top-1 (%)")
axes.set_title("Nearest training clip, no training: a line per seed")
plt.show()

# %% [markdown]
# The step from none to one is what the random split gives away; the rest of the line is what more siblings add.
#
# ## Clips that are the same file
#
# Byte for byte, whatever they are called.

# %%
from ctxlstm.support.files import content

same = clips.assign(sha256=[content(path) for path in clips["path"]])
same = same[same["sha256"].duplicated(keep=False)].sort_values(["sha256", "name"])
first = same.groupby("sha256")["name"].transform("first")
same = pd.DataFrame({"name": same["name"], "same_as": first})[same["name"] != first]
print(f"{len(same)} clips are byte for byte another one")
same.style.hide(axis="index")

# %%
from ctxlstm.support.files import written

about = {"dataset": study.dataset, "backbone": study.backbone, "frames": study.frames, "commit": runs.commit(),
         "features": features.digest[:16]}  # fmt: skip
for name, rows in {"siblings.csv": table.assign(**about), "identical_clips.csv": same}.items():
    with written(folder / name) as part:
        rows.to_csv(part, index=False, float_format="%.6g", lineterminator="\n")
    print(f"{name}: {len(rows)} rows")
