"""Run records of one study, and the statistics over its seeds behind every table of the report.

A study is the table of `runs.load` for one results folder: runs on the same features with the same setting,
which differ in head, reading, split, seed and batch size. Its main runs have the default reading and the
usual batch size. Under the protocols paper and grouped, every seed splits the same clips anew, which
`overlap` corrects for; under official it does not, so intervals over seeds leave out the uncertainty about
the test clips. All accuracies are fractions (paper section 4.3 prints per cent).
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from ctxlstm import inference
from ctxlstm.experiments import runs
from ctxlstm.report.table import Interval

SETTING = (
    "dataset", "groups", "backbone", "rule", "size", "frames", "hidden_size", "embedding", "epochs", "learning_rate",
    "validation", "features_digest",
)  # fmt: skip
RUN = ["model", "variant", "batch_size", "batch_norm", "protocol", "fold", "seed"]  # what tells runs apart
OWN_FEATURES = ("adapted", "drift")  # BatchNorm modes whose features depend on the training set
METRICS = {"late": "top1_late", "last": "top1_last", "chosen": "top1_validation_chosen", "best": "top1_best"}
PROTOCOLS = ("paper", "grouped", "official")


def one_study(records: pd.DataFrame) -> pd.DataFrame:
    """Return the records after checking that they share features and setting and hold no run twice.

    Differences that a run cannot help are allowed: the features of an adapted or drifting BatchNorm, the
    epochs of a head that is not trained, the embedding of the reading that changes it.

    Raises:
        ValueError: there are no records, a column is missing, a run appears twice, or two records differ (the
            message names the column, both values and a run of each).
    """
    if records.empty:
        raise ValueError("there are no run records to make a table of: run the sweep of this study first")
    needed = [*RUN, *SETTING, "run", "parameters", *METRICS.values()]
    if missing := [column for column in needed if column not in records.columns]:
        raise ValueError(f"the run records lack the column {missing[0]}: load them with runs.load")
    exempt = {
        "features_digest": records["batch_norm"].isin(OWN_FEATURES),
        "epochs": records["parameters"] == 0,
        "embedding": records["variant"].str.contains("embedding="),
    }
    for column in SETTING:
        rows = records[~exempt[column]] if column in exempt else records
        first = rows.assign(text=rows[column].map(str)).drop_duplicates("text")
        if len(first) > 1:
            (a, b), (run_a, run_b) = first["text"].iloc[:2], first["run"].iloc[:2]
            raise ValueError(
                f"records of different studies cannot share a table: {column} is {a} in {run_a} and {b} in {run_b}; "
                "give the records of one features file and one setting"
            )
    if (again := records.duplicated(RUN, keep=False)).any():
        a, b = records.loc[again].sort_values(RUN)["run"].iloc[:2]
        raise ValueError(
            f"the runs {a} and {b} repeat one another (same head, split, seed): remove one of them"
        )
    return records


def protocols(records: pd.DataFrame) -> list[str]:
    """The protocols that the records have, from the paper's to the strictest."""
    return [name for name in PROTOCOLS if (records["protocol"] == name).any()]


def usual_size(records: pd.DataFrame) -> pd.DataFrame:
    """The rows with the batch size and the BatchNorm mode that most main runs have (on a tie the smaller size)."""
    main = records[records["variant"] == ""]
    mode = main["batch_norm"].mode().iloc[0]
    size = main.loc[main["batch_norm"] == mode, "batch_size"].mode().iloc[0]
    return records[(records["batch_norm"] == mode) & (records["batch_size"] == size)]


def usual(records: pd.DataFrame) -> pd.DataFrame:
    """The main runs of a study: default reading, usual batch size and BatchNorm mode. Checked by `one_study`."""
    rows = one_study(records)
    if not (rows["variant"] == "").any():
        raise ValueError("the records hold no main run (all have options): run the sweep of this study first")
    rows = usual_size(rows)
    return rows[rows["variant"] == ""]


def overlap(rows: pd.DataFrame) -> float:
    """How far seeds overlap: test / training clips if every seed splits the same clips anew, else 0.

    Raises:
        ValueError: the rows mix both kinds, which need different intervals.
    """
    again = rows["protocol"] != "official"
    if again.nunique() > 1:
        raise ValueError(
            f"the protocols {' and '.join(sorted(rows['protocol'].unique()))} cannot share an interval: the official splits are "
            "the same for every seed and the others are not"
        )
    return float((rows["test_clips"] / rows["train_clips"]).mean()) if again.any() else 0.0


