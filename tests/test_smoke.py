"""Every notebook under papermill_runs/ with its smoke setting, as a user runs it: `make smoke`."""

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import RUNS, papermill, printed

from ctxlstm import models
from ctxlstm.experiments import runs
from ctxlstm.experiments.settings import Study, read_config
from ctxlstm.report import claims

pytestmark = [pytest.mark.slow, pytest.mark.alone]

SMOKE = Study(**read_config("smoke"))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("smoke")


def execute(name: str, place: Path, **parameters) -> str:
    """Run a notebook and return all that its cells printed."""
    done = papermill(name, place, **parameters)
    assert done.returncode == 0, done.stderr[-3000:]
    return printed(name, place)


@pytest.fixture(scope="module")
def records(place, two) -> pd.DataFrame:
    """What sweep, ablation and batch_size leave, in a folder of one study; the sweep on a cluster of its own."""
    study = place / "results" / "smoke"
    said = execute("sweep", place, results=study, cpu=True)
    runs_of_sweep = len(SMOKE.models) * len(SMOKE.protocols) * len(SMOKE.seeds)
    assert f"{runs_of_sweep} runs: {len(SMOKE.models)} models" in said
    assert "no run failed" in said
    assert len(runs.load(study)) == runs_of_sweep
    for name in ("ablation", "batch_size"):
        assert "no run failed" in execute(
            name, place, results=study, cpu=True, scheduler=two.scheduler_address
        )
    return runs.load(study)


def test_extract_features(place):
    said = execute("extract_features", place, cpu=True)
    assert "144 clips, 12 classes, 48 groups" in said
    assert "x (144, 8, 1280) = (N clips, T frames, D numbers a frame)" in said
    assert "144 clips extracted" in said


def test_train(place):
    folder = place / "one"
    options = {"results": folder, "cpu": True, "model": "context_lstm", "protocol": "grouped"}
    execute("train", place, **options, options="{handover: swap}", seed=3)
    (record,) = runs.load(folder).to_dict("records")
    assert (record["model"], record["protocol"], record["seed"]) == ("context_lstm", "grouped", 3)
    assert record["variant"] == "handover=swap"
    assert record["epochs"] == SMOKE.epochs


def test_train_with_a_backbone_that_learns_too(place):
    folder = place / "finetune"
    options = {"results": folder, "cpu": True, "model": "mean_linear", "epochs": 1}
    execute("train", place, **options, finetune=True, augment="crop", images=4)
    (record,) = runs.load(folder).to_dict("records")
    assert record["finetune"] is True
    assert record["augment"] == "crop"
    assert record["parameters"] > 3e6, "the backbone is among them"


def test_one_training_in_two_processes(place):
    folder = place / "shared"
    said = execute("data_parallel", place, results=folder, cpu=True)
    assert "context_lstm in 2 processes" in said
    differences = re.findall(r"largest difference in training loss between .*: (\S+) nats", said)
    launchers, one = map(float, differences)
    assert launchers < 1e-6
    assert launchers < one < 1, "BatchNorm sees half of the batch in each of two processes"
    assert sorted(path.name for path in folder.iterdir()) == ["alone", "cell", "job.yaml", "shell"]


def test_sweep_ablation_and_batch_size_leave_the_records_they_name(records):
    assert set(records["model"]) == {*SMOKE.models, "context_lstm_bn_relu"}
    assert set(records["variant"]) == {models.variant(models.READINGS[name]) for name in SMOKE.readings}
    assert set(records["batch_size"]) == set(SMOKE.batch_sizes)
    assert set(records["seed"]) == set(SMOKE.seeds)
    assert records["features_digest"].nunique() == 1


def test_report(records, place):
    broken = place / "results" / "smoke" / "half-written"
    broken.mkdir()
    (broken / "params.yaml").write_text("model: context_lstm\n", encoding="utf-8")
    shutil.copytree(RUNS / "results" / "cost", place / "results" / "cost")
    said = execute("report", place, results=place / "results", out=place / "report")
    assert "1 records left out" in said
    assert "half-written" in said
    page = (place / "report" / "index.html").read_text(encoding="utf-8")
    for heading in ("The leak", "Table 1", "Table 2", "Fig. 3", "Fig. 4", "Fig. 5", "Fig. 6", "The ledger"):
        assert f"{heading}" in page
    for name in page.split('src="')[1:]:
        assert (place / "report" / name.split('"')[0]).is_file()
    judged = pd.read_csv(place / "report" / "ledger.csv")
    assert len(judged) == len(claims.CLAIMS)
    assert set(judged["status"]) <= set(claims.STATUSES.values())
    for name in ("leak", "table1-paper", "table2", "readings-paper", "batch-size", "fig4"):
        assert len(pd.read_csv(place / "report" / f"smoke-{name}.csv")) > 0
        assert (place / "report" / f"smoke-{name}.md").is_file()
    for name in ("leak", "fig3", "fig5-paper", "fig6", "readings-paper", "batch-size", "calibration"):
        for suffix in (".svg", ".png"):
            assert (place / "report" / f"smoke-{name}{suffix}").stat().st_size > 5000
