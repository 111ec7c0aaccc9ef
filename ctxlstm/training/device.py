"""What a training run sets for the whole process, rounding and random numbers, and its optimizer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

PRECISIONS = ("no", "tf32", "bf16")


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """Full float32 with "no" (cuDNN's LSTM would round to TensorFloat-32 by default), else TensorFloat-32."""
    backends = torch.backends
    before = backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32
    backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = precision != "no"
    try:
        yield
    finally:
        backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32 = before


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Make all random draws of an epoch follow from `seed` and its number; the caller's own are not affected.

    They depend on nothing that happened before, so a resumed run needs no generator state.
    """
    seed = int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # torch.manual_seed would seed every kind of device, and takes a millisecond where there is no GPU.
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield


@runtime_checkable
class HasGroups(Protocol):
    """A model whose parts have their own learning rates, such as a fine-tuned backbone (`models.online`)."""

    def parameter_groups(self, learning_rate: float, backbone_learning_rate: float) -> list[dict]:
        """Parameter groups for a torch optimizer."""
        ...


def adam(model: nn.Module, learning_rate: float, backbone_learning_rate: float) -> torch.optim.Adam:
    """Adam (paper, section 4.2); on a GPU all its updates are one kernel."""
    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "lr": learning_rate}]
    if isinstance(model, HasGroups):
        groups = model.parameter_groups(learning_rate, backbone_learning_rate)
    return torch.optim.Adam(groups, fused=groups[0]["params"][0].is_cuda or None)
