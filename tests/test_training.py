"""The training loop: it learns, it resumes exactly, and it says what is wrong."""

import errno
import gc
import math
import signal
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import when
from sklearn.metrics import accuracy_score
from small import build, config, make_features
from torch import nn

from ctxlstm import models, training, ucf101
from ctxlstm.features import Features
from ctxlstm.training import device, processes, trainer


@pytest.fixture(scope="module")
def data() -> Features:
    return make_features()


@pytest.fixture(scope="module")
def split(data) -> ucf101.Split:
    return ucf101.split(data.clips, "grouped", seed=0)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same_weights(a: dict, b: dict) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert torch.equal(a[key], b[key]), key


def test_an_epoch_is_cut_into_equal_batches_so_that_no_rest_upsets_batch_norm(data, split):
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = build()

        def forward(self, x):
            seen.append(len(x))
            return self.head(x)

    fit, _ = ucf101.validation(data.clips, split, share=0.1, seed=0)
    assert len(fit) % (len(fit) - 1) == 1, "with full batches first, a clip would be left over"
    training.fit(Watched(), data, split, config(epochs=1, batch_size=len(fit) - 1))
    assert sorted(seen[:2]) == [len(fit) // 2, len(fit) - len(fit) // 2]


def test_defaults_are_the_papers():
    paper = training.Config()
    assert (paper.epochs, paper.batch_size, paper.learning_rate) == (300, 80, 0.001)


def test_it_learns_and_the_history_is_complete(data, split):
    seen = []
    history = training.fit(
        build(dropout=0.0), data, split, config(epochs=30, learning_rate=0.01), on_epoch=seen.append
    )
    table = history.table
    assert list(table.columns) == list(training.COLUMNS)
    assert list(table["epoch"]) == list(range(1, 31))
    assert len(seen) == len(history.seconds) == 30
    assert table["train_loss"].iloc[-1] < 0.5 * table["train_loss"].iloc[0]
    assert table["test_top1"].iloc[-1] > 0.8
    assert list(history.predictions["name"]) == list(data.clips["name"].iloc[split.test])
    top1 = accuracy_score(history.predictions["label"], history.predictions["predicted"])
    assert top1 == pytest.approx(table["test_top1"].iloc[-1])
    assert history.predictions["nll"].mean() == pytest.approx(table["test_loss"].iloc[-1], rel=1e-4, abs=1e-6)
    assert history.parameters == models.count_parameters(build())
    assert history.peak_memory_bytes > 1e6


def test_loop_equals_a_hand_written_one(data, split):
    """The same batches through the same model, written out once more."""
    model = build(dropout=0.0)
    twin = build(dropout=0.0)
    settings = config(epochs=1, validation=0.0)
    history = training.fit(model, data, split, settings)
    optimizer = torch.optim.Adam(twin.parameters(), lr=1e-3)
    torch.manual_seed(int(np.random.SeedSequence([0, 1]).generate_state(1)[0]))
    order = torch.as_tensor(split.train)[torch.randperm(len(split.train))]
    losses = []
    for batch in order.tensor_split(math.ceil(len(order) / 8)):
        loss = nn.functional.cross_entropy(twin(data.x[batch].float()), data.y[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() * len(batch))
    assert_same_weights(weights(model), weights(twin))
    assert history.table["train_loss"].iloc[0] == pytest.approx(sum(losses) / len(order), rel=1e-5)
    assert np.isnan(history.table["validation_top1"].iloc[0])


def test_same_seed_same_run_other_seed_other_run(data, split):
    runs = []
    for seed in (3, 3, 4):
        model = build()
        runs.append((training.fit(model, data, split, config(seed=seed)).table, weights(model)))
    pd.testing.assert_frame_equal(runs[0][0], runs[1][0])
    assert_same_weights(runs[0][1], runs[1][1])
    assert not runs[0][0]["train_loss"].equals(runs[2][0]["train_loss"])


def test_training_leaves_the_callers_random_numbers_alone(data, split):
    torch.manual_seed(7)
    expected = torch.rand(1)
    model = build()
    torch.manual_seed(7)
    training.fit(model, data, split, config(epochs=1))
    assert torch.equal(torch.rand(1), expected)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("name", ["context_lstm", "shuffled_lstm"])
@pytest.mark.parametrize("stop", [1, 3, 6])
def test_stopped_after_any_epoch_and_resumed_is_bit_identical(data, split, tmp_path, name, stop):
    whole = build(name)
    expected = training.fit(whole, data, split, config())

    def stop_there(row):
        if row["epoch"] == stop:
            raise Stopped

    checkpoint = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stopped):
        training.fit(build(name), data, split, config(), checkpoint=checkpoint, on_epoch=stop_there)
    resumed = build(name)
    with torch.no_grad():  # a new process would start from other weights
        for parameter in resumed.parameters():
            parameter.add_(1)
    epochs = []
    history = training.fit(
        resumed, data, split, config(), checkpoint=checkpoint, on_epoch=lambda r: epochs.append(r["epoch"])
    )
    assert epochs == list(range(stop + 1, 7))
    pd.testing.assert_frame_equal(history.table, expected.table, check_exact=True)
    pd.testing.assert_frame_equal(history.predictions, expected.predictions, check_exact=True)
    assert_same_weights(weights(resumed), weights(whole))


@pytest.mark.slow
def test_killed_with_minus_nine_and_restarted_is_bit_identical(data, split, tmp_path):
    program = """
import sys, time
import torch
sys.path.insert(0, sys.argv[1])
from small import build, config, make_features
from ctxlstm import training, ucf101
torch.set_num_threads(1)
data = make_features()
split = ucf101.split(data.clips, "grouped", seed=0)
pause = lambda row: time.sleep(0.2)
training.fit(build(), data, split, config(epochs=8), checkpoint=sys.argv[2], on_epoch=pause)
"""
    checkpoint = tmp_path / "checkpoint.safetensors"
    killed = subprocess.Popen([sys.executable, "-c", program, str(Path(__file__).parent), str(checkpoint)])
    with when(checkpoint.exists, killed.kill):
        assert killed.wait() == -signal.SIGKILL, "it was killed before its end"
    resumed, epochs = build(), []
    history = training.fit(
        resumed,
        data,
        split,
        config(epochs=8),
        checkpoint=checkpoint,
        on_epoch=lambda r: epochs.append(r["epoch"]),
    )
    assert 1 < epochs[0] <= 8, "it goes on"
    whole = build()
    expected = training.fit(whole, data, split, config(epochs=8))
    pd.testing.assert_frame_equal(history.table, expected.table, check_exact=True)
    assert_same_weights(weights(resumed), weights(whole))


def test_a_checkpoint_of_another_training_is_refused_by_name(data, split, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    training.fit(build(), data, split, config(epochs=2), checkpoint=checkpoint)
    with pytest.raises(ValueError, match=r"another training run \(config"):
        training.fit(build(), data, split, config(epochs=2, seed=1), checkpoint=checkpoint)
    with pytest.raises(ValueError, match=r"another training run \(train"):
        training.fit(
            build(),
            data,
            ucf101.split(data.clips, "grouped", seed=5),
            config(epochs=2),
            checkpoint=checkpoint,
        )
    with pytest.raises(ValueError, match=r"another training run \(model"):
        training.fit(build(handover=None), data, split, config(epochs=2), checkpoint=checkpoint)
    other_test = replace(split, test=split.test[1:])
    with pytest.raises(ValueError, match=r"another training run \(test"):
        training.fit(build(), data, other_test, config(epochs=2), checkpoint=checkpoint)
    with pytest.raises(ValueError, match=r"another training run \(model"):
        training.fit(build(hidden_size=6), data, split, config(epochs=2), checkpoint=checkpoint)
    with pytest.raises(ValueError, match="has 2 epochs already"):
        training.fit(build(), data, split, config(epochs=1), checkpoint=checkpoint)
    more = training.fit(build(), data, split, config(epochs=3), checkpoint=checkpoint)
    assert len(more.table) == 3
    checkpoint.write_bytes(checkpoint.read_bytes()[:-10])
    with pytest.raises(ValueError, match="not a checkpoint of a training run"):
        training.fit(build(), data, split, config(epochs=3), checkpoint=checkpoint)


def test_a_full_disk_while_checkpointing_keeps_the_last_good_one(data, split, tmp_path, monkeypatch):
    checkpoint = tmp_path / "c.safetensors"
    training.fit(build(), data, split, config(epochs=2), checkpoint=checkpoint)
    good = checkpoint.read_bytes()

    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ctxlstm.training.checkpoint.save_file", full)
    with pytest.raises(OSError, match="disk is full while writing"):
        training.fit(build(), data, split, config(epochs=3), checkpoint=checkpoint)
    assert checkpoint.read_bytes() == good
    assert {path.name for path in tmp_path.iterdir()} == {checkpoint.name, "history.csv"}


def test_a_large_checkpoint_is_written_seldom_and_after_the_last_epoch(data, split, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "HEAVY", 0)
    monkeypatch.setattr(trainer, "SELDOM", 1e9)
    checkpoint, there = tmp_path / "c.safetensors", []
    training.fit(
        build(), data, split, config(epochs=3), checkpoint=checkpoint,
        on_epoch=lambda row: there.append(checkpoint.exists()),
    )  # fmt: skip
    assert there == [False, False, True]


def test_nan_features_are_refused_by_clip(data, split):
    x = data.x.clone()
    x[5, 2, 3] = float("nan")
    with pytest.raises(ValueError, match=data.clips["name"][5]):
        training.fit(build(), Features(x, data.clips), split, config())


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_epoch(data, split, tmp_path):
    checkpoint = tmp_path / "c.safetensors"
    model = build()

    def poison(row):
        if row["epoch"] == 2:
            with torch.no_grad():
                next(model.parameters()).fill_(float("nan"))

    with pytest.raises(FloatingPointError, match=r"not-a-number in epoch 3.*still holds epoch 2"):
        training.fit(model, data, split, config(), checkpoint=checkpoint, on_epoch=poison)
    assert len(training.fit(build(), data, split, config(), checkpoint=checkpoint).table) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 1000}, "larger than the training set"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"learning_rate": 0}, "above 0"),
        ({"precision": "int8"}, "choose one of no, tf32, bf16"),
    ],
)
def test_wrong_settings(data, split, change, message):
    with pytest.raises(ValueError, match=message):
        training.fit(build(), data, split, config(**change))


