"""Packed records: they say what the run folders said, grow by lines alone, and hide no damage."""

import hashlib
import json
import lzma
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import yaml

from ctxlstm import evaluation
from ctxlstm.experiments import packed, runs

LABELS = (
    *("None", "NA", "001", "1e5", "True", "nan", 'a "b", c', "Jonglieren mit Bällen"),
    *("Ba\u0308lle", "🤾", " two  spaces ", "#1", "inf", "two\nlines"),
)
HEADS = ("context_lstm", "cnn_lstm")


def write_run(results: Path, seed: int, model: str = "cnn_lstm", more: dict | None = None, **params) -> Path:
    """A run folder as `runs.save` leaves it, without a training; `more` goes into its metrics."""
    params = {"dataset": "made up", "protocol": "paper", "fold": 1, "options": {}, "embedding": [8]} | params
    params |= {"model": model, "seed": seed}
    folder = results / runs.run_id(params)
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    history = "epoch,train_loss,validation_top1,test_top1\n1,0.7,,0\n2,0.5,1,0.5\n"
    (folder / "history.csv").write_text(history, encoding="utf-8")
    predictions = pd.DataFrame(
        {
            "name": [f"v_{label}_g01_c{k:02d}" for label in LABELS for k in range(seed + 1)],
            "label": [label for label in LABELS for _ in range(seed + 1)],
            "predicted": [LABELS[(k * 3) % len(LABELS)] for k in range(len(LABELS) * (seed + 1))],
            "probability": "1",
            "nll": "1.705e-05",
        }
    )
    predictions.to_csv(folder / "predictions.csv", index=False, lineterminator="\n")
    epochs, table = runs.history(folder), runs.predictions(folder)
    metrics = {
        "top1_last": evaluation.top1(table),
        "top1_best": 0.5,
        "top1_validation_chosen": 0.5,
        "nll": evaluation.nll(table),
        "chosen_epoch": evaluation.chosen_epoch(epochs),
        "versions": {"commit": "c7f55f0", "torch": "2.15.0"},
        "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in runs.FILES},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics | (more or {})), encoding="utf-8")
    return folder


@pytest.fixture
def study(tmp_path) -> Path:
    """A study of four runs, packed, its run folders removed."""
    for model in HEADS:
        for seed in (0, 1):
            write_run(tmp_path / "study", seed, model)
    runs.pack(tmp_path / "study", remove=True)
    return tmp_path / "study"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".pack.lock"}


def sign(study: Path) -> None:
    """Make SHA256SUMS anew, as somebody would who edits a study by hand."""
    sums = [
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(contents(study).items())
        if name != packed.SUMS
    ]
    (study / packed.SUMS).write_text("".join(sums), encoding="utf-8")


def test_a_packed_study_says_what_its_run_folders_said(tmp_path):
    folders = [write_run(tmp_path, seed, model) for model in HEADS for seed in (0, 1)]
    files = {folder.name: [(folder / name).read_bytes() for name in runs.FILES[1:]] for folder in folders}
    before = runs.load(tmp_path)
    tables = [(runs.history(row), runs.predictions(row)) for _, row in before.iterrows()]
    assert runs.pack(tmp_path, remove=True) == (4, 4)
    assert set(contents(tmp_path)) == {*packed.TABLES, "predictions.csv.xz", packed.SUMS}
    after = runs.load(tmp_path)
    pd.testing.assert_frame_equal(after, before, check_like=True, check_exact=True)
    assert after.attrs["left_out"] == []
    for (_, row), (history, predictions) in zip(after.iterrows(), tables, strict=True):
        pd.testing.assert_frame_equal(runs.history(row), history, check_exact=True)
        pd.testing.assert_frame_equal(runs.predictions(row["folder"]), predictions, check_exact=True)
    assert {run.name: [run.history, run.predictions] for run in packed.unpacked(tmp_path)} == files


