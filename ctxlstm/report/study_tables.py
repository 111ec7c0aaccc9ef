"""Tables over a whole study that the paper does not have: the leak, batch sizes, readings, classes, what is missing.

Conventions as in `tables`: run records in, a new table out; accuracies are fractions, `x_low` and `x_high` the 95 %
interval of `x`. Paper sections 3.1 (the split), 4.3 (batch size) and 4.4 (ablation).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy import stats

from ctxlstm import models
from ctxlstm.evaluation import calibration, confusion
from ctxlstm.evaluation import overfitting as overfit
from ctxlstm.experiments import runs
from ctxlstm.report import studies


def heads(rows: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """((model, protocol), rows) of every head, in the order in which records come, protocols in theirs."""
    for model in dict.fromkeys(rows["model"]):
        for protocol in studies.PROTOCOLS:
            if len(own := studies.of(rows, model, protocol)):
                yield (model, protocol), own


def leak(records: pd.DataFrame) -> pd.DataFrame:
    """What the split does: top-1 of every head under every protocol, and the drop from the paper's split.

    Columns model, protocol, top1 (last epoch), low, high, chosen (with low and high), drop (top1 under paper minus
    here), siblings (share of test clips with a clip of their group in the training part), seeds, folds, interval:
    also the input of `figures.heads_by_protocol`. nearest_neighbour first, then by top1 under the strictest split.
    """
    rows = studies.usual(records)
    lines = []
    for (model, protocol), own in heads(rows):
        found = studies.scores(own)
        line = {"model": model, "protocol": protocol, "top1": found["last"]}
        line |= {"low": found["last_low"], "high": found["last_high"]}
        line |= {key: found[key] for key in ("chosen", "chosen_low", "chosen_high")}
        siblings = float(pd.to_numeric(studies.whole(own)["test_clips_with_sibling"]).mean())
        line |= {"drop": np.nan, "siblings": siblings}
        lines.append(line | {key: found[key] for key in ("seeds", "folds", "interval")})
    table = pd.DataFrame(lines)
    printed = table[table["protocol"] == "paper"].set_index("model")["top1"]
    strict = [name for name in studies.PROTOCOLS if name in set(table["protocol"])][-1]
    rank = table[table["protocol"] == strict].set_index("model")["top1"]
    table["drop"] = (table["model"].map(printed) - table["top1"]).where(table["protocol"] != "paper")
    table["_first"], table["_rank"] = table["model"] != "nearest_neighbour", -table["model"].map(rank)
    table = table.sort_values(["_first", "_rank"], kind="stable", ignore_index=True).drop(
        columns=["_first", "_rank"]
    )
    table.attrs["legend"] = [f"{studies.study(rows)}; top1 is that of the last epoch. {studies.INTERVALS}"]
    return table


def batch_size_curve(records: pd.DataFrame) -> pd.DataFrame:
    """Top-1 over the batch size, for every head and protocol that ran with several: seeds that all its sizes have.

    Columns model, protocol, batch_size, last, best, chosen (each with low and high), seconds_per_epoch,
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
            found = studies.scores(part)
            line = {"model": model, "protocol": protocol, "batch_size": int(size)}
            line |= {
                f"{name}{end}": found[f"{name}{end}"]
                for name in ("last", "best", "chosen")
                for end in ("", "_low", "_high")
            }
            line["seconds_per_epoch"] = float(part["seconds_per_epoch"].mean())
            batches = np.ceil(part["train_clips"] / size)
            line["optimizer_steps"] = int((part["epochs"] * batches).mean())
            line["mean_batch"] = float((part["train_clips"] / batches).mean())
            line |= {key: found[key] for key in ("seeds", "folds", "interval")}
            lines.append(line | {"device": ", ".join(sorted(set(part["device"]))), "note": note})
    return studies.finished(
        lines,
        [
            "model",
            "protocol",
            "batch_size",
            "last",
            "best",
            "chosen",
            "seconds_per_epoch",
            "optimizer_steps",
            "mean_batch",
            "seeds",
            "note",
        ],
        f"{studies.study(rows)}. {studies.INTERVALS} {studies.BEST}",
        "All sizes train for the same number of epochs, so a larger batch makes fewer steps. An epoch is cut into equal "
        "batches of at most batch_size clips: mean_batch says how large they are.",
        "seconds_per_epoch were measured while other runs shared the machine.",
    )


