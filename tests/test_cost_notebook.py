"""Cost records, and the notebook that makes one: predicted, measured in fresh processes, written, read again."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import torch
from helpers import RUNS, papermill, printed

from ctxlstm import cost, models
from ctxlstm.cost import measured, records
from ctxlstm.experiments import runs
from ctxlstm.models import online

SETUP = records.Setup(("cnn_lstm", "context_lstm"), 8, (16,), 3, 4, 2, 32, 2, True)


def found(name: str, way: str) -> measured.Measured:
    """A made-up measurement: 2 s a step, 0.5 s of it forward, 3 GB more memory."""
    return measured.Measured("cpu", SETUP.clips(way), 2, 2.0, 10**9, 4 * 10**9, 4 * 10**9, 0.5)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A record written from made-up measurements."""
    monkeypatch.setattr(records.Setup, "measure", lambda self, model, way: found(model, way))
    return records.record(SETUP, tmp_path / "cost")


def die(*args) -> None:
    """What a system without memory does to a process."""
    os._exit(9)


def test_the_record_holds_predictions_and_measurements(folder):
    table = records.read(folder).set_index(["model", "way"])
    assert list(table.index) == [(model, way) for model in SETUP.models for way in measured.WAYS]
    for model in SETUP.models:
        predicted = cost.predict(model, batch_size=4, frames=3, hidden_size=8, embedding=(16,))
        row = table.loc[model, "cached"]
        assert (row.parameters, row.batch_size) == (predicted.parameters, 4)
        assert row.predicted_bytes == predicted.head_bytes
        assert row.forward_gflops * 1e9 == pytest.approx(predicted.forward_flops)
        assert row.step_tflops * 1e12 == pytest.approx(predicted.step_flops)
        online = table.loc[model, "online"]
        flops, weights = cost.resnet50(32)
        assert online.batch_size == 2
        assert online.forward_gflops * 1e9 == pytest.approx(predicted.forward_flops + 3 * flops, rel=1e-5)
        assert online.weight_bytes == predicted.weight_bytes + weights
        assert online.predicted_bytes > online.weight_bytes + online.adam_bytes + 2 * 3 * 3 * 32 * 32
    assert (table["measured_bytes"] == 3 * 10**9).all()
    seconds = (9990 * 2.0 + 3330 * 0.5) / table["batch_size"]
    assert table["epoch_seconds"].tolist() == pytest.approx(seconds.tolist())
    assert table["hours_300"].tolist() == pytest.approx((seconds * 300 / 3600).tolist(), rel=1e-5)
    about = json.loads((folder / "cost.json").read_text(encoding="utf-8"))
    assert about["settings"]["batch_norm"] == "drift"
    assert about["versions"]["commit"] == table["commit"].iloc[0]


def test_what_the_online_way_holds_at_full_size():
    """At the paper's size: the head's memory, the backbone's weights, uint8 frames, and the larger activations."""
    setup = replace(SETUP, models=("mean_linear",), frames=28, online_batch_size=80, size=224)
    row = records.table(setup).set_index("way").loc["online"]
    predicted = cost.predict("mean_linear", batch_size=80, frames=28)
    rest = predicted.online_bytes - predicted.image_bytes  # the public code base holds float32 frames
    assert row.predicted_bytes == rest + predicted.image_bytes // 4
    assert pd.isna(row.measured_bytes)
    assert pd.isna(row.hours_300)


def test_a_record_is_kept_and_never_mixed_with_other_settings(folder, monkeypatch, capsys):
    monkeypatch.setattr(records.Setup, "measure", lambda *_: pytest.fail("measured again"))
    before = (folder / "cost.csv").read_bytes()
    assert records.record(SETUP, folder.parent) == folder
    assert "measured before, kept" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"is a record with other settings \(steps: 2 there, 5 here\)"):
        records.record(replace(SETUP, steps=5), folder.parent, name=folder.name)
    assert (folder / "cost.csv").read_bytes() == before
    with pytest.raises(ValueError, match=r"name '\.\./x' is not a valid folder name"):
        records.record(SETUP, folder.parent, name="../x")


def test_a_failing_measurement_writes_nothing(tmp_path, monkeypatch):
    def fail(self, model, way):
        raise RuntimeError("died")

    monkeypatch.setattr(records.Setup, "measure", fail)
    with pytest.raises(RuntimeError, match="died"):
        records.record(SETUP, tmp_path / "cost")
    assert list((tmp_path / "cost").iterdir()) == []


@pytest.mark.parametrize("harm", ["edited", "cut", "no json", "no csv", "json", "device"])
def test_damaged_records_are_named_and_left_out(folder, harm):
    bad = folder.with_name("bad")
    shutil.copytree(folder, bad)
    table, about = bad / "cost.csv", bad / "cost.json"
    if harm == "edited":
        table.write_text(
            table.read_text(encoding="utf-8").replace("3000000000", "2000000000"), encoding="utf-8"
        )
    elif harm == "cut":
        table.write_bytes(table.read_bytes()[:-9])
    elif harm == "no json":
        about.unlink()
    elif harm == "no csv":
        table.unlink()
    elif harm == "json":
        about.write_text("[]", encoding="utf-8")
    else:
        about.write_text(about.read_text(encoding="utf-8").replace('"cpu"', '"GPU"', 1), encoding="utf-8")
    with pytest.warns(UserWarning, match="bad is not whole"):
        loaded = records.load(folder.parent)
    assert set(loaded["record"]) == {folder.name}
    assert len(loaded) == 4
    assert len(loaded.attrs["left_out"]) == 1
    with pytest.raises(ValueError, match="remove it and measure again"):
        records.read(bad)


