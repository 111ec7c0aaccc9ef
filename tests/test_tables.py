"""Tables are made from records of one study alone, and say what is missing instead of hiding it."""

import numpy as np
import pandas as pd
import pytest
from synthetic import run, study

from ctxlstm import inference, paper, report
from ctxlstm.experiments import runs
from ctxlstm.report import paper_tables, studies, study_tables
from ctxlstm.report.table import Interval, Table


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> pd.DataFrame:
    return study(tmp_path_factory.mktemp("study"))


def one(table: pd.DataFrame, **where) -> pd.Series:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("features_digest", "b" * 64),
        ("frames", 28),
        ("embedding", [1024, 768]),
        ("epochs", 300),
        ("validation", 0.0),
    ],
)
def test_records_of_two_studies_are_refused_with_column_and_both_values(records, column, value):
    mixed = records.copy()
    row = mixed.index[mixed["model"] == "cnn_lstm"][-1]
    mixed.at[row, column] = value
    before = str(records[column].iloc[0] if column != "epochs" else 30)
    pattern = rf"{column} is {before}.* in .* and {value}".replace("[", r"\[").replace("]", r"\]")
    for table in (
        paper_tables.table1,
        paper_tables.table2,
        paper_tables.differences,
        study_tables.leak,
        study_tables.readings,
    ):
        with pytest.raises(ValueError, match=pattern):
            table(mixed)
    for table in (study_tables.batch_size_curve, study_tables.per_class, study_tables.seeds_missing):
        with pytest.raises(ValueError, match=pattern):
            table(mixed)


def test_table1_has_the_paper_and_the_same_tenths_of_our_training(records):
    table = paper_tables.table1(records).frame.set_index("row")
    assert table.loc["paper: Context-LSTM", "30"] == "85.3†"
    assert table.loc["paper: ResNet-50-LSTM", "best"] == "90.7"
    assert list(table.loc["our epoch", ["30", "150", "300"]]) == ["3", "15", "30"]
    rows = studies.of(studies.usual(records), "context_lstm", "paper")
    at_3 = np.mean([runs.history(row)["test_top1"][2] for _, row in rows.iterrows()])
    assert table.loc["ours: context_lstm", "30"].startswith(f"{100 * at_3:.1f} (")
    assert table.loc["ours: context_lstm", "300"].startswith(f"{100 * rows['top1_last'].mean():.1f} (")
    assert table.loc["ours: context_lstm", "chosen"].startswith(
        f"{100 * rows['top1_validation_chosen'].mean():.1f} ("
    )
    assert table.loc["ours: cnn_lstm", "seeds"] == 3


def test_short_training_leaves_tenths_empty_and_300_epochs_are_the_papers(tmp_path):
    assert paper_tables.tenth_epochs(300) == list(paper.EPOCHS)
    assert paper_tables.tenth_epochs(4) == [None, None, 1, None, 2, None, None, 3, None, 4]
    short = paper_tables.table1(pd.DataFrame([run(tmp_path, epochs=4)])).frame.set_index("row")
    assert short.loc["ours: context_lstm", "30"] == ""
    assert short.loc["ours: context_lstm", "90"] != ""
    full = pd.DataFrame([run(tmp_path / "full", epochs=300)])
    assert "our epoch" not in set(paper_tables.table1(full).frame["row"])
    nothing = pd.DataFrame([run(tmp_path / "none", "mean_linear")])
    assert not paper_tables.table1(nothing).frame["row"].str.startswith("ours").any()


def test_table2_shows_costs_where_there_are_some(records):
    bare = paper_tables.table2(records).frame.set_index("model")
    assert bare.loc["cnn_lstm", "paper_hours"] == 93
    assert np.isnan(bare.loc["cnn_lstm", "hours_online"])
    ways = [("cached", 0.5, 1e9, 80), ("online", 40.0, 5e9, 20)]
    costs = pd.DataFrame(
        [
            {
                "record": "gpu",
                "device": "H200",
                "model": "context_lstm",
                "way": way,
                "batch_size": batch,
                "frames": 28,
            }
            | {"hidden_size": 512, "hours_300": hours, "measured_bytes": size, "process_bytes": 2 * size}
            for way, hours, size, batch in ways
        ]
    )
    predicted = costs.assign(
        model="cnn_lstm", device="", hours_300=np.nan, measured_bytes=np.nan
    )  # not measured
    costs = pd.concat([costs, predicted], ignore_index=True)
    table = paper_tables.table2(records, costs).frame.set_index("model")
    ours = table.loc["context_lstm"]
    assert (ours["hours_cached"], ours["hours_online"], ours["gb_online"]) == (0.5, 40.0, 5.0)
    assert ours["process_gb_cached"] == 2.0
    assert ours["cost_of"] == "H200, 28 frames, hidden 512, batch 80 cached, batch 20 online (gpu)"
    assert table.loc["cnn_lstm", "cost_of"] == ""
    assert ours["paper_best"] == pytest.approx(0.922)


