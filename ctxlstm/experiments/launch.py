"""One training in several processes that share every batch: several GPUs, several machines, or a CPU's cores.

    accelerate launch --num_processes 2 -m ctxlstm.experiments.launch job.yaml      (a shell; --cpu without GPUs)
    accelerate.notebook_launcher(launch.train, (job,), num_processes=2)                        (a notebook)

Accelerate starts the processes (torch.distributed with NCCL on GPUs, gloo on CPUs); on several machines they all need
the folders of data and results. `job` is a `Settings` of one model, protocol and seed, or a YAML file of its values
(papermill_runs/data_parallel.ipynb writes one).

Gradients are averaged over the processes. On GPUs BatchNorm sees the whole batch (`torch.nn.SyncBatchNorm`). With several
processes on a CPU BatchNorm sees each process's own clips: the result is not that of one process to the digit
(`training.processes`).
"""

import sys
from contextlib import nullcontext
from pathlib import Path

from ctxlstm import features as feature_cache
from ctxlstm import training
from ctxlstm.experiments import steps
from ctxlstm.experiments.settings import Settings, read_config
from ctxlstm.training import processes


def train(job: Settings) -> Path:
    """Do one run with all processes that were started, and return its record's folder.

    The first process makes what is missing of the features and writes the record; one process alone may be given too.

    Raises:
        ValueError: a job of several runs, or what `training.fit` refuses.
    """
    if len(job.jobs()) > 1:
        raise ValueError(
            f"the job is {len(job.jobs())} runs: give one model, one protocol and one seed, and sweep.run for many"
        )
    job = job.jobs()[0]
    clips = steps.clips(job)
    split = steps.split(job, clips)
    group = processes.join(job.cpu)
    with group.main_process_first() if group else nullcontext():
        features = steps.features(job, clips, split)
    part = feature_cache.align(split, clips, features)
    report = steps.progress(f"{job.models[0]} in {processes.count()} processes", job.epochs)
    return steps.train(job, job.models[0], job.protocols[0], features, part, on_epoch=report)


def main() -> None:
    """The command line: one argument, a YAML file of `Settings` for a single run."""
    if len(sys.argv) != 2:
        sys.exit("usage: accelerate launch --num_processes 2 -m ctxlstm.experiments.launch job.yaml")
    folder = train(Settings(**read_config(sys.argv[1])))
    if training.is_main_process():
        print(f"the record: {folder}", flush=True)


if __name__ == "__main__":
    main()
