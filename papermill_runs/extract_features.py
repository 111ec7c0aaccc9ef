# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Features, once: every clip through the frozen CNN (paper, section 3.2)
#
# A frozen CNN gives the same numbers in every epoch. The paper lets it compute them 300 times; here they are computed
# once and kept, checked by checksums. A run that is killed goes on where it was; damaged or replaced videos are
# extracted anew.
#
# ```
# papermill papermill_runs/extract_features.ipynb out.ipynb --log-output -p config ucf101_paper -p root /data/UCF101
# ```
#
# `config` is a file of papermill_runs/configs/ or a path. Any name of `ctxlstm.experiments.settings.Study` can be given with
# `-p` too, and then counts before the config.
#
# One process uses all cores, and a GPU where there is one. Past one machine give `-p scheduler tcp://host:8786`, any
# Dask scheduler whose workers see the same folders; under Slurm `dask-jobqueue` starts one, and the address is its
# `SLURMCluster(...).scheduler_address`. To try that on one machine give `-p workers 2`. The features are the same, bit
# for bit on the same kind of processor. Kill it whenever you like, or a worker, or the scheduler: the same command goes
# on where it was.

# %% tags=["parameters"]
config: str = "smoke"  # smoke, stickfigures, ucf101_subset, ucf101_paper, ucf101_official, or a YAML file
root: str = ""  # folder with the clips; stickfigures: where to render (default: the user's cache)
lists: str = ""  # folder with UCF101's official list files
weights: str = ""  # resnet50: file with weights (default: torchvision's, cached or downloaded)
cache: str = ""  # folder for features (default: the user's cache)
cpu: bool = False  # do not use a GPU
workers: int = 0  # processes of a local Dask cluster; 0 or 1: in this process, on all cores
scheduler: str = ""  # address of a Dask scheduler, whose workers extract

# %%
from ctxlstm.experiments.settings import Study

study = Study.from_notebook(globals(), besides=("workers", "scheduler"))
if study.on_frames:
    raise ValueError(
        "batch_norm drift and finetune give other numbers every epoch, which cannot be kept: see train.ipynb"
    )

# %% [markdown]
# ## The clips

# %%
import time

from IPython.display import display

from ctxlstm import datasets, figures
from ctxlstm.experiments import steps
from ctxlstm.features import load

clips = steps.clips(study)
groups = datasets.count_groups(clips)
by_class = clips.groupby("label").agg(clips=("name", "size"), groups=("group", "nunique"))
by_class = by_class if groups else by_class[["clips"]]
print(f"{len(clips)} clips, {len(by_class)} classes, {groups or 'no known'} groups")
by_class.describe().loc[["min", "mean", "max"]].round(1)

# %% [markdown]
# ## Extraction
#
# `adapted` features depend on the split, because BatchNorm's statistics are those of the training set: then every
# split (protocol, fold, seed) gets features of its own.

# %%
start = time.monotonic()
runs = study.runs() if study.batch_norm == "adapted" else study.runs()[:1]
splits = {(run.protocol, run.fold, run.seed): run for run in runs}
where = {"workers": workers, "scheduler": scheduler}
folders = {steps.extract(run, clips, steps.split(run, clips), **where): name for name, run in splits.items()}
print(f"{time.monotonic() - start:.0f} s for {len(folders)} set(s) of features")

# %%
folder = next(iter(folders))
features = load(folder)
size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
print(f"x {tuple(features.x.shape)} = (N clips, T frames, D numbers a frame), {size / 1e6:.1f} MB on disk")
print(f"digest {features.digest[:16]}, which every run record repeats")

# %% [markdown]
# What could not be used, and what only in part (a damaged video gives the frames before the damage):

# %%
display(features.left_out) if len(features.left_out) else print("no clip was left out")
display(features.damaged) if len(features.damaged) else print("no clip is damaged")

# %% [markdown]
# ## Why the split matters, seen in the features alone
#
# No head is trained here. For each clip we take the mean of its T feature vectors and look for the most similar
# sibling cut from the same source video, the most similar clip of its class from another video, and the most similar
# clip of another class. Where the first curve lies to the right of the others, looking up the nearest clip recognises
# the video, and a split that tears siblings apart rewards it.

# %%
if groups:
    display(figures.siblings(features.x.float().mean(dim=1), features.clips))
else:
    print("which clips are siblings cannot be told: give group_pattern or group_table")
