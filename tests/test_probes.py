"""The rulers of chapter 5: known answers, what must not matter, and what they refuse."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctxlstm.classroom import probes


def orthogonal(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Orthonormal columns (rows, columns), each with mean 0."""
    x = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(x - x.mean(dim=0)).Q


@pytest.mark.parametrize("k", [1, 2, 7])
def test_equal_singular_values_give_their_number(k):
    assert probes.effective_rank(orthogonal(30, k)) == pytest.approx(k)


def test_effective_rank_of_two_unequal_directions():
    x = orthogonal(30, 2) * torch.tensor([3.0, 1.0])  # shares 3/4 and 1/4
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert probes.effective_rank(x) == pytest.approx(math.exp(entropy))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 20), st.integers(1, 20), st.floats(0.01, 100), st.integers(0, 100))
def test_effective_rank_knows_neither_scale_nor_shift_nor_rotation(rows, columns, scale, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, dtype=torch.float64, generator=generator)
    turn = torch.linalg.qr(torch.randn(columns, columns, dtype=torch.float64, generator=generator)).Q
    rank = probes.effective_rank(x)
    assert probes.effective_rank(scale * x @ turn + 3.0) == pytest.approx(rank, rel=1e-6)
    assert 1 - 1e-9 <= rank <= min(rows - 1, columns) + 1e-9


def test_equal_rows_have_no_rank():
    x = torch.full((20, 5), 1000.1)
    assert probes.effective_rank(x) == 0
    assert probes.numerical_rank(x) == 0


def test_a_relu_can_raise_the_rank_while_it_loses_information():
    line = torch.linspace(-1, 1, 50)[:, None] @ torch.tensor([[1.0, -1.0]])  # (50, 2), rank 1
    assert probes.numerical_rank(line) == 1
    assert probes.numerical_rank(line.relu()) == 2


def test_numerical_rank_is_not_deceived_by_float32_rounding():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, generator=generator) @ torch.randn(
        4, 50, generator=generator
    )  # (200, 50), rank 4
    assert probes.numerical_rank(x) == 4
    assert probes.numerical_rank(x.double()) == 4  # in double precision the rounding of float32 remains


def test_reconstruction_of_a_linear_map_and_of_noise():
    generator = torch.Generator().manual_seed(0)
    source, noise = torch.randn(600, 5, generator=generator), torch.randn(600, 3, generator=generator)
    groups = np.arange(600) // 10
    target = source @ torch.randn(5, 3, generator=generator) + 7.0
    assert probes.reconstruction_error(source, target, groups) < 1e-4
    assert probes.reconstruction_error(source, noise, groups) == pytest.approx(1, abs=0.1)
    assert probes.reconstruction_error(source[:, :2], source, groups) == pytest.approx(0.6, abs=0.05)


def test_reconstruction_is_not_fooled_by_more_columns_than_rows():
    generator = torch.Generator().manual_seed(0)
    source, target = torch.randn(60, 500, generator=generator), torch.randn(60, 2, generator=generator)
    assert probes.reconstruction_error(source, target, np.arange(60) // 5) > 0.8


def test_a_column_that_hardly_moves_in_the_fit_does_no_harm_in_the_test():
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(300, 4, generator=generator)
    groups = np.arange(300) // 10
    rare = torch.zeros(300, 1)
    rare[groups == 3] = 1.0  # a unit that is active in one source video only
    rare[0] += 1e-6
    error = probes.reconstruction_error(torch.cat([source, rare], dim=1), source, groups)
    assert error < 1e-3


def test_the_probe_separates_what_can_be_separated_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    labels = np.tile(["a", "b", "c"], 40)
    groups = np.arange(120) // 3 // 2
    x = torch.randn(120, 6, generator=generator)
    assert probes.linear_probe(x, labels, groups).mean() < 0.5
    x[:, 0] += 20 * torch.as_tensor(labels == "a")
    x[:, 1] += 20 * torch.as_tensor(labels == "b")
    scores = probes.linear_probe(x, labels, groups, folds=5)
    assert scores.shape == (5,)
    assert scores.mean() > 0.98


def test_the_probe_never_tests_on_a_group_it_was_fitted_on():
    labels, groups = np.tile(["a", "b"], 20).repeat(3), np.arange(40).repeat(3)
    x = torch.eye(40).repeat_interleave(3, dim=0)  # each group has a column of its own: nothing else to go by
    assert probes.linear_probe(x, labels, groups).mean() <= 0.6


def test_refusals():
    x, groups = torch.randn(10, 3), np.arange(10)
    with pytest.raises(ValueError, match=r"matrix \(N, D\).*got \(2, 3, 4\)"):
        probes.effective_rank(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="at least one row and column"):
        probes.numerical_rank(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="not finite"):
        probes.effective_rank(torch.full((3, 3), float("nan")))
    with pytest.raises(ValueError, match="one row for each of the 10 entries of groups"):
        probes.reconstruction_error(x[:9], x[:9], groups)
    with pytest.raises(ValueError, match="nothing to reconstruct"):
        probes.reconstruction_error(x, torch.ones(10, 2), groups)
    with pytest.raises(ValueError, match="2 groups cannot be cut into 4 folds"):
        probes.linear_probe(x, groups % 2, groups % 2)
    with pytest.raises(ValueError, match="each of the 10 rows; got 4"):
        probes.linear_probe(x, groups[:4], groups)
