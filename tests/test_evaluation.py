"""Metrics, intervals and tests against hand-computed values, and the intervals' cover by simulation."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats import contingency_tables, multitest, power

from ctxlstm import evaluation as ev
from ctxlstm import inference
from ctxlstm.report import studies

CLASSES = ["Bowling", "Diving", "PushUps"]


def table(rows: list[tuple[str, str]], probability: float = 0.9, nll: float = 0.5) -> pd.DataFrame:
    """Predictions with the given (label, predicted) pairs, two clips a group."""
    names = [f"v_{label}_g{i // 2 + 1:02d}_c{i % 2 + 1:02d}" for i, (label, _) in enumerate(rows)]
    frame = pd.DataFrame(rows, columns=["label", "predicted"])
    return frame.assign(name=names, probability=probability, nll=nll)[ev.COLUMNS]


def of_clips(names, labels, predicted) -> pd.DataFrame:
    frame = pd.DataFrame({"name": names, "label": labels, "predicted": predicted})
    return frame.assign(probability=0.9, nll=0.5)[ev.COLUMNS]


def clustered(correct: np.ndarray, clips: np.ndarray) -> pd.DataFrame:
    """Predictions in which group k of one class has `correct[k]` of `clips[k]` clips right."""
    rows = [
        (f"v_A_g{group:02d}_c{clip:02d}", "A", "A" if clip < right else "B", 0.9, 0.5)
        for group, (right, size) in enumerate(zip(correct, clips, strict=True))
        for clip in range(size)
    ]
    return pd.DataFrame(rows, columns=ev.COLUMNS)


def history(validation: list[float], test: list[float], train_loss: float = 0.1) -> pd.DataFrame:
    epochs = len(test)
    return pd.DataFrame(
        {
            "epoch": range(1, epochs + 1),
            "train_loss": train_loss,
            "train_top1": 1.0,
            "validation_loss": 1.0,
            "validation_top1": validation,
            "test_loss": 0.6,
            "test_top1": test,
            "seconds": 1.0,
        }
    )


MIXED = table(
    [
        ("Bowling", "Bowling"),
        ("Bowling", "Diving"),
        ("Bowling", "Diving"),
        ("Bowling", "PushUps"),
        ("Diving", "Diving"),
        ("Diving", "Diving"),
    ]
)


# ---- the predictions table


def test_predictions_by_hand():
    logits = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])) + 5  # a constant changes no softmax
    got = ev.predictions(logits, [0, 2], ["v_Bowling_g01_c01", "v_PushUps_g01_c01"], CLASSES)
    assert list(got.columns) == ev.COLUMNS
    assert list(got.label) == ["Bowling", "PushUps"]
    assert list(got.predicted) == ["Bowling", "Diving"]
    assert got.probability.to_numpy() == pytest.approx([0.7, 0.6])
    assert got.nll.to_numpy() == pytest.approx([-math.log(0.7), -math.log(0.3)])


def test_predictions_same_from_torch_with_gradient_and_numpy():
    logits = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    names = [f"v_Diving_g01_c{i:02d}" for i in range(5)]
    a = ev.predictions(logits, torch.tensor([0, 1, 2, 0, 1]), names, CLASSES)
    b = ev.predictions(logits.detach().numpy(), [0, 1, 2, 0, 1], names, CLASSES)
    pd.testing.assert_frame_equal(a, b)


def test_predictions_survive_large_logits():
    got = ev.predictions(torch.tensor([[1e4, 0.0, 0.0]]), [1], ["v_Diving_g01_c01"], CLASSES)
    assert got.nll.item() == pytest.approx(1e4)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_predictions_refuse_nan(bad):
    logits = torch.zeros(3, 3)
    logits[1, 2] = bad
    with pytest.raises(ValueError, match=r"1 of 3 clips are NaN or infinite \(first: v_b\)"):
        ev.predictions(logits, [0, 1, 2], ["v_a", "v_b", "v_c"], CLASSES)


def test_predictions_refuse_wrong_shapes_and_labels():
    with pytest.raises(ValueError, match="do not fit 2 clips and 3 classes"):
        ev.predictions(torch.zeros(3, 3), [0, 1, 2], ["v_a", "v_b"], CLASSES)
    with pytest.raises(ValueError, match="Labels run from 0 to 3, but must be 0 to 2"):
        ev.predictions(torch.zeros(2, 3), [0, 3], ["v_a", "v_b"], CLASSES)


def test_tables_that_cannot_be_evaluated():
    with pytest.raises(ValueError, match="empty"):
        ev.top1(MIXED.iloc[:0])
    with pytest.raises(ValueError, match=r"lacks the columns \['nll'\]"):
        ev.nll(MIXED.drop(columns="nll"))
    with pytest.raises(ValueError, match="v_Bowling_g01_c01 is in the predictions table more than once"):
        ev.top1(pd.concat([MIXED, MIXED]))


@pytest.mark.parametrize(
    ("column", "value"), [("probability", math.nan), ("probability", 7.0), ("nll", math.nan)]
)
def test_an_impossible_number_is_told_and_not_passed_over(column, value):
    """pandas leaves NaN out of a mean: the error of a table of NaN would be 0."""
    table = MIXED.copy()
    table.loc[1, column] = value
    for judge in (ev.calibration, ev.nll, ev.top1):
        with pytest.raises(ValueError, match=f"Clip {table['name'][1]} has the probability"):
            judge(table)


# ---- metrics


def test_top1_and_nll():
    assert ev.top1(MIXED) == pytest.approx(3 / 6)
    assert ev.nll(MIXED.assign(nll=[1, 2, 3, 4, 5, 6])) == pytest.approx(3.5)


def test_per_class():
    got = ev.per_class(MIXED).set_index("class")
    assert list(got.index) == ["Bowling", "Diving"]  # PushUps is only ever predicted
    assert got.loc["Bowling"].tolist() == [4, 1, 0.25, "Diving"]
    assert got.loc["Diving"].tolist() == [2, 2, 1.0, ""]


def test_confusion_counts():
    got = ev.confusion(MIXED)
    assert got.loc["Bowling"].tolist() == [1, 2, 1]
    assert got.loc["Diving"].tolist() == [0, 2, 0]
    assert got.loc["PushUps"].tolist() == [0, 0, 0]
    assert got.attrs["absent"] == ["PushUps"]


def test_confusion_keeps_the_given_order_and_names_absent_classes():
    got = ev.confusion(MIXED, ["YoYo", *reversed(CLASSES)])
    assert list(got.index) == list(got.columns) == ["YoYo", "PushUps", "Diving", "Bowling"]
    assert got.attrs["absent"] == ["YoYo", "PushUps"]
    assert got.to_numpy().sum() == len(MIXED)
    with pytest.raises(ValueError, match=r"not among the 2 given: \['PushUps'\]"):
        ev.confusion(MIXED, ["Bowling", "Diving"])


def test_calibration_by_hand():
    frame = table([("Diving", "Diving")] * 3 + [("Diving", "Bowling")])
    frame["probability"] = [0.5, 0.9, 1.0, 0.9]  # 0.5 belongs to the lower bin, 1.0 to the last
    error, diagram = ev.calibration(frame, bins=2)
    assert diagram.clips.tolist() == [1, 3]
    assert diagram.probability.tolist() == pytest.approx([0.5, 2.8 / 3])
    assert diagram.top1.tolist() == pytest.approx([1.0, 2 / 3])
    assert error == pytest.approx((1 * 0.5 + 3 * (2.8 / 3 - 2 / 3)) / 4)


def test_calibration_keeps_empty_bins_and_sees_a_calibrated_model():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.2, 1, 20_000)
    right = rng.uniform(size=p.size) < p
    frame = pd.DataFrame(
        {
            "name": np.arange(p.size).astype(str),
            "label": "A",
            "predicted": np.where(right, "A", "B"),
            "probability": p,
            "nll": 1.0,
        }
    )
    error, diagram = ev.calibration(frame, bins=10)
    assert error < 0.02
    assert len(diagram) == 10
    assert diagram.top1[:2].isna().all()
    assert diagram.clips.sum() == p.size
    with pytest.raises(ValueError, match="at least one bin"):
        ev.calibration(frame, bins=0)


# ---- intervals and tests


def test_interval_covers_and_naive_does_not():
    """Groups of 5 clips that are all right or all wrong: nominal 95 %, 80 data sets of 60 groups."""
    rng = np.random.default_rng(1)
    clustered_hits = naive_hits = 0
    for trial in range(80):
        right = 5 * (rng.uniform(size=60) < 0.7)
        low, high = inference.interval(clustered(right, np.full(60, 5)), resamples=500, seed=trial)
        naive = stats.binomtest(int(right.sum()), 300).proportion_ci()
        clustered_hits += low <= 0.7 <= high
        naive_hits += naive.low <= 0.7 <= naive.high
    assert clustered_hits >= 70
    assert naive_hits <= 65


def test_interval_is_wider_when_clips_of_a_group_agree():
    rng = np.random.default_rng(2)
    right = rng.binomial(1, 0.6, 100)
    together = inference.interval(clustered(4 * right, np.full(100, 4)))
    apart = inference.interval(
        clustered(rng.permuted(np.repeat(right, 4)).reshape(100, 4).sum(1), np.full(100, 4))
    )
    assert together[1] - together[0] > 1.5 * (apart[1] - apart[0])


def test_interval_is_near_the_binomial_one_for_single_clips():
    right = np.arange(200) < 120
    low, high = inference.interval(clustered(right.astype(int), np.ones(200, int)))
    exact = stats.binomtest(120, 200).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.015)


def test_interval_same_seed_same_result_and_level_widens():
    frame = clustered(np.arange(30) % 5, np.full(30, 4))
    assert inference.interval(frame, seed=3) == inference.interval(frame, seed=3)
    assert inference.interval(frame, seed=3) == inference.interval(
        frame.sample(frac=1, random_state=0), seed=3
    )
    narrow, wide = inference.interval(frame, level=0.8), inference.interval(frame, level=0.99)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_interval_of_a_perfect_score_is_not_a_point():
    low, high = inference.interval(clustered(np.full(20, 4), np.full(20, 4)))
    assert (low, high) == pytest.approx((0.025 ** (1 / 20), 1.0))  # Clopper-Pearson, 20 of 20


def test_interval_separates_groups_of_different_classes():
    frame = table([("Bowling", "Bowling"), ("Diving", "Bowling")])  # both in group 1
    low, high = inference.interval(frame)
    assert low < 0.5 < high
    with pytest.raises(ValueError, match="All 2 test clips are of one group"):
        inference.interval(clustered(np.array([1]), np.array([2])))


def test_an_interval_counts_the_groups_of_a_column_whatever_the_class():
    correct = np.arange(40) % 4
    by_name = clustered(correct, np.full(40, 4))
    own = by_name.assign(group=by_name["name"].str.extract("(g..)", expand=False))
    own["name"] = [f"{group}_{k}" for k, group in enumerate(own["group"])]
    other = own["label"].mask(own.index % 2 == 1, "B")  # people do several things
    own = own.assign(
        label=other,
        predicted=own["predicted"].where(other == "A", own["predicted"].map({"A": "B", "B": "A"})),
    )
    assert inference.interval(own) == inference.interval(by_name)
    alone = own.assign(group="")
    assert inference.interval(own.assign(group=np.nan)) == inference.interval(alone), (
        "as a CSV without them is read"
    )
    assert not inference.groups_known(alone)
    assert inference.interval(alone) == inference.interval(own.assign(group=own["name"])), (
        "nobody knows: single clips"
    )
    assert inference.interval(alone) != inference.interval(own)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5)), min_size=2, max_size=12))
def test_interval_holds_the_estimate_and_is_never_nan(groups):
    clips = np.array([size for _, size in groups])
    right = np.minimum([r for r, _ in groups], clips)
    frame = clustered(right, clips)
    low, high = inference.interval(frame, resamples=200)
    assert 0 <= low <= high <= 1
    assert low - 0.05 <= ev.top1(frame) <= high + 0.05


def test_mcnemar_by_hand():
    pairs = [("A", "A")] * 10
    a = table(pairs)
    b = table([("A", "A")] * 3 + [("A", "B")] * 6 + [("A", "A")])
    a.loc[9, "predicted"] = "B"
    got = inference.mcnemar((a, b))
    assert (got.both, got.only_a, got.only_b, got.neither) == (3, 6, 1, 0)
    assert got.difference == pytest.approx(0.5) == pytest.approx(ev.top1(a) - ev.top1(b))
    assert got.p == pytest.approx(2 * (1 + 7) / 2**7)  # two-sided binomial tail of 6 or more out of 7


def test_mcnemar_symmetry_order_and_identity():
    b = MIXED.assign(predicted="Diving")
    there, back = inference.mcnemar((MIXED, b)), inference.mcnemar((b, MIXED.sample(frac=1, random_state=0)))
    assert there.p == back.p
    assert there.difference == -back.difference
    assert inference.mcnemar((MIXED, MIXED)).p == 1.0


def test_mcnemar_refuses_other_clips_and_other_labels():
    with pytest.raises(ValueError, match=r"different clips \(1 are in one only, such as v_Diving_g03_c02\)"):
        inference.mcnemar((MIXED, MIXED.iloc[:-1]))
    with pytest.raises(ValueError, match="v_Bowling_g01_c01 different true classes"):
        inference.mcnemar((MIXED, MIXED.assign(label="Diving")))


def test_sign_flip_by_hand():
    labels = ["A"] * 6
    names = [f"v_A_g{g:02}_c{c:02}" for g in (1, 2, 3) for c in (1, 2)]
    a = of_clips(names, labels, ["A", "A", "A", "A", "A", "B"])
    b = of_clips(names, labels, ["B", "B", "B", "A", "A", "A"])
    got = inference.sign_flip(
        (a, b)
    )  # by source +2, +1, -1: the sums of all signs are +-4, +-2 twice, 0 twice
    assert (got.both, got.only_a, got.only_b, got.neither, got.sources) == (2, 3, 1, 0, 3)
    assert got.difference == pytest.approx(2 / 6)
    assert got.p == pytest.approx(6 / 8)
    assert inference.sign_flip((b, a)).p == got.p
    assert inference.sign_flip((a, a)).p == 1.0
    with pytest.raises(ValueError, match="nothing to compare"):
        inference.sign_flip()
    twice = inference.sign_flip((a, b), (a, b))
    assert (twice.sources, twice.p) == (3, got.p), "a source that comes again is one source"
    assert twice.difference == got.difference


def test_sign_flip_is_scipys_permutation_test():
    rng = np.random.default_rng(0)
    names = [f"v_A_g{g:02}_c{c:02}" for g in range(1, 11) for c in range(1, 5)]
    a, b = (of_clips(names, ["A"] * 40, rng.choice(["A", "B"], 40, p=[p, 1 - p])) for p in (0.8, 0.5))
    right = [(t["label"] == t["predicted"]).to_numpy().reshape(10, 4).sum(1) for t in (a, b)]
    theirs = stats.permutation_test(
        (right[0] - right[1],), np.sum, permutation_type="samples", n_resamples=np.inf
    )
    assert inference.sign_flip((a, b)).p == pytest.approx(theirs.pvalue)


def test_mcnemar_and_holm_are_those_of_statsmodels():
    rng = np.random.default_rng(1)
    names = [f"v_A_g{g:02}_c01" for g in range(1, 61)]
    a, b = (of_clips(names, ["A"] * 60, rng.choice(["A", "B"], 60, p=[p, 1 - p])) for p in (0.8, 0.6))
    got = inference.mcnemar((a, b))
    theirs = contingency_tables.mcnemar([[got.both, got.only_a], [got.only_b, got.neither]], exact=True)
    assert got.p == pytest.approx(theirs.pvalue)
    assert inference.sign_flip((a, b)).p == pytest.approx(got.p), (
        "where every source has one clip, the two are one test"
    )
    p = [0.01, 0.04, 0.03, 0.2]
    assert studies.holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


def test_paired_over_seeds_by_hand():
    a, b = {0: 0.90, 1: 0.92, 2: 0.97}, {2: 0.92, 0: 0.89, 1: 0.90}
    got = inference.paired_over_seeds(a, b)
    differences = np.array([0.01, 0.02, 0.05])
    half = 4.302653 * differences.std(ddof=1) / math.sqrt(3)  # t table, 2 degrees of freedom
    assert got.mean == pytest.approx(0.08 / 3)
    assert (got.low, got.high) == pytest.approx((0.08 / 3 - half, 0.08 / 3 + half))
    assert got.seeds == 3
    assert got.p == pytest.approx(stats.ttest_rel([0.90, 0.92, 0.97], [0.89, 0.90, 0.92]).pvalue)
    assert inference.paired_over_seeds(pd.Series(a), pd.Series(b)) == got


def test_splits_of_one_pool_widen_the_interval():
    """Nadeau and Bengio's corrected resampled t-test, written out: 10 splits of 90 training and 10 test clips."""
    values = [0.9, 0.6, 0.8, 0.7, 0.6, 0.9, 0.7, 0.8, 0.4, 0.5]
    got = inference.over_seeds(values, overlap=10 / 90)
    variance = np.var(values, ddof=1) * (1 / 10 + 10 / 90)
    assert got.high - got.mean == pytest.approx(2.262157 * math.sqrt(variance))
    assert got.p == pytest.approx(2 * stats.t.sf(0.69 / math.sqrt(variance), 9))
    plain = inference.over_seeds(values)
    assert (plain.low, plain.high) == pytest.approx(stats.ttest_1samp(values, 0).confidence_interval())
    assert got.low < plain.low