def test_each_training_has_its_own_precision(data, split):
    losses = [
        training.fit(build(dropout=0.0), data, split, config(epochs=1, precision=precision)).table[
            "train_loss"
        ][0]
        for precision in ("no", "bf16", "no")
    ]
    assert losses[0] == losses[2]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_one_class_only():
    data = make_features(classes=1)
    with pytest.raises(ValueError, match="only one class"):
        training.fit(build(), data, ucf101.split(data.clips, "grouped"), config())


def test_nearest_neighbour_learns_at_once(data, split):
    history = training.fit(build("nearest_neighbour"), data, split, config())
    assert len(history.table) == 1
    assert history.parameters == 0
    assert history.table["test_top1"].iloc[0] > 0.8
    assert len(history.predictions) == len(split.test)


def test_validation_part_takes_no_part_in_training(data, split):
    fit, validation = ucf101.validation(data.clips, split, share=0.1, seed=0)
    changed = data.x.clone()
    changed[validation] = 0
    models_ = [build(), build()]
    a = training.fit(models_[0], data, split, config())
    b = training.fit(models_[1], Features(changed, data.clips), split, config())
    assert_same_weights(weights(models_[0]), weights(models_[1]))
    assert not a.table["validation_loss"].equals(b.table["validation_loss"])
    groups = data.clips["label"] + data.clips["group"].astype(str)
    assert not set(groups.iloc[fit]) & set(groups.iloc[validation])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_a_gpu_the_first_loss_is_that_of_the_cpu(data, split):
    on_cpu = training.fit(build(dropout=0.0), data, split, config(epochs=1))
    on_gpu = training.fit(build(dropout=0.0), data, split, config(epochs=1, cpu=False))
    assert on_gpu.table["train_loss"].iloc[0] == pytest.approx(on_cpu.table["train_loss"].iloc[0], rel=0.05)
    assert "NVIDIA" in on_gpu.device


