"""The ledger: every claim of the paper, the rule that decides it, and what the records say (sections 3 and 4).

The rules are in `CLAIMS`. They were written before any run on the whole UCF101, except those of `needs_time`
and `split_measures_actions`, which say so. `judge` applies them and answers two separate questions: do the
paper's own printed numbers fit the claim, and did any study here reproduce it? The verdict comes from the
paper's numbers where they decide; otherwise from runs on the whole UCF101 in the paper's setting (for two
claims: on one frame per clip) or from cost records at the paper's sizes; without those it "cannot be told
yet". Other studies (stick figures, some real classes, own clips) are shown but never decide. If several sets
of runs or several machines could decide, they must not contradict each other. Claims about cost come in
pairs: was it observed, and can the head be the cause?
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd

from ctxlstm import paper
from ctxlstm.report import printed, rules, studies
from ctxlstm.report.rules import Finding, Study

STATUSES = {1: "holds", -1: "fails", 0: "cannot be told yet"}
PRINTED = {1: "consistent", -1: "contradicted", 0: "not printed"}  # what the paper's own numbers say
REPRODUCED = ("yes", "no", "partly", "cannot be told", "not run")  # partly: some studies say yes, others no
COLUMNS = [
    "claim", "section", "says", "test", "rule", "status", "printed", "reproduced", "evidence", "seen_here", "records",
    "would_settle",
]  # fmt: skip
# The runs of a study share these and their features (compared by digest where one cache serves all splits).
# These are the columns of the tables except features and groups, which follow or are checked below.
SETTING = [name for name in studies.SETTING if name not in ("features_digest", "groups")]
SETTING += ["batch_norm", "classes", "clips"]
NEEDED = [name for name in SETTING if name != "clips"] + [
    "run", "model", "protocol", "seed", "batch_size", "top1_best", "top1_late", "features_digest", "train_clips",
    "validation_clips", "test_clips",
]  # fmt: skip
NEEDED_COSTS = [
    *rules.PAPER_SIZES, "record", "model", "way", "device", "step_tflops", "weight_bytes", "gradient_bytes",
    "adam_bytes", "saved_bytes", "step_seconds", "measured_bytes", "epoch_seconds",
]  # fmt: skip

SWEEP = (
    "papermill papermill_runs/sweep.ipynb out.ipynb -p config ucf101_paper -p root /data/UCF101 "
    "-p results papermill_runs/results/ucf101_paper"
)
OFFICIAL = SWEEP.replace("ucf101_paper", "ucf101_official")
STILLS = SWEEP.replace("ucf101_paper", "ucf101_midframes").replace("/data/UCF101", "/data/midframes")
ABLATION = SWEEP.replace("sweep", "ablation")
BATCHES = SWEEP.replace("sweep", "batch_size")
COST = "papermill papermill_runs/cost.ipynb out.ipynb -p results papermill_runs/results/cost"
CONTEXT, BASELINE = ("context_lstm", ""), ("cnn_lstm", "")

_PAIRED = (
    "On the paper's split of the whole UCF101, paired over at least {seeds} common seeds: holds if the 95 % interval of "
    "{what} lies above +{tie} points; fails if it lies below -{tie}, or inside +-{tie}; otherwise cannot be told."
)
_OBSERVED = (
    "Online training on a GPU (frames through the CNN), hidden 512, 28 frames, batch 80: holds if {b} needs over "
    "{percent:.0f} % more than {a}, fails if {a} needs over {percent:.0f} % more than {b}, otherwise cannot be told."
)
_CAUSE = (
    "The head alone, trained on cached features, hidden 512, 28 frames, batch 80: holds if {b} needs over {percent:.0f} % "
    "more than {a}, fails if {a} needs over {percent:.0f} % more than {b}, otherwise cannot be told. GPU records decide "
    "where there are any; otherwise a CPU record does, if the {count} have the same sign."
)
BEST, LATE = "best top-1 of all epochs, %", "top-1, mean over the last third of the epochs, %"


@dataclass(frozen=True)
class Claim:
    """One claim: its section, what it says in our words, how it is tested, the functions that decide it."""

    id: str
    section: str
    says: str
    test: str
    rule: str
    command: str
    from_paper: Callable[[], Finding] | None = None  # the paper's own numbers, where they decide
    printed: Callable[[], Finding] | None = None  # whether these fit; never decides
    from_runs: Callable[[Study], Finding] | None = None
    from_costs: Callable[[pd.DataFrame], Finding] | None = None
    from_stills: Callable[[Study], Finding] | None = None  # runs on one frame of every clip of UCF101
    indication: Callable[[Study], Finding] | None = None  # what other studies show; never decides
    yardstick: Callable[[Study], Finding] | None = None  # what one frame of every clip shows; never decides


def _compared(
    id_, section, says, what, a, b, measure, command, *, gain=1, tie=rules.TIE, printed=None
) -> Claim:
    """A claim that side a is better than side b in one measure of their runs."""
    names = [" ".join(part for part in side if part) for side in (a, b)]
    compare = partial(rules.compare, a=a, b=b, measure=measure, what=what, gain=gain, tie=tie)
    difference = f"{names[0]} minus {names[1]}" if gain == 1 else f"{names[1]} minus {names[0]}"
    rule = _PAIRED.format(seeds=rules.SEEDS, what=difference, tie=tie)
    test = f"{what}: {names[0]} against {names[1]}, same seeds and splits"
    return Claim(
        id_, section, says, test, rule, command, printed=printed, from_runs=compare, indication=compare
    )


def _observed(id_, section, says, what, column, a, b) -> Claim:
    """A claim that training model a the paper's way costs less than training model b."""
    memory = column == "measured_bytes"
    margin = rules.MEMORY_MARGIN if memory else rules.TIME_MARGIN
    test = f"{what} of {a} and {b} on one machine; only the direction counts: the paper's hours and GB are its machine's"
    costs = partial(rules.observed, a=a, b=b, column=column, what=what, margin=margin)
    fits, kind = None, "memory_gb" if memory else "hours"
    table = paper.table2().set_index("model")[kind]
    if b in table:
        costs.keywords["printed"] = table[a] / table[b]
        fits = partial(printed.table_2, kind, a, b, -1)
    rule = _OBSERVED.format(a=a, b=b, percent=100 * margin)
    return Claim(id_, section, says, test, rule, COST, printed=fits, from_costs=costs)


