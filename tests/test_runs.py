"""Run records: whole or not there, true to their files, and free of the machine they were made on."""

import json
import re
import subprocess
from functools import cache

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file
from small import DEFAULTS, make_features, run

from ctxlstm import models, training, ucf101
from ctxlstm.experiments import runs, steps, sweep
from ctxlstm.experiments.settings import Study


def settings(**changes) -> Study:
    return Study(**(DEFAULTS | {"models": ["mean_linear", "context_lstm"]} | changes))


@pytest.fixture(scope="module")
def data():
    return make_features()


@pytest.fixture(scope="module")
def split(data):
    return ucf101.split(data.clips, "grouped", seed=0)


@pytest.fixture
def record(data, split, tmp_path):
    return steps.train(run(), data, split, results=tmp_path)


def test_a_record_holds_what_the_contract_says(record, data, split):
    assert {path.name for path in record.iterdir()} == {
        "params.yaml",
        "metrics.json",
        "history.csv",
        "predictions.csv",
        "model.safetensors",
    }
    metrics = json.loads((record / "metrics.json").read_text())
    contract = (
        "top1_last top1_best top1_validation_chosen nll seconds peak_memory_bytes parameters protocol fold seed model "
        "versions device features_digest"
    )
    assert set(contract.split()) <= set(metrics)
    history, predictions = pd.read_csv(record / "history.csv"), pd.read_csv(record / "predictions.csv")
    assert len(history) == 3
    assert len(predictions) == len(split.test)
    assert metrics["top1_last"] == (predictions["label"] == predictions["predicted"]).mean()
    assert metrics["top1_best"] == history["test_top1"].max()
    assert metrics["top1_validation_chosen"] == history["test_top1"][history["validation_top1"].argmax()]
    assert (metrics["model"], metrics["protocol"], metrics["device"]) == ("context_lstm", "grouped", "cpu")
    assert metrics["features_digest"] == data.digest
    assert metrics["test_clips_with_sibling"] == 0
    assert metrics["train_clips"] + metrics["validation_clips"] == len(split.train)
    assert metrics["validation_clips"] > 0
    assert metrics["parameters"] == models.count_parameters(
        models.build("context_lstm", input_size=12, num_classes=3, hidden_size=4, embedding=(8,))
    )
    params = yaml.safe_load((record / "params.yaml").read_text())
    assert params["hidden_size"] == 4
    assert params["model"] == "context_lstm"


def test_saved_weights_give_the_saved_predictions(record, data, split):
    net = models.build("context_lstm", input_size=12, num_classes=3, hidden_size=4, embedding=(8,))
    net.load_state_dict(load_file(record / "model.safetensors"))
    predicted = net.eval()(data.x[split.test].float()).argmax(1)
    assert [data.classes[k] for k in predicted] == list(pd.read_csv(record / "predictions.csv")["predicted"])


def test_no_place_of_this_machine_is_in_a_record(data, split, tmp_path):
    here = run(
        model="mean_linear",
        root=str(tmp_path),
        results=str(tmp_path),
        cache=str(tmp_path),
        weights=str(tmp_path / "w"),
    )
    folder = steps.train(here, data, split)
    text = "".join((folder / name).read_text() for name in ("params.yaml", "metrics.json"))
    assert str(tmp_path) not in text
    assert not re.search(r"/(home|root|tmp|Users)/", text)


def test_a_finished_run_is_kept_and_a_changed_setting_is_another_run(record, data, split, tmp_path):
    before = (record / "metrics.json").read_bytes()
    again = steps.train(run(), data, split, results=tmp_path)
    assert again == record
    assert (record / "metrics.json").read_bytes() == before
    other = steps.train(run(seed=1), data, split, results=tmp_path)
    assert other != record
    assert len(runs.load(tmp_path)) == 2


def test_a_run_that_was_stopped_leaves_no_record_and_goes_on(data, split, tmp_path):
    class Stopped(Exception):
        pass

    def stop(row):
        if row["epoch"] == 2:
            raise Stopped

    with pytest.raises(Stopped):
        steps.train(run(), data, split, results=tmp_path, on_epoch=stop)
    assert runs.load(tmp_path).empty
    epochs = []
    folder = steps.train(
        run(),
        data,
        split,
        results=tmp_path,
        on_epoch=lambda r: epochs.append(r["epoch"]),
    )
    assert epochs == [3]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.parametrize("damage", ["half", "edited metrics", "edited history", "no predictions"])