@pytest.mark.parametrize("seeds", [2, 3, 5, 20])
def test_what_can_be_found_is_that_of_statsmodels(seeds):
    values = np.linspace(0.1, 0.3, seeds)
    size = power.TTestPower().solve_power(nobs=seeds, alpha=0.05, power=0.8)
    found = inference.over_seeds(values).detectable
    assert found == pytest.approx(size * values.std(ddof=1), rel=1e-3)


def test_what_can_be_no_value_per_seed_is_refused():
    for values in ([0.1, math.inf, 0.3], [0.1, math.nan], [[0.1, 0.9], [0.2, 0.8]]):
        with pytest.raises(ValueError, match="A value of a seed is NaN, infinite or several numbers"):
            inference.over_seeds(np.array(values))
    for wrong in ({"level": 95}, {"overlap": math.nan}, {"overlap": -0.1}):
        with pytest.raises(ValueError, match="level lies between 0 and 1, overlap is 0 or more"):
            inference.over_seeds([0.1, 0.2, 0.3], **wrong)


def test_equal_values_tell_nothing():
    got = inference.paired_over_seeds({0: 0.3, 1: 0.7}, {0: 0.2, 1: 0.6})
    assert got.mean == pytest.approx(0.1)
    assert np.isnan([got.low, got.high, got.p, got.detectable]).all()