def test_a_seed_missing_from_one_head_is_named_and_the_others_are_compared(records):
    less = records[~((records["model"] == "cnn_lstm") & (records["seed"] == 1))]
    row = one(paper_tables.differences(less).frame, model="context_lstm", epoch="last")
    assert row["note"] == "without seed 1 (missing from cnn_lstm)"
    assert row["compared_seeds"] == 2
    paired = {
        name: studies.of(studies.usual(less), name, "paper").set_index("seed")["top1_last"].loc[[0, 2]]
        for name in ("context_lstm", "cnn_lstm")
    }
    rows = studies.of(studies.usual(less), "cnn_lstm", "paper")
    overlap = rows["test_clips"].iloc[0] / rows["train_clips"].iloc[0]  # seeds split the same clips anew
    expected = inference.paired_over_seeds(paired["context_lstm"], paired["cnn_lstm"], overlap=overlap)
    assert (row["difference"], row["p"]) == (pytest.approx(expected.mean), pytest.approx(expected.p))
    assert row["detectable"] == pytest.approx(expected.detectable)
    missing = study_tables.seeds_missing(less).frame
    assert set(missing["model"]) == {"cnn_lstm"}
    assert set(missing["missing"]) == {"1"}
    assert study_tables.seeds_missing(records).frame.empty


def test_the_clips_of_all_seeds_are_one_test(records):
    row = one(paper_tables.differences(records, "official").frame, model="context_lstm", epoch="last")
    rows = studies.usual(records)
    a, b = (
        studies.of(rows, name, "official").set_index(["seed", "fold"])
        for name in ("context_lstm", "cnn_lstm")
    )
    tests = [
        inference.mcnemar((runs.predictions(a.loc[key]), runs.predictions(b.loc[key]))) for key in a.index
    ]
    assert row["only_this"] == sum(test.only_a for test in tests)
    assert row["only_other"] == sum(test.only_b for test in tests)
    pairs = [(runs.predictions(a.loc[key]), runs.predictions(b.loc[key])) for key in a.index]
    assert row["flip_p"] == inference.sign_flip(*pairs).p


def test_log_has_the_papers_lines_and_the_last_epochs_of_ours(records):
    row = records.iloc[0]
    table = paper_tables.log_lines(row, epochs=2).frame
    ours = table[table["source"] != "paper"]
    assert list(ours["epoch"]) == [1, 1] or list(ours["epoch"]) == [29, 29, 30, 30]
    assert len(table) - len(ours) == len(paper.training_log())
    assert ours["loss"].iloc[-1] == pytest.approx(runs.history(row)["test_loss"].iloc[-1])
    assert table["line"].iloc[0] == "epoch 233, train, 8,800 of 9,990 clips: loss 0.0014, top-1 100.00%"


def test_leak_starts_with_the_nearest_neighbour_and_drops_from_the_papers_split(records):
    table = study_tables.leak(records).frame
    assert table["model"].iloc[0] == "nearest_neighbour"
    assert len(table) == 5 * 3
    paper_row, row = (one(table, model="cnn_lstm", protocol=p) for p in ("paper", "grouped"))
    assert row["drop"] == pytest.approx(paper_row["top1"] - row["top1"])
    assert np.isnan(paper_row["drop"])
    assert (paper_row["siblings"], row["siblings"]) == (pytest.approx(0.97), 0)
    official = table[table["protocol"] == "official"]["top1"].iloc[1:]
    assert official.is_monotonic_decreasing


def test_batch_sizes_are_compared_over_the_same_seeds_only(records):
    table = study_tables.batch_size_curve(records).frame
    assert list(one_size := table[(table["model"] == "cnn_lstm") & (table["protocol"] == "paper")]["batch_size"]) == [
        20, 40, 80, 160,
    ], one_size  # fmt: skip
    assert set(table["model"]) == {"cnn_lstm", "context_lstm"}
    less = records[~((records["batch_size"] == 160) & (records["seed"] == 2))]
    row = one(study_tables.batch_size_curve(less).frame, model="cnn_lstm", protocol="paper", batch_size=20)
    assert row["seeds"] == 2
    assert row["note"] == "without seed 2 (missing from batch 160)"
    assert row["optimizer_steps"] == 30 * 11  # 216 clips in batches of 20
    assert row["mean_batch"] == 216 / 11
    main = study_tables.batch_size_curve(studies.usual(records)).frame
    assert main.empty
    assert "batch_size" in main.columns


def test_readings_are_paired_with_the_default_and_corrected(records):
    table = study_tables.readings(records).frame
    assert list(table["reading"]) == [
        "default", "pool=time", "handover=none", "num_blocks=2", "embedding=none", "context_lstm_no_pool", "cnn_lstm",
    ]  # fmt: skip
    assert np.isnan(table["p"].iloc[0])
    assert (table["p_holm"].iloc[1:] >= table["p"].iloc[1:]).all()
    assert one(table, reading="embedding=none")["difference"] < -0.1
    with pytest.raises(
        ValueError, match="no run of context_lstm in its default reading under protocol grouped"
    ):
        study_tables.readings(
            records[(records["protocol"] != "grouped") | (records["model"] != "context_lstm")], "grouped"
        )