def test_features_on_disk_give_what_features_in_memory_give(data, split):
    class OnDisk:
        """What `Stored` offers, and no more."""

        shape, dtype, nbytes, device = data.x.shape, data.x.dtype, data.x.nbytes, data.x.device

        def __len__(self):
            return len(data.x)

        def __getitem__(self, rows):
            assert (rows.dtype, rows.ndim) == (torch.int64, 1)
            return data.x[rows]

    found = training.fit(build(), replace(data, x=OnDisk()), split, config(epochs=2))
    pd.testing.assert_frame_equal(found.table, training.fit(build(), data, split, config(epochs=2)).table)


def test_neighbours_are_found_in_float32(data, split):
    seen = []
    model = build("nearest_neighbour")
    model.register_forward_hook(lambda *_: seen.append(torch.backends.cuda.matmul.allow_tf32))
    training.fit(model, data, split, config(epochs=1, precision="tf32"))
    assert seen
    assert not any(seen)


def test_the_processs_arithmetic_is_put_back_after_a_training():
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    with device.arithmetic("no"):
        assert not any(flag.allow_tf32 for flag in flags)
    with device.arithmetic("tf32"):
        assert all(flag.allow_tf32 for flag in flags)
    assert [flag.allow_tf32 for flag in flags] == before


