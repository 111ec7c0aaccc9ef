"""The records in the repository are whole and complete, and the READMEs say what they say."""

import csv
import json
import subprocess
import sys
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ctxlstm import cost, models
from ctxlstm.experiments import runs
from ctxlstm.experiments.settings import Study, read_config
from ctxlstm.report import claims, paper_tables, studies, study_tables, text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "papermill_runs" / "results"
STUDIES = (
    "stickfigures",
    "ucf101_subset",
    "ucf101_midframes",
    "ucf101_nine",
    "ucf101_nine_uniform",
    "ucf101_nine_512",
)
READMES = ("README.md", "papermill_runs/README.md", "benchmarks/README.md")
README = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in READMES)
BENCHMARKS = ROOT / "benchmarks" / "results"
# README's words: the benchmark, and how its rows begin
BENCHED = {
    "decoding 28 frames, speed over a bare PyAV loop": ("decoding", "decoding,"),
    "first 28 frames of a long clip, time over decoding 28 frames": ("decoding", "first 28"),
    "extraction end to end, speed over the sum of bare decoding, resizing and forward pass": (
        "extraction",
        "extraction,",
    ),
    "training step, time over a bare loop with the same modules": ("training", "step,"),
    "epoch with evaluation, likewise": ("training", "epoch with"),
    "full-size feature cache (1.5 GB): open, check, first batch": ("cache", "open a cache"),
    "the same into memory, speed over `np.load` of one file": ("cache", "read a cache"),
    "peak memory of extraction, 2 and 4 times the clips over once": ("memory", "peak of extraction"),
    "memory of training that 2 and 4 times the clips add, over their features": (
        "memory",
        "peak of training, what",
    ),
    "ResNet-50 and EfficientNet-Lite0 in bf16, speed over float32": ("extraction", "backbone in bf16"),
    "epoch on cached features, times faster than all frames through ResNet-50: `cnn_lstm`, hidden 128": (
        "online",
        "epochs 2..n on cached features, cnn_lstm, hidden 128",
    ),
    "the same, `context_lstm`, hidden 128": (
        "online",
        "epochs 2..n on cached features, context_lstm, hidden 128",
    ),
    "the same, `context_lstm`, hidden 512, the paper's": (
        "online",
        "epochs 2..n on cached features, context_lstm, hidden 512",
    ),
}


@cache
def load(name: str) -> pd.DataFrame:
    return runs.load(RESULTS / name)


@cache
def costs() -> pd.DataFrame:
    return cost.records.load(RESULTS / "cost")


@pytest.mark.parametrize("name", STUDIES)
def test_every_record_is_whole_and_made_by_committed_code(name):
    records = studies.one_study(load(name))
    assert records.attrs["left_out"] == []
    for versions in records["versions"]:
        assert versions["commit"] != "unknown"
        assert "dirty" not in versions["commit"]


@pytest.mark.parametrize("name", STUDIES)
def test_every_run_of_the_config_is_there(name, tmp_path):
    asked = Study(**read_config(name) | {"root": str(tmp_path)})
    main = studies.usual(load(name))
    found = set(zip(main["model"], main["protocol"], main["fold"], main["seed"], strict=True))
    assert found == {(run.model, run.protocol, run.fold, run.seed) for run in asked.runs()}
    assert set(main["epochs"][main["parameters"] > 0]) == {asked.epochs}


def test_all_readings_and_batch_sizes_are_there():
    assert set(load("ucf101_subset")["variant"]) - {""} == set(models.READINGS) - {"default"}
    for name in ("stickfigures", "ucf101_subset"):
        assert set(read_config(name).get("batch_sizes", Study().batch_sizes)) <= set(load(name)["batch_size"])


def test_the_records_are_few_and_small():
    files = [path for path in RESULTS.rglob("*") if path.is_file() and path.suffix != ".lock"]
    sizes = [path.stat().st_size for path in files]
    assert sum(path.parent.name in STUDIES for path in files) < 40
    assert sum(sizes) < 5_000_000
    assert max(sizes) < 1_000_000


