"""The run records in the repository are whole, and the README says what they say."""

from pathlib import Path

import pandas as pd
import pytest

from ctxlstm import evaluation, runs

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "papermill_runs" / "results"
TABLES = {"stickfigures": ("paper", "grouped"), "ucf101_subset": ("paper", "grouped", "official")}


@pytest.mark.parametrize("name", TABLES)
def test_every_record_is_whole_small_and_made_by_committed_code(name):
    table = runs.load(RESULTS / name)
    assert table.attrs["left_out"] == []
    assert len(table) == 4 * len(TABLES[name])
    for versions in table["versions"]:
        assert versions["commit"] != "unknown"
        assert "dirty" not in versions["commit"]
    assert sum(path.stat().st_size for path in (RESULTS / name).rglob("*") if path.is_file()) < 2_000_000


@pytest.mark.parametrize("name", TABLES)
def test_readme_says_what_the_records_say(name):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    records = runs.load(RESULTS / name).set_index(["model", "protocol"])
    for model in ("nearest_neighbour", "mean_linear", "cnn_lstm", "context_lstm"):
        cells = [f"`{model}`"]
        for protocol in TABLES[name]:
            row = records.loc[(model, protocol)]
            predictions = pd.read_csv(RESULTS / name / row["run"] / "predictions.csv")
            low, high = evaluation.interval(predictions)
            cells.append(f"{100 * row['top1_last']:.1f} ({100 * low:.0f}-{100 * high:.0f})")
        if name == "stickfigures":
            cells += [f"{100 * records.loc[(model, p), 'top1_validation_chosen']:.1f}" for p in TABLES[name]]
        assert f"| {' | '.join(cells)} |" in readme
