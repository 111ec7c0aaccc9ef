# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # One training in several processes (paper, section 4.2, past one GPU)
#
# A sweep gives every run a worker of its own. When a single run is too slow or too large for one GPU, several processes
# share each of its batches: every process computes its part, and gradients are averaged. On GPUs BatchNorm takes the
# statistics of the whole batch (`torch.nn.SyncBatchNorm`), so the result is close to that of one process. On a CPU every
# process's BatchNorm sees its own clips, half of the batch with two processes: **the result is not that of one process
# to the digit**. Checkpoints are the same files either way.
#
# This notebook compares three ways and so trains three times; the command for a single one is below.
#
# ```
# papermill papermill_runs/data_parallel.ipynb out.ipynb --log-output -p config ucf101_official -p root /data/UCF101 \
#     -p protocol official -p processes 8
# ```
#
# Two ways to start the processes, both of Hugging Face Accelerate: `accelerate launch` from a shell, and
# `notebook_launcher` from a cell. On GPUs they talk through NCCL, one process a GPU; on a CPU through gloo.

# %% tags=["parameters"]
config: str = "smoke"  # smoke, stickfigures, ucf101_subset, ucf101_paper, ucf101_official, or a YAML file
model: str = "context_lstm"  # of ctxlstm.models.NAMES
protocol: str = ""  # paper (random 3:1), grouped, official (default: the config's first)
processes: int = 2  # that share a training; on GPUs as many as there are
root: str = ""  # folder with the clips; stickfigures: where to render (default: the user's cache)
lists: str = ""  # folder with UCF101's official list files
weights: str = ""  # resnet50: file with weights (default: torchvision's, cached or downloaded)
cache: str = ""  # folder for features (default: the user's cache)
results: str = ""  # folder that gets the run folders (default: papermill_runs/out)
cpu: bool = False  # do not use a GPU

# %%
import os

from ctxlstm.experiments.settings import Run

os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = (
    "1"  # to ask for GPUs must not start CUDA here, see notebook_launcher
)
run = Run.from_notebook(globals(), besides=("processes",))

# %% [markdown]
# Clips and features are made by one process before the others start, and not by this one: once a notebook has used a GPU,
# processes that are forked from it cannot.

# %%
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from ctxlstm.experiments import runs, steps

folder = runs.prepare(run.results).resolve()
clips = steps.clips(run)
with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
    process.submit(steps.extract, run, clips, steps.split(run, clips)).result()

# %% [markdown]
# ## From a shell: `accelerate launch`
#
# The run goes into a file, `job.yaml`: its model, protocol, seed and all other settings. The module
# `ctxlstm.experiments.launch` reads it. `--multi_gpu` asks Accelerate for torchrun's way to start processes, which
# serves a CPU too.
#
# ```
# accelerate launch --multi_gpu --num_machines 1 --num_processes 8 --mixed_precision no --dynamo_backend no \
#     -m ctxlstm.experiments.launch job.yaml
# ```
#
# On two machines with 8 GPUs each, the same on both with `--num_machines 2 --num_processes 16` (of both together),
# `--machine_rank 0` or `1`, `--main_process_ip HOST --main_process_port 29500`, and folders that both see.

# %%
import yaml

shell = run.replace(results=folder / "shell")
path = folder / "job.yaml"
path.write_text(yaml.safe_dump(shell.model_dump(mode="json")), encoding="utf-8")
# %%
import subprocess
import sys

launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
launch += ["--num_processes", str(processes), "--mixed_precision", "no", "--dynamo_backend", "no"]
done = subprocess.run(
    [*launch, "-m", "ctxlstm.experiments.launch", str(path)], capture_output=True, text=True
)
lines = [line for line in done.stdout.splitlines() if "epoch" in line or "record" in line]
print("\n".join(lines).replace(f"{folder}{os.sep}", ""))
if done.returncode:
    raise RuntimeError(f"the processes ended with an error: {done.stderr[-2000:]}")

# %% [markdown]
# ## From a cell: `notebook_launcher`
#
# The processes are forked from this notebook (not on Windows, which cannot), in which nothing has used a GPU so far. What
# happens in them is the same function, `experiments.launch.train`.

# %%
from ctxlstm.experiments import launch

launch.in_notebook(run.replace(results=folder / "cell"), processes)

# %% [markdown]
# ## Beside one process

# %%
alone = launch.train(run.replace(results=folder / "alone"))

# %% [markdown]
# Each row is an epoch. The two launchers give the same losses; those of one process are close to them on GPUs, and on a
# CPU as far away as BatchNorm over fewer clips takes them.

# %%
import pandas as pd

histories = {way: runs.history(folder / way / alone.name) for way in ("shell", "cell", "alone")}
table = pd.DataFrame({way: history["train_loss"] for way, history in histories.items()})
table.index = pd.Index(histories["alone"]["epoch"], name="epoch")
table.rename(columns={"shell": "accelerate launch", "cell": "notebook_launcher", "alone": "one process"})

# %%
launchers, one = ((table["shell"] - table[way]).abs().max() for way in ("cell", "alone"))
print(f"largest difference in training loss between the two launchers: {launchers:.2g} nats")
print(f"largest difference in training loss between {processes} processes and one: {one:.2g} nats")

# %% [markdown]
# Whether it pays depends on the batch: what is sent in every step is the gradient of every weight, whatever the number
# of clips, and the steps of an LSTM wait for each other. A batch of 80 in eight parts leaves 10 clips to a GPU, so a
# small head may well be slower on eight GPUs than on one; nobody has measured it yet. Fine-tuning the backbone, with
# seconds of work in a step, is what has to gain. Seconds per epoch, as recorded:

# %%
seconds = {
    way: runs.read(folder / way / alone.name)["seconds_per_epoch"] for way in ("shell", "cell", "alone")
}
pd.Series(seconds, name="seconds per epoch").to_frame().T
