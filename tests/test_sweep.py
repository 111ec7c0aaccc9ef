"""Many runs: the same records whatever number of workers, nothing lost by a kill, failures told and passed over."""

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import psutil
import pytest
from distributed import LocalCluster
from helpers import scheduler_and_worker, when

from ctxlstm.experiments import runs, sweep
from ctxlstm.experiments.settings import Study
from ctxlstm.support import dask_client

FILES = ("params.yaml", "history.csv", "predictions.csv")


class Undisturbed(NamedTuple):
    """What a sweep left (`contents`), the lines it printed and its table."""

    records: dict[str, bytes]
    lines: list[str]
    table: pd.DataFrame


@pytest.fixture(scope="module")
def four(tiny_clips, tmp_path_factory) -> Study:
    """Four runs, two models times two seeds, on features that are extracted once."""
    folder = tmp_path_factory.mktemp("sweep")
    return Study(
        dataset="ucf101",
        root=str(tiny_clips),
        cache=str(folder / "cache"),
        results=str(folder / "undisturbed"),
        size=32,
        frames=4,
        hidden_size=4,
        embedding=(8,),
        models=("mean_linear", "context_lstm"),
        protocols=("paper",),
        seeds=(0, 1),
        epochs=8,  # long enough to be disturbed
        batch_size=4,
        validation=0.0,
        cpu=True,
    )


@pytest.fixture(scope="module")
def undisturbed(four) -> Undisturbed:
    """The four runs as one worker makes them."""
    lines: list[str] = []
    table = sweep.run(four.runs(), workers=1, on_done=lines.append)
    return Undisturbed(contents(four.results), lines, table)


@pytest.fixture
def study(four, tmp_path) -> Study:
    """The four runs, with results of one's own."""
    return four.replace(results=str(tmp_path / "results"))


def contents(results: str | Path) -> dict[str, bytes]:
    """What must not depend on how the runs were made: everything but times and memory."""
    return {
        f"{folder.name}/{name}": (folder / name).read_bytes()
        for folder in Path(results).iterdir()
        if folder.is_dir() and not folder.name.endswith(".part")
        for name in FILES
    }


def test_jobs_are_models_times_protocols_times_folds_times_seeds(study):
    wide = study.replace(protocols=("paper", "official"), folds=(1, 2, 3), seeds=(0, 1, 2))
    jobs = wide.runs()
    assert len(jobs) == 2 * (1 + 3) * 3
    assert {(j.protocol, j.fold) for j in jobs} == {
        ("paper", 1),
        ("official", 1),
        ("official", 2),
        ("official", 3),
    }
    assert [job.seed for job in jobs] == sorted(job.seed for job in jobs), "seeds come first"
    assert len(study.runs()) == 4
    assert len(study.replace(seeds=(), seed=7).runs()) == 2


@pytest.mark.slow
@pytest.mark.alone
def test_two_workers_give_the_records_of_one_and_a_second_sweep_keeps_them(study, undisturbed, two):
    assert list(undisturbed.table["status"]) == ["finished"] * 4
    assert undisturbed.lines[0].startswith("4 runs to do on 1 workers, 0 already finished")
    assert undisturbed.lines[-1].startswith("4 of 4 runs done, 0 failed")
    assert len(undisturbed.records) == 4 * len(FILES)
    done = sweep.run(study.runs(), scheduler=two.scheduler_address)
    assert list(done["run"]) == list(undisturbed.table["run"])
    assert contents(study.results) == undisturbed.records
    before = {path: path.stat().st_mtime_ns for path in Path(study.results).rglob("*")}
    again = sweep.run(study.runs(), scheduler="tcp://127.0.0.1:9")
    assert list(again["status"]) == ["kept"] * 4, "a finished sweep needs no scheduler"
    assert {path: path.stat().st_mtime_ns for path in Path(study.results).rglob("*")} == before


@pytest.mark.slow
@pytest.mark.alone
def test_a_failed_run_is_recorded_and_the_others_go_on(study, two):
    wild = study.replace(learning_rate=1e30, models=("context_lstm",), epochs=5)
    done = sweep.run([*wild.runs(), *study.runs()], scheduler=two.scheduler_address)
    assert done["status"].value_counts().to_dict() == {"finished": 4, "failed": 2}
    failed = done[done["status"] == "failed"]
    assert failed["reason"].str.contains("not-a-number|NaN or infinite").all()
    for name in failed["run"]:
        told = json.loads((Path(study.results) / f"{name}.failed.json").read_text(encoding="utf-8"))
        assert told["reason"] == failed.set_index("run").loc[name, "reason"]
    assert len(runs.load(study.results)) == 4, "a failure is no record"
    assert set(runs.failures(study.results)["run"]) == set(failed["run"])


@pytest.mark.slow
@pytest.mark.alone
def test_a_failure_that_is_overcome_is_forgotten(study, two):
    job = study.runs()[0]
    name = sweep.run([job], scheduler=two.scheduler_address)["run"][0]
    failure = Path(study.results) / f"{name}.failed.json"
    (Path(study.results) / name).rename(Path(study.results).parent / "away")
    failure.write_text("{}", encoding="utf-8")
    sweep.run([job], scheduler=two.scheduler_address)
    assert not failure.exists()


@pytest.mark.slow
@pytest.mark.alone
def test_a_worker_killed_in_the_middle_loses_nothing(study, two, tmp_path):
    long = study.replace(models=("context_lstm",), seeds=(0,), epochs=20)
    others = set(psutil.Process().children(recursive=True))
    killed = []

    def in_the_middle() -> bool:
        return any(Path(study.results).glob("*.part/checkpoint.safetensors"))

    def kill() -> None:
        for process in set(psutil.Process().children(recursive=True)) - others:
            if "spawn_main" in " ".join(process.cmdline()):
                killed.append(process.pid)
                process.kill()

    with when(in_the_middle, kill):
        done = sweep.run(long.runs(), workers=1)
    assert killed
    assert list(done["status"]) == ["finished"]
    whole = long.replace(results=str(tmp_path / "undisturbed"))
    sweep.run(whole.runs(), scheduler=two.scheduler_address)
    assert contents(long.results) == contents(whole.results)


