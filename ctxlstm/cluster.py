"""Dask, the engine for many processes and machines: a client, and extraction on it.

A local cluster by default, any scheduler by its address. Under Slurm `dask-jobqueue` starts one:

    cluster = dask_jobqueue.SLURMCluster(cores=16, memory="64GB", walltime="02:00:00")
    cluster.scale(jobs=8)
    dask.distributed.Client(cluster).wait_for_workers(1)  # jobs may wait in Slurm's queue
    extract(clips, out, scheduler=cluster.scheduler_address)

A worker of an extraction wants as many threads as it has cores. A worker of a sweep does as many trainings side by side
as it has threads: one on a CPU, a few on a GPU. `--memory-limit 0` keeps Dask from ending a worker whose features take
more than its share.
Scheduler and workers exchange pickled objects: connect only to a scheduler that is yours.
"""

import os
import pickle
import threading
import warnings
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from uuid import uuid4
from weakref import WeakKeyDictionary

import pandas as pd
import torch
from distributed import Client, KilledWorker, LocalCluster, Worker, WorkerPlugin, as_completed
from distributed.comm import CommClosedError

from ctxlstm import features, pieces
from ctxlstm.backbone import Backbone
from ctxlstm.cache import Cache
from ctxlstm.pieces import Done, How, Piece

CONNECT_SECONDS = 10
# What a future's result raises when the scheduler is gone: nobody cancels here, and results come through it.
LOST = (CancelledError, CommClosedError)


class _Sent:
    """A backbone on its way to workers, pickled here: Dask's own way with torch modules loses what is not a tensor."""

    def __init__(self, net: Backbone):
        self.data = pickle.dumps(net.cpu())


# On a worker: a backbone as it came, and where it computes, made once for all of the worker's threads.
_READY: WeakKeyDictionary[_Sent, Backbone] = WeakKeyDictionary()
_PREPARING = threading.Lock()


class _OneGPU(WorkerPlugin):
    """Gives the workers of a local cluster the GPUs in turn, one each, before any of them has used one."""

    def __init__(self, gpus: list[str]):
        self.gpus = gpus

    def setup(self, worker: Worker) -> None:
        """Called in a worker when it starts, and when it starts anew."""
        os.environ["CUDA_VISIBLE_DEVICES"] = self.gpus[int(worker.name) % len(self.gpus)]


def _gpus() -> list[str]:
    """The GPUs that this process may use, by number or name."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return chosen.split(",") if chosen else [str(number) for number in range(torch.cuda.device_count())]


@contextmanager
def client(workers: int, scheduler: str = "", *, threads: int = 1) -> Iterator[Client]:
    """A client of the scheduler, or of a local cluster that ends with it.

    Args:
        workers: processes of the local cluster, among which several GPUs are dealt out; threads: of each.
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
    """What to raise when a result raises `LOST`: the scheduler is gone and with it all the rest."""
    return ConnectionError(
        f"the Dask scheduler was lost after {so_far}: start it and this {doing} again, which goes on where it was"
    )


def extract(
    clips: pd.DataFrame,
    out: str | Path,
    *,
    backbone: Backbone | str = "resnet50",
    frames: int = 28,
    rule: str = "first",
    batch_size: int | None = None,
    workers: int = 2,
    scheduler: str = "",
    device: str | None = None,
    progress: bool = True,
) -> features.Extraction:
    """`features.extract` on many processes or machines: same cache, same bits on the same kind of processor.

    Each worker gets the backbone once and writes whole chunks itself, so videos and cache must lie in folders that
    all workers see under the same paths. This process alone writes the manifest. A worker that dies loses the pieces
    it had begun, which others do again; every thread of a worker does one piece at a time, so give a worker as many
    threads as it has cores (a GPU: as many as decode for it).

    Args:
        workers: processes of the local cluster, which share the cores.
        scheduler: address of a Dask scheduler, such as tcp://host:8786; empty: a local cluster.
        device: torch device of the workers; default: the GPU where a worker has one.
        clips, out, backbone, frames, rule, batch_size, progress: as for `features.extract`.

    Raises:
        ValueError, OSError: as `features.extract` does; or fewer than one worker.
        RuntimeError: another process is extracting into this folder, or workers die over the same clips.
        ConnectionError: no scheduler answers at that address, it has no workers, or it was lost on the way; what was
            written stays, and the next call goes on.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}: give at least 1")
    how, out = How(frames, rule, batch_size), Path(out).resolve()
    clips = clips.assign(path=[str(Path(path).resolve()) for path in clips["path"]])

    def on_workers(net: Backbone, cache: Cache, work: Iterable[Piece]) -> Generator[Done]:
        share = max(1, (os.cpu_count() or 1) // workers)
        with client(workers, scheduler, threads=share) as dask:
            yield from _spread(dask, net, cache, work, how, device)

    return features.extract_by(on_workers, clips, out, backbone, how, progress)


def _spread(
    dask: Client, net: Backbone, cache: Cache, work: Iterable[Piece], how: How, device: str | None
) -> Generator[Done]:
    name = f"{cache.path.name}-{uuid4().hex}"
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph")  # it is sent once
        # A task and not scattered data: the scheduler makes it anew when the workers that have it die.
        sent = dask.submit(_keep, _Sent(net), key=f"backbone-{name}", pure=False)
    todo, count = enumerate(work), 0
    running = as_completed()

    def refill() -> None:
        # Workers may come and go: as many pieces are on their way as keep those that are here busy.
        try:
            room = 2 * max(1, sum(dask.nthreads().values())) - running.count()
        except OSError as error:
            raise lost("extraction", f"{count} clips") from error
        for number, piece in islice(todo, max(0, room)):
            key = f"piece-{name}-{number}"
            running.add(dask.submit(_extract, sent, cache.path, piece, how, device, key=key, pure=False))

    refill()
    for future in running:
        try:
            done = future.result()
        except LOST as error:
            raise lost("extraction", f"{count} clips") from error
        except KilledWorker as error:
            raise RuntimeError(
                f"workers died again and again over the same clips ({error}): is their memory too small, or a video "
                "damaged so that decoding it crashes?"
            ) from error
        count += done.clips
        refill()
        yield done


def _keep(sent: _Sent) -> _Sent:
    return sent


def _extract(sent: _Sent, path: Path, piece: Piece, how: How, device: str | None) -> Done:
    """One piece, on a worker."""
    with _PREPARING:
        if sent not in _READY:
            _READY[sent] = pieces.to_device(pickle.loads(sent.data), device)
    with pieces.threads(1):
        return pieces.extract(_READY[sent], Cache.attach(path), piece, how)