def test_records_are_read_without_what_trains():
    """A look at a record table takes a second or two, not eight."""
    heavy = ("torch", "accelerate", "av", "sklearn", "scipy", "zarr")
    code = f"""
import sys
from ctxlstm.experiments import runs
assert len(runs.load({str(RESULTS / "stickfigures")!r})) == 198
print([name for name in {heavy} if name in sys.modules])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def shown(name: str, folder: Path) -> list[list[str]]:
    """A table of the report as the cells of its CSV."""
    if name == "verdicts":
        every = pd.concat([load(study) for study in STUDIES], ignore_index=True)
        judged = claims.judge(every, costs())
        table: Any = judged[["claim", "status", "printed", "reproduced"]]
    else:
        study, kind = name.split(" ", 1)
        make = {
            "leak": study_tables.leak,
            "table 1, paper": lambda records: paper_tables.table1(records, "paper"),
            "best minus chosen": study_tables.selection_bonus,
        }[kind]
        table = make(load(study))
    text.write(table, folder, "table")
    return list(csv.reader((folder / "table.csv").read_text(encoding="utf-8").splitlines()))


def test_the_main_figures_are_those_that_were_published(tmp_path):
    """expected_tables.txt has the report's main tables: means as before the records were packed (commit c10f1ac), intervals
    as corrected for splitting the same clips again.

    A figure that changes on purpose is changed there too, by hand.
    """
    blocks = (Path(__file__).parent / "expected_tables.txt").read_text(encoding="utf-8").split("\n\n")
    assert len(blocks) == 7
    for block in blocks:
        name, *lines = block.splitlines()
        expected, found = list(csv.reader(lines)), shown(name, tmp_path)
        assert [len(row) for row in found] == [len(row) for row in expected], name
        for a, b in zip(chain(*found), chain(*expected), strict=True):
            try:  # bootstraps and t quantiles may differ in the last digit between processors
                assert float(a) == pytest.approx(float(b), rel=2e-6), name
            except ValueError:
                assert a == b, name


def test_the_cost_record_is_of_the_papers_sizes():
    record = costs()
    assert record.attrs["left_out"] == []
    assert not record["commit"].str.contains("dirty|unknown").any()
    cached = record[record["way"] == "cached"].set_index("model")
    assert (cached["hidden_size"] == 512).all()
    assert (cached["frames"] == 28).all()
    assert (cached["batch_size"] == 80).all()
    assert {"cnn_lstm", "context_lstm", "context_lstm_no_pool", "context_lstm_bn_relu"} == set(cached.index)


def test_readme_says_what_the_main_job_gave():
    """Its ranges hold every seed on every sort of processor; and the numbers without a random start are one number."""
    table = pd.read_csv(RESULTS / "main_job.csv")
    asked = Study().replace(seeds=(0, 1, 2)).runs()
    expected = {(run.model, run.protocol, run.seed) for run in asked}
    assert table["commit"].nunique() == 2  # two rounds
    for _, own in table.groupby(["kernels", "commit"]):
        assert set(own[["model", "protocol", "seed"]].itertuples(index=False, name=None)) == expected
    assert set(table["kernels"]) == {"default", "avx2", "avx512"}
    splits = {"paper": "random, as the paper's", "grouped": "by source video"}
    for (model, protocol), own in table.groupby(["model", "protocol"]):
        cells = [f"`{model}`", splits[protocol]]
        for column in ("late", "last", "best", "chosen"):
            cells.append(f"{100 * own[column].min():.0f}-{100 * own[column].max():.0f}")
        assert f"| {' | '.join(cells)} |" in README
    by_seed = table.groupby(["model", "protocol", "seed"])
    assert f"moved it by up to {100 * by_seed['last'].agg(np.ptp).max():.0f} points" in README
    means = table.groupby(["model", "protocol", "kernels", "commit"])["late"].mean()
    assert f"by {100 * means.groupby(level=[0, 1]).agg(np.ptp).max():.0f} at most" in README
    untrained = table[table["model"] == "nearest_neighbour"]
    assert (untrained.groupby(["protocol", "seed"])["late"].nunique() == 1).all()


def cell(row: pd.Series) -> str:
    """Mean and interval as README prints them; one seed may have no interval."""
    ends = "" if np.isnan(row["low"]) else f" ({100 * row['low']:.0f}-{100 * row['high']:.0f})"
    return f"{100 * row['top1']:.1f}{ends}"


@pytest.mark.parametrize("name", STUDIES)
def test_readme_says_what_the_studies_gave(name):
    table = study_tables.leak(load(name)).frame.set_index(["model", "protocol"])
    protocols = [
        protocol for protocol in studies.PROTOCOLS if protocol in set(table.index.get_level_values(1))
    ]
    for model in dict.fromkeys(table.index.get_level_values(0)):
        cells = [cell(table.loc[(model, p)]) for p in protocols]
        assert f"| {' | '.join([f'`{model}`', *cells])} |" in README


def test_readme_says_what_a_step_costs():
    record = costs()
    for model in record["model"].unique():
        own = record[record["model"] == model].set_index("way")
        cached = own.loc["cached"]
        cells = [
            f"`{model}`",
            f"{cached['parameters'] / 1e6:.1f}",
            f"{cached['forward_gflops']:.2f}",
            f"{cached['step_seconds']:.1f}",
            f"{cached['predicted_bytes'] / 1e9:.2f}",
            f"{cached['measured_bytes'] / 1e9:.2f}",
        ]
        assert f"| {' | '.join(cells)} |" in README


def test_readme_says_what_became_of_the_claims():
    records = pd.concat([load(name) for name in STUDIES], ignore_index=True)
    judged = claims.judge(records, costs())
    for status, rows in judged.groupby("status"):
        names = ", ".join(f"`{name}`" for name in rows["claim"])
        assert f"| {status} | {len(rows)} | {names} |" in README


def bench_cells(machine: str, topic: str, begins: str) -> list[str]:
    """Ratio, limit and whether it was met, of the rows of a benchmark's record whose work begins so."""
    record = json.loads((BENCHMARKS / f"{topic}-{machine}.json").read_text(encoding="utf-8"))
    assert "dirty" not in record["versions"]["commit"]
    rows = [row for row in record["rows"] if row["work"].startswith(begins)]
    limit = rows[0]["limit"].replace(">=", "≥").replace("<=", "≤")
    if limit.endswith(" s"):  # of time, not of a ratio
        ends = [f"{rows[0]['ours']:.2f} s"]
    else:
        ratios = sorted(row["ratio"] for row in rows)
        ends = [f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2f}" for ratio in (ratios[0], ratios[-1])]
    met = {True: "yes", False: "no", None: ""}
    return [" to ".join(dict.fromkeys(ends)), limit, met[all(row["met"] for row in rows) if limit else None]]


@pytest.mark.parametrize(("words", "where"), BENCHED.items())
def test_readme_says_what_make_bench_measured(words, where):
    cells = bench_cells("amd-epyc-2-cores", *where)
    assert f"| {' | '.join([words, *cells])} |".replace("  ", " ") in README.replace("  ", " ")
