"""The models against cascades written out by hand, option by option; sizes, heads, registry and messages."""

import inspect
import itertools
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from ctxlstm import gates, models

TOLERANCE = {"rtol": 1e-9, "atol": 1e-9}
SMALL = {"hidden_size": 4, "num_layers": 2, "num_blocks": 2, "embedding": (7, 6)}


def context_lstm(seed: int = 0, **options) -> models.ContextLSTM:
    """A small Context-LSTM (D = 5, K = 3) in float64; the same seed gives the same weights."""
    torch.manual_seed(seed)
    return models.ContextLSTM(5, 3, **SMALL | options).double()


def clips(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Recorder:
    """Keeps the inputs and outputs of some modules while a model runs."""

    def __init__(self, *modules: nn.Module) -> None:
        self.inputs: list[tuple] = []
        self.outputs: list = []
        for module in modules:
            module.register_forward_hook(self.keep)

    def keep(self, module, inputs, output) -> None:
        self.inputs.append(inputs)
        self.outputs.append(output)


# Sizes.


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("context_lstm", 53_851_493),
        ("context_lstm_no_pool", 58_176_869),
        ("context_lstm_bn_relu", 53_851_493),
        ("cnn_lstm", 9_743_717),
        ("shuffled_lstm", 9_743_717),
        ("mean_linear", 2048 * 101 + 101),
        ("single_frame", 2048 * 101 + 101),
        ("nearest_neighbour", 0),
    ],
)
def test_parameter_counts_with_the_papers_sizes(name, parameters):
    with torch.device("meta"):
        assert models.count_parameters(models.build(name)) == parameters


def test_parameter_counts_of_the_parts():
    with torch.device("meta"):
        pooled, not_pooled = models.ContextLSTM(), models.ContextLSTM(pool=None)
        over_time = models.ContextLSTM(pool="time")
    assert models.count_parameters(pooled.embedding) == 3_282_688  # BatchNorms included
    assert [models.count_parameters(block) for block in pooled.blocks] == [16_801_792] * 3
    assert [models.count_parameters(stage) for stage in pooled.stages] == [2 * 1024] * 3
    assert models.count_parameters(pooled.head) == 157_285
    assert models.count_parameters(not_pooled.head) == 288_357
    assert models.count_parameters(over_time) == models.count_parameters(not_pooled)


def test_signature_is_the_documented_one():
    assert str(inspect.signature(models.ContextLSTM.__init__)).startswith(
        "(self, input_size: int = 2048, num_classes: int = 101, *, hidden_size: int = 512, "
        "num_layers: int = 3, num_blocks: int = 3"
    )
    defaults = {n: p.default for n, p in inspect.signature(models.ContextLSTM).parameters.items()}
    chosen = ("embedding", "pool", "order", "batch_norm", "handover", "readout", "dropout", "cell")
    assert [defaults[option] for option in chosen] == [
        (1024, 768, 512), "feature", "relu-bn", "feature", "hc", "last", 0.0, "torch",
    ]  # fmt: skip


# The whole model against the same computation written out by hand, for every combination of options.


def normalise(y: Tensor, bn: nn.BatchNorm1d, axis: int) -> Tensor:
    """Training-mode BatchNorm in its definition: everything but `axis` is averaged over."""
    others = [a for a in range(y.ndim) if a != axis]
    shape = [-1 if a == axis else 1 for a in range(y.ndim)]
    variance, mean = torch.var_mean(y, others, correction=0, keepdim=True)
    return (y - mean) / (variance + bn.eps).sqrt() * bn.weight.view(shape) + bn.bias.view(shape)


def embed(model: nn.Module, x: Tensor) -> Tensor:
    linears = [m for m in model.embedding if isinstance(m, nn.Linear)]
    norms = [m for m in model.embedding if isinstance(m, nn.BatchNorm1d)]
    for linear, bn in itertools.zip_longest(linears, norms):
        x = x @ linear.weight.T + linear.bias
        x = normalise(x, bn, 2).clamp(min=0) if bn else x
    return x


