"""The rules of the ledger: from run records or cost records to a finding (section 4.3).

Every rule has three outcomes: the claim holds (+1), it fails (-1), or nothing can be told (0). The constants
below are the limits that decide. They were fixed before any run on the whole UCF101, except FALL and STEADY,
which were fixed during the runs on one frame of every clip. Differences in accuracy are in percentage points.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from ctxlstm import evaluation, inference, paper
from ctxlstm.experiments import runs
from ctxlstm.report import studies

SEEDS = 5  # fewest common seeds for a comparison
# Points, half the smallest effect claimed (91.0 to 92.2): only a difference beyond +-TIE counts, and an
# interval inside +-TIE means "no difference".
TIE = 0.6
FALL, STEADY = 10.0, 2.0  # points that a look-up loses without siblings: a lot, next to nothing
SPREAD_TIE = 0.1  # points: TIE for the spread of an accuracy over epochs
LEVEL_SLACK = 1.0  # points: two binomial standard errors of one published run (3,330 clips: 0.46 each)
DECLINE = -0.5  # points per 100 epochs: about one such error
STAY = 0.95  # share of the late epochs that must lie above the level
LOSS_RATIO, TOP1_GAP = 2.0, 5.0  # overfitting: test over training loss; training less test top-1 in points
TIME_MARGIN, MEMORY_MARGIN = 0.05, 0.02  # step times vary from run to run, bytes hardly

# The paper's setting (configs/ucf101_paper.yaml): what it prints or, where it is silent, its public code
# base; only the BatchNorm mode is left open. Runs in any other setting never decide.
FULL = {
    "dataset": "ucf101",
    "classes": paper.DATA["classes"].value,
    "clips": paper.DATA["clips"].value,
    "backbone": "resnet50",
    "hidden_size": paper.SETTINGS["hidden_size"].value,
    "embedding": "[1024, 768, 512]",
    "frames": 28,
    "rule": "first",
    "size": 224,
    "epochs": paper.SETTINGS["epochs"].value,
    "learning_rate": paper.SETTINGS["learning_rate"].value,
    "validation": 0,
}
# One frame of every clip (configs/ucf101_midframes.yaml): what the random split is worth before any time is read.
STILLS = {name: FULL[name] for name in ("dataset", "classes", "clips")} | {"frames": 1}
LOOK_UP, LINEAR = "nearest_neighbour", "mean_linear"  # neither uses the order of the frames
PAPER_BATCH = paper.SETTINGS["batch_size"].value
PAPER_SIZES = {
    **{name: FULL[name] for name in ("hidden_size", "embedding", "frames", "size")},
    "batch_size": PAPER_BATCH,
}
Side = tuple[str, str]  # model and variant of the runs on one side of a comparison
Measure = Callable[[pd.Series], float]  # one number of a run, from its row


@dataclass(frozen=True)
class Finding:
    """Outcome of a rule: sign (1 holds, -1 fails, 0 cannot be told), numbers in words, records used."""

    sign: int
    text: str
    records: tuple[str, ...] = ()
    word: str = ""  # what the sign is called where the usual word would be wrong


@dataclass(frozen=True)
class Study:
    """Runs with the same features and setting: a name in words, whether at the paper's full size, rows."""

    name: str
    full: bool
    rows: pd.DataFrame

    @property
    def stills(self) -> bool:
        """Whether this is one frame of every clip of UCF101."""
        return all(self.rows.iloc[0][name] == value for name, value in STILLS.items())

    @property
    def batch_size(self) -> int:
        """The paper's at full size, otherwise the most common one of the study (the smaller on a tie)."""
        return PAPER_BATCH if self.full else int(self.rows["batch_size"].mode().min())

    def select(self, side: Side, batch_size: int | None = None, protocol: str = "paper") -> pd.DataFrame:
        """The rows of one side under one protocol (default: the paper's), one per seed, indexed by seed.

        Raises ValueError if two different runs claim to be the same one.
        """
        model, variant = side
        rows = self.rows[(self.rows["model"] == model) & (self.rows["variant"] == variant)]
        rows = rows[(rows["protocol"] == protocol) & (rows["batch_size"] == (batch_size or self.batch_size))]
        if (twice := rows["seed"].duplicated(keep=False)).any():
            names = ", ".join(sorted(rows.loc[twice, "run"]))
            raise ValueError(f"{names} are different records of the same model and seed: keep one of them")
        return rows.set_index("seed").sort_index()


