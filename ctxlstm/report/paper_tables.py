"""The tables of the report, from run records alone (paper sections 4.3 and 4.4, Tables 1 and 2, Fig. 4).

Every function takes the table of `runs.load` for one study and gives a new one; records of different features or
settings are refused (`studies.one_study`). Accuracies are fractions; `tabletext` shows them in per cent. Columns
`x_low` and `x_high` are the 95 % interval of the column `x` before them. `table.attrs["legend"]` lists what a
reader must know beside the numbers.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from ctxlstm import paper
from ctxlstm.experiments import runs
from ctxlstm.report import studies
from ctxlstm.report.studies import BASELINE, BEST, INTERVALS, ORDERS, OURS, TABLE2, finished, of, study

RELATED_WORK = Path(__file__).with_name("related_work.csv")
TENTHS = len(paper.EPOCHS)


def tenth_epochs(epochs: int) -> list[int | None]:
    """Our epoch for each column of Table 1: the last one within that tenth of the training, None where none ends.

    The paper's epochs 30, 60, ..., 300 are tenths of its 300; with 30 epochs ours are 3, 6, ..., 30.
    """
    ends = [k * epochs // TENTHS for k in range(TENTHS + 1)]
    return [end if end > before else None for before, end in pairwise(ends)]


def _cell(mean: float, low: float = np.nan, high: float = np.nan) -> str:
    if np.isnan(mean):
        return ""
    return f"{100 * mean:.1f}" + ("" if np.isnan(low) else f" ({100 * low:.1f}–{100 * high:.1f})")


def table1(records: pd.DataFrame, protocol: str = "paper") -> pd.DataFrame:
    """Table 1 in the paper's form: its rows, then ours (mean and interval over seeds), top-1 in per cent as text.

    Columns row, the paper's epochs as text ("30" ... "300"), best, chosen (by validation, ours alone), seeds,
    folds, interval. Reconstructed cells of the paper end in †. Where our training has another length, the row
    "our epoch" says which of our epochs stands under a column.
    """
    rows = studies.usual(records)
    columns = [str(epoch) for epoch in paper.EPOCHS]
    lines = []
    for name, own in paper.table1().groupby("row", sort=False):
        line = {"row": "paper: " + ("Context-LSTM" if name == paper.OURS else name)} | dict.fromkeys(
            [*columns, "best", "chosen"], ""
        )
        for _, cell in own.iterrows():
            column = "best" if pd.isna(cell["epoch"]) else str(cell["epoch"])
            line[column] = f"{cell['top1']:.1f}" + "†" * (cell["status"] == "reconstructed")
        lines.append(line)
    heads = [(model, of(rows, model, protocol)) for model in (BASELINE, OURS, *TABLE2, ORDERS)]
    heads = [(model, own) for model, own in dict(heads).items() if len(own)]
    if heads:
        epochs = int(heads[0][1]["epochs"].iloc[0])
        ours = tenth_epochs(epochs)
        if epochs != paper.EPOCHS[-1]:
            header = {c: "" if e is None else str(e) for c, e in zip(columns, ours, strict=True)}
            lines.append({"row": "our epoch"} | header | {"best": f"of {epochs}", "chosen": f"of {epochs}"})
    for model, own in heads:
        own, found = studies.whole(own), studies.scores(own)
        curves = pd.DataFrame(
            {index: runs.history(row).set_index("epoch")["test_top1"] for index, row in own.iterrows()}
        )  # (epochs, runs)
        line = {"row": f"ours: {model}"}
        for column, epoch in zip(columns, ours, strict=True):
            if epoch == epochs:
                line[column] = _cell(found["last"], found["last_low"], found["last_high"])
            elif epoch is not None:
                values = curves.loc[epoch].groupby(own["seed"]).mean()
                line[column] = _cell(*studies.mean_interval(values)[:3])
            else:
                line[column] = ""
        for name in ("best", "chosen"):
            line[name] = _cell(found[name], found[f"{name}_low"], found[f"{name}_high"])
        lines.append(line | {"seeds": found["seeds"], "folds": found["folds"], "interval": found["interval"]})
    table = finished(
        lines,
        [],
        "Top-1 in per cent. †: printed in the paper, but the epoch it belongs to is our reading.",
        f"Ours: {study(rows)}, protocol {protocol}; mean (95 % interval) over seeds. The paper: one run on all of UCF101.",
        BEST + " `chosen` is the epoch chosen on a validation part.",
    )
    return table.astype({"seeds": "Int64"}) if "seeds" in table else table


def table2(records: pd.DataFrame, costs: pd.DataFrame | None = None, protocol: str = "paper") -> pd.DataFrame:
    """Table 2: accuracy, hours of 300 epochs and GB of the three models, the paper's beside ours.

    `costs` is the table of `costrecord.load`; each record that measured a model gives it a row. Cells of
    ours are empty where there is no run or no cost record. Columns model, paper_best, best, chosen, last (these with
    low and high), seeds, folds, interval, paper_hours, hours_cached, hours_online, paper_gb, gb_cached, gb_online
    (what training added), process_gb_cached, process_gb_online (all that the process held), cost_of.
    """
    rows = studies.usual(records)
    lines = []
    for _, printed in paper.table2().iterrows():
        line = {"model": printed["model"], "paper_best": printed["top1"] / 100}
        found = studies.scores(of(rows, printed["model"], protocol))
        for name in ("best", "chosen", "last"):
            line |= {key: found[key] for key in (name, f"{name}_low", f"{name}_high")}
        line |= {key: found[key] for key in ("seeds", "folds", "interval")}
        for own in _costs(costs, printed["model"]):
            hours = {f"hours_{way}": own.get(f"hours_{way}", np.nan) for way in ("cached", "online")}
            size = {
                f"{what}_{way}": own.get(f"{what}_{way}", np.nan)
                for what in ("gb", "process_gb")
                for way in ("cached", "online")
            }
            theirs = {"paper_hours": printed["hours"]}, {"paper_gb": printed["memory_gb"]}
            lines.append(line | theirs[0] | hours | theirs[1] | size | {"cost_of": own.get("cost_of", "")})
    return finished(
        lines,
        [],
        f"Ours: {study(rows)}, protocol {protocol}. {INTERVALS} {BEST}",
        "Hours are of 300 epochs of all 13,320 clips, scaled from measured steps; `cached`: on features kept from one "
        "pass, `online`: all frames through the backbone in every epoch, as in the paper.",
        "The paper's run: batch 80, GTX 1080 Ti; its memory is that of the process (nvidia-smi).",
    )


def _costs(costs: pd.DataFrame | None, model: str) -> list[dict]:
    """Hours and GB of one model: one dictionary for each cost record that measured it (what is only predicted: none)."""
    if costs is None or costs.empty:
        return [{}]
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
        lines.append(line)
    return lines or [{}]


def differences(records: pd.DataFrame, protocol: str = "paper", against: str = BASELINE) -> pd.DataFrame:
    """Every head's top-1 minus that of `against`, over the seeds that both have, for last, chosen and best epoch.

    Columns model, against, epoch, difference (with low and high), p (paired t-test), compared_seeds, note, and for
    the last epoch only_this, only_other, mcnemar_p (`studies.pooled_mcnemar`). Table 2's models come first.
    """
    rows = studies.usual(records)
    other = of(rows, against, protocol)
    names = [name for name in dict.fromkeys((*reversed(TABLE2), *rows["model"])) if name != against]
    lines = []
    for model in names:
        own = of(rows, model, protocol)
        if own.empty or other.empty:
            continue
        for epoch, column in studies.METRICS.items():
            line = {"model": model, "against": against, "epoch": epoch} | studies.paired(own, other, column)
            if epoch == "last" and "folder" in rows.columns:
                line |= studies.pooled_mcnemar(own, other)
            lines.append(line)
    return finished(
        lines,
        [
            "model",
            "against",
            "epoch",
            "difference",
            "difference_low",
            "difference_high",
            "p",
            "compared_seeds",
            "note",
        ],
        "p: paired t-test over common seeds, no correction for the number of heads.",
        "mcnemar_p counts clips of all seeds as independent, which they are not: it is too small.",
    )


def log_lines(row: pd.Series, epochs: int = 3) -> pd.DataFrame:
    """Fig. 4: the paper's screen capture, then the last epochs of one run in the same form.

    Columns source, part, epoch, clips, loss (nats), top1 (fraction), line (as a log would print it). The paper's
    training lines are of single batches, ours are means over an epoch.
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
    table = table[["source", "part", "epoch", "clips", "loss", "top1", "line"]]
    table.attrs["legend"] = [
        "The paper's training lines are single batches of 80 clips; ours are means over the steps of an epoch."
    ]
    return table


def related_work() -> pd.DataFrame:
    """Published top-1 on UCF101 by protocol: numbers that were seen in the named public source, and the paper's.

    Columns system, top1 (fraction), protocol, extra (training data beyond UCF101 and optical flow, where the source
    says so), source, remark. Only numbers of one protocol may be compared.
    """
    table = pd.read_csv(RELATED_WORK, encoding="utf-8", dtype={"top1": float}, keep_default_na=False)
    table["top1"] /= 100
    table = table.sort_values(["protocol", "top1"], kind="stable", ignore_index=True)
    table.attrs["legend"] = [
        "Only numbers of one protocol may be compared: a random split puts clips of one video into both parts."
    ]
    return table
