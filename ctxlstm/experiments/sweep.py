"""Many runs at once on dask.distributed: a local cluster by default, any scheduler by its address.

A run is deterministic and its record appears only when complete, so a sweep needs no state: a finished run is
skipped, and a killed run continues from its checkpoint on whichever worker gets it. A failed run leaves
`<run_id>.failed.json` with the reason beside the records, and the others go on.

On a cluster of several machines the results and the feature cache must be in folders that all of them see.
Scheduler and workers exchange pickled objects: connect only to a scheduler that is yours.
"""

import json
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import pandas as pd
from distributed import Client, as_completed

from ctxlstm.experiments import runs, steps
from ctxlstm.experiments.settings import PLACES, Run
from ctxlstm.features import Features, align, load
from ctxlstm.support import dask_client
from ctxlstm.support.files import written
from ctxlstm.support.names import variant

COLUMNS = ["run", "model", "variant", "protocol", "fold", "seed", "status", "reason"]
# A worker may have several threads, but torch's threads and random numbers belong to the whole process, so
# each process does one training at a time.
_ONE_AT_A_TIME = threading.Lock()


def run(
    jobs: Sequence[Run],
    *,
    workers: int = 2,
    scheduler: str = "",
    on_done: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Do all jobs; return a table with one row per job.

    Args:
        jobs: the runs (`Study.runs`), all on the same data and features.
        workers: processes of the local cluster.
        scheduler: address of a Dask scheduler, such as tcp://host:8786; empty: a local cluster.
        on_done: called with a line after every job: how many are done, how long the rest may take.

    Returns:
        Columns run, model, variant, protocol, fold, seed, status (finished, kept, failed), reason (of a failure).

    Raises:
        ValueError: no jobs, jobs on different data, fewer than one worker, a batch larger than a training set.
        ConnectionError: no scheduler answers at that address, it has no workers, or it is lost during the
            work; what was finished stays, and the next call continues.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}: give at least 1")
    jobs, results = _one_place(jobs)
    todo, rows = _plan(jobs, results)
    if todo:
        with dask_client.client(workers, scheduler) as client:
            rows += _work(client, todo, len(rows), results, on_done)
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.sort_values(["protocol", "fold", "model", "variant", "seed"], ignore_index=True)


def _one_place(jobs: Sequence[Run]) -> tuple[list[Run], Path]:
    """The jobs with absolute paths, which mean the same on every worker, and the results folder."""
    if not jobs:
        raise ValueError("there are no jobs: give at least one model, protocol and seed")
    shared = (
        "dataset",
        "groups",
        "title",
        "group_pattern",
        "backbone",
        "stride",
        "backbone_precision",
        "finetune",
        "frames",
        "rule",
        "size",
    )
    for name in (*PLACES, *shared):
        if len({getattr(job, name) for job in jobs}) > 1:
            raise ValueError(
                f"the jobs differ in {name}: a sweep needs one data set and one kind of features"
            )
    results = runs.prepare(jobs[0].results).resolve()
    given = {name: str(Path(value).resolve()) for name in PLACES if (value := getattr(jobs[0], name))}
    return [job.replace(**given | {"results": str(results)}) for job in jobs], results


def _plan(jobs: Sequence[Run], results: Path) -> tuple[dict[str, tuple], list[dict]]:
    """The runs to do, by run id, and rows for finished or damaged ones; features are extracted here, once."""
    clips = steps.clips(jobs[0])
    splits = [steps.split(job, clips) for job in jobs]  # reports a batch that is too large before any work
    extracted, todo, rows = {}, {}, []
    for job, split in zip(jobs, splits, strict=True):
        own = (job.protocol, job.fold, job.seed) if job.batch_norm == "adapted" else job.batch_norm
        if own not in extracted:
            folder = steps.extract(job, clips, split)
            extracted[own] = folder, steps.load(job, clips, folder).digest
        folder, digest = extracted[own]
        name = runs.run_id(job.params(digest))
        try:
            if runs.find(results, name) is None:
                todo[name] = (job, clips, folder)
                continue
            rows.append(_row(job, name, "kept"))
            (results / f"{name}.failed.json").unlink(missing_ok=True)
        except ValueError as error:  # a damaged record is never skipped and never overwritten
            rows.append(_row(job, name, "failed", str(error)))
    return todo, rows


def _work(client: Client, todo: dict[str, tuple], kept: int, results: Path, on_done) -> list[dict]:
    start, failed, rows = time.monotonic(), 0, []
    futures = {  # the folder is in the key: another sweep on this scheduler may write the same run elsewhere
        client.submit(_one, *work, key=f"{results}/{name}", pure=False): name for name, work in todo.items()
    }
    on_done(f"{len(todo)} runs to do on {len(client.nthreads())} workers, {kept} already finished")
    for future in as_completed(futures):
        name = futures[future]
        job = todo[name][0]
        failure = results / f"{name}.failed.json"
        try:
            future.result()
            failure.unlink(missing_ok=True)
            rows.append(_row(job, name, "finished"))
        except dask_client.LOST as error:
            raise dask_client.lost("sweep", f"{len(rows)} of {len(todo)} runs") from error
        except Exception as error:  # whatever ended this run, the others go on
            reason = f"{type(error).__name__}: {error}"
            _record_failure(failure, name, reason, job)
            rows.append(_row(job, name, "failed", reason))
            failed += 1
        seconds = time.monotonic() - start
        left = seconds / len(rows) * (len(todo) - len(rows))
        line = (
            f"{len(rows)} of {len(todo)} runs done, {failed} failed, {seconds:.0f} s; about {left:.0f} s left"
        )
        on_done(
            f"{line}: {name}" + (f" FAILED ({rows[-1]['reason']})" if rows[-1]["status"] == "failed" else "")
        )
    return rows


def _one(job: Run, clips: pd.DataFrame, folder: Path) -> str:
    """One run, on a worker."""
    with _ONE_AT_A_TIME:
        split = steps.split(job, clips)
        features = steps.load(job, clips, folder) if job.on_frames else _features(folder)
        part = align(split, clips, features)
        return steps.train(job, features, part).name


@lru_cache(maxsize=2)
def _features(folder: Path) -> Features:
    return load(folder)


def _row(job: Run, name: str, status: str, reason: str = "") -> dict:
    found = {"run": name, "model": job.model, "variant": variant(job.options), "protocol": job.protocol}
    return found | {"fold": job.fold, "seed": job.seed, "status": status, "reason": reason}


def _record_failure(path: Path, name: str, reason: str, job: Run) -> None:
    content = {"run": name, "reason": reason, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    content |= _row(job, name, "failed", reason)
    content |= {"versions": runs.environment()}
    with written(path) as part:
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
