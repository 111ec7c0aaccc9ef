"""One training in two processes: one model in both, one record, and checkpoints that either can go on from."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import two_processes
import yaml
from safetensors.torch import load_file
from small import build, make_features
from two_processes import CASES, fit

from ctxlstm import evaluation, training, ucf101
from ctxlstm.experiments import launch, runs, settings, steps
from ctxlstm.experiments.launch import train
from ctxlstm.training import given, processes

pytestmark = pytest.mark.slow

# Whether processes are on GPUs or, as here, on a CPU is decided by the settings: the launcher only starts them.
LAUNCH = ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]


def accelerate_launch(program: list[str], processes: int = 2) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH, "--num_processes", str(processes)]
    done = subprocess.run(
        [*command, *program],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """What two processes left of every case."""
    out = tmp_path_factory.mktemp("shared")
    accelerate_launch([two_processes.__file__, str(out)])
    return out


@pytest.mark.parametrize("name", CASES)
def test_two_processes_end_with_the_same_model(shared, name):
    """Weights, and BatchNorm's running statistics although each process saw clips of its own."""
    saved = load_file(shared / f"{name}.safetensors")
    second = load_file(shared / f"{name}.second.safetensors")
    new, _ = fit(name, epochs=1)
    assert second.keys() == new.state_dict().keys()
    for key, value in second.items():
        assert torch.equal(value, saved[f"model.{key}"]), f"{key} differs between the processes"
    assert not all(torch.equal(second[key], value) for key, value in new.state_dict().items())


@pytest.mark.parametrize("name", CASES)
def test_what_two_processes_report_is_true_of_the_model_they_leave(shared, name):
    """The test set is divided, filled up and put together again: each clip once, in its place."""
    data = make_features()
    split = ucf101.split(data.clips, "grouped", seed=0)
    model, _ = fit(name, epochs=1)  # gives tensors whose length comes from data their length
    model.load_state_dict(load_file(shared / f"{name}.second.safetensors"))
    logits = training.predict(model, data.x, rows=torch.as_tensor(split.test))
    predictions = pd.read_csv(shared / f"{name}.predictions.csv")
    expected = evaluation.predictions(
        logits, data.y[split.test], data.clips["name"].iloc[split.test].tolist(), data.classes
    )
    pd.testing.assert_frame_equal(predictions, expected, check_dtype=False, rtol=1e-4, atol=1e-5)
    table = pd.read_csv(shared / f"{name}.csv")
    assert list(table["epoch"]) == [1, 2, 3, 4]
    assert table["test_loss"].iloc[-1] == pytest.approx(expected["nll"].mean(), rel=1e-4)


def test_without_batch_norm_two_processes_give_what_one_gives(shared):
    """Equal parts of every batch and averaged gradients: only sums are rounded otherwise."""
    model, history = fit("no_batch_norm")
    found = pd.read_csv(shared / "no_batch_norm.csv")
    pd.testing.assert_frame_equal(found, history.table, rtol=1e-4, atol=1e-4)
    saved = load_file(shared / "no_batch_norm.safetensors")
    for key, value in model.state_dict().items():
        torch.testing.assert_close(saved[f"model.{key}"], value, rtol=1e-4, atol=1e-4)


def test_one_process_goes_on_from_the_checkpoint_of_two(shared):
    first = pd.read_csv(shared / "context_lstm.csv")
    path = shared / "resumed.safetensors"
    path.write_bytes((shared / "context_lstm.safetensors").read_bytes())
    _, history = fit("context_lstm", epochs=6, checkpoint=path)
    pd.testing.assert_frame_equal(history.table.head(4), first, rtol=1e-12)
    assert list(history.table["epoch"]) == [1, 2, 3, 4, 5, 6]


