"""Where and how a training computes: device, precision, processes, and what makes a step fast on a GPU.

Several trainings may run in threads of one process, each on a GPU stream of its own. What belongs to the whole process
(random generators, Accelerate's state, the arithmetic of products) changes hands under the lock `RANDOM`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

MIXED = {"no": "no", "tf32": "no", "bf16": "bf16"}  # our name of a precision: Accelerate's
PRECISIONS = tuple(MIXED)
# One epoch at a time may seed and use the process's own random generators.
RANDOM = threading.RLock()


def accelerator(precision: str, cpu: bool) -> Accelerator:
    """Device, precision and processes. Accelerate keeps those of a process's first run unless it is told to forget."""
    # Without CUDA Accelerate would choose a Mac's GPU, whose random numbers could not be restored.
    cpu, precision = cpu or not torch.cuda.is_available(), MIXED[precision]
    with RANDOM:  # trainings in other threads have the same settings, and must not lose their state
        known = AcceleratorState._shared_state
        shared = torch.distributed.is_available() and torch.distributed.is_initialized()
        if known and not shared and (known["_cpu"], known["_mixed_precision"]) != (cpu, precision):
            AcceleratorState._reset_state(reset_partial_state=True)
        return Accelerator(mixed_precision=precision, cpu=cpu)


def adam(model: nn.Module, learning_rate: float, backbone_learning_rate: float) -> torch.optim.Adam:
    """Adam; on a GPU all of its updates are one kernel, which can be recorded."""
    groups = [{"params": [p for p in model.parameters() if p.requires_grad], "lr": learning_rate}]
    if hasattr(model, "parameter_groups"):  # a backbone that learns too, at its own rate
        groups = model.parameter_groups(learning_rate, backbone_learning_rate)
    on_gpu = groups[0]["params"][0].is_cuda
    return torch.optim.Adam(groups, **({"fused": True, "capturable": True} if on_gpu else {}))


# The process's arithmetic before each training that runs now: the first entry is the process's own.
_BEFORE: list[list[bool]] = []


@contextmanager
def arithmetic(precision: str) -> Iterator[None]:
    """float32 as it is with "no" (cuDNN's LSTM would round to TensorFloat-32 by itself), rounded with the others."""
    flags = (torch.backends.cuda.matmul, torch.backends.cudnn)
    with RANDOM:
        _BEFORE.append([flag.allow_tf32 for flag in flags])
        for flag in flags:
            flag.allow_tf32 = precision != "no"
    try:
        yield
    finally:
        with (
            RANDOM
        ):  # others, of the same precision, may still run in other threads: the last one puts it back
            before = _BEFORE[0]
            _BEFORE.pop()
            if not _BEFORE:
                for flag, value in zip(flags, before, strict=True):
                    flag.allow_tf32 = value


# Streams that no training uses now. PyTorch makes 32 and then gives the first one again: two trainings on one stream
# would record each other's steps.
_FREE: dict[torch.device, list[torch.cuda.Stream]] = {}


@contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU a stream of its own: steps can be recorded there, and trainings in other threads run beside it."""
    if device.type != "cuda":
        yield
        return
    outer = torch.cuda.current_stream(device)
    with RANDOM:
        free = _FREE.setdefault(device, [])
        own = free.pop() if free else torch.cuda.Stream(device)
    own.wait_stream(outer)
    try:
        with torch.cuda.stream(own):
            yield
    finally:
        outer.wait_stream(own)
        with RANDOM:
            free.append(own)