# Measures: one number per run.


def best(row: pd.Series) -> float:
    """Highest test top-1 of all epochs in per cent: how the paper measures (Table 1, last column)."""
    return 100 * row["top1_best"]


def late(row: pd.Series) -> float:
    """Test top-1 in per cent, mean over the last third of the epochs: it selects none (`evaluation.late`)."""
    return 100 * row["top1_late"]


def history(row: pd.Series) -> pd.DataFrame:
    """The epochs of a run; empty if its record is missing."""
    try:
        return runs.history(row) if "folder" in row else pd.DataFrame()
    except FileNotFoundError:
        return pd.DataFrame()


def at_share(row: pd.Series, share: float) -> float:
    """Test top-1 in per cent after this share of the epochs (0.1: epoch 30 of 300)."""
    table = history(row)
    found = table[table["epoch"] == round(share * row["epochs"])] if len(table) else table
    return 100 * found["test_top1"].iloc[0] if len(found) else np.nan


def _late(row: pd.Series) -> pd.DataFrame:
    table = history(row)
    return table[table["epoch"] > 2 * row["epochs"] / 3] if len(table) else table


def late_spread(row: pd.Series) -> float:
    """Standard deviation of the test top-1 over the last third of the epochs, in points."""
    table = _late(row)
    return 100 * table["test_top1"].std() if len(table) > 2 else np.nan


def late_slope(row: pd.Series) -> float:
    """Trend of the test top-1 over the last third of the epochs, in points per 100 epochs."""
    if len(_late(row)) < 3:
        return np.nan
    return evaluation.overfitting(history(row), int(2 * row["epochs"] / 3)).slope


def share_above(row: pd.Series, level: float, after: int) -> float:
    """Share of the epochs after `after` whose test top-1 is above `level` per cent."""
    table = history(row)
    table = table[table["epoch"] > after] if len(table) else table
    return float((100 * table["test_top1"] > level).mean()) if len(table) else np.nan


# Rules on the runs of one study.


def _measured(rows: pd.DataFrame, measure: Measure) -> dict[int, float]:
    values = {int(seed): float(measure(row)) for seed, row in rows.iterrows()}
    return {seed: value for seed, value in values.items() if np.isfinite(value)}


def direction(low: float, high: float, tie: float) -> int:
    """1 if the interval lies above +tie, -1 if below -tie or within +-tie, otherwise (or without one) 0."""
    if low > tie:
        return 1
    return -1 if high < -tie or (low >= -tie and high <= tie) else 0


def _interval(values: list[float], overlap: float, *, difference: bool = True) -> tuple[float, float, str]:
    """The interval of the mean over seeds: low, high (NaN if there is none), and both in words.

    For a difference, the words also say how large a true one this many seeds would detect.
    """
    if len(values) < 2:
        return np.nan, np.nan, f"no interval with {len(values)} seed{'' if len(values) == 1 else 's'}"
    found = inference.over_seeds(values, overlap=overlap)
    if np.isnan(found.low):
        return np.nan, np.nan, f"no interval: {found.seeds} seeds with the same value"
    text = f"95 % interval {found.low:+.2f} to {found.high:+.2f} over {found.seeds} seeds"
    power = f", which would detect a true difference of {found.detectable:.2f}" if difference else ""
    return found.low, found.high, text + power


