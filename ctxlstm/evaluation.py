"""From predictions to metrics (paper section 4.3): how good a run is, and how sure of that one may be.

Everything starts from the predictions table of a run, one row a test clip: `name` (v_<Class>_gNN_cNN),
`label` and `predicted` (class names), `probability` (softmax probability of the predicted class) and `nll`
(negative log-likelihood of the true class, nats). Top-1 is a fraction, 0 to 1. Where a clip's group does not stand in its
name, as in `datasets.folder`, a column `group` says it; "" is a group that nobody knows.

Clips of one UCF101 group are cut from one long video, so they are right or wrong together; intervals here
count groups, not clips, as the independent observations.

SciPy and scikit-learn take seconds to import, and most of a run needs neither: the functions that do import them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ctxlstm.ucf101 import full_index, parse

if TYPE_CHECKING:  # whoever reads records needs no PyTorch
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

    `groups` (B) are those of own clips, whose names do not say them.

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

    Scores are in the order of UCF101's classInd.txt, which is alphabetical whatever the case. Names may lack the `v_` at
    their start. Clips must be UCF101's own.

    Raises:
        ValueError: a name that UCF101 does not have, a clip that is named twice, or not 101 finite scores of a clip.
    """
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
    return _checked(predictions(np.stack(list(scores.values())), y, names, classes))


def _checked(table: pd.DataFrame) -> pd.DataFrame:
    """The table itself, once it is known to be a non-empty predictions table with one row a clip."""
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
    return table


def top1(table: pd.DataFrame) -> float:
    """Share of test clips whose most probable class is the true one (the paper's accuracy, section 4.2)."""
    _checked(table)
    return float((table["label"] == table["predicted"]).mean())


def nll(table: pd.DataFrame) -> float:
    """Mean negative log-likelihood of the true class in nats: the test loss of the paper's Fig. 4."""
    return float(_checked(table)["nll"].mean())


