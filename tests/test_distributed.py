"""One training in two processes: the result of one process, and checkpoints that either can go on from."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from test_training import build, config, make_features

from ctxlstm import training, ucf101
from ctxlstm.experiments import runs, settings, steps
from ctxlstm.experiments.launch import train

# Sums over a batch are added up in another order: about 1e-6 of a loss a step, which Adam passes on to the weights.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
LAUNCH = ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
# Whether processes are on GPUs or, as here, on a CPU is decided by the settings: the launcher only starts them.
PROGRAM = """
import sys
from pathlib import Path

from safetensors.torch import save_file
from test_distributed import cases, fit
from ctxlstm import training

out = Path(sys.argv[1])
for name in cases():
    model, history = fit(name, checkpoint=out / f"{name}.safetensors")
    if training.is_main_process():
        history.table.to_csv(out / f"{name}.csv", index=False)
        history.predictions.to_csv(out / f"{name}.predictions.csv", index=False)
    else:
        save_file(dict(model.state_dict()), out / f"{name}.second.safetensors")
"""


def cases() -> dict[str, dict]:
    """Batches of 7 and 6 clips, which two processes cannot share equally, and BatchNorm of both kinds."""
    return {"context_lstm": {}, "time": {"batch_norm": "time"}, "cnn_lstm": {"embedding": (8, 8)}}


def fit(name: str, epochs: int = 4, **how) -> tuple[torch.nn.Module, training.History]:
    data = make_features()
    split = ucf101.split(data.clips, "grouped", seed=0)
    options = {"dropout": 0.0} | cases()[name]
    model = build("cnn_lstm" if name == "cnn_lstm" else "context_lstm", **options)
    return model, training.fit(model, data, split, config(epochs=epochs, batch_size=7), **how)


def accelerate_launch(program: list[str], processes: int = 2) -> None:
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "accelerate.commands.launch", *LAUNCH, "--num_processes", str(processes)]
    done = subprocess.run(
        [*command, *program],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """What two processes left of every case."""
    out = tmp_path_factory.mktemp("shared")
    (out / "program.py").write_text(PROGRAM, encoding="utf-8")
    accelerate_launch([str(out / "program.py"), str(out)])
    return out


@pytest.mark.parametrize("name", cases())
def test_two_processes_give_what_one_gives(shared, name):
    model, history = fit(name)
    found = pd.read_csv(shared / f"{name}.csv")
    pd.testing.assert_frame_equal(found, history.table, **TOLERANCE)
    predictions = pd.read_csv(shared / f"{name}.predictions.csv")
    pd.testing.assert_frame_equal(predictions, history.predictions, check_dtype=False, **TOLERANCE)
    assert predictions["name"].is_unique, "no test clip is counted twice when its part is filled up"
    saved = load_file(shared / f"{name}.safetensors")
    second = load_file(shared / f"{name}.second.safetensors")
    for key, value in model.state_dict().items():
        # BatchNorm takes a bias before it away again, so its gradient is rounding alone, and Adam makes steps of it.
        if not (name == "cnn_lstm" and key in ("embedding.0.bias", "embedding.1.running_mean")):
            torch.testing.assert_close(saved[f"model.{key}"], value, **TOLERANCE)
        assert torch.equal(second[key], saved[f"model.{key}"]), f"{key} differs between the processes"


def test_without_shared_statistics_the_result_would_be_another(shared, monkeypatch):
    """The tolerance is tight enough to see BatchNorm use half a batch."""
    from ctxlstm.models import shared_batch_norm

    def halves(self, y):
        return torch.cat([torch.nn.BatchNorm1d.forward(self, part) for part in y.tensor_split(2)])

    monkeypatch.setattr(shared_batch_norm.BatchNorm1d, "forward", halves)
    _, history = fit("context_lstm")
    found = pd.read_csv(shared / "context_lstm.csv")
    with pytest.raises(AssertionError):
        pd.testing.assert_frame_equal(found, history.table, **TOLERANCE)


def test_one_process_goes_on_from_the_checkpoint_of_two(shared):
    _, history = fit("context_lstm", epochs=8, checkpoint=shared / "context_lstm.safetensors")
    _, undisturbed = fit("context_lstm", epochs=8)
    pd.testing.assert_frame_equal(history.table, undisturbed.table, **TOLERANCE)


def test_two_processes_go_on_from_the_checkpoint_of_one_and_write_one_record(tiny_clips, tmp_path):
    job = {
        "dataset": "ucf101", "root": str(tiny_clips), "cache": str(tmp_path / "cache"), "size": 32, "frames": 4,
        "models": ["context_lstm"], "protocols": ["paper"], "hidden_size": 4, "embedding": [8], "epochs": 4,
        "batch_size": 5, "validation": 0.0, "cpu": True, "results": str(tmp_path / "two"),
    }  # fmt: skip
    one = settings.Settings(**job | {"results": str(tmp_path / "one")})
    record = train(one)

    class Stop(Exception):
        pass

    def stop(row):
        if row["epoch"] == 2:
            raise Stop

    two = settings.Settings(**job)
    clips = steps.clips(two)
    split = steps.split(two, clips)
    features = steps.features(two, clips, split)
    with pytest.raises(Stop):
        steps.train(two, "context_lstm", "paper", features, split, on_epoch=stop)
    assert list((tmp_path / "two").glob("*.part/checkpoint.safetensors"))
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job), encoding="utf-8")
    accelerate_launch(["-m", "ctxlstm.experiments.launch", str(tmp_path / "job.yaml")])
    assert [path.name for path in (tmp_path / "two").iterdir()] == [record.name]
    pd.testing.assert_frame_equal(
        runs.history(tmp_path / "two" / record.name), runs.history(record), **TOLERANCE
    )
    assert runs.read(tmp_path / "two" / record.name)["top1_last"] == runs.read(record)["top1_last"]


def test_a_job_of_many_runs_is_refused(tiny_clips):
    many = settings.Settings(dataset="ucf101", root=str(tiny_clips), seeds=(0, 1))
    with pytest.raises(ValueError, match="give one model, one protocol and one seed"):
        train(many)


@pytest.mark.parametrize(("clips", "message"), [(1, "leaves some of 2 processes without a clip")])
def test_more_processes_than_clips_of_a_batch(clips, message):
    with pytest.raises(ValueError, match=message):
        training._check_shared(build(), torch.arange(10).numpy(), config(batch_size=clips), 2)


def test_a_drifting_backbone_cannot_be_shared():
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), build())
    with pytest.raises(ValueError, match="start one process"):
        training._check_shared(model, torch.arange(10).numpy(), config(), 2)