def test_names_are_text_whatever_they_look_like(study):
    for _, row in runs.load(study).iterrows():
        table = runs.predictions(row)
        assert set(table["label"]) == set(LABELS)
        assert set(table["predicted"]) <= set(LABELS)
        assert runs.history(row)["validation_top1"].isna().tolist() == [True, False]


def test_a_carriage_return_in_a_name_ends_no_line():
    """To Python's csv module it needs no quotes."""
    table = pd.DataFrame({"name": ["v_a\rb_g01_c01"], "label": ["a\rb"], "nll": [0.5]})
    content = table.to_csv(index=False, lineterminator="\n").encode()
    pd.testing.assert_frame_equal(packed.read_table(content), table, check_dtype=False)
    assert packed.read_table(content, text=True)["label"].tolist() == ["a\rb"]


def test_a_table_that_a_caller_changes_is_nobody_elses(study):
    row = runs.load(study).iloc[0]
    predictions, history = runs.predictions(row), runs.history(row)
    predictions["label"] = "changed"
    history["epoch"] = 0
    assert "changed" not in set(runs.predictions(row)["label"])
    assert 0 not in set(runs.history(row)["epoch"])


def lines(name, content):
    return (lzma.decompress(content) if name.endswith(".xz") else content).splitlines()


def test_another_run_adds_lines_and_changes_none(study):
    before = contents(study)
    # of another commit, with a parameter that the others lack, and without one that they have
    one = write_run(study, 3, augment="crop", more={"versions": {"commit": "88ae336", "torch": "2.15.0"}})
    two = write_run(study, 4, more={"versions": {"commit": "88ae336"}})
    live = runs.load(study)
    assert runs.pack(study, remove=True) == (6, 2)
    after = contents(study)
    assert after["study.yaml"] == before["study.yaml"]
    for name in set(before) - {packed.SUMS}:
        old, new = (lines(name, files[name]) for files in (before, after))
        rest = iter(new)
        assert all(line in rest for line in old), f"{name}: in their order"
    table = runs.load(study)
    pd.testing.assert_frame_equal(table, live, check_like=True, check_exact=True)
    rows = table.set_index("run")
    assert rows.loc[one.name, "versions"] == {"commit": "88ae336", "torch": "2.15.0"}
    assert rows.loc[one.name, "augment"] == "crop"
    assert rows.loc[two.name, "versions"] == {"commit": "88ae336"}
    assert rows["augment"].notna().sum() == 1


def test_packing_again_changes_nothing(study):
    before = contents(study)
    assert runs.pack(study) == (4, 0)
    assert contents(study) == before


def test_a_run_that_is_there_in_both_forms_counts_once(tmp_path):
    folder = write_run(tmp_path, 0)
    runs.pack(tmp_path)
    assert folder.is_dir(), "its weights may lie there"
    assert runs.load(tmp_path)["run"].tolist() == [folder.name]
    (folder / "predictions.csv").unlink()  # damage is not passed over because there is another copy
    with pytest.warns(UserWarning, match=folder.name):
        assert runs.load(tmp_path).empty
    shutil.rmtree(folder)
    assert runs.load(tmp_path)["run"].tolist() == [folder.name]


def test_find_knows_both_forms(study):
    name = next(iter(packed.study(study).runs))
    assert runs.find(study, name) == runs.read(study / name)
    assert runs.find(study, name)["folder"] == str(study / name)
    assert runs.find(study, "another") is None
    assert runs.find(study / "nowhere", "another") is None
    live = write_run(study, 7)
    assert runs.find(study, live.name)["seed"] == 7


def test_every_flipped_byte_is_told(study):
    whole = contents(study)
    for name, content in whole.items():
        for position in range(len(content)):
            flipped = bytearray(content)
            flipped[position] ^= 1 << position % 8
            (study / name).write_bytes(flipped)
            with pytest.raises(ValueError, match=r"the packed study .* is not whole \(.*\): restore it"):
                packed.read(study)
        (study / name).write_bytes(content)
    assert len(packed.read(study).runs) == 4


