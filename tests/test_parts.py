"""What stands before and between the blocks: the embedding, both BatchNorm axes, the order of a stage."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ctxlstm import models


def context_lstm(seed: int = 0, **options) -> models.ContextLSTM:
    torch.manual_seed(seed)
    small = {"hidden_size": 4, "num_layers": 2, "num_blocks": 2, "embedding": (7, 6)}
    return models.ContextLSTM(5, 3, **small | options).double()


def clips(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_embedding_is_the_public_code_bases():
    with torch.device("meta"):
        layers = list(models.ContextLSTM(dropout=0.3).embedding)
    L, N, R, D = nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout
    kinds = [L, N, R, L, N, R, D, L]
    assert len(layers) == len(kinds)
    assert all(map(isinstance, layers, kinds))
    assert [(m.in_features, m.out_features) for m in layers if isinstance(m, L)] == [
        (2048, 1024), (1024, 768), (768, 512),
    ]  # fmt: skip
    assert {m.momentum for m in layers if isinstance(m, N)} == {0.01}


def test_embedding_sees_each_frame_alone():
    model = context_lstm().eval()
    x = clips(2, 4, 5)
    y = model.embedding(x)
    assert y.shape == (2, 4, 6)
    torch.testing.assert_close(model.embedding(x[:, [2, 0, 3, 1]]), y[:, [2, 0, 3, 1]])
    torch.testing.assert_close(model.embedding(x[:, :1]), y[:, :1])


@pytest.mark.parametrize("nothing", [(), None, []])
def test_no_embedding_gives_the_block_the_raw_features(nothing):
    model = context_lstm(embedding=nothing)
    seen = []
    model.blocks[0].register_forward_hook(lambda block, inputs, output: seen.append(inputs[0]))
    x = clips(2, 4, 5)
    model(x)
    assert torch.equal(seen[0], x)
    assert model.blocks[0].input_size == 5
    assert not list(model.embedding.parameters())


@pytest.mark.parametrize(("axis", "averaged", "length"), [("feature", (0, 1), 8), ("time", (0, 2), 6)])
def test_batch_norm_axes(axis, averaged, length):
    stage = models.stage.Stage(8, None, "relu-bn", axis).double()
    y = clips(3, 6, 8)
    output = stage(y)
    means, deviations = output.mean(averaged), output.std(averaged, correction=0)
    torch.testing.assert_close(means, torch.zeros(length, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(deviations, torch.ones(length, dtype=torch.float64), rtol=0, atol=1e-3)
    assert not torch.allclose(output.mean({"feature": (0, 2), "time": (0, 1)}[axis]), torch.zeros(1).double())
    torch.testing.assert_close(stage.bn.running_mean, 0.1 * F.relu(y).mean(averaged))


def test_batch_norm_over_time_begins_as_batch_norm_1d_does():
    """Asked for a prediction before any training, and after one batch of it."""
    ours, theirs = models.stage.TimeBatchNorm().double().eval(), nn.BatchNorm1d(6).double().eval()
    y = clips(3, 6, 8)
    for _ in range(2):
        torch.testing.assert_close(ours(y), theirs(y), rtol=0, atol=0)
        torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()), rtol=0, atol=0)
        ours.train()
        theirs.train()


def test_stage_orders():
    """After "relu-bn" outputs are centred, after "bn-relu" none is negative."""
    y = clips(3, 6, 8)
    relu_bn = models.stage.Stage(8, None, "relu-bn", "feature").double()(y)
    bn_relu = models.stage.Stage(8, None, "bn-relu", "feature").double()(y)
    assert relu_bn.min() < -0.1
    assert bn_relu.min() == 0
    torch.testing.assert_close(
        bn_relu, F.relu(F.batch_norm(y.flatten(0, 1), None, None, training=True)).view_as(y)
    )


def test_batch_norm_over_time_takes_its_length_from_the_first_clips():
    model = context_lstm(pool="time", batch_norm="time")
    feature = models.count_parameters(context_lstm(pool="time"))
    assert models.count_parameters(model) == feature - 2 * 2 * 8  # none yet
    with torch.inference_mode():
        model(clips(2, 8, 5))  # looking at a model first must not spoil its training
    assert [stage.bn.num_features for stage in model.stages] == [8, 4]
    assert models.count_parameters(model) == feature - 2 * 2 * 8 + 2 * (8 + 4)
    model(clips(2, 8, 5)).sum().backward()
    assert model.stages[1].bn.weight.grad.shape == (4,)
    with pytest.raises(ValueError, match="set up for 8 frames at this block; got 12"):
        model(clips(2, 12, 5))


def test_batch_norm_over_time_is_trained_by_an_optimizer_made_before_the_first_clips():
    model = context_lstm(batch_norm="time", readout="mean")  # which reads every frame
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    F.cross_entropy(model(clips(4, 6, 5)), torch.tensor([0, 1, 2, 0])).backward()
    optimizer.step()
    assert all((stage.bn.weight != 1).all() for stage in model.stages)


def test_batch_norm_over_time_goes_through_a_state_dict():
    trained = context_lstm(batch_norm="time")
    x = clips(4, 6, 5)
    trained(x)
    for other in (context_lstm(1, batch_norm="time"), context_lstm(1, batch_norm="time")):
        other.load_state_dict(trained.state_dict())
        assert torch.equal(other.eval()(x), trained.eval()(x))
        assert models.count_parameters(other) == models.count_parameters(trained)