def test_a_record_that_is_not_whole_is_named_left_out_and_counted(record, data, split, tmp_path, damage):
    good = steps.train(run(seed=1), data, split, results=tmp_path)
    metrics = record / "metrics.json"
    if damage == "half":
        metrics.write_text(metrics.read_text()[:200])
    elif damage == "edited metrics":
        content = json.loads(metrics.read_text())
        metrics.write_text(json.dumps(content | {"top1_last": 0.99}))
    elif damage == "edited history":
        (record / "history.csv").write_text((record / "history.csv").read_text().replace("1,", "1.0,", 1))
    else:
        (record / "predictions.csv").unlink()
    with pytest.warns(UserWarning, match=record.name):
        table = runs.load(tmp_path)
    assert list(table["run"]) == [good.name]
    assert len(table.attrs["left_out"]) == 1
    with pytest.raises(ValueError, match="is not whole"):
        steps.train(run(), data, split, results=tmp_path)


def test_a_finished_run_is_never_overwritten(record, data, split):
    before = (record / "metrics.json").read_bytes()
    params = yaml.safe_load((record / "params.yaml").read_text())
    net = models.build("context_lstm", input_size=12, num_classes=3, hidden_size=4, embedding=(8,))
    history = training.History(pd.read_csv(record / "history.csv"), pd.read_csv(record / "predictions.csv"))
    with pytest.raises(FileExistsError, match="finished run already"):
        runs.save(record.parent, params, history, net, features=data, split=split)
    assert (record / "metrics.json").read_bytes() == before


def test_a_packed_run_is_finished_too(record, data, split, tmp_path):
    runs.pack(tmp_path, remove=True)
    assert not record.exists()
    params = {name: runs.read(record)[name] for name in run().params(data.digest)}
    epochs = []
    again = steps.train(run(), data, split, results=tmp_path, on_epoch=epochs.append)
    assert (again, epochs) == (record, [])
    history = training.History(runs.history(record), runs.predictions(record))
    with pytest.raises(FileExistsError, match="finished run already"):
        runs.save(tmp_path, params, history, models.build("mean_linear", input_size=12, num_classes=3),
                  features=data, split=split)  # fmt: skip
    other = steps.train(run(seed=1), data, split, results=tmp_path)
    assert other.is_dir()
    assert len(runs.load(tmp_path)) == 2


@pytest.mark.parametrize("damaged", [False, True])
def test_a_sweep_skips_packed_runs_and_never_passes_over_damaged_ones(
    record, data, split, tmp_path, monkeypatch, damaged
):
    for name, value in {"clips": data.clips, "split": split, "extract": tmp_path, "load": data}.items():
        monkeypatch.setattr(steps, name, lambda *args, value=value: value)
    runs.pack(tmp_path, remove=True)
    if damaged:
        with (tmp_path / "history.csv.xz").open("a") as file:
            file.write("\n")
    (row,) = sweep.run([run(results=tmp_path)]).to_dict("records")
    assert (row["run"], row["status"]) == (record.name, "failed" if damaged else "kept")
    assert ("history.csv.xz does not match SHA256SUMS" in row["reason"]) == damaged


def test_the_commit_is_that_of_the_codes_own_repository(tmp_path, monkeypatch):
    """A package installed inside somebody's own repository has no commit there."""
    code = tmp_path / "project" / "site-packages" / "runs.py"
    code.parent.mkdir(parents=True)
    code.write_text("x = 1\n", encoding="utf-8")

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path / "project")]
        return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout

    git("init")
    git("commit", "--allow-empty", "-m", "of something else")
    monkeypatch.setattr(runs, "__file__", str(code))
    assert runs.commit.__wrapped__() == "unknown"
    git("add", "--all")
    git("commit", "-m", "the code")
    head = git("rev-parse", "--short", "HEAD").strip()
    assert runs.commit.__wrapped__() == head
    code.write_text("x = 2\n", encoding="utf-8")
    assert runs.commit.__wrapped__() == f"{head}-dirty"


