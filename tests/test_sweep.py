"""Many runs: the same records whatever number of workers, nothing lost by a kill, failures told and passed over."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from distributed import LocalCluster
from test_cluster import scheduler_and_worker, when

from ctxlstm.experiments import runs, sweep
from ctxlstm.experiments.settings import Study
from ctxlstm.support import dask_client

FILES = ("params.yaml", "history.csv", "predictions.csv")


@pytest.fixture
def study(tiny_clips, tmp_path) -> Study:
    return Study(
        dataset="ucf101",
        root=str(tiny_clips),
        cache=str(tmp_path / "cache"),
        results=str(tmp_path / "results"),
        size=32,
        frames=4,
        hidden_size=4,
        embedding=(8,),
        models=("mean_linear", "context_lstm"),
        protocols=("paper",),
        seeds=(0, 1),
        epochs=2,
        batch_size=4,
        validation=0.0,
        cpu=True,
    )


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


def test_two_workers_give_the_records_of_one_and_a_second_sweep_keeps_them(study, tmp_path):
    lines = []
    one = sweep.run(study.runs(), workers=1, on_done=lines.append)
    assert list(one["status"]) == ["finished"] * 4
    assert lines[0].startswith("4 runs to do on 1 workers, 0 were finished before")
    assert lines[-1].startswith("4 of 4 runs done, 0 failed")
    other = study.replace(results=str(tmp_path / "two"))
    assert list(sweep.run(other.runs(), workers=2)["run"]) == list(one["run"])
    assert contents(study.results) == contents(other.results)
    assert len(contents(study.results)) == 4 * len(FILES)
    before = {path: path.stat().st_mtime_ns for path in Path(study.results).rglob("*")}
    again = sweep.run(study.runs(), workers=1)
    assert list(again["status"]) == ["kept"] * 4
    assert {path: path.stat().st_mtime_ns for path in Path(study.results).rglob("*")} == before


def test_a_failed_run_is_recorded_and_the_others_go_on(study):
    wild = study.replace(learning_rate=1e30, models=("context_lstm",), epochs=5)
    done = sweep.run([*wild.runs(), *study.runs()], workers=1)
    assert done["status"].value_counts().to_dict() == {"finished": 4, "failed": 2}
    failed = done[done["status"] == "failed"]
    assert failed["reason"].str.contains("not-a-number|NaN or infinite").all()
    for name in failed["run"]:
        told = json.loads((Path(study.results) / f"{name}.failed.json").read_text(encoding="utf-8"))
        assert told["reason"] == failed.set_index("run").loc[name, "reason"]
    assert len(runs.load(study.results)) == 4, "a failure is no record"
    assert set(runs.failures(study.results)["run"]) == set(failed["run"])


def test_a_failure_that_is_overcome_is_forgotten(study):
    job = study.runs()[0]
    done = sweep.run([job], workers=1)
    name = done["run"][0]
    failure = Path(study.results) / f"{name}.failed.json"
    (Path(study.results) / name).rename(Path(study.results).parent / "away")
    failure.write_text("{}", encoding="utf-8")
    sweep.run([job], workers=1)
    assert not failure.exists()


def test_a_worker_killed_in_the_middle_loses_nothing(study, tmp_path):
    long = study.replace(models=("context_lstm",), seeds=(0,), epochs=60)
    killed = []

    def kill():
        part = Path(study.results)
        for _ in range(600):  # until the run has a checkpoint, so that it is in the middle
            if list(part.glob("*.part/checkpoint.safetensors")):
                break
            time.sleep(0.1)
        for process in psutil.Process().children(recursive=True):
            if "spawn_main" in " ".join(process.cmdline()):
                killed.append(process.pid)
                process.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    done = sweep.run(long.runs(), workers=1)
    thread.join()
    assert killed
    assert list(done["status"]) == ["finished"]
    undisturbed = long.replace(results=str(tmp_path / "undisturbed"))
    sweep.run(undisturbed.runs(), workers=1)
    assert contents(long.results) == contents(undisturbed.results)


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process group")
def test_a_killed_sweep_goes_on_where_it_was(study, tmp_path):
    long = study.replace(epochs=20)
    program = tmp_path / "sweep_it.py"
    program.write_text(
        "import pickle, sys\nfrom ctxlstm.experiments import sweep\n"
        "if __name__ == '__main__':\n    sweep.run(pickle.load(open(sys.argv[1], 'rb')), workers=1)\n",
        encoding="utf-8",
    )
    import pickle

    (tmp_path / "jobs.pickle").write_bytes(pickle.dumps(long.runs()))
    command = [sys.executable, str(program), str(tmp_path / "jobs.pickle")]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    for _ in range(900):
        if any(not p.name.endswith(".part") for p in Path(long.results).glob("*-s0-*") if p.is_dir()):
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = len(runs.load(long.results))
    assert 1 <= before < 4
    done = sweep.run(long.runs(), workers=1)
    assert done["status"].value_counts().to_dict() == {"kept": before, "finished": 4 - before}
    undisturbed = long.replace(results=str(tmp_path / "undisturbed"))
    sweep.run(undisturbed.runs(), workers=2)
    assert contents(long.results) == contents(undisturbed.results)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9")
def test_a_lost_scheduler_is_told_and_a_restart_goes_on(study, tmp_path):
    long = study.replace(epochs=20)

    def finished() -> int:
        return sum(
            not path.parent.name.endswith(".part") for path in Path(long.results).glob("*/metrics.json")
        )

    with scheduler_and_worker(tmp_path) as (address, scheduler):
        with when(lambda: finished() >= 1, scheduler.kill):
            with pytest.raises(
                ConnectionError, match=r"scheduler was lost after \d of 4 runs: start it and this sweep"
            ):
                sweep.run(long.runs(), scheduler=address)
    before = finished()
    assert 1 <= before < 4
    assert not list(Path(long.results).glob("*.failed.json")), "a lost scheduler is no failure of a run"
    done = sweep.run(long.runs(), workers=1)
    assert done["status"].value_counts().to_dict() == {"kept": before, "finished": 4 - before}
    undisturbed = long.replace(results=str(tmp_path / "undisturbed"))
    sweep.run(undisturbed.runs(), workers=1)
    assert contents(long.results) == contents(undisturbed.results)


def test_any_scheduler_by_its_address(study):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0", host="127.0.0.1") as cluster:
        done = sweep.run(study.runs()[:1], scheduler=cluster.scheduler_address)
    assert list(done["status"]) == ["finished"]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere"])
def test_a_scheduler_that_does_not_answer(study, monkeypatch, address):
    monkeypatch.setattr(dask_client, "CONNECT_SECONDS", 1)
    with pytest.raises(ConnectionError, match=f"no Dask scheduler answers at {address}"):
        sweep.run(study.runs()[:1], scheduler=address)


def test_a_scheduler_without_workers(study, monkeypatch):
    monkeypatch.setattr(dask_client, "CONNECT_SECONDS", 1)
    with LocalCluster(n_workers=0, dashboard_address=":0", host="127.0.0.1") as empty:
        with pytest.raises(ConnectionError, match="has no workers: start some with `dask worker tcp"):
            sweep.run(study.runs()[:1], scheduler=empty.scheduler_address)


def test_a_worker_with_several_threads_trains_one_model_at_a_time(study, tmp_path):
    one = study.replace(results=str(tmp_path / "one"))
    sweep.run(one.runs(), workers=1)
    with LocalCluster(n_workers=1, threads_per_worker=4, dashboard_address=":0", host="127.0.0.1") as cluster:
        done = sweep.run(study.runs(), scheduler=cluster.scheduler_address)
    assert list(done["status"]) == ["finished"] * 4
    assert contents(study.results) == contents(one.results)


def test_a_damaged_record_is_told_and_the_others_go_on(study):
    jobs = study.runs()
    name = sweep.run(jobs[:1], workers=1)["run"][0]
    history = Path(study.results) / name / "history.csv"
    history.write_text(history.read_text(encoding="utf-8") + "9,9,9,9,9,9,9\n", encoding="utf-8")
    done = sweep.run(jobs, workers=1).set_index("run")
    assert done.loc[name, "status"] == "failed"
    assert "history.csv was changed after the run" in done.loc[name, "reason"]
    assert (done["status"] == "finished").sum() == 3


def test_a_drifting_backbone_in_a_sweep_decodes_once_and_gives_the_same_twice(study, tmp_path):
    drift = study.replace(batch_norm="drift", models=("mean_linear",), seeds=(0, 1), epochs=1)
    done = sweep.run(drift.runs(), workers=2)
    assert list(done["status"]) == ["finished"] * 2, list(done["reason"])
    assert len(list(Path(drift.cache).glob("*/frames.bin"))) == 1
    again = drift.replace(results=str(tmp_path / "again"))
    sweep.run(again.runs(), workers=1)
    assert contents(drift.results) == contents(again.results)


def test_jobs_that_do_not_belong_together(study):
    with pytest.raises(ValueError, match="there are no jobs"):
        sweep.run([])
    with pytest.raises(ValueError, match="the jobs differ in frames"):
        sweep.run([study.runs()[0], study.replace(frames=5).runs()[0]])
    with pytest.raises(ValueError, match="workers is 0"):
        sweep.run(study.runs(), workers=0)
    with pytest.raises(ValueError, match="batch_size 4000 is larger than the training part"):
        sweep.run(study.replace(batch_size=4000).runs())
