"""Many runs at once on dask.distributed: a local cluster by default, any scheduler by its address.

A run is deterministic and writes its record aside, so nothing here has to be remembered: a finished run is skipped, a
run that was killed goes on from its checkpoint, on whichever worker gets it. A failed run leaves
`<run_id>.failed.json` with its reason beside the records, and the others go on.

On a cluster of several machines the results and the feature cache must lie in folders that all of them see.
Scheduler and workers exchange pickled objects: connect only to a scheduler that is yours.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pandas as pd
from distributed import Client, LocalCluster, as_completed

from ctxlstm import experiment, runs
from ctxlstm import features as feature_cache
from ctxlstm.features import Features
from ctxlstm.settings import Settings

COLUMNS = ["run", "model", "variant", "protocol", "fold", "seed", "status", "reason"]
CONNECT_SECONDS = 10


def run(
    jobs: Sequence[Settings],
    *,
    workers: int = 2,
    scheduler: str = "",
    on_done: Callable[[str], None] = print,
) -> pd.DataFrame:
    """Do all jobs; return a table with a row a job.

    Args:
        jobs: one Settings a run (`Settings.jobs`), all on the same data and features.
        workers: processes of the local cluster; one training runs in each.
        scheduler: address of a Dask scheduler, such as tcp://host:8786; empty: a local cluster.
        on_done: gets a line after every job: how many are done, how long the rest may take.

    Returns:
        Columns run, model, variant, protocol, fold, seed, status (finished, kept, failed), reason (of a failure).

    Raises:
        ValueError: no jobs, jobs on different data, fewer than one worker, a batch larger than a training part.
        ConnectionError: no scheduler answers at that address.
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}: give at least 1")
    results = _one_place(jobs)
    todo, rows = _plan(jobs, results)
    if todo:
        with _client(workers, scheduler) as client:
            rows += _work(client, todo, len(rows), results, on_done)
    order = {name: number for number, name in enumerate(COLUMNS)}
    table = pd.DataFrame(rows, columns=list(order))
    return table.sort_values(["protocol", "fold", "model", "variant", "seed"], ignore_index=True)


def _one_place(jobs: Sequence[Settings]) -> Path:
    if not jobs:
        raise ValueError("there are no jobs: give at least one model, protocol and seed")
    for name in (
        "dataset",
        "root",
        "groups",
        "backbone",
        "weights",
        "frames",
        "rule",
        "size",
        "results",
        "cache",
    ):
        if len({getattr(job, name) for job in jobs}) > 1:
            raise ValueError(
                f"the jobs differ in {name}: a sweep is on one data set and one kind of features"
            )
    return runs.prepare(jobs[0].results)


def _plan(jobs: Sequence[Settings], results: Path) -> tuple[dict[str, tuple], list[dict]]:
    """What is to be done, by run id, and rows for the runs that are finished; features are extracted here, once."""
    clips = experiment.clips(jobs[0])
    splits, folders, todo, rows = {}, {}, {}, []
    for job in jobs:  # all splits first: a batch that does not fit is told before any work
        key = (job.protocols[0], job.fold, job.seed, job.batch_size, job.validation)
        splits[key] = experiment.split(job, clips)
    for job in jobs:
        split = splits[job.protocols[0], job.fold, job.seed, job.batch_size, job.validation]
        own = (job.protocols[0], job.fold, job.seed) if job.batch_norm == "adapted" else job.batch_norm
        if own not in folders:
            drift = job.batch_norm == "drift"
            folders[own] = None if drift else experiment.extract(job, clips, split)
        job = replace(job, results=str(results.resolve()))
        features = _features(folders[own]) if folders[own] else experiment.features(job, clips, split)
        name = runs.run_id(job.run(job.models[0], job.protocols[0], features.digest))
        if (results / name).is_dir():
            runs.read(results / name)  # refuses to go on beside a damaged record
            rows.append(_row(job, name, "kept"))
        else:
            todo[name] = (job, clips, folders[own])
    return todo, rows


@contextmanager
def _client(workers: int, scheduler: str):
    """A client of the scheduler, or of a local cluster that ends with it."""
    if scheduler:
        try:
            client = Client(scheduler, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise ConnectionError(
                f"no Dask scheduler answers at {scheduler} ({error}): check the address and that `dask scheduler` runs "
                "there, or leave scheduler empty for a local cluster"
            ) from error
        with client:
            yield client
        return
    quiet = {"dashboard_address": None, "silence_logs": "CRITICAL"}
    # memory_limit 0: the default would kill a worker at a share of the memory that large features may well need.
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, memory_limit=0, host="127.0.0.1", **quiet
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _work(client: Client, todo: dict[str, tuple], kept: int, results: Path, on_done) -> list[dict]:
    start, failed, rows = time.monotonic(), 0, []
    futures = {client.submit(_one, *work, key=name, pure=False): name for name, work in todo.items()}
    on_done(f"{len(todo)} runs to do on {len(client.nthreads())} workers, {kept} were finished before")
    for future in as_completed(futures):
        name = futures[future]
        job = todo[name][0]
        failure = results / f"{name}.failed.json"
        try:
            future.result()
            failure.unlink(missing_ok=True)
            rows.append(_row(job, name, "finished"))
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


def _one(job: Settings, clips: pd.DataFrame, folder: Path | None) -> str:
    """One run, on a worker."""
    split = experiment.split(job, clips)
    features = _features(folder) if folder else experiment.features(job, clips, split)
    part = feature_cache.align(split, clips, features)
    return runs.train(job, job.models[0], job.protocols[0], features, part).name


@lru_cache(maxsize=2)
def _features(folder: Path) -> Features:
    return feature_cache.load(folder)


def _row(job: Settings, name: str, status: str, reason: str = "") -> dict:
    found = {"run": name, "model": job.models[0], "variant": job.variant, "protocol": job.protocols[0]}
    return found | {"fold": job.fold, "seed": job.seed, "status": status, "reason": reason}


def _record_failure(path: Path, name: str, reason: str, job: Settings) -> None:
    content = {"run": name, "reason": reason, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    content |= {"model": job.models[0], "protocol": job.protocols[0], "fold": job.fold, "seed": job.seed}
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content | {"versions": runs.environment()}, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