def confusion(table: pd.DataFrame, classes: Sequence[str] | None = None) -> pd.DataFrame:
    """Counts of clips, rows the true class, columns the predicted one.

    `classes` fixes the rows and their order; by default every class that occurs, sorted. A class without a
    test clip keeps its row of zeros and is listed in `matrix.attrs["absent"]`. Raises ValueError when the
    table holds a class that `classes` does not.
    """
    from sklearn.metrics import confusion_matrix

    _checked(table)
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
    """One row a class that has test clips: class, clips, correct, top1, most_confused_with.

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
    _checked(table)
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


def groups_known(table: pd.DataFrame) -> bool:
    """Whether it is known which of these clips go together."""
    return "group" not in table or bool((table["group"] != "").all())


def _sources(table: pd.DataFrame) -> list:
    """The source video of each clip; where nobody knows it, each clip is its own."""
    if "group" in table:
        return (table["group"] if groups_known(table) else table["name"]).to_list()
    return [parse(name)[:2] for name in table["name"]]  # (label, group)


def interval(
    table: pd.DataFrame, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Confidence interval of top-1 that respects groups: (low, high).

    A bootstrap (BCa) over the source videos of the test set: its (class, group) pairs by the clips' names, or the column
    `group`; single clips where groups are not known (`groups_known`). A source enters with all its clips.
    Where it has no spread, as when every clip is right, the exact binomial interval with one observation a
    source stands in, so that a perfect score does not look certain. With few sources the interval is
    somewhat too narrow. Raises ValueError with fewer than two sources.
    """
    from scipy import stats

    _checked(table)
    right = (table["label"] == table["predicted"]).to_numpy()
    counts = (
        pd.DataFrame({"source": _sources(table), "right": right})
        .groupby("source")["right"]
        .agg(["sum", "size"])
    )
    if len(counts) < 2:
        raise ValueError(
            f"All {len(table)} test clips are of one group, and an interval needs at least two: "
            "evaluate on more groups."
        )
    correct, clips = counts["sum"].to_numpy(), counts["size"].to_numpy()
    share = correct.sum() / clips.sum()
    if np.allclose(correct, share * clips):
        exact = stats.binomtest(round(share * len(counts)), len(counts)).proportion_ci(level)
        return float(exact.low), float(exact.high)
    result = stats.bootstrap(
        (correct, clips),
        lambda correct, clips, axis: correct.sum(axis) / clips.sum(axis),
        paired=True,
        vectorized=True,
        confidence_level=level,
        n_resamples=resamples,
        batch=100,  # bounds the memory: BCa leaves out every source once
        random_state=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


@dataclass(frozen=True)
class Paired:
    """Two models on the same clips: clips right in both, in only one, in neither; top-1 of a minus b; p.

    `sources` are the source videos that favour one of the two: what a sign flip rests on (McNemar: the clips).
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    difference: float
    p: float
    sources: int


def mcnemar(a: pd.DataFrame, b: pd.DataFrame) -> Paired:
    """McNemar's exact test on the same clips: do the clips that only one gets right split evenly?

    The test takes clips as independent; where clips of a group go together, p is too small: `sign_flip` decides.
    Raises ValueError when the tables do not hold the same clips with the same labels.
    """
    from scipy import stats

    counts, _ = _compared(a, b)
    only_a, only_b = counts["only_a"], counts["only_b"]
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return Paired(**counts, difference=(only_a - only_b) / len(a), p=p, sources=only_a + only_b)


def sign_flip(*pairs: tuple[pd.DataFrame, pd.DataFrame]) -> Paired:
    """The same question by source video: would as large a difference come up if every source favoured either by chance?

    What a source adds to the difference of right clips is taken with both signs, all its clips together, and the share
    of all choices of signs that give at least the observed difference is p (exact, two-sided). Several pairs of tables,
    such as those of several seeds, are one test in which a source that comes again is still one source.
    Raises ValueError where the tables of a pair do not hold the same clips with the same labels.
    """
    found = [_compared(a, b) for a, b in pairs]
    counts = pd.DataFrame([counts for counts, _ in found]).sum()
    net = (
        pd.concat([net for _, net in found]).groupby(level=0).sum()
    )  # of each source: clips that only a has right, less b's
    net = net[net != 0].abs().to_numpy()
    ways = np.ones(1)  # the distribution of the sum over all signs, from -sum(net) to sum(net)
    for size in net:
        ways = (np.pad(ways, (0, 2 * size)) + np.pad(ways, (2 * size, 0))) / 2
    sums = np.arange(-net.sum(), net.sum() + 1)
    observed = counts["only_a"] - counts["only_b"]
    p = float(ways[abs(sums) >= abs(observed)].sum())
    return Paired(
        **counts.astype(int), difference=float(observed / counts.sum()), p=min(1.0, p), sources=len(net)
    )


def _compared(a: pd.DataFrame, b: pd.DataFrame) -> tuple[dict[str, int], pd.Series]:
    """Clips by who is right, and for each source the clips that only a has right, less those that only b has."""
    a, b = _checked(a).set_index("name", drop=False), _checked(b).set_index("name")
    if different := sorted(set(a.index) ^ set(b.index)):
        raise ValueError(
            f"The two runs were tested on different clips ({len(different)} are in one only, such as "
            f"{different[0]}): compare runs of one protocol, fold and seed of the split."
        )
    b = b.loc[a.index]
    if not (a["label"] == b["label"]).all():
        clip = a.index[a["label"] != b["label"]][0]
        raise ValueError(f"The two runs give clip {clip} different true classes: they are of different data.")
    right_a, right_b = a["label"] == a["predicted"], b["label"] == b["predicted"]
    each = {
        "both": right_a & right_b, "only_a": right_a & ~right_b, "only_b": right_b & ~right_a, "neither": ~right_a & ~right_b,
    }  # fmt: skip
    sources = pd.Series(_sources(a)).map(str).to_numpy()
    net = (right_a.astype(int) - right_b.astype(int)).groupby(sources).sum()
    return {name: int(clips.sum()) for name, clips in each.items()}, net


@dataclass(frozen=True)
class OverSeeds:
    """Mean of one value a seed, its t interval, p of "it is 0", and the smallest true value that so many seeds would find.

    `detectable` is found in four of five such studies (power 0.8). All but seeds and mean are NaN where the seeds give no
    spread: from equal values nothing can be told.
    """

    seeds: int
    mean: float
    low: float
    high: float
    p: float
    detectable: float


def over_seeds(
    values: "Sequence[float] | np.ndarray | pd.Series", *, overlap: float = 0.0, level: float = 0.95
) -> OverSeeds:
    """Mean and interval of one value a seed, with the correction for seeds that split one pool of clips anew.

    Such splits share clips, so their values vary less than the mean is uncertain: the t interval takes the variance
    (1/n + overlap) s^2 with `overlap` = test clips / training clips (Nadeau and Bengio, Machine Learning 52, 2003). With 0,
    where every seed has the same split, it is the plain t interval. Raises ValueError with fewer than two values, and
    for a NaN.
    """
    from scipy import special, stats

    found = np.asarray(values, dtype=float)  # (seeds,)
    n = len(found)
    if n < 2:
        raise ValueError(
            f"An interval over seeds needs at least two seeds, and there {'is' if n == 1 else 'are'} {n}."
        )
    if np.isnan(found).any():
        raise ValueError("A value of a seed is NaN: leave that seed out.")
    mean, spread = float(found.mean()), float(found.std(ddof=1))
    if spread < 1e-12:
        return OverSeeds(n, mean, *[math.nan] * 4)
    error = spread * math.sqrt(1 / n + overlap)
    edge = stats.t.ppf((1 + level) / 2, n - 1)
    size = special.nctdtrinc(
        n - 1, 0.2, edge
    )  # in standard errors: Student's t passes the edge in four of five studies
    p = 2 * stats.t.sf(abs(mean) / error, n - 1)
    half = float(edge) * error
    return OverSeeds(n, mean, mean - half, mean + half, float(p), float(size) * error)


def paired_over_seeds(
    a: Mapping[int, float], b: Mapping[int, float], *, overlap: float = 0.0, level: float = 0.95
) -> OverSeeds:
    """Compare two heads trained with the same seeds: `a` and `b` map a seed to a top-1 (or another metric).

    `over_seeds` of the differences a minus b, so that what a seed does to both heads (the split above all) cancels.
    Raises ValueError when a seed is missing from one side, when there are fewer than two, and for a NaN.
    """
    a, b = dict(a), dict(b)
    for side, mine, other in (("first", set(a), set(b)), ("second", set(b), set(a))):
        if missing := sorted(other - mine):
            raise ValueError(
                f"The {side} head has no run with seed {missing}: train it, or leave that seed out."
            )
    seeds = sorted(a)
    if len(seeds) < 2:
        raise ValueError(f"A difference over seeds needs at least two seeds, and there are {len(seeds)}.")
    differences = np.array([a[seed] - b[seed] for seed in seeds])
    if np.isnan(differences).any():
        raise ValueError(
            f"The value of seed {seeds[int(np.isnan(differences).argmax())]} is NaN in one of the heads."
        )
    return over_seeds(differences, overlap=overlap, level=level)


def chosen_epoch(history: pd.DataFrame) -> int | None:
    """Epoch with the best validation top-1, the first on ties; None when there was no validation part."""
    validation = history["validation_top1"].to_numpy(dtype=float)  # (epochs,)
    if np.isnan(validation).all():
        return None
    return int(history["epoch"].to_numpy()[np.nanargmax(validation)])


@dataclass(frozen=True)
class Late:
    """Test top-1 over the last third of the epochs: its mean, and how far single epochs lie from it (sd); fractions."""

    mean: float
    sd: float


def late(history: pd.DataFrame) -> Late:
    """Mean and standard deviation of the test top-1 over the last third of the epochs.

    At a constant learning rate, which is the paper's, one epoch differs from the next by several points, and so does the
    same epoch from processor to processor, whose sums are rounded differently. The mean of many epochs does not. It
    chooses nothing: which epochs count is known before the training. The sd is NaN where one epoch counts.
    """
    epochs = len(history)
    test = history.loc[history["epoch"] > 2 * epochs // 3, "test_top1"]
    return Late(float(test.mean()), float(test.std()))


def selection_bonus(history: pd.DataFrame) -> float:
    """What choosing the epoch on the test part adds: best test top-1 minus that of the chosen epoch.

    A fraction, never below zero; NaN when there is no validation part to choose by.
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
    """Mean test loss over mean training loss after an epoch, and the trend of the test top-1 from there on.

    The trend is a straight line (least squares) with its t-interval, which takes epochs as independent and
    is therefore a lower bound of the doubt. Raises ValueError with fewer than three epochs after the given.
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
