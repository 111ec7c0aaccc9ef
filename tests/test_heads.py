"""The heads without an LSTM: by hand, against scikit-learn, and what they refuse."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from ctxlstm import models
from ctxlstm.models import references


def clips(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_mean_linear_and_single_frame_by_hand():
    x = clips(2, 5, 4)
    for name, seen in (("mean_linear", x.mean(1)), ("single_frame", x[:, 2])):
        model = models.build(name, input_size=4, num_classes=3).double()
        torch.testing.assert_close(model(x), seen @ model.linear.weight.T + model.linear.bias)
    assert torch.equal(model(x[:, :1]), model(x[:, :1].expand(-1, 5, -1)))  # one frame will do


@given(
    known=st.integers(1, 30), classes=st.integers(2, 5), frames=st.integers(1, 4), seed=st.integers(0, 2**32)
)
@settings(max_examples=25, deadline=None)
def test_nearest_neighbour_equals_scikit_learn(known, classes, frames, seed):
    x, unseen = clips(known, frames, 6, seed=seed), clips(10, frames, 6, seed=seed + 1)
    y = torch.randint(classes, (known,), generator=torch.Generator().manual_seed(seed))
    model = references.NearestNeighbour(6, classes).double()
    model.learn(x, y)
    theirs = KNeighborsClassifier(1, metric="cosine").fit(x.mean(1).numpy(), y.numpy())
    logits = model(unseen)
    assert logits.argmax(1).tolist() == theirs.predict(unseen.mean(1).numpy()).tolist()
    distance, _ = theirs.kneighbors(unseen.mean(1).numpy())
    np.testing.assert_allclose(logits.max(1).values, 1 - distance[:, 0], atol=1e-12)
    absent = sorted(set(range(classes)) - set(y.tolist()))
    assert (logits[:, absent] == -1).all()
    assert (model(x).max(1).values > 1 - 1e-12).all()  # a known clip is its own neighbour


def test_nearest_neighbour_has_nothing_to_train_and_learns_anew():
    model = references.NearestNeighbour(4, 2)
    assert list(model.parameters()) == []
    x = torch.eye(4)[:, None].repeat(1, 3, 1)  # four clips along the four axes
    model.learn(x, torch.tensor([0, 1, 0, 1]))
    assert model(x).tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    model.learn(x[:2] * 100, torch.tensor([1, 0]))  # length does not matter
    assert model(x).tolist() == [[0, 1], [1, 0], [0, 0], [0, 0]]
    assert model.vectors.shape == (2, 4)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ((2, 4), [0, 1], r"x must be clips \(B, T, D\) with D = 4"),
        ((2, 3, 4), [0], r"one class for each of the 2 clips; got \(1,\)"),
        ((2, 3, 4), [0, 2], r"all of them in 0\.\.1"),
        ((2, 3, 4), [-1, 0], r"all of them in 0\.\.1"),
        ((0, 3, 4), [], "at least one class"),
    ],
)
def test_nearest_neighbour_refuses_wrong_clips(x, y, message):
    with pytest.raises(ValueError, match=message):
        references.NearestNeighbour(4, 2).learn(torch.zeros(x), torch.tensor(y, dtype=torch.int64))


def test_nearest_neighbour_says_when_it_knows_nothing():
    with pytest.raises(ValueError, match=r"call learn\(x, y\) first"):
        references.NearestNeighbour(4, 2)(torch.zeros(1, 3, 4))


def test_nearest_neighbour_refuses_the_vectors_of_other_features():
    known = references.NearestNeighbour(4, 2)
    known.learn(torch.ones(3, 2, 4), torch.tensor([0, 1, 0]))
    with pytest.raises(RuntimeError, match="size mismatch for vectors"):
        references.NearestNeighbour(5, 2).load_state_dict(known.state_dict())


def test_transformer_positions_are_the_published_waves():
    waves = references.positions(torch.zeros(1, 50, 6, dtype=torch.float64))
    for t, j in itertools.product((0, 1, 49), range(3)):
        angle = t / 10_000 ** (2 * j / 6)
        assert waves[t, j].item() == pytest.approx(np.sin(angle))
        assert waves[t, 3 + j].item() == pytest.approx(np.cos(angle))
    assert references.positions(torch.zeros(1, 4, 5)).shape == (4, 5)  # an odd width will do


@pytest.mark.parametrize(("hidden_size", "attention_heads"), [(64, 8), (12, 4), (6, 2), (5, 1)])
def test_transformer_takes_any_width(hidden_size, attention_heads):
    model = models.build("transformer", input_size=5, num_classes=3, hidden_size=hidden_size)
    assert model.encoder.layers[0].self_attn.num_heads == attention_heads
    assert model(torch.randn(2, 4, 5)).shape == (2, 3)
