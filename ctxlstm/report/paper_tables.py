"""The tables of the report, from run records alone (paper sections 4.3 and 4.4, Tables 1 and 2, Fig. 4).

Every function takes the table of `runs.load` for one study and returns a `Table`; records with different
features or settings are rejected (`studies.one_study`). Accuracies are fractions in the frame;
`text.readable` shows them in per cent. Columns `x_low` and `x_high` are the 95 % interval of the column `x`
before them.
"""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from ctxlstm import paper
from ctxlstm.experiments import runs
from ctxlstm.report import studies
from ctxlstm.report.studies import BASELINE, BEST, INTERVALS, ORDERS, OURS, TABLE2, of, study
from ctxlstm.report.table import Interval, Table

RELATED_WORK = Path(__file__).with_name("related_work.csv")
TENTHS = len(paper.EPOCHS)


def tenth_epochs(epochs: int) -> list[int | None]:
    """Our epoch for each column of Table 1: the last one within that tenth of the training, or None.

    The paper's epochs 30, 60, ..., 300 are tenths of its 300; with 30 epochs ours are 3, 6, ..., 30.
    """
    ends = [k * epochs // TENTHS for k in range(TENTHS + 1)]
    return [end if end > before else None for before, end in pairwise(ends)]


def _cell(found: Interval) -> str:
    if np.isnan(found.mean):
        return ""
    ends = "" if np.isnan(found.low) else f" ({100 * found.low:.1f}–{100 * found.high:.1f})"
    return f"{100 * found.mean:.1f}{ends}"


def table1(records: pd.DataFrame, protocol: str = "paper") -> Table:
    """Table 1 in the paper's form: its rows, then ours (mean and interval over seeds), top-1 in per cent as text.

    Columns row, the paper's epochs as text ("30" ... "300"), best, chosen (by validation, ours only), seeds,
    folds, interval. Reconstructed cells of the paper end in †. If our training has another length, the row
    "our epoch" says which of our epochs each column holds.
    """
    rows = studies.usual(records)
    lines = _table1_of_the_paper()
    heads = {model: of(rows, model, protocol) for model in (BASELINE, OURS, *TABLE2, ORDERS)}
    heads = {model: own for model, own in heads.items() if len(own)}
    if heads:
        epochs = int(next(iter(heads.values()))["epochs"].iloc[0])
        ours = dict(zip(map(str, paper.EPOCHS), tenth_epochs(epochs), strict=True))
        if epochs != paper.EPOCHS[-1]:
            header = {column: "" if epoch is None else str(epoch) for column, epoch in ours.items()}
            lines.append({"row": "our epoch"} | header | dict.fromkeys(("best", "chosen"), f"of {epochs}"))
    for model, own in heads.items():
        curves, found = studies.histories(own, "test_top1"), studies.scores(own)  # (epochs, seeds)
        shared = studies.overlap(own)
        at = {
            epoch: studies.mean_interval(curves.loc[epoch], overlap=shared)
            for epoch in filter(None, ours.values())
        }
        at |= {None: Interval(np.nan), epochs: found["last"]}
        found |= {column: at[epoch] for column, epoch in ours.items()}
        cells = {
            name: _cell(value) if isinstance(value, Interval) else value for name, value in found.items()
        }
        lines.append({"row": f"ours: {model}"} | cells)
    columns = [
        "row",
        *map(str, paper.EPOCHS),
        "best",
        "chosen",
        *(("seeds", "folds", "interval") if heads else ()),
    ]
    table = Table.of(
        lines,
        "Top-1 in per cent. †: printed in the paper, but the epoch it belongs to is our reading.",
        f"Ours: {study(rows)}, protocol {protocol}; mean (95 % interval) over seeds. The paper: one run on all of UCF101.",
        BEST + " `chosen` is the epoch chosen on a validation set.",
        columns=columns,
    )
    return replace(table, frame=table.frame.astype({"seeds": "Int64"})) if heads else table


def _table1_of_the_paper() -> list[dict]:
    lines = []
    for name, own in paper.table1().groupby("row", sort=False):
        line = dict.fromkeys([*map(str, paper.EPOCHS), "best", "chosen"], "")
        line["row"] = "paper: " + ("Context-LSTM" if name == paper.OURS else name)
        for _, cell in own.iterrows():
            column = "best" if pd.isna(cell["epoch"]) else str(cell["epoch"])
            line[column] = f"{cell['top1']:.1f}" + "†" * (cell["status"] == "reconstructed")
        lines.append(line)
    return lines


def table2(records: pd.DataFrame, costs: pd.DataFrame | None = None, protocol: str = "paper") -> Table:
    """Table 2: accuracy, hours for 300 epochs and GB of the three models, the paper's beside ours.

    `costs` is the table of `cost.records.load`; a model has a row for each record that measured it. Our cells
    are empty where there is no run or no cost record. Columns model, paper_best, best, chosen, late, last
    (these with low and high), seeds, folds, interval, paper_hours, hours_cached, hours_online, paper_gb,
    gb_cached, gb_online (what training added), process_gb_cached, process_gb_online (all that the process
    held), cost_of.
    """
    rows = studies.usual(records)
    columns = [
        "model",
        "paper_best",
        "best",
        "chosen",
        "late",
        "last",
        "seeds",
        "folds",
        "interval",
        "paper_hours",
    ]
    columns += ["hours_cached", "hours_online", "paper_gb", "gb_cached", "gb_online", "process_gb_cached"]
    columns += ["process_gb_online", "cost_of"]
    lines = []
    for _, printed in paper.table2().iterrows():
        line = {"model": printed["model"], "paper_best": printed["top1"] / 100}
        line |= {"paper_hours": printed["hours"], "paper_gb": printed["memory_gb"]}
        line |= studies.scores(of(rows, printed["model"], protocol))
        lines += [line | own for own in _costs(costs, printed["model"])]
    return Table.of(
        lines,
        f"Ours: {study(rows)}, protocol {protocol}. {INTERVALS} {BEST}",
        "Hours are for 300 epochs of all 13,320 clips, scaled from measured steps; `cached`: on features kept from one "
        "pass, `online`: all frames through the backbone in every epoch, as in the paper.",
        "The paper's run: batch 80, GTX 1080 Ti; its memory is that of the process (nvidia-smi).",
        columns=columns,
    )


def _costs(costs: pd.DataFrame | None, model: str) -> list[dict]:
    """Hours and GB of one model: one dictionary per cost record that measured it (not for predictions)."""
    nothing = {
        f"{what}_{way}": np.nan for what in ("hours", "gb", "process_gb") for way in ("cached", "online")
    }
    nothing["cost_of"] = ""
    if costs is None or costs.empty:
        return [nothing]
    lines = []
    for record, group in costs[(costs["model"] == model) & costs["hours_300"].notna()].groupby("record"):
        first, line = group.iloc[0], {}
        batches = ", ".join(f"batch {row['batch_size']} {row['way']}" for _, row in group.iterrows())
        line["cost_of"] = (
            f"{first['device']}, {first['frames']} frames, hidden {first['hidden_size']}, {batches} ({record})"
        )
        for _, row in group.iterrows():
            line[f"hours_{row['way']}"] = row["hours_300"]
            line[f"gb_{row['way']}"] = float(row["measured_bytes"]) / 1e9
            line[f"process_gb_{row['way']}"] = float(row["process_bytes"]) / 1e9
        lines.append(nothing | line)
    return lines or [nothing]


def differences(records: pd.DataFrame, protocol: str = "paper", against: str = BASELINE) -> Table:
    """Every head's top-1 minus that of `against`, over the seeds of both, for each of `studies.METRICS`.

    Columns model, against, epoch, difference (with low and high), p and detectable (`studies.paired`), compared_seeds, note,
    and for the last epoch only_this, only_other, mcnemar_p, flip_p (`studies.by_clip`). Table 2's models come first.
    """
    rows = studies.usual(records)
    other = of(rows, against, protocol)
    lines = []
    for model in dict.fromkeys((*reversed(TABLE2), *rows["model"])):
        own = of(rows, model, protocol)
        if model == against or own.empty or other.empty:
            continue
        for epoch, column in studies.METRICS.items():
            line = {"model": model, "against": against, "epoch": epoch} | studies.paired(own, other, column)
            lines.append(line | (studies.by_clip(own, other) if epoch == "last" else {}))
    columns = ["model", "against", "epoch", "difference", "p", "detectable", "compared_seeds", "note"]
    return Table.of(
        lines,
        studies.PAIRED + " No correction for the number of heads.",
        "mcnemar_p treats the clips of all seeds as independent, which they are not; flip_p, a sign-flip test by source "
        "video, decides.",
        columns=[*columns, "only_this", "only_other", "mcnemar_p", "flip_p"],
    )


def log_lines(row: pd.Series, epochs: int = 3) -> Table:
    """Fig. 4: the paper's screen capture, then the last epochs of one run in the same form.

    Columns source, part, epoch, clips, loss (nats), top1 (fraction), line (as a log would print it). The paper's
    training lines are single batches, ours are means over an epoch.
    """
    theirs = paper.training_log().drop(columns="status").assign(source="paper")
    theirs["top1"] /= 100
    history, lines = runs.history(row).tail(epochs), []
    for _, epoch in history.iterrows():
        for part in ("train", "test"):
            values = {"loss": epoch[f"{part}_loss"], "top1": epoch[f"{part}_top1"]}
            lines.append({"part": part, "epoch": int(epoch["epoch"]), "clips": row[f"{part}_clips"]} | values)
    ours = pd.DataFrame(lines).assign(source=f"ours: {row['run']}")
    table = pd.concat([theirs, ours], ignore_index=True)
    total = {"paper": paper.DATA["train_clips"].value}
    table["line"] = [
        f"epoch {line.epoch}, {line.part}, {line.clips:,} of "
        f"{total.get(line.source, line.clips) if line.part == 'train' else line.clips:,} clips: "
        f"loss {line.loss:.4f}, top-1 {line.top1:.2%}"
        for line in table.itertuples()
    ]
    return Table.of(
        table,
        "The paper's training lines are single batches of 80 clips; ours are means over the steps of an epoch.",
        columns=["source", "part", "epoch", "clips", "loss", "top1", "line"],
    )


def related_work() -> Table:
    """Published top-1 on UCF101 by protocol: numbers found in the named public source, and the paper's.

    Columns system, top1 (fraction), protocol, extra (training data beyond UCF101 and optical flow, where the source
    says so), source, remark. Only numbers under the same protocol may be compared.
    """
    table = pd.read_csv(RELATED_WORK, encoding="utf-8", dtype={"top1": float}, keep_default_na=False)
    table["top1"] /= 100
    return Table.of(
        table.sort_values(["protocol", "top1"], kind="stable", ignore_index=True),
        "Only numbers under the same protocol may be compared: a random split puts clips of one video into both parts.",
    )
