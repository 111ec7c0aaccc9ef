# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A peer's published scores (paper, section 2)
#
# The repository MinLiAmoy/two-stream-action-recognition has, in record/, the 101 scores of each test clip of official split
# 1, from both streams of a fine-tuned two-stream ResNet-101. That is more than an accuracy: anyone can compute the
# intervals and the paired comparison that a paper leaves out. Here they go through the same functions as our own runs.
#
# ```
# papermill papermill_runs/peer_scores.ipynb out.ipynb -p spatial spatial_video_preds.pickle -p motion motion_video_preds.pickle
# ```

# %% tags=["parameters"]
spatial: str = ""  # file with the spatial stream's scores
motion: str = ""  # file with the motion stream's scores
results: str = ""  # folder that gets the table (default: papermill_runs/out)

# %% [markdown]
# ## Read without trust
#
# The files are pickles, and a pickle may run any program. This reader knows arrays of numbers and refuses all else.

# %%
import pickle
from pathlib import Path

import numpy as np

from ctxlstm import evaluation, inference
from ctxlstm.experiments import runs

folder = runs.prepare(results)
ARRAYS = {("numpy.core.multiarray", "_reconstruct"): np.zeros(1).__reduce__()[0],
          ("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype}  # fmt: skip


class OnlyArrays(pickle.Unpickler):
    """Reads dictionaries of NumPy arrays."""

    def find_class(self, module, name):
        module = module.replace("numpy._core", "numpy.core")  # its name since NumPy 2
        if (module, name) not in ARRAYS:
            raise pickle.UnpicklingError(
                f"the file asks for {module}.{name}: only arrays of numbers are read"
            )
        return ARRAYS[module, name]


# %%
def read(path):
    """The scores in a file, clip name -> (101,)."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path!r}: give the peer's files as spatial and motion")
    with open(path, "rb") as file:
        return OnlyArrays(file).load()


scores = {"spatial": read(spatial), "motion": read(motion)}
for name, clips in scores.items():
    print(f"{name}: {len(clips)} clips")

# %% [markdown]
# ## Late fusion
#
# The two streams are trained apart. Their scores are sums over frames, and the sum of the two is the usual late fusion.

# %%
if apart := sorted(scores["spatial"].keys() ^ scores["motion"].keys()):
    raise ValueError(
        f"{len(apart)} clips, such as {apart[0]}, are in one file only: give two files of the same clips"
    )
scores["fused"] = {name: clip + scores["motion"][name] for name, clip in scores["spatial"].items()}
tables = {name: evaluation.published(clips) for name, clips in scores.items()}

# %% [markdown]
# ## Intervals, calibration, paired comparison
#
# Top-1 with its interval by source video; the calibration error; then each row against the spatial stream: the difference,
# McNemar's p (clips independent, too small), and the sign flip's p by source video, which decides.

# %%
import pandas as pd

rows = []
for name, table in tables.items():
    low, high = inference.interval(table)
    row = {"scores": name, "clips": len(table), "top1": evaluation.top1(table), "low": low, "high": high}
    row |= {"nll": evaluation.nll(table), "calibration_error": evaluation.calibration(table)[0]}
    if name != "spatial":
        flip = inference.sign_flip((table, tables["spatial"]))
        mcnemar = inference.mcnemar((table, tables["spatial"]))
        row |= {"difference": flip.difference, "only_this": flip.only_a, "only_spatial": flip.only_b}
        row |= {"mcnemar_p": mcnemar.p, "flip_p": flip.p, "sources": flip.sources}
    rows.append(row)
summary = pd.DataFrame(rows)
summary.style.hide(axis="index").format(precision=3, na_rep="")

# %%
from ctxlstm.support.files import written

with written(folder / "peer_scores.csv") as part:
    summary.assign(commit=runs.commit()).to_csv(part, index=False, float_format="%.6g", lineterminator="\n")
print("peer_scores.csv")