def compare(
    study: Study, a: Side, b: Side, measure: Measure, what: str, *, gain: int = 1, tie: float = TIE
) -> Finding:
    """Is side a better than side b? Paired over the seeds that both have; gain -1 where less is better."""
    rows_a, rows_b = study.select(a), study.select(b)
    values_a, values_b = _measured(rows_a, measure), _measured(rows_b, measure)
    common = sorted(values_a.keys() & values_b.keys())
    names = [", ".join(part for part in side if part) for side in (a, b)]
    gaps = [
        f"seed {seed} of {name} is missing and was left out"
        for name, mine, other in zip(names, (values_a, values_b), (values_b, values_a), strict=True)
        for seed in sorted(other.keys() - mine.keys())
    ]
    if not common:
        return Finding(0, f"no seed with both {names[0]} and {names[1]}")
    values_a, values_b = ({seed: v[seed] for seed in common} for v in (values_a, values_b))
    means = [np.mean(list(values.values())) for values in (values_a, values_b)]
    low, high, words = _interval(
        [values_a[seed] - values_b[seed] for seed in common], studies.overlap(rows_a)
    )
    text = f"{what}: {names[0]} {means[0]:.2f}, {names[1]} {means[1]:.2f}, difference {means[0] - means[1]:+.2f} ({words})"
    sign = direction(*sorted((gain * low, gain * high)), tie) if len(common) >= SEEDS else 0
    return Finding(sign, "; ".join([text, *gaps]), (*rows_a.loc[common, "run"], *rows_b.loc[common, "run"]))


def above_threshold(study: Study, side: Side, measure: Measure, what: str, threshold: float) -> Finding:
    """Does the interval of the mean over seeds lie above the threshold (1) or below it (-1)?"""
    rows = study.select(side)
    values = _measured(rows, measure)
    if not values:
        return Finding(0, f"no run of {side[0]}")
    low, high, words = _interval(list(values.values()), studies.overlap(rows), difference=False)
    sign = (low > threshold) - (high < threshold) if len(values) >= SEEDS else 0
    text = f"{what}: {side[0]} mean {np.mean(list(values.values())):.2f} ({words.replace('+', '')})"
    return Finding(int(sign), text, tuple(rows.loc[list(values), "run"]))


def stays_above(study: Study, level: float, after: int) -> Finding:
    """Does context_lstm stay above the level after an epoch, in all seeds (1) or in none (-1)?"""
    rows = study.select(("context_lstm", ""))
    shares = _measured(rows, partial(share_above, level=level, after=after))
    if not shares:
        return Finding(0, f"no run of context_lstm with epochs after {after}")
    stay = [share >= STAY for share in shares.values()]
    sign = (all(stay) - (not any(stay))) if len(stay) >= SEEDS else 0
    text = (
        f"{sum(stay)} of {len(stay)} seeds stay above {level} % in at least {100 * STAY:.0f} % of the epochs after {after} "
        f"(shares {', '.join(f'{share:.0%}' for share in shares.values())})"
    )
    return Finding(sign, text, tuple(rows.loc[list(shares), "run"]))


def overfit_sign(ratio: float, gap: float) -> int:
    """-1 if overfitted (loss ratio and top-1 gap both above their limits), 1 if both are within, else 0."""
    return 1 - (ratio > LOSS_RATIO) - (gap > TOP1_GAP)


def no_overfitting(study: Study) -> Finding:
    """The gap between training and test set over the last third of the epochs; all seeds must agree."""
    rows = study.select(("context_lstm", ""))
    found = {}
    for seed, row in rows.iterrows():
        late = _late(row)
        if len(late):
            mean = late[["train_loss", "test_loss", "train_top1", "test_top1"]].mean()
            ratio = mean["test_loss"] / max(mean["train_loss"], 1e-12)
            found[seed] = ratio, 100 * (mean["train_top1"] - mean["test_top1"])
    if not found:
        return Finding(0, "no run of context_lstm with its history")
    signs = {overfit_sign(*values) for values in found.values()}
    ratio, gap = np.median(list(found.values()), axis=0)
    text = (
        f"over the last third of the epochs the test loss is {ratio:.1f} times the training loss and the training "
        f"top-1 {gap:.1f} points above the test top-1 (medians over seeds: {len(found)})"
    )
    sign = signs.pop() if len(signs) == 1 and len(found) >= SEEDS else 0
    return Finding(sign, text, tuple(rows.loc[list(found), "run"]))