def test_several_records_are_one_table_and_none_is_an_empty_one(folder, tmp_path):
    records.record(replace(SETUP, steps=7), folder.parent)
    loaded = records.load(tmp_path)
    assert loaded.groupby("record").size().tolist() == [4, 4]
    assert loaded.attrs["left_out"] == []
    (tmp_path / "empty").mkdir()
    assert list(records.load(tmp_path / "empty").columns) == [
        *records.COLUMNS,
        "record",
        "commit",
        "size",
        "embedding",
    ]
    with pytest.raises(FileNotFoundError, match=r"run papermill_runs/cost\.ipynb, or check the path"):
        records.load(tmp_path / "none")


def test_a_setup_from_a_notebook_and_what_it_refuses():
    given = {"models": ["gru"], "hidden_size": 8, "embedding": [16], "frames": 3, "batch_size": 6, "size": 32}
    given |= {"online_batch_size": 0, "steps": 2, "cpu": True}
    setup = records.Setup.from_notebook(given)
    assert (setup.models, setup.embedding, setup.online_batch_size, setup.device) == (
        ("gru",),
        (16,),
        4,
        "cpu",
    )
    assert records.Setup.from_notebook(given | {"batch_size": 3}).online_batch_size == 3
    with pytest.raises(ValueError, match="steps must be an int of at least 1; got 0"):
        records.Setup.from_notebook(given | {"steps": 0})
    with pytest.raises(ValueError, match="size is 33: it must be a multiple of 32"):
        records.Setup.from_notebook(given | {"size": 33})
    with pytest.raises(ValueError, match="online_batch_size must be an int of at least 1; got -1"):
        records.Setup.from_notebook(given | {"online_batch_size": -1})
    with pytest.raises(ValueError, match="unknown model 'lstm'"):
        records.Setup.from_notebook(given | {"models": ["lstm"]})
    with pytest.raises(ValueError, match="nearest_neighbour has nothing to train, so no step to measure"):
        records.Setup.from_notebook(given | {"models": ["nearest_neighbour"]})
    with pytest.raises(ValueError, match="unknown parameter 'epoch_seconds'"):
        records.Setup.from_notebook(given | {"In": ["# Parameters\nepoch_seconds = 3\n"]})


def test_an_online_model_is_measured_on_frames():
    model = online.Online(measured.random_resnet50(32).drift(), models.build("mean_linear", num_classes=3))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    result = measured.measure(model, (2, 3, 32, 32), batch_size=2, steps=1, warmup=1)
    assert 0 < result.forward_seconds < result.step_seconds
    assert result.peak_bytes > result.before_bytes
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    with pytest.raises(ValueError, match=r"a clip of shape \(2, 3, 32\) cannot be measured"):
        measured.measure(model, (2, 3, 32))


@pytest.mark.slow
def test_memory_measured_in_a_fresh_process_is_that_of_the_model():
    """A head of 39 MB of weights: three times that and one more for the copy's gradients and Adam, not a process."""
    predicted = cost.predict("cnn_lstm", batch_size=2, frames=2)
    result = measured.in_fresh_process("cnn_lstm", "cached", batch_size=2, frames=2, steps=2, warmup=1)
    assert 0.9 < result.grown_bytes / predicted.head_bytes < 2


def test_a_measuring_process_tells_what_is_wrong():
    with pytest.raises(ValueError, match="unknown way 'offline'; valid: 'cached', 'online'"):
        measured.in_fresh_process("cnn_lstm", "offline", batch_size=2, frames=2)
    with pytest.raises(ValueError, match="a clip must have at least 8 frames"):
        measured.in_fresh_process(
            "context_lstm", "cached", batch_size=2, frames=2, pool="time", hidden_size=4
        )


@pytest.mark.slow
def test_a_process_that_dies_is_told(monkeypatch):
    monkeypatch.setattr(measured, "_by_name", die)
    with pytest.raises(
        RuntimeError, match=r"measured cnn_lstm \(cached\) died.*choose a batch smaller than 2"
    ):
        measured.in_fresh_process("cnn_lstm", "cached", batch_size=2, frames=2)


@pytest.mark.slow
def test_the_notebook_predicts_measures_and_writes_a_record(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    small = {
        "models": "context_lstm",
        "hidden_size": 16,
        "embedding": 32,
        "frames": 4,
        "size": 32,
        "steps": 2,
    }
    small |= {"batch_size": 4, "online_batch_size": 2, "cpu": True, "results": tmp_path / "results"}
    done = papermill("cost", tmp_path, **small)
    assert done.returncode == 0, done.stderr[-3000:]
    table = records.load(tmp_path / "results")
    assert table["way"].tolist() == ["cached", "online"]
    assert (table["step_seconds"] > 0).all()
    assert (table["measured_bytes"] > 0).all()
    said = printed("cost", tmp_path)
    assert "NOT the size of the paper" in said
    assert "the paper reports -38 h and -1.9 GB" in said
    assert "both ways of counting" in said
    assert "the head cannot explain the saving, whose sign is the opposite one here" in said
    cells = nbformat.read(tmp_path / "cost.ipynb", as_version=4).cells
    assert sum("image/png" in out.get("data", {}) for cell in cells for out in cell.get("outputs", [])) == 2


def test_the_default_folder_of_records_lies_beside_the_notebook():
    assert runs.default_folder() / "cost" == RUNS / "out" / "cost"