def test_the_commit_is_asked_once_before_the_training(data, split, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(runs, "commit", cache(lambda: asked.append("asked") or "c0ffee"))
    monkeypatch.setattr(steps, "commit", runs.commit)
    states = []
    folder = steps.train(
        run(model="mean_linear", epochs=1), data, split,
        results=tmp_path, on_epoch=lambda row: states.append(list(asked)),
    )  # fmt: skip
    assert states == [["asked"]]
    assert asked == ["asked"]
    assert runs.read(folder)["versions"]["commit"] == "c0ffee"


def test_no_results_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="no results folder"):
        runs.load(tmp_path / "none")


def test_progress_speaks_seldom_and_at_the_end(capsys):
    report = steps.progress("run", epochs=50)
    for epoch in range(1, 51):
        report({"epoch": epoch, "train_loss": 1.0, "test_top1": 0.5})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("run: epoch 50 of 50, training loss 1.000, test top-1 50.0%")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dataset", "hmdb", "choose one of stickfigures, ucf101"),
        ("backbone", "vgg", "choose one of resnet50, efficientnet_lite0"),
        ("batch_norm", "train", "choose one of imagenet, adapted"),
        ("rule", "middle", "choose one of uniform, first"),
        ("models", ["lstm"], "choose one of context_lstm"),
        ("models", [], "models is empty"),
        ("protocols", ["random"], "choose one of paper, grouped, official"),
        ("fold", 4, "1, 2 and 3"),
        ("frames", 0, "frames is 0"),
        ("frames", "many", "must be int"),
        ("epochs", 1.5, "must be int"),
        ("epochs", 0, "epochs is 0"),
        ("batch_size", -1, "batch_size is -1"),
        ("learning_rate", "fast", "must be float"),
        ("validation", 1.0, "share of the training set"),
        ("size", 100, "multiple of 32"),
        ("cpu", "maybe", "true or false"),
        ("hidden_size", 0, "hidden_size is 0"),
        ("hidden_size", 63, "even hidden_size"),
        ("embedding", [0], "embedding"),
        ("stride", "v2", "choose one of v1, v1.5"),
    ],
)
def test_a_wrong_parameter_is_named_with_the_allowed_values(name, value, message):
    with pytest.raises(ValueError, match=message):
        settings(**{name: value})


def test_size_0_is_the_backbones_own():
    assert settings(size=0).size == 160
    assert settings(size=0, backbone="resnet50").size == 224


def test_ucf101_needs_its_root(tmp_path):
    with pytest.raises(ValueError, match="needs root"):
        settings(dataset="ucf101")
    with pytest.raises(ValueError, match="is not a folder"):
        settings(dataset="ucf101", root=str(tmp_path / "none"))


def test_settings_from_a_notebook_refuse_a_misspelt_parameter():
    cells = ["dataset = 'x'", "# Parameters\nepochs = 3\nseed = 0\n", "started = 5"]
    namespace = {
        **DEFAULTS,
        "models": ["mean_linear", "context_lstm"],
        "seed": 0,
        "np": np,
        "In": cells,
        "Out": {},
        "_": 1,
        "started": 5,
    }
    for _ in range(2):  # a student runs the cell again
        assert Study.from_notebook(namespace) == settings()
    with pytest.raises(ValueError, match=r"unknown parameter 'epoch': the parameters are dataset, .*epochs"):
        Study.from_notebook(namespace | {"In": [*cells, "# Parameters\nepoch = 5\n"]})


def test_settings_take_what_the_command_line_gives():
    given = settings(models="mean_linear,context_lstm", protocols="paper", embedding=16, epochs="7", seed=3.0)
    assert given.models == ("mean_linear", "context_lstm")
    assert given.protocols == ("paper",)
    assert given.embedding == (16,)
    assert (given.epochs, given.seed) == (7, 3)
    assert given.model_dump()["embedding"] == (16,)


def test_failures_that_cannot_be_read_are_told_and_hidden_files_are_none(tmp_path):
    (tmp_path / "._x.failed.json").write_bytes(b"\x00\x05\x16\x07\xff")  # as macOS leaves them on other disks
    (tmp_path / ".Trash").mkdir()
    (tmp_path / ".Trash" / "params.yaml").write_text("model: gru\n", encoding="utf-8")
    assert len(runs.failures(tmp_path)) == len(runs.load(tmp_path)) == 0
    assert runs.load(tmp_path).attrs["left_out"] == []
    (tmp_path / "half.failed.json").write_text('{"run": ', encoding="utf-8")
    (told,) = runs.failures(tmp_path).to_dict("records")
    assert told["run"] == "half"
    assert "half.failed.json cannot be read" in told["reason"]