def _cause(id_, section, says, what, column, a, b) -> Claim:
    """A claim that head a alone costs less than head b, so that the head can be the cause in training."""
    memory = column == "measured_bytes"
    margin = rules.MEMORY_MARGIN if memory else rules.TIME_MARGIN
    rule = _CAUSE.format(
        a=a, b=b, percent=100 * margin, count="predicted bytes of the head" if memory else "counted FLOPs"
    )
    test = f"{what} of the heads of {a} and {b} alone; the models differ in nothing else"
    costs = partial(rules.can_be_the_cause, a=a, b=b, column=column, what=what, margin=margin)
    return Claim(id_, section, says, test, rule, COST, from_costs=costs)


def _stays(id_, section, says, after) -> Claim:
    rule = (
        f"Fails if fewer cells of Table 1, in any order, reach 91.0 % than it has epochs after {after}. Otherwise runs "
        f"with at least {rules.SEEDS} seeds decide: holds if all seeds are above 91 % in at least {100 * rules.STAY:.0f} % "
        f"of the epochs {after + 1} to 300, fails if no seed is, otherwise cannot be told."
    )
    test = f"Table 1 after epoch {after}; then test top-1 of context_lstm, every epoch, whole UCF101, the paper's split"
    return Claim(
        id_, section, says, test, rule, SWEEP,
        from_paper=partial(printed.table_1_allows, 91.0, after), printed=partial(printed.fits_table_1, 91.0, after),
        from_runs=partial(rules.stays_above, level=91.0, after=after),
    )  # fmt: skip


_LEVEL = paper.RESULTS["best_top1"].value - rules.LEVEL_SLACK
_DECLINE = partial(
    rules.above_threshold,
    side=CONTEXT,
    measure=rules.late_slope,
    what="trend of the test top-1 over the last third of the epochs, points per 100 epochs",
    threshold=rules.DECLINE,
)