def classify(model: nn.Module, y: Tensor) -> Tensor:
    first, last = model.head[0], model.head[-1]
    return (y @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias


def pool_by_hand(y: Tensor, pool: str | None) -> Tensor:
    if pool == "feature":
        return torch.maximum(y[..., 0::2], y[..., 1::2])
    if pool == "time":
        pairs = y.shape[1] // 2
        return torch.stack([torch.maximum(y[:, 2 * t], y[:, 2 * t + 1]) for t in range(pairs)], dim=1)
    return y


def hand_over_by_hand(h: Tensor, c: Tensor, handover: str | None) -> tuple[Tensor, Tensor]:
    swapped = [row + 1 if row % 2 == 0 else row - 1 for row in range(len(h))]
    zeros = torch.zeros_like(h)
    return {
        "hc": (h, c), "detach": (h, c), "h": (h, zeros), "c": (zeros, c),
        "swap": (h[swapped], c[swapped]), None: (zeros, zeros),
    }[handover]  # fmt: skip


def read_by_hand(y: Tensor, readout: str) -> Tensor:
    half = y.shape[2] // 2
    if readout == "ends":
        return torch.cat([y[:, -1, :half], y[:, 0, half:]], dim=1)
    return {"last": y[:, -1], "mean": y.sum(1) / y.shape[1], "max": y.max(1).values}[readout]


def cascade_by_hand(model: nn.Module, x: Tensor, options: dict) -> tuple[Tensor, list]:
    y, start, states = embed(model, x), None, []
    for block, stage in zip(model.blocks, model.stages, strict=True):
        y, (h, c) = block(y, start)
        axis = 2 if options["batch_norm"] == "feature" else 1
        if options["order"] == "relu-bn":
            y = normalise(y.clamp(min=0), stage.bn, axis)
        else:
            y = normalise(y, stage.bn, axis).clamp(min=0)
        y = pool_by_hand(y, options["pool"])
        states.append((h, c))
        start = hand_over_by_hand(h, c, options["handover"])
    return classify(model, read_by_hand(y, options["readout"])), states


@st.composite
def cascades(draw) -> dict:
    pool = draw(st.sampled_from(["feature", "time", None]))
    return {
        "pool": pool,
        "hidden_size": draw(st.sampled_from([2, 4] if pool == "feature" else [1, 2, 3])),
        "num_layers": draw(st.integers(1, 3)),
        "num_blocks": draw(st.integers(1, 3)),
        "embedding": draw(st.sampled_from([(), (4,), (4, 3), (4, 3, 6)])),
        "order": draw(st.sampled_from(["relu-bn", "bn-relu"])),
        "batch_norm": draw(st.sampled_from(["feature", "time"])),
        "handover": draw(st.sampled_from(["hc", "h", "c", "swap", "detach", None])),
        "readout": draw(st.sampled_from(["last", "ends", "mean", "max"])),
    }


@given(options=cascades(), more_frames=st.integers(0, 3), seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_context_lstm_equals_the_cascade_by_hand(options, more_frames, seed):
    model = context_lstm(seed, **options)
    x = clips(3, 2 ** options["num_blocks"] + more_frames, 5, seed=seed)
    model(x)  # batch_norm="time" learns its length here
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.7)  # scales and shifts other than 1 and 0
    logits, states = model(x, return_states=True)
    torch.testing.assert_close((logits, states), cascade_by_hand(model, x, options), **TOLERANCE)
    assert torch.equal(logits, model(x))


@given(options=cascades(), dropout=st.sampled_from([0.0, 0.4]), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_gates_equal_torch_in_the_whole_cascade(options, dropout, seed):
    """Logits, states, statistics and every gradient; one state_dict serves both cells."""
    torch_cell = context_lstm(seed, dropout=dropout, cell="torch", **options)
    own_cell = context_lstm(seed + 1, dropout=dropout, cell="gates", **options)
    assert {type(block) for block in own_cell.blocks} == {gates.LSTM}
    x = clips(3, 8, 5, seed=seed).requires_grad_()
    with torch.no_grad():
        torch_cell(x)
    own_cell.load_state_dict(torch_cell.state_dict())
    assert list(own_cell.state_dict()) == list(torch_cell.state_dict())

    results = []
    for model in (torch_cell, own_cell):
        torch.manual_seed(seed)  # the same places are dropped
        logits, states = model(x, return_states=True)
        gradients = torch.autograd.grad((logits * clips(*logits.shape)).sum(), [x, *model.parameters()])
        results.append((logits, states, gradients, dict(model.state_dict())))
    torch.testing.assert_close(*results, **TOLERANCE)


# The hand-over of states.


@pytest.mark.parametrize("cell", ["torch", "gates"])
@pytest.mark.parametrize("handover", ["hc", "h", "c", "swap", "detach", None])
def test_each_block_starts_from_the_state_of_the_one_before(handover, cell):
    model = context_lstm(handover=handover, num_blocks=3, cell=cell)
    seen = Recorder(*model.blocks)
    _, states = model(clips(2, 4, 5), return_states=True)
    starts = [inputs[1] for inputs in seen.inputs]
    assert starts[0] is None
    for k in (0, 1):
        h, c = seen.outputs[k][1]
        assert torch.equal(states[k][0], h)
        assert torch.equal(states[k][1], c)  # what return_states gives is what the block ended in
        if handover is None:
            assert starts[k + 1] is None
        else:
            expected = hand_over_by_hand(h, c, handover)
            assert torch.equal(starts[k + 1][0], expected[0])
            assert torch.equal(starts[k + 1][1], expected[1])
            assert h.abs().min() > 0  # so that none of the comparisons is between zeros
            assert starts[k + 1][0].requires_grad == (handover in ("hc", "h", "swap"))


class Silence(nn.Module):
    def forward(self, y: Tensor) -> Tensor:
        return y[..., ::2] * 0


@pytest.mark.parametrize(
    ("handover", "value", "gradient"),
    [("hc", True, True), ("h", True, True), ("c", True, True), ("swap", True, True),
     ("detach", True, False), (None, False, False)],
)  # fmt: skip
def test_the_state_alone_carries_the_clip_when_outputs_are_silenced(handover, value, gradient):
    model = context_lstm(handover=handover).eval()
    model.stages[0] = Silence()
    x = clips(2, 4, 5).requires_grad_()
    logits = model(x)
    assert (not torch.allclose(logits, model(x + 1))) == value
    (slope,) = torch.autograd.grad(logits.sum(), [x])
    assert bool((slope != 0).any()) == gradient


def test_every_handover_is_a_model_of_its_own_and_detach_differs_in_gradients_only():
    x, results = clips(3, 4, 5), {}
    for handover in ("hc", "h", "c", "swap", "detach", None):
        model = context_lstm(handover=handover)
        stage = Recorder(model.stages[0])
        logits, states = model(x, return_states=True)
        gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
        named = dict(zip(dict(model.named_parameters()), gradients, strict=True))
        results[handover] = (logits, states[0], stage.outputs[0], named)
    for one, other in itertools.combinations(results, 2):
        same = {one, other} == {"hc", "detach"}
        assert torch.equal(results[one][0], results[other][0]) == same, (one, other)
        torch.testing.assert_close(
            results[one][1:3], results[other][1:3], rtol=0, atol=0
        )  # block 1 is untouched
    attached, detached = results["hc"][3], results["detach"][3]
    changed = {name.split(".")[0] + name.split(".")[1] for name in attached
               if not torch.allclose(attached[name], detached[name], rtol=1e-9)}  # fmt: skip
    assert "blocks0" in changed
    assert not changed & {"blocks1", "stages1", "head0", "head3"}


def test_stages_act_on_outputs_only():
    """Other pools and orders change nothing of the first block, neither outputs nor states."""
    x, seen = clips(2, 4, 5), []
    for options in ({}, {"pool": "time"}, {"pool": None}, {"order": "bn-relu"}, {"batch_norm": "time"}):
        model = context_lstm(**options)
        block = Recorder(model.blocks[0])
        _, states = model(x, return_states=True)
        assert torch.equal(states[0][0], block.outputs[0][1][0])
        seen.append((block.outputs[0], model(x)))
    for outputs, _ in seen[1:]:
        torch.testing.assert_close(outputs, seen[0][0], rtol=0, atol=0)
    for (_, one), (_, other) in itertools.combinations(seen, 2):
        assert not torch.allclose(one, other)


# Each option changes what it says and nothing else.


@pytest.mark.parametrize(
    "options",
    [{"order": "bn-relu"}, {"handover": "swap"}, {"handover": None}, {"readout": "mean"}, {"dropout": 0.3},
     {"cell": "gates"}],
)  # fmt: skip
def test_options_without_weights_leave_the_weights_alone(options):
    usual, other = context_lstm().state_dict(), context_lstm(**options).state_dict()
    assert list(usual) == list(other)
    assert all(torch.equal(usual[name], other[name]) for name in usual)


@pytest.mark.parametrize(
    ("pool", "inputs", "last"),
    [
        ("feature", [(2, 28, 6), (2, 28, 4), (2, 28, 4)], (2, 28, 4)),
        ("time", [(2, 28, 6), (2, 14, 8), (2, 7, 8)], (2, 3, 8)),
        (None, [(2, 28, 6), (2, 28, 8), (2, 28, 8)], (2, 28, 8)),
    ],
)
def test_pool_shapes(pool, inputs, last):
    model = context_lstm(pool=pool, num_blocks=3)
    blocks, stages = Recorder(*model.blocks), Recorder(*model.stages)
    assert model(clips(2, 28, 5)).shape == (2, 3)
    assert [seen[0].shape for seen in blocks.inputs] == inputs
    assert [output.shape for output, _ in blocks.outputs] == [(*shape[:2], 8) for shape in inputs]
    assert stages.outputs[-1].shape == last
    assert model.head[0].in_features == last[2]


def test_readout_changes_only_what_the_classifier_reads():
    x, frames = clips(2, 4, 5), []
    for readout in ("last", "ends", "mean", "max"):
        model = context_lstm(readout=readout)
        stage, head = Recorder(model.stages[-1]), Recorder(model.head)
        model(x)
        torch.testing.assert_close(head.inputs[0][0], read_by_hand(stage.outputs[0], readout))
        frames.append(stage.outputs[0])
    assert all(torch.equal(frames[0], other) for other in frames[1:])


@pytest.mark.parametrize("pool", ["feature", None])
def test_halves_of_a_stage_are_the_directions(pool):
    """Forward half: deaf to later frames. Backward half: deaf to earlier ones. So "ends" reads both in full."""
    model = context_lstm(pool=pool, num_blocks=1, num_layers=1, embedding=()).eval()
    stage = Recorder(model.stages[0])
    x = clips(2, 5, 5)
    new_last, new_first = x.clone(), x.clone()
    new_last[:, -1], new_first[:, 0] = 3, 3
    for clip in (x, new_last, new_first):
        model(clip)
    usual, other_last, other_first = stage.outputs
    half = usual.shape[2] // 2
    assert torch.equal(usual[:, :-1, :half], other_last[:, :-1, :half])
    assert torch.equal(usual[:, 1:, half:], other_first[:, 1:, half:])
    ends, last = models.READOUTS["ends"], models.READOUTS["last"]
    for other in (other_last, other_first):
        assert (ends(usual)[:, :half] != ends(other)[:, :half]).any()
        assert (ends(usual)[:, half:] != ends(other)[:, half:]).any()
    assert torch.equal(last(usual)[:, half:], last(other_first)[:, half:])  # has seen one frame only


def test_dropout_is_in_the_fc_layers_and_in_the_blocks():
    model = context_lstm(dropout=0.3)
    places = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout)]
    assert places == ["embedding.3", "head.2"]
    assert {model.embedding[3].p, model.head[2].p, *(block.dropout for block in model.blocks)} == {0.3}
    x = clips(2, 4, 5)
    assert not torch.equal(model(x), model(x))
    assert torch.equal(model.eval()(x), model(x))
    assert torch.equal(context_lstm().eval()(x), context_lstm(dropout=0.3).eval()(x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of dropout where there is one layer
        assert context_lstm(num_layers=1, dropout=0.3).blocks[0].dropout == 0


# CNN-LSTM.


@pytest.mark.parametrize("cell", ["torch", "gates"])
@pytest.mark.parametrize(
    ("bidirectional", "readout"), [(False, "last"), (False, "mean"), (False, "max"), (True, "last"), (True, "ends")]
)  # fmt: skip
def test_cnn_lstm_equals_the_same_by_hand(bidirectional, readout, cell):
    model = models.CNNLSTM(
        5, 3, hidden_size=4, num_layers=2, embedding=(7, 6), bidirectional=bidirectional, readout=readout, cell=cell
    ).double()  # fmt: skip
    x = clips(3, 6, 5)
    plain = nn.LSTM(6, 4, num_layers=2, bidirectional=bidirectional, batch_first=True).double()
    plain.load_state_dict(model.block.state_dict())
    output, state = plain(embed(model, x))
    logits, states = model(x, return_states=True)
    torch.testing.assert_close(logits, classify(model, read_by_hand(output, readout)), **TOLERANCE)
    torch.testing.assert_close(states, [state], **TOLERANCE)
    assert torch.equal(model(x), logits)


def test_cnn_lstm_is_one_way_unless_asked():
    assert models.build("cnn_lstm", input_size=5, hidden_size=4).block.bidirectional is False
    assert models.build("bilstm", input_size=5, hidden_size=4).block.bidirectional is True


# Reference heads.


def test_shuffled_lstm_permutes_the_frames_of_each_clip():
    torch.manual_seed(0)
    model = models.build("shuffled_lstm", input_size=2, num_classes=3, hidden_size=4, embedding=())
    block = Recorder(model.block)
    x = torch.arange(60.0).view(3, 10, 2)  # every frame is one of a kind
    first, second = model(x), model(x)
    model.eval()
    third, fourth, alone = model(x), model(x), model(x[:2])
    assert not torch.equal(first, second)  # training: a new order each time,
    assert torch.equal(third, fourth)  # evaluation: always the same,
    torch.testing.assert_close(alone, third[:2])  # whatever the batch size
    for (seen,) in block.inputs:
        assert torch.equal(seen.sort(dim=1).values, x[: len(seen)])  # the same frames, whole,
        assert not torch.equal(seen, x[: len(seen)])  # in another order,
    orders = block.inputs[2][0][:, :, 0] - x[:, :1, 0]
    assert not torch.equal(orders[0], orders[1])  # and each clip in its own
    torch.manual_seed(5)
    again = model.train()(x)
    torch.manual_seed(5)
    assert torch.equal(model(x), again)  # a seed covers it


def test_gru_is_torchs():
    model = models.build(
        "gru", input_size=5, num_classes=3, hidden_size=4, num_layers=2, embedding=(6,)
    ).double()
    plain = nn.GRU(6, 4, num_layers=2, batch_first=True).double()
    plain.load_state_dict(model.block.state_dict())
    x = clips(2, 4, 5)
    torch.testing.assert_close(model(x), classify(model, plain(embed(model, x))[0][:, -1]), **TOLERANCE)


@pytest.mark.parametrize(
    "options",
    [{}, {"input_size": 1280, "num_classes": 12, "hidden_size": 128}, {"hidden_size": 8}, {"num_blocks": 1},
     {"hidden_size": 48, "embedding": ()}, {"hidden_size": 64, "num_layers": 1, "embedding": (32,)}],
)  # fmt: skip
def test_wide_lstm_has_the_parameters_of_context_lstm(options):
    with torch.device("meta"):
        wide, context = models.build("wide_lstm", **options), models.build("context_lstm", **options)
    assert isinstance(wide, models.CNNLSTM)
    assert wide.block.num_layers == options.get("num_layers", 3)
    assert models.count_parameters(wide) == pytest.approx(models.count_parameters(context), rel=0.01)
    width, target = wide.block.hidden_size, models.count_parameters(context)
    with torch.device("meta"):
        one_off = [models.build("cnn_lstm", **options | {"hidden_size": width + step}) for step in (-1, 1)]
    nearest = abs(models.count_parameters(wide) - target)
    assert all(nearest <= abs(models.count_parameters(other) - target) for other in one_off)


def test_making_a_wide_lstm_draws_only_its_own_weights():
    torch.manual_seed(0)
    wide = models.build("wide_lstm", input_size=5, **SMALL)
    torch.manual_seed(0)
    plain = models.CNNLSTM(5, hidden_size=wide.block.hidden_size, num_layers=2, embedding=(7, 6))
    assert all(torch.equal(a, b) for a, b in zip(wide.parameters(), plain.parameters(), strict=True))


@pytest.mark.parametrize("name", models.NAMES)
def test_who_can_tell_a_clip_from_its_reverse(name):
    """The heads without order cannot; all others can."""
    torch.manual_seed(0)
    model = models.build(name, input_size=5, num_classes=3, **SMALL).double().eval()
    x = clips(4, 7, 5)
    if name == "nearest_neighbour":
        model.learn(x, torch.tensor([0, 1, 2, 0]))
    blind = name in ("mean_linear", "single_frame", "nearest_neighbour")
    assert torch.allclose(model(x), model(x.flip(1)), rtol=1e-9) == blind


@pytest.mark.parametrize("name", ["context_lstm", "cnn_lstm", "gru", "bilstm", "transformer"])
def test_order_can_be_learnt(name):
    """Eight clips of class 0, the same clips played backwards of class 1."""
    torch.manual_seed(0)
    model = models.build(
        name, input_size=4, num_classes=2, hidden_size=16, num_layers=1, num_blocks=2, embedding=()
    )
    x = clips(8, 5, 4).float()
    x, y = torch.cat([x, x.flip(1)]), torch.arange(2).repeat_interleave(8)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(80):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
    assert (model(x).argmax(1) == y).all()


# The registry.


def test_names():
    assert models.NAMES == (
        "context_lstm", "context_lstm_no_pool", "context_lstm_bn_relu", "cnn_lstm", "mean_linear",
        "nearest_neighbour", "single_frame", "shuffled_lstm", "gru", "bilstm", "wide_lstm", "transformer",
    )  # fmt: skip


@pytest.mark.parametrize("name", models.NAMES)
def test_one_set_of_options_serves_every_name(name, tmp_path):
    """And every model goes through a safetensors file, whatever it has learnt."""
    options = {"input_size": 5, "num_classes": 3, "dropout": 0.1, **SMALL}
    assert set(options) == set(models.COMMON)
    model, other = models.build(name, **options), models.build(name, **options)
    x = clips(6, 4, 5).float()
    if name == "nearest_neighbour":
        model.learn(x, torch.tensor([0, 1, 2, 0, 1, 2]))
    assert model(x).shape == (6, 3)
    safetensors.torch.save_file(model.state_dict(), tmp_path / "model.safetensors")
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "model.safetensors"))
    torch.testing.assert_close(other.eval()(x), model.eval()(x), rtol=0, atol=0)