# ---- whether 95 % is 95 %: data whose truth is known, in which clips of a source go together


def sources(rng, count):
    """How likely each source's clips are right, and four clips each, right or wrong."""
    chance = rng.beta(2, 1, count)  # mean 2/3
    return rng.uniform(size=(count, 4)) < chance[:, None]


def test_the_interval_by_group_holds_the_truth_as_often_as_it_says():
    rng, hits, naive, trials = np.random.default_rng(0), 0, 0, 300
    names = [f"v_A_g{g:02}_c{c:02}" for g in range(1, 41) for c in range(1, 5)]
    for trial in range(trials):
        right = sources(rng, 40).ravel()
        low, high = inference.interval(
            of_clips(names, ["A"] * 160, np.where(right, "A", "B")), resamples=400, seed=trial
        )
        hits += low <= 2 / 3 <= high
        exact = stats.binomtest(int(right.sum()), 160).proportion_ci()
        naive += exact.low <= 2 / 3 <= exact.high
    assert 0.91 <= hits / trials <= 0.98
    assert naive / trials < 0.9, "clips are not independent here"


def test_the_corrected_interval_holds_the_truth_where_seeds_split_one_pool():
    """Two heads on five splits of 100 sources; the truth is the mean over all the sources there could be."""
    rng, trials = np.random.default_rng(1), 1000
    hits, plain = 0, 0
    for _ in range(trials):
        gain = rng.normal(0.02, 0.1, 100)  # what the one head is better by, on each source of this pool
        tests = [rng.permutation(100)[:25] for _ in range(5)]
        values = [gain[test].mean() + rng.normal(0, 0.005) for test in tests]
        for overlap in (0, 1 / 3):
            got = inference.over_seeds(values, overlap=overlap)
            held = got.low <= 0.02 <= got.high
            hits, plain = hits + (held and overlap > 0), plain + (held and overlap == 0)
    assert 0.92 <= hits / trials <= 0.98
    assert plain / trials < 0.91