CLAIMS = (
    _compared(
        "accuracy_above_baseline", "4.3 a, Table 1", "Context-LSTM classifies better than ResNet-50 with a plain LSTM.",
        LATE, CONTEXT, BASELINE, rules.late, SWEEP,
        printed=partial(printed.table_2, "top1", "context_lstm", "cnn_lstm", 1),
    ),
    Claim(
        "best_92_2", "4.3, Tables 1 and 2", "The highest test accuracy of 300 epochs is 92.2 %.",
        "best-of-epochs top-1 of context_lstm on the paper's split of the whole UCF101",
        f"With at least {rules.SEEDS} seeds: holds if the 95 % interval of the mean lies above {_LEVEL:.1f} % (the printed "
        f"value less {rules.LEVEL_SLACK:.0f} point, two binomial standard errors of one run), fails if it lies below, "
        "otherwise cannot be told.",
        SWEEP, printed=printed.best_of_table_1,
        from_runs=partial(rules.above_threshold, side=CONTEXT, measure=rules.best, what=BEST, threshold=_LEVEL),
    ),
    _stays("stable_after_200", "4.3, Fig. 5", "After epoch 200 the accuracy stays above 91 %.", 200),
    _stays("stable_after_150", "4.3, text", "The accuracy already stays above 91 % after epoch 150.", 150),
    Claim(
        "no_overfitting", "4.3 d, 6", "The model does not over-fit.",
        "the gap between training and test set in loss and top-1, in the log of Fig. 4, then in runs (whether the test "
        "accuracy falls late is the claim no_late_decline)",
        f"Fails (overfitted) if the mean test loss is more than {rules.LOSS_RATIO:.0f} times the mean training loss and the "
        f"training top-1 more than {rules.TOP1_GAP:.0f} points above the test top-1; holds if neither is; cannot be told if one "
        f"is. The paper's log decides where it can, otherwise at least {rules.SEEDS} seeds that agree. The log was "
        "published and known when these limits were set.",
        SWEEP, from_paper=printed.log_overfits, from_runs=rules.no_overfitting, indication=rules.no_overfitting,
    ),
    Claim(
        "no_late_decline", "4.3 d", "Many more epochs do not harm the test accuracy.",
        "slope of the test top-1 of context_lstm over epochs 201 to 300, whole UCF101, the paper's split",
        f"With at least {rules.SEEDS} seeds: holds if the 95 % interval of the mean slope lies above {rules.DECLINE} points "
        "per 100 epochs (about one binomial standard error), fails if it lies below, otherwise cannot be told.",
        SWEEP, printed=printed.late_trend, from_runs=_DECLINE,
    ),
    _compared(
        "rises_faster", "3.2, Fig. 6", "The accuracy rises faster than the baseline's.",
        "test top-1 after a tenth of the epochs (epoch 30 at full size), %", CONTEXT, BASELINE,
        partial(rules.at_share, share=0.1), SWEEP, printed=printed.starts_higher,
    ),
    _compared(
        "steadier", "4.3, Fig. 6", "The accuracy jitters less than the baseline's.",
        "standard deviation of the test top-1 over the last third of the epochs, points", CONTEXT, BASELINE,
        rules.late_spread, SWEEP, gain=-1, tie=rules.SPREAD_TIE, printed=printed.late_jitter,
    ),
    _observed(
        "training_time", "4.3 b, Table 2", "Training takes less time than the baseline (55 instead of 93 hours).",
        "time per epoch", "epoch_seconds", "context_lstm", "cnn_lstm",
    ),
    _cause(
        "training_time_cause", "4.3 b", "The head alone takes less time than the baseline's, so it can be the cause.",
        "time per epoch", "epoch_seconds", "context_lstm", "cnn_lstm",
    ),
    _observed(
        "memory", "4.3 c, Table 2", "Training takes less GPU memory than the baseline (3.6 instead of 5.5 GB).",
        "memory added by training", "measured_bytes", "context_lstm", "cnn_lstm",
    ),
    _cause(
        "memory_cause", "4.3 c", "The head alone takes less memory than the baseline's, so it can be the cause.",
        "memory added by training", "measured_bytes", "context_lstm", "cnn_lstm",
    ),
    _observed(
        "more_layers_yet_faster", "4.3", "There are more LSTM layers, yet each iteration is faster.",
        "time per training step", "step_seconds", "context_lstm", "cnn_lstm",
    ),
    _compared(
        "max_pool_accuracy", "4.4, Table 2", "MaxPool is crucial: it raises the accuracy (91.0 to 92.2 %).",
        LATE, CONTEXT, ("context_lstm_no_pool", ""), rules.late, ABLATION,
        printed=partial(printed.table_2, "top1", "context_lstm", "context_lstm_no_pool", 1),
    ),
    _observed(
        "max_pool_time", "4.4, Table 2", "MaxPool shortens training (70 to 55 hours).",
        "time per epoch", "epoch_seconds", "context_lstm", "context_lstm_no_pool",
    ),
    _cause(
        "max_pool_time_cause", "4.4", "The head alone takes less time with MaxPool, so it can be the cause.",
        "time per epoch", "epoch_seconds", "context_lstm", "context_lstm_no_pool",
    ),
    _observed(
        "max_pool_memory", "4.4, Table 2", "MaxPool saves GPU memory (4.5 to 3.6 GB).",
        "memory added by training", "measured_bytes", "context_lstm", "context_lstm_no_pool",
    ),
    _cause(
        "max_pool_memory_cause", "4.4", "The head alone takes less memory with MaxPool, so it can be the cause.",
        "memory added by training", "measured_bytes", "context_lstm", "context_lstm_no_pool",
    ),
    _compared(
        "relu_bn_accuracy", "4.4", "ReLU before BatchNorm is more accurate than after it.",
        LATE, CONTEXT, ("context_lstm_bn_relu", ""), rules.late, ABLATION,
    ),
    _observed(
        "relu_bn_time", "4.4", "ReLU before BatchNorm trains faster than after it.",
        "time per epoch", "epoch_seconds", "context_lstm", "context_lstm_bn_relu",
    ),
    _cause(
        "relu_bn_time_cause", "4.4", "The head alone takes less time with ReLU first, so it can be the cause.",
        "time per epoch", "epoch_seconds", "context_lstm", "context_lstm_bn_relu",
    ),
    _compared(
        "handover", "3.3, 3.4", "Handing the states (h, c) from block to block helps.",
        LATE, CONTEXT, ("context_lstm", "handover=none"), rules.late, ABLATION,
    ),
    Claim(
        "larger_batch", "4.2", "A larger batch raises the test accuracy.",
        "top-1 of context_lstm (mean over the last third of the epochs) at three or more batch sizes, fitted over log2(batch)",
        _PAIRED.format(
            seeds=rules.SEEDS, what="the fitted change from the smallest to the largest batch", tie=rules.TIE
        ),
        BATCHES, from_runs=rules.batch_trend, indication=rules.batch_trend,
    ),
    Claim(
        "state_of_the_art", "Abstract, 4.3 a, 6", "The accuracy is the highest published on the whole validation set.",
        "the printed 92.2 % and earlier publications, if they share a protocol",
        "Cannot be told while the paper's number is for a random split and the others are for the official ones: numbers "
        "under two protocols are not comparable, so the claim neither holds nor fails by them.",
        OFFICIAL, from_paper=printed.beside_earlier, yardstick=rules.look_up_level,
    ),
    Claim(
        "needs_time", "4.3", "Reaching 92.2 % on the random split needs a model that reads time (our wording).",
        "top-1 of nearest_neighbour and mean_linear on one frame of every clip of UCF101, the paper's split",
        f"With at least {rules.SEEDS} seeds: fails if the 95 % interval of either mean lies above 92.2 %, holds if both lie "
        f"below {paper.RESULTS['best_top1'].value - rules.TIE:.1f} %, otherwise cannot be told. Written "
        "during these runs, when the figures of a trial run were known.",
        STILLS, from_stills=rules.needs_time,
    ),
    Claim(
        "split_measures_actions", "4.2", "Accuracy on the random split measures the recognition of actions (also our wording).",
        "drop of nearest_neighbour's top-1 on one frame per clip from the random split to the split by source video",
        f"Paired over at least {rules.SEEDS} seeds: fails if the 95 % interval of the drop lies above {rules.FALL:.0f} points, "
        f"holds if it lies below {rules.STEADY:.0f}, otherwise cannot be told. Written during these runs, when the figures "
        "of a trial run were known.",
        STILLS, from_stills=rules.split_measures_actions,
    ),
    Claim(
        "whole_validation_set", "4.3, Table 1", "The whole validation set is tested, not selected clips or frames.",
        "what the paper prints about test clips and frames per clip",
        "Holds if it prints that all test clips and all their frames are read, fails if it prints fewer of either, cannot be "
        "told if either is not stated.",
        "no run can: the authors' number of frames per clip would", from_paper=printed.whole_clips,
    ),
)  # fmt: skip


