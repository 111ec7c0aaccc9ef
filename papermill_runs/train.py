# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One run: one head, one split, one seed (paper, section 4.2)
#
# ```
# papermill papermill_runs/train.ipynb out.ipynb --log-output -p config ucf101_paper -p root /data/UCF101 -p model context_lstm
# ```
#
# `config` is a file of papermill_runs/configs/ or a path; of its models, folds and seeds this notebook takes none: the
# model is named here, `-p fold 2` and `-p seed 1` choose others. Any name of `ctxlstm.experiments.settings.Run` can be given
# with `-p` too, and then counts before the config: `-p options "{handover: none}"` for another reading of the paper,
# `-p batch_norm drift` for the backbone as the public code base has it (slow: every frame in every epoch), and
# `-p config ucf101_finetune` or `-p finetune true` to train the backbone too (slower still: for a GPU).

# %% tags=["parameters"]
config: str = "smoke"  # smoke, stickfigures, ucf101_subset, _paper, _official, _finetune, or a YAML file
model: str = "context_lstm"  # of ctxlstm.models.NAMES
protocol: str = ""  # paper (random 3:1), grouped, official (default: the config's first)
root: str = ""  # folder with the clips; stickfigures: where to render (default: the user's cache)
lists: str = ""  # folder with UCF101's official list files
weights: str = ""  # resnet50: file with weights (default: torchvision's, cached or downloaded)
cache: str = ""  # folder for features (default: the user's cache)
results: str = ""  # folder that gets the run folder (default: papermill_runs/out)
cpu: bool = False  # do not use a GPU

# %%
from ctxlstm.experiments.settings import Run

run = Run.from_notebook(globals())

# %%
from IPython.display import display

from ctxlstm import datasets, evaluation, figures, inference, models
from ctxlstm.experiments import runs, steps
from ctxlstm.features import align

results_folder = runs.prepare(run.results)
clips = steps.clips(run)
split = steps.split(run, clips)
leak = datasets.leakage(clips, split)
counts = f"{len(split.train)} clips to train on, {len(split.test)} to test"
known = (
    f"{leak.share:.1%} of them with a sibling" if datasets.groups_known(clips) else "siblings cannot be told"
)
print(f"protocol {run.protocol}: {counts}, {known}")

# %% [markdown]
# ## The head
#
# Behind a frozen backbone, whose features were computed once. With `finetune` all frames go through the backbone in
# every epoch and its numbers are trained too.

# %%
features = steps.features(run, clips, split)
network = steps.network(run, features)
print(network.head if run.on_frames else network)
print(f"{sum(p.numel() for p in network.parameters() if p.requires_grad):,} numbers to train")

# %% [markdown]
# ## Training
#
# After every epoch the loss and the accuracy on the test set, as the paper does it. A run that was killed goes on
# from its checkpoint, which is written after every epoch, for large heads once a minute; a finished one is kept.

# %%
part = align(split, clips, features)
label = " ".join(filter(None, [run.model, models.variant(run.options), run.protocol]))
report = steps.progress(label, run.epochs)
folder = steps.train(run, features, part, results=results_folder, on_epoch=report)
record = runs.read(folder)

# %% [markdown]
# ## What came of it
#
# `last`: after the last epoch; `best`: of all epochs *on the test set*, as the paper reports it; `chosen`: at the
# epoch that the validation set picks. Per cent; the interval counts groups, not clips, where groups are known.

# %%
history, predictions = runs.history(folder), runs.predictions(folder)
low, high = inference.interval(predictions)
names = {"last": "top1_last", "best": "top1_best", "chosen": "top1_validation_chosen"}
scores = {name: record[key] for name, key in names.items() if record[key] is not None}
error, _ = evaluation.calibration(predictions)
print({name: round(100 * value, 1) for name, value in scores.items()})
counted = "groups" if inference.groups_known(predictions) else "single clips: too narrow if some go together"
print(f"95 % interval of the last: {100 * low:.0f} to {100 * high:.0f} ({counted})")
print(f"mean negative log-likelihood {record['nll']:.3f} nats, expected calibration error {error:.3f}")

# %% [markdown]
# Training loss and test accuracy over the epochs: a curve that still rises at its end says that more epochs may help,
# the distance from triangle to dot is what choosing on the test set is worth.

# %%
display(figures.curves({run.model: history}, title=label)) if len(history) > 1 else print(
    "this head learns in one step"
)

# %% [markdown]
# Rows are true classes, columns what the head says: an even spread off the diagonal is noise, a single dark cell is a
# confusion worth looking at.

# %%
display(figures.confusion(evaluation.confusion(predictions), title=label))

# %% [markdown]
# Does a probability of 0.9 mean right in nine of ten cases? Bars below the dashed line: the head is surer than it may
# be.

# %%
display(figures.reliability(predictions, title=label))

# %%
print(f"{record['run']}: {record['seconds']:.0f} s of training, code version {record['versions']['commit']}")