def test_the_sign_flip_convicts_one_in_twenty_and_mcnemar_many_more():
    rng, trials = np.random.default_rng(2), 400
    names = [f"v_A_g{g:02}_c{c:02}" for g in range(1, 41) for c in range(1, 9)]
    flips, clips = 0, 0
    for _ in range(trials):  # both heads equally good, but a source is easy for the one or the other
        a, b = (of_clips(names, ["A"] * 320, np.repeat(rng.choice(["A", "B"], 40), 8)) for _ in range(2))
        flips += inference.sign_flip((a, b)).p <= 0.05
        clips += inference.mcnemar((a, b)).p <= 0.05
    assert 0.02 <= flips / trials <= 0.08
    assert clips / trials > 0.3


def test_paired_over_seeds_refuses():
    with pytest.raises(ValueError, match=r"second head has no run with seed \[2\]"):
        inference.paired_over_seeds({1: 0.5, 2: 0.5}, {1: 0.5})
    with pytest.raises(ValueError, match=r"first head has no run with seed \[3, 4\]"):
        inference.paired_over_seeds({1: 0.5}, {1: 0.5, 4: 0.1, 3: 0.2})
    with pytest.raises(ValueError, match="at least two seeds, and there are 1"):
        inference.paired_over_seeds({1: 0.5}, {1: 0.5})
    with pytest.raises(ValueError, match="seed 2 is NaN"):
        inference.paired_over_seeds({1: 0.5, 2: math.nan}, {1: 0.5, 2: 0.4})