def test_ablations_are_context_lstms_with_one_option_changed():
    no_pool, bn_relu = (models.build(f"context_lstm_{name}", **SMALL) for name in ("no_pool", "bn_relu"))
    assert [(stage.pool, stage.order) for stage in no_pool.stages] == [(None, "relu-bn")] * 2
    assert [(stage.pool, stage.order) for stage in bn_relu.stages] == [("feature", "bn-relu")] * 2
    for name, options in (("no_pool", {"pool": None}), ("bn_relu", {"order": "bn-relu"})):
        torch.manual_seed(0)
        named = models.build(f"context_lstm_{name}", input_size=5, num_classes=3, **SMALL).double()
        x = clips(2, 4, 5)
        assert torch.equal(named(x), context_lstm(**options)(x))


def test_build_passes_a_models_own_options_on():
    model = models.build("context_lstm", handover="swap", readout="ends", cell="gates", **SMALL)
    assert (model.handover, model.readout, type(model.blocks[0])) == ("swap", "ends", gates.LSTM)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("contextlstm", {}, "unknown model 'contextlstm'; valid names: context_lstm, .*, transformer"),
        ("context_lstm", {"hiden_size": 4}, "'context_lstm' has no option 'hiden_size'; its options: input_size, .*cell"),
        ("mean_linear", {"hiden_size": 4}, "no option 'hiden_size'; its options: input_size, num_classes"),
        ("mean_linear", {"pool": None}, "'mean_linear' has no option 'pool'"),
        ("context_lstm_no_pool", {"pool": "time"}, "'context_lstm_no_pool' has no option 'pool'"),
        ("gru", {"cell": "torch"}, "'gru' has no option 'cell'"),
        ("bilstm", {"bidirectional": False}, "'bilstm' has no option 'bidirectional'"),
    ],
)  # fmt: skip
def test_build_refuses_unknown_names_and_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, **options)