def readings(records: pd.DataFrame, protocol: str = "paper") -> pd.DataFrame:
    """The ablation: every reading of Context-LSTM beside the default one, and the paper's other models (Table 2).

    Columns reading, model, variant, parameters, last, chosen (each with low and high), difference (last epoch, to
    the default reading over common seeds; with low and high), p (paired t-test), p_holm (corrected over all rows
    that are compared), compared_seeds, seeds, folds, interval, note.
    """
    rows = studies.usual(records)  # the check, and that there is a main run
    rows = studies.usual_size(records)
    rows = rows[rows["protocol"] == protocol]
    default = studies.of(rows[rows["variant"] == ""], studies.OURS, protocol)
    if default.empty:
        raise ValueError(
            f"there is no run of {studies.OURS} in its default reading under protocol {protocol}: train it first"
        )
    known = [*models.READINGS]
    own = rows[rows["model"] == studies.OURS]
    variants = sorted(
        set(own["variant"]) - {""}, key=lambda v: (known.index(v) if v in known else len(known), v)
    )
    named = [m for m in (studies.NO_POOL, studies.ORDERS, studies.BASELINE) if m in set(rows["model"])]
    cases = [("default", default)]
    cases += [(v, own[own["variant"] == v]) for v in variants]
    cases += [(m, rows[(rows["model"] == m) & (rows["variant"] == "")]) for m in named]
    lines = []
    for reading, part in cases:
        first, found = part.iloc[0], studies.scores(part)
        line = {"reading": reading, "model": first["model"], "variant": first["variant"]}
        line["parameters"] = int(first["parameters"])
        line |= {
            f"{name}{end}": found[f"{name}{end}"]
            for name in ("last", "chosen")
            for end in ("", "_low", "_high")
        }
        compared = studies.paired(part, default) if reading != "default" else {}
        for key in ("difference", "difference_low", "difference_high", "p"):
            line[key] = compared.get(key, np.nan)
        line |= {"p_holm": np.nan, "compared_seeds": compared.get("compared_seeds", 0)}
        line |= {key: found[key] for key in ("seeds", "folds", "interval")}
        lines.append(line | {"note": compared.get("note", "")})
    table = pd.DataFrame(lines)
    table["p_holm"] = studies.holm(table["p"])
    table.attrs["legend"] = [
        f"{studies.study(rows)}, protocol {protocol}. {studies.INTERVALS}",
        "Differences are of the last epoch, to the default reading, paired over common seeds; p_holm is corrected for "
        f"the {int(table['p'].notna().sum())} comparisons of this table.",
    ]
    return table


def per_class(records: pd.DataFrame, model: str = studies.OURS, protocol: str = "paper") -> pd.DataFrame:
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
        found = studies.mean_interval([row[k] / row.sum() for row in tested.values()])
        total = sum(tested.values(), np.zeros(len(classes), int))  # (K,)
        wrong = np.where(np.arange(len(classes)) == k, 0, total)
        absent = [str(seed) for seed in counts if seed not in tested]
        lines.append(
            {
                "class": name,
                "clips": int(total.sum()),
                "top1": found.mean,
                "low": found.low,
                "high": found.high,
                "seeds": len(tested),
                "absent": "all" if not tested else f"seed {', '.join(absent)}" if absent else "",
                "most_confused_with": classes[wrong.argmax()] if wrong.any() else "",
            }
        )
    more = int(max(every["classes"])) - len(classes) if "classes" in every else 0
    return studies.finished(
        lines,
        [],
        f"{studies.study(rows)}, {model}, protocol {protocol}, last epoch; intervals: t over seeds.",
        f"{more} more classes of the data set were neither tested nor predicted in any run."
        if more > 0
        else "",
    )


