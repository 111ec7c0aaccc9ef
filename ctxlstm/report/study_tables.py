"""Tables over a whole study that the paper does not have: the leak, batch sizes, readings, classes, what is missing.

Conventions as in `paper_tables`: run records in, a `Table` out; accuracies are fractions, `x_low` and `x_high` the
95 % interval of `x`. Paper sections 3.1 (the split), 4.3 (batch size) and 4.4 (ablation).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ctxlstm import evaluation, inference, models
from ctxlstm.evaluation import calibration, confusion
from ctxlstm.experiments import runs
from ctxlstm.report import studies
from ctxlstm.report.table import Interval, Table


def heads(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """((model, protocol), rows) of every head: heads in the order of the records, protocols in their own."""
    for model in dict.fromkeys(rows["model"]):
        for protocol in studies.PROTOCOLS:
            if len(own := studies.of(rows, model, protocol)):
                yield (model, protocol), own


def leak(records: pd.DataFrame) -> Table:
    """The effect of the split: top-1 of every head under every protocol, and the drop from the paper's split.

    Columns model, protocol, top1 (mean of the last third of the epochs, `evaluation.late`), low, high, last,
    chosen (each with low and high), drop (top1 under paper minus here), siblings (share of test clips with a
    clip of their group in the training set; NaN where groups are not known), seeds, folds, interval. The
    frame is also the input of `figures.heads_by_protocol`. Rows: nearest_neighbour first, then by top1 under
    the strictest split.
    """
    rows = studies.usual(records)
    lines, top1 = [], {}
    for (model, protocol), own in heads(rows):
        line = {"model": model, "protocol": protocol} | studies.scores(own)
        line["top1"], top1[model, protocol] = line["late"], line["late"].mean
        line["siblings"] = float(pd.to_numeric(studies.whole(own)["test_clips_with_sibling"]).mean())
        known = protocol != "paper" and (model, "paper") in top1  # the paper's protocol comes first
        line["drop"] = top1[model, "paper"] - top1[model, protocol] if known else np.nan
        lines.append(line)
    strict = studies.protocols(rows)[-1]
    lines.sort(
        key=lambda line: (line["model"] != "nearest_neighbour", -top1.get((line["model"], strict), -np.inf))
    )
    return Table.of(
        lines,
        f"{studies.study(rows)}; top1 is the mean over the last third of the epochs. {studies.INTERVALS}",
        studies.NO_GROUPS if rows["test_clips_with_sibling"].isna().any() else "",
        columns=[
            "model",
            "protocol",
            "top1",
            "last",
            "chosen",
            "drop",
            "siblings",
            "seeds",
            "folds",
            "interval",
        ],
    )


def batch_size_curve(records: pd.DataFrame) -> Table:
    """Top-1 over the batch size, for every head and protocol with several sizes, over their common seeds.

    Columns model, protocol, batch_size, late, last, best, chosen (each with low and high), seconds_per_epoch,
    optimizer_steps (of the whole training), mean_batch (clips: an epoch is cut into equal batches), seeds, folds,
    interval, device, note (seeds that were left out).
    """
    rows = studies.one_study(records)
    rows = rows[(rows["variant"] == "") & (rows["batch_norm"] == studies.usual(rows)["batch_norm"].iloc[0])]
    lines = []
    for (model, protocol), own in heads(rows):
        sizes = sorted(own["batch_size"].unique())
        if len(sizes) < 2:
            continue
        parts, note = studies.common(
            *(own[own["batch_size"] == size] for size in sizes), names=[f"batch {size}" for size in sizes]
        )
        for size, part in zip(sizes, parts, strict=True):
            if part.empty:
                continue
            batches = np.ceil(part["train_clips"] / size)
            line = {"model": model, "protocol": protocol, "batch_size": int(size), "note": note}
            line |= studies.scores(part) | {"device": ", ".join(sorted(set(part["device"])))}
            line["seconds_per_epoch"] = float(part["seconds_per_epoch"].mean())
            line["optimizer_steps"] = int((part["epochs"] * batches).mean())
            line["mean_batch"] = float((part["train_clips"] / batches).mean())
            lines.append(line)
    columns = ["model", "protocol", "batch_size", "late", "last", "best", "chosen", "seconds_per_epoch"]
    columns += ["optimizer_steps", "mean_batch", "seeds", "folds", "interval", "device", "note"]
    return Table.of(
        lines,
        f"{studies.study(rows)}. {studies.INTERVALS} {studies.BEST} {studies.LATE}",
        "All sizes train for the same number of epochs, so a larger batch makes fewer steps. An epoch is cut into equal "
        "batches of at most batch_size clips: mean_batch says how large they are.",
        "seconds_per_epoch were measured while other runs shared the machine.",
        columns=columns,
    )


def readings(records: pd.DataFrame, protocol: str = "paper") -> Table:
    """The ablation: every reading of Context-LSTM beside the default one, and the paper's other models (Table 2).

    Columns reading, model, variant, parameters, late, last, chosen (each with low and high), difference (last
    epoch, from the default reading; with low and high), p and detectable (`studies.paired`), p_holm
    (corrected over all rows that are compared), compared_seeds, seeds, folds, interval, note.
    """
    studies.usual(records)  # checks the records, and that there is a main run
    rows = studies.usual_size(records)
    rows = rows[rows["protocol"] == protocol]
    default = studies.of(rows[rows["variant"] == ""], studies.OURS, protocol)
    if default.empty:
        raise ValueError(
            f"there is no run of {studies.OURS} in its default reading under protocol {protocol}: train it first"
        )
    lines = []
    for reading, part in _cases(rows):
        first = part.iloc[0]
        line = {"reading": reading, "model": first["model"], "variant": first["variant"]}
        line |= {"parameters": int(first["parameters"])} | studies.scores(part)
        if reading == "default":
            line |= {
                "difference": Interval(np.nan),
                "p": np.nan,
                "detectable": np.nan,
                "compared_seeds": 0,
                "note": "",
            }
        else:
            line |= studies.paired(part, default)
        lines.append(line)
    p = [line["p"] for line in lines]
    for line, corrected in zip(lines, studies.holm(p), strict=True):
        line["p_holm"] = corrected
    columns = [
        "reading",
        "model",
        "variant",
        "parameters",
        "late",
        "last",
        "chosen",
        "difference",
        "p",
        "p_holm",
        "detectable",
    ]
    columns += ["compared_seeds", "seeds", "folds", "interval", "note"]
    return Table.of(
        lines,
        f"{studies.study(rows)}, protocol {protocol}. {studies.INTERVALS} {studies.LATE}",
        f"Differences are from the default reading, at the last epoch. {studies.PAIRED} p_holm is corrected for the "
        f"{np.isfinite(p).sum()} comparisons of this table.",
        columns=columns,
    )


def _cases(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """(name, rows) of the default reading, the others in the order of `models.READINGS`, the other models."""
    own, known = rows[rows["model"] == studies.OURS], list(models.READINGS)
    yield "default", own[own["variant"] == ""]
    for variant in sorted(
        set(own["variant"]) - {""}, key=lambda v: (known.index(v) if v in known else len(known), v)
    ):
        yield variant, own[own["variant"] == variant]
    for model in (studies.NO_POOL, studies.ORDERS, studies.BASELINE):
        if model in set(rows["model"]):
            yield model, rows[(rows["model"] == model) & (rows["variant"] == "")]


def per_class(records: pd.DataFrame, model: str = studies.OURS, protocol: str = "paper") -> Table:
    """Top-1 of each class over seeds. A class without a test clip in a run is not counted there, and is marked.

    Columns class, clips (tested in all runs), top1 (mean over the seeds that test the class; low and high: t over
    them), seeds, absent ("seed 1, 3", "all"; empty: none), most_confused_with. Classes are those that any run of
    the head saw, true or predicted, under any protocol. Raises ValueError where the head has no run.
    """
    rows = studies.usual(records)
    every = rows[rows["model"] == model]
    own = studies.whole(every[every["protocol"] == protocol])
    if own.empty:
        raise ValueError(
            f"there is no run of {model} under protocol {protocol}: the heads are {', '.join(rows['model'].unique())}"
        )
    read = {index: runs.predictions(row) for index, row in every.iterrows()}
    classes = sorted(set().union(*(set(table["label"]) | set(table["predicted"]) for table in read.values())))
    counts = {}
    for seed, part in own.groupby("seed"):
        counts[seed] = sum(confusion(read[index], classes).to_numpy() for index in part.index)  # (K, K)
    lines = []
    for k, name in enumerate(classes):
        tested = {seed: matrix[k] for seed, matrix in counts.items() if matrix[k].sum()}
        total = sum(tested.values(), np.zeros(len(classes), int))  # (K,)
        wrong = np.where(np.arange(len(classes)) == k, 0, total)
        absent = ", ".join(str(seed) for seed in counts if seed not in tested)
        lines.append(
            {
                "class": name,
                "clips": int(total.sum()),
                "top1": studies.mean_interval(
                    [row[k] / row.sum() for row in tested.values()], overlap=studies.overlap(own)
                ),
                "seeds": len(tested),
                "absent": "all" if not tested else f"seed {absent}" if absent else "",
                "most_confused_with": classes[wrong.argmax()] if wrong.any() else "",
            }
        )
    more = int(max(every["classes"])) - len(classes) if "classes" in every else 0
    return Table.of(
        lines,
        f"{studies.study(rows)}, {model}, protocol {protocol}, last epoch; intervals: t over seeds, corrected where seeds "
        "split the same clips anew.",
        f"{more} more classes of the data set were neither tested nor predicted in any run."
        if more > 0
        else "",
    )


def seeds_missing(records: pd.DataFrame) -> Table:
    """Runs that a study lacks: seeds that a head lacks but other runs of the same kind and protocol have.

    Kinds are main runs, readings and other batch sizes; each kind may have fewer seeds. Columns kind, model,
    variant, batch_size, batch_norm, protocol, fold, missing (seeds as text). No row: nothing is missing.
    """
    rows = studies.one_study(records)
    size = studies.usual(rows)["batch_size"].iloc[0]
    other = np.where(rows["batch_size"] != size, "batch size", "main")
    rows = rows.assign(kind=np.where(rows["variant"] != "", "reading", other))
    head = ["kind", "model", "variant", "batch_size", "batch_norm"]
    lines = []
    for (_, protocol), part in rows.groupby(["kind", "protocol"], sort=False):
        for names, own in part.groupby(head, sort=False):
            for fold in sorted(part["fold"].unique()):
                if missing := sorted(set(part["seed"]) - set(own.loc[own["fold"] == fold, "seed"])):
                    line = dict(zip(head, names, strict=True)) | {"protocol": protocol, "fold": fold}
                    lines.append(line | {"missing": ", ".join(map(str, missing))})
    return Table.of(lines, columns=[*head, "protocol", "fold", "missing"])


def selection_bonus(records: pd.DataFrame) -> Table:
    """What choosing the epoch on the test set adds: best minus validation-chosen top-1 (`evaluation.selection_bonus`).

    Columns model, protocol, best, chosen, difference (mean over seeds; with low and high), seeds, folds, interval.
    Heads that are not trained in epochs, and runs without a validation set, have no bonus and are left out.
    """
    rows = studies.usual(records)
    lines = []
    for (model, protocol), own in heads(rows[rows["parameters"] > 0]):
        own = studies.whole(own)
        bonus = studies.by_seed(own, "top1_best") - studies.by_seed(own, "top1_validation_chosen")
        if bonus.isna().any():
            continue
        found, mean = studies.scores(own), studies.mean_interval(bonus, overlap=studies.overlap(own))
        line = {"model": model, "protocol": protocol, "difference": mean, "interval": mean.kind}
        means = {name: found[name].mean for name in ("best", "chosen")}
        lines.append(line | means | {name: found[name] for name in ("seeds", "folds")})
    return Table.of(
        lines,
        f"{studies.study(rows)}. {studies.BEST} Intervals are 95 %, cut at 0: a bonus is never negative.",
        columns=["model", "protocol", "best", "chosen", "difference", "seeds", "folds", "interval"],
    )


def overfitting(records: pd.DataFrame) -> Table:
    """Signs of overfitting over the last third of the epochs, and calibration after the last; means over runs.

    Columns model, protocol, loss_ratio (test over training loss, median over runs), train_top1, test_top1 (fractions),
    slope (trend of the test top-1, points per 100 epochs; with low and high over seeds), nll (nats),
    calibration_error (a fraction), seeds, folds. Runs with fewer than nine epochs have no trend and are left out.
    """
    rows = studies.usual(records)
    lines = []
    for (model, protocol), own in heads(rows[(rows["parameters"] > 0) & (rows["epochs"] >= 9)]):
        own = studies.whole(own)
        after = 2 * int(own["epochs"].iloc[0]) // 3
        histories = [runs.history(row) for _, row in own.iterrows()]
        found = pd.DataFrame(
            [vars(evaluation.overfitting(history, after)) for history in histories], index=own.index
        )
        late = pd.DataFrame(
            [h.loc[h["epoch"] > after, ["train_top1", "test_top1"]].mean() for h in histories]
        )
        errors = [calibration(runs.predictions(row))[0] for _, row in own.iterrows()]
        slopes = found["slope"].groupby(own["seed"]).mean()
        n = len(slopes)
        slope = Interval(slopes.mean())
        if n > 1:
            over = inference.over_seeds(slopes, overlap=studies.overlap(own))
            slope = Interval(over.mean, over.low, over.high)
        line = {"model": model, "protocol": protocol, "loss_ratio": found["loss_ratio"].median()}
        line |= late.mean().to_dict() | {"slope": slope}
        line |= {"nll": own["nll"].mean(), "calibration_error": float(np.mean(errors))}
        lines.append(line | {"seeds": n, "folds": studies.folds(own)})
    columns = ["model", "protocol", "loss_ratio", "train_top1", "test_top1", "slope", "nll"]
    return Table.of(
        lines,
        f"{studies.study(rows)}; the last third of the epochs. loss_ratio is test over training loss; slope is the "
        "trend of the test top-1 in points per 100 epochs.",
        columns=[*columns, "calibration_error", "seeds", "folds"],
    )
