"""A Dask client of a local cluster by default, or of any scheduler by its address.

Under Slurm `dask-jobqueue` starts one:

    cluster = dask_jobqueue.SLURMCluster(cores=16, memory="64GB", walltime="02:00:00")
    cluster.scale(jobs=8)
    dask.distributed.Client(cluster).wait_for_workers(1)  # jobs may wait in Slurm's queue
    features.cluster.extract(clips, out, scheduler=cluster.scheduler_address)

`--memory-limit 0` keeps Dask from ending a worker whose features take more than its share.
Scheduler and workers exchange pickled objects: connect only to a scheduler of your own.
"""

import os
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager

import torch
from distributed import Client, LocalCluster, Worker, WorkerPlugin
from distributed.comm import CommClosedError

CONNECT_SECONDS = 10
# What a future's result raises when the scheduler is gone: nothing is cancelled here, and results come through it.
LOST = (CancelledError, CommClosedError)


class _OneGPU(WorkerPlugin):
    """Assigns the GPUs in turn to a local cluster's workers, one each, before any of them has used one."""

    def __init__(self, gpus: list[str]):
        self.gpus = gpus

    def setup(self, worker: Worker) -> None:
        """Called in a worker when it starts, and when it restarts."""
        os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus[int(worker.name) % len(self.gpus)]


def _gpus() -> list[str]:
    """The GPUs that this process may use, by number or name."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return chosen.split(",") if chosen else [str(number) for number in range(torch.cuda.device_count())]


@contextmanager
def client(workers: int, scheduler: str = "", *, threads: int = 1) -> Iterator[Client]:
    """A client of the scheduler, or of a local cluster that ends with it.

    Args:
        workers: processes of the local cluster, which share out several GPUs; threads: of each.
        scheduler: address of a Dask scheduler, such as tcp://host:8786; empty: a local cluster.

    Raises:
        ConnectionError: no scheduler answers at that address, or it has no workers.
    """
    if scheduler:
        try:
            found = Client(scheduler, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"no Dask scheduler answers at {scheduler} ({error}): check the address and that `dask scheduler` runs "
                "there, or leave scheduler empty for a local cluster"
            ) from error
        with found:
            try:
                found.wait_for_workers(1, timeout=CONNECT_SECONDS)
            except TimeoutError as error:
                raise ConnectionError(
                    f"the Dask scheduler at {scheduler} has no workers: start some with `dask worker {scheduler}`"
                ) from error
            yield found
        return
    quiet = {"dashboard_address": ":0", "silence_logs": "CRITICAL"}
    # memory_limit 0: the default would kill a worker at a share of the memory that large features may well need.
    size = {"n_workers": workers, "threads_per_worker": threads, "memory_limit": 0}
    with LocalCluster(**size, host="127.0.0.1", **quiet) as cluster, Client(cluster) as own:
        if len(gpus := _gpus()) > 1:
            own.register_plugin(_OneGPU(gpus))
        yield own


def lost(doing: str, so_far: str) -> ConnectionError:
    """What to raise when a result raises `LOST`: the scheduler is gone and with it all pending results."""
    return ConnectionError(
        f"the Dask scheduler was lost after {so_far}: start it and this {doing} again, which resumes where it stopped"
    )
