"""One training in several processes that share every batch: several GPUs, several machines, or a CPU's cores.

    accelerate launch --num_processes 2 -m ctxlstm.experiments.launch job.yaml      (a shell; --cpu without GPUs)
    launch.in_notebook(run, processes=2)                                                       (a notebook)

Accelerate starts the processes (torch.distributed with NCCL on GPUs, gloo on CPUs); several machines must
share the folders of data and results. `run` is a `Run`, and the YAML file holds its values
(papermill_runs/data_parallel.ipynb writes one).

Gradients are averaged over the processes. On GPUs BatchNorm sees the whole batch (`torch.nn.SyncBatchNorm`).
On a CPU each process's BatchNorm sees only its own clips, so the result differs slightly from that of one
process (`training.processes`).
"""

import multiprocessing
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

from ctxlstm import training
from ctxlstm.experiments import steps
from ctxlstm.experiments.settings import Run, read_config
from ctxlstm.features import align
from ctxlstm.training import processes


def train(run: Run) -> Path:
    """Do one run in all the processes that were started, and return its record's folder.

    The first process extracts missing features and writes the record. A single process works too.

    Raises:
        ValueError: what `steps.split` or `training.fit` refuses.
    """
    clips = steps.clips(run)
    split = steps.split(run, clips)
    group = processes.join(run.cpu)
    with group.main_process_first() if group else nullcontext():
        features = steps.features(run, clips, split)
    part = align(split, clips, features)
    report = steps.progress(f"{run.model} in {processes.count()} processes", run.epochs)
    return steps.train(run, features, part, on_epoch=report)


def in_notebook(run: Run, processes: int) -> None:
    """Do one run in several processes forked from this notebook, which must not have used a GPU yet.

    Raises:
        RuntimeError: this system cannot fork (Windows, for example).
    """
    if "fork" not in multiprocessing.get_all_start_methods():
        raise RuntimeError(
            "processes are forked from a notebook, and this system cannot fork: start the training from a shell, with "
            "accelerate launch -m ctxlstm.experiments.launch job.yaml"
        )
    from accelerate import notebook_launcher

    stop = signal.getsignal(signal.SIGTERM)
    notebook_launcher(train, (run,), num_processes=processes)
    signal.signal(
        signal.SIGTERM, stop
    )  # the launcher leaves its own handler behind, which ends a notebook with an error


def main() -> None:
    """The command line: one argument, a YAML file of a `Run`."""
    if len(sys.argv) != 2:
        sys.exit("usage: accelerate launch --num_processes 2 -m ctxlstm.experiments.launch job.yaml")
    folder = train(Run(**read_config(sys.argv[1], Run)))
    if training.is_main_process():
        print(f"record: {folder}", flush=True)


if __name__ == "__main__":
    main()