def batch_trend(study: Study) -> Finding:
    """Does the late top-1 of context_lstm grow with the batch? A straight line over log2(batch) for every seed."""
    side = ("context_lstm", "")
    rows = study.rows[(study.rows["model"] == side[0]) & (study.rows["variant"] == side[1])]
    sizes = sorted(int(b) for b in rows.loc[rows["protocol"] == "paper", "batch_size"].unique())
    tables = {size: study.select(side, size) for size in sizes}
    if len(sizes) < 3:
        return Finding(0, f"batch sizes of context_lstm: {len(sizes)}, but a trend needs three")
    values = {size: _measured(table, late) for size, table in tables.items()}
    seeds = set.union(*(set(v) for v in values.values()))
    whole = sorted(seed for seed in seeds if all(seed in v for v in values.values()))
    gaps = [f"seed {seed} lacks a batch size and was left out" for seed in sorted(seeds - set(whole))]
    doublings = np.log2(sizes)
    change = {
        seed: float(np.polyfit(doublings, [values[size][seed] for size in sizes], 1)[0] * np.ptp(doublings))
        for seed in whole
    }
    if not change:
        return Finding(0, "; ".join(["no seed was trained with every batch size", *gaps]))
    low, high, words = _interval(list(change.values()), studies.overlap(rows[rows["protocol"] == "paper"]))
    mean = np.mean(list(change.values()))
    text = (
        f"fitted change of the late top-1 from batch {sizes[0]} to {sizes[-1]}: {mean:+.2f} points ({words})"
    )
    used = tuple(run for table in tables.values() for run in table.loc[whole, "run"])
    return Finding(direction(low, high, TIE) if len(whole) >= SEEDS else 0, "; ".join([text, *gaps]), used)


# Rules on one frame of every clip.


def needs_time(study: Study) -> Finding:
    """Does 92.2 % need more than one frame? No (-1) if a look-up or linear layer on one surely exceeds it."""
    printed = paper.RESULTS["best_top1"].value
    above, below = (
        [
            above_threshold(study, (model, ""), late, "one frame per clip, top-1 in %", level)
            for model in (LOOK_UP, LINEAR)
        ]
        for level in (printed, printed - TIE)
    )
    no, yes = any(found.sign > 0 for found in above), all(found.sign < 0 for found in below)
    return Finding(
        int(yes) - int(no),
        "; ".join(found.text for found in above),
        sum((found.records for found in above), ()),
    )


def look_up_level(study: Study) -> Finding:
    """Top-1 of looking up the most similar picture on the paper's split: a yardstick, not a verdict."""
    finding = above_threshold(
        study, (LOOK_UP, ""), late, "one frame per clip, nothing trained, top-1 in %", 0
    )
    return Finding(0, finding.text, finding.records)


def split_measures_actions(study: Study) -> Finding:
    """Does a look-up of the nearest frame lose little (1) or a lot (-1) without siblings in training?"""
    random, grouped = (study.select((LOOK_UP, ""), protocol=protocol) for protocol in ("paper", "grouped"))
    common = sorted(set(random.index) & set(grouped.index))
    if len(common) < 2:
        return Finding(
            0, f"fewer than two seeds of {LOOK_UP} on both the random split and the split by source video"
        )
    values = [100 * float(random.loc[seed, "top1_late"] - grouped.loc[seed, "top1_late"]) for seed in common]
    low, high, words = _interval(values, studies.overlap(random.loc[common]))
    sign = int(high < STEADY) - int(low > FALL) if len(common) >= SEEDS else 0
    means = [100 * rows.loc[common, "top1_late"].mean() for rows in (random, grouped)]
    text = f"{LOOK_UP}, one frame per clip: {means[0]:.1f} % on the random split, {means[1]:.1f} % by source video ({words})"
    if missing := sorted(set(random.index) ^ set(grouped.index)):
        text += f"; without seeds that one split lacks: {', '.join(map(str, missing))}"
    return Finding(sign, text, (*random.loc[common, "run"], *grouped.loc[common, "run"]))


