"""Predicted costs against closed formulas, against real tensors on the CPU, and against each other."""

import copy
import itertools
import weakref
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from ctxlstm import cost, models, paper

H, FRAMES = 512, 28
SMALL = {"input_size": 12, "num_classes": 5, "hidden_size": 8, "embedding": (10, 6)}
# (model, its options, width of a block's input after the first, pooled over time) by row of the table below
HEADS = {
    "baseline": ("cnn_lstm", {}, None, False),
    "one block": ("context_lstm", {"num_blocks": 1}, None, False),
    "two blocks": ("context_lstm", {"num_blocks": 2}, H, False),
    "three blocks": ("context_lstm", {}, H, False),
    "no pool": ("context_lstm_no_pool", {}, 2 * H, False),
    "time pool": ("context_lstm", {"pool": "time"}, 2 * H, True),
}
# LSTM layers alone at T = 28: parameters, GMAC a clip; worked out by hand beside the paper's sizes
TABLE = {
    "baseline": (6_303_744, 0.176),
    "one block": (16_801_792, 0.470),
    "two blocks": (33.60e6, 0.940),
    "three blocks": (50.41e6, 1.409),
    "no pool": (54.60e6, 1.527),
    "time pool": (54.60e6, 0.866),
}


def layers(row: str, frames: int) -> list[tuple[int, int, int]]:
    """(input width, directions, frames) of every LSTM layer."""
    name, options, between, halved = HEADS[row]
    if name == "cnn_lstm":
        return [(H, 1, frames)] * 3
    blocks = options.get("num_blocks", 3)
    return [
        (width, 2, frames // 2**block if halved else frames)
        for block in range(blocks)
        for width in (between if block else H, 2 * H, 2 * H)
    ]


def lstm_parameters(row: str) -> int:
    return sum(s * 4 * H * (width + H + 2) for width, s, _ in layers(row, FRAMES))


def lstm_macs(row: str, frames: int) -> int:
    return sum(frames * s * 4 * H * (width + H) for width, s, frames in layers(row, frames))


def embedding_macs(frames: int) -> int:
    return frames * (2048 * 1024 + 1024 * 768 + 768 * 512)


def classifier_macs(row: str) -> int:
    width = 2 * H if row in ("no pool", "time pool") else H
    return width * 256 + 256 * 101


def real(name: str, batch: int, frames: int, **options) -> tuple[int, int, int]:
    """FLOPs forward, FLOPs both, bytes saved, of a step with numbers on the CPU."""
    model = models.build(name, **options).train()
    return cost.predicted._count(model, torch.randn(batch, frames, model.input_size))


@pytest.fixture(scope="module")
def table2_costs() -> dict[str, cost.Cost]:
    return {name: cost.predict(name, frames=2) for name in paper.table2().model}


@pytest.mark.parametrize("row", TABLE)
def test_closed_formulas_give_the_table(row):
    parameters, gmac = TABLE[row]
    assert lstm_parameters(row) == pytest.approx(parameters, rel=2e-4)
    assert lstm_macs(row, FRAMES) / 1e9 == pytest.approx(gmac, abs=5e-4)


@pytest.mark.parametrize(("row", "frames"), [(row, 8 if row == "time pool" else 2) for row in TABLE])
def test_count_equals_the_closed_formulas_at_full_size(row, frames):
    name, options, *_ = HEADS[row]
    predicted = cost.predict(name, batch_size=2, frames=frames, **options)
    macs = lstm_macs(row, frames) + embedding_macs(frames) + classifier_macs(row)
    assert predicted.forward_flops == 2 * macs
    pooled = 2 * H if row in ("no pool", "time pool") else H
    stages = 0 if name == "cnn_lstm" else 2 * 2 * H * options.get("num_blocks", 3)  # BatchNorm
    head = pooled * 256 + 256 + 256 * 101 + 101
    assert predicted.parameters == lstm_parameters(row) + 3_282_688 + stages + head
    assert predicted.gradient_bytes + predicted.adam_bytes == 12 * predicted.parameters


def test_paper_size_in_full():
    predicted = cost.predict("cnn_lstm")
    assert predicted.forward_flops == 2 * (
        lstm_macs("baseline", 28) + embedding_macs(28) + classifier_macs("baseline")
    )
    assert predicted.image_bytes == pytest.approx(1.349e9, rel=1e-3)
    assert predicted.backbone_flops / 2e9 == pytest.approx(114.4, abs=0.05)
    assert predicted.backbone_epoch_flops == pytest.approx(3.05e15, rel=2e-3)
    assert predicted.cache_bytes == 13_320 * 28 * 2048 * 2
    fixed = predicted.weight_bytes + 12 * predicted.parameters + 94_245_032 + predicted.image_bytes
    assert predicted.online_bytes == fixed + 80 * cost.RESNET50_PEAK * 4


def test_a_step_is_three_forward_passes_less_what_nobody_needs():
    batch, frames = 3, 4
    predicted = cost.predict("cnn_lstm", batch_size=batch, frames=frames)
    features = batch * frames * 2 * 2048 * 1024  # gradient of the features
    start = 3 * batch * 2 * 4 * H * H  # gradient of the zero state that each of three layers starts from
    assert predicted.step_flops == 3 * batch * predicted.forward_flops - features - start


@pytest.mark.parametrize("name", ["context_lstm", "cnn_lstm", "bilstm"])
def test_torch_lstm_without_numbers_counts_as_our_gates_with_numbers(name):
    predicted = cost.predict(name, batch_size=4, frames=3, **SMALL)
    forward, both, saved = real(name, 4, 3, **SMALL, cell="gates")
    assert (predicted.forward_flops * 4, predicted.step_flops) == (forward, both)
    assert predicted.saved_bytes == saved


def test_flop_counter_misses_the_fused_lstm_of_the_cpu():
    """Why counting is done without numbers: there nn.LSTM falls apart into products that can be counted."""
    lstm, x = nn.LSTM(8, 8, batch_first=True), torch.randn(2, 3, 8)
    counted = []
    for device in ("cpu", "meta"):
        with FlopCounterMode(display=False) as counter:
            lstm.to(device)(x.to(device))
        counted.append(counter.get_total_flops())
    assert counted[1] == 2 * 2 * 3 * 4 * 8 * (8 + 8)
    assert counted[0] <= counted[1]


@pytest.mark.parametrize("name", ["mean_linear", "single_frame", "gru"])
def test_saved_activations_of_other_heads_are_those_on_the_cpu(name):
    assert cost.predict(name, batch_size=4, frames=6, **SMALL).saved_bytes == real(name, 4, 6, **SMALL)[2]


HEADS_AND_READINGS = [(name, {}) for name in models.NAMES] + [
    *(("context_lstm", options) for options in models.READINGS.values() if options),
    *((name, {"cell": "gates"}) for name in ("context_lstm", "cnn_lstm")),
    ("context_lstm", {"embedding": [10], "pool": None}),
]


@pytest.mark.parametrize(("name", "options"), HEADS_AND_READINGS, ids=str)
def test_two_short_lengths_tell_a_longer_one_exactly(name, options, monkeypatch):
    how = SMALL | {"num_layers": 2, "num_blocks": 2} | options
    for frames in (8, 13):
        short = cost.predict(name, batch_size=3, frames=frames, train_clips=7, **how)
        with monkeypatch.context() as patch:
            patch.setattr(cost.predicted, "_straight", lambda model: False)
            assert cost.predict(name, batch_size=3, frames=frames, train_clips=7, **how) == short


def test_the_heads_of_table_2_are_counted_short_and_once(monkeypatch):
    counted = []
    count = cost.predicted._count

    def note(model, x):
        counted.append(x.shape[1])
        return count(model, x)

    monkeypatch.setattr(cost.predicted, "_count", note)
    for name in paper.table2().model:
        for frames in (28, 100):
            cost.predict(name, batch_size=79, frames=frames, **SMALL)
    assert counted == [2, 3] * 3
    cost.predict("context_lstm", pool="time", frames=28, **SMALL)
    assert counted[6:] == [28], "pooling over time is no straight line"


@pytest.mark.parametrize("order", ["relu-bn", "bn-relu"])
def test_saved_activations_of_the_cascade_to_the_byte(order):
    batch, frames, width = 5, 2, 2 * 8  # W = 2H
    predicted = cost.predict("context_lstm", batch_size=batch, frames=frames, order=order, **SMALL)
    embedding = 12 + 2 * 10  # features; each hidden layer before and after BatchNorm
    layer = 2 * 7 * 8  # f, i, g, o, c, tanh(c), h in two directions; the input comes on top
    stage = 2 * width + width  # before and after BatchNorm or ReLU; int64 positions of W/2 maxima
    blocks = 3 * (3 * layer + 2 * width + stage) + (6 + 8 + 8)  # inputs of the three first layers
    a_clip = frames * (embedding + blocks + 8) + 256 + 5  # the last pool; classifier; log-probabilities
    norms = 2 * (10 + 3 * width)  # mean and 1/deviation of every BatchNorm
    labels_and_mean = 8 * batch + 4
    assert predicted.saved_bytes == 4 * (batch * a_clip + norms) + labels_and_mean


def test_eight_numbers_a_unit_step_layer_and_direction_are_most_of_it(table2_costs):
    """The rule of thumb against the count, at full size; the rest is embedding and stages."""
    eight = 8 * 4 * 80 * 2 * H  # bytes of one layer and direction at B = 80, T = 2
    for name, stacked in (("cnn_lstm", 3), ("context_lstm_no_pool", 18), ("context_lstm", 18)):
        assert 0.6 < stacked * eight / table2_costs[name].saved_bytes < 0.95
    # Positions of maxima are int64: pooling features costs more than the wider inputs it avoids.
    assert table2_costs["context_lstm"].saved_bytes > table2_costs["context_lstm_no_pool"].saved_bytes


def test_resnet50_is_counted_as_published():
    flops, weight_bytes = cost.resnet50()
    assert flops / 2e9 == pytest.approx(4.09, abs=0.005)
    assert weight_bytes == pytest.approx(4 * 23_508_032, rel=3e-3)  # with BatchNorm's statistics


class Live(TorchDispatchMode):
    """The most bytes of new tensors that are alive together."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.seen = weakref.WeakSet()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {t.untyped_storage()._cdata for t in tree_leaves(args) if isinstance(t, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is not None and storage._cdata not in known:
                self.now += storage.nbytes()
                weakref.finalize(storage, self.free, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return out

    def free(self, size: int) -> None:
        self.now -= size


def test_resnet50_peak_is_that_of_its_first_bottleneck():
    with torch.device("meta"), torch.no_grad():
        net = torchvision.models.resnet50(weights=None).eval()
        images = torch.empty(2, 3, 224, 224)
        with Live() as live:
            net(images)
    assert live.peak == pytest.approx(2 * 4 * cost.RESNET50_PEAK, rel=1e-3)


@pytest.mark.parametrize("name", ["context_lstm", "cnn_lstm", "transformer"])
def test_more_of_anything_costs_more(name):
    small = SMALL | {"num_layers": 2, "num_blocks": 2}
    base = cost.predict(name, batch_size=4, frames=2, **small)
    wider = cost.predict(name, batch_size=4, frames=2, **small | {"hidden_size": 16})
    longer = cost.predict(name, batch_size=4, frames=4, **small)
    larger = cost.predict(name, batch_size=8, frames=2, **small)
    deeper = cost.predict(name, batch_size=4, frames=2, **small | {"num_layers": 3})
    for other in (wider, longer, larger, deeper):
        assert other.step_flops > base.step_flops
        assert other.saved_bytes > base.saved_bytes
        assert other.head_bytes > base.head_bytes
        assert other.online_bytes > base.online_bytes
    assert wider.parameters > base.parameters == larger.parameters
    assert larger.forward_flops == base.forward_flops < longer.forward_flops
    assert larger.head_epoch_flops == base.head_epoch_flops  # half the steps, each twice the work
    assert longer.backbone_epoch_flops == 2 * base.backbone_epoch_flops
    assert base.online_epoch_flops == base.head_epoch_flops + base.backbone_epoch_flops


def test_nearest_neighbour_costs_its_training_clips_and_no_training():
    predicted = cost.predict("nearest_neighbour", train_clips=50, test_clips=7, **SMALL)
    assert predicted.forward_flops == 2 * 50 * 12
    assert (predicted.parameters, predicted.step_flops, predicted.saved_bytes) == (0, 0, 0)
    assert predicted.weight_bytes == 50 * (12 * 4 + 8)
    assert predicted.head_epoch_flops == 7 * predicted.forward_flops


@pytest.mark.parametrize("name", models.NAMES)
def test_every_model_can_be_predicted_and_no_random_number_is_drawn(name):
    before = torch.get_rng_state()
    small = SMALL | {"num_layers": 1, "num_blocks": 2}
    predicted = cost.predict(name, batch_size=2, frames=2, **small)
    assert torch.equal(torch.get_rng_state(), before)
    assert predicted.forward_flops > 0
    assert predicted.parameters == models.count_parameters(models.build(name, **small))


@pytest.mark.parametrize("option", ["batch_size", "frames", "train_clips", "test_clips"])
def test_sizes_below_one_are_refused(option):
    with pytest.raises(ValueError, match=f"{option} must be an int of at least 1; got 0"):
        cost.predict("cnn_lstm", **{option: 0})


def test_what_the_models_refuse_is_refused():
    with pytest.raises(ValueError, match=r"unknown model 'lstm'; valid names: context_lstm"):
        cost.predict("lstm")
    with pytest.raises(ValueError, match="has no option 'pool'"):
        cost.predict("cnn_lstm", pool="time")
    with pytest.raises(ValueError, match="a clip must have at least 8 frames"):
        cost.predict("context_lstm", pool="time", frames=7)


def test_measuring_leaves_the_model_as_it_was():
    model = models.build("context_lstm", **SMALL).eval()
    before = copy.deepcopy(model.state_dict())
    found = cost.measured.measure(model, (6, 12), batch_size=4, steps=3, warmup=1)
    assert (found.device, found.batch_size, found.steps) == ("cpu", 4, 3)
    assert 0 < found.step_seconds < 10
    assert found.peak_bytes >= found.before_bytes > 0
    assert found.grown_bytes == found.peak_bytes - found.before_bytes
    assert not model.training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_measured_step_computes_as_a_training_does():
    """cuDNN would round the products of an LSTM to TensorFloat-32: faster than what `fit` runs."""
    seen = []
    model = models.build("mean_linear", **SMALL)
    model.register_forward_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    cost.measured.measure(model, (2, 12), batch_size=2, steps=1, warmup=1)
    assert seen == [False, False]


def test_measured_time_grows_with_the_work():
    model = models.build("cnn_lstm", **SMALL | {"hidden_size": 32}, cell="gates")
    # A hundred times the frames: other programs on the machine cannot hide that.
    short, long = (cost.measured.measure(model, (frames, 12), batch_size=4, steps=5) for frames in (2, 200))
    assert long.step_seconds > short.step_seconds


def test_peak_on_a_cpu_is_the_largest_resident_set(monkeypatch):
    seen = itertools.chain([100, 150, 400], itertools.repeat(300))
    usage = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=next(seen)))
    monkeypatch.setattr(cost.measured.psutil, "Process", lambda: usage)
    found = cost.measured.measure(
        models.build("mean_linear", **SMALL), (2, 12), batch_size=2, steps=2, warmup=1
    )
    assert (found.before_bytes, found.peak_bytes, found.process_bytes) == (100, 400, 400)
    assert found.grown_bytes == 300


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_measured_memory_on_a_gpu_holds_what_is_predicted():
    predicted = cost.predict("context_lstm", batch_size=16)
    found = cost.measured.measure(
        models.build("context_lstm"), (28, 2048), batch_size=16, steps=3, device="cuda"
    )
    assert found.device != "cpu"
    assert found.step_seconds > 0
    assert 0.8 * predicted.head_bytes < found.grown_bytes < 2 * predicted.head_bytes
    assert found.process_bytes > found.peak_bytes


def test_what_cannot_be_measured_is_refused():
    model = models.build("mean_linear", **SMALL)
    with pytest.raises(ValueError, match="steps must be an int of at least 1; got 0"):
        cost.measured.measure(model, (6, 12), steps=0)
    with pytest.raises(ValueError, match="cannot measure on 'mps': choose 'cpu'"):
        cost.measured.measure(model, (6, 12), device="mps")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="cannot measure on 'cuda:0'"):
            cost.measured.measure(model, (6, 12), device="cuda:0")
    with pytest.raises(ValueError, match="nothing to train"):
        cost.measured.measure(models.build("nearest_neighbour", **SMALL), (6, 12))
    with pytest.raises(ValueError, match=r"x must be clips \(B, T, D\) with D = 12"):
        cost.measured.measure(model, (6, 13))


def test_comparison_holds_table_2_and_the_predictions(table2_costs):
    table = cost.paper_comparison(table2_costs).set_index("model")
    assert table.paper_hours.to_dict() == {"cnn_lstm": 93, "context_lstm_no_pool": 70, "context_lstm": 55}
    assert table.paper_gb.tolist() == [5.5, 4.5, 3.6]
    assert table.paper_hours_change.tolist() == [0, -23, -38]
    assert table.paper_gb_change.tolist() == pytest.approx([0, -1.0, -1.9])
    for name, predicted in table2_costs.items():
        row = table.loc[name]
        base = table2_costs["cnn_lstm"]
        assert row.parameters == predicted.parameters
        assert row.head_gb * 1e9 == pytest.approx(predicted.head_bytes)
        assert row.head_gb_change * 1e9 == pytest.approx(predicted.head_bytes - base.head_bytes)
        assert row.online_gb_change * 1e9 == pytest.approx(predicted.online_bytes - base.online_bytes)
        growth = predicted.online_epoch_flops / base.online_epoch_flops - 1
        assert row.flops_hours_change == pytest.approx(93 * growth)
        share = predicted.head_epoch_flops / predicted.online_epoch_flops
        assert row.head_flops_share == pytest.approx(share)
        for column in ("paper_hours", "flops_hours", "paper_gb", "online_gb"):
            change, sign = row[f"{column}_change"], row[f"{column}_sign"]
            assert sign == int(change > 0) - int(change < 0)
    assert table.measured_hours.isna().all()
    assert table.device.isna().all()


def test_comparison_turns_where_the_costs_turn(table2_costs):
    """The signs follow the numbers given, whichever way they point."""
    small = replace(
        table2_costs["context_lstm"], step_flops=1, forward_flops=1, weight_bytes=0, gradient_bytes=0
    )
    table = cost.paper_comparison(table2_costs | {"context_lstm": small}).set_index("model")
    assert table.loc["context_lstm", "flops_hours_sign"] == -1
    assert table.loc["context_lstm_no_pool", "flops_hours_sign"] == 1
    equal = replace(table2_costs["cnn_lstm"], name="context_lstm")
    table = cost.paper_comparison(table2_costs | {"context_lstm": equal}).set_index("model")
    assert table.loc["context_lstm", ["flops_hours_sign", "online_gb_sign"]].tolist() == [0, 0]


def test_comparison_takes_measurements(table2_costs):
    quick = cost.measured.Measured("cpu", 80, 5, 0.5, 10**9, 3 * 10**9, 3 * 10**9, 0.2)
    slow = replace(quick, step_seconds=1.5, peak_bytes=4 * 10**9)
    measured = {"cnn_lstm": quick, "context_lstm": slow}
    table = cost.paper_comparison(table2_costs, measured).set_index("model")
    assert table.loc["cnn_lstm", "measured_hours"] == pytest.approx(300 * 125 * 0.5 / 3600)
    assert table.loc["context_lstm", "measured_hours_change"] == pytest.approx(300 * 125 * 1.0 / 3600)
    assert table.loc["context_lstm", "measured_gb_change"] == pytest.approx(1.0)
    assert table.loc["context_lstm_no_pool", ["measured_hours", "measured_gb"]].isna().all()


def test_comparison_refuses_what_does_not_compare(table2_costs):
    found = cost.measured.Measured("cpu", 40, 5, 0.5, 0, 1, 1, 0.2)
    with pytest.raises(ValueError, match="Table 2 has no model 'gru'; it has: cnn_lstm"):
        cost.paper_comparison(table2_costs, {"gru": found})
    with pytest.raises(ValueError, match="measured at batch 40 and predicted at 80"):
        cost.paper_comparison(table2_costs, {"cnn_lstm": found})
    other = replace(table2_costs["cnn_lstm"], batch_size=40)
    with pytest.raises(ValueError, match="unequal batch_size, frames or clips"):
        cost.paper_comparison(table2_costs | {"cnn_lstm": other})
