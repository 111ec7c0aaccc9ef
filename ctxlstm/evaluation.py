"""From predictions to metrics (paper section 4.3): how good a run is.

Everything starts from the predictions table of a run, one row per test clip: `name` (v_<Class>_gNN_cNN),
`label` and `predicted` (class names), `probability` (softmax probability of the predicted class) and `nll`
(negative log-likelihood of the true class, nats). Top-1 is a fraction, 0 to 1. If a clip's name
does not contain its group, as in `datasets.folder`, a column `group` gives it; "" is an unknown group.

How certain these numbers are is the subject of the next station, `inference`.

SciPy and scikit-learn take seconds to import, so only the functions that need them do so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ctxlstm.ucf101 import full_index

if TYPE_CHECKING:  # reading records needs no PyTorch
    import torch

COLUMNS = ["name", "label", "predicted", "probability", "nll"]


def predictions(
    logits: "torch.Tensor | np.ndarray",
    y: "torch.Tensor | np.ndarray | Sequence[int]",
    names: Sequence[str],
    classes: Sequence[str],
    groups: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Build the predictions table from logits (B, K), true class numbers y (B,) and clip names (B).

    `groups` (B) are those of your own clips, whose names do not contain them.

    Raises ValueError when the shapes disagree, when y is not in 0..K-1, or when a logit is NaN or infinite.
    """
    import torch

    logits = torch.as_tensor(logits).detach().cpu().double()  # (B, K)
    y = torch.as_tensor(y).detach().cpu().long()  # (B,)
    names, classes = list(names), list(classes)
    if logits.shape != (len(names), len(classes)) or y.shape != (len(names),):
        raise ValueError(
            f"Logits of shape {tuple(logits.shape)} and labels of shape {tuple(y.shape)} do not fit "
            f"{len(names)} clips and {len(classes)} classes: give (clips, classes) and (clips,)."
        )
    bad = ~torch.isfinite(logits).all(dim=1)  # (B,)
    if bad.any():
        first = names[int(bad.nonzero()[0])]
        raise ValueError(
            f"The logits of {int(bad.sum())} of {len(names)} clips are NaN or infinite (first: {first}): "
            "the training diverged or the features hold NaN; check both before evaluating."
        )
    if len(y) and not 0 <= int(y.min()) <= int(y.max()) < len(classes):
        raise ValueError(
            f"Labels run from {int(y.min())} to {int(y.max())}, but must be 0 to {len(classes) - 1}."
        )
    log_p = torch.log_softmax(logits, dim=1)  # (B, K)
    best, predicted = log_p.max(dim=1)  # (B,), (B,)
    table = pd.DataFrame(
        {
            "name": names,
            "label": [classes[k] for k in y.tolist()],
            "predicted": [classes[k] for k in predicted.tolist()],
            "probability": best.exp().numpy(),
            "nll": -log_p.gather(1, y[:, None])[:, 0].numpy(),
        },
        columns=COLUMNS,
    )
    if groups is not None:
        table.insert(2, "group", list(groups))
    return table