# Wrong values.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pool": "both"}, "unknown pool 'both'; valid: 'feature', 'time', None"),
        ({"order": "relu"}, "unknown order 'relu'; valid: 'relu-bn', 'bn-relu'"),
        ({"batch_norm": None}, "unknown batch_norm None; valid: 'feature', 'time'"),
        ({"handover": "ch"}, "unknown handover 'ch'; valid: 'hc', 'h', 'c', 'swap', 'detach', None"),
        ({"readout": "first"}, "unknown readout 'first'; valid: 'last', 'ends', 'mean', 'max'"),
        ({"cell": "gru"}, "unknown cell 'gru'; valid: 'torch', 'gates'"),
        ({"hidden_size": 0}, "hidden_size must be an int of at least 1; got 0"),
        ({"hidden_size": 4.0}, r"hidden_size must be an int of at least 1; got 4\.0"),
        ({"hidden_size": np.int64(4)}, "hidden_size must be an int"),
        ({"hidden_size": 5}, "pool='feature' needs an even hidden_size.*got 5"),
        ({"num_blocks": 0}, "num_blocks must be"),
        ({"num_layers": 0}, "num_layers must be"),
        ({"input_size": 0}, "input_size must be"),
        ({"num_classes": 0}, "num_classes must be"),
        ({"embedding": (8, 0)}, r"embedding must be a list of ints of at least 1, or None; got \(8, 0\)"),
        ({"embedding": 512}, "embedding must be a list .*; got 512"),
        ({"embedding": "raw"}, "embedding must be a list .*; got 'raw'"),
        ({"dropout": 1.0}, r"dropout must be at least 0 and below 1; got 1\.0"),
        ({"dropout": -0.1}, "dropout must be"),
    ],
)  # fmt: skip
def test_context_lstm_refuses_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        models.ContextLSTM(**{"input_size": 5, "num_classes": 3} | SMALL | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"readout": "ends"}, "readout='ends' needs bidirectional=True"),
        ({"cell": "rnn"}, "unknown cell 'rnn'; valid: 'torch', 'gates', 'gru'"),
        ({"readout": None}, "unknown readout None"),
        ({"num_layers": 0}, "num_layers must be"),
        ({"dropout": 2}, "dropout must be"),
    ],
)
def test_cnn_lstm_refuses_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        models.CNNLSTM(5, 3, **{"hidden_size": 4} | options)


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 5), r"x must be clips \(B, T, D\) with D = 5; got \(2, 5\)"),
        ((2, 4, 6), r"x must be clips \(B, T, D\) with D = 5; got \(2, 4, 6\)"),
        ((2, 0, 5), "at least 1 frames; got T = 0"),
    ],
)
def test_every_model_refuses_wrong_clips(name, shape, message):
    model = models.build(name, input_size=5, num_classes=3, **SMALL)
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(shape))


def test_pooling_over_time_needs_enough_frames():
    model = context_lstm(pool="time", num_blocks=3)
    assert model(clips(2, 8, 5)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"at least 8 frames, because pool='time' halves them .*; got T = 7"):
        model(clips(2, 7, 5))
