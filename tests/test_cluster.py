"""Extraction on Dask: the same cache whoever computes it, and nothing lost by a kill of a worker or the scheduler."""

import json
import os
import signal
import sys
from concurrent.futures import CancelledError
from pathlib import Path

import pandas as pd
import pytest
from distributed import Client, Future
from distributed.comm import CommClosedError
from helpers import scheduler_and_worker, when

from ctxlstm import backbone, features, ucf101
from ctxlstm.features import cluster, extraction
from ctxlstm.support import dask_client

HOW = {"frames": 4, "rule": "uniform", "progress": False}


@pytest.fixture(scope="module")
def net() -> backbone.Backbone:
    return backbone.load("efficientnet_lite0", size=32)


@pytest.fixture(scope="module")
def clips(tiny_clips) -> pd.DataFrame:
    return ucf101.index(tiny_clips)


@pytest.fixture(scope="module")
def many(clips) -> pd.DataFrame:
    """The same videos under several names: work that is long enough to be disturbed."""
    times = [clips.assign(name=clips["name"] + f"_{i}") for i in range(3)]
    return pd.concat(times, ignore_index=True).sort_values("name", ignore_index=True)


@pytest.fixture(scope="module")
def undisturbed(many, net, tmp_path_factory) -> Path:
    """The cache of `many` that one process makes."""
    out = tmp_path_factory.mktemp("undisturbed") / "c"
    features.extract(many, out, backbone=net, **HOW)
    return out


