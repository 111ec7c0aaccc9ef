"""What belongs to the whole process while a training runs: how products are rounded, and random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

PRECISIONS = ("no", "tf32", "bf16")


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """float32 as it is with "no" (cuDNN's LSTM would round to TensorFloat-32 by itself), rounded with the others."""
    flags = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = precision != "no"
        yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """All random draws of an epoch follow from `seed` and its number; the caller's own are left as they were.

    They depend on nothing that happened before, so a resumed training needs no generator's state.
    """
    seed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # torch.manual_seed would seed every kind of device, and takes a millisecond where there is no GPU.
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield


def adam(model: nn.Module, learning_rate: float, backbone_learning_rate: float) -> torch.optim.Adam:
    """Adam (paper, section 4.2); on a GPU all of its updates are one kernel."""
    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "lr": learning_rate}]
    if hasattr(model, "parameter_groups"):  # a backbone that learns too, at its own rate
        groups = model.parameter_groups(learning_rate, backbone_learning_rate)
    return torch.optim.Adam(groups, fused=groups[0]["params"][0].is_cuda or None)