@pytest.mark.parametrize("name", [*packed.TABLES, "predictions.csv.xz", packed.SUMS])
@pytest.mark.parametrize("damage", ["missing", "half"])
def test_damage_is_named_in_a_sentence_and_no_run_is_passed_over(study, name, damage):
    run = next(iter(packed.study(study).runs))
    live = write_run(study, 7)
    path = study / name
    path.unlink() if damage == "missing" else path.write_bytes(path.read_bytes()[:-20])
    with pytest.warns(UserWarning, match="is not whole"):
        table = runs.load(study)
    assert table["run"].tolist() == [live.name], "what is not packed is there"
    (message,) = table.attrs["left_out"]
    assert name in message
    assert "\n" not in message
    with pytest.raises(ValueError, match="is not whole"):
        runs.find(study, run)
    with pytest.raises(ValueError, match="is not whole"):
        runs.pack(study)


@pytest.mark.parametrize("number", [2, 4])
def test_a_study_of_another_format_is_named(study, number):
    path = study / "study.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("format: 3", f"format: {number}"))
    sign(study)
    with pytest.raises(ValueError, match=f"study is of format {number} and this code reads format 3: use"):
        packed.read(study)


@pytest.mark.parametrize("metric", ["top1_last", "top1_best", "top1_validation_chosen", "nll"])
def test_metrics_follow_from_the_tables_in_a_packed_study_too(study, metric):
    path = study / "runs.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines[1]["metrics"][metric] = 0.99
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    sign(study)
    with pytest.warns(UserWarning, match=f"{metric} in its metrics does not follow"):
        table = runs.load(study)
    assert table["run"].tolist() == [line["run"] for line in lines if line is not lines[1]]


@pytest.mark.parametrize("step", range(7))
def test_packing_that_was_interrupted_is_finished_by_the_next(study, monkeypatch, step):
    live = write_run(study, 5)
    before, calls = runs.load(study), []
    whole = os.replace

    def interrupted(*args):
        calls.append(args)
        if len(calls) > step:
            raise KeyboardInterrupt
        whole(*args)

    with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(os, "replace", interrupted)
        runs.pack(study, remove=True)
    assert len(calls) == min(step + 1, 6), "the folder, four files and the checksums"
    if 2 <= step <= 5:  # between the first file and the checksums
        with pytest.raises(ValueError, match="packing was interrupted: pack it again"):
            packed.read(study)
    runs.pack(study)
    shutil.rmtree(live, ignore_errors=True)
    pd.testing.assert_frame_equal(runs.load(study), before, check_like=True)
    assert set(contents(study)) == {*packed.TABLES, "predictions.csv.xz", packed.SUMS}