def test_a_class_absent_from_a_test_part_is_marked_and_not_zero(records, tmp_path):
    rows = pd.DataFrame([run(tmp_path, seed=seed, skill=1.0) for seed in range(2)])
    for number, gone in ((0, ["Wave"]), (1, ["Wave", "Kick"])):
        path = f"{rows['folder'][number]}/predictions.csv"
        table = pd.read_csv(path)
        table.loc[table["name"].str.contains("PickUp_g"), "predicted"] = "Wave"  # so that the class is known
        table[~table["label"].isin(gone)].to_csv(path, index=False)
    table = study_tables.per_class(rows).frame.set_index("class")
    assert table.loc["Kick", "top1"] == 1.0
    assert (table.loc["Kick", "seeds"], table.loc["Kick", "absent"]) == (1, "seed 1")
    assert table.loc["Wave", "absent"] == "all"
    assert np.isnan(table.loc["Wave", "top1"])
    assert table.loc["PickUp", "most_confused_with"] == "Wave"
    assert table.loc["PutDown", "absent"] == ""
    with pytest.raises(ValueError, match="no run of gru under protocol paper"):
        study_tables.per_class(rows, "gru")


def test_related_work_names_sources_and_holds_the_papers_numbers():
    table = paper_tables.related_work().frame
    assert (table["source"].str.len() > 3).all()
    assert table["top1"].between(0.3, 1).all()
    papers = table[table["source"] == "arXiv:2203.06610"].set_index("system")["top1"]
    assert papers["Context-LSTM (the paper)"] == pytest.approx(paper.RESULTS["best_top1"].value / 100)
    assert papers["ResNet-50 + LSTM (the paper's baseline)"] == pytest.approx(0.907)
    assert set(table["protocol"]) == {
        "official, 3 splits",
        "official, split 1",
        "official, split not named",
        "random split",
    }
    text = paper_tables.RELATED_WORK.read_text(encoding="utf-8")
    assert "[M]" not in text


def test_tables_are_written_whole_and_read_well(records, tmp_path):
    rows = [
        {"model": "a|b", "top1": Interval(0.8512, 0.8, 0.9), "p": 0.00002},
        {"model": "c", "top1": Interval(np.nan), "p": 0.5},
    ]
    csv, markdown = report.text.write(Table.of(rows, "What it means.", ""), tmp_path / "new", "t")
    assert markdown.read_text(encoding="utf-8").splitlines() == [
        "| model | top1 (%) | p |",
        "| --- | --: | --: |",
        "| a\\|b | 85.1 (80.0 to 90.0) | <0.001 |",
        "| c |  | 0.500 |",
        "",
        "What it means.",
    ]
    assert csv.read_text(encoding="utf-8").splitlines() == [
        "model,top1,low,high,p",
        "a|b,0.8512,0.8,0.9,2e-05",
        "c,,,,0.5",
    ]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["t.csv", "t.md"]
    nothing = report.text.to_markdown(study_tables.seeds_missing(records), tmp_path / "m.md")
    assert "nothing" in nothing.read_text()


def test_a_column_has_a_unit_only_where_its_table_gives_one(records):
    """Elsewhere `last` may be seconds, and `low` a word."""
    times = pd.DataFrame(
        {"last": [0.5, 12345.0], "low": ["a", "b"], "p": [0.5, 0.25], "whole": [True, False]}
    )
    shown = report.text.readable(times)
    assert shown.to_dict("list") == {
        "last": ["0.5", "12,345"], "low": ["a", "b"], "p": ["0.5", "0.25"], "whole": ["yes", "no"],
    }  # fmt: skip
    assert list(report.text.readable(Table.of(times))) == ["last (%)", "low", "p", "whole"]


def test_chosen_columns_come_in_their_order_with_their_intervals(records):
    rows = [{"note": "", "difference": Interval(0.1, -0.1, 0.3), "model": "a"}]
    assert list(Table.of(rows, columns=["model", "difference"]).frame) == [
        "model", "difference", "difference_low", "difference_high",
    ]  # fmt: skip
    assert list(Table.of([], columns=["model", "difference"]).frame) == ["model", "difference"]
    with pytest.raises(KeyError, match="diference"):
        Table.of(rows, columns=["model", "diference"])
    for table in (paper_tables.table2(records), study_tables.leak(records), study_tables.readings(records)):
        shown = report.text.readable(table)
        assert not [name for name in shown if "low" in name or "high" in name]
        assert table.legend[0].startswith(("Ours: stickfigures", "stickfigures"))


def test_an_interrupted_write_leaves_the_old_table(tmp_path, monkeypatch):
    path = report.text.to_markdown(pd.DataFrame({"a": [1]}), tmp_path / "t.md")
    before = path.read_text(encoding="utf-8")

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        report.text.to_markdown(pd.DataFrame({"a": [2]}), path)
    assert path.read_text(encoding="utf-8") == before
    assert list(tmp_path.iterdir()) == [path]
