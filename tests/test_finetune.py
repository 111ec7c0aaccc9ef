"""Training the backbone too: in parts without another gradient, with less memory, and the same after an interruption."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ctxlstm import backbone, features, models, training, ucf101
from ctxlstm.cost import finetuning, measured
from ctxlstm.experiments import runs, steps
from ctxlstm.experiments.settings import Run
from ctxlstm.models import augment, online

HEAD = {"input_size": 1280, "num_classes": 3, "hidden_size": 8, "num_blocks": 1, "embedding": (16,)}
CONFIG = training.Config(epochs=2, batch_size=6, validation=0, cpu=True)


def model(**options) -> online.Online:
    torch.manual_seed(0)
    net = backbone.load("efficientnet_lite0", size=32, precision=options.pop("precision", "float32"))
    return online.Online(net, models.build("context_lstm", **HEAD), **{"finetune": True} | options)


def clips(count: int, frames: int) -> torch.Tensor:
    """Random frames (B, T, 3, 32, 32) uint8."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (count, frames, 3, 32, 32), dtype=torch.uint8, generator=generator)


def gradients(net: online.Online, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the cross-entropy of clips x (B, T, 3, s, s), for every parameter."""
    F.cross_entropy(net(x), torch.arange(len(x)) % 3).backward()
    return {name: value.grad for name, value in net.named_parameters()}


@pytest.fixture(scope="module")
def frames(tiny_clips) -> features.Features:
    """24 clips of 3 classes, 2 frames of 32x32 each."""
    net = backbone.load("efficientnet_lite0", size=32)
    return features.frames.frames(ucf101.index(tiny_clips), backbone=net, frames=2, rule="uniform")


@pytest.fixture(scope="module")
def split(frames) -> ucf101.Split:
    return ucf101.split(frames.clips, "grouped", seed=0)


@pytest.fixture(scope="module")
def by_hand() -> dict[str, torch.Tensor]:
    """Gradients in float64 through the bare network, all images at once, BatchNorm in evaluation mode."""
    ours = model().double().train()
    x, net = clips(2, 2), ours.backbone
    images = (x.flatten(0, 1).double() - net.mean) / net.std  # (B T, 3, 32, 32)
    logits = ours.head(net.net(images).unflatten(0, (2, 2)))  # (B, T, D) -> (B, K)
    F.cross_entropy(logits, torch.arange(2)).backward()
    return {name: value.grad for name, value in ours.named_parameters()}


@pytest.mark.parametrize("images", [1, 3, 4, 0])
def test_every_size_of_part_gives_the_gradient_of_the_whole(by_hand, images):
    found = gradients(model(images=images).double().train(), clips(2, 2))
    assert found.keys() == by_hand.keys()
    assert all(value.abs().sum() > 0 for value in found.values())
    for name, value in by_hand.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-10)


def test_an_image_has_the_same_features_whoever_is_beside_it():
    ours = model(images=3).train()
    x = clips(4, 2)
    statistics = {key: value.clone() for key, value in ours.backbone.state_dict().items() if "running" in key}
    with torch.no_grad():
        torch.testing.assert_close(ours.backbone(x[:2, 0]), ours.backbone(x[:, 0])[:2], rtol=1e-4, atol=1e-4)
    gradients(ours, x)
    assert not any(module.training for module in ours.backbone.net.modules())
    after = ours.backbone.state_dict()
    assert all(torch.equal(after[name], value) for name, value in statistics.items())


def held(net: online.Online, x: torch.Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass besides the model, each memory counted once."""
    kept, own = {}, {value.untyped_storage().data_ptr() for value in net.state_dict().values()}

    def note(value: torch.Tensor) -> torch.Tensor:
        if value.untyped_storage().data_ptr() not in own:
            kept[value.untyped_storage().data_ptr()] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        _logits = net(x)
    return sum(value.untyped_storage().nbytes() for value in kept.values())


def test_what_is_held_for_the_backward_pass_is_one_part_and_the_features():
    in_parts, whole = model(images=2).train(), model(images=100).train()
    few, many = clips(1, 2), clips(4, 4)  # 1 part, 8 parts
    features_and_head = 16 * 1280 * 4 * 4
    assert held(in_parts, many) < held(in_parts, few) + features_and_head
    assert held(whole, many) > 4 * held(in_parts, many)


PEAK = """
import json, torch
from ctxlstm import backbone, models
from ctxlstm.cost import finetuning, measured
from ctxlstm.models import online
torch.set_num_threads(1)
found = {}
for images in (2, 32):
    net = backbone.load("efficientnet_lite0", size=64).unfreeze()
    ours = online.Online(net, models.build("mean_linear", input_size=1280, num_classes=3), finetune=True, images=images)
    predicted = finetuning.finetune_bytes(net, clips=4, frames=8, images=images)
    figures = measured.measure(ours, (8, 3, 64, 64), batch_size=4, steps=1, warmup=1)
    found[images] = predicted, figures.grown_bytes
print(json.dumps(found))
"""


@pytest.mark.slow
def test_peak_memory_is_that_of_a_part_as_predicted():
    command = [sys.executable, "-c", PEAK]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MALLOC_ARENA_MAX": "1"})
    assert done.returncode == 0, done.stderr
    (parts, parts_measured), (whole, whole_measured) = json.loads(done.stdout.splitlines()[-1]).values()
    assert whole > 2 * parts
    assert whole_measured - parts_measured > 0.4 * (whole - parts), "the second finds the first's memory free"
    assert 0.7 * parts < parts_measured < 2 * parts, "of a process, with what its libraries take"


def test_predicted_bytes_grow_with_the_part_and_little_with_the_batch():
    net = backbone.load("efficientnet_lite0", size=32).unfreeze()
    one, two, three = (finetuning.finetune_bytes(net, clips=4, frames=4, images=n) for n in (1, 2, 3))
    assert three - two == two - one > 0
    more = finetuning.finetune_bytes(net, clips=8, frames=4, images=3)
    assert more - three == 16 * (3 * 32 * 32 + 2 * 4 * 1280), "16 more frames, their features and gradients"
    assert finetuning.finetune_bytes(net, clips=1, frames=2, images=100) == finetuning.finetune_bytes(
        net, clips=1, frames=2, images=2
    )


def test_a_resnet50_learns_end_to_end():
    torch.manual_seed(0)
    head = models.build("mean_linear", input_size=2048, num_classes=2)
    ours = online.Online(measured.random_resnet50(64), head, finetune=True, images=2).train()
    x = torch.randint(0, 256, (2, 2, 3, 64, 64), dtype=torch.uint8)
    adam = torch.optim.Adam(ours.parameter_groups(1e-5, 1e-7))  # random weights make large features
    losses = []
    for _ in range(2):
        loss = F.cross_entropy(ours(x), torch.tensor([0, 1]))
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    first = ours.backbone.net.conv1.weight
    assert first.grad.isfinite().all()
    assert first.grad.abs().sum() > 0


def test_head_and_backbone_learn_at_their_own_rates():
    groups = model().parameter_groups(0.1, 0.002)
    assert [group["lr"] for group in groups] == [0.1, 0.002]
    ours = model()
    head, body = (sum(p.numel() for p in group["params"]) for group in ours.parameter_groups(0.1, 0.002))
    assert head == sum(p.numel() for p in ours.head.parameters())
    assert body == sum(p.numel() for p in ours.backbone.net.parameters())
    frozen = model(finetune=False).parameter_groups(0.1, 0.002)
    assert [group["lr"] for group in frozen] == [0.1], "a frozen backbone has no rate"


def test_fit_trains_the_backbone_at_its_own_rate(frames, split):
    moved = {}
    for rate in (1e-4, 1e-9):
        ours = model(images=5)
        before = {name: value.clone() for name, value in ours.named_parameters()}
        history = training.fit(ours, frames, split, replace(CONFIG, epochs=1, backbone_learning_rate=rate))
        assert history.parameters == sum(value.numel() for value in ours.parameters())
        change = {name: (value - before[name]).abs().max() for name, value in ours.named_parameters()}
        assert change["head.head.3.weight"] > 1e-3
        moved[rate] = change["backbone.net._conv_stem.weight"]
    assert moved[1e-4] > 1e-5
    assert moved[1e-9] < 1e-7


def test_a_resumed_training_equals_an_uninterrupted_one(frames, split, tmp_path):
    checkpoint = tmp_path / "checkpoint.safetensors"

    def fit(epochs: int, path=None, **options):
        net = model(augment="crop-flip", **options)
        return net, training.fit(net, frames, split, replace(CONFIG, epochs=epochs), checkpoint=path)

    _, whole = fit(2)
    net, _ = fit(1, checkpoint)
    after_one = net.backbone.weights
    net, resumed = fit(2, checkpoint)
    assert whole.table.equals(resumed.table)
    assert whole.predictions.equals(resumed.predictions)
    assert net.backbone.weights != after_one
    fit(2, checkpoint, images=1)  # parts of another size are no other training
    with pytest.raises(ValueError, match="is from another training run"):
        training.fit(model(augment="crop"), frames, split, CONFIG, checkpoint=checkpoint)
    with pytest.raises(ValueError, match="is from another training run"):
        training.fit(model(augment="crop-flip", finetune=False), frames, split, CONFIG, checkpoint=checkpoint)


def test_evaluation_sees_the_weights_as_they_are_now():
    net = backbone.load("efficientnet_lite0", size=32)
    x = clips(1, 4)[0]
    frozen = net(x)
    net.unfreeze()
    with torch.no_grad():
        torch.testing.assert_close(net(x), frozen, rtol=1e-4, atol=1e-4)
        for parameter in net.parameters():
            parameter.mul_(1.1)
        moved = net.eval()(x)
        assert not torch.allclose(moved, frozen, rtol=0.1, atol=0.1)
        torch.testing.assert_close(moved, net.net((x.float() - net.mean) / net.std), rtol=1e-4, atol=1e-4)


def test_a_clip_gets_one_view_in_training_and_none_in_evaluation():
    ours = model(augment="crop")
    still = clips(6, 1).expand(6, 4, 3, 32, 32)  # clips of four equal frames
    seen = []
    ours.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    ours.train()(still)
    views = torch.cat(seen).unflatten(0, (6, 4))  # (B, T, 3, 32, 32)
    assert torch.equal(views, views[:, :1].expand_as(views)), "all frames of a clip"
    assert not any(torch.equal(view, clip) for view, clip in zip(views, still, strict=True))
    seen.clear()
    with torch.no_grad():
        ours.eval()(still)
    assert torch.equal(torch.cat(seen).unflatten(0, (6, 4)), still)


def test_views_differ_between_clips_and_follow_the_global_generator():
    crop = augment.Augment("crop", 32)
    same = clips(1, 2).expand(5, 2, 3, 32, 32)
    torch.manual_seed(4)
    first = crop(same)
    torch.manual_seed(4)
    assert torch.equal(crop(same), first)
    assert (first.dtype, first.shape) == (torch.uint8, same.shape)
    assert not any(torch.equal(first[0], other) for other in first[1:])
    assert augment.Augment("crop", 64)(same).shape == (5, 2, 3, 64, 64)


def test_only_crop_flip_mirrors_and_half_of_the_clips():
    ramp = torch.arange(0, 256, 8, dtype=torch.uint8).expand(60, 1, 3, 32, 32)  # dark left, bright right
    torch.manual_seed(0)
    mirrored = {}
    for name in augment.NAMES:
        views = augment.Augment(name, 32)(ramp).float()
        mirrored[name] = int((views[..., 0] > views[..., -1]).all((1, 2, 3)).sum())
    assert mirrored["crop"] == 0
    assert 18 <= mirrored["crop-flip"] <= 42


def test_bf16_rounds_the_backbone_and_leaves_the_head_float32():
    x = clips(3, 2)
    exact, rounded = (gradients(model(precision=kind).train(), x) for kind in ("float32", "bf16"))
    for name in ("backbone.net._conv_head.weight", "head.head.3.weight"):
        assert rounded[name].dtype == torch.float32
        assert not torch.equal(rounded[name], exact[name])
        assert F.cosine_similarity(rounded[name].flatten(), exact[name].flatten(), dim=0) > 0.95


def test_a_run_from_settings_leaves_a_record_that_says_so(frames, split, tmp_path):
    asked = Run(
        model="mean_linear",
        protocol="grouped",
        size=32,
        epochs=1,
        batch_size=6,
        validation=0,
        cpu=True,
        finetune=True,
        augment="crop",
        images=4,
        results=str(tmp_path),
    )
    folder = steps.train(asked, frames, split)
    record = runs.read(folder)
    assert (record["finetune"], record["augment"]) == (True, "crop")
    assert record["parameters"] > 3_000_000, "the backbone's are among them"
    plain = asked.replace(finetune=False, augment="")
    assert runs.run_id(plain.params(frames.digest)) != folder.name


def test_what_cannot_be_fine_tuned_is_refused_with_a_sentence():
    net, head = backbone.load("efficientnet_lite0", size=32), models.build("context_lstm", **HEAD)
    with pytest.raises(ValueError, match="fine-tuned or its BatchNorm drifts, not both"):
        online.Online(backbone.load("efficientnet_lite0", size=32).drift(), head, finetune=True)
    with pytest.raises(ValueError, match="fine-tuned or its BatchNorm drifts, not both"):
        backbone.load("efficientnet_lite0", size=32).unfreeze().drift()
    with pytest.raises(ValueError, match="unknown augmentation 'flip': choose one of crop, crop-flip"):
        online.Online(net, head, augment="flip")
    with pytest.raises(ValueError, match="images is -1"):
        online.Online(net, head, finetune=True, images=-1)
    with pytest.raises(ValueError, match="NearestNeighbour has nothing to train"):
        online.Online(net, models.build("nearest_neighbour", **HEAD), finetune=True)
