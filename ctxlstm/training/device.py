"""Where and how a training computes: device, precision and processes."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

MIXED = {"no": "no", "tf32": "no", "bf16": "bf16"}  # our name of a precision: Accelerate's
PRECISIONS = tuple(MIXED)


def accelerator(precision: str, cpu: bool) -> Accelerator:
    """Device, precision and processes. Accelerate keeps those of a process's first run unless it is told to forget."""
    # Without CUDA Accelerate would choose a Mac's GPU, whose random numbers could not be restored.
    cpu, precision = cpu or not torch.cuda.is_available(), MIXED[precision]
    known = AcceleratorState._shared_state
    shared = torch.distributed.is_available() and torch.distributed.is_initialized()
    if known and not shared and (known["_cpu"], known["_mixed_precision"]) != (cpu, precision):
        AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision=precision, cpu=cpu)


def adam(model: nn.Module, learning_rate: float, backbone_learning_rate: float) -> torch.optim.Adam:
    """Adam; on a GPU all of its updates are one kernel."""
    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "lr": learning_rate}]
    if hasattr(model, "parameter_groups"):  # a backbone that learns too, at its own rate
        groups = model.parameter_groups(learning_rate, backbone_learning_rate)
    on_gpu = groups[0]["params"][0].is_cuda
    return torch.optim.Adam(groups, fused=on_gpu or None)


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
