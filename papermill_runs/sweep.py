# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The sweep: models x protocols x folds x seeds (paper, sections 4.3 and 4.4)
#
# One training says little: another seed gives another split and other weights. This notebook trains every head with
# every seed on every split, in several processes, which take the GPUs in turn, or on several machines.
#
# ```
# papermill papermill_runs/sweep.ipynb out.ipynb --log-output -p config ucf101_paper -p root /data/UCF101
# ```
#
# `config` is a file of papermill_runs/configs/ or a path. Any name of `ctxlstm.experiments.settings.Study` can be given with
# `-p` too, and then counts before the config. Kill it whenever you like: the same command goes on where it was.
#
# For several machines start, on folders that all of them see,
#
# ```
# dask scheduler
# dask worker tcp://host:8786 --nthreads 1 --memory-limit 0
# ```
#
# with one worker a GPU (`CUDA_VISIBLE_DEVICES=0 dask worker ...`), or dask-jobqueue under Slurm, and give `-p scheduler
# tcp://host:8786`. A worker trains one model at a time. What is missing of the features is
# extracted by this notebook's own process: on a cluster run `extract_features.ipynb` with the same scheduler first.

# %% tags=["parameters"]
config: str = "smoke"  # smoke, stickfigures, ucf101_subset, ucf101_paper, ucf101_official, or a YAML file
root: str = ""  # folder with the clips; stickfigures: where to render (default: the user's cache)
lists: str = ""  # folder with UCF101's official list files
weights: str = ""  # resnet50: file with weights (default: torchvision's, cached or downloaded)
cache: str = ""  # folder for features (default: the user's cache)
results: str = ""  # folder that gets the run folders (default: papermill_runs/out)
workers: int = 2  # processes; several GPUs are dealt out among them
scheduler: str = ""  # address of a Dask scheduler (default: a local cluster of so many workers)
cpu: bool = False  # do not use a GPU

# %%
from ctxlstm.experiments.settings import Study

study = Study.from_notebook(globals(), besides=("workers", "scheduler"))
jobs = study.runs()
print(f"{len(jobs)} runs: {len(study.models)} models, protocols {', '.join(study.protocols)}")

# %% [markdown]
# ## All runs
#
# A finished run is kept, a failed one leaves its reason beside the records and the others go on.

# %%
from IPython.display import display

from ctxlstm.experiments import runs, sweep
from ctxlstm.report import figures, study_tables, text

done = sweep.run(jobs, workers=workers, scheduler=scheduler)
done.groupby(["status", "protocol"]).size().unstack(fill_value=0)

# %%
failed = done[done["status"] == "failed"]
display(failed[["run", "reason"]]) if len(failed) else print("no run failed")

# %% [markdown]
# ## What came of it
#
# Only this sweep's own records are read, whatever else lies in the folder. Top-1 in per cent, mean over seeds; the
# whole account, with the paper's numbers beside it, is `report.ipynb`.

# %%
folder = runs.prepare(study.results)
names = list(done.loc[done["status"] != "failed", "run"])
records = runs.table(folder / name for name in names)
text.readable(study_tables.leak(records))

# %% [markdown]
# Every head on every split, mean and 95 % interval over seeds. The grey bar is what a head loses when no test clip has
# a sibling from the same source video in training.

# %%
display(figures.leak(records))
