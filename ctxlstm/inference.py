"""How certain a metric is: intervals and paired tests on predictions, and over seeds (paper section 4.3).

The paper gives one number from one run. It would differ with other test clips, and with another training run.

- *Test clips.* Clips of one source video are right or wrong together, so the independent observations are
  source videos, not clips: `interval`, `sign_flip`. `mcnemar` treats clips as independent and is here for
  comparison.
- *Training.* Another seed splits, starts and shuffles anew: `over_seeds`, `paired_over_seeds`. Seeds that
  split one pool of clips share most of them, which `overlap` corrects for.

SciPy takes seconds to import, so only the functions that need it do so.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ctxlstm.evaluation import checked
from ctxlstm.ucf101 import parse


def groups_known(table: pd.DataFrame) -> bool:
    """Whether it is known which of these clips go together."""
    return "group" not in table or bool((table["group"].notna() & (table["group"] != "")).all())


def _sources(table: pd.DataFrame) -> list:
    """The source video of each clip; if it is not known, each clip is its own."""
    if "group" in table:
        return (table["group"] if groups_known(table) else table["name"]).to_list()
    return [parse(name)[:2] for name in table["name"]]  # (label, group)


def interval(
    table: pd.DataFrame, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Confidence interval of top-1 that respects groups: (low, high), fractions from 0 to 1.

    A bootstrap (BCa) over the source videos of the test set: (class, group) pairs from the clips' names, or
    the column `group`; single clips if groups are not known (`groups_known`). A source enters with all its
    clips. If all sources score the same, as when every clip is right, the exact binomial interval with one
    observation per source is used instead, so that a perfect score does not look certain. With few sources
    the interval is somewhat too narrow. Raises ValueError with fewer than two sources.
    """
    from scipy import stats

    checked(table)
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

    `sources` counts the source videos that favour one of the two, on which a sign flip rests (McNemar: the
    clips).
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    difference: float
    p: float
    sources: int


def mcnemar(*pairs: tuple[pd.DataFrame, pd.DataFrame]) -> Paired:
    """McNemar's exact test on the same clips: do the clips that only one gets right split evenly?

    Several pairs of tables, such as one per seed, form one test. It treats clips as independent; if clips of
    a group go together or are repeated, p is too small, and `sign_flip` decides.
    Raises ValueError where the tables of a pair do not hold the same clips with the same labels.
    """
    from scipy import stats

    counts, _ = _compared(pairs)
    only_a, only_b = counts["only_a"], counts["only_b"]
    p = float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0
    return Paired(**counts, difference=(only_a - only_b) / sum(counts.values()), p=p, sources=only_a + only_b)


def sign_flip(*pairs: tuple[pd.DataFrame, pd.DataFrame]) -> Paired:
    """The same by source video: how likely is so large a difference if sources favour either by chance?

    What a source adds to the difference in right clips, all its clips together, is taken with both signs. p
    is the share of all choices of signs that give at least the observed difference (exact, two-sided).
    Several pairs of tables, such as one per seed, form one test, in which a repeated source is still one
    source.
    Raises ValueError where the tables of a pair do not hold the same clips with the same labels.
    """
    counts, net = _compared(pairs)
    sizes = net[net != 0].abs().to_numpy()
    ways = np.ones(1)  # the distribution of the sum over all signs, from -sum(sizes) to sum(sizes)
    for size in sizes:
        ways = (np.pad(ways, (0, 2 * size)) + np.pad(ways, (2 * size, 0))) / 2
    sums = np.arange(-sizes.sum(), sizes.sum() + 1)
    p = float(ways[abs(sums) >= abs(net.sum())].sum())
    difference = float(net.sum() / sum(counts.values()))
    return Paired(**counts, difference=difference, p=min(1.0, p), sources=len(sizes))


def _compared(pairs: Sequence[tuple[pd.DataFrame, pd.DataFrame]]) -> tuple[dict[str, int], pd.Series]:
    """Clip counts by who is right, and per source the clips only a gets right minus those only b does."""
    if not pairs:
        raise ValueError("there is nothing to compare: give at least one pair of predictions tables")
    both = pd.concat([_side_by_side(a, b) for a, b in pairs])
    a, b = both["a"], both["b"]
    each = {"both": a & b, "only_a": a & ~b, "only_b": b & ~a, "neither": ~a & ~b}
    net = (a.astype(int) - b.astype(int)).groupby(both["source"]).sum()
    return {name: int(clips.sum()) for name, clips in each.items()}, net


def _side_by_side(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """A row per clip: whether a is right, whether b is, and its source video."""
    a, b = checked(a).set_index("name", drop=False), checked(b).set_index("name")
    if different := sorted(set(a.index) ^ set(b.index)):
        raise ValueError(
            f"The two runs were tested on different clips ({len(different)} are in one only, such as "
            f"{different[0]}): compare runs of one protocol, fold and seed of the split."
        )
    b = b.loc[a.index]
    if not (a["label"] == b["label"]).all():
        clip = a.index[a["label"] != b["label"]][0]
        raise ValueError(
            f"The two runs give clip {clip} different true classes: compare runs on the same data."
        )
    right = {"a": a["label"] == a["predicted"], "b": b["label"] == b["predicted"]}
    return pd.DataFrame(right | {"source": [str(source) for source in _sources(a)]})


@dataclass(frozen=True)
class OverSeeds:
    """Mean of one value per seed, its t interval, p of "it is 0", and the smallest mean that would be found.

    `detectable` is found in four of five such studies (power 0.8). All but seeds and mean are NaN if all
    values are equal: without spread nothing can be inferred.
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
    """Mean and interval of one value per seed, corrected for seeds that split one pool of clips anew.

    Such splits share clips, so the spread of the values understates the uncertainty of their mean: the t
    interval uses the variance (1/n + overlap) s^2 with `overlap` = test clips / training clips (Nadeau and
    Bengio, Machine Learning 52, 2003). With 0, for seeds that all have the same split, it is the plain t
    interval. Raises ValueError with fewer than two values, for one that is not finite, and for a `level` or an
    `overlap` that is none.
    """
    from scipy import special, stats

    found = np.asarray(values, dtype=float)  # (seeds,)
    n = len(found)
    if n < 2:
        raise ValueError(
            f"An interval over seeds needs at least two seeds, and there {'is' if n == 1 else 'are'} {n}."
        )
    if found.ndim != 1 or not np.isfinite(found).all():
        raise ValueError("A value of a seed is NaN, infinite or several numbers: leave that seed out.")
    if not 0 < level < 1 or not overlap >= 0:
        raise ValueError(
            f"level is {level} and overlap {overlap}: level lies between 0 and 1, overlap is 0 or more."
        )
    mean, spread = float(found.mean()), float(found.std(ddof=1))
    if spread < 1e-12:
        return OverSeeds(n, mean, *[math.nan] * 4)
    error = spread * math.sqrt(1 / n + overlap)
    edge = stats.t.ppf((1 + level) / 2, n - 1)
    # In standard errors, so that Student's t passes the edge in four of five studies.
    size = special.nctdtrinc(n - 1, 0.2, edge)
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
