"""Extraction on dask.distributed: many processes, many machines (`support.dask_client` has the client).

Give a worker as many threads as it has cores.
"""

import os
import pickle
import threading
import warnings
from collections.abc import Generator, Iterable
from itertools import islice
from pathlib import Path
from typing import cast
from uuid import uuid4
from weakref import WeakKeyDictionary

import pandas as pd
from distributed import Client, KilledWorker, as_completed

from ctxlstm import features
from ctxlstm.backbone import Backbone
from ctxlstm.features import extraction
from ctxlstm.features.cache import Cache
from ctxlstm.features.extraction import Done, How, Piece
from ctxlstm.support import threads
from ctxlstm.support.dask_client import LOST, client, lost


class _Sent:
    """A backbone for the workers, pickled here: Dask's own way with torch modules keeps only the tensors."""

    def __init__(self, net: Backbone):
        self.data = pickle.dumps(net.cpu())


# On a worker: each backbone received, and its copy on the device, made once for all of the worker's threads.
_READY: WeakKeyDictionary[_Sent, Backbone] = WeakKeyDictionary()
_PREPARING = threading.Lock()


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

    Each worker gets the backbone once and writes whole chunks itself, so videos and cache must be in folders
    that all workers see under the same paths. Only this process writes the manifest. If a worker dies, others
    redo the pieces it had begun. Each thread of a worker processes one piece at a time, so give a worker as
    many threads as it has cores (with a GPU: as many as decode for it).

    Args:
        workers: processes of the local cluster, which share the cores.
        scheduler: address of a Dask scheduler, such as tcp://host:8786; empty: a local cluster.
        device: torch device of the workers; default: the GPU where a worker has one.
        clips, out, backbone, frames, rule, batch_size, progress: as for `features.extract`.

    Raises:
        ValueError, OSError: as `features.extract` does; or fewer than one worker.
        RuntimeError: another process is extracting into this folder, or workers keep dying on the same clips.
        ConnectionError: no scheduler answers at that address, it has no workers, or it is lost during the
            work; what was written stays, and the next call continues.
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
        # A task, not scattered data: the scheduler recomputes it if the workers that hold it die.
        sent = dask.submit(_keep, _Sent(net), key=f"backbone-{name}", pure=False)
    todo, count = enumerate(work), 0
    running = as_completed()

    def refill() -> None:
        # Workers may come and go: keep enough pieces in flight for those that are here now.
        try:
            held = cast("dict[str, int]", dask.nthreads())  # not a coroutine: the client is not asynchronous
            room = 2 * max(1, sum(held.values())) - running.count()
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
                f"workers kept dying on the same clips ({error}): give them more memory, or remove a video "
                "that crashes the decoder"
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
            _READY[sent] = extraction.to_device(pickle.loads(sent.data), device)
    with threads.threads(1):
        return extraction.extract(_READY[sent], Cache.attach(path), piece, how)
