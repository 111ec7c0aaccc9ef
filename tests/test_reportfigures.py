"""The report's figures show what the records hold, and say what their bands and bars are."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import run, study

from ctxlstm import figures, paper, report, stickfigures
from ctxlstm.experiments import runs
from ctxlstm.report import studies, study_tables


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> pd.DataFrame:
    return study(tmp_path_factory.mktemp("study"), seeds=2)


def texts(figure: Figure) -> str:
    return "\n".join(
        text.get_text() for text in figure.findobj(match=lambda artist: hasattr(artist, "get_text"))
    )


def test_accuracy_over_epochs_is_the_mean_of_the_seeds_with_the_papers_points(records):
    figure = report.figures.accuracy_over_epochs(records)
    axes = figure.axes[0]
    rows = studies.of(studies.usual(records), "context_lstm", "paper")
    curves = np.array([runs.history(row)["test_top1"] for _, row in rows.iterrows()])
    assert axes.lines[0].get_ydata() == pytest.approx(100 * curves.mean(0))
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(100 * curves.max())
    points = axes.lines[2]
    assert points.get_xdata() == pytest.approx(
        [3.0 * k for k in range(1, 11)]
    )  # the same tenths of 30 epochs
    assert points.get_ydata()[-1] == 91.5
    assert points.get_markerfacecolor() == "white"  # reconstructed
    assert axes.lines[3].get_markerfacecolor() != "white"
    assert "epoch of the paper" in texts(figure)
    assert "lowest to highest seed" in texts(figure)
    assert "paper, full UCF101" in texts(figure)


def test_300_epochs_need_no_second_scale_and_one_seed_no_band(tmp_path):
    figure = report.figures.accuracy_over_epochs(pd.DataFrame([run(tmp_path, epochs=300)]))
    assert figure.axes[0].lines[1].get_xdata() == pytest.approx(list(paper.EPOCHS))
    assert "epoch of the paper" not in texts(figure)
    assert "lowest to highest" not in texts(figure)


def test_ablation_curves_show_the_models_of_table2(records):
    figure = report.figures.ablation_curves(records)
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]
    for name in studies.TABLE2:
        assert f"{name}, 2 seeds" in texts(figure)
    assert figure.axes[0].get_yscale() == "log"


def test_leak_marks_every_head_and_protocol(records):
    figure = report.figures.leak(records)
    axes = figure.axes[0]
    assert len(axes.lines) == 3
    assert len(axes.lines[0].get_xdata()) == 5
    assert "95 % intervals" in axes.get_xlabel()


def test_batch_size_has_a_panel_a_protocol_and_one_of_time(records):
    figure = report.figures.batch_size(records)
    assert len(figure.axes) == 3
    table = study_tables.batch_size_curve(records).frame
    own = studies.of(table, "cnn_lstm", "paper")
    assert figure.axes[0].lines[0].get_ydata() == pytest.approx(100 * own["last"].to_numpy())
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["20", "40", "80", "160"]
    with pytest.raises(ValueError, match="several batch sizes"):
        report.figures.batch_size(studies.usual(records))


def test_readings_are_dots_about_zero(records, tmp_path):
    figure = report.figures.readings(records)
    axes, table = figure.axes[0], study_tables.readings(records).frame
    dots = [line.get_xdata()[0] for line in axes.lines[1:]]
    assert dots == pytest.approx(100 * table["difference"].iloc[:0:-1].to_numpy())
    assert axes.lines[0].get_xdata() == [0, 0]
    assert "paired over 2 seeds" in axes.get_xlabel()
    with pytest.raises(ValueError, match="no other reading"):
        report.figures.readings(pd.DataFrame([run(tmp_path)]))


def test_examples_are_picked_by_rule(records):
    row = studies.of(studies.usual(records), "context_lstm", "grouped").iloc[0]
    table = runs.predictions(row)
    picked = report.figures.pick_examples(table, 3)
    right = table["label"] == table["predicted"]
    first = picked["right, most confident"].iloc[0]
    assert first["probability"] == table.loc[right, "probability"].max()
    assert picked["wrong, most confident"].iloc[0]["probability"] == table.loc[~right, "probability"].max()
    assert picked["least confident"].iloc[0]["probability"] == table["probability"].min()
    names = pd.concat(picked.values())["name"]
    assert not names.duplicated().any()
    for rows in picked.values():
        assert not rows["label"].duplicated().any()
    shuffled = report.figures.pick_examples(table.sample(frac=1, random_state=1), 3)
    assert list(pd.concat(shuffled.values())["name"]) == list(names)


def test_examples_show_prediction_probability_and_the_truth_when_wrong(records):
    row = studies.of(studies.usual(records), "context_lstm", "grouped").iloc[0]
    asked = []

    def frames(name):
        asked.append(name)
        _, label, group, clip = name.split("_")
        return stickfigures.frames(label, int(group[1:]), int(clip[1:]))[::20, ::4, ::4]

    shown = texts(report.figures.examples(row, frames, n=2))
    picked = report.figures.pick_examples(runs.predictions(row), 2)
    assert asked == list(pd.concat(picked.values())["name"])
    wrong = picked["wrong, most confident"].iloc[0]
    assert f"✗ {wrong['predicted']} {100 * wrong['probability']:.1f} %\n    true: {wrong['label']}" in shown


def test_examples_of_a_run_without_errors(tmp_path):
    row = pd.Series(run(tmp_path, skill=1.1))
    figure = report.figures.examples(row, lambda name: np.zeros((3, 24, 32, 3), np.uint8), n=2)
    assert "wrong" not in texts(figure)


def test_reliability_pools_the_seeds(records):
    figure = report.figures.reliability_by_head(records)
    assert len(figure.axes) == 6
    clips = sum(bar.get_height() for bar in figure.axes[3].patches)
    assert clips == 2 * 84
    assert "single runs" in texts(figure)


def test_nothing_to_draw_is_told(records):
    with pytest.raises(ValueError, match=r"no run of context_lstm, cnn_lstm under protocol paper"):
        report.figures.accuracy_over_epochs(records[records["model"] == "mean_linear"])


def test_figures_are_saved_with_equal_bytes(records, tmp_path):
    first, second = (
        figures.save(report.figures.readings(records), tmp_path / f"{k}.svg").read_bytes() for k in (0, 1)
    )
    assert first == second