def finished(study: Study) -> int:
    return sum(not path.parent.name.endswith(".part") for path in Path(study.results).glob("*/metrics.json"))


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="kills a process group")
def test_a_killed_sweep_goes_on_where_it_was(study, undisturbed, two, tmp_path):
    program = tmp_path / "sweep_it.py"
    program.write_text(
        "import pickle, sys\nfrom ctxlstm.experiments import sweep\n"
        "if __name__ == '__main__':\n    sweep.run(pickle.load(open(sys.argv[1], 'rb')), workers=1)\n",
        encoding="utf-8",
    )
    (tmp_path / "jobs.pickle").write_bytes(pickle.dumps(study.runs()))
    command = [sys.executable, str(program), str(tmp_path / "jobs.pickle")]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    with when(lambda: finished(study) >= 1, lambda: os.killpg(process.pid, signal.SIGKILL)):
        process.wait()
    before = finished(study)
    assert 1 <= before < 4
    done = sweep.run(study.runs(), scheduler=two.scheduler_address)
    assert done["status"].value_counts().to_dict() == {"kept": before, "finished": 4 - before}
    assert contents(study.results) == undisturbed.records


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_a_lost_scheduler_is_told_and_a_restart_goes_on(study, undisturbed, two, tmp_path):
    with scheduler_and_worker(tmp_path) as (address, scheduler):
        with when(lambda: finished(study) >= 1, scheduler.kill):
            with pytest.raises(
                ConnectionError, match=r"scheduler was lost after \d of 4 runs: start it and this sweep"
            ):
                sweep.run(study.runs(), scheduler=address)
    before = finished(study)
    assert 1 <= before < 4
    assert not list(Path(study.results).glob("*.failed.json")), "a lost scheduler is no failure of a run"
    done = sweep.run(study.runs(), scheduler=two.scheduler_address)
    assert done["status"].value_counts().to_dict() == {"kept": before, "finished": 4 - before}
    assert contents(study.results) == undisturbed.records


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere"])
def test_a_scheduler_that_does_not_answer(study, monkeypatch, address):
    monkeypatch.setattr(dask_client, "CONNECT_SECONDS", 1)
    with pytest.raises(ConnectionError, match=f"no Dask scheduler answers at {address}"):
        sweep.run(study.runs()[:1], scheduler=address)


@pytest.mark.slow
@pytest.mark.alone
def test_a_scheduler_without_workers(study, monkeypatch):
    monkeypatch.setattr(dask_client, "CONNECT_SECONDS", 1)
    with LocalCluster(n_workers=0, dashboard_address=":0", host="127.0.0.1") as empty:
        with pytest.raises(ConnectionError, match="has no workers: start some with `dask worker tcp"):
            sweep.run(study.runs()[:1], scheduler=empty.scheduler_address)


@pytest.mark.slow
@pytest.mark.alone
def test_a_worker_with_several_threads_trains_one_model_at_a_time(study, undisturbed):
    with LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address=":0", host="127.0.0.1") as cluster:
        done = sweep.run(study.runs(), scheduler=cluster.scheduler_address)
    assert list(done["status"]) == ["finished"] * 4
    assert contents(study.results) == undisturbed.records


@pytest.mark.slow
@pytest.mark.alone
def test_a_damaged_record_is_told_and_the_others_go_on(study, two):
    jobs = study.runs()
    name = sweep.run(jobs[:1], scheduler=two.scheduler_address)["run"][0]
    history = Path(study.results) / name / "history.csv"
    history.write_text(history.read_text(encoding="utf-8") + "9,9,9,9,9,9,9\n", encoding="utf-8")
    done = sweep.run(jobs, scheduler=two.scheduler_address).set_index("run")
    assert done.loc[name, "status"] == "failed"
    assert "history.csv was changed after the run" in done.loc[name, "reason"]
    assert (done["status"] == "finished").sum() == 3


@pytest.mark.slow
@pytest.mark.alone
def test_a_drifting_backbone_in_a_sweep_decodes_once_and_gives_the_same_twice(study, two, tmp_path):
    address = two.scheduler_address
    cache = str(tmp_path / "cache")
    drift = study.replace(cache=cache, batch_norm="drift", models=("mean_linear",), epochs=1)
    done = sweep.run(drift.runs(), scheduler=address)
    assert list(done["status"]) == ["finished"] * 2, list(done["reason"])
    assert len(list(Path(cache).glob("*/frames.bin"))) == 1
    records = runs.load(drift.results)
    assert set(records["batch_norm"]) == {"drift"}
    assert records["features_key"].iloc[0]["dtype"] == "uint8 frames"
    again = drift.replace(results=str(tmp_path / "again"))
    sweep.run(again.runs(), scheduler=address)
    assert contents(drift.results) == contents(again.results)


def test_jobs_that_do_not_belong_together(study):
    with pytest.raises(ValueError, match="there are no jobs"):
        sweep.run([])
    with pytest.raises(ValueError, match="the jobs differ in frames"):
        sweep.run([study.runs()[0], study.replace(frames=5).runs()[0]])
    with pytest.raises(ValueError, match="workers is 0"):
        sweep.run(study.runs(), workers=0)
    with pytest.raises(ValueError, match="batch_size 4000 is larger than the training set"):
        sweep.run(study.replace(batch_size=4000).runs())