def judge(records: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Decide every claim from these records: one row per claim, in the order of `CLAIMS`.

    Args:
        records: runs as returned by `runs.load`, from any number of studies; may be empty.
        costs: cost records as returned by `cost.records.load`; may be empty.

    Returns:
        Columns claim, section, says, test, rule, status (holds, fails, cannot be told yet), printed (do the paper's own
        numbers fit: `PRINTED`), reproduced (by the studies here: `REPRODUCED`), evidence, seen_here (every study that does
        not decide, its setting, and what it shows), records (what the verdict rests on), would_settle (a command; empty if
        decided).

    Raises:
        ValueError: a column is missing, or two different records claim to be the same run.
    """
    _check("run", records, NEEDED)
    _check("cost", costs, NEEDED_COSTS)
    sets = _studies(records)
    rows = []
    for claim in CLAIMS:
        finding, measured = _decide(claim, sets, costs)
        # One frame has no order to read: that study decides its own claims and says nothing about the others.
        small = [study for study in sets if not study.full and (study.rows["frames"] > 1).all()]
        seen = _shown(claim.indication, small)
        asked = claim.printed or claim.from_paper
        says = asked() if asked else Finding(0, "")
        evidence = finding.text if says.text in finding.text else f"{finding.text}; {says.text}"
        verdict = {
            "claim": claim.id,
            "status": STATUSES[finding.sign],
            "printed": says.word or PRINTED[says.sign],
            "reproduced": _reproduced([*measured, *(found for _, found in seen)]),
            "evidence": f"{evidence[0].upper()}{evidence[1:]}.",
            "seen_here": _indication(seen, _shown(claim.yardstick, _of_stills(sets))),
            "records": list(finding.records),
            "would_settle": "" if finding.sign else claim.command,
        }
        rows.append(verdict | {name: getattr(claim, name) for name in ("section", "says", "test", "rule")})
    return pd.DataFrame(rows, columns=COLUMNS)


def _check(kind: str, table: pd.DataFrame, needed: list[str]) -> None:
    if table.empty:
        return
    if missing := [name for name in needed if name not in table.columns]:
        raise ValueError(
            f"the {kind} records lack {', '.join(missing)}: make them with this version of the notebooks"
        )
    if kind == "run" and (gaps := table[needed].isna()).any(axis=None):
        row = gaps.any(axis=1).to_numpy().argmax()
        names = ", ".join(gaps.columns[gaps.iloc[row]])
        raise ValueError(f"the run record {table['run'].iloc[row]} lacks {names}: remove it and run again")


def _decide(claim: Claim, sets: list[Study], costs: pd.DataFrame) -> tuple[Finding, list[Finding]]:
    """The verdict, first from the paper's own numbers, then from runs or costs; and what was measured."""
    if claim.from_costs:
        found = claim.from_costs(costs)
        return found, [found]
    if claim.from_stills:
        found = [claim.from_stills(study) for study in _of_stills(sets)]
        text = "; ".join(finding.text for finding in found) or "no run on one frame of every clip of UCF101"
        return _agreed(found, text), found
    paper_says = claim.from_paper() if claim.from_paper else None
    if not claim.from_runs:
        assert paper_says is not None
        return paper_says, []
    full = [study for study in sets if study.full]
    found = [claim.from_runs(study) for study in full]
    texts = [f"{study.name}: {finding.text}" for study, finding in zip(full, found, strict=True)]
    if len(full) > 1:
        texts.insert(0, f"{len(full)} sets of runs with different features or settings, judged separately")
    runs = _agreed(found, "; ".join(texts) or "there is no run on the whole UCF101 in the paper's setting")
    if paper_says is None:
        return runs, found
    if paper_says.sign:
        text = f"{paper_says.text}; {runs.text}" if full else paper_says.text
        return Finding(paper_says.sign, text, paper_says.records), found
    return Finding(runs.sign, f"{paper_says.text}; {runs.text}", (*paper_says.records, *runs.records)), found


def _reproduced(found: list[Finding]) -> str:
    """One word of `REPRODUCED` for all findings that rest on a record."""
    signs = {finding.sign for finding in found if finding.records}
    if not signs:
        return "not run"
    return {(): "cannot be told", (1,): "yes", (-1,): "no", (-1, 1): "partly"}[tuple(sorted(signs - {0}))]


def _agreed(found: list[Finding], text: str) -> Finding:
    """What the findings agree on, or that nothing can be told; a finding without records does not count."""
    signs = {finding.sign for finding in found if finding.records}
    used = sorted({run for finding in found for run in finding.records})
    return Finding(signs.pop() if len(signs) == 1 else 0, text, tuple(used))


def _of_stills(sets: list[Study]) -> list[Study]:
    """The sets of runs on one frame per clip; the look-up has no epochs and joins those of its features."""
    stills = [study for study in sets if study.stills]
    trained = [study for study in stills if set(study.rows["model"]) != {rules.LOOK_UP}]
    alone = [study for study in stills if set(study.rows["model"]) == {rules.LOOK_UP}]
    joined = [
        pd.concat([study.rows, *(other.rows for other in alone if _digest(other) == _digest(study))])
        for study in trained
    ]
    left = [study for study in alone if _digest(study) not in map(_digest, trained)]
    return [*(Study("one frame of every clip of UCF101", False, rows) for rows in joined), *left]


def _digest(study: Study) -> str:
    return str(study.rows["features_digest"].iloc[0])


def _shown(ask: Callable[[Study], Finding] | None, sets: list[Study]) -> list[tuple[Study, Finding]]:
    """What the studies that never decide show, where they have the runs in question."""
    found = [(study, ask(study)) for study in sets] if ask else []
    return [(study, finding) for study, finding in found if finding.records]


def _indication(seen: list[tuple[Study, Finding]], yardsticks: list[tuple[Study, Finding]]) -> str:
    words = {1: "yes", -1: "no", 0: "cannot be told"}
    texts = [f"{study.name}: {words[finding.sign]}, {finding.text}" for study, finding in seen]
    texts += [f"{study.name}: {finding.text}" for study, finding in yardsticks]
    return f"Not the paper's setting, so only an indication: {'; '.join(texts)}." if texts else ""


def _studies(records: pd.DataFrame) -> list[Study]:
    """The records grouped by features and setting, ordered by name; copies of a record count once."""
    if records.empty:
        return []
    table = records.sort_values("run", kind="stable").drop_duplicates("run")
    table = table.assign(
        clips=table[["train_clips", "validation_clips", "test_clips"]].sum(axis=1),
        embedding=table["embedding"].map(str),
        variant=table["variant"].fillna("") if "variant" in table else "",
        # the BatchNorm modes other than imagenet depend on the training set: every split has its own features
        features=table["features_digest"].where(~table["batch_norm"].isin(studies.OWN_FEATURES), ""),
    )
    groups = [rows for _, rows in table.groupby([*SETTING, "features"], dropna=False)]
    return sorted(
        (_study(rows) for rows in groups), key=lambda study: (study.name, study.rows["run"].iloc[0])
    )


def _study(rows: pd.DataFrame) -> Study:
    first = rows.iloc[0]
    full = all(first[name] == value for name, value in rules.FULL.items())
    if full:
        name = f"the whole UCF101 ({first['batch_norm']} BatchNorm, {first['frames']} frames)"
        return Study(name, full, rows)
    if first["dataset"] == "stickfigures":
        data = "stick figures (synthetic"
    elif first["dataset"] != rules.FULL["dataset"]:
        data = f"{first['dataset']} (another data set"
    elif first["classes"] < rules.FULL["classes"] or first["clips"] < rules.FULL["clips"]:
        data = "a subset of UCF101 (real"
    else:
        data = "the whole UCF101 in another setting (real"
    setting = f"{first['batch_norm']} BatchNorm, {studies.frames(first)}, hidden {first['hidden_size']}"
    size = f"{first['classes']} classes, {first['clips']:,} clips, {first['epochs']} epochs"
    return Study(f"{data}, {size}, {first['backbone']}, {setting})", full, rows)