def seeds_missing(records: pd.DataFrame) -> pd.DataFrame:
    """Runs that a study lacks: seeds that other runs of the same kind and protocol have, and this head has not.

    Kinds are main runs, readings and other batch sizes, which may have fewer seeds each. Columns kind, model,
    variant, batch_size, batch_norm, protocol, fold, missing (seeds as text). No row: nothing is missing.
    """
    rows = studies.one_study(records)
    usual = studies.usual(rows)
    size = usual["batch_size"].iloc[0]
    kind = np.where(
        rows["variant"] != "", "reading", np.where(rows["batch_size"] != size, "batch size", "main")
    )
    rows = rows.assign(kind=kind)
    head = ["kind", "model", "variant", "batch_size", "batch_norm"]
    lines = []
    for (_, protocol), part in rows.groupby(["kind", "protocol"], sort=False):
        places = sorted(part["fold"].unique())
        for names, own in part.groupby(head, sort=False):
            for fold in places:
                missing = sorted(set(part["seed"]) - set(own.loc[own["fold"] == fold, "seed"]))
                if missing:
                    lines.append(
                        dict(zip(head, names, strict=True))
                        | {"protocol": protocol, "fold": fold, "missing": ", ".join(map(str, missing))}
                    )
    return studies.finished(lines, [*head, "protocol", "fold", "missing"])


def selection_bonus(records: pd.DataFrame) -> pd.DataFrame:
    """What choosing the epoch on the test part adds: best minus validation-chosen top-1 (`evaluation.selection_bonus`).

    Columns model, protocol, best, chosen, difference (mean over seeds; with low and high), seeds, folds, interval.
    Heads that are not trained by epochs, and runs without a validation part, have none and are left out.
    """
    rows = studies.usual(records)
    lines = []
    for (model, protocol), own in heads(rows[rows["parameters"] > 0]):
        own = studies.whole(own)
        bonus = (own["top1_best"] - pd.to_numeric(own["top1_validation_chosen"])).groupby(own["seed"]).mean()
        if bonus.isna().any():
            continue
        found, mean = studies.scores(own), studies.mean_interval(bonus)
        line = {"model": model, "protocol": protocol, "best": found["best"], "chosen": found["chosen"]}
        line |= {"difference": mean.mean, "difference_low": mean.low, "difference_high": mean.high}
        lines.append(line | {"seeds": found["seeds"], "folds": found["folds"], "interval": mean.kind})
    columns = ["model", "protocol", "best", "chosen", "difference", "seeds", "folds", "interval"]
    return studies.finished(
        lines, columns, f"{studies.study(rows)}. {studies.BEST} Intervals: 95 %, cut at 0, as a bonus is."
    )


def overfitting(records: pd.DataFrame) -> pd.DataFrame:
    """Signs of over-fitting over the last third of the epochs, and calibration after the last; means over runs.

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
        found = pd.DataFrame([vars(overfit(history, after)) for history in histories], index=own.index)
        late = pd.DataFrame(
            [h.loc[h["epoch"] > after, ["train_top1", "test_top1"]].mean() for h in histories]
        )
        errors = [calibration(runs.predictions(row))[0] for _, row in own.iterrows()]
        slopes = found["slope"].groupby(own["seed"]).mean()
        half = stats.t.ppf(0.975, len(slopes) - 1) * slopes.sem() if len(slopes) > 1 else np.nan
        line = {"model": model, "protocol": protocol, "loss_ratio": found["loss_ratio"].median()}
        line |= {"train_top1": late["train_top1"].mean(), "test_top1": late["test_top1"].mean()}
        line |= {
            "slope": slopes.mean(),
            "slope_low": slopes.mean() - half,
            "slope_high": slopes.mean() + half,
        }
        line |= {"nll": own["nll"].mean(), "calibration_error": float(np.mean(errors))}
        lines.append(line | {"seeds": own["seed"].nunique(), "folds": studies.folds(own)})
    columns = ["model", "protocol", "loss_ratio", "train_top1", "test_top1", "slope", "nll", "seeds", "folds"]
    legend = "loss_ratio is test over training loss; slope is the trend of the test top-1 in points per 100 epochs."
    return studies.finished(lines, columns, f"{studies.study(rows)}; the last third of the epochs. {legend}")