def mean_interval(
    values: Sequence[float],
    predictions: Callable[[], pd.DataFrame] | None = None,
    *,
    overlap: float = 0.0,
    level: float = 0.95,
) -> Interval:
    """Mean of one value per seed, with its interval over seeds (`inference.over_seeds`), clipped to 0..1.

    One seed, or seeds that all give the same value (no training, no new split), say nothing about the
    uncertainty. The interval is then that of `inference.interval` over the test clips of one seed, which
    `predictions` reads: clustered by group, or by clip if groups are not known. Without `predictions` there
    is no interval.
    """
    values = np.asarray(values, dtype=float)
    if not len(values) or np.isnan(values).any():
        return Interval(np.nan)
    mean, n = float(values.mean()), len(values)
    if n > 1 and not np.isnan((found := inference.over_seeds(values, overlap=overlap, level=level)).low):
        kind = f"{'corrected t' if overlap else 't'}, {n} seeds"
        return Interval(mean, max(0.0, found.low), min(1.0, found.high), kind)
    why = "one seed" if n == 1 else f"{n} seeds equal"
    if predictions is None:
        return Interval(mean, kind=f"none, {why}")
    clips = predictions()
    try:
        counted = "groups" if inference.groups_known(clips) else "clips"
        return Interval(mean, *inference.interval(clips, level), f"{counted}, {why}")
    except ValueError:  # one group only
        return Interval(mean, kind=f"none, {why}, one group")


def whole(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one head under one protocol that make its seeds comparable.

    Official splits: the seeds that have all three folds, if there are any; otherwise the lowest fold alone.
    """
    if rows.empty or rows["protocol"].iloc[0] != "official":
        return rows
    count = rows.groupby("seed")["fold"].transform("nunique")  # (rows,)
    return rows[count == 3] if (count == 3).any() else rows[rows["fold"] == rows["fold"].min()]


def by_seed(rows: pd.DataFrame, column: str) -> pd.Series:
    """A column of one head's rows under one protocol as one value per seed: folds of a seed are averaged."""
    return pd.to_numeric(rows[column]).groupby(rows["seed"]).mean()


def folds(rows: pd.DataFrame) -> str:
    """The official folds behind a mean, as text ("1-3", "1"); empty for other protocols."""
    if rows.empty or rows["protocol"].iloc[0] != "official":
        return ""
    return "1-3" if rows["fold"].nunique() == 3 else str(rows["fold"].iloc[0])


def predictions(rows: pd.DataFrame) -> pd.DataFrame:
    """The predictions of all these runs, concatenated."""
    return pd.concat([runs.predictions(row) for _, row in rows.iterrows()], ignore_index=True)


def histories(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """A column of the histories of one head's rows under one protocol, (epochs, seeds): folds are averaged."""
    rows = whole(rows)
    curves = {index: runs.history(row).set_index("epoch")[column] for index, row in rows.iterrows()}
    return pd.DataFrame(curves).T.groupby(rows["seed"]).mean().T


def scores(rows: pd.DataFrame) -> dict:
    """Top-1 of one head under one protocol, mean and interval: late epochs, last, validation-chosen, best on the test set.

    Keys late (`evaluation.late`), last, chosen and best (each an `Interval`), then seeds (number), folds and
    interval (what that of `last` rests on). Predictions are of the last epoch, so with one seed only `last`
    has an interval, and `late` too if it is within half a point of `last`.
    """
    rows = whole(rows)
    shared = overlap(rows)
    found = {name: mean_interval(by_seed(rows, column), overlap=shared) for name, column in METRICS.items()}
    if len(rows) and np.isnan(found["last"].low):
        first = rows[rows["seed"] == rows["seed"].min()]
        found["last"] = mean_interval(by_seed(rows, METRICS["last"]), partial(predictions, first))
        if np.isnan(found["late"].low) and np.isclose(found["late"].mean, found["last"].mean, atol=0.005):
            found["late"] = found["last"]._replace(mean=found["late"].mean)
    return found | {"seeds": rows["seed"].nunique(), "folds": folds(rows), "interval": found["last"].kind}


def common(*heads: pd.DataFrame, names: Sequence[str] = ()) -> tuple[list[pd.DataFrame], str]:
    """Rows of several heads under one protocol, cut to common seeds (and folds), and a note on the rest.

    The note uses `names`; it is empty or reads like "without seed 3 (missing from cnn_lstm)".
    """
    keys = [set(zip(rows["seed"], rows["fold"], strict=True)) for rows in heads]
    shared, every = set.intersection(*keys), set.union(*keys)
    official = any((rows["protocol"] == "official").any() for rows in heads)
    names = names or [
        " ".join(filter(None, rows.iloc[0][["model", "variant"]])) if len(rows) else f"head {i}"
        for i, rows in enumerate(heads, start=1)
    ]
    notes = []
    for seed, fold in sorted(every - shared):
        lacking = [name for name, own in zip(names, keys, strict=True) if (seed, fold) not in own]
        where = f"seed {seed}" + (f" fold {fold}" if official else "")
        notes.append(f"{where} (missing from {', '.join(lacking)})")
    cut = [
        whole(rows[[pair in shared for pair in zip(rows["seed"], rows["fold"], strict=True)]])
        for rows in heads
    ]
    return cut, "without " + "; ".join(notes) if notes else ""


def paired(a: pd.DataFrame, b: pd.DataFrame, column: str = "top1_last") -> dict:
    """Difference a minus b of two heads under one protocol over their common seeds (`inference.paired_over_seeds`).

    Keys difference (an `Interval`), p, detectable, compared_seeds, note. The note names seeds that one head
    lacks. Interval, p and detectable are NaN with fewer than two common seeds, or if every seed gives the
    same difference.
    """
    (a, b), note = common(a, b)
    mine, other = by_seed(a, column), by_seed(b, column)
    difference, p, detectable = (
        Interval(float((mine - other).mean()) if len(mine) else np.nan),
        np.nan,
        np.nan,
    )
    if len(mine) < 2 or mine.isna().any() or other.isna().any():
        why = f"{len(mine) or 'no'} common seed{'s' * (len(mine) > 1)}: no test"
    else:
        test = inference.paired_over_seeds(mine.to_dict(), other.to_dict(), overlap=overlap(a))
        difference, p, detectable = Interval(difference.mean, test.low, test.high), test.p, test.detectable
        why = "all differences equal: no test" if np.isnan(p) else ""
    note = "; ".join(filter(None, (note, why)))
    return {
        "difference": difference,
        "p": p,
        "detectable": detectable,
        "compared_seeds": len(mine),
        "note": note,
    }


def by_clip(a: pd.DataFrame, b: pd.DataFrame) -> dict:
    """Two heads under one protocol on the test clips of all common seeds: only_this, only_other, mcnemar_p, flip_p.

    mcnemar_p treats clips as independent, though they come in groups and seeds test the same clips again;
    flip_p (`inference.sign_flip`) treats source videos as independent, and decides.
    """
    (a, b), _ = common(a, b)
    key = ["seed", "fold"]
    pairs = [
        (runs.predictions(row), runs.predictions(other))
        for (_, row), (_, other) in zip(
            a.sort_values(key).iterrows(), b.sort_values(key).iterrows(), strict=True
        )
    ]
    if not pairs:
        return {"only_this": 0, "only_other": 0, "mcnemar_p": np.nan, "flip_p": np.nan}
    flip, mcnemar = inference.sign_flip(*pairs), inference.mcnemar(*pairs)
    return {"only_this": flip.only_a, "only_other": flip.only_b, "mcnemar_p": mcnemar.p, "flip_p": flip.p}


def holm(p: Sequence[float]) -> np.ndarray:
    """Holm's correction of several p-values, in their order; NaN stays NaN and does not count."""
    p = np.asarray(p, dtype=float)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known])]
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return corrected