def test_what_cannot_be_packed_is_named_and_nothing_changes(study):
    before = contents(study)
    name = next(iter(packed.study(study).runs))
    row = runs.read(study / name)
    same = write_run(study, row["seed"], row["model"], more={"seconds": 7})
    assert same.name == name
    with pytest.raises(ValueError, match="is packed there with different content"):
        runs.pack(study)
    shutil.rmtree(same)
    damaged = write_run(study, 8)
    (damaged / "history.csv").write_text("epoch\n1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"{damaged.name} is not whole"):
        runs.pack(study)
    damaged.rename(study / "run.part")
    twin = write_run(study, 8)
    twin.rename(study / f"copy-{name[-8:]}")
    with pytest.raises(ValueError, match="end in the same digest: rename one"):
        runs.pack(study)
    shutil.rmtree(study / f"copy-{name[-8:]}")
    shutil.rmtree(study / "run.part")
    assert contents(study) == before


def rewrite(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the predictions of a run folder, and its metrics with them."""
    path = folder / "predictions.csv"
    table = change(pd.read_csv(path, dtype=str, keep_default_na=False))
    table.to_csv(path, index=False, lineterminator="\n")
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    metrics["sha256"]["predictions.csv"] = hashlib.sha256(path.read_bytes()).hexdigest()
    metrics["top1_last"] = evaluation.top1(runs.predictions(folder))
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def grouped(table: pd.DataFrame) -> pd.DataFrame:
    """Predictions with a group for each class, called as the class is, but for the quoted one, which has none."""
    table.insert(2, "group", ["" if label.startswith("a ") else label for label in table["label"]])
    return table


def test_runs_that_name_a_clip_differently_are_of_different_data(tmp_path):
    write_run(tmp_path, 0)
    other = write_run(tmp_path, 1)
    rewrite(other, lambda table: table.replace({"label": {"001": "01"}}))
    with pytest.raises(ValueError, match="the clip v_001_g01_c00 different labels"):
        runs.pack(tmp_path)
    assert not packed.there(tmp_path)


def test_groups_that_stand_in_no_name_are_packed(tmp_path):
    folders = [write_run(tmp_path, seed) for seed in (0, 1)]
    for folder in folders:
        rewrite(folder, grouped)
    before = [runs.predictions(folder) for folder in folders]
    assert set(before[0]["group"]) == {"", *LABELS} - {'a "b", c'}
    bytes_before = {folder.name: (folder / "predictions.csv").read_bytes() for folder in folders}
    runs.pack(tmp_path, remove=True)
    for folder, table in zip(folders, before, strict=True):
        pd.testing.assert_frame_equal(runs.predictions(folder), table, check_exact=True)
    assert {run.name: run.predictions for run in packed.unpacked(tmp_path)} == bytes_before
    assert "group" in pd.read_csv(tmp_path / "predictions.csv.xz").columns


@pytest.mark.parametrize(
    "change", [lambda table: table, lambda table: grouped(table).replace({"group": {"NA": "x"}})]
)
def test_runs_that_group_their_clips_differently_are_not_packed_together(tmp_path, change):
    rewrite(write_run(tmp_path, 0), grouped)
    rewrite(write_run(tmp_path, 1), change)
    with pytest.raises(ValueError, match="different labels or groups: they come from different data"):
        runs.pack(tmp_path)
    assert not packed.there(tmp_path)


def test_large_predictions_are_split_by_protocol_and_then_by_model(study, monkeypatch):
    size = (study / "predictions.csv.xz").stat().st_size
    table = runs.load(study)
    monkeypatch.setattr(packed, "LARGEST", size)
    write_run(study, 0, "context_lstm", protocol="grouped")
    runs.pack(study, remove=True)
    names = {path.name for path in study.glob("predictions*")}
    assert names == {"predictions-grouped.csv.xz", "predictions-paper.csv.xz"}
    monkeypatch.setattr(packed, "LARGEST", size - 1)
    runs.pack(study)
    write_run(study, 1, "context_lstm", protocol="grouped")
    runs.pack(study, remove=True)
    names = {path.name for path in study.glob("predictions*")}
    assert names == {"predictions-grouped.csv.xz", *(f"predictions-paper-{model}.csv.xz" for model in HEADS)}
    again = runs.load(study)
    assert len(again) == 6
    paper = again[again["protocol"] == "paper"].reset_index(drop=True)
    pd.testing.assert_frame_equal(paper, table, check_like=True, check_exact=True)


def test_the_command_packs_and_says_what_is_wrong(tmp_path, capsys):
    folder = write_run(tmp_path / "a", 0)
    (tmp_path / "cost").mkdir()
    runs.main(["pack", str(tmp_path / "a"), str(tmp_path / "cost")])
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path / 'a'}: 1 runs packed, 1 of them from run folders",
        f"{tmp_path / 'cost'}: 0 runs packed, 0 of them from run folders",
    ]
    assert list((tmp_path / "cost").iterdir()) == []
    (folder / "params.yaml").write_text("model: x\n", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        runs.main(["pack", str(tmp_path / "a")])
    assert stopped.value.code == 1
    assert f"the run record {folder} is not whole" in capsys.readouterr().err