# Rules on cost records.


def observed(
    costs: pd.DataFrame, a: str, b: str, column: str, what: str, margin: float, printed: float | None = None
) -> Finding:
    """Was training a seen to cost less than training b, the paper's way (frames through the CNN, on a GPU)?

    `printed`: the paper's own ratio, for the text only.
    """
    found = [item for item in _ratios(costs, a, b, column, "online") if not item.cpu]
    finding = _all_cheaper(found, what, margin) or Finding(
        0, f"no cost record of online training on a GPU, at the paper's sizes, with both {a} and {b}"
    )
    if not printed:
        return finding
    return Finding(finding.sign, f"{finding.text}; the paper prints {printed:.2f} times", finding.records)


def can_be_the_cause(costs: pd.DataFrame, a: str, b: str, column: str, what: str, margin: float) -> Finding:
    """Does head a alone, on cached features, cost less than head b? The models differ in nothing else.

    GPU records decide where there are any. On a CPU, counted FLOPs or bytes must have the measurement's sign.
    """
    found = _ratios(costs, a, b, column, "cached")
    found = [item for item in found if not item.cpu] or found
    none = f"no cost record of the heads alone, at the paper's sizes, with both {a} and {b}"
    return _all_cheaper(found, what, margin) or Finding(0, none)


@dataclass(frozen=True)
class _Ratio:
    """The ratios a / b of two models in one record and one way of training, measured and counted."""

    record: str
    device: str
    way: str
    measured: float
    counted: float

    @property
    def cpu(self) -> bool:
        """Whether it was measured on a CPU, while the paper's claim is about a GPU."""
        return self.device.lower().startswith("cpu")


def _ratios(costs: pd.DataFrame, a: str, b: str, column: str, way: str) -> list[_Ratio]:
    rows = costs[(costs[list(PAPER_SIZES)] == pd.Series(PAPER_SIZES)).all(axis=1)] if len(costs) else costs
    if rows.empty:
        return []
    counted = ["weight_bytes", "gradient_bytes", "adam_bytes", "saved_bytes"]
    rows = rows.assign(
        measured=rows[column].astype("float64"),  # NaN where not measured
        count=rows[counted].sum(axis=1) if column == "measured_bytes" else rows["step_tflops"],
    )
    rows = rows[rows["model"].isin([a, b]) & (rows["way"] == way) & (rows["measured"] > 0)]
    found = []
    for (record, device), part in rows.groupby(["record", "device"]):
        mean = part.groupby("model")[["measured", "count"]].mean()
        if {a, b} <= set(mean.index):
            ratio = mean.loc[a] / mean.loc[b]
            found.append(_Ratio(record, device, way, ratio["measured"], ratio["count"]))
    return found


def _all_cheaper(found: list[_Ratio], what: str, margin: float) -> Finding | None:
    """What all records agree on; None without records."""
    if not found:
        return None
    signs, texts = set(), []
    for item in found:
        sign = _cheaper_sign(item.measured, margin)
        signs.add(0 if item.cpu and sign != _cheaper_sign(item.counted, margin) else sign)
        note = ", a CPU, while the claim is about a GPU" if item.cpu else ""
        said = f"{what} is {item.measured:.2f} times ({item.way}) that of the other, {item.counted:.2f} times by count"
        texts.append(f"record {item.record} ({item.device}{note}): {said}")
    sign = signs.pop() if len(signs) == 1 else 0
    return Finding(sign, "; ".join(texts), tuple(f"cost/{item.record}" for item in found))


def _cheaper_sign(ratio: float, margin: float) -> int:
    """1 if the other costs more by the margin, -1 if this one does; swapping the two flips the sign."""
    return int(1 / ratio > 1 + margin) - int(ratio > 1 + margin)
