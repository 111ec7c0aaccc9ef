"""Measures of information loss: rank, reconstruction, linear probes (paper, section 3.3; chapter 5).

The paper assumes that convolution, ReLU and pooling lose information and that a shortcut keeps it, but
measures neither. Each function here answers one narrow question about the rows of a matrix. None of them
measures "the information": a function of the input never holds more of it than the input, yet its rank may
rise, and a probe may read it more easily.

    effective_rank, numerical_rank   over how many directions do the rows spread?
    reconstruction_error             how much of a target does the best linear map miss, on groups it has not seen?
    linear_probe                     how well does a linear classifier tell the classes, on groups it has not seen?

Shape letters: N rows (clips, frames or positions), D columns.
"""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:  # scikit-learn takes seconds to import, and the ranks need none of it
    from sklearn.pipeline import Pipeline


def effective_rank(x: Tensor) -> float:
    """The number of directions over which the rows of x (N, D) spread, as a real number of at least 1.

    exp of the entropy of the singular values, scaled to sum to 1 (O. Roy and M. Vetterli, "The effective rank: a
    measure of effective dimensionality", EUSIPCO 2007): k equal singular values give k. The columns are centred
    first, so a constant added to all rows changes nothing; rows that are all equal give 0.
    """
    values = _singular_values(x)  # (min(N, D),)
    if not values.any():
        return 0.0
    shares = values / values.sum()  # (min(N, D),)
    return float(torch.special.entr(shares).sum().exp())


def numerical_rank(x: Tensor) -> int:
    """How many singular values of x (N, D), columns centred, are above rounding error.

    The bound is the usual one, max(N, D) times the largest singular value times the machine epsilon of x's
    type, but at least that of float32, in which activations are computed.
    """
    values = _singular_values(x)  # (min(N, D),)
    unit = max(torch.finfo(x.dtype).eps, torch.finfo(torch.float32).eps)
    return int((values > max(x.shape) * unit * values.max()).sum()) if values.any() else 0


def reconstruction_error(
    source: Tensor, target: Tensor, groups: np.ndarray, *, folds: int = 3, strength: float = 1e-3
) -> float:
    """The share of the target's variance that the best linear map of the source misses, on unseen groups.

    0: all of the target can be computed linearly from the source; 1: nothing, no better than the target's mean; above
    1: worse than the mean. A nonlinear map might do better, so this is an upper bound on what is lost.

    Args:
        source: (N, D); one common factor brings the mean variance of its columns to 1 before the fit.
        target: (N, D'), the same rows.
        groups: (N,), rows of one group are all in the fit or all in the test.
        folds: parts into which the groups are cut; each is the test once.
        strength: the ridge penalty per row of the fit.

    Raises:
        ValueError: unequal numbers of rows, non-finite values, fewer groups than folds, a constant target.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GroupKFold

    source, target = _rows(source, groups), _rows(target, groups)
    _check_folds(groups, folds)
    missed = total = 0.0
    for fit, test in GroupKFold(folds).split(source, groups=groups):
        # One scale for all columns: a column that hardly varies in the fit must not be blown up in the test.
        scale = np.sqrt(source[fit].var(axis=0).mean()) or 1.0
        model = Ridge(alpha=strength * len(fit)).fit(source[fit] / scale, target[fit])
        missed += np.square(target[test] - model.predict(source[test] / scale)).sum()
        total += np.square(target[test] - target[fit].mean(axis=0)).sum()
    if total == 0:
        raise ValueError("the target is the same in every row, so there is nothing to reconstruct")
    return float(missed / total)


def linear_probe(
    x: Tensor, labels: np.ndarray, groups: np.ndarray, *, folds: int = 4, strength: float = 0.1
) -> np.ndarray:
    """Accuracy of a linear classifier on x (N, D), cross-validated by group: one value per fold, (folds,).

    Logistic regression on columns scaled to variance 1. Rows of one group are never on both sides; the
    classes are spread evenly over the folds. The folds share most of their training rows, so their spread
    understates how much another data set would change the accuracy.

    Args:
        x: (N, D).
        labels: (N,), the classes.
        groups: (N,), for clips: the source video.
        folds: parts into which the groups are cut.
        strength: of the penalty, 1 / C of scikit-learn's LogisticRegression.

    Raises:
        ValueError: unequal numbers of rows, non-finite values, fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    rows, labels = _rows(x, groups), np.asarray(labels)
    if len(labels) != len(rows):
        raise ValueError(f"labels must name a class for each of the {len(rows)} rows; got {len(labels)}")
    _check_folds(groups, folds)
    splits = StratifiedGroupKFold(folds).split(rows, labels, groups)
    return np.array(
        [_probe(strength).fit(rows[fit], labels[fit]).score(rows[test], labels[test]) for fit, test in splits]
    )


def _probe(strength: float) -> "Pipeline":
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=1 / strength, max_iter=2000))


def _singular_values(x: Tensor) -> Tensor:
    """Singular values of x (N, D) with its columns centred, largest first, float64 (min(N, D),)."""
    if x.ndim != 2 or min(x.shape) == 0:
        raise ValueError(f"x must be a matrix (N, D) with at least one row and column; got {tuple(x.shape)}")
    if not torch.isfinite(x).all():
        raise ValueError("x holds values that are not finite: check where it comes from")
    x = x.detach().double()
    values = torch.linalg.svdvals(x - x.mean(dim=0))  # (min(N, D),)
    rounding = max(x.shape) * torch.finfo(x.dtype).eps * torch.linalg.matrix_norm(x)
    return values.where(
        values > rounding, 0.0
    )  # equal rows: their mean is rounded, the difference is not quite 0


def _rows(x: Tensor, groups: np.ndarray) -> np.ndarray:
    if x.ndim != 2 or len(x) != len(groups):
        raise ValueError(
            f"expected a matrix (N, D) with one row for each of the {len(groups)} entries of groups; got "
            f"{tuple(x.shape)}"
        )
    if not torch.isfinite(x).all():
        raise ValueError("the matrix holds values that are not finite: check where it comes from")
    return x.detach().double().numpy()


def _check_folds(groups: np.ndarray, folds: int) -> None:
    if len(np.unique(groups)) < folds:
        raise ValueError(
            f"{len(np.unique(groups))} groups cannot be cut into {folds} folds: choose fewer folds"
        )
