"""Every notebook under papermill_runs/ with its smoke setting, as a user runs it: `make smoke`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from ctxlstm import cost, models
from ctxlstm.experiments import runs
from ctxlstm.experiments.settings import Study, read_config
from ctxlstm.report import claims

pytestmark = [pytest.mark.slow, pytest.mark.alone]

NOTEBOOKS = Path(__file__).parents[1] / "papermill_runs"
SMOKE = Study(**read_config("smoke"))


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("smoke")


def execute(name: str, place: Path, **parameters) -> str:
    """Run a notebook and return all that its cells printed."""
    out = place / f"{name}.ipynb"
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS / f"{name}.ipynb"), str(out)]
    options = [text for key, value in parameters.items() for text in ("-p", key, str(value))]
    done = subprocess.run(
        [*command, "--kernel", "python3", "--no-progress-bar", *options],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=place,
        env=os.environ | {"CTXLSTM_CACHE": str(place / "cache")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    cells = nbformat.read(out, as_version=4).cells
    return "\n".join(o.text for c in cells for o in c.get("outputs", []) if o.output_type == "stream")


@pytest.fixture(scope="module")
def records(place) -> pd.DataFrame:
    """What sweep, ablation and batch_size leave, in a folder of one study."""
    study = place / "results" / "smoke"
    printed = execute("sweep", place, results=study, cpu=True)
    runs_of_sweep = len(SMOKE.models) * len(SMOKE.protocols) * len(SMOKE.seeds)
    assert f"{runs_of_sweep} runs: {len(SMOKE.models)} models" in printed
    assert "no run failed" in printed
    assert len(runs.load(study)) == runs_of_sweep
    assert "no run failed" in execute("ablation", place, results=study, cpu=True)
    assert "no run failed" in execute("batch_size", place, results=study, cpu=True)
    return runs.load(study)


def test_extract_features(place):
    printed = execute("extract_features", place, cpu=True)
    assert "144 clips, 12 classes, 48 groups" in printed
    assert "x (144, 8, 1280) = (N clips, T frames, D numbers a frame)" in printed
    assert "144 clips extracted" in printed
    assert "0 clips extracted" in execute("extract_features", place, cpu=True), "the second time it is there"


def test_train(place):
    folder = place / "one"
    options = {"results": folder, "cpu": True, "model": "context_lstm", "protocol": "grouped"}
    execute("train", place, **options, options="{handover: swap}", seed=3)
    (record,) = runs.load(folder).to_dict("records")
    assert (record["model"], record["protocol"], record["seed"]) == ("context_lstm", "grouped", 3)
    assert record["variant"] == "handover=swap"
    assert record["epochs"] == SMOKE.epochs


def test_train_with_a_drifting_backbone(place):
    folder = place / "drift"
    execute("train", place, results=folder, cpu=True, model="mean_linear", batch_norm="drift", epochs=1)
    (record,) = runs.load(folder).to_dict("records")
    assert record["batch_norm"] == "drift"
    assert record["features_key"]["dtype"] == "uint8 frames"


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
    printed = execute("data_parallel", place, results=folder, cpu=True)
    assert "context_lstm in 2 processes" in printed
    differences = re.findall(r"largest difference in training loss between .*: (\S+) nats", printed)
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


def test_cost(place):
    small = {"hidden_size": 16, "embedding": 16, "frames": 4, "batch_size": 4, "size": 32, "steps": 2}
    execute("cost", place, results=place / "results" / "cost", cpu=True, **small)
    costs = cost.records.load(place / "results" / "cost")
    assert set(zip(costs["model"], costs["way"], strict=True)) == {
        (model, way)
        for model in ("cnn_lstm", "context_lstm", "context_lstm_bn_relu", "context_lstm_no_pool")
        for way in ("cached", "online")
    }
    assert (costs["step_seconds"] > 0).all()


def test_report(records, place):
    broken = place / "results" / "smoke" / "half-written"
    broken.mkdir()
    (broken / "params.yaml").write_text("model: context_lstm\n", encoding="utf-8")
    printed = execute("report", place, results=place / "results", out=place / "report")
    assert "1 records left out" in printed
    assert "half-written" in printed
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
