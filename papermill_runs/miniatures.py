# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The related systems in miniature, on other clips (paper, section 2)
#
# The heads, the training loop and the measuring are those of book/14_related_systems.py: its cells with the tag `heads` are
# run here. What is measured are features of the clips that you name, on the random split and on the one by source video.
#
# ```
# papermill papermill_runs/miniatures.ipynb out.ipynb --log-output -p config ucf101_nine -p root /data/nine
# ```
#
# `config` is a file of papermill_runs/configs/ or a path. Any name of `ctxlstm.experiments.settings.Study` can be given
# with `-p` too, and then counts before the config; here dataset, backbone, frames, rule, seeds and batch_size matter.

# %% tags=["parameters"]
config: str = "smoke"  # smoke, stickfigures, ucf101_subset, ucf101_nine, or a YAML file
root: str = ""  # folder with the clips; stickfigures: where to render (default: the user's cache)
weights: str = ""  # resnet50: file with weights (default: torchvision's, cached or downloaded)
cache: str = ""  # folder for features (default: the user's cache)
results: str = ""  # folder that gets miniatures.csv (default: papermill_runs/out)
heads: str = ""  # some of the chapter's heads, with commas between (default: all)
epochs_each: int = 21  # epochs of every training, as in the chapter
cpu: bool = False  # do not use a GPU for the features; the small heads train on a CPU

# %%
from ctxlstm.experiments import runs
from ctxlstm.experiments.settings import Study

study = Study.from_notebook(globals(), besides=("heads", "epochs_each"))
study = study.replace(protocols=("paper", "grouped"), models=("mean_linear",))
folder = runs.prepare(study.results)
if len(study.seeds) < 2:
    raise ValueError("an interval over seeds needs at least two: give -p seeds 0,1,2,3,4")

# %% [markdown]
# ## The chapter's heads

# %%
from pathlib import Path

import jupytext

import ctxlstm

chapter: dict = {"__name__": "chapter"}
for cell in jupytext.read(Path(ctxlstm.__file__).parents[1] / "book" / "14_related_systems.py").cells:
    if "heads" in cell.metadata.get("tags", []):
        exec(cell.source, chapter)
chapter |= {"EPOCHS": epochs_each, "BATCH": study.batch_size}
chosen = [name.strip() for name in heads.split(",") if name.strip()] or list(chapter["HEADS"])
if unknown := set(chosen) - set(chapter["HEADS"]):
    raise ValueError(
        f"unknown head {', '.join(sorted(unknown))}: choose some of {', '.join(chapter['HEADS'])}"
    )
chapter["HEADS"] = {name: make for name, make in chapter["HEADS"].items() if name in chosen}
print(f"{len(chapter['HEADS'])} heads, {epochs_each} epochs, seeds {', '.join(map(str, study.seeds))}")

# %% [markdown]
# ## The clips and their features

# %%
from dataclasses import replace

import torch

from ctxlstm import datasets
from ctxlstm.experiments import steps

torch.set_num_threads(1)  # as in the chapter
clips = steps.clips(study)
if not datasets.count_groups(clips):
    raise ValueError(
        "nobody says which clips go together: give group_pattern or group_table, as for protocol grouped"
    )
first = study.runs()[0]
net, maps = steps.load_backbone(first), None
windows = any(getattr(make, "reads", "") == "maps" for make in chapter["HEADS"].values())
features = steps.features(
    first, clips, steps.split(first, clips), chapter["with_windows"](net) if windows else net
)
if windows:
    vectors, maps = chapter["apart"](features.x)
    features = replace(features, x=vectors)
print(f"x {tuple(features.x.shape)}, {len(features.classes)} classes")

# %% [markdown]
# ## Measure
#
# Test top-1 in per cent, mean over the last third of the epochs, and over seeds.

# %%
import pandas as pd

measured = [
    chapter["measure"](features, rule, study.seeds, maps).assign(split=rule) for rule in study.protocols
]
about = {"dataset": study.dataset, "classes": len(features.classes), "clips": len(features.clips),
         "backbone": study.backbone, "frames": study.frames, "rule": study.rule, "epochs": epochs_each,
         "batch_size": study.batch_size, "features": features.digest[:16], "commit": runs.commit()}  # fmt: skip
table = pd.concat(measured, ignore_index=True).assign(**about)
table.pivot_table("top1", "head", "split", sort=False).round(1)

# %%
from ctxlstm.support.files import written

with written(folder / "miniatures.csv") as part:
    table.to_csv(part, index=False, float_format="%.6g", lineterminator="\n")
print(f"miniatures.csv: {len(table)} rows")