def test_bf16_learns_too(data, split):
    table = training.fit(
        build(dropout=0.0), data, split, config(epochs=30, learning_rate=0.01, precision="bf16")
    ).table
    assert table["test_top1"].iloc[-1] > 0.8


def test_a_training_that_has_ended_leaves_its_data_at_once(data, split):
    """A GPU's memory is not to wait for Python's collector."""
    x, net = data.x.clone(), build()
    gone = weakref.ref(x)
    gc.disable()
    try:
        history = training.fit(net, replace(data, x=x), split, config(epochs=1))
        del x
        assert gone() is None
        assert len(history.table) == 1
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "stray",
    [
        {"RANK": "1"},
        {"LOCAL_RANK": "0"},
        {"WORLD_SIZE": "4"},
        {"RANK": "1", "WORLD_SIZE": "4"},
        {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
        {"PMI_SIZE": "4", "PMI_RANK": "1", "MV2_COMM_WORLD_SIZE": "4", "MV2_COMM_WORLD_RANK": "1"},
        {"SLURM_NTASKS": "4", "SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "7"},
    ],
)
def test_what_a_launcher_left_in_the_environment_changes_nothing(data, split, tmp_path, monkeypatch, stray):
    for name in processes.GROUP:
        monkeypatch.delenv(name, raising=False)
    for name, value in stray.items():
        monkeypatch.setenv(name, value)
    assert processes.join(cpu=True) is None
    seen, model, twin = [], build(), build()
    history = training.fit(
        model, data, split, config(epochs=2), checkpoint=tmp_path / "c.safetensors", on_epoch=seen.append
    )
    assert (tmp_path / "c.safetensors").exists()
    assert [row["epoch"] for row in seen] == [1, 2]
    monkeypatch.undo()
    pd.testing.assert_frame_equal(history.table, training.fit(twin, data, split, config(epochs=2)).table)
    assert_same_weights(weights(model), weights(twin))


@pytest.mark.parametrize("name", ["context_lstm", "gru"])
def test_under_autocast_the_cells_stay_in_float32(name):
    net, kinds = build(name, dropout=0.0), set()
    for module in net.modules():
        if isinstance(module, nn.LSTM | nn.GRU):
            module.register_forward_hook(
                lambda module, given, out: kinds.update({given[0].dtype, out[0].dtype})
            )
    x = torch.randn(2, 5, 12)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(x)
    assert kinds == {torch.float32}
    torch.testing.assert_close(logits.float(), net(x), rtol=0.05, atol=0.05)