def published(scores: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The predictions table of scores that others have published: clip name -> 101 scores, logits or log-probabilities.

    Scores are in the order of UCF101's classInd.txt, which is alphabetical ignoring case. Names may omit the
    `v_` at the start. All clips must be UCF101's.

    Raises:
        ValueError: no scores, a name that UCF101 does not have, a clip named twice, or a clip without 101
            finite scores.
    """
    if not scores:
        raise ValueError("there are no scores: give at least those of one clip")
    whole = full_index()
    classes = sorted(whole["label"].unique(), key=str.lower)
    known = dict(zip(whole["name"].str.lower(), zip(whole["name"], whole["label"], strict=True), strict=True))
    full = {name: name if name.lower().startswith("v_") else f"v_{name}" for name in scores}
    if strange := [name for name in scores if full[name].lower() not in known]:
        raise ValueError(
            f"UCF101 has no clip {strange[0]!r} (and {len(strange) - 1} more such names): give scores of its clips, "
            "named like v_PushUps_g01_c02, without extension"
        )
    wrong = [name for name, given in scores.items() if np.shape(given) != (len(classes),)]
    if wrong:
        raise ValueError(
            f"the clip {wrong[0]!r} has scores of shape {np.shape(scores[wrong[0]])}: give {len(classes)}, one for each class"
        )
    names, labels = zip(*(known[full[name].lower()] for name in scores), strict=True)
    y = [classes.index(label) for label in labels]
    return checked(predictions(np.stack(list(scores.values())), y, names, classes))


def checked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table if it has all columns, some rows, no clip twice and no impossible number; else ValueError."""
    missing = [column for column in COLUMNS if column not in table.columns]
    if missing:
        raise ValueError(f"The predictions table lacks the columns {missing}; it needs {COLUMNS}.")
    if table.empty:
        raise ValueError("The predictions table is empty: there is no test clip to evaluate.")
    if table["name"].duplicated().any():
        twice = table.loc[table["name"].duplicated(), "name"].iloc[0]
        raise ValueError(
            f"Clip {twice} is in the predictions table more than once: give one run's table at a time."
        )
    possible = table["probability"].between(0, 1) & np.isfinite(table["nll"])
    if not possible.all():
        first = table.loc[~possible, ["name", "probability", "nll"]].iloc[0]
        raise ValueError(
            f"Clip {first['name']} has the probability {first['probability']} and the nll {first['nll']}: "
            "one lies from 0 to 1, the other is finite."
        )
    return table


def top1(table: pd.DataFrame) -> float:
    """Share of test clips whose most probable class is the true one (the paper's accuracy, section 4.2)."""
    checked(table)
    return float((table["label"] == table["predicted"]).mean())


def nll(table: pd.DataFrame) -> float:
    """Mean negative log-likelihood of the true class in nats: the test loss of the paper's Fig. 4."""
    return float(checked(table)["nll"].mean())


def confusion(table: pd.DataFrame, classes: Sequence[str] | None = None) -> pd.DataFrame:
    """Counts of clips, rows the true class, columns the predicted one.

    `classes` fixes the rows and their order; by default every class that occurs, sorted. A class without a
    test clip keeps its row of zeros and is listed in `matrix.attrs["absent"]`. Raises ValueError when the
    table holds a class that `classes` does not.
    """
    from sklearn.metrics import confusion_matrix

    checked(table)
    seen = set(table["label"]) | set(table["predicted"])
    classes = sorted(seen) if classes is None else list(classes)
    if unknown := sorted(seen - set(classes)):
        raise ValueError(
            f"The predictions hold classes that are not among the {len(classes)} given: {unknown}."
        )
    counts = confusion_matrix(table["label"], table["predicted"], labels=classes)  # (K, K)
    matrix = pd.DataFrame(
        counts, index=pd.Index(classes, name="true"), columns=pd.Index(classes, name="predicted")
    )
    matrix.attrs["absent"] = [name for name in classes if name not in set(table["label"])]
    return matrix


def per_class(table: pd.DataFrame) -> pd.DataFrame:
    """One row per class with test clips: class, clips, correct, top1, most_confused_with.

    `most_confused_with` is the commonest wrong answer, the first in alphabetical order on ties, empty when
    all clips are right.
    """
    matrix = confusion(table)
    rows = []
    for name in matrix.index.difference(matrix.attrs["absent"]):
        clips, correct = int(matrix.loc[name].sum()), int(matrix.loc[name, name])
        wrong = matrix.loc[name].drop(name)
        rows.append((name, clips, correct, correct / clips, wrong.idxmax() if clips > correct else ""))
    return pd.DataFrame(rows, columns=["class", "clips", "correct", "top1", "most_confused_with"])


def calibration(table: pd.DataFrame, bins: int = 15) -> tuple[float, pd.DataFrame]:
    """Expected calibration error, and the bins of the reliability diagram behind it.

    Clips are put in `bins` equally wide bins of the predicted class's probability; the error is the mean
    distance between a bin's mean probability and its top-1, weighted by clips. Columns of the table: low,
    high, clips, probability, top1 (both NaN in an empty bin).
    """
    if bins < 1:
        raise ValueError(f"A reliability diagram needs at least one bin, not {bins}.")
    checked(table)
    edges = np.linspace(0, 1, bins + 1)
    # Closed on the right, so that a probability of exactly 1 falls in the last bin.
    number = np.clip(np.searchsorted(edges, table["probability"]) - 1, 0, bins - 1)  # (B,)
    right = (table["label"] == table["predicted"]).to_numpy()
    frame = pd.DataFrame({"bin": number, "probability": table["probability"].to_numpy(), "right": right})
    groups = frame.groupby("bin").agg(
        clips=("right", "size"), probability=("probability", "mean"), top1=("right", "mean")
    )
    diagram = groups.reindex(range(bins)).rename_axis(None)
    diagram["clips"] = diagram["clips"].fillna(0).astype(int)
    diagram.insert(0, "low", edges[:-1])
    diagram.insert(1, "high", edges[1:])
    gaps = (diagram["top1"] - diagram["probability"]).abs() * diagram["clips"]
    return float(gaps.sum() / len(table)), diagram


def chosen_epoch(history: pd.DataFrame) -> int | None:
    """Epoch with the best validation top-1, the first on ties; None when there was no validation set."""
    validation = history["validation_top1"].to_numpy(dtype=float)  # (epochs,)
    if np.isnan(validation).all():
        return None
    return int(history["epoch"].to_numpy()[np.nanargmax(validation)])


@dataclass(frozen=True)
class Late:
    """Mean and standard deviation (sd) of the test top-1 over the last third of the epochs; fractions."""

    mean: float
    sd: float


def late(history: pd.DataFrame) -> Late:
    """Mean and standard deviation of the test top-1 over the last third of the epochs.

    At a constant learning rate, as in the paper, one epoch differs from the next by several points. So does
    the same epoch between processors, which round sums differently. The mean of many epochs does not. It
    involves no selection: which epochs count is fixed before training. The sd is NaN if one epoch counts.
    """
    epochs = len(history)
    test = history.loc[history["epoch"] > 2 * epochs // 3, "test_top1"]
    return Late(float(test.mean()), float(test.std()))


def selection_bonus(history: pd.DataFrame) -> float:
    """What choosing the epoch on the test set adds: best test top-1 minus that of the chosen epoch.

    A fraction, never below zero; NaN when there is no validation set to choose by.
    """
    epoch = chosen_epoch(history)
    if epoch is None:
        return math.nan
    test = history.set_index("epoch")["test_top1"]
    return float(test.max() - test.loc[epoch])


@dataclass(frozen=True)
class Overfitting:
    """Signs of overfitting after an epoch (claim d of section 4.3); the slope is in points per 100 epochs."""

    epochs: int
    loss_ratio: float
    slope: float
    low: float
    high: float


def overfitting(history: pd.DataFrame, after_epoch: int, level: float = 0.95) -> Overfitting:
    """Ratio of mean test to mean training loss after an epoch, and the trend of the test top-1 from there on.

    The trend is a straight line (least squares) with its t-interval, which treats epochs as independent and
    so understates the uncertainty. Raises ValueError with fewer than three epochs after `after_epoch`.
    """
    from scipy import stats

    late = history[history["epoch"] > after_epoch]
    if len(late) < 3:
        raise ValueError(
            f"Only {len(late)} epochs come after epoch {after_epoch}, and a trend needs at least three: "
            "choose an earlier epoch or train longer."
        )
    line = stats.linregress(late["epoch"].to_numpy(float), late["test_top1"].to_numpy(float))
    unit = 100 * 100  # fraction per epoch -> points per 100 epochs
    half = stats.t.ppf((1 + level) / 2, len(late) - 2) * line.stderr
    ratio = late["test_loss"].mean() / late["train_loss"].mean()
    return Overfitting(
        epochs=len(late),
        loss_ratio=float(ratio),
        slope=float(line.slope * unit),
        low=float((line.slope - half) * unit),
        high=float((line.slope + half) * unit),
    )
