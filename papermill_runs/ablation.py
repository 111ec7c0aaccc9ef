# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The ablation: Table 2, and the readings the paper leaves open (sections 3.4 and 4.4)
#
# The paper takes MaxPool away, and puts BatchNorm before ReLU. It does not say along which axis it pools, what the
# blocks hand over, how many blocks there are, or which frame is read out. Each of these is one option of
# `ContextLSTM`; here each is changed alone, everything else as in our default reading.
#
# ```
# papermill papermill_runs/ablation.ipynb out.ipynb --log-output -p config ucf101_paper -p root /data/UCF101
# ```
#
# `config` is a file of papermill_runs/configs/ or a path. Any name of `ctxlstm.experiments.settings.Study` can be given with
# `-p` too, and then counts before the config.
#
# **Before you run it, guess:** which of these costs the most accuracy: no hand-over of states, one block instead of
# three, pooling over time instead of features?

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
from ctxlstm import models
from ctxlstm.experiments.settings import Study

study = Study.from_notebook(globals(), besides=("workers", "scheduler"))
TABLE2 = ("cnn_lstm", "context_lstm_no_pool", "context_lstm_bn_relu", "context_lstm")
readings = study.readings or tuple(models.READINGS)
jobs = study.replace(models=TABLE2).runs()
for name in readings:
    if options := models.READINGS[name]:
        jobs += study.replace(models=("context_lstm",), options=options).runs()
print(f"{len(jobs)} runs: {len(TABLE2)} models of the paper's ablation, {len(readings)} readings")

# %%
from IPython.display import display

from ctxlstm.experiments import runs, sweep
from ctxlstm.report import figures, paper_tables, study_tables, text

done = sweep.run(jobs, workers=workers, scheduler=scheduler)
failed = done[done["status"] == "failed"]
display(failed[["run", "reason"]]) if len(failed) else print("no run failed")

# %% [markdown]
# ## Table 2's models
#
# The paper: 90.7 % (CNN-LSTM), 91.0 % (without MaxPool), 92.2 % (Context-LSTM), each the best of 300 epochs on the
# test set of one run. Times and memory are measured by `cost.ipynb`.

# %%
folder = runs.prepare(study.results)
records = runs.table(folder / name for name in done.loc[done["status"] != "failed", "run"])
protocol, *_ = study.protocols
text.readable(paper_tables.table2(records, protocol=protocol))

# %% [markdown]
# Training loss and test accuracy of the three, mean and band over seeds, in the form of the paper's Fig. 6: bands that
# overlap do not rank their heads.

# %%
display(figures.ablation_curves(records, protocol))

# %% [markdown]
# ## The readings
#
# Difference to the default reading over the same seeds; p is corrected for asking so many questions (Holm).

# %%
text.readable(study_tables.readings(records, protocol))

# %%
display(figures.readings(records, protocol))