BASELINE, NO_POOL, OURS = "cnn_lstm", "context_lstm_no_pool", "context_lstm"
TABLE2 = (BASELINE, NO_POOL, OURS)  # in the order of the paper's Table 2
ORDERS = "context_lstm_bn_relu"  # the paper compares it in words only (section 4.4)

INTERVALS = (
    "Intervals are 95 %; the column `interval` says what they rest on: t over seeds, corrected where seeds split the same "
    "clips anew, or groups of the test clips. Official splits do not change with the seed: their t-intervals leave out the "
    "uncertainty about the test clips."
)
PAIRED = (
    "Differences are paired over common seeds; p and the interval are t, corrected where seeds split the same clips anew. "
    "`detectable` is the true difference that this many seeds detect in four out of five studies."
)
LATE = "`late` is the mean over the last third of the epochs: a single epoch says little."
BEST = "`best` is the best epoch on the test set itself, as in the paper, and therefore too high."


NO_GROUPS = (
    "This data set does not say which clips belong together: siblings and a split by group are unknown, and intervals "
    "over clips are too narrow where clips of one source look alike."
)


def of(rows: pd.DataFrame, model: str, protocol: str) -> pd.DataFrame:
    """The rows of one model under one protocol; empty where there are none."""
    return rows[(rows["model"] == model) & (rows["protocol"] == protocol)]


def study(rows: pd.DataFrame) -> str:
    """What the rows of a study share, in words: data, backbone, frames, hidden size, epochs."""
    row = rows.iloc[0]
    trained = rows.loc[rows["parameters"] > 0, "epochs"]
    length = f", {int(trained.iloc[0])} epochs" if len(trained) else ""
    return f"{row['dataset']}, {row['backbone']}, {frames(row)}, hidden {row['hidden_size']}{length}"


def frames(row: pd.Series) -> str:
    """The frames of a run in words, with the rule that picks them where there is more than one."""
    return "1 frame" if row["frames"] == 1 else f"{row['frames']} frames ({row['rule']})"