# ---- reading a history


def test_chosen_epoch_takes_the_first_of_equals():
    assert ev.chosen_epoch(history([0.5, 0.8, 0.7, 0.8], [0.1, 0.2, 0.3, 0.4])) == 2
    assert ev.chosen_epoch(history([math.nan, 0.6, math.nan], [0.1, 0.2, 0.3])) == 2
    assert ev.chosen_epoch(history([math.nan] * 2, [0.1, 0.2])) is None


def test_selection_bonus():
    frame = history([0.5, 0.8, 0.7], [0.6, 0.71, 0.75])
    assert ev.selection_bonus(frame) == pytest.approx(0.04)
    frame.index = [0, 0, 0]  # several histories concatenated leave such an index
    assert ev.selection_bonus(frame) == pytest.approx(0.04)
    assert math.isnan(ev.selection_bonus(history([math.nan] * 3, [0.6, 0.7, 0.75])))


def test_overfitting_by_hand():
    noise = [0.01, -0.01, 0.01, -0.01]
    frame = history([0.5] * 5, [0.1] + [0.9 - 0.002 * e + n for e, n in zip(range(2, 6), noise, strict=True)])
    frame["train_loss"] = [9.0, 0.01, 0.03, 0.01, 0.03]
    got = ev.overfitting(frame, after_epoch=1)
    x, y = np.arange(2, 6) - 3.5, frame.test_top1.to_numpy()[1:]
    slope = (x @ y) / (x @ x)
    residual = y - y.mean() - slope * x
    half = 4.302653 * math.sqrt(residual @ residual / 2 / (x @ x))
    assert got.epochs == 4
    assert got.loss_ratio == pytest.approx(0.6 / 0.02)
    assert got.slope == pytest.approx(slope * 1e4)
    assert (got.low, got.high) == pytest.approx(((slope - half) * 1e4, (slope + half) * 1e4))


def test_overfitting_needs_three_epochs():
    with pytest.raises(ValueError, match="Only 2 epochs come after epoch 3"):
        ev.overfitting(history([0.5] * 5, [0.5] * 5), after_epoch=3)


def test_late_is_the_mean_of_the_last_third_whatever_one_epoch_does():
    history = pd.DataFrame({"epoch": range(1, 10), "test_top1": [0.1] * 6 + [0.7, 0.9, 0.8]})
    late = ev.late(history)
    assert late.mean == pytest.approx(0.8)
    assert late.sd == pytest.approx(0.1)
    once = ev.late(history.head(1))
    assert once.mean == 0.1
    assert np.isnan(once.sd)