def contents(out: Path) -> dict[str, bytes]:
    """All that a cache consists of."""
    files = [path for path in out.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def chunks(out: Path) -> int:
    return sum(1 for _ in out.glob("features.zarr/c/*/0/0"))


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("count", [64, 4])  # the second puts six chunks into a piece
def test_two_workers_give_the_bytes_of_one_process(clips, net, two, tmp_path, monkeypatch, count):
    monkeypatch.setattr(extraction, "PIECES", count)
    here = features.extract(clips, tmp_path / "here" / "c", backbone=net, workers=2, **HOW)
    address = two.scheduler_address
    done = cluster.extract(clips, tmp_path / "two" / "c", backbone=net, scheduler=address, **HOW)
    assert (done.clips, done.extracted, done.kept, done.left_out) == (len(clips), len(clips), 0, 0)
    assert contents(done.path) == contents(here.path)
    assert len(contents(done.path)) == len(clips) + 2, "a file a clip, and two that describe them"
    again = cluster.extract(clips, done.path, backbone=net, scheduler="tcp://127.0.0.1:9", **HOW)
    assert again.kept == len(clips), "a finished cache needs no scheduler"


@pytest.mark.slow
@pytest.mark.alone
def test_one_worker_of_a_local_cluster_gives_the_same_bytes(many, net, undisturbed, tmp_path):
    done = cluster.extract(many, tmp_path / "c", backbone=net, workers=1, **HOW)
    assert done.extracted == len(many)
    assert contents(done.path) == contents(undisturbed)


@pytest.mark.slow
@pytest.mark.alone
def test_damaged_and_unusable_clips_are_noted_as_in_one_process(clips, net, two, tmp_path):
    table = clips.head(6).copy()
    for row, path in table["path"].items():
        copy = tmp_path / "videos" / os.path.basename(path)
        copy.parent.mkdir(exist_ok=True)
        data = Path(path).read_bytes()
        copy.write_bytes(b"" if row == 0 else data[: len(data) // 2] if row == 1 else data)
        table.loc[row, "path"] = str(copy)
    done = cluster.extract(
        table, tmp_path / "two" / "c", backbone=net, scheduler=two.scheduler_address, **HOW
    )
    assert (done.extracted, done.left_out, done.damaged) == (5, 1, 1)
    features.extract(table, tmp_path / "one" / "c", backbone=net, **HOW)
    assert contents(tmp_path / "two" / "c") == contents(tmp_path / "one" / "c")
    loaded = features.load(done.path)
    assert list(loaded.left_out["name"]) == [table["name"][0]]
    assert list(loaded.damaged["name"]) == [table["name"][1]]


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_a_worker_killed_in_the_middle_loses_nothing(many, net, two, undisturbed, tmp_path):
    out = tmp_path / "c"
    with Client(two) as client:
        victim = next(iter(client.run(os.getpid).values()))
    with when(lambda: chunks(out) >= 5, lambda: os.kill(victim, signal.SIGKILL)):
        done = cluster.extract(many, out, backbone=net, scheduler=two.scheduler_address, **HOW)
    with Client(two) as client:
        assert victim not in client.run(os.getpid).values()
    assert (done.extracted, done.left_out) == (len(many), 0)
    left = {name for name in contents(out) if name.endswith(".partial")}  # what the victim was writing
    assert {name: data for name, data in contents(out).items() if name not in left} == contents(undisturbed)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_a_lost_scheduler_is_told_and_a_restart_goes_on(many, net, two, undisturbed, tmp_path):
    out = tmp_path / "c"
    with scheduler_and_worker(tmp_path) as (address, scheduler):
        with when(lambda: chunks(out) >= 5, lambda: scheduler.send_signal(signal.SIGKILL)):
            with pytest.raises(
                ConnectionError, match=r"scheduler was lost after \d+ clips: start it and this ext"
            ):
                cluster.extract(many, out, backbone=net, scheduler=address, **HOW)
    assert not json.loads((out / "manifest.json").read_text(encoding="utf-8"))["finished"]
    there = chunks(out)
    assert 5 <= there < len(many)
    done = cluster.extract(many, out, backbone=net, scheduler=two.scheduler_address, **HOW)
    assert (done.kept, done.extracted) == (there, len(many) - there)
    assert contents(out) == contents(undisturbed)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("error", [CancelledError("a future"), CommClosedError("in the middle of a result")])
def test_a_scheduler_that_is_lost_at_any_moment_is_told(clips, net, tmp_path, two, monkeypatch, error):
    def gone(*_, **__):
        raise error

    monkeypatch.setattr(cluster, "client", lambda *_, **__: Client(two.scheduler_address))
    monkeypatch.setattr(Future, "result", gone)
    with pytest.raises(ConnectionError, match=r"scheduler was lost after 0 clips: start it and this ext"):
        cluster.extract(clips, tmp_path / "c", backbone=net, **HOW)


def test_wrong_settings(clips, net, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_client, "CONNECT_SECONDS", 1)
    with pytest.raises(ValueError, match="workers is 0"):
        cluster.extract(clips, tmp_path / "c", backbone=net, workers=0, **HOW)
    with pytest.raises(ValueError, match="choose first or uniform"):
        cluster.extract(clips, tmp_path / "c", backbone=net, **(HOW | {"rule": "middle"}))
    assert not (tmp_path / "c").exists()
    with pytest.raises(ConnectionError, match="no Dask scheduler answers at tcp://127"):
        cluster.extract(clips, tmp_path / "c", backbone=net, scheduler="tcp://127.0.0.1:9", **HOW)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize(("gpus", "expected"), [(["4", "7"], ["4", "7", "4"]), (["4"], [None])])
def test_several_gpus_are_dealt_out_among_local_workers(monkeypatch, gpus, expected):
    monkeypatch.setattr(dask_client, "_gpus", lambda: gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with dask_client.client(len(expected)) as dask:
        found = dask.run(lambda dask_worker: (dask_worker.name, os.environ.get("CUDA_VISIBLE_DEVICES")))
    assert [gpu for _, gpu in sorted(found.values())] == expected


def test_only_the_gpus_that_this_process_may_use_are_dealt_out(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-6f1c")
    assert dask_client._gpus() == ["2", "GPU-6f1c"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(dask_client.torch.cuda, "device_count", lambda: 3)
    assert dask_client._gpus() == ["0", "1", "2"]
