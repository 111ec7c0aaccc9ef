"""The statistics under the tables: which records belong together, and what their seeds say."""

import numpy as np
import pandas as pd
import pytest
from synthetic import run, study

from ctxlstm import inference
from ctxlstm.experiments import runs
from ctxlstm.report import paper_tables, studies


@pytest.fixture(scope="module")
def records(tmp_path_factory) -> pd.DataFrame:
    return study(tmp_path_factory.mktemp("study"))


def test_what_may_differ_in_one_study(records, tmp_path):
    adapted = [
        run(tmp_path, "cnn_lstm", seed=s, batch_norm="adapted", features_digest=f"{s}" * 64) for s in range(3)
    ]
    mixed = pd.concat([records, pd.DataFrame(adapted)], ignore_index=True)
    reading = mixed["variant"] == "embedding=none"
    mixed["embedding"] = [[] if other else [128] for other in reading]
    pd.testing.assert_frame_equal(
        paper_tables.table1(mixed).frame, paper_tables.table1(records).frame
    )  # the adapted runs are not averaged in
    mixed.loc[len(records), "frames"] = 28
    with pytest.raises(ValueError, match=r"frames is 12 in .* and 28 in"):
        studies.one_study(mixed)


def test_bad_records_are_refused(records):
    with pytest.raises(ValueError, match="no run records"):
        studies.one_study(records.iloc[:0])
    with pytest.raises(ValueError, match="lack the column frames"):
        studies.one_study(records.drop(columns="frames"))
    with pytest.raises(ValueError, match="repeat one another"):
        studies.one_study(pd.concat([records, records.iloc[:1].assign(run="other")], ignore_index=True))
    with pytest.raises(ValueError, match="no main run"):
        studies.usual(records[records["variant"] != ""])


def test_usual_rows_are_the_main_runs(records):
    rows = studies.usual(records)
    assert set(rows["batch_size"]) == {40}
    assert set(rows["variant"]) == {""}
    assert len(rows) == 3 * 5 * 5


def test_interval_over_seeds_is_the_t_interval_cut_to_shares():
    found = studies.mean_interval([0.8, 0.9])
    assert found.mean == pytest.approx(0.85)
    assert found.high == 1.0  # 0.85 + 12.7 * 0.05
    assert found.low == pytest.approx(0.85 - 12.706 * 0.05, abs=1e-3)
    assert found.kind == "t, 2 seeds"
    assert np.isnan(studies.mean_interval([0.8, np.nan]).mean)


def test_seeds_that_split_the_same_clips_anew_share_them(records):
    rows = studies.usual(records)
    own = {name: studies.of(rows, "cnn_lstm", name) for name in studies.PROTOCOLS}
    first = own["paper"].iloc[0]
    assert studies.overlap(own["paper"]) == pytest.approx(first["test_clips"] / first["train_clips"])
    assert studies.overlap(own["official"]) == 0
    values = own["paper"]["top1_last"]
    plain, corrected = (studies.mean_interval(values, overlap=share) for share in (0, 0.4))
    assert corrected.high - corrected.mean > plain.high - plain.mean
    assert (plain.kind, corrected.kind) == ("t, 3 seeds", "corrected t, 3 seeds")
    with pytest.raises(ValueError, match="official and paper cannot share an interval"):
        studies.overlap(pd.concat([own["paper"], own["official"]]))


def test_one_seed_has_the_interval_of_its_groups_and_equal_seeds_too(records):
    rows = studies.of(studies.usual(records), "cnn_lstm", "grouped")
    one_run = rows[rows["seed"] == 0]
    found = studies.scores(one_run)
    assert found["last"][1:3] == inference.interval(runs.predictions(one_run.iloc[0]))
    assert found["interval"] == "groups, one seed"
    assert np.isnan(found["best"].low)  # predictions are of the last epoch
    late = found["last"].mean + 0.004  # near enough for the interval of the last epoch, and yet its own mean
    near = studies.scores(one_run.assign(top1_late=late))["late"]
    assert near == (late, *found["last"][1:])
    assert np.isnan(studies.scores(one_run.assign(top1_late=late + 0.004))["late"].low)
    equal = studies.scores(rows.assign(top1_last=rows["top1_last"].iloc[0]))
    assert equal["interval"] == "groups, 3 seeds equal"
    assert equal["last"].low < equal["last"].mean < equal["last"].high
    assert studies.mean_interval([0.8]).kind == "none, one seed"


def test_official_folds_are_averaged_within_a_seed_and_only_whole_seeds_count(records):
    rows = studies.of(studies.usual(records), "cnn_lstm", "official")
    found = studies.scores(rows)
    assert found["last"].mean == pytest.approx(rows["top1_last"].mean())
    assert (found["seeds"], found["folds"]) == (3, "1-3")
    broken = rows[~((rows["seed"] == 1) & (rows["fold"] == 2))]
    assert studies.scores(broken)["seeds"] == 2
    first = studies.scores(rows[rows["fold"] < 3])
    assert first["last"].mean == pytest.approx(rows.loc[rows["fold"] == 1, "top1_last"].mean())
    assert first["folds"] == "1"


def test_one_common_seed_or_equal_differences_give_no_p(records):
    rows = studies.usual(records)
    a, b = studies.of(rows, "context_lstm", "paper"), studies.of(rows, "cnn_lstm", "paper")
    alone = studies.paired(a[a["seed"] == 0], b)
    assert np.isnan(alone["p"])
    assert "1 common seed: no test" in alone["note"]
    none = studies.paired(a[a["seed"] == 0], b[b["seed"] == 1])
    assert np.isnan(none["difference"].mean)
    assert "no common seed" in none["note"]
    same = studies.paired(a.assign(top1_last=0.9), b.assign(top1_last=0.8))
    assert same["difference"].mean == pytest.approx(0.1)
    assert np.isnan(same["p"])
    assert "all differences equal" in same["note"]


def test_holm_against_worked_numbers():
    assert studies.holm([0.01, 0.04, 0.03, np.nan]) == pytest.approx([0.03, 0.06, 0.06, np.nan], nan_ok=True)
    assert studies.holm([0.9, 0.8]) == pytest.approx([1, 1])
