"""The GPU benchmarks: every line of theirs runs here at a small size, on a CPU where there is no GPU."""

import math

import pytest
import torch

from benchmarks import gpu_extraction, gpu_training


@pytest.mark.slow
def test_training_at_a_small_size(capsys):
    assert gpu_training.main(["--small"]) == 0
    printed = capsys.readouterr().out
    for name in gpu_training.MODELS:
        for precision in ("no", "tf32", "bf16"):
            assert f"epoch, {name}, {precision}" in printed
    for work in ("300 epochs of all three", "Adam as one kernel", "memory of context_lstm"):
        assert work in printed


@pytest.mark.slow
def test_extraction_and_fine_tuning_at_a_small_size(capsys):
    assert gpu_extraction.main(["--small"]) == 0
    printed = capsys.readouterr().out
    for work in ("forward from memory, bf16", "extraction from .avi", "UCF101's frames", "fine-tuning step"):
        assert work in printed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("module", [gpu_training, gpu_extraction])
def test_without_a_gpu_it_says_so_and_measures_nothing(module, capsys):
    assert module.main([]) == 2
    assert "needs a GPU" in capsys.readouterr().out


def test_the_floor_is_the_larger_of_arithmetic_and_bytes():
    size = gpu_training.Size()
    fast, slow = {"no": 1e30, "copy": 1e12}, {"no": 1e12, "copy": 1e30}
    bytes_alone, work_alone = (
        gpu_training.floor("context_lstm", "no", size, rates) for rates in (fast, slow)
    )
    steps = math.ceil((size.clips - size.test) / size.batch_size)
    assert bytes_alone > steps * 28 * 53_851_493 / 1e12, "Adam moves seven numbers a weight"
    # README: 3.00 GFLOP a clip forward; three times that to train on it
    assert work_alone == pytest.approx(3.0e9 * (3 * 9_990 + 3_330) / 1e12, rel=0.03)
    both = gpu_training.floor("context_lstm", "no", size, {"no": 1e12, "copy": 1e12})
    assert both == pytest.approx(max(bytes_alone, work_alone))


def test_generated_clips_are_alike_within_a_class_and_differ_between_classes():
    size = gpu_training.SMALL
    features, split = gpu_training.data(size)
    assert features.x.shape == (size.clips, size.frames, size.width)
    assert len(features.classes) == size.classes
    assert sorted([*split.train, *split.test]) == list(range(size.clips))
    means = torch.stack([features.x[features.y == k].float().mean(0).flatten() for k in range(size.classes)])
    assert torch.pdist(means).min() > 0
