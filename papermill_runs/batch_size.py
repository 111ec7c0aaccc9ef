# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Is a larger batch better? (paper, section 4.2)
#
# The paper says that larger batches raise the accuracy and that its discussion gives the reason; there is neither a
# number nor a reason. Here both of its models are trained with several batch sizes and everything else the same: the
# same epochs, so that a larger batch also means fewer steps.
#
# ```
# papermill papermill_runs/batch_size.ipynb out.ipynb --log-output -p config ucf101_paper -p root /data/UCF101
# ```
#
# `config` is a file of papermill_runs/configs/ or a path. Any name of `ctxlstm.experiments.settings.Study` can be given with
# `-p` too, and then counts before the config.

# %% tags=["parameters"]
config: str = "smoke"  # smoke, stickfigures, ucf101_subset, ucf101_paper, ucf101_official, or a YAML file
root: str = ""  # folder with the clips; stickfigures: where to render (default: the user's cache)
lists: str = ""  # folder with UCF101's official list files
weights: str = ""  # resnet50: file with weights (default: torchvision's, cached or downloaded)
cache: str = ""  # folder for features (default: the user's cache)
results: str = ""  # folder that gets the run folders (default: papermill_runs/out)
workers: int = 2  # processes
scheduler: str = ""  # address of a Dask scheduler (default: a local cluster of so many workers)
cpu: bool = False  # do not use a GPU

# %%
from ctxlstm.experiments.settings import Study

study = Study.from_notebook(globals(), besides=("workers", "scheduler"))
both = study.replace(models=("cnn_lstm", "context_lstm"))
jobs = [run for size in study.batch_sizes for run in both.replace(batch_size=size).runs()]
print(f"{len(jobs)} runs: two models, batch sizes {', '.join(map(str, study.batch_sizes))}")

# %%
from IPython.display import display

from ctxlstm.experiments import runs, sweep
from ctxlstm.report import figures, study_tables, text

done = sweep.run(jobs, workers=workers, scheduler=scheduler)
failed = done[done["status"] == "failed"]
display(failed[["run", "reason"]]) if len(failed) else print("no run failed")

# %% [markdown]
# ## The curve
#
# Top-1 in per cent, mean over seeds. Learning rate and epochs stay as they are, as they seem to in the paper; whoever
# scales the learning rate with the batch asks another question.

# %%
folder = runs.prepare(study.results)
records = runs.table(folder / name for name in done.loc[done["status"] != "failed", "run"])
text.readable(study_tables.batch_size_curve(records))

# %% [markdown]
# A line that rises to the right would be the paper's claim; bars are 95 % intervals over seeds.

# %%
display(figures.batch_size(records))
