"""Training on frames through a frozen backbone, and the trap: with `drift` the frozen network's function moves."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ctxlstm import backbone, features, models, training, ucf101, video
from ctxlstm.models import online

SMALL = {"input_size": 1280, "num_classes": 3, "hidden_size": 8, "num_blocks": 1, "embedding": (16,)}
CONFIG = training.Config(epochs=2, batch_size=5, validation=0, cpu=True)


def network(batch_norm: str = "imagenet") -> backbone.Backbone:
    net = backbone.load("efficientnet_lite0", size=32)
    if batch_norm == "adapted":
        net.adapt([torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)])
    return net.drift() if batch_norm == "drift" else net


def model(batch_norm: str = "imagenet") -> online.Online:
    torch.manual_seed(0)
    return online.Online(network(batch_norm), models.build("context_lstm", **SMALL))


def statistics(net: torch.nn.Module) -> torch.Tensor:
    """All running means and variances in one row."""
    return torch.cat([value.flatten() for name, value in net.state_dict().items() if "running" in name])


@pytest.fixture(scope="module")
def clips(tiny_clips):
    return ucf101.index(tiny_clips)


@pytest.fixture(scope="module")
def frames(clips) -> features.Features:
    """24 clips of 3 classes, 3 frames of 32x32 each."""
    return features.frames.frames(clips, backbone=network(), frames=3, rule="uniform")


@pytest.fixture(scope="module")
def split(frames) -> ucf101.Split:
    return ucf101.split(frames.clips, "grouped", seed=0)


def test_frames_are_what_the_backbone_would_see(clips, frames):
    assert frames.x.shape == (24, 3, 3, 32, 32)
    assert frames.x.dtype == torch.uint8
    assert frames.key["dtype"] == "uint8 frames"
    assert frames.classes == sorted(clips["label"].unique())
    clip = video.read_frames(clips["path"][7], 3, "uniform").images
    assert torch.equal(frames.x[7], network().resize(clip))


@pytest.mark.parametrize("batch_norm", ["imagenet", "adapted"])
def test_without_drift_online_training_is_training_on_features(frames, split, batch_norm):
    torch.manual_seed(3)
    on_frames = model(batch_norm)
    head = models.build("context_lstm", **SMALL)
    head.load_state_dict(on_frames.head.state_dict())
    with torch.inference_mode():
        x = torch.stack([on_frames.backbone(images) for images in frames.x.unbind(1)], 1)  # (N, T, D)
    before = statistics(on_frames.backbone)
    ours = training.fit(on_frames, frames, split, CONFIG)
    theirs = training.fit(head, replace(frames, x=x), split, CONFIG)
    assert ours.table["train_loss"].to_numpy() == pytest.approx(
        theirs.table["train_loss"].to_numpy(), rel=1e-3
    )
    assert ours.table["test_loss"].to_numpy() == pytest.approx(theirs.table["test_loss"].to_numpy(), rel=1e-3)
    assert torch.equal(statistics(on_frames.backbone), before)


def test_only_the_head_is_trained_and_gets_gradients():
    ours = model("drift").train()
    ours(torch.randint(0, 256, (4, 2, 3, 32, 32), dtype=torch.uint8)).sum().backward()
    trainable = {name for name, value in ours.named_parameters() if value.requires_grad}
    assert trainable == {f"head.{name}" for name, _ in ours.head.named_parameters()}
    assert all(value.grad is None for value in ours.backbone.parameters())
    assert any(value.grad is not None and value.grad.abs().sum() > 0 for value in ours.head.parameters())


def test_the_trap_frozen_weights_but_another_function_after_training(frames, split):
    ours = model("drift")
    weights = {name: value.clone() for name, value in ours.backbone.net.named_parameters()}
    statistics_before = statistics(ours.backbone)
    images = frames.x[:6, 0]
    with torch.inference_mode():
        before = ours.backbone.eval()(images)
    training.fit(ours, frames, split, CONFIG)
    with torch.inference_mode():
        after = ours.backbone.eval()(images)
    assert all(torch.equal(weights[name], value) for name, value in ours.backbone.net.named_parameters())
    assert not torch.allclose(statistics(ours.backbone), statistics_before, rtol=0.05)
    assert (after - before).abs().mean() > 0.1 * before.abs().mean()


def test_time_steps_go_through_one_after_the_other():
    """After one step on T frames the first BatchNorm's mean is T exponential averages, frame by frame."""
    ours = model("drift").train()
    clip = torch.randint(0, 256, (4, 3, 3, 32, 32), dtype=torch.uint8)
    clip[:, 2] //= 4  # the last frame is dark, so the order matters
    net = ours.backbone
    expected = net.net._bn0.running_mean.clone()
    for images in clip.unbind(1):
        seen = net.net._conv_stem((images.float() - net.mean) / net.std)  # (B, C, h, w)
        expected = 0.9 * expected + 0.1 * seen.mean((0, 2, 3))
    ours(clip)
    torch.testing.assert_close(net.net._bn0.running_mean, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_norm", ["imagenet", "drift"])
def test_a_resumed_training_equals_an_uninterrupted_one(frames, split, tmp_path, batch_norm):
    checkpoint = tmp_path / "checkpoint.safetensors"
    whole = training.fit(model(batch_norm), frames, split, replace(CONFIG, epochs=3))
    training.fit(model(batch_norm), frames, split, replace(CONFIG, epochs=2), checkpoint=checkpoint)
    resumed_model = model(batch_norm)
    resumed = training.fit(resumed_model, frames, split, replace(CONFIG, epochs=3), checkpoint=checkpoint)
    assert whole.table.equals(resumed.table)
    assert whole.predictions.equals(resumed.predictions)
    moved = not torch.equal(statistics(resumed_model.backbone), statistics(network()))
    assert moved == (batch_norm == "drift")
    again = training.fit(model(batch_norm), frames, split, replace(CONFIG, epochs=3), checkpoint=checkpoint)
    assert again.predictions.equals(whole.predictions), "the statistics alone, nothing left to train"


def test_a_checkpoint_of_fixed_statistics_is_not_one_of_drift(clips, frames, split, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"
    training.fit(model(), frames, split, replace(CONFIG, epochs=1), checkpoint=checkpoint)
    with pytest.raises(ValueError, match="is from another training run"):
        training.fit(model("drift"), frames, split, CONFIG, checkpoint=checkpoint)


def test_frames_on_disk_are_written_once_and_are_the_same(clips, frames, split, tmp_path, monkeypatch):
    how = {"backbone": network(), "frames": 3, "rule": "uniform", "folder": tmp_path / "frames"}
    written = features.frames.frames(clips, **how)
    assert torch.equal(written.x, frames.x)
    assert written.digest == frames.digest
    monkeypatch.setattr(features.frames, "decoded", lambda *args: pytest.fail("decoded again"))
    again = features.frames.frames(clips, **how)
    assert torch.equal(again.x, frames.x)
    result = training.fit(model(), again, split, replace(CONFIG, epochs=1))
    assert np.isfinite(result.table["test_loss"]).all()
    with pytest.raises(ValueError, match="frames of other clips or settings"):
        features.frames.frames(clips, **how | {"rule": "first"})
    data = tmp_path / "frames" / "frames.bin"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ValueError, match="or damaged ones: remove it"):
        features.frames.frames(clips, **how)
    (tmp_path / "frames" / "frames.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"frames\.json cannot be used"):
        features.frames.frames(clips, **how)


def test_frames_on_disk_are_those_of_the_clips_as_they_are_now(clips, tmp_path, monkeypatch):
    table = clips.head(3).copy()
    for row, path in table["path"].items():
        table.loc[row, "path"] = shutil.copy(path, tmp_path)
    how = {"backbone": network(), "frames": 2, "folder": tmp_path / "frames"}
    first = features.frames.frames(table, **how)
    digest, x = first.digest, first.x.clone()

    os.utime(table["path"][1], (1, 1))  # the same film, as of another time: read once, and not decoded
    with monkeypatch.context() as patch:
        patch.setattr(features.frames, "decoded", lambda *args: pytest.fail("decoded again"))
        assert features.frames.frames(table, **how).digest == digest
        patch.setattr(features.cache, "content", lambda path: pytest.fail(f"{path} was read again"))
        assert features.frames.frames(table, **how).digest == digest

    size = os.path.getsize(table["path"][1])  # another film of the same size
    film = Path(clips["path"][5]).read_bytes()
    Path(table["path"][1]).write_bytes(film[:size].ljust(size, bytes(1)))
    again = features.frames.frames(table, **how)
    assert torch.equal(again.x[[0, 2]], x[[0, 2]])
    assert not torch.equal(again.x[1], x[1])
    assert again.digest != digest
    assert again.digest == features.frames.frames(table, **how | {"folder": None}).digest


@pytest.mark.parametrize("on_disk", [False, True])
def test_clips_that_cannot_be_decoded_are_left_out_by_name(clips, frames, tmp_path, on_disk):
    broken = tmp_path / "v_Broken_g01_c01.avi"
    broken.write_text("not a video", encoding="utf-8")
    table = clips.copy()
    table.loc[5, "path"] = str(broken)
    found = features.frames.frames(
        table, backbone=network(), frames=3, rule="uniform", folder=tmp_path / "frames" if on_disk else None
    )
    assert found.left_out["name"].tolist() == [clips["name"][5]]
    assert str(tmp_path) not in found.left_out["reason"][0]
    assert torch.equal(found.x, torch.cat([frames.x[:5], frames.x[6:]]))
    assert clips["name"][5] not in set(found.clips["name"])
    assert found.digest != frames.digest
    with pytest.raises(ValueError, match=r"none of the 1 clips could be decoded \(the first: .*\): check"):
        features.frames.frames(table.iloc[5:6], backbone=network(), frames=3)


def test_frames_that_do_not_fit_into_memory_ask_for_a_folder(clips, monkeypatch):
    memory = type("Memory", (), {"available": 10**5})
    monkeypatch.setattr(features.frames.psutil, "virtual_memory", lambda: memory)
    with pytest.raises(
        MemoryError, match=r"24 clips take 0\.0 GB and 0\.0 GB of memory are free: give a folder"
    ):
        features.frames.frames(clips, backbone=network(), frames=3)


def test_what_cannot_be_trained_online_is_refused_with_a_sentence(clips, tmp_path):
    with pytest.raises(ValueError, match="NearestNeighbour has nothing to train"):
        online.Online(network("drift"), models.build("nearest_neighbour", **SMALL))
    with pytest.raises(ValueError, match="reads 2048 features per frame and efficientnet_lite0 gives 1280"):
        online.Online(network(), models.build("context_lstm", **SMALL | {"input_size": 2048}))
    with pytest.raises(ValueError, match=r"uint8 frames \(B, T, 3, s, s\), not torch.float32"):
        model()(torch.zeros(1, 3, 1280))
    with pytest.raises(ValueError, match="unknown frame rule 'all'"):
        features.frames.frames(clips, backbone=network(), rule="all")
    with pytest.raises(ValueError, match="frames is 0"):
        features.frames.frames(clips, backbone=network(), frames=0)
    with pytest.raises(ValueError, match="no clips to decode"):
        features.frames.frames(clips.iloc[:0], backbone=network())
    with pytest.raises(ValueError, match="drift gives different features in every epoch"):
        features.extract(clips, tmp_path / "cache", backbone=network("drift"), frames=3, progress=False)
    assert not (tmp_path / "cache").exists()


def test_the_key_of_frames_tells_drift_apart(clips):
    one, other = (
        features.frames.frames(clips.iloc[:2], backbone=network(kind), frames=2)
        for kind in ("imagenet", "drift")
    )
    assert torch.equal(one.x, other.x)
    assert (one.key["batch_norm"], other.key["batch_norm"]) == ("imagenet", "drift")
    assert one.digest != other.digest
    json.dumps(other.key)