def test_two_processes_go_on_from_the_checkpoint_of_one_and_write_one_record(tiny_clips, tmp_path):
    job = {
        "dataset": "ucf101", "root": str(tiny_clips), "cache": str(tmp_path / "cache"), "size": 32, "frames": 4,
        "model": "context_lstm", "protocol": "paper", "hidden_size": 4, "embedding": [8], "epochs": 4,
        "batch_size": 5, "validation": 0.0, "cpu": True, "results": str(tmp_path / "two"),
    }  # fmt: skip
    one = settings.Run(**job | {"results": str(tmp_path / "one")})
    record = train(one)

    class Stop(Exception):
        pass

    def stop(row):
        if row["epoch"] == 2:
            raise Stop

    two = settings.Run(**job)
    clips = steps.clips(two)
    split = steps.split(two, clips)
    features = steps.features(two, clips, split)
    with pytest.raises(Stop):
        steps.train(two, features, split, on_epoch=stop)
    assert list((tmp_path / "two").glob("*.part/checkpoint.safetensors"))
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job), encoding="utf-8")
    accelerate_launch(["-m", "ctxlstm.experiments.launch", str(tmp_path / "job.yaml")])
    assert [path.name for path in (tmp_path / "two").iterdir()] == [record.name]
    found, alone = runs.history(tmp_path / "two" / record.name), runs.history(record)
    pd.testing.assert_frame_equal(found.head(2), alone.head(2))
    assert list(found["epoch"]) == [1, 2, 3, 4]
    assert not found.tail(2).equals(alone.tail(2)), "each process normalises with its own clips"


def test_with_variables_left_over_from_a_launcher_a_run_trains_alone_and_writes_its_record(
    tiny_clips, tmp_path, monkeypatch
):
    for name in processes.GROUP:
        monkeypatch.delenv(name, raising=False)
    for stray in ({"RANK": "1"}, {"LOCAL_RANK": "0"}, {"WORLD_SIZE": "4"}):
        results = tmp_path / next(iter(stray))
        job = settings.Run(
            dataset="ucf101", root=str(tiny_clips), cache=str(tmp_path / "cache"), size=32, frames=2, model="mean_linear",
            protocol="paper", epochs=1, batch_size=5, validation=0.0, cpu=True, results=str(results),
        )  # fmt: skip
        with monkeypatch.context() as left_over:
            for name, value in stray.items():
                left_over.setenv(name, value)
            record = train(job)
        assert [path.name for path in results.iterdir()] == [record.name]
        assert runs.read(record)["model"] == "mean_linear"


def test_a_head_gets_shared_batch_norm_and_a_backbone_keeps_its_own():
    """What happens to a model on GPUs, where alone `SyncBatchNorm` trains."""
    net = build(dropout=0.0, embedding=(8, 8), batch_norm="time")
    x = torch.randn(4, 5, 12)
    net(x)
    model = torch.nn.ModuleDict({"backbone": torch.nn.BatchNorm2d(3), "head": copy.deepcopy(net)})
    processes.share_batch_norm(model)
    shared = [module for module in model.modules() if isinstance(module, torch.nn.SyncBatchNorm)]
    assert len(shared) == 4, "one in the embedding, one behind each of three blocks"
    assert type(model["backbone"]) is torch.nn.BatchNorm2d
    assert shared[0].momentum == 0.01
    assert model["head"].state_dict().keys() == net.state_dict().keys()
    assert torch.equal(model["head"].eval()(x), net.eval()(x))


def test_more_processes_than_clips_of_a_batch():
    with pytest.raises(ValueError, match="leaves some of 2 processes without a clip"):
        given.check_shared(build(), clips=10, batch_size=1, processes=2)


def test_a_drifting_backbone_cannot_be_shared():
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), build())
    with pytest.raises(ValueError, match="start one process"):
        given.check_shared(model, clips=10, batch_size=8, processes=2)


def test_a_system_that_cannot_fork_is_told_the_other_way(monkeypatch):
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(RuntimeError, match=r"this system cannot fork: start the training from a shell"):
        launch.in_notebook(None, 2)
